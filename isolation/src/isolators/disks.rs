//! Keeps an eye on what containers' files take of the disk: by looking now and then, or by quotas
//! that the file system holds (CT-38, CT-39).
//!
//! Counted are a container's sandbox and what it changes in its root; and, each by itself, the
//! persistent volumes that it may write to. Those are always looked into, and whoever may write to
//! one that has become too large ends. A volume that is a whole disk has what the disk has.
//! Deliberately not here: how it is counted (`disk`), and how full the whole disk is.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerLimits;
use tepui_core::protocol::status::Breach;
use tepui_core::resources::{Access, Milli};
use tracing::{debug, warn};

use super::persistent;
use super::taken::{DiskUse, Entry, Excess, Found, Record, bytes, files_of};
use crate::disk::{Limits, ProjectIds, Quotas, Taken, Walk};
use crate::error::Result;
use crate::isolator::{Isolator, Outcome, Recovered, Subject, Survivors};
use crate::launch::{Launch, Root};
use crate::records::Records;

/// How long is walked at once, and how long is rested then: a fifth of one CPU is the most.
const STEP: Duration = Duration::from_millis(50);
const REST: Duration = Duration::from_millis(200);
/// So many times less often it is looked at who has no limit, which is for statistics only.
const SELDOM: u32 = 20;
/// How often it is asked whether a look has found too much.
const ASKED: Duration = Duration::from_secs(1);

/// How disks are looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskRule {
    /// How long it is from one look at a container to the next, at least.
    pub interval: Duration,
    /// Whether containers end that have taken too much; else it is only told.
    pub ends: bool,
    /// The numbers of projects, or of groups of subvolumes, where the file system is to hold the
    /// limits.
    pub projects: Option<ProjectIds>,
    /// How many files there may be for each MiB of a limit, empty ones and directories too: they
    /// take inodes, of which a file system has only so many. `None` is any number.
    pub files_per_mib: Option<NonZeroU32>,
}

impl Default for DiskRule {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            ends: true,
            projects: None,
            files_per_mib: Some(FILES_PER_MIB),
        }
    }
}

/// A file of every block that there is.
const FILES_PER_MIB: NonZeroU32 = NonZeroU32::new(256).expect("it is not zero");

/// Looks after containers' disks.
#[derive(Debug)]
pub struct Disks {
    shared: Arc<Shared>,
    looker: Option<JoinHandle<()>>,
}

/// Tells what containers' files take.
#[derive(Clone, Debug)]
pub struct DiskMeter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    work_dir: PathBuf,
    rule: DiskRule,
    records: Records<Record>,
    quotas: Option<Quotas>,
    table: Mutex<Table>,
    /// There is somebody new to look at, or everything is over.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    all: BTreeMap<ContainerId, Entry>,
    is_closed: bool,
}

impl Disks {
    /// Returns the volumes that a container may write to, with what they may take. Whole disks are
    /// not looked at: more than there is on them cannot be written.
    fn volumes(&self, subject: &Subject<'_>) -> Outcome<Vec<(PathBuf, Milli)>> {
        let volumes = subject.spec.volumes.iter();
        let counted = volumes.filter(|volume| {
            let disk = volume.place.disk.as_ref();
            volume.access == Access::ReadWrite && !disk.is_some_and(|disk| disk.is_mount)
        });
        let found = counted.map(|volume| {
            let path = persistent::path(&self.shared.work_dir, &volume.place)?;
            Ok((path, volume.size))
        });
        found.collect()
    }

    /// Looks after what is below `work_dir`, and remembers it in `directory`.
    ///
    /// # Errors
    /// If the file system is to hold limits and cannot, or what was there before cannot be read.
    pub fn new(rule: DiskRule, work_dir: &Path, directory: PathBuf) -> Result<Self> {
        let quotas = rule.projects.map(|_| Quotas::of(work_dir)).transpose()?;
        let records = Records::open(directory)?;
        let all = records.all()?.into_iter();
        let all = all.map(|(id, record)| (id, Entry::new(record))).collect();
        let shared = Arc::new(Shared {
            work_dir: work_dir.to_owned(),
            rule,
            records,
            quotas,
            table: Mutex::new(Table {
                all,
                is_closed: false,
            }),
            changed: Condvar::new(),
        });
        let looking = Arc::clone(&shared);
        let looker = thread::Builder::new().name("tepui-disks".to_owned());
        let looker = looker.spawn(move || looking.look());
        let looker = looker.map_err(|e| crate::error::Error::system("start a thread", e))?;
        Ok(Self {
            shared,
            looker: Some(looker),
        })
    }

    /// Returns what tells others what files take.
    pub fn meter(&self) -> DiskMeter {
        DiskMeter(Arc::clone(&self.shared))
    }
}

impl DiskMeter {
    /// Returns what a container's files take; `None` if there is no such container.
    pub fn usage(&self, id: &ContainerId) -> Option<DiskUse> {
        let table = self.0.lock();
        let entry = table.all.get(id).filter(|entry| !entry.record.is_over)?;
        Some(DiskUse {
            used: entry.taken.map(|taken| taken.bytes),
            limit: entry.record.limit.map(bytes),
            volumes: entry.volumes().collect(),
        })
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
        if let Some(looker) = self.looker.take()
            && let Err(panic) = looker.join()
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at one container after the other, whoever has waited longest first.
    fn look(&self) {
        let mut table = self.lock();
        while !table.is_closed {
            let next = table.all.iter().min_by_key(|(_, entry)| entry.due);
            let next = next.map(|(id, entry)| (id.clone(), entry.due, entry.record.clone()));
            let now = Instant::now();
            let (id, record) = match next {
                Some((id, due, record)) if due <= now => (id, record),
                next => {
                    let until = next.map(|(_, due, _)| due - now);
                    table = self.wait(table, until);
                    continue;
                }
            };
            drop(table);
            let found = match record.is_over {
                true => {
                    self.free(&id, &record);
                    Found::default()
                }
                false => self.find(&record),
            };
            table = self.lock();
            if let Some(entry) = table.all.get_mut(&id) {
                let times = match entry.record.is_limited() {
                    true => 1,
                    false => SELDOM,
                };
                entry.due = Instant::now() + self.rule.interval * times;
                entry.note(found);
                self.tell(&id, entry);
            }
        }
    }

    fn wait<'a>(
        &'a self,
        table: MutexGuard<'a, Table>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, Table> {
        match time {
            None => self
                .changed
                .wait(table)
                .unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.changed.wait_timeout(table, time);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn find(&self, record: &Record) -> Found {
        let volumes = record.volumes.iter();
        Found {
            own: self.measure(record),
            volumes: volumes.map(|(path, _)| self.walk(path)).collect(),
        }
    }

    /// Finds out what a container's own files take; `None` if that cannot be found out now.
    fn measure(&self, record: &Record) -> Option<Taken> {
        if let (Some(quotas), Some(project)) = (&self.quotas, record.project) {
            let quota = quotas.quota(project);
            let quota = quota.inspect_err(|error| debug!(%error, "a disk is not looked at"));
            return Some(Taken {
                bytes: quota.ok()?.used,
                ..Taken::default()
            });
        }
        let mut sum = Taken::default();
        for path in &record.paths {
            let taken = self.walk(path)?;
            sum.bytes = sum.bytes.saturating_add(taken.bytes);
            sum.files += taken.files;
            sum.is_partial |= taken.is_partial;
        }
        Some(sum)
    }

    /// Walks through a directory; `None` if it cannot be walked through, or if everything is over
    /// before that.
    fn walk(&self, path: &Path) -> Option<Taken> {
        let walked = self.walk_to_its_end(path);
        let walked = walked.inspect_err(|error| {
            debug!(path = %path.display(), %error, "a disk is not looked at");
        });
        walked.ok()?
    }

    fn walk_to_its_end(&self, path: &Path) -> std::io::Result<Option<Taken>> {
        let mut walk = Walk::begin(path)?;
        loop {
            if let Some(taken) = walk.step(STEP)? {
                return Ok(Some(taken));
            }
            let rested = Instant::now() + REST;
            let mut table = self.lock();
            loop {
                let left = rested.saturating_duration_since(Instant::now());
                if table.is_closed {
                    return Ok(None);
                }
                if left.is_zero() {
                    break;
                }
                table = self.wait(table, Some(left));
            }
        }
    }

    /// Says once that somebody has taken too much, where nothing else is done about it.
    fn tell(&self, id: &ContainerId, entry: &mut Entry) {
        let excess = entry.excess(self.rule.files_per_mib);
        let is_excess = excess.is_some();
        if let Some(Excess {
            breach: Breach { used, limit, .. },
            is_partial,
            volume,
        }) = excess
            && !entry.is_told
        {
            let volume = volume.map_or_else(|| "its files".into(), Path::to_string_lossy);
            let hidden = if is_partial {
                " at least: some cannot be looked into"
            } else {
                ""
            };
            warn!(%id, "{volume} take {used} MiB{hidden}, and may take {limit} MiB");
        }
        entry.is_told = is_excess;
    }

    /// Gives back the number of a project of which nothing is left.
    fn free(&self, id: &ContainerId, record: &Record) {
        let is_gone = |path: &PathBuf| matches!(path.try_exists(), Ok(false));
        if record.paths.iter().all(is_gone) {
            let removed = match (&self.quotas, record.project) {
                (Some(quotas), Some(project)) => quotas.free(project),
                (_, _) => Ok(()),
            };
            // Both at once: whoever looks for a number finds it free when its record is gone.
            let mut table = self.lock();
            match removed.and_then(|()| self.records.remove(id)) {
                Ok(()) => drop(table.all.remove(id)),
                Err(error) => debug!(%id, %error, "the number of a project is not free yet"),
            }
        }
    }

    /// Returns whether what is in the sandbox of a group counts for one more container that sees
    /// it, beside its own: for each of them, or, as files have one project, for the first.
    fn counts_group(&self, group: &Path) -> bool {
        let has = |entry: &Entry| entry.record.paths.iter().any(|path| path == group);
        self.quotas.is_none() || !self.lock().all.values().any(has)
    }

    /// Returns what the file system is to hold.
    fn limits(&self, limit: Option<Milli>) -> Limits {
        let bytes = limit.map(bytes);
        let files = bytes.zip(self.rule.files_per_mib);
        Limits {
            bytes,
            files: files.map(|(bytes, per_mib)| files_of(bytes, per_mib)),
        }
    }

    /// Chooses a number that nobody has.
    fn choose(&self, table: &Table, quotas: &Quotas, ids: ProjectIds) -> Outcome<u32> {
        let taken = table.all.values();
        let taken: BTreeSet<u32> = taken.filter_map(|entry| entry.record.project).collect();
        for id in (ids.first..=ids.last).filter(|id| !taken.contains(id)) {
            // What has it was another's, of whom nothing is known any more.
            if quotas.quota(id)?.used == 0 {
                return Ok(id);
            }
        }
        let (first, last) = (ids.first, ids.last);
        Err(format!("all projects from {first} to {last} have files: sandboxes keep them").into())
    }

    /// Begins to look after a container, which has not made anything yet.
    fn begin(&self, id: &ContainerId, mut record: Record) -> Outcome<()> {
        let mut table = self.lock();
        if let (Some(quotas), Some(ids)) = (&self.quotas, self.rule.projects) {
            let project = self.choose(&table, quotas, ids)?;
            record.project = Some(project);
        }
        self.records.write(id, &record)?;
        table.all.insert(id.clone(), Entry::new(record.clone()));
        drop(table);
        if let (Some(quotas), Some(project)) = (&self.quotas, record.project) {
            quotas.limit(project, self.limits(record.limit))?;
            let mut paths = record.paths.iter();
            paths.try_for_each(|path| quotas.assign(path, project))?;
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Ends it; the number of a project stays taken as long as there are files of it.
    fn end(&self, id: &ContainerId) -> Result<()> {
        let mut table = self.lock();
        let Some(entry) = table.all.get_mut(id) else {
            return Ok(());
        };
        if entry.record.project.is_some() {
            entry.record.is_over = true;
            entry.due = Instant::now() + self.rule.interval;
            self.records.write(id, &entry.record)?;
        } else {
            self.records.remove(id)?;
            table.all.remove(id);
        }
        Ok(())
    }
}

impl Isolator for Disks {
    fn name(&self) -> &str {
        "disks"
    }

    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        let mut recovered = Recovered::default();
        let known: Vec<ContainerId> = self.shared.lock().all.keys().cloned().collect();
        for id in known.iter().filter(|id| !live.contains_key(id)) {
            recovered.note(id.as_str(), self.shared.end(id).map_err(Into::into));
        }
        Ok(recovered)
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        launch.keeps_project |= self.shared.quotas.is_some();
        let mut paths = vec![subject.sandbox.to_owned()];
        let root = match &launch.root {
            Some(Root::Overlay { upper_and_work, .. }) => upper_and_work.as_ref(),
            Some(Root::Directory { .. }) | None => None,
        };
        if let Some(Quotas::Groups(_)) = self.shared.quotas
            && !launch.changes.is_empty()
        {
            // They are mounted by now, and cannot become subvolumes any more.
            let message =
                "it has volumes of images to write to, which quotas of btrfs do not limit";
            return Err(message.into());
        }
        for path in root.into_iter().chain(&launch.changes) {
            // What the kernel works with beside it is part of the project, and else not looked at.
            paths.push(match self.shared.quotas {
                Some(_) => path.clone(),
                None => path.join("upper"),
            });
        }
        let mut beside = Milli::ZERO;
        if let Some(group) = subject.group
            && self.shared.counts_group(group)
        {
            paths.push(group.to_owned());
            let common = subject.spec.group.as_ref().and_then(|group| group.disk);
            beside = common.unwrap_or_default();
        }
        let own = subject.spec.limits.disk;
        let record = Record {
            paths,
            limit: own.map(|own| own.saturating_add(beside)),
            beside,
            project: None,
            volumes: self.volumes(subject)?,
            is_over: false,
        };
        self.shared.begin(subject.id, record)
    }

    fn update(&self, id: &ContainerId, limits: &ContainerLimits) -> Outcome<()> {
        let mut table = self.shared.lock();
        let Some(entry) = table.all.get_mut(id) else {
            return Ok(());
        };
        let beside = entry.record.beside;
        let limit = limits.disk.map(|own| own.saturating_add(beside));
        if entry.record.limit == limit {
            return Ok(());
        }
        entry.record.limit = limit;
        self.shared.records.write(id, &entry.record)?;
        if let (Some(quotas), Some(project)) = (&self.shared.quotas, entry.record.project) {
            quotas.limit(project, self.shared.limits(limit))?;
        }
        Ok(())
    }

    fn watches(&self) -> Option<Duration> {
        self.shared.rule.ends.then_some(ASKED)
    }

    fn breach(&self, id: &ContainerId) -> Outcome<Option<Breach>> {
        let table = self.shared.lock();
        let per_mib = self.shared.rule.files_per_mib;
        let excess = table.all.get(id);
        let excess = excess.and_then(|entry| entry.excess(per_mib));
        Ok(excess.map(|excess| excess.breach))
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        Ok(self.shared.end(id)?)
    }
}
