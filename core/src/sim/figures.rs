//! What came of a trace: how long tasks waited, what was used, who had it, and what lay idle
//! because nothing fitted.
//!
//! Filled by [`super::trace`]. Parts are told in thousandths.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// How long tasks waited between their arrival and their start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Of how many tasks.
    pub tasks: u64,
    /// On average.
    pub mean: Duration,
    /// Half of them at most so long.
    pub p50: Duration,
    /// 99 of 100 at most so long.
    pub p99: Duration,
}

impl Waiting {
    pub(super) fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        let tasks = waits.len() as u64;
        let sum: u128 = waits.iter().map(Duration::as_micros).sum();
        let mean = sum.checked_div(u128::from(tasks)).unwrap_or(0);
        // The least that so many hundredths do not exceed.
        let least = |hundredths: usize| {
            let nth = (waits.len() * hundredths).div_ceil(100).max(1) - 1;
            waits.get(nth).copied().unwrap_or_default()
        };
        Self {
            tasks,
            mean: Duration::from_micros(u64::try_from(mean).unwrap_or(u64::MAX)),
            p50: least(50),
            p99: least(99),
        }
    }
}

/// One user's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFigures {
    /// Who.
    pub name: String,
    /// How long the user's tasks waited that have started.
    pub waiting: Waiting,
    /// How many have not.
    pub left: u64,
    /// The dominant share (AL-14), on average over all samples.
    pub mean_share_permille: u64,
}

/// A look at the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, since the beginning.
    pub at: Duration,
    /// What tasks had of each resource, in the order of [`Figures::resources`].
    pub used_permille: Vec<u64>,
    /// What was free on agents where nothing fitted that waited; zero if nothing waited.
    pub lost_permille: Vec<u64>,
    /// Each user's dominant share, in the order of [`Figures::users`].
    pub shares_permille: Vec<u64>,
    /// How many tasks waited.
    pub waiting: u64,
    /// By how much the dominant share of a user was ahead of another's, in millionths, at most,
    /// when a task of its was started in an offer that had room for a task which the other had
    /// asked for, and which waited on. It is what progressive filling keeps to one task (P18;
    /// Ghodsi et al., NSDI 2011): shares count with the task that was started, and to whom nothing
    /// fits, nothing is promised. Of all starts since the look before, but for those of the last
    /// moments, which the next one has.
    pub gap_millionths: u64,
    /// The greatest dominant share of a user for whom something has waited all the time since the
    /// look before, less the least one, in millionths, whether or not what waits would fit
    /// anywhere; zero if there are fewer than two.
    pub apart_millionths: u64,
}

/// Figures of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// How long the run was, in virtual time.
    pub duration: Duration,
    /// Inputs, records and effects of all nodes.
    pub events: u64,
    /// The names of what machines have and amounts say something about.
    pub resources: Vec<String>,
    /// How long tasks waited that have started.
    pub waiting: Waiting,
    /// How many tasks have not started.
    pub left: u64,
    /// How many were started again, because they ended as they should not have.
    pub again: u64,
    /// Each user, by name.
    pub users: Vec<UserFigures>,
    /// What was used at a time, on average and at most, of each resource.
    pub mean_used_permille: Vec<u64>,
    /// See there.
    pub most_used_permille: Vec<u64>,
    /// What was lost to packing at a time, on average over the samples in which something waited.
    pub mean_lost_permille: Vec<u64>,
    /// See [`Sample::gap_millionths`]: on average over the samples in which something waited.
    pub mean_gap_millionths: u64,
    /// And at most.
    pub most_gap_millionths: u64,
    /// See [`Sample::apart_millionths`]: at most.
    pub most_apart_millionths: u64,
    /// How many tasks were started, those that were started again included.
    pub starts: u64,
    /// About how many of them somebody could complain: the gap was larger than the largest task.
    pub unfair: u64,
    /// The dominant share of the largest task, in millionths: by so much shares differ because
    /// tasks are not divided.
    pub largest_task_millionths: u64,
    /// What it was like on the way.
    pub samples: Vec<Sample>,
}

impl Figures {
    /// Fills in what follows from the samples.
    pub(super) fn sum_up(&mut self) {
        let column = |of: fn(&Sample) -> &Vec<u64>, i: usize, samples: &[&Sample]| {
            let values: Vec<u64> = samples.iter().map(|sample| of(sample)[i]).collect();
            let count = values.len() as u64;
            let mean = values.iter().sum::<u64>().checked_div(count).unwrap_or(0);
            (mean, values.into_iter().max().unwrap_or(0))
        };
        let all: Vec<&Sample> = self.samples.iter().collect();
        let short = all.iter().copied().filter(|sample| sample.waiting > 0);
        let short: Vec<&Sample> = short.collect();
        let names = 0..self.resources.len();
        let used = names.clone().map(|i| column(|s| &s.used_permille, i, &all));
        (self.mean_used_permille, self.most_used_permille) = used.unzip();
        let lost = names.map(|i| column(|s| &s.lost_permille, i, &short).0);
        self.mean_lost_permille = lost.collect();
        let gaps = short.iter().map(|sample| sample.gap_millionths);
        let count = short.len() as u64;
        self.mean_gap_millionths = gaps.sum::<u64>().checked_div(count).unwrap_or(0);
        let gaps = all.iter().map(|sample| sample.gap_millionths);
        self.most_gap_millionths = gaps.max().unwrap_or(0);
        let apart = short.iter().map(|sample| sample.apart_millionths);
        self.most_apart_millionths = apart.max().unwrap_or(0);
        for (i, user) in self.users.iter_mut().enumerate() {
            user.mean_share_permille = column(|s| &s.shares_permille, i, &all).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_wait_at_most_the_median_and_99_of_100_at_most_p99() {
        let secs = |count: u64| (1..=count).map(Duration::from_secs).collect::<Vec<_>>();
        let of = |count| {
            let waiting = Waiting::of(secs(count));
            assert_eq!(waiting.tasks, count);
            [waiting.mean, waiting.p50, waiting.p99].map(|time| time.as_secs_f64())
        };
        assert_eq!(of(0), [0.0, 0.0, 0.0]);
        assert_eq!(of(1), [1.0, 1.0, 1.0]);
        assert_eq!(of(2), [1.5, 1.0, 2.0]);
        assert_eq!(of(200), [100.5, 100.0, 198.0]);
    }
}
