//! The flags of `tepui-master`.
//!
//! Called by its binary through `cli`. Deliberately not here: the master.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::exit::Exit;
use super::failure::Failure;
use super::logging::DaemonLogArgs;
use super::signals::Interrupts;
use super::{Threads, block_on, values};
use crate::daemon::{self, MasterOptions};
use crate::dev_authority;

/// Share the agents of a cluster between frameworks
#[derive(Debug, Parser)]
#[command(
    name = "tepui-master",
    version,
    after_help = "\
Examples:
  tepui-master --work-dir /var/lib/tepui/master
  tepui-master --listen 10.0.0.1:5050 --work-dir /var/lib/tepui/master --tls-dir /etc/tepui/tls

Without --tls-dir it makes certificates of its own below WORK_DIR/tls, on loopback only."
)]
pub(super) struct MasterArgs {
    /// Where to listen
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:5050", env = "TEPUI_LISTEN",
          value_parser = values::listen_address)]
    listen: SocketAddr,
    /// Where to keep what must outlive a restart
    #[arg(long, value_name = "DIR", env = "TEPUI_WORK_DIR")]
    work_dir: PathBuf,
    /// The directory with the master's certificate
    #[arg(long, value_name = "DIR", env = "TEPUI_TLS_DIR")]
    tls_dir: Option<PathBuf>,
    /// The cluster's name, with which ids begin
    #[arg(long, value_name = "NAME", default_value = "tepui", env = "TEPUI_CLUSTER",
          value_parser = values::cluster)]
    cluster: String,
    /// How often all free resources are looked at again
    #[arg(long, value_name = "TIME", default_value = "1s",
          value_parser = values::positive_duration)]
    allocation_interval: Duration,
    #[command(flatten)]
    log: DaemonLogArgs,
}

/// Runs a master until it is told to end.
pub(super) fn run(args: MasterArgs) -> Result<Exit, Failure> {
    args.log.install();
    let tls_dir = tls_dir(&args, &mut io::stderr())?;
    block_on(Threads::Many, async {
        let mut interrupts = Interrupts::listen()?;
        let options = MasterOptions {
            listen: args.listen,
            work_dir: args.work_dir,
            tls_dir,
            cluster: args.cluster,
            allocation_interval: args.allocation_interval,
        };
        let ended = daemon::master(options, async move { interrupts.next().await }).await;
        ended.map_err(|error| Failure::failed(format_args!("{error:#}")))?;
        Ok(Exit::Success)
    })
}

fn tls_dir(args: &MasterArgs, err: &mut dyn Write) -> Result<PathBuf, Failure> {
    if let Some(dir) = &args.tls_dir {
        return Ok(dir.clone());
    }
    if !args.listen.ip().is_loopback() {
        let message = format_args!(
            "--tls-dir: expected a directory with a certificate, for --listen {} is not on \
             loopback; see `tepui cert init` and `tepui cert issue --role master`",
            args.listen
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let tls = dev_authority::ensure(&args.work_dir).map_err(Failure::failed)?;
    let (dir, ca) = (tls.display(), dev_authority::ca_dir(&args.work_dir));
    writeln!(
        err,
        "clients and one agent find certificates with --tls-dir {dir}"
    )?;
    writeln!(err, "`tepui cert issue --ca {}` makes more", ca.display())?;
    Ok(tls)
}
