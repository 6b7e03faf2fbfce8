//! The launcher: one small process for each agent, the parent of all its containers. One thread
//! does everything but what may wait for a disk: another writes what containers say to their files
//! ([`copier`]). The first only inherits orphans ([`heir`]).
//!
//! Started by [`crate::connect`] from a sealed copy of the binary. It is a session leader without
//! a terminal, holds nothing of the agent's, and outlives it: an agent that comes back connects
//! again and is told what happened meanwhile. It exits by itself when it has neither a container
//! nor an agent for a while. It blocks every signal, so only SIGKILL ends it before; then its
//! containers die with it.
//!
//! One turn of the loop: wait, take requests, reap, write the exits file once, answer, clean up.

mod copier;
mod doomed;
mod end;
mod enter;
mod exits;
pub(crate) mod guard;
mod heir;
mod input;
pub(crate) mod link;
mod output;
mod requests;
mod resize;
mod setup;
mod start;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerEvent;
use tepui_core::protocol::status::Exit;

use self::copier::Copier;
use self::doomed::Doomed;
use self::enter::Basis;
use self::exits::{Exits, Outcome};
use self::heir::Heirs;
use self::input::Input;
use self::link::Link;
pub(crate) use self::setup::{LOCK, LOCKED, READY, main};
use self::start::Contained;
use crate::cgroup::Hierarchies;
use crate::confine::Seals;
use crate::error::{Error, Result};
use crate::idspace;
use crate::launch::UserNamespace;
use crate::logs::Logs;
use crate::mode::AgentLoss;
use crate::nursery::Nursery;
use crate::sandbox::Sandboxes;
use crate::seccomp::Compiler;
use crate::spawn::OpenFiles;
use crate::tree;
use crate::wire::{Answer, Settings};

/// What an event of the poll loop is about; containers have numbers from [`FIRST`] on.
const LISTENER: u64 = 0;
const CONNECTION: u64 = 1;
const SIGNALS: u64 = 2;
const COPIED: u64 = 3;
/// The number of the first container. Its event numbers are those from [`KINDS`] times that on.
const FIRST: u64 = 1;
/// How many numbers a container has, and what the first of them are about; the third is for forks.
const KINDS: u64 = 4;
const REPORT: u64 = 0;
const MEMORY: u64 = 1;
const FORKS: u64 = 2;
/// The most user namespaces that are kept for the next container with the same mapping.
const MAX_MAPPINGS: usize = 64;
/// How long containers may take to end when their agent is gone (CT-25).
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// How long the launcher stays without containers and without an agent.
const IDLE: Duration = Duration::from_secs(10);

/// The launcher's whole state.
struct Launcher {
    settings: Settings,
    epoll: Epoll,
    signals: SignalFd,
    link: Link,
    exits: Exits,
    sandboxes: Sandboxes,
    copier: Copier,
    /// How much is kept of what containers write that do not say so.
    logs: Logs,
    contained: Option<ContainerMode>,
    /// Where inits come from, once there has been one.
    nursery: Option<Nursery>,
    image: OwnedFd,
    null: OwnedFd,
    open_files: OpenFiles,
    /// The memory of the machine.
    machine_bytes: u64,
    containers: HashMap<u64, Container>,
    by_id: HashMap<ContainerId, u64>,
    by_pid: HashMap<Pid, u64>,
    /// What stands beside further processes, and of which containers.
    guests: HashMap<Pid, u64>,
    next: u64,
    draining: Vec<u64>,
    doomed: Doomed,
    /// Those that use more memory than they are to have, and when to try again.
    shrinking: HashMap<u64, Instant>,
    /// How much memory all containers together keep, in bytes; `None` if that may have changed.
    kept: Option<u64>,
    awaited: Option<Awaited>,
    /// Whom to ask for orphans; there once the loop runs.
    heirs: Option<Heirs>,
    agent: Presence,
    /// When it gives up ending its containers, if it is to end.
    stopping: Option<Instant>,
}

/// What is known of the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It has not connected yet.
    Awaited,
    /// It is there, or will come back.
    Expected,
    /// It is gone, and everything goes with it.
    Lost,
}

/// What only container mode needs.
struct ContainerMode {
    /// `None` for an agent without privileges.
    hierarchies: Option<Hierarchies>,
    seals: Seals,
    compiler: Compiler,
    /// The user namespaces that were made, by their mappings.
    users: HashMap<UserNamespace, OwnedFd>,
}

impl ContainerMode {
    /// Returns a namespace with this mapping.
    fn users(&mut self, mapping: &UserNamespace) -> Result<OwnedFd> {
        if self.hierarchies.is_none() {
            let message = "a mapping of users, and the agent has no privileges";
            return Err(Error::Invalid(message.to_owned()));
        }
        if self.users.len() >= MAX_MAPPINGS && !self.users.contains_key(mapping) {
            self.users.clear();
        }
        let namespace = match self.users.entry(mapping.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(idspace::mapped(mapping)?),
        };
        let copied = namespace.try_clone();
        copied.map_err(|error| Error::system("duplicate a user namespace", error))
    }
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
    /// What a further process of it is made of.
    basis: Basis,
    /// What its program reads, if that is interactive.
    input: Option<Input>,
}

enum State {
    /// Its init has not reported yet.
    Starting,
    /// The program runs.
    Running,
    /// The program has ended; what it left behind is being killed.
    Draining(Exit),
    /// All has ended; the last that it wrote is on the way to its files.
    Closing(Outcome),
}

/// An answer that waits until these containers are settled.
struct Awaited {
    ids: BTreeSet<ContainerId>,
    answer: Answer,
}

impl Launcher {
    /// Turns until it is told to stop, or nobody needs it any more. What goes wrong with a peer or
    /// with a container is told or logged and never ends the loop: all others hang on it.
    fn run(&mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let mut more = false;
        let mut needed = Instant::now();
        loop {
            let timeout = self.timeout(more, needed);
            let ready = match self.epoll.wait(&mut events, timeout) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(errno) => return Err(Error::system("epoll_wait", errno)),
            };
            let now = Instant::now();
            self.link.resume(&self.epoll, now);
            for event in &events[..ready] {
                self.on_event(event.data());
            }
            more = self.take_requests();
            self.reap();
            self.drain();
            self.settle();
            if let Err(error) = self.exits.write() {
                // The agent is told all the same and keeps its own record; ours is tried again.
                log(&error.to_string());
            }
            self.link.flush(&self.epoll);
            self.doomed.remove_some(now);
            self.shrink_some(now);
            self.keep_memory();
            self.look_for_agent();
            let empty = self.containers.is_empty() && self.doomed.is_empty();
            match self.stopping {
                Some(_) if empty => return self.leave_nothing(),
                Some(deadline) if deadline <= now => return self.give_up(),
                Some(_) | None => {}
            }
            if more || !empty || self.link.is_connected() {
                needed = now;
            } else if now >= needed + IDLE {
                return self.leave();
            }
        }
    }

    /// Ends everything if that is what the end of the agent means.
    fn look_for_agent(&mut self) {
        let is_gone = self.agent == Presence::Expected && !self.link.is_connected();
        if is_gone {
            self.end_held();
        }
        match self.settings.agent_loss {
            AgentLoss::End { .. } if is_gone => {
                self.agent = Presence::Lost;
                self.stop(STOP_PATIENCE);
            }
            AgentLoss::End { .. } | AgentLoss::RunOn => {}
        }
    }

    /// Destroys all containers; the loop ends when they are gone, or after `patience`.
    fn stop(&mut self, patience: Duration) {
        self.stopping = self.stopping.or_else(|| Some(Instant::now() + patience));
        for key in self.keys() {
            self.destroy(key);
        }
    }

    /// Leaves although something will not die, and says what. The next launcher goes on with it.
    fn give_up(&mut self) -> Result<()> {
        let ids = self.containers.values().map(|c| c.id.as_str().to_owned());
        let left: Vec<String> = ids.chain(self.doomed.names()).collect();
        self.link.tell(&Answer::Left(left.clone()));
        self.link.flush(&self.epoll);
        Err(Error::Left(left))
    }

    /// Returns how long there is nothing to do unless something happens.
    fn timeout(&self, more: bool, needed: Instant) -> EpollTimeout {
        if more {
            return EpollTimeout::ZERO;
        }
        let now = Instant::now();
        let idle = self.containers.is_empty() && !self.link.is_connected();
        let leave = idle.then(|| needed + IDLE);
        let due = [
            self.doomed.due(now),
            self.shrinking.values().min().copied(),
            leave,
            self.link.paused(),
            self.stopping,
        ];
        let due = due.into_iter().flatten().min();
        match due {
            // Rounded up, or it would turn without a pause just before.
            Some(due) => {
                let wait = due.saturating_duration_since(now) + Duration::from_millis(1);
                EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
            }
            None => EpollTimeout::NONE,
        }
    }

    fn on_event(&mut self, number: u64) {
        match number {
            LISTENER => self.on_peer(),
            CONNECTION => self.link.read(),
            SIGNALS => self.read_signals(),
            COPIED => self.on_copied(),
            of_container => {
                let key = of_container / KINDS;
                match of_container % KINDS {
                    REPORT => self.on_report(key),
                    MEMORY => self.on_memory_event(key),
                    _ => self.on_refused_fork(key),
                }
            }
        }
    }

    /// Somebody has connected; an agent takes the place of the one before.
    fn on_peer(&mut self) {
        match self.link.accept(&self.epoll) {
            Ok(true) => {
                self.agent = Presence::Expected;
                self.awaited = None;
                self.end_held();
                for container in self.containers.values_mut() {
                    container.known = false;
                }
            }
            Ok(false) => {}
            Err(error) => log(&error.to_string()),
        }
    }

    /// Makes the signals' file quiet; what they are about is found out in every turn.
    fn read_signals(&self) {
        loop {
            match self.signals.read_signal() {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(errno) => return log(&Error::system("read signals", errno).to_string()),
            }
        }
    }

    fn tell(&mut self, event: ContainerEvent) {
        self.link.tell(&Answer::Event(event));
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
        if let Some(contained) = &container.contained {
            contained.end_all();
        }
        // Who cannot be killed has just died.
        let _ = match (&container.contained, &container.state) {
            // Its number may be another's by now; what is left is being killed anyway.
            (Some(_) | None, State::Closing(_)) | (None, State::Draining(_)) => Ok(()),
            (Some(_), State::Starting | State::Running | State::Draining(_)) => {
                kill(container.pid, Signal::SIGKILL)
            }
            (None, State::Starting | State::Running) => killpg(container.pid, Signal::SIGKILL),
        };
    }

    /// Asks a container to end. One that is held ends at once: it has not started.
    fn terminate(&mut self, key: u64) {
        match self.containers.get(&key) {
            Some(container) if container.is_held() => self.destroy(key),
            Some(container) => self.ask_to_end(container),
            None => {}
        }
    }

    /// Asks all processes of a container to end, those too that left its process group (TK-85).
    fn ask_to_end(&self, container: &Container) {
        match (&container.contained, &container.state) {
            (Some(_) | None, State::Closing(_)) | (None, State::Draining(_)) => {}
            (Some(_), State::Starting | State::Running | State::Draining(_)) => {
                // As above: who cannot be signalled has just died.
                let _ = kill(container.pid, Signal::SIGTERM);
            }
            (None, State::Starting | State::Running) => {
                let orphans = self.orphans();
                let left = orphans.iter().filter(|orphan| {
                    let owner = self.owner_of(orphan);
                    owner.is_some_and(|owner| owner == container.pid)
                });
                tree::terminate(container.pid, left.map(|orphan| orphan.pid));
            }
        }
    }

    /// Destroys what nobody will release any more.
    fn end_held(&mut self) {
        for key in self.keys() {
            if self.containers.get(&key).is_some_and(Container::is_held) {
                self.destroy(key);
            }
        }
    }

    /// Leaves because nobody needs it; an agent may come back to what it keeps, or not.
    fn leave(&mut self) -> Result<()> {
        match self.settings.agent_loss {
            AgentLoss::RunOn => self.remove_root(),
            AgentLoss::End { .. } => {
                self.agent = Presence::Lost;
                self.leave_nothing()
            }
        }
    }

    /// Removes what a launcher keeps between containers.
    fn leave_nothing(&self) -> Result<()> {
        self.remove_root()?;
        let path = self.settings.runtime_dir.join(setup::EXITS);
        removed(&path, fs::remove_file(&path))?;
        match &self.settings.agent_loss {
            AgentLoss::End { remove: Some(dir) } if self.agent == Presence::Lost => {
                removed(dir, fs::remove_dir_all(dir))
            }
            AgentLoss::End { .. } | AgentLoss::RunOn => Ok(()),
        }
    }

    /// Removes the control group that held those of the containers.
    fn remove_root(&self) -> Result<()> {
        let mode = self.contained.as_ref();
        match mode.and_then(|mode| mode.hierarchies.as_ref()) {
            Some(hierarchies) => hierarchies.remove_root(&self.settings.cgroup_root),
            None => Ok(()),
        }
    }
}

impl Container {
    /// Says that it runs.
    fn started(&self) -> ContainerEvent {
        let contained = self.contained.as_ref();
        let addresses = contained.map(|contained| contained.addresses.clone());
        ContainerEvent::Started {
            id: self.id.clone(),
            pid: self.pid.as_raw().unsigned_abs(),
            addresses: addresses.unwrap_or_default(),
        }
    }

    fn is_held(&self) -> bool {
        let contained = self.contained.as_ref();
        contained.is_some_and(|contained| contained.held.is_some())
    }
}

/// Judges an attempt to remove what may be gone already.
fn removed(path: &Path, result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a line to the launcher's log, which is its standard error.
fn log(text: &str) {
    // There is nobody left to tell about a log that cannot be written.
    let _ = writeln!(io::stderr(), "{text}");
}
