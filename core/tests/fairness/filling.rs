//! Who gets how much of divisible tasks: progressive filling, in exact fractions.
//!
//! All weighted dominant shares rise together until something is used up; whoever needs it stops,
//! and the others go on. Users that need nothing of some resource are as in Parkes, Procaccia and
//! Shah (EC 2012). [`Instance::check`] judges an allocation without knowing how it was found.

use proptest::prelude::*;

use super::fraction::{Fraction, whole};

/// How much there is, and what each wants.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// How much there is of each resource; above zero.
    pub(crate) capacity: Vec<i128>,
    pub(crate) users: Vec<User>,
}

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) weight: i128,
    /// What one task needs of each resource; of one at least it needs something.
    pub(crate) task: Vec<i128>,
    /// The most tasks that are of any use.
    pub(crate) most: Option<i128>,
}

/// How many tasks each user gets.
pub(crate) type Tasks = Vec<Fraction>;

impl Instance {
    pub(crate) fn new(capacity: &[i128], users: &[(i128, &[i128])]) -> Self {
        let user = |(weight, task): &(i128, &[i128])| User {
            weight: *weight,
            task: task.to_vec(),
            most: None,
        };
        Self {
            capacity: capacity.to_vec(),
            users: users.iter().map(user).collect(),
        }
    }

    /// What one task of a user is of all there is of one resource.
    pub(crate) fn part(&self, user: usize, resource: usize) -> Fraction {
        Fraction::new(self.users[user].task[resource], self.capacity[resource])
    }

    /// The dominant share of one task.
    pub(crate) fn step(&self, user: usize) -> Fraction {
        let parts = (0..self.capacity.len()).map(|resource| self.part(user, resource));
        parts.max().unwrap()
    }

    /// The weighted dominant share of so many tasks.
    pub(crate) fn level(&self, user: usize, tasks: Fraction) -> Fraction {
        tasks * self.step(user) / whole(self.users[user].weight)
    }

    pub(crate) fn total_weight(&self) -> i128 {
        self.users.iter().map(|user| user.weight).sum()
    }

    /// Raises everybody together.
    pub(crate) fn fill(&self) -> Tasks {
        let users = 0..self.users.len();
        // Tasks at a level of 1.
        let rate: Vec<Fraction> = users
            .clone()
            .map(|user| whole(self.users[user].weight) / self.step(user))
            .collect();
        let mut tasks: Vec<Option<Fraction>> = vec![None; self.users.len()];
        while tasks.contains(&None) {
            let rising: Vec<usize> = users.clone().filter(|it| tasks[*it].is_none()).collect();
            let mut end: Option<Fraction> = None;
            let mut ends = Vec::new();
            let mut consider = |at: Fraction, of: Vec<usize>| {
                if end.is_none_or(|end| at < end) {
                    (end, ends) = (Some(at), of);
                } else if end == Some(at) {
                    ends.extend(of);
                }
            };
            for resource in 0..self.capacity.len() {
                let of: Vec<usize> = rising
                    .iter()
                    .copied()
                    .filter(|user| self.users[*user].task[resource] > 0)
                    .collect();
                if of.is_empty() {
                    continue;
                }
                let stopped = users.clone().filter_map(|it| Some((it, tasks[it]?)));
                let used: Fraction = stopped
                    .map(|(user, tasks)| tasks * self.part(user, resource))
                    .sum();
                let speed: Fraction = of
                    .iter()
                    .map(|user| rate[*user] * self.part(*user, resource))
                    .sum();
                consider((Fraction::ONE - used) / speed, of);
            }
            for user in &rising {
                if let Some(most) = self.users[*user].most {
                    consider(whole(most) / rate[*user], vec![*user]);
                }
            }
            let end = end.expect("everybody needs something");
            for user in ends {
                tasks[user] = Some(end * rate[user]);
            }
        }
        tasks.into_iter().map(Option::unwrap).collect()
    }

    /// How much of a resource is in use.
    pub(crate) fn used(&self, tasks: &Tasks, resource: usize) -> Fraction {
        let of = tasks.iter().enumerate();
        of.map(|(user, tasks)| *tasks * self.part(user, resource))
            .sum()
    }

    /// Checks that an allocation is the fair one. There is just one in which each has all it wants,
    /// or something it needs is used up of which nobody at a higher level has anything: raising it
    /// would take from somebody who has no more.
    pub(crate) fn check(&self, tasks: &Tasks) {
        let resources = 0..self.capacity.len();
        for resource in resources.clone() {
            let used = self.used(tasks, resource);
            assert!(used <= Fraction::ONE, "{used:?} of {resource}: {self:?}");
        }
        for (user, own) in tasks.iter().enumerate() {
            assert!(*own > Fraction::ZERO, "{user} has nothing: {self:?}");
            let level = self.level(user, *own);
            let binds = |resource: usize| {
                let mut others = tasks.iter().enumerate();
                self.users[user].task[resource] > 0
                    && self.used(tasks, resource) == Fraction::ONE
                    && others.all(|(other, its)| {
                        self.users[other].task[resource] == 0 || self.level(other, *its) <= level
                    })
            };
            let most = self.users[user].most;
            let has_all = most.is_some_and(|most| *own == whole(most));
            assert!(
                has_all || resources.clone().any(binds),
                "{user} could have more: {self:?}"
            );
        }
    }

    /// Whether nobody would be better off with its own part of everything, by weight: sharing
    /// incentive.
    pub(crate) fn gives_each_its_part(&self, tasks: &[Fraction]) -> bool {
        let mut users = tasks.iter().enumerate();
        users.all(|(user, own)| {
            let part = Fraction::new(self.users[user].weight, self.total_weight());
            let alone: Vec<_> = self.capacity.iter().map(|all| whole(*all) * part).collect();
            *own >= self.use_of(user, &alone)
        })
    }

    /// Whether nobody would rather have what somebody else has, by weight.
    pub(crate) fn leaves_no_envy(&self, tasks: &[Fraction]) -> bool {
        let weight = |user: usize| whole(self.users[user].weight);
        let mut users = tasks.iter().enumerate();
        users.all(|(user, own)| {
            let mut others = tasks.iter().enumerate();
            others.all(|(other, its)| {
                let theirs = self.held(other, *its * weight(user) / weight(other));
                *own >= self.use_of(user, &theirs)
            })
        })
    }

    /// Whether nobody can have more unless somebody has less: for each, something that it needs is
    /// used up, and nobody holds anything of it that it does not need.
    pub(crate) fn leaves_nothing_of_use(&self, tasks: &Tasks) -> bool {
        self.users.iter().all(|user| {
            let mut needed = (0..self.capacity.len()).filter(|it| user.task[*it] > 0);
            needed.any(|it| self.used(tasks, it) == Fraction::ONE)
        })
    }

    /// The same, but for what everybody needs of the first resource, which is at least as large a
    /// part of it as of any other.
    pub(crate) fn with_a_bottleneck(mut self) -> Self {
        for user in &mut self.users {
            let first = (0..user.task.len()).map(|it| {
                let amount = user.task[it] * self.capacity[0];
                amount.div_euclid(self.capacity[it]) + 1
            });
            user.task[0] = first.max().unwrap();
        }
        self
    }

    /// The same, but that everybody needs something of everything.
    pub(crate) fn with_need_of_all(mut self) -> Self {
        let tasks = self.users.iter_mut().flat_map(|user| &mut user.task);
        tasks.for_each(|amount| *amount = (*amount).max(1));
        self
    }

    /// How many tasks a user could run with somebody's part, scaled.
    pub(crate) fn use_of(&self, user: usize, whose: &[Fraction]) -> Fraction {
        let needed = self.users[user].task.iter().enumerate();
        let needed = needed.filter(|(_, amount)| **amount > 0);
        needed
            .map(|(resource, amount)| whose[resource] / whole(*amount))
            .min()
            .unwrap()
    }

    /// What so many tasks of a user hold.
    pub(crate) fn held(&self, user: usize, tasks: Fraction) -> Vec<Fraction> {
        let task = self.users[user].task.iter();
        task.map(|amount| tasks * whole(*amount)).collect()
    }
}

/// One to five users and one to three resources, with and without weights; some need nothing of
/// some resource.
pub(crate) fn instances() -> impl Strategy<Value = Instance> {
    (1usize..=3, 1usize..=5, any::<bool>()).prop_flat_map(|(resources, users, is_weighted)| {
        let weight = if is_weighted { 1i128..=4 } else { 1..=1 };
        let task = prop::collection::vec(prop_oneof![1 => Just(0i128), 5 => 1i128..=9], resources);
        let task = task.prop_filter("a task needs something", |it| it.iter().any(|n| *n > 0));
        let user = (weight, task).prop_map(|(weight, task)| User {
            weight,
            task,
            most: None,
        });
        (
            prop::collection::vec(1i128..=30, resources),
            prop::collection::vec(user, users),
        )
            .prop_map(|(capacity, users)| Instance { capacity, users })
    })
}
