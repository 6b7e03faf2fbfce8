//! What a container sees of the machine: processes, mounts, IPC objects and a host name of its
//! own, on the host's root filesystem.
//!
//! The flags are used by the launcher when it clones an init; the rest runs in that init.

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use tepui_core::ids::ContainerId;

use crate::error::{Error, Result};

/// The longest host name that the kernel takes.
const HOST_NAME_BYTES: usize = 64;

/// Returns the namespaces that a container has for itself.
pub(crate) fn flags() -> CloneFlags {
    CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
}

/// Arranges the new namespaces: called by the first process in them, once.
pub(crate) fn arrange(id: &ContainerId) -> Result<()> {
    nix::unistd::sethostname(host_name(id)).map_err(|errno| Error::system("sethostname", errno))?;
    let none: Option<&str> = None;
    // The host's later mounts appear inside; nothing mounted inside appears on the host.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .map_err(|errno| Error::system("make mounts private", errno))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)
        .map_err(|errno| Error::file("mount proc on", "/proc".as_ref(), errno))
}

/// Cuts an id to what may be a host name.
fn host_name(id: &ContainerId) -> &str {
    let text = id.as_str();
    let cut = (0..=HOST_NAME_BYTES.min(text.len())).rev();
    let end = cut.into_iter().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_are_cut_between_characters() {
        let id = ContainerId::new(&"é".repeat(100)).unwrap();
        assert_eq!(host_name(&id).len(), 64);
        let id = ContainerId::new(&format!("a{}", "é".repeat(100))).unwrap();
        assert_eq!(host_name(&id).len(), 63);
        let id = ContainerId::numbered(1);
        assert_eq!(host_name(&id), "c000001");
    }
}
