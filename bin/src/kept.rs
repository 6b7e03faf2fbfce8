//! The files in which a task's output is kept, as they take turns: the newest has its plain name,
//! the one before `.1` added to it, and so on.
//!
//! Whoever writes them always has the plain name lead to some file, and goes on to the next only
//! when the one before has its further name. So one that is open here and has lost the plain name
//! is complete. They lie in the task's sandbox, which may put anything there: only regular files
//! are opened, through no link; what it puts among them only its own readers see. Deliberately not
//! here: who may read, and the bytes.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use tepui_core::limits::LOG_FILES;
use tepui_isolation::logs::start_of;

use crate::sandboxes::open_file;

/// How often files are looked for again that moved on meanwhile.
const TRIES: usize = 16;

/// The output of one kind of one container.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    sandbox: Arc<OwnedFd>,
    name: &'static str,
}

/// Which file it is: its device, and its number there.
type Identity = (u64, u64);

impl Kept {
    /// Names an output in an open sandbox.
    pub(crate) fn new(sandbox: OwnedFd, name: &'static str) -> Self {
        Self {
            sandbox: Arc::new(sandbox),
            name,
        }
    }

    /// Opens the file that has the byte `offset` of all that was ever written, and says where in
    /// it; if that is not kept any more, the oldest there is. Waits for the disk.
    pub(crate) fn open(&self, offset: u64) -> io::Result<(File, u64)> {
        let mut files: Vec<(File, Identity)> = Vec::new();
        // From the newest on: one that moves on meanwhile is seen twice, and none is missed.
        for number in 0..LOG_FILES {
            let file = match self.file(number) {
                Ok(file) => file,
                Err(error) if number == 0 => return Err(error),
                // What is no file of output, and what is not there.
                Err(_) => continue,
            };
            let identity = identity(&file)?;
            if files.iter().all(|(_, seen)| *seen != identity) {
                files.push((file, identity));
            }
        }
        let mut chosen = None;
        let mut start = 0;
        for (file, _) in files.into_iter().rev() {
            let said = start_of(&file);
            start = said.unwrap_or(start);
            let length = file.metadata()?.len();
            if chosen.is_none() || start <= offset {
                chosen = Some((file, offset.saturating_sub(start).min(length)));
            }
            start += length;
        }
        chosen.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens what was written after an open file, if that is complete: the next one, or the oldest
    /// that is kept if there are some between. Waits for the disk.
    pub(crate) fn after(&self, file: &File) -> io::Result<Option<File>> {
        let identity = identity(file)?;
        for _ in 0..TRIES {
            if self.is_at(0, identity) {
                return Ok(None);
            }
            let mut numbers = 1..LOG_FILES;
            let Some(number) = numbers.find(|number| self.is_at(*number, identity)) else {
                return self.oldest_but(identity);
            };
            let next = self.file(number - 1);
            // It was the next one only if this one is still there.
            if let Ok(next) = next
                && self.is_at(number, identity)
            {
                return Ok(Some(next));
            }
        }
        // They go round faster than one can look; the next look may be luckier.
        Ok(None)
    }

    fn oldest_but(&self, before: Identity) -> io::Result<Option<File>> {
        match self.open(0) {
            Ok((file, _)) if identity(&file)? != before => Ok(Some(file)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn file(&self, number: usize) -> io::Result<File> {
        open_file(&*self.sandbox, &self.called(number))
    }

    fn is_at(&self, number: usize, identity: Identity) -> bool {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        let found: Result<_, Errno> = fstatat(&*self.sandbox, self.called(number).as_str(), flags);
        found.is_ok_and(|found| (found.st_dev, found.st_ino) == identity)
    }

    fn called(&self, number: usize) -> String {
        match number {
            0 => self.name.to_owned(),
            _ => format!("{}.{number}", self.name),
        }
    }
}

fn identity(file: &File) -> io::Result<Identity> {
    let of = file.metadata()?;
    Ok((of.dev(), of.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Seek, SeekFrom};
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn kept(dir: &Path) -> Kept {
        Kept::new(File::open(dir).unwrap().into(), "stdout")
    }

    /// Puts a file in the place of the newest, as their writer does.
    fn turn(dir: &Path, text: &str) {
        for number in (1..3).rev() {
            let at = |number| dir.join(format!("stdout.{number}"));
            if at(number).exists() {
                fs::rename(at(number), at(number + 1)).unwrap();
            }
        }
        if dir.join("stdout").exists() {
            fs::hard_link(dir.join("stdout"), dir.join("stdout.1")).unwrap();
        }
        fs::write(dir.join("new"), text).unwrap();
        fs::rename(dir.join("new"), dir.join("stdout")).unwrap();
    }

    fn rest(file: &mut File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    /// What a reader sees from an offset on, who reads to the end.
    fn read(kept: &Kept, offset: u64) -> String {
        let (mut file, at) = kept.open(offset).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        let mut text = rest(&mut file);
        while let Some(mut next) = kept.after(&file).unwrap() {
            text += &rest(&mut next);
            file = next;
        }
        text
    }

    #[test]
    fn what_is_kept_is_read_from_any_byte_on() {
        // CT-11
        let dir = tempfile::tempdir().unwrap();
        let kept = kept(dir.path());
        assert!(kept.open(0).is_err());
        for text in ["one", "two", "three", "four"] {
            turn(dir.path(), text);
        }
        assert_eq!(read(&kept, 0), "onetwothreefour");
        assert_eq!(read(&kept, 4), "wothreefour");
        assert_eq!(read(&kept, 6), "threefour");
        assert_eq!(read(&kept, 12), "our");
        assert_eq!(read(&kept, 99), "");
        // What is open stays in its place in the order, wherever it is.
        let (mut file, _) = kept.open(4).unwrap();
        turn(dir.path(), "five");
        assert_eq!(rest(&mut file), "two");
        let mut next = kept.after(&file).unwrap().unwrap();
        assert_eq!(rest(&mut next), "three");
        // The one after an open one that has gone is the oldest.
        for text in ["six", "seven"] {
            turn(dir.path(), text);
        }
        let mut next = kept.after(&file).unwrap().unwrap();
        assert_eq!(rest(&mut next), "four");
        let (file, _) = kept.open(99).unwrap();
        assert!(kept.after(&file).unwrap().is_none(), "the newest");
    }

    #[test]
    fn what_a_task_puts_among_them_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "the host's").unwrap();
        let kept = kept(dir.path());
        for text in ["one", "two", "three"] {
            turn(dir.path(), text);
        }
        let (mut file, _) = kept.open(0).unwrap();
        assert_eq!(rest(&mut file), "one");
        fs::remove_file(dir.path().join("stdout.1")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("stdout.1")).unwrap();
        assert_eq!(read(&kept, 0), "one", "the one after it is none");
        fs::remove_file(dir.path().join("stdout.2")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("stdout.2")).unwrap();
        assert_eq!(read(&kept, 0), "three");
        fs::remove_file(dir.path().join("stdout")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("stdout")).unwrap();
        assert!(kept.open(0).is_err());
    }
}
