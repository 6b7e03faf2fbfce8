//! Maps by a hash that is the same in every run.
//!
//! They are for keys that no peer chooses as it likes, for whoever knows the hash could have all of
//! them fall together. Not quite so are ids of agents, of which each costs a certificate, and the
//! bags that frameworks refuse: amounts are theirs to choose, and only the bounds on refusals limit
//! what that costs. These maps are never iterated where the order can be seen. Deliberately not
//! here: maps by names that peers choose, which are ordered ones.

use core::hash::{BuildHasherDefault, Hasher};

/// A map by [`Fold`].
pub(crate) type FoldMap<K, V> = hashbrown::HashMap<K, V, BuildHasherDefault<Fold>>;

/// Any number without a pattern (of pi), so that zeroes are no fixed point.
const SEED: u64 = 0x243F_6A88_85A3_08D3;
/// The golden ratio's, which spreads neighbours.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// A hash that is the same in every run.
#[derive(Debug, Default)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // Both halves of a product: each bit of the word has a say in all bits of the hash.
        let product = u128::from(self.0 ^ word ^ SEED) * u128::from(FACTOR);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}
