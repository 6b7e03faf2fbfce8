//! Tells operators what has changed: events are made of the rows that were written to, at the end
//! of each input, and given to those who ask for them.
//!
//! No handler says what it changes, and so none can forget to: tables note it while somebody reads
//! events ([`crate::table::Table::watch`]). Deliberately not here: what a row looks like (`view`).

use alloc::format;

use super::waiting::Crowd;
use super::{Cx, Effect, Master, view};
use crate::feed::{Changes, Feed, Gap, Tells, watch_all};
use crate::ids::{PeerId, RequestId};
use crate::limits;
use crate::protocol::events::{Batch, Row, Version};
use crate::protocol::operator::{Answer, Response};

impl Tells for Master {
    type Told = Row;

    fn feed(&mut self) -> &mut Feed<Row> {
        &mut self.feed
    }

    fn watch(&mut self, is_on: bool) {
        watch_all(
            [
                self.agents.rows_mut(),
                self.frameworks.rows_mut(),
                self.offers.rows_mut(),
                self.roles.rows_mut(),
                self.operations.rows_mut(),
            ],
            is_on,
        );
        watch_all([self.tasks.executors_mut()], is_on);
        watch_all([self.tasks.rows_mut()], is_on);
    }

    fn changes(&mut self) -> Changes<Row> {
        let mut changes = Changes::default();
        changes.take(self.agents.rows_mut(), |row| Some(view::agent(row)));
        changes.take(self.frameworks.rows_mut(), view::framework);
        changes.take(self.tasks.executors_mut(), |row| Some(view::executor(row)));
        changes.take(self.tasks.rows_mut(), view::task);
        changes.take(self.offers.rows_mut(), |row| Some(view::offer(row)));
        changes.take(self.roles.rows_mut(), |row| Some(view::role(row)));
        changes.take(self.operations.rows_mut(), |row| Some(view::operation(row)));
        changes
    }
}

impl Master {
    /// Tells what has changed since the last time, if somebody reads events.
    pub(super) fn tell_readers(&mut self, cx: &mut Cx<'_>) {
        if !self.waiting.is_empty() {
            self.follow(cx.now);
        }
        let before = self.feed.newest();
        self.publish(cx.now);
        if self.feed.is_on() && self.feed.newest() != before {
            self.answer_waiting(cx, before);
        }
    }

    /// All who wait have what there was before.
    fn answer_waiting(&mut self, cx: &mut Cx<'_>, before: Version) {
        let waiting = self.waiting.take();
        if waiting.is_empty() {
            return;
        }
        let answer = self.answer_after(before);
        for (peer, id) in waiting {
            let (answer, next) = (answer.clone(), None);
            let response = Response { id, answer, next };
            cx.out.emit(Effect::Respond { peer, response });
        }
    }

    fn answer_after(&self, after: Version) -> Answer {
        match self.feed.after(after) {
            Ok(batch) => Answer::Events(batch),
            Err(Gap) => Answer::Gap {
                newest: self.feed.newest(),
            },
        }
    }

    /// Returns the events after a version, if they are kept: what [`Call::Watch`] answers, for
    /// whoever has the machine itself.
    ///
    /// [`Call::Watch`]: crate::protocol::operator::Call::Watch
    pub fn events_after(&self, after: Version) -> Result<Batch, Gap> {
        self.feed.after(after)
    }

    /// Answers a question for events, or has it wait for one.
    pub(super) fn on_watch(
        &mut self,
        cx: &Cx<'_>,
        waiter: (PeerId, RequestId),
        after: Option<Version>,
    ) -> Option<Answer> {
        self.follow(cx.now);
        let newest = self.feed.newest();
        if after != Some(newest) {
            return Some(self.answer_after(after.unwrap_or(newest)));
        }
        let (most, of_whom) = match self.waiting.add(waiter) {
            Ok(()) => return None,
            Err(Crowd::All) => (limits::WATCHES, ""),
            Err(Crowd::OfConnection) => (limits::WATCHES_PER_CONNECTION, " of this connection"),
        };
        let busy = format!("{most} questions{of_whom} wait for events already");
        Some(Answer::Conflict(busy))
    }
}
