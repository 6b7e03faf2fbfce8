//! All that listens to what the master hears and wants, in one life of it.
//!
//! Deliberately not here: what is looked at of several nodes together ([`super`]).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::answers::Answers;
use super::drains::Drains;
use super::identity::Removed;
use super::kills::Asked;
use super::ledger::Ledger;
use super::losses::Losses;
use super::maintenance::Service;
use super::news::News;
use super::offers::DeadOffers;
use super::promises::Promises;
use super::sessions::Sessions;
use super::turns::Turns;
use super::vacating::Questions;
use super::wishes::Heard;
use super::{Broken, conservation};
use crate::ids::{AgentId, FrameworkId, OfferId, PeerId};
use crate::machine::Output;
use crate::master::{self, Master};
use crate::protocol::framework::Wishes;
use crate::registry::{Registry, RegistryOp};
use crate::sim::dials::Dials;
use crate::sim::lies::Live;
use crate::sim::options::Checking;
use crate::sim::property::Property;
use crate::sim::world::Totals;
use crate::time::Time;

/// Whoever listens to what the master hears and wants, in one life of it.
#[derive(Debug)]
pub(in crate::sim) struct Watch {
    checking: Checking,
    dials: Dials,
    pub(super) ledger: Ledger,
    offers: DeadOffers,
    sessions: Sessions,
    pub(super) answers: Answers,
    removed: Removed,
    kills: Asked,
    news: News,
    losses: Losses,
    service: Service,
    pub(super) questions: Questions,
    promises: Promises,
    drains: Drains,
    turns: Turns,
    wishes: Heard,
}

impl Watch {
    /// Begins with the master and its registry; `totals` is what each agent is.
    pub(in crate::sim) fn new(
        checking: Checking,
        dials: Dials,
        totals: Arc<Totals>,
        registry: Registry,
    ) -> Self {
        let (cycle, bounds_offers) = (dials.cycle(), dials.bounds_offers());
        let waits = dials.holds_calls_up();
        Self {
            checking,
            dials,
            ledger: Ledger::new(totals, registry),
            offers: DeadOffers::default(),
            sessions: Sessions::default(),
            answers: Answers::new(waits),
            removed: Removed::default(),
            kills: Asked::default(),
            news: News::default(),
            losses: Losses::default(),
            service: Service::default(),
            questions: Questions::default(),
            promises: Promises::new(cycle, bounds_offers),
            drains: Drains::default(),
            turns: Turns::default(),
            wishes: Heard::new(waits),
        }
    }

    /// Begins anew with another master and its registry.
    pub(in crate::sim) fn next(&mut self, totals: Arc<Totals>, registry: Registry) {
        let removed = core::mem::take(&mut self.removed).next(&registry);
        *self = Self {
            removed,
            ..Self::new(self.checking, self.dials.clone(), totals, registry)
        };
    }

    /// The master, which may let calls wait, is told something.
    pub(in crate::sim) fn told(&mut self, input: master::Input) {
        if let Some(input) = self.turns.told(input) {
            self.hears(&input);
        }
    }

    /// Sees what the master has heard of what waited.
    pub(in crate::sim) fn turned(&mut self, master: &Master) {
        for input in self.turns.heard(master) {
            self.hears(&input);
        }
    }

    /// Sees what the master is about to hear.
    pub(in crate::sim) fn hears(&mut self, input: &master::Input) {
        if self.checking != Checking::Off {
            self.offers.hears(input, &self.ledger);
            self.kills.hears(input, &self.ledger);
            self.news.hears(input, &self.ledger);
            self.promises.hears(input, &self.ledger);
            self.wishes.hears(input, &self.ledger);
            self.ledger.hears(input);
            self.sessions.hears(input);
            self.answers.hears(input);
            self.service.hears(input);
            self.questions.hears(input);
        }
    }

    /// Sees what the master wants.
    pub(in crate::sim) fn saw(
        &mut self,
        master: &Master,
        output: &Output<RegistryOp, master::Effect>,
    ) {
        self.turned(master);
        if self.checking == Checking::Off {
            return;
        }
        match output {
            Output::Persist(op) => {
                self.losses.wrote(op, &self.ledger);
                self.ledger.wrote(op);
                self.removed.wrote(op);
                self.news.wrote(op);
                self.service.wrote();
                self.drains.wrote(op);
                self.wishes.wrote(op);
            }
            Output::Effect(effect) | Output::Free(effect) => {
                self.promises.saw(effect, &self.ledger);
                self.ledger.saw(effect);
                self.offers.saw(effect);
                self.wishes.saw(effect, &self.ledger);
                self.sessions.saw(effect);
                self.answers.saw(effect);
                self.removed.saw(effect);
                self.kills.saw(effect);
                self.news.saw(effect, &self.ledger);
                self.losses.saw(effect);
                self.drains.saw(effect, &self.ledger);
                let registry = self.ledger.registry();
                self.service.saw(effect, registry);
                self.questions.saw(effect, registry);
            }
        }
    }

    /// Returns whether a framework is subscribed over a connection.
    pub(super) fn is_subscribed(&self, peer: PeerId) -> bool {
        self.ledger.framework_of(peer).is_some()
    }

    /// Returns whether an offer stands that was made to this peer.
    pub(super) fn is_good(&self, peer: PeerId, offer: &OfferId) -> bool {
        self.ledger.is_good(peer, offer)
    }

    /// Returns which agent is registered over a connection.
    pub(in crate::sim) fn agent_of(&self, peer: PeerId) -> Option<AgentId> {
        self.ledger.peers.get(&peer).cloned()
    }

    /// Returns whether no framework is away.
    pub(super) fn all_subscribed(&self) -> bool {
        let mut all = self.ledger.registry().frameworks();
        all.all(|(id, _)| self.ledger.is_subscribed(id))
    }

    /// Checks that drains go on.
    pub(super) fn check_drains(
        &mut self,
        now: Time,
        is_empty: impl Fn(&AgentId) -> bool,
    ) -> Result<(), Broken> {
        self.drains.check(now, &self.ledger, is_empty)
    }

    /// Lists the agents that are admitted.
    pub(in crate::sim) fn agents(&self) -> Vec<AgentId> {
        let agents = self.ledger.registry().agents();
        agents.map(|(id, _)| id.clone()).collect()
    }

    /// Returns which agent has a name in the network.
    pub(in crate::sim) fn bound_to(&self, name: &str) -> Option<AgentId> {
        self.ledger.registry().bound_to(name).cloned()
    }

    /// Returns whether it is certain whose a framework is.
    pub(in crate::sim) fn is_vouched_for(&self, framework: &FrameworkId) -> bool {
        let enrolled = self.ledger.registry().framework(framework);
        enrolled.is_some_and(|it| it.vouched)
    }

    /// Lists the tasks that are not over, each with its agent.
    pub(in crate::sim) fn live(&self) -> Vec<Live> {
        let all = self.ledger.tasks.iter();
        let all = all.flat_map(|(of, tasks)| tasks.iter().map(move |(id, task)| (of, id, task)));
        let live = all.filter(|(_, _, task)| !task.state.is_terminal());
        live.map(|(of, id, task)| (of.clone(), id.clone(), task.agent.clone()))
            .collect()
    }

    /// Returns what a framework wants, as far as the master has heard.
    pub(super) fn wishes_of(&self, framework: &FrameworkId) -> Option<&Wishes> {
        self.wishes.of(framework)
    }

    /// Says what was asked and not answered, when nobody is awaited.
    pub(in crate::sim) fn unanswered(&self) -> Option<String> {
        self.answers.open()
    }

    /// Says what a master has said itself that one of these frameworks has not confirmed.
    pub(in crate::sim) fn unconfirmed(
        &self,
        is_there: impl Fn(&FrameworkId) -> bool,
    ) -> Option<String> {
        self.news.open(is_there)
    }

    /// Says what should not have been.
    pub(super) fn check(&mut self, now: Time, master: Option<&Master>) -> Result<(), Broken> {
        self.ledger.check()?;
        if let Some(master) = master {
            let booked = conservation::check_step(&mut self.ledger, master);
            booked.map_err(|problem| (Property::Conservation, problem))?;
            let is_recovering = || master.allocator().stats().recovering;
            self.promises.check(now, &self.ledger, is_recovering)?;
        }
        self.kills.check(&self.ledger)?;
        self.losses.check()?;
        self.offers.check()?;
        self.removed.check()?;
        self.service.check(self.ledger.registry())?;
        self.questions.check(self.ledger.registry())?;
        self.wishes.check(&self.ledger)?;
        self.sessions.check()
    }
}
