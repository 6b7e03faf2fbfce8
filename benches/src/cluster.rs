//! A cluster of real processes: this very executable, started as the daemons.
//!
//! Used by the rows. Deliberately not here: the embedded cluster, which would share our process.

use std::ffi::OsStr;
use std::fs::File;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tepui::operator::Operator;
use tepui::target::Target;
use tepui_core::protocol::operator::{Answer, Call};

use crate::processes;

/// How many tasks an agent takes at a time: more than there are cores, so that none waits while
/// news of the last one is under way. HyperQueue's best figures are taken with as many.
pub const SLOTS: usize = 32;

const RESOURCES: &str = "cpus:32;mem:2048;disk:0;ports:[]";
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

const TEPUI: &str = "tepui";
const MASTER: &str = "tepui-master";
const AGENT: &str = "tepui-agent";

/// Becomes the program that this process was started as, if that is not the benchmark.
pub fn run_if_program() -> Option<ExitCode> {
    tepui::run_if_hidden();
    match std::env::args_os().next()?.to_str()? {
        TEPUI => Some(tepui::cli::tepui()),
        MASTER => Some(tepui::cli::tepui_master()),
        AGENT => Some(tepui::cli::tepui_agent()),
        _ => None,
    }
}

/// Returns a command that runs this executable as `tepui`.
pub fn tepui() -> anyhow::Result<Command> {
    program(TEPUI)
}

fn program(name: &str) -> anyhow::Result<Command> {
    let own = std::env::current_exe().context("cannot tell our own executable")?;
    let mut command = Command::new(own);
    command.arg0(name).stdin(Stdio::null());
    let variables = std::env::vars_os();
    for (name, _) in variables.filter(|(name, _)| name.to_string_lossy().starts_with("TEPUI_")) {
        command.env_remove(name);
    }
    Ok(command)
}

/// A master and an agent, each a process of its own.
#[derive(Debug)]
pub struct Cluster {
    target: Target,
    /// The agent first, so that it ends while it has a master.
    daemons: Vec<Child>,
    launcher: u32,
    dir: TempDir,
}

impl Cluster {
    /// Starts a cluster and waits until its agent is registered; `isolation` is a flag of the
    /// agent.
    pub async fn start(isolation: &str) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("tepui-bench-").tempdir()?;
        // QUIC is UDP. Nobody else is given this port right away again.
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?.to_string();
        drop(socket);
        let mut cluster = Self {
            target: Target {
                master: address.clone(),
                tls_dir: dir.path().join("master/tls"),
            },
            daemons: Vec::new(),
            launcher: 0,
            dir,
        };
        let work_dir = cluster.path("master");
        let listen = [OsStr::new("--listen"), OsStr::new(&address)];
        cluster.spawn(MASTER, &work_dir, &listen)?;
        let operator = cluster.wait_for_master().await?;
        let tls_dir = cluster.target.tls_dir.clone();
        let flags = ["--master", &address, "--resources", RESOURCES, isolation];
        let flags = flags.into_iter().chain(["--registration-backoff", "0s"]);
        let mut flags: Vec<&OsStr> = flags.map(OsStr::new).collect();
        flags.extend([OsStr::new("--tls-dir"), tls_dir.as_os_str()]);
        let work_dir = cluster.path("agent");
        cluster.spawn(AGENT, &work_dir, &flags)?;
        cluster.wait_for_agent(&operator).await?;
        operator.close().await;
        let children = processes::children(cluster.agent())?;
        let [launcher] = children[..] else {
            bail!(
                "the agent has {} children, not one launcher",
                children.len()
            );
        };
        cluster.launcher = launcher;
        Ok(cluster)
    }

    /// Returns how to reach it.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the master's process.
    pub fn master(&self) -> u32 {
        self.daemons.last().map_or(0, Child::id)
    }

    /// Returns the agent's process.
    pub fn agent(&self) -> u32 {
        self.daemons.first().map_or(0, Child::id)
    }

    /// Returns the process of the agent that is the parent of all tasks.
    pub fn launcher(&self) -> u32 {
        self.launcher
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn spawn(&mut self, name: &str, work_dir: &Path, flags: &[&OsStr]) -> anyhow::Result<()> {
        let log = self.path(&format!("{name}.log"));
        let log = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = program(name)?;
        command.args(flags).arg("--work-dir").arg(work_dir);
        command.stdout(Stdio::null()).stderr(log);
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        self.daemons.insert(0, child);
        Ok(())
    }

    async fn wait_for_master(&self) -> anyhow::Result<Operator> {
        let begun = Instant::now();
        loop {
            match Operator::connect(&self.target, DEADLINE).await {
                Ok(operator) => return Ok(operator),
                Err(error) if begun.elapsed() > DEADLINE => {
                    return Err(error).context(format!("no master{}", self.logs()));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn wait_for_agent(&self, operator: &Operator) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            if let Answer::Agents(agents) = operator.ask(Call::Agents).await?
                && !agents.is_empty()
            {
                return Ok(());
            }
            if begun.elapsed() > DEADLINE {
                bail!("the agent does not register{}", self.logs());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn logs(&self) -> String {
        let read = |name| std::fs::read_to_string(self.path(name)).unwrap_or_default();
        format!("\n{}{}", read("tepui-master.log"), read("tepui-agent.log"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let pid = Pid::from_raw(daemon.id().cast_signed());
            // One that has ended already is only waited for.
            if kill(pid, Signal::SIGTERM).is_ok() {
                let _ = daemon.wait();
            }
        }
    }
}
