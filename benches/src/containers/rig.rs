//! An agent's containerizer alone, and a root filesystem in which there is one program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tepui::isolation::isolators::{Allowed, Rights};
use tepui::isolation::launch::{Network, Root};
use tepui::isolation::{Config, Containerizer, Isolator, Launch, Mode, Outcome, Subject};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{
    ContainerCommand, ContainerEvent, ContainerLimits, ContainerSpec,
};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::Milli;

/// The longest that a launch may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives each container an overlay of its own, as an image does, and an empty network.
struct Layered {
    lower: PathBuf,
    uppers: PathBuf,
}

impl Isolator for Layered {
    fn name(&self) -> &str {
        "layered"
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let own = self.uppers.join(subject.id.as_str());
        fs::create_dir(&own)?;
        launch.root = Some(Root::Overlay {
            lower: vec![self.lower.clone()],
            upper_and_work: Some(own),
            read_only: false,
        });
        launch.network = Network::Isolated;
        Ok(())
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        match fs::remove_dir_all(self.uppers.join(id.as_str())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// What one launch took, from the command on.
pub(super) struct Took {
    /// Until the program was told to run.
    pub(super) started: Duration,
    /// Until its end was told.
    pub(super) ended: Duration,
}

/// A containerizer, and what it tells.
pub(super) struct Rig {
    containerizer: Containerizer,
    events: Receiver<ContainerEvent>,
    next: u64,
    cgroup_root: String,
    dir: tempfile::TempDir,
}

impl Rig {
    pub(super) fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("root");
        for name in ["dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(name))?;
        }
        compile(&root.join("true"), "int main(void) { return 0; }")?;
        let idle = "#include <unistd.h>\nint main(void) { for (;;) pause(); }";
        compile(&root.join("idle"), idle)?;
        let (sender, events) = channel();
        let agent = dir.path().join("agent");
        fs::create_dir(&agent)?;
        let cgroup_root = format!("tepui-bench-{}/agent", std::process::id());
        let config = Config {
            cgroup_root: cgroup_root.clone(),
            ..Config::new(&agent, Mode::Container)
        };
        let layered = Layered {
            lower: root,
            uppers: agent.join("uppers"),
        };
        fs::create_dir(&layered.uppers)?;
        let rights = Rights::new(Allowed::default());
        let isolators: Vec<Box<dyn Isolator>> = vec![Box::new(rights), Box::new(layered)];
        let sink = move |event| sender.send(event).unwrap_or_default();
        let containerizer = Containerizer::start_with(config, isolators, Box::new(sink))?;
        Ok(Self {
            containerizer,
            events,
            next: 0,
            cgroup_root,
            dir,
        })
    }

    /// Returns the root filesystem.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Returns below which control group the containers are.
    pub(super) fn cgroup_root(&self) -> &str {
        &self.cgroup_root
    }

    /// Orders a container that runs one of the programs.
    pub(super) fn order(&mut self, program: &str) -> ContainerId {
        let id = ContainerId::numbered(self.next);
        self.next += 1;
        let command = CommandInfo::exec(program, [""; 0]);
        let spec = ContainerSpec {
            limits: ContainerLimits {
                cpus: Some(Milli::from_units(1)),
                mem: Some(Milli::from_units(64)),
                pids: Some(64),
                ..ContainerLimits::default()
            },
            ..ContainerSpec::new(command, vec![id.as_str().to_owned()])
        };
        let launched = id.clone();
        self.containerizer
            .send(ContainerCommand::Launch { id, spec });
        launched
    }

    /// Kills a container.
    pub(super) fn destroy(&self, id: ContainerId) {
        self.containerizer.send(ContainerCommand::Destroy { id });
    }

    /// Returns the next thing that is told, if all is well.
    pub(super) fn event(&self) -> anyhow::Result<ContainerEvent> {
        let event = self
            .events
            .recv_timeout(PATIENCE)
            .context("nothing is told")?;
        if let ContainerEvent::LaunchFailed { message, .. } = event {
            bail!("a launch failed: {message}");
        }
        Ok(event)
    }

    /// Runs one container to its end.
    pub(super) fn launch(&mut self) -> anyhow::Result<Took> {
        let begun = Instant::now();
        self.order("/true");
        let first = self.event()?;
        let started = begun.elapsed();
        ensure!(matches!(first, ContainerEvent::Started { .. }), "{first:?}");
        let second = self.event()?;
        let ended = begun.elapsed();
        let ContainerEvent::Exited { exit, .. } = &second else {
            bail!("{second:?}");
        };
        ensure!(exit.is_success(), "{exit}");
        Ok(Took { started, ended })
    }

    /// Runs so many, some at a time.
    pub(super) fn flood(&mut self, count: usize, in_flight: usize) -> anyhow::Result<()> {
        let mut ordered = 0;
        let mut ended = 0;
        while ended < count {
            while ordered < count && ordered - ended < in_flight {
                self.order("/true");
                ordered += 1;
            }
            if let ContainerEvent::Exited { exit, .. } = self.event()? {
                ensure!(exit.is_success(), "{exit}");
                ended += 1;
            }
        }
        Ok(())
    }

    /// Runs the same program without anything around it.
    pub(super) fn spawn(&self) -> anyhow::Result<Duration> {
        let mut command = Command::new(self.root().join("true"));
        let begun = Instant::now();
        let status = command.stdin(Stdio::null()).status()?;
        let took = begun.elapsed();
        ensure!(status.success(), "{status}");
        Ok(took)
    }

    pub(super) fn shutdown(self) -> anyhow::Result<()> {
        Ok(self.containerizer.shutdown()?)
    }
}

/// Compiles a program that needs no library.
fn compile(path: &Path, source: &str) -> anyhow::Result<()> {
    let text = path.with_extension("c");
    fs::write(&text, source)?;
    let mut cc = Command::new("cc");
    cc.args(["-static", "-O2", "-o"]).arg(path).arg(&text);
    let status = cc.status().context("cannot start a C compiler")?;
    ensure!(status.success(), "cc: {status}");
    Ok(fs::remove_file(text)?)
}
