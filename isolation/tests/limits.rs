//! Limits of control groups, each exceeded for real, on whatever versions this machine has; and
//! the same tests once more in a virtual machine that has version 2 only. Needs root, and says so
//! when it skips.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "limits/block.rs"]
mod block;
#[path = "common/mod.rs"]
mod common;
#[path = "limits/deeds.rs"]
mod deeds;
#[path = "limits/machine.rs"]
mod machine;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tepui_core::protocol::container::ContainerCommand;
use tepui_core::protocol::status::{Exit, Limited};
use tepui_core::resources::Milli;
use tepui_isolation::cgroup::{
    Access, Accounts, Controller, Cores, CpuList, Cpus, DeviceKind, DeviceRule, Devices, Group,
    HugePages, IoLimit, Limits, OutOfMemory, Placement, Settings, Swap, Topology, Version,
    oom_score, usage_of,
};
use tepui_isolation::{Error, Mode};

use block::Loop;
use common::{Agent, eventually, id, sh, skipped, spec};
use deeds::{line, run, start, tell};
use machine::{Root, is_virtual};

/// The whole program again, in a group: see [`deeds`].
#[test]
fn deed() {
    deeds::deed();
}

fn cores(thousandths: i64) -> Option<Milli> {
    Some(Milli::from_thousandths(thousandths))
}

fn mib(n: i64) -> Option<Milli> {
    Some(Milli::from_units(n))
}

fn with_cpus(thousandths: i64) -> Limits {
    Limits {
        cpus: cores(thousandths),
        ..Limits::default()
    }
}

fn with_memory(n: i64) -> Limits {
    Limits {
        mem: mib(n),
        ..Limits::default()
    }
}

/// Counts CPU time, which version 1 does not do unasked where that costs.
fn counted() -> Settings {
    Settings {
        accounts: Accounts {
            cpu_time: true,
            ..Accounts::default()
        },
        ..Settings::default()
    }
}

fn cpu_time(group: &Group) -> Duration {
    let cpu = group.usage().unwrap().cpu;
    cpu.user.unwrap() + cpu.system.unwrap()
}

fn end(mut child: std::process::Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_ceiling_on_cpus_holds() {
    // CT-17, CT-22, CT-27
    let Some(root) = Root::new() else { return };
    // So little that even a busy machine has it.
    let group = root.make("c", &with_cpus(50), &counted());
    let mut child = start(&group, "spin_on 0 60000");
    line(&mut child);
    let (begin, before) = (Instant::now(), cpu_time(&group));
    tell(&mut child);
    let throttled = || group.usage().unwrap().cpu.throttled_periods;
    eventually("it is held back", || throttled() > 10);
    let share = (cpu_time(&group) - before).as_secs_f64() / begin.elapsed().as_secs_f64();
    assert!(share < 0.1, "{share} of a core");
    let cpu = group.usage().unwrap().cpu;
    assert!(
        cpu.periods >= cpu.throttled_periods && cpu.throttled > Duration::ZERO,
        "{cpu:?}"
    );
    assert_eq!((cpu.limit, Some(cpu.soft_limit)), (cores(50), soft(50)));

    // Raised while it runs.
    group.update(&with_cpus(2_000), &counted()).unwrap();
    assert_eq!(group.usage().unwrap().cpu.limit, cores(2_000));
    eventually("it gets more", || {
        let (begin, before) = (Instant::now(), cpu_time(&group));
        std::thread::sleep(Duration::from_millis(300));
        (cpu_time(&group) - before).as_secs_f64() / begin.elapsed().as_secs_f64() > 0.1
    });
    end(child);
    group.update(&Limits::default(), &counted()).unwrap();
    assert_eq!(group.usage().unwrap().cpu.limit, None);
}

/// Version 1 counts in 1024ths of a core, version 2 in hundredths.
fn soft(thousandths: i64) -> Option<Milli> {
    let hierarchies = tepui_isolation::Hierarchies::detect().unwrap();
    match hierarchies.version_of(Controller::Cpu) {
        Some(Version::One) => cores(thousandths * 1024 / 1000 * 1000 / 1024),
        Some(Version::Two) | None => cores(thousandths / 10 * 10),
    }
}

#[test]
fn who_has_more_shares_gets_more_of_a_cpu() {
    // CT-16, CT-22
    let Some(root) = Root::new() else { return };
    let share = |thousandths| Limits {
        share: cores(thousandths),
        ..Limits::default()
    };
    let cpu = root_cpu();
    let low = Settings {
        low_priority: true,
        ..counted()
    };
    for (settings, most) in [(counted(), 0.4), (low, 0.15)] {
        let many = root.make("many", &share(1500), &counted());
        let few = root.make("few", &share(500), &settings);
        let deed = format!("spin_on {cpu} 60000");
        let mut both = [start(&many, &deed), start(&few, &deed)];
        for child in &mut both {
            line(child);
            tell(child);
        }
        let mut before = [&many, &few].map(cpu_time);
        // Others want the CPU too, and the kernel takes a while to find out who wants how much.
        eventually("the share is a quarter, or a three-hundredth", || {
            std::thread::sleep(Duration::from_millis(500));
            let now = [&many, &few].map(cpu_time);
            let [many_time, few_time] = [now[0] - before[0], now[1] - before[1]];
            before = now;
            few_time.as_secs_f64() / (many_time + few_time).as_secs_f64() < most
        });
        eventually("both have run", || cpu_time(&few) > Duration::ZERO);
        both.into_iter().for_each(end);
        eventually("nobody is left", || {
            [&many, &few]
                .iter()
                .all(|g| g.usage().unwrap().threads == 0)
        });
        many.remove().unwrap();
        few.remove().unwrap();
    }
}

/// A CPU that we may use.
fn root_cpu() -> u32 {
    let ours = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    let first = (0..1024).find(|&cpu| ours.is_set(cpu).unwrap_or(false));
    u32::try_from(first.unwrap()).unwrap()
}

#[test]
fn what_is_saved_up_can_be_used_in_a_burst() {
    let Some(root) = Root::new() else { return };
    let with_burst = |percent| Settings {
        cpu_burst: Some(percent),
        ..counted()
    };
    let error = root
        .group("x")
        .create(&with_cpus(200), &with_burst(101))
        .unwrap_err();
    assert!(
        error.to_string().contains("a CPU burst of 101 %"),
        "{error}"
    );
    let group = root.make("c", &with_cpus(50), &with_burst(100));
    eventually("what was saved up is used", || {
        let mut child = start(&group, "spin_on 0 200");
        line(&mut child);
        // For this long it saves up.
        std::thread::sleep(Duration::from_millis(300));
        tell(&mut child);
        child.wait().unwrap();
        let cpu = group.usage().unwrap().cpu;
        cpu.bursts > 0 && cpu.burst > Duration::ZERO
    });
    let saved = || {
        let files = ["cpu.cfs_burst_us", "cpu.max.burst"];
        let files = files.map(|file| root.read(&group, file));
        files.into_iter().flatten().collect::<Vec<_>>()
    };
    assert_eq!(saved(), ["5000"]);
    // Lower than what may be saved up: both go down.
    group.update(&with_cpus(20), &with_burst(100)).unwrap();
    assert_eq!(group.usage().unwrap().cpu.limit, cores(20));
    assert_eq!(saved(), ["2000"]);
    // Who has no ceiling has nothing to save.
    group.update(&Limits::default(), &with_burst(100)).unwrap();
    assert_eq!(saved(), ["0"]);
    group.update(&with_cpus(20), &counted()).unwrap();
    assert_eq!(saved(), ["0"]);
}

#[test]
fn too_much_memory_kills_and_says_how_much_it_was() {
    // CT-18, CT-19, CT-23, CT-28
    let Some(root) = Root::new() else { return };
    let group = root.make("c", &with_memory(64), &Settings::default());
    assert_eq!(run(&group, "take 40"), (None, "taken".to_owned()));
    let used = group.memory_use().unwrap();
    assert!(
        !used.at_limit && used.kills == 0 && used.peak >= mib(40).unwrap(),
        "{used:?}"
    );
    let mut child = start(&group, "take_with_child 200");
    line(&mut child);
    let usage = group.usage().unwrap();
    assert!(
        usage.processes >= 2 && usage.threads >= usage.processes,
        "{usage:?}"
    );
    assert_eq!(usage.memory.limit, Some(64 << 20));
    assert_eq!(usage.memory.soft_limit, Some(64 << 20));
    tell(&mut child);
    let status = child.wait().unwrap();
    assert!(!status.success());
    let used = group.memory_use().unwrap();
    assert!(used.at_limit && used.kills > 0, "{used:?}");
    let (limit, peak) = used.exceeded();
    assert_eq!(limit, mib(64).unwrap());
    assert!(
        peak >= mib(60).unwrap() && peak <= mib(64).unwrap(),
        "{used:?}"
    );
    if root.hierarchies.version_of(Controller::Memory) == Some(Version::Two) {
        // The child that only slept has died too; in version 1 the launcher sees to that.
        eventually("nobody is left", || group.usage().unwrap().processes == 0);
    }
}

#[test]
fn one_process_can_be_killed_for_memory_and_the_others_spared() {
    let Some(root) = Root::new() else { return };
    let one = Settings {
        out_of_memory: OutOfMemory::KillOne,
        ..Settings::default()
    };
    let group = root.make("c", &with_memory(48), &one);
    let (signal, said) = run(&group, "take_in_child 200");
    assert_eq!(signal, None);
    assert!(said.contains("SIGKILL"), "{said}");
}

#[test]
fn memory_is_never_limited_to_less_than_is_used() {
    // CT-18, CT-23: lowered as far as that kills nobody, where Mesos lowers nothing.
    let Some(root) = Root::new() else { return };
    let none = Settings::default();
    let group = root.make("c", &with_memory(256), &none);
    let mut child = start(&group, "take_and_give_back 120");
    assert_eq!(line(&mut child), "taken");
    let changed = group.update(&with_memory(64), &none).unwrap();
    let in_force = changed.mem.unwrap();
    assert!(
        in_force >= mib(120).unwrap() && in_force < mib(160).unwrap(),
        "{in_force}"
    );
    assert_eq!(group.memory_use().unwrap().limit, in_force);
    assert!(child.try_wait().unwrap().is_none(), "it was killed");
    tell(&mut child);
    assert_eq!(line(&mut child), "given back");
    let changed = group.update(&with_memory(64), &none).unwrap();
    assert_eq!(changed.mem, mib(64));
    let used = group.memory_use().unwrap();
    assert_eq!((used.limit, used.kills), (mib(64).unwrap(), 0));
    assert!(!used.at_limit, "what was before does not count: {used:?}");
    assert!(child.try_wait().unwrap().is_none());
    // And up again, beyond all.
    assert_eq!(
        group.update(&with_memory(512), &none).unwrap().mem,
        mib(512)
    );
    assert_eq!(group.update(&Limits::default(), &none).unwrap().mem, None);
    assert_eq!(group.usage().unwrap().memory.limit, None);
    end(child);
}

#[test]
fn swap_is_limited_beside_memory() {
    let Some(root) = Root::new() else { return };
    let swap = |n| Settings {
        swap: Swap::Limit(Milli::from_units(n)),
        ..Settings::default()
    };
    let group = root.group("c");
    match group.create(&with_memory(40), &swap(60)) {
        Err(Error::Unsupported { knob, .. }) => return skipped(&format!("{knob}: not counted")),
        other => other.unwrap(),
    }
    let both = group.memory_use().unwrap().with_swap.unwrap();
    assert_eq!(both.0, mib(100).unwrap());
    group.update(&with_memory(50), &swap(10)).unwrap();
    assert_eq!(
        group.memory_use().unwrap().with_swap.unwrap().0,
        mib(60).unwrap()
    );
    group.update(&with_memory(40), &swap(60)).unwrap();
    if !is_virtual() {
        return skipped("swapping itself: only in the virtual machine, which has swap of its own");
    }
    let disk = "/dev/ram0";
    for tool in ["mkswap", "swapon"] {
        assert!(Command::new(tool).arg(disk).status().unwrap().success());
    }
    assert_eq!(run(&group, "take 70"), (None, "taken".to_owned()));
    assert_eq!(group.memory_use().unwrap().kills, 0);
    let none = root.make("none", &with_memory(40), &Settings::default());
    run(&none, "take 70");
    assert!(none.memory_use().unwrap().kills > 0);
    run(&group, "take 130");
    let used = group.memory_use().unwrap();
    assert!(used.kills > 0 && used.at_limit, "{used:?}");
    assert_eq!(used.exceeded().0, mib(100).unwrap());
    assert!(used.exceeded().1 > mib(70).unwrap(), "{used:?}");
    assert!(
        Command::new("swapoff")
            .arg(disk)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn processes_are_refused_beyond_their_number() {
    // CT-37, CT-78: Mesos counts and does not limit.
    let Some(root) = Root::new() else { return };
    let limit = |pids| Limits {
        pids,
        ..Limits::default()
    };
    let group = root.make("c", &limit(Some(20)), &Settings::default());
    let mut child = start(&group, "fork");
    let said = line(&mut child);
    assert!(said.ends_with("EAGAIN: Try again"), "{said}");
    let usage = group.usage().unwrap();
    assert_eq!((usage.threads, group.pids_limit()), (20, Some(20)));
    assert!(usage.processes > 10 && usage.processes <= 20, "{usage:?}");
    group.update(&limit(None), &Settings::default()).unwrap();
    assert_eq!(group.pids_limit(), None);
    group.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn block_devices_are_written_no_faster_than_allowed() {
    // CT-31, CT-64, CT-81
    let Some(root) = Root::new() else { return };
    if root.hierarchies.version_of(Controller::BlockIo).is_none() {
        return skipped("no controller for block devices");
    }
    let disk = match Loop::new(64 << 20) {
        Ok(disk) => disk,
        Err(error) => return skipped(&format!("no block device to test with: {error}")),
    };
    let limit = |write_bytes, writes| Settings {
        io_limits: vec![IoLimit {
            device: disk.numbers,
            read_bytes: None,
            write_bytes,
            reads: None,
            writes,
        }],
        ..Settings::default()
    };
    let deed = format!("write {}", disk.path);
    let timed = |group: &Group| {
        let begin = Instant::now();
        assert_eq!(run(group, &deed), (None, "written".to_owned()));
        begin.elapsed()
    };
    // 4 MiB in 16 pieces.
    let group = root.make("c", &Limits::default(), &limit(Some(2 << 20), None));
    let slow = timed(&group);
    assert!(
        slow > Duration::from_millis(1500),
        "4 MiB at 2 MiB/s took {slow:?}"
    );
    let counts = group.usage().unwrap().block_io.unwrap()[&disk.numbers].clone();
    assert!(
        counts.bytes.write >= 4 << 20 && counts.operations.write >= 16,
        "{counts:?}"
    );

    group
        .update(&Limits::default(), &limit(None, Some(8)))
        .unwrap();
    let slow = timed(&group);
    assert!(
        slow > Duration::from_millis(1200),
        "16 writes at 8/s took {slow:?}"
    );

    group
        .update(&Limits::default(), &Settings::default())
        .unwrap();
    let files = [
        "io.max",
        "blkio.throttle.write_bps_device",
        "blkio.throttle.write_iops_device",
    ];
    for text in files.into_iter().filter_map(|file| root.read(&group, file)) {
        assert_eq!(text, "", "the limit is still there");
    }
    let fast = timed(&group);
    assert!(
        fast < slow,
        "without a limit it took {fast:?}, with one {slow:?}"
    );
}

#[test]
fn a_weight_of_block_io_is_set_or_refused() {
    let Some(root) = Root::new() else { return };
    let settings = Settings {
        io_weight: Some(300),
        ..Settings::default()
    };
    let group = root.group("c");
    let files = [
        "io.weight",
        "io.bfq.weight",
        "blkio.bfq.weight",
        "blkio.weight",
    ];
    match group.create(&Limits::default(), &settings) {
        Ok(()) => {
            let mut read = files.iter().filter_map(|file| root.read(&group, file));
            assert!(read.next().unwrap().ends_with("300"));
        }
        Err(Error::Unsupported { knob, .. }) => {
            assert_eq!(knob, "a weight of block IO");
            assert!(files.iter().all(|file| root.read(&group, file).is_none()));
            skipped("its effect: this kernel's block devices know no weight");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn devices_are_refused_unless_they_are_allowed() {
    // CT-33
    let Some(root) = Root::new() else { return };
    let kmsg = DeviceRule {
        kind: DeviceKind::Char,
        major: Some(1),
        minor: Some(11),
        access: Access::ALL,
    };
    let allowing = |more: &[DeviceRule]| {
        let mut devices = Devices::usual();
        devices.allowed.extend(more);
        Settings {
            devices: Some(devices),
            ..Settings::default()
        }
    };
    let none = Limits::default();
    let look = "open /dev/null /dev/zero /dev/urandom /dev/kmsg";
    let opened = |group: &Group| run(group, look).1;
    let group = root.make("c", &none, &allowing(&[]));
    assert_eq!(opened(&group), "open,open,open,permission denied");
    group.update(&none, &allowing(&[kmsg])).unwrap();
    assert_eq!(opened(&group), "open,open,open,open");
    let only_written = Access {
        write: true,
        ..Access::default()
    };
    let partly = DeviceRule {
        access: only_written,
        ..kmsg
    };
    group.update(&none, &allowing(&[partly])).unwrap();
    assert_eq!(opened(&group), "open,open,open,permission denied");
    let nothing = Settings {
        devices: Some(Devices::default()),
        ..Settings::default()
    };
    group.update(&none, &nothing).unwrap();
    assert_eq!(
        run(&group, "open /dev/zero /dev/kmsg").1,
        "permission denied,permission denied"
    );
    group.update(&none, &Settings::default()).unwrap();
    assert_eq!(opened(&group), "open,open,open,open");
}

#[test]
fn a_program_guards_devices_where_there_is_version_2() {
    // CT-33, as version 2 has it, also beside version 1
    let Some(root) = Root::new() else { return };
    let mounted = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let Some(unified) = mounted
        .iter()
        .find(|path| path.join("cgroup.procs").exists())
    else {
        return skipped("no version 2");
    };
    let name = format!("tepui-test-limits-bpf-{}", std::process::id());
    let alone = tepui_isolation::Hierarchies::version_2(unified.to_path_buf());
    assert_eq!(alone.version_of(Controller::Devices), Some(Version::Two));
    if root.hierarchies.version_of(Controller::Devices) == Some(Version::Two) {
        // The test before is about the same.
        return;
    }
    // On a hybrid machine: as if version 1 had no devices.
    let [cpu, memory, pids] =
        ["cpu", "memory", "pids"].map(|name| Path::new("/sys/fs/cgroup").join(name));
    if !cpu.join("tasks").exists() {
        return skipped("version 1 is mounted elsewhere");
    }
    let hybrid =
        tepui_isolation::Hierarchies::version_1(cpu, memory, pids).beside(unified.to_path_buf());
    hybrid.prepare(&name).unwrap();
    let group = hybrid.group(&name, "c").unwrap();
    let settings = Settings {
        devices: Some(Devices::usual()),
        ..Settings::default()
    };
    group.create(&Limits::default(), &settings).unwrap();
    let look = "open /dev/null /dev/kmsg";
    let guarded = run(&group, look).1;
    // Twice: the second takes the place of the first.
    let again = group
        .update(&Limits::default(), &settings)
        .map(|_| run(&group, look).1);
    let free = group.update(&Limits::default(), &Settings::default());
    let free = free.map(|_| run(&group, look).1);
    eventually("the group is gone", || group.remove().is_ok());
    hybrid.remove_root(&name).unwrap();
    assert_eq!(guarded, "open,permission denied");
    assert_eq!(again.unwrap(), "open,permission denied");
    assert_eq!(free.unwrap(), "open,open");
}

#[test]
fn a_container_runs_on_its_cpus_only() {
    // CT-32, CT-64
    let Some(root) = Root::new() else { return };
    if root.hierarchies.version_of(Controller::CpuSet).is_none() {
        return skipped("no controller for CPUs");
    }
    let on = |list: &str| Settings {
        cpus: Cpus::Only(list.parse().unwrap()),
        ..Settings::default()
    };
    let none = Limits::default();
    let group = root.make("c", &none, &on("0"));
    assert_eq!(run(&group, "where").1, "0");
    assert_eq!(group.cpus().unwrap(), Some(on_list("0")));
    let all = Topology::detect().unwrap();
    if all.nodes[0].cores.len() > 1 {
        let mut child = start(&group, "wait");
        line(&mut child);
        group.update(&none, &on("1")).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        assert!(status.contains("Cpus_allowed_list:\t1\n"), "{status}");
        end(child);
    }
    group.update(&none, &Settings::default()).unwrap();
    let free = root.make("free", &none, &Settings::default());
    assert_eq!(run(&group, "where").1, run(&free, "where").1);
    let error = root
        .group("x")
        .create(&none, &on("8000"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("8000") && error.contains("cpuset.cpus"),
        "{error}"
    );
}

fn on_list(text: &str) -> CpuList {
    text.parse().unwrap()
}

#[test]
fn whole_cores_with_their_memory_are_nobody_elses() {
    // CT-64, WK-57
    let Some(root) = Root::new() else { return };
    if root.hierarchies.version_of(Controller::CpuSet).is_none() {
        return skipped("no controller for CPUs");
    }
    let topology = Topology::detect().unwrap();
    let mut placement = Placement::new(topology.clone());
    let wish = Cores {
        count: 1,
        node: None,
    };
    let none = Limits::default();
    let unresolved = Settings {
        cpus: Cpus::Cores(wish),
        ..Settings::default()
    };
    let error = root.group("x").create(&none, &unresolved).unwrap_err();
    assert!(error.to_string().contains("placement"), "{error}");
    let mut seen = Vec::new();
    for name in ["a", "b"] {
        let Ok(grant) = placement.place(name, &wish) else {
            assert!(topology.nodes.iter().all(|node| node.cores.len() < 2));
            break;
        };
        let settings = Settings {
            cpus: Cpus::Only(grant.cpus.clone()),
            memory_nodes: grant.nodes.clone(),
            ..Settings::default()
        };
        let group = root.make(name, &none, &settings);
        assert_eq!(run(&group, "where").1, grant.cpus.to_string());
        if !grant.nodes.is_empty() {
            assert_eq!(run(&group, "nodes").1, grant.nodes.to_string());
        }
        seen.push(grant.cpus);
    }
    // After a restart the groups say what was given.
    let mut next = Placement::new(topology);
    for name in ["a", "b"] {
        if let Some(cpus) = root.group(name).cpus().unwrap() {
            next.claim(name, cpus);
        }
    }
    assert_eq!(next.shared(), placement.shared());
    assert!(seen.iter().all(|cpus| !cpus.meets(&next.shared())));
}

#[test]
fn nobody_gets_away_when_a_group_is_killed() {
    // CT-25
    let Some(root) = Root::new() else { return };
    let limits = Limits {
        pids: Some(40),
        ..Limits::default()
    };
    let frozen = Settings {
        accounts: Accounts {
            freezer: true,
            ..Accounts::default()
        },
        ..Settings::default()
    };
    for round in 0..5 {
        let group = root.make(&format!("c{round}"), &limits, &frozen);
        let mut child = start(&group, "breed");
        line(&mut child);
        eventually("there are many", || group.usage().unwrap().threads > 20);
        group.kill().unwrap();
        child.wait().unwrap();
        eventually("all are dead", || group.usage().unwrap().threads == 0);
        eventually("it can be removed", || group.remove().is_ok());
    }
}

#[test]
fn a_frozen_group_does_nothing_and_can_be_killed() {
    let Some(root) = Root::new() else { return };
    let settings = Settings {
        accounts: Accounts {
            freezer: true,
            ..counted().accounts
        },
        ..Settings::default()
    };
    let group = root.make("c", &Limits::default(), &settings);
    let mut child = start(&group, "spin_on 0 60000");
    line(&mut child);
    tell(&mut child);
    eventually("it spins", || cpu_time(&group) > Duration::from_millis(50));
    group.set_frozen(true).unwrap();
    eventually("it stands still", || group.is_frozen().unwrap());
    let before = cpu_time(&group);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(cpu_time(&group), before);
    group.set_frozen(false).unwrap();
    eventually("it goes on", || cpu_time(&group) > before);
    group.set_frozen(true).unwrap();
    group.kill().unwrap();
    child.wait().unwrap();
    eventually("it is dead", || group.usage().unwrap().threads == 0);
}

#[test]
fn huge_pages_are_limited_where_there_are_any() {
    // CT-34: Mesos makes the group and limits nothing.
    let Some(root) = Root::new() else { return };
    let settings = Settings {
        huge_pages: vec![HugePages {
            page_kib: 2048,
            bytes: 4 << 20,
        }],
        ..Settings::default()
    };
    let group = root.group("c");
    match group.create(&Limits::default(), &settings) {
        Err(Error::Unsupported { message, .. }) => return skipped(&message),
        other => other.unwrap(),
    }
    let files = ["hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes"];
    let limit = || {
        files
            .iter()
            .find_map(|file| root.read(&group, file))
            .unwrap()
    };
    assert_eq!(limit(), "4194304");
    if is_virtual() {
        std::fs::write("/proc/sys/vm/nr_hugepages", "8").unwrap();
        assert_eq!(run(&group, "huge 2"), (None, "used".to_owned()));
        assert_eq!(run(&group, "huge 3"), (Some(libc::SIGBUS), String::new()));
    } else {
        skipped("using them: only in the virtual machine, where pages can be set aside for it");
    }
    group
        .update(&Limits::default(), &Settings::default())
        .unwrap();
    assert_ne!(limit(), "4194304");
}

#[test]
fn waiting_for_a_cpu_is_pressure() {
    let Some(root) = Root::new() else { return };
    let settings = Settings {
        accounts: Accounts {
            pressure: true,
            ..Accounts::default()
        },
        ..Settings::default()
    };
    let group = root.group("c");
    match group.create(&with_cpus(100), &settings) {
        Err(Error::Unsupported { message, .. }) => return skipped(&message),
        other => other.unwrap(),
    }
    let Some(before) = group.pressure().unwrap().unwrap().cpu else {
        return skipped("this kernel does not tell");
    };
    run(&group, "spin 800");
    let after = group.pressure().unwrap().unwrap().cpu.unwrap();
    assert!(after.some.total > before.some.total, "{after:?}");
}

#[test]
fn version_1_tells_how_urgently_it_wants_memory_back() {
    // CT-21
    let Some(root) = Root::new() else { return };
    let group = root.make("c", &with_memory(48), &Settings::default());
    let Some(mut levels) = group.watch_pressure_levels().unwrap() else {
        assert_eq!(
            root.hierarchies.version_of(Controller::Memory),
            Some(Version::Two)
        );
        return;
    };
    assert_eq!(levels.read().unwrap(), [0; 3]);
    run(&group, "take 200");
    let counts = levels.read().unwrap();
    assert!(counts.iter().sum::<u64>() > 0, "{counts:?}");
    assert_eq!(levels.read().unwrap(), counts);
}

#[test]
fn what_the_machine_has_not_is_refused_by_name() {
    let Some(root) = Root::new() else { return };
    let text = root.hierarchies.describe();
    assert!(text.contains("version"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let bare = tepui_isolation::Hierarchies::version_1(place.clone(), place.clone(), place);
    bare.prepare("r").unwrap();
    let settings = Settings {
        devices: Some(Devices::usual()),
        ..Settings::default()
    };
    let group = bare.group("r", "c").unwrap();
    let error = group.create(&Limits::default(), &settings).unwrap_err();
    let text = "a choice of devices needs the controller devices: this machine does not have it";
    assert_eq!(error.to_string(), text);
    // What was not entered at the start cannot be had later.
    if root.hierarchies.version_of(Controller::Devices) == Some(Version::One) {
        let group = root.make("c", &Limits::default(), &Settings::default());
        let error = group.update(&Limits::default(), &settings).unwrap_err();
        let text = "the container did not enter it at its start";
        assert!(error.to_string().ends_with(text), "{error}");
    }
}

/// An agent whose containers are limited; `None`, with the reason printed, where there is none.
fn agent() -> Option<(tempfile::TempDir, Agent)> {
    let detected = Mode::detect();
    if detected.mode == Mode::Process {
        skipped(&detected.reason);
        return None;
    }
    assert!(
        detected.reason.contains("control groups of version"),
        "{}",
        detected.reason
    );
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), Mode::Container);
    Some((dir, agent))
}

/// Waits for a file, and then takes much memory in a child.
const HOG: &str = "until [ -e go ]; do sleep 0.05; done; echo on; \
                   tail -c 200000000 /dev/zero | tail -c 200000000 > /dev/null; sleep 1000";

#[test]
fn a_container_can_be_given_other_limits_while_it_runs() {
    // CT-18, CT-19, CT-23, TK-94
    let Some((dir, agent)) = agent() else { return };
    let mut spec = spec(&id(1), sh(HOG));
    spec.limits.pids = Some(50);
    agent.launch_spec(&id(1), spec);
    agent.started();
    let config = common::config(dir.path(), Mode::Container);
    let hierarchies = tepui_isolation::Hierarchies::detect().unwrap();
    let group = hierarchies
        .group(&config.cgroup_root, id(1).as_str())
        .unwrap();
    assert_eq!(group.usage().unwrap().memory.limit, None);
    let limits = Limits {
        cpus: cores(1_500),
        mem: mib(64),
        ..Limits::default()
    };
    agent.send(ContainerCommand::Resize { id: id(1), limits });
    eventually("it is limited", || {
        let usage = group.usage().unwrap();
        usage.memory.limit == Some(64 << 20) && usage.cpu.limit == cores(1_500)
    });
    assert_eq!(group.pids_limit(), Some(50), "as many as before");
    agent.expect_nothing(Duration::from_millis(100));
    std::fs::write(dir.path().join("sandboxes/c000001/go"), "").unwrap();
    let (exit, breach) = agent.exited();
    assert_eq!(exit, Exit::Signal(9));
    let breach = breach.expect("the breach is told");
    assert_eq!(
        (breach.resource, breach.limit),
        (Limited::Memory, mib(64).unwrap())
    );
    assert!(
        breach.used > mib(60).unwrap() && breach.used <= mib(64).unwrap(),
        "{breach:?}"
    );
    agent.shutdown();
}

/// A file that goes with the test.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn memory_that_cannot_be_had_is_asked_for_again() {
    // CT-18, CT-23
    let Some((dir, agent)) = agent() else { return };
    // What is in this filesystem is in memory, and of who wrote it.
    let file = Removed(format!("/dev/shm/tepui-test-limits-{}", std::process::id()));
    let command = format!(
        "dd if=/dev/zero of={0} bs=1048576 count=100 2> /dev/null; echo full > said; \
         until [ -e go ]; do sleep 0.05; done; rm {0}; sleep 1000",
        file.0
    );
    let mut spec = spec(&id(1), sh(&command));
    spec.limits.mem = mib(256);
    agent.launch_spec(&id(1), spec);
    agent.started();
    assert_eq!(agent.line(&id(1), "said"), "full");
    let config = common::config(dir.path(), Mode::Container);
    let hierarchies = tepui_isolation::Hierarchies::detect().unwrap();
    let group = hierarchies
        .group(&config.cgroup_root, id(1).as_str())
        .unwrap();
    let limits = with_memory(64);
    agent.send(ContainerCommand::Resize { id: id(1), limits });
    let limit = || group.memory_use().unwrap().limit;
    eventually("it is limited to what it uses", || {
        limit() < mib(256).unwrap()
    });
    assert!(limit() >= mib(100).unwrap(), "{}", limit());
    std::fs::write(dir.path().join("sandboxes/c000001/go"), "").unwrap();
    eventually("it is limited to what is wanted", || {
        limit() == mib(64).unwrap()
    });
    assert_eq!(group.memory_use().unwrap().kills, 0);
    agent.expect_nothing(Duration::from_millis(100));
    agent.shutdown();
}

#[test]
fn who_may_use_more_memory_than_it_keeps_is_killed_sooner() {
    // CT-20: also in version 2, where Mesos does not.
    let Some((_dir, agent)) = agent() else { return };
    let look = "cat /proc/self/oom_score_adj /proc/1/oom_score_adj";
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    let expected = oom_score(mib(200), None, total * 1024).unwrap();
    for (n, kept, mem, score) in [
        (1, mib(200), None, expected.to_string()),
        (2, mib(200), mib(300), expected.to_string()),
        (3, mib(300), mib(300), own.trim().to_owned()),
    ] {
        let mut spec = spec(&id(n), sh(look));
        (spec.limits.kept, spec.limits.mem) = (kept, mem);
        // Longer than what a pipe holds.
        let long = ("LONG".to_owned(), "x".repeat(100_000));
        spec.environment.push(long);
        agent.launch_spec(&id(n), spec);
        agent.started();
        assert_eq!(agent.exited(), (Exit::Code(0), None));
        assert_eq!(agent.file(&id(n), "stdout"), format!("{score}\n{score}\n"));
    }
    agent.shutdown();
}

/// Prints what a sample of 1,000 containers costs: `cargo test --test limits -- --ignored cost`.
#[test]
#[ignore = "a measurement"]
fn cost_of_sampling_1000_containers() {
    let Some(root) = Root::new() else { return };
    let limits = Limits {
        pids: Some(10),
        ..with_memory(64)
    };
    let limits = Limits {
        cpus: cores(500),
        ..limits
    };
    let settings = counted();
    let groups: Vec<Group> = (0..1000)
        .map(|n| root.make(&format!("c{n}"), &limits, &settings))
        .collect();
    let mut child = start(&groups[0], "wait");
    line(&mut child);
    for round in 0..5 {
        let begin = Instant::now();
        for group in &groups {
            group.usage().unwrap();
        }
        let alone = begin.elapsed();
        let begin = Instant::now();
        let all = usage_of(&groups);
        assert!(all.len() == 1000 && all[0].as_ref().unwrap().processes == 1);
        let together = begin.elapsed();
        println!("round {round}: 1,000 containers in {together:?}, on one thread in {alone:?}");
    }
    end(child);
}

#[test]
fn groups_above_keep_what_all_below_keep_together() {
    // CT-23
    let Some(root) = Root::new() else { return };
    if root.hierarchies.version_of(Controller::Memory) != Some(Version::Two) {
        // In version 1 each group keeps by itself.
        return root.hierarchies.keep("nowhere", 1).unwrap();
    }
    let top = format!("tepui-test-kept-{}", std::process::id());
    let agents = ["one", "two"].map(|agent| format!("{top}/{agent}"));
    let kept = |path: &str| {
        let path = Path::new("/sys/fs/cgroup").join(path).join("memory.low");
        std::fs::read_to_string(path)
            .unwrap()
            .trim()
            .parse::<u64>()
            .unwrap()
    };
    for agent in &agents {
        root.hierarchies.prepare(agent).unwrap();
    }
    root.hierarchies.keep(&agents[0], 64 << 20).unwrap();
    root.hierarchies.keep(&agents[1], 32 << 20).unwrap();
    let both = (kept(&agents[0]), kept(&agents[1]), kept(&top));
    root.hierarchies.keep(&agents[0], 0).unwrap();
    let one = (kept(&agents[0]), kept(&agents[1]), kept(&top));
    for agent in &agents {
        root.hierarchies.remove_root(agent).unwrap();
    }
    assert_eq!(both, (64 << 20, 32 << 20, 96 << 20));
    assert_eq!(one, (0, 32 << 20, 32 << 20));
}

#[test]
fn the_same_holds_in_version_2_in_a_virtual_machine() {
    // CT-22, CT-23, CT-24
    if is_virtual() {
        return;
    }
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm");
    let own = std::thread::current().name().unwrap().to_owned();
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm.sh"))
        .arg(cache)
        .arg(std::env::current_exe().unwrap())
        .env("VM_FILES", env!("CARGO_BIN_EXE_tepui-launch-probe"))
        .args(["--test-threads=2", "--skip", &own])
        .output()
        .unwrap();
    let (out, err) = (output.stdout, output.stderr);
    let out = String::from_utf8_lossy(&out).into_owned();
    let err = String::from_utf8_lossy(&err).into_owned();
    if output.status.code() == Some(77) {
        return skipped(out.trim());
    }
    assert!(output.status.success(), "{out}\n{err}");
    let result = out
        .lines()
        .find(|line| line.starts_with("test result: ok. "));
    let result = result.unwrap_or_else(|| panic!("no result: {out}"));
    println!("in the virtual machine: {result}");
    let skipped: Vec<&str> = out
        .lines()
        .filter(|line| line.contains("skipped: "))
        .collect();
    assert_eq!(skipped, [""; 0], "all of it can be had there");
}
