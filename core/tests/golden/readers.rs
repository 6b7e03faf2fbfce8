//! What operators ask, order and are told.

use tepui_core::ids::RequestId;
use tepui_core::protocol::events::{
    AgentState, Batch, EndedState, Event, ExecutorState, FrameworkState, GoneState,
    InverseOfferState, Kind, MachineState, RoleState, Row, RowId, Snapshot, Version,
};
use tepui_core::protocol::maintenance::{
    InverseOfferView, Leaving, MachineMode, MachineView, Window,
};
use tepui_core::protocol::node::{DrainConfig, Presence, Standing};
use tepui_core::protocol::operation::{Conversion, OperationKind};
use tepui_core::protocol::operator::{
    AgentView, Answer, Call, Cursor, EndedFramework, Explanation, FrameworkView, Obstacle,
    OperationView, Request, Response, RoleView, Summary, TaskView,
};
use tepui_core::protocol::refusal::EndReason;
use tepui_core::resources::Milli;

use super::parts::*;
use super::{Golden, samples};

const CURSOR: Cursor = Cursor {
    epoch: 2,
    last: 300,
};
const VERSION: Version = Version {
    epoch: 2,
    number: 300,
};

pub(super) fn note(golden: &mut Golden) {
    calls(golden);
    answers(golden);
    rows(golden);
    let request = Request {
        id: RequestId(300),
        call: Call::Agents,
        after: Some(CURSOR),
    };
    golden.note("Request", &request);
    let response = Response {
        id: RequestId(300),
        answer: Answer::Updated,
        next: Some(CURSOR),
    };
    golden.note("Response", &response);
}

fn config() -> DrainConfig {
    DrainConfig {
        max_grace: Some(grace()),
        mark_gone: true,
    }
}

fn window() -> Window {
    Window {
        machines: vec![machine()],
        unavailability: unavailability(),
    }
}

fn calls(golden: &mut Golden) {
    samples!(golden, Call {
        Summary => Call::Summary,
        Agents => Call::Agents,
        Frameworks => Call::Frameworks,
        Tasks => Call::Tasks { all: true },
        Offers => Call::Offers,
        Kill => Call::Kill {
            framework: Some(framework()),
            task: "t".into(),
            grace: Some(grace()),
        },
        Roles => Call::Roles,
        UpdateQuota => Call::UpdateQuota { quotas: vec![(role(), quota())], force: true },
        UpdateWeights => Call::UpdateWeights { weights: vec![(role(), Milli::from_units(2))] },
        Convert => Call::Convert {
            agent: agent(),
            change: Conversion::Unreserve(resources()),
        },
        UpdateReservation => Call::UpdateReservation {
            agent: agent(),
            from: order().after,
            to: resources(),
        },
        MarkGone => Call::MarkGone { agent: agent() },
        Deactivate => Call::Deactivate { agent: agent() },
        Drain => Call::Drain { agent: agent(), config: config() },
        Reactivate => Call::Reactivate { agent: agent() },
        Snapshot => Call::Snapshot { of: Kind::Tasks },
        Watch => Call::Watch { after: Some(VERSION) },
        Schedule => Call::Schedule,
        SetSchedule => Call::SetSchedule { windows: vec![window()] },
        MachinesDown => Call::MachinesDown { machines: vec![machine()] },
        MachinesUp => Call::MachinesUp { machines: vec![machine()] },
        Machines => Call::Machines,
        InverseOffers => Call::InverseOffers,
        Teardown => Call::Teardown { framework: framework() },
        EndedFrameworks => Call::EndedFrameworks,
        Explain => Call::Explain { framework: framework(), role: role() },
        Operations => Call::Operations,
        WatchAll => Call::WatchAll { after: Some(VERSION) },
    });
}

fn agent_view() -> AgentView {
    AgentView {
        id: agent(),
        info: agent_info(),
        total: resources(),
        presence: Presence::Connected { since: at() },
        standing: Standing::Draining(config()),
        drain_since: Some(at()),
        operations: 3,
        registered_at: at(),
        offered: resources(),
        allocated: resources(),
        shortage: resources(),
        tasks: 4,
    }
}

fn framework_view() -> FrameworkView {
    FrameworkView {
        info: framework_info(),
        connected: true,
        suppressed: vec![role()],
        offered: resources(),
        allocated: resources(),
        tasks: 4,
    }
}

fn task_view() -> TaskView {
    TaskView {
        framework: framework(),
        agent: agent(),
        name: "name".into(),
        resources: resources(),
        status: status(),
        published: task_info().published(),
    }
}

fn operation_view() -> OperationView {
    OperationView {
        framework: framework(),
        kind: Some(OperationKind::Grow),
        status: operation_status(),
    }
}

fn role_view() -> RoleView {
    RoleView {
        role: role(),
        weight: Milli::from_units(2),
        quota: quota(),
        consumed: "cpus:1".parse().unwrap(),
        allocated: "cpus:2".parse().unwrap(),
        reserved: "cpus:3".parse().unwrap(),
        dominant_share: 4,
        frameworks: 5,
    }
}

fn machine_view() -> MachineView {
    MachineView {
        machine: machine(),
        mode: MachineMode::Draining,
        unavailability: unavailability(),
        agents: 1,
        unknown: 2,
        accepted: 3,
        declined: 4,
    }
}

fn inverse_view() -> InverseOfferView {
    InverseOfferView {
        framework: framework(),
        agent: agent(),
        machines: vec![machine()],
        open: Some(offer_id()),
        leaving: Leaving::Accepted(at()),
    }
}

fn ended() -> EndedFramework {
    EndedFramework {
        id: framework(),
        name: Some("web".into()),
        reason: EndReason::TornDown,
        at: at(),
    }
}

fn explanation() -> Explanation {
    Explanation {
        agent: agent(),
        hostname: "box".into(),
        obstacle: Obstacle::Refused(at()),
    }
}

fn answers(golden: &mut Golden) {
    let (from, upto) = (VERSION, VERSION);
    let rows = vec![Row::Offer(offer())];
    let summary = Summary {
        master: master(),
        epoch: 300,
        address: Some("10.0.0.1:5050".into()),
        started_at: at(),
        elected_at: at(),
        agents: 1,
        frameworks: 2,
        tasks: 3,
        offers: 4,
    };
    samples!(golden, Answer {
        Summary => Answer::Summary(summary.clone()),
        Agents => Answer::Agents(vec![agent_view()]),
        Frameworks => Answer::Frameworks(vec![framework_view()]),
        Tasks => Answer::Tasks(vec![task_view()]),
        Offers => Answer::Offers(vec![offer()]),
        Killing => Answer::Killing { framework: framework(), task: task() },
        NotFound => Answer::NotFound("why".into()),
        Ambiguous => Answer::Ambiguous("why".into()),
        Roles => Answer::Roles(vec![role_view()]),
        Updated => Answer::Updated,
        Invalid => Answer::Invalid("why".into()),
        Conflict => Answer::Conflict("why".into()),
        Snapshot => Answer::Snapshot(Snapshot { from, upto, rows: rows.clone() }),
        Events => Answer::Events(Batch {
            after: VERSION,
            events: vec![Event::Removed(RowId::Offer(offer_id()))],
        }),
        Gap => Answer::Gap { newest: VERSION },
        Schedule => Answer::Schedule(vec![window()]),
        Machines => Answer::Machines(vec![machine_view()]),
        InverseOffers => Answer::InverseOffers(vec![inverse_view()]),
        EndedFrameworks => Answer::EndedFrameworks(vec![ended()]),
        Explained => Answer::Explained(vec![explanation()]),
        Operations => Answer::Operations(vec![operation_view()]),
    });
}

fn agent_state() -> AgentState {
    AgentState {
        id: agent(),
        info: agent_info(),
        total: resources(),
        presence: Presence::Connected { since: at() },
        standing: Standing::Drained,
        drain_since: Some(at()),
        operations: 3,
        registered_at: at(),
    }
}

fn rows(golden: &mut Golden) {
    let framework_state = FrameworkState {
        id: framework(),
        info: framework_info(),
        connected: true,
        suppressed: vec![role()],
    };
    let executor_state = ExecutorState {
        framework: framework(),
        agent: agent(),
        id: executor(),
        resources: resources(),
        published: executor_info().published(),
    };
    let role_state = RoleState {
        role: role(),
        weight: Milli::from_units(2),
        quota: quota(),
    };
    samples!(golden, Row {
        Agent => Row::Agent(agent_state()),
        Framework => Row::Framework(framework_state.clone()),
        Executor => Row::Executor(executor_state.clone()),
        Task => Row::Task(task_view()),
        Offer => Row::Offer(offer()),
        Role => Row::Role(role_state.clone()),
        Operation => Row::Operation(operation_view()),
        Gone => Row::Gone(GoneState { id: agent(), at: at() }),
        Ended => Row::Ended(EndedState {
            id: framework(),
            reason: EndReason::TornDown,
            at: at(),
        }),
        Completed => Row::Completed(framework_state.clone()),
        Machine => Row::Machine(MachineState {
            machine: machine(),
            unavailability: unavailability(),
        }),
        Down => Row::Down(machine()),
        InverseOffer => Row::InverseOffer(InverseOfferState {
            framework: framework(),
            agent: agent(),
            open: Some(offer_id()),
            leaving: Leaving::Accepted(at()),
        }),
    });
    samples!(golden, RowId {
        Agent => RowId::Agent(agent()),
        Framework => RowId::Framework(framework()),
        Executor => RowId::Executor {
            framework: framework(),
            agent: agent(),
            id: executor(),
        },
        Task => RowId::Task { framework: framework(), id: task() },
        Offer => RowId::Offer(offer_id()),
        Role => RowId::Role(role()),
        Operation => RowId::Operation { framework: framework(), id: operation() },
        Gone => RowId::Gone(agent()),
        Ended => RowId::Ended(framework()),
        Completed => RowId::Completed(framework()),
        Machine => RowId::Machine(machine()),
        Down => RowId::Down(machine()),
        InverseOffer => RowId::InverseOffer { framework: framework(), agent: agent() },
    });
    samples!(golden, Event {
        Added => Event::Added(Row::Agent(agent_state())),
        Updated => Event::Updated(Row::Agent(agent_state())),
        Removed => Event::Removed(RowId::Agent(agent())),
    });
    let (since, until) = (at(), Some(at()));
    samples!(golden, Presence {
        Connected => Presence::Connected { since },
        Disconnected => Presence::Disconnected { since, until },
        Recovered => Presence::Recovered { since, until },
        Unreachable => Presence::Unreachable { since },
    });
    samples!(golden, Standing {
        Active => Standing::Active,
        Deactivated => Standing::Deactivated,
        Draining => Standing::Draining(config()),
        Drained => Standing::Drained,
    });
    samples!(golden, Leaving {
        Unknown => Leaving::Unknown,
        Accepted => Leaving::Accepted(at()),
        Declined => Leaving::Declined(at()),
    });
    samples!(golden, Obstacle {
        Refused => Obstacle::Refused(at()),
        Suppressed => Obstacle::Suppressed,
        FrameworkInactive => Obstacle::FrameworkInactive,
        AgentInactive => Obstacle::AgentInactive,
        NotWhitelisted => Obstacle::NotWhitelisted,
        Recovering => Obstacle::Recovering,
        Constraint => Obstacle::Constraint("why".into()),
        Incapable => Obstacle::Incapable("why".into()),
        NoDemand => Obstacle::NoDemand,
        HoldsEnough => Obstacle::HoldsEnough,
        QuotaLimit => Obstacle::QuotaLimit(role()),
        Headroom => Obstacle::Headroom,
        HeldBy => Obstacle::HeldBy(vec![framework()]),
        TooSmall => Obstacle::TooSmall,
        Nothing => Obstacle::Nothing,
    });
}
