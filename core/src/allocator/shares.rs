//! Dominant shares: the largest part of anything that somebody has.
//!
//! The tree orders by them, and others ask. They are whole multiples of 2^-54, rounded down: equal
//! fractions give equal numbers, and a larger fraction never a smaller one, but fractions closer
//! than that may give the same. Deliberately not here: what is held.

use super::MOST_WEIGHT;
use super::columns::Row;
use super::tree::{NodeId, Tree};
use crate::mutant::{Mutant, planted};

const MILLIONTHS: u128 = 1_000_000;
/// Shares are counted in units of 2^-54, so that ties are ties. 54 bits leave room for the rest of
/// the product: 63 bits of a quantity and 10 of a weight's unit.
const SHARE_UNIT: u128 = 1_000 << 54;
/// Amounts beyond this count as this much, so that products fit.
const MOST: u64 = i64::MAX as u64;

impl Tree {
    /// Returns the largest `held / total` over all names (AL-15), times `unit`, over `weight`.
    fn dominant(&self, held: &Row, total: &Row, unit: u128, weight: u64) -> u64 {
        let (mut most, mut of) = (0_u64, 1_u64);
        for (column, amount) in held.iter() {
            let total = total.at(column);
            if amount <= 0 || total <= 0 || self.is_excluded[column] {
                continue;
            }
            let (amount, total) = (capped(amount), capped(total));
            // One division is left for the greatest.
            if u128::from(amount) * u128::from(of) > u128::from(most) * u128::from(total) {
                (most, of) = (amount, total);
            }
        }
        let divisor = u128::from(of) * u128::from(weight);
        u64::try_from(u128::from(most) * unit / divisor).unwrap_or(u64::MAX)
    }

    /// Returns the dominant share of an amount of a total, in the units of shares.
    pub(super) fn share_of(&self, amount: &Row, total: &Row) -> u64 {
        self.dominant(amount, total, SHARE_UNIT, 1_000)
    }

    /// Returns the share that a node would have if it held so much, over its weight.
    pub(super) fn weighted_share(&self, id: NodeId, held: &Row) -> u64 {
        let weight = self.node(id).weight.min(MOST_WEIGHT);
        let weight = weight.thousandths().max(1).unsigned_abs();
        let share = self.dominant(held, &self.total, SHARE_UNIT, weight);
        if planted(Mutant::GreatestShareFirst) {
            return u64::MAX - share;
        }
        share
    }

    /// Returns the dominant share of a node, without weight, in millionths.
    pub(super) fn dominant_share(&self, id: NodeId) -> u64 {
        self.dominant(&self.books[id.at()].held, &self.total, MILLIONTHS, 1)
    }
}

/// Returns an amount above zero, or the most that is counted.
fn capped(amount: i128) -> u64 {
    u64::try_from(amount).map_or(MOST, |amount| amount.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::super::columns::Columns;
    use super::*;
    use crate::resources::Resources;

    #[test]
    fn equal_fractions_tie_and_no_larger_one_comes_first() {
        let mut columns = Columns::new(&[]);
        let mut tree = Tree::new(&[], &mut columns);
        let row = |text: &str| columns.row(&Resources::parse(text).unwrap());
        tree.change_total(&Row::ZERO, &row("cpus:3;mem:9000000000000000"));
        let share_of = |text: &str| tree.share_of(&row(text), &tree.total);
        assert_eq!(share_of("cpus:1"), (1 << 54) / 3);
        let third = share_of("mem:3000000000000000");
        assert_eq!(share_of("cpus:1"), third);
        // Of fractions that are this close, one is not told from the other.
        assert_eq!(share_of("mem:3000000000000000.001"), third);
        assert!(share_of("mem:3000000000001") < share_of("mem:3000000000002"));
    }
}
