//! What dominant resource fairness promises, on 10,000 instances each, without a tolerance.
//!
//! With weights, a share of 1/n is a share by weight, and others' parts are envied in proportion.

use proptest::prelude::*;

use super::filling::{Instance, User, instances};
use super::fraction::{Fraction, whole};

/// An instance in which one user says something else than what it needs.
fn misreports() -> impl Strategy<Value = (Instance, usize, Instance)> {
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
        // Nobody would be better off with its own part of the cluster.
        let tasks = instance.fill();
        for (user, own) in tasks.iter().enumerate() {
            let part = Fraction::new(instance.users[user].weight, instance.total_weight());
            let alone: Vec<_> = instance.capacity.iter().map(|all| whole(*all) * part).collect();
            prop_assert!(*own >= instance.use_of(user, &alone));
        }
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
        let tasks = instance.fill();
        for (user, own) in tasks.iter().enumerate() {
            for (other, its) in tasks.iter().enumerate() {
                let weight = |it: usize| whole(instance.users[it].weight);
                let theirs = instance.held(other, *its * weight(user) / weight(other));
                prop_assert!(*own >= instance.use_of(user, &theirs));
            }
        }
    }

    // I8, R8
    #[test]
    fn p4_pareto_efficiency(instance in instances()) {
        // Nobody can have more unless somebody has less: for each, something it needs is used up,
        // and nobody holds anything of it that it does not need.
        let tasks = instance.fill();
        for user in &instance.users {
            let mut needed = (0..instance.capacity.len()).filter(|it| user.task[*it] > 0);
            prop_assert!(needed.any(|it| instance.used(&tasks, it) == Fraction::ONE));
        }
    }

    // I8, R8
    #[test]
    fn p5_single_resource_fairness(
        capacity in 1i128..=30,
        users in prop::collection::vec((1i128..=4, 1i128..=9, 0i128..=9), 1..6),
    ) {
        // With one resource it is max-min fairness, found here by going through the modest first.
        let user = |(weight, task, most): &(i128, i128, i128)| User {
            weight: *weight,
            task: vec![*task],
            most: (*most > 0).then_some(*most),
        };
        let users: Vec<User> = users.iter().map(user).collect();
        let instance = Instance { capacity: vec![capacity], users };
        let tasks = instance.fill();
        instance.check(&tasks);
        let wish = |user: &User| {
            let most = user.most.map(|most| most * user.task[0]);
            most.map(|most| Fraction::new(most, user.weight))
        };
        let mut modest: Vec<usize> = (0..instance.users.len()).collect();
        modest.sort_by(|a, b| {
            let (a, b) = (wish(&instance.users[*a]), wish(&instance.users[*b]));
            a.is_none().cmp(&b.is_none()).then(a.cmp(&b))
        });
        let (mut left, mut weight) = (whole(capacity), instance.total_weight());
        for at in modest {
            let user = &instance.users[at];
            let even = left / whole(weight);
            let each = wish(user).map_or(even, |wish| wish.min(even));
            let amount = each * whole(user.weight);
            prop_assert_eq!(tasks[at] * whole(user.task[0]), amount);
            (left, weight) = (left - amount, weight - user.weight);
        }
    }

    // I8, R8
    #[test]
    fn p6_bottleneck_fairness(instance in instances()) {
        // What everybody needs most of is shared out by weight, and all of it.
        let mut instance = instance;
        for user in &mut instance.users {
            // Of each, what is needed of all others is no larger a part than what is of the first.
            let first = (0..user.task.len()).map(|it| {
                let amount = user.task[it] * instance.capacity[0];
                amount.div_euclid(instance.capacity[it]) + 1
            });
            user.task[0] = first.max().unwrap();
        }
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
        let mut rest = instance;
        for user in &mut rest.users {
            user.task.iter_mut().for_each(|amount| *amount = (*amount).max(1));
        }
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
    fn p8_resource_monotonicity_of_the_least(
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
