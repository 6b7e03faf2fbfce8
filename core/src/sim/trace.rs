//! A trace of a real cluster, run through the whole of a simulated one.
//!
//! Each user is a framework in a role of the user's name, with the scheduler of
//! [`super::workload`]. Used by the command line. Deliberately not here: the formats of traces.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::Sim;
use super::figures::{Figures, Sample, UserFigures, Waiting};
use super::log::Log;
use super::options::{Machine, Options};
use super::property::Violation;
use super::queue::Name;
use super::report::{millionths, permille};
use super::tap::User;
use super::workload::{Asking, Board, Replay};
use crate::constraints::{Constraints, Subject};
use crate::master::View;
use crate::protocol::framework::{Capabilities, FrameworkInfo};
use crate::resources::{Milli, Quantities, Resources};
use crate::roles::Role;
use crate::time::Time;

/// Tasks that came together and are alike.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whose, and in which role.
    pub user: Role,
    /// When it comes, from the beginning on.
    pub at: Duration,
    /// How long each of its tasks runs.
    pub lasts: Duration,
    /// What each takes.
    pub needs: Resources,
    /// On which agents they may run; `None` is all.
    pub constraints: Option<Constraints>,
    /// How many tasks there are.
    pub tasks: u32,
}

/// Machines, and what was asked of them.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The machines.
    pub machines: Vec<Machine>,
    /// The jobs, in any order.
    pub jobs: Vec<Job>,
}

/// How a trace is run.
#[derive(Clone, Debug)]
pub struct Replaying {
    /// The cluster, but for its machines and frameworks, which are those of the trace.
    pub options: Options,
    /// How the users' schedulers ask for what they need.
    pub asking: Asking,
    /// How often it is looked at.
    pub every: Duration,
    /// When it ends at the latest. Else it ends when all tasks have started.
    pub until: Duration,
}

impl Trace {
    /// Runs all of it.
    ///
    /// # Panics
    ///
    /// If an assertion of a machine does not hold.
    pub fn replay(&self, how: &Replaying) -> Result<Figures, Violation> {
        let mut options = how.options.clone();
        options.machines.clone_from(&self.machines);
        (options.agents, options.frameworks) = (0, 0);
        (options.greedy, options.silent, options.nonsense) = (0, 0, 0);
        let mut sim = Sim::with_log(options, Log::Off);
        let users = self.join(&mut sim, how.asking);
        let total = total(&self.machines);
        let mut figures = self.blank(&total);
        let every = how.every.max(Duration::from_micros(1));
        let mut before = Time::ZERO;
        loop {
            let left = how.until.saturating_sub(sim.now().since(Time::ZERO));
            if left.is_zero() || boards(&sim, &users).iter().all(|board| is_over(board)) {
                break;
            }
            sim.advance(every.min(left))?;
            if let Some(master) = sim.master() {
                let view = master.view();
                let boards = boards(&sim, &users);
                let times = (before, sim.now());
                let sample = look(times, &view, &users, &boards, &total, &figures.resources);
                before = sim.now();
                figures.samples.push(sample);
            }
        }
        let report = sim.report();
        (figures.duration, figures.events) = (report.duration, report.events);
        fill(&mut figures, &boards(&sim, &users));
        Ok(figures)
    }

    /// Lets each user join, with the jobs that are theirs in order of arrival.
    fn join(&self, sim: &mut Sim, asking: Asking) -> Vec<(Role, Name)> {
        let mut of_user: BTreeMap<Role, Vec<Job>> = BTreeMap::new();
        for job in &self.jobs {
            let jobs = of_user.entry(job.user.clone()).or_default();
            jobs.push(job.clone());
        }
        let joins = of_user.into_iter().map(|(user, mut jobs)| {
            jobs.sort_by_key(|job| job.at);
            let name = user.as_str();
            let logic = Replay::new(user.clone(), asking, jobs);
            let info = FrameworkInfo {
                roles: vec![user.clone()],
                failover_timeout: Duration::from_secs(24 * 3600),
                capabilities: Capabilities::default() | Capabilities::GPUS,
                ..FrameworkInfo::new(name)
            };
            let logic = User::Replay(Box::new(logic));
            let name = sim.world.add_framework(info, logic, None);
            (user, name)
        });
        joins.collect()
    }

    fn blank(&self, total: &Quantities) -> Figures {
        let users: BTreeSet<&Role> = self.jobs.iter().map(|job| &job.user).collect();
        let users = users.into_iter().map(|user| UserFigures {
            name: user.as_str().into(),
            waiting: Waiting::default(),
            left: 0,
            mean_share_permille: 0,
        });
        let needs = self.jobs.iter().map(|job| job.needs.total());
        let largest = needs.map(|needs| dominant_share(&needs, total));
        Figures {
            duration: Duration::ZERO,
            events: 0,
            resources: total.iter().map(|(name, _)| name.into()).collect(),
            waiting: Waiting::default(),
            left: 0,
            again: 0,
            users: users.collect(),
            mean_used_permille: Vec::new(),
            most_used_permille: Vec::new(),
            mean_lost_permille: Vec::new(),
            mean_gap_millionths: 0,
            most_gap_millionths: 0,
            largest_task_millionths: largest.max().unwrap_or(0),
            samples: Vec::new(),
        }
    }
}

/// Returns what all machines have together.
fn total(machines: &[Machine]) -> Quantities {
    let mut total = Quantities::new();
    for machine in machines {
        let one = machine.resources.total();
        for _ in 0..machine.count {
            total.add(&one);
        }
    }
    total
}

/// Returns how each user's tasks fare.
fn boards<'a>(sim: &'a Sim, users: &[(Role, Name)]) -> Vec<&'a Board> {
    let replays = users.iter().filter_map(|(_, name)| sim.world.replay(*name));
    replays.map(Replay::board).collect()
}

fn is_over(board: &Board) -> bool {
    board.to_come == 0 && board.waiting == 0 && board.starting == 0
}

fn plain(amount: Milli) -> u128 {
    u128::from(amount.thousandths().unsigned_abs())
}

/// Returns a dominant share (AL-14) in millionths: in a large cluster a task has little of all.
fn dominant_share(held: &Quantities, total: &Quantities) -> u64 {
    let each = total.iter();
    let parts = each.map(|(name, whole)| millionths(plain(held.amount(name)), plain(whole)));
    parts.max().unwrap_or(0)
}

/// Looks at the cluster, for the first time since `before`.
fn look(
    (before, now): (Time, Time),
    view: &View,
    users: &[(Role, Name)],
    boards: &[&Board],
    total: &Quantities,
    names: &[String],
) -> Sample {
    let (mut used, mut lost) = (Quantities::new(), Quantities::new());
    let waiting: u64 = boards.iter().map(|board| board.waiting).sum();
    for agent in view.agents() {
        used.add(&agent.allocated.total());
        let Ok(free) = agent.total.checked_sub(&agent.allocated) else {
            continue;
        };
        let subject = Subject {
            hostname: &agent.info.hostname,
            attributes: &agent.info.attributes,
            region: None,
            zone: None,
            total: &agent.total,
            offered: &free,
        };
        let mut waiting_shapes = boards.iter().flat_map(|board| board.waiting());
        let has_taker = waiting_shapes.any(|shape| shape.fits(&subject));
        if waiting > 0 && !has_taker {
            lost.add(&free.total());
        }
    }
    let parts = |of: &Quantities| {
        let each = names.iter();
        each.map(|name| permille(plain(of.amount(name)), plain(total.amount(name))))
            .collect()
    };
    let frameworks = view.frameworks();
    let share = |user: &Role| {
        let of_user = frameworks
            .iter()
            .filter(|row| row.info.roles.contains(user));
        let mut held = Quantities::new();
        for row in of_user {
            held.add(&row.allocated.total());
        }
        dominant_share(&held, total)
    };
    let shares: Vec<u64> = users.iter().map(|(user, _)| share(user)).collect();
    let short = shares.iter().zip(boards);
    let short = short.filter(|(_, board)| board.backlogged_since.is_some_and(|at| at <= before));
    let short = short.map(|(share, _)| *share);
    let gap = short.clone().max().zip(short.min());
    Sample {
        at: now.since(Time::ZERO),
        used_permille: parts(&used),
        lost_permille: parts(&lost),
        shares_permille: shares.iter().map(|share| share / 1_000).collect(),
        waiting,
        gap_millionths: gap.map_or(0, |(most, least)| most - least),
    }
}

/// Adds up what the users' schedulers have written down.
fn fill(figures: &mut Figures, boards: &[&Board]) {
    let mut all = Vec::new();
    for (user, board) in figures.users.iter_mut().zip(boards) {
        all.extend_from_slice(&board.waits);
        user.waiting = Waiting::of(board.waits.clone());
        user.left = board.waiting + board.starting + board.to_come;
        figures.left += user.left;
        figures.again += board.again;
    }
    figures.waiting = Waiting::of(all);
    figures.sum_up();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::drf;
    use crate::attributes::Attributes;
    use crate::constraints::{Constraint, Predicate, Selector};
    use crate::sim::options::{Checking, Policy};

    fn bag(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    fn machine(count: u32, resources: &str, attributes: &str) -> Machine {
        Machine {
            count,
            resources: bag(resources),
            attributes: Attributes::parse(attributes).unwrap(),
        }
    }

    fn job(user: &str, at: u64, lasts: u64, needs: &str, tasks: u32) -> Job {
        Job {
            user: Role::new(user).unwrap(),
            at: Duration::from_secs(at),
            lasts: Duration::from_secs(lasts),
            needs: bag(needs),
            constraints: None,
            tasks,
        }
    }

    fn replaying(until: u64) -> Replaying {
        let mut options = Options::new(1, 0, 0, Resources::new());
        options.checking = Checking::Always;
        Replaying {
            options,
            asking: Asking::Offers,
            every: Duration::from_secs(10),
            until: Duration::from_secs(until),
        }
    }

    #[test]
    fn tasks_wait_for_those_before_them_and_no_longer() {
        // Room for four at a time; the others wait for one round, and then for another.
        let trace = Trace {
            machines: vec![machine(2, "cpus:2;mem:100", "")],
            jobs: vec![job("a", 10, 100, "cpus:1;mem:10", 12)],
        };
        let figures = trace.replay(&replaying(10_000)).unwrap();
        assert_eq!((figures.left, figures.again), (0, 0));
        assert_eq!(figures.waiting.tasks, 12);
        let near = |time: Duration, secs: u64| {
            let slack = time.saturating_sub(Duration::from_secs(secs));
            assert!(
                slack > Duration::ZERO && slack < Duration::from_secs(10),
                "{time:?}"
            );
        };
        near(figures.waiting.mean, 100);
        near(figures.waiting.p50, 100);
        near(figures.waiting.p99, 200);
        assert!(figures.duration < Duration::from_secs(260));
        assert_eq!(figures.resources, ["cpus", "mem"]);
        assert_eq!(figures.most_used_permille, [1_000, 200]);
        assert_eq!(figures.users[0].waiting, figures.waiting);
        // All was used that could be.
        let full = figures
            .samples
            .iter()
            .filter(|s| s.used_permille[0] == 1_000);
        assert!(full.count() > 15);
    }

    #[test]
    fn what_fits_nowhere_is_lost_to_packing_and_left_at_the_end() {
        let picky = Constraint {
            selector: Selector::Attribute("model".into()),
            predicate: Predicate::TextEquals("T4".into()),
        };
        let mut waits = job("b", 0, 1_000, "cpus:2", 3);
        waits.constraints = Some(Constraints::new(vec![vec![picky]]).unwrap());
        let trace = Trace {
            machines: vec![
                machine(1, "cpus:3;mem:64", "model:T4"),
                machine(1, "cpus:5;mem:64", "model:A10"),
            ],
            jobs: vec![waits, job("a", 0, 1_000, "cpus:1;mem:32", 2)],
        };
        let figures = trace.replay(&replaying(300)).unwrap();
        assert_eq!((figures.left, figures.waiting.tasks), (2, 3));
        let users: Vec<(&str, u64)> = figures
            .users
            .iter()
            .map(|user| (user.name.as_str(), user.left))
            .collect();
        assert_eq!(users, [("a", 0), ("b", 2)]);
        let last = figures.samples.last().unwrap();
        assert_eq!(last.waiting, 2);
        // Four cores of eight run something, and nobody wants the others.
        assert_eq!((last.used_permille[0], last.lost_permille[0]), (500, 500));
        assert_eq!(
            last.shares_permille,
            [500, 250],
            "two of two memories, two of eight cores"
        );
        assert_eq!(figures.duration, Duration::from_secs(300));
    }

    // P18
    #[test]
    fn who_wants_more_than_there_is_has_as_much_as_others_but_for_one_task() {
        // Two who come together: neither is ahead by more than one task. A third comes when all is
        // in use for good, and stays behind.
        let machines = vec![machine(10, "cpus:8;mem:100", "")];
        let two = vec![
            job("a", 0, 10_000, "cpus:2;mem:1", 100),
            job("b", 0, 10_000, "cpus:1;mem:5", 200),
        ];
        let run = |jobs| {
            let machines = machines.clone();
            Trace { machines, jobs }.replay(&replaying(300)).unwrap()
        };
        let figures = run(two.clone());
        assert_eq!(figures.largest_task_millionths, 25_000);
        assert!(figures.left > 0);
        assert!(
            figures.most_gap_millionths <= figures.largest_task_millionths,
            "{}",
            figures.most_gap_millionths
        );
        let mut three = two;
        three.push(job("c", 60, 10_000, "cpus:1;mem:1", 10));
        let figures = run(three);
        let most = figures.users.iter().map(|user| user.mean_share_permille);
        assert!(figures.most_gap_millionths >= 1_000 * most.max().unwrap());
        assert!(figures.mean_gap_millionths < figures.most_gap_millionths);
    }

    #[test]
    fn a_policy_that_packs_leaves_room_for_what_is_large() {
        let small = (0..4).map(|i| job("small", 10 * i, 10_000, "cpus:1;mem:10", 1));
        let mut jobs: Vec<Job> = small.collect();
        jobs.push(job("large", 60, 10_000, "cpus:4;mem:10", 3));
        let machines = vec![machine(4, "cpus:4;mem:100", "")];
        let trace = Trace { machines, jobs };
        let left = |packing| {
            let mut how = replaying(300);
            how.options.allocator = Policy::drf(drf::Options {
                packing: [(Role::new("small").unwrap(), packing)].into(),
                ..drf::Options::default()
            });
            trace.replay(&how).unwrap().left
        };
        assert_eq!(left(drf::Packing::BestFit), 0);
        assert_eq!(left(drf::Packing::Spread), 3);
    }

    #[test]
    fn who_says_what_it_wants_gets_that_and_in_fewer_offers() {
        let jobs = (0..20).map(|i| job("a", 5 * i, 1_000, "cpus:1;mem:10", 2));
        let trace = Trace {
            machines: vec![machine(100, "cpus:2;mem:100", "")],
            jobs: jobs.collect(),
        };
        let run = |asking, demands| {
            let mut how = replaying(300);
            how.asking = asking;
            how.options.allocator = Policy::drf(drf::Options {
                demands,
                ..drf::Options::default()
            });
            trace.replay(&how).unwrap()
        };
        let told = run(Asking::Demands, drf::DemandRule::Honoured);
        let offered = run(Asking::Offers, drf::DemandRule::Ignored);
        for figures in [&told, &offered] {
            assert_eq!((figures.left, figures.waiting.tasks), (0, 40));
            assert!(figures.waiting.p99 < Duration::from_secs(3));
        }
        assert!(
            told.events * 3 < offered.events * 2,
            "{} and {}",
            told.events,
            offered.events
        );
    }
}
