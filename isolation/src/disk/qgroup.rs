//! Quotas of groups of subvolumes, as btrfs has them: a directory becomes a subvolume, which
//! belongs to a group with a number, and the file system counts and limits what that takes (CT-39).
//! The only file that speaks to btrfs.
//!
//! Groups here are of the first level, one for each number; a subvolume's own is of level zero.
//! What a group takes is counted when the file system commits, every half minute or so; its limit
//! is held at once. A subvolume that is made inside would belong to no group: containers are
//! refused that by [`crate::Launch::keeps_project`].

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};

use super::project::{Limits, Quota};
use crate::error::{Error, Result};

/// The kernel's numbers; `libc` has none of these.
const TREE_SEARCH: libc::c_ulong = 0xd000_9411;
const SUBVOLUME_CREATE: libc::c_ulong = 0x5000_9418;
const GROUP_ASSIGN: libc::c_ulong = 0x4018_9429;
const GROUP_CREATE: libc::c_ulong = 0x4010_942a;
const GROUP_LIMIT: libc::c_ulong = 0x8030_942b;
const QUOTA_TREE: u64 = 8;
const INFO: u32 = 242;
const LIMIT: u32 = 244;
const RELATION: u32 = 246;
const MOST_REFERENCED: u64 = 1;
const INHERIT: u64 = 4;
/// No limit, as it is set, and as it is found.
const ANY: u64 = u64::MAX;
/// How many bits the number of a group has below its level.
const LEVEL_BITS: u32 = 48;
const NAME_BYTES: usize = 4_040;
/// What a directory is called before it takes the place of another; its number follows, for others
/// may do the same beside it.
const PART: &str = ".tepui-part";

/// A file system that counts what groups of subvolumes take.
#[derive(Debug)]
pub struct Groups {
    directory: File,
    path: PathBuf,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Key {
    tree: u64,
    objects: [u64; 2],
    offsets: [u64; 2],
    transactions: [u64; 2],
    kinds: [u32; 2],
    count: u32,
    _unused: u32,
    _reserved: [u64; 4],
}

const FOUND_BYTES: usize = 4_096 - size_of::<Key>();

#[repr(C)]
struct Search {
    key: Key,
    found: [u8; FOUND_BYTES],
}

/// What is found: a kind of item, with the two numbers that it is about.
struct Item {
    object: u64,
    offset: u64,
    kind: u32,
    numbers: Vec<u64>,
}

#[repr(C)]
struct Inherit {
    flags: u64,
    count: u64,
    copies: [u64; 2],
    limit: [u64; 5],
    group: u64,
}

#[repr(C)]
struct Create {
    fd: i64,
    transaction: u64,
    flags: u64,
    size: u64,
    inherit: *const Inherit,
    _unused: [u64; 2],
    name: [u8; NAME_BYTES],
}

#[repr(C)]
struct Assign {
    add: u64,
    source: u64,
    group: u64,
}

#[repr(C)]
struct Make {
    create: u64,
    group: u64,
}

#[repr(C)]
struct Limit {
    group: u64,
    flags: u64,
    referenced: u64,
    exclusive: u64,
    _reservations: [u64; 2],
}

const fn of_number(number: u32) -> u64 {
    1 << LEVEL_BITS | number as u64
}

impl Groups {
    /// Finds those of the file system that `path` is on; `None` if that is no btrfs.
    ///
    /// # Errors
    /// If it does not count what groups take: `btrfs quota enable` has it do so.
    pub fn of(path: &Path) -> Result<Option<Self>> {
        let failed = |error| Error::file("open", path, error);
        let directory = File::open(path).map_err(failed)?;
        let kind = fstatfs(&directory).map_err(|errno| failed(errno.into()))?;
        if kind.filesystem_type() != BTRFS_SUPER_MAGIC {
            return Ok(None);
        }
        let groups = Self {
            directory,
            path: path.to_owned(),
        };
        let asked = groups.search((0, u64::MAX), (INFO, INFO));
        asked.map_err(|error| {
            Error::file("look for quotas (`btrfs quota enable`) of", path, error)
        })?;
        Ok(Some(groups))
    }

    /// Returns what a group takes and may take.
    pub fn quota(&self, number: u32) -> Result<Quota> {
        let failed = |error| Error::file("ask for a quota of", &self.path, error);
        let group = of_number(number);
        let items = self.search((group, group), (INFO, LIMIT)).map_err(failed)?;
        let of = |kind| {
            let mut items = items.iter();
            items.find(move |item| item.object == 0 && item.kind == kind)
        };
        // Of a group that is not there yet nothing is found.
        let used = of(INFO).and_then(|item| item.numbers.get(1).copied());
        let limit = of(LIMIT).filter(|item| item.numbers.first().copied().unwrap_or(0) & 1 != 0);
        let limit = limit.and_then(|item| item.numbers.get(1).copied());
        Ok(Quota {
            used: used.unwrap_or_default(),
            files: 0,
            limits: Limits {
                bytes: limit.filter(|&limit| limit != ANY),
                files: None,
            },
        })
    }

    /// Limits what a group may take; of files there may be any number, for btrfs has no inodes to
    /// run out of.
    pub fn limit(&self, number: u32, limits: Limits) -> Result<()> {
        let failed = |error| Error::file("set a quota of", &self.path, error);
        self.make(of_number(number)).map_err(failed)?;
        let limit = Limit {
            group: of_number(number),
            flags: MOST_REFERENCED,
            referenced: limits.bytes.unwrap_or(ANY),
            exclusive: 0,
            _reservations: [0; 2],
        };
        self.ask(GROUP_LIMIT, &raw const limit).map_err(failed)
    }

    /// Makes a directory, with what is in it, a subvolume that belongs to a group. For one in which
    /// nobody makes anything yet.
    pub fn assign(&self, path: &Path, number: u32) -> Result<()> {
        let failed = |error| Error::file("make a subvolume of", path, error);
        self.make(of_number(number)).map_err(failed)?;
        let above = path.parent().unwrap_or_else(|| Path::new("/"));
        let name = format!("{PART}-{number}");
        let part = above.join(&name);
        // What somebody died over who made it.
        removed(&part).map_err(failed)?;
        create(above, &name, of_number(number)).map_err(failed)?;
        copy(path, &part).map_err(failed)?;
        fs::remove_dir_all(path).map_err(failed)?;
        fs::rename(&part, path).map_err(failed)
    }

    /// Gives back a number of which nothing is left.
    pub fn free(&self, number: u32) -> Result<()> {
        let failed = |error| Error::file("remove a quota of", &self.path, error);
        let group = of_number(number);
        let all = (0, u64::MAX);
        let relations = self.search(all, (RELATION, RELATION)).map_err(failed)?;
        let below = relations.iter().filter(|item| item.object == group);
        for item in below.filter(|item| item.offset >> LEVEL_BITS == 0) {
            let assign = Assign {
                add: 0,
                source: item.offset,
                group,
            };
            self.ask(GROUP_ASSIGN, &raw const assign).map_err(failed)?;
            // One of a subvolume that is not quite gone goes with it.
            match self.remove(item.offset) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                removed => removed.map_err(failed)?,
            }
        }
        self.remove(group).map_err(failed)
    }

    fn make(&self, group: u64) -> io::Result<()> {
        let make = Make { create: 1, group };
        match self.ask(GROUP_CREATE, &raw const make) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            made => made,
        }
    }

    fn remove(&self, group: u64) -> io::Result<()> {
        let make = Make { create: 0, group };
        match self.ask(GROUP_CREATE, &raw const make) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            removed => removed,
        }
    }

    fn ask<T>(&self, request: libc::c_ulong, about: *const T) -> io::Result<()> {
        // SAFETY: each request is made with the structure that it reads, which lives through it.
        let done = unsafe { libc::ioctl(self.directory.as_raw_fd(), request, about) };
        Ok(Errno::result(done).map(drop)?)
    }

    /// Reads what the tree of quotas has: items of these kinds about these offsets.
    fn search(&self, offsets: (u64, u64), kinds: (u32, u32)) -> io::Result<Vec<Item>> {
        let mut all = Vec::new();
        let mut key = Key {
            tree: QUOTA_TREE,
            objects: [0, u64::MAX],
            offsets: [0, u64::MAX],
            transactions: [0, u64::MAX],
            kinds: [kinds.0, kinds.1],
            ..Key::default()
        };
        loop {
            key.count = u32::MAX;
            let mut search = Search {
                key,
                found: [0; FOUND_BYTES],
            };
            // SAFETY: the structure is the one that this request reads and writes.
            let done =
                unsafe { libc::ioctl(self.directory.as_raw_fd(), TREE_SEARCH, &raw mut search) };
            Errno::result(done)?;
            let items = items(&search.found, search.key.count);
            let Some(last) = items.last() else {
                return Ok(all);
            };
            // The keys are in order of object, kind and offset together.
            let Some(next) = last.offset.checked_add(1) else {
                return Ok(all);
            };
            key.objects[0] = last.object;
            key.kinds[0] = last.kind;
            key.offsets[0] = next;
            all.extend(items.into_iter().filter(|item| {
                (kinds.0..=kinds.1).contains(&item.kind)
                    && (offsets.0..=offsets.1).contains(&item.offset)
            }));
        }
    }
}

/// Reads items: a head of 32 bytes, and numbers.
fn items(mut bytes: &[u8], count: u32) -> Vec<Item> {
    let number = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let half = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    // The head is in the order of this machine; btrfs' own numbers begin with the lowest byte.
    let native = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let mut items = Vec::new();
    for _ in 0..count {
        let head = (
            native(bytes, 8),
            native(bytes, 16),
            half(bytes, 24),
            half(bytes, 28),
        );
        let (Some(object), Some(offset), Some(kind), Some(length)) = head else {
            break;
        };
        let Some(body) = bytes.get(32..32 + length as usize) else {
            break;
        };
        let numbers = (0..body.len() / 8).filter_map(|n| number(body, 8 * n));
        items.push(Item {
            object,
            offset,
            kind,
            numbers: numbers.collect(),
        });
        bytes = &bytes[32 + length as usize..];
    }
    items
}

/// Makes a subvolume that belongs to a group.
fn create(above: &Path, name: &str, group: u64) -> io::Result<()> {
    let directory = File::open(above)?;
    let inherit = Inherit {
        flags: 0,
        count: 1,
        copies: [0; 2],
        limit: [0; 5],
        group,
    };
    let mut create = Create {
        fd: 0,
        transaction: 0,
        flags: INHERIT,
        size: size_of::<Inherit>() as u64,
        inherit: &raw const inherit,
        _unused: [0; 2],
        name: [0; NAME_BYTES],
    };
    create.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the structures are those that this request reads, and live through it.
    let done = unsafe { libc::ioctl(directory.as_raw_fd(), SUBVOLUME_CREATE, &raw const create) };
    Ok(Errno::result(done).map(drop)?)
}

/// Copies what an agent has made in a directory until now: directories, files and links.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy(&path, &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path)?, &target)?;
            let owner = fs::symlink_metadata(&path)?;
            std::os::unix::fs::lchown(&target, Some(owner.uid()), Some(owner.gid()))?;
        } else {
            fs::copy(&path, &target)?;
            resemble(&path, &target)?;
        }
    }
    resemble(from, to)
}

/// Gives a file or directory the owner and the mode of another.
fn resemble(from: &Path, to: &Path) -> io::Result<()> {
    let like = fs::metadata(from)?;
    std::os::unix::fs::chown(to, Some(like.uid()), Some(like.gid()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(like.mode() & 0o7777))
}

/// Removes a subvolume, if it is there: an empty one goes as a directory does.
fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
