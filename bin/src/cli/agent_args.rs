//! The flags of `tepui-agent`.
//!
//! Called by its binary through `cli`. Deliberately not here: the agent.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tepui_core::agent::{Policy, Recover};
use tepui_core::attributes::Attributes;
use tepui_core::protocol::node::Domain;
use tepui_isolation::AgentLoss;

use super::addresses;
use super::container_args::ContainerArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::isolation_args::IsolationArgs;
use super::logging::DaemonLogArgs;
use super::signals::{self, Interrupts};
use super::text::Text;
use super::values::{self, Entries};
use super::{Threads, block_on, node};
use crate::daemon::{self, AgentOptions};
use crate::loopback;

/// Offer a machine to a cluster and run tasks on it
#[derive(Debug, Parser)]
#[command(
    name = "tepui-agent",
    version,
    after_help = "\
Examples:
  tepui-agent --master 127.0.0.1:5050 --work-dir /var/lib/tepui/agent --tls-dir master/tls
  tepui-agent --master m1:5050 --work-dir /var/lib/tepui/agent --listen 10.0.0.2:5051 \
--resources 'cpus:4;mem:4096;ports:[31000-31100];labels:{fast,ssd}' \
--attributes 'rack:r1;zone:[1-3];speed:2.5'

What runs survives the agent: the next one on the same directory looks after it. SIGUSR1 ends all of
that and takes the machine out of the cluster."
)]
pub(super) struct AgentArgs {
    /// The master of the cluster
    #[arg(long, value_name = "HOST:PORT", env = "TEPUI_MASTER",
          value_parser = Text(addresses::master_address))]
    master: String,
    /// Where to listen for those who read what tasks write
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0", env = "TEPUI_LISTEN",
          value_parser = Text(addresses::listen_address))]
    listen: SocketAddr,
    /// Where to keep sandboxes, and what must outlive a restart
    #[arg(long, value_name = "DIR", env = "TEPUI_WORK_DIR", value_parser = values::path())]
    work_dir: PathBuf,
    /// The directory with the agent's certificate, or with one directory a role; by default
    /// WORK_DIR/tls, or what a master on loopback has made
    #[arg(long, value_name = "DIR", env = "TEPUI_TLS_DIR", value_parser = values::path())]
    tls_dir: Option<PathBuf>,
    /// What there is to offer; what is not named is as the machine has it
    #[arg(long, value_name = "RESOURCES", env = "TEPUI_RESOURCES",
          value_parser = Text(values::entries))]
    resources: Option<Entries>,
    /// What to say about the machine, for placement
    #[arg(long, value_name = "ATTRIBUTES", env = "TEPUI_ATTRIBUTES",
          value_parser = Text(values::attributes))]
    attributes: Option<Attributes>,
    /// Where the machine stands, such as `eu-west/a`; the master must say so of itself as well
    #[arg(long, value_name = "REGION/ZONE", env = "TEPUI_DOMAIN",
          value_parser = Text(values::domain))]
    domain: Option<Domain>,
    /// The machine's name; by default what the system says
    #[arg(long, value_name = "NAME", value_parser = Text(addresses::host_name))]
    hostname: Option<String>,
    /// The most that it waits, by chance, before it registers for the first time
    #[arg(long, value_name = "TIME", default_value = "1s",
          value_parser = Text(values::duration))]
    registration_backoff: Duration,
    /// How long to keep the sandbox of a task that has ended; less as the disk fills up
    #[arg(long, value_name = "TIME", default_value = "7d",
          value_parser = Text(values::duration))]
    gc_delay: Duration,
    /// How much of the resources and attributes may be other than before the agent was last ended,
    /// if its tasks are to go on
    #[arg(long, value_enum, default_value_t = Reconfiguration::Any, value_name = "POLICY")]
    reconfiguration: Reconfiguration,
    /// What becomes of what the agent before was running: `reconnect` looks after it, `cleanup`
    /// ends it and leaves the cluster
    #[arg(long, value_name = "HOW", default_value = "reconnect",
          value_parser = Text(values::recover))]
    recover: Recover,
    #[command(flatten)]
    isolation: IsolationArgs,
    #[command(flatten)]
    log: DaemonLogArgs,
    #[command(flatten)]
    containers: ContainerArgs,
}

/// How much of an agent's description may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reconfiguration {
    /// Nothing
    Equal,
    /// It may have more
    Additive,
    /// Anything
    Any,
}

/// Runs an agent until it is told to end.
pub(super) fn run(args: AgentArgs) -> Result<Exit, Failure> {
    args.log.install();
    node::check_work_dir(&args.work_dir, node::PASSABLE)?;
    node::check_listen(args.listen)?;
    args.containers.check(args.isolation.isolation())?;
    let tls_dir = args.tls_dir.clone().unwrap_or_else(|| {
        let own = args.work_dir.join("tls");
        let local = || loopback::find(&args.master);
        if own.exists() {
            own
        } else {
            local().unwrap_or(own)
        }
    });
    let options = AgentOptions {
        master: args.master,
        listen: args.listen,
        work_dir: args.work_dir,
        tls_dir: tls_dir.clone(),
        resources: args.resources.unwrap_or_default().0,
        attributes: args.attributes.unwrap_or_default(),
        domain: args.domain,
        hostname: args.hostname,
        isolation: args.isolation.isolation(),
        containers: args.containers.options(),
        registration_backoff: args.registration_backoff,
        gc_delay: args.gc_delay,
        reconfiguration: match args.reconfiguration {
            Reconfiguration::Equal => Policy::Equal,
            Reconfiguration::Additive => Policy::Additive,
            Reconfiguration::Any => Policy::Any,
        },
        recover: args.recover,
        agent_loss: AgentLoss::RunOn,
    };
    block_on(Threads::Many, async {
        let mut interrupts = Interrupts::listen()?;
        let leave = signals::leave()?;
        let shutdown = async move { interrupts.next().await };
        let ended = daemon::agent(options, shutdown, leave).await;
        ended.map_err(|error| node::ended(&error, "--tls-dir", &tls_dir))?;
        Ok(Exit::Success)
    })
}
