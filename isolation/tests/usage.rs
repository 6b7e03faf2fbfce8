//! Samples of what containers use: for real, as root.

#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{Agent, config, eventually, id, sh, skipped, spec};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{ContainerLimits, ContainerSpec};
use tepui_core::resources::Milli;
use tepui_isolation::cgroup::{Hierarchies, Limits, Settings};
use tepui_isolation::isolators::{DiskRule, Disks};
use tepui_isolation::network::Namespaces;
use tepui_isolation::{Mode, Sampler};

/// Whether containers are possible, with control groups.
fn can_contain() -> bool {
    let detected = Mode::detect();
    let is_possible = detected.mode == Mode::Container && detected.unenforced.is_empty();
    if !is_possible {
        skipped(&detected.reason);
    }
    is_possible
}

// CT-27, CT-28, CT-78 to CT-82
#[test]
fn a_sample_tells_what_a_container_uses() {
    if !can_contain() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), Mode::Container);
    let rule = DiskRule {
        interval: Duration::from_millis(20),
        ..DiskRule::default()
    };
    let disks = Disks::new(rule, dir.path(), dir.path().join("disks")).unwrap();
    let namespaces = Namespaces::open(dir.path().join("netns")).unwrap();
    let sampler = Sampler::new(&config.cgroup_root).unwrap();
    let sampler = sampler
        .with_disks(disks.meter())
        .with_networks(namespaces.clone());
    let agent = Agent::isolated(config, vec![Box::new(disks)]);
    let limits = ContainerLimits {
        cpus: Some(Milli::from_units(2)),
        mem: Some(Milli::from_units(64)),
        disk: Some(Milli::from_units(100)),
        ..ContainerLimits::default()
    };
    let script = "head -c 4194304 /dev/zero > big; echo > done; while :; do :; done";
    let busy = ContainerSpec {
        limits,
        ..spec(&id(1), sh(script))
    };
    agent.launch_spec(&id(1), busy);
    agent.started();
    agent.launch(&id(2), sh("sleep 1000 & sleep 1000"));
    agent.started();
    namespaces.make(&id(2)).unwrap();
    let sample = || sampler.sample(&[id(1), id(2), id(3)]);
    eventually("it has used CPU time, and its disk is known", || {
        let first = sample().swap_remove(0).unwrap();
        let cpu = first.usage.cpu.user.unwrap_or_default();
        let disk = first.disk.as_ref().and_then(|disk| disk.used);
        cpu > Duration::from_millis(100) && disk.is_some_and(|used| used >= 4 << 20)
    });
    eventually("the other has its processes", || {
        sample()[1].as_ref().unwrap().usage.processes >= 3
    });
    let mut samples = sample().into_iter();
    let first = samples.next().unwrap().unwrap();
    assert_eq!(first.usage.cpu.limit, Some(Milli::from_units(2)));
    assert_eq!(first.usage.memory.limit, Some(64 << 20));
    assert!(first.usage.memory.total > 0);
    // Its init and its program.
    assert_eq!(first.usage.processes, 2);
    assert_eq!(first.disk.unwrap().limit, Some(100 << 20));
    assert_eq!(first.network, None);
    let second = samples.next().unwrap().unwrap();
    assert!(second.usage.cpu.user.unwrap_or_default() < Duration::from_secs(1));
    assert!(second.network.is_some());
    assert!(samples.next().unwrap().is_err());
    namespaces.remove(&id(2)).unwrap();
    agent.shutdown();
    assert!(sample().iter().all(Result::is_err));
}

/// Groups of a test, which go with it.
struct Many {
    hierarchies: Hierarchies,
    root: String,
    ids: Vec<ContainerId>,
}

impl Drop for Many {
    fn drop(&mut self) {
        for id in &self.ids {
            let group = self.hierarchies.group(&self.root, id.as_str()).unwrap();
            eventually("an empty group is removed", || group.remove().is_ok());
        }
        self.hierarchies.remove_root(&self.root).unwrap();
    }
}

// CT-78
#[test]
fn a_thousand_containers_are_sampled_soon() {
    if !can_contain() {
        return;
    }
    let many = Many {
        hierarchies: Hierarchies::detect().unwrap(),
        root: format!("tepui-test-usage-{}", std::process::id()),
        ids: (0..1000).map(id).collect(),
    };
    many.hierarchies.prepare(&many.root).unwrap();
    for id in &many.ids {
        let group = many.hierarchies.group(&many.root, id.as_str()).unwrap();
        group
            .create(&Limits::default(), &Settings::default())
            .unwrap();
    }
    let sampler = Sampler::new(&many.root).unwrap();
    let quickest = (0..5).map(|_| {
        let begin = Instant::now();
        assert!(sampler.sample(&many.ids).iter().all(Result::is_ok));
        begin.elapsed()
    });
    let quickest = quickest.min().unwrap();
    println!("1,000 containers in {quickest:?}");
    // Far more than on idle cores, for those that are shared with much else.
    assert!(quickest < Duration::from_secs(5), "{quickest:?}");
}
