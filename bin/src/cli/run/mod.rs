//! `tepui run`: a command as a task, on a given cluster or one of its own.
//!
//! Called by `cli`. The only difference between the two is who starts the daemons: even a cluster
//! in this process is talked to over QUIC. Deliberately not here: scheduling (see `plan`).

mod container;
mod group;
mod health;
mod plan;
mod pump;
mod report;
mod session;
mod step;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::StringValueParser;
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::{Milli, Resources};
use tepui_core::roles::Role;
use tepui_isolation::Logs;
use tokio::time::Instant;

use super::connect::{ClusterArgs, PATIENCE, disconnected};
use super::exit::Exit;
use super::failure::{Failure, with_causes};
use super::isolation_args::IsolationArgs;
use super::signals::Interrupts;
use super::text::Text;
use super::{Io, Threads, block_on, values};
use crate::daemon::ContainerOptions;
use crate::embedded::{Embedded, EmbeddedOptions};
use crate::framework::Framework;
use crate::target::Target;
use container::AskArgs;
use health::HealthArgs;
use plan::{Plan, Template};
use pump::Cut;
use report::{Report, Style};
use session::{Session, Stay, Terms};
use step::Step;

/// For how long detached tasks may go on without their framework.
const DETACHED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Flags of `tepui run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui run -- echo hello
  tepui run --cpus 0.5 --mem 64 -- sh -c 'echo hello from $TEPUI_TASK_ID; exit 3'
  tepui run --env GREETING=hello --timeout 1m -- sh -c 'echo $GREETING'
  tepui run --instances 3 --resources 'ports:[31000-31000]' -- sleep 10
  tepui run --json -- date
  tepui run --uri https://files.example/tool.tar.gz -- ./tool/run
  tepui run --master m1:5050 --image registry.example:5000/web:2 --volume /srv/data:/data:ro
  tepui run --health-http 8000/ --health-interval 5s -- python3 -m http.server 8000
  tepui run --master 127.0.0.1:5050 --tls-dir ann/tls --detach -- sleep 1h
  tepui run --group pair.json

pair.json: tasks that are launched together on one agent; if one fails the others are killed
  { \"resources\": \"cpus:0.1;mem:32;disk:64\", \"networks\": [], \"tasks\": [
      { \"name\": \"web\", \"command\": [\"./serve\", \"8000\"], \"cpus\": 0.5, \"mem\": \"64M\",
        \"resources\": \"ports:[8000-8000]\", \"shared\": [\"pages\"], \"shared_memory\": true },
      { \"name\": \"pull\", \"command\": \"while sleep 60; do git -C pages pull; done\",
        \"shared\": [\"pages\"], \"env\": { \"K\": \"V\" } } ] }
  also of a task: \"image\", \"volumes\", \"uris\", \"pids\", as the flags of these names

Its exit code is the task's own, or 128 + n if signal n ended it; 125 if tepui itself failed or
could not start the command, 124 after --timeout, 130 if it was interrupted. Of several instances
the first that failed counts, and so it is in a group.")]
pub(super) struct RunArgs {
    /// CPU cores for each instance
    #[arg(long, value_name = "CORES", default_value = "1", value_parser = Text(values::cpus))]
    cpus: Milli,
    /// Memory for each instance; a plain number is MiB
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = Text(values::memory))]
    mem: Milli,
    /// What else each instance takes
    #[arg(long, value_name = "RESOURCES", value_parser = Text(values::resources))]
    resources: Option<Resources>,
    /// The most processes and threads of an instance
    #[arg(long, value_name = "COUNT", value_parser = Text(values::count))]
    pids: Option<u32>,
    /// An environment variable; can be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = Text(values::variable))]
    env: Vec<(String, String)>,
    /// A name for people; by default the command's
    #[arg(long, value_parser = Text(values::name))]
    name: Option<String>,
    /// The role in whose name resources are taken; can be given several times
    #[arg(long, default_value = "*", value_parser = Text(values::role))]
    role: Vec<Role>,
    /// How many times to run the command, side by side
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = Text(values::count))]
    instances: u32,
    /// Run the tasks of a JSON file together, on one agent: see below
    #[arg(
        long,
        value_name = "FILE",
        value_parser = values::path(),
        conflicts_with_all = [
            "cpus", "mem", "resources", "pids", "env", "name", "instances", "command", "AskArgs",
            "HealthArgs",
        ]
    )]
    group: Option<PathBuf>,
    /// How long a kill waits between SIGTERM and SIGKILL
    #[arg(long, value_name = "TIME", value_parser = Text(values::duration))]
    kill_grace: Option<Duration>,
    /// Kill the task and fail if it is not over in time
    #[arg(long, value_name = "TIME", value_parser = Text(values::positive_duration))]
    timeout: Option<Duration>,
    /// Print the task's id once it runs, and let it go on alone; needs --master
    #[arg(long, conflicts_with = "timeout")]
    detach: bool,
    /// Print every step and all output as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Print no steps
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    #[command(flatten)]
    isolation: IsolationArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    health: HealthArgs,
    /// The command and its arguments
    #[arg(last = true, required_unless_present_any = ["image", "group"], value_name = "CMD",
          value_parser = Text(StringValueParser::new()))]
    command: Vec<String>,
}

/// Runs a command as a task.
pub(super) fn run(args: RunArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let plan = args.plan()?;
    let target = args.cluster.target()?;
    args.check_cluster(target.as_ref())?;
    let style = match (args.json, args.quiet) {
        (true, _) => Style::Json,
        (false, true) => Style::Quiet,
        (false, false) => Style::for_people(),
    };
    let threads = if target.is_some() {
        Threads::Two
    } else {
        Threads::Many
    };
    let result = block_on(threads, async {
        let mut interrupts = Interrupts::listen()?;
        match target {
            Some(target) => on_cluster(&args, plan, target, style, io, &mut interrupts).await,
            None => on_own_cluster(&args, plan, style, io, &mut interrupts).await,
        }
    });
    let code = match &result {
        Ok(exit) => exit.code(),
        Err(failure) => failure.exit.of_run().code(),
    };
    Report::new(io, style).step(&Step::Exit { code })?;
    result
}

async fn on_own_cluster(
    args: &RunArgs,
    plan: Plan,
    style: Style,
    io: &mut Io<'_>,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    let options = EmbeddedOptions {
        isolation: args.isolation.isolation(),
        // It is the user's own machine, and output is for the user to read, however slowly.
        containers: ContainerOptions {
            host_volumes: plan.host_paths(),
            logs: Logs::UNBOUNDED,
            ..ContainerOptions::default()
        },
        ..EmbeddedOptions::default()
    };
    let started = Embedded::start(options).await;
    let mut cluster = started
        .map_err(|error| Failure::failed(format_args!("no cluster: {}", with_causes(&error))))?;
    let broken = |error| Failure::failed(format_args!("the cluster: {}", with_causes(&error)));
    Report::new(io, style).step(&Step::Cluster {
        mode: cluster.isolation().to_owned(),
    })?;
    let target = cluster.target();
    let result = tokio::select! {
        result = on_cluster(args, plan, target, style, io, interrupts) => result,
        // Nothing would come any more: no offer, no end of a task.
        error = cluster.ended() => Err(broken(error)),
    };
    let ended = cluster.shutdown().await.map_err(broken);
    // How the task ended matters more than how the cluster did.
    match (result, ended) {
        (Ok(exit), Err(failure)) if exit.code() == 0 => Err(failure),
        (result, _) => result,
    }
}

async fn on_cluster(
    args: &RunArgs,
    plan: Plan,
    target: Target,
    style: Style,
    io: &mut Io<'_>,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let failover = if args.detach {
        DETACHED
    } else {
        Duration::ZERO
    };
    let connecting = Framework::builder("tepui run")
        .roles(args.role.iter().cloned())
        .failover_timeout(failover)
        .capabilities(plan.capabilities())
        .connect(&target);
    let patience = args
        .timeout
        .map_or(PATIENCE, |timeout| timeout.min(PATIENCE));
    let connected = tokio::select! {
        connected = tokio::time::timeout(patience, connecting) => connected,
        () = interrupts.next() => return Ok(Exit::Interrupted),
    };
    let (cluster, events) = connected
        .map_err(|_| {
            let exit = match args.timeout {
                Some(timeout) if timeout <= PATIENCE => Exit::Timeout,
                Some(_) | None => Exit::OwnFailure,
            };
            let message = format_args!(
                "no answer from the master at {} within {}; is it running? \
                 `tepui dev` starts a cluster",
                target.master,
                humantime::format_duration(patience)
            );
            Failure::new(exit, message)
        })?
        .map_err(|error| disconnected(&error, &target))?;
    let stay = if args.detach {
        Stay::UntilStarted
    } else {
        Stay::UntilTheEnd
    };
    let terms = Terms {
        target,
        stay,
        deadline,
        cut: match (style, plan.has_labels()) {
            (Style::Json, _) => Cut::Characters,
            (Style::Lines | Style::Spinner | Style::Quiet, false) => Cut::Anywhere,
            (Style::Lines | Style::Spinner | Style::Quiet, true) => Cut::Lines,
        },
    };
    let tasks: Vec<String> = plan.tasks().map(ToString::to_string).collect();
    let report = Report::new(io, style);
    let exit = Session::new(terms, plan, report, cluster)
        .run(events, interrupts)
        .await?;
    if args.detach && exit == Exit::Success && style != Style::Json {
        for task in tasks {
            writeln!(io.out, "{task}")?;
        }
    }
    Ok(exit)
}

impl RunArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        let random: u32 = random();
        let id = format!("run-{random:08x}");
        match &self.group {
            Some(file) => group::read(file, &id, self.kill_grace),
            None => Ok(Plan::new(self.template(id)?, self.instances)),
        }
    }

    fn template(&self, id: String) -> Result<Template, Failure> {
        let mut resources = Resources::cpus_mem(self.cpus, self.mem);
        if let Some(more) = &self.resources {
            let text = more.to_string();
            if let Some(twice) = more
                .iter()
                .find(|one| ["cpus", "mem"].contains(&one.name()))
            {
                let problem =
                    format_args!("expected no {0}, for which there is --{0}", twice.name());
                return Err(Failure::usage("--resources", &text, problem));
            }
            let added = resources.add(more);
            added.map_err(|error| Failure::usage("--resources", &text, error))?;
        }
        // Without one it is the image that says what is run.
        let none = String::new();
        let (program, arguments) = self.command.split_first().unwrap_or((&none, &[]));
        if !self.command.is_empty() {
            values::command(&self.command)
                .map_err(|problem| Failure::usage("CMD", program, problem))?;
        }
        let name = self.ask.image.as_ref().filter(|_| program.is_empty());
        let name = name.unwrap_or(program);
        let mut command = CommandInfo::exec(program, arguments);
        command.environment.clone_from(&self.env);
        command.uris = self.ask.uris();
        Ok(Template {
            id,
            name: self.name.clone().unwrap_or_else(|| name.clone()),
            resources,
            command,
            container: self.ask.container(),
            health_check: self.health.check(),
            kill_grace: self.kill_grace,
            pids: self.pids,
        })
    }

    /// Checks that the flags fit the kind of cluster.
    fn check_cluster(&self, target: Option<&Target>) -> Result<(), Failure> {
        let message = match (target, self.isolation.flag()) {
            (Some(_), Some(flag)) => {
                format!("{flag}: expected no --master, for a cluster's agents decide it themselves")
            }
            (None, _) if self.detach => {
                "--detach: expected --master as well, for a cluster of our own ends with us".into()
            }
            (Some(_), None) | (None, _) => return Ok(()),
        };
        Err(Failure::new(Exit::Usage, message))
    }
}

/// Returns a number that other runs do not have, most likely.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    // The keys of the standard hasher are random, which is all that is needed here.
    let hash = RandomState::new().hash_one(std::process::id());
    (hash >> 32) as u32
}
