//! How frameworks come in, come back, outlive a master, and take over from those before them.
//!
//! Deliberately not here: losing frameworks (`reachability`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::replace;

use tracing::debug;

use super::agents::Agent;
use super::frameworks::{Framework, Subscription};
use super::peers::Part;
use super::{Cx, Effect, Master};
use crate::allocator::Change;
use crate::ids::{FrameworkId, MasterId, PeerId};
use crate::keys::FrameworkKey;
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::ToAgent;
use crate::protocol::framework::{FrameworkInfo, Wishes};
use crate::protocol::hello::CloseReason;
use crate::protocol::refusal::{CallKind, EndReason, RejectKind};
use crate::protocol::scheduler::Event;
use crate::protocol::validate::{check_framework, check_wishes};
use crate::registry::{Enrolment, RegistryOp};
use crate::time::Time;

/// Who gives frameworks their ids.
pub(super) struct Issuer<'a> {
    master: &'a MasterId,
    epoch: u64,
    /// The number of the next one.
    next: u64,
    /// Those after it of frameworks that have ended.
    used: &'a BTreeSet<u64>,
}

impl Issuer<'_> {
    /// Returns whether an id that is not known may have been given all the same, by a leadership
    /// whose registry is lost. That may have been of this very epoch, which is counted there: then
    /// all are known that were given since.
    pub(super) fn has_forgotten(&self, id: &FrameworkId) -> bool {
        let number = id.number_from(self.master);
        let is_later = |n: u64| n >= self.next && !self.used.contains(&n);
        id.is_from_before(self.master, self.epoch) || number.is_some_and(is_later)
    }
}

impl Master {
    /// Lets a framework in, or back in (SM-01, SM-03, FW-28).
    pub(super) fn on_subscribe(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        mut info: FrameworkInfo,
        mut wishes: Wishes,
    ) {
        // It counts: agents are told of it, and say it again.
        info.principal = self.peers.get(peer).map(|peer| peer.principal.name.clone());
        let checked = check_framework(&info).and_then(|()| check_wishes(&info, &mut wishes));
        if let Err(reject) = checked {
            let why = EndReason::Invalid(reject.kind());
            self.refuse(cx, peer, why, reject.to_string());
            return;
        }
        if let Some(key) = self.peers.framework(peer) {
            // Asked again before it heard our answer.
            let id = self.frameworks[key].id.clone();
            if info.id.as_ref().is_some_and(|other| *other != id) {
                let why = EndReason::AlreadySubscribed;
                self.refuse(cx, peer, why, format!("already subscribed as {id}"));
                return;
            }
            info.id = Some(id);
        }
        let known = info.id.as_ref().and_then(|id| self.frameworks.find(id));
        if let Some(key) = known {
            match self.check_return(key, &info) {
                Ok(()) => self.take_back(cx, key, peer, info, wishes),
                // Who is right shows when the agents are back: until then, one may ask again.
                Err((_, text)) if !self.frameworks[key].vouched && self.agents.are_awaited() => {
                    self.disconnect(cx, peer, CloseReason::Overloaded, text);
                }
                Err((why, text)) => self.refuse(cx, peer, why, text),
            }
            return;
        }
        if let Some(id) = info.id.as_ref().filter(|id| self.is_later(id)) {
            // I18: whoever ends on our word would do so on that of a master without the lead.
            let text = format!("framework {id} was let in under a later leadership than this one");
            self.disconnect(cx, peer, CloseReason::StaleEpoch, text);
            return;
        }
        if let Err((why, text)) = self.check_unknown(&info) {
            self.refuse(cx, peer, why, text);
            return;
        }
        if !self.make_room(cx) {
            let most = self.config.max_frameworks;
            let text = format!("the limit of {most} frameworks is reached");
            self.refuse(cx, peer, EndReason::TooManyFrameworks, text);
            return;
        }
        self.let_in(cx, peer, info, wishes);
    }

    /// Returns whether only a later leadership of this cluster can have given an id.
    fn is_later(&self, id: &FrameworkId) -> bool {
        id.is_from_after(&self.config.id, self.config.epoch)
    }

    /// Checks the id of a framework that is not in the table.
    fn check_unknown(&self, info: &FrameworkInfo) -> Result<(), (EndReason, String)> {
        let Some(id) = &info.id else {
            return Ok(());
        };
        if let Some(why) = self.registry.end_of(id) {
            // SM-08, FW-27
            return Err((why, format!("framework {id} has been removed: {why}")));
        }
        if self.issuer().has_forgotten(id) {
            // FW-29: it was given by a leadership whose registry is lost, and stays.
            return Ok(());
        }
        Err(if id.is_from(&self.config.id) {
            let text = format!("framework {id} has ended long ago");
            (EndReason::Removed, text)
        } else {
            let text = format!("framework {id} is not of this cluster");
            (EndReason::OtherCluster, text)
        })
    }

    pub(super) fn issuer(&self) -> Issuer<'_> {
        Issuer {
            master: &self.config.id,
            epoch: self.config.epoch,
            next: self.next_framework,
            used: &self.used_frameworks,
        }
    }

    fn next_framework_id(&mut self) -> FrameworkId {
        loop {
            let id = FrameworkId::numbered(&self.config.id, self.next_framework);
            let was_used = self.used_frameworks.remove(&self.next_framework);
            self.next_framework += 1;
            let is_known = self.frameworks.find(&id).is_some();
            if !was_used && !is_known && self.registry.end_of(&id).is_none() {
                return id;
            }
        }
    }

    /// Remembers that a framework has ended whose id came before it was given in this leadership:
    /// its end may be forgotten by then.
    pub(super) fn use_up(&mut self, id: &FrameworkId) {
        let number = id.number_from(&self.config.id);
        if let Some(number) = number.filter(|n| *n >= self.next_framework) {
            self.used_frameworks.insert(number);
            if self.used_frameworks.len() > limits::ENDED_FRAMEWORKS {
                // It is the last of all to be given; only who names it can have it again.
                self.used_frameworks.pop_last();
            }
        }
    }

    fn check_return(
        &self,
        key: FrameworkKey,
        info: &FrameworkInfo,
    ) -> Result<(), (EndReason, String)> {
        let row = &self.frameworks[key];
        if let Some(why) = row.end() {
            // SM-08, FW-27
            return Err((why, format!("framework {} has been removed: {why}", row.id)));
        }
        if !row.is_of(info.principal.as_deref()) && !planted(Mutant::OwnerUnchecked) {
            let text = format!("framework {} is somebody else's", row.id);
            return Err((EndReason::SomebodyElses, text));
        }
        Ok(())
    }

    fn let_in(&mut self, cx: &mut Cx<'_>, peer: PeerId, mut info: FrameworkInfo, wishes: Wishes) {
        let vouched = info.id.is_none();
        let id = info.id.take().unwrap_or_else(|| self.next_framework_id());
        info.id = Some(id.clone());
        let key = self.frameworks.insert(Framework {
            id,
            principal: info.principal.clone(),
            info: Arc::new(info),
            vouched,
            subscription: Subscription::Subscribed(peer),
            wishes,
            due: None,
        });
        self.changes.push(Change::FrameworkAdded {
            framework: key,
            profile: self.frameworks[key].profile(),
        });
        self.demand_all(key, &BTreeMap::new());
        self.enrol(cx, key);
        self.peers.cast(peer, Some(Part::Framework(key)));
        let first = self.rng.jitter(self.config.heartbeat_interval);
        self.arm_framework(key, Some(cx.now + first));
        self.tell_subscribed(cx, key, peer);
    }

    /// Writes down what is known of a framework.
    pub(super) fn enrol(&mut self, cx: &mut Cx<'_>, key: FrameworkKey) {
        let row = &self.frameworks[key];
        let op = RegistryOp::EnrolFramework {
            id: row.id.clone(),
            info: Arc::clone(&row.info),
            vouched: row.vouched,
        };
        self.persist(cx, op);
    }

    /// Knows the frameworks of earlier leaderships, and how long each may still be away. Each gets
    /// as long to come back as an agent, at least: it may be the masters that were away.
    pub(super) fn recover_frameworks(&mut self, now: Time) {
        let enrolled: Vec<Enrolment> = self.registry.frameworks().map(|it| it.1.clone()).collect();
        for Enrolment {
            info,
            vouched,
            away,
        } in enrolled
        {
            let away = away.unwrap_or(now);
            let end = away + info.failover_timeout;
            self.know_framework(
                info,
                vouched,
                end.max(now + self.config.agent_reregister_timeout),
            );
        }
    }

    /// Knows a framework that is away, until `end`.
    pub(super) fn know_framework(
        &mut self,
        info: Arc<FrameworkInfo>,
        vouched: bool,
        end: Time,
    ) -> FrameworkKey {
        let id = info.id.clone().expect("who is known has an id");
        let key = self.frameworks.insert(Framework {
            id,
            principal: info.principal.clone(),
            info,
            vouched,
            subscription: Subscription::Recovered,
            wishes: Wishes::default(),
            due: None,
        });
        self.arm_framework(key, Some(end));
        self.open_account(key);
        key
    }

    /// Gives a known framework to the one who speaks now.
    fn take_back(
        &mut self,
        cx: &mut Cx<'_>,
        key: FrameworkKey,
        peer: PeerId,
        mut info: FrameworkInfo,
        wishes: Wishes,
    ) {
        let old = self.frameworks[key].peer();
        if let Some(old) = old.filter(|old| *old != peer) {
            let (why, text) = (EndReason::FailedOver, "framework failed over".to_string());
            self.turn_out(cx, old, why, CloseReason::Replaced, text);
        }
        if old != Some(peer) {
            // Nobody is left who could use the offers: the new connection has never seen them.
            self.return_offers_of(key);
            self.ask_anew(key);
            self.asks.forget(key);
        }
        let user = &self.frameworks[key].info.user;
        if info.user != *user {
            // FW-12
            debug!(framework = %self.frameworks[key].id, "a framework's user does not change");
            info.user.clone_from(user);
        }
        self.change(cx, key, info, wishes);
        if old.is_none() && !planted(Mutant::ReturnUnrecorded) {
            let id = self.frameworks[key].id.clone();
            self.persist(cx, RegistryOp::FrameworkBack { id });
        }
        if old == Some(peer) {
            self.tell_subscribed(cx, key, peer);
            return;
        }
        self.frameworks[key].subscription = Subscription::Subscribed(peer);
        self.peers.cast(peer, Some(Part::Framework(key)));
        self.changes.push(Change::FrameworkActive {
            framework: key,
            active: true,
        });
        let first = self.rng.jitter(self.config.heartbeat_interval);
        self.arm_framework(key, Some(cx.now + first));
        self.tell_subscribed(cx, key, peer);
        self.touch_agents_of(key);
        self.tell_again(cx, key);
        self.tell_operations_again(cx, key);
        self.answer_kills(cx);
    }

    /// Takes in what a framework says about itself now, and wants. In roles that it left, what is
    /// offered is taken back, and what runs goes on (RQ-03).
    fn change(&mut self, cx: &mut Cx<'_>, key: FrameworkKey, info: FrameworkInfo, wishes: Wishes) {
        let row = &mut self.frameworks[key];
        let before = row.profile();
        let wished = replace(&mut row.wishes, wishes);
        row.principal.clone_from(&info.principal);
        if *row.info != info {
            row.info = Arc::new(info);
            self.enrol(cx, key);
            self.tell_agents_of(cx, key);
        }
        let profile = self.frameworks[key].profile();
        let leaves_one = profile.roles.len() < before.roles.len();
        if profile != before && !(leaves_one && planted(Mutant::LeftRoleOffered)) {
            self.changes.push(Change::FrameworkChanged {
                framework: key,
                profile,
            });
        }
        self.demand_all(key, &wished.demands);
    }

    /// Tells the agents that run something of a framework what it says about itself.
    fn tell_agents_of(&mut self, cx: &mut Cx<'_>, key: FrameworkKey) {
        for agent in self.tasks.agents_of(key) {
            if let Some(peer) = self.agents.get(agent).and_then(Agent::peer) {
                self.introduce(cx, peer, key);
            }
        }
    }

    /// Tells an agent what a framework says about itself, unless it has heard just that over this
    /// connection.
    pub(super) fn introduce(&mut self, cx: &mut Cx<'_>, agent: PeerId, key: FrameworkKey) {
        let framework = &self.frameworks[key];
        let (id, info) = (&framework.id, &framework.info);
        let Some(introduced) = self.peers.introduced(agent) else {
            return;
        };
        let told = introduced.get(id);
        if told.is_some_and(|told| Arc::ptr_eq(told, info)) {
            return;
        }
        introduced.note(id.clone(), Arc::clone(info));
        cx.tell_agent(agent, ToAgent::UpdateFramework((**info).clone()));
    }

    /// Takes in what a framework says about itself while it is there (FW-53).
    pub(super) fn on_update_framework(
        &mut self,
        cx: &mut Cx<'_>,
        key: FrameworkKey,
        mut info: FrameworkInfo,
        mut wishes: Wishes,
    ) {
        let principal = &self.frameworks[key].principal;
        info.principal.clone_from(principal);
        let checked = check_framework(&info).and_then(|()| check_wishes(&info, &mut wishes));
        if let Err(reject) = checked {
            self.reject(cx, key, CallKind::Update, reject.kind(), reject.to_string());
            return;
        }
        let row = &self.frameworks[key];
        let is_other = info.id.as_ref().is_some_and(|id| *id != row.id);
        if is_other || info.user != row.info.user {
            // FW-12
            let text = "a framework's id and user never change".to_string();
            self.reject(cx, key, CallKind::Update, RejectKind::Unchangeable, text);
            return;
        }
        info.id = Some(row.id.clone());
        if planted(Mutant::UpdateRevives) {
            wishes.suppressed.clear();
        }
        self.change(cx, key, info, wishes);
        if let Some(peer) = self.frameworks[key].peer() {
            cx.tell_framework(peer, Event::Updated);
        }
    }

    fn tell_subscribed(&self, cx: &mut Cx<'_>, key: FrameworkKey, peer: PeerId) {
        let event = Event::Subscribed {
            framework: self.frameworks[key].id.clone(),
            master: self.config.id.clone(),
            epoch: self.config.epoch,
            heartbeat: self.config.heartbeat_interval,
            domain: self.config.domain.clone(),
        };
        cx.tell_framework(peer, event);
    }

    /// Says why, and closes the connection (FW-27).
    pub(super) fn refuse(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        reason: EndReason,
        message: String,
    ) {
        let text = message.clone();
        cx.tell_framework(peer, Event::Error { reason, message });
        self.disconnect(cx, peer, CloseReason::Denied, text);
    }

    /// Ends a subscription from our side. What becomes of the framework is for the caller to say.
    pub(super) fn turn_out(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        reason: EndReason,
        close: CloseReason,
        message: String,
    ) {
        self.peers.remove(peer);
        if planted(Mutant::OldInstanceUntold) {
            return;
        }
        let text = message.clone();
        cx.tell_framework(peer, Event::Error { reason, message });
        cx.out.emit(Effect::Disconnect {
            peer,
            close,
            reason: text,
        });
    }
}
