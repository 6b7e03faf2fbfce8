//! New weights: which are taken, and what is asked back because of them.

use super::*;
use crate::allocator::drf::SorterKind;
use crate::resources::Milli;

fn weight(in_role: &str, thousandths: i64) -> Change {
    Change::WeightSet {
        role: role(in_role),
        weight: Milli::from_thousandths(thousandths),
    }
}

#[test]
fn a_weight_that_is_not_above_zero_is_ignored() {
    // AL-17, RQ-08: whoever draws lots would divide by nothing.
    let mut rig = Rig::with(Options {
        role_sorter: SorterKind::Random,
        ..Options::default()
    });
    rig.tell(weight("a", 2_500)).framework(A, &["a"]);
    for none in [0, -5, i64::MIN] {
        rig.tell(weight("a", none)).tell(weight("idle", none));
        let roles = rig.drf.roles();
        let [only] = &roles[..] else {
            panic!("a weight that was ignored keeps no role: {roles:?}");
        };
        assert_eq!(only.weight, Milli::from_thousandths(2_500));
    }
    rig.agent(A0, "cpus:1");
    assert_eq!(rig.says(), ["1: A/a on 0: cpus:1"]);
}

#[test]
fn a_slice_of_no_agents_is_one_of_one() {
    // Refusals lapse as passes go: a deadline in the past that nothing moves would spin forever.
    let mut rig = Rig::with(Options {
        agents_per_slice: 0,
        ..Options::default()
    });
    rig.framework(A, &["*"]).agent(A0, "cpus:2");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
    rig.returns(A, A0, "cpus:2", 1);
    assert_eq!(rig.until(10_000), ["2000 ms: 2: A on 0: cpus:2"]);
}
