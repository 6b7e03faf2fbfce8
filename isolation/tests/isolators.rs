//! What comes of what tasks ask of their containers, with the isolators of the crate: for real, as
//! root.

#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{Agent, config, id, sh, skipped, spec};
use tepui_core::protocol::container::{ContainerEvent, ContainerSpec};
use tepui_core::protocol::container_info::{
    Access, Capability, ContainerInfo, Image, IpcMode, NetworkInfo, Propagation, Rlimit,
    RlimitKind, Seccomp, Secret, Uri, Volume, VolumeSource,
};
use tepui_core::protocol::status::Exit;
use tepui_core::protocol::task::CommandInfo;
use tepui_isolation::fetch::{Config as FetchConfig, Fetcher};
use tepui_isolation::isolators::{
    Allowed, Fetching, Former, Images, Networks, Plain, Rights, Volumes,
};
use tepui_isolation::{Isolator, Mode};

/// All isolators, with what `allowed` gives; containers may see `shared` of the machine.
fn isolators(dir: &Path, allowed: Allowed, shared: &Path) -> Vec<Box<dyn Isolator>> {
    let fetcher = Fetcher::new(FetchConfig::new(dir.join("cache"))).unwrap();
    vec![
        Box::new(Rights::new(allowed)),
        Box::new(Images::new(None, dir.join("roots"))),
        Box::new(Networks::new(None)),
        Box::new(Volumes::new(vec![shared.to_owned()])),
        Box::new(Fetching::new(fetcher)),
    ]
}

fn can_contain() -> bool {
    let detected = Mode::detect();
    let is_possible = detected.mode == Mode::Container;
    if !is_possible {
        skipped(&detected.reason);
    }
    is_possible
}

fn asking(n: u64, command: CommandInfo, container: ContainerInfo) -> ContainerSpec {
    ContainerSpec {
        container: Some(Box::new(container)),
        ..spec(&id(n), command)
    }
}

fn volume(path: &str, access: Access, source: VolumeSource) -> Volume {
    let path = path.to_owned();
    Volume {
        path,
        access,
        source,
    }
}

fn sandbox(path: &str) -> VolumeSource {
    let path = path.to_owned();
    VolumeSource::Sandbox { path }
}

fn host(path: &Path) -> VolumeSource {
    VolumeSource::Host {
        path: path.to_str().unwrap().to_owned(),
        propagation: Propagation::Private,
    }
}

// CT-44, CT-45, CT-47
#[test]
fn a_container_sees_its_volumes_and_can_change_those_that_it_may() {
    if !can_contain() {
        return;
    }
    let (dir, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(shared.path().join("given"), "from the machine\n").unwrap();
    let all = isolators(dir.path(), Allowed::default(), shared.path());
    let agent = Agent::isolated(config(dir.path(), Mode::Container), all);
    let volumes = vec![
        volume("read", Access::Read, host(shared.path())),
        volume("write", Access::Write, host(shared.path())),
        volume(
            "kept/here",
            Access::Write,
            VolumeSource::Sandbox { path: "a/b".into() },
        ),
        volume(
            "key",
            Access::Read,
            VolumeSource::Secret(Secret(b"sesame".to_vec())),
        ),
        volume("fast", Access::Write, VolumeSource::Tmpfs { size: 1 }),
    ];
    let asked = ContainerInfo {
        volumes,
        ..ContainerInfo::default()
    };
    let script = "
        cat read/given
        touch read/new 2> /dev/null && echo 'wrote what is read only'
        echo mine > write/new
        echo inside > kept/here/file
        cat key
        head -c 2000000 /dev/zero > fast/big 2> /dev/null && echo 'wrote more than fits'
        stat -c ' %s' fast/big
        exit 0";
    agent.launch_spec(&id(1), asking(1, sh(script), asked));
    agent.started();
    assert_eq!(
        agent.exited().0,
        Exit::Code(0),
        "{}",
        agent.file(&id(1), "stderr")
    );
    let out = agent.file(&id(1), "stdout");
    assert_eq!(out, "from the machine\nsesame 1048576\n");
    assert_eq!(
        fs::read_to_string(shared.path().join("new")).unwrap(),
        "mine\n"
    );
    assert_eq!(agent.file(&id(1), "a/b/file"), "inside\n");
    // In memory only.
    let sandbox = dir.path().join("sandboxes").join(id(1).as_str());
    assert_eq!(fs::read(sandbox.join("key")).unwrap_or_default(), b"");
    agent.shutdown();
}

// CT-57, CT-58, CT-60
#[test]
fn a_container_has_the_rights_that_it_asked_for() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let all = isolators(dir.path(), Allowed::default(), dir.path());
    let agent = Agent::isolated(config(dir.path(), Mode::Container), all);
    let mut asked = ContainerInfo {
        rlimits: vec![Rlimit {
            kind: RlimitKind::Nofile,
            bounds: Some((77, 99)),
        }],
        ..ContainerInfo::default()
    };
    asked.security.effective = Some([Capability::Kill].into());
    asked.security.bounding = Some([Capability::Kill, Capability::Chown].into());
    asked.security.no_new_privileges = true;
    let script = "
        ulimit -Sn; ulimit -Hn
        grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'";
    agent.launch_spec(&id(1), asking(1, sh(script), asked));
    agent.started();
    assert_eq!(agent.exited().0, Exit::Code(0));
    let out = agent.file(&id(1), "stdout");
    let expected = "77\n99\nCapEff:0000000000000020\nCapBnd:0000000000000021\nNoNewPrivs:1\n\
                    Seccomp:2\n";
    assert_eq!(out, expected);
    agent.shutdown();
}

// TK-39: what cannot be given is refused, by whom and why
#[test]
fn what_is_asked_for_in_vain_is_refused() {
    if !can_contain() {
        return;
    }
    let (dir, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink("/etc", shared.path().join("out")).unwrap();
    let all = isolators(dir.path(), Allowed::default(), shared.path());
    let agent = Agent::isolated(config(dir.path(), Mode::Container), all);
    type Ask = Box<dyn Fn(&mut ContainerInfo)>;
    let of_host = |path: &Path| -> Ask {
        let source = host(path);
        Box::new(move |it| it.volumes = vec![volume("v", Access::Read, source.clone())])
    };
    let asks: Vec<(Ask, &str)> = vec![
        (
            of_host(Path::new("/etc")),
            "volumes: it asks for /etc of the machine",
        ),
        (
            of_host(&shared.path().join("out/passwd")),
            "No such file or directory",
        ),
        (
            of_host(&shared.path().join("none")),
            "No such file or directory",
        ),
        (
            Box::new(|it| {
                let (reference, cached) = ("a".to_owned(), true);
                it.image = Some(Image { reference, cached });
            }),
            "images: it asks for an image, and this agent has no place for them",
        ),
        (
            Box::new(|it| it.volumes = vec![volume("/etc", Access::Write, sandbox("a"))]),
            "volumes: it asks for a volume at /etc; without an image",
        ),
        (
            Box::new(|it| {
                it.volumes = vec![volume("t", Access::Read, VolumeSource::Tmpfs { size: 1 })]
            }),
            "volumes: it asks for memory that is read only",
        ),
        (
            Box::new(|it| {
                let kind = RlimitKind::Rtprio;
                it.rlimits = vec![Rlimit { kind, bounds: None }];
            }),
            "rights: it asks for the limit RTPRIO",
        ),
        (
            Box::new(|it| it.read_only_root = true),
            "images: it asks for a root that it cannot",
        ),
        (
            Box::new(|it| {
                let name = "n".to_owned();
                it.networks = vec![NetworkInfo {
                    name,
                    ..NetworkInfo::default()
                }];
            }),
            "networks: it asks for the network \"n\", and this agent has none",
        ),
        (
            Box::new(|it| it.security.effective = Some([Capability::SysAdmin].into())),
            "rights: it asks for the capabilities",
        ),
        (
            Box::new(|it| it.security.seccomp = Seccomp::Unconfined),
            "rights: it asks for system calls without a filter",
        ),
        (
            Box::new(|it| it.security.seccomp = Seccomp::Profile("p".into())),
            "rights: it asks for the seccomp profile \"p\"",
        ),
        (
            Box::new(|it| it.share_pid_namespace = true),
            "rights: it asks to see the machine's",
        ),
        (
            Box::new(|it| it.ipc = IpcMode::ShareParent),
            "rights: it asks for the machine's shared",
        ),
    ];
    for (n, (ask, why)) in (1..).zip(asks) {
        let mut asked = ContainerInfo::default();
        ask(&mut asked);
        agent.launch_spec(&id(n), asking(n, sh("true"), asked));
        let said = agent.failed();
        assert!(said.contains(why), "{said:?} is not {why:?}");
    }
    agent.shutdown();
}

// AG-49, AG-50, AG-53
#[test]
fn what_a_command_names_is_in_its_sandbox_before_it_starts() {
    for mode in [Mode::Process, Mode::Container] {
        if mode == Mode::Container && !can_contain() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("tool");
        fs::write(&source, "#!/bin/sh\necho fetched\n").unwrap();
        let fetcher = Fetcher::new(FetchConfig::new(dir.path().join("cache"))).unwrap();
        let fetching = Fetching::new(fetcher);
        let all: Vec<Box<dyn Isolator>> = vec![Box::new(Plain::default()), Box::new(fetching)];
        let agent = Agent::isolated(config(dir.path(), mode), all);
        let uri = Uri {
            executable: true,
            ..Uri::new(source.to_str().unwrap())
        };
        let mut command = sh("./tool");
        command.uris = vec![uri.clone()];
        assert_eq!(agent.run(&id(1), command.clone()), Exit::Code(0));
        assert_eq!(agent.file(&id(1), "stdout"), "fetched\n");
        command.uris[0].checksum = Some("sha256:00".into());
        agent.launch(&id(2), command.clone());
        let said = agent.failed();
        assert!(said.starts_with("fetch: "), "{said}");
        command.uris = vec![Uri::new(dir.path().join("none").to_str().unwrap())];
        agent.launch(&id(3), command);
        let said = agent.failed();
        assert!(said.contains("none"), "{said}");
        let asked = ContainerInfo {
            shm_size: Some(1),
            ..ContainerInfo::default()
        };
        agent.launch_spec(&id(4), asking(4, sh("true"), asked));
        let said = agent.failed();
        assert!(said.starts_with("plain: "), "{said}");
        agent.shutdown();
    }
}

// AG-49: whoever does not see it cannot have it fetched either
#[test]
fn what_is_hidden_is_not_fetched() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["hidden", "shown"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("file"), name).unwrap();
    }
    symlink(at("hidden"), at("way")).unwrap();
    let allowed = Allowed {
        hidden: vec![fs::canonicalize(at("hidden")).unwrap()],
        ..Allowed::default()
    };
    let isolators = isolators(dir.path(), allowed, &at("shown"));
    let agent = Agent::isolated(config(dir.path(), Mode::Container), isolators);
    let fetching = |path: &str| {
        let mut command = sh("cat file");
        command.uris = vec![Uri::new(at(path).to_str().unwrap())];
        command
    };
    for (n, path) in (1..).zip(["hidden/file", "way/file", "shown/../hidden/file"]) {
        agent.launch(&id(n), fetching(path));
        let said = agent.failed();
        assert!(said.contains("it is its agent's"), "{path}: {said}");
    }
    assert_eq!(agent.run(&id(9), fetching("shown/file")), Exit::Code(0));
    assert_eq!(agent.file(&id(9), "stdout"), "shown");
    agent.shutdown();
}

// CT-09: what runs goes on over a restart, and is cleaned up at its end
#[test]
fn containers_outlive_their_agent_with_what_they_have() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let all = isolators(dir.path(), Allowed::default(), dir.path());
        Agent::isolated(config(dir.path(), Mode::Container), all)
    };
    let agent = start();
    let source = VolumeSource::Tmpfs { size: 1 };
    let asked = ContainerInfo {
        volumes: vec![volume("fast", Access::Write, source)],
        ..ContainerInfo::default()
    };
    let script =
        "echo kept > fast/file; echo up; until [ -e go ]; do sleep 0.05; done; cat fast/file";
    agent.launch_spec(&id(1), asking(1, sh(script), asked));
    agent.started();
    agent.line(&id(1), "stdout");
    agent.detach();
    let agent = start();
    let events = agent.recover(&[id(1)]);
    assert!(
        matches!(&events[..], [ContainerEvent::Started { id: of, .. }] if *of == id(1)),
        "{events:?}"
    );
    fs::write(
        dir.path().join("sandboxes").join(id(1).as_str()).join("go"),
        "",
    )
    .unwrap();
    assert_eq!(agent.exited().0, Exit::Code(0));
    assert_eq!(agent.file(&id(1), "stdout"), "up\nkept\n");
    agent.shutdown();
}

// CT-09, AG-57: an agent that is started otherwise removes what it had made before
#[test]
fn what_an_agent_had_made_goes_though_it_makes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots");
    let left = roots.join(id(9).as_str());
    fs::create_dir_all(left.join("root/upper")).unwrap();
    let former = Former::new(Images::new(None, &roots));
    let all: Vec<Box<dyn Isolator>> = vec![Box::new(former), Box::new(Plain::default())];
    let agent = Agent::isolated(config(dir.path(), Mode::Process), all);
    assert_eq!(agent.recover(&[]), []);
    assert!(!left.exists());
    // It is asked for nothing new.
    assert_eq!(agent.run(&id(1), sh("true")), Exit::Code(0));
    agent.shutdown();
}
