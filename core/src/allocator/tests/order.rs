//! The tree of roles, and orders by lot.

use alloc::collections::BTreeMap;
use alloc::vec;

use super::*;
use crate::allocator::drf::SorterKind;
use crate::allocator::walk::Walk;
use crate::resources::Milli;

/// The roles of the leaves, in the order in which they are looked at.
fn order(rig: &mut Rig) -> Vec<String> {
    rig.drf.tree.settle();
    let mut walk = Walk::default();
    walk.restart();
    let mut order = Vec::new();
    while let Some(leaf) = walk.next(&rig.drf.tree, |_| true) {
        let role = rig.drf.tree.role(rig.drf.seats.seat(leaf).role);
        order.push(role.to_string());
    }
    order
}

#[test]
fn tv_16_every_level_is_fair_for_itself() {
    // TV-16, AL-16
    let mut rig = Rig::new();
    rig.framework(A, &["a/x"])
        .framework(B, &["a/y"])
        .framework(C, &["b"]);
    rig.agent(A0, "cpus:100");
    rig.used_in(A, "a/x", A0, "cpus:50")
        .used_in(C, "b", A0, "cpus:40");
    assert_eq!(order(&mut rig), ["b", "a/y", "a/x"]);
    assert_eq!(rig.says(), ["1: C/b on 0: cpus:10"]);
    // Now they are even, and a has had one grant, as b has had two.
    assert_eq!(order(&mut rig), ["a/y", "a/x", "b"]);
}

#[test]
fn tv_17_a_role_with_children_competes_as_a_virtual_child() {
    // TV-17, AL-14
    let mut rig = Rig::new();
    rig.framework(A, &["a"])
        .framework(B, &["a/b"])
        .framework(C, &["a/,x"]);
    assert_eq!(order(&mut rig), ["a/,x", "a", "a/b"]);
    rig.agent(A0, "cpus:10").used_in(A, "a", A0, "cpus:1");
    assert_eq!(order(&mut rig), ["a/,x", "a/b", "a"]);
    // Without the children it is a leaf like any other.
    rig.tell(Change::FrameworkRemoved { framework: B });
    rig.tell(Change::FrameworkRemoved { framework: C });
    assert_eq!(order(&mut rig), ["a"]);
    assert_eq!(rig.drf.roles().len(), 1);
}

#[test]
fn as_13_weights_count_at_every_level() {
    // AL-17, AS-13
    let mut rig = Rig::new();
    let weight = |text: &str, units| Change::WeightSet {
        role: role(text),
        weight: Milli::from_units(units),
    };
    rig.tell(weight("a", 3)).tell(weight("a/y", 2));
    rig.framework(A, &["a/x"])
        .framework(B, &["a/y"])
        .framework(C, &["b"]);
    for n in 0..80 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
    }
    let mut held = BTreeMap::new();
    for grant in rig.says() {
        *held
            .entry(grant.split(' ').nth(1).unwrap().to_string())
            .or_insert(0) += 1;
    }
    let expected = [("A/a/x", 20), ("B/a/y", 40), ("C/b", 20)];
    assert_eq!(held, expected.map(|(who, n)| (who.to_string(), n)).into());
}

#[test]
fn as_13_nodes_come_and_go() {
    // AS-13, AL-46
    let mut rig = Rig::new();
    let paths = |rig: &Rig| -> Vec<String> {
        let roles = rig.drf.roles();
        roles.iter().map(|it| it.role.to_string()).collect()
    };
    rig.framework(A, &["a/b/c"]);
    assert_eq!(paths(&rig), ["a", "a/b", "a/b/c"]);
    rig.agent(A0, "cpus(a/b/d):1;ports(z):[1-1]");
    assert_eq!(paths(&rig), ["a", "a/b", "a/b/c", "a/b/d"]);
    rig.used_in(A, "a/b/c", A0, "ports(z):[1-1]");
    rig.tell(Change::FrameworkRemoved { framework: A });
    assert_eq!(paths(&rig), ["a", "a/b", "a/b/d"]);
    rig.tell(Change::AgentRemoved { agent: A0 });
    assert_eq!(paths(&rig), [""; 0]);
}

/// How often each role was first, of `rounds`.
fn firsts(weights: &[(&str, i64)], in_roles: &[&str], rounds: u32) -> BTreeMap<String, u32> {
    let mut rig = Rig::with(Options {
        role_sorter: SorterKind::Random,
        framework_sorter: SorterKind::Random,
        ..Options::default()
    });
    for (text, units) in weights {
        rig.tell(Change::WeightSet {
            role: role(text),
            weight: Milli::from_units(*units),
        });
    }
    for (n, text) in in_roles.iter().enumerate() {
        rig.framework(FrameworkKey::from_raw(n as u32, 0), &[text]);
    }
    let mut firsts = BTreeMap::new();
    for round in 0..rounds {
        rig.drf.handle(
            rig.now,
            Change::AgentAdded {
                agent: AgentKey::from_raw(0, round),
                total: res("cpus:1"),
                traits: AgentTraits::default(),
            },
            &mut rig.out,
        );
        rig.drf.tick(rig.now, &mut rig.out);
        let Some(Output::Effect(Decision::Grant(grant))) = rig.out.pop() else {
            panic!("nothing is granted");
        };
        *firsts.entry(grant.role.to_string()).or_insert(0) += 1;
    }
    rig.drf.check_invariants();
    firsts
}

#[test]
fn tv_39_chances_go_by_weight() {
    // TV-39, AL-19, AS-14
    let flat = firsts(&[("b", 3)], &["a", "b"], 4_000);
    assert!((2_900..3_100).contains(&flat["b"]), "{flat:?}");
    // a and its children have half of all, and of that x has two thirds.
    let tree = firsts(&[("a/x", 2)], &["a/x", "a/y", "b"], 6_000);
    assert!((1_850..2_150).contains(&tree["a/x"]), "{tree:?}");
    assert!((880..1_120).contains(&tree["a/y"]), "{tree:?}");
    assert!((2_850..3_150).contains(&tree["b"]), "{tree:?}");
}

#[test]
fn whoever_is_not_listed_has_no_lot() {
    // AL-19
    let mut rig = Rig::with(Options {
        role_sorter: SorterKind::Random,
        ..Options::default()
    });
    rig.framework(A, &["a"]).framework(B, &["b"]);
    rig.tell(Change::Suppressed {
        framework: A,
        roles: vec![],
    });
    for n in 0..20 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
    }
    assert!(rig.says().iter().all(|it| it.contains(": B/b")));
}

#[test]
fn large_weights_compare_like_small_ones() {
    // AL-17: only how weights compare matters, up to the largest that are told apart.
    let grants_of_b = |a: i64, b: i64| {
        let mut rig = Rig::new();
        for (of, weight) in [("a", a), ("b", b)] {
            let weight = Milli::from_units(weight);
            rig.tell(Change::WeightSet {
                role: role(of),
                weight,
            });
        }
        rig.framework(A, &["a"]).framework(B, &["b"]);
        for n in 0..30 {
            rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
        }
        let said = rig.says();
        said.iter().filter(|it| it.contains(": B/b")).count()
    };
    assert_eq!(grants_of_b(1, 2), 20);
    assert_eq!(grants_of_b(500_000_000, 1_000_000_000), 20);
    assert_eq!(
        grants_of_b(1_000_000_000, 1_000_000_001),
        15,
        "as documented"
    );
}
