//! Resource offers as pure state machines.
//!
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod agent;
pub mod allocator;
pub mod attributes;
pub mod auth;
pub mod book;
pub mod constraints;
pub mod demand;
pub mod executor;
pub mod feed;
pub mod filters;
mod fold;
pub mod gate;
mod host;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod machine;
pub mod master;
pub mod mirror;
#[cfg_attr(not(feature = "mutants"), doc(hidden))]
pub mod mutant;
pub mod protocol;
pub mod quota;
pub mod registry;
pub mod resources;
pub mod rng;
pub mod roles;
pub mod scheduler;
#[cfg(feature = "sim")]
pub mod sim;
pub mod table;
pub mod time;
pub mod timers;
