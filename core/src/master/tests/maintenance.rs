//! The schedule, and machines that go down and come up again.

use super::*;
use crate::protocol::maintenance::{MachineId, MachineMode, MachineView, Unavailability, Window};
use crate::protocol::node::{DrainConfig, Standing};

pub(super) fn machine(name: &str) -> MachineId {
    MachineId::of_hostname(name)
}

pub(super) const SOON: Unavailability = Unavailability {
    start: Time::from_micros(60_000_000),
    duration: Some(Duration::from_secs(3_600)),
};

pub(super) fn schedule(machines: &[&str]) -> operator::Call {
    let window = Window {
        machines: machines.iter().map(|it| machine(it)).collect(),
        unavailability: SOON,
    };
    let windows = if machines.is_empty() {
        Vec::new()
    } else {
        vec![window]
    };
    operator::Call::SetSchedule { windows }
}

pub(super) fn down(name: &str) -> operator::Call {
    let machines = vec![machine(name)];
    operator::Call::MachinesDown { machines }
}

fn up(name: &str) -> operator::Call {
    let machines = vec![machine(name)];
    operator::Call::MachinesUp { machines }
}

fn conflict(text: &str) -> Answer {
    Answer::Conflict(text.into())
}

impl World {
    /// An agent on a machine of its own, at 10.0.0.`n`.
    pub(super) fn agent_on(&mut self, hostname: &str, n: u8) -> (PeerId, AgentId) {
        let peer = self.connect(PeerRole::Agent, hostname);
        let agent = info_on(hostname, n);
        let outs = self.agent_says(peer, ToMaster::Register { agent });
        match outs.last() {
            Some(Output::Effect(Effect::Agent {
                message: ToAgent::Registered { id, .. },
                ..
            })) => (peer, id.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn modes(&self) -> Vec<(String, MachineMode)> {
        let machines = self.master.registry().maintenance().machines();
        machines
            .map(|(machine, mode, _)| (machine.to_string(), mode))
            .collect()
    }
}

pub(super) fn info_on(hostname: &str, n: u8) -> AgentInfo {
    let address = alloc::format!("10.0.0.{n}:5051");
    AgentInfo::new(hostname, address, resources("cpus:4"))
}

fn rescinded(outs: &[Out]) -> Vec<OfferId> {
    let ids = outs.iter().filter_map(|out| match out {
        Output::Effect(Effect::Scheduler {
            event: Event::Rescind(id),
            ..
        }) => Some(id.clone()),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    ids.collect()
}

#[test]
fn what_is_offered_of_a_machine_is_offered_again_and_says_when_it_ends() {
    // TK-117, TK-119, SM-37, SM-38, OF-01, OF-07
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    world.agent_on("one", 1);
    world.agent_on("two", 2);
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let before = world.offered(web);
    assert!(before.iter().all(|offer| offer.unavailability.is_none()));
    let of = |offers: &[Offer], host: &str| {
        let mut offers = offers.iter();
        offers.find(|it| *it.hostname == *host).unwrap().clone()
    };
    let outs = world.order(ann, schedule(&["ONE"]));
    let Output::Persist(RegistryOp::SetSchedule { windows }) = &outs[0] else {
        panic!("{outs:?}");
    };
    assert_eq!(windows[0].machines, [machine("one")]);
    // Only what is of that machine.
    assert_eq!(rescinded(&outs), [of(&before, "one").id]);
    assert_eq!(outs.len(), 2);
    world.now = world.now + Duration::from_micros(1);
    let outs = world.tick();
    let Output::Effect(Effect::Scheduler {
        event: Event::Offers(again),
        ..
    }) = &outs[0]
    else {
        panic!("{outs:?}");
    };
    assert_eq!((again.len(), again[0].unavailability), (1, Some(SOON)));
    // The same once more changes nothing; no longer in it, it is up.
    assert_eq!(world.order(ann, schedule(&["one"])), []);
    let outs = world.order(ann, schedule(&[]));
    assert_eq!(rescinded(&outs), [again[0].id.clone()]);
    assert_eq!(world.modes(), []);
    world.now = world.now + Duration::from_micros(1);
    assert_eq!(world.offered(web)[0].unavailability, None);
}

#[test]
fn an_offer_names_the_executors_that_its_framework_has_there() {
    // OF-01
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus:4");
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let id = ExecutorId::new("e").unwrap();
    let executor = crate::protocol::task::ExecutorInfo::new(
        id.clone(),
        resources("cpus:1"),
        CommandInfo::shell("serve"),
    );
    let served = TaskInfo {
        executor: Some(executor),
        command: None,
        ..task("t", &agent, "cpus:1")
    };
    world.launch(web, vec![served]);
    let named = |offers: Vec<(PeerId, Offer)>| {
        let [(_, offer)] = <[_; 1]>::try_from(offers).unwrap();
        offer.executors
    };
    assert_eq!(named(world.offers_within(Duration::from_secs(6))), [id]);
    // Not those of others.
    world.call(web, Call::Suppress { roles: vec![] });
    let offer = world.master.view().offers().remove(0);
    let call = Call::Decline {
        offers: vec![offer.id],
        refuse: None,
    };
    world.call(web, call);
    world.lose(web);
    world.framework("batch");
    assert_eq!(named(world.offers_within(Duration::from_secs(6))), []);
}

#[test]
fn machines_that_go_down_lose_their_agents_and_nobody_joins_from_there() {
    // TK-120, TK-121, SM-39, SM-40
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (peer, agent) = world.agent_on("one", 1);
    let (_, other) = world.agent_on("two", 2);
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offer = world.offered(web).remove(0);
    assert_eq!(offer.agent, agent);
    let launch = launch(&[offer.id], vec![task("t", &agent, "cpus:1")]);
    world.call(web, launch);
    world.order(ann, schedule(&["one"]));

    let outs = unnamed(world.order(ann, down("one")));
    let machines = vec![machine("one")];
    let id = agent.clone();
    // One record: no crash leaves a machine down, and its agent admitted.
    let (records, told) = outs.split_at(1);
    let (agents, at) = (vec![id], world.now);
    let expected = RegistryOp::TakeDown {
        machines,
        agents,
        at,
    };
    assert_eq!(records, [Output::Persist(expected)]);
    let why = "the agent's machine is down for maintenance";
    let (gone, removed) = (TaskState::Gone, Reason::AgentRemoved);
    let gone = word("t", gone, removed, why, Some(&agent), world.now);
    let gone = to_framework(web, Event::Update(gone));
    assert!(told.contains(&gone), "{told:?}");
    let is_shutdown = |out: &Out| {
        let Output::Effect(Effect::Agent { peer: to, message }) = out else {
            return false;
        };
        *to == peer && matches!(message, ToAgent::Shutdown(_))
    };
    assert!(told.iter().any(is_shutdown), "{told:?}");
    let agents = world.master.view().agents();
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0].id, other);

    // The one that was there cleans up, whenever it is heard of again; a new one has to wait.
    let back = world.connect(PeerRole::Agent, "one");
    let message = ToMaster::Reregister {
        id: agent,
        agent: info_on("one", 1),
        frameworks: vec![],
        tasks: vec![],
    };
    assert!(is_shutdown_for(&world.agent_says(back, message), back));
    let turned_away = |world: &mut World, info: AgentInfo, message: fn(AgentInfo) -> ToMaster| {
        let peer = world.connect(PeerRole::Agent, "new");
        let outs = world.agent_says(peer, message(info));
        let why = "machine one is down for maintenance";
        assert_eq!(outs, [disconnect(peer, CloseReason::Maintenance, why)]);
    };
    let register = |agent| ToMaster::Register { agent };
    let reregister = |agent| ToMaster::Reregister {
        id: AgentId::new("stranger").unwrap(),
        agent,
        frameworks: vec![],
        tasks: vec![],
    };
    turned_away(&mut world, info_on("one", 9), register);
    turned_away(&mut world, info_on("one", 9), reregister);

    // Who is down stays in the schedule, and is not taken down twice.
    let stays = "machine one is down, and has to stay in the schedule until it is up";
    assert_eq!(world.ask(ann, schedule(&["two"])), conflict(stays));
    let twice = "machine one is down, and has to be draining";
    assert_eq!(world.ask(ann, down("one")), conflict(twice));
    let not_down = "machine two is up, and has to be down";
    assert_eq!(world.ask(ann, up("two")), conflict(not_down));

    let outs = world.order(ann, up("one"));
    let machines = vec![machine("one")];
    let up = Output::Persist(RegistryOp::MachinesUp { machines });
    assert_eq!(outs, [up]);
    assert_eq!(world.modes(), []);
    world.agent_on("one", 1);
    assert_eq!(world.master.view().agents().len(), 2);
}

fn is_shutdown_for(outs: &[Out], peer: PeerId) -> bool {
    matches!(
        outs,
        [Output::Effect(Effect::Agent { peer: to, message: ToAgent::Shutdown(_) })] if *to == peer
    )
}

#[test]
fn agents_that_are_away_go_down_with_their_machine() {
    // TK-120: else they would come back to tasks of which nobody has said anything
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (peer, agent) = world.agent_on("one", 1);
    world.order(ann, schedule(&["one"]));
    world.lose(peer);
    let registry = world.master.registry().clone();
    for mut world in [world, World::recovered(2, registry)] {
        world.drain();
        let ann = world.connect(PeerRole::Operator, "bob");
        world.order(ann, down("one"));
        assert_eq!(world.master.view().agents(), []);
        assert!(world.master.registry().gone().contains_key(&agent));
    }
}

#[test]
fn a_schedule_and_machines_that_are_down_outlast_a_master() {
    // TK-117: by its records, and by a snapshot
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    world.agent_on("two", 2);
    world.order(ann, schedule(&["one", "two"]));
    world.order(ann, down("one"));
    let expected = [
        ("one".to_string(), MachineMode::Down),
        ("two".to_string(), MachineMode::Draining),
    ];
    assert_eq!(world.modes(), expected);
    let bytes = postcard::to_allocvec(world.master.registry()).unwrap();
    let registry: Registry = postcard::from_bytes(&bytes).unwrap();
    let mut world = World::recovered(2, registry);
    world.drain();
    assert_eq!(world.modes(), expected);
    let peer = world.connect(PeerRole::Agent, "new");
    let agent = info_on("one", 1);
    let outs = world.agent_says(peer, ToMaster::Register { agent });
    let why = "machine one is down for maintenance";
    assert_eq!(outs, [disconnect(peer, CloseReason::Maintenance, why)]);
    // The agent of the other machine is offered with what is known of that.
    let (web, _) = world.framework("web");
    let peer = world.connect(PeerRole::Agent, "two");
    let message = ToMaster::Reregister {
        id: agent_id(0),
        agent: info_on("two", 2),
        frameworks: vec![],
        tasks: vec![],
    };
    world.agent_says(peer, message);
    let offers = world.offers_within(Duration::from_secs(2));
    assert_eq!((offers[0].0, offers[0].1.unavailability), (web, Some(SOON)));
}

#[test]
fn drains_and_the_schedule_exclude_one_another() {
    // TK-124, TK-126
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (_, agent) = world.agent_on("one", 1);
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:1")]);
    let drain = || operator::Call::Drain {
        agent: agent.clone(),
        config: DrainConfig::default(),
    };
    world.order(ann, schedule(&["one"]));
    let scheduled = "machine one of agent rio-1-S0 is in the maintenance schedule";
    assert_eq!(world.ask(ann, drain()), conflict(scheduled));
    assert_eq!(world.master.view().agents()[0].standing, Standing::Active);

    world.order(ann, schedule(&[]));
    world.order(ann, drain());
    let drained = "agent rio-1-S0 of machine one is being drained";
    assert_eq!(world.ask(ann, schedule(&["one"])), conflict(drained));
    assert_eq!(world.modes(), []);
    let agent = agent.clone();
    world.order(ann, operator::Call::Reactivate { agent });
    world.order(ann, schedule(&["one"]));
}

#[test]
fn an_agent_that_moves_is_on_its_new_machine() {
    // TK-117
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (web, _) = world.framework("web");
    let (peer, _) = world.agent_on("one", 1);
    world.order(ann, schedule(&["two"]));
    let agent = info_on("two", 1);
    world.agent_says(peer, ToMaster::Register { agent });
    let offers = world.offers_within(Duration::from_secs(2));
    assert_eq!((offers[0].0, offers[0].1.unavailability), (web, Some(SOON)));
    // To one that is down it cannot move: it is gone, and so is its connection.
    world.order(ann, schedule(&["two", "three"]));
    world.order(ann, down("three"));
    let agent = info_on("three", 1);
    let outs = world.agent_says(peer, ToMaster::Register { agent });
    let why = "machine three is down for maintenance";
    assert!(outs.contains(&disconnect(peer, CloseReason::Maintenance, why)));
}

#[test]
fn only_operators_order_maintenance() {
    // TK-123: as far as the roles of certificates go
    let machines = || vec![machine("one")];
    for call in [
        operator::Call::Schedule,
        schedule(&["one"]),
        operator::Call::MachinesDown {
            machines: machines(),
        },
        operator::Call::MachinesUp {
            machines: machines(),
        },
        operator::Call::Machines,
    ] {
        for role in [PeerRole::Agent, PeerRole::Framework] {
            let mut world = World::new();
            let peer = world.connect(role, "eve");
            let before = world.master.registry().clone();
            let (id, after) = (RequestId(1), None);
            let call = call.clone();
            let request = operator::Request { id, call, after };
            let outs = world.input(Input::Operator { peer, request });
            let [Output::Effect(Effect::Disconnect { close, .. })] = outs.as_slice() else {
                panic!("{outs:?}");
            };
            assert_eq!(*close, CloseReason::WrongRole);
            assert_eq!(*world.master.registry(), before);
        }
    }
}

#[test]
fn operators_see_the_machines_of_the_schedule() {
    // TK-122, FW-82
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    world.agent_on("one", 1);
    world.order(ann, schedule(&["one", "two"]));
    world.order(ann, down("two"));
    let view = |name: &str, mode, agents| MachineView {
        machine: machine(name),
        mode,
        unavailability: SOON,
        agents,
        unknown: 0,
        accepted: 0,
        declined: 0,
    };
    let expected = vec![
        view("one", MachineMode::Draining, 1),
        view("two", MachineMode::Down, 0),
    ];
    let machines = world.ask(ann, operator::Call::Machines);
    assert_eq!(machines, Answer::Machines(expected));
    let operator::Call::SetSchedule { windows } = schedule(&["one", "two"]) else {
        unreachable!();
    };
    let shown = world.ask(ann, operator::Call::Schedule);
    assert_eq!(shown, Answer::Schedule(windows));
}
