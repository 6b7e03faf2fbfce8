//! What frameworks are answered that ask about their tasks.

use super::recovery::registry;
use super::*;
use crate::keys::FrameworkKey;
use crate::protocol::check::CheckStatus;
use crate::protocol::status::Observed;

/// A leadership that awaits agent `rio-1-S0`, and a framework.
struct Story {
    world: World,
    web: PeerId,
    owner: FrameworkId,
}

impl Story {
    fn new() -> Self {
        Self::of(registry())
    }

    fn of(registry: Registry) -> Self {
        Self::led(2, registry)
    }

    fn led(epoch: u64, registry: Registry) -> Self {
        let mut world = World::recovered(epoch, registry);
        world.drain();
        let (web, owner) = world.framework("web");
        Self { world, web, owner }
    }

    fn key(&self) -> FrameworkKey {
        let known = self.world.master.frameworks.find(&self.owner);
        known.expect("the framework is subscribed")
    }

    fn ask(&mut self, tasks: &[(&str, Option<&AgentId>)]) -> Vec<Out> {
        let tasks = tasks.iter().map(|(id, on)| (task_id(id), on.cloned()));
        let tasks = tasks.collect();
        self.world.call(self.web, Call::Reconcile { tasks })
    }

    /// The awaited agent comes back with these tasks; returns what the framework hears.
    fn back(&mut self, tasks: &[&str]) -> (PeerId, Vec<Out>) {
        let peer = self.world.connect(PeerRole::Agent, "one");
        let agent = agent_id(0);
        let tasks = tasks.iter().map(|id| {
            let info = task(id, &agent, "cpus:1");
            report(&self.owner, info, TaskState::Running)
        });
        let message = ToMaster::Reregister {
            tasks: tasks.collect(),
            id: agent.clone(),
            agent: agent_info("cpus:4"),
            frameworks: vec![],
        };
        let outs = self.world.agent_says(peer, message);
        let web = self.web;
        let heard = outs.into_iter().filter(
            |out| matches!(out, Output::Effect(Effect::Scheduler { peer, .. }) if *peer == web),
        );
        (peer, heard.collect())
    }

    /// An answer about a task of which nobody knows.
    fn says(&self, task: &str, state: TaskState, why: &str, on: Option<&AgentId>) -> TaskStatus {
        word(task, state, Reason::Reconciliation, why, on, self.world.now)
    }

    fn answered(&self, answers: &[TaskStatus]) -> Out {
        to_framework(self.web, Event::Reconciled(answers.to_vec()))
    }
}

const NONE: &str = "no such task";
const NOT_THERE: &str = "its agent has no such task";

#[test]
fn what_is_known_is_said_at_once() {
    // TK-74, TK-79, TK-80, FW-49, I22
    let mut story = Story::new();
    let (peer, agent) = story.world.agent("two", "cpus:4");
    story.world.now = story.world.now + Duration::from_micros(1);
    let tasks = vec![task("t", &agent, "cpus:1"), task("u", &agent, "cpus:1")];
    story.world.launch(story.web, tasks);
    let owner = story.owner.clone();
    let running = news("t", TaskState::Running, &agent, 1);
    story
        .world
        .update(peer, &owner, running.clone(), TaskState::Running);
    let answer = |status: TaskStatus| TaskStatus {
        source: Source::Master,
        reason: Some(Reason::Reconciliation),
        update: None,
        ..status
    };
    let staging = TaskStatus {
        agent: Some(agent.clone()),
        ..TaskStatus::new(
            task_id("u"),
            TaskState::Staging,
            Source::Master,
            story.world.now,
        )
    };
    let outs = story.ask(&[("t", None)]);
    assert_eq!(outs, [story.answered(&[answer(running.clone())])]);
    // Wherever the framework believes it to be; and all, if none is named.
    let other = agent_id(7);
    let outs = story.ask(&[("u", Some(&other))]);
    assert_eq!(outs, [story.answered(&[answer(staging.clone())])]);
    let outs = story.ask(&[]);
    assert_eq!(outs, [story.answered(&[answer(running), answer(staging)])]);
    // Of an end that is on its way, that is the answer: only it says how it ended.
    let done = news("t", TaskState::Finished, &agent, 2);
    story
        .world
        .update(peer, &owner, done.clone(), TaskState::Finished);
    assert_eq!(story.ask(&[("t", None)]), []);
    // What has ended is known for a while, but is not among all.
    let acknowledge = Call::Acknowledge {
        agent,
        task: task_id("t"),
        update: UpdateId(2),
    };
    story.world.call(story.web, acknowledge);
    let outs = story.ask(&[("t", None)]);
    assert_eq!(outs, [story.answered(&[answer(done)])]);
    // Who asks for all again and again is answered once in a second: the question is short.
    assert_eq!(story.ask(&[]), []);
    assert_eq!(story.ask(&[]), []);
    let answers = |outs: Vec<Out>| {
        let sizes = outs.into_iter().filter_map(|out| {
            let Output::Effect(Effect::Scheduler { event, .. }) = out else {
                return None;
            };
            let Event::Reconciled(all) = event else {
                return None;
            };
            Some(all.len())
        });
        sizes.collect::<Vec<_>>()
    };
    assert_eq!(answers(story.world.pass(limits::RECONCILED_WHOLE)), [1]);
    let later = story.world.pass(10 * limits::RECONCILED_WHOLE);
    assert!(answers(later).is_empty());
    assert_eq!(answers(story.ask(&[])), [1]);
}

#[test]
fn an_answer_waits_for_the_agent_that_may_know() {
    // TK-75, TK-76: and then it is given, unlike in Mesos
    let mut story = Story::new();
    let one = agent_id(0);
    let asked = [("t", Some(&one)), ("x", Some(&one))];
    assert_eq!(story.ask(&asked), []);
    let (peer, heard) = story.back(&["t"]);
    let message = "";
    let running = word(
        "t",
        TaskState::Running,
        Reason::Reconciliation,
        message,
        Some(&one),
        story.world.now,
    );
    let gone = story.says("x", TaskState::Gone, NOT_THERE, Some(&one));
    let expected = [
        story.answered(&[running]),
        story.answered(core::slice::from_ref(&gone)),
    ];
    assert_eq!(heard, expected);
    // Of an agent that is there, or was a moment ago, all is known.
    let outs = story.ask(&[("x", Some(&one))]);
    assert_eq!(outs, [story.answered(core::slice::from_ref(&gone))]);
    story.world.lose(peer);
    let outs = story.ask(&[("x", Some(&one))]);
    assert_eq!(outs, [story.answered(&[gone])]);
}

#[test]
fn without_an_agents_name_it_waits_for_all_agents() {
    // TK-75, TK-78
    let mut story = Story::new();
    assert_eq!(story.ask(&[("t", None), ("x", None)]), []);
    let (_, heard) = story.back(&["t"]);
    let running = word(
        "t",
        TaskState::Running,
        Reason::Reconciliation,
        "",
        Some(&agent_id(0)),
        story.world.now,
    );
    let unknown = story.says("x", TaskState::Unknown, NONE, None);
    let expected = [
        story.answered(&[running]),
        story.answered(core::slice::from_ref(&unknown)),
    ];
    assert_eq!(heard, expected);
    assert_eq!(story.ask(&[("x", None)]), [story.answered(&[unknown])]);
}

#[test]
fn an_agent_that_does_not_come_back_is_unreachable_and_so_may_be_its_tasks() {
    // TK-77, TK-78; SM-16, TK-60: what was said wrongly is put right
    let mut story = Story::new();
    let one = agent_id(0);
    assert_eq!(story.ask(&[("t", Some(&one)), ("u", None)]), []);
    let outs = story.world.pass(Duration::from_secs(600));
    let why = "its agent is unreachable";
    let away = story.says("t", TaskState::Unreachable, why, Some(&one));
    let unknown = story.says("u", TaskState::Unknown, NONE, None);
    let told: Vec<Out> = outs
        .into_iter()
        .filter(|out| !matches!(out, Output::Free(_) | Output::Persist(_)))
        .collect();
    let expected = [
        story.answered(core::slice::from_ref(&away)),
        story.answered(&[unknown]),
    ];
    assert_eq!(told, expected);
    let outs = story.ask(&[("t", Some(&one))]);
    assert_eq!(outs, [story.answered(&[away])]);
    let (_, heard) = story.back(&["t", "u"]);
    let back = |task| {
        let (state, reason) = (TaskState::Running, Reason::AgentReregistered);
        let why = "the agent came back";
        let status = word(task, state, reason, why, Some(&one), story.world.now);
        to_framework(story.web, Event::Update(status))
    };
    let (state, reason) = (TaskState::Running, Reason::Reconciliation);
    let running = word("t", state, reason, "", Some(&one), story.world.now);
    let expected = [story.answered(&[running]), back("t"), back("u")];
    assert_eq!(unnamed(heard), expected);
}

#[test]
fn what_an_agent_that_was_out_of_reach_does_not_bring_back_is_gone() {
    // TK-76, TK-77: the question stays until it is answered for good
    let mut story = Story::new();
    let one = agent_id(0);
    assert_eq!(story.ask(&[("t", Some(&one))]), []);
    story.world.pass(Duration::from_secs(600));
    // By another scheduler, which was told nothing.
    story.world.lose(story.web);
    story.web = story.world.connect(PeerRole::Framework, "web");
    let info = framework_info_of(story.owner.clone());
    story.world.subscribe(story.web, info);
    let why = "its agent is unreachable";
    let away = story.says("t", TaskState::Unreachable, why, Some(&one));
    let outs = story.ask(&[("t", Some(&one))]);
    assert_eq!(outs, [story.answered(&[away])]);
    let (_, heard) = story.back(&[]);
    let gone = story.says("t", TaskState::Gone, NOT_THERE, Some(&one));
    assert_eq!(heard, [story.answered(&[gone])]);
}

#[test]
fn of_an_agent_that_nobody_knows_nothing_is_known() {
    // TK-78
    let mut story = Story::new();
    let stranger = agent_id(9);
    let outs = story.ask(&[("t", Some(&stranger))]);
    let why = "no such task, and no such agent";
    let unknown = story.says("t", TaskState::Unknown, why, Some(&stranger));
    assert_eq!(outs, [story.answered(&[unknown])]);
}

#[test]
fn an_agent_that_joins_anew_has_lost_the_tasks_that_were_asked_for() {
    // TK-113
    let mut story = Story::new();
    let one = agent_id(0);
    assert_eq!(story.ask(&[("t", Some(&one))]), []);
    let peer = story.world.connect(PeerRole::Agent, "one");
    let agent = agent_info("cpus:4");
    let outs = story.world.agent_says(peer, ToMaster::Register { agent });
    let gone = story.says("t", TaskState::Gone, "its agent is gone", Some(&one));
    assert!(outs.contains(&story.answered(&[gone])), "{outs:?}");
}

#[test]
fn of_tasks_on_an_agent_that_was_given_up_is_said_who_said_so() {
    // TK-77, SM-17: as was said of them then, whoever leads
    let mut story = Story::new();
    let one = agent_id(0);
    assert_eq!(story.ask(&[("t", Some(&one))]), []);
    let ann = story.world.connect(PeerRole::Operator, "ann");
    let agent = one.clone();
    let outs = story.world.order(ann, operator::Call::MarkGone { agent });
    let answer = |story: &Story| {
        let (state, why) = (TaskState::GoneByOperator, "its agent is gone");
        story.answered(&[story.says("t", state, why, Some(&one))])
    };
    assert!(outs.contains(&answer(&story)), "{outs:?}");
    assert_eq!(story.ask(&[("t", Some(&one))]), [answer(&story)]);
    let registry = story.world.master.registry().clone();
    let mut story = Story::led(3, registry);
    let outs = story.ask(&[("t", Some(&one))]);
    assert_eq!(outs, [answer(&story)]);
}

#[test]
fn a_framework_that_leaves_asks_again() {
    let mut story = Story::new();
    let one = agent_id(0);
    assert_eq!(story.ask(&[("t", Some(&one))]), []);
    story.world.lose(story.web);
    story.web = story.world.connect(PeerRole::Framework, "web");
    let framework = framework_info_of(story.owner.clone());
    story.world.subscribe(story.web, framework);
    let (_, heard) = story.back(&[]);
    assert_eq!(heard, []);
}

#[test]
fn what_is_launched_under_an_id_that_was_asked_for_is_the_answer() {
    let mut story = Story::new();
    assert_eq!(story.ask(&[("t", None)]), []);
    let (_, agent) = story.world.agent("two", "cpus:4");
    story.world.now = story.world.now + Duration::from_micros(1);
    let offers: Vec<OfferId> = story
        .world
        .offered(story.web)
        .into_iter()
        .map(|o| o.id)
        .collect();
    let call = launch(&offers, vec![task("t", &agent, "cpus:1")]);
    let outs = story.world.call(story.web, call);
    let answers = outs.iter().filter(|out| {
        let Output::Effect(Effect::Scheduler { event, .. }) = out else {
            return false;
        };
        matches!(event, Event::Reconciled(answers) if answers[0].state == TaskState::Staging)
    });
    assert_eq!(answers.count(), 1);
}

#[test]
fn one_call_asks_for_a_bounded_number_of_tasks() {
    let mut story = Story::new();
    let many = limits::RECONCILED_PER_CALL + 1;
    let tasks = (0..many).map(|n| (task_id(&alloc::format!("t{n}")), None));
    let tasks = tasks.collect();
    let outs = story.world.call(story.web, Call::Reconcile { tasks });
    let event = Event::Rejected {
        call: CallKind::Reconcile,
        reason: RejectKind::TooMany,
        message: "more than 1000 tasks in one call".to_string(),
    };
    assert_eq!(outs, [to_framework(story.web, event)]);
}

#[test]
fn who_asks_for_much_takes_nobody_elses_room_and_is_told_nothing_false() {
    // TK-75, I20, I22
    let mut story = Story::new();
    let name = |n: usize| task_id(&alloc::format!("t{n}"));
    let calls = limits::ASKS_PER_FRAMEWORK / limits::RECONCILED_PER_CALL;
    for call in 0..calls {
        let first = call * limits::RECONCILED_PER_CALL;
        let tasks = (first..first + limits::RECONCILED_PER_CALL).map(|n| (name(n), None));
        let tasks = tasks.collect();
        assert_eq!(story.world.call(story.web, Call::Reconcile { tasks }), []);
    }
    let tasks = vec![(task_id("more"), None), (name(0), None)];
    let outs = story.world.call(story.web, Call::Reconcile { tasks });
    let [
        Output::Effect(Effect::Scheduler {
            event:
                Event::Rejected {
                    call: CallKind::Reconcile,
                    reason: RejectKind::TooMany,
                    message,
                },
            ..
        }),
    ] = outs.as_slice()
    else {
        panic!("{outs:?}");
    };
    assert!(message.ends_with("ask again for 1"), "{message}");
    // Another framework has as much room.
    let (other, _) = story.world.framework("other");
    let tasks = vec![(task_id("t"), None)];
    assert_eq!(story.world.call(other, Call::Reconcile { tasks }), []);
    // All is answered, in time.
    let (_, outs) = story.back(&[]);
    let answers = outs.iter().map(|out| {
        let Output::Effect(Effect::Scheduler { event, .. }) = out else {
            panic!("{out:?}");
        };
        let Event::Reconciled(answers) = event else {
            panic!("{event:?}");
        };
        answers.len()
    });
    assert_eq!(answers.sum::<usize>(), limits::ASKS_PER_FRAMEWORK);
}

#[test]
fn kills_for_which_there_is_no_room_are_refused() {
    // TK-75, TK-82, I22
    let mut story = Story::new();
    let kill = |n: usize| Call::Kill {
        task: task_id(&alloc::format!("t{n}")),
        grace: None,
    };
    for n in 0..limits::KILLS_PER_FRAMEWORK {
        assert_eq!(story.world.call(story.web, kill(n)), []);
    }
    let outs = story
        .world
        .call(story.web, kill(limits::KILLS_PER_FRAMEWORK));
    let is_refused = matches!(
        outs.as_slice(),
        [Output::Effect(Effect::Scheduler {
            event: Event::Rejected {
                call: CallKind::Kill,
                reason: RejectKind::TooMany,
                ..
            },
            ..
        })]
    );
    assert!(is_refused, "{outs:?}");
    let (other, _) = story.world.framework("other");
    assert_eq!(story.world.call(other, kill(0)), []);
    // The newest of a task counts, and needs no more room.
    assert_eq!(story.world.call(story.web, kill(7)), []);
    // Once nobody is awaited each kill is answered, remembered or not.
    story.world.pass(Duration::from_secs(600));
    let most = limits::KILLS_PER_FRAMEWORK;
    assert_eq!(story.world.master.kills.count(story.key()), most);
    let outs = story.world.call(story.web, kill(most));
    let unknown = story.says(&alloc::format!("t{most}"), TaskState::Unknown, NONE, None);
    assert_eq!(outs, [to_framework(story.web, Event::Update(unknown))]);
}

#[test]
fn questions_that_were_answered_leave_room_for_those_that_were_not() {
    // TK-75, TK-77, I20
    let mut registry = registry();
    let away = agent_id(1);
    registry.apply(&RegistryOp::Admit {
        id: away.clone(),
        name: "two".to_string(),
        info: agent_info("cpus:4").into(),
    });
    registry.apply(&RegistryOp::Unreachable {
        id: away.clone(),
        at: Time::from_micros(1),
    });
    let mut story = Story::of(registry);
    let ask = |story: &mut Story, first: usize, agent: &AgentId| {
        let numbers = first..first + limits::RECONCILED_PER_CALL;
        let tasks = numbers.map(|n| (task_id(&alloc::format!("t{n}")), Some(agent.clone())));
        let tasks = tasks.collect();
        story.world.call(story.web, Call::Reconcile { tasks })
    };
    for first in (0..limits::ASKS_PER_FRAMEWORK).step_by(limits::RECONCILED_PER_CALL) {
        let outs = ask(&mut story, first, &away);
        let [
            Output::Effect(Effect::Scheduler {
                event: Event::Reconciled(answers),
                ..
            }),
        ] = outs.as_slice()
        else {
            panic!("{outs:?}");
        };
        assert_eq!(answers.len(), limits::RECONCILED_PER_CALL);
    }
    let first = limits::ASKS_PER_FRAMEWORK;
    assert_eq!(
        story.world.master.asks.len(),
        first,
        "all are answered again"
    );
    let numbers = first..first + limits::QUESTIONS_ASKED;
    for first in numbers.step_by(limits::RECONCILED_PER_CALL) {
        assert_eq!(ask(&mut story, first, &agent_id(0)), [], "awaited");
    }
}

#[test]
fn of_a_refused_task_is_said_that_it_was_refused() {
    // TK-74, TK-72, I11: also once its agent is gone
    let mut story = Story::new();
    let (_, agent) = story.world.agent("two", "cpus:4");
    story.world.now = story.world.now + Duration::from_micros(1);
    let offer = story.world.offered(story.web).remove(0);
    // It was asked for before: the refusal is the answer.
    assert_eq!(story.ask(&[("t", None)]), []);
    let calls = launch(&[offer.id], vec![task("t", &agent, "cpus:5")]);
    story.world.call(story.web, calls);
    let ann = story.world.connect(PeerRole::Operator, "ann");
    let call = operator::Call::MarkGone {
        agent: agent.clone(),
    };
    story.world.order(ann, call);
    let outs = story.ask(&[("t", Some(&agent))]);
    let [
        Output::Effect(Effect::Scheduler {
            event: Event::Reconciled(answers),
            ..
        }),
    ] = outs.as_slice()
    else {
        panic!("{outs:?}");
    };
    let [answer] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    let said = (answer.state, answer.reason, answer.update);
    let expected = (TaskState::Error, Some(Reason::Reconciliation), None);
    assert_eq!(said, expected);
}

#[test]
fn a_refusal_is_over_once_its_id_is_a_tasks() {
    // I11, TK-72
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus:4");
    let (web, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offer = world.offered(web).remove(0);
    let bad = task("t", &agent, "cpus:5");
    let refused = world.call(
        web,
        Call::Accept {
            offers: vec![offer.id],
            operations: vec![Operation::Launch(vec![bad])],
            refuse: Some(Duration::ZERO),
        },
    );
    assert!(named(&refused).is_some());
    // Not confirmed, and the id is good for another one.
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:1")]);
    world.lose(web);
    let again = world.connect(PeerRole::Framework, "web");
    let outs = world.subscribe_again(again, framework_info_of(owner));
    let is_news = |out: &Out| {
        let Output::Effect(Effect::Scheduler { event, .. }) = out else {
            return false;
        };
        matches!(event, Event::Update(_))
    };
    assert!(!outs.iter().any(is_news), "{outs:?}");
}

#[test]
fn an_agent_speaks_for_its_own_tasks_only() {
    // PR-14
    let mut world = World::new();
    let (peer, agent) = world.agent("one", "cpus:4");
    let (_, owner) = world.framework("web");
    let status = news("never", TaskState::Finished, &agent, 5);
    let outs = world.update(peer, &owner, status, TaskState::Finished);
    let confirmed = ToAgent::Acknowledge {
        framework: owner,
        task: task_id("never"),
        update: UpdateId(5),
    };
    assert_eq!(outs, [to_agent(peer, confirmed)]);
    assert_eq!(world.master.strays(), 1);
}

#[test]
fn health_is_part_of_the_answer() {
    // TK-74: as it was said last, or as the agent reports it that is back
    let mut story = Story::new();
    let peer = story.world.connect(PeerRole::Agent, "one");
    let agent = agent_id(0);
    let check = Some(CheckStatus::Tcp {
        succeeded: Some(true),
    });
    let healthy = TaskReport {
        healthy: Some(true),
        check,
        ..report(
            &story.owner,
            task("t", &agent, "cpus:1"),
            TaskState::Running,
        )
    };
    let back = ToMaster::Reregister {
        tasks: vec![healthy],
        id: agent.clone(),
        agent: agent_info("cpus:4"),
        frameworks: vec![],
    };
    story.world.agent_says(peer, back);
    let says = |story: &mut Story| {
        let outs = story.ask(&[("t", None)]);
        let [Output::Effect(Effect::Scheduler { event, .. })] = &outs[..] else {
            panic!("{outs:?}");
        };
        let Event::Reconciled(answers) = event else {
            panic!("{event:?}");
        };
        let observed = answers[0].observed.as_deref().unwrap();
        (answers[0].state, observed.healthy, observed.check)
    };
    let running = TaskState::Running;
    assert_eq!(says(&mut story), (running, Some(true), check));
    let mut ill = news("t", running, &agent, 1);
    ill.reason = Some(Reason::TaskHealthCheckStatusUpdated);
    ill.observed = Some(Box::new(Observed {
        healthy: Some(false),
        check,
        ..Observed::default()
    }));
    let owner = story.owner.clone();
    story.world.update(peer, &owner, ill, running);
    assert_eq!(says(&mut story), (running, Some(false), check));
    // Operators see it, too.
    let tasks = story.world.master.view().live_tasks();
    let observed = tasks[0].status.observed.as_deref();
    assert_eq!(observed.and_then(|it| it.healthy), Some(false));
    // What is known stays known while the agent is away.
    story.world.lose(peer);
    story.world.pass(Duration::from_secs(3_600));
    let away = (TaskState::Unreachable, Some(false), check);
    assert_eq!(says(&mut story), away);
}
