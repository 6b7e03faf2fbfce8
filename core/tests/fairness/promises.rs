//! What dominant resource fairness promises, kept by the allocator: 10,000 instances each, with and
//! without weights, of those that can be shared exactly in whole tasks.
//!
//! What users lie about is what they start: the allocator sees what they take. The eighth promise,
//! that shares rise together within one step, is in `engine`, trees are in `trees`.

use proptest::prelude::*;

use super::engine::{even_grain, given};
use super::filling::{Instance, instances};
use super::fraction::Fraction;
use super::properties::{max_min, misreports, single};

/// With it, how much larger it has to be to be shared in whole tasks.
fn even(instance: Instance) -> Option<(Instance, i128)> {
    let grain = even_grain(&instance.fill())?;
    Some((instance, grain))
}

fn evens() -> impl Strategy<Value = (Instance, i128)> {
    instances().prop_filter_map("few tasks", even)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        max_local_rejects: 1_000_000,
        ..ProptestConfig::default()
    })]

    // I8, R8, AL-15 to AL-17
    #[test]
    fn p1_p3_p4_each_its_part_no_envy_and_nothing_wasted((instance, grain) in evens()) {
        // Sharing incentive, envy-freeness and Pareto efficiency of one run.
        let tasks = given(&instance, grain);
        prop_assert!(instance.gives_each_its_part(&tasks), "{:?}", tasks);
        prop_assert!(instance.leaves_no_envy(&tasks), "{:?}", tasks);
        prop_assert!(instance.leaves_nothing_of_use(&tasks), "{:?}", tasks);
    }

    // I8, R8
    #[test]
    fn p2_strategy_proofness(
        (liar, truth, lie) in misreports().prop_filter_map("few tasks", |(truth, liar, lie)| {
            Some((liar, even(truth)?, even(lie)?))
        })
    ) {
        // Nobody runs more of its tasks by starting others than it needs.
        let honest = given(&truth.0, truth.1)[liar];
        let got = lie.0.held(liar, given(&lie.0, lie.1)[liar]);
        prop_assert!(truth.0.use_of(liar, &got) <= honest);
    }

    // I8, R8
    #[test]
    fn p5_single_resource_fairness(
        (instance, grain) in single().prop_filter_map("few tasks", even)
    ) {
        prop_assert_eq!(given(&instance, grain), max_min(&instance));
    }

    // I8, R8
    #[test]
    fn p6_bottleneck_fairness(
        (instance, grain) in instances()
            .prop_map(Instance::with_a_bottleneck)
            .prop_filter_map("few tasks", even)
    ) {
        for (user, own) in given(&instance, grain).into_iter().enumerate() {
            let weight = instance.users[user].weight;
            let expected = Fraction::new(weight, instance.total_weight());
            prop_assert_eq!(own * instance.part(user, 0), expected);
        }
    }

    // I8, R8
    #[test]
    fn p7_population_monotonicity(
        (before, leaver, after) in (instances(), any::<prop::sample::Index>()).prop_filter_map(
            "few tasks",
            |(instance, leaver)| {
                let before = instance.with_need_of_all();
                let leaver = leaver.index(before.users.len());
                let mut after = before.clone();
                after.users.remove(leaver);
                let after = if after.users.is_empty() { None } else { Some(even(after)?) };
                Some((even(before)?, leaver, after))
            },
        )
    ) {
        // When somebody leaves, nobody who stays has less.
        let had = given(&before.0, before.1);
        let stayed = had.into_iter().enumerate().filter(|(user, _)| *user != leaver);
        let has = after.map(|(instance, grain)| given(&instance, grain));
        for ((_, before), after) in stayed.zip(has.into_iter().flatten()) {
            prop_assert!(after >= before);
        }
    }
}
