//! What operators see: who is there, which operations are under way, and pages that add up.

use alloc::collections::BTreeSet;
use alloc::format;

use super::operations::{named, offered, op, reserved, unnamed};
use super::*;
use crate::master::on_operator::page;
use crate::master::{Rate, View};
use crate::mirror::ADDED;
use crate::protocol::events::{Kind, RowId};
use crate::protocol::node::Presence;
use crate::protocol::operation::{Conversion, OperationKind, OperationState, OperationStatus};
use crate::protocol::operator::{AgentView, Cursor, OperationView};

fn back(id: &AgentId) -> ToMaster {
    reregister(id.clone(), "cpus:4", vec![], vec![])
}

fn presences(world: &World) -> Vec<Presence> {
    let agents = world.master.view().agents();
    agents.iter().map(|agent| agent.presence).collect()
}

// FW-73, SM-10, SM-12, SM-14, SM-16, SM-17
#[test]
fn operators_see_whether_an_agent_is_there_and_since_when() {
    let mut world = World::new();
    let patience = world.master.config.agent_reregister_timeout;
    let (peer, id) = world.agent("one", "cpus:4");
    let here = [Presence::Connected { since: world.now }];
    assert_eq!(presences(&world), here);
    world.pass(Duration::from_secs(20));
    assert_eq!(presences(&world), here, "pings are nobody's business");
    world.lose(peer);
    let (since, until) = (world.now, Some(world.now + patience));
    let away = Presence::Disconnected { since, until };
    assert_eq!(presences(&world), [away]);
    assert_eq!((away.since(), away.until()), (since, until));
    assert!(!away.is_connected());

    world.pass(Duration::from_secs(5));
    let peer = world.connect(PeerRole::Agent, "one");
    world.agent_says(peer, back(&id));
    let here = Presence::Connected { since: world.now };
    assert_eq!((presences(&world), here.until()), (vec![here], None));
    world.pass(Duration::from_secs(5));
    world.agent_says(peer, back(&id));
    assert_eq!(presences(&world), [here], "it was there already");

    world.lose(peer);
    world.pass(patience);
    let lost = Presence::Unreachable { since: world.now };
    assert_eq!(presences(&world), [lost]);
    world.agent("two", "cpus:4");
    let bytes = postcard::to_allocvec(world.master.registry()).unwrap();
    let mut next = World::recovered(2, postcard::from_bytes(&bytes).unwrap());
    next.drain();
    let (since, until) = (next.now, Some(next.now + patience));
    let awaited = Presence::Recovered { since, until };
    assert_eq!(presences(&next), [lost, awaited]);
    let names = presences(&next).into_iter().map(Presence::as_str);
    assert_eq!(names.collect::<Vec<_>>(), ["unreachable", "recovered"]);

    let ann = next.connect(PeerRole::Operator, "ann");
    next.order(ann, operator::Call::MarkGone { agent: id });
    assert_eq!(presences(&next), [awaited], "what is gone is no agent");
}

// RG-21, FW-73
#[test]
fn an_agent_that_waits_to_be_given_up_is_no_longer_awaited() {
    let mut config = Config::new(master_id(1), 1, 7);
    let per = Duration::from_secs(3600);
    config.unreachable_rate = Some(Rate { agents: 1, per });
    let patience = config.agent_reregister_timeout;
    let allocator = Box::new(Greedy::default());
    let mut world = World::configured(config, Registry::default(), allocator);
    world.drain();
    let peers = ["one", "two"].map(|name| world.agent(name, "cpus:4").0);
    for peer in peers {
        world.lose(peer);
    }
    let (since, until) = (world.now, None);
    world.pass(patience);
    let lost = Presence::Unreachable { since: world.now };
    let waits = Presence::Disconnected { since, until };
    assert_eq!(presences(&world), [lost, waits]);
}

fn reserve(amount: u32) -> Conversion {
    Conversion::Reserve(reserved("cpus", amount))
}

/// What an agent says of operation `r`, which has ended.
fn finished(number: u64, owner: &FrameworkId) -> ToMaster {
    ToMaster::OperationUpdate {
        number,
        framework: owner.clone(),
        status: OperationStatus {
            update: Some(UpdateId(5)),
            ..OperationStatus::new(op("r"), OperationState::Finished, Time::ZERO)
        },
    }
}

/// The operations that an operator is told of.
fn listed(world: &mut World, ann: PeerId) -> Vec<OperationView> {
    let Answer::Operations(all) = world.ask(ann, operator::Call::Operations) else {
        panic!("operations are expected");
    };
    assert_eq!(all, world.master.view().operations());
    let mirror = world.master.view().mirror();
    let mut sorted = all.clone();
    sorted.sort_by(|a, b| a.status.id.cmp(&b.status.id));
    assert!(mirror.operations().eq(&sorted), "{sorted:?}");
    all
}

fn only(agents: Vec<AgentView>) -> AgentView {
    let [agent] = agents.try_into().unwrap();
    agent
}

// FW-75, OF-53, OF-55, PR-10, PR-11, SM-30, SM-31, SM-33, SM-36
#[test]
fn operators_see_operations_until_their_end_is_confirmed() {
    let mut o = offered("cpus:4");
    let ann = o.world.connect(PeerRole::Operator, "ann");
    let begin = o.world.now;
    let good = [named("r", reserve(1)), unnamed(reserve(1))];
    let bad = named("bad", reserve(9));
    o.accept(good.into_iter().chain([bad]).collect());
    let view = |kind, status| OperationView {
        framework: o.owner.clone(),
        kind,
        status,
    };
    let mut known = listed(&mut o.world, ann);
    let refused = known.pop().unwrap();
    assert_eq!(refused.kind, Some(OperationKind::Reserve));
    assert_eq!((refused.status.id, refused.status.agent), (op("bad"), None));
    assert_eq!(refused.status.state, OperationState::Error);
    let pending = OperationStatus {
        agent: Some(o.agent.clone()),
        ..OperationStatus::new(op("r"), OperationState::Pending, begin)
    };
    let kind = Some(OperationKind::Reserve);
    assert_eq!(known, [view(kind, pending.clone())]);
    let under_way = |world: &World| only(world.master.view().agents()).operations;
    assert_eq!(under_way(&o.world), 2, "named or not");

    // A new master knows of it once its agent is back.
    let bytes = postcard::to_allocvec(o.world.master.registry()).unwrap();
    let mut next = World::recovered(2, postcard::from_bytes(&bytes).unwrap());
    next.drain();
    assert_eq!(under_way(&next), 2);
    let bob = next.connect(PeerRole::Operator, "bob");
    let web = next.connect(PeerRole::Framework, "web");
    next.subscribe(web, framework_info_of(o.owner.clone()));
    let agent = next.connect(PeerRole::Agent, "one");
    next.agent_says(agent, back(&o.agent));
    let again = OperationStatus {
        at: next.now,
        ..pending
    };
    assert_eq!(listed(&mut next, bob), [view(kind, again)]);

    o.world
        .agent_says(o.agent_peer, ToMaster::CarriedOut { last: 1 });
    assert_eq!(under_way(&o.world), 1);
    o.world
        .agent_says(o.agent_peer, ToMaster::CarriedOut { last: 2 });
    assert_eq!(under_way(&o.world), 0);
    o.world.agent_says(o.agent_peer, finished(1, &o.owner));
    let known = listed(&mut o.world, ann);
    assert_eq!(known[0].kind, Some(OperationKind::Reserve));
    assert_eq!(known[0].status.state, OperationState::Finished);
    let (id, update) = (op("r"), known[0].status.update.unwrap());
    o.world
        .call(o.peer, Call::AcknowledgeOperation { id, update });
    let left = listed(&mut o.world, ann);
    let left: Vec<_> = left.into_iter().map(|it| it.status.id).collect();
    assert_eq!(left, [op("bad")]);

    // What was settled under an earlier leadership its agent tells of, and nobody knows its kind.
    next.agent_says(agent, ToMaster::CarriedOut { last: 2 });
    let bytes = postcard::to_allocvec(next.master.registry()).unwrap();
    let mut last = World::recovered(3, postcard::from_bytes(&bytes).unwrap());
    last.drain();
    let bob = last.connect(PeerRole::Operator, "bob");
    let web = last.connect(PeerRole::Framework, "web");
    last.subscribe(web, framework_info_of(o.owner.clone()));
    let agent = last.connect(PeerRole::Agent, "one");
    let converted = last.master.registry().agent(&o.agent).unwrap();
    let converted = ToMaster::Converted(converted.converted.clone());
    last.agent_says(agent, converted);
    last.agent_says(agent, back(&o.agent));
    last.agent_says(agent, finished(1, &o.owner));
    let known = listed(&mut last, bob);
    let known: Vec<_> = known.iter().map(|it| (it.kind, it.status.state)).collect();
    assert_eq!(known, [(None, OperationState::Finished)]);
}

// I13
#[test]
fn who_goes_on_where_another_leadership_has_stopped_is_told_to_begin_again() {
    let mut world = World::recovered(2, Registry::default());
    world.drain();
    world.agent("one", "cpus:4");
    let ann = world.connect(PeerRole::Operator, "ann");
    let mut ask = |epoch, call: &operator::Call| {
        let cursor = Cursor { epoch, last: 0 };
        let page = world.ask_page(ann, call.clone(), Some(cursor));
        assert_eq!(page.next, None);
        matches!(page.answer, Answer::Gap { newest } if newest.epoch == 2)
    };
    let snapshot = operator::Call::Snapshot { of: Kind::Agents };
    for call in [operator::Call::Agents, operator::Call::Roles, snapshot] {
        assert!(ask(1, &call), "{call:?}");
        assert!(!ask(2, &call), "{call:?}");
    }
    // An order is not carried out either.
    let mark = operator::Call::MarkGone { agent: agent_id(0) };
    assert!(ask(1, &mark));
    assert_eq!(world.master.view().agents().len(), 1);
}

// I13, I22
#[test]
fn rows_of_one_place_are_on_one_page() {
    let long = "x".repeat(limits::SLICE_BYTES);
    let rows = [1, 2, 2, 3, 3].map(|place| (place, long.clone()));
    let pages = |after: u32| {
        let rows = rows.iter().cloned();
        let rows = rows.filter(|(place, _)| *place > after);
        let mut count = 0;
        let (_, next) = page(
            |page| {
                count = page.len();
                Answer::Updated
            },
            rows,
        );
        (count, next)
    };
    assert_eq!(pages(0), (1, Some(1)));
    assert_eq!(pages(1), (2, Some(2)));
    assert_eq!(pages(2), (2, None));
    // Of names that a hash would have fall together each has its place.
    let mut world = World::drf(1, Registry::default());
    world.drain();
    let ann = world.connect(PeerRole::Operator, "ann");
    let weight = |name: &str| {
        let weights = vec![(roles::role(name), crate::resources::Milli::from_units(2))];
        operator::Call::UpdateWeights { weights }
    };
    let place = |world: &mut World, name: &str| {
        let role = roles::role(name);
        let mut rows = world.master.roles_after(None);
        rows.find(|(_, row)| row.role == role).unwrap().0
    };
    world.order(ann, weight("liquid"));
    let alone = place(&mut world, "liquid");
    world.order(ann, weight("costarring"));
    assert_eq!(place(&mut world, "liquid"), alone);
    assert_ne!(place(&mut world, "costarring"), alone);
}

/// Lists what is there of a kind, each in its place.
fn placed(view: &View, kind: Kind) -> BTreeSet<(u32, RowId)> {
    let rows = view.rows_after(kind, None);
    rows.map(|(place, row)| (place, row.id())).collect()
}

/// Somebody who reads the rows of one kind after the other, page by page, while they change.
#[derive(Default)]
pub(super) struct Pager {
    kind: usize,
    after: Option<u32>,
    /// What was there all the time, each in its place: who is ended and begun again under one name
    /// is another. `None` before the first page.
    there: Option<BTreeSet<(u32, RowId)>>,
    seen: Vec<(u32, RowId)>,
    /// How many rows were there all the time that it took several pages to read.
    pub(super) stayed: usize,
}

impl Pager {
    /// Sees what is there now.
    pub(super) fn look(&mut self, world: &World) {
        if let Some(there) = &mut self.there {
            let now = placed(&world.master.view(), Kind::ALL[self.kind]);
            there.retain(|row| now.contains(row));
        }
    }

    /// Reads a page. After the last one, all that was there all the time has been on one page.
    pub(super) fn read(&mut self, world: &World, rows: usize) {
        let (view, kind) = (world.master.view(), Kind::ALL[self.kind]);
        if self.there.is_none() {
            self.there = Some(placed(&view, kind));
        }
        let mut page = view.rows_after(kind, self.after);
        for (place, row) in page.by_ref().take(rows) {
            self.after = Some(place);
            self.seen.push((place, row.id()));
        }
        if page.next().is_some() {
            return;
        }
        for id in self.there.take().unwrap_or_default() {
            let times = self.seen.iter().filter(|seen| **seen == id).count();
            assert_eq!(times, 1, "{id:?} was there all the time");
            self.stayed += usize::from(self.seen.len() > rows);
        }
        (self.after, self.seen) = (None, Vec::new());
        self.kind = (self.kind + 1) % Kind::ALL.len();
    }
}

// I13
#[test]
fn a_page_adds_up_what_it_lists_and_no_more() {
    let mut world = World::new();
    for n in 0..20 {
        world.agent(&format!("agent-{n}"), "cpus:4;mem:1024");
    }
    let web = world.connect(PeerRole::Framework, "web");
    world.subscribe(web, framework_info());
    world.pass(Duration::from_secs(5));
    assert_eq!(world.master.view().offers().len(), 20);
    let work = |list: &dyn Fn() -> usize| {
        let before = ADDED.get();
        (list(), ADDED.get() - before)
    };
    let master = &world.master;
    assert_eq!(
        work(&|| master.agents_after(Some(4)).take(3).count()),
        (3, 3)
    );
    assert_eq!(work(&|| master.frameworks_after(None).count()), (1, 20));
    let listed = master.agents_after(None).map(|(_, agent)| agent);
    assert!(listed.eq(master.view().agents()), "as the view adds it up");
    let listed = master.frameworks_after(None);
    let listed = listed.map(|(_, framework)| framework);
    assert!(listed.eq(master.view().frameworks()));
}
