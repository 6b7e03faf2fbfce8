//! What the model does not decide all of: policies, demands, constraints, what roles find worth an
//! offer, regions, and names that few agents have.

use std::collections::BTreeSet;
use std::time::Duration;

use tepui_core::allocator::drf::{DemandRule, Options, Packing};
use tepui_core::allocator::{
    AgentCapabilities, AgentTraits, Change, FrameworkCapabilities, FrameworkProfile, Subscription,
    SubscriptionState,
};
use tepui_core::attributes::Attributes;
use tepui_core::constraints::{
    Comparison, Constraint, Constraints, Pattern, Predicate, Selector, Subject,
};
use tepui_core::demand::{Demand, Shape};
use tepui_core::keys::{AgentKey, FrameworkKey};
use tepui_core::quota::Quota;
use tepui_core::resources::{Ceilings, Milli, Quantities, Resource, Resources, Value};
use tepui_core::roles::Role;

use super::Pair;
use super::bytes::Bytes;
use super::plain::{NAMES, Place, Plain};
use super::steps::{AGENTS, ROLES, bag, hostname, role};

/// How many kinds of steps there are here.
pub(super) const KINDS: u8 = 8;

const TOTALS: [&str; 6] = [
    "cpus:8;mem:200;disk:40",
    "cpus:5;fpga:3;names:{x};ports:[20-30]",
    "cpus:2;mem:64;disk(eng):10;ports:[1-9]",
    r#"cpus:4;gpus:2;disk(*)<mount="/m">:50;fpga:1"#,
    "mem:200;fpga(ops):2;cpus(eng):4;ports(eng):[1-5]",
    // More names than are counted.
    "cpus:1;a:1;b:1;c:1;d:1;e:1;f:1;g:1;h:1;i:1;j:1;k:1;l:1;m:1",
];
const ATTRIBUTES: [&str; 4] = ["", "rack:a", "rack:b;age:3", "rack:a;age:7"];
const AMOUNTS: [&str; 6] = ["cpus", "mem", "disk", "gpus", "ports", "fpga"];
const THRESHOLDS: [&[&str]; 5] = [
    &[],
    &["cpus:1"],
    &["cpus:2;mem:32", "disk:20"],
    &["gpus:1"],
    &["fpga:1", "mem:100"],
];
const GUARANTEES: [&str; 4] = ["", "fpga:2", "ports:3", "m:1;cpus:1"];
const LIMITS: [&str; 4] = ["", "fpga:1", "ports:2", "m:0;names:1"];
const SHAPES: [&str; 8] = [
    "cpus:1",
    "cpus:0.5;mem:20",
    "mem:64",
    "cpus:1;ports:2",
    "names:1;cpus:1",
    "fpga:1",
    "disk:10",
    "cpus:1;disk:5",
];

fn quantities(text: &str) -> Quantities {
    Quantities::parse(text).expect("written by hand")
}

/// Chooses policies, and what else the model does not decide.
pub(super) fn choose(options: &mut Options, bytes: &mut Bytes<'_>) {
    let bits = bytes.below(64);
    let set = |bit: u8| bits >> bit & 1 == 1;
    if set(0) {
        options.demands = DemandRule::Honoured;
    }
    if set(1) {
        options.most_offered = Some(quantities("cpus:5;mem:300"));
    }
    if set(2) {
        let packing = [Packing::Spread, Packing::BestFit, Packing::Random];
        let roles = ROLES.iter().map(|it| role(it));
        options.packing = roles.zip(packing.into_iter().cycle()).collect();
    }
    if set(3) {
        options.region = Some("here".into());
    }
    if set(4) {
        options.excluded = vec!["mem".into()];
    }
    if set(5) {
        options.counted = vec!["fpga".into()];
    }
}

impl Pair {
    pub(super) fn wide_step(&mut self, kind: u8, bytes: &mut Bytes<'_>) {
        match kind {
            0 | 1 => self.odd_agent(bytes),
            2 | 3 => self.choosy_framework(bytes),
            4 | 5 => self.demand(bytes),
            6 => self.odd_quota(bytes),
            _ => {
                let millis = [0, 1_000, 3_000, 6_000];
                let wait = Duration::from_millis(bytes.one_of(&millis));
                self.pass_to(self.now + wait);
            }
        }
    }

    /// Adds an agent of some rare kind, or has one become so.
    fn odd_agent(&mut self, bytes: &mut Bytes<'_>) {
        let slot = u32::try_from(bytes.below(AGENTS as usize)).expect("few");
        let total = bag(bytes.one_of(&TOTALS));
        let bits = bytes.below(64);
        let traits = AgentTraits {
            hostname: hostname(slot),
            attributes: Attributes::parse(bytes.one_of(&ATTRIBUTES)).expect("written by hand"),
            region: [None, Some("here"), Some("there")][bits % 3].map(String::from),
            zone: (bits & 8 == 0).then(|| "z".into()),
            capabilities: AgentCapabilities {
                multi_role: bits & 16 == 0,
                hierarchical_role: bits & 32 == 0,
            },
        };
        let here = self.plain.agents.iter().map(|it| it.key);
        match here.clone().find(|key| key.index() == slot) {
            Some(agent) => self.replace(agent, total, traits),
            None => self.join(AgentKey::from_raw(slot, self.plain.joined), total, traits),
        }
    }

    /// Has a framework join, or change, that does not want just anything.
    fn choosy_framework(&mut self, bytes: &mut Bytes<'_>) {
        let slot = u32::try_from(bytes.below(4)).expect("few");
        let (mask, bits) = (bytes.below(64), bytes.below(64));
        let named = ROLES.iter().enumerate();
        let named = named.filter(|(at, _)| mask >> at & 1 == 1);
        let roles: Vec<_> = named.map(|(_, name)| subscription(name, bytes)).collect();
        let capabilities = FrameworkCapabilities {
            multi_role: roles.len() > 1,
            revocable: bits & 1 == 0,
            shared: bits & 2 == 0,
            reservation_refinement: bits & 4 == 0,
            gpus: bits & 8 == 0,
            region_aware: bits & 16 == 0,
        };
        let profile = FrameworkProfile {
            name: format!("f{}", bits % 3),
            roles,
            capabilities,
        };
        self.subscribe(FrameworkKey::from_raw(slot, 0), profile);
    }

    fn demand(&mut self, bytes: &mut Bytes<'_>) {
        let framework = self.a_framework(bytes);
        let roles = framework.and_then(|key| self.plain.framework(key));
        let role = roles.and_then(|it| bytes.pick(&it.roles).map(|own| own.0.clone()));
        let shapes = (0..bytes.below(3)).map(|_| {
            let each = quantities(bytes.one_of(&SHAPES));
            let count = u32::try_from(bytes.below(5)).expect("few");
            Shape::new(each, count).expect("it is something, and of whole devices")
        });
        let mut demand = Demand::new(shapes.collect()).expect("few shapes");
        if bytes.below(3) == 0 {
            let at_once = demand.with_at_once(quantities("cpus:2"));
            demand = at_once.expect("names are fine");
        }
        let demand = (bytes.below(5) > 0).then_some(demand);
        let (Some(framework), Some(role)) = (framework, role) else {
            return;
        };
        self.tell(Change::Demanded {
            framework,
            role: role.clone(),
            demand: demand.clone(),
        });
        let of = (framework, role);
        self.plain.served.remove(&of);
        match demand {
            Some(demand) => drop(self.plain.demands.insert(of, demand)),
            None => drop(self.plain.demands.remove(&of)),
        }
        self.look();
    }

    /// Sets quota on what few agents have, or what is no scalar.
    fn odd_quota(&mut self, bytes: &mut Bytes<'_>) {
        let role = role(bytes.one_of(&ROLES));
        let quota = Quota {
            guarantees: quantities(bytes.one_of(&GUARANTEES)),
            limits: Ceilings::parse(bytes.one_of(&LIMITS)).expect("written by hand"),
        };
        self.set_quota(role, quota);
    }
}

fn subscription(of: &str, bytes: &mut Bytes<'_>) -> Subscription {
    let bits = bytes.below(16);
    let state = match bits & 3 {
        3 => SubscriptionState::Suppressed,
        _ => SubscriptionState::Wanted,
    };
    let constraints = (bits & 4 == 0).then(|| {
        let groups = (0..=bytes.below(2)).map(|_| vec![constraint(bytes)]);
        Constraints::new(groups.collect()).expect("few, and each can be decided")
    });
    let min_allocatable = (bits & 8 == 0).then(|| {
        let sets = bytes.one_of(&THRESHOLDS);
        sets.iter().map(|set| quantities(set)).collect()
    });
    Subscription {
        role: role(of),
        state,
        constraints,
        min_allocatable,
    }
}

fn constraint(bytes: &mut Bytes<'_>) -> Constraint {
    let kind = bytes.below(10);
    let name = bytes.one_of(&AMOUNTS);
    let of_text = |bytes: &mut Bytes<'_>| match bytes.below(3) {
        0 => Predicate::TextEquals("a".into()),
        1 => Predicate::TextNotEquals("h1".into()),
        _ => Predicate::TextMatches(Pattern::new("(a|h[0-3]|here|z)").expect("well-formed")),
    };
    let of_number = |bytes: &mut Bytes<'_>| {
        let all = [
            Comparison::Below,
            Comparison::AtMost,
            Comparison::Equal,
            Comparison::Unequal,
            Comparison::AtLeast,
            Comparison::Above,
        ];
        let than = Milli::from_thousandths(bytes.one_of(&[0, 1_000, 2_000, 4_000, 30_000]));
        Predicate::Number(bytes.one_of(&all), than)
    };
    let of_presence = |bytes: &mut Bytes<'_>| match bytes.below(2) {
        0 => Predicate::Exists,
        _ => Predicate::NotExists,
    };
    let (selector, predicate) = match kind {
        0 => (Selector::Attribute("rack".into()), of_text(bytes)),
        1 => (Selector::Attribute("age".into()), of_number(bytes)),
        2 => (Selector::Hostname, of_text(bytes)),
        3 => (Selector::Region, of_presence(bytes)),
        4 => (Selector::Zone, of_text(bytes)),
        5 => (Selector::Total(name.into()), of_number(bytes)),
        6 => (Selector::Total(name.into()), of_presence(bytes)),
        7 => (Selector::Offered(name.into()), of_presence(bytes)),
        _ => (Selector::Offered(name.into()), of_number(bytes)),
    };
    Constraint {
        selector,
        predicate,
    }
}

impl Plain {
    /// Whether there is quota on names that the model does not count.
    pub(super) fn has_odd_quota(&self) -> bool {
        self.quotas.values().any(|quota| {
            let names = quota.guarantees.iter().chain(quota.limits.iter());
            names.map(|it| it.0).any(|name| !NAMES.contains(&name))
        })
    }

    /// Whether it is known of everything whether it would have to be offered to somebody.
    pub(super) fn decides(&self, place: &Place) -> bool {
        !self.has_odd_quota() && self.most_offered.is_none() && self.demand(place).is_none()
    }

    /// What of an offer within quota is wanted, and may be held: nothing if no shape fits, or a cap
    /// is reached. Neither is known if a cap would cut it, or if there are several ways to serve
    /// what is demanded.
    pub(super) fn wanted(&self, place: &Place, offer: Resources) -> Option<Resources> {
        let Some(demand) = self.demand(place) else {
            return self.is_within_caps(place, None, &offer).then_some(offer);
        };
        let is_known = self.is_within_caps(place, demand.at_once(), &offer)
            && !self.served.contains(&(place.0, place.1.clone()));
        let mut shapes = demand.shapes().iter().filter(|it| it.count() > 0);
        let shape = shapes
            .next()
            .filter(|_| is_known && shapes.next().is_none())?;
        let mut times = i64::from(shape.count());
        let mut parts = Vec::new();
        for (name, each) in shape.each().iter() {
            let mut named = offer.iter().filter(|entry| entry.name() == name);
            let entry = named.next().filter(|_| named.next().is_none())?;
            let Value::Scalar(amount) = entry.value() else {
                return None;
            };
            if is_whole(entry) || name == "gpus" {
                return None;
            }
            times = times.min(amount.thousandths() / each.thousandths());
            parts.push((entry, each.thousandths()));
        }
        let mut wanted = Resources::new();
        for (entry, each) in parts.into_iter().filter(|_| times > 0) {
            let value = Value::Scalar(Milli::from_thousandths(times * each));
            let part = entry.clone().with_value(value).expect("it can be divided");
            wanted.insert(part).expect("a part of a bag fits");
        }
        (times > 0).then_some(wanted)
    }

    /// Whether an offer fits below all caps, of which none is reached.
    pub(super) fn is_within_caps(
        &self,
        place: &Place,
        at_once: Option<&Quantities>,
        offer: &Resources,
    ) -> bool {
        let of_framework = |of: &Place| of.0 == place.0;
        let of_role = |of: &Place| (of.0, &of.1) == (place.0, &place.1);
        let most = self.most_offered.iter().flat_map(Quantities::iter);
        let most = most.map(|cap| (cap, self.in_offers(cap.0, of_framework)));
        let at_once = at_once.into_iter().flat_map(Quantities::iter);
        let at_once = at_once.map(|cap| (cap, self.in_offers(cap.0, of_role)));
        most.chain(at_once).all(|((name, cap), held)| {
            let rest = i128::from(cap.thousandths()) - held;
            rest > 0 && amount_of(offer, name, |_| true) <= rest
        })
    }

    /// Thousandths of a name that some hold in offers.
    fn in_offers(&self, name: &str, whose: impl Fn(&Place) -> bool) -> i128 {
        let held = self.offered.iter().filter(|it| whose(&it.place));
        held.map(|it| amount_of(&it.rest, name, |_| true)).sum()
    }

    /// Whether it is known that something of a bag serves one of the shapes that are demanded.
    pub(super) fn is_served(&self, place: &Place, demand: &Demand, bag: &Resources) -> bool {
        let has = |name: &str, each: Milli| {
            let mut named = bag.iter().filter(|entry| entry.name() == name);
            let entry = named.next().filter(|_| named.next().is_none());
            let entry = entry.filter(|it| !is_whole(it) && name != "gpus");
            entry.is_some_and(|it| matches!(it.value(), Value::Scalar(amount) if *amount >= each))
        };
        let fits = |shape: &Shape| shape.each().iter().all(|(name, each)| has(name, each));
        let mut shapes = demand.shapes().iter().filter(|it| it.count() > 0);
        !self.served.contains(&(place.0, place.1.clone())) && shapes.any(fits)
    }

    pub(super) fn demand(&self, place: &Place) -> Option<&Demand> {
        match self.rule {
            DemandRule::Honoured => self.demands.get(&(place.0, place.1.clone())),
            DemandRule::Ignored => None,
        }
    }

    /// Whether constraints let an agent pass with an offer.
    pub(super) fn is_admitted(&self, place: &Place, offer: &Resources) -> bool {
        let wish = self.wishes.get(&(place.0, place.1.clone()));
        let constraints = wish.and_then(|it| it.constraints.as_ref());
        let agent = self.agent(place.2).expect("it is there");
        constraints.is_none_or(|it| {
            it.admits(&Subject {
                hostname: &agent.traits.hostname,
                attributes: &agent.traits.attributes,
                region: agent.traits.region.as_deref(),
                zone: agent.traits.zone.as_deref(),
                total: &agent.total,
                offered: offer,
            })
        })
    }

    /// Checks that an offer keeps to what was demanded, and within what may be offered at once.
    pub(super) fn check_caps(&self, place: &Place, offer: &Resources) {
        if let Some(most) = &self.most_offered {
            self.check_cap(most, offer, |of| of.0 == place.0);
        }
        let Some(demand) = self.demand(place) else {
            return;
        };
        if let Some(most) = demand.at_once() {
            self.check_cap(most, offer, |of| (of.0, &of.1) == (place.0, &place.1));
        }
        for name in names(offer) {
            let shapes = demand.shapes().iter();
            let shapes = shapes.filter(|it| it.each().amount(name) > Milli::ZERO);
            let wanted = shapes.clone().map(|it| {
                let each = i128::from(it.each().amount(name).thousandths());
                each * i128::from(it.count())
            });
            let wanted: i128 = wanted.sum();
            let amount = amount_of(offer, name, |entry| !is_whole(entry));
            assert!(amount <= wanted, "{amount} of {name} demanded of {wanted}");
            // What cannot be divided may be more than is demanded, but it is one for each.
            let wholes = offer.iter().filter(|it| it.name() == name && is_whole(it));
            let most: u64 = shapes.map(|it| u64::from(it.count())).sum();
            assert!(wholes.count() as u64 <= most, "more {name} than {most}");
        }
    }

    /// Checks that what is offered to some does not rise above a cap.
    fn check_cap(&self, most: &Quantities, offer: &Resources, whose: impl Fn(&Place) -> bool) {
        for (name, cap) in most.iter() {
            let before = self.in_offers(name, &whose);
            let more = amount_of(offer, name, |_| true);
            let cap = i128::from(cap.thousandths());
            assert!(more == 0 || before + more <= cap, "{name} above its cap");
        }
    }
}

/// The names of what is in a bag.
fn names(bag: &Resources) -> BTreeSet<&str> {
    bag.iter().map(Resource::name).collect()
}

/// Thousandths of a name, whosever it is; what is shared counts for each of its copies.
fn amount_of(bag: &Resources, name: &str, of: impl Fn(&Resource) -> bool) -> i128 {
    let entries = bag.iter().filter(|it| it.name() == name && of(it));
    let amounts =
        entries.map(|it| i128::from(it.value().quantity().thousandths()) * i128::from(it.copies()));
    amounts.sum()
}

fn is_whole(entry: &Resource) -> bool {
    entry.is_exclusive() || entry.is_shared()
}

/// What somebody turns into something else, in a role.
pub(super) fn conversion(of: &Role, bytes: &mut Bytes<'_>) -> (Resources, Resources) {
    const ALL: [(&str, &str); 8] = [
        ("cpus:1", "cpus({}):1"),
        ("cpus({}):1", "cpus:1"),
        ("mem:16", "mem({}):16"),
        ("disk:5", "disk({}):5"),
        ("disk({}):5", r#"disk({})<volume="c",rw="d">:5"#),
        (r#"disk(eng)<volume="s",rw="d",shared>:6"#, "disk(eng):6"),
        ("gpus:1", ""),
        ("disk:10", "disk:30"),
    ];
    let (before, after) = bytes.one_of(&ALL);
    let of = match of.is_any() {
        true => "ops",
        false => of.as_str(),
    };
    let named = |text: &str| bag(&text.replace("{}", of));
    (named(before), named(after))
}
