//! Tells operators what has changed: events are made of the rows that were written to, at the end
//! of each input, and given to those who ask for them.
//!
//! No handler says what it changes, and so none can forget to: tables note it while somebody reads
//! events ([`crate::table::Table::watch`]). Deliberately not here: what a row looks like (`view`).

use alloc::format;
use alloc::vec::Vec;

use super::feed::{Crowd, Gap};
use super::{Cx, Effect, Master, view};
use crate::ids::{PeerId, RequestId};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::events::{Event, Row, RowId, Version};
use crate::protocol::operator::{Answer, Response};
use crate::table::{Table, Written};

/// What is told of one table.
struct Told {
    gone: Vec<RowId>,
    there: Vec<Event>,
}

impl Master {
    /// Tells what has changed since the last time, if somebody reads events.
    pub(super) fn publish(&mut self, cx: &mut Cx<'_>) {
        if self.feed.lapse(cx.now) {
            self.agents.rows_mut().unwatch();
            self.frameworks.rows_mut().unwatch();
            self.tasks.executors_mut().unwatch();
            self.tasks.rows_mut().unwatch();
            self.offers.rows_mut().unwatch();
            self.roles.rows_mut().unwatch();
            self.operations.rows_mut().unwatch();
        }
        if !self.feed.is_on() {
            self.feed.skip();
            return;
        }
        let before = self.feed.newest();
        for event in self.take_changes() {
            self.feed.push(event);
        }
        if self.feed.newest() != before {
            self.answer_waiting(cx, before);
        }
    }

    /// All who wait have what there was before.
    fn answer_waiting(&mut self, cx: &mut Cx<'_>, before: Version) {
        let mut waiting = self.feed.take_waiting();
        if planted(Mutant::WatcherMissed) {
            while waiting.len() > 1 {
                waiting.pop_last();
            }
        }
        if waiting.is_empty() {
            return;
        }
        let answer = self.events_after(before);
        for (peer, id) in waiting {
            let (answer, next) = (answer.clone(), None);
            let response = Response { id, answer, next };
            cx.out.emit(Effect::Respond { peer, response });
        }
    }

    fn events_after(&self, after: Version) -> Answer {
        match self.feed.after(after) {
            Ok(batch) => Answer::Events(batch),
            Err(Gap) => Answer::Gap {
                newest: self.feed.newest(),
            },
        }
    }

    /// Makes events from now on.
    pub(super) fn begin_events(&mut self, cx: &Cx<'_>) {
        if self.feed.begin(cx.now) {
            self.agents.rows_mut().watch();
            self.frameworks.rows_mut().watch();
            self.tasks.executors_mut().watch();
            self.tasks.rows_mut().watch();
            self.offers.rows_mut().watch();
            self.roles.rows_mut().watch();
            self.operations.rows_mut().watch();
        }
    }

    /// Answers a question for events, or has it wait for one.
    pub(super) fn on_watch(
        &mut self,
        cx: &Cx<'_>,
        waiter: (PeerId, RequestId),
        after: Option<Version>,
    ) -> Option<Answer> {
        self.begin_events(cx);
        let newest = self.feed.newest();
        if after != Some(newest) {
            return Some(self.events_after(after.unwrap_or(newest)));
        }
        let (most, of_whom) = match self.feed.wait(waiter) {
            Ok(()) => return None,
            Err(Crowd::All) => (limits::WATCHES, ""),
            Err(Crowd::OfConnection) => (limits::WATCHES_PER_CONNECTION, " of this connection"),
        };
        let busy = format!("{most} questions{of_whom} wait for events already");
        Some(Answer::Conflict(busy))
    }

    /// Says what has changed. What is gone goes first, so that its name can come back.
    fn take_changes(&mut self) -> Vec<Event> {
        let tables = [
            told(self.agents.rows_mut(), |row| Some(view::agent(row))),
            told(self.frameworks.rows_mut(), view::framework),
            told(self.tasks.executors_mut(), |row| Some(view::executor(row))),
            told(self.tasks.rows_mut(), view::task),
            told(self.offers.rows_mut(), |row| Some(view::offer(row))),
            told(self.roles.rows_mut(), |row| Some(view::role(row))),
            told(self.operations.rows_mut(), |row| Some(view::operation(row))),
        ];
        let mut events = Vec::new();
        for table in tables.iter().rev() {
            events.extend(table.gone.iter().cloned().map(Event::Removed));
        }
        events.extend(tables.into_iter().flat_map(|table| table.there));
        events
    }
}

/// Compares what is told of rows that were written to with what was told of them.
fn told<T>(table: &mut Table<T>, show: impl Fn(&T) -> Option<Row>) -> Told {
    let written: Written<T> = table.take_written();
    let mut told = Told {
        gone: Vec::new(),
        there: Vec::new(),
    };
    for (key, before) in written {
        let before = before.as_ref().and_then(&show);
        let now = table.get(key).and_then(&show);
        match (before, now) {
            (None, Some(row)) => told.there.push(Event::Added(row)),
            (Some(row), None) => told.gone.push(row.id()),
            (Some(before), Some(now)) if before != now => told.there.push(Event::Updated(now)),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    told
}
