//! Maintenance: which machines are to be taken out of service, and when.
//!
//! A machine is named by its name in the network, its address, or both, and may have several
//! agents. Operators post one schedule for the whole cluster; whatever is in it is draining until
//! it is said to be down, and up again once that is said, or once it is no longer in it (TK-117,
//! TK-118).
//!
//! Deliberately not here: checks against the modes that machines have, which the master makes.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::node::AgentInfo;
use crate::ids::{AgentId, FrameworkId, OfferId};
use crate::limits;
use crate::time::Time;

/// Names a machine, by all that is stated of it (TK-117).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MachineId {
    /// Its name in the network, in lower case once it was checked; empty if it does not matter.
    pub hostname: String,
    /// Its address, if that matters: of its agents, the one that they say they listen on.
    pub ip: Option<IpAddr>,
}

/// Since when, and for how long, a machine is not to be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unavailability {
    /// When it begins; it may have begun.
    pub start: Time,
    /// How long it lasts; `None` is for good.
    pub duration: Option<Duration>,
}

/// Machines that are out of service at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Which ones; at least one.
    pub machines: Vec<MachineId>,
    /// When.
    pub unavailability: Unavailability,
}

/// How a machine stands (SM-37 to SM-40).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineMode {
    /// It is not in the schedule.
    Up,
    /// It is in the schedule: it is still used, and frameworks are asked to leave it.
    Draining,
    /// It is out of service: it has no agents, and none may join from it.
    Down,
}

/// What a framework has answered when it was asked to leave an agent (OF-49).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leaving {
    /// Nothing so far.
    #[default]
    Unknown,
    /// It is going to leave; said at that moment.
    Accepted(Time),
    /// It is not; said at that moment.
    Declined(Time),
}

/// A machine of the schedule, as operators see it (TK-122).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineView {
    /// Which one.
    pub machine: MachineId,
    /// How it stands.
    pub mode: MachineMode,
    /// When it is to be out of service.
    pub unavailability: Unavailability,
    /// How many agents it has.
    pub agents: usize,
    /// How many frameworks were asked to leave one of them, and have not said anything.
    pub unknown: usize,
    /// How many said that they leave, counted by agent.
    pub accepted: usize,
    /// How many said that they do not, counted by agent.
    pub declined: usize,
}

impl MachineView {
    /// Counts what a framework says about leaving one of its agents.
    pub fn count(&mut self, leaving: Leaving) {
        match leaving {
            Leaving::Unknown => self.unknown += 1,
            Leaving::Accepted(_) => self.accepted += 1,
            Leaving::Declined(_) => self.declined += 1,
        }
    }
}

/// What a framework was asked, and has answered, about one agent (TK-122).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InverseOfferView {
    /// Who was asked.
    pub framework: FrameworkId,
    /// About which agent.
    pub agent: AgentId,
    /// The names of the agent's machine in the schedule.
    pub machines: Vec<MachineId>,
    /// The question, if it is open.
    pub open: Option<OfferId>,
    /// The last answer.
    pub leaving: Leaving,
}

/// What is wrong with a schedule, or with a list of machines (VA-26).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaintenanceError {
    /// A machine is not named.
    #[error("a machine has neither a hostname nor an IP address")]
    Nameless,
    /// A hostname is too long.
    #[error("a hostname has {bytes} bytes, more than the limit of {limit}")]
    LongHostname {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A hostname has a sign that no hostname has.
    #[error("hostname {hostname:?} has a blank, a slash or a control character")]
    Hostname {
        /// The hostname.
        hostname: String,
    },
    /// A window, or a list, is empty.
    #[error("{what} names no machine")]
    Empty {
        /// Which of the two.
        what: &'static str,
    },
    /// A machine is named twice.
    #[error("machine {machine} is named twice")]
    Twice {
        /// Which one.
        machine: MachineId,
    },
    /// There are too many machines.
    #[error("{count} machines are named, more than the limit of {limit}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl MachineId {
    /// Names a machine by its name in the network.
    pub fn of_hostname(hostname: impl Into<String>) -> Self {
        let hostname = hostname.into();
        Self { hostname, ip: None }
    }

    /// Checks a machine's name, and returns it as it is compared: in lower case, and an address of
    /// version 4 as such.
    pub fn checked(self) -> Result<Self, MaintenanceError> {
        let Self { hostname, ip } = self;
        if hostname.is_empty() && ip.is_none() {
            return Err(MaintenanceError::Nameless);
        }
        let (bytes, limit) = (hostname.len(), limits::ID_BYTES);
        if bytes > limit {
            return Err(MaintenanceError::LongHostname { bytes, limit });
        }
        if hostname.contains(|c: char| c.is_control() || c.is_whitespace() || c == '/') {
            return Err(MaintenanceError::Hostname { hostname });
        }
        Ok(Self {
            hostname: hostname.to_ascii_lowercase(),
            ip: ip.map(|ip| ip.to_canonical()),
        })
    }

    /// Returns all names, as they are compared, that the machine of an agent can have in a
    /// schedule. An agent whose own address is not a number has none by address.
    pub fn of_agent(info: &AgentInfo) -> impl Iterator<Item = Self> + use<> {
        let hostname = info.hostname.to_ascii_lowercase();
        let address: Option<SocketAddr> = info.address.parse().ok();
        let ip = address.map(|address| address.ip().to_canonical());
        let both = ip.map(|_| Self {
            hostname: hostname.clone(),
            ip,
        });
        let by_ip = ip.map(|_| Self {
            hostname: String::new(),
            ip,
        });
        let by_name = Some(Self { hostname, ip: None });
        [by_name, by_ip, both].into_iter().flatten()
    }
}

impl fmt::Display for MachineId {
    /// As `hostname`, `address`, or `hostname/address`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => f.pad(&self.hostname),
            Some(ip) if self.hostname.is_empty() => ip.fmt(f),
            Some(ip) => write!(f, "{}/{ip}", self.hostname),
        }
    }
}

impl MachineMode {
    /// Returns the stable name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

impl Leaving {
    /// Returns the stable name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Accepted(_) => "accepted",
            Self::Declined(_) => "declined",
        }
    }

    /// Returns when it was said.
    pub const fn at(self) -> Option<Time> {
        match self {
            Self::Unknown => None,
            Self::Accepted(at) | Self::Declined(at) => Some(at),
        }
    }
}

/// Checks a schedule by itself, and returns it with its machines as they are compared (TK-118).
pub fn check_schedule(windows: Vec<Window>) -> Result<Vec<Window>, MaintenanceError> {
    let count = windows.iter().map(|window| window.machines.len()).sum();
    check_number(count)?;
    let mut seen = BTreeSet::new();
    let check = |window: Window| {
        let what = "a window";
        Ok(Window {
            machines: check_each(what, window.machines, &mut seen)?,
            unavailability: window.unavailability,
        })
    };
    windows.into_iter().map(check).collect()
}

/// Checks a list of machines by itself, and returns them as they are compared.
pub fn check_machines(machines: Vec<MachineId>) -> Result<Vec<MachineId>, MaintenanceError> {
    check_number(machines.len())?;
    check_each("the list", machines, &mut BTreeSet::new())
}

fn check_number(count: usize) -> Result<(), MaintenanceError> {
    let limit = limits::MACHINES;
    if count > limit {
        return Err(MaintenanceError::TooMany { count, limit });
    }
    Ok(())
}

fn check_each(
    what: &'static str,
    machines: Vec<MachineId>,
    seen: &mut BTreeSet<MachineId>,
) -> Result<Vec<MachineId>, MaintenanceError> {
    if machines.is_empty() {
        return Err(MaintenanceError::Empty { what });
    }
    let check = |machine: MachineId| {
        let machine = machine.checked()?;
        if seen.insert(machine.clone()) {
            return Ok(machine);
        }
        Err(MaintenanceError::Twice { machine })
    };
    machines.into_iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::resources::Resources;

    fn machine(hostname: &str, ip: &str) -> MachineId {
        MachineId {
            hostname: hostname.into(),
            ip: (!ip.is_empty()).then(|| ip.parse().unwrap()),
        }
    }

    #[test]
    fn a_machine_has_one_name_whatever_the_case_and_the_form() {
        // TK-117
        let same = [
            machine("Host-1", "::ffff:10.0.0.1"),
            machine("host-1", "10.0.0.1"),
        ];
        let checked = same.map(|it| it.checked().unwrap());
        assert_eq!(checked[0], checked[1]);
        assert_eq!(alloc::format!("{}", checked[0]), "host-1/10.0.0.1");
        let window = |machines| Window {
            machines,
            unavailability: Unavailability {
                start: Time::ZERO,
                duration: None,
            },
        };
        let windows = vec![
            window(vec![machine("A", "")]),
            window(vec![machine("b", ""), machine("a", "")]),
        ];
        let machine = machine("a", "");
        assert_eq!(
            check_schedule(windows),
            Err(MaintenanceError::Twice { machine })
        );
    }

    #[test]
    fn an_agent_is_on_a_machine_if_all_that_is_stated_is_its_own() {
        // TK-117
        let names = |hostname: &str, address: &str| -> Vec<MachineId> {
            let info = AgentInfo::new(hostname, address, Resources::new());
            MachineId::of_agent(&info).collect()
        };
        let (name, ip) = (machine("a", ""), machine("", "10.0.0.1"));
        let both = machine("a", "10.0.0.1");
        assert_eq!(names("A", "10.0.0.1:5051"), [name.clone(), ip, both]);
        assert_eq!(names("a", "a.example:5051"), [name]);
        let v6 = names("a", "[2001:db8::1]:5051");
        assert!(v6.contains(&machine("a", "2001:db8::1")));
    }
}
