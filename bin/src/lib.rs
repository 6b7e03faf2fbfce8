//! Tepui.
pub mod cli;
mod compose_stub;
mod dev_authority;
use compose_stub::{daemon, embedded};
pub use tepui_transport::{client, framework, operator, target};
/// Stub.
pub fn run_if_hidden() {}
