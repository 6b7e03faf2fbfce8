//! Persistent volumes on the machine.

use alloc::string::ToString;

use super::operations::res;
use super::*;
use crate::agent::volumes::Volumes;
use crate::ids::OperationId;
use crate::limits;
use crate::protocol::container::{ContainerSpec, VolumeDisk, VolumeSpec};
use crate::protocol::operation::{OperationKind, Order, Owner};
use crate::resources::Access;

fn disk(more: &str, size: u32) -> String {
    format!("disk(eng/db){more}:{size}")
}

fn volume(id: &str, size: u32) -> String {
    disk(&format!(r#"<volume="{id}",rw="data/{id}">"#), size)
}

fn joined() -> Node {
    let mut config = config();
    config.info.resources = res(&format!("cpus:4;mem:1024;{}", disk("", 100)));
    Node::joined_as(config)
}

fn restart(node: Node) -> (Node, Vec<String>) {
    let mut config = config();
    config.info.resources = res(&format!("cpus:4;mem:1024;{}", disk("", 100)));
    let (mut node, outputs) = Node::restart_as(config, node.journal, node.now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    (node, lines(&outputs))
}

fn order(number: u64, kind: OperationKind, before: &str, after: &str) -> Input {
    let id = OperationId::new(&format!("o{number}")).unwrap();
    let framework = fw("f");
    master(ToAgent::Convert(Order {
        number,
        owner: Some(Owner {
            framework,
            id: Some(id),
        }),
        kind,
        before: res(before),
        after: res(after),
    }))
}

fn create(number: u64, id: &str) -> Input {
    order(number, OperationKind::Create, &disk("", 5), &volume(id, 5))
}

fn destroy(number: u64, id: &str) -> Input {
    order(number, OperationKind::Destroy, &volume(id, 5), &disk("", 5))
}

fn deleted(order: u64, is_gone: bool) -> Input {
    Input::VolumesDeleted { order, is_gone }
}

fn with(name: &str, resources: &str) -> TaskInfo {
    TaskInfo {
        resources: res(resources),
        ..task(name)
    }
}

/// The containers that are started.
fn launched(outputs: &Outputs) -> Vec<ContainerSpec> {
    let spec = |output: &Output<AgentRecord, Effect>| match output {
        Output::Effect(Effect::Container(ContainerCommand::Launch { spec, .. })) => {
            Some(spec.clone())
        }
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    };
    outputs.iter().filter_map(spec).collect()
}

fn directories(spec: &ContainerSpec) -> Vec<String> {
    let volumes = spec.volumes.iter();
    volumes.map(|it| it.place.directory.join("/")).collect()
}

#[test]
fn a_container_is_told_of_its_volumes() {
    // RM-41, RM-43, RM-49
    let mut node = joined();
    node.feed(create(1, "v"));
    node.feed(create(2, "w"));
    let read_only = volume("w", 5).replace("rw=\"data", "ro=\"/else");
    let needs = format!("cpus:1;{};{read_only}", volume("v", 5));
    let outputs = node.feed(run("f", with("t", &needs)));
    let [spec] = &launched(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        directories(spec),
        ["eng db/v/rio-1-S0-V1", "eng db/w/rio-1-S0-V2"]
    );
    let seen = |it: &VolumeSpec| (it.path.clone(), it.access, it.place.disk.clone());
    let seen: Vec<_> = spec.volumes.iter().map(seen).collect();
    let data = ("data/v".into(), Access::ReadWrite, None);
    let other = ("/else/w".into(), Access::ReadOnly, None);
    assert_eq!(seen, [data, other]);
    let sizes: Vec<_> = spec.volumes.iter().map(|it| it.size).collect();
    assert_eq!(sizes, [Milli::from_units(5); 2], "CT-38");
    assert_eq!(spec.limits.disk, None, "CT-38: it is apart");
}

#[test]
fn a_volume_is_on_its_disk_or_its_task_is_refused() {
    // RM-40
    let on = |source: &str| {
        let mut config = config();
        let disk = |more: &str| res(&format!("disk(eng)<{source}{more}>:5"));
        let volume = disk(r#",volume="v",rw="data""#);
        let needs = volume.clone();
        config.info.resources =
            Resources::of(disk("").iter().chain(&res("cpus:4")).cloned()).unwrap();
        let mut node = Node::joined_as(config);
        let before = disk("").to_string();
        node.feed(order(
            1,
            OperationKind::Create,
            &before,
            &volume.to_string(),
        ));
        let outputs = node.feed(run(
            "f",
            TaskInfo {
                resources: needs,
                ..task("t")
            },
        ));
        let first = launched(&outputs).first().cloned();
        let place = first.map(|spec| spec.volumes[0].place.disk.clone());
        (place, lines(&outputs))
    };
    let (place, _) = on(r#"path="disks/a""#);
    let root = String::from("disks/a");
    assert_eq!(
        place.flatten(),
        Some(VolumeDisk {
            root,
            is_mount: false
        })
    );
    let (place, _) = on(r#"mount="/mnt/b""#);
    let root = String::from("/mnt/b");
    let is_mount = true;
    assert_eq!(place.flatten(), Some(VolumeDisk { root, is_mount }));
    for source in ["block", "path", "mount"] {
        let (place, lines) = on(source);
        assert_eq!(place, None, "{source}");
        assert!(
            lines
                .iter()
                .any(|line| line.contains("t error task-invalid")),
            "{lines:?}"
        );
    }
}

#[test]
fn a_volume_is_destroyed_once_what_is_on_it_is_deleted() {
    // RM-45
    let mut node = joined();
    node.feed(create(1, "v"));
    let outputs = lines(&node.feed(destroy(2, "v")));
    let said = [
        "* 2 destroy",
        "carried out 2",
        "delete 2: eng db/v/rio-1-S0-V1",
    ];
    assert_eq!(outputs, said);
    // It could not be deleted: that is tried again, and not while it is under way.
    assert_eq!(lines(&node.feed(deleted(2, false))), NOTHING);
    let measured = Input::DiskUsed { permille: 0 };
    let again = lines(&node.feed(measured.clone()));
    assert_eq!(again, ["delete 2: eng db/v/rio-1-S0-V1"]);
    assert_eq!(lines(&node.feed(measured)), NOTHING);
    let outputs = lines(&node.feed(deleted(2, true)));
    assert_eq!(outputs, ["* 2 deleted", "operation 2 o2 finished"]);
    assert_eq!(lines(&node.feed(deleted(2, true))), NOTHING);
}

#[test]
fn deleting_is_begun_again_after_a_restart() {
    // RM-45, AG-61
    let mut node = joined();
    node.feed(create(1, "v"));
    node.feed(destroy(2, "v"));
    let (mut node, first) = restart(node);
    let again = "delete 2: eng db/v/rio-1-S0-V1".into();
    assert!(first.contains(&again), "{first:?}");
    let outputs = lines(&node.join(reregistered(1)));
    let is_told = |lines: &[String]| lines.iter().any(|it| it.starts_with("operation 2"));
    assert!(!is_told(&outputs), "{outputs:?}");
    let outputs = lines(&node.feed(deleted(2, true)));
    assert!(is_told(&outputs), "{outputs:?}");
    let (_, first) = restart(node);
    let deletes = first.iter().any(|line| line.starts_with("delete"));
    assert!(!deletes, "{first:?}");
}

#[test]
fn a_volume_that_is_made_anew_has_another_place() {
    // RM-45
    let mut node = joined();
    node.feed(create(1, "v"));
    node.feed(destroy(2, "v"));
    node.feed(create(3, "v"));
    // What was there before is not deleted yet, and is not waited for.
    let outputs = node.feed(run("f", with("t", &volume("v", 5))));
    assert_eq!(
        directories(&launched(&outputs)[0]),
        ["eng db/v/rio-1-S0-V3"]
    );
    // Nor is it another one when it has grown, or after a restart.
    let before = format!("{};{}", volume("v", 5), disk("", 2));
    node.feed(order(4, OperationKind::Grow, &before, &volume("v", 7)));
    let (mut node, _) = restart(node);
    node.join(reregistered(1));
    let outputs = node.feed(run("f", with("u", &volume("v", 7))));
    assert_eq!(
        directories(&launched(&outputs)[0]),
        ["eng db/v/rio-1-S0-V3"]
    );
}

#[test]
fn nobody_hears_of_what_a_framework_destroyed_that_is_gone() {
    let mut node = joined();
    node.feed(create(1, "v"));
    node.feed(destroy(2, "v"));
    node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    let outputs = lines(&node.feed(deleted(2, true)));
    assert_eq!(outputs, ["* 2 deleted"]);
}

#[test]
fn a_custom_executor_has_the_volumes_that_are_its_own() {
    // RM-41: what would not be seen is refused
    let mut node = joined();
    node.feed(create(1, "v"));
    node.feed(create(2, "w"));
    let by_executor = |name: &str, own: &str, of_executor: &str| {
        let mut task = task_of("e", name);
        task.resources = res(own);
        let executor = task.executor.as_mut().unwrap();
        executor.resources = res(of_executor);
        run("f", task)
    };
    let outputs = lines(&node.feed(by_executor("t", &volume("v", 5), "cpus:1")));
    assert!(
        outputs
            .iter()
            .any(|line| line.contains("t error task-invalid")),
        "{outputs:?}"
    );
    let held = format!("cpus:1;{}", volume("w", 5));
    let outputs = node.feed(by_executor("u", "cpus:1", &held));
    assert_eq!(
        directories(&launched(&outputs)[0]),
        ["eng db/w/rio-1-S0-V2"]
    );
}

#[test]
fn a_volume_that_no_directory_can_be_named_for_is_nowhere() {
    // RM-43, RM-45: it is not seen, and nobody waits for the end of what never was
    let role = "r".repeat(256);
    let free = format!("disk({role}):5");
    let volume = format!(r#"disk({role})<volume="v",rw="data">:5"#);
    let mut config = config();
    config.info.resources = res(&format!("cpus:4;{free}"));
    let mut node = Node::joined_as(config);
    node.feed(order(1, OperationKind::Create, &free, &volume));
    let outputs = node.feed(run("f", with("t", &volume)));
    assert!(launched(&outputs).is_empty(), "{outputs:?}");
    let outputs = lines(&node.feed(order(2, OperationKind::Destroy, &volume, &free)));
    let said = ["* 2 destroy", "carried out 2", "operation 2 o2 finished"];
    assert_eq!(outputs, said);
}

#[test]
fn the_volumes_of_an_agent_with_too_long_a_name_are_nowhere() {
    // RM-43
    let held = res(&volume("v", 5));
    let shown = |agent: &AgentId| Volumes::default().shown(agent, [&held]);
    assert!(shown(&agent_id()).is_ok());
    let long = AgentId::new(&"a".repeat(limits::ID_BYTES)).unwrap();
    assert!(shown(&long).unwrap_err().contains("too long"));
}

#[test]
fn what_cannot_be_deleted_is_bounded_in_bytes() {
    // I22
    let mut node = joined();
    let ids = (0..200).map(|n| format!("{n:0>255}"));
    let all = ids.map(|id| format!(r#"disk(eng/db)<volume="{id}",rw="d">:0.1"#));
    let all = all.collect::<Vec<_>>().join(";");
    let mut out = Outbox::new();
    let mut most = (0, 0);
    for cycle in 0..400 {
        for input in [
            order(2 * cycle + 1, OperationKind::Create, &disk("", 20), &all),
            order(2 * cycle + 2, OperationKind::Destroy, &all, &disk("", 20)),
        ] {
            node.agent.handle(node.now, input, &mut out);
            out.drain().for_each(drop);
        }
        let volumes = node.agent.state().volumes();
        most = most.max((volumes.destroyed_bytes(), volumes.destroyed()));
    }
    node.agent.check().unwrap();
    assert!(most.0 <= limits::DESTROYED_VOLUMES_BYTES, "{most:?}");
    // The bound was met: fewer are known than were destroyed, and than there might be.
    assert!(
        most.0 > limits::DESTROYED_VOLUMES_BYTES / 10 * 9,
        "{most:?}"
    );
    assert!(most.1 < 400, "{most:?}");
    for order in 0..=800 {
        node.agent.handle(node.now, deleted(order, true), &mut out);
        out.drain().for_each(drop);
    }
    node.agent.check().unwrap();
    let volumes = node.agent.state().volumes();
    assert_eq!((volumes.destroyed(), volumes.destroyed_bytes()), (0, 0));
}

#[test]
fn what_cannot_be_deleted_is_bounded() {
    // I22: the oldest stay on the disk
    let mut node = joined();
    let most = limits::DESTROYED_VOLUMES as u64;
    let mut out = Outbox::new();
    for cycle in 0..=most {
        for input in [create(2 * cycle + 1, "v"), destroy(2 * cycle + 2, "v")] {
            node.agent.handle(node.now, input, &mut out);
            out.drain().for_each(drop);
        }
    }
    node.agent.check().unwrap();
    let filled = node.agent.view().filled();
    let volumes = filled.iter().find(|it| it.what == "destroyed volumes");
    assert_eq!(volumes.map(|it| (it.has, it.most)), Some((1_024, 1_024)));
    let mut hears = |input| {
        node.agent.handle(node.now, input, &mut out);
        lines(&out.drain().collect())
    };
    assert_eq!(hears(deleted(2, true)), NOTHING, "given up");
    let says = ["* 4 deleted", "operation 4 o4 finished"];
    assert_eq!(hears(deleted(4, true)), says);
}
