//! Reliable delivery of status updates.

use super::*;

#[test]
fn tv_35_an_update_is_sent_until_it_is_acknowledged() {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let first = sent_update(&node.feed(started(0)));
    let mut at = node.now;
    // TK-67, TV-35, TL-19
    for wait in [10, 20, 40, 80, 160, 320, 600, 600] {
        loop {
            node.feed(master(ToAgent::Ping)); // the master lives, it only does not acknowledge
            let before = node.now;
            let outputs = node.pass(secs(10));
            if lines(&outputs).is_empty() {
                assert!(node.now < at + secs(wait), "not sent after {wait} s");
                continue;
            }
            assert_eq!(lines(&outputs), ["update t running - latest running"]);
            assert_eq!(sent_update(&outputs), first);
            assert!(before < at + secs(wait) && node.now >= at + secs(wait));
            at = at + secs(wait);
            break;
        }
    }
    node.feed(acknowledge("f", "t", first));
    node.feed(master(ToAgent::Ping));
    assert_eq!(lines(&node.pass(secs(74))), NOTHING);
}

#[test]
fn only_the_oldest_is_in_flight_and_the_newest_state_goes_with_it() {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let first = sent_update(&node.feed(started(0)));
    node.feed(exited(0, Exit::Code(1)));
    // TK-66, TK-71
    let outputs = node.pass(secs(10));
    assert_eq!(lines(&outputs), ["update t running - latest failed"]);
    assert_eq!(sent_update(&outputs), first);
    let outputs = node.feed(acknowledge("f", "t", first));
    assert_eq!(
        lines(&outputs),
        [
            "update t failed command-failed latest failed",
            "* acknowledged 0"
        ],
        "the next one does not wait for the disk"
    );
    // The next one starts anew.
    assert_eq!(lines(&node.pass(secs(9))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))).len(), 1);
}

#[test]
fn acknowledgements_out_of_turn_are_ignored() {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let first = sent_update(&node.feed(started(0)));
    let UpdateId(bits) = first;
    // TK-69
    assert_eq!(
        lines(&node.feed(acknowledge("f", "t", UpdateId(bits ^ 1)))),
        NOTHING
    );
    assert_eq!(lines(&node.feed(acknowledge("f", "u", first))), NOTHING);
    assert_eq!(lines(&node.feed(acknowledge("g", "t", first))), NOTHING);
    assert_eq!(
        lines(&node.feed(acknowledge("f", "t", first))),
        ["* acknowledged 0"]
    );
    assert_eq!(lines(&node.feed(acknowledge("f", "t", first))), NOTHING);
}

#[test]
fn updates_wait_for_a_master_and_are_sent_at_once_to_it() {
    let mut node = Node::joined();
    node.feed(run("f", task("a")));
    node.feed(run("f", task("b")));
    node.feed(started(0));
    node.feed(Input::MasterLost { peer: MASTER });
    // AG-08
    assert_eq!(lines(&node.feed(started(1))), ["* updated 1 running"]);
    assert_eq!(lines(&node.pass(secs(60))), NOTHING);
    let outputs = node.join(reregistered(1));
    assert_eq!(
        lines(&outputs), // TK-67
        [
            "update a running - latest running",
            "update b running - latest running"
        ]
    );
    assert_eq!(lines(&node.pass(secs(9))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))).len(), 2);
}

#[test]
fn ids_of_updates_do_not_repeat_after_a_restart() {
    let mut node = Node::joined();
    node.feed(run("f", task("a")));
    let first = sent_update(&node.feed(started(0)));
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(exited(0, Exit::Code(0)));
    let outputs = node.join(reregistered(1));
    assert_eq!(sent_update(&outputs), first);
    let second = sent_update(&node.feed(acknowledge("f", "a", first)));
    assert_ne!(first, second);
}
