//! A scheduler that has disks made of raw ones, runs tasks on them, and has them taken back.
//!
//! For users to have company for theirs, as those in [`super::workload`].

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::ids::{OperationId, TaskId};
use crate::protocol::disk::{DiskChange, DiskTarget};
use crate::protocol::offer::{Offer, Operation};
use crate::protocol::operation::Conversion;
use crate::protocol::task::CommandInfo;
use crate::resources::{DiskKind, Milli, Resource, Resources, Value};
use crate::scheduler::{Logic, UserCall, UserEvent};
use crate::time::Time;

/// What an agent has for it: space of a pool, of which disks of any size can be made.
pub(super) const POOL: &str = r#"disk(*)<raw,profile="fast",provider="store">:16"#;
/// The size of its disks, in MiB.
const SIZE: Milli = Milli::from_units(4);
/// For how long it does not want what it has no use for.
const REFUSE: Duration = Duration::from_secs(2);

/// Something is always being made or taken back.
#[derive(Debug)]
pub struct Formatter {
    name: String,
    /// How many things it has named, and how often it has decided.
    count: u64,
    asked: BTreeSet<OperationId>,
}

impl Formatter {
    /// Makes a scheduler; the ids of what it makes begin with `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            count: 0,
            asked: BTreeSet::new(),
        }
    }

    fn next(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.name, self.count)
    }

    /// Asks for a change; each other time it wants to hear what came of it.
    fn ask(&mut self, change: DiskChange) -> Option<Operation> {
        let id = OperationId::new(&self.next()).ok()?;
        let id = self.count.is_multiple_of(2).then_some(id);
        self.asked.extend(id.clone());
        let change = Conversion::Disk(change);
        Some(Operation::Convert { id, change })
    }

    /// Decides what to do with an offer.
    fn decide(&mut self, offer: &Offer) -> Option<Operation> {
        self.count += 1;
        let mut disks = offer.resources.iter().filter(|it| it.has_provider());
        let made = disks.clone().find(|it| !is_raw(it)).cloned();
        let pool = disks.find(|it| is_raw(it) && it.value().quantity() >= SIZE);
        let pool = pool.cloned();
        match (made, pool) {
            (Some(disk), _) if self.count.is_multiple_of(3) => {
                let id = TaskId::new(&self.next()).ok()?;
                let task = offer.task(id, bag(disk)?, CommandInfo::shell("work"));
                Some(Operation::Launch(vec![task]))
            }
            (Some(source), None) => self.ask(DiskChange::Destroy { source }),
            (Some(source), Some(_)) if self.count.is_multiple_of(2) => {
                self.ask(DiskChange::Destroy { source })
            }
            (_, Some(pool)) => {
                let source = of_size(&pool)?;
                let target = if self.count.is_multiple_of(5) {
                    DiskTarget::Block
                } else {
                    DiskTarget::Mount
                };
                let profile = None;
                self.ask(DiskChange::Create {
                    source,
                    target,
                    profile,
                })
            }
            (None, None) => None,
        }
    }
}

fn is_raw(disk: &Resource) -> bool {
    let source = disk.metadata().source.as_ref();
    source.is_some_and(|source| source.kind == DiskKind::Raw)
}

fn of_size(pool: &Resource) -> Option<Resource> {
    let part = Resource::new(pool.name(), Value::Scalar(SIZE)).ok()?;
    part.with_metadata(pool.metadata().clone()).ok()
}

fn bag(resource: Resource) -> Option<Resources> {
    Resources::of([resource]).ok()
}

impl Logic for Formatter {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) => {
                for offer in offers {
                    calls.push(match self.decide(&offer) {
                        Some(operation) => UserCall::Accept {
                            offers: vec![offer.id],
                            operations: vec![operation],
                            refuse: Some(REFUSE),
                        },
                        None => UserCall::decline(&offer, Some(REFUSE)),
                    });
                }
            }
            UserEvent::Operation(status) if status.state.is_terminal() => {
                self.asked.remove(&status.id);
            }
            UserEvent::Subscribed { .. } if !self.asked.is_empty() => {
                // Of what was on its way nobody else says anything.
                calls.push(UserCall::ReconcileOperations {
                    operations: Vec::new(),
                });
            }
            UserEvent::Subscribed { .. }
            | UserEvent::Disconnected
            | UserEvent::Rescinded(_)
            | UserEvent::InverseOffers(_)
            | UserEvent::InverseRescinded(_)
            | UserEvent::Update(_)
            | UserEvent::Operation(_)
            | UserEvent::Error { .. }
            | UserEvent::Message { .. }
            | UserEvent::ExecutorEnded { .. }
            | UserEvent::AgentLost { .. }
            | UserEvent::Rejected { .. }
            | UserEvent::Updated => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Checking, Faults, Options, Sim};

    fn sim(seed: u64, faults: Faults) -> Sim {
        let machine = format!("cpus:4;mem:1024;{POOL}");
        let machine = Resources::parse(&machine).unwrap();
        let mut options = Options::new(seed, 3, 1, machine);
        options.checking = Checking::USUAL;
        options.formatters = 2;
        options.faults = faults;
        Sim::new(options)
    }

    /// How many orders the agents have carried out, and how many disks they have.
    fn made(sim: &Sim) -> (u64, usize) {
        let agents = (1..=3).filter_map(|n| sim.agent(n));
        let mut made = (0, 0);
        for agent in agents {
            made.0 += agent.state().converted().last;
            let disks = agent.view().total().iter();
            made.1 += disks.filter(|it| it.has_provider() && !is_raw(it)).count();
        }
        made
    }

    #[test]
    fn disks_are_made_and_taken_back() {
        // OF-15, OF-28
        let mut sim = sim(1, Faults::none());
        sim.run_for(Duration::from_secs(300));
        let (orders, disks) = made(&sim);
        assert!(orders > 40 && disks > 0, "{orders}, {disks}");
        sim.expect_converged();
    }

    #[test]
    fn no_disk_is_made_twice_or_lost_whatever_goes_wrong() {
        // OF-15, OF-55, SM-31, SM-32
        let mut orders = 0;
        for seed in 0..40 {
            let mut sim = sim(seed, Faults::drawn(seed));
            sim.run_for(Duration::from_secs(600));
            sim.heal();
            sim.expect_converged();
            orders += made(&sim).0;
        }
        assert!(orders > 400, "{orders}");
    }
}
