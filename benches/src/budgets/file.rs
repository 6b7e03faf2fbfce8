//! The file of budgets: a name and a number in each line.
//!
//! Called by the check. Deliberately not here: counting.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, ensure};

/// A budget may be exceeded by so many percent.
const TOLERATED: u128 = 3;
const COMPILER: &str = "# Compiler: ";
const HEAD: &str = "\
# What the offer engine may cost, in instructions (x86-64, counted by callgrind). The gate fails if
# a case takes 3 % more. Check:
#
#     cargo bench -p tepui-benches --bench budgets
#
# With TEPUI_WRITE_BUDGETS=1 before it, lower counts and new cases are written here. No budget is
# ever raised so: whoever thinks that it must be removes its line first, and says why.
# All anew, after the compiler or the cases changed:
#
#     rm benches/budgets.txt
#     TEPUI_WRITE_BUDGETS=1 cargo bench -p tepui-benches --bench budgets
";

/// Instructions by case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Budgets {
    compiler: String,
    cases: BTreeMap<String, u64>,
}

/// Returns by how many percent something is more than its budget.
pub(super) fn percent(budget: u64, measured: u64) -> f64 {
    (measured as f64 / budget as f64 - 1.0) * 100.0
}

impl Budgets {
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut budgets = Self::default();
        for (n, line) in text.lines().enumerate() {
            if let Some(compiler) = line.strip_prefix(COMPILER) {
                budgets.compiler = compiler.to_owned();
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = || format!("line {}: {line:?} is not a name and a number", n + 1);
            let (name, number) = line.split_once(' ').with_context(place)?;
            let number: u64 = number.trim().parse().with_context(place)?;
            ensure!(number > 0, place());
            let before = budgets.cases.insert(name.to_owned(), number);
            ensure!(before.is_none(), "line {}: {name} is there twice", n + 1);
        }
        Ok(budgets)
    }

    pub(super) fn compiler(&self) -> &str {
        &self.compiler
    }

    pub(super) fn set_compiler(&mut self, compiler: String) {
        self.compiler = compiler;
    }

    pub(super) fn of(&self, case: &str) -> Option<u64> {
        self.cases.get(case).copied()
    }

    /// Writes a count down, unless it is more than what stands there.
    pub(super) fn lower(&mut self, case: &str, measured: u64) {
        let budget = self.cases.entry(case.to_owned()).or_insert(measured);
        *budget = measured.min(*budget);
    }

    /// Says what is wrong with a count.
    pub(super) fn problem(&self, case: &str, measured: u64) -> Option<String> {
        let Some(budget) = self.of(case) else {
            return Some(format!("{case} has no budget"));
        };
        let is_exceeded = u128::from(measured) * 100 > u128::from(budget) * (100 + TOLERATED);
        is_exceeded.then(|| {
            let percent = percent(budget, measured);
            format!("{case}: {measured} instructions are {percent:.2} % above {budget}")
        })
    }

    /// Says which budgets are of no case.
    pub(super) fn unknown(&self, cases: &[&str]) -> Vec<String> {
        let names = self.cases.keys();
        let unknown = names.filter(|name| !cases.contains(&name.as_str()));
        unknown.map(|name| format!("{name} is no case")).collect()
    }
}

impl fmt::Display for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}{COMPILER}{}\n", self.compiler)?;
        let mut cases = self.cases.iter();
        cases.try_for_each(|(name, number)| writeln!(f, "{name:<24} {number:>12}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets() -> Budgets {
        let mut budgets = Budgets::parse("# why\na 1000\n\nb  2000\n").unwrap();
        budgets.set_compiler("rustc 1".to_owned());
        budgets
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Budgets::parse(&budgets().to_string()).unwrap(), budgets());
    }

    #[test]
    fn three_percent_more_are_tolerated_and_no_more() {
        let budgets = budgets();
        assert_eq!(budgets.problem("a", 1_030), None);
        assert!(budgets.problem("a", 1_031).is_some());
        assert_eq!(budgets.problem("a", 1), None);
        assert!(budgets.problem("c", 1).is_some());
        assert_eq!(budgets.unknown(&["a"]), ["b is no case"]);
    }

    #[test]
    fn writing_never_raises() {
        let mut budgets = budgets();
        budgets.lower("a", 1_001);
        budgets.lower("b", 1_999);
        budgets.lower("c", 7);
        let found = ["a", "b", "c"].map(|case| budgets.of(case));
        assert_eq!(found, [Some(1_000), Some(1_999), Some(7)]);
    }

    #[test]
    fn other_lines_are_refused() {
        for bad in ["a", "a b", "a 0", "a 1\na 2", "a -1"] {
            assert!(Budgets::parse(bad).is_err(), "{bad}");
        }
    }
}
