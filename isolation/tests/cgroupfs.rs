//! The files of control groups, in a plain directory that stands in for the kernel's.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

use tepui_core::resources::Milli;
use tepui_isolation::cgroup::{Hierarchies, Limits, Settings};

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
    let milli = |thousandths| Some(Milli::from_thousandths(thousandths));
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
