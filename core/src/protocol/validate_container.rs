//! Checks of what tasks and executors ask of their containers, of what is fetched for them, and of
//! how it is found out how they do (VA-03, VA-04, VA-07, TK-10, TK-17).
//!
//! Called with the other checks of a task. Deliberately not here: whether an agent can do it, which
//! only its containerizer knows.

use alloc::collections::BTreeSet;
use alloc::string::String;
use core::time::Duration;

use super::check::{Probe, Rhythm};
use super::container_info::{
    ContainerInfo, Dns, Image, IpcMode, NetworkInfo, PortMapping, Seccomp, Security, Uri, Volume,
    VolumeSource,
};
use super::task::{CommandInfo, ExecutorInfo, TaskInfo};
use super::validate::{Reject, check_command, check_filled, check_size};
use crate::limits;
use crate::resources::{Resources, Value};

/// Who asks for a container, which decides what it may ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A task that is alone in it, or an executor.
    Alone,
    /// A task of a group whose executor is the agent's own: it is in that one's container.
    Member,
}

/// Checks what a task asks for, and its executor.
pub(super) fn check_task(task: &TaskInfo, asker: Asker) -> Result<(), Reject> {
    if let Some(container) = &task.container {
        check_container(container, &task.resources, asker)?;
    }
    if let Some(check) = &task.check {
        check_probe("check", &check.probe)?;
        check_rhythm("check", &check.rhythm)?;
    }
    if let Some(check) = &task.health_check {
        check_probe("health check", &check.probe)?;
        check_rhythm("health check", &check.rhythm)?;
        check_time("the grace of the health check", check.grace)?;
        if check.consecutive_failures == 0 {
            let what = "the number of failures of the health check";
            return Err(Reject::Zero { what });
        }
    }
    let is_checked = task.check.is_some() || task.health_check.is_some();
    if is_checked && task.command.is_none() {
        // Who runs a task by its own executor checks it there.
        return Err(Reject::CheckedByNobody);
    }
    task.executor.as_ref().map_or(Ok(()), check_executor)
}

/// Checks what an executor asks for.
pub(super) fn check_executor(executor: &ExecutorInfo) -> Result<(), Reject> {
    match &executor.container {
        Some(container) => check_container(container, &executor.resources, Asker::Alone),
        None => Ok(()),
    }
}

/// Checks what is fetched (AG-50).
pub(super) fn check_uris(command: &CommandInfo) -> Result<(), Reject> {
    check_count("list of URIs", command.uris.len(), limits::URIS)?;
    command.uris.iter().try_for_each(check_uri)
}

fn check_uri(uri: &Uri) -> Result<(), Reject> {
    check_filled("URI", &uri.value)?;
    if let Some(checksum) = &uri.checksum {
        check_filled("checksum of a URI", checksum)?;
        let parts = checksum.split_once(':');
        if parts.is_none_or(|(algorithm, hex)| algorithm.is_empty() || !is_hex(hex)) {
            let expected = "ALGORITHM:HEX";
            return Err(malformed("checksum of a URI", checksum, expected));
        }
    }
    let file = uri.output_file.as_deref();
    file.map_or(Ok(()), |file| check_relative("output file of a URI", file))
}

fn check_container(
    container: &ContainerInfo,
    resources: &Resources,
    asker: Asker,
) -> Result<(), Reject> {
    check_size("container", container, limits::CONTAINER_BYTES)?;
    if let Some(image) = &container.image {
        check_image(image)?;
    }
    check_count("list of volumes", container.volumes.len(), limits::VOLUMES)?;
    for volume in &container.volumes {
        check_volume(volume, asker)?;
    }
    check_networks(&container.networks, resources)?;
    if let Some(name) = &container.hostname {
        check_hostname(name)?;
        if container.networks.is_empty() {
            return Err(Reject::Needs {
                what: "host name",
                needed: "a network of the container's own",
            });
        }
    }
    container.dns.as_ref().map_or(Ok(()), check_dns)?;
    check_security(&container.security)?;
    let mut seen = BTreeSet::new();
    for limit in &container.rlimits {
        if !seen.insert(limit.kind) {
            return Err(Reject::RlimitTwice { kind: limit.kind });
        }
        if let Some((soft, hard)) = limit.bounds.filter(|(soft, hard)| soft > hard) {
            let kind = limit.kind;
            return Err(Reject::SoftAboveHard { kind, soft, hard });
        }
    }
    check_shm(container)?;
    check_logs(container)?;
    match container.terminal {
        Some(terminal) if terminal.rows == 0 || terminal.columns == 0 => {
            let what = "a side of the terminal";
            Err(Reject::Zero { what })
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks how much is kept of what it writes (CT-11).
fn check_logs(container: &ContainerInfo) -> Result<(), Reject> {
    let Some(logs) = container.logs else {
        return Ok(());
    };
    let sides = [
        (logs.size, "the size of a log"),
        (logs.files, "the number of a log's files"),
    ];
    if let Some((_, what)) = sides.into_iter().find(|(value, _)| *value == 0) {
        return Err(Reject::Zero { what });
    }
    let files = usize::try_from(logs.files).unwrap_or(usize::MAX);
    check_count("log", files, limits::LOG_FILES)
}

/// Checks the size of shared memory, which only who has its own can have (CT-56).
fn check_shm(container: &ContainerInfo) -> Result<(), Reject> {
    let Some(size) = container.shm_size else {
        return Ok(());
    };
    if size == 0 {
        let what = "the size of shared memory";
        return Err(Reject::Zero { what });
    }
    match container.ipc {
        IpcMode::Private => Ok(()),
        IpcMode::ShareParent => Err(Reject::Needs {
            what: "size of shared memory",
            needed: "shared memory of the container's own",
        }),
    }
}

fn check_image(image: &Image) -> Result<(), Reject> {
    let what = "image";
    check_filled(what, &image.reference)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@[]".contains(c);
    match image.reference.chars().all(is_plain) {
        true => Ok(()),
        false => {
            let expected = "[HOST[:PORT]/]NAME[:TAG][@DIGEST]";
            Err(malformed(what, &image.reference, expected))
        }
    }
}

fn check_volume(volume: &Volume, asker: Asker) -> Result<(), Reject> {
    let what = "path of a volume";
    check_filled(what, &volume.path)?;
    check_parts(what, &volume.path)?;
    match &volume.source {
        VolumeSource::Host { path, .. } => {
            let what = "host path of a volume";
            check_filled(what, path)?;
            if !path.starts_with('/') {
                return Err(malformed(what, path, "an absolute path"));
            }
            check_parts(what, path)
        }
        VolumeSource::Sandbox { path } => check_relative("sandbox path of a volume", path),
        VolumeSource::Parent { .. } if asker == Asker::Alone => Err(Reject::Needs {
            what: "volume of a parent's sandbox",
            needed: "a group",
        }),
        VolumeSource::Parent { path } => check_relative("sandbox path of a volume", path),
        VolumeSource::Image(image) => check_image(image),
        VolumeSource::Secret(secret) if secret.0.is_empty() => {
            let what = "secret of a volume";
            Err(Reject::Empty { what })
        }
        VolumeSource::Secret(_) => Ok(()),
        VolumeSource::Tmpfs { size: 0 } => Err(Reject::Zero {
            what: "the size of a volume in memory",
        }),
        VolumeSource::Tmpfs { .. } => Ok(()),
    }
}

fn check_networks(networks: &[NetworkInfo], resources: &Resources) -> Result<(), Reject> {
    check_count("list of networks", networks.len(), limits::NETWORKS)?;
    let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for network in networks {
        check_filled("name of a network", &network.name)?;
        if !names.insert(&network.name) {
            let name = network.name.clone();
            return Err(Reject::NetworkTwice { name });
        }
        let addresses = &network.addresses;
        check_count("list of addresses", addresses.len(), limits::NETWORKS)?;
        for address in addresses {
            check_filled("address", address)?;
            if address.parse::<core::net::IpAddr>().is_err() {
                return Err(malformed("address", address, "an IP address"));
            }
        }
        let count = network.ports.len();
        check_count("list of port mappings", count, limits::DISCOVERY_PORTS)?;
        for mapping in &network.ports {
            check_mapping(mapping, resources)?;
            if !ports.insert((mapping.host, mapping.protocol)) {
                let port = mapping.host;
                return Err(Reject::PortTwice { port });
            }
        }
    }
    Ok(())
}

fn check_mapping(mapping: &PortMapping, resources: &Resources) -> Result<(), Reject> {
    if mapping.host == 0 || mapping.container == 0 {
        let what = "a mapped port";
        return Err(Reject::Zero { what });
    }
    let port = u64::from(mapping.host);
    let mut taken = resources.iter().filter(|entry| entry.name() == "ports");
    let is_taken = taken.any(|entry| match entry.value() {
        Value::Ranges(ranges) => ranges.iter().any(|range| range.contains(&port)),
        Value::Scalar(_) | Value::Items(_) => false,
    });
    match is_taken {
        true => Ok(()),
        false => Err(Reject::PortNotTaken { port: mapping.host }),
    }
}

/// Checks a host name (RFC 1123).
fn check_hostname(name: &str) -> Result<(), Reject> {
    let what = "host name";
    check_filled(what, name)?;
    let is_label = |label: &str| {
        let plain = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    // The kernel keeps no more.
    match name.len() <= 64 && name.split('.').all(is_label) {
        true => Ok(()),
        false => Err(malformed(what, name, "letters, digits, dashes and dots")),
    }
}

fn check_dns(dns: &Dns) -> Result<(), Reject> {
    let lists = [
        ("list of nameservers", "nameserver", &dns.nameservers),
        ("list of domains", "domain", &dns.search),
        ("list of resolver options", "resolver option", &dns.options),
    ];
    for (list, what, entries) in lists {
        check_count(list, entries.len(), limits::NETWORKS)?;
        for entry in entries {
            check_filled(what, entry)?;
            // Each is a word in a line.
            if entry.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(malformed(what, entry, "one word"));
            }
        }
    }
    match dns
        .nameservers
        .iter()
        .find(|it| it.parse::<core::net::IpAddr>().is_err())
    {
        Some(bad) => Err(malformed("nameserver", bad, "an IP address")),
        None => Ok(()),
    }
}

fn check_security(security: &Security) -> Result<(), Reject> {
    if let (Some(effective), Some(bounding)) = (&security.effective, &security.bounding)
        && let Some(capability) = effective.difference(bounding).next()
    {
        // CT-58
        let capability = *capability;
        return Err(Reject::BeyondBounding { capability });
    }
    match &security.seccomp {
        Seccomp::Profile(name) => {
            let what = "name of a seccomp profile";
            check_filled(what, name)?;
            match name.contains('/') || name == "." || name == ".." {
                true => Err(malformed(what, name, "the name of a file")),
                false => Ok(()),
            }
        }
        Seccomp::Default | Seccomp::Unconfined => Ok(()),
    }
}

/// Checks what is tried (TK-10).
fn check_probe(of: &'static str, probe: &Probe) -> Result<(), Reject> {
    let zero = |port: u16| match port {
        0 => Err(Reject::Zero {
            what: "the port of a check",
        }),
        _ => Ok(()),
    };
    match probe {
        Probe::Command(command) if !command.uris.is_empty() => Err(Reject::TooMany {
            what: "list of URIs of a check",
            count: command.uris.len(),
            limit: 0,
        }),
        Probe::Command(command) if command.user.is_some() => Err(Reject::Needs {
            what: "user of a check",
            needed: "none: it runs as its task",
        }),
        Probe::Command(command) => check_command(command),
        Probe::Http(http) => {
            zero(http.port)?;
            let what = "path of a check";
            check_filled(what, &http.path)?;
            let is_plain = |c: char| c.is_ascii_graphic();
            match http.path.starts_with('/') && http.path.chars().all(is_plain) {
                true => Ok(()),
                false => Err(malformed(of, &http.path, "a path that begins with a slash")),
            }
        }
        Probe::Tcp { port, .. } => zero(*port),
    }
}

fn check_rhythm(of: &'static str, rhythm: &Rhythm) -> Result<(), Reject> {
    for time in [rhythm.delay, rhythm.interval, rhythm.timeout] {
        check_time(of, time)?;
    }
    match rhythm.interval < limits::CHECK_INTERVAL {
        true => Err(Reject::TooShortTime {
            what: "the interval of a check",
            time: rhythm.interval,
            least: limits::CHECK_INTERVAL,
        }),
        false => Ok(()),
    }
}

fn check_time(what: &'static str, time: Duration) -> Result<(), Reject> {
    let limit = limits::GRACE;
    match time > limit {
        true => Err(Reject::TooLongTime { what, time, limit }),
        false => Ok(()),
    }
}

/// Checks a path that leads to somewhere below where it begins.
fn check_relative(what: &'static str, path: &str) -> Result<(), Reject> {
    check_filled(what, path)?;
    if path.starts_with('/') {
        return Err(malformed(what, path, "a relative path"));
    }
    check_parts(what, path)
}

/// Checks that no part of a path leads up.
fn check_parts(what: &'static str, path: &str) -> Result<(), Reject> {
    match path.split('/').any(|part| part == "..") {
        true => Err(malformed(what, path, "a path without ..")),
        false => Ok(()),
    }
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), Reject> {
    match count > limit {
        true => Err(Reject::TooMany { what, count, limit }),
        false => Ok(()),
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn malformed(what: &'static str, value: &str, expected: &'static str) -> Reject {
    // Quoted in a message; what is longer is cut.
    let value: String = value.chars().take(80).collect();
    Reject::Malformed {
        what,
        value,
        expected,
    }
}
