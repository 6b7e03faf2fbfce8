//! An executor driven by hand, and one with a user's logic inside.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::ids::{ExecutorId, FrameworkId, UpdateId};
use crate::machine::Output;
use crate::protocol::status::{Source, TaskState};
use crate::resources::Resources;

const AGENT: PeerId = PeerId(1);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn tid(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

fn config() -> Config {
    let framework = FrameworkId::new("f").unwrap();
    Config::new(framework, ExecutorId::new("e").unwrap(), 3)
}

fn agent_id() -> AgentId {
    AgentId::new("rio-1-S0").unwrap()
}

fn task(name: &str) -> TaskInfo {
    TaskInfo {
        data: vec![1, 2, 3],
        ..TaskInfo::new(tid(name), agent_id(), Resources::new())
    }
}

fn says(event: Event) -> Input {
    let peer = AGENT;
    Input::Agent { peer, event }
}

fn subscribed() -> Input {
    let agent = agent_id();
    says(Event::Subscribed { agent })
}

fn report(task: &str, state: TaskState) -> Input {
    Input::User(UserCall::Update(Report::new(tid(task), state)))
}

fn has(task: &str, update: UpdateId) -> Input {
    let task = tid(task);
    says(Event::Acknowledged { task, update })
}

struct Node {
    executor: Executor,
    now: Time,
}

impl Node {
    fn new() -> Self {
        Self {
            executor: Executor::new(config()),
            now: Time::from_micros(1_000_000),
        }
    }

    /// Subscribed, with task `t`.
    fn working() -> Self {
        let mut node = Self::new();
        node.feed(Input::Connected { peer: AGENT });
        node.feed(subscribed());
        node.feed(says(Event::Launch(task("t"))));
        node
    }

    fn feed(&mut self, input: Input) -> Vec<Effect> {
        let mut out = Outbox::new();
        self.executor.handle(self.now, input, &mut out);
        effects(&mut out)
    }

    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        let end = self.now + time;
        let mut all = Vec::new();
        while let Some(at) = self.executor.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut out = Outbox::new();
            self.executor.tick(self.now, &mut out);
            all.extend(effects(&mut out));
        }
        self.now = end;
        all
    }
}

fn effects(out: &mut Out) -> Vec<Effect> {
    out.drain()
        .map(|output| match output {
            Output::Effect(effect) => effect,
            Output::Persist(never) => match never {},
            Output::Free(effect) => panic!("{effect:?} is not held"),
        })
        .collect()
}

fn lines(effects: &[Effect]) -> Vec<String> {
    effects.iter().map(line).collect()
}

fn line(effect: &Effect) -> String {
    match effect {
        Effect::Agent { call, .. } => match call {
            Call::Subscribe { tasks, updates, .. } => {
                let states: Vec<_> = updates.iter().map(|u| u.state.as_str()).collect();
                format!("subscribe {tasks:?} {states:?}")
            }
            Call::Update(status) => format!("update {} {}", status.task, status.state),
            Call::Message(data) => format!("message of {}", data.len()),
        },
        Effect::User(event) => match event {
            UserEvent::Subscribed { .. } => "user: subscribed".into(),
            UserEvent::Disconnected => "user: disconnected".into(),
            UserEvent::Launch(task) => format!("user: launch {}", task.id),
            UserEvent::Kill { task, grace } => format!("user: kill {task} {grace:?}"),
            UserEvent::Shutdown => "user: shutdown".into(),
            UserEvent::Error(text) => format!("user: error {text}"),
            UserEvent::Message(data) => format!("user: message {data:?}"),
            UserEvent::LaunchGroup(tasks) => format!("user: launch {} together", tasks.len()),
        },
        Effect::Exit => "exit".into(),
    }
}

fn update_id(effects: &[Effect]) -> UpdateId {
    match effects {
        [
            Effect::Agent {
                call: Call::Update(status),
                ..
            },
        ] => status.update.unwrap(),
        other => panic!("{other:?}"),
    }
}

const NOTHING: [String; 0] = [];

#[test]
fn a_group_is_told_of_as_one_and_each_task_once() {
    // OF-23, TK-69
    let mut node = Node::working();
    let group = |names: &[&str]| {
        let tasks = names.iter().map(|name| task(name));
        says(Event::LaunchGroup(tasks.collect()))
    };
    let outputs = node.feed(group(&["a", "b"]));
    let told = UserEvent::LaunchGroup(vec![task("a"), task("b")]);
    assert_eq!(outputs, [Effect::User(told)]);
    let outputs = node.feed(group(&["b", "c"]));
    let told = UserEvent::LaunchGroup(vec![task("c")]);
    assert!(outputs.contains(&Effect::User(told)), "{outputs:?}");
    let outputs = node.feed(group(&["a"]));
    let is_told = |effect: &Effect| matches!(effect, Effect::User(_));
    assert!(!outputs.iter().any(is_told), "{outputs:?}");
}

#[test]
fn a_task_from_launch_to_end() {
    let mut node = Node::new();
    let outputs = node.feed(Input::Connected { peer: AGENT });
    assert_eq!(lines(&outputs), ["subscribe [] []"]); // FW-60
    assert_eq!(lines(&node.feed(subscribed())), ["user: subscribed"]);
    let launch = says(Event::Launch(task("t")));
    assert_eq!(lines(&node.feed(launch)), ["user: launch t"]);
    let outputs = node.feed(report("t", TaskState::Running));
    assert_eq!(lines(&outputs), ["update t running"]);
    let Effect::Agent {
        call: Call::Update(status),
        ..
    } = &outputs[0]
    else {
        panic!("{outputs:?}");
    };
    // FW-61
    assert_eq!((status.source, status.at), (Source::Executor, node.now));
    assert_eq!(status.agent, Some(agent_id()));
    let running = status.update.unwrap();
    assert_eq!(lines(&node.feed(has("t", running))), NOTHING);
    let grace = secs(4);
    let kill = says(Event::Kill {
        task: tid("t"),
        grace,
    });
    assert_eq!(lines(&node.feed(kill.clone())), ["user: kill t 4s"]);
    let killed = update_id(&node.feed(report("t", TaskState::Killed)));
    assert_ne!(running, killed);
    // Over: nothing more is reported, and nothing can be killed.
    assert_eq!(lines(&node.feed(report("t", TaskState::Running))), NOTHING);
    assert_eq!(lines(&node.feed(kill)), NOTHING);
    node.feed(has("t", killed));
    assert_eq!(node.executor.tasks().count(), 0);
    assert_eq!(node.executor.deadline(), None);
}

#[test]
fn only_what_may_be_reported_is() {
    let mut node = Node::working();
    assert_eq!(lines(&node.feed(report("t", TaskState::Staging))), NOTHING);
    assert_eq!(lines(&node.feed(report("t", TaskState::Gone))), NOTHING);
    assert_eq!(lines(&node.feed(report("u", TaskState::Running))), NOTHING);
    assert_eq!(
        lines(&node.feed(report("t", TaskState::Starting))),
        ["update t starting"]
    );
}

#[test]
fn updates_are_kept_until_the_agent_has_them() {
    let mut node = Node::working();
    node.feed(says(Event::Launch(task("u"))));
    node.feed(says(Event::Launch(task("v"))));
    let first = update_id(&node.feed(report("t", TaskState::Running)));
    node.feed(has("t", first));
    node.feed(report("u", TaskState::Running));
    let outputs = node.feed(Input::Disconnected { peer: AGENT });
    assert_eq!(lines(&outputs), ["user: disconnected"]);
    // Reported while nobody listens.
    assert_eq!(lines(&node.feed(report("t", TaskState::Finished))), NOTHING);
    let back = PeerId(2);
    let outputs = node.feed(Input::Connected { peer: back });
    // FW-60: `t` was acknowledged once, `u` and `v` never
    assert_eq!(
        lines(&outputs),
        ["subscribe [u, v] [\"running\", \"finished\"]"]
    );
    // The old connection is nothing any more.
    assert_eq!(lines(&node.feed(says(Event::Shutdown))), NOTHING);
    let agent = agent_id();
    let event = Event::Subscribed { agent };
    node.feed(Input::Agent { peer: back, event });
    assert_eq!(lines(&node.pass(secs(9))), NOTHING);
    assert_eq!(
        lines(&node.pass(secs(1))),
        ["update u running", "update t finished"]
    );
    assert_eq!(lines(&node.pass(secs(19))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))).len(), 2);
}

#[test]
fn however_much_waits_for_the_agent_fits_its_frames() {
    let mut node = Node::working();
    node.feed(Input::Disconnected { peer: AGENT });
    let count = limits::FRAME_BYTES / limits::TEXT_BYTES;
    for _ in 0..count {
        let long = Report {
            message: "é".repeat(limits::TEXT_BYTES),
            ..Report::new(tid("t"), TaskState::Running)
        };
        node.feed(Input::User(UserCall::Update(long)));
    }
    let asked = node.feed(Input::Connected { peer: AGENT });
    let [Effect::Agent { call, .. }] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert!(size(call) <= limits::FRAME_BYTES);
    let Call::Subscribe { updates, .. } = call else {
        panic!("{call:?}");
    };
    let mut told: Vec<UpdateId> = updates.iter().filter_map(|status| status.update).collect();
    assert!(!told.is_empty());
    // Said before the answer came: it has not been told either.
    assert_eq!(node.feed(report("t", TaskState::Running)), []);
    for effect in node.feed(subscribed()) {
        if let Effect::Agent {
            call: Call::Update(status),
            ..
        } = effect
        {
            told.extend(status.update);
        }
    }
    assert_eq!(told.len(), count + 1);
}

#[test]
fn an_executor_outlives_its_agent_for_a_while() {
    let mut node = Node::working();
    node.feed(Input::Disconnected { peer: AGENT });
    node.pass(secs(600));
    // An attempt that comes to nothing does not start the clock again.
    let peer = PeerId(2);
    node.feed(Input::Connected { peer });
    node.feed(Input::Disconnected { peer });
    assert_eq!(lines(&node.pass(secs(299))), NOTHING);
    // FW-64, TL-18: 15 min
    assert_eq!(lines(&node.pass(secs(1))), ["user: shutdown"]);
    assert_eq!(lines(&node.pass(secs(2))), ["exit"]);
    let peer = PeerId(3);
    assert_eq!(lines(&node.feed(Input::Connected { peer })), NOTHING);
}

#[test]
fn an_executor_that_never_finds_its_agent_ends() {
    // AG-19, FW-64: the agent died right after it was started
    let mut node = Node::new();
    assert_eq!(lines(&node.pass(secs(899))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))), ["user: shutdown", "exit"]);
    // So does one that is never answered.
    let mut node = Node::new();
    node.feed(Input::Connected { peer: AGENT });
    assert_eq!(lines(&node.pass(secs(899))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))), ["user: shutdown", "exit"]);
}

#[test]
fn a_shutdown_waits_for_tasks_and_their_updates() {
    // MESOS-8537, MESOS-9847: it ends when its agent has the last of them
    let mut node = Node::working();
    assert_eq!(lines(&node.feed(says(Event::Shutdown))), ["user: shutdown"]); // TK-88
    assert_eq!(lines(&node.feed(says(Event::Launch(task("u"))))), NOTHING);
    let killed = update_id(&node.feed(report("t", TaskState::Killed)));
    assert_eq!(lines(&node.feed(has("t", killed))), ["exit"]);
    assert_eq!(lines(&node.pass(secs(60))), NOTHING);
}

#[test]
fn a_shutdown_does_not_wait_for_ever() {
    let mut node = Node::working();
    node.feed(says(Event::Shutdown));
    assert_eq!(lines(&node.pass(Duration::from_millis(1_999))), NOTHING);
    assert_eq!(lines(&node.pass(Duration::from_millis(1))), ["exit"]);
}

#[test]
fn an_executor_that_is_turned_away_ends() {
    let mut node = Node::new();
    node.feed(Input::Connected { peer: AGENT });
    let outputs = node.feed(says(Event::Error("not here".into())));
    assert_eq!(lines(&outputs), ["user: error not here", "exit"]);
}

/// Runs each task for ten seconds.
#[derive(Default)]
struct Sleeper {
    running: Vec<(Time, TaskId)>,
}

impl Logic for Sleeper {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Launch(task) => {
                self.running.push((now + secs(10), task.id.clone()));
                calls.push(UserCall::Update(Report::new(task.id, TaskState::Running)));
            }
            UserEvent::Shutdown => {
                for (_, task) in self.running.drain(..) {
                    calls.push(UserCall::Update(Report::new(task, TaskState::Killed)));
                }
            }
            UserEvent::Subscribed { .. }
            | UserEvent::Disconnected
            | UserEvent::Kill { .. }
            | UserEvent::Error(_)
            | UserEvent::LaunchGroup(_)
            | UserEvent::Message(_) => {}
        }
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        self.running.retain(|(until, task)| {
            if *until <= now {
                let report = Report::new(task.clone(), TaskState::Finished);
                calls.push(UserCall::Update(report));
            }
            *until > now
        });
    }

    fn deadline(&self) -> Option<Time> {
        self.running.iter().map(|(until, _)| *until).min()
    }
}

#[test]
fn a_users_logic_runs_tasks() {
    let mut hosted = Hosted::new(config(), Sleeper::default());
    let mut out = Outbox::new();
    let now = Time::from_micros(1_000_000);
    hosted.handle(now, Input::Connected { peer: AGENT }, &mut out);
    hosted.handle(now, subscribed(), &mut out);
    hosted.handle(now, says(Event::Launch(task("t"))), &mut out);
    assert_eq!(
        lines(&effects(&mut out)),
        ["subscribe [] []", "update t running"]
    );
    let end = hosted.deadline().unwrap();
    assert_eq!(end, now + secs(10));
    hosted.tick(end, &mut out);
    // The running update was due again at the same moment.
    assert_eq!(
        lines(&effects(&mut out)),
        ["update t running", "update t finished"]
    );
    hosted.handle(end, says(Event::Launch(task("u"))), &mut out);
    hosted.handle(end, says(Event::Shutdown), &mut out);
    assert_eq!(
        lines(&effects(&mut out)),
        ["update u running", "update u killed"]
    );
    assert!(hosted.logic().running.is_empty());
    assert!(hosted.executor().is_subscribed());
}

fn any_input() -> impl Strategy<Value = Input> {
    let peer = || (1u64..4).prop_map(PeerId);
    let task_id = || prop::sample::select(vec!["a", "b", "c"]).prop_map(tid);
    let state = prop::sample::select(vec![
        TaskState::Running,
        TaskState::Finished,
        TaskState::Unknown,
    ]);
    let event = prop_oneof![
        4 => Just(Event::Subscribed { agent: agent_id() }),
        4 => task_id().prop_map(|id| Event::Launch(task(id.as_str()))),
        1 => task_id().prop_map(|task| Event::Kill { task, grace: Duration::MAX }),
        1 => (task_id(), any::<u128>()).prop_map(|(task, update)| {
            Event::Acknowledged { task, update: UpdateId(update) }
        }),
    ];
    prop_oneof![
        2 => peer().prop_map(|peer| Input::Connected { peer }),
        1 => peer().prop_map(|peer| Input::Disconnected { peer }),
        8 => (peer(), event).prop_map(|(peer, event)| Input::Agent { peer, event }),
        4 => (task_id(), state).prop_map(|(task, state)| {
            Input::User(UserCall::Update(Report::new(task, state)))
        }),
    ]
}

proptest! {
    /// Whatever comes in: an update that was taken from the user is told to the agent in every
    /// subscription until it is acknowledged, in order.
    #[test]
    fn no_update_is_lost(inputs in prop::collection::vec(any_input(), 0..80)) {
        let mut node = Node::new();
        let mut waiting: Vec<UpdateId> = Vec::new();
        for input in inputs {
            let outputs = node.feed(input);
            // A user's, or the word that a task has arrived.
            let new = node.executor.unacknowledged.len() > waiting.len();
            waiting.extend(node.executor.unacknowledged.values().next_back()
                .filter(|_| new).and_then(|status| status.update));
            for output in &outputs {
                if let Effect::Agent { call: Call::Subscribe { updates, .. }, .. } = output {
                    let told: Vec<_> = updates.iter().filter_map(|status| status.update).collect();
                    prop_assert_eq!(&told, &waiting);
                }
            }
            prop_assert!(!node.executor.is_subscribed() || node.executor.alone_until.is_none());
            let resends = node.executor.resend.is_some();
            let speaks = node.executor.is_subscribed();
            prop_assert_eq!(resends, speaks && !waiting.is_empty());
        }
        // All is acknowledged in the end.
        node.feed(Input::Connected { peer: AGENT });
        node.feed(subscribed());
        for (_, status) in &node.executor.unacknowledged.clone() {
            node.feed(has(status.task.as_str(), status.update.unwrap()));
        }
        prop_assert_eq!(node.executor.deadline(), None);
    }
}

#[test]
fn a_task_that_comes_again_is_said_to_have_arrived() {
    // I15: the agent ends an executor that stays silent.
    let mut node = Node::working();
    let again = says(Event::Launch(task("t")));
    let outputs = node.feed(again.clone());
    assert_eq!(lines(&outputs), ["update t starting"]);
    assert_eq!(lines(&node.feed(again.clone())), NOTHING, "said, and kept");
    node.feed(has("t", update_id(&outputs)));
    assert_eq!(lines(&node.feed(again)), NOTHING, "the agent knows");
    assert_eq!(lines(&node.feed(report("t", TaskState::Running))).len(), 1);
}

#[test]
fn messages_go_both_ways_while_there_is_an_agent() {
    // FW-63
    let mut node = Node::new();
    let say = |length: usize| Input::User(UserCall::Message(vec![7; length]));
    assert_eq!(lines(&node.feed(say(1))), NOTHING);
    node.feed(Input::Connected { peer: AGENT });
    assert_eq!(lines(&node.feed(say(1))), NOTHING);
    node.feed(subscribed());
    let most = limits::MESSAGE_BYTES;
    assert_eq!(lines(&node.feed(say(most))), [format!("message of {most}")]);
    assert_eq!(lines(&node.feed(say(most + 1))), NOTHING);
    let outputs = node.feed(says(Event::Message(vec![1])));
    assert_eq!(lines(&outputs), ["user: message [1]"]);
}
