//! Agents that are gone for good, or are to leave: they end what they run, and themselves.

use super::*;
use crate::protocol::operation::Converted;

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
    assert_eq!(outputs[outputs.len() - 2..], ["* left", STOPPED]);
    // Nobody hears of these tasks any more.
    assert_eq!(sent_updates(&node.log).len(), 2, "that they ran");
}

#[test]
fn an_agent_that_is_gone_begins_anew_when_it_is_started_again() {
    // TK-114, TK-120, TK-128: its id is refused for ever, so it keeps it only while it has to end
    // something in its name
    let mut node = busy();
    node.feed(master(ToAgent::Convert(operations::order(1, "f", 0))));
    node.feed(shutdown());
    node.feed(exited(0, Exit::Signal(15)));
    assert!(node.agent.state().agent().is_some(), "something runs");
    node.feed(exited(1, Exit::Signal(15)));
    assert_eq!(node.agent.state().agent(), None);
    let epoch = node.agent.state().epoch();
    let (mut node, _) = Node::restart(node.journal, node.now);
    assert_eq!(*node.agent.view().total(), config().info.resources);
    // It believes no master that was replaced before, and uses no container's name again.
    assert_eq!(node.agent.state().epoch(), epoch);
    assert_eq!(node.agent.state().next(), Number(2));
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(Input::MasterFound { peer: MASTER });
    assert_eq!(lines(&node.pass(secs(1))), ["register"]);
}

#[test]
fn an_agent_with_nothing_to_end_stops_at_once() {
    let mut node = Node::joined();
    assert_eq!(lines(&node.feed(shutdown())), ["* left", STOPPED]);
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

#[test]
fn an_agent_leaves_when_it_is_told_to() {
    // AG-09, TK-112, PR-13
    let mut node = busy();
    let outputs = lines(&node.feed(Input::Leave));
    assert_eq!(outputs[0], "unregister");
    assert_eq!(lines(&node.feed(Input::Leave)), NOTHING);
    node.feed(exited(0, Exit::Signal(15)));
    let outputs = lines(&node.feed(exited(1, Exit::Signal(15))));
    let last = outputs[outputs.len() - 2..].to_vec();
    assert_eq!(last, ["* left", "left"]);
    // It is somebody else when it joins again.
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(Input::MasterFound { peer: MASTER });
    assert_eq!(lines(&node.pass(secs(1)))[0], "register");
}

#[test]
fn an_agent_that_has_left_is_what_it_was_set_up_with() {
    // AG-09, AG-61
    let mut node = busy();
    node.feed(master(ToAgent::Convert(operations::order(1, "f", 0))));
    assert_eq!(node.agent.state().converted().last, 1);
    node.feed(Input::Leave);
    node.feed(exited(0, Exit::Signal(15)));
    node.feed(exited(1, Exit::Signal(15)));
    assert_eq!(node.agent.state().converted(), &Converted::default());
    let (mut node, _) = Node::restart(node.journal, node.now);
    assert_eq!(*node.agent.view().total(), config().info.resources);
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(Input::MasterFound { peer: MASTER });
    assert_eq!(lines(&node.pass(secs(1))), ["register"]);
}

#[test]
fn an_agent_that_no_master_hears_leaves_all_the_same() {
    // AG-09
    let mut node = busy();
    node.feed(Input::MasterLost { peer: MASTER });
    let outputs = lines(&node.feed(Input::Leave));
    assert!(!outputs.contains(&"unregister".into()), "{outputs:?}");
    node.feed(exited(0, Exit::Signal(15)));
    let outputs = lines(&node.feed(exited(1, Exit::Signal(15))));
    assert_eq!(outputs.last().map(String::as_str), Some("left"));
}

#[test]
fn an_agent_cleans_up_after_the_one_before() {
    // AG-17
    let node = busy();
    let (journal, now) = (node.journal, node.now);
    let mut config = config();
    config.recover = Recover::Cleanup;
    let mut out = Outbox::new();
    let mut agent = Agent::recover(config, replay(&journal), now, &mut out);
    let mut say = |agent: &mut Agent, input| {
        agent.handle(now, input, &mut out);
        agent.check().unwrap();
        lines(&out.drain().collect())
    };
    let said = say(&mut agent, started(0));
    let ended = said.iter().filter(|line| line.starts_with("* framework"));
    assert_eq!(ended.count(), 2, "{said:?}");
    assert!(said.contains(&"terminate c000000".into()), "{said:?}");
    let lost = say(&mut agent, lost(1));
    assert!(!lost.contains(&"left".into()), "not all is known yet");
    say(&mut agent, Input::Container(ContainerEvent::Recovered));
    // It joins nobody.
    let found = Input::MasterFound { peer: MASTER };
    assert_eq!(say(&mut agent, found), NOTHING);
    let said = say(&mut agent, exited(0, Exit::Signal(15)));
    assert_eq!(said.last().map(String::as_str), Some("left"));
    assert_eq!(agent.state().agent(), None);
}
