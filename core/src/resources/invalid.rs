//! Why something is not a resource, or not in the form in which peers send it.
//!
//! Deliberately not here: errors of operations, and of texts, which say where.

use alloc::string::String;
use alloc::sync::Arc;

use super::labels::InvalidText;
use super::parse::excerpt;
use super::reservation::InvalidReservation;
use crate::limits;

/// A sum does not fit: into 64 bits of thousandths, or into the bound on copies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sum of {name:?} is above 9223372036854775.807, or above 65536 copies")]
pub struct Overflow {
    pub(super) name: Arc<str>,
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
    /// It has a disk source or a volume, and is not a scalar called `disk`.
    #[error("{name:?} has a disk source or a volume, but is not a scalar called \"disk\"")]
    NotADisk {
        /// What it is called.
        name: Arc<str>,
    },
    /// A level does not fit onto its reservation.
    #[error("{name:?}: {why}")]
    Reservation {
        /// What is reserved.
        name: Arc<str>,
        /// What is wrong with the level.
        why: InvalidReservation,
    },
    /// It is not reserved, so no level can be removed.
    #[error("{name:?} is not reserved")]
    Unreserved {
        /// What is not.
        name: Arc<str>,
    },
    /// A text about it is not fit.
    #[error("{name:?}: {why}")]
    Text {
        /// What it is called.
        name: Arc<str>,
        /// Which text.
        why: InvalidText,
    },
    /// It is two things that exclude each other.
    #[error("{name:?} {problem}")]
    Together {
        /// What it is called.
        name: Arc<str>,
        /// Which things.
        problem: &'static str,
    },
    /// There are no copies of it, too many, or several of what is not shared.
    #[error("{name:?} has {copies} copies: what is shared has 1 to 65536, anything else 1")]
    Copies {
        /// What it is called.
        name: Arc<str>,
        /// How many there shall be.
        copies: u32,
    },
    /// It is exclusive or shared, so there is no other amount of it.
    #[error("{name:?} is exclusive or shared: there is no other amount of it")]
    Undividable {
        /// What it is called.
        name: Arc<str>,
    },
    /// It stands twice in a bag, after a greater one, is zero, or plain at length.
    #[error("{name:?} is zero, repeated, out of order or described as nothing special")]
    NotCanonical {
        /// Which resource.
        name: Arc<str>,
    },
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
