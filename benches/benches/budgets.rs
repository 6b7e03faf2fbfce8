//! Counts the instructions of small fixed cases and fails if one takes 3 % more than its budget:
//! `cargo bench --bench budgets`.
//!
//! The budgets stand in `benches/budgets.txt`, and how they are written anew as well. It needs
//! valgrind (the Debian package of that name) on x86-64. Deliberately not here: times.

use std::path::Path;

use tepui_benches::budgets;

fn main() -> anyhow::Result<()> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/budgets.txt"));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    budgets::run(&arguments, path)
}
