//! Real processes for end-to-end tests: they are started, watched, waited for with a deadline, and
//! gone when the test is over, however it ends.
//!
//! Used by the tests beside this directory. Deliberately not here: what is expected of them.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of this module"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::pty::Winsize;
use parking_lot::Mutex;
use serde_json::Value;
use tepui::isolation::Hierarchies;

pub const TEPUI: &str = env!("CARGO_BIN_EXE_tepui");
pub const MASTER: &str = env!("CARGO_BIN_EXE_tepui-master");
pub const AGENT: &str = env!("CARGO_BIN_EXE_tepui-agent");

/// How long anything may take. Long, for machines are slow and shared; a hang still fails.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` finds something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            begun.elapsed() < DEADLINE,
            "waited {DEADLINE:?} in vain for {what}"
        );
        std::thread::sleep(POLL);
    }
}

/// Makes a command that sees none of the `TEPUI_` variables of whoever runs the tests, nor their
/// files.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"TEPUI_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    for directory in ["XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(directory, env!("CARGO_TARGET_TMPDIR"));
    }
    command
}

/// Sends a signal, by name, to one process.
pub fn signal(pid: u32, name: &str) {
    let kill = format!("kill -s {name} {pid}");
    let sent = Command::new("sh").args(["-c", &kill]).status();
    assert!(
        sent.is_ok_and(|status| status.success()) || std::thread::panicking(),
        "cannot send {name} to {pid}"
    );
}

/// A port of loopback below those that systems give away by chance, so that it can be bound again
/// after its owner was killed.
pub fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1_000).expect("less than 1000") * 12;
    wait_for("a free port", || {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let socket = UdpSocket::bind(("127.0.0.1", port)).ok()?;
        Some(socket.local_addr().expect("it is bound").to_string())
    })
}

/// Returns whether this is root; if not, says what is skipped.
pub fn is_root_or_skip(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped(&format!("{what}: needs root"));
    }
    root
}

/// Says what a test skips and why. Written past the test harness, which keeps to itself what tests
/// that pass print.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test}: {why}").expect("standard error is open");
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Checks the exit code.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    /// Checks that all `parts` stand in standard error, in this order.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) {
        let mut rest = self.err.as_str();
        for part in parts {
            let at = rest.find(part);
            let at = at.unwrap_or_else(|| panic!("no {part:?} in its order in:\n{}", self.err));
            rest = &rest[at + part.len()..];
        }
    }
}

/// A process whose output is collected; it is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    out: Pipe,
    err: Pipe,
}

#[derive(Debug)]
struct Pipe {
    text: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Pipe {
    fn collect(mut from: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length) = from.read(&mut chunk)
                && length > 0
            {
                into.lock().extend_from_slice(&chunk[..length]);
            }
        });
        Self { text, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock()).into_owned()
    }
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let out = Pipe::collect(child.stdout.take().expect("it is piped"));
        let err = Pipe::collect(child.stderr.take().expect("it is piped"));
        Self { child, out, err }
    }

    /// Starts it with a terminal as standard error.
    pub fn start_on_terminal(mut command: Command) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let terminal = nix::pty::openpty(&size, None).expect("a terminal");
        command.stdout(Stdio::piped()).stderr(terminal.slave);
        let mut child = command.spawn().expect("the program starts");
        // The command has the other end open as well, and must not keep the reader waiting.
        drop(command);
        let out = Pipe::collect(child.stdout.take().expect("it is piped"));
        // That nobody has a terminal open any more is an error to its reader on Linux.
        let err = Pipe::collect(File::from(terminal.master));
        Self { child, out, err }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it wrote to standard output so far.
    pub fn out(&self) -> String {
        self.out.so_far()
    }

    /// Returns what it wrote to standard error so far.
    pub fn err(&self) -> String {
        self.err.so_far()
    }

    /// Waits until it has written `part` to standard error; fails if it ends before.
    #[track_caller]
    pub fn until_it_says(&mut self, part: &str) {
        let begun = Instant::now();
        loop {
            let over = self.child.try_wait().expect("it is our child");
            if self.err().contains(part) {
                return;
            }
            let late = begun.elapsed() > DEADLINE;
            assert!(
                over.is_none() && !late,
                "no {part:?} ({over:?}); it said:\n{}\n{}",
                self.out(),
                self.err()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(
                begun.elapsed() < DEADLINE,
                "it did not end; it said:\n{}\n{}",
                self.out(),
                self.err()
            );
            std::thread::sleep(POLL);
        };
        // Whoever inherited a pipe and lives on must not keep the test waiting.
        wait_for("the end of its output", || {
            (self.out.reader.is_finished() && self.err.reader.is_finished()).then_some(())
        });
        Ended {
            code: status.code(),
            out: self.out(),
            err: self.err(),
        }
    }

    /// Has it crash, and waits until it is gone.
    pub fn crash(mut self) -> (ExitStatus, String) {
        signal(self.pid(), "ABRT");
        let status = self.child.wait().expect("it is our child");
        (status, self.err())
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        assert!(killed.is_ok() || std::thread::panicking(), "{killed:?}");
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: Command) -> Ended {
    Process::start(command).end()
}

/// What [`processes_about`] returns if there is none.
pub const NO_PROCESS: [u32; 0] = [];

/// Returns the processes that have something to do with a text: in their environment or command
/// line, or as the beginning of a directory or file that they hold open. This one is none of them.
pub fn processes_about(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("proc is mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id() && is_about(*pid, text))
        .collect()
}

fn is_about(pid: u32, text: &str) -> bool {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    // Processes come and go while we look: what cannot be read any more is not there.
    let says = |file: &str| {
        let bytes = std::fs::read(proc.join(file)).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    let points = |link: &Path| {
        let target = std::fs::read_link(link).unwrap_or_default();
        target.as_os_str().as_bytes().starts_with(text.as_bytes())
    };
    let open = std::fs::read_dir(proc.join("fd")).into_iter().flatten();
    says("cmdline")
        || says("environ")
        || points(&proc.join("cwd"))
        || open.flatten().any(|fd| points(&fd.path()))
}

/// Kills the processes that have something to do with `dir`; only tests that end too early leave
/// any.
pub fn sweep(dir: &Path) {
    let text = dir.to_str().expect("a path in UTF-8").to_owned();
    let begun = Instant::now();
    loop {
        let left = processes_about(&text);
        if left.is_empty() || begun.elapsed() > DEADLINE {
            return;
        }
        for pid in left {
            let kill = format!("kill -s KILL {pid} 2>/dev/null");
            let sent = Command::new("sh").args(["-c", &kill]).status();
            assert!(sent.is_ok() || std::thread::panicking());
        }
        std::thread::sleep(POLL);
    }
}

/// A temporary directory; when it goes, so do the processes that use it.
#[derive(Debug)]
pub struct Dir(tempfile::TempDir);

impl Dir {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("tepui-e2e-").tempdir();
        Self(dir.expect("a temporary directory"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    pub fn text(&self) -> &str {
        self.0.path().to_str().expect("a path in UTF-8")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        sweep(self.0.path());
    }
}

/// Sends a QUIC packet of a version that nobody speaks, and returns the versions that the other
/// side says it does; `None` if nothing comes.
pub fn quic_versions(address: &str) -> Option<Vec<u32>> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(address).expect("loopback");
    let patience = Some(Duration::from_millis(500));
    socket.set_read_timeout(patience).expect("not zero");
    // RFC 9000, 17.2: a long header with the fixed bit, the version, and both connection ids.
    let mut packet = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a];
    let (destination, source) = ([0x11; 8], [0x22; 8]);
    for id in [destination, source] {
        packet.push(8);
        packet.extend_from_slice(&id);
    }
    // 14.1: a first datagram is at least this large.
    packet.resize(1_200, 0);
    socket.send(&packet).ok()?;
    let mut answer = [0; 1_500];
    let length = socket.recv(&mut answer).ok()?;
    let answer = &answer[..length];
    // 17.2.1: version 0, the ids the other way round, then versions of four bytes each.
    assert_eq!(answer[0] & 0x80, 0x80, "a long header: {answer:x?}");
    assert_eq!(answer[1..5], [0; 4], "{answer:x?}");
    assert_eq!(answer[5], 8, "{answer:x?}");
    assert_eq!(answer[6..14], source, "{answer:x?}");
    assert_eq!(answer[14], 8, "{answer:x?}");
    assert_eq!(answer[15..23], destination, "{answer:x?}");
    let versions = answer[23..].chunks(4);
    Some(
        versions
            .map(|version| u32::from_be_bytes(version.try_into().expect("four bytes")))
            .collect(),
    )
}

/// A master and agents as daemons, in a directory of their own.
#[derive(Debug)]
pub struct Cluster {
    pub address: String,
    pub tls: PathBuf,
    agent_address: String,
    master: Option<Process>,
    agent: Option<Process>,
    pub dir: Dir,
}

impl Cluster {
    /// Starts a master that makes its own certificates, and an agent with `flags`.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_at(free_address(), flags)
    }

    /// Starts a cluster whose agent listens at an address.
    pub fn start_at(agent_address: String, flags: &[&str]) -> Self {
        let dir = Dir::new();
        let mut cluster = Self {
            address: free_address(),
            tls: dir.join("master/tls"),
            agent_address,
            master: None,
            agent: None,
            dir,
        };
        cluster.start_master();
        cluster.start_agent(flags);
        cluster.wait_for_agent();
        cluster
    }

    pub fn start_master(&mut self) {
        self.start_master_with(&[]);
    }

    /// Starts the master, always on the same directory and the same address, with more flags.
    pub fn start_master_with(&mut self, flags: &[&str]) {
        let mut master = command(MASTER);
        master.args(["--listen", &self.address, "--work-dir"]);
        master.arg(self.dir.join("master")).args(flags);
        self.master = Some(Process::start(master));
        wait_for("the master to answer", || {
            (self.tepui(&["agent", "list"]).code == Some(0)).then_some(())
        });
    }

    /// Starts the agent, always on the same directory and the same address.
    pub fn start_agent(&mut self, flags: &[&str]) {
        let mut agent = command(AGENT);
        agent.args(["--master", &self.address, "--listen", &self.agent_address]);
        agent.args(["--registration-backoff", "0s"]).args(flags);
        agent.arg("--tls-dir").arg(&self.tls);
        agent.arg("--work-dir").arg(self.dir.join("agent"));
        self.agent = Some(Process::start(agent));
    }

    pub fn wait_for_agent(&self) {
        wait_for("the agent to register", || {
            let agents = self.json(&["agent", "list"]);
            (agents.as_array().is_some_and(|agents| agents.len() == 1)).then_some(())
        });
    }

    /// Ends the master with SIGKILL.
    pub fn kill_master(&mut self) {
        self.master.take().expect("it runs").kill();
    }

    /// Ends the agent with SIGKILL.
    pub fn kill_agent(&mut self) {
        self.agent.take().expect("it runs").kill();
    }

    /// Has the agent crash; returns how it ended, and its log.
    pub fn crash_agent(&mut self) -> (ExitStatus, String) {
        self.agent.take().expect("it runs").crash()
    }

    /// Has the master crash; returns how it ended, and its log.
    pub fn crash_master(&mut self) -> (ExitStatus, String) {
        self.master.take().expect("it runs").crash()
    }

    /// Has the agent leave the cluster, and waits for its end.
    pub fn agent_leaves(&mut self) -> Ended {
        let agent = self.agent.take().expect("it runs");
        signal(agent.pid(), "USR1");
        agent.end()
    }

    /// Waits until the agent has said this on its standard error.
    pub fn agent_says(&mut self, part: &str) {
        self.agent.as_mut().expect("it runs").until_it_says(part);
    }

    /// Waits for the agent's own end.
    pub fn agent_ends(&mut self) -> Ended {
        self.agent.take().expect("it runs").end()
    }

    /// Makes a `tepui` command for this cluster.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command(TEPUI);
        command.args(args);
        command.env("TEPUI_MASTER", &self.address);
        command.env("TEPUI_TLS_DIR", &self.tls);
        command
    }

    /// Runs a `tepui` command to its end.
    #[track_caller]
    pub fn tepui(&self, args: &[&str]) -> Ended {
        run(self.command(args))
    }

    /// Starts a `tepui run` to be watched.
    pub fn start_run(&self, args: &[&str]) -> Process {
        Process::start(self.command(&[&["run"], args].concat()))
    }

    /// Runs a list command and returns its JSON.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let ended = self.tepui(&[args, &["-o", "json"]].concat());
        let ended = ended.with(0);
        serde_json::from_str(&ended.out).expect("JSON")
    }
}

impl Drop for Cluster {
    #[expect(
        clippy::print_stderr,
        reason = "the harness shows it with the test that fails"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = [("master", &self.master), ("agent", &self.agent)];
            for (name, daemon) in logs {
                let log = daemon.as_ref().map(Process::err).unwrap_or_default();
                eprintln!("the {name}'s log:\n{log}");
            }
        }
        drop((self.agent.take(), self.master.take()));
        sweep(self.dir.path());
        remove_control_groups(&self.dir.join("agent"));
    }
}

/// Removes the control groups of the agent that had this directory: a launcher that is killed
/// leaves them. Its containers die with it, but a group is busy until the last of a container's
/// processes is gone.
pub fn remove_control_groups(work_dir: &Path) {
    if let (Ok(work_dir), Ok(hierarchies)) = (work_dir.canonicalize(), Hierarchies::detect()) {
        let instance = crc32fast::hash(work_dir.as_os_str().as_bytes());
        let root = format!("tepui/{instance:08x}");
        let begun = Instant::now();
        loop {
            match hierarchies.remove_root(&root) {
                Ok(()) => return,
                Err(_) if begun.elapsed() < DEADLINE => std::thread::sleep(POLL),
                Err(error) => {
                    assert!(std::thread::panicking(), "{error:?}");
                    return;
                }
            }
        }
    }
}

/// Finds the id of the task in what a run says.
#[track_caller]
pub fn task_of(err: &str) -> &str {
    let (_, rest) = err.split_once("tepui: task ").expect("a task is named");
    rest.split_whitespace().next().expect("its id")
}
