//! The keys that the allocator and its embedder share.
//!
//! Whoever embeds an allocator mints them: from the rows of a [`crate::table::Table`] of its own
//! (`key.cast()`), or with [`Key::from_raw`] from any dense numbering.

use crate::table::Key;

/// What the keys name. Only markers.
pub mod mark {
    /// Marks the key of an agent.
    #[derive(Debug)]
    pub enum Agent {}
    /// Marks the key of a framework.
    #[derive(Debug)]
    pub enum Framework {}
}

/// Names an agent between an allocator and its embedder.
pub type AgentKey = Key<mark::Agent>;
/// Names a framework between an allocator and its embedder.
pub type FrameworkKey = Key<mark::Framework>;
