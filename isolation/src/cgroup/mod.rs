//! Control groups, versions 1 and 2: where they are, one group for each container, its limits,
//! its end.
//!
//! Called by the launcher. The roots are parameters, so a plain directory can stand in for the
//! kernel's. Processes are never moved by writing `cgroup.procs`: that takes a lock which costs
//! milliseconds on an idle machine (see [`Group::entrance`]).

mod cpu;
mod memory;
mod pids;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::eventfd::EventFd;
use nix::unistd::{AccessFlags, access};
use tepui_core::protocol::container::ContainerLimits;

pub use self::memory::MemoryUse;
pub(crate) use self::pids::Refusals;
use crate::error::{Error, Result};

/// Limits of a group; `None` is none.
pub type Limits = ContainerLimits;

/// How often a directory is made again that somebody else removes.
const CREATIONS: usize = 100;

/// A version of the kernel's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    One,
    /// One hierarchy for all.
    Two,
}

/// Where the controllers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    version: Version,
    cpu: PathBuf,
    memory: PathBuf,
    pids: PathBuf,
}

impl Hierarchies {
    /// Makes hierarchies of version 1 from the mount points of their controllers.
    pub fn version_1(cpu: PathBuf, memory: PathBuf, pids: PathBuf) -> Self {
        Self {
            version: Version::One,
            cpu,
            memory,
            pids,
        }
    }

    /// Makes the hierarchy of version 2 from its mount point.
    pub fn version_2(root: PathBuf) -> Self {
        Self {
            version: Version::Two,
            cpu: root.clone(),
            memory: root.clone(),
            pids: root,
        }
    }

    /// Finds the machine's hierarchies with cpu, memory and pids. On a hybrid machine the
    /// controllers decide: those of version 1 are not in version 2.
    pub fn detect() -> Result<Self> {
        let path = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(path).map_err(|error| Error::file("read", path, error))?;
        let found = Self::among(&mounts)?;
        for directory in found.roots() {
            access(directory, AccessFlags::W_OK)
                .map_err(|errno| Error::file("write to", directory, errno))?;
        }
        Ok(found)
    }

    /// Finds the hierarchies in the text of a `mountinfo` file.
    fn among(mounts: &str) -> Result<Self> {
        let mut missing = Vec::new();
        let mut one = |controller| {
            let found = mount_with(mounts, "cgroup", |options| {
                options.split(',').any(|option| option == controller)
            });
            if found.is_none() {
                missing.push(controller);
            }
            found
        };
        if let (Some(cpu), Some(memory), Some(pids)) = (one("cpu"), one("memory"), one("pids")) {
            return Ok(Self::version_1(cpu, memory, pids));
        }
        let Some(root) = mount_with(mounts, "cgroup2", |_| true) else {
            return Err(Error::NoContainers(format!(
                "no control groups for {}",
                missing.join(", ")
            )));
        };
        let path = root.join("cgroup.controllers");
        let text = fs::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
        let has = |wanted| {
            text.split_whitespace()
                .any(|controller| controller == wanted)
        };
        if !["cpu", "memory", "pids"].into_iter().all(has) {
            return Err(Error::NoContainers(format!(
                "{} has only {:?}",
                path.display(),
                text.trim()
            )));
        }
        Ok(Self::version_2(root))
    }

    /// Describes them for people.
    pub fn describe(&self) -> String {
        match self.version {
            Version::One => "control groups of version 1".to_owned(),
            Version::Two => format!("control groups of version 2 at {}", self.cpu.display()),
        }
    }

    /// Makes the directory `root`, below which groups are made, in every hierarchy.
    pub fn prepare(&self, root: &str) -> Result<()> {
        for hierarchy in self.roots() {
            let path = below(hierarchy, root)?;
            create_all(&path).map_err(|error| Error::file("create", &path, error))?;
            if self.version == Version::Two {
                let mut parents: Vec<&Path> = path.ancestors().collect();
                parents.retain(|parent| parent.starts_with(hierarchy));
                for parent in parents.into_iter().rev() {
                    write(parent, "cgroup.subtree_control", "+cpu +memory +pids")?;
                }
            }
        }
        Ok(())
    }

    /// Names the group of a container below `root`; nothing is made yet.
    pub fn group(&self, root: &str, id: &str) -> Result<Group> {
        let place = |hierarchy| below(&below(hierarchy, root)?, id);
        Ok(Group {
            version: self.version,
            cpu: place(&self.cpu)?,
            memory: place(&self.memory)?,
            pids: place(&self.pids)?,
        })
    }

    /// Lists the groups that are below `root`.
    pub fn groups(&self, root: &str) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for hierarchy in self.roots() {
            let path = below(hierarchy, root)?;
            let entries = fs::read_dir(&path).map_err(|error| Error::file("read", &path, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| Error::file("read", &path, error))?;
                if entry.path().is_dir() {
                    names.extend(entry.file_name().into_string());
                }
            }
        }
        Ok(names)
    }

    /// Removes the empty directory `root` from every hierarchy, and those above it that are empty
    /// then; used when nothing is left below.
    pub fn remove_root(&self, root: &str) -> Result<()> {
        for hierarchy in self.roots() {
            let path = below(hierarchy, root)?;
            remove_tree(&path)?;
            let mut above = path
                .ancestors()
                .skip(1)
                .take_while(|path| *path != hierarchy);
            // The first that stays has others' groups in it.
            while above
                .next()
                .is_some_and(|path| fs::remove_dir(path).is_ok())
            {}
        }
        Ok(())
    }

    fn roots(&self) -> BTreeSet<&Path> {
        BTreeSet::from([&*self.cpu, &*self.memory, &*self.pids])
    }
}

/// The group of one container, in every hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    version: Version,
    cpu: PathBuf,
    memory: PathBuf,
    pids: PathBuf,
}

/// How a new process comes into its groups.
pub(crate) enum Enter<'a> {
    /// Version 1: the open `tasks` files. A process with one thread that writes `0` there enters
    /// without the global lock that `cgroup.procs` takes (milliseconds when idle).
    Tasks(&'a [OwnedFd]),
    /// Version 2: the open directory; the kernel makes the process inside.
    Group(BorrowedFd<'a>),
}

/// The open files through which a child enters a group.
#[derive(Debug)]
pub(crate) struct Entrance {
    version: Version,
    files: Vec<OwnedFd>,
}

impl Entrance {
    /// Returns what the child does.
    pub(crate) fn enter(&self) -> Enter<'_> {
        match self.version {
            Version::One => Enter::Tasks(&self.files),
            Version::Two => Enter::Group(self.files[0].as_fd()),
        }
    }
}

impl Group {
    /// Makes the group and writes its limits.
    pub fn create(&self, limits: &Limits) -> Result<()> {
        for directory in self.directories() {
            fs::create_dir(directory).map_err(|e| Error::file("create", directory, e))?;
        }
        if let Some(cpus) = limits.share.or(limits.cpus) {
            cpu::apply_share(&self.cpu, self.version, cpus)?;
        }
        if let Some(cpus) = limits.cpus {
            cpu::apply_ceiling(&self.cpu, self.version, cpus)?;
        }
        if let Some(mem) = limits.mem {
            memory::apply(&self.memory, self.version, mem)?;
        }
        if let Some(mem) = limits.kept.or(limits.mem) {
            memory::apply_kept(&self.memory, self.version, mem)?;
        }
        if let Some(pids) = limits.pids {
            pids::apply(&self.pids, self.version, pids)?;
        }
        Ok(())
    }

    /// Returns its name below the root, which is that of its container.
    pub(crate) fn name(&self) -> String {
        let name = self.memory.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Lists where it is by controller, for a view from inside; version 2 has one for all, which is
    /// without a name.
    pub(crate) fn views(&self) -> Vec<(String, PathBuf)> {
        let view = |name: &str, path: &Path| (name.to_owned(), path.to_owned());
        match self.version {
            Version::One => vec![
                view("cpu", &self.cpu),
                view("memory", &self.memory),
                view("pids", &self.pids),
            ],
            Version::Two => vec![view("", &self.memory)],
        }
    }

    /// Opens what a new child needs to enter: `tasks` of each hierarchy, or the directory.
    pub(crate) fn entrance(&self) -> Result<Entrance> {
        let open = |path: &Path, write: bool| {
            let file = fs::File::options().read(!write).write(write).open(path);
            let file = file.map_err(|error| Error::file("open", path, error))?;
            Ok::<OwnedFd, Error>(file.into())
        };
        let directories = self.directories().into_iter();
        let files: Result<Vec<OwnedFd>> = match self.version {
            Version::One => directories
                .map(|path| open(&path.join("tasks"), true))
                .collect(),
            Version::Two => directories.map(|path| open(path, false)).collect(),
        };
        Ok(Entrance {
            version: self.version,
            files: files?,
        })
    }

    /// Returns a file that becomes readable when the group is out of memory, where one is
    /// needed.
    pub(crate) fn watch_memory(&self) -> Result<Option<EventFd>> {
        memory::watch(&self.memory, self.version)
    }

    /// Reads how much memory was used and what it led to.
    pub fn memory_use(&self) -> Result<MemoryUse> {
        memory::usage(&self.memory, self.version)
    }

    /// Returns what knows when the limit on processes was last in the way.
    pub(crate) fn watch_forks(&self) -> Result<Refusals> {
        Refusals::watch(&self.pids)
    }

    /// Reads the limit on processes; `None` if there is none.
    pub fn pids_limit(&self) -> Option<u32> {
        let limit = read_number(&self.pids, "pids.max").ok()?;
        u32::try_from(limit).ok()
    }

    /// Kills what is left in the group and removes it. Fails as long as something dies slowly:
    /// try again then.
    pub fn remove(&self) -> Result<()> {
        for directory in self.directories() {
            if let Err(error) = remove_tree(directory) {
                kill_tree(directory, self.version);
                return Err(error);
            }
        }
        Ok(())
    }

    fn directories(&self) -> BTreeSet<&Path> {
        BTreeSet::from([&*self.cpu, &*self.memory, &*self.pids])
    }
}

/// Finds the mount point of type `kind` whose options satisfy `wanted`.
fn mount_with(mounts: &str, kind: &str, wanted: impl Fn(&str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let fits = filesystem.next()? == kind && wanted(filesystem.nth(1)?);
        fits.then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// Joins a relative path of ordinary components.
fn below(parent: &Path, relative: &str) -> Result<PathBuf> {
    let mut parts = relative.split('/');
    if parts.any(|part| matches!(part, "" | "." | "..")) {
        return Err(Error::Invalid(format!(
            "{relative:?} cannot name a control group"
        )));
    }
    Ok(parent.join(relative))
}

/// Makes a directory with those above it, which another launcher that leaves may be removing.
fn create_all(path: &Path) -> io::Result<()> {
    for _ in 0..CREATIONS {
        match fs::create_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            made => return made,
        }
    }
    fs::create_dir_all(path)
}

fn remove_tree(directory: &Path) -> Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if gone(fs::remove_dir(directory)).is_ok() {
        return Ok(());
    }
    // A container may have made groups within its own.
    for child in children(directory) {
        remove_tree(&child)?;
    }
    gone(fs::remove_dir(directory)).map_err(|error| Error::file("remove", directory, error))
}

fn kill_tree(directory: &Path, version: Version) {
    for child in children(directory) {
        kill_tree(&child, version);
    }
    pids::kill_all(directory, version);
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.is_dir()).collect()
}

fn write(group: &Path, file: &'static str, data: &str) -> Result<()> {
    let written = fs::write(group.join(file), data);
    written.map_err(|error| failed(group, file, data.to_owned(), &error))
}

/// Reads one number; `max` is the largest.
fn read_number(group: &Path, file: &str) -> Result<u64> {
    let path = group.join(file);
    let text = fs::read_to_string(&path).map_err(|error| Error::file("read", &path, error))?;
    if text.trim() == "max" {
        return Ok(u64::MAX);
    }
    let number = text.trim().parse();
    number.map_err(|error| Error::file("parse", &path, io::Error::other(error)))
}

fn failed(group: &Path, file: &'static str, data: String, error: &dyn std::error::Error) -> Error {
    let cause = error.source().map(|cause| format!(": {cause}"));
    Error::Cgroup {
        group: group.to_owned(),
        file,
        data,
        message: format!("{error}{}", cause.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_by_their_controllers() {
        let mounts = "\
            30 1 0:9 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            31 30 0:1 / /cg/cpu,cpuacct rw,nosuid shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
            32 30 0:2 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n\
            33 30 0:3 / /cg/memory rw - cgroup cgroup rw,memory\n\
            34 30 0:4 / /cg/pids rw - cgroup cgroup rw,pids\n";
        let found = Hierarchies::among(mounts).unwrap();
        let [cpu, memory, pids] = ["/cg/cpu,cpuacct", "/cg/memory", "/cg/pids"];
        assert_eq!(
            found,
            Hierarchies::version_1(cpu.into(), memory.into(), pids.into())
        );

        let missing = Hierarchies::among("30 1 0:9 / / rw - ext4 x rw\n").unwrap_err();
        let text = "container mode is not possible: no control groups for cpu, memory, pids";
        assert_eq!(missing.to_string(), text);
    }

    #[test]
    fn groups_stay_below_their_root() {
        let hierarchies = Hierarchies::version_2("/cg".into());
        for (root, id) in [
            ("..", "x"),
            ("a//b", "x"),
            ("/a", "x"),
            ("a", ".."),
            ("", "x"),
        ] {
            assert!(hierarchies.group(root, id).is_err(), "{root:?} {id:?}");
        }
        assert!(hierarchies.group("a/b", "x").is_ok());
    }
}
