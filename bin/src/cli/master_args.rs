//! The flags of `tepui-master`.
//!
//! Called by its binary through `cli`. Deliberately not here: the master.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use tepui_core::allocator::drf::{DemandRule, Packing};
use tepui_core::master::{CallRates, Rate};
use tepui_core::protocol::node::Domain;
use tepui_core::resources::Quantities;
use tepui_core::roles::Role;

use super::addresses;
use super::exit::Exit;
use super::failure::Failure;
use super::logging::DaemonLogArgs;
use super::signals::Interrupts;
use super::text::Text;
use super::values::NamedRate;
use super::{Threads, block_on, node, packing, values};
use crate::dev_authority;
use crate::master_node::{MasterNode, MasterOptions, OfferTimeout};

/// Share the agents of a cluster between frameworks
#[derive(Debug, Parser)]
#[command(
    name = "tepui-master",
    version,
    after_help = "\
Examples:
  tepui-master --work-dir /var/lib/tepui/master
  tepui-master --listen 10.0.0.1:5050 --work-dir /var/lib/tepui/master --tls-dir /etc/tepui/tls
  tepui-master --work-dir /var/lib/tepui/master --most-offered 'cpus:64;mem:262144'
  tepui-master --work-dir /var/lib/tepui/master --packing batch=best-fit --packing web=spread

Without --tls-dir it makes certificates of its own below WORK_DIR/tls, on loopback only."
)]
pub(super) struct MasterArgs {
    /// Where to listen
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:5050", env = "TEPUI_LISTEN",
          value_parser = Text(addresses::listen_address))]
    listen: SocketAddr,
    /// Where to keep what must outlive a restart
    #[arg(long, value_name = "DIR", env = "TEPUI_WORK_DIR", value_parser = values::path())]
    work_dir: PathBuf,
    /// The directory with the master's certificate
    #[arg(long, value_name = "DIR", env = "TEPUI_TLS_DIR", value_parser = values::path())]
    tls_dir: Option<PathBuf>,
    /// The cluster's name, with which ids begin
    #[arg(long, value_name = "NAME", default_value = "tepui", env = "TEPUI_CLUSTER",
          value_parser = Text(values::cluster))]
    cluster: String,
    /// How often all free resources are looked at again
    #[arg(long, value_name = "TIME", default_value = "1s",
          value_parser = Text(values::positive_duration))]
    allocation_interval: Duration,
    /// After how long an offer that is not answered is taken back, or `never`
    #[arg(long, value_name = "TIME", default_value = "5m",
          value_parser = Text(values::offer_timeout))]
    offer_timeout: OfferTimeout,
    /// The most that one framework may hold in offers at once, such as `cpus:64;mem:262144`; what
    /// is not named is unbounded
    #[arg(long, value_name = "AMOUNTS", value_parser = Text(values::amounts))]
    most_offered: Option<Quantities>,
    /// Cut offers to what frameworks say they want, and make none to who wants nothing; those that
    /// say nothing are offered anything
    #[arg(long)]
    honour_demands: bool,
    /// Put a framework before all others after this time without an offer that it could have
    #[arg(long, value_name = "TIME", value_parser = Text(values::positive_duration))]
    ageing: Option<Duration>,
    /// Which agents a role is offered first, such as `web=best-fit`: `random`, `spread` (those with
    /// the most left) or `best-fit` (those with the least). It is the same for the roles below it.
    /// Can be repeated
    #[arg(long, value_name = "ROLE=ORDER", value_parser = Text(packing::of_role))]
    packing: Vec<(Role, Packing)>,
    /// How fast silent agents become unreachable, such as 20/1m; as fast as they fall silent by
    /// default
    #[arg(long, value_name = "AGENTS/TIME", value_parser = Text(values::rate))]
    agent_unreachable_rate: Option<Rate>,
    /// How fast agents are removed that were unreachable for two weeks; at once by default
    #[arg(long, value_name = "AGENTS/TIME", value_parser = Text(values::rate))]
    agent_removal_rate: Option<Rate>,
    /// Where this master stands, such as `eu-west/a`; only frameworks that can cope with it are
    /// offered agents in other regions
    #[arg(long, value_name = "REGION/ZONE", value_parser = Text(values::domain))]
    domain: Option<Domain>,
    /// Refuse agents that do not say where they stand
    #[arg(long, requires = "domain")]
    require_agent_domain: bool,
    /// How fast a framework is heard, by its principal, such as `web=100/1s`; of those that come
    /// too early 10,000 wait, or as many as stand behind a colon. `*=1000/1s` is for all others
    /// together, `web=unlimited` exempts one. Can be repeated
    #[arg(long, value_name = "PRINCIPAL=CALLS/TIME[:WAITING]",
          value_parser = Text(values::call_rate))]
    framework_rate: Vec<NamedRate>,
    /// How many of the agents may fail to come back to this master when it starts; if more do, it
    /// ends instead of giving them up
    #[arg(long, value_name = "PERCENT", default_value = "100%",
          value_parser = Text(values::percent))]
    recovery_agent_removal_limit: u8,
    #[command(flatten)]
    log: DaemonLogArgs,
}

/// Runs a master until it is told to end.
pub(super) fn run(args: MasterArgs) -> Result<Exit, Failure> {
    args.log.install();
    if args.tls_dir.is_none() {
        check_loopback(&args)?;
    }
    node::check_work_dir(&args.work_dir, node::PRIVATE)?;
    node::check_listen(args.listen)?;
    let tls_dir = match &args.tls_dir {
        Some(dir) => dir.clone(),
        None => dev_authority::ensure(&args.work_dir)
            .map_err(|error| node::unfit("--work-dir", &args.work_dir, &error))?,
    };
    block_on(Threads::Many, async {
        let mut interrupts = Interrupts::listen()?;
        let options = MasterOptions {
            listen: args.listen,
            work_dir: args.work_dir.clone(),
            tls_dir: tls_dir.clone(),
            cluster: args.cluster.clone(),
            allocation_interval: args.allocation_interval,
            offer_timeout: args.offer_timeout,
            most_offered: args.most_offered.clone(),
            demands: if args.honour_demands {
                DemandRule::Honoured
            } else {
                DemandRule::Ignored
            },
            ageing: args.ageing,
            // Of what is said twice, the last counts.
            packing: args.packing.iter().cloned().collect(),
            unreachable_rate: args.agent_unreachable_rate,
            removal_rate: args.agent_removal_rate,
            recovery_removal_percent: args.recovery_agent_removal_limit,
            call_rates: call_rates(&args.framework_rate),
            domain: args.domain.clone(),
            requires_domain: args.require_agent_domain,
        };
        let ended = |error| node::ended(&error, "--tls-dir", &tls_dir);
        let master = MasterNode::start(options).await.map_err(ended)?;
        if args.tls_dir.is_none() {
            advise(&args, &tls_dir, &mut io::stderr())?;
        }
        let shutdown = async move { interrupts.next().await };
        master.run_until(shutdown).await.map_err(ended)?;
        Ok(Exit::Success)
    })
}

/// Of what is said twice, the last counts.
fn call_rates(named: &[NamedRate]) -> CallRates {
    let mut rates = CallRates::default();
    for NamedRate { who, rate } in named {
        match who {
            Some(who) => {
                rates.named.insert(who.clone(), *rate);
            }
            None => rates.others = *rate,
        }
    }
    rates
}

fn check_loopback(args: &MasterArgs) -> Result<(), Failure> {
    if !args.listen.ip().is_loopback() {
        let message = format_args!(
            "--tls-dir: expected a directory with a certificate, for --listen {} is not on \
             loopback; see `tepui cert init` and `tepui cert issue --role master`",
            args.listen
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(())
}

/// Says where the certificates are that it made by itself.
fn advise(args: &MasterArgs, tls_dir: &Path, err: &mut dyn Write) -> io::Result<()> {
    let (dir, ca) = (tls_dir.display(), dev_authority::ca_dir(&args.work_dir));
    writeln!(
        err,
        "clients and one agent find certificates with --tls-dir {dir}"
    )?;
    writeln!(err, "`tepui cert issue --ca {}` makes more", ca.display())
}
