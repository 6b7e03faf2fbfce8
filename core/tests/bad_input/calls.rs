//! Calls that nobody may make, or not yet, or not so (FW-27, FW-54, OF-08, OF-09, OF-11; I21).

use std::time::Duration;

use tepui_core::ids::{ExecutorId, OfferId, OperationId, PeerId, RequestId, UpdateId};
use tepui_core::limits;
use tepui_core::machine::Output;
use tepui_core::master::{Effect, Input};
use tepui_core::protocol::agent::ToMaster;
use tepui_core::protocol::framework::Wishes;
use tepui_core::protocol::hello::CloseReason;
use tepui_core::protocol::maintenance::{MachineId, Unavailability, Window};
use tepui_core::protocol::offer::{Operation, TaskGroup};
use tepui_core::protocol::operation::Conversion;
use tepui_core::protocol::operator;
use tepui_core::protocol::refusal::{CallKind, EndReason, RejectKind};
use tepui_core::protocol::scheduler::{Call, Event};
use tepui_core::protocol::status::{Exit, Reason, TaskState};
use tepui_core::protocol::task::{CommandInfo, ExecutorInfo};
use tepui_core::resources::Resources;
use tepui_core::roles::Role;

use super::Catalogue;
use super::stage::{
    AGENT, FRAMEWORK, NEW_AGENT, OPERATOR, OTHER_FRAMEWORK, SILENT, Stage, agent_id, agent_info,
    framework_id, framework_info, master_id, task, task_id,
};

fn calls() -> Vec<(&'static str, Call)> {
    vec![
        ("teardown", Call::Teardown),
        ("accept", accept(vec![OfferId::numbered(&master_id(), 0)])),
        (
            "decline",
            Call::Decline {
                offers: vec![OfferId::numbered(&master_id(), 0)],
                refuse: None,
            },
        ),
        (
            "kill",
            Call::Kill {
                task: task_id("runs"),
                grace: None,
            },
        ),
        (
            "acknowledge",
            Call::Acknowledge {
                agent: agent_id(0),
                task: task_id("runs"),
                update: UpdateId(7),
            },
        ),
        ("suppress", Call::Suppress { roles: vec![] }),
        ("revive", Call::Revive { roles: vec![] }),
        (
            "demand",
            Call::Demand {
                role: Role::any(),
                demand: None,
            },
        ),
        (
            "update",
            Call::Update {
                framework: framework_info("x"),
                wishes: Wishes::default(),
            },
        ),
        ("reconcile", Call::Reconcile { tasks: vec![] }),
        (
            "acknowledge-operation",
            Call::AcknowledgeOperation {
                id: OperationId::new("o").unwrap(),
                update: UpdateId(7),
            },
        ),
        (
            "reconcile-operations",
            Call::ReconcileOperations { operations: vec![] },
        ),
        ("message", message(0, 1)),
        ("shutdown-executor", shutdown_executor(0)),
        ("accept-inverse", accept_inverse(vec![])),
        ("decline-inverse", decline_inverse(vec![])),
    ]
}

fn accept_inverse(offers: Vec<OfferId>) -> Call {
    let refuse = None;
    Call::AcceptInverse { offers, refuse }
}

fn decline_inverse(offers: Vec<OfferId>) -> Call {
    let refuse = None;
    Call::DeclineInverse { offers, refuse }
}

fn message(agent: u64, bytes: usize) -> Call {
    Call::Message {
        agent: agent_id(agent),
        executor: executor_id(),
        data: vec![0; bytes],
    }
}

fn shutdown_executor(agent: u64) -> Call {
    Call::ShutdownExecutor {
        agent: agent_id(agent),
        executor: executor_id(),
    }
}

fn executor_id() -> ExecutorId {
    ExecutorId::new("e").unwrap()
}

fn accept(offers: Vec<OfferId>) -> Call {
    Call::Accept {
        offers,
        operations: vec![Operation::Launch(vec![task("t")])],
        refuse: Some(Duration::ZERO),
    }
}

pub(crate) fn check(catalogue: &mut Catalogue) {
    before_subscribing(catalogue);
    in_a_role_that_is_not_proved(catalogue);
    accepts_that_ask_for_too_much(catalogue);
    offers_that_cannot_be_accepted(catalogue);
    what_is_not_there(catalogue);
    words_that_nobody_hears(catalogue);
    answers_to_no_inverse_offer(catalogue);
}

fn before_subscribing(catalogue: &mut Catalogue) {
    for (place, call) in calls() {
        let mut stage = Stage::new();
        let before = stage.state();
        let outputs = stage.call(SILENT, call);
        let refused = |output: &Output<_, Effect>| {
            let Output::Effect(Effect::Scheduler { peer, event }) = output else {
                return false;
            };
            let Event::Error { reason, .. } = event else {
                return false;
            };
            *peer == SILENT && *reason == EndReason::NotSubscribed
        };
        assert!(outputs.iter().any(refused), "{place}: {outputs:?}");
        assert_eq!(stage.state(), before, "{place}");
        catalogue.note("one subscribes first", place);
    }
}

/// Whoever speaks as what his certificate does not say is cut off, whatever he says.
fn in_a_role_that_is_not_proved(catalogue: &mut Catalogue) {
    let register = || ToMaster::Register {
        agent: agent_info(),
    };
    let subscribe = || Call::Subscribe {
        framework: framework_info("x"),
        wishes: Wishes::default(),
    };
    let request = || operator::Request {
        id: RequestId(7),
        call: operator::Call::Summary,
        after: None,
    };
    let peers = [
        ("framework", SILENT),
        ("agent", NEW_AGENT),
        ("operator", OPERATOR),
    ];
    for (who, peer) in peers {
        let spoken = [
            (
                "agent",
                Input::Agent {
                    peer,
                    message: register(),
                },
            ),
            (
                "framework",
                Input::Scheduler {
                    peer,
                    call: subscribe(),
                },
            ),
            (
                "operator",
                Input::Operator {
                    peer,
                    request: request(),
                },
            ),
        ];
        for (what, input) in spoken.into_iter().filter(|(what, _)| *what != who) {
            let mut stage = Stage::new();
            let before = stage.state();
            let outputs = stage.input(input);
            let [
                Output::Effect(Effect::Disconnect {
                    peer: whose, close, ..
                }),
            ] = outputs.as_slice()
            else {
                panic!("{who} as {what}: {outputs:?}");
            };
            assert_eq!((*whose, *close), (peer, CloseReason::WrongRole));
            assert_eq!(stage.state(), before);
            catalogue.note("one speaks as what one is", &format!("{who} as {what}"));
        }
        // Nobody listens to who is not there.
        let stranger = PeerId(99);
        let mut stage = Stage::new();
        let before = stage.state();
        let outputs = stage.input(match who {
            "agent" => Input::Agent {
                peer: stranger,
                message: register(),
            },
            "framework" => Input::Scheduler {
                peer: stranger,
                call: subscribe(),
            },
            _ => Input::Operator {
                peer: stranger,
                request: request(),
            },
        });
        assert_eq!(outputs, [], "{who}");
        assert_eq!(stage.state(), before);
        catalogue.note("one connects first", who);
    }
}

/// An accept that asks for too much is answered once, however long it is, and looked at no further.
fn accepts_that_ask_for_too_much(catalogue: &mut Catalogue) {
    let small = ExecutorInfo::new(
        ExecutorId::new("e").unwrap(),
        Resources::new(),
        CommandInfo::shell("x"),
    );
    let mut large = small.clone();
    large.command.value = "x".repeat(limits::FRAME_BYTES / 2);
    let group = |executor: &ExecutorInfo, count: usize| {
        let (executor, tasks) = (executor.clone(), vec![task("t"); count]);
        Operation::LaunchGroup(TaskGroup { executor, tasks })
    };
    let most = limits::TASKS_PER_ACCEPT;
    let nothing = Operation::Convert {
        id: Some(OperationId::new("o").unwrap()),
        change: Conversion::Unreserve(Resources::new()),
    };
    for (rule, kind, operations) in [
        (
            "an accept has 10000 tasks at most",
            RejectKind::TooMany,
            vec![Operation::Launch(vec![task("t"); most + 1])],
        ),
        (
            "an accept has 10000 groups at most, empty or not",
            RejectKind::TooMany,
            vec![group(&small, 0); most + 1],
        ),
        (
            "an accept has 1000 operations at most",
            RejectKind::TooMany,
            vec![nothing; limits::OPERATIONS_PER_ACCEPT + 1],
        ),
        (
            "the executors of groups are small, one for each task",
            RejectKind::TooLarge,
            vec![group(&large, 9)],
        ),
    ] {
        for (place, offer) in [("a good offer", 0), ("no good offer", 999)] {
            let mut stage = Stage::new();
            let offer = OfferId::numbered(&master_id(), offer);
            let mut declined = Stage::new();
            let (offers, refuse) = (vec![offer.clone()], Some(Duration::ZERO));
            declined.call(FRAMEWORK, Call::Decline { offers, refuse });
            let call = Call::Accept {
                offers: vec![offer],
                operations: operations.clone(),
                refuse: None,
            };
            let outputs = stage.call(FRAMEWORK, call);
            let mut events = outputs.iter().filter_map(|output| match output {
                Output::Effect(Effect::Scheduler { event, .. }) => Some(event),
                Output::Persist(_) | Output::Effect(_) | Output::Free(_) => None,
            });
            let event = events.next().unwrap();
            let is_refused = matches!(event, Event::Rejected { call: CallKind::Accept, reason, .. }
                if *reason == kind);
            assert!(is_refused, "{rule}: {event:?}");
            assert_eq!(events.next(), None, "{rule}");
            assert_eq!(stage.state(), declined.state(), "{rule}");
            catalogue.note(rule, place);
        }
    }
}

/// An accept of offers that are not good drops its tasks, and its own good offers come back.
fn offers_that_cannot_be_accepted(catalogue: &mut Catalogue) {
    type Make = fn(&Stage) -> Vec<OfferId>;
    let sets: [(&str, RejectKind, &str, Make); 5] = [
        (
            "an accept names an offer",
            RejectKind::Empty,
            "no offer is named",
            |_| vec![],
        ),
        (
            "an offer that is accepted was made",
            RejectKind::NotOffered,
            "is not, or no longer, valid",
            |_| vec![OfferId::numbered(&master_id(), 999)],
        ),
        (
            "an offer that is accepted is one's own",
            RejectKind::NotOffered,
            "is not, or no longer, valid",
            |stage| vec![stage.offer(OTHER_FRAMEWORK, 1).id],
        ),
        (
            "an offer that is accepted is still there",
            RejectKind::NotOffered,
            "offer rio-1-O0 is not, or no longer, valid",
            |_| vec![OfferId::numbered(&master_id(), 0)],
        ),
        (
            "an accept names 10000 offers at most",
            RejectKind::TooMany,
            "more than 10000 offers in one accept",
            |_| {
                let ids = (0..=limits::OFFERS_PER_CALL as u64).map(|n| n + 1_000);
                ids.map(|n| OfferId::numbered(&master_id(), n)).collect()
            },
        ),
    ];
    for (rule, kind, text, make) in sets {
        let mut stage = Stage::new();
        let before = stage.state();
        let outputs = stage.call(FRAMEWORK, accept(make(&stage)));
        let [
            Output::Effect(Effect::Scheduler {
                peer: FRAMEWORK,
                event: Event::Update(status),
            }),
        ] = outputs.as_slice()
        else {
            panic!("{rule}: {outputs:?}");
        };
        assert_eq!(status.state, TaskState::Dropped);
        assert_eq!(status.reason, Some(Reason::InvalidOffers));
        assert!(status.message.contains(text), "{}", status.message);
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, "accept with a task");

        let call = Call::Accept {
            offers: make(&stage),
            operations: vec![],
            refuse: None,
        };
        let outputs = stage.call(FRAMEWORK, call);
        let [
            Output::Effect(Effect::Scheduler {
                peer: FRAMEWORK,
                event:
                    Event::Rejected {
                        call,
                        reason,
                        message,
                    },
            }),
        ] = outputs.as_slice()
        else {
            panic!("{rule}: {outputs:?}");
        };
        assert_eq!((*call, *reason), (CallKind::Accept, kind));
        assert!(message.contains(text), "{message}");
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, "accept without a task");
    }
    let mut stage = Stage::new();
    let offer = stage.offer(FRAMEWORK, 0).id;
    let outputs = stage.call(FRAMEWORK, accept(vec![offer.clone(), offer.clone()]));
    let text = format!("{outputs:?}");
    assert!(text.contains("an offer is named twice"), "{text}");
    let mut declined = Stage::new();
    let (offers, refuse) = (vec![offer], Some(Duration::ZERO));
    declined.call(FRAMEWORK, Call::Decline { offers, refuse });
    assert_eq!(
        stage.master.view().all_tasks(),
        declined.master.view().all_tasks()
    );
    assert_eq!(stage.master.registry(), declined.master.registry());
    catalogue.note("an accept names an offer once", "accept with a task");
}

/// What is said of things that are not there, or are others', changes nothing.
fn what_is_not_there(catalogue: &mut Catalogue) {
    let unknown = OfferId::numbered(&master_id(), 999);
    for (rule, place, peer, call) in [
        (
            "an offer that is declined was made",
            "decline",
            FRAMEWORK,
            Call::Decline {
                offers: vec![unknown],
                refuse: None,
            },
        ),
        (
            "an update that is acknowledged was sent",
            "acknowledge",
            FRAMEWORK,
            Call::Acknowledge {
                agent: agent_id(0),
                task: task_id("runs"),
                update: UpdateId(99),
            },
        ),
        (
            "a task whose update is acknowledged is there",
            "acknowledge",
            FRAMEWORK,
            Call::Acknowledge {
                agent: agent_id(0),
                task: task_id("never"),
                update: UpdateId(99),
            },
        ),
        (
            "an agent whose update is acknowledged is there",
            "acknowledge",
            FRAMEWORK,
            Call::Acknowledge {
                agent: agent_id(77),
                task: task_id("runs"),
                update: UpdateId(99),
            },
        ),
    ] {
        let mut stage = Stage::new();
        let before = stage.state();
        let outputs = stage.call(peer, call);
        let told = outputs.iter().any(|it| matches!(it, Output::Persist(_)));
        assert!(!told, "{rule}: {outputs:?}");
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, place);
    }
    for (rule, peer, task) in [
        ("a task that is killed was launched", FRAMEWORK, "never"),
        (
            "a task that is killed is one's own",
            OTHER_FRAMEWORK,
            "runs",
        ),
    ] {
        let mut stage = Stage::new();
        let before = stage.state();
        let (task, grace) = (task_id(task), None);
        let outputs = stage.call(peer, Call::Kill { task, grace });
        let is_for_agents = |it: &Output<_, Effect>| {
            matches!(it, Output::Effect(Effect::Agent { peer: AGENT, .. }))
        };
        assert!(!outputs.iter().any(is_for_agents), "{rule}: {outputs:?}");
        let text = format!("{outputs:?}");
        assert!(text.contains("state: Unknown"), "{rule}: {text}");
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, "kill");
    }
}

/// Frameworks and executors speak to each other through masters, who keep nothing of it.
fn words_that_nobody_hears(catalogue: &mut Catalogue) {
    let mut stage = Stage::new();
    let before = stage.state();
    let outputs = stage.call(FRAMEWORK, message(0, limits::MESSAGE_BYTES + 1));
    let [Output::Effect(Effect::Scheduler { event, .. })] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    let Event::Rejected { call, reason, .. } = event else {
        panic!("{event:?}");
    };
    assert_eq!((*call, *reason), (CallKind::Message, RejectKind::TooLong));
    assert_eq!(stage.state(), before);
    catalogue.note("a message has 262144 bytes at most", "message");
    let there = "an agent that one speaks to is there";
    for (place, call) in [
        ("message", message(77, 1)),
        ("shutdown-executor", shutdown_executor(77)),
    ] {
        assert_eq!(stage.call(FRAMEWORK, call), [], "{place}");
        assert_eq!(stage.state(), before, "{place}");
        catalogue.note(there, place);
    }
    let said = |framework, bytes| ToMaster::Message {
        framework,
        executor: executor_id(),
        data: vec![0; bytes],
    };
    let ended = ToMaster::ExecutorEnded {
        framework: framework_id(77),
        executor: executor_id(),
        exit: Some(Exit::Code(0)),
    };
    let own = "a framework that is spoken to is there";
    let long = said(framework_id(0), limits::MESSAGE_BYTES + 1);
    for (rule, place, message) in [
        ("a message has 262144 bytes at most", "an executor's", long),
        (own, "an executor's", said(framework_id(77), 1)),
        (own, "an executor's end", ended),
    ] {
        assert_eq!(stage.message(AGENT, message), [], "{rule}");
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, place);
    }
}

/// A stage on which both frameworks were asked to leave both agents; and the two ids.
fn asked_to_leave() -> (Stage, [OfferId; 2]) {
    let mut stage = Stage::new();
    let host = MachineId::of_hostname("host");
    let windows = vec![Window {
        machines: vec![host],
        unavailability: Unavailability {
            start: stage.now,
            duration: None,
        },
    }];
    let call = operator::Call::SetSchedule { windows };
    let (id, peer, after) = (RequestId(7), OPERATOR, None);
    let request = operator::Request { id, call, after };
    let mut outputs = stage.input(Input::Operator { peer, request });
    stage.now = stage.now + Duration::from_secs(1);
    outputs.extend(stage.input(Input::Agent {
        peer: AGENT,
        message: ToMaster::Pong,
    }));
    let of = |to: PeerId| {
        let mut events = outputs.iter().filter_map(|output| match output {
            Output::Effect(Effect::Scheduler {
                peer,
                event: Event::InverseOffers(offers),
            }) if *peer == to => Some(offers[0].id.clone()),
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        });
        events.next().expect("it is asked")
    };
    let ids = [of(FRAMEWORK), of(OTHER_FRAMEWORK)];
    (stage, ids)
}

/// What is said to inverse offers that were not made, or to others, is not heard (OF-49).
fn answers_to_no_inverse_offer(catalogue: &mut Catalogue) {
    type Make = fn([OfferId; 2], &Stage) -> Vec<OfferId>;
    let sets: [(&str, RejectKind, Make); 6] = [
        (
            "an answer names an inverse offer",
            RejectKind::Empty,
            |_, _| vec![],
        ),
        (
            "an inverse offer that is answered was made",
            RejectKind::NotOffered,
            |_, _| vec![OfferId::numbered(&master_id(), 999)],
        ),
        (
            "an inverse offer that is answered is one's own",
            RejectKind::NotOffered,
            |[_, other], _| vec![other],
        ),
        (
            "an offer is no inverse offer",
            RejectKind::NotOffered,
            |_, stage| vec![stage.offer(FRAMEWORK, 0).id],
        ),
        (
            "an inverse offer is named once",
            RejectKind::Doubled,
            |[own, _], _| vec![own.clone(), own],
        ),
        (
            "an answer names 10000 inverse offers at most",
            RejectKind::TooMany,
            |_, _| {
                let ids = 0..=limits::OFFERS_PER_CALL as u64;
                ids.map(|n| OfferId::numbered(&master_id(), n)).collect()
            },
        ),
    ];
    for (rule, kind, make) in sets {
        for (kind_of_call, answer) in [
            (CallKind::AcceptInverse, accept_inverse as fn(_) -> _),
            (CallKind::DeclineInverse, decline_inverse),
        ] {
            let (mut stage, ids) = asked_to_leave();
            stage.pass();
            let asked = |stage: &mut Stage| stage.ask(operator::Call::InverseOffers);
            let before = (asked(&mut stage), stage.state());
            let offers = make(ids, &stage);
            let outputs = stage.call(FRAMEWORK, answer(offers));
            let [Output::Effect(Effect::Scheduler { event, .. })] = outputs.as_slice() else {
                panic!("{rule}: {outputs:?}");
            };
            let Event::Rejected { call, reason, .. } = event else {
                panic!("{rule}: {event:?}");
            };
            assert_eq!((*call, *reason), (kind_of_call, kind), "{rule}");
            let after = (asked(&mut stage), stage.state());
            assert_eq!(after, before, "{rule}");
            catalogue.note(rule, kind_of_call.as_str());
        }
    }
    // An inverse offer is no offer either (OF-11).
    let (mut stage, [own, _]) = asked_to_leave();
    let before = stage.state();
    let (offers, refuse) = (vec![own], None);
    let call = Call::Decline { offers, refuse };
    assert_eq!(stage.call(FRAMEWORK, call), []);
    assert_eq!(stage.state(), before);
    catalogue.note("an inverse offer is no offer", "decline");
}
