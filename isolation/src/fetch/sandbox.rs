//! Writes into a sandbox, through directories that are held and through no link.
//!
//! Whatever a task or an archive put there: every way is resolved by the kernel below the sandbox's
//! own directory and without symbolic links, names are removed and made anew instead of opened for
//! writing, and a file has its owner before it has its name or its mode.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat2, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, futimens, mkdirat};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::unistd::{
    FchownatFlags, Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat,
};

use crate::content::beneath::{beneath, clear, create, is_no_way, kind_of};

/// How unfinished files begin; the sandbox's directory has them until they have their name.
const STAGED: &str = ".tepui-fetch-";
/// What a file may be: neither other users' identity nor anything else of the first four bits.
const PERMISSIONS: u32 = 0o777;

/// Whose the files in a sandbox are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// A sandbox into which items are fetched.
#[derive(Debug)]
pub struct Sandbox {
    directory: OwnedFd,
    owner: Option<Owner>,
    hidden: Vec<PathBuf>,
}

impl Sandbox {
    /// Opens a sandbox; its path may be followed through links. Without an owner, what is fetched
    /// belongs to whoever runs this.
    pub fn open(path: &Path, owner: Option<Owner>) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self::new(open(path, flags, Mode::empty())?, owner))
    }

    /// A sandbox whose directory is open already.
    pub fn new(directory: OwnedFd, owner: Option<Owner>) -> Self {
        Self {
            directory,
            owner,
            hidden: Vec::new(),
        }
    }

    /// Has nothing of the machine fetched that is below these real paths: who has the sandbox is
    /// not to see it.
    #[must_use]
    pub fn hiding(self, hidden: Vec<PathBuf>) -> Self {
        Self { hidden, ..self }
    }

    /// Returns whether a file of the machine is one that is hidden, by whatever way it was found.
    pub(super) fn hides(&self, file: &File) -> io::Result<bool> {
        if self.hidden.is_empty() {
            return Ok(false);
        }
        let real = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Ok(self.hidden.iter().any(|hidden| real.starts_with(hidden)))
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// Makes a file without a name of its own, for content that is not complete yet.
    pub(super) fn stage(&self) -> io::Result<Staged<'_>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!("{STAGED}{}-{number}", std::process::id()));
            match create(&self.directory, &name) {
                Ok(file) => {
                    return Ok(Staged {
                        sandbox: self,
                        file,
                        name: Some(name),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes a file, in the place of what was there before. It has no permissions until `seal`.
    pub(super) fn file(&self, parts: &[OsString]) -> io::Result<File> {
        let (directory, name) = self.parent(parts)?;
        clear(&directory, name)?;
        create(&directory, name)
    }

    /// Gives a complete file its owner, its permissions and its time.
    pub(super) fn seal(&self, file: &File, mode: u32, seconds: Option<i64>) -> io::Result<()> {
        if let Some(Owner { uid, gid }) = self.owner {
            fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        if let Some(seconds) = seconds {
            let time = TimeSpec::seconds(seconds.clamp(0, i64::from(u32::MAX)));
            futimens(file, &time, &time)?;
        }
        Ok(fchmod(file, Mode::from_bits_truncate(mode & PERMISSIONS))?)
    }

    /// Makes a directory, if it is not there. Its own user can always use it.
    pub(super) fn directory(&self, parts: &[OsString], mode: u32) -> io::Result<()> {
        let (directory, name) = self.parent(parts)?;
        self.descend(&directory, name, mode).map(drop)
    }

    /// Makes a symbolic link, in the place of what was there before. The caller has seen to where
    /// it leads.
    pub(super) fn link(&self, parts: &[OsString], target: &OsStr) -> io::Result<()> {
        let (directory, name) = self.parent(parts)?;
        clear(&directory, name)?;
        self.put_link(&directory, name, target)
    }

    /// Makes a symbolic link where nothing is.
    pub(crate) fn link_anew(&self, parts: &[OsString], target: &OsStr) -> io::Result<()> {
        let (directory, name) = self.parent(parts)?;
        self.put_link(&directory, name, target)
    }

    fn put_link(&self, directory: &OwnedFd, name: &OsStr, target: &OsStr) -> io::Result<()> {
        symlinkat(target, directory, name)?;
        if let Some(Owner { uid, gid }) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(
                directory,
                name,
                uid,
                gid,
                FchownatFlags::AT_SYMLINK_NOFOLLOW,
            )?;
        }
        Ok(())
    }

    /// Gives a plain file of the sandbox a second name. `false` if there is no such file.
    pub(super) fn hard_link(&self, parts: &[OsString], target: &[OsString]) -> io::Result<bool> {
        let Some((target, above)) = target.split_last() else {
            return Ok(false);
        };
        let from = match self.walk(above) {
            Ok(from) => from,
            Err(error) if is_no_way(&error) || error.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let (directory, name) = self.parent(parts)?;
        if kind_of(&from, target)? != Some(SFlag::S_IFREG) {
            return Ok(false);
        }
        let same = fstat(&from)?.st_ino == fstat(&directory)?.st_ino && target == name;
        if !same {
            clear(&directory, name)?;
            linkat(
                &from,
                target.as_os_str(),
                &directory,
                name,
                AtFlags::empty(),
            )?;
        }
        Ok(true)
    }

    /// The directory in which `parts` end, made if need be, and the last of them.
    fn parent<'p>(&self, parts: &'p [OsString]) -> io::Result<(OwnedFd, &'p OsStr)> {
        let Some((name, above)) = parts.split_last() else {
            return Err(Errno::EINVAL.into());
        };
        match self.walk(above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            walked => return Ok((walked?, name)),
        }
        let mut directory = self.walk(&[])?;
        for part in above {
            directory = self.descend(&directory, part, 0o755)?;
        }
        Ok((directory, name))
    }

    /// Opens a directory that is there.
    fn walk(&self, parts: &[OsString]) -> io::Result<OwnedFd> {
        let mut path = PathBuf::from(".");
        path.extend(parts);
        Ok(openat2(
            &self.directory,
            &path,
            beneath(OFlag::O_DIRECTORY),
        )?)
    }

    /// Makes a directory if it is not there, and opens it.
    fn descend(&self, at: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
        let is_made = match mkdirat(at, name, Mode::S_IRWXU) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(errno) => return Err(errno.into()),
        };
        let opened = openat2(at, name, beneath(OFlag::O_DIRECTORY))?;
        if is_made {
            if let Some(Owner { uid, gid }) = self.owner {
                fchown(&opened, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
            let mode = (mode & PERMISSIONS) | 0o700;
            fchmod(&opened, Mode::from_bits_truncate(mode))?;
        }
        Ok(opened)
    }
}

/// A file in a sandbox that goes away again unless it is kept.
#[derive(Debug)]
pub(super) struct Staged<'s> {
    sandbox: &'s Sandbox,
    pub(super) file: File,
    name: Option<OsString>,
}

impl Staged<'_> {
    /// Gives the file its name, in the place of what was there before.
    pub(super) fn keep(mut self, parts: &[OsString], mode: u32) -> io::Result<()> {
        let (directory, target) = self.sandbox.parent(parts)?;
        self.sandbox.seal(&self.file, mode, None)?;
        if let Some(name) = &self.name {
            renameat(
                &self.sandbox.directory,
                name.as_os_str(),
                &directory,
                target,
            )?;
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let directory = &self.sandbox.directory;
            if let Err(error) = unlinkat(directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                tracing::warn!(?name, %error, "an unfinished file stays in a sandbox");
            }
        }
    }
}
