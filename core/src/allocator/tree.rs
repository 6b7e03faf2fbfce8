//! Who is next: one tree of roles with frameworks as its leaves, always in order.
//!
//! Inner nodes are roles, whose path they spell (AL-14). What a role has of its own hangs from a
//! virtual child, `a/.` for `a`, which competes with the roles below `a`; frameworks are its
//! children. Siblings stand by weighted dominant share, at every level for itself (AL-16, AL-17).
//! Only those who may be offered something stand in an order, so a pass looks at nobody else. An
//! order holds small entries, and a booking slides one entry per level instead of sorting anything
//! (AL-18).
//!
//! Deliberately not here: what quota counts (`headroom.rs`), orders by lot (`lot.rs`), agents.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::columns::{COLUMNS, Columns, Row};
use super::headroom::{Books, Quotas};
use super::seats::LeafId;
use crate::resources::Milli;
use crate::roles::Role;

/// Names a node as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(u32);

/// The top of the tree, which is nobody's.
pub(super) const ROOT: NodeId = NodeId(0);

pub(super) const WEIGHT_ONE: Milli = Milli::from_thousandths(1_000);
/// Where a node stands among its siblings: ascending share, then fewer grants, then name (AL-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    share: u64,
    /// The first bytes of what tells its name from those of its siblings, for a quick look.
    prefix: u64,
    grants: u32,
    pub(super) node: NodeId,
}

impl Entry {
    /// What it is put in order by before its whole name.
    const fn rank(&self) -> (u64, u32, u64) {
        (self.share, self.grants, self.prefix)
    }
}

/// What a node stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The top.
    Root,
    /// A role.
    Role(Role),
    /// What a role has of its own.
    Own,
    /// A framework in a role.
    Seat(LeafId),
    /// Nothing any more.
    Gone,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: NodeId,
    pub(super) what: What,
    name: Arc<str>,
    pub(super) weight: Milli,
    /// How often something was booked. It never falls (TV-14).
    pub(super) grants: u64,
    /// As it stands in the order of its siblings, if it does.
    pub(super) place: Entry,
    pub(super) listed: bool,
    /// The children that are listed.
    pub(super) order: Vec<Entry>,
    children: u32,
    /// The virtual child of a role.
    own: Option<NodeId>,
}

/// Whether a booking adds or takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Something new is held. Counts as a grant.
    Add,
    /// Something is no longer held.
    Take,
}

/// The tree, and the accounts of its nodes.
#[derive(Debug)]
pub(super) struct Tree {
    /// Names that shares are not counted by.
    pub(super) is_excluded: [bool; COLUMNS],
    pub(super) total: Row,
    pub(super) nodes: Vec<Node>,
    pub(super) books: Vec<Books>,
    /// The leaf that each node stands for, apart from all else: walks pass many nodes.
    leaves: Vec<Option<LeafId>>,
    vacant: Vec<NodeId>,
    by_role: BTreeMap<Role, NodeId>,
    /// The total changed since the shares were computed.
    pub(super) stale: bool,
    /// Rises when other nodes are listed, or a weight is another.
    pub(super) version: u64,
    /// How often what some node requires has changed.
    pub(super) promises: u64,
    pub(super) quotas: Quotas,
}

impl NodeId {
    pub(super) const fn at(self) -> usize {
        self.0 as usize
    }
}

impl Tree {
    /// Makes a tree that leaves the `excluded` names out of all shares (TV-15).
    pub(super) fn new(excluded: &[String], columns: &mut Columns) -> Self {
        let mut is_excluded = [false; COLUMNS];
        // A name without a column is not counted in any case.
        for column in excluded.iter().filter_map(|name| columns.fix(name)) {
            is_excluded[column] = true;
        }
        let mut tree = Self {
            is_excluded,
            total: Row::ZERO,
            nodes: Vec::new(),
            books: Vec::new(),
            leaves: Vec::new(),
            vacant: Vec::new(),
            by_role: BTreeMap::new(),
            stale: false,
            version: 1,
            promises: 0,
            quotas: Quotas::default(),
        };
        tree.insert(ROOT, What::Root, Arc::from(""));
        tree
    }

    /// Names the node in a slot.
    pub(super) fn id(&self, slot: usize) -> NodeId {
        self.nodes[slot].place.node
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.at()]
    }

    /// Returns the node of a role that is known.
    pub(super) fn find(&self, role: &Role) -> Option<NodeId> {
        self.by_role.get(role).copied()
    }

    /// Visits the roles that are known, in the order of their paths.
    pub(super) fn roles(&self) -> impl Iterator<Item = (&Role, NodeId)> + '_ {
        self.by_role.iter().map(|(role, id)| (role, *id))
    }

    /// Returns the role behind a node that is one.
    pub(super) fn role(&self, id: NodeId) -> &Role {
        match &self.node(id).what {
            What::Role(role) => role,
            What::Root | What::Own | What::Seat(_) | What::Gone => {
                unreachable!("only nodes of roles are asked for their role")
            }
        }
    }

    /// Visits a node and all above it but the top.
    pub(super) fn upwards(&self, from: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let above = |id: &NodeId| Some(self.node(*id).parent).filter(|it| *it != ROOT);
        core::iter::successors(Some(from).filter(|it| *it != ROOT), above)
    }

    /// Returns the node of a role, new or old. It goes again when nothing keeps it, at the latest
    /// [`Tree::prune`].
    pub(super) fn intern(&mut self, role: &Role) -> NodeId {
        if let Some(known) = self.find(role) {
            return known;
        }
        let mut above = ROOT;
        let text = role.as_str();
        let ends = text.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([text.len()]) {
            let path = Role::new(&text[..end]).expect("what is above a role is a role");
            above = match self.find(&path) {
                Some(known) => known,
                None => {
                    let name = Arc::from(path.as_str());
                    let node = self.insert(above, What::Role(path.clone()), name);
                    self.by_role.insert(path, node);
                    node
                }
            };
        }
        above
    }

    /// Adds a framework to a role, unlisted.
    pub(super) fn seat(&mut self, role: NodeId, leaf: LeafId, name: &Arc<str>) -> NodeId {
        let own = match self.node(role).own {
            Some(own) => own,
            None => {
                let name = alloc::format!("{}/.", self.node(role).name);
                let own = self.insert(role, What::Own, Arc::from(name));
                self.nodes[role.at()].own = Some(own);
                own
            }
        };
        self.insert(own, What::Seat(leaf), Arc::clone(name))
    }

    /// Takes a leaf out, and what is kept by nothing else. It must not hold anything.
    pub(super) fn unseat(&mut self, node: NodeId) {
        self.list(node, Listing::Out);
        self.prune(node);
    }

    /// Gives a leaf another name.
    pub(super) fn rename(&mut self, node: NodeId, name: &Arc<str>) {
        let listed = self.node(node).listed;
        self.list(node, Listing::Out);
        self.nodes[node.at()].name = Arc::clone(name);
        self.nodes[node.at()].place.prefix = prefix(name);
        if listed {
            self.list(node, Listing::In);
        }
    }

    fn insert(&mut self, parent: NodeId, what: What, name: Arc<str>) -> NodeId {
        let leaf = match what {
            What::Seat(leaf) => Some(leaf),
            What::Root | What::Role(_) | What::Own | What::Gone => None,
        };
        let prefix = match leaf {
            Some(_) => prefix(&name),
            None => prefix(name.rsplit('/').next().unwrap_or(&name)),
        };
        let node = |id| Node {
            parent,
            what,
            name,
            weight: WEIGHT_ONE,
            grants: 0,
            place: Entry {
                share: 0,
                prefix,
                grants: 0,
                node: id,
            },
            listed: false,
            order: Vec::new(),
            children: 0,
            own: None,
        };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.nodes[id.at()] = node(id);
                self.books[id.at()] = Books::default();
                self.leaves[id.at()] = leaf;
                id
            }
            None => {
                let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer nodes than 2^32"));
                self.nodes.push(node(id));
                self.books.push(Books::default());
                self.leaves.push(leaf);
                id
            }
        };
        if id != ROOT {
            self.nodes[parent.at()].children += 1;
        }
        id
    }

    /// Removes a node that nothing keeps, and then those above it.
    pub(super) fn prune(&mut self, from: NodeId) {
        let mut at = from;
        while at != ROOT && self.node(at).children == 0 && !self.is_kept(at) {
            let node = &mut self.nodes[at.at()];
            debug_assert!(!node.listed, "nobody below it stands in an order");
            self.leaves[at.at()] = None;
            let what = core::mem::replace(&mut node.what, What::Gone);
            let parent = node.parent;
            self.nodes[parent.at()].children -= 1;
            match what {
                What::Role(role) => drop(self.by_role.remove(&role)),
                What::Own => self.nodes[parent.at()].own = None,
                What::Seat(_) | What::Root | What::Gone => {}
            }
            self.vacant.push(at);
            at = parent;
        }
    }

    /// Whether a node stays without children (AL-46).
    fn is_kept(&self, id: NodeId) -> bool {
        let node = self.node(id);
        matches!(node.what, What::Role(_))
            && (node.weight != WEIGHT_ONE || self.books[id.at()].keeps())
    }

    /// Sets the weight of a role (AL-17).
    pub(super) fn set_weight(&mut self, role: &Role, weight: Milli) {
        let node = self.intern(role);
        self.nodes[node.at()].weight = weight;
        self.version += 1;
        self.settle_node(node);
        self.prune(node);
    }

    /// Lists a leaf in the orders, or takes it out; its account stays (AL-21).
    pub(super) fn list(&mut self, leaf: NodeId, listing: Listing) {
        let mut at = leaf;
        while at != ROOT {
            let node = &self.nodes[at.at()];
            let wanted = match node.what {
                What::Seat(_) => listing == Listing::In,
                What::Root | What::Role(_) | What::Own | What::Gone => !node.order.is_empty(),
            };
            if node.listed == wanted {
                return;
            }
            let (parent, place) = (node.parent, node.place);
            let order = &self.nodes[parent.at()].order;
            let found = self.seek(order, &place);
            let order = &mut self.nodes[parent.at()].order;
            match (found, wanted) {
                (Err(to), true) => order.insert(to, place),
                (Ok(from), false) => drop(order.remove(from)),
                (Ok(_), true) | (Err(_), false) => {
                    unreachable!("a node stands in an order exactly if it is listed")
                }
            }
            self.nodes[at.at()].listed = wanted;
            self.version += 1;
            at = parent;
        }
    }

    /// Books scalars for a leaf and all above it, and moves each to where it now belongs.
    ///
    /// `open` is what of it quota counts when it is held: the unreserved that nobody can take back.
    pub(super) fn book(&mut self, leaf: NodeId, sign: Sign, all: &Row, open: &Row) {
        let mut at = leaf;
        let mut requires_other = false;
        while at != ROOT {
            let books = &mut self.books[at.at()];
            match sign {
                Sign::Add => {
                    books.held.add(all);
                    books.taken.add(open);
                    self.nodes[at.at()].grants += 1;
                }
                Sign::Take => {
                    books.held.subtract(all);
                    books.taken.subtract(open);
                }
            }
            if self.quotas.guarantees > 0 && (requires_other || self.books[at.at()].has_quota()) {
                requires_other = self.require(at);
            }
            self.settle_node(at);
            at = self.node(at).parent;
        }
    }

    /// Turns a part of what a leaf holds into something else, which is no grant.
    pub(super) fn convert(&mut self, leaf: NodeId, before: (&Row, &Row), after: (&Row, &Row)) {
        let mut at = leaf;
        while at != ROOT {
            let books = &mut self.books[at.at()];
            books.held.subtract(before.0);
            books.held.add(after.0);
            books.taken.subtract(before.1);
            books.taken.add(after.1);
            let _changed = self.require(at);
            self.settle_node(at);
            at = self.node(at).parent;
        }
    }

    /// Replaces a part of the total. Shares follow at the next [`Tree::settle`].
    pub(super) fn change_total(&mut self, before: &Row, after: &Row) {
        if before != after {
            self.total.subtract(before);
            self.total.add(after);
            self.stale = true;
        }
    }

    /// Brings all shares up to date after the total changed.
    pub(super) fn settle(&mut self) {
        if !core::mem::take(&mut self.stale) {
            return;
        }
        for at in 0..self.nodes.len() {
            self.nodes[at].place = self.place(NodeId(at as u32));
        }
        for at in 0..self.nodes.len() {
            let mut order = core::mem::take(&mut self.nodes[at].order);
            for entry in &mut order {
                *entry = self.nodes[entry.node.at()].place;
            }
            order.sort_unstable_by(|a, b| self.compare(a, b));
            self.nodes[at].order = order;
        }
    }

    /// Computes the place of a node anew, and moves it there.
    fn settle_node(&mut self, id: NodeId) {
        let (before, after) = (self.node(id).place, self.place(id));
        if before == after {
            return;
        }
        if self.node(id).listed && !self.stale {
            let parent = self.node(id).parent;
            let order = &self.nodes[parent.at()].order;
            let from = self.seek(order, &before);
            let from = from.expect("a listed node stands in the order of its siblings");
            if before.rank() < after.rank() {
                let behind = self.seek(&order[from + 1..], &after);
                let to = from + behind.unwrap_or_else(|to| to);
                self.nodes[parent.at()]
                    .order
                    .copy_within(from + 1..=to, from);
                self.nodes[parent.at()].order[to] = after;
            } else {
                let to = self.seek(&order[..from], &after).unwrap_or_else(|to| to);
                self.nodes[parent.at()].order.copy_within(to..from, to + 1);
                self.nodes[parent.at()].order[to] = after;
            }
        } else if self.node(id).listed {
            // All orders are sorted anew soon; only which nodes are in them matters until then, and
            // that old places find them.
            return;
        }
        self.nodes[id.at()].place = after;
    }

    pub(super) fn place(&self, id: NodeId) -> Entry {
        Entry {
            share: self.weighted_share(id, &self.books[id.at()].held),
            prefix: self.node(id).place.prefix,
            grants: u32::try_from(self.node(id).grants).unwrap_or(u32::MAX),
            node: id,
        }
    }

    /// Finds an entry in an order, or where it belongs, as a binary search does.
    fn seek(&self, order: &[Entry], wanted: &Entry) -> Result<usize, usize> {
        let rank = wanted.rank();
        let first = order.partition_point(|it| it.rank() < rank);
        match order.get(first) {
            Some(it) if it.node == wanted.node => Ok(first),
            Some(it) if it.rank() == rank => {
                let found = order[first..].binary_search_by(|it| self.compare(it, wanted));
                found.map(|at| first + at).map_err(|at| first + at)
            }
            Some(_) | None => Err(first),
        }
    }

    pub(super) fn compare(&self, a: &Entry, b: &Entry) -> Ordering {
        (a.rank().cmp(&b.rank())).then_with(|| {
            let (one, other) = (self.node(a.node), self.node(b.node));
            (one.name.cmp(&other.name)).then(a.node.cmp(&b.node))
        })
    }

    /// Returns the leaf that a node stands for, if it does.
    pub(super) fn leaf_of(&self, id: NodeId) -> Option<LeafId> {
        self.leaves[id.at()]
    }
}

/// Returns the first bytes of a name; they order as names do, as far as they go.
fn prefix(name: &str) -> u64 {
    let mut bytes = [0; 8];
    let len = name.len().min(8);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    u64::from_be_bytes(bytes)
}

/// Whether a framework stands in the order of its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// It may be offered something.
    In,
    /// It may not.
    Out,
}
