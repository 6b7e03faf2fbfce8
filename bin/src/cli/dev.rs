//! `tepui dev`: a cluster of one master and one agent, kept until Ctrl-C.
//!
//! Called by `cli`. Deliberately not here: how it is put together (see `embedded`).

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tepui_core::attributes::Attributes;

use super::addresses;
use super::container_args::ContainerArgs;
use super::exit::Exit;
use super::failure::{Failure, with_causes};
use super::isolation_args::IsolationArgs;
use super::signals::Interrupts;
use super::text::Text;
use super::values::{self, Entries};
use super::{Io, Threads, block_on, node};
use crate::embedded::{Embedded, EmbeddedOptions};

/// Flags of `tepui dev`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui dev
  tepui dev --listen 127.0.0.1:5050 --work-dir /tmp/tepui
  tepui dev --resources 'cpus:8;mem:16384;ports:[31000-31100]' --attributes 'rack:r1'")]
pub(super) struct DevArgs {
    /// Where the master listens; by default on a free port of 127.0.0.1
    #[arg(long, value_name = "IP:PORT", value_parser = Text(addresses::listen_address))]
    listen: Option<SocketAddr>,
    /// What the agent has to offer; what is not named is as the machine has it
    #[arg(long, value_name = "RESOURCES", value_parser = Text(values::entries))]
    resources: Option<Entries>,
    /// What the agent says about itself
    #[arg(long, value_name = "ATTRIBUTES", value_parser = Text(values::attributes))]
    attributes: Option<Attributes>,
    /// Where to keep state; by default in a temporary directory that is removed at the end
    #[arg(long, value_name = "DIR", value_parser = values::path())]
    work_dir: Option<PathBuf>,
    #[command(flatten)]
    isolation: IsolationArgs,
    #[command(flatten)]
    containers: ContainerArgs,
}

/// Keeps a cluster running until it is told to end, or a part of it ends by itself.
pub(super) fn dev(args: DevArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    if let Some(listen) = args.listen {
        check_loopback(listen)?;
        node::check_listen(listen)?;
    }
    args.containers.check(args.isolation.isolation())?;
    if let Some(dir) = &args.work_dir {
        node::check_work_dir(dir, node::PRIVATE)?;
    }
    block_on(Threads::Many, async {
        let mut interrupts = Interrupts::listen()?;
        let options = EmbeddedOptions {
            resources: args.resources.unwrap_or_default().0,
            attributes: args.attributes.unwrap_or_default(),
            work_dir: args.work_dir.clone(),
            isolation: args.isolation.isolation(),
            containers: args.containers.options(),
            listen: args.listen,
            ..EmbeddedOptions::default()
        };
        let started = Embedded::start(options).await;
        // Without --work-dir nothing in it can be the user's.
        let dir = args.work_dir.unwrap_or_else(std::env::temp_dir);
        let mut cluster = started.map_err(|error| node::ended(&error, "--work-dir", &dir))?;
        greet(&cluster, io)?;
        let failed = |error| Failure::failed(with_causes(&error));
        let asked = tokio::select! {
            () = interrupts.next() => Ok(Exit::Success),
            error = cluster.ended() => Err(failed(error)),
        };
        writeln!(io.err, "ending the cluster")?;
        let ended = cluster.shutdown().await.map_err(failed);
        asked.and_then(|exit| ended.map(|()| exit))
    })
}

/// Whoever reaches such a cluster from elsewhere would find its authority's key beside it.
fn check_loopback(listen: SocketAddr) -> Result<(), Failure> {
    if listen.ip().is_loopback() {
        return Ok(());
    }
    let problem = "expected an address on loopback, for the authority's key lies beside the \
                   cluster; tepui-master with certificates of `tepui cert` listens elsewhere";
    Err(Failure::usage("--listen", &listen.to_string(), problem))
}

fn greet(cluster: &Embedded, io: &mut Io<'_>) -> Result<(), Failure> {
    let target = cluster.target();
    let (master, tls) = (
        &target.master,
        shell_word(&target.tls_dir.to_string_lossy()),
    );
    writeln!(
        io.out,
        "# one master and one agent; tasks run in {} mode",
        cluster.isolation()
    )?;
    writeln!(io.out, "# in another terminal:")?;
    writeln!(io.out, "export TEPUI_MASTER={master} TEPUI_TLS_DIR={tls}")?;
    writeln!(io.out, "tepui run -- echo hello")?;
    writeln!(io.out, "tepui ps --all")?;
    writeln!(io.out, "# one more agent:")?;
    let ca = shell_word(&cluster.ca_dir().to_string_lossy());
    writeln!(
        io.out,
        "tepui cert issue --ca {ca} --role agent --name a2 --out a2/tls"
    )?;
    writeln!(
        io.out,
        "tepui-agent --master {master} --tls-dir a2/tls --work-dir a2"
    )?;
    writeln!(io.out, "# Ctrl-C ends it all")?;
    Ok(io.out.flush()?)
}

/// Quotes a text for a shell, if it needs that.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_when_a_shell_would_misread_them() {
        assert_eq!(shell_word("/tmp/a-b_1"), "/tmp/a-b_1");
        assert_eq!(shell_word("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
