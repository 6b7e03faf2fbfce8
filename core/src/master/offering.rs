//! Between the allocator and the frameworks: grants become offers, offers end.
//!
//! Called at the end of every input and pass (`settle`), and by all handlers that end offers.
//! Deliberately not here: who is granted what, and what accepting does.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use tracing::debug;

use super::offers::{OfferKey, Outstanding};
use super::{Cx, Effect, Master};
use crate::allocator::{Change, Decision, Grant};
use crate::ids::OfferId;
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::machine::Output;
use crate::mutant::{Mutant, planted};
use crate::protocol::offer::Offer;
use crate::protocol::scheduler::Event;
use crate::protocol::wire::slices;

/// How many rounds of decisions are taken in at once. An allocator that answers every return with
/// the same grant must not hold the master for ever; what is left is taken in with the next input.
const ROUNDS: usize = 64;

impl Master {
    /// Tells the allocator all that changed, and carries out what it decided.
    ///
    /// Its decisions are looked at when it knows all that we know. So a grant on an agent, or for a
    /// framework, that it does not have any more is already returned on its side.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..ROUNDS {
            for change in core::mem::take(&mut self.changes) {
                self.allocator.handle(cx.now, change, &mut self.decisions);
            }
            let mut made: BTreeMap<FrameworkKey, Vec<Offer>> = BTreeMap::new();
            while let Some(output) = self.decisions.pop() {
                match output {
                    Output::Persist(never) => match never {},
                    Output::Effect(decision) | Output::Free(decision) => {
                        self.on_decision(cx, decision, &mut made);
                    }
                }
            }
            for (framework, offers) in made {
                self.send_offers(cx, framework, offers);
            }
            if self.changes.is_empty() && self.decisions.is_empty() {
                self.ask_to_leave(cx);
                return;
            }
        }
        debug!("the allocator does not come to rest");
        self.ask_to_leave(cx);
    }

    fn on_decision(
        &mut self,
        cx: &mut Cx<'_>,
        decision: Decision,
        made: &mut BTreeMap<FrameworkKey, Vec<Offer>>,
    ) {
        match decision {
            Decision::Grant(grant) => {
                let framework = grant.framework;
                if let Some(offer) = self.offer(grant) {
                    made.entry(framework).or_default().push(offer);
                }
            }
            Decision::Rescind { .. } if planted(Mutant::ExpiryIgnored) => {}
            Decision::Rescind { grant, reason } => match self.offers.of_grant(grant) {
                Some(key) => {
                    // Offers of this round go out before what refers to them.
                    let framework = self.offers.get(key).map(|row| row.framework);
                    if let Some(framework) = framework
                        && let Some(offers) = made.remove(&framework)
                    {
                        self.send_offers(cx, framework, offers);
                    }
                    debug!(?grant, ?reason, "the allocator takes a grant back");
                    self.rescind(cx, key);
                }
                None => debug!(?grant, "a grant that is no offer any more is taken back"),
            },
        }
    }

    /// Makes an offer of a grant, unless somebody has left meanwhile (OF-04).
    fn offer(&mut self, grant: Grant) -> Option<Offer> {
        let agent = self.agents.get(grant.agent);
        let agent = agent.filter(|agent| agent.is_allocatable())?;
        let framework = self.frameworks.get(grant.framework);
        let framework = framework.filter(|framework| !framework.is_completed())?;
        if agent.peer().is_none() || framework.peer().is_none() || grant.resources.is_empty() {
            self.changes.push(Change::Returned {
                framework: grant.framework,
                role: grant.role,
                agent: grant.agent,
                grants: grant.id.into(),
                resources: grant.resources,
                refuse: None,
            });
            return None;
        }
        let executors = self.tasks.executors_on(grant.framework, grant.agent);
        let executors = executors.take(limits::EXECUTORS_PER_OFFER);
        let offer = Offer {
            id: OfferId::numbered(&self.config.id, self.next_offer),
            framework: framework.id.clone(),
            role: grant.role,
            agent: agent.id.clone(),
            hostname: Arc::clone(&agent.hostname),
            address: Arc::clone(&agent.address),
            attributes: agent.info.attributes.clone(),
            domain: agent.info.domain.clone(),
            resources: grant.resources,
            executors: executors.map(|info| info.id.clone()).collect(),
            unavailability: agent.unavailability,
        };
        if agent.unavailability.is_some() {
            self.inverse_offers.touch(grant.agent);
        }
        self.next_offer += 1;
        self.offers.insert(Outstanding {
            offer: Arc::new(offer.clone()),
            grant: grant.id,
            framework: grant.framework,
            agent: grant.agent,
        });
        Some(offer)
    }

    /// Sends all offers of one pass for one framework as one event (OF-04), or as many as frames
    /// take.
    fn send_offers(&mut self, cx: &mut Cx<'_>, framework: FrameworkKey, offers: Vec<Offer>) {
        let peer = self.frameworks.get(framework).and_then(|row| row.peer());
        let peer = peer.expect("offers are made for subscribed frameworks");
        for offers in slices(offers) {
            cx.tell_framework(peer, Event::Offers(offers));
        }
    }

    /// Takes an offer back and says so (OF-07).
    pub(super) fn rescind(&mut self, cx: &mut Cx<'_>, key: OfferKey) {
        let Some(row) = self.return_offer(key, None) else {
            return;
        };
        if planted(Mutant::RescissionUntold) {
            return;
        }
        if let Some(peer) = self.frameworks[row.framework].peer() {
            // Held by the gate like the offer itself: a free one could overtake its own offer,
            // which would then seem good for ever.
            let event = Event::Rescind(row.offer.id.clone());
            if planted(Mutant::RescissionOvertakes) {
                return cx.out.emit_free(Effect::Scheduler { peer, event });
            }
            cx.tell_framework(peer, event);
        }
    }

    pub(super) fn rescind_agent(&mut self, cx: &mut Cx<'_>, agent: AgentKey) {
        for key in self.offers.of_agent(agent) {
            self.rescind(cx, key);
        }
    }

    /// Ends the offers of a framework that is not there to hear it.
    pub(super) fn return_offers_of(&mut self, framework: FrameworkKey) {
        for key in self.offers.of_framework(framework) {
            self.return_offer(key, None);
        }
    }

    /// Ends an offer and gives its resources back to the allocator.
    pub(super) fn return_offer(
        &mut self,
        key: OfferKey,
        refuse: Option<Duration>,
    ) -> Option<Outstanding> {
        let row = self.offers.remove(key)?;
        self.touch_if_asked(row.agent);
        self.changes.push(Change::Returned {
            framework: row.framework,
            role: row.offer.role.clone(),
            agent: row.agent,
            grants: row.grant.into(),
            resources: row.offer.resources.clone(),
            refuse,
        });
        Some(row)
    }
}
