//! The network interfaces of the calling thread's namespace: found by name, brought up, counted.
//!
//! Plain rtnetlink. Interfaces themselves are made by CNI plugins, not here.

use super::error::Result;
use super::netlink::{Message, Netlink, Request, attributes, number_at};

/// The length of `struct ifinfomsg`.
const INFO_BYTES: usize = 16;

/// An interface with what went through it since it was made (CT-82). "Received" is what came into
/// the namespace of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Its name, like `eth0`.
    pub name: String,
    /// Its number in its namespace.
    pub index: u32,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// What was received.
    pub received: Traffic,
    /// What was sent.
    pub sent: Traffic,
}

/// What went through an interface in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes, with the headers of the link.
    pub bytes: u64,
    /// Packets that were in error.
    pub errors: u64,
    /// Packets that were dropped for want of room, or by a queue.
    pub dropped: u64,
}

/// Lists the interfaces.
pub(crate) fn all(netlink: &mut Netlink) -> Result<Vec<Link>> {
    let request = Request::new("list links", "", libc::RTM_GETLINK, 0, &[0; INFO_BYTES]);
    netlink.dump(request, read)
}

/// Finds an interface by its name.
pub(crate) fn find(netlink: &mut Netlink, name: &str) -> Result<Option<Link>> {
    Ok(all(netlink)?.into_iter().find(|link| link.name == name))
}

/// Brings an interface up.
pub(crate) fn bring_up(netlink: &mut Netlink, link: &Link) -> Result<()> {
    let mut info = [0; INFO_BYTES];
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    info[4..8].copy_from_slice(&link.index.to_ne_bytes());
    info[8..12].copy_from_slice(&up);
    info[12..16].copy_from_slice(&up);
    let request = Request::new("bring up", &*link.name, libc::RTM_NEWLINK, 0, &info);
    netlink.order(request)
}

fn read(message: Message<'_>) -> Option<Link> {
    if message.kind != libc::RTM_NEWLINK {
        return None;
    }
    let found = attributes(message.body, INFO_BYTES);
    let name = found.clone().find(libc::IFLA_IFNAME)?;
    let name = name.split(|&byte| byte == 0).next()?;
    let mtu = found.clone().find(libc::IFLA_MTU);
    let counts = found.find(libc::IFLA_STATS64).unwrap_or_default();
    // The order of `struct rtnl_link_stats64`.
    let count = |n: usize| number_at(counts, n * 8).map_or(0, u64::from_ne_bytes);
    let traffic = |first: usize| Traffic {
        packets: count(first),
        bytes: count(first + 2),
        errors: count(first + 4),
        dropped: count(first + 6),
    };
    Some(Link {
        name: String::from_utf8_lossy(name).into_owned(),
        index: u32::from_ne_bytes(number_at(message.body, 4)?),
        mtu: mtu
            .and_then(|data| number_at(data, 0))
            .map_or(0, u32::from_ne_bytes),
        received: traffic(0),
        sent: traffic(1),
    })
}
