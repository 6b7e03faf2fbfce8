//! Asking frameworks to leave agents whose machines are to be out of service: inverse offers
//! (OF-48 to OF-50, AL-34).
//!
//! Whoever holds something of such an agent, in use or in offers, is asked once, and again some
//! time after an answer, for as long as it holds something; a question that is open when it holds
//! nothing any more is taken back. What it answers operators see; nothing else follows. A framework
//! that comes back, and one that revives, is asked anew; so is everybody when the schedule changes.
//!
//! Deliberately not here: the schedule, and what becomes of machines (`maintenance`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use tracing::debug;

use super::inverse_offers::{InverseKey, Stage};
use super::{Cx, Master, Timer};
use crate::filters::effective_refusal;
use crate::ids::OfferId;
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::maintenance::{InverseOfferView, Leaving};
use crate::protocol::offer::InverseOffer;
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::scheduler::Event;
use crate::protocol::wire::slices;
use crate::resources::Resources;

/// An answer to inverse offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Accepted,
    Declined,
}

impl Master {
    /// Asks those who hold something of agents on which something has changed, and were not asked
    /// or may be asked again.
    pub(super) fn ask_to_leave(&mut self, cx: &mut Cx<'_>) {
        if !self.inverse_offers.is_touched() {
            return;
        }
        let mut asked: BTreeMap<FrameworkKey, Vec<InverseOffer>> = BTreeMap::new();
        for agent in self.inverse_offers.take_touched() {
            let holders = self.holders(agent);
            self.rescind_inverse_of_others(cx, agent, &holders);
            for framework in holders {
                if let Some(offer) = self.inverse_offer(cx, agent, framework) {
                    asked.entry(framework).or_default().push(offer);
                }
            }
        }
        for (framework, offers) in asked {
            let peer = self.frameworks[framework].peer();
            let peer = peer.expect("who is asked is subscribed");
            for offers in slices(offers) {
                cx.tell_framework(peer, Event::InverseOffers(offers));
            }
        }
        self.arm_inverse();
    }

    /// Returns who is to leave an agent, if anybody: those who hold something of it, if its machine
    /// is in the schedule and operators want it to be used (AL-34).
    fn holders(&self, agent: AgentKey) -> BTreeSet<FrameworkKey> {
        let row = self.agents.get(agent);
        if row.is_none_or(|row| row.unavailability.is_none() || !row.is_offered()) {
            return BTreeSet::new();
        }
        let tasks = self.tasks.of_agent(agent).into_iter();
        let booked = tasks.filter(|task| self.tasks[*task].is_booked());
        let using = booked.map(|task| self.tasks[task].framework);
        let executors = self.tasks.custom_executors_on(agent).into_iter();
        let using = using.chain(executors.map(|row| row.framework));
        let offers = self.offers.of_agent(agent).into_iter();
        let offered = offers.filter_map(|offer| Some(self.offers.get(offer)?.framework));
        using.chain(offered).collect()
    }

    /// Makes an inverse offer, unless the framework is away, was asked already, or has answered a
    /// moment ago.
    fn inverse_offer(
        &mut self,
        cx: &Cx<'_>,
        agent: AgentKey,
        framework: FrameworkKey,
    ) -> Option<InverseOffer> {
        self.frameworks[framework].peer()?;
        let host = (agent, &self.agents[agent].id);
        let owner = (framework, &self.frameworks[framework].id);
        let Some(key) = self.inverse_offers.row(host, owner) else {
            debug!("no room to remember who was asked to leave");
            return None;
        };
        if !self.inverse_offers.is_quiet(key) {
            return None;
        }
        let row = &self.agents[agent];
        let offer = InverseOffer {
            id: OfferId::numbered(&self.config.id, self.next_offer),
            framework: self.frameworks[framework].id.clone(),
            agent: row.id.clone(),
            hostname: row.info.hostname.clone(),
            resources: self.used_by(framework, agent),
            unavailability: row.unavailability?,
        };
        self.next_offer += 1;
        let end = self.config.inverse_offer_timeout.map(|time| cx.now + time);
        let stage = Stage::Open(offer.id.clone(), end);
        self.inverse_offers.set_stage(key, stage);
        Some(offer)
    }

    /// Adds up what tasks and executors of a framework use of an agent. What agents claim need not
    /// fit a number; then the sum stays as it was.
    fn used_by(&self, framework: FrameworkKey, agent: AgentKey) -> Resources {
        let tasks = self.tasks.of_agent(agent).into_iter();
        let tasks = tasks.map(|key| &self.tasks[key]);
        let tasks = tasks.filter(|task| task.framework == framework && task.is_booked());
        let tasks = tasks.map(|task| &task.resources);
        let executors = self.tasks.executors_on(framework, agent);
        let mut sum = Resources::new();
        for part in tasks.chain(executors.map(|info| &info.resources)) {
            if let Err(overflow) = sum.add(part) {
                debug!(%overflow, "what is used of an agent");
            }
        }
        sum
    }

    /// Takes in what a framework says to inverse offers (OF-49). Void ones are ignored, as long as
    /// one of them is good.
    pub(super) fn on_leaving(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        offers: &[OfferId],
        answered: Answered,
        refuse: Option<Duration>,
    ) {
        let keys = match self.check_inverse(framework, offers) {
            Ok(keys) => keys,
            Err((reason, message)) => {
                let call = match answered {
                    Answered::Accepted => CallKind::AcceptInverse,
                    Answered::Declined => CallKind::DeclineInverse,
                };
                self.reject(cx, framework, call, reason, message);
                return;
            }
        };
        let leaving = match answered {
            Answered::Accepted => Leaving::Accepted(cx.now),
            Answered::Declined => Leaving::Declined(cx.now),
        };
        let pause = effective_refusal(refuse).unwrap_or_default();
        let until = cx.now + pause.max(limits::INVERSE_PAUSE);
        for key in keys {
            self.inverse_offers.set_leaving(key, leaving);
            self.inverse_offers.set_stage(key, Stage::Answered(until));
        }
        self.arm_inverse();
    }

    fn check_inverse(
        &self,
        framework: FrameworkKey,
        offers: &[OfferId],
    ) -> Result<Vec<InverseKey>, (RejectKind, String)> {
        if offers.is_empty() {
            let text = "no inverse offer is named".to_string();
            return Err((RejectKind::Empty, text));
        }
        if offers.len() > limits::OFFERS_PER_CALL {
            let limit = limits::OFFERS_PER_CALL;
            let text = format!("more than {limit} inverse offers in one call");
            return Err((RejectKind::TooMany, text));
        }
        let named: BTreeSet<&OfferId> = offers.iter().collect();
        if named.len() != offers.len() {
            let text = "an inverse offer is named twice".to_string();
            return Err((RejectKind::Doubled, text));
        }
        let keys = offers.iter().filter_map(|id| self.inverse_offers.find(id));
        let own = keys.filter(|key| self.inverse_offers.get(*key).framework == framework);
        let own: Vec<InverseKey> = own.collect();
        if own.is_empty() {
            let first = &offers[0];
            let text = format!("inverse offer {first} is not, or no longer, valid");
            return Err((RejectKind::NotOffered, text));
        }
        Ok(own)
    }

    /// Ends a question, or the time in which none is asked: from now on there may be another one.
    fn hush(&mut self, key: InverseKey) {
        self.inverse_offers.set_stage(key, Stage::Quiet);
        let agent = self.inverse_offers.get(key).agent;
        self.inverse_offers.touch(agent);
    }

    /// Ends questions that nobody answers, and asks those anew who have answered some time ago.
    pub(super) fn on_inverse_due(&mut self, cx: &mut Cx<'_>) {
        self.inverse_at = None;
        while let Some(key) = self.inverse_offers.due(cx.now) {
            self.rescind_inverse(cx, key);
            self.hush(key);
        }
        self.arm_inverse();
    }

    /// Takes a question back, if it is open, and says so (OF-50).
    fn rescind_inverse(&self, cx: &mut Cx<'_>, key: InverseKey) {
        let row = self.inverse_offers.get(key);
        let peer = self.frameworks[row.framework].peer();
        if let (Some(id), Some(peer)) = (row.open(), peer)
            && !planted(Mutant::QuestionKept)
        {
            cx.tell_framework(peer, Event::RescindInverse(id.clone()));
        }
    }

    /// Takes back what those were asked about an agent who hold nothing of it any more. Answers
    /// stay.
    fn rescind_inverse_of_others(
        &mut self,
        cx: &mut Cx<'_>,
        agent: AgentKey,
        holders: &BTreeSet<FrameworkKey>,
    ) {
        for key in self.inverse_offers.of_agent(agent) {
            let row = self.inverse_offers.get(key);
            if row.open().is_some() && !holders.contains(&row.framework) {
                self.rescind_inverse(cx, key);
                self.inverse_offers.set_stage(key, Stage::Quiet);
            }
        }
    }

    /// Notes that somebody may hold less of an agent: what was asked about it may be void.
    pub(super) fn touch_if_asked(&mut self, agent: AgentKey) {
        let row = self.agents.get(agent);
        if row.is_some_and(|row| row.unavailability.is_some()) {
            self.inverse_offers.touch(agent);
        }
    }

    /// Takes back what was asked about an agent, which is not there or not used for now. Answers
    /// stay.
    pub(super) fn rescind_inverse_of(&mut self, cx: &mut Cx<'_>, agent: AgentKey) {
        for key in self.inverse_offers.of_agent(agent) {
            self.rescind_inverse(cx, key);
            self.inverse_offers.set_stage(key, Stage::Quiet);
        }
        self.arm_inverse();
    }

    /// Takes back what was asked about an agent, and forgets what was answered.
    pub(super) fn forget_inverse_of(&mut self, cx: &mut Cx<'_>, agent: AgentKey) {
        for key in self.inverse_offers.of_agent(agent) {
            self.rescind_inverse(cx, key);
            self.inverse_offers.remove(key);
        }
        self.arm_inverse();
    }

    /// Nobody is there any more whom a framework's questions have reached: it may be asked about
    /// everything anew. Answers stay.
    pub(super) fn ask_anew(&mut self, framework: FrameworkKey) {
        for key in self.inverse_offers.of_framework(framework) {
            self.hush(key);
        }
        self.arm_inverse();
    }

    /// A framework revives: whatever it has answered, it may be asked again (OF-36).
    pub(super) fn ask_again(&mut self, framework: FrameworkKey) {
        for key in self.inverse_offers.of_framework(framework) {
            if self.inverse_offers.get(key).open().is_none() {
                self.hush(key);
            }
        }
        self.arm_inverse();
    }

    /// Forgets all about a framework that is over.
    pub(super) fn forget_inverse_with(&mut self, framework: FrameworkKey) {
        for key in self.inverse_offers.of_framework(framework) {
            self.inverse_offers.remove(key);
        }
        self.arm_inverse();
    }

    /// A framework is there: it may have to be asked about what it holds.
    pub(super) fn touch_agents_of(&mut self, framework: FrameworkKey) {
        for agent in self.tasks.agents_of(framework) {
            self.touch_if_asked(agent);
        }
    }

    fn arm_inverse(&mut self) {
        let due = self.inverse_offers.next_due();
        let before = core::mem::replace(&mut self.inverse_at, due);
        self.rearm(Timer::Inverse, before, due);
    }

    /// Lists what frameworks were asked, and have answered (TK-122).
    pub(super) fn inverse_offers_after(
        &self,
        after: Option<u32>,
    ) -> impl Iterator<Item = (u32, InverseOfferView)> + '_ {
        let maintenance = self.registry.maintenance();
        let rows = self.inverse_offers.iter();
        let rows = rows.filter(move |(key, _)| after.is_none_or(|last| key.index() > last));
        rows.map(move |(key, row)| {
            let agent = &self.agents[row.agent];
            let view = InverseOfferView {
                framework: self.frameworks[row.framework].id.clone(),
                agent: agent.id.clone(),
                machines: maintenance.machines_of(&agent.info).collect(),
                open: row.open().cloned(),
                leaving: row.leaving,
            };
            (key.index(), view)
        })
    }

    /// Who was asked is there, and the machine of the agent is in the schedule.
    pub(super) fn check_inverse_offers(&self) {
        self.inverse_offers.check();
        let is_done = !self.inverse_offers.is_touched();
        assert!(is_done || self.has_resigned, "who is to be asked was asked");
        for (_, row) in self.inverse_offers.iter() {
            let framework = self.frameworks.get(row.framework);
            let framework = framework.expect("who was asked is known");
            assert!(!framework.is_completed(), "{} is over", framework.id);
            let agent = self.agents.get(row.agent);
            let agent = agent.expect("an agent that is to be left is known");
            assert!(agent.unavailability.is_some(), "{} goes on", agent.id);
            if row.open().is_some() {
                assert!(framework.peer().is_some(), "{} is asked", framework.id);
                assert!(agent.is_offered(), "{} is to be left", agent.id);
                let holds = self.holders(row.agent).contains(&row.framework);
                assert!(
                    holds || self.has_resigned,
                    "{} holds some of it",
                    framework.id
                );
            }
        }
    }
}
