//! Quotas of projects, as XFS and ext4 have them: a directory and all that is made in it belong to
//! a project with a number, and the kernel counts and limits what that takes (CT-39). The only file
//! that calls `quotactl`.
//!
//! A file keeps its project as long as it lives, so a number is free again when nothing of it is
//! left, and not before. Whoever owns a file and is not in a user namespace can take it out of its
//! project; containers are refused that by [`crate::Launch::keeps_project`].

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::place::kind_of;

/// The kernel's numbers; `libc` has none of these.
const FS_IOC_FSGETXATTR: libc::c_ulong = 0x801c_581f;
const FS_IOC_FSSETXATTR: libc::c_ulong = 0x401c_5820;
const PROJECT_IS_INHERITED: u32 = 0x200;
const SYS_QUOTACTL_FD: libc::c_long = 443;
const OF_PROJECTS: u32 = 2;
const GET_QUOTA: u32 = 0x0080_0007;
const SET_QUOTA: u32 = 0x0080_0008;
/// What of a quota is told to be changed: the limits on bytes, and on inodes.
const BYTE_LIMITS: u32 = 1;
const FILE_LIMITS: u32 = 4;
/// The unit of limits.
const UNIT_BYTES: u64 = 1024;

/// A range of numbers for projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectIds {
    /// The first; more than zero, which is no project.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl Default for ProjectIds {
    /// As Mesos has it (CT-39).
    fn default() -> Self {
        Self {
            first: 5_000,
            last: 10_000,
        }
    }
}

/// How much a project takes and may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Takes, in bytes.
    pub used: u64,
    /// How many files there are, directories too.
    pub files: u64,
    /// What it may take.
    pub limits: Limits,
}

/// How much a project may take; `None` is any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In bytes.
    pub bytes: Option<u64>,
    /// How many files and directories.
    pub files: Option<u64>,
}

/// A file system that counts what projects take.
#[derive(Debug)]
pub struct Projects {
    directory: OwnedFd,
    path: PathBuf,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent: u32,
    extents: u32,
    project: u32,
    copy_extent: u32,
    rest: [u8; 8],
}

impl Projects {
    /// Finds those of the file system that `path` is on.
    ///
    /// # Errors
    /// If it does not hold quotas of projects now, or the kernel is older than 5.14.
    pub fn of(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::file("open", path, error))?;
        let projects = Self {
            directory: file.into(),
            path: path.to_owned(),
        };
        let asked = projects.ask(1);
        asked.map_err(|error| Error::file("look for quotas of projects of", path, error))?;
        Ok(projects)
    }

    /// Returns what a project takes and may take.
    pub fn quota(&self, project: u32) -> Result<Quota> {
        let quota = self.ask(project);
        let quota = quota.map_err(|error| Error::file("ask for a quota of", &self.path, error))?;
        let limit = quota.dqb_bhardlimit.saturating_mul(UNIT_BYTES);
        let files = quota.dqb_ihardlimit;
        Ok(Quota {
            used: quota.dqb_curspace,
            files: quota.dqb_curinodes,
            limits: Limits {
                bytes: (limit > 0).then_some(limit),
                files: (files > 0).then_some(files),
            },
        })
    }

    /// Limits what a project may take. What it takes already stays.
    pub fn limit(&self, project: u32, limits: Limits) -> Result<()> {
        // SAFETY: numbers only, of which zero is one.
        let mut quota: libc::dqblk = unsafe { std::mem::zeroed() };
        // Zero would be no limit.
        let units = limits.bytes;
        let units = units.map_or(0, |bytes| bytes.div_ceil(UNIT_BYTES).max(1));
        let files = limits.files.map_or(0, |files| files.max(1));
        (quota.dqb_bhardlimit, quota.dqb_bsoftlimit) = (units, units);
        (quota.dqb_ihardlimit, quota.dqb_isoftlimit) = (files, files);
        quota.dqb_valid = BYTE_LIMITS | FILE_LIMITS;
        let set = self.control(SET_QUOTA, project, &mut quota);
        set.map_err(|error| Error::file("set a quota of", &self.path, error))
    }

    /// Gives back a number of which nothing is left. XFS takes files apart a moment after they are
    /// removed.
    ///
    /// # Errors
    /// If something of it is left: it is not free then.
    pub fn free(&self, project: u32) -> Result<()> {
        match self.quota(project)?.used {
            0 => self.limit(project, Limits::default()),
            used => Err(Error::Invalid(format!(
                "project {project} has {used} bytes still"
            ))),
        }
    }

    /// Makes a directory, and what is in it, part of a project; so is what will be made in it. For
    /// one in which nobody makes anything yet.
    pub fn assign(&self, path: &Path, project: u32) -> Result<()> {
        let failed = |error: io::Error| Error::file("make part of a project", path, error);
        let directory = File::open(path).map_err(failed)?;
        assign_tree(directory.as_fd(), project).map_err(failed)
    }

    fn ask(&self, project: u32) -> io::Result<libc::dqblk> {
        // SAFETY: numbers only, of which zero is one.
        let mut quota: libc::dqblk = unsafe { std::mem::zeroed() };
        match self.control(GET_QUOTA, project, &mut quota) {
            // XFS knows nothing of a project that has nothing.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(quota),
            done => done.map(|()| quota),
        }
    }

    fn control(&self, what: u32, project: u32, quota: &mut libc::dqblk) -> io::Result<()> {
        let file = self.directory.as_raw_fd();
        let command = what << 8 | OF_PROJECTS;
        // SAFETY: the structure is the one that the kernel reads and writes for these commands.
        let done = unsafe { libc::syscall(SYS_QUOTACTL_FD, file, command, project, quota) };
        Ok(Errno::result(done).map(drop)?)
    }
}

/// Returns the project that a directory is part of; zero is none.
pub fn project_of(path: &Path) -> Result<u32> {
    let failed = |error: io::Error| Error::file("look at the project of", path, error);
    let directory = File::open(path).map_err(failed)?;
    Ok(attributes(directory.as_fd()).map_err(failed)?.project)
}

fn assign_tree(directory: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    set(directory, project, true)?;
    for entry in nix::dir::Dir::from_fd(directory.try_clone_to_owned()?)?.into_iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let kind = kind_of(&stat);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        if kind == SFlag::S_IFDIR {
            assign_tree(
                openat(directory, name, flags, Mode::empty())?.as_fd(),
                project,
            )?;
        } else if kind == SFlag::S_IFREG {
            set(
                openat(directory, name, flags, Mode::empty())?.as_fd(),
                project,
                false,
            )?;
        }
    }
    Ok(())
}

fn attributes(file: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the structure is the one that this request writes.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSGETXATTR, &raw mut attributes) };
    Errno::result(done)?;
    Ok(attributes)
}

fn set(file: BorrowedFd<'_>, project: u32, is_inherited: bool) -> io::Result<()> {
    let mut attributes = attributes(file)?;
    attributes.project = project;
    if is_inherited {
        attributes.flags |= PROJECT_IS_INHERITED;
    }
    // SAFETY: the structure is the one that this request reads.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSSETXATTR, &raw const attributes) };
    Ok(Errno::result(done).map(drop)?)
}
