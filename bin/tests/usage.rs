//! `tepui agent usage` on a cluster of real processes: what tasks in containers use, and who is
//! told.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use common::{Cluster, is_root_or_skip, wait_for};

const OWN: &[&str] = &["--resources", "cpus:4;mem:512"];
const PROCESS: &[&str] = &["--process", "--resources", "cpus:4;mem:512"];

/// Starts a task, and returns its id and that of its agent.
fn task(cluster: &Cluster, script: &str) -> (String, String) {
    let args = ["run", "--detach", "--quiet", "--cpus", "1", "--mem", "64"];
    let run = [&args[..], &["--", "sh", "-c", script]].concat();
    let task = cluster.tepui(&run).with(0).out.trim().to_owned();
    let agents = cluster.json(&["agent", "list"]);
    (task, agents[0]["id"].as_str().unwrap().to_owned())
}

// CT-27, CT-28, CT-78 to CT-80
#[test]
fn operators_see_what_containers_use() {
    if !is_root_or_skip("what containers use") {
        return;
    }
    let mut cluster = Cluster::start(OWN);
    let (busy, agent) = task(&cluster, "while :; do :; done");
    let (idle, _) = task(&cluster, "sleep 1000");
    let usage = ["agent", "usage", &agent, "--interval", "300ms"];
    wait_for("one to be busy and one to be idle", || {
        let all = cluster.json(&usage);
        let of = |task: &str| {
            let mut all = all.as_array().unwrap().iter();
            all.find(|one| one["task"] == task).cloned()
        };
        let (busy, idle) = (of(&busy)?, of(&idle)?);
        let numbers = &busy["statistics"];
        assert_eq!(numbers["mem_limit_bytes"], 64 << 20);
        assert_eq!(numbers["cpus_limit"], 1.0);
        assert!(numbers["mem_total_bytes"].as_u64().unwrap() > 0);
        assert!(numbers["threads"].as_u64() >= numbers["processes"].as_u64());
        assert!(busy["framework"].is_string() && busy["executor"].is_null());
        let (much, little) = (busy["cpus"].as_f64()?, idle["cpus"].as_f64()?);
        assert!(much <= 1.2, "it may have one core, and has used {much}");
        (much > 0.05 && little < much).then_some(())
    });
    let table = cluster.tepui(&usage).with(0).out;
    let head = table.lines().next().unwrap();
    assert!(
        head.starts_with("TASK") && head.contains("RECEIVED"),
        "{head}"
    );
    assert!(
        table.contains(&busy) && table.contains("64.0 MiB"),
        "{table}"
    );
    let unknown = cluster.tepui(&["agent", "usage", "nobody"]);
    unknown
        .with(3)
        .says(&["no agent nobody", "tepui agent list"]);
    // With all that it runs.
    cluster.agent_leaves().with(0);
}

#[test]
fn nobody_counts_what_plain_processes_use() {
    let cluster = Cluster::start(PROCESS);
    let (_, agent) = task(&cluster, "sleep 1000");
    let told = cluster.tepui(&["agent", "usage", &agent]);
    told.with(1).says(&["is counted by nobody"]);
}
