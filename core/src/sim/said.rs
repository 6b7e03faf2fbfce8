//! What a framework is and wants by the words of its scheduler's user: all that he has said and
//! that was not turned down.
//!
//! For [`super::check::convergence`], which compares it with what the master believes. Told from
//! calls and answers alone, in the order in which the user sees them. Where he cannot tell which of
//! several words was turned down it is not known, until he has said all of it anew while no other
//! update waited.

use alloc::collections::VecDeque;

use crate::protocol::framework::{FrameworkInfo, Wishes};
use crate::protocol::refusal::CallKind;
use crate::roles::Role;
use crate::scheduler::{UserCall, UserEvent};

/// How many words are kept that may still be turned down.
const OPEN: usize = 64;

/// A word of a user that may still be turned down.
#[derive(Clone, Debug)]
struct Word {
    call: UserCall,
    /// Whether no update waited for its answer when it was said.
    is_alone: bool,
}

/// What one scheduler's user has said.
#[derive(Debug)]
pub(super) struct Said {
    /// What held when nothing was open.
    info: FrameworkInfo,
    wishes: Wishes,
    /// What was said since, oldest first.
    open: VecDeque<Word>,
    is_subscribed: bool,
    is_known: bool,
    /// Whether something was said in this step.
    is_new: bool,
}

impl Said {
    /// Begins with what a scheduler is told to be, which wants all.
    pub(super) fn new(info: FrameworkInfo) -> Self {
        Self {
            info,
            wishes: Wishes::default(),
            open: VecDeque::new(),
            is_subscribed: false,
            is_known: true,
            is_new: false,
        }
    }

    /// Returns whether something was said in this step.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// What is said from now on is of another step.
    pub(super) fn end_step(&mut self) {
        self.is_new = false;
    }

    /// Returns whether an update waits for its answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.open.iter().any(|word| is_update(&word.call))
    }

    /// Returns what the framework is and wants, if that is known.
    pub(super) fn holds(&self) -> Option<(FrameworkInfo, Wishes)> {
        if !self.is_known || self.is_waiting() {
            return None;
        }
        let mut holds = (self.info.clone(), self.wishes.clone());
        for word in &self.open {
            apply(&mut holds, &word.call);
        }
        Some(holds)
    }

    /// The user says something.
    pub(super) fn says(&mut self, call: &UserCall) {
        let is_void = is_update(call) && !self.is_subscribed;
        if kind(call).is_none() || is_void {
            return;
        }
        self.is_new = true;
        let is_alone = !self.is_waiting();
        let call = call.clone();
        self.open.push_back(Word { call, is_alone });
        if self.open.len() > OPEN && !self.open.front().is_some_and(|it| is_update(&it.call)) {
            self.settle_first();
        }
    }

    /// The user hears something.
    pub(super) fn hears(&mut self, event: &UserEvent) {
        match event {
            UserEvent::Subscribed { .. } => self.is_subscribed = true,
            UserEvent::Disconnected | UserEvent::Error { .. } => {
                self.is_subscribed = false;
                // What was not answered is void, and what was wanted beside it is not.
                self.open.retain(|word| !is_update(&word.call));
                while !self.open.is_empty() {
                    self.settle_first();
                }
            }
            UserEvent::Updated => self.updated(),
            UserEvent::Rejected { call, .. } => self.rejected(*call),
            UserEvent::Offers(_)
            | UserEvent::Rescinded(_)
            | UserEvent::InverseOffers(_)
            | UserEvent::InverseRescinded(_)
            | UserEvent::Update(_)
            | UserEvent::Operation(_)
            | UserEvent::Message(_)
            | UserEvent::ExecutorEnded(_)
            | UserEvent::AgentLost { .. } => {}
        }
    }

    /// Takes for granted what was said first.
    fn settle_first(&mut self) {
        if let Some(word) = self.open.pop_front() {
            let mut holds = (self.info.clone(), self.wishes.clone());
            apply(&mut holds, &word.call);
            (self.info, self.wishes) = holds;
        }
    }

    /// The first update that waits holds, and with it is known what became of all before it.
    fn updated(&mut self) {
        while let Some(word) = self.open.front() {
            let (is_it, is_alone) = (is_update(&word.call), word.is_alone);
            self.settle_first();
            if is_it {
                self.is_known |= is_alone;
                return;
            }
        }
    }

    /// One of the words of a kind was turned down.
    fn rejected(&mut self, call: CallKind) {
        let is_it = |word: &Word| kind(&word.call) == Some(call);
        let Some(first) = self.open.iter().position(is_it) else {
            // It was taken for granted.
            let counts = matches!(
                call,
                CallKind::Update | CallKind::Suppress | CallKind::Revive | CallKind::Demand
            );
            self.is_known &= !counts;
            return;
        };
        let several = self.open.iter().filter(|word| is_it(word)).count() > 1;
        self.is_known &= !several;
        self.open.remove(first);
    }
}

const fn is_update(call: &UserCall) -> bool {
    matches!(call, UserCall::Update { .. })
}

/// Returns the kind of a call that says what a framework is or wants.
const fn kind(call: &UserCall) -> Option<CallKind> {
    match call {
        UserCall::Suppress { .. } => Some(CallKind::Suppress),
        UserCall::Revive { .. } => Some(CallKind::Revive),
        UserCall::Demand { .. } => Some(CallKind::Demand),
        UserCall::Update { .. } => Some(CallKind::Update),
        UserCall::Accept { .. }
        | UserCall::Decline { .. }
        | UserCall::Kill { .. }
        | UserCall::Acknowledge { .. }
        | UserCall::AcknowledgeOperation { .. }
        | UserCall::ReconcileOperations { .. }
        | UserCall::Reconcile { .. }
        | UserCall::Message { .. }
        | UserCall::ShutdownExecutor { .. }
        | UserCall::Stop
        | UserCall::Leave
        | UserCall::AcceptInverse { .. }
        | UserCall::DeclineInverse { .. } => None,
    }
}

/// Says what holds after a word that is not turned down. One that names a role of others is.
fn apply((info, wishes): &mut (FrameworkInfo, Wishes), call: &UserCall) {
    let is_own = |roles: &[Role]| roles.iter().all(|role| info.roles.contains(role));
    match call {
        UserCall::Suppress { roles } if is_own(roles) => {
            let meant = if roles.is_empty() { &info.roles } else { roles };
            wishes.suppressed.extend(meant.iter().cloned());
        }
        UserCall::Revive { roles } if is_own(roles) => {
            let is_meant = |role: &Role| roles.is_empty() || roles.contains(role);
            wishes.suppressed.retain(|role| !is_meant(role));
        }
        UserCall::Demand { role, demand } if info.roles.contains(role) => {
            match demand {
                Some(demand) => wishes.demands.insert(role.clone(), demand.clone()),
                None => wishes.demands.remove(role),
            };
        }
        UserCall::Update {
            framework,
            wishes: all,
        } => {
            info.clone_from(framework);
            wishes.clone_from(all);
        }
        UserCall::Suppress { .. }
        | UserCall::Revive { .. }
        | UserCall::Demand { .. }
        | UserCall::Accept { .. }
        | UserCall::Decline { .. }
        | UserCall::Kill { .. }
        | UserCall::Acknowledge { .. }
        | UserCall::AcknowledgeOperation { .. }
        | UserCall::ReconcileOperations { .. }
        | UserCall::Reconcile { .. }
        | UserCall::Message { .. }
        | UserCall::ShutdownExecutor { .. }
        | UserCall::Stop
        | UserCall::Leave
        | UserCall::AcceptInverse { .. }
        | UserCall::DeclineInverse { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::ids::FrameworkId;
    use crate::protocol::refusal::RejectKind;

    fn role(name: &str) -> Role {
        Role::new(name).unwrap()
    }

    fn info(roles: &[&str]) -> FrameworkInfo {
        FrameworkInfo {
            roles: roles.iter().map(|name| role(name)).collect(),
            ..FrameworkInfo::new("f")
        }
    }

    fn update(roles: &[&str], suppressed: &[&str]) -> UserCall {
        let wishes = Wishes {
            suppressed: suppressed.iter().map(|name| role(name)).collect(),
            ..Wishes::default()
        };
        UserCall::Update {
            framework: info(roles),
            wishes,
        }
    }

    fn suppress(name: &str) -> UserCall {
        let roles = vec![role(name)];
        UserCall::Suppress { roles }
    }

    fn rejected(call: CallKind) -> UserEvent {
        UserEvent::Rejected {
            call,
            reason: RejectKind::TooMany,
            message: String::new(),
        }
    }

    fn subscribed() -> UserEvent {
        UserEvent::Subscribed {
            framework: FrameworkId::new("m-0000").unwrap(),
            domain: None,
        }
    }

    /// Begins in the roles `a` and `b`.
    fn said() -> Said {
        let mut said = Said::new(info(&["a", "b"]));
        said.hears(&subscribed());
        said
    }

    /// The roles, and those that are suppressed.
    fn holds(said: &Said) -> Option<(Vec<String>, Vec<String>)> {
        let (info, wishes) = said.holds()?;
        let names = |roles: Vec<Role>| roles.iter().map(|it| it.as_str().into()).collect();
        let suppressed = wishes.suppressed.into_iter().collect();
        Some((names(info.roles), names(suppressed)))
    }

    fn expect(said: &Said, roles: &[&str], suppressed: &[&str]) {
        let names = |names: &[&str]| names.iter().map(|it| String::from(*it)).collect();
        assert_eq!(holds(said), Some((names(roles), names(suppressed))));
    }

    // FW-53, OF-37
    #[test]
    fn what_is_said_before_an_answer_counts_after_it() {
        let mut said = said();
        said.says(&suppress("a"));
        said.says(&update(&["a", "c"], &[]));
        said.says(&suppress("c"));
        assert_eq!(holds(&said), None, "an answer is missing");
        said.hears(&UserEvent::Updated);
        expect(&said, &["a", "c"], &["c"]);
        said.says(&update(&["a"], &["a"]));
        said.says(&UserCall::Revive { roles: vec![] });
        said.hears(&UserEvent::Disconnected);
        expect(&said, &["a", "c"], &[]);
        said.says(&update(&["b"], &[]));
        said.says(&suppress("a"));
        expect(&said, &["a", "c"], &["a"]);
    }

    #[test]
    fn what_was_turned_down_does_not_hold_where_it_is_certain_which_it_was() {
        let mut said = said();
        said.says(&suppress("a"));
        said.says(&suppress("strange"));
        expect(&said, &["a", "b"], &["a"]);
        said.hears(&rejected(CallKind::Suppress));
        assert_eq!(holds(&said), None, "it may have been either");
        said.says(&update(&["a"], &[]));
        said.says(&suppress("a"));
        said.hears(&UserEvent::Updated);
        expect(&said, &["a"], &["a"]);
        said.hears(&rejected(CallKind::Suppress));
        expect(&said, &["a"], &[]);
        said.hears(&rejected(CallKind::Kill));
        said.says(&update(&["b"], &[]));
        said.hears(&rejected(CallKind::Update));
        expect(&said, &["a"], &[]);
        said.says(&update(&["b"], &[]));
        said.says(&update(&["c"], &[]));
        said.hears(&rejected(CallKind::Update));
        said.hears(&UserEvent::Updated);
        assert_eq!(holds(&said), None, "one of two holds");
    }

    #[test]
    fn what_was_said_long_ago_is_taken_for_granted() {
        let mut said = said();
        for _ in 0..=OPEN {
            said.says(&suppress("b"));
        }
        assert_eq!(said.open.len(), OPEN);
        expect(&said, &["a", "b"], &["b"]);
    }
}
