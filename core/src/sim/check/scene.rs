//! One framework on one agent, for the tests of what is looked at in the books of
//! [`super::ledger`].

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use core::time::Duration;

use super::ledger::Ledger;
use crate::ids::{AgentId, FrameworkId, MasterId, OfferId, PeerId, TaskId};
use crate::master::{Effect, Input};
use crate::protocol::agent::{ToAgent, ToMaster};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::node::AgentInfo;
use crate::protocol::offer::{Offer, Operation};
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::status::{Source, TaskState, TaskStatus};
use crate::protocol::task::{CommandInfo, TaskInfo};
use crate::registry::{Registry, RegistryOp};
use crate::resources::Resources;
use crate::roles::Role;
use crate::time::Time;

pub(super) const OWNER: PeerId = PeerId(1);
pub(super) const AGENT: PeerId = PeerId(2);
pub(super) const OTHER: PeerId = PeerId(3);

pub(super) fn bag(text: &str) -> Resources {
    Resources::parse(text).unwrap()
}

pub(super) fn agent() -> AgentId {
    AgentId::new("m-S1").unwrap()
}

pub(super) fn framework() -> FrameworkId {
    FrameworkId::new("m-0000").unwrap()
}

/// Begins with an agent of four cores and four ports that is registered.
pub(super) fn book() -> Ledger {
    let has = bag("cpus:4;ports:[1-4]");
    let totals = [(String::from("host"), has.clone())].into();
    let mut ledger = Ledger::new(Arc::new(totals), Registry::default());
    let info = AgentInfo::new("host", "host:5051", has);
    let (id, name, info) = (agent(), String::from("host"), Arc::new(info));
    ledger.wrote(&RegistryOp::Admit { id, name, info });
    ledger.wrote(&RegistryOp::EnrolFramework {
        id: framework(),
        info: Arc::new(FrameworkInfo {
            id: Some(framework()),
            ..FrameworkInfo::new("f")
        }),
        vouched: true,
    });
    ledger.saw(&Effect::Agent {
        peer: AGENT,
        message: ToAgent::Registered {
            id: agent(),
            master: MasterId::of("m", 1).unwrap(),
            epoch: 1,
            ping_timeout: Duration::from_secs(75),
        },
    });
    ledger
}

/// An agent is back.
pub(super) fn registered(peer: PeerId) -> Effect {
    Effect::Agent {
        peer,
        message: ToAgent::Reregistered {
            id: agent(),
            master: MasterId::of("m", 1).unwrap(),
            epoch: 1,
            ping_timeout: Duration::from_secs(75),
        },
    }
}

pub(super) fn event(peer: PeerId, event: Event) -> Effect {
    Effect::Scheduler { peer, event }
}

pub(super) fn subscribed(peer: PeerId) -> Effect {
    let subscribed = Event::Subscribed {
        framework: framework(),
        master: MasterId::of("m", 1).unwrap(),
        epoch: 1,
        heartbeat: Duration::from_secs(15),
        domain: None,
    };
    event(peer, subscribed)
}

pub(super) fn offer(n: u32, resources: &str) -> Offer {
    let id = OfferId::new(&format!("m-O{n}")).unwrap();
    Offer::new(id, framework(), agent(), bag(resources))
}

pub(super) fn offers(offers: &[&Offer]) -> Effect {
    let offers = offers.iter().copied().cloned().collect();
    event(OWNER, Event::Offers(offers))
}

/// A task that takes all of an offer.
pub(super) fn task(offer: &Offer) -> TaskInfo {
    let id = TaskId::new(&format!("{}-task", offer.id)).unwrap();
    offer.task(id, offer.resources.clone(), CommandInfo::shell("true"))
}

pub(super) fn accept(peer: PeerId, offer: &Offer) -> Input {
    let offers = vec![offer.id.clone()];
    let operations = vec![Operation::Launch(vec![task(offer)])];
    let refuse = None;
    let call = Call::Accept {
        offers,
        operations,
        refuse,
    };
    Input::Scheduler { peer, call }
}

pub(super) fn run(task: &TaskInfo) -> Effect {
    Effect::Agent {
        peer: AGENT,
        message: ToAgent::RunTask {
            framework: framework(),
            role: Role::any(),
            task: task.clone(),
            starts_executor: task.executor.is_some(),
        },
    }
}

pub(super) fn update(task: &TaskInfo, state: TaskState) -> Input {
    let status = TaskStatus::new(task.id.clone(), state, Source::Agent, Time::ZERO);
    let (framework, latest) = (framework(), state);
    let message = ToMaster::Update {
        framework,
        status,
        latest,
    };
    let peer = AGENT;
    Input::Agent { peer, message }
}
