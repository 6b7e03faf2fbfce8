//! What operators see of frameworks beside lists of those that live, and how they end one.
//!
//! Deliberately not here: snapshots (`view`), and what the end of a framework means for its tasks
//! (`reachability`).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::{Cx, Master, view};
use crate::allocator;
use crate::ids::FrameworkId;
use crate::keys::FrameworkKey;
use crate::limits;
use crate::mirror::Share;
use crate::protocol::hello::CloseReason;
use crate::protocol::operator::{
    AgentView, Answer, EndedFramework, Explanation, FrameworkView, Obstacle,
};
use crate::protocol::refusal::EndReason;
use crate::roles::Role;

impl Master {
    /// Lists the agents behind a place, each with what it has. What that is is added up for those
    /// alone that are listed.
    pub(super) fn agents_after(
        &self,
        place: Option<u32>,
    ) -> impl Iterator<Item = (u32, AgentView)> + '_ {
        let agents = self.agents.iter_after(place);
        agents.map(|(key, row)| {
            let mut share = Share::default();
            for offer in self.offers.of_agent(key) {
                if let Some(row) = self.offers.get(offer) {
                    share.offer(&row.offer.resources);
                }
            }
            for task in self.tasks.of_agent(key) {
                let task = &self.tasks[task];
                share.task(task.state, &task.resources);
            }
            for executor in self.tasks.all_executors_on(key) {
                share.executor(&executor.info.resources);
            }
            (key.index(), share.of_agent(view::agent_state(row)))
        })
    }

    /// The same of frameworks that are not over.
    pub(super) fn frameworks_after(
        &self,
        place: Option<u32>,
    ) -> impl Iterator<Item = (u32, FrameworkView)> + '_ {
        let rows = self.frameworks.iter_after(place);
        let live = rows.filter(|(_, row)| !row.is_completed());
        live.map(|(key, row)| {
            let mut share = Share::default();
            for offer in self.offers.of_framework(key) {
                if let Some(row) = self.offers.get(offer) {
                    share.offer(&row.offer.resources);
                }
            }
            for task in self.tasks.of_framework(key) {
                let task = &self.tasks[task];
                share.task(task.state, &task.resources);
            }
            for executor in self.tasks.all_executors_of(key) {
                share.executor(&executor.info.resources);
            }
            (key.index(), share.of_framework(view::framework_state(row)))
        })
    }

    /// Ends a framework by an operator's word; whoever speaks for it hears so (FW-32).
    pub(super) fn on_teardown(&mut self, cx: &mut Cx<'_>, id: &FrameworkId) -> Answer {
        let key = match self.live_framework(id) {
            Ok(key) => key,
            Err(answer) => return answer,
        };
        let message = "an operator has ended the framework";
        self.tear_down(cx, key, CloseReason::Denied, message);
        Answer::Updated
    }

    /// Ends a framework by request, and says so to whoever speaks for it: he hears it only once it
    /// is recorded, for he will not ask again.
    pub(super) fn tear_down(
        &mut self,
        cx: &mut Cx<'_>,
        key: FrameworkKey,
        close: CloseReason,
        message: &str,
    ) {
        let why = EndReason::TornDown;
        let peer = self.frameworks[key].peer();
        self.remove_framework(cx, key, why);
        if let Some(peer) = peer {
            self.turn_out(cx, peer, why, close, message.to_string());
        }
    }

    fn live_framework(&self, id: &FrameworkId) -> Result<FrameworkKey, Answer> {
        if let Some(why) = self.registry.end_of(id) {
            return Err(Answer::NotFound(format!("framework {id} is over: {why}")));
        }
        let key = self.frameworks.find(id);
        key.ok_or_else(|| Answer::NotFound(format!("no framework {id}")))
    }

    /// Lists the frameworks that are over, as far as they are remembered.
    pub(super) fn ended_frameworks(&self) -> Vec<EndedFramework> {
        let ended = self.registry.ended();
        let view = |(id, reason, at): (&FrameworkId, _, _)| {
            let known = self.frameworks.find(id);
            EndedFramework {
                id: id.clone(),
                name: known.map(|key| self.frameworks[key].info.name.clone()),
                reason,
                at,
            }
        };
        ended.map(view).collect()
    }

    /// Says for each agent why it is not being offered to a framework in a role.
    pub(super) fn explained_after(
        &self,
        framework: &FrameworkId,
        role: &Role,
        after: Option<u32>,
    ) -> Result<impl Iterator<Item = (u32, Explanation)> + use<'_>, Answer> {
        let key = self.live_framework(framework)?;
        if !self.frameworks[key].info.roles.contains(role) {
            let text = format!("framework {framework} is not in role {role}");
            return Err(Answer::NotFound(text));
        }
        let mut rows = self.allocator.explain(key, role);
        rows.sort_by_key(|(agent, _)| agent.index());
        let rows = rows.into_iter();
        let rows = rows.filter(move |(agent, _)| after.is_none_or(|last| agent.index() > last));
        Ok(rows.filter_map(|(key, why)| {
            let agent = self.agents.get(key)?;
            let explanation = Explanation {
                agent: agent.id.clone(),
                hostname: agent.info.hostname.clone(),
                obstacle: self.obstacle(why),
            };
            Some((key.index(), explanation))
        }))
    }

    /// Puts what the allocator says into the words of operators.
    fn obstacle(&self, why: allocator::Obstacle) -> Obstacle {
        match why {
            allocator::Obstacle::Filtered(until) => Obstacle::Refused(until),
            allocator::Obstacle::Suppressed => Obstacle::Suppressed,
            allocator::Obstacle::FrameworkInactive => Obstacle::FrameworkInactive,
            allocator::Obstacle::AgentInactive => Obstacle::AgentInactive,
            allocator::Obstacle::NotWhitelisted => Obstacle::NotWhitelisted,
            allocator::Obstacle::Recovering => Obstacle::Recovering,
            allocator::Obstacle::Constraint(text) => Obstacle::Constraint(text),
            allocator::Obstacle::Incapable(what) => Obstacle::Incapable(what.to_string()),
            allocator::Obstacle::NoDemand => Obstacle::NoDemand,
            allocator::Obstacle::HoldsEnough => Obstacle::HoldsEnough,
            allocator::Obstacle::QuotaLimit(role) => Obstacle::QuotaLimit(role),
            allocator::Obstacle::Headroom => Obstacle::Headroom,
            allocator::Obstacle::HeldBy(holders) => {
                let holders = holders.into_iter().map(|(framework, _)| framework);
                let holders: BTreeSet<FrameworkKey> = holders.collect();
                let known = holders.into_iter().filter_map(|it| self.frameworks.get(it));
                let ids = known.map(|row| row.id.clone());
                Obstacle::HeldBy(ids.take(limits::HOLDERS_NAMED).collect())
            }
            allocator::Obstacle::TooSmall => Obstacle::TooSmall,
            allocator::Obstacle::None => Obstacle::Nothing,
        }
    }
}
