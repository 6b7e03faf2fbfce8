//! `tepui attach`: the program of a task that runs, as it writes, and perhaps reads.
//!
//! Called by `cli`. It asks the task's agent over a stream of its own, and shares with `exec` how
//! input, output and the user's terminal are passed on. Deliberately not here: what was written
//! before, which `logs` shows.

use clap::Args;
use tepui_core::protocol::enter::Attach;
use tepui_transport::enter::{Entered, attach as ask};

use super::at_agent::find_task;
use super::connect::OperatorArgs;
use super::exec::{Raw, feed, of_us, show, started};
use super::exit::Exit;
use super::failure::Failure;
use super::signals::Interrupts;
use super::text::Text;
use super::{Io, Threads, block_on, values};

/// Flags of `tepui attach`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui attach run-0a1b2c3d
  tepui attach -it shell-1

The task goes on when this ends. Exit codes:
  the task's own, 128 + n for signal n, 2 bad usage, 3 not found, 4 denied,
  125 for another failure of tepui itself, 130 interrupted")]
pub(super) struct AttachArgs {
    /// The task's id, or a beginning that no other has
    #[arg(value_parser = Text(values::id_prefix))]
    task: String,
    /// Pass standard input on. The task must have been started for that, and nobody else do so
    #[arg(short, long)]
    interactive: bool,
    /// The task is on a terminal: pass all keys on as they are typed, and the size of ours
    #[arg(short, long, requires = "interactive")]
    tty: bool,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Follows the program of a task.
pub(super) fn attach(args: &AttachArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    block_on(Threads::Two, run(args, io)).map_err(of_us)
}

async fn run(args: &AttachArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let (task, agent) = find_task(&args.operator, &args.task).await?;
    let wanted = Attach {
        framework: task.framework,
        task: task.status.task,
        input: args.interactive,
    };
    let mut interrupts = Interrupts::listen()?;
    let attaching = async {
        let attached = ask(&agent.target, &agent.address, wanted).await;
        let mut attached = attached.map_err(|error| agent.failed(error))?;
        started(&mut attached.outputs).await.map(|()| attached)
    };
    let Entered {
        inputs,
        mut outputs,
    } = tokio::select! {
        attached = attaching => attached?,
        () = interrupts.next() => return Ok(Exit::Interrupted),
    };
    let raw = match args.tty {
        true => Raw::set()?,
        false => None,
    };
    let feeding = async {
        match args.interactive {
            true => feed(inputs, args.tty, true).await,
            false => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = show(&mut outputs, io) => ended,
        failed = feeding => Err(failed),
        () = interrupts.next() => Ok(Exit::Interrupted),
    };
    drop(raw);
    if ended.is_ok() {
        outputs.close().await;
    }
    ended
}
