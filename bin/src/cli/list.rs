//! The commands that ask the master one thing: `ps`, the `list`s, and `kill`.
//!
//! Called by `cli`. Deliberately not here: columns and JSON (see `views`).

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use tepui_core::ids::FrameworkId;
use tepui_core::protocol::operator::{Answer, Call};

use super::connect::{OperatorArgs, unexpected};
use super::exit::Exit;
use super::failure::Failure;
use super::output::OutputArgs;
use super::text::Text;
use super::{Io, Threads, block_on, values, views};

/// Flags of `tepui ps`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui ps
  tepui ps --all --output json
  tepui ps --agent tepui-1-S1 --quiet")]
pub(super) struct PsArgs {
    /// Show ended tasks too, as far as they are remembered
    #[arg(short, long)]
    all: bool,
    /// Only tasks of frameworks whose id begins so
    #[arg(long, value_name = "ID", value_parser = Text(values::id_prefix))]
    framework: Option<String>,
    /// Only tasks on agents whose id begins so
    #[arg(long, value_name = "ID", value_parser = Text(values::id_prefix))]
    agent: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Lists tasks.
pub(super) fn ps(args: &PsArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let call = Call::Tasks { all: args.all };
    let answer = block_on(Threads::One, args.operator.ask(call))?;
    let Answer::Tasks(mut tasks) = answer else {
        return Err(unexpected(&answer));
    };
    let begins = |id: &str, wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| id.starts_with(wanted))
    };
    tasks.retain(|task| begins(task.framework.as_str(), &args.framework));
    tasks.retain(|task| begins(task.agent.as_str(), &args.agent));
    views::tasks(&tasks, SystemTime::now()).print(args.output, io.out)?;
    Ok(Exit::Success)
}

/// Flags of the lists that have no others.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) operator: OperatorArgs,
}

/// What can be asked about offers.
#[derive(Debug, Subcommand)]
pub(super) enum OfferCommand {
    /// List outstanding offers
    #[command(after_help = "Examples:\n  tepui offer list\n  tepui offer list --no-headers")]
    List(ListArgs),
}

/// Lists offers.
pub(super) fn offers(args: &ListArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let answer = block_on(Threads::One, args.operator.ask(Call::Offers))?;
    let Answer::Offers(offers) = answer else {
        return Err(unexpected(&answer));
    };
    views::offers(&offers).print(args.output, io.out)?;
    Ok(Exit::Success)
}

/// Flags of `tepui kill`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui kill run-0a1b2c3d
  tepui kill run-0a --grace 30s")]
pub(super) struct KillArgs {
    /// The task's id, or a beginning that no other has
    #[arg(value_parser = Text(values::id_prefix))]
    task: String,
    /// The framework's id, if several have such a task
    #[arg(long, value_name = "ID", value_parser = Text(values::framework_id))]
    framework: Option<FrameworkId>,
    /// How long to wait between SIGTERM and SIGKILL; the task's own by default
    #[arg(long, value_name = "TIME", value_parser = Text(values::duration))]
    grace: Option<Duration>,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Ends a task.
pub(super) fn kill(args: &KillArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let call = Call::Kill {
        framework: args.framework.clone(),
        task: args.task.clone(),
        grace: args.grace,
    };
    match block_on(Threads::One, args.operator.ask(call))? {
        Answer::Killing { task, .. } => {
            writeln!(io.out, "{task}")?;
            Ok(Exit::Success)
        }
        Answer::NotFound(_) => Err(no_such_task(&args.task)),
        Answer::Ambiguous(_) => Err(Failure::failed(format_args!(
            "several tasks begin with {:?}; give more of the id, or --framework",
            args.task
        ))),
        Answer::Conflict(why) => Err(Failure::failed(why)),
        answer @ (Answer::Summary(_)
        | Answer::Agents(_)
        | Answer::Frameworks(_)
        | Answer::Tasks(_)
        | Answer::Offers(_)
        | Answer::Roles(_)
        | Answer::Updated
        | Answer::Invalid(_)
        | Answer::Snapshot(_)
        | Answer::Events(_)
        | Answer::Gap { .. }
        | Answer::Schedule(_)
        | Answer::Machines(_)
        | Answer::InverseOffers(_)
        | Answer::EndedFrameworks(_)
        | Answer::Explained(_)
        | Answer::Operations(_)) => Err(unexpected(&answer)),
    }
}

/// Says that there is no such task.
pub(super) fn no_such_task(task: &str) -> Failure {
    let message = format_args!("no task begins with {task:?}; `tepui ps -a` lists them");
    Failure::new(Exit::NotFound, message)
}
