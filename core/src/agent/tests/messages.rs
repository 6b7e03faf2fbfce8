//! Messages between frameworks and executors, and executors that are ended on request.

use super::executors::{INSIDE, connected, says, status, subscribe, working};
use super::*;
use crate::limits;
use crate::protocol::executor::Call;

fn executor_id(name: &str) -> ExecutorId {
    ExecutorId::new(name).unwrap()
}

fn message(framework: &str, executor: &str) -> Input {
    master(ToAgent::Message {
        framework: fw(framework),
        executor: executor_id(executor),
        data: vec![1, 2],
    })
}

#[test]
fn messages_are_passed_on_once() {
    // FW-35, FW-63, PR-08, PR-09
    let mut node = working();
    let outputs = node.feed(message("f", "e"));
    assert_eq!(lines(&outputs), ["executor: message [1, 2]"]);
    for (framework, executor) in [("g", "e"), ("f", "d")] {
        assert_eq!(lines(&node.feed(message(framework, executor))), NOTHING);
    }
    let outputs = node.feed(says(INSIDE, Call::Message(vec![3])));
    assert_eq!(lines(&outputs), ["message of e [3]"]);
    let longest = Call::Message(vec![0; limits::MESSAGE_BYTES]);
    assert_eq!(lines(&node.feed(says(INSIDE, longest))).len(), 1);
    let longer = Call::Message(vec![0; limits::MESSAGE_BYTES + 1]);
    assert_eq!(lines(&node.feed(says(INSIDE, longer))), NOTHING);
}

#[test]
fn nothing_is_kept_for_who_is_not_there() {
    // FW-35
    let mut node = working();
    node.feed(Input::ExecutorDisconnected { peer: INSIDE });
    assert_eq!(lines(&node.feed(message("f", "e"))), NOTHING);
    node.feed(connected(INSIDE, 0));
    let early = says(INSIDE, Call::Message(vec![3]));
    assert_eq!(lines(&node.feed(early)), NOTHING, "not subscribed");
    let mut node = working();
    node.feed(Input::MasterLost { peer: MASTER });
    let alone = says(INSIDE, Call::Message(vec![3]));
    assert_eq!(lines(&node.feed(alone)), NOTHING);
}

#[test]
fn an_executor_that_talks_too_much_is_passed_on_in_part() {
    // FW-63
    let mut node = working();
    let word = |bytes| says(INSIDE, Call::Message(vec![0; bytes]));
    let passed = |node: &mut Node, count: usize, bytes: usize| {
        let outputs = (0..count).map(|_| node.feed(word(bytes)).len());
        outputs.sum::<usize>()
    };
    let most = limits::EXECUTOR_MESSAGES;
    assert_eq!(passed(&mut node, most + 10, 1), most);
    node.pass(Duration::from_millis(999));
    assert_eq!(passed(&mut node, 1, 1), 0);
    node.pass(Duration::from_millis(1));
    let longest = limits::MESSAGE_BYTES;
    let most = limits::EXECUTOR_MESSAGE_BYTES / longest;
    assert_eq!(passed(&mut node, most + 10, longest), most);
    // One talks for itself.
    node.feed(run("f", task_of("d", "x")));
    node.feed(started(2));
    let other = PeerId(60);
    node.feed(connected(other, 2));
    let subscribe = Call::Subscribe {
        framework: fw("f"),
        executor: executor_id("d"),
        tasks: vec![],
        updates: vec![],
    };
    node.feed(says(other, subscribe));
    let outputs = node.feed(says(other, Call::Message(vec![4])));
    assert_eq!(lines(&outputs), ["message of d [4]"]);
}

fn shutdown(executor: &str) -> Input {
    master(ToAgent::ShutdownExecutor {
        framework: fw("f"),
        executor: executor_id(executor),
    })
}

#[test]
fn an_executor_that_is_to_end_ends_though_its_agent_falls() {
    // PR-07
    let mut node = working();
    let running = status("t", TaskState::Running, 1);
    node.feed(says(INSIDE, Call::Update(running)));
    node.feed(shutdown("e"));
    let fallen = || Node::restart(node.journal.clone(), node.now).0;
    // It is asked again, with all of its time, and gets no other tasks.
    let mut node = fallen();
    assert_eq!(lines(&node.feed(started(0))), NOTHING);
    node.feed(Input::Container(ContainerEvent::Recovered));
    let back = PeerId(51);
    node.feed(connected(back, 0));
    let outputs = node.feed(says(back, subscribe(&["t"], vec![])));
    let asked = ["executor: subscribed", "executor: shutdown"];
    assert_eq!(lines(&outputs), asked);
    node.join(reregistered(1));
    let end = &sent_updates(&node.feed(run("f", task_of("e", "u"))))[0].1;
    assert_eq!(end.state, TaskState::Dropped);
    assert_eq!(lines(&node.pass(secs(3))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))), ["destroy c000000"]);
}

#[test]
fn an_executor_that_is_to_end_and_does_not_come_back_is_destroyed() {
    // PR-07, AG-16
    let mut node = working();
    node.feed(shutdown("e"));
    let (mut fallen, _) = Node::restart(node.journal, node.now);
    fallen.feed(started(0));
    fallen.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(lines(&fallen.pass(secs(1))), NOTHING);
    assert_eq!(lines(&fallen.pass(secs(1))), ["destroy c000000"]);
    // One that never came at all has nothing to put in order.
    let mut node = Node::joined();
    node.feed(run("f", task_of("e", "t")));
    assert_eq!(lines(&node.feed(shutdown("e"))), ["* unwanted 0"]);
    let (mut node, _) = Node::restart(node.journal, node.now);
    assert_eq!(lines(&node.feed(started(0))), ["destroy c000000"]);
}

#[test]
fn an_executor_that_is_back_before_its_container_is_asked_to_end_all_the_same() {
    // PR-07, AG-16
    let mut node = working();
    let running = status("t", TaskState::Running, 1);
    node.feed(says(INSIDE, Call::Update(running)));
    node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    let (mut node, _) = Node::restart(node.journal, node.now);
    let back = PeerId(51);
    node.feed(connected(back, 0));
    node.feed(says(back, subscribe(&["t"], vec![])));
    assert_eq!(lines(&node.feed(started(0))), ["executor: shutdown"]);
    assert_eq!(lines(&node.pass(secs(4))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))), ["destroy c000000"]);
}

#[test]
fn a_framework_ends_an_executor() {
    // PR-07, FW-46
    let mut node = working();
    assert_eq!(lines(&node.feed(shutdown("d"))), NOTHING);
    let outputs = node.feed(shutdown("e"));
    assert_eq!(lines(&outputs), ["* unwanted 0", "executor: shutdown"]);
    assert_eq!(lines(&node.feed(shutdown("e"))), NOTHING);
    assert_eq!(lines(&node.pass(secs(5))), ["destroy c000000"]);
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    let end = &sent_updates(&outputs)[0].1;
    assert_eq!(end.state, TaskState::Failed);
    let why = "the executor was ended: its framework wants it no more";
    assert_eq!(end.message, why);
    assert!(lines(&outputs).contains(&"e has ended: signal 9".into()));
}

#[test]
fn an_executor_that_is_not_started_has_ended() {
    // AG-29
    let mut node = Node::joined();
    node.feed(master(ToAgent::Drain {
        max_grace: None,
        since: Time::ZERO,
    }));
    let outputs = node.feed(run("f", task_of("e", "t")));
    let last = lines(&outputs).pop().unwrap();
    assert_eq!(last, "e has ended: somehow");
    // Of one that runs, or was not to be started, that is not said.
    let mut node = working();
    node.feed(master(ToAgent::Drain {
        max_grace: None,
        since: Time::ZERO,
    }));
    for starts_executor in [false, true] {
        let name = if starts_executor { "u" } else { "v" };
        let executor = if starts_executor { "e" } else { "d" };
        let outputs = node.feed(master(ToAgent::RunTask {
            framework: fw("f"),
            role: Role::any(),
            task: task_of(executor, name),
            starts_executor,
        }));
        let ends = lines(&outputs);
        assert!(
            !ends.iter().any(|line| line.contains("has ended")),
            "{ends:?}"
        );
    }
}
