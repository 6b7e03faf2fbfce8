//! Container mode, end to end: needs root and control groups, and says so when it skips.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent, ContainerLimits};
use tepui_core::protocol::status::{Exit, Limited};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::Milli;
use tepui_isolation::{Config, Containerizer, Error, Mode};

use common::*;

/// Starts an agent in container mode; `None`, with the reason printed, where that is impossible.
fn agent() -> Option<(tempfile::TempDir, Agent)> {
    let detected = Mode::detect();
    let dir = tempfile::tempdir().unwrap();
    if !detected.unenforced.is_empty() {
        skipped(&detected.reason);
        return None;
    }
    match detected.mode {
        Mode::Container => {
            let agent = Agent::start(dir.path(), Mode::Container);
            Some((dir, agent))
        }
        Mode::Process => {
            skipped(&detected.reason);
            // No silent fallback.
            let refused = Containerizer::start(config(dir.path(), Mode::Container), Box::new(drop));
            assert!(matches!(refused.unwrap_err(), Error::NoContainers(_)));
            None
        }
    }
}

#[test]
fn what_is_skipped_is_said_even_though_the_test_passes() {
    let all = fs::metadata("/proc/self/exe").unwrap().mode() & 0o001;
    if all == 0 || !nix::unistd::geteuid().is_root() {
        return skipped("needs root, and that anybody may execute the tests");
    }
    // The same program again, as nobody: through its link, for its path may be out of reach.
    let test = "a_container_sees_only_itself";
    let tests = Command::new("/proc/self/exe")
        .args(["--exact", test])
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    let (out, err) = (tests.stdout, tests.stderr);
    let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    assert!(out.contains("1 passed"), "{out}\n{err}");
    assert!(err.contains(&format!("skipped: {test}: ")), "{out}\n{err}");
}

fn milli(n: i64) -> Option<Milli> {
    Some(Milli::from_thousandths(n))
}

/// The directories of a container's groups, in whatever hierarchies there are.
fn groups(dir: &std::path::Path, id: &ContainerId) -> Vec<PathBuf> {
    let Config { cgroup_root, .. } = config(dir, Mode::Container);
    let relative = format!("{cgroup_root}/{id}");
    let tops = ["", "cpu", "memory", "pids"].map(|top| PathBuf::from("/sys/fs/cgroup").join(top));
    let all = tops.into_iter().map(|top| top.join(&relative));
    all.filter(|path| path.exists()).collect()
}

fn group_file(dir: &std::path::Path, id: &ContainerId, file: &str) -> Option<String> {
    // The group may go at any moment, so the read itself tells whether it is there.
    let mut files = groups(dir, id).into_iter().map(|group| group.join(file));
    let content = files.find_map(|file| fs::read_to_string(file).ok())?;
    Some(content.trim().to_owned())
}

/// Ends the agent; nothing may be left of it.
fn leave(dir: &tempfile::TempDir, agent: Agent, ids: &[u64]) {
    agent.shutdown();
    for &n in ids {
        assert_eq!(groups(dir.path(), &id(n)), Vec::<PathBuf>::new());
    }
    let Config { cgroup_root, .. } = config(dir.path(), Mode::Container);
    for top in ["", "cpu", "memory", "pids"] {
        let root = PathBuf::from("/sys/fs/cgroup").join(top).join(&cgroup_root);
        let top = root.parent().unwrap();
        assert!(!top.exists(), "{} is left", top.display());
    }
    assert_eq!(survivors(dir.path()), Vec::<u32>::new());
    assert_eq!(launchers(dir.path()), Vec::<u32>::new());
}

#[test]
fn a_container_sees_only_itself() {
    let Some((dir, agent)) = agent() else { return };
    let look = "hostname; echo $PPID; ls -d /proc/[0-9]* | wc -l; pwd; \
                for ns in pid mnt ipc uts; do readlink /proc/self/ns/$ns; done; \
                echo done; read x < fifo";
    fs::create_dir_all(dir.path().join("sandboxes/c000001")).unwrap();
    let fifo = dir.path().join("sandboxes/c000001/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    agent.launch(&id(1), sh(look));
    let pid = agent.started();
    let out = dir.path().join("sandboxes/c000001/stdout");
    eventually("it has looked", || {
        fs::read_to_string(&out).unwrap().ends_with("done\n")
    });
    let text = agent.file(&id(1), "stdout");
    let lines: Vec<&str> = text.lines().collect();
    let sandbox = dir.path().canonicalize().unwrap().join("sandboxes/c000001");
    // Its parent is process 1, the init; beside them and the two of the pipe there is nobody.
    assert_eq!(lines[..2], ["c000001", "1"]);
    assert!(lines[2].parse::<u32>().unwrap() <= 4, "{text}");
    assert_eq!(lines[3], sandbox.to_str().unwrap());
    for (line, ns) in lines[4..8].iter().zip(["pid", "mnt", "ipc", "uts"]) {
        let own = fs::read_link(format!("/proc/self/ns/{ns}")).unwrap();
        assert_ne!(*line, own.to_str().unwrap(), "{ns} is the host's");
    }
    let init = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert!(
        init.to_str().unwrap().starts_with("/memfd:tepui"),
        "{}",
        init.display()
    );
    let mounts = |of: &str| fs::read_to_string(format!("/proc/{of}/mounts")).unwrap();
    let hidden = format!(
        "{} ",
        dir.path().canonicalize().unwrap().join("run").display()
    );
    assert!(mounts(&pid.to_string()).contains(&hidden));
    assert!(
        !mounts("self").contains(&hidden),
        "a mount came out of the container"
    );
    fs::write(&fifo, "go\n").unwrap();
    assert_eq!(agent.exited(), (Exit::Code(0), None));
    leave(&dir, agent, &[1]);
}

#[test]
fn root_inside_cannot_undo_its_limits() {
    let Some((dir, agent)) = agent() else { return };
    let run = dir.path().join("run");
    // Each line that comes out is a way around.
    let attempts = format!(
        "exec 2> refusals
         for file in $(find /sys/fs/cgroup -maxdepth 2 -name tasks -o -name cgroup.procs); do
             (echo 0 > $file) && echo left through $file
         done
         (: >> /proc/sys/kernel/core_pattern) && echo core pattern
         (: >> /proc/sysrq-trigger) && echo sysrq
         (: 3<> /proc/1/mem) && echo memory of the init
         readlink /proc/1/cwd && echo files of the init
         umount /proc && echo unmounted /proc
         umount {run} && echo uncovered the launcher
         mount -o remount,rw /sys && echo remounted /sys
         ls -A {run} && [ -z \"$(ls -A {run})\" ] || echo {run} is there
         touch {run}/file && echo wrote to {run}
         mknod null c 1 3 && echo device
         unshare --mount true && echo mount namespace
         unshare --user --map-root-user --cgroup --mount true && echo user namespace
         grep -q NoNewPrivs:.0 /proc/self/status || echo no new privileges
         for set in $(grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f 2); do
             [ $((0x$set & ~0xa00405fb)) = 0 ] || echo capabilities $set
         done
         head -c 150000000 /dev/zero | tail > /dev/null",
        run = run.display()
    );
    let mut greedy = spec(&id(1), sh(&attempts));
    greedy.limits.mem = milli(32_000);
    agent.launch_spec(&id(1), greedy);
    agent.started();
    let (exit, breach) = agent.exited();
    assert_eq!(agent.file(&id(1), "stdout"), "");
    let refusals = agent.file(&id(1), "refusals");
    assert!(!refusals.contains("not found"), "{refusals}");
    assert_eq!(exit, Exit::Signal(9));
    assert_eq!(
        breach.expect("the breach is told").resource,
        Limited::Memory
    );
    leave(&dir, agent, &[1]);
}

/// A mount that goes with its value.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        nix::mount::umount(&self.0).unwrap();
    }
}

#[test]
fn limits_mounted_after_the_launcher_started_are_sealed_too() {
    let Some((dir, agent)) = agent() else { return };
    let point = dir.path().join("late");
    fs::create_dir(&point).unwrap();
    let mount = |kind: &str, options: Option<&str>| {
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("late"), &point, Some(kind), flags, options)
    };
    let version_1 = fs::exists("/sys/fs/cgroup/memory/cgroup.procs").unwrap();
    if version_1 {
        mount("cgroup", Some("memory")).unwrap();
    } else {
        mount("cgroup2", None).unwrap();
    }
    let mounted = Mounted(point);
    let procs = mounted.0.join("cgroup.procs");
    let leave_it = format!("[ -e {0} ] && ! echo 0 > {0}", procs.display());
    assert_eq!(agent.run(&id(1), sh(&leave_it)), Exit::Code(0));
    let refusal = agent.file(&id(1), "stderr");
    assert!(refusal.contains("Read-only"), "{refusal}");
    leave(&dir, agent, &[1]);
}

/// Run as a process of its own by the test below: somebody at the launcher's socket.
#[test]
fn child_peer() {
    let Some(socket) = std::env::var_os("TEPUI_TEST_PEER") else {
        return;
    };
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The greeting: three bytes, the first kind of request, and logs in one file without a bound.
    let greeted = stream.write_all(&[3, 0, 0, 0, 0, 0, 1]);
    let mut answer = [0; 64];
    let length = greeted.and_then(|()| stream.read(&mut answer));
    let heard = length.is_ok_and(|length| length > 0);
    assert_eq!(heard, std::env::var_os("TEPUI_TEST_HEARD").is_some());
}

#[test]
fn the_launcher_listens_to_nobody_in_a_container() {
    let Some((dir, agent)) = agent() else { return };
    agent.launch(&id(1), sh("sleep 1000"));
    agent.started();
    agent.detach();
    let exe = std::env::current_exe().unwrap();
    let peer = |command: &mut Command| {
        let command = command.args(["--exact", "child_peer", "--nocapture"]);
        let command = command.env("TEPUI_TEST_PEER", dir.path().join("run/launcher.sock"));
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
    };
    peer(Command::new(&exe).env("TEPUI_TEST_HEARD", "1"));
    peer(Command::new("unshare").args(["--pid", "--fork"]).arg(&exe));
    let agent = Agent::start(dir.path(), Mode::Container);
    assert!(matches!(
        agent.recover(&[id(1)])[..],
        [ContainerEvent::Started { .. }]
    ));
    leave(&dir, agent, &[1]);
}

#[test]
fn codes_signals_and_failures_come_out_as_they_are() {
    let Some((dir, agent)) = agent() else { return };
    assert_eq!(agent.run(&id(1), sh("exit 200")), Exit::Code(200));
    assert_eq!(agent.run(&id(2), sh("kill -SEGV $$")), Exit::Signal(11));
    assert_eq!(agent.run(&id(3), sh("kill -9 $$")), Exit::Signal(9));
    agent.launch(&id(4), CommandInfo::exec("no-such-program", [""; 0]));
    let message = agent.failed();
    assert_eq!(
        message,
        "execute no-such-program: No such file or directory (os error 2)"
    );
    // TK-84: asked at once, before the init can listen.
    agent.launch(&id(5), sh("sleep 1000"));
    agent.send(ContainerCommand::Terminate { id: id(5) });
    agent.started();
    assert_eq!(agent.exited(), (Exit::Signal(15), None));
    agent.run(
        &id(6),
        sh("grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd; ulimit -n"),
    );
    let text = agent.file(&id(6), "stdout");
    let clean = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n1\n2\n3\n";
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    assert_eq!(text, format!("{clean}{}\n", limit.unwrap().0));
    // The init must not leak the environment of its program to others.
    agent.launch(&id(7), sh("sleep 1000"));
    let pid = agent.started();
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    agent.destroy(&id(7));
    assert_eq!(agent.exited(), (Exit::Signal(9), None));
    leave(&dir, agent, &[1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_real_time_signal_is_told_like_any_other() {
    let Some((dir, agent)) = agent() else { return };
    assert_eq!(agent.run(&id(1), sh("kill -35 $$")), Exit::Signal(35));
    assert_eq!(agent.run(&id(2), sh(ORPHAN_DIES_OF_35)), Exit::Code(4));
    leave(&dir, agent, &[1, 2]);
}

#[test]
fn limits_are_written_where_the_kernel_reads_them() {
    let Some((dir, agent)) = agent() else { return };
    let mut limited = spec(&id(1), sh("exec sleep 1000"));
    limited.limits = ContainerLimits {
        cpus: milli(1500),
        mem: milli(10_000),
        pids: Some(50),
        ..ContainerLimits::default()
    };
    agent.launch_spec(&id(1), limited);
    let pid = agent.started();
    let read = |file: &str| group_file(dir.path(), &id(1), file);
    assert_eq!(read("pids.max").unwrap(), "50");
    if let Some(shares) = read("cpu.shares") {
        assert_eq!(shares, "1536"); // CT-16, TV-29
        assert_eq!(read("cpu.cfs_quota_us").unwrap(), "150000"); // CT-17
        assert_eq!(read("memory.limit_in_bytes").unwrap(), "33554432"); // CT-18, TV-32
    } else {
        assert_eq!(read("cpu.weight").unwrap(), "150"); // CT-22
        assert_eq!(read("cpu.max").unwrap(), "150000 100000");
        assert_eq!(read("memory.max").unwrap(), "33554432"); // CT-23
    }
    for group in groups(dir.path(), &id(1)) {
        let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        assert!(
            procs.lines().any(|line| line == pid.to_string()),
            "{}",
            group.display()
        );
        assert_eq!(
            procs.lines().count(),
            2,
            "init and program: {}",
            group.display()
        );
    }
    agent.destroy(&id(1));
    agent.exited();
    eventually("its groups are gone", || {
        groups(dir.path(), &id(1)).is_empty()
    });
    leave(&dir, agent, &[1]);
}

#[test]
fn too_much_memory_ends_the_whole_container_and_is_reported() {
    // CT-19, TK-41
    let Some((dir, agent)) = agent() else { return };
    // The hog is a child: the shell would go on without it.
    let hog = "tail -c 300000000 /dev/zero | tail -c 300000000 > /dev/null; sleep 1000";
    let mut greedy = spec(&id(1), sh(hog));
    greedy.limits.mem = milli(64_000);
    agent.launch_spec(&id(1), greedy);
    agent.started();
    let (exit, breach) = agent.exited();
    assert_eq!(exit, Exit::Signal(9));
    let breach = breach.expect("the breach is told");
    assert_eq!(breach.resource, Limited::Memory);
    assert_eq!(breach.limit, Milli::from_thousandths(64_000));
    let used = breach.used.thousandths();
    assert!((60_000..=64_000).contains(&used), "{used}");
    leave(&dir, agent, &[1]);
}

#[test]
fn who_has_room_is_not_blamed_when_others_lack_memory() {
    let Some((dir, agent)) = agent() else { return };
    let mut neighbour = spec(&id(1), sh("echo up; sleep 1000"));
    neighbour.limits.mem = milli(64_000);
    agent.launch_spec(&id(1), neighbour);
    let neighbour = agent.started();
    agent.line(&id(1), "stdout");
    // The group above all containers lacks memory; the one that is killed has no limit.
    let above = groups(dir.path(), &id(1)).into_iter();
    let mut above = above.map(|group| group.parent().unwrap().to_owned());
    let limit = above.find_map(|group| {
        let names = ["memory.limit_in_bytes", "memory.max"];
        names
            .map(|name| group.join(name))
            .into_iter()
            .find(|path| path.exists())
    });
    fs::write(limit.unwrap(), "100000000").unwrap();
    let hog = "head -c 200000000 /dev/zero | tail > /dev/null; exit 6";
    agent.launch(&id(2), sh(hog));
    agent.started();
    let (exit, breach) = agent.exited();
    assert!(matches!(exit, Exit::Code(6) | Exit::Signal(9)), "{exit}");
    assert_eq!(breach, None);
    assert!(is_alive(neighbour), "who is within its limit was ended");
    agent.destroy(&id(1));
    assert_eq!(agent.exited(), (Exit::Signal(9), None));
    leave(&dir, agent, &[1, 2]);
}

#[test]
fn a_fork_bomb_stays_in_and_goes_entirely() {
    let Some((dir, agent)) = agent() else { return };
    // Whoever forks in vain ends, so the program itself does not fork any more.
    let bomb = "b() { while :; do setsid sleep 1000 & done; }; b & b & exec sleep 1000";
    let mut spec = spec(&id(1), sh(bomb));
    spec.limits.pids = Some(30);
    agent.launch_spec(&id(1), spec);
    agent.started();
    let current = || group_file(dir.path(), &id(1), "pids.current");
    let refused = || group_file(dir.path(), &id(1), "pids.events");
    eventually("a fork is refused", || {
        let now: u32 = current().map_or(0, |text| text.parse().unwrap());
        assert!(now <= 30, "{now} processes");
        refused().is_some_and(|text| text != "max 0")
    });
    agent.destroy(&id(1));
    agent.exited();
    assert_eq!(survivors(dir.path()), Vec::<u32>::new());
    leave(&dir, agent, &[1]);
}

#[test]
fn a_program_that_fails_for_lack_of_processes_says_so() {
    let Some((dir, agent)) = agent() else { return };
    let program = "sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000 & exit 1";
    let mut limited = spec(&id(1), sh(program));
    limited.limits.pids = Some(4);
    agent.launch_spec(&id(1), limited);
    agent.started();
    let (exit, breach) = agent.exited();
    assert!(matches!(exit, Exit::Code(code) if code != 0), "{exit}");
    let breach = breach.expect("the breach is told");
    assert_eq!(breach.resource, Limited::Pids);
    assert_eq!(breach.limit, Milli::from_thousandths(4_000));
    leave(&dir, agent, &[1]);
}

#[test]
fn all_of_a_container_is_asked_to_end() {
    // TK-85
    let Some((dir, agent)) = agent() else { return };
    agent.launch(&id(1), family());
    agent.started();
    end_family(&agent, &id(1));
    leave(&dir, agent, &[1]);
}

#[test]
fn nothing_survives_a_container_whatever_it_does() {
    let Some((dir, agent)) = agent() else { return };
    // Neither session nor mark: only the namespace holds it.
    let daemon = "env -i /usr/bin/setsid sh -c 'trap \"\" TERM HUP; : > up; sleep 1000' & \
                  until [ -e up ]; do :; done";
    agent.launch(&id(1), sh(daemon));
    let init = agent.started();
    assert_eq!(agent.exited(), (Exit::Code(0), None));
    assert!(!is_alive(init));
    eventually("its groups are gone", || {
        groups(dir.path(), &id(1)).is_empty()
    });
    leave(&dir, agent, &[1]);
}

#[test]
fn containers_outlive_their_agent_and_orphans_do_not_outlive_recovery() {
    let Some((dir, first)) = agent() else { return };
    first.launch(&id(1), sh("sleep 1000"));
    let known = first.started();
    first.launch(&id(2), sh("sleep 1000"));
    let orphan = first.started();
    first.launch(&id(3), sh("until [ -e go ]; do sleep 0.01; done; exit 42"));
    let ending = first.started();
    first.detach();
    fs::write(dir.path().join("sandboxes/c000003/go"), "").unwrap();
    eventually("it has ended", || !is_alive(ending));

    let second = Agent::start(dir.path(), Mode::Container);
    let events = second.recover(&[id(1), id(3)]);
    let expected = [
        ContainerEvent::started(id(1), known),
        ContainerEvent::Exited {
            id: id(3),
            exit: Exit::Code(42),
            breach: None,
        },
    ];
    assert_eq!(events, expected);
    assert!(!is_alive(orphan));
    eventually("its groups are gone", || {
        groups(dir.path(), &id(2)).is_empty()
    });
    leave(&dir, second, &[1, 2, 3]);
    assert!(!is_alive(known));
}

/// A group of the freezer, whose members cannot die until they are thawed.
struct Frozen(PathBuf);

impl Frozen {
    /// Freezes what is in the groups of a container; `None` where the kernel kills the frozen.
    fn new(dir: &std::path::Path, id: &ContainerId) -> Option<Self> {
        let name = dir.file_name().unwrap().to_str().unwrap();
        let path = PathBuf::from(format!("/sys/fs/cgroup/freezer/tepui-test-{name}"));
        if !path.parent().unwrap().join("cgroup.procs").exists() {
            skipped("no freezer of version 1");
            return None;
        }
        fs::create_dir(&path).unwrap();
        let frozen = Self(path);
        for pid in group_file(dir, id, "cgroup.procs").unwrap().lines() {
            fs::write(frozen.0.join("cgroup.procs"), pid).unwrap();
        }
        fs::write(frozen.0.join("freezer.state"), "FROZEN").unwrap();
        eventually("it is frozen", || {
            fs::read_to_string(frozen.0.join("freezer.state")).unwrap() == "FROZEN\n"
        });
        Some(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        fs::write(self.0.join("freezer.state"), "THAWED").unwrap();
        eventually("it is dead", || fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn a_shutdown_names_what_does_not_die_and_the_next_launcher_ends_it() {
    // CT-25
    let Some((dir, agent)) = agent() else { return };
    agent.shutdown();
    let patience = std::time::Duration::from_millis(200);
    let config = |mode| Config {
        shutdown_patience: patience,
        ..config(dir.path(), mode)
    };
    let mut agent = Agent::with(config(Mode::Container));
    agent.launch(&id(1), sh("sleep 1000"));
    let init = agent.started();
    agent.launch(&id(2), sh("sleep 1000"));
    agent.started();
    let Some(frozen) = Frozen::new(dir.path(), &id(1)) else {
        return leave(&dir, agent, &[1, 2]);
    };
    let error = agent.containerizer.take().unwrap().shutdown().unwrap_err();
    assert!(
        matches!(&error, Error::Left(left) if left == &["c000001"]),
        "{error}"
    );
    assert_eq!(agent.exited(), (Exit::Signal(9), None), "the other one");
    assert_eq!(launchers(dir.path()), Vec::<u32>::new());
    assert!(is_alive(init));
    drop(frozen);
    let agent = Agent::start(dir.path(), Mode::Container);
    assert!(!is_alive(init));
    assert_eq!(
        agent.recover(&[id(1)]),
        [ContainerEvent::Lost { id: id(1) }]
    );
    leave(&dir, agent, &[1, 2]);
}

#[test]
fn the_next_launcher_waits_until_what_the_last_one_left_is_dead() {
    let Some((dir, agent)) = agent() else { return };
    agent.launch(&id(1), sh("sleep 1000"));
    let init = agent.started();
    let Some(frozen) = Frozen::new(dir.path(), &id(1)) else {
        return leave(&dir, agent, &[1]);
    };
    let launcher = i32::try_from(launchers(dir.path())[0]).unwrap();
    let kill = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(launcher), kill).unwrap();
    eventually("there is a next one", || {
        let next = launchers(dir.path());
        !next.is_empty() && next != [launcher.unsigned_abs()]
    });
    agent.expect_nothing(std::time::Duration::from_millis(300));
    assert!(is_alive(init));
    drop(frozen);
    assert_eq!(agent.next(), ContainerEvent::Lost { id: id(1) });
    assert!(!is_alive(init));
    leave(&dir, agent, &[1]);
}

#[test]
fn a_nursery_that_dies_is_replaced() {
    let Some((dir, agent)) = agent() else { return };
    agent.launch(&id(1), sh("sleep 1000"));
    let init = agent.started();
    let launcher = launchers(dir.path())[0];
    let children = || -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{launcher}/task")).unwrap();
        let files = tasks.map(|task| task.unwrap().path().join("children"));
        let texts: Vec<String> = files
            .map(|file| fs::read_to_string(file).unwrap())
            .collect();
        let pids = texts.iter().flat_map(|text| text.split_whitespace());
        pids.map(|pid| pid.parse().unwrap())
            .filter(|&pid| pid != init)
            .collect()
    };
    let nursery = children();
    assert_eq!(nursery.len(), 1, "one serves all");
    let kill = nix::sys::signal::Signal::SIGKILL;
    let pid = nix::unistd::Pid::from_raw(nursery[0].try_into().unwrap());
    nix::sys::signal::kill(pid, kill).unwrap();
    eventually("it is reaped", || children().is_empty());
    assert_eq!(agent.run(&id(2), sh("exit 7")), Exit::Code(7));
    assert!(is_alive(init));
    let nursery = children();
    assert_eq!(nursery.len(), 1);
    leave(&dir, agent, &[1, 2]);
    eventually("it goes with its launcher", || !is_alive(nursery[0]));
}

#[test]
fn when_the_launcher_dies_everything_of_it_does() {
    // CT-06, RG-23 (MESOS-7386): it writes what tasks say
    let Some((dir, agent)) = agent() else { return };
    agent.launch(
        &id(1),
        sh("env -i /usr/bin/setsid sleep 1000 & echo ready; wait"),
    );
    let init = agent.started();
    agent.line(&id(1), "stdout");
    let launcher = i32::try_from(launchers(dir.path())[0]).unwrap();
    let kill = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(launcher), kill).unwrap();
    assert_eq!(agent.next(), ContainerEvent::Lost { id: id(1) });
    eventually("its init is dead", || !is_alive(init));
    eventually("its groups are gone", || {
        groups(dir.path(), &id(1)).is_empty()
    });
    assert_eq!(agent.run(&id(2), sh("exit 3")), Exit::Code(3));
    leave(&dir, agent, &[1, 2]);
}
