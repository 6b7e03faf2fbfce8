//! Agents that are gone for good: they end what they run, and themselves.

use super::*;

/// An agent with a task of each kind that runs.
fn busy() -> Node {
    let mut node = Node::joined();
    node.feed(run("f", task("a")));
    node.feed(started(0));
    node.feed(run("g", task("b")));
    node.feed(started(1));
    node
}

fn shutdown() -> Input {
    master(ToAgent::Shutdown("it was removed".into()))
}

const STOPPED: &str = "stop the master has shut agent one down: it was removed";

#[test]
fn an_agent_that_is_gone_ends_all_and_then_itself() {
    // TK-114, PR-12
    let mut node = busy();
    let outputs = lines(&node.feed(shutdown()));
    for line in ["terminate", "* framework ended f", "* framework ended g"] {
        let is_said = outputs.iter().any(|said| said.starts_with(line));
        assert!(is_said, "{line}: {outputs:?}");
    }
    // It does not come back meanwhile, and takes no orders.
    let found = Input::MasterFound { peer: PeerId(2) };
    assert_eq!(lines(&node.feed(found)), NOTHING);
    assert_eq!(lines(&node.feed(run("f", task("c")))), NOTHING);
    let outputs = lines(&node.feed(exited(0, Exit::Signal(15))));
    assert!(!outputs.iter().any(|said| said.starts_with("stop")));
    // What does not end is destroyed in time.
    let outputs = lines(&node.pass(secs(3)));
    assert!(outputs.iter().any(|said| said.starts_with("destroy")));
    let outputs = lines(&node.feed(exited(1, Exit::Signal(9))));
    assert_eq!(outputs.last().map(String::as_str), Some(STOPPED));
    // Nobody hears of these tasks any more.
    assert_eq!(sent_updates(&node.log).len(), 2, "that they ran");
}

#[test]
fn an_agent_with_nothing_to_end_stops_at_once() {
    let mut node = Node::joined();
    assert_eq!(lines(&node.feed(shutdown())), [STOPPED]);
}

#[test]
fn an_agent_that_falls_while_it_leaves_goes_on_leaving() {
    // TK-114, AG-18
    let mut node = busy();
    node.feed(shutdown());
    let (mut node, _) = Node::restart(node.journal, node.now);
    for n in [0, 1] {
        node.feed(started(n));
    }
    let outputs = lines(&node.feed(Input::Container(ContainerEvent::Recovered)));
    let asked = node.feed(Input::MasterFound { peer: MASTER });
    assert_eq!(lines(&asked), NOTHING, "{outputs:?}");
    let said = lines(&node.pass(secs(10)));
    let ends = said.iter().filter(|line| line.starts_with("destroy"));
    assert_eq!(ends.count(), 2, "{said:?}");
    node.feed(shutdown());
    node.feed(exited(0, Exit::Signal(9)));
    let outputs = lines(&node.feed(exited(1, Exit::Signal(9))));
    assert_eq!(outputs.last().map(String::as_str), Some(STOPPED));
}
