//! What operators have made of agents' resources: reservations and volumes of what nobody uses.
//!
//! A call is carried out as a whole, or refused as a whole. Offers that are in the way are taken
//! back, and no more (OF-07); what tasks use is in nobody's way but its own. Deliberately not here:
//! the operations of frameworks, which have been offered what they use (`accept`).

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::converting::conversion;
use super::{Cx, Master};
use crate::allocator::Change;
use crate::ids::{AgentId, PeerId};
use crate::keys::AgentKey;
use crate::limits;
use crate::protocol::operation::{Conversion, OperationKind, Order};
use crate::protocol::operator::Answer;
use crate::protocol::validate_operation::check_operator;
use crate::protocol::wire::{cut_text, size};
use crate::registry::Admission;
use crate::resources::Resources;
use crate::resources::operations::{OperationError, Step, plan_reservation_update};

/// One of the things to be done.
struct Turn {
    kind: OperationKind,
    before: Resources,
    after: Resources,
}

impl Master {
    pub(super) fn on_convert(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        agent: &AgentId,
        change: Conversion,
    ) -> Answer {
        if change.disk().is_some() {
            let why = "disks are made and taken back for frameworks, which hear what came of it";
            return Answer::Invalid(why.to_string());
        }
        let principal = self.peers.get(peer).map(|peer| &peer.principal.name);
        let checked = principal.map_or(Ok(()), |name| check_operator(&change, name));
        if let Err(bad) = checked {
            return Answer::Invalid(cut_text(bad.to_string()));
        }
        self.convert_free(cx, agent, Vec::from([change]))
    }

    /// Changes a reservation by steps, each of which removes or adds a level.
    pub(super) fn on_update_reservation(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        agent: &AgentId,
        from: &Resources,
        to: &Resources,
    ) -> Answer {
        let steps = match plan_reservation_update(from, to) {
            Ok(steps) => steps.into_iter().map(|step| match step {
                Step::Unreserve(resources) => Conversion::Unreserve(resources),
                Step::Reserve(resources) => Conversion::Reserve(resources),
            }),
            Err(error) => return Answer::Invalid(cut_text(error.to_string())),
        };
        let steps: Vec<Conversion> = steps.collect();
        let principal = self.peers.get(peer).map(|peer| &peer.principal.name);
        let mut checked = steps.iter().map(|step| match principal {
            Some(name) => check_operator(step, name),
            None => Ok(()),
        });
        if let Some(bad) = checked.find_map(Result::err) {
            return Answer::Invalid(cut_text(bad.to_string()));
        }
        drop(checked);
        self.convert_free(cx, agent, steps)
    }

    fn convert_free(
        &mut self,
        cx: &mut Cx<'_>,
        agent: &AgentId,
        changes: Vec<Conversion>,
    ) -> Answer {
        let Some(key) = self.agents.find(agent) else {
            return Answer::NotFound(format!("no agent {agent}"));
        };
        if !self.agents[key].is_allocatable() {
            return Answer::Conflict(format!("agent {agent} is away"));
        }
        let admission = self.registry.agent(agent);
        let open = admission.map_or(0, |admission| admission.open.len());
        if open + changes.len() > limits::OPERATIONS_PER_AGENT {
            let why = format!("agent {agent} has {open} operations that it has not confirmed");
            return Answer::Conflict(why);
        }
        let turns = match self.plan_turns(key, &changes) {
            Ok(turns) => turns,
            Err(answer) => return answer,
        };
        if let Some(first) = turns.first() {
            self.rescind_in_the_way(cx, key, &first.before);
        }
        for turn in turns {
            self.rescind_copies(cx, key, &turn.before);
            self.changes.push(Change::FreeConverted {
                agent: key,
                before: turn.before.clone(),
                after: turn.after.clone(),
            });
            self.order(cx, key, |agent, number| {
                let order = Order {
                    number,
                    owner: None,
                    kind: turn.kind,
                    before: turn.before,
                    after: turn.after,
                };
                conversion(agent, order)
            });
        }
        Answer::Updated
    }

    /// Says what becomes of what, one after the other, or why it cannot be.
    fn plan_turns(&self, key: AgentKey, changes: &[Conversion]) -> Result<Vec<Turn>, Answer> {
        let mut total = self.agents[key].total.clone();
        let mut free = total.less(&self.in_use(key));
        let admission = self.registry.agent(&self.agents[key].id);
        let coming = admission.map_or(0, Admission::coming_bytes);
        let mut turns = Vec::with_capacity(changes.len());
        for change in changes {
            let all = change.apply(&total).map_err(refusal)?;
            if size(&all) + coming > limits::AGENT_BYTES {
                let why = "the agent would have too many kinds of resources";
                return Err(Answer::Invalid(why.to_string()));
            }
            let rest = change.apply(&free).map_err(refusal)?;
            let (before, after) = change.turns(&free).map_err(refusal)?;
            (total, free) = (all, rest);
            let kind = change.kind();
            turns.push(Turn {
                kind,
                before,
                after,
            });
        }
        Ok(turns)
    }

    /// Adds up what tasks and executors use of an agent. More than a number holds is all of it.
    fn in_use(&self, agent: AgentKey) -> Resources {
        let tasks = self.tasks.of_agent(agent).into_iter();
        let tasks = tasks.map(|key| &self.tasks[key]);
        let tasks = tasks
            .filter(|task| task.is_booked())
            .map(|task| &task.resources);
        let executors = self.tasks.all_executors_on(agent);
        let executors = executors.map(|running| &running.info.resources);
        let mut used = Resources::new();
        for part in tasks.chain(executors) {
            if used.add(part).is_err() {
                return self.agents[agent].total.clone();
            }
        }
        used
    }

    /// Takes offers back until something that nobody uses is free (AL-40).
    fn rescind_in_the_way(&mut self, cx: &mut Cx<'_>, agent: AgentKey, wanted: &Resources) {
        let mut free = self.agents[agent].total.less(&self.in_use(agent));
        let own = |resources: &Resources| resources.filter(|it| !it.is_shared());
        let wanted = own(wanted);
        let keys = self.offers.of_agent(agent);
        for key in &keys {
            if let Some(row) = self.offers.get(*key) {
                free = free.less(&own(&row.offer.resources));
            }
        }
        for key in keys {
            if free.contains(&wanted) {
                return;
            }
            let Some(offered) = self.offers.get(key).map(|row| own(&row.offer.resources)) else {
                continue;
            };
            if wanted.less(&offered) != wanted {
                self.rescind(cx, key);
                let back = free.add(&offered);
                back.expect("what is offered fits what there is");
            }
        }
    }
}

fn refusal(error: OperationError) -> Answer {
    let why = cut_text(error.to_string());
    match error {
        OperationError::NotContained(_) => Answer::Conflict(why),
        OperationError::Nothing
        | OperationError::Overflow(_)
        | OperationError::Invalid(_)
        | OperationError::Overlap { .. }
        | OperationError::SeveralProviders { .. }
        | OperationError::NotDynamic { .. }
        | OperationError::IsVolume { .. }
        | OperationError::IsRevocable { .. }
        | OperationError::SeveralReservations { .. }
        | OperationError::NotTheSame { .. }
        | OperationError::NotAVolume { .. }
        | OperationError::ReadOnly { .. }
        | OperationError::VolumeExists { .. }
        | OperationError::StillShared { .. }
        | OperationError::Unfit { .. }
        | OperationError::OtherDisk { .. }
        | OperationError::BadAmount { .. } => Answer::Invalid(why),
    }
}
