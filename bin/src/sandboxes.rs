//! Who may read which task's output, and until when it grows.
//!
//! The agent's node keeps this beside the machine: it learns of tasks from the machine's orders to
//! the containerizer and from what the containerizer says. Streams are served from it without
//! asking the machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tepui_core::auth::{PeerRole, Principal};
use tepui_core::ids::{ContainerId, FrameworkId};
use tepui_core::protocol::agent::{OutputFile, Read};
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent};
use tokio::sync::watch;

/// The sandboxes of one agent.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    owners: HashMap<FrameworkId, String>,
    /// By sandbox: whether its container has ended.
    running: HashMap<Vec<String>, watch::Sender<bool>>,
    containers: HashMap<ContainerId, Vec<String>>,
}

/// A file to serve: where it is, and whether it still grows.
pub(crate) type Opened = (PathBuf, Option<watch::Receiver<bool>>);

impl Sandboxes {
    /// Serves what lies below `root`.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.into(),
            state: Mutex::default(),
        }
    }

    /// Notes whose principal a framework belongs to.
    pub(crate) fn owned(&self, framework: &FrameworkId, principal: Option<&str>) {
        let Some(principal) = principal else { return };
        let mut state = self.state.lock();
        if !state.owners.contains_key(framework) {
            state.owners.insert(framework.clone(), principal.into());
        }
    }

    /// Notes an order to the containerizer.
    pub(crate) fn ordered(&self, command: &ContainerCommand) {
        match command {
            ContainerCommand::Launch { id, spec } => self.runs(id, &spec.sandbox),
            ContainerCommand::Terminate { .. }
            | ContainerCommand::Destroy { .. }
            | ContainerCommand::Forget { .. }
            | ContainerCommand::Recover { .. } => {}
        }
    }

    /// Notes that a container writes to a sandbox.
    pub(crate) fn runs(&self, container: &ContainerId, sandbox: &[String]) {
        let mut state = self.state.lock();
        state.containers.insert(container.clone(), sandbox.into());
        state
            .running
            .insert(sandbox.into(), watch::Sender::new(false));
    }

    /// Notes what the containerizer says.
    pub(crate) fn happened(&self, event: &ContainerEvent) {
        match event {
            ContainerEvent::Exited { id, .. }
            | ContainerEvent::LaunchFailed { id, .. }
            | ContainerEvent::Lost { id } => {
                let mut state = self.state.lock();
                let sandbox = state.containers.remove(id);
                if let Some(over) = sandbox.and_then(|sandbox| state.running.remove(&sandbox)) {
                    over.send_replace(true);
                }
            }
            ContainerEvent::Started { .. } | ContainerEvent::Recovered => {}
        }
    }

    /// Answers a request to read, or says why it is refused.
    pub(crate) fn open(&self, who: &Principal, read: &Read) -> Result<Opened, String> {
        let sandbox = vec![
            read.framework.as_str().to_owned(),
            read.task.as_str().to_owned(),
        ];
        let state = self.state.lock();
        let may = match who.role {
            PeerRole::Operator => true,
            PeerRole::Framework => state.owners.get(&read.framework) == Some(&who.name),
            PeerRole::Master | PeerRole::Agent => false,
        };
        if !may {
            return Err(format!("{who} may not read tasks of {}", read.framework));
        }
        let over = state.running.get(&sandbox).map(watch::Sender::subscribe);
        drop(state);
        let name = match read.file {
            OutputFile::Stdout => "stdout",
            OutputFile::Stderr => "stderr",
        };
        let path = self.root.join(sandbox.join("/")).join(name);
        Ok((path, over.filter(|_| read.follow)))
    }
}

#[cfg(test)]
mod tests {
    use tepui_core::ids::TaskId;
    use tepui_core::protocol::status::Exit;

    use super::*;

    fn who(role: PeerRole, name: &str) -> Principal {
        Principal {
            role,
            name: name.into(),
        }
    }

    fn read() -> Read {
        Read {
            framework: FrameworkId::new("f").unwrap(),
            task: TaskId::new("t").unwrap(),
            file: OutputFile::Stdout,
            offset: 0,
            follow: true,
        }
    }

    #[test]
    fn only_operators_and_the_owner_may_read() {
        let sandboxes = Sandboxes::new(Path::new("/s"));
        sandboxes.owned(&read().framework, Some("alice"));
        let may = |role, name| sandboxes.open(&who(role, name), &read()).is_ok();
        assert!(may(PeerRole::Operator, "any"));
        assert!(may(PeerRole::Framework, "alice"));
        assert!(!may(PeerRole::Framework, "bob"));
        assert!(!may(PeerRole::Agent, "alice"));
    }

    #[test]
    fn a_file_grows_until_its_container_has_ended() {
        let sandboxes = Sandboxes::new(Path::new("/s"));
        let id = ContainerId::numbered(1);
        sandboxes.runs(&id, &["f".into(), "t".into()]);
        let operator = who(PeerRole::Operator, "o");
        let (path, over) = sandboxes.open(&operator, &read()).unwrap();
        assert_eq!(path, Path::new("/s/f/t/stdout"));
        let over = over.expect("it grows");
        assert!(!*over.borrow());
        sandboxes.happened(&ContainerEvent::Exited {
            id,
            exit: Exit::Code(0),
            breach: None,
        });
        assert!(*over.borrow());
        let (_, over) = sandboxes.open(&operator, &read()).unwrap();
        assert!(over.is_none(), "it is whole now");
    }
}
