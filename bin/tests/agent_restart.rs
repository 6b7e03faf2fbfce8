//! What runs goes on when the agent or the master is killed, and its real end is told.
//!
//! The tests decide when a task ends: it waits for a file to appear.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics, and says why it skips"
)]

mod common;

use std::io::Read;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Stdio;

use common::{Cluster, NO_PROCESS, Process, processes_about, task_of, wait_for};

/// A task that says hello and ends with code 7 when it is told to.
struct Task {
    run: Process,
    gate: PathBuf,
}

impl Task {
    fn start(cluster: &Cluster) -> Self {
        let gate = cluster.dir.join("gate");
        let gate_text = gate.to_str().expect("a path in UTF-8");
        // It polls, for it must not be a child of the test's.
        let script = "echo up; until [ -e $GATE ]; do sleep 0.05; done; echo over; exit 7";
        let variable = format!("GATE={gate_text}");
        let args = ["--env", &variable, "--", "sh", "-c", script];
        let run = cluster.start_run(&args);
        wait_for("the task's output", || (run.out() == "up\n").then_some(()));
        Self { run, gate }
    }

    fn id(&self) -> String {
        task_of(&self.run.err()).to_owned()
    }

    /// Lets it end.
    fn release(&self) {
        std::fs::write(&self.gate, "").expect("its directory is there");
    }

    /// Returns the processes of the task.
    fn processes(&self) -> Vec<u32> {
        let variable = format!("GATE={}", self.gate.display());
        let mut found = processes_about(&variable);
        // The command line of the run names it as well.
        found.retain(|pid| *pid != self.run.pid());
        found
    }

    fn ends_with_its_code(self) {
        let id = self.id();
        let ended = self.run.end();
        ended.says(&[&format!("tepui: task {id} failed: exit code 7")]);
        let ended = ended.with(7);
        assert_eq!(ended.out, "up\nover\n");
    }
}

#[test]
fn a_task_that_ends_while_no_agent_runs_gives_its_real_exit_code() {
    // AG-15
    let mut cluster = Cluster::start(&[]);
    let task = Task::start(&cluster);
    cluster.kill_agent();
    assert_ne!(task.processes(), NO_PROCESS, "it goes on without its agent");
    task.release();
    wait_for("the task to end", || {
        task.processes().is_empty().then_some(())
    });
    cluster.start_agent(&[]);
    task.ends_with_its_code();
    assert_eq!(cluster.json(&["ps"]), serde_json::json!([]));
}

#[test]
fn a_task_goes_on_across_a_restart_of_its_agent() {
    // AG-15
    let mut cluster = Cluster::start(&[]);
    let task = Task::start(&cluster);
    let before = cluster.json(&["agent", "list"])[0]["id"].clone();
    cluster.kill_agent();
    wait_for("the master to notice", || {
        let agents = cluster.json(&["agent", "list"]);
        (agents[0]["connected"] == false).then_some(())
    });
    cluster.start_agent(&[]);
    wait_for("the agent to come back", || {
        let agents = cluster.json(&["agent", "list"]);
        (agents[0]["connected"] == true).then_some(())
    });
    assert_eq!(cluster.json(&["agent", "list"])[0]["id"], before);
    assert_eq!(cluster.json(&["ps"])[0]["state"], "running");
    assert_ne!(task.processes(), NO_PROCESS);
    task.release();
    task.ends_with_its_code();
}

#[test]
fn a_reader_finds_an_agent_again_that_listens_on_any_port() {
    // AG-15
    let mut cluster = Cluster::start_at("127.0.0.1:0".into(), &[]);
    let address = |cluster: &Cluster| cluster.json(&["agent", "list"])[0]["address"].clone();
    let before = address(&cluster);
    assert!(before.is_string(), "{before}");
    let task = Task::start(&cluster);
    cluster.kill_agent();
    cluster.start_agent(&[]);
    wait_for("the agent to come back", || {
        let agents = cluster.json(&["agent", "list"]);
        (agents[0]["connected"] == true).then_some(())
    });
    task.release();
    // With all its output, and its own code.
    task.ends_with_its_code();
    assert_eq!(address(&cluster), before);
}

#[test]
fn an_agent_whose_port_is_taken_listens_on_another() {
    let mut cluster = Cluster::start_at("127.0.0.1:0".into(), &[]);
    let address = |cluster: &Cluster| {
        let agents = cluster.json(&["agent", "list"]);
        agents[0]["address"].as_str().unwrap().to_owned()
    };
    let before = address(&cluster);
    cluster.kill_agent();
    let _taken = UdpSocket::bind(&before).unwrap();
    cluster.start_agent(&[]);
    wait_for("the agent to come back", || {
        (address(&cluster) != before).then_some(())
    });
    let ended = cluster.tepui(&["run", "--", "echo", "read"]).with(0);
    assert_eq!(ended.out, "read\n");
}

#[test]
fn a_task_can_be_killed_after_a_restart_of_its_agent() {
    let mut cluster = Cluster::start(&[]);
    let task = Task::start(&cluster);
    cluster.kill_agent();
    cluster.start_agent(&[]);
    wait_for("the agent to come back", || {
        let agents = cluster.json(&["agent", "list"]);
        (agents[0]["connected"] == true).then_some(())
    });
    let id = task.id();
    cluster.tepui(&["kill", &id]).with(0);
    wait_for("all of it to be gone", || {
        task.processes().is_empty().then_some(())
    });
    task.run.end().says(&[&format!("tepui: task {id} killed")]);
}

#[test]
fn a_master_that_was_killed_comes_back_to_its_tasks() {
    let mut cluster = Cluster::start(&[]);
    let task = Task::start(&cluster);
    cluster.kill_master();
    assert_ne!(task.processes(), NO_PROCESS, "it goes on without a master");
    cluster.start_master();
    cluster.wait_for_agent();
    task.release();
    task.ends_with_its_code();
}

#[test]
fn a_run_whose_output_nobody_reads_keeps_its_framework() {
    let mut cluster = Cluster::start(&[]);
    let script = "head -c 1000000 /dev/zero; sleep 600";
    let mut run = cluster.command(&["run", "--", "sh", "-c", script]);
    run.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut run = run.spawn().unwrap();
    // From the first byte on more follow, until the pipe is full.
    let mut pipe = run.stdout.take().unwrap();
    pipe.read_exact(&mut [0]).unwrap();
    cluster.kill_master();
    cluster.start_master();
    wait_for("the framework to come back", || {
        let frameworks = cluster.json(&["framework", "list"]);
        (frameworks[0]["connected"] == true).then_some(())
    });
    wait_for("the agent to tell of the task", || {
        (cluster.json(&["ps"])[0]["state"] == "running").then_some(())
    });
    // Whoever reads in the end gets all of it.
    let mut rest = vec![0; 999_999];
    pipe.read_exact(&mut rest).unwrap();
    common::signal(run.id(), "INT");
    assert_eq!(run.wait().unwrap().code(), Some(130));
}

#[test]
fn a_task_that_ends_while_no_master_runs_gives_its_real_exit_code() {
    let mut cluster = Cluster::start(&[]);
    let task = Task::start(&cluster);
    cluster.kill_master();
    task.release();
    wait_for("the task to end", || {
        task.processes().is_empty().then_some(())
    });
    cluster.start_master();
    task.ends_with_its_code();
}
