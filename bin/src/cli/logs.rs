//! `tepui logs`: what a task has written, read from its agent.
//!
//! Called by `cli`. Deliberately not here: what `run` shows of its own task (see `run::pump`).

use clap::Args;
use tepui_core::auth::PeerRole;
use tepui_core::protocol::agent::{OutputFile, Read};
use tepui_core::protocol::operator::{AgentView, Answer, Call, TaskView};

use super::connect::{OperatorArgs, disconnected, unexpected};
use super::exit::Exit;
use super::failure::Failure;
use super::list::no_such_task;
use super::signals::Interrupts;
use super::text::Text;
use super::{Io, Threads, block_on, values};
use crate::target::{Error, Target, identity_dir};
use tepui_transport::output::read_output;

/// Flags of `tepui logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui logs run-0a1b2c3d
  tepui logs -f run-0a
  tepui logs --stderr run-0a1b2c3d")]
pub(super) struct LogsArgs {
    /// The task's id, or a beginning that no other has
    #[arg(value_parser = Text(values::id_prefix))]
    task: String,
    /// Go on as the task writes more, until it is over
    #[arg(short, long)]
    follow: bool,
    /// Show its standard error instead of its standard output
    #[arg(long)]
    stderr: bool,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Prints what a task has written.
pub(super) fn logs(args: &LogsArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    block_on(Threads::Two, async {
        let calls = [Call::Tasks { all: true }, Call::Agents];
        let answers = args.operator.ask_all(calls).await?;
        let (task, agent) = match answers.as_slice() {
            [Answer::Tasks(tasks), Answer::Agents(agents)] => find(&args.task, tasks, agents)?,
            [first, ..] => return Err(unexpected(first)),
            [] => return Err(Failure::failed("the master answered nothing")),
        };
        let read = Read {
            framework: task.framework.clone(),
            task: task.status.task.clone(),
            file: match args.stderr {
                true => OutputFile::Stderr,
                false => OutputFile::Stdout,
            },
            offset: 0,
            follow: args.follow,
        };
        copy(args, &agent.info.address, read, io).await
    })
}

async fn copy(
    args: &LogsArgs,
    address: &str,
    read: Read,
    io: &mut Io<'_>,
) -> Result<Exit, Failure> {
    let target = args.operator.target()?;
    let target = Target {
        // An operator may read what any task writes, a framework only what its own do.
        tls_dir: identity_dir(&target.tls_dir, PeerRole::Operator),
        ..target
    };
    let mut interrupts = Interrupts::listen()?;
    let of_agent = |error: Error| {
        let failure = disconnected(&error, &target);
        let message = format_args!("cannot read from the agent at {address}: {error}");
        Failure::new(failure.exit, message)
    };
    let mut output = read_output(&target, address, read)
        .await
        .map_err(of_agent)?;
    loop {
        let chunk = tokio::select! {
            chunk = output.chunk() => chunk.map_err(of_agent)?,
            () = interrupts.next() => return Ok(Exit::Interrupted),
        };
        let Some(chunk) = chunk else {
            return Ok(Exit::Success);
        };
        io.out.write_all(&chunk)?;
        io.out.flush()?;
    }
}

/// Finds the one task whose id begins so, or is exactly so, and its agent.
pub(super) fn find<'a>(
    wanted: &str,
    tasks: &'a [TaskView],
    agents: &'a [AgentView],
) -> Result<(&'a TaskView, &'a AgentView), Failure> {
    let whole = tasks
        .iter()
        .filter(|task| task.status.task.as_str() == wanted);
    let whole: Vec<&TaskView> = whole.collect();
    let begun = tasks
        .iter()
        .filter(|task| task.status.task.as_str().starts_with(wanted));
    let found = if whole.is_empty() {
        begun.collect()
    } else {
        whole
    };
    let task = match found.as_slice() {
        [task] => *task,
        [] => return Err(no_such_task(wanted)),
        [_, _, ..] => {
            let message = format_args!("several tasks begin with {wanted:?}; give more of the id");
            return Err(Failure::failed(message));
        }
    };
    let agent = agents.iter().find(|agent| agent.id == task.agent);
    let agent = agent.ok_or_else(|| {
        let message = format_args!(
            "the agent {} of task {} is not there any more, and what it wrote with it",
            task.agent, task.status.task
        );
        Failure::new(Exit::NotFound, message)
    })?;
    Ok((task, agent))
}
