//! Drains: told again, over when all ends are confirmed, called off, outlasting masters.

use super::*;
use crate::protocol::node::{DrainConfig, Standing};
use crate::protocol::operation::Conversion;

/// One agent with a task of one framework, and an operator.
struct Busy {
    world: World,
    ann: PeerId,
    peer: PeerId,
    agent: AgentId,
    web: PeerId,
    owner: FrameworkId,
}

fn busy() -> Busy {
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (peer, agent) = world.agent("one", "cpus:4");
    let (web, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:1")]);
    Busy {
        world,
        ann,
        peer,
        agent,
        web,
        owner,
    }
}

const PLAIN: DrainConfig = DrainConfig {
    max_grace: None,
    mark_gone: false,
};

impl Busy {
    /// Gives an order that is carried out; returns what else follows.
    fn order(&mut self, call: operator::Call) -> Vec<Out> {
        let peer = self.ann;
        let request = operator::Request {
            id: RequestId(1),
            call,
            after: None,
        };
        let mut outs = self.world.input(Input::Operator { peer, request });
        let response = operator::Response {
            id: RequestId(1),
            answer: Answer::Updated,
            next: None,
        };
        let last = outs.pop();
        let done = Effect::Respond { peer, response };
        assert_eq!(last, Some(Output::Effect(done)));
        outs
    }

    fn drain(&mut self, config: DrainConfig) -> Vec<Out> {
        let agent = self.agent.clone();
        self.order(operator::Call::Drain { agent, config })
    }

    /// What is offered within a few seconds.
    fn offers(&mut self) -> Vec<Offer> {
        let mut offers = Vec::new();
        for out in self.world.pass(Duration::from_secs(6)) {
            if let Output::Effect(Effect::Scheduler { event, .. }) = out
                && let Event::Offers(made) = event
            {
                offers.extend(made);
            }
        }
        offers
    }

    fn set(&self, standing: Standing) -> Out {
        let (id, at) = (self.agent.clone(), self.world.now);
        Output::Persist(RegistryOp::SetStanding { id, standing, at })
    }

    /// What operators read of since when it is being drained: rows and events tell the same.
    fn drain_since(&self) -> Option<Time> {
        let view = self.world.master.view();
        assert_eq!(view.mirror().agents(), view.agents());
        view.agents()[0].drain_since
    }

    fn wait(&mut self) -> Time {
        self.world.pass(Duration::from_secs(1));
        self.world.now
    }

    fn told(&self, max_grace: Option<Duration>) -> Out {
        let since = self.drain_since().expect("it is drained");
        to_agent(self.peer, ToAgent::Drain { max_grace, since })
    }

    fn standing(&self) -> Standing {
        self.world.master.view().agents()[0].standing
    }

    /// The agent tells that the task was killed.
    fn killed(&mut self) {
        let killed = news("t", TaskState::Killed, &self.agent, 1);
        let outs = self
            .world
            .update(self.peer, &self.owner, killed.clone(), TaskState::Killed);
        assert_eq!(outs, [to_framework(self.web, Event::Update(killed))]);
    }

    /// The framework confirms that; returns what follows beside the agent's hearing of it.
    fn confirmed(&mut self) -> Vec<Out> {
        let call = Call::Acknowledge {
            agent: self.agent.clone(),
            task: task_id("t"),
            update: UpdateId(1),
        };
        let mut outs = self.world.call(self.web, call);
        outs.remove(0);
        outs
    }

    fn come_back(&mut self, tasks: Vec<TaskReport>) -> Vec<Out> {
        self.peer = self.world.connect(PeerRole::Agent, "one");
        let message = reregister(self.agent.clone(), "cpus:4", vec![], tasks);
        let mut outs = self.world.agent_says(self.peer, message);
        outs.remove(0);
        outs
    }

    fn running(&self) -> TaskReport {
        let task = task("t", &self.agent, "cpus:1");
        report(&self.owner, task, TaskState::Running)
    }
}

#[test]
fn an_agent_is_drained_when_the_last_end_is_confirmed() {
    // FW-84, TK-124, TK-125, SM-41, SM-42, PR-12
    let mut t = busy();
    // What is left of the agent, once the refusal that goes with the accept is over.
    let [offer] = <[Offer; 1]>::try_from(t.offers()).unwrap();
    let config = DrainConfig {
        max_grace: Some(Duration::from_secs(30)),
        mark_gone: false,
    };
    let outs = t.drain(config);
    let rescind = to_framework(t.web, Event::Rescind(offer.id));
    let told = t.told(config.max_grace);
    assert_eq!(outs, [t.set(Standing::Draining(config)), rescind, told]);
    t.killed();
    assert_eq!(
        t.standing(),
        Standing::Draining(config),
        "not confirmed yet"
    );
    assert_eq!(t.confirmed(), [t.set(Standing::Drained)]);
    // SM-43: nobody is offered it until it is reactivated.
    assert_eq!(t.offers(), []);
    let agent = t.agent.clone();
    let outs = t.order(operator::Call::Reactivate { agent });
    let undrain = to_agent(t.peer, ToAgent::Undrain);
    assert_eq!(outs, [t.set(Standing::Active), undrain], "or it takes none");
    assert_eq!(t.offers()[0].resources, resources("cpus:4"));
}

#[test]
fn an_agent_that_runs_nothing_is_drained_at_once() {
    // SM-42
    let mut t = busy();
    t.killed();
    t.confirmed();
    let outs = t.drain(PLAIN);
    let (draining, drained) = (Standing::Draining(PLAIN), Standing::Drained);
    assert_eq!(outs, [t.set(draining), t.told(None), t.set(drained)]);
}

#[test]
fn a_drained_agent_is_gone_if_that_is_wanted() {
    // TK-125, SM-20
    let mut t = busy();
    t.drain(DrainConfig {
        mark_gone: true,
        ..PLAIN
    });
    t.killed();
    let outs = t.confirmed();
    let (id, at) = (t.agent.clone(), t.world.now);
    assert_eq!(
        outs[0],
        Output::Persist(RegistryOp::Remove {
            id,
            at,
            by_operator: true
        })
    );
    let told = matches!(
        &outs[1],
        Output::Effect(Effect::Agent { message: ToAgent::Shutdown(_), peer }) if *peer == t.peer
    );
    assert!(told, "{outs:?}");
    assert_eq!(t.world.master.view().agents(), []);
}

#[test]
fn a_drain_is_told_again_and_may_be_changed() {
    // TK-126, TK-124
    let mut t = busy();
    t.drain(PLAIN);
    let sooner = DrainConfig {
        max_grace: Some(Duration::ZERO),
        ..PLAIN
    };
    let outs = t.drain(sooner);
    let draining = t.set(Standing::Draining(sooner));
    assert_eq!(outs, [draining, t.told(sooner.max_grace)]);
    // It is away: what it runs is not known, and it hears again of the drain when it is back.
    t.world.lose(t.peer);
    let outs = t.come_back(vec![t.running()]);
    assert_eq!(outs, [t.told(sooner.max_grace)]);
    // It comes back with nothing, and says that it never had the task.
    t.world.lose(t.peer);
    let outs = t.come_back(vec![]);
    let missing = vec![(t.owner.clone(), task_id("t"))];
    let missing = to_agent(t.peer, ToAgent::Missing(missing));
    assert_eq!(outs, [missing, t.told(sooner.max_grace)]);
    assert_eq!(t.standing(), Standing::Draining(sooner));
}

#[test]
fn the_next_leadership_goes_on_draining() {
    // TK-124: and knows of no task before the agent is back
    let mut t = busy();
    t.drain(PLAIN);
    let registry = t.world.master.registry().clone();
    t.world = World::recovered(2, registry);
    t.world.drain();
    t.ann = t.world.connect(PeerRole::Operator, "ann");
    assert_eq!(t.standing(), Standing::Draining(PLAIN));
    t.web = t.world.connect(PeerRole::Framework, "web");
    t.world.subscribe(t.web, framework_info_of(t.owner.clone()));
    let outs = t.come_back(vec![t.running()]);
    assert_eq!(outs, [t.told(None)]);
    t.killed();
    assert_eq!(t.confirmed(), [t.set(Standing::Drained)]);
    // It stays drained when it comes back, and is not told again.
    t.world.lose(t.peer);
    assert_eq!(t.come_back(vec![]), []);
    assert_eq!(t.standing(), Standing::Drained);
}

#[test]
fn operators_read_since_when_an_agent_is_being_drained() {
    // TK-129
    let mut t = busy();
    assert_eq!(t.drain_since(), None);
    let began = t.wait();
    t.drain(PLAIN);
    assert_eq!(t.drain_since(), Some(began));
    // Ordered again it goes on, and it is over after a while.
    t.wait();
    t.drain(DrainConfig {
        max_grace: Some(Duration::ZERO),
        ..PLAIN
    });
    assert_eq!(t.drain_since(), Some(began));
    t.killed();
    t.confirmed();
    assert_eq!(
        (t.standing(), t.drain_since()),
        (Standing::Drained, Some(began))
    );
    t.wait();
    t.drain(PLAIN);
    assert_eq!(t.drain_since(), Some(began), "it took no tasks meanwhile");
    // Who calls it off ends it, in either way; the next one begins anew.
    for call in [
        operator::Call::Reactivate {
            agent: t.agent.clone(),
        },
        operator::Call::Deactivate {
            agent: t.agent.clone(),
        },
    ] {
        t.order(call);
        assert_eq!(t.drain_since(), None);
        let anew = t.wait();
        t.drain(PLAIN);
        assert_eq!(t.drain_since(), Some(anew));
    }
}

#[test]
fn the_next_leadership_knows_since_when_an_agent_is_being_drained() {
    // TK-129: however late it begins, and whenever the agent is back
    let mut t = busy();
    let began = t.wait();
    t.drain(PLAIN);
    for epoch in [2, 3] {
        let registry = t.world.master.registry().clone();
        assert!(registry.last_time() >= began);
        let bytes = postcard::to_allocvec(&registry).unwrap();
        let registry: Registry = postcard::from_bytes(&bytes).unwrap();
        let config = Config::new(master_id(epoch), epoch, 7);
        let now = t.world.now + Duration::from_secs(100);
        t.world = World::beginning(config, registry, Box::new(Greedy::default()), now);
        t.world.drain();
        assert_eq!(t.drain_since(), Some(began));
        t.come_back(vec![t.running()]);
        assert_eq!(t.drain_since(), Some(began));
    }
}

#[test]
fn a_drain_is_called_off() {
    // TK-126, otherwise than in Mesos: what still runs goes on
    let mut t = busy();
    t.drain(PLAIN);
    let agent = t.agent.clone();
    let outs = t.order(operator::Call::Reactivate { agent });
    let undrain = to_agent(t.peer, ToAgent::Undrain);
    assert_eq!(outs, [t.set(Standing::Active), undrain]);
    t.killed();
    assert_eq!(t.confirmed(), []);
    assert_eq!(t.standing(), Standing::Active);
    let agent = AgentId::new("nobody").unwrap();
    let call = operator::Call::Drain {
        agent,
        config: PLAIN,
    };
    let none = Answer::NotFound("no agent nobody".into());
    assert_eq!(t.world.ask(t.ann, call), none);
}

#[test]
fn a_drain_waits_for_operations() {
    // TK-125
    let mut t = busy();
    t.killed();
    t.confirmed();
    let reserved = resources(r#"cpus(*)<dynamic="eng",principal="ann">:1"#);
    t.order(operator::Call::Convert {
        agent: t.agent.clone(),
        change: Conversion::Reserve(reserved),
    });
    let outs = t.drain(PLAIN);
    assert_eq!(outs, [t.set(Standing::Draining(PLAIN)), t.told(None)]);
    let outs = t.world.agent_says(t.peer, ToMaster::CarriedOut { last: 0 });
    assert_eq!(outs, [], "it has not carried it out");
    let outs = t.world.agent_says(t.peer, ToMaster::CarriedOut { last: 1 });
    let agent = t.agent.clone();
    let settled = Output::Persist(RegistryOp::Settle { agent, last: 1 });
    assert_eq!(outs, [settled, t.set(Standing::Drained)]);
}
