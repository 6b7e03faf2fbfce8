//! `tepui sim`: whole clusters in virtual time.
//!
//! Called by `cli`. Without more, one cluster as its flags describe it; with `--seeds`, many small
//! ones in trouble, each drawn from its seed; with `--replay`, one that was recorded; with
//! `--trace`, what a real cluster was asked. Deliberately not here: the simulator, which is
//! `tepui_core::sim`.

mod log_file;
mod one;
mod replay;
mod swarm;
mod trace;
mod trial;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tepui_core::resources::Resources;

use super::Io;
use super::exit::Exit;
use super::failure::Failure;
use super::text::Text;
use super::values::{self, Seeds};

/// The flags that describe one cluster.
const OF_ONE: [&str; 6] = [
    "agents",
    "frameworks",
    "resources",
    "seed",
    "time",
    "faults",
];

/// Flags of `tepui sim`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui sim
  tepui sim --agents 100 --frameworks 10 --seed 7 --for 1h
  tepui sim --seed 7 --for 10m --faults --log events.log --json
  tepui sim --seeds 1..200 --jobs 2
  tepui sim --seeds 1..50000 --records failed -o json
  tepui sim --replay failed/tepui-sim-17.plan --log events.log
  tepui sim --replay failed/tepui-sim-17.plan --shrink
  tepui sim --trace pods.csv --nodes nodes.csv --compress 5000 --policy drf,best-fit
  tepui sim --trace pods.csv --nodes nodes.csv --inflate --plot packing.svg -o json

With --seeds: each seed draws a small cluster, lets things go wrong for five minutes, ends all
faults and waits until every view agrees. What must hold is checked all the time; one seed in 100
runs twice and is compared. Seeds that fail are recorded, and the exit code is 1.

With --trace: each user of the trace is a framework in a role of the user's name. Tasks run as long
as they did. Read are the csv files of Alibaba's GPU clusters (openb) and, tab separated, those of
Facebook's Hadoop clusters (SWIM), whose users and needs are derived. LOST was free, and nothing
that waited fitted there. GAP is by how much the dominant share of a user was ahead of another's at
most, when its task was started where one that the other had asked for would have fitted, and waited
on: dominant resource fairness (Ghodsi et al., NSDI 2011) allows LARGEST, the share of the largest
task. UNFAIR is how many starts had more. APART is by how much shares differed at most of users for
whom something waited all the time, though it fitted nowhere.")]
pub(super) struct SimArgs {
    /// How many agents there are
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = Text(values::count))]
    agents: u32,
    /// How many frameworks there are
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = Text(values::count))]
    frameworks: u32,
    /// What each agent has to offer
    #[arg(long, value_name = "RESOURCES", default_value = "cpus:4;mem:8192",
          value_parser = Text(values::resources))]
    resources: Resources,
    /// Decides everything that is left to chance
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = Text(values::seed))]
    seed: u64,
    /// How much virtual time goes by: 10m if not given. With --trace, the longest that it goes on
    /// if tasks wait for ever; an hour after the last came if not given
    #[arg(long = "for", value_name = "TIME", value_parser = Text(values::positive_duration))]
    time: Option<Duration>,
    /// Let nodes crash, connections break and disks stall, as the seed decides
    #[arg(long)]
    faults: bool,
    /// Run one small cluster in trouble for each seed from A to B, both included
    #[arg(long, value_name = "A..B", value_parser = Text(values::seeds),
          conflicts_with_all = OF_ONE)]
    seeds: Option<Seeds>,
    /// How many seeds run at the same time; one for each core if not given
    #[arg(long, value_name = "COUNT", value_parser = Text(values::jobs), requires = "seeds")]
    jobs: Option<u32>,
    /// Where to record the seeds that fail
    #[arg(long, value_name = "DIRECTORY", default_value = ".", value_parser = values::path(),
          requires = "seeds")]
    records: PathBuf,
    /// Run what was recorded of a seed that failed
    #[arg(long, value_name = "FILE", value_parser = values::path(),
          conflicts_with_all = OF_ONE, conflicts_with = "seeds")]
    replay: Option<PathBuf>,
    /// Look for a smaller cluster with fewer faults that fails as well, and write it beside FILE
    #[arg(long, requires = "replay", conflicts_with = "log")]
    shrink: bool,
    /// Run the jobs of a real cluster
    #[arg(long, value_name = "FILE", value_parser = values::path(),
          conflicts_with_all = ["frameworks", "faults", "seeds", "replay", "log"])]
    trace: Option<PathBuf>,
    /// Its machines; without, they are as --agents and --resources say
    #[arg(long, value_name = "FILE", value_parser = values::path(), requires = "trace",
          conflicts_with_all = ["agents", "resources"])]
    nodes: Option<PathBuf>,
    /// Which policies to compare
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "drf",
        requires = "trace"
    )]
    policy: Vec<trace::Policy>,
    /// Let jobs come so many times faster; they run as long as they did
    #[arg(long, value_name = "TIMES", value_parser = Text(values::count), requires = "trace",
          default_value = "1")]
    compress: u32,
    /// Let all jobs come at once in any order and never end, to see what fits
    #[arg(long, requires = "trace", conflicts_with = "compress")]
    inflate: bool,
    /// Draw what was used, and what waited, over time
    #[arg(long, value_name = "FILE", value_parser = values::path(), requires = "trace")]
    plot: Option<PathBuf>,
    /// Write every input, record and effect of every node to a file
    #[arg(long, value_name = "FILE", value_parser = values::path(), conflicts_with = "seeds")]
    log: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Form::Text, value_name = "FORMAT")]
    output: Form,
    /// Print the figures as one JSON object; the same as -o json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

/// How figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
}

impl SimArgs {
    fn form(&self) -> Form {
        if self.json { Form::Json } else { self.output }
    }
}

/// Simulates what the flags say.
pub(super) fn sim(args: &SimArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match (args.seeds, &args.replay, &args.trace) {
        (Some(seeds), _, _) => swarm::swarm(args, seeds, io),
        (None, Some(file), _) => replay::replay(args, file, io),
        (None, None, Some(file)) => trace::trace(args, file, io),
        (None, None, None) => one::one(args, io),
    }
}
