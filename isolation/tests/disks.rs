//! What containers' files may take of a disk: found by looking, and held by quotas of projects. The
//! second in a virtual machine, for the kernel of this one may not have them.

#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "limits/block.rs"]
#[allow(dead_code, reason = "the tests of limits use more of it")]
mod block;
#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use block::Loop;
use common::{Agent, config, eventually, id, sh, skipped, spec};
use nix::mount::{MsFlags, mount, umount};
use tepui_core::protocol::container::{
    ContainerCommand, ContainerLimits, ContainerSpec, VolumePlace, VolumeSpec,
};
use tepui_core::protocol::status::{Breach, Exit, Limited};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::{Access, Milli};

use tepui_isolation::disk::{Limits, ProjectIds, Projects, Quotas, project_of};
use tepui_isolation::isolators::{DiskMeter, DiskRule, Disks, Persistent, Volumes};
use tepui_isolation::{Isolator, Launch, Mode, Outcome, Subject};

const MIB: u64 = 1 << 20;

/// Looks without a pause.
fn eager() -> DiskRule {
    DiskRule {
        interval: Duration::from_millis(20),
        ..DiskRule::default()
    }
}

fn can_contain() -> bool {
    let detected = Mode::detect();
    let is_possible = detected.mode == Mode::Container;
    if !is_possible {
        skipped(&detected.reason);
    }
    is_possible
}

fn agent(dir: &Path, rule: DiskRule) -> (Agent, DiskMeter) {
    let disks = Disks::new(rule, dir, dir.join("disks")).unwrap();
    let meter = disks.meter();
    let agent = Agent::isolated(config(dir, Mode::Container), vec![Box::new(disks)]);
    (agent, meter)
}

fn limited(n: u64, command: CommandInfo, mib: i64) -> ContainerSpec {
    ContainerSpec {
        limits: ContainerLimits {
            disk: Some(Milli::from_units(mib)),
            ..ContainerLimits::default()
        },
        ..spec(&id(n), command)
    }
}

/// Writes `mib` MiB and waits for its end.
fn hog(mib: u64) -> CommandInfo {
    sh(&format!(
        "head -c {} /dev/zero > big; echo done > done; exec sleep 1000",
        mib * MIB
    ))
}

fn assert_excess(breach: Option<Breach>, limit: i64, used: i64) {
    let breach = breach.expect("a limit was broken");
    assert_eq!(breach.resource, Limited::Disk);
    assert_eq!(breach.limit, Milli::from_units(limit));
    assert!(breach.used >= Milli::from_units(used), "{breach:?}");
}

// CT-38
#[test]
fn who_takes_more_than_it_has_ends_and_others_do_not() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (agent, meter) = agent(dir.path(), eager());
    agent.launch_spec(&id(1), limited(1, hog(2), 8));
    agent.started();
    agent.launch_spec(&id(2), limited(2, hog(9), 8));
    agent.started();
    let (exit, breach) = agent.exited();
    assert!(matches!(exit, Exit::Signal(_)), "{exit:?}");
    assert_excess(breach, 8, 9);
    let of_first = || meter.usage(&id(1)).unwrap();
    eventually("it is known what the first takes", || {
        of_first().used.is_some_and(|used| used >= 2 * MIB)
    });
    assert_eq!(of_first().limit, Some(8 * MIB));
    assert!(of_first().used.unwrap() < 3 * MIB);
    assert_eq!(meter.usage(&id(2)), None);
    agent.shutdown();
    // Nothing is remembered of those that are over.
    assert_eq!(fs::read_dir(dir.path().join("disks")).unwrap().count(), 0);
}

fn volume(name: &str, access: Access) -> VolumeSpec {
    VolumeSpec {
        place: VolumePlace {
            disk: None,
            directory: vec!["eng".into(), name.into()],
        },
        path: "data".into(),
        access,
        size: Milli::from_units(8),
    }
}

// CT-38
#[test]
fn a_volume_has_a_size_of_its_own_and_who_writes_more_to_it_ends() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disks = Disks::new(eager(), dir.path(), dir.path().join("disks")).unwrap();
    let meter = disks.meter();
    let volumes = Volumes::default().keeping(Persistent::new(dir.path()));
    let all: Vec<Box<dyn Isolator>> = vec![Box::new(disks), Box::new(volumes)];
    let agent = Agent::isolated(config(dir.path(), Mode::Container), all);
    let launch = |n, script: String, mib, volume| {
        let volumes = vec![volume];
        let spec = limited(n, sh(&format!("{script}; exec sleep 1000")), mib);
        agent.launch_spec(&id(n), ContainerSpec { volumes, ..spec });
        agent.started();
    };
    let write = |mib: u64, file: &str| format!("head -c {} /dev/zero > {file}", mib * MIB);

    // Together it is more than either may take.
    let both = format!("{}; {}", write(6, "data/big"), write(6, "big"));
    launch(1, both, 8, volume("small", Access::ReadWrite));
    // What is on it is told beside what is the container's own (CT-81).
    eventually("it is known what is on it", || {
        let small = &meter.usage(&id(1)).unwrap().volumes[0];
        assert_eq!(small.limit, 8 * MIB);
        assert!(small.path.ends_with("eng/small"));
        small
            .used
            .is_some_and(|used| (6 * MIB..7 * MIB).contains(&used))
    });
    // It is not the reader who has made it large.
    launch(2, "true".into(), 8, volume("large", Access::ReadOnly));
    let large = volume("large", Access::ReadWrite);
    launch(3, write(9, "data/big"), 64, large.clone());
    let (exit, breach) = agent.exited();
    assert!(matches!(exit, Exit::Signal(_)), "{exit:?}");
    assert_excess(breach, 8, 9);
    // What is on it is still there, for the next one to have the same fate, or to make room.
    launch(4, "true".into(), 64, large.clone());
    assert_excess(agent.exited().1, 8, 9);
    for n in [1, 2] {
        agent.destroy(&id(n));
        assert_eq!(agent.exited().1, None, "container {n}");
    }
    agent.shutdown();
}

// CT-38
#[test]
fn it_can_be_only_told() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let rule = DiskRule {
        ends: false,
        ..eager()
    };
    let (agent, meter) = agent(dir.path(), rule);
    agent.launch_spec(&id(1), limited(1, hog(9), 8));
    agent.started();
    eventually("what it takes is known", || {
        meter
            .usage(&id(1))
            .unwrap()
            .used
            .is_some_and(|used| used > 9 * MIB)
    });
    agent.expect_nothing(Duration::from_millis(1500));
    agent.shutdown();
}

// CT-38, AG-35
#[test]
fn a_limit_can_be_changed_and_survives_the_agent() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = agent(dir.path(), eager());
    first.launch_spec(&id(1), limited(1, hog(9), 64));
    first.started();
    first.line(&id(1), "done");
    first.detach();
    let (second, meter) = agent(dir.path(), eager());
    second.recover(&[id(1)]);
    eventually("what it takes is known", || {
        meter
            .usage(&id(1))
            .unwrap()
            .used
            .is_some_and(|used| used > 9 * MIB)
    });
    assert_eq!(meter.usage(&id(1)).unwrap().limit, Some(64 * MIB));
    let limits = limited(1, sh(""), 8).limits;
    second.send(ContainerCommand::Resize { id: id(1), limits });
    assert_excess(second.exited().1, 8, 9);
    second.shutdown();
}

// CT-39
#[test]
fn a_file_system_without_quotas_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    match Projects::of(dir.path()) {
        Ok(_) => skipped("this file system has quotas of projects"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("quotas of projects"), "{text}");
            assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
        }
    }
}

// CT-38: files that take nothing take inodes
#[test]
fn who_makes_files_without_end_ends() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let files = |count: u64| {
        sh(&format!(
            "i=0; while [ $i -lt {count} ]; do : > f$i; i=$((i + 1)); done; echo all > done
             until [ -e go ]; do sleep 0.01; done"
        ))
    };
    let (bounded, meter) = agent(dir.path(), eager());
    bounded.launch_spec(&id(1), limited(1, files(200), 1));
    bounded.started();
    assert_eq!(bounded.line(&id(1), "done"), "all");
    bounded.launch_spec(&id(2), limited(2, files(100_000), 1));
    bounded.started();
    let (exit, breach) = bounded.exited();
    assert!(matches!(exit, Exit::Signal(9)), "{exit:?}");
    assert_excess(breach, 1, 1);
    // Of bytes it has not taken much.
    assert!(meter.usage(&id(1)).unwrap().used.unwrap() < MIB / 4);
    bounded.destroy(&id(1));
    bounded.exited();
    bounded.shutdown();
    // Who does not count them has them.
    let other = tempfile::tempdir().unwrap();
    let any = DiskRule {
        files_per_mib: None,
        ..eager()
    };
    let (unbounded, meter) = agent(other.path(), any);
    unbounded.launch_spec(&id(3), limited(3, files(1_000), 1));
    unbounded.started();
    assert_eq!(unbounded.line(&id(3), "done"), "all");
    eventually("it was looked at since", || {
        let used = meter.usage(&id(3)).unwrap().used;
        used.is_some_and(|used| used > 0)
    });
    fs::write(other.path().join("sandboxes/c000003/go"), "").unwrap();
    assert_eq!(unbounded.exited(), (Exit::Code(0), None));
    unbounded.shutdown();
}

/// Whether this is the virtual machine of these tests, of which everything may be used.
fn is_virtual() -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_whitespace().any(|word| word == "tepui_test")
}

/// A file system on a disk in memory, mounted at a directory as long as this lives.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(kind: &str, disk: &str) -> Self {
        let mut make = Command::new(format!("/usr/sbin/mkfs.{kind}"));
        match kind {
            "ext4" => make.args([
                "-q",
                "-F",
                "-O",
                "project,quota",
                "-E",
                "quotatype=prjquota",
            ]),
            _ => make.args(["-q", "-f"]),
        };
        let options = (kind != "btrfs").then_some("prjquota");
        make.stdout(Stdio::null());
        assert!(make.arg(disk).status().unwrap().success());
        let dir = tempfile::tempdir().unwrap();
        let none = MsFlags::empty();
        mount(Some(disk), dir.path(), Some(kind), none, options).unwrap();
        Self(dir)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount(self.0.path());
    }
}

// CT-39: on this machine, for its kernel has btrfs
#[test]
fn btrfs_holds_what_groups_of_subvolumes_take() {
    if is_virtual() || !can_contain() {
        return;
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    if !known.contains("btrfs") || !Path::new("/usr/sbin/mkfs.btrfs").exists() {
        return skipped("no btrfs, or no mkfs.btrfs");
    }
    let disk = match Loop::new(512 << 20) {
        Ok(disk) => disk,
        Err(error) => return skipped(&format!("no block device to test with: {error}")),
    };
    let mounted = Mounted::new("btrfs", &disk.path);
    let dir = mounted.0.path();
    let rule = DiskRule {
        projects: Some(IDS),
        ..eager()
    };
    // It has to be told to count.
    let refused = Disks::new(rule, dir, dir.join("disks")).unwrap_err();
    assert!(
        refused.to_string().contains("btrfs quota enable"),
        "{refused}"
    );
    btrfs(&["quota", "enable"], dir);
    let (first, meter) = agent(dir, rule);
    let script = ": > writing
        dd if=/dev/zero of=big bs=64k count=400 2> /dev/null
        /usr/bin/btrfs subvolume create more > /dev/null 2>&1 && echo made > made
        rm writing
        exec sleep 1000";
    first.launch_spec(&id(1), limited(1, sh(script), 16));
    first.started();
    let sandbox = |n: u64| dir.join("sandboxes").join(id(n).as_str());
    eventually("all is written, or refused", || {
        sandbox(1).join("big").exists() && !sandbox(1).join("writing").exists()
    });
    let written = fs::metadata(sandbox(1).join("big")).unwrap().len();
    assert!((8 * MIB..=16 * MIB).contains(&written), "{written}");
    // What would be in no group is not made.
    assert!(!sandbox(1).join("more").exists() && !sandbox(1).join("made").exists());
    // What is taken is known when the file system commits.
    nix::unistd::syncfs(fs::File::open(dir).unwrap()).unwrap();
    eventually("what it takes is told", || {
        let used = meter.usage(&id(1)).unwrap().used;
        used.is_some_and(|used| (8 * MIB..=16 * MIB).contains(&used))
    });
    first.detach();

    // The next one has no guard, and the number of the first is taken.
    let disks = Disks::new(rule, dir, dir.join("disks")).unwrap();
    let unguarded = Guard(Arc::new(AtomicBool::new(false)));
    let isolators: Vec<Box<dyn Isolator>> = vec![Box::new(disks), Box::new(unguarded)];
    let second = Agent::isolated(config(dir, Mode::Container), isolators);
    second.recover(&[id(1)]);
    let makes = "/usr/bin/btrfs subvolume create more > /dev/null && exit 3";
    second.launch_spec(&id(2), limited(2, sh(makes), 16));
    second.started();
    assert_eq!(second.exited().0, Exit::Code(3));
    let groups = Quotas::of(dir).unwrap();
    assert_eq!(groups.quota(IDS.last).unwrap().limits.bytes, Some(16 * MIB));
    let limits = limited(1, sh(""), 64).limits;
    second.send(ContainerCommand::Resize { id: id(1), limits });
    eventually("it may take more", || {
        groups.quota(IDS.first).unwrap().limits.bytes == Some(64 * MIB)
    });
    second.destroy(&id(1));
    second.exited();
    // The numbers are free when the files are gone: a subvolume goes as a directory does.
    for n in [1, 2] {
        fs::remove_dir_all(sandbox(n)).unwrap();
    }
    eventually("the numbers are free", || {
        fs::read_dir(dir.join("disks")).unwrap().count() == 0
    });
    for number in [IDS.first, IDS.last] {
        assert_eq!(groups.quota(number).unwrap().limits, Limits::default());
    }
    second.shutdown();
}

/// Runs `btrfs` on a directory.
fn btrfs(arguments: &[&str], dir: &Path) {
    let mut command = Command::new("btrfs");
    assert!(command.args(arguments).arg(dir).status().unwrap().success());
}

const IDS: ProjectIds = ProjectIds {
    first: 7_000,
    last: 7_001,
};

fn quotas_hold(kind: &str, disk: &str) {
    let mounted = Mounted::new(kind, disk);
    let dir = mounted.0.path();
    let rule = DiskRule {
        projects: Some(IDS),
        ..eager()
    };
    let (first, meter) = agent(dir, rule);
    // It is refused what is too much, and goes on.
    // Not even a word about that has room, so that it is over is said by what is not there.
    let script = ": > writing
        dd if=/dev/zero of=big bs=64k count=140 2> /dev/null
        rm writing
        exec sleep 1000";
    first.launch_spec(&id(1), limited(1, sh(script), 4));
    first.started();
    let sandbox = dir.join("sandboxes").join(id(1).as_str());
    eventually("all is written, or refused", || {
        sandbox.join("big").exists() && !sandbox.join("writing").exists()
    });
    let written = fs::metadata(sandbox.join("big")).unwrap().len();
    assert!((2 * MIB..=4 * MIB).contains(&written), "{written}");
    let of = |n: u64| project_of(&dir.join("sandboxes").join(id(n).as_str())).unwrap();
    assert_eq!(of(1), IDS.first);
    eventually("what it takes is told", || {
        meter
            .usage(&id(1))
            .unwrap()
            .used
            .is_some_and(|used| used > 2 * MIB)
    });
    assert!(meter.usage(&id(1)).unwrap().used.unwrap() <= 4 * MIB);
    first.detach();

    // The next agent knows whose the numbers are.
    let (second, _) = agent(dir, rule);
    second.recover(&[id(1)]);
    second.launch_spec(&id(2), limited(2, sh("exit 3"), 4));
    second.started();
    assert_eq!(second.exited().0, Exit::Code(3));
    assert_eq!(of(2), IDS.last);
    // Both have files still.
    second.launch_spec(&id(3), limited(3, sh("exit 0"), 4));
    let message = second.failed();
    assert!(message.contains("7000 to 7001"), "{message}");
    // With more room it goes on.
    let projects = Projects::of(dir).unwrap();
    assert_eq!(
        projects.quota(IDS.first).unwrap().limits.bytes,
        Some(4 * MIB)
    );
    let limits = limited(1, sh(""), 16).limits;
    second.send(ContainerCommand::Resize { id: id(1), limits });
    eventually("it may take more", || {
        projects.quota(IDS.first).unwrap().limits.bytes == Some(16 * MIB)
    });
    // The number is free when the files are gone.
    fs::remove_dir_all(dir.join("sandboxes").join(id(2).as_str())).unwrap();
    eventually("the number is free", || {
        projects.quota(IDS.last).unwrap().limits == Limits::default()
            && !dir.join("disks").join(id(2).as_str()).exists()
    });
    second.launch_spec(&id(4), limited(4, sh("exit 0"), 4));
    second.started();
    second.exited();
    assert_eq!(of(4), IDS.last);
    second.destroy(&id(1));
    second.exited();
    second.shutdown();
    leaving(kind, dir);
}

/// Tries to leave a project, and to have more files than are allowed in it.
fn leaving(kind: &str, dir: &Path) {
    let ids = ProjectIds {
        first: 8_000,
        last: 8_009,
    };
    let rule = DiskRule {
        projects: Some(ids),
        ..eager()
    };
    let disks = Disks::new(rule, dir, dir.join("more-disks")).unwrap();
    let guard = Arc::new(AtomicBool::new(true));
    let isolators: Vec<Box<dyn Isolator>> =
        vec![Box::new(disks), Box::new(Guard(Arc::clone(&guard)))];
    let agent = Agent::isolated(config(dir, Mode::Container), isolators);
    let attempts = [
        // By the project itself, and by who inherits it.
        ("mkdir d; : > d/f; /usr/bin/chattr -p 0 d/f", "f"),
        ("mkdir d; /usr/bin/chattr -P d && : > d/g", "g"),
    ];
    for (n, (script, name)) in (21..).zip(attempts) {
        for (n, is_guarded) in [(n, true), (n + 10, false)] {
            guard.store(is_guarded, Ordering::Relaxed);
            agent.launch_spec(&id(n), limited(n, sh(script), 4));
            agent.started();
            let (exit, _) = agent.exited();
            let errors = agent.file(&id(n), "stderr");
            assert_eq!(exit.is_success(), !is_guarded, "{kind}: {script}: {errors}");
            let file = dir
                .join("sandboxes")
                .join(id(n).as_str())
                .join("d")
                .join(name);
            // Without the guard it is in no project.
            if !is_guarded {
                assert_eq!(project_of(&file).unwrap(), 0, "{kind}: {script}");
            }
        }
    }
    // As many files as 4 MiB may have, and no more.
    guard.store(true, Ordering::Relaxed);
    let many = "i=0; while : > f$i; do i=$((i + 1)); done; echo $i";
    agent.launch_spec(&id(41), limited(41, sh(many), 4));
    agent.started();
    agent.exited();
    let made = fs::read_dir(dir.join("sandboxes").join(id(41).as_str()));
    let made = made.unwrap().count();
    assert!((900..=1_024).contains(&made), "{kind}: {made}");
    agent.shutdown();
}

/// Switches the guard of projects off.
struct Guard(Arc<AtomicBool>);

impl Isolator for Guard {
    fn name(&self) -> &str {
        "guard"
    }

    fn prepare(&self, _subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        launch.keeps_project &= self.0.load(Ordering::Relaxed);
        Ok(())
    }
}

// CT-39
#[test]
fn xfs_holds_what_projects_take() {
    if is_virtual() {
        quotas_hold("xfs", "/dev/ram1");
    }
}

// CT-39
#[test]
fn ext4_holds_what_projects_take() {
    if is_virtual() {
        quotas_hold("ext4", "/dev/ram2");
    }
}

#[test]
fn quotas_are_held_in_a_virtual_machine() {
    // CT-39
    if is_virtual() {
        return;
    }
    let tools = [
        "/usr/sbin/mkfs.xfs",
        "/usr/sbin/mkfs.ext4",
        "/usr/bin/chattr",
    ];
    if let Some(missing) = tools.iter().find(|tool| !Path::new(tool).exists()) {
        return skipped(&format!("{missing} is not installed"));
    }
    let probe = env!("CARGO_BIN_EXE_tepui-launch-probe");
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm.sh"))
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm"))
        .arg(std::env::current_exe().unwrap())
        .env("VM_FILES", [probe, tools[0], tools[1], tools[2]].join(" "))
        .env("VM_DISKS", "3")
        .env(
            "VM_MODULES",
            "crc16 crc32c_generic libcrc32c mbcache jbd2 quota_tree quota_v2 ext4 xfs",
        )
        .args(["--test-threads=1", "projects_take"])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(77) {
        return skipped(out.trim());
    }
    assert!(output.status.success(), "{out}\n{errors}");
    assert!(out.contains("test result: ok. 2 passed"), "{out}\n{errors}");
}
