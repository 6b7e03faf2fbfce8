//! The order of events, for the rows of any machine.
//!
//! Deliberately not here: what rows mean.

use alloc::collections::BTreeMap;
use core::marker::PhantomData;

use crate::protocol::events::{Batch, Event, Named, Row, Snapshot, Version};

/// Why something is not what comes next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit<R: Named = Row> {
    /// Something is missing or came twice, or is of another leadership.
    #[error("events after {given:?} for who has {has:?}")]
    Order {
        /// Up to where the mirror is.
        has: Version,
        /// What the events come after.
        given: Version,
    },
    /// Events for a mirror that has no snapshot.
    #[error("events without a snapshot")]
    Empty,
    /// What is added is there already.
    #[error("{0:?} is added and was there")]
    Known(R::Id),
    /// What changes or goes is not there.
    #[error("{0:?} changes and was not there")]
    Unknown(R::Id),
}

/// Where rows are kept.
pub trait Shelf<R: Named>: Default {
    /// Puts a row in the place of the one of its name; returns whether there was one.
    fn put(&mut self, row: R) -> bool;

    /// Takes a row out; returns whether it was there.
    fn remove(&mut self, id: &R::Id) -> bool;
}

impl<R: Named> Shelf<R> for BTreeMap<R::Id, R> {
    fn put(&mut self, row: R) -> bool {
        self.insert(row.id(), row).is_some()
    }

    fn remove(&mut self, id: &R::Id) -> bool {
        self.remove(id).is_some()
    }
}

/// What a reader knows of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following<R: Named, S = BTreeMap<<R as Named>::Id, R>> {
    version: Option<Version>,
    /// Pages of the snapshot are of several versions, up to this number; `None` once the events up
    /// to it are in.
    blurred_until: Option<u64>,
    pub(super) rows: S,
    of: PhantomData<fn() -> R>,
}

impl<R: Named, S: Shelf<R>> Default for Following<R, S> {
    fn default() -> Self {
        Self {
            version: None,
            blurred_until: None,
            rows: S::default(),
            of: PhantomData,
        }
    }
}

impl<R: Named, S: Shelf<R>> Following<R, S> {
    /// Makes one that has all rows of one moment.
    pub fn of(version: Version, rows: impl IntoIterator<Item = R>) -> Self {
        let mut mirror = Self {
            version: Some(version),
            ..Self::default()
        };
        for row in rows {
            mirror.rows.put(row);
        }
        mirror
    }

    /// Returns the rows.
    pub fn rows(&self) -> &S {
        &self.rows
    }

    /// Returns up to where events are in; what comes next is what comes after that.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Returns whether this is the master's state of one moment, once all pages of all kinds are
    /// loaded. If not, more events make it so.
    pub fn is_whole(&self) -> bool {
        self.version.is_some() && self.blurred_until.is_none()
    }

    /// Takes in a snapshot, page by page or joined, of all kinds before the first events.
    pub fn load(&mut self, page: Snapshot<R>) -> Result<(), Unfit<R>> {
        let begun = *self.version.get_or_insert(page.from);
        if page.upto.epoch != begun.epoch || page.from < begun {
            let (has, given) = (begun, page.from);
            return Err(Unfit::Order { has, given });
        }
        // What was read later may be newer. Events that it contains already change nothing that
        // lasts: after the last of them each row is as that says.
        if page.upto > begun {
            self.blurred_until = self.blurred_until.max(Some(page.upto.number));
        }
        for row in page.rows {
            self.rows.put(row);
        }
        Ok(())
    }

    /// Takes in the next events.
    pub fn apply(&mut self, batch: Batch<R>) -> Result<(), Unfit<R>> {
        let has = self.version.ok_or(Unfit::Empty)?;
        if batch.after != has {
            let given = batch.after;
            return Err(Unfit::Order { has, given });
        }
        self.version = Some(batch.upto());
        for (nth, event) in (1..).zip(batch.events) {
            let is_blurred = self.blurred_until.is_some();
            self.take_in(event).or_else(|unfit| match unfit {
                Unfit::Known(_) | Unfit::Unknown(_) if is_blurred => Ok(()),
                Unfit::Known(_) | Unfit::Unknown(_) | Unfit::Order { .. } | Unfit::Empty => {
                    Err(unfit)
                }
            })?;
            let number = has.number.saturating_add(nth);
            self.blurred_until = self.blurred_until.filter(|until| number < *until);
        }
        Ok(())
    }

    fn take_in(&mut self, event: Event<R>) -> Result<(), Unfit<R>> {
        match event {
            Event::Added(row) => {
                let id = row.id();
                if self.rows.put(row) {
                    return Err(Unfit::Known(id));
                }
            }
            Event::Updated(row) => {
                let id = row.id();
                if !self.rows.put(row) {
                    return Err(Unfit::Unknown(id));
                }
            }
            Event::Removed(id) => {
                if !self.rows.remove(&id) {
                    return Err(Unfit::Unknown(id));
                }
            }
        }
        Ok(())
    }
}
