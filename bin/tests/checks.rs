//! Tasks whose health is checked, end to end: with real daemons, tasks and servers.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use common::{Cluster, Process, is_root_or_skip, wait_for};
use serde_json::Value;

const OWN: &[&str] = &["--resources", "cpus:4;mem:512"];
const PROCESS: &[&str] = &["--process", "--resources", "cpus:4;mem:512"];

/// Why such a task has failed.
const REASON: &str = "task-health-check-status-updated";

/// Checks that begin at once and follow each other quickly.
const OFTEN: [&str; 4] = [
    "--health-delay=0s",
    "--health-interval=100ms",
    "--health-grace=0s",
    "--health-failures=3",
];

/// The ways to run tasks that there are here.
fn clusters() -> impl Iterator<Item = (Cluster, &'static [&'static str])> {
    let own = is_root_or_skip("checks of tasks in containers").then_some(OWN);
    let all = [Some(PROCESS), own].into_iter().flatten();
    all.map(|flags| (Cluster::start(flags), flags))
}

/// A server whose status can be changed, and which counts.
struct Server {
    port: u16,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicU32>,
}

impl Server {
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let status = Arc::new(AtomicU16::new(status));
        let asked = Arc::new(AtomicU32::new(0));
        let (says, counts) = (Arc::clone(&status), Arc::clone(&asked));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let read = stream.read(&mut [0; 4096]).unwrap_or_default();
                counts.fetch_add(u32::from(read > 0), Ordering::SeqCst);
                let status = says.load(Ordering::SeqCst);
                // One that was given up meanwhile is not there any more.
                let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
            }
        });
        Self {
            port,
            status,
            asked,
        }
    }

    /// Waits until it was asked again.
    fn is_asked_again(&self) {
        let before = self.asked.load(Ordering::SeqCst);
        wait_for("the next check", || {
            (self.asked.load(Ordering::SeqCst) > before + 1).then_some(())
        });
    }
}

/// Starts a task that is checked, and stays to hear of it.
fn start(cluster: &Cluster, check: &str) -> Process {
    let task = ["--kill-grace=0s", "--", "sleep", "1000"];
    cluster.start_run(&[&[check][..], &OFTEN, &task].concat())
}

/// Waits until the only task is like this.
fn task(cluster: &Cluster, what: &str, is_so: impl Fn(&Value) -> bool) {
    wait_for(what, || {
        let tasks = cluster.json(&["ps", "--all"]);
        is_so(&tasks[0]).then_some(())
    });
}

#[test]
fn a_task_is_healthy_as_long_as_its_server_says_so_and_then_has_failed() {
    // TK-95, TK-96, TK-97, TK-100
    for (mut cluster, flags) in clusters() {
        let server = Server::start(200);
        let run = start(&cluster, &format!("--health-http={}/up", server.port));
        let is_healthy = |cluster: &Cluster| {
            task(cluster, "what is known of its health", |task| {
                task["healthy"] == true && task["state"] == "running"
            });
        };
        is_healthy(&cluster);
        let wide = cluster.tepui(&["ps", "-o", "wide"]).with(0).out;
        assert!(wide.contains("HEALTHY") && wide.contains("yes"), "{wide}");
        // An agent that is away for a while does no harm.
        server.is_asked_again();
        cluster.kill_agent();
        cluster.start_agent(flags);
        cluster.wait_for_agent();
        server.is_asked_again();
        is_healthy(&cluster);
        server.status.store(503, Ordering::SeqCst);
        ends_unhealthy(run, "it was answered by 503");
    }
}

/// Waits for the end of a task, which has failed for it was not healthy.
#[track_caller]
fn ends_unhealthy(run: Process, outcome: &str) {
    let ended = run.end();
    assert_ne!(ended.code, Some(0), "{}", ended.err);
    let why = format!("3 of 3 in a row: {outcome}");
    // tepui: task ID STATE REASON...
    let is_it = |line: &str| {
        let state = line.split_whitespace().nth(3);
        state.is_some_and(|state| state.starts_with("failed"))
            && line.contains(REASON)
            && line.contains(&why)
    };
    assert!(ended.err.lines().any(is_it), "{}", ended.err);
}

#[test]
fn a_task_that_was_never_healthy_is_killed() {
    // TK-95, TK-96, TK-97
    for (cluster, _) in clusters() {
        // Nobody who could be a task's server has that port.
        let run = start(&cluster, "--health-tcp=1");
        ends_unhealthy(run, "the connection was not accepted");
    }
}

#[test]
fn a_command_says_whether_a_task_is_healthy() {
    // TK-96, TK-97, TK-99
    for (cluster, _) in clusters() {
        let sick = cluster.dir.join("sick");
        let run = start(
            &cluster,
            &format!("--health-cmd=test ! -e {}", sick.display()),
        );
        task(&cluster, "what is known of its health", |task| {
            task["healthy"] == true
        });
        std::fs::write(sick, "").unwrap();
        ends_unhealthy(run, "it ended with exit code 1");
    }
}
