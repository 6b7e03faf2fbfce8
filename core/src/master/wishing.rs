//! Reacts to what frameworks say they want: in which roles, and how much (OF-36, OF-37).
//!
//! Called by `on_scheduler`, and by `subscribing` where it is said together with who it is.
//! Deliberately not here: what is offered for it, which is the allocator's.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::slice::from_ref;

use super::{Cx, Master};
use crate::allocator::Change;
use crate::demand::Demand;
use crate::keys::FrameworkKey;
use crate::mutant::{Mutant, planted};
use crate::protocol::refusal::CallKind;
use crate::protocol::validate::check_named_roles;
use crate::roles::Role;

impl Master {
    /// Stops offering in some roles, or in all (OF-37).
    pub(super) fn on_suppress(&mut self, cx: &mut Cx<'_>, key: FrameworkKey, roles: Vec<Role>) {
        if !self.are_own(cx, key, CallKind::Suppress, &roles) {
            return;
        }
        let row = &mut self.frameworks[key];
        if let Err(reject) = row.wishes.suppress(row.info.named_roles(&roles)) {
            let reason = reject.kind();
            return self.reject(cx, key, CallKind::Suppress, reason, reject.to_string());
        }
        self.changes.push(Change::Suppressed {
            framework: key,
            roles,
        });
    }

    /// Offers in some roles again, or in all, as if nothing had been refused there (OF-36).
    pub(super) fn on_revive(&mut self, cx: &mut Cx<'_>, key: FrameworkKey, roles: Vec<Role>) {
        if planted(Mutant::RefusedRevives) {
            self.frameworks[key].wishes.revive(&roles);
        }
        if !self.are_own(cx, key, CallKind::Revive, &roles) {
            return;
        }
        self.frameworks[key].wishes.revive(&roles);
        self.changes.push(Change::Revived {
            framework: key,
            roles,
        });
        self.ask_again(key);
    }

    /// Returns whether a framework is in all roles that its call names; turns the call down if not.
    fn are_own(&self, cx: &mut Cx<'_>, key: FrameworkKey, call: CallKind, roles: &[Role]) -> bool {
        match check_named_roles(&self.frameworks[key].info, roles) {
            Ok(()) => true,
            Err(reject) => {
                self.reject(cx, key, call, reject.kind(), reject.to_string());
                false
            }
        }
    }

    /// Offers as much as is wanted in a role from now on.
    pub(super) fn on_demand(
        &mut self,
        cx: &mut Cx<'_>,
        key: FrameworkKey,
        role: Role,
        demand: Option<Demand>,
    ) {
        if !self.are_own(cx, key, CallKind::Demand, from_ref(&role)) {
            return;
        }
        let wishes = &mut self.frameworks[key].wishes;
        if let Err(reject) = wishes.set_demand(&role, demand.as_ref()) {
            let reason = reject.kind();
            return self.reject(cx, key, CallKind::Demand, reason, reject.to_string());
        }
        self.changes.push(Change::Demanded {
            framework: key,
            role,
            demand,
        });
    }

    /// Tells the allocator how much a framework wants, each time that it is said, and of which
    /// roles it says nothing any more.
    pub(super) fn demand_all(&mut self, key: FrameworkKey, before: &BTreeMap<Role, Demand>) {
        let demands = &self.frameworks[key].wishes.demands;
        let ended = before.keys().filter(|role| !demands.contains_key(role));
        let said = demands.iter().map(|(role, it)| (role, Some(it.clone())));
        let all = ended.map(|role| (role, None)).chain(said);
        let changes = all.map(|(role, demand)| Change::Demanded {
            framework: key,
            role: role.clone(),
            demand,
        });
        self.changes.extend(changes);
    }
}
