//! `tepui attach`, and `tepui logs` over files that take turns, on a cluster of real processes.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use common::{Cluster, signal, wait_for};

/// Starts a cluster whose tasks' logs take turns early, and many are kept.
fn cluster() -> Cluster {
    Cluster::start(&[
        "--resources",
        "cpus:4;mem:512",
        "--process",
        "--log-size",
        "64K",
        "--log-files",
        "100",
    ])
}

fn detached(cluster: &Cluster, flags: &[&str], script: &str) -> String {
    let run = ["run", "--detach", "--quiet", "--mem", "64"];
    let words = ["--", "sh", "-c", script];
    let task = cluster.tepui(&[&run[..], flags, &words].concat()).with(0);
    task.out.trim().to_owned()
}

/// A command that goes on, with what it is told and what it says.
struct Open {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Open {
    fn start(cluster: &Cluster, words: &[&str]) -> Self {
        let mut command = cluster.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn say(&mut self, text: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    fn end(mut self) -> Option<i32> {
        drop(self.input.take());
        self.child.wait().unwrap().code()
    }
}

// CT-11
#[test]
fn logs_go_on_over_each_turn_and_show_all_that_is_kept() {
    let cluster = cluster();
    let script = "echo up; until [ -e go ]; do sleep 0.02; done
        seq -f %07.0f 250000; exit 4";
    let task = detached(&cluster, &[], script);
    let mut following = Open::start(&cluster, &["logs", "-f", &task]);
    assert_eq!(following.line(), "up\n");
    cluster.tepui(&["exec", &task, "--", "touch", "go"]).with(0);
    // Two megabytes, in some thirty files.
    for n in 1..=250_000 {
        assert_eq!(following.line(), format!("{n:07}\n"));
    }
    assert_eq!(following.line(), "");
    assert_eq!(following.end(), Some(0));
    let all: String = (1..=250_000).map(|n| format!("{n:07}\n")).collect();
    let said = cluster.tepui(&["logs", &task]).with(0).out;
    assert!(said == "up\n".to_owned() + &all, "{} bytes", said.len());
}

// CT-10, FW-91, OB-32
#[test]
fn a_task_is_followed_and_said_something_to() {
    let cluster = cluster();
    let script = "echo before; while read line; do echo got $line; echo err >&2; done; exit 7";
    let task = detached(&cluster, &["--interactive"], script);
    let written = || cluster.tepui(&["logs", &task]).with(0).out;
    wait_for("the task to run", || {
        (written() == "before\n").then_some(())
    });
    let mut first = Open::start(&cluster, &["attach", "-i", &task]);
    first.say("one\n");
    assert_eq!(
        first.line(),
        "got one\n",
        "what was written before is not shown"
    );
    // Others may listen, and only one may speak.
    let mut listening = Open::start(&cluster, &["attach", &task]);
    let other = cluster.tepui(&["attach", "-i", &task]).with(125);
    other.says(&["somebody else is attached"]);
    first.say("two\n");
    assert_eq!(first.line(), "got two\n");
    // Who leaves leaves the task running, for the next.
    signal(first.child.id(), "TERM");
    assert_eq!(first.child.wait().unwrap().code(), Some(130));
    let mut second = wait_for("there is room again", || {
        let mut second = Open::start(&cluster, &["attach", "-i", &task]);
        second.say("three\n");
        (second.line() == "got three\n").then_some(second)
    });
    second.say("four\n");
    assert_eq!(second.line(), "got four\n");
    // The end of what is said is the end of what it reads, and its code is ours.
    assert_eq!(second.end(), Some(7));
    let mut last = String::new();
    loop {
        match listening.line() {
            line if line.is_empty() => break,
            line => last = line,
        }
    }
    assert_eq!(last, "got four\n");
    assert_eq!(listening.end(), Some(7));
    cluster
        .tepui(&["attach", &task])
        .with(3)
        .says(&["does not run here"]);
}

// CT-10, FW-91
#[test]
fn a_task_on_a_terminal_gets_keys_and_size() {
    let cluster = cluster();
    let script = "stty size; trap 'stty size; exit 5' WINCH; echo up; while :; do read line; done";
    let task = detached(&cluster, &["--tty"], script);
    let written = || cluster.tepui(&["logs", &task]).with(0).out;
    wait_for("the task to run", || {
        written().ends_with("up\r\n").then_some(())
    });
    assert_eq!(written(), "24 80\r\nup\r\n");
    // Without a terminal of our own it has the usual size, which is no change.
    let mut attached = Open::start(&cluster, &["attach", "-it", &task]);
    attached.say("\x03");
    let end = attached.child.wait().unwrap().code();
    assert_eq!(end, Some(130), "the key ends it, as on any terminal");
    // One that reads nothing cannot be said anything.
    let deaf = detached(&cluster, &[], "exec sleep 1000");
    let refused = wait_for("it runs", || {
        let asked = cluster.tepui(&["attach", "-i", &deaf]);
        (!asked.err.contains("does not run")).then_some(asked)
    });
    refused.with(2).says(&["it reads nothing"]);
}
