//! Checks of the resources that peers name: of tasks and executors (VA-05, VA-13), and of agents
//! (VA-30).
//!
//! Called by [`super::validate`]. Deliberately not here: whether a task's fit what was offered.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

use super::validate::Reject;
use crate::resources::{Resources, Value};

/// Devices that are given as a whole (RM-55).
const DEVICES: &str = "gpus";

/// Checks what a task takes, and its executor if it has one of its own.
pub(super) fn check_used(task: &Resources, executor: Option<&Resources>) -> Result<(), Reject> {
    check_devices("task", task)?;
    let of_executor = || executor.into_iter().flat_map(Resources::iter);
    executor.map_or(Ok(()), |executor| check_devices("executor", executor))?;
    if let Some(shared) = of_executor().find(|entry| entry.is_shared()) {
        let shared = Box::new(shared.clone());
        return Err(Reject::SharedInExecutor { shared });
    }
    let (mut volumes, mut revocable) = (BTreeSet::new(), BTreeMap::new());
    for entry in task.iter().chain(of_executor()) {
        if let Some(volume) = &entry.metadata().volume
            && !volumes.insert((entry.reservation_role(), &volume.id))
        {
            let volume = Box::new(entry.clone());
            return Err(Reject::VolumeTwice { volume });
        }
        let before = revocable.insert(entry.name(), entry.is_revocable());
        if before.is_some_and(|before| before != entry.is_revocable()) {
            let name = entry.shared_name();
            return Err(Reject::Mixed { name });
        }
    }
    Ok(())
}

/// Checks what an agent is set up with: what operations make of it comes later.
pub(super) fn check_configured(agent: &Resources) -> Result<(), Reject> {
    check_devices("agent", agent)?;
    let made = agent.iter().find(|entry| {
        let mut levels = entry.metadata().reservations.levels().iter();
        entry.is_persistent_volume() || levels.any(|level| level.is_dynamic())
    });
    match made {
        Some(made) => Err(Reject::NotConfigurable {
            made: Box::new(made.clone()),
        }),
        None => Ok(()),
    }
}

fn check_devices(what: &'static str, bag: &Resources) -> Result<(), Reject> {
    let parts = bag.iter().find_map(|entry| match entry.value() {
        Value::Scalar(amount) if entry.name() == DEVICES && !amount.is_whole() => Some(*amount),
        Value::Scalar(_) | Value::Ranges(_) | Value::Items(_) => None,
    });
    match parts {
        Some(amount) => Err(Reject::PartOfDevice { what, amount }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::*;

    fn bag(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    fn used(task: &str, executor: &str) -> Result<(), String> {
        let checked = check_used(&bag(task), Some(&bag(executor)));
        checked.map_err(|reject| reject.to_string())
    }

    fn configured(agent: &str) -> Result<(), String> {
        check_configured(&bag(agent)).map_err(|reject| reject.to_string())
    }

    #[test]
    fn devices_are_whole() {
        // VA-05, RM-55
        let part = |what| {
            Err(alloc::format!(
                "{what} has gpus:0.5: expected whole devices"
            ))
        };
        assert_eq!(used("gpus:2", "gpus:1"), Ok(()));
        assert_eq!(used("cpus:0.5;gpus:0.5", "cpus:1"), part("task"));
        assert_eq!(used("cpus:1", "gpus:0.5"), part("executor"));
        assert_eq!(configured("gpus:0.5"), part("agent"));
        assert_eq!(configured("gpus:2;cpus:0.5"), Ok(()));
    }

    #[test]
    fn what_a_task_takes_is_of_one_sort() {
        // VA-13
        assert_eq!(used("cpus(*)<revocable>:1;mem:1", "mem:1"), Ok(()));
        let mixed = "some of cpus is revocable, and some is not";
        for (task, executor) in [
            ("cpus(*)<revocable>:1;cpus:1", "mem:1"),
            ("cpus:1", "cpus(*)<revocable>:1"),
        ] {
            assert_eq!(used(task, executor), Err(mixed.into()));
        }
    }

    #[test]
    fn a_volume_is_used_once_and_shared_among_tasks_only() {
        // VA-13
        let volume = r#"disk(a)<volume="v",rw="p">:1"#;
        let other = r#"disk(b)<volume="v",rw="p">:1"#;
        let again = r#"disk(a)<volume="v",rw="q">:2"#;
        let shared = r#"disk(a)<volume="s",rw="p",shared>:1"#;
        assert_eq!(used(volume, other), Ok(()));
        let both = alloc::format!("{volume};{again}");
        for (task, executor) in [(volume, again), (volume, volume), (&both, "cpus:1")] {
            let error = used(task, executor).unwrap_err();
            assert!(
                error.ends_with("names a volume that is named before"),
                "{error}"
            );
        }
        assert_eq!(used(shared, "cpus:1"), Ok(()));
        let error = used("cpus:1", shared).unwrap_err();
        assert_eq!(
            error,
            alloc::format!("executor has {shared}, which is shared")
        );
    }

    #[test]
    fn an_agent_is_not_set_up_with_what_operations_make() {
        // VA-30
        assert_eq!(configured("cpus(a):1;disk(*)<mount=\"/m\">:1"), Ok(()));
        for made in [
            r#"cpus(*)<dynamic="a">:1"#,
            r#"disk(a)<volume="v",rw="p">:1"#,
            r#"cpus(a)<dynamic="a/b">:1"#,
        ] {
            let error = alloc::format!("agent is set up with {made}, which only operations make");
            assert_eq!(configured(made), Err(error));
        }
    }
}
