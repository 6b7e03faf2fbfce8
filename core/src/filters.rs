//! Refusals: what a framework does not want to be offered again for a while.
//!
//! The allocator asks for every framework, role and agent whether a refusal blocks what it would
//! offer (OF-33). There may be tens of millions: everybody may have declined every agent. So one
//! takes twelve bytes: whose it is, which shape was refused, and when it lapses. Agents come in few
//! shapes, and refusals lapse at common moments; both are kept once and counted.
//!
//! Whose a refusal is, is told by a [`Refuser`], which stands for a framework in a role for as long
//! as its refusals count. Forgetting them all (OF-35) is forgetting the refuser: what is left in
//! the rows of agents is dead, and goes when a row grows or lapses.
//!
//! Deliberately not here: passes. A refusal covers at least one pass (OF-34) if the allocator makes
//! it last at least an interval and takes in what lapsed after a pass, not before.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use self::pages::Pages;
use crate::fold::FoldMap;
use crate::limits;
use crate::resources::Resources;
use crate::time::Time;

mod pages;
mod refusing;
mod room;

/// Turns the wish of a framework into how long its refusal lasts (OF-32); `None` is not at all.
///
/// Without a wish it is the default, and a year is the most. A wish that is no duration, negative
/// or NaN, counts as none; that is for whoever reads floats.
pub fn effective_refusal(requested: Option<Duration>) -> Option<Duration> {
    let lasts = requested.unwrap_or(limits::DEFAULT_REFUSE);
    (!lasts.is_zero()).then(|| lasts.min(limits::REFUSE))
}

/// Stands for whoever refuses: a framework in a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refuser(u32);

/// One refusal of one agent.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    of: Refuser,
    shape: u32,
    lapse: u32,
}

/// What stands behind a [`Refuser`].
#[derive(Clone, Copy, Debug)]
struct Source {
    /// Whatever the caller knows it by; `None` once it is forgotten.
    owner: Option<u32>,
    /// How many refusals name it, dead or not.
    named: u32,
}

/// A moment at which refusals lapse.
#[derive(Debug)]
struct Lapse {
    at: Time,
    /// Pages with a refusal that lapses then; some may have none any more.
    pages: VecDeque<u32>,
    /// How many refusals name it.
    named: u32,
}

/// Refusals of one agent that are over.
#[derive(Debug, PartialEq, Eq)]
pub struct Lapsed {
    /// When they ended.
    pub at: Time,
    /// What was refused is of this agent.
    pub agent: u32,
    /// Whose they were, each once; nobody's if all were forgotten before.
    pub owners: Vec<u32>,
    /// How many they were, with those that were forgotten before.
    pub count: usize,
}

/// All refusals, by agent and refuser.
#[derive(Debug)]
pub struct Filters {
    pages: Pages,
    /// How often a refuser was forgotten whom refusals name: those may be of any agent.
    forgotten: u64,
    sources: Vec<Source>,
    vacant_sources: Vec<Refuser>,
    shapes: Shapes,
    lapses: Vec<Lapse>,
    vacant_lapses: Vec<u32>,
    by_time: BTreeMap<Time, u32>,
    /// Agents and owners of refusals that were forgotten at once: their pair had too many.
    crowded_out: Vec<(u32, Vec<u32>)>,
    len: usize,
    most: usize,
    /// Whether there are too many that are yet to be looked for.
    is_making_room: bool,
}

impl Filters {
    /// Makes no filters.
    pub fn new() -> Self {
        Self::bounded(limits::FILTERS)
    }

    pub(crate) fn bounded(most: usize) -> Self {
        Self {
            pages: Pages::default(),
            forgotten: 0,
            sources: Vec::new(),
            vacant_sources: Vec::new(),
            shapes: Shapes::default(),
            lapses: Vec::new(),
            vacant_lapses: Vec::new(),
            by_time: BTreeMap::new(),
            crowded_out: Vec::new(),
            len: 0,
            most,
            is_making_room: false,
        }
    }

    /// Returns how many refusals are in force.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no refusal is in force.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns how many refusals of one refuser are in force.
    pub fn len_of(&self, of: Refuser) -> usize {
        self.sources[of.0 as usize].named as usize
    }

    /// Makes a refuser that `owner` is known by to the caller.
    pub fn admit(&mut self, owner: u32) -> Refuser {
        let source = Source {
            owner: Some(owner),
            named: 0,
        };
        if let Some(of) = self.vacant_sources.pop() {
            self.sources[of.0 as usize] = source;
            return of;
        }
        self.sources.push(source);
        Refuser(u32::try_from(self.sources.len() - 1).expect("fewer refusers than refusals"))
    }

    /// Forgets a refuser with all its refusals, at no cost.
    pub fn forget(&mut self, of: Refuser) {
        let source = &mut self.sources[of.0 as usize];
        if source.owner.take().is_some() {
            self.len -= source.named as usize;
            if source.named == 0 {
                self.vacant_sources.push(of);
            } else {
                self.forgotten += 1;
            }
        }
    }

    /// Forgets all refusals of an agent.
    pub fn forget_agent(&mut self, agent: u32) {
        for refusal in self.pages.take_row(agent) {
            self.release(refusal);
        }
    }

    /// Remembers that `resources` of an agent are refused until a moment.
    ///
    /// What another refusal of the same covers in extent and time is not kept beside it. Of too
    /// many of one pair the one that lapses first is over at once. Of too many in all, whoever
    /// calls this makes room ([`Filters::make_room`]). Refusing nothing changes nothing.
    pub fn refuse(&mut self, agent: u32, of: Refuser, resources: &Resources, until: Time) {
        let Some(owner) = self.sources[of.0 as usize].owner else {
            return;
        };
        if resources.is_empty() {
            return;
        }
        let page = self.pages.find_or_add(agent, owner);
        let sources = &self.sources;
        let is_dead = |of: Refuser| sources[of.0 as usize].owner.is_none();
        let dead = self.pages.edit(page, |page| page.make_room(is_dead));
        for refusal in dead {
            self.release(refusal);
        }
        let mut span = self.pages.at(page).span(of);
        let mut at = span.start;
        while at < span.end {
            let old = self.pages.at(page).refusals[at];
            let (old_until, shape) = (self.lapses[old.lapse as usize].at, self.shape(old));
            if old_until >= until && shape.contains(resources) {
                return;
            }
            if old_until <= until && resources.contains(shape) {
                self.take_out(page, at);
                span.end -= 1;
            } else {
                at += 1;
            }
        }
        if span.len() >= limits::FILTERS_PER_KEY {
            let soonest = |at: &usize| {
                let lapse = self.pages.at(page).refusals[*at].lapse;
                self.lapses[lapse as usize].at
            };
            let at = span.clone().min_by_key(soonest).expect("there are some");
            self.take_out(page, at);
            span.end -= 1;
            self.forget_refusing(agent);
            self.crowded_out.push((agent, alloc::vec![owner]));
        }
        self.insert(page, span.end, of, resources, until);
    }

    fn take_out(&mut self, page: u32, at: usize) {
        let old = self.pages.edit(page, |page| page.refusals.remove(at));
        self.release(old);
    }

    fn forget_refusing(&mut self, agent: u32) {
        if let Some(known) = self.pages.refusing(agent) {
            *known = None;
        }
    }

    fn insert(&mut self, page: u32, at: usize, of: Refuser, resources: &Resources, until: Time) {
        let shape = self.shapes.keep(resources);
        let lapse = self.lapse(until);
        self.lapses[lapse as usize].named += 1;
        let known = &self.pages.at(page).refusals;
        if !known.iter().any(|old| old.lapse == lapse) {
            self.lapses[lapse as usize].pages.push_back(page);
        }
        let refusal = Refusal { of, shape, lapse };
        let agent = self.pages.edit(page, |page| {
            page.refusals.insert(at, refusal);
            page.agent
        });
        let source = &mut self.sources[of.0 as usize];
        source.named += 1;
        self.len += 1;
        if let (Some(Some(known)), Some(owner)) = (self.pages.refusing(agent), source.owner) {
            known.refuse(owner, resources, until);
        }
    }

    fn shape(&self, refusal: Refusal) -> &Resources {
        self.shapes.at(refusal.shape)
    }

    /// Returns until when a refusal blocks an offer of `candidate`: one that lasts and whose bag
    /// contains it (OF-33). A refusal lasts until its last moment, and not in it.
    pub fn refused_until(
        &self,
        agent: u32,
        of: Refuser,
        candidate: &Resources,
        now: Time,
    ) -> Option<Time> {
        // Whoever refused nothing need not be looked for in a row of a thousand.
        if self.len_of(of) == 0 {
            return None;
        }
        let owner = self.sources[of.0 as usize].owner?;
        let page = self.pages.at(self.pages.find(agent, owner)?);
        let known = page.refusals[page.span(of)].iter();
        let until = |it: &Refusal| self.lapses[it.lapse as usize].at;
        let lasting = known.filter(|it| until(it) > now);
        let blocks = lasting.filter(|it| self.shape(**it).contains(candidate));
        blocks.map(until).max()
    }

    /// Returns when refusals next lapse; those that were forgotten at once did already, and so did
    /// some if there is yet room to be made.
    pub fn next_lapse(&self) -> Option<Time> {
        if !self.crowded_out.is_empty() || (self.is_making_room && self.is_crowded()) {
            return Some(Time::ZERO);
        }
        self.by_time.first_key_value().map(|(at, _)| *at)
    }

    /// Takes out refusals of the agent that is next among those with some that have lapsed by
    /// `now`. That is a page of them at most, for those that were forgotten take their time as
    /// well: there may be as many as there are of all others.
    pub fn pop_lapsed(&mut self, now: Time) -> Option<Lapsed> {
        if let Some((agent, owners)) = self.crowded_out.pop() {
            return Some(Lapsed {
                at: now,
                agent,
                owners,
                count: 1,
            });
        }
        loop {
            let (at, lapse) = self.by_time.first_key_value()?;
            let (at, lapse) = (*at, *lapse);
            if at > now {
                return None;
            }
            let Some(page) = self.lapses[lapse as usize].pages.pop_front() else {
                // Only what was forgotten named it still.
                self.retire(lapse);
                continue;
            };
            return Some(self.take_lapsed(at, page, lapse));
        }
    }

    fn take_lapsed(&mut self, at: Time, page: u32, lapse: u32) -> Lapsed {
        let agent = self.pages.at(page).agent;
        let gone: Vec<_> = self.pages.edit(page, |page| {
            let gone = page.refusals.extract_if(.., |it| it.lapse == lapse);
            gone.collect()
        });
        self.pages.close_empty(agent, page);
        self.forget_refusing(agent);
        let count = gone.len();
        let mut owners = Vec::with_capacity(count);
        for refusal in gone {
            owners.extend(self.sources[refusal.of.0 as usize].owner);
            self.release(refusal);
        }
        owners.dedup();
        Lapsed {
            at,
            agent,
            owners,
            count,
        }
    }

    /// Names a moment, new or old.
    fn lapse(&mut self, at: Time) -> u32 {
        if let Some(known) = self.by_time.get(&at) {
            return *known;
        }
        let lapse = Lapse {
            at,
            pages: VecDeque::new(),
            named: 0,
        };
        let index = match self.vacant_lapses.pop() {
            Some(index) => {
                self.lapses[index as usize] = lapse;
                index
            }
            None => {
                self.lapses.push(lapse);
                u32::try_from(self.lapses.len() - 1).expect("fewer moments than refusals")
            }
        };
        self.by_time.insert(at, index);
        index
    }

    fn retire(&mut self, lapse: u32) {
        let row = &mut self.lapses[lapse as usize];
        row.pages = VecDeque::new();
        self.by_time.remove(&row.at);
        self.vacant_lapses.push(lapse);
    }

    /// Counts a refusal out that was taken from its row.
    fn release(&mut self, refusal: Refusal) {
        self.shapes.release(refusal.shape);
        let source = &mut self.sources[refusal.of.0 as usize];
        source.named -= 1;
        if source.owner.is_some() {
            self.len -= 1;
        } else if source.named == 0 {
            self.vacant_sources.push(refusal.of);
        }
        let lapse = &mut self.lapses[refusal.lapse as usize];
        lapse.named -= 1;
        if lapse.named == 0 {
            self.retire(refusal.lapse);
        }
    }

    /// Checks that what is counted is what is there.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn check_invariants(&self) {
        let mut named = alloc::vec![0; self.sources.len()];
        let mut lapses = alloc::vec![0; self.lapses.len()];
        let mut shapes = alloc::vec![0; self.shapes.rows.len()];
        self.pages.check_invariants();
        for (page, row) in self.pages.iter() {
            for it in &row.refusals {
                let owner = self.sources[it.of.0 as usize].owner;
                let found = owner.map(|owner| self.pages.find(row.agent, owner));
                assert!(found.is_none_or(|found| found == Some(page)), "page {page}");
                named[it.of.0 as usize] += 1;
                lapses[it.lapse as usize] += 1;
                shapes[it.shape as usize] += 1;
                let lapse = &self.lapses[it.lapse as usize];
                assert!(lapse.pages.contains(&page), "indexed by time");
                assert_eq!(self.by_time.get(&lapse.at), Some(&it.lapse));
            }
        }
        let live = self.sources.iter().filter(|it| it.owner.is_some());
        let len: usize = live.map(|it| it.named as usize).sum();
        assert_eq!(self.len, len, "how many there are");
        let of_sources: Vec<_> = self.sources.iter().map(|it| it.named).collect();
        assert_eq!(of_sources, named, "how many each refused");
        let counted = |index: usize| self.by_time.values().any(|it| *it as usize == index);
        for (index, lapse) in self.lapses.iter().enumerate() {
            assert!(!counted(index) || lapse.named == lapses[index], "lapses");
        }
        let of_shapes: Vec<_> = self.shapes.rows.iter().map(|it| it.1).collect();
        assert_eq!(of_shapes, shapes, "how often each shape was refused");
    }
}

impl Default for Filters {
    fn default() -> Self {
        Self::new()
    }
}

/// Bags that are kept once however often they are named.
#[derive(Debug, Default)]
struct Shapes {
    known: FoldMap<Arc<Resources>, u32>,
    rows: Vec<(Arc<Resources>, u32)>,
    vacant: Vec<u32>,
}

impl Shapes {
    fn keep(&mut self, resources: &Resources) -> u32 {
        if let Some(index) = self.known.get(resources) {
            self.rows[*index as usize].1 += 1;
            return *index;
        }
        let shape = Arc::new(resources.clone());
        let row = (Arc::clone(&shape), 1);
        let index = match self.vacant.pop() {
            Some(index) => {
                self.rows[index as usize] = row;
                index
            }
            None => {
                self.rows.push(row);
                u32::try_from(self.rows.len() - 1).expect("fewer shapes than refusals")
            }
        };
        self.known.insert(shape, index);
        index
    }

    fn at(&self, index: u32) -> &Resources {
        &self.rows[index as usize].0
    }

    fn release(&mut self, index: u32) {
        let row = &mut self.rows[index as usize];
        row.1 -= 1;
        if row.1 == 0 {
            let shape = core::mem::take(&mut row.0);
            self.known.remove(&*shape);
            self.vacant.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn bag(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    const fn seconds(n: u64) -> Time {
        Time::from_micros(n * 1_000_000)
    }

    /// Whether an offer of `text` on agent 0 is blocked at a second.
    fn blocks(filters: &Filters, of: Refuser, text: &str, now: u64) -> bool {
        let until = filters.refused_until(0, of, &bag(text), seconds(now));
        until.is_some()
    }

    fn lapse(filters: &mut Filters, now: u64) -> Vec<(u32, Vec<u32>)> {
        let mut lapsed = Vec::new();
        while let Some(it) = filters.pop_lapsed(seconds(now)) {
            if !it.owners.is_empty() {
                lapsed.push((it.agent, it.owners));
            }
        }
        filters.check_invariants();
        lapsed
    }

    #[test]
    fn how_long_a_refusal_lasts() {
        // OF-32
        assert_eq!(effective_refusal(None), Some(Duration::from_secs(5)));
        assert_eq!(effective_refusal(Some(Duration::ZERO)), None);
        let half = Duration::from_millis(500);
        assert_eq!(effective_refusal(Some(half)), Some(half));
        let year = Duration::from_secs(365 * 24 * 3600);
        assert_eq!(effective_refusal(Some(year + half)), Some(year));
        assert_eq!(effective_refusal(Some(Duration::MAX)), Some(year));
    }

    #[test]
    fn tv_21_a_filter_blocks_what_it_contains() {
        // TV-21, OF-33
        let mut filters = Filters::new();
        let (one, other) = (filters.admit(1), filters.admit(2));
        filters.refuse(0, one, &bag("cpus:2"), seconds(9));
        for (candidate, blocked) in [
            ("cpus:1", true),
            ("cpus:2", true),
            ("cpus:3", false),
            ("cpus:1;mem:64", false),
            ("cpus(eng):1", false),
        ] {
            assert_eq!(blocks(&filters, one, candidate, 0), blocked, "{candidate}");
        }
        assert!(!blocks(&filters, other, "cpus:1", 0));
        let elsewhere = filters.refused_until(1, one, &bag("cpus:1"), seconds(0));
        assert_eq!(elsewhere, None);
    }

    #[test]
    fn a_filter_lasts_until_it_lapses() {
        // OF-34: what lapsed is known, so that it is offered again.
        let mut filters = Filters::new();
        let of = filters.admit(7);
        filters.refuse(0, of, &bag("cpus:1"), seconds(0) + INTERVAL);
        assert_eq!(filters.next_lapse(), Some(seconds(1)));
        assert!(
            filters
                .refused_until(0, of, &bag("cpus:1"), Time::from_micros(999_999))
                .is_some()
        );
        assert!(!blocks(&filters, of, "cpus:1", 1));
        assert_eq!(lapse(&mut filters, 0), []);
        assert_eq!(lapse(&mut filters, 1), [(0, alloc::vec![7])]);
        assert!(filters.is_empty());
        assert_eq!(filters.next_lapse(), None);
    }

    #[test]
    fn forgetting_is_by_refuser_and_by_agent() {
        // OF-35
        let mut filters = Filters::new();
        let (one, other) = (filters.admit(1), filters.admit(2));
        for (agent, of) in [(0, one), (1, one), (0, other), (1, other)] {
            filters.refuse(agent, of, &bag("cpus:1"), seconds(5));
        }
        assert_eq!((filters.len(), filters.len_of(one)), (4, 2));
        filters.forget(one);
        filters.check_invariants();
        assert_eq!(filters.len(), 2);
        filters.forget_agent(1);
        filters.check_invariants();
        assert_eq!(filters.len(), 1);
        assert!(blocks(&filters, other, "cpus:1", 0));
        // Whoever comes next does not inherit what is dead.
        let next = filters.admit(3);
        assert!(!blocks(&filters, next, "cpus:1", 0));
        assert_eq!(lapse(&mut filters, 5), [(0, alloc::vec![2])]);
        assert_eq!(filters.len(), 0);
    }

    #[test]
    fn those_that_lapse_first_go_beyond_the_bounds() {
        let mut filters = Filters::bounded(2);
        let of = filters.admit(0);
        for (agent, until) in [(0, 9), (1, 5), (2, 7)] {
            filters.refuse(agent, of, &bag("cpus:1"), seconds(until));
        }
        assert!(filters.is_crowded());
        filters.make_room(seconds(1));
        let blocked = |filters: &Filters| {
            let one = bag("cpus:1");
            let until = |agent| filters.refused_until(agent, of, &one, seconds(0));
            [0, 1, 2].map(|agent| until(agent).is_some())
        };
        // Whoever it was of is to be offered it again, though not at the same moment.
        assert_eq!(blocked(&filters), [true, true, true]);
        assert_eq!(filters.next_lapse(), Some(seconds(1)));
        filters.check_invariants();
        assert_eq!(lapse(&mut filters, 0), []);
        assert_eq!(lapse(&mut filters, 1), [(1, alloc::vec![0])]);
        assert_eq!(blocked(&filters), [true, false, true]);
        assert_eq!(filters.next_lapse(), Some(seconds(7)));
        // It may be the one that there is no room for.
        filters.refuse(1, of, &bag("cpus:1"), seconds(3));
        filters.refuse(3, of, &bag("cpus:1"), seconds(4));
        filters.make_room(seconds(2));
        filters.check_invariants();
        assert_eq!(filters.len(), 4);
        let gone = [(1, alloc::vec![0]), (3, alloc::vec![0])];
        assert_eq!(lapse(&mut filters, 2), gone);
        assert_eq!((filters.len(), filters.next_lapse()), (2, Some(seconds(7))));

        let mut filters = Filters::new();
        let of = filters.admit(0);
        let port = |n: usize| alloc::format!("ports:[{n}-{n}]");
        for n in 0..=limits::FILTERS_PER_KEY {
            filters.refuse(0, of, &bag(&port(n)), seconds(5 + n as u64));
        }
        filters.check_invariants();
        assert_eq!(filters.len(), limits::FILTERS_PER_KEY);
        assert!(!blocks(&filters, of, &port(0), 0));
        assert!(blocks(&filters, of, &port(1), 0));
        assert!(blocks(&filters, of, &port(limits::FILTERS_PER_KEY), 0));
        assert_eq!(lapse(&mut filters, 0), [(0, alloc::vec![0])]);
    }

    #[test]
    fn what_is_covered_is_kept_once() {
        // AL-37
        let mut filters = Filters::new();
        let of = filters.admit(0);
        for _ in 0..10 {
            filters.refuse(0, of, &bag("cpus:1"), seconds(5));
        }
        filters.refuse(0, of, &bag("cpus:2"), seconds(5));
        filters.refuse(0, of, &Resources::new(), seconds(9));
        assert_eq!(filters.len(), 1);
        filters.refuse(0, of, &bag("cpus:1"), seconds(6));
        assert_eq!(filters.len(), 2);
        filters.check_invariants();
    }

    #[test]
    fn a_refusal_takes_twelve_bytes() {
        assert_eq!(size_of::<Refusal>(), 12);
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(
            script in prop::collection::vec(
                (0u8..10, 0u32..3, 0usize..3, 0i64..4, 0i64..4, 0u64..6), 0..80),
        ) {
            let mut filters = Filters::new();
            // Two of them share a page, and two share a word.
            let owners = [1, 31, 40];
            let mut refusers = owners.map(|owner| filters.admit(owner));
            let mut model: Vec<(u32, usize, i64, i64, Time)> = Vec::new();
            let mut now = 0;
            let thousandths = crate::resources::Milli::from_thousandths;
            for (step, agent, who, cpus, mem, after) in script {
                let bag = Resources::cpus_mem(thousandths(cpus), thousandths(mem));
                match step {
                    0..=4 => {
                        filters.refuse(agent, refusers[who], &bag, seconds(now + after));
                        if cpus + mem > 0 {
                            model.push((agent, who, cpus, mem, seconds(now + after)));
                        }
                    }
                    5 => {
                        filters.forget(refusers[who]);
                        refusers[who] = filters.admit(owners[who]);
                        model.retain(|m| m.1 != who);
                    }
                    6 => {
                        filters.forget_agent(agent);
                        model.retain(|m| m.0 != agent);
                    }
                    7 => {
                        now += after;
                        lapse(&mut filters, now);
                        model.retain(|m| m.4 > seconds(now));
                        prop_assert!(filters.next_lapse().is_none_or(|at| at > seconds(now)));
                    }
                    _ => {
                        let blocks = |m: &&(u32, usize, i64, i64, Time)| {
                            (m.0, m.1) == (agent, who) && m.2 >= cpus && m.3 >= mem
                                && m.4 > seconds(now + after)
                        };
                        let expected = model.iter().filter(blocks).map(|m| m.4).max();
                        let found = filters.refused_until(
                            agent, refusers[who], &bag, seconds(now + after));
                        prop_assert_eq!(found, expected);
                    }
                }
                filters.check_invariants();
                // The same of each agent every time, so that what is known of it is used.
                for (agent, cpus, mem) in [(0, 1, 0), (1, 2, 1), (2, 0, 2)] {
                    let candidate = Resources::cpus_mem(thousandths(cpus), thousandths(mem));
                    let of_model = model.iter().filter(|m| {
                        m.0 == agent && m.2 >= cpus && m.3 >= mem && m.4 > seconds(now)
                    });
                    let all = u64::MAX;
                    let expected = of_model.fold(all, |bits, m| bits & !(1 << owners[m.1]));
                    let mut words = [all];
                    filters.strike(agent, &candidate, seconds(now), &mut words);
                    prop_assert_eq!(words[0], expected, "on agent {}", agent);
                }
                prop_assert!(filters.len() <= model.len());
                let lasts = model.iter().any(|m| m.4 > seconds(now));
                prop_assert!(!lasts || !filters.is_empty());
            }
        }
    }
}
