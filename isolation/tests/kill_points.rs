//! An agent is killed at every step of a container's life, and the next one is to find what is
//! there: the container is adopted or destroyed, its real exit code is told, and nothing is left.
//!
//! An agent here is a process of its own, this binary again, which does what its story says and
//! dies where `TEPUI_KILL_POINT` says. Each case is on a network of its own.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics, and says what it has done"
)]

#[path = "images/build.rs"]
#[allow(dead_code, reason = "the tests of images use more of it")]
mod build;
#[path = "common/mod.rs"]
mod common;
#[path = "images/registry.rs"]
#[allow(dead_code, reason = "the tests of images use more of it")]
mod registry;
#[path = "../examples/scratch/isolator.rs"]
mod scratch;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use build::{Built, Layer, gzip};
use common::*;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode as FileMode, SFlag, makedev, mknod};
use registry::Registry;
use scratch::Scratch;
use serde_json::json;
use tepui_core::protocol::container::{
    ContainerCommand, ContainerEvent, ContainerLimits, ContainerSpec, GroupSpec, VolumePlace,
    VolumeSpec,
};
use tepui_core::protocol::container_info::{
    Access, ContainerInfo, Image as Asked, IpcMode, NetworkInfo, Uri, Volume, VolumeSource,
};
use tepui_core::protocol::status::Exit;
use tepui_core::resources::Access::ReadWrite;
use tepui_core::resources::Milli;
use tepui_isolation::cgroup::Settings;
use tepui_isolation::fetch::{Config as FetchConfig, Fetcher};
use tepui_isolation::graphics::Graphics;
use tepui_isolation::image::{Options, Source, Store, Wanted};
use tepui_isolation::isolators::{
    Allowed, DiskRule, Disks, Fetching, Groups, Images, Listening, Members, Memory, Networks,
    Nodes, Persistent, Processors, Rights, Setup, Volumes,
};
use tepui_isolation::kill_point::{POINTS, VARIABLE};
use tepui_isolation::network::bandwidth::Rate;
use tepui_isolation::network::ports::Rule;
use tepui_isolation::network::{Namespaces, cni, within};
use tepui_isolation::{Isolator, Mode};

/// The isolators of an agent here, in their order: all that `tepui-agent` has, and one of users'.
const ISOLATORS: [&str; 11] = [
    "rights",
    "images",
    "groups",
    "disks",
    "devices",
    "graphics processors",
    "networks",
    "ports",
    "volumes",
    "fetch",
    "scratch",
];
/// Those that keep something for a container.
const KEEPERS: [&str; 7] = [
    "images",
    "groups",
    "disks",
    "graphics processors",
    "networks",
    "ports",
    "scratch",
];
/// Where the plugins of networks are.
const PLUGINS: &str = "/usr/lib/cni";
/// Where an agent is told what to do.
const DIR: &str = "TEPUI_TEST_DIR";
const STORY: &str = "TEPUI_TEST_STORY";
const IMAGE: &str = "TEPUI_TEST_IMAGE";
/// How many cases are tried at the same time.
const AT_ONCE: usize = 3;

/// What an agent does with its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// Starts it, changes its limits, lets it end, forgets it.
    Ends,
    /// Starts it and asks it to end.
    Terminates,
    /// Starts it and kills it.
    Destroys,
    /// Starts it; the next agent dies while it recovers.
    Recovers,
}

/// A place where an agent dies.
#[derive(Clone, Debug)]
struct Case {
    place: String,
    story: Story,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &point in POINTS {
        let story = match point.split('.').next().unwrap() {
            "terminate" => Story::Terminates,
            "destroy" => Story::Destroys,
            "recover" => Story::Recovers,
            _ => Story::Ends,
        };
        let of: &[&str] = match point {
            "prepare.begun:" => &ISOLATORS,
            "attach.begun:" | "attach.done:" => &["scratch"],
            "disband.begun:" | "disband.done:" => &["rights", "networks"],
            _ => &KEEPERS,
        };
        let places = match point.ends_with(':') {
            true => of.iter().map(|name| format!("{point}{name}")).collect(),
            false => vec![point.to_owned()],
        };
        cases.extend(places.into_iter().map(|place| Case { place, story }));
    }
    cases
}

/// Where a case is: the directory of its agents, and its own network.
struct Ground {
    dir: tempfile::TempDir,
    agent: PathBuf,
    network: PathBuf,
    image: String,
}

impl Ground {
    fn new(store: &Path, image: &str) -> Self {
        let ground = Self::bare();
        let agent = ground.agent.clone();
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(store).arg(agent.join("images"));
        assert!(copy.status().unwrap().success());
        fs::create_dir(agent.join("config")).unwrap();
        let config = json!({
            "cniVersion": "1.0.0",
            "name": "net",
            "plugins": [{
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{ "subnet": "10.99.0.0/24" }]],
                    "dataDir": agent.join("leases"),
                },
            }],
        });
        fs::write(agent.join("config/net.conflist"), config.to_string()).unwrap();
        fs::write(agent.join("tool"), "fetched\n").unwrap();
        // The node of a graphics processor, of a device that nothing comes of when it is opened.
        fs::create_dir(agent.join("nodes")).unwrap();
        let node = agent.join("nodes/nvidia0");
        mknod(&node, SFlag::S_IFCHR, FileMode::empty(), makedev(10, 237)).unwrap();
        let mut ground = ground;
        ground.image = image.to_owned();
        ground
    }

    /// Without images and networks.
    fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Its name makes that of its control groups.
        let name = dir.path().file_name().unwrap().to_str().unwrap();
        let agent = dir.path().join(name.trim_start_matches('.'));
        fs::create_dir(&agent).unwrap();
        let namespaces = Namespaces::open(dir.path().join("host")).unwrap();
        let network = namespaces.make(&id(99)).unwrap();
        let image = String::new();
        Self {
            dir,
            agent,
            network,
            image,
        }
    }

    fn start(&self, story: &str, place: Option<&str>) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "an_agent", "--nocapture"])
            .env(DIR, &self.agent)
            .env(STORY, story)
            .env(IMAGE, &self.image)
            .stdout(Stdio::null());
        if let Some(place) = place {
            command.env(VARIABLE, place);
        }
        let started = within(&self.network, move || command.spawn());
        started.unwrap().unwrap()
    }

    /// Runs an agent to its end.
    fn run(&self, story: &str, place: Option<&str>) -> ExitStatus {
        let mut child = self.start(story, place);
        let deadline = std::time::Instant::now() + 3 * PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if std::time::Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("an agent hangs: {story}, {place:?}, {}", self.told());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn sandbox(&self) -> PathBuf {
        self.agent.join("sandboxes").join(id(1).as_str())
    }

    /// What the last agent was told.
    fn told(&self) -> String {
        fs::read_to_string(self.agent.join("told")).unwrap_or_default()
    }

    /// Lists what is there that was not before any agent.
    fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        let below = |name: &str| -> Vec<String> {
            let entries = fs::read_dir(self.agent.join(name)).into_iter().flatten();
            let names = entries.map(|entry| entry.unwrap().file_name());
            let names = names.map(|name| name.to_string_lossy().into_owned());
            let kept = |name: &String| !name.starts_with("last_reserved_ip") && name != "lock";
            names.filter(kept).collect()
        };
        for name in [
            "roots",
            "netns",
            "names",
            "networks",
            "prepared",
            "scratch",
            "disks",
            "gpus",
            "ports",
            "groups/networks",
            "groups/memory",
            "run/groups",
        ] {
            left.extend(
                below(name)
                    .into_iter()
                    .map(|entry| format!("{name}/{entry}")),
            );
        }
        left.extend(
            below("leases/net")
                .into_iter()
                .map(|lease| format!("lease {lease}")),
        );
        let dir = self.agent.to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(
            mounts
                .lines()
                .filter(|line| line.contains(dir))
                .map(str::to_owned),
        );
        for top in ["", "cpu", "memory", "pids", "freezer", "devices", "unified"] {
            let root = config(&self.agent, Mode::Container).cgroup_root;
            let group = Path::new("/sys/fs/cgroup").join(top).join(root);
            if group.parent().unwrap().exists() {
                left.push(format!("group {}", group.display()));
            }
        }
        let processes = survivors(&self.agent)
            .into_iter()
            .chain(launchers(&self.agent));
        left.extend(processes.map(|pid| format!("process {pid}")));
        let links = within(&self.network, || {
            fs::read_to_string("/proc/thread-self/net/dev")
        });
        let links = links.unwrap().unwrap();
        let names = links.lines().filter_map(|line| line.split_once(':'));
        let names = names.map(|(name, _)| name.trim().to_owned());
        left.extend(
            names
                .filter(|name| name != "lo")
                .map(|name| format!("link {name}")),
        );
        left
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // A failed test leaves neither a launcher nor a container.
        for pid in launchers(&self.agent)
            .into_iter()
            .chain(survivors(&self.agent))
        {
            let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
        let namespaces = Namespaces::open(self.dir.path().join("host")).unwrap();
        let _ = namespaces.remove(&id(99));
    }
}

/// Tries one case; says what is wrong.
fn attempt(case: &Case, store: &Path, image: &str) -> Result<(), String> {
    let ground = Ground::new(store, image);
    let first = match case.story {
        Story::Ends => "ends",
        Story::Terminates => "terminates",
        Story::Destroys => "destroys",
        Story::Recovers => {
            let died = ground.run("stays", Some("started.told"));
            assert_eq!(died.signal(), Some(9), "{}", ground.told());
            "recovers"
        }
    };
    let died = ground.run(first, Some(&case.place));
    if died.signal() != Some(9) {
        return Err(format!(
            "it did not come by there: {died}; told: {}",
            ground.told()
        ));
    }
    let last = match case.place.starts_with("forget.sent") {
        true => "knows nothing",
        false => "recovers",
    };
    let ended = ground.run(last, None);
    let told = ground.told();
    if !ended.success() {
        return Err(format!("the next agent has failed: {ended}; told: {told}"));
    }
    let ran = fs::read_to_string(ground.sandbox().join("ran")).unwrap_or_default();
    let end = told.lines().last().unwrap_or_default();
    let killed = ["exited signal 15", "exited signal 9"].contains(&end);
    let is_right = match (ran.as_str(), case.story) {
        _ if last == "knows nothing" => told.is_empty(),
        ("", _) => end.starts_with("failed") || end == "lost",
        ("ran\n", Story::Ends | Story::Recovers) => end == "exited code 7",
        ("ran\n", Story::Terminates | Story::Destroys) => killed || end == "exited code 7",
        (_, _) => false,
    };
    if !is_right {
        return Err(format!("it ran {ran:?}, and what was told is: {told}"));
    }
    let left = ground.leftovers();
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("left: {left:#?}")),
    }
}

/// Fills a store with the image that containers have as a volume.
fn fill_store(dir: &Path) -> Option<(PathBuf, String)> {
    let registry = Registry::start(|_| String::new())?;
    let layer = Layer::new().file("note", "of the image\n").done();
    let built = Built::packed(&[(layer.clone(), gzip(&layer))], &json!({}));
    registry.push(&built, "team/data", "v1", None);
    let name = registry.name("team/data:v1");
    let path = dir.join("images");
    let store = Store::open(&path, Options::default()).unwrap();
    let wanted = Wanted::new(Source::Registry(name.parse().unwrap()));
    store.provide(&wanted).unwrap();
    Some((path, name))
}

fn can_all() -> bool {
    let detected = Mode::detect();
    if detected.mode != Mode::Container || !detected.unenforced.is_empty() {
        skipped(&detected.reason);
        return false;
    }
    let has_plugins = Path::new(PLUGINS).join("ptp").exists();
    if !has_plugins {
        skipped("package containernetworking-plugins is not installed");
    }
    has_plugins
}

// CT-03, CT-04, CT-09, CT-12, CT-52, AG-53, AG-57
#[test]
fn an_agent_that_dies_anywhere_leaves_nothing_and_loses_nothing() {
    if !can_all() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some((store, image)) = fill_store(dir.path()) else {
        return;
    };
    let only = std::env::var("TEPUI_TEST_ONLY").ok();
    let mut cases = cases();
    cases.retain(|case| only.as_ref().is_none_or(|only| case.place.contains(only)));
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(String::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(why) = attempt(case, &store, &image) {
                let mut wrong = wrong.lock().unwrap();
                writeln!(wrong, "{}: {why}", case.place).unwrap();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE {
            scope.spawn(work);
        }
        work();
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong}");
    let places: BTreeSet<&str> = cases.iter().map(|case| case.place.as_str()).collect();
    assert!(places.len() >= 20 || only.is_some());
    say(&format!("kill points: {}, leftovers: 0", places.len()));
}

/// How many times an agent is killed; `TEPUI_TEST_KILLS` says another number.
const KILLS: usize = 40;
/// How many tasks are live all the time.
const LIVE: usize = 50;

// CT-09, AG-57, R11: whenever an agent is killed, no task is run twice, killed, or forgotten
#[test]
fn an_agent_that_is_killed_at_any_moment_loses_no_task() {
    let detected = Mode::detect();
    if detected.mode != Mode::Container || !detected.unenforced.is_empty() {
        return skipped(&detected.reason);
    }
    let kills = std::env::var("TEPUI_TEST_KILLS").ok();
    let kills = kills.map_or(KILLS, |text| text.parse().unwrap());
    let ground = Ground::bare();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = ground.start("many", None);
        let begun = ground.agent.join("begun");
        eventually("an agent begins", || begun.exists());
        std::thread::sleep(Duration::from_micros(random % 800_000));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{}", ground.told());
        fs::remove_file(begun).unwrap();
    }
    let ended = ground.run("last", None);
    assert!(ended.success(), "{}", ground.told());
    let book = Book::read(&ground.agent);
    assert!(book.ordered.len() >= LIVE);
    let mut ran = 0;
    for &n in &book.ordered {
        let path = ground.agent.join("sandboxes").join(id(n).as_str());
        let text = fs::read_to_string(path.join("ran")).unwrap_or_default();
        let ends: Vec<&str> = book.ends_of(n).collect();
        let expected = match text.as_str() {
            "ran\n" => format!("exited code {}", code_of(n)),
            "" => String::new(),
            _ => panic!("{n} ran more than once: {text:?}"),
        };
        ran += usize::from(!text.is_empty());
        assert!(!ends.is_empty(), "the end of {n} was not told");
        for end in ends {
            let is_lost = end.starts_with("failed") || end == "lost";
            assert!(
                end == expected || (expected.is_empty() && is_lost),
                "{n} ran {text:?} and ended with {end}"
            );
        }
    }
    assert_eq!(ground.leftovers(), [""; 0]);
    assert!(ran >= kills / 2, "{ran} have run: they say nothing");
    let all = book.ordered.len();
    say(&format!(
        "random kills: {kills}, tasks: {all}, of which ran: {ran}, leftovers: 0"
    ));
}

/// Says something past the test harness, which keeps to itself what tests that pass print.
fn say(text: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "{text}").expect("standard error is open");
}

fn code_of(n: u64) -> u64 {
    n % 200 + 1
}

/// What agents have written down: whom they ordered, before they did, and what they were told.
struct Book {
    ordered: BTreeSet<u64>,
    ended: Vec<(u64, String)>,
}

impl Book {
    fn read(dir: &Path) -> Self {
        let lines = |name| fs::read_to_string(dir.join(name)).unwrap_or_default();
        let ordered = lines("ordered");
        let ended = lines("ended");
        let ended = ended.lines().filter_map(|line| line.split_once(' '));
        Self {
            ordered: ordered.lines().map(|line| line.parse().unwrap()).collect(),
            ended: ended
                .map(|(n, end)| (n.parse().unwrap(), end.to_owned()))
                .collect(),
        }
    }

    fn ends_of(&self, n: u64) -> impl Iterator<Item = &str> {
        let ends = self.ended.iter().filter(move |(of, _)| *of == n);
        ends.map(|(_, end)| end.as_str())
    }

    fn live(&self) -> BTreeSet<u64> {
        let ended: BTreeSet<u64> = self.ended.iter().map(|(n, _)| *n).collect();
        self.ordered.difference(&ended).copied().collect()
    }
}

/// Not a test of its own: the agents of the others.
#[test]
fn an_agent() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let story = std::env::var(STORY).unwrap();
    let image = std::env::var(IMAGE).unwrap();
    let isolators = match story.as_str() {
        "many" | "last" => vec![scratch(&dir)],
        _ => isolators(&dir),
    };
    let agent = Agent::isolated(config(&dir, Mode::Container), isolators);
    if let "many" | "last" = story.as_str() {
        keep_many(&agent, story == "many");
        return agent.shutdown();
    }
    let told = fs::File::create(dir.join("told")).unwrap();
    let teller = Teller { agent, told };
    match story.as_str() {
        "ends" | "terminates" | "destroys" | "stays" => teller.begin(&story, &image),
        "recovers" => teller.recover(&[id(1)]),
        _ => teller.recover(&[]),
    }
}

fn isolators(dir: &Path) -> Vec<Box<dyn Isolator>> {
    let store = Store::open(dir.join("images"), Options::default()).unwrap();
    let networks = cni::Config {
        plugin_dirs: vec![PLUGINS.into()],
        container_prefix: "agent-".to_owned(),
        ..cni::Config::new(dir.join("config"), dir.join("networks"))
    };
    let setup = Setup {
        groups: Members::open(dir.join("groups/networks")).unwrap(),
        namespaces: Namespaces::open(dir.join("netns")).unwrap(),
        networks: cni::Networks::open(networks).unwrap(),
        files: dir.join("names"),
        dns: None,
        egress: Some(Rate::of(1_000_000)),
    };
    let members = Members::open(dir.join("groups/memory")).unwrap();
    let memory = Memory::open(dir.join("run/groups"), members).unwrap();
    let root = config(dir, Mode::Container).cgroup_root;
    let graphics = Graphics::find(&dir.join("nodes"), &dir.join("no-driver")).unwrap();
    let often = Duration::from_millis(20);
    let looked = DiskRule {
        interval: often,
        ..DiskRule::default()
    };
    let ports = Listening::new(Rule::default(), often, &root, dir.join("ports"));
    let persistent = Persistent::new(dir);
    vec![
        Box::new(Rights::new(Allowed::default()).sharing(memory)),
        Box::new(Images::new(Some(store), dir.join("roots"))),
        Box::new(Groups::new(Settings::default(), true, &root).unwrap()),
        Box::new(Disks::new(looked, dir, dir.join("disks")).unwrap()),
        Box::new(Nodes::new(vec!["/dev/full".into()])),
        Box::new(Processors::new(graphics, dir.join("gpus")).unwrap()),
        Box::new(Networks::new(Some(setup))),
        Box::new(ports.unwrap()),
        Box::new(Volumes::new(Vec::new()).keeping(persistent)),
        Box::new(Fetching::new(
            Fetcher::new(FetchConfig::new(dir.join("cache"))).unwrap(),
        )),
        scratch(dir),
    ]
}

fn scratch(dir: &Path) -> Box<dyn Isolator> {
    Box::new(Scratch {
        directory: dir.join("scratch"),
        accounts: dir.join("accounts"),
        most: 100,
    })
}

/// Has so many tasks live until it is killed, or sees the last of them end.
fn keep_many(agent: &Agent, goes_on: bool) {
    let append = |name: &str| {
        let mut options = fs::File::options();
        options
            .create(true)
            .append(true)
            .open(agent.dir.join(name))
            .unwrap()
    };
    let write = |mut file: &fs::File, line: String| {
        std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
    };
    let (ordered, ended) = (append("ordered"), append("ended"));
    let book = Book::read(&agent.dir);
    let mut live = book.live();
    let mut next = book.ordered.last().map_or(1, |last| last + 1);
    let known = live.iter().map(|&n| id(n)).collect();
    agent.send(ContainerCommand::Recover { known });
    fs::write(agent.dir.join("begun"), "").unwrap();
    let mut has_recovered = false;
    while goes_on || !live.is_empty() || !has_recovered {
        while goes_on && live.len() < LIVE {
            write(&ordered, format!("{next}\n"));
            let (seconds, millis) = (next * 37 % 1_500 / 1_000, next * 37 % 1_000);
            let code = code_of(next);
            let script = format!("echo ran >> ran; sleep {seconds}.{millis:03}; exit {code}");
            agent.launch(&id(next), sh(&script));
            live.insert(next);
            next += 1;
        }
        let (of, end) = match agent.next() {
            ContainerEvent::Exited { id, exit, .. } => match exit {
                Exit::Code(code) => (id, format!("exited code {code}")),
                Exit::Signal(signal) => (id, format!("exited signal {signal}")),
            },
            ContainerEvent::LaunchFailed { id, message } => (id, format!("failed {message}")),
            ContainerEvent::Lost { id } => (id, "lost".to_owned()),
            ContainerEvent::Recovered => {
                has_recovered = true;
                continue;
            }
            _ => continue,
        };
        let n: u64 = of.as_str().trim_start_matches('c').parse().unwrap();
        write(&ended, format!("{n} {end}\n"));
        live.remove(&n);
        agent.send(ContainerCommand::Forget { id: of });
    }
}

/// An agent that writes down what it is told.
struct Teller {
    agent: Agent,
    told: fs::File,
}

impl Teller {
    fn begin(self, story: &str, image: &str) {
        self.agent
            .launch_spec(&id(1), asking(&self.agent.dir, image));
        let mut ended = false;
        while !ended {
            let event = self.next();
            if let ContainerEvent::Started { .. } = event {
                match story {
                    "terminates" => {
                        self.has_run();
                        self.agent.send(ContainerCommand::Terminate { id: id(1) });
                    }
                    "destroys" => {
                        self.has_run();
                        self.agent.destroy(&id(1));
                    }
                    "ends" => {
                        self.agent.send(ContainerCommand::Resize {
                            id: id(1),
                            limits: ContainerLimits {
                                cpus: Some(Milli::from_units(2)),
                                ..ContainerLimits::default()
                            },
                        });
                        self.go();
                    }
                    _ => {}
                }
            }
            ended = !matches!(event, ContainerEvent::Started { .. });
        }
        while std::env::var(VARIABLE).is_ok_and(|place| place == "end.told") {
            // It dies now; what it was told it has not heard.
            std::thread::park();
        }
        self.agent.send(ContainerCommand::Forget { id: id(1) });
        self.agent.shutdown();
    }

    fn recover(self, known: &[tepui_core::ids::ContainerId]) {
        let known = known.to_vec();
        let (mut runs, mut ended) = (false, known.is_empty());
        self.agent.send(ContainerCommand::Recover { known });
        loop {
            match self.next() {
                ContainerEvent::Started { .. } => runs = true,
                ContainerEvent::Recovered => break,
                _ => ended = true,
            }
        }
        if runs && !ended {
            self.go();
            ended = !matches!(self.next(), ContainerEvent::ResizeFailed { .. });
        }
        assert!(ended, "its end is told");
        self.agent.shutdown();
    }

    /// Waits for the task's own words: it is told to have started before its program has run.
    fn has_run(&self) {
        let path = self.agent.dir.join("sandboxes").join(id(1).as_str());
        let path = path.join("ran");
        eventually("the task runs", || {
            fs::read_to_string(&path).is_ok_and(|text| text == "ran\n")
        });
    }

    /// Lets the task end.
    fn go(&self) {
        let path = self.agent.dir.join("sandboxes").join(id(1).as_str());
        fs::write(path.join("go"), "").unwrap();
    }

    fn next(&self) -> ContainerEvent {
        let event = self.agent.next();
        let line = match &event {
            ContainerEvent::Exited { exit, .. } => match exit {
                Exit::Code(code) => format!("exited code {code}\n"),
                Exit::Signal(signal) => format!("exited signal {signal}\n"),
            },
            ContainerEvent::LaunchFailed { message, .. } => format!("failed {message}\n"),
            ContainerEvent::Lost { .. } => "lost\n".to_owned(),
            ContainerEvent::ResizeFailed { message, .. } => format!("limits {message}\n"),
            ContainerEvent::Started { .. }
            | ContainerEvent::Recovered
            | ContainerEvent::Probed { .. } => return event,
        };
        std::io::Write::write_all(&mut &self.told, line.as_bytes()).unwrap();
        event
    }
}

/// A container that has something of every isolator.
fn asking(dir: &Path, image: &str) -> ContainerSpec {
    let volume = |path: &str, source| Volume {
        path: path.to_owned(),
        access: Access::Read,
        source,
    };
    let asked = ContainerInfo {
        networks: vec![NetworkInfo {
            name: "net".to_owned(),
            ..NetworkInfo::default()
        }],
        volumes: vec![
            volume(
                "kept",
                VolumeSource::Sandbox {
                    path: "below".to_owned(),
                },
            ),
            volume(
                "data",
                VolumeSource::Image(Asked {
                    reference: image.to_owned(),
                    cached: true,
                }),
            ),
        ],
        ..ContainerInfo::default()
    };
    let script = "echo ran >> ran; until [ -e go ]; do sleep 0.02; done; \
                  [ -e tool ] && [ -e data/note ] && [ -d scratch ] && [ -d stays ] && \
                  [ \"$NVIDIA_VISIBLE_DEVICES\" = 0 ] && exit 7; exit 8";
    let mut command = sh(script);
    command.uris = vec![Uri::new(dir.join("tool").to_str().unwrap())];
    let mut spec = ContainerSpec {
        container: Some(Box::new(asked)),
        ..spec(&id(1), command)
    };
    let place = std::env::var(VARIABLE).unwrap_or_default();
    if ["group.", "disband."]
        .iter()
        .any(|kind| place.starts_with(kind))
    {
        have_in_common(&mut spec);
    }
    spec.limits.cpus = Some(Milli::from_units(1));
    spec.limits.disk = Some(Milli::from_units(8));
    spec.limits.gpus = Milli::from_units(1);
    spec.volumes.push(VolumeSpec {
        place: VolumePlace {
            disk: None,
            directory: vec!["role".to_owned(), "v1".to_owned()],
        },
        path: "stays".to_owned(),
        access: ReadWrite,
        size: Milli::from_units(8),
    });
    spec
}

/// Has it be one of a group, with which it shares what it can.
fn have_in_common(spec: &mut ContainerSpec) {
    let asked = spec.container.as_mut().unwrap();
    let common = ContainerInfo {
        networks: std::mem::take(&mut asked.networks),
        ..ContainerInfo::default()
    };
    asked.ipc = IpcMode::ShareParent;
    spec.group = Some(Box::new(GroupSpec {
        id: id(2),
        sandbox: vec!["group".to_owned()],
        disk: None,
        container: Some(Box::new(common)),
    }));
}
