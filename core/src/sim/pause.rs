//! Nodes that do nothing for a while, as if their process had been stopped or had no processor:
//! whatever comes to them waits, and they do not know that time went by.
//!
//! Part of the world. Deliberately not here: containers, which go on beside their agent.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::fault::Kind;
use super::net::Net;
use super::queue::{End, Event, Name};
use super::world::{World, at};
use crate::time::Time;

/// A node that does nothing.
#[derive(Debug)]
pub(super) struct Pause {
    until: Time,
    /// What has come meanwhile, in order.
    waiting: Vec<Event>,
}

/// All of them.
pub(super) type Pauses = BTreeMap<Name, Pause>;

impl World {
    /// Lets a node do nothing for a while.
    pub(super) fn pause(&mut self, name: Name, lasting: Duration) {
        let until = self.shared.now + lasting;
        let pause = self.pauses.entry(name).or_insert_with(|| Pause {
            until,
            waiting: Vec::new(),
        });
        pause.until = pause.until.max(until);
        if let Name::Agent(n) = name {
            self.agents[at(n)].waits.excuse(until);
        }
        self.shared.hit(name, Kind::Pause);
        self.shared.queue.plan(until, Event::Resume { node: name });
    }

    /// Keeps what comes to a node that does nothing, or gives it back.
    pub(super) fn wait(&mut self, event: Event) -> Option<Event> {
        if self.pauses.is_empty() {
            return Some(event);
        }
        let pause = self
            .concerns(&event)
            .and_then(|name| self.pauses.get_mut(&name));
        match pause {
            Some(pause) => {
                pause.waiting.push(event);
                None
            }
            None => Some(event),
        }
    }

    /// Lets a node go on if it is time.
    pub(super) fn on_resume(&mut self, name: Name) {
        let now = self.shared.now;
        if self
            .pauses
            .get(&name)
            .is_some_and(|pause| pause.until <= now)
        {
            self.go_on(name);
        }
    }

    /// Lets a node go on: what has waited comes at once, in order.
    pub(super) fn go_on(&mut self, name: Name) {
        let Some(pause) = self.pauses.remove(&name) else {
            return;
        };
        let now = self.shared.now;
        match name {
            Name::Master => {
                self.master.oversleep(now);
                if let Some(zombie) = &mut self.zombie {
                    zombie.node.oversleep(now);
                }
            }
            Name::Agent(n) => self.agents[at(n)].node.oversleep(now),
            Name::Framework(n) => {
                for one in &mut self.frameworks[at(n)].instances {
                    one.node.oversleep(now);
                }
            }
            Name::Executor { .. } => {}
        }
        // More may be planned for this very moment, over the same connections.
        self.shared.queue.put_back(now, pause.waiting);
    }

    /// Lets all nodes go on.
    pub(super) fn all_go_on(&mut self) {
        let paused: Vec<Name> = self.pauses.keys().copied().collect();
        for name in paused {
            self.go_on(name);
        }
    }

    /// Returns which node has something to do with what comes.
    fn concerns(&self, event: &Event) -> Option<Name> {
        match event {
            Event::Wake(name)
            | Event::Synced { node: name, .. }
            | Event::Dial { node: name, .. }
            | Event::Read { node: name } => Some(*name),
            Event::Arrive { link, to, .. } | Event::Arrived { link, to, .. } => {
                match (Net::server(*link), to) {
                    (server, End::Server) => Some(server),
                    (Name::Master, End::Client) => self.net.client(*link),
                    // Executors go on.
                    (Name::Agent(_) | Name::Framework(_) | Name::Executor { .. }, End::Client) => {
                        None
                    }
                }
            }
            Event::Container { agent, .. }
            | Event::DiskTold { agent, .. }
            | Event::Told { agent, .. } => Some(Name::Agent(*agent)),
            Event::Look { .. } | Event::Operate { .. } => Some(Name::Master),
            // These happen around nodes, or to them.
            Event::Process { .. }
            | Event::Restart { .. }
            | Event::Another { .. }
            | Event::Bury { .. }
            | Event::Turn { .. }
            | Event::Mend { .. }
            | Event::Clog { .. }
            | Event::Unclog { .. }
            | Event::Disk { .. }
            | Event::Resume { .. } => None,
        }
    }
}
