//! What isolation costs: `cargo bench -p tepui-benches --bench containers [-- [--quick] [ROW]...]`.
//!
//! Rows: `p8` (the time from a command to its end, beside a bare spawn, `runc` and `crun` with the
//! same root filesystem, in turns), `p9` (launches in a second), `memory` (whether launches take
//! longer from an agent of 1 GiB), `idle` (many containers that do nothing). Needs root and a C
//! compiler; what cannot be measured says why.

use std::process::ExitCode;

use tepui_benches::{containers, plan};

fn main() -> anyhow::Result<ExitCode> {
    tepui::run_if_hidden();
    containers::run(&plan::Plan::parse(std::env::args().skip(1))?)?;
    Ok(ExitCode::SUCCESS)
}
