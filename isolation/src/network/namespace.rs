//! Network namespaces that outlive whoever made them: each is bound to a file named after its
//! container.
//!
//! A container's init enters its namespace by that path. Deliberately not here: what is in the
//! namespaces beside the loopback interface (`cni`), and who enters them.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tepui_core::ids::ContainerId;

use super::enter::{is_namespace, on_a_thread};
use super::error::{NetworkError, Result};
use super::links;
use super::netlink::Netlink;

/// In which network a container is (CT-15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the host's, with all that is there.
    Host,
    /// In that of its parent, bound here.
    Parent(PathBuf),
    /// In one of its own, which has to be made.
    Own,
}

impl Placement {
    /// Decides it: whoever asks for networks has a namespace of its own, also below a parent;
    /// others are where their parent is. `parent` is the parent's namespace, `None` if it has no
    /// parent or that one is on the host's network.
    pub fn of(parent: Option<&Path>, networks: usize) -> Self {
        match parent {
            _ if networks > 0 => Self::Own,
            Some(path) => Self::Parent(path.to_owned()),
            None => Self::Host,
        }
    }
}

/// The network namespaces of one agent's containers, each bound at `<directory>/<container id>`.
///
/// The directory should not outlive a restart of the machine (like one below `/run`), and is the
/// agent's alone. All that is known is what is in it: a new value for the same directory goes on
/// where the former one ended.
#[derive(Clone, Debug)]
pub struct Namespaces {
    dir: PathBuf,
}

impl Namespaces {
    /// Opens the directory; makes it if need be.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&dir)
            .map_err(|error| NetworkError::file("create", &dir, error))?;
        Ok(Self { dir })
    }

    /// Returns where the namespace of a container is, or would be.
    pub fn path(&self, id: &ContainerId) -> PathBuf {
        self.dir.join(id.as_str())
    }

    /// Returns where the namespace of a container is, if it has one.
    pub fn find(&self, id: &ContainerId) -> Option<PathBuf> {
        Some(self.path(id)).filter(|path| is_namespace(path))
    }

    /// Makes a namespace with its loopback interface up, and returns where it is bound.
    ///
    /// Nothing is left of one that cannot be made. It is an error if there is one already.
    pub fn make(&self, id: &ContainerId) -> Result<PathBuf> {
        let path = self.path(id);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match file {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(NetworkError::NamespaceExists { path });
            }
            Err(error) => return Err(NetworkError::file("create", &path, error)),
        }
        // Only that thread is in the new namespace; once it ends the file alone keeps it.
        match on_a_thread(|| bind_new(&path)).flatten() {
            Ok(()) => Ok(path),
            Err(failure) => match remove_at(&path) {
                Ok(()) => Err(failure),
                Err(undo) => Err(NetworkError::NotUndone {
                    failure: Box::new(failure),
                    undo: Box::new(undo),
                }),
            },
        }
    }

    /// Removes the namespace of a container; fine if there is none. Its interfaces go when nobody
    /// is in it any more.
    pub fn remove(&self, id: &ContainerId) -> Result<()> {
        remove_at(&self.path(id))
    }

    /// Removes what belongs to no container of `known`, and returns the names of that: namespaces
    /// of containers that are gone, and what a crash left half made.
    ///
    /// Detach them from their networks first ([`super::cni::Networks::recover`]): plugins tidy up
    /// better while there is a namespace. What cannot be removed keeps nothing else from it; the
    /// first such failure is returned at the end.
    pub fn recover(&self, known: &BTreeSet<ContainerId>) -> Result<Vec<String>> {
        let failed = |error| NetworkError::file("read", &self.dir, error);
        let mut removed = Vec::new();
        let mut failure = None;
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let is_known = known.iter().any(|id| name == id.as_str());
            let path = self.dir.join(&name);
            if !is_known || !is_namespace(&path) {
                match remove_at(&path) {
                    Ok(()) => removed.push(name.to_string_lossy().into_owned()),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
        }
        removed.sort();
        failure.map_or(Ok(removed), Err)
    }
}

/// Makes the calling thread the first one in a namespace, and binds that to the file.
fn bind_new(path: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| NetworkError::system("make a network namespace", errno))?;
    let mut netlink = Netlink::route()?;
    let Some(loopback) = links::find(&mut netlink, "lo")? else {
        return Err(NetworkError::NoInterface {
            interface: "lo".to_owned(),
            namespace: path.to_owned(),
        });
    };
    links::bring_up(&mut netlink, &loopback)?;
    let none: Option<&str> = None;
    mount(
        Some("/proc/thread-self/ns/net"),
        path,
        none,
        MsFlags::MS_BIND,
        none,
    )
    .map_err(|errno| NetworkError::file("bind a network namespace to", path, errno))
}

/// Unbinds whatever is bound there, and removes the file.
fn remove_at(path: &Path) -> Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // There may be another one below.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            // Without the right to unmount there can be no mount of ours; the removal tells.
            Err(Errno::EPERM) => break,
            Err(errno) => return Err(NetworkError::file("unmount", path, errno)),
        }
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(NetworkError::file("remove", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_networks_has_a_namespace_and_others_are_where_their_parent_is() {
        // CT-15
        let parent = Path::new("/run/p");
        assert_eq!(Placement::of(None, 0), Placement::Host);
        assert_eq!(Placement::of(None, 1), Placement::Own);
        assert_eq!(
            Placement::of(Some(parent), 0),
            Placement::Parent(parent.to_owned())
        );
        assert_eq!(Placement::of(Some(parent), 2), Placement::Own);
    }
}
