//! The corpora beside the sources: seeds from which a fuzzer starts, replayed by the tests.
//!
//! Called by the tests of the targets. Deliberately not here: what a fuzzer finds, which becomes a
//! test where the mistake was.

use std::fs;
use std::path::{Path, PathBuf};

fn dir(target: &str) -> PathBuf {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    corpus.join(target)
}

/// Reads all entries of a target's corpus.
pub(crate) fn entries(target: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(dir(target)).expect("every target has a corpus");
    let entries = files.map(|file| fs::read(file.unwrap().path()).unwrap());
    let entries: Vec<Vec<u8>> = entries.collect();
    assert!(!entries.is_empty(), "the corpus of {target} is empty");
    entries
}

/// Checks that an entry is what this build makes of it: one that no longer decodes reaches nothing.
/// With `TEPUI_WRITE_CORPUS` set it is written instead.
#[track_caller]
pub(crate) fn check(target: &str, name: &str, made: &[u8]) {
    let path = dir(target).join(name);
    if std::env::var_os("TEPUI_WRITE_CORPUS").is_some() {
        fs::create_dir_all(dir(target)).unwrap();
        fs::write(&path, made).unwrap();
    }
    let entry = fs::read(&path).unwrap();
    let path = path.display();
    assert_eq!(entry, made, "{path}: TEPUI_WRITE_CORPUS=1 writes it anew");
}
