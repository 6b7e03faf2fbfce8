//! What is secret is nowhere to be found: a word that occurs nowhere else is put wherever a secret
//! may be, and all that a cluster writes and shows is searched for it.
//!
//! That is: logs at their most talkative, what the command shows, the files of master, agent,
//! launcher and command that others than their owner may read, command lines, environments that
//! others may read, and what is left of a daemon that crashes.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Cluster, Process, is_root_or_skip, processes_about, wait_for};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tepui::client::{Event, Events, Handle};
use tepui::core::protocol::container_info::VolumeSource;
use tepui::core::protocol::container_info::{Access, ContainerInfo, Image, Secret, Volume};
use tepui::core::protocol::offer::Operation;
use tepui::prelude::*;

/// Long enough to be in nothing by chance, and without what a form of it would change.
const CANARY: &str = "pSxK7wq0bTfUe3VyHn52GzLdRj";
const ROOM: &str = "cpus:0.1;mem:32";

/// The word, and what it looks like where bytes are written as text.
fn forms() -> Vec<Vec<u8>> {
    let numbers = CANARY.bytes().take(8).map(|byte| byte.to_string());
    let numbers: Vec<String> = numbers.collect();
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        CANARY.into(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        numbers.join(", ").into_bytes(),
        numbers.join(",").into_bytes(),
    ];
    // In base64 it depends on what stands before it: of each three ways what is the same in all.
    forms.extend((0..3).map(|before| {
        let text = STANDARD.encode(format!("{}{CANARY}", "x".repeat(before)));
        text[4..text.len() - 4].into()
    }));
    forms
}

fn has_canary(bytes: &[u8]) -> bool {
    let forms = forms();
    forms.iter().any(|form| {
        let mut windows = bytes.windows(form.len());
        windows.any(|window| window == &form[..])
    })
}

#[track_caller]
fn expect_clean(what: &str, bytes: &[u8]) {
    assert!(!has_canary(bytes), "a secret is in {what}");
}

/// Returns all files below a directory.
fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    // What is removed meanwhile is not there.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&path, into),
            Ok(kind) if kind.is_file() => into.push(path),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Searches the files of a directory that others than their owner may read; returns how many
/// private ones have the word.
#[track_caller]
fn search_files(dir: &Path) -> usize {
    let mut all = Vec::new();
    files(dir, &mut all);
    assert!(all.len() > 5, "{all:?}");
    let having = all
        .iter()
        .filter(|path| has_canary(&fs::read(path).unwrap_or_default()));
    let having: Vec<&PathBuf> = having.collect();
    for path in &having {
        let found = fs::metadata(path).unwrap();
        let mode = found.permissions().mode() & 0o777;
        assert_eq!(
            (mode, found.uid()),
            (0o600, 0),
            "a secret is in {}",
            path.display()
        );
    }
    having.len()
}

/// Searches what is to be seen of the processes that have something to do with a directory.
#[track_caller]
fn search_processes(dir: &Path) {
    let all = processes_about(dir.to_str().unwrap());
    assert!(all.len() >= 3, "master, agent and launcher: {all:?}");
    for pid in all {
        for file in ["cmdline", "environ", "comm", "mountinfo"] {
            let path = format!("/proc/{pid}/{file}");
            expect_clean(&path, &fs::read(&path).unwrap_or_default());
        }
    }
}

/// A framework whose tasks have a secret.
struct Bearer {
    runtime: tokio::runtime::Runtime,
    _handle: Handle,
    events: Events,
}

impl Bearer {
    fn connect(cluster: &Cluster) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let target = Target {
            master: cluster.address.clone(),
            tls_dir: cluster.tls.clone(),
        };
        let connecting = Framework::builder("bearer").connect(&target);
        let (handle, events) = runtime.block_on(connecting).unwrap();
        Self {
            runtime,
            _handle: handle,
            events,
        }
    }

    #[track_caller]
    fn next(&mut self) -> Event {
        let next = async { tokio::time::timeout(common::DEADLINE, self.events.next()).await };
        let event = self.runtime.block_on(next).expect("an event in time");
        event.expect("the framework has not ended")
    }

    /// Launches a task that has the secret as a file, perhaps with an image.
    #[track_caller]
    fn launch(&mut self, name: &str, image: Option<Image>, script: &str) {
        let container = ContainerInfo {
            image,
            volumes: vec![Volume {
                path: "secret".into(),
                access: Access::Read,
                source: VolumeSource::Secret(Secret(CANARY.into())),
            }],
            ..ContainerInfo::default()
        };
        loop {
            let Event::Offers(offers) = self.next() else {
                continue;
            };
            for offer in offers {
                let wants = Resources::parse(ROOM).unwrap();
                let id = TaskId::new(name).unwrap();
                let task = TaskInfo {
                    container: Some(Box::new(container.clone())),
                    ..offer.task(id, wants, CommandInfo::shell(script))
                };
                let launch = Operation::Launch(vec![task]);
                if offer.accept(vec![launch], Some(Duration::ZERO)).is_ok() {
                    return;
                }
            }
        }
    }

    /// Waits until a task is in a state; returns what is said of it.
    #[track_caller]
    fn until(&mut self, name: &str, state: TaskState) -> String {
        loop {
            if let Event::Update(update) = self.next()
                && update.task.as_str() == name
            {
                assert!(
                    update.state == state || !update.state.is_terminal(),
                    "{name} is {}: {}",
                    update.state,
                    update.message
                );
                if update.state == state {
                    return update.message.clone();
                }
            }
        }
    }
}

/// Has the registry's password in a file, as an operator would.
fn credentials(dir: &Path, registry: &str) -> String {
    let path = dir.join("registries.json");
    let auth = STANDARD.encode(format!("somebody:{CANARY}"));
    let text = format!(r#"{{"auths":{{"{registry}":{{"auth":"{auth}"}}}}}}"#);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Asks for everything that the command can tell.
fn search_answers(cluster: &Cluster) {
    let agents = cluster.json(&["agent", "list"]);
    let agent = agents[0]["id"].as_str().unwrap();
    for args in [
        &["agent", "list"][..],
        &["ps"],
        &["framework", "list"],
        &["role", "list"],
        &["offer", "list"],
        &["operation", "list"],
        &["agent", "usage", agent],
    ] {
        for form in [&[][..], &["-o", "json"]] {
            let ended = cluster.tepui(&[args, form, &["--log-level", "trace"]].concat());
            let name = format!("what {args:?} says");
            assert_eq!(ended.code, Some(0), "{name}: {}", ended.err);
            expect_clean(&name, ended.out.as_bytes());
            expect_clean(&name, ended.err.as_bytes());
        }
    }
}

/// Lets processes that crash leave all their memory, if they may.
fn allow_cores() {
    let (_, most) = getrlimit(Resource::RLIMIT_CORE).unwrap();
    assert!(most > 0, "nothing may crash with a core here");
    setrlimit(Resource::RLIMIT_CORE, most, most).unwrap();
}

#[test]
fn a_secret_is_nowhere_to_be_found() {
    if !is_root_or_skip("secrets of containers") {
        return;
    }
    assert!(has_canary(format!("{:?}", CANARY.as_bytes()).as_bytes()));
    assert!(has_canary(
        STANDARD.encode(format!("me:{CANARY}")).as_bytes()
    ));
    allow_cores();
    let nobody = common::free_address();
    let outside = tempfile::tempdir().unwrap();
    let credentials = credentials(outside.path(), &nobody);
    let talkative = ["--log-level", "trace"];
    let own = ["--container", "--registry-credentials", &credentials];
    let flags = [&talkative[..], &own].concat();
    let mut cluster = Cluster::start(&flags);
    cluster.kill_master();
    cluster.start_master_with(&talkative);

    let watcher = Process::start(cluster.command(&["events", "-o", "json"]));
    let mut bearer = Bearer::connect(&cluster);
    // It is there: else there would be nothing to find.
    let length = CANARY.len();
    let script = format!(r#"test "$(wc -c < secret)" = {length} && exec sleep 1000"#);
    bearer.launch("bears", None, &script);
    bearer.until("bears", TaskState::Running);
    let image = Image {
        reference: format!("{nobody}/private:1"),
        cached: true,
    };
    bearer.launch("is refused", Some(image), "true");
    let refusal = bearer.until("is refused", TaskState::Failed);
    expect_clean("what is said of a task", refusal.as_bytes());

    search_processes(cluster.dir.path());
    search_answers(&cluster);
    let kept = search_files(cluster.dir.path());
    assert!(kept > 0, "the agent's journal has what its tasks are");

    let (status, log) = cluster.crash_agent();
    assert!(!status.core_dumped(), "a crashed agent leaves its memory");
    expect_clean("the agent's log", log.as_bytes());
    cluster.start_agent(&flags);
    wait_for("the agent to come back", || {
        let agents = cluster.json(&["agent", "list"]);
        (agents[0]["connected"] == true).then_some(())
    });
    search_answers(&cluster);
    search_files(cluster.dir.path());
    wait_for("the events to tell of the tasks", || {
        let events = watcher.out();
        (events.contains("bears") && events.contains("is refused")).then_some(())
    });
    expect_clean("the events", watcher.out().as_bytes());
    drop(watcher);
    let (status, log) = cluster.crash_agent();
    assert!(!status.core_dumped(), "a crashed agent leaves its memory");
    expect_clean("the log of an agent that has come back", log.as_bytes());
    assert!(log.contains("DEBUG"), "the log is of all that happens");
    let (status, log) = cluster.crash_master();
    assert!(!status.core_dumped(), "a crashed master leaves its memory");
    expect_clean("the master's log", log.as_bytes());
}
