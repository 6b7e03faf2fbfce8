//! Disks that the machine's provider makes and takes back (OF-15, OF-28).
//!
//! A job is durable before the provider is asked, and so is its outcome before the master is told.
//! The outcome is said until the order comes that ends the job; then the provider may forget it.
//! After a restart the provider is asked again for all whose outcome is not known: it goes by the
//! ids of jobs, and does nothing twice. A disk that was to be made, and that the agent does not get
//! since it or the master refuses what the provider says of it, is taken back; that too is durable
//! until it is done. Deliberately not here: the log that both orders are in, and what the framework
//! is told ([`super::operations`]).

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::updates::Stream;
use super::{Agent, AgentRecord, Cx, Effect};
use crate::ids::AgentId;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::ToMaster;
use crate::protocol::disk::{DiskCommand, DiskEnd, DiskEvent, DiskJob, DiskJobId, DiskOutcome};

/// Something that the provider is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// As it was ordered.
    pub(super) job: DiskJob,
    /// How it ended, once the provider has said that.
    pub(super) outcome: Option<DiskOutcome>,
}

impl Job {
    fn ask(&self, agent: &AgentId) -> Effect {
        Effect::Disk(DiskCommand::Do {
            job: job_id(agent, self.job.number),
            change: self.job.change.clone(),
        })
    }
}

fn job_id(agent: &AgentId, number: u64) -> DiskJobId {
    let agent = agent.clone();
    DiskJobId { agent, number }
}

impl Agent {
    /// Has the provider do something, if that is the next operation.
    pub(super) fn on_disk_begun(&mut self, cx: &mut Cx<'_>, job: DiskJob) {
        let Some(agent) = self.state.agent().cloned() else {
            return;
        };
        let Some(peer) = self.take_turn(cx, job.number, job.order()) else {
            return;
        };
        let (number, at) = (job.number, cx.now);
        self.persist(cx, AgentRecord::DiskBegun { job, at });
        let message = ToMaster::CarriedOut { last: number };
        cx.out.emit(Effect::Master { peer, message });
        if let Some(job) = self.state.jobs().get(&number) {
            cx.out.emit(job.ask(&agent));
        }
    }

    /// The provider says how something ended.
    pub(super) fn on_disk(&mut self, cx: &mut Cx<'_>, event: DiskEvent) {
        let DiskEvent { job, outcome } = event;
        let number = job.number;
        if self.state.agent() != Some(&job.agent) {
            tracing::debug!(%job, "a job of another agent: ignored");
            return;
        }
        if self.state.undoing().contains(&number) {
            self.on_disk_undone(cx, job, &outcome);
            return;
        }
        let known = self.state.jobs().get(&number);
        let Some(known) = known.filter(|known| known.outcome.is_none()) else {
            tracing::debug!(%job, "not asked for, or said again: ignored");
            return;
        };
        // What cannot be, or is too long for a frame, the master would not take either.
        let result = known.job.change.result(&outcome);
        let is_lost = planted(Mutant::DiskMadeUnheard) && self.link.joined().is_none();
        let outcome = match result {
            Ok(_) if is_lost => DiskOutcome::Failed("no master is there".into()),
            Ok(_) => outcome,
            Err(why) => DiskOutcome::Failed(why),
        };
        let job = number;
        self.persist(cx, AgentRecord::DiskEnded { job, outcome });
        self.send_disk(cx, number, self.config.update_retry);
    }

    /// Says how something ended, and again if the order does not come that ends it.
    pub(super) fn send_disk(&mut self, cx: &mut Cx<'_>, number: u64, wait: Duration) {
        let (Some(peer), Some(row)) = (self.link.joined(), self.state.jobs().get(&number)) else {
            return;
        };
        let Some(outcome) = row.outcome.clone() else {
            return;
        };
        let job = row.job.clone();
        let message = ToMaster::DiskEnded { job, outcome };
        cx.out.emit(Effect::Master { peer, message });
        self.take_off(cx.now, Stream::Disk(number), wait);
    }

    /// Says all that has ended: the agent is registered.
    pub(super) fn resume_disks(&mut self, cx: &mut Cx<'_>) {
        let jobs: Vec<u64> = self.state.jobs().keys().copied().collect();
        for number in jobs {
            self.send_disk(cx, number, self.config.update_retry);
        }
    }

    /// Ends a job, if that is the next operation: there is what came of it.
    pub(super) fn on_disk_over(&mut self, cx: &mut Cx<'_>, end: DiskEnd) {
        let order = &end.order;
        let Some(peer) = self.take_turn(cx, order.number, Ok(order.clone())) else {
            return;
        };
        let known = self.state.agent();
        let known = known.filter(|_| self.state.jobs().contains_key(&end.job));
        let job = known.map(|agent| job_id(agent, end.job));
        self.land(Stream::Disk(end.job));
        let (order, at) = (end.order.clone(), cx.now);
        let update = self.name_news(&order);
        self.persist(cx, AgentRecord::DiskOver { end, update, at });
        self.tell_carried_out(cx, peer, order.number);
        let Some(job) = job else {
            return;
        };
        let command = if self.state.undoing().contains(&job.number) {
            DiskCommand::Undo { job }
        } else {
            DiskCommand::Forget { job }
        };
        cx.out.emit(Effect::Disk(command));
    }

    /// The provider has taken back what a job made that had failed.
    fn on_disk_undone(&mut self, cx: &mut Cx<'_>, job: DiskJobId, outcome: &DiskOutcome) {
        match outcome {
            DiskOutcome::Failed(_) | DiskOutcome::Returned(_) => {
                let number = job.number;
                self.persist(cx, AgentRecord::DiskUndone { job: number });
                cx.out.emit(Effect::Disk(DiskCommand::Forget { job }));
            }
            DiskOutcome::Made(_) => tracing::debug!(%job, "said before it was undone: ignored"),
        }
    }

    /// Asks the provider again, after a restart.
    pub(super) fn ask_for_disks(&self, cx: &mut Cx<'_>) {
        let Some(agent) = self.state.agent() else {
            return;
        };
        let (jobs, undoing) = (self.state.jobs(), self.state.undoing());
        let known = jobs.keys().chain(undoing);
        let known = known.map(|number| job_id(agent, *number)).collect();
        let agent_id = agent.clone();
        cx.out.emit(Effect::Disk(DiskCommand::Recover {
            agent: agent_id,
            known,
        }));
        for job in jobs.values().filter(|job| job.outcome.is_none()) {
            cx.out.emit(job.ask(agent));
        }
        for number in undoing {
            let job = job_id(agent, *number);
            cx.out.emit(Effect::Disk(DiskCommand::Undo { job }));
        }
    }
}
