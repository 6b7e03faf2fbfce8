//! What a role is promised, and how much it may have.
//!
//! Registry, master and allocator share the type. Deliberately not here: what a role consumes and
//! what is kept free for others, which the allocator counts.

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::resources::{Ceilings, Milli, Quantities};

/// A guarantee and a limit; both count what is in use and what is offered (RQ-12).
///
/// ```
/// use tepui_core::quota::Quota;
/// use tepui_core::resources::{Ceilings, Quantities};
///
/// let quota = Quota {
///     guarantees: Quantities::parse("cpus:4")?,
///     limits: Ceilings::parse("cpus:8;gpus:0")?,
/// };
/// assert_eq!(quota.check(), Ok(()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quota {
    /// What is kept free for the role as long as it does not have it; an absent name is zero.
    pub guarantees: Quantities,
    /// What the role may have at most; an absent name is unbounded.
    pub limits: Ceilings,
}

/// A promise above what is allowed can never be kept (RQ-13).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{guarantee} of {name:?} is guaranteed, and {limit} is the limit")]
pub struct GuaranteeAboveLimit {
    /// Of what.
    pub name: Arc<str>,
    /// What is promised.
    pub guarantee: Milli,
    /// What is allowed.
    pub limit: Milli,
}

impl Quota {
    /// Returns whether this promises and forbids nothing: a role without quota.
    pub const fn is_default(&self) -> bool {
        self.guarantees.is_empty() && self.limits.is_empty()
    }

    /// Checks that no guarantee is above its limit.
    pub fn check(&self) -> Result<(), GuaranteeAboveLimit> {
        let above = self.guarantees.iter().find_map(|(name, guarantee)| {
            let limit = self.limits.bound(name).filter(|limit| *limit < guarantee)?;
            Some((name, guarantee, limit))
        });
        match above {
            None => Ok(()),
            Some((name, guarantee, limit)) => Err(GuaranteeAboveLimit {
                name: Arc::from(name),
                guarantee,
                limit,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_guarantee_fits_its_limit() {
        // RQ-12, RQ-13
        let quota = |guarantees, limits| Quota {
            guarantees: Quantities::parse(guarantees).unwrap(),
            limits: Ceilings::parse(limits).unwrap(),
        };
        assert_eq!(quota("cpus:4", "cpus:4;mem:0").check(), Ok(()));
        assert_eq!(quota("cpus:4", "mem:0").check(), Ok(()));
        let error = quota("cpus:4;mem:1", "mem:0.5").check().unwrap_err();
        let text = "1 of \"mem\" is guaranteed, and 0.5 is the limit";
        assert_eq!(error.to_string(), text);
        assert!(quota("", "").is_default() && !quota("", "gpus:0").is_default());
    }
}
