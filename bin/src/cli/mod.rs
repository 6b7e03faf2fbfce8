//! The command line: `tepui` and the options of the daemons.
//!
//! Called by the three binaries. Flags come before environment variables, which come before
//! defaults. What is wrong with a command line is said in one line that names the flag, the value
//! and what was expected, with exit code 2; all exit codes are in `exit`. Deliberately not here:
//! what a cluster is made of.

mod addresses;
mod agent_args;
mod agents;
mod at_agent;
mod attach;
mod cert;
mod completions;
mod connect;
mod container_args;
mod context;
mod dev;
mod endings;
mod events;
mod exec;
mod exit;
mod failure;
mod frameworks;
mod isolation_args;
mod limit_args;
mod list;
mod logging;
mod logs;
mod maintenance;
mod master;
mod master_args;
mod node;
mod observed;
mod operations;
mod output;
mod packing;
mod published;
mod roles;
mod run;
mod signals;
mod sim;
mod text;
mod times;
mod usage;
mod values;
mod views;

use std::ffi::OsString;
use std::io::{self, LineWriter, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use tepui_core::protocol::hello;

use exit::Exit;
use failure::Failure;

const EXAMPLES: &str = "\
Examples:
  tepui run -- echo hello
  tepui run --cpus 0.5 --mem 64M -- sh -c 'echo hello from $TEPUI_TASK_ID'
  tepui dev
  tepui ps -a

Exit codes:
  0 success, 1 failed, 2 bad usage, 3 not found, 4 denied, 124 timeout;
  run: the task's own, 128 + n for signal n, 125 for a failure of tepui itself, 130 interrupted";

/// Run commands on a cluster that shares its machines by resource offers
#[derive(Debug, Parser)]
#[command(name = "tepui", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    log: logging::ClientLogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command as a task and wait for it; without a master, on a cluster of its own
    Run(run::RunArgs),
    /// List tasks
    Ps(list::PsArgs),
    /// Print what a task writes
    Logs(logs::LogsArgs),
    /// Run a command in the container of a task
    Exec(exec::ExecArgs),
    /// Follow what a task writes from now on, and be what it reads
    Attach(attach::AttachArgs),
    /// End a task
    Kill(list::KillArgs),
    /// Show which master leads, and since when
    #[command(after_help = "Examples:\n  tepui master\n  tepui master --output json")]
    Master(list::ListArgs),
    /// Look at agents, and say which are used
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "\
Examples:
  tepui agent list
  tepui agent list --output wide
  tepui agent deactivate tepui-1-S1"
    )]
    Agent(agents::AgentCommand),
    /// Look at frameworks, and end one
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "\
Examples:
  tepui framework list
  tepui framework ended
  tepui framework teardown tepui-1-0003"
    )]
    Framework(frameworks::FrameworkCommand),
    /// Say why a framework is not offered what there is
    Explain(frameworks::ExplainArgs),
    /// Plan when machines are out of service, and take them down and up
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "\
Examples:
  tepui maintenance set schedule.json
  tepui maintenance status
  tepui maintenance down host-1
  tepui maintenance up host-1"
    )]
    Maintenance(maintenance::MaintenanceCommand),
    /// Look at offers
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "\
Examples:
  tepui offer list
  tepui offer list --no-headers"
    )]
    Offer(list::OfferCommand),
    /// Look at operations on resources
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "\
Examples:
  tepui operation list
  tepui operation list -o wide"
    )]
    Operation(operations::OperationCommand),
    /// Look at roles
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "\
Examples:
  tepui role list
  tepui role tree"
    )]
    Role(roles::RoleCommand),
    /// Look at and change what roles are promised, and what they may have
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "\
Examples:
  tepui quota set ads/web --guarantee 'cpus:8;mem:16384' --limit 'cpus:32'
  tepui quota get
  tepui quota remove ads/web"
    )]
    Quota(roles::QuotaCommand),
    /// Change what roles weigh against each other
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "\
Examples:
  tepui weight set ads=2 batch=0.5"
    )]
    Weight(roles::WeightCommand),
    /// Print what changes in the cluster, as it happens
    Events(events::EventsArgs),
    /// Keep a cluster of one master and one agent running, to try things out
    Dev(dev::DevArgs),
    /// Make and show certificates
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "\
Examples:
  tepui cert init ca
  tepui cert issue --ca ca --role agent --name a1 --out a1/tls
  tepui cert show a1/tls"
    )]
    Cert(cert::CertCommand),
    /// Run a whole cluster in virtual time
    Sim(sim::SimArgs),
    /// Print a script that completes command lines
    Completions(completions::CompletionsArgs),
    /// Print the version, and the protocols that are spoken
    #[command(after_help = "Examples:\n  tepui version")]
    Version,
}

/// Where a command writes.
struct Io<'a> {
    /// Results.
    out: &'a mut dyn Write,
    /// What happens meanwhile.
    err: &'a mut dyn Write,
}

/// Runs `tepui` with the arguments of this process.
pub fn tepui() -> ExitCode {
    finish(parse::<Cli>(std::env::args_os(), "tepui").and_then(|cli| {
        cli.log.install();
        // Whole lines, so that those of several programs on one terminal do not mix.
        let (mut out, mut err) = (io::stdout(), LineWriter::new(io::stderr()));
        let mut io = Io {
            out: &mut out,
            err: &mut err,
        };
        let exit = dispatch(cli.command, &mut io)?;
        // What is not written by now would get lost without a word.
        io.out.flush()?;
        Ok(exit)
    }))
}

/// Runs `tepui-master` with the arguments of this process.
pub fn tepui_master() -> ExitCode {
    let args = parse::<master_args::MasterArgs>(std::env::args_os(), "tepui-master");
    finish(args.and_then(|args| {
        shut_off()?;
        master_args::run(args)
    }))
}

/// Runs `tepui-agent` with the arguments of this process.
pub fn tepui_agent() -> ExitCode {
    let args = parse::<agent_args::AgentArgs>(std::env::args_os(), "tepui-agent");
    finish(args.and_then(|args| {
        // Without privileges it could not make a namespace of its own any more.
        if nix::unistd::geteuid().is_root() {
            shut_off()?;
        }
        agent_args::run(args)
    }))
}

/// Makes this process one whose memory nobody sees but root: keys and secrets of tasks are in it,
/// and would be in the file that is left of one that crashes.
fn shut_off() -> Result<(), Failure> {
    nix::sys::prctl::set_dumpable(false)
        .map_err(|errno| Failure::failed(format_args!("cannot keep memory from others: {errno}")))
}

/// Parses a command line. Asking for help or the version ends successfully without an error line.
fn parse<T: Parser>(args: impl IntoIterator<Item = OsString>, program: &str) -> Result<T, Failure> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = text::values_may_begin_with_dashes(T::command());
    if let Some(flag) = text::flag_before_the_end(&command, &args) {
        let message = format_args!("{flag}: expected a value before --");
        return Err(Failure::new(Exit::Usage, message));
    }
    let parsed = command.try_get_matches_from_mut(args);
    let parsed = parsed.and_then(|matches| T::from_arg_matches(&matches));
    parsed.or_else(|error| {
        let kind = error.kind();
        let exit = if matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            Exit::Success
        } else if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            Exit::Usage
        } else {
            return Err(failure::from_clap(&error, program));
        };
        error.print()?;
        let message = String::new();
        Err(Failure { exit, message })
    })
}

fn dispatch(command: Command, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(args, io).map_err(Failure::of_run),
        Command::Ps(args) => list::ps(&args, io),
        Command::Logs(args) => logs::logs(&args, io),
        Command::Exec(args) => exec::exec(&args, io),
        Command::Attach(args) => attach::attach(&args, io),
        Command::Kill(args) => list::kill(&args, io),
        Command::Master(args) => master::master(&args, io),
        Command::Agent(command) => agents::agent(&command, io),
        Command::Framework(command) => frameworks::framework(&command, io),
        Command::Explain(args) => frameworks::explain(&args, io),
        Command::Maintenance(command) => maintenance::maintenance(&command, io),
        Command::Offer(list::OfferCommand::List(args)) => list::offers(&args, io),
        Command::Operation(operations::OperationCommand::List(args)) => operations::list(&args, io),
        Command::Role(command) => roles::role(&command, io),
        Command::Quota(command) => roles::quota(&command, io),
        Command::Weight(command) => roles::weight(&command, io),
        Command::Events(args) => events::events(&args, io),
        Command::Dev(args) => dev::dev(args, io),
        Command::Cert(command) => cert::cert(&command, io),
        Command::Sim(args) => sim::sim(&args, io),
        Command::Completions(args) => completions::completions(args, io),
        Command::Version => version(io),
    }
}

fn version(io: &mut Io<'_>) -> Result<Exit, Failure> {
    let (oldest, newest) = (hello::PROTOCOL_MIN, hello::PROTOCOL_MAX);
    writeln!(io.out, "tepui {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(io.out, "protocols {oldest} to {newest}")?;
    Ok(Exit::Success)
}

/// How many threads a command needs.
#[derive(Clone, Copy, Debug)]
enum Threads {
    /// It asks and waits.
    One,
    /// It asks, waits, and writes meanwhile: a reader that is slow must not stop its connections.
    Two,
    /// It runs nodes of a cluster.
    Many,
}

/// Runs a future to its end.
fn block_on<T>(
    threads: Threads,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Two | Threads::Many => tokio::runtime::Builder::new_multi_thread(),
    };
    if matches!(threads, Threads::Two) {
        // The other one is this, with the future.
        builder.worker_threads(1);
    }
    let runtime = builder.enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::failed(format_args!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(future);
    // A blocked thread, say a read of a pipe that nobody writes to, must not hold up the exit.
    runtime.shutdown_background();
    result
}

fn finish(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !failure.message.is_empty() {
                // If not even that can be written, the exit code has to say it alone.
                let _ = writeln!(io::stderr(), "error: {}", failure.message);
            }
            failure.exit.into()
        }
    }
}

#[cfg(test)]
mod tests;
