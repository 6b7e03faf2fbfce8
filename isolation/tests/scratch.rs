//! The isolator of `examples/scratch`, which is of another crate, for real: what an isolator can do
//! with what is public.

#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "common/mod.rs"]
mod common;
#[path = "../examples/scratch/isolator.rs"]
mod scratch;

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;

use common::{Agent, PATIENCE, config, id, sh, skipped};
use scratch::Scratch;
use tepui_core::protocol::container::ContainerCommand;
use tepui_core::protocol::status::{Exit, Limited};
use tepui_isolation::{Containerizer, Init, Isolator, Launch, Mode, Outcome, Subject};

fn start(dir: &Path, more: Option<Box<dyn Isolator>>) -> Option<Agent> {
    let detected = Mode::detect();
    if detected.mode != Mode::Container || !detected.unenforced.is_empty() {
        skipped(&detected.reason);
        return None;
    }
    let scratch = Scratch {
        directory: dir.join("scratch"),
        accounts: dir.join("accounts"),
        most: 4,
    };
    let mut isolators: Vec<Box<dyn Isolator>> = vec![Box::new(scratch)];
    isolators.extend(more);
    Some(Agent::isolated(config(dir, Mode::Container), isolators))
}

fn used(containerizer: &Containerizer, n: u64) -> Option<u64> {
    let (answer, answered) = channel();
    containerizer.usage(&id(n), move |usage| answer.send(usage).unwrap());
    let usage = answered.recv_timeout(PATIENCE).unwrap()?;
    usage.get("scratch.disk_bytes").copied()
}

// CT-04, CT-12
#[test]
fn a_container_has_a_directory_of_its_own_as_long_as_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let Some(agent) = start(dir.path(), None) else {
        return;
    };
    let script = "head -c 1000000 /dev/zero > $SCRATCH/file && echo up; \
                  until [ -e go ]; do sleep 0.05; done; ls scratch";
    agent.launch(&id(1), sh(script));
    let pid = agent.started();
    agent.line(&id(1), "stdout");
    // It was there before the program was.
    let accounts = fs::read_to_string(dir.path().join("accounts")).unwrap();
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(accounts, format!("c000001 {pid} {}\n", host.display()));
    let containerizer = agent.containerizer.as_ref().unwrap();
    let bytes = used(containerizer, 1).unwrap();
    assert!((1_000_000..2_000_000).contains(&bytes), "{bytes}");
    assert_eq!(used(containerizer, 2), None);
    let own = dir.path().join("scratch/c000001");
    assert!(own.join("file").exists());
    // An agent that comes after this one finds it.
    agent.detach();
    let agent = start(dir.path(), None).unwrap();
    agent.recover(&[id(1)]);
    assert!(own.join("file").exists());
    fs::write(dir.path().join("sandboxes/c000001/go"), "").unwrap();
    assert_eq!(agent.exited().0, Exit::Code(0));
    assert_eq!(agent.file(&id(1), "stdout"), "up\nfile\n");
    assert!(!own.exists());
    agent.shutdown();
}

// TK-40, CT-12
#[test]
fn who_puts_too_much_into_it_is_ended_for_that() {
    let dir = tempfile::tempdir().unwrap();
    let Some(agent) = start(dir.path(), None) else {
        return;
    };
    let script = "head -c 8000000 /dev/zero > $SCRATCH/file; sync $SCRATCH/file; sleep 1000";
    agent.launch(&id(1), sh(script));
    agent.started();
    let (exit, breach) = agent.exited();
    assert_eq!(exit, Exit::Signal(9));
    assert_eq!(breach.unwrap().resource, Limited::Disk);
    agent.shutdown();
}

/// Keeps containers from starting.
struct Refuses;

impl Isolator for Refuses {
    fn name(&self) -> &str {
        "refuses"
    }

    fn prepare(&self, _: &Subject<'_>, _: &mut Launch) -> Outcome<()> {
        Ok(())
    }

    fn attach(&self, _: &Subject<'_>, _: &Init) -> Outcome<()> {
        Err("not today".into())
    }

    fn attaches(&self, _: &tepui_core::protocol::container::ContainerSpec) -> bool {
        true
    }
}

// CT-04: a program that is held never runs if that is not wanted
#[test]
fn what_cannot_be_attached_to_never_runs() {
    let dir = tempfile::tempdir().unwrap();
    let Some(agent) = start(dir.path(), Some(Box::new(Refuses))) else {
        return;
    };
    agent.launch(&id(1), sh("echo ran > ran"));
    assert_eq!(agent.failed(), "refuses: not today");
    agent.send(ContainerCommand::Forget { id: id(1) });
    let sandbox = dir.path().join("sandboxes/c000001");
    assert!(sandbox.exists() && !sandbox.join("ran").exists());
    assert!(!dir.path().join("scratch/c000001").exists());
    agent.shutdown();
}

// Processes have no init that could wait.
#[test]
fn nothing_is_held_where_tasks_are_processes() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<Box<dyn Isolator>> = vec![Box::new(Refuses)];
    let agent = Agent::isolated(config(dir.path(), Mode::Process), all);
    agent.launch(&id(1), sh("echo ran > ran"));
    let said = agent.failed();
    assert!(said.contains("takes container mode"), "{said}");
    agent.shutdown();
}
