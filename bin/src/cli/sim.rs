//! stub until the simulator is there
use super::{Io, exit::Exit, failure::Failure, values};
use std::path::PathBuf;
use std::time::Duration;
/// Flags of `tepui sim`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tepui sim
  tepui sim --agents 100 --frameworks 10 --seed 7 --for 1h
  tepui sim --seed 7 --for 10m --log events.log --json")]
pub(super) struct SimArgs {
    /// How many agents there are
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = values::count)]
    agents: u32,
    /// How many frameworks there are
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = values::count)]
    frameworks: u32,
    /// Decides everything that is left to chance
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = values::seed)]
    seed: u64,
    /// How much virtual time passes
    #[arg(long = "for", value_name = "TIME", default_value = "10m",
          value_parser = values::positive_duration)]
    time: Duration,
    /// Write every input, record and effect of every node to a file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}
pub(super) fn sim(_args: &SimArgs, _io: &mut Io<'_>) -> Result<Exit, Failure> {
    Ok(Exit::Success)
}
