//! What containers of a group have in common: networks, files, and memory; and that nobody else has
//! it, and nothing of it is left. For real, as root, on a network of each test's own.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

#[path = "common/mod.rs"]
mod common;
#[path = "network/host.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests of networks use more of it"
)]
mod host;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;

use common::{Agent, PATIENCE, config, eventually, id, launchers, sh, skipped, spec};
use host::{Host, Needs, on_a_host};
use serde_json::json;
use tepui_core::protocol::container::{
    ContainerCommand, ContainerEvent, ContainerLimits, ContainerSpec, GroupSpec,
};
use tepui_core::protocol::container_info::{
    Access, ContainerInfo, Dns, IpcMode, NetworkInfo, Volume, VolumeSource,
};
use tepui_core::protocol::status::{Exit, Limited};
use tepui_core::resources::Milli;
use tepui_isolation::isolators::{
    Allowed, DiskRule, Disks, Members, Memory, Networks, Rights, Setup, Volumes,
};
use tepui_isolation::{Isolator, Mode};

/// Answers whoever connects, until it is ended.
const SERVER: &str = "exec perl -MIO::Socket::INET -e '
    $s = IO::Socket::INET->new(Listen => 5, LocalAddr => \"127.0.0.1\", LocalPort => 7000);
    $| = 1; print \"up\\n\";
    while ($c = $s->accept) { print $c \"of the group\\n\"; close $c }'";
/// Prints what is answered; exits with 3 if nobody is there.
const ASK: &str = "perl -MIO::Socket::INET -e '
    $c = IO::Socket::INET->new(PeerAddr => \"127.0.0.1:7000\") or exit 3; print <$c>'";
/// The number of the group.
const GROUP: u64 = 50;

/// Agents, one after the other, on a host.
struct Ground<'a> {
    host: &'a Host,
    dir: PathBuf,
}

impl<'a> Ground<'a> {
    fn new(host: &'a Host) -> Self {
        let name = host.dir.file_name().unwrap().to_str().unwrap();
        // Its name makes that of its control groups.
        let dir = host.dir.join(name.trim_start_matches('.'));
        fs::create_dir(&dir).unwrap();
        Self { host, dir }
    }

    fn start(&self) -> Agent {
        let (host, dir) = (self.host, &self.dir);
        let setup = Setup {
            namespaces: host.namespaces.clone(),
            networks: host.networks_anew(PATIENCE),
            files: dir.join("names"),
            dns: None,
            egress: None,
            groups: Members::open(dir.join("groups/networks")).unwrap(),
        };
        let members = Members::open(dir.join("groups/memory")).unwrap();
        let memory = Memory::open(dir.join("run/groups"), members).unwrap();
        let rule = DiskRule {
            interval: std::time::Duration::from_millis(50),
            ..DiskRule::default()
        };
        let isolators: Vec<Box<dyn Isolator>> = vec![
            Box::new(Rights::new(Allowed::default()).sharing(memory)),
            Box::new(Disks::new(rule, dir, dir.join("disks")).unwrap()),
            Box::new(Networks::new(Some(setup))),
            Box::new(Volumes::new(Vec::new())),
        ];
        Agent::isolated(config(dir, Mode::Container), isolators)
    }

    /// Lists what is there of groups, beside their sandboxes.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for name in ["names", "groups/networks", "groups/memory", "run/groups"] {
            let entries = fs::read_dir(self.dir.join(name)).into_iter().flatten();
            let entries = entries.map(|entry| entry.unwrap().file_name());
            left.extend(entries.map(|entry| format!("{name}/{}", entry.display())));
        }
        for dir in ["namespaces", "state"] {
            let entries = fs::read_dir(self.host.dir.join(dir)).unwrap();
            let entries = entries.map(|entry| entry.unwrap().file_name());
            left.extend(entries.map(|entry| format!("{dir}/{}", entry.display())));
        }
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let dir = self.host.dir.to_str().unwrap();
        let mounts = mounts.lines().filter(|line| line.contains(dir));
        left.extend(mounts.map(str::to_owned));
        let leases = self.host.leases("net").into_iter();
        left.extend(leases.map(|lease| format!("lease {lease}")));
        left
    }
}

fn on_ground(needs: Needs, test: impl FnOnce(&Ground<'_>) + Send) {
    let detected = Mode::detect();
    if detected.mode != Mode::Container || !detected.unenforced.is_empty() {
        return skipped(&detected.reason);
    }
    on_a_host(needs, |host| {
        if needs == Needs::Plugins {
            host.configure("net", json!([host.bridge("10.81.0")]));
        }
        let ground = Ground::new(host);
        test(&ground);
        assert_eq!(ground.left(), [""; 0]);
    });
}

fn networked() -> ContainerInfo {
    ContainerInfo {
        networks: vec![NetworkInfo {
            name: "net".to_owned(),
            ..NetworkInfo::default()
        }],
        ..ContainerInfo::default()
    }
}

/// One of the group, which has `common` in common.
fn member(n: u64, script: &str, common: &ContainerInfo) -> ContainerSpec {
    let group = GroupSpec {
        id: id(GROUP),
        sandbox: vec!["group".to_owned()],
        disk: None,
        container: Some(Box::new(common.clone())),
    };
    ContainerSpec {
        group: Some(Box::new(group)),
        ..spec(&id(n), sh(script))
    }
}

fn asking(spec: ContainerSpec, asked: ContainerInfo) -> ContainerSpec {
    let container = Some(Box::new(asked));
    ContainerSpec { container, ..spec }
}

fn of_group(path: &str, access: Access) -> ContainerInfo {
    ContainerInfo {
        volumes: vec![Volume {
            path: "shared".to_owned(),
            access,
            source: VolumeSource::Parent {
                path: path.to_owned(),
            },
        }],
        ..ContainerInfo::default()
    }
}

/// Runs a container to its end beside others, and returns its exit and what it said.
fn run(agent: &Agent, n: u64, spec: ContainerSpec) -> (Exit, String) {
    agent.launch_spec(&id(n), spec);
    let (ended, exit) = agent.exit_of();
    assert_eq!(ended, id(n), "{}", agent.file(&ended, "stderr"));
    (exit, agent.file(&id(n), "stdout"))
}

fn end(agent: &Agent, n: u64) {
    agent.destroy(&id(n));
    assert_eq!(agent.exit_of().0, id(n));
}

// CT-15, CT-52, TK-91
#[test]
fn tasks_of_a_group_are_one_host_and_nobody_else_is_on_it() {
    on_ground(Needs::Plugins, |ground| {
        let agent = ground.start();
        let common = ContainerInfo {
            hostname: Some("pod-1".to_owned()),
            dns: Some(Dns {
                nameservers: vec!["192.0.2.7".to_owned()],
                ..Dns::default()
            }),
            ..networked()
        };
        agent.launch_spec(&id(1), member(1, SERVER, &common));
        agent.started();
        assert_eq!(agent.line(&id(1), "stdout"), "up");
        let look = "hostname; grep -c 192.0.2.7 /etc/resolv.conf; grep pod-1 /etc/hosts | \
                    awk '{ print $1 }'; ip -o -4 address show dev eth0 | awk '{ print $4 }'";
        let script = format!("{ASK}; {look}");
        let (exit, said) = run(&agent, 2, member(2, &script, &common));
        assert_eq!(exit, Exit::Code(0));
        assert_eq!(said, "of the group\npod-1\n1\n10.81.0.2\n10.81.0.2/24\n");
        // What came to any of them is told of each (CT-82).
        let (answer, answered) = mpsc::channel();
        let containerizer = agent.containerizer.as_ref().unwrap();
        containerizer.usage(&id(1), move |usage| answer.send(usage).unwrap());
        let usage = answered.recv_timeout(PATIENCE).unwrap().unwrap();
        assert!(usage.contains_key("networks.received_bytes"), "{usage:?}");
        // One address for all of them.
        assert_eq!(ground.host.leases("net").len(), 1);
        // A task by itself in the same network, and one in none, are on other hosts.
        let alone = asking(spec(&id(3), sh(ASK)), networked());
        assert_eq!(run(&agent, 3, alone).0, Exit::Code(3));
        assert_eq!(run(&agent, 4, spec(&id(4), sh(ASK))).0, Exit::Code(3));
        // So is another group, and a task of this one that names its own network.
        let mut other = member(5, ASK, &common);
        other.group.as_mut().unwrap().id = id(GROUP + 1);
        assert_eq!(run(&agent, 5, other).0, Exit::Code(3));
        let own = asking(member(6, ASK, &common), networked());
        assert_eq!(run(&agent, 6, own).0, Exit::Code(3));
        assert_eq!(ground.host.leases("net").len(), 1);
        // The end of one leaves the others what they have; that of the last does not.
        agent.launch_spec(&id(7), member(7, "exec sleep 1000", &common));
        agent.started();
        end(&agent, 7);
        assert_eq!(
            run(&agent, 8, member(8, ASK, &common)),
            (Exit::Code(0), "of the group\n".to_owned())
        );
        end(&agent, 1);
        assert_eq!(ground.left(), [""; 0], "before the end was told");
        agent.shutdown();
    });
}

// CT-45, TK-91: whoever they run as
#[test]
fn tasks_of_a_group_see_its_directories_and_nobody_else_does() {
    on_ground(Needs::Root, |ground| {
        let agent = ground.start();
        let nothing = ContainerInfo::default();
        let write = "umask 022; echo one > shared/file; ln -s /etc shared/out";
        let first = asking(member(1, write, &nothing), of_group("a/b", Access::Write));
        assert_eq!(run(&agent, 1, first).0, Exit::Code(0));
        let script = "cat shared/file; echo two > shared/other; id -un";
        let mut second = asking(member(2, script, &nothing), of_group("a/b", Access::Write));
        second.command.user = Some("nobody".to_owned());
        let said = run(&agent, 2, second);
        assert_eq!(said, (Exit::Code(0), "one\nnobody\n".to_owned()));
        let script = "cat shared/other; touch shared/third 2> /dev/null || echo only read";
        let third = asking(member(3, script, &nothing), of_group("a/b", Access::Read));
        let said = run(&agent, 3, third);
        assert_eq!(said, (Exit::Code(0), "two\nonly read\n".to_owned()));
        // A link that one has made leads nobody out of the group's sandbox.
        let fourth = asking(
            member(4, "true", &nothing),
            of_group("a/b/out", Access::Read),
        );
        agent.launch_spec(&id(4), fourth);
        let said = agent.failed();
        assert!(said.starts_with("volumes: "), "{said}");
        let alone = asking(spec(&id(5), sh("true")), of_group("a/b", Access::Read));
        agent.launch_spec(&id(5), alone);
        let said = agent.failed();
        assert!(
            said.starts_with("volumes: it asks for a directory of its group, and is in none"),
            "{said}"
        );
        // They stay, as sandboxes do, until the agent has them deleted.
        let path = ground.dir.join("sandboxes/group/a/b/file");
        assert_eq!(fs::read_to_string(path).unwrap(), "one\n");
        agent.shutdown();
    });
}

/// Makes a file and a segment, says so, and waits.
const SHARE: &str = "
    echo of the first > /dev/shm/file
    perl -e '$id = shmget(4711, 16, 01666) // die; shmwrite($id, \"segment\", 0, 7) or die'
    echo up; exec sleep 1000";
/// Prints what of that is seen.
const SEE: &str = "
    cat /dev/shm/file 2> /dev/null || echo no file
    perl -e 'defined($id = shmget(4711, 16, 0)) && shmread($id, $b, 0, 7) && print(\"$b\\n\")
        or print(\"no segment\\n\")'
    stat -f -c '%b %S' /dev/shm | awk '{ print $1 * $2 }'";

/// Takes 96 MiB of memory once it is told to, says so, and goes on.
const TAKE: &str = "until [ -e go ]; do sleep 0.02; done; \
    exec perl -e '$| = 1; $x = \"x\" x (96 << 20); print \"taken\\n\"; sleep 1000'";

// CT-26: what one of a group may use is its own, and so is the end that follows from too much
#[test]
fn each_of_a_group_has_limits_of_its_own() {
    on_ground(Needs::Root, |ground| {
        let agent = ground.start();
        let mib = |n: i64| Some(Milli::from_units(n));
        for (n, mem) in [(1, mib(512)), (2, mib(64)), (3, mib(512))] {
            let mut spec = member(n, TAKE, &ContainerInfo::default());
            spec.limits.mem = mem;
            spec.limits.pids = Some(u32::try_from(n).unwrap() * 10);
            agent.launch_spec(&id(n), spec);
            agent.started();
        }
        let hierarchies = tepui_isolation::Hierarchies::detect().unwrap();
        let root = config(&ground.dir, Mode::Container).cgroup_root;
        let group = |n: u64| hierarchies.group(&root, id(n).as_str()).unwrap();
        for (n, mem) in [(1, 512_u64), (2, 64), (3, 512)] {
            let usage = group(n).usage().unwrap();
            assert_eq!(usage.memory.limit, Some(mem << 20), "of {n}");
            let pids = u32::try_from(n).unwrap() * 10;
            assert_eq!(group(n).pids_limit(), Some(pids), "of {n}");
        }
        let go = |n: u64| {
            let sandbox = ground.dir.join("sandboxes").join(id(n).as_str());
            fs::write(sandbox.join("go"), "").unwrap();
        };
        // Together they take more than one of them may.
        for n in [1, 3] {
            go(n);
            agent.line(&id(n), "stdout");
        }
        go(2);
        let (exit, breach) = agent.exited();
        let breach = breach.expect("the breach is told");
        assert_eq!(exit, Exit::Signal(9));
        assert_eq!(
            (breach.resource, breach.limit),
            (Limited::Memory, Milli::from_units(64))
        );
        assert_eq!(agent.file(&id(2), "stdout"), "");
        // The others are as they were.
        for n in [1, 3] {
            assert!(group(n).usage().unwrap().memory.total >= 96 << 20, "of {n}");
            end(&agent, n);
        }
        agent.shutdown();
    });
}

// CT-15, CT-56
#[test]
fn tasks_of_a_group_that_ask_for_it_share_memory_and_others_do_not() {
    on_ground(Needs::Root, |ground| {
        let agent = ground.start();
        let common = ContainerInfo {
            shm_size: Some(3),
            ..ContainerInfo::default()
        };
        let sharing = || ContainerInfo {
            ipc: IpcMode::ShareParent,
            ..ContainerInfo::default()
        };
        let own = || ContainerInfo {
            shm_size: Some(2),
            ..ContainerInfo::default()
        };
        agent.launch_spec(&id(1), asking(member(1, SHARE, &common), sharing()));
        agent.started();
        assert_eq!(agent.line(&id(1), "stdout"), "up");
        let see = |n, asked| run(&agent, n, asking(member(n, SEE, &common), asked)).1;
        let size = |mib: u64| mib << 20;
        let seen = format!("of the first\nsegment\n{}\n", size(3));
        assert_eq!(see(2, sharing()), seen);
        let unseen = format!("no file\nno segment\n{}\n", size(2));
        assert_eq!(see(3, own()), unseen, "one of the group that does not ask");
        let alone = asking(spec(&id(4), sh(SEE)), own());
        assert_eq!(run(&agent, 4, alone).1, unseen);
        let mut other = asking(member(5, SEE, &common), sharing());
        other.group.as_mut().unwrap().id = id(GROUP + 1);
        let unseen = format!("no file\nno segment\n{}\n", size(3));
        assert_eq!(run(&agent, 5, other).1, unseen, "another group");
        // On the machine's root, as root: it is out of reach there too.
        let run_dir = ground.dir.join("run");
        let find = format!("ls {}; grep -c 4711 /proc/sysvipc/shm", run_dir.display());
        assert!(run_dir.join("groups").join(id(GROUP).as_str()).exists());
        assert_eq!(run(&agent, 6, spec(&id(6), sh(&find))).1, "0\n");
        // Who has come meanwhile keeps nothing of it, though it has copies of the machine's mounts.
        agent.launch_spec(&id(10), spec(&id(10), sh("echo up; exec sleep 1000")));
        let pid = agent.started();
        agent.line(&id(10), "stdout");
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let ours = ground.dir.join("run/groups");
        let kept = mounts
            .lines()
            .filter(|line| line.contains(ours.to_str().unwrap()));
        assert_eq!(kept.collect::<Vec<_>>(), [""; 0]);
        // What they have goes on as long as one has it.
        agent.launch_spec(
            &id(7),
            asking(member(7, "echo up; exec sleep 1000", &common), sharing()),
        );
        agent.started();
        end(&agent, 1);
        assert_eq!(see(8, sharing()), seen);
        end(&agent, 7);
        assert_eq!(ground.left(), [""; 0], "before the end was told");
        end(&agent, 10);
        // One by itself has nobody to share with but the machine.
        agent.launch_spec(&id(9), asking(spec(&id(9), sh("true")), sharing()));
        let said = agent.failed();
        assert!(
            said.contains("it asks for the machine's shared memory"),
            "{said}"
        );
        agent.shutdown();
    });
}

/// What asks for all that there is.
fn everything(spec: ContainerSpec) -> ContainerSpec {
    let asked = ContainerInfo {
        ipc: IpcMode::ShareParent,
        ..of_group("common", Access::Write)
    };
    asking(spec, asked)
}

// CT-09, AG-57
#[test]
fn a_group_outlives_its_agent_with_what_it_has() {
    on_ground(Needs::Plugins, |ground| {
        let agent = ground.start();
        let common = networked();
        let serve = format!("echo kept > shared/file; echo kept > /dev/shm/file; {SERVER}");
        agent.launch_spec(&id(1), everything(member(1, &serve, &common)));
        agent.started();
        assert_eq!(agent.line(&id(1), "stdout"), "up");
        agent.launch_spec(&id(2), everything(member(2, "exec sleep 1000", &common)));
        agent.started();
        agent.detach();
        let agent = ground.start();
        let both = |events: &[ContainerEvent]| {
            let started = |event: &&ContainerEvent| matches!(event, ContainerEvent::Started { .. });
            events.iter().filter(started).count() == 2
        };
        assert!(both(&agent.recover(&[id(1), id(2)])));
        let look = format!("{ASK}; cat shared/file /dev/shm/file");
        let said = "of the group\nkept\nkept\n";
        let joins = |agent: &Agent, n| run(agent, n, everything(member(n, &look, &common)));
        assert_eq!(joins(&agent, 3), (Exit::Code(0), said.to_owned()));
        end(&agent, 2);
        assert_eq!(joins(&agent, 4), (Exit::Code(0), said.to_owned()));
        agent.detach();
        // It ends while nobody looks: what it had is found by the next agent.
        let agent = ground.start();
        assert_eq!(agent.recover(&[]), []);
        eventually("nothing is left", || ground.left().is_empty());
        agent.shutdown();
    });
}

// CT-15, CT-52: they come and go at the same time
#[test]
fn tasks_of_a_group_that_are_launched_at_once_join_its_network_once() {
    on_ground(Needs::Plugins, |ground| {
        let agent = ground.start();
        let common = networked();
        let script =
            "ip -o -4 address show dev eth0 | awk '{ print $4 }'; readlink /proc/self/ns/ipc";
        for round in 0..5 {
            let members = round * 10 + 1..round * 10 + 5;
            for n in members.clone() {
                let mut spec = everything(member(n, script, &common));
                let group = spec.group.as_mut().unwrap();
                group.id = id(1000 + round);
                group.sandbox = vec![format!("group-{round}")];
                agent.launch_spec(&id(n), spec);
            }
            for _ in members.clone() {
                assert_eq!(agent.exit_of().1, Exit::Code(0));
            }
            let seen: BTreeSet<String> = members.map(|n| agent.file(&id(n), "stdout")).collect();
            assert_eq!(seen.len(), 1, "{seen:?}");
            assert_eq!(ground.left(), [""; 0]);
        }
        agent.shutdown();
    });
}

// CT-09, AG-57: all containers die with their launcher, and what they had goes
#[test]
fn a_group_whose_launcher_dies_leaves_nothing() {
    on_ground(Needs::Plugins, |ground| {
        let agent = ground.start();
        for n in [1, 2] {
            let member = member(n, "exec sleep 1000", &networked());
            agent.launch_spec(&id(n), everything(member));
            agent.started();
        }
        assert_ne!(ground.left(), [""; 0]);
        for pid in launchers(&ground.dir) {
            let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        for _ in 0..2 {
            let event = agent.next();
            assert!(matches!(event, ContainerEvent::Lost { .. }), "{event:?}");
        }
        assert_eq!(ground.left(), [""; 0]);
        agent.shutdown();
    });
}

// CT-03, CT-52: what one cannot have none has, and nothing of it is left
#[test]
fn a_group_whose_network_cannot_be_joined_leaves_nothing() {
    on_ground(Needs::Plugins, |ground| {
        let agent = ground.start();
        let mut common = networked();
        common.networks[0].addresses = vec!["192.0.2.9".to_owned()];
        for n in [1, 2] {
            agent.launch_spec(&id(n), everything(member(n, "true", &common)));
        }
        for _ in 0..2 {
            let said = agent.failed();
            assert!(said.starts_with("networks: "), "{said}");
        }
        assert_eq!(ground.left(), [""; 0]);
        // One that is ended before it has begun leaves nothing either.
        agent.launch_spec(
            &id(3),
            everything(member(3, "exec sleep 1000", &networked())),
        );
        agent.destroy(&id(3));
        match agent.next() {
            ContainerEvent::LaunchFailed { .. } => {}
            ContainerEvent::Started { .. } => drop(agent.exit_of()),
            ContainerEvent::Exited { .. } => {}
            other => panic!("{other:?}"),
        }
        agent.shutdown();
    });
}

// TK-91, AG-35: who fills what all of them have, or sees it filled, is ended for it
#[test]
fn what_is_in_the_sandbox_of_a_group_counts() {
    on_ground(Needs::Root, |ground| {
        let agent = ground.start();
        let fill = "head -c 5000000 /dev/zero > shared/file; echo up; exec sleep 1000";
        let with = |n: u64, script: &str, common: i64| {
            let nothing = ContainerInfo::default();
            let mut spec = asking(member(n, script, &nothing), of_group("a", Access::Write));
            spec.limits = ContainerLimits {
                disk: Some(Milli::from_units(1)),
                ..ContainerLimits::default()
            };
            let group = spec.group.as_mut().unwrap();
            group.id = id(GROUP + n);
            group.sandbox = vec![format!("group-{n}")];
            group.disk = Some(Milli::from_units(common));
            spec
        };
        agent.launch_spec(&id(1), with(1, fill, 8));
        agent.started();
        assert_eq!(agent.line(&id(1), "stdout"), "up");
        agent.launch_spec(&id(2), with(2, fill, 3));
        agent.started();
        let (exit, breach) = agent.exited();
        assert_eq!(exit, Exit::Signal(9));
        let breach = breach.unwrap();
        assert_eq!(breach.resource, Limited::Disk);
        assert_eq!(breach.limit, Milli::from_units(4));
        // Other limits of its own change nothing of what it has in common.
        let limits = ContainerLimits {
            disk: Some(Milli::from_units(2)),
            ..ContainerLimits::default()
        };
        agent.send(ContainerCommand::Resize { id: id(1), limits });
        agent.expect_nothing(std::time::Duration::from_millis(300));
        end(&agent, 1);
        agent.shutdown();
    });
}
