//! Ports: which ones a task holds, and which of the host's lead to which of a container's.
//!
//! Checked here; what makes packets go that way is the plugin `portmap` of a network.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::error::{NetworkError, Result};

/// A set of ports: those that a task holds, or that a rule is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    ranges: Vec<RangeInclusive<u16>>,
}

impl Ports {
    /// Returns whether the port is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&port))
    }
}

impl FromIterator<RangeInclusive<u16>> for Ports {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u16>>>(ranges: I) -> Self {
        let ranges = ranges.into_iter().filter(|range| !range.is_empty());
        Self {
            ranges: ranges.collect(),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ranges.is_empty() {
            return f.write_str("of which there are none");
        }
        for (n, range) in self.ranges.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{}-{}", range.start(), range.end())?;
        }
        Ok(())
    }
}

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Reads it as task descriptions have it; without one it is TCP.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        match text.map(str::to_ascii_lowercase).as_deref() {
            None | Some("tcp") => Ok(Self::Tcp),
            Some("udp") => Ok(Self::Udp),
            Some(other) => Err(NetworkError::invalid("protocol", other, "tcp or udp")),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host that leads into a container (`NetworkInfo.port_mappings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// The host's port; the task has to hold it.
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// Of which protocol.
    pub protocol: Protocol,
    /// The host's address at which it is, `None` for all of them.
    pub host_address: Option<IpAddr>,
}

/// Checks mappings: each port is one, the host's are held by the task (CT-72), and none leads to
/// two places.
pub fn check(mappings: &[PortMapping], held: &Ports) -> Result<()> {
    for (n, mapping) in mappings.iter().enumerate() {
        if mapping.host_port == 0 || mapping.container_port == 0 {
            return Err(NetworkError::invalid("port", "0", "1 to 65535"));
        }
        if !held.contains(mapping.host_port) {
            return Err(NetworkError::PortNotHeld {
                port: mapping.host_port,
                held: held.to_string(),
            });
        }
        let clashes = |other: &PortMapping| {
            let addresses = other.host_address.zip(mapping.host_address);
            (other.host_port, other.protocol) == (mapping.host_port, mapping.protocol)
                && addresses.is_none_or(|(one, two)| one == two)
        };
        if mappings[..n].iter().any(clashes) {
            let value = format!("{}/{}", mapping.host_port, mapping.protocol);
            let expected = "each port of the host only once";
            return Err(NetworkError::invalid("port mapping", value, expected));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host_port: u16, container_port: u16) -> PortMapping {
        PortMapping {
            host_port,
            container_port,
            protocol: Protocol::Tcp,
            host_address: None,
        }
    }

    #[test]
    fn a_mapped_port_of_the_host_is_held_by_the_task_and_leads_to_one_place() {
        // CT-52, CT-72
        let held: Ports = [31000..=31001, 31005..=31005].into_iter().collect();
        check(&[mapping(31000, 80), mapping(31005, 80)], &held).unwrap();
        let refused = check(&[mapping(31002, 80)], &held).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "host port 31002 is not among the task's ports, 31000-31001, 31005-31005"
        );
        assert!(check(&[mapping(31000, 80)], &Ports::default()).is_err());
        assert!(check(&[mapping(31000, 0)], &held).is_err());
        let all: Ports = std::iter::once(0..=u16::MAX).collect();
        assert!(check(&[mapping(0, 1)], &all).is_err());
        assert!(check(&[mapping(31000, 80), mapping(31000, 81)], &held).is_err());
        let udp = PortMapping {
            protocol: Protocol::Udp,
            ..mapping(31000, 80)
        };
        check(&[mapping(31000, 80), udp], &held).unwrap();
        let at = |address: &str, mapping| PortMapping {
            host_address: Some(address.parse().unwrap()),
            ..mapping
        };
        let two = [
            at("10.0.0.1", mapping(31000, 80)),
            at("10.0.0.2", mapping(31000, 81)),
        ];
        check(&two, &held).unwrap();
        assert!(check(&[two[0], mapping(31000, 81)], &held).is_err());
    }

    #[test]
    fn protocols_are_tcp_and_udp() {
        assert_eq!(Protocol::parse(None).unwrap(), Protocol::Tcp);
        assert_eq!(Protocol::parse(Some("UDP")).unwrap(), Protocol::Udp);
        assert!(Protocol::parse(Some("icmp")).is_err());
    }
}
