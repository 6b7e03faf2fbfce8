//! Dominant resource fairness: the properties that it promises, and the allocator held to them.
//!
//! [`filling`] computes the allocation of divisible tasks in exact fractions. [`properties`] holds
//! that to what Ghodsi et al. (NSDI 2011) and Parkes et al. (EC 2012) prove; [`engine`] holds the
//! allocator to it, with tasks that are small, and [`promises`] holds the allocator to the
//! properties themselves; [`trees`] are roles below roles; [`exceptions`] are the cases in which a
//! property does not hold, each with its numbers. Deliberately not here: quota, refusals, several
//! agents.

#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "fairness/engine.rs"]
mod engine;
#[path = "fairness/exceptions.rs"]
mod exceptions;
#[path = "fairness/filling.rs"]
mod filling;
#[path = "fairness/fraction.rs"]
mod fraction;
#[path = "fairness/pool.rs"]
mod pool;
#[path = "fairness/promises.rs"]
mod promises;
#[path = "fairness/properties.rs"]
mod properties;
#[path = "fairness/trees.rs"]
mod trees;
