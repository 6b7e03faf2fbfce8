//! Paths inside a container's root. Every look-up is done by the kernel with that root as its own
//! (`openat2`), so neither a link of an image nor a container that moves things about meanwhile
//! leads out of it.
//!
//! Used by a container's init for everything that it opens, makes or mounts in a root which others
//! have filled.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use crate::error::{Error, Result};

/// How often a look-up is tried again that others' renames have disturbed.
const TRIES: usize = 64;

/// A directory that is the root of all look-ups.
#[derive(Debug)]
pub(crate) struct Inside {
    root: OwnedFd,
    /// What it is called in errors.
    name: PathBuf,
    /// Whether what is missing may be made.
    makes: bool,
    /// Which directory of it others fill: what is missing there may be made.
    below: Option<PathBuf>,
    /// Whose it is to be, if not ours.
    owner: Option<(Uid, Gid)>,
}

/// Makes files as another user, with all our capabilities, until it is dropped.
pub(crate) struct Acting(Option<(Uid, Gid)>);

impl Acting {
    /// Leaves a thread's capabilities alone when its user changes.
    const NO_SETUID_FIXUP: libc::c_int = 1 << 2;

    pub(crate) fn as_user(user: Option<(Uid, Gid)>) -> Result<Self> {
        let Some((uid, gid)) = user else {
            return Ok(Self(None));
        };
        Self::keep(Self::NO_SETUID_FIXUP)?;
        let acting = Self(Some((setfsuid(uid), setfsgid(gid))));
        Ok(acting)
    }

    fn keep(bits: libc::c_int) -> Result<()> {
        // SAFETY: plain numbers; those that are not used are zero.
        let done = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits, 0, 0, 0) };
        Errno::result(done).map_err(|errno| Error::system("act for a user", errno))?;
        Ok(())
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.0 {
            setfsuid(uid);
            setfsgid(gid);
            // What could be set can be taken back.
            let _ = Self::keep(0);
        }
    }
}

/// What is to be at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

impl Inside {
    /// Makes a directory the root; errors call it `name`.
    pub(crate) fn new(root: OwnedFd, name: impl Into<PathBuf>, makes: bool) -> Self {
        let name = name.into();
        Self {
            root,
            name,
            makes,
            below: None,
            owner: None,
        }
    }

    /// Others fill this directory of it: targets below are looked up, and made, inside it.
    pub(crate) fn making_below(self, directory: &Path) -> Self {
        let below = Some(directory.to_owned());
        Self { below, ..self }
    }

    /// What is made belongs to this user.
    pub(crate) fn owned_by(self, owner: Option<(Uid, Gid)>) -> Self {
        Self { owner, ..self }
    }

    /// Opens a directory of the host as the root.
    pub(crate) fn open(path: &Path, makes: bool) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(path, flags, Mode::empty());
        let root = root.map_err(|errno| Error::file("open", path, errno))?;
        Ok(Self::new(root, path, makes))
    }

    /// Returns the root itself.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Finds what is at a path, following links inside; `None` if there is nothing.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.resolve(path, OFlag::O_PATH) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(self.failed("open", path, errno)),
        }
    }

    /// Opens a file for reading; `None` if there is none, or it is not an ordinary file.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<OwnedFd>> {
        // A pipe in its place must not hold us up.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = match self.resolve(path, flags) {
            Ok(file) => file,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENXIO) => return Ok(None),
            Err(errno) => return Err(self.failed("open", path, errno)),
        };
        let stat = self.stat(path, &file)?;
        Ok((kind_of(&stat) == SFlag::S_IFREG).then_some(file))
    }

    /// Opens a device for reading and writing, if `is_wanted` says so of what is there.
    pub(crate) fn device(
        &self,
        path: &Path,
        is_wanted: impl Fn(&FileStat) -> bool,
    ) -> Result<OwnedFd> {
        let refused = || self.failed("use", path, Errno::ENODEV);
        let found = self.resolved(path)?;
        if !is_wanted(&self.stat(path, &found)?) {
            return Err(refused());
        }
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let opened = self.resolve(path, flags);
        let opened = opened.map_err(|errno| self.failed("open", path, errno))?;
        // It could have been put in the place of what was looked at.
        match is_wanted(&self.stat(path, &opened)?) {
            true => Ok(opened),
            false => Err(refused()),
        }
    }

    /// Finds a directory or file to mount on, and makes it with all above it if it is missing.
    pub(crate) fn target(&self, path: &Path, kind: Kind) -> Result<OwnedFd> {
        if let Some(below) = &self.below
            && let Ok(rest) = path.strip_prefix(below)
        {
            // What others fill is a root of its own: no link in it leads out.
            let directory = self.resolved(below)?;
            let owner = self.owner;
            return Self::new(directory, below, true)
                .owned_by(owner)
                .target(rest, kind);
        }
        let found = match self.find(path)? {
            Some(found) => found,
            None if self.makes => self.make(path, kind)?,
            None => return Err(self.failed("mount on", path, Errno::ENOENT)),
        };
        let is_directory = kind_of(&self.stat(path, &found)?) == SFlag::S_IFDIR;
        match (kind, is_directory) {
            (Kind::Directory, true) | (Kind::File, false) => Ok(found),
            (Kind::Directory, false) => Err(self.failed("mount on", path, Errno::ENOTDIR)),
            (Kind::File, true) => Err(self.failed("mount on", path, Errno::EISDIR)),
        }
    }

    /// Makes what is missing of a path. Each step looks the part before it up again, from the
    /// root: what a link leads to is made where it leads inside.
    fn make(&self, path: &Path, kind: Kind) -> Result<OwnedFd> {
        let parts: Vec<&OsStr> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name),
                Component::Prefix(_)
                | Component::RootDir
                | Component::CurDir
                | Component::ParentDir => None,
            })
            .collect();
        let mut at = PathBuf::from(".");
        let mut parent = self.resolved(&at)?;
        for (index, name) in parts.iter().enumerate() {
            at.push(name);
            parent = match self.find(&at)? {
                Some(found) => found,
                None => {
                    let is_last = index + 1 == parts.len();
                    let kind = if is_last { kind } else { Kind::Directory };
                    self.make_one(&parent, name, &at, kind)?;
                    self.resolved(&at)?
                }
            };
        }
        Ok(parent)
    }

    fn make_one(&self, parent: &OwnedFd, name: &OsStr, at: &Path, kind: Kind) -> Result<()> {
        let _acting = Acting::as_user(self.owner)?;
        let made = match kind {
            Kind::Directory => mkdirat(parent, name, Mode::from_bits_truncate(0o755)),
            Kind::File => {
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
                let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                openat(parent, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
            }
        };
        match made {
            // Somebody was faster; or it is a link to nothing, which the next look-up tells.
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(self.failed("create", at, errno)),
        }
    }

    fn resolved(&self, path: &Path) -> Result<OwnedFd> {
        let found = self.resolve(path, OFlag::O_PATH);
        found.map_err(|errno| self.failed("open", path, errno))
    }

    fn resolve(&self, path: &Path, flags: OFlag) -> std::result::Result<OwnedFd, Errno> {
        let path = match path {
            empty if empty.as_os_str().is_empty() => Path::new("."),
            path => path,
        };
        // Magic links are those of /proc, which lead to what a process has open, wherever it is.
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(resolve);
        let mut tries = 1;
        loop {
            match openat2(&self.root, path, how) {
                // Somebody renamed something above a `..` meanwhile.
                Err(Errno::EAGAIN | Errno::EINTR) if tries < TRIES => tries += 1,
                opened => return opened,
            }
        }
    }

    fn stat(&self, path: &Path, file: impl AsFd) -> Result<FileStat> {
        fstat(file).map_err(|errno| self.failed("look at", path, errno))
    }

    fn failed(&self, action: &'static str, path: &Path, errno: Errno) -> Error {
        let below = path.strip_prefix("/").unwrap_or(path);
        Error::file(action, &self.name.join(below), errno)
    }
}

/// Returns what kind of file something is.
pub(crate) fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// A root with links that lead everywhere, and a directory outside.
    fn trap() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let [root, outside] = ["root", "outside"].map(|name| dir.path().join(name));
        for made in [&root, &outside] {
            fs::create_dir(made).unwrap();
        }
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("../../../../../../..", root.join("up")).unwrap();
        symlink("/nowhere/at/all", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/proc/self/cwd", root.join("magic")).unwrap();
        (dir, root, outside)
    }

    #[test]
    fn no_link_leads_out_and_nothing_is_made_outside() {
        // CT-41, CT-44
        let (_dir, root, outside) = trap();
        let inside = Inside::open(&root, true).unwrap();
        for (number, link) in ["absolute", "relative", "up", "dangling"]
            .iter()
            .enumerate()
        {
            let path = format!("/{link}/made{number}/deeper");
            // A link to nothing inside is no directory; the rest is made inside, or not at all.
            let _ = inside.target(Path::new(&path), Kind::Directory);
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{link} led out");
        }
        assert!(root.join("made2/deeper").is_dir(), "`..` stops at the root");
        assert!(inside.target(Path::new("/loop/x"), Kind::File).is_err());
        // What a runtime that joins paths would do: the guard is what stops it.
        fs::create_dir(root.join("absolute").join("escaped")).unwrap();
        assert!(outside.join("escaped").is_dir());
    }

    #[test]
    fn what_others_fill_leads_nowhere_out_of_it() {
        // CT-45: a link that a task planted where something is to be mounted
        let dir = tempfile::tempdir().unwrap();
        let (filled, other) = (dir.path().join("filled"), dir.path().join("other"));
        fs::create_dir(&filled).unwrap();
        fs::create_dir(&other).unwrap();
        symlink(&other, filled.join("out")).unwrap();
        let root = Inside::open(Path::new("/"), false)
            .unwrap()
            .making_below(&filled);
        root.target(&filled.join("a/b"), Kind::Directory).unwrap();
        assert!(filled.join("a/b").is_dir());
        // The link is read from what is filled: where it leads there is made inside.
        let made = root.target(&filled.join("out/made"), Kind::Directory);
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0, "{made:?}");
        assert!(root.target(&other.join("new"), Kind::Directory).is_err());
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_of_another_kind_is_refused() {
        let (_dir, root, _outside) = trap();
        let inside = Inside::open(&root, true).unwrap();
        let path = Path::new("/a/b/file");
        let made = inside.target(path, Kind::File).unwrap();
        let there = fs::metadata(root.join("a/b/file")).unwrap();
        assert_eq!(fstat(&made).unwrap().st_ino, there.ino());
        assert!(inside.target(path, Kind::Directory).is_err());
        assert!(inside.target(Path::new("/a"), Kind::File).is_err());
        assert!(inside.read(path).unwrap().is_some());
        assert!(inside.read(Path::new("/a")).unwrap().is_none());
        assert!(inside.read(Path::new("/none/x")).unwrap().is_none());
        nix::unistd::mkfifo(&root.join("fifo"), Mode::S_IRWXU).unwrap();
        assert!(inside.read(Path::new("/fifo")).unwrap().is_none());
        let strict = Inside::open(&root, false).unwrap();
        let error = strict
            .target(Path::new("/new"), Kind::Directory)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("new: ENOENT: No such file or directory")
                || error.to_string().contains("No such file"),
            "{error}"
        );
        assert!(!root.join("new").exists());
    }
}
