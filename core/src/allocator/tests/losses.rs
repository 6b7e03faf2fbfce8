//! What demands and books are after losses, repetitions and refusals.

use alloc::vec;

use super::quota::quota;
use super::*;
use crate::allocator::Obstacle;
use crate::allocator::drf::DemandRule;
use crate::demand::{Demand, Shape};
use crate::resources::Quantities;

fn anything() -> Rig {
    Rig::with(Options {
        min_allocatable: Vec::new(),
        ..Options::default()
    })
}

fn honouring() -> Rig {
    Rig::with(Options {
        demands: DemandRule::Honoured,
        min_allocatable: Vec::new(),
        ..Options::default()
    })
}

fn demands(rig: &mut Rig, framework: FrameworkKey, shapes: &[(&str, u32)]) {
    let shape = |(each, count): &(&str, u32)| {
        let each = Quantities::parse(each).unwrap();
        Shape::new(each, *count).unwrap()
    };
    let shapes = shapes.iter().map(shape).collect();
    rig.tell(Change::Demanded {
        framework,
        role: Role::any(),
        demand: Some(Demand::new(shapes).unwrap()),
    });
}

#[test]
fn a_demand_that_was_served_by_many_grants_survives_their_agent() {
    let mut rig = honouring();
    rig.framework(A, &["*"]).framework(B, &["*"]);
    rig.agent(A0, "cpus:9").used(B, A0, "cpus:9");
    demands(&mut rig, A, &[("cpus:1", 9)]);
    demands(&mut rig, B, &[]);
    for n in 1..=9 {
        rig.ends(B, A0, "cpus:1");
        assert_eq!(rig.says(), [format!("{n}: A on 0: cpus:1")]);
    }
    // Nothing was accepted, which would make one grant of them.
    rig.tell(Change::AgentRemoved { agent: A0 });
    rig.agent(A1, "cpus:20");
    assert_eq!(rig.until(60_000), ["0 ms: 10: A on 1: cpus:9"]);
}

#[test]
fn as_many_as_can_be_demanded_may_come_back_and_be_granted_again() {
    let mut rig = honouring();
    rig.framework(A, &["*"]).framework(B, &["*"]);
    demands(&mut rig, B, &[]);
    rig.agent(A0, "cpus:1;disk:5000000").used(B, A0, "cpus:1");
    demands(&mut rig, A, &[("cpus:1", 1), ("disk:0.001", u32::MAX)]);
    let disk = "disk:4294967.295";
    assert_eq!(rig.says(), [format!("1: A on 0: {disk}")]);
    rig.ends(B, A0, "cpus:1");
    assert_eq!(rig.says(), ["2: A on 0: cpus:1"]);
    // What is granted for the core is not answered yet, so it is still counted what of it is used.
    rig.returns(A, A0, disk, 0);
    assert_eq!(rig.until(5_000), [format!("1000 ms: 3: A on 0: {disk}")]);
    rig.accepts(A, A0, "disk:4294967.293");
    rig.returns(A, A0, "disk:0.001", 0)
        .returns(A, A0, "disk:0.001", 0);
    let said = rig.until(10_000);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with("A on 0: disk:0.002"), "{said:?}");
}

#[test]
fn of_whole_disks_of_two_sizes_each_serves_one() {
    let (small, large) = (r#"disk(*)<mount="/a">:60"#, r#"disk(*)<mount="/b">:200"#);
    for (used, back) in [(small, large), (large, small)] {
        let mut rig = honouring();
        rig.framework(A, &["*"]);
        demands(&mut rig, A, &[("disk:50", 2)]);
        rig.agent(A0, &format!("{small};{large}"));
        assert_eq!(rig.says().len(), 1);
        rig.accepts(A, A0, used).returns(A, A0, back, 3_600_000);
        // One is used, one is wanted.
        rig.agent(A1, r#"disk(*)<mount="/c">:60;disk(*)<mount="/d">:60"#);
        let said = rig.says();
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].matches("mount").count(), 1, "{said:?}");
    }
}

#[test]
fn a_volume_made_of_what_was_granted_comes_back_for_what_it_was_for() {
    let mut rig = honouring();
    rig.framework(A, &["a"]).tell(Change::Demanded {
        framework: A,
        role: role("a"),
        demand: Some({
            let shape = Shape::new(Quantities::parse("disk:50").unwrap(), 2);
            Demand::new(vec![shape.unwrap()]).unwrap()
        }),
    });
    rig.agent(A0, "disk(a):100");
    assert_eq!(rig.says(), ["1: A/a on 0: disk(a):100"]);
    let volume = r#"disk(a)<volume="v",rw="d">:50"#;
    rig.tell(Change::Converted {
        framework: A,
        role: role("a"),
        agent: A0,
        grants: whichever(),
        before: res("disk(a):50"),
        after: res(volume),
    });
    rig.tell(Change::Returned {
        framework: A,
        role: role("a"),
        agent: A0,
        resources: res(volume),
        grants: whichever(),
        refuse: Some(Duration::from_secs(3_600)),
    });
    // The other half is held still.
    rig.agent(A1, "disk(a):100");
    assert_eq!(rig.says(), ["2: A/a on 1: disk(a):50"]);
}

#[test]
fn a_port_that_two_tasks_of_one_framework_have_is_free_after_both() {
    // RM-20, AL-10
    for first in ["ports:[1-4]", "ports:[3-4]"] {
        let second = if first == "ports:[1-4]" {
            "ports:[3-4]"
        } else {
            "ports:[1-4]"
        };
        let mut rig = anything();
        rig.framework(B, &["*"]).agent(A0, "ports:[1-4]");
        rig.used(A, A0, "ports:[1-4]").used(A, A0, "ports:[3-4]");
        assert_eq!(rig.until(5_000), [""; 0]);
        rig.ends(A, A0, first);
        let left = match first {
            "ports:[1-4]" => vec!["5000 ms: 1: B on 0: ports:[1-2]"],
            _ => vec![],
        };
        assert_eq!(rig.until(5_000), left, "{second} are in use");
        rig.ends(A, A0, second);
        assert_eq!(rig.until(60_000).len(), 1);
        let free = rig.drf.ledger.get(A0).unwrap().free();
        assert!(free.is_empty(), "all is granted");
        assert!(!rig.drf.ledger.get(A0).unwrap().is_overbooked());
    }
}

#[test]
fn what_is_held_twice_may_end_in_other_parts_than_it_began() {
    let mut rig = anything();
    rig.agent(A0, "cpus:3;ports:[1-6];tags:{x,y}");
    let free = |rig: &Rig| rig.drf.ledger.get(A0).unwrap().free().clone();
    rig.used(A, A0, "cpus:1;ports:[1-4];tags:{x}")
        .used(A, A0, "cpus:1;ports:[3-5];tags:{x,y}")
        .used(A, A0, "cpus:1;ports:[3-3]");
    assert_eq!(free(&rig), res("ports:[6-6]"));
    rig.ends(A, A0, "cpus:1;ports:[2-5]");
    assert_eq!(free(&rig), res("cpus:1;ports:[2-2,5-6]"));
    rig.ends(A, A0, "cpus:1;ports:[3-4];tags:{x,y}");
    assert_eq!(free(&rig), res("cpus:2;ports:[2-2,4-6];tags:{y}"));
    // What was not held so often is not given back.
    rig.ends(A, A0, "ports:[4-4]");
    assert_eq!(free(&rig), res("cpus:2;ports:[2-2,4-6];tags:{y}"));
    rig.ends(A, A0, "cpus:1;ports:[1-1];tags:{x}");
    assert_eq!(free(&rig), res("cpus:3;ports:[1-2,4-6];tags:{x,y}"));
    rig.ends(A, A0, "ports:[3-3]");
    assert_eq!(free(&rig), res("cpus:3;ports:[1-6];tags:{x,y}"));
}

#[test]
fn a_port_that_is_in_use_and_accepted_is_held_twice() {
    let mut rig = anything();
    rig.framework(A, &["*"]).framework(B, &["*"]);
    rig.agent(A0, "cpus:4;ports:[1-4]");
    let said = rig.says();
    let of_a = said == ["1: A on 0: cpus:4;ports:[1-4]"];
    let taker = if of_a { A } else { B };
    // A task of it is told of while it launches another.
    rig.used(taker, A0, "ports:[3-4]")
        .accepts(taker, A0, "cpus:4;ports:[1-4]")
        .ends(taker, A0, "ports:[3-4]");
    assert_eq!(rig.until(5_000), ["0 ms: rescind 1: Agent"]);
    rig.ends(taker, A0, "cpus:4;ports:[1-4]");
    let said = rig.until(10_000);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with("cpus:4;ports:[1-4]"));
}

#[test]
fn quota_counts_a_port_as_often_as_it_is_held() {
    let mut rig = anything();
    rig.tell(quota("eng", "", "ports:6"));
    rig.framework(A, &["eng"]).agent(A0, "ports:[1-9]");
    rig.used_in(A, "eng", A0, "ports:[1-3]")
        .used_in(A, "eng", A0, "ports:[1-3]");
    assert_eq!(
        rig.drf.roles()[0].consumed,
        Quantities::parse("ports:6").unwrap()
    );
    assert_eq!(rig.says(), [""; 0], "the limit is used up");
}

/// A refusal of one shape on an agent where another one would fit once others had a part.
fn refused_one_of_two() -> Rig {
    let mut rig = honouring();
    rig.framework(A, &["*"]);
    demands(&mut rig, A, &[("cpus:2;mem:64", 1), ("mem:100", 1)]);
    rig.agent(A0, "cpus:2;mem:120");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2;mem:64"]);
    rig
}

#[test]
fn a_refusal_of_one_shape_does_not_keep_another_away() {
    // AL-40
    let mut rig = refused_one_of_two();
    rig.framework(B, &["*"]);
    rig.agent(A1, "cpus:1;mem:1").used(B, A1, "cpus:1;mem:1");
    demands(&mut rig, B, &[("cpus:1", 1)]);
    rig.returns(A, A0, "cpus:2;mem:64", 3_600_000);
    assert_eq!(
        rig.until(10_000),
        ["0 ms: 2: B on 0: cpus:1", "0 ms: 3: A on 0: mem:100"]
    );
}

#[test]
fn a_shape_that_is_served_elsewhere_makes_room_for_the_next_one() {
    let mut rig = refused_one_of_two();
    rig.returns(A, A0, "cpus:2;mem:64", 3_600_000);
    assert_eq!(rig.until(5_000), [""; 0]);
    rig.agent(A1, "cpus:2;mem:64");
    assert_eq!(
        rig.until(10_000),
        [
            "5000 ms: 2: A on 1: cpus:2;mem:64",
            "6000 ms: 3: A on 0: mem:100"
        ]
    );
}

#[test]
fn a_refusal_of_all_that_is_demanded_costs_nothing() {
    for shapes in [&[("cpus:1", 9)][..], &[("cpus:1", 1), ("mem:10", 1)]] {
        let mut rig = honouring();
        rig.framework(A, &["*"]);
        demands(&mut rig, A, shapes);
        rig.agent(A0, "cpus:4;mem:100");
        let granted = rig.drf.ledger.get(A0).unwrap().free().clone();
        assert_eq!(rig.says().len(), 1);
        let rest = rig.drf.ledger.get(A0).unwrap().free().clone();
        let back = granted.checked_sub(&rest).unwrap().to_string();
        rig.returns(A, A0, &back, 3_600_000);
        assert_eq!(rig.until(5_000), [""; 0]);
        assert!(rig.drf.held_back.is_empty(), "nobody has to be asked again");
        let wants = rig.drf.interest.is_wanted(0);
        assert!(!wants);
    }
}

#[test]
fn whoever_holds_what_is_demanded_is_named() {
    let mut rig = honouring();
    rig.framework(B, &["*"]).agent(A0, "cpus:2;mem:64");
    assert_eq!(rig.says().len(), 1);
    rig.framework(A, &["*"]);
    demands(&mut rig, A, &[("cpus:1", 1)]);
    assert_eq!(rig.says(), [""; 0]);
    let held = Obstacle::HeldBy(vec![(B, Booking::Offered)]);
    assert_eq!(rig.drf.explain(A, &Role::any()), [(A0, held)]);
    // Of what is demanded there is not so much, whoever holds it.
    demands(&mut rig, A, &[("cpus:3", 1)]);
    let explained = rig.drf.explain(A, &Role::any());
    assert_eq!(explained, [(A0, Obstacle::NoDemand)]);
}

/// What `A` is offered of an agent if so much is worth an offer.
fn offered_if_worth(before: &[Change], least: &[&str], total: &str) -> Vec<String> {
    let sets = least.iter().map(|set| Quantities::parse(set).unwrap());
    let sets: Vec<_> = sets.collect();
    let mut own = FrameworkProfile::new("A", roles(&["*"]));
    own.roles[0].min_allocatable = Some(sets.clone());
    let mut both = Vec::new();
    for (options, profile) in [
        (Options::default(), own),
        (
            Options {
                min_allocatable: sets,
                ..Options::default()
            },
            FrameworkProfile::new("A", roles(&["*"])),
        ),
    ] {
        let mut rig = Rig::with(options);
        for change in before {
            rig.tell(change.clone());
        }
        rig.tell(Change::FrameworkAdded {
            framework: A,
            profile,
        });
        rig.agent(A0, total);
        // Everybody is asked, and not only who is there for the first time.
        rig.tell(Change::Revived {
            framework: A,
            roles: Vec::new(),
        });
        both.push(rig.says());
        let explained = rig.drf.explain(A, &Role::any());
        assert_eq!(explained.len(), 1);
    }
    assert_eq!(both[0], both[1], "whoever says it");
    both.remove(0)
}

#[test]
fn what_is_worth_an_offer_counts_ranges_and_sets_by_how_many() {
    // AL-33, OF-40
    let limited = || quota("eng", "", "ports:9");
    let scalar = |name: &str| Change::AgentAdded {
        agent: A1,
        total: res(&format!("{name}:0.5")),
        traits: AgentTraits::default(),
    };
    // Whatever counts the name: nothing, quota, or agents that have an amount of it.
    for before in [
        &[][..],
        &[limited()],
        &[scalar("ports")],
        &[scalar("ports"), limited()],
    ] {
        let keep = before.len();
        let mut changes = before.to_vec();
        if keep > 0 {
            changes.push(Change::AgentRemoved { agent: A1 });
        }
        let offered = |least: &[&str], total: &str| offered_if_worth(&changes, least, total);
        let three = "mem:64;ports:[1-3]";
        let whole = ["1: A on 0: mem:64;ports:[1-3]"];
        assert_eq!(offered(&["ports:3"], three), whole);
        assert_eq!(offered(&["ports:4"], three), [""; 0]);
        assert_eq!(offered(&["ports:4", "mem:64"], three), whole);
        assert_eq!(offered(&["ports:2.5;mem:32"], three), whole);
        assert_eq!(offered(&["ports:3;mem:65"], three), [""; 0]);
    }
    let sets = offered_if_worth(&[], &["tags:2"], "tags:{x,y}");
    assert_eq!(sets, ["1: A on 0: tags:{x,y}"]);
    assert_eq!(offered_if_worth(&[], &["tags:2"], "tags:{x}"), [""; 0]);
}
