//! What operators see as it happens, end to end.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use common::{Cluster, Process, signal, wait_for};
use serde_json::Value;

const FLAGS: &[&str] = &["--process", "--resources", "cpus:4;mem:512"];

/// The events that were printed so far, whole lines only.
fn printed(process: &Process) -> Vec<Value> {
    let out = process.out();
    let whole = out.rfind('\n').map_or("", |end| &out[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The states of a task, in the order in which they were told.
fn states(events: &[Value]) -> Vec<&str> {
    let of_tasks = events.iter().filter(|event| event["kind"] == "task");
    let states = of_tasks.filter_map(|event| event["row"]["state"].as_str());
    let mut states: Vec<&str> = states.collect();
    states.dedup();
    states
}

// FW-92, I13
#[test]
fn what_happens_is_printed_and_goes_on_where_it_was() {
    let cluster = Cluster::start(FLAGS);
    let follow = Process::start(cluster.command(&["events", "--output", "json"]));
    // Whatever is said before it listens is not for it: so one after the other until it says some.
    wait_for("the first event", || {
        cluster.tepui(&["run", "--", "true"]).with(0);
        printed(&follow)
            .iter()
            .any(|event| event["row"]["state"] == "finished")
            .then_some(())
    });
    signal(follow.pid(), "INT");
    let ended = follow.end().with(130);
    let lines = ended.out.lines().map(serde_json::from_str);
    let first: Vec<Value> = lines.map(Result::unwrap).collect();
    let numbers = first.iter().map(|event| event["number"].as_u64().unwrap());
    let numbers: Vec<u64> = numbers.collect();
    let consecutive = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(consecutive, "{numbers:?}");

    // What happened meanwhile is there for who was away.
    cluster.tepui(&["run", "--", "false"]).with(1);
    let last = first.last().unwrap()["version"].as_str().unwrap();
    let again = Process::start(cluster.command(&["events", "-o", "json", "--after", last]));
    let events = wait_for("what was missed", || {
        let events = printed(&again);
        let failed = |event: &Value| event["row"]["state"] == "failed";
        events.iter().any(failed).then_some(events)
    });
    assert_eq!(events[0]["number"], numbers[numbers.len() - 1] + 1);
    let states = states(&events);
    assert_eq!(states.first(), Some(&"staging"), "{states:?}");
    for kind in ["framework", "offer", "task"] {
        let added = |event: &Value| event["kind"] == kind && event["event"] == "added";
        assert!(events.iter().any(added), "{kind}: {events:?}");
    }
    again.kill();

    // Of another master nothing is known, and lines for people are lines.
    let err = cluster.tepui(&["events", "--after", "99:1"]).with(3).err;
    assert!(err.contains("of another master"), "{err}");
    let err = cluster.tepui(&["events", "--after", "now"]).with(2).err;
    assert!(err.contains("EPOCH:NUMBER"), "{err}");
    let table = Process::start(cluster.command(&["events", "--after", last]));
    wait_for("lines", || {
        table.out().contains(" failed on ").then_some(())
    });
    table.kill();
}
