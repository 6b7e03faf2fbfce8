//! Quota and weights as operators set and see them, end to end.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use common::Cluster;
use serde_json::json;

const FLAGS: &[&str] = &["--process", "--resources", "cpus:4;mem:512"];

#[test]
fn quota_is_set_shown_kept_and_taken_away() {
    // RQ-12, RQ-13, RQ-17
    let cluster = Cluster::start(FLAGS);
    let titles = "ROLE   WEIGHT   FRAMEWORKS   SHARE   GUARANTEE   LIMIT   CONSUMED\n";
    assert_eq!(cluster.tepui(&["quota", "get"]).with(0).out, titles);

    let set = ["quota", "set", "ads/web", "--guarantee", "cpus:1"];
    let set = [&set[..], &["--limit", "cpus:1;gpus:0", "--no-headers"]].concat();
    let shown = cluster.tepui(&set).with(0).out;
    let cells: Vec<&str> = shown.split_whitespace().collect();
    let expected = ["ads/web", "1", "0", "0.0%", "cpus:1", "cpus:1;gpus:0", "-"];
    assert_eq!(cells, expected);

    // What is above the limit is not offered; what fits runs.
    let run = |cpus: &str| {
        let flags = ["run", "--role", "ads/web", "--mem", "32", "--cpus", cpus];
        cluster.tepui(&[&flags[..], &["--timeout", "2s", "--", "true"]].concat())
    };
    run("1").with(0);
    run("1.5").with(124);

    // A guarantee that nobody could keep is refused, unless it is forced.
    let too_much = ["quota", "set", "ads/web", "--guarantee", "cpus:5"];
    let refused = cluster.tepui(&too_much).with(1).err;
    let why = "5 of \"cpus\" would be guaranteed, and all agents have 4; --force";
    assert!(refused.contains(why), "{refused}");
    let unchanged = cluster.json(&["quota", "get", "ads/web"]);
    assert_eq!(unchanged[0]["guarantee"], json!({ "cpus": 1.0 }));
    assert_eq!(unchanged[0]["limit"], json!({ "cpus": 1.0, "gpus": 0.0 }));
    cluster
        .tepui(&[&too_much[..], &["--force"]].concat())
        .with(0);
    let forced = cluster.json(&["quota", "get", "ads/web"]);
    assert_eq!(forced[0]["guarantee"], json!({ "cpus": 5.0 }));
    // It stands in place of what was before: no limit was named.
    assert_eq!(forced[0]["limit"], json!({}));

    // What makes no sense is bad usage, in one line.
    let nonsense = ["quota", "set", "ads", "--limit", "cpus:1", "--force"];
    let refused = cluster.tepui(&nonsense).with(2).err;
    let why = "5 of \"cpus\" is promised in and below ads, whose limit is 1";
    assert!(refused.contains(why), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");

    let removed = cluster.tepui(&["quota", "remove", "ads/web"]).with(0).out;
    assert_eq!(removed, "ads/web\n");
    assert_eq!(cluster.json(&["quota", "get"]), json!([]));
    for gone in [["quota", "remove", "ads/web"], ["quota", "get", "ads/web"]] {
        let err = cluster.tepui(&gone).with(3).err;
        assert!(err.contains("role ads/web has no quota"), "{err}");
    }
}

#[test]
fn weights_are_set_together_and_roles_shown_as_a_tree() {
    // RQ-08, RQ-11
    let cluster = Cluster::start(FLAGS);
    let set = ["weight", "set", "ads/web=2.5", "ads=2", "-o", "name"];
    assert_eq!(cluster.tepui(&set).with(0).out, "role/ads\nrole/ads/web\n");
    let twice = ["weight", "set", "batch=3", "ads=1", "ads=2"];
    let err = cluster.tepui(&twice).with(2).err;
    assert!(err.contains("ads is named twice"), "{err}");
    let weights = cluster.json(&["role", "list"]);
    let weights: Vec<_> = weights.as_array().unwrap().iter().collect();
    let named: Vec<_> = weights
        .iter()
        .map(|it| (it["role"].as_str().unwrap(), it["weight"].as_f64().unwrap()))
        .collect();
    assert_eq!(named, [("ads", 2.0), ("ads/web", 2.5)]);
    let tree = cluster.tepui(&["role", "tree", "--no-headers"]).with(0).out;
    let names: Vec<_> = tree
        .lines()
        .map(|line| line.split("   ").next().unwrap())
        .collect();
    assert_eq!(names, ["ads", "  web"], "{tree}");
}
