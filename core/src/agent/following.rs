//! How an agent is followed: snapshots with a version, and the events after it (I13).
//!
//! Deliberately not here: what rows look like (`rows`), and what is kept of events
//! ([`crate::feed`]).

use alloc::vec::Vec;

use super::Agent;
use super::containers::Phase;
use super::disks::Job;
use super::executors::{Executor, Session};
use super::history::Ended;
use super::operations::Said;
use super::records::Number;
use super::rows::{self, AgentRow, Row};
use super::tasks::Task;
use crate::feed::{self, Changes, Feed, Followed, Gap, Tells, watch_all};
use crate::mutant::{Mutant, planted};
use crate::protocol::events::{Batch, Version};
use crate::table::Table;

/// An agent as it was at one moment.
#[derive(Clone, Debug)]
pub struct Picture {
    version: Version,
    agent: AgentRow,
    executors: Table<(Number, Executor)>,
    sessions: Table<(Number, Session)>,
    containers: Table<(Number, Phase)>,
    tasks: Table<(Number, Task)>,
    ended: Table<(u64, Ended)>,
    operations: Table<(u64, Said)>,
    disks: Table<(u64, Job)>,
}

impl feed::Picture for Picture {
    type Row = Row;

    fn version(&self) -> Version {
        self.version
    }

    fn rows(&self) -> Vec<Row> {
        fn all<T>(table: &Table<T>, show: fn(&T) -> Option<Row>) -> impl Iterator<Item = Row> {
            table.iter().filter_map(move |(_, row)| show(row))
        }
        let own = core::iter::once(Row::Agent(self.agent.clone()));
        own.chain(all(&self.executors, rows::executor))
            .chain(all(&self.sessions, rows::session))
            .chain(all(&self.containers, rows::container))
            .chain(all(&self.tasks, rows::task))
            .chain(all(&self.ended, rows::ended))
            .chain(all(&self.operations, rows::operation))
            .chain(all(&self.disks, rows::disk))
            .collect()
    }
}

impl Followed for Agent {
    type Row = Row;
    type Picture = Picture;

    fn picture(&self) -> Picture {
        Picture {
            version: self.feed.newest(),
            agent: self.own_row(),
            executors: self.state.executors().pages().clone(),
            sessions: self.sessions.rows().pages().clone(),
            containers: self.containers.rows().pages().clone(),
            tasks: self.state.tasks().pages().clone(),
            ended: self.history.rows().pages().clone(),
            operations: self.state.said().pages().clone(),
            disks: self.state.jobs().pages().clone(),
        }
    }

    fn events_after(&self, after: Version) -> Result<Batch<Row>, Gap> {
        self.feed.after(after)
    }
}

impl Agent {
    fn own_row(&self) -> AgentRow {
        AgentRow {
            id: self.state.agent().cloned(),
            standing: self.link.into(),
            epoch: self.state.epoch(),
            total: self.total.clone(),
            carried_out: self.state.converted().last,
            drains: self.drain.goes_on,
            drain_due: self.drain.due,
            leaves: self.leaving.is_some(),
            retired: self.state.retired().len(),
            undeletable: self.deletions.failed(),
        }
    }
}

impl Tells for Agent {
    type Told = Row;

    fn feed(&mut self) -> &mut Feed<Row> {
        &mut self.feed
    }

    fn watch(&mut self, is_on: bool) {
        watch_all(self.state.told(), is_on);
        let (sessions, containers) = (self.sessions.rows_mut(), self.containers.rows_mut());
        watch_all([sessions, containers, self.history.rows_mut()], is_on);
        self.told = is_on.then(|| Row::Agent(self.own_row()));
    }

    fn changes(&mut self) -> Changes<Row> {
        let mut changes = Changes::default();
        let own = Row::Agent(self.own_row());
        changes.take_one(self.told.replace(own.clone()), own);
        self.state.take_changes(&mut changes);
        changes.take(self.sessions.rows_mut().watched(), rows::session);
        if planted(Mutant::ContainersUntold) {
            self.containers.rows_mut().watched().take_written();
        }
        changes.take(self.containers.rows_mut().watched(), rows::container);
        changes.take(self.history.rows_mut().watched(), rows::ended);
        changes
    }
}
