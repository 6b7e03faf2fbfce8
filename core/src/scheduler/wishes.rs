//! What the user says that his framework is and wants: said to the master in the order in which he
//! says it, and kept for the next subscription.
//!
//! An update may change the roles of the framework, and the master may turn it down. So one is on
//! its way at a time, and what is said after it waits until it is answered: then it is known which
//! roles there are, and to which update the answer belongs. What only the master's lines have no
//! room for is said again ([`super::unheard`]). What no subscription has room for is turned down
//! here: the next one would be with it. So is what names a role of others, if no master is there to
//! turn it down.
//!
//! Deliberately not here: what the master does with it.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::slice::from_ref;

use super::unheard::Unheard;
use super::{Effect, Out, Scheduler, UserCall, UserEvent};
use crate::demand::Demand;
use crate::ids::PeerId;
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::framework::{FrameworkInfo, Wishes};
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::scheduler::Call;
use crate::protocol::validate::{Reject, check_named_roles};
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

    /// Returns the roles that it names.
    fn roles(&self) -> &[Role] {
        match self {
            Self::Update(..) => &[],
            Self::Suppress(roles) | Self::Revive(roles) => roles,
            Self::Demand(role, _) => from_ref(role),
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
    /// What the master had no room for.
    pub(super) unheard: Unheard,
    /// Whether there was a heartbeat since the update: then it is time to say that again.
    is_due: bool,
}

impl Wishing {
    /// Returns how much does not hold yet.
    pub(super) fn len(&self) -> usize {
        usize::from(self.updating.is_some()) + self.waiting.len()
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
        if holds {
            self.wishing.unheard.update(&self.config.framework.roles);
        }
        if core::mem::take(&mut self.wishing.is_due) {
            self.say_wishes_again(peer, out);
        }
        while self.wishing.updating.is_none()
            && let Some(wish) = self.wishing.waiting.pop_front()
        {
            self.say_wish(peer, wish, out);
        }
    }

    fn say_wish(&mut self, peer: PeerId, wish: Wish, out: &mut Out) {
        match self.keep_wish(&wish) {
            Ok(()) => {
                let roles = self.config.framework.named_roles(wish.roles());
                let is_update = matches!(wish, Wish::Update(..));
                let roles = if is_update { &[] } else { roles };
                self.wishing.unheard.say(wish.kind(), roles);
            }
            // The master says so.
            Err(reject) if reject.kind() == RejectKind::ForeignRole => {}
            Err(reject) => return refuse(wish.kind(), reject.kind(), reject.to_string(), out),
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
            self.wish_while_away(&wish, out);
        }
    }

    /// Keeps what is wanted while no master is there, or turns it down.
    pub(super) fn wish_while_away(&mut self, wish: &Wish, out: &mut Out) {
        if let Err(reject) = self.keep_wish(wish) {
            refuse(wish.kind(), reject.kind(), reject.to_string(), out);
        }
    }

    /// Says again what the master had no room for, as it is wanted by now.
    pub(super) fn say_wishes_again(&mut self, peer: PeerId, out: &mut Out) {
        if self.wishing.updating.is_some() {
            self.wishing.is_due = true;
            return;
        }
        let (own, wishes) = (&self.config.framework.roles, &self.config.wishes);
        let (mut suppressed, mut revived) = (Vec::new(), Vec::new());
        let mut say = |call| out.emit(Effect::Master { peer, call });
        for (kind, role) in self.wishing.unheard.part(own) {
            let is_suppressed = wishes.suppressed.contains(&role);
            if kind == CallKind::Demand {
                let demand = wishes.demands.get(&role).cloned();
                say(Call::Demand { role, demand });
            } else if kind == CallKind::Suppress && is_suppressed {
                suppressed.push(role);
            } else if kind == CallKind::Revive && !is_suppressed {
                revived.push(role);
            }
        }
        // Without a name all roles would be meant.
        if !suppressed.is_empty() {
            say(Call::Suppress { roles: suppressed });
        }
        if !revived.is_empty() {
            say(Call::Revive { roles: revived });
        }
    }

    /// Keeps for the next subscription what is wanted; an update not before it is answered. Nothing
    /// changes with what a master would turn down, at once or with all the rest.
    fn keep_wish(&mut self, wish: &Wish) -> Result<(), Reject> {
        let roles = wish.roles();
        check_named_roles(&self.config.framework, roles)?;
        let wishes = &mut self.config.wishes;
        match wish {
            Wish::Update(..) => Ok(()),
            Wish::Suppress(_) => wishes.suppress(self.config.framework.named_roles(roles)),
            Wish::Revive(_) => {
                wishes.revive(roles);
                Ok(())
            }
            Wish::Demand(role, demand) => wishes.set_demand(role, demand.as_ref()),
        }
    }

    /// The master has heard nothing of what the call wants in these roles that is turned down next.
    pub(super) fn on_unheard(&mut self, call: CallKind, roles: &[Role]) {
        if let CallKind::Suppress | CallKind::Revive | CallKind::Demand = call {
            let own = &self.config.framework.roles;
            self.wishing.unheard.name(call, roles, own);
        }
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
