//! Who may read which task's output, and until when it grows.
//!
//! The agent's node keeps this beside the machine: it learns of tasks from the machine's orders to
//! the containerizer and from what the containerizer says. Streams are served from it without
//! asking the machine.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tepui_core::agent::task_sandboxes;
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
    ///
    /// A task has a sandbox for each container that it ever had here. It is read from the one that
    /// runs, else from the newest.
    pub(crate) fn open(&self, who: &Principal, read: &Read) -> Result<Opened, String> {
        let mut sandbox = task_sandboxes(&read.framework, &read.task);
        let state = self.state.lock();
        let may = match who.role {
            PeerRole::Operator => true,
            PeerRole::Framework => state.owners.get(&read.framework) == Some(&who.name),
            PeerRole::Master | PeerRole::Agent => false,
        };
        if !may {
            return Err(format!("{who} may not read tasks of {}", read.framework));
        }
        let mut running = state.running.keys();
        let running =
            running.find(|other| other.split_last().is_some_and(|(_, of)| *of == sandbox));
        let container = match running.and_then(|of| of.last()) {
            Some(container) => container.clone(),
            None => newest(&self.root.join(sandbox.join("/")))
                .ok_or_else(|| format!("no output of task {} is here", read.task))?,
        };
        sandbox.push(container);
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

/// Returns the name of the newest sandbox in a directory: containers are numbered, and of two
/// numbers the longer is the higher.
fn newest(directory: &Path) -> Option<String> {
    let names = fs::read_dir(directory).ok()?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.max_by(|a, b| (a.len(), a).cmp(&(b.len(), b)))
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

    fn sandbox(container: &str) -> Vec<String> {
        ["tasks", "f", "t", container].map(String::from).into()
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
        sandboxes.runs(&ContainerId::numbered(1), &sandbox("c000001"));
        let may = |role, name| sandboxes.open(&who(role, name), &read()).is_ok();
        assert!(may(PeerRole::Operator, "any"));
        assert!(may(PeerRole::Framework, "alice"));
        assert!(!may(PeerRole::Framework, "bob"));
        assert!(!may(PeerRole::Agent, "alice"));
    }

    #[test]
    fn a_file_grows_until_its_container_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let sandboxes = Sandboxes::new(dir.path());
        let id = ContainerId::numbered(1);
        let path = |name: &str| {
            let path = dir.path().join(sandbox(name).join("/"));
            fs::create_dir_all(&path).unwrap();
            path.join("stdout")
        };
        // What ran before, and after a restart: the number counts, and not how it is spelt.
        let (one, old) = (path("c000001"), path("c999999"));
        sandboxes.runs(&id, &sandbox("c000001"));
        let operator = who(PeerRole::Operator, "o");
        let (found, over) = sandboxes.open(&operator, &read()).unwrap();
        assert_eq!(found, one);
        let over = over.expect("it grows");
        assert!(!*over.borrow());
        sandboxes.happened(&ContainerEvent::Exited {
            id,
            exit: Exit::Code(0),
            breach: None,
        });
        assert!(*over.borrow());
        let (found, over) = sandboxes.open(&operator, &read()).unwrap();
        assert_eq!(found, old);
        assert!(over.is_none(), "it is whole now");
        let new = path("c1000000");
        assert_eq!(sandboxes.open(&operator, &read()).unwrap().0, new);
    }

    #[test]
    fn what_never_ran_here_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let sandboxes = Sandboxes::new(dir.path());
        let refused = sandboxes.open(&who(PeerRole::Operator, "o"), &read());
        assert_eq!(refused.unwrap_err(), "no output of task t is here");
    }
}
