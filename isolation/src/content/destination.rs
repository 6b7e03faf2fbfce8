//! Which addresses the agent asks for what others name: never those of the machine's own network
//! and cloud, which answer whoever asks from it, and its own only if they are named as such. So
//! neither a redirect nor a name that means another address than it seems leads a stranger there.
//!
//! Asked for every connection, once the name is an address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Where clouds answer machines about themselves, besides the link-local addresses.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Finds the addresses of a name, but for those that are not to be asked.
#[derive(Debug)]
pub(super) struct Destinations {
    /// Whether this machine may be asked as well.
    pub(super) near: bool,
}

/// A name that means only addresses that are not asked; this is one of them.
#[derive(Debug)]
struct Refused(IpAddr);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address) = self;
        match is_loopback(*address) {
            true => write!(f, "it leads to {address}, which is this machine: not asked"),
            false => write!(
                f,
                "it leads to {address}, which is for this machine alone: not asked"
            ),
        }
    }
}

impl std::error::Error for Refused {}

impl Destinations {
    fn may_ask(&self, address: IpAddr) -> bool {
        !is_reserved(address) && (self.near || !is_loopback(address))
    }
}

impl Resolver for Destinations {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut asked = self.empty();
        let may_ask = |address: &&SocketAddr| self.may_ask(address.ip());
        found.iter().filter(may_ask).for_each(|it| asked.push(*it));
        match (asked.first(), found.first()) {
            (None, Some(refused)) => Err(Error::Other(Box::new(Refused(refused.ip())))),
            _ => Ok(asked),
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether an address is none, of many, or only good on this machine's own link.
fn is_reserved(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_own = match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_unicast_link_local(),
    };
    is_own || address.is_multicast() || METADATA.contains(&address)
}

/// Whether a host, perhaps with a port, is this machine by its name.
pub(crate) fn is_here(host: &str) -> bool {
    let bracketed = host.strip_prefix('[');
    if let Some((address, _)) = bracketed.and_then(|rest| rest.split_once(']')) {
        let address = address.parse::<Ipv6Addr>();
        return address.is_ok_and(|address| address.is_loopback());
    }
    let host = host.split(':').next().unwrap_or(host);
    let address = host.parse::<Ipv4Addr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Security check 6
    #[test]
    fn what_answers_machines_about_themselves_is_not_asked() {
        for (address, far, near) in [
            ("192.0.2.1", true, true),
            ("10.1.2.3", true, true),
            ("2001:db8::1", true, true),
            ("fd12::1", true, true),
            ("127.0.0.1", false, true),
            ("127.9.9.9", false, true),
            ("::1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("0.0.0.0", false, false),
            ("0.1.2.3", false, false),
            ("::", false, false),
            ("169.254.169.254", false, false),
            ("169.254.170.2", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("fd00:ec2::254", false, false),
            ("100.100.100.200", false, false),
            ("168.63.129.16", false, false),
            ("192.0.0.192", false, false),
            ("224.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("ff02::1", false, false),
        ] {
            let asked: IpAddr = address.parse().unwrap();
            let may = |near| Destinations { near }.may_ask(asked);
            assert_eq!((may(false), may(true)), (far, near), "{address}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for (host, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.1.2.3:5000", true),
            ("[::1]:5000", true),
            ("localhost.test", false),
            ("127.0.0.1.test", false),
            ("10.0.0.1:5000", false),
            ("[::2]:5000", false),
        ] {
            assert_eq!(is_here(host), expected, "{host}");
        }
    }
}
