//! What goes through a container's network: interfaces, connections, protocols (CT-82).
//!
//! For containers with a namespace of their own; on the host's network the numbers would be
//! everybody's. Deliberately not here: rates, which whoever reads twice can compute.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::bandwidth::{self, QueueStatistics, Rate};
use super::enter::within;
use super::error::{NetworkError, Result};
use super::links::{self, Link};
use super::netlink::Netlink;
use super::sockets;

/// What the kernel counts of one protocol, by the names that it gives, like `RetransSegs`.
pub type Counters = BTreeMap<String, i64>;

/// What has gone through a network namespace since it was made.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// The interfaces but for the loopback one.
    pub links: Vec<Link>,
    /// TCP connections that are established, or that only the other side has closed.
    pub tcp_active: u64,
    /// TCP connections in TIME-WAIT.
    pub tcp_time_wait: u64,
    /// What the protocols count.
    pub snmp: Snmp,
}

/// The counters of `/proc/net/snmp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snmp {
    /// Of IP.
    pub ip: Counters,
    /// Of ICMP.
    pub icmp: Counters,
    /// Of TCP.
    pub tcp: Counters,
    /// Of UDP.
    pub udp: Counters,
}

/// How long the round trips of established TCP connections are, smoothed by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoundTrips {
    /// Of how many connections.
    pub connections: usize,
    /// Half of them are not longer.
    pub p50: Duration,
    /// Nine in ten are not longer.
    pub p90: Duration,
    /// Nineteen in twenty are not longer.
    pub p95: Duration,
    /// All but one in a hundred are not longer.
    pub p99: Duration,
}

/// Reads the statistics of the namespace bound at `namespace`; `None`, a container in host mode, is
/// refused.
pub fn read(namespace: Option<&Path>) -> Result<Statistics> {
    within(own(namespace)?, || {
        let mut links = links::all(&mut Netlink::route()?)?;
        links.retain(|link| link.name != "lo");
        let snmp = parse_snmp(&read_table("snmp")?);
        let active = snmp.tcp.get("CurrEstab").copied().unwrap_or(0);
        Ok(Statistics {
            links,
            tcp_active: u64::try_from(active).unwrap_or(0),
            tcp_time_wait: time_wait(&read_table("sockstat")?),
            snmp,
        })
    })?
}

/// Reads the round trips of the namespace's TCP connections; `None` if there is no connection.
///
/// Looks at every connection, so this one is dearer than [`read`].
pub fn round_trips(namespace: Option<&Path>) -> Result<Option<RoundTrips>> {
    let all = within(own(namespace)?, sockets::round_trips)??;
    Ok(percentiles(&all))
}

/// Reads the limit on what is sent through an interface, and what it has done.
pub fn egress(
    namespace: Option<&Path>,
    interface: &str,
) -> Result<Option<(Rate, QueueStatistics)>> {
    bandwidth::read(namespace, interface)
}

fn own(namespace: Option<&Path>) -> Result<&Path> {
    let what = "statistics of the network";
    namespace.ok_or(NetworkError::HostMode { what })
}

/// Reads a table of the calling thread's namespace.
fn read_table(name: &str) -> Result<String> {
    let path = Path::new("/proc/thread-self/net").join(name);
    fs::read_to_string(&path).map_err(|error| NetworkError::file("read", &path, error))
}

/// Reads pairs of lines: `Ip: Forwarding DefaultTTL ...` and `Ip: 1 64 ...`.
fn parse_snmp(text: &str) -> Snmp {
    let mut snmp = Snmp::default();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((protocol, names)), Some((_, values))) =
            (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        let counters = match protocol {
            "Ip" => &mut snmp.ip,
            "Icmp" => &mut snmp.icmp,
            "Tcp" => &mut snmp.tcp,
            "Udp" => &mut snmp.udp,
            _ => continue,
        };
        let values = values.split_whitespace().map(str::parse::<i64>);
        let pairs = names.split_whitespace().zip(values);
        counters.extend(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.ok()?))));
    }
    snmp
}

/// Reads `tw N` of the line `TCP: inuse 5 orphan 0 tw 2 alloc 7 mem 0`.
fn time_wait(sockstat: &str) -> u64 {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"));
    let mut words = line.unwrap_or_default().split_whitespace();
    let found = words.find(|&word| word == "tw");
    let number = found.and_then(|_| words.next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// `sorted` is in order.
fn percentiles(sorted: &[Duration]) -> Option<RoundTrips> {
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    };
    Some(RoundTrips {
        connections: sorted.len(),
        p50: at(50)?,
        p90: at(90)?,
        p95: at(95)?,
        p99: at(99)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read_by_name_and_without_trust() {
        // CT-82
        let text = "Ip: Forwarding InReceives\nIp: 2 41\n\
                    IcmpMsg: InType3\nIcmpMsg: 1\n\
                    Tcp: MaxConn CurrEstab Odd\nTcp: -1 3\nUdp";
        let snmp = parse_snmp(text);
        assert_eq!(snmp.ip["InReceives"], 41);
        assert_eq!(snmp.tcp["MaxConn"], -1);
        assert_eq!(snmp.tcp["CurrEstab"], 3);
        assert_eq!(snmp.tcp.len(), 2);
        assert!(snmp.udp.is_empty() && snmp.icmp.is_empty());
        let sockstat = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 2 alloc 7 mem 0\nUDP: inuse 1\n";
        assert_eq!(time_wait(sockstat), 2);
        assert_eq!(time_wait("TCP: tw"), 0);
        assert_eq!(time_wait(""), 0);
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        // CT-82
        assert_eq!(percentiles(&[]), None);
        let hundred: Vec<_> = (1..=100).map(Duration::from_micros).collect();
        let found = percentiles(&hundred).unwrap();
        let all = [found.p50, found.p90, found.p95, found.p99].map(|time| time.as_micros());
        assert_eq!((found.connections, all), (100, [50, 90, 95, 99]));
        let one = percentiles(&hundred[6..7]).unwrap();
        assert_eq!((one.p50, one.p99), (hundred[6], hundred[6]));
    }
}
