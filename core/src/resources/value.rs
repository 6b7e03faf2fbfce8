//! How much of a resource there is.
//!
//! Deliberately not here: what it is called and whose it is, and the values of attributes.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::items::Items;
use super::milli::Milli;
use super::ranges::Ranges;

/// How much of a resource (RM-01).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Value {
    /// A divisible quantity, such as cores or MiB.
    Scalar(Milli),
    /// Numbers that are told apart, such as ports.
    Ranges(Ranges),
    /// Names that are told apart.
    Items(Items),
}

/// The kind of a [`Value`]; a part of a resource's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Scalar,
    Ranges,
    Items,
}

impl Value {
    /// Returns whether this is nothing: zero, or an empty set.
    pub const fn is_zero(&self) -> bool {
        match self {
            Self::Scalar(amount) => amount.is_zero(),
            Self::Ranges(ranges) => ranges.is_empty(),
            Self::Items(items) => items.is_empty(),
        }
    }

    /// Returns how much it is as a plain number: sets are counted (RM-28).
    pub fn quantity(&self) -> Milli {
        match self {
            Self::Scalar(amount) => *amount,
            Self::Ranges(ranges) => Milli::from_count(ranges.count()),
            Self::Items(items) => Milli::from_count(items.len() as u128),
        }
    }

    /// Returns whether `other` is a part of this. Values of two kinds have nothing in common.
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => mine >= theirs,
            (Self::Ranges(mine), Self::Ranges(theirs)) => mine.contains(theirs),
            (Self::Items(mine), Self::Items(theirs)) => mine.contains(theirs),
            (
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
            ) => false,
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Scalar(_) => Kind::Scalar,
            Self::Ranges(_) => Kind::Ranges,
            Self::Items(_) => Kind::Items,
        }
    }

    /// Returns whether the sum of both, of one kind, is a value; the union of sets always is.
    pub(super) const fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => mine.checked_add(*theirs).is_some(),
            (
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
            ) => true,
        }
    }

    /// Adds a value of the same kind, whose sum fits, or unites the sets.
    pub(super) fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => {
                *mine = mine.checked_add(*theirs).expect("the sum was found to fit");
            }
            (Self::Ranges(mine), Self::Ranges(theirs)) => *mine = mine.union(theirs),
            (Self::Items(mine), Self::Items(theirs)) => *mine = mine.union(theirs),
            (
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
            ) => {
                unreachable!("values of two kinds never have one identity")
            }
        }
    }

    /// Takes away a value of the same kind, which must be contained.
    pub(super) fn take(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => {
                let rest = mine.checked_sub(*theirs);
                *mine = rest.expect("it was found to be contained");
            }
            (Self::Ranges(mine), Self::Ranges(theirs)) => *mine = mine.subtract(theirs),
            (Self::Items(mine), Self::Items(theirs)) => *mine = mine.subtract(theirs),
            (
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
            ) => {
                unreachable!("values of two kinds never have one identity")
            }
        }
    }

    /// Returns what both have; of two kinds, as much as they have in common: nothing of this.
    pub(super) fn common(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => Self::Scalar((*mine).min(*theirs)),
            (Self::Ranges(mine), Self::Ranges(theirs)) => Self::Ranges(mine.intersect(theirs)),
            (Self::Items(mine), Self::Items(theirs)) => Self::Items(mine.intersect(theirs)),
            (
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
            ) => Self::Scalar(Milli::ZERO),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(amount) => amount.fmt(f),
            Self::Ranges(ranges) => ranges.fmt(f),
            Self::Items(items) => items.fmt(f),
        }
    }
}
