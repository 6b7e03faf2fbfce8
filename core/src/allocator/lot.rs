//! Who is next, by lot: an order of the leaves that want something, in which chances go by weights
//! (AL-19).
//!
//! Drawn for each taker where options ask for it, among those alone that are interested in the
//! agent. Whoever is in a draw has a *ticket*, and the lowest is first. That of a role is an
//! exponential variate over the role's chance, so the first of any set of roles is each of them
//! with a chance in proportion to its own, and so on with the others. A ticket depends on the draw
//! and on whose it is, and on nobody else who takes part: to leave out those who want nothing
//! changes nothing for the others. The chance of a role is its share of what its siblings weigh
//! together, times that of its parent; it is reckoned once for a tree as it stands.
//!
//! Deliberately not here: shares.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

use super::MOST_WEIGHT;
use super::candidate::Stage;
use super::cycle::Found;
use super::drf::Drf;
use super::interest::Interest;
use super::options::SorterKind;
use super::seats::LeafId;
use super::slice::{LOOK_WORK, Scratch};
use super::tree::{NodeId, ROOT, Tree, What};
use crate::rng::Rng;

/// The least chance, so that none vanishes and no ticket is beyond all numbers.
const LEAST: f64 = 1e-300;

/// What a draw needs and the next one can use again.
#[derive(Debug, Default)]
pub(super) struct Lots {
    /// Of what each role has of its own, by node.
    chances: Vec<f64>,
    /// The version of the tree that they are of; it begins with 1.
    version: u64,
    /// Whoever is interested in the agent.
    wanting: Vec<LeafId>,
    /// One of these in each role of a draw, by node of what the role has of its own.
    firsts: Vec<Option<LeafId>>,
    /// Another one in the same role, by leaf.
    others: Vec<Option<LeafId>>,
    /// The roles in a draw that were not drawn yet.
    roles: BinaryHeap<Reverse<Ticket>>,
    /// The frameworks of a role that was drawn, in their order, with what was drawn of each.
    leaves: Vec<(u64, LeafId)>,
    /// How much was done, in all draws.
    pub(super) steps: usize,
    /// The number of the last draw.
    #[cfg(test)]
    pub(super) draw: u64,
}

/// The place of a role in a draw.
#[derive(Debug)]
struct Ticket {
    number: f64,
    own: NodeId,
}

impl Ord for Ticket {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_number = self.number.total_cmp(&other.number);
        by_number.then_with(|| self.own.cmp(&other.own))
    }
}

impl PartialOrd for Ticket {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ticket {}

impl Lots {
    /// Reckons the chances of all roles that are listed, unless that was done.
    fn settle(&mut self, tree: &Tree) {
        if self.version == tree.version {
            return;
        }
        self.version = tree.version;
        self.chances.clear();
        self.chances.resize(tree.nodes.len(), LEAST);
        let mut stack = vec![(ROOT, 1.0)];
        while let Some((above, chance)) = stack.pop() {
            let order = &tree.node(above).order;
            self.steps += order.len();
            let sum: i128 = order.iter().map(|it| weight(tree, it.node)).sum();
            for it in order {
                let part = weight(tree, it.node) as f64 / sum as f64;
                let own = (chance * part).max(LEAST);
                match tree.node(it.node).what {
                    What::Own => self.chances[it.node.at()] = own,
                    What::Role(_) => stack.push((it.node, own)),
                    What::Root | What::Seat(_) | What::Gone => {}
                }
            }
        }
    }

    /// Adds a leaf to those of its role.
    fn join(&mut self, leaf: LeafId, own: NodeId, other: Option<LeafId>) {
        if self.others.len() <= leaf.at() {
            self.others.resize(leaf.at() + 1, None);
        }
        self.others[leaf.at()] = other;
        self.firsts[own.at()] = Some(leaf);
    }

    /// Gives a role its ticket.
    fn enter(&mut self, own: NodeId, draw: u64) {
        self.steps += LOOK_WORK;
        let number = exponential(&mut stream(draw, own)) / self.chances[own.at()];
        self.roles.push(Reverse(Ticket { number, own }));
    }
}

impl Drf {
    /// Looks at the leaves in an order that is drawn by lot.
    pub(super) fn drawn(
        &mut self,
        stage: Stage,
        agent: usize,
        scratch: &mut Scratch,
    ) -> Option<Found> {
        // One number for a draw, however many take part in it.
        let draw = self.rng.next_u64();
        #[cfg(test)]
        {
            scratch.lots.draw = draw;
        }
        scratch.lots.wanting.clear();
        scratch.lots.wanting.extend(self.interest.wanting(agent));
        self.enter_roles(draw, scratch);
        while let Some(own) = self.next_role(scratch) {
            if stage == Stage::Guarantees && !self.may_have_unmet(own) {
                continue;
            }
            let wants = self.interest.of(agent);
            let is_wanting = |leaf| Interest::has(wants, leaf);
            self.enter_leaves(own, draw, &mut scratch.lots, is_wanting);
            for at in 0..scratch.lots.leaves.len() {
                let (_, leaf) = scratch.lots.leaves[at];
                if !Interest::has(self.interest.of(agent), leaf) {
                    continue;
                }
                if self.strike_alike(agent, leaf) {
                    scratch.lots.steps += LOOK_WORK;
                } else if let Some(found) = self.look(stage, agent, leaf, &mut scratch.stops) {
                    return Some(found);
                }
            }
            if !self.interest.is_wanted(agent) {
                return None;
            }
        }
        None
    }

    /// Whether something must be kept free for the branch that a node belongs to.
    fn may_have_unmet(&self, node: NodeId) -> bool {
        let mut branch = self.tree.upwards(node);
        branch.all(|it| self.tree.may_have_unmet(it))
    }

    /// Returns everybody in the order of a draw, whether interested in anything or not; nobody if
    /// nothing is drawn by lot.
    #[cfg(test)]
    pub(super) fn draw_all(&self, draw: u64) -> Vec<LeafId> {
        let mut scratch = Scratch::default();
        let sorters = [self.options.role_sorter, self.options.framework_sorter];
        if !sorters.contains(&SorterKind::Random) {
            return Vec::new();
        }
        let listed = self.seats.iter();
        let listed = listed.filter(|(_, seat)| self.tree.node(seat.node).listed);
        scratch.lots.wanting.extend(listed.map(|it| it.0));
        self.enter_roles(draw, &mut scratch);
        let mut all = Vec::new();
        while let Some(own) = self.next_role(&mut scratch) {
            self.enter_leaves(own, draw, &mut scratch.lots, |_| true);
            all.extend(scratch.lots.leaves.iter().map(|it| it.1));
        }
        all
    }

    /// Begins a draw of the roles in which somebody wants something.
    fn enter_roles(&self, draw: u64, scratch: &mut Scratch) {
        let Scratch {
            walk, lots, stamps, ..
        } = scratch;
        let by_lot = self.options.role_sorter == SorterKind::Random;
        lots.settle(&self.tree);
        lots.roles.clear();
        walk.restart();
        stamps.restart(self.tree.nodes.len());
        lots.firsts.resize(self.tree.nodes.len(), None);
        lots.steps += lots.wanting.len();
        for at in 0..lots.wanting.len() {
            let leaf = lots.wanting[at];
            let own = self.tree.node(self.seats.seat(leaf).node).parent;
            let other = lots.firsts[own.at()].filter(|_| stamps.has(own));
            lots.join(leaf, own, other);
            if !by_lot {
                stamps.add_all(self.tree.upwards(own));
            } else if stamps.add(own) {
                lots.enter(own, draw);
            }
        }
    }

    /// Returns the next role, or rather what it has of its own, by lot or by share.
    fn next_role(&self, scratch: &mut Scratch) -> Option<NodeId> {
        match self.options.role_sorter {
            SorterKind::Random => Some(scratch.lots.roles.pop()?.0.own),
            SorterKind::Drf => {
                let stamps = &scratch.stamps;
                scratch.walk.next_own(&self.tree, |node| stamps.has(node))
            }
        }
    }

    /// Puts the interested leaves of a role in order, by lot or by share.
    fn enter_leaves(
        &self,
        own: NodeId,
        draw: u64,
        lots: &mut Lots,
        is_wanting: impl Fn(LeafId) -> bool,
    ) {
        lots.leaves.clear();
        let mut next = lots.firsts[own.at()];
        while let Some(leaf) = next {
            lots.steps += 1;
            next = lots.others[leaf.at()];
            if is_wanting(leaf) {
                let number = match self.options.framework_sorter {
                    SorterKind::Drf => 0,
                    SorterKind::Random => stream(draw, self.seats.seat(leaf).node).next_u64(),
                };
                lots.leaves.push((number, leaf));
            }
        }
        let order = &self.tree.node(own).order;
        let steps = lots.leaves.len() * LOOK_WORK;
        match self.options.framework_sorter {
            SorterKind::Random => {
                lots.steps += steps;
                lots.leaves.sort_unstable();
            }
            SorterKind::Drf if steps < order.len() => {
                lots.steps += steps;
                let place = |leaf: LeafId| &self.tree.node(self.seats.seat(leaf).node).place;
                lots.leaves
                    .sort_unstable_by(|a, b| self.tree.compare(place(a.1), place(b.1)));
            }
            // Where so many want something, it takes less to go through all in their order.
            SorterKind::Drf => {
                lots.steps += order.len();
                let leaves = order.iter().filter_map(|it| self.tree.leaf_of(it.node));
                let wanting = leaves.filter(|leaf| is_wanting(*leaf));
                lots.leaves.clear();
                lots.leaves.extend(wanting.map(|leaf| (0, leaf)));
            }
        }
    }
}

/// Returns what a node weighs among its siblings: something, whatever was set, and no more than
/// shares go by.
fn weight(tree: &Tree, id: NodeId) -> i128 {
    let weight = tree.node(id).weight.min(MOST_WEIGHT);
    weight.thousandths().max(1).into()
}

/// Makes the numbers of one who takes part in a draw.
fn stream(draw: u64, node: NodeId) -> Rng {
    Rng::new(draw.wrapping_add(node.at() as u64))
}

/// Returns an exponential variate of mean 1.
///
/// Von Neumann's method (1951): it compares and never takes a logarithm, of which platforms have
/// different ones. A number that begins a falling run of odd length is taken; each that does not
/// adds one.
fn exponential(rng: &mut Rng) -> f64 {
    /// As many numbers as a float tells apart between 0 and 1.
    const STEPS: u64 = 1 << 53;
    let mut whole = 0.0;
    loop {
        let first = rng.next_u64();
        let (mut last, mut is_odd) = (first, true);
        loop {
            let next = rng.next_u64();
            if next >= last {
                break;
            }
            (last, is_odd) = (next, !is_odd);
        }
        if is_odd {
            return whole + (first >> 11) as f64 / STEPS as f64;
        }
        whole += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::super::columns::Columns;
    use super::super::tree::Listing;
    use super::*;
    use crate::resources::Milli;
    use crate::roles::Role;

    /// Lists a framework in each role, and sets their weights in thousandths.
    fn tree(weights: &[(&str, i64)]) -> (Tree, Vec<NodeId>) {
        let mut tree = Tree::new(&[], &mut Columns::new(&[]));
        let name = Arc::from("f");
        let mut owns = Vec::new();
        for (n, (text, weight)) in weights.iter().enumerate() {
            let role = Role::new(text).unwrap();
            let node = tree.intern(&role);
            let leaf = tree.seat(node, LeafId::new(n), &name);
            tree.list(leaf, Listing::In);
            tree.set_weight(&role, Milli::from_thousandths(*weight));
            owns.push(tree.node(leaf).parent);
        }
        (tree, owns)
    }

    fn drawn(lots: &mut Lots, tree: &Tree, owns: &[NodeId], draw: u64) -> Vec<NodeId> {
        lots.settle(tree);
        lots.roles.clear();
        for own in owns {
            lots.enter(*own, draw);
        }
        core::iter::from_fn(|| Some(lots.roles.pop()?.0.own)).collect()
    }

    #[test]
    fn orders_have_their_chances() {
        // AL-19: without replacement, so the second is drawn in proportion among the others.
        let (tree, owns) = tree(&[("a", 1_000), ("b", 3_000), ("c", 2_000)]);
        let (mut lots, mut rng) = (Lots::default(), Rng::new(7));
        let (a, b, c) = (owns[0], owns[1], owns[2]);
        let rounds = 60_000;
        let mut seen = [0; 6];
        let orders = [
            [a, b, c],
            [a, c, b],
            [b, a, c],
            [b, c, a],
            [c, a, b],
            [c, b, a],
        ];
        for _ in 0..rounds {
            let order = drawn(&mut lots, &tree, &owns, rng.next_u64());
            seen[orders.iter().position(|it| *it == order[..]).unwrap()] += 1;
        }
        // In sixtieths: 1/6 of 3/5 and 2/5, 3/6 of 1/3 and 2/3, 2/6 of 1/4 and 3/4.
        for (seen, sixtieths) in seen.into_iter().zip([6_i32, 4, 10, 20, 5, 15]) {
            let expected = sixtieths * 1_000;
            assert!(
                (seen - expected).abs() < expected / 15,
                "{seen} for {expected}"
            );
        }
    }

    #[test]
    fn who_takes_no_part_changes_nothing_for_the_others() {
        // AL-19
        let (tree, owns) = tree(&[("a", 1_000), ("b", 3_000), ("b/x", 500), ("c", 2_000)]);
        let (mut lots, mut rng) = (Lots::default(), Rng::new(1));
        for _ in 0..1_000 {
            let draw = rng.next_u64();
            let mut all = drawn(&mut lots, &tree, &owns, draw);
            all.retain(|it| *it != owns[1]);
            let others = [owns[3], owns[0], owns[2]];
            assert_eq!(drawn(&mut lots, &tree, &others, draw), all);
        }
    }

    #[test]
    fn odd_weights_have_chances_as_well() {
        let (tree, owns) = tree(&[("a", 0), ("b", i64::MAX), ("c", 1), ("c/d/e/f", i64::MAX)]);
        let mut lots = Lots::default();
        for draw in 0..100 {
            let order = drawn(&mut lots, &tree, &owns, draw);
            assert_eq!((order.len(), order[0]), (4, owns[1]));
        }
        for own in owns {
            let chance = lots.chances[own.at()];
            assert!((LEAST..=1.0).contains(&chance), "{chance}");
        }
    }

    #[test]
    fn weights_beyond_the_most_have_the_same_chance() {
        // AL-17: by lot as by share.
        let most = MOST_WEIGHT.thousandths();
        let (tree, owns) = tree(&[("a", most), ("b", i64::MAX), ("c", most / 2)]);
        let mut lots = Lots::default();
        lots.settle(&tree);
        let [a, b, c] = [0, 1, 2].map(|at: usize| lots.chances[owns[at].at()]);
        assert!((a - b).abs() < 1e-9, "{a} and {b}");
        assert!((2.0 * c - a).abs() < 1e-9, "{a} and {c}");
    }

    #[test]
    fn tickets_are_exponential() {
        let mut rng = Rng::new(3);
        let all: Vec<f64> = (0..50_000).map(|_| exponential(&mut rng)).collect();
        let mean = all.iter().sum::<f64>() / 50_000.0;
        assert!((0.98..1.02).contains(&mean), "{mean}");
        // exp(-1/2), exp(-1), exp(-2)
        for (beyond, part) in [(0.5, 30_327_usize), (1.0, 18_394), (2.0, 6_767)] {
            let seen = all.iter().filter(|it| **it > beyond).count();
            assert!(seen.abs_diff(part) < 400, "{seen} beyond {beyond}");
        }
    }
}
