//! `tepui exec`: a further process in the container of a task that runs.
//!
//! Called by `cli`. It asks the task's agent over a stream of its own, passes input, output, the
//! terminal's size and the end on, and gives the user's terminal back as it was, however it ends.

use std::io::{self, IsTerminal, Read};

use clap::Args;
use clap::builder::StringValueParser;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tepui_core::limits::ENTER_BYTES;
use tepui_core::protocol::container_info::Terminal as Size;
use tepui_core::protocol::enter::{Enter, Input, Output, Refusal};
use tepui_core::protocol::task::CommandInfo;
use tepui_transport::enter::{Entered, Inputs, Outputs, enter};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::at_agent::find_task;
use super::connect::OperatorArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::signals::Interrupts;
use super::text::Text;
use super::{Io, Threads, block_on, values};
use crate::target::Error;

/// The size of a terminal that nobody has.
const NO_SIZE: Size = Size {
    rows: 24,
    columns: 80,
};

/// Flags of `tepui exec`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui exec run-0a1b2c3d -- ls -l
  tepui exec -it run-0a -- sh
  tar c . | tepui exec -i run-0a -- tar x

Exit codes:
  the command's own, 128 + n for signal n, 2 bad usage, 3 not found, 4 denied,
  125 for another failure of tepui itself, 130 interrupted")]
pub(super) struct ExecArgs {
    /// The task's id, or a beginning that no other has
    #[arg(value_parser = Text(values::id_prefix))]
    task: String,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Run it on a terminal of its own
    #[arg(short, long)]
    tty: bool,
    /// An environment variable; can be given several times
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = Text(values::variable))]
    env: Vec<(String, String)>,
    /// The user to run it as; the task's by default
    #[arg(short, long, value_name = "USER", value_parser = Text(values::name))]
    user: Option<String>,
    #[command(flatten)]
    operator: OperatorArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD",
          value_parser = Text(StringValueParser::new()))]
    command: Vec<String>,
}

impl ExecArgs {
    fn command(&self) -> Result<CommandInfo, Failure> {
        let none = String::new();
        let (program, arguments) = self.command.split_first().unwrap_or((&none, &[]));
        values::command(&self.command)
            .map_err(|problem| Failure::usage("CMD", program, problem))?;
        let mut command = CommandInfo::exec(program, arguments);
        if let Some(term) = self.tty.then(|| std::env::var("TERM").ok()).flatten() {
            command.environment.push(("TERM".to_owned(), term));
        }
        command.environment.extend(self.env.iter().cloned());
        command.user.clone_from(&self.user);
        Ok(command)
    }
}

/// Runs a command in the container of a task.
pub(super) fn exec(args: &ExecArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let command = args.command()?;
    block_on(Threads::Two, run(args, command, io)).map_err(of_us)
}

/// Says of a failure of ours that it is none of the command: what is not said of the task and of us
/// must not look like a code of it.
pub(super) fn of_us(failure: Failure) -> Failure {
    match failure.exit {
        Exit::Failed => failure.of_run(),
        Exit::Success
        | Exit::Usage
        | Exit::NotFound
        | Exit::Denied
        | Exit::Timeout
        | Exit::OwnFailure
        | Exit::Interrupted
        | Exit::BrokenPipe
        | Exit::Task(_) => failure,
    }
}

async fn run(args: &ExecArgs, command: CommandInfo, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let (task, agent) = find_task(&args.operator, &args.task).await?;
    let wanted = Enter {
        framework: task.framework,
        task: task.status.task,
        command,
        terminal: args.tty.then(size),
    };
    let mut interrupts = Interrupts::listen()?;
    let entering = async {
        let entered = enter(&agent.target, &agent.address, wanted).await;
        let mut entered = entered.map_err(|error| agent.failed(error))?;
        started(&mut entered.outputs).await.map(|()| entered)
    };
    let Entered { inputs, outputs } = tokio::select! {
        entered = entering => entered?,
        () = interrupts.next() => return Ok(Exit::Interrupted),
    };
    let raw = match args.tty && args.interactive {
        true => Raw::set()?,
        false => None,
    };
    let mut outputs = outputs;
    let ended = tokio::select! {
        ended = show(&mut outputs, io) => ended,
        failed = feed(inputs, args.tty, args.interactive) => Err(failed),
        () = interrupts.next() => Ok(Exit::Interrupted),
    };
    drop(raw);
    // Whatever it was: nobody is to wait for us.
    outputs.close().await;
    ended
}

/// Waits until the process runs, or is refused.
pub(super) async fn started(outputs: &mut Outputs) -> Result<(), Failure> {
    match outputs.next().await.map_err(lost)? {
        Output::Started => Ok(()),
        Output::Refused(refusal) => Err(refused(&refusal)),
        other @ (Output::Stdout(_) | Output::Stderr(_) | Output::Ended(_) | Output::Lost) => {
            let message = format_args!("the agent said something else than it should: {other:?}");
            Err(Failure::failed(message))
        }
    }
}

fn refused(refusal: &Refusal) -> Failure {
    let exit = match refusal {
        Refusal::NotRunning(_) => Exit::NotFound,
        Refusal::Denied(_) => Exit::Denied,
        Refusal::Invalid(_) => Exit::Usage,
        Refusal::Unsupported(_) | Refusal::Failed(_) | Refusal::TooMany(_) => Exit::Failed,
    };
    Failure::new(exit, refusal.reason())
}

fn lost(error: Error) -> Failure {
    Failure::failed(format_args!("the connection to the agent: {error}"))
}

/// Prints what the process writes, up to its end.
pub(super) async fn show(outputs: &mut Outputs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    loop {
        match outputs.next().await.map_err(lost)? {
            Output::Started => {}
            Output::Refused(refusal) => return Err(refused(&refusal)),
            Output::Stdout(bytes) => {
                io.out.write_all(&bytes)?;
                io.out.flush()?;
            }
            Output::Stderr(bytes) => {
                io.err.write_all(&bytes)?;
                io.err.flush()?;
            }
            Output::Ended(exit) => return Ok(Exit::Task(exit)),
            Output::Lost => return Err(Failure::failed("it ended with its task")),
        }
    }
}

/// Passes on what is typed, and the size of the terminal. Returns only if that is impossible: when
/// the process has ended, it is told so by its output.
pub(super) async fn feed(mut inputs: Inputs, tty: bool, interactive: bool) -> Failure {
    let listened = match tty {
        true => signal(SignalKind::window_change()).map(Some),
        false => Ok(None),
    };
    let mut resized: Option<Signal> = match listened {
        Ok(resized) => resized,
        Err(error) => {
            return Failure::failed(format_args!("cannot listen for signals: {error}"));
        }
    };
    let mut open = interactive;
    let mut typed = read_stdin(open);
    // A window may have changed before there was somebody to be told.
    let mut next = match (tty, open) {
        (true, _) => Some(Input::Resize(size())),
        (false, true) => None,
        (false, false) => Some(Input::End),
    };
    loop {
        if let Some(input) = next.take()
            && let Err(error) = inputs.tell(input).await
        {
            tracing::debug!(%error, "no more input is taken");
            std::future::pending::<()>().await;
        }
        let changed = async {
            match &mut resized {
                Some(resized) => resized.recv().await,
                None => std::future::pending().await,
            }
        };
        next = tokio::select! {
            read = typed.recv(), if open => Some(match read {
                Some(Ok(bytes)) => Input::Bytes(bytes),
                None => {
                    open = false;
                    Input::End
                }
                Some(Err(error)) => {
                    let message = format_args!("cannot read standard input: {error}");
                    return Failure::failed(message);
                }
            }),
            _ = changed => Some(Input::Resize(size())),
        };
    }
}

/// Reads standard input on a thread of its own, which may wait for a key for ever; no more than is
/// taken.
fn read_stdin(wanted: bool) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (give, typed) = mpsc::channel(1);
    if wanted {
        std::thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            let mut buffer = vec![0; ENTER_BYTES];
            loop {
                let read = match stdin.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(length) => Ok(buffer[..length].to_vec()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                if give.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        });
    }
    typed
}

/// Returns the size of our terminal, if we are on one.
fn size() -> Size {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let found = tcgetwinsize(&stdin)
        .or_else(|_| tcgetwinsize(&stdout))
        .or_else(|_| tcgetwinsize(&stderr));
    match found {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Size {
            rows: size.ws_row,
            columns: size.ws_col,
        },
        Ok(_) | Err(_) => NO_SIZE,
    }
}

/// Our terminal, which passes all keys on until this is dropped.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// `None` if standard input is no terminal.
    pub(super) fn set() -> Result<Option<Self>, Failure> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let failed = |errno| Failure::failed(format_args!("cannot set up the terminal: {errno}"));
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw).map_err(failed)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to give back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}
