//! Counts instructions of runs of this very program.
//!
//! Called by the check. Deliberately not here: what is run.

use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, ensure};

/// Copies memory in the same way on every processor: without what only some have, and without
/// regard to the size of their caches.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM:\
                        glibc.cpu.x86_non_temporal_threshold=0x10000000";

/// Where valgrind is looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Returns how many instructions one round of a case takes.
pub(super) fn instructions(case: &str) -> anyhow::Result<u64> {
    // Together, for there may be two processors.
    let started = ["0", "1"].map(|rounds| start(case, rounds));
    let [without, with] = started.map(|child| collected(case, child));
    let (without, with) = (without?, with?);
    let count = with.checked_sub(without);
    count.with_context(|| format!("{case}: {with} instructions with, but {without} without it"))
}

fn start(case: &str, rounds: &str) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program has no path")?;
    // Nothing of where it runs, so that it finds the same on its stack.
    Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--counted", case, rounds])
        .env_clear()
        .env("PATH", PATH)
        .env("GLIBC_TUNABLES", TUNABLES)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start valgrind; is the package `valgrind` installed?")
}

fn collected(case: &str, child: anyhow::Result<Child>) -> anyhow::Result<u64> {
    let output = child?.wait_with_output().context("valgrind is lost")?;
    let said = said(&output);
    ensure!(
        output.status.success(),
        "{case} under valgrind: {}\n{said}",
        output.status
    );
    total(&said).with_context(|| format!("{case}: valgrind tells no count:\n{said}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Finds the count in what callgrind says in the end: `==7== Collected : 123`.
fn total(said: &str) -> Option<u64> {
    let (_, count) = said.rsplit_once("Collected :")?;
    count.split_whitespace().next()?.parse().ok()
}

/// Returns which compiler is here.
pub(super) fn compiler() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("--version").output();
    let output = output.context("cannot start rustc")?;
    ensure!(output.status.success(), "rustc: {}", said(&output));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found() {
        let said = "==7== Events    : Ir\n==7== Collected : 1234\n==7==\n";
        assert_eq!(total(said), Some(1_234));
        assert_eq!(total("==7== Fatal error\n"), None);
        assert_eq!(total("==7== Collected : many\n"), None);
    }
}
