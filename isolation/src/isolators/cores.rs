//! Which containers have cores for themselves, and on which CPUs all others run (CT-64).
//!
//! Who takes whole CPUs has as many cores of one memory node as long as there are some; everybody
//! else shares the rest, which is said anew to the groups of all others when it changes. The last
//! core is nobody's alone, for the others have to run somewhere. Nothing of it is written down:
//! after a restart the groups say it.
//!
//! Deliberately not here: which cores fit best ([`Placement`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerLimits;
use tracing::{debug, warn};

use crate::cgroup::{
    Cores, CpuList, Cpus, Hierarchies, Placement, PlacementError, Settings, Topology,
};
use crate::error::Result;
use crate::isolator::{Outcome, Recovered, Subject, Survivors};

/// Gives cores away.
#[derive(Debug)]
pub(super) struct Placing {
    table: Mutex<Table>,
    /// The hardware threads of a core: as many CPUs are taken of the agent by it.
    threads: u32,
    hierarchies: Hierarchies,
    root: String,
}

#[derive(Debug)]
struct Table {
    placement: Placement,
    /// Who runs on what nobody has for himself.
    others: BTreeSet<ContainerId>,
}

impl Placing {
    /// Gives away the cores of this machine, to containers whose groups are below `root`.
    ///
    /// # Errors
    /// If the machine does not say which it has.
    pub(super) fn detect(hierarchies: Hierarchies, root: &str) -> Result<Self> {
        let topology = Topology::detect()?;
        let cores = topology.nodes.iter().flat_map(|node| &node.cores);
        let threads = cores.map(|core| core.len()).max().unwrap_or(1).max(1);
        Ok(Self {
            threads: u32::try_from(threads).unwrap_or(1),
            table: Mutex::new(Table {
                placement: Placement::new(topology),
                others: BTreeSet::new(),
            }),
            hierarchies,
            root: root.to_owned(),
        })
    }

    /// Decides on which CPUs a container runs; those who lose some are moved at once.
    pub(super) fn place(&self, subject: &Subject<'_>, settings: &mut Settings) -> Outcome<()> {
        let mut table = self.lock();
        if let Some(count) = cores(&subject.spec.limits, self.threads)
            && table.place(subject.id, count, settings)?
        {
            self.tell_others(&table);
            return Ok(());
        }
        settings.cpus = Cpus::Only(table.placement.shared());
        table.others.insert(subject.id.clone());
        Ok(())
    }

    /// Has a container whose group is there now run where it is to: since it was prepared others
    /// may have been given cores.
    pub(super) fn settle(&self, id: &ContainerId) -> Outcome<()> {
        let table = self.lock();
        if table.others.contains(id) {
            self.confine(id, &table.placement.shared())?;
        }
        Ok(())
    }

    /// Takes back what a container has, for the others.
    pub(super) fn release(&self, id: &ContainerId) {
        let mut table = self.lock();
        if !table.others.remove(id) {
            table.placement.release(id.as_str());
            self.tell_others(&table);
        }
    }

    /// Reads from the groups of those who run who has what.
    pub(super) fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        let mut found = BTreeMap::new();
        for (id, survivor) in live {
            // Whoever's cores are not known is not passed over: they could be given away twice.
            let cpus = self.hierarchies.group(&self.root, id.as_str())?.cpus()?;
            let limits = survivor.spec.as_ref().map(|spec| &spec.limits);
            let count = limits.and_then(|limits| cores(limits, self.threads));
            found.insert(id.clone(), (cpus.unwrap_or_default(), count));
        }
        let alone = alone(&found, self.threads);
        let mut table = self.lock();
        for (id, (cpus, _)) in found {
            if !(alone.contains(&id) && table.claim(&id, cpus)) {
                table.others.insert(id);
            }
        }
        self.tell_others(&table);
        Ok(Recovered::default())
    }

    /// Has all who share CPUs run on those that are left. Who cannot be moved runs where he did.
    fn tell_others(&self, table: &Table) {
        let shared = table.placement.shared();
        for id in &table.others {
            if let Err(error) = self.confine(id, &shared) {
                warn!(%id, %error, "it runs on CPUs that are another's");
            }
        }
    }

    /// Says to a group, if it is there, on which CPUs it runs.
    fn confine(&self, id: &ContainerId, cpus: &CpuList) -> Result<()> {
        self.hierarchies
            .group(&self.root, id.as_str())?
            .set_cpus(cpus)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Gives cores to a container, if there are some.
    fn place(&mut self, id: &ContainerId, count: u32, settings: &mut Settings) -> Outcome<bool> {
        let wish = Cores { count, node: None };
        match self.placement.place(id.as_str(), &wish) {
            Ok(grant) if !self.placement.shared().is_empty() => {
                settings.cpus = Cpus::Only(grant.cpus);
                settings.memory_nodes = grant.nodes;
                Ok(true)
            }
            // It has its share of time all the same.
            Ok(_) => {
                self.placement.release(id.as_str());
                debug!(%id, "a container without cores for itself: the last is for all");
                Ok(false)
            }
            Err(error @ PlacementError::Full { .. }) => {
                debug!(%id, %error, "a container without cores for itself");
                Ok(false)
            }
            Err(error @ (PlacementError::Placed { .. } | PlacementError::NoNode { .. })) => {
                Err(error.into())
            }
        }
    }

    /// Notes what a container has, if others have something left then.
    fn claim(&mut self, id: &ContainerId, cpus: CpuList) -> bool {
        self.placement.claim(id.as_str(), cpus);
        let is_left = !self.placement.shared().is_empty();
        if !is_left {
            self.placement.release(id.as_str());
        }
        is_left
    }
}

/// Tells who has cores for himself, by the CPUs and the whole cores of each: whoever has just as
/// many as he takes, though perhaps not all of their threads, and shares none of them with others
/// who could have them alone, nor all of them with anybody.
fn alone(
    found: &BTreeMap<ContainerId, (CpuList, Option<u32>)>,
    threads: u32,
) -> BTreeSet<ContainerId> {
    let fits = |(cpus, count): &(CpuList, Option<u32>)| {
        let cpus = u32::try_from(cpus.len()).unwrap_or(u32::MAX);
        count.is_some_and(|count| count <= cpus && cpus <= count.saturating_mul(threads))
    };
    let has_alone = |id: &ContainerId, own: &(CpuList, Option<u32>)| {
        let mut others = found.iter().filter(|(other, _)| *other != id);
        fits(own) && others.all(|(_, it)| it.0 != own.0 && !(fits(it) && it.0.meets(&own.0)))
    };
    let alone = found.iter().filter(|(id, own)| has_alone(id, own));
    alone.map(|(id, _)| id.clone()).collect()
}

/// Returns how many cores hold what a container takes, if that is whole CPUs.
fn cores(limits: &ContainerLimits, threads: u32) -> Option<u32> {
    let taken = limits.share.or(limits.cpus)?.thousandths();
    let cpus = u32::try_from(taken / 1000)
        .ok()
        .filter(|_| taken % 1000 == 0)?;
    (cpus > 0).then(|| cpus.div_ceil(threads))
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

    // CT-64: who has whole CPUs for himself is found out without a record
    #[test]
    fn groups_say_who_runs_alone() {
        let numbers = |found: &[(&str, Option<u32>)]| {
            let found = found.iter().enumerate().map(|(n, (cpus, count))| {
                let id: ContainerId = format!("c{n}").parse().unwrap();
                (id, (cpus.parse().unwrap_or_default(), *count))
            });
            let alone = alone(&found.collect(), 2);
            let alone = alone.iter().map(|id| id.as_str()[1..].parse().unwrap());
            alone.collect::<Vec<u32>>()
        };
        assert_eq!(
            numbers(&[("0-1", Some(1)), ("2-5", None), ("2-5", None)]),
            [0]
        );
        // Of the two of one core each the second is with the one that takes a part.
        assert_eq!(
            numbers(&[("0-1", Some(1)), ("2-3", Some(1)), ("2-3", None)]),
            [0]
        );
        // Placed with all CPUs before anybody had some alone.
        assert_eq!(
            numbers(&[("0-1", Some(1)), ("0-7", None), ("0-7", Some(2))]),
            [0]
        );
        assert_eq!(
            numbers(&[("0-7", Some(1)), ("", Some(1)), ("0-1", None)]),
            [0; 0]
        );
        assert_eq!(numbers(&[("0-3", Some(2)), ("2-3", Some(1))]), [0; 0]);
        // Fewer than it takes: it was there before there was room for it.
        assert_eq!(numbers(&[("6-7", Some(3)), ("0-5", Some(3))]), [1]);
        // A core of which one thread is not there.
        assert_eq!(numbers(&[("0", Some(1)), ("1-2", None)]), [0]);
    }
}
