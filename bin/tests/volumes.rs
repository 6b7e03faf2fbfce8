//! A persistent volume in a whole cluster: what is on it outlives the task and the agent, and is
//! gone once it is destroyed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics, and says why it skips"
)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Cluster, is_root_or_skip, wait_for};
use tepui::client::{Event, Events, Handle, Offer};
use tepui::core::ids::OperationId;
use tepui::core::protocol::offer::Operation;
use tepui::core::protocol::operation::{Conversion, OperationState};
use tepui::prelude::*;

const VOLUME: &str = r#"disk(eng)<volume="v",principal="local",rw="deep/data">:5"#;
const DISK: &str = "disk(eng):5";
const ROOM: &str = "cpus:0.1;mem:32";
const RESOURCES: &str = "cpus:2;mem:256;disk(eng):10";

/// A framework that keeps a volume.
struct Keeper {
    runtime: tokio::runtime::Runtime,
    _handle: Handle,
    events: Events,
    /// The operations that it has heard of.
    done: Vec<(OperationId, OperationState)>,
}

impl Keeper {
    fn connect(cluster: &Cluster) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let target = Target {
            master: cluster.address.clone(),
            tls_dir: cluster.tls.clone(),
        };
        let role = Role::new("eng").unwrap();
        let connecting = Framework::builder("keeper").role(role).connect(&target);
        let (handle, events) = runtime.block_on(connecting).expect("the master lets it in");
        Self {
            runtime,
            _handle: handle,
            events,
            done: Vec::new(),
        }
    }

    #[track_caller]
    fn next(&mut self) -> Event {
        let next = async { tokio::time::timeout(common::DEADLINE, self.events.next()).await };
        let event = self.runtime.block_on(next).expect("an event in time");
        event.expect("the framework has not ended")
    }

    fn note(&mut self, event: &Event) {
        if let Event::Operation(news) = event {
            self.done.push((news.id.clone(), news.state));
        }
    }

    /// Does something with an offer that has `needs`.
    #[track_caller]
    fn accept(&mut self, needs: &str, operations: impl Fn(&Offer) -> Vec<Operation>) {
        let needs = Resources::parse(needs).unwrap();
        loop {
            let event = self.next();
            self.note(&event);
            let Event::Offers(offers) = event else {
                continue;
            };
            for offer in offers {
                if !offer.resources.contains(&needs) {
                    offer.decline(Some(Duration::ZERO));
                    continue;
                }
                let all = operations(&offer);
                // What was offered before the agent was killed is void.
                if offer.accept(all, Some(Duration::ZERO)).is_ok() {
                    return;
                }
            }
        }
    }

    /// Does something, and then runs a script that sees the volume, which has to succeed.
    #[track_caller]
    fn run(&mut self, name: &str, (needs, before): (&str, Vec<Operation>), script: &str) {
        self.accept(&format!("{ROOM};{needs}"), |offer| {
            let mut wants = Resources::parse(ROOM).unwrap();
            wants.add(&volume()).unwrap();
            let command = CommandInfo::shell(script);
            let task = offer.task(TaskId::new(name).unwrap(), wants, command);
            let launch = Operation::Launch(vec![task]);
            before.iter().cloned().chain([launch]).collect()
        });
        loop {
            let event = self.next();
            self.note(&event);
            if let Event::Update(update) = event
                && update.state.is_terminal()
            {
                assert_eq!(
                    update.state,
                    TaskState::Finished,
                    "{name}: {}",
                    update.message
                );
                return;
            }
        }
    }

    /// Waits until an operation is finished.
    #[track_caller]
    fn finished(&mut self, id: &str) {
        let id = OperationId::new(id).unwrap();
        while !self.done.contains(&(id.clone(), OperationState::Finished)) {
            let event = self.next();
            self.note(&event);
        }
    }
}

fn volume() -> Resources {
    Resources::parse(VOLUME).unwrap()
}

fn named(id: &str, change: Conversion) -> Operation {
    Operation::Convert {
        id: Some(OperationId::new(id).unwrap()),
        change,
    }
}

/// Counts what there is, and was, of the volume on the disk.
fn on_disk(cluster: &Cluster) -> usize {
    let directory: &Path = &cluster.dir.join("agent/volumes/roles/eng/v");
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

fn tour(isolation: &str) {
    let flags = ["--resources", RESOURCES, isolation];
    let mut cluster = Cluster::start(&flags);
    let mut keeper = Keeper::connect(&cluster);
    let create = |id| named(id, Conversion::Create(volume()));
    let write = "echo kept > deep/data/file";
    keeper.run("writes", (DISK, vec![create("make")]), write);
    keeper.finished("make");
    cluster.kill_agent();
    wait_for("the master to notice", || {
        let agents = cluster.json(&["agent", "list"]);
        (agents[0]["connected"] == false).then_some(())
    });
    cluster.start_agent(&flags);
    let read = r#"test "$(cat deep/data/file)" = kept"#;
    keeper.run("reads", (VOLUME, vec![]), read);
    assert_eq!(on_disk(&cluster), 1);
    // Made anew by the next operation it is empty, whether or not all of it is deleted by then.
    let destroy = named("unmake", Conversion::Destroy(volume()));
    let empty = r#"test -z "$(ls -A deep/data)""#;
    let anew = vec![destroy, create("again")];
    keeper.run("finds nothing", (VOLUME, anew), empty);
    keeper.finished("unmake");
    assert_eq!(
        on_disk(&cluster),
        1,
        "what is told to be finished is deleted"
    );
    keeper.accept(VOLUME, |_| {
        vec![named("over", Conversion::Destroy(volume()))]
    });
    keeper.finished("over");
    assert_eq!(on_disk(&cluster), 0);
}

// RM-43, RM-44, RM-45; CT-40
#[test]
fn a_volume_of_plain_processes_outlives_them_until_it_is_destroyed() {
    tour("--process");
}

// RM-43, RM-44, RM-45
#[test]
fn a_volume_of_containers_outlives_them_until_it_is_destroyed() {
    if is_root_or_skip("volumes of containers") {
        tour("--container");
    }
}
