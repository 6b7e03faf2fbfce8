//! Operations: what the master orders to become of the agent's resources, and what is told of it.
//!
//! The orders of an agent are a log with numbers, kept by its master. The agent carries each out
//! once and in turn; after a lost connection it says how far it is, and hears the rest. So both
//! always have the same, but for what is on its way.
//!
//! What became of an operation that its framework has named is told like the news of a task: it is
//! durable before it is sent, and sent until it is acknowledged (OF-55). Deliberately not here:
//! whether an operation makes sense, which the master has checked, and what a volume is on disk.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::updates::Stream;
use super::{Agent, AgentRecord, Cx, Effect};
use crate::ids::{FrameworkId, PeerId, UpdateId};
use crate::protocol::agent::ToMaster;
use crate::protocol::hello::CloseReason;
use crate::protocol::operation::{Converted, OperationState, OperationStatus, Order};
use crate::protocol::task::TaskInfo;
use crate::resources::operations::OperationError;
use crate::resources::{Resource, Resources};
use crate::time::Time;

/// News about an operation that nobody has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Said {
    /// Whose operation.
    pub(super) framework: FrameworkId,
    /// The news.
    pub(super) status: OperationStatus,
}

impl Said {
    /// Says that an operation is done, or why it has failed, if somebody wants to hear it.
    pub(super) fn of(
        order: &Order,
        failed: Option<&String>,
        update: Option<UpdateId>,
        at: Time,
    ) -> Option<Self> {
        let owner = order.owner.as_ref()?;
        let id = owner.id.clone()?;
        let status = match failed {
            None => OperationStatus {
                converted: order.after.clone(),
                update,
                ..OperationStatus::new(id, OperationState::Finished, at)
            },
            Some(why) => OperationStatus {
                message: why.clone(),
                update,
                ..OperationStatus::new(id, OperationState::Failed, at)
            },
        };
        let framework = owner.framework.clone();
        Some(Self { framework, status })
    }
}

impl Agent {
    /// Carries an operation out, if it is the next one.
    pub(super) fn on_order(&mut self, cx: &mut Cx<'_>, order: Order) {
        let number = order.number;
        let Some(peer) = self.take_turn(cx, number, Ok(order.clone())) else {
            return;
        };
        let (update, at) = (self.name_news(&order), cx.now);
        self.persist(cx, AgentRecord::CarriedOut { order, update, at });
        self.tell_carried_out(cx, peer, number);
        self.delete_volumes(cx);
    }

    /// Has what there is after an order, if that is the next one, and returns whom to tell so. The
    /// record of it has to follow.
    pub(super) fn take_turn(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        order: Result<Order, OperationError>,
    ) -> Option<PeerId> {
        let Some(peer) = self.link.joined() else {
            tracing::debug!("an operation before the registration: ignored");
            return None;
        };
        let last = self.state.converted().last;
        if number <= last {
            cx.out.emit(Effect::Master {
                peer,
                message: ToMaster::CarriedOut { last },
            });
            return None;
        }
        if number - 1 > last {
            tracing::debug!(number, last, "operations are missing: ignored");
            return None;
        }
        match order.and_then(|order| self.turned(&order)) {
            Ok(total) => self.total = total,
            Err(why) => {
                let reason = format!("operation {number} cannot be done: {why}");
                self.give_up(cx, peer, CloseReason::Malformed, reason);
                return None;
            }
        }
        Some(peer)
    }

    /// Names the news about an operation, if its framework has named that.
    pub(super) fn name_news(&mut self, order: &Order) -> Option<UpdateId> {
        let is_named = order.owner.as_ref().is_some_and(|owner| owner.id.is_some());
        is_named.then(|| self.new_update_id())
    }

    /// Says that an operation was carried out, and what there is to say about it.
    pub(super) fn tell_carried_out(&mut self, cx: &mut Cx<'_>, peer: PeerId, number: u64) {
        let message = ToMaster::CarriedOut { last: number };
        cx.out.emit(Effect::Master { peer, message });
        self.begin_to_say(cx, number);
    }

    /// Says what became of an operation for the first time.
    pub(super) fn begin_to_say(&mut self, cx: &mut Cx<'_>, number: u64) {
        // What had to go is told no more.
        let first = self.state.said().keys().next().copied();
        let gone = Stream::Operation(0)..Stream::Operation(first.unwrap_or(number));
        let gone: Vec<Stream> = self.flights.range(gone).map(|(it, _)| *it).collect();
        gone.into_iter().for_each(|stream| self.land(stream));
        self.send_operation(cx, number, self.config.update_retry);
    }

    /// Returns what the agent has after an operation.
    fn turned(&self, order: &Order) -> Result<Resources, OperationError> {
        let mut converted = self.state.converted().clone();
        converted.note(order.number, &order.before, &order.after)?;
        converted.total(&self.config.info.resources)
    }

    /// Returns what a task needs of what operations have made, and the agent does not have (AG-30).
    pub(super) fn unknown_resources(&self, task: &TaskInfo) -> Option<Resource> {
        let executor = task.executor.as_ref().map(|executor| &executor.resources);
        let needs = [Some(&task.resources), executor].into_iter().flatten();
        let mut made = needs.flatten().filter(|entry| is_made(entry));
        made.find(|entry| {
            let one = Resources::of([Resource::clone(entry)]);
            one.is_ok_and(|one| !self.total.contains(&one))
        })
        .cloned()
    }

    /// Says what became of an operation, and again if nothing comes back.
    pub(super) fn send_operation(&mut self, cx: &mut Cx<'_>, number: u64, wait: Duration) {
        let (Some(peer), Some(said)) = (self.link.joined(), self.state.said().get(&number)) else {
            return;
        };
        let message = ToMaster::OperationUpdate {
            number,
            framework: said.framework.clone(),
            status: OperationStatus {
                agent: self.state.agent().cloned(),
                ..said.status.clone()
            },
        };
        cx.out.emit(Effect::Master { peer, message });
        self.take_off(cx.now, Stream::Operation(number), wait);
    }

    /// Says all that waits to be acknowledged: the agent is registered.
    pub(super) fn resume_operations(&mut self, cx: &mut Cx<'_>) {
        let waiting: Vec<u64> = self.state.said().keys().copied().collect();
        for number in waiting {
            self.send_operation(cx, number, self.config.update_retry);
        }
    }

    pub(super) fn on_operation_acknowledged(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        update: UpdateId,
    ) {
        let said = self.state.said().get(&number);
        if said.and_then(|said| said.status.update) != Some(update) {
            tracing::debug!(number, ?update, "nothing to be acknowledged: ignored");
            return;
        }
        self.forget_operation(cx, number);
    }

    /// Stops telling a framework that is gone about its operations.
    pub(super) fn forget_operations_of(&mut self, cx: &mut Cx<'_>, framework: &FrameworkId) {
        let said = self.state.said().iter();
        let all = said.map(|(number, said)| (*number, said));
        let all = all.chain(self.state.volumes().to_be_said());
        let of_it = all.filter(|(_, said)| said.framework == *framework);
        let numbers: Vec<u64> = of_it.map(|(number, _)| number).collect();
        for number in numbers {
            self.forget_operation(cx, number);
        }
    }

    fn forget_operation(&mut self, cx: &mut Cx<'_>, number: u64) {
        self.land(Stream::Operation(number));
        self.persist(cx, AgentRecord::OperationAcknowledged { number });
    }
}

/// Returns whether an operation has made this, so that it may not be there.
fn is_made(entry: &Resource) -> bool {
    entry.is_dynamically_reserved() || entry.is_persistent_volume() || entry.has_provider()
}

/// Returns what an agent has, or why it cannot be what operations have made of it.
pub(super) fn total(converted: &Converted, described: &Resources) -> Result<Resources, String> {
    let total = converted.total(described);
    total.map_err(|why| format!("operations have made something of what it does not have: {why}"))
}
