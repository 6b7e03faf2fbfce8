//! Leaves: each framework in each of its roles, and what it wants there.
//!
//! A leaf is there as long as the framework is subscribed to the role, or holds something in it
//! (AL-41). Deliberately not here: what it holds on which agent, and where it stands.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::bounded::Bounded;
use super::columns::Row;
use super::interest::Choice;
use super::profile::{FrameworkCapabilities, Subscription, SubscriptionState};
use super::tally::Tally;
use super::tree::NodeId;
use super::want::Want;
use super::worth::LeastId;
use crate::constraints::Constraints;
use crate::filters::Refuser;
use crate::keys::FrameworkKey;
use crate::time::Time;

/// Names a leaf as long as it is there: dense, and reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LeafId(u32);

impl LeafId {
    pub(super) fn new(at: usize) -> Self {
        Self(u32::try_from(at).expect("fewer leaves than 2^32"))
    }

    pub(super) const fn at(self) -> usize {
        self.0 as usize
    }

    pub(super) const fn raw(self) -> u32 {
        self.0
    }
}

/// One framework in one role.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) framework: FrameworkKey,
    /// The role's node.
    pub(super) role: NodeId,
    /// Its own.
    pub(super) node: NodeId,
    pub(super) refuser: Refuser,
    /// `None` if it is not subscribed, and only holds something.
    pub(super) wish: Option<Wish>,
    /// On how many agents it holds something.
    pub(super) agents: usize,
    /// What of it is granted and not yet accepted.
    pub(super) offered: Row,
    /// The same by name, if a policy may bound it.
    pub(super) in_offers: Option<Tally>,
    /// Since when it has waited for a grant.
    pub(super) since: Time,
    /// What it said that it wants.
    pub(super) want: Option<Want>,
    /// Under which bounds it had nothing of an agent, if bounds are why.
    pub(super) bounded: Option<Bounded>,
}

/// What a framework wants in a role.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) state: SubscriptionState,
    pub(super) constraints: Option<Constraints>,
    /// Whether the constraints go by what an agent is, and not by what it would be offered of it.
    pub(super) is_static: bool,
    /// Whether they go by what agents of a breed have in common.
    pub(super) is_by_breed: bool,
    pub(super) least: LeastId,
}

impl Wish {
    pub(super) fn new(subscription: Subscription, least: LeastId) -> Self {
        let constraints = subscription.constraints;
        Self {
            state: subscription.state,
            is_static: constraints
                .as_ref()
                .is_some_and(|it| !it.depends_on_offer()),
            is_by_breed: constraints
                .as_ref()
                .is_some_and(Constraints::depends_on_labels_only),
            constraints,
            least,
        }
    }

    /// Returns whether the constraints go by how much would be offered.
    pub(super) const fn choice(&self) -> Choice {
        if self.constraints.is_some() && !self.is_static {
            Choice::ByAmount
        } else {
            Choice::Free
        }
    }
}

/// A framework: one that joined, or one that only holds something.
#[derive(Debug)]
pub(super) struct Framework {
    pub(super) name: Arc<str>,
    pub(super) joined: bool,
    pub(super) active: bool,
    pub(super) capabilities: FrameworkCapabilities,
    pub(super) seats: Vec<LeafId>,
    /// What is granted to all of these and not yet accepted, by name, if that is bounded.
    pub(super) in_offers: Option<Tally>,
}

/// All leaves, and the frameworks that they are of.
#[derive(Debug, Default)]
pub(super) struct Seats {
    rows: Vec<Option<Seat>>,
    vacant: Vec<LeafId>,
    by: BTreeMap<(FrameworkKey, NodeId), LeafId>,
    pub(super) frameworks: BTreeMap<FrameworkKey, Framework>,
}

impl Seats {
    /// Returns the leaf of a framework in a role.
    pub(super) fn find(&self, framework: FrameworkKey, role: NodeId) -> Option<LeafId> {
        self.by.get(&(framework, role)).copied()
    }

    /// Returns the leaf that [`Seats::insert`] would make next.
    pub(super) fn next(&self) -> LeafId {
        let fresh = || LeafId::new(self.rows.len());
        self.vacant.last().copied().unwrap_or_else(fresh)
    }

    /// Adds a leaf, whose framework is known.
    pub(super) fn insert(&mut self, seat: Seat) -> LeafId {
        let leaf = self.next();
        self.by.insert((seat.framework, seat.role), leaf);
        let framework = self.frameworks.get_mut(&seat.framework);
        framework.expect("it is known").seats.push(leaf);
        match self.vacant.pop() {
            Some(leaf) => self.rows[leaf.at()] = Some(seat),
            None => self.rows.push(Some(seat)),
        }
        leaf
    }

    /// Takes a leaf out, and a framework of which nothing is left.
    pub(super) fn remove(&mut self, leaf: LeafId) -> Seat {
        let seat = self.rows[leaf.at()].take();
        let seat = seat.expect("a leaf that is there is taken out");
        self.by.remove(&(seat.framework, seat.role));
        self.vacant.push(leaf);
        if let Some(framework) = self.frameworks.get_mut(&seat.framework) {
            framework.seats.retain(|it| *it != leaf);
            if framework.seats.is_empty() && !framework.joined {
                self.frameworks.remove(&seat.framework);
            }
        }
        seat
    }

    pub(super) fn seat(&self, leaf: LeafId) -> &Seat {
        self.rows[leaf.at()].as_ref().expect("the leaf is there")
    }

    pub(super) fn seat_mut(&mut self, leaf: LeafId) -> &mut Seat {
        self.rows[leaf.at()].as_mut().expect("the leaf is there")
    }

    pub(super) fn framework(&self, key: FrameworkKey) -> &Framework {
        &self.frameworks[&key]
    }

    /// Visits all leaves.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LeafId, &Seat)> + '_ {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(at, seat)| Some((LeafId::new(at), seat.as_ref()?)))
    }

    /// Returns whether a leaf may be offered anything at all.
    pub(super) fn may_be_offered(&self, leaf: LeafId) -> bool {
        let seat = self.seat(leaf);
        let wish = seat.wish.as_ref();
        wish.is_some_and(|it| it.state == SubscriptionState::Wanted)
            && self.framework(seat.framework).active
    }

    /// Counts what a leaf has in grants, and its framework with it, if a policy may bound that.
    pub(super) fn tally(&mut self, leaf: LeafId, count: impl Fn(&mut Tally)) {
        let seat = self.rows[leaf.at()].as_mut().expect("the leaf is there");
        let Some(own) = &mut seat.in_offers else {
            return;
        };
        count(own);
        let framework = self.frameworks.get_mut(&seat.framework);
        if let Some(all) = framework.and_then(|it| it.in_offers.as_mut()) {
            count(all);
        }
    }

    /// Counts that a leaf has nothing in grants any more.
    pub(super) fn untally(&mut self, leaf: LeafId) {
        let own = self.seat(leaf).in_offers.clone();
        if let Some(own) = own {
            self.tally(leaf, |tally| tally.subtract_all(&own));
        }
    }
}
