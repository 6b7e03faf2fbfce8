//! A master with two agents, two frameworks and an operator, of which one framework has offers and
//! a task; and what is compared of it.

use std::time::Duration;

use tepui_core::allocator::drf::{Drf, Options};
use tepui_core::auth::{PeerRole, Principal};
use tepui_core::ids::{AgentId, FrameworkId, MasterId, PeerId, RequestId, TaskId};
use tepui_core::machine::{Machine, Outbox, Output};
use tepui_core::master::{Config, Effect, Input, Master};
use tepui_core::protocol::agent::ToMaster;
use tepui_core::protocol::framework::{FrameworkInfo, Wishes};
use tepui_core::protocol::node::AgentInfo;
use tepui_core::protocol::offer::{Offer, Operation};
use tepui_core::protocol::operator;
use tepui_core::protocol::scheduler::{Call, Event};
use tepui_core::protocol::task::{CommandInfo, TaskInfo};
use tepui_core::registry::{Registry, RegistryOp};
use tepui_core::resources::Resources;
use tepui_core::roles::Role;
use tepui_core::time::Time;

pub(crate) const AGENT: PeerId = PeerId(1);
pub(crate) const OTHER_AGENT: PeerId = PeerId(2);
/// Has offers of both agents, and a task called `runs`.
pub(crate) const FRAMEWORK: PeerId = PeerId(3);
/// Has one offer.
pub(crate) const OTHER_FRAMEWORK: PeerId = PeerId(4);
pub(crate) const OPERATOR: PeerId = PeerId(5);
/// A framework's certificate, and not a word so far.
pub(crate) const SILENT: PeerId = PeerId(6);
/// An agent's certificate, and not a word so far.
pub(crate) const NEW_AGENT: PeerId = PeerId(7);

pub(crate) struct Stage {
    pub(crate) master: Master,
    pub(crate) now: Time,
    out: Outbox<RegistryOp, Effect>,
    /// What frameworks were offered and still have.
    offers: Vec<(PeerId, Offer)>,
}

pub(crate) fn resources(text: &str) -> Resources {
    Resources::parse(text).unwrap()
}

pub(crate) fn master_id() -> MasterId {
    MasterId::of("rio", 1).unwrap()
}

pub(crate) fn agent_id(n: u64) -> AgentId {
    AgentId::numbered(&master_id(), n)
}

pub(crate) fn framework_id(n: u64) -> FrameworkId {
    FrameworkId::numbered(&master_id(), n)
}

pub(crate) fn task_id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

pub(crate) fn agent_info() -> AgentInfo {
    AgentInfo::new(
        "host",
        "host:5051",
        resources("cpus:8;mem:1024;ports:[1-9]"),
    )
}

pub(crate) fn framework_info(name: &str) -> FrameworkInfo {
    FrameworkInfo {
        roles: vec![Role::new("web").unwrap()],
        failover_timeout: Duration::from_secs(60),
        ..FrameworkInfo::new(name)
    }
}

/// Subscribes with no wishes.
pub(crate) fn subscribe(framework: FrameworkInfo) -> Call {
    let wishes = Wishes::default();
    Call::Subscribe { framework, wishes }
}

/// A task that the first agent could run.
pub(crate) fn task(id: &str) -> TaskInfo {
    TaskInfo {
        command: Some(CommandInfo::shell("true")),
        ..TaskInfo::new(task_id(id), agent_id(0), resources("cpus:1;mem:32"))
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let mut out = Outbox::new();
        let now = Time::from_micros(1_000_000);
        let config = Config::new(master_id(), 1, 7);
        let allocator = Box::new(Drf::new(Options::default()));
        let master = Master::recover(config, Registry::default(), allocator, now, &mut out);
        let mut stage = Self {
            master,
            now,
            out,
            offers: Vec::new(),
        };
        stage.read();
        for (peer, role, name) in [
            (AGENT, PeerRole::Agent, "a"),
            (OTHER_AGENT, PeerRole::Agent, "b"),
            (FRAMEWORK, PeerRole::Framework, "f"),
            (OTHER_FRAMEWORK, PeerRole::Framework, "g"),
            (OPERATOR, PeerRole::Operator, "o"),
            (SILENT, PeerRole::Framework, "s"),
            (NEW_AGENT, PeerRole::Agent, "n"),
        ] {
            let name = name.into();
            let principal = Principal { role, name };
            stage.input(Input::Connected { peer, principal });
        }
        for peer in [AGENT, OTHER_AGENT] {
            let agent = agent_info();
            stage.input(Input::Agent {
                peer,
                message: ToMaster::Register { agent },
            });
        }
        let framework = framework_info("f");
        stage.call(FRAMEWORK, subscribe(framework));
        stage.pass();
        let offer = stage.offer(FRAMEWORK, 0);
        let operations = vec![Operation::Launch(vec![task("runs")])];
        stage.call(
            FRAMEWORK,
            Call::Accept {
                offers: vec![offer.id],
                operations,
                refuse: Some(Duration::ZERO),
            },
        );
        stage.pass();
        // Half of what the first one has goes to the second.
        let offer = stage.offer(FRAMEWORK, 1);
        let framework = framework_info("g");
        stage.call(OTHER_FRAMEWORK, subscribe(framework));
        stage.call(
            FRAMEWORK,
            Call::Decline {
                offers: vec![offer.id],
                refuse: Some(Duration::from_secs(600)),
            },
        );
        stage.pass();
        assert_eq!(stage.offers.len(), 2);
        // From now on its version moves with what operators are told, and with nothing else.
        stage.ask(operator::Call::Watch { after: None });
        stage
    }

    /// Returns the offer that a framework has of an agent.
    pub(crate) fn offer(&self, peer: PeerId, agent: u64) -> Offer {
        let mut offers = self.offers.iter();
        let found = offers.find(|(to, offer)| *to == peer && offer.agent == agent_id(agent));
        found.expect("it has one").1.clone()
    }

    /// Has the allocator look at everything, at the end of its interval.
    pub(crate) fn pass(&mut self) {
        self.now = self.now + Duration::from_secs(1);
        self.master.tick(self.now, &mut self.out);
        self.read();
    }

    /// Returns all that is known of what the master is.
    pub(crate) fn state(&self) -> String {
        let (view, registry) = (self.master.view(), self.master.registry());
        let allocator = self.master.allocator();
        let (stats, roles) = (allocator.stats(), allocator.roles());
        let deadline = self.master.deadline();
        // What was refused is remembered until that is confirmed.
        let mut filled = self.master.filled();
        filled.retain(|it| !it.what.ends_with("refusals") && !it.what.starts_with("refused"));
        format!("{view:?}\n{registry:?}\n{stats:?}\n{roles:?}\n{filled:?}\n{deadline:?}")
    }

    /// Hands something over, and returns what comes of it.
    pub(crate) fn input(&mut self, input: Input) -> Vec<Output<RegistryOp, Effect>> {
        self.master.handle(self.now, input, &mut self.out);
        self.read()
    }

    pub(crate) fn call(&mut self, peer: PeerId, call: Call) -> Vec<Output<RegistryOp, Effect>> {
        self.input(Input::Scheduler { peer, call })
    }

    pub(crate) fn message(
        &mut self,
        peer: PeerId,
        message: ToMaster,
    ) -> Vec<Output<RegistryOp, Effect>> {
        self.input(Input::Agent { peer, message })
    }

    /// Has the operator ask, and returns the answer.
    pub(crate) fn ask(&mut self, call: operator::Call) -> operator::Answer {
        let request = operator::Request {
            id: RequestId(7),
            call,
            after: None,
        };
        let peer = OPERATOR;
        let outputs = self.input(Input::Operator { peer, request });
        let answers = outputs.into_iter().filter_map(|output| {
            let Output::Effect(Effect::Respond { response, .. }) = output else {
                return None;
            };
            Some(response.answer)
        });
        let answers: Vec<_> = answers.collect();
        let [answer] = <[_; 1]>::try_from(answers).expect("one answer");
        answer
    }

    fn read(&mut self) -> Vec<Output<RegistryOp, Effect>> {
        let outputs: Vec<_> = self.out.drain().collect();
        for output in &outputs {
            let Output::Effect(Effect::Scheduler { peer, event }) = output else {
                continue;
            };
            if let Event::Offers(offers) = event {
                let offers = offers.iter().map(|offer| (*peer, offer.clone()));
                self.offers.extend(offers);
            }
        }
        let view = self.master.view();
        let live: Vec<_> = view.offers().into_iter().map(|offer| offer.id).collect();
        self.offers.retain(|(_, offer)| live.contains(&offer.id));
        outputs
    }
}
