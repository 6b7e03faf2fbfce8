//! Operations on what the agent has.

use super::*;
use crate::ids::OperationId;
use crate::limits;
use crate::protocol::operation::{OperationKind, Order, Owner};

const PLAIN: &str = "cpus:2";
const RESERVED: &str = r#"cpus(*)<dynamic="eng">:2"#;

pub(super) fn res(text: &str) -> Resources {
    Resources::parse(text).unwrap()
}

/// An operation of a framework: of four, one that nobody has named, and one that cannot be done.
pub(super) fn order(number: u64, framework: &str, which: usize) -> Order {
    let (kind, before, after) = [
        (OperationKind::Reserve, PLAIN, RESERVED),
        (OperationKind::Unreserve, RESERVED, PLAIN),
        (
            OperationKind::Reserve,
            "mem:512",
            r#"mem(*)<dynamic="eng">:512"#,
        ),
        (
            OperationKind::Reserve,
            "gpus:1",
            r#"gpus(*)<dynamic="eng">:1"#,
        ),
    ][which];
    let id = (which < 2).then(|| OperationId::new(&format!("o{number}")).unwrap());
    let framework = fw(framework);
    Order {
        number,
        owner: Some(Owner { framework, id }),
        kind,
        before: res(before),
        after: res(after),
    }
}

fn convert(number: u64, which: usize) -> Input {
    master(ToAgent::Convert(order(number, "f", which)))
}

/// The names of the news about operations that were sent.
fn told(outputs: &Outputs) -> Vec<UpdateId> {
    let update = |output: &Output<AgentRecord, Effect>| match output {
        Output::Effect(Effect::Master {
            message: ToMaster::OperationUpdate { status, .. },
            ..
        }) => status.update,
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    };
    outputs.iter().filter_map(update).collect()
}

fn has(number: u64, update: UpdateId) -> Input {
    master(ToAgent::AcknowledgeOperation { number, update })
}

#[test]
fn operations_are_carried_out_once_and_in_turn() {
    // AG-61, SM-31, PR-10, PR-11
    let mut node = Node::joined();
    let outputs = node.feed(convert(1, 0));
    let said = ["* 1 reserve", "carried out 1", "operation 1 o1 finished"];
    assert_eq!(lines(&outputs), said);
    let total = || res(r#"cpus:2;cpus(*)<dynamic="eng">:2;mem:1024"#);
    assert_eq!(*node.agent.view().total(), total());
    // Said again by a master that has not heard, and one before which others are missing.
    assert_eq!(lines(&node.feed(convert(1, 0))), ["carried out 1"]);
    assert_eq!(lines(&node.feed(convert(3, 2))), NOTHING);
    assert_eq!(*node.agent.view().total(), total());
    // What nobody has named is not told of.
    let outputs = node.feed(convert(2, 2));
    assert_eq!(lines(&outputs), ["* 2 reserve", "carried out 2"]);
    let outputs = node.feed(convert(3, 1));
    assert_eq!(lines(&outputs)[..2], ["* 3 unreserve", "carried out 3"]);
    let mem = res(r#"cpus:4;mem:512;mem(*)<dynamic="eng">:512"#);
    assert_eq!(*node.agent.view().total(), mem);
}

#[test]
fn what_cannot_be_done_ends_the_connection_and_nothing_else() {
    let mut node = Node::joined();
    let outputs = lines(&node.feed(convert(1, 3)));
    assert!(
        outputs[0].starts_with("disconnect 1 operation 1 cannot"),
        "{outputs:?}"
    );
    assert_eq!(outputs.len(), 1);
    assert_eq!(node.agent.state().converted().last, 0);
}

#[test]
fn what_operations_made_outlives_the_agent_and_is_told() {
    // AG-23, RM-32, AG-14; OF-55
    let mut node = Node::joined();
    let first = node.feed(convert(1, 0));
    let (mut node, _) = Node::restart(node.journal, node.now);
    assert_eq!(
        *node.agent.view().total(),
        res(r#"cpus:2;cpus(*)<dynamic="eng">:2;mem:1024"#)
    );
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(Input::MasterFound { peer: MASTER });
    let outputs = lines(&node.pass(secs(1)));
    let came = [r#"converted 1 cpus(*)<dynamic="eng">:2"#, "reregister"];
    assert_eq!(outputs[..2], came);
    let again = node.feed(reregistered(1));
    assert_eq!(told(&again), told(&first), "the same news");
    node.feed(has(1, told(&first)[0]));
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(told(&node.join(reregistered(1))), []);
}

#[test]
fn news_of_operations_is_sent_until_it_is_acknowledged() {
    // OF-55
    let mut node = Node::joined();
    let first = told(&node.feed(convert(1, 0)));
    for wait in [10, 20, 40] {
        node.feed(master(ToAgent::Ping));
        assert_eq!(told(&node.pass(secs(wait - 1))), []);
        assert_eq!(told(&node.pass(secs(1))), first);
    }
    node.feed(has(1, UpdateId(7)));
    node.feed(has(2, first[0]));
    assert_eq!(
        node.agent.state().said().len(),
        1,
        "of another, or another of it"
    );
    assert_eq!(lines(&node.feed(has(1, first[0]))), ["* told of 1"]);
    node.feed(master(ToAgent::Ping));
    assert_eq!(lines(&node.pass(secs(74))), NOTHING);
    // The framework is gone: nobody wants to hear of its operations.
    node.feed(convert(2, 1));
    let outputs = node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    assert_eq!(lines(&outputs), ["* told of 2"]);
}

#[test]
fn a_task_is_dropped_if_what_it_needs_was_never_made() {
    // AG-30, SM-34, TK-55
    let mut node = Node::joined();
    let needs = |name: &str| TaskInfo {
        resources: res(RESERVED),
        ..task(name)
    };
    let outputs = lines(&node.feed(run("f", needs("early"))));
    let update = "update early dropped resources-unknown latest dropped";
    assert_eq!(outputs[2], update, "{outputs:?}");
    node.feed(convert(1, 0));
    let outputs = lines(&node.feed(run("f", needs("late"))));
    assert!(outputs.contains(&"launch c000001".into()), "{outputs:?}");
}

#[test]
fn an_agent_with_less_than_operations_rest_on_stops_and_says_so() {
    let mut node = Node::joined();
    node.feed(convert(1, 0));
    let mut config = config();
    config.info.resources = res("cpus:1;mem:1024");
    let mut out = Outbox::new();
    let agent = Agent::recover(config, replay(&node.journal), node.now, &mut out);
    agent.check().unwrap();
    let last = lines(&out.drain().collect()).pop().unwrap();
    assert!(
        last.starts_with("stop agent one cannot go on: operations"),
        "{last}"
    );
    assert!(last.contains("cpus"), "{last}");
}

#[test]
fn what_nobody_acknowledges_is_bounded() {
    // I22, OF-55: the oldest are said no more
    let labels: Vec<String> = (0..100).map(|n| format!(r#"label="{n:0>4000}""#)).collect();
    let long = res(&format!(r#"cpus(*)<dynamic="eng",{}>:2"#, labels.join(",")));
    let mut node = Node::joined();
    let mut out = Outbox::new();
    let count = limits::OPERATIONS_SAID_BYTES as u64 / 400_000 + 10;
    for number in 1..=count {
        let (there, back) = (2 * number - 1, 2 * number);
        for (number, before, after) in [
            (there, res(PLAIN), long.clone()),
            (back, long.clone(), res(PLAIN)),
        ] {
            let order = Order {
                before,
                after,
                ..order(number, "f", 0)
            };
            let input = master(ToAgent::Convert(order));
            node.agent.handle(node.now, input, &mut out);
            out.drain().for_each(drop);
        }
    }
    node.agent.check().unwrap();
    let said = node.agent.state().said();
    let first = said.keys().next().copied().unwrap();
    assert!((12..40).contains(&first), "{first} is the oldest");
    assert_eq!(said.keys().next_back(), Some(&(2 * count)));
    let filled = node.agent.view().filled();
    let bytes = filled
        .iter()
        .find(|it| it.what == "bytes of such news")
        .unwrap();
    assert!((bytes.most - 500_000..=bytes.most).contains(&bytes.has));
}
