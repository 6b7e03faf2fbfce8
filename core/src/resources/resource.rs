//! One resource: what it is called, whose it is, and how much of it there is.
//!
//! Everything but the value is its identity. Only resources of equal identity merge, and
//! [`Resource::identity_cmp`] is the one place that knows what identity is. Deliberately not here:
//! bags of resources.

use alloc::string::String;
use alloc::sync::Arc;
use core::cmp::Ordering;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::items::Items;
use super::milli::Milli;
use super::parse::excerpt;
use super::ranges::Ranges;
use crate::limits;
use crate::roles::Role;

/// How much of a resource (RM-01).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// A sum does not fit into 64 bits of thousandths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sum of {name:?} is above 9223372036854775.807")]
pub struct Overflow {
    pub(super) name: Arc<str>,
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

    /// Returns the sum, or the union of sets; `None` if a sum does not fit.
    pub(super) fn sum(&self, other: &Self) -> Option<Self> {
        Some(match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => Self::Scalar(mine.checked_add(*theirs)?),
            (Self::Ranges(mine), Self::Ranges(theirs)) => Self::Ranges(mine.union(theirs)),
            (Self::Items(mine), Self::Items(theirs)) => Self::Items(mine.union(theirs)),
            (
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
            ) => unreachable!("values of two kinds never have one identity"),
        })
    }

    /// Returns what is left without `other`, which must be contained.
    pub(super) fn rest(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => Self::Scalar(
                mine.checked_sub(*theirs)
                    .expect("it was found to be contained"),
            ),
            (Self::Ranges(mine), Self::Ranges(theirs)) => Self::Ranges(mine.subtract(theirs)),
            (Self::Items(mine), Self::Items(theirs)) => Self::Items(mine.subtract(theirs)),
            (
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
                Self::Scalar(_) | Self::Ranges(_) | Self::Items(_),
            ) => unreachable!("values of two kinds never have one identity"),
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

/// A named amount of something, reserved to a role or to nobody (RM-09).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Resource {
    name: Arc<str>,
    reservation: Option<Role>,
    value: Value,
}

/// A resource as a peer sends it, before it is checked. The fields are those of [`Resource`].
#[derive(Deserialize)]
struct Raw {
    name: Arc<str>,
    reservation: Option<Role>,
    value: Value,
}

/// Why something is not a resource (RM-14).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResource {
    /// The name is not legal.
    #[error("invalid resource name {name:?}: {problem}")]
    Name {
        /// The name, or its beginning.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The amount is below zero.
    #[error("the amount of {name:?} is negative")]
    Negative {
        /// Whose amount.
        name: Arc<str>,
    },
    /// It is reserved to `*`, which can reserve nothing (RM-21).
    #[error("{name:?} is reserved to \"*\"")]
    ReservedToAny {
        /// What is reserved.
        name: Arc<str>,
    },
    /// It stands twice in a bag, after a greater one, or is zero.
    #[error("{name:?} is zero, repeated or out of order")]
    NotCanonical {
        /// Which resource.
        name: Arc<str>,
    },
}

impl Resource {
    /// Makes an unreserved resource. The name has 1 to 255 bytes, no control characters, none of
    /// `():;` and no blanks at its ends; any such name is legal (RM-08).
    pub fn new(name: &str, value: Value) -> Result<Self, InvalidResource> {
        Self::checked(Arc::from(name), None, value)
    }

    fn checked(
        name: Arc<str>,
        reservation: Option<Role>,
        value: Value,
    ) -> Result<Self, InvalidResource> {
        check_name(&name)?;
        if matches!(value, Value::Scalar(amount) if amount < Milli::ZERO) {
            return Err(InvalidResource::Negative { name });
        }
        if reservation.as_ref().is_some_and(Role::is_any) {
            return Err(InvalidResource::ReservedToAny { name });
        }
        Ok(Self {
            name,
            reservation,
            value,
        })
    }

    /// Reserves it to a role instead; `*` leaves it unreserved (RM-10).
    #[must_use]
    pub fn reserved_to(self, role: Role) -> Self {
        let reservation = Some(role).filter(|role| !role.is_any());
        Self {
            reservation,
            ..self
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its name as a pointer that can be kept.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Returns how much of it there is.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the role that it is reserved to (RM-22); `None` if it is unreserved.
    pub const fn reservation_role(&self) -> Option<&Role> {
        self.reservation.as_ref()
    }

    /// Returns whether it may be offered to `role`: it is unreserved, or reserved to that role or
    /// one above it (RM-23).
    pub fn is_allocatable_to(&self, role: &Role) -> bool {
        let reserved = self.reservation.as_ref();
        reserved.is_none_or(|reserved| role == reserved || role.is_below(reserved))
    }

    /// Orders by identity, that is by everything but the value (RM-18). Equal means that the two
    /// merge.
    pub(super) fn identity_cmp(&self, other: &Self) -> Ordering {
        (self.name.cmp(&other.name))
            .then_with(|| self.value.kind().cmp(&other.value.kind()))
            .then_with(|| self.reservation.cmp(&other.reservation))
    }

    pub(super) fn set_value(&mut self, value: Value) {
        self.value = value;
    }
}

/// Checks the name of a resource or a quantity.
pub(super) fn check_name(name: &str) -> Result<(), InvalidResource> {
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.len() > limits::ID_BYTES {
        "it is longer than 255 bytes"
    } else if name.trim() != name {
        "it begins or ends with a blank"
    } else if name.contains(['(', ')', ':', ';']) {
        "it contains a sign of the text form"
    } else if name.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    Err(InvalidResource::Name {
        name: excerpt(name, 0),
        problem,
    })
}

impl TryFrom<Raw> for Resource {
    type Error = InvalidResource;

    fn try_from(raw: Raw) -> Result<Self, InvalidResource> {
        Self::checked(raw.name, raw.reservation, raw.value)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(role) = &self.reservation {
            write!(f, "({role})")?;
        }
        write!(f, ":{}", self.value)
    }
}
