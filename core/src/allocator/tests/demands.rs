//! Stated demands: what serves them, and what becomes of what comes back.

use super::quota::quota;
use super::*;
use crate::allocator::drf::DemandRule;
use crate::allocator::{FrameworkCapabilities, Obstacle};
use crate::demand::{Demand, Shape};
use crate::resources::{Milli, Quantities, Value};

fn honouring() -> Rig {
    Rig::with(Options {
        demands: DemandRule::Honoured,
        min_allocatable: Vec::new(),
        ..Options::default()
    })
}

/// What a framework wants in a role: so many of each shape.
fn demands(rig: &mut Rig, framework: FrameworkKey, in_role: &str, shapes: &[(&str, u32)]) {
    let shape = |(each, count): &(&str, u32)| {
        let each = Quantities::parse(each).unwrap();
        Shape::new(each, *count).unwrap()
    };
    let shapes = shapes.iter().map(shape).collect();
    rig.tell(Change::Demanded {
        framework,
        role: role(in_role),
        demand: Some(Demand::new(shapes).unwrap()),
    });
}

/// What `A`, of a role that everything is reserved to, is offered of one agent.
fn offered(total: &str, shapes: &[(&str, u32)]) -> Vec<String> {
    let mut rig = honouring();
    rig.tell(Change::FrameworkAdded {
        framework: A,
        profile: FrameworkProfile {
            capabilities: FrameworkCapabilities::ALL,
            ..FrameworkProfile::new("A", roles(&["eng"]))
        },
    });
    demands(&mut rig, A, "eng", shapes);
    rig.agent(A0, total).says()
}

#[test]
fn what_cannot_be_divided_serves_one_shape_or_none() {
    // RM-19, RM-48: MOUNT disks, volumes and shared volumes stay as they are.
    let shape = [("cpus:1;disk:10", 3)];
    for (whole, shown) in [
        (r#"disk(*)<mount="/m">:100"#, r#"disk(*)<mount="/m">:100"#),
        (
            r#"disk(eng)<volume="v",rw="d">:50"#,
            r#"disk(eng)<volume="v",rw="d">:50"#,
        ),
        (
            r#"disk(eng)<volume="v",rw="d",shared>:50"#,
            r#"disk(eng)<volume="v",rw="d",shared>:50"#,
        ),
    ] {
        let total = format!("cpus:4;{whole}");
        assert_eq!(
            offered(&total, &shape),
            [format!("1: A/eng on 0: cpus:1;{shown}")]
        );
        // What can be divided is taken first, and both together serve more.
        let total = format!("cpus:4;disk:15;{whole}");
        let said = offered(&total, &shape);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("cpus:2;disk:10;"), "{said:?}");
        assert_eq!(
            offered(&total, &[("disk:10", 1)]),
            ["1: A/eng on 0: disk:10"]
        );
    }
}

#[test]
fn a_shape_is_not_put_together_of_what_cannot_be_divided() {
    let two = r#"cpus:4;disk(*)<mount="/a">:60;disk(*)<mount="/b">:70"#;
    assert_eq!(offered(two, &[("cpus:1;disk:100", 1)]), [""; 0]);
    // The least that is enough, one for each.
    assert_eq!(
        offered(two, &[("disk:50", 1)]),
        [r#"1: A/eng on 0: disk(*)<mount="/a">:60"#]
    );
    assert_eq!(
        offered(two, &[("disk:65", 2)]),
        [r#"1: A/eng on 0: disk(*)<mount="/b">:70"#]
    );
    // TK-11: nor of what can be taken back and what cannot.
    let mixed = "cpus:3;cpus(*)<revocable>:3;mem:10";
    assert_eq!(offered(mixed, &[("cpus:2", 9)]).len(), 1);
    assert_eq!(
        offered(mixed, &[("cpus:2", 9)]),
        ["1: A/eng on 0: cpus:2;cpus(*)<revocable>:2"]
    );
    assert_eq!(offered(mixed, &[("cpus:4", 1)]), [""; 0]);
    // But of whatever reservation, the narrower first.
    assert_eq!(
        offered("cpus:2;cpus(eng):2", &[("cpus:3", 1)]),
        ["1: A/eng on 0: cpus:1;cpus(eng):2"]
    );
}

#[test]
fn demands_take_whole_devices_and_whole_numbers() {
    // RM-55: a device is never split, however it is reserved.
    let gpus = "cpus:4;gpus:1.5;gpus(eng):1.5";
    assert_eq!(
        offered(gpus, &[("gpus:1", 9)]),
        ["1: A/eng on 0: gpus:1;gpus(eng):1"]
    );
    assert_eq!(
        offered(gpus, &[("gpus:2", 9)]),
        ["1: A/eng on 0: gpus:1;gpus(eng):1"]
    );
    // A part of a port is a port.
    assert_eq!(
        offered("cpus:4;ports:[1-5]", &[("cpus:1;ports:0.5", 3)]),
        ["1: A/eng on 0: cpus:3;ports:[1-3]"]
    );
    assert_eq!(
        offered("cpus:4;licences:{a,b,c}", &[("cpus:1;licences:1.5", 3)]),
        ["1: A/eng on 0: cpus:1;licences:{a,b}"]
    );
}

#[test]
fn a_size_belongs_to_what_cannot_be_divided() {
    // RM-19
    for text in [
        r#"disk(*)<mount="/m">:100"#,
        r#"disk(eng)<volume="v",rw="d">:100"#,
        r#"disk(eng)<volume="v",rw="d",shared>:100"#,
    ] {
        let bag = res(text);
        let entry = bag.iter().next().unwrap();
        let of = |units| Value::Scalar(Milli::from_units(units));
        let same = entry.clone().with_value(of(100));
        assert_eq!(same.as_ref(), Ok(entry));
        let other = entry.clone().with_value(of(1)).unwrap_err().to_string();
        assert_eq!(
            other,
            r#""disk" is exclusive or shared: there is no other amount of it"#
        );
    }
}

#[test]
fn a_demand_survives_the_agent_that_served_it() {
    let mut rig = honouring();
    rig.framework(A, &["*"]);
    demands(&mut rig, A, "*", &[("cpus:1", 3)]);
    rig.agent(A0, "cpus:4");
    assert_eq!(rig.says(), ["1: A on 0: cpus:3"]);
    // What it used it had; what it had not answered it wants again.
    rig.accepts(A, A0, "cpus:1");
    rig.tell(Change::AgentRemoved { agent: A0 })
        .agent(A1, "cpus:4");
    assert_eq!(rig.until(60_000), ["0 ms: 2: A on 1: cpus:2"]);
}

#[test]
fn a_demand_that_is_lost_with_an_agent_is_served_by_what_is_free() {
    let mut rig = honouring();
    rig.framework(A, &["*"]);
    demands(&mut rig, A, "*", &[("cpus:1", 2)]);
    rig.agent(A0, "cpus:4");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
    rig.agent(A1, "cpus:4");
    assert_eq!(rig.says(), [""; 0], "it has all that it wants");
    rig.tell(Change::AgentRemoved { agent: A0 });
    assert_eq!(rig.says(), ["2: A on 1: cpus:2"]);
}

#[test]
fn a_shape_that_comes_back_bit_by_bit_is_wanted_again() {
    let mut rig = honouring();
    rig.framework(A, &["*"]);
    demands(&mut rig, A, "*", &[("cpus:2;mem:100", 2)]);
    rig.agent(A0, "cpus:4;mem:200");
    assert_eq!(rig.says(), ["1: A on 0: cpus:4;mem:200"]);
    for part in ["cpus:1", "cpus:1.5;mem:50", "cpus:1", "mem:150;cpus:0.5"] {
        rig.returns(A, A0, part, 0);
    }
    assert_eq!(rig.until(60_000).len(), 1, "all of it, once");
    rig.accepts(A, A0, "cpus:2;mem:100")
        .returns(A, A0, "mem:100", 0)
        .returns(A, A0, "cpus:2", 0);
    assert_eq!(rig.says(), ["3: A on 0: cpus:2;mem:100"]);
    rig.accepts(A, A0, "cpus:2;mem:100")
        .ends(A, A0, "cpus:2;mem:100");
    assert_eq!(rig.until(120_000), [""; 0], "it had what it wanted");
}

#[test]
fn a_whole_disk_that_comes_back_counts_as_the_one_shape_it_was_for() {
    let mut rig = honouring();
    rig.framework(A, &["*"]);
    demands(&mut rig, A, "*", &[("cpus:1;disk:10", 2)]);
    rig.agent(
        A0,
        r#"cpus:8;disk(*)<mount="/a">:50;disk(*)<mount="/b">:50"#,
    );
    let both = r#"1: A on 0: cpus:2;disk(*)<mount="/a">:50;disk(*)<mount="/b">:50"#;
    assert_eq!(rig.says(), [both]);
    rig.accepts(A, A0, r#"cpus:1;disk(*)<mount="/a">:50"#)
        .returns(A, A0, r#"cpus:1;disk(*)<mount="/b">:50"#, 0);
    assert_eq!(rig.says(), [r#"2: A on 0: cpus:1;disk(*)<mount="/b">:50"#]);
}

#[test]
fn what_was_granted_for_one_shape_does_not_serve_another() {
    // Small ones on many agents are not a large one.
    let mut rig = honouring();
    rig.framework(A, &["*"]);
    demands(
        &mut rig,
        A,
        "*",
        &[("cpus:4;mem:4", 1), ("cpus:1;mem:1", 8)],
    );
    for n in 1..5 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:2;mem:2");
    }
    assert_eq!(rig.says().len(), 4);
    for n in 1..5 {
        let agent = AgentKey::from_raw(n, 0);
        rig.accepts(A, agent, "cpus:1;mem:1")
            .returns(A, agent, "cpus:1;mem:1", 3_600_000);
    }
    assert_eq!(rig.says(), [""; 0]);
    rig.agent(A0, "cpus:9;mem:9");
    assert_eq!(rig.says(), ["5: A on 0: cpus:8;mem:8"]);
    assert_eq!(
        rig.drf.explain(A, &Role::any())[0],
        (A0, Obstacle::NoDemand)
    );
}

#[test]
fn what_is_demanded_beside_a_guarantee_waits_for_its_turn() {
    // AL-26: memory serves no guarantee of cores, so it goes by shares, whoever wants it.
    let mut rig = honouring();
    rig.tell(quota("eng", "cpus:2", ""));
    rig.framework(A, &["eng"]).agent(A1, "mem:50");
    rig.used_in(A, "eng", A1, "mem:50");
    demands(&mut rig, A, "eng", &[("mem:100", 1)]);
    rig.framework(B, &["ops"]).agent(A0, "cpus:4;mem:100");
    assert_eq!(rig.says(), ["1: B/ops on 0: cpus:2;mem:100"]);
}

#[test]
fn what_is_accepted_of_joined_grants_is_of_the_newer_demand_first() {
    // The same is demanded again while it is offered, and both grants are answered together.
    let joined = |again: u32| {
        let mut rig = honouring();
        rig.framework(A, &["*"]);
        demands(&mut rig, A, "*", &[("cpus:4", 1)]);
        rig.agent(A0, "cpus:16");
        assert_eq!(rig.says(), ["1: A on 0: cpus:4"]);
        demands(&mut rig, A, "*", &[("cpus:4", again)]);
        assert_eq!(rig.says(), [format!("2: A on 0: cpus:{}", 4 * again)]);
        rig
    };
    let mut rig = joined(1);
    rig.accepts_of(&[1, 2], A, A0, "cpus:4");
    rig.returns_of(&[1, 2], A, A0, "cpus:4");
    assert_eq!(rig.until(60_000), [""; 0], "one was used since");
    let mut rig = joined(1);
    rig.returns_of(&[1, 2], A, A0, "cpus:4");
    rig.accepts_of(&[1, 2], A, A0, "cpus:4");
    assert_eq!(rig.until(60_000), [""; 0], "whichever is said first");
    // Of one by itself it is known which demand it was for.
    let mut rig = joined(1);
    rig.accepts_of(&[2], A, A0, "cpus:4");
    rig.returns_of(&[1], A, A0, "cpus:4");
    assert_eq!(rig.until(60_000), [""; 0], "the last demand is met");
    let mut rig = joined(1);
    rig.accepts_of(&[1], A, A0, "cpus:4");
    rig.returns_of(&[2], A, A0, "cpus:4");
    let said = rig.until(60_000);
    assert_eq!(said.len(), 1, "it is not: {said:?}");
    assert!(said[0].contains("3: A on 0: cpus:4"), "{said:?}");
    // Of two, one is used and the other still offered; then it comes back as well.
    let mut rig = joined(2);
    rig.accepts_of(&[1, 2], A, A0, "cpus:4");
    rig.returns_of(&[1, 2], A, A0, "cpus:4");
    assert_eq!(rig.until(60_000), [""; 0], "two were used or are offered");
    rig.returns_of(&[1, 2], A, A0, "cpus:4");
    let said = rig.until(120_000);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("3: A on 0: cpus:4"), "{said:?}");
    // What is lost with its agent was not used.
    for (used, expected) in [("cpus:4", 1), ("cpus:8", 0)] {
        let mut rig = joined(2);
        rig.accepts_of(&[1, 2], A, A0, used)
            .tell(Change::AgentRemoved { agent: A0 })
            .agent(A1, "cpus:16");
        assert_eq!(rig.until(60_000).len(), expected, "{used} used");
    }
}
