//! What a role is promised, and how much it may have.
//!
//! Registry, master and allocator share the type. Deliberately not here: what a role consumes and
//! what is kept free for others, which the allocator counts.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::convert::Infallible;

use serde::{Deserialize, Serialize};

use crate::resources::{Ceilings, Milli, Quantities};
use crate::roles::Role;

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

/// What a role and those below it are promised together is above what it is allowed: a part of it
/// can never be kept (RQ-13).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{promised} of {name:?} is promised in and below {role}, whose limit is {limit}")]
pub struct PromisedAboveLimit {
    /// Whose limit it is.
    pub role: Role,
    /// Of what.
    pub name: Arc<str>,
    /// What is promised to it, or to those below it together if that is more.
    pub promised: Milli,
    /// What it is allowed.
    pub limit: Milli,
}

/// Checks that guarantees, of a role and of all below it, fit its limit.
///
/// What serves a role serves those above it as well, so of a role's own guarantee and of those
/// below it together the greater counts. An allocator takes other quotas too: limits hold, and what
/// they do not leave is kept free for nobody.
///
/// ```
/// use std::collections::BTreeMap;
/// use tepui_core::quota::{self, Quota};
/// use tepui_core::resources::{Ceilings, Quantities};
/// use tepui_core::roles::Role;
///
/// let mut quotas = BTreeMap::new();
/// let limits = Ceilings::parse("cpus:2")?;
/// quotas.insert(Role::new("eng")?, Quota { limits, ..Quota::default() });
/// let guarantees = Quantities::parse("cpus:6")?;
/// quotas.insert(Role::new("eng/web")?, Quota { guarantees, ..Quota::default() });
/// let error = quota::check_levels(&quotas).expect_err("six do not fit two");
/// assert_eq!(error.role.as_str(), "eng");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_levels(quotas: &BTreeMap<Role, Quota>) -> Result<(), PromisedAboveLimit> {
    let check = |role: &Role, quota: &Quota, all: &Quantities| {
        for (name, limit) in quota.limits.iter() {
            let promised = all.amount(name);
            if promised > limit {
                return Err(PromisedAboveLimit {
                    role: role.clone(),
                    name: Arc::from(name),
                    promised,
                    limit,
                });
            }
        }
        Ok(())
    };
    add_up(quotas, check).map(drop)
}

/// Returns what is promised in all: of a role's own guarantee and of those below it together the
/// greater counts.
pub fn promised(quotas: &BTreeMap<Role, Quota>) -> Quantities {
    let all: Result<_, Infallible> = add_up(quotas, |_, _, _| Ok(()));
    let Ok(all) = all;
    all
}

/// Adds up what is promised, from below, and shows each role with what is promised in and below it.
fn add_up<E>(
    quotas: &BTreeMap<Role, Quota>,
    show: impl Fn(&Role, &Quota, &Quantities) -> Result<(), E>,
) -> Result<Quantities, E> {
    // By role, what the nearest below it are promised. Whoever is below comes after in the order
    // of paths.
    let mut below: BTreeMap<&Role, Quantities> = BTreeMap::new();
    let mut all = Quantities::new();
    for (role, quota) in quotas.iter().rev() {
        let mut promised = quota.guarantees.clone();
        let mut more = below.remove(role).unwrap_or_default();
        more.saturating_sub(&promised);
        promised.add(&more);
        show(role, quota, &promised)?;
        match nearest_above(role, quotas) {
            Some(above) => below.entry(above).or_default().add(&promised),
            None => all.add(&promised),
        }
    }
    Ok(all)
}

/// How many names quotas are counted of one by one, beside `cpus`, `mem`, `disk` and `gpus`.
pub const MOST_NAMES: usize = 12;

/// Quotas have so many names that some cannot be told from each other: limits hold, but for these
/// names together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quotas have {names} names beside cpus, mem, disk and gpus, and {MOST_NAMES} are counted")]
pub struct TooManyNames {
    /// How many there are.
    pub names: usize,
}

/// Checks that quotas have no more names than are counted one by one. Names that an allocator's
/// options count are to be taken off.
pub fn check_names<'a>(quotas: impl IntoIterator<Item = &'a Quota>) -> Result<(), TooManyNames> {
    let mut names = BTreeSet::new();
    for quota in quotas {
        names.extend(quota.guarantees.iter().map(|(name, _)| name));
        names.extend(quota.limits.iter().map(|(name, _)| name));
    }
    names.retain(|name| !["cpus", "mem", "disk", "gpus"].contains(name));
    if names.len() > MOST_NAMES {
        return Err(TooManyNames { names: names.len() });
    }
    Ok(())
}

/// Returns the nearest role above one that has quota.
fn nearest_above<'a>(role: &Role, quotas: &'a BTreeMap<Role, Quota>) -> Option<&'a Role> {
    let mut ends = role.as_str().rmatch_indices('/').map(|(at, _)| at);
    ends.find_map(|end| {
        let above = Role::new(&role.as_str()[..end]).expect("what is above a role is a role");
        quotas.get_key_value(&above).map(|(above, _)| above)
    })
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

    #[test]
    fn names_in_quotas_are_counted() {
        let quota = |from: usize, to: usize| {
            let mut limits = Ceilings::parse("cpus:1;gpus:0").unwrap();
            for n in from..to {
                let name = alloc::format!("x{n}");
                limits.insert(&name, Milli::from_units(1)).unwrap();
            }
            Quota {
                guarantees: Quantities::parse("mem:1;x0:1").unwrap(),
                limits,
            }
        };
        assert_eq!(check_names(&[quota(0, 8), quota(4, MOST_NAMES)]), Ok(()));
        let names = MOST_NAMES + 1;
        let error = check_names(&[quota(0, 8), quota(4, names)]);
        assert_eq!(error, Err(TooManyNames { names }));
    }

    #[test]
    fn what_serves_a_role_below_is_promised_once() {
        // RQ-13
        let roles = [("a", "cpus:3"), ("a/b/c", "cpus:4;mem:1"), ("d", "cpus:1")];
        let entry = |(role, guarantees): (&str, &str)| {
            let quota = Quota {
                guarantees: Quantities::parse(guarantees).unwrap(),
                limits: Ceilings::default(),
            };
            (Role::new(role).unwrap(), quota)
        };
        let all = promised(&roles.into_iter().map(entry).collect());
        assert_eq!(all.to_string(), "cpus:5;mem:1");
    }

    #[test]
    fn guarantees_fit_the_limits_above_them() {
        // RQ-13
        let check = |quotas: &[(&str, &str, &str)]| {
            let entry = |(role, guarantees, limits): &(&str, &str, &str)| {
                let quota = Quota {
                    guarantees: Quantities::parse(guarantees).unwrap(),
                    limits: Ceilings::parse(limits).unwrap(),
                };
                (Role::new(role).unwrap(), quota)
            };
            check_levels(&quotas.iter().map(entry).collect())
        };
        // What is not below a role is not its own, though it stands between in the order.
        let apart = [
            ("a", "", "cpus:2"),
            ("a-b", "cpus:9", ""),
            ("a/c", "cpus:2", ""),
        ];
        assert_eq!(check(&apart), Ok(()));
        // What serves a child serves its parent.
        let nested = [("a", "cpus:3", "cpus:4"), ("a/b/c", "cpus:4", "")];
        assert_eq!(check(&nested), Ok(()));
        let two = [
            ("a", "cpus:1", "cpus:4;mem:1"),
            ("a/b", "cpus:2", ""),
            ("a/b/d", "cpus:3", "cpus:3"),
            ("a/c", "cpus:2", ""),
        ];
        let error = check(&two).unwrap_err();
        let text = "5 of \"cpus\" is promised in and below a, whose limit is 4";
        assert_eq!(error.to_string(), text);
        assert!(check(&[("a", "cpus:3", "cpus:2")]).is_err());
    }
}
