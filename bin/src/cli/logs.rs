//! `tepui logs`: what a task has written, read from its agent.
//!
//! Called by `cli`. Deliberately not here: what `run` shows of its own task (see `run::pump`).

use clap::Args;
use tepui_core::protocol::agent::{OutputFile, Read};

use super::at_agent::{AtAgent, find_task};
use super::connect::OperatorArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::signals::Interrupts;
use super::text::Text;
use super::{Io, Threads, block_on, values};
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
        let (task, agent) = find_task(&args.operator, &args.task).await?;
        let read = Read {
            framework: task.framework,
            task: task.status.task,
            file: match args.stderr {
                true => OutputFile::Stderr,
                false => OutputFile::Stdout,
            },
            offset: 0,
            follow: args.follow,
        };
        copy(&agent, read, io).await
    })
}

async fn copy(agent: &AtAgent, read: Read, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let of_agent = |error| agent.failed(error);
    let mut interrupts = Interrupts::listen()?;
    let output = read_output(&agent.target, &agent.address, read).await;
    let mut output = output.map_err(of_agent)?;
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
