//! Tests that drive the allocator through `handle` and `tick`, and look at all that it says.

mod ageing_shapes;
mod between;
mod books;
mod bounded;
mod compared;
mod costs;
mod demands;
mod devices;
mod disks;
mod everybody;
mod explain;
mod explained;
mod fairness;
mod figures;
mod held_back;
mod in_offers;
mod interest;
mod issues;
mod joined;
mod levels;
mod losses;
mod model;
mod names;
mod odd;
mod order;
mod policies;
mod quota;
mod reasons;
mod refusals;
mod replay;
mod roles;
mod rules;
mod settings;
mod shifts;
mod shortages;
mod struck;
mod vectors;
mod work;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::drf::{Drf, Options};
use super::{
    AgentTraits, Allocator, Booking, Change, Decision, FrameworkProfile, GrantId, GrantIds,
};
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never, Outbox, Output};
use crate::resources::Resources;
use crate::roles::Role;
use crate::time::Time;

const A: FrameworkKey = FrameworkKey::from_raw(0, 0);
const B: FrameworkKey = FrameworkKey::from_raw(1, 0);
const C: FrameworkKey = FrameworkKey::from_raw(2, 0);

const A0: AgentKey = AgentKey::from_raw(0, 0);
const A1: AgentKey = AgentKey::from_raw(1, 0);

fn res(text: &str) -> Resources {
    Resources::parse(text).unwrap()
}

fn role(text: &str) -> Role {
    Role::new(text).unwrap()
}

fn roles(texts: &[&str]) -> Vec<Role> {
    texts.iter().map(|text| role(text)).collect()
}

fn ids(numbers: &[u64]) -> GrantIds {
    GrantIds::collect(numbers.iter().copied().map(GrantId)).unwrap()
}

/// Stands for the grants that something is about, wherever a rig can tell.
fn whichever() -> GrantIds {
    GrantId(0).into()
}

/// Returns the grants that a framework has not used up on an agent in a role, with what is left of
/// them.
fn offered_to(
    drf: &Drf,
    framework: FrameworkKey,
    role: &Role,
    agent: AgentKey,
) -> Vec<(Vec<GrantId>, Resources)> {
    let leaf = drf.leaf(framework, role);
    let agent = drf.ledger.get(agent).into_iter();
    let own = agent
        .flat_map(|it| it.grants())
        .filter(|it| Some(it.0) == leaf);
    own.map(|(_, ids, rest)| (ids, rest.clone())).collect()
}

/// Puts the numbers of grants in the place of [`whichever`]: those of the one that is just what the
/// change speaks of, or of the oldest that cover it.
fn named(drf: &Drf, mut change: Change) -> Change {
    let (Change::Accepted {
        framework,
        role,
        agent,
        grants,
        resources,
    }
    | Change::Returned {
        framework,
        role,
        agent,
        grants,
        resources,
        ..
    }
    | Change::Converted {
        framework,
        role,
        agent,
        grants,
        before: resources,
        ..
    }) = &mut change
    else {
        return change;
    };
    if *grants != whichever() {
        return change;
    }
    let offered = offered_to(drf, *framework, role, *agent);
    let mut alike = offered.iter().filter(|(_, rest)| rest == resources);
    let mut covering = offered.iter().filter(|(_, rest)| rest.contains(resources));
    let one = alike.next_back().or_else(|| covering.next());
    let ids = match one {
        Some((ids, _)) => ids.clone(),
        None => {
            let mut sum = Resources::new();
            let several = offered.iter().take_while(|(_, rest)| {
                let is_short = !sum.contains(resources);
                sum.add(rest).is_ok() && is_short
            });
            several.flat_map(|(ids, _)| ids.clone()).collect()
        }
    };
    if let Some(ids) = GrantIds::collect(ids) {
        *grants = ids;
    }
    change
}

/// Says that something is free again: granted, and refused for a time, or in use.
fn again_free(
    from: Booking,
    (framework, role, agent): (FrameworkKey, Role, AgentKey),
    resources: Resources,
    refuse: Option<Duration>,
) -> Change {
    match from {
        Booking::Offered => Change::Returned {
            framework,
            role,
            agent,
            grants: whichever(),
            resources,
            refuse,
        },
        Booking::Allocated => Change::Freed {
            framework,
            role,
            agent,
            resources,
        },
    }
}

/// An allocator at a moment, and what it said that nobody has looked at.
struct Rig {
    drf: Drf,
    now: Time,
    out: Outbox<Never, Decision>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        Self {
            drf: Drf::new(options),
            now: Time::ZERO,
            out: Outbox::new(),
        }
    }

    fn tell(&mut self, change: Change) -> &mut Self {
        let change = named(&self.drf, change);
        self.drf.handle(self.now, change, &mut self.out);
        self.drf.check_invariants();
        self
    }

    /// Adds an active agent.
    fn agent(&mut self, agent: AgentKey, total: &str) -> &mut Self {
        let total = res(total);
        self.tell(Change::AgentAdded {
            agent,
            total,
            traits: AgentTraits::default(),
        })
    }

    /// Adds an active framework; its name is its letter.
    fn framework(&mut self, framework: FrameworkKey, in_roles: &[&str]) -> &mut Self {
        self.tell(Change::FrameworkAdded {
            framework,
            profile: FrameworkProfile::new(letter(framework), roles(in_roles)),
        })
    }

    fn used(&mut self, framework: FrameworkKey, agent: AgentKey, resources: &str) -> &mut Self {
        self.used_in(framework, "*", agent, resources)
    }

    fn used_in(
        &mut self,
        framework: FrameworkKey,
        in_role: &str,
        agent: AgentKey,
        resources: &str,
    ) -> &mut Self {
        self.tell(Change::Used {
            framework,
            role: role(in_role),
            agent,
            resources: res(resources),
        })
    }

    fn accepts(&mut self, framework: FrameworkKey, agent: AgentKey, resources: &str) -> &mut Self {
        self.tell(Change::Accepted {
            framework,
            role: Role::any(),
            agent,
            grants: whichever(),
            resources: res(resources),
        })
    }

    /// Accepts something of several grants together, in the role `*`.
    fn accepts_of(
        &mut self,
        grants: &[u64],
        framework: FrameworkKey,
        agent: AgentKey,
        resources: &str,
    ) -> &mut Self {
        self.tell(Change::Accepted {
            framework,
            role: Role::any(),
            agent,
            grants: ids(grants),
            resources: res(resources),
        })
    }

    /// Returns something of several grants together, in the role `*`, and refuses it for no time.
    fn returns_of(
        &mut self,
        grants: &[u64],
        framework: FrameworkKey,
        agent: AgentKey,
        resources: &str,
    ) -> &mut Self {
        self.tell(Change::Returned {
            framework,
            role: Role::any(),
            agent,
            grants: ids(grants),
            resources: res(resources),
            refuse: None,
        })
    }

    /// Returns something offered, in the role `*`.
    fn returns(
        &mut self,
        framework: FrameworkKey,
        agent: AgentKey,
        resources: &str,
        refuse_millis: u64,
    ) -> &mut Self {
        self.tell(Change::Returned {
            framework,
            role: Role::any(),
            agent,
            resources: res(resources),
            grants: whichever(),
            refuse: Some(Duration::from_millis(refuse_millis)),
        })
    }

    /// Returns something that was in use, in the role `*`.
    fn ends(&mut self, framework: FrameworkKey, agent: AgentKey, resources: &str) -> &mut Self {
        self.tell(Change::Freed {
            framework,
            role: Role::any(),
            agent,
            resources: res(resources),
        })
    }

    /// Makes the pass that is due at this moment, and returns all that was said since last asked.
    fn says(&mut self) -> Vec<String> {
        self.drf.tick(self.now, &mut self.out);
        self.drf.check_invariants();
        if let Some(due) = self.drf.deadline() {
            assert!(due > self.now, "what is due was done");
        }
        self.out.drain().map(text).collect()
    }

    /// Lives on until a moment, and returns what was said with the time in milliseconds.
    fn until(&mut self, millis: u64) -> Vec<String> {
        let end = Time::from_micros(millis * 1_000);
        let mut said = Vec::new();
        while let Some(due) = self.drf.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let at = self.now.as_micros() / 1_000;
            said.extend(self.says().into_iter().map(|it| format!("{at} ms: {it}")));
        }
        self.now = end;
        said
    }
}

fn letter(framework: FrameworkKey) -> String {
    char::from(b'A' + u8::try_from(framework.index()).unwrap()).to_string()
}

/// Writes a grant as `1: A on 0: cpus:4`, with the role after the framework unless it is `*`.
fn text(output: Output<Never, Decision>) -> String {
    match output {
        Output::Persist(never) => match never {},
        Output::Free(decision) => panic!("{decision:?} overtakes what it may depend on"),
        Output::Effect(Decision::Rescind { grant, reason }) => {
            format!("rescind {}: {reason:?}", grant.0)
        }
        Output::Effect(Decision::Grant(it)) => {
            let role = match it.role.as_str() {
                "*" => String::new(),
                role => format!("/{role}"),
            };
            let (id, who, agent) = (it.id.0, letter(it.framework), it.agent.index());
            format!("{id}: {who}{role} on {agent}: {}", it.resources)
        }
    }
}
