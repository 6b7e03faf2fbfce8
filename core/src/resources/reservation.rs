//! Reservations: whose a resource is, level by level.
//!
//! A [`Reservations`] that exists follows the rules of the stack (RM-21). A reservation belongs to
//! a role, never to a framework (RM-38). Deliberately not here: who may reserve.

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::labels::{InvalidText, Labels, check_text};
use crate::roles::Role;

/// One level of a reservation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reservation {
    /// Made by the configuration of the agent; nobody can undo it while it runs (RM-31).
    Static {
        /// Whose it is.
        role: Role,
    },
    /// Made by an operation (RM-32).
    Dynamic {
        /// Whose it is.
        role: Role,
        /// Who reserved it.
        principal: Option<Arc<str>>,
        /// What whoever reserved it says about it; other labels, another reservation.
        labels: Labels,
    },
}

/// The levels of a reservation, each refining the one before; none of them is unreserved.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Reservation>")]
pub struct Reservations(Vec<Reservation>);

/// Why a level does not fit onto a stack (RM-21).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReservation {
    /// It is to `*`, to which nothing can be reserved.
    #[error("nothing can be reserved to \"*\"")]
    ToAny,
    /// It is static and not the first.
    #[error("the reservation to {role:?} is static but refines another one")]
    StaticRefinement {
        /// To whom it is.
        role: Role,
    },
    /// Its role does not lie strictly below the role of the level before.
    #[error("role {role:?} is not below role {refined:?}, whose reservation it refines")]
    NotBelow {
        /// To whom it is.
        role: Role,
        /// The role of the level before.
        refined: Role,
    },
    /// Its principal is not fit.
    #[error(transparent)]
    Principal(#[from] InvalidText),
}

impl Reservation {
    /// Makes a dynamic reservation without principal and labels.
    pub const fn dynamic(role: Role) -> Self {
        Self::Dynamic {
            role,
            principal: None,
            labels: Labels::new(),
        }
    }

    /// Returns whose it is.
    pub const fn role(&self) -> &Role {
        match self {
            Self::Static { role } | Self::Dynamic { role, .. } => role,
        }
    }

    /// Returns whether an operation made it.
    pub const fn is_dynamic(&self) -> bool {
        match self {
            Self::Static { .. } => false,
            Self::Dynamic { .. } => true,
        }
    }
}

impl Reservations {
    /// Makes no reservation.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a level (RM-22, RM-33): the first may be static, each later one is dynamic and to a
    /// role strictly below the one before.
    pub fn push(&mut self, level: Reservation) -> Result<(), InvalidReservation> {
        check(self.0.last(), &level)?;
        self.0.push(level);
        Ok(())
    }

    /// Removes the most refined level; `None` if there is none.
    pub fn pop(&mut self) -> Option<Reservation> {
        self.0.pop()
    }

    /// Returns the most refined level.
    pub fn last(&self) -> Option<&Reservation> {
        self.0.last()
    }

    /// Returns the levels, the most refined last.
    pub fn levels(&self) -> &[Reservation] {
        &self.0
    }

    /// Returns whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Checks a level that is to stand upon `before`.
fn check(before: Option<&Reservation>, level: &Reservation) -> Result<(), InvalidReservation> {
    let role = level.role();
    if role.is_any() {
        return Err(InvalidReservation::ToAny);
    }
    if let Reservation::Dynamic {
        principal: Some(principal),
        ..
    } = level
    {
        check_text("principal", principal)?;
    }
    let Some(before) = before else { return Ok(()) };
    if !level.is_dynamic() {
        return Err(InvalidReservation::StaticRefinement { role: role.clone() });
    }
    if !role.is_below(before.role()) {
        return Err(InvalidReservation::NotBelow {
            role: role.clone(),
            refined: before.role().clone(),
        });
    }
    Ok(())
}

impl TryFrom<Vec<Reservation>> for Reservations {
    type Error = InvalidReservation;

    fn try_from(levels: Vec<Reservation>) -> Result<Self, InvalidReservation> {
        for (at, level) in levels.iter().enumerate() {
            check(at.checked_sub(1).map(|before| &levels[before]), level)?;
        }
        Ok(Self(levels))
    }
}
