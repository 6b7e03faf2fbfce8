//! Attempts to get out of a container, or to take more than it was given. Each is made twice: as
//! containers are made, where it must fail, and with its guard switched off, where it must succeed,
//! or it would prove nothing. Whatever is gained then is the test's own.
//!
//! Needs root and control groups, and says so when it skips. The attempts themselves are in
//! [`attempts`], the table in [`table`].

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;
mod escapes {
    pub(crate) mod attempts;
    pub(crate) mod table;
}

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerEvent, ContainerSpec};
use tepui_core::protocol::status::Exit;
use tepui_core::protocol::task::CommandInfo;
use tepui_isolation::isolators::{Allowed, Rights};
use tepui_isolation::launch::{Bind, Mount, Seccomp};
use tepui_isolation::{Isolator, Launch, Mode, Outcome, Subject};

use common::*;
use escapes::attempts;
use escapes::table::{ATTEMPTS, Attempt, How};

/// What an attempt that was refused exits with; everything else but success is a broken test.
const REFUSED: u8 = 77;

/// What only who asks for it has: its attempts would succeed.
const NOT_BY_DEFAULT: [&str; 1] = ["no new privileges"];

/// What of the host's is attempted at: all of it the test's own.
pub(crate) struct Host {
    pub(crate) dir: PathBuf,
    /// A directory that no container is given unless an attempt says so.
    pub(crate) outside: PathBuf,
    /// The port of somebody who listens on the host's loopback.
    pub(crate) port: u16,
    /// The number of a disk, if there could be one, and the node that the host has of it.
    pub(crate) disk: Option<(u32, u32)>,
    pub(crate) disk_node: String,
    /// The name of a file in the host's `/dev/shm` and `/tmp`.
    pub(crate) name: String,
}

impl Host {
    fn disk_number(&self) -> String {
        let (major, minor) = self.disk.unwrap_or_default();
        format!("{major}:{minor}")
    }

    /// What all attempts start with: everything that a careful operator would switch on.
    fn launch(&self) -> Launch {
        let mut launch = rooted(&self.dir);
        let mut exe = Bind::new(std::env::current_exe().unwrap(), "/attempt");
        exe.read_only = true;
        launch.mounts.push(Mount::Bind(exe));
        launch.seccomp = Seccomp::Default;
        launch.no_new_privileges = true;
        launch
    }
}

/// Run inside a container by the test below.
#[test]
fn inside() {
    let Some(name) = std::env::var_os("TEPUI_TEST_ATTEMPT") else {
        return;
    };
    let name = name.to_str().unwrap();
    let attempt = ATTEMPTS
        .iter()
        .find(|attempt| attempt.name == name)
        .unwrap();
    let How::Call(call) = attempt.how else {
        panic!("{name} is a script");
    };
    let code = match call() {
        Ok(()) => 0,
        Err(error) => {
            // One of them is about being refused just this.
            let _ = writeln!(std::io::stdout(), "refused: {error}");
            REFUSED.into()
        }
    };
    std::process::exit(code);
}

/// A container that plays the host's processes: what an attempt finds here is another's.
fn victim() -> CommandInfo {
    let mut command = CommandInfo::exec("/attempt", ["--exact", "victim_process", "--nocapture"]);
    command.environment = vec![("TEPUI_TEST_VICTIM".to_owned(), "1".to_owned())];
    command
}

/// Run inside a container: somebody to be traced, signalled and listened to.
#[test]
fn victim_process() {
    if std::env::var_os("TEPUI_TEST_VICTIM").is_none() {
        return;
    }
    attempts::be_victim();
}

/// Returns what an attempt runs.
fn command(host: &Host, attempt: &Attempt) -> CommandInfo {
    match attempt.how {
        How::Call(_) => {
            let mut command = CommandInfo::exec("/attempt", ["--exact", "inside", "--nocapture"]);
            command.environment = vec![
                ("TEPUI_TEST_ATTEMPT".to_owned(), attempt.name.to_owned()),
                ("TEPUI_TEST_PORT".to_owned(), host.port.to_string()),
                ("TEPUI_TEST_NAME".to_owned(), host.name.clone()),
                ("TEPUI_TEST_DISK".to_owned(), host.disk_number()),
                ("TEPUI_TEST_DISK_NODE".to_owned(), host.disk_node.clone()),
                (
                    "TEPUI_TEST_OUTSIDE".to_owned(),
                    host.outside.display().to_string(),
                ),
            ];
            command
        }
        How::Script(script) => sh(&format!("({script}) || exit {REFUSED}")),
    }
}

/// On the host's root the program is elsewhere.
fn find_program(launch: &mut Launch, spec: &mut ContainerSpec) {
    if launch.root.is_none() && spec.command.value == "/attempt" {
        spec.command.value = std::env::current_exe().unwrap().display().to_string();
        launch
            .mounts
            .retain(|mount| mount.target() != Path::new("/attempt"));
    }
}

fn run(agent: &Agent, host: &Host, number: u64, attempt: &Attempt, guarded: bool) -> Exit {
    let mut launch = host.launch();
    let mut spec = ContainerSpec::new(command(host, attempt), vec![id(number).as_str().to_owned()]);
    (attempt.with)(&mut launch, &mut spec, host);
    if !guarded {
        (attempt.off)(&mut launch, &mut spec, host);
    }
    find_program(&mut launch, &mut spec);
    agent.launch_spec_with(&id(number), spec, launch);
    end_of(agent, attempt)
}

fn end_of(agent: &Agent, attempt: &Attempt) -> Exit {
    match agent.next() {
        ContainerEvent::Started { .. } => agent.exited().0,
        other => panic!("{}: {other:?}", attempt.name),
    }
}

/// Gives containers the root that they have here, and what their attempts have besides; all else
/// is as the isolators before it make it for whoever asks for nothing.
struct Asked {
    host: Arc<Host>,
    attempts: Arc<Mutex<BTreeMap<ContainerId, &'static Attempt>>>,
}

impl Isolator for Asked {
    fn name(&self) -> &str {
        "asked"
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let here = self.host.launch();
        launch.root = here.root;
        launch.mounts.extend(here.mounts);
        if let Some(attempt) = self.attempts.lock().unwrap().get(subject.id) {
            let mut spec = subject.spec.clone();
            spec.command.value = "/attempt".to_owned();
            (attempt.with)(launch, &mut spec, &self.host);
            find_program(launch, &mut spec);
        }
        Ok(())
    }
}

// CT-05, CT-14, CT-33, CT-41, CT-44, CT-45, CT-55 to CT-61
#[test]
fn what_an_agent_gives_to_whoever_asks_for_nothing_holds_too() {
    let detected = Mode::detect();
    if detected.mode == Mode::Process || !detected.unenforced.is_empty() {
        return skipped(&detected.reason);
    }
    let _alone = one_at_a_time();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place::new(dir.path());
    let before = state(&place.host);
    let attempts = Arc::new(Mutex::default());
    let isolators: Vec<Box<dyn Isolator>> = vec![
        Box::new(Rights::new(Allowed::default())),
        Box::new(Asked {
            host: Arc::clone(&place.host),
            attempts: Arc::clone(&attempts),
        }),
    ];
    let agent = Agent::isolated(config(dir.path(), Mode::Container), isolators);
    agent.launch(&id(1), victim());
    agent.started();
    let (mut wrong, mut made) = (Vec::new(), 0);
    for (number, attempt) in (10..).zip(&ATTEMPTS) {
        if NOT_BY_DEFAULT.contains(&attempt.guard) || (attempt.missing)(&place.host).is_some() {
            continue;
        }
        made += 1;
        attempts.lock().unwrap().insert(id(number), attempt);
        let mut launch = place.host.launch();
        let sandbox = vec![id(number).as_str().to_owned()];
        let mut spec = ContainerSpec::new(command(&place.host, attempt), sandbox);
        (attempt.with)(&mut launch, &mut spec, &place.host);
        find_program(&mut launch, &mut spec);
        agent.launch_spec(&id(number), spec);
        let end = end_of(&agent, attempt);
        if end != Exit::Code(REFUSED.into()) {
            let text = agent.file(&id(number), "stdout") + &agent.file(&id(number), "stderr");
            wrong.push(format!("{}: {end}\n{text}", attempt.name));
        }
        assert_eq!(state(&place.host), before, "{}", attempt.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(made >= 25, "only {made} attempts");
    agent.shutdown();
    say(&format!(
        "escapes from what is given by default: {made} attempts, 0 succeeded"
    ));
}

/// What is compared is the whole machine's: one test at a time.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says something past the test harness, which keeps to itself what tests that pass print.
fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("standard error is open");
}

#[test]
fn every_attempt_fails_and_would_not_without_its_guard() {
    // CT-05, CT-14, CT-33, CT-41, CT-44, CT-45, CT-55 to CT-61
    let detected = Mode::detect();
    if detected.mode == Mode::Process || !detected.unenforced.is_empty() {
        return skipped(&detected.reason);
    }
    let _alone = one_at_a_time();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place::new(dir.path());
    let before = state(&place.host);
    let agent = Agent::start(dir.path(), Mode::Container);
    agent.launch_with(&id(1), victim(), place.host.launch());
    agent.started();
    let mut wrong = Vec::new();
    let mut made = 0;
    for (number, attempt) in (10..).step_by(2).zip(&ATTEMPTS) {
        if let Some(why) = (attempt.missing)(&place.host) {
            skipped(&format!("{}: {why}", attempt.name));
            continue;
        }
        made += 1;
        let guarded = run(&agent, &place.host, number, attempt, true);
        if guarded != Exit::Code(REFUSED.into()) {
            let text = agent.file(&id(number), "stdout") + &agent.file(&id(number), "stderr");
            let guard = attempt.guard;
            wrong.push(format!(
                "{}: not held by {guard}: {guarded}\n{text}",
                attempt.name
            ));
        }
        // With the guard nothing on the host has changed.
        assert_eq!(
            state(&place.host),
            before,
            "{} changed the host",
            attempt.name
        );
        let free = run(&agent, &place.host, number + 1, attempt, false);
        if free != Exit::Code(0) {
            let id = id(number + 1);
            let text = agent.file(&id, "stdout") + &agent.file(&id, "stderr");
            wrong.push(format!("{}: proves nothing: {free}\n{text}", attempt.name));
        }
        place.repair();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(made >= 25, "only {made} attempts");
    agent.shutdown();
    assert_eq!(state(&place.host), before);
    say(&format!(
        "escapes: {made} attempts, 0 succeeded, {made} succeeded without their guards"
    ));
}

/// Everything of the host's that attempts are made at, with what is needed to keep it.
struct Place {
    host: Arc<Host>,
    _listener: TcpListener,
    disk: Option<String>,
}

impl Place {
    fn new(dir: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("tepui-test-{}", std::process::id());
        let outside = dir.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::create_dir(outside.join("nodes")).unwrap();
        // A set-user-id program and a device node, as a volume or an image may hold them.
        fs::copy("/usr/bin/id", outside.join("nodes/id")).unwrap();
        fs::set_permissions(outside.join("nodes/id"), fs::Permissions::from_mode(0o4755)).unwrap();
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
        let kind = nix::sys::stat::SFlag::S_IFCHR;
        let zero = nix::sys::stat::makedev(1, 5);
        nix::sys::stat::mknod(&outside.join("nodes/zero"), kind, mode, zero).unwrap();
        let disk = attempts::make_disk(&dir.join("disk.img"));
        let number = disk.as_ref().map(|disk| {
            let number = fs::metadata(disk).unwrap().rdev();
            let major = nix::sys::stat::major(number);
            let minor = nix::sys::stat::minor(number);
            (major.try_into().unwrap(), minor.try_into().unwrap())
        });
        let host = Host {
            dir: dir.to_owned(),
            outside,
            port: listener.local_addr().unwrap().port(),
            disk: number,
            disk_node: disk.clone().unwrap_or_default(),
            name,
        };
        let place = Self {
            host: Arc::new(host),
            _listener: listener,
            disk,
        };
        place.repair();
        place
    }

    /// Puts back what an attempt without its guard may have changed.
    fn repair(&self) {
        let outside = &self.host.outside;
        fs::write(outside.join("secret"), "of the host\n").unwrap();
        fs::set_permissions(outside.join("secret"), fs::Permissions::from_mode(0o640)).unwrap();
        for path in self.shared_files() {
            fs::write(path, "of the host\n").unwrap();
        }
        for name in ["escaped", "root/escaped"] {
            let _ = fs::remove_file(self.host.dir.join(name));
        }
        let _ = fs::remove_file(outside.join("escaped"));
        let link = self.host.dir.join("root/to-the-host");
        if !link.is_symlink() {
            fs::create_dir_all(self.host.dir.join("root")).unwrap();
            symlink(outside, link).unwrap();
        }
    }

    fn shared_files(&self) -> [PathBuf; 2] {
        ["/dev/shm", "/tmp"].map(|dir| Path::new(dir).join(&self.host.name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in self.shared_files() {
            let _ = fs::remove_file(path);
        }
        if let Some(disk) = &self.disk {
            attempts::remove_disk(disk);
        }
    }
}

/// What of the machine must be the same afterwards.
fn state(host: &Host) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let own = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    let mut names: Vec<_> = fs::read_dir(&host.outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    vec![
        read("/proc/self/mountinfo"),
        read("/proc/sys/kernel/core_pattern"),
        read("/proc/sys/kernel/hostname"),
        own(&host.outside.join("secret")),
        names.join(" "),
        own(&Path::new("/dev/shm").join(&host.name)),
        own(&host.dir.join("escaped")),
    ]
}
