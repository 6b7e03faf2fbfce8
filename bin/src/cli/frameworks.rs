//! What operators ask and say about frameworks: lists, those that are over, ending one, and why one
//! is not offered what there is.
//!
//! Called by `cli`. Deliberately not here: columns of frameworks that live (see `views`).

use clap::{Args, Subcommand};
use serde::Serialize;
use tepui_core::ids::FrameworkId;
use tepui_core::protocol::operator::{Answer, Call, EndedFramework, Explanation, Obstacle};
use tepui_core::roles::Role;

use super::agents::asks_for;
use super::connect::{OperatorArgs, unexpected};
use super::exit::Exit;
use super::failure::Failure;
use super::list::ListArgs;
use super::output::{Column, Listing, OutputArgs};
use super::text::Text;
use super::times::rfc3339;
use super::views::{self, row};
use super::{Io, Threads, block_on, values};

/// What can be asked and said about frameworks.
#[derive(Debug, Subcommand)]
pub(super) enum FrameworkCommand {
    /// List frameworks
    #[command(after_help = "Examples:\n  tepui framework list\n  tepui framework list -o json")]
    List(ListArgs),
    /// List frameworks that are over, and why
    #[command(after_help = "Examples:\n  tepui framework ended\n  tepui framework ended -o json")]
    Ended(ListArgs),
    /// End a framework and all its tasks
    Teardown(TeardownArgs),
}

/// Flags of `tepui framework teardown`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui framework teardown tepui-1-0003
  tepui framework teardown tepui-1-0003 --yes

Its id does not come back: its scheduler has to subscribe as a new framework.")]
pub(super) struct TeardownArgs {
    /// The framework's id
    #[arg(value_parser = Text(values::framework_id))]
    framework: FrameworkId,
    /// Do not ask whether that is meant, for it cannot be undone
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Flags of `tepui explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui explain tepui-1-0003
  tepui explain tepui-1-0003 --role ads/web --output json")]
pub(super) struct ExplainArgs {
    /// The framework's id
    #[arg(value_parser = Text(values::framework_id))]
    framework: FrameworkId,
    /// Only in this one of its roles
    #[arg(long, value_name = "ROLE", value_parser = Text(values::role))]
    role: Option<Role>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Lists frameworks, or ends one.
pub(super) fn framework(command: &FrameworkCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        FrameworkCommand::List(args) => {
            let answer = block_on(Threads::One, args.operator.ask(Call::Frameworks))?;
            let Answer::Frameworks(frameworks) = answer else {
                return Err(unexpected(&answer));
            };
            views::frameworks(&frameworks).print(args.output, io.out)?;
        }
        FrameworkCommand::Ended(args) => {
            let answer = block_on(Threads::One, args.operator.ask(Call::EndedFrameworks))?;
            let Answer::EndedFrameworks(ended) = answer else {
                return Err(unexpected(&answer));
            };
            listing_of_ended(&ended).print(args.output, io.out)?;
        }
        FrameworkCommand::Teardown(args) => {
            let id = &args.framework;
            let question = format!("end framework {id}, with all its tasks");
            if !args.yes && !asks_for(&question, io)? {
                return Err(Failure::failed(format_args!(
                    "framework {id} is left alone"
                )));
            }
            let framework = id.clone();
            let call = Call::Teardown { framework };
            let answer = block_on(Threads::One, args.operator.ask(call))?;
            if answer != Answer::Updated {
                return Err(refused(answer));
            }
            writeln!(io.out, "{id}")?;
        }
    }
    Ok(Exit::Success)
}

/// Says for each agent why it is not being offered to a framework.
pub(super) fn explain(args: &ExplainArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let explained = block_on(Threads::One, async {
        let framework = &args.framework;
        let roles = match &args.role {
            Some(role) => vec![role.clone()],
            None => roles_of(args.operator.ask(Call::Frameworks).await?, framework)?,
        };
        let calls = roles.iter().map(|role| Call::Explain {
            framework: framework.clone(),
            role: role.clone(),
        });
        let answers = args.operator.ask_all(calls).await?;
        let mut explained = Vec::new();
        for (role, answer) in roles.into_iter().zip(answers) {
            let Answer::Explained(rows) = answer else {
                return Err(refused(answer));
            };
            explained.extend(rows.into_iter().map(|it| (role.clone(), it)));
        }
        Ok(explained)
    })?;
    listing_of_obstacles(&explained).print(args.output, io.out)?;
    Ok(Exit::Success)
}

/// Returns the roles of one of these frameworks.
fn roles_of(answer: Answer, id: &FrameworkId) -> Result<Vec<Role>, Failure> {
    let Answer::Frameworks(frameworks) = answer else {
        return Err(unexpected(&answer));
    };
    let mut frameworks = frameworks.into_iter();
    let found = frameworks.find(|it| it.info.id.as_ref() == Some(id));
    let found = found.ok_or_else(|| not_found(&format!("no framework {id}")))?;
    Ok(found.info.roles)
}

fn refused(answer: Answer) -> Failure {
    if let Answer::NotFound(why) = answer {
        return not_found(&why);
    }
    unexpected(&answer)
}

fn not_found(why: &str) -> Failure {
    let message = format_args!("{why}; `tepui framework list` lists them");
    Failure::new(Exit::NotFound, message)
}

#[derive(Serialize)]
struct EndedJson<'a> {
    id: &'a str,
    /// Null once it is forgotten.
    name: Option<&'a str>,
    /// A stable name such as `torn-down` or `timed-out`.
    reason: &'static str,
    /// How its scheduler may proceed.
    advice: &'static str,
    /// RFC 3339, in UTC.
    at: String,
}

fn listing_of_ended(ended: &[EndedFramework]) -> Listing {
    let rows = ended.iter().map(|it| {
        let json = EndedJson {
            id: it.id.as_str(),
            name: it.name.as_deref(),
            reason: it.reason.as_str(),
            advice: it.reason.advice(),
            at: rfc3339(it.at),
        };
        let cells = vec![
            it.id.to_string(),
            it.name.clone().unwrap_or_default(),
            it.reason.to_string(),
            json.at.clone(),
            it.reason.advice().to_owned(),
        ];
        row(it.id.as_str(), cells, &json)
    });
    Listing {
        kind: "framework",
        columns: &[
            Column::Narrow("ID"),
            Column::Narrow("NAME"),
            Column::Narrow("REASON"),
            Column::Narrow("AT"),
            Column::Wide("ADVICE"),
        ],
        rows: rows.collect(),
    }
}

#[derive(Serialize)]
struct ExplanationJson<'a> {
    agent: &'a str,
    hostname: &'a str,
    role: &'a str,
    /// A stable name such as `refused`, `held` or `quota-limit`.
    obstacle: &'static str,
    /// The same for people, with what belongs to it.
    text: String,
    /// Of `refused`: until when; RFC 3339, in UTC.
    until: Option<String>,
    /// Of `held`: the first few frameworks that hold something.
    held_by: Vec<&'a str>,
    /// Of `quota-limit`: whose.
    limited_role: Option<&'a str>,
}

fn listing_of_obstacles(explained: &[(Role, Explanation)]) -> Listing {
    let rows = explained.iter().map(|(role, it)| {
        let obstacle = &it.obstacle;
        let mut json = ExplanationJson {
            agent: it.agent.as_str(),
            hostname: &it.hostname,
            role: role.as_str(),
            obstacle: obstacle.as_str(),
            text: text_of(obstacle),
            until: None,
            held_by: Vec::new(),
            limited_role: None,
        };
        if let Obstacle::Refused(until) = obstacle {
            json.until = Some(rfc3339(*until));
        }
        if let Obstacle::HeldBy(holders) = obstacle {
            json.held_by = holders.iter().map(|id| id.as_str()).collect();
        }
        if let Obstacle::QuotaLimit(limited) = obstacle {
            json.limited_role = Some(limited.as_str());
        }
        let cells = vec![
            it.agent.to_string(),
            role.to_string(),
            obstacle.as_str().to_owned(),
            json.text.clone(),
            it.hostname.clone(),
        ];
        row(it.agent.as_str(), cells, &json)
    });
    Listing {
        kind: "agent",
        columns: &[
            Column::Narrow("AGENT"),
            Column::Narrow("ROLE"),
            Column::Narrow("OBSTACLE"),
            Column::Narrow("WHY"),
            Column::Wide("HOSTNAME"),
        ],
        rows: rows.collect(),
    }
}

fn text_of(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Refused(until) => format!("it refused that until {}", rfc3339(*until)),
        Obstacle::Suppressed => "it wants no offers in this role".into(),
        Obstacle::FrameworkInactive => "the framework is away".into(),
        Obstacle::AgentInactive => "the agent is away or out of use".into(),
        Obstacle::NotWhitelisted => "the agent is left out by operators".into(),
        Obstacle::Recovering => "the master waits for agents to come back".into(),
        Obstacle::Constraint(text) => format!("it asks for {text}"),
        Obstacle::Incapable(text) => text.clone(),
        Obstacle::NoDemand => "nothing that it wants fits".into(),
        Obstacle::HoldsEnough => "too much is offered to it already".into(),
        Obstacle::QuotaLimit(role) => format!("role {role} has all that its quota allows"),
        Obstacle::Headroom => "it is kept free for guarantees of other roles".into(),
        Obstacle::HeldBy(holders) => {
            let names: Vec<&str> = holders.iter().map(|id| id.as_str()).collect();
            format!("held by {}", names.join(", "))
        }
        Obstacle::TooSmall => "too little is there".into(),
        Obstacle::Nothing => "nothing stands in the way".into(),
    }
}
