//! Mistakes that were once made in Mesos' masters, each with the test that fails if they are made
//! here: by the number of the issue there. Those that were left open have a file of their own,
//! `criticals`; those of allocators are in theirs.
//!
//! | issue | what went wrong | test |
//! |---|---|---|
//! | 1639 | calls that come faster than they are worked off fill the memory | `calls_wait_for_their_turn_in_order_and_beyond_a_bound_are_turned_down` |
//! | 2842 | a framework comes back under another principal | `mesos_2842_a_framework_is_of_the_name_in_its_certificate` |
//! | 2864 | how a task ended is changed by a second end | `what_has_ended_stays_ended` |
//! | 3351 | two agents have one id after a change of masters | `mesos_3351_two_machines_never_have_one_id` |
//! | 4975 | tasks of an agent that are over pile up | `no_task_is_launched_that_its_agent_could_not_report` |
//! | 6482 | an agent that is marked unreachable is not as it is expected to be | `mesos_9609_anything_may_become_of_an_agent_that_is_about_to_be_unreachable` |
//! | 7566 | an agent is taken out of the books with more than it brought | `mesos_7566_an_agent_takes_all_that_it_brought_out_of_the_books` |
//! | 7991 | a framework that two agents tell of is known already | `mesos_7991_who_knows_a_framework_may_come_back_in_any_order` |
//! | 9000 | readers miss how tasks are | `a_life_of_a_task_is_told_as_it_happens` |
//! | 9609 | an agent goes while it waits to be marked unreachable | `mesos_9609_anything_may_become_of_an_agent_that_is_about_to_be_unreachable` |
//! | 10011 | an operation is confirmed whose agent is gone | `mesos_10011_an_operation_may_be_confirmed_after_its_agent` |
//! | 10018 | a task runs twice after a partition and maintenance | `mesos_10018_a_task_runs_once_over_partition_and_maintenance` |
//! | 10146 | tasks go while their framework is away | `mesos_10146_tasks_are_removed_while_their_framework_is_away` |

use super::maintenance::{down, info_on, schedule};
use super::operations::{Offered, heard, named as operation, offered, op, reserved};
use super::*;
use crate::protocol::operation::{Conversion, OperationState};

const AWAY: Duration = Duration::from_secs(600);

#[test]
fn every_issue_has_its_test() {
    let tests = [
        include_str!("bounds.rs"),
        include_str!("criticals.rs"),
        include_str!("events.rs"),
        include_str!("issues.rs"),
        include_str!("tasks.rs"),
        include_str!("throttle.rs"),
    ];
    let rows = include_str!("issues.rs").lines();
    let rows = rows.filter(|line| line.starts_with("//! | ") && line.contains('`'));
    let mut named = 0;
    for row in rows {
        let name = row.split('`').nth(1).unwrap();
        let written = alloc::format!("#[test]\nfn {name}()");
        let is_written = tests.iter().any(|source| source.contains(&written));
        assert!(is_written, "{row}");
        named += 1;
    }
    assert_eq!(named, 13);
}

fn back(id: &AgentId, frameworks: Vec<FrameworkInfo>, tasks: Vec<TaskReport>) -> ToMaster {
    reregister(id.clone(), "cpus:4", frameworks, tasks)
}

fn is_subscribed(outs: &[Out]) -> bool {
    outs.iter().any(|out| {
        let Output::Effect(Effect::Scheduler { event, .. }) = out else {
            return false;
        };
        matches!(event, Event::Subscribed { .. })
    })
}

fn is_shut_down(outs: &[Out]) -> bool {
    let [Output::Effect(Effect::Agent { message, .. })] = outs else {
        return false;
    };
    matches!(message, ToAgent::Shutdown(_))
}

#[test]
fn mesos_2842_a_framework_is_of_the_name_in_its_certificate() {
    // VA-29, FW-12, FW-28: whatever name it says itself
    let mut world = World::new();
    let (machine, agent) = world.agent("one", "cpus:4");
    let (web, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:1")]);
    let claims = |principal: &str| {
        let framework = known_as(owner.clone(), principal);
        subscribe(framework)
    };
    let thief = world.connect(PeerRole::Framework, "batch");
    assert!(!is_subscribed(&world.call(thief, claims("web"))));
    let own = world.connect(PeerRole::Framework, "web");
    assert!(is_subscribed(&world.call(own, claims("batch"))));
    let told = world.introduced.iter().map(|(_, info)| &info.principal);
    let told: Vec<Option<&str>> = told.map(Option::as_deref).collect();
    assert!(told.iter().all(|it| *it == Some("web")), "{told:?}");
    world.call(own, Call::Teardown);
    world.is_over(machine, &owner, "t");
    assert_eq!(world.master.view().frameworks(), []);
    assert_eq!(world.free(), resources("cpus:4"));
}

#[test]
fn mesos_3351_two_machines_never_have_one_id() {
    // I16: somebody has copied a disk, and both come back after a change of masters
    for names in [["one", "two"], ["two", "one"]] {
        let mut world = World::recovered(2, recovery::registry());
        world.drain();
        for name in names {
            let peer = world.connect(PeerRole::Agent, name);
            let outs = world.agent_says(peer, back(&agent_id(0), vec![], vec![]));
            let is_in = outs.iter().any(|out| {
                let Output::Effect(Effect::Agent { message, .. }) = out else {
                    return false;
                };
                matches!(message, ToAgent::Reregistered { .. })
            });
            assert_eq!(is_in, name == "one", "{outs:?}");
        }
        let (_, new) = world.agent("three", "cpus:1");
        let agents = world.master.view().agents();
        let ids: Vec<&AgentId> = agents.iter().map(|it| &it.id).collect();
        assert_eq!(ids, [&agent_id(0), &new]);
        assert_ne!(new, agent_id(0));
    }
}

/// All orders in which two agents and a framework can come back.
const ORDERS: [[&str; 3]; 6] = [
    ["one", "two", "web"],
    ["one", "web", "two"],
    ["two", "one", "web"],
    ["two", "web", "one"],
    ["web", "one", "two"],
    ["web", "two", "one"],
];

#[test]
fn mesos_7991_who_knows_a_framework_may_come_back_in_any_order() {
    // SM-02, SM-03, FW-29: each twice, and whether or not the registry knows the framework
    for is_enrolled in [true, false] {
        let mut world = World::new();
        world.agent("one", "cpus:4");
        world.agent("two", "cpus:4");
        if is_enrolled {
            world.framework("web");
        }
        let registry = world.master.registry().clone();
        for order in ORDERS {
            let mut world = World::recovered(2, registry.clone());
            world.drain();
            for name in order.iter().flat_map(|name| [name, name]) {
                let owner = framework_id(0);
                if *name == "web" {
                    let peer = world.connect(PeerRole::Framework, name);
                    let outs = world.call(peer, subscribe(framework_info_of(owner)));
                    assert!(is_subscribed(&outs), "{order:?}: {outs:?}");
                    continue;
                }
                let id = agent_id(u64::from(*name == "two"));
                let t = report(&owner, task(name, &id, "cpus:1"), TaskState::Running);
                let peer = world.connect(PeerRole::Agent, name);
                world.agent_says(peer, back(&id, vec![known_as(owner, "web")], vec![t]));
            }
            let view = world.master.view();
            assert_eq!(view.frameworks().len(), 1, "{order:?}");
            let tasks = view.live_tasks();
            assert_eq!(tasks.len(), 2, "{order:?}");
            assert!(tasks.iter().all(|it| it.framework == framework_id(0)));
        }
    }
}

#[test]
fn mesos_10011_an_operation_may_be_confirmed_after_its_agent() {
    // OF-56, OF-59, FW-48
    let mut o = offered("cpus:4");
    let reserve = Conversion::Reserve(reserved("cpus", 1));
    o.accept(vec![operation("o", reserve)]);
    let first = heard(&o.world.agent_says(o.agent_peer, o.news("o", 1, 7)));
    let ann = o.world.connect(PeerRole::Operator, "ann");
    let agent = o.agent.clone();
    let outs = o.world.order(ann, operator::Call::MarkGone { agent });
    let names = first.into_iter().chain(heard(&outs));
    let names: Vec<UpdateId> = names.filter_map(|it| it.update).collect();
    assert!(!names.is_empty());
    // What it says of an agent that is gone, or that never was, is answered.
    let ask = |o: &mut Offered, id: &str, agent: u64| {
        let operations = vec![(op(id), Some(agent_id(agent)))];
        let outs = o
            .world
            .call(o.peer, Call::ReconcileOperations { operations });
        let states = heard(&outs).into_iter().map(|it| it.state);
        states.collect::<Vec<_>>()
    };
    assert_eq!(ask(&mut o, "x", 0), [OperationState::GoneByOperator]);
    assert_eq!(ask(&mut o, "x", 9), [OperationState::Unknown]);
    // Each of the names, twice: there is no agent to pass it on to.
    for update in names.iter().flat_map(|name| [*name, *name]) {
        let confirm = Call::AcknowledgeOperation {
            id: op("o"),
            update,
        };
        assert_eq!(o.world.call(o.peer, confirm), []);
    }
    let operations = vec![];
    let outs = o
        .world
        .call(o.peer, Call::ReconcileOperations { operations });
    assert_eq!(outs, [], "nothing is left of it");
}

#[test]
fn mesos_10018_a_task_runs_once_over_partition_and_maintenance() {
    // I9, TK-08, TK-120
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (peer, agent) = world.agent_on("one", 1);
    let (web, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:1")]);
    world.order(ann, schedule(&["one"]));
    world.lose(peer);
    world.pass(AWAY);
    let ends = [TaskState::Unreachable, TaskState::Gone];
    for end in ends {
        if end == TaskState::Gone {
            world.order(ann, down("one"));
        }
        let tasks = world.master.view().all_tasks();
        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks[0].status.state, end);
        // Its id stays taken.
        let name = alloc::format!("for-{end}");
        let (_, other) = world.agent(&name, "cpus:4");
        world.now = world.now + Duration::from_micros(1);
        let offers = world.offered(web);
        let again = vec![task("t", &other, "cpus:1")];
        let outs = world.call(web, launch(&[offers[0].id.clone()], again));
        let is_refused = |out: &Out| {
            let Output::Effect(Effect::Scheduler { event, .. }) = out else {
                return false;
            };
            matches!(event, Event::Update(it) if it.reason == Some(Reason::TaskInvalid))
        };
        assert!(outs.iter().all(is_refused) && outs.len() == 1, "{outs:?}");
    }
    // Whoever still runs it ends it.
    let peer = world.connect(PeerRole::Agent, "one");
    let running = report(&owner, task("t", &agent, "cpus:1"), TaskState::Running);
    let account = ToMaster::Reregister {
        id: agent,
        agent: info_on("one", 1),
        frameworks: vec![],
        tasks: vec![running],
    };
    assert!(is_shut_down(&world.agent_says(peer, account)));
    assert_eq!(world.master.view().live_tasks(), []);
}
