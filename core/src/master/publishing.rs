//! Tells operators what has changed: events are made of the rows that were written to, at the end
//! of each input, and given to those who ask for them.
//!
//! No handler says what it changes, and so none can forget to: tables note it while somebody reads
//! events ([`crate::table::Table::watch`]). Deliberately not here: what a row looks like (`view`).

use alloc::format;

use super::waiting::{Crowd, Reads};
use super::{Cx, Effect, Master, view};
use crate::feed::{Changes, Feed, Gap, Tells, watch_all};
use crate::ids::{PeerId, RequestId};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::events::{Batch, Event, Row, Version};
use crate::protocol::operator::{Answer, Response};
use crate::protocol::version;

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
        let told = self.registry.told();
        watch_all([told.gone, told.ended, told.machines, told.down], is_on);
        watch_all([self.inverse_offers.rows_mut()], is_on);
        watch_all([self.tasks.executors_mut()], is_on);
        watch_all([self.tasks.rows_mut()], is_on);
    }

    fn changes(&mut self) -> Changes<Row> {
        let mut changes = Changes::default();
        changes.take(self.agents.rows_mut(), |row| Some(view::agent(row)));
        changes.take(self.frameworks.rows_mut(), |row| Some(view::framework(row)));
        changes.take(self.tasks.executors_mut(), |row| Some(view::executor(row)));
        changes.take(self.tasks.rows_mut(), view::task);
        changes.take(self.offers.rows_mut(), |row| Some(view::offer(row)));
        changes.take(self.roles.rows_mut(), |row| Some(view::role(row)));
        changes.take(self.operations.rows_mut(), |row| Some(view::operation(row)));
        let told = self.registry.told();
        changes.take(told.gone.watched(), |row| Some(view::gone(row)));
        changes.take(told.ended.watched(), |row| Some(view::ended(row)));
        changes.take(told.machines.watched(), |row| Some(view::machine(row)));
        changes.take(told.down.watched(), |row| Some(view::down(row)));
        let asked = self.inverse_offers.rows_mut();
        changes.take(asked, |row| Some(view::inverse_offer(row)));
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
        let mut waiting = self.waiting.take();
        if planted(Mutant::WatcherMissed) {
            while waiting.len() > 1 {
                waiting.pop_last();
            }
        }
        if waiting.is_empty() {
            return;
        }
        let answers = [Reads::Some, Reads::All].map(|reads| self.answer_after(before, reads));
        for ((peer, id), reads) in waiting {
            let (answer, next) = (answers[usize::from(reads == Reads::All)].clone(), None);
            let response = Response { id, answer, next };
            cx.out.emit(Effect::Respond { peer, response });
        }
    }

    fn answer_after(&self, after: Version, reads: Reads) -> Answer {
        let is_known = |event: &Event| event.kind().since() == version::Version::FIRST;
        match self.feed.after(after) {
            Ok(batch) if reads == Reads::All || batch.events.iter().all(is_known) => {
                Answer::Events(batch)
            }
            Ok(_) | Err(Gap) => Answer::Gap {
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
        reads: Reads,
    ) -> Option<Answer> {
        self.follow(cx.now);
        let newest = self.feed.newest();
        if after != Some(newest) {
            return Some(self.answer_after(after.unwrap_or(newest), reads));
        }
        let (most, of_whom) = match self.waiting.add(waiter, reads) {
            Ok(()) => return None,
            Err(Crowd::All) => (limits::WATCHES, ""),
            Err(Crowd::OfConnection) => (limits::WATCHES_PER_CONNECTION, " of this connection"),
        };
        let busy = format!("{most} questions{of_whom} wait for events already");
        Some(Answer::Conflict(busy))
    }
}
