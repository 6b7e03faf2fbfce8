//! How operators plan maintenance, take machines down and up, end frameworks, and see why one is
//! not offered an agent, end to end.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::fs;

use common::{Cluster, wait_for};
use serde_json::{Value, json};

const FLAGS: &[&str] = &[
    "--process",
    "--hostname",
    "host-1",
    "--resources",
    "cpus:4;mem:512",
];

impl Cluster {
    /// Writes a schedule, and returns the path of its file.
    fn schedule(&self, text: &str) -> String {
        let path = self.dir.join("schedule.json");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn running(cluster: &Cluster) {
    let flags = ["run", "--detach", "--mem", "32", "--", "sleep", "1000"];
    cluster.tepui(&flags).with(0);
    wait_for("the task to run", || {
        (cluster.json(&["ps"])[0]["state"] == "running").then_some(())
    });
}

#[test]
fn a_machine_is_scheduled_taken_down_and_brought_up() {
    // TK-117 to TK-122, SM-37 to SM-40, FW-82, FW-83
    let mut cluster = Cluster::start(FLAGS);
    let before = cluster.json(&["agent", "list"])[0]["id"].clone();
    running(&cluster);
    assert_eq!(cluster.json(&["maintenance", "schedule"]), json!([]));

    let text = r#"[{"machines": ["HOST-1"], "start": "2126-12-01T20:00:00Z", "duration": "2h"}]"#;
    let file = cluster.schedule(text);
    let set = cluster.json(&["maintenance", "set", &file]);
    assert_eq!(
        (&set[0]["machine"], &set[0]["mode"]),
        (&json!("host-1"), &json!("draining"))
    );
    assert_eq!(
        (&set[0]["agents"], &set[0]["duration_seconds"]),
        (&json!(1), &json!(7200.0))
    );
    // What is printed can be posted again, and changes nothing.
    let shown = cluster.json(&["maintenance", "schedule"]);
    assert_eq!(shown[0]["machines"], json!(["host-1"]));
    assert_eq!(shown[0]["start"], "2126-12-01T20:00:00.000000Z");
    let file = cluster.schedule(&shown.to_string());
    assert_eq!(cluster.json(&["maintenance", "set", &file]), set);
    // Nothing is ended, and new tasks still start.
    cluster.tepui(&["run", "--mem", "32", "--", "true"]).with(0);
    assert_eq!(cluster.json(&["ps"])[0]["state"], "running");
    let agent = before.as_str().unwrap();
    let err = cluster.tepui(&["agent", "drain", agent]).with(1).err;
    assert!(err.contains("is in the maintenance schedule"), "{err}");

    let down = ["maintenance", "down", "host-1"];
    let err = cluster.tepui(&down).with(2).err;
    assert!(err.contains("expected --yes"), "{err}");
    let err = cluster.tepui(&["maintenance", "up", "host-1"]).with(1).err;
    assert!(
        err.contains("machine host-1 is draining, and has to be down"),
        "{err}"
    );
    let shown = cluster.json(&[&down[..], &["--yes"]].concat());
    assert_eq!(
        (&shown[0]["mode"], &shown[0]["agents"]),
        (&json!("down"), &json!(0))
    );
    // Its task is there until the agent says that it is over.
    wait_for("the end of the task", || {
        (cluster.json(&["ps"]) == json!([])).then_some(())
    });
    let ended = cluster.agent_ends();
    assert!(
        ended.err.contains("the master has shut agent"),
        "{}",
        ended.err
    );
    let empty = cluster.schedule("[]");
    let err = cluster.tepui(&["maintenance", "set", &empty]).with(1).err;
    assert!(
        err.contains("machine host-1 is down, and has to stay"),
        "{err}"
    );

    // An agent that is started there waits until the machine is up, and is another one.
    cluster.start_agent(FLAGS);
    cluster.agent_says("down for maintenance");
    assert_eq!(cluster.json(&["agent", "list"]), json!([]));
    let up = cluster.json(&["maintenance", "up", "host-1"]);
    assert_eq!(up, json!([]));
    cluster.wait_for_agent();
    assert_ne!(cluster.json(&["agent", "list"])[0]["id"], before);
    cluster.tepui(&["run", "--mem", "32", "--", "true"]).with(0);
}

#[test]
fn bad_schedules_are_refused_in_one_line() {
    // VA-26
    let cluster = Cluster::start(FLAGS);
    let start = "2126-12-01T20:00:00Z";
    for (text, expected) in [
        ("{}".to_owned(), "invalid type: map, expected a sequence"),
        (
            "[{\"machines\": [\"a\"]}]".to_owned(),
            "missing field `start`",
        ),
        (
            format!(r#"[{{"machines": [], "start": "{start}"}}]"#),
            "a window names no machine",
        ),
        (
            format!(r#"[{{"machines": ["a", "A"], "start": "{start}"}}]"#),
            "machine a is named twice",
        ),
        (
            format!(r#"[{{"machines": ["a"], "start": "{start}", "duration": "-1s"}}]"#),
            "window 1: duration: \"-1s\": ",
        ),
        (
            format!(r#"[{{"machines": ["a/1.2.3"], "start": "{start}"}}]"#),
            "window 1: machines: \"a/1.2.3\": invalid IP address syntax",
        ),
    ] {
        let file = cluster.schedule(&text);
        let ended = cluster.tepui(&["maintenance", "set", &file]).with(2);
        assert!(ended.err.contains(expected), "{expected}: {}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    }
    assert_eq!(cluster.json(&["maintenance", "status"]), json!([]));
}

#[test]
fn a_framework_is_explained_and_ended() {
    // FW-32, FW-74
    let cluster = Cluster::start(FLAGS);
    running(&cluster);
    let frameworks = cluster.json(&["framework", "list"]);
    let id = frameworks[0]["id"].as_str().unwrap();
    let obstacle = |shown: &Value| shown[0]["obstacle"].as_str().map(str::to_owned);
    let away = Some("framework-inactive".to_owned());
    assert_eq!(obstacle(&cluster.json(&["explain", id])), away);
    assert_eq!(
        obstacle(&cluster.json(&["explain", id, "--role", "*"])),
        away
    );
    let err = cluster.tepui(&["explain", id, "--role", "ads"]).with(3).err;
    assert!(err.contains("is not in role ads"), "{err}");
    let err = cluster.tepui(&["explain", "nobody"]).with(3).err;
    assert!(
        err.contains("no framework nobody; `tepui framework list`"),
        "{err}"
    );

    let teardown = ["framework", "teardown", id];
    let err = cluster.tepui(&teardown).with(2).err;
    assert!(err.contains("expected --yes"), "{err}");
    let yes = [&teardown[..], &["--yes"]].concat();
    assert_eq!(cluster.tepui(&yes).with(0).out, format!("{id}\n"));
    wait_for("the task ends with its framework", || {
        (cluster.json(&["ps"]) == json!([])).then_some(())
    });
    let ended = cluster.json(&["framework", "ended"]);
    assert_eq!(
        (&ended[0]["id"], &ended[0]["reason"]),
        (&json!(id), &json!("torn-down"))
    );
    let err = cluster.tepui(&yes).with(3).err;
    assert!(err.contains("is over: torn-down"), "{err}");
}
