//! A scheduler with state of its own: it reserves disk, makes volumes of it, runs tasks on them,
//! makes them larger and smaller, and gives all of it back.
//!
//! For users to have company for theirs, as those in [`super::workload`].

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::ids::{OperationId, TaskId};
use crate::protocol::offer::{Offer, Operation};
use crate::protocol::operation::Conversion;
use crate::protocol::task::CommandInfo;
use crate::resources::{
    Labels, Metadata, Milli, Reservation, Resource, Resources, Value, Volume, VolumeId,
};
use crate::roles::Role;
use crate::scheduler::{Logic, UserCall, UserEvent};
use crate::time::Time;

/// What a new volume has, in MiB.
const SIZE: Milli = Milli::from_units(4);
/// By how much one grows and shrinks.
const STEP: Milli = Milli::from_units(1);
/// For how long it does not want what it has no use for.
const REFUSE: Duration = Duration::from_secs(2);

/// Keeps volumes on all agents, and something always changes.
#[derive(Debug)]
pub struct Keeper {
    name: String,
    role: Role,
    /// The name in its certificate, which is that of its node.
    principal: Arc<str>,
    /// How many things it has named, and how often it has decided.
    count: u64,
    asked: BTreeSet<OperationId>,
    /// The ids of volumes that it has destroyed: others are to have them again.
    free: Vec<VolumeId>,
}

impl Keeper {
    /// Makes a scheduler in a role, which is its own; the ids of what it makes begin with `name`.
    pub fn new(name: impl Into<String>, role: Role, principal: &str) -> Self {
        Self {
            name: name.into(),
            role,
            principal: Arc::from(principal),
            count: 0,
            asked: BTreeSet::new(),
            free: Vec::new(),
        }
    }

    fn next(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.name, self.count)
    }

    /// Describes an amount of disk, reserved by it.
    fn reserved(&self, amount: Milli) -> Option<Resource> {
        let disk = Resource::new("disk", Value::Scalar(amount)).ok()?;
        let level = Reservation::Dynamic {
            role: self.role.clone(),
            principal: Some(Arc::clone(&self.principal)),
            labels: Labels::new(),
        };
        disk.push_reservation(level).ok()
    }

    fn volume(&mut self) -> Option<Resource> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => VolumeId::new(&self.next()).ok()?,
        };
        let disk = self.reserved(SIZE)?;
        let metadata = Metadata {
            volume: Some(Volume {
                principal: Some(Arc::clone(&self.principal)),
                ..Volume::new(id, "/data")
            }),
            ..disk.metadata().clone()
        };
        disk.with_metadata(metadata).ok()
    }

    fn named(&mut self, change: Conversion) -> Option<Operation> {
        let id = OperationId::new(&self.next()).ok()?;
        self.asked.insert(id.clone());
        let id = Some(id);
        Some(Operation::Convert { id, change })
    }

    fn launch(&mut self, offer: &Offer, volume: Resource) -> Option<Operation> {
        let id = TaskId::new(&self.next()).ok()?;
        let task = offer.task(id, bag(volume)?, CommandInfo::shell("work"));
        Some(Operation::Launch(vec![task]))
    }

    /// Decides what to do with an offer.
    fn decide(&mut self, offer: &Offer) -> Option<Vec<Operation>> {
        self.count += 1;
        let find = |is: fn(&Resource) -> bool| offer.resources.iter().find(|it| is(it)).cloned();
        let mine = find(Resource::is_persistent_volume);
        let reserved = find(|it| it.is_dynamically_reserved() && !it.is_persistent_volume());
        let is_plain = |it: &Resource| !it.is_reserved() && !it.has_provider();
        let plain = offer.resources.filter(is_plain);
        let has_room = plain.scalar("disk") >= SIZE;
        match (mine, reserved) {
            (Some(volume), None) => match self.count % 4 {
                0 => {
                    let id = volume.metadata().volume.as_ref().map(|it| it.id.clone());
                    self.free.extend(id);
                    let gone = bag(volume)?;
                    Some(vec![self.named(Conversion::Destroy(gone))?])
                }
                1 if has_room => {
                    let addition = self.reserved(STEP)?;
                    let reserve = Conversion::Reserve(bag(addition.clone())?);
                    let grow = Conversion::Grow { volume, addition };
                    Some(vec![self.named(reserve)?, self.named(grow)?])
                }
                2 if volume.value().quantity() > STEP => {
                    let amount = STEP;
                    Some(vec![self.named(Conversion::Shrink { volume, amount })?])
                }
                _ => Some(vec![self.launch(offer, volume)?]),
            },
            (_, Some(disk)) => Some(vec![self.named(Conversion::Unreserve(bag(disk)?))?]),
            (None, None) if has_room => {
                let volume = self.volume()?;
                let reserve = Conversion::Reserve(bag(self.reserved(SIZE)?)?);
                let create = Conversion::Create(bag(volume.clone())?);
                let mut all = vec![self.named(reserve)?, self.named(create)?];
                all.push(self.launch(offer, volume)?);
                Some(all)
            }
            (None, None) => None,
        }
    }
}

fn bag(resource: Resource) -> Option<Resources> {
    Resources::of([resource]).ok()
}

impl Logic for Keeper {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) => {
                for offer in offers {
                    let operations = self.decide(&offer);
                    calls.push(match operations {
                        Some(operations) => UserCall::Accept {
                            offers: vec![offer.id],
                            operations,
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
    use alloc::boxed::Box;

    use super::*;
    use crate::protocol::framework::FrameworkInfo;
    use crate::sim::{Checking, Faults, Name, Options, Sim};

    fn sim(seed: u64, faults: Faults) -> Sim {
        let machine = Resources::parse("cpus:4;mem:1024;disk:16").unwrap();
        let mut options = Options::new(seed, 3, 1, machine);
        options.checking = Checking::USUAL;
        options.faults = faults;
        let mut sim = Sim::new(options);
        for n in 2..4 {
            let role = Role::new(&format!("keep-{n}")).unwrap();
            let mut info = FrameworkInfo::new("keeper");
            info.failover_timeout = Duration::from_secs(7 * 24 * 3600);
            info.roles = vec![role.clone()];
            let principal = format!("{}", Name::Framework(n));
            let keeper = Keeper::new(format!("k{n}"), role, &principal);
            assert_eq!(sim.framework(info, Box::new(keeper)), Name::Framework(n));
        }
        sim
    }

    /// How many operations the agents of a cluster have carried out, and how many volumes there
    /// are.
    fn made(sim: &Sim) -> (u64, usize) {
        let agents = (1..=3).filter_map(|n| sim.agent(n));
        let mut made = (0, 0);
        for agent in agents {
            made.0 += agent.state().converted().last;
            let total = agent.view().total().iter();
            made.1 += total.filter(|it| it.is_persistent_volume()).count();
        }
        made
    }

    #[test]
    fn keepers_keep_at_it() {
        let mut sim = sim(1, Faults::none());
        sim.run_for(Duration::from_secs(300));
        let (operations, volumes) = made(&sim);
        assert!(operations > 20 && volumes > 0, "{operations}, {volumes}");
        sim.expect_converged();
    }

    #[test]
    fn what_is_reserved_stays_and_all_agree_on_it_whatever_goes_wrong() {
        // I5, OF-14, OF-55, RM-32, SM-31
        let mut operations = 0;
        for seed in 0..40 {
            let mut sim = sim(seed, Faults::drawn(seed));
            sim.run_for(Duration::from_secs(600));
            sim.heal();
            sim.expect_converged();
            operations += made(&sim).0;
        }
        assert!(operations > 400, "{operations}");
    }
}
