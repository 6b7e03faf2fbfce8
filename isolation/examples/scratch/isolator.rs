//! An isolator of another crate: gives each container a directory for what it need not keep, on a
//! disk of the operator's choice, bounds what is in it, and writes down who had one.
//!
//! Copy it to begin one of your own: all that it uses is public.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerSpec;
use tepui_core::protocol::status::{Breach, Limited};
use tepui_core::resources::Milli;
use tepui_isolation::launch::{Bind, Mount};
use tepui_isolation::{Init, Isolator, Launch, Outcome, Recovered, Subject, Survivors, Usage};

/// Where a container finds its directory, in its sandbox; the variable `SCRATCH` says so too.
const NAME: &str = "scratch";
/// How often it is looked how much is in the directories.
const LOOK: Duration = Duration::from_millis(200);
const MIB: u64 = 1 << 20;

/// Gives out directories.
pub(crate) struct Scratch {
    /// What belongs to a container is below it under the container's id: so it is found again
    /// after a crash, whenever that was.
    pub(crate) directory: PathBuf,
    /// A line for each container: its id, the process id of its init, its network namespace.
    pub(crate) accounts: PathBuf,
    /// How much may be in one directory, in MiB.
    pub(crate) most: u64,
}

impl Scratch {
    fn own(&self, id: &ContainerId) -> PathBuf {
        self.directory.join(id.as_str())
    }

    fn remove(&self, own: &Path) -> Outcome<()> {
        match fs::remove_dir_all(own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("remove {}: {error}", own.display()).into())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Isolator for Scratch {
    fn name(&self) -> &str {
        NAME
    }

    // Of what is there the file system itself knows; what is nobody's goes.
    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        let mut recovered = Recovered::default();
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(recovered),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !live.keys().any(|id| id.as_str() == name) {
                let removed = self.remove(&self.directory.join(&name));
                recovered.note(name, removed);
            }
        }
        Ok(recovered)
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        // Only containers see what is in it, each its own: it is anybody's there, as `/tmp` is.
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(&self.directory)?;
        let own = self.own(subject.id);
        private.create(&own)?;
        fs::set_permissions(&own, Permissions::from_mode(0o1777))?;
        let inside = launch.sandbox_inside(subject.sandbox).join(NAME);
        let name = inside.to_string_lossy().into_owned();
        launch.environment.push(("SCRATCH".to_owned(), name));
        launch.mounts.push(Mount::Bind(Bind::new(own, inside)));
        Ok(())
    }

    fn attaches(&self, _spec: &ContainerSpec) -> bool {
        true
    }

    // The program does not run yet: nothing of it can escape the books.
    fn attach(&self, subject: &Subject<'_>, init: &Init) -> Outcome<()> {
        let network = fs::read_link(init.namespace("net"))?;
        let mut accounts = OpenOptions::new();
        let mut accounts = accounts.create(true).append(true).open(&self.accounts)?;
        let line = format!("{} {} {}\n", subject.id, init.pid(), network.display());
        Ok(accounts.write_all(line.as_bytes())?)
    }

    fn usage(&self, id: &ContainerId) -> Outcome<Usage> {
        let bytes = bytes_below(&self.own(id))?;
        Ok(Usage::from([("disk_bytes".to_owned(), bytes)]))
    }

    fn watches(&self) -> Option<Duration> {
        Some(LOOK)
    }

    fn breach(&self, id: &ContainerId) -> Outcome<Option<Breach>> {
        let used = bytes_below(&self.own(id))?.div_ceil(MIB);
        let milli = |mib: u64| Milli::from_units(i64::try_from(mib).unwrap_or(i64::MAX / 1_000));
        let breach = Breach {
            resource: Limited::Disk,
            limit: milli(self.most),
            used: milli(used),
        };
        Ok((used > self.most).then_some(breach))
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        self.remove(&self.own(id))
    }
}

/// How much is on the disk below a directory. A task may remove things meanwhile.
fn bytes_below(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut all = vec![directory.to_owned()];
    while let Some(path) = all.pop() {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(of) if of.is_dir() => all.push(entry.path()),
                Ok(of) => bytes += of.blocks() * 512,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(bytes)
}
