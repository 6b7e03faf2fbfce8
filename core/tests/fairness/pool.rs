//! One agent whose users start tasks one at a time, driven through the allocator.
//!
//! Each user starts one task from every offer if it fits, and gives back the rest at once.

use std::collections::BTreeMap;
use std::time::Duration;

use tepui_core::allocator::drf::{Drf, GpuRule, Options};
use tepui_core::allocator::{AgentTraits, Allocator, Change, Decision, FrameworkProfile, Grant};
use tepui_core::keys::{AgentKey, FrameworkKey};
use tepui_core::machine::{Machine, Never, Outbox, Output};
use tepui_core::resources::{Milli, Resources};
use tepui_core::roles::Role;
use tepui_core::time::Time;

const AGENT: AgentKey = AgentKey::from_raw(0, 0);
const NAMES: [&str; 3] = ["cpus", "mem", "gpus"];

/// What an offer was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A user started a task.
    Started(usize),
    /// A task of a user did not fit, or it has enough.
    Nothing(usize),
}

pub(crate) struct Pool {
    drf: Drf,
    out: Outbox<Never, Decision>,
    now: Time,
    /// Each one's role, its task, and how many run.
    pub(crate) users: Vec<(Role, Resources, i128)>,
    /// Who has enough after how many.
    enough: BTreeMap<usize, i128>,
}

/// Thousandths of the resources by their place.
pub(crate) fn bag(amounts: &[i128]) -> Resources {
    let named = NAMES.iter().zip(amounts);
    named.fold(Resources::new(), |bag, (name, amount)| {
        bag.with_scalar(
            name,
            Milli::from_thousandths(i64::try_from(*amount).unwrap()),
        )
    })
}

impl Pool {
    pub(crate) fn new(total: &[i128]) -> Self {
        let options = Options {
            min_allocatable: Vec::new(),
            gpus: GpuRule::Everyone,
            ..Options::default()
        };
        let mut pool = Self {
            drf: Drf::new(options),
            out: Outbox::new(),
            now: Time::ZERO,
            users: Vec::new(),
            enough: BTreeMap::new(),
        };
        pool.tell(Change::AgentAdded {
            agent: AGENT,
            total: bag(total),
            traits: AgentTraits::default(),
        });
        pool
    }

    pub(crate) fn weigh(&mut self, role: &str, weight: i128) {
        self.tell(Change::WeightSet {
            role: Role::new(role).unwrap(),
            weight: Milli::from_units(i64::try_from(weight).unwrap()),
        });
    }

    /// Adds a user in a role, with its task in thousandths.
    pub(crate) fn join(&mut self, role: &str, task: &[i128]) {
        let (framework, role) = (self.key(self.users.len()), Role::new(role).unwrap());
        self.users.push((role.clone(), bag(task), 0));
        let profile = FrameworkProfile::new(format!("{:04}", framework.index()), [role]);
        self.tell(Change::FrameworkAdded { framework, profile });
    }

    /// Has a user want no more than so many tasks at once.
    pub(crate) fn limit(&mut self, user: usize, most: i128) {
        self.enough.insert(user, most);
    }

    pub(crate) fn key(&self, user: usize) -> FrameworkKey {
        FrameworkKey::from_raw(u32::try_from(user).unwrap(), 0)
    }

    /// The dominant share that the allocator goes by, in millionths.
    pub(crate) fn share(&self, user: usize) -> i128 {
        let share = self.drf.dominant_share(self.key(user), &self.users[user].0);
        i128::from(share.unwrap())
    }

    fn tell(&mut self, change: Change) {
        self.drf.handle(self.now, change, &mut self.out);
    }

    /// Passes on the next offer of this moment, if there is one.
    pub(crate) fn step(&mut self) -> Option<Use> {
        if self.out.is_empty() {
            self.drf.tick(self.now, &mut self.out);
        }
        let grant = match self.out.pop()? {
            Output::Effect(Decision::Grant(grant)) => grant,
            other @ (Output::Effect(Decision::Rescind { .. })
            | Output::Free(_)
            | Output::Persist(_)) => panic!("{other:?}"),
        };
        let user = grant.framework.index() as usize;
        let task = self.users[user].1.clone();
        let has_enough = self.enough.get(&user) == Some(&self.users[user].2);
        let rest = grant.resources.checked_sub(&task).ok();
        let Some(rest) = rest.filter(|_| !has_enough) else {
            let all = grant.resources.clone();
            self.returned(&grant, all);
            return Some(Use::Nothing(user));
        };
        self.users[user].2 += 1;
        self.tell(Change::Accepted {
            framework: grant.framework,
            role: grant.role.clone(),
            agent: grant.agent,
            grants: grant.id.into(),
            resources: task,
        });
        self.returned(&grant, rest);
        Some(Use::Started(user))
    }

    fn returned(&mut self, grant: &Grant, resources: Resources) {
        if !resources.is_empty() {
            self.tell(Change::Returned {
                framework: grant.framework,
                role: grant.role.clone(),
                agent: grant.agent,
                resources,
                grants: grant.id.into(),
                refuse: Some(Duration::ZERO),
            });
        }
    }

    /// Goes on until nobody can start a task any more.
    pub(crate) fn fill(&mut self) {
        while self.step().is_some() {}
        self.drf.check_invariants();
    }

    /// Ends a task of a user a moment later.
    pub(crate) fn end(&mut self, user: usize) {
        let (role, task, count) = self.users[user].clone();
        assert!(count > 0, "{user} has no task");
        self.users[user].2 -= 1;
        self.now = self.now + Duration::from_secs(10);
        self.tell(Change::Freed {
            framework: self.key(user),
            role,
            agent: AGENT,
            resources: task,
        });
    }

    pub(crate) fn counts(&self) -> Vec<i128> {
        self.users.iter().map(|user| user.2).collect()
    }
}
