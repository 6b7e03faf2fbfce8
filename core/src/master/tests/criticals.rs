//! Critical issues that Mesos 1.11 left open, as far as they concern masters: what each describes
//! cannot happen here. Named after them; the other half is the agent's.
//!
//! Those of allocators (RG-22, RG-27, RG-29) are shown here through the whole master; how the
//! allocator does it is for its own tests. Where nothing is to be shown of a master:
//!
//! - RG-02 (10186), TLS that ends the process: there is none in this crate, which forbids unsafe
//!   code; the transport, whose TLS is rustls, forbids it as well. `tidy` has the test.
//! - RG-17 (8256), threads that all wait: a machine has none, and does not wait. That nobody waits
//!   for its disk is in `scenarios`.
//! - RG-20 (7748), subscribers that do not keep up: what waits for a peer is in the transport, and
//!   bounded there.
//! - RG-25 (5989, 8803, 8096), races of libevent and libprocess: neither is used, and a machine
//!   takes in one input after the other. `tidy` has the test.

use super::operations::reserved;
use super::recovery::registry;
use super::roles::{role, subscribed};
use super::*;
use crate::master::Rate;
use crate::protocol::framework::Capabilities;
use crate::protocol::operation::Conversion;
use crate::protocol::operator::RoleView;
use crate::quota::Quota;
use crate::resources::Ceilings;

const AWAY: Duration = Duration::from_secs(600);

fn back(id: &AgentId, total: &str, tasks: Vec<TaskReport>) -> ToMaster {
    reregister(id.clone(), total, vec![], tasks)
}

/// What frameworks hear of tasks.
fn heard(outs: &[Out]) -> Vec<TaskState> {
    let heard = outs.iter().filter_map(|out| match out {
        Output::Effect(Effect::Scheduler {
            event: Event::Update(status),
            ..
        }) => Some(status.state),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    heard.collect()
}

/// What a framework is offered.
fn offers(outs: &[Out], to: PeerId) -> Vec<Offer> {
    let mut offers = Vec::new();
    for out in outs {
        if let Output::Effect(Effect::Scheduler {
            peer,
            event: Event::Offers(more),
        }) = out
            && *peer == to
        {
            offers.extend(more.iter().cloned());
        }
    }
    offers
}

fn by_drf() -> World {
    let mut world = World::drf(1, Registry::default());
    world.drain();
    world
}

fn reserve(cpus: u32) -> Operation {
    let change = Conversion::Reserve(reserved("cpus", cpus));
    Operation::Convert { id: None, change }
}

fn accept(offer: &Offer, operations: Vec<Operation>) -> Call {
    Call::Accept {
        offers: vec![offer.id.clone()],
        operations,
        refuse: Some(Duration::ZERO),
    }
}

fn order(world: &mut World, call: operator::Call) {
    let ann = world.connect(PeerRole::Operator, "ann");
    assert_eq!(world.ask(ann, call), Answer::Updated);
}

fn mark_gone(world: &mut World, agent: &AgentId) {
    let agent = agent.clone();
    order(world, operator::Call::MarkGone { agent });
}

/// What becomes of an agent, or of its task `t`.
type Happening = fn(&mut World, PeerId, &AgentId, &FrameworkId);

const EVENTS: [(&str, Happening); 6] = [
    ("its task ends", |world, peer, agent, owner| {
        let end = news("t", TaskState::Finished, agent, 1);
        world.update(peer, owner, end, TaskState::Finished);
    }),
    ("it leaves", |world, peer, _, _| {
        world.agent_says(peer, ToMaster::Unregister);
    }),
    ("it is given up", |world, _, agent, _| {
        mark_gone(world, agent)
    }),
    ("it joins anew", |world, _, _, _| {
        world.agent_anew("one");
    }),
    ("it comes back without", |world, peer, agent, owner| {
        world.lose(peer);
        let peer = world.connect(PeerRole::Agent, "one");
        world.agent_says(peer, back(agent, "cpus:4", vec![]));
        let dropped = news("t", TaskState::Dropped, agent, 1);
        world.update(peer, owner, dropped, TaskState::Dropped);
    }),
    ("it stays away", |world, peer, _, _| {
        world.lose(peer);
        world.pass(AWAY);
    }),
];

#[test]
fn mesos_10146_tasks_are_removed_while_their_framework_is_away() {
    // RG-03: before its time is over, and after
    for (name, happens) in EVENTS {
        for is_over in [false, true] {
            let mut world = World::new();
            let (peer, agent) = world.agent("one", "cpus:4");
            let (web, owner) = world.framework("web");
            world.now = world.now + Duration::from_micros(1);
            world.launch(web, vec![task("t", &agent, "cpus:1")]);
            world.lose(web);
            if is_over {
                world.pass(Duration::from_secs(20));
            }
            happens(&mut world, peer, &agent, &owner);
            world.pass(Duration::from_secs(20));
            let view = world.master.view();
            assert_eq!(view.live_tasks(), [], "{name}");
            assert!(view.agents().iter().all(|it| it.allocated.is_empty()));
        }
    }
}

#[test]
fn mesos_9609_anything_may_become_of_an_agent_that_is_about_to_be_unreachable() {
    // RG-28: two fall silent, one becomes unreachable, and the other waits for its turn
    let per = Duration::from_secs(900);
    for (name, happens) in EVENTS {
        let mut config = Config::new(master_id(1), 1, 7);
        config.unreachable_rate = Some(Rate { agents: 1, per });
        let greedy = Box::new(Greedy::default());
        let mut world = World::configured(config, Registry::default(), greedy);
        world.drain();
        let (quiet, first) = world.agent("two", "cpus:4");
        let (web, owner) = world.framework("web");
        world.now = world.now + Duration::from_micros(1);
        world.launch(web, vec![task("u", &first, "cpus:1")]);
        world.pass(Duration::from_secs(30));
        let (peer, second) = world.agent("one", "cpus:4");
        world.pass(Duration::from_micros(1));
        let offers = world.master.view().offers();
        let offer = offers.iter().find(|offer| offer.agent == second).unwrap();
        let tasks = vec![task("t", &second, "cpus:1")];
        world.call(web, launch(core::slice::from_ref(&offer.id), tasks));
        let outs = world.pass(Duration::from_secs(120));
        let lost = |outs: &[Out], id: &AgentId| {
            outs.iter().any(|out| {
                matches!(out, Output::Persist(RegistryOp::Unreachable { id: of, .. }) if of == id)
            })
        };
        assert!(lost(&outs, &first) && !lost(&outs, &second), "{name}");
        happens(&mut world, peer, &second, &owner);
        assert_eq!(world.agent_says(quiet, ToMaster::Pong), [], "too late");
        let outs = world.pass(Duration::from_secs(2_000));
        let is_gone = world.master.registry().gone().contains_key(&second);
        let is_away = world.master.registry().agent(&second);
        let is_away = is_away.is_some_and(|row| row.unreachable.is_some());
        assert!(is_gone != is_away, "{name}");
        assert!(!(is_gone && lost(&outs, &second)), "{name}");
    }
}

#[test]
fn mesos_9426_agents_of_an_earlier_leadership_are_not_awaited_for_ever() {
    // RG-09
    let mut world = World::recovered(2, registry());
    world.drain();
    let outs = world.pass(AWAY);
    assert_eq!(outs, [out_of_reach(&agent_id(0), world.now)]);
}

#[test]
fn mesos_9006_nobody_but_operators_is_shown_the_cluster() {
    // RG-13
    use operator::Call;
    let asked = [
        Call::Summary,
        Call::Agents,
        Call::Frameworks,
        Call::Tasks { all: true },
        Call::Offers,
        Call::Roles,
    ];
    for call in asked {
        for by in PeerRole::ALL {
            let mut world = World::new();
            world.agent("one", "cpus:4");
            let peer = world.connect(by, "spy");
            let request = operator::Request {
                id: RequestId(1),
                call: call.clone(),
                after: None,
            };
            let outs = world.input(Input::Operator { peer, request });
            if by == PeerRole::Operator {
                assert!(matches!(outs[..], [Output::Effect(Effect::Respond { .. })]));
                continue;
            }
            let why = alloc::format!("{by}/spy may not speak as operator");
            assert_eq!(outs, [disconnect(peer, CloseReason::WrongRole, &why)]);
        }
    }
}

#[test]
fn mesos_8038_a_device_is_offered_again_when_its_task_is_over() {
    // RG-18: and not when its end was asked for
    let mut world = World::new();
    let (peer, agent) = world.agent("one", "cpus:4;gpus:1");
    let web = world.connect(PeerRole::Framework, "web");
    let info = FrameworkInfo {
        capabilities: Capabilities::GPUS,
        ..framework_info()
    };
    let owner = world.subscribe(web, info);
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:1;gpus:1")]);
    let kill = Call::Kill {
        task: task_id("t"),
        grace: Some(Duration::ZERO),
    };
    world.call(web, kill);
    let killing = news("t", TaskState::Killing, &agent, 1);
    world.update(peer, &owner, killing, TaskState::Killing);
    let mut seen = offers(&world.pass(Duration::from_secs(10)), web);
    assert_eq!(seen.remove(0).resources, resources("cpus:3"));
    assert_eq!(seen, []);
    let killed = news("t", TaskState::Killed, &agent, 2);
    world.update(peer, &owner, killed, TaskState::Killed);
    let seen = offers(&world.pass(Duration::from_secs(10)), web);
    assert_eq!(seen[0].resources, resources("cpus:1;gpus:1"));
}

#[test]
fn mesos_7911_a_lost_connection_is_no_lost_task() {
    // TK-110, FW-05, RG-19: whatever a framework says of itself
    let mut world = World::new();
    let (peer, agent) = world.agent("one", "cpus:4");
    let web = world.connect(PeerRole::Framework, "web");
    let owner = world.subscribe(web, FrameworkInfo::new("web"));
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:1")]);
    let running = news("t", TaskState::Running, &agent, 1);
    world.update(peer, &owner, running, TaskState::Running);
    world.lose(peer);
    let mut outs = world.pass(AWAY - Duration::from_secs(1));
    let peer = world.connect(PeerRole::Agent, "one");
    let t = report(&owner, task("t", &agent, "cpus:1"), TaskState::Running);
    outs.extend(world.agent_says(peer, back(&agent, "cpus:4", vec![t])));
    assert_eq!(heard(&outs), []);
    let tasks = world.master.view().live_tasks();
    assert_eq!(tasks[0].status.state, TaskState::Running);
}

#[test]
fn mesos_7566_an_agent_takes_all_that_it_brought_out_of_the_books() {
    // RG-22: it changed while parts of it were reserved, offered and used
    for is_given_up in [false, true] {
        let mut world = by_drf();
        let (old, agent) = world.agent("one", "cpus:4");
        let (web, owner) = subscribed(&mut world, &["eng"]);
        let offer = world.offered(web).remove(0);
        let t = task("t", &agent, "cpus:1");
        let operations = vec![reserve(1), Operation::Launch(vec![t.clone()])];
        world.call(web, accept(&offer, operations));
        world.pass(Duration::from_secs(1));
        world.lose(old);
        let mut peer = old;
        for total in ["cpus:9", "cpus:1.5", "cpus:3;mem:10"] {
            peer = world.connect(PeerRole::Agent, "one");
            let mut t = report(&owner, t.clone(), TaskState::Running);
            t.role = role("eng");
            world.agent_says(peer, back(&agent, total, vec![t]));
            assert_eq!(world.master.view().agents()[0].tasks, 1, "{total}");
            world.pass(Duration::from_secs(1));
        }
        let booked = world.master.allocator().stats().booked;
        assert_ne!(booked, Quantities::new());
        if is_given_up {
            mark_gone(&mut world, &agent);
        } else {
            world.lose(peer);
            world.pass(AWAY);
        }
        let stats = world.master.allocator().stats();
        let left = (stats.total.to_string(), stats.booked.to_string());
        assert_eq!(left, (String::new(), String::new()));
    }
}

#[test]
fn mesos_5396_a_machine_that_lost_its_state_is_one_agent_after_a_failover() {
    // RG-26: whoever proves the same name is the same machine; an address proves nothing
    let mut world = World::recovered(2, registry());
    world.drain();
    let (_, new) = world.agent_anew("one");
    let agents = world.master.view().agents();
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0].id, new);
    let registry = world.master.registry();
    assert!(registry.gone().contains_key(&agent_id(0)));
    assert_eq!(registry.agents().count(), 1);
    // The one of before ends what it runs, should there be something.
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, back(&agent_id(0), "cpus:4", vec![]));
    assert!(matches!(
        outs[..],
        [Output::Effect(Effect::Agent {
            message: ToAgent::Shutdown(_),
            ..
        })]
    ));
}

#[test]
fn mesos_4527_who_amasses_reservations_uses_up_its_quota() {
    // RG-27
    let mut world = by_drf();
    let limit = |world: &mut World, limit: &str| {
        let quota = Quota {
            guarantees: Quantities::new(),
            limits: Ceilings::parse(limit).unwrap(),
        };
        let quotas = vec![(role("eng"), quota)];
        let force = false;
        order(world, operator::Call::UpdateQuota { quotas, force });
    };
    limit(&mut world, "cpus:2");
    world.agent("one", "cpus:2");
    let (web, _) = subscribed(&mut world, &["eng"]);
    let offer = world.offered(web).remove(0);
    world.call(web, accept(&offer, vec![reserve(2)]));
    world.agent("two", "cpus:2");
    let seen = offers(&world.pass(Duration::from_secs(5)), web);
    assert!(!seen.is_empty());
    for offer in seen {
        assert_eq!(offer.resources, reserved("cpus", 2));
    }
    limit(&mut world, "cpus:3");
    let seen = offers(&world.pass(Duration::from_secs(5)), web);
    assert!(seen.iter().any(|it| it.resources == resources("cpus:1")));
}

#[test]
fn mesos_9554_who_cannot_have_an_agent_keeps_it_from_nobody() {
    // RG-29: the first in turn cannot have devices
    let mut world = by_drf();
    let (plain, _) = world.framework("plain");
    let able = world.connect(PeerRole::Framework, "able");
    let info = FrameworkInfo {
        capabilities: Capabilities::GPUS,
        ..framework_info()
    };
    world.subscribe(able, info);
    world.agent("one", "cpus:4;gpus:1");
    let outs = world.pass(Duration::from_secs(2));
    assert_eq!(offers(&outs, plain), []);
    assert!(!offers(&outs, able).is_empty());
}

#[test]
fn mesos_9555_reservations_go_with_their_agent() {
    // RG-29
    let mut world = by_drf();
    let (_, agent) = world.agent("one", "cpus:4;cpus(eng):1");
    let (web, _) = subscribed(&mut world, &["eng"]);
    let offer = world.offered(web).remove(0);
    world.call(web, accept(&offer, vec![reserve(2)]));
    let counted = |world: &mut World| {
        let ann = world.connect(PeerRole::Operator, "ann");
        let Answer::Roles(roles) = world.ask(ann, operator::Call::Roles) else {
            panic!("roles are expected");
        };
        let of = |it: &RoleView| it.reserved.to_string();
        let eng = roles.iter().find(|it| it.role == role("eng"));
        eng.map(of).unwrap_or_default()
    };
    assert_eq!(counted(&mut world), "cpus:3");
    mark_gone(&mut world, &agent);
    assert_eq!(counted(&mut world), "");
}
