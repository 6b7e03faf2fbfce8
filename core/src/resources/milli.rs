//! Thousandths: the only number type of resources, and the only door for floats.

use serde::{Deserialize, Serialize};

/// A quantity in thousandths (RM-02).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Milli(i64);

impl Milli {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Makes a quantity from thousandths.
    pub const fn from_thousandths(thousandths: i64) -> Self {
        Self(thousandths)
    }

    /// Returns the thousandths.
    pub const fn thousandths(self) -> i64 {
        self.0
    }
}
