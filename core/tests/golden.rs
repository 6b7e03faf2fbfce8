//! The bytes of every message: what one build writes, the next must read alike.
//!
//! There is a sample of each variant of each enum that goes over a wire; a variant without one does
//! not compile. `golden/bytes.txt` says how each is laid out. A line that changes is a message that
//! older builds read otherwise: it may change only together with the lowest version of the protocol
//! (`protocol/version.rs`). New lines are new messages, at the ends of their enums. Then
//! `TEPUI_WRITE_GOLDEN=1 cargo test -p tepui-core --test golden` writes the file anew.
//!
//! Deliberately not here: records, which are on disks, and the forms of resources and attributes,
//! whose own tests have their bytes.

#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "golden/parts.rs"]
mod parts;
#[path = "golden/peers.rs"]
mod peers;
#[path = "golden/readers.rs"]
mod readers;
#[path = "golden/values.rs"]
mod values;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tepui_core::protocol::wire::size;

/// The bytes of all samples, by name.
#[derive(Default)]
struct Golden(BTreeMap<String, String>);

impl Golden {
    /// Notes a sample, which reads back as what it was.
    fn note<T>(&mut self, name: &str, sample: &T)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let bytes = postcard::to_allocvec(sample).unwrap();
        assert_eq!(size(sample), bytes.len(), "the length of {name}");
        let again: T = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(again, *sample, "{name}");
        let mut text = String::new();
        for byte in bytes {
            write!(text, "{byte:02x}").unwrap();
        }
        let before = self.0.insert(name.into(), text);
        assert_eq!(before, None, "{name} has one sample");
    }
}

/// Notes a sample of each variant of an enum. The match makes sure that none is left out.
macro_rules! samples {
    ($golden:expr, $type:ty { $($variant:ident => $sample:expr,)+ }) => {{
        type Samples = $type;
        let variant = |sample: &Samples| match sample {
            $(Samples::$variant { .. } => stringify!($variant),)+
        };
        $(
            let sample: Samples = $sample;
            assert_eq!(variant(&sample), stringify!($variant));
            let name = concat!(stringify!($type), "::", stringify!($variant));
            $golden.note(name, &sample);
        )+
    }};
}

/// The same for an enum whose variants have no fields.
macro_rules! words {
    ($golden:expr, $type:ty { $($variant:ident),+ $(,)? }) => {{
        type Words = $type;
        samples!($golden, $type { $($variant => Words::$variant,)+ });
    }};
}

use {samples, words};

// R6: what an older node has said is read as it was meant
#[test]
fn what_is_on_wires_is_laid_out_as_it_was() {
    let mut golden = Golden::default();
    peers::note(&mut golden);
    readers::note(&mut golden);
    values::note(&mut golden);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bytes.txt");
    if std::env::var_os("TEPUI_WRITE_GOLDEN").is_some() {
        let lines = golden
            .0
            .iter()
            .map(|(name, bytes)| format!("{name} {bytes}\n"));
        std::fs::write(&path, lines.collect::<String>()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    let written = written.lines().map(|line| line.split_once(' ').unwrap());
    let written: BTreeMap<&str, &str> = written.collect();
    for (name, bytes) in &golden.0 {
        let before = written.get(name.as_str()).copied();
        assert_eq!(
            before,
            Some(bytes.as_str()),
            "{name} is not laid out as it was"
        );
    }
    let known = |name: &&&str| golden.0.contains_key(**name);
    let gone: Vec<_> = written.keys().filter(|name| !known(name)).collect();
    assert!(gone.is_empty(), "no more messages: {gone:?}");
}
