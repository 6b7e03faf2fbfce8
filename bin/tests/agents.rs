//! How operators take agents out of service and give them up, end to end.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use common::{Cluster, wait_for};
use serde_json::{Value, json};

const FLAGS: &[&str] = &["--process", "--resources", "cpus:4;mem:512"];

#[test]
fn an_agent_is_deactivated_reactivated_and_given_up() {
    // SM-17, SM-19, TK-114
    let cluster = Cluster::start(FLAGS);
    let listed = cluster.json(&["agent", "list"]);
    assert_eq!(listed[0]["standing"], "active");
    let id = listed[0]["id"].as_str().unwrap();

    let off = cluster.json(&["agent", "deactivate", id]);
    assert_eq!(
        (&off[0]["id"], &off[0]["standing"]),
        (&json!(id), &json!("deactivated"))
    );
    let run = ["run", "--timeout", "2s", "--", "true"];
    cluster.tepui(&run).with(124);
    let on = cluster.tepui(&["agent", "reactivate", id, "--quiet"]);
    assert_eq!(on.with(0).out, format!("{id}\n"));
    cluster.tepui(&["run", "--", "true"]).with(0);

    for order in ["deactivate", "reactivate"] {
        let err = cluster.tepui(&["agent", order, "nobody"]).with(3).err;
        assert!(err.contains("no agent nobody; `tepui agent list`"), "{err}");
    }
    // It cannot be undone, and nobody is there to be asked.
    let err = cluster.tepui(&["agent", "gone", id]).with(2).err;
    assert!(err.contains("expected --yes"), "{err}");
    let gone = ["agent", "gone", id, "--yes"];
    for _ in 0..2 {
        assert_eq!(cluster.tepui(&gone).with(0).out, format!("{id}\n"));
    }
    wait_for("the agent to be gone", || {
        (cluster.json(&["agent", "list"]) == json!([])).then_some(())
    });
    cluster.tepui(&run).with(124);
}

#[test]
fn an_agent_is_drained() {
    // TK-124, TK-125, TK-126, TK-129, SM-43, FW-77
    let mut cluster = Cluster::start(FLAGS);
    let listed = cluster.json(&["agent", "list"]);
    assert_eq!(listed[0]["drain_since"], json!(null));
    let id = listed[0]["id"].as_str().unwrap();
    let flags = ["run", "--detach", "--", "sleep", "1000"];
    cluster.tepui(&flags).with(0);
    wait_for("the task to run", || {
        (cluster.json(&["ps"])[0]["state"] == "running").then_some(())
    });
    let drain = ["agent", "drain", id, "--deadline", "1s"];
    let shown = cluster.json(&drain);
    assert_eq!(shown[0]["standing"], "draining");
    let since = shown[0]["drain_since"].as_str().unwrap();
    let first = cluster.json(&["master"]);
    assert!(first[0]["elected_at"].as_str().unwrap() < since);
    cluster.kill_master();
    cluster.start_master();
    let second = cluster.json(&["master"]);
    assert_eq!(second[0]["address"], first[0]["address"]);
    let epoch = |of: &Value| of[0]["epoch"].as_u64().unwrap();
    assert_eq!(epoch(&second), epoch(&first) + 1);
    let began = second[0]["started_at"].as_str().unwrap();
    assert!(since < began && began <= second[0]["elected_at"].as_str().unwrap());
    cluster.wait_for_agent();
    let kept = cluster.json(&["agent", "list"]);
    assert_eq!(kept[0]["drain_since"], since);
    // Nobody confirms the end of a task whose framework is away: it is still called off.
    let on = cluster.json(&["agent", "reactivate", id]);
    assert_eq!(on[0]["standing"], "active");
    cluster.tepui(&["run", "--", "true"]).with(0);

    let err = cluster.tepui(&["agent", "drain", id, "--gone"]).with(2).err;
    assert!(err.contains("expected --yes"), "{err}");
    let err = cluster.tepui(&["agent", "drain", "nobody"]).with(3).err;
    assert!(err.contains("no agent nobody"), "{err}");
}

#[test]
fn an_agent_leaves_its_cluster_and_joins_as_another() {
    // AG-09, TK-112, PR-13, AG-17
    let mut cluster = Cluster::start(FLAGS);
    let id = cluster.json(&["agent", "list"])[0]["id"].clone();
    cluster
        .tepui(&["run", "--detach", "--", "sleep", "1000"])
        .with(0);
    wait_for("the task to run", || {
        (cluster.json(&["ps"])[0]["state"] == "running").then_some(())
    });
    cluster.agent_leaves().with(0);
    assert_eq!(cluster.json(&["agent", "list"]), json!([]));
    assert_eq!(cluster.json(&["ps"]), json!([]));
    cluster.start_agent(FLAGS);
    cluster.wait_for_agent();
    assert_ne!(cluster.json(&["agent", "list"])[0]["id"], id);
}
