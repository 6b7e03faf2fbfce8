//! Resources.
mod milli;
pub use milli::Milli;

/// Placeholder.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Resources {}
