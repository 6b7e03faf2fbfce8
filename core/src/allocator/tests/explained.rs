//! What an explanation names where several things come together.

use alloc::vec;

use super::*;
use crate::allocator::drf::DemandRule;
use crate::allocator::{Capability, FrameworkCapabilities, Obstacle};
use crate::demand::{Demand, Shape};
use crate::quota::Quota;
use crate::resources::{Ceilings, Quantities};

fn quota(to: &str, guarantees: &str, limits: &str) -> Change {
    Change::QuotaSet {
        role: role(to),
        quota: Quota {
            guarantees: Quantities::parse(guarantees).unwrap(),
            limits: Ceilings::parse(limits).unwrap(),
        },
    }
}

fn demand(each: &str, count: u32) -> Demand {
    let shape = Shape::new(Quantities::parse(each).unwrap(), count);
    Demand::new(vec![shape.unwrap()]).unwrap()
}

fn wants(demand: Demand) -> Change {
    Change::Demanded {
        framework: A,
        role: Role::any(),
        demand: Some(demand),
    }
}

fn honouring() -> Rig {
    Rig::with(Options {
        demands: DemandRule::Honoured,
        ..Options::default()
    })
}

#[test]
fn what_is_left_by_a_limit_and_refused_is_refused() {
    let mut rig = Rig::new();
    rig.tell(quota("l", "", "cpus:4"));
    rig.framework(A, &["l"]).agent(A0, "cpus:8");
    assert_eq!(rig.says(), ["1: A/l on 0: cpus:4"]);
    let held = rig.drf.explain(A, &role("l"));
    assert_eq!(held, [(A0, Obstacle::QuotaLimit(role("l")))]);
    rig.tell(Change::Returned {
        framework: A,
        role: role("l"),
        agent: A0,
        resources: res("cpus:4"),
        grants: whichever(),
        refuse: Some(Duration::from_secs(3_600)),
    });
    assert_eq!(rig.says(), [""; 0]);
    let until = Time::from_micros(3_601_000_000);
    let refused = rig.drf.explain(A, &role("l"));
    assert_eq!(refused, [(A0, Obstacle::Filtered(until))]);
}

#[test]
fn a_bound_on_offers_is_not_mistaken_for_quota() {
    let mut rig = honouring();
    rig.tell(quota("q", "mem:10", ""));
    let at_once = Quantities::parse("cpus:2").unwrap();
    let bounded = demand("cpus:2", 9).with_at_once(at_once).unwrap();
    rig.framework(A, &["*"]).tell(wants(bounded));
    rig.agent(A0, "cpus:8");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
    let explained = rig.drf.explain(A, &Role::any());
    assert_eq!(explained, [(A0, Obstacle::HoldsEnough)]);
    // Nor if something may still be held, but nothing that is wanted.
    rig.accepts(A, A0, "cpus:0.5");
    let explained = rig.drf.explain(A, &Role::any());
    assert_eq!(explained, [(A0, Obstacle::HoldsEnough)]);
}

#[test]
fn a_limit_below_what_is_wanted_is_named() {
    let mut rig = honouring();
    rig.tell(quota("*", "", "cpus:1"));
    rig.framework(A, &["*"]).tell(wants(demand("cpus:2", 1)));
    rig.agent(A0, "cpus:8");
    assert_eq!(rig.says(), [""; 0]);
    let explained = rig.drf.explain(A, &Role::any());
    assert_eq!(explained, [(A0, Obstacle::QuotaLimit(Role::any()))]);
    // No limit would help whoever wants more than is there.
    rig.tell(wants(demand("cpus:9", 1)));
    let explained = rig.drf.explain(A, &Role::any());
    assert_eq!(explained, [(A0, Obstacle::NoDemand)]);
}

#[test]
fn whoever_cannot_cope_with_all_that_is_there_is_told_so() {
    // FW-13, FW-16, FW-19, AL-32
    let nothing = FrameworkCapabilities {
        revocable: false,
        shared: false,
        reservation_refinement: false,
        ..FrameworkCapabilities::ALL
    };
    let refined = r#"cpus(eng)<dynamic="eng/web">:4"#;
    let shared = r#"disk(eng)<volume="v",rw="d",shared>:50"#;
    let able = |capability| match capability {
        Capability::Revocable => FrameworkCapabilities {
            revocable: true,
            ..nothing
        },
        Capability::Shared => FrameworkCapabilities {
            shared: true,
            ..nothing
        },
        Capability::Refinement => FrameworkCapabilities {
            reservation_refinement: true,
            ..nothing
        },
        Capability::Gpus
        | Capability::Region
        | Capability::MultiRole
        | Capability::HierarchicalRole => panic!("{capability:?}"),
    };
    for (total, expected) in [
        ("cpus(*)<revocable>:4", Capability::Revocable),
        (shared, Capability::Shared),
        (refined, Capability::Refinement),
    ] {
        let mut rig = Rig::with(Options {
            min_allocatable: vec![],
            ..Options::default()
        });
        let is = |capabilities| FrameworkProfile {
            capabilities,
            ..FrameworkProfile::new("A", roles(&["eng/web"]))
        };
        rig.tell(Change::FrameworkAdded {
            framework: A,
            profile: is(nothing),
        });
        rig.agent(A0, total);
        assert_eq!(rig.says(), [""; 0]);
        let explained = rig.drf.explain(A, &role("eng/web"));
        assert_eq!(explained, [(A0, Obstacle::Incapable(expected))]);
        // Whoever does what it says is offered the agent.
        rig.tell(Change::FrameworkChanged {
            framework: A,
            profile: is(able(expected)),
        });
        assert_eq!(rig.says().len(), 1);
    }
}

#[test]
fn whoever_holds_what_one_could_not_have_is_not_blamed() {
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus(*)<revocable>:4");
    rig.used(B, A0, "cpus(*)<revocable>:2");
    let explained = rig.drf.explain(A, &Role::any());
    let expected = Obstacle::Incapable(Capability::Revocable);
    assert_eq!(explained, [(A0, expected)]);
    // Too little, whoever holds it.
    rig.agent(A1, "cpus:0.002;mem:1").used(B, A1, "cpus:0.001");
    assert_eq!(
        rig.drf.explain(A, &Role::any())[1],
        (A1, Obstacle::TooSmall)
    );
    // And what would be enough is held.
    rig.ends(B, A1, "cpus:0.001");
    rig.tell(Change::AgentChanged {
        agent: A1,
        total: res("cpus:4"),
        traits: AgentTraits::default(),
    });
    rig.used(B, A1, "cpus:4");
    let held = Obstacle::HeldBy(vec![(B, Booking::Allocated)]);
    assert_eq!(rig.drf.explain(A, &Role::any())[1], (A1, held));
}
