//! Quota and weights: what changes of them mean for what is already granted.
//!
//! Only grants that stand in the way of the new order are taken back, not all of them (RQ-16).
//! Deliberately not here: how quota is counted, which is `headroom.rs`.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use tracing::debug;

use super::candidate::Stage;
use super::changes::rescind;
use super::columns::Row;
use super::drf::Drf;
use super::seats::LeafId;
use super::tree::{NodeId, Sign, Tree};
use super::{Decision, GrantId, RescindReason};
use crate::keys::AgentKey;
use crate::machine::{Never, Outbox};
use crate::quota::Quota;
use crate::resources::Milli;
use crate::roles::Role;
use crate::time::Time;

/// How many frameworks are asked, for one new weight, whether they would take what others were
/// granted. What is not taken back then evens out with the next offers.
const MOST_LOOKS: usize = 1 << 16;

/// A grant that could be taken back.
struct Live {
    agent: AgentKey,
    leaf: LeafId,
    id: GrantId,
    all: Row,
    open: Row,
}

/// The listed children of a node, as they would stand if grants went from one to another.
struct Siblings {
    nodes: Vec<NodeId>,
    /// Their shares, with their place in `nodes`.
    by_share: BTreeSet<(u64, usize)>,
    /// Who stands below each, once that was asked.
    leaves: Vec<Option<Vec<LeafId>>>,
    /// What those hold, listed or not, of whom that changed.
    held: BTreeMap<NodeId, Row>,
    /// How many may still be asked.
    looks: usize,
}

impl Siblings {
    fn held(&self, node: NodeId, tree: &Tree) -> Row {
        let known = self.held.get(&node).copied();
        known.unwrap_or_else(|| tree.books[node.at()].held)
    }

    fn set_held(&mut self, node: NodeId, held: Row, tree: &Tree) {
        let before = tree.weighted_share(node, &self.held(node, tree));
        // One that is not listed stands in no order.
        let places = self.by_share.range((before, 0)..=(before, usize::MAX));
        let mut places = places.filter(|it| self.nodes[it.1] == node);
        if let Some(place) = places.next().copied() {
            self.by_share.remove(&place);
            let after = tree.weighted_share(node, &held);
            self.by_share.insert((after, place.1));
        }
        self.held.insert(node, held);
    }
}

impl Drf {
    pub(super) fn on_quota(
        &mut self,
        now: Time,
        role: &Role,
        quota: Quota,
        out: &mut Outbox<Never, Decision>,
    ) {
        if let Err(error) = quota.check() {
            debug!(%role, %error, "the limit holds");
        }
        self.tree.set_quota(role, quota.clone(), &self.columns);
        self.admit_quota(&quota);
        if let Some(node) = self.tree.find(role) {
            self.enforce_limit(node, out);
        }
        self.make_headroom(out);
        for agent in 0..self.interest.agents() {
            if self.interest.lessen(agent) {
                self.mark(now, agent);
            }
        }
        self.mark_all(now);
        // What quota held back may be free for others now.
        self.look_again_at_all(now);
    }

    /// Takes grants of a role, and of those below it, back until it keeps its limit.
    fn enforce_limit(&mut self, node: NodeId, out: &mut Outbox<Never, Decision>) {
        let mut excess = self.tree.excess(node);
        if excess.is_empty() {
            return;
        }
        excess.subtract(&self.returning(|leaf| self.is_within(leaf, node)));
        for grant in &self.live() {
            let serves = |(column, over): (usize, i128)| over > 0 && grant.open.at(column) > 0;
            if self.is_within(grant.leaf, node) && excess.iter().any(serves) {
                excess.subtract(&grant.open);
                self.take_back(grant, RescindReason::Quota, out);
            }
        }
    }

    /// Takes grants back until what is required for guarantees is free, or would be.
    fn make_headroom(&mut self, out: &mut Outbox<Never, Decision>) {
        let mut missing = *self.tree.required_headroom();
        missing.subtract(&self.available);
        if missing.is_empty() {
            return;
        }
        missing.subtract(&self.returning(|_| true));
        let mut less: BTreeMap<NodeId, Row> = BTreeMap::new();
        for grant in &self.live() {
            let serves = |(column, lack): (usize, i128)| lack > 0 && grant.open.at(column) > 0;
            if !missing.iter().any(serves) || !self.is_spare(grant, &less) {
                continue;
            }
            for at in self.tree.upwards(self.seats.seat(grant.leaf).role) {
                less.entry(at).or_default().add(&grant.open);
            }
            missing.subtract(&grant.open);
            self.take_back(grant, RescindReason::Quota, out);
        }
    }

    /// Whether a role, and all above it, keep their guarantees without a grant, if they already
    /// lose what `less` says.
    fn is_spare(&self, grant: &Live, less: &BTreeMap<NodeId, Row>) -> bool {
        let role = self.seats.seat(grant.leaf).role;
        self.tree.upwards(role).all(|at| {
            let mut lost = less.get(&at).copied().unwrap_or_default();
            lost.add(&grant.open);
            self.tree.can_lose(at, &lost)
        })
    }

    pub(super) fn on_weight(
        &mut self,
        role: &Role,
        weight: Milli,
        out: &mut Outbox<Never, Decision>,
    ) {
        if weight <= Milli::ZERO {
            return debug!(%role, %weight, "a weight that is not above zero is ignored");
        }
        let weight_of = |tree: &Tree| tree.find(role).map(|node| tree.node(node).weight);
        let before = weight_of(&self.tree);
        self.tree.set_weight(role, weight);
        let Some(node) = self
            .tree
            .find(role)
            .filter(|_| before != weight_of(&self.tree))
        else {
            return;
        };
        self.tree.settle();
        let parent = self.tree.node(node).parent;
        let mut siblings = self.siblings(parent);
        let grants = self.live();
        let promises = self.tree.promises;
        // The largest grants of whoever has most come last, so go from the end.
        for grant in grants.iter().rev() {
            let Some(of) = self.child_towards(parent, grant.leaf) else {
                continue;
            };
            if self.is_better_elsewhere(of, grant, &mut siblings) {
                self.take_back(grant, RescindReason::Weight, out);
            }
        }
        // What was lent for a look is put back.
        self.tree.promises = promises;
    }

    /// Returns the listed children of a node, in their order.
    fn siblings(&self, parent: NodeId) -> Siblings {
        let order = &self.tree.node(parent).order;
        let nodes: Vec<NodeId> = order.iter().map(|it| it.node).collect();
        let share = |node: NodeId| {
            let held = &self.tree.books[node.at()].held;
            self.tree.weighted_share(node, held)
        };
        let ranks = (0..).zip(&nodes).map(|(at, node)| (share(*node), at));
        Siblings {
            by_share: ranks.collect(),
            leaves: nodes.iter().map(|_| None).collect(),
            held: BTreeMap::new(),
            looks: MOST_LOOKS,
            nodes,
        }
    }

    /// Whether a sibling with less would take a grant, and still have less with it than its holder
    /// has; then counts it as that sibling's.
    fn is_better_elsewhere(&mut self, of: NodeId, grant: &Live, siblings: &mut Siblings) -> bool {
        let mut rest = siblings.held(of, &self.tree);
        let mine = self.tree.weighted_share(of, &rest);
        let Some(at) = self.gainer(of, mine, grant, siblings) else {
            return false;
        };
        let least = siblings.nodes[at];
        let mut theirs = siblings.held(least, &self.tree);
        theirs.add(&grant.all);
        if self.tree.weighted_share(least, &theirs) >= mine {
            return false;
        }
        rest.subtract(&grant.all);
        siblings.set_held(least, theirs, &self.tree);
        siblings.set_held(of, rest, &self.tree);
        true
    }

    /// Returns which sibling has the least of those who have less than somebody else and would take
    /// what that one was granted.
    fn gainer(
        &mut self,
        of: NodeId,
        mine: u64,
        grant: &Live,
        siblings: &mut Siblings,
    ) -> Option<usize> {
        let agent = self.ledger.get(grant.agent)?;
        let freed = agent.without(grant.leaf, grant.id, &self.columns)?;
        let mut less = siblings.by_share.iter().take_while(|it| it.0 < mine);
        if !freed.is_offerable() || siblings.looks == 0 || less.next().is_none() {
            return None;
        }
        // It would be free again for anybody, and count against the limits of nobody.
        let holder = self.seats.seat(grant.leaf).node;
        self.tree.lend(holder, Sign::Take, &grant.open);
        self.available.add(&grant.open);
        let (nodes, leaves) = (&siblings.nodes, &mut siblings.leaves);
        let less = siblings.by_share.iter().take_while(|it| it.0 < mine);
        let mut less = less.map(|it| it.1).filter(|at| nodes[*at] != of);
        let most = siblings.looks;
        let looks = &mut siblings.looks;
        let gainer = less.find(|at| {
            let leaves = leaves[*at].get_or_insert_with(|| self.listed_below(nodes[*at]));
            let mut leaves = leaves.iter().take(*looks);
            leaves.any(|leaf| {
                *looks -= 1;
                self.candidate(Stage::FairShare, &freed, *leaf).is_ok()
            })
        });
        self.scratch.looks = self.scratch.looks.wrapping_add(most - *looks);
        self.available.subtract(&grant.open);
        self.tree.lend(holder, Sign::Add, &grant.open);
        gainer
    }

    /// Returns all leaves that may be offered something in and below a node.
    fn listed_below(&self, node: NodeId) -> Vec<LeafId> {
        let mut leaves = Vec::new();
        let mut stack = Vec::from([node]);
        while let Some(at) = stack.pop() {
            match self.tree.leaf_of(at) {
                Some(leaf) => leaves.push(leaf),
                None => stack.extend(self.tree.node(at).order.iter().map(|it| it.node)),
            }
        }
        leaves
    }

    /// Returns the child of a node that a leaf hangs below.
    fn child_towards(&self, parent: NodeId, leaf: LeafId) -> Option<NodeId> {
        let mut path = self.tree.upwards(self.seats.seat(leaf).node);
        path.find(|at| self.tree.node(*at).parent == parent)
    }

    fn is_within(&self, leaf: LeafId, node: NodeId) -> bool {
        let role = self.seats.seat(leaf).role;
        self.tree.upwards(role).any(|at| at == node)
    }

    /// Returns the grants that were not asked back, in the order of agents.
    fn live(&self) -> Vec<Live> {
        let agents = self.ledger.iter();
        let grants = agents.flat_map(|(agent, row)| {
            row.outstanding().map(move |(leaf, id, rest)| Live {
                agent,
                leaf,
                id,
                all: rest.all,
                open: *rest.open(),
            })
        });
        grants.collect()
    }

    /// Counts what was asked back and has not come.
    fn returning(&self, of: impl Fn(LeafId) -> bool) -> Row {
        let mut row = Row::ZERO;
        for (_, agent) in self.ledger.iter() {
            for (leaf, rest) in agent.returning() {
                if of(leaf) {
                    row.add(rest.open());
                }
            }
        }
        row
    }

    fn take_back(
        &mut self,
        grant: &Live,
        reason: RescindReason,
        out: &mut Outbox<Never, Decision>,
    ) {
        if let Some(agent) = self.ledger.get_mut(grant.agent) {
            rescind(agent.rescind_one(grant.leaf, grant.id), reason, out);
        }
    }
}
