//! `tepui agent usage` on a cluster of real processes: what tasks in containers use, and who is
//! told.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::time::Duration;

use common::{Cluster, is_root_or_skip, wait_for};
use tepui::client::Event;
use tepui::core::ids::ExecutorId;
use tepui::core::protocol::offer::Operation;
use tepui::core::protocol::task::ExecutorInfo;
use tepui::prelude::*;

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

// TK-94, AG-37
#[test]
fn what_an_executor_may_use_grows_and_shrinks_with_its_tasks() {
    if !is_root_or_skip("what containers use") {
        return;
    }
    let mut cluster = Cluster::start(OWN);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let target = Target {
        master: cluster.address.clone(),
        tls_dir: cluster.tls.clone(),
    };
    let connecting = Framework::builder("executors").connect(&target);
    let (handle, mut events) = runtime.block_on(connecting).unwrap();
    // It never says anything, and its tasks wait for it.
    let executor = ExecutorInfo::new(
        ExecutorId::new("silent").unwrap(),
        Resources::parse("cpus:0.1;mem:32").unwrap(),
        CommandInfo::shell("sleep 1000"),
    );
    let room = "cpus:0.1;mem:48;disk:8";
    let launch = |name: &str, events: &mut tepui::client::Events| {
        let next = async { tokio::time::timeout(common::DEADLINE, events.next()).await };
        let event = runtime.block_on(next).expect("an event in time").unwrap();
        let Event::Offers(mut offers) = event else {
            return false;
        };
        let offer = offers.pop().unwrap();
        let id = TaskId::new(name).unwrap();
        let want = Resources::parse(room).unwrap();
        let task = TaskInfo {
            executor: Some(executor.clone()),
            command: None,
            ..offer.task(id, want, CommandInfo::default())
        };
        let launch = Operation::Launch(vec![task]);
        offer.accept(vec![launch], Some(Duration::ZERO)).is_ok()
    };
    let agents = cluster.json(&["agent", "list"]);
    let agent = agents[0]["id"].as_str().unwrap().to_owned();
    let has_memory = |mebibytes: u64| {
        let usage = ["agent", "usage", &agent];
        wait_for("the executor to have its memory", || {
            let all = cluster.json(&usage);
            let mut all = all.as_array().unwrap().iter();
            let own = all.find(|one| one["executor"] == "silent");
            let own = own?;
            (own["statistics"]["mem_limit_bytes"] == mebibytes << 20).then_some(())
        });
    };
    while !launch("one", &mut events) {}
    has_memory(32 + 48);
    while !launch("two", &mut events) {}
    has_memory(32 + 48 + 48);
    handle.kill(TaskId::new("two").unwrap(), None);
    has_memory(32 + 48);
    cluster.agent_leaves().with(0);
}
