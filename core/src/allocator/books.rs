//! Books for allocators that have none: who is there, who wants offers, and who holds what.
//!
//! [`super::random`] and the allocator in the docs of [`super`] keep theirs in one of these, so
//! that what is left to write is a choice: which of what is free goes to whom, and when. [`Books`]
//! hears every [`Change`], and takes back what may not be offered any more.
//!
//! Deliberately not here: shares, quota, weights, constraints, demands, whitelists, refusals, the
//! wait for agents after a change of masters. What [`super::drf`] needs to be fast is not here
//! either: it keeps books of its own.

mod held;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use held::Agent;

use super::kinds::kind;
use super::{
    Change, Decision, FrameworkCapabilities, FrameworkProfile, Grant, GrantId, RescindReason,
    Stats, SubscriptionState,
};
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Never, Outbox};
use crate::resources::{Quantities, Resources, Value};
use crate::roles::Role;

/// What an allocator has to know to grant nothing twice.
#[derive(Debug, Default)]
pub struct Books {
    agents: BTreeMap<AgentKey, Agent>,
    frameworks: BTreeMap<FrameworkKey, Framework>,
    grants: u64,
}

#[derive(Debug)]
struct Framework {
    active: bool,
    capabilities: FrameworkCapabilities,
    roles: Vec<(Role, SubscriptionState)>,
}

/// Counts what adds up.
fn scalars(bag: &Resources) -> Quantities {
    bag.filter(|entry| matches!(entry.value(), Value::Scalar(_)))
        .total()
}

impl Books {
    /// Makes books in which nobody is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a change, and takes back what may not be offered any more. Returns whether the
    /// change agrees with what was known: what it says of parties that are gone, or of resources
    /// that they do not hold, is late news, and changes nothing.
    ///
    /// What is accepted or in use is booked even so, granted or not: it exists. If there is more of
    /// it than can be counted, nothing of the agent is free until it is removed.
    pub fn take_in(&mut self, change: &Change, out: &mut Outbox<Never, Decision>) -> bool {
        match change {
            Change::AgentAdded { agent, total, .. } => {
                // Whoever is in its place already is gone, with all that was known of it.
                let place = AgentKey::from_raw(agent.index(), 0)..;
                let known = self.agents.range(place).next().map(|(key, _)| *key);
                let known = known.filter(|key| key.index() == agent.index());
                if let Some(known) = known {
                    self.agents.remove(&known);
                }
                self.agents.insert(*agent, Agent::new(total.clone()));
                known.is_none()
            }
            Change::AgentChanged { agent, total, .. } => self.on_agent(*agent, out, |row| {
                row.total = total.clone();
                true
            }),
            Change::AgentRemoved { agent } => self.agents.remove(agent).is_some(),
            Change::AgentActive { agent, active } => self.on_agent(*agent, out, |row| {
                row.active = *active;
                true
            }),
            Change::FrameworkAdded { framework, profile } => {
                self.join(*framework, profile, true, out);
                true
            }
            Change::FrameworkChanged { framework, profile } => {
                let known = self.frameworks.get(framework).map(|row| row.active);
                if let Some(active) = known {
                    self.join(*framework, profile, active, out);
                }
                known.is_some()
            }
            Change::FrameworkRemoved { framework } => {
                for row in self.agents.values_mut() {
                    row.held.retain(|(who, _), _| who != framework);
                }
                self.frameworks.remove(framework).is_some()
            }
            Change::FrameworkActive { framework, active } => {
                self.activate(*framework, *active, out)
            }
            Change::Suppressed { framework, roles } => {
                self.wish(*framework, roles, SubscriptionState::Suppressed)
            }
            Change::Revived { framework, roles } => {
                self.wish(*framework, roles, SubscriptionState::Wanted)
            }
            Change::Used { agent, .. }
            | Change::Accepted { agent, .. }
            | Change::Returned { agent, .. }
            | Change::Freed { agent, .. }
            | Change::Converted { agent, .. }
            | Change::FreeConverted { agent, .. } => {
                self.on_agent(*agent, out, |row| row.book(change))
            }
            Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. } => true,
        }
    }

    /// Changes the row of an agent, and takes back what is then offered wrongly.
    fn on_agent(
        &mut self,
        agent: AgentKey,
        out: &mut Outbox<Never, Decision>,
        change: impl FnOnce(&mut Agent) -> bool,
    ) -> bool {
        let Some(row) = self.agents.get_mut(&agent) else {
            return false;
        };
        let agrees = change(row);
        if !row.active || row.free().is_none() {
            row.rescind(RescindReason::Agent, |_| true, out);
        }
        agrees
    }

    /// Takes in what a framework is and wants; in roles that it left, its grants are taken back.
    fn join(
        &mut self,
        key: FrameworkKey,
        profile: &FrameworkProfile,
        active: bool,
        out: &mut Outbox<Never, Decision>,
    ) {
        let roles = profile.roles.iter().map(|it| (it.role.clone(), it.state));
        let roles: Vec<_> = roles.collect();
        let left = |(who, role): &(FrameworkKey, Role)| {
            *who == key && !roles.iter().any(|own| own.0 == *role)
        };
        for row in self.agents.values_mut() {
            row.rescind(RescindReason::Role, left, out);
        }
        let framework = Framework {
            active,
            capabilities: profile.capabilities,
            roles,
        };
        self.frameworks.insert(key, framework);
    }

    fn activate(
        &mut self,
        key: FrameworkKey,
        active: bool,
        out: &mut Outbox<Never, Decision>,
    ) -> bool {
        let Some(row) = self.frameworks.get_mut(&key) else {
            return false;
        };
        row.active = active;
        if !active {
            for row in self.agents.values_mut() {
                row.rescind(RescindReason::Framework, |(who, _)| *who == key, out);
            }
        }
        true
    }

    fn wish(&mut self, key: FrameworkKey, of: &[Role], state: SubscriptionState) -> bool {
        let Some(row) = self.frameworks.get_mut(&key) else {
            return false;
        };
        for (role, own) in &mut row.roles {
            if of.is_empty() || of.contains(role) {
                *own = state;
            }
        }
        true
    }

    /// Returns all agents that may be offered, with what nobody holds of them.
    pub fn free(&self) -> impl Iterator<Item = (AgentKey, Resources)> + '_ {
        let active = self.agents.iter().filter(|(_, row)| row.active);
        active.filter_map(|(key, row)| Some((*key, row.free()?)))
    }

    /// Returns all frameworks that are there and want offers, once for each role.
    pub fn takers(&self) -> impl Iterator<Item = (FrameworkKey, &Role)> + '_ {
        let active = self.frameworks.iter().filter(|(_, row)| row.active);
        active.flat_map(|(key, row)| {
            let wanted = |it: &&(Role, SubscriptionState)| it.1 == SubscriptionState::Wanted;
            let roles = row.roles.iter().filter(wanted);
            roles.map(|(role, _)| (*key, role))
        })
    }

    /// Returns the part of something that a framework may have in a role: what is not reserved to
    /// others (RM-23), and what it can cope with (AL-32).
    #[must_use]
    pub fn part_for(&self, framework: FrameworkKey, role: &Role, of: &Resources) -> Resources {
        let Some(row) = self.frameworks.get(&framework) else {
            return Resources::new();
        };
        of.filter(|entry| entry.is_allocatable_to(role) && kind(entry).suits(&row.capabilities))
    }

    /// Grants something. Returns `None`, and does nothing, if that is nothing, or not free, or if
    /// one of the two is not there.
    pub fn grant(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        agent: AgentKey,
        resources: Resources,
        out: &mut Outbox<Never, Decision>,
    ) -> Option<GrantId> {
        let row = self.agents.get_mut(&agent).filter(|row| row.active)?;
        let free = row.free()?;
        let known = self.frameworks.contains_key(&framework);
        if !known || resources.is_empty() || !free.contains(&resources) {
            return None;
        }
        let held = row.held.entry((framework, role.clone())).or_default();
        self.grants += 1;
        let id = GrantId(self.grants);
        held.grant(id, resources.clone());
        out.emit(Decision::Grant(Grant {
            id,
            framework,
            role: role.clone(),
            agent,
            resources,
        }));
        Some(id)
    }

    /// Returns what these books count: grants made, what there is, and what of it is held.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            grants: self.grants,
            ..Stats::default()
        };
        for agent in self.agents.values() {
            stats.total.add(&scalars(&agent.total));
            for held in agent.held.values() {
                stats.booked.add(&scalars(held.offered()));
                stats.booked.add(&scalars(&held.used));
            }
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString};

    use super::*;
    use crate::allocator::{AgentTraits, GrantIds, Subscription};
    use crate::machine::Output;

    const AGENT: AgentKey = AgentKey::from_raw(0, 0);
    const FRAMEWORK: FrameworkKey = FrameworkKey::from_raw(0, 0);

    fn res(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    fn role(name: &str) -> Role {
        Role::new(name).unwrap()
    }

    fn ids(ids: &[u64]) -> GrantIds {
        GrantIds::collect(ids.iter().map(|id| GrantId(*id))).unwrap()
    }

    struct Rig {
        books: Books,
        out: Outbox<Never, Decision>,
    }

    impl Rig {
        /// One agent, and one framework in the role `eng`.
        fn new(total: &str) -> Self {
            let (books, out) = (Books::new(), Outbox::new());
            let mut rig = Self { books, out };
            assert!(rig.take_in(Change::AgentAdded {
                agent: AGENT,
                total: res(total),
                traits: AgentTraits::default(),
            }));
            assert!(rig.take_in(Change::FrameworkAdded {
                framework: FRAMEWORK,
                profile: FrameworkProfile::new("f", [role("eng")]),
            }));
            rig
        }

        fn take_in(&mut self, change: Change) -> bool {
            self.books.take_in(&change, &mut self.out)
        }

        fn grant(&mut self, resources: &str) -> Option<u64> {
            let (resources, role) = (res(resources), role("eng"));
            let books = &mut self.books;
            let id = books.grant(FRAMEWORK, &role, AGENT, resources, &mut self.out);
            id.map(|id| id.0)
        }

        fn returned(&mut self, grants: &[u64], resources: &str) -> bool {
            self.take_in(Change::Returned {
                framework: FRAMEWORK,
                role: role("eng"),
                agent: AGENT,
                grants: ids(grants),
                resources: res(resources),
                refuse: None,
            })
        }

        fn accepted(&mut self, grants: &[u64], resources: &str) -> bool {
            self.take_in(Change::Accepted {
                framework: FRAMEWORK,
                role: role("eng"),
                agent: AGENT,
                grants: ids(grants),
                resources: res(resources),
            })
        }

        fn freed(&mut self, resources: &str) -> bool {
            self.take_in(Change::Freed {
                framework: FRAMEWORK,
                role: role("eng"),
                agent: AGENT,
                resources: res(resources),
            })
        }

        fn free(&self) -> Option<String> {
            self.books.free().next().map(|(_, free)| free.to_string())
        }

        /// Returns which grants were taken back since it was asked last.
        fn rescinded(&mut self) -> Vec<(u64, RescindReason)> {
            let said = self.out.drain().filter_map(|output| match output {
                Output::Effect(Decision::Rescind { grant, reason }) => Some((grant.0, reason)),
                Output::Effect(Decision::Grant(_)) => None,
                Output::Persist(_) | Output::Free(_) => panic!("{output:?}"),
            });
            said.collect()
        }
    }

    #[test]
    fn what_is_granted_or_used_is_not_granted_again() {
        // I1, I2
        let mut rig = Rig::new("cpus:4;mem:64");
        assert_eq!(rig.grant("cpus:3"), Some(1));
        assert_eq!(rig.grant("cpus:2"), None);
        assert_eq!(rig.grant(""), None);
        assert!(rig.accepted(&[1], "cpus:1"));
        assert!(rig.returned(&[1], "cpus:2"));
        assert_eq!(rig.free().unwrap(), "cpus:3;mem:64");
        assert!(!rig.returned(&[1], "cpus:1"), "it is in use");
        assert!(rig.freed("cpus:1"));
        assert!(!rig.freed("cpus:1"), "late news");
        assert_eq!(rig.free().unwrap(), "cpus:4;mem:64");
        assert!(rig.books.agents[&AGENT].held.is_empty());
    }

    #[test]
    fn what_is_answered_together_is_one_and_all_of_it_is_taken_back() {
        // OF-11
        let mut rig = Rig::new("cpus:8");
        for id in 1..=4 {
            assert_eq!(rig.grant("cpus:2"), Some(id));
        }
        assert!(!rig.returned(&[1], "cpus:3"), "it was less");
        assert!(rig.accepted(&[1, 2], "cpus:3"));
        assert!(!rig.returned(&[3, 4], "cpus:5"), "there is less");
        assert!(!rig.returned(&[5], "cpus:2"), "nobody was granted that");
        assert!(rig.returned(&[4], "cpus:2"));
        let active = false;
        rig.take_in(Change::AgentActive {
            agent: AGENT,
            active,
        });
        let mut asked = rig.rescinded();
        asked.sort_by_key(|it| it.0);
        let agent = |id| (id, RescindReason::Agent);
        assert_eq!(asked, [agent(1), agent(2), agent(3)]);
        // Either number is about what is left of both.
        assert!(rig.returned(&[2], "cpus:1"));
        assert!(rig.returned(&[3], "cpus:2"));
        assert!(rig.freed("cpus:3"));
        assert!(rig.books.agents[&AGENT].held.is_empty());
    }

    #[test]
    fn what_is_converted_comes_back_as_what_it_is() {
        // AL-39, AL-40
        let mut rig = Rig::new("cpus:4");
        assert_eq!(rig.grant("cpus:4"), Some(1));
        assert!(rig.take_in(Change::Converted {
            framework: FRAMEWORK,
            role: role("eng"),
            agent: AGENT,
            grants: ids(&[1]),
            before: res("cpus:1"),
            after: res("cpus(eng):1"),
        }));
        assert!(rig.returned(&[1], "cpus:3;cpus(eng):1"));
        assert_eq!(rig.free().unwrap(), "cpus:3;cpus(eng):1");
        let free_up = |before, after| Change::FreeConverted {
            agent: AGENT,
            before: res(before),
            after: res(after),
        };
        assert!(rig.take_in(free_up("cpus(eng):1", "cpus:1")));
        assert_eq!(rig.free().unwrap(), "cpus:4");
        // What is granted meanwhile is in the way.
        assert_eq!(rig.grant("cpus:4"), Some(2));
        assert!(rig.take_in(free_up("cpus:1", "cpus(ops):1")));
        assert_eq!(rig.rescinded(), [(2, RescindReason::Agent)]);
        assert!(!rig.take_in(free_up("gpus:1", "gpus(ops):1")));
    }

    #[test]
    fn who_converts_all_into_nothing_holds_nothing() {
        // AL-41
        let mut rig = Rig::new("cpus:4;gpus:1");
        assert_eq!(rig.grant("gpus:1"), Some(1));
        let convert = |before: &str, after: &str| Change::Converted {
            framework: FRAMEWORK,
            role: role("eng"),
            agent: AGENT,
            grants: ids(&[1]),
            before: res(before),
            after: res(after),
        };
        assert!(rig.take_in(convert("", "cpus:1")), "out of nothing");
        assert!(rig.take_in(convert("cpus:1;gpus:1", "")));
        assert!(rig.books.agents[&AGENT].held.is_empty());
        let active = false;
        rig.take_in(Change::AgentActive {
            agent: AGENT,
            active,
        });
        assert_eq!(rig.rescinded(), []);
    }

    #[test]
    fn of_a_shared_volume_many_use_one_copy() {
        // AL-31, RM-48
        let volume = |copies: &str| format!(r#"disk(eng)<volume="v",rw="d",shared{copies}>:6"#);
        let mut rig = Rig::new(&format!("cpus:4;{}", volume("")));
        let all = format!("cpus:4;{}", volume(""));
        assert_eq!(rig.grant(&all), Some(1));
        assert!(rig.accepted(&[1], &format!("cpus:2;{}", volume("=2"))));
        assert_eq!(rig.free().unwrap(), volume(""), "others may have it too");
        assert!(rig.accepted(&[1], &format!("cpus:1;{}", volume(""))));
        assert!(rig.returned(&[1], "cpus:1"));
        assert!(rig.freed(&format!("cpus:3;{}", volume("=3"))));
        assert_eq!(rig.free().unwrap(), all);
        assert!(rig.books.agents[&AGENT].held.is_empty());
    }

    #[test]
    fn a_conversion_that_does_not_fit_changes_nothing() {
        // AL-39
        let mut rig = Rig::new("cpus:4");
        assert_eq!(rig.grant("cpus:4"), Some(1));
        rig.take_in(Change::AgentChanged {
            agent: AGENT,
            total: res("cpus:3"),
            traits: AgentTraits::default(),
        });
        assert!(!rig.take_in(Change::Converted {
            framework: FRAMEWORK,
            role: role("eng"),
            agent: AGENT,
            grants: ids(&[1]),
            before: res("cpus:4"),
            after: res("cpus(eng):4"),
        }));
        assert!(rig.returned(&[1], "cpus:4"), "as it was");
        assert_eq!(rig.free().unwrap(), "cpus:3");
        let unknown = Change::FreeConverted {
            agent: AGENT,
            before: res("cpus:4"),
            after: res("cpus(eng):4"),
        };
        assert!(!rig.take_in(unknown));
        assert_eq!(rig.free().unwrap(), "cpus:3");
    }

    #[test]
    fn an_agent_takes_the_place_of_the_one_that_was_there() {
        let mut rig = Rig::new("cpus:4");
        assert_eq!(rig.grant("cpus:4"), Some(1));
        let next = AgentKey::from_raw(AGENT.index(), 1);
        for (agent, total, agrees) in [
            (AgentKey::from_raw(1, 0), "cpus:1", true),
            (next, "cpus:2", false),
        ] {
            let total = res(total);
            let traits = AgentTraits::default();
            let added = Change::AgentAdded {
                agent,
                total,
                traits,
            };
            assert_eq!(rig.take_in(added), agrees);
        }
        let free: Vec<_> = rig
            .books
            .free()
            .map(|it| (it.0, it.1.to_string()))
            .collect();
        let expected = [(next, "cpus:2"), (AgentKey::from_raw(1, 0), "cpus:1")];
        let expected = expected.map(|(key, free)| (key, String::from(free)));
        assert_eq!(free, expected);
        assert!(!rig.returned(&[1], "cpus:4"), "late news");
    }

    #[test]
    fn what_may_not_be_offered_any_more_is_taken_back_once() {
        // I4, RQ-03, OF-08
        let mut rig = Rig::new("cpus:4");
        let active = |active| Change::AgentActive {
            agent: AGENT,
            active,
        };
        assert_eq!(rig.grant("cpus:1"), Some(1));
        rig.take_in(active(false));
        rig.take_in(active(false));
        assert_eq!(rig.rescinded(), [(1, RescindReason::Agent)]);
        assert_eq!((rig.free(), rig.grant("cpus:1")), (None, None));
        rig.take_in(active(true));
        assert_eq!(rig.free().unwrap(), "cpus:3", "until it is returned");

        assert_eq!(rig.grant("cpus:1"), Some(2));
        let framework = FRAMEWORK;
        let active = false;
        rig.take_in(Change::FrameworkActive { framework, active });
        // What was taken back is not taken back for another reason.
        let rescinded = rig.rescinded();
        assert_eq!(rescinded, [(2, RescindReason::Framework)]);

        assert_eq!(rig.grant("cpus:1"), Some(3));
        let profile = FrameworkProfile::new("f", [role("ops")]);
        rig.take_in(Change::FrameworkChanged { framework, profile });
        assert_eq!(rig.rescinded(), [(3, RescindReason::Role)]);
        let shrunk = Change::AgentChanged {
            agent: AGENT,
            total: res("cpus:2"),
            traits: AgentTraits::default(),
        };
        assert!(rig.take_in(shrunk) && rig.free().is_none());

        assert!(rig.take_in(Change::FrameworkRemoved { framework }));
        assert_eq!(rig.free().unwrap(), "cpus:2", "what it held is free");
        assert_eq!(rig.grant("cpus:1"), None, "it is not there");
    }

    #[test]
    fn who_wants_nothing_is_no_taker_until_it_revives() {
        // OF-37, RQ-03
        let mut rig = Rig::new("cpus:4");
        let framework = FRAMEWORK;
        let suppressed = Subscription {
            state: SubscriptionState::Suppressed,
            ..Subscription::new(role("ops"))
        };
        let roles = Vec::from([Subscription::new(role("eng")), suppressed]);
        let profile = FrameworkProfile {
            roles,
            ..FrameworkProfile::default()
        };
        rig.take_in(Change::FrameworkChanged { framework, profile });
        let takers = |rig: &Rig| -> Vec<String> {
            let roles = rig.books.takers().map(|(_, role)| role.to_string());
            roles.collect()
        };
        assert_eq!(takers(&rig), ["eng"]);
        for active in [false, true] {
            rig.take_in(Change::FrameworkActive { framework, active });
        }
        assert_eq!(takers(&rig), ["eng"], "to be back is not to want more");
        let roles = Vec::from([role("ops")]);
        rig.take_in(Change::Revived { framework, roles });
        assert_eq!(takers(&rig), ["eng", "ops"]);
        let roles = Vec::new();
        rig.take_in(Change::Suppressed { framework, roles });
        assert_eq!(takers(&rig), [""; 0]);
    }

    #[test]
    fn nobody_is_offered_what_it_may_not_have() {
        // RM-23, AL-32
        let rig = Rig::new("cpus:4;cpus(eng):1;cpus(ops):1");
        let revocable = res("mem:64;cpus(*)<revocable>:1");
        let free = rig.books.free().next().unwrap().1;
        let part = |of: &Resources| {
            let part = rig.books.part_for(FRAMEWORK, &role("eng"), of);
            part.to_string()
        };
        assert_eq!(part(&free), "cpus:4;cpus(eng):1");
        assert_eq!(part(&revocable), "mem:64");
    }
}
