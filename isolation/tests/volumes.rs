//! Persistent volumes: what is on them outlives tasks, sandboxes and agents, and nothing on them
//! leads out. For real, as root; as plain processes for others too.

#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "common/mod.rs"]
mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::{Agent, config, id, rooted, sh, skipped, spec};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tepui_core::protocol::container::{
    ContainerEvent, ContainerSpec, VolumeDisk, VolumePlace, VolumeSpec,
};
use tepui_core::protocol::status::Exit;
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::{Access, Milli};
use tepui_isolation::isolators::{Persistent, Plain, Volumes};
use tepui_isolation::{Isolator, Launch, Mode, Outcome, Subject};

/// How the containers of a test see their volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// By links.
    Linked,
    /// By mounts in their sandbox, on the machine's root.
    Mounted,
    /// By mounts, on a root of their own.
    Rooted,
}

/// Gives containers a root of their own, as one with an image has.
struct Root(PathBuf);

impl Isolator for Root {
    fn name(&self) -> &str {
        "root"
    }

    fn prepare(&self, _: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let Launch { root, mounts, .. } = rooted(&self.0);
        (launch.root, launch.mounts) = (root, mounts);
        Ok(())
    }
}

impl Sight {
    /// Returns those that are possible here.
    fn all() -> Vec<Self> {
        let detected = Mode::detect();
        if detected.mode == Mode::Container {
            return vec![Self::Linked, Self::Mounted, Self::Rooted];
        }
        skipped(&detected.reason);
        vec![Self::Linked]
    }

    fn agent(self, dir: &Path) -> Agent {
        let persistent = Persistent::new(dir);
        let mounting = || Box::new(Volumes::default().keeping(persistent.clone()));
        let (mode, all): (Mode, Vec<Box<dyn Isolator>>) = match self {
            Self::Linked => {
                let plain = Plain::default().keeping(persistent);
                (Mode::Process, vec![Box::new(plain)])
            }
            Self::Mounted => (Mode::Container, vec![mounting()]),
            Self::Rooted => {
                let root = Box::new(Root(dir.to_owned()));
                (Mode::Container, vec![root, mounting()])
            }
        };
        Agent::isolated(config(dir, mode), all)
    }
}

fn can_contain() -> bool {
    Sight::all().contains(&Sight::Mounted)
}

/// A directory that every user may pass.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

fn place(directory: &[&str]) -> VolumePlace {
    VolumePlace {
        disk: None,
        directory: directory.iter().map(|name| name.to_string()).collect(),
    }
}

fn on(disk: &Path, is_mount: bool) -> VolumePlace {
    let root = disk.to_str().unwrap().to_owned();
    VolumePlace {
        disk: Some(VolumeDisk { root, is_mount }),
        ..place(&["eng", "v", "S1-V1"])
    }
}

fn volume(place: VolumePlace, path: &str) -> VolumeSpec {
    VolumeSpec {
        place,
        path: path.to_owned(),
        access: Access::ReadWrite,
        size: Milli::from_units(64),
    }
}

fn seeing(n: u64, command: CommandInfo, volumes: &[VolumeSpec]) -> ContainerSpec {
    ContainerSpec {
        volumes: volumes.to_vec(),
        ..spec(&id(n), command)
    }
}

/// Runs a script to its end, and returns what it printed.
fn run(agent: &Agent, n: u64, script: &str, volumes: &[VolumeSpec]) -> String {
    agent.launch_spec(&id(n), seeing(n, sh(script), volumes));
    agent.started();
    let (exit, _) = agent.exited();
    let errors = agent.file(&id(n), "stderr");
    assert_eq!(exit, Exit::Code(0), "{errors}");
    agent.file(&id(n), "stdout")
}

/// Has something refused, and returns why.
fn refused(agent: &Agent, n: u64, volumes: &[VolumeSpec]) -> String {
    agent.launch_spec(&id(n), seeing(n, sh("true"), volumes));
    agent.failed()
}

// RM-43, CT-40; 8.1: data outlive the task, its sandbox and the agent
#[test]
fn what_one_task_writes_the_next_one_reads() {
    for sight in Sight::all() {
        let dir = directory();
        let agent = sight.agent(dir.path());
        let own = [volume(place(&["eng db", "v", "S1-V1"]), "deep/data")];
        run(&agent, 1, "echo one > deep/data/file", &own);
        let on_disk = dir.path().join("volumes/roles/eng db/v/S1-V1/file");
        assert_eq!(fs::read_to_string(&on_disk).unwrap(), "one\n", "{sight:?}");
        let sandbox = dir.path().join("sandboxes").join(id(1).as_str());
        fs::remove_dir_all(&sandbox).unwrap();
        assert!(on_disk.exists(), "{sight:?}");
        agent.shutdown();
        let agent = sight.agent(dir.path());
        let script = "cat deep/data/file; echo two > deep/data/file";
        assert_eq!(run(&agent, 2, script, &own), "one\n", "{sight:?}");
        // One that is made anew under the same id is empty.
        let anew = [volume(place(&["eng db", "v", "S1-V3"]), "deep/data")];
        assert_eq!(run(&agent, 3, "ls -A deep/data", &anew), "", "{sight:?}");
        assert_eq!(fs::read_to_string(&on_disk).unwrap(), "two\n");
        agent.shutdown();
    }
}

// RM-41, RM-49
#[test]
fn a_container_sees_its_volumes_where_it_asks_and_writes_if_it_may() {
    if !can_contain() {
        return;
    }
    let dir = directory();
    let agent = Sight::Rooted.agent(dir.path());
    let v = place(&["eng", "v", "S1-V1"]);
    run(
        &agent,
        1,
        "echo kept > /var/lib/data/file",
        &[volume(v.clone(), "/var/lib/data")],
    );
    let read_only = VolumeSpec {
        access: Access::ReadOnly,
        ..volume(v.clone(), "/data")
    };
    let script = "cat /data/file; touch /data/new 2> /dev/null || echo 'read only'";
    assert_eq!(run(&agent, 2, script, &[read_only]), "kept\nread only\n");
    agent.shutdown();
    // Over the machine's own files there is none.
    let agent = Sight::Mounted.agent(dir.path());
    let why = refused(&agent, 3, &[volume(v, "/var/lib/data")]);
    assert!(why.contains("volumes are in the sandbox"), "{why}");
    agent.shutdown();
}

// RM-41: none hides another
#[test]
fn two_volumes_are_never_at_one_place() {
    for sight in Sight::all() {
        let dir = directory();
        let agent = sight.agent(dir.path());
        let [v, w] = ["v", "w"].map(|id| place(&["eng", id, "S1-V1"]));
        let why = refused(&agent, 1, &[volume(v, "data"), volume(w, "./data")]);
        let is_named = why.contains("two volumes at ./data") || why.contains("File exists");
        assert!(is_named, "{sight:?}: {why}");
        agent.shutdown();
    }
}

// CT-40: what a link cannot do is refused
#[test]
fn plain_processes_are_refused_what_they_cannot_have() {
    let dir = directory();
    let agent = Sight::Linked.agent(dir.path());
    let v = || place(&["eng", "v", "S1-V1"]);
    for (n, path) in (1..).zip(["/data", "../data", "a/../../data", ".", "stdout"]) {
        let why = refused(&agent, n, &[volume(v(), path)]);
        assert!(
            why.contains(&format!("a volume at {path}")) || path == "stdout",
            "{why}"
        );
    }
    let read_only = VolumeSpec {
        access: Access::ReadOnly,
        ..volume(v(), "data")
    };
    let why = refused(&agent, 9, &[read_only]);
    assert!(why.contains("for reading"), "{why}");
    agent.shutdown();
}

// RM-49
#[test]
fn a_volume_is_its_first_user_s() {
    if !can_contain() {
        return;
    }
    for sight in Sight::all() {
        let dir = directory();
        let agent = sight.agent(dir.path());
        let own = [volume(place(&["eng", "v", "S1-V1"]), "deep/data")];
        let on_disk = dir.path().join("volumes/roles/eng/v/S1-V1");
        for (n, user, uid) in [(1, "0", 0), (2, "1000", 1000), (3, "1001", 1000)] {
            let command = CommandInfo {
                user: Some(user.to_owned()),
                ..sh("touch deep/data/by-$(id -u); touch deep/mine")
            };
            agent.launch_spec(&id(n), seeing(n, command, &own));
            agent.started();
            agent.exited();
            assert_eq!(
                fs::metadata(&on_disk).unwrap().uid(),
                uid,
                "{sight:?} {user}"
            );
            let sandbox = dir.path().join("sandboxes").join(id(n).as_str());
            assert!(sandbox.join("deep/mine").exists(), "{sight:?} {user}");
        }
        let owner = |name: &str| fs::metadata(on_disk.join(name)).map(|it| it.uid());
        assert_eq!(owner("by-1000").unwrap(), 1000, "{sight:?}");
        assert!(owner("by-1001").is_err(), "{sight:?}: it is another's");
        agent.shutdown();
    }
}

// RM-48
#[test]
fn several_containers_share_a_volume_while_they_run() {
    for sight in Sight::all() {
        let dir = directory();
        let agent = sight.agent(dir.path());
        let own = [volume(place(&["eng", "v", "S1-V1"]), "data")];
        let wait = "until [ -e data/said ]; do sleep 0.01; done; cat data/said";
        agent.launch_spec(&id(1), seeing(1, sh(wait), &own));
        agent.started();
        agent.launch_spec(
            &id(2),
            seeing(2, sh("echo hello > t; mv t data/said"), &own),
        );
        let mut left = vec![id(1), id(2)];
        while !left.is_empty() {
            let (over, exit) = agent.exit_of();
            assert_eq!(exit, Exit::Code(0), "{sight:?}");
            left.retain(|id| *id != over);
        }
        assert_eq!(agent.file(&id(1), "stdout"), "hello\n", "{sight:?}");
        agent.shutdown();
    }
}

// RM-42, RM-43: no role and no id leads out, or into another's volume
#[test]
fn hostile_names_lead_nowhere() {
    for sight in Sight::all() {
        let dir = directory();
        let agent = sight.agent(dir.path());
        let long = "x".repeat(256);
        let hostile = [
            &["..", "v", "S1-V1"][..],
            &["eng", "..", "S1-V1"],
            &["eng", "v", ".."],
            &["eng", ".", "S1-V1"],
            &["eng", "a/b", "S1-V1"],
            &["eng", "/etc", "S1-V1"],
            &["eng", "", "S1-V1"],
            &["eng", "a\0b", "S1-V1"],
            &["eng", &long, "S1-V1"],
            &[],
            &["d"; 9],
        ];
        for (n, directory) in (1..).zip(hostile) {
            let why = refused(&agent, n, &[volume(place(directory), "data")]);
            let is_named = why.contains("directory of a volume") || why.contains("deep");
            assert!(is_named, "{sight:?} {directory:?}: {why}");
        }
        assert!(!dir.path().join("volumes").exists(), "{sight:?}");
        agent.shutdown();
    }
}

// CT-45, RM-43: a link that a task has left in its volume
#[test]
fn what_a_task_plants_in_its_volume_leads_nobody_out() {
    if !can_contain() {
        return;
    }
    for sight in [Sight::Mounted, Sight::Rooted] {
        let (dir, outside) = (directory(), directory());
        let agent = sight.agent(dir.path());
        let first = volume(place(&["eng", "v", "S1-V1"]), "data");
        let out = outside.path().display();
        let plant = format!("ln -s {out} data/out; ln -s ../../../../../../../{out} data/up");
        run(&agent, 1, &plant, std::slice::from_ref(&first));
        for (n, link) in (2..).zip(["out", "up"]) {
            let path = format!("data/{link}/made");
            let second = volume(place(&["eng", "w", "S1-V2"]), &path);
            let volumes = [first.clone(), second];
            agent.launch_spec(&id(n), seeing(n, sh("true"), &volumes));
            // Where it leads inside is another thing, or nothing.
            match agent.next() {
                ContainerEvent::Started { .. } => drop(agent.exited()),
                ContainerEvent::LaunchFailed { .. } => {}
                other @ (ContainerEvent::Exited { .. }
                | ContainerEvent::Lost { .. }
                | ContainerEvent::Recovered
                | ContainerEvent::ResizeFailed { .. }
                | ContainerEvent::Probed { .. }) => panic!("{other:?}"),
            }
            let made = fs::read_dir(outside.path()).unwrap().count();
            assert_eq!(made, 0, "{sight:?}: {link} led out");
        }
        agent.shutdown();
    }
}

// RM-43: the way to a volume is the agent's own
#[test]
fn a_link_in_the_place_of_a_volume_is_not_followed() {
    for sight in Sight::all() {
        let (dir, outside) = (directory(), directory());
        let agent = sight.agent(dir.path());
        let role = dir.path().join("volumes/roles/eng/v");
        fs::create_dir_all(&role).unwrap();
        symlink(outside.path(), role.join("S1-V1")).unwrap();
        let why = refused(&agent, 1, &[volume(place(&["eng", "v", "S1-V1"]), "data")]);
        assert!(why.contains("S1-V1"), "{sight:?}: {why}");
        agent.shutdown();
    }
}

// RM-40
#[test]
fn a_volume_is_on_its_own_disk() {
    if !can_contain() {
        return;
    }
    let dir = directory();
    let disk = dir.path().join("disks/one");
    fs::create_dir_all(&disk).unwrap();
    let agent = Sight::Mounted.agent(dir.path());
    // The root of a disk may begin at the agent's directory.
    let path = on(Path::new("disks/one"), false);
    run(&agent, 1, "echo one > data/file", &[volume(path, "data")]);
    let file = disk.join("volumes/roles/eng/v/S1-V1/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\n");
    let mounted = || volume(on(&disk, true), "data");
    let why = refused(&agent, 2, &[mounted()]);
    assert!(why.contains("no disk is mounted there"), "{why}");
    let none = None::<&str>;
    mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let said = run(
        &agent,
        3,
        "ls -A data; echo three > data/file",
        &[mounted()],
    );
    assert_eq!(said, "", "another file system");
    assert_eq!(fs::read_to_string(&file).unwrap(), "three\n");
    umount2(&disk, MntFlags::MNT_DETACH).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\n");
    agent.shutdown();
}

// RM-41: nothing that is asked for is left out silently
#[test]
fn who_keeps_no_volumes_refuses_them() {
    let own = [volume(place(&["eng", "v", "S1-V1"]), "data")];
    let mut agents: Vec<(Mode, Vec<Box<dyn Isolator>>)> = vec![
        (Mode::Process, vec![]),
        (Mode::Process, vec![Box::new(Plain::default())]),
    ];
    if can_contain() {
        agents.push((Mode::Container, vec![]));
        agents.push((Mode::Container, vec![Box::new(Volumes::default())]));
    }
    for (mode, isolators) in agents {
        let dir = directory();
        let agent = Agent::isolated(config(dir.path(), mode), isolators);
        let why = refused(&agent, 1, &own);
        assert!(why.contains("volume"), "{why}");
        assert!(!dir.path().join("volumes").exists());
        agent.shutdown();
    }
}
