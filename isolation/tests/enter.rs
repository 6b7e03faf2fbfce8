//! Further processes in containers that run: where they are, what they may, how they end. Needs
//! root and control groups, and says so when it skips.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::poll::{PollFd, PollFlags, poll};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container_info::{Terminal as Size, Uri};
use tepui_core::protocol::status::Exit;
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::Milli;
use tepui_isolation::launch::{
    Capabilities, CapabilitySet, IdRange, Network, Rlimit, RlimitKind, RlimitValues, Seccomp,
    UserNamespace,
};
use tepui_isolation::{EnterError, Entered, Launch, Mode, Notice, Streams, Terminal};

use common::*;

const SIZE: Size = Size {
    rows: 33,
    columns: 101,
};

fn agent() -> Option<(tempfile::TempDir, Agent)> {
    let detected = Mode::detect();
    if detected.mode == Mode::Process || !detected.unenforced.is_empty() {
        skipped(&detected.reason);
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let agent = Agent::start(dir.path(), Mode::Container);
    Some((dir, agent))
}

/// A further process with pipes.
struct Piped {
    entered: Entered,
    stdin: Option<File>,
    stdout: File,
    stderr: File,
}

fn enter(agent: &Agent, id: &ContainerId, command: CommandInfo) -> Result<Piped, EnterError> {
    let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let ((stdin, input), (output, stdout), (errors, stderr)) = (pipe(), pipe(), pipe());
    let streams = Streams::Files {
        stdin,
        stdout,
        stderr,
    };
    let containerizer = agent.containerizer.as_ref().unwrap();
    let mut entered = containerizer.enter(id, command, streams)?;
    match entered.wait()? {
        Notice::Started { terminal: None } => {}
        other => panic!("not started: {other:?}"),
    }
    Ok(Piped {
        entered,
        stdin: Some(input.into()),
        stdout: output.into(),
        stderr: errors.into(),
    })
}

impl Piped {
    fn end(mut self) -> (Exit, String) {
        drop(self.stdin.take());
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).unwrap();
        self.stderr.read_to_string(&mut text).unwrap();
        (ended(&mut self.entered), text)
    }
}

fn ended(entered: &mut Entered) -> Exit {
    match entered.wait().unwrap() {
        Notice::Ended(exit) => exit,
        other => panic!("not ended: {other:?}"),
    }
}

/// Runs a script beside what runs in a container; returns all that it printed.
fn script(agent: &Agent, id: &ContainerId, script: &str) -> (Exit, String) {
    enter(agent, id, sh(script)).unwrap().end()
}

fn said(agent: &Agent, id: &ContainerId, text: &str) -> String {
    let (exit, said) = script(agent, id, text);
    assert_eq!(exit, Exit::Code(0), "{said}");
    said
}

fn refused(agent: &Agent, id: &ContainerId, command: CommandInfo) -> EnterError {
    match enter(agent, id, command) {
        Err(error) => error,
        Ok(_) => panic!("it started"),
    }
}

const NAMESPACES: &str =
    "for ns in pid mnt net ipc uts cgroup user; do readlink /proc/self/ns/$ns; done";

#[test]
fn it_is_in_everything_that_the_container_has_and_has_no_more_rights() {
    // CT-14, CT-57, CT-58, CT-59, CT-60, TK-99
    let Some((dir, agent)) = agent() else { return };
    let look = format!(
        "{NAMESPACES}; cat /proc/self/cgroup
        grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups)' /proc/self/status
        grep 'open files' /proc/self/limits; hostname; pwd; ls /; umask
        echo $A $B $TEPUI_CONTAINER_ID $TEPUI_SANDBOX; readlink /proc/self/root"
    );
    let rights = Launch {
        network: Network::Isolated,
        seccomp: Seccomp::Default,
        no_new_privileges: true,
        user: Some("ana".to_owned()),
        rlimits: vec![Rlimit {
            kind: RlimitKind::Nofile,
            values: Some(RlimitValues {
                soft: 99,
                hard: 100,
            }),
        }],
        capabilities: Capabilities {
            bounding: CapabilitySet::DEFAULT,
            effective: Some(CapabilitySet::default()),
        },
        environment: vec![("A".to_owned(), "launch".to_owned())],
        ..rooted(dir.path())
    };
    let mapped = Launch {
        user_namespace: Some(UserNamespace {
            uids: vec![RANGE],
            gids: vec![RANGE],
        }),
        ..rooted(dir.path())
    };
    let launches = [Launch::default(), rooted(dir.path()), rights, mapped];
    for (n, launch) in (1..).zip(launches) {
        let own = format!("({look}) > seen; echo up; exec sleep 1000");
        let mut command = sh(&own);
        command.environment = vec![("B".to_owned(), "command".to_owned())];
        agent.launch_with(&id(n), command, launch);
        agent.started();
        agent.line(&id(n), "stdout");
        let (exit, text) = script(&agent, &id(n), &look);
        assert_eq!((exit, text), (Exit::Code(0), agent.file(&id(n), "seen")));
    }
    // What is asked for besides is added, and wins.
    let mut command = sh("echo $A $B $C; id -u");
    command.environment = [("A", "x"), ("C", "z")]
        .map(|(a, b)| (a.into(), b.into()))
        .into();
    let (_, text) = enter(&agent, &id(3), command.clone()).unwrap().end();
    assert_eq!(text, "x command z\n1000\n");
    command.user = Some("0".to_owned());
    let (_, text) = enter(&agent, &id(1), command).unwrap().end();
    assert_eq!(text, "x command z\n0\n");
    agent.shutdown();
}

const RANGE: IdRange = IdRange {
    inside: 0,
    outside: 1_000_000,
    count: 65_536,
};

#[test]
fn it_has_the_files_that_it_is_given_and_a_session_of_its_own() {
    // CT-10, FW-91
    let Some((dir, agent)) = agent() else { return };
    agent.launch_with(&id(1), sh("exec sleep 1000"), rooted(dir.path()));
    agent.started();
    let mut cat = enter(&agent, &id(1), sh("cat; cat 1>&2; exit 7")).unwrap();
    cat.stdin.as_mut().unwrap().write_all(b"through").unwrap();
    assert_eq!(cat.end(), (Exit::Code(7), "through".to_owned()));
    let text = said(
        &agent,
        &id(1),
        "ls /proc/self/fd | wc -l; cut -d ' ' -f 1,5,6,7 /proc/self/stat",
    );
    let mut lines = text.lines();
    // 0, 1, 2, and what lists them.
    assert_eq!(lines.next(), Some("4"), "{text}");
    let fields: Vec<&str> = lines.next().unwrap().split(' ').collect();
    assert_eq!((fields[1], fields[3]), (fields[2], "0"), "{text}");
    for number in [2, 15, 35] {
        let mut waits = enter(&agent, &id(1), sh("echo up; exec sleep 1000")).unwrap();
        let mut up = [0; 3];
        waits.stdout.read_exact(&mut up).unwrap();
        waits.entered.signal(number).unwrap();
        assert_eq!(ended(&mut waits.entered), Exit::Signal(number));
        waits.entered.signal(number).unwrap();
        assert_eq!(waits.entered.wait().unwrap_err(), EnterError::Lost);
    }
    agent.shutdown();
}

#[test]
fn it_ends_as_a_whole_and_with_its_container() {
    // CT-03, CT-14, TK-99
    let Some((dir, agent)) = agent() else { return };
    agent.launch_with(&id(1), sh("exec sleep 1000"), rooted(dir.path()));
    agent.started();
    let count = "cat /proc/[0-9]*/comm 2> /dev/null | grep -c -x sleep; true";
    let leaves = "setsid sleep 2000 & (setsid sh -c 'sleep 3000 & exec sleep 3000' &)
        until [ $(cat /proc/[0-9]*/comm 2> /dev/null | grep -c -x sleep) = 4 ]; do :; done
        echo up";
    // By itself.
    let (exit, text) = script(&agent, &id(1), &format!("({leaves}); exit 3"));
    assert_eq!((exit, text.as_str()), (Exit::Code(3), "up\n"));
    assert_eq!(said(&agent, &id(1), count), "1\n");
    // Killed, and let go of.
    for told in [true, false] {
        let mut runs = enter(&agent, &id(1), sh(&format!("{leaves}; exec sleep 4000"))).unwrap();
        runs.stdout.read_exact(&mut [0; 3]).unwrap();
        if told {
            runs.entered.kill();
            assert_eq!(ended(&mut runs.entered), Exit::Signal(9));
            assert_eq!(said(&agent, &id(1), count), "1\n");
        } else {
            drop(runs);
            eventually("all of it is gone", || said(&agent, &id(1), count) == "1\n");
        }
    }
    // With its container, whose end is not held up.
    let mut runs = enter(&agent, &id(1), sh(&format!("{leaves}; exec sleep 4000"))).unwrap();
    runs.stdout.read_exact(&mut [0; 3]).unwrap();
    agent.destroy(&id(1));
    assert_eq!(agent.exited().0, Exit::Signal(9));
    assert_eq!(runs.entered.wait().unwrap_err(), EnterError::Lost);
    assert_eq!(survivors(dir.path()), Vec::<u32>::new());
    let error = refused(&agent, &id(1), sh("true"));
    assert_eq!(error, EnterError::NotRunning(id(1)));
    agent.shutdown();
}

#[test]
fn it_counts_towards_the_limits_of_the_container() {
    // CT-18, CT-23, CT-37
    let Some((dir, agent)) = agent() else { return };
    let mut spec = spec(&id(1), sh("exec sleep 1000"));
    spec.limits.mem = Some(Milli::from_thousandths(64_000));
    spec.limits.pids = Some(10);
    agent.launch_spec_with(&id(1), spec, rooted(dir.path()));
    agent.started();
    let bomb = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done; wait";
    let (exit, text) = script(&agent, &id(1), bomb);
    assert!(text.contains("ork"), "{exit} {text}");
    let hog = "head -c 300000000 /dev/zero | tail -c 200000000 > /dev/null; exec sleep 1000";
    let mut hog = enter(&agent, &id(1), sh(hog)).unwrap();
    let (_, breach) = agent.exited();
    assert!(breach.is_some());
    assert!(matches!(
        hog.entered.wait(),
        Err(EnterError::Lost) | Ok(Notice::Ended(_))
    ));
    agent.shutdown();
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    // CT-01, FW-91
    let Some((dir, agent)) = agent() else { return };
    agent.launch_with(&id(1), sh("exec sleep 1000"), rooted(dir.path()));
    agent.started();
    let fetches = CommandInfo {
        uris: vec![Uri::new("/a")],
        ..sh("true")
    };
    let stranger = CommandInfo {
        user: Some("nobody here".to_owned()),
        ..sh("true")
    };
    let huge = CommandInfo::exec("true", vec!["x".repeat(100_000); 50]);
    for (command, invalid, why) in [
        (CommandInfo::exec("", [""; 0]), true, "the command is empty"),
        (CommandInfo::exec("a\0", [""; 0]), true, "NUL"),
        (fetches, true, "fetches nothing"),
        (huge, true, "longer than"),
        (stranger, false, "is not in its /etc/passwd"),
        (
            CommandInfo::exec("/no/such", [""; 0]),
            false,
            "execute /no/such: No such file",
        ),
    ] {
        let error = refused(&agent, &id(1), command);
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(
            matches!(error, EnterError::Invalid(_)),
            invalid,
            "{error:?}"
        );
    }
    assert_eq!(
        refused(&agent, &id(9), sh("true")),
        EnterError::NotRunning(id(9))
    );
    // So many and no more; those that are gone make room.
    let many: Vec<Piped> = (0..64)
        .map(|_| enter(&agent, &id(1), sh("exec cat")).unwrap())
        .collect();
    let error = refused(&agent, &id(1), sh("true")).to_string();
    assert!(error.contains("64 further processes"), "{error}");
    for one in many {
        assert_eq!(one.end().0, Exit::Code(0));
    }
    eventually("there is room", || {
        enter(&agent, &id(1), sh("true")).is_ok()
    });
    agent.shutdown();
}

#[test]
fn links_of_the_task_lead_nobody_astray() {
    // CT-41, CT-45
    let Some((dir, agent)) = agent() else { return };
    let secret = dir.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    let sandbox = dir.path().canonicalize().unwrap().join("sandboxes/c000001");
    let launch = Launch {
        working_directory: Some(sandbox.join("work")),
        user: Some("65534:65534".to_owned()),
        ..Launch::default()
    };
    fs::create_dir_all(sandbox.join("work")).unwrap();
    agent.launch_with(&id(1), sh("exec sleep 1000"), launch);
    agent.started();
    assert!(said(&agent, &id(1), "pwd").ends_with("/work\n"));
    fs::remove_dir(sandbox.join("work")).unwrap();
    symlink(&secret, sandbox.join("work")).unwrap();
    let error = refused(&agent, &id(1), sh("pwd"));
    assert!(error.to_string().contains("ermission"), "{error}");
    // One that leads where the user may go is a link like any other.
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(said(&agent, &id(1), "pwd -P").ends_with("/secret\n"));
    // In a root of its own, a link to what a process has open is not followed.
    let launch = Launch {
        working_directory: Some("/mnt/tepui/sandbox/work".into()),
        ..rooted(dir.path())
    };
    agent.launch_with(&id(2), sh("exec sleep 1000"), launch);
    agent.started();
    let sandbox = dir.path().join("sandboxes/c000002");
    fs::remove_dir(sandbox.join("work")).unwrap();
    symlink("/proc/self/fd/3", sandbox.join("work")).unwrap();
    refused(&agent, &id(2), sh("pwd"));
    agent.shutdown();
}

/// A further process on a terminal.
fn on_terminal(agent: &Agent, id: &ContainerId, command: CommandInfo) -> (Entered, Terminal) {
    let containerizer = agent.containerizer.as_ref().unwrap();
    let mut entered = containerizer
        .enter(id, command, Streams::Terminal(SIZE))
        .unwrap();
    match entered.wait().unwrap() {
        Notice::Started {
            terminal: Some(terminal),
        } => (entered, terminal),
        other => panic!("not started: {other:?}"),
    }
}

/// Reads from a terminal up to `end`, or to its hang-up.
fn read_until(terminal: &Terminal, end: Option<&str>) -> String {
    let mut file = File::from(OwnedFd::from(terminal.try_clone().unwrap()));
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let seen = String::from_utf8_lossy(&text).into_owned();
        if end.is_some_and(|end| seen.contains(end)) {
            return seen;
        }
        match file.read(&mut buffer) {
            Ok(0) => return seen,
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut wait = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
                let ready = poll(&mut wait, 30_000u16).unwrap();
                assert_eq!(ready, 1, "{seen:?}");
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
                return seen;
            }
        }
    }
}

#[test]
fn a_terminal_is_the_container_s_own_and_is_resized_and_hung_up() {
    // CT-10, FW-91
    let Some((dir, agent)) = agent() else { return };
    agent.launch_with(&id(1), sh("exec sleep 1000"), rooted(dir.path()));
    agent.started();
    agent.launch(&id(2), sh("exec sleep 1000"));
    agent.started();
    let user = Launch {
        user: Some("ana".to_owned()),
        ..rooted(dir.path())
    };
    agent.launch_with(&id(3), sh("exec sleep 1000"), user);
    agent.started();
    let look = "tty; stty size; echo $TERM; ls -l $(tty) | cut -c 1-10; : > /dev/tty
        trap 'stty size; exit 5' WINCH; trap 'echo no' INT; echo ready
        while :; do read line; echo got $line; done";
    for n in 1..=3 {
        let (mut entered, terminal) = on_terminal(&agent, &id(n), sh(look));
        let text = read_until(&terminal, Some("ready"));
        let number = if n == 2 { "" } else { "0" };
        assert!(text.starts_with(&format!("/dev/pts/{number}")), "{text}");
        assert!(text.contains("33 101\r\nxterm\r\ncrw"), "{text}");
        let mut keys = File::from(OwnedFd::from(terminal.try_clone().unwrap()));
        keys.write_all(b"typed\n").unwrap();
        read_until(&terminal, Some("got typed"));
        keys.write_all(b"\x03").unwrap();
        read_until(&terminal, Some("no"));
        let (rows, columns) = (20, 40);
        terminal.resize(Size { rows, columns }).unwrap();
        assert!(read_until(&terminal, None).contains("20 40"));
        assert_eq!(ended(&mut entered), Exit::Code(5));
    }
    // Who holds the other side no more hangs up.
    let (mut entered, terminal) = on_terminal(&agent, &id(1), sh("echo up; exec sleep 1000"));
    read_until(&terminal, Some("up"));
    drop(terminal);
    assert_eq!(ended(&mut entered), Exit::Signal(1));
    agent.shutdown();
}

#[test]
fn beside_plain_processes_it_is_one_and_ends_with_them() {
    // CT-06, TK-99
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), Mode::Process);
    let mut command = sh("exec sleep 1000");
    command.environment = vec![("B".to_owned(), "command".to_owned())];
    agent.launch(&id(1), command);
    agent.started();
    let text = said(&agent, &id(1), "pwd; echo $B $TEPUI_CONTAINER_ID");
    let sandbox = dir.path().canonicalize().unwrap().join("sandboxes/c000001");
    assert_eq!(text, format!("{}\ncommand c000001\n", sandbox.display()));
    let leaves = "setsid sleep 1000 & echo up; exec sleep 1000";
    let mut killed = enter(&agent, &id(1), sh(leaves)).unwrap();
    killed.stdout.read_exact(&mut [0; 3]).unwrap();
    killed.entered.kill();
    assert_eq!(ended(&mut killed.entered), Exit::Signal(9));
    assert_eq!(survivors(dir.path()).len(), 1);
    let mut left = enter(&agent, &id(1), sh(leaves)).unwrap();
    left.stdout.read_exact(&mut [0; 3]).unwrap();
    agent.destroy(&id(1));
    agent.exited();
    assert_eq!(survivors(dir.path()), Vec::<u32>::new());
    assert_eq!(left.entered.wait().unwrap_err(), EnterError::Lost);
    let (mut entered, terminal) = {
        agent.launch(&id(2), sh("exec sleep 1000"));
        agent.started();
        on_terminal(&agent, &id(2), sh("stty size"))
    };
    assert!(read_until(&terminal, None).contains("33 101"));
    assert_eq!(ended(&mut entered), Exit::Code(0));
    agent.shutdown();
}
