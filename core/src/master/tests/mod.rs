//! Tests of the master through `handle` and `tick` only.
//!
//! Every input is followed by a check of all invariants, and of what the allocator has booked
//! against what the master shows. Outboxes are compared whole.

mod agents;
mod books;
mod bounds;
mod chaos;
mod criticals;
mod disks;
mod domains;
mod drain;
mod ends;
mod enrolled;
mod events;
mod frames;
mod frameworks;
mod greedy;
mod groups;
mod inspecting;
mod issues;
mod lingering;
mod maintenance;
mod messages;
mod offers;
mod operating;
mod operations;
mod operators;
mod published;
mod quotas;
mod reconcile;
mod recovery;
mod roles;
mod shared;
mod standing;
mod tasks;
mod throttle;
mod vacating;
mod views;
mod wishes;

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Config, Effect, Input, Master};
use crate::allocator::Allocator;
use crate::allocator::drf::{self, Drf};
use crate::attributes::Attributes;
use crate::auth::{PeerRole, Principal};
use crate::ids::{
    AgentId, ExecutorId, FrameworkId, MasterId, OfferId, PeerId, RequestId, TaskId, UpdateId,
};
use crate::limits;
use crate::machine::{Durable, Machine, Outbox, Output};
use crate::protocol::agent::{GroupOrder, TaskReport, ToAgent, ToMaster};
use crate::protocol::framework::{FrameworkInfo, Wishes};
use crate::protocol::hello::CloseReason;
use crate::protocol::node::{AgentInfo, AgentLoss};
use crate::protocol::offer::{Offer, Operation};
use crate::protocol::operator::{self, Answer};
use crate::protocol::refusal::{CallKind, EndReason, RejectKind};
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::task::{CommandInfo, TaskInfo};
use crate::protocol::wire::size;
use crate::registry::{Registry, RegistryOp};
use crate::resources::{Quantities, Resources, Value};
use crate::roles::Role;
use crate::time::Time;
use greedy::Greedy;

type Out = Output<RegistryOp, Effect>;

fn master_id(epoch: u64) -> MasterId {
    MasterId::of("rio", epoch).unwrap()
}

fn agent_id(n: u64) -> AgentId {
    AgentId::numbered(&master_id(1), n)
}

fn framework_id(n: u64) -> FrameworkId {
    FrameworkId::numbered(&master_id(1), n)
}

fn offer_id(n: u64) -> OfferId {
    OfferId::numbered(&master_id(1), n)
}

fn task_id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

fn resources(text: &str) -> Resources {
    Resources::parse(text).unwrap()
}

fn agent_info(total: &str) -> AgentInfo {
    AgentInfo::new("host", "host:5051", resources(total))
}

/// An agent's whole account of itself, as it comes back.
fn reregister(
    id: AgentId,
    total: &str,
    frameworks: Vec<FrameworkInfo>,
    tasks: Vec<TaskReport>,
) -> ToMaster {
    ToMaster::Reregister {
        id,
        agent: agent_info(total),
        frameworks,
        tasks,
    }
}

/// A framework that survives a lost connection for ten seconds.
fn framework_info() -> FrameworkInfo {
    FrameworkInfo {
        failover_timeout: Duration::from_secs(10),
        ..FrameworkInfo::new("web")
    }
}

fn framework_info_of(id: FrameworkId) -> FrameworkInfo {
    FrameworkInfo {
        id: Some(id),
        ..framework_info()
    }
}

/// What agents are told of a framework: with the name in its certificate.
fn known_as(id: FrameworkId, principal: &str) -> FrameworkInfo {
    FrameworkInfo {
        principal: Some(principal.to_string()),
        ..framework_info_of(id)
    }
}

fn task(id: &str, agent: &AgentId, needs: &str) -> TaskInfo {
    TaskInfo {
        command: Some(CommandInfo::shell("true")),
        ..TaskInfo::new(task_id(id), agent.clone(), resources(needs))
    }
}

fn launch(offers: &[OfferId], tasks: Vec<TaskInfo>) -> Call {
    Call::Accept {
        offers: offers.to_vec(),
        operations: vec![Operation::Launch(tasks)],
        refuse: None,
    }
}

/// Subscribes with no wishes.
fn subscribe(framework: FrameworkInfo) -> Call {
    let wishes = Wishes::default();
    Call::Subscribe { framework, wishes }
}

/// What the agent says about a task; `n` names the update.
fn news(task: &str, state: TaskState, agent: &AgentId, n: u128) -> TaskStatus {
    TaskStatus {
        agent: Some(agent.clone()),
        update: Some(UpdateId(n)),
        ..TaskStatus::new(task_id(task), state, Source::Executor, Time::ZERO)
    }
}

/// What the master says about a task.
fn word(
    task: &str,
    state: TaskState,
    reason: Reason,
    message: &str,
    agent: Option<&AgentId>,
    at: Time,
) -> TaskStatus {
    TaskStatus {
        reason: Some(reason),
        message: message.to_string(),
        agent: agent.cloned(),
        ..TaskStatus::new(task_id(task), state, Source::Master, at)
    }
}

/// What a framework hears at its end.
fn ended(peer: PeerId, reason: EndReason, why: &str) -> Out {
    let message = why.to_string();
    to_framework(peer, Event::Error { reason, message })
}

/// What a framework hears that is turned away.
fn refusal(peer: PeerId, reason: EndReason, why: &str) -> [Out; 2] {
    [
        ended(peer, reason, why),
        disconnect(peer, CloseReason::Denied, why),
    ]
}

/// The name of the one update among these that has to be confirmed.
fn named(outs: &[Out]) -> Option<UpdateId> {
    let mut names = outs.iter().filter_map(|out| {
        if let Output::Effect(Effect::Scheduler { event, .. }) = out
            && let Event::Update(status) = event
        {
            return status.update;
        }
        None
    });
    let first = names.next();
    assert_eq!(names.next(), None, "one update is expected");
    first
}

fn to_agent(peer: PeerId, message: ToAgent) -> Out {
    Output::Effect(Effect::Agent { peer, message })
}

fn out_of_reach(agent: &AgentId, at: Time) -> Out {
    let id = agent.clone();
    Output::Persist(RegistryOp::Unreachable { id, at })
}

/// The same without the names under which the master's own words are confirmed: each has one.
fn unnamed(mut outs: Vec<Out>) -> Vec<Out> {
    for out in &mut outs {
        let Output::Effect(Effect::Scheduler {
            event: Event::Update(status),
            ..
        }) = out
        else {
            continue;
        };
        let is_refusal = matches!(
            status.reason,
            Some(Reason::TaskInvalid | Reason::InvalidOffers)
        );
        let is_of_another =
            is_refusal && !matches!(status.state, TaskState::Error | TaskState::Dropped);
        let name = status.update.take();
        assert_eq!(name.is_none(), is_of_another, "{status:?}");
    }
    outs
}

fn to_framework(peer: PeerId, event: Event) -> Out {
    Output::Effect(Effect::Scheduler { peer, event })
}

fn agent_lost(peer: PeerId, agent: &AgentId, why: AgentLoss) -> Out {
    let agent = agent.clone();
    to_framework(peer, Event::AgentLost { agent, why })
}

fn disconnect(peer: PeerId, close: CloseReason, reason: &str) -> Out {
    let reason = reason.to_string();
    Output::Effect(Effect::Disconnect {
        peer,
        close,
        reason,
    })
}

/// A master and its surroundings.
struct World {
    master: Master,
    now: Time,
    peers: u64,
    out: Outbox<RegistryOp, Effect>,
    /// What the records have made of the registry.
    replayed: Registry,
    /// What was written of frameworks, oldest first.
    records: Vec<RegistryOp>,
    /// What agents were told of frameworks, in turn.
    introduced: Vec<(PeerId, FrameworkInfo)>,
}

/// Returns what an agent is told of a framework.
fn introduction(out: &Out) -> Option<(PeerId, FrameworkInfo)> {
    match out {
        Output::Effect(Effect::Agent {
            peer,
            message: ToAgent::UpdateFramework(info),
        }) => Some((*peer, info.clone())),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    }
}

impl World {
    fn new() -> Self {
        let mut world = Self::recovered(1, Registry::default());
        let at = world.now;
        let lead = Output::Persist(RegistryOp::Lead { epoch: 1, at });
        assert_eq!(world.drain(), [lead]);
        world
    }

    fn recovered(epoch: u64, registry: Registry) -> Self {
        Self::with(epoch, registry, Box::new(Greedy::default()))
    }

    /// A leadership with the allocator of real clusters, which takes back what is not answered.
    fn drf(epoch: u64, registry: Registry) -> Self {
        let options = drf::Options {
            lease: Some(Duration::from_secs(2)),
            ..drf::Options::default()
        };
        Self::with(epoch, registry, Box::new(Drf::new(options)))
    }

    fn with(epoch: u64, registry: Registry, allocator: Box<dyn Allocator>) -> Self {
        let config = Config::new(master_id(epoch), epoch, 7);
        Self::configured(config, registry, allocator)
    }

    fn configured(config: Config, registry: Registry, allocator: Box<dyn Allocator>) -> Self {
        Self::beginning(config, registry, allocator, Time::from_micros(1_000_000))
    }

    fn beginning(
        config: Config,
        registry: Registry,
        allocator: Box<dyn Allocator>,
        now: Time,
    ) -> Self {
        let mut out = Outbox::new();
        let epoch = config.epoch;
        let replayed = registry.clone();
        let master = Master::recover(config, registry, allocator, now, &mut out);
        master.check();
        Self {
            master,
            now,
            peers: epoch * 1_000,
            out,
            replayed,
            records: Vec::new(),
            introduced: Vec::new(),
        }
    }

    /// Takes what was put out, but for what is written of frameworks and what agents are told of
    /// them before their tasks: nearly every step does some of that, and [`Self::records`] and
    /// [`Self::introduced`] keep it.
    fn drain(&mut self) -> Vec<Out> {
        let mut outs = Vec::new();
        let drained: Vec<Out> = self.out.drain().collect();
        for out in drained {
            if let Output::Persist(op) = &out {
                self.replayed.apply(op);
                if is_of_framework(op) {
                    self.records.push(op.clone());
                    continue;
                }
            }
            if self.is_introduced(&out) {
                // What was said just before it, it may be said for.
                outs.pop_if(|before| introduction(before).is_some());
            }
            self.introduced.extend(introduction(&out));
            outs.push(out);
        }
        assert_eq!(&self.replayed, self.master.registry());
        outs
    }

    /// Returns whether tasks are started, of a framework of which their agent has to know by then
    /// (PR-06).
    fn is_introduced(&self, out: &Out) -> bool {
        let Output::Effect(Effect::Agent { peer, message }) = out else {
            return false;
        };
        let (ToAgent::RunTask { framework, .. } | ToAgent::RunGroup(GroupOrder { framework, .. })) =
            message
        else {
            return false;
        };
        let mut told = self.introduced.iter();
        let is_it = |(agent, info): &(PeerId, FrameworkInfo)| {
            agent == peer && info.id.as_ref() == Some(framework)
        };
        assert!(told.any(is_it), "{framework} is not known to {peer:?}");
        true
    }

    fn check(&self) {
        self.master.check();
        // What allocators count of what is given: that which adds up.
        let amounts = |given: &Resources| {
            Quantities::from(&given.filter(|entry| matches!(entry.value(), Value::Scalar(_))))
        };
        let mut booked = Quantities::new();
        let agents = self.master.view().agents();
        if agents
            .iter()
            .any(|agent| agent.total.iter().any(|it| it.is_shared()))
        {
            // Each allocator counts copies in its own way.
            return;
        }
        for agent in agents {
            booked.add(&amounts(&agent.offered));
            booked.add(&amounts(&agent.allocated));
        }
        assert_eq!(self.master.allocator().stats().booked, booked);
    }

    fn input(&mut self, input: Input) -> Vec<Out> {
        self.master.handle(self.now, input, &mut self.out);
        self.check();
        self.drain()
    }

    fn tick(&mut self) -> Vec<Out> {
        self.master.tick(self.now, &mut self.out);
        self.check();
        self.drain()
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, time: Duration) -> Vec<Out> {
        let until = self.now + time;
        let mut all = Vec::new();
        while let Some(at) = self.master.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            all.extend(self.tick());
        }
        self.now = until;
        all
    }

    fn connect(&mut self, role: PeerRole, name: &str) -> PeerId {
        self.peers += 1;
        let peer = PeerId(self.peers);
        let name = name.to_string();
        let principal = Principal { role, name };
        assert_eq!(self.input(Input::Connected { peer, principal }), []);
        peer
    }

    fn lose(&mut self, peer: PeerId) -> Vec<Out> {
        self.input(Input::Disconnected { peer })
    }

    fn agent_says(&mut self, peer: PeerId, message: ToMaster) -> Vec<Out> {
        self.input(Input::Agent { peer, message })
    }

    fn call(&mut self, peer: PeerId, call: Call) -> Vec<Out> {
        self.input(Input::Scheduler { peer, call })
    }

    /// Asks for all pages of an answer, each of which fits a frame.
    fn ask(&mut self, peer: PeerId, call: operator::Call) -> Answer {
        let first = self.ask_page(peer, call.clone(), None);
        let (mut answer, mut next) = (first.answer, first.next);
        while next.is_some() {
            let page = self.ask_page(peer, call.clone(), next);
            answer.append(page.answer).unwrap();
            next = page.next;
        }
        answer
    }

    /// Has an operator give an order that is carried out; returns what else follows.
    fn order(&mut self, peer: PeerId, call: operator::Call) -> Vec<Out> {
        let (id, after) = (RequestId(1), None);
        let request = operator::Request { id, call, after };
        let mut outs = self.input(Input::Operator { peer, request });
        let response = operator::Response {
            id,
            answer: Answer::Updated,
            next: None,
        };
        let done = Output::Effect(Effect::Respond { peer, response });
        let place = outs.iter().position(|out| *out == done);
        outs.remove(place.unwrap_or_else(|| panic!("{outs:?}")));
        outs
    }

    fn ask_page(
        &mut self,
        peer: PeerId,
        call: operator::Call,
        after: Option<operator::Cursor>,
    ) -> operator::Response {
        let id = RequestId(3);
        let request = operator::Request { id, call, after };
        let outs = self.input(Input::Operator { peer, request });
        for out in outs {
            if let Output::Free(Effect::Respond { response, .. })
            | Output::Effect(Effect::Respond { response, .. }) = out
            {
                assert_eq!(response.id, id);
                assert!(size(&response) <= limits::FRAME_BYTES);
                return response;
            }
        }
        panic!("no answer");
    }

    /// An agent that has registered.
    fn agent(&mut self, name: &str, total: &str) -> (PeerId, AgentId) {
        let peer = self.connect(PeerRole::Agent, name);
        let agent = agent_info(total);
        let outs = self.agent_says(peer, ToMaster::Register { agent });
        match outs.as_slice() {
            [
                Output::Persist(RegistryOp::Admit { .. }),
                Output::Effect(Effect::Agent {
                    message: ToAgent::Registered { id, .. },
                    ..
                }),
            ] => (peer, id.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// An agent that registers under a name that was bound before.
    fn agent_anew(&mut self, name: &str) -> (PeerId, AgentId) {
        let peer = self.connect(PeerRole::Agent, name);
        let agent = agent_info("cpus:4");
        let outs = self.agent_says(peer, ToMaster::Register { agent });
        match outs.last() {
            Some(Output::Effect(Effect::Agent {
                message: ToAgent::Registered { id, .. },
                ..
            })) => (peer, id.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn subscribe(&mut self, peer: PeerId, framework: FrameworkInfo) -> FrameworkId {
        let mut outs = self.call(peer, subscribe(framework));
        // Agents with tasks of it hear what is new.
        outs.retain(|out| {
            let Output::Effect(Effect::Agent { message, .. }) = out else {
                return true;
            };
            !matches!(message, ToAgent::UpdateFramework(_))
        });
        match outs.as_slice() {
            [
                Output::Effect(Effect::Scheduler {
                    event: Event::Subscribed { framework, .. },
                    ..
                }),
            ] => framework.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Subscribes over another connection than the one that stands, and returns what else is said.
    fn subscribe_again(&mut self, peer: PeerId, framework: FrameworkInfo) -> Vec<Out> {
        let mut outs = self.call(peer, subscribe(framework));
        let place = outs.iter().position(|out| {
            let Output::Effect(Effect::Scheduler { event, .. }) = out else {
                return false;
            };
            matches!(event, Event::Subscribed { .. })
        });
        outs.remove(place.unwrap());
        outs
    }

    /// A framework that has subscribed.
    fn framework(&mut self, name: &str) -> (PeerId, FrameworkId) {
        let peer = self.connect(PeerRole::Framework, name);
        let id = self.subscribe(peer, framework_info());
        (peer, id)
    }

    /// Lets the allocator run, and returns what is offered to one framework, in one event.
    fn offered(&mut self, peer: PeerId) -> Vec<Offer> {
        let outs = self.tick();
        match outs.as_slice() {
            [
                Output::Effect(Effect::Scheduler {
                    peer: to,
                    event: Event::Offers(offers),
                }),
            ] if *to == peer => offers.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass, and returns what is offered in it, and to whom.
    fn offers_within(&mut self, time: Duration) -> Vec<(PeerId, Offer)> {
        let mut offered = Vec::new();
        for out in self.pass(time) {
            if let Output::Effect(Effect::Scheduler { peer, event }) = out
                && let Event::Offers(offers) = event
            {
                offered.extend(offers.into_iter().map(|offer| (peer, offer)));
            }
        }
        offered
    }

    /// Takes what is offered and launches tasks, all of which are good.
    fn launch(&mut self, peer: PeerId, tasks: Vec<TaskInfo>) {
        let offers: Vec<OfferId> = self.offered(peer).into_iter().map(|o| o.id).collect();
        let count = tasks.len();
        let outs = self.call(peer, launch(&offers, tasks));
        assert_eq!(outs.len(), count, "{outs:?}");
        for out in outs {
            let good = matches!(
                &out,
                Output::Effect(Effect::Agent {
                    message: ToAgent::RunTask { .. },
                    ..
                })
            );
            assert!(good, "{out:?}");
        }
    }

    fn update(
        &mut self,
        agent: PeerId,
        framework: &FrameworkId,
        status: TaskStatus,
        latest: TaskState,
    ) -> Vec<Out> {
        let framework = framework.clone();
        self.agent_says(
            agent,
            ToMaster::Update {
                framework,
                status,
                latest,
            },
        )
    }

    /// An agent says that executor `e` of a framework has ended.
    fn executor_ended(&mut self, agent: PeerId, framework: &FrameworkId) -> Vec<Out> {
        let ended = ToMaster::ExecutorEnded {
            framework: framework.clone(),
            executor: ExecutorId::new("e").unwrap(),
            exit: None,
        };
        self.agent_says(agent, ended)
    }

    /// An agent says of a task whose framework is over that it is over too.
    fn is_over(&mut self, agent: PeerId, framework: &FrameworkId, task: &str) {
        let status = TaskStatus::new(
            task_id(task),
            TaskState::Killed,
            Source::Executor,
            Time::ZERO,
        );
        let outs = self.update(agent, framework, status, TaskState::Killed);
        assert_eq!(outs, []);
    }

    /// Returns whether anything of an agent is offered some time later.
    fn is_offered_soon(&mut self, agent: &AgentId) -> bool {
        self.pass(Duration::from_secs(10));
        let offers = self.master.view().offers();
        offers.iter().any(|offer| offer.agent == *agent)
    }

    fn free(&self) -> Resources {
        let agents = self.master.view().agents();
        let [agent] = agents.as_slice() else {
            panic!("one agent is expected");
        };
        let mut free = agent.total.clone();
        free.subtract(&agent.offered).unwrap();
        free.subtract(&agent.allocated).unwrap();
        free
    }
}

fn is_of_framework(op: &RegistryOp) -> bool {
    matches!(
        op,
        RegistryOp::EnrolFramework { .. }
            | RegistryOp::FrameworkAway { .. }
            | RegistryOp::FrameworkBack { .. }
            | RegistryOp::EndFramework { .. }
            | RegistryOp::ForgetFramework { .. }
    )
}

fn report(framework: &FrameworkId, task: TaskInfo, state: TaskState) -> TaskReport {
    TaskReport::new(framework.clone(), Role::any(), &task, state)
}
