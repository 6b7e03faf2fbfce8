//! IPC objects and shared memory that containers of a group have in common (CT-15, CT-56).
//!
//! A namespace that is bound to a file, and a filesystem in memory, both in a directory that no
//! container sees. Used by `rights`; who enters them is the container's init.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tepui_core::ids::ContainerId;

use super::members::Members;
use crate::error::{Error, Result};
use crate::isolator::{Outcome, Recovered, Survivors};
use crate::kill_point;
use crate::launch::Ipc;
use crate::network::{is_namespace, on_a_thread};

const NAMESPACE: &str = "ipc";
const MEMORY: &str = "shm";

/// Gives groups memory and IPC objects of their own.
#[derive(Debug)]
pub struct Memory {
    directory: PathBuf,
    members: Members,
}

impl Memory {
    /// Keeps them in a directory, which should not outlive a restart of the machine and be hidden
    /// from containers, as all in [`Config::runtime_dir`](crate::Config::runtime_dir) is. Who uses
    /// them is remembered elsewhere, for as long as the agent.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(directory: impl Into<PathBuf>, members: Members) -> Result<Self> {
        let directory = directory.into();
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory);
        made.map_err(|error| Error::file("create", &directory, error))?;
        Ok(Self { directory, members })
    }

    /// Lets a container have what its group has. Whoever is first says how much memory that is, in
    /// bytes.
    pub(super) fn share(
        &self,
        group: &ContainerId,
        id: &ContainerId,
        size: Option<u64>,
    ) -> Outcome<Ipc> {
        self.members
            .enter(group, id, || Ok(self.make(group, size)?))
    }

    pub(super) fn leave(&self, id: &ContainerId) -> Outcome<()> {
        self.members.leave(id)
    }

    pub(super) fn disband(&self, group: &ContainerId) -> Outcome<()> {
        self.members.disband(group, || self.unmake(group))
    }

    pub(super) fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        let mut recovered = Recovered::default();
        self.members
            .recover(live, &mut recovered, |group| self.unmake(group));
        Ok(recovered)
    }

    fn unmake(&self, group: &ContainerId) -> Outcome<()> {
        Ok(remove(&self.directory.join(group.as_str()))?)
    }

    fn make(&self, group: &ContainerId, size: Option<u64>) -> Result<Ipc> {
        let own = self.directory.join(group.as_str());
        let (namespace, memory) = (own.join(NAMESPACE), own.join(MEMORY));
        let is_memory = |path: &Path| {
            let found = statfs(path);
            found.is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC) && is_mounted(path)
        };
        if !(is_namespace(&namespace) && is_memory(&memory)) {
            // What a try before this one has left.
            remove(&own)?;
            let made = DirBuilder::new().mode(0o700).create(&own);
            made.map_err(|error| Error::file("create", &own, error))?;
            bind_new(&namespace)?;
            kill_point::reached("group.ipc");
            mount_memory(&memory, size)?;
            kill_point::reached("group.memory");
        }
        Ok(Ipc::Kept { namespace, memory })
    }
}

/// Returns whether something is mounted at a path.
fn is_mounted(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| Some(path.metadata().ok()?.dev());
    path.parent().and_then(device) != device(path)
}

/// Makes an IPC namespace and binds it to a file, which alone keeps it.
fn bind_new(path: &Path) -> Result<()> {
    File::create_new(path).map_err(|error| Error::file("create", path, error))?;
    let bind = || {
        unshare(CloneFlags::CLONE_NEWIPC)
            .map_err(|errno| Error::system("make an IPC namespace", errno))?;
        let (source, none) = (Some("/proc/thread-self/ns/ipc"), None::<&str>);
        mount(source, path, none, MsFlags::MS_BIND, none)
            .map_err(|errno| Error::file("bind an IPC namespace to", path, errno))
    };
    on_a_thread(bind).map_err(|error| Error::Invalid(error.to_string()))?
}

fn mount_memory(path: &Path, size: Option<u64>) -> Result<()> {
    fs::create_dir(path).map_err(|error| Error::file("create", path, error))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
    let options = format!("mode=1777{size}");
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(&*options))
        .map_err(|errno| Error::file("mount a tmpfs on", path, errno))
}

/// Removes what is there of a group.
fn remove(own: &Path) -> Result<()> {
    for name in [NAMESPACE, MEMORY] {
        let path = own.join(name);
        loop {
            match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                Ok(()) => {}
                // The last: without the right to unmount there is no mount of ours.
                Err(Errno::EINVAL | Errno::ENOENT | Errno::EPERM) => break,
                Err(errno) => return Err(Error::file("unmount", &path, errno)),
            }
        }
    }
    let gone = |path: &Path, result: std::io::Result<()>| match result {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::file("remove", path, error))
        }
        Ok(()) | Err(_) => Ok(()),
    };
    let (namespace, memory) = (own.join(NAMESPACE), own.join(MEMORY));
    gone(&namespace, fs::remove_file(&namespace))?;
    gone(&memory, fs::remove_dir(&memory))?;
    gone(own, fs::remove_dir(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    // CT-09: after a restart of the machine, or of one that has just begun
    #[test]
    fn what_is_not_mounted_is_removed_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("group");
        remove(&own).unwrap();
        fs::create_dir(&own).unwrap();
        remove(&own).unwrap();
        fs::create_dir_all(own.join(MEMORY)).unwrap();
        fs::write(own.join(NAMESPACE), "").unwrap();
        assert!(!is_mounted(&own.join(MEMORY)) && !is_namespace(&own.join(NAMESPACE)));
        remove(&own).unwrap();
        assert!(!own.exists());
        // What is not ours is told, and not removed.
        fs::create_dir(&own).unwrap();
        fs::write(own.join("other"), "").unwrap();
        assert!(remove(&own).is_err());
    }
}
