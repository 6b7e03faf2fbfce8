//! `tepui attach`: the program of a task that runs, as it writes, and perhaps reads.
//!
//! Called by `cli`. It asks the task's agent over a stream of its own, and shares with `exec` how
//! input, output and the user's terminal are passed on. Deliberately not here: what was written
//! before, which `logs` shows.

use clap::Args;
use tepui_core::auth::PeerRole;
use tepui_core::protocol::enter::Attach;
use tepui_core::protocol::operator::{Answer, Call};
use tepui_transport::enter::{Entered, attach as ask};

use super::connect::{OperatorArgs, disconnected, unexpected};
use super::exec::{Raw, feed, of_us, show, started};
use super::exit::Exit;
use super::failure::Failure;
use super::logs::find;
use super::signals::Interrupts;
use super::text::Text;
use super::{Io, Threads, block_on, values};
use crate::target::{Error, Target, identity_dir};

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
    let calls = [Call::Tasks { all: true }, Call::Agents];
    let answers = args.operator.ask_all(calls).await?;
    let (task, agent) = match answers.as_slice() {
        [Answer::Tasks(tasks), Answer::Agents(agents)] => find(&args.task, tasks, agents)?,
        [first, ..] => return Err(unexpected(first)),
        [] => return Err(Failure::failed("the master answered nothing")),
    };
    let wanted = Attach {
        framework: task.framework.clone(),
        task: task.status.task.clone(),
        input: args.interactive,
    };
    let target = args.operator.target()?;
    let target = Target {
        tls_dir: identity_dir(&target.tls_dir, PeerRole::Operator),
        ..target
    };
    let address = &agent.info.address;
    let of_agent = |error: Error| {
        let failure = disconnected(&error, &target);
        let message = format_args!("the agent at {address}: {error}");
        Failure::new(failure.exit, message)
    };
    let mut interrupts = Interrupts::listen()?;
    let attaching = async {
        let mut attached = ask(&target, address, wanted).await.map_err(of_agent)?;
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
