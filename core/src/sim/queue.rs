//! What will happen, in order of time; ties in the order in which they were planned.
//!
//! Filled and emptied by the world and its parts.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use crate::agent;
use crate::gate::Seq;
use crate::ids::{ContainerId, PeerId};
use crate::protocol::container::ContainerEvent;
use crate::protocol::disk::{DiskEvent, DiskJobId};
use crate::time::Time;

/// A node of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The master.
    Master,
    /// An agent, from 1.
    Agent(u32),
    /// A framework, from 1: first the built-in ones, then the user's in the order of joining.
    Framework(u32),
    /// An executor in a container of an agent, counted over all containers of that.
    Executor {
        /// The agent's number.
        agent: u32,
        /// Which one, from 1.
        n: u32,
    },
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => f.write_str("master"),
            Self::Agent(n) => write!(f, "agent-{n}"),
            Self::Framework(n) => write!(f, "framework-{n}"),
            Self::Executor { agent, n } => write!(f, "agent-{agent}-executor-{n}"),
        }
    }
}

/// An end of a connection. Agents and frameworks dial the master, executors their agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

impl End {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What travels on a connection.
#[derive(Debug)]
pub(super) enum Frame {
    /// The connection stands.
    Open,
    /// A message.
    Bytes(Vec<u8>),
    /// A message that was changed on its way, as its seal shows.
    Garbled,
    /// The connection is gone.
    Close,
}

/// A step in the life of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It was started, or could not be.
    Start,
    /// It ends, as planned.
    End,
    /// It ends by a signal.
    Signal(i32),
}

/// Something planned.
#[derive(Debug)]
pub(super) enum Event {
    /// A machine's deadline.
    Wake(Name),
    /// A journal is done with the records up to `upto`.
    Synced { node: Name, life: u32, upto: Seq },
    /// A client dials its server.
    Dial { node: Name, life: u32 },
    /// A frame comes to its end, unless a clog is on the way.
    Arrive { link: PeerId, to: End, frame: Frame },
    /// One has come through from a client to the master, or back.
    Arrived { link: PeerId, to: End, frame: Frame },
    /// A program goes on.
    Process {
        agent: u32,
        id: ContainerId,
        step: Step,
    },
    /// A containerizer speaks.
    Container {
        agent: u32,
        life: u32,
        event: ContainerEvent,
    },
    /// A crashed node comes back.
    Restart { node: Name, life: u32 },
    /// Another scheduler of a framework comes, unless the faults have ended meanwhile.
    Another { framework: u32, spell: u32 },
    /// A master that has lost the lead ends; `chance` seeds when others notice.
    Bury { zombie: u32, chance: u64 },
    /// A client of a master without the lead looks for one anew, if that master is still there.
    Turn { client: Name, zombie: u32 },
    /// A node that was cut off can be reached again.
    Mend { node: Name },
    /// Nothing gets through between a client and the master before `until`.
    /// Unless the faults have ended meanwhile.
    Clog {
        client: Name,
        until: Time,
        spell: u32,
    },
    /// What a clog held may get through.
    Unclog { client: Name },
    /// A node that did nothing may go on.
    Resume { node: Name },
    /// An operator asks what is new, or gives up asking, unless it did something since the turn in
    /// which that was planned.
    Look { watcher: u32, turn: u64 },
    /// Whoever runs a node reads what is new of it.
    Read { node: Name },
    /// An agent hears something of itself, or of whoever runs its machine.
    Told {
        agent: u32,
        life: u32,
        input: agent::Input,
    },
    /// A provider of disks has finished something.
    Disk { agent: u32, job: DiskJobId },
    /// A provider of disks speaks.
    DiskTold {
        agent: u32,
        life: u32,
        event: DiskEvent,
    },
    /// The operator of maintenance does something, unless he has since that was planned.
    Operate { turn: u64 },
}

#[derive(Debug)]
struct Entry {
    at: Time,
    seq: i64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    /// Reversed: the heap gives its greatest, and the earliest is wanted.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

/// The plan.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    planned: i64,
    /// How many came before all others of their moment.
    put_back: i64,
}

impl Queue {
    pub(super) fn plan(&mut self, at: Time, event: Event) {
        self.planned += 1;
        self.heap.push(Entry {
            at,
            seq: self.planned,
            event,
        });
    }

    /// Plans, in this order, what comes before all else that is planned for a moment.
    pub(super) fn put_back(&mut self, at: Time, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            self.put_back += 1;
            let seq = -self.put_back;
            self.heap.push(Entry { at, seq, event });
        }
    }

    /// Returns when something comes next.
    pub(super) fn due(&self) -> Option<Time> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Takes what comes next, if it comes by `end`.
    pub(super) fn pop(&mut self, end: Time) -> Option<(Time, Event)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_then_of_planning() {
        let mut queue = Queue::default();
        let at = Time::from_micros;
        queue.plan(at(5), Event::Wake(Name::Agent(1)));
        queue.plan(at(3), Event::Wake(Name::Agent(2)));
        queue.plan(at(5), Event::Wake(Name::Agent(3)));
        let mut order = Vec::new();
        while let Some((_, Event::Wake(name))) = queue.pop(at(9)) {
            order.push(name);
        }
        assert_eq!(order, [Name::Agent(2), Name::Agent(1), Name::Agent(3)]);
        let [one, two, three] = [1, 2, 3].map(|n| Event::Wake(Name::Agent(n)));
        queue.plan(at(7), three);
        queue.put_back(at(7), Vec::from([one, two]));
        let mut order = Vec::new();
        while let Some((_, Event::Wake(name))) = queue.pop(at(9)) {
            order.push(name);
        }
        assert_eq!(order, [1, 2, 3].map(Name::Agent));
        queue.plan(at(10), Event::Wake(Name::Master));
        assert!(queue.pop(at(9)).is_none());
        assert!(queue.pop(at(10)).is_some());
    }
}
