//! What containers write, in files that take turns: nothing is lost of it and nothing doubled,
//! nobody holds up anybody else, and it is all there when an end is told. In both modes; containers
//! need root and control groups, and it is said when they are skipped.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerEvent;
use tepui_core::protocol::container_info::{ContainerInfo, LogBounds, Terminal as Size};
use tepui_core::protocol::status::Exit;
use tepui_core::protocol::task::CommandInfo;
use tepui_isolation::isolators::{Allowed, Plain, Rights};
use tepui_isolation::logs::start_of;
use tepui_isolation::{Config, EnterError, Isolator, Launch, Logs, Mode, ProgramInput};

use common::*;

/// Numbers one line each, of eight bytes.
const LINES: &str = "seq -f %07.0f";

fn modes() -> Vec<Mode> {
    let detected = Mode::detect();
    if detected.mode == Mode::Process || !detected.unenforced.is_empty() {
        skipped(&detected.reason);
        return vec![Mode::Process];
    }
    vec![Mode::Process, Mode::Container]
}

fn agent(mode: Mode, file_bytes: u64, files: u32) -> (tempfile::TempDir, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs { file_bytes, files };
    let config = Config {
        logs,
        ..config(dir.path(), mode)
    };
    let agent = Agent::with(config);
    (dir, agent)
}

fn sandbox(agent: &Agent, id: &ContainerId) -> PathBuf {
    agent.dir.join("sandboxes").join(id.as_str())
}

/// What is kept of an output, oldest first.
fn kept(sandbox: &Path, name: &str) -> Vec<PathBuf> {
    let numbered = (1..100).rev().map(|n| sandbox.join(format!("{name}.{n}")));
    let all = numbered.chain([sandbox.join(name)]);
    all.filter(|path| path.is_file()).collect()
}

fn text(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

fn lines(from: u64, to: u64) -> String {
    (from..=to).map(|n| format!("{n:07}\n")).collect()
}

#[test]
fn a_flood_is_kept_byte_for_byte_up_to_its_bound() {
    // CT-11
    for mode in modes() {
        let (_dir, agent) = agent(mode, 256 * 1024, 4);
        // 16 MB on one and 800 KB on the other.
        let script = format!("{LINES} 100000 >&2 & {LINES} 2000000; wait");
        let begin = Instant::now();
        assert_eq!(agent.run(&id(1), sh(&script)), Exit::Code(0));
        eprintln!("{mode:?}: 16.8 MB in {:?}", begin.elapsed());
        let sandbox = sandbox(&agent, &id(1));
        for (name, last) in [("stdout", 2_000_000), ("stderr", 100_000)] {
            let paths = kept(&sandbox, name);
            assert_eq!(paths.len(), 4, "{paths:?}");
            let text = text(&paths);
            let first = last + 1 - text.len() as u64 / 8;
            assert!(text == lines(first, last), "{name} from {first}");
            let mut written = (first - 1) * 8;
            for path in &paths {
                let file = fs::File::open(path).unwrap();
                let length = file.metadata().unwrap().len();
                assert!(length <= 256 * 1024, "{path:?}: {length}");
                // The first of all says nothing.
                assert_eq!(start_of(&file).unwrap_or(0), written, "{path:?}");
                written += length;
            }
        }
        agent.shutdown();
    }
}

#[test]
fn what_was_written_before_an_end_is_there_when_it_is_told() {
    // CT-11
    for mode in modes() {
        let (_dir, agent) = agent(mode, 64 * 1024, 3);
        for n in 1..=40 {
            // More than a pipe holds, and its writer is gone at once.
            let script = format!("{LINES} 9000; echo last; echo err >&2; kill -9 $$");
            agent.launch(&id(n), sh(&script));
            agent.started();
            agent.exited();
            let sandbox = sandbox(&agent, &id(n));
            let said = text(&kept(&sandbox, "stdout"));
            assert!(
                said == lines(1, 9000) + "last\n",
                "{n}: {} bytes",
                said.len()
            );
            assert_eq!(agent.file(&id(n), "stderr"), "err\n");
        }
        agent.shutdown();
    }
}

#[test]
fn a_task_has_it_written_nowhere_else() {
    // MESOS-9564; CT-11
    for mode in modes() {
        let (dir, agent) = agent(mode, 4096, 3);
        let outside = dir.path().join("outside");
        fs::write(&outside, "the host's").unwrap();
        let script = format!(
            "for name in stdout.1 stdout.2 stdout.next; do ln -sf {0} $name; done
            {LINES} 5000; rm -f stdout stdout.1; ln -s {0} stdout; ln -s {0}.new stdout.1
            echo 'stdout {{ postrotate' > logrotate.conf
            {LINES} 5000; mkdir -p stdout.1/full stdout.next/full 2>/dev/null; {LINES} 5000; \
            echo last",
            outside.display()
        );
        assert_eq!(agent.run(&id(1), sh(&script)), Exit::Code(0));
        assert_eq!(fs::read_to_string(&outside).unwrap(), "the host's");
        assert!(!dir.path().join("outside.new").exists());
        // Whatever it did, it has no more than its bound and what it keeps itself.
        let files = fs::read_dir(sandbox(&agent, &id(1))).unwrap();
        let files = files.map(|entry| entry.unwrap().path().symlink_metadata().unwrap());
        let taken: u64 = files.filter(|of| of.is_file()).map(|of| of.len()).sum();
        assert!(taken <= 5 * 4096, "{taken} bytes");
        agent.shutdown();
    }
}

#[test]
fn its_files_are_its_user_s_and_it_can_open_its_output_again() {
    // CT-11
    let detected = Mode::detect();
    if detected.mode == Mode::Process || !detected.unenforced.is_empty() {
        return skipped(&detected.reason);
    }
    let (dir, agent) = agent(Mode::Container, 4096, 3);
    let opened = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    opened(dir.path());
    let script = format!(
        "{LINES} 1000; echo again > /dev/stdout; echo err > /dev/stderr
        cat < /dev/stdin > read"
    );
    let of_host = Launch {
        user: Some("65534:65534".to_owned()),
        interactive: true,
        ..Launch::default()
    };
    let of_root = Launch {
        user: Some("ana".to_owned()),
        interactive: true,
        ..rooted(dir.path())
    };
    for (n, launch, owner) in [(1, of_host, (65534, 65534)), (2, of_root, (1000, 1001))] {
        agent.launch_with(&id(n), sh(&script), launch);
        agent.started();
        pipe_to(&agent, &id(n)).write_all(b"said\n").unwrap();
        agent
            .containerizer
            .as_ref()
            .unwrap()
            .enterer()
            .end_input(&id(n));
        assert_eq!(agent.exited().0, Exit::Code(0));
        assert_eq!(agent.file(&id(n), "read"), "said\n");
        let paths = kept(&sandbox(&agent, &id(n)), "stdout");
        assert_eq!(paths.len(), 2);
        assert_eq!(text(&paths), lines(1, 1000) + "again\n");
        assert_eq!(agent.file(&id(n), "stderr"), "err\n");
        for path in paths {
            let of = fs::metadata(&path).unwrap();
            assert_eq!(
                (of.uid(), of.gid(), of.mode() & 0o777),
                (owner.0, owner.1, 0o640)
            );
        }
    }
    agent.shutdown();
}

#[test]
fn what_one_writes_holds_up_nobody_else() {
    for mode in modes() {
        let (_dir, agent) = agent(mode, 1024 * 1024, 2);
        for n in 1..=3 {
            agent.launch(&id(n), sh("exec yes"));
            agent.started();
        }
        agent.launch(
            &id(9),
            sh("until [ -e go ]; do :; done; echo gone; exec sleep 1000"),
        );
        agent.started();
        let sandbox = sandbox(&agent, &id(9));
        let mut worst = Duration::ZERO;
        fs::write(sandbox.join("go"), "").unwrap();
        let begin = Instant::now();
        agent.line(&id(9), "stdout");
        worst = worst.max(begin.elapsed());
        eprintln!("{mode:?}: a line beside three floods after {worst:?}");
        assert!(worst < Duration::from_secs(5), "{worst:?}");
        // And they end, with what they wrote last.
        for n in [1, 2, 3, 9] {
            agent.destroy(&id(n));
        }
        for _ in 0..4 {
            agent.exited();
        }
        agent.shutdown();
    }
}

#[test]
fn who_asks_for_it_writes_its_file_itself() {
    for mode in modes() {
        let (_dir, agent) = agent(mode, 4096, 2);
        let launch = Launch {
            logs: Some(Logs::UNBOUNDED),
            ..Launch::default()
        };
        let script = format!("readlink /proc/self/fd/1; {LINES} 10000");
        assert_eq!(agent.run_with(&id(1), sh(&script), launch), Exit::Code(0));
        let said = agent.file(&id(1), "stdout");
        let (first, rest) = said.split_once('\n').unwrap();
        assert!(first.ends_with("/c000001/stdout"), "{first}");
        assert!(rest == lines(1, 10_000));
        assert_eq!(kept(&sandbox(&agent, &id(1)), "stdout").len(), 1);
        agent.shutdown();
    }
}

/// The agent of the next test, in a process of its own.
#[test]
fn an_agent_to_be_killed() {
    let Some(dir) = std::env::var_os("TEPUI_TEST_LOGS_AGENT") else {
        return;
    };
    let config = Config {
        logs: Logs {
            file_bytes: 1024 * 1024,
            files: 8,
        },
        ..config(Path::new(&dir), modes().pop().unwrap())
    };
    let agent = Agent::with(config);
    let script = format!("echo up; until [ -e go ]; do :; done; {LINES} 600000; exit 5");
    agent.launch(&id(1), sh(&script));
    agent.started();
    loop {
        std::thread::park();
    }
}

#[test]
fn an_agent_that_is_killed_while_a_task_writes_loses_nothing() {
    // AG-09, CT-11
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_agent_to_be_killed", "--nocapture"])
        .env("TEPUI_TEST_LOGS_AGENT", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sandbox = dir.path().join("sandboxes/c000001");
    eventually("the task runs", || {
        fs::read_to_string(sandbox.join("stdout")).is_ok_and(|text| text == "up\n")
    });
    fs::write(sandbox.join("go"), "").unwrap();
    eventually("the task writes", || sandbox.join("stdout.1").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let agent = Agent::start(dir.path(), modes().pop().unwrap());
    let events = agent.recover(&[id(1)]);
    let is_over = events
        .iter()
        .any(|event| matches!(event, ContainerEvent::Exited { .. }));
    if !is_over {
        assert_eq!(agent.exited().0, Exit::Code(5));
    }
    let said = text(&kept(&sandbox, "stdout"));
    assert!(
        said == "up\n".to_owned() + &lines(1, 600_000),
        "{} bytes",
        said.len()
    );
    agent.shutdown();
}

#[test]
fn who_is_left_over_holds_no_end_up() {
    // A process that nobody can find, with the output still open.
    let (_dir, agent) = agent(Mode::Process, 64 * 1024, 2);
    agent.launch(&id(9), sh("exec sleep 1000"));
    agent.started();
    let leaves = "env -i setsid sh -c 'while echo x; do :; done' 2> /dev/null & echo done";
    agent.launch(&id(1), sh(leaves));
    agent.started();
    assert_eq!(agent.exited().0, Exit::Code(0));
    assert!(text(&kept(&sandbox(&agent, &id(1)), "stdout")).contains("done\n"));
    agent.shutdown();
}

#[test]
fn a_full_disk_costs_the_log_and_not_the_task() {
    let detected = Mode::detect();
    if detected.mode == Mode::Process || !detected.unenforced.is_empty() {
        return skipped(&detected.reason);
    }
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let none: Option<&str> = None;
    let (flags, size) = (nix::mount::MsFlags::empty(), Some("size=4m"));
    nix::mount::mount(Some("tmpfs"), &work, Some("tmpfs"), flags, size).unwrap();
    let config = Config {
        logs: Logs {
            file_bytes: 16 * 1024 * 1024,
            files: 2,
        },
        cgroup_root: format!("tepui-test-logs-{}/agent", std::process::id()),
        runtime_dir: dir.path().join("run"),
        ..config(&work, Mode::Container)
    };
    let agent = Agent::with(config);
    // Twice as much as the disk has, and then something when there is room again.
    let script = format!(
        "{LINES} 1000000; head -c 1 /dev/null; rm -f filler; touch full
        until [ -e go ]; do sleep 0.01; done; echo; echo last; exit 3"
    );
    agent.launch(&id(1), sh(&script));
    agent.started();
    let sandbox = work.join("sandboxes/c000001");
    eventually("it has gone on", || sandbox.join("full").exists());
    fs::write(sandbox.join("stdout"), "").unwrap();
    fs::write(sandbox.join("go"), "").unwrap();
    assert_eq!(agent.exited().0, Exit::Code(3));
    assert!(text(&kept(&sandbox, "stdout")).ends_with("\nlast\n"));
    let told = fs::read_to_string(dir.path().join("run/launcher.log")).unwrap();
    assert!(
        told.contains("c000001: stdout is lost: No space left"),
        "{told}"
    );
    assert!(told.contains("bytes of stdout are lost"), "{told}");
    agent.shutdown();
    let _ = none;
    nix::mount::umount(&work).unwrap();
}

#[test]
fn a_launch_takes_hardly_longer_than_without() {
    for mode in modes() {
        let (_dir, agent) = agent(mode, 64 * 1024, 3);
        let mut times = [Vec::new(), Vec::new()];
        for n in 1..=200_u64 {
            let logs = (n % 2 == 0).then_some(Logs::UNBOUNDED);
            let launch = Launch {
                logs,
                ..Launch::default()
            };
            let command = CommandInfo::exec("/bin/true", [""; 0]);
            let begin = Instant::now();
            assert_eq!(agent.run_with(&id(n), command, launch), Exit::Code(0));
            times[usize::from(logs.is_none())].push(begin.elapsed());
        }
        let [without, with] = times.map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        });
        eprintln!("{mode:?}: launch and end in {with:?} with pipes, {without:?} without");
        assert!(
            with < without * 2 + Duration::from_millis(5),
            "{with:?} {without:?}"
        );
        agent.shutdown();
    }
}

#[test]
fn a_task_has_it_as_it_asks_for_it() {
    // CT-11
    for mode in modes() {
        let dir = tempfile::tempdir().unwrap();
        let isolator: Box<dyn Isolator> = match mode {
            Mode::Process => Box::new(Plain::default()),
            Mode::Container => Box::new(Rights::new(Allowed::default())),
        };
        let agent = Agent::isolated(config(dir.path(), mode), vec![isolator]);
        let asked = ContainerInfo {
            interactive: true,
            logs: Some(LogBounds { size: 1, files: 2 }),
            ..ContainerInfo::default()
        };
        let mut spec = spec(&id(1), sh(&format!("read a; echo $a; {LINES} 300000")));
        spec.container = Some(Box::new(asked));
        agent.launch_spec(&id(1), spec);
        agent.started();
        pipe_to(&agent, &id(1)).write_all(b"go\n").unwrap();
        assert_eq!(agent.exited().0, Exit::Code(0));
        let paths = kept(&sandbox(&agent, &id(1)), "stdout");
        assert_eq!(paths.len(), 2);
        for path in &paths {
            assert!(path.metadata().unwrap().len() <= 1024 * 1024);
        }
        assert!(text(&paths).ends_with("0300000\n"));
        agent.shutdown();
    }
}

/// Opens what is said to a program.
fn input(agent: &Agent, id: &ContainerId) -> Result<ProgramInput, EnterError> {
    agent.containerizer.as_ref().unwrap().enterer().input(id)
}

fn pipe_to(agent: &Agent, id: &ContainerId) -> fs::File {
    match input(agent, id).unwrap() {
        ProgramInput::Pipe(pipe) => pipe.into(),
        ProgramInput::Terminal(_) => panic!("a terminal"),
    }
}

#[test]
fn who_is_interactive_reads_what_is_said_whoever_says_it_until_there_is_no_more() {
    // CT-10, FW-91
    for mode in modes() {
        let (dir, agent) = agent(mode, 64 * 1024, 3);
        let interactive = Launch {
            interactive: true,
            ..Launch::default()
        };
        let script = "echo up; while read line; do echo got $line; done; exit 6";
        agent.launch_with(&id(1), sh(script), interactive);
        agent.started();
        agent.launch(&id(2), sh("wc -c; exec sleep 1000"));
        agent.started();
        agent.line(&id(1), "stdout");
        let mut first = pipe_to(&agent, &id(1));
        first.write_all(b"one\n").unwrap();
        drop(first);
        eventually("it reads", || {
            agent.file(&id(1), "stdout").ends_with("got one\n")
        });
        // Who does not ask reads nothing.
        assert_eq!(agent.line(&id(2), "stdout"), "0");
        let error = input(&agent, &id(2)).unwrap_err();
        assert!(matches!(error, EnterError::Invalid(_)), "{error:?}");
        let error = input(&agent, &id(9)).unwrap_err();
        assert_eq!(error, EnterError::NotRunning(id(9)));
        // The next agent has it as well, for it is not the agent's.
        agent.detach();
        let agent = Agent::start(dir.path(), mode);
        agent.recover(&[id(1), id(2)]);
        let mut second = pipe_to(&agent, &id(1));
        second.write_all(b"two\n").unwrap();
        eventually("it reads on", || {
            agent.file(&id(1), "stdout").ends_with("got two\n")
        });
        agent
            .containerizer
            .as_ref()
            .unwrap()
            .enterer()
            .end_input(&id(1));
        drop(second);
        assert_eq!(agent.exited().0, Exit::Code(6));
        agent.destroy(&id(2));
        agent.exited();
        agent.shutdown();
    }
}

#[test]
fn a_program_on_a_terminal_is_read_said_something_to_and_resized() {
    // CT-10, FW-91
    let user = |dir: &Path| Launch {
        user: Some("ana".to_owned()),
        ..rooted(dir)
    };
    for mode in modes() {
        let (dir, agent) = agent(mode, 64 * 1024, 3);
        let kinds = match mode {
            Mode::Process => vec![Launch::default()],
            Mode::Container => vec![Launch::default(), rooted(dir.path()), user(dir.path())],
        };
        for (n, launch) in (1..).zip(kinds) {
            let launch = Launch {
                terminal: Some(Size {
                    rows: 33,
                    columns: 101,
                }),
                ..launch
            };
            let script = "tty; stty size; echo $TERM; echo err >&2; : > /dev/tty
                trap 'stty size; echo bye; exit 5' WINCH; trap 'echo no' INT; echo ready
                while :; do read line; echo got $line; done";
            agent.launch_with(&id(n), sh(script), launch);
            agent.started();
            let says = |text: &str| {
                eventually(text, || agent.file(&id(n), "stdout").contains(text));
            };
            says("ready\r\n");
            let said = agent.file(&id(n), "stdout");
            assert!(said.starts_with("/dev/pts/"), "{said}");
            assert!(said.contains("33 101\r\nxterm\r\nerr\r\n"), "{said}");
            let terminal = match input(&agent, &id(n)).unwrap() {
                ProgramInput::Terminal(terminal) => terminal,
                ProgramInput::Pipe(_) => panic!("a pipe"),
            };
            assert_eq!(terminal.write(b"typed\n").unwrap(), 6);
            says("got typed");
            assert_eq!(terminal.write(b"\x03").unwrap(), 1);
            says("no\r\n");
            let (rows, columns) = (20, 40);
            terminal.resize(Size { rows, columns }).unwrap();
            assert_eq!(agent.exited().0, Exit::Code(5));
            // All of it is there when its end is told.
            assert!(agent.file(&id(n), "stdout").ends_with("20 40\r\nbye\r\n"));
            assert_eq!(agent.file(&id(n), "stderr"), "");
            let null = fs::metadata("/dev/null").unwrap();
            assert_eq!((null.uid(), null.gid()), (0, 0), "the machine's is touched");
        }
        // Much at once and then nothing, by one who closes it in between.
        let launch = Launch {
            terminal: Some(Size {
                rows: 5,
                columns: 5,
            }),
            ..Launch::default()
        };
        let script = format!(
            "stty -opost; {LINES} 4000; exec < /dev/null > /dev/null 2>&1
            sleep 0.2; echo last > /dev/tty"
        );
        agent.launch_with(&id(9), sh(&script), launch);
        agent.started();
        assert_eq!(agent.exited().0, Exit::Code(0));
        let said = text(&kept(&sandbox(&agent, &id(9)), "stdout"));
        assert!(said == lines(1, 4000) + "last\n", "{} bytes", said.len());
        agent.shutdown();
    }
}

#[test]
fn links_at_the_sandbox_are_not_followed() {
    let (dir, agent) = agent(Mode::Process, 4096, 2);
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    agent.launch(
        &id(1),
        sh(&format!("until [ -e go ]; do :; done; {LINES} 5000")),
    );
    agent.started();
    // Its sandbox moved away and replaced: it is written where it was made.
    let (at, moved) = (sandbox(&agent, &id(1)), dir.path().join("moved"));
    fs::rename(&at, &moved).unwrap();
    symlink(&outside, &at).unwrap();
    fs::write(moved.join("go"), "").unwrap();
    assert_eq!(agent.exited().0, Exit::Code(0));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(kept(&moved, "stdout").len(), 2);
    agent.shutdown();
}
