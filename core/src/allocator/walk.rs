//! Walks over the leaves of the tree in their order, and the check that it is one.
//!
//! A pass walks for each agent that several leaves want something of, past nodes that have no stamp
//! where these leaves are few. Deliberately not here: how the order is kept.

use alloc::vec::Vec;

use super::seats::LeafId;
use super::tree::{NodeId, ROOT, Tree, What};

/// A walk over the leaves in order, which a caller steers past what it need not see.
#[derive(Debug, Default)]
pub(super) struct Walk {
    stack: Vec<(NodeId, usize)>,
    /// How many nodes were passed, in all walks.
    pub(super) steps: usize,
}

impl Walk {
    /// Begins anew at the top.
    pub(super) fn restart(&mut self) {
        self.stack.clear();
        self.stack.push((ROOT, 0));
    }

    /// Passes by all that is left of the branch that hangs from the top.
    pub(super) fn leave_branch(&mut self) {
        self.stack.truncate(1);
    }

    /// Returns the next leaf below nodes that `enters` accepts.
    pub(super) fn next(&mut self, tree: &Tree, enters: impl Fn(NodeId) -> bool) -> Option<LeafId> {
        loop {
            let entered = self.enter(tree, &enters)?;
            match tree.leaf_of(entered) {
                Some(leaf) => return Some(leaf),
                None => self.stack.push((entered, 0)),
            }
        }
    }

    /// Returns what the next role below nodes that `enters` accepts has of its own.
    pub(super) fn next_own(
        &mut self,
        tree: &Tree,
        enters: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        loop {
            let entered = self.enter(tree, &enters)?;
            match tree.node(entered).what {
                What::Own => return Some(entered),
                What::Root | What::Role(_) | What::Seat(_) | What::Gone => {
                    self.stack.push((entered, 0));
                }
            }
        }
    }

    /// Returns the next node that `enters` accepts, to go below it or not.
    fn enter(&mut self, tree: &Tree, enters: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        debug_assert!(!tree.stale, "the shares are settled before a pass");
        while let Some((node, at)) = self.stack.last_mut() {
            let rest = &tree.node(*node).order[*at..];
            let Some(passed) = rest.iter().position(|entry| enters(entry.node)) else {
                self.steps += rest.len();
                self.stack.pop();
                continue;
            };
            *at += passed + 1;
            self.steps += passed + 1;
            return Some(rest[passed].node);
        }
        None
    }
}

/// A set of nodes that is emptied at once.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// By node, when it was last added.
    by_node: Vec<u64>,
    now: u64,
}

impl Stamps {
    /// Empties the set, and makes room for so many nodes.
    pub(super) fn restart(&mut self, nodes: usize) {
        self.by_node.resize(nodes, 0);
        self.now += 1;
    }

    /// Adds a node. Returns whether that is new.
    pub(super) fn add(&mut self, node: NodeId) -> bool {
        core::mem::replace(&mut self.by_node[node.at()], self.now) != self.now
    }

    /// Adds a node and those above it, as far as they are not there together already.
    pub(super) fn add_all(&mut self, mut upwards: impl Iterator<Item = NodeId>) {
        while upwards.next().is_some_and(|node| self.add(node)) {}
    }

    pub(super) fn has(&self, node: NodeId) -> bool {
        self.by_node[node.at()] == self.now
    }
}

impl Tree {
    /// Returns whether anybody may be offered anything.
    pub(super) fn has_takers(&self) -> bool {
        !self.node(ROOT).order.is_empty()
    }

    /// Checks that every order holds the listed children, once each, where they belong.
    pub(super) fn check_orders(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            if node.what == What::Gone {
                continue;
            }
            if at > 0 {
                let order = &self.node(node.parent).order;
                let listed = order.iter().filter(|it| it.node.at() == at).count();
                assert_eq!(
                    listed,
                    usize::from(node.listed),
                    "{:?} in the order",
                    node.what
                );
                let seat = matches!(node.what, What::Seat(_));
                assert!(
                    seat || node.listed != node.order.is_empty(),
                    "{:?}",
                    node.what
                );
            }
            if !self.stale {
                for entry in &node.order {
                    assert_eq!(*entry, self.place(entry.node), "the place of a node");
                }
                let sorted = node.order.is_sorted_by(|a, b| self.compare(a, b).is_lt());
                assert!(sorted, "the order below {:?}", node.what);
            }
        }
    }
}
