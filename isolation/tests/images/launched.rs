//! Containers in images, from the registry to the exit code.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tepui_core::protocol::container::{ContainerEvent, ContainerSpec, VolumePlace, VolumeSpec};
use tepui_core::protocol::container_info::{
    Access, ContainerInfo, Image as Asked, Propagation, Uri, Volume, VolumeSource,
};
use tepui_core::protocol::status::{Exit, Limited};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::Access::ReadWrite;
use tepui_core::resources::Milli;
use tepui_isolation::fetch::{Config as FetchConfig, Fetcher};
use tepui_isolation::isolators::{
    Allowed, DiskRule, Disks, Fetching, Images, Persistent, Rights, Volumes,
};
use tepui_isolation::launch::{IdRange, UserNamespace};
use tepui_isolation::{Isolator, Mode};

use super::*;
use crate::common::{Agent, config, id, sh, skipped, spec};
use crate::registry::Registry;

/// A root in which the machine's programs run, once its `/usr` is there.
fn tree() -> Vec<u8> {
    let mut layer = Layer::new();
    for name in ["etc", "usr", "srv", "gone"] {
        layer = layer.directory(name, 0o755);
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        layer = layer.link(name, &format!("usr/{name}"));
    }
    layer
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\nana:x:1000:1001:::\n")
        .file("etc/group", "root:x:0:\nana:x:1001:\n")
        .file("srv/note", "of the lower layer\n")
        .done()
}

fn image(config: &Value) -> Built {
    let upper = Layer::new()
        .file("srv/note", "of the image\n")
        .whiteout(".wh.gone");
    let layers = [tree(), upper.done()].map(|layer| (layer.clone(), gzip(&layer)));
    Built::packed(&layers, config)
}

fn start(dir: &Path) -> Agent {
    let store = Store::open(dir.join("images"), options()).unwrap();
    let isolators: Vec<Box<dyn Isolator>> = vec![
        Box::new(Images::new(Some(store), dir.join("roots"))),
        Box::new(Volumes::new(vec!["/usr".into()])),
    ];
    Agent::isolated(config(dir, Mode::Container), isolators)
}

/// Packs a directory.
fn packed(directory: &Path, archive: &Path) {
    let mut builder = tar::Builder::new(fs::File::create(archive).unwrap());
    builder.append_dir_all("", directory).unwrap();
    builder.finish().unwrap();
}

fn asking(n: u64, command: CommandInfo, reference: &str) -> ContainerSpec {
    let usr = VolumeSource::Host {
        path: "/usr".to_owned(),
        propagation: Propagation::Private,
    };
    let asked = ContainerInfo {
        image: Some(Asked {
            reference: reference.to_owned(),
            cached: true,
        }),
        volumes: vec![Volume {
            path: "/usr".to_owned(),
            access: Access::Read,
            source: usr,
        }],
        ..ContainerInfo::default()
    };
    ContainerSpec {
        container: Some(Box::new(asked)),
        ..spec(&id(n), command)
    }
}

/// Starts a registry, if containers are possible too.
fn ground() -> Option<Registry> {
    let detected = Mode::detect();
    if detected.mode != Mode::Container || !is_root("to mount") {
        skipped(&detected.reason);
        return None;
    }
    Registry::start(|_| String::new())
}

// CT-41, CT-50, CT-65, CT-70, DR-01, DR-06, DR-07, AG-48
#[test]
fn a_container_runs_in_an_image_as_that_says() {
    let Some(registry) = ground() else { return };
    let script = "cat note; echo $A $B $(id -un) $PWD; [ -e /gone ] || echo hidden; ls /; exit 7";
    let built = image(&json!({
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": [script],
        "Env": ["A=image", "B=image"],
        "WorkingDir": "/srv",
        "User": "ana",
    }));
    registry.push(&built, "team/app", "v1", None);
    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path());
    let mut command = CommandInfo::exec("", [""; 0]);
    command.environment = vec![("B".into(), "task".into())];
    let name = registry.name("team/app:v1");
    agent.launch_spec(&id(1), asking(1, command, &name));
    agent.started();
    assert_eq!(
        agent.exited().0,
        Exit::Code(7),
        "{}",
        agent.file(&id(1), "stderr")
    );
    let out = agent.file(&id(1), "stdout");
    let seen: Vec<&str> = out.lines().collect();
    assert_eq!(
        seen[..3],
        ["of the image", "image task ana /srv", "hidden"],
        "{out}"
    );
    assert!(!seen.contains(&"home") && seen.contains(&"usr"), "{out}");
    // What it wrote was its own, and is gone with it.
    let as_root = |script| CommandInfo {
        user: Some("root".to_owned()),
        ..sh(script)
    };
    agent.launch_spec(
        &id(2),
        asking(2, as_root("echo mine > /new && cat /new"), &name),
    );
    agent.started();
    assert_eq!(agent.exited().0, Exit::Code(0));
    assert_eq!(agent.file(&id(2), "stdout"), "mine\n");
    agent.launch_spec(&id(3), asking(3, as_root("cat /new"), &name));
    agent.started();
    assert_eq!(agent.exited().0, Exit::Code(1));
    assert_eq!(fs::read_dir(dir.path().join("roots")).unwrap().count(), 0);
    agent.shutdown();
}

// CT-09, CT-69, CT-70
#[test]
fn an_image_is_held_over_a_restart_and_let_go_at_the_end() {
    let Some(registry) = ground() else { return };
    registry.push(&image(&json!({})), "team/app", "v2", None);
    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path());
    let name = registry.name("team/app:v2");
    let script = "echo up; until [ -e $TEPUI_SANDBOX/go ]; do sleep 0.05; done; cat /srv/note";
    agent.launch_spec(&id(1), asking(1, sh(script), &name));
    agent.started();
    agent.line(&id(1), "stdout");
    agent.detach();
    // What a crash left of somebody whom nobody knows.
    let stranger = dir.path().join("roots").join(id(9).as_str());
    fs::create_dir_all(stranger.join("root/upper")).unwrap();
    let agent = start(dir.path());
    let events = agent.recover(&[id(1)]);
    assert!(
        matches!(&events[..], [ContainerEvent::Started { id: of, .. }] if *of == id(1)),
        "{events:?}"
    );
    assert!(!stranger.exists());
    fs::write(
        dir.path().join("sandboxes").join(id(1).as_str()).join("go"),
        "",
    )
    .unwrap();
    assert_eq!(agent.exited().0, Exit::Code(0));
    assert_eq!(agent.file(&id(1), "stdout"), "up\nof the image\n");
    assert!(!dir.path().join("roots").join(id(1).as_str()).exists());
    agent.shutdown();
}

// TK-39, DR-01, DR-05
#[test]
fn what_no_image_can_be_made_of_is_said() {
    let Some(registry) = ground() else { return };
    registry.push(&image(&json!({})), "team/app", "v3", None);
    let dir = tempfile::tempdir().unwrap();
    let agent = start(dir.path());
    let nothing = CommandInfo::exec("", [""; 0]);
    for (n, command, name, why) in [
        (1, sh("true"), "team/none:v1", "images: "),
        (
            2,
            nothing,
            "team/app:v3",
            "neither the command has a value nor the image",
        ),
        (3, sh(""), "team/app:v3", "a shell command without a value"),
    ] {
        agent.launch_spec(&id(n), asking(n, command, &registry.name(name)));
        let said = agent.failed();
        assert!(said.starts_with("images: ") && said.contains(why), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path().join("roots")).unwrap().count(), 0);
    agent.shutdown();
}

// CT-44, CT-45, AG-53, AG-54: volumes are in the task's order, whoever gives them, and what was
// brought for a user of the image is that user's
#[test]
fn volumes_are_in_order_and_files_are_the_user_s() {
    let Some(registry) = ground() else { return };
    let built = image(&json!({ "User": "ana" }));
    registry.push(&built, "team/app", "v4", None);
    let server = Server::of("fetched\n");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images"), options()).unwrap();
    let fetcher = Fetcher::new(FetchConfig::new(dir.path().join("cache"))).unwrap();
    let isolators: Vec<Box<dyn Isolator>> = vec![
        Box::new(Images::new(Some(store), dir.path().join("roots"))),
        Box::new(Volumes::new(vec!["/usr".into()])),
        Box::new(Fetching::new(fetcher)),
    ];
    let agent = Agent::isolated(config(dir.path(), Mode::Container), isolators);
    let name = registry.name("team/app:v4");
    let script = "cat /data/inner/srv/note && cat file && echo more >> file && \
                  touch /data/mine && stat -c '%U' file sub /data/mine";
    let mut command = sh(script);
    command.uris = vec![Uri::new(server.url("file"))];
    let mut spec = asking(1, command, &name);
    let asked = spec.container.as_mut().unwrap();
    for (path, access, source) in [
        (
            "/data",
            Access::Write,
            VolumeSource::Sandbox { path: "sub".into() },
        ),
        (
            "/data/inner",
            Access::Read,
            VolumeSource::Image(asked.image.clone().unwrap()),
        ),
    ] {
        asked.volumes.push(Volume {
            path: path.to_owned(),
            access,
            source,
        });
    }
    agent.launch_spec(&id(1), spec);
    agent.started();
    let exit = agent.exited().0;
    let (out, err) = (agent.file(&id(1), "stdout"), agent.file(&id(1), "stderr"));
    assert_eq!(exit, Exit::Code(0), "{out}{err}");
    assert_eq!(out, "of the image\nfetched\nana\nana\nana\n");
    agent.shutdown();
}

// CT-46: what a container changes in a volume of an image is its own, counts as its own (CT-38),
// and goes with it (CT-70)
#[test]
fn a_volume_of_an_image_is_changed_for_its_container_alone() {
    let Some(registry) = ground() else { return };
    registry.push(&image(&json!({})), "team/app", "v5", None);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images"), options()).unwrap();
    let rule = DiskRule {
        interval: Duration::from_millis(20),
        ..DiskRule::default()
    };
    let isolators: Vec<Box<dyn Isolator>> = vec![
        Box::new(Images::new(Some(store), dir.path().join("roots"))),
        Box::new(Disks::new(rule, dir.path(), dir.path().join("disks")).unwrap()),
        Box::new(Volumes::new(vec!["/usr".into()])),
    ];
    let agent = Agent::isolated(config(dir.path(), Mode::Container), isolators);
    let name = registry.name("team/app:v5");
    let seeing = |n, script: &str, access| {
        let mut spec = asking(n, sh(script), &name);
        let asked = spec.container.as_mut().unwrap();
        asked.volumes.push(Volume {
            path: "/data".to_owned(),
            access,
            source: VolumeSource::Image(asked.image.clone().unwrap()),
        });
        spec
    };
    let changes = "cd /data/srv && echo mine > new && echo other > note && cat new note && \
                   rm -r /data/etc && ls /data/etc";
    let looks = "cat /data/srv/note /data/etc/group && ls /data/srv";
    let unchanged = "of the image\nroot:x:0:\nana:x:1001:\nnote\n";
    for (n, script, access, code, out) in [
        (1, changes, Access::Write, 2, "mine\nother\n"),
        (2, looks, Access::Write, 0, unchanged),
        (3, looks, Access::Read, 0, unchanged),
        (4, "touch /data/srv/new", Access::Read, 1, ""),
    ] {
        agent.launch_spec(&id(n), seeing(n, script, access));
        agent.started();
        let exit = agent.exited().0;
        let err = agent.file(&id(n), "stderr");
        assert_eq!(agent.file(&id(n), "stdout"), out, "{script}: {err}");
        assert_eq!(exit, Exit::Code(code), "{script}: {err}");
    }
    let fills = "head -c 4M /dev/zero > /data/srv/new && exec sleep 1000";
    let mut spec = seeing(5, fills, Access::Write);
    spec.limits.disk = Some(Milli::from_units(1));
    agent.launch_spec(&id(5), spec);
    agent.started();
    let (_, breach) = agent.exited();
    let resource = breach.map(|breach| breach.resource);
    assert_eq!(resource, Some(Limited::Disk), "{breach:?}");
    let left = fs::read_dir(dir.path().join("roots")).unwrap().count();
    assert_eq!(left, 0, "nothing of it stays");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir.path().to_str().unwrap()), "{mounts}");
    agent.shutdown();
}

// CT-66
#[test]
fn a_container_has_an_image_in_files_where_its_agent_allows_them() {
    let detected = Mode::detect();
    if detected.mode != Mode::Container || !is_root("to mount") {
        return skipped(&detected.reason);
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let says = |what: &str| {
        let layers = [tree(), Layer::new().file("srv/note", what).done()];
        let layers = layers.map(|layer| (layer.clone(), gzip(&layer)));
        Built::packed(&layers, &json!({}))
    };
    says("the first").write_layout(&at("files/layout"), Some("one"));
    says("the second").write_layout(&at("files/layout"), Some("two"));
    says("packed").write_layout(&at("packed"), None);
    packed(&at("packed"), &at("files/packed.tar"));
    says("secret").write_layout(&at("elsewhere"), None);
    std::os::unix::fs::symlink(at("elsewhere"), at("files/out")).unwrap();

    let store = Store::open(at("images"), options()).unwrap();
    let images = Images::new(Some(store), at("roots")).found_in(vec![at("files")]);
    let isolators: Vec<Box<dyn Isolator>> = vec![
        Box::new(images),
        Box::new(Volumes::new(vec!["/usr".into()])),
    ];
    let agent = Agent::isolated(config(dir.path(), Mode::Container), isolators);
    let name = |path: &str| format!("file://{}", at(path).display());
    let said = [
        ("files/layout#one", "the first"),
        ("files/layout#two", "the second"),
        ("files/packed.tar", "packed"),
    ];
    for (n, (path, what)) in (1..).zip(said) {
        agent.launch_spec(&id(n), asking(n, sh("cat /srv/note"), &name(path)));
        agent.started();
        assert_eq!(agent.exited(), (Exit::Code(0), None));
        assert_eq!(agent.file(&id(n), "stdout"), what);
    }
    let refused = [
        ("elsewhere", "this agent has none in files there"),
        ("files/../elsewhere", "this agent has none in files there"),
        ("files/out", "a link leads out of its place"),
        ("files/none", "No such file"),
        ("files/layout", "2 images are meant; name one"),
        ("files/layout#three", "three"),
    ];
    for (n, (path, why)) in (11..).zip(refused) {
        agent.launch_spec(&id(n), asking(n, sh("cat /srv/note"), &name(path)));
        let message = agent.failed();
        assert!(message.contains(why), "{path}: {message}");
    }
    agent.shutdown();
}

// CT-14, CT-64
#[test]
fn a_container_of_an_image_has_users_of_its_own_where_its_agent_gives_them() {
    let detected = Mode::detect();
    if detected.mode != Mode::Container || !is_root("to mount") {
        return skipped(&detected.reason);
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let layers = [tree()].map(|layer| (layer.clone(), gzip(&layer)));
    Built::packed(&layers, &json!({})).write_layout(&at("files/layout"), None);
    let range = IdRange {
        inside: 0,
        outside: 200_000,
        count: 10_000,
    };
    let allowed = Allowed {
        user_namespace: Some(UserNamespace {
            uids: vec![range],
            gids: vec![range],
        }),
        ..Allowed::default()
    };
    let store = Store::open(at("images"), options()).unwrap();
    let images = Images::new(Some(store), at("roots")).found_in(vec![at("files")]);
    let isolators: Vec<Box<dyn Isolator>> = vec![
        Box::new(Rights::new(allowed)),
        Box::new(images),
        Box::new(
            Volumes::new(vec!["/usr".into(), at("volume")]).keeping(Persistent::new(dir.path())),
        ),
    ];
    fs::create_dir(at("volume")).unwrap();
    fs::write(at("volume/secret"), "of the machine\n").unwrap();
    fs::set_permissions(at("volume/secret"), Permissions::from_mode(0o600)).unwrap();
    let agent = Agent::isolated(config(dir.path(), Mode::Container), isolators);
    let script = "id -u; stat -c %u /etc/passwd kept; : > mine; : > kept/file; : > /new
        stat -c %u mine /new
        chown 1000 mine; stat -c %u mine
        cat volume/secret || echo refused";
    let name = format!("file://{}", at("files/layout").display());
    let mut spec = asking(1, sh(script), &name);
    let volumes = &mut spec.container.as_mut().unwrap().volumes;
    volumes.push(Volume {
        path: "volume".to_owned(),
        access: Access::Write,
        source: VolumeSource::Host {
            path: at("volume").to_str().unwrap().to_owned(),
            propagation: Propagation::Private,
        },
    });
    spec.volumes.push(VolumeSpec {
        place: VolumePlace {
            disk: None,
            directory: vec!["eng".to_owned(), "v".to_owned()],
        },
        path: "kept".to_owned(),
        access: ReadWrite,
        size: Milli::from_units(8),
    });
    agent.launch_spec(&id(1), spec);
    agent.started();
    let end = agent.exited();
    let said = agent.file(&id(1), "stdout");
    let errors = agent.file(&id(1), "stderr");
    assert_eq!(end, (Exit::Code(0), None), "{errors}");
    // What the image's files belong to, and its own.
    assert_eq!(said, "0\n4321\n0\n0\n0\n1000\nrefused\n", "{errors}");
    let mine = fs::metadata(at("sandboxes/c000001/mine")).unwrap();
    assert_eq!((mine.uid(), mine.gid()), (201_000, 200_000));
    agent.shutdown();
}
