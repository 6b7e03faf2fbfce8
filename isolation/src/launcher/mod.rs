//! The launcher: one small process for each agent, the parent of all its containers. One thread
//! does everything; the other only inherits orphans ([`heir`]).
//!
//! Started by [`crate::connect`] from a sealed copy of the binary. It is a session leader without
//! a terminal, holds nothing of the agent's, and outlives it: an agent that comes back connects
//! again and is told what happened meanwhile. It exits by itself when it has neither a container
//! nor an agent for a while. It blocks every signal, so only SIGKILL ends it before; then its
//! containers die with it.
//!
//! One turn of the loop: wait, take requests, reap, write the exits file once, answer, clean up.

mod end;
mod exits;
mod heir;
pub(crate) mod link;
mod setup;
mod start;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::OwnedFd;

use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent};
use tepui_core::protocol::status::Exit;

use self::exits::{Exits, Outcome};
use self::heir::Heirs;
use self::link::Link;
pub(crate) use self::setup::{LOCK, LOCKED, READY, main};
use self::start::Contained;
use crate::cgroup::{Group, Hierarchies};
use crate::confine::Seals;
use crate::error::{Error, Result};
use crate::sandbox::Sandboxes;
use crate::spawn::OpenFiles;
use crate::wire::{Answer, Request, Settings};

/// What an event of the poll loop is about; containers have numbers from [`FIRST`] on.
const LISTENER: u64 = 0;
const CONNECTION: u64 = 1;
const SIGNALS: u64 = 2;
/// The number of the first container. Its event numbers are those from [`KINDS`] times that on.
const FIRST: u64 = 1;
/// How many numbers a container has, and what the first of them are about; the third is for forks.
const KINDS: u64 = 4;
const REPORT: u64 = 0;
const MEMORY: u64 = 1;
const FORKS: u64 = 2;
/// The most requests of a turn: what was started is told before more is.
const REQUESTS_PER_TURN: usize = 64;
/// The most groups removed in a turn.
const REMOVALS_PER_TURN: usize = 16;
/// How long to wait before a group is tried again whose processes die slowly.
const REMOVAL_RETRY_MS: u16 = 5;
/// How long the launcher stays without containers and without an agent.
const IDLE_MS: u16 = 10_000;

/// The launcher's whole state.
struct Launcher {
    settings: Settings,
    epoll: Epoll,
    signals: SignalFd,
    link: Link,
    exits: Exits,
    sandboxes: Sandboxes,
    contained: Option<ContainerMode>,
    image: OwnedFd,
    null: OwnedFd,
    open_files: OpenFiles,
    containers: HashMap<u64, Container>,
    by_id: HashMap<ContainerId, u64>,
    by_pid: HashMap<Pid, u64>,
    next: u64,
    draining: Vec<u64>,
    doomed: VecDeque<Group>,
    awaited: Option<Awaited>,
    /// Whom to ask for orphans; there once the loop runs.
    heirs: Option<Heirs>,
    stopping: bool,
}

/// What only container mode needs.
struct ContainerMode {
    hierarchies: Hierarchies,
    seals: Seals,
}

/// A container that has not ended.
struct Container {
    id: ContainerId,
    pid: Pid,
    state: State,
    /// Whether the connected agent has asked about it; nobody else is told anything.
    known: bool,
    /// Whether no agent remembers it: its end is not recorded.
    disowned: bool,
    contained: Option<Contained>,
}

enum State {
    /// Its init has not reported yet.
    Starting,
    /// The program runs.
    Running,
    /// The program has ended; what it left behind is being killed.
    Draining(Exit),
}

/// An answer that waits until these containers are settled.
struct Awaited {
    ids: BTreeSet<ContainerId>,
    answer: Answer,
}

impl Launcher {
    /// Turns until it is told to stop, or nobody needs it any more.
    fn run(&mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let mut more = false;
        loop {
            let timeout = self.timeout(more);
            let ready = match self.epoll.wait(&mut events, timeout) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(errno) => return Err(Error::system("epoll_wait", errno)),
            };
            let idle = !more && self.containers.is_empty() && self.doomed.is_empty();
            if ready == 0 && idle && !self.link.is_connected() {
                return self.remove_root();
            }
            for event in &events[..ready] {
                self.on_event(event.data())?;
            }
            more = self.take_requests()?;
            self.reap()?;
            self.drain()?;
            self.settle()?;
            if let Err(error) = self.exits.write() {
                // The agent is told all the same and keeps its own record; ours is tried again.
                log(&error.to_string());
            }
            self.link.flush(&self.epoll)?;
            self.remove_groups();
            if self.stopping && self.containers.is_empty() && self.doomed.is_empty() {
                return self.leave_nothing();
            }
        }
    }

    fn timeout(&self, more: bool) -> EpollTimeout {
        if more {
            EpollTimeout::ZERO
        } else if !self.doomed.is_empty() {
            EpollTimeout::from(REMOVAL_RETRY_MS)
        } else if self.containers.is_empty() && !self.link.is_connected() {
            EpollTimeout::from(IDLE_MS)
        } else {
            EpollTimeout::NONE
        }
    }

    fn on_event(&mut self, number: u64) -> Result<()> {
        match number {
            LISTENER => {
                if self.link.accept(&self.epoll)? {
                    self.awaited = None;
                    for container in self.containers.values_mut() {
                        container.known = false;
                    }
                }
            }
            CONNECTION => self.link.read(),
            SIGNALS => {
                let read = |error| Error::system("read signals", error);
                while self.signals.read_signal().map_err(read)?.is_some() {}
            }
            of_container => {
                let key = of_container / KINDS;
                match of_container % KINDS {
                    REPORT => self.on_report(key)?,
                    MEMORY => self.on_memory_event(key),
                    _ => self.on_refused_fork(key),
                }
            }
        }
        Ok(())
    }

    /// Takes a bounded number of requests; returns whether there may be more.
    fn take_requests(&mut self) -> Result<bool> {
        for _ in 0..REQUESTS_PER_TURN {
            match self.link.next() {
                Ok(Some(request)) => self.on_request(request)?,
                Ok(None) => return Ok(false),
                Err(error) => {
                    log(&error.to_string());
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn on_request(&mut self, request: Request) -> Result<()> {
        match request {
            Request::Hello => self.link.tell(&Answer::Hello {
                settings: self.settings.clone(),
                live: u32::try_from(self.containers.len()).unwrap_or(u32::MAX),
            }),
            Request::Command(command) => self.on_command(command),
            Request::Resync { known } => self.report_on(&known, Answer::Synced),
            Request::Shutdown => {
                self.stopping = true;
                for key in self.keys() {
                    self.destroy(key);
                }
                Ok(())
            }
        }
    }

    /// Unknown ids are ignored throughout: the container has ended, and its end was told.
    fn on_command(&mut self, command: ContainerCommand) -> Result<()> {
        match command {
            ContainerCommand::Launch { id, spec } => {
                if self.by_id.contains_key(&id) {
                    let message = "a container of this id is running".to_owned();
                    return self.tell(ContainerEvent::LaunchFailed { id, message });
                }
                self.exits.forget(&id);
                match self.start(&id, &spec) {
                    Ok(()) => Ok(()),
                    Err(error) => self.conclude(&id, true, Outcome::failed(error.to_string())),
                }
            }
            ContainerCommand::Terminate { id } => {
                if let Some(container) =
                    self.by_id.get(&id).and_then(|key| self.containers.get(key))
                {
                    container.terminate();
                }
                Ok(())
            }
            ContainerCommand::Destroy { id } => {
                if let Some(&key) = self.by_id.get(&id) {
                    self.destroy(key);
                }
                Ok(())
            }
            ContainerCommand::Forget { id } => {
                self.exits.forget(&id);
                Ok(())
            }
            ContainerCommand::Recover { known } => {
                let set: BTreeSet<&ContainerId> = known.iter().collect();
                self.exits.retain(&set);
                for key in self.keys() {
                    let container = self.containers.get_mut(&key).expect("the key was listed");
                    if !set.contains(&container.id) {
                        container.disowned = true;
                        self.destroy(key);
                    }
                }
                self.report_on(&known, Answer::Event(ContainerEvent::Recovered))
            }
        }
    }

    /// Tells about each known container, then `answer` when all others are gone and those that
    /// are on their way have arrived.
    fn report_on(&mut self, known: &[ContainerId], answer: Answer) -> Result<()> {
        for id in known {
            let container = self.by_id.get(id).map(|key| {
                let container = self.containers.get_mut(key);
                container.expect("every id in the index has its container")
            });
            let event = match container {
                Some(container) => {
                    container.known = true;
                    match container.state {
                        State::Running => Some(ContainerEvent::Started {
                            id: id.clone(),
                            pid: container.pid.as_raw().unsigned_abs(),
                        }),
                        State::Starting | State::Draining(_) => None,
                    }
                }
                None => Some(match self.exits.outcome(id) {
                    Some(outcome) => outcome.event(id),
                    None => ContainerEvent::Lost { id: id.clone() },
                }),
            };
            if let Some(event) = event {
                self.tell(event)?;
            }
        }
        let unsettled = self
            .containers
            .values()
            .filter(|container| match container.state {
                State::Running => container.disowned,
                State::Starting | State::Draining(_) => true,
            });
        let ids = unsettled.map(|container| container.id.clone()).collect();
        self.awaited = Some(Awaited { ids, answer });
        Ok(())
    }

    /// Gives the answer that has waited, if nothing holds it back any more.
    fn settle(&mut self) -> Result<()> {
        let Some(mut awaited) = self.awaited.take() else {
            return Ok(());
        };
        let (by_id, containers) = (&self.by_id, &self.containers);
        awaited.ids.retain(|id| {
            let container = by_id.get(id).and_then(|key| containers.get(key));
            container.is_some_and(|c| c.disowned || !matches!(c.state, State::Running))
        });
        if awaited.ids.is_empty() {
            return self.link.tell(&awaited.answer);
        }
        self.awaited = Some(awaited);
        Ok(())
    }

    fn tell(&mut self, event: ContainerEvent) -> Result<()> {
        self.link.tell(&Answer::Event(event))
    }

    fn keys(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.containers.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Kills all processes of a container; its end is noticed by [`Launcher::reap`].
    fn destroy(&mut self, key: u64) {
        let Some(container) = self.containers.get(&key) else {
            return;
        };
        // Who cannot be killed has just died.
        let _ = match (&container.contained, &container.state) {
            (Some(_), _) => kill(container.pid, Signal::SIGKILL),
            (None, State::Starting | State::Running) => killpg(container.pid, Signal::SIGKILL),
            // Its number may be another's by now; what is left is being killed anyway.
            (None, State::Draining(_)) => Ok(()),
        };
    }

    /// Removes the groups of ended containers, some at a time.
    fn remove_groups(&mut self) {
        for _ in 0..REMOVALS_PER_TURN {
            let Some(group) = self.doomed.pop_front() else {
                return;
            };
            if group.remove().is_err() {
                self.doomed.push_back(group);
                return;
            }
        }
    }

    /// Removes what a launcher keeps between containers.
    fn leave_nothing(&self) -> Result<()> {
        self.remove_root()?;
        let path = self.settings.runtime_dir.join(setup::EXITS);
        std::fs::remove_file(&path).map_err(|error| Error::file("remove", &path, error))
    }

    /// Removes the control group that held those of the containers.
    fn remove_root(&self) -> Result<()> {
        match &self.contained {
            Some(mode) => mode.hierarchies.remove_root(&self.settings.cgroup_root),
            None => Ok(()),
        }
    }
}

impl Container {
    fn terminate(&self) {
        // As above: who cannot be signalled has just died.
        let _ = match (&self.contained, &self.state) {
            (Some(_), _) => kill(self.pid, Signal::SIGTERM),
            (None, State::Starting | State::Running) => killpg(self.pid, Signal::SIGTERM),
            (None, State::Draining(_)) => Ok(()),
        };
    }
}

/// Writes a line to the launcher's log, which is its standard error.
fn log(text: &str) {
    use std::io::Write;
    // There is nobody left to tell about a log that cannot be written.
    let _ = writeln!(std::io::stderr(), "{text}");
}
