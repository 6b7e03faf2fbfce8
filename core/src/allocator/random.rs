//! An allocator that draws lots: each free agent goes to any framework that may have it.
//!
//! It is here to show that the [`Allocator`] trait suffices for more than one of them, and as a
//! baseline to compare others with: what it lacks is what [`super::drf`] is for. It keeps what is
//! reserved for its role, offers nothing twice, and honours refusals, suppression, and what
//! frameworks can cope with; so masters and simulations run with it.
//!
//! Deliberately not here: shares, weights, quota, constraints, demands, whitelists, the wait for
//! agents after a change of masters. It hears of them and does nothing. A shared volume is held by
//! one at a time. What is held by whom is in [`super::books`].
//!
//! ```
//! use tepui_core::allocator::random::Random;
//! use tepui_core::allocator::{AgentTraits, Allocator, Change, Decision, FrameworkProfile};
//! use tepui_core::keys::{AgentKey, FrameworkKey};
//! use tepui_core::machine::{Machine, Outbox, Output};
//! use tepui_core::resources::Resources;
//! use tepui_core::roles::Role;
//! use tepui_core::time::Time;
//!
//! let mut allocator: Box<dyn Allocator> = Box::new(Random::new(7));
//! let mut out = Outbox::new();
//! let (agent, total) = (AgentKey::from_raw(0, 0), Resources::parse("cpus:4;mem:64")?);
//! let traits = AgentTraits::default();
//! allocator.handle(Time::ZERO, Change::AgentAdded { agent, total, traits }, &mut out);
//! let framework = FrameworkKey::from_raw(0, 0);
//! let profile = FrameworkProfile::new("the only one", [Role::any()]);
//! allocator.handle(Time::ZERO, Change::FrameworkAdded { framework, profile }, &mut out);
//! allocator.tick(allocator.deadline().expect("somebody wants something"), &mut out);
//! assert!(matches!(out.pop(), Some(Output::Effect(Decision::Grant(_)))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::books::Books;
use super::{Allocator, Change, Decision, Stats};
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never, Outbox};
use crate::resources::Resources;
use crate::rng::Rng;
use crate::roles::Role;
use crate::time::Time;

/// Changes wait for each other for so long, and who gave something back for the same again.
const INTERVAL: Duration = Duration::from_secs(1);

/// The allocator: see the [module](self).
#[derive(Debug)]
pub struct Random {
    rng: Rng,
    books: Books,
    /// Until when somebody does not want anything of an agent.
    refused: BTreeMap<(FrameworkKey, Role, AgentKey), Time>,
    due: Option<Time>,
    passes: u64,
}

impl Machine for Random {
    type Input = Change;
    type Record = Never;
    type Effect = Decision;

    fn handle(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        self.tick(now, out);
        let agrees = self.books.take_in(&change, out);
        self.refuse(now, change, agrees);
        let soon = now + INTERVAL;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        if self.due.is_some_and(|due| due <= now) {
            self.passes += 1;
            self.refused.retain(|_, until| *until > now);
            self.due = self.refused.values().min().copied();
            self.pass(out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.due
    }
}

impl Allocator for Random {
    fn stats(&self) -> Stats {
        Stats {
            passes: self.passes,
            filters: self.refused.len(),
            ..self.books.stats()
        }
    }
}

impl Random {
    /// Makes an allocator that knows nobody yet; the same seed draws the same lots.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            books: Books::new(),
            refused: BTreeMap::new(),
            due: None,
            passes: 0,
        }
    }

    /// Remembers a refusal, if what is refused was granted, and forgets those whose cause is gone.
    fn refuse(&mut self, now: Time, change: Change, was_granted: bool) {
        match change {
            Change::AgentChanged { agent, .. } | Change::AgentRemoved { agent } => {
                self.refused.retain(|(_, _, at), _| *at != agent);
            }
            Change::FrameworkRemoved { framework } | Change::FrameworkActive { framework, .. } => {
                self.refused.retain(|(who, ..), _| *who != framework);
            }
            Change::Revived { framework, roles } => {
                let named = |role: &Role| roles.is_empty() || roles.contains(role);
                let is_theirs = |who: &FrameworkKey, role: &Role| *who == framework && named(role);
                self.refused
                    .retain(|(who, role, _), _| !is_theirs(who, role));
            }
            Change::Returned {
                framework,
                role,
                agent,
                refuse,
                ..
            } if was_granted => {
                let until = now + refuse.unwrap_or_default().max(INTERVAL);
                self.refused.insert((framework, role, agent), until);
            }
            Change::Returned { .. }
            | Change::Freed { .. }
            | Change::AgentAdded { .. }
            | Change::AgentActive { .. }
            | Change::FrameworkAdded { .. }
            | Change::FrameworkChanged { .. }
            | Change::Suppressed { .. }
            | Change::Used { .. }
            | Change::Accepted { .. }
            | Change::Converted { .. }
            | Change::FreeConverted { .. }
            | Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. } => {}
        }
    }

    /// Gives away whatever is free, agent by agent, until nobody may have anything.
    fn pass(&mut self, out: &mut Outbox<Never, Decision>) {
        let agents: Vec<_> = self.books.free().collect();
        for (agent, mut free) in agents {
            loop {
                let mut takers = self.takers(agent, &free);
                if takers.is_empty() {
                    break;
                }
                let drawn = self.rng.below(takers.len() as u64) as usize;
                let (framework, role, resources) = takers.swap_remove(drawn);
                free.subtract(&resources).expect("it is a part of it");
                let granted = self.books.grant(framework, &role, agent, resources, out);
                granted.expect("it was free");
            }
        }
    }

    /// Returns who may have what of it.
    fn takers(&self, agent: AgentKey, free: &Resources) -> Vec<(FrameworkKey, Role, Resources)> {
        if free.is_empty() {
            return Vec::new();
        }
        let takers = self.books.takers().filter_map(|(framework, role)| {
            let place = (framework, role.clone(), agent);
            if self.refused.contains_key(&place) {
                return None;
            }
            let part = self.books.part_for(framework, role, free);
            (!part.is_empty()).then_some((framework, place.1, part))
        });
        takers.collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;
    use alloc::string::{String, ToString};

    use super::*;
    use crate::allocator::{AgentTraits, FrameworkProfile, GrantId};
    use crate::machine::Output;

    const AGENT: AgentKey = AgentKey::from_raw(0, 0);

    fn framework(n: u32) -> FrameworkKey {
        FrameworkKey::from_raw(n, 0)
    }

    fn res(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    struct Rig {
        random: Random,
        now: Time,
        out: Outbox<Never, Decision>,
        /// What each framework was granted last.
        last: BTreeMap<FrameworkKey, GrantId>,
    }

    impl Rig {
        fn new(seed: u64, total: &str, roles: &[&str]) -> Self {
            let mut rig = Self {
                random: Random::new(seed),
                now: Time::ZERO,
                out: Outbox::new(),
                last: BTreeMap::new(),
            };
            rig.tell(Change::AgentAdded {
                agent: AGENT,
                total: res(total),
                traits: AgentTraits::default(),
            });
            for (n, role) in (0..).zip(roles) {
                rig.tell(Change::FrameworkAdded {
                    framework: framework(n),
                    profile: FrameworkProfile::new("f", [Role::new(role).unwrap()]),
                });
            }
            rig
        }

        fn tell(&mut self, change: Change) {
            self.random.handle(self.now, change, &mut self.out);
        }

        fn returns(&mut self, who: u32, role: &str, resources: &str, refuse: u64) {
            let framework = framework(who);
            self.tell(Change::Returned {
                framework,
                role: Role::new(role).unwrap(),
                agent: AGENT,
                grants: self.last[&framework].into(),
                resources: res(resources),
                refuse: Some(Duration::from_secs(refuse)),
            });
        }

        /// Lives on, and returns what was said.
        fn until(&mut self, seconds: u64) -> Vec<String> {
            let end = Time::from_micros(seconds * 1_000_000);
            while let Some(due) = self.random.deadline().filter(|due| *due <= end) {
                self.now = due;
                self.random.tick(due, &mut self.out);
            }
            self.now = end;
            let said = self.out.drain().map(|output| match output {
                Output::Effect(Decision::Grant(it)) => {
                    self.last.insert(it.framework, it.id);
                    format!("{} {}", it.framework.index(), it.resources)
                }
                Output::Effect(Decision::Rescind { grant, reason }) => {
                    format!("rescind {} {reason:?}", grant.0)
                }
                Output::Persist(_) | Output::Free(_) => panic!("{output:?}"),
            });
            said.collect()
        }
    }

    #[test]
    fn anybody_may_be_next() {
        // C7: and the same seed draws the same.
        let first = |seed| Rig::new(seed, "cpus:4", &["*"; 3]).until(1).remove(0);
        let drawn: BTreeSet<String> = (0..50).map(first).collect();
        assert_eq!(drawn.len(), 3, "{drawn:?}");
        assert_eq!(first(7), first(7));
    }

    #[test]
    fn more_than_can_be_counted_is_not_free() {
        // I1, RM-19: two reports that do not fit into one number. Nothing is offered of the agent,
        // also when one of them is returned, as long as it is there.
        let mut rig = Rig::new(1, "cpus:9000000000000000;mem:64", &["*"]);
        let used = || Change::Used {
            framework: framework(0),
            role: Role::any(),
            agent: AGENT,
            resources: res("cpus:9000000000000000"),
        };
        rig.tell(used());
        rig.tell(used());
        assert_eq!(rig.until(2), [""; 0]);
        rig.tell(Change::Freed {
            framework: framework(0),
            role: Role::any(),
            agent: AGENT,
            resources: res("cpus:9000000000000000"),
        });
        assert_eq!(rig.until(4), [""; 0]);
        rig.tell(Change::AgentRemoved { agent: AGENT });
        rig.tell(Change::AgentAdded {
            agent: AGENT,
            total: res("cpus:4"),
            traits: AgentTraits::default(),
        });
        assert_eq!(rig.until(6), ["0 cpus:4"]);
    }

    #[test]
    fn what_is_reserved_goes_to_its_role() {
        // I5, RM-23: the rest goes to either.
        let mut rig = Rig::new(1, "cpus:4;cpus(eng):2", &["eng/web", "ops"]);
        let said = rig.until(1);
        let for_ops: Vec<_> = said.iter().filter(|it| it.starts_with('1')).collect();
        assert!(
            said.len() <= 2 && said.iter().any(|it| it.contains("(eng):2")),
            "{said:?}"
        );
        assert!(for_ops.iter().all(|it| *it == "1 cpus:4"), "{said:?}");
        assert_eq!(rig.random.stats().booked.to_string(), "cpus:6");
    }

    #[test]
    fn refusals_last_and_lapse() {
        // OF-33, OF-36
        let mut rig = Rig::new(1, "cpus:4", &["*"]);
        assert_eq!(rig.until(1), ["0 cpus:4"]);
        rig.returns(0, "*", "cpus:4", 0);
        assert_eq!(rig.until(2), ["0 cpus:4"], "an interval later");
        rig.returns(0, "*", "cpus:4", 60);
        assert_eq!(rig.until(61), [""; 0]);
        assert_eq!(rig.random.stats().filters, 1);
        assert_eq!(rig.until(62), ["0 cpus:4"]);
        rig.returns(0, "*", "cpus:4", 60);
        rig.tell(Change::Revived {
            framework: framework(0),
            roles: Vec::new(),
        });
        assert_eq!(rig.until(63), ["0 cpus:4"]);
        assert_eq!(rig.random.deadline(), None, "nothing is left to do");
    }

    #[test]
    fn what_may_not_be_offered_is_taken_back_and_comes_first() {
        // I1, I4
        let mut rig = Rig::new(1, "cpus:4", &["*", "*"]);
        let said = rig.until(1).remove(0);
        let (who, other) = if said.starts_with('0') {
            (0, 1)
        } else {
            (1, 0)
        };
        let away = |rig: &mut Rig, active| {
            rig.tell(Change::FrameworkActive {
                framework: framework(who),
                active,
            });
        };
        away(&mut rig, false);
        away(&mut rig, false);
        assert_eq!(
            rig.until(5),
            ["rescind 1 Framework"],
            "and it is still held"
        );
        rig.returns(who, "*", "cpus:4", 0);
        assert_eq!(rig.until(6), [format!("{other} cpus:4")]);
        let shrunk = Change::AgentChanged {
            agent: AGENT,
            total: res("cpus:3"),
            traits: AgentTraits::default(),
        };
        rig.tell(shrunk);
        assert_eq!(rig.until(9), ["rescind 2 Agent"]);
        rig.returns(other, "*", "cpus:4", 0);
        assert_eq!(rig.until(10), [format!("{other} cpus:3")]);
        assert_eq!(rig.random.stats().booked.to_string(), "cpus:3");
    }
}
