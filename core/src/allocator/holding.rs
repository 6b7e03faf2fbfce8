//! What one leaf holds on one agent: grants that are not used up, and what is in use.
//!
//! A part of the ledger. It cannot always be told which of several grants something is about; then
//! they are one from then on. What comes back whole is taken for the grant that is just that.
//! Deliberately not here: what is free.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::GrantId;
use super::columns::{Columns, Row};
use super::counted::Counted;
use super::kinds::kind;
use crate::resources::{Resource, Resources};

/// How many grants one [`Outstanding`] names. Of more, those after the oldest are most likely over.
const MOST_IDS: usize = 1_000;

/// What one framework holds in one role on one agent.
#[derive(Debug, Default)]
pub(super) struct Holding {
    pub(super) offered: SmallVec<[Outstanding; 1]>,
    used: Resources,
    /// What is in use beside that, where an agent claims more than can be counted together, or what
    /// has a number or a name that is in use already.
    beyond: Vec<Resources>,
}

/// Grants that are not used up. Usually one: several when it cannot be told which of them a
/// return or an accept was about, or when one accept was about all of them.
#[derive(Debug)]
pub(super) struct Outstanding {
    /// The youngest last. Some of them may be over, in place of others.
    pub(super) ids: SmallVec<[GrantId; 2]>,
    /// It expires with this one.
    pub(super) due: GrantId,
    pub(super) rest: Arc<Counted>,
    /// Something of it was accepted.
    pub(super) touched: bool,
    /// It was asked back.
    pub(super) rescinded: bool,
    /// It was asked back because nobody answered it.
    pub(super) expired: bool,
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

/// The oldest and the youngest of grants that are one by now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) oldest: GrantId,
    pub(super) youngest: GrantId,
}

impl Span {
    /// Returns what both are in.
    fn with(self, other: Self) -> Self {
        Self {
            oldest: self.oldest.min(other.oldest),
            youngest: self.youngest.max(other.youngest),
        }
    }
}

impl Outstanding {
    /// Returns between which grants it is.
    pub(super) fn span(&self) -> Span {
        let (oldest, youngest) = (self.ids.first(), self.ids.last());
        let ends = oldest.copied().zip(youngest.copied());
        let (oldest, youngest) = ends.expect("it is of one grant at least");
        Span { oldest, youngest }
    }
}

impl Holding {
    /// Finds which grant an accept is about, and what of it: a task takes one copy of a shared
    /// volume out of the grant, and tasks beside it take no more (RM-48).
    pub(super) fn find_accepted<'a>(
        &mut self,
        resources: &'a Resources,
        columns: &Columns,
    ) -> Option<(usize, Cow<'a, Resources>)> {
        let shared = shared(resources);
        if shared.is_empty() {
            return Some((self.find(resources, columns)?, Cow::Borrowed(resources)));
        }
        let rest = exclusive(resources).into_owned();
        let mut with_copy = rest.clone();
        with_copy.add(&shared).ok()?;
        if let Some(index) = self.find(&with_copy, columns) {
            return Some((index, Cow::Owned(with_copy)));
        }
        let index = self
            .find(&rest, columns)
            .filter(|_| self.used().any(|bag| bag.contains(&shared)))?;
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

    /// Finds what a return is about, and between which grants that is. Most often it is all that is
    /// left of a grant: then others that contain it stay as they are, and only their ids may be
    /// its own.
    pub(super) fn find_returned(
        &mut self,
        resources: &Resources,
        columns: &Columns,
    ) -> Option<(usize, Span)> {
        let grants = self.offered.iter().enumerate();
        let same = grants.filter(|(_, grant)| grant.rest.bag == *resources);
        // Of several that which was asked back, or was used: these are waited for. Else the
        // youngest, so that those that stay expire all the earlier.
        let likely = same.max_by_key(|(at, grant)| (grant.rescinded, grant.touched, *at));
        let Some((index, _)) = likely else {
            let index = self.find(resources, columns)?;
            return Some((index, self.offered[index].span()));
        };
        let grant = self.offered.remove(index);
        let mut span = grant.span();
        let others = self.offered.iter_mut();
        for other in others.filter(|it| it.rest.bag.contains(resources)) {
            span = span.with(other.span());
            other.may_be(&grant);
        }
        self.offered.insert(index, grant);
        Some((index, span))
    }

    /// Finds what an accept is about. Grants that it may equally be about, or that it is about
    /// together, are one from then on.
    pub(super) fn find(&mut self, resources: &Resources, columns: &Columns) -> Option<usize> {
        let covers = |grant: &Outstanding| grant.rest.bag.contains(resources);
        let first = self.offered.iter().position(covers);
        let Some(first) = first else {
            return self.find_together(resources, columns);
        };
        let mut index = first + 1;
        while index < self.offered.len() {
            let other = &self.offered[index];
            // What was converted since may be more together than can be counted.
            if covers(other) && self.offered[first].fits(other) {
                let other = self.offered.remove(index);
                self.offered[first].merge(other, columns);
            } else {
                index += 1;
            }
        }
        Some(first)
    }

    /// Joins the oldest grants that cover `resources` together; nothing changes if all do not.
    fn find_together(&mut self, resources: &Resources, columns: &Columns) -> Option<usize> {
        let mut sum = Resources::default();
        let last = self
            .offered
            .iter()
            .position(|grant| sum.add(&grant.rest.bag).is_ok() && sum.contains(resources))?;
        let touched = self.offered[..=last].iter().any(|grant| grant.touched);
        let others: Vec<_> = self.offered.drain(1..=last).collect();
        for other in others {
            self.offered[0].merge(other, columns);
        }
        self.offered[0].touched = touched;
        Some(0)
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
    pub(super) const fn origin(&self) -> Origin {
        if self.expired {
            Origin::Expired
        } else if self.rescinded {
            Origin::Rescinded
        } else if self.touched {
            Origin::Leftover
        } else {
            Origin::Untouched
        }
    }

    /// Whether what is left of two grants can be counted together.
    fn fits(&self, other: &Self) -> bool {
        self.rest.bag.clone().add(&other.rest.bag).is_ok()
    }

    /// Notes that it may be what is left of another grant: if that can still be asked back, so can
    /// this.
    fn may_be(&mut self, other: &Self) {
        self.name(&other.ids);
        if self.rescinded && !other.rescinded {
            (self.rescinded, self.expired) = (false, false);
            self.due = self.due.max(other.due);
        }
    }

    /// Notes that it may be these grants too.
    fn name(&mut self, ids: &[GrantId]) {
        self.ids.extend_from_slice(ids);
        self.ids.sort_unstable();
        self.ids.dedup();
        let excess = self.ids.len().saturating_sub(MOST_IDS);
        self.ids.drain(1..=excess);
    }

    fn merge(&mut self, other: Self, columns: &Columns) {
        self.name(&other.ids);
        self.due = self.due.max(other.due);
        let mut rest = self.rest.bag.clone();
        rest.add(&other.rest.bag)
            .expect("whoever joins them has seen that they fit");
        self.rest = Arc::new(Counted::new(rest, columns));
        // Else who declines the other would be offered the same again at once, for ever.
        self.touched &= other.touched;
        self.rescinded &= other.rescinded;
        self.expired &= other.expired;
    }
}
