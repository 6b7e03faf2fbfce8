//! What of the machine containers are given: devices, graphics processors, cores and shares, ports.
//! For real, as root; the graphics processors are other devices under their names.

#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Agent, config, eventually, id, rooted, sh, skipped, spec};
use nix::sys::stat::{Mode as FileMode, SFlag, makedev, mknod};
use tepui_core::protocol::container::{ContainerCommand, ContainerLimits, ContainerSpec};
use tepui_core::protocol::status::{Exit, Limited};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::resources::{Milli, Ranges};
use tepui_isolation::cgroup::{
    Ceiling, Controller, CpuList, Cpus, Hierarchies, Settings, Topology,
};
use tepui_isolation::graphics::Graphics;
use tepui_isolation::isolators::{Groups, Listening, Nodes, Processors};
use tepui_isolation::launch::DeviceGuard;
use tepui_isolation::network::ports::{Enforcement, Rule};
use tepui_isolation::{Isolator, Launch, Mode, Outcome, Subject};

/// Whether containers are possible, with control groups.
fn can_contain() -> bool {
    let detected = Mode::detect();
    let is_possible = detected.mode == Mode::Container && detected.unenforced.is_empty();
    if !is_possible {
        skipped(&detected.reason);
    }
    is_possible
}

fn agent(dir: &Path, isolators: Vec<Box<dyn Isolator>>) -> Agent {
    Agent::isolated(config(dir, Mode::Container), isolators)
}

fn root_of(dir: &Path) -> String {
    config(dir, Mode::Container).cgroup_root
}

fn limited(n: u64, command: CommandInfo, limits: ContainerLimits) -> ContainerSpec {
    ContainerSpec {
        limits,
        ..spec(&id(n), command)
    }
}

/// Gives each container a root of its own, as an image would.
struct Rooted(PathBuf);

impl Isolator for Rooted {
    fn name(&self) -> &str {
        "rooted"
    }

    fn prepare(&self, _: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        *launch = rooted(&self.0);
        Ok(())
    }
}

/// Says of each path whether it can be opened, or is refused, or is not there.
fn look(paths: &[&str]) -> CommandInfo {
    let paths = paths.join(" ");
    sh(&format!(
        "for path in {paths}; do
            if [ ! -e $path ]; then echo none
            elif (: < $path) 2>> errors; then echo open
            elif grep -q 'not permitted' errors; then echo refused
            else echo other; fi
            rm -f errors
        done"
    ))
}

fn lines(agent: &Agent, n: u64) -> Vec<String> {
    agent
        .file(&id(n), "stdout")
        .lines()
        .map(str::to_owned)
        .collect()
}

fn run(agent: &Agent, n: u64, command: CommandInfo, limits: ContainerLimits) -> Vec<String> {
    agent.launch_spec(&id(n), limited(n, command, limits));
    agent.started();
    assert_eq!(
        agent.exited().0,
        Exit::Code(0),
        "{}",
        agent.file(&id(n), "stderr")
    );
    lines(agent, n)
}

// CT-33, CT-61
#[test]
fn devices_are_refused_unless_they_are_given() {
    if !can_contain() {
        return;
    }
    let paths = ["/dev/null", "/dev/urandom", "/dev/loop-control"];
    if !Path::new(paths[2]).exists() {
        return skipped("there is no /dev/loop-control");
    }
    let nothing = ContainerLimits::default;
    let dir = tempfile::tempdir().unwrap();
    let bare = agent(dir.path(), Vec::new());
    assert_eq!(
        run(&bare, 1, look(&paths), nothing()),
        ["open", "open", "refused"]
    );
    // Without a guard it would be open.
    let launch = Launch {
        device_guard: DeviceGuard::Off,
        ..Launch::default()
    };
    bare.run_with(&id(2), look(&paths), launch);
    assert_eq!(lines(&bare, 2), ["open", "open", "open"]);
    bare.shutdown();

    let given = || Box::new(Nodes::new(vec!["/dev/loop-control".into()]));
    let dir = tempfile::tempdir().unwrap();
    let giving = agent(dir.path(), vec![given()]);
    assert_eq!(run(&giving, 1, look(&paths), nothing()), ["open"; 3]);
    giving.shutdown();

    let dir = tempfile::tempdir().unwrap();
    let own_root = Box::new(Rooted(dir.path().to_owned()));
    let giving = agent(dir.path(), vec![own_root, given()]);
    assert_eq!(run(&giving, 1, look(&paths), nothing()), ["open"; 3]);
    giving.shutdown();
}

/// Makes three graphics processors and what they share out of devices that nothing comes of when
/// they are opened.
fn machine(dir: &Path) -> Option<Graphics> {
    let nodes = dir.join("nodes");
    fs::create_dir(&nodes).unwrap();
    let mode = FileMode::from_bits_truncate(0o666);
    // Those of loops, of FUSE, of automounts, of virtual sockets.
    let all = [
        ("nvidia0", 10, 237),
        ("nvidia1", 10, 229),
        ("nvidia2", 10, 235),
        ("nvidiactl", 10, 258),
    ];
    for (name, major, minor) in all {
        mknod(
            &nodes.join(name),
            SFlag::S_IFCHR,
            mode,
            makedev(major, minor),
        )
        .ok()?;
    }
    Some(Graphics::find(&nodes, &dir.join("no-driver")).unwrap())
}

fn gpus(count: i64) -> ContainerLimits {
    ContainerLimits {
        gpus: Milli::from_units(count),
        ..ContainerLimits::default()
    }
}

// CT-62
#[test]
fn graphics_processors_belong_to_one_container_each() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(graphics) = machine(dir.path()) else {
        return skipped("no device files can be made");
    };
    let processors = || {
        let own = dir.path().join("gpus");
        Box::new(Processors::new(graphics.clone(), own).unwrap()) as Box<dyn Isolator>
    };
    let first = agent(dir.path(), vec![processors()]);
    let nodes = ["nvidia0", "nvidia1", "nvidia2"].map(|name| dir.path().join("nodes").join(name));
    let nodes = nodes.each_ref().map(|path| path.to_str().unwrap());
    let of = |agent: &Agent, n, count| run(agent, n, look(&nodes), gpus(count));
    // Of nobody's none is open; what cannot be opened for another reason is not refused.
    assert_eq!(of(&first, 1, 0), ["refused"; 3]);
    let own = of(&first, 2, 1);
    assert_eq!(own[1..], ["refused", "refused"]);
    assert_ne!(own[0], "refused");

    // Who runs keeps his own, also from the next agent's containers.
    let wait = "echo $NVIDIA_VISIBLE_DEVICES > mine; exec sleep 1000";
    first.launch_spec(&id(3), limited(3, sh(wait), gpus(2)));
    first.started();
    assert_eq!(first.line(&id(3), "mine"), "0,1");
    first.detach();
    let second = agent(dir.path(), vec![processors()]);
    second.recover(&[id(3)]);
    second.launch_spec(&id(4), limited(4, sh("exit 0"), gpus(2)));
    let message = second.failed();
    assert!(
        message.contains("2 graphics processors, and 1 of 3 are free"),
        "{message}"
    );
    let last = of(&second, 5, 1);
    assert_eq!(last[..2], ["refused", "refused"]);
    assert_ne!(last[2], "refused");
    second.destroy(&id(3));
    second.exited();
    let all = of(&second, 6, 3);
    assert!(all.iter().all(|one| one != "refused"), "{all:?}");

    let half = ContainerLimits {
        gpus: Milli::from_thousandths(500),
        ..ContainerLimits::default()
    };
    second.launch_spec(&id(7), limited(7, sh("exit 0"), half));
    assert!(second.failed().contains("whole ones only"));
    second.shutdown();
}

// CT-62
#[test]
fn a_container_with_a_root_of_its_own_sees_its_own_processors_only() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(graphics) = machine(dir.path()) else {
        return skipped("no device files can be made");
    };
    let processors = Processors::new(graphics, dir.path().join("gpus")).unwrap();
    let own_root = Box::new(Rooted(dir.path().to_owned()));
    let agent = agent(dir.path(), vec![own_root, Box::new(processors)]);
    let list = || sh("ls /dev | grep nvidia || true");
    assert_eq!(run(&agent, 1, list(), gpus(0)), [""; 0]);
    assert_eq!(
        run(&agent, 2, list(), gpus(2)),
        ["nvidia0", "nvidia1", "nvidiactl"]
    );
    agent.shutdown();
}

fn cpus(thousandths: i64) -> ContainerLimits {
    ContainerLimits {
        cpus: Some(Milli::from_thousandths(thousandths)),
        ..ContainerLimits::default()
    }
}

// CT-32, CT-64
#[test]
fn who_takes_whole_cpus_has_cores_of_its_own() {
    if !can_contain() {
        return;
    }
    let topology = Topology::detect().unwrap();
    let most = topology
        .nodes
        .iter()
        .map(|node| node.cores.len())
        .max()
        .unwrap_or(0);
    let sets = Hierarchies::detect()
        .unwrap()
        .version_of(Controller::CpuSet);
    if most < 2 || sets.is_none() || topology.nodes[0].cores[0].len() > 1 {
        return skipped("not two cores with a thread each, or no choice of CPUs");
    }
    let dir = tempfile::tempdir().unwrap();
    let placing = || {
        let groups = Groups::new(Settings::default(), true, &root_of(dir.path())).unwrap();
        Box::new(groups) as Box<dyn Isolator>
    };
    let first = agent(dir.path(), vec![placing()]);
    let where_it_runs = "grep Cpus_allowed_list /proc/self/status | cut -f 2 > cpus
        exec sleep 1000";
    let runs_now = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mut lines = status.lines();
        let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        list.unwrap().trim().parse::<CpuList>().unwrap()
    };
    let begin = |agent: &Agent, n, limits| {
        agent.launch_spec(&id(n), limited(n, sh(where_it_runs), limits));
        let pid = agent.started();
        let cpus = agent.line(&id(n), "cpus").parse::<CpuList>().unwrap();
        assert_eq!(runs_now(pid), cpus);
        (pid, cpus)
    };
    // As long as nobody has cores for himself, all are for all.
    let (part, all) = begin(&first, 1, cpus(500));
    assert!(all.len() >= 2);
    let (_, one) = begin(&first, 2, cpus(1_000));
    assert_eq!(one.len(), 1);
    assert_eq!(runs_now(part), all.without(&one));
    first.detach();

    let second = agent(dir.path(), vec![placing()]);
    second.recover(&[id(1), id(2)]);
    let (other_part, rest) = begin(&second, 3, cpus(1_500));
    assert_eq!(rest, all.without(&one));
    // The last core is nobody's alone.
    let cores = u64::try_from(all.len()).unwrap();
    let (mut last, mut alone) = ((0, CpuList::default()), one.clone());
    for n in 4..=2 + cores {
        last = begin(&second, n, cpus(1_000));
        assert!(!alone.meets(&last.1), "{} and {alone}", last.1);
        if n < 2 + cores {
            alone.add(&last.1);
        }
    }
    assert_eq!(last.1, all.without(&alone));
    for pid in [part, other_part, last.0] {
        assert_eq!(runs_now(pid), all.without(&alone));
    }
    // Who goes leaves his to the others.
    second.destroy(&id(2));
    second.exited();
    alone = alone.without(&one);
    eventually("the others have it", || {
        runs_now(part) == all.without(&alone)
    });
    assert_eq!(runs_now(last.0), all.without(&alone));
    for n in [1].into_iter().chain(3..=2 + cores) {
        second.destroy(&id(n));
        second.exited();
    }
    second.shutdown();
}

// CT-17, CT-32
#[test]
fn an_operator_decides_on_ceilings_and_cpus_of_all() {
    if !can_contain() {
        return;
    }
    let hierarchies = Hierarchies::detect().unwrap();
    if hierarchies.version_of(Controller::CpuSet).is_none() {
        return skipped("no choice of CPUs");
    }
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        ceiling: Ceiling::IfNamed,
        cpus: Cpus::Only("0".parse().unwrap()),
        ..Settings::default()
    };
    let groups = Groups::new(settings, false, &root_of(dir.path())).unwrap();
    let agent = agent(dir.path(), vec![Box::new(groups)]);
    let script = "grep Cpus_allowed_list /proc/self/status | cut -f 2 > cpus; exec sleep 1000";
    let limit_of = |n: u64, limits| {
        agent.launch_spec(&id(n), limited(n, sh(script), limits));
        agent.started();
        assert_eq!(agent.line(&id(n), "cpus"), "0");
        let group = hierarchies
            .group(&root_of(dir.path()), id(n).as_str())
            .unwrap();
        group.usage().unwrap().cpu.limit
    };
    assert_eq!(limit_of(1, cpus(500)), None);
    let named = ContainerLimits {
        share: Some(Milli::from_thousandths(250)),
        ..cpus(500)
    };
    assert_eq!(limit_of(2, named.clone()), named.cpus);
    // Nor does it get one when it is resized.
    agent.send(ContainerCommand::Resize {
        id: id(1),
        limits: cpus(700),
    });
    agent.send(ContainerCommand::Terminate { id: id(2) });
    agent.exited();
    let group = hierarchies
        .group(&root_of(dir.path()), id(1).as_str())
        .unwrap();
    assert_eq!(group.usage().unwrap().cpu.limit, None);
    agent.shutdown();
}

fn ports(text: &str) -> ContainerLimits {
    ContainerLimits {
        ports: Some(Ranges::parse(text).unwrap()),
        ..ContainerLimits::default()
    }
}

/// Listens on a port, in perl, which every Debian has.
fn listen(port: u16) -> CommandInfo {
    sh(&format!(
        "exec perl -MIO::Socket::INET -e '
            my $socket = IO::Socket::INET->new(
                LocalAddr => \"127.0.0.1:{port}\", Listen => 1, ReuseAddr => 1) or die $!;
            open my $file, \">\", \"listens\"; print $file \"yes\\n\"; close $file;
            sleep 1000'"
    ))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

// CT-54, RG-12 (MESOS-9053)
#[test]
fn who_listens_where_it_may_not_ends() {
    if !can_contain() || !Path::new("/usr/bin/perl").exists() {
        return skipped("no containers, or no perl");
    }
    for enforcement in [Enforcement::End, Enforcement::Report] {
        let dir = tempfile::tempdir().unwrap();
        let rule = Rule {
            enforcement,
            ..Rule::default()
        };
        let often = Duration::from_millis(50);
        let own = dir.path().join("ports");
        let watch = Listening::new(rule, often, &root_of(dir.path()), own).unwrap();
        let agent = agent(dir.path(), vec![Box::new(watch)]);
        let (right, wrong) = (free_port(), free_port());
        agent.launch_spec(
            &id(1),
            limited(1, listen(right), ports(&format!("[{right}-{right}]"))),
        );
        agent.started();
        agent.line(&id(1), "listens");
        agent.launch_spec(&id(2), limited(2, listen(wrong), ports("[1-2]")));
        agent.started();
        match enforcement {
            Enforcement::End => {
                let (_, breach) = agent.exited();
                let breach = breach.unwrap();
                assert_eq!(breach.resource, Limited::Ports);
                assert_eq!(breach.used, Milli::from_units(wrong.into()));
            }
            Enforcement::Report => agent.line(&id(2), "listens").clear(),
        }
        agent.expect_nothing(Duration::from_millis(1500));
        // A port that is taken away is not its own any more.
        agent.send(ContainerCommand::Resize {
            id: id(1),
            limits: ports("[]"),
        });
        match enforcement {
            Enforcement::End => assert_eq!(agent.exited().1.unwrap().resource, Limited::Ports),
            Enforcement::Report => agent.expect_nothing(Duration::from_millis(1500)),
        }
        agent.shutdown();
    }
}
