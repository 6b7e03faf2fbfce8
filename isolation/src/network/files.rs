//! What a container of its own network finds in `/etc/resolv.conf`, `/etc/hosts` and
//! `/etc/hostname` (CT-52).
//!
//! The content is made here and written into a directory of the agent; others mount it into the
//! container. What a task says is checked, so that none of it can begin a new line.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{NetworkError, Result};

/// The names of the files that [`write()`] writes.
pub const NAMES: [&str; 3] = ["resolv.conf", "hosts", "hostname"];

/// The longest host name that the kernel takes, in bytes.
const HOST_NAME_BYTES: usize = 64;
/// The longest domain name, in bytes.
const DOMAIN_BYTES: usize = 253;
/// The longest option of a resolver, in bytes.
const OPTION_BYTES: usize = 64;
/// The most of each list of [`Dns`].
const LISTED: usize = 64;

/// Where and how names are looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// The servers, the first one first.
    pub nameservers: Vec<IpAddr>,
    /// The container's own domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The domains in which a short name is looked for.
    pub search: Vec<String>,
    /// Options of the resolver, like `ndots:2`.
    pub options: Vec<String>,
}

/// What is said about names, by whoever may say it. The first that names a server counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The task.
    pub task: Option<&'a Dns>,
    /// The networks' plugins, in the order of the networks.
    pub networks: &'a [Dns],
    /// The agent (`--default_container_dns`).
    pub agent: Option<&'a Dns>,
    /// The text of the host's `/etc/resolv.conf`.
    pub host: &'a str,
}

/// What the files of a container are made of.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The host name: letters, digits and hyphens, parts separated by dots; at most 64 bytes.
    pub hostname: String,
    /// The addresses of the container, which bear its name.
    pub addresses: Vec<IpAddr>,
    /// Other hosts that the task wants to be known.
    pub hosts: Vec<(IpAddr, Vec<String>)>,
    /// How names are looked up.
    pub dns: Dns,
}

impl Dns {
    /// Checks it: domains are names, and options are words.
    pub fn check(&self) -> Result<()> {
        let longest = self.nameservers.len().max(self.search.len());
        let longest = longest.max(self.options.len());
        if longest > LISTED {
            let value = longest.to_string();
            return Err(NetworkError::invalid(
                "length of a list",
                value,
                "at most 64",
            ));
        }
        for domain in self.domain.iter().chain(&self.search) {
            check_domain(domain)?;
        }
        self.options
            .iter()
            .try_for_each(|option| check_option(option))
    }

    /// Decides among the sources: task, networks, agent, host. Where nobody names a server, those
    /// of the host are taken, but for servers on the host's loopback addresses, which are out of a
    /// container's reach.
    pub fn choose(sources: Sources<'_>) -> Self {
        let named = |dns: &&Self| !dns.nameservers.is_empty();
        let networks = sources.networks.iter();
        let said = sources.task.into_iter().chain(networks);
        let mut said = said.chain(sources.agent);
        said.find(named).cloned().unwrap_or_else(|| {
            let mut host = Self::parse(sources.host);
            host.nameservers.retain(|server| !server.is_loopback());
            host
        })
    }

    /// Reads a `resolv.conf`. What is not understood in it, or not valid, is left out.
    pub fn parse(text: &str) -> Self {
        let mut dns = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let key = words.next().unwrap_or_default();
            let words = words.map(str::to_owned);
            match key {
                "nameserver" => dns
                    .nameservers
                    .extend(words.filter_map(|word| word.parse::<IpAddr>().ok())),
                "domain" => dns.domain = words.take(1).next(),
                "search" => dns.search = words.collect(),
                "options" => dns.options.extend(words),
                _ => {}
            }
        }
        dns.domain = dns.domain.filter(|domain| check_domain(domain).is_ok());
        dns.search.retain(|domain| check_domain(domain).is_ok());
        dns.options.retain(|option| check_option(option).is_ok());
        for list in [&mut dns.search, &mut dns.options] {
            list.truncate(LISTED);
        }
        dns.nameservers.truncate(LISTED);
        dns
    }

    /// Writes it as `resolv.conf`.
    fn to_text(&self) -> String {
        let mut text = String::new();
        for server in &self.nameservers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if let Some(domain) = &self.domain {
            text.push_str(&format!("domain {domain}\n"));
        }
        for (key, words) in [("search", &self.search), ("options", &self.options)] {
            if !words.is_empty() {
                text.push_str(&format!("{key} {}\n", words.join(" ")));
            }
        }
        text
    }
}

impl Identity {
    /// Checks all of it.
    pub fn check(&self) -> Result<()> {
        check_name("host name", &self.hostname, HOST_NAME_BYTES)?;
        self.dns.check()?;
        for (_, names) in &self.hosts {
            if names.is_empty() {
                return Err(NetworkError::invalid("host", "", "at least one name"));
            }
            for name in names {
                check_name("name of a host", name, DOMAIN_BYTES)?;
            }
        }
        Ok(())
    }

    fn hosts_text(&self) -> String {
        let mut text = "127.0.0.1 localhost\n\
                        ::1 localhost ip6-localhost ip6-loopback\n"
            .to_owned();
        let name = &self.hostname;
        let short = name.split('.').next().filter(|short| short != name);
        let alias = short.map(|short| format!(" {short}")).unwrap_or_default();
        let loopback = [IpAddr::from([127, 0, 1, 1])];
        // Without an address the name still has to lead to the container itself.
        let addresses = match &*self.addresses {
            [] => &loopback,
            some => some,
        };
        for address in addresses {
            text.push_str(&format!("{address} {name}{alias}\n"));
        }
        for (address, names) in &self.hosts {
            text.push_str(&format!("{address} {}\n", names.join(" ")));
        }
        text
    }
}

/// Writes [`NAMES`] into a directory of the agent, which is made if need be; readable for all.
///
/// Files that are there keep their identity, for they may be mounted; so a reader may for a moment
/// find them short. Nothing is written unless all of it is valid.
pub fn write(dir: &Path, identity: &Identity) -> Result<()> {
    identity.check()?;
    fs::create_dir_all(dir).map_err(|error| NetworkError::file("create", dir, error))?;
    let texts = [
        identity.dns.to_text(),
        identity.hosts_text(),
        format!("{}\n", identity.hostname),
    ];
    for (name, text) in NAMES.into_iter().zip(texts) {
        let path = dir.join(name);
        let failed = |error| NetworkError::file("write", &path, error);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        options.custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&path).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        let readable = Permissions::from_mode(0o644);
        file.set_permissions(readable).map_err(failed)?;
    }
    Ok(())
}

/// Checks a domain; it may end with a dot.
fn check_domain(domain: &str) -> Result<()> {
    let name = domain.strip_suffix('.').unwrap_or(domain);
    check_name("domain", name, DOMAIN_BYTES)
}

fn check_option(option: &str) -> Result<()> {
    let is_word = option.chars().all(|c| c.is_ascii_graphic());
    if (1..=OPTION_BYTES).contains(&option.len()) && is_word {
        return Ok(());
    }
    Err(NetworkError::invalid("option", option, "a word"))
}

/// Checks a name of parts with letters, digits, hyphens and underscores.
fn check_name(what: &'static str, name: &str, most: usize) -> Result<()> {
    let is_part = |part: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&part.len())
            && part.chars().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if name.len() > most || !name.split('.').all(is_part) {
        let expected = "parts of letters, digits and hyphens, separated by dots";
        return Err(NetworkError::invalid(what, name, expected));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(servers: &[&str]) -> Dns {
        Dns {
            nameservers: servers.iter().map(|text| text.parse().unwrap()).collect(),
            ..Dns::default()
        }
    }

    #[test]
    fn servers_are_the_tasks_the_networks_the_agents_or_the_hosts() {
        // CT-52
        let (task, network, agent) = (dns(&["10.0.0.1"]), dns(&["10.0.0.2"]), dns(&["10.0.0.3"]));
        let networks = [Dns::default(), network.clone()];
        let host = "# c\nnameserver 127.0.0.53\nnameserver 10.0.0.4\nnameserver ::1\n\
                    search a.example. b;c\noptions ndots:2 \u{e9} edns0\n";
        let mut sources = Sources {
            task: Some(&task),
            networks: &networks,
            agent: Some(&agent),
            host,
        };
        assert_eq!(Dns::choose(sources), task);
        let silent = Dns::default();
        sources.task = Some(&silent);
        assert_eq!(Dns::choose(sources), network);
        sources.networks = &[];
        assert_eq!(Dns::choose(sources), agent);
        sources.agent = None;
        let found = Dns::choose(sources);
        let expected = "nameserver 10.0.0.4\nsearch a.example.\noptions ndots:2 edns0\n";
        assert_eq!(found.to_text(), expected);
        // Whatever the host's file says, a container can be launched with it.
        found.check().unwrap();
    }

    #[test]
    fn files_are_written_whole_and_hold_one_name_for_each_address() {
        // CT-52
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("etc");
        let mut identity = Identity {
            hostname: "web.example".to_owned(),
            addresses: ["10.1.0.2", "fd00::2"].map(|a| a.parse().unwrap()).to_vec(),
            hosts: vec![("10.9.0.1".parse().unwrap(), vec!["db".to_owned()])],
            dns: dns(&["10.0.0.1"]),
        };
        identity.dns.domain = Some("example".to_owned());
        write(&place, &identity).unwrap();
        let [resolv, hosts, hostname] =
            NAMES.map(|name| fs::read_to_string(place.join(name)).unwrap());
        assert_eq!(resolv, "nameserver 10.0.0.1\ndomain example\n");
        assert_eq!(hostname, "web.example\n");
        let lines: Vec<_> = hosts.lines().skip(2).collect();
        assert!(hosts.starts_with("127.0.0.1 localhost\n"));
        assert_eq!(
            lines,
            [
                "10.1.0.2 web.example web",
                "fd00::2 web.example web",
                "10.9.0.1 db"
            ]
        );
        let mode = fs::metadata(place.join("hosts"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644);
        // Again, shorter: nothing of before is left, and a link is not followed.
        identity.hosts.clear();
        identity.addresses.clear();
        write(&place, &identity).unwrap();
        let hosts = fs::read_to_string(place.join("hosts")).unwrap();
        assert!(hosts.ends_with("\n127.0.1.1 web.example web\n"), "{hosts}");
        let victim = dir.path().join("victim");
        fs::remove_file(place.join("hosts")).unwrap();
        std::os::unix::fs::symlink(&victim, place.join("hosts")).unwrap();
        assert!(write(&place, &identity).is_err());
        assert!(!victim.exists());
    }

    #[test]
    fn nothing_that_a_task_says_can_begin_a_line() {
        // CT-52
        let good = Identity {
            hostname: "a".to_owned(),
            ..Identity::default()
        };
        good.check().unwrap();
        let changes: [fn(&mut Identity); 8] = [
            |bad| bad.hostname.clear(),
            |bad| bad.hostname = "a\nb".to_owned(),
            |bad| bad.hostname = "-a".to_owned(),
            |bad| bad.hostname = "a.".repeat(33),
            |bad| bad.dns.search = vec!["a b".to_owned()],
            |bad| bad.dns.options = vec!["a\nnameserver 1.2.3.4".to_owned()],
            |bad| bad.hosts = vec![([1, 2, 3, 4].into(), vec!["a b".to_owned()])],
            |bad| bad.dns.options = vec!["a".to_owned(); 65],
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(bad.check().is_err(), "change {n}");
        }
    }
}
