//! What the simulator promises of itself: chance stays in its streams, bad bytes end a connection,
//! and what is broken ends a run without a panic.

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{boxed::Box, vec};
use core::num::NonZero;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use super::queue::End;
use super::world::Link;
use super::*;
use crate::allocator::drf::DemandRule;
use crate::ids::PeerId;
use crate::resources::{Ceilings, Resources};
use crate::rng::Rng;

fn options(agents: u32) -> Options {
    let machine = Resources::parse("cpus:4;mem:1024").unwrap();
    let mut options = Options::new(3, agents, 1, machine);
    options.checking = Checking::Always;
    options
}

#[test]
fn bad_bytes_end_their_connection_and_nothing_else() {
    for from in [End::Client, End::Server] {
        for bytes in [vec![], vec![0xff; 3], vec![0xff; 40], vec![0; 200_000]] {
            let mut sim = Sim::new(options(2));
            sim.run_for(Duration::from_secs(10));
            for name in [Name::Agent(1), Name::Framework(1)] {
                let world = &mut sim.world;
                let Some(Link::Up(peer)) = world.link(name, 1).copied() else {
                    panic!("{name} is connected by now");
                };
                let now = world.shared.now;
                let queue = &mut world.shared.queue;
                world.net.send(now, peer, from, bytes.clone(), queue);
            }
            let before = sim.report().events;
            sim.run_for(Duration::from_secs(1));
            assert!(sim.report().events > before);
            for name in [Name::Agent(1), Name::Framework(1)] {
                let link = sim.world.link(name, 1).copied();
                assert!(
                    !matches!(link, Some(Link::Up(PeerId(n))) if n <= 3),
                    "{name}: {link:?}"
                );
            }
            let other = sim.world.link(Name::Agent(2), 1).copied();
            assert!(matches!(other, Some(Link::Up(_))));
            sim.expect_converged();
        }
    }
}

#[test]
fn what_is_broken_ends_the_run_and_is_a_value() {
    let mut sim = Sim::new(options(1));
    sim.run_for(Duration::from_secs(10));
    sim.world.broken(Property::Tasks, "planted".into());
    sim.world.broken(Property::Offers, "later".into());
    let (now, events) = (sim.now(), sim.report().events);
    let violation = sim.advance(Duration::from_secs(10)).unwrap_err();
    assert_eq!(violation.property, Property::Tasks);
    assert_eq!(
        alloc::format!("{violation}"),
        "seed 3 at 10.000000: tasks: planted"
    );
    assert_eq!((sim.now(), sim.report().events), (now, events));
    assert_eq!(sim.violation(), Some(&violation));
    assert_eq!(sim.converge(Duration::from_secs(10)), Err(violation));
}

/// Runs a cluster; returns its log but for the lines of faults.
fn log(change: impl FnOnce(&mut Options), act: impl FnOnce(&mut Sim)) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&lines);
    let log = Log::Lines(Box::new(move |line| {
        if !line.contains(" fault ") {
            copy.lock().unwrap().push(String::from(line));
        }
    }));
    let mut options = options(3);
    change(&mut options);
    let mut sim = Sim::with_log(options, log);
    act(&mut sim);
    sim.run_for(Duration::from_secs(120));
    let lines = lines.lock().unwrap();
    lines.clone()
}

#[test]
fn a_fault_without_effect_moves_nothing() {
    let idle = log(|options| options.demand.tasks = 0, |_| {});
    // Where nobody runs anything nothing can vanish.
    let faulty = log(
        |options| {
            options.demand.tasks = 0;
            options.faults.every = Some(Span::secs(1, 2));
            options.faults.vanish = 1;
        },
        |_| {},
    );
    assert_eq!(faulty, idle);
    assert!(idle.len() > 100);
}

/// When a node first takes something in.
fn first_input(lines: &[String], node: &str) -> String {
    let input = alloc::format!(" {node} input ");
    let line = lines.iter().find(|line| line.contains(&input));
    let words = line.and_then(|line| line.split(' ').next());
    String::from(words.unwrap_or("never"))
}

#[test]
fn who_is_down_moves_no_chance_of_the_others() {
    let calm = log(|_| {}, |_| {});
    // Before anybody dials.
    let crashed = log(
        |_| {},
        |sim| sim.crash(Name::Agent(2), Duration::from_secs(100_000)),
    );
    for node in ["agent-1", "agent-3"] {
        // The containerizer speaks first.
        assert_eq!(first_input(&calm, node), first_input(&crashed, node));
    }
    let of_agent = |lines: &[String]| {
        let lines = lines.iter().filter(|line| line.contains(" agent-3 "));
        let found = lines.filter(|line| line.contains("MasterFound"));
        let times = found.map(|line| String::from(line.split(' ').next().unwrap()));
        times.collect::<Vec<_>>()
    };
    assert_eq!(of_agent(&calm).len(), 1);
    assert_eq!(of_agent(&calm), of_agent(&crashed));
    assert_ne!(first_input(&calm, "agent-2"), "never");
    assert_eq!(first_input(&crashed, "agent-2"), "never");
}

#[test]
fn faults_are_counted_by_kind() {
    let mut sim = Sim::new(options(2));
    sim.run_for(Duration::from_secs(10));
    sim.crash(Name::Agent(1), Duration::from_secs(1));
    sim.crash(Name::Agent(1), Duration::from_secs(1));
    sim.cut(Name::Framework(1), Cut::Outgoing);
    sim.stall(Name::Master, Duration::from_secs(1));
    let faults = sim.report().faults;
    assert_eq!(faults[&Kind::AgentCrash], 1, "it was down already");
    assert_eq!(faults[&Kind::CutOutgoing], 1);
    assert_eq!(faults[&Kind::Stall], 1);
    assert!(!faults.contains_key(&Kind::MasterCrash));
}

/// Wipes the master's disk behind its back.
fn forgetful(checking: Checking) -> Sim {
    let mut sim = Sim::new(Options {
        checking,
        ..options(2)
    });
    sim.run_for(Duration::from_secs(10));
    sim.world.master.disk = journal::Disk::default();
    sim
}

#[test]
fn all_is_looked_at_when_it_is_due_and_at_rest() {
    let minute = Duration::from_secs(60);
    let property = |result: Result<(), Violation>| result.map_err(|violation| violation.property);
    let often = Checking::Sampled(NonZero::new(3).unwrap());
    // The master writes what a new agent is, and then what is written is compared.
    // More than once, for the steps that are looked at fall where they fall.
    let joins = |mut sim: Sim| {
        (0..8).try_for_each(|_| {
            sim.world.lose_disk(1, &mut Rng::new(1));
            sim.world.plan_restart(Name::Agent(1), Duration::ZERO);
            property(sim.advance(minute))
        })
    };
    assert_eq!(joins(forgetful(Checking::Always)), Err(Property::Replay));
    // One of three steps is looked at, and the master writes in few.
    let mut phases = (0..3).map(|phase| {
        let mut sim = forgetful(often);
        sim.world.steps += phase;
        joins(sim)
    });
    assert!(phases.any(|found| found == Err(Property::Replay)));
    let seldom = Checking::Sampled(NonZero::<u32>::MAX);
    assert_eq!(joins(forgetful(seldom)), Ok(()));
    assert_eq!(joins(forgetful(Checking::Off)), Ok(()));

    let rests = |mut sim: Sim| property(sim.converge(minute).map(|_| ()));
    assert_eq!(rests(forgetful(seldom)), Err(Property::Replay));
    assert_eq!(rests(forgetful(Checking::Off)), Ok(()));
}

#[test]
fn every_fault_between_nodes_is_survived_and_counted() {
    for kind in Kind::ALL {
        let mut sim = Sim::new(options(3));
        sim.run_for(Duration::from_secs(20));
        let lasting = Duration::from_secs(30);
        let nodes = [Name::Master, Name::Agent(2), Name::Framework(1)];
        let hit: Vec<Name> = nodes
            .into_iter()
            .filter(|node| {
                let hits = sim.inject(kind, *node, lasting);
                sim.run_for(Duration::from_secs(10));
                hits
            })
            .collect();
        let count = sim.report().faults.get(&kind).copied().unwrap_or(0);
        let is_a_consequence = matches!(
            kind,
            Kind::LostTail
                | Kind::TornTail
                | Kind::Overload
                | Kind::Breach
                | Kind::LaunchFailure
                | Kind::OddExecutor
                | Kind::HungLaunch
                | Kind::RunOut
        );
        assert_eq!(hit.is_empty(), is_a_consequence, "{kind}");
        // Those that look for somebody may find nobody, and a disk fails with the next record.
        let may_miss = matches!(
            kind,
            Kind::Vanish
                | Kind::ExecutorCrash
                | Kind::DiskFailure
                | Kind::CutExecutors
                | Kind::SlowExecutors
                | Kind::FalseAgent
                | Kind::FalseExecutor
                | Kind::FalseFramework
        );
        if !may_miss {
            assert!(count >= hit.len() as u64, "{kind}: {count} of {hit:?}");
        }
        sim.heal();
        sim.expect_converged();
    }
}

#[test]
fn a_clogged_agent_is_given_up_and_comes_back_with_its_tasks() {
    // SM-15: silence on a connection that stands.
    let mut sim = Sim::new(Options {
        run: Span::secs(10_000, 10_000),
        ping_interval: Duration::from_secs(1),
        max_missed_pings: 3,
        ..options(1)
    });
    sim.run_for(Duration::from_secs(20));
    let connected = |sim: &Sim| {
        let agents = sim.master().unwrap().view().agents();
        agents.iter().all(|agent| agent.presence.is_connected())
    };
    assert!(connected(&sim));
    assert!(sim.inject(Kind::Clog, Name::Agent(1), Duration::from_secs(30)));
    sim.run_for(Duration::from_secs(20));
    assert!(!connected(&sim));
    sim.run_for(Duration::from_secs(60));
    assert!(connected(&sim));
    assert_eq!(sim.report().tasks.lost, 0);
    sim.expect_converged();
}

/// A cluster whose tasks run two to an executor.
fn with_executors(change: impl FnOnce(&mut Options)) -> Sim {
    let mut options = options(2);
    let resources = Resources::parse("mem:16").unwrap();
    let tasks = NonZero::new(2).unwrap();
    options.demand.executor = Some(SharedExecutor { resources, tasks });
    change(&mut options);
    Sim::new(options)
}

// FW-60, FW-64, AG-32: whoever runs tasks goes on without its agent, and comes back to it.
#[test]
fn executors_outlive_their_agent_and_keep_their_tasks() {
    let mut sim = with_executors(|options| options.run = Span::secs(100, 200));
    sim.run_for(Duration::from_secs(20));
    let before = sim.told(Name::Framework(1));
    assert_eq!(before.len(), 5);
    assert!(before.iter().all(|(_, state)| *state == TaskState::Running));
    for agent in [Name::Agent(1), Name::Agent(2)] {
        sim.crash(agent, Duration::from_secs(30));
    }
    sim.run_for(Duration::from_secs(60));
    assert_eq!(sim.told(Name::Framework(1)), before);
    sim.run_for(Duration::from_secs(600));
    let tasks = sim.report().tasks;
    assert!(tasks.finished >= 10, "{tasks:?}");
    assert_eq!((tasks.failed, tasks.lost, tasks.killed), (0, 0, 0));
    assert!(sim.report().utilisation_permille > 0);
    sim.expect_converged();
}

// AG-33, TK-47, TK-73: what an executor leaves unsaid its agent says.
#[test]
fn executors_that_crash_or_misbehave_leave_no_task_behind() {
    let mut odd = with_executors(|options| {
        options.faults.odd_executor_one_in = 1;
        options.demand.kill_one_in = 4;
        options.run = Span::secs(1, 20);
    });
    odd.run_for(Duration::from_secs(2_400));
    let tasks = odd.report().tasks;
    assert!(tasks.finished > 20 && tasks.failed > 20, "{tasks:?}");
    assert!(odd.report().faults[&Kind::OddExecutor] > 20);
    odd.expect_converged();

    let mut frail = with_executors(|options| options.run = Span::secs(20, 40));
    for _ in 0..20 {
        frail.run_for(Duration::from_secs(20));
        frail.inject(Kind::ExecutorCrash, Name::Agent(1), Duration::ZERO);
    }
    let crashes = frail.report().faults[&Kind::ExecutorCrash];
    let tasks = frail.report().tasks;
    assert!(crashes > 10, "{crashes}");
    assert!((crashes..=2 * crashes).contains(&tasks.failed), "{tasks:?}");
    frail.expect_converged();
}

/// The states of a framework's tasks that its schedulers were told, and how many of each.
fn states(sim: &Sim, state: TaskState) -> usize {
    let told = sim.told(Name::Framework(1));
    told.iter().filter(|(_, told)| *told == state).count()
}

// FW-28, FW-54, SM-03: checked by `sessions` as well.
#[test]
fn who_subscribes_last_has_the_framework_and_the_others_end() {
    for (kind, others) in [(Kind::SecondInstance, 1), (Kind::FailoverStorm, 2)] {
        let mut sim = Sim::new(Options {
            run: Span::secs(200, 300),
            ..options(2)
        });
        sim.run_for(Duration::from_secs(20));
        assert_eq!(states(&sim, TaskState::Running), 5);
        for _ in 0..5 {
            assert!(sim.inject(kind, Name::Framework(1), Duration::ZERO));
            sim.run_for(Duration::from_secs(10));
            let seat = &sim.world.frameworks[0];
            assert_eq!(seat.machines().count(), 1, "{kind}");
        }
        let came = |kind| sim.report().faults.get(&kind).copied().unwrap_or(0);
        let came = came(Kind::SecondInstance) + came(kind);
        assert!(came >= 5 * (1 + others), "{came}");
        // One framework, whose tasks never noticed.
        assert_eq!(sim.master().unwrap().view().frameworks().len(), 1);
        let tasks = sim.report().tasks;
        assert_eq!((tasks.killed, tasks.lost, tasks.failed), (0, 0, 0));
        sim.expect_converged();
    }
}

// FW-04, FW-28, SM-04
#[test]
fn a_framework_that_crashed_comes_back_under_its_id_with_its_tasks() {
    let mut sim = Sim::new(Options {
        run: Span::secs(100, 200),
        ..options(2)
    });
    sim.run_for(Duration::from_secs(20));
    let running = states(&sim, TaskState::Running);
    assert_eq!(running, 5);
    sim.crash(Name::Framework(1), Duration::from_secs(400));
    sim.run_for(Duration::from_secs(300));
    assert_eq!(states(&sim, TaskState::Running), running, "nobody hears");
    sim.run_for(Duration::from_secs(300));
    assert!(states(&sim, TaskState::Finished) >= 5);
    let frameworks = sim.master().unwrap().view().frameworks();
    assert_eq!(frameworks.len(), 1);
    assert_eq!(sim.report().faults[&Kind::FrameworkCrash], 1);
    sim.expect_converged();

    // Nobody can make the user's again.
    let mut sim = Sim::new(Options {
        frameworks: 0,
        ..options(1)
    });
    let name = sim.framework(FrameworkInfo::new("mine"), Box::new(workload::Silent));
    sim.run_for(Duration::from_secs(10));
    sim.crash(name, Duration::from_secs(1));
    assert!(sim.report().faults.is_empty());
    assert_eq!(sim.world.frameworks[0].machines().count(), 1);
}

// I9: whoever starts a task again, somewhere else or later, is found.
#[test]
fn a_task_that_is_started_again_is_found() {
    for executor in [false, true] {
        let mut sim = with_executors(|options| {
            options.demand.executor = options.demand.executor.take().filter(|_| executor);
        });
        sim.run_for(Duration::from_secs(20));
        let places = sim
            .world
            .ever
            .values_mut()
            .flat_map(|tasks| tasks.values_mut());
        for (_, start) in places {
            *start += 1;
        }
        let violation = sim.advance(Duration::from_secs(60)).unwrap_err();
        assert_eq!(violation.property, Property::Tasks, "{violation}");
    }
}

// OF-11, OF-12, TK-11: what one framework says wrong is answered, and is no matter to the others.
#[test]
fn nonsense_is_turned_down_and_harms_nobody() {
    let mut sim = Sim::new(Options {
        nonsense: 1,
        ..options(2)
    });
    sim.run_for(Duration::from_secs(300));
    let report = sim.report();
    let [steady, nonsense] = &report.frameworks[..] else {
        panic!("{report:?}");
    };
    let tasks = steady.tasks;
    assert!(tasks.finished > 20, "{tasks:?}");
    assert_eq!((tasks.failed, tasks.lost, tasks.killed), (0, 0, 0));
    let tasks = nonsense.tasks;
    assert!(tasks.finished > 5 && tasks.lost > 20, "{tasks:?}");
    sim.expect_converged();
}

// OF-06, OF-11: who answers too late gets nothing of that, and who only thinks about it all.
#[test]
fn a_slow_scheduler_gets_what_it_answers_while_it_is_good() {
    for (think, is_late) in [(Span::secs(1, 3), false), (Span::secs(6, 8), true)] {
        let mut sim = Sim::new(Options {
            think,
            allocator: Policy::library(Some(Duration::from_secs(5)), DemandRule::Ignored),
            ..options(2)
        });
        sim.run_for(Duration::from_secs(300));
        let [tasks] = &sim.report().frameworks[..] else {
            panic!("one framework is there");
        };
        let tasks = tasks.tasks;
        assert_eq!(tasks.lost > 20, is_late, "{tasks:?}");
        assert_eq!(tasks.finished > 20, !is_late, "{tasks:?}");
        sim.expect_converged();
    }
}

// HA-14, SM-10: nobody is lost between a master that does not know it has no lead, and the next.
#[test]
fn a_master_without_the_lead_does_no_harm_and_is_left() {
    for seed in 0..8 {
        let mut sim = Sim::new(Options {
            seed,
            run: Span::secs(5, 100),
            ..options(3)
        });
        sim.run_for(Duration::from_secs(10 + seed));
        let before = sim.master().unwrap().registry().epoch();
        assert!(sim.inject(Kind::LostLead, Name::Master, Duration::from_secs(60)));
        assert!(sim.master().is_none(), "nobody leads");
        sim.run_for(Duration::from_secs(30));
        let of = |sim: &Sim| sim.master().unwrap().view().agents().len();
        assert!(sim.master().unwrap().registry().epoch() > before);
        assert!(sim.world.zombie.is_some(), "it does not know");
        let agents = sim.master().unwrap().view().agents();
        assert!(
            agents.iter().all(|agent| !agent.presence.is_connected()),
            "they are still with it"
        );
        sim.run_for(Duration::from_secs(120));
        assert!(sim.world.zombie.is_none());
        assert_eq!(of(&sim), 3);
        assert_eq!(sim.report().tasks.lost, 0);
        sim.expect_converged();
    }
}

// I17, AG-20, C1, C5
#[test]
fn whatever_happens_to_a_machine_is_counted_and_gets_well() {
    use Kind::{ClockStep, DiskFailure, Pause, Reboot, SlowDisk};
    let nodes = [Name::Master, Name::Agent(1), Name::Framework(1)];
    for kind in [Pause, ClockStep, DiskFailure, SlowDisk, Reboot] {
        for node in nodes {
            let mut sim = Sim::new(options(2));
            sim.run_for(Duration::from_secs(20));
            let lasting = Duration::from_secs(40);
            let is_possible = match (kind, node) {
                (Pause, _) => true,
                (Reboot, _) => node == Name::Agent(1),
                _ => node != Name::Framework(1),
            };
            assert_eq!(
                sim.inject(kind, node, lasting),
                is_possible,
                "{kind} {node}"
            );
            // It is the next record that fails, and this has the master write one.
            sim.inject(
                Kind::FrameworkCrash,
                Name::Framework(1),
                Duration::from_secs(5),
            );
            sim.run_for(Duration::from_secs(90));
            let hits = sim.report().faults.get(&kind).copied();
            assert_eq!(hits, is_possible.then_some(1), "{kind} {node}");
            sim.heal();
            sim.expect_converged();
        }
    }
}

#[test]
fn who_is_paused_does_nothing_and_then_goes_on() {
    for node in [Name::Master, Name::Agent(1), Name::Framework(1)] {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = Arc::clone(&lines);
        let log = Log::Lines(Box::new(move |line| sink.lock().unwrap().push(line.into())));
        let mut sim = Sim::with_log(options(2), log);
        sim.run_for(Duration::from_secs(10));
        let name = alloc::format!(" {node} ");
        let done = || {
            let lines = lines.lock().unwrap();
            lines.iter().filter(|line| line.contains(&name)).count()
        };
        assert!(sim.inject(Kind::Pause, node, Duration::from_secs(5)));
        let before = done();
        sim.run_for(Duration::from_millis(4_999));
        assert_eq!(done(), before, "{node}");
        sim.run_for(Duration::from_secs(20));
        assert!(done() > before, "{node}");
        sim.expect_converged();
    }
}

// AG-20, TK-30
#[test]
fn a_machine_that_reboots_loses_what_ran_on_it() {
    let mut options = options(1);
    options.run = Span::secs(3_600, 3_600);
    let mut sim = Sim::new(options);
    sim.run_for(Duration::from_secs(30));
    let running = |sim: &Sim| sim.agent(1).map_or(0, |agent| agent.view().tasks().count());
    assert_eq!(running(&sim), 4);
    assert!(sim.inject(Kind::AgentCrash, Name::Agent(1), Duration::from_secs(1)));
    sim.run_for(Duration::from_secs(30));
    assert_eq!(sim.report().tasks.lost, 0, "containers outlive their agent");
    assert!(sim.inject(Kind::Reboot, Name::Agent(1), Duration::from_secs(1)));
    sim.run_for(Duration::from_secs(30));
    assert_eq!(sim.report().tasks.lost, 4);
    assert_eq!(running(&sim), 4, "and others came");
}

// I6, RQ-12, OF-23
#[test]
fn frameworks_keep_to_a_limit_and_launch_groups() {
    let mut options = options(2);
    options.frameworks = 2;
    options.limits = Ceilings::parse("cpus:3").unwrap();
    options.demand.group = 2;
    let mut sim = Sim::new(options);
    for _ in 0..20 {
        sim.run_for(Duration::from_secs(10));
        let frameworks = sim.report().frameworks;
        let shares = frameworks.iter().map(|it| it.dominant_share_permille);
        assert!(shares.sum::<u64>() <= 375, "three of eight cores");
    }
    let launched = sim.report().tasks.launched;
    assert!(launched >= 10 && launched.is_multiple_of(2), "{launched}");
    sim.expect_converged();
}

// L4
#[test]
fn work_that_has_an_end_ends_or_is_missed() {
    let mut sim = Sim::new(options(1));
    sim.run_for(Duration::from_secs(10));
    assert!(sim.complete().unwrap() > Duration::ZERO);
    let mut greedy = options(1);
    greedy.greedy = 1;
    assert_eq!(Sim::new(greedy).complete(), Ok(Duration::ZERO));

    let mut sim = Sim::new(options(1));
    sim.run_for(Duration::from_secs(10));
    sim.cut(Name::Agent(1), Cut::Both);
    let missed = sim.complete().unwrap_err();
    assert_eq!(missed.property, Property::Completion);
}

/// Runs one task and confirms nothing.
struct Careless {
    launched: bool,
}

impl Logic for Careless {
    fn on_event(
        &mut self,
        _: Time,
        event: crate::scheduler::UserEvent,
        calls: &mut Vec<crate::scheduler::UserCall>,
    ) {
        let crate::scheduler::UserEvent::Offers(offers) = event else {
            return;
        };
        for offer in offers.iter().filter(|_| !self.launched) {
            let needs = Resources::parse("cpus:1;mem:1").unwrap();
            let command = crate::protocol::task::CommandInfo::shell("sleep inf");
            let task = offer.task(TaskId::new("only").unwrap(), needs, command);
            calls.push(crate::scheduler::UserCall::launch(offer, vec![task], None));
        }
        self.launched |= !offers.is_empty();
    }

    fn acknowledging(&self) -> crate::scheduler::Acknowledging {
        crate::scheduler::Acknowledging::ByUser
    }
}

// I10
#[test]
fn what_is_never_confirmed_is_found() {
    let mut options = options(1);
    options.frameworks = 0;
    let mut sim = Sim::new(options);
    let careless = Careless { launched: false };
    sim.framework(FrameworkInfo::new("careless"), Box::new(careless));
    sim.run_for(Duration::from_secs(30));
    let broken = sim.converge(Duration::from_secs(600)).unwrap_err();
    assert_eq!(broken.property, Property::Deliveries, "{broken}");
}
