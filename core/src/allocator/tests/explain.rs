//! What an explanation is worth: whoever does what it says is offered the agent.

use alloc::vec;

use super::*;
use crate::allocator::drf::DemandRule;
use crate::allocator::{
    Capability, FrameworkCapabilities, Obstacle, Subscription, SubscriptionState,
};
use crate::constraints::{Comparison, Constraint, Constraints, Predicate, Selector};
use crate::demand::Demand;
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli, Quantities};

const TOTAL: &str = "cpus:4;mem:4096";

/// Why `A` is not offered the only agent, and what ends it.
struct Trouble {
    /// Told before anybody joins.
    first: Vec<Change>,
    profile: FrameworkProfile,
    total: &'static str,
    /// Told before the first pass.
    then: Vec<Change>,
    /// Told after the first pass.
    at_last: Vec<Change>,
    obstacle: Obstacle,
    remedy: Change,
}

/// No trouble at all, to be made one.
fn none() -> Trouble {
    Trouble {
        first: vec![],
        profile: FrameworkProfile::new("A", roles(&["*"])),
        total: TOTAL,
        then: vec![],
        at_last: vec![],
        obstacle: Obstacle::None,
        remedy: Change::Resumed,
    }
}

fn demands(demand: Option<Demand>) -> Change {
    Change::Demanded {
        framework: A,
        role: Role::any(),
        demand,
    }
}

fn quota(to: &str, guarantees: &str, limits: &str) -> Change {
    let (guarantees, limits) = (Quantities::parse(guarantees), Ceilings::parse(limits));
    Change::QuotaSet {
        role: role(to),
        quota: Quota {
            guarantees: guarantees.unwrap(),
            limits: limits.unwrap(),
        },
    }
}

fn is_profile(profile: FrameworkProfile) -> Change {
    Change::FrameworkChanged {
        framework: A,
        profile,
    }
}

fn revived() -> Change {
    Change::Revived {
        framework: A,
        roles: vec![],
    }
}

fn about_the_framework() -> [Trouble; 5] {
    let suppressed = SubscriptionState::Suppressed;
    let many_cores = Constraint {
        selector: Selector::Total("cpus".into()),
        predicate: Predicate::Number(Comparison::AtLeast, Milli::from_units(20)),
    };
    let subscribed = |subscription| FrameworkProfile {
        roles: vec![subscription],
        ..none().profile
    };
    [
        Trouble {
            profile: subscribed(Subscription {
                state: suppressed,
                ..Subscription::new(Role::any())
            }),
            obstacle: Obstacle::Suppressed,
            remedy: revived(),
            ..none()
        },
        Trouble {
            then: vec![Change::FrameworkActive {
                framework: A,
                active: false,
            }],
            obstacle: Obstacle::FrameworkInactive,
            remedy: Change::FrameworkActive {
                framework: A,
                active: true,
            },
            ..none()
        },
        Trouble {
            profile: subscribed(Subscription {
                constraints: Some(Constraints::new(vec![vec![many_cores]]).unwrap()),
                ..Subscription::new(Role::any())
            }),
            obstacle: Obstacle::Constraint(r#"total of "cpus" >= 20"#.into()),
            remedy: is_profile(none().profile),
            ..none()
        },
        Trouble {
            total: "cpus:4;mem:4096;gpus:1",
            obstacle: Obstacle::Incapable(Capability::Gpus),
            remedy: is_profile(FrameworkProfile {
                capabilities: FrameworkCapabilities::ALL,
                ..none().profile
            }),
            ..none()
        },
        Trouble {
            then: vec![demands(Some(Demand::default()))],
            obstacle: Obstacle::NoDemand,
            remedy: demands(None),
            ..none()
        },
    ]
}

fn about_others() -> [Trouble; 4] {
    let guarantee = "cpus:100;mem:100000";
    let returned = |framework, from, refuse| {
        again_free(from, (framework, Role::any(), A0), res(TOTAL), refuse)
    };
    let hour = Duration::from_secs(3_600);
    [
        Trouble {
            at_last: vec![returned(A, Booking::Offered, Some(hour))],
            obstacle: Obstacle::Filtered(Time::from_micros(3_601_000_000)),
            remedy: revived(),
            ..none()
        },
        Trouble {
            then: vec![Change::Used {
                framework: B,
                role: Role::any(),
                agent: A0,
                resources: res(TOTAL),
            }],
            obstacle: Obstacle::HeldBy(vec![(B, Booking::Allocated)]),
            remedy: returned(B, Booking::Allocated, None),
            ..none()
        },
        Trouble {
            first: vec![quota("*", "", "cpus:0;mem:0")],
            obstacle: Obstacle::QuotaLimit(Role::any()),
            remedy: quota("*", "", ""),
            ..none()
        },
        Trouble {
            first: vec![quota("b", guarantee, "")],
            obstacle: Obstacle::Headroom,
            remedy: quota("b", "", ""),
            ..none()
        },
    ]
}

fn about_the_agent() -> [Trouble; 4] {
    let active = |active| Change::AgentActive { agent: A0, active };
    [
        Trouble {
            then: vec![active(false)],
            obstacle: Obstacle::AgentInactive,
            remedy: active(true),
            ..none()
        },
        Trouble {
            first: vec![Change::Whitelisted {
                hostnames: Some(["elsewhere".into()].into()),
            }],
            obstacle: Obstacle::NotWhitelisted,
            remedy: Change::Whitelisted { hostnames: None },
            ..none()
        },
        Trouble {
            first: vec![quota("b", "cpus:1", ""), Change::Recovering { agents: 100 }],
            obstacle: Obstacle::Recovering,
            remedy: Change::Resumed,
            ..none()
        },
        Trouble {
            total: "cpus:0.001;mem:1",
            obstacle: Obstacle::TooSmall,
            remedy: Change::AgentChanged {
                agent: A0,
                total: res(TOTAL),
                traits: AgentTraits::default(),
            },
            ..none()
        },
    ]
}

#[test]
fn whoever_does_what_an_explanation_says_is_offered_the_agent() {
    let troubles = about_the_framework().into_iter();
    let troubles = troubles.chain(about_others()).chain(about_the_agent());
    let mut ended = 0;
    for trouble in troubles {
        let mut rig = Rig::with(Options {
            demands: DemandRule::Honoured,
            ..Options::default()
        });
        rig.framework(B, &["b"]).tell(Change::Suppressed {
            framework: B,
            roles: vec![],
        });
        for change in trouble.first {
            rig.tell(change);
        }
        rig.tell(Change::FrameworkAdded {
            framework: A,
            profile: trouble.profile,
        });
        rig.agent(A0, trouble.total);
        for change in trouble.then {
            rig.tell(change);
        }
        let waits = !trouble.at_last.is_empty();
        assert_eq!(rig.says().is_empty(), !waits, "{:?}", trouble.obstacle);
        for change in trouble.at_last {
            rig.tell(change);
        }
        let explained = rig.drf.explain(A, &Role::any());
        assert_eq!(explained, [(A0, trouble.obstacle.clone())]);
        assert!(rig.until(2_000).is_empty(), "{:?}", trouble.obstacle);

        rig.tell(trouble.remedy);
        let said = rig.until(4_000);
        assert_eq!(said.len(), 1, "{:?}: {said:?}", trouble.obstacle);
        assert!(
            said[0].contains("A on 0"),
            "{:?}: {said:?}",
            trouble.obstacle
        );
        ended += 1;
    }
    assert_eq!(ended, 13);
}
