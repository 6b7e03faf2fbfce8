//! The table of news about operations that nobody has acknowledged, by the numbers of these.
//!
//! A master lets no framework have more of them than it may; but what it has forgotten, and what
//! was acknowledged while its agent was away, is beside that. So the agent has a bound of its own,
//! beyond which the oldest go, and the next master hears that they are under way until the agent is
//! gone. It is four times what one framework may have, so that no honest cluster comes near it.
//! Deliberately not here: when they are told ([`super::operations`]).

use serde::{Deserialize, Serialize};

use super::operations::Said;
use crate::book::Book;
use crate::limits;
use crate::protocol::wire::size;
use crate::table::{Noted, Table};

/// All that an agent goes on saying of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Book<u64, Said>", into = "Book<u64, Said>")]
pub(super) struct Sayings {
    rows: Book<u64, Said>,
    /// On the wire, of all rows.
    bytes: usize,
}

impl From<Book<u64, Said>> for Sayings {
    fn from(rows: Book<u64, Said>) -> Self {
        let bytes = rows.values().map(size).sum();
        Self { rows, bytes }
    }
}

impl From<Sayings> for Book<u64, Said> {
    fn from(sayings: Sayings) -> Self {
        sayings.rows
    }
}

impl Sayings {
    pub(super) fn rows(&self) -> &Book<u64, Said> {
        &self.rows
    }

    /// Returns how long all of it is on the wire.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds news about an operation, the newest or one that was held back.
    pub(super) fn insert(&mut self, number: u64, said: Said) {
        self.bytes += size(&said);
        if let Some(before) = self.rows.insert(number, said) {
            self.bytes -= size(&before);
        }
        while self.rows.len() > limits::OPERATIONS_SAID
            || self.bytes > limits::OPERATIONS_SAID_BYTES
        {
            let Some((_, oldest)) = self.rows.pop_first() else {
                break;
            };
            self.bytes -= size(&oldest);
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Some(said) = self.rows.remove(&number) {
            self.bytes -= size(&said);
        }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }

    /// The rows as such, for those who watch them.
    pub(super) fn watched(&mut self) -> &mut Table<(u64, Said)> {
        self.rows.watched()
    }

    pub(super) fn noted(&mut self) -> &mut dyn Noted {
        &mut self.rows
    }
}
