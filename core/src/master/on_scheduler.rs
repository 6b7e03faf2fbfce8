//! Reactions to frameworks: subscribing, failing over, ending, declining, wanting, killing.
//!
//! Deliberately not here: accepting (`accept`), confirmations (`updates`), and losing frameworks
//! (`reachability`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use tracing::debug;

use super::frameworks::{Framework, Subscription};
use super::peers::Part;
use super::tasks::{Kill, TaskKey};
use super::updates::News;
use super::{Cx, Effect, Master};
use crate::allocator::Change;
use crate::filters::effective_refusal;
use crate::ids::{FrameworkId, OfferId, PeerId, TaskId};
use crate::keys::FrameworkKey;
use crate::protocol::agent::ToAgent;
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::hello::CloseReason;
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::validate::check_framework;

impl Master {
    pub(super) fn on_scheduler(&mut self, cx: &mut Cx<'_>, peer: PeerId, call: Call) {
        if let Call::Subscribe { framework } = call {
            self.on_subscribe(cx, peer, framework);
            return;
        }
        let Some(key) = self.peers.framework(peer) else {
            self.refuse(cx, peer, "not subscribed");
            return;
        };
        match call {
            Call::Subscribe { .. } => {}
            Call::Teardown => self.remove_framework(cx, key),
            Call::Accept {
                offers,
                operations,
                refuse,
            } => {
                let refuse = effective_refusal(refuse);
                self.on_accept(cx, key, &offers, operations, refuse);
            }
            Call::Decline { offers, refuse } => self.on_decline(key, &offers, refuse),
            Call::Suppress => {
                self.frameworks[key].suppressed = true;
                self.changes.push(Change::Suppressed {
                    framework: key,
                    roles: Vec::new(),
                });
            }
            Call::Revive => self.revive(key),
            Call::Kill { task, grace } => self.on_kill(cx, key, task, grace),
            Call::Acknowledge {
                agent,
                task,
                update,
            } => self.on_acknowledge(cx, key, &agent, task, update),
        }
    }

    /// Lets a framework in, or back in (SM-01, SM-03, FW-28).
    fn on_subscribe(&mut self, cx: &mut Cx<'_>, peer: PeerId, mut info: FrameworkInfo) {
        if let Err(reject) = check_framework(&info) {
            self.refuse(cx, peer, &reject.to_string());
            return;
        }
        let principal = self.peers.get(peer).map(|peer| peer.principal.name.clone());
        info.principal = principal;
        if let Some(key) = self.peers.framework(peer) {
            // Asked again before it heard our answer.
            let id = self.frameworks[key].id.clone();
            if info.id.as_ref().is_some_and(|other| *other != id) {
                self.refuse(cx, peer, &format!("already subscribed as {id}"));
                return;
            }
            info.id = Some(id);
        }
        let known = info.id.as_ref().and_then(|id| self.frameworks.find(id));
        if let Some(key) = known {
            match self.check_return(key, &info) {
                Ok(()) => self.take_back(cx, key, peer, info),
                // Who is right shows when the agents are back: until then, one may ask again.
                Err(text) if !self.frameworks[key].vouched && self.agents.are_awaited() => {
                    self.disconnect(cx, peer, CloseReason::Overloaded, text);
                }
                Err(text) => self.refuse(cx, peer, &text),
            }
            return;
        }
        // FW-29: an id that we do not know was given by another leadership, and stays.
        let (master, epoch) = (&self.config.id, self.config.epoch);
        if let Some(id) = &info.id
            && !id.is_from_before(master, epoch)
        {
            let text = format!("framework {id} has ended long ago, or is not of this cluster");
            self.refuse(cx, peer, &text);
            return;
        }
        if !self.make_room(cx) {
            let most = self.config.max_frameworks;
            self.refuse(
                cx,
                peer,
                &format!("the limit of {most} frameworks is reached"),
            );
            return;
        }
        self.let_in(cx, peer, info);
    }

    fn next_framework_id(&mut self) -> FrameworkId {
        loop {
            let id = FrameworkId::numbered(&self.config.id, self.next_framework);
            self.next_framework += 1;
            if self.frameworks.find(&id).is_none() {
                return id;
            }
        }
    }

    fn check_return(&self, key: FrameworkKey, info: &FrameworkInfo) -> Result<(), String> {
        let row = &self.frameworks[key];
        if row.is_completed() {
            // SM-08, FW-27
            return Err("framework has been removed".to_string());
        }
        if row.info.role != info.role {
            return Err(format!(
                "the role of framework {} is {}, and cannot become {}",
                row.id, row.info.role, info.role
            ));
        }
        if !row.is_of(info.principal.as_deref()) {
            return Err(format!("framework {} is somebody else's", row.id));
        }
        Ok(())
    }

    fn let_in(&mut self, cx: &mut Cx<'_>, peer: PeerId, mut info: FrameworkInfo) {
        let vouched = info.id.is_none();
        let id = info.id.take().unwrap_or_else(|| self.next_framework_id());
        info.id = Some(id.clone());
        let key = self.frameworks.insert(Framework {
            id,
            principal: info.principal.clone(),
            info: Arc::new(info),
            vouched,
            subscription: Subscription::Subscribed(peer),
            suppressed: false,
            due: None,
        });
        self.changes.push(Change::FrameworkAdded {
            framework: key,
            profile: self.frameworks[key].profile(),
        });
        self.peers.cast(peer, Some(Part::Framework(key)));
        let first = self.rng.jitter(self.config.heartbeat_interval);
        self.arm_framework(key, Some(cx.now + first));
        self.tell_subscribed(cx, key, peer);
    }

    /// Gives a known framework to the one who speaks now.
    fn take_back(&mut self, cx: &mut Cx<'_>, key: FrameworkKey, peer: PeerId, info: FrameworkInfo) {
        let old = self.frameworks[key].peer();
        if let Some(old) = old.filter(|old| *old != peer) {
            let reason = "framework failed over".to_string();
            cx.tell_framework(old, Event::Error(reason.clone()));
            cx.out.emit(Effect::Disconnect {
                peer: old,
                close: CloseReason::Replaced,
                reason,
            });
            self.peers.remove(old);
        }
        let row = &mut self.frameworks[key];
        let before = row.profile();
        row.principal = info.principal.clone();
        row.info = Arc::new(info);
        let profile = row.profile();
        if profile != before {
            self.changes.push(Change::FrameworkChanged {
                framework: key,
                profile,
            });
        }
        if old == Some(peer) {
            self.tell_subscribed(cx, key, peer);
            return;
        }
        self.frameworks[key].subscription = Subscription::Subscribed(peer);
        self.peers.cast(peer, Some(Part::Framework(key)));
        // Nobody is left who could use the offers: the new connection has never seen them.
        self.return_offers_of(key);
        self.changes.push(Change::FrameworkActive {
            framework: key,
            active: true,
        });
        if self.frameworks[key].suppressed {
            self.revive(key);
        }
        let first = self.rng.jitter(self.config.heartbeat_interval);
        self.arm_framework(key, Some(cx.now + first));
        self.tell_subscribed(cx, key, peer);
        self.tell_again(cx, key);
        self.answer_kills(cx);
    }

    fn tell_subscribed(&self, cx: &mut Cx<'_>, key: FrameworkKey, peer: PeerId) {
        let event = Event::Subscribed {
            framework: self.frameworks[key].id.clone(),
            master: self.config.id.clone(),
            epoch: self.config.epoch,
            heartbeat: self.config.heartbeat_interval,
        };
        cx.tell_framework(peer, event);
    }

    /// Says why, and closes the connection (FW-27).
    fn refuse(&mut self, cx: &mut Cx<'_>, peer: PeerId, why: &str) {
        cx.tell_framework(peer, Event::Error(why.to_string()));
        self.disconnect(cx, peer, CloseReason::Denied, why.to_string());
    }

    /// Takes offers back that a framework does not want (OF-31). Unknown ones are ignored (OF-09).
    fn on_decline(&mut self, key: FrameworkKey, offers: &[OfferId], refuse: Option<Duration>) {
        let refuse = effective_refusal(refuse);
        for id in offers {
            match self.own_offer(key, id) {
                Some(offer) => {
                    self.return_offer(offer, refuse);
                }
                None => debug!(offer = %id, "an unknown offer is declined"),
            }
        }
    }

    fn revive(&mut self, key: FrameworkKey) {
        self.frameworks[key].suppressed = false;
        self.changes.push(Change::Revived {
            framework: key,
            roles: Vec::new(),
        });
    }

    /// Ends a task, or says what became of it (TK-82). As long as agents of an earlier leadership
    /// may still report it, nothing is said of a task that is not known (TK-75).
    fn on_kill(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        id: TaskId,
        grace: Option<Duration>,
    ) {
        let known = self.tasks.find(framework, &id);
        match known {
            Some(key) if self.tasks[key].is_active() => {
                self.kill(cx, key, grace);
                return;
            }
            None if self.agents.are_missing() => {
                if self.kills.insert(framework, id.clone(), Kill { grace }) {
                    self.answer_kills(cx);
                    return;
                }
                debug!(task = %id, "no room to remember a kill");
            }
            Some(_) | None => {}
        }
        let status = self.reconcile(cx, known, id);
        self.tell(cx, framework, status);
    }

    /// Says of which tasks nobody knows, once no agent is awaited. A framework that is away hears
    /// it when it returns. The kills are remembered for agents that may come back late.
    pub(super) fn answer_kills(&mut self, cx: &mut Cx<'_>) {
        let waiting = self.kills.frameworks();
        if waiting.is_empty() || self.agents.are_awaited() {
            return;
        }
        for framework in waiting {
            if self.frameworks[framework].peer().is_none() {
                continue;
            }
            for id in self.kills.answer(framework) {
                let status = self.reconcile(cx, None, id);
                self.tell(cx, framework, status);
            }
        }
        if !self.agents.are_missing() {
            self.kills.forget_answered();
        }
    }

    /// Says what is known of a task that cannot be killed.
    fn reconcile(&self, cx: &Cx<'_>, known: Option<TaskKey>, id: TaskId) -> TaskStatus {
        match known.map(|key| &self.tasks[key]) {
            Some(task) => TaskStatus {
                state: task.state,
                source: Source::Master,
                reason: Some(Reason::Reconciliation),
                update: None,
                ..task.status.clone()
            },
            None => {
                let news = News {
                    state: TaskState::Unknown,
                    reason: Reason::Reconciliation,
                    message: "no such task".to_string(),
                };
                news.about(id, None, cx.now)
            }
        }
    }

    /// Ends an active task: at once if its agent is there, else as soon as it comes back.
    pub(super) fn kill(&mut self, cx: &mut Cx<'_>, key: TaskKey, grace: Option<Duration>) {
        let task = &mut self.tasks[key];
        task.kill = Some(Kill { grace });
        if let Some(peer) = self.agents[task.agent].peer() {
            let message = ToAgent::KillTask {
                framework: task.owner.clone(),
                task: task.id.clone(),
                grace,
            };
            cx.tell_agent(peer, message);
        }
    }
}
