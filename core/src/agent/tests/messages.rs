//! Messages between frameworks and executors, and executors that are ended on request.

use super::executors::{INSIDE, connected, says, working};
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
    // FW-63, PR-08, PR-09
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
fn a_framework_ends_an_executor() {
    // PR-07, FW-46
    let mut node = working();
    let shutdown = |executor: &str| {
        master(ToAgent::ShutdownExecutor {
            framework: fw("f"),
            executor: executor_id(executor),
        })
    };
    assert_eq!(lines(&node.feed(shutdown("d"))), NOTHING);
    assert_eq!(lines(&node.feed(shutdown("e"))), ["executor: shutdown"]);
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
    node.feed(master(ToAgent::Drain { max_grace: None }));
    let outputs = node.feed(run("f", task_of("e", "t")));
    let last = lines(&outputs).pop().unwrap();
    assert_eq!(last, "e has ended: somehow");
    // Of one that runs, or was not to be started, that is not said.
    let mut node = working();
    node.feed(master(ToAgent::Drain { max_grace: None }));
    for starts_executor in [false, true] {
        let name = if starts_executor { "u" } else { "v" };
        let executor = if starts_executor { "e" } else { "d" };
        let outputs = node.feed(master(ToAgent::RunTask {
            framework: framework("f"),
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
