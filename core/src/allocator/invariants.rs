//! What always holds inside [`Drf`], computed anew from the ledger.
//!
//! Called after every input by tests, the simulator and fuzzing; never in production's hot path.

use alloc::collections::BTreeMap;

use super::drf::Drf;
use super::sorter::Leaf;
use super::sums::Sums;

impl Drf {
    /// Checks that free, offered and used make up each agent's total, by identity; that shares
    /// and orders agree with that; and that nobody has a refusal who is not there.
    ///
    /// # Panics
    ///
    /// If one of these does not hold, which is an error in this allocator.
    pub fn check_invariants(&self) {
        let mut total = Sums::default();
        let mut held: BTreeMap<Leaf, Sums> = BTreeMap::new();
        for (agent, row) in self.ledger.iter() {
            match row.unbooked() {
                Some(unbooked) => assert_eq!(*row.free(), unbooked, "free on agent {agent:?}"),
                None => assert!(row.free().is_empty(), "agent {agent:?} is overbooked"),
            }
            assert_eq!(row.is_overbooked(), row.unbooked().is_none(), "{agent:?}");
            total.add_scalars(row.total());
            for (leaf, amount) in row.holdings() {
                held.entry(leaf).or_default().add(&amount);
            }
        }
        assert_eq!(*self.sorter.total(), total, "the sum of all agents");
        self.sorter.check(&held, |leaf| {
            let framework = self.frameworks.get(&leaf.framework);
            framework.is_some_and(|it| it.may_be_offered(leaf.role))
        });
        for (leaf, agent) in self.refusals.keys() {
            assert!(self.ledger.get(*agent).is_some(), "refused: {agent:?}");
            let framework = self.frameworks.get(&leaf.framework);
            assert!(
                framework.is_some_and(|it| it.roles.contains_key(&leaf.role)),
                "a refusal of {leaf:?}, who is not there"
            );
        }
    }
}
