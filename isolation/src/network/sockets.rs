//! The sockets of a network namespace, as the kernel lists them (`sock_diag`): who listens, and how
//! long the connections' round trips are.
//!
//! What is right or wrong with them is decided elsewhere (`ports`, `statistics`).

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::enter::within;
use super::error::{NetworkError, Result};
use super::mapping::Protocol;
use super::netlink::{Message, Netlink, Request, attributes, number_at};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The length of `struct inet_diag_msg`.
const MESSAGE_BYTES: usize = 72;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_CGROUP_ID: u16 = 21;
const TCP_ESTABLISHED: u32 = 1;
/// Of UDP: bound and not connected.
const TCP_CLOSE: u32 = 7;
const TCP_LISTEN: u32 = 10;
/// Where the smoothed round trip is in `struct tcp_info`, in microseconds.
const RTT_AT: usize = 68;

/// A socket that waits for whoever comes: TCP that listens, or UDP that is bound and not connected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Listener {
    /// Its protocol.
    pub protocol: Protocol,
    /// Where it listens; an address of zeros is all addresses.
    pub address: SocketAddr,
    /// Its number in the kernel, as in `/proc/PID/fd`.
    pub inode: u32,
    /// The group of the unified control group hierarchy in which it was made: the inode of the
    /// group's directory. `None` if the kernel does not tell.
    pub cgroup: Option<u64>,
}

/// The listeners of one network namespace at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    all: Vec<Listener>,
}

/// Which sockets of a namespace are a container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// All of them: the namespace is its own.
    Everybody,
    /// Those made in these control groups of the unified hierarchy, or in others that are listed
    /// too: the inodes of the groups' directories. One look for each socket; where the container's
    /// processes are in that hierarchy.
    Cgroups(BTreeSet<u64>),
    /// Those that these processes hold: all of the container's, as its control group lists them.
    /// Their open files are looked through, those of no other process.
    Processes(Vec<u32>),
}

impl Listeners {
    /// Lists the listeners of the calling thread's namespace, the host's as a rule.
    pub fn here() -> Result<Self> {
        let mut netlink = Netlink::diagnostics()?;
        let mut all = BTreeSet::new();
        for (protocol, state) in [
            (Protocol::Tcp, 1 << TCP_LISTEN),
            (Protocol::Udp, 1 << TCP_CLOSE),
        ] {
            for family in [libc::AF_INET, libc::AF_INET6] {
                let found = dump(&mut netlink, family, protocol, (state, 0), |row| {
                    listener(row, protocol)
                });
                all.extend(found?);
            }
        }
        Ok(Self {
            all: all.into_iter().collect(),
        })
    }

    /// Lists the listeners of the namespace bound at `path`.
    pub fn of_namespace(path: &Path) -> Result<Self> {
        within(path, Self::here)?
    }

    /// Returns those that are a container's.
    ///
    /// A process that ended meanwhile holds nothing; one that may not be looked at is an error.
    pub fn held_by(&self, holder: &Holder) -> Result<Vec<Listener>> {
        let held: Vec<&Listener> = match holder {
            Holder::Everybody => self.all.iter().collect(),
            Holder::Cgroups(groups) => {
                let is_held = |listener: &&Listener| {
                    listener.cgroup.is_some_and(|group| groups.contains(&group))
                };
                self.all.iter().filter(is_held).collect()
            }
            Holder::Processes(pids) => {
                let mut inodes = BTreeSet::new();
                for &pid in pids {
                    inodes.extend(sockets_of(pid)?);
                }
                let is_held = |listener: &&Listener| inodes.contains(&listener.inode);
                self.all.iter().filter(is_held).collect()
            }
        };
        Ok(held.into_iter().cloned().collect())
    }
}

/// Returns the smoothed round trip times of all established TCP connections of the calling
/// thread's namespace, in order.
pub(crate) fn round_trips() -> Result<Vec<Duration>> {
    let mut netlink = Netlink::diagnostics()?;
    let mut all = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let extension = 1 << (INET_DIAG_INFO - 1);
        let state = 1 << TCP_ESTABLISHED;
        let found = dump(
            &mut netlink,
            family,
            Protocol::Tcp,
            (state, extension),
            |row| {
                let info = attributes(row.body, MESSAGE_BYTES).find(INET_DIAG_INFO)?;
                let micros = u32::from_ne_bytes(number_at(info, RTT_AT)?);
                Some(Duration::from_micros(u64::from(micros)))
            },
        );
        all.extend(found?);
    }
    all.sort();
    Ok(all)
}

fn dump<T>(
    netlink: &mut Netlink,
    family: i32,
    protocol: Protocol,
    (states, extension): (u32, u8),
    read: impl Fn(Message<'_>) -> Option<T>,
) -> Result<Vec<T>> {
    let number = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
    };
    // struct inet_diag_req_v2: which socket is left open, for it is not asked for one.
    let mut body = [0; 56];
    body[0] = family as u8;
    body[1] = number as u8;
    body[2] = extension;
    body[4..8].copy_from_slice(&states.to_ne_bytes());
    let subject = protocol.to_string();
    let request = Request::new("list sockets", subject, SOCK_DIAG_BY_FAMILY, 0, &body);
    netlink.dump(request, read)
}

fn listener(row: Message<'_>, protocol: Protocol) -> Option<Listener> {
    let body = row.body;
    let port = u16::from_be_bytes(number_at(body, 4)?);
    let address = match i32::from(*body.first()?) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from(number_at::<4>(body, 8)?)),
        libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(number_at::<16>(body, 8)?)),
        _ => return None,
    };
    let cgroup = attributes(body, MESSAGE_BYTES).find(INET_DIAG_CGROUP_ID);
    Some(Listener {
        protocol,
        address: SocketAddr::new(address, port),
        inode: u32::from_ne_bytes(number_at(body, 68)?),
        cgroup: cgroup
            .and_then(|data| number_at(data, 0))
            .map(u64::from_ne_bytes),
    })
}

/// Lists the inodes of the sockets that a process has open.
fn sockets_of(pid: u32) -> Result<Vec<u32>> {
    let dir = Path::new("/proc").join(pid.to_string()).join("fd");
    let failed = |error| NetworkError::file("read", &dir, error);
    let mut sockets = Vec::new();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(sockets),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let target = match entry.and_then(|entry| fs::read_link(entry.path())) {
            Ok(target) => target,
            // The file was closed, or the process ended.
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(failed(error)),
        };
        let inode = target.to_str().and_then(|text| {
            let text = text.strip_prefix("socket:[")?;
            text.strip_suffix(']')?.parse::<u32>().ok()
        });
        sockets.extend(inode);
    }
    Ok(sockets)
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}
