//! The allocator held to the exact allocation, with tasks that are a small part of the pool.

use proptest::prelude::*;

use super::filling::{Instance, Tasks, instances};
use super::fraction::{Fraction, whole};
use super::pool::{Pool, Use};

/// The most tasks that are run of an instance.
const MOST: i128 = 120;

/// Makes the pool so much larger than an instance that each task is small.
pub(crate) fn enlarged(instance: &Instance, grain: i128) -> Pool {
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
        if let Some(most) = user.most {
            pool.limit(at, most * grain);
        }
    }
    pool
}

/// So much larger that all have whole numbers of tasks, unless these were too many to run.
pub(crate) fn even_grain(tasks: &[Fraction]) -> Option<i128> {
    let sum: Fraction = tasks.iter().copied().sum();
    let most = (whole(MOST) / sum).floor();
    let is_whole = |tasks: Fraction| whole(tasks.floor()) == tasks;
    (1..=most).find(|grain| tasks.iter().all(|it| is_whole(*it * whole(*grain))))
}

/// What the allocator gives each user of an instance that it can share exactly.
pub(crate) fn given(instance: &Instance, grain: i128) -> Tasks {
    let mut pool = with_users(instance, grain);
    pool.fill();
    let counts = pool.counts().into_iter();
    counts.map(|count| Fraction::new(count, grain)).collect()
}

/// What the allocator says of shares is what the tasks are.
pub(crate) fn check_shares(instance: &Instance, grain: i128, pool: &Pool) {
    for (user, count) in pool.counts().into_iter().enumerate() {
        let share = Fraction::new(count, grain) * instance.step(user);
        assert_eq!(pool.share(user), (share * whole(1_000_000)).floor());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        max_local_rejects: 1_000_000,
        ..ProptestConfig::default()
    })]

    // I8, R8, AL-15 to AL-17, AL-28
    #[test]
    fn p8_shares_rise_together_within_one_step(instance in instances()) {
        let fair = instance.fill();
        let sum: Fraction = fair.iter().copied().sum();
        let grain = (whole(40) / sum).floor() + 1;
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
