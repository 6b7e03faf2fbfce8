//! What `tepui run` on a cluster of its own sends over the network: everything that it says to the
//! master and reads from the agent are packets of QUIC.
//!
//! The run has a network of its own, with nothing but a loopback in it, where a packet socket sees
//! every packet. That takes root; without, the test says so.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd};

use common::{TEPUI, command, is_root_or_skip};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};

/// What the packet socket holds; all packets of a run must fit in.
const CAPTURED_BYTES: usize = 64 * 1024 * 1024;
/// How much the task writes.
const OUTPUT_BYTES: usize = 300_000;

/// What went from one port to another.
#[derive(Debug, Default)]
struct Sent {
    /// Packets of a handshake: a long header with version 1 (RFC 9000, section 17.2).
    handshake: usize,
    /// Packets after it: a short header (section 17.3).
    data: usize,
    /// Everything, in bytes.
    bytes: usize,
}

/// Gives this thread, and the processes that it starts from now on, a network with a loopback only,
/// and returns a socket that sees its packets.
fn network_of_our_own() -> OwnedFd {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let packets = socket(
        AddressFamily::Packet,
        SockType::Raw,
        flags,
        SockProtocol::EthAll,
    );
    let packets = packets.unwrap();
    setsockopt(&packets, sockopt::RcvBufForce, &CAPTURED_BYTES).unwrap();
    let mut name = [0; libc::IFNAMSIZ];
    name[..2].copy_from_slice(&b"lo".map(|byte| byte as libc::c_char));
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::c_short::try_from(libc::IFF_UP).unwrap(),
        },
    };
    // SAFETY: the request is whole, its name ends with a zero, and it outlives the call.
    let up = unsafe { libc::ioctl(packets.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    assert_eq!(up, 0, "{}", std::io::Error::last_os_error());
    packets
}

/// Takes all packets of UDP that were seen, by the ports that they went from and to.
fn conversations(packets: &OwnedFd) -> BTreeMap<(u16, u16), Sent> {
    let mut sent = BTreeMap::<_, Sent>::new();
    let mut frame = vec![0; 70_000];
    loop {
        let (length, from) = match recvfrom::<LinkAddr>(packets.as_raw_fd(), &mut frame) {
            Ok(received) => received,
            Err(nix::errno::Errno::EAGAIN) => return sent,
            Err(error) => panic!("{error}"),
        };
        // A loopback shows each packet twice: as it leaves and as it comes.
        if from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING) {
            continue;
        }
        let ip = &frame[14..length];
        if ip[0] >> 4 != 4 || i32::from(ip[9]) != libc::IPPROTO_UDP {
            continue;
        }
        let udp = &ip[usize::from(ip[0] & 0xf) * 4..];
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let content = &udp[8..];
        let one = sent.entry((port(0), port(2))).or_default();
        one.bytes += content.len();
        match (content[0] & 0x80 != 0, content.get(1..5)) {
            (true, Some([0, 0, 0, 1])) => one.handshake += 1,
            (true, other) => panic!("a long header of version {other:?}"),
            (false, _) => one.data += 1,
        }
    }
}

#[test]
fn a_run_on_a_cluster_of_its_own_passes_its_sockets() {
    if !is_root_or_skip("a network namespace and a packet socket") {
        return;
    }
    let packets = network_of_our_own();
    let script = format!("head -c {OUTPUT_BYTES} /dev/zero | tr '\\0' x");
    let mut run = command(TEPUI);
    run.args(["run", "--", "sh", "-c", &script]);
    let ended = common::run(run).with(0);
    assert_eq!(ended.out.len(), OUTPUT_BYTES);

    let sent = conversations(&packets);
    let there_and_back = |(a, b): (u16, u16)| {
        [(a, b), (b, a)].iter().all(|way| {
            let one = sent.get(way);
            one.is_some_and(|one| one.handshake > 0 && one.data > 0)
        })
    };
    let pairs: BTreeSet<(u16, u16)> = sent.keys().map(|(a, b)| (*a.min(b), *a.max(b))).collect();
    assert!(pairs.iter().copied().all(there_and_back), "{sent:?}");
    // The agent and the run at the master, and the run at the agent: two have two partners.
    assert_eq!(pairs.len(), 3, "{sent:?}");
    let partners = |port: u16| {
        pairs
            .iter()
            .filter(|(a, b)| *a == port || *b == port)
            .count()
    };
    let ports: BTreeSet<u16> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let servers: BTreeSet<u16> = ports
        .iter()
        .copied()
        .filter(|port| partners(*port) == 2)
        .collect();
    assert_eq!((ports.len(), servers.len()), (4, 2), "{sent:?}");
    // All that the task wrote went from one of the two to a port of the run.
    let output = |((from, to), one): (&(u16, u16), &Sent)| {
        servers.contains(from) && !servers.contains(to) && one.bytes > OUTPUT_BYTES
    };
    assert_eq!(
        sent.iter().filter(|one| output(*one)).count(),
        1,
        "{sent:?}"
    );
}
