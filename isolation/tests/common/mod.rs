//! What the tests of containers share: an agent's directory, its events, short commands.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent, ContainerSpec};
use tepui_core::protocol::status::{Breach, Exit};
use tepui_core::protocol::task::CommandInfo;
use tepui_isolation::launch::{Bind, Mount, Root};
use tepui_isolation::{Config, Containerizer, Isolator, Launch, LauncherCommand, Mode};

/// Far more than anything here takes; reaching it fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Says why a part of a test is skipped. Written past the test harness, which keeps to itself what
/// tests that pass print.
pub(crate) fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test}: {why}").expect("standard error is open");
}

/// Leaves an orphan that dies of a real-time signal, and ends when that has been reaped.
pub(crate) const ORPHAN_DIES_OF_35: &str = "
    cat > orphan.sh <<'END'
    echo $$ > orphan
    until [ -e go ]; do :; done
    kill -35 $$
END
    sh -c 'sh orphan.sh & until [ -s orphan ]; do :; done'
    : > go
    while kill -0 $(cat orphan) 2> /dev/null; do :; done
    exit 4";

pub(crate) fn config(dir: &Path, mode: Mode) -> Config {
    let name = dir
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .trim_start_matches('.');
    Config {
        // Two deep, as agents have it.
        cgroup_root: format!("tepui-test-{name}/agent"),
        launcher: LauncherCommand::binary(probe()),
        ..Config::new(dir, mode)
    }
}

/// What launchers are made of; a copy elsewhere where the build is out of reach.
fn probe() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_tepui-launch-probe");
    std::env::var_os("TEPUI_TEST_PROBE").map_or_else(|| built.into(), PathBuf::from)
}

/// A containerizer and what it told.
pub(crate) struct Agent {
    pub(crate) containerizer: Option<Containerizer>,
    events: Receiver<ContainerEvent>,
    pub(crate) dir: PathBuf,
}

impl Agent {
    pub(crate) fn start(dir: &Path, mode: Mode) -> Self {
        Self::with(config(dir, mode))
    }

    pub(crate) fn with(config: Config) -> Self {
        Self::isolated(config, Vec::new())
    }

    pub(crate) fn isolated(config: Config, isolators: Vec<Box<dyn Isolator>>) -> Self {
        let (sender, events) = channel();
        let dir = config.work_dir.clone();
        let sink = move |event| sender.send(event).unwrap_or_default();
        Self {
            containerizer: Some(
                Containerizer::start_with(config, isolators, Box::new(sink)).unwrap(),
            ),
            events,
            dir,
        }
    }

    pub(crate) fn send(&self, command: ContainerCommand) {
        self.containerizer.as_ref().unwrap().send(command);
    }

    pub(crate) fn launch(&self, id: &ContainerId, command: CommandInfo) {
        self.launch_spec(id, spec(id, command));
    }

    pub(crate) fn launch_spec(&self, id: &ContainerId, spec: ContainerSpec) {
        self.send(ContainerCommand::Launch {
            id: id.clone(),
            spec,
        });
    }

    /// Launches with what isolators would add.
    pub(crate) fn launch_with(&self, id: &ContainerId, command: CommandInfo, launch: Launch) {
        self.launch_spec_with(id, spec(id, command), launch);
    }

    pub(crate) fn launch_spec_with(&self, id: &ContainerId, spec: ContainerSpec, launch: Launch) {
        let containerizer = self.containerizer.as_ref().unwrap();
        containerizer.launch(id.clone(), spec, launch);
    }

    /// Runs a container to its end, with what isolators would add.
    pub(crate) fn run_with(&self, id: &ContainerId, command: CommandInfo, launch: Launch) -> Exit {
        self.launch_with(id, command, launch);
        self.started();
        self.exited().0
    }

    pub(crate) fn destroy(&self, id: &ContainerId) {
        self.send(ContainerCommand::Destroy { id: id.clone() });
    }

    pub(crate) fn next(&self) -> ContainerEvent {
        self.events
            .recv_timeout(PATIENCE)
            .expect("an event was due")
    }

    /// Fails if an event comes within `time`.
    pub(crate) fn expect_nothing(&self, time: Duration) {
        if let Ok(event) = self.events.recv_timeout(time) {
            panic!("too early: {event:?}");
        }
    }

    pub(crate) fn started(&self) -> u32 {
        let event = self.next();
        let ContainerEvent::Started { pid, .. } = event else {
            panic!("not started: {event:?}");
        };
        pid
    }

    pub(crate) fn exited(&self) -> (Exit, Option<Breach>) {
        let event = self.next();
        let ContainerEvent::Exited { exit, breach, .. } = event else {
            panic!("not exited: {event:?}");
        };
        (exit, breach)
    }

    /// Waits for the end of any container; that it is told again that one runs does not matter.
    pub(crate) fn exit_of(&self) -> (ContainerId, Exit) {
        loop {
            match self.next() {
                ContainerEvent::Started { .. } => {}
                ContainerEvent::Exited { id, exit, .. } => return (id, exit),
                other @ (ContainerEvent::LaunchFailed { .. }
                | ContainerEvent::Lost { .. }
                | ContainerEvent::ResizeFailed { .. }
                | ContainerEvent::Probed { .. }
                | ContainerEvent::Recovered) => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn failed(&self) -> String {
        let event = self.next();
        let ContainerEvent::LaunchFailed { message, .. } = event else {
            panic!("not failed: {event:?}");
        };
        message
    }

    /// Runs a container to its end.
    pub(crate) fn run(&self, id: &ContainerId, command: CommandInfo) -> Exit {
        self.launch(id, command);
        self.started();
        self.exited().0
    }

    pub(crate) fn recover(&self, known: &[ContainerId]) -> Vec<ContainerEvent> {
        self.send(ContainerCommand::Recover {
            known: known.to_vec(),
        });
        let mut events = Vec::new();
        loop {
            let event = self.next();
            if event == ContainerEvent::Recovered {
                return events;
            }
            events.push(event);
        }
    }

    pub(crate) fn file(&self, id: &ContainerId, name: &str) -> String {
        let path = self.dir.join("sandboxes").join(id.as_str()).join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Waits until the task has written a whole line into a file of its sandbox.
    pub(crate) fn line(&self, id: &ContainerId, name: &str) -> String {
        let path = self.dir.join("sandboxes").join(id.as_str()).join(name);
        let mut line = String::new();
        eventually("a line appears", || {
            line = fs::read_to_string(&path).unwrap_or_default();
            line.ends_with('\n')
        });
        line.trim().to_owned()
    }

    /// Lets go of the launcher, as an agent that is killed does.
    pub(crate) fn detach(mut self) {
        self.containerizer.take();
    }

    pub(crate) fn shutdown(mut self) {
        self.containerizer.take().unwrap().shutdown().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A failed test must not leave a launcher behind; a passed one has said how it ends.
        if std::thread::panicking()
            && let Some(containerizer) = self.containerizer.take()
        {
            let _ = containerizer.shutdown();
        }
    }
}

pub(crate) fn id(n: u64) -> ContainerId {
    ContainerId::numbered(n)
}

pub(crate) fn sh(command: &str) -> CommandInfo {
    CommandInfo::shell(command)
}

/// A program with a process in a session of its own, and one that is nobody's child any more. It
/// says `ready`; who is asked to end writes its name to `asked`, and it ends with 5 when all have.
pub(crate) fn family() -> CommandInfo {
    let waits = "while :; do sleep 1000 & wait; done";
    let member = |name: &str| {
        let asked = format!("trap \"echo {name} >> asked; exit\" TERM; : > {name}");
        format!("setsid sh -c '{asked}; {waits}'")
    };
    let (far, orphan) = (member("far"), member("orphan"));
    sh(&format!(
        "trap 'echo near >> asked
         until [ $(wc -l < asked) -ge 3 ]; do sleep 0.01; done; exit 5' TERM
         : > asked; {far} & ({orphan} &)
         until [ -e far ] && [ -e orphan ]; do sleep 0.01; done; echo ready; {waits}"
    ))
}

/// Asks a [`family`] that runs to end: all of it is asked, each once.
pub(crate) fn end_family(agent: &Agent, id: &ContainerId) {
    assert_eq!(agent.line(id, "stdout"), "ready");
    agent.send(ContainerCommand::Terminate { id: id.clone() });
    assert_eq!(agent.exited(), (Exit::Code(5), None));
    let asked = agent.file(id, "asked");
    let mut asked: Vec<&str> = asked.lines().collect();
    asked.sort_unstable();
    assert_eq!(asked, ["far", "near", "orphan"]);
}

pub(crate) fn spec(id: &ContainerId, command: CommandInfo) -> ContainerSpec {
    ContainerSpec::new(command, vec![id.as_str().to_owned()])
}

/// Makes a root filesystem in `dir` in which the host's programs run, and a launch with it.
pub(crate) fn rooted(dir: &Path) -> Launch {
    let root = dir.join("root");
    for name in ["usr", "etc", "tmp", "root"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        let link = root.join(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink(format!("usr/{name}"), link).unwrap();
        }
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nana:x:1000:1001:::\n",
    )
    .unwrap();
    fs::write(
        root.join("etc/group"),
        "root:x:0:\nana:x:1001:\nvideo:x:44:ana\n",
    )
    .unwrap();
    let mut usr = Bind::new("/usr", "/usr");
    usr.read_only = true;
    Launch {
        root: Some(Root::Directory {
            path: root,
            read_only: false,
        }),
        mounts: vec![Mount::Bind(usr)],
        ..Launch::default()
    }
}

/// Waits for something that no event tells; the pause only paces the asking.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The processes below `dir`'s sandboxes, by their mark.
pub(crate) fn survivors(dir: &Path) -> Vec<u32> {
    let mark = format!("TEPUI_SANDBOX={}/", dir.canonicalize().unwrap().display());
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environ).contains(&mark)
    })
    .collect()
}

/// The launcher of a directory.
pub(crate) fn launchers(dir: &Path) -> Vec<u32> {
    let lock = dir.join("run/lock").canonicalize().unwrap();
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let mut links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let name = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        name.starts_with(b"tepui-launcher") && links.any(|link| link == lock)
    })
    .collect()
}
