//! Deletes sandboxes of what has ended, and volumes that are destroyed, on threads of its own.
//!
//! What lies in them was put there by a task: links, mounts, trees of any depth. Every step is
//! taken relative to a directory that is held, through no link and across no mount (RG-11), and
//! directories are emptied from the top: what lies deeper is brought up first, so that no tree is
//! too deep. What cannot be deleted stays, with the rest gone (AG-57).
//!
//! Deliberately not here: which of them, and when (the agent's machine).

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, mpsc};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, renameat2};
use nix::unistd::{UnlinkatFlags, unlinkat};
use tepui_core::agent::Input;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::VolumePlace;
use tepui_isolation::isolators::Persistent;
use tepui_transport::inbox::Inbox;

use crate::sandboxes::Sandboxes;

/// How much of a directory is listed at a time: a task may have filled it.
const AT_A_TIME: usize = 4_096;

/// A sandbox that is to be deleted.
type Sandbox = (ContainerId, Vec<String>);
/// Volumes that are to be deleted, and the number of the operation that destroyed them.
type Volumes = (u64, Vec<VolumePlace>);

/// Deletes sandboxes one after the other, and volumes beside that: one of these may be as large as
/// its disk, and sandboxes are deleted when room is needed.
#[derive(Debug)]
pub(crate) struct Remover {
    sandboxes: mpsc::Sender<Sandbox>,
    volumes: mpsc::Sender<Volumes>,
}

impl Remover {
    /// Starts the threads, which end with this value or with the machine.
    pub(crate) fn start(
        sandboxes: Arc<Sandboxes>,
        volumes: Persistent,
        inbox: Inbox<Input>,
    ) -> io::Result<Self> {
        let of_sandboxes = move |(container, sandbox): Sandbox| Input::SandboxDeleted {
            container,
            is_gone: is_gone(&sandbox.join("/"), sandboxes.remove(&sandbox)),
        };
        let of_volumes = move |(order, places): Volumes| Input::VolumesDeleted {
            order,
            is_gone: remove_volumes(&volumes, &places),
        };
        Ok(Self {
            sandboxes: worker("sandboxes", of_sandboxes, inbox.clone())?,
            volumes: worker("volumes", of_volumes, inbox)?,
        })
    }

    /// Has a sandbox deleted; the machine hears of it.
    pub(crate) fn remove(&self, container: ContainerId, sandbox: Vec<String>) {
        told(self.sandboxes.send((container, sandbox)).is_ok());
    }

    /// Has volumes deleted; the machine hears of it.
    pub(crate) fn remove_volumes(&self, order: u64, places: Vec<VolumePlace>) {
        told(self.volumes.send((order, places)).is_ok());
    }
}

fn told(is_told: bool) {
    if !is_told {
        tracing::debug!("the agent has ended: its next life deletes");
    }
}

/// Starts a thread that does what it is told, and says so to the machine.
fn worker<T: Send + 'static>(
    name: &str,
    work: impl Fn(T) -> Input + Send + 'static,
    inbox: Inbox<Input>,
) -> io::Result<mpsc::Sender<T>> {
    let (orders, ordered) = mpsc::channel::<T>();
    let work = move || {
        for order in ordered {
            if inbox.blocking_send(work(order)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name(name.into()).spawn(work)?;
    Ok(orders)
}

/// Deletes volumes, and returns whether all are gone. One that stays keeps no other.
fn remove_volumes(volumes: &Persistent, places: &[VolumePlace]) -> bool {
    let mut all = true;
    for place in places {
        all &= is_gone(&place.directory.join("/"), remove_volume(volumes, place));
    }
    all
}

fn is_gone(name: &str, removed: io::Result<()>) -> bool {
    let is_gone = removed.inspect_err(|error| {
        tracing::warn!(name, %error, "cannot be deleted as a whole");
    });
    is_gone.is_ok()
}

/// Deletes a volume, and the directory of its id if nothing else is in that.
fn remove_volume(volumes: &Persistent, place: &VolumePlace) -> io::Result<()> {
    let Some(top) = volumes.open(place).map_err(io::Error::other)? else {
        return Ok(());
    };
    remove_below(&top, &place.directory)?;
    let Some((_, id)) = place.directory.split_last() else {
        return Ok(());
    };
    match unlinkat(&top, id.join("/").as_str(), UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Deletes all that is in a directory below `root`, and then the directory itself. One that is not
/// there is deleted.
pub(crate) fn remove_below(root: impl AsFd, components: &[String]) -> io::Result<()> {
    let Some((name, above)) = components.split_last() else {
        return Ok(());
    };
    let above = match above {
        [] => ".".to_owned(),
        above => above.join("/"),
    };
    let opened = open(&root, above.as_ref()).and_then(|above| {
        let name: &OsStr = name.as_ref();
        empty(&open(&above, name)?)?;
        Ok(unlinkat(&above, name, UnlinkatFlags::RemoveDir)?)
    });
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Opens a directory: nothing on the way may be a link or a mount. A task may have locked it.
fn open(at: impl AsFd, path: &OsStr) -> io::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let how = |access| OpenHow::new().flags(flags | access).resolve(resolve);
    let held = openat2(at, path, how(OFlag::O_PATH))?;
    let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
    if fs::metadata(&itself)?.permissions().mode() & 0o700 != 0o700 {
        fs::set_permissions(&itself, Permissions::from_mode(0o700))?;
    }
    Ok(openat2(&held, ".", how(OFlag::O_RDONLY))?)
}

/// What could not be deleted of a directory, and why the first of it could not.
#[derive(Debug, Default)]
struct Stuck {
    names: HashSet<OsString>,
    error: Option<io::Error>,
}

/// Has everything in a directory deleted, or brought to where it will be: a bounded number at a
/// time, and goes on where it can.
fn clear(
    directory: &OwnedFd,
    mut dispose: impl FnMut(&OsStr, bool) -> io::Result<()>,
) -> io::Result<()> {
    let mut stuck = Stuck::default();
    loop {
        let found = some_of(directory, &stuck.names)?;
        if found.is_empty() || stuck.names.len() > AT_A_TIME {
            return stuck.error.map_or(Ok(()), Err);
        }
        for (name, is_directory) in found {
            if let Err(error) = dispose(&name, is_directory) {
                stuck.error.get_or_insert(error);
                stuck.names.insert(name);
            }
        }
    }
}

/// Lists what is in a directory, and which of it are directories; not all of it at once.
fn some_of(directory: &OwnedFd, but: &HashSet<OsString>) -> io::Result<Vec<(OsString, bool)>> {
    let listed = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    let listed = listed.map(|entry| {
        let entry = entry?;
        Ok((entry.file_name(), entry.file_type()?.is_dir()))
    });
    let fresh = listed.filter(|entry: &io::Result<(OsString, bool)>| match entry {
        Ok((name, _)) => !but.contains(name),
        Err(_) => true,
    });
    fresh.take(AT_A_TIME).collect()
}

/// Deletes what is in a directory.
fn empty(top: &OwnedFd) -> io::Result<()> {
    let mut brought_up = 0;
    clear(top, |name, is_directory| {
        if !is_directory {
            return Ok(unlinkat(top, name, UnlinkatFlags::NoRemoveDir)?);
        }
        let directory = open(top, name)?;
        clear(&directory, |inner, is_directory| {
            if is_directory {
                bring_up(&directory, inner, top, &mut brought_up)
            } else {
                Ok(unlinkat(&directory, inner, UnlinkatFlags::NoRemoveDir)?)
            }
        })?;
        Ok(unlinkat(top, name, UnlinkatFlags::RemoveDir)?)
    })
}

/// Moves a directory to `top`, under the next name that nothing has.
fn bring_up(from: &OwnedFd, name: &OsStr, top: &OwnedFd, count: &mut u64) -> io::Result<()> {
    // Refuses a mount, and unlocks what is to be moved.
    drop(open(from, name)?);
    loop {
        let to = format!("removed-{count}");
        *count += 1;
        match renameat2(from, name, top, to.as_str(), RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EEXIST) => {}
            moved => return Ok(moved?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use tepui_core::protocol::container::VolumeDisk;

    use super::*;

    fn components(path: &str) -> Vec<String> {
        path.split('/').map(String::from).collect()
    }

    fn remove(root: &Path, path: &str) -> io::Result<()> {
        remove_below(File::open(root).unwrap(), &components(path))
    }

    #[test]
    fn all_of_a_sandbox_goes_and_nothing_beside_it() {
        // AG-57
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for sandbox in [
            "tasks/f/t/c1/a/b",
            "tasks/f/t/c1/removed-0/x",
            "tasks/f/t/c2",
        ] {
            fs::create_dir_all(root.join(sandbox)).unwrap();
            fs::write(root.join(sandbox).join("file"), "text").unwrap();
        }
        let sandbox = root.join("tasks/f/t/c1");
        symlink(root.join("tasks/f/t/c2"), sandbox.join("link")).unwrap();
        symlink("../c2", sandbox.join("a/link")).unwrap();
        let locked = Permissions::from_mode(0o000);
        fs::set_permissions(sandbox.join("a/b"), locked.clone()).unwrap();
        fs::set_permissions(sandbox.join("a"), locked).unwrap();
        remove(root, "tasks/f/t/c1").unwrap();
        assert!(!sandbox.exists());
        assert!(root.join("tasks/f/t/c2/file").exists());
        // Again, and where there never was one.
        remove(root, "tasks/f/t/c1").unwrap();
        remove(root, "tasks/g/t/c1").unwrap();
    }

    #[test]
    fn no_tree_is_too_deep() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = dir.path().join("c1");
        fs::create_dir(&sandbox).unwrap();
        let mut at: OwnedFd = File::open(&sandbox).unwrap().into();
        for _ in 0..2_000 {
            nix::sys::stat::mkdirat(&at, "d", nix::sys::stat::Mode::S_IRWXU).unwrap();
            at = open(&at, "d".as_ref()).unwrap();
        }
        drop(at);
        remove(dir.path(), "c1").unwrap();
        assert!(!sandbox.exists());
    }

    #[test]
    fn nothing_leads_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/tasks")).unwrap();
        fs::create_dir_all(dir.path().join("other/c1")).unwrap();
        let root = dir.path().join("root");
        symlink("../../other", root.join("tasks/f")).unwrap();
        for out in ["tasks/f/c1", "../other/c1", "tasks/f"] {
            remove(&root, out).unwrap_err();
        }
        assert!(dir.path().join("other/c1").exists());
    }

    #[test]
    fn a_mount_is_left_alone_and_the_rest_is_deleted() {
        // RG-11; MESOS-9355, 9352, 8830
        let dir = tempfile::tempdir().unwrap();
        let (volume, sandbox) = (dir.path().join("volume"), dir.path().join("c1"));
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("data"), "text").unwrap();
        fs::create_dir_all(sandbox.join("a/volume")).unwrap();
        fs::write(sandbox.join("a/file"), "text").unwrap();
        let inside = sandbox.join("a/volume");
        let none = None::<&str>;
        // A mount of one's own is a matter of permission; without it there is nothing to test.
        if mount(Some(&volume), &inside, none, MsFlags::MS_BIND, none).is_err() {
            return;
        }
        let error = remove(dir.path(), "c1").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::EXDEV as i32));
        assert!(volume.join("data").exists());
        assert!(!sandbox.join("a/file").exists());
        umount2(&inside, MntFlags::MNT_DETACH).unwrap();
        remove(dir.path(), "c1").unwrap();
        assert!(!sandbox.exists());
        assert!(volume.join("data").exists());
    }

    fn place(names: [&str; 3], disk: Option<VolumeDisk>) -> VolumePlace {
        let directory = names.map(String::from).into();
        VolumePlace { disk, directory }
    }

    #[test]
    fn a_destroyed_volume_goes_and_no_other() {
        // RM-45
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("kept"), "text").unwrap();
        let volumes = Persistent::new(dir.path());
        let [old, new] = ["S1-V1", "S1-V3"].map(|made| place(["eng", "v", made], None));
        // Nothing was ever on this disk.
        remove_volume(&volumes, &old).unwrap();
        let id = dir.path().join("volumes/roles/eng/v");
        for made in ["S1-V1", "S1-V3"] {
            fs::create_dir_all(id.join(made).join("deep")).unwrap();
            fs::write(id.join(made).join("deep/file"), made).unwrap();
        }
        symlink(outside.path(), id.join("S1-V1/out")).unwrap();
        symlink("../../S1-V3", id.join("S1-V1/deep/other")).unwrap();
        for _ in 0..2 {
            remove_volume(&volumes, &old).unwrap();
            assert!(!id.join("S1-V1").exists());
            assert_eq!(fs::read(id.join("S1-V3/deep/file")).unwrap(), b"S1-V3");
        }
        assert!(outside.path().join("kept").exists());
        remove_volume(&volumes, &new).unwrap();
        assert!(!id.exists() && id.parent().unwrap().exists());
    }

    #[test]
    fn nothing_but_a_volume_is_deleted_for_one() {
        // RM-40, RM-42
        let dir = tempfile::tempdir().unwrap();
        let volumes = Persistent::new(&dir.path().join("agent"));
        let all = dir.path().join("agent/volumes/roles/eng/v");
        fs::create_dir_all(&all).unwrap();
        fs::create_dir_all(dir.path().join("other/S1-V1")).unwrap();
        symlink(dir.path().join("other"), all.join("../link")).unwrap();
        for names in [
            ["..", "..", ".."],
            ["eng", "v", ".."],
            ["eng", "link", "S1-V1"],
        ] {
            remove_volume(&volumes, &place(names, None)).unwrap_err();
        }
        assert!(all.exists() && dir.path().join("other/S1-V1").exists());
        // One on a disk that is not mounted now is not taken for deleted.
        let root = dir.path().to_str().unwrap().to_owned();
        let is_mount = true;
        let disk = Some(VolumeDisk { root, is_mount });
        let unmounted = place(["eng", "v", "S1-V1"], disk);
        let error = remove_volume(&volumes, &unmounted).unwrap_err();
        assert!(error.to_string().contains("no disk is mounted there"));
        // Nor does it keep others.
        let other = place(["eng", "v", "S1-V2"], None);
        fs::create_dir(all.join("S1-V2")).unwrap();
        assert!(!remove_volumes(&volumes, &[unmounted, other]));
        assert!(!all.exists());
    }
}
