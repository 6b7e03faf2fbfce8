//! Answers to offers, and what becomes of the tasks and operations of one that cannot be
//! delivered.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Effect, Out, Scheduler, UserEvent};
use crate::ids::OfferId;
use crate::limits;
use crate::protocol::offer::{InverseOffer, Offer, Operation, TaskGroup};
use crate::protocol::operation::{OperationState, OperationStatus};
use crate::protocol::scheduler::Call;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::wire::size;
use crate::time::Time;

impl Scheduler {
    pub(super) fn forget(&mut self, offers: &[OfferId]) {
        for offer in offers {
            self.offers.remove(offer);
        }
    }

    pub(super) fn on_offers(&mut self, offers: Vec<Offer>, out: &mut Out) {
        for offer in &offers {
            self.offers.insert(offer.id.clone(), offer.into());
        }
        out.emit(Effect::User(UserEvent::Offers(offers)));
    }

    pub(super) fn on_rescinded(&mut self, offer: OfferId, out: &mut Out) {
        if self.offers.remove(&offer).is_some() {
            out.emit(Effect::User(UserEvent::Rescinded(offer)));
        }
    }

    pub(super) fn on_inverse_offers(&mut self, offers: Vec<InverseOffer>, out: &mut Out) {
        for offer in &offers {
            self.inverse.insert(offer.id.clone(), offer.into());
        }
        out.emit(Effect::User(UserEvent::InverseOffers(offers)));
    }

    pub(super) fn on_inverse_rescinded(&mut self, offer: OfferId, out: &mut Out) {
        if self.inverse.remove(&offer).is_some() {
            out.emit(Effect::User(UserEvent::InverseRescinded(offer)));
        }
    }

    pub(super) fn forget_inverse(&mut self, offers: &[OfferId]) {
        for offer in offers {
            self.inverse.remove(offer);
        }
    }
}

/// Makes an accept, or a decline if it is too long for the wire; then its tasks are dropped.
pub(super) fn accept(
    now: Time,
    offers: Vec<OfferId>,
    operations: Vec<Operation>,
    refuse: Option<Duration>,
    out: &mut Out,
) -> Call {
    // One byte says that it is an accept.
    let bytes = 1 + size(&(&offers, &operations, refuse));
    let limit = limits::FRAME_BYTES;
    if bytes <= limit {
        return Call::Accept {
            offers,
            operations,
            refuse,
        };
    }
    let long =
        format!("the accept takes {bytes} bytes on the wire, more than the limit of {limit}");
    drop_tasks(now, operations, Reason::TaskInvalid, &long, out);
    Call::Decline { offers, refuse }
}

/// Answers an accept that cannot be delivered: its tasks were never started (TK-53).
pub(super) fn drop_tasks(
    now: Time,
    operations: Vec<Operation>,
    reason: Reason,
    message: &str,
    out: &mut Out,
) {
    for operation in operations {
        match operation {
            Operation::Launch(tasks) | Operation::LaunchGroup(TaskGroup { tasks, .. }) => {
                for task in tasks {
                    let status = TaskStatus {
                        reason: Some(reason),
                        message: message.into(),
                        agent: Some(task.agent),
                        ..TaskStatus::new(task.id, TaskState::Dropped, Source::Master, now)
                    };
                    out.emit(Effect::User(UserEvent::Update(status)));
                }
            }
            Operation::Convert { id: Some(id), .. } => {
                let status = OperationStatus {
                    message: message.into(),
                    ..OperationStatus::new(id, OperationState::Dropped, now)
                };
                out.emit(Effect::User(UserEvent::Operation(status)));
            }
            Operation::Convert { id: None, .. } => {}
        }
    }
}
