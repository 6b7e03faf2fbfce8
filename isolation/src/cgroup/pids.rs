//! Processes: how many, threads included.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cgroups_rs::MaxValue;
use cgroups_rs::pid::PidController;

use super::files::failed;
use super::hierarchies::Version;
use crate::error::{Error, Result};

/// Writes the limit of `group`; `None` is none.
pub(super) fn apply(group: &Path, version: Version, pids: Option<u32>) -> Result<()> {
    let controller = PidController::new(group.to_owned(), version == Version::Two);
    let most = pids.map_or(MaxValue::Max, |pids| MaxValue::Value(i64::from(pids)));
    let text = most.to_string();
    let written = controller.set_pid_max(most);
    written.map_err(|error| failed(group, "pids.max", text, &error))
}

/// Knows when a group was last refused a process. The kernel only counts, but it says when the
/// count changes: the file is then ready with an exceptional condition, until it is read.
#[derive(Debug)]
pub(crate) struct Refusals {
    events: File,
    count: u64,
    last: Option<Instant>,
}

impl Refusals {
    /// Watches a group.
    pub(super) fn watch(group: &Path) -> Result<Self> {
        let path = group.join("pids.events");
        let failed = |error| Error::file("watch", &path, error);
        let events = File::open(&path).map_err(failed)?;
        Ok(Self {
            count: count(&events).map_err(failed)?,
            events,
            last: None,
        })
    }

    /// Reads the count; if it has risen, that was `now`.
    pub(crate) fn update(&mut self, now: Instant) -> io::Result<()> {
        let count = count(&self.events)?;
        if count > self.count {
            (self.count, self.last) = (count, Some(now));
        }
        Ok(())
    }

    /// Returns whether a process was refused at most `before` ago.
    pub(crate) fn any_within(&self, before: Duration, now: Instant) -> bool {
        let ago = self.last.map(|last| now.saturating_duration_since(last));
        ago.is_some_and(|ago| ago <= before)
    }
}

impl AsFd for Refusals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

fn count(events: &File) -> io::Result<u64> {
    let mut buffer = [0; 256];
    let length = events.read_at(&mut buffer, 0)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    let count = text.lines().find_map(|line| line.strip_prefix("max "));
    let count = count.and_then(|count| count.trim().parse().ok());
    count.ok_or_else(|| io::Error::other("it has no count"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_refusal_counts_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Refusals::watch(dir.path()).is_err());
        let path = dir.path().join("pids.events");
        fs::write(&path, "max 3\n").unwrap();
        let mut refusals = Refusals::watch(dir.path()).unwrap();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let window = Duration::from_secs(10);
        refusals.update(begin).unwrap();
        assert!(!refusals.any_within(window, begin), "these were before");
        fs::write(&path, "max 4\n").unwrap();
        refusals.update(at(5)).unwrap();
        refusals.update(at(14)).unwrap();
        assert!(refusals.any_within(window, at(15)));
        assert!(!refusals.any_within(window, at(16)));
        fs::write(&path, "garbled").unwrap();
        assert!(refusals.update(at(17)).is_err());
    }
}
