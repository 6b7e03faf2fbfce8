//! What an operator gives to every container's control group beside its limits, and cores that a
//! container has for itself (CT-17, CT-32, CT-64).
//!
//! Deliberately not here: the limits, which follow from resources; devices (`nodes`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerLimits;
use tracing::debug;

use crate::cgroup::{Cores, Cpus, Hierarchies, Placement, PlacementError, Settings, Topology};
use crate::error::Result;
use crate::isolator::{Isolator, Outcome, Recovered, Subject, Survivors};
use crate::launch::Launch;

/// Has each container's group made with the operator's settings.
#[derive(Debug)]
pub struct Groups {
    settings: Settings,
    placing: Option<Placing>,
}

/// Gives cores away.
#[derive(Debug)]
struct Placing {
    table: Mutex<Placement>,
    /// The hardware threads of a core: as many CPUs are taken of the agent by it.
    threads: u32,
    hierarchies: Hierarchies,
    root: String,
}

impl Groups {
    /// Gives these settings to all, the groups of whom are below `root`. With `places` each task
    /// that takes whole CPUs has cores for itself, all of one memory node, as long as there are
    /// such; others run where they may.
    ///
    /// # Errors
    /// If the machine does not have what they take.
    pub fn new(settings: Settings, places: bool, root: &str) -> Result<Self> {
        let hierarchies = Hierarchies::detect()?;
        let mut probe = settings.clone();
        if places {
            let cores = Cores {
                count: 1,
                node: None,
            };
            probe.cpus = Cpus::Cores(cores);
        }
        hierarchies.check(&probe)?;
        let placing = match places {
            true => Some(Placing::new(
                Topology::detect()?,
                hierarchies,
                root.to_owned(),
            )),
            false => None,
        };
        Ok(Self { settings, placing })
    }
}

impl Placing {
    fn new(topology: Topology, hierarchies: Hierarchies, root: String) -> Self {
        let cores = topology.nodes.iter().flat_map(|node| &node.cores);
        let threads = cores.map(|core| core.len()).max().unwrap_or(1).max(1);
        Self {
            threads: u32::try_from(threads).unwrap_or(1),
            table: Mutex::new(Placement::new(topology)),
            hierarchies,
            root,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Placement> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, subject: &Subject<'_>, settings: &mut Settings) -> Outcome<()> {
        let Some(count) = cores(&subject.spec.limits, self.threads) else {
            return Ok(());
        };
        let wish = Cores { count, node: None };
        match self.lock().place(subject.id.as_str(), &wish) {
            Ok(grant) => {
                settings.cpus = Cpus::Only(grant.cpus);
                settings.memory_nodes = grant.nodes;
                Ok(())
            }
            // It has its share of time all the same.
            Err(error @ PlacementError::Full { .. }) => {
                debug!(id = %subject.id, %error, "a container without cores for itself");
                Ok(())
            }
            Err(error @ (PlacementError::Placed { .. } | PlacementError::NoNode { .. })) => {
                Err(error.into())
            }
        }
    }
}

/// Returns how many cores hold what a container takes, if that is whole CPUs.
fn cores(limits: &ContainerLimits, threads: u32) -> Option<u32> {
    let taken = limits.share.or(limits.cpus)?.thousandths();
    let cpus = u32::try_from(taken / 1000)
        .ok()
        .filter(|_| taken % 1000 == 0)?;
    (cpus > 0).then(|| cpus.div_ceil(threads))
}

impl Isolator for Groups {
    fn name(&self) -> &str {
        "groups"
    }

    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        // Whoever's cores are not known is not passed over: they could be given away twice.
        if let Some(placing) = &self.placing {
            for id in live.keys() {
                let group = placing.hierarchies.group(&placing.root, id.as_str())?;
                if let Some(cpus) = group.cpus()? {
                    placing.lock().claim(id.as_str(), cpus);
                }
            }
        }
        Ok(Recovered::default())
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let mut settings = self.settings.clone();
        if let Some(placing) = &self.placing {
            placing.place(subject, &mut settings)?;
        }
        launch.group = settings;
        Ok(())
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        if let Some(placing) = &self.placing {
            placing.lock().release(id.as_str());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tepui_core::resources::Milli;

    use super::*;

    #[test]
    fn whole_cpus_are_cores_and_parts_of_one_are_not() {
        // CT-64
        let taking = |thousandths| ContainerLimits {
            cpus: Some(Milli::from_thousandths(thousandths)),
            ..ContainerLimits::default()
        };
        assert_eq!(cores(&taking(500), 1), None);
        assert_eq!(cores(&taking(2_000), 1), Some(2));
        assert_eq!(cores(&taking(3_000), 2), Some(2));
        assert_eq!(cores(&taking(2_500), 2), None);
        assert_eq!(cores(&ContainerLimits::default(), 1), None);
        // What it takes counts, not how much more it may use.
        let limited = ContainerLimits {
            share: Some(Milli::from_units(1)),
            ..taking(4_000)
        };
        assert_eq!(cores(&limited, 1), Some(1));
    }
}
