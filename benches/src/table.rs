//! The table: each row as ours, the floor of the same run, and the ratio.
//!
//! Called by the rows. Deliberately not here: measuring.

use std::io::{self, Write};
use std::time::Duration;

/// What a row is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// More is better.
    PerSecond,
    /// Less is better.
    Millis,
    /// Less is better.
    Micros,
    /// Less is better.
    MiB,
    /// Of one core; less is better.
    Percent,
}

impl Unit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Millis => "ms",
            Self::Micros => "us",
            Self::MiB => "MiB",
            Self::Percent => "%",
        }
    }

    fn show(self, value: f64) -> String {
        let digits = match self {
            Self::PerSecond | Self::Micros => 0,
            Self::Millis | Self::Percent => 3,
            Self::MiB => 1,
        };
        format!("{value:.digits$} {}", self.as_str())
    }
}

/// Prints rows as they come.
#[derive(Debug)]
pub struct Table {
    out: io::Stdout,
}

impl Table {
    /// Prints the head.
    pub fn begin() -> io::Result<Self> {
        let mut table = Self { out: io::stdout() };
        table.line("row", "what", "ours", "floor", "ratio")?;
        Ok(table)
    }

    /// Prints a figure beside that of the bare system.
    pub fn beside(
        &mut self,
        row: &str,
        what: &str,
        unit: Unit,
        ours: f64,
        floor: f64,
    ) -> io::Result<()> {
        let ratio = format!("{:.2}", ours / floor);
        self.line(row, what, &unit.show(ours), &unit.show(floor), &ratio)
    }

    /// Prints a figure that has no floor.
    pub fn alone(&mut self, row: &str, what: &str, unit: Unit, ours: f64) -> io::Result<()> {
        self.line(row, what, &unit.show(ours), "-", "-")
    }

    /// Prints why a row is not measured.
    pub fn skipped(&mut self, row: &str, why: &str) -> io::Result<()> {
        writeln!(self.out, "{row:<10} skipped: {why}")
    }

    fn line(
        &mut self,
        row: &str,
        what: &str,
        ours: &str,
        floor: &str,
        ratio: &str,
    ) -> io::Result<()> {
        writeln!(
            self.out,
            "{row:<10} {what:<54} {ours:>13} {floor:>13} {ratio:>7}"
        )
    }
}

/// Returns the value below which `permille` of them lie; the median is at 500.
pub fn quantile(times: &mut [Duration], permille: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * permille / 1000).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

/// Returns the median.
pub fn median(times: &mut [Duration]) -> Duration {
    quantile(times, 500)
}

/// Returns a time in thousandths of a second.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns how many there were a second.
pub fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Returns what each took, in millionths of a second.
pub fn micros_each(count: usize, time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_members() {
        let ms = Duration::from_millis;
        let mut times: Vec<Duration> = (1..=100).rev().map(ms).collect();
        assert_eq!(median(&mut times), ms(51));
        assert_eq!(quantile(&mut times, 990), ms(100));
        assert_eq!(quantile(&mut times, 0), ms(1));
        assert_eq!(median(&mut []), Duration::ZERO);
    }
}
