//! Who is next, by lot: an order of all leaves in which chances go by weights (AL-19).
//!
//! Drawn for each agent where options ask for it. Roles are drawn without replacement; the chance
//! of one is its share of what its siblings weigh together, times that of its parent. Deliberately
//! not here: shares.

use alloc::vec::Vec;

use super::options::{Options, SorterKind};
use super::seats::LeafId;
use super::tree::{NodeId, ROOT, Tree, What};
use crate::rng::Rng;

/// Draws an order of all listed leaves.
pub(super) fn draw(tree: &Tree, options: &Options, rng: &mut Rng, into: &mut Vec<LeafId>) {
    into.clear();
    let mut roles: Vec<(f64, NodeId)> = Vec::new();
    collect(tree, ROOT, 1.0, &mut roles);
    match options.role_sorter {
        SorterKind::Drf => {}
        SorterKind::Random => shuffle_by_weight(&mut roles, rng),
    }
    for (_, own) in roles {
        let from = into.len();
        into.extend(
            tree.node(own)
                .order
                .iter()
                .filter_map(|it| tree.leaf_of(it.node)),
        );
        match options.framework_sorter {
            SorterKind::Drf => {}
            SorterKind::Random => rng.shuffle(&mut into[from..]),
        }
    }
}

/// Collects what roles have of their own, in the order by share, each with its weight.
fn collect(tree: &Tree, above: NodeId, weight: f64, into: &mut Vec<(f64, NodeId)>) {
    let mut stack = alloc::vec![(above, weight, 0)];
    while let Some((node, weight, at)) = stack.pop() {
        let order = &tree.node(node).order;
        let Some(child) = order.get(at).map(|it| it.node) else {
            continue;
        };
        stack.push((node, weight, at + 1));
        let own = |id: NodeId| tree.node(id).weight.to_f64();
        let sum: f64 = order.iter().map(|it| own(it.node)).sum();
        let weight = weight * own(child) / sum;
        match tree.node(child).what {
            What::Own => into.push((weight, child)),
            What::Role(_) => stack.push((child, weight, 0)),
            What::Root | What::Seat(_) | What::Gone => {}
        }
    }
}

/// Puts items into an order in which each is first with a chance in proportion to its weight, and
/// so on with the others.
fn shuffle_by_weight(items: &mut [(f64, NodeId)], rng: &mut Rng) {
    /// As many numbers as a float tells apart between 0 and 1.
    const STEPS: u64 = 1 << 53;
    for from in 0..items.len() {
        let rest = &items[from..];
        let sum: f64 = rest.iter().map(|it| it.0).sum();
        let mut point = sum * (rng.below(STEPS) as f64 / STEPS as f64);
        let drawn = rest.iter().position(|it| {
            point -= it.0;
            point < 0.0
        });
        // Rounding may leave a little over at the end.
        let at = drawn.unwrap_or(rest.len() - 1);
        items.swap(from, from + at);
    }
}
