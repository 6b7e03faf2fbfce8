//! What frameworks, agents, executors, containers and providers of disks say and hear.

use std::time::Duration;

use tepui_core::auth::PeerRole;
use tepui_core::demand::{Demand, Shape};
use tepui_core::protocol::agent::{
    ExecutorReport, GroupOrder, OutputFile, Read, TaskReport, ToAgent, ToMaster,
};
use tepui_core::protocol::check::ProbeOutcome;
use tepui_core::protocol::container::{
    ContainerCommand, ContainerEvent, ContainerLimits, ContainerSpec, VolumeDisk, VolumePlace,
    VolumeSpec,
};
use tepui_core::protocol::container_info::Terminal;
use tepui_core::protocol::disk::{DiskCommand, DiskEnd, DiskEvent, DiskJobId, DiskOutcome};
use tepui_core::protocol::enter::{Attach, Enter, Refusal, Wanted};
use tepui_core::protocol::hello::Hello;
use tepui_core::protocol::node::AgentLoss;
use tepui_core::protocol::offer::Operation;
use tepui_core::protocol::operation::{Conversion, Converted};
use tepui_core::protocol::refusal::{CallKind, EndReason, RejectKind};
use tepui_core::protocol::status::{Exit, TaskState};
use tepui_core::protocol::task::CommandInfo;
use tepui_core::protocol::{enter, executor, scheduler, usage};
use tepui_core::resources::{Access, Milli, Ranges};

use super::parts::*;
use super::{Golden, samples};

pub(super) fn note(golden: &mut Golden) {
    calls(golden);
    events(golden);
    to_masters(golden);
    to_agents(golden);
    executors(golden);
    containers(golden);
    disks(golden);
    let hello = Hello {
        cluster: Some("c".into()),
        epoch: 300,
        capabilities: 1,
        ..Hello::new(PeerRole::Agent, "a")
    };
    // Who has another version of the protocol reads this too.
    let hello = Hello {
        protocol_min: 1,
        protocol_max: 2,
        ..hello
    };
    golden.note("Hello", &hello);
    let read = Read {
        framework: framework(),
        task: task(),
        file: OutputFile::Stderr,
        offset: 300,
        follow: true,
    };
    golden.note("Read", &read);
    entering(golden);
}

fn entering(golden: &mut Golden) {
    let terminal = Terminal {
        rows: 24,
        columns: 300,
    };
    let reason = || "why".to_owned();
    samples!(golden, enter::Opening {
        Containers => enter::Opening::Containers(Wanted::Attach(Attach {
            framework: framework(),
            task: task(),
            input: true,
        })),
    });
    samples!(golden, Wanted {
        Enter => Wanted::Enter(Box::new(Enter {
            framework: framework(),
            task: task(),
            command: CommandInfo::exec("sh", ["-i"]),
            terminal: Some(terminal),
        })),
        Attach => Wanted::Attach(Attach {
            framework: framework(),
            task: task(),
            input: false,
        }),
        Usage => Wanted::Usage,
    });
    samples!(golden, usage::Answer {
        Container => usage::Answer::Container(Box::new(usage::ContainerUsage {
            framework: framework(),
            holder: usage::Holder::Task(task()),
            container: container(),
            statistics: "{}".to_owned(),
        })),
        Refused => usage::Answer::Refused(Refusal::Unsupported(reason())),
        End => usage::Answer::End,
    });
    samples!(golden, usage::Holder {
        Task => usage::Holder::Task(task()),
        Executor => usage::Holder::Executor(executor()),
    });
    samples!(golden, enter::Input {
        Bytes => enter::Input::Bytes(vec![1, 2]),
        End => enter::Input::End,
        Resize => enter::Input::Resize(terminal),
        Signal => enter::Input::Signal(15),
    });
    samples!(golden, enter::Output {
        Started => enter::Output::Started,
        Refused => enter::Output::Refused(Refusal::NotRunning(reason())),
        Stdout => enter::Output::Stdout(vec![1, 2]),
        Stderr => enter::Output::Stderr(vec![3]),
        Ended => enter::Output::Ended(Exit::Signal(9)),
        Lost => enter::Output::Lost,
    });
    samples!(golden, Refusal {
        NotRunning => Refusal::NotRunning(reason()),
        Denied => Refusal::Denied(reason()),
        Unsupported => Refusal::Unsupported(reason()),
        Invalid => Refusal::Invalid(reason()),
        Failed => Refusal::Failed(reason()),
        TooMany => Refusal::TooMany(reason()),
    });
}

fn calls(golden: &mut Golden) {
    let (framework, wishes) = (framework_info(), wishes());
    let (offers, refuse) = (vec![offer_id()], Some(grace()));
    let shape = Shape::new("cpus:1".parse().unwrap(), 3).unwrap();
    samples!(golden, scheduler::Call {
        Subscribe => scheduler::Call::Subscribe {
            framework: framework.clone(),
            wishes: wishes.clone(),
        },
        Teardown => scheduler::Call::Teardown,
        Accept => scheduler::Call::Accept {
            offers: offers.clone(),
            operations: vec![Operation::Launch(vec![task_info()])],
            refuse,
        },
        Decline => scheduler::Call::Decline { offers: offers.clone(), refuse },
        Suppress => scheduler::Call::Suppress { roles: vec![role()] },
        Revive => scheduler::Call::Revive { roles: vec![role()] },
        Kill => scheduler::Call::Kill { task: task(), grace: Some(grace()) },
        Acknowledge => scheduler::Call::Acknowledge {
            agent: agent(),
            task: task(),
            update: update(),
        },
        AcknowledgeOperation => scheduler::Call::AcknowledgeOperation {
            id: operation(),
            update: update(),
        },
        ReconcileOperations => scheduler::Call::ReconcileOperations {
            operations: vec![(operation(), Some(agent()))],
        },
        Update => scheduler::Call::Update { framework: framework.clone(), wishes: wishes.clone() },
        Reconcile => scheduler::Call::Reconcile { tasks: vec![(task(), Some(agent()))] },
        Message => scheduler::Call::Message {
            agent: agent(),
            executor: executor(),
            data: vec![1, 2],
        },
        ShutdownExecutor => scheduler::Call::ShutdownExecutor {
            agent: agent(),
            executor: executor(),
        },
        Demand => scheduler::Call::Demand {
            role: role(),
            demand: Some(Demand::new(vec![shape.clone()]).unwrap()),
        },
        AcceptInverse => scheduler::Call::AcceptInverse { offers: offers.clone(), refuse },
        DeclineInverse => scheduler::Call::DeclineInverse { offers: offers.clone(), refuse },
    });
}

fn events(golden: &mut Golden) {
    samples!(golden, scheduler::Event {
        Subscribed => scheduler::Event::Subscribed {
            framework: framework(),
            master: master(),
            epoch: 300,
            heartbeat: grace(),
            domain: Some(domain()),
        },
        Heartbeat => scheduler::Event::Heartbeat,
        Offers => scheduler::Event::Offers(vec![offer()]),
        Rescind => scheduler::Event::Rescind(offer_id()),
        Update => scheduler::Event::Update(status()),
        Error => scheduler::Event::Error {
            reason: EndReason::Invalid(RejectKind::TooLong),
            message: "why".into(),
        },
        Rejected => scheduler::Event::Rejected {
            call: CallKind::Accept,
            reason: RejectKind::TooMany,
            message: "why".into(),
        },
        OperationUpdate => scheduler::Event::OperationUpdate(operation_status()),
        Updated => scheduler::Event::Updated,
        Reconciled => scheduler::Event::Reconciled(vec![status()]),
        Message => scheduler::Event::Message(scheduler::ExecutorMessage {
            agent: agent(),
            executor: executor(),
            data: vec![1, 2],
        }),
        ExecutorEnded => scheduler::Event::ExecutorEnded(scheduler::ExecutorEnd {
            agent: agent(),
            executor: executor(),
            exit: Some(Exit::Code(-1)),
        }),
        InverseOffers => scheduler::Event::InverseOffers(vec![inverse_offer()]),
        RescindInverse => scheduler::Event::RescindInverse(offer_id()),
        AgentLost => scheduler::Event::AgentLost { agent: agent(), why: AgentLoss::Gone },
        Unheard => scheduler::Event::Unheard { call: CallKind::Demand, roles: vec![role()] },
    });
}

fn to_masters(golden: &mut Golden) {
    let tasks = vec![TaskReport {
        healthy: Some(true),
        check: Some(check().probe.unknown()),
        ..TaskReport::new(framework(), role(), &task_info(), TaskState::Running)
    }];
    let frameworks = vec![framework_info()];
    samples!(golden, ToMaster {
        Register => ToMaster::Register { agent: agent_info() },
        Reregister => ToMaster::Reregister {
            id: agent(),
            agent: agent_info(),
            frameworks: frameworks.clone(),
            tasks: tasks.clone(),
        },
        Pong => ToMaster::Pong,
        Update => ToMaster::Update {
            framework: framework(),
            status: status(),
            latest: TaskState::Failed,
        },
        Report => ToMaster::Report { frameworks: frameworks.clone(), tasks: tasks.clone() },
        Converted => ToMaster::Converted(Converted {
            last: 7,
            before: resources(),
            after: order().after,
        }),
        CarriedOut => ToMaster::CarriedOut { last: 300 },
        OperationUpdate => ToMaster::OperationUpdate {
            number: 7,
            framework: framework(),
            status: operation_status(),
        },
        Message => ToMaster::Message {
            framework: framework(),
            executor: executor(),
            data: vec![1, 2],
        },
        ExecutorEnded => ToMaster::ExecutorEnded {
            framework: framework(),
            executor: executor(),
            exit: Some(Exit::Code(1)),
        },
        Unregister => ToMaster::Unregister,
        DiskEnded => ToMaster::DiskEnded {
            job: job(),
            outcome: DiskOutcome::Failed("why".into()),
        },
        Executors => ToMaster::Executors(vec![ExecutorReport {
            framework: framework(),
            role: role(),
            executor: executor_info(),
        }]),
        DiskJobs => ToMaster::DiskJobs(vec![job()]),
    });
}

fn to_agents(golden: &mut Golden) {
    samples!(golden, ToAgent {
        Registered => ToAgent::Registered {
            id: agent(),
            master: master(),
            epoch: 300,
            ping_timeout: grace(),
        },
        Reregistered => ToAgent::Reregistered {
            id: agent(),
            master: master(),
            epoch: 300,
            ping_timeout: grace(),
        },
        Refused => ToAgent::Refused("why".into()),
        Ping => ToAgent::Ping,
        RunTask => ToAgent::RunTask {
            framework: framework(),
            role: role(),
            task: task_info(),
            starts_executor: true,
        },
        KillTask => ToAgent::KillTask {
            framework: framework(),
            task: task(),
            grace: Some(grace()),
        },
        ShutdownFramework => ToAgent::ShutdownFramework(framework()),
        Acknowledge => ToAgent::Acknowledge {
            framework: framework(),
            task: task(),
            update: update(),
        },
        Missing => ToAgent::Missing(vec![(framework(), task())]),
        Convert => ToAgent::Convert(order()),
        AcknowledgeOperation => ToAgent::AcknowledgeOperation { number: 7, update: update() },
        Shutdown => ToAgent::Shutdown("why".into()),
        Drain => ToAgent::Drain { max_grace: Some(grace()), since: at() },
        Undrain => ToAgent::Undrain,
        UpdateFramework => ToAgent::UpdateFramework(framework_info()),
        Message => ToAgent::Message {
            framework: framework(),
            executor: executor(),
            data: vec![1, 2],
        },
        ShutdownExecutor => ToAgent::ShutdownExecutor {
            framework: framework(),
            executor: executor(),
        },
        RunGroup => ToAgent::RunGroup(GroupOrder {
            framework: framework(),
            role: role(),
            tasks: vec![task_info()],
            starts_executor: true,
        }),
        BeginDisk => ToAgent::BeginDisk(job()),
        EndDisk => ToAgent::EndDisk(DiskEnd {
            job: 8,
            failed: Some("why".into()),
            order: order(),
        }),
    });
}

fn executors(golden: &mut Golden) {
    samples!(golden, executor::Call {
        Subscribe => executor::Call::Subscribe {
            framework: framework(),
            executor: executor(),
            tasks: vec![task()],
            updates: vec![status()],
        },
        Update => executor::Call::Update(status()),
        Message => executor::Call::Message(vec![1, 2]),
    });
    samples!(golden, executor::Event {
        Subscribed => executor::Event::Subscribed { agent: agent() },
        Launch => executor::Event::Launch(task_info()),
        Kill => executor::Event::Kill { task: task(), grace: grace() },
        Acknowledged => executor::Event::Acknowledged { task: task(), update: update() },
        Shutdown => executor::Event::Shutdown,
        Error => executor::Event::Error("why".into()),
        Message => executor::Event::Message(vec![1, 2]),
        LaunchGroup => executor::Event::LaunchGroup(vec![task_info()]),
    });
}

fn containers(golden: &mut Golden) {
    let spec = ContainerSpec {
        environment: vec![("A".into(), "b".into())],
        limits: ContainerLimits {
            cpus: Some(Milli::from_units(1)),
            share: Some(Milli::from_units(2)),
            mem: Some(Milli::from_units(3)),
            kept: Some(Milli::from_units(4)),
            pids: Some(5),
            disk: Some(Milli::from_units(6)),
            gpus: Milli::from_units(7),
            ports: Some(Ranges::parse("[8-9]").unwrap()),
        },
        volumes: vec![VolumeSpec {
            place: VolumePlace {
                disk: Some(VolumeDisk {
                    root: "disk".into(),
                    is_mount: true,
                }),
                directory: vec!["eng".into(), "v".into()],
            },
            path: "data".into(),
            access: Access::ReadOnly,
            size: Milli::from_units(8),
        }],
        ..ContainerSpec::new(command(), vec!["slaves".into()])
    };
    samples!(golden, ContainerCommand {
        Launch => ContainerCommand::Launch { id: container(), spec: spec.clone() },
        Terminate => ContainerCommand::Terminate { id: container() },
        Destroy => ContainerCommand::Destroy { id: container() },
        Forget => ContainerCommand::Forget { id: container() },
        Recover => ContainerCommand::Recover { known: vec![container()] },
        Resize => ContainerCommand::Resize { id: container(), limits: spec.limits.clone() },
        Probe => ContainerCommand::Probe {
            id: container(),
            number: 300,
            probe: check().probe,
            timeout: Some(Duration::from_secs(20)),
        },
        Unprobe => ContainerCommand::Unprobe { id: container(), number: 300 },
    });
    samples!(golden, ContainerEvent {
        Started => ContainerEvent::Started {
            id: container(),
            pid: 300,
            addresses: vec!["10.1.0.2".parse().unwrap()],
        },
        LaunchFailed => ContainerEvent::LaunchFailed { id: container(), message: "why".into() },
        Exited => ContainerEvent::Exited {
            id: container(),
            exit: Exit::Code(1),
            breach: status().breach,
        },
        Lost => ContainerEvent::Lost { id: container() },
        Recovered => ContainerEvent::Recovered,
        ResizeFailed => ContainerEvent::ResizeFailed { id: container(), message: "why".into() },
        Probed => ContainerEvent::Probed {
            id: container(),
            number: 300,
            outcome: ProbeOutcome::TimedOut,
        },
    });
}

fn disks(golden: &mut Golden) {
    let job = DiskJobId {
        agent: agent(),
        number: 8,
    };
    samples!(golden, DiskCommand {
        Do => DiskCommand::Do { job: job.clone(), change: change() },
        Forget => DiskCommand::Forget { job: job.clone() },
        Recover => DiskCommand::Recover { agent: agent(), known: vec![job.clone()] },
        Undo => DiskCommand::Undo { job: job.clone() },
    });
    let outcome = DiskOutcome::Failed("why".into());
    golden.note("DiskEvent", &DiskEvent { job, outcome });
    samples!(golden, Conversion {
        Reserve => Conversion::Reserve(resources()),
        Unreserve => Conversion::Unreserve(resources()),
        Create => Conversion::Create(resources()),
        Destroy => Conversion::Destroy(resources()),
        Grow => Conversion::Grow { volume: disk(), addition: disk() },
        Shrink => Conversion::Shrink { volume: disk(), amount: Milli::from_units(2) },
        Disk => Conversion::Disk(change()),
    });
    samples!(golden, Operation {
        Launch => Operation::Launch(vec![task_info()]),
        Convert => Operation::Convert {
            id: Some(operation()),
            change: Conversion::Unreserve(resources()),
        },
        LaunchGroup => Operation::LaunchGroup(group()),
    });
}
