//! Bounds on what is held in offers: they hold for all that they name.

use alloc::vec;

use super::*;
use crate::allocator::drf::DemandRule;
use crate::allocator::{FrameworkCapabilities, Obstacle};
use crate::demand::{Demand, Shape};
use crate::resources::Quantities;

fn capped(most: &str) -> Rig {
    Rig::with(Options {
        most_offered: Some(Quantities::parse(most).unwrap()),
        ..Options::default()
    })
}

/// Adds `A`, which can cope with everything, in the role `eng`.
fn joins(rig: &mut Rig) {
    rig.tell(Change::FrameworkAdded {
        framework: A,
        profile: FrameworkProfile {
            capabilities: FrameworkCapabilities::ALL,
            ..FrameworkProfile::new("A", roles(&["eng"]))
        },
    });
}

/// What `A` is offered of one agent, if it may hold so much in offers.
fn offered(most: &str, total: &str) -> Vec<String> {
    let mut rig = capped(most);
    joins(&mut rig);
    rig.agent(A0, total).says()
}

/// The same, if it demands ten of something and so much at once.
fn offered_at_once(most: &str, each: &str, total: &str) -> Vec<String> {
    let mut rig = Rig::with(Options {
        demands: DemandRule::Honoured,
        ..Options::default()
    });
    joins(&mut rig);
    let shape = Shape::new(Quantities::parse(each).unwrap(), 10).unwrap();
    let demand = Demand::new(vec![shape]).unwrap();
    let demand = demand.with_at_once(Quantities::parse(most).unwrap());
    rig.tell(Change::Demanded {
        framework: A,
        role: role("eng"),
        demand: Some(demand.unwrap()),
    });
    for n in 0..3 {
        rig.agent(AgentKey::from_raw(n, 0), total);
    }
    rig.says()
}

#[test]
fn a_bound_on_offers_holds_for_all_that_it_names() {
    for (most, total, expected) in [
        // Reserved or not, together, and the reserved first.
        ("cpus:3", "cpus(eng):8", "cpus(eng):3"),
        ("cpus:3", "cpus:8;cpus(eng):2", "cpus:1;cpus(eng):2"),
        // What can be taken back.
        (
            "cpus:3",
            "cpus(*)<revocable>:8;mem:10",
            "cpus(*)<revocable>:3;mem:10",
        ),
        // Ranges and sets by how many.
        ("ports:2", "cpus:8;ports:[1-1000]", "cpus:8;ports:[1-2]"),
        (
            "ports:3",
            "cpus:8;ports:[1-2,5-9]",
            "cpus:8;ports:[1-2,5-5]",
        ),
        ("x:1.5", "cpus:8;x:{b,a}", "cpus:8;x:{a}"),
        // Devices only as a whole.
        ("gpus:1.5", "cpus:8;gpus:4", "cpus:8;gpus:1"), // RM-55
    ] {
        let expected = format!("1: A/eng on 0: {expected}");
        assert_eq!(offered(most, total), [expected], "{most} of {total}");
    }
}

#[test]
fn what_cannot_be_divided_is_left_out_if_it_does_not_fit() {
    // RM-19
    let total = r#"cpus:1;disk(*)<mount="/m">:100;disk(eng)<volume="v",rw="d">:40"#;
    assert_eq!(offered("disk:30", total), ["1: A/eng on 0: cpus:1"]);
    assert_eq!(
        offered("disk:60", total),
        [r#"1: A/eng on 0: cpus:1;disk(eng)<volume="v",rw="d">:40"#]
    );
}

#[test]
fn a_bound_holds_for_names_beyond_the_last_column() {
    let names: Vec<_> = (0..16).map(|n| format!("x{n:02}:1")).collect();
    let mut rig = capped("licences:2");
    rig.agent(A1, &names.join(";"));
    joins(&mut rig);
    rig.agent(A0, "cpus:1;licences:9");
    let said = rig.says();
    assert!(
        said.iter().any(|it| it.ends_with("cpus:1;licences:2")),
        "{said:?}"
    );
}

#[test]
fn what_is_held_at_once_holds_for_all_that_it_names() {
    for (most, each, total, expected) in [
        ("cpus:2", "cpus:1", "cpus(eng):8", "cpus(eng):2"),
        (
            "ports:2",
            "cpus:1;ports:1",
            "cpus:8;ports:[1-9]",
            "cpus:2;ports:[1-2]",
        ),
        (
            "cpus:2",
            "cpus:1",
            "cpus(*)<revocable>:8",
            "cpus(*)<revocable>:2",
        ),
    ] {
        let said = offered_at_once(most, each, total);
        assert_eq!(said.len(), 1, "of three agents: {said:?}");
        assert!(said[0].ends_with(expected), "{said:?}");
    }
}

#[test]
fn a_bound_is_free_again_once_it_is_answered() {
    let mut rig = capped("ports:3");
    joins(&mut rig);
    rig.agent(A0, "cpus:4;ports:[1-9]");
    assert_eq!(rig.says(), ["1: A/eng on 0: cpus:4;ports:[1-3]"]);
    rig.agent(A1, "cpus:1;ports:[1-9]");
    assert_eq!(rig.says(), [""; 0]);
    let all = [(A0, Obstacle::HoldsEnough), (A1, Obstacle::HoldsEnough)];
    assert_eq!(rig.drf.explain(A, &role("eng")), all);
    let accepted = |resources: &str| Change::Accepted {
        framework: A,
        role: role("eng"),
        agent: A0,
        grants: whichever(),
        resources: res(resources),
    };
    rig.tell(accepted("cpus:4;ports:[1-2]"));
    let said = rig.until(10_000);
    assert_eq!(said.len(), 1, "two more: {said:?}");
    assert!(said[0].contains("cpus:1;ports:[1-2]"), "{said:?}");
    // What is lost with its agent is not held.
    rig.tell(accepted("ports:[3-3]"));
    rig.tell(Change::AgentRemoved { agent: A1 });
    rig.agent(A1, "cpus:1;ports:[7-9]");
    assert_eq!(rig.until(20_000).len(), 1);
}

#[test]
fn a_bound_follows_what_is_converted() {
    let mut rig = capped("cpus:3");
    joins(&mut rig);
    rig.agent(A0, "cpus:3").agent(A1, "cpus:3");
    assert_eq!(rig.says().len(), 1);
    let agent = if rig.drf.ledger.get(A0).unwrap().free().is_empty() {
        A0
    } else {
        A1
    };
    rig.tell(Change::Converted {
        framework: A,
        role: role("eng"),
        agent,
        grants: whichever(),
        before: res("cpus:2"),
        after: res("cpus(eng):2"),
    });
    assert_eq!(rig.until(5_000), [""; 0]);
    rig.tell(Change::Accepted {
        framework: A,
        role: role("eng"),
        agent,
        grants: whichever(),
        resources: res("cpus(eng):2"),
    });
    let said = rig.until(10_000);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with("cpus:2"), "{said:?}");
}
