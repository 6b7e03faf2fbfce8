//! What samples are made of. Each optional part is there, so that its layout counts.

use std::time::Duration;

use tepui_core::ids::{
    AgentId, ContainerId, ExecutorId, FrameworkId, MasterId, OfferId, OperationId, TaskId, UpdateId,
};
use tepui_core::protocol::check::{
    CheckInfo, CheckStatus, Family, HealthCheck, HttpProbe, Probe, Rhythm,
};
use tepui_core::protocol::container_info::{
    Access, Capability, ContainerInfo, Dns, Image, IpcMode, LogBounds, NetworkInfo, PortMapping,
    Rlimit, RlimitKind, Seccomp, Security, Terminal, Transport, Uri, Volume, VolumeSource,
};
use tepui_core::protocol::discovery::{DiscoveryInfo, DiscoveryPort, Visibility};
use tepui_core::protocol::disk::{DiskChange, DiskJob, DiskTarget};
use tepui_core::protocol::framework::{Capabilities, FrameworkInfo, Wishes};
use tepui_core::protocol::maintenance::{MachineId, Unavailability};
use tepui_core::protocol::node::{AgentInfo, Domain};
use tepui_core::protocol::offer::{InverseOffer, Offer, TaskGroup};
use tepui_core::protocol::operation::{
    OperationKind, OperationState, OperationStatus, Order, Owner,
};
use tepui_core::protocol::refusal::RejectKind;
use tepui_core::protocol::status::{
    Breach, Exit, Limited, Observed, Reason, Source, TaskState, TaskStatus,
};
use tepui_core::protocol::task::{
    CommandInfo, ExecutorInfo, ExecutorKind, Limit, Limits, TaskInfo,
};
use tepui_core::quota::Quota;
use tepui_core::resources::{Label, Labels, Milli, Resource, Resources};
use tepui_core::roles::Role;
use tepui_core::time::Time;

pub(super) const DISK: &str = r#"disk(*)<raw,profile="fast",provider="store">:4"#;

pub(super) fn agent() -> AgentId {
    AgentId::new("c-1-S2").unwrap()
}

pub(super) fn framework() -> FrameworkId {
    FrameworkId::new("c-1-0003").unwrap()
}

pub(super) fn executor() -> ExecutorId {
    ExecutorId::new("e").unwrap()
}

pub(super) fn task() -> TaskId {
    TaskId::new("t").unwrap()
}

pub(super) fn operation() -> OperationId {
    OperationId::new("o").unwrap()
}

pub(super) fn offer_id() -> OfferId {
    OfferId::new("c-1-O4").unwrap()
}

pub(super) fn master() -> MasterId {
    MasterId::of("c", 1).unwrap()
}

pub(super) fn container() -> ContainerId {
    ContainerId::numbered(300)
}

pub(super) const fn update() -> UpdateId {
    UpdateId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)
}

pub(super) const fn at() -> Time {
    Time::from_micros(1_700_000_000_000_000)
}

pub(super) const fn grace() -> Duration {
    Duration::from_millis(5_250)
}

pub(super) fn role() -> Role {
    "eng/web".parse().unwrap()
}

pub(super) fn resources() -> Resources {
    "cpus:1.5;mem:64;ports:[31000-31001]".parse().unwrap()
}

pub(super) fn disk() -> Resource {
    let bag: Resources = DISK.parse().unwrap();
    bag.iter().next().unwrap().clone()
}

pub(super) fn domain() -> Domain {
    Domain {
        region: "eu".into(),
        zone: "a".into(),
    }
}

pub(super) fn agent_info() -> AgentInfo {
    AgentInfo {
        attributes: "rack:r1".parse().unwrap(),
        domain: Some(domain()),
        ..AgentInfo::new("box", "10.0.0.1:5051", resources())
    }
}

pub(super) fn framework_info() -> FrameworkInfo {
    FrameworkInfo {
        id: Some(framework()),
        roles: vec![role()],
        principal: Some("web".into()),
        failover_timeout: grace(),
        user: Some("nobody".into()),
        capabilities: Capabilities::GPUS,
        min_allocatable: [(role(), vec!["cpus:1".parse().unwrap()])].into(),
        hostname: "box".into(),
        webui_url: "http://box".into(),
        ..FrameworkInfo::new("web")
    }
}

pub(super) fn wishes() -> Wishes {
    Wishes {
        suppressed: [role()].into(),
        ..Wishes::default()
    }
}

pub(super) fn command() -> CommandInfo {
    CommandInfo {
        environment: vec![("A".into(), "b".into())],
        user: Some("nobody".into()),
        uris: vec![uri()],
        ..CommandInfo::exec("true", ["-x"])
    }
}

pub(super) fn uri() -> Uri {
    Uri {
        value: "http://a/b.tgz".into(),
        executable: true,
        extract: true,
        cache: true,
        output_file: Some("c".into()),
        checksum: Some("sha256:00".into()),
    }
}

pub(super) fn image() -> Image {
    Image {
        reference: "a/b:1".into(),
        cached: true,
    }
}

pub(super) fn volume(source: VolumeSource) -> Volume {
    Volume {
        path: "/data".into(),
        access: Access::Write,
        source,
    }
}

pub(super) fn network() -> NetworkInfo {
    NetworkInfo {
        name: "net".into(),
        addresses: vec!["10.0.0.2".into()],
        ports: vec![PortMapping {
            host: 31_000,
            container: 80,
            protocol: Transport::Udp,
        }],
        labels: labels(),
    }
}

pub(super) fn container_info() -> ContainerInfo {
    ContainerInfo {
        image: Some(image()),
        read_only_root: true,
        volumes: vec![volume(VolumeSource::Sandbox { path: "s".into() })],
        networks: vec![network()],
        hostname: Some("web".into()),
        dns: Some(Dns {
            nameservers: vec!["10.0.0.1".into()],
            search: vec!["a.b".into()],
            options: vec!["rotate".into()],
        }),
        security: Security {
            effective: Some([Capability::Chown].into()),
            bounding: Some([Capability::Chown, Capability::Kill].into()),
            no_new_privileges: true,
            seccomp: Seccomp::Profile("p".into()),
        },
        rlimits: vec![Rlimit {
            kind: RlimitKind::Nofile,
            bounds: Some((100, 300)),
        }],
        ipc: IpcMode::Private,
        shm_size: Some(64),
        share_pid_namespace: true,
        terminal: Some(Terminal {
            rows: 24,
            columns: 80,
        }),
        interactive: true,
        logs: Some(LogBounds { size: 10, files: 5 }),
    }
}

pub(super) fn check() -> CheckInfo {
    CheckInfo {
        probe: Probe::Tcp {
            port: 80,
            family: Family::V6,
        },
        rhythm: Rhythm::default(),
    }
}

pub(super) fn health_check() -> HealthCheck {
    HealthCheck::new(Probe::Http(HttpProbe {
        tls: true,
        port: 80,
        path: "/up".into(),
        family: Family::V4,
    }))
}

pub(super) fn observed() -> Observed {
    Observed {
        healthy: Some(true),
        check: Some(CheckStatus::Tcp {
            succeeded: Some(true),
        }),
        addresses: vec!["10.0.0.2".into()],
    }
}

pub(super) fn labels() -> Labels {
    Labels::try_from(vec![Label::new("tier", "gold")]).unwrap()
}

pub(super) fn discovery() -> DiscoveryInfo {
    DiscoveryInfo {
        visibility: Visibility::Cluster,
        name: Some("web".into()),
        environment: Some("test".into()),
        location: Some("eu".into()),
        version: Some("2".into()),
        ports: vec![DiscoveryPort {
            number: 31_000,
            name: Some("metrics".into()),
            protocol: Some("tcp".into()),
            visibility: Some(Visibility::External),
            labels: labels(),
        }],
        labels: labels(),
    }
}

pub(super) fn executor_info() -> ExecutorInfo {
    ExecutorInfo {
        kind: ExecutorKind::BuiltIn,
        shutdown_grace: Some(grace()),
        labels: labels(),
        discovery: Some(Box::new(discovery())),
        container: Some(Box::new(container_info())),
        ..ExecutorInfo::new(executor(), resources(), command())
    }
}

pub(super) fn task_info() -> TaskInfo {
    TaskInfo {
        command: Some(command()),
        executor: Some(executor_info()),
        data: vec![1, 2],
        kill_grace: Some(grace()),
        pids: Some(10),
        limits: Limits {
            cpus: Some(Limit::Unlimited),
            mem: Some(Limit::Amount(Milli::from_units(128))),
        },
        max_completion: Some(grace()),
        labels: labels(),
        discovery: Some(Box::new(discovery())),
        container: Some(Box::new(container_info())),
        check: Some(Box::new(check())),
        health_check: Some(Box::new(health_check())),
        ..TaskInfo::new(task(), agent(), resources())
    }
}

pub(super) fn group() -> TaskGroup {
    let (executor, tasks) = (executor_info(), vec![task_info()]);
    TaskGroup { executor, tasks }
}

pub(super) fn status() -> TaskStatus {
    TaskStatus {
        reason: Some(Reason::ContainerLimitationMemory),
        message: "why".into(),
        agent: Some(agent()),
        update: Some(update()),
        exit: Some(Exit::Signal(9)),
        breach: Some(Breach {
            resource: Limited::Memory,
            limit: Milli::from_units(64),
            used: Milli::from_units(65),
        }),
        observed: Some(Box::new(observed())),
        ..TaskStatus::new(task(), TaskState::Failed, Source::Executor, at())
    }
}

pub(super) fn operation_status() -> OperationStatus {
    OperationStatus {
        reason: Some(RejectKind::NotContained),
        message: "why".into(),
        converted: resources(),
        agent: Some(agent()),
        update: Some(update()),
        ..OperationStatus::new(operation(), OperationState::Failed, at())
    }
}

pub(super) fn owner() -> Owner {
    Owner {
        framework: framework(),
        id: Some(operation()),
    }
}

pub(super) fn order() -> Order {
    Order {
        number: 7,
        owner: Some(owner()),
        kind: OperationKind::Reserve,
        before: resources(),
        after: r#"cpus(*)<dynamic="eng">:1"#.parse().unwrap(),
    }
}

pub(super) fn change() -> DiskChange {
    DiskChange::Create {
        source: disk(),
        target: DiskTarget::Block,
        profile: Some("fast".parse().unwrap()),
    }
}

pub(super) fn job() -> DiskJob {
    DiskJob {
        number: 8,
        owner: owner(),
        change: change(),
    }
}

pub(super) fn unavailability() -> Unavailability {
    Unavailability {
        start: at(),
        duration: Some(grace()),
    }
}

pub(super) fn machine() -> MachineId {
    MachineId {
        hostname: "box".into(),
        ip: Some("10.0.0.1".parse().unwrap()),
    }
}

pub(super) fn offer() -> Offer {
    Offer {
        role: role(),
        hostname: "box".into(),
        address: "10.0.0.1:5051".into(),
        attributes: "rack:r1".parse().unwrap(),
        domain: Some(domain()),
        executors: vec![executor()],
        unavailability: Some(unavailability()),
        ..Offer::new(offer_id(), framework(), agent(), resources())
    }
}

pub(super) fn inverse_offer() -> InverseOffer {
    InverseOffer {
        id: offer_id(),
        framework: framework(),
        agent: agent(),
        hostname: "box".into(),
        resources: resources(),
        unavailability: unavailability(),
    }
}

pub(super) fn quota() -> Quota {
    Quota {
        limits: "cpus:9".parse().unwrap(),
        ..Quota::default()
    }
}
