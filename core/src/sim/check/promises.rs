//! Quota guarantees are kept (I7): who is in a role that lacks some of what it is promised, wants
//! offers, and has refused nothing of an agent on which some of that is free, is offered it within
//! two cycles of allocation.
//!
//! That nobody else is given it meanwhile is looked at with each offer ([`super::quota`]). Told
//! from the books of [`super::ledger`] and from what frameworks say. Where it is not certain that
//! an offer is due, none is: a refusal counts for all of its agent and for somewhat longer than was
//! said, an offer that ends in any way counts as one, and who says which agents it wants, or how
//! much, is not looked at. Time counts while the master has its turns: between two of them no more
//! than a cycle goes by, so that one that could do nothing is not blamed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::Broken;
use super::ledger::Ledger;
use super::quota::{consumed, is_within, open};
use crate::filters::effective_refusal;
use crate::ids::{AgentId, FrameworkId, OfferId, PeerId};
use crate::master::{Effect, Input};
use crate::protocol::framework::Wishes;
use crate::protocol::node::Standing;
use crate::protocol::scheduler::{Call, Event};
use crate::resources::{Milli, Quantities};
use crate::roles::Role;
use crate::sim::property::Property;
use crate::time::Time;

/// An amount below this is worth no offer, of `cpus` and of `mem` (AL-33).
const WORTH: [(&str, Milli); 2] = [
    ("cpus", Milli::from_thousandths(10)),
    ("mem", Milli::from_units(32)),
];

/// What a framework has said since it subscribed.
#[derive(Debug, Default)]
struct Wanted {
    suppressed: BTreeSet<Role>,
    /// Whether it says more of what it wants than in which roles.
    is_choosy: bool,
}

impl From<&Wishes> for Wanted {
    fn from(wishes: &Wishes) -> Self {
        Self {
            suppressed: wishes.suppressed.clone(),
            is_choosy: !wishes.constraints.is_empty() || !wishes.demands.is_empty(),
        }
    }
}

/// A framework and an agent.
type Pair = (FrameworkId, AgentId);

/// To whom something is due, of which agents, and since when.
#[derive(Debug)]
pub(super) struct Promises {
    /// How often the allocator looks at what it has left (TL-03).
    cycle: Duration,
    /// Whether who holds offers may have to answer them before it is made others.
    bounds_offers: bool,
    wanted: BTreeMap<FrameworkId, Wanted>,
    /// Who waits to be let in, and how it will be.
    asked: BTreeMap<PeerId, Wanted>,
    /// Until when nothing of an agent is due.
    refused: BTreeMap<Pair, Time>,
    /// What was refused in this turn, and for how long.
    news: Vec<(Pair, Duration)>,
    /// How long the master has had turns.
    turns: Duration,
    last: Time,
    /// Since when something is due.
    due: BTreeMap<Pair, Duration>,
}

impl Promises {
    /// Begins with an allocator that looks so often at what it has left, and may bound what one
    /// framework is offered at a time.
    pub(super) const fn new(cycle: Duration, bounds_offers: bool) -> Self {
        Self {
            cycle,
            bounds_offers,
            wanted: BTreeMap::new(),
            asked: BTreeMap::new(),
            refused: BTreeMap::new(),
            news: Vec::new(),
            turns: Duration::ZERO,
            last: Time::ZERO,
            due: BTreeMap::new(),
        }
    }

    /// Two cycles, by a clock that may be slow.
    fn bound(&self) -> Duration {
        self.cycle * 11 / 5
    }

    /// The master is about to hear something, with these books.
    pub(super) fn hears(&mut self, input: &Input, ledger: &Ledger) {
        let Input::Scheduler { peer, call } = input else {
            return;
        };
        if let Call::Subscribe { wishes, .. } = call {
            self.asked.insert(*peer, wishes.into());
            return;
        }
        let Some(framework) = ledger.framework_of(*peer) else {
            return;
        };
        if let Call::Accept { offers, refuse, .. } | Call::Decline { offers, refuse } = call {
            let lasts = effective_refusal(*refuse).unwrap_or_default();
            for offer in offers {
                self.ended(ledger, offer, lasts);
            }
            return;
        }
        let wanted = self.wanted.entry(framework.clone()).or_default();
        match call {
            // A call that names another's role changes nothing: here it only makes less due.
            Call::Suppress { roles } if roles.is_empty() => {
                wanted.suppressed.extend(roles_of(ledger, framework));
            }
            Call::Suppress { roles } => wanted.suppressed.extend(roles.iter().cloned()),
            Call::Revive { roles } => {
                let own = roles_of(ledger, framework);
                if roles.iter().all(|role| own.contains(role)) {
                    let named = |role: &Role| roles.is_empty() || roles.contains(role);
                    wanted.suppressed.retain(|role| !named(role));
                }
            }
            Call::Demand { .. } => wanted.is_choosy = true,
            Call::Update { wishes, .. } => *wanted = wishes.into(),
            Call::Subscribe { .. }
            | Call::Teardown
            | Call::Accept { .. }
            | Call::Decline { .. }
            | Call::Kill { .. }
            | Call::Reconcile { .. }
            | Call::Acknowledge { .. }
            | Call::AcknowledgeOperation { .. }
            | Call::ReconcileOperations { .. }
            | Call::Message { .. }
            | Call::ShutdownExecutor { .. }
            | Call::AcceptInverse { .. }
            | Call::DeclineInverse { .. } => {}
        }
    }

    /// The master says something, with the books as they were before that.
    pub(super) fn saw(&mut self, effect: &Effect, ledger: &Ledger) {
        let Effect::Scheduler { peer, event } = effect else {
            return;
        };
        if let Event::Subscribed { framework, .. } = event {
            if let Some(wanted) = self.asked.remove(peer) {
                self.wanted.insert(framework.clone(), wanted);
            }
        } else if let Event::Rescind(offer) = event {
            self.ended(ledger, offer, Duration::ZERO);
        }
    }

    /// An offer has ended, if there was one, and is not wanted again for so long.
    fn ended(&mut self, ledger: &Ledger, offer: &OfferId, lasts: Duration) {
        if let Some(offer) = ledger.offers().find(|it| it.id == *offer) {
            let pair = (offer.framework.clone(), offer.agent.clone());
            // At least for the rest of this cycle and the next one, and clocks may be slow.
            self.news.push((pair, lasts + lasts / 8 + self.cycle * 3));
        }
    }

    /// Ends a turn; says who was not offered what is promised to it. `is_recovering` is whether
    /// nothing is offered because agents are waited for (AL-07).
    pub(super) fn check(
        &mut self,
        now: Time,
        ledger: &Ledger,
        is_recovering: impl Fn() -> bool,
    ) -> Result<(), Broken> {
        self.turns += now.since(self.last).min(self.cycle);
        self.last = now;
        for (pair, lasts) in core::mem::take(&mut self.news) {
            let until = self.refused.entry(pair).or_default();
            *until = (*until).max(now + lasts);
        }
        let mut quotas = ledger.registry().quotas().values();
        if quotas.all(|quota| quota.guarantees.is_empty()) || is_recovering() {
            self.due.clear();
            return Ok(());
        }
        self.refused.retain(|_, until| *until > now);
        let before = core::mem::take(&mut self.due);
        for (pair, amount, name) in self.owed(ledger) {
            let since = before.get(&pair).copied().unwrap_or(self.turns);
            if self.turns - since > self.bound() {
                let ((framework, agent), late) = (&pair, self.turns - since);
                let problem = format!(
                    "{framework} is promised {amount} more of {name:?}, which is free on {agent}, \
                     and is not offered it for {late:?}"
                );
                return Err((Property::Promises, problem));
            }
            self.due.insert(pair, since);
        }
        Ok(())
    }

    /// Lists who lacks something that is free on an agent, and how much of what.
    fn owed(&self, ledger: &Ledger) -> Vec<(Pair, Milli, &'static str)> {
        let mut owed = Vec::new();
        let free = free(ledger);
        for (framework, wanted) in self.wanted.iter().filter(|(_, it)| !it.is_choosy) {
            let has_some = || ledger.offers().any(|offer| offer.framework == *framework);
            if !ledger.is_subscribed(framework) || self.bounds_offers && has_some() {
                continue;
            }
            let roles = roles_of(ledger, framework);
            for role in roles.iter().filter(|it| !wanted.suppressed.contains(*it)) {
                for (name, least) in WORTH {
                    let lacks = lacking(ledger, role, name);
                    if lacks < least {
                        continue;
                    }
                    for (agent, free) in &free {
                        let pair = (framework.clone(), (*agent).clone());
                        let part = lacks.min(free.amount(name));
                        if part >= least && !self.refused.contains_key(&pair) {
                            owed.push((pair, part, name));
                        }
                    }
                }
            }
        }
        owed
    }
}

fn roles_of(ledger: &Ledger, framework: &FrameworkId) -> Vec<Role> {
    let enrolled = ledger.registry().framework(framework);
    enrolled.map_or_else(Vec::new, |it| it.info.roles.clone())
}

/// Returns how much of something a role, or one above it, lacks of its guarantee, as far as limits
/// allow the role to have it.
fn lacking(ledger: &Ledger, role: &Role, name: &str) -> Milli {
    let (mut lacks, mut room) = (Milli::ZERO, None);
    for (of, quota) in ledger.registry().quotas() {
        if !is_within(role, of) {
            continue;
        }
        let has = consumed(ledger, of).amount(name);
        lacks = lacks.max(quota.guarantees.amount(name).saturating_sub(has));
        if let Some(limit) = quota.limits.bound(name) {
            let more = limit.saturating_sub(has);
            room = Some(room.map_or(more, |room: Milli| room.min(more)));
        }
    }
    room.map_or(lacks, |room| lacks.min(room))
}

/// Lists what is free on agents that are there and may be offered.
fn free(ledger: &Ledger) -> Vec<(&AgentId, Quantities)> {
    let there: BTreeSet<&AgentId> = ledger.peers.values().collect();
    let rows = there.into_iter();
    let rows = rows.filter_map(|id| Some((id, ledger.registry().agent(id)?)));
    let active = rows.filter(|(_, row)| row.standing == Standing::Active);
    let free = active.map(|(id, row)| {
        let account = ledger.accounts.get(id);
        let free = account.map_or_else(|| open(&row.total()), |it| open(it.free()));
        (id, free)
    });
    free.collect()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::protocol::framework::FrameworkInfo;
    use crate::protocol::offer::Offer;
    use crate::quota::Quota;
    use crate::registry::RegistryOp;
    use crate::sim::check::scene::{OWNER, accept, agent, book, offer, offers, subscribed};

    const CYCLE: Duration = Duration::from_secs(1);

    struct Scene {
        ledger: Ledger,
        promises: Promises,
        now: Time,
    }

    impl Scene {
        /// One framework in a role that is promised so much, and four free cores.
        fn new(role: &str, guarantee: &str) -> Self {
            let mut scene = Self {
                ledger: book(),
                promises: Promises::new(CYCLE, false),
                now: Time::ZERO,
            };
            let quota = Quota {
                guarantees: guarantee.parse().unwrap(),
                ..Quota::default()
            };
            let quotas = vec![(Role::new(role).unwrap(), quota)];
            scene.ledger.wrote(&RegistryOp::SetQuotas { quotas });
            scene.call(Call::Subscribe {
                framework: FrameworkInfo::new("f"),
                wishes: Wishes::default(),
            });
            scene.saw(&subscribed(OWNER));
            scene
        }

        fn hears(&mut self, input: &Input) {
            self.promises.hears(input, &self.ledger);
            self.ledger.hears(input);
        }

        fn call(&mut self, call: Call) {
            let peer = OWNER;
            self.hears(&Input::Scheduler { peer, call });
        }

        fn saw(&mut self, effect: &Effect) {
            self.promises.saw(effect, &self.ledger);
            self.ledger.saw(effect);
        }

        /// Lets a second go by, turn by turn, and says what is wrong then.
        fn second(&mut self) -> Result<(), Property> {
            for _ in 0..4 {
                self.now = self.now + CYCLE / 4;
                let checked = self.promises.check(self.now, &self.ledger, || false);
                checked.map_err(|(property, _)| property)?;
            }
            Ok(())
        }

        /// Returns after how many seconds of so many something is wrong.
        fn broken_within(&mut self, seconds: u32) -> Option<u32> {
            (1..=seconds).find(|_| self.second().is_err())
        }
    }

    fn refuse(offer: &Offer, lasts: u64) -> Call {
        Call::Decline {
            offers: vec![offer.id.clone()],
            refuse: Some(Duration::from_secs(lasts)),
        }
    }

    // I7, RQ-12
    #[test]
    fn who_is_promised_what_is_free_and_is_not_offered_it_is_found() {
        assert_eq!(Scene::new("*", "cpus:1").broken_within(9), Some(3));
        assert_eq!(Scene::new("*", "cpus:0.009").broken_within(9), None);
        assert_eq!(Scene::new("others", "cpus:1").broken_within(9), None);
        assert_eq!(Scene::new("*", "mem:64").broken_within(9), None, "none");
        let mut scene = Scene::new("*", "cpus:2");
        scene.saw(&offers(&[&offer(1, "cpus:1")]));
        assert_eq!(scene.broken_within(9), Some(3), "it lacks the other one");
        scene.promises.bounds_offers = true;
        assert_eq!(scene.broken_within(9), None, "it has to answer first");
        let mut scene = Scene::new("*", "cpus:2");
        scene.saw(&offers(&[&offer(1, "cpus:2")]));
        scene.hears(&accept(OWNER, &offer(1, "cpus:2")));
        assert_eq!(scene.broken_within(20), Some(12), "nothing came of it");
    }

    // I7, OF-31, OF-36, OF-37
    #[test]
    fn who_does_not_want_it_is_owed_nothing() {
        let mut scene = Scene::new("*", "cpus:1");
        scene.saw(&offers(&[&offer(1, "cpus:4")]));
        scene.call(refuse(&offer(1, "cpus:4"), 8));
        assert_eq!(scene.broken_within(12), None, "it is refused");
        assert_eq!(scene.broken_within(9), Some(3), "and wanted again");

        let mut scene = Scene::new("*", "cpus:1");
        scene.call(Call::Suppress { roles: vec![] });
        assert_eq!(scene.broken_within(9), None);
        let strange = Role::new("strange").unwrap();
        scene.call(Call::Revive {
            roles: vec![Role::any(), strange],
        });
        assert_eq!(scene.broken_within(9), None, "that was turned down");
        scene.call(Call::Revive { roles: vec![] });
        assert_eq!(scene.broken_within(9), Some(3));

        let mut scene = Scene::new("*", "cpus:1");
        scene.call(Call::Demand {
            role: Role::any(),
            demand: None,
        });
        assert_eq!(scene.broken_within(9), None);

        let mut scene = Scene::new("*", "cpus:1");
        scene.hears(&Input::Disconnected { peer: OWNER });
        assert_eq!(scene.broken_within(9), None, "it is away");
    }

    // I7, RQ-12
    #[test]
    fn what_cannot_be_offered_is_owed_to_nobody() {
        let (id, at) = (agent(), Time::ZERO);
        let standing = Standing::Deactivated;
        let mut scene = Scene::new("*", "cpus:1");
        scene
            .ledger
            .wrote(&RegistryOp::SetStanding { id, standing, at });
        assert_eq!(scene.broken_within(9), None);

        let mut scene = Scene::new("*", "cpus:1");
        let quota = Quota {
            guarantees: "cpus:1".parse().unwrap(),
            limits: "cpus:0.005".parse().unwrap(),
        };
        let quotas = vec![(Role::any(), quota)];
        scene.ledger.wrote(&RegistryOp::SetQuotas { quotas });
        assert_eq!(scene.broken_within(9), None);

        // Time in which nothing can happen is nobody's fault.
        let mut scene = Scene::new("*", "cpus:1");
        for minute in 1..=2 {
            let now = Time::ZERO + Duration::from_secs(60 * minute);
            let checked = scene.promises.check(now, &scene.ledger, || false);
            assert_eq!(checked, Ok(()));
            let checked = scene.promises.check(now, &scene.ledger, || true);
            assert_eq!(checked, Ok(()), "it waits for agents");
        }
    }
}
