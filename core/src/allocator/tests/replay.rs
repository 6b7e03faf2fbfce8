//! What an embedder logs, written down and read back, is the same, and gives the same decisions.

use alloc::collections::BTreeSet;
use alloc::vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::allocator::{FrameworkCapabilities, Grant, GrantId, RescindReason, Subscription};
use crate::attributes::Attributes;
use crate::constraints::{Comparison, Constraint, Constraints, Predicate, Selector};
use crate::demand::{Demand, Shape};
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli, Quantities};

fn quantities(text: &str) -> Quantities {
    Quantities::parse(text).unwrap()
}

/// Writes something down in both forms, and reads it back.
fn there_and_back<T: Serialize + DeserializeOwned>(it: &T) -> [T; 2] {
    let bytes = postcard::to_allocvec(it).unwrap();
    let text = serde_json::to_string(it).unwrap();
    [
        postcard::from_bytes(&bytes).unwrap(),
        serde_json::from_str(&text).unwrap(),
    ]
}

fn profile() -> FrameworkProfile {
    let numbers = Predicate::Number(Comparison::AtLeast, Milli::from_units(3));
    let constraint = Constraint {
        selector: Selector::Attribute("generation".into()),
        predicate: numbers,
    };
    let constraints = Constraints::new(vec![vec![constraint]]).unwrap();
    FrameworkProfile {
        name: "f".into(),
        roles: vec![
            Subscription {
                constraints: Some(constraints),
                min_allocatable: Some(vec![quantities("cpus:1;mem:32")]),
                ..Subscription::new(role("eng/web"))
            },
            Subscription::new(Role::any()),
        ],
        capabilities: FrameworkCapabilities::ALL,
    }
}

/// One of each kind, in an order in which they make sense.
fn one_of_each() -> Vec<Change> {
    let (framework, agent, eng) = (A, A0, role("eng/web"));
    let traits = AgentTraits {
        hostname: "h".into(),
        attributes: Attributes::parse("generation:4;rack:r1").unwrap(),
        region: Some("north".into()),
        zone: Some("n1".into()),
        ..AgentTraits::default()
    };
    let total = res("cpus:8;mem:64.5;cpus(eng):2;ports:[1-3,7-9];disk(*)<mount=\"/m\">:100");
    let larger = res("cpus:9;mem:64.5;cpus(eng):2;ports:[1-3,7-9];disk(*)<mount=\"/m\">:100");
    let roles = vec![eng.clone()];
    let quota = Quota {
        guarantees: quantities("cpus:1"),
        limits: Ceilings::parse("cpus:7;gpus:0").unwrap(),
    };
    let shape = Shape::new(quantities("cpus:1"), 3).unwrap();
    let demand = Demand::new(vec![shape]).unwrap();
    let demand = demand.with_at_once(quantities("cpus:2")).unwrap();
    let returned =
        |text, from, refuse| again_free(from, (framework, eng.clone(), agent), res(text), refuse);
    let wait = Some(Duration::from_millis(2_500));
    vec![
        Change::Recovering { agents: 1 },
        Change::Resumed,
        Change::WeightSet {
            role: role("eng"),
            weight: Milli::from_thousandths(1_500),
        },
        Change::QuotaSet {
            role: role("eng"),
            quota,
        },
        Change::Whitelisted {
            hostnames: Some(BTreeSet::from(["h".to_string()])),
        },
        Change::AgentAdded {
            agent,
            total,
            traits: traits.clone(),
        },
        Change::FrameworkAdded {
            framework,
            profile: profile(),
        },
        Change::Used {
            framework,
            role: eng.clone(),
            agent,
            resources: res("cpus:1"),
        },
        Change::Suppressed {
            framework,
            roles: roles.clone(),
        },
        Change::Revived { framework, roles },
        Change::Converted {
            framework,
            role: eng.clone(),
            agent,
            grants: whichever(),
            before: res("cpus:1"),
            after: res("cpus(eng/web):1"),
        },
        Change::Accepted {
            framework,
            role: eng.clone(),
            agent,
            grants: whichever(),
            resources: res("cpus(eng/web):1"),
        },
        returned("cpus:1", Booking::Offered, wait),
        returned("cpus:1", Booking::Allocated, None),
        Change::FreeConverted {
            agent,
            before: res("cpus(eng):1"),
            after: res("cpus:1"),
        },
        Change::Demanded {
            framework,
            role: eng.clone(),
            demand: Some(demand),
        },
        Change::AgentChanged {
            agent,
            total: larger,
            traits,
        },
        Change::FrameworkChanged {
            framework,
            profile: FrameworkProfile::new("f", [Role::any()]),
        },
        Change::AgentActive {
            agent,
            active: false,
        },
        Change::FrameworkActive {
            framework,
            active: false,
        },
        Change::FrameworkRemoved { framework },
        Change::AgentRemoved { agent },
    ]
}

#[test]
fn changes_and_decisions_read_back_as_they_were_written() {
    for change in one_of_each() {
        for read in there_and_back(&change) {
            assert_eq!(read, change);
        }
    }
    let id = GrantId(7);
    let grant = Grant {
        id,
        framework: FrameworkKey::from_raw(3, 9),
        role: role("eng/web"),
        agent: AgentKey::from_raw(2, 1),
        resources: res("cpus:0.001;ports:[1-3]"),
    };
    let reason = RescindReason::Quota;
    let rescind = Decision::Rescind { grant: id, reason };
    for decision in [Decision::Grant(grant), rescind] {
        for read in there_and_back(&decision) {
            assert_eq!(read, decision);
        }
    }
}

/// What an allocator is told, and when; `None` is a tick.
type Log = Vec<(Time, Option<Change>)>;

/// Tells an allocator one change each second, with all ticks between, and logs both.
fn live() -> (Log, Vec<Decision>) {
    let (mut log, mut said) = (Log::new(), Vec::new());
    let (mut drf, mut out) = (Drf::new(Options::default()), Outbox::new());
    for (at, change) in (0..).zip(one_of_each()) {
        let now = Time::from_micros(at * 1_000_000);
        while let Some(due) = drf.deadline().filter(|due| *due < now) {
            log.push((due, None));
            drf.tick(due, &mut out);
        }
        log.push((now, Some(change.clone())));
        drf.handle(now, change, &mut out);
        said.extend(out.drain().map(decision));
    }
    (log, said)
}

fn decision(output: Output<Never, Decision>) -> Decision {
    match output {
        Output::Effect(decision) | Output::Free(decision) => decision,
        Output::Persist(never) => match never {},
    }
}

#[test]
fn a_log_repeats_a_run() {
    // AL-13, I23: as the guide for embedders promises.
    let (log, said) = live();
    assert!(matches!(
        said[..],
        [Decision::Grant(_), .., Decision::Rescind { .. }]
    ));
    for log in there_and_back(&log) {
        let (mut drf, mut out) = (Drf::new(Options::default()), Outbox::new());
        for (now, change) in log {
            match change {
                Some(change) => drf.handle(now, change, &mut out),
                None => drf.tick(now, &mut out),
            }
        }
        let repeated: Vec<Decision> = out.drain().map(decision).collect();
        assert_eq!(repeated, said);
    }
}
