//! One plan, run to its end or to what ends it: a broken property, or a machine's assertion.
//!
//! Used by swarms and replays. An assertion is a panic in the library; here it becomes what is
//! reported of every other failure, and prints nothing of its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Duration;

use tepui_core::sim::{Kind, Log, Plan, Property, Violation};

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) events: u64,
    pub(super) faults: BTreeMap<Kind, u64>,
    /// Which tables and queues were seen full.
    pub(super) full: BTreeSet<&'static str>,
    pub(super) time: Duration,
    /// The digest of the event log, if that was asked for.
    pub(super) digest: Option<u128>,
    pub(super) violation: Option<Violation>,
}

impl Trial {
    /// Runs a plan.
    pub(super) fn of(plan: &Plan, log: Log) -> Self {
        let mut sim = plan.start(log);
        let finished = catch(|| plan.finish(&mut sim));
        match finished {
            Ok(result) => {
                let report = sim.report();
                Self {
                    events: report.events,
                    faults: report.faults,
                    full: report.full,
                    time: report.duration,
                    digest: sim.digest(),
                    violation: result.err(),
                }
            }
            // What is left of the cluster can be asked for its time only.
            Err(text) => Self {
                violation: Some(Violation {
                    seed: plan.options.seed,
                    at: sim.now(),
                    property: Property::Machines,
                    text,
                }),
                ..Self::default()
            },
        }
    }

    /// Runs a plan twice, and compares.
    pub(super) fn twice(plan: &Plan) -> Self {
        let first = Self::of(plan, Log::digest());
        let second = Self::of(plan, Log::digest());
        if first == second {
            return first;
        }
        let digests = [first.digest, second.digest].map(Option::unwrap_or_default);
        let [one, other] = digests.map(|digest| format!("{digest:032x}"));
        let violation = Violation {
            seed: plan.options.seed,
            at: tepui_core::time::Time::ZERO + first.time,
            property: Property::Determinism,
            text: format!("the event log has the digest {one} and then {other}"),
        };
        Self {
            violation: Some(violation),
            ..first
        }
    }
}

thread_local! {
    /// What panicked on this thread, while somebody catches it.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `act`; returns the message of a panic and where it happened, which nobody else prints.
fn catch<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_caught = CAUGHT.with_borrow_mut(|caught| match caught {
                Some(text) => {
                    *text = info.to_string();
                    true
                }
                None => false,
            });
            if !is_caught {
                usual(info);
            }
        }));
    });
    CAUGHT.set(Some(String::new()));
    // What is left behind is dropped, or asked for its time only.
    let result = panic::catch_unwind(AssertUnwindSafe(act));
    let text = CAUGHT.take().unwrap_or_default();
    result.map_err(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_ends_well_says_what_happened() {
        let trial = Trial::twice(&Plan::drawn(1));
        assert_eq!(trial.violation, None);
        assert!(trial.events > 100 && !trial.faults.is_empty());
        assert!(trial.digest.is_some() && trial.time >= Duration::from_secs(360));
    }

    #[test]
    fn a_panic_is_caught_with_its_place_and_the_next_one_anew() {
        for n in 0..2 {
            let text = catch(|| assert_ne!(n, n, "planted {n}")).unwrap_err();
            assert!(text.contains(&format!("planted {n}")), "{text}");
            assert!(text.contains("trial.rs:"), "{text}");
        }
        assert_eq!(catch(|| 7), Ok(7));
        assert_eq!(CAUGHT.take(), None);
    }
}
