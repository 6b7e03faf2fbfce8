//! Roles below roles: what the promises come to when each level is fair for itself.
//!
//! Three hold as they are, on 10,000 trees with weights each: shares of siblings rise together
//! within one step, nothing is left that somebody could use, and what all need most is shared out
//! by weights at every level (of which one resource is a case). The others hold for the children of
//! the root, and not below: see `exceptions`.

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

/// A temporary search.
#[test]
#[ignore]
fn search() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::default();
    let grain = 30;
    let run = |tree: &Tree| {
        let mut pool = tree.pool(grain);
        pool.fill();
        pool.counts()
    };
    let (mut lies, mut leaves, mut parts, mut envies) = (0, 0, 0, 0);
    for _ in 0..6000 {
        let mut tree = trees().new_tree(&mut runner).unwrap().current();
        tree.instance.users.iter_mut().for_each(|it| it.weight = 1);
        tree.places.iter_mut().for_each(|it| it.1 = 1);
        let honest = run(&tree);
        let tasks: Vec<Fraction> = honest.iter().map(|it| whole(*it)).collect();
        for (user, part) in tree.parts().into_iter().enumerate() {
            let alone: Vec<_> = tree
                .instance
                .capacity
                .iter()
                .map(|all| whole(all * grain) * part)
                .collect();
            let worth = tree.instance.use_of(user, &alone);
            if worth > whole(honest[user] + 2) * Fraction::new(5, 4) && parts < 4 {
                parts += 1;
                println!("PART {tree:?} {user}: {worth:?} {honest:?}");
            }
            for (other, its) in tasks.iter().enumerate() {
                if tree.places[user].0 == tree.places[other].0 {
                    let worth = tree.instance.use_of(user, &tree.instance.held(other, *its));
                    if worth > whole(honest[user] + 2) * Fraction::new(5, 4) && envies < 4 {
                        envies += 1;
                        println!("ENVY {tree:?} {user} of {other}: {worth:?} {honest:?}");
                    }
                }
            }
        }
        let n = tree.instance.users.len();
        for liar in 0..n {
            let said = prop::collection::vec(0i128..=9, tree.instance.capacity.len());
            let said = said.new_tree(&mut runner).unwrap().current();
            if said.iter().all(|n| *n == 0) {
                continue;
            }
            let mut lie = tree.clone();
            lie.instance.users[liar].task = said;
            let counts = run(&lie);
            let got = lie.instance.held(liar, whole(counts[liar]));
            let of_use = tree.instance.use_of(liar, &got);
            if of_use > whole(honest[liar] + 2) * Fraction::new(5, 4) && lies < 6 {
                lies += 1;
                println!(
                    "LIE {tree:?} {liar} says {:?}: {honest:?} -> {of_use:?} {counts:?}",
                    lie.instance.users[liar]
                );
            }
        }
        let mut all = tree.clone();
        all.instance = all.instance.with_need_of_all();
        let honest = run(&all);
        for leaver in 0..n {
            let mut rest = all.clone();
            rest.instance.users.remove(leaver);
            rest.places.remove(leaver);
            let after = run(&rest);
            let mut had = honest.clone();
            had.remove(leaver);
            let less = |(had, has): (&i128, &i128)| had * 4 > (has + 2) * 5;
            if had.iter().zip(&after).any(less) && leaves < 6 {
                leaves += 1;
                println!("LEAVE {all:?} {leaver}: {had:?} -> {after:?}");
            }
        }
    }
}
