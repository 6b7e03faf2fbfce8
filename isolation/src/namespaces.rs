//! Which namespaces a container has for itself, and which it shares.
//!
//! The flags are used by the launcher when it has an init cloned; the rest runs in that init.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use tepui_core::ids::ContainerId;

use crate::error::{Error, Result};
use crate::launch::{HOST_NAME_BYTES, Ipc, Launch, Network};
use crate::mountapi::{self, Reach};
use crate::volumes::c_string;

/// Returns the namespaces that are made with a container's first process.
pub(crate) fn flags(launch: &Launch) -> CloneFlags {
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    flags.set(CloneFlags::CLONE_NEWPID, launch.share_pid.is_none());
    flags.set(CloneFlags::CLONE_NEWIPC, launch.ipc == Ipc::Own);
    flags.set(
        CloneFlags::CLONE_NEWNET,
        launch.network == Network::Isolated,
    );
    flags
}

/// What a container uses of another one. Opened by the launcher, which knows both.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// For the nursery: it makes the first process in it.
    pub(crate) pid: Option<OwnedFd>,
    /// For the init, in the order in which it takes them.
    pub(crate) of_init: Vec<OwnedFd>,
}

impl Shared {
    /// Opens what `launch` shares; `find` tells the first process of a container that runs.
    pub(crate) fn open(
        launch: &Launch,
        find: impl Fn(&ContainerId) -> Result<nix::unistd::Pid>,
    ) -> Result<Self> {
        let open = |id: &ContainerId, kind: &str| {
            let path = PathBuf::from(format!("/proc/{}/ns/{kind}", find(id)?));
            let file = File::open(&path);
            let file = file.map_err(|error| Error::file("open", &path, error))?;
            Ok::<OwnedFd, Error>(file.into())
        };
        let pid = launch.share_pid.as_ref().map(|id| open(id, "pid"));
        let mut of_init = Vec::new();
        if let Ipc::Of(id) = &launch.ipc {
            of_init.push(open(id, "ipc")?);
            of_init.push(open(id, "mnt")?);
        }
        if let Network::Of(id) = &launch.network {
            of_init.push(open(id, "net")?);
        }
        let pid = pid.transpose()?;
        Ok(Self { pid, of_init })
    }
}

/// Enters what is shared, in the order of [`Shared`], and names the host. Returns `/dev/shm` of
/// those whose IPC objects are shared.
pub(crate) fn enter(
    id: &ContainerId,
    launch: &Launch,
    files: &mut impl Iterator<Item = OwnedFd>,
) -> Result<Option<OwnedFd>> {
    let named = launch.hostname.as_deref();
    let host = named.unwrap_or_else(|| host_name(id));
    nix::unistd::sethostname(host).map_err(|errno| Error::system("sethostname", errno))?;
    let mut next = || {
        let missing = || Error::Frame("a namespace to be shared is missing".to_owned());
        files.next().ok_or_else(missing)
    };
    let shm = match &launch.ipc {
        Ipc::Own => None,
        Ipc::Of(_) => {
            let (ipc, mounts) = (next()?, next()?);
            share_ipc(ipc)?;
            Some(memory_of(&mounts)?)
        }
        Ipc::Kept { namespace, memory } => {
            let ipc = File::open(namespace);
            share_ipc(ipc.map_err(|error| Error::file("open", namespace, error))?)?;
            let tree = mountapi::copy_tree(mountapi::here(), &c_string(memory)?, Reach::One);
            Some(tree.map_err(|errno| Error::file("bind", memory, errno))?)
        }
    };
    let network = match &launch.network {
        Network::Host => None,
        Network::Isolated => {
            raise_loopback().map_err(|errno| Error::system("raise loopback", errno))?;
            None
        }
        Network::Namespace(path) => {
            let file = File::open(path).map_err(|error| Error::file("open", path, error))?;
            Some(OwnedFd::from(file))
        }
        Network::Of(_) => Some(next()?),
    };
    if let Some(network) = network {
        setns(network, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::system("enter a network", errno))?;
    }
    Ok(shm)
}

fn share_ipc(namespace: impl AsFd) -> Result<()> {
    let entered = setns(namespace, CloneFlags::CLONE_NEWIPC);
    entered.map_err(|errno| Error::system("share IPC", errno))
}

/// Copies `/dev/shm` as the processes of these mounts see it.
fn memory_of(mounts: &OwnedFd) -> Result<OwnedFd> {
    let failed = |errno: Errno| Error::system("share /dev/shm", errno);
    let own = open(
        "/proc/self/ns/mnt",
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    );
    let own = own.map_err(failed)?;
    let here = open(".", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
    let kind = CloneFlags::CLONE_NEWNS;
    setns(mounts.as_fd(), kind).map_err(failed)?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let tree = openat2(mountapi::here(), "/dev/shm", how)
        .and_then(|shm| mountapi::copy_tree(shm, c"", Reach::One));
    // Back in any case; both, for entering mounts also changes where we are.
    setns(own, kind)
        .and_then(|()| nix::unistd::fchdir(here))
        .map_err(failed)?;
    tree.map_err(failed)
}

/// Cuts the mounts of the calling process off from the host's: the host's later mounts appear in
/// it; nothing mounted in it appears on the host.
pub(crate) fn cut_off() -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .map_err(|errno| Error::system("make mounts private", errno))
}

/// Makes the groups that the calling process is in the top of all that it sees.
pub(crate) fn hide_other_groups() -> Result<()> {
    match unshare(CloneFlags::CLONE_NEWCGROUP) {
        // The second: a kernel without control groups.
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(Error::system("make a cgroup namespace", errno)),
    }
}

/// Mounts a `/proc` of the calling process's namespace.
pub(crate) fn mount_proc() -> Result<()> {
    let none: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)
        .map_err(|errno| Error::file("mount proc on", Path::new("/proc"), errno))
}

/// Makes the loopback interface of a new network usable.
fn raise_loopback() -> std::result::Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let kind = SockType::Datagram;
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: plain bytes and numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the structure is the one of this request and lives through the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(done).map(drop)
}

/// Cuts an id to what may be a host name.
fn host_name(id: &ContainerId) -> &str {
    let text = id.as_str();
    &text[..text.floor_char_boundary(HOST_NAME_BYTES)]
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

    #[test]
    fn what_is_shared_is_not_made() {
        // CT-14, CT-15, CT-55, CT-56
        let all = CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS;
        assert_eq!(flags(&Launch::default()), all);
        let id = ContainerId::numbered(1);
        let sharing = Launch {
            share_pid: Some(id.clone()),
            ipc: Ipc::Of(id.clone()),
            network: Network::Of(id),
            ..Launch::default()
        };
        let own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
        assert_eq!(flags(&sharing), own);
        let kept = Ipc::Kept {
            namespace: "/run/ipc".into(),
            memory: "/run/shm".into(),
        };
        let kept = Launch {
            ipc: kept,
            ..Launch::default()
        };
        assert_eq!(flags(&kept), all - CloneFlags::CLONE_NEWIPC);
        let network = Network::Isolated;
        let isolated = Launch {
            network,
            ..Launch::default()
        };
        assert_eq!(flags(&isolated), all | CloneFlags::CLONE_NEWNET);
    }
}
