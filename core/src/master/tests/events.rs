//! What operators are told as it happens, and that it adds up to what they would read (I13).

use super::maintenance::schedule;
use super::*;
use crate::feed::{Feed, Keeps};
use crate::mirror::{Mirror, Unfit};
use crate::protocol::events::{
    AgentState, Batch, Event as Told, ExecutorState, Kind, RoleState, Row, RowId, Snapshot, Version,
};
use crate::protocol::maintenance::MachineId;
use crate::protocol::node::{Presence, Standing};
use crate::protocol::operator::Call as Ask;
use crate::protocol::task::ExecutorInfo;
use crate::quota::Quota;
use crate::resources::Milli;

/// An operator who follows the master by events.
pub(super) struct Reader {
    peer: PeerId,
    pub(super) mirror: Mirror,
    /// Whether a question waits for the next event.
    waits: bool,
    asked: u64,
    heard: u64,
    pub(super) batches: usize,
    pub(super) gaps: usize,
    /// How often it was compared.
    pub(super) compared: usize,
}

/// One look in so many is compared as a whole.
const COMPARED_ONE_IN: u64 = 8;

impl Reader {
    pub(super) fn new(world: &mut World) -> Self {
        let mut reader = Self {
            peer: PeerId(0),
            mirror: Mirror::default(),
            waits: false,
            asked: 0,
            heard: 0,
            batches: 0,
            gaps: 0,
            compared: 0,
        };
        reader.reconnect(world);
        reader
    }

    /// Loses the connection, and makes another.
    pub(super) fn reconnect(&mut self, world: &mut World) {
        world.lose(self.peer);
        self.peer = world.connect(PeerRole::Operator, "reader");
        self.waits = false;
    }

    /// Asks for what comes next, unless it has.
    pub(super) fn ask(&mut self, world: &mut World) {
        if self.waits {
            return;
        }
        let Some(after) = self.mirror.version() else {
            for of in Kind::ALL {
                let Answer::Snapshot(page) = world.ask(self.peer, Ask::Snapshot { of }) else {
                    panic!("a snapshot is expected");
                };
                self.mirror.load(page).unwrap();
            }
            return;
        };
        self.asked += 1;
        self.waits = true;
        let outs = watch(world, self.peer, self.asked, Some(after));
        self.hear(world, &outs);
    }

    /// Takes in what it is told, and compares all that it has with a look at the master, which is
    /// dear: one time in so many.
    pub(super) fn hear(&mut self, world: &World, outs: &[Out]) {
        for out in outs {
            let Output::Effect(Effect::Respond { peer, response }) = out else {
                continue;
            };
            if *peer != self.peer || response.id != RequestId(self.asked) {
                continue;
            }
            assert!(self.waits, "one answer to each question: {response:?}");
            self.waits = false;
            if let Answer::Gap { newest } = &response.answer {
                assert_eq!(*newest, world.master.view().version());
                self.mirror = Mirror::default();
                self.gaps += 1;
                continue;
            }
            let Answer::Events(batch) = &response.answer else {
                panic!("{response:?}");
            };
            assert!(!batch.events.is_empty(), "an answer says something");
            self.mirror.apply(batch.clone()).unwrap();
            self.batches += 1;
        }
        let is_newest = self.mirror.version() == Some(world.master.view().version());
        assert!(is_newest || !self.waits, "who waits has all that there is");
        self.heard += 1;
        if is_newest && self.mirror.is_whole() && self.heard.is_multiple_of(COMPARED_ONE_IN) {
            self.compared += 1;
            assert_same(world, &self.mirror);
        }
    }
}

/// Asks for events, and returns all that is said.
fn watch(world: &mut World, peer: PeerId, id: u64, after: Option<Version>) -> Vec<Out> {
    let request = operator::Request {
        id: RequestId(id),
        call: Ask::WatchAll { after },
        after: None,
    };
    world.input(Input::Operator { peer, request })
}

/// The events among these, for one who waits.
fn events(outs: &[Out], to: PeerId) -> Vec<Told> {
    let mut batches = outs.iter().filter_map(|out| {
        let Output::Effect(Effect::Respond { peer, response }) = out else {
            return None;
        };
        let Answer::Events(batch) = &response.answer else {
            panic!("{response:?}");
        };
        (*peer == to).then(|| batch.events.clone())
    });
    let first = batches.next().unwrap_or_default();
    assert_eq!(batches.next(), None, "one answer to each question");
    first
}

/// A mirror says the same as a look at the master, in every list.
fn assert_same(world: &World, mirror: &Mirror) {
    let view = world.master.view();
    assert_eq!(*mirror, view.mirror());
    let mut agents = view.agents();
    agents.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(mirror.agents(), agents);
    let mut frameworks = view.frameworks();
    frameworks.sort_by(|a, b| a.info.id.cmp(&b.info.id));
    assert_eq!(mirror.frameworks(), frameworks);
    assert_eq!(mirror.tasks().count(), view.all_tasks().len());
    assert_eq!(mirror.offers().count(), view.offers().len());
}

fn newest(world: &World) -> Version {
    world.master.view().version()
}

// FW-78, FW-92, I13; MESOS-9000
#[test]
fn a_life_of_a_task_is_told_as_it_happens() {
    let mut world = World::new();
    let operator = world.connect(PeerRole::Operator, "ann");
    let outs = watch(&mut world, operator, 1, None);
    let nothing = Batch {
        after: newest(&world),
        events: vec![],
    };
    let response = operator::Response {
        id: RequestId(1),
        answer: Answer::Events(nothing),
        next: None,
    };
    let peer = operator;
    let at_once = Output::Effect(Effect::Respond { peer, response });
    assert_eq!(outs, [at_once], "a place to begin at");

    // Each step is told in one answer; in between the operator asks for the next.
    let mut asked = 1;
    let mut ask = |world: &mut World| {
        asked += 1;
        let after = Some(newest(world));
        assert_eq!(watch(world, operator, asked, after), [], "nothing new");
    };
    ask(&mut world);
    let agent_peer = world.connect(PeerRole::Agent, "one");
    let agent = agent_info("cpus:4");
    let outs = world.agent_says(agent_peer, ToMaster::Register { agent });
    let agent = agent_id(0);
    let mut state = AgentState {
        id: agent.clone(),
        info: agent_info("cpus:4"),
        total: resources("cpus:4"),
        presence: Presence::Connected { since: world.now },
        standing: Standing::Active,
        drain_since: None,
        operations: 0,
        registered_at: world.now,
    };
    let row = Row::Agent(state.clone());
    assert_eq!(events(&outs, operator), [Told::Added(row)]);

    ask(&mut world);
    let framework_peer = world.connect(PeerRole::Framework, "web");
    let outs = world.call(framework_peer, subscribe(framework_info()));
    let owner = framework_id(0);
    let told = events(&outs, operator);
    let [Told::Added(Row::Framework(framework))] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!((&framework.id, framework.connected), (&owner, true));

    ask(&mut world);
    world.now = world.now + Duration::from_micros(1);
    let outs = world.tick();
    let told = events(&outs, operator);
    let [Told::Added(Row::Offer(offer))] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(offer.resources, resources("cpus:4"));

    ask(&mut world);
    let mut one = task("t", &agent, "cpus:1");
    let id = ExecutorId::new("e").unwrap();
    let command = CommandInfo::shell("true");
    one.executor = Some(ExecutorInfo::new(
        id.clone(),
        resources("cpus:0.5"),
        command,
    ));
    one.command = None;
    let outs = world.call(framework_peer, launch(&[offer_id(0)], vec![one]));
    let told = events(&outs, operator);
    let executor = ExecutorState {
        framework: owner.clone(),
        agent: agent.clone(),
        id: id.clone(),
        resources: resources("cpus:0.5"),
        published: None,
    };
    let [
        Told::Removed(RowId::Offer(gone)),
        Told::Added(Row::Executor(started)),
        Told::Added(Row::Task(staging)),
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert_eq!((gone, started), (&offer_id(0), &executor));
    assert_eq!(staging.status.state, TaskState::Staging);

    ask(&mut world);
    let status = news("t", TaskState::Finished, &agent, 1);
    let outs = world.update(agent_peer, &owner, status, TaskState::Finished);
    let told = events(&outs, operator);
    let gone = RowId::Executor {
        framework: owner.clone(),
        agent: agent.clone(),
        id,
    };
    let [Told::Updated(Row::Task(ended))] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(ended.status.state, TaskState::Finished);

    ask(&mut world);
    let outs = world.executor_ended(agent_peer, &owner);
    assert_eq!(events(&outs, operator), [Told::Removed(gone)]);

    ask(&mut world);
    let outs = world.lose(agent_peer);
    let until = Some(world.now + world.master.config.agent_reregister_timeout);
    let since = world.now;
    state.presence = Presence::Disconnected { since, until };
    let row = Row::Agent(state);
    assert_eq!(events(&outs, operator).last(), Some(&Told::Updated(row)));

    ask(&mut world);
    let outs = world.call(framework_peer, Call::Teardown);
    let told = events(&outs, operator);
    assert!(
        told.contains(&Told::Removed(RowId::Framework(owner.clone()))),
        "{told:?}"
    );
}

// I13
#[test]
fn who_reads_the_same_rows_again_hears_nothing() {
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let operator = world.connect(PeerRole::Operator, "ann");
    let place = newest(&world);
    assert_eq!(
        watch(&mut world, operator, 1, Some(place)).len(),
        1,
        "too old"
    );
    let place = newest(&world);
    assert_eq!(watch(&mut world, operator, 2, Some(place)), []);
    // Pings are written to the agent's row, and are nobody's business.
    let outs = world.pass(Duration::from_secs(20));
    assert!(!outs.is_empty(), "agent {agent} is pinged");
    assert_eq!(events(&outs, operator), []);
    assert_eq!(newest(&world), place);
    world.lose(agent_peer);
    assert_eq!(newest(&world).number, place.number + 1);
}

// FW-94, I13
#[test]
fn a_reader_goes_on_where_it_was_or_is_told_that_it_cannot() {
    let mut config = Config::new(master_id(1), 1, 7);
    config.events_kept = 3;
    let allocator = Box::new(Greedy::default());
    let mut world = World::configured(config, Registry::default(), allocator);
    world.drain();
    let operator = world.connect(PeerRole::Operator, "ann");
    watch(&mut world, operator, 1, None);
    let begin = newest(&world);
    for name in ["a", "b", "c"] {
        world.agent(name, "cpus:1");
    }
    let answer = |world: &mut World, after| {
        let call = Ask::Watch { after: Some(after) };
        world.ask(operator, call)
    };
    let Answer::Events(all) = answer(&mut world, begin) else {
        panic!("three are kept");
    };
    assert_eq!((all.after, all.events.len()), (begin, 3));
    let mut second = begin;
    second.number += 1;
    world.agent("d", "cpus:1");
    let newest = newest(&world);
    assert_eq!(newest.number, begin.number + 4);
    let gap = Answer::Gap { newest };
    assert_eq!(answer(&mut world, begin), gap, "one is kept no more");
    let Answer::Events(rest) = answer(&mut world, second) else {
        panic!("three are kept");
    };
    assert_eq!(rest.events[..2], all.events[1..]);
    assert_eq!(rest.upto(), newest);
    // Nobody has what has not happened, or what another leadership has told.
    let mut future = newest;
    future.number += 1;
    assert_eq!(answer(&mut world, future), gap);
    let other = Version { epoch: 2, ..second };
    assert_eq!(answer(&mut world, other), gap);
}

// I13
#[test]
fn nothing_is_kept_for_nobody() {
    let mut world = World::new();
    let operator = world.connect(PeerRole::Operator, "ann");
    let asleep = newest(&world);
    world.agent("one", "cpus:4");
    assert!(newest(&world) > asleep, "the same version says the same");
    watch(&mut world, operator, 1, None);
    let begin = newest(&world);
    // What one asks for as he goes is there when he is back.
    world.pass(limits::EVENTS_LINGER);
    world.agent("two", "cpus:4");
    let call = Ask::Watch { after: Some(begin) };
    let Answer::Events(batch) = world.ask(operator, call) else {
        panic!("it is kept for a while");
    };
    // Agents that do not answer pings are lost.
    assert!(batch.events.len() > 1, "{batch:?}");
    let begin = newest(&world);
    world.pass(limits::EVENTS_LINGER + Duration::from_secs(60));
    world.agent("three", "cpus:4");
    let call = Ask::Watch { after: Some(begin) };
    let answer = world.ask(operator, call);
    assert!(matches!(answer, Answer::Gap { .. }), "{answer:?}");
}

// I13
#[test]
fn who_has_waited_for_long_finds_what_came_once_the_connection_broke() {
    let mut world = World::new();
    let mut reader = Reader::new(&mut world);
    reader.ask(&mut world);
    reader.ask(&mut world);
    world.pass(limits::EVENTS_LINGER * 2);
    world.lose(reader.peer);
    world.agent("two", "cpus:4");
    reader.reconnect(&mut world);
    reader.ask(&mut world);
    assert_eq!((reader.batches, reader.gaps), (1, 0));
    assert_same(&world, &reader.mirror);
}

// I13
#[test]
fn pages_of_a_snapshot_are_joined() {
    let at = |number| Version { epoch: 1, number };
    let row = |n| {
        let offer = Offer::new(
            offer_id(n),
            framework_id(1),
            agent_id(1),
            resources("cpus:1"),
        );
        Row::Offer(offer)
    };
    let page = |version, rows| {
        let (from, upto) = (at(version), at(version));
        Answer::Snapshot(Snapshot { from, upto, rows })
    };
    let mut joined = page(3, vec![row(1)]);
    joined.append(page(5, vec![row(2)])).unwrap();
    let whole = Snapshot {
        from: at(3),
        upto: at(5),
        rows: vec![row(1), row(2)],
    };
    assert_eq!(joined, Answer::Snapshot(whole));
    let other = Answer::Offers(vec![]);
    assert_eq!(joined.append(other.clone()), Err(other));
}

// I13, TL-13: Mesos has room for 1,000 that stay connected; here for 256 that wait at a time
#[test]
fn a_question_waits_with_its_connection_only_and_not_many_do() {
    let mut world = World::new();
    const MOST: usize = limits::WATCHES / limits::WATCHES_PER_CONNECTION + 1;
    let peers = [(); MOST].map(|()| world.connect(PeerRole::Operator, "ann"));
    watch(&mut world, peers[0], 0, None);
    let now = Some(newest(&world));
    let refused = |world: &mut World, peer| {
        let Answer::Conflict(why) = world.ask(peer, Ask::Watch { after: now }) else {
            panic!("there is no room");
        };
        why
    };
    assert_eq!(watch(&mut world, peers[0], 0, now), []);
    for (n, peer) in peers.iter().enumerate().skip(1) {
        let most = limits::WATCHES_PER_CONNECTION - usize::from(n == MOST - 1);
        for id in 0..most as u64 {
            assert_eq!(watch(&mut world, *peer, id, now), []);
        }
        if n == 1 {
            let why = refused(&mut world, *peer);
            assert!(why.contains("16 questions of this connection"), "{why}");
        }
    }
    let why = refused(&mut world, peers[0]);
    assert!(why.contains("256 questions wait"), "{why}");
    for peer in &peers[1..] {
        world.lose(*peer);
    }
    let outs = world.input(Input::Connected {
        peer: peers[1],
        principal: Principal {
            role: PeerRole::Operator,
            name: "ann".into(),
        },
    });
    assert_eq!(outs, []);
    // Of all those one is left, and one more.
    assert_eq!(watch(&mut world, peers[0], 7, now), []);
    let peer = world.connect(PeerRole::Agent, "one");
    let agent = agent_info("cpus:4");
    let outs = world.agent_says(peer, ToMaster::Register { agent });
    let answered = outs.iter().filter_map(|out| {
        let Output::Effect(Effect::Respond { peer, response }) = out else {
            return None;
        };
        Some((*peer, response.id.0))
    });
    let answered: Vec<_> = answered.collect();
    assert_eq!(answered, [(peers[0], 0), (peers[0], 7)]);
}

// I13
#[test]
fn pages_of_several_versions_become_one_moment() {
    let mut world = World::new();
    let (peer, _) = world.framework("web");
    let (one, _) = world.agent("one", "cpus:4");
    let operator = world.connect(PeerRole::Operator, "ann");
    let mut mirror = Mirror::default();
    let load = |world: &mut World, mirror: &mut Mirror, of| {
        let Answer::Snapshot(page) = world.ask(operator, Ask::Snapshot { of }) else {
            panic!("a snapshot is expected");
        };
        mirror.load(page).unwrap();
    };
    load(&mut world, &mut mirror, Kind::Agents);
    assert!(mirror.is_whole(), "nothing has happened meanwhile");
    let begin = newest(&world);
    world.lose(one);
    world.agent("two", "cpus:4");
    load(&mut world, &mut mirror, Kind::Frameworks);
    world.lose(peer);
    world.agent("three", "cpus:4");
    for of in [Kind::Executors, Kind::Tasks, Kind::Offers, Kind::Roles] {
        load(&mut world, &mut mirror, of);
    }
    world.framework("db");
    assert!(!mirror.is_whole());
    assert_eq!(mirror.version(), Some(begin));
    let call = Ask::Watch { after: Some(begin) };
    let Answer::Events(batch) = world.ask(operator, call) else {
        panic!("they are kept");
    };
    // Not before all is in that any page may show.
    let mut early = mirror.clone();
    let first = Batch {
        after: begin,
        events: batch.events[..1].to_vec(),
    };
    early.apply(first).unwrap();
    assert!(!early.is_whole());
    mirror.apply(batch).unwrap();
    assert!(mirror.is_whole());
    assert_same(&world, &mirror);
}

// I13
#[test]
fn a_mirror_takes_nothing_that_does_not_fit() {
    let at = |number| Version { epoch: 1, number };
    let page = |from, upto, rows| Snapshot { from, upto, rows };
    let offer = Offer::new(
        offer_id(1),
        framework_id(1),
        agent_id(1),
        resources("cpus:1"),
    );
    let id = RowId::Offer(offer_id(1));
    let row = Row::Offer(offer);
    let none = Batch {
        after: at(1),
        events: vec![],
    };
    let batch = |event| Batch {
        events: vec![event],
        ..none.clone()
    };
    let mut empty = Mirror::default();
    assert_eq!(empty.apply(none.clone()), Err(Unfit::Empty));
    let other = Version {
        epoch: 2,
        number: 1,
    };
    empty.load(page(at(1), at(1), vec![])).unwrap();
    let order = |given| Err(Unfit::Order { has: at(1), given });
    assert_eq!(empty.load(page(other, other, vec![])), order(other));
    assert_eq!(empty.load(page(at(0), at(1), vec![])), order(at(0)));
    let mut full = empty.clone();
    full.load(page(at(1), at(1), vec![row.clone()])).unwrap();

    for after in [at(0), at(2), other] {
        let skipped = Batch {
            after,
            ..none.clone()
        };
        assert_eq!(empty.clone().apply(skipped), order(after));
    }
    let refused = |mirror: &Mirror, event| mirror.clone().apply(batch(event)).unwrap_err();
    let unknown = Unfit::Unknown(id.clone());
    assert_eq!(refused(&empty, Told::Removed(id.clone())), unknown);
    assert_eq!(refused(&empty, Told::Updated(row.clone())), unknown);
    let known = Unfit::Known(id.clone());
    assert_eq!(refused(&full, Told::Added(row.clone())), known);
    full.apply(batch(Told::Removed(id))).unwrap();
    full.apply(Batch {
        after: at(2),
        events: vec![Told::Added(row)],
    })
    .unwrap();
    assert_eq!(full.offers().count(), 1);
}

// I13
#[test]
fn an_event_is_told_when_it_is_durable() {
    let mut world = World::new();
    let operator = world.connect(PeerRole::Operator, "ann");
    watch(&mut world, operator, 1, None);
    let now = Some(newest(&world));
    watch(&mut world, operator, 2, now);
    let peer = world.connect(PeerRole::Agent, "one");
    let agent = agent_info("cpus:4");
    let message = ToMaster::Register { agent };
    let register = Input::Agent { peer, message };
    world.master.handle(world.now, register, &mut world.out);
    let mut gate = crate::gate::Gate::new();
    let mut last = None;
    for output in world.out.drain() {
        last = gate.admit(output).map(|(seq, _)| seq).or(last);
    }
    assert_eq!(gate.release(), None, "nothing leaves before the record");
    gate.persisted(last.expect("the agent is written down"));
    let told = |effect| matches!(effect, Effect::Respond { .. });
    let released = core::iter::from_fn(|| gate.release());
    assert!(released.into_iter().any(told));
}

// FW-94, I13
#[test]
fn what_is_kept_is_bounded_in_bytes_and_so_is_an_answer() {
    let mut feed = Feed::new(1, Keeps::of_master(usize::MAX));
    feed.begin(Time::ZERO);
    let begin = feed.newest();
    let mut big = Offer::new(
        offer_id(1),
        framework_id(1),
        agent_id(1),
        resources("cpus:1"),
    );
    big.hostname = "x".repeat(limits::SLICE_BYTES / 3).into();
    let event = Told::Added(Row::Offer(big));
    let fit = limits::EVENTS_BYTES / size(&event);
    for _ in 0..fit {
        feed.push(event.clone());
    }
    assert_eq!(feed.after(begin).unwrap().events.len(), 2, "as many as fit");
    feed.push(event.clone());
    assert!(feed.after(begin).is_err(), "the first is kept no more");
    let second = Version {
        number: begin.number + 1,
        ..begin
    };
    assert!(feed.after(second).is_ok());
    feed.check();
}

// FW-94, FW-92, RQ-09, I13
#[test]
fn what_operators_say_of_roles_is_told_until_nothing_is_left_of_it() {
    let mut world = World::new();
    let mut reader = Reader::new(&mut world);
    let operator = world.connect(PeerRole::Operator, "operator");
    let ads = Role::new("ads").unwrap();
    let weights = |weight| Ask::UpdateWeights {
        weights: vec![(Role::new("ads").unwrap(), Milli::from_units(weight))],
    };
    let quota = |limit: &str| Ask::UpdateQuota {
        quotas: vec![(
            Role::new("ads").unwrap(),
            Quota {
                limits: limit.parse().unwrap(),
                ..Quota::default()
            },
        )],
        force: false,
    };
    let told = |world: &mut World, reader: &mut Reader, call| -> Vec<RoleState> {
        reader.ask(world);
        reader.ask(world);
        let outs = world.order(operator, call);
        reader.hear(world, &outs);
        assert_eq!(
            reader.mirror.version(),
            Some(world.master.view().version()),
            "whoever waits has heard"
        );
        assert_eq!(reader.mirror, world.master.view().mirror());
        reader.mirror.roles().cloned().collect()
    };
    let state = |weight, limit: &str| RoleState {
        role: ads.clone(),
        weight: Milli::from_units(weight),
        quota: Quota {
            limits: limit.parse().unwrap(),
            ..Quota::default()
        },
    };
    let (world, reader) = (&mut world, &mut reader);
    assert_eq!(told(world, reader, weights(3)), [state(3, "")]);
    let both = told(world, reader, quota("cpus:4"));
    assert_eq!(both, [state(3, "cpus:4")]);
    assert_eq!(told(world, reader, weights(1)), [state(1, "cpus:4")]);
    assert_eq!(told(world, reader, quota("")), []);
    // The next leadership has it from the registry.
    world.order(operator, quota("cpus:4"));
    let next = World::recovered(2, world.master.registry().clone());
    let rows = next.master.view().rows(Kind::Roles);
    assert_eq!(rows, [Row::Role(state(1, "cpus:4"))]);
}

/// Loads all kinds of rows.
fn loaded(world: &mut World, peer: PeerId) -> Mirror {
    let mut mirror = Mirror::default();
    for of in Kind::ALL {
        let Answer::Snapshot(page) = world.ask(peer, Ask::Snapshot { of }) else {
            panic!("a snapshot is expected");
        };
        mirror.load(page).unwrap();
    }
    mirror
}

// I13, FW-92, TK-122, SM-17
#[test]
fn what_is_gone_or_over_and_maintenance_are_rows_and_events() {
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (_, agent) = world.agent("one", "cpus:4");
    let web = world.connect(PeerRole::Framework, "web");
    let web = world.subscribe(web, framework_info());
    let mut mirror = loaded(&mut world, ann);
    let asks_old = |world: &mut World, after| world.ask(ann, Ask::Watch { after });

    let begin = mirror.version();
    let hostname = world.master.view().agents()[0].info.hostname.clone();
    assert_eq!(world.ask(ann, schedule(&[&hostname, "b"])), Answer::Updated);
    let machines = vec![MachineId::of_hostname("b")];
    let down = Ask::MachinesDown { machines };
    assert_eq!(world.ask(ann, down), Answer::Updated);
    world.pass(Duration::from_secs(5));
    let catch_up = |world: &mut World, mirror: &mut Mirror| {
        let after = mirror.version();
        let Answer::Events(batch) = world.ask(ann, Ask::WatchAll { after }) else {
            panic!("there are events");
        };
        mirror.apply(batch).unwrap();
        assert_same(world, mirror);
        assert_eq!(
            world.ask(ann, Ask::Machines),
            Answer::Machines(mirror.machines())
        );
        let asked = Answer::InverseOffers(mirror.inverse_offers());
        assert_eq!(world.ask(ann, Ask::InverseOffers), asked);
        let ended = Answer::EndedFrameworks(mirror.ended_frameworks());
        assert_eq!(world.ask(ann, Ask::EndedFrameworks), ended);
    };
    catch_up(&mut world, &mut mirror);
    assert_eq!(mirror.machines().len(), 2);
    assert_eq!(mirror.inverse_offers().len(), 1, "it was asked to leave");
    // Who knows seven kinds alone is told of none of this.
    assert!(matches!(asks_old(&mut world, begin), Answer::Gap { .. }));

    let end = Ask::Teardown { framework: web };
    assert_eq!(world.ask(ann, end), Answer::Updated);
    let gone = Ask::MarkGone {
        agent: agent.clone(),
    };
    assert_eq!(world.ask(ann, gone), Answer::Updated);
    catch_up(&mut world, &mut mirror);
    assert_eq!(
        mirror.gone().map(|gone| &gone.id).collect::<Vec<_>>(),
        [&agent]
    );
    assert_eq!(mirror.ended_frameworks()[0].name.as_deref(), Some("web"));
    assert_eq!((mirror.agents().len(), mirror.frameworks().len()), (0, 0));
    assert_eq!(loaded(&mut world, ann), mirror, "a snapshot says the same");
}
