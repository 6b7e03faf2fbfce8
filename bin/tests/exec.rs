//! `tepui exec` on a cluster of real processes: input, output, terminals, ends, and who may.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use common::{Cluster, DEADLINE, command, signal, wait_for};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::tcgetattr;
use tepui::isolation::Mode;

const RESOURCES: &str = "cpus:4;mem:512";

/// A cluster, and a task that runs on it.
fn cluster(flags: &[&str]) -> (Cluster, String) {
    let cluster = Cluster::start(&[&["--resources", RESOURCES], flags].concat());
    let task = sleeper(&cluster);
    (cluster, task)
}

fn sleeper(cluster: &Cluster) -> String {
    let args = [
        "run",
        "--detach",
        "--quiet",
        "--mem",
        "64",
        "--env",
        "OF_TASK=yes",
        "--",
    ];
    let task = cluster
        .tepui(&[&args[..], &["sleep", "1000"]].concat())
        .with(0);
    task.out.trim().to_owned()
}

/// Runs the command with this input to its end.
fn fed(mut command: Command, input: &[u8]) -> (Option<i32>, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeding = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

// CT-10, FW-91, OB-32
#[test]
fn a_command_runs_beside_a_task_with_its_input_output_and_code() {
    let (cluster, task) = cluster(&["--process"]);
    let exec = |flags: &[&str], script: &str| {
        let flags = [&["exec"], flags, &[&task, "--", "sh", "-c", script]].concat();
        cluster.tepui(&flags)
    };
    let ended = exec(&[], "echo out; echo err >&2; echo $OF_TASK; exit 7").with(7);
    assert_eq!(
        (ended.out.as_str(), ended.err.as_str()),
        ("out\nyes\n", "err\n")
    );
    exec(&[], "kill -9 $$").with(137);
    assert_eq!(exec(&[], "cat; echo end").with(0).out, "end\n");
    let env = ["--env", "A=b"];
    assert_eq!(
        exec(&env, "echo $A $TEPUI_TASK_ID").with(0).out,
        format!("b {task}\n")
    );
    // The beginning of the id will do, and more than all buffers goes through both ways.
    let many: Vec<u8> = (0..3_000_000).map(|n: u32| b'a' + (n % 23) as u8).collect();
    let copy = cluster.command(&["exec", "-i", &task[..task.len() - 1], "--", "cat"]);
    let (code, copied) = fed(copy, &many);
    assert_eq!((code, copied.into_bytes() == many), (Some(0), true));
    // Whoever does not read holds up nobody else.
    let mut slow = cluster.command(&["exec", &task, "--", "yes"]);
    let mut slow = slow.stdout(Stdio::piped()).spawn().unwrap();
    exec(&[], "true").with(0);
    // Who is interrupted takes the command along.
    signal(slow.id(), "TERM");
    drop(slow.stdout.take());
    let code = slow.wait().unwrap().code();
    assert!(matches!(code, Some(130 | 141)), "{code:?}");
    wait_for("the command to be gone", || {
        let left = exec(&[], "cat /proc/[0-9]*/comm 2> /dev/null | grep -c -x yes");
        (left.out == "0\n").then_some(())
    });
}

// FW-91, OB-32, SE-22
#[test]
fn what_cannot_be_is_said_in_a_line_and_a_code() {
    let (cluster, task) = cluster(&["--process"]);
    cluster
        .tepui(&["exec", "nobody", "--", "true"])
        .with(3)
        .says(&["no task begins with"]);
    cluster.tepui(&["exec", &task]).with(2);
    cluster
        .tepui(&["exec", &task, "--", ""])
        .with(2)
        .says(&["expected a program"]);
    let missing = cluster.tepui(&["exec", &task, "--", "/no/such"]).with(125);
    missing.says(&["execute /no/such: No such file"]);
    let mut stranger = cluster.command(&["exec", &task, "--", "true"]);
    let other = common::Dir::new();
    let ca = other.join("ca");
    command_ok(&["cert", "init", ca.to_str().unwrap()]);
    let out = other.join("operator");
    command_ok(&[
        "cert",
        "issue",
        "--ca",
        ca.to_str().unwrap(),
        "--role",
        "operator",
        "--name",
        "x",
        "--out",
        out.to_str().unwrap(),
    ]);
    stranger.env("TEPUI_TLS_DIR", &out);
    common::run(stranger).with(4);
    cluster.tepui(&["kill", &task]).with(0);
    wait_for("the task to be over", || {
        let ended = cluster.tepui(&["exec", &task, "--", "true"]);
        (ended.code == Some(3)).then_some(())
    });
}

fn command_ok(args: &[&str]) {
    let mut tepui = command(common::TEPUI);
    tepui.args(args);
    common::run(tepui).with(0);
}

/// A command on a terminal.
struct OnTerminal {
    child: Child,
    keys: File,
    said: Receiver<Vec<u8>>,
    seen: String,
}

impl OnTerminal {
    fn start(mut command: Command) -> (Self, File) {
        let size = Winsize {
            ws_row: 33,
            ws_col: 101,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(&size, None).unwrap();
        let slave = File::from(pair.slave);
        let near = || slave.try_clone().unwrap();
        command.stdin(near()).stdout(near()).stderr(near());
        let child = command.spawn().unwrap();
        drop(command);
        let keys = File::from(pair.master);
        let mut reading = keys.try_clone().unwrap();
        let (say, said) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = reading.read(&mut buffer) {
                if say.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let seen = String::new();
        (
            Self {
                child,
                keys,
                said,
                seen,
            },
            slave,
        )
    }

    /// Waits until it has said this, after what was waited for before.
    fn says(&mut self, part: &str) {
        while !self.seen.contains(part) {
            let more = self.said.recv_timeout(DEADLINE);
            let more = more.unwrap_or_else(|_| panic!("no {part:?} in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
        let end = self.seen.find(part).unwrap() + part.len();
        self.seen.drain(..end);
    }

    fn types(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
    }

    fn resize(&self, rows: u16, columns: u16) {
        let stty = Command::new("stty")
            .args(["rows", &rows.to_string(), "cols", &columns.to_string()])
            .stdin(self.keys.try_clone().unwrap())
            .status();
        assert!(stty.unwrap().success());
        // Nobody has this terminal for its own, so the kernel tells nobody.
        signal(self.child.id(), "WINCH");
    }
}

// CT-10, FW-91, OB-32
#[test]
fn a_shell_on_a_terminal_is_resized_and_gives_ours_back() {
    let detected = Mode::detect();
    if detected.mode == Mode::Process || !detected.unenforced.is_empty() {
        common::skipped(&detected.reason);
        return;
    }
    let (cluster, task) = cluster(&[]);
    let shell = |script: &str| {
        let mut command = cluster.command(&["exec", "-it", &task, "--", "sh", "-c", script]);
        command.env("TERM", "vt100");
        OnTerminal::start(command)
    };
    let (mut on, slave) = shell(
        "tty; stty size; echo $TERM; trap 'stty size' WINCH; exec 3<&0;
        echo ready; while :; do read line <&3 && echo got $line
        [ \"$line\" != end ] || exit 9; done",
    );
    let before = tcgetattr(slave.as_fd()).unwrap();
    on.says("/dev/pts/");
    on.says("33 101\r\nvt100\r\nready\r\n");
    on.types("typed\r");
    // Told once by their terminal, and not by ours.
    on.says("typed\r\ngot typed\r\n");
    assert!(tcgetattr(slave.as_fd()).unwrap() != before, "it is raw");
    on.resize(20, 40);
    on.types("\r");
    on.says("20 40\r\n");
    on.types("end\r");
    on.says("got end\r\n");
    assert_eq!(on.child.wait().unwrap().code(), Some(9));
    assert!(
        tcgetattr(slave.as_fd()).unwrap() == before,
        "it is as it was"
    );
    // A key that interrupts is for the command.
    let (mut on, slave) =
        shell("trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done");
    on.says("ready");
    on.types("\x03");
    on.says("caught");
    assert_eq!(on.child.wait().unwrap().code(), Some(5));
    assert!(tcgetattr(slave.as_fd()).unwrap() == before);
    // Also if it is ended, and if its task is.
    let (mut on, slave) = shell("echo ready; exec sleep 1000");
    on.says("ready");
    signal(on.child.id(), "TERM");
    assert_eq!(on.child.wait().unwrap().code(), Some(130));
    assert!(tcgetattr(slave.as_fd()).unwrap() == before);
    let (mut on, slave) = shell("echo ready; exec sleep 1000");
    on.says("ready");
    cluster.tepui(&["kill", "--grace", "0s", &task]).with(0);
    assert_eq!(on.child.wait().unwrap().code(), Some(125));
    assert!(tcgetattr(slave.as_fd()).unwrap() == before);
}
