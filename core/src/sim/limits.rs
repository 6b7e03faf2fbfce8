//! An operator who limits what the built-in frameworks may have together, promises them something,
//! and says that agents are gone.
//!
//! Part of the world. He sets quota with each master that does not know of them: a registry may
//! have lost them with what was not durable.

use alloc::format;

use super::options::Options;
use super::queue::Name;
use super::tap::Mode;
use super::world::{World, at};
use crate::auth::{PeerRole, Principal};
use crate::ids::RequestId;
use crate::master::Input;
use crate::protocol::operator::{Call, Request};
use crate::quota::Quota;
use crate::roles::Role;

/// The role that has quota.
const TEAM: &str = "team";

/// Returns in which role a built-in framework is.
pub(super) fn role_of(options: &Options, framework: &str) -> Role {
    if !has_quota(options) {
        return Role::any();
    }
    Role::new(&format!("{TEAM}/{framework}")).expect("the name of a framework makes a role")
}

fn team() -> Role {
    Role::new(TEAM).expect("a literal that is a role")
}

/// Returns whether a role is not kept from what is free for others.
pub(super) fn is_favoured(options: &Options, role: &Role) -> bool {
    options.guarantees.iter().next().is_none() || role.is_below(&team())
}

fn has_quota(options: &Options) -> bool {
    let limits = options.limits.iter().next();
    limits.is_some() || options.guarantees.iter().next().is_some()
}

impl World {
    /// Has the quota set, unless the master knows it.
    pub(super) fn set_quota(&mut self) {
        let master = self.master.machine();
        let is_known = master.is_none_or(|master| master.registry().quotas().contains_key(&team()));
        if !is_known && has_quota(&self.options) {
            self.order_quota();
        }
    }

    /// Lets all built-in schedulers but those that come now do nothing new. Nothing is kept free
    /// for them any more.
    pub(super) fn begin_contest(&mut self) {
        self.set_mode(Mode::Quiet);
        self.mode = Mode::Working;
        // So that masters that come later are not told of them either.
        let promised = core::mem::take(&mut self.options.guarantees);
        if promised.iter().next().is_some() {
            self.order_quota();
        }
    }

    fn order_quota(&mut self) {
        let quota = Quota {
            guarantees: self.options.guarantees.clone(),
            limits: self.options.limits.clone(),
        };
        self.order(Call::UpdateQuota {
            quotas: [(team(), quota)].into(),
            force: true,
        });
    }

    /// Lets an operator say that an agent is gone. Returns whether the master knows one.
    pub(super) fn mark_gone(&mut self, n: u32) -> bool {
        let master = self.master.machine();
        let hostname = &self.agents[at(n)].info.hostname;
        let agents = master.map(|master| master.view().agents());
        let mut agents = agents.into_iter().flatten();
        let Some(row) = agents.find(|row| row.info.hostname == *hostname) else {
            return false;
        };
        self.agents[at(n)].marked_gone = true;
        self.order(Call::MarkGone { agent: row.id });
        true
    }

    /// Gives the master an order, over a connection that is made for it.
    fn order(&mut self, call: Call) {
        let peer = self.net.outside();
        let principal = Principal {
            role: PeerRole::Operator,
            name: "operator".into(),
        };
        let request = Request {
            id: RequestId(1),
            call,
            after: None,
        };
        for input in [
            Input::Connected { peer, principal },
            Input::Operator { peer, request },
            Input::Disconnected { peer },
        ] {
            self.master_hears(input);
        }
        self.flush_master();
        self.check(Name::Master);
    }
}
