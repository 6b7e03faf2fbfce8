//! The plain model: lists of who is there and who holds what. Everything else is computed from
//! them when it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use tepui_core::allocator::drf::{DemandRule, GpuRule, Options};
use tepui_core::allocator::{
    AgentTraits, FrameworkCapabilities, GrantId, GrantIds, RescindReason, Subscription,
};
use tepui_core::demand::Demand;
use tepui_core::keys::{AgentKey, FrameworkKey};
use tepui_core::quota::Quota;
use tepui_core::resources::{Quantities, Resource, Resources, Value};
use tepui_core::roles::Role;

/// What quota and shares count here.
pub(super) const NAMES: [&str; 4] = ["cpus", "disk", "gpus", "mem"];

/// Thousandths by the place in [`NAMES`].
pub(super) type Amounts = [i128; 4];

pub(super) struct Agent {
    pub(super) key: AgentKey,
    pub(super) total: Resources,
    pub(super) traits: AgentTraits,
    pub(super) active: bool,
}

pub(super) struct Framework {
    pub(super) key: FrameworkKey,
    pub(super) active: bool,
    /// With whether it wants offers.
    pub(super) roles: Vec<(Role, bool)>,
    pub(super) capabilities: FrameworkCapabilities,
}

/// For whom, and where.
pub(super) type Place = (FrameworkKey, Role, AgentKey);

/// What is left of a grant, or of several that were answered together.
pub(super) struct Offered {
    pub(super) ids: Vec<GrantId>,
    /// By which of these numbers it was asked back.
    pub(super) asked: BTreeSet<GrantId>,
    pub(super) place: Place,
    pub(super) rest: Resources,
    /// Something of it was accepted.
    pub(super) touched: bool,
    /// When the youngest was granted.
    pub(super) since: u64,
    /// Why all of it was asked back.
    pub(super) rescinded: Option<RescindReason>,
}

impl Offered {
    /// Takes in what is left of other grants, which it is one with from then on.
    fn join(&mut self, other: Self) {
        self.ids.extend(other.ids);
        self.asked.extend(other.asked);
        self.rest
            .add(&other.rest)
            .expect("parts of an agent's total");
        self.touched &= other.touched;
        self.since = self.since.max(other.since);
        let expired = Some(RescindReason::Expired);
        self.rescinded = match (self.rescinded, other.rescinded) {
            (None, _) | (_, None) => None,
            (own, others) if own == expired => others,
            (own, _) => own,
        };
    }
}

pub(super) struct Refused {
    pub(super) place: Place,
    pub(super) resources: Resources,
    pub(super) until: u64,
}

pub(super) struct Plain {
    pub(super) now: u64,
    pub(super) agents: Vec<Agent>,
    pub(super) frameworks: Vec<Framework>,
    pub(super) offered: Vec<Offered>,
    pub(super) used: BTreeMap<Place, Resources>,
    /// Numbers and names that are in use there once more.
    pub(super) again: Vec<(Place, Resources)>,
    pub(super) refused: Vec<Refused>,
    pub(super) quotas: BTreeMap<Role, Quota>,
    /// What is said of each role that a framework has.
    pub(super) wishes: BTreeMap<(FrameworkKey, Role), Subscription>,
    pub(super) demands: BTreeMap<(FrameworkKey, Role), Demand>,
    pub(super) whitelist: Option<BTreeSet<String>>,
    pub(super) gpus: GpuRule,
    pub(super) region: Option<String>,
    pub(super) rule: DemandRule,
    pub(super) most_offered: Option<Quantities>,
    /// Of whose demands it is not known any more what is left: something was granted.
    pub(super) served: BTreeSet<(FrameworkKey, Role)>,
    pub(super) lease: Option<u64>,
    pub(super) has_least: bool,
    pub(super) ids: BTreeSet<GrantId>,
    /// How many agents ever joined.
    pub(super) joined: u32,
}

/// Whether `below` is a role or stands below it.
pub(super) fn is_within(below: &Role, role: &Role) -> bool {
    let rest = below.as_str().strip_prefix(role.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether nobody has it reserved and nobody can take it back: what quota bounds.
pub(super) fn is_open(entry: &Resource) -> bool {
    entry.reservation_role().is_none() && !entry.is_revocable()
}

/// Whether two entries are of one thing, however much.
fn is_same(a: &Resource, b: &Resource) -> bool {
    a.name() == b.name() && a.metadata() == b.metadata()
}

/// Whether something of an entry is missing: its amount, or one of its numbers or names.
pub(super) fn is_missing(missing: &[Resource], entry: &Resource) -> bool {
    let only = |entry: &Resource| {
        let mut bag = Resources::new();
        bag.insert(entry.clone()).expect("one entry fits");
        bag
    };
    let meets = |it: &Resource| it.is_scalar() || only(it).overlap(&only(entry)).is_some();
    missing.iter().any(|it| is_same(it, entry) && meets(it))
}

/// The numbers or names of an entry, reserved as each entry of that name is; nothing of a scalar.
fn as_others_have_it(free: &Resources, entry: &Resource) -> Vec<Resources> {
    let alike = free
        .iter()
        .filter(|it| it.name() == entry.name() && !it.is_scalar());
    let same = alike.filter_map(|it| it.clone().with_value(entry.value().clone()).ok());
    same.map(|it| {
        let mut bag = Resources::new();
        bag.insert(it).expect("one entry fits");
        bag
    })
    .collect()
}

/// Counts the scalars that `of` accepts.
pub(super) fn count(bag: &Resources, of: impl Fn(&Resource) -> bool) -> Amounts {
    let mut amounts = [0; 4];
    for entry in bag.iter().filter(|entry| of(entry)) {
        let at = NAMES.iter().position(|name| *name == entry.name());
        if let (Value::Scalar(amount), Some(at)) = (entry.value(), at) {
            amounts[at] += i128::from(amount.thousandths());
        }
    }
    amounts
}

pub(super) fn plus(a: Amounts, b: Amounts) -> Amounts {
    std::array::from_fn(|at| a[at] + b[at])
}

impl Plain {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            now: 0,
            agents: Vec::new(),
            frameworks: Vec::new(),
            offered: Vec::new(),
            used: BTreeMap::new(),
            again: Vec::new(),
            refused: Vec::new(),
            quotas: BTreeMap::new(),
            wishes: BTreeMap::new(),
            demands: BTreeMap::new(),
            whitelist: None,
            gpus: options.gpus,
            region: options.region.clone(),
            rule: options.demands,
            most_offered: options.most_offered.clone(),
            served: BTreeSet::new(),
            lease: options.lease.map(|it| it.as_micros() as u64),
            has_least: !options.min_allocatable.is_empty(),
            ids: BTreeSet::new(),
            joined: 0,
        }
    }

    pub(super) fn agent(&self, key: AgentKey) -> Option<&Agent> {
        self.agents.iter().find(|it| it.key == key)
    }

    pub(super) fn framework(&self, key: FrameworkKey) -> Option<&Framework> {
        self.frameworks.iter().find(|it| it.key == key)
    }

    /// All that is held, in offers or in use.
    pub(super) fn held(&self) -> impl Iterator<Item = (&Place, &Resources)> {
        let offered = self.offered.iter().map(|it| (&it.place, &it.rest));
        offered.chain(self.used.iter())
    }

    /// What nobody holds of an agent, and the entries of which more is held than there is: nothing
    /// is free of those. Whoever uses a shared volume keeps it from nobody, and whoever is offered
    /// it does.
    pub(super) fn left(&self, agent: &Agent) -> (Resources, Vec<Resource>) {
        let (mut free, mut missing) = (agent.total.clone(), Vec::new());
        let offered = self.offered.iter().map(|it| (&it.place, it.rest.clone()));
        let again = self.again.iter().map(|(place, bag)| (place, bag));
        let used = self.used.iter().chain(again);
        let used = used.map(|(place, bag)| (place, bag.filter(|entry| !entry.is_shared())));
        for (_, held) in offered.chain(used).filter(|it| it.0.2 == agent.key) {
            for entry in &held {
                let one = held.filter(|it| std::ptr::eq(it, entry));
                if free.subtract(&one).is_err() {
                    // A number is one number, for whomever it is reserved.
                    for theirs in as_others_have_it(&free, entry) {
                        free = free.without_shared(&theirs);
                    }
                    free = free.filter(|it| !(it.is_scalar() && is_same(it, entry)));
                    missing.push(entry.clone());
                }
            }
        }
        (free, missing)
    }

    /// Returns what is left of grants that are answered together, and makes them one.
    pub(super) fn one(&mut self, grants: &GrantIds) -> &mut Offered {
        let is_meant = |it: &Offered| it.ids.iter().any(|id| grants.contains(*id));
        let (meant, others) = self.offered.drain(..).partition(is_meant);
        self.offered = others;
        let one = Vec::into_iter(meant).reduce(|mut one, other| {
            one.join(other);
            one
        });
        self.offered.push(one.expect("something is left of them"));
        self.offered.last_mut().expect("it was just added")
    }

    pub(super) fn free(&self, agent: &Agent) -> Resources {
        self.left(agent).0
    }

    /// What all hold together, where who holds several copies of a shared volume counts it once.
    pub(super) fn booked(&self) -> Amounts {
        let used = self.used.values().map(|bag| count(bag, |_| true));
        let offered = self.offered.iter().map(|it| {
            let used = self.used.get(&it.place);
            let has = |entry: &Resource| {
                let volumes = used.into_iter().flatten().filter(|used| used.is_shared());
                volumes
                    .map(Resource::metadata)
                    .any(|it| it == entry.metadata())
            };
            count(&it.rest, |entry| !(entry.is_shared() && has(entry)))
        });
        used.chain(offered).fold([0; 4], plus)
    }

    /// What a role and all below it consume: what is reserved to them, and what they hold of what
    /// is not (AL-23).
    pub(super) fn consumed(&self, role: &Role) -> Amounts {
        let is_theirs = |entry: &Resource| {
            let of = entry.reservation_role();
            of.is_some_and(|of| is_within(of, role))
        };
        let reserved = self.agents.iter().map(|it| count(&it.total, is_theirs));
        let held = self.held().filter(|(place, _)| is_within(&place.1, role));
        let held = held.map(|(_, bag)| count(bag, is_open));
        reserved.chain(held).fold([0; 4], plus)
    }

    fn guarantee(&self, role: &Role) -> Amounts {
        let quota = self.quotas.get(role);
        NAMES.map(|name| {
            let amount = quota.map(|quota| quota.guarantees.amount(name));
            amount.map_or(0, |amount| i128::from(amount.thousandths()))
        })
    }

    pub(super) fn limit(&self, role: &Role) -> [Option<i128>; 4] {
        let quota = self.quotas.get(role);
        NAMES.map(|name| {
            let bound = quota.and_then(|quota| quota.limits.bound(name));
            bound.map(|bound| i128::from(bound.thousandths()))
        })
    }

    /// What a role lacks, or what those below it do together, whatever its limit is.
    fn missing_to(&self, role: &Role, less: &(Role, Amounts)) -> Amounts {
        let mut consumed = self.consumed(role);
        if is_within(&less.0, role) {
            consumed = plus(consumed, less.1);
        }
        let below = self.required_below(Some(role), less);
        let guarantee = self.guarantee(role);
        std::array::from_fn(|at| (guarantee[at] - consumed[at]).max(below[at]).max(0))
    }

    /// What must be kept free for a role: what it lacks, as far as its limit leaves room for that.
    /// What lessens the one lessens the other, until nothing is left.
    fn required_by(&self, role: &Role, less: &(Role, Amounts)) -> Amounts {
        let (consumed, limit) = (self.consumed(role), self.limit(role));
        let all = self.missing_to(role, &(role.clone(), [0; 4]));
        let rest = self.missing_to(role, less);
        std::array::from_fn(|at| {
            let room = limit[at].map_or(i128::MAX, |limit| (limit - consumed[at]).max(0));
            (all[at].min(room) - (all[at] - rest[at])).max(0)
        })
    }

    /// The sum of what the nearest roles with quota below one require; with `less`, as if that
    /// role had so much more.
    fn required_below(&self, above: Option<&Role>, less: &(Role, Amounts)) -> Amounts {
        let is_below = |role: &Role| above.is_none_or(|it| role != it && is_within(role, it));
        let below: Vec<&Role> = self.quotas.keys().filter(|it| is_below(it)).collect();
        let nearest = below.iter().filter(|role| {
            let mut others = below.iter();
            !others.any(|other| other != *role && is_within(role, other))
        });
        nearest
            .map(|role| self.required_by(role, less))
            .fold([0; 4], plus)
    }

    /// What must be kept free in all (AL-24), if a role had so much more.
    pub(super) fn required(&self, role: &Role, more: Amounts) -> Amounts {
        self.required_below(None, &(role.clone(), more))
    }

    /// What is free, unreserved and not revocable, on agents that may be offered (AL-25).
    pub(super) fn available(&self) -> Amounts {
        let agents = self.agents.iter().filter(|agent| self.is_offerable(agent));
        let free = agents.map(|agent| self.free(agent));
        free.map(|free| count(&free, is_open)).fold([0; 4], plus)
    }

    fn is_offerable(&self, agent: &Agent) -> bool {
        let listed = self.whitelist.as_ref();
        agent.active && listed.is_none_or(|it| it.contains(&agent.traits.hostname))
    }

    /// The most of each that a role may have beside what it has.
    pub(super) fn bounds(&self, role: &Role) -> Amounts {
        let mut bounds = [i128::MAX; 4];
        if self.quotas.is_empty() {
            return bounds;
        }
        for above in self.quotas.keys().filter(|it| is_within(role, it)) {
            let consumed = self.consumed(above);
            for (at, limit) in self.limit(above).into_iter().enumerate() {
                if let Some(limit) = limit {
                    bounds[at] = bounds[at].min((limit - consumed[at]).max(0));
                }
            }
        }
        let spared = self.spared(role);
        std::array::from_fn(|at| bounds[at].min(spared[at]))
    }

    /// The most of each that a role may have lest less be free than others are promised.
    pub(super) fn spared(&self, role: &Role) -> Amounts {
        let (required, available) = (self.required(role, [0; 4]), self.available());
        let enough = [i128::MAX / 4; 4];
        let still = self.required(role, enough);
        std::array::from_fn(|at| {
            let covered = required[at] - still[at];
            let surplus = (available[at] - required[at]).max(0);
            match required[at] {
                0 => i128::MAX,
                _ => covered + surplus,
            }
        })
    }

    pub(super) fn is_refused(&self, place: &Place, offer: &Resources) -> bool {
        let mut refused = self.refused.iter();
        refused.any(|it| it.place == *place && it.resources.contains(offer))
    }

    /// Whether agent and framework can be brought together at all.
    pub(super) fn may_meet(&self, place: &Place) -> bool {
        let (Some(agent), Some(framework)) = (self.agent(place.2), self.framework(place.0)) else {
            return false;
        };
        let region = (&self.region, &agent.traits.region);
        let elsewhere = matches!(region, (Some(ours), Some(theirs)) if ours != theirs);
        self.is_offerable(agent)
            && (framework.capabilities.region_aware || !elsewhere)
            && (agent.traits.capabilities.multi_role || !framework.capabilities.multi_role)
            && framework.active
            && framework.roles.contains(&(place.1.clone(), true))
            && (self.gpus == GpuRule::Everyone
                || framework.capabilities.gpus
                || agent.total.scalar("gpus").is_zero())
            && (agent.traits.capabilities.hierarchical_role || !place.1.as_str().contains('/'))
    }

    /// Whether a framework can cope with a resource, and its role may have it (AL-32, RM-23).
    pub(super) fn suits(&self, place: &Place, entry: &Resource) -> bool {
        let framework = self.framework(place.0).expect("it is there");
        let of = entry.reservation_role();
        of.is_none_or(|of| is_within(&place.1, of))
            && (framework.capabilities.revocable || !entry.is_revocable())
            && (framework.capabilities.shared || !entry.is_shared())
            && (framework.capabilities.reservation_refinement || !entry.has_refined_reservations())
    }

    /// Whether an offer is worth making: by what the role's own wish says, or by the options.
    pub(super) fn is_worth(&self, place: &Place, offer: &Resources) -> bool {
        let wish = self.wishes.get(&(place.0, place.1.clone()));
        if let Some(own) = wish.and_then(|it| it.min_allocatable.as_ref()) {
            let amount = |entry: &Resource| match entry.value() {
                Value::Scalar(amount) => i128::from(amount.thousandths()),
                Value::Ranges(ranges) => 1_000 * ranges.count() as i128,
                Value::Items(items) => 1_000 * items.len() as i128,
            };
            let has = |set: &Quantities| {
                let mut all = set.iter();
                all.all(|(name, least)| {
                    let named = offer.iter().filter(|entry| entry.name() == name);
                    named.map(amount).sum::<i128>() >= i128::from(least.thousandths())
                })
            };
            return !offer.is_empty() && (own.is_empty() || own.iter().any(has));
        }
        let least = |name, least| offer.scalar(name).thousandths() >= least;
        !offer.is_empty() && (!self.has_least || least("cpus", 10) || least("mem", 32_000))
    }
}
