//! Who uses what a group has in common: it is made for the first of them, and undone when there is
//! none.
//!
//! Remembered in a file for each group, from before anything is made until all is undone, so that
//! nothing is forgotten whenever the agent ends. Deliberately not here: what is made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tepui_core::ids::ContainerId;

use crate::error::Result;
use crate::isolator::{Outcome, Recovered, Survivors};
use crate::kill_point;
use crate::records::Records;

/// The groups that have something in common, with the containers that use it.
#[derive(Debug)]
pub struct Members {
    records: Records<BTreeSet<ContainerId>>,
    table: Mutex<BTreeMap<ContainerId, Group>>,
    /// Nothing is being made or undone for a group any more.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct Group {
    members: BTreeSet<ContainerId>,
    is_busy: bool,
}

/// The right to make or undo what a group has.
struct Turn<'a> {
    members: &'a Members,
    group: &'a ContainerId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.members.lock().get_mut(self.group) {
            group.is_busy = false;
        }
        self.members.idle.notify_all();
    }
}

impl Members {
    /// Reads what is remembered in a directory; makes it if need be.
    ///
    /// # Errors
    /// If it cannot be made or read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let records: Records<BTreeSet<ContainerId>> = Records::open(directory.into())?;
        let groups = records.all()?.into_iter().map(|(id, members)| {
            let is_busy = false;
            (id, Group { members, is_busy })
        });
        Ok(Self {
            table: Mutex::new(groups.collect()),
            records,
            idle: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Group>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is being made or undone for a group.
    fn lock_idle(&self, group: &ContainerId) -> MutexGuard<'_, BTreeMap<ContainerId, Group>> {
        let is_busy = |table: &mut BTreeMap<ContainerId, Group>| {
            table.get(group).is_some_and(|group| group.is_busy)
        };
        let waited = self.idle.wait_while(self.lock(), is_busy);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a container use what its group has, once `make` has seen to it that it is there.
    pub(super) fn enter<T>(
        &self,
        group: &ContainerId,
        id: &ContainerId,
        make: impl FnOnce() -> Outcome<T>,
    ) -> Outcome<T> {
        let mut table = self.lock_idle(group);
        let members = table.get(group).map(|row| row.members.clone());
        let mut members = members.unwrap_or_default();
        members.insert(id.clone());
        self.records.write(group, &members)?;
        let is_busy = true;
        table.insert(group.clone(), Group { members, is_busy });
        drop(table);
        kill_point::reached("group.noted");
        let _turn = Turn {
            members: self,
            group,
        };
        make()
    }

    /// A container is over; fine if it used nothing.
    pub(super) fn leave(&self, id: &ContainerId) -> Outcome<()> {
        let mut table = self.lock();
        let of_it = table.iter_mut();
        for (group, row) in of_it.filter(|(_, row)| row.members.contains(id)) {
            let mut members = row.members.clone();
            members.remove(id);
            self.records.write(group, &members)?;
            row.members = members;
        }
        Ok(())
    }

    /// Undoes what a group has, if nobody uses it.
    pub(super) fn disband(
        &self,
        group: &ContainerId,
        undo: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<()> {
        let mut table = self.lock_idle(group);
        match table.get_mut(group) {
            Some(row) if row.members.is_empty() => row.is_busy = true,
            Some(_) | None => return Ok(()),
        }
        drop(table);
        let turn = Turn {
            members: self,
            group,
        };
        undo()?;
        // Who waits finds that there is nothing.
        let mut table = self.lock();
        self.records.remove(group)?;
        table.remove(group);
        drop(table);
        drop(turn);
        Ok(())
    }

    /// Undoes what groups have of which nobody is there any more.
    pub(super) fn recover(
        &self,
        live: &Survivors,
        recovered: &mut Recovered,
        undo: impl Fn(&ContainerId) -> Outcome<()>,
    ) {
        let gone = |(group, row): (&ContainerId, &Group)| {
            let gone = row.members.iter().filter(|id| !live.contains_key(*id));
            (group.clone(), gone.cloned().collect::<Vec<_>>())
        };
        let all: Vec<_> = self.lock().iter().map(gone).collect();
        for (group, gone) in all {
            let left = gone.iter().try_for_each(|id| self.leave(id));
            let undone = left.and_then(|()| self.disband(&group, || undo(&group)));
            recovered.note(group.as_str(), undone);
        }
    }

    /// Returns the group whose things a container uses.
    pub(super) fn of(&self, id: &ContainerId) -> Option<ContainerId> {
        let table = self.lock();
        let mut groups = table.iter();
        let (group, _) = groups.find(|(_, row)| row.members.contains(id))?;
        Some(group.clone())
    }

    /// Lists the groups that have something.
    pub(super) fn groups(&self) -> BTreeSet<ContainerId> {
        self.lock().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::isolator::Survivor;

    fn id(n: u64) -> ContainerId {
        ContainerId::numbered(n)
    }

    fn failing() -> Outcome<()> {
        Err("no".into())
    }

    // CT-15, CT-52
    #[test]
    fn what_a_group_has_is_undone_when_nobody_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let members = Members::open(dir.path()).unwrap();
        let (group, undone) = (id(1), AtomicUsize::new(0));
        let undo = || {
            undone.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        members.enter(&group, &id(2), || Ok(())).unwrap();
        members.enter(&group, &id(3), || Ok(())).unwrap();
        assert_eq!(members.of(&id(2)), Some(group.clone()));
        members.leave(&id(2)).unwrap();
        assert_eq!(members.of(&id(2)), None);
        members.disband(&group, undo).unwrap();
        assert_eq!(undone.load(Ordering::Relaxed), 0);
        members.leave(&id(3)).unwrap();
        members.leave(&id(9)).unwrap();
        // Nobody uses it, but it is there until somebody undoes it.
        assert_eq!(members.groups(), [group.clone()].into());
        assert!(members.disband(&group, failing).is_err());
        assert_eq!(members.groups(), [group.clone()].into());
        for _ in 0..2 {
            members.disband(&group, undo).unwrap();
        }
        assert_eq!(undone.load(Ordering::Relaxed), 1);
        assert_eq!(members.groups(), BTreeSet::new());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    // CT-09
    #[test]
    fn who_could_not_be_given_it_uses_it_all_the_same_until_it_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let members = Members::open(dir.path()).unwrap();
        let group = id(1);
        assert!(members.enter(&group, &id(2), failing).is_err());
        members.enter(&id(5), &id(6), || Ok(())).unwrap();
        // As after a crash of the agent.
        let members = Members::open(dir.path()).unwrap();
        assert_eq!(members.groups(), [id(1), id(5)].into());
        let live = Survivors::from([(id(6), Survivor::default())]);
        let mut recovered = Recovered::default();
        members.recover(&live, &mut recovered, |_| failing());
        assert_eq!(recovered.failed.len(), 1, "{recovered:?}");
        assert_eq!(recovered.failed[0].0, group.as_str());
        let mut recovered = Recovered::default();
        members.recover(&live, &mut recovered, |_| Ok(()));
        assert!(recovered.failed.is_empty(), "{recovered:?}");
        assert_eq!(members.groups(), [id(5)].into());
    }

    // CT-15: nobody is given what is being undone
    #[test]
    fn who_comes_while_it_is_undone_has_it_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let members = Members::open(dir.path()).unwrap();
        let (group, is_there) = (id(1), Mutex::new(false));
        let make = || {
            *is_there.lock().unwrap() = true;
            Ok(())
        };
        members.enter(&group, &id(2), make).unwrap();
        members.leave(&id(2)).unwrap();
        let [begun, goes_on] = [(); 2].map(|()| std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let undo = || {
                    begun.wait();
                    goes_on.wait();
                    *is_there.lock().unwrap() = false;
                    Ok(())
                };
                members.disband(&group, undo).unwrap();
            });
            begun.wait();
            scope.spawn(|| members.enter(&group, &id(3), make).unwrap());
            goes_on.wait();
        });
        assert!(*is_there.lock().unwrap());
        members.disband(&group, failing).unwrap();
        assert_eq!(members.groups(), [group].into());
    }
}
