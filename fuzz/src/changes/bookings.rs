//! What can happen to what is offered and in use.

use std::time::Duration;

use tepui_core::allocator::{Change, GrantIds, RescindReason};
use tepui_core::keys::AgentKey;
use tepui_core::resources::{Milli, Resources, Value};
use tepui_core::roles::Role;

use super::bytes::Bytes;
use super::plain::{Place, Refused};
use super::steps::{KINDS, ROLES, bag, role};
use super::{Pair, wide};

const INTERVAL: u64 = 1_000_000;

/// Grants that are answered together.
struct Answered {
    place: Place,
    grants: GrantIds,
    rest: Resources,
}

/// All, or half of the scalars and some of what cannot be halved.
fn part(of: &Resources, bytes: &mut Bytes<'_>) -> Resources {
    let mut part = Resources::new();
    if bytes.below(2) == 0 {
        return of.clone();
    }
    for entry in of {
        let halved = match entry.value() {
            Value::Scalar(amount) if !(entry.is_exclusive() || entry.is_shared()) => {
                let half = Milli::from_thousandths(amount.thousandths() / 2);
                entry.clone().with_value(Value::Scalar(half)).ok()
            }
            Value::Scalar(_) | Value::Ranges(_) | Value::Items(_) => {
                (bytes.below(2) == 0).then(|| entry.clone())
            }
        };
        if let Some(halved) = halved {
            part.insert(halved).expect("a part of a bag fits");
        }
    }
    if part.is_empty() { of.clone() } else { part }
}

impl Pair {
    pub(super) fn used(&mut self, bytes: &mut Bytes<'_>) {
        // Also in a role that is not its own.
        let (framework, agent) = (self.a_framework(bytes), self.an_agent(bytes));
        let role = role(bytes.one_of(&ROLES));
        let resources = bag(bytes.one_of(&["cpus:1;mem:10", "cpus:0.5", "ports:[3-4]"]));
        let (Some(framework), Some(agent)) = (framework, agent) else {
            return;
        };
        self.tell(Change::Used {
            framework,
            role: role.clone(),
            agent,
            resources: resources.clone(),
        });
        let place = (framework, role, agent);
        self.use_up(&place, &resources);
        self.look();
        self.check_overbooked(agent);
    }

    fn use_up(&mut self, place: &Place, more: &Resources) {
        let used = self.plain.used.entry(place.clone()).or_default();
        let once = more.without_shared(used);
        used.add(&once).expect("few are used");
        let again = more.checked_sub(&once).expect("the rest is a part");
        if !again.is_empty() {
            self.plain.again.push((place.clone(), again));
        }
    }

    /// Picks grants that are not used up: often several of one framework on one agent.
    fn offered(&mut self, bytes: &mut Bytes<'_>) -> Option<Answered> {
        let first = bytes.pick(&self.plain.offered)?;
        let (place, mut rest) = (first.place.clone(), first.rest.clone());
        let mut ids = first.ids.clone();
        for other in &self.plain.offered {
            let is_other = other.place == place && other.ids != first.ids;
            if is_other && bytes.below(2) == 0 && rest.add(&other.rest).is_ok() {
                ids.extend(&other.ids);
            }
        }
        let grants = GrantIds::collect(ids)?;
        Some(Answered {
            place,
            grants,
            rest,
        })
    }

    pub(super) fn accept(&mut self, bytes: &mut Bytes<'_>) {
        let Some(Answered {
            place,
            grants,
            rest,
        }) = self.offered(bytes)
        else {
            return;
        };
        let resources = part(&rest, bytes);
        self.tell(Change::Accepted {
            framework: place.0,
            role: place.1.clone(),
            agent: place.2,
            grants: grants.clone(),
            resources: resources.clone(),
        });
        let offered = self.plain.one(&grants);
        offered.touched = true;
        offered.rest.subtract(&resources).expect("a part of it");
        self.use_up(&place, &resources);
        self.plain.offered.retain(|it| !it.rest.is_empty());
        self.look();
    }

    pub(super) fn give_back(&mut self, bytes: &mut Bytes<'_>) {
        let Some(Answered {
            place,
            grants,
            rest,
        }) = self.offered(bytes)
        else {
            return;
        };
        let refuse = bytes.one_of(&[None, Some(0), Some(400), Some(2_500)]);
        let resources = part(&rest, bytes);
        self.returns(&place, &grants, &resources, refuse);
    }

    /// Gives back a part of what is left of grants, or all.
    fn returns(&mut self, place: &Place, grants: &GrantIds, bag: &Resources, refuse: Option<u64>) {
        let refuse = refuse.map(Duration::from_millis);
        self.tell(Change::Returned {
            framework: place.0,
            role: place.1.clone(),
            agent: place.2,
            grants: grants.clone(),
            resources: bag.clone(),
            refuse,
        });
        let offered = self.plain.one(grants);
        let is_unwanted = match offered.rescinded {
            Some(reason) => reason == RescindReason::Expired,
            None => !offered.touched,
        };
        offered.rest.subtract(bag).expect("a part of it");
        self.plain.offered.retain(|it| !it.rest.is_empty());
        let refuse = refuse.unwrap_or_default().as_micros() as u64;
        let until = if refuse > 0 {
            (self.plain.now + refuse.max(INTERVAL)) / INTERVAL * INTERVAL + INTERVAL
        } else if is_unwanted {
            self.plain.now + INTERVAL
        } else {
            0
        };
        let framework = self.plain.framework(place.0);
        let hears =
            framework.is_some_and(|it| it.active && it.roles.iter().any(|own| own.0 == place.1));
        if until > 0 && hears {
            self.plain.refused.push(Refused {
                place: place.clone(),
                resources: bag.clone(),
                until,
            });
        }
        self.look();
    }

    /// Gives back whatever was asked back, as a master does.
    pub(super) fn answer_all_asked_back(&mut self) {
        self.finish_pass();
        let asked = |pair: &Self| {
            let mut all = pair.plain.offered.iter();
            let asked = all.find(|it| it.rescinded.is_some())?;
            let grants = GrantIds::collect(asked.ids.clone())?;
            Some((asked.place.clone(), grants, asked.rest.clone()))
        };
        while let Some((place, grants, resources)) = asked(self) {
            self.returns(&place, &grants, &resources, None);
        }
    }

    /// Something in use ends.
    pub(super) fn end(&mut self, bytes: &mut Bytes<'_>) {
        let places: Vec<Place> = self.plain.used.keys().cloned().collect();
        let Some(place) = bytes.pick(&places).cloned() else {
            return;
        };
        let resources = part(&self.plain.used[&place], bytes);
        self.tell(Change::Freed {
            framework: place.0,
            role: place.1.clone(),
            agent: place.2,
            resources: resources.clone(),
        });
        let used = self.plain.used.get_mut(&place).expect("it is in use");
        used.subtract(&resources).expect("a part of it");
        // What is in use twice is so once more.
        let mut ended = resources;
        for (_, again) in self.plain.again.iter_mut().filter(|it| it.0 == place) {
            let rest = ended.without_shared(again);
            let still = ended.checked_sub(&rest).expect("the rest is a part");
            again.subtract(&still).expect("they are in both");
            used.add(&still).expect("as much was used before");
            ended = rest;
        }
        self.plain.again.retain(|(_, bag)| !bag.is_empty());
        self.plain.used.retain(|_, bag| !bag.is_empty());
        self.look();
    }

    /// A framework reserves something of an offer for its role.
    pub(super) fn convert(&mut self, bytes: &mut Bytes<'_>) {
        let Some(Answered {
            place,
            grants,
            rest,
        }) = self.offered(bytes)
        else {
            return;
        };
        let (before, after) = self.conversion(&place.1, bytes);
        let row = self.plain.agent(place.2).expect("an offer is of an agent");
        let has = may_turn(&row.total, &before, &after) && may_turn(&rest, &before, &after);
        if place.1.as_str() == "*" || !has {
            return;
        }
        self.tell(Change::Converted {
            framework: place.0,
            role: place.1.clone(),
            agent: place.2,
            grants: grants.clone(),
            before: before.clone(),
            after: after.clone(),
        });
        let offered = self.plain.one(&grants);
        offered.rest.subtract(&before).expect("it was contained");
        offered.rest.add(&after).expect("it was as much before");
        self.change_total(place.2, &before, &after);
        self.look();
    }

    /// An operator reserves what nobody holds, or what is offered; then that is asked back.
    pub(super) fn convert_free(&mut self, bytes: &mut Bytes<'_>) {
        let (agent, role) = (self.an_agent(bytes), role(bytes.one_of(&ROLES[1..])));
        let Some(agent) = agent else {
            return;
        };
        let (before, after) = self.conversion(&role, bytes);
        let row = self.plain.agent(agent).expect("it was picked from them");
        if !may_turn(&row.total, &before, &after) {
            return;
        }
        self.tell(Change::FreeConverted {
            agent,
            before: before.clone(),
            after: after.clone(),
        });
        self.change_total(agent, &before, &after);
        self.look();
        self.check_overbooked(agent);
    }

    fn conversion(&self, role: &Role, bytes: &mut Bytes<'_>) -> (Resources, Resources) {
        if self.kinds == KINDS {
            (bag("cpus:1"), bag(&format!("cpus({role}):1")))
        } else {
            wide::conversion(role, bytes)
        }
    }

    fn change_total(&mut self, agent: AgentKey, before: &Resources, after: &Resources) {
        let row = self.plain.agents.iter_mut().find(|it| it.key == agent);
        let total = &mut row.expect("it is there").total;
        total.subtract(before).expect("it has them");
        total.add(after).expect("it was as much before");
    }
}

/// Whether something else can stand in the place of a part of a bag.
fn may_turn(of: &Resources, before: &Resources, after: &Resources) -> bool {
    let rest = of.checked_sub(before);
    rest.is_ok_and(|mut rest| rest.overlap(after).is_none() && rest.add(after).is_ok())
}
