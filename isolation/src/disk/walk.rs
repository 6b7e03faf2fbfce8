//! Adds up what the files below a directory take, in steps.
//!
//! Others change the tree meanwhile, and may want the walker to go astray, to see less than there
//! is, or never to end: it follows no link, crosses no mount, holds one file for each level, and
//! goes no deeper than that is possible. What is then not seen is said.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use crate::content::beneath;
use crate::place::kind_of;

/// The deepest level that is looked into: each takes two files of ours while it is.
const MOST_LEVELS: usize = 128;
/// The most files with several names that are remembered, so that each counts once; of more each
/// name counts.
const MOST_LINKED: usize = 1 << 20;
/// The unit in which the kernel tells what a file takes.
const BLOCK_BYTES: u64 = 512;
/// So many entries are looked at between two looks at the clock.
const AT_ONCE: usize = 64;

/// What files take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Of the disk, in bytes: holes take nothing, directories something.
    pub bytes: u64,
    /// How many there are, directories too.
    pub files: u64,
    /// Whether something could not be looked into, for it is too deep or not for us: there is more.
    pub is_partial: bool,
}

/// A walk through a tree that is under way.
#[derive(Debug)]
pub struct Walk {
    levels: Vec<Level>,
    linked: BTreeSet<u64>,
    device: u64,
    taken: Taken,
}

/// A directory that is being read.
struct Level {
    directory: OwnedFd,
    entries: OwningIter,
}

impl std::fmt::Debug for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Level").finish_non_exhaustive()
    }
}

impl Walk {
    /// Begins at a directory, which nobody but us can have put elsewhere.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let mut options = File::options();
        let directory = options.read(true).custom_flags(flags.bits()).open(path)?;
        let directory = OwnedFd::from(directory);
        let stat = fstat(&directory)?;
        let mut walk = Self {
            levels: Vec::new(),
            linked: BTreeSet::new(),
            device: stat.st_dev,
            taken: Taken::default(),
        };
        walk.count(&stat);
        walk.enter(directory)?;
        Ok(walk)
    }

    /// Goes on for about so long. Returns what was found when there is no more.
    ///
    /// # Errors
    /// If something cannot be read for another reason than that it is gone.
    pub fn step(&mut self, time: Duration) -> io::Result<Option<Taken>> {
        let begin = Instant::now();
        loop {
            for _ in 0..AT_ONCE {
                if !self.look_at_one()? {
                    return Ok(Some(self.taken));
                }
            }
            if begin.elapsed() >= time {
                return Ok(None);
            }
        }
    }

    /// Looks at one entry; returns whether there may be more.
    fn look_at_one(&mut self) -> io::Result<bool> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(false);
        };
        let entry = match level.entries.next() {
            Some(Ok(entry)) => entry,
            // A directory that was removed meanwhile is over.
            Some(Err(Errno::ENOENT)) | None => {
                self.levels.pop();
                return Ok(true);
            }
            Some(Err(errno)) => return Err(errno.into()),
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return Ok(true);
        }
        let stat = match fstatat(&level.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        if stat.st_dev != self.device {
            return Ok(true);
        }
        if kind_of(&stat) != SFlag::S_IFDIR {
            self.count(&stat);
            return Ok(true);
        }
        let how = beneath::beneath(OFlag::O_DIRECTORY);
        let how = how.resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let found = openat2(level.directory.as_fd(), name, how);
        match found {
            Ok(_) if self.levels.len() >= MOST_LEVELS => {
                self.count(&stat);
                self.taken.is_partial = true;
            }
            Ok(directory) => {
                // What is there now may be another than before.
                let stat = fstat(&directory)?;
                self.count(&stat);
                self.enter(directory)?;
            }
            Err(Errno::EACCES) => {
                self.count(&stat);
                self.taken.is_partial = true;
            }
            // Something is mounted there, or it is no directory any more.
            Err(Errno::EXDEV | Errno::ELOOP | Errno::ENOTDIR | Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(true)
    }

    fn enter(&mut self, directory: OwnedFd) -> io::Result<()> {
        let entries = Dir::from_fd(directory.try_clone()?)?.into_iter();
        self.levels.push(Level { directory, entries });
        Ok(())
    }

    fn count(&mut self, stat: &FileStat) {
        let is_linked = kind_of(stat) != SFlag::S_IFDIR && stat.st_nlink > 1;
        if is_linked && self.linked.len() < MOST_LINKED && !self.linked.insert(stat.st_ino) {
            return;
        }
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        let bytes = blocks.saturating_mul(BLOCK_BYTES);
        self.taken.bytes = self.taken.bytes.saturating_add(bytes);
        self.taken.files += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn whole(path: &Path) -> Taken {
        Walk::begin(path)
            .unwrap()
            .step(Duration::MAX)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn each_file_counts_once_and_no_link_leads_out() {
        // CT-38
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("big"), vec![1; 1 << 20]).unwrap();
        let inside = dir.path().join("a/b");
        fs::create_dir_all(&inside).unwrap();
        let file = inside.join("file");
        fs::write(&file, vec![1; 100_000]).unwrap();
        fs::hard_link(&file, dir.path().join("again")).unwrap();
        symlink(other.path(), dir.path().join("out")).unwrap();
        symlink(other.path().join("big"), inside.join("big")).unwrap();
        let taken = whole(dir.path());
        let blocks = |path: &Path| fs::symlink_metadata(path).unwrap().blocks() * BLOCK_BYTES;
        let directories = [dir.path(), &dir.path().join("a"), &inside].map(blocks);
        let links = [&dir.path().join("out"), &inside.join("big")].map(|path| blocks(path));
        let expected = blocks(&file) + directories.iter().sum::<u64>() + links.iter().sum::<u64>();
        assert_eq!((taken.bytes, taken.files), (expected, 6));
        assert!(!taken.is_partial);
        // A hole takes nothing.
        let hole = File::create(dir.path().join("hole")).unwrap();
        hole.set_len(1 << 40).unwrap();
        assert!(whole(dir.path()).bytes < expected + (1 << 20));
    }

    #[test]
    fn what_is_too_deep_is_said_and_costs_no_more_files() {
        // CT-38
        let dir = tempfile::tempdir().unwrap();
        let deep = (0..MOST_LEVELS + 5).fold(dir.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        let taken = whole(dir.path());
        assert!(taken.is_partial);
        assert_eq!(taken.files, MOST_LEVELS as u64 + 1);
    }

    #[test]
    fn a_step_ends_in_time_and_the_next_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..1000 {
            fs::write(dir.path().join(number.to_string()), "x").unwrap();
        }
        let mut walk = Walk::begin(dir.path()).unwrap();
        let mut steps = 1;
        let taken = loop {
            match walk.step(Duration::ZERO).unwrap() {
                Some(taken) => break taken,
                None => steps += 1,
            }
        };
        assert_eq!(taken.files, 1001);
        assert!(steps > 10, "{steps}");
        assert_eq!(taken, whole(dir.path()));
    }

    #[test]
    fn a_tree_that_goes_away_meanwhile_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir_all(dir.path().join(name).join("x/y/z")).unwrap();
        }
        let mut walk = Walk::begin(dir.path()).unwrap();
        walk.look_at_one().unwrap();
        for name in ["a", "b", "c"] {
            fs::remove_dir_all(dir.path().join(name)).unwrap();
        }
        walk.step(Duration::MAX).unwrap().unwrap();
    }
}
