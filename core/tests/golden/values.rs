//! The words that messages are made of: enums with few fields, or none.

use tepui_core::auth::PeerRole;
use tepui_core::protocol::agent::OutputFile;
use tepui_core::protocol::check::{CheckStatus, Family, Probe, ProbeOutcome};
use tepui_core::protocol::container_info::{
    Access, Capability, IpcMode, Propagation, RlimitKind, Seccomp, Secret, Transport, VolumeSource,
};
use tepui_core::protocol::discovery::Visibility;
use tepui_core::protocol::disk::{DiskChange, DiskOutcome, DiskTarget};
use tepui_core::protocol::events::Kind;
use tepui_core::protocol::hello::CloseReason;
use tepui_core::protocol::maintenance::MachineMode;
use tepui_core::protocol::node::AgentLoss;
use tepui_core::protocol::operation::{OperationKind, OperationState};
use tepui_core::protocol::refusal::{CallKind, EndReason, RejectKind};
use tepui_core::protocol::status::{Exit, Limited, Reason, Source, TaskState};
use tepui_core::protocol::task::{ExecutorKind, Limit};
use tepui_core::resources::operations::{Formatted, MadeDisk, Returned};
use tepui_core::resources::{Labels, Milli};

use super::parts::{change, check, command, disk, health_check, image};
use super::{Golden, samples, words};

pub(super) fn note(golden: &mut Golden) {
    with_fields(golden);
    of_statuses(golden);
    of_refusals(golden);
    of_others(golden);
}

fn with_fields(golden: &mut Golden) {
    samples!(golden, EndReason {
        NotSubscribed => EndReason::NotSubscribed,
        AlreadySubscribed => EndReason::AlreadySubscribed,
        Invalid => EndReason::Invalid(RejectKind::Nul),
        FailedOver => EndReason::FailedOver,
        TornDown => EndReason::TornDown,
        TimedOut => EndReason::TimedOut,
        Replaced => EndReason::Replaced,
        Removed => EndReason::Removed,
        SomebodyElses => EndReason::SomebodyElses,
        OtherCluster => EndReason::OtherCluster,
        TooManyFrameworks => EndReason::TooManyFrameworks,
    });
    samples!(golden, Exit {
        Code => Exit::Code(-300),
        Signal => Exit::Signal(9),
    });
    samples!(golden, Limit {
        Amount => Limit::Amount(Milli::from_units(1)),
        Unlimited => Limit::Unlimited,
    });
    samples!(golden, DiskChange {
        Create => change(),
        Destroy => DiskChange::Destroy { source: disk() },
    });
    let formatted = Formatted::Mount {
        root: Some("/m".into()),
    };
    let made = MadeDisk {
        formatted: formatted.clone(),
        id: Some("d".into()),
        metadata: Labels::new(),
    };
    samples!(golden, DiskOutcome {
        Made => DiskOutcome::Made(made.clone()),
        Returned => DiskOutcome::Returned(Returned::ToRaw),
        Failed => DiskOutcome::Failed("why".into()),
    });
    samples!(golden, Formatted {
        Mount => formatted.clone(),
        Block => Formatted::Block,
    });
    words!(
        golden,
        Returned {
            ToPool,
            ToRaw,
            Gone,
        }
    );
}

fn of_statuses(golden: &mut Golden) {
    words!(
        golden,
        TaskState {
            Staging,
            Starting,
            Running,
            Killing,
            Finished,
            Failed,
            Killed,
            Error,
            Dropped,
            Unreachable,
            Gone,
            GoneByOperator,
            Unknown,
        }
    );
    words!(
        golden,
        Source {
            Master,
            Agent,
            Executor,
        }
    );
    words!(
        golden,
        Reason {
            ContainerLaunchFailed,
            ContainerLimitationMemory,
            ContainerLimitationPids,
            CommandFailed,
            TaskKilledDuringLaunch,
            TaskInvalid,
            InvalidOffers,
            AgentDisconnected,
            AgentRemoved,
            AgentRestarted,
            AgentReregistered,
            FrameworkRemoved,
            ExecutorTerminated,
            Reconciliation,
            ResourcesUnknown,
            MaxCompletionTimeReached,
            ExecutorRegistrationTimeout,
            ExecutorReregistrationTimeout,
            AgentRemovedByOperator,
            AgentDraining,
            TaskGroupInvalid,
            FrameworkUnknown,
            ContainerUpdateFailed,
            ContainerLimitation,
            ContainerLimitationDisk,
            TaskCheckStatusUpdated,
            TaskHealthCheckStatusUpdated,
        }
    );
    words!(
        golden,
        Limited {
            Memory,
            Pids,
            Disk,
            Ports,
        }
    );
    of_containers(golden);
}

fn of_containers(golden: &mut Golden) {
    samples!(golden, VolumeSource {
        Host => VolumeSource::Host {
            path: "/srv".into(),
            propagation: Propagation::HostToContainer,
        },
        Sandbox => VolumeSource::Sandbox { path: "s".into() },
        Parent => VolumeSource::Parent { path: "p".into() },
        Image => VolumeSource::Image(image()),
        Secret => VolumeSource::Secret(Secret(vec![1, 2])),
        Tmpfs => VolumeSource::Tmpfs { size: 64 },
    });
    samples!(golden, Probe {
        Command => Probe::Command(Box::new(command())),
        Http => health_check().probe,
        Tcp => check().probe,
    });
    samples!(golden, CheckStatus {
        Command => CheckStatus::Command { exit_code: Some(-1) },
        Http => CheckStatus::Http { status_code: Some(200) },
        Tcp => CheckStatus::Tcp { succeeded: Some(true) },
    });
    samples!(golden, ProbeOutcome {
        Exited => ProbeOutcome::Exited(Exit::Signal(9)),
        Answered => ProbeOutcome::Answered(300),
        Accepted => ProbeOutcome::Accepted(true),
        Failed => ProbeOutcome::Failed("why".into()),
        TimedOut => ProbeOutcome::TimedOut,
    });
    samples!(golden, Seccomp {
        Default => Seccomp::Default,
        Unconfined => Seccomp::Unconfined,
        Profile => Seccomp::Profile("p".into()),
    });
    words!(
        golden,
        Propagation {
            Private,
            HostToContainer,
            Bidirectional,
        }
    );
    words!(golden, Access { Read, Write });
    words!(golden, Transport { Tcp, Udp });
    words!(
        golden,
        IpcMode {
            Private,
            ShareParent
        }
    );
    words!(golden, Family { V4, V6 });
    for capability in Capability::ALL {
        golden.note(&format!("Capability::{}", capability.as_str()), capability);
    }
    for kind in RlimitKind::ALL {
        golden.note(&format!("RlimitKind::{}", kind.as_str()), kind);
    }
}

fn of_refusals(golden: &mut Golden) {
    words!(
        golden,
        RejectKind {
            Empty,
            TooLong,
            Nul,
            TooMany,
            VariableName,
            NothingToRun,
            TwiceToRun,
            TooLarge,
            Doubled,
            NoResources,
            NotOffered,
            OtherAgent,
            OtherRole,
            Overflow,
            NotContained,
            NotAResource,
            SeveralProviders,
            NotDynamic,
            IsVolume,
            IsRevocable,
            SeveralReservations,
            NotTheSame,
            NotAVolume,
            ReadOnly,
            VolumeExists,
            StillShared,
            Unfit,
            OtherDisk,
            BadAmount,
            WrongPrincipal,
            WrongRole,
            LimitTooLow,
            PartOfDevice,
            Mixed,
            Shared,
            NotConfigurable,
            NoPort,
            InUse,
            ForeignRole,
            Unchangeable,
            Malformed,
            Needs,
            TooShort,
        }
    );
    words!(
        golden,
        CallKind {
            Subscribe,
            Teardown,
            Accept,
            Decline,
            Suppress,
            Revive,
            Kill,
            Acknowledge,
            AcknowledgeOperation,
            ReconcileOperations,
            Update,
            Reconcile,
            Message,
            ShutdownExecutor,
            Demand,
            AcceptInverse,
            DeclineInverse,
        }
    );
}

fn of_others(golden: &mut Golden) {
    words!(
        golden,
        OperationKind {
            Reserve,
            Unreserve,
            Create,
            Destroy,
            Grow,
            Shrink,
            CreateDisk,
            DestroyDisk,
        }
    );
    words!(
        golden,
        OperationState {
            Pending,
            Finished,
            Failed,
            Error,
            Dropped,
            Unreachable,
            GoneByOperator,
            Recovering,
            Unknown,
        }
    );
    words!(
        golden,
        CloseReason {
            ShuttingDown,
            ProtocolVersion,
            FrameVersion,
            FrameTooLarge,
            Truncated,
            Malformed,
            WrongRole,
            WrongCluster,
            StaleEpoch,
            Certificate,
            Overloaded,
            Replaced,
            IdleTimeout,
            HelloTimeout,
            Denied,
            Crowded,
            Maintenance,
        }
    );
    words!(
        golden,
        Kind {
            Agents,
            Frameworks,
            Executors,
            Tasks,
            Offers,
            Roles,
            Operations,
            Gone,
            Ended,
            Completed,
            Machines,
            Down,
            InverseOffers,
        }
    );
    words!(
        golden,
        AgentLoss {
            Unreachable,
            Gone,
            Removed,
        }
    );
    words!(golden, MachineMode { Up, Draining, Down });
    words!(golden, DiskTarget { Mount, Block });
    words!(golden, OutputFile { Stdout, Stderr });
    words!(
        golden,
        Visibility {
            Framework,
            Cluster,
            External
        }
    );
    words!(golden, ExecutorKind { Custom, BuiltIn });
    words!(
        golden,
        PeerRole {
            Master,
            Agent,
            Framework,
            Operator,
        }
    );
}
