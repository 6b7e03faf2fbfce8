//! Budgets of instructions: small fixed cases, counted by callgrind, compared with a file.
//!
//! Times on a shared machine say little about a change of a few percent; counts of instructions do
//! not depend on who else is there. `benches/budgets.rs` runs this, and the gate runs that. Each
//! case is a program run of its own, twice: once it only makes its cluster, once it does what is
//! measured as well. The difference is the count.
//!
//! Everything in a case is fixed: seeds, sizes, names. Nothing goes by addresses or by a hash that
//! is drawn anew each time, and the C library is told to copy memory in the way that all processors
//! know; so that two runs differ by next to nothing.
//!
//! Large clusters are here with fewer agents and frameworks than in the tables of times: the count
//! for each task hardly depends on that. Deliberately not here: memory, which `tests/memory.rs`
//! bounds.

mod cases;
mod count;
mod file;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};

use cases::{CASES, Case};
use file::Budgets;

/// Rewrites the file if it is set.
const WRITE: &str = "TEPUI_WRITE_BUDGETS";

/// Does what the arguments say: all cases against the budgets, or a part of one case if this is a
/// run that is counted.
///
/// # Errors
///
/// If a budget is exceeded or missing, or nothing can be counted here.
pub fn run(arguments: &[String], path: &Path) -> anyhow::Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--counted", name, rounds] => {
            let case = CASES.iter().find(|case| case.name == name);
            let case = case.with_context(|| format!("no case is called {name}"))?;
            (case.run)(rounds.parse()?);
            Ok(())
        }
        // Cargo adds it.
        [] | ["--bench"] => check_all(path),
        _ => bail!("{arguments:?}: no arguments are expected; {WRITE}=1 rewrites the budgets"),
    }
}

fn check_all(path: &Path) -> anyhow::Result<()> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| path.display().to_string())?,
    };
    let mut budgets = Budgets::parse(&text).with_context(|| path.display().to_string())?;
    let is_writing = std::env::var_os(WRITE).is_some();
    let mut out = io::stdout();
    writeln!(
        out,
        "{:<24} {:>14} {:>14} {:>9}",
        "case", "budget", "measured", "percent"
    )?;
    let mut problems = budgets.unknown(&CASES.map(|case| case.name));
    for Case { name, .. } in CASES {
        let measured = count::instructions(name)?;
        let budget = budgets.of(name);
        match budget {
            None => writeln!(out, "{name:<24} {:>14} {measured:>14}", "-")?,
            Some(budget) => writeln!(
                out,
                "{name:<24} {budget:>14} {measured:>14} {:>+9.2}",
                file::percent(budget, measured)
            )?,
        }
        if is_writing {
            budgets.lower(name, measured);
        }
        problems.extend(budgets.problem(name, measured));
    }
    if is_writing {
        budgets.set_compiler(count::compiler()?);
        let text = budgets.to_string();
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    ensure!(
        problems.is_empty(),
        "{}:\n{}\nwritten with {}, counted with {}",
        path.display(),
        problems.join("\n"),
        budgets.compiler(),
        count::compiler()?
    );
    Ok(())
}
