//! The allocator against a plain one: lists, and every order computed anew.
//!
//! The plain one decides nothing. It knows who is entitled to a grant, and checks that each grant
//! goes there, that nothing is left that somebody would take, and that what is asked back is what
//! should be.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use core::cmp::Ordering;

use proptest::prelude::*;

use super::*;
use crate::allocator::{Grant, GrantId, RescindReason};
use crate::resources::{Milli, Resource, Value};
use crate::rng::Rng;

const INTERVAL: u64 = 1_000_000;
const ROLES: [&str; 4] = ["*", "eng", "eng/web", "ops"];
const TOTALS: [&str; 5] = [
    "cpus:4;mem:64",
    "cpus:2;cpus(eng):2;mem:100;ports:[1-9]",
    "cpus(ops):1;mem(eng):64;cpus:6",
    "mem:500",
    "cpus:0.005;mem:16",
];

#[derive(Debug)]
struct Agent {
    key: AgentKey,
    total: Resources,
    active: bool,
}

#[derive(Debug)]
struct Framework {
    key: FrameworkKey,
    active: bool,
    /// With whether it wants offers, and how often it was granted something.
    roles: Vec<(Role, bool)>,
}

#[derive(Clone, Debug)]
struct Held {
    framework: FrameworkKey,
    role: Role,
    agent: AgentKey,
    resources: Resources,
    /// None if it is in use.
    grant: Option<GrantId>,
    touched: bool,
    rescinded: bool,
}

#[derive(Debug)]
struct Refused {
    framework: FrameworkKey,
    role: Role,
    agent: AgentKey,
    resources: Resources,
    until: u64,
}

#[derive(Debug, Default)]
struct Plain {
    now: u64,
    agents: Vec<Agent>,
    frameworks: Vec<Framework>,
    held: Vec<Held>,
    refused: Vec<Refused>,
    weights: Vec<(Role, i64)>,
    /// How many grants were made below each node of the tree, as long as it is there.
    counted: BTreeMap<String, usize>,
}

/// Whether two entries are of one thing, however much.
fn is_same(a: &Resource, b: &Resource) -> bool {
    a.name() == b.name() && a.metadata() == b.metadata()
}

impl Plain {
    /// What nobody holds, and the entries of which more is held than there is.
    fn left(&self, agent: &Agent) -> (Resources, Vec<Resource>) {
        let (mut free, mut missing) = (agent.total.clone(), Vec::new());
        for held in self.held.iter().filter(|held| held.agent == agent.key) {
            for entry in &held.resources {
                let one = held.resources.filter(|it| core::ptr::eq(it, entry));
                if free.subtract(&one).is_err() {
                    let rest = free.without_shared(&one);
                    free = rest.filter(|it| !(it.is_scalar() && is_same(it, entry)));
                    missing.push(entry.clone());
                }
            }
        }
        (free, missing)
    }

    fn free(&self, agent: &Agent) -> Resources {
        self.left(agent).0
    }

    /// The dominant share over the weight as a fraction, of those that `of` accepts.
    fn share(&self, of: impl Fn(&Held) -> bool, weight: i64) -> (i128, i128) {
        let mut most = (0, 1);
        for name in ["cpus", "mem"] {
            let thousandths = |it: &Resources| i128::from(it.scalar(name).thousandths());
            let total: i128 = self.agents.iter().map(|it| thousandths(&it.total)).sum();
            let held = self.held.iter().filter(|held| of(held));
            let held: i128 = held.map(|held| thousandths(&held.resources)).sum();
            let share = (held * 1_000, total * i128::from(weight));
            if total > 0 && compare(share, most).is_gt() {
                most = share;
            }
        }
        most
    }

    /// Everybody who may be offered something, in the order of entitlement.
    fn order(&self) -> Vec<(FrameworkKey, Role)> {
        let mut order: Vec<(FrameworkKey, Role)> = self
            .frameworks
            .iter()
            .filter(|framework| framework.active)
            .flat_map(|framework| {
                let wanted = framework.roles.iter().filter(|(_, wanted)| *wanted);
                wanted.map(|(role, _)| (framework.key, role.clone()))
            })
            .collect();
        order.sort_by(|a, b| {
            let (a, b) = (path(a.0, &a.1), path(b.0, &b.1));
            let fork = a.iter().zip(&b).find(|(a, b)| a != b);
            let (a, b) = fork.expect("no leaf stands twice");
            compare(self.share_below(a), self.share_below(b))
                .then(self.counted.get(a).cmp(&self.counted.get(b)))
                .then(a.cmp(b))
        });
        order
    }

    /// The weighted share of all that is held below a node.
    fn share_below(&self, node: &str) -> (i128, i128) {
        let is_below = |held: &Held| path(held.framework, &held.role).iter().any(|it| it == node);
        let weight = Role::new(node).map_or(1_000, |role| self.weight(&role));
        self.share(is_below, weight)
    }

    fn weight(&self, role: &Role) -> i64 {
        let set = self.weights.iter().rev().find(|it| it.0 == *role);
        set.map_or(1_000, |it| it.1)
    }

    /// Who is entitled to what of an agent now.
    fn entitled(&self, agent: &Agent) -> Option<(FrameworkKey, Role, Resources)> {
        let free = self.free(agent);
        let of_order = self.order().into_iter();
        let mut candidates = of_order.map(|(framework, role)| {
            let candidate = free.allocatable_to(&role);
            (framework, role, candidate)
        });
        candidates.find(|(framework, role, candidate)| {
            let least = [("cpus", 10), ("mem", 32_000)];
            let worth = least
                .iter()
                .any(|(name, least)| candidate.scalar(name).thousandths() >= *least);
            let refused = self.refused.iter().any(|refused| {
                (refused.framework, &refused.role, refused.agent) == (*framework, role, agent.key)
                    && refused.resources.contains(candidate)
            });
            agent.active && worth && !refused
        })
    }

    fn advance(&mut self, now: Time) {
        self.now = now.as_micros();
        self.refused.retain(|refused| refused.until > self.now);
    }

    /// Takes in a grant, which must be what somebody is entitled to.
    fn granted(&mut self, grant: Grant) {
        let agent = self.agents.iter().find(|it| it.key == grant.agent);
        let entitled = self.entitled(agent.expect("the agent is there"));
        let made = (grant.framework, grant.role.clone(), grant.resources.clone());
        assert_eq!(Some(made), entitled, "granted on {:?}", grant.agent);
        self.count(grant.framework, &grant.role);
        self.held.push(Held {
            framework: grant.framework,
            role: grant.role,
            agent: grant.agent,
            resources: grant.resources,
            grant: Some(grant.id),
            touched: false,
            rescinded: false,
        });
    }

    /// Looks at all that was said: grants to the entitled, and just the rescissions expected.
    fn look(
        &mut self,
        out: &mut Outbox<Never, Decision>,
        all: &mut Vec<Output<Never, Decision>>,
        mut expected: BTreeSet<u64>,
    ) {
        for output in out.drain() {
            all.push(output.clone());
            match output {
                Output::Effect(Decision::Grant(grant)) => self.granted(grant),
                // What new weights take back is judged elsewhere.
                Output::Effect(Decision::Rescind {
                    grant,
                    reason: RescindReason::Weight,
                }) => drop(self.rescind(|held| held.grant == Some(grant))),
                Output::Effect(Decision::Rescind { grant, .. }) => {
                    assert!(expected.remove(&grant.0), "{grant:?} is asked back");
                }
                Output::Persist(_) | Output::Free(_) => panic!("{output:?}"),
            }
        }
        assert!(expected.is_empty(), "not asked back: {expected:?}");
    }

    /// Nothing is left that somebody would take.
    fn at_rest(&self) {
        for agent in &self.agents {
            assert_eq!(self.entitled(agent), None, "left on {:?}", agent.key);
        }
    }

    fn rescind(&mut self, whose: impl Fn(&Held) -> bool) -> BTreeSet<u64> {
        let whose = |held: &&mut Held| held.grant.is_some() && !held.rescinded && whose(held);
        let asked = self.held.iter_mut().filter(whose).map(|held| {
            held.rescinded = true;
            held.grant.unwrap().0
        });
        asked.collect()
    }

    fn rescind_if_overbooked(&mut self, key: AgentKey) -> BTreeSet<u64> {
        let agent = self.agents.iter().find(|it| it.key == key).unwrap();
        let missing = self.left(agent).1;
        let lacks = |entry: &Resource| missing.iter().any(|it| is_same(it, entry));
        self.rescind(|held| held.agent == key && held.resources.iter().any(lacks))
    }

    /// Takes in a change. Returns the grants that must be asked back for it.
    fn take_in(&mut self, change: &Change) -> BTreeSet<u64> {
        match change.clone() {
            Change::AgentAdded { agent, total, .. } => self.agents.push(Agent {
                key: agent,
                total,
                active: true,
            }),
            Change::AgentChanged { agent, total, .. } => {
                let before = core::mem::replace(&mut self.agent(agent).total, total.clone());
                if before == total {
                    return BTreeSet::new();
                }
                self.refused.retain(|refused| refused.agent != agent);
                return self.rescind_if_overbooked(agent);
            }
            Change::AgentRemoved { agent } => {
                self.agents.retain(|it| it.key != agent);
                self.held.retain(|held| held.agent != agent);
                self.refused.retain(|refused| refused.agent != agent);
            }
            Change::AgentActive { agent, active } => {
                self.agent(agent).active = active;
                if !active {
                    return self.rescind(|held| held.agent == agent);
                }
            }
            Change::FrameworkAdded { framework, profile } => self.frameworks.push(Framework {
                key: framework,
                active: true,
                roles: profile
                    .roles
                    .into_iter()
                    .map(|it| (it.role, true))
                    .collect(),
            }),
            Change::FrameworkRemoved { framework } => {
                self.frameworks.retain(|it| it.key != framework);
                self.held.retain(|held| held.framework != framework);
                self.refused
                    .retain(|refused| refused.framework != framework);
            }
            Change::FrameworkActive { framework, active } => {
                self.framework(framework).active = active;
                self.refused
                    .retain(|refused| refused.framework != framework);
                if !active {
                    return self.rescind(|held| held.framework == framework);
                }
            }
            Change::Suppressed { framework, roles } => self.demand(framework, &roles, false),
            Change::Revived { framework, roles } => {
                self.demand(framework, &roles, true);
                self.refused.retain(|refused| {
                    refused.framework != framework
                        || !(roles.is_empty() || roles.contains(&refused.role))
                });
            }
            Change::WeightSet { role, weight } => {
                self.weights.push((role, weight.thousandths()));
            }
            Change::Used {
                framework,
                role,
                agent,
                resources,
            } => {
                self.count(framework, &role);
                self.use_up(framework, role, agent, resources);
                return self.rescind_if_overbooked(agent);
            }
            Change::Accepted {
                framework,
                role,
                agent,
                grants,
                resources,
            } => {
                let grant = self.granted_as(&grants)[0];
                self.held[grant].resources.subtract(&resources).unwrap();
                self.held[grant].touched = true;
                self.held.retain(|held| !held.resources.is_empty());
                self.use_up(framework, role, agent, resources);
            }
            Change::Returned {
                framework,
                role,
                agent,
                grants,
                resources,
                refuse,
            } => self.returned((framework, role, agent), &grants, resources, refuse),
            Change::Freed {
                framework,
                role,
                agent,
                resources,
            } => {
                let used = self.in_use(framework, &role, agent).unwrap();
                self.held[used].resources.subtract(&resources).unwrap();
                self.held.retain(|held| !held.resources.is_empty());
            }
            other @ (Change::FrameworkChanged { .. }
            | Change::Converted { .. }
            | Change::FreeConverted { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. }) => panic!("{other:?} is not made here"),
        }
        BTreeSet::new()
    }

    fn returned(
        &mut self,
        (framework, role, agent): (FrameworkKey, Role, AgentKey),
        grants: &GrantIds,
        resources: Resources,
        refuse: Option<Duration>,
    ) {
        let of = self.granted_as(grants);
        let wanted = of.iter().all(|at| self.held[*at].touched)
            || of.iter().all(|at| self.held[*at].rescinded);
        if let [only] = of[..] {
            self.held[only].resources.subtract(&resources).unwrap();
        } else {
            // Several grants are only returned as a whole.
            for at in of {
                self.held[at].resources = Resources::new();
            }
        }
        self.held.retain(|held| !held.resources.is_empty());
        let refuse = u64::try_from(refuse.unwrap_or_default().as_micros()).unwrap();
        let until = if refuse > 0 {
            let past = self.now + refuse.max(INTERVAL);
            (0..).map(|n| n * INTERVAL).find(|at| *at > past).unwrap()
        } else if !wanted {
            self.now + INTERVAL
        } else {
            return;
        };
        let there = self.frameworks.iter().find(|it| it.key == framework);
        if there.is_some_and(|it| it.active && it.roles.iter().any(|it| it.0 == role)) {
            self.refused.push(Refused {
                framework,
                role,
                agent,
                resources,
                until,
            });
        }
    }

    fn use_up(&mut self, framework: FrameworkKey, role: Role, agent: AgentKey, more: Resources) {
        match self.in_use(framework, &role, agent) {
            Some(at) => self.held[at].resources.add(&more).unwrap(),
            None => self.held.push(Held {
                framework,
                role,
                agent,
                resources: more,
                grant: None,
                touched: true,
                rescinded: false,
            }),
        }
    }

    fn demand(&mut self, framework: FrameworkKey, of: &[Role], wanted: bool) {
        for (role, own) in &mut self.framework(framework).roles {
            if of.is_empty() || of.contains(role) {
                *own = wanted;
            }
        }
    }

    fn count(&mut self, framework: FrameworkKey, role: &Role) {
        for node in path(framework, role) {
            *self.counted.entry(node).or_default() += 1;
        }
    }

    /// What keeps no node any more is forgotten with its count.
    fn prune(&mut self) {
        let mut kept: BTreeSet<String> = BTreeSet::new();
        let frameworks = self.frameworks.iter();
        kept.extend(frameworks.flat_map(|it| {
            let roles = it.roles.iter();
            roles.flat_map(|own| path(it.key, &own.0))
        }));
        let held = self.held.iter();
        kept.extend(held.flat_map(|held| path(held.framework, &held.role)));
        let weighty = self.weights.iter().filter(|it| self.weight(&it.0) != 1_000);
        let entries = self.agents.iter().flat_map(|agent| &agent.total);
        let reserved = entries.filter_map(|entry| entry.reservation_role());
        for role in weighty.map(|it| &it.0).chain(reserved) {
            let mut above = path(A, role);
            above.truncate(above.len() - 2);
            kept.extend(above);
        }
        self.counted.retain(|node, _| kept.contains(node));
    }

    fn offered(&self, framework: FrameworkKey, role: &Role, agent: AgentKey) -> Vec<usize> {
        (0..self.held.len())
            .filter(|at| {
                let held = &self.held[*at];
                (held.framework, &held.role, held.agent) == (framework, role, agent)
                    && held.grant.is_some()
            })
            .collect()
    }

    fn granted_as(&self, grants: &GrantIds) -> Vec<usize> {
        let held = (0..self.held.len())
            .filter(|at| self.held[*at].grant.is_some_and(|id| grants.contains(id)));
        held.collect()
    }

    fn in_use(&self, framework: FrameworkKey, role: &Role, agent: AgentKey) -> Option<usize> {
        self.held.iter().position(|held| {
            (held.framework, &held.role, held.agent) == (framework, role, agent)
                && held.grant.is_none()
        })
    }

    fn agent(&mut self, key: AgentKey) -> &mut Agent {
        let found = self.agents.iter_mut().find(|it| it.key == key);
        found.expect("the step named one that is there")
    }

    fn framework(&mut self, key: FrameworkKey) -> &mut Framework {
        let found = self.frameworks.iter_mut().find(|it| it.key == key);
        found.expect("the step named one that is there")
    }
}

/// All nodes from the top down to a leaf.
fn path(framework: FrameworkKey, role: &Role) -> Vec<String> {
    let text = role.as_str();
    let ends = text.match_indices('/').map(|(at, _)| at);
    let mut path: Vec<String> = ends
        .chain([text.len()])
        .map(|end| text[..end].into())
        .collect();
    path.push(format!("{text}/."));
    path.push(format!("{text}/./{:06}", framework.index()));
    path
}

fn compare(a: (i128, i128), b: (i128, i128)) -> Ordering {
    (a.0 * b.1).cmp(&(b.0 * a.1))
}

/// Some part of a bag that is not empty, or all of it.
fn part(of: &Resources, rng: &mut Rng) -> Resources {
    let mut part = Resources::new();
    for entry in of {
        if let (Value::Scalar(amount), None) = (entry.value(), entry.reservation_role()) {
            let half = amount.thousandths() / 2;
            part = part.with_scalar(entry.name(), Milli::from_thousandths(half));
        } else if rng.chance(1, 2) {
            part.insert(entry.clone()).unwrap();
        }
    }
    if part.is_empty() || rng.chance(1, 3) {
        return of.clone();
    }
    part
}

/// Makes a change that can happen in the state that the plain one is in.
fn change(plain: &Plain, kind: u8, rng: &mut Rng, made: &mut u32) -> Option<Change> {
    let mut pick = |len: usize| (len > 0).then(|| rng.below(len as u64) as usize);
    let agent = pick(plain.agents.len()).map(|at| plain.agents[at].key);
    let framework = pick(plain.frameworks.len()).map(|at| &plain.frameworks[at]);
    let held = pick(plain.held.len()).map(|at| plain.held[at].clone());
    let total = res(TOTALS[pick(TOTALS.len())?]);
    let in_role = role(ROLES[pick(ROLES.len())?]);
    let yes = pick(2)? == 0;
    *made += 1;
    Some(match kind {
        0..=2 if plain.agents.len() < 6 => Change::AgentAdded {
            agent: AgentKey::from_raw(*made, 0),
            total,
            traits: AgentTraits::default(),
        },
        3 | 4 if plain.frameworks.len() < 5 => Change::FrameworkAdded {
            framework: FrameworkKey::from_raw(*made, 0),
            profile: FrameworkProfile::new(
                format!("{made:06}"),
                if yes {
                    vec![in_role]
                } else {
                    roles(&ROLES[1..])
                },
            ),
        },
        5 => Change::AgentChanged {
            agent: agent?,
            total,
            traits: AgentTraits::default(),
        },
        6 => Change::AgentRemoved { agent: agent? },
        7 => Change::AgentActive {
            agent: agent?,
            active: yes,
        },
        8 => Change::FrameworkRemoved {
            framework: framework?.key,
        },
        9 => Change::FrameworkActive {
            framework: framework?.key,
            active: yes,
        },
        10 => Change::Suppressed {
            framework: framework?.key,
            roles: if yes { vec![] } else { vec![in_role] },
        },
        11 => Change::Revived {
            framework: framework?.key,
            roles: if yes { vec![] } else { vec![in_role] },
        },
        12 => Change::WeightSet {
            role: in_role,
            weight: Milli::from_thousandths(if yes { 1_000 } else { 2_500 }),
        },
        13 => Change::Used {
            framework: framework?.key,
            role: framework?.roles[0].0.clone(),
            agent: agent?,
            resources: res("cpus:1;mem:10"),
        },
        _ => booking(plain, held?, yes, rng),
    })
}

/// Makes an accept or a return of something that is held.
fn booking(plain: &Plain, held: Held, accept: bool, rng: &mut Rng) -> Change {
    let (framework, role, agent) = (held.framework, held.role, held.agent);
    let resources = part(&held.resources, rng);
    let Some(grant) = held.grant else {
        return again_free(
            Booking::Allocated,
            (framework, role, agent),
            resources,
            None,
        );
    };
    if accept {
        return Change::Accepted {
            framework,
            role,
            agent,
            grants: grant.into(),
            resources,
        };
    }
    let refuse = [None, Some(0), Some(400), Some(3_000)][rng.below(4) as usize];
    let refuse = refuse.map(Duration::from_millis);
    let others = plain.offered(framework, &role, agent);
    let others = others.iter().map(|at| &plain.held[*at]);
    if rng.chance(1, 3) {
        let mut all = Resources::new();
        others
            .clone()
            .for_each(|it| all.add(&it.resources).unwrap());
        return Change::Returned {
            framework,
            role,
            agent,
            grants: GrantIds::collect(others.filter_map(|it| it.grant)).unwrap(),
            resources: all,
            refuse,
        };
    }
    Change::Returned {
        framework,
        role,
        agent,
        grants: grant.into(),
        resources,
        refuse,
    }
}

/// Whether a pass goes by interest.
#[derive(Clone, Copy, PartialEq)]
enum Looks {
    ByInterest,
    AtAll,
}

/// Runs steps of a kind and a pause in milliseconds. Returns all that was said.
fn run(steps: &[(u8, u64)], seed: u64, looks: Looks) -> Vec<Output<Never, Decision>> {
    let mut rig = Rig::with(Options {
        seed,
        ..Options::default()
    });
    rig.drf.looks_at_all = looks == Looks::AtAll;
    let (mut plain, mut rng) = (Plain::default(), Rng::new(seed));
    let (mut all, mut made) = (Vec::new(), 0);
    for (kind, pause) in steps {
        rig.now = rig.now + Duration::from_millis(*pause);
        // A change of no consequence: what was due before is done first.
        rig.tell(Change::WeightSet {
            role: role("idle"),
            weight: Milli::from_thousandths(1_000),
        });
        plain.advance(rig.now);
        plain.look(&mut rig.out, &mut all, BTreeSet::new());
        let Some(change) = change(&plain, *kind, &mut rng, &mut made) else {
            continue;
        };
        rig.tell(change.clone());
        let asked = plain.take_in(&change);
        plain.prune();
        plain.look(&mut rig.out, &mut all, asked);
        if rng.chance(3, 4) {
            rig.drf.tick(rig.now, &mut rig.out);
            rig.drf.check_invariants();
            plain.look(&mut rig.out, &mut all, BTreeSet::new());
            plain.at_rest();
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    // C7, AL-08, AL-15 to AL-17, AL-21, AL-28, AL-33, AL-42, OF-33 to OF-37, RM-23
    #[test]
    fn agrees_with_a_plain_one(
        steps in prop::collection::vec((0u8..30, prop_oneof![Just(0u64), 0u64..1_500]), 0..120),
        seed in any::<u64>(),
    ) {
        let said = run(&steps, seed, Looks::ByInterest);
        prop_assert_eq!(&said, &run(&steps, seed, Looks::ByInterest));
        // Interest is a pure optimisation.
        prop_assert_eq!(&said, &run(&steps, seed, Looks::AtAll));
    }
}
