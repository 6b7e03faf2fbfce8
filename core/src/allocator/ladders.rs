//! Thresholds in the order of their heights, and who wants as much or more.
//!
//! [`super::worth::Leasts`] asks about each agent whom too little is free for, before anybody is
//! looked at: a step and a few words for each name, however many thresholds there are.
//!
//! Deliberately not here: who goes by one of several sets. Those are looked at.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// How many heights of one name are told apart; what is between two is looked at.
const RUNGS: usize = 128;

/// Leaves in the order of what they want at the least, by column.
#[derive(Debug, Default)]
pub(super) struct Ladders {
    columns: Vec<(usize, Vec<Rung>)>,
}

#[derive(Debug)]
struct Rung {
    height: i128,
    /// A bit for each leaf that wants as much or more.
    leaves: Vec<u64>,
}

impl Ladders {
    /// Makes ladders of thresholds: a column, a height, and the bits of leaves that go by it.
    pub(super) fn new<'a>(thresholds: impl Iterator<Item = (usize, i128, &'a [u64])>) -> Self {
        let mut heights: BTreeMap<usize, BTreeMap<i128, Vec<u64>>> = BTreeMap::new();
        for (column, height, leaves) in thresholds {
            unite(
                heights
                    .entry(column)
                    .or_default()
                    .entry(height)
                    .or_default(),
                leaves,
            );
        }
        let ladder = |(column, heights)| (column, rungs(heights));
        Self {
            columns: heights.into_iter().map(ladder).collect(),
        }
    }

    /// Visits the bits of leaves that want more of some column than there is.
    pub(super) fn above(&self, amount: impl Fn(usize) -> i128) -> impl Iterator<Item = &[u64]> {
        self.columns.iter().filter_map(move |(column, rungs)| {
            let amount = amount(*column);
            let at = rungs.partition_point(|rung| rung.height <= amount);
            rungs.get(at).map(|rung| &rung.leaves[..])
        })
    }
}

/// Makes rungs of some of the heights, the lowest among them.
fn rungs(heights: BTreeMap<i128, Vec<u64>>) -> Vec<Rung> {
    let each = heights.len().div_ceil(RUNGS);
    let last = heights.len() - 1;
    let mut so_far = Vec::new();
    let mut rungs = Vec::new();
    for (from_top, (height, leaves)) in heights.into_iter().rev().enumerate() {
        unite(&mut so_far, &leaves);
        if (last - from_top).is_multiple_of(each) {
            let leaves = so_far.clone();
            rungs.push(Rung { height, leaves });
        }
    }
    rungs.reverse();
    rungs
}

fn unite(words: &mut Vec<u64>, more: &[u64]) {
    words.resize(words.len().max(more.len()), 0);
    for (word, more) in words.iter_mut().zip(more) {
        *word |= more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::columns::Columns;
    use crate::resources::Resources;

    #[test]
    fn who_wants_more_than_there_is_is_known_by_height() {
        // AL-33: three want 1, 2 and 4 cpus, and the last 8 of mem besides.
        let columns = Columns::new(&[]);
        let column = |name| columns.find(name).unwrap();
        let (cpus, mem) = (column("cpus"), column("mem"));
        let all = [
            (cpus, 4_000, &[0b100][..]),
            (cpus, 1_000, &[0b001]),
            (mem, 8_000, &[0b100]),
            (cpus, 2_000, &[0b010]),
        ];
        let ladders = Ladders::new(all.into_iter());
        for (free, expected) in [
            ("cpus:4;mem:8", 0),
            ("cpus:4;mem:7", 0b100),
            ("cpus:3.999;mem:8", 0b100),
            ("cpus:1", 0b110),
            ("mem:9", 0b111),
        ] {
            let row = columns.row(&Resources::parse(free).unwrap());
            let above = ladders
                .above(|column| row.at(column))
                .fold(0, |all, leaves| all | leaves[0]);
            assert_eq!(above, expected, "{free}");
        }
    }

    #[test]
    fn many_heights_share_rungs() {
        let columns = Columns::new(&[]);
        let cpus = columns.find("cpus").unwrap();
        let heights = 10 * RUNGS as i128 + 7;
        let leaf = |n: i128| {
            let mut words = alloc::vec![0; n as usize / 64 + 1];
            words[n as usize / 64] |= 1 << (n % 64);
            words
        };
        let leaves: Vec<_> = (0..heights).map(leaf).collect();
        let all = leaves.iter().enumerate();
        let all = all.map(|(n, leaves)| (cpus, 1_000 * (1 + n as i128), &leaves[..]));
        let ladders = Ladders::new(all);
        assert!(ladders.columns[0].1.len() <= RUNGS);
        let count = |free: &str| {
            let row = columns.row(&Resources::parse(free).unwrap());
            let above = ladders.above(|column| row.at(column)).flatten();
            above.map(|word| word.count_ones() as i128).sum::<i128>()
        };
        // All of them at once, none too many, and few that are left to be looked at.
        assert_eq!(count("mem:1"), heights);
        let found = count("cpus:640");
        assert!(
            (heights - 640 - 11..=heights - 640).contains(&found),
            "{found}"
        );
        assert_eq!(count("cpus:100000"), 0);
    }
}
