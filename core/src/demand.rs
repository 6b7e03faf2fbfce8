//! What a framework says it wants, so that it is not offered anything else.
//!
//! The allocator cuts offers to it, if it is told to honour demands. Deliberately not here: what
//! is offered and refused meanwhile, which the allocator counts.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::resources::Quantities;

/// What a framework wants in a role, until it says something else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Demand {
    /// The shapes that it wants, the most wanted first. None at all: it wants nothing for now.
    pub shapes: Vec<Shape>,
    /// The most that it wants to hold in offers at once; `None` is no bound.
    pub at_once: Option<Quantities>,
}

/// So many of the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// What each one takes, all of it on one agent. Of ranges and sets it is how many, of any.
    pub each: Quantities,
    /// How many of them.
    pub count: u32,
}
