//! Quota and weights: what changes of them mean for what is already granted.
//!
//! Only grants that stand in the way of the new order are taken back, not all of them (RQ-16).
//! Deliberately not here: how quota is counted, which is `headroom.rs`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use tracing::debug;

use super::changes::rescind;
use super::columns::Row;
use super::drf::Drf;
use super::seats::LeafId;
use super::tree::{NodeId, Tree};
use super::{Decision, GrantId, RescindReason};
use crate::keys::AgentKey;
use crate::machine::{Never, Outbox};
use crate::quota::Quota;
use crate::resources::Milli;
use crate::roles::Role;
use crate::time::Time;

/// A grant that could be taken back.
struct Live {
    agent: AgentKey,
    leaf: LeafId,
    id: GrantId,
    all: Row,
    open: Row,
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
        self.tree.set_quota(role, quota, &mut self.columns);
        if let Some(node) = self.tree.find(role) {
            self.enforce_limit(node, out);
        }
        self.make_headroom(out);
        for agent in 0..self.interest.agents() {
            let _again = self.interest.lessen(agent);
        }
        self.mark_all(now);
        // What quota held back may be free for others now.
        for agent in core::mem::take(&mut self.held_back) {
            self.mark(now, agent);
        }
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
        let mut held: BTreeMap<NodeId, Row> = BTreeMap::new();
        let grants = self.live();
        // The largest grants of whoever has most come last, so go from the end.
        for grant in grants.iter().rev() {
            let Some(of) = self.child_towards(parent, grant.leaf) else {
                continue;
            };
            if self.is_better_elsewhere(parent, of, grant, &mut held) {
                self.take_back(grant, RescindReason::Weight, out);
            }
        }
    }

    /// Whether a sibling with less would still have less with a grant than its holder has; then
    /// counts it as that sibling's.
    fn is_better_elsewhere(
        &self,
        parent: NodeId,
        of: NodeId,
        grant: &Live,
        held: &mut BTreeMap<NodeId, Row>,
    ) -> bool {
        let own = |id: NodeId, held: &BTreeMap<NodeId, Row>| {
            let known = held.get(&id).copied();
            known.unwrap_or_else(|| self.tree.books[id.at()].held)
        };
        let share = |id: NodeId, row: &Row| self.tree.weighted_share(id, row);
        let mine = share(of, &own(of, held));
        let siblings = self.tree.node(parent).order.iter().map(|it| it.node);
        let others = siblings.filter(|it| *it != of);
        let least = others.min_by_key(|it| share(*it, &own(*it, held)));
        let Some(least) = least else {
            return false;
        };
        let mut theirs = own(least, held);
        theirs.add(&grant.all);
        if share(least, &theirs) >= mine {
            return false;
        }
        let mut rest = own(of, held);
        rest.subtract(&grant.all);
        held.insert(least, theirs);
        held.insert(of, rest);
        true
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
