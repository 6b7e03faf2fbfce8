//! Tepui.
pub mod cli;
mod compose_stub;
mod dev_authority;
use compose_stub::{client, daemon, embedded, framework, operator, target};
/// Stub.
pub fn run_if_hidden() {}
