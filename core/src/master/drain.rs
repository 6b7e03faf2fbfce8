//! Draining agents: nobody is offered one, the agent ends what it runs, and when all of that is
//! over and confirmed, and no operation is under way, it is drained, or gone.
//!
//! The agent is told again whenever it comes back; which drains go on is in the registry. An agent
//! that is out of reach is drained when it returns. Unlike in Mesos a drain can be called off.
//!
//! Deliberately not here: how tasks are ended, which the agent knows best.

use super::{Cx, Master};
use crate::ids::AgentId;
use crate::keys::AgentKey;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::ToAgent;
use crate::protocol::node::{DrainConfig, Standing};
use crate::protocol::operator::Answer;

impl Master {
    /// Begins to drain an agent, or goes on otherwise (TK-124, TK-126).
    pub(super) fn on_drain(
        &mut self,
        cx: &mut Cx<'_>,
        id: &AgentId,
        config: DrainConfig,
    ) -> Answer {
        if let Some(answer) = self.why_not_drained(id) {
            return answer;
        }
        let answer = self.on_standing(cx, id, Standing::Draining(config));
        if let Some(key) = self.agents.find(id) {
            self.tell_drain(cx, key);
            self.finish_drain(cx, key);
        }
        answer
    }

    /// Tells an agent that it is drained, if it is and is there.
    pub(super) fn tell_drain(&self, cx: &mut Cx<'_>, key: AgentKey) {
        let row = &self.agents[key];
        if let (Standing::Draining(config), Some(peer)) = (row.standing, row.peer()) {
            let max_grace = config.max_grace;
            // What a snapshot lacks must not end a master: the agent begins anew then.
            let since = row.drain_since.unwrap_or(cx.now);
            cx.tell_agent(peer, ToAgent::Drain { max_grace, since });
        }
    }

    /// Ends the drains of those agents whose last task or executor is over (SM-42).
    pub(super) fn finish_drains(&mut self, cx: &mut Cx<'_>) {
        for key in self.tasks.take_emptied() {
            if planted(Mutant::DrainUnfinished) {
                continue;
            }
            self.finish_drain(cx, key);
        }
    }

    /// Ends the drain of an agent, if nothing is left of its tasks and executors, and it has
    /// carried out what was ordered (TK-125). What one that is not there runs nobody knows.
    pub(super) fn finish_drain(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        let Some(row) = self.agents.get(key) else {
            return;
        };
        let Standing::Draining(config) = row.standing else {
            return;
        };
        let admission = self.registry.agent(&row.id);
        let has_orders = admission.is_some_and(|known| known.under_way() > 0);
        let runs = self.tasks.has_live(key) || !row.uncounted.is_empty();
        if row.peer().is_none() || has_orders || runs {
            return;
        }
        if config.mark_gone {
            self.mark_gone(cx, key);
        } else {
            self.set_standing(cx, key, Standing::Drained);
        }
    }
}
