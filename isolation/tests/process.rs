//! Plain-process mode, end to end; needs no privileges.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent};
use tepui_core::protocol::status::Exit;
use tepui_core::protocol::task::CommandInfo;
use tepui_isolation::{AgentLoss, Mode};

use common::*;

fn agent() -> (tempfile::TempDir, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), Mode::Process);
    (dir, agent)
}

fn as_pid(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap())
}

#[test]
fn a_program_runs_and_its_code_output_and_environment_are_right() {
    let (_dir, agent) = agent();
    let mut spec = spec(
        &id(1),
        sh("echo out; echo err >&2; env | sort; pwd; exit 7"),
    );
    spec.environment = vec![("A".into(), "agent".into()), ("B".into(), "agent".into())];
    spec.command.environment = vec![("A".into(), "command".into())];
    agent.launch_spec(&id(1), spec);
    agent.started();
    assert_eq!(agent.exited(), (Exit::Code(7), None));
    assert_eq!(agent.file(&id(1), "stderr"), "err\n");
    let sandbox = agent.dir.canonicalize().unwrap().join("sandboxes/c000001");
    let sandbox = sandbox.display();
    // AG-47: nothing of our own environment; AG-48: the command wins. PWD is the shell's.
    let expected = format!(
        "out\nA=command\nB=agent\nMESOS_DIRECTORY={sandbox}\nMESOS_SANDBOX={sandbox}\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD={sandbox}\n\
         TEPUI_CONTAINER_ID=c000001\nTEPUI_SANDBOX={sandbox}\n{sandbox}\n"
    );
    assert_eq!(agent.file(&id(1), "stdout"), expected);
    agent.shutdown();
}

#[test]
fn signals_files_and_arguments_are_clean() {
    let (_dir, agent) = agent();
    assert_eq!(agent.run(&id(1), sh("kill -9 $$")), Exit::Signal(9));
    // The launcher blocks everything and the test harness ignores SIGPIPE; neither is inherited.
    agent.run(
        &id(2),
        sh("grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd"),
    );
    let clean = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n1\n2\n3\n";
    assert_eq!(
        agent.file(&id(2), "stdout"),
        clean,
        "3 is the directory that ls reads"
    );
    // TK-02: what goes to a shell, and what does not
    let echo = CommandInfo::exec("printf", ["%s|", "a b", "$HOME", "*"]);
    assert_eq!(agent.run(&id(3), echo), Exit::Code(0));
    assert_eq!(agent.file(&id(3), "stdout"), "a b|$HOME|*|");
    assert_eq!(
        agent.run(&id(4), CommandInfo::exec("cat", [""; 0])),
        Exit::Code(0)
    );
    agent.shutdown();
}

#[test]
fn a_real_time_signal_ends_what_it_hits_and_nothing_else() {
    let (_dir, agent) = agent();
    agent.launch(&id(1), sh("sleep 1000"));
    let neighbour = agent.started();
    assert_eq!(agent.run(&id(2), sh("kill -35 $$")), Exit::Signal(35));
    assert_eq!(agent.run(&id(3), sh(ORPHAN_DIES_OF_35)), Exit::Code(4));
    assert!(is_alive(neighbour));
    agent.destroy(&id(1));
    assert_eq!(agent.exited(), (Exit::Signal(9), None));
    agent.shutdown();
}

#[test]
fn what_cannot_be_started_fails_with_program_and_reason() {
    // TK-39
    let (_dir, agent) = agent();
    agent.launch(&id(1), CommandInfo::exec("no-such-program", [""; 0]));
    let message = agent.failed();
    assert_eq!(
        message,
        "execute no-such-program: No such file or directory (os error 2)"
    );
    agent.launch(&id(2), CommandInfo::exec("/etc/passwd", [""; 0]));
    let message = agent.failed();
    assert_eq!(
        message,
        "execute /etc/passwd: Permission denied (os error 13)"
    );
    agent.launch(&id(3), CommandInfo::exec("true", ["a\0b"]));
    assert!(agent.failed().contains("NUL"));
    let mut outside = spec(&id(4), sh("true"));
    outside.sandbox = vec!["..".to_owned(), "x".to_owned()];
    agent.launch_spec(&id(4), outside);
    assert!(agent.failed().contains("sandbox"));
    let huge = "x".repeat(tepui_core::limits::FRAME_BYTES + 1);
    agent.launch(&id(5), sh(&huge));
    assert!(agent.failed().contains("longer than"));
    // The containerizer is as before.
    assert_eq!(agent.run(&id(6), sh("true")), Exit::Code(0));
    agent.shutdown();
}

#[test]
fn what_a_framework_sizes_does_not_cost_the_launcher_its_life() {
    let (_dir, agent) = agent();
    agent.launch(&id(1), sh("sleep 1000"));
    let neighbour = agent.started();
    let long = "x".repeat(128 * 1024 - 1);
    let mut bomb = CommandInfo::exec(long.as_str(), [""; 0]);
    let path = ":".repeat(128 * 1024 - 10);
    bomb.environment = vec![("PATH".to_owned(), path)];
    agent.launch(&id(2), bomb);
    let message = agent.failed();
    assert!(message.contains("is longer than 255"), "{message}");
    // Quoted and escaped these would not fit into a frame.
    let control = "\u{1}".repeat(2 << 20);
    let mut named = sh("true");
    named.user = Some(control.clone());
    agent.launch(&id(3), named);
    assert!(agent.failed().contains("is longer than 255"));
    let mut boxed = spec(&id(4), sh("true"));
    boxed.sandbox = vec![control];
    agent.launch_spec(&id(4), boxed);
    assert!(agent.failed().contains("sandbox"));
    assert!(is_alive(neighbour));
    agent.shutdown();
}

#[test]
fn an_id_that_lives_is_not_launched_again() {
    let (_dir, agent) = agent();
    agent.launch(&id(1), sh("sleep 1000"));
    agent.started();
    agent.launch(&id(1), sh("true"));
    assert!(agent.failed().contains("running"));
    agent.destroy(&id(1));
    assert_eq!(agent.exited(), (Exit::Signal(9), None));
    agent.shutdown();
}

#[test]
fn terminate_asks_and_destroy_does_not() {
    // TK-84, TK-85
    let (_dir, agent) = agent();
    agent.launch(&id(4), family());
    agent.started();
    end_family(&agent, &id(4));
    let patient = "trap 'echo asked >> asked; exit 3' TERM; echo ready; \
                   while :; do sleep 1000 & wait; done";
    agent.launch(&id(1), sh(patient));
    agent.started();
    assert_eq!(agent.line(&id(1), "stdout"), "ready");
    agent.send(ContainerCommand::Terminate { id: id(1) });
    assert_eq!(agent.exited(), (Exit::Code(3), None));
    assert_eq!(agent.file(&id(1), "asked"), "asked\n");

    agent.launch(
        &id(2),
        sh("trap '' TERM; echo ready; while :; do sleep 1000; done"),
    );
    agent.started();
    agent.line(&id(2), "stdout");
    agent.send(ContainerCommand::Terminate { id: id(2) });
    agent.destroy(&id(2));
    assert_eq!(agent.exited(), (Exit::Signal(9), None));
    // Unknown ids are ignored.
    agent.destroy(&id(2));
    agent.send(ContainerCommand::Terminate { id: id(77) });
    agent.send(ContainerCommand::Forget { id: id(77) });
    assert_eq!(agent.run(&id(3), sh("true")), Exit::Code(0));
    assert_eq!(survivors(&agent.dir), Vec::<u32>::new());
    agent.shutdown();
}

#[test]
fn what_starts_containers_cannot_be_overwritten() {
    // CVE-2019-5736: a container that reaches the binary of its runtime through `/proc/PID/exe`.
    let (dir, agent) = agent();
    let pids = launchers(dir.path());
    assert_eq!(pids.len(), 1);
    let path = format!("/proc/{}/exe", pids[0]);
    let file = fs::File::open(&path).unwrap();
    let seals = fcntl(&file, FcntlArg::F_GET_SEALS).unwrap();
    let seals = SealFlag::from_bits_truncate(seals);
    let wanted = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_SEAL;
    assert!(seals.contains(wanted), "{seals:?}");
    let opened = fs::File::options().write(true).open(&path);
    assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::ETXTBSY));
    agent.shutdown();
}

#[test]
fn nothing_survives_its_program() {
    let (_dir, agent) = agent();
    // Beside it runs another container, whose daemon must live on.
    agent.launch(
        &id(1),
        sh("setsid sh -c 'echo $$ > daemon; exec sleep 1000' & wait"),
    );
    agent.started();
    let neighbour: u32 = agent.line(&id(1), "daemon").parse().unwrap();

    let daemon = "setsid sh -c 'echo $$ > daemon; sleep 1000 & wait' & \
                  sleep 1000 & \
                  until [ -s daemon ]; do :; done";
    assert_eq!(agent.run(&id(2), sh(daemon)), Exit::Code(0));
    let daemon: u32 = agent.line(&id(2), "daemon").parse().unwrap();
    assert!(!is_alive(daemon), "the daemon survived");
    assert!(is_alive(neighbour), "another container's daemon was killed");

    // Without a mark and in its own session it cannot be attributed: it goes when nobody runs.
    let nameless = "env -i setsid sh -c 'echo $$ > daemon; exec /bin/sleep 1000' & \
                    until [ -s daemon ]; do :; done";
    assert_eq!(agent.run(&id(3), sh(nameless)), Exit::Code(0));
    let nameless: u32 = agent.line(&id(3), "daemon").parse().unwrap();
    assert!(is_alive(nameless));
    agent.destroy(&id(1));
    assert_eq!(agent.exited(), (Exit::Signal(9), None));
    assert!(!is_alive(neighbour) && !is_alive(nameless));
    assert_eq!(survivors(&agent.dir), Vec::<u32>::new());
    agent.shutdown();
}

#[test]
fn a_new_containerizer_learns_what_happened_meanwhile() {
    let (dir, first) = agent();
    first.launch(&id(1), sh("until [ -e go ]; do sleep 0.01; done; exit 42"));
    first.started();
    first.launch(&id(2), sh("sleep 1000"));
    let running = first.started();
    first.launch(&id(3), sh("sleep 1000"));
    let orphan = first.started();
    first.launch(&id(4), CommandInfo::exec("no-such-program", [""; 0]));
    first.failed();
    first.detach();
    let go = dir.path().join("sandboxes/c000001/go");
    fs::write(go, "").unwrap();
    let exits = dir.path().join("run/exits");
    eventually("the exit is recorded", || {
        fs::read(&exits)
            .unwrap()
            .windows(7)
            .any(|part| part == b"c000001")
    });

    let second = Agent::start(dir.path(), Mode::Process);
    let events = second.recover(&[id(1), id(2), id(4), id(9)]);
    let failed = "execute no-such-program: No such file or directory (os error 2)";
    let expected = [
        ContainerEvent::Exited {
            id: id(1),
            exit: Exit::Code(42),
            breach: None,
        },
        ContainerEvent::started(id(2), running),
        ContainerEvent::LaunchFailed {
            id: id(4),
            message: failed.to_owned(),
        },
        ContainerEvent::Lost { id: id(9) },
    ];
    assert_eq!(events, expected);
    assert!(
        !is_alive(orphan),
        "who is not known is destroyed before it says that it is done"
    );
    assert!(is_alive(running));
    assert_eq!(launchers(dir.path()).len(), 1, "the launcher is the same");

    second.send(ContainerCommand::Forget { id: id(1) });
    second.destroy(&id(2));
    assert_eq!(second.exited(), (Exit::Signal(9), None));
    let again = second.recover(&[id(1), id(2)]);
    let lost = ContainerEvent::Lost { id: id(1) };
    assert_eq!(again[0], lost, "forgotten is forgotten");
    assert!(matches!(again[1], ContainerEvent::Exited { .. }));
    second.shutdown();
    assert_eq!(launchers(dir.path()), Vec::<u32>::new());
}

/// Run as a process of its own by the test below: an agent to be killed.
#[test]
fn child_agent() {
    let Ok(dir) = std::env::var("TEPUI_TEST_CHILD_AGENT") else {
        return;
    };
    let mut config = config(dir.as_ref(), Mode::Process);
    if let Some(remove) = std::env::var_os("TEPUI_TEST_REMOVE") {
        let remove = Some(remove.into());
        config.agent_loss = AgentLoss::End { remove };
    }
    let agent = Agent::with(config);
    agent.launch(
        &id(1),
        sh("echo ready; until [ -e go ]; do sleep 0.01; done; exit 5"),
    );
    agent.started();
    loop {
        std::thread::park();
    }
}

#[test]
fn tasks_outlive_an_agent_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_agent", "--nocapture"])
        .env("TEPUI_TEST_CHILD_AGENT", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let out = dir.path().join("sandboxes/c000001/stdout");
    eventually("the task runs", || {
        fs::read_to_string(&out).is_ok_and(|text| text == "ready\n")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    fs::write(dir.path().join("sandboxes/c000001/go"), "").unwrap();
    let agent = Agent::start(dir.path(), Mode::Process);
    let events = agent.recover(&[id(1)]);
    let exit = match &events[..] {
        // It may end while it is asked about.
        [ContainerEvent::Exited { exit, .. }]
        | [
            ContainerEvent::Started { .. },
            ContainerEvent::Exited { exit, .. },
        ] => *exit,
        [ContainerEvent::Started { .. }] => agent.exited().0,
        other => panic!("{other:?}"),
    };
    assert_eq!(exit, Exit::Code(5));
    agent.shutdown();
}

#[test]
fn tasks_of_an_embedded_agent_end_when_it_is_killed() {
    let outer = tempfile::tempdir().unwrap();
    let (scratch, kept) = (outer.path().join("scratch"), outer.path().join("kept"));
    fs::write(&kept, "").unwrap();
    let dir = scratch.join("agent");
    fs::create_dir_all(&dir).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_agent", "--nocapture"])
        .env("TEPUI_TEST_CHILD_AGENT", &dir)
        .env("TEPUI_TEST_REMOVE", &scratch)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let out = dir.join("sandboxes/c000001/stdout");
    eventually("the task runs", || {
        fs::read_to_string(&out).is_ok_and(|text| text == "ready\n")
    });
    let (tasks, launchers) = (survivors(&dir), launchers(&dir));
    assert!(!tasks.is_empty() && launchers.len() == 1);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the launcher has gone", || !is_alive(launchers[0]));
    assert!(!tasks.into_iter().any(is_alive), "a task has survived");
    assert!(!scratch.exists(), "the directory is still there");
    assert!(kept.exists());
}

#[test]
fn when_the_launcher_dies_its_containers_do_and_it_is_replaced() {
    let (dir, agent) = agent();
    agent.launch(&id(1), sh("setsid sleep 1000 & echo ready; wait"));
    let pid = agent.started();
    agent.line(&id(1), "stdout");
    let launcher = launchers(dir.path())[0];
    kill(as_pid(launcher), Signal::SIGKILL).unwrap();
    assert_eq!(agent.next(), ContainerEvent::Lost { id: id(1) });
    eventually("the program is dead", || !is_alive(pid));
    eventually("nothing is left", || survivors(dir.path()).is_empty());
    assert_eq!(agent.run(&id(2), sh("exit 3")), Exit::Code(3));
    agent.shutdown();
}

#[test]
fn a_launcher_without_a_file_to_spare_lives_on_and_lets_its_agent_wait() {
    let (dir, agent) = agent();
    agent.launch(&id(1), sh("sleep 1000"));
    let pid = agent.started();
    agent.detach();
    let launcher = launchers(dir.path())[0];
    let files = format!("/proc/{launcher}/fd");
    let connected = || {
        let files = fs::read_dir(&files)
            .unwrap()
            .map(|file| file.unwrap().path());
        let links = files.filter_map(|file| fs::read_link(file).ok());
        links
            .filter(|link| link.to_str().unwrap().starts_with("socket:"))
            .count()
            > 1
    };
    eventually("the connection is closed", || !connected());
    let free = (0..).find(|n| !Path::new(&format!("{files}/{n}")).exists());
    let limit = |soft: &str| {
        let mut command = Command::new("prlimit");
        command.args([&format!("--pid={launcher}"), &format!("--nofile={soft}:")]);
        assert!(command.status().unwrap().success());
    };
    limit(&free.unwrap().to_string());
    let path = dir.path().to_owned();
    let second = std::thread::spawn(move || Agent::start(&path, Mode::Process));
    let refused = || {
        let log = fs::read_to_string(dir.path().join("run/launcher.log")).unwrap();
        log.lines()
            .filter(|line| line.starts_with("accept: "))
            .count()
    };
    eventually("it is refused", || refused() >= 3);
    assert!(refused() < 10, "the launcher spins");
    limit("1000");
    let agent = second.join().unwrap();
    let running = ContainerEvent::started(id(1), pid);
    assert_eq!(agent.recover(&[id(1)]), [running]);
    agent.shutdown();
}

#[test]
fn a_launcher_that_nobody_needs_goes() {
    let (dir, agent) = agent();
    agent.run(&id(1), sh("exit 9"));
    agent.detach();
    assert_eq!(launchers(dir.path()).len(), 1);
    eventually("it has gone", || launchers(dir.path()).is_empty());
    // What it knew is not lost.
    let agent = Agent::start(dir.path(), Mode::Process);
    let events = agent.recover(&[id(1)]);
    let expected = ContainerEvent::Exited {
        id: id(1),
        exit: Exit::Code(9),
        breach: None,
    };
    assert_eq!(events, [expected]);
    agent.shutdown();
}

/// Takes the place of the agent at the launcher's socket.
fn intrude(socket: &Path) {
    drop(UnixStream::connect(socket).unwrap());
}

#[test]
fn an_order_that_was_not_read_is_repeated() {
    let (dir, agent) = agent();
    for n in [1, 2] {
        agent.launch(&id(n), sh("sleep 1000"));
        agent.started();
    }
    let launcher = as_pid(launchers(dir.path())[0]);
    // What is written while it sleeps is not read any more: somebody else connects meanwhile.
    kill(launcher, Signal::SIGSTOP).unwrap();
    agent.destroy(&id(1));
    agent.send(ContainerCommand::Terminate { id: id(2) });
    intrude(&dir.path().join("run/launcher.sock"));
    kill(launcher, Signal::SIGCONT).unwrap();
    let mut ends = [agent.exit_of(), agent.exit_of()];
    ends.sort_by_key(|(id, _)| id.clone());
    assert_eq!(ends, [(id(1), Exit::Signal(9)), (id(2), Exit::Signal(15))]);
    agent.shutdown();
}

#[test]
fn who_cannot_be_reached_is_not_dead() {
    let (dir, agent) = agent();
    agent.launch(&id(1), sh("sleep 1000"));
    let pid = agent.started();
    let run = dir.path().join("run");
    let (socket, moved) = (run.join("launcher.sock"), run.join("moved.sock"));
    fs::rename(&socket, &moved).unwrap();
    intrude(&moved);
    // It gives up once meanwhile.
    agent.expect_nothing(std::time::Duration::from_secs(12));
    assert!(is_alive(pid));
    agent.destroy(&id(1));
    fs::rename(&moved, &socket).unwrap();
    assert_eq!(agent.exit_of(), (id(1), Exit::Signal(9)));
    agent.shutdown();
}

#[test]
fn two_agents_do_not_know_each_other() {
    let ((_a, one), (_b, two)) = (agent(), agent());
    one.launch(&id(1), sh("sleep 1000"));
    let pid = one.started();
    assert_eq!(two.recover(&[]), []);
    two.destroy(&id(1));
    two.shutdown();
    assert!(is_alive(pid));
    assert!(matches!(
        one.recover(&[id(1)])[..],
        [ContainerEvent::Started { .. }]
    ));
    one.shutdown();
    assert!(!is_alive(pid), "a shutdown destroys everything");
}

#[test]
fn two_hundred_at_once() {
    let (_dir, agent) = agent();
    agent.launch(&id(9999), sh("sleep 1000"));
    agent.started();
    for n in 0..200 {
        agent.launch(&id(n), CommandInfo::exec("true", [""; 0]));
    }
    let (mut started, mut exited) = (0, 0);
    while exited < 200 {
        match agent.next() {
            ContainerEvent::Started { .. } => started += 1,
            ContainerEvent::Exited { exit, breach, .. } => {
                assert_eq!((exit, breach), (Exit::Code(0), None));
                exited += 1;
            }
            other @ (ContainerEvent::LaunchFailed { .. }
            | ContainerEvent::Lost { .. }
            | ContainerEvent::ResizeFailed { .. }
            | ContainerEvent::Probed { .. }
            | ContainerEvent::Recovered) => panic!("{other:?}"),
        }
    }
    assert_eq!(started, 200);
    agent.shutdown();
}

#[test]
fn a_user_who_is_not_known_is_refused_and_one_who_is_gets_the_sandbox() {
    // RG-08; MESOS-9536
    let (_dir, agent) = agent();
    // TK-02
    let as_user = |user: &str, command| CommandInfo {
        user: Some(user.to_owned()),
        ..sh(command)
    };
    agent.launch(&id(1), as_user("no-such-user", "true"));
    assert!(agent.failed().contains("no-such-user"));
    if !nix::unistd::geteuid().is_root() {
        skipped("only root can run a task as somebody else");
        agent.shutdown();
        return;
    }
    fs::set_permissions(
        &agent.dir,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let command = as_user(
        "nobody",
        "id -un; id -Gn | wc -w; touch mine; stat -c %U . stdout",
    );
    assert_eq!(agent.run(&id(2), command), Exit::Code(0));
    assert_eq!(agent.file(&id(2), "stdout"), "nobody\n1\nnobody\nnobody\n");
    agent.shutdown();
}
