//! Addresses on the command line, and what is said if something else stands there.
//!
//! Called by clap for each value, like `values`, whose rules for errors hold here too: they say at
//! which byte, counted from 0, the text goes wrong, and what was expected. Deliberately not here:
//! looking up names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// The longest host name, and the longest part of one between dots (RFC 1035).
const NAME_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;

/// Where something is wrong, and what.
type Wrong = (usize, String);

/// Where to listen.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let read = || {
        let (host, port) = split(text, 0..=u16::MAX)?;
        let ip = match bracketed(host) {
            Some(inner) => inner.parse().map(IpAddr::V6),
            None => host.parse().map(IpAddr::V4),
        };
        let ip = ip.map_err(|_| (0, "no IP address".to_owned()))?;
        Ok(SocketAddr::new(ip, port))
    };
    let expected = "IP:PORT such as 127.0.0.1:5050 or [::1]:5050";
    read().map_err(|wrong| told(wrong, 0, expected))
}

/// Where a master listens; a host name will do, and so will a `tepui://` URL.
pub(super) fn master_address(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("tepui://").unwrap_or(text);
    let check = || {
        let (host, _) = split(address, 1..=u16::MAX)?;
        match bracketed(host) {
            Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => Ok(()),
            Some(_) => Err((0, "no IPv6 address".to_owned())),
            None => check_host(host),
        }
    };
    let expected = "HOST:PORT such as 127.0.0.1:5050 or [::1]:5050";
    check().map_err(|wrong| told(wrong, text.len() - address.len(), expected))?;
    Ok(address.into())
}

/// The name of a machine.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    check_host(text).map_err(|wrong| told(wrong, 0, "a host name such as node-1.example"))?;
    Ok(text.into())
}

fn told((at, problem): Wrong, offset: usize, expected: &str) -> String {
    format!("at {}: {problem}; expected {expected}", offset + at)
}

/// Splits host and port, which is digits only.
fn split(text: &str, ports: RangeInclusive<u16>) -> Result<(&str, u16), Wrong> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err((text.len(), "the port is missing".into()));
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port
        .parse()
        .ok()
        .filter(|port| digits && ports.contains(port));
    let number = number.ok_or_else(|| {
        let (least, most) = (ports.start(), ports.end());
        (host.len() + 1, format!("no port from {least} to {most}"))
    })?;
    Ok((host, number))
}

fn bracketed(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

/// Checks a host's name or IPv4 address. What ends in a number is an address (RFC 3696).
fn check_host(host: &str) -> Result<(), Wrong> {
    let wrong = |at, problem: &str| Err((at, problem.to_owned()));
    if host.is_empty() {
        return wrong(0, "no host");
    }
    if host.len() > NAME_BYTES {
        return wrong(NAME_BYTES, "the host's name is too long");
    }
    let mut at = 0;
    for label in host.split('.') {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if let Some(foreign) = label.find(|c| !allowed(c)) {
            return wrong(at + foreign, "this character has no place in a host's name");
        }
        if label.is_empty() || label.len() > LABEL_BYTES {
            return wrong(at, "a part of a host's name has 1 to 63 characters");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return wrong(at, "no part of a host's name begins or ends with a dash");
        }
        at += label.len() + 1;
    }
    let last = host.rsplit('.').next().unwrap_or(host);
    let number = last.bytes().all(|byte| byte.is_ascii_digit());
    if number && host.parse::<Ipv4Addr>().is_err() {
        return wrong(0, "no IPv4 address, and names do not end in a number");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn wrong_at<T: std::fmt::Debug>(parse: fn(&str) -> Result<T, String>, text: &str, at: usize) {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(&format!("at {at}: ")), "{text}: {error}");
        assert!(error.contains("; expected "), "{text}: {error}");
    }

    #[test]
    fn addresses_of_masters() {
        for good in [
            "localhost:5050",
            "10.0.0.1:1",
            "[::1]:5050",
            "master-1.example:65535",
            "rack_1:5050",
            "1and1.example:1",
        ] {
            assert_eq!(master_address(good).as_deref(), Ok(good));
        }
        assert_eq!(
            master_address("tepui://a:1").as_deref(),
            Ok("a:1"),
            "URLs are taken too"
        );
        for (bad, at) in [
            ("", 0),
            ("localhost", 9),
            (":5050", 0),
            ("a:0", 2),
            ("a:", 2),
            ("a:70000", 2),
            ("127.0.0.1:+5050", 10),
            ("a b:1", 1),
            ("::1:5050", 0),
            ("[::1:5050", 0),
            ("[1.2.3.4]:1", 0),
            ("tepui://a:x", 10),
            ("256.1.1.1:5050", 0),
            ("1.2.3:5050", 0),
            ("a.7:5050", 0),
            ("...:1", 0),
            ("a..b:1", 2),
            ("-:1", 0),
            ("a.b-:1", 2),
            ("tepui://a.-b:1", 10),
        ] {
            wrong_at(master_address, bad, at);
        }
        let long = format!("{}:1", "a".repeat(64));
        wrong_at(master_address, &long, 0);
        let long = format!("{}:1", "a.".repeat(127));
        wrong_at(master_address, &long, NAME_BYTES);
    }

    #[test]
    fn addresses_to_listen_at() {
        for good in ["127.0.0.1:0", "0.0.0.0:5050", "[::1]:65535"] {
            let address = listen_address(good).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Ok(good));
        }
        for (bad, at) in [
            ("5050", 4),
            ("localhost:5050", 0),
            ("127.0.0.1", 9),
            ("127.0.0.1:65536", 10),
            ("127.0.0.1:+1", 10),
            ("127.0.0.1:", 10),
            ("::1:0", 0),
            ("[127.0.0.1]:0", 0),
            ("256.1.1.1:0", 0),
        ] {
            wrong_at(listen_address, bad, at);
        }
    }
}
