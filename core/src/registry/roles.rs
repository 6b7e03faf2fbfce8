//! What operators have said about roles: quotas and weights.
//!
//! Deliberately not here: whether it makes sense, which the master has checked before.

use alloc::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::quota::Quota;
use crate::resources::Milli;
use crate::roles::Role;

/// A role without an entry has no quota, and weighs 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roles {
    pub(super) quotas: BTreeMap<Role, Quota>,
    pub(super) weights: BTreeMap<Role, Milli>,
}

impl Roles {
    pub(super) fn set_quotas(&mut self, quotas: &[(Role, Quota)]) {
        for (role, quota) in quotas {
            if quota.is_default() {
                self.quotas.remove(role);
            } else {
                self.quotas.insert(role.clone(), quota.clone());
            }
        }
    }

    pub(super) fn set_weights(&mut self, weights: &[(Role, Milli)]) {
        for (role, weight) in weights {
            if *weight == Milli::from_units(1) {
                self.weights.remove(role);
            } else {
                self.weights.insert(role.clone(), *weight);
            }
        }
    }
}
