//! How the launcher notices that containers end, and sees to it that nothing is left of them.

use std::collections::HashSet;
use std::io::Read;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::status::{Breach, Exit, Limited};
use tepui_core::resources::Milli;

use super::exits::Outcome;
use super::start::Contained;
use super::{Launcher, State, log};
use crate::cgroup::{MemoryUse, OutOfMemory};
use crate::error::{Error, Result};
use crate::init::Report;
use crate::procfs::{self, Process};
use crate::wait::{self, Whom};

/// A program that fails within this time of a refused fork is taken to have failed for it.
const REFUSED_LATELY: Duration = Duration::from_secs(10);

impl Launcher {
    /// Reads what an init has reported.
    pub(super) fn on_report(&mut self, key: u64) {
        let Some(container) = self.containers.get_mut(&key) else {
            return;
        };
        let Some(contained) = &mut container.contained else {
            return;
        };
        if contained.read_reports() && contained.watched {
            contained.watched = false;
            if let Err(errno) = self.epoll.delete(&contained.reports) {
                log(&Error::system("epoll_ctl", errno).to_string());
            }
        }
        let started = match contained.last {
            Some(Report::Started | Report::Ended(_)) => matches!(container.state, State::Starting),
            Some(Report::Failed(_)) | None => false,
        };
        if !started {
            return;
        }
        container.state = State::Running;
        let told = container.known;
        let event = container.started();
        self.take_terminal(key);
        if told {
            self.tell(event);
        }
    }

    /// The kernel is about to kill for memory: the whole container ends (CT-19). It says so before
    /// it counts what it kills, so the count cannot be asked yet.
    pub(super) fn on_memory_event(&mut self, key: u64) {
        let container = self.containers.get_mut(&key);
        let Some(contained) = container.and_then(|container| container.contained.as_mut()) else {
            return;
        };
        // Read it, or the loop would be woken for it again and again.
        let event = contained.memory.as_ref().map(|event| event.read());
        let told = event.is_some_and(|count| count.is_ok());
        // It is told to all below the group that lacks memory, and whom to kill is then not ours
        // to choose.
        let all = contained.settings.out_of_memory == OutOfMemory::KillAll;
        if told && all && contained.was_at_its_limit() {
            contained.out_of_memory = true;
            self.destroy(key);
        }
    }

    /// A container was refused a process.
    pub(super) fn on_refused_fork(&mut self, key: u64) {
        let container = self.containers.get_mut(&key);
        if let Some(contained) = container.and_then(|container| container.contained.as_mut()) {
            contained.update_forks();
        }
    }

    /// Reaps all dead children. What goes wrong with one of them must not end the others: it is
    /// tried again when the next child dies.
    pub(super) fn reap(&mut self) {
        loop {
            match self.reap_one() {
                Ok(Some((key, exit))) => self.on_exit(key, exit),
                Ok(None) => return,
                Err(error) => return log(&error.to_string()),
            }
        }
    }

    /// Reaps dead children up to the first process of a container.
    fn reap_one(&mut self) -> Result<Option<(u64, Exit)>> {
        let failed = |error| Error::system("waitid", error);
        loop {
            // Look first, reap later: as long as the dead leader is there, its group cannot be
            // another's.
            let Some(pid) = wait::look(Whom::Anyone).map_err(failed)? else {
                return Ok(None);
            };
            self.guests.remove(&pid);
            let key = self.by_pid.get(&pid).copied();
            let plain = key.and_then(|key| self.containers.get(&key));
            if plain.is_some_and(|container| container.contained.is_none()) {
                // The leader is there, so this cannot fail.
                let _ = killpg(pid, Signal::SIGKILL);
            }
            let dead = wait::reap(Whom::Only(pid)).map_err(failed)?;
            if let (Some(key), Some((_, exit))) = (key, dead) {
                self.by_pid.remove(&pid);
                return Ok(Some((key, exit)));
            }
        }
    }

    /// The first process of a container has ended.
    fn on_exit(&mut self, key: u64, exit: Exit) {
        self.on_report(key);
        let Some(container) = self.containers.get_mut(&key) else {
            return;
        };
        let Some(contained) = &mut container.contained else {
            container.state = State::Draining(exit);
            self.draining.push(key);
            return;
        };
        let outcome = match (&contained.last, &container.state) {
            (
                Some(Report::Failed(message)),
                State::Starting | State::Running | State::Draining(_) | State::Closing(_),
            ) => Outcome::failed(message.clone()),
            (Some(Report::Started | Report::Ended(_)) | None, State::Starting) => {
                Outcome::failed(format!("it ended before its program was started: {exit}"))
            }
            (
                Some(Report::Ended(exit)),
                State::Running | State::Draining(_) | State::Closing(_),
            ) => contained.outcome(*exit),
            (
                Some(Report::Started) | None,
                State::Running | State::Draining(_) | State::Closing(_),
            ) => contained.outcome(exit),
        };
        self.close(key, outcome);
    }

    /// Kills what ended programs left behind; a container without leftovers is concluded.
    pub(super) fn drain(&mut self) {
        if self.draining.is_empty() {
            return;
        }
        let orphans = self.orphans();
        let busy = self.kill_leftovers(&orphans);
        let mut done = Vec::new();
        let containers = &self.containers;
        self.draining.retain(|key| match containers.get(key) {
            Some(container) if busy.contains(&container.pid) => true,
            Some(container) => {
                if let State::Draining(exit) = container.state {
                    done.push((*key, Outcome::Exited { exit, breach: None }));
                }
                false
            }
            None => false,
        });
        for (key, outcome) in done {
            self.close(key, outcome);
        }
    }

    /// Lists the children that we inherited.
    pub(super) fn orphans(&self) -> Vec<Process> {
        if self
            .heirs
            .as_ref()
            .is_some_and(|heirs| !heirs.has_orphans())
        {
            return Vec::new();
        }
        procfs::other_children(|pid| self.by_pid.contains_key(&pid))
    }

    /// Kills the orphans of ended programs; returns the programs that had any.
    fn kill_leftovers(&self, orphans: &[Process]) -> HashSet<Pid> {
        let mut busy = HashSet::new();
        for (&guest, key) in &self.guests {
            if let Some(container) = self.containers.get(key)
                && matches!(container.state, State::Draining(_))
            {
                // What it leaves is an orphan then. It is not reaped, so the number is its.
                let _ = kill(guest, Signal::SIGKILL);
                busy.insert(container.pid);
            }
        }
        let nobody_runs = self.by_pid.is_empty();
        for orphan in orphans {
            match self.owner_of(orphan) {
                Some(owner) if self.by_pid.contains_key(&owner) => continue,
                Some(owner) => busy.extend([owner]),
                None if nobody_runs => busy.extend(self.containers.values().map(|c| c.pid)),
                None => continue,
            }
            // It may have died by itself; it is reaped either way.
            let _ = kill(orphan.pid, Signal::SIGKILL);
        }
        busy
    }

    /// Returns the program that an orphan descends from, by session or by mark.
    pub(super) fn owner_of(&self, orphan: &Process) -> Option<Pid> {
        let mut pids = self.containers.values().map(|container| container.pid);
        if let Some(pid) = pids.find(|&pid| pid == orphan.session) {
            return Some(pid);
        }
        let id = ContainerId::new(&procfs::mark_of(orphan.pid)?).ok()?;
        let container = self.by_id.get(&id).and_then(|key| self.containers.get(key));
        container.map(|container| container.pid)
    }

    /// Lets go of a container of which no process is left, and removes it when the last that it
    /// wrote is in its files.
    fn close(&mut self, key: u64, outcome: Outcome) {
        let container = self.containers.get_mut(&key);
        let container = container.expect("only keys that are in the table are closed");
        self.kept = None;
        container.input = None;
        if let Some(contained) = container.contained.take() {
            contained.end_all();
            self.doomed.extend(contained.group);
        }
        if self.copier.close(key) {
            return self.remove(key, outcome);
        }
        container.state = State::Closing(outcome);
    }

    /// What some containers wrote is in their files.
    pub(super) fn on_copied(&mut self) {
        for key in self.copier.closed() {
            let container = self.containers.get(&key);
            if let Some(State::Closing(outcome)) = container.map(|container| &container.state) {
                let outcome = outcome.clone();
                self.remove(key, outcome);
            }
        }
    }

    /// Takes a container out of the tables and concludes it.
    fn remove(&mut self, key: u64, outcome: Outcome) {
        let container = self.containers.remove(&key);
        let container = container.expect("only keys that are in the table are removed");
        self.by_id.remove(&container.id);
        if !container.disowned {
            self.conclude(&container.id, container.known, outcome);
        }
    }

    /// Records an outcome, and tells it to an agent that knows the container.
    pub(super) fn conclude(&mut self, id: &ContainerId, known: bool, outcome: Outcome) {
        let event = outcome.event(id);
        self.exits.record(id, outcome);
        if known {
            self.tell(event);
        }
    }
}

impl Contained {
    /// Kills what does not end with the init.
    pub(super) fn end_all(&self) {
        if let Some(group) = self.group.as_ref().filter(|_| self.shares_pid) {
            // As long as there is somebody it fails, and kills; it is tried again.
            let _ = group.remove();
        }
    }

    /// Reads all reports; returns whether the pipe has ended.
    fn read_reports(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let ended = loop {
            match self.reports.read(&mut buffer) {
                Ok(0) => break true,
                Ok(length) => self.frames.push(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        loop {
            match self.frames.next() {
                Ok(Some(report)) => self.last = Some(report),
                Ok(None) => return ended,
                Err(error) => {
                    // Only a container that broke into its init could do this.
                    log(&error.to_string());
                    return true;
                }
            }
        }
    }

    /// Judges an end: was it a broken limit?
    fn outcome(&mut self, exit: Exit) -> Outcome {
        // If one process was killed, that is the container's end only if it was the program.
        let ended = match (self.settings.out_of_memory, exit) {
            (OutOfMemory::KillAll, _) | (OutOfMemory::KillOne, Exit::Signal(_)) => true,
            (OutOfMemory::KillOne, Exit::Code(_)) => false,
        };
        if let Some(breach) = self.memory_breach().filter(|_| ended) {
            return Outcome::Exited {
                exit: Exit::Signal(Signal::SIGKILL as i32),
                breach: Some(breach),
            };
        }
        let breach = match exit {
            Exit::Code(0) | Exit::Signal(_) => None,
            Exit::Code(_) => self.pids_breach(),
        };
        Outcome::Exited { exit, breach }
    }

    /// Returns how memory was exceeded, if the kernel killed for it or was about to, and it was
    /// the container's own limit. A container that lives at its limit, its cache thrown out as
    /// need be, cannot be told from one that broke it if the machine then runs out of memory.
    fn memory_breach(&self) -> Option<Breach> {
        let usage = self.memory_use()?;
        let killed = self.out_of_memory || usage.kills > 0;
        let (limit, used) = usage.exceeded();
        (killed && usage.at_limit).then_some(Breach {
            resource: Limited::Memory,
            limit,
            used,
        })
    }

    fn was_at_its_limit(&self) -> bool {
        self.memory_use().is_some_and(|usage| usage.at_limit)
    }

    /// Reads the use of memory; `None` if it is not limited.
    fn memory_use(&self) -> Option<MemoryUse> {
        self.limits.mem?;
        let usage = self.group.as_ref()?.memory_use();
        usage.map_err(|error| log(&error.to_string())).ok()
    }

    fn update_forks(&mut self) {
        let Some(forks) = &mut self.forks else {
            return;
        };
        if let Err(error) = forks.update(Instant::now()) {
            log(&format!("how many forks were refused: {error}"));
            // Closed, or the loop would be woken for it again and again.
            self.forks = None;
        }
    }

    /// Returns how many processes were too many, if the program failed soon after a fork was
    /// refused. Why a program fails only it knows; what it met long ago is not taken for the
    /// reason.
    fn pids_breach(&mut self) -> Option<Breach> {
        self.update_forks();
        let forks = self.forks.as_ref()?;
        if !forks.any_within(REFUSED_LATELY, Instant::now()) {
            return None;
        }
        let limit = Milli::from_thousandths(i64::from(self.group.as_ref()?.pids_limit()?) * 1000);
        Some(Breach {
            resource: Limited::Pids,
            limit,
            used: limit,
        })
    }
}
