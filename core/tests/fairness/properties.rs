//! What dominant resource fairness promises of divisible tasks, on 10,000 instances each, without a
//! tolerance. What the allocator keeps of it is in `promises`, which uses these generators.
//!
//! With weights, a share of 1/n is a share by weight, and others' parts are envied in proportion.

use proptest::prelude::*;

use super::filling::{Instance, User, instances};
use super::fraction::{Fraction, whole};

/// An instance in which one user says something else than what it needs.
pub(crate) fn misreports() -> impl Strategy<Value = (Instance, usize, Instance)> {
    let said = prop::collection::vec(0i128..=9, 3);
    (instances(), any::<prop::sample::Index>(), said, 0..4).prop_filter_map(
        "something must be asked for",
        |(truth, liar, said, kind)| {
            let liar = liar.index(truth.users.len());
            let mut lie = truth.clone();
            for (resource, amount) in lie.users[liar].task.iter_mut().enumerate() {
                *amount = match kind {
                    // Anything; more; a little more of all; nothing of what is not dominant.
                    0 => said[resource],
                    1 => *amount + said[resource],
                    2 => *amount + i128::from(said[0] > 4),
                    _ if truth.part(liar, resource) < truth.step(liar) => 0,
                    _ => *amount,
                };
            }
            let asks = lie.users[liar].task.iter().any(|amount| *amount > 0);
            asks.then_some((truth, liar, lie))
        },
    )
}

/// Users of one resource, some of whom have enough after some tasks.
pub(crate) fn single() -> impl Strategy<Value = Instance> {
    let users = prop::collection::vec((1i128..=4, 1i128..=9, 0i128..=9), 1..6);
    (1i128..=30, users).prop_map(|(capacity, users)| {
        let user = |(weight, task, most): &(i128, i128, i128)| User {
            weight: *weight,
            task: vec![*task],
            most: (*most > 0).then_some(*most),
        };
        let users = users.iter().map(user).collect();
        let capacity = vec![capacity];
        Instance { capacity, users }
    })
}

/// Max-min fairness of one resource, found by going through the modest first.
pub(crate) fn max_min(instance: &Instance) -> Vec<Fraction> {
    let wish = |user: &User| {
        let most = user.most.map(|most| most * user.task[0]);
        most.map(|most| Fraction::new(most, user.weight))
    };
    let mut modest: Vec<usize> = (0..instance.users.len()).collect();
    modest.sort_by(|a, b| {
        let (a, b) = (wish(&instance.users[*a]), wish(&instance.users[*b]));
        a.is_none().cmp(&b.is_none()).then(a.cmp(&b))
    });
    let (mut left, mut weight) = (whole(instance.capacity[0]), instance.total_weight());
    let mut tasks = vec![Fraction::ZERO; instance.users.len()];
    for at in modest {
        let user = &instance.users[at];
        let even = left / whole(weight);
        let each = wish(user).map_or(even, |wish| wish.min(even));
        let amount = each * whole(user.weight);
        tasks[at] = amount / whole(user.task[0]);
        (left, weight) = (left - amount, weight - user.weight);
    }
    tasks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    // I8, R8
    #[test]
    fn filling_finds_the_one_fair_allocation(instance in instances()) {
        instance.check(&instance.fill());
    }

    // I8, R8
    #[test]
    fn p1_sharing_incentive(instance in instances()) {
        prop_assert!(instance.gives_each_its_part(&instance.fill()));
    }

    // I8, R8
    #[test]
    fn p2_strategy_proofness((truth, liar, lie) in misreports()) {
        // Nobody runs more tasks by saying that they need something else.
        let honest = truth.fill()[liar];
        let got = lie.held(liar, lie.fill()[liar]);
        prop_assert!(truth.use_of(liar, &got) <= honest);
    }

    // I8, R8
    #[test]
    fn p3_envy_freeness(instance in instances()) {
        prop_assert!(instance.leaves_no_envy(&instance.fill()));
    }

    // I8, R8
    #[test]
    fn p4_pareto_efficiency(instance in instances()) {
        prop_assert!(instance.leaves_nothing_of_use(&instance.fill()));
    }

    // I8, R8
    #[test]
    fn p5_single_resource_fairness(instance in single()) {
        let tasks = instance.fill();
        instance.check(&tasks);
        prop_assert_eq!(tasks, max_min(&instance));
    }

    // I8, R8
    #[test]
    fn p6_bottleneck_fairness(instance in instances()) {
        // What everybody needs most of is shared out by weight, and all of it.
        let instance = instance.with_a_bottleneck();
        for (user, own) in instance.fill().into_iter().enumerate() {
            let weight = instance.users[user].weight;
            let expected = Fraction::new(weight, instance.total_weight());
            prop_assert_eq!(own * instance.part(user, 0), expected);
        }
    }

    // I8, R8
    #[test]
    fn p7_population_monotonicity(instance in instances(), leaver in any::<prop::sample::Index>()) {
        // When somebody leaves, nobody who stays has less, if all need something of everything.
        let mut rest = instance.with_need_of_all();
        let before = rest.fill();
        let leaver = leaver.index(before.len());
        rest.users.remove(leaver);
        let stayed = before.into_iter().enumerate().filter(|(user, _)| *user != leaver);
        for ((_, before), after) in stayed.zip(rest.fill()) {
            prop_assert!(after >= before);
        }
    }

    // I8, R8
    #[test]
    fn what_there_is_of_resource_monotonicity(
        instance in instances(),
        more in prop::collection::vec(0i128..=10, 3),
    ) {
        // That more of something leaves nobody with less does not hold: see `exceptions`. What
        // does hold: with more of everything in proportion everybody has more in proportion, and
        // when there is only one resource, with more of it.
        let before = instance.fill();
        let mut scaled = instance.clone();
        scaled.capacity.iter_mut().for_each(|it| *it *= 1 + more[0]);
        for (before, after) in before.iter().zip(scaled.fill()) {
            prop_assert_eq!(after, *before * whole(1 + more[0]));
        }
        let mut larger = instance;
        larger.capacity.truncate(1);
        for user in &mut larger.users {
            user.task = vec![user.task[0].max(1)];
        }
        let before = larger.fill();
        larger.capacity[0] += more[1];
        for (before, after) in before.into_iter().zip(larger.fill()) {
            prop_assert!(after >= before);
        }
    }
}
