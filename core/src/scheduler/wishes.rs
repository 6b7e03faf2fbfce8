//! What the user says that his framework is and wants: said to the master in the order in which he
//! says it, and kept for the next subscription.
//!
//! An update may change the roles of the framework, and the master may turn it down. So one is on
//! its way at a time, and what is said after it waits until it is answered: then it is known which
//! roles there are, and to which update the answer belongs. What only the master's lines have no
//! room for is said again with the next heartbeat.
//!
//! Deliberately not here: what the master does with it.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Effect, Out, Scheduler, UserCall, UserEvent};
use crate::demand::Demand;
use crate::ids::PeerId;
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::framework::{FrameworkInfo, Wishes};
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::scheduler::Call;
use crate::protocol::validate::check_wishes;
use crate::roles::Role;

/// Something that the user says of his framework.
#[derive(Debug)]
pub(super) enum Wish {
    /// What it is and wants, as a whole.
    Update(FrameworkInfo, Wishes),
    /// No offers in these roles, or in all.
    Suppress(Vec<Role>),
    /// Offers in these roles again, or in all.
    Revive(Vec<Role>),
    /// So much in a role.
    Demand(Role, Option<Demand>),
}

impl Wish {
    const fn kind(&self) -> CallKind {
        match self {
            Self::Update(..) => CallKind::Update,
            Self::Suppress(_) => CallKind::Suppress,
            Self::Revive(_) => CallKind::Revive,
            Self::Demand(..) => CallKind::Demand,
        }
    }
}

/// What a user says: something of his framework, or something else.
#[derive(Debug)]
pub(super) enum Word {
    Wish(Wish),
    Call(UserCall),
}

impl From<UserCall> for Word {
    fn from(call: UserCall) -> Self {
        Self::Wish(if let UserCall::Update { framework, wishes } = call {
            Wish::Update(framework, wishes)
        } else if let UserCall::Suppress { roles } = call {
            Wish::Suppress(roles)
        } else if let UserCall::Revive { roles } = call {
            Wish::Revive(roles)
        } else if let UserCall::Demand { role, demand } = call {
            Wish::Demand(role, demand)
        } else {
            return Self::Call(call);
        })
    }
}

/// What was said in a subscription and does not hold yet.
#[derive(Debug, Default)]
pub(super) struct Wishing {
    /// The update that is not answered.
    updating: Option<(FrameworkInfo, Wishes)>,
    /// What was said after it, oldest first; with it at most [`limits::UNANSWERED_UPDATES`].
    waiting: VecDeque<Wish>,
    /// Of which kinds the master had no room for some.
    refused: Vec<CallKind>,
}

impl Wishing {
    /// Returns how much does not hold yet.
    pub(super) fn len(&self) -> usize {
        usize::from(self.updating.is_some()) + self.waiting.len()
    }

    /// Notes that the master has no room for a call of this kind.
    pub(super) fn refuse(&mut self, call: CallKind) {
        if !self.refused.contains(&call) {
            self.refused.push(call);
        }
    }
}

impl Scheduler {
    /// Says to the master what the user wants, now or when it is its turn.
    pub(super) fn wish(&mut self, peer: PeerId, wish: Wish, out: &mut Out) {
        let limit = limits::UNANSWERED_UPDATES;
        if self.wishing.updating.is_none() {
            self.say_wish(peer, wish, out);
        } else if self.wishing.len() < limit {
            self.wishing.waiting.push_back(wish);
        } else {
            let message = format!("{limit} wait for the answer to an update already");
            refuse(wish.kind(), RejectKind::TooMany, message, out);
        }
    }

    /// The master has answered the update: it holds, or it does not.
    pub(super) fn on_update_answered(&mut self, peer: PeerId, holds: bool, out: &mut Out) {
        // What holds is said again in the next subscription.
        let update = self.wishing.updating.take().filter(|_| holds);
        if let Some((framework, wishes)) = update.filter(|_| !planted(Mutant::UpdateForgotten)) {
            self.config.framework = framework;
            self.config.wishes = wishes;
        }
        while self.wishing.updating.is_none()
            && let Some(wish) = self.wishing.waiting.pop_front()
        {
            self.say_wish(peer, wish, out);
        }
    }

    fn say_wish(&mut self, peer: PeerId, wish: Wish, out: &mut Out) {
        if !self.keep_wish(&wish, out) {
            return;
        }
        let call = match wish {
            Wish::Update(framework, wishes) => {
                self.wishing.updating = Some((framework.clone(), wishes.clone()));
                Call::Update { framework, wishes }
            }
            Wish::Suppress(roles) => Call::Suppress { roles },
            Wish::Revive(roles) => Call::Revive { roles },
            Wish::Demand(role, demand) => Call::Demand { role, demand },
        };
        out.emit(Effect::Master { peer, call });
    }

    /// The subscription is over: what waits in it holds in the next one, but updates, whose
    /// answers would not be heard.
    pub(super) fn leave_wishes(&mut self, out: &mut Out) {
        for wish in core::mem::take(&mut self.wishing).waiting {
            self.keep_wish(&wish, out);
        }
    }

    /// Says again what the master had no room for. As it does not say which call that was, all is
    /// said of that kind.
    pub(super) fn say_wishes_again(&mut self, peer: PeerId, out: &mut Out) {
        if self.wishing.updating.is_some() {
            return;
        }
        let (own, wishes) = (&self.config.framework.roles, &self.config.wishes);
        let (suppressed, others): (Vec<Role>, Vec<Role>) = own
            .iter()
            .cloned()
            .partition(|role| wishes.suppressed.contains(role));
        let refused = core::mem::take(&mut self.wishing.refused);
        let is_refused = |kind| refused.contains(&kind);
        let mut say = |call| out.emit(Effect::Master { peer, call });
        // Without a name all roles would be meant.
        if is_refused(CallKind::Suppress) && !suppressed.is_empty() {
            say(Call::Suppress { roles: suppressed });
        }
        if is_refused(CallKind::Revive) && !others.is_empty() {
            say(Call::Revive { roles: others });
        }
        if is_refused(CallKind::Demand) {
            for role in own {
                let (role, demand) = (role.clone(), wishes.demands.get(role).cloned());
                say(Call::Demand { role, demand });
            }
        }
    }

    /// Keeps for the next subscription what is wanted; an update not before it is answered. Returns
    /// whether the master may hear of it, which would turn it down in the next subscription with
    /// all the rest.
    pub(super) fn keep_wish(&mut self, wish: &Wish, out: &mut Out) -> bool {
        match wish {
            Wish::Update(..) => true,
            Wish::Suppress(roles) => self.keep_suppressed(roles, true, out),
            Wish::Revive(roles) => self.keep_suppressed(roles, false, out),
            Wish::Demand(role, demand) => self.keep_demand(role, demand.as_ref(), out),
        }
    }

    /// With a role that is not ours, which the master will say, nothing changes.
    fn keep_suppressed(&mut self, roles: &[Role], suppressed: bool, out: &mut Out) -> bool {
        let limit = limits::ROLES_PER_FRAMEWORK;
        if roles.len() > limit {
            let kind = if suppressed {
                CallKind::Suppress
            } else {
                CallKind::Revive
            };
            let message = format!("{} roles, more than the limit of {limit}", roles.len());
            refuse(kind, RejectKind::TooMany, message, out);
            return false;
        }
        let own = &self.config.framework.roles;
        if !roles.iter().all(|role| own.contains(role)) {
            return true;
        }
        let named = if roles.is_empty() { own } else { roles };
        let all = &mut self.config.wishes.suppressed;
        if suppressed {
            all.extend(named.iter().cloned());
        } else {
            all.retain(|role| !named.contains(role));
        }
        true
    }

    /// With a role that is not ours, which the master will say, nothing changes; nor with a demand
    /// that a subscription has no room for.
    fn keep_demand(&mut self, role: &Role, demand: Option<&Demand>, out: &mut Out) -> bool {
        let framework = &self.config.framework;
        if !framework.roles.contains(role) {
            return true;
        }
        let wishes = &mut self.config.wishes;
        let before = match demand {
            Some(demand) => wishes.demands.insert(role.clone(), demand.clone()),
            None => wishes.demands.remove(role),
        };
        let checked = demand.map_or(Ok(()), |_| check_wishes(framework, wishes));
        if let Err(reject) = checked {
            match before {
                Some(before) => wishes.demands.insert(role.clone(), before),
                None => wishes.demands.remove(role),
            };
            refuse(CallKind::Demand, reject.kind(), reject.to_string(), out);
            return false;
        }
        true
    }
}

/// Tells the user what the master would.
fn refuse(call: CallKind, reason: RejectKind, message: String, out: &mut Out) {
    out.emit(Effect::User(UserEvent::Rejected {
        call,
        reason,
        message,
    }));
}
