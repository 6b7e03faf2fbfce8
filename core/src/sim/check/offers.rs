//! An accept that names an offer which is no longer good launches nothing (OF-11, OF-12).
//!
//! The ledger watches what the master says and hears. It may think an offer good that the master
//! has silently taken back, never the other way round.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ids::{OfferId, TaskId};
use crate::machine::Output;
use crate::master::{Effect, Input};
use crate::protocol::agent::ToAgent;
use crate::protocol::offer::Operation;
use crate::protocol::scheduler::{Call, Event};
use crate::registry::RegistryOp;
use crate::sim::options::Checking;

/// The offers that may be accepted.
#[derive(Debug)]
pub(in crate::sim) struct Ledger {
    checking: Checking,
    good: BTreeSet<OfferId>,
    /// The tasks of an accept that must launch nothing.
    doomed: Vec<TaskId>,
    violation: Option<TaskId>,
}

impl Ledger {
    pub(in crate::sim) fn new(checking: Checking) -> Self {
        Self {
            checking,
            good: BTreeSet::new(),
            doomed: Vec::new(),
            violation: None,
        }
    }

    /// Sees what the master is about to hear.
    pub(in crate::sim) fn hears(&mut self, input: &Input) {
        self.doomed.clear();
        let Input::Scheduler { call, .. } = input else {
            return;
        };
        match call {
            Call::Accept {
                offers, operations, ..
            } => {
                if !offers.iter().all(|offer| self.good.contains(offer)) {
                    for Operation::Launch(tasks) in operations {
                        self.doomed.extend(tasks.iter().map(|task| task.id.clone()));
                    }
                }
                self.forget(offers);
            }
            Call::Decline { offers, .. } => self.forget(offers),
            Call::Subscribe { .. }
            | Call::Teardown
            | Call::Suppress
            | Call::Revive
            | Call::Kill { .. }
            | Call::Acknowledge { .. } => {}
        }
    }

    /// Sees what the master wants.
    pub(in crate::sim) fn saw(&mut self, output: &Output<RegistryOp, Effect>) {
        if self.checking == Checking::Off {
            return;
        }
        let (Output::Effect(effect) | Output::Free(effect)) = output else {
            return;
        };
        match effect {
            Effect::Scheduler {
                event: Event::Offers(offers),
                ..
            } => self
                .good
                .extend(offers.iter().map(|offer| offer.id.clone())),
            Effect::Scheduler {
                event: Event::Rescind(offer),
                ..
            } => {
                self.good.remove(offer);
            }
            Effect::Agent {
                message: ToAgent::RunTask { task, .. },
                ..
            } => {
                if self.doomed.contains(&task.id) {
                    self.violation = Some(task.id.clone());
                }
            }
            Effect::Scheduler { .. }
            | Effect::Agent { .. }
            | Effect::Respond { .. }
            | Effect::Disconnect { .. } => {}
        }
    }

    /// Says what was launched that should not have been.
    pub(in crate::sim) fn check(&mut self) -> Result<(), String> {
        self.doomed.clear();
        match self
            .violation
            .take()
            .filter(|_| self.checking == Checking::Always)
        {
            Some(task) => Err(format!("{task} was launched on a dead offer")),
            None => Ok(()),
        }
    }

    fn forget(&mut self, offers: &[OfferId]) {
        for offer in offers {
            self.good.remove(offer);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::ids::{AgentId, PeerId};
    use crate::protocol::framework::FrameworkInfo;
    use crate::protocol::task::TaskInfo;
    use crate::resources::Resources;

    fn accept(offer: &OfferId, task: &TaskInfo) -> Input {
        Input::Scheduler {
            peer: PeerId(1),
            call: Call::Accept {
                offers: vec![offer.clone()],
                operations: vec![Operation::Launch(vec![task.clone()])],
                refuse: None,
            },
        }
    }

    #[test]
    fn a_launch_on_a_dead_offer_is_found() {
        let offer = OfferId::new("m-O1").unwrap();
        let task = TaskInfo {
            id: TaskId::new("t").unwrap(),
            name: "t".into(),
            agent: AgentId::new("m-S1").unwrap(),
            resources: Resources::default(),
            command: None,
            executor: None,
            data: Vec::new(),
            kill_grace: None,
            pids: None,
        };
        let run = Output::Effect(Effect::Agent {
            peer: PeerId(2),
            message: ToAgent::RunTask {
                framework: FrameworkInfo::new("f"),
                task: task.clone(),
            },
        });
        let mut ledger = Ledger::new(Checking::Always);
        ledger.good.insert(offer.clone());
        ledger.hears(&accept(&offer, &task));
        ledger.saw(&run);
        assert_eq!(ledger.check(), Ok(()));
        ledger.hears(&accept(&offer, &task));
        ledger.saw(&run);
        assert!(ledger.check().is_err());
    }
}
