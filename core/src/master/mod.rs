//! The master: shares agents between frameworks.
//!
//! One machine. What it hears comes in as [`Input`], from peers whose identity the transport has
//! proved; what it decides goes out as [`Effect`], behind what it must remember ([`RegistryOp`]).
//! The allocator is a machine inside it: facts about agents and frameworks go in after each input,
//! decisions come out and become offers.
//!
//! | file | what |
//! |---|---|
//! | `interface` | what comes in and goes out, and the configuration |
//! | `peers`, `agents`, `frameworks`, `tasks`, `executors`, `holdings` | tables |
//! | `kills`, `asks`, `offers`, `chains`, `operations`, `permits` | more tables |
//! | `on_agent`, `on_scheduler`, `on_operator` | reactions to what peers say |
//! | `quotas`, `wishing`, `operating`, `messages` | more of them |
//! | `plan`, `accept`, `converting`, `disks` | what becomes of offers, and how it is carried out |
//! | `subscribing`, `merging`, `reregister` | other decisions, and how they are carried out |
//! | `offering`, `updates`, `feedback`, `reconcile` | what follows: offers, news, answers |
//! | `reachability`, `standing`, `drain` | who is there, and what follows if not |
//! | `lingering` | what still runs of frameworks that are over |
//! | `maintenance`, `vacating`, `inverse_offers` | machines that go out of service, and who is asked to leave |
//! | `view`, `inspecting`, `waiting`, `publishing` | what operators see: all of it, and what changes |
//! | `filled`, `invariants` | how full tables are, and what must hold |
//!
//! Deliberately not here: access rules.

mod accept;
mod agents;
mod asks;
mod chains;
mod converting;
mod disks;
mod drain;
mod executors;
mod feedback;
mod filled;
mod frameworks;
mod holdings;
mod inspecting;
mod interface;
mod invariants;
mod inverse_offers;
mod kills;
mod lingering;
mod maintenance;
mod merging;
mod messages;
mod offering;
mod offers;
mod on_agent;
mod on_operator;
mod on_scheduler;
mod operating;
mod operations;
mod peers;
mod permits;
mod plan;
mod publishing;
mod quotas;
mod reachability;
mod reconcile;
mod reregister;
mod roles;
mod standing;
mod subscribing;
mod tasks;
#[cfg(test)]
mod tests;
mod throttle;
mod updates;
mod vacating;
mod verdicts;
mod view;
mod waiting;
mod wishing;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use tracing::debug;

use crate::allocator::{Allocator, Change, Decision};
use crate::auth::PeerRole;
use crate::feed::{Feed, Keeps};
use crate::ids::PeerId;
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::machine::{Durable, Machine, Never, Outbox};
use crate::mutant::entropy;
use crate::protocol::agent::ToAgent;
use crate::protocol::events::Row;
use crate::protocol::hello::CloseReason;
use crate::protocol::scheduler::Event;
use crate::registry::{Registry, RegistryOp};
use crate::rng::Rng;
use crate::time::Time;
use crate::timers::Timers;

use agents::Agents;
use asks::Asks;
use frameworks::Frameworks;
use inverse_offers::InverseOffers;
use kills::Kills;
use offers::Offers;
use operations::Operations;
use peers::{Part, Peers};
use permits::Permits;
use quotas::Places;
use roles::Roles;
use tasks::Tasks;
use throttle::Throttle;
use verdicts::Verdicts;
use waiting::Waiting;

pub use interface::{CallRate, CallRates, Config, Effect, Input, Rate};
pub use view::View;

/// What every handler gets: the moment, and where to write.
struct Cx<'a> {
    now: Time,
    out: &'a mut Outbox<RegistryOp, Effect>,
}

impl Cx<'_> {
    fn tell_agent(&mut self, peer: PeerId, message: ToAgent) {
        self.out.emit(Effect::Agent { peer, message });
    }

    fn tell_framework(&mut self, peer: PeerId, event: Event) {
        self.out.emit(Effect::Scheduler { peer, event });
    }
}

/// Whose time has come. What is due follows from the row's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Agent(AgentKey),
    Framework(FrameworkKey),
    /// Agents that are away for too long are given up, those that are gone forgotten.
    Collect,
    /// The first of those who are silent for too long may be given up.
    Permit,
    /// The first call that waits is heard.
    Throttle,
    /// Somebody may be asked again to leave an agent.
    Inverse,
}

/// The master.
pub struct Master {
    config: Config,
    /// When this leadership began.
    elected_at: Time,
    rng: Rng,
    timers: Timers<Timer>,
    registry: Registry,
    allocator: Box<dyn Allocator>,
    /// Facts for the allocator, told when the input is fully processed (OF-20).
    changes: Vec<Change>,
    decisions: Outbox<Never, Decision>,
    peers: Peers,
    agents: Agents,
    frameworks: Frameworks,
    /// What operators have said of roles.
    roles: Roles,
    /// Where all roles stand in lists.
    role_places: Places,
    tasks: Tasks,
    kills: Kills,
    asks: Asks,
    verdicts: Verdicts,
    offers: Offers,
    /// When it is looked for agents to give up or forget.
    collect_at: Time,
    operations: Operations,
    /// Which agents may become unreachable.
    losses: Permits,
    /// When the first of those who wait for a permit gets it.
    permit_at: Option<Time>,
    /// Which calls of frameworks wait for their turn.
    throttle: Throttle,
    throttle_at: Option<Time>,
    /// What frameworks were asked about agents in maintenance.
    inverse_offers: InverseOffers,
    inverse_at: Option<Time>,
    /// Which agents may be removed that stayed away for too long.
    removals: Permits,
    /// How many agents this leadership began to wait for.
    recovered: usize,
    /// What agents have said of tasks and operations that are not theirs.
    strays: u64,
    has_resigned: bool,
    next_agent: u64,
    next_framework: u64,
    /// Numbers from there on that are used up; at most [`limits::ENDED_FRAMEWORKS`].
    used_frameworks: BTreeSet<u64>,
    next_offer: u64,
    /// What operators are told as it happens.
    feed: Feed<Row>,
    /// Who waits for the next of it.
    waiting: Waiting,
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Master")
            .field("config", &self.config)
            .field("agents", &self.agents.len())
            .field("frameworks", &self.frameworks.live())
            .finish_non_exhaustive()
    }
}

impl Master {
    /// Begins a leadership with what earlier ones have left.
    ///
    /// The first record written is the epoch: nobody hears of this leadership before it is durable.
    ///
    /// # Panics
    ///
    /// If the epoch is not higher than the registry's, for ids are only unique within an epoch.
    pub fn recover(
        config: Config,
        registry: Registry,
        allocator: Box<dyn Allocator>,
        now: Time,
        out: &mut Outbox<RegistryOp, Effect>,
    ) -> Self {
        assert!(
            config.epoch > registry.epoch(),
            "epoch {} does not rise above {}",
            config.epoch,
            registry.epoch()
        );
        let mut master = Self {
            elected_at: now,
            rng: Rng::new(config.seed.wrapping_add(entropy())),
            timers: Timers::new(),
            allocator,
            changes: Vec::new(),
            decisions: Outbox::new(),
            peers: Peers::default(),
            agents: Agents::default(),
            frameworks: Frameworks::new(config.bounds),
            roles: Roles::recovered(&registry),
            role_places: Places::default(),
            tasks: Tasks::new(config.bounds),
            kills: Kills::new(config.bounds),
            asks: Asks::new(config.bounds),
            verdicts: Verdicts::new(config.bounds),
            offers: Offers::default(),
            collect_at: now + limits::COLLECTION,
            operations: Operations::new(config.bounds),
            losses: Permits::new(config.unreachable_rate),
            permit_at: None,
            throttle: Throttle::new(&config.call_rates),
            throttle_at: None,
            inverse_offers: InverseOffers::new(config.bounds),
            inverse_at: None,
            removals: Permits::new(config.removal_rate),
            recovered: 0,
            strays: 0,
            has_resigned: false,
            next_agent: 0,
            next_framework: 0,
            used_frameworks: BTreeSet::new(),
            next_offer: 0,
            feed: Feed::new(config.epoch, Keeps::of_master(config.events_kept)),
            waiting: Waiting::default(),
            registry,
            config,
        };
        let cx = &mut Cx { now, out };
        let epoch = master.config.epoch;
        master.persist(cx, RegistryOp::Lead { epoch, at: now });
        master.recover_agents(now);
        master.recover_roles();
        master.recover_frameworks(now);
        master
    }

    /// Returns the durable state, for snapshots of the journal.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the allocator, for its explanations and figures.
    pub fn allocator(&self) -> &dyn Allocator {
        &*self.allocator
    }

    /// Returns how often an agent has spoken of a task or an operation that is not its own, under
    /// this leadership (PR-14). Nothing followed from it.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// Writes a record and applies it at once: nobody outside can tell before it is durable.
    fn persist(&mut self, cx: &mut Cx<'_>, op: RegistryOp) {
        self.registry.apply(&op);
        self.roles.take_in(&self.registry, &op);
        cx.out.persist(op);
    }

    fn take_in(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::Connected { peer, principal } => {
                if !self.peers.insert(peer, principal) {
                    debug!(?peer, "connected twice");
                }
            }
            Input::Disconnected { peer } if self.is_held_up(peer) => {}
            Input::Disconnected { peer } => match self.peers.remove(peer) {
                Some(gone) => self.on_lost(cx, peer, gone.part),
                None => debug!(?peer, "an unknown peer disconnected"),
            },
            Input::Agent { peer, message } => {
                if self.admits(cx, peer, PeerRole::Agent) {
                    self.on_agent(cx, peer, message);
                }
            }
            Input::Scheduler { peer, call } => {
                if self.admits(cx, peer, PeerRole::Framework) {
                    self.hear(cx, peer, call);
                }
            }
            Input::Operator { peer, request } => {
                if self.admits(cx, peer, PeerRole::Operator) {
                    self.on_operator(cx, peer, request);
                }
            }
        }
    }

    /// Returns whether a peer is known and may speak as `role`; it is disconnected if not.
    fn admits(&mut self, cx: &mut Cx<'_>, peer: PeerId, role: PeerRole) -> bool {
        let Some(known) = self.peers.get(peer) else {
            debug!(?peer, "an unknown peer spoke");
            return false;
        };
        if known.principal.role == role {
            return true;
        }
        let reason = format!("{} may not speak as {role}", known.principal);
        self.disconnect(cx, peer, CloseReason::WrongRole, reason);
        false
    }

    /// Closes a connection from our side, and reacts as if it had been lost.
    fn disconnect(&mut self, cx: &mut Cx<'_>, peer: PeerId, close: CloseReason, reason: String) {
        let Some(gone) = self.peers.remove(peer) else {
            return;
        };
        debug!(?peer, %reason, "disconnecting");
        cx.out.emit(Effect::Disconnect {
            peer,
            close,
            reason,
        });
        self.on_lost(cx, peer, gone.part);
    }

    fn on_lost(&mut self, cx: &mut Cx<'_>, peer: PeerId, part: Option<Part>) {
        self.waiting.leave(peer);
        match part {
            Some(Part::Agent(key)) => self.on_agent_lost(cx, key),
            Some(Part::Framework(key)) => self.on_framework_lost(cx, key),
            None => {}
        }
    }

    fn arm_agent(&mut self, key: AgentKey, due: Option<Time>) {
        let row = &mut self.agents[key];
        let before = core::mem::replace(&mut row.due, due);
        self.rearm(Timer::Agent(key), before, due);
    }

    fn arm_framework(&mut self, key: FrameworkKey, due: Option<Time>) {
        let row = &mut self.frameworks[key];
        let before = core::mem::replace(&mut row.due, due);
        self.rearm(Timer::Framework(key), before, due);
    }

    fn rearm(&mut self, timer: Timer, before: Option<Time>, due: Option<Time>) {
        if let Some(at) = before {
            self.timers.disarm(at, timer);
        }
        if let Some(at) = due {
            self.timers.arm(at, timer);
        }
    }

    fn fire(&mut self, cx: &mut Cx<'_>, pass_due: impl Fn(Time) -> bool) {
        // Who is late does first what was due first: a pass that comes before an agent is given up
        // counts on it still, and the offers that it makes come before that is said.
        if let Some(timer) = self.timers.next().filter(|at| *at <= cx.now)
            && !self.has_resigned
            && let Some(pass) = self.allocator.deadline()
            && pass < timer
            && pass_due(pass)
        {
            self.run_pass(cx);
        }
        let mut fired = false;
        while !self.has_resigned
            && let Some((_, timer)) = self.timers.pop_due(cx.now)
        {
            match timer {
                Timer::Agent(key) => self.on_agent_due(cx, key),
                Timer::Framework(key) => self.on_framework_due(cx, key),
                Timer::Collect => self.collect(cx),
                Timer::Permit => self.on_permit(cx),
                Timer::Throttle => self.on_throttle(cx),
                Timer::Inverse => self.on_inverse_due(cx),
            }
            fired = true;
        }
        if self.has_resigned {
            return;
        }
        if fired {
            self.finish_drains(cx);
            // Before anything else happens: what follows may undo what the allocator must see.
            self.settle(cx);
        }
        if self.allocator.deadline().is_some_and(pass_due) {
            self.run_pass(cx);
        }
        self.tell_readers(cx);
    }

    fn run_pass(&mut self, cx: &mut Cx<'_>) {
        self.allocator.tick(cx.now, &mut self.decisions);
        self.settle(cx);
    }
}

impl Machine for Master {
    type Input = Input;
    type Record = RegistryOp;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<RegistryOp, Effect>) {
        let cx = &mut Cx { now, out };
        // A driver takes in many inputs at one moment: a pass that is due just now waits for the
        // tick after them, and does for all.
        self.fire(cx, |at| at < now);
        if self.has_resigned {
            debug!(?input, "resigned: ignored");
            return;
        }
        self.take_in(cx, input);
        self.finish_drains(cx);
        self.settle(cx);
        self.tell_readers(cx);
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<RegistryOp, Effect>) {
        self.fire(&mut Cx { now, out }, |at| at <= now);
    }

    fn deadline(&self) -> Option<Time> {
        if self.has_resigned {
            return None;
        }
        [self.timers.next(), self.allocator.deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}
