//! What operators say and ask about roles: `role`, `quota` and `weight`.
//!
//! Called by `cli`. Deliberately not here: whether a quota makes sense, which the master says.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Serialize;
use tepui_core::protocol::events::RoleState;
use tepui_core::protocol::operator::{Answer, Call, RoleView};
use tepui_core::quota::Quota;
use tepui_core::resources::{Ceilings, Milli, Quantities};
use tepui_core::roles::Role;

use super::connect::{OperatorArgs, unexpected};
use super::exit::Exit;
use super::failure::Failure;
use super::list::ListArgs;
use super::output::{Column, Listing, OutputArgs};
use super::text::Text;
use super::views::row;
use super::{Io, Threads, block_on, values};

/// What can be asked about roles.
#[derive(Debug, Subcommand)]
pub(super) enum RoleCommand {
    /// List roles that somebody is in, or that have quota or a weight
    #[command(after_help = "Examples:\n  tepui role list\n  tepui role list -o wide")]
    List(ListArgs),
    /// List the same with each role below the one that it is part of
    #[command(after_help = "Examples:\n  tepui role tree\n  tepui role tree --no-headers")]
    Tree(ListArgs),
}

/// What can be said about quota.
#[derive(Debug, Subcommand)]
pub(super) enum QuotaCommand {
    /// Show what roles are promised, and what they may have
    #[command(after_help = "\
Examples:
  tepui quota get
  tepui quota get ads/web --output json")]
    Get(QuotaGetArgs),
    /// Give a role this quota in place of what it has
    Set(QuotaSetArgs),
    /// Take away what a role has of quota; its tasks go on
    #[command(after_help = "Examples:\n  tepui quota remove ads/web")]
    Remove(QuotaRemoveArgs),
}

/// What can be said about weights.
#[derive(Debug, Subcommand)]
pub(super) enum WeightCommand {
    /// Give roles weights among those beside them; all weigh 1 at first
    #[command(after_help = "\
Examples:
  tepui weight set ads=2
  tepui weight set ads/web=1.5 ads/batch=0.5")]
    Set(WeightSetArgs),
}

/// Flags of `tepui quota get`.
#[derive(Debug, Args)]
pub(super) struct QuotaGetArgs {
    /// Only this role
    #[arg(value_parser = Text(values::role))]
    role: Option<Role>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Flags of `tepui quota set`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui quota set ads/web --guarantee 'cpus:8;mem:16384' --limit 'cpus:32'
  tepui quota set batch --limit 'cpus:64;gpus:0' --force

Offers that are in the way are taken back; no task is ended. What is offered and used by roles below
counts as well.")]
pub(super) struct QuotaSetArgs {
    /// Whose quota
    #[arg(value_parser = Text(values::role))]
    role: Role,
    /// What is kept free for the role as long as it does not have it; nothing by default
    #[arg(long, value_name = "AMOUNTS", required_unless_present = "limit",
          value_parser = Text(values::amounts))]
    guarantee: Option<Quantities>,
    /// What the role may have at most; unlimited by default, and for what is not named
    #[arg(long, value_name = "AMOUNTS", value_parser = Text(values::limits))]
    limit: Option<Ceilings>,
    /// Do so even if more is used already, or if more is promised than there is
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Flags of `tepui quota remove`.
#[derive(Debug, Args)]
pub(super) struct QuotaRemoveArgs {
    /// Whose quota
    #[arg(value_parser = Text(values::role))]
    role: Role,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Flags of `tepui weight set`.
#[derive(Debug, Args)]
pub(super) struct WeightSetArgs {
    /// A role and its weight; all of them or none are set
    #[arg(required = true, value_name = "ROLE=WEIGHT", value_parser = Text(values::weight))]
    weights: Vec<(Role, Milli)>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Lists roles.
pub(super) fn role(command: &RoleCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let (args, is_tree) = match command {
        RoleCommand::List(args) => (args, false),
        RoleCommand::Tree(args) => (args, true),
    };
    let answer = block_on(Threads::One, args.operator.ask(Call::Roles))?;
    let roles = sorted(answer)?;
    let names = if is_tree {
        indented(&roles)
    } else {
        whole(&roles)
    };
    listing(&roles, names).print(args.output, io.out)?;
    Ok(Exit::Success)
}

/// Shows and changes quota.
pub(super) fn quota(command: &QuotaCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        QuotaCommand::Get(args) => quota_get(args, io),
        QuotaCommand::Set(args) => quota_set(args, io),
        QuotaCommand::Remove(args) => quota_remove(args, io),
    }
}

/// Changes weights.
pub(super) fn weight(command: &WeightCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let WeightCommand::Set(args) = command;
    let weights = args.weights.clone();
    let named = |role: &Role| args.weights.iter().any(|it| it.0 == *role);
    let roles = change(&args.operator, Call::UpdateWeights { weights }, named)?;
    listing(&roles, whole(&roles)).print(args.output, io.out)?;
    Ok(Exit::Success)
}

fn quota_get(args: &QuotaGetArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let answer = block_on(Threads::One, args.operator.ask(Call::Roles))?;
    let mut roles = sorted(answer)?;
    roles.retain(|it| !it.quota.is_default());
    if let Some(role) = &args.role {
        roles.retain(|it| it.role == *role);
        if roles.is_empty() {
            return Err(no_quota(role));
        }
    }
    listing(&roles, whole(&roles)).print(args.output, io.out)?;
    Ok(Exit::Success)
}

fn quota_set(args: &QuotaSetArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let quota = Quota {
        guarantees: args.guarantee.clone().unwrap_or_default(),
        limits: args.limit.clone().unwrap_or_default(),
    };
    let call = Call::UpdateQuota {
        quotas: vec![(args.role.clone(), quota)],
        force: args.force,
    };
    let roles = change(&args.operator, call, |role| *role == args.role)?;
    listing(&roles, whole(&roles)).print(args.output, io.out)?;
    Ok(Exit::Success)
}

fn quota_remove(args: &QuotaRemoveArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let role = &args.role;
    let had = block_on(Threads::One, args.operator.ask(Call::Roles))?;
    let mut had = sorted(had)?.into_iter();
    if had.all(|it| it.role != *role || it.quota.is_default()) {
        return Err(no_quota(role));
    }
    let call = Call::UpdateQuota {
        quotas: vec![(role.clone(), Quota::default())],
        force: false,
    };
    change(&args.operator, call, |_| false)?;
    writeln!(io.out, "{role}")?;
    Ok(Exit::Success)
}

/// Has something changed, and returns what the roles of interest are then.
fn change(
    operator: &OperatorArgs,
    call: Call,
    is_shown: impl Fn(&Role) -> bool,
) -> Result<Vec<RoleView>, Failure> {
    let answers = block_on(Threads::One, operator.ask_all([call, Call::Roles]))?;
    let [changed, roles] = <[Answer; 2]>::try_from(answers).expect("an answer each");
    if let Answer::Invalid(why) = changed {
        return Err(Failure::new(Exit::Usage, why));
    }
    if let Answer::Conflict(why) = changed {
        let message = format_args!("{why}; --force does so nevertheless");
        return Err(Failure::failed(message));
    }
    if changed != Answer::Updated {
        return Err(unexpected(&changed));
    }
    let mut roles = sorted(roles)?;
    roles.retain(|it| is_shown(&it.role));
    Ok(roles)
}

/// Returns roles in the order of their paths.
fn sorted(answer: Answer) -> Result<Vec<RoleView>, Failure> {
    let Answer::Roles(mut roles) = answer else {
        return Err(unexpected(&answer));
    };
    roles.sort_by(|a, b| a.role.as_str().split('/').cmp(b.role.as_str().split('/')));
    Ok(roles)
}

fn no_quota(role: &Role) -> Failure {
    let message = format_args!("role {role} has no quota; `tepui quota get` lists who has");
    Failure::new(Exit::NotFound, message)
}

#[derive(Serialize)]
struct RoleJson<'a> {
    role: &'a str,
    /// Among those beside it.
    weight: f64,
    /// In this very role.
    frameworks: usize,
    /// Of what there is most of its own, between 0 and 1; its weight is not applied.
    dominant_share: f64,
    /// What is kept free for it, by name.
    guarantee: BTreeMap<&'a str, f64>,
    /// What it may have at most; a name that is not here is unlimited.
    limit: BTreeMap<&'a str, f64>,
    /// What counts against its quota: what is reserved to it, and what else it is offered or uses.
    consumed: BTreeMap<&'a str, f64>,
    /// What it is offered or uses.
    allocated: BTreeMap<&'a str, f64>,
    /// What is reserved to it, in use or not.
    reserved: BTreeMap<&'a str, f64>,
}

/// What operators have said of a role, for programs.
#[derive(Serialize)]
pub(super) struct RoleStateJson<'a> {
    role: &'a str,
    /// Among those beside it.
    weight: f64,
    /// What is kept free for it, by name.
    guarantee: BTreeMap<&'a str, f64>,
    /// What it may have at most; a name that is not here is unlimited.
    limit: BTreeMap<&'a str, f64>,
}

impl<'a> From<&'a RoleState> for RoleStateJson<'a> {
    fn from(state: &'a RoleState) -> Self {
        Self {
            role: state.role.as_str(),
            weight: state.weight.to_f64(),
            guarantee: numbers(state.quota.guarantees.iter()),
            limit: numbers(state.quota.limits.iter()),
        }
    }
}

/// Lists roles, each under the name that goes with it.
fn listing(roles: &[RoleView], names: Vec<String>) -> Listing {
    let rows = roles.iter().zip(names).map(|(it, name)| {
        // Millionths are whole in a double.
        let share = it.dominant_share as f64 / 1e6;
        let json = RoleJson {
            role: it.role.as_str(),
            weight: it.weight.to_f64(),
            frameworks: it.frameworks,
            dominant_share: share,
            guarantee: numbers(it.quota.guarantees.iter()),
            limit: numbers(it.quota.limits.iter()),
            consumed: numbers(it.consumed.iter()),
            allocated: numbers(it.allocated.iter()),
            reserved: numbers(it.reserved.iter()),
        };
        let cells = vec![
            name,
            it.weight.to_string(),
            it.frameworks.to_string(),
            format!("{:.1}%", share * 100.0),
            it.quota.guarantees.to_string(),
            it.quota.limits.to_string(),
            it.consumed.to_string(),
            it.allocated.to_string(),
            it.reserved.to_string(),
        ];
        row(it.role.as_str(), cells, &json)
    });
    Listing {
        kind: "role",
        columns: &[
            Column::Narrow("ROLE"),
            Column::Narrow("WEIGHT"),
            Column::Narrow("FRAMEWORKS"),
            Column::Narrow("SHARE"),
            Column::Narrow("GUARANTEE"),
            Column::Narrow("LIMIT"),
            Column::Narrow("CONSUMED"),
            Column::Wide("ALLOCATED"),
            Column::Wide("RESERVED"),
        ],
        rows: rows.collect(),
    }
}

fn numbers<'a>(amounts: impl Iterator<Item = (&'a str, Milli)>) -> BTreeMap<&'a str, f64> {
    amounts.map(|(name, it)| (name, it.to_f64())).collect()
}

/// Shows roles by their whole names.
fn whole(roles: &[RoleView]) -> Vec<String> {
    roles.iter().map(|it| it.role.to_string()).collect()
}

/// Shows each role below the nearest one that it is part of, by what its name adds to that one's.
fn indented(roles: &[RoleView]) -> Vec<String> {
    let mut above: Vec<&Role> = Vec::new();
    let mut names = Vec::with_capacity(roles.len());
    for RoleView { role, .. } in roles {
        while above.last().is_some_and(|last| !role.is_below(last)) {
            above.pop();
        }
        let known = above.last().map_or(0, |last| last.as_str().len() + 1);
        let indent = "  ".repeat(above.len());
        names.push(format!("{indent}{}", &role.as_str()[known..]));
        above.push(role);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(role: &str) -> RoleView {
        RoleView {
            role: Role::new(role).unwrap(),
            weight: Milli::from_units(1),
            quota: Quota::default(),
            consumed: Quantities::new(),
            allocated: Quantities::new(),
            reserved: Quantities::new(),
            dominant_share: 0,
            frameworks: 0,
        }
    }

    #[test]
    fn a_tree_has_each_role_below_the_nearest_that_is_there() {
        let answer = ["b", "a-z", "a/x/y", "a", "*", "a/x/y/z", "a/w"].map(view);
        let roles = sorted(Answer::Roles(answer.to_vec())).unwrap();
        assert_eq!(
            indented(&roles),
            ["*", "a", "  w", "  x/y", "    z", "a-z", "b"]
        );
        assert_eq!(
            whole(&roles),
            ["*", "a", "a/w", "a/x/y", "a/x/y/z", "a-z", "b"]
        );
    }
}
