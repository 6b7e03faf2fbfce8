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
use super::complaints::Complaints;
use super::figures::{Figures, Sample, UserFigures, Waiting};
use super::log::Log;
use super::options::{Machine, Options};
use super::property::Violation;
use super::queue::Name;
use super::report::{dominant_share, permille, plain};
use super::tap::User;
use super::workload::{Asking, Board, Deed, Replay};
use crate::constraints::{Constraints, Subject};
use crate::master::View;
use crate::protocol::framework::{Capabilities, FrameworkInfo};
use crate::resources::{Quantities, Resources};
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
        let due = figures.largest_task_millionths;
        let window = 2 * (how.options.delay.ends().1 + how.options.sync.ends().1);
        let mut complaints = Complaints::new(users.len(), total.clone(), window, due);
        let every = how.every.max(Duration::from_micros(1));
        let mut before = Time::ZERO;
        loop {
            let left = how.until.saturating_sub(sim.now().since(Time::ZERO));
            if left.is_zero() || boards(&sim, &users).iter().all(|board| is_over(board)) {
                break;
            }
            sim.advance(every.min(left))?;
            let deeds = deeds(&mut sim, &users);
            let boards = boards(&sim, &users);
            let now = sim.now();
            complaints.hear(now, deeds, &boards);
            if let Some(master) = sim.master() {
                let view = master.view();
                let names = &figures.resources;
                let sample = look((before, now), &view, &users, &boards, &total, names);
                before = now;
                figures.samples.push(Sample {
                    gap_millionths: complaints.take_most(),
                    ..sample
                });
            }
        }
        let report = sim.report();
        (figures.duration, figures.events) = (report.duration, report.events);
        complaints.finish(sim.now(), &boards(&sim, &users));
        if let Some(last) = figures.samples.last_mut() {
            last.gap_millionths = last.gap_millionths.max(complaints.take_most());
        }
        (figures.starts, figures.unfair) = (complaints.starts, complaints.justified);
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
            most_apart_millionths: 0,
            starts: 0,
            unfair: 0,
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

/// Takes what each user did since this was asked before.
fn deeds(sim: &mut Sim, users: &[(Role, Name)]) -> Vec<Vec<(Time, Deed)>> {
    let users = users.iter();
    users.map(|(_, name)| sim.world.take_deeds(*name)).collect()
}

fn is_over(board: &Board) -> bool {
    board.to_come == 0 && board.waiting == 0 && board.starting == 0
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
    let apart = short.clone().max().zip(short.min());
    Sample {
        at: now.since(Time::ZERO),
        used_permille: parts(&used),
        lost_permille: parts(&lost),
        shares_permille: shares.iter().map(|share| share / 1_000).collect(),
        waiting,
        apart_millionths: apart.map_or(0, |(most, least)| most - least),
        gap_millionths: 0,
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
    use crate::allocator::books::Books;
    use crate::allocator::{Allocator, Change, Decision, Stats, drf};
    use crate::attributes::Attributes;
    use crate::constraints::{Constraint, Predicate, Selector};
    use crate::machine::{self, Never, Outbox};
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

    /// Two who come together and want more than there is, each half of it in the end. An agent has
    /// room for one task of the one, or two of the other.
    fn rivals() -> Trace {
        let jobs = vec![
            job("a", 0, 10_000, "cpus:2;mem:1", 100),
            job("b", 0, 10_000, "cpus:1;mem:5", 200),
        ];
        let machines = vec![machine(40, "cpus:2;mem:10", "")];
        Trace { machines, jobs }
    }

    // P18
    #[test]
    fn who_wants_more_than_there_is_is_not_passed_over_for_who_has_more() {
        let figures = rivals().replay(&replaying(300)).unwrap();
        assert_eq!(figures.largest_task_millionths, 25_000);
        assert!(figures.left > 0);
        assert_eq!(figures.starts, figures.waiting.tasks);
        // They compete, and are as near to each other as tasks that are not divided can be.
        let gap = figures.most_gap_millionths;
        assert!(gap > 0 && gap <= figures.largest_task_millionths, "{gap}");
        assert!(figures.mean_gap_millionths < gap);
        assert_eq!(figures.unfair, 0);
        assert!(figures.most_apart_millionths <= figures.largest_task_millionths);
    }

    // P18
    #[test]
    fn whose_tasks_fit_nowhere_is_far_behind_and_not_passed_over() {
        // No agent has three cores, while the tasks of others come and go.
        let mut trace = rivals();
        for job in &mut trace.jobs {
            (job.lasts, job.tasks) = (Duration::from_secs(15), 500);
        }
        trace.jobs.push(job("c", 20, 10_000, "cpus:3;mem:1", 10));
        let figures = trace.replay(&replaying(80)).unwrap();
        assert_eq!(figures.users[2].left, 10);
        assert!(figures.starts > 200, "{}", figures.starts);
        assert!(figures.most_apart_millionths > 400_000);
        let gap = figures.most_gap_millionths;
        assert!(gap <= figures.largest_task_millionths, "{gap}");
        assert_eq!(figures.unfair, 0);
    }

    // P18
    #[test]
    fn what_was_not_demanded_yet_is_not_passed_over() {
        // There is room for all. Of one kind of task something always waits that came after what
        // its user said last, while somebody who has more starts another.
        let jobs = |user, every| {
            (0..3_000_u64 / every).map(move |n| Job {
                at: Duration::from_millis(every * n),
                ..job(user, 0, 10_000, "cpus:1;mem:10", 1)
            })
        };
        let mut all = vec![job("a", 0, 10_000, "cpus:2;mem:100", 400)];
        all.extend(jobs("a", 10));
        all.extend(jobs("b", 4));
        let trace = Trace {
            machines: vec![machine(1_000, "cpus:2;mem:100", "")],
            jobs: all,
        };
        let mut how = replaying(20);
        how.asking = Asking::Demands;
        how.options.checking = Checking::Off;
        how.options.allocator = Policy::drf(drf::Options {
            demands: drf::DemandRule::Honoured,
            ..drf::Options::default()
        });
        let figures = trace.replay(&how).unwrap();
        assert_eq!((figures.left, figures.starts), (0, 1_450));
        assert_eq!((figures.unfair, figures.most_gap_millionths), (0, 0));
    }

    /// Offers all that is free to whoever comes first by name, as long as that one wants it.
    #[derive(Default)]
    struct Favouring(Books, Option<Time>);

    impl machine::Machine for Favouring {
        type Input = Change;
        type Record = Never;
        type Effect = Decision;

        fn handle(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
            self.tick(now, out);
            self.0.take_in(&change, out);
            self.1.get_or_insert(now + Duration::from_secs(1));
        }

        fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
            if self.1.is_none_or(|due| due > now) {
                return;
            }
            self.1 = None;
            let agents: Vec<_> = self.0.free().collect();
            for (agent, free) in agents {
                let first = self.0.takers().min_by_key(|(_, role)| *role);
                if let Some((framework, role)) = first.map(|(who, role)| (who, role.clone())) {
                    self.0.grant(framework, &role, agent, free, out);
                }
            }
        }

        fn deadline(&self) -> Option<Time> {
            self.1
        }
    }

    impl Allocator for Favouring {
        fn stats(&self) -> Stats {
            self.0.stats()
        }
    }

    // P18
    #[test]
    fn an_allocator_that_has_a_favourite_is_found_out() {
        let mut how = replaying(20);
        how.options.allocator = Policy::new(|_| Box::new(Favouring::default()));
        let figures = rivals().replay(&how).unwrap();
        assert_eq!(figures.most_gap_millionths, 1_000_000, "one has all");
        // About each task of the one the other may complain, but for the first.
        assert_eq!((figures.starts, figures.unfair), (40, 39));
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
