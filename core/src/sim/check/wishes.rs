//! A framework is offered something only in roles that it has, and in none in which it wants no
//! offers (OF-37, FW-53); and what it was offered in a role that it left is taken back (RQ-03).
//!
//! And who subscribes again says what its user has said last, also of what was on its way when the
//! subscription before it ended: see [`crate::sim::said`].
//!
//! Told from what the leading master hears, answers and writes down, so that it holds whatever the
//! master's own table of frameworks believes. Which roles a framework has stands in the records,
//! what it wants in its words: each counts from when the master has heard it, unless it is turned
//! down.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;

use super::Broken;
use super::ledger::Ledger;
use crate::ids::{FrameworkId, PeerId};
use crate::master::{Effect, Input};
use crate::protocol::framework::{FrameworkInfo, Wishes};
use crate::protocol::offer::Offer;
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::scheduler::{Call, Event};
use crate::registry::RegistryOp;
use crate::roles::Role;
use crate::scheduler;
use crate::sim::property::Property;
use crate::sim::tap::Tap;

/// What one leadership has heard that frameworks want.
#[derive(Debug, Default)]
pub(super) struct Heard {
    wishes: BTreeMap<FrameworkId, Wishes>,
    /// With which wishes who wants to be let in.
    asked: BTreeMap<PeerId, Wishes>,
    /// Those of updates that are not answered, oldest first.
    updates: BTreeMap<PeerId, VecDeque<Wishes>>,
    /// Whose last word may still be turned down, of which kind it is, and what held before it.
    before: Option<(FrameworkId, CallKind, Wishes)>,
    /// What held when the turn began, of those who have said something in it: the offers of a pass
    /// that is due come before what is heard, and of several words that waited some are later.
    turn: BTreeMap<FrameworkId, Wishes>,
    /// Whether words may wait for their turn.
    waits: bool,
    /// Who has said something about itself in this turn.
    changed: BTreeSet<FrameworkId>,
    violation: Option<Broken>,
}

fn has(ledger: &Ledger, framework: &FrameworkId, role: &Role) -> bool {
    let enrolled = ledger.registry().framework(framework);
    enrolled.is_some_and(|it| it.info.roles.contains(role))
}

impl Heard {
    /// Begins with a leadership; `waits` is whether its calls may wait for their turn.
    pub(super) fn new(waits: bool) -> Self {
        Self {
            waits,
            ..Self::default()
        }
    }

    /// Returns what a framework wants, if it was heard.
    pub(super) fn of(&self, framework: &FrameworkId) -> Option<&Wishes> {
        self.wishes.get(framework)
    }

    /// The master is about to hear something, with these books.
    pub(super) fn hears(&mut self, input: &Input, ledger: &Ledger) {
        let (peer, call) = match input {
            Input::Scheduler { peer, call } => (*peer, call),
            Input::Disconnected { peer } => {
                self.asked.remove(peer);
                self.updates.remove(peer);
                return;
            }
            Input::Connected { .. } | Input::Agent { .. } | Input::Operator { .. } => return,
        };
        self.before = None;
        if let Call::Subscribe { wishes, .. } = call {
            self.asked.insert(peer, wishes.clone());
            return;
        }
        let Some(framework) = ledger.framework_of(peer) else {
            return;
        };
        if let Call::Update { wishes, .. } = call {
            let open = self.updates.entry(peer).or_default();
            open.push_back(wishes.clone());
            return;
        }
        let Some(wishes) = self.wishes.get_mut(framework) else {
            return;
        };
        let before = wishes.clone();
        if wants(wishes, call, ledger, framework) {
            let turn = self.turn.entry(framework.clone());
            turn.or_insert_with(|| before.clone());
            self.before = Some((framework.clone(), call.kind(), before));
        }
    }

    /// The master writes something down.
    pub(super) fn wrote(&mut self, op: &RegistryOp) {
        match op {
            RegistryOp::EnrolFramework { id, .. } => {
                self.changed.insert(id.clone());
            }
            RegistryOp::EndFramework { id, .. } | RegistryOp::ForgetFramework { id } => {
                self.wishes.remove(id);
            }
            RegistryOp::Lead { .. }
            | RegistryOp::Admit { .. }
            | RegistryOp::Update { .. }
            | RegistryOp::Remove { .. }
            | RegistryOp::SetQuotas { .. }
            | RegistryOp::SetWeights { .. }
            | RegistryOp::Unreachable { .. }
            | RegistryOp::Reachable { .. }
            | RegistryOp::Prune { .. }
            | RegistryOp::SetStanding { .. }
            | RegistryOp::Convert { .. }
            | RegistryOp::Settle { .. }
            | RegistryOp::Restore { .. }
            | RegistryOp::FrameworkAway { .. }
            | RegistryOp::FrameworkBack { .. }
            | RegistryOp::SetSchedule { .. }
            | RegistryOp::MachinesDown { .. }
            | RegistryOp::MachinesUp { .. }
            | RegistryOp::BeginDisk { .. }
            | RegistryOp::EndDisk { .. }
            | RegistryOp::TakeDown { .. }
            | RegistryOp::RestoreAll { .. } => {}
        }
    }

    /// The master does something, with these books.
    pub(super) fn saw(&mut self, effect: &Effect, ledger: &Ledger) {
        let Effect::Scheduler { peer, event } = effect else {
            return;
        };
        match event {
            Event::Subscribed { framework, .. } => {
                if let Some(wishes) = self.asked.remove(peer) {
                    self.wishes.insert(framework.clone(), wishes);
                }
            }
            Event::Updated => {
                let open = self.updates.get_mut(peer);
                let wishes = open.and_then(VecDeque::pop_front);
                if let (Some(wishes), Some(framework)) = (wishes, ledger.framework_of(*peer)) {
                    self.wishes.insert(framework.clone(), wishes);
                }
            }
            // What finds no room in a line was not heard.
            Event::Rejected {
                call,
                reason: RejectKind::TooMany,
                ..
            } if self.waits && *call != CallKind::Update => {}
            Event::Rejected { call, .. } => self.rejected(*peer, *call),
            Event::Offers(offers) => offers.iter().for_each(|it| self.offered(it, ledger)),
            Event::Heartbeat
            | Event::Rescind(_)
            | Event::Update(_)
            | Event::OperationUpdate(_)
            | Event::Message(_)
            | Event::ExecutorEnded(_)
            | Event::AgentLost { .. }
            | Event::Error { .. }
            | Event::Reconciled(_)
            | Event::InverseOffers(_)
            | Event::RescindInverse(_)
            | Event::Unheard { .. } => {}
        }
    }

    fn rejected(&mut self, peer: PeerId, call: CallKind) {
        if call == CallKind::Update {
            self.updates.get_mut(&peer).and_then(VecDeque::pop_front);
        } else if let Some((framework, _, wishes)) = self.before.take_if(|it| it.1 == call) {
            self.wishes.insert(framework, wishes);
        }
    }

    fn offered(&mut self, offer: &Offer, ledger: &Ledger) {
        let Offer {
            id,
            framework,
            role,
            ..
        } = offer;
        let is_in = |wishes: &Wishes| wishes.suppressed.contains(role);
        let was_wanted = self.turn.get(framework).is_some_and(|it| !is_in(it));
        let is_unwanted = self.wishes.get(framework).is_some_and(is_in) && !was_wanted;
        let why = if !has(ledger, framework, role) {
            "which it does not have"
        } else if is_unwanted {
            "in which it wants none"
        } else {
            return;
        };
        let problem = format!("{framework} is offered {id} in the role {role}, {why}");
        self.violation.get_or_insert((Property::Wishes, problem));
    }

    /// Ends a turn; says what should not have been offered, or not be any more.
    pub(super) fn check(&mut self, ledger: &Ledger) -> Result<(), Broken> {
        self.before = None;
        self.turn.clear();
        for framework in core::mem::take(&mut self.changed) {
            let mut offers = ledger.offers().filter(|it| it.framework == framework);
            if let Some(Offer { id, role, .. }) =
                offers.find(|it| !has(ledger, &framework, &it.role))
            {
                let problem = format!("{framework} has left the role {role}, and keeps {id} in it");
                self.violation.get_or_insert((Property::Wishes, problem));
            }
        }
        self.violation.take().map_or(Ok(()), Err)
    }
}

/// Checks what a scheduler says of itself when it wants to be let in. What its user has said in
/// just this step follows later.
pub(in crate::sim) fn check_asked(tap: &Tap, effect: &scheduler::Effect) -> Result<(), Broken> {
    if let scheduler::Effect::Master { call, .. } = effect
        && let Call::Subscribe { framework, wishes } = call
        && !tap.says_anew()
        && let Some(said) = tap.said().holds()
    {
        return compare(said, framework, wishes);
    }
    Ok(())
}

fn compare(
    (mut info, wished): (FrameworkInfo, Wishes),
    asks_as: &FrameworkInfo,
    asks_for: &Wishes,
) -> Result<(), Broken> {
    info.id.clone_from(&asks_as.id);
    if info == *asks_as && wished == *asks_for {
        return Ok(());
    }
    let (ours, theirs) = ((info, wished), (asks_as, asks_for));
    let problem = format!("its user says {ours:?}, and it wants to be let in as {theirs:?}");
    Err((Property::Wishes, problem))
}

/// Takes in what a call says that a framework wants; returns whether it says something of that. One
/// that names a role of others changes nothing.
fn wants(wishes: &mut Wishes, call: &Call, ledger: &Ledger, framework: &FrameworkId) -> bool {
    match call {
        Call::Suppress { roles } | Call::Revive { roles }
            if !roles.iter().all(|role| has(ledger, framework, role)) => {}
        Call::Suppress { roles } if roles.is_empty() => {
            let enrolled = ledger.registry().framework(framework);
            let own = enrolled.into_iter().flat_map(|it| it.info.roles.iter());
            wishes.suppressed.extend(own.cloned());
        }
        Call::Suppress { roles } => wishes.suppressed.extend(roles.iter().cloned()),
        Call::Revive { roles } => {
            let named = |role: &Role| roles.is_empty() || roles.contains(role);
            wishes.suppressed.retain(|role| !named(role));
        }
        Call::Demand { role, demand } if has(ledger, framework, role) => {
            match demand {
                Some(demand) => wishes.demands.insert(role.clone(), demand.clone()),
                None => wishes.demands.remove(role),
            };
        }
        Call::Demand { .. } => {}
        Call::Subscribe { .. }
        | Call::Teardown
        | Call::Accept { .. }
        | Call::Decline { .. }
        | Call::Kill { .. }
        | Call::Acknowledge { .. }
        | Call::AcknowledgeOperation { .. }
        | Call::ReconcileOperations { .. }
        | Call::Update { .. }
        | Call::Reconcile { .. }
        | Call::Message { .. }
        | Call::ShutdownExecutor { .. }
        | Call::AcceptInverse { .. }
        | Call::DeclineInverse { .. } => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::sync::Arc;
    use alloc::vec;

    use super::*;
    use crate::sim::check::scene::*;

    struct Scene {
        heard: Heard,
        ledger: Ledger,
    }

    fn role(name: &str) -> Role {
        Role::new(name).unwrap()
    }

    fn says(call: Call) -> Input {
        Input::Scheduler { peer: OWNER, call }
    }

    fn rejected(call: CallKind) -> Effect {
        let rejected = Event::Rejected {
            call,
            reason: RejectKind::TooLarge,
            message: String::new(),
        };
        event(OWNER, rejected)
    }

    fn suppressing(names: &[&str]) -> Wishes {
        Wishes {
            suppressed: names.iter().map(|name| role(name)).collect(),
            ..Wishes::default()
        }
    }

    impl Scene {
        /// Begins with a framework in two roles that wants offers in one of them.
        fn new() -> Self {
            let (heard, ledger) = (Heard::default(), book());
            let mut scene = Self { heard, ledger };
            scene.is_in(&["a", "b"]);
            let framework = FrameworkInfo::new("f");
            let wishes = suppressing(&["b"]);
            scene.hears(&says(Call::Subscribe { framework, wishes }));
            scene.saw(&subscribed(OWNER));
            scene
        }

        fn is_in(&mut self, roles: &[&str]) {
            let info = FrameworkInfo {
                id: Some(framework()),
                roles: roles.iter().map(|name| role(name)).collect(),
                ..FrameworkInfo::new("f")
            };
            let op = RegistryOp::EnrolFramework {
                id: framework(),
                info: Arc::new(info),
                vouched: true,
            };
            self.ledger.wrote(&op);
            self.heard.wrote(&op);
        }

        fn hears(&mut self, input: &Input) {
            self.heard.hears(input, &self.ledger);
        }

        fn saw(&mut self, effect: &Effect) {
            self.ledger.saw(effect);
            self.heard.saw(effect, &self.ledger);
        }

        fn ends_turn(&mut self) {
            assert_eq!(self.heard.check(&self.ledger), Ok(()));
        }

        /// Returns whether something may be offered in a role.
        fn may(&mut self, name: &str) -> bool {
            let mut offer = offer(1, "cpus:1");
            offer.role = role(name);
            self.heard.offered(&offer, &self.ledger);
            self.heard.check(&self.ledger).is_ok()
        }
    }

    // OF-37, FW-53
    #[test]
    fn what_is_offered_in_a_role_that_does_not_want_it_is_found() {
        let mut scene = Scene::new();
        assert!(scene.may("a") && !scene.may("b") && !scene.may("c"));
        let roles = || vec![role("b")];
        scene.hears(&says(Call::Revive { roles: roles() }));
        assert!(scene.may("b"));
        scene.hears(&says(Call::Suppress { roles: vec![] }));
        scene.ends_turn();
        assert!(!scene.may("a") && !scene.may("b"));
        let strange = vec![role("a"), role("c")];
        scene.hears(&says(Call::Revive { roles: strange }));
        assert!(!scene.may("a"), "it is turned down");
        scene.hears(&says(Call::Revive { roles: roles() }));
        scene.saw(&rejected(CallKind::Revive));
        assert!(!scene.may("b"), "it was turned down");
    }

    // OF-37
    #[test]
    fn an_offer_may_come_before_the_word_of_the_same_turn() {
        let mut scene = Scene::new();
        scene.hears(&says(Call::Suppress { roles: vec![] }));
        assert!(scene.may("a"));
        assert!(!scene.may("a"), "in the turn after it");
    }

    // SE-33
    #[test]
    fn what_finds_no_room_does_not_undo_what_was_heard() {
        for (waits, holds) in [(true, true), (false, false)] {
            let mut scene = Scene::new();
            scene.heard.waits = waits;
            let roles = vec![role("b")];
            scene.hears(&says(Call::Revive { roles }));
            let full = Event::Rejected {
                call: CallKind::Revive,
                reason: RejectKind::TooMany,
                message: String::new(),
            };
            scene.saw(&event(OWNER, full));
            scene.ends_turn();
            assert_eq!(scene.may("b"), holds);
        }
    }

    // FW-53
    #[test]
    fn an_update_counts_when_it_is_said_to_hold() {
        let update = |names: &[&str]| {
            let framework = FrameworkInfo::new("f");
            let wishes = suppressing(names);
            says(Call::Update { framework, wishes })
        };
        let mut scene = Scene::new();
        scene.hears(&update(&["a"]));
        scene.hears(&update(&["a", "b"]));
        assert!(scene.may("a"));
        scene.saw(&rejected(CallKind::Update));
        assert!(scene.may("a") && !scene.may("b"));
        scene.saw(&event(OWNER, Event::Updated));
        assert!(!scene.may("a") && !scene.may("b"));
        let suppressed = scene.heard.of(&framework()).unwrap().suppressed.len();
        assert_eq!(suppressed, 2);
        scene.hears(&update(&[]));
        scene.hears(&Input::Disconnected { peer: OWNER });
        scene.saw(&event(OWNER, Event::Updated));
        assert!(!scene.may("a"), "nobody was there to be answered");
    }

    // FW-28, OF-37
    #[test]
    fn who_asks_for_something_else_than_its_user_wants_is_found() {
        let info = FrameworkInfo::new("f");
        let known = FrameworkInfo {
            id: Some(framework()),
            ..info.clone()
        };
        let said = |names: &[&str]| (info.clone(), suppressing(names));
        assert_eq!(compare(said(&["a"]), &known, &suppressing(&["a"])), Ok(()));
        assert!(compare(said(&["a"]), &known, &suppressing(&[])).is_err());
        let other = FrameworkInfo::new("g");
        assert!(compare(said(&[]), &other, &suppressing(&[])).is_err());
    }

    // RQ-03
    #[test]
    fn an_offer_in_a_role_that_was_left_is_found() {
        let mut scene = Scene::new();
        let mut mine = offer(1, "cpus:1");
        mine.role = role("a");
        scene.saw(&offers(&[&mine]));
        assert_eq!(scene.heard.check(&scene.ledger), Ok(()));
        scene.is_in(&["b"]);
        let (property, _) = scene.heard.check(&scene.ledger).unwrap_err();
        assert_eq!(property, Property::Wishes);
        scene.is_in(&["b"]);
        scene.saw(&event(OWNER, Event::Rescind(mine.id)));
        assert_eq!(scene.heard.check(&scene.ledger), Ok(()));
    }
}
