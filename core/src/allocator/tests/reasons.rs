//! Why something is not offered: that the reason which is named is the one, and what becomes of
//! reasons that are over.

use super::*;
use crate::allocator::Grant;

const HOUR: u64 = 3_600_000;

const fn seconds(n: u64) -> Time {
    Time::from_micros(n * 1_000_000)
}

/// Says which framework changed its mind about all its roles.
fn revived(framework: FrameworkKey) -> Change {
    let roles = Vec::new();
    Change::Revived { framework, roles }
}

fn suppressed(framework: FrameworkKey) -> Change {
    let roles = Vec::new();
    Change::Suppressed { framework, roles }
}

fn refused(grant: Grant) -> Change {
    Change::Returned {
        framework: grant.framework,
        role: grant.role,
        agent: grant.agent,
        resources: grant.resources,
        from: Booking::Offered,
        refuse: Some(Duration::from_millis(HOUR)),
    }
}

/// Has everybody refuse everything for an hour, in slices of one agent. Returns how many refusals
/// there are.
fn refuse_all(rig: &mut Rig) -> u32 {
    let mut count = 0;
    while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
        rig.drf.tick(rig.now, &mut rig.out);
        let said: Vec<_> = rig.out.drain().collect();
        for output in said {
            let Output::Effect(Decision::Grant(grant)) = output else {
                panic!("{output:?}");
            };
            rig.drf.handle(rig.now, refused(grant), &mut rig.out);
            count += 1;
        }
    }
    count
}

/// How many slices of one agent it takes until ten refusals of each of some agents are over.
fn slices_until_over(agents: u32, are_forgotten: bool) -> usize {
    let mut rig = Rig::with(Options {
        agents_per_slice: 1,
        ..Options::default()
    });
    let frameworks = (0..10).map(|n| FrameworkKey::from_raw(n, 0));
    for framework in frameworks.clone() {
        rig.framework(framework, &["*"]);
    }
    for n in 0..agents {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:4;mem:64");
    }
    assert_eq!(refuse_all(&mut rig), 10 * agents);
    for framework in frameworks {
        if are_forgotten {
            rig.tell(revived(framework));
        }
        rig.tell(suppressed(framework));
    }
    assert_eq!(rig.drf.filters.is_empty(), are_forgotten);
    rig.now = seconds(HOUR / 1_000 + 10);
    let mut slices = 0;
    while rig.drf.filters.next_lapse().is_some() {
        rig.drf.tick(rig.now, &mut rig.out);
        slices += 1;
    }
    rig.drf.check_invariants();
    slices
}

#[test]
fn refusals_that_were_forgotten_lapse_in_slices_as_well() {
    // OF-35: forgetting costs nothing, and what it leaves must not be paid for all at once.
    for are_forgotten in [false, true] {
        let slices = slices_until_over(50, are_forgotten);
        assert!(slices >= 50, "{slices} for 500, forgotten: {are_forgotten}");
    }
}
