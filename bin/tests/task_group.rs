//! A group of tasks through a whole cluster: its tasks share a directory and memory, and a task
//! that was launched alone has no part in that.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::io::Write;

use tepui::core::ids::ExecutorId;
use tepui::core::protocol::container_info::{Access, ContainerInfo, IpcMode, Volume, VolumeSource};
use tepui::core::protocol::offer::{Operation, TaskGroup};
use tepui::core::protocol::task::ExecutorInfo;
use tepui::daemon::Isolation;
use tepui::prelude::*;

/// Launches a group, and then a task that asks for the same and is alone.
#[derive(Default)]
struct Group {
    ends: BTreeMap<String, String>,
}

/// What each of them asks for.
fn shared() -> Option<Box<ContainerInfo>> {
    Some(Box::new(ContainerInfo {
        ipc: IpcMode::ShareParent,
        volumes: vec![Volume {
            path: "shared".into(),
            access: Access::Write,
            source: VolumeSource::Parent {
                path: "common".into(),
            },
        }],
        ..ContainerInfo::default()
    }))
}

/// Each says something, and waits for what the other says.
fn script(own: &str, other: &str) -> String {
    let wait =
        format!("until [ -e shared/{other} ] && [ -e /dev/shm/{other} ]; do sleep 0.02; done");
    format!("touch shared/{own} /dev/shm/{own}; {wait}")
}

impl Group {
    fn launch(&self, offer: &Offer) -> Operation {
        let task = |name: &str, script: String| TaskInfo {
            container: shared(),
            ..offer.task(
                TaskId::new(name).unwrap(),
                Resources::parse("cpus:0.1;mem:32").unwrap(),
                CommandInfo::shell(script),
            )
        };
        if self.ends.len() == 2 {
            let mut alone = task("alone", "true".into());
            // The volume is refused by the master.
            alone.container.as_mut().unwrap().volumes.clear();
            return Operation::Launch(vec![alone]);
        }
        let id = ExecutorId::new("group").unwrap();
        let resources = Resources::parse("cpus:0.1;mem:32;disk:16").unwrap();
        Operation::LaunchGroup(TaskGroup {
            executor: ExecutorInfo::built_in(id, resources),
            tasks: vec![task("a", script("a", "b")), task("b", script("b", "a"))],
        })
    }
}

impl Logic for Group {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        if let UserEvent::Offers(offers) = &event {
            let (first, rest) = offers.split_first().unwrap();
            calls.push(UserCall::Accept {
                offers: vec![first.id.clone()],
                operations: vec![self.launch(first)],
                refuse: None,
            });
            calls.extend(rest.iter().map(|offer| UserCall::decline(offer, None)));
            calls.push(UserCall::Suppress { roles: Vec::new() });
        }
        if let UserEvent::Update(status) = event
            && status.state.is_terminal()
        {
            let end = format!("{} {}", status.state, status.message);
            self.ends.insert(status.task.to_string(), end);
            match self.ends.len() {
                2 => calls.push(UserCall::Revive { roles: Vec::new() }),
                3 => {
                    // TK-91, CT-45, CT-56
                    let end = |name: &str| self.ends[name].as_str();
                    for name in ["a", "b"] {
                        assert!(end(name).starts_with("finished"), "{:?}", self.ends);
                    }
                    // CT-56: the machine's is nobody's.
                    assert!(
                        end("alone").contains("it asks for the machine's shared memory"),
                        "{:?}",
                        self.ends
                    );
                    calls.push(UserCall::Stop);
                }
                _ => {}
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        writeln!(std::io::stderr(), "skipped: a group of tasks: not root")?;
        return Ok(());
    }
    tepui::main_with(async {
        let cluster = Embedded::start(EmbeddedOptions {
            isolation: Isolation::Container,
            ..EmbeddedOptions::default()
        });
        let cluster = cluster.await?;
        let framework = Framework::builder("groups");
        framework.run(&cluster.target(), Group::default()).await?;
        // All containers have ended, and nothing of them is left on the machine.
        let work_dir = cluster.work_dir().to_owned();
        cluster.shutdown().await?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let ours = work_dir.to_str().unwrap();
        assert!(!mounts.contains(ours), "{mounts}");
        Ok(())
    })
}
