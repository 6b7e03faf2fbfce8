//! The group of one container: made, entered, changed, watched, read, ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::SystemTime;

use nix::sys::eventfd::EventFd;
use tepui_core::protocol::container::ContainerLimits;
use tepui_core::resources::Milli;

use super::entrance::Entrance;
use super::files::Held;
use super::hierarchies::{Controller, Place, Version};
use super::list::CpuList;
use super::memory::{Changed, MemoryUse, Wanted};
use super::pids::Refusals;
use super::pressure::{self, Pressure, PressureLevels};
use super::settings::{Ceiling, Cpus, Settings, missing, no_pressure};
use super::usage::{self, Usage};
use super::{cpu, cpuset, devices, files, freezer, huge_pages, io, memory, pids};
use crate::error::{Error, Result};

/// Limits of a group; `None` is none.
pub type Limits = ContainerLimits;

/// The most hierarchies of version 1 that a nursery is told to enter at once: one for each
/// [`Controller`], as long as it takes so many files.
pub(crate) const ROOM: usize = 9;

/// The group of one container, in every hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    places: BTreeMap<Controller, Place>,
    unified: Option<PathBuf>,
}

impl Group {
    pub(super) fn new(places: BTreeMap<Controller, Place>, unified: Option<PathBuf>) -> Self {
        Self { places, unified }
    }

    /// Makes the group and writes its limits.
    ///
    /// # Errors
    /// If a setting cannot be, or needs what the machine does not have: [`Error::Unsupported`].
    /// Then part of the group may be there; [`Group::remove`] takes it away.
    pub fn create(&self, limits: &Limits, settings: &Settings) -> Result<()> {
        settings.check()?;
        let directories = self.needed(settings)?;
        for directory in &directories {
            fs::create_dir(directory).map_err(|e| Error::file("create", directory, e))?;
        }
        let (cpu, version) = self.required(Controller::Cpu);
        if let Some(cpus) = limits.share.or(limits.cpus) {
            cpu::apply_share(cpu, version, Some(cpus), settings.low_priority)?;
        }
        let ceiling = ceiling(limits, settings);
        if ceiling.is_some() {
            cpu::apply_ceiling(cpu, version, ceiling)?;
        }
        cpu::apply_burst(cpu, version, ceiling, settings.cpu_burst)?;
        let (memory, version) = self.required(Controller::Memory);
        memory::apply(memory, version, &wanted(limits, settings))?;
        if let Some(mem) = limits.kept.or(limits.mem) {
            memory::apply_kept(memory, version, Some(mem))?;
        }
        if limits.pids.is_some() {
            let (pids, version) = self.required(Controller::Pids);
            pids::apply(pids, version, limits.pids)?;
        }
        if let Some((cpuset, version)) = self.made(Controller::CpuSet) {
            apply_cpuset(cpuset, version, settings)?;
        }
        if let Some((io, version)) = self.made(Controller::BlockIo) {
            if settings.io_weight.is_some() {
                io::apply_weight(io, version, settings.io_weight)?;
            }
            io::apply_limits(io, version, &settings.io_limits)?;
        }
        if let (Some((path, version)), Some(allowed)) =
            (self.made(Controller::Devices), &settings.devices)
        {
            devices::apply(path, version, allowed)?;
        }
        match self.made(Controller::HugePages) {
            Some((path, version)) => huge_pages::apply(path, version, &settings.huge_pages),
            None => Ok(()),
        }
    }

    /// Changes limits and settings while the container runs; `None` takes a limit away. A setting
    /// that needs another hierarchy than those that were entered at the start is refused.
    ///
    /// # Errors
    /// As [`Group::create`]; then part of it may have changed.
    pub fn update(&self, limits: &Limits, settings: &Settings) -> Result<Changed> {
        settings.check()?;
        for (knob, controller) in settings.needs() {
            if self.made(controller).is_none() {
                return Err(self.unsupported(knob, controller));
            }
        }
        let (cpu, version) = self.required(Controller::Cpu);
        let share = limits.share.or(limits.cpus);
        cpu::apply_share(cpu, version, share, settings.low_priority)?;
        cpu::change_ceiling(cpu, version, ceiling(limits, settings), settings.cpu_burst)?;
        let (memory, version) = self.required(Controller::Memory);
        memory::apply_kept(memory, version, limits.kept.or(limits.mem))?;
        let changed = memory::change(memory, version, &wanted(limits, settings))?;
        let (pids, version) = self.required(Controller::Pids);
        pids::apply(pids, version, limits.pids)?;
        if let Some((cpuset, version)) = self.made(Controller::CpuSet) {
            apply_cpuset(cpuset, version, settings)?;
        }
        if let Some((path, version)) = self.made(Controller::BlockIo) {
            io::apply_weight(path, version, settings.io_weight)?;
            io::change_limits(path, version, &settings.io_limits)?;
        }
        if let Some((path, version)) = self.made(Controller::Devices) {
            devices::change(path, version, settings.devices.as_ref())?;
        }
        if let Some((path, version)) = self.made(Controller::HugePages) {
            huge_pages::change(path, version, &settings.huge_pages)?;
        }
        Ok(changed)
    }

    /// Lists its processes, as our own process namespace numbers them.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        let (memory, _) = self.required(Controller::Memory);
        let text = files::read(memory, "cgroup.procs")?;
        let numbers = text.lines().filter_map(|line| line.parse().ok());
        Ok(numbers.collect())
    }

    /// Returns its name below the root, which is that of its container.
    pub(crate) fn name(&self) -> String {
        let (memory, _) = self.required(Controller::Memory);
        let name = memory.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Lists where it is by controller, for a view from inside; version 2 has one for all, which is
    /// without a name.
    pub(crate) fn views(&self) -> Vec<(String, PathBuf)> {
        let (memory, version) = self.required(Controller::Memory);
        let by_controller = [
            ("cpu", Controller::Cpu),
            ("memory", Controller::Memory),
            ("pids", Controller::Pids),
        ];
        let view = |(name, controller): (&str, Controller)| {
            (name.to_owned(), self.required(controller).0.to_owned())
        };
        match version {
            Version::One => by_controller.map(view).into(),
            Version::Two => vec![(String::new(), memory.to_owned())],
        }
    }

    /// Opens what a new child needs to enter: `tasks` of each hierarchy, or the directory.
    pub(crate) fn entrance(&self) -> Result<Entrance> {
        let open = |path: &Path, write: bool| {
            let file = fs::File::options().read(!write).write(write).open(path);
            let file = file.map_err(|error| Error::file("open", path, error))?;
            Ok::<OwnedFd, Error>(file.into())
        };
        let made = self.directories().into_iter();
        let made: Vec<(&Path, Version)> = made.filter(|(path, _)| path.exists()).collect();
        if let [(path, Version::Two)] = *made {
            return Ok(Entrance {
                version: Version::Two,
                files: vec![open(path, false)?],
                rest: Vec::new(),
            });
        }
        let (ones, twos): (Vec<_>, Vec<_>) = made
            .into_iter()
            .partition(|(_, version)| *version == Version::One);
        let first = ones.iter().take(ROOM);
        let files: Result<_> = first
            .map(|(path, _)| open(&path.join("tasks"), true))
            .collect();
        let rest = ones.iter().skip(ROOM).chain(&twos);
        Ok(Entrance {
            version: Version::One,
            files: files?,
            rest: rest.map(|(path, _)| (*path).to_owned()).collect(),
        })
    }

    /// Lists the directories that make up the group, for who brings processes in: of version 1
    /// through `tasks`, of version 2 through `cgroup.procs`.
    pub fn made_directories(&self) -> Vec<(PathBuf, Version)> {
        let all = self.directories().into_iter();
        let made = all.filter(|(path, _)| path.exists());
        made.map(|(path, version)| (path.to_owned(), version))
            .collect()
    }

    /// Returns a file that becomes readable when the group is out of memory, where one is
    /// needed.
    pub(crate) fn watch_memory(&self) -> Result<Option<EventFd>> {
        let (memory, version) = self.required(Controller::Memory);
        memory::watch(memory, version)
    }

    /// Reads how much memory was used and what it led to.
    pub fn memory_use(&self) -> Result<MemoryUse> {
        let (memory, version) = self.required(Controller::Memory);
        memory::usage(memory, version)
    }

    /// Counts from now on how urgently the group is told to use less memory; `None` in version 2,
    /// which tells [pressure](Group::pressure) instead.
    pub fn watch_pressure_levels(&self) -> Result<Option<PressureLevels>> {
        match self.required(Controller::Memory) {
            (memory, Version::One) => PressureLevels::watch(memory).map(Some),
            (_, Version::Two) => Ok(None),
        }
    }

    /// Returns what knows when the limit on processes was last in the way.
    pub(crate) fn watch_forks(&self) -> Result<Refusals> {
        let (pids, _) = self.required(Controller::Pids);
        Refusals::watch(pids)
    }

    /// Reads the limit on processes; `None` if there is none.
    pub fn pids_limit(&self) -> Option<u32> {
        let (pids, _) = self.required(Controller::Pids);
        let limit = files::read_number(pids, "pids.max").ok()?;
        u32::try_from(limit).ok()
    }

    /// Reads on which CPUs it may run; `None` if that was left open. After a restart this is what
    /// a [`Placement`](super::Placement) claims for it.
    pub fn cpus(&self) -> Result<Option<CpuList>> {
        let Some((cpuset, _)) = self.made(Controller::CpuSet) else {
            return Ok(None);
        };
        Ok(Some(cpuset::cpus(cpuset)?).filter(|list| !list.is_empty()))
    }

    /// Has it run on other CPUs from now on; nothing if it has not been made.
    ///
    /// # Errors
    /// If the kernel refuses, as where a group below it runs on others.
    pub fn set_cpus(&self, cpus: &CpuList) -> Result<()> {
        match self.made(Controller::CpuSet) {
            Some((cpuset, version)) => cpuset::set_cpus(cpuset, version, cpus),
            None => Ok(()),
        }
    }

    /// Reads what it has used, from its own files only.
    pub fn usage(&self) -> Result<Usage> {
        let (cpu, version) = self.required(Controller::Cpu);
        let cpu = Held::open(cpu)?;
        let accounts = self.places.get(&Controller::CpuAccounting);
        let accounts = accounts.map(|place| (&*place.path, place.version));
        let cpu = usage::cpu(&cpu, version, accounts)?;
        let (memory, version) = self.required(Controller::Memory);
        let memory = usage::memory(&Held::open(memory)?, version)?;
        let (pids, _) = self.required(Controller::Pids);
        let (processes, threads) = usage::processes(&Held::open(pids)?)?;
        let block_io = match self.made(Controller::BlockIo) {
            Some((path, version)) => usage::block_io(&Held::open(path)?, version)?,
            None => None,
        };
        Ok(Usage {
            at: SystemTime::now(),
            processes,
            threads,
            cpu,
            memory,
            block_io,
        })
    }

    /// Reads how long it waited for CPU, memory and block devices; `None` if it is in no group of
    /// version 2, which alone tells.
    pub fn pressure(&self) -> Result<Option<Pressure>> {
        let unified = self.made_unified();
        unified.map(pressure::read).transpose()
    }

    /// Stops or resumes all its processes.
    ///
    /// # Errors
    /// If it is neither in version 2 nor in a freezer.
    pub fn set_frozen(&self, frozen: bool) -> Result<()> {
        let (path, version) = self.freezer()?;
        freezer::set_frozen(path, version, frozen)
    }

    /// Returns whether all its processes have stopped.
    ///
    /// # Errors
    /// As [`Group::set_frozen`].
    pub fn is_frozen(&self) -> Result<bool> {
        let (path, version) = self.freezer()?;
        freezer::is_frozen(path, version)
    }

    /// Kills all its processes, so that none can get away by having children: with `cgroup.kill`,
    /// or while they are frozen. Without either, whom it finds; to be repeated then. They are dead
    /// a little later.
    pub fn kill(&self) -> Result<()> {
        if let Some(unified) = self.made_unified().filter(|path| freezer::can_kill(path)) {
            return freezer::kill_unified(unified);
        }
        if let Some((path, Version::One)) = self.made(Controller::Freezer) {
            return freezer::kill_frozen(path);
        }
        freezer::kill_listed(self.required(Controller::Memory).0).map(drop)
    }

    /// Kills what is left in the group and removes it. Fails as long as something dies slowly:
    /// try again then.
    pub fn remove(&self) -> Result<()> {
        for (directory, _) in self.directories() {
            if let Err(error) = files::remove_tree(directory) {
                self.kill_all();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Kills what is in the group and in those within it. What cannot be killed is seen when the
    /// group cannot be removed.
    fn kill_all(&self) {
        let _ = self.kill();
        for (directory, _) in self.directories() {
            kill_tree(directory);
        }
    }

    /// Lists the directories for these settings.
    fn needed(&self, settings: &Settings) -> Result<BTreeSet<&Path>> {
        let mut needed = BTreeSet::new();
        for controller in [Controller::Cpu, Controller::Memory, Controller::Pids] {
            needed.insert(self.required(controller).0);
        }
        // Everybody's CPU time is known.
        if let Some(accounts) = self.places.get(&Controller::CpuAccounting)
            && accounts.version == Version::One
        {
            needed.insert(&accounts.path);
        }
        for (knob, controller) in settings.needs() {
            let place = self.places.get(&controller);
            let place = place.ok_or_else(|| self.unsupported(knob, controller))?;
            needed.insert(&place.path);
        }
        if settings.accounts.pressure {
            let unified = self.unified.as_deref();
            needed.insert(unified.ok_or_else(no_pressure)?);
        }
        Ok(needed)
    }

    fn unsupported(&self, knob: &'static str, controller: Controller) -> Error {
        match self.places.contains_key(&controller) {
            true => Error::Unsupported {
                knob,
                controller: controller.name(),
                message: "the container did not enter it at its start".to_owned(),
            },
            false => missing(knob, controller),
        }
    }

    fn required(&self, controller: Controller) -> (&Path, Version) {
        let place = self.places.get(&controller);
        let place = place.expect("hierarchies without it are never made");
        (&place.path, place.version)
    }

    /// Returns the place of a controller, if the group was made there.
    fn made(&self, controller: Controller) -> Option<(&Path, Version)> {
        let place = self.places.get(&controller)?;
        place.path.exists().then_some((&*place.path, place.version))
    }

    fn made_unified(&self) -> Option<&Path> {
        self.unified.as_deref().filter(|path| path.exists())
    }

    fn freezer(&self) -> Result<(&Path, Version)> {
        if let Some(unified) = self.made_unified() {
            return Ok((unified, Version::Two));
        }
        let made = self.made(Controller::Freezer);
        made.ok_or_else(|| self.unsupported("freezing", Controller::Freezer))
    }

    fn directories(&self) -> BTreeSet<(&Path, Version)> {
        let places = self.places.values();
        let places = places.map(|place| (&*place.path, place.version));
        let unified = self.unified.as_deref();
        places
            .chain(unified.map(|path| (path, Version::Two)))
            .collect()
    }
}

/// Reads what many groups have used, in their order: on up to four threads, for the kernel takes
/// about 0.1 ms for each.
pub fn usage_of(groups: &[Group]) -> Vec<Result<Usage>> {
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    let each = groups.len().div_ceil(threads).max(1);
    let sample = |groups: &[Group]| groups.iter().map(Group::usage).collect::<Vec<_>>();
    thread::scope(|scope| {
        let parts = groups.chunks(each);
        let parts: Vec<_> = parts
            .map(|part| scope.spawn(move || sample(part)))
            .collect();
        let parts = parts.into_iter().map(|part| part.join());
        parts
            .flat_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Returns how much memory a container with these limits keeps, in bytes.
pub(crate) fn kept_bytes(limits: &Limits) -> u64 {
    limits.kept.or(limits.mem).map_or(0, memory::limit_bytes)
}

fn ceiling(limits: &Limits, settings: &Settings) -> Option<Milli> {
    match settings.ceiling {
        Ceiling::Always => limits.cpus,
        Ceiling::IfNamed => limits.cpus.filter(|_| limits.share.is_some()),
    }
}

fn wanted(limits: &Limits, settings: &Settings) -> Wanted {
    Wanted {
        limit: limits.mem,
        swap: settings.swap,
        out_of_memory: settings.out_of_memory,
    }
}

fn apply_cpuset(group: &Path, version: Version, settings: &Settings) -> Result<()> {
    let cpus = match &settings.cpus {
        Cpus::Any => CpuList::default(),
        Cpus::Only(cpus) => cpus.clone(),
        Cpus::Cores(_) => {
            return Err(Error::Invalid(
                "a wish for cores has to be resolved by a placement first".to_owned(),
            ));
        }
    };
    cpuset::apply(group, version, &cpus, &settings.memory_nodes)
}

fn kill_tree(directory: &Path) {
    for child in files::children(directory) {
        kill_tree(&child);
    }
    let _ = freezer::kill_listed(directory);
}
