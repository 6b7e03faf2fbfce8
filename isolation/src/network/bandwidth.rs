//! Bounds what a container sends (CT-53: egress rate limit).
//!
//! It is a token bucket (`tbf`) on the container's own end of the link, and not on the host's: what
//! leaves a container arrives at the host's end as received, where a queue would need a second
//! device to redirect to; and here it works for every kind of link, a sender is slowed down instead
//! of losing packets, and it is one request. That it is inside does not make it the container's: a
//! namespace made by [`super::Namespaces`] belongs to the user namespace of the agent, so root in a
//! user namespace of the container has no capability over it. Only a process with `CAP_NET_ADMIN`
//! of the host itself could undo it, which tasks have not (see the crate's documentation). Whoever
//! hands out that one puts CNI's plugin `bandwidth` in the network's chain instead, and gives the
//! limit with [`super::cni::Join::egress`]: that one works on the host's end.
//!
//! Deliberately not here: what a container receives, classes, fair queues.

use std::path::Path;

use nix::errno::Errno;

use super::enter::within;
use super::error::{NetworkError, Result};
use super::links::{self, Link};
use super::netlink::{Message, Netlink, Request, attributes, number_at};

/// The length of `struct tcmsg`.
const HEADER_BYTES: usize = 20;
/// The length of `struct tc_tbf_qopt`.
const PARAMETERS_BYTES: usize = 36;
/// The handle of our queue, `1:`.
const HANDLE: u32 = 0x0001_0000;
const TC_H_ROOT: u32 = 0xffff_ffff;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS: u16 = 3;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const LINKLAYER_ETHERNET: u8 = 1;
const TBF: &[u8] = b"tbf\0";
/// The kernel counts time in queues in units of so many nanoseconds.
const TICK_NANOSECONDS: u64 = 64;
/// The header of Ethernet, which is part of a packet here.
const LINK_HEADER_BYTES: u32 = 14;
/// The least default burst: one large segment of TCP.
const LEAST_BURST: u64 = 64 * 1024;
/// The least room for packets that wait.
const LEAST_QUEUE: u64 = 256 * 1024;

/// How much may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run, in bytes a second; at least 1.
    pub bytes_per_second: u64,
    /// At once after a pause, in bytes; at least one packet of the link.
    pub burst_bytes: u32,
}

impl Rate {
    /// Makes a limit with the burst of ten milliseconds, but at least of 64 KiB.
    pub fn of(bytes_per_second: u64) -> Self {
        let burst = (bytes_per_second / 100).max(LEAST_BURST);
        Self {
            bytes_per_second,
            burst_bytes: u32::try_from(burst).unwrap_or(u32::MAX),
        }
    }
}

/// What a limit has done so far (CT-82).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatistics {
    /// Bytes sent.
    pub bytes: u64,
    /// Packets sent.
    pub packets: u32,
    /// Packets dropped because too many waited.
    pub dropped: u32,
    /// How often a packet had to wait.
    pub overlimits: u32,
    /// Bytes that wait now.
    pub backlog_bytes: u32,
}

/// Limits what leaves through an interface of the container whose namespace is bound at
/// `namespace`; replaces a former limit.
///
/// A container in host mode (`None`) shares the host's interfaces, which cannot be limited for it
/// alone: that is refused.
pub fn limit(namespace: Option<&Path>, interface: &str, egress: Rate) -> Result<()> {
    on_link(namespace, interface, |netlink, link| {
        netlink.order(replacement(link, egress)?)
    })
}

/// Takes the limit away; fine if there is none.
pub fn unlimit(namespace: Option<&Path>, interface: &str) -> Result<()> {
    on_link(namespace, interface, |netlink, link| {
        if ours(netlink, link)?.is_none() {
            return Ok(());
        }
        let header = header(link, HANDLE);
        let request = Request::new("unlimit", &*link.name, libc::RTM_DELQDISC, 0, &header);
        netlink.order(request).or_else(|error| {
            // It went meanwhile, by another hand.
            let gone = Errno::ENOENT as i32;
            let is_gone = matches!(&error, NetworkError::Netlink { source, .. }
                if source.raw_os_error() == Some(gone));
            if is_gone { Ok(()) } else { Err(error) }
        })
    })
}

/// Reads the limit of an interface and what it has done, as the kernel has them; `None` without a
/// limit. The burst may differ by a few bytes from what was asked for.
pub fn read(namespace: Option<&Path>, interface: &str) -> Result<Option<(Rate, QueueStatistics)>> {
    on_link(namespace, interface, ours)
}

fn on_link<T: Send>(
    namespace: Option<&Path>,
    interface: &str,
    work: impl FnOnce(&mut Netlink, &Link) -> Result<T> + Send,
) -> Result<T> {
    let Some(namespace) = namespace else {
        let what = "a limit on what is sent";
        return Err(NetworkError::HostMode { what });
    };
    within(namespace, || {
        let mut netlink = Netlink::route()?;
        let link = links::find(&mut netlink, interface)?;
        let link = link.ok_or_else(|| NetworkError::NoInterface {
            interface: interface.to_owned(),
            namespace: namespace.to_owned(),
        })?;
        work(&mut netlink, &link)
    })?
}

fn header(link: &Link, handle: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[4..8].copy_from_slice(&link.index.to_ne_bytes());
    header[8..12].copy_from_slice(&handle.to_ne_bytes());
    header[12..16].copy_from_slice(&TC_H_ROOT.to_ne_bytes());
    header
}

fn replacement(link: &Link, egress: Rate) -> Result<Request> {
    let Rate {
        bytes_per_second: rate,
        burst_bytes: burst,
    } = egress;
    if rate == 0 {
        return Err(NetworkError::invalid(
            "rate",
            "0",
            "at least 1 byte a second",
        ));
    }
    if burst < link.mtu.saturating_add(LINK_HEADER_BYTES) {
        let expected = "at least one packet of the link";
        return Err(NetworkError::invalid("burst", burst.to_string(), expected));
    }
    // A tenth of a second may wait.
    let queue = u64::from(burst) + (rate / 10).max(LEAST_QUEUE);
    let queue = u32::try_from(queue).unwrap_or(u32::MAX);
    let mut parameters = [0; PARAMETERS_BYTES];
    // struct tc_ratespec, twice; of the second, the peak, all is zero.
    parameters[1] = LINKLAYER_ETHERNET;
    let short_rate = u32::try_from(rate).unwrap_or(u32::MAX);
    parameters[8..12].copy_from_slice(&short_rate.to_ne_bytes());
    parameters[24..28].copy_from_slice(&queue.to_ne_bytes());
    let mut options = vec![(TCA_TBF_PARMS, parameters.to_vec())];
    if rate >= u64::from(u32::MAX) {
        options.push((TCA_TBF_RATE64, rate.to_ne_bytes().to_vec()));
    }
    options.push((TCA_TBF_BURST, burst.to_ne_bytes().to_vec()));
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let header = header(link, HANDLE);
    let request = Request::new("limit", &*link.name, libc::RTM_NEWQDISC, flags, &header);
    Ok(request
        .attribute(TCA_KIND, TBF)
        .nested(TCA_OPTIONS, &options))
}

/// Finds our queue on an interface.
fn ours(netlink: &mut Netlink, link: &Link) -> Result<Option<(Rate, QueueStatistics)>> {
    let header = [0; HEADER_BYTES];
    let request = Request::new("list queues", &*link.name, libc::RTM_GETQDISC, 0, &header);
    let mut found = netlink.dump(request, |row| parse(row, link))?;
    Ok(found.pop())
}

fn parse(row: Message<'_>, link: &Link) -> Option<(Rate, QueueStatistics)> {
    let body = row.body;
    let word = |bytes: &[u8], at: usize| number_at(bytes, at).map(u32::from_ne_bytes);
    let is_ours = row.kind == libc::RTM_NEWQDISC
        && word(body, 4)? == link.index
        && word(body, 12)? == TC_H_ROOT;
    let found = attributes(body, HEADER_BYTES);
    if !is_ours || found.clone().find(TCA_KIND)? != TBF {
        return None;
    }
    let options = attributes(found.clone().find(TCA_OPTIONS)?, 0);
    let parameters = options.clone().find(TCA_TBF_PARMS)?;
    let long_rate = options.find(TCA_TBF_RATE64);
    let long_rate = long_rate.and_then(|data| number_at(data, 0));
    let rate = long_rate.map_or(u64::from(word(parameters, 8)?), u64::from_ne_bytes);
    let ticks = u128::from(word(parameters, 28)?) * u128::from(TICK_NANOSECONDS);
    let burst = u128::from(rate) * ticks / 1_000_000_000;
    let counts = found.find(TCA_STATS).unwrap_or_default();
    // struct tc_stats: bytes, packets, drops, overlimits, bps, pps, qlen, backlog.
    let statistics = QueueStatistics {
        bytes: number_at(counts, 0).map_or(0, u64::from_ne_bytes),
        packets: word(counts, 8).unwrap_or(0),
        dropped: word(counts, 12).unwrap_or(0),
        overlimits: word(counts, 16).unwrap_or(0),
        backlog_bytes: word(counts, 32).unwrap_or(0),
    };
    let egress = Rate {
        bytes_per_second: rate,
        burst_bytes: u32::try_from(burst).unwrap_or(u32::MAX),
    };
    Some((egress, statistics))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_would_let_nothing_through_are_refused() {
        let link = Link {
            name: "eth0".to_owned(),
            mtu: 1500,
            ..Link::default()
        };
        assert!(replacement(&link, Rate::of(1)).is_ok());
        assert!(replacement(&link, Rate::of(0)).is_err());
        let narrow = |burst_bytes| Rate {
            bytes_per_second: 1,
            burst_bytes,
        };
        assert!(replacement(&link, narrow(1513)).is_err());
        assert!(replacement(&link, narrow(1514)).is_ok());
        assert!(replacement(&link, Rate::of(u64::MAX)).is_ok());
    }

    #[test]
    fn a_container_on_the_hosts_network_is_not_limited_and_that_is_said() {
        // CT-53
        let refused = limit(None, "eth0", Rate::of(1)).unwrap_err();
        assert!(
            matches!(refused, NetworkError::HostMode { .. }),
            "{refused}"
        );
        assert!(unlimit(None, "eth0").is_err());
        assert!(read(None, "eth0").is_err());
    }
}
