//! The agent: offers one machine, runs tasks on it in containers, and tells what becomes of them.
//!
//! Driven by a driver or the simulator, which turn its effects into frames and orders to a
//! containerizer. Programs are run by the command executor, which is this machine itself: a task
//! with a command is a container and nothing else. No `Starting` is reported for it, which saves a
//! round trip for news that says nothing.
//!
//! Reading order: `interface`, `records` and `journal` (what it remembers), `on_master`, `running`,
//! `kills`, `groups`, `checks`, `on_container`, `on_executor`, `messages`, `patience`, `overdue`,
//! `updates`, `operations`, `disks`, `volumes`, `recovery`, `drain`, `leaving`, `rows`,
//! `following`.
//!
//! Deliberately not here: how containers work, where sandboxes are, finding the master.

mod checks;
mod containers;
mod disks;
mod drain;
mod executors;
mod following;
mod gc;
mod groups;
mod history;
mod interface;
mod invariants;
mod journal;
mod kills;
mod launch;
mod leaving;
mod messages;
mod on_container;
mod on_executor;
mod on_master;
mod operations;
mod overdue;
mod patience;
mod reconfigure;
mod records;
mod recovery;
mod registration;
mod resizing;
mod rows;
mod running;
mod sayings;
mod tasks;
mod updates;
mod view;
mod volumes;

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use self::checks::{Aim, Trials};
use self::containers::Containers;
use self::drain::Drain;
use self::executors::Sessions;
pub use self::following::Picture;
use self::gc::Deletions;
pub use self::history::EndedTask;
use self::history::History;
pub use self::interface::{Config, Effect, Input, Recover};
pub use self::invariants::Violation;
pub use self::journal::AgentState;
pub use self::launch::task_sandboxes;
use self::leaving::Leaving;
use self::overdue::Watches;
pub use self::patience::Departure;
pub use self::reconfigure::Policy;
pub use self::records::{AgentRecord, Number};
use self::recovery::Recovery;
use self::registration::Link;
pub use self::rows::{
    AgentRow, ContainerRow, ContainerStage, DiskRow, EndedRow, ExecutorRow, OperationRow, Row,
    RowId, SessionRow, Standing, TaskRow, Unacknowledged,
};
pub use self::tasks::Placement;
use self::updates::{Flights, Stream};
pub use self::view::{Sandbox, TaskSummary, View};
use crate::feed::{Feed, Tells};
use crate::ids::PeerId;
use crate::machine::{Durable, Machine, Outbox};
use crate::protocol::agent::ToMaster;
use crate::protocol::container::ContainerCommand;
use crate::protocol::framework::{FrameworkInfo, Introduced};
use crate::protocol::hello::CloseReason;
use crate::resources::Resources;
use crate::rng::Rng;
use crate::time::Time;
use crate::timers::Timers;

/// What is waited for. The entity keeps the moment, so that a stale timer is known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The next attempt to register.
    Register,
    /// The master was silent for too long.
    Silence,
    /// The oldest update of a task, or the news about an operation, is sent again.
    Resend(Stream),
    /// A container was given its time, to start or to end.
    Container(Number),
    /// An executor had its time to subscribe.
    Subscribe(Number),
    /// The first word about a task that an executor was handed.
    Word(Number),
    /// The end of a task that an executor was told to end.
    Overdue(Number),
    /// The end of the time that a task may run.
    RunOut(Number),
    /// The end of the time that a drain may take.
    Drain,
    /// The next try of a check, or the end of the one under way.
    Trial(Number, Aim),
}

type Out = Outbox<AgentRecord, Effect>;

/// What a handler writes to, and when it is.
struct Cx<'a> {
    now: Time,
    out: &'a mut Out,
}

impl Cx<'_> {
    fn container(&mut self, command: ContainerCommand) {
        self.out.emit(Effect::Container(command));
    }

    fn disconnect(&mut self, peer: PeerId, close: CloseReason, reason: impl Into<String>) {
        let reason = reason.into();
        self.out.emit(Effect::Disconnect {
            peer,
            close,
            reason,
        });
    }
}

/// One agent.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    state: AgentState,
    /// What it has: what its configuration says, and what operations have made of that.
    total: Resources,
    rng: Rng,
    timers: Timers<Timer>,
    /// Until when no timer fires, for the agent has stood still.
    listens_until: Time,
    /// How often in a row it has listened, and was late again.
    listened: u32,
    /// When tasks have run for as long as they may, of those that are known to run.
    run_outs: BTreeMap<Number, Time>,
    link: Link,
    /// What the master has told of frameworks since the agent last joined.
    introduced: Introduced<FrameworkInfo>,
    /// Whether it ends itself once nothing runs any more, and why.
    leaving: Option<Leaving>,
    drain: Drain,
    recovery: Recovery,
    containers: Containers,
    sessions: Sessions,
    flights: Flights,
    watches: Watches,
    trials: Trials,
    deletions: Deletions,
    /// The operations that destroyed volumes which are being deleted in this life.
    emptied: BTreeSet<u64>,
    history: History,
    /// Executors, and tasks of ended frameworks, that have ended since it began to ask for its
    /// registration. Whatever it asked with may name them.
    late_ends: Vec<ToMaster>,
    /// What is told of it as it happens.
    feed: Feed<Row>,
    /// What was told last of the agent itself, while somebody reads.
    told: Option<Row>,
}

impl Agent {
    /// Returns what it remembers, as of the last input.
    pub fn state(&self) -> &AgentState {
        &self.state
    }

    /// Opens it for looking.
    pub fn view(&self) -> View<'_> {
        View::new(self)
    }

    /// Applies a record, and has it written before anything that follows.
    fn persist(&mut self, cx: &mut Cx<'_>, record: AgentRecord) {
        self.state.apply(&record);
        cx.out.persist(record);
    }

    fn fire_due(&mut self, cx: &mut Cx<'_>) {
        if self.listens(cx.now) {
            return;
        }
        while let Some((_, timer)) = self.timers.pop_due(cx.now) {
            match timer {
                Timer::Register => self.on_register_due(cx),
                Timer::Silence => self.on_silence(cx),
                Timer::Resend(stream) => self.on_resend_due(cx, stream),
                Timer::Container(number) => self.on_container_due(cx, number),
                Timer::Subscribe(executor) => self.on_subscribe_overdue(cx, executor),
                Timer::Word(task) => self.on_word_due(cx, task),
                Timer::Overdue(task) => self.on_task_overdue(cx, task),
                Timer::RunOut(task) => self.on_run_out(cx, task),
                Timer::Drain => self.on_drain_due(cx),
                Timer::Trial(task, aim) => self.on_trial_due(cx, task, aim),
            }
        }
    }

    fn take_in(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::MasterFound { peer } => self.on_master_found(cx, peer),
            Input::MasterLost { peer } => self.on_master_lost(peer),
            Input::Master { peer, message } => self.on_master(cx, peer, message),
            Input::ExecutorConnected { peer, container } => {
                self.on_executor_connected(cx, peer, &container);
            }
            Input::ExecutorDisconnected { peer } => self.on_executor_disconnected(cx, peer),
            Input::Executor { peer, call } => self.on_executor(cx, peer, call),
            Input::Container(event) => self.on_container(cx, event),
            Input::DiskUsed { permille } => {
                self.on_disk_used(cx, permille);
                self.delete_volumes(cx);
            }
            Input::SandboxDeleted { container, is_gone } => {
                self.on_sandbox_deleted(cx, &container, is_gone);
            }
            Input::VolumesDeleted { order, is_gone } => {
                self.on_volumes_deleted(cx, order, is_gone);
            }
            Input::Leave => self.on_leave(cx),
            Input::Disk(event) => self.on_disk(cx, event),
            Input::Departed(departure) => self.on_departed(cx, departure),
            Input::Follow => self.follow(cx.now),
        }
    }
}

impl Machine for Agent {
    type Input = Input;
    type Record = AgentRecord;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input, out: &mut Out) {
        let mut cx = Cx { now, out };
        self.fire_due(&mut cx);
        if self.link == Link::Stopped && input != Input::Follow {
            tracing::debug!(?input, "the agent has stopped: ignored");
        } else {
            self.take_in(&mut cx, input);
            self.stop_if_left(&mut cx);
        }
        self.publish(now);
    }

    fn tick(&mut self, now: Time, out: &mut Out) {
        let mut cx = Cx { now, out };
        self.fire_due(&mut cx);
        self.stop_if_left(&mut cx);
        self.publish(now);
    }

    fn deadline(&self) -> Option<Time> {
        self.due()
    }
}
