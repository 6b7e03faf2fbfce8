//! What quota keeps from most is not asked of each of them again, and that changes no grant.

use super::quota::quota;
use super::*;
use crate::allocator::Grant;
use crate::resources::Milli;
use crate::rng::Rng;

const ROLES: [&str; 5] = ["a", "a/b", "a/c", "d", "e"];
const TOTALS: [&str; 5] = [
    "cpus:4;mem:64",
    "cpus:2;cpus(a):2;mem:100;ports:[1-9]",
    "mem:500;fpga:3",
    "cpus:1",
    "cpus(e):1;cpus:6;fpga:2;ports:[3-4]",
];
const GUARANTEES: [&str; 6] = [
    "",
    "",
    "cpus:4",
    "cpus:30;mem:2000",
    "ports:5",
    "mem:200;fpga:2",
];
const LIMITS: [&str; 5] = ["", "", "cpus:5", "ports:3;mem:150", "fpga:1"];

#[test]
fn what_is_kept_from_all_is_asked_for_once() {
    // AL-04: as each agent is looked at again an interval after any change, whoever could have
    // nothing of it must not be asked one by one.
    let mut rig = Rig::with(Options {
        agents_per_slice: 50,
        ..Options::default()
    });
    rig.tell(quota("q", "cpus:1000;mem:64000", ""));
    for n in 0..100 {
        let in_role = format!("r{}", n % 10);
        let profile = FrameworkProfile::new("f", [role(&in_role)]);
        let framework = FrameworkKey::from_raw(n, 0);
        rig.drf.handle(
            rig.now,
            Change::FrameworkAdded { framework, profile },
            &mut rig.out,
        );
    }
    for n in 0..200 {
        rig.drf.handle(
            rig.now,
            Change::AgentAdded {
                agent: AgentKey::from_raw(n, 0),
                total: res("cpus:1;mem:64"),
                traits: AgentTraits::default(),
            },
            &mut rig.out,
        );
    }
    for second in 0..3u64 {
        rig.now = Time::from_micros(second * 1_000_000);
        let mut slices = 0;
        while rig.drf.deadline().is_some_and(|it| it <= rig.now) {
            rig.drf.tick(rig.now, &mut rig.out);
            slices += 1;
        }
        // Two hundred agents are four slices in each of two stages, and a little more for a look
        // at each; a look at everybody would make it more than thirty.
        assert!(slices <= 12, "{slices} slices");
        rig.now = rig.now + Duration::from_millis(500);
        rig.tell(Change::WeightSet {
            role: role("idle"),
            weight: Milli::from_units(1),
        });
    }
    assert_eq!(rig.out.drain().count(), 0);
}

/// Lives through random changes with quota. Returns all that was said.
fn live(seed: u64, looks_at_all: bool) -> Vec<Output<Never, Decision>> {
    let mut rig = Rig::with(Options {
        seed,
        ..Options::default()
    });
    rig.drf.looks_at_all = looks_at_all;
    let mut rng = Rng::new(seed);
    let (mut said, mut grants, mut used) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..60 {
        let pick = |rng: &mut Rng, of: usize| rng.below(of as u64) as usize;
        let in_role = ROLES[pick(&mut rng, ROLES.len())];
        match rng.below(12) {
            0..=2 => drop(rig.agent(AgentKey::from_raw(n, 0), TOTALS[pick(&mut rng, 5)])),
            3 | 4 => {
                let profile = FrameworkProfile::new("f", [role(in_role), role("d")]);
                let framework = FrameworkKey::from_raw(n, 0);
                rig.tell(Change::FrameworkAdded { framework, profile });
            }
            5 | 6 => {
                let (least, most) = (GUARANTEES[pick(&mut rng, 6)], LIMITS[pick(&mut rng, 5)]);
                rig.tell(quota(in_role, least, most));
            }
            7 => {
                let weight = Milli::from_units(1 + rng.below(3) as i64);
                let role = role(in_role);
                rig.tell(Change::WeightSet { role, weight });
            }
            8..=10 if !grants.is_empty() => {
                let grant: Grant = grants.swap_remove(pick(&mut rng, grants.len()));
                answer(&mut rig, &mut rng, &grant, &mut used);
            }
            _ if !used.is_empty() => {
                let it: Grant = used.swap_remove(pick(&mut rng, used.len()));
                rig.tell(returned(&it, Booking::Allocated, None));
            }
            _ => {}
        }
        let end = rig.now + Duration::from_millis([0, 0, 300, 1_000][pick(&mut rng, 4)]);
        while let Some(due) = rig.drf.deadline().filter(|due| *due <= end) {
            rig.now = rig.now.max(due);
            rig.drf.tick(rig.now, &mut rig.out);
        }
        rig.now = end;
        rig.drf.check_invariants();
        let news: Vec<_> = rig.out.drain().collect();
        for output in news {
            said.push(output.clone());
            match output {
                Output::Effect(Decision::Grant(grant)) => grants.push(grant),
                Output::Effect(Decision::Rescind { grant, .. }) => {
                    if let Some(at) = grants.iter().position(|it| it.id == grant) {
                        let it = grants.swap_remove(at);
                        rig.tell(returned(&it, Booking::Offered, None));
                    }
                }
                Output::Persist(_) | Output::Free(_) => panic!("{output:?}"),
            }
        }
    }
    said
}

fn answer(rig: &mut Rig, rng: &mut Rng, grant: &Grant, used: &mut Vec<Grant>) {
    if rng.chance(1, 2) {
        let refuse = [None, Some(Duration::from_millis(2_500))][rng.below(2) as usize];
        rig.tell(returned(grant, Booking::Offered, refuse));
        return;
    }
    used.push(grant.clone());
    rig.tell(Change::Accepted {
        framework: grant.framework,
        role: grant.role.clone(),
        agent: grant.agent,
        grants: whichever(),
        resources: grant.resources.clone(),
    });
}

fn returned(of: &Grant, from: Booking, refuse: Option<Duration>) -> Change {
    again_free(
        from,
        (of.framework, of.role.clone(), of.agent),
        of.resources.clone(),
        refuse,
    )
}

#[test]
fn whom_quota_keeps_out_is_passed_by_and_would_get_nothing() {
    // Interest, and what is kept free, are pure optimisations, grant by grant.
    let mut grants = 0;
    for seed in 0..150 {
        let said = live(seed, false);
        grants += said.len();
        assert_eq!(said, live(seed, true), "seed {seed}");
    }
    assert!(grants > 1_000, "{grants}");
}
