//! More is booked on an agent than there is, or it has a port for two: what is offered even so,
//! and what is asked back.

use super::*;

fn changed(rig: &mut Rig, total: &str) {
    rig.tell(Change::AgentChanged {
        agent: A0,
        total: res(total),
        traits: AgentTraits::default(),
    });
}

fn unbounded() -> Rig {
    Rig::with(Options {
        min_allocatable: Vec::new(),
        ..Options::default()
    })
}

/// Two who have their own roles, and an agent.
fn apart(total: &str) -> Rig {
    let mut rig = unbounded();
    rig.framework(A, &["a"]).framework(B, &["b"]);
    rig.agent(A0, total);
    rig
}

/// What was said without the numbers of grants, in order.
fn unnumbered(rig: &mut Rig) -> Vec<String> {
    let said = rig.says().into_iter();
    let said = said.map(|it| it.split_once(": ").unwrap().1.to_string());
    let mut said: Vec<String> = said.collect();
    said.sort();
    said
}

#[test]
fn what_vanishes_under_a_task_takes_only_itself_out_of_offers() {
    // AL-10, AL-44, RQ-24
    let cases = [
        ("licences:1", "", "", ""),
        ("cpus(*)<revocable>:4", ";cpus(*)<revocable>:3", "", ""),
        (
            "ports:[1-4]",
            ";ports:[3-9]",
            ";ports:[5-9]",
            ";ports:[3-9]",
        ),
        ("tags:{a,b}", ";tags:{b,c}", ";tags:{c}", ";tags:{b,c}"),
        (
            r#"disk(*)<mount="/m">:5"#,
            r#";disk(*)<mount="/m">:4"#,
            "",
            r#";disk(*)<mount="/m">:4"#,
        ),
    ];
    for (used, left, beside, after) in cases {
        let mut rig = Rig::new();
        rig.framework(A, &["*"]);
        rig.agent(A0, &format!("cpus:8;mem:1000;{used}"));
        rig.used(B, A0, &format!("cpus:1;mem:10;{used}"));
        changed(&mut rig, &format!("cpus:8;mem:1000{left}"));
        let offered = format!("cpus:7;mem:990{beside}");
        assert_eq!(rig.says(), [format!("1: A on 0: {offered}")]);
        // The task ends; then all that there still is of it is free.
        rig.returns(A, A0, &offered, 0);
        rig.ends(B, A0, &format!("cpus:1;mem:10;{used}"));
        let all = res(&format!("cpus:8;mem:1000{after}"));
        assert_eq!(rig.says(), [format!("2: A on 0: {all}")]);
    }
}

#[test]
fn of_an_amount_of_which_too_much_is_in_use_nothing_is_offered() {
    // AL-10, AS-08
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:8;mem:1000");
    rig.used(B, A0, "cpus:3").used(C, A0, "cpus:1;mem:10");
    changed(&mut rig, "cpus:2;mem:1000");
    assert_eq!(rig.says(), ["1: A on 0: mem:990"]);
    rig.ends(C, A0, "cpus:1;mem:10");
    assert_eq!(
        rig.says(),
        [""; 0],
        "three of two cores are in use, ten MiB are too few"
    );
    rig.ends(B, A0, "cpus:2");
    assert_eq!(rig.says(), ["2: A on 0: cpus:1;mem:10"]);
}

#[test]
fn only_grants_of_what_is_missing_are_asked_back() {
    let total = "cpus(a):2;cpus(b):2;ports(a):[1-4];ports(b):[5-9];tags:{x}";
    let both = |used: &str| {
        let mut rig = apart(total);
        assert_eq!(rig.says().len(), 2);
        rig.used_in(C, "c", A0, used);
        let mut back = Vec::new();
        for (of, whose) in [("a", A), ("b", B)] {
            // Whoever was asked for it is not asked again.
            let asked = rig.says();
            rig.tell(Change::FrameworkActive {
                framework: whose,
                active: false,
            });
            if rig.says().is_empty() {
                back.push(of);
            }
            assert!(asked.iter().all(|it| it.ends_with(": Agent")), "{asked:?}");
        }
        back
    };
    assert_eq!(both("cpus(a):1"), ["a"]);
    assert_eq!(both("cpus(b):0.5"), ["b"]);
    assert_eq!(both("ports(a):[3-4]"), ["a"]);
    assert_eq!(both("ports(b):[9-9]"), ["b"]);
    // A port is one port, whatever the task says for whom it was reserved.
    assert_eq!(both("ports:[3-5]"), ["a", "b"]);
    assert_eq!(both("ports(c):[5-5]"), ["b"]);
    assert_eq!(both("licences:1"), [""; 0]);
}

#[test]
fn a_port_for_two_is_offered_once() {
    let totals = [
        ("ports(a):[1-5]", "ports(b):[3-9]", "ports(b):[6-9]"),
        ("tags(a):{x,y}", "tags(b):{y,z}", "tags(b):{z}"),
    ];
    for (of_a, of_b, rest) in totals {
        let total = format!("cpus(a):1;cpus(b):1;{of_a};{of_b}");
        let offers = [
            format!("A/a on 0: cpus(a):1;{of_a}"),
            format!("B/b on 0: cpus(b):1;{rest}"),
        ];
        let mut rig = apart(&total);
        assert_eq!(unnumbered(&mut rig), offers);
        // Nor is it if the agent comes to have it so while something is offered.
        let mut rig = apart(&format!("cpus(a):1;{of_a}"));
        assert_eq!(unnumbered(&mut rig), offers[..1]);
        changed(&mut rig, &total);
        assert_eq!(unnumbered(&mut rig), offers[1..]);
        // What one uses is not offered to the other.
        let mut rig = apart(&total);
        rig.used_in(C, "b", A0, of_b);
        let said = unnumbered(&mut rig);
        assert!(!said[0].contains(&of_a[8..]), "{said:?}");
        assert_eq!(said.len(), 2);
    }
}

#[test]
fn a_port_that_is_offered_stays_with_that_offer_whomever_it_is_reserved_for() {
    // AL-40: an operator reserves it for others before the offer of it is back.
    let mut rig = apart("ports:[1-9]");
    rig.tell(Change::Suppressed {
        framework: B,
        roles: Vec::new(),
    });
    assert_eq!(rig.says(), ["1: A/a on 0: ports:[1-9]"]);
    rig.tell(Change::Revived {
        framework: B,
        roles: Vec::new(),
    });
    rig.tell(Change::FreeConverted {
        agent: A0,
        before: res("ports:[1-5]"),
        after: res("ports(b):[1-5]"),
    });
    assert_eq!(rig.says(), ["rescind 1: Agent"]);
    rig.tell(Change::Returned {
        framework: A,
        role: role("a"),
        agent: A0,
        resources: res("ports:[1-9]"),
        grants: whichever(),
        refuse: Some(Duration::from_secs(60)),
    });
    assert_eq!(rig.says(), ["2: B/b on 0: ports:[6-9];ports(b):[1-5]"]);
}

#[test]
fn what_is_converted_into_a_port_of_others_is_not_offered_to_them() {
    // AL-39
    let mut rig = apart("ports(a):[1-2];ports(b):[5-9]");
    rig.tell(Change::FrameworkActive {
        framework: B,
        active: false,
    });
    assert_eq!(rig.says(), ["1: A/a on 0: ports(a):[1-2]"]);
    rig.tell(Change::Converted {
        framework: A,
        role: role("a"),
        agent: A0,
        grants: whichever(),
        before: res("ports(a):[1-2]"),
        after: res("ports(a):[5-6]"),
    });
    rig.tell(Change::FrameworkActive {
        framework: B,
        active: true,
    });
    assert_eq!(rig.says(), ["2: B/b on 0: ports(b):[7-9]"]);
}
