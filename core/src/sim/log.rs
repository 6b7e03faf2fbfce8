//! The event log: every input, record and effect of every node, one line each.
//!
//! The same seed and options give the same bytes. Nothing is rendered while nobody reads.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::{self, Debug, Write};

use super::queue::Name;
use crate::time::Time;

/// The prime of FNV-1a in 128 bits.
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// Who reads the event log.
#[derive(Default)]
pub enum Log {
    /// Nobody.
    #[default]
    Off,
    /// A digest of all lines so far, to compare runs.
    Digest(u128),
    /// The given function, line by line, each with its line end.
    Lines(Box<dyn FnMut(&str) + Send>),
}

impl Log {
    /// Makes a log that only keeps a digest.
    pub const fn digest() -> Self {
        // The offset basis of FNV-1a in 128 bits (Fowler, Noll and Vo).
        Self::Digest(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::Digest(_) => "Digest",
            Self::Lines(_) => "Lines",
        })
    }
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Input,
    Tick,
    Record,
    Effect,
    Fault,
    /// A frame that could not be read.
    Refusal,
}

impl Entry {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Tick => "tick",
            Self::Record => "record",
            Self::Effect => "effect",
            Self::Fault => "fault",
            Self::Refusal => "refusal",
        }
    }
}

fn fold(digest: u128, byte: u8) -> u128 {
    (digest ^ u128::from(byte)).wrapping_mul(PRIME)
}

/// Counts entries, and renders them if somebody reads.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    log: Log,
    line: String,
    entries: u64,
}

impl Recorder {
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
            ..Self::default()
        }
    }

    pub(super) fn note(&mut self, now: Time, node: Name, entry: Entry, what: &dyn Debug) {
        self.entries += 1;
        if matches!(self.log, Log::Off) {
            return;
        }
        self.line.clear();
        let entry = entry.as_str();
        writeln!(self.line, "{now} {node} {entry} {what:?}").expect("a string takes any text");
        match &mut self.log {
            Log::Off => {}
            Log::Digest(digest) => {
                for byte in self.line.bytes() {
                    *digest = fold(*digest, byte);
                }
            }
            Log::Lines(write) => write(&self.line),
        }
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn digest(&self) -> Option<u128> {
        match self.log {
            Log::Digest(digest) => Some(digest),
            Log::Off | Log::Lines(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn lines_are_rendered_and_digested_alike() {
        let text = Arc::new(Mutex::new(String::new()));
        let copy = Arc::clone(&text);
        let lines = Log::Lines(Box::new(move |line| copy.lock().unwrap().push_str(line)));
        let mut digests = [0; 2];
        for (i, name) in [Name::Agent(3), Name::Master].into_iter().enumerate() {
            let mut digest = Recorder::new(Log::digest());
            digest.note(Time::from_micros(1_500_000), name, Entry::Tick, &7);
            digests[i] = digest.digest().unwrap();
        }
        assert_ne!(digests[0], digests[1]);
        // The published value of "foobar".
        let foobar = "foobar"
            .bytes()
            .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, fold);
        assert_eq!(foobar, 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
        let mut recorder = Recorder::new(lines);
        recorder.note(
            Time::from_micros(1_500_000),
            Name::Agent(3),
            Entry::Input,
            &Some(1),
        );
        recorder.note(
            Time::from_micros(1_500_001),
            Name::Master,
            Entry::Fault,
            &"cut",
        );
        assert_eq!(recorder.entries(), 2);
        let expected = "1.500000 agent-3 input Some(1)\n1.500001 master fault \"cut\"\n";
        assert_eq!(*text.lock().unwrap(), expected);
    }
}
