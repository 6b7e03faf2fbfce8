//! A master, and agents and frameworks around it that do the least that keeps it busy.
//!
//! Only the master is timed: inputs are made and outputs read while its clock stands. What it
//! writes down counts as durable at once. Deliberately not here: bytes on the wire, and machines of
//! agents and schedulers; the simulator has those.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use tepui_core::allocator::drf::{Drf, Options};
use tepui_core::auth::{PeerRole, Principal};
use tepui_core::ids::{AgentId, FrameworkId, MasterId, PeerId, RequestId, TaskId, UpdateId};
use tepui_core::machine::{Machine, Outbox, Output};
use tepui_core::master::{Config, Effect, Input, Master};
use tepui_core::protocol::agent::{ToAgent, ToMaster};
use tepui_core::protocol::events::Version;
use tepui_core::protocol::framework::{FrameworkInfo, Wishes};
use tepui_core::protocol::node::AgentInfo;
use tepui_core::protocol::offer::{Offer, Operation};
use tepui_core::protocol::operator::{self, Answer};
use tepui_core::protocol::scheduler::{Call, Event};
use tepui_core::protocol::status::{Source, TaskState, TaskStatus};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::registry::{Registry, RegistryOp};
use tepui_core::resources::{Quantities, Resources};
use tepui_core::time::Time;

/// What each agent has.
const TOTAL: &str = "cpus:16;mem:65536;disk:1000000;ports:[31000-32000]";
/// What each task takes.
const NEEDS: &str = "cpus:1;mem:1024";
/// How long what is declined stays declined.
const LONG: Duration = Duration::from_secs(3_600);
/// How many rounds without a word are the end: longer than the allocator waits.
const QUIET: u32 = 3_000;
/// How much later each round of inputs comes.
const STEP: Duration = Duration::from_millis(1);

/// A master at work.
pub(super) struct Stage {
    pub(super) master: Master,
    pub(super) now: Time,
    /// How long the master has worked, on the processor.
    pub(super) spent: Duration,
    out: Outbox<RegistryOp, Effect>,
    inbox: VecDeque<Input>,
    agents: u64,
    /// By number, once they are known.
    ids: Vec<Option<AgentId>>,
    needs: Resources,
    /// How many tasks go into one offer.
    pub(super) per_offer: usize,
    /// How many are still to be launched.
    pub(super) to_launch: usize,
    launched: u64,
    updates: u128,
    /// How many have ended, and the framework has said that it knows.
    pub(super) finished: usize,
    /// How many offers came.
    pub(super) offered: usize,
    /// How many events an operator was told.
    pub(super) events: usize,
    /// Whether frameworks keep their offers until they are told to use them.
    pub(super) holds: bool,
    /// Which they have, and by which connection.
    held: VecDeque<(PeerId, Offer)>,
    /// Whether accepts are timed one by one.
    pub(super) keeps_accepts: bool,
    /// How long each accept took, by the clock.
    pub(super) accepts: Vec<Duration>,
}

/// Returns how long this thread has been on the processor.
pub(super) fn on_processor() -> Duration {
    let id = ClockId::CLOCK_THREAD_CPUTIME_ID;
    clock_gettime(id).expect("every thread has one").into()
}

fn is_accept(input: &Input) -> bool {
    matches!(
        input,
        Input::Scheduler {
            call: Call::Accept { .. },
            ..
        }
    )
}

/// Returns whether this comes however idle a cluster is.
fn is_sign_of_life(effect: &Effect) -> bool {
    let (Effect::Agent {
        message: ToAgent::Ping,
        ..
    }
    | Effect::Scheduler {
        event: Event::Heartbeat,
        ..
    }) = effect
    else {
        return false;
    };
    true
}

/// The connection of an operator; it comes after all others.
const OPERATOR: PeerId = PeerId(1 << 41);

/// Returns the connection of an agent.
pub(super) const fn agent_peer(n: u64) -> PeerId {
    PeerId(1 + n)
}

/// Returns the connection of a framework; they come after all agents.
const fn framework_peer(n: u64) -> PeerId {
    PeerId((1 << 40) + n)
}

/// Describes an agent.
pub(super) fn agent_info(n: u64) -> AgentInfo {
    let total = Resources::parse(TOTAL).expect("they are well-formed");
    AgentInfo::new(format!("host-{n}"), format!("host-{n}:5051"), total)
}

/// Says under which name an agent comes.
pub(super) fn agent_name(n: u64) -> String {
    format!("a{n}")
}

/// Returns what a task takes.
pub(super) fn needs() -> Resources {
    Resources::parse(NEEDS).expect("they are well-formed")
}

impl Stage {
    /// Begins a leadership over what earlier ones have left.
    pub(super) fn recover(epoch: u64, registry: Registry, agents: u64) -> Self {
        let id = MasterId::of("bench", epoch).expect("it is short");
        let mut out = Outbox::new();
        let now = Time::from_micros(1_000_000 * epoch);
        let allocator = Box::new(Drf::new(Options::default()));
        let config = Config::new(id, epoch, 7);
        let begun = on_processor();
        let master = Master::recover(config, registry, allocator, now, &mut out);
        let spent = on_processor() - begun;
        Self {
            master,
            now,
            spent,
            out,
            inbox: VecDeque::new(),
            agents,
            ids: (0..agents).map(|_| None).collect(),
            needs: needs(),
            per_offer: 1,
            to_launch: 0,
            launched: 0,
            updates: 0,
            finished: 0,
            offered: 0,
            events: 0,
            holds: false,
            held: VecDeque::new(),
            keeps_accepts: false,
            accepts: Vec::new(),
        }
    }

    /// Has a peer connect.
    pub(super) fn connect(&mut self, peer: PeerId, role: PeerRole, name: String) {
        let principal = Principal { role, name };
        self.inbox.push_back(Input::Connected { peer, principal });
    }

    /// Has an agent speak.
    pub(super) fn agent_says(&mut self, peer: PeerId, message: ToMaster) {
        self.inbox.push_back(Input::Agent { peer, message });
    }

    /// Has all agents register.
    pub(super) fn register_agents(&mut self) {
        for n in 0..self.agents {
            let agent = agent_info(n);
            self.connect(agent_peer(n), PeerRole::Agent, agent_name(n));
            self.agent_says(agent_peer(n), ToMaster::Register { agent });
        }
    }

    /// Has frameworks subscribe, under their ids if they have any.
    pub(super) fn subscribe(&mut self, frameworks: impl Iterator<Item = FrameworkInfo>) {
        for (n, framework) in (0..).zip(frameworks) {
            let peer = framework_peer(n);
            self.connect(peer, PeerRole::Framework, format!("f{n}"));
            let wishes = Wishes::default();
            let call = Call::Subscribe { framework, wishes };
            self.inbox.push_back(Input::Scheduler { peer, call });
        }
    }

    /// Goes on until nobody has anything to say, or `is_done`.
    pub(super) fn run(&mut self, is_done: impl Fn(&Self) -> bool) {
        let mut idle = 0;
        while !is_done(self) && idle < QUIET {
            self.now = self.now + STEP;
            idle = if self.round() { 0 } else { idle + 1 };
        }
    }

    /// Hands over what has come, at once.
    pub(super) fn run_once(&mut self) {
        self.round();
    }

    /// Hands over what has come, and reads the answers. Returns whether anything was said that is
    /// not said anyway.
    fn round(&mut self) -> bool {
        let inputs = std::mem::take(&mut self.inbox);
        let begun = on_processor();
        for input in inputs {
            let is_timed = self.keeps_accepts && is_accept(&input);
            let at = is_timed.then(Instant::now);
            self.master.handle(self.now, input, &mut self.out);
            if let Some(at) = at {
                self.accepts.push(at.elapsed());
            }
        }
        self.master.tick(self.now, &mut self.out);
        self.spent += on_processor() - begun;
        let mut is_busy = false;
        let outputs: Vec<_> = self.out.drain().collect();
        for output in outputs {
            match output {
                Output::Persist(_) => {}
                Output::Effect(effect) | Output::Free(effect) => {
                    is_busy |= !is_sign_of_life(&effect);
                    self.carry_out(effect);
                }
            }
        }
        is_busy
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Agent { peer, message } => self.at_agent(peer, message),
            Effect::Scheduler { peer, event } => self.at_framework(peer, event),
            Effect::Respond { response, .. } => self.at_operator(response.answer),
            Effect::Disconnect { reason, .. } => panic!("the master disconnects: {reason}"),
            Effect::Resign { reason } => panic!("the master resigns: {reason}"),
        }
    }

    /// Has an operator follow what happens.
    pub(super) fn watch(&mut self) {
        self.connect(OPERATOR, PeerRole::Operator, "o".into());
        self.ask_for_events(None);
    }

    fn ask_for_events(&mut self, after: Option<Version>) {
        let (id, call) = (RequestId(1), operator::Call::WatchAll { after });
        let request = operator::Request {
            id,
            call,
            after: None,
        };
        let peer = OPERATOR;
        self.inbox.push_back(Input::Operator { peer, request });
    }

    fn at_operator(&mut self, answer: Answer) {
        let Answer::Events(batch) = answer else {
            panic!("an operator asked for events: {answer:?}");
        };
        self.events += batch.events.len();
        self.ask_for_events(Some(batch.upto()));
    }

    fn at_agent(&mut self, peer: PeerId, message: ToAgent) {
        if let ToAgent::Registered { id, .. } | ToAgent::Reregistered { id, .. } = message {
            let n = usize::try_from(peer.0 - 1).expect("agents are few");
            self.ids[n] = Some(id);
        } else if message == ToAgent::Ping {
            self.agent_says(peer, ToMaster::Pong);
        } else if let ToAgent::RunTask {
            framework, task, ..
        } = message
        {
            self.news(peer, framework, task.id, TaskState::Running);
        } else if let ToAgent::Acknowledge {
            framework,
            task,
            update,
        } = message
        {
            // Every other update says that a task runs.
            if update.0 % 2 == 0 {
                self.news(peer, framework, task, TaskState::Finished);
            } else {
                self.finished += 1;
            }
        } else if !matches!(message, ToAgent::UpdateFramework(_)) {
            panic!("nobody asked an agent for {message:?}");
        }
    }

    /// Has an agent say how a task is.
    pub(super) fn news(
        &mut self,
        peer: PeerId,
        framework: FrameworkId,
        task: TaskId,
        state: TaskState,
    ) {
        let is_end = u128::from(state.is_terminal());
        self.updates += 2;
        let update = UpdateId(self.updates + is_end);
        let n = usize::try_from(peer.0 - 1).expect("agents are few");
        let mut status = TaskStatus::new(task, state, Source::Agent, self.now);
        status.agent = self.ids[n].clone();
        status.update = Some(update);
        let message = ToMaster::Update {
            framework,
            status,
            latest: state,
        };
        self.agent_says(peer, message);
    }

    fn at_framework(&mut self, peer: PeerId, event: Event) {
        if let Event::Offers(offers) = event {
            self.offered += offers.len();
            self.held
                .extend(offers.into_iter().map(|offer| (peer, offer)));
            while !self.holds && self.use_first() {}
        } else if let Event::Update(status) = event {
            let (Some(agent), Some(update)) = (&status.agent, status.update) else {
                panic!("the master does not run a task: {status:?}");
            };
            let (agent, task) = (agent.clone(), status.task);
            let call = Call::Acknowledge {
                agent,
                task,
                update,
            };
            self.inbox.push_back(Input::Scheduler { peer, call });
        } else if !matches!(event, Event::Subscribed { .. } | Event::Heartbeat) {
            panic!("nobody asked a framework for {event:?}");
        }
    }

    /// Has a framework run one task of an offer that it holds.
    pub(super) fn use_one(&mut self) {
        self.to_launch = 1;
        assert!(self.use_first(), "offers are held");
    }

    /// Has the offer that came first answered, if there is one.
    fn use_first(&mut self) -> bool {
        let Some((peer, offer)) = self.held.pop_front() else {
            return false;
        };
        let call = self.answer(&offer);
        self.inbox.push_back(Input::Scheduler { peer, call });
        true
    }

    fn answer(&mut self, offer: &Offer) -> Call {
        let offers = vec![offer.id.clone()];
        // Each takes one core, and less than a sixteenth of the rest.
        let cores = Quantities::from(&offer.resources).amount("cpus");
        let cores = usize::try_from(cores.thousandths() / 1_000).expect("not below zero");
        let count = self.per_offer.min(self.to_launch).min(cores);
        if count == 0 {
            let refuse = Some(LONG);
            return Call::Decline { offers, refuse };
        }
        self.to_launch -= count;
        let tasks = (0..count).map(|_| {
            self.launched += 1;
            let id = TaskId::new(&format!("t{}", self.launched)).expect("it is short");
            // Each task comes with a bag of its own, as it does when it is decoded.
            let needs: Vec<_> = self.needs.iter().cloned().collect();
            let needs = Resources::try_from(needs).expect("they are a bag already");
            offer.task(id, needs, CommandInfo::shell("exit 0"))
        });
        Call::Accept {
            offers,
            operations: vec![Operation::Launch(tasks.collect())],
            refuse: Some(Duration::ZERO),
        }
    }
}
