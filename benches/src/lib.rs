//! What the benchmarks are made of: real clusters, the floors beside them and the table; and the
//! offer engine alone, with the workloads that are known of Mesos.
//!
//! Used by the files in `benches/`. Deliberately not here: figures to aim at, which change.

pub mod algebra;
pub mod budgets;
pub mod cluster;
pub mod containers;
pub mod flood;
pub mod floor;
pub mod latency;
pub mod master;
pub mod memory;
pub mod mesos;
pub mod plan;
pub mod processes;
pub mod rig;
pub mod rows;
pub mod simulator;
pub mod table;
