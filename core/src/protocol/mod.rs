//! What nodes say to each other: plain data with public fields, and no behaviour but checks.
//!
//! | from | to | says | hears |
//! |---|---|---|---|
//! | framework | master | [`scheduler::Call`] | [`scheduler::Event`] |
//! | agent | master | [`agent::ToMaster`] | [`agent::ToAgent`] |
//! | executor | agent | [`executor::Call`] | [`executor::Event`] |
//! | operator | master | [`operator::Request`] | [`operator::Response`] |
//! | agent machine | containerizer | [`container::ContainerCommand`] | [`container::ContainerEvent`] |
//! | agent machine | provider of disks | [`disk::DiskCommand`] | [`disk::DiskEvent`] |
//! | anybody | agent | [`agent::Read`] | bytes of a file |
//! | anybody | agent | [`enter::Opening`], [`enter::Input`] | [`enter::Output`], [`usage::Answer`] |
//!
//! On the wire these are postcard frames, versioned per connection: enums grow only at the end, and
//! nobody is sent what is newer than what was agreed on ([`version`]).

pub mod agent;
mod bags;
pub mod check;
pub mod container;
pub mod container_info;
pub mod discovery;
pub mod disk;
pub mod enter;
pub mod events;
pub mod executor;
mod explanation;
pub mod framework;
pub mod hello;
pub mod maintenance;
pub mod node;
pub mod offer;
pub mod operation;
pub mod operator;
pub mod refusal;
mod reject;
pub mod scheduler;
pub mod status;
pub mod task;
pub mod usage;
pub mod validate;
mod validate_container;
mod validate_discovery;
pub mod validate_group;
pub mod validate_operation;
pub mod version;
pub mod wire;
