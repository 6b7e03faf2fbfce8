//! Where the machine's controllers are: version 1, version 2, or both beside each other.
//!
//! Found at start and told to people. Deliberately not here: what is written in a group.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::group::Group;
use super::settings::{Settings, missing, no_pressure};
use super::{bpf, cpuset, files};
use crate::error::{Error, Result};

/// A version of the kernel's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// One hierarchy for each controller.
    One,
    /// One hierarchy for all.
    Two,
}

/// What can be limited or counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Shares and ceilings of CPU time.
    Cpu,
    /// How much CPU time was used.
    CpuAccounting,
    /// Memory and swap.
    Memory,
    /// The number of processes and threads.
    Pids,
    /// Which CPUs and memory nodes are used.
    CpuSet,
    /// Reading from and writing to block devices.
    BlockIo,
    /// Which device files can be opened.
    Devices,
    /// Huge pages.
    HugePages,
    /// Stopping all processes at once.
    Freezer,
}

/// Everything that is looked for.
const ALL: [Controller; 9] = [
    Controller::Cpu,
    Controller::CpuAccounting,
    Controller::Memory,
    Controller::Pids,
    Controller::CpuSet,
    Controller::BlockIo,
    Controller::Devices,
    Controller::HugePages,
    Controller::Freezer,
];
/// What a group of version 2 keeps of its memory, in bytes.
const KEPT: &str = "memory.low";
/// Without these there are no containers.
const REQUIRED: [Controller; 3] = [Controller::Cpu, Controller::Memory, Controller::Pids];

impl Controller {
    /// Its name in version 1.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuAccounting => "cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::CpuSet => "cpuset",
            Self::BlockIo => "blkio",
            Self::Devices => "devices",
            Self::HugePages => "hugetlb",
            Self::Freezer => "freezer",
        }
    }

    /// Its name in version 2, if it has to be enabled there; every group has the others.
    fn enabled_as(self) -> Option<&'static str> {
        match self {
            Self::Cpu | Self::Memory | Self::Pids | Self::CpuSet | Self::HugePages => {
                Some(self.name())
            }
            Self::BlockIo => Some("io"),
            Self::CpuAccounting | Self::Devices | Self::Freezer => None,
        }
    }
}

/// A place in one hierarchy: of its top, or of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: Version,
    pub(super) path: PathBuf,
}

/// Where the controllers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    places: BTreeMap<Controller, Place>,
    /// The hierarchy of version 2, which may stand beside those of version 1 and then has few
    /// controllers or none, but kills, freezes and tells pressure.
    unified: Option<PathBuf>,
}

impl Hierarchies {
    /// Makes hierarchies of version 1 from the mount points of their controllers.
    pub fn version_1(cpu: PathBuf, memory: PathBuf, pids: PathBuf) -> Self {
        let paths = REQUIRED.into_iter().zip([cpu, memory, pids]);
        let version = Version::One;
        let places = paths.map(|(controller, path)| (controller, Place { version, path }));
        Self {
            places: places.collect(),
            unified: None,
        }
    }

    /// Makes the hierarchy of version 2 from its mount point, with those controllers that it says
    /// it has beside cpu, memory and pids.
    pub fn version_2(root: PathBuf) -> Self {
        let has = controllers_of(&root).unwrap_or_default();
        let mut places = BTreeMap::new();
        for controller in ALL {
            let name = controller.enabled_as();
            if REQUIRED.contains(&controller) || name.is_none_or(|name| has.contains(name)) {
                let (version, path) = (Version::Two, root.clone());
                places.insert(controller, Place { version, path });
            }
        }
        Self {
            places,
            unified: Some(root),
        }
    }

    /// Adds a hierarchy of version 1 for one more controller.
    #[must_use]
    pub fn with(mut self, controller: Controller, path: PathBuf) -> Self {
        let version = Version::One;
        self.places.insert(controller, Place { version, path });
        self
    }

    /// Adds the hierarchy of version 2 that stands beside those of version 1, for what these do
    /// not have.
    #[must_use]
    pub fn beside(mut self, unified: PathBuf) -> Self {
        let theirs = Self::version_2(unified);
        let has = theirs.unified.as_deref().map(controllers_of);
        let has = has.and_then(Result::ok).unwrap_or_default();
        for (controller, place) in theirs.places {
            let name = controller.enabled_as();
            if name.is_none_or(|name| has.contains(name)) {
                self.places.entry(controller).or_insert(place);
            }
        }
        self.unified = theirs.unified;
        self
    }

    /// Finds the machine's hierarchies. On a hybrid machine a controller is in one of them only.
    ///
    /// # Errors
    /// If cpu, memory or pids is nowhere, or cannot be written to.
    pub fn detect() -> Result<Self> {
        let path = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(path).map_err(|error| Error::file("read", path, error))?;
        let mut found = Self::among(&mounts)?;
        let required: BTreeSet<PathBuf> = REQUIRED
            .iter()
            .filter_map(|controller| Some(found.places.get(controller)?.path.clone()))
            .collect();
        for directory in &required {
            access(&**directory, AccessFlags::W_OK)
                .map_err(|errno| Error::file("write to", directory, errno))?;
        }
        // What cannot be written to is as good as not there.
        let usable = |path: &Path| access(path, AccessFlags::W_OK).is_ok();
        found.places.retain(|_, place| usable(&place.path));
        found.unified = found.unified.filter(|path| usable(path));
        // Nor is a guard over devices that the kernel refuses.
        let guard = found.version_of(Controller::Devices);
        if guard == Some(Version::Two) && !bpf::is_possible() {
            found.places.remove(&Controller::Devices);
        }
        Ok(found)
    }

    /// Finds the hierarchies in the text of a `mountinfo` file.
    fn among(mounts: &str) -> Result<Self> {
        let unified = mount_with(mounts, "cgroup2", |_| true);
        let mut found = Self {
            places: BTreeMap::new(),
            unified: None,
        };
        for controller in ALL {
            let path = mount_with(mounts, "cgroup", |options| {
                options.split(',').any(|option| option == controller.name())
            });
            if let Some(path) = path {
                found = found.with(controller, path);
            }
        }
        let lacks = |found: &Self, controller: &Controller| !found.places.contains_key(controller);
        let missing = REQUIRED.iter().filter(|one| lacks(&found, one));
        let missing: Vec<&str> = missing.map(|one| one.name()).collect();
        let Some(unified) = unified else {
            return match missing.is_empty() {
                true => Ok(found),
                false => Err(Error::NoContainers(format!(
                    "no control groups for {}",
                    missing.join(", ")
                ))),
            };
        };
        let path = unified.join("cgroup.controllers");
        let found = found.beside(unified);
        if REQUIRED.iter().any(|one| lacks(&found, one)) {
            let text = fs::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
            let text = text.trim();
            return Err(Error::NoContainers(format!(
                "no control groups for {}: {} has only {text:?}",
                missing.join(", "),
                path.display(),
            )));
        }
        Ok(found)
    }

    /// Describes them for people: which versions, which controllers, and what is missing.
    pub fn describe(&self) -> String {
        let of = |version| {
            let places = self.places.iter();
            let names =
                places
                    .filter(|(_, place)| place.version == version)
                    .map(|(controller, _)| match version {
                        Version::One => controller.name(),
                        Version::Two => {
                            controller.enabled_as().unwrap_or_else(|| controller.name())
                        }
                    });
            names.collect::<Vec<_>>().join(", ")
        };
        let missing = ALL.iter().filter(|one| !self.places.contains_key(one));
        let missing: Vec<&str> = missing.map(|one| one.name()).collect();
        let missing = match missing.is_empty() {
            true => String::new(),
            false => format!("; missing: {}", missing.join(", ")),
        };
        let two = || {
            let root = self
                .unified
                .as_deref()
                .unwrap_or_else(|| Path::new(""))
                .display();
            format!("{root} ({})", of(Version::Two))
        };
        match self.layout() {
            Layout::One => format!(
                "control groups of version 1 ({}){missing}",
                of(Version::One)
            ),
            Layout::Two => format!("control groups of version 2 at {}{missing}", two()),
            Layout::Hybrid => format!(
                "control groups of version 1 ({}) beside version 2 at {}{missing}",
                of(Version::One),
                two()
            ),
        }
    }

    /// Says which versions are in use.
    pub fn layout(&self) -> Layout {
        let any_one = self.places.values().any(|one| one.version == Version::One);
        match (any_one, &self.unified) {
            (true, Some(_)) => Layout::Hybrid,
            (true, None) => Layout::One,
            (false, _) => Layout::Two,
        }
    }

    /// Says where a controller is; `None` if it is missing.
    pub fn version_of(&self, controller: Controller) -> Option<Version> {
        self.places.get(&controller).map(|place| place.version)
    }

    /// Refuses what containers cannot have here.
    ///
    /// # Errors
    /// If a setting cannot be, or needs what the machine does not have: [`Error::Unsupported`].
    pub fn check(&self, settings: &Settings) -> Result<()> {
        settings.check()?;
        let mut needs = settings.needs().into_iter();
        if let Some((knob, controller)) = needs.find(|(_, at)| !self.places.contains_key(at)) {
            return Err(missing(knob, controller));
        }
        match settings.accounts.pressure && self.unified.is_none() {
            true => Err(no_pressure()),
            false => Ok(()),
        }
    }

    /// Has the groups of all containers together keep so many bytes of memory when others want
    /// them. In version 2 no group keeps more than those above it; in version 1 each does so by
    /// itself.
    pub fn keep(&self, root: &str, bytes: u64) -> Result<()> {
        let memory = self.places.get(&Controller::Memory);
        let Some(memory) = memory.filter(|place| place.version == Version::Two) else {
            return Ok(());
        };
        let path = files::below(&memory.path, root)?;
        files::write(&path, KEPT, &bytes.to_string())?;
        // Above them are other agents' too: of each as much as it says.
        let above = path.ancestors().skip(1);
        for parent in above.take_while(|parent| *parent != memory.path) {
            let children = files::children(parent).into_iter();
            let mut kept = children.map(|child| files::read_number_if_there(&child, KEPT));
            let sum = kept.try_fold(0_u64, |sum, kept| {
                Ok::<u64, Error>(sum.saturating_add(kept?.unwrap_or(0)))
            })?;
            files::write(parent, KEPT, &sum.to_string())?;
        }
        Ok(())
    }

    /// Makes the directory `root`, below which groups are made, in every hierarchy.
    pub fn prepare(&self, root: &str) -> Result<()> {
        for hierarchy in self.roots() {
            let path = files::below(hierarchy, root)?;
            files::create_all(&path).map_err(|error| Error::file("create", &path, error))?;
            let mut parents: Vec<&Path> = path.ancestors().collect();
            parents.retain(|parent| parent.starts_with(hierarchy));
            parents.reverse();
            if self.unified.as_deref() == Some(hierarchy) {
                self.enable(&parents)?;
            }
            let sets = self.places.get(&Controller::CpuSet);
            if sets.is_some_and(|at| at.version == Version::One && at.path == hierarchy) {
                parents[1..]
                    .iter()
                    .try_for_each(|path| cpuset::inherit(path))?;
            }
        }
        Ok(())
    }

    /// Passes the controllers of version 2 on to what is below each of `parents`.
    fn enable(&self, parents: &[&Path]) -> Result<()> {
        let ours = self.places.iter();
        let ours = ours.filter(|(_, place)| place.version == Version::Two);
        let (needed, wanted): (Vec<_>, Vec<_>) = ours
            .filter_map(|(controller, _)| Some((*controller, controller.enabled_as()?)))
            .partition(|(controller, _)| REQUIRED.contains(controller));
        for parent in parents {
            let needed: Vec<String> = needed.iter().map(|(_, name)| format!("+{name}")).collect();
            if !needed.is_empty() {
                files::write(parent, "cgroup.subtree_control", &needed.join(" "))?;
            }
            for (_, name) in &wanted {
                // If it stays disabled, who needs it is told that its files are not there.
                let _ = files::write(parent, "cgroup.subtree_control", &format!("+{name}"));
            }
        }
        Ok(())
    }

    /// Names the group of a container below `root`; nothing is made yet.
    pub fn group(&self, root: &str, id: &str) -> Result<Group> {
        let place = |top: &Path| files::below(&files::below(top, root)?, id);
        let mut places = BTreeMap::new();
        for (&controller, at) in &self.places {
            let (version, path) = (at.version, place(&at.path)?);
            places.insert(controller, Place { version, path });
        }
        let unified = self.unified.as_deref().map(place).transpose()?;
        Ok(Group::new(places, unified))
    }

    /// Lists the groups that are below `root`.
    pub fn groups(&self, root: &str) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for hierarchy in self.roots() {
            let path = files::below(hierarchy, root)?;
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
            let path = files::below(hierarchy, root)?;
            files::remove_tree(&path)?;
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
        let places = self.places.values().map(|place| &*place.path);
        places.chain(self.unified.as_deref()).collect()
    }
}

/// Which versions a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Version 1 only.
    One,
    /// Version 2 only.
    Two,
    /// Both.
    Hybrid,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "version 1",
            Self::Two => "version 2",
            Self::Hybrid => "hybrid",
        })
    }
}

fn controllers_of(unified: &Path) -> Result<BTreeSet<String>> {
    let text = files::read(unified, "cgroup.controllers")?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        30 1 0:9 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        31 30 0:1 / /cg/cpu,cpuacct rw,nosuid shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
        32 30 0:2 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n\
        33 30 0:3 / /cg/memory rw - cgroup cgroup rw,memory\n\
        34 30 0:4 / /cg/pids rw - cgroup cgroup rw,pids\n";

    #[test]
    fn hierarchies_are_found_by_their_controllers() {
        let found = Hierarchies::among(MOUNTS).unwrap();
        let [cpu, memory, pids] = ["/cg/cpu,cpuacct", "/cg/memory", "/cg/pids"];
        let expected = Hierarchies::version_1(cpu.into(), memory.into(), pids.into())
            .with(Controller::CpuAccounting, cpu.into())
            .with(Controller::CpuSet, "/cg/cpuset".into());
        assert_eq!(found, expected);
        assert_eq!(found.layout(), Layout::One);
        assert_eq!(
            found.describe(),
            "control groups of version 1 (cpu, cpuacct, memory, pids, cpuset); \
             missing: blkio, devices, hugetlb, freezer"
        );

        let missing = Hierarchies::among("30 1 0:9 / / rw - ext4 x rw\n").unwrap_err();
        let text = "container mode is not possible: no control groups for cpu, memory, pids";
        assert_eq!(missing.to_string(), text);
    }

    #[test]
    fn a_hybrid_machine_has_each_controller_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "hugetlb\n").unwrap();
        let two = format!("40 30 0:7 / {root} rw - cgroup2 cgroup2 rw\n");
        let found = Hierarchies::among(&format!("{MOUNTS}{two}")).unwrap();
        assert_eq!(found.layout(), Layout::Hybrid);
        assert_eq!(
            found.describe(),
            format!(
                "control groups of version 1 (cpu, cpuacct, memory, pids, cpuset) \
                 beside version 2 at {root} (devices, hugetlb, freezer); missing: blkio"
            )
        );
        assert_eq!(found.version_of(Controller::BlockIo), None);

        // The same, but what must be there is nowhere.
        let error = Hierarchies::among(&two).unwrap_err().to_string();
        assert!(error.contains("cpu, memory, pids"), "{error}");
        assert!(error.contains("has only \"hugetlb\""), "{error}");

        let all = "cpuset cpu io memory hugetlb pids rdma misc\n";
        fs::write(dir.path().join("cgroup.controllers"), all).unwrap();
        let found = Hierarchies::among(&two).unwrap();
        assert_eq!(found.layout(), Layout::Two);
        assert_eq!(
            found.describe(),
            format!(
                "control groups of version 2 at {root} \
                 (cpu, cpuacct, memory, pids, cpuset, io, devices, hugetlb, freezer)"
            )
        );
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
