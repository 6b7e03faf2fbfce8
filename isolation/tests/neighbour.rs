//! A task of one core beside others that take all they can get: it keeps most of what it gets done
//! alone (CT-16, CT-17, CT-22, CT-64). For real, as root, and says so when it skips.
//!
//! What is compared is how much it does in spans of time that follow each other, one without and
//! one with a hog beside it, ten times over; so whatever else the machine does is in both. In a
//! third, threads that only compute are bound to all other CPUs: what a task loses to those no
//! isolation can give it back, as where two CPUs are one core, or a machine's owner sells less of
//! them than it shows. A hog may take no more than its part of what is left.
//!
//! What counts first is what is left beside a hog of what is done alone; only where the machine
//! does not even give that beside bare threads, they are what it is compared with, and it is said.
//!
//! The agent gives tasks of whole CPUs cores of their own, as operators do whose tasks must not
//! disturb each other. By weights alone a hog with many threads is on the neighbour's CPU with part
//! of them; how much that leaves is said, and less is promised.

#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "limits/block.rs"]
mod block;
#[path = "common/mod.rs"]
mod common;
#[path = "neighbour/hogs.rs"]
mod hogs;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use block::Loop;
use common::{Agent, config, eventually, id, is_alive, skipped, spec};
use hogs::{COUNT, DEED, PIECE};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tepui_core::protocol::container::{ContainerEvent, ContainerLimits};
use tepui_core::protocol::status::{Exit, Limited};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::Milli;
use tepui_isolation::cgroup::{Controller, Hierarchies, IoLimit, Settings};
use tepui_isolation::isolators::{Allowed, Groups, Nodes, Rights};
use tepui_isolation::{Isolator, Mode};

/// How much of its work a task that has a core for itself is to keep.
const KEPT: f64 = 0.85;
/// How much a task has at least that shares its core with another of the same weight; half of it,
/// were the kernel's scheduler exact.
const SHARED: f64 = 0.4;
/// How often both are measured.
const PAIRS: usize = 10;
/// For how long at a time.
const SPAN: Duration = Duration::from_millis(250);
/// How often a hog that stays below is measured: whoever else uses the machine may have come in
/// the middle of it.
const TRIES: usize = 5;
/// What a container may write to the block device in a second.
const WRITTEN: u64 = 1 << 20;

/// The whole program again, in a container: see [`hogs`].
#[test]
fn deed() {
    hogs::deed();
}

/// What takes all that it can get.
struct Hog {
    name: String,
    limits: ContainerLimits,
    /// What it is killed for, again and again.
    dies_of: Option<Limited>,
}

fn units(n: i64) -> Option<Milli> {
    Some(Milli::from_units(n))
}

fn hogs() -> Vec<Hog> {
    let usual = ContainerLimits {
        cpus: units(1),
        mem: units(64),
        pids: Some(64),
        ..ContainerLimits::default()
    };
    // All CPUs while nobody else wants them.
    let unlimited = ContainerLimits {
        cpus: None,
        share: units(1),
        ..usual.clone()
    };
    let hog = |name: &str, limits: &ContainerLimits| Hog {
        name: name.to_owned(),
        limits: limits.clone(),
        dies_of: None,
    };
    vec![
        hog("spins", &usual),
        hog("spins", &unlimited),
        Hog {
            dies_of: Some(Limited::Memory),
            ..hog("allocates", &usual)
        },
        hog("forks", &usual),
        hog("opens", &usual),
        hog("writes", &usual),
        hog("listens", &usual),
    ]
}

/// An agent with a neighbour that works, and ids for more.
struct Place {
    agent: Agent,
    next: u64,
    /// Where the neighbour counts.
    count: File,
    /// All CPUs but one that the neighbour may use.
    others: Vec<usize>,
}

/// What a neighbour keeps of what it does alone: medians.
struct Kept {
    beside_hog: f64,
    /// Beside threads without a container, on all other CPUs.
    beside_bare: f64,
}

impl Kept {
    /// Returns whether it keeps so much of what it does alone, or, where the machine does not give
    /// that beside bare threads, of what it does beside them.
    fn is_enough(&self, wanted: f64) -> bool {
        self.beside_hog >= wanted || self.beside_hog / self.beside_bare.min(1.0) >= wanted
    }
}

impl Place {
    fn new(agent: Agent) -> Self {
        let limits = ContainerLimits {
            share: units(1),
            ..ContainerLimits::default()
        };
        let neighbour = launch(&agent, 1, "works", limits);
        assert!(is_alive(neighbour));
        Self {
            agent,
            next: 2,
            count: count_of(neighbour),
            others: others(neighbour),
        }
    }

    /// Launches the next one, and returns its first process too.
    fn launch(&mut self, deed: &str, limits: &ContainerLimits) -> (u64, u32) {
        let n = self.next;
        self.next += 1;
        (n, launch(&self.agent, n, deed, limits.clone()))
    }

    fn destroy(&self, n: u64) {
        self.agent.destroy(&id(n));
        assert_eq!(self.agent.exited().0, Exit::Signal(9));
    }

    /// Returns what the neighbour does in a second.
    fn alone(&self) -> f64 {
        rate(&self.count, || std::thread::sleep(SPAN))
    }

    /// Returns what it does in a second beside a hog.
    fn beside(&mut self, hog: &Hog) -> f64 {
        let (n, pid) = self.launch(&hog.name, &hog.limits);
        count_of(pid);
        let Some(limited) = hog.dies_of else {
            let done = self.alone();
            self.destroy(n);
            return done;
        };
        let count = self.count.try_clone().unwrap();
        rate(&count, || {
            let end = Instant::now() + SPAN;
            loop {
                let event = self.agent.next();
                let ContainerEvent::Exited { breach, .. } = event else {
                    panic!("{event:?}");
                };
                // It dies alone, of its own fault.
                assert_eq!(breach.map(|breach| breach.resource), Some(limited));
                if Instant::now() >= end {
                    break;
                }
                self.launch(&hog.name, &hog.limits);
            }
        })
    }

    /// Returns what it does in a second beside threads without a container.
    fn beside_bare(&self) -> f64 {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for cpu in &self.others {
                scope.spawn(|| {
                    let mut cpus = CpuSet::new();
                    cpus.set(*cpu).unwrap();
                    sched_setaffinity(Pid::from_raw(0), &cpus).unwrap();
                    while !over.load(Ordering::Relaxed) {
                        hogs::work(SPAN / 1000);
                    }
                });
            }
            let done = self.alone();
            over.store(true, Ordering::Relaxed);
            done
        })
    }

    /// Returns what the neighbour keeps beside a hog.
    fn kept(&mut self, hog: &Hog) -> Kept {
        let (mut beside_hog, mut beside_bare) = (Vec::new(), Vec::new());
        for turn in 0..PAIRS {
            // Whichever is first has no advantage.
            let before = turn.is_multiple_of(2).then(|| self.alone());
            let (beside, bare) = (self.beside(hog), self.beside_bare());
            let alone = before.unwrap_or_else(|| self.alone());
            beside_hog.push(beside / alone);
            beside_bare.push(bare / alone);
        }
        Kept {
            beside_hog: median(beside_hog),
            beside_bare: median(beside_bare),
        }
    }
}

impl Place {
    /// Measures the neighbour beside a hog, again if it keeps too little, and says what it was.
    fn is_kept(&mut self, hog: &Hog, how: &str, wanted: f64) {
        let mut tries = 1;
        let mut kept = self.kept(hog);
        while !kept.is_enough(wanted) && tries < TRIES {
            kept = self.kept(hog);
            tries += 1;
        }
        let limit = match hog.limits.cpus {
            Some(cpus) => format!("{cpus} cores at most"),
            None => "no limit on cores".to_owned(),
        };
        let name = &hog.name;
        let result = format!(
            "with {how} beside one that {name}, {limit}: {:.3} of alone, beside bare threads \
             {:.3}, in try {tries}",
            kept.beside_hog, kept.beside_bare
        );
        say(&result);
        assert!(kept.is_enough(wanted), "{result}");
    }
}

/// Returns the median of [`PAIRS`] numbers.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    f64::midpoint(numbers[PAIRS / 2 - 1], numbers[PAIRS / 2])
}

/// Gives containers memory of their own to count in.
fn memory() -> Box<dyn Isolator> {
    Box::new(Rights::new(Allowed {
        shm_size: Some(1 << 20),
        ..Allowed::default()
    }))
}

/// Returns where the program counts that a first process has started, once it does.
fn count_of(pid: u32) -> File {
    // In memory: who writes to a disk waits for others who write to it.
    let path = format!("/proc/{pid}/root{COUNT}");
    eventually("it has begun", || {
        File::open(&path).is_ok_and(|file| read(&file) > 0)
    });
    File::open(path).unwrap()
}

/// Returns all CPUs but one that a process may use.
fn others(pid: u32) -> Vec<usize> {
    let its = sched_getaffinity(Pid::from_raw(pid.try_into().unwrap())).unwrap();
    let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let in_set = |set: &CpuSet, cpu| set.is_set(cpu).unwrap();
    let own = (0..CpuSet::count()).find(|cpu| in_set(&its, *cpu)).unwrap();
    (0..CpuSet::count())
        .filter(|cpu| *cpu != own && in_set(&all, *cpu))
        .collect()
}

fn launch(agent: &Agent, n: u64, deed: &str, limits: ContainerLimits) -> u32 {
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", "deed", "--nocapture", "--test-threads=1"];
    let command = CommandInfo::exec(this.to_str().unwrap(), arguments);
    let mut spec = spec(&id(n), command);
    spec.environment.push((DEED.into(), deed.into()));
    spec.limits = limits;
    agent.launch_spec(&id(n), spec);
    agent.started()
}

fn read(count: &File) -> u64 {
    let mut bytes = [0; 8];
    let read = count.read_at(&mut bytes, 0).unwrap();
    if read == 8 {
        u64::from_le_bytes(bytes)
    } else {
        0
    }
}

/// Returns how much is counted in a second, as long as something goes on.
fn rate(count: &File, during: impl FnOnce()) -> f64 {
    let (begin, before) = (Instant::now(), read(count));
    during();
    let done = read(count) - before;
    done as f64 / begin.elapsed().as_secs_f64()
}

/// Says something past the test harness, which keeps to itself what tests that pass print.
fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("standard error is open");
}

// CT-16, CT-17, CT-22, CT-27, CT-31
#[test]
fn a_neighbour_keeps_its_throughput_beside_hogs() {
    let detected = Mode::detect();
    if detected.mode != Mode::Container || !detected.unenforced.is_empty() {
        return skipped(&detected.reason);
    }
    let has_cores = Hierarchies::detect().unwrap();
    let has_cores = has_cores.version_of(Controller::CpuSet).is_some();
    if !has_cores || std::thread::available_parallelism().unwrap().get() < 2 {
        return skipped("not two cores, or no choice of them");
    }
    let _alone = one_at_a_time();
    let mut hogs = hogs();
    let measured = hogs.len();
    beside_all(&hogs, true, KEPT);
    hogs.retain(|hog| hog.name == "spins");
    beside_all(&hogs, false, SHARED);
    say(&format!("neighbour: {measured} hogs, {PAIRS} pairs each"));
}

/// Measures a neighbour beside each of these, with cores for itself or by its weight.
fn beside_all(hogs: &[Hog], places_cores: bool, wanted: f64) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), Mode::Container);
    let groups = Groups::new(Settings::default(), places_cores, &config.cgroup_root).unwrap();
    let mut place = Place::new(Agent::isolated(config, vec![Box::new(groups), memory()]));
    let how = if places_cores {
        "a core of its own"
    } else {
        "its weight"
    };
    for hog in hogs {
        place.is_kept(hog, how, wanted);
    }
    place.destroy(1);
    place.agent.shutdown();
}

/// What is measured has the machine for itself, as far as this program goes.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

// CT-31, CT-64
#[test]
fn a_disk_hog_is_throttled() {
    let detected = Mode::detect();
    if detected.mode != Mode::Container || !detected.unenforced.is_empty() {
        return skipped(&detected.reason);
    }
    let disk = match Loop::new(64 << 20) {
        Ok(disk) => disk,
        Err(error) => return skipped(&format!("no block device to test with: {error}")),
    };
    let _alone = one_at_a_time();
    let settings = Settings {
        io_limits: vec![IoLimit {
            device: disk.numbers,
            read_bytes: None,
            write_bytes: Some(WRITTEN),
            reads: None,
            writes: None,
        }],
        ..Settings::default()
    };
    let deed = format!("writes-directly {}", disk.path);
    let disk_hog = Hog {
        name: deed.clone(),
        limits: ContainerLimits::default(),
        dies_of: None,
    };
    let written = |settings: Option<Settings>| {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), Mode::Container);
        let is_bounded = settings.is_some();
        let settings = settings.unwrap_or_default();
        let groups = Groups::new(settings, false, &config.cgroup_root).unwrap();
        let node = Nodes::new(vec![disk.path.clone().into()]);
        let agent = Agent::isolated(config, vec![Box::new(groups), Box::new(node), memory()]);
        let mut place = Place::new(agent);
        let (hog, pid) = place.launch(&deed, &ContainerLimits::default());
        let count = count_of(pid);
        // Longer than for CPUs: the kernel gives what is allowed in slices.
        let rate = rate(&count, || std::thread::sleep(8 * SPAN)) * PIECE as f64;
        place.destroy(hog);
        if is_bounded {
            place.is_kept(&disk_hog, "its weight", KEPT);
        }
        place.destroy(1);
        place.agent.shutdown();
        rate
    };
    let (free, bounded) = (written(None), written(Some(settings)));
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    say(&format!(
        "a disk hog writes {:.1} MiB/s, and {:.2} where {} is allowed",
        mib(free),
        mib(bounded),
        mib(WRITTEN as f64)
    ));
    assert!(bounded <= 1.25 * WRITTEN as f64, "{bounded}");
    assert!(free > 2.0 * bounded, "{free} without a limit");
}
