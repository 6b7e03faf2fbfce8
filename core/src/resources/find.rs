//! Finding an amount of something, whoever it is reserved to.
//!
//! Deliberately not here: choosing agents, and making offers of what is found.

use alloc::vec::Vec;

use super::{Resource, Resources};

impl Resources {
    /// Finds `targets` irrespective of reservations (RM-25): for each, first what is reserved to
    /// the role of the target, if it has one, then what is unreserved, then anything. The pieces
    /// keep the reservations of where they were found. `None` if there is not enough.
    ///
    /// Mesos takes at most one part in each of the three steps, which may miss what is there, and
    /// counts one part for several targets. Here a target is put together of as many parts as it
    /// needs, and what one target got is gone for the next; so it is found whenever there is
    /// enough.
    ///
    /// ```
    /// # use tepui_core::resources::Resources;
    /// let all = Resources::parse("cpus:2;cpus(a):1;cpus(b):4")?;
    /// let found = all.find(&Resources::parse("cpus(a):5")?).unwrap();
    /// assert_eq!(found.to_string(), "cpus:2;cpus(a):1;cpus(b):2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find(&self, targets: &Self) -> Option<Self> {
        let mut left: Vec<Resource> = self.iter().cloned().collect();
        let mut found = Self::new();
        for target in targets {
            find_one(&mut left, target, &mut found)?;
        }
        Some(found)
    }
}

/// Takes one target out of what is left.
fn find_one(left: &mut [Resource], target: &Resource, found: &mut Resources) -> Option<()> {
    let mut rest = target.clone();
    let role = target.reservation_role();
    let steps: [&dyn Fn(&Resource) -> bool; 3] = [
        &|entry| role.is_some_and(|role| entry.is_reserved_to(role)),
        &|entry| !entry.is_reserved(),
        &|_| true,
    ];
    for step in steps {
        for entry in left.iter_mut() {
            if rest.is_nothing() {
                return Some(());
            }
            let alike = entry.name() == rest.name()
                && entry.metadata().is_same_thing(rest.metadata())
                && !entry.is_nothing();
            if !alike || !step(entry) {
                continue;
            }
            if let Some(part) = entry.part_for(&rest) {
                entry.take(&part);
                rest.take(&part);
                let sum = found.insert(part);
                sum.expect("what is found is a part of what is there");
            }
        }
    }
    rest.is_nothing().then_some(())
}
