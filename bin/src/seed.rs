//! Where nodes that really run get their chance from.

use std::hash::{BuildHasher, RandomState};

use tepui_core::rng::Rng;

/// Returns a generator that no one can foresee.
pub(crate) fn fresh() -> Rng {
    Rng::new(RandomState::new().hash_one(std::process::id()))
}
