//! What it takes to launch tasks: `cargo bench --bench launch [-- [--quick] [ROW]...]`.
//!
//! Prints each row as ours, the bare spawn floor measured in the same run, and the ratio. The
//! daemons are processes of their own, started from this same executable. Rows: p1 to p7,
//! `embedded` and `sim`; `--quick` measures little, to show that it all works.

use std::process::ExitCode;

use tepui_benches::{cluster, plan, rows};

fn main() -> anyhow::Result<ExitCode> {
    if let Some(exit) = cluster::run_if_program() {
        return Ok(exit);
    }
    rows::run(&plan::Plan::parse(std::env::args().skip(1))?)?;
    Ok(ExitCode::SUCCESS)
}
