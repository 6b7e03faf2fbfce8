//! What is fuzzed, as plain functions from bytes: a fuzzer calls them, and `cargo test` replays
//! arbitrary bytes and the corpora (`fuzz/corpus/TARGET`) through them on a stable toolchain.
//!
//! A target panics if a promise is broken. Deliberately not here: the fuzzer itself, which is an
//! optional dependency, so that building the workspace needs no C++ compiler.

mod changes;
mod cluster;
#[cfg(test)]
mod corpus;
mod frames;
mod json;
mod texts;

pub use changes::changes;
pub use cluster::cluster;
pub use frames::frames;
pub use json::json;
pub use texts::texts;
