//! What the agent remembers of operations, and of what they have made and destroyed.
//!
//! Deliberately not here: whether they can be carried out, which was tried before.

use super::AgentState;
use crate::agent::disks::Job;
use crate::agent::operations::Said;
use crate::ids::UpdateId;
use crate::protocol::disk::{DiskEnd, DiskJob, DiskOutcome};
use crate::protocol::operation::{OperationKind, Order};
use crate::time::Time;

impl AgentState {
    fn apply_order(&mut self, order: &Order, at: Time) {
        self.last_time = self.last_time.max(at);
        let noted = self
            .converted
            .note(order.number, &order.before, &order.after);
        noted.expect("an operation was tried before it was recorded");
    }

    pub(super) fn apply_carried_out(&mut self, order: &Order, update: Option<UpdateId>, at: Time) {
        self.apply_order(order, at);
        let said = Said::of(order, None, update, at);
        let said = match &self.agent {
            Some(agent) => self.volumes.note(agent, order, said),
            None => said,
        };
        if let Some(said) = said {
            self.said.insert(order.number, said);
        }
    }

    pub(super) fn apply_volumes_deleted(&mut self, order: u64) {
        if let Some(said) = self.volumes.deleted(order) {
            self.said.insert(order, said);
        }
    }

    pub(super) fn apply_operation_told(&mut self, number: u64) {
        self.said.remove(number);
        self.volumes.say_nothing(number);
    }

    pub(super) fn apply_disk_begun(&mut self, job: &DiskJob, at: Time) {
        let order = job.order();
        let order = order.expect("an operation was tried before it was recorded");
        self.apply_order(&order, at);
        let row = Job {
            job: job.clone(),
            outcome: None,
        };
        self.jobs.insert(job.number, row);
    }

    pub(super) fn apply_disk_ended(&mut self, job: u64, outcome: &DiskOutcome) {
        if let Some(row) = self.jobs.get_mut(&job) {
            row.outcome = Some(outcome.clone());
        }
    }

    pub(super) fn apply_disk_over(&mut self, end: &DiskEnd, update: Option<UpdateId>, at: Time) {
        self.apply_order(&end.order, at);
        let made = self.jobs.remove(&end.job).map(|row| row.job.change.kind());
        if end.failed.is_some() && made == Some(OperationKind::CreateDisk) {
            self.undoing.insert(end.job);
        }
        if let Some(said) = Said::of(&end.order, end.failed.as_ref(), update, at) {
            self.said.insert(end.order.number, said);
        }
    }
}
