//! `tepui run --group`: tasks of a file, through a whole cluster.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::io::Write;
use std::process::Command;

use common::{Dir, TEPUI, command, run};
use tepui::isolation::Mode;

/// Returns a run of a file, in a directory that is kept by the caller.
fn group(dir: &Dir, flags: &[&str], text: &str) -> Command {
    let file = dir.path().join("group.json");
    std::fs::write(&file, text).unwrap();
    let mut tepui = command(TEPUI);
    tepui.env("TMPDIR", dir.path()).arg("run").args(flags);
    tepui.args(["--timeout", "60s", "--group", file.to_str().unwrap()]);
    tepui
}

// TK-91, CT-45: tasks of one group run at the same time, and share what they ask to share.
#[test]
fn tasks_of_a_file_run_together_and_each_line_has_its_name() {
    let detected = Mode::detect();
    if detected.mode != Mode::Container {
        let why = detected.reason;
        writeln!(std::io::stderr(), "skipped: a group of a file: {why}").unwrap();
        return;
    }
    let dir = Dir::new();
    let left = "echo word > common/l; until cat /dev/shm/r 2> /dev/null; do sleep 0.02; done";
    let right = "until cat common/l 2> /dev/null; do sleep 0.02; done; echo to you >&2; \
                 echo $SAID > /dev/shm/r.new; mv /dev/shm/r.new /dev/shm/r";
    let text = serde_json::json!({ "tasks": [
        { "name": "left", "shared": ["common"], "shared_memory": true, "cpus": 0.1, "mem": 32,
          "command": left },
        { "name": "right", "shared": ["common"], "shared_memory": true, "cpus": 0.1, "mem": 32,
          "env": { "SAID": "answer" }, "command": ["sh", "-c", right] },
    ] });
    let ended = run(group(&dir, &["--quiet"], &text.to_string())).with(0);
    let mut lines: Vec<&str> = ended.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["left: answer", "right: word"]);
    assert_eq!(ended.err, "right: to you\n");
}

// TK-91: the one that failed decides, not those that are killed because of it.
#[test]
fn the_first_failure_is_the_exit_code() {
    let dir = Dir::new();
    let started = dir.path().join("started");
    let started = started.to_str().unwrap();
    let text = serde_json::json!({ "tasks": [
        { "name": "sleeper", "command": format!("touch {started}; exec sleep 1000"),
          "cpus": 0.1, "mem": "32M" },
        { "name": "bad", "cpus": 0.1, "mem": "32M",
          "command": format!("until [ -e {started} ]; do sleep 0.02; done; echo bye; exit 7") },
    ] });
    let ended = run(group(&dir, &["--json", "--process"], &text.to_string())).with(7);
    let steps: Vec<serde_json::Value> = ended
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = |name: &str| {
        let of_it = |step: &&serde_json::Value| {
            let id = step["task"].as_str().unwrap_or_default();
            step["event"] == "task" && id.ends_with(name)
        };
        steps.iter().rfind(of_it).unwrap()
    };
    assert_eq!(last("-bad")["exit"]["code"], 7);
    assert_eq!(last("-bad")["state"], "failed");
    assert_eq!(last("-sleeper")["state"], "killed");
    assert_eq!(last("-sleeper")["exit"]["signal"], 15);
    assert!(steps.iter().any(|step| step["text"] == "bye\n"));
    assert_eq!(
        *steps.last().unwrap(),
        serde_json::json!({ "event": "exit", "code": 7 })
    );
}

// VA-32
#[test]
fn a_file_that_cannot_be_used_is_refused_in_one_line() {
    let dir = Dir::new();
    let ended = |text: &str, more: &[&str]| run(group(&dir, more, text)).with(2);
    let one = r#"{ "tasks": [ { "name": "a", "command": "true" } ] }"#;
    let unknown = one.replace("command", "comand");
    for (text, more, expected) in [
        ("{ \"tasks\": 5 }", [].as_slice(), "expected a sequence"),
        (&unknown, &[], "unknown field \"comand\""),
        ("{ \"tasks\": [] }", &[], "it has 0 tasks; expected 1 to"),
        (one, &["--cpus", "1"], "cannot go together with"),
        (one, &["--image", "x"], "cannot go together with"),
        (one, &["--volume", "x"], "cannot go together with"),
        (one, &["--health-tcp", "5"], "cannot go together with"),
    ] {
        let ended = ended(text, more);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        assert!(ended.err.contains(expected), "{text}: {}", ended.err);
        assert!(ended.err.contains("--group"), "{}", ended.err);
        let flag = more.first().copied().unwrap_or_default();
        assert!(ended.err.contains(flag), "{}", ended.err);
    }
    let mut missing = command(TEPUI);
    missing.args(["run", "--group", "/nowhere/pair.json"]);
    let ended = run(missing).with(2);
    let expected = "--group \"/nowhere/pair.json\": No such file or directory";
    assert!(ended.err.contains(expected), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    // What has no end is not read to its end.
    let mut endless = command(TEPUI);
    endless.args(["run", "--group", "/dev/zero"]);
    let ended = run(endless).with(2);
    assert!(ended.err.contains("expected at most"), "{}", ended.err);
    let mut both = group(&dir, &[], one);
    both.args(["--", "true"]);
    let ended = run(both).with(2);
    assert!(ended.err.contains("cannot go together"), "{}", ended.err);
}
