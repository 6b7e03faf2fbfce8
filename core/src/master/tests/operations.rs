//! Operations on what agents have: the plan, the log of an agent, and what frameworks hear of it.

use super::roles::{role, subscribed};
use super::*;
use crate::ids::OperationId;
use crate::protocol::operation::{
    Conversion, Converted, OperationKind, OperationState, OperationStatus, Order, Owner,
};
use crate::resources::{Milli, Resource};

/// Something of a kind that framework `web` has reserved to `eng`.
pub(super) fn reserved(what: &str, amount: u32) -> Resources {
    let text = alloc::format!(r#"{what}(*)<dynamic="eng",principal="web">:{amount}"#);
    resources(&text)
}

pub(super) fn volume(id: &str, amount: u32) -> Resources {
    let text = alloc::format!(
        r#"disk(*)<dynamic="eng",{who},volume="{id}",{who},rw="/data">:{amount}"#,
        who = r#"principal="web""#
    );
    resources(&text)
}

pub(super) fn one(bag: &Resources) -> Resource {
    let [one] = Vec::from_iter(bag.iter().cloned()).try_into().unwrap();
    one
}

pub(super) fn op(id: &str) -> OperationId {
    OperationId::new(id).unwrap()
}

pub(super) fn named(id: &str, change: Conversion) -> Operation {
    let id = Some(op(id));
    Operation::Convert { id, change }
}

pub(super) fn unnamed(change: Conversion) -> Operation {
    Operation::Convert { id: None, change }
}

pub(super) fn accept(offer: u64, operations: Vec<Operation>) -> Call {
    Call::Accept {
        offers: vec![offer_id(offer)],
        operations,
        refuse: Some(Duration::ZERO),
    }
}

/// The order of an operation of the first framework.
fn order(number: u64, kind: OperationKind, before: &Resources, after: &Resources) -> Order {
    Order {
        number,
        owner: Some(Owner {
            framework: framework_id(0),
            id: None,
        }),
        kind,
        before: before.clone(),
        after: after.clone(),
    }
}

/// What follows from an accepted operation: a record, and then the order.
fn ordered(agent: PeerId, order: Order) -> [Out; 2] {
    let convert = RegistryOp::Convert {
        agent: agent_id(0),
        order: order.clone(),
    };
    let order = to_agent(agent, ToAgent::Convert(order));
    [Output::Persist(convert), order]
}

fn of_operation(peer: PeerId, status: OperationStatus) -> Out {
    to_framework(peer, Event::OperationUpdate(status))
}

/// What a framework hears of operations.
pub(super) fn heard(outs: &[Out]) -> Vec<OperationStatus> {
    let heard = outs.iter().filter_map(|out| match out {
        Output::Effect(Effect::Scheduler {
            event: Event::OperationUpdate(status),
            ..
        }) => Some(status.clone()),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    heard.collect()
}

/// Which orders an agent hears.
pub(super) fn orders(outs: &[Out]) -> Vec<u64> {
    let orders = outs.iter().filter_map(|out| match out {
        Output::Effect(Effect::Agent {
            message: ToAgent::Convert(order),
            ..
        }) => Some(order.number),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    orders.collect()
}

/// One agent and a framework in role `eng`, which is offered all of it.
pub(super) struct Offered {
    pub(super) world: World,
    pub(super) agent_peer: PeerId,
    pub(super) agent: AgentId,
    pub(super) peer: PeerId,
    pub(super) owner: FrameworkId,
}

pub(super) fn offered(total: &str) -> Offered {
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", total);
    let (peer, owner) = subscribed(&mut world, &["eng"]);
    assert_eq!(world.offered(peer)[0].resources, resources(total));
    Offered {
        world,
        agent_peer,
        agent,
        peer,
        owner,
    }
}

impl Offered {
    pub(super) fn total(&self) -> Resources {
        self.world.master.view().agents()[0].total.clone()
    }

    pub(super) fn accept(&mut self, operations: Vec<Operation>) -> Vec<Out> {
        self.world.call(self.peer, accept(0, operations))
    }

    /// What is offered after the first accept.
    pub(super) fn again(&mut self) -> Resources {
        self.world.now = self.world.now + Duration::from_micros(1);
        self.world.offered(self.peer).remove(0).resources
    }

    pub(super) fn news(&self, id: &str, number: u64, update: u128) -> ToMaster {
        let status = OperationStatus {
            converted: reserved("cpus", 1),
            update: Some(UpdateId(update)),
            ..OperationStatus::new(op(id), OperationState::Finished, Time::ZERO)
        };
        let framework = self.owner.clone();
        ToMaster::OperationUpdate {
            number,
            framework,
            status,
        }
    }
}

#[test]
fn tv_27_what_is_reserved_and_made_can_be_used_in_the_same_accept() {
    // OF-13, OF-14, OF-16, TV-27
    let mut o = offered("cpus:4;disk:9");
    let eng = reserved("disk", 5);
    let data = volume("v", 5);
    let needs = TaskInfo {
        resources: Resources::of(reserved("cpus", 1).iter().chain(&data).cloned()).unwrap(),
        ..task("t", &o.agent, "cpus:1")
    };
    let outs = o.accept(vec![
        unnamed(Conversion::Reserve(reserved("cpus", 1))),
        unnamed(Conversion::Reserve(eng.clone())),
        unnamed(Conversion::Create(data.clone())),
        Operation::Launch(vec![needs.clone()]),
    ]);
    let (first, second) = (resources("cpus:1"), resources("disk:5"));
    let mut expected = Vec::new();
    let reserve = OperationKind::Reserve;
    expected.extend(ordered(
        o.agent_peer,
        order(1, reserve, &first, &reserved("cpus", 1)),
    ));
    expected.extend(ordered(o.agent_peer, order(2, reserve, &second, &eng)));
    let create = OperationKind::Create;
    expected.extend(ordered(o.agent_peer, order(3, create, &eng, &data)));
    let message = ToAgent::RunTask {
        framework: o.owner.clone(),
        role: role("eng"),
        starts_executor: false,
        task: needs,
    };
    expected.push(to_agent(o.agent_peer, message));
    assert_eq!(outs, expected);
    let mut total = resources("cpus:3;disk:4");
    total.add(&reserved("cpus", 1)).unwrap();
    total.add(&data).unwrap();
    assert_eq!(o.total(), total);
    assert_eq!(o.world.free(), resources("cpus:3;disk:4"));
}

#[test]
fn tv_27_what_depends_on_what_comes_later_fails_and_the_rest_goes_on() {
    // OF-13, TV-27
    let mut o = offered("cpus:4");
    let needs = TaskInfo {
        resources: reserved("cpus", 1),
        ..task("t", &o.agent, "cpus:1")
    };
    let outs = o.accept(vec![
        Operation::Launch(vec![needs]),
        unnamed(Conversion::Reserve(reserved("cpus", 1))),
    ]);
    let Output::Effect(Effect::Scheduler {
        event: Event::Update(status),
        ..
    }) = &outs[0]
    else {
        panic!("{outs:?}");
    };
    let said = (status.state, status.reason);
    assert_eq!(said, (TaskState::Error, Some(Reason::TaskInvalid)));
    assert_eq!(orders(&outs), [1]);
}

#[test]
fn what_grew_or_shrank_is_not_used_in_the_same_accept() {
    // OF-16, RM-46, RM-47
    let mut o = offered("cpus:4;disk:9");
    let grow = Conversion::Grow {
        volume: one(&volume("v", 2)),
        addition: one(&reserved("disk", 1)),
    };
    let shrink = Conversion::Shrink {
        volume: one(&volume("v", 3)),
        amount: Milli::from_units(1),
    };
    let needs = TaskInfo {
        resources: volume("v", 3),
        ..task("t", &o.agent, "cpus:1")
    };
    let outs = o.accept(vec![
        unnamed(Conversion::Reserve(reserved("disk", 3))),
        unnamed(Conversion::Create(volume("v", 2))),
        unnamed(grow),
        Operation::Launch(vec![needs]),
        named("late", shrink.clone()),
    ]);
    assert_eq!(orders(&outs), [1, 2, 3]);
    let refused = heard(&outs).remove(0);
    let said = (refused.state, refused.reason);
    let expected = (OperationState::Error, Some(RejectKind::NotContained));
    assert_eq!(said, expected);
    // It comes with the next offer.
    assert!(o.again().contains(&volume("v", 3)));
    let outs = o.world.call(o.peer, accept(1, vec![unnamed(shrink)]));
    assert_eq!(orders(&outs), [4]);
    assert!(o.total().contains(&volume("v", 2)));
}

#[test]
fn what_was_made_and_not_used_is_offered_again_at_once() {
    // OF-17, OF-35, RG-07: the refusal is of what was refused
    let mut world = World::drf(1, Registry::default());
    world.drain();
    world.agent("one", "cpus:4;mem:64");
    let (peer, _) = subscribed(&mut world, &["eng"]);
    world.pass(Duration::from_millis(1));
    let all = resources("cpus:4;mem:64");
    assert_eq!(world.master.view().offers()[0].resources, all);
    let reserve = Conversion::Reserve(reserved("cpus", 1));
    let call = Call::Accept {
        offers: vec![offer_id(0)],
        operations: vec![unnamed(reserve)],
        refuse: Some(Duration::from_secs(60)),
    };
    world.call(peer, call);
    world.pass(Duration::from_millis(1_500));
    let offers = world.master.view().offers();
    assert_eq!(offers.len(), 1);
    assert!(offers[0].resources.contains(&reserved("cpus", 1)));
}

#[test]
fn what_may_not_be_done_is_refused_by_name() {
    // VA-16, VA-18 to VA-20, VA-22, RM-36, RM-37, RM-42, RM-44, SM-33
    let total = r#"cpus:4;disk:9;cpus(eng):1;disk(eng):2"#;
    let no_principal = resources(r#"cpus(*)<dynamic="eng">:1"#);
    let other = resources(r#"cpus(*)<dynamic="eng",principal="other">:1"#);
    let ops = resources(r#"cpus(*)<dynamic="ops",principal="web">:1"#);
    let unowned = resources(r#"disk(*)<dynamic="eng",principal="web",volume="v",rw="/data">:1"#);
    let shrink = |amount| Conversion::Shrink {
        volume: one(&volume("v", 3)),
        amount: Milli::from_units(amount),
    };
    for (change, expected) in [
        (
            Conversion::Reserve(no_principal),
            RejectKind::WrongPrincipal,
        ),
        (Conversion::Reserve(other), RejectKind::WrongPrincipal),
        (Conversion::Reserve(ops), RejectKind::WrongRole),
        (Conversion::Reserve(Resources::new()), RejectKind::Empty),
        (
            Conversion::Reserve(reserved("cpus", 5)),
            RejectKind::NotContained,
        ),
        (
            Conversion::Unreserve(resources("cpus(eng):1")),
            RejectKind::NotDynamic,
        ),
        (
            Conversion::Unreserve(reserved("cpus", 1)),
            RejectKind::NotContained,
        ),
        (Conversion::Create(unowned), RejectKind::WrongPrincipal),
        (
            Conversion::Create(reserved("disk", 1)),
            RejectKind::WrongPrincipal,
        ),
        (
            Conversion::Destroy(reserved("disk", 1)),
            RejectKind::NotAVolume,
        ),
        (
            Conversion::Destroy(volume("v", 1)),
            RejectKind::NotContained,
        ),
        (shrink(1), RejectKind::NotContained),
        (shrink(3), RejectKind::BadAmount),
    ] {
        let mut o = offered(total);
        let before = o.world.master.registry().clone();
        let name = alloc::format!("{change:?}");
        let outs = o.accept(vec![named("o", change.clone())]);
        let refused = heard(&outs).remove(0);
        assert_eq!(outs.len(), 1, "{name}");
        let said = (refused.state, refused.reason);
        assert_eq!(said, (OperationState::Error, Some(expected)), "{name}");
        assert!(refused.update.is_some() && refused.agent.is_none());
        // Without a name it is said once.
        let mut o = offered(total);
        let outs = o.accept(vec![unnamed(change)]);
        let [
            Output::Effect(Effect::Scheduler {
                event: Event::Rejected { call, reason, .. },
                ..
            }),
        ] = outs.as_slice()
        else {
            panic!("{outs:?}");
        };
        assert_eq!((*call, *reason), (CallKind::Accept, expected), "{name}");
        assert_eq!(o.world.master.registry(), &before, "nothing is done");
    }
}

#[test]
fn the_id_of_a_volume_is_new_to_the_agent_and_not_just_to_the_offer() {
    // RM-42
    let mut o = offered("cpus:1;disk:9");
    let uses = TaskInfo {
        resources: volume("v", 2),
        ..task("t", &o.agent, "cpus:1")
    };
    o.accept(vec![
        unnamed(Conversion::Reserve(reserved("disk", 8))),
        unnamed(Conversion::Create(volume("v", 2))),
        Operation::Launch(vec![uses]),
    ]);
    let offered = o.again();
    assert!(offered.contains(&reserved("disk", 6)) && !offered.contains(&volume("v", 2)));
    let again = vec![named("o", Conversion::Create(volume("v", 3)))];
    let outs = o.world.call(o.peer, accept(1, again));
    let refused = heard(&outs).remove(0);
    assert_eq!(refused.reason, Some(RejectKind::VolumeExists));
}

#[test]
fn limits_of_operations() {
    let mut o = offered("cpus:4");
    let reserve = |n| unnamed(Conversion::Reserve(reserved("cpus", n)));
    let back = || unnamed(Conversion::Unreserve(reserved("cpus", 1)));
    let many = limits::OPERATIONS_PER_ACCEPT / 2;
    let all: Vec<Operation> = (0..many).flat_map(|_| [reserve(1), back()]).collect();
    let outs = o.accept(all);
    assert_eq!(orders(&outs).len(), limits::OPERATIONS_PER_ACCEPT);
    // The agent confirms none of them.
    let left = limits::OPERATIONS_PER_AGENT - limits::OPERATIONS_PER_ACCEPT;
    let all = (0..left / 2).flat_map(|_| [reserve(1), back()]);
    o.again();
    let outs = o
        .world
        .call(o.peer, accept(1, all.chain([reserve(1)]).collect()));
    assert_eq!(orders(&outs).len(), left);
    assert!(matches!(
        outs.last(),
        Some(Output::Effect(Effect::Scheduler {
            event: Event::Rejected {
                reason: RejectKind::TooMany,
                ..
            },
            ..
        }))
    ));
}

/// What one takes of a processor and gives back again, with labels of 400 KB.
fn labelled(n: usize) -> [Operation; 2] {
    let labels: Vec<String> = (0..100)
        .map(|n| alloc::format!(r#"label="{n:0>4000}""#))
        .collect();
    let text = alloc::format!(
        r#"cpus(*)<dynamic="eng",principal="web",{}>:1"#,
        labels.join(",")
    );
    let reserved = resources(&text);
    let (there, back) = (alloc::format!("a{n}"), alloc::format!("b{n}"));
    [
        named(&there, Conversion::Reserve(reserved.clone())),
        named(&back, Conversion::Unreserve(reserved)),
    ]
}

#[test]
fn what_is_said_of_named_operations_is_bounded() {
    // I22: however long it is what they have made, and whoever has said that
    let mut o = offered("cpus:4");
    let pairs = limits::OPERATION_BYTES / 400_000 + 10;
    let outs = o.accept((0..pairs).flat_map(labelled).collect());
    let done = orders(&outs).len();
    assert!((60..2 * pairs).contains(&done), "{done} of them");
    let refused = heard(&outs);
    assert_eq!(refused[0].reason, Some(RejectKind::TooMany));
    assert!(
        refused[0].message.contains("more than 16777216 bytes"),
        "{}",
        refused[0].message
    );
    let filled = |o: &Offered| {
        let all = o.world.master.filled();
        let mut all = all.into_iter();
        all.find(|it| it.what == "bytes of operations").unwrap()
    };
    let full = filled(&o);
    assert_eq!(full.most, limits::OPERATION_BYTES);
    assert!((full.most - 500_000..=full.most).contains(&full.has));
    // The agent says of the first what it has made, and of another what it cannot have.
    let Operation::Convert {
        change: Conversion::Reserve(made),
        ..
    } = &labelled(0)[0]
    else {
        unreachable!("it reserves first");
    };
    let says = |o: &Offered, id: &str, number, converted| {
        let status = OperationStatus {
            converted,
            update: Some(UpdateId(9)),
            ..OperationStatus::new(op(id), OperationState::Finished, Time::ZERO)
        };
        ToMaster::OperationUpdate {
            number,
            framework: o.owner.clone(),
            status,
        }
    };
    let news = says(&o, "a0", 1, made.clone());
    let outs = o.world.agent_says(o.agent_peer, news);
    assert_eq!(heard(&outs)[0].converted, *made);
    assert!(filled(&o).has < full.has);
    let names: Vec<String> = (0..6_000).map(|n| alloc::format!("{n:0>200}")).collect();
    let long = resources(&alloc::format!("disks:{{{}}}", names.join(",")));
    let news = says(&o, "b0", 2, long);
    assert_eq!(o.world.agent_says(o.agent_peer, news), []);
    // What is confirmed makes room for others.
    let confirm = Call::AcknowledgeOperation {
        id: op("a0"),
        update: UpdateId(9),
    };
    o.world.call(o.peer, confirm);
    assert!(filled(&o).has < full.has - 400_000);
    o.again();
    let outs = o.world.call(o.peer, accept(1, labelled(pairs).into()));
    assert_eq!(orders(&outs).len(), 2);
}

#[test]
fn a_named_operation_is_told_of_until_that_is_confirmed() {
    // OF-52, OF-54, OF-55, SM-30, SM-31, SM-36, PR-11, FW-48, FW-57
    let mut o = offered("cpus:4");
    let reserve = || Conversion::Reserve(reserved("cpus", 1));
    let outs = o.accept(vec![named("o", reserve()), named("o", reserve())]);
    assert_eq!(orders(&outs), [1]);
    // I11: the second is turned down, and that is no end of the first.
    let doubled = outs.last().unwrap();
    assert!(
        matches!(
            doubled,
            Output::Effect(Effect::Scheduler {
                event: Event::Rejected {
                    reason: RejectKind::Doubled,
                    ..
                },
                ..
            })
        ),
        "{doubled:?}"
    );
    let outs = o
        .world
        .agent_says(o.agent_peer, ToMaster::CarriedOut { last: 1 });
    let (agent, last) = (o.agent.clone(), 1);
    assert_eq!(outs, [Output::Persist(RegistryOp::Settle { agent, last })]);
    for _ in 0..2 {
        let outs = o.world.agent_says(o.agent_peer, o.news("o", 1, 7));
        let expected = OperationStatus {
            converted: reserved("cpus", 1),
            agent: Some(o.agent.clone()),
            update: Some(UpdateId(7)),
            ..OperationStatus::new(op("o"), OperationState::Finished, Time::ZERO)
        };
        assert_eq!(outs, [of_operation(o.peer, expected)]);
    }
    let confirm = |update| Call::AcknowledgeOperation {
        id: op("o"),
        update: UpdateId(update),
    };
    assert_eq!(o.world.call(o.peer, confirm(8)), []);
    let update = UpdateId(7);
    let message = ToAgent::AcknowledgeOperation { number: 1, update };
    let outs = o.world.call(o.peer, confirm(7));
    assert_eq!(outs, [to_agent(o.agent_peer, message)]);
    // RG-05: it is not known any more.
    assert_eq!(o.world.call(o.peer, confirm(7)), []);
}

#[test]
fn a_refusal_is_said_until_it_is_confirmed() {
    // OF-11, SM-33: Mesos says it once
    let mut o = offered("cpus:4");
    let nothing = || named("o", Conversion::Reserve(Resources::new()));
    let first = heard(&o.accept(vec![nothing()]));
    o.world.lose(o.peer);
    let peer = o.world.connect(PeerRole::Framework, "web");
    let back = FrameworkInfo {
        roles: vec![role("eng")],
        ..framework_info_of(o.owner.clone())
    };
    let again = o.world.call(peer, subscribe(back.clone()));
    assert_eq!(heard(&again), first);
    let (id, update) = (op("o"), first[0].update.unwrap());
    let confirm = Call::AcknowledgeOperation { id, update };
    assert_eq!(o.world.call(peer, confirm), []);
    o.world.lose(peer);
    let peer = o.world.connect(PeerRole::Framework, "web");
    assert_eq!(heard(&o.world.call(peer, subscribe(back))), []);
    // OF-11: offers that are none.
    let outs = o.world.call(peer, accept(77, vec![nothing(), nothing()]));
    assert_eq!(heard(&outs)[0].reason, Some(RejectKind::NotOffered));
    assert_eq!(outs.len(), 2, "the second has the name of the first");
}

/// The agent comes back over a new connection and says what operations have made.
pub(super) fn return_of(
    world: &mut World,
    total: &str,
    told: Option<Converted>,
) -> (PeerId, Vec<Out>) {
    let peer = world.connect(PeerRole::Agent, "one");
    if let Some(told) = told {
        assert_eq!(world.agent_says(peer, ToMaster::Converted(told)), []);
    }
    let outs = world.agent_says(peer, reregister(agent_id(0), total, vec![], vec![]));
    (peer, outs)
}

/// What an agent has made that has carried out so many operations, each of which reserves a core.
fn made(count: u32) -> Converted {
    let mut converted = Converted::default();
    for number in 1..=u64::from(count) {
        let (before, after) = (resources("cpus:1"), reserved("cpus", 1));
        converted.note(number, &before, &after).unwrap();
    }
    converted
}

/// A registry with three operations of an agent, of which it has confirmed one.
fn three() -> Registry {
    let mut o = offered("cpus:4");
    let reserve = |id| named(id, Conversion::Reserve(reserved("cpus", 1)));
    o.accept(vec![reserve("a"), reserve("b"), reserve("c")]);
    o.world
        .agent_says(o.agent_peer, ToMaster::CarriedOut { last: 1 });
    o.world.master.registry().clone()
}

#[test]
fn what_was_made_outlives_the_master() {
    // RM-32, I5
    let mut world = World::recovered(2, three());
    world.drain();
    let total = world.master.view().agents()[0].total.clone();
    assert_eq!(total.filter(|it| it.is_reserved()), reserved("cpus", 3));
    // OF-56: nobody knows yet.
    let (peer, _) = subscribed(&mut world, &["eng"]);
    let ask = |id, agent| Call::ReconcileOperations {
        operations: vec![(op(id), agent)],
    };
    let state = |outs: Vec<Out>| heard(&outs)[0].state;
    let agent = || Some(agent_id(0));
    assert_eq!(
        state(world.call(peer, ask("b", agent()))),
        OperationState::Recovering
    );
    assert_eq!(
        state(world.call(peer, ask("b", None))),
        OperationState::Unknown
    );
    // The agent has heard of the first two, and is told the third.
    let (_, outs) = return_of(&mut world, "cpus:4", Some(made(2)));
    assert_eq!(orders(&outs), [3]);
    let (agent, last) = (agent_id(0), 2);
    assert_eq!(
        outs.last(),
        Some(&Output::Persist(RegistryOp::Settle { agent, last }))
    );
    let free = world.free();
    assert_eq!(free.filter(|it| it.is_reserved()), reserved("cpus", 3));
}

#[test]
fn what_the_registry_has_lost_the_agent_tells() {
    // RM-32
    let mut world = World::new();
    world.agent("two", "cpus:1");
    let peer = world.connect(PeerRole::Agent, "one");
    world.agent_says(peer, ToMaster::Converted(made(2)));
    let outs = world.agent_says(peer, reregister(agent_id(7), "cpus:4", vec![], vec![]));
    let (agent, converted) = (agent_id(7), made(2));
    let restore = Output::Persist(RegistryOp::RestoreAll {
        agent,
        converted,
        jobs: vec![],
    });
    assert!(outs.contains(&restore), "{outs:?}");
    let agents = world.master.view().agents();
    let row = agents.iter().find(|row| row.id == agent_id(7)).unwrap();
    assert!(row.total.contains(&reserved("cpus", 2)));
    // It goes on from there.
    let (framework, _) = subscribed(&mut world, &["eng"]);
    let offers = world.offered(framework);
    let offer = offers
        .iter()
        .find(|offer| offer.agent == agent_id(7))
        .unwrap();
    let call = Call::Accept {
        offers: vec![offer.id.clone()],
        operations: vec![unnamed(Conversion::Reserve(reserved("cpus", 1)))],
        refuse: None,
    };
    assert_eq!(orders(&world.call(framework, call)), [3]);
}

#[test]
fn an_agent_that_has_forgotten_or_shrunk_is_refused() {
    let refused = |outs: Vec<Out>| match outs.as_slice() {
        [
            Output::Effect(Effect::Agent {
                message: ToAgent::Refused(why),
                ..
            }),
        ] => why.clone(),
        other => panic!("{other:?}"),
    };
    let registry = three();
    let mut world = World::recovered(2, registry.clone());
    world.drain();
    let why = refused(return_of(&mut world, "cpus:4", None).1);
    assert_eq!(
        why,
        "the agent knows 0 operations of 3, and had confirmed to know more"
    );
    let why = refused(return_of(&mut world, "cpus:2", Some(made(2))).1);
    assert!(
        why.starts_with("the agent has less than what operations"),
        "{why}"
    );
    let mut beyond = made(3);
    beyond.last = u64::MAX;
    let why = refused(return_of(&mut world, "cpus:4", Some(beyond)).1);
    assert_eq!(
        why,
        "no agent was ever given 18446744073709551615 operations"
    );
    assert_eq!(
        world.master.registry().agent(&agent_id(0)),
        registry.agent(&agent_id(0))
    );
    // More is fine, and what is made stays.
    return_of(&mut world, "cpus:6", Some(made(2)));
    let total = world.master.view().agents()[0].total.clone();
    assert_eq!(
        (total.cpus(), total.contains(&reserved("cpus", 3))),
        (Milli::from_units(6), true)
    );
}

#[test]
fn who_registers_again_with_less_loses_nothing_that_operations_made() {
    // PR-01, OF-14: over the same connection, as when the first answer took long
    let mut o = offered("cpus:4");
    o.accept(vec![named("a", Conversion::Reserve(reserved("cpus", 3)))]);
    let before = o.world.master.registry().clone();
    let agent = agent_info("cpus:2");
    let message = ToMaster::Register { agent };
    let outs = o.world.agent_says(o.agent_peer, message);
    let is_refused = |out: &Out| {
        matches!(
            out,
            Output::Effect(Effect::Agent {
                message: ToAgent::Refused(_),
                ..
            })
        )
    };
    assert!(outs.iter().any(is_refused), "{outs:?}");
    assert_eq!(*o.world.master.registry(), before);
    let total = o.world.master.view().agents()[0].total.clone();
    assert!(total.contains(&reserved("cpus", 3)), "{total}");
}

#[test]
fn the_six_answers_about_an_operation() {
    // OF-56, OF-57, OF-59, FW-50, SM-35
    let mut o = offered("cpus:4");
    let reserve = |id| named(id, Conversion::Reserve(reserved("cpus", 1)));
    o.accept(vec![reserve("a"), reserve("b")]);
    o.world.agent_says(o.agent_peer, o.news("a", 1, 1));
    let ask = |o: &mut Offered, asked: &[(&str, Option<u64>)]| {
        let asked = asked.iter().map(|(id, n)| (op(id), n.map(agent_id)));
        let operations = asked.collect();
        let call = Call::ReconcileOperations { operations };
        let outs = o.world.call(o.peer, call);
        assert_eq!(heard(&outs).len(), outs.len());
        let said = heard(&outs).into_iter();
        let said = said.map(|it| {
            assert_eq!(it.update, None, "an answer needs no confirmation");
            (it.id.to_string(), it.state)
        });
        said.collect::<Vec<_>>()
    };
    let all = |a, b| [("a".to_string(), a), ("b".to_string(), b)];
    use OperationState::{Finished, GoneByOperator, Pending, Unknown, Unreachable};
    assert_eq!(ask(&mut o, &[]), all(Finished, Pending));
    assert_eq!(ask(&mut o, &[("b", None)]), [("b".to_string(), Pending)]);
    let unknown = [("x", Some(0)), ("x", Some(9)), ("x", None)];
    let said = ask(&mut o, &unknown);
    assert_eq!(said, [0, 1, 2].map(|_| ("x".to_string(), Unknown)));
    o.world.lose(o.agent_peer);
    let told = heard(&o.world.pass(Duration::from_secs(601)));
    let told: Vec<_> = told
        .iter()
        .map(|it| (it.id.as_str(), it.state, it.update))
        .collect();
    assert_eq!(told, [("b", Unreachable, None)], "what has ended stays so");
    let listed = o.world.master.view().operations();
    let listed = listed.iter().map(|it| it.status.state);
    assert!(listed.eq([Finished, Unreachable]), "operators see the same");
    // The framework was silent for long, but its connection stands.
    assert_eq!(ask(&mut o, &[]), all(Finished, Unreachable));
    assert_eq!(
        ask(&mut o, &[("x", Some(0))]),
        [("x".to_string(), Unreachable)]
    );
    // Another agent takes its name: the first is gone for good.
    let peer = o.world.connect(PeerRole::Agent, "one");
    let agent = agent_info("cpus:4");
    let outs = o.world.agent_says(peer, ToMaster::Register { agent });
    let gone = heard(&outs);
    assert_eq!(gone.len(), 2, "{outs:?}");
    assert!(gone.iter().all(|it| it.update.is_some()));
    assert_eq!(ask(&mut o, &[]), all(Finished, GoneByOperator));
    let of_gone = [("x".to_string(), GoneByOperator)];
    assert_eq!(ask(&mut o, &[("x", Some(0))]), of_gone);
    for status in gone {
        let (id, update) = (status.id, status.update.unwrap());
        let confirm = Call::AcknowledgeOperation { id, update };
        assert_eq!(o.world.call(o.peer, confirm), []);
    }
    assert_eq!(ask(&mut o, &[]), []);
}

#[test]
fn of_whom_nobody_hears_the_master_confirms() {
    // OF-58
    let mut o = offered("cpus:4");
    let reserve = |id| named(id, Conversion::Reserve(reserved("cpus", 1)));
    o.accept(vec![reserve("a"), reserve("b")]);
    o.world.agent_says(o.agent_peer, o.news("a", 1, 5));
    let confirmed = |number, update| {
        let update = UpdateId(update);
        to_agent(
            o.agent_peer,
            ToAgent::AcknowledgeOperation { number, update },
        )
    };
    let outs = o.world.call(o.peer, Call::Teardown);
    assert_eq!(outs[0], confirmed(1, 5));
    let outs = o.world.agent_says(o.agent_peer, o.news("b", 2, 6));
    assert_eq!(outs, [confirmed(2, 6)]);
    // What it has reserved stays.
    assert!(o.total().contains(&reserved("cpus", 2)));
}

#[test]
fn of_whom_ended_under_an_earlier_leadership_the_next_one_confirms() {
    // OF-58: its agent was away meanwhile, and would say it for ever
    let mut o = offered("cpus:4");
    o.accept(vec![named("a", Conversion::Reserve(reserved("cpus", 1)))]);
    o.world.lose(o.agent_peer);
    o.world.call(o.peer, Call::Teardown);
    let mut world = World::recovered(2, o.world.master.registry().clone());
    world.drain();
    let (peer, _) = return_of(&mut world, "cpus:4", Some(made(1)));
    let (number, update) = (1, UpdateId(5));
    let confirmed = ToAgent::AcknowledgeOperation { number, update };
    let outs = world.agent_says(peer, o.news("a", 1, 5));
    assert_eq!(outs, [to_agent(peer, confirmed)]);
}

#[test]
fn of_whom_nobody_knows_the_master_confirms_in_time() {
    // OF-58, TL-09
    let mut o = offered("cpus:4");
    o.accept(vec![named("a", Conversion::Reserve(reserved("cpus", 1)))]);
    // The registry was lost, and with it all that was known of the framework.
    let mut world = World::recovered(2, Registry::default());
    world.drain();
    let (peer, _) = return_of(&mut world, "cpus:4", Some(made(1)));
    let says = |world: &mut World| world.agent_says(peer, o.news("a", 1, 5));
    assert_eq!(says(&mut world), []);
    for _ in 0..10 {
        world.pass(Duration::from_secs(60) - Duration::from_micros(1));
        assert_eq!(says(&mut world), []);
        world.agent_says(peer, ToMaster::Pong);
    }
    world.pass(Duration::from_micros(10));
    let (number, update) = (1, UpdateId(5));
    let confirmed = ToAgent::AcknowledgeOperation { number, update };
    assert_eq!(says(&mut world), [to_agent(peer, confirmed)]);
}

#[test]
fn an_agent_speaks_for_its_own_operations_only() {
    // PR-14, PR-11
    let mut o = offered("cpus:4");
    o.accept(vec![named("a", Conversion::Reserve(reserved("cpus", 1)))]);
    // Nothing was ever ordered of it under this number.
    let outs = o.world.agent_says(o.agent_peer, o.news("b", 2, 5));
    let (number, update) = (2, UpdateId(5));
    let confirmed = ToAgent::AcknowledgeOperation { number, update };
    assert_eq!(outs, [to_agent(o.agent_peer, confirmed)]);
    assert_eq!(o.world.master.strays(), 1);
    // And this is another agent's.
    let (other, _) = o.world.agent("two", "cpus:4");
    let outs = o.world.agent_says(other, o.news("a", 1, 6));
    assert_eq!(heard(&outs), []);
    assert_eq!(o.world.master.strays(), 2);
}

#[test]
fn an_order_that_was_lost_is_given_again() {
    // OF-60, PR-04: what an agent says of its operations when it comes back
    let mut world = World::recovered(2, three());
    world.drain();
    // It has none: all but the one that it had confirmed to know would be missing.
    let (peer, outs) = return_of(&mut world, "cpus:4", Some(made(1)));
    assert_eq!(orders(&outs), [2, 3]);
    world.lose(peer);
    let (peer, outs) = return_of(&mut world, "cpus:4", Some(made(3)));
    assert!(orders(&outs).is_empty());
    assert_eq!(
        world
            .master
            .registry()
            .agent(&agent_id(0))
            .unwrap()
            .open
            .len(),
        0
    );
    // PR-04: and of itself, which counts from then on.
    world.lose(peer);
    let (_, outs) = return_of(&mut world, "cpus:8", Some(made(3)));
    let is_update = |out: &Out| matches!(out, Output::Persist(RegistryOp::Update { .. }));
    assert!(outs.iter().any(is_update), "{outs:?}");
    let total = world.master.view().agents()[0].total.clone();
    assert_eq!(total.cpus(), Milli::from_units(8));
}

#[test]
fn each_operation_makes_what_it_says() {
    // OF-24, OF-25, OF-26, OF-27
    let mut o = offered("cpus:4;disk:9");
    let eng = |n| reserved("disk", n);
    let steps = [
        (Conversion::Reserve(eng(5)), eng(5)),
        (Conversion::Create(volume("v", 2)), volume("v", 2)),
        (
            Conversion::Grow {
                volume: one(&volume("v", 2)),
                addition: one(&eng(2)),
            },
            volume("v", 4),
        ),
        (
            Conversion::Shrink {
                volume: one(&volume("v", 4)),
                amount: Milli::from_units(1),
            },
            volume("v", 3),
        ),
        (Conversion::Destroy(volume("v", 3)), eng(5)),
        (Conversion::Unreserve(eng(5)), resources("disk:9")),
    ];
    for (n, (change, there)) in (0..).zip(steps) {
        let kind = change.kind();
        let outs = o.world.call(o.peer, accept(n, vec![unnamed(change)]));
        assert_eq!(orders(&outs), [n + 1], "{kind}");
        assert!(o.total().contains(&there), "{kind}: {}", o.total());
        assert!(o.again().contains(&there), "{kind}");
    }
    assert_eq!(o.total(), resources("cpus:4;disk:9"));
}

#[test]
fn what_cannot_become_a_volume_or_grow_is_refused_by_name() {
    // VA-19, VA-21, RM-39 to RM-42
    let grow = |volume: Resource, addition: Resource| Conversion::Grow { volume, addition };
    let plain = resources("disk:1");
    let other = resources(r#"disk(*)<dynamic="eng",principal="web",label="x"="y">:1"#);
    let v = || one(&volume("v", 2));
    for (change, expected) in [
        // No volume is said, and one that is there.
        (
            Conversion::Create(plain.clone()),
            RejectKind::WrongPrincipal,
        ),
        (Conversion::Create(volume("v", 1)), RejectKind::VolumeExists),
        // More than is reserved.
        (Conversion::Create(volume("w", 9)), RejectKind::NotContained),
        (grow(one(&plain), one(&plain)), RejectKind::NotAVolume),
        // What is added is not reserved alike.
        (grow(v(), one(&plain)), RejectKind::OtherDisk),
        (grow(v(), one(&other)), RejectKind::OtherDisk),
        (
            grow(v(), one(&reserved("disk", 9))),
            RejectKind::NotContained,
        ),
    ] {
        let mut o = offered("cpus:4;disk:9");
        let made = vec![
            unnamed(Conversion::Reserve(reserved("disk", 5))),
            unnamed(Conversion::Create(volume("v", 2))),
        ];
        o.accept(made);
        o.again();
        let before = o.total();
        let name = alloc::format!("{change:?}");
        let outs = o.world.call(o.peer, accept(1, vec![named("o", change)]));
        let refused = heard(&outs).remove(0);
        let said = (refused.state, refused.reason);
        assert_eq!(said, (OperationState::Error, Some(expected)), "{name}");
        assert_eq!(o.total(), before, "{name}");
    }
}
