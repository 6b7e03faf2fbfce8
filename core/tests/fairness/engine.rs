//! The allocator held to the exact allocation, with tasks that are a small part of the pool.

use proptest::prelude::*;

use super::filling::{Instance, User, instances};
use super::fraction::{Fraction, whole};
use super::pool::{Pool, Use};

/// Makes the pool so much larger than an instance that each task is small.
fn enlarged(instance: &Instance, grain: i128) -> Pool {
    let total: Vec<i128> = instance.capacity.iter().map(|it| it * grain).collect();
    Pool::new(&total)
}

/// Users of a weight are users in a role of it. Without weights they share one role.
fn with_users(instance: &Instance, grain: i128) -> Pool {
    let mut pool = enlarged(instance, grain);
    let is_weighted = instance.users.iter().any(|user| user.weight > 1);
    for (at, user) in instance.users.iter().enumerate() {
        let role = if is_weighted {
            format!("r{at}")
        } else {
            "*".into()
        };
        if user.weight > 1 {
            pool.weigh(&role, user.weight);
        }
        pool.join(&role, &user.task);
    }
    pool
}

/// So much larger that all have whole numbers of tasks, unless these were too many to run.
fn even_grain(tasks: &[Fraction]) -> Option<i128> {
    let sum: Fraction = tasks.iter().copied().sum();
    let most = (whole(600) / sum).floor();
    let is_whole = |tasks: Fraction| whole(tasks.floor()) == tasks;
    (1..=most).find(|grain| tasks.iter().all(|it| is_whole(*it * whole(*grain))))
}

/// What the allocator says of shares is what the tasks are.
fn check_shares(instance: &Instance, grain: i128, pool: &Pool) {
    for (user, count) in pool.counts().into_iter().enumerate() {
        let share = Fraction::new(count, grain) * instance.step(user);
        assert_eq!(pool.share(user), (share * whole(1_000_000)).floor());
    }
}

/// Some roles below two or three, each with its weight and one user, of whom all need the first
/// resource most. With it, whose part is how much: that of its role among its neighbours, at each
/// level.
fn trees() -> impl Strategy<Value = (Instance, Vec<(usize, i128)>, Vec<Fraction>)> {
    let below = prop::collection::vec((1i128..=3, 1i128..=6, 0i128..=6), 1..4);
    let tops = prop::collection::vec((1i128..=3, below), 2..4);
    (tops, 6i128..=30).prop_map(|(tops, other)| {
        let sum: i128 = tops.iter().map(|top| top.0).sum();
        let (mut users, mut places, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (weight, below)) in tops.iter().enumerate() {
            let part = Fraction::new(*weight, sum);
            let siblings: i128 = below.iter().map(|it| it.0).sum();
            for (own, first, second) in below {
                let task = vec![*first, *second.min(first)];
                users.push(User {
                    weight: *own,
                    task,
                    most: None,
                });
                places.push((at, *weight));
                parts.push(part * Fraction::new(*own, siblings));
            }
        }
        let capacity = vec![6, other];
        (Instance { capacity, users }, places, parts)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    // I8, R8, AL-15 to AL-17, AL-28
    #[test]
    fn shares_rise_together_within_one_step(instance in instances()) {
        let fair = instance.fill();
        let sum: Fraction = fair.iter().copied().sum();
        let grain = (whole(150) / sum).floor() + 1;
        let mut pool = with_users(&instance, grain);
        let users = 0..instance.users.len();
        let level = |user: usize, tasks| instance.level(user, tasks);
        let step = users.clone().map(|user| level(user, Fraction::new(1, grain))).max().unwrap();
        let levels = |pool: &Pool| -> Vec<Fraction> {
            let counts = pool.counts().into_iter().enumerate();
            counts.map(|(user, count)| level(user, Fraction::new(count, grain))).collect()
        };
        // From the first offer on until the first task that does not fit.
        while let Some(Use::Started(_)) = pool.step() {
            let levels = levels(&pool);
            let spread = *levels.iter().max().unwrap() - *levels.iter().min().unwrap();
            prop_assert!(spread <= step, "{:?} with a step of {:?}", levels, step);
        }
        // By then everybody is where something is used up, and those who need it stay there.
        let end = users.map(|user| level(user, fair[user])).min().unwrap();
        for level in levels(&pool) {
            prop_assert!((level - end).abs() <= step, "{:?} instead of {:?}", level, end);
        }
        pool.fill();
        check_shares(&instance, grain, &pool);
    }

    // I8, R8, AL-15 to AL-17, AL-28
    #[test]
    fn what_can_be_shared_exactly_is(
        (instance, grain) in instances().prop_filter_map("few tasks", |instance| {
            let grain = even_grain(&instance.fill())?;
            Some((instance, grain))
        })
    ) {
        let mut pool = with_users(&instance, grain);
        pool.fill();
        for (count, tasks) in pool.counts().into_iter().zip(instance.fill()) {
            prop_assert_eq!(whole(count), tasks * whole(grain));
        }
        check_shares(&instance, grain, &pool);
    }

    // I8, AL-13, AL-16, AL-17: with one resource that all need most, every level is fair.
    #[test]
    fn a_tree_shares_its_bottleneck_by_weights_at_every_level(
        (instance, places, tasks, grain) in trees().prop_filter_map("few tasks", |tree| {
            let (instance, places, parts) = tree;
            let parts = parts.into_iter().enumerate();
            let tasks = parts.map(|(user, part)| part / instance.part(user, 0));
            let tasks: Vec<Fraction> = tasks.collect();
            let bottleneck = (0..tasks.len()).all(|it| instance.step(it) == instance.part(it, 0));
            let grain = even_grain(&tasks).filter(|_| bottleneck)?;
            Some((instance, places, tasks, grain))
        })
    ) {
        let mut pool = enlarged(&instance, grain);
        for (at, (user, (top, weight))) in instance.users.iter().zip(&places).enumerate() {
            let role = format!("t{top}/r{at}");
            pool.weigh(&format!("t{top}"), *weight);
            pool.weigh(&role, user.weight);
            pool.join(&role, &user.task);
        }
        pool.fill();
        for (count, tasks) in pool.counts().into_iter().zip(tasks) {
            prop_assert_eq!(whole(count), tasks * whole(grain));
        }
        check_shares(&instance, grain, &pool);
    }
}

#[test]
fn the_example_of_the_paper_in_small_tasks() {
    // I8: <9, 18>, A <1, 4>, B <3, 1> gives 3 and 2 tasks.
    let instance = Instance::new(&[9, 18], &[(1, &[1, 4]), (1, &[3, 1])]);
    assert_eq!(instance.fill(), [whole(3), whole(2)]);
    for grain in [1, 10, 100] {
        let mut pool = with_users(&instance, grain);
        pool.fill();
        assert_eq!(pool.counts(), [3 * grain, 2 * grain]);
    }
}
