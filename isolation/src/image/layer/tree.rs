//! The directory that a layer becomes, as overlayfs wants to have it below others.
//!
//! Nobody else writes there meanwhile; what the layer itself would do to its way is refused: names
//! are resolved below the directory and through no link, whoever made it.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat2};
use nix::sys::stat::{
    Mode, SFlag, UtimensatFlags, fchmod, fstat, futimens, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{
    FchownatFlags, Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat,
};

use super::tar::Entry;
use crate::content::beneath::{beneath, clear, create, kind_of};
use crate::image::sys;

/// What the names of all directories of a layer may take in memory, with this much for each part.
const SEALED_BYTES: usize = 256 << 20;
const PART_BYTES: usize = 48;

/// Where overlayfs keeps what it knows of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// In attributes that only root can set.
    Trusted,
    /// In attributes that anybody can set; such layers are mounted with `userxattr`.
    User,
}

impl Marks {
    pub(in crate::image) fn opaque(self) -> &'static CStr {
        match self {
            Self::Trusted => c"trusted.overlay.opaque",
            Self::User => c"user.overlay.opaque",
        }
    }
}

/// Why an operation was not done.
#[derive(Debug)]
pub(super) enum Fault {
    /// A directory stands in the place.
    Directory,
    /// A hard link to what is not there, or is no file.
    HardLink,
    /// The names of directories take more than so many bytes of memory.
    Names(u64),
    /// The system refused; also where the way is none.
    System(io::Error),
}

impl<E: Into<io::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::System(error.into())
    }
}

type Done = Result<(), Fault>;

/// What a directory gets when all is in it.
struct Seal {
    mode: u32,
    modified: (i64, u32),
}

/// A layer that is being unpacked.
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    marks: Marks,
    /// Whether owners can be given.
    is_root: bool,
    /// The directory that was used last.
    last: Option<(Vec<OsString>, Rc<OwnedFd>)>,
    seals: BTreeMap<Vec<OsString>, Seal>,
    /// How much memory those take, about.
    sealed_bytes: usize,
}

impl Tree {
    /// Begins with an empty directory.
    pub(super) fn new(root: OwnedFd, marks: Marks) -> Self {
        Self {
            root: Rc::new(root),
            marks,
            is_root: nix::unistd::geteuid().is_root(),
            last: None,
            seals: BTreeMap::new(),
            sealed_bytes: 0,
        }
    }

    /// Makes a file, to be filled and then sealed.
    pub(super) fn file(&mut self, parts: &[OsString]) -> Result<File, Fault> {
        let (directory, name) = self.place(parts)?;
        Ok(create(&directory, name)?)
    }

    /// Gives a file its owner, which takes away its capabilities.
    pub(super) fn own(&self, file: &File, entry: &Entry) -> Done {
        if self.is_root {
            let (uid, gid) = owner(entry);
            fchown(file, uid, gid)?;
        }
        Ok(())
    }

    /// Gives a file its mode, which may keep its owner from changing it, and its time.
    pub(super) fn seal(&self, file: &File, entry: &Entry) -> Done {
        fchmod(file, mode(entry.mode))?;
        let time = time(entry.modified);
        Ok(futimens(file, &time, &time)?)
    }

    /// Makes a directory, or changes the one that is there.
    pub(super) fn directory(
        &mut self,
        parts: &[OsString],
        entry: &Entry,
    ) -> Result<Rc<OwnedFd>, Fault> {
        let opened = match parts.split_last() {
            None => Rc::clone(&self.root),
            Some((name, above)) => {
                let directory = self.open(above)?;
                if matches!(kind_of(&directory, name)?, Some(kind) if kind != SFlag::S_IFDIR)
                    && kind_of(&directory, name)? != Some(SFlag::S_IFCHR)
                {
                    clear(&directory, name)?;
                }
                Rc::new(self.descend(&directory, name)?)
            }
        };
        if self.is_root {
            let (uid, gid) = owner(entry);
            fchown(&*opened, uid, gid)?;
        }
        let (mode, modified) = (entry.mode, entry.modified);
        if self
            .seals
            .insert(parts.to_vec(), Seal { mode, modified })
            .is_none()
        {
            let length = |part: &OsString| part.len() + PART_BYTES;
            self.sealed_bytes += PART_BYTES + parts.iter().map(length).sum::<usize>();
        }
        if self.sealed_bytes > SEALED_BYTES {
            return Err(Fault::Names(SEALED_BYTES as u64));
        }
        Ok(opened)
    }

    /// Makes a symbolic link, which nobody here follows.
    pub(super) fn link(&mut self, parts: &[OsString], entry: &Entry, target: &OsStr) -> Done {
        let (directory, name) = self.place(parts)?;
        symlinkat(target, &*directory, name)?;
        self.finish(&directory, name, entry)
    }

    /// Makes a named pipe.
    pub(super) fn pipe(&mut self, parts: &[OsString], entry: &Entry) -> Done {
        let (directory, name) = self.place(parts)?;
        mknodat(&*directory, name, SFlag::S_IFIFO, Mode::S_IRUSR, 0)?;
        self.finish(&directory, name, entry)?;
        // Neither the mask of this process nor a link counts: it was made just now.
        let flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
        Ok(nix::sys::stat::fchmodat(
            &*directory,
            name,
            mode(entry.mode),
            flags,
        )?)
    }

    /// Gives a file of the layer a second name.
    pub(super) fn hard_link(&mut self, parts: &[OsString], target: &[OsString]) -> Done {
        let Some((target_name, above)) = target.split_last() else {
            return Err(Fault::HardLink);
        };
        let mut path = PathBuf::from(".");
        path.extend(above);
        let from = match openat2(&*self.root, &path, beneath(OFlag::O_DIRECTORY)) {
            Ok(from) => from,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => {
                return Err(Fault::HardLink);
            }
            Err(errno) => return Err(errno.into()),
        };
        match kind_of(&from, target_name)? {
            Some(SFlag::S_IFREG | SFlag::S_IFLNK | SFlag::S_IFIFO) => {}
            Some(_) | None => return Err(Fault::HardLink),
        }
        if parts == target {
            return Ok(());
        }
        let (directory, name) = self.place(parts)?;
        let target_name = target_name.as_os_str();
        Ok(linkat(
            &from,
            target_name,
            &*directory,
            name,
            AtFlags::empty(),
        )?)
    }

    /// Hides a name of the layers below; what this layer has of the same name is seen.
    pub(super) fn whiteout(&mut self, above: &[OsString], name: &OsStr) -> Done {
        let directory = self.open(above)?;
        match kind_of(&directory, name)? {
            None => {
                let mode = Mode::empty();
                Ok(mknodat(&*directory, name, SFlag::S_IFCHR, mode, 0)?)
            }
            Some(SFlag::S_IFDIR) => {
                let hidden = openat2(&*directory, name, beneath(OFlag::O_DIRECTORY))?;
                Ok(sys::set_attribute(&hidden, self.marks.opaque(), b"y")?)
            }
            Some(_) => Ok(()),
        }
    }

    /// Hides all that the layers below have in a directory.
    pub(super) fn opaque(&mut self, parts: &[OsString]) -> Done {
        let directory = self.open(parts)?;
        Ok(sys::set_attribute(&*directory, self.marks.opaque(), b"y")?)
    }

    /// Gives all directories their modes and times, the deepest first.
    pub(super) fn finish_all(mut self) -> Done {
        while let Some((parts, seal)) = self.seals.pop_last() {
            let directory = self.walk(&parts)?;
            // Who is not root cannot move a directory that he cannot write to.
            let kept = if parts.is_empty() && !self.is_root {
                0o700
            } else {
                0
            };
            fchmod(&directory, mode(seal.mode | kept))?;
            let time = time(seal.modified);
            futimens(&directory, &time, &time)?;
        }
        Ok(())
    }

    /// A free place for what is no directory.
    fn place<'p>(&mut self, parts: &'p [OsString]) -> Result<(Rc<OwnedFd>, &'p OsStr), Fault> {
        let Some((name, above)) = parts.split_last() else {
            return Err(Fault::Directory);
        };
        let directory = self.open(above)?;
        if kind_of(&directory, name)? == Some(SFlag::S_IFDIR) {
            return Err(Fault::Directory);
        }
        clear(&directory, name)?;
        Ok((directory, name))
    }

    /// Opens a directory, and makes what is missing of it.
    fn open(&mut self, parts: &[OsString]) -> io::Result<Rc<OwnedFd>> {
        if parts.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        // Directories are never removed here, so it is still the one.
        if let Some((last, directory)) = &self.last
            && last == parts
        {
            return Ok(Rc::clone(directory));
        }
        let opened = match self.walk(parts) {
            Ok(opened) => Rc::new(opened),
            Err(_) => {
                let mut directory = Rc::clone(&self.root);
                for part in parts {
                    directory = Rc::new(self.descend(&directory, part)?);
                }
                directory
            }
        };
        self.last = Some((parts.to_vec(), Rc::clone(&opened)));
        Ok(opened)
    }

    fn walk(&self, parts: &[OsString]) -> io::Result<OwnedFd> {
        let mut path = PathBuf::from(".");
        path.extend(parts);
        Ok(openat2(&*self.root, &path, beneath(OFlag::O_DIRECTORY))?)
    }

    /// Makes a directory if it is not there, and opens it. In the place of a whiteout it hides as
    /// much as that did.
    fn descend(&self, at: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        // There are no other devices in a layer.
        let was_hidden = kind_of(at, name)? == Some(SFlag::S_IFCHR);
        if was_hidden {
            unlinkat(at, name, UnlinkatFlags::NoRemoveDir)?;
        }
        let is_made = match mkdirat(at, name, Mode::S_IRWXU) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(errno) => return Err(errno.into()),
        };
        let opened = openat2(at, name, beneath(OFlag::O_DIRECTORY))?;
        if is_made {
            fchmod(&opened, mode(0o755))?;
            if self.is_root && fstat(&opened)?.st_gid != 0 {
                fchown(&opened, Some(Uid::from_raw(0)), Some(Gid::from_raw(0)))?;
            }
        }
        if was_hidden {
            sys::set_attribute(&opened, self.marks.opaque(), b"y")?;
        }
        Ok(opened)
    }

    /// Gives what has just been made its owner and its time.
    fn finish(&self, directory: &OwnedFd, name: &OsStr, entry: &Entry) -> Done {
        if self.is_root {
            let (uid, gid) = owner(entry);
            fchownat(
                directory,
                name,
                uid,
                gid,
                FchownatFlags::AT_SYMLINK_NOFOLLOW,
            )?;
        }
        let time = time(entry.modified);
        let flags = UtimensatFlags::NoFollowSymlink;
        Ok(utimensat(directory, name, &time, &time, flags)?)
    }
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}

fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(bits & 0o7777)
}

fn time((seconds, nanos): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, i64::from(nanos))
}
