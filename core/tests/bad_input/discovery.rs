//! What tasks and executors may not publish about themselves (TK-04), wherever it is said.
//!
//! Deliberately not here: labels, whose bad values do not decode (`bytes`).

use tepui_core::limits;
use tepui_core::protocol::discovery::{DiscoveryInfo, DiscoveryPort, Published, Visibility};
use tepui_core::resources::{Label, Labels};

/// What is wrong, what is said about it, and how it is made so.
type Rule = (&'static str, &'static str, fn(&mut Published));

pub(crate) const RULES: [Rule; 21] = [
    (
        "a service's name is something",
        "name of a service is empty",
        |it| service(it).name = Some(String::new()),
    ),
    (
        "a service's name has no NUL",
        "name of a service contains a NUL byte",
        |it| service(it).name = Some("a\0b".into()),
    ),
    (
        "a service's name has 4096 bytes at most",
        "name of a service has 4097 bytes, more than the limit of 4096",
        |it| service(it).name = Some("x".repeat(4_097)),
    ),
    (
        "an environment is something",
        "environment of a service is empty",
        |it| service(it).environment = Some(String::new()),
    ),
    (
        "an environment has no NUL",
        "environment of a service contains a NUL byte",
        |it| service(it).environment = Some("\0".into()),
    ),
    (
        "an environment has 4096 bytes at most",
        "environment of a service has 4097 bytes",
        |it| service(it).environment = Some("x".repeat(4_097)),
    ),
    (
        "a location is something",
        "location of a service is empty",
        |it| service(it).location = Some(String::new()),
    ),
    (
        "a location has no NUL",
        "location of a service contains a NUL byte",
        |it| service(it).location = Some("a\0".into()),
    ),
    (
        "a location has 4096 bytes at most",
        "location of a service has 4097 bytes",
        |it| service(it).location = Some("x".repeat(4_097)),
    ),
    (
        "a version is something",
        "version of a service is empty",
        |it| service(it).version = Some(String::new()),
    ),
    (
        "a version has no NUL",
        "version of a service contains a NUL byte",
        |it| service(it).version = Some("\0a".into()),
    ),
    (
        "a version has 4096 bytes at most",
        "version of a service has 4097 bytes",
        |it| service(it).version = Some("x".repeat(4_097)),
    ),
    (
        "ports of a service are 1024 at most",
        "list of ports of a service has 1025 entries, more than the limit of 1024",
        |it| service(it).ports = vec![DiscoveryPort::new(1); limits::DISCOVERY_PORTS + 1],
    ),
    (
        "a service's port is not zero",
        "port of a service is zero",
        |it| port(it).number = 0,
    ),
    (
        "a port's name is something",
        "name of a port is empty",
        |it| port(it).name = Some(String::new()),
    ),
    (
        "a port's name has no NUL",
        "name of a port contains a NUL byte",
        |it| port(it).name = Some("a\0b".into()),
    ),
    (
        "a port's name has 4096 bytes at most",
        "name of a port has 4097 bytes",
        |it| port(it).name = Some("x".repeat(4_097)),
    ),
    (
        "a port's protocol is something",
        "protocol of a port is empty",
        |it| port(it).protocol = Some(String::new()),
    ),
    (
        "a port's protocol has no NUL",
        "protocol of a port contains a NUL byte",
        |it| port(it).protocol = Some("\0".into()),
    ),
    ("labels take 64 KiB at most", "publishes takes ", |it| {
        it.labels = many(17);
        it.discovery = None;
    }),
    (
        "labels and discovery take 64 KiB together",
        "bytes on the wire, more than the limit of 65536",
        |it| {
            it.labels = many(8);
            port(it).labels = many(9);
        },
    ),
];

/// What nothing is wrong with, with two ports: rules are broken at the second.
pub(crate) fn published() -> Published {
    let label = |key: &str| Labels::try_from(vec![Label::new(key, "gold")]).unwrap();
    let port = DiscoveryPort {
        name: Some("metrics".into()),
        protocol: Some("tcp".into()),
        visibility: Some(Visibility::Framework),
        labels: label("scrape"),
        ..DiscoveryPort::new(31_000)
    };
    let service = DiscoveryInfo {
        name: Some("web".into()),
        environment: Some("test".into()),
        location: Some("eu".into()),
        version: Some("2".into()),
        ports: vec![DiscoveryPort::new(80), port],
        labels: label("canary"),
        ..DiscoveryInfo::new(Visibility::Cluster)
    };
    Published {
        labels: label("tier"),
        discovery: Some(Box::new(service)),
    }
}

/// A service of which nothing else is said, at no port.
pub(crate) fn bad_port() -> Option<Box<DiscoveryInfo>> {
    let mut service = DiscoveryInfo::new(Visibility::External);
    service.ports = vec![DiscoveryPort::new(0)];
    Some(Box::new(service))
}

fn service(published: &mut Published) -> &mut DiscoveryInfo {
    published.discovery.as_mut().unwrap()
}

fn port(published: &mut Published) -> &mut DiscoveryPort {
    &mut service(published).ports[1]
}

/// So many labels of four KiB.
fn many(count: usize) -> Labels {
    let label = Label::new("k", &"x".repeat(4_080));
    Labels::try_from(vec![label; count]).unwrap()
}
