//! What a container writes to its standard output and error, in files of its sandbox: how large
//! they get, and how they take turns.
//!
//! The newest is `stdout` (or `stderr`), the one before `stdout.1`, and so on; the oldest goes.
//! There is always a `stdout`: a full one gets its further name first, and then the next takes its
//! place in one step. So a reader who has one open, and finds another in its place, knows that his
//! is complete. Each says in an attribute what was written before it ([`start_of`]).
//!
//! The sandbox is the task's, which may put anything there. So files are named only below a held
//! directory, what is written to is held open, and the next one is always made anew: nothing that a
//! task puts there is written to or read, and no link is followed. It can spoil its own log: if the
//! files cannot take turns, the newest is emptied. Deliberately not here: whose bytes they are (see
//! the launcher's copier), and readers.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, ftruncate, linkat, unlinkat, write};
use serde::{Deserialize, Serialize};

/// What says, in the decimal digits of a file's attribute, how many bytes were written before it.
const START: &CStr = c"user.tepui.start";
/// Added to the name of a file that is about to take the place of the newest.
const NEXT: &str = "next";
/// Of output: its user's, and its group's to read.
pub(crate) const MODE: Mode = Mode::from_bits_truncate(0o640);

/// How much is kept of what a container writes to its standard output, and of its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// The largest file, in bytes. Zero is without a bound: the container then writes the file
    /// itself, unless it writes to a terminal.
    pub file_bytes: u64,
    /// How many files there are at most, the newest among them; at least one.
    pub files: u32,
}

impl Logs {
    /// One file without a bound.
    pub const UNBOUNDED: Self = Self {
        file_bytes: 0,
        files: 1,
    };

    /// Returns whether a file can be full.
    pub(crate) fn are_bounded(self) -> bool {
        self.file_bytes > 0
    }
}

impl Default for Logs {
    /// Five files of 10 MiB.
    fn default() -> Self {
        Self {
            file_bytes: 10 * 1024 * 1024,
            files: 5,
        }
    }
}

/// The newest file of one kind of output, and how the next one is made.
#[derive(Debug)]
pub(crate) struct LogFile {
    directory: Arc<OwnedFd>,
    name: &'static str,
    file: OwnedFd,
    logs: Logs,
    /// How much is in it, and how much was written before it.
    length: u64,
    start: u64,
}

impl LogFile {
    /// Goes on with a file that is open for appending, and called `name` in `directory`.
    pub(crate) fn new(
        directory: Arc<OwnedFd>,
        name: &'static str,
        file: OwnedFd,
        logs: Logs,
    ) -> io::Result<Self> {
        let length = u64::try_from(fstat(&file)?.st_size).unwrap_or(0);
        Ok(Self {
            directory,
            name,
            file,
            logs,
            length,
            start: 0,
        })
    }

    /// Returns what the file is called.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Writes all, to as many files as it takes; lines are kept whole if they come whole and fit.
    /// After an error it is as if what was not written had never been.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            let room = match self.logs.are_bounded() {
                true => self.logs.file_bytes.saturating_sub(self.length),
                false => u64::MAX,
            };
            let (now, later) = bytes.split_at(cut(bytes, room));
            self.append(now)?;
            if later.is_empty() {
                return Ok(());
            }
            bytes = later;
            self.turn()?;
        }
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match write(&self.file, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.length += written as u64;
                    bytes = &bytes[written..];
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Has the next file take the place of this one, or else empties this one.
    fn turn(&mut self) -> io::Result<()> {
        let start = self.start + self.length;
        match self.next(start) {
            Ok(next) => self.file = next,
            // It is not for its task that there is none; the next write tries again.
            Err(
                errno @ (Errno::ENOSPC
                | Errno::EDQUOT
                | Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOMEM
                | Errno::EIO
                | Errno::EROFS),
            ) => return Err(errno.into()),
            Err(_) => {
                ftruncate(&self.file, 0)?;
                mark(&self.file, start);
            }
        }
        self.start = start;
        self.length = 0;
        Ok(())
    }

    fn next(&self, start: u64) -> nix::Result<OwnedFd> {
        let next = self.numbered(NEXT);
        self.clear(&next)?;
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL;
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&*self.directory, next.as_str(), flags, MODE)?;
        let whose = fstat(&*self.directory)?;
        let (uid, gid) = (whose.st_uid, whose.st_gid);
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        mark(&file, start);
        if self.logs.files > 1 {
            self.make_way()?;
            let (from, to) = (self.name, self.numbered("1"));
            let (at, flags) = (&*self.directory, AtFlags::empty());
            match linkat(at, from, at, to.as_str(), flags) {
                // Its task has taken it away; the next one is a new beginning.
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        renameat(&*self.directory, next.as_str(), &*self.directory, self.name)?;
        Ok(file)
    }

    /// Moves all older files on by one; the oldest goes.
    fn make_way(&self) -> nix::Result<()> {
        for number in (1..self.logs.files).rev() {
            let to = self.numbered(&number.to_string());
            self.clear(&to)?;
            if number > 1 {
                let from = self.numbered(&(number - 1).to_string());
                match renameat(
                    &*self.directory,
                    from.as_str(),
                    &*self.directory,
                    to.as_str(),
                ) {
                    Ok(()) | Err(Errno::ENOENT) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(())
    }

    /// Removes what a name stands for, if that is possible at once: no directory with something in
    /// it.
    fn clear(&self, name: &str) -> nix::Result<()> {
        let removed = match unlinkat(&*self.directory, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => {
                unlinkat(&*self.directory, name, UnlinkatFlags::RemoveDir)
            }
            removed => removed,
        };
        match removed {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn numbered(&self, number: &str) -> String {
        format!("{}.{number}", self.name)
    }
}

/// Returns how much of `bytes` goes into a file with so much room: all, or whole lines, or what
/// fits.
fn cut(bytes: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let Some(fits) = bytes.get(..room).filter(|fits| fits.len() < bytes.len()) else {
        return bytes.len();
    };
    let line_break = fits.iter().rposition(|byte| *byte == b'\n');
    line_break.map_or(room, |at| at + 1)
}

/// Notes what was written before a file, where the file system can: else readers take the oldest
/// for the first.
fn mark(file: impl AsFd, start: u64) {
    let value = start.to_string();
    // SAFETY: the name ends with a zero byte, and the value is as long as is said.
    unsafe {
        let value_at = value.as_ptr().cast();
        let file = file.as_fd().as_raw_fd();
        libc::fsetxattr(file, START.as_ptr(), value_at, value.len(), 0)
    };
}

/// Returns how many bytes were written before an open file of output, if it says so.
pub fn start_of(file: impl AsFd) -> Option<u64> {
    let mut value = [0_u8; 20];
    // SAFETY: the name ends with a zero byte, and the buffer is as long as is said.
    let length = unsafe {
        let value_at = value.as_mut_ptr().cast();
        let file = file.as_fd().as_raw_fd();
        libc::fgetxattr(file, START.as_ptr(), value_at, value.len())
    };
    let value = value.get(..usize::try_from(length).ok()?)?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{OpenOptionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn log(dir: &Path, file_bytes: u64, files: u32) -> LogFile {
        let directory = fs::File::open(dir).unwrap();
        let mut options = fs::File::options();
        let options = options.create(true).append(true).mode(0o640);
        let file = options.open(dir.join("stdout")).unwrap();
        let logs = Logs { file_bytes, files };
        LogFile::new(Arc::new(directory.into()), "stdout", file.into(), logs).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    fn text(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn files_take_turns_at_line_breaks_and_the_oldest_goes() {
        // CT-11
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 8, 3);
        log.write(b"one\ntwo\n").unwrap();
        assert_eq!(names(dir.path()), ["stdout"], "a full one waits for more");
        log.write(b"three\nfour\n").unwrap();
        let all = ["stdout", "stdout.1", "stdout.2"];
        assert_eq!(names(dir.path()), all);
        assert_eq!(
            all.map(|name| text(dir.path(), name)),
            ["four\n", "three\n", "one\ntwo\n"]
        );
        // What has no line break is cut where it must.
        log.write(b"0123456789abcdef").unwrap();
        assert_eq!(names(dir.path()), all);
        let whole: String = all
            .iter()
            .rev()
            .map(|name| text(dir.path(), name))
            .collect();
        assert_eq!(whole, "four\n0123456789abcdef");
        assert!(all.iter().all(|name| text(dir.path(), name).len() <= 8));
        assert_eq!(log.start + log.length, 35);
    }

    #[test]
    fn one_file_is_replaced_and_one_without_a_bound_grows() {
        let dir = tempfile::tempdir().unwrap();
        log(dir.path(), 4, 1).write(b"one\ntwo\n").unwrap();
        assert_eq!(names(dir.path()), ["stdout"]);
        assert_eq!(text(dir.path(), "stdout"), "two\n");
        let mut log = log(dir.path(), 0, 1);
        log.write(&[b'x'; 100_000]).unwrap();
        assert_eq!(text(dir.path(), "stdout").len(), 100_004);
    }

    #[test]
    fn nothing_that_the_task_puts_there_is_written_to() {
        // MESOS-9564; CT-11
        let dir = tempfile::tempdir().unwrap();
        let (sandbox, outside) = (dir.path().join("sandbox"), dir.path().join("outside"));
        fs::create_dir(&sandbox).unwrap();
        let at = |name: &str| sandbox.join(name);
        for name in ["stdout.1", "stdout.2", "stdout.next"] {
            for trap in ["link", "dangling", "directory", "full", "hard"] {
                let _ = fs::remove_dir_all(&sandbox);
                fs::create_dir(&sandbox).unwrap();
                fs::write(&outside, "the host's").unwrap();
                let mut log = log(&sandbox, 4, 3);
                log.write(b"one\n").unwrap();
                match trap {
                    "link" => symlink(&outside, at(name)).unwrap(),
                    "dangling" => symlink(dir.path().join("made"), at(name)).unwrap(),
                    "directory" => fs::create_dir(at(name)).unwrap(),
                    "full" => fs::create_dir_all(at(name).join("x")).unwrap(),
                    _ => fs::hard_link(&outside, at(name)).unwrap(),
                }
                for line in [b"two\n", b"thr\n", b"fou\n", b"fiv\n"] {
                    log.write(line).unwrap();
                }
                assert_eq!(text(&sandbox, "stdout"), "fiv\n", "{name} {trap}");
                assert_eq!(text(dir.path(), "outside"), "the host's", "{name} {trap}");
                assert!(!dir.path().join("made").exists(), "{name} {trap}");
                if trap != "full" {
                    assert_eq!(text(&sandbox, "stdout.1"), "fou\n", "{name} {trap}");
                }
            }
        }
    }

    #[test]
    fn its_own_name_taken_away_the_bound_holds_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        for trap in ["gone", "link", "directory"] {
            let sandbox = dir.path().join(trap);
            fs::create_dir(&sandbox).unwrap();
            let mut log = log(&sandbox, 4, 2);
            log.write(b"one\n").unwrap();
            fs::rename(sandbox.join("stdout"), sandbox.join("moved")).unwrap();
            match trap {
                "link" => symlink(outside.path().join("made"), sandbox.join("stdout")).unwrap(),
                "directory" => fs::create_dir_all(sandbox.join("stdout/x")).unwrap(),
                _ => {}
            }
            for _ in 0..100 {
                log.write(b"two\n").unwrap();
            }
            let sizes = fs::read_dir(&sandbox).unwrap();
            let sizes = sizes.map(|entry| entry.unwrap().metadata().unwrap());
            let total: u64 = sizes.filter(|of| of.is_file()).map(|of| of.len()).sum();
            assert!(total <= 12, "{trap}: {total}");
            assert_eq!(names(outside.path()), [""; 0], "{trap}");
        }
    }
}
