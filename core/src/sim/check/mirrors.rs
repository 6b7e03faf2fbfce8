//! A snapshot and the events after it add up to what the master has, and whoever waits for the next
//! event has all of them (I13).
//!
//! What is skipped or comes twice, and what is added or changed that does not fit, is refused by
//! the mirror itself; so is what comes after a gap. Here all that it has is compared with a look at
//! the master, at the moments at which both are of one version.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

use crate::master::View;
use crate::mirror::Mirror;
use crate::protocol::events::Version;
use crate::protocol::offer::Offer;
use crate::protocol::operator::TaskView;

/// Compares a mirror with the master. `waits` is after which version its reader waits for an event,
/// if every answer that it could have had has arrived.
pub(super) fn check(mirror: &Mirror, waits: Option<Version>, view: &View) -> Result<(), String> {
    let newest = view.version();
    if let Some(version) = waits.filter(|version| *version != newest) {
        return Err(format!("it waits after {version:?} at {newest:?}"));
    }
    if !mirror.is_whole() || mirror.version() != Some(newest) {
        return Ok(());
    }
    let (mut agents, mut frameworks) = (view.agents(), view.frameworks());
    agents.sort_by(|a, b| a.id.cmp(&b.id));
    frameworks.sort_by(|a, b| a.info.id.cmp(&b.info.id));
    same("agents", &mirror.agents(), &agents)?;
    same("frameworks", &mirror.frameworks(), &frameworks)?;
    let theirs = view.mirror();
    let tasks = |mirror: &Mirror| -> Vec<TaskView> { mirror.tasks().cloned().collect() };
    same("tasks", &tasks(mirror), &tasks(&theirs))?;
    let offers = |mirror: &Mirror| -> Vec<Offer> { mirror.offers().cloned().collect() };
    same("offers", &offers(mirror), &offers(&theirs))?;
    same("rows", mirror, &theirs)
}

fn same<T: PartialEq + Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    Err(format!("its {what} are {ours:?}, the master's {theirs:?}"))
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::time::Duration;

    use super::*;
    use crate::protocol::events::{Batch, Event, Kind, Snapshot};
    use crate::sim::{Options, Sim};

    // I13
    #[test]
    fn a_mirror_that_lacks_or_has_something_else_is_found() {
        let machine = "cpus:4;mem:1024".parse().unwrap();
        let mut sim = Sim::new(Options::new(3, 1, 1, machine));
        sim.run_for(Duration::from_secs(20));
        let view = sim.master().unwrap().view();
        let newest = view.version();
        let whole = view.mirror();
        assert_eq!(check(&whole, Some(newest), &view), Ok(()));
        let (epoch, number) = (newest.epoch, newest.number - 1);
        let before = Version { epoch, number };
        let late = check(&whole, Some(before), &view).unwrap_err();
        assert!(late.contains("it waits after"), "{late}");
        for kind in [Kind::Agents, Kind::Frameworks, Kind::Tasks] {
            let mut lacks = Mirror::default();
            let kinds = Kind::ALL.into_iter().filter(|it| *it != kind);
            for kind in kinds {
                let (from, upto) = (newest, newest);
                let rows = view.rows(kind);
                lacks.load(Snapshot { from, upto, rows }).unwrap();
            }
            assert!(!view.rows(kind).is_empty(), "{kind:?}");
            let lack = check(&lacks, None, &view).unwrap_err();
            assert!(lack.contains(" are "), "{kind:?}: {lack}");
        }
        // One that is behind is not compared.
        let mut behind = Mirror::default();
        let empty = |from, upto| Snapshot {
            from,
            upto,
            rows: vec![],
        };
        behind.load(empty(before, before)).unwrap();
        assert_eq!(check(&behind, Some(newest), &view), Ok(()));
        let row = view.rows(Kind::Agents).remove(0);
        let events = vec![Event::Added(row)];
        let after = before;
        behind.apply(Batch { after, events }).unwrap();
        assert!(check(&behind, None, &view).is_err());
        // Nor is one whose pages are of several moments.
        let mut blurred = Mirror::default();
        blurred.load(empty(before, newest)).unwrap();
        assert_eq!(check(&blurred, None, &view), Ok(()));
    }
}
