//! What there is, and what can happen to it next: changes of every kind.
//!
//! It only remembers who holds what, so that what happens can. It judges nothing.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;

use super::super::*;
use crate::allocator::drf::{DemandRule, GpuRule, Packing, SorterKind};
use crate::allocator::{
    AgentCapabilities, FrameworkCapabilities, GrantId, Subscription, SubscriptionState,
};
use crate::attributes::Attributes;
use crate::constraints::{Comparison, Constraint, Constraints, Pattern, Predicate, Selector};
use crate::demand::{Demand, Shape};
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli, Quantities, Value};
use crate::rng::Rng;

const AGENTS: u64 = 6;
const FRAMEWORKS: u64 = 5;
const ROLES: [&str; 6] = ["*", "eng", "eng/web", "eng/web/a", "ops", "ops/x"];
const TOTALS: [&str; 17] = [
    "cpus:4;mem:64",
    "cpus:8;mem:200;disk:40",
    "cpus:2;mem:64",
    "cpus:2;cpus(eng):2;mem:100;ports:[1-9]",
    "cpus(ops):1;mem(eng):64;cpus:6",
    "mem:500;disk:30",
    "cpus:0.005;mem:16",
    "cpus:3;mem:200;cpus(*)<revocable>:2",
    r#"cpus:2;mem:64;disk(*)<mount="/m">:50;disk(*)<mount="/n">:50;disk:10"#,
    r#"cpus:4;mem:64;cpus(eng)<dynamic="eng/web">:2"#,
    "cpus:4;gpus:2;mem:128",
    "cpus:3;gpus:1;disk:50",
    r#"mem:64;disk(ops)<volume="v",rw="d">:5;disk(*)<block>:7;names:{a,b,c}"#,
    r#"cpus:2;mem:64;disk(eng)<volume="s",rw="d",shared>:6"#,
    r#"cpus:5;disk(eng)<volume="s",rw="d",shared>:6;disk(ops)<volume="t",rw="d",shared>:3"#,
    "cpus:5;fpga:3;names:{x};ports:[20-30]",
    // More names than are counted.
    "cpus:1;a:1;b:1;c:1;d:1;e:1;f:1;g:1;h:1;i:1;j:1;k:1;l:1;m:1",
];
const CONVERSIONS: [(&str, &str); 11] = [
    ("cpus:1", "cpus({}):1"),
    ("cpus({}):1", "cpus:1"),
    ("mem:16", "mem({}):16"),
    ("disk:5", "disk({}):5"),
    ("disk({}):5", r#"disk({})<volume="c",rw="d">:5"#),
    (r#"disk({})<volume="c",rw="d">:5"#, "disk({}):5"),
    (r#"disk(eng)<volume="s",rw="d",shared>:6"#, "disk(eng):6"),
    ("disk(eng):6", r#"disk(eng)<volume="s",rw="d",shared>:6"#),
    ("gpus:1", ""),
    ("disk:10", "disk:30"),
    ("cpus:1", "cpus:1;gpus:1"),
];
const GUARANTEES: [&str; 6] = [
    "",
    "cpus:2",
    "cpus:5;mem:100",
    "disk:20",
    "gpus:1;mem:30",
    "fpga:2",
];
const LIMITS: [&str; 9] = [
    "",
    "cpus:3",
    "cpus:5;mem:300",
    "disk:60",
    "gpus:1;cpus:5.5",
    "fpga:1",
    "ports:2",
    "names:1",
    "disk:50",
];
const ATTRIBUTES: [&str; 4] = ["", "rack:a", "rack:b;age:3", "rack:a;age:7"];
const THRESHOLDS: [&[&str]; 5] = [
    &[],
    &["cpus:1"],
    &["cpus:2;mem:32", "disk:20"],
    &["gpus:1"],
    &["fpga:1", "mem:100"],
];
/// What is demanded; the last ones are of disks.
const SHAPES: [&str; 8] = [
    "cpus:1",
    "cpus:0.5;mem:20",
    "mem:64",
    "cpus:1;ports:2",
    "names:1;cpus:1",
    "gpus:1",
    "disk:10",
    "cpus:1;disk:5",
];

/// For whom, and where.
pub(super) type Place = (FrameworkKey, Role, AgentKey);

/// What is left of grants that were answered together, or of one.
#[derive(Clone, Debug)]
struct Offered {
    place: Place,
    grants: Vec<GrantId>,
    rest: Resources,
    asked_back: bool,
}

#[derive(Debug, Default)]
pub(super) struct World {
    agents: BTreeMap<AgentKey, Resources>,
    frameworks: BTreeMap<FrameworkKey, Vec<Role>>,
    offered: Vec<Offered>,
    /// All that was ever asked back.
    asked_back: BTreeSet<GrantId>,
    used: BTreeMap<Place, Resources>,
    /// How many ever joined.
    joined: u32,
}

fn one_of<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.below(all.len() as u64) as usize]
}

fn pick<T: Clone>(rng: &mut Rng, mut all: impl ExactSizeIterator<Item = T>) -> Option<T> {
    let at = rng.below(all.len().max(1) as u64);
    all.nth(at as usize)
}

fn quantities(text: &str) -> Quantities {
    Quantities::parse(text).unwrap()
}

/// Draws how an allocator behaves: as it does by default, but for a few things.
pub(super) fn options(rng: &mut Rng) -> Options {
    let mut options = Options {
        seed: rng.next_u64(),
        ..Options::default()
    };
    let mut rarely = |one_in: u64| rng.chance(1, one_in);
    if rarely(6) {
        options.role_sorter = SorterKind::Random;
    }
    if rarely(6) {
        options.framework_sorter = SorterKind::Random;
    }
    if rarely(3) {
        options.agents_per_slice = 1;
    }
    if rarely(4) {
        options.gpus = GpuRule::Everyone;
    }
    if rarely(3) {
        options.region = Some("here".into());
    }
    if rarely(4) {
        options.min_allocatable = Vec::new();
    }
    if rarely(4) {
        options.excluded = vec!["mem".into()];
    }
    if rarely(4) {
        options.counted = vec!["fpga".into()];
    }
    if rarely(3) {
        options.lease = Some(Duration::from_secs(3));
    }
    if rarely(3) {
        options.ageing = Some(Duration::from_secs(5));
    }
    if rarely(2) {
        options.demands = DemandRule::Honoured;
    }
    if rarely(4) {
        options.most_offered = Some(quantities(one_of(rng, &["cpus:5", "mem:100", "disk:30"])));
    }
    if rng.chance(1, 3) {
        for of in ROLES {
            let packing = one_of(rng, &[Packing::Random, Packing::Spread, Packing::BestFit]);
            options.packing.insert(role(of), packing);
        }
    }
    options
}

impl World {
    /// Makes a change that can happen now.
    pub(super) fn next(&mut self, kind: u8, rng: &mut Rng) -> Option<Change> {
        Some(match kind {
            0..=7 => self.of_agents(kind, rng)?,
            8..=16 => self.of_frameworks(kind, rng)?,
            17 => Change::WeightSet {
                role: role(one_of(rng, &ROLES)),
                weight: Milli::from_thousandths(one_of(rng, &[1_000, 1, 2_500, 1_000_000])),
            },
            18 | 19 => Change::QuotaSet {
                role: role(one_of(rng, &ROLES)),
                quota: quota(rng)?,
            },
            20 => Change::Whitelisted {
                hostnames: rng.chance(1, 2).then(|| {
                    let some = (0..AGENTS).filter(|_| rng.chance(2, 3));
                    some.map(|at| format!("h{at}")).collect()
                }),
            },
            21 if rng.chance(1, 2) => Change::Recovering { agents: 5 },
            21 => Change::Resumed,
            22 => Change::Used {
                framework: FrameworkKey::from_raw(rng.below(FRAMEWORKS) as u32, 0),
                role: role(one_of(rng, &ROLES)),
                agent: self.an_agent(rng)?,
                resources: res(one_of(rng, &["cpus:1;mem:10", "cpus:0.5", "ports:[3-4]"])),
            },
            23..=26 => self.answer(rng)?,
            27 => self.end(rng)?,
            28 => self.convert(rng)?,
            29 => self.convert_free(rng)?,
            _ => self.give_back(rng)?,
        })
    }

    fn an_agent(&self, rng: &mut Rng) -> Option<AgentKey> {
        pick(rng, self.agents.keys().copied())
    }

    fn of_agents(&mut self, kind: u8, rng: &mut Rng) -> Option<Change> {
        let slot = rng.below(AGENTS) as u32;
        let total = res(one_of(rng, &TOTALS));
        let here = self.agents.keys().find(|key| key.index() == slot).copied();
        Some(match (kind, here) {
            (5, Some(agent)) => Change::AgentChanged {
                agent,
                total,
                traits: traits(slot, rng),
            },
            (6, Some(agent)) => Change::AgentRemoved { agent },
            (7, Some(agent)) => Change::AgentActive {
                agent,
                active: rng.chance(2, 3),
            },
            (_, Some(_)) => return None,
            (_, None) => {
                self.joined += 1;
                Change::AgentAdded {
                    agent: AgentKey::from_raw(slot, self.joined),
                    total,
                    traits: traits(slot, rng),
                }
            }
        })
    }

    fn of_frameworks(&self, kind: u8, rng: &mut Rng) -> Option<Change> {
        let framework = FrameworkKey::from_raw(rng.below(FRAMEWORKS) as u32, 0);
        let Some(own) = self.frameworks.get(&framework) else {
            return Some(Change::FrameworkAdded {
                framework,
                profile: profile(rng),
            });
        };
        let in_role = pick(rng, own.iter().cloned());
        let roles = match rng.chance(1, 3) {
            true => Vec::new(),
            false => in_role.iter().cloned().collect(),
        };
        Some(match kind {
            8 | 9 => Change::FrameworkChanged {
                framework,
                profile: profile(rng),
            },
            10 if rng.chance(1, 2) => Change::FrameworkRemoved { framework },
            10 | 11 => Change::FrameworkActive {
                framework,
                active: rng.chance(2, 3),
            },
            12 => Change::Suppressed { framework, roles },
            13 => Change::Revived { framework, roles },
            _ => Change::Demanded {
                framework,
                role: in_role?,
                demand: demand(rng),
            },
        })
    }

    /// Draws grants that are not used up, often several of one framework on one agent, and says
    /// what is left of them.
    fn some_offered(&self, rng: &mut Rng) -> Option<(Place, GrantIds, Resources)> {
        let one = pick(rng, self.offered.iter())?;
        let mut some = one.clone();
        for other in &self.offered {
            let is_other = other.place == one.place && other.grants != one.grants;
            if is_other && rng.chance(1, 2) && some.rest.add(&other.rest).is_ok() {
                some.grants.extend(&other.grants);
            }
        }
        Some((some.place, GrantIds::collect(some.grants)?, some.rest))
    }

    /// Accepts or returns something that is offered, all of it or a part.
    fn answer(&self, rng: &mut Rng) -> Option<Change> {
        let ((framework, role, agent), grants, rest) = self.some_offered(rng)?;
        let resources = part(&rest, rng);
        if rng.chance(2, 5) {
            return Some(Change::Accepted {
                framework,
                role,
                agent,
                grants,
                resources,
            });
        }
        let refuse = one_of(rng, &[None, Some(0), Some(400), Some(2_500), Some(60_000)]);
        Some(Change::Returned {
            framework,
            role,
            agent,
            grants,
            resources,
            refuse: refuse.map(Duration::from_millis),
        })
    }

    /// Gives back all that was asked back somewhere.
    fn give_back(&self, rng: &mut Rng) -> Option<Change> {
        let asked_back: Vec<_> = self.offered.iter().filter(|it| it.asked_back).collect();
        let one = pick(rng, asked_back.into_iter())?.clone();
        let (framework, role, agent) = one.place;
        Some(Change::Returned {
            framework,
            role,
            agent,
            grants: GrantIds::collect(one.grants)?,
            resources: one.rest,
            refuse: None,
        })
    }

    fn end(&self, rng: &mut Rng) -> Option<Change> {
        let place = pick(rng, self.used.keys().cloned())?;
        let resources = part(&self.used[&place], rng);
        let (framework, role, agent) = place;
        Some(Change::Freed {
            framework,
            role,
            agent,
            resources,
        })
    }

    fn convert(&self, rng: &mut Rng) -> Option<Change> {
        let ((framework, role, agent), grants, rest) = self.some_offered(rng)?;
        let (before, after) = conversion(&role, rng);
        turned(&rest, &before, &after)?;
        turned(&self.agents[&agent], &before, &after)?;
        Some(Change::Converted {
            framework,
            role,
            agent,
            grants,
            before,
            after,
        })
    }

    fn convert_free(&self, rng: &mut Rng) -> Option<Change> {
        let agent = self.an_agent(rng)?;
        let (before, after) = conversion(&role(one_of(rng, &ROLES)), rng);
        turned(&self.agents[&agent], &before, &after)?;
        Some(Change::FreeConverted {
            agent,
            before,
            after,
        })
    }

    /// Remembers what was said.
    pub(super) fn hear(&mut self, decision: Decision) {
        match decision {
            Decision::Grant(grant) => {
                self.offered.push(Offered {
                    place: (grant.framework, grant.role, grant.agent),
                    grants: vec![grant.id],
                    rest: grant.resources,
                    asked_back: false,
                });
            }
            Decision::Rescind { grant, .. } => {
                // Each is asked back once, as long as something is left of it.
                assert!(
                    self.asked_back.insert(grant),
                    "{grant:?} is asked back again"
                );
                let mut all = self.offered.iter_mut();
                let of = all.find(|it| it.grants.contains(&grant));
                of.expect("something is left of it").asked_back = true;
            }
        }
    }

    /// Remembers what happened.
    pub(super) fn take_in(&mut self, change: Change) {
        match change {
            Change::AgentAdded { agent, total, .. } | Change::AgentChanged { agent, total, .. } => {
                self.agents.insert(agent, total);
            }
            Change::AgentRemoved { agent } => {
                self.agents.remove(&agent);
                self.forget(|place| place.2 == agent);
            }
            Change::FrameworkAdded { framework, profile }
            | Change::FrameworkChanged { framework, profile } => {
                let roles = profile.roles.into_iter().map(|it| it.role).collect();
                self.frameworks.insert(framework, roles);
            }
            Change::FrameworkRemoved { framework } => {
                self.frameworks.remove(&framework);
                self.forget(|place| place.0 == framework);
            }
            Change::Used {
                framework,
                role,
                agent,
                resources,
            } => self.use_up((framework, role, agent), &resources),
            Change::Accepted {
                framework,
                role,
                agent,
                grants,
                resources,
            } => {
                self.one(&grants).rest.subtract(&resources).unwrap();
                self.use_up((framework, role, agent), &resources);
            }
            Change::Returned {
                grants, resources, ..
            } => self.one(&grants).rest.subtract(&resources).unwrap(),
            Change::Freed {
                framework,
                role,
                agent,
                resources,
            } => {
                let used = self.used.get_mut(&(framework, role, agent)).unwrap();
                used.subtract(&resources).unwrap();
            }
            Change::Converted {
                agent,
                grants,
                before,
                after,
                ..
            } => {
                let offered = self.one(&grants);
                offered.rest = turned(&offered.rest, &before, &after).unwrap();
                self.turn(agent, &before, &after);
            }
            Change::FreeConverted {
                agent,
                before,
                after,
            } => self.turn(agent, &before, &after),
            Change::AgentActive { .. }
            | Change::FrameworkActive { .. }
            | Change::Suppressed { .. }
            | Change::Revived { .. }
            | Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. } => {}
        }
        self.offered.retain(|it| !it.rest.is_empty());
        self.used.retain(|_, bag| !bag.is_empty());
    }

    fn forget(&mut self, of: impl Fn(&Place) -> bool) {
        self.offered.retain(|it| !of(&it.place));
        self.used.retain(|place, _| !of(place));
    }

    fn use_up(&mut self, place: Place, more: &Resources) {
        self.used.entry(place).or_default().add(more).unwrap();
    }

    /// Makes grants that are answered together one.
    fn one(&mut self, grants: &GrantIds) -> &mut Offered {
        let is_meant = |it: &Offered| it.grants.iter().any(|id| grants.contains(*id));
        let (meant, others) = self.offered.drain(..).partition(is_meant);
        self.offered = others;
        let all = Vec::into_iter(meant).reduce(|mut one, other: Offered| {
            one.grants.extend(other.grants);
            one.rest.add(&other.rest).unwrap();
            one.asked_back |= other.asked_back;
            one
        });
        self.offered.push(all.unwrap());
        self.offered.last_mut().unwrap()
    }

    fn turn(&mut self, agent: AgentKey, before: &Resources, after: &Resources) {
        let total = self.agents.get_mut(&agent).unwrap();
        *total = turned(total, before, after).unwrap();
    }
}

/// What a bag is with something else in place of a part of it; `None` if that cannot be.
fn turned(bag: &Resources, before: &Resources, after: &Resources) -> Option<Resources> {
    let mut rest = bag.checked_sub(before).ok()?;
    let clash = rest.overlap(after).is_some();
    rest.add(after).ok().filter(|()| !clash)?;
    Some(rest)
}

fn conversion(of: &Role, rng: &mut Rng) -> (Resources, Resources) {
    let (before, after) = one_of(rng, &CONVERSIONS);
    let of = match of.is_any() {
        true => "ops",
        false => of.as_str(),
    };
    (
        res(&before.replace("{}", of)),
        res(&after.replace("{}", of)),
    )
}

/// All, or half of the scalars and some of what cannot be halved.
fn part(of: &Resources, rng: &mut Rng) -> Resources {
    let mut part = Resources::new();
    for entry in of.iter().filter(|_| rng.chance(2, 3)) {
        let halved = match entry.value() {
            Value::Scalar(amount) if !(entry.is_exclusive() || entry.is_shared()) => {
                let half = Milli::from_thousandths(amount.thousandths() / 2);
                entry.clone().with_value(Value::Scalar(half)).ok()
            }
            Value::Scalar(_) | Value::Ranges(_) | Value::Items(_) => Some(entry.clone()),
        };
        if let Some(halved) = halved {
            part.insert(halved).unwrap();
        }
    }
    if part.is_empty() || rng.chance(1, 3) {
        return of.clone();
    }
    part
}

fn traits(slot: u32, rng: &mut Rng) -> AgentTraits {
    AgentTraits {
        hostname: format!("h{slot}"),
        attributes: Attributes::parse(one_of(rng, &ATTRIBUTES)).unwrap(),
        region: one_of(rng, &[None, Some("here"), Some("there")]).map(String::from),
        zone: one_of(rng, &[None, Some("z")]).map(String::from),
        capabilities: AgentCapabilities {
            multi_role: rng.chance(3, 4),
            hierarchical_role: rng.chance(3, 4),
        },
    }
}

fn profile(rng: &mut Rng) -> FrameworkProfile {
    let mut roles = Vec::new();
    for of in ROLES {
        if rng.chance(1, 3) {
            roles.push(subscription(of, rng));
        }
    }
    let mut mostly = || rng.chance(2, 3);
    let capabilities = FrameworkCapabilities {
        multi_role: roles.len() > 1,
        revocable: mostly(),
        shared: mostly(),
        reservation_refinement: mostly(),
        gpus: mostly(),
        region_aware: mostly(),
    };
    FrameworkProfile {
        name: format!("f{}", rng.below(3)),
        roles,
        capabilities,
    }
}

fn subscription(of: &str, rng: &mut Rng) -> Subscription {
    let state = match rng.chance(4, 5) {
        true => SubscriptionState::Wanted,
        false => SubscriptionState::Suppressed,
    };
    let constraints = rng.chance(1, 2).then(|| {
        let mut some = || (0..=rng.below(2)).map(|_| constraint(rng)).collect();
        let (first, second): (Vec<_>, Vec<_>) = (some(), some());
        let groups = match rng.chance(1, 2) {
            true => vec![first],
            false => vec![first, second],
        };
        Constraints::new(groups).unwrap()
    });
    let sets = one_of(rng, &THRESHOLDS).iter();
    let min_allocatable = Some(sets.map(|set| quantities(set)).collect());
    Subscription {
        role: role(of),
        state,
        constraints,
        min_allocatable: min_allocatable.filter(|_| rng.chance(1, 2)),
    }
}

fn constraint(rng: &mut Rng) -> Constraint {
    let name = |rng: &mut Rng| String::from(one_of(rng, &["cpus", "mem", "disk", "gpus", "ports"]));
    let text = |rng: &mut Rng| match rng.below(3) {
        0 => Predicate::TextEquals("a".into()),
        1 => Predicate::TextNotEquals("h1".into()),
        _ => Predicate::TextMatches(Pattern::new("(a|h[0-3]|here|z)").unwrap()),
    };
    let number = |rng: &mut Rng| {
        let all = [
            Comparison::Below,
            Comparison::AtMost,
            Comparison::Equal,
            Comparison::Unequal,
            Comparison::AtLeast,
            Comparison::Above,
        ];
        let than = Milli::from_thousandths(one_of(rng, &[0, 1_000, 2_000, 4_000, 30_000]));
        Predicate::Number(one_of(rng, &all), than)
    };
    let there = |rng: &mut Rng| one_of(rng, &[true, false]);
    let exists = |rng: &mut Rng| match there(rng) {
        true => Predicate::Exists,
        false => Predicate::NotExists,
    };
    let (selector, predicate) = match rng.below(10) {
        0 => (Selector::Attribute("rack".into()), text(rng)),
        1 => (Selector::Attribute("age".into()), number(rng)),
        2 => (Selector::Attribute("age".into()), exists(rng)),
        3 => (Selector::Hostname, text(rng)),
        4 => (Selector::Region, exists(rng)),
        5 => (Selector::Zone, text(rng)),
        6 => (Selector::Total(name(rng)), number(rng)),
        7 => (Selector::Total(name(rng)), exists(rng)),
        8 => (Selector::Offered(name(rng)), exists(rng)),
        _ => (Selector::Offered(name(rng)), number(rng)),
    };
    Constraint {
        selector,
        predicate,
    }
}

fn quota(rng: &mut Rng) -> Option<Quota> {
    let quota = Quota {
        guarantees: quantities(one_of(rng, &GUARANTEES)),
        limits: Ceilings::parse(one_of(rng, &LIMITS)).unwrap(),
    };
    quota.check().is_ok().then_some(quota)
}

fn demand(rng: &mut Rng) -> Option<Demand> {
    let shape = |rng: &mut Rng| {
        let each = quantities(one_of(rng, &SHAPES));
        Shape::new(each, rng.below(5) as u32).unwrap()
    };
    let shapes = (0..rng.below(3)).map(|_| shape(rng)).collect();
    let mut demand = Demand::new(shapes).unwrap();
    if rng.chance(1, 3) {
        demand = demand.with_at_once(quantities("cpus:2")).unwrap();
    }
    rng.chance(4, 5).then_some(demand)
}
