//! What the benchmarks are made of: real clusters, the floors beside them, and the table.
//!
//! Used by `benches/launch.rs`. Deliberately not here: what is measured elsewhere, such as the
//! allocator alone; and figures to aim at, which change.

pub mod cluster;
pub mod flood;
pub mod floor;
pub mod latency;
pub mod plan;
pub mod processes;
pub mod rows;
pub mod simulator;
pub mod table;
