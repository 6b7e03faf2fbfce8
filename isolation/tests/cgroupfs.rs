//! The files of control groups, in a plain directory that stands in for the kernel's.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use tepui_core::resources::Milli;
use tepui_isolation::cgroup::{
    Accounts, Controller, CpuStatistics, Cpus, Devices, Hierarchies, HugePages, IoLimit, Layout,
    Limits, MemoryStatistics, Operations, OutOfMemory, Settings, Swap, Version,
};

fn limits(cpus: i64, mem: i64, pids: u32) -> Limits {
    Limits {
        cpus: Some(Milli::from_thousandths(cpus)),
        mem: Some(Milli::from_thousandths(mem)),
        pids: Some(pids),
        ..Limits::default()
    }
}

/// All files below `dir` with what is in them, sorted.
fn files(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let inner = files(&path).into_iter();
            found.extend(inner.map(|(below, text)| (format!("{name}/{below}"), text)));
        } else {
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn expect(dir: &Path, expected: &[(&str, &str)]) {
    let found = files(dir);
    let found: Vec<_> = found
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn version_1_has_a_directory_in_each_hierarchy() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        fs::create_dir(dir.path().join(name)).unwrap();
        dir.path().join(name)
    };
    let hierarchies = Hierarchies::version_1(at("cpu"), at("memory"), at("pids"));
    hierarchies.prepare("tepui/a").unwrap();
    let group = hierarchies.group("tepui/a", "c1").unwrap();
    let none = Settings::default();
    group.create(&limits(1500, 64_000, 20), &none).unwrap();
    expect(
        dir.path(),
        &[
            // CT-17, TV-30, TL-36
            ("cpu/tepui/a/c1/cpu.cfs_period_us", "100000"),
            ("cpu/tepui/a/c1/cpu.cfs_quota_us", "150000"),
            // CT-16, TV-29
            ("cpu/tepui/a/c1/cpu.shares", "1536"),
            // CT-18
            ("memory/tepui/a/c1/memory.limit_in_bytes", "67108864"),
            ("memory/tepui/a/c1/memory.soft_limit_in_bytes", "67108864"),
            ("pids/tepui/a/c1/pids.max", "20"),
        ],
    );
    let names: Vec<_> = hierarchies.groups("tepui/a").unwrap().into_iter().collect();
    assert_eq!(names, ["c1"]);
    assert!(
        group.create(&Limits::default(), &none).is_err(),
        "it exists already"
    );
}

#[test]
fn version_1_limits_swap_where_the_kernel_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let hierarchies = Hierarchies::version_1(place.clone(), place.clone(), place);
    hierarchies.prepare("r").unwrap();
    let group = hierarchies.group("r", "c1").unwrap();
    group
        .create(&Limits::default(), &Settings::default())
        .unwrap();
    expect(dir.path(), &[]);
    let memory = dir.path().join("r/c1");
    fs::write(memory.join("memory.limit_in_bytes"), "67108864\n").unwrap();
    fs::write(memory.join("memory.max_usage_in_bytes"), "33554432\n").unwrap();
    let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
    fs::write(memory.join("memory.oom_control"), control).unwrap();
    let usage = group.memory_use().unwrap();
    assert_eq!(usage.limit, Milli::from_thousandths(64_000));
    assert_eq!(usage.peak, Milli::from_thousandths(32_000));
    assert_eq!((usage.at_limit, usage.kills), (false, 3));
    let both = memory.join("memory.memsw.max_usage_in_bytes");
    fs::write(both, "67104768\n").unwrap();
    assert!(group.memory_use().unwrap().at_limit);
    fs::write(memory.join("memory.oom_control"), "garbled").unwrap();
    assert_eq!(group.memory_use().unwrap().kills, 0);
    fs::write(memory.join("memory.max_usage_in_bytes"), "garbled").unwrap();
    let error = group.memory_use().unwrap_err().to_string();
    assert!(error.contains("memory.max_usage_in_bytes"), "{error}");
}

#[test]
fn version_2_has_one_directory_and_its_controllers_are_enabled_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let hierarchies = Hierarchies::version_2(dir.path().to_owned());
    hierarchies.prepare("tepui/a").unwrap();
    let group = hierarchies.group("tepui/a", "c1").unwrap();
    group
        .create(&limits(500, 10_000, 7), &Settings::default())
        .unwrap();
    let enabled = "+cpu +memory +pids";
    expect(
        dir.path(),
        &[
            ("cgroup.subtree_control", enabled),
            ("tepui/a/c1/cpu.max", "50000 100000"),
            // CT-22, TV-31
            ("tepui/a/c1/cpu.weight", "50"),
            // CT-23, TV-32
            ("tepui/a/c1/memory.low", "33554432"),
            ("tepui/a/c1/memory.max", "33554432"),
            ("tepui/a/c1/memory.oom.group", "1"),
            ("tepui/a/c1/pids.max", "7"),
            ("tepui/a/cgroup.subtree_control", enabled),
            ("tepui/cgroup.subtree_control", enabled),
        ],
    );
    let inside = dir.path().join("tepui/a/c1");
    fs::write(inside.join("memory.current"), "1048576\n").unwrap();
    fs::write(
        inside.join("memory.events"),
        "low 0\nmax 4\noom 1\noom_kill 2\n",
    )
    .unwrap();
    let usage = group.memory_use().unwrap();
    assert_eq!(
        (usage.peak, usage.at_limit, usage.kills),
        (Milli::from_thousandths(1_000), true, 2)
    );
    assert_eq!(group.pids_limit(), Some(7));
    fs::write(inside.join("pids.max"), "max\n").unwrap();
    assert_eq!(group.pids_limit(), None);
}

#[test]
fn launchers_that_come_and_go_share_what_is_above_their_groups() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let hierarchies = Hierarchies::version_1(place.clone(), place.clone(), place);
    std::thread::scope(|scope| {
        for root in ["shared/a", "shared/b"] {
            let hierarchies = &hierarchies;
            scope.spawn(move || {
                for _ in 0..500 {
                    hierarchies.prepare(root).unwrap();
                    hierarchies
                        .group(root, "c1")
                        .unwrap()
                        .create(&Limits::default(), &Settings::default())
                        .unwrap();
                    hierarchies.group(root, "c1").unwrap().remove().unwrap();
                    hierarchies.remove_root(root).unwrap();
                }
            });
        }
    });
    expect(dir.path(), &[]);
    assert!(
        !dir.path().join("shared").exists(),
        "nobody needs it any more"
    );
}

#[test]
fn what_a_container_takes_may_be_less_than_its_limit() {
    // TK-06
    let dir = tempfile::tempdir().unwrap();
    let hierarchies = Hierarchies::version_2(dir.path().to_owned());
    hierarchies.prepare("a").unwrap();
    let more = Limits {
        share: milli(500),
        kept: milli(32_000),
        ..limits(2_000, 64_000, 7)
    };
    let none = Settings::default();
    let group = hierarchies.group("a", "c1").unwrap();
    group.create(&more, &none).unwrap();
    let unlimited = Limits {
        cpus: None,
        mem: None,
        ..more
    };
    let group = hierarchies.group("a", "c2").unwrap();
    group.create(&unlimited, &none).unwrap();
    let (enabled, mib) = ("+cpu +memory +pids", 1_u64 << 20);
    let (kept, most) = ((32 * mib).to_string(), (64 * mib).to_string());
    expect(
        dir.path(),
        &[
            ("a/c1/cpu.max", "200000 100000"),
            ("a/c1/cpu.weight", "50"),
            ("a/c1/memory.low", &kept),
            ("a/c1/memory.max", &most),
            ("a/c1/memory.oom.group", "1"),
            ("a/c1/pids.max", "7"),
            ("a/c2/cpu.weight", "50"),
            ("a/c2/memory.low", &kept),
            ("a/c2/pids.max", "7"),
            ("a/cgroup.subtree_control", enabled),
            ("cgroup.subtree_control", enabled),
        ],
    );
}

fn milli(thousandths: i64) -> Option<Milli> {
    Some(Milli::from_thousandths(thousandths))
}

fn write(dir: &Path, file: &str, text: &str) {
    fs::write(dir.join(file), text).unwrap();
}

fn text(dir: &Path, file: &str) -> String {
    let path = dir.join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Hierarchies of version 1 with all controllers, beside version 2 with huge pages.
fn hybrid(dir: &Path) -> Hierarchies {
    let at = |name: &str| {
        fs::create_dir(dir.join(name)).unwrap();
        dir.join(name)
    };
    let unified = at("unified");
    write(&unified, "cgroup.controllers", "hugetlb\n");
    let cpuset = at("cpuset");
    write(&cpuset, "cpuset.cpus", "0-7\n");
    write(&cpuset, "cpuset.mems", "0-1\n");
    Hierarchies::version_1(at("cpu"), at("memory"), at("pids"))
        .with(Controller::CpuAccounting, at("cpuacct"))
        .with(Controller::CpuSet, cpuset)
        .with(Controller::BlockIo, at("blkio"))
        .with(Controller::Devices, at("devices"))
        .with(Controller::Freezer, at("freezer"))
        .beside(unified)
}

fn io_limit() -> IoLimit {
    IoLimit {
        device: (8, 16),
        read_bytes: None,
        write_bytes: Some(1_000_000),
        reads: Some(0),
        writes: None,
    }
}

#[test]
fn a_group_is_made_only_where_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let hierarchies = hybrid(dir.path());
    assert_eq!(hierarchies.layout(), Layout::Hybrid);
    hierarchies.prepare("r/a").unwrap();
    // CT-32: nothing is inherited by itself.
    assert_eq!(text(dir.path(), "cpuset/r/cpuset.cpus"), "0-7");
    assert_eq!(text(dir.path(), "cpuset/r/a/cpuset.mems"), "0-1");
    let made = |name: &str, settings: &Settings| {
        let group = hierarchies.group("r/a", name).unwrap();
        group.create(&Limits::default(), settings).unwrap();
        let made = group.made_directories().into_iter();
        let tops = made.map(|(path, version)| {
            let path = path.strip_prefix(dir.path()).unwrap().to_owned();
            let top = path.iter().next().unwrap().to_str().unwrap().to_owned();
            assert_eq!(version == Version::Two, top == "unified");
            top
        });
        tops.collect::<Vec<_>>().join(" ")
    };
    let none = Settings::default();
    // CPU time is counted of all.
    assert_eq!(made("none", &none), "cpu cpuacct memory pids");
    let accounts = Accounts {
        cpu_time: true,
        block_io: true,
        freezer: true,
        pressure: true,
    };
    let counted = Settings { accounts, ..none };
    let all = "blkio cpu cpuacct freezer memory pids unified";
    assert_eq!(made("counted", &counted), all);
    let chosen = Settings {
        cpus: Cpus::Only("2-3".parse().unwrap()),
        ..Settings::default()
    };
    assert_eq!(made("chosen", &chosen), "cpu cpuacct cpuset memory pids");
    assert_eq!(text(dir.path(), "cpuset/r/a/chosen/cpuset.cpus"), "2-3");
    assert_eq!(text(dir.path(), "cpuset/r/a/chosen/cpuset.mems"), "0-1");
    let group = hierarchies.group("r/a", "chosen").unwrap();
    assert_eq!(group.cpus().unwrap().unwrap().to_string(), "2-3");
    let unplaced = hierarchies.group("r/a", "none").unwrap();
    assert_eq!(unplaced.cpus().unwrap(), None);
}

#[test]
fn version_1_writes_every_knob() {
    let dir = tempfile::tempdir().unwrap();
    let hierarchies = hybrid(dir.path());
    hierarchies.prepare("r").unwrap();
    let group = hierarchies.group("r", "c").unwrap();
    let at = |top: &str| dir.path().join(top).join("r/c");
    let settings = Settings {
        cpu_burst: Some(20),
        low_priority: true,
        io_limits: vec![io_limit()],
        devices: Some(Devices::default()),
        ..Settings::default()
    };
    group.create(&limits(2_500, 64_000, 7), &settings).unwrap();
    // CT-16: lent CPUs have 10 shares each.
    assert_eq!(text(&at("cpu"), "cpu.shares"), "25");
    assert_eq!(text(&at("cpu"), "cpu.cfs_burst_us"), "50000");
    let throttle = |what: &str| at("blkio").join(format!("blkio.throttle.{what}_device"));
    assert_eq!(
        fs::read_to_string(throttle("write_bps")).unwrap(),
        "8:16 1000000"
    );
    assert_eq!(fs::read_to_string(throttle("read_iops")).unwrap(), "8:16 1");
    assert!(!throttle("read_bps").exists());
    // CT-33: nothing but what is allowed.
    assert_eq!(text(&at("devices"), "devices.deny"), "a");

    // And takes it back.
    for (file, now) in [
        ("memory.limit_in_bytes", "67108864"),
        ("memory.max_usage_in_bytes", "0"),
    ] {
        write(&at("memory"), file, now);
    }
    let changed = group
        .update(&Limits::default(), &Settings::default())
        .unwrap();
    assert_eq!(changed.mem, None);
    for (top, file, expected) in [
        ("cpu", "cpu.shares", "1024"),
        ("cpu", "cpu.cfs_burst_us", "0"),
        ("cpu", "cpu.cfs_quota_us", "-1"),
        ("memory", "memory.limit_in_bytes", "-1"),
        ("memory", "memory.soft_limit_in_bytes", "-1"),
        ("pids", "pids.max", "max"),
        ("blkio", "blkio.throttle.write_bps_device", "8:16 0"),
        ("blkio", "blkio.throttle.read_iops_device", "8:16 0"),
        ("devices", "devices.allow", "a"),
    ] {
        assert_eq!(text(&at(top), file), expected, "{file}");
    }
}

#[test]
fn version_1_counts_swap_together_with_memory() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let hierarchies = Hierarchies::version_1(place.clone(), place.clone(), place);
    hierarchies.prepare("r").unwrap();
    let group = hierarchies.group("r", "c").unwrap();
    let none = Settings::default();
    group.create(&limits(1_000, 64_000, 7), &none).unwrap();
    let at = dir.path().join("r/c");
    write(&at, "memory.memsw.limit_in_bytes", "67108864");
    let swap = |swap| Settings {
        swap,
        ..none.clone()
    };
    let both = || text(&at, "memory.memsw.limit_in_bytes");
    let update = |mem, settings: &Settings| group.update(&limits(1_000, mem, 7), settings);
    update(128_000, &swap(Swap::Limit(Milli::from_units(32)))).unwrap();
    assert_eq!(both(), (160_u64 << 20).to_string());
    update(64_000, &none).unwrap();
    assert_eq!(both(), (64_u64 << 20).to_string());
    update(64_000, &swap(Swap::Unlimited)).unwrap();
    assert_eq!(both(), "-1");
    let limit = swap(Swap::Limit(Milli::from_units(1)));
    let error = group.update(&Limits::default(), &limit).unwrap_err();
    assert!(
        error.to_string().contains("only together with memory"),
        "{error}"
    );
}

#[test]
fn version_2_writes_every_knob() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "cgroup.controllers",
        "cpuset cpu io memory hugetlb pids rdma\n",
    );
    let hierarchies = Hierarchies::version_2(dir.path().to_owned());
    assert_eq!(hierarchies.layout(), Layout::Two);
    hierarchies.prepare("r").unwrap();
    let group = hierarchies.group("r", "c").unwrap();
    let at = dir.path().join("r/c");
    let huge = HugePages {
        page_kib: 2048,
        bytes: 6 << 20,
    };
    let settings = Settings {
        cpu_burst: Some(20),
        low_priority: true,
        out_of_memory: OutOfMemory::KillOne,
        cpus: Cpus::Only("0,2-3".parse().unwrap()),
        memory_nodes: "1".parse().unwrap(),
        io_limits: vec![io_limit()],
        huge_pages: vec![huge],
        ..Settings::default()
    };
    group.create(&limits(2_500, 64_000, 7), &settings).unwrap();
    for (file, expected) in [
        // CT-22: lent CPUs have a weight of 1 each.
        ("cpu.weight", "2"),
        ("cpu.max", "250000 100000"),
        ("cpu.max.burst", "50000"),
        ("memory.oom.group", "0"),
        ("cpuset.cpus", "0,2-3"),
        ("cpuset.mems", "1"),
        ("io.max", "8:16 rbps=max wbps=1000000 riops=1 wiops=max"),
        ("hugetlb.2MB.max", "6291456"),
    ] {
        assert_eq!(text(&at, file), expected, "{file}");
    }

    write(&at, "memory.current", "1048576\n");
    write(&at, "memory.swap.max", "0\n");
    write(&at, "io.weight", "default 100\n");
    let swap = Settings {
        swap: Swap::Limit(Milli::from_units(3)),
        io_weight: Some(250),
        ..Settings::default()
    };
    let mem = |n| Limits {
        mem: milli(n),
        ..Limits::default()
    };
    group.update(&mem(40_000), &swap).unwrap();
    assert_eq!(text(&at, "memory.swap.max"), "3145728");
    assert_eq!(text(&at, "io.weight"), "250");
    group.update(&mem(40_000), &Settings::default()).unwrap();
    assert_eq!(text(&at, "memory.swap.max"), "0");
    group
        .update(&Limits::default(), &Settings::default())
        .unwrap();
    for (file, expected) in [
        ("cpu.weight", "100"),
        ("cpu.max", "max 100000"),
        ("cpu.max.burst", "0"),
        ("memory.max", "max"),
        ("memory.low", "0"),
        ("memory.swap.max", "max"),
        ("memory.oom.group", "1"),
        ("cpuset.cpus", "\n"),
        ("cpuset.mems", "\n"),
        ("io.max", "8:16 rbps=max wbps=max riops=max wiops=max"),
        ("io.weight", "100"),
        ("hugetlb.2MB.max", "max"),
        ("pids.max", "max"),
    ] {
        assert_eq!(text(&at, file), expected, "{file}");
    }
}

#[test]
fn version_2_is_limited_to_no_less_than_is_used() {
    // CT-23
    let dir = tempfile::tempdir().unwrap();
    let hierarchies = Hierarchies::version_2(dir.path().to_owned());
    hierarchies.prepare("r").unwrap();
    let group = hierarchies.group("r", "c").unwrap();
    let none = Settings::default();
    group.create(&limits(1_000, 256_000, 7), &none).unwrap();
    let at = dir.path().join("r/c");
    let used = 100_u64 << 20;
    write(&at, "memory.current", &format!("{used}\n"));
    write(&at, "memory.reclaim", "");
    let changed = group.update(&limits(1_000, 64_000, 7), &none).unwrap();
    // A little more than is used, and what is too much was asked back.
    assert_eq!((changed.mem, changed.is_complete), (milli(101_000), false));
    assert_eq!(text(&at, "memory.max"), (101_u64 << 20).to_string());
    assert_eq!(text(&at, "memory.reclaim"), (37_u64 << 20).to_string());
    // No more than before either.
    write(&at, "memory.current", &format!("{}\n", 500_u64 << 20));
    let changed = group.update(&limits(1_000, 64_000, 7), &none).unwrap();
    assert_eq!(changed.mem, milli(101_000));
    write(&at, "memory.current", "1048576\n");
    let changed = group.update(&limits(1_000, 64_000, 7), &none).unwrap();
    assert_eq!((changed.mem, changed.is_complete), (milli(64_000), true));
    // The smallest there is, is all that can be wanted.
    let changed = group.update(&limits(1_000, 10_000, 7), &none).unwrap();
    assert_eq!((changed.mem, changed.is_complete), (milli(32_000), true));
}

#[test]
fn version_1_tells_what_was_used() {
    let dir = tempfile::tempdir().unwrap();
    let hierarchies = hybrid(dir.path());
    hierarchies.prepare("r").unwrap();
    let group = hierarchies.group("r", "c").unwrap();
    let settings = Settings {
        accounts: Accounts {
            cpu_time: true,
            block_io: true,
            ..Accounts::default()
        },
        ..Settings::default()
    };
    group.create(&limits(1_500, 64_000, 7), &settings).unwrap();
    let at = |top: &str| dir.path().join(top).join("r/c");
    let stat =
        "nr_periods 9\nnr_throttled 4\nthrottled_time 1500000000\nnr_bursts 2\nburst_time 7\n";
    write(&at("cpu"), "cpu.stat", stat);
    write(&at("cpuacct"), "cpuacct.stat", "user 123\nsystem 45\n");
    let stat = "cache 1\nhierarchical_memory_limit 67108864\ntotal_cache 20\ntotal_rss 30\n\
                total_shmem 4\ntotal_mapped_file 5\ntotal_swap 6\ntotal_unevictable 7\n";
    let memory = at("memory");
    write(&memory, "memory.stat", stat);
    write(&memory, "memory.usage_in_bytes", "60\n");
    write(&memory, "memory.memsw.usage_in_bytes", "66\n");
    write(&memory, "memory.kmem.usage_in_bytes", "8\n");
    write(&memory, "memory.kmem.tcp.usage_in_bytes", "2\n");
    write(&at("pids"), "pids.current", "5\n");
    write(&at("pids"), "cgroup.procs", "101\n102\n");
    let bytes = "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Async 2\n8:0 Discard 3\n\
                 8:0 Total 12291\nTotal 12291\n";
    let blkio = at("blkio");
    write(&blkio, "blkio.throttle.io_service_bytes_recursive", bytes);
    write(
        &blkio,
        "blkio.throttle.io_serviced_recursive",
        "8:0 Read 1\n8:0 Total 1\nTotal 1\n",
    );
    for name in ["io_service_bytes", "io_serviced", "io_service_time"] {
        let text = "8:16 Write 77\nTotal 77\n";
        write(&blkio, &format!("blkio.bfq.{name}_recursive"), text);
    }
    let usage = group.usage().unwrap();
    // CT-78
    assert_eq!((usage.processes, usage.threads), (2, 5));
    assert!(usage.at.elapsed().unwrap() < Duration::from_secs(60));
    // CT-27, CT-79
    let expected = CpuStatistics {
        user: Some(Duration::from_millis(1230)),
        system: Some(Duration::from_millis(450)),
        periods: 9,
        throttled_periods: 4,
        throttled: Duration::from_millis(1500),
        bursts: 2,
        burst: Duration::from_nanos(7),
        limit: milli(1_500),
        soft_limit: Milli::from_thousandths(1_500),
    };
    assert_eq!(usage.cpu, expected);
    // CT-28, CT-80
    let expected = MemoryStatistics {
        total: 60,
        with_swap: Some(66),
        kernel: Some(8),
        sockets: Some(2),
        limit: Some(64 << 20),
        soft_limit: Some(64 << 20),
        file: 20,
        anonymous: 30,
        mapped_file: 5,
        shared: 4,
        swap: Some(6),
        unevictable: 7,
    };
    assert_eq!(usage.memory, expected);
    // CT-31, CT-81
    let devices = usage.block_io.unwrap();
    let disk = &devices[&(8, 0)];
    let expected = Operations {
        read: 4096,
        write: 8192,
        discard: 3,
        sync: 1,
        background: 2,
        total: 12_291,
    };
    assert_eq!((disk.bytes, disk.operations.read), (expected, 1));
    let scheduler = &devices[&(8, 16)].scheduler;
    assert_eq!(scheduler.keys().collect::<Vec<_>>().len(), 3);
    assert_eq!(scheduler["io_service_time"].write, 77);

    write(&memory, "memory.usage_in_bytes", "much\n");
    let error = group.usage().unwrap_err().to_string();
    assert!(error.contains("memory.usage_in_bytes"), "{error}");
}

#[test]
fn version_2_tells_what_was_used() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "cgroup.controllers", "cpu io memory pids\n");
    let hierarchies = Hierarchies::version_2(dir.path().to_owned());
    hierarchies.prepare("r").unwrap();
    let group = hierarchies.group("r", "c").unwrap();
    group
        .create(&limits(1_500, 64_000, 7), &Settings::default())
        .unwrap();
    let at = dir.path().join("r/c");
    let stat = "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 9\nnr_throttled 4\n\
                throttled_usec 5\nnr_bursts 1\nburst_usec 2\n";
    write(&at, "cpu.stat", stat);
    let stat = "anon 30\nfile 20\nkernel 8\nsock 2\nshmem 4\nfile_mapped 5\nunevictable 7\n";
    write(&at, "memory.stat", stat);
    write(&at, "memory.current", "60\n");
    write(&at, "memory.swap.current", "6\n");
    write(&at, "pids.current", "5\n");
    write(&at, "cgroup.procs", "");
    let line = "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=3 dios=1\n252:0 \n";
    write(&at, "io.stat", line);
    let usage = group.usage().unwrap();
    let micros = Duration::from_micros;
    let times = (
        usage.cpu.user,
        usage.cpu.system,
        usage.cpu.throttled,
        usage.cpu.burst,
    );
    assert_eq!(
        times,
        (Some(micros(10)), Some(micros(20)), micros(5), micros(2))
    );
    assert_eq!(usage.cpu.limit, milli(1_500));
    assert_eq!(usage.cpu.soft_limit, Milli::from_thousandths(1_500));
    // CT-23, CT-28
    let expected = MemoryStatistics {
        total: 60,
        with_swap: None,
        kernel: Some(8),
        sockets: Some(2),
        limit: Some(64 << 20),
        soft_limit: Some(64 << 20),
        file: 20,
        anonymous: 30,
        mapped_file: 5,
        shared: 4,
        swap: Some(6),
        unevictable: 7,
    };
    assert_eq!(usage.memory, expected);
    let devices = usage.block_io.unwrap();
    let disk = &devices[&(254, 0)];
    assert_eq!(
        (disk.bytes.write, disk.bytes.total, disk.operations.total),
        (8192, 12_291, 4)
    );
    let pressure = group.pressure().unwrap().unwrap();
    assert_eq!((pressure.cpu, pressure.io), (None, None));
    // A controller that was not passed on to us is no harm to who does not ask for it.
    fs::remove_file(at.join("io.stat")).unwrap();
    assert_eq!(group.usage().unwrap().block_io, None);
    group
        .update(&limits(500, 32_000, 7), &Settings::default())
        .unwrap();
    let limited = Settings {
        io_weight: Some(10),
        ..Settings::default()
    };
    let error = group.update(&Limits::default(), &limited).unwrap_err();
    let text = "a weight of block IO needs the controller io: this kernel's groups have none of \
                io.weight, io.bfq.weight";
    assert_eq!(error.to_string(), text);
}
