//! What is asked, and where a server that answers "elsewhere" sends us.
//!
//! Only a container's own addresses are asked: a redirect to any other place is not followed, and
//! is the answer then. So no task has its agent ask others for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tepui_core::protocol::check::{Family, HttpProbe};

/// The longest path that is followed.
const PATH_BYTES: usize = 4096;

/// What one connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// `None`: it is enough to be let in.
    pub(super) request: Option<Request>,
}

/// What is asked by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) tls: bool,
    pub(super) path: String,
}

impl Target {
    pub(super) fn tcp(port: u16, family: Family) -> Self {
        Self {
            address: SocketAddr::new(own(family), port),
            request: None,
        }
    }

    pub(super) fn http(probe: &HttpProbe) -> Self {
        let path = probe.path.split('#').next().unwrap_or_default();
        Self {
            address: SocketAddr::new(own(probe.family), probe.port),
            request: Some(Request {
                tls: probe.tls,
                path: path.to_owned(),
            }),
        }
    }

    /// Returns where `location` leads from here, if that is the container itself.
    pub(super) fn follow(&self, location: &str) -> Option<Self> {
        let request = self.request.as_ref()?;
        let location = location.split('#').next()?;
        if location.is_empty() || !location.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (tls, rest) = if let Some(rest) = without(location, "http:") {
            (false, rest)
        } else if let Some(rest) = without(location, "https:") {
            (true, rest)
        } else {
            (request.tls, location)
        };
        let has_scheme = rest.len() != location.len();
        let (address, base, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                (self.at(authority, tls)?, "/", path)
            }
            None if has_scheme || names_a_scheme(rest) => return None,
            None => (self.address, request.path.as_str(), rest),
        };
        let path = resolve(base, path);
        (path.len() <= PATH_BYTES).then_some(Self {
            address,
            request: Some(Request { tls, path }),
        })
    }

    /// Returns the address that an authority names, if that is the container's own.
    fn at(&self, authority: &str, tls: bool) -> Option<SocketAddr> {
        let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if is_port(port) => (host, port),
            Some(_) | None => (authority, ""),
        };
        let ip = if host.eq_ignore_ascii_case("localhost") {
            self.address.ip()
        } else if host == "127.0.0.1" {
            own(Family::V4)
        } else if host == "[::1]" {
            own(Family::V6)
        } else {
            return None;
        };
        let port = match (port, tls) {
            ("", false) => 80,
            ("", true) => 443,
            (port, _) => port.parse().ok().filter(|&port| port != 0)?,
        };
        Some(SocketAddr::new(ip, port))
    }
}

impl Request {
    /// Returns what is sent.
    pub(super) fn text(&self, address: SocketAddr) -> String {
        let path = &self.path;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: tepui-agent\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n"
        )
    }
}

fn own(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn without<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Returns whether a reference begins with a scheme, as a relative path never does.
fn names_a_scheme(reference: &str) -> bool {
    let first = reference.split(['/', '?']).next().unwrap_or_default();
    first.contains(':')
}

/// Resolves a path, which may be relative, against the one that was asked for (RFC 3986, 5.2).
fn resolve(base: &str, path: &str) -> String {
    let base = base.split('?').next().unwrap_or_default();
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let whole = match (path, base.rfind('/')) {
        ("", _) => base.to_owned(),
        (path, _) if path.starts_with('/') => path.to_owned(),
        (path, Some(end)) => format!("{}{path}", &base[..=end]),
        (path, None) => format!("/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    let mut all = whole.split('/').skip(1).peekable();
    while let Some(part) = all.next() {
        let is_last = all.peek().is_none();
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => {
                parts.push(part);
                continue;
            }
        }
        if is_last {
            parts.push("");
        }
    }
    let path = format!("/{}", parts.join("/"));
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        let (tls, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://").unwrap()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap());
        Target {
            address: authority.parse().unwrap(),
            request: Some(Request {
                tls,
                path: path.to_owned(),
            }),
        }
    }

    #[test]
    fn a_redirect_is_followed_to_the_container_itself_and_nowhere_else() {
        // TK-96
        let here = "http://127.0.0.1:80/a/b?c";
        for (from, location, to) in [
            (here, "/", Some("http://127.0.0.1:80/")),
            (here, "/x?y#z", Some("http://127.0.0.1:80/x?y")),
            (here, "x", Some("http://127.0.0.1:80/a/x")),
            (here, "../x", Some("http://127.0.0.1:80/x")),
            (here, "../../../x", Some("http://127.0.0.1:80/x")),
            (here, "./", Some("http://127.0.0.1:80/a/")),
            (here, "..", Some("http://127.0.0.1:80/")),
            (here, "?d", Some("http://127.0.0.1:80/a/b?d")),
            (here, "//localhost:8080", Some("http://127.0.0.1:8080/")),
            (here, "//localhost?d", Some("http://127.0.0.1:80/?d")),
            (here, "HTTPS://LOCALHOST/x", Some("https://127.0.0.1:443/x")),
            (here, "https://[::1]:5/x", Some("https://[::1]:5/x")),
            (
                "https://[::1]:5/",
                "http://localhost/",
                Some("http://[::1]:80/"),
            ),
            ("https://[::1]:5/", "x", Some("https://[::1]:5/x")),
            (here, "http://example.com/", None),
            (here, "http://127.0.0.1.example.com/", None),
            (here, "http://127.0.0.1@example.com/", None),
            (here, "http://user@127.0.0.1/", None),
            (here, "http://169.254.169.254/", None),
            (here, "//127.0.0.2/", None),
            (here, "http:x", None),
            (here, "ftp://127.0.0.1/", None),
            (here, "mailto:me", None),
            (here, "http://127.0.0.1:0/", None),
            (here, "http://127.0.0.1:99999/", None),
            (here, "/a b", None),
            (here, "/a\r\nX: y", None),
            (here, "/é", None),
            (here, "", None),
        ] {
            let found = target(from).follow(location);
            assert_eq!(found, to.map(target), "{from} -> {location}");
        }
        let long = format!("/{}", "x".repeat(PATH_BYTES));
        assert_eq!(target(here).follow(&long), None);
        assert_eq!(Target::tcp(1, Family::V4).follow("/"), None);
    }

    #[test]
    fn what_is_asked_is_a_whole_request() {
        // TK-96
        let probe = HttpProbe {
            tls: false,
            port: 8080,
            path: "/a?b#c".into(),
            family: Family::V6,
        };
        let target = Target::http(&probe);
        let text = target.request.as_ref().unwrap().text(target.address);
        assert!(text.starts_with("GET /a?b HTTP/1.1\r\nHost: [::1]:8080\r\n"));
        assert!(text.ends_with("\r\nConnection: close\r\n\r\n"));
    }
}
