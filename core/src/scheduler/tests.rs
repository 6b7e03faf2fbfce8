//! The scheduler machine, driven through `handle` and `tick` only.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::slice;

use super::*;
use crate::demand::{Demand, Shape};
use crate::ids::{AgentId, MasterId, OperationId, TaskId};
use crate::limits;
use crate::machine::Output;
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::hello::CloseReason;
use crate::protocol::maintenance::Unavailability;
use crate::protocol::node::AgentLoss;
use crate::protocol::offer::{InverseOffer, Offer, Operation};
use crate::protocol::operation::{Conversion, OperationState, OperationStatus};
use crate::protocol::refusal::{CallKind, EndReason, RejectKind};
use crate::protocol::status::{Source, TaskState, TaskStatus};
use crate::protocol::task::{CommandInfo, TaskInfo};
use crate::protocol::wire::size;
use crate::resources::{Quantities, Resources};
use crate::roles::Role;

const PEER: PeerId = PeerId(1);
const HEARTBEAT: Duration = Duration::from_secs(15);

fn secs(n: u64) -> Time {
    Time::from_micros(n * 1_000_000)
}

fn scheduler() -> Scheduler {
    Scheduler::new(Config::new(FrameworkInfo::new("test"), 1))
}

fn framework() -> FrameworkId {
    FrameworkId::new("m-1-0001").unwrap()
}

fn subscribed(epoch: u64) -> Event {
    Event::Subscribed {
        framework: framework(),
        master: MasterId::of("m", epoch).unwrap(),
        epoch,
        heartbeat: HEARTBEAT,
        domain: None,
    }
}

fn feed<M: Machine<Record = Never, Effect = Effect>>(
    machine: &mut M,
    now: Time,
    input: M::Input,
) -> Vec<Effect> {
    let mut out = Outbox::new();
    machine.handle(now, input, &mut out);
    effects(&mut out)
}

fn tick(s: &mut Scheduler, now: Time) -> Vec<Effect> {
    let mut out = Outbox::new();
    s.tick(now, &mut out);
    effects(&mut out)
}

fn effects(out: &mut Outbox<Never, Effect>) -> Vec<Effect> {
    out.drain()
        .map(|output| match output {
            Output::Effect(effect) | Output::Free(effect) => effect,
            Output::Persist(never) => match never {},
        })
        .collect()
}

fn master(event: Event) -> Input {
    Input::Master { peer: PEER, event }
}

fn call(call: Call) -> Effect {
    Effect::Master { peer: PEER, call }
}

fn running() -> (Scheduler, Time) {
    let mut s = scheduler();
    feed(&mut s, secs(1), Input::Connected { peer: PEER });
    feed(&mut s, secs(1), master(subscribed(1)));
    (s, secs(1))
}

fn status(update: u128) -> TaskStatus {
    let task = TaskId::new("t").unwrap();
    TaskStatus {
        agent: Some(AgentId::new("m-1-S1").unwrap()),
        update: Some(UpdateId(update)),
        ..TaskStatus::new(task, TaskState::Running, Source::Executor, secs(1))
    }
}

fn acknowledge(update: u128) -> Call {
    Call::Acknowledge {
        agent: AgentId::new("m-1-S1").unwrap(),
        task: TaskId::new("t").unwrap(),
        update: UpdateId(update),
    }
}

fn task() -> TaskInfo {
    let id = TaskId::new("t").unwrap();
    let agent = AgentId::new("m-1-S1").unwrap();
    TaskInfo {
        command: Some(CommandInfo::shell("true")),
        ..TaskInfo::new(id, agent, Resources::default())
    }
}

#[test]
fn it_subscribes_at_once_and_comes_back_under_its_id_after_a_jittered_wait() {
    // FW-03, FW-38
    let mut s = scheduler();
    let connected = feed(&mut s, secs(1), Input::Connected { peer: PEER });
    let mut info = FrameworkInfo::new("test");
    let subscribe = |framework| Call::Subscribe {
        framework,
        wishes: Wishes::default(),
    };
    assert_eq!(connected, [call(subscribe(info.clone()))]);
    let told = feed(&mut s, secs(1), master(subscribed(1)));
    assert_eq!(
        told,
        [Effect::User(UserEvent::Subscribed {
            framework: framework(),
            domain: None
        })]
    );
    let gone = feed(&mut s, secs(2), Input::Disconnected { peer: PEER });
    assert_eq!(gone, [Effect::User(UserEvent::Disconnected)]);
    assert!(!s.is_subscribed());

    let again = PeerId(2);
    assert_eq!(feed(&mut s, secs(3), Input::Connected { peer: again }), []);
    let at = s.deadline().expect("it waits to subscribe");
    assert!(at <= secs(3) + Duration::from_millis(500));
    let mut out = Outbox::new();
    s.tick(at, &mut out);
    info.id = Some(framework());
    assert_eq!(
        effects(&mut out),
        [Effect::Master {
            peer: again,
            call: subscribe(info)
        }]
    );
}

#[test]
fn who_comes_back_waits_for_half_a_second_at_most() {
    // TL-29: and not all as long
    let most = Duration::from_millis(500);
    let again = PeerId(2);
    let waits = (0..200).map(|seed| {
        let mut s = Scheduler::new(Config::new(FrameworkInfo::new("test"), seed));
        feed(&mut s, secs(1), Input::Connected { peer: PEER });
        feed(&mut s, secs(1), master(subscribed(1)));
        feed(&mut s, secs(2), Input::Disconnected { peer: PEER });
        assert_eq!(feed(&mut s, secs(3), Input::Connected { peer: again }), []);
        s.deadline().expect("it waits to subscribe").since(secs(3))
    });
    let waits: Vec<Duration> = waits.collect();
    assert!(waits.iter().all(|wait| *wait <= most), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > most * 9 / 10), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait < most / 10), "{waits:?}");
}

#[test]
fn a_deposed_master_is_refused() {
    let (mut s, now) = running();
    feed(&mut s, now, master(subscribed(5)));
    feed(&mut s, now, Input::Disconnected { peer: PEER });
    let other = PeerId(2);
    feed(&mut s, now, Input::Connected { peer: other });
    let at = s.deadline().unwrap();
    let input = Input::Master {
        peer: other,
        event: subscribed(4),
    };
    let mut out = Outbox::new();
    s.tick(at, &mut out);
    let answer = feed(&mut s, at, input);
    assert_eq!(
        answer,
        [Effect::Reconnect {
            peer: other,
            close: CloseReason::StaleEpoch,
            reason: "the master leads epoch 4, but epoch 5 was seen".to_string()
        }]
    );
    assert!(!s.is_subscribed());
}

#[test]
fn a_silent_master_is_given_up_after_five_heartbeats() {
    // FW-33
    let (mut s, now) = running();
    assert_eq!(s.deadline(), Some(now + 5 * HEARTBEAT));
    feed(&mut s, secs(50), master(Event::Heartbeat));
    let dead = secs(50) + 5 * HEARTBEAT;
    assert_eq!(s.deadline(), Some(dead));
    let mut out = Outbox::new();
    s.tick(Time::from_micros(dead.as_micros() - 1), &mut out);
    assert!(out.is_empty());
    s.tick(dead, &mut out);
    assert_eq!(
        effects(&mut out),
        [
            Effect::User(UserEvent::Disconnected),
            Effect::Reconnect {
                peer: PEER,
                close: CloseReason::IdleTimeout,
                reason: "no heartbeat from the master".to_string()
            }
        ]
    );
    assert_eq!(s.deadline(), None);
}

#[test]
fn mesos_9426_a_master_that_does_not_answer_is_given_up() {
    // RG-09
    let mut s = scheduler();
    feed(&mut s, secs(1), Input::Connected { peer: PEER });
    let dead = s.deadline().expect("it does not wait for ever");
    let mut out = Outbox::new();
    s.tick(dead, &mut out);
    let given_up = Effect::Reconnect {
        peer: PEER,
        close: CloseReason::IdleTimeout,
        reason: "the master does not answer".to_string(),
    };
    assert_eq!(effects(&mut out), [given_up]);
    // What it still says does not count, and the next one is asked.
    assert_eq!(feed(&mut s, dead, master(subscribed(1))), []);
    feed(&mut s, dead, Input::Connected { peer: PeerId(2) });
    let at = s.deadline().expect("it waits to subscribe");
    s.tick(at, &mut out);
    let asked = effects(&mut out);
    assert!(
        matches!(
            asked[..],
            [Effect::Master {
                peer: PeerId(2),
                call: Call::Subscribe { .. }
            }]
        ),
        "{asked:?}"
    );
}

#[test]
fn an_update_is_told_once_and_acknowledged_each_time_it_comes() {
    // TK-66, TK-69, FW-47
    let (mut s, now) = running();
    let update = master(Event::Update(status(7)));
    assert_eq!(
        feed(&mut s, now, update.clone()),
        [Effect::User(UserEvent::Update(status(7)))]
    );
    assert_eq!(feed(&mut s, now, update.clone()), [], "not yet confirmed");
    let confirm = Input::User(UserCall::Acknowledge {
        agent: AgentId::new("m-1-S1").unwrap(),
        task: TaskId::new("t").unwrap(),
        update: UpdateId(7),
    });
    assert_eq!(feed(&mut s, now, confirm), [call(acknowledge(7))]);
    assert_eq!(feed(&mut s, now, update), [call(acknowledge(7))]);
}

#[test]
fn an_accept_without_a_connection_drops_its_tasks() {
    // TK-53
    let mut s = scheduler();
    let told = feed(
        &mut s,
        secs(1),
        Input::User(UserCall::Accept {
            offers: vec![OfferId::new("o").unwrap()],
            operations: vec![Operation::Launch(vec![task()])],
            refuse: None,
        }),
    );
    let [Effect::User(UserEvent::Update(status))] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(status.state, TaskState::Dropped);
    assert_eq!(status.reason, Some(Reason::InvalidOffers));
    assert_eq!(status.update, None);
}

#[test]
fn a_rescission_is_told_only_of_offers_that_are_still_good() {
    // OF-07, OF-08
    let (mut s, now) = running();
    let id = OfferId::new("m-1-O1").unwrap();
    let rescind = master(Event::Rescind(id.clone()));
    assert_eq!(feed(&mut s, now, rescind.clone()), []);
    let agent = AgentId::new("m-1-S1").unwrap();
    let offer = Offer::new(id.clone(), framework(), agent, Resources::default());
    feed(&mut s, now, master(Event::Offers(vec![offer])));
    assert_eq!(
        feed(&mut s, now, rescind.clone()),
        [Effect::User(UserEvent::Rescinded(id))]
    );
    assert_eq!(feed(&mut s, now, rescind), []);
}

#[test]
fn inverse_offers_are_told_answered_and_void_with_their_subscription() {
    // FW-55, FW-43, OF-50
    let (mut s, now) = running();
    let offer = |n: u64| InverseOffer {
        id: OfferId::numbered(&MasterId::of("m", 1).unwrap(), n),
        framework: framework(),
        agent: AgentId::new("m-1-S1").unwrap(),
        hostname: "host".into(),
        resources: Resources::default(),
        unavailability: Unavailability {
            start: secs(60),
            duration: None,
        },
    };
    let rescind = |n| master(Event::RescindInverse(offer(n).id));
    let offers = vec![offer(1), offer(2), offer(3), offer(4)];
    let told = feed(&mut s, now, master(Event::InverseOffers(offers.clone())));
    assert_eq!(told, [Effect::User(UserEvent::InverseOffers(offers))]);
    let void = UserEvent::InverseRescinded(offer(1).id);
    assert_eq!(feed(&mut s, now, rescind(1)), [Effect::User(void)]);
    assert_eq!(feed(&mut s, now, rescind(1)), []);
    let (ids, refuse) = (vec![offer(2).id], Some(Duration::from_secs(9)));
    let offers = ids.clone();
    let accept = Input::User(UserCall::AcceptInverse { offers, refuse });
    let offers = ids;
    let sent = [call(Call::AcceptInverse { offers, refuse })];
    assert_eq!(feed(&mut s, now, accept.clone()), sent);
    // Answered: it hears no more of it.
    assert_eq!(feed(&mut s, now, rescind(2)), []);
    let (offers, refuse) = (vec![offer(3).id], None);
    let decline = Input::User(UserCall::DeclineInverse {
        offers: offers.clone(),
        refuse,
    });
    let sent = [call(Call::DeclineInverse { offers, refuse })];
    assert_eq!(feed(&mut s, now, decline), sent);
    assert_eq!(feed(&mut s, now, rescind(3)), []);
    feed(&mut s, now, Input::Disconnected { peer: PEER });
    assert_eq!(feed(&mut s, now, accept), []);
    let peer = PeerId(2);
    feed(&mut s, now, Input::Connected { peer });
    let mut out = Outbox::new();
    s.tick(s.deadline().unwrap(), &mut out);
    let word = |event| Input::Master { peer, event };
    feed(&mut s, now, word(subscribed(1)));
    let stale = word(Event::RescindInverse(offer(4).id));
    assert_eq!(feed(&mut s, now, stale), []);
}

#[test]
fn an_error_ends_it_and_stop_tears_down_first() {
    // FW-27, FW-32
    let (mut s, now) = running();
    let message = "framework has been removed".to_string();
    let reason = EndReason::TornDown;
    let error = Event::Error {
        reason,
        message: message.clone(),
    };
    let told = feed(&mut s, now, master(error));
    assert_eq!(
        told,
        [
            Effect::User(UserEvent::Disconnected),
            Effect::User(UserEvent::Error { reason, message }),
            Effect::Stop
        ]
    );
    assert_eq!(feed(&mut s, now, Input::Connected { peer: PeerId(9) }), []);

    let (mut s, now) = running();
    let stopped = feed(&mut s, now, Input::User(UserCall::Stop));
    assert_eq!(stopped, [call(Call::Teardown)]);
    assert_eq!(feed(&mut s, now, Input::User(revive(&[]))), []);
    assert_eq!(feed(&mut s, now, master(Event::Updated)), []);
    assert_eq!(feed(&mut s, now, master(ended())), [Effect::Stop]);
    assert_eq!(s.deadline(), None);
}

fn ended() -> Event {
    let reason = EndReason::TornDown;
    let message = "it has ended".to_string();
    Event::Error { reason, message }
}

#[test]
fn an_end_that_was_lost_with_its_connection_is_asked_for_again() {
    // FW-32: or the framework would last for its failover timeout
    let (mut s, now) = running();
    feed(&mut s, now, Input::User(UserCall::Stop));
    assert_eq!(feed(&mut s, now, Input::Disconnected { peer: PEER }), []);
    let peer = PeerId(8);
    feed(&mut s, now, Input::Connected { peer });
    let now = now + Duration::from_secs(1);
    assert_eq!(tick(&mut s, now).len(), 1, "it subscribes");
    let says = |event| Input::Master { peer, event };
    let call = Call::Teardown;
    let again = [Effect::Master { peer, call }];
    let told = feed(&mut s, now, says(subscribed(1)));
    assert_eq!(told.last(), again.last());
    assert_eq!(feed(&mut s, now, says(subscribed(1))), [], "once");
    assert_eq!(feed(&mut s, now, says(ended())), [Effect::Stop]);
}

#[test]
fn who_stops_before_it_knows_its_id_ends_the_framework_that_it_got() {
    // FW-32: its first connection is lost between the answer and the end
    let mut s = scheduler();
    feed(&mut s, secs(1), Input::Connected { peer: PEER });
    feed(&mut s, secs(1), Input::User(UserCall::Stop));
    feed(&mut s, secs(1), master(subscribed(1)));
    feed(&mut s, secs(1), Input::Disconnected { peer: PEER });
    feed(&mut s, secs(1), Input::Connected { peer: PEER });
    let told = tick(&mut s, secs(2));
    let [
        Effect::Master {
            call: Call::Subscribe {
                framework: again, ..
            },
            ..
        },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(again.id, Some(framework()));
}

#[test]
fn who_stops_without_a_master_waits_for_one_but_not_for_ever() {
    // FW-32
    let mut unknown = scheduler();
    let stop = || Input::User(UserCall::Stop);
    assert_eq!(feed(&mut unknown, secs(1), stop()), [Effect::Stop]);

    let lost = || {
        let (mut s, now) = running();
        feed(&mut s, now, Input::Disconnected { peer: PEER });
        assert_eq!(feed(&mut s, now, stop()), []);
        (s, now)
    };
    let (mut s, now) = lost();
    let until = now + Duration::from_secs(30);
    assert_eq!(s.deadline(), Some(until));
    assert_eq!(tick(&mut s, now + Duration::from_secs(29)), []);
    assert_eq!(tick(&mut s, until), [Effect::Stop]);
    assert_eq!(tick(&mut s, until), []);

    let (mut s, now) = lost();
    assert_eq!(
        feed(&mut s, now, Input::User(UserCall::Leave)),
        [Effect::Stop]
    );
}

#[test]
fn a_kill_that_may_be_lost_with_its_connection_is_said_again() {
    // FW-45, TK-82
    let kill = || {
        Input::User(UserCall::Kill {
            task: TaskId::new("t").unwrap(),
            grace: None,
        })
    };
    let kills = |told: &[Effect]| {
        let is_kill = |effect: &&Effect| {
            let Effect::Master { call, .. } = effect else {
                return false;
            };
            matches!(call, Call::Kill { .. })
        };
        told.iter().filter(is_kill).count()
    };
    let again = |s: &mut Scheduler, now| {
        feed(s, now, Input::Disconnected { peer: PEER });
        feed(s, now, Input::Connected { peer: PEER });
        let now = now + Duration::from_secs(1);
        tick(s, now);
        kills(&feed(s, now, master(subscribed(1))))
    };
    let (mut s, now) = running();
    assert_eq!(kills(&feed(&mut s, now, kill())), 1);
    assert_eq!(again(&mut s, now), 1);
    assert_eq!(again(&mut s, now), 1, "until its end is heard");
    // TK-32: one that no master knows may come back, if it was ever there.
    let lost = |s: &mut Scheduler| {
        let (state, update) = (TaskState::Unknown, None);
        let word = TaskStatus {
            state,
            update,
            ..status(4)
        };
        feed(s, now, master(Event::Update(word)));
        again(s, now)
    };
    assert_eq!(lost(&mut s), 0, "nobody has ever heard of it");
    feed(&mut s, now, kill());
    feed(&mut s, now, master(Event::Update(status(3))));
    assert_eq!(lost(&mut s), 1);
    let end = TaskStatus {
        state: TaskState::Killed,
        ..status(5)
    };
    feed(&mut s, now, master(Event::Update(end)));
    assert_eq!(again(&mut s, now), 0);
    // A new task under the id is not the one that was to end.
    feed(&mut s, now, kill());
    let accept = UserCall::Accept {
        offers: vec![],
        operations: vec![Operation::Launch(vec![task()])],
        refuse: None,
    };
    feed(&mut s, now, Input::User(accept));
    assert_eq!(again(&mut s, now), 0);
}

#[test]
fn who_used_the_id_of_a_task_again_whose_end_was_not_confirmed_asks_anew() {
    // TK-74, TK-81: the launch is turned down, and the word of that may be lost
    let (mut s, now) = running();
    let end = TaskStatus {
        state: TaskState::Finished,
        ..status(5)
    };
    let confirm = Input::User(UserCall::Acknowledge {
        agent: AgentId::new("m-1-S1").unwrap(),
        task: TaskId::new("t").unwrap(),
        update: UpdateId(5),
    });
    feed(&mut s, now, master(Event::Update(end.clone())));
    feed(&mut s, now, confirm);
    let repeated = feed(&mut s, now, master(Event::Update(end.clone())));
    assert_eq!(repeated, [call(acknowledge(5))]);
    let accept = UserCall::Accept {
        offers: vec![],
        operations: vec![Operation::Launch(vec![task()])],
        refuse: None,
    };
    feed(&mut s, now, Input::User(accept));
    let repeated = feed(&mut s, now, master(Event::Update(end)));
    let tasks = vec![(TaskId::new("t").unwrap(), status(5).agent)];
    let asks = call(Call::Reconcile { tasks });
    assert_eq!(repeated, [call(acknowledge(5)), asks]);
}

fn role(name: &str) -> Role {
    Role::new(name).unwrap()
}

fn suppress(roles: &[&str]) -> UserCall {
    let roles = roles.iter().map(|name| role(name)).collect();
    UserCall::Suppress { roles }
}

fn revive(roles: &[&str]) -> UserCall {
    let roles = roles.iter().map(|name| role(name)).collect();
    UserCall::Revive { roles }
}

/// A scheduler of a framework in two roles.
fn of_two_roles() -> Scheduler {
    let mut info = FrameworkInfo::new("test");
    info.roles = vec![role("eng"), role("ops")];
    Scheduler::new(Config::new(info, 1))
}

/// Which roles it says it suppresses when it subscribes over a new connection.
fn suppressed_at(s: &mut Scheduler, now: Time, peer: PeerId) -> Vec<String> {
    let mut told = feed(s, now, Input::Connected { peer });
    let mut out = Outbox::new();
    s.tick(now + Duration::from_secs(1), &mut out);
    told.extend(effects(&mut out));
    match told.last() {
        Some(Effect::Master {
            call: Call::Subscribe { wishes, .. },
            ..
        }) => wishes.suppressed.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// Returns which calls the user is told to be for roles that the framework is not in, and nothing
/// else.
fn turned_down(told: &[Effect]) -> Vec<CallKind> {
    let kind = |effect: &Effect| {
        let Effect::User(UserEvent::Rejected { call, reason, .. }) = effect else {
            panic!("{effect:?}");
        };
        assert_eq!(*reason, RejectKind::ForeignRole);
        *call
    };
    told.iter().map(kind).collect()
}

#[test]
fn what_is_suppressed_is_said_at_each_subscription() {
    // OF-37, FW-39
    let mut s = of_two_roles();
    // Between subscriptions too.
    assert_eq!(feed(&mut s, secs(1), Input::User(suppress(&["ops"]))), []);
    assert_eq!(suppressed_at(&mut s, secs(1), PEER), ["ops"]);
    // While it asks to be subscribed, which was said before.
    assert_eq!(feed(&mut s, secs(1), Input::User(suppress(&["eng"]))), []);
    assert_eq!(feed(&mut s, secs(1), Input::User(revive(&["ops"]))), []);
    let told = feed(&mut s, secs(1), master(subscribed(1)));
    let framework = framework();
    assert_eq!(
        told,
        [
            call(Call::Suppress {
                roles: vec![role("eng")]
            }),
            call(Call::Revive {
                roles: vec![role("ops")]
            }),
            Effect::User(UserEvent::Subscribed {
                framework,
                domain: None
            }),
        ]
    );
    // A role of somebody else changes nothing: the master will say so.
    let told = feed(&mut s, secs(1), Input::User(suppress(&["ops", "web"])));
    let roles = vec![role("ops"), role("web")];
    assert_eq!(told, [call(Call::Suppress { roles })]);
    assert_eq!(suppressed_at(&mut s, secs(2), PeerId(2)), ["eng"]);
    feed(&mut s, secs(4), Input::User(suppress(&[])));
    assert_eq!(suppressed_at(&mut s, secs(5), PeerId(3)), ["eng", "ops"]);
}

/// What it asks for when it has subscribed, call by call.
#[test]
fn what_is_demanded_is_said_at_each_subscription() {
    let mut s = of_two_roles();
    let wants = |amount: &str, count| {
        let shape = Shape::new(Quantities::parse(amount).unwrap(), count).unwrap();
        Some(Demand::new(vec![shape]).unwrap())
    };
    let says = |name: &str, demand: Option<Demand>| UserCall::Demand {
        role: role(name),
        demand,
    };
    let said_at = |s: &mut Scheduler, now: Time, peer: PeerId| {
        let mut told = feed(s, now, Input::Connected { peer });
        let mut out = Outbox::new();
        s.tick(now + Duration::from_secs(1), &mut out);
        told.extend(effects(&mut out));
        match told.last() {
            Some(Effect::Master {
                call: Call::Subscribe { wishes, .. },
                ..
            }) => wishes.demands.clone(),
            other => panic!("{other:?}"),
        }
    };
    let first = wants("cpus:1", 3);
    let user = |s: &mut Scheduler, call| feed(s, secs(1), Input::User(call));
    assert_eq!(user(&mut s, says("eng", first.clone())), []);
    let told = user(&mut s, says("web", first.clone()));
    assert_eq!(turned_down(&told), [CallKind::Demand]);
    let expected = |demand: &Option<Demand>| {
        let demand = demand.clone().unwrap();
        BTreeMap::from([(role("eng"), demand)])
    };
    assert_eq!(said_at(&mut s, secs(1), PEER), expected(&first));
    // While it asks to be subscribed, which was said before.
    let second = wants("cpus:2", 1);
    assert_eq!(user(&mut s, says("eng", second.clone())), []);
    let told = feed(&mut s, secs(1), master(subscribed(1)));
    let demand = |name: &str, demand: &Option<Demand>| {
        call(Call::Demand {
            role: role(name),
            demand: demand.clone(),
        })
    };
    assert_eq!(told[0], demand("eng", &second));
    assert!(matches!(
        told[1..],
        [Effect::User(UserEvent::Subscribed { .. })]
    ));
    // A role of somebody else is the master's to turn down.
    let told = user(&mut s, says("web", None));
    assert_eq!(told, [demand("web", &None)]);
    assert_eq!(said_at(&mut s, secs(2), PeerId(2)), expected(&second));
    user(&mut s, says("eng", None));
    assert_eq!(said_at(&mut s, secs(3), PeerId(3)), BTreeMap::new());
}

fn asked(told: &[Effect]) -> Vec<Vec<(TaskId, Option<AgentId>)>> {
    let asked = told.iter().filter_map(|effect| match effect {
        Effect::Master {
            call: Call::Reconcile { tasks },
            ..
        } => Some(tasks.clone()),
        Effect::Master { .. } | Effect::User(_) | Effect::Reconnect { .. } | Effect::Stop => None,
    });
    asked.collect()
}

/// Loses its connection and subscribes again; returns what it asks for.
fn asked_again(s: &mut Scheduler, now: Time) -> Vec<Vec<(TaskId, Option<AgentId>)>> {
    let peer = PeerId(7);
    feed(s, now, Input::Disconnected { peer: PEER });
    feed(s, now, Input::Connected { peer });
    s.tick(now + Duration::from_secs(1), &mut Outbox::new());
    let event = subscribed(2);
    let told = feed(
        s,
        now + Duration::from_secs(1),
        Input::Master { peer, event },
    );
    asked(&told)
}

#[test]
fn whoever_has_subscribed_again_asks_for_what_is_not_over() {
    // TK-81
    let (mut s, now) = running();
    let agent = AgentId::new("m-1-S1").unwrap();
    let launched = |name: &str| {
        let id = TaskId::new(name).unwrap();
        TaskInfo::new(id, agent.clone(), Resources::default())
    };
    let names = ["a", "b", "c", "d"];
    let tasks = names.map(launched).to_vec();
    let accept = UserCall::Accept {
        offers: vec![],
        operations: vec![Operation::Launch(tasks)],
        refuse: None,
    };
    feed(&mut s, now, Input::User(accept));
    let mut hear = |name: &str, state| {
        let id = TaskId::new(name).unwrap();
        let status = TaskStatus::new(id, state, Source::Master, now);
        feed(&mut s, now, master(Event::Update(status)));
    };
    hear("a", TaskState::Running);
    hear("b", TaskState::Finished);
    // What no master knows may come back, if it was ever there (TK-32).
    hear("c", TaskState::Unknown);
    hear("f", TaskState::Unknown);
    hear("e", TaskState::Running);
    let all = asked_again(&mut s, now);
    let id = |name| TaskId::new(name).unwrap();
    // What was heard last says where it is; of what nobody spoke, where it was launched.
    let expected = vec![
        (id("a"), None),
        (id("c"), Some(agent.clone())),
        (id("d"), Some(agent.clone())),
        (id("e"), None),
    ];
    assert_eq!(all, [expected]);
    // An answer is told, and what is over is not asked for again.
    let gone = TaskStatus::new(id("d"), TaskState::Gone, Source::Master, now);
    let event = Event::Reconciled(vec![gone.clone()]);
    let peer = PeerId(7);
    let told = feed(
        &mut s,
        now + Duration::from_secs(1),
        Input::Master { peer, event },
    );
    assert_eq!(told, [Effect::User(UserEvent::Update(gone))]);
    feed(&mut s, now, Input::Disconnected { peer });
    assert_eq!(
        asked_again(&mut s, now + Duration::from_secs(2))[0].len(),
        3
    );
}

#[test]
fn it_asks_in_as_many_calls_as_it_takes() {
    let (mut s, now) = with_tasks(limits::RECONCILED_PER_CALL + 1);
    let calls = asked_again(&mut s, now);
    let sizes: Vec<usize> = calls.iter().map(Vec::len).collect();
    assert_eq!(sizes, [limits::RECONCILED_PER_CALL, 1]);
}

/// A scheduler that has so many tasks running.
fn with_tasks(many: usize) -> (Scheduler, Time) {
    let (mut s, now) = running();
    for n in 0..many {
        let id = TaskId::new(&alloc::format!("t{n:05}")).unwrap();
        let status = TaskStatus::new(id, TaskState::Running, Source::Master, now);
        feed(&mut s, now, master(Event::Update(status)));
    }
    (s, now)
}

/// Answers what is asked for with the state of a lost task.
fn answer(tasks: &[(TaskId, Option<AgentId>)]) -> Event {
    let unknown = |(id, _): &(TaskId, Option<AgentId>)| {
        TaskStatus::new(id.clone(), TaskState::Unknown, Source::Master, secs(9))
    };
    Event::Reconciled(tasks.iter().map(unknown).collect())
}

#[test]
fn it_asks_for_no_more_tasks_at_a_time_than_a_master_remembers() {
    // TK-75, TK-81, I20: after a failover each question is answered in the end
    let (most, many) = (limits::QUESTIONS_ASKED, 10_000);
    let (mut s, now) = with_tasks(many);
    let mut open = asked_again(&mut s, now).concat();
    let (now, peer) = (now + Duration::from_secs(1), PeerId(7));
    let mut heard = BTreeSet::new();
    while !open.is_empty() {
        assert!(open.len() <= most, "{} are asked for", open.len());
        // Agents come back one by one.
        let part: Vec<_> = open.drain(..open.len().min(300)).collect();
        let event = answer(&part);
        let told = feed(&mut s, now, Input::Master { peer, event });
        open.extend(asked(&told).concat());
        heard.extend(part.into_iter().map(|(task, _)| task));
        let left = many - heard.len();
        assert_eq!(open.len(), left.min(most), "there is room for them");
    }
    assert_eq!(heard.len(), many);
    // What the user asks for waits for its turn as well; the end of a task is an answer too.
    let task = |n: usize| (TaskId::new(&alloc::format!("u{n:05}")).unwrap(), None);
    let tasks = (0..=most).map(task).collect();
    let question = Input::User(UserCall::Reconcile { tasks });
    let calls = asked(&feed(&mut s, now, question));
    assert_eq!(calls.concat().len(), most);
    let end = TaskStatus::new(task(0).0, TaskState::Finished, Source::Master, now);
    let event = Event::Update(end);
    let told = feed(&mut s, now, Input::Master { peer, event });
    assert_eq!(asked(&told), [[task(most)]]);
}

#[test]
fn a_question_that_gets_no_answer_before_an_end_is_confirmed_takes_no_room_for_ever() {
    // TK-74
    let (mut s, now) = running();
    let ask = |task: &str| {
        let tasks = vec![(TaskId::new(task).unwrap(), None)];
        Input::User(UserCall::Reconcile { tasks })
    };
    let end = TaskStatus {
        state: TaskState::Finished,
        ..status(5)
    };
    feed(&mut s, now, master(Event::Update(end)));
    assert_eq!(asked(&feed(&mut s, now, ask("t"))).len(), 1);
    assert_eq!(asked(&feed(&mut s, now, ask("t"))).len(), 0);
    let confirm = UserCall::Acknowledge {
        agent: AgentId::new("m-1-S1").unwrap(),
        task: TaskId::new("t").unwrap(),
        update: UpdateId(5),
    };
    feed(&mut s, now, Input::User(confirm));
    assert_eq!(asked(&feed(&mut s, now, ask("t"))).len(), 1);
}

#[test]
fn what_the_master_has_no_room_for_is_said_again_with_its_next_heartbeat() {
    // TK-75, TK-82, I20
    let (mut s, now) = with_tasks(3);
    let kill = UserCall::Kill {
        task: TaskId::new("t00001").unwrap(),
        grace: None,
    };
    feed(&mut s, now, Input::User(kill));
    let open = asked_again(&mut s, now).concat();
    let (now, peer) = (now + Duration::from_secs(1), PeerId(7));
    let mut hear = |event| feed(&mut s, now, Input::Master { peer, event });
    let refused = |call, reason| Event::Rejected {
        call,
        reason,
        message: String::new(),
    };
    assert_eq!(hear(Event::Heartbeat), []);
    let is_full = RejectKind::TooMany;
    for call in [CallKind::Reconcile, CallKind::Kill] {
        assert_eq!(hear(refused(call, is_full)), [], "not for the user");
    }
    hear(answer(&open[..1]));
    let said = hear(Event::Heartbeat);
    assert_eq!(asked(&said), [open[1..].to_vec()]);
    let kill = Effect::Master {
        peer,
        call: Call::Kill {
            task: TaskId::new("t00001").unwrap(),
            grace: None,
        },
    };
    assert_eq!(said.len(), 2);
    assert!(said.contains(&kill), "{said:?}");
    assert_eq!(hear(Event::Heartbeat), [], "once");
    // The user hears of a question for all tasks, and of what is refused for another reason.
    hear(answer(&open[1..]));
    assert_eq!(hear(refused(CallKind::Reconcile, is_full)).len(), 1);
    assert_eq!(hear(refused(CallKind::Kill, RejectKind::TooLong)).len(), 1);
}

#[test]
fn an_heir_asks_for_all_unless_told_not_to() {
    // TK-79, TK-81, FW-28
    for reconciles in [true, false] {
        let mut info = FrameworkInfo::new("test");
        info.id = Some(framework());
        let mut config = Config::new(info, 1);
        config.reconciles = reconciles;
        let mut s = Scheduler::new(config);
        feed(&mut s, secs(1), Input::Connected { peer: PEER });
        let told = feed(&mut s, secs(1), master(subscribed(1)));
        let expected = if reconciles { vec![vec![]] } else { vec![] };
        assert_eq!(asked(&told), expected);
        assert_eq!(asked_again(&mut s, secs(2)).len(), 0);
    }
}

#[test]
fn an_update_holds_once_the_master_says_so() {
    // FW-53
    let renamed = |name: &str| FrameworkInfo::new(name);
    let (mut s, now) = running();
    let update = |name: &str| {
        let (framework, wishes) = (renamed(name), Wishes::default());
        (framework, wishes)
    };
    let said = |name: &str| {
        let (framework, wishes) = update(name);
        call(Call::Update { framework, wishes })
    };
    for (name, told) in [
        ("bad", vec![said("bad")]),
        ("good", vec![]),
        ("late", vec![]),
    ] {
        let (framework, wishes) = update(name);
        let asked = UserCall::Update { framework, wishes };
        assert_eq!(feed(&mut s, now, Input::User(asked)), told, "one at a time");
    }
    let (of, reason, message) = (CallKind::Update, RejectKind::TooLong, "no".to_string());
    let rejected = Event::Rejected {
        call: of,
        reason,
        message: message.clone(),
    };
    let told = Effect::User(UserEvent::Rejected {
        call: of,
        reason,
        message,
    });
    assert_eq!(feed(&mut s, now, master(rejected)), [told, said("good")]);
    let told = feed(&mut s, now, master(Event::Updated));
    assert_eq!(told, [Effect::User(UserEvent::Updated), said("late")]);
    // The third was not answered: it is void.
    feed(&mut s, now, Input::Disconnected { peer: PEER });
    let mut told = feed(&mut s, now, Input::Connected { peer: PeerId(2) });
    let mut out = Outbox::new();
    s.tick(now + Duration::from_secs(1), &mut out);
    told.extend(effects(&mut out));
    let [
        Effect::Master {
            call: Call::Subscribe {
                framework: info, ..
            },
            ..
        },
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert_eq!(info.name, "good");
    assert_eq!(info.id, Some(framework()));
}

/// Loses the connection; returns what the next one is subscribed with.
fn subscribed_anew(s: &mut Scheduler, now: Time) -> (FrameworkInfo, Wishes) {
    feed(s, now, Input::Disconnected { peer: PEER });
    feed(s, now, Input::Connected { peer: PeerId(2) });
    for effect in tick(s, now + Duration::from_secs(1)) {
        if let Effect::Master { call, .. } = effect
            && let Call::Subscribe { framework, wishes } = call
        {
            return (framework, wishes);
        }
    }
    panic!("it does not subscribe");
}

fn rejected(call: CallKind, reason: RejectKind) -> Input {
    master(Event::Rejected {
        call,
        reason,
        message: "no".to_string(),
    })
}

fn demand_of(count: u32) -> Demand {
    let each = Quantities::parse("cpus:1").unwrap();
    Demand::new(vec![Shape::new(each, count).unwrap()]).unwrap()
}

#[test]
fn what_is_wanted_after_an_update_holds_after_it() {
    // FW-53, OF-37: it was lost with the next connection
    let role = |name: &str| Role::new(name).unwrap();
    let (web, new) = (role("web"), role("new"));
    let framework = FrameworkInfo {
        roles: vec![web.clone(), new.clone()],
        ..FrameworkInfo::new("wide")
    };
    for holds in [true, false] {
        let (mut s, now) = running();
        let update = UserCall::Update {
            framework: framework.clone(),
            wishes: Wishes::default(),
        };
        assert_eq!(feed(&mut s, now, Input::User(update)).len(), 1);
        let roles = vec![new.clone()];
        let suppress = UserCall::Suppress {
            roles: roles.clone(),
        };
        assert_eq!(feed(&mut s, now, Input::User(suppress)), []);
        let (of, demand) = (web.clone(), Some(demand_of(3)));
        let wanted = UserCall::Demand {
            role: of.clone(),
            demand: demand.clone(),
        };
        assert_eq!(feed(&mut s, now, Input::User(wanted)), []);
        let answer = match holds {
            true => master(Event::Updated),
            false => rejected(CallKind::Update, RejectKind::TooLong),
        };
        let told = feed(&mut s, now, answer);
        let said = [
            call(Call::Suppress { roles }),
            call(Call::Demand {
                role: of,
                demand: demand.clone(),
            }),
        ];
        assert_eq!(told[1..], said);
        let (info, wishes) = subscribed_anew(&mut s, now);
        assert_eq!(info.roles.contains(&new), holds);
        assert_eq!(wishes.suppressed.contains(&new), holds);
        assert_eq!(wishes.demands.get(&web), demand.as_ref().filter(|_| holds));
    }
}

#[test]
fn what_waits_for_an_answer_that_never_comes_is_kept() {
    // OF-37
    let (mut s, now) = running();
    let role = s.config.framework.roles[0].clone();
    let update = UserCall::Update {
        framework: FrameworkInfo::new("late"),
        wishes: Wishes::default(),
    };
    feed(&mut s, now, Input::User(update));
    let roles = vec![role.clone()];
    assert_eq!(
        feed(&mut s, now, Input::User(UserCall::Suppress { roles })),
        []
    );
    let (info, wishes) = subscribed_anew(&mut s, now);
    assert_ne!(info.name, "late");
    assert!(wishes.suppressed.contains(&role));
}

#[test]
fn what_waits_behind_an_update_is_bounded() {
    // I22
    let (mut s, now) = running();
    let update = || UserCall::Update {
        framework: FrameworkInfo::new("again"),
        wishes: Wishes::default(),
    };
    for n in 0..limits::UNANSWERED_UPDATES {
        let told = feed(&mut s, now, Input::User(update()));
        assert_eq!(told.len(), usize::from(n == 0));
    }
    let told = feed(&mut s, now, Input::User(update()));
    let [Effect::User(UserEvent::Rejected { call, reason, .. })] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!((*call, *reason), (CallKind::Update, RejectKind::TooMany));
    assert_eq!(s.filled()[3].has, limits::UNANSWERED_UPDATES);
}

#[test]
fn what_a_master_has_no_room_for_is_wanted_again() {
    // SE-33, OF-37: it is the same as what the next subscription would say
    let (mut s, now) = running();
    let role = s.config.framework.roles[0].clone();
    let roles = vec![role.clone()];
    let suppress = call(Call::Suppress {
        roles: roles.clone(),
    });
    let asked = UserCall::Suppress {
        roles: roles.clone(),
    };
    let said = feed(&mut s, now, Input::User(asked));
    assert_eq!(said, slice::from_ref(&suppress));
    let full = || rejected(CallKind::Suppress, RejectKind::TooMany);
    assert_eq!(feed(&mut s, now, full()), []);
    assert_eq!(feed(&mut s, now, master(Event::Heartbeat)), [suppress]);
    assert_eq!(feed(&mut s, now, master(Event::Heartbeat)), []);

    let demand = Some(demand_of(2));
    let wanted = UserCall::Demand {
        role: role.clone(),
        demand: demand.clone(),
    };
    let said = feed(&mut s, now, Input::User(wanted));
    assert_eq!(said, [call(Call::Demand { role, demand })]);
    assert_eq!(
        feed(&mut s, now, rejected(CallKind::Demand, RejectKind::TooMany)),
        []
    );
    assert_eq!(feed(&mut s, now, master(Event::Heartbeat)), said);

    let revive = call(Call::Revive {
        roles: roles.clone(),
    });
    let asked = UserCall::Revive { roles };
    let said = feed(&mut s, now, Input::User(asked));
    assert_eq!(said, slice::from_ref(&revive));
    assert_eq!(
        feed(&mut s, now, rejected(CallKind::Revive, RejectKind::TooMany)),
        []
    );
    assert_eq!(feed(&mut s, now, master(Event::Heartbeat)), [revive]);
}

#[test]
fn only_what_was_refused_is_said_again() {
    // SE-33, OF-36, OF-37: what was heard is not begun anew
    let mut s = scheduler();
    let role = |n: u32| Role::new(&format!("team/{n}")).unwrap();
    s.config.framework.roles = (0..3).map(role).collect();
    feed(&mut s, secs(1), Input::Connected { peer: PEER });
    feed(&mut s, secs(1), master(subscribed(1)));
    let wanted = |n, amount| UserCall::Demand {
        role: role(n),
        demand: Some(demand_of(amount)),
    };
    let say = |s: &mut Scheduler, call| feed(s, secs(1), Input::User(call));
    let hear = |s: &mut Scheduler, event| feed(s, secs(1), master(event));
    say(&mut s, wanted(0, 10));
    let revive = UserCall::Revive {
        roles: vec![role(1)],
    };
    say(&mut s, revive);
    let refuse = |s: &mut Scheduler, n| {
        let (call, roles) = (CallKind::Demand, vec![role(n)]);
        assert_eq!(hear(s, Event::Unheard { call, roles }), []);
        let full = rejected(call, RejectKind::TooMany);
        assert_eq!(feed(s, secs(1), full), [], "not for the user");
    };
    let said = say(&mut s, wanted(2, 1));
    refuse(&mut s, 2);
    assert_eq!(hear(&mut s, Event::Heartbeat), said);
    assert_eq!(hear(&mut s, Event::Heartbeat), []);
    // It is not said again if it is said anew meanwhile.
    refuse(&mut s, 2);
    let said = say(&mut s, wanted(2, 7));
    assert_eq!(hear(&mut s, Event::Heartbeat), []);
    // While an update is not answered it waits for that, and is void if that holds: it says all.
    for holds in [false, true] {
        refuse(&mut s, 2);
        let (framework, wishes) = (s.config.framework.clone(), s.config.wishes.clone());
        say(&mut s, UserCall::Update { framework, wishes });
        assert_eq!(hear(&mut s, Event::Heartbeat), []);
        let answer = match holds {
            true => master(Event::Updated),
            false => rejected(CallKind::Update, RejectKind::TooLong),
        };
        let told = feed(&mut s, secs(1), answer);
        assert_eq!(told[1..], said[usize::from(holds)..]);
        assert_eq!(hear(&mut s, Event::Heartbeat), []);
    }
}

#[test]
fn a_wish_for_a_role_of_others_takes_none_back_that_is_to_be_said_again() {
    // SE-33, OF-36: it was lost with the one that was turned down
    let (mut s, now) = running();
    let own = s.config.framework.roles[0].clone();
    let strange = Role::new("strange").unwrap();
    let revive = |roles: &[&Role]| UserCall::Revive {
        roles: roles.iter().copied().cloned().collect(),
    };
    let full = |s: &mut Scheduler, roles: &[&Role]| {
        let roles = roles.iter().copied().cloned().collect();
        let call = CallKind::Revive;
        assert_eq!(feed(s, now, master(Event::Unheard { call, roles })), []);
        feed(s, now, rejected(call, RejectKind::TooMany))
    };
    let said = feed(&mut s, now, Input::User(revive(&[&own])));
    assert_eq!(full(&mut s, &[&own]), []);
    let other = feed(&mut s, now, Input::User(revive(&[&own, &strange])));
    assert_eq!(other.len(), 1, "the master says so");
    feed(
        &mut s,
        now,
        rejected(CallKind::Revive, RejectKind::ForeignRole),
    );
    assert_eq!(feed(&mut s, now, master(Event::Heartbeat)), said);
    // Nobody says again what nobody could be offered: its user hears of it.
    feed(&mut s, now, Input::User(revive(&[&strange])));
    let told = full(&mut s, &[&strange]);
    let is_told = |effect: &Effect| matches!(effect, Effect::User(UserEvent::Rejected { .. }));
    assert!(told.len() == 1 && told.iter().all(is_told), "{told:?}");
    assert_eq!(feed(&mut s, now, master(Event::Heartbeat)), []);
}

#[test]
fn a_wish_for_a_role_of_others_is_turned_down_while_no_master_can() {
    // OF-37
    let (mut s, now) = running();
    let strange = Role::new("strange").unwrap();
    let (role, roles) = (strange.clone(), vec![strange]);
    // Behind an update that is not answered it is turned down when the connection ends.
    let (framework, wishes) = (s.config.framework.clone(), s.config.wishes.clone());
    let update = UserCall::Update { framework, wishes };
    feed(&mut s, now, Input::User(update));
    let suppress = UserCall::Suppress {
        roles: roles.clone(),
    };
    assert_eq!(feed(&mut s, now, Input::User(suppress)), []);
    let told = feed(&mut s, now, Input::Disconnected { peer: PEER });
    assert_eq!(turned_down(&told[..1]), [CallKind::Suppress]);
    assert_eq!(told[1..], [Effect::User(UserEvent::Disconnected)]);
    let told = feed(&mut s, now, Input::User(UserCall::Revive { roles }));
    assert_eq!(turned_down(&told), [CallKind::Revive]);
    let demand = UserCall::Demand { role, demand: None };
    let told = feed(&mut s, now, Input::User(demand));
    assert_eq!(turned_down(&told), [CallKind::Demand]);
}

#[test]
fn what_no_subscription_has_room_for_is_not_kept() {
    // With the next master it would be the end of the framework.
    let mut s = scheduler();
    let role = s.config.framework.roles[0].clone();
    let bytes = limits::WISHES_BYTES / 4;
    let role_of = |n: usize| Role::new(&format!("{}{n}", "r".repeat(100))).unwrap();
    s.config.wishes.constraints.clear();
    feed(&mut s, secs(1), Input::Connected { peer: PEER });
    feed(&mut s, secs(1), master(subscribed(1)));
    let mut large = Wishes::default();
    for n in 0..bytes / 16 {
        large.suppressed.insert(role_of(n));
    }
    // As if it had been wanted before: there is no room for anything more.
    s.config.wishes = large;
    let demand = UserCall::Demand {
        role: role.clone(),
        demand: Some(demand_of(1)),
    };
    let told = feed(&mut s, secs(1), Input::User(demand));
    let [Effect::User(UserEvent::Rejected { call, reason, .. })] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!((*call, *reason), (CallKind::Demand, RejectKind::TooLarge));
    assert_eq!(s.config.wishes.demands.get(&role), None);
    // Nor a suppression.
    let asked = UserCall::Suppress { roles: vec![] };
    let told = feed(&mut s, secs(1), Input::User(asked));
    let [Effect::User(UserEvent::Rejected { call, reason, .. })] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!((*call, *reason), (CallKind::Suppress, RejectKind::TooLarge));
    assert!(!s.config.wishes.suppressed.contains(&role));
    let roles = vec![role; limits::ROLES_PER_FRAMEWORK + 1];
    let told = feed(&mut s, secs(1), Input::User(UserCall::Revive { roles }));
    assert!(matches!(
        told.as_slice(),
        [Effect::User(UserEvent::Rejected {
            call: CallKind::Revive,
            ..
        })]
    ));
}

#[test]
fn an_end_that_a_master_has_no_room_for_is_asked_for_again() {
    // SE-33, FW-32
    let (mut s, now) = running();
    let teardown = call(Call::Teardown);
    let said = feed(&mut s, now, Input::User(UserCall::Stop));
    assert_eq!(said, slice::from_ref(&teardown));
    assert_eq!(feed(&mut s, now, master(Event::Heartbeat)), []);
    feed(
        &mut s,
        now,
        rejected(CallKind::Teardown, RejectKind::TooMany),
    );
    assert_eq!(feed(&mut s, now, master(Event::Heartbeat)), [teardown]);
    assert_eq!(feed(&mut s, now, master(ended())), [Effect::Stop]);
}

#[test]
fn a_call_that_was_turned_down_does_not_end_it() {
    let (mut s, now) = running();
    let (call, reason) = (CallKind::Accept, RejectKind::NotOffered);
    let rejected = Event::Rejected {
        call,
        reason,
        message: "no".to_string(),
    };
    let told = UserEvent::Rejected {
        call,
        reason,
        message: "no".to_string(),
    };
    assert_eq!(feed(&mut s, now, master(rejected)), [Effect::User(told)]);
    assert!(s.is_subscribed());
}

#[test]
fn other_connections_are_not_listened_to() {
    let (mut s, now) = running();
    let stray = Input::Master {
        peer: PeerId(99),
        event: Event::Error {
            reason: EndReason::Removed,
            message: "no".to_string(),
        },
    };
    assert_eq!(feed(&mut s, now, stray), []);
    assert_eq!(
        feed(&mut s, now, Input::Disconnected { peer: PeerId(99) }),
        []
    );
    assert!(s.is_subscribed());
}

#[test]
fn who_stops_before_it_is_subscribed_does_not_stay_behind() {
    let mut s = scheduler();
    feed(&mut s, secs(1), Input::Connected { peer: PEER });
    let stopped = feed(&mut s, secs(1), Input::User(UserCall::Stop));
    assert_eq!(stopped, [call(Call::Teardown)]);
    assert_eq!(
        feed(&mut s, secs(1), master(subscribed(1))),
        [],
        "it is on its way"
    );
    assert_eq!(feed(&mut s, secs(1), master(ended())), [Effect::Stop]);
}

/// Stops at the first update.
struct Once;

impl Logic for Once {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        if matches!(event, UserEvent::Update(_)) {
            calls.push(UserCall::Stop);
        }
    }
}

#[test]
fn hosted_logic_acknowledges_before_its_own_calls() {
    let mut hosted = Hosted::new(Config::new(FrameworkInfo::new("test"), 1), Once);
    feed(&mut hosted, secs(1), Input::Connected { peer: PEER });
    assert_eq!(feed(&mut hosted, secs(1), master(subscribed(1))), []);
    assert_eq!(
        feed(&mut hosted, secs(1), master(Event::Update(status(3)))),
        [call(acknowledge(3)), call(Call::Teardown)]
    );
}

/// Does nothing.
struct Idle;

impl Logic for Idle {
    fn on_event(&mut self, _now: Time, _event: UserEvent, _calls: &mut Vec<UserCall>) {}
}

#[test]
fn news_with_a_name_is_confirmed_and_other_news_is_not() {
    // FW-56
    let mut hosted = Hosted::new(Config::new(FrameworkInfo::new("test"), 1), Idle);
    feed(&mut hosted, secs(1), Input::Connected { peer: PEER });
    feed(&mut hosted, secs(1), master(subscribed(1)));
    for update in [None, Some(UpdateId(3))] {
        let news = TaskStatus {
            update,
            ..status(3)
        };
        let said = feed(&mut hosted, secs(1), master(Event::Update(news)));
        let confirmed = update.map(|_| call(acknowledge(3)));
        assert_eq!(said, Vec::from_iter(confirmed));
    }
}

#[test]
fn who_leaves_says_nothing_and_ends() {
    // FW-28: somebody else may come back as the framework
    for (mut s, now) in [running(), (scheduler(), secs(1))] {
        let left = feed(&mut s, now, Input::User(UserCall::Leave));
        assert_eq!(left, [Effect::Stop]);
        assert_eq!(feed(&mut s, now, Input::User(revive(&[]))), []);
        assert_eq!(feed(&mut s, now, Input::Connected { peer: PEER }), []);
    }
}

#[test]
fn a_kill_waits_for_the_next_subscription() {
    // FW-45, TK-82
    let kill = |n: usize| UserCall::Kill {
        task: TaskId::new(&alloc::format!("t{n}")).unwrap(),
        grace: Some(Duration::from_secs(n as u64)),
    };
    let mut s = scheduler();
    assert_eq!(feed(&mut s, secs(1), Input::User(kill(1))), []);
    feed(&mut s, secs(1), Input::Connected { peer: PEER });
    assert_eq!(feed(&mut s, secs(1), Input::User(kill(2))), []);
    let told = feed(&mut s, secs(1), master(subscribed(1)));
    let sent = |n: usize| {
        call(Call::Kill {
            task: TaskId::new(&alloc::format!("t{n}")).unwrap(),
            grace: Some(Duration::from_secs(n as u64)),
        })
    };
    assert_eq!(told[1..], [sent(1), sent(2)]);
    // Within a bound, and whoever is beyond it hears so.
    feed(&mut s, secs(3), Input::Disconnected { peer: PEER });
    for n in 0..limits::WAITING_KILLS {
        assert_eq!(feed(&mut s, secs(3), Input::User(kill(n))), []);
    }
    assert_eq!(feed(&mut s, secs(3), Input::User(kill(0))), []);
    let refused = feed(&mut s, secs(3), Input::User(kill(limits::WAITING_KILLS)));
    let [Effect::User(UserEvent::Update(status))] = &refused[..] else {
        panic!("{refused:?}")
    };
    assert_eq!(status.state, TaskState::Unknown);
}

#[test]
fn many_kills_are_said_in_parts() {
    // FW-45, TK-82: nothing on their way has to hold all of them
    let count = limits::KILLS_SAID * 2 + 7;
    let mut s = scheduler();
    for n in 0..count {
        let task = TaskId::new(&alloc::format!("t{n}")).unwrap();
        let grace = None;
        feed(&mut s, secs(1), Input::User(UserCall::Kill { task, grace }));
    }
    let mut said = BTreeSet::new();
    let mut kills = |told: &[Effect]| {
        let mut kills = Vec::new();
        for effect in told {
            if let Effect::Master {
                call: Call::Kill { task, .. },
                ..
            } = effect
            {
                kills.push(task.clone());
            }
        }
        said.extend(kills.iter().cloned());
        (kills.len(), said.len())
    };
    let part = limits::KILLS_SAID;
    feed(&mut s, secs(1), Input::Connected { peer: PEER });
    assert_eq!(
        kills(&feed(&mut s, secs(1), master(subscribed(1)))),
        (part, part)
    );
    let beat = |s: &mut Scheduler| feed(s, secs(1), master(Event::Heartbeat));
    assert_eq!(kills(&beat(&mut s)), (part, part * 2));
    // The master had no room for some of these: all are said once more, after the others.
    let refused = Event::Rejected {
        call: CallKind::Kill,
        reason: RejectKind::TooMany,
        message: "no room".into(),
    };
    assert_eq!(feed(&mut s, secs(1), master(refused)), []);
    assert_eq!(kills(&beat(&mut s)), (7, count));
    for rest in [part, part, 7, 0] {
        assert_eq!(kills(&beat(&mut s)), (rest, count));
    }
}

#[test]
fn an_update_that_is_not_confirmed_comes_again_in_the_next_subscription() {
    // TK-66, FW-47: the user may have been told, and have lost it
    let (mut s, now) = running();
    let update = master(Event::Update(status(7)));
    let told = [Effect::User(UserEvent::Update(status(7)))];
    assert_eq!(feed(&mut s, now, update.clone()), told);
    assert_eq!(feed(&mut s, now, update), [], "the agent sends it again");
    feed(&mut s, now, Input::Disconnected { peer: PEER });
    let peer = PeerId(2);
    feed(&mut s, now, Input::Connected { peer });
    let at = s.deadline().unwrap();
    s.tick(at, &mut Outbox::new());
    let event = subscribed(1);
    feed(&mut s, at, Input::Master { peer, event });
    let event = Event::Update(status(7));
    assert_eq!(feed(&mut s, at, Input::Master { peer, event }), told);
    // What is remembered is bounded: beyond it news is told each time that it comes.
    let say = |s: &mut Scheduler, n: usize| {
        let event = Event::Update(status(100 + n as u128));
        feed(s, at, Input::Master { peer, event }).len()
    };
    for n in 0..limits::UNCONFIRMED_UPDATES {
        say(&mut s, n);
    }
    assert_eq!((say(&mut s, 0), say(&mut s, 0)), (0, 0));
    let last = limits::UNCONFIRMED_UPDATES;
    assert_eq!((say(&mut s, last), say(&mut s, last)), (1, 1));
}

#[test]
fn an_accept_that_is_no_frame_is_answered_at_once() {
    // TK-53
    let (mut s, now) = running();
    let offers = vec![OfferId::new("m-1-O1").unwrap()];
    let operations = |bytes: usize| {
        let mut task = task();
        task.data = vec![0; bytes];
        vec![Operation::Launch(vec![task])]
    };
    let accept = |operations: Vec<Operation>| Call::Accept {
        offers: offers.clone(),
        operations,
        refuse: None,
    };
    let asks = |operations: Vec<Operation>| {
        Input::User(UserCall::Accept {
            offers: offers.clone(),
            operations,
            refuse: None,
        })
    };
    let room = limits::FRAME_BYTES - 1_000;
    let most = room + limits::FRAME_BYTES - size(&accept(operations(room)));
    let outs = feed(&mut s, now, asks(operations(most)));
    assert!(outs == [call(accept(operations(most)))]);
    let outs = feed(&mut s, now, asks(operations(most + 1)));
    let limit = limits::FRAME_BYTES;
    let message = alloc::format!(
        "the accept takes {} bytes on the wire, more than the limit of {limit}",
        limit + 1
    );
    let dropped = TaskStatus {
        reason: Some(Reason::TaskInvalid),
        message,
        agent: Some(task().agent),
        ..TaskStatus::new(task().id, TaskState::Dropped, Source::Master, now)
    };
    let decline = Call::Decline {
        offers: offers.clone(),
        refuse: None,
    };
    let told = Effect::User(UserEvent::Update(dropped));
    assert!(outs == [told, call(decline)]);
}

#[test]
fn news_of_operations_is_told_once_and_confirmed_each_time_it_comes() {
    // FW-48, FW-57, OF-55
    let (mut s, now) = running();
    let id = OperationId::new("o").unwrap();
    let update = UpdateId(9);
    let status = OperationStatus {
        update: Some(update),
        ..OperationStatus::new(id.clone(), OperationState::Finished, now)
    };
    let event = master(Event::OperationUpdate(status.clone()));
    let told = feed(&mut s, now, event.clone());
    assert_eq!(told, [Effect::User(UserEvent::Operation(status))]);
    assert_eq!(feed(&mut s, now, event.clone()), [], "not yet confirmed");
    let confirm = UserCall::AcknowledgeOperation {
        id: id.clone(),
        update,
    };
    let confirmed = call(Call::AcknowledgeOperation { id, update });
    let said = feed(&mut s, now, Input::User(confirm));
    assert_eq!(said, slice::from_ref(&confirmed));
    assert_eq!(feed(&mut s, now, event), [confirmed]);
}

#[test]
fn an_accept_without_a_connection_drops_its_named_operations() {
    // SM-34
    let mut s = scheduler();
    let change = |id: Option<&str>| Operation::Convert {
        id: id.map(|id| OperationId::new(id).unwrap()),
        change: Conversion::Reserve(Resources::default()),
    };
    let accept = UserCall::Accept {
        offers: vec![OfferId::new("m-1-O1").unwrap()],
        operations: vec![change(Some("o")), change(None)],
        refuse: None,
    };
    let told = feed(&mut s, secs(1), Input::User(accept));
    let [Effect::User(UserEvent::Operation(status))] = &told[..] else {
        panic!("{told:?}")
    };
    let said = (status.id.as_str(), status.state, status.update);
    assert_eq!(said, ("o", OperationState::Dropped, None));
}

#[test]
fn the_user_hears_of_a_lost_agent() {
    // FW-36
    let (mut s, now) = running();
    let agent = AgentId::new("m-S1").unwrap();
    let why = AgentLoss::Unreachable;
    let lost = Event::AgentLost {
        agent: agent.clone(),
        why,
    };
    let heard = feed(&mut s, now, master(lost));
    assert_eq!(heard, [Effect::User(UserEvent::AgentLost { agent, why })]);
}
