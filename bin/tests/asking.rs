//! Tasks that ask for more of their containers, through a whole cluster.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::io::Write;

use common::{Dir, command, run};
use tepui::isolation::Mode;

fn can_contain() -> bool {
    let detected = Mode::detect();
    let is_possible = detected.mode == Mode::Container;
    if !is_possible {
        let why = detected.reason;
        let told = writeln!(std::io::stderr(), "skipped: asking for containers: {why}");
        told.unwrap();
    }
    is_possible
}

// CT-44, CT-45, AG-49
#[test]
fn a_task_sees_its_volumes_and_what_was_fetched() {
    if !can_contain() {
        return;
    }
    let (dir, given) = (Dir::new(), Dir::new());
    std::fs::write(given.path().join("file"), "given\n").unwrap();
    let mut tepui = command(common::TEPUI);
    tepui.env("TMPDIR", dir.path()).args(["run", "--quiet"]);
    let (volume, uri) = (format!("{}:in:ro", given.text()), given.path().join("file"));
    tepui.args(["--volume", &volume, "--volume", "own"]);
    tepui.args(["--uri", uri.to_str().unwrap()]);
    let script = "cat in/file file; echo x > own/y && cat own/y; touch in/z 2> /dev/null || exit 9";
    tepui.args(["--", "sh", "-c", script]);
    let ended = run(tepui).with(9);
    assert_eq!(ended.out, "given\ngiven\nx\n");
    assert!(!given.path().join("z").exists());
}

// TK-39
#[test]
fn what_an_agent_does_not_give_is_said() {
    if !can_contain() {
        return;
    }
    for (flags, why) in [
        (
            ["--network", "none"],
            "it asks for the network \"none\", and this agent has none",
        ),
        (["--image", "app:1"], "images: "),
        (["--uri", "/nowhere/at/all"], "fetch: "),
    ] {
        let dir = Dir::new();
        let mut tepui = command(common::TEPUI);
        tepui.env("TMPDIR", dir.path()).arg("run").args(flags);
        tepui.args(["--", "true"]);
        let ended = run(tepui).with(125);
        assert!(ended.err.contains(why), "{flags:?}: {}", ended.err);
    }
}
