//! Where refusals are kept: by agent, and there in pages by whose they are.
//!
//! [`super::Filters`] finds, adds and removes one refusal among thousands of the same agent. A page
//! is short enough for any of that to touch a few hundred bytes, however many there are.
//!
//! Deliberately not here: what refusals mean. Whoever takes one out of a page counts it out.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::refusing::Refusing;
use super::{Refusal, Refuser};

/// How many owners share a page.
const SPAN: usize = 32;
/// Stands for a page that is not there.
const NOWHERE: u32 = u32::MAX;

/// Refusals of one agent, by owners that follow one another.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) agent: u32,
    /// Ordered by refuser. The dead of former owners stay until room is needed.
    pub(super) refusals: Vec<Refusal>,
}

impl Page {
    /// Returns where the refusals of one refuser stand.
    pub(super) fn span(&self, of: Refuser) -> Range<usize> {
        let first = self.refusals.partition_point(|it| it.of < of);
        let behind = self.refusals[first..].iter();
        first..first + behind.take_while(|it| it.of == of).count()
    }

    /// Makes room for one more: by what is dead, which is returned, or by growing.
    pub(super) fn make_room(&mut self, is_dead: impl Fn(Refuser) -> bool) -> Vec<Refusal> {
        let all = &mut self.refusals;
        if all.len() < all.capacity() {
            return Vec::new();
        }
        let dead: Vec<_> = all.extract_if(.., |it| is_dead(it.of)).collect();
        // There are many pages: most get full and stay so, and some have several of one owner.
        let more = if all.len() < SPAN {
            all.len().max(4)
        } else {
            4 + all.len() / 8
        };
        if all.len() == all.capacity() {
            all.reserve_exact(more);
        }
        dead
    }
}

/// All pages of one agent.
#[derive(Debug, Default)]
struct Row {
    /// By owner.
    pages: Vec<u32>,
    /// How many refusals are in them, dead or not.
    len: usize,
    refusing: Option<Box<Refusing>>,
}

/// All pages.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pages: Vec<Page>,
    vacant: Vec<u32>,
    /// By agent.
    rows: Vec<Row>,
}

impl Pages {
    /// Returns how many refusals are kept of an agent, dead or not.
    pub(super) fn len_of(&self, agent: u32) -> usize {
        self.rows.get(agent as usize).map_or(0, |row| row.len)
    }

    /// Returns which page has the refusals of an owner, if there is one.
    pub(super) fn find(&self, agent: u32, owner: u32) -> Option<u32> {
        let row = self.rows.get(agent as usize)?;
        let page = row.pages.get(owner as usize / SPAN)?;
        (*page != NOWHERE).then_some(*page)
    }

    /// Returns which page is to have the refusals of an owner.
    pub(super) fn find_or_add(&mut self, agent: u32, owner: u32) -> u32 {
        if let Some(page) = self.find(agent, owner) {
            return page;
        }
        let fresh = Page {
            agent,
            refusals: Vec::new(),
        };
        let page = match self.vacant.pop() {
            Some(page) => {
                self.pages[page as usize] = fresh;
                page
            }
            None => {
                self.pages.push(fresh);
                u32::try_from(self.pages.len() - 1).expect("fewer pages than refusals")
            }
        };
        let (at, place) = (agent as usize, owner as usize / SPAN);
        if self.rows.len() <= at {
            self.rows.resize_with(at + 1, Row::default);
        }
        let pages = &mut self.rows[at].pages;
        if pages.len() <= place {
            pages.resize(place + 1, NOWHERE);
        }
        pages[place] = page;
        page
    }

    /// Returns a page.
    pub(super) fn at(&self, page: u32) -> &Page {
        &self.pages[page as usize]
    }

    /// Changes the refusals in a page. Whoever may have taken the last one out closes it.
    pub(super) fn edit<R>(&mut self, page: u32, change: impl FnOnce(&mut Page) -> R) -> R {
        let it = &mut self.pages[page as usize];
        let before = it.refusals.len();
        let result = change(it);
        let row = &mut self.rows[it.agent as usize];
        row.len = row.len - before + it.refusals.len();
        result
    }

    /// Gives a page of the row of an agent back if nothing is in it.
    pub(super) fn close_empty(&mut self, agent: u32, page: u32) {
        let it = &mut self.pages[page as usize];
        let row = self.rows.get_mut(agent as usize);
        let places = row.into_iter().flat_map(|row| &mut row.pages);
        if !it.refusals.is_empty() {
            return;
        }
        // It may have been given back before.
        if let Some(place) = places.into_iter().find(|it| **it == page) {
            it.refusals = Vec::new();
            *place = NOWHERE;
            self.vacant.push(page);
        }
    }

    /// Takes out all pages of an agent, and returns what was in them.
    pub(super) fn take_row(&mut self, agent: u32) -> Vec<Refusal> {
        let Some(row) = self.rows.get_mut(agent as usize) else {
            return Vec::new();
        };
        let row = core::mem::take(row);
        let mut all = Vec::with_capacity(row.len);
        for page in row.pages.into_iter().filter(|page| *page != NOWHERE) {
            all.append(&mut core::mem::take(
                &mut self.pages[page as usize].refusals,
            ));
            self.vacant.push(page);
        }
        all
    }

    /// Returns the refusals of an agent.
    pub(super) fn of(&self, agent: u32) -> impl Iterator<Item = Refusal> {
        let pages = self.rows.get(agent as usize).map(|row| &row.pages[..]);
        let pages = pages.unwrap_or_default().iter();
        let pages = pages.filter_map(|page| self.pages.get(*page as usize));
        pages.flat_map(|page| page.refusals.iter().copied())
    }

    /// Returns who refuses what was last asked for, where that is kept.
    pub(super) fn refusing(&mut self, agent: u32) -> Option<&mut Option<Box<Refusing>>> {
        let row = self.rows.get_mut(agent as usize)?;
        Some(&mut row.refusing)
    }

    /// Visits all pages in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Page)> {
        let all = self.rows.iter().flat_map(|row| row.pages.iter());
        let all = all.filter(|page| **page != NOWHERE);
        all.map(|page| (*page, self.at(*page)))
    }

    /// Checks that every page is in the row of its agent once or vacant, and rows are counted.
    ///
    /// # Panics
    ///
    /// If that is not so.
    pub(super) fn check_invariants(&self) {
        let mut seen = alloc::vec![0_u8; self.pages.len()];
        for page in &self.vacant {
            seen[*page as usize] += 1;
            assert!(self.at(*page).refusals.is_empty(), "vacant page {page}");
        }
        for (agent, row) in self.rows.iter().enumerate() {
            let mut len = 0;
            for page in row.pages.iter().filter(|page| **page != NOWHERE) {
                seen[*page as usize] += 1;
                let it = self.at(*page);
                assert_eq!(it.agent as usize, agent, "whose page {page} is");
                assert!(!it.refusals.is_empty(), "page {page} is empty");
                assert!(it.refusals.is_sorted_by_key(|it| it.of), "page {page}");
                len += it.refusals.len();
            }
            assert_eq!(row.len, len, "refusals of agent {agent}");
        }
        assert!(seen.iter().all(|times| *times == 1), "{seen:?}");
    }
}
