//! Roles below roles: what the promises come to when each level is fair for itself.
//!
//! These hold on 10,000 trees with weights each: shares of siblings rise together within one step,
//! nothing is left that somebody could use, and what all need most is shared out exactly by weights
//! at every level. From the last, of which one resource is a case, the others follow as long as
//! there is such a bottleneck: what somebody gets depends neither on the size of its tasks nor on
//! anybody else's, and parts only grow when somebody leaves. Without a bottleneck an even part and
//! the absence of envy do not hold: see `exceptions`. That lies and leavers do no harm there either
//! is neither promised nor tested, since no allocation is exact enough to tell it from rounding.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::engine::{check_shares, enlarged, even_grain};
use super::filling::{Instance, User};
use super::fraction::{Fraction, whole};
use super::pool::{Pool, Use};

/// Users below the children of a root; each is in a role of its own.
#[derive(Clone, Debug)]
struct Tree {
    instance: Instance,
    /// Below which child of the root each user is, and that child's weight.
    places: Vec<(usize, i128)>,
}

impl Tree {
    fn pool(&self, grain: i128) -> Pool {
        let mut pool = enlarged(&self.instance, grain);
        for (at, (user, (top, weight))) in self.instance.users.iter().zip(&self.places).enumerate()
        {
            let role = format!("t{top}/r{at}");
            pool.weigh(&format!("t{top}"), *weight);
            pool.weigh(&role, user.weight);
            pool.join(&role, &user.task);
        }
        pool
    }

    fn users(&self) -> impl Iterator<Item = (usize, (usize, i128))> + '_ {
        self.places.iter().copied().enumerate()
    }

    /// The weighted share of each child of the root: of all that is below it together.
    fn levels(&self, tasks: &[Fraction]) -> BTreeMap<usize, Fraction> {
        let mut levels = BTreeMap::new();
        for (_, (top, weight)) in self.users() {
            let held = (0..self.instance.capacity.len()).map(|resource| {
                let below = self.users().filter(|(_, place)| place.0 == top);
                let parts = below.map(|(it, _)| tasks[it] * self.instance.part(it, resource));
                parts.sum::<Fraction>()
            });
            levels.insert(top, held.max().unwrap() / whole(weight));
        }
        levels
    }

    /// What each user's part of everything is: that of its role among its siblings, at each level.
    fn parts(&self) -> Vec<Fraction> {
        let tops: BTreeMap<usize, i128> = self.places.iter().copied().collect();
        let sum: i128 = tops.values().sum();
        let part = |(user, (top, weight)): (usize, (usize, i128))| {
            let siblings = self.users().filter(|(_, place)| place.0 == top);
            let siblings: i128 = siblings.map(|(it, _)| self.instance.users[it].weight).sum();
            Fraction::new(weight, sum) * Fraction::new(self.instance.users[user].weight, siblings)
        };
        self.users().map(part).collect()
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let task = prop::collection::vec(0i128..=6, 3);
    let task = task.prop_filter("a task needs something", |it| it[0] > 0);
    let below = prop::collection::vec((1i128..=3, task), 1..4);
    let tops = prop::collection::vec((1i128..=3, below), 2..4);
    let capacity = prop::collection::vec(6i128..=30, 1..=3);
    (tops, capacity).prop_map(|(tops, capacity)| {
        let (mut users, mut places) = (Vec::new(), Vec::new());
        for (at, (top, below)) in tops.into_iter().enumerate() {
            for (weight, mut task) in below {
                task.truncate(capacity.len());
                let most = None;
                users.push(User { weight, task, most });
                places.push((at, top));
            }
        }
        let instance = Instance { capacity, users };
        Tree { instance, places }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        max_local_rejects: 1_000_000,
        ..ProptestConfig::default()
    })]

    // I8, R8, AL-13, AL-15 to AL-17
    #[test]
    fn siblings_rise_together_and_nothing_of_use_is_left(tree in trees(), grain in 3i128..=9) {
        let instance = &tree.instance;
        let users = 0..instance.users.len();
        let mut pool = tree.pool(grain);
        let now = |pool: &Pool| -> Vec<Fraction> {
            let counts = pool.counts().into_iter();
            counts.map(|count| Fraction::new(count, grain)).collect()
        };
        let step = |user| instance.step(user) / whole(grain);
        let own_step = |user| step(user) / whole(instance.users[user].weight);
        let top_step = tree.users().map(|(it, (_, weight))| step(it) / whole(weight));
        let top_step = top_step.max().unwrap();
        while let Some(Use::Started(_)) = pool.step() {
            let tasks = now(&pool);
            let tops = tree.levels(&tasks);
            let spread = *tops.values().max().unwrap() - *tops.values().min().unwrap();
            prop_assert!(spread <= top_step, "{:?} with a step of {:?}", tops, top_step);
            for top in tops.keys() {
                let siblings = || tree.users().filter(|(_, place)| place.0 == *top);
                let levels = || siblings().map(|(it, _)| instance.level(it, tasks[it]));
                let spread = levels().max().unwrap() - levels().min().unwrap();
                let most = siblings().map(|(it, _)| own_step(it)).max().unwrap();
                prop_assert!(spread <= most, "{:?} below {}", tasks, top);
            }
        }
        pool.fill();
        let counts = pool.counts();
        for user in users {
            let free = |resource: usize| {
                let used = instance.users.iter().zip(&counts);
                let used = used.map(|(it, count)| it.task[resource] * count);
                instance.capacity[resource] * grain - used.sum::<i128>()
            };
            let task = instance.users[user].task.iter().enumerate();
            let fits = task.into_iter().all(|(resource, amount)| *amount <= free(resource));
            prop_assert!(!fits, "one more task of {} fits", user);
        }
        check_shares(instance, grain, &pool);
    }

    // I8, R8, AL-13, AL-16, AL-17
    #[test]
    fn what_all_need_most_is_shared_by_weights_at_every_level(
        (tree, tasks, grain) in trees().prop_filter_map("few tasks", |mut tree| {
            tree.instance = tree.instance.with_a_bottleneck();
            let parts = tree.parts().into_iter().enumerate();
            let tasks = parts.map(|(user, part)| part / tree.instance.part(user, 0));
            let tasks: Vec<Fraction> = tasks.collect();
            let grain = even_grain(&tasks)?;
            Some((tree, tasks, grain))
        })
    ) {
        let mut pool = tree.pool(grain);
        pool.fill();
        for (count, tasks) in pool.counts().into_iter().zip(tasks) {
            prop_assert_eq!(whole(count), tasks * whole(grain));
        }
        check_shares(&tree.instance, grain, &pool);
    }
}
