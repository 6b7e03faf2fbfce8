//! What one leaf holds on one agent: grants that are not used up, and what is in use.
//!
//! A part of the ledger. Grants that are answered together are one from then on. Deliberately not
//! here: what is free.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::{SmallVec, smallvec};

use super::columns::{Columns, Row};
use super::counted::Counted;
use super::grant::{GrantId, GrantIds};
use super::kinds::kind;
use crate::resources::{Resource, Resources};

/// What one framework holds in one role on one agent.
#[derive(Debug, Default)]
pub(super) struct Holding {
    pub(super) offered: SmallVec<[Outstanding; 1]>,
    used: Resources,
    /// What is in use beside that, where an agent claims more than can be counted together, or what
    /// has a number or a name that is in use already.
    beyond: Vec<Resources>,
}

/// What is left of a grant, or of several that were answered together.
#[derive(Debug)]
pub(super) struct Outstanding {
    /// The youngest last: they expire with it.
    ids: SmallVec<[Number; 1]>,
    pub(super) rest: Arc<Counted>,
    /// Something of it was accepted.
    pub(super) touched: bool,
    /// It was asked back because nobody answered it.
    pub(super) expired: bool,
}

/// What is left of grants that were named together.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is, or will be once it is one.
    at: usize,
    pub(super) rest: Arc<Counted>,
    is_one: bool,
}

/// The number of one grant.
#[derive(Clone, Copy, Debug)]
struct Number {
    id: GrantId,
    /// It was asked back.
    asked: bool,
}

/// How something came back, or was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// From a grant of which nothing was accepted: it was not wanted.
    Untouched,
    /// The rest of a grant of which a part was accepted.
    Leftover,
    /// From a grant that was asked back.
    Rescinded,
    /// From a grant that was asked back because nobody answered it.
    Expired,
    /// From what was in use.
    Used,
}

/// What a leaf holds on an agent, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// All scalars.
    pub(super) all: Row,
    /// What of it quota counts.
    pub(super) open: Row,
    /// What of it is granted and not accepted.
    pub(super) offered: Row,
}

/// Counts what of a bag quota counts when it is held.
pub(super) fn open(resources: &Resources, columns: &Columns) -> Row {
    columns.row_of(resources.iter().filter(|entry| kind(entry).is_open()))
}

/// Returns what of a bag is kept from others by whoever uses it: all but shared volumes (AL-31).
pub(super) fn exclusive(resources: &Resources) -> Cow<'_, Resources> {
    if !resources.iter().any(Resource::is_shared) {
        return Cow::Borrowed(resources);
    }
    Cow::Owned(resources.filter(|entry| !entry.is_shared()))
}

/// Returns a bag with one copy of each shared volume: however many an agent says it has, one grant
/// of it is made at a time (AL-31).
pub(super) fn single(bag: Resources) -> Resources {
    if bag.iter().all(|entry| entry.copies() <= 1) {
        return bag;
    }
    let mut single = exclusive(&bag).into_owned();
    let fits = single.add(&shared(&bag));
    fits.expect("there was as much, or more");
    single
}

/// Returns one copy of each shared volume of a bag.
pub(super) fn shared(resources: &Resources) -> Resources {
    let mut shared = Resources::new();
    for entry in resources.iter().filter(|entry| entry.is_shared()) {
        shared.add(&one_copy(entry)).expect("one of each fits");
    }
    shared
}

fn one_copy(volume: &Resource) -> Resources {
    let one = volume.clone().with_copies(1);
    let mut bag = Resources::new();
    let fits = bag.insert(one.expect("of a shared volume there may be one"));
    fits.expect("one entry fits");
    bag
}

/// The oldest and the youngest of grants that were answered together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) oldest: GrantId,
    pub(super) youngest: GrantId,
}

impl Holding {
    /// Finds the grants that are accepted, and what of them is: a task takes one copy of a shared
    /// volume out of a grant, and tasks beside it take no more (RM-48).
    pub(super) fn find_accepted<'a>(
        &mut self,
        grants: &GrantIds,
        resources: &'a Resources,
        columns: &Columns,
    ) -> Option<(usize, Cow<'a, Resources>)> {
        let shared = shared(resources);
        if shared.is_empty() {
            let index = self.find(grants, resources, columns)?;
            return Some((index, Cow::Borrowed(resources)));
        }
        let rest = exclusive(resources).into_owned();
        let mut with_copy = rest.clone();
        with_copy.add(&shared).ok()?;
        if let Some(index) = self.find(grants, &with_copy, columns) {
            return Some((index, Cow::Owned(with_copy)));
        }
        if !self.used().any(|bag| bag.contains(&shared)) {
            return None;
        }
        let index = self.find(grants, &rest, columns)?;
        Some((index, Cow::Owned(rest)))
    }

    /// Returns whether a copy of a shared volume is held, in use or not.
    pub(super) fn has_copy(&self, volume: &Resource) -> bool {
        let one = one_copy(volume);
        self.bags().any(|bag| bag.contains(&one))
    }

    /// Visits what is in use.
    pub(super) fn used(&self) -> impl Iterator<Item = &Resources> {
        let all = core::iter::once(&self.used).chain(&self.beyond);
        all.filter(|bag| !bag.is_empty())
    }

    /// Visits what is in use or granted.
    pub(super) fn bags(&self) -> impl Iterator<Item = &Resources> {
        self.used()
            .chain(self.offered.iter().map(|grant| &grant.rest.bag))
    }

    /// Puts something into use. Numbers and names that are in use already are so once more.
    pub(super) fn begin(&mut self, resources: &Resources) {
        let mut begun = Cow::Borrowed(resources);
        let are_numbers = !resources.iter().all(Resource::is_scalar);
        if are_numbers && self.used.overlap(resources).is_some() {
            let once = resources.without_shared(&self.used);
            let again = resources.checked_sub(&once);
            self.beyond.push(again.expect("the rest is a part"));
            begun = Cow::Owned(once);
        }
        if self.used.add(&begun).is_err() {
            self.beyond.push(begun.into_owned());
        }
    }

    /// Takes something out of use. `false` if it is not in use.
    pub(super) fn end(&mut self, resources: &Resources) -> bool {
        if let Some(at) = self.beyond.iter().position(|bag| bag == resources) {
            self.beyond.remove(at);
            return true;
        }
        let mut bags = core::iter::once(&mut self.used).chain(&mut self.beyond);
        let ended = bags.any(|bag| bag.subtract(resources).is_ok())
            || !self.beyond.is_empty() && self.end_in_parts(resources);
        self.beyond.retain(|bag| !bag.is_empty());
        ended
    }

    /// Takes something out of use of which some numbers and names are in use once more than the
    /// others.
    fn end_in_parts(&mut self, resources: &Resources) -> bool {
        let (mut rest, mut beyond) = (resources.clone(), self.beyond.clone());
        for bag in &mut beyond {
            let others = rest.without_shared(bag);
            let both = rest.checked_sub(&others).expect("the rest is a part");
            bag.subtract(&both).expect("they are in both");
            rest = others;
        }
        let mut bags = core::iter::once(&mut self.used).chain(&mut beyond);
        let ended = bags.any(|bag| bag.subtract(&rest).is_ok());
        if ended {
            self.beyond = beyond;
        }
        ended
    }

    /// Finds grants that are answered, which are one from then on. `None`, and they stay as they
    /// are, if nothing is left of them, or less than `resources`.
    pub(super) fn find(
        &mut self,
        grants: &GrantIds,
        resources: &Resources,
        columns: &Columns,
    ) -> Option<usize> {
        let found = self.look_up(grants, resources, columns)?;
        Some(self.join(grants, found))
    }

    /// Finds grants that are answered, as [`Self::find`], but leaves them as they are.
    pub(super) fn look_up(
        &self,
        grants: &GrantIds,
        resources: &Resources,
        columns: &Columns,
    ) -> Option<Found> {
        let offered = self.offered.iter().enumerate();
        let mut named = offered.filter(|(_, it)| it.is_any_of(grants));
        let mut covering = named.clone();
        let (first, own) = named.next()?;
        // Nearly always it is one, which needs no sum.
        let mut sum = Cow::Borrowed(&own.rest.bag);
        for (_, other) in named {
            // What was converted since may be more together than can be counted, or hold a number
            // twice. Then it is about the first that is enough.
            let bag = &other.rest.bag;
            if sum.overlap(bag).is_some() || sum.to_mut().add(bag).is_err() {
                let (at, grant) = covering.find(|(_, it)| it.rest.bag.contains(resources))?;
                let rest = Arc::clone(&grant.rest);
                return Some(Found {
                    at,
                    rest,
                    is_one: true,
                });
            }
        }
        if !sum.contains(resources) {
            return None;
        }
        let (rest, is_one) = match sum {
            Cow::Borrowed(_) => (Arc::clone(&own.rest), true),
            Cow::Owned(sum) => (Arc::new(Counted::new(sum, columns)), false),
        };
        Some(Found {
            at: first,
            rest,
            is_one,
        })
    }

    /// Makes what was found one, and returns where it is.
    pub(super) fn join(&mut self, grants: &GrantIds, found: Found) -> usize {
        if !found.is_one {
            let all = core::mem::take(&mut self.offered).into_iter();
            let (named, others): (SmallVec<_>, _) = all.partition(|it| it.is_any_of(grants));
            self.offered = others;
            let joined = Outstanding::joined(named, found.rest);
            self.offered.insert(found.at, joined);
        }
        found.at
    }

    /// Takes something off a grant. Returns what was left of it if that is all.
    pub(super) fn take(
        &mut self,
        index: usize,
        resources: &Resources,
        columns: &Columns,
    ) -> Option<Arc<Counted>> {
        let grant = &mut self.offered[index];
        if grant.rest.bag == *resources {
            return Some(self.offered.remove(index).rest);
        }
        let rest = grant.rest.bag.checked_sub(resources);
        let rest = rest.expect("it was found because it contains them");
        grant.rest = Arc::new(Counted::new(rest, columns));
        None
    }

    pub(super) fn count(&self, columns: &Columns) -> Held {
        let mut held = Held::default();
        for grant in &self.offered {
            held.offered.add(&grant.rest.all);
        }
        for (at, bag) in self.bags().enumerate() {
            held.open.add(&open(bag, columns));
            // A shared volume counts once (AL-15).
            let again = |entry: &Resource| {
                entry.is_shared() && self.bags().take(at).any(|it| it.contains(&one_copy(entry)))
            };
            let counted = bag.iter().filter(|entry| !again(entry));
            held.all.add(&columns.row_of(counted));
        }
        held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bags().next().is_none()
    }
}

impl Outstanding {
    /// Makes what is left of a new grant: all of it.
    pub(super) fn new(id: GrantId, rest: Arc<Counted>) -> Self {
        Self {
            ids: smallvec![Number { id, asked: false }],
            rest,
            touched: false,
            expired: false,
        }
    }

    /// Returns between which grants it is.
    pub(super) fn span(&self) -> Span {
        let ends = self.ids.first().zip(self.ids.last());
        let (oldest, youngest) = ends.expect("it is of one grant at least");
        Span {
            oldest: oldest.id,
            youngest: youngest.id,
        }
    }

    /// Returns the grant that it expires with.
    pub(super) fn due(&self) -> GrantId {
        self.span().youngest
    }

    #[cfg(test)]
    pub(super) fn numbers(&self) -> Vec<GrantId> {
        self.ids.iter().map(|it| it.id).collect()
    }

    fn is_any_of(&self, grants: &GrantIds) -> bool {
        self.ids.iter().any(|it| grants.contains(it.id))
    }

    /// Returns whether all of it was asked back.
    pub(super) fn is_rescinded(&self) -> bool {
        self.ids.iter().all(|it| it.asked)
    }

    /// Marks it as asked back. Returns the numbers by which it was not yet.
    pub(super) fn ask_back(&mut self) -> impl Iterator<Item = GrantId> + '_ {
        let ids = self.ids.iter_mut();
        ids.filter_map(|it| (!core::mem::replace(&mut it.asked, true)).then_some(it.id))
    }

    pub(super) fn origin(&self) -> Origin {
        if self.expired {
            Origin::Expired
        } else if self.is_rescinded() {
            Origin::Rescinded
        } else if self.touched {
            Origin::Leftover
        } else {
            Origin::Untouched
        }
    }

    /// Makes several one, of which `rest` is left together.
    fn joined(all: SmallVec<[Self; 1]>, rest: Arc<Counted>) -> Self {
        let mut ids: SmallVec<[Number; 1]> = all.iter().flat_map(|it| &it.ids).copied().collect();
        ids.sort_unstable_by_key(|it| it.id);
        Self {
            ids,
            rest,
            // Of each of them: else who declines one beside a used one would be offered the same
            // again at once, for ever.
            touched: all.iter().all(|it| it.touched),
            expired: all.iter().all(|it| it.expired),
        }
    }
}
