//! Crashes and damage, at every byte.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tepui_core::gate::Seq;
use tepui_core::machine::Durable;

use super::file::FileOptions;
use super::format::{BATCH_HEADER_BYTES, BatchHeader, FILE_HEADER_BYTES, LOG_HEADER_BYTES};
use super::log::{self, Batch};
use super::{FileJournal, Journal, JournalError, JournalEvent};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Words(Vec<String>);

impl Durable for Words {
    type Record = String;

    const LAYOUT: u32 = 1;

    fn apply(&mut self, record: &String) {
        self.0.push(record.clone());
    }
}

const LARGE: FileOptions = FileOptions {
    snapshot_from_bytes: u64::MAX,
};
const ALWAYS: FileOptions = FileOptions {
    snapshot_from_bytes: 0,
};

fn recover(dir: &Path) -> Result<Words, JournalError> {
    log::recover::<Words>(dir).map(|recovered| recovered.state)
}

fn words(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("w{n}")).collect()
}

/// Writes batches of one, two and one record, and returns the log's bytes and where its batches
/// begin.
fn small_log(dir: &Path) -> (Vec<u8>, Vec<usize>) {
    let mut log = log::recover::<Words>(dir).unwrap().log;
    // Two empty batches come first: where the log begins, and the epoch of its opening.
    let mut starts: Vec<usize> = (0..3)
        .map(|n| LOG_HEADER_BYTES + n * BATCH_HEADER_BYTES)
        .collect();
    let words = words(4);
    for records in [&words[..1], &words[1..3], &words[3..]] {
        let mut batch = Batch::default();
        for record in records {
            batch.add(record).unwrap();
        }
        log.append(&batch).unwrap();
        log.sync().unwrap();
        starts.push(usize::try_from(log.end).unwrap());
    }
    let end = starts.pop().unwrap();
    let mut content = fs::read(dir.join("log")).unwrap();
    let unused = content.split_off(end);
    assert!(
        unused.iter().all(|byte| *byte == 0),
        "room for more follows"
    );
    (content, starts)
}

fn with_log(content: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log"), content).unwrap();
    dir
}

async fn append(journal: &mut FileJournal<Words>, last: u64, records: &[&str]) {
    journal.append(Seq(last), records.iter().map(|r| (*r).to_owned()).collect());
    loop {
        match journal.next().await {
            JournalEvent::Durable(seq) if seq == Seq(last) => return,
            JournalEvent::Durable(seq) => assert!(seq < Seq(last)),
            JournalEvent::Leading { .. } => panic!("a file journal leads from the start"),
            JournalEvent::Lost(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn records_survive_and_every_opening_begins_an_epoch() {
    // AG-15
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Words::default();
    for round in 1..=3u64 {
        let mut opened = FileJournal::<Words>::open(dir.path()).unwrap();
        assert_eq!(opened.epoch, round);
        assert_eq!(opened.state, expected);
        let word = format!("r{round}");
        append(&mut opened.journal, 1, &[&word, "x"]).await;
        expected.0.extend([word, "x".into()]);
    }
}

#[tokio::test]
async fn what_was_appended_before_the_end_is_there_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = FileJournal::<Words>::open(dir.path()).unwrap();
    opened.journal.append(Seq(1), vec!["a".into()]);
    opened.journal.append(Seq(2), vec!["b".into()]);
    drop(opened.journal);
    assert_eq!(recover(dir.path()).unwrap().0, ["a", "b"]);
}

#[test]
fn a_log_cut_anywhere_gives_the_batches_before() {
    // AG-13, I17; MESOS-9507, MESOS-8871: a file that a crash left empty, or wrote in part. A log
    // is put in place with its header, so that no crash leaves less of it.
    let dir = tempfile::tempdir().unwrap();
    let (content, starts) = small_log(dir.path());
    let records_before = [0, 0, 0, 1, 3];
    for cut in 0..content.len() {
        let dir = with_log(&content[..cut]);
        let recovered = recover(dir.path());
        if cut < LOG_HEADER_BYTES {
            let error = recovered.unwrap_err();
            assert!(
                matches!(error, JournalError::Corrupt { offset: 0, .. }),
                "{error}"
            );
            continue;
        }
        let whole = starts.iter().rposition(|start| *start <= cut).unwrap();
        let expected = words(records_before[whole]);
        assert_eq!(recovered.unwrap().0, expected, "cut at {cut}");
        // And it goes on from there.
        assert_eq!(recover(dir.path()).unwrap().0, expected);
    }
}

#[test]
fn a_flipped_bit_is_never_believed() {
    // I17
    let dir = tempfile::tempdir().unwrap();
    let (content, starts) = small_log(dir.path());
    let last = *starts.last().unwrap();
    for at in 0..content.len() {
        for bit in [0, 7] {
            let mut damaged = content.clone();
            damaged[at] ^= 1 << bit;
            let dir = with_log(&damaged);
            let recovered = recover(dir.path());
            if at >= last {
                // Not to be told from a batch torn by a crash.
                assert_eq!(recovered.unwrap().0, words(3), "byte {at}");
                continue;
            }
            let error = recovered.expect_err("damage in the middle");
            if (FILE_HEADER_BYTES..LOG_HEADER_BYTES).contains(&at) {
                let is_other = matches!(error, JournalError::Layout { known: 1, .. });
                assert!(is_other, "byte {at}: {error}");
                continue;
            }
            let JournalError::Corrupt { path, offset, .. } = &error else {
                panic!("byte {at}: {error}");
            };
            assert_eq!(*path, dir.path().join("log"));
            let batch = starts.iter().rfind(|start| **start <= at).unwrap_or(&0);
            assert_eq!(*offset, *batch as u64, "byte {at}: {error}");
        }
    }
}

/// A batch of one word, whole.
fn batch(word: &str, index: u64, epoch: u64) -> Vec<u8> {
    let body = postcard::to_stdvec(word).unwrap();
    let header = BatchHeader {
        length: u32::try_from(body.len()).unwrap(),
        count: 1,
        epoch,
        index,
        body_crc: crc32fast::hash(&body),
    };
    [&header.to_bytes()[..], &body].concat()
}

#[test]
fn a_batch_within_a_torn_record_is_no_damage() {
    // AG-13
    let dir = tempfile::tempdir().unwrap();
    let (content, _) = small_log(dir.path());
    // Four words were written in epoch 1. A batch with the header at `torn` holds another
    // journal's.
    let tail = |within: &[u8], torn: BatchHeader| {
        [&content[..], &torn.to_bytes(), b"torn", within, b"off"].concat()
    };
    let whole = |length: u32| BatchHeader {
        length,
        count: 1,
        epoch: 1,
        index: 5,
        body_crc: 0,
    };
    let recovered = |content: &[u8]| recover(with_log(content).path());
    // The header reached the disk, and says that all of it is one batch.
    let torn = tail(&batch("x", 6, 1), whole(500));
    assert_eq!(recovered(&torn).unwrap().0, words(4));
    // It did not; what the record holds is from before, or of an epoch that is over.
    for within in [batch("x", 1, 1), batch("x", 6, 0)] {
        let mut torn = tail(&within, whole(500));
        torn[content.len()..content.len() + BATCH_HEADER_BYTES].fill(0);
        assert_eq!(recovered(&torn).unwrap().0, words(4));
    }
    // A batch that goes on from there proves that the one before it was whole once.
    let damaged = tail(&batch("x", 6, 1), whole(4));
    let error = recovered(&damaged).unwrap_err();
    assert!(matches!(error, JournalError::Corrupt { .. }), "{error}");
}

#[test]
fn the_log_grows_seldom() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log::recover::<Words>(dir.path()).unwrap().log;
    let length = || fs::metadata(dir.path().join("log")).unwrap().len();
    let (mut lengths, mut count) = (vec![length()], 0);
    while count < 10_000 {
        let mut batch = Batch::default();
        batch.add(&"x".repeat(100)).unwrap();
        log.append(&batch).unwrap();
        count += 1;
        if length() != lengths[lengths.len() - 1] {
            lengths.push(length());
        }
    }
    assert!(lengths.len() < 20, "it grew {} times", lengths.len());
    drop(log);
    assert_eq!(recover(dir.path()).unwrap().0.len(), count);
}

#[test]
fn pages_that_never_reached_the_disk_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (mut content, _) = small_log(dir.path());
    content.extend([0; 5_000]);
    let dir = with_log(&content);
    assert_eq!(recover(dir.path()).unwrap().0, words(4));
    assert_eq!(recover(dir.path()).unwrap().0, words(4));
}

#[tokio::test]
async fn a_snapshot_stands_for_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = FileJournal::<Words>::open_with(dir.path(), ALWAYS).unwrap();
    append(&mut opened.journal, 1, &["w0"]).await;
    append(&mut opened.journal, 3, &["w1", "w2"]).await;
    drop(opened);
    let log = fs::read(dir.path().join("log")).unwrap();
    let empty = LOG_HEADER_BYTES + BATCH_HEADER_BYTES;
    assert_eq!(log.len(), empty, "a snapshot empties the log");
    let opened = FileJournal::<Words>::open_with(dir.path(), ALWAYS).unwrap();
    assert_eq!(opened.state.0, words(3));
    assert_eq!(opened.epoch, 2, "the snapshot remembers the epoch");
}

#[test]
fn a_crash_between_snapshot_and_new_log_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (old_log, _) = small_log(dir.path());
    let mut recovered = log::recover::<Words>(dir.path()).unwrap();
    recovered.log.snapshot(&recovered.state).unwrap();
    drop(recovered);
    fs::write(dir.path().join("log"), old_log).unwrap();
    assert_eq!(recover(dir.path()).unwrap().0, words(4));
    // A new record follows the old ones in that log.
    let mut log = log::recover::<Words>(dir.path()).unwrap().log;
    let mut batch = Batch::default();
    batch.add(&"w4").unwrap();
    log.append(&batch).unwrap();
    drop(log);
    assert_eq!(recover(dir.path()).unwrap().0, words(5));
}

#[test]
fn a_damaged_snapshot_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path());
    let mut recovered = log::recover::<Words>(dir.path()).unwrap();
    recovered.log.snapshot(&recovered.state).unwrap();
    drop(recovered);
    let path = dir.path().join("snapshot");
    let content = fs::read(&path).unwrap();
    for at in 0..content.len() {
        let mut damaged = content.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let error = recover(dir.path()).unwrap_err();
        assert!(
            matches!(error, JournalError::Corrupt { .. }),
            "byte {at}: {error}"
        );
        fs::write(&path, &content[..at]).unwrap();
        let error = recover(dir.path()).unwrap_err();
        assert!(
            matches!(error, JournalError::Corrupt { .. }),
            "cut at {at}: {error}"
        );
    }
    fs::remove_file(&path).unwrap();
    let error = recover(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("it begins with record 5, expected 1"),
        "{error}"
    );
}

/// What a later build remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct More(Vec<String>, u32);

impl Durable for More {
    type Record = String;

    const LAYOUT: u32 = 1;

    fn apply(&mut self, record: &String) {
        self.0.push(record.clone());
    }
}

/// The same as [`Words`], with another layout by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Renumbered(Vec<String>);

impl Durable for Renumbered {
    type Record = String;

    const LAYOUT: u32 = 7;

    fn apply(&mut self, record: &String) {
        self.0.push(record.clone());
    }
}

#[test]
fn a_snapshot_of_another_layout_is_refused_by_both_numbers() {
    // S7: whatever its bytes may look like
    let dir = tempfile::tempdir().unwrap();
    let mut other = log::recover::<Renumbered>(dir.path()).unwrap();
    other.log.snapshot(&other.state).unwrap();
    drop(other);
    let error = recover(dir.path()).unwrap_err();
    let is_refused = matches!(
        error,
        JournalError::Layout {
            found: 7,
            known: 1,
            ..
        }
    );
    assert!(is_refused, "{error}");
    let text = error.to_string();
    let both = "has layout 7, and this build reads layout 1";
    assert!(text.contains(both), "{text}");
}

#[test]
fn a_log_of_another_layout_is_refused_by_both_numbers() {
    // S7: before there is a snapshot, too
    let dir = tempfile::tempdir().unwrap();
    let mut other = log::recover::<Renumbered>(dir.path()).unwrap();
    let mut batch = Batch::default();
    batch.add(&String::from("w0")).unwrap();
    other.log.append(&batch).unwrap();
    drop(other);
    assert!(!dir.path().join("snapshot").exists());
    let text = recover(dir.path()).unwrap_err().to_string();
    let both = "log has layout 7, and this build reads layout 1";
    assert!(text.contains(both), "{text}");
}

#[test]
fn a_snapshot_of_another_build_is_refused() {
    for is_later in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let error = if is_later {
            let mut later = log::recover::<More>(dir.path()).unwrap();
            later.log.snapshot(&later.state).unwrap();
            drop(later);
            recover(dir.path()).unwrap_err()
        } else {
            let mut earlier = log::recover::<Words>(dir.path()).unwrap();
            earlier.log.snapshot(&earlier.state).unwrap();
            drop(earlier);
            log::recover::<More>(dir.path()).map(drop).unwrap_err()
        };
        assert!(matches!(error, JournalError::Unreadable { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("snapshot holds") && text.contains("byte 45"),
            "{text}"
        );
    }
}

#[test]
fn a_missing_log_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path());
    let mut recovered = log::recover::<Words>(dir.path()).unwrap();
    recovered.log.snapshot(&recovered.state).unwrap();
    drop(recovered);
    fs::remove_file(dir.path().join("log")).unwrap();
    let error = recover(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("it is missing"), "{error}");
}

#[test]
fn two_cannot_have_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let first = FileJournal::<Words>::open(dir.path()).unwrap();
    let error = FileJournal::<Words>::open(dir.path()).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    drop(first);
    FileJournal::<Words>::open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_failed_sync_loses_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&broken);
    let before_sync = Box::new(move || match breaks.load(Ordering::Acquire) {
        false => Ok(()),
        true => Err(JournalError::Encode {
            problem: "the disk is on fire".into(),
        }),
    });
    let opened = FileJournal::<Words>::open_faulty(dir.path(), LARGE, before_sync).unwrap();
    let mut journal = opened.journal;
    append(&mut journal, 1, &["a"]).await;
    broken.store(true, Ordering::Release);
    journal.append(Seq(2), vec!["b".into()]);
    let event = journal.next().await;
    assert!(matches!(event, JournalEvent::Lost(_)), "{event:?}");
    // It stays lost, whatever is appended.
    broken.store(false, Ordering::Release);
    journal.append(Seq(3), vec!["c".into()]);
    let event = journal.next().await;
    assert!(
        matches!(event, JournalEvent::Lost(JournalError::Stopped { .. })),
        "{event:?}"
    );
}

#[tokio::test]
async fn what_gathers_during_a_sync_shares_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (go, wait) = crossbeam::channel::bounded::<()>(0);
    let before_sync = Box::new(move || {
        wait.recv().expect("the test goes on until the end");
        Ok(())
    });
    let opened = FileJournal::<Words>::open_faulty(dir.path(), LARGE, before_sync).unwrap();
    let mut journal = opened.journal;
    journal.append(Seq(1), vec!["a".into()]);
    go.send(()).unwrap();
    assert!(matches!(
        journal.next().await,
        JournalEvent::Durable(Seq(1))
    ));
    journal.append(Seq(2), vec!["b".into()]);
    for seq in 3..=100 {
        journal.append(Seq(seq), vec!["c".into()]);
    }
    // Whenever the thread woke up, two more syncs are enough for all of it.
    go.send(()).unwrap();
    let JournalEvent::Durable(first) = journal.next().await else {
        panic!("lost");
    };
    if first < Seq(100) {
        go.send(()).unwrap();
        assert!(matches!(
            journal.next().await,
            JournalEvent::Durable(Seq(100))
        ));
    }
}
