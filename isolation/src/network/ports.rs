//! Watches which ports a container listens on, beside those that it was given (CT-54).
//!
//! Called every [`INTERVAL`] or as the operator says: list the listeners of a namespace once
//! ([`Listeners`]), pick each container's ([`Holder`]), and ask a [`Rule`] what to make of them. No
//! process is looked at that is not the container's. What a limitation leads to is the agent's
//! matter.
//!
//! What a look does not see: a listener that comes and goes between two looks. Where sockets are
//! told by processes it does not see either that of a process which was started after the list of
//! them was read (the next look does), nor one that a task hides on purpose: in a thread with open
//! files of its own, in a ring of `io_uring`, in a message under way. Control groups tell all of
//! these.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::error::{NetworkError, Result};
use super::mapping::{Ports, Protocol};
pub use super::sockets::{Holder, Listener, Listeners};

/// How often it is looked, if the operator says nothing else.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// So many ports are named in a message.
const NAMED: usize = 16;

/// Which ports it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// Only these: the agent's (`--check_agent_port_range_only`), or those that the operator wants
    /// kept apart (`--container_ports_isolated_range`).
    Only(Ports),
}

/// Which protocols it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// TCP only, as Mesos has it.
    Tcp,
    /// UDP too, but for these ports: the kernel gives them to clients, whose sockets look just like
    /// those of servers. See [`ephemeral_ports`].
    TcpAndUdp {
        /// The ports that clients are given.
        ephemeral: RangeInclusive<u16>,
    },
}

/// What is done about a container that listens where it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// It is told.
    Report,
    /// It is ended (`--enforce_container_ports`).
    End,
}

/// What an operator wants of the watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which ports.
    pub scope: Scope,
    /// Which protocols.
    pub protocols: Protocols,
    /// What then.
    pub enforcement: Enforcement,
}

impl Default for Rule {
    /// TCP on all ports, and only told.
    fn default() -> Self {
        Self {
            scope: Scope::All,
            protocols: Protocols::Tcp,
            enforcement: Enforcement::Report,
        }
    }
}

/// What a look at a container found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It listens on its own ports only, or on none.
    Right,
    /// It listens on others.
    Wrong {
        /// On which, in order.
        ports: BTreeSet<(u16, Protocol)>,
        /// The same as a sentence.
        message: String,
        /// What is to be done about it.
        enforcement: Enforcement,
    },
}

impl Rule {
    /// Judges the listeners of a container that holds the ports `allocated`.
    pub fn judge(&self, listeners: &[Listener], allocated: &Ports) -> Verdict {
        let wrong = listeners.iter().filter(|listener| {
            let port = listener.address.port();
            self.concerns(port, listener.protocol) && !allocated.contains(port)
        });
        let ports = wrong.map(|listener| (listener.address.port(), listener.protocol));
        let ports: BTreeSet<_> = ports.collect();
        if ports.is_empty() {
            return Verdict::Right;
        }
        let mut message = "listens on ports that are not its own:".to_owned();
        for (port, protocol) in ports.iter().take(NAMED) {
            write!(message, " {port}/{protocol}").expect("a string takes all");
        }
        if ports.len() > NAMED {
            write!(message, " and {} more", ports.len() - NAMED).expect("a string takes all");
        }
        Verdict::Wrong {
            ports,
            message,
            enforcement: self.enforcement,
        }
    }

    fn concerns(&self, port: u16, protocol: Protocol) -> bool {
        let in_scope = match &self.scope {
            Scope::All => true,
            Scope::Only(ports) => ports.contains(port),
        };
        in_scope
            && match (protocol, &self.protocols) {
                (Protocol::Tcp, Protocols::Tcp | Protocols::TcpAndUdp { .. }) => true,
                (Protocol::Udp, Protocols::Tcp) => false,
                (Protocol::Udp, Protocols::TcpAndUdp { ephemeral }) => !ephemeral.contains(&port),
            }
    }
}

/// Reads which ports the kernel gives to clients, in the calling thread's namespace.
pub fn ephemeral_ports() -> Result<RangeInclusive<u16>> {
    let path = Path::new("/proc/sys/net/ipv4/ip_local_port_range");
    let text = fs::read_to_string(path).map_err(|error| NetworkError::file("read", path, error))?;
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok(first..=last),
        _ => Err(NetworkError::invalid(
            "ip_local_port_range",
            text,
            "two ports",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(protocol: Protocol, address: &str) -> Listener {
        Listener {
            protocol,
            address: address.parse().unwrap(),
            inode: 1,
            cgroup: None,
        }
    }

    fn ports(range: RangeInclusive<u16>) -> Ports {
        std::iter::once(range).collect()
    }

    fn wrong(verdict: &Verdict) -> Vec<u16> {
        match verdict {
            Verdict::Right => Vec::new(),
            Verdict::Wrong { ports, .. } => ports.iter().map(|(port, _)| *port).collect(),
        }
    }

    #[test]
    fn who_listens_on_own_ports_is_right_and_others_are_told_or_ended() {
        // CT-54
        let own = ports(31000..=31009);
        let tcp = |address: &str| listener(Protocol::Tcp, address);
        let rule = Rule::default();
        let right = [tcp("0.0.0.0:31000"), tcp("[::]:31009")];
        assert_eq!(rule.judge(&right, &own), Verdict::Right);
        assert_eq!(rule.judge(&[], &Ports::default()), Verdict::Right);
        // Twice the same port, by two families, is one.
        let bad = [
            tcp("127.0.0.1:8080"),
            tcp("[::1]:8080"),
            tcp("0.0.0.0:31000"),
        ];
        for enforcement in [Enforcement::Report, Enforcement::End] {
            let rule = Rule {
                enforcement,
                ..Rule::default()
            };
            let expected = Verdict::Wrong {
                ports: BTreeSet::from([(8080, Protocol::Tcp)]),
                message: "listens on ports that are not its own: 8080/tcp".to_owned(),
                enforcement,
            };
            assert_eq!(rule.judge(&bad, &own), expected);
        }
        let many: Vec<_> = (1..=20).map(|n| tcp(&format!("0.0.0.0:{n}"))).collect();
        let Verdict::Wrong { message, ports, .. } = rule.judge(&many, &own) else {
            panic!("nothing wrong was found");
        };
        assert_eq!(ports.len(), 20);
        assert!(message.ends_with(" 16/tcp and 4 more"), "{message}");
    }

    #[test]
    fn ports_out_of_the_scope_do_not_matter() {
        // CT-54
        let rule = Rule {
            scope: Scope::Only(ports(31000..=32000)),
            ..Rule::default()
        };
        let found = [8080, 30999, 31000, 31001, 32000, 32001];
        let found = found.map(|port| listener(Protocol::Tcp, &format!("0.0.0.0:{port}")));
        let verdict = rule.judge(&found, &ports(31001..=31001));
        assert_eq!(wrong(&verdict), [31000, 32000]);
    }

    #[test]
    fn clients_of_udp_are_no_listeners() {
        // CT-54
        let found = [53, 40000].map(|port| listener(Protocol::Udp, &format!("0.0.0.0:{port}")));
        assert_eq!(
            wrong(&Rule::default().judge(&found, &Ports::default())),
            [0; 0]
        );
        let rule = Rule {
            protocols: Protocols::TcpAndUdp {
                ephemeral: 32768..=60999,
            },
            ..Rule::default()
        };
        assert_eq!(wrong(&rule.judge(&found, &Ports::default())), [53]);
    }
}
