//! Agents that are drained: what runs ends, nothing new begins.

use super::executors::{INSIDE, connected, says, status, subscribe};
use super::*;
use crate::protocol::executor::Call;

fn drain(max_grace: Option<Duration>) -> Input {
    drain_since(1, max_grace)
}

fn drain_since(since: u64, max_grace: Option<Duration>) -> Input {
    let since = Time::from_micros(since);
    master(ToAgent::Drain { max_grace, since })
}

/// An agent with a task that takes its time.
fn busy(own: Option<Duration>) -> Node {
    let mut node = Node::joined();
    let mut slow = task("a");
    slow.kill_grace = own;
    node.feed(run("f", slow));
    node.feed(started(0));
    node
}

#[test]
fn a_drain_ends_what_runs_and_says_why() {
    // TK-124, TK-57
    let mut node = busy(None);
    let outputs = node.feed(drain(None));
    assert_eq!(lines(&outputs), ["* kill 0", "terminate c000000"]);
    // Said again, nothing more happens.
    assert_eq!(lines(&node.feed(drain(None))), NOTHING);
    let outputs = node.feed(exited(0, Exit::Signal(15)));
    let state = node.agent.state();
    let number = state.find_task(&fw("f"), &tid("a")).unwrap();
    let news = state.task(number).unwrap().unacknowledged().back().unwrap();
    assert_eq!(news.state, TaskState::Killed, "{outputs:?}");
    assert_eq!(news.reason, Some(Reason::AgentDraining));
}

#[test]
fn a_drain_only_shortens_the_time_that_tasks_have() {
    // TK-84
    for (max, own, patience) in [
        (Some(5), Some(20), 5),
        (Some(20), Some(5), 5),
        (Some(5), None, 5),
        (None, Some(20), 20),
        (None, None, 3),
    ] {
        let mut node = busy(own.map(secs));
        node.feed(drain(max.map(secs)));
        let waits = secs(patience) - Duration::from_micros(1);
        let destroys = |outputs: Outputs| lines(&outputs).contains(&"destroy c000000".into());
        assert!(!destroys(node.pass(waits)), "{max:?} {own:?}");
        assert!(
            destroys(node.pass(Duration::from_micros(1))),
            "{max:?} {own:?}"
        );
    }
}

#[test]
fn a_drained_agent_takes_no_tasks_until_it_is_called_off() {
    // TK-57, TK-124
    let mut node = Node::joined();
    node.feed(drain(None));
    let outputs = node.feed(run("f", task("b")));
    let refused = sent_updates(&outputs);
    assert_eq!(refused[0].1.state, TaskState::Dropped);
    assert_eq!(refused[0].1.reason, Some(Reason::AgentDraining));
    node.feed(master(ToAgent::Undrain));
    let outputs = lines(&node.feed(run("f", task("c"))));
    assert!(outputs.iter().any(|said| said.starts_with("launch")));
    // A master that does not say so has called it off meanwhile.
    let mut node = Node::joined();
    node.feed(drain(None));
    node.feed(Input::MasterLost { peer: MASTER });
    node.join(reregistered(1));
    let outputs = lines(&node.feed(run("f", task("d"))));
    assert!(outputs.iter().any(|said| said.starts_with("launch")));
}

/// An agent whose executor `e` takes an hour to end, and runs `t` and `u`.
fn slow() -> Node {
    let mut node = Node::joined();
    for (name, id) in [("t", 1), ("u", 2)] {
        let mut info = task_of("e", name);
        info.executor.as_mut().unwrap().shutdown_grace = Some(secs(3_600));
        node.feed(run("f", info));
        if name == "t" {
            node.feed(started(0));
            node.feed(connected(INSIDE, 0));
            node.feed(says(INSIDE, subscribe(&[], vec![])));
        }
        let running = status(name, TaskState::Running, id);
        node.feed(says(INSIDE, Call::Update(running)));
        node.feed(acknowledge("f", name, UpdateId(id)));
    }
    node
}

#[test]
fn a_drain_ends_executors_by_its_deadline() {
    // TK-124, TK-88
    let almost = Duration::from_millis(29_999);
    let millisecond = Duration::from_millis(1);
    let mut node = slow();
    let outputs = node.feed(drain(Some(secs(30))));
    assert_eq!(
        lines(&outputs),
        [
            "* kill 1",
            "executor: kill t 30s",
            "* kill 2",
            "executor: kill u 30s"
        ]
    );
    // It ends one task, and neither the other nor itself.
    let killed = status("t", TaskState::Killed, 3);
    node.feed(says(INSIDE, Call::Update(killed)));
    node.feed(acknowledge("f", "t", UpdateId(3)));
    assert_eq!(lines(&node.pass(almost)), NOTHING);
    assert_eq!(lines(&node.pass(millisecond)), ["destroy c000000"]);
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    let end = sent_updates(&outputs).remove(0).1;
    let drained = (TaskState::Killed, Some(Reason::AgentDraining));
    assert_eq!((end.state, end.reason), drained);
    // One that ends its tasks, but not itself when it is asked to, has no more time either.
    let mut node = slow();
    node.feed(drain(Some(secs(30))));
    node.pass(secs(10));
    for (name, id) in [("t", 3), ("u", 4)] {
        node.feed(says(
            INSIDE,
            Call::Update(status(name, TaskState::Killed, id)),
        ));
        let outputs = lines(&node.feed(acknowledge("f", name, UpdateId(id))));
        assert_eq!(
            outputs.contains(&"executor: shutdown".into()),
            name == "u",
            "{outputs:?}"
        );
    }
    assert_eq!(lines(&node.pass(almost - secs(10))), NOTHING);
    assert_eq!(lines(&node.pass(millisecond)), ["destroy c000000"]);
}

#[test]
fn the_time_of_a_drain_begins_once_and_ends_with_it() {
    // TK-124: said again by the next master it begins no second time.
    let mut node = slow();
    node.feed(drain(Some(secs(30))));
    node.pass(secs(20));
    node.feed(Input::MasterLost { peer: MASTER });
    node.join(reregistered(2));
    node.feed(drain(Some(secs(30))));
    assert_eq!(lines(&node.pass(Duration::from_millis(8_999))), NOTHING);
    let outputs = node.pass(Duration::from_millis(1));
    assert_eq!(lines(&outputs), ["destroy c000000"]);
    // So it does if its time is over before the next master has said it.
    let mut node = slow();
    node.feed(drain(Some(secs(30))));
    node.pass(secs(20));
    node.feed(Input::MasterLost { peer: MASTER });
    node.join(reregistered(2));
    assert_eq!(lines(&node.pass(secs(11))), NOTHING);
    let outputs = lines(&node.feed(drain(Some(secs(30)))));
    assert_eq!(outputs.last().unwrap(), "destroy c000000");
    // Another one, for it was called off while the agent was away, has its own.
    let mut node = slow();
    node.feed(drain_since(1, Some(secs(30))));
    node.feed(Input::MasterLost { peer: MASTER });
    node.join(reregistered(2));
    node.feed(drain_since(2, Some(secs(60))));
    assert_eq!(lines(&node.pass(Duration::from_millis(59_999))), NOTHING);
    let outputs = node.pass(Duration::from_millis(1));
    assert_eq!(lines(&outputs), ["destroy c000000"]);
    // So it has if the first one has not even left by then.
    let mut node = slow();
    node.disk_stalls();
    node.feed(drain_since(1, Some(secs(30))));
    node.feed(master(ToAgent::Undrain));
    node.feed(drain_since(2, Some(secs(60))));
    node.disk_goes_on();
    assert_eq!(lines(&node.pass(Duration::from_millis(59_999))), NOTHING);
    let outputs = node.pass(Duration::from_millis(1));
    assert_eq!(lines(&outputs), ["destroy c000000"]);
    // Called off, it ends nobody; what was killed has the time of its executor.
    let mut node = slow();
    node.feed(drain(Some(secs(30))));
    node.feed(master(ToAgent::Undrain));
    assert_eq!(lines(&node.pass(secs(60))), NOTHING);
    // A disk that stalls takes nothing from it.
    let mut node = slow();
    node.disk_stalls();
    node.feed(drain(Some(secs(30))));
    assert_eq!(lines(&node.pass(secs(40))), NOTHING);
    node.disk_goes_on();
    assert_eq!(lines(&node.pass(Duration::from_millis(29_999))), NOTHING);
    let outputs = node.pass(Duration::from_millis(1));
    assert_eq!(lines(&outputs), ["destroy c000000"]);
}

#[test]
fn an_agent_that_falls_while_it_is_drained_goes_on() {
    // AG-23, TK-124, AG-18
    let mut node = busy(Some(secs(20)));
    node.feed(drain(None));
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    let said = lines(&node.pass(secs(20)));
    assert_eq!(said, ["destroy c000000"]);
}
