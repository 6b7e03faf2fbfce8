//! Roles of which operators have said something, as rows: so they are told like everything else.
//!
//! The registry is what counts; these follow it. Deliberately not here: whether what is said makes
//! sense, which `quotas` checks.

use alloc::collections::BTreeMap;

use crate::protocol::events::RoleState;
use crate::registry::{Registry, RegistryOp};
use crate::resources::Milli;
use crate::roles::Role;
use crate::table::{Key, Table};

/// The roles with quota, or a weight that is not 1.
#[derive(Debug, Default)]
pub(super) struct Roles {
    rows: Table<RoleState>,
    index: BTreeMap<Role, Key<RoleState>>,
}

impl Roles {
    /// Makes rows of what earlier leaderships have left.
    pub(super) fn recovered(registry: &Registry) -> Self {
        let mut roles = Self::default();
        let quotas = registry.quotas().keys();
        for role in quotas.chain(registry.weights().keys()) {
            roles.follow(registry, role);
        }
        roles
    }

    /// Takes in a record that was applied to the registry.
    pub(super) fn take_in(&mut self, registry: &Registry, op: &RegistryOp) {
        if let RegistryOp::SetQuotas { quotas } = op {
            for (role, _) in quotas {
                self.follow(registry, role);
            }
        }
        if let RegistryOp::SetWeights { weights } = op {
            for (role, _) in weights {
                self.follow(registry, role);
            }
        }
    }

    fn follow(&mut self, registry: &Registry, role: &Role) {
        let (quota, weight) = (registry.quotas().get(role), registry.weights().get(role));
        if quota.is_none() && weight.is_none() {
            if let Some(key) = self.index.remove(role) {
                let _row = self.rows.remove(key);
            }
            return;
        }
        let row = RoleState {
            role: role.clone(),
            weight: weight.copied().unwrap_or(Milli::from_units(1)),
            quota: quota.cloned().unwrap_or_default(),
        };
        match self.index.get(role) {
            Some(key) => self.rows[*key] = row,
            None => {
                let key = self.rows.insert(row);
                self.index.insert(role.clone(), key);
            }
        }
    }

    pub(super) fn snapshot(&self) -> Table<RoleState> {
        self.rows.clone()
    }

    pub(super) fn rows_mut(&mut self) -> &mut Table<RoleState> {
        &mut self.rows
    }
}
