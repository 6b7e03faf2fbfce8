//! What the model makes of each decision, and of an allocator that has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tepui_core::allocator::{Allocator, Decision, Grant, GrantId, RescindReason};
use tepui_core::machine::Output;
use tepui_core::resources::{Milli, Resources, Value};
use tepui_core::roles::Role;

use super::Pair;
use super::plain::{Amounts, NAMES, Offered, Place, Plain, count, is_open, plus};

/// How long nothing happens before all is at rest: as long as a lease.
const WAIT: Duration = Duration::from_secs(3);

impl Plain {
    /// Takes in a grant, if it may be made.
    pub(super) fn granted(&mut self, grant: Grant) {
        assert!(self.ids.insert(grant.id), "{grant:?} has another's number");
        let place = (grant.framework, grant.role.clone(), grant.agent);
        assert!(self.may_meet(&place), "{grant:?} to somebody who may not");
        // I1, I2, I4: nobody holds it, not even in an offer that was asked back.
        let free = self.agent(grant.agent).map(|it| self.free(it));
        let free = free.expect("nothing is granted of an agent that is gone");
        assert!(free.contains(&grant.resources), "{grant:?} of {free}");
        // I5
        for entry in &grant.resources {
            assert!(self.suits(&place, entry), "{entry} in {grant:?}");
        }
        assert!(
            self.is_worth(&place, &grant.resources),
            "{grant:?} is too small"
        );
        assert!(
            !self.is_refused(&place, &grant.resources),
            "{grant:?} was refused"
        );
        // I6, I7
        let (amounts, bounds) = (count(&grant.resources, is_open), self.bounds(&grant.role));
        for at in 0..NAMES.len() {
            assert!(amounts[at] <= bounds[at], "{grant:?} within {bounds:?}");
        }
        assert!(
            self.is_admitted(&place, &grant.resources),
            "{grant:?} in spite of constraints"
        );
        self.check_caps(&place, &grant.resources);
        self.served.insert((grant.framework, grant.role));
        self.offered.push(Offered {
            ids: vec![grant.id],
            asked: BTreeSet::new(),
            place,
            since: self.now,
            rest: grant.resources,
            touched: false,
            rescinded: None,
        });
    }

    /// Takes in that a grant is asked back, once and as long as something is left of it.
    pub(super) fn asked_back(&mut self, id: GrantId, reason: RescindReason) {
        let mut offered = self.offered.iter_mut();
        let offered = offered.find(|it| it.ids.contains(&id));
        let offered = offered.expect("something is left of what is asked back");
        assert!(offered.asked.insert(id), "{id:?} is asked back again");
        if offered.asked.len() == offered.ids.len() {
            if reason == RescindReason::Expired {
                let due = self.lease.map(|it| offered.since + it);
                let is_due = due.is_some_and(|due| due <= self.now);
                assert!(is_due, "{id:?} expires at {} of {due:?}", self.now);
            }
            offered.rescinded = Some(reason);
        }
    }

    /// Whether everything that somebody holds in unanswered offers was asked back.
    pub(super) fn check_asked_back(&self, why: &str, of: impl Fn(&Offered) -> bool) {
        let is_left = |it: &&Offered| !it.rest.is_empty() && of(it);
        for offered in self.offered.iter().filter(is_left) {
            assert!(
                offered.rescinded.is_some(),
                "{:?} stays, {why}",
                offered.ids
            );
        }
    }

    /// Whatever was not answered in time was asked back, once all that is due is done.
    pub(super) fn check_leases(&self) {
        let lease = self.lease.unwrap_or(u64::MAX);
        let is_due = |it: &Offered| it.since.saturating_add(lease) <= self.now;
        let is_live = |it: &Offered| it.rescinded.is_none() && !it.rest.is_empty();
        let late = self.offered.iter().find(|it| is_live(it) && is_due(it));
        let late = late.map(|it| &it.ids);
        assert_eq!(late, None, "it does not expire");
    }

    /// Each of the offers that quota asks back, one after the other, is of something that is still
    /// too much in the role whose quota it is, or that guarantees still lack (RQ-16).
    pub(super) fn check_needed(&self, role: &Role, back: &[(GrantId, RescindReason)]) {
        let open = |it: &Offered| count(&it.rest, is_open);
        let coming = self.offered.iter().filter(|it| it.rescinded.is_some());
        let (mut over, mut lack) = ([0; 4], [0; 4]);
        let (consumed, limit) = (self.consumed(role), self.limit(role));
        let nobody = Role::new("nobody").expect("a valid name");
        let (required, available) = (self.required(&nobody, [0; 4]), self.available());
        for at in 0..NAMES.len() {
            over[at] = limit[at].map_or(0, |limit| consumed[at] - limit);
            lack[at] = required[at] - available[at];
        }
        let less = |of: &mut Amounts, amounts: Amounts| {
            *of = std::array::from_fn(|at| of[at] - amounts[at]);
        };
        let is_within = |it: &Offered| super::plain::is_within(&it.place.1, role);
        for offered in coming {
            less(&mut lack, open(offered));
            if is_within(offered) {
                less(&mut over, open(offered));
            }
        }
        let find = |id: GrantId| self.offered.iter().find(|it| it.ids.contains(&id));
        let mut back: Vec<&Offered> = back.iter().filter_map(|it| find(it.0)).collect();
        // What was joined comes back as one.
        back.dedup_by_key(|it| &it.ids);
        for offered in back {
            let (amounts, ids) = (open(offered), &offered.ids);
            let serves = |needed: Amounts| (0..4).any(|at| needed[at] > 0 && amounts[at] > 0);
            let is_needed = serves(lack) || is_within(offered) && serves(over);
            assert!(
                is_needed,
                "{ids:?} comes back for nothing: {over:?}, {lack:?}"
            );
            less(&mut lack, amounts);
            if is_within(offered) {
                less(&mut over, amounts);
            }
        }
    }

    /// What stays in a role once all that was asked back is back keeps the limit, or nothing more
    /// can be asked back (RQ-16).
    pub(super) fn check_limit(&self, role: &Role) {
        let within = |it: &&Offered| super::plain::is_within(&it.place.1, role);
        let all = self.offered.iter().filter(within);
        let back = all.clone().filter(|it| it.rescinded.is_some());
        let back = back.map(|it| count(&it.rest, is_open)).fold([0; 4], plus);
        let consumed = self.consumed(role);
        for (at, limit) in self.limit(role).into_iter().enumerate() {
            let over = limit.is_some_and(|limit| consumed[at] - back[at] > limit);
            let mut live = all.clone().filter(|it| it.rescinded.is_none());
            assert!(
                !over || live.all(|it| count(&it.rest, is_open)[at] == 0),
                "{role} keeps more {} than its limit",
                NAMES[at]
            );
        }
    }

    /// What a framework would have to be offered of an agent, if anything (AL-26, AL-27).
    pub(super) fn entitled(
        &self,
        place: &Place,
        free: &Resources,
        most: Amounts,
    ) -> Option<Resources> {
        if !self.may_meet(place) || self.has_odd_quota() {
            return None;
        }
        let mut bounds = most;
        let mut offer = Resources::new();
        for entry in free.iter().filter(|entry| self.suits(place, entry)) {
            let at = NAMES.iter().position(|name| *name == entry.name());
            let (Value::Scalar(amount), Some(at)) = (entry.value(), at.filter(|_| is_open(entry)))
            else {
                offer.insert(entry.clone()).expect("a part of a bag fits");
                continue;
            };
            let all = i128::from(amount.thousandths());
            let mut most = all.min(bounds[at]);
            if entry.is_exclusive() && most < all {
                continue;
            }
            // Devices are whole ones (RM-55).
            if entry.name() == "gpus" && most < all {
                most -= most % 1_000;
            }
            if bounds[at] != i128::MAX {
                bounds[at] -= most;
            }
            let most = i64::try_from(most).expect("no more than there was");
            let value = Value::Scalar(Milli::from_thousandths(most));
            if let Ok(part) = entry.clone().with_value(value) {
                offer.insert(part).expect("a part of a bag fits");
            }
        }
        let offer = self.wanted(place, offer)?;
        let wanted = self.is_worth(place, &offer)
            && !self.is_refused(place, &offer)
            && self.is_admitted(place, &offer);
        wanted.then_some(offer)
    }

    /// Nothing is left that somebody would take; I7 is a part of that.
    fn check_nothing_left(&self) {
        let roles = self.frameworks.iter().flat_map(|it| &it.roles);
        let bounds: BTreeMap<&Role, Amounts> =
            roles.map(|(role, _)| (role, self.bounds(role))).collect();
        for agent in &self.agents {
            let free = self.free(agent);
            for framework in &self.frameworks {
                for (role, _) in &framework.roles {
                    let place = (framework.key, role.clone(), agent.key);
                    let left = self.entitled(&place, &free, bounds[role]);
                    assert_eq!(left, None, "left for {place:?}");
                }
            }
        }
    }
}

impl Pair {
    /// Lets the model hear of grants, and keeps what is asked back for later.
    pub(super) fn hear_grants(&mut self) {
        for output in self.out.drain() {
            match output {
                Output::Effect(Decision::Grant(grant)) => {
                    assert!(self.back.is_empty(), "{grant:?} because of a change");
                    self.plain.granted(grant);
                }
                Output::Effect(Decision::Rescind { grant, reason }) => {
                    // What expires does so by time, before anything else.
                    match reason {
                        RescindReason::Expired => self.plain.asked_back(grant, reason),
                        RescindReason::Agent
                        | RescindReason::Framework
                        | RescindReason::Role
                        | RescindReason::Quota
                        | RescindReason::Weight => self.back.push((grant, reason)),
                    }
                }
                Output::Persist(_) | Output::Free(_) => panic!("{output:?}"),
            }
        }
    }

    /// Lets the model hear all that was said, once it has taken in the change.
    pub(super) fn look(&mut self) {
        self.hear_grants();
        for (grant, reason) in std::mem::take(&mut self.back) {
            self.plain.asked_back(grant, reason);
        }
        self.drf.check_invariants();
    }

    /// The books of both agree.
    pub(super) fn compare(&self) {
        let stats = self.drf.stats();
        let nobody = Role::new("nobody").expect("a valid name");
        let plain = &self.plain;
        let total = plain.agents.iter().map(|it| count(&it.total, |_| true));
        let said = |quantities: &tepui_core::resources::Quantities| -> Amounts {
            NAMES.map(|name| i128::from(quantities.amount(name).thousandths()))
        };
        assert_eq!(said(&stats.total), total.fold([0; 4], plus), "total");
        assert_eq!(said(&stats.booked), plain.booked(), "booked");
        assert_eq!(
            said(&stats.available_headroom),
            plain.available(),
            "available"
        );
        let required = plain.required(&nobody, [0; 4]);
        assert_eq!(said(&stats.required_headroom), required, "required");
        for figures in self.drf.roles() {
            let (role, consumed) = (&figures.role, said(&figures.consumed));
            assert_eq!(consumed, plain.consumed(role), "consumed by {role}");
        }
    }

    /// Goes on for a while, and does all that is due until then.
    fn live_on(&mut self, wait: Duration) {
        let end = self.now + wait;
        let mut turns = 0;
        while let Some(due) = self.due().filter(|due| *due <= end) {
            self.pass_to(due.max(self.now));
            turns += 1;
            assert!(turns < 5_000, "it never comes to rest");
        }
        self.pass_to(end);
        self.plain.check_leases();
    }

    fn is_any_asked_back(&self) -> bool {
        let mut offered = self.plain.offered.iter();
        offered.any(|it| it.rescinded.is_some())
    }

    /// Answers what was asked back, waits until nothing is due, and looks at what is left.
    pub(super) fn come_to_rest(&mut self) {
        self.check_explained();
        self.answer_all_asked_back();
        // Twice an interval is enough for whatever quota held back; an endless pass is none.
        self.live_on(WAIT);
        if self.is_any_asked_back() {
            // Leases end at different times; so all end before any is answered, and then nothing
            // ends for as long as a lease lasts.
            for _ in 0..3 {
                self.live_on(WAIT);
            }
            self.answer_all_asked_back();
            self.live_on(WAIT - Duration::from_micros(1));
        }
        self.compare();
        self.check_explained();
        if !self.is_any_asked_back() && !self.is_waiting() {
            self.plain.check_nothing_left();
            self.check_all_barred();
        }
    }
}
