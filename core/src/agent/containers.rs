//! The containers of this life: which were ordered, which run, and which are given time to end.
//!
//! A container carries the [`Number`] of the task or executor in it. Used by the handlers.
//! Deliberately not here: what a container's end means for tasks ([`super::on_container`]).

use super::records::Number;
use crate::book::Book;
use crate::ids::ContainerId;
use crate::time::Time;

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Ordered, or asked about after a restart; not heard of yet. It is given up at that moment,
    /// which is known once the order has left.
    Launching(Option<Time>),
    /// It took too long to start, and its end was ordered. Nobody waits for that for ever: it is
    /// given up at that moment, which is known once the order has left.
    Stuck(Option<Time>),
    /// Its program runs.
    Running,
    /// Its program was asked to end, and is destroyed at that moment, which is known once the order
    /// has left.
    Ending(Option<Time>),
    /// Its end was ordered.
    Destroyed,
}

impl Phase {
    /// Returns whether it has neither started nor ended yet, as far as was heard.
    pub(super) const fn is_unheard(self) -> bool {
        match self {
            Self::Launching(_) | Self::Stuck(_) => true,
            Self::Running | Self::Ending(_) | Self::Destroyed => false,
        }
    }

    /// Returns when its time is over, if it was given one.
    pub(super) const fn due(self) -> Option<Time> {
        match self {
            Self::Launching(at) | Self::Stuck(at) | Self::Ending(at) => at,
            Self::Running | Self::Destroyed => None,
        }
    }
}

/// All containers that have not ended.
#[derive(Debug, Default)]
pub(super) struct Containers {
    rows: Book<Number, Phase>,
}

impl Containers {
    /// Adds one that is being started.
    pub(super) fn add(&mut self, number: Number) {
        let before = self.rows.insert(number, Phase::Launching(None));
        assert!(before.is_none(), "{number:?} has a container already");
    }

    pub(super) fn phase(&self, number: Number) -> Option<Phase> {
        self.rows.get(&number).copied()
    }

    /// Moves a container on, and returns how far it was; one that has ended stays away.
    pub(super) fn set(&mut self, number: Number, phase: Phase) -> Option<Phase> {
        let row = self.rows.get_mut(&number)?;
        Some(core::mem::replace(row, phase))
    }

    pub(super) fn remove(&mut self, number: Number) -> Option<Phase> {
        self.rows.remove(&number)
    }

    pub(super) fn rows(&self) -> &Book<Number, Phase> {
        &self.rows
    }

    pub(super) fn rows_mut(&mut self) -> &mut Book<Number, Phase> {
        &mut self.rows
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Number, Phase)> + '_ {
        self.rows.iter().map(|(number, phase)| (*number, *phase))
    }
}

impl Number {
    /// Names the container that carries this number.
    pub(crate) fn container(self) -> ContainerId {
        ContainerId::numbered(self.0)
    }

    /// Reads the number off a container's name, if an agent gave it that name.
    pub(super) fn of_container(id: &ContainerId) -> Option<Self> {
        let number = Self(id.as_str().strip_prefix('c')?.parse().ok()?);
        (number.container() == *id).then_some(number)
    }
}
