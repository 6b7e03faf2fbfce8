//! What can happen next, and what the model makes of it: to agents, frameworks and quota here, to
//! what they hold in `bookings.rs`.

use std::time::Duration;

use tepui_core::allocator::{
    AgentCapabilities, AgentTraits, Allocator, Change, FrameworkCapabilities, FrameworkProfile,
    Subscription, SubscriptionState,
};
use tepui_core::keys::{AgentKey, FrameworkKey};
use tepui_core::machine::Machine;
use tepui_core::quota::Quota;
use tepui_core::resources::{Ceilings, Milli, Quantities, Resources};
use tepui_core::roles::Role;
use tepui_core::time::Time;

use super::Pair;
use super::bytes::Bytes;
use super::plain::{Agent, Framework, Place, is_missing};

pub(super) const ROLES: [&str; 6] = ["*", "eng", "eng/web", "eng/web/a", "ops", "ops/x"];
const TOTALS: [&str; 12] = [
    "cpus:4;mem:64",
    "cpus:2;cpus(eng):2;mem:100;ports:[1-9]",
    "cpus(ops):1;mem(eng):64;cpus:6",
    "mem:500",
    "cpus:0.005;mem:16",
    "cpus:3;mem:200;cpus(*)<revocable>:2",
    r#"cpus:2;mem:64;disk(*)<mount="/m">:50;disk(*)<mount="/n">:50;disk:10"#,
    r#"cpus:4;mem:64;cpus(eng)<dynamic="eng/web">:2"#,
    "cpus:4;gpus:2;mem:128",
    r#"mem:64;disk(ops)<volume="v",rw="d">:5;disk(*)<block>:7;names:{a,b,c}"#,
    r#"cpus:2;mem:64;disk(eng)<volume="s",rw="d",shared>:6"#,
    r#"cpus:5;disk(eng)<volume="s",rw="d",shared>:6;disk(ops)<volume="t",rw="d",shared>:3"#,
];
const GUARANTEES: [&str; 5] = ["", "cpus:2", "cpus:5;mem:100", "disk:20", "gpus:1;mem:30"];
const LIMITS: [&str; 5] = ["", "cpus:6", "cpus:5;mem:300", "disk:60", "gpus:1;cpus:5.5"];
pub(super) const AGENTS: u32 = 5;
const FRAMEWORKS: u32 = 5;

pub(super) fn bag(text: &str) -> Resources {
    Resources::parse(text).expect("written by hand")
}

pub(super) fn role(text: &str) -> Role {
    Role::new(text).expect("written by hand")
}

/// How many kinds of steps there are, but for those in `wide.rs`.
pub(super) const KINDS: u8 = 32;

impl Pair {
    pub(super) fn step(&mut self, kind: u8, bytes: &mut Bytes<'_>) {
        match kind % self.kinds {
            0..=2 => self.add_agent(bytes),
            3 => self.change_agent(bytes),
            4 => self.remove_agent(bytes),
            5 => self.agent_active(bytes),
            6..=8 => self.framework(bytes),
            9 => self.remove_framework(bytes),
            10 => self.framework_active(bytes),
            11 | 12 => self.wish(bytes),
            13 => self.weight(bytes),
            14 | 15 => self.quota(bytes),
            16 => self.used(bytes),
            17..=19 => self.accept(bytes),
            20..=22 => self.give_back(bytes),
            23 => self.end(bytes),
            24 => self.convert(bytes),
            25 => self.convert_free(bytes),
            26 => self.whitelist(bytes),
            27 => self.recovering(bytes),
            28 => self.answer_all_asked_back(),
            29 => self.come_to_rest(),
            wide @ KINDS.. => self.wide_step(wide - KINDS, bytes),
            _ => {
                let millis = [0, 1, 100, 400, 999, 1_000, 1_500, 4_000];
                let wait = Duration::from_millis(bytes.one_of(&millis));
                self.pass_to(self.now + wait);
            }
        }
    }

    /// Goes on to a moment and makes the pass, or the slice of one, that is due.
    pub(super) fn pass_to(&mut self, at: Time) {
        self.now = at;
        self.plain.now = at.as_micros();
        let now = self.plain.now;
        self.plain.refused.retain(|it| it.until > now);
        self.drf.tick(at, &mut self.out);
        self.look();
    }

    pub(super) fn finish_pass(&mut self) {
        while self.due().is_some_and(|due| due <= self.now) {
            self.pass_to(self.now);
        }
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.drf.deadline()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.drf.stats().recovering
    }

    /// Tells a change, of which the model knows nothing yet: what was due before it is granted
    /// first, and only what is asked back is due to the change itself.
    pub(super) fn tell(&mut self, change: Change) {
        self.drf.handle(self.now, change, &mut self.out);
        self.hear_grants();
    }

    fn add_agent(&mut self, bytes: &mut Bytes<'_>) {
        let slot = u32::try_from(bytes.below(AGENTS as usize)).expect("few");
        let (key, total, traits) = (
            AgentKey::from_raw(slot, self.plain.joined),
            bag(bytes.one_of(&TOTALS)),
            traits(slot, bytes),
        );
        self.join(key, total, traits);
    }

    /// Adds an agent, unless there is another in its place.
    pub(super) fn join(&mut self, key: AgentKey, total: Resources, traits: AgentTraits) {
        let here = |it: &Agent| it.key.index() == key.index();
        if self.plain.agents.iter().any(here) {
            return;
        }
        self.plain.joined += 1;
        self.tell(Change::AgentAdded {
            agent: key,
            total: total.clone(),
            traits: traits.clone(),
        });
        self.plain.agents.push(Agent {
            key,
            total,
            traits,
            active: true,
        });
        self.look();
    }

    fn change_agent(&mut self, bytes: &mut Bytes<'_>) {
        let Some(agent) = self.an_agent(bytes) else {
            return;
        };
        let (total, traits) = (bag(bytes.one_of(&TOTALS)), traits(agent.index(), bytes));
        self.replace(agent, total, traits);
    }

    /// Has an agent have something else than before.
    pub(super) fn replace(&mut self, agent: AgentKey, total: Resources, traits: AgentTraits) {
        self.tell(Change::AgentChanged {
            agent,
            total: total.clone(),
            traits: traits.clone(),
        });
        let row = self.plain.agents.iter_mut().find(|it| it.key == agent);
        let row = row.expect("it was picked from them");
        if (&row.total, &row.traits) != (&total, &traits) {
            (row.total, row.traits) = (total, traits);
            self.plain.refused.retain(|it| it.place.2 != agent);
        }
        self.look();
        self.check_overbooked(agent);
    }

    pub(super) fn check_overbooked(&self, key: AgentKey) {
        let agent = self.plain.agent(key).expect("it is there");
        let missing = self.plain.left(agent).1;
        self.plain.check_asked_back("though overbooked", |it| {
            it.place.2 == key && it.rest.iter().any(|entry| is_missing(&missing, entry))
        });
    }

    fn remove_agent(&mut self, bytes: &mut Bytes<'_>) {
        let Some(agent) = self.an_agent(bytes) else {
            return;
        };
        self.tell(Change::AgentRemoved { agent });
        self.plain.agents.retain(|it| it.key != agent);
        self.plain.offered.retain(|it| it.place.2 != agent);
        self.plain.used.retain(|place, _| place.2 != agent);
        self.plain.again.retain(|(place, _)| place.2 != agent);
        self.plain.refused.retain(|it| it.place.2 != agent);
        self.look();
        // Late news of it change nothing.
        let (framework, role) = (FrameworkKey::from_raw(0, 0), Role::any());
        self.tell(Change::Freed {
            framework,
            role: role.clone(),
            agent,
            resources: bag("cpus:1"),
        });
        self.tell(Change::Used {
            framework,
            role,
            agent,
            resources: bag("cpus:1"),
        });
        self.look();
    }

    fn agent_active(&mut self, bytes: &mut Bytes<'_>) {
        let (agent, active) = (self.an_agent(bytes), bytes.below(2) == 0);
        let Some(agent) = agent else {
            return;
        };
        self.tell(Change::AgentActive { agent, active });
        let row = self.plain.agents.iter_mut().find(|it| it.key == agent);
        row.expect("it was picked from them").active = active;
        self.look();
        if !active {
            self.plain
                .check_asked_back("of an idle agent", |it| it.place.2 == agent);
        }
    }

    pub(super) fn an_agent(&self, bytes: &mut Bytes<'_>) -> Option<AgentKey> {
        bytes.pick(&self.plain.agents).map(|it| it.key)
    }

    pub(super) fn a_framework(&self, bytes: &mut Bytes<'_>) -> Option<FrameworkKey> {
        bytes.pick(&self.plain.frameworks).map(|it| it.key)
    }

    /// Has a framework join, or be another than it was.
    fn framework(&mut self, bytes: &mut Bytes<'_>) {
        let slot = u32::try_from(bytes.below(FRAMEWORKS as usize)).expect("few");
        let key = FrameworkKey::from_raw(slot, 0);
        let (mask, suppressed) = (bytes.below(64), bytes.below(8));
        let bits = bytes.below(16);
        let capabilities = FrameworkCapabilities {
            revocable: bits & 1 == 0,
            reservation_refinement: bits & 2 == 0,
            gpus: bits & 4 == 0,
            shared: bits & 8 == 0,
            ..FrameworkCapabilities::default()
        };
        let named = ROLES.iter().enumerate();
        let roles: Vec<(Role, bool)> = named
            .filter(|(at, _)| mask >> at & 1 == 1)
            .map(|(at, name)| (role(name), at != suppressed))
            .collect();
        let subscription = |(role, wanted): &(Role, bool)| Subscription {
            state: match wanted {
                true => SubscriptionState::Wanted,
                false => SubscriptionState::Suppressed,
            },
            ..Subscription::new(role.clone())
        };
        let profile = FrameworkProfile {
            name: format!("f{}", bytes.below(3)),
            roles: roles.iter().map(subscription).collect(),
            capabilities,
        };
        self.subscribe(key, profile);
    }

    /// Adds a framework, or changes it if it is there.
    pub(super) fn subscribe(&mut self, key: FrameworkKey, profile: FrameworkProfile) {
        let wanted = |it: &Subscription| (it.role.clone(), it.state == SubscriptionState::Wanted);
        let roles: Vec<(Role, bool)> = profile.roles.iter().map(wanted).collect();
        let capabilities = profile.capabilities;
        let own = profile.roles.iter().cloned();
        let wishes: Vec<_> = own.map(|it| ((key, it.role.clone()), it)).collect();
        let is_known = self.plain.framework(key).is_some();
        self.tell(match is_known {
            true => Change::FrameworkChanged {
                framework: key,
                profile,
            },
            false => Change::FrameworkAdded {
                framework: key,
                profile,
            },
        });
        self.plain.wishes.retain(|(of, _), _| *of != key);
        self.plain.wishes.extend(wishes);
        let is_own = |role: &Role| roles.iter().any(|own| own.0 == *role);
        let demands = &mut self.plain.demands;
        demands.retain(|(of, role), _| *of != key || is_own(role));
        if is_known {
            let known = self.plain.frameworks.iter_mut().find(|it| it.key == key);
            let known = known.expect("it was just found");
            (known.roles, known.capabilities) = (roles.clone(), capabilities);
            let stays = |place: &Place| roles.iter().any(|it| it.0 == place.1);
            self.plain
                .refused
                .retain(|it| it.place.0 != key || stays(&it.place));
            self.look();
            self.plain
                .check_asked_back("in a role that was left", |it| {
                    it.place.0 == key && !stays(&it.place)
                });
            return;
        }
        self.plain.frameworks.push(Framework {
            key,
            active: true,
            roles,
            capabilities,
        });
        self.look();
    }

    fn remove_framework(&mut self, bytes: &mut Bytes<'_>) {
        let Some(framework) = self.a_framework(bytes) else {
            return;
        };
        self.tell(Change::FrameworkRemoved { framework });
        self.plain.frameworks.retain(|it| it.key != framework);
        self.plain.demands.retain(|(of, _), _| *of != framework);
        self.plain.offered.retain(|it| it.place.0 != framework);
        self.plain.used.retain(|place, _| place.0 != framework);
        self.plain.again.retain(|(place, _)| place.0 != framework);
        self.plain.refused.retain(|it| it.place.0 != framework);
        self.look();
    }

    fn framework_active(&mut self, bytes: &mut Bytes<'_>) {
        let (framework, active) = (self.a_framework(bytes), bytes.below(2) == 0);
        let Some(framework) = framework else {
            return;
        };
        self.tell(Change::FrameworkActive { framework, active });
        let mut rows = self.plain.frameworks.iter_mut();
        let row = rows.find(|it| it.key == framework);
        row.expect("it was picked from them").active = active;
        self.plain.refused.retain(|it| it.place.0 != framework);
        self.look();
        if !active {
            self.plain
                .check_asked_back("of who is away", |it| it.place.0 == framework);
        }
    }

    /// Suppresses or revives some roles, or all.
    fn wish(&mut self, bytes: &mut Bytes<'_>) {
        let (framework, wanted) = (self.a_framework(bytes), bytes.below(2) == 0);
        let roles = match bytes.below(ROLES.len() + 1) {
            0 => Vec::new(),
            n => vec![role(ROLES[n - 1])],
        };
        let Some(framework) = framework else {
            return;
        };
        self.tell(match wanted {
            true => Change::Revived {
                framework,
                roles: roles.clone(),
            },
            false => Change::Suppressed {
                framework,
                roles: roles.clone(),
            },
        });
        let named = |role: &Role| roles.is_empty() || roles.contains(role);
        let mut rows = self.plain.frameworks.iter_mut();
        let row = rows.find(|it| it.key == framework);
        for (role, own) in &mut row.expect("it was picked from them").roles {
            if named(role) {
                *own = wanted;
            }
        }
        if wanted {
            let of = |place: &Place| place.0 == framework && named(&place.1);
            self.plain.refused.retain(|it| !of(&it.place));
        }
        self.look();
    }

    fn weight(&mut self, bytes: &mut Bytes<'_>) {
        let role = role(bytes.one_of(&ROLES));
        let weight = Milli::from_thousandths(bytes.one_of(&[1_000, 1, 2_500, 1_000_000]));
        self.tell(Change::WeightSet { role, weight });
        self.look();
    }

    fn quota(&mut self, bytes: &mut Bytes<'_>) {
        let role = role(bytes.one_of(&ROLES));
        let quota = Quota {
            guarantees: Quantities::parse(bytes.one_of(&GUARANTEES)).expect("written by hand"),
            limits: Ceilings::parse(bytes.one_of(&LIMITS)).expect("written by hand"),
        };
        self.set_quota(role, quota);
    }

    pub(super) fn set_quota(&mut self, role: Role, quota: Quota) {
        if quota.check().is_err() {
            return;
        }
        self.tell(Change::QuotaSet {
            role: role.clone(),
            quota: quota.clone(),
        });
        if quota.is_default() {
            self.plain.quotas.remove(&role);
        } else {
            self.plain.quotas.insert(role.clone(), quota);
        }
        if !self.plain.has_odd_quota() {
            self.plain.check_needed(&role, &self.back);
        }
        self.look();
        self.plain.check_limit(&role);
    }

    fn whitelist(&mut self, bytes: &mut Bytes<'_>) {
        let mask = bytes.below(64);
        let hosts = (0..AGENTS).filter(|at| mask >> at & 1 == 1).map(hostname);
        let hostnames = (mask < 32).then(|| hosts.collect());
        self.tell(Change::Whitelisted {
            hostnames: hostnames.clone(),
        });
        self.plain.whitelist = hostnames;
        self.look();
    }

    fn recovering(&mut self, bytes: &mut Bytes<'_>) {
        if bytes.below(2) == 0 {
            self.tell(Change::Resumed);
        } else {
            self.tell(Change::Recovering { agents: 5 });
        }
        self.look();
    }
}

pub(super) fn hostname(slot: u32) -> String {
    format!("h{slot}")
}

fn traits(slot: u32, bytes: &mut Bytes<'_>) -> AgentTraits {
    AgentTraits {
        hostname: hostname(slot),
        capabilities: AgentCapabilities {
            hierarchical_role: bytes.below(4) != 3,
            ..AgentCapabilities::default()
        },
        ..AgentTraits::default()
    }
}
