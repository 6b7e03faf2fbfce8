//! The workloads of Mesos' own benchmarks: `cargo bench --bench mesos_workloads [-- [--quick]
//! [ROW]...]`.
//!
//! Prints one line each: our milliseconds and Mesos', the ratio (marked where it is under 10 or
//! under 100), offers made, refusals in force, and what the changes before it took; then a table of
//! single operations on resources. It fails if offers or refusals are others than in Mesos, and if
//! the engine takes 200 MB with 3,000 quota roles. A row is a part of a name (`decline`, `quota`,
//! `algebra`, ...); `--quick` runs everything once and leaves the largest out.

use tepui_benches::{memory, mesos};

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;

fn main() -> anyhow::Result<()> {
    mesos::run(&mesos::Plan::parse(std::env::args().skip(1))?)
}
