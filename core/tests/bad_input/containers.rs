//! What tasks and executors may not ask of their containers, fetch, or have checked (VA-03, VA-04,
//! VA-06, VA-07, TK-10, TK-17).

use std::time::Duration;

use tepui_core::limits;
use tepui_core::protocol::check::{CheckInfo, HealthCheck, HttpProbe, Probe, Rhythm};
use tepui_core::protocol::container_info::{
    Access, Capability, ContainerInfo, Dns, Image, IpcMode, LogBounds, NetworkInfo, PortMapping,
    Propagation, Rlimit, RlimitKind, Seccomp, Secret, Terminal, Transport, Uri, Volume,
    VolumeSource,
};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::Labels;

/// What is wrong, what is said about it, and how it is made so.
type Rule<T> = (&'static str, &'static str, fn(&mut T));

pub(crate) const OF_CONTAINERS: [Rule<ContainerInfo>; 50] = [
    ("an image has a name", "image is empty", |it| {
        image(it).reference.clear();
    }),
    (
        "an image has no blank",
        "image is \"a b\": expected",
        |it| {
            image(it).reference = "a b".into();
        },
    ),
    ("an image has no NUL", "image contains a NUL byte", |it| {
        image(it).reference = "a\0".into();
    }),
    ("volumes are 256 at most", "list of volumes has 257", |it| {
        it.volumes = vec![volume("/v", tmpfs(1)); limits::VOLUMES + 1];
    }),
    ("a volume has a path", "path of a volume is empty", |it| {
        last(it).path.clear();
    }),
    (
        "a volume's path has no NUL",
        "path of a volume contains a NUL byte",
        |it| {
            last(it).path = "/a\0".into();
        },
    ),
    (
        "a volume's path leads not up",
        "path of a volume is \"a/../b\"",
        |it| {
            last(it).path = "a/../b".into();
        },
    ),
    (
        "a host path is something",
        "host path of a volume is empty",
        |it| {
            last(it).source = host("");
        },
    ),
    (
        "a host path is absolute",
        "expected an absolute path",
        |it| {
            last(it).source = host("etc");
        },
    ),
    (
        "a host path leads not up",
        "host path of a volume is \"/a/..\"",
        |it| {
            last(it).source = host("/a/..");
        },
    ),
    (
        "a host path has 4096 bytes at most",
        "host path of a volume has 4097 bytes",
        |it| {
            last(it).source = host(&format!("/{}", "x".repeat(4_096)));
        },
    ),
    (
        "a sandbox path is something",
        "sandbox path of a volume is empty",
        |it| {
            last(it).source = sandbox("");
        },
    ),
    (
        "a sandbox path is relative",
        "expected a relative path",
        |it| {
            last(it).source = sandbox("/a");
        },
    ),
    (
        "a sandbox path leads not up",
        "sandbox path of a volume is \"..\"",
        |it| {
            last(it).source = sandbox("..");
        },
    ),
    ("a parent's sandbox is a group's", "needs a group", |it| {
        last(it).source = VolumeSource::Parent { path: "a".into() };
    }),
    ("the image of a volume has a name", "image is empty", |it| {
        let (reference, cached) = (String::new(), true);
        last(it).source = VolumeSource::Image(Image { reference, cached });
    }),
    (
        "a secret is something",
        "secret of a volume is empty",
        |it| {
            last(it).source = VolumeSource::Secret(Secret(vec![]));
        },
    ),
    (
        "memory for files is some",
        "the size of a volume in memory is zero",
        |it| {
            last(it).source = tmpfs(0);
        },
    ),
    (
        "a container takes 256 KiB at most",
        "more than the limit of 262144",
        |it| {
            last(it).source = VolumeSource::Secret(Secret(vec![1; limits::CONTAINER_BYTES]));
        },
    ),
    ("networks are 32 at most", "list of networks has 33", |it| {
        it.networks = vec![network("n"); limits::NETWORKS + 1];
    }),
    ("a network has a name", "name of a network is empty", |it| {
        it.networks[1].name.clear();
    }),
    (
        "a network is joined once",
        "network \"one\" is joined twice",
        |it| {
            it.networks[1].name = "one".into();
        },
    ),
    (
        "addresses are 32 at most",
        "list of addresses has 33",
        |it| {
            it.networks[1].addresses = vec!["::1".into(); limits::NETWORKS + 1];
        },
    ),
    ("an address is something", "address is empty", |it| {
        it.networks[1].addresses = vec![String::new()];
    }),
    (
        "an address is one",
        "address is \"10.0.0\": expected an IP address",
        |it| {
            it.networks[1].addresses = vec!["10.0.0".into()];
        },
    ),
    (
        "mapped ports are 1024 at most",
        "list of port mappings has 1025",
        |it| {
            it.networks[1].ports = vec![mapping(1, 1); limits::DISCOVERY_PORTS + 1];
        },
    ),
    (
        "a port of the machine is not zero",
        "a mapped port is zero",
        |it| {
            it.networks[1].ports = vec![mapping(0, 1)];
        },
    ),
    (
        "a port of a container is not zero",
        "a mapped port is zero",
        |it| {
            it.networks[1].ports = vec![mapping(9, 0)];
        },
    ),
    (
        "a mapped port is the task's",
        "but the task does not take it",
        |it| {
            it.networks[1].ports = vec![mapping(80, 80)];
        },
    ),
    (
        "a port is mapped once",
        "port 8 of the machine is mapped twice",
        |it| {
            it.networks[1].ports = vec![mapping(8, 81)];
        },
    ),
    ("a host name is something", "host name is empty", |it| {
        it.hostname = Some(String::new());
    }),
    (
        "a host name has plain letters",
        "host name is \"a_b\"",
        |it| {
            it.hostname = Some("a_b".into());
        },
    ),
    (
        "a host name has no dash at its end",
        "host name is \"a-\"",
        |it| {
            it.hostname = Some("a-".into());
        },
    ),
    (
        "a host name has 64 bytes at most",
        "expected letters, digits",
        |it| {
            it.hostname = Some(["x".repeat(32), "y".repeat(32)].join("."));
        },
    ),
    (
        "a host name needs a network",
        "host name needs a network",
        |it| {
            it.networks.clear();
        },
    ),
    (
        "nameservers are 32 at most",
        "list of nameservers has 33",
        |it| {
            dns(it).nameservers = vec!["::1".into(); limits::NETWORKS + 1];
        },
    ),
    (
        "a nameserver is an address",
        "expected an IP address",
        |it| {
            dns(it).nameservers = vec!["one.example".into()];
        },
    ),
    (
        "a domain is a word",
        "domain is \"a\\nb\": expected one word",
        |it| {
            dns(it).search = vec!["a\nb".into()];
        },
    ),
    ("an option is a word", "resolver option is \"a b\"", |it| {
        dns(it).options = vec!["a b".into()];
    }),
    (
        "rights are of the bounding set",
        "capability KILL is not in",
        |it| {
            it.security.effective = Some([Capability::Chown, Capability::Kill].into());
        },
    ),
    (
        "a profile has a name",
        "name of a seccomp profile is empty",
        |it| {
            it.security.seccomp = Seccomp::Profile(String::new());
        },
    ),
    (
        "a profile is not elsewhere",
        "expected the name of a file",
        |it| {
            it.security.seccomp = Seccomp::Profile("../p".into());
        },
    ),
    (
        "a kind of limit is set once",
        "the limit NOFILE is set twice",
        |it| {
            it.rlimits.push(it.rlimits[0]);
        },
    ),
    (
        "a soft limit is below its hard one",
        "above its hard limit of 4",
        |it| {
            it.rlimits[0].bounds = Some((5, 4));
        },
    ),
    (
        "shared memory is some",
        "the size of shared memory is zero",
        |it| {
            it.shm_size = Some(0);
        },
    ),
    (
        "shared memory with a size is its own",
        "size of shared memory needs",
        |it| {
            it.ipc = IpcMode::ShareParent;
        },
    ),
    ("a log has a size", "the size of a log is zero", |it| {
        it.logs = Some(LogBounds { size: 0, files: 1 });
    }),
    (
        "a log has a file",
        "the number of a log's files is zero",
        |it| {
            it.logs = Some(LogBounds { size: 1, files: 0 });
        },
    ),
    (
        "a log has few files",
        "log has 101 entries, more than the limit of 100",
        |it| {
            it.logs = Some(LogBounds {
                size: 1,
                files: 101,
            });
        },
    ),
    (
        "a terminal has sides",
        "a side of the terminal is zero",
        |it| {
            it.terminal = Some(Terminal {
                rows: 0,
                columns: 80,
            });
        },
    ),
];

pub(crate) const OF_URIS: [Rule<CommandInfo>; 9] = [
    ("URIs are 1024 at most", "list of URIs has 1025", |it| {
        it.uris = vec![uri(); limits::URIS + 1];
    }),
    ("a URI is something", "URI is empty", |it| {
        it.uris[1].value.clear();
    }),
    ("a URI has no NUL", "URI contains a NUL byte", |it| {
        it.uris[1].value = "a\0".into();
    }),
    (
        "a checksum names its algorithm",
        "expected ALGORITHM:HEX",
        |it| {
            it.uris[1].checksum = Some("abcd".into());
        },
    ),
    (
        "a checksum is in hexadecimal",
        "expected ALGORITHM:HEX",
        |it| {
            it.uris[1].checksum = Some("sha256:xy".into());
        },
    ),
    (
        "a checksum is something",
        "checksum of a URI is empty",
        |it| {
            it.uris[1].checksum = Some(String::new());
        },
    ),
    (
        "an output file is something",
        "output file of a URI is empty",
        |it| {
            it.uris[1].output_file = Some(String::new());
        },
    ),
    (
        "an output file is in the sandbox",
        "expected a relative path",
        |it| {
            it.uris[1].output_file = Some("/a".into());
        },
    ),
    (
        "an output file leads not up",
        "expected a path without ..",
        |it| {
            it.uris[1].output_file = Some("a/../../b".into());
        },
    ),
];

/// What is wrong with what is tried, and when.
pub(crate) const OF_CHECKS: [Rule<(Probe, Rhythm)>; 11] = [
    ("a check's command is something", "command is empty", |it| {
        it.0 = Probe::Command(Box::new(CommandInfo::shell("")));
    }),
    (
        "a check fetches nothing",
        "list of URIs of a check has 1",
        |it| {
            let mut command = CommandInfo::shell("true");
            command.uris = vec![uri()];
            it.0 = Probe::Command(Box::new(command));
        },
    ),
    (
        "a check runs as its task",
        "user of a check needs none",
        |it| {
            let mut command = CommandInfo::shell("true");
            command.user = Some("root".into());
            it.0 = Probe::Command(Box::new(command));
        },
    ),
    (
        "a request is to a port",
        "the port of a check is zero",
        |it| {
            http(it).port = 0;
        },
    ),
    (
        "a connection is to a port",
        "the port of a check is zero",
        |it| {
            let family = http(it).family;
            it.0 = Probe::Tcp { port: 0, family };
        },
    ),
    (
        "a request is for something",
        "path of a check is empty",
        |it| {
            http(it).path.clear();
        },
    ),
    (
        "a request's path begins with a slash",
        "begins with a slash",
        |it| {
            http(it).path = "up".into();
        },
    ),
    (
        "a request's path is one line",
        "begins with a slash",
        |it| {
            http(it).path = "/up\r\nX: y".into();
        },
    ),
    ("a check begins within a year", "check is 31536001s", |it| {
        it.1.delay = limits::GRACE + Duration::from_secs(1);
    }),
    ("a check ends within a year", "check is 31536001s", |it| {
        it.1.timeout = limits::GRACE + Duration::from_secs(1);
    }),
    (
        "a check is not made all the time",
        "the interval of a check is 99ms",
        |it| {
            it.1.interval = Duration::from_millis(99);
        },
    ),
];

/// What nothing is wrong with: rules are broken at the last volume and at the second network.
pub(crate) fn container() -> ContainerInfo {
    let mut container = ContainerInfo {
        image: Some(Image {
            reference: "localhost:5000/a/b:1@sha256:00".into(),
            cached: false,
        }),
        volumes: vec![
            volume("/v", host("/srv")),
            volume("w", sandbox("s")),
            volume("/k", VolumeSource::Secret(Secret(vec![1]))),
            volume("/t", tmpfs(1)),
        ],
        networks: vec![network("one"), network("two")],
        hostname: Some("web-1.example".into()),
        dns: Some(Dns {
            nameservers: vec!["10.0.0.1".into(), "::1".into()],
            search: vec!["a.example".into()],
            options: vec!["ndots:2".into()],
        }),
        rlimits: vec![Rlimit {
            kind: RlimitKind::Nofile,
            bounds: Some((4, 4)),
        }],
        shm_size: Some(1),
        terminal: Some(Terminal {
            rows: 24,
            columns: 80,
        }),
        logs: Some(LogBounds {
            size: 1,
            files: 100,
        }),
        ..ContainerInfo::default()
    };
    container.networks[0].ports = vec![mapping(8, 80)];
    container.security.bounding = Some([Capability::Chown].into());
    container.security.effective = Some([Capability::Chown].into());
    container
}

/// Two URIs that nothing is wrong with; rules are broken at the second.
pub(crate) fn uris() -> Vec<Uri> {
    vec![uri(), uri()]
}

/// A check that nothing is wrong with.
pub(crate) fn check() -> (Probe, Rhythm) {
    let http = HttpProbe {
        tls: false,
        port: 80,
        path: "/up?a=b".into(),
        family: Default::default(),
    };
    (Probe::Http(http), Rhythm::default())
}

pub(crate) fn check_info((probe, rhythm): (Probe, Rhythm)) -> Option<Box<CheckInfo>> {
    Some(Box::new(CheckInfo { probe, rhythm }))
}

pub(crate) fn health_check((probe, rhythm): (Probe, Rhythm)) -> Option<Box<HealthCheck>> {
    Some(Box::new(HealthCheck {
        rhythm,
        ..HealthCheck::new(probe)
    }))
}

fn uri() -> Uri {
    Uri {
        output_file: Some("c/d".into()),
        checksum: Some("sha256:0aF".into()),
        ..Uri::new("http://a.example/b.tgz")
    }
}

fn image(container: &mut ContainerInfo) -> &mut Image {
    container.image.as_mut().unwrap()
}

fn last(container: &mut ContainerInfo) -> &mut Volume {
    container.volumes.last_mut().unwrap()
}

fn dns(container: &mut ContainerInfo) -> &mut Dns {
    container.dns.as_mut().unwrap()
}

fn http(check: &mut (Probe, Rhythm)) -> &mut HttpProbe {
    match &mut check.0 {
        Probe::Http(http) => http,
        other @ (Probe::Command(_) | Probe::Tcp { .. }) => panic!("{other:?} is no request"),
    }
}

fn volume(path: &str, source: VolumeSource) -> Volume {
    Volume {
        path: path.into(),
        access: Access::Write,
        source,
    }
}

fn host(path: &str) -> VolumeSource {
    VolumeSource::Host {
        path: path.into(),
        propagation: Propagation::Private,
    }
}

fn sandbox(path: &str) -> VolumeSource {
    VolumeSource::Sandbox { path: path.into() }
}

fn tmpfs(size: u64) -> VolumeSource {
    VolumeSource::Tmpfs { size }
}

fn network(name: &str) -> NetworkInfo {
    NetworkInfo {
        name: name.into(),
        addresses: vec!["10.0.0.2".into()],
        ports: vec![],
        labels: Labels::new(),
    }
}

fn mapping(host: u16, container: u16) -> PortMapping {
    PortMapping {
        host,
        container,
        protocol: Transport::Tcp,
    }
}
