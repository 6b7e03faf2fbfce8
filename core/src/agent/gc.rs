//! Which sandboxes of what has ended are deleted, and when (AG-38, AG-55).
//!
//! A sandbox is retired when nothing that the agent remembers refers to it any more, and is then
//! kept for a time that gets shorter as the disk fills up. The driver says how full that is, once a
//! minute. No container gets the sandbox of another, so nothing has to be saved from being deleted
//! (AG-56).
//!
//! Deliberately not here: deleting, and measuring the disk, which the driver does.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::records::Number;
use super::{Agent, AgentRecord, Cx, Effect, launch};
use crate::ids::{ContainerId, ExecutorId, FrameworkId, TaskId};
use crate::limits;
use crate::time::Time;

/// Whose a sandbox was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Retired {
    Task(FrameworkId, TaskId),
    Executor(FrameworkId, ExecutorId),
}

impl Retired {
    /// Names the directory, in components below that of all sandboxes.
    fn sandbox(&self, number: Number) -> Vec<String> {
        match self {
            Self::Task(framework, task) => launch::task_sandbox(framework, task, number),
            Self::Executor(framework, executor) => {
                launch::executor_sandbox(framework, executor, number)
            }
        }
    }
}

/// The sandboxes that nothing writes to, in the order in which they are deleted.
pub(super) type Retirees = BTreeMap<(Time, Number), Retired>;

/// What is being deleted in this life.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    under_way: BTreeMap<Number, Time>,
    /// These could not be, and are tried again in the next life.
    failed: BTreeSet<Number>,
    /// How full the disk was when it was last looked at, in thousandths.
    permille: u16,
}

impl Deletions {
    /// Returns how many sandboxes could not be deleted.
    pub(super) fn failed(&self) -> usize {
        self.failed.len()
    }

    /// Returns how many sandboxes are being deleted.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    fn is_settled(&self, number: Number) -> bool {
        self.under_way.contains_key(&number) || self.failed.contains(&number)
    }
}

impl Agent {
    /// Has deleted what has been kept for long enough, the oldest first.
    pub(super) fn on_disk_used(&mut self, cx: &mut Cx<'_>, permille: u16) {
        self.deletions.permille = permille;
        self.delete_old(cx);
    }

    fn delete_old(&mut self, cx: &mut Cx<'_>) {
        self.give_up_surplus(cx);
        let permille = self.deletions.permille;
        let age = allowed_age(self.config.gc_delay, self.config.gc_headroom, permille);
        let retired = self.state.retired();
        let surplus = retired.len().saturating_sub(limits::RETIRED_SANDBOXES);
        let room = self
            .config
            .bounds
            .deletions
            .saturating_sub(self.deletions.under_way.len());
        let due: Vec<(Number, Time, Vec<String>)> = retired
            .iter()
            .enumerate()
            .take_while(|(index, ((at, _), _))| *index < surplus || *at + age <= cx.now)
            .filter(|(_, ((_, number), _))| !self.deletions.is_settled(*number))
            .take(room)
            .map(|(_, ((at, number), retired))| (*number, *at, retired.sandbox(*number)))
            .collect();
        for (number, at, sandbox) in due {
            self.deletions.under_way.insert(number, at);
            let container = number.container();
            cx.out.emit(Effect::DeleteSandbox { container, sandbox });
        }
    }

    /// Forgets the oldest of what cannot be deleted, where there is too much to remember: it stays
    /// on the disk, for whoever looks after the machine.
    fn give_up_surplus(&mut self, cx: &mut Cx<'_>) {
        let retired = self.state.retired();
        let surplus = retired.len().saturating_sub(limits::RETIRED_SANDBOXES);
        let oldest = retired.iter().take(surplus);
        let given_up: Vec<(Time, Number)> = oldest
            .map(|(place, _)| *place)
            .filter(|(_, number)| self.deletions.failed.contains(number))
            .collect();
        for (at, sandbox) in given_up {
            self.deletions.failed.remove(&sandbox);
            let container = sandbox.container();
            tracing::warn!(%container, "its sandbox cannot be deleted: given up");
            self.persist(cx, AgentRecord::Collected { sandbox, at });
        }
    }

    pub(super) fn on_sandbox_deleted(
        &mut self,
        cx: &mut Cx<'_>,
        container: &ContainerId,
        is_gone: bool,
    ) {
        let number = Number::of_container(container);
        let under_way = number.and_then(|n| Some((n, self.deletions.under_way.remove(&n)?)));
        let Some((number, at)) = under_way else {
            tracing::debug!(%container, "deleted, but nobody asked: ignored");
            return;
        };
        if is_gone {
            let sandbox = number;
            self.persist(cx, AgentRecord::Collected { sandbox, at });
        } else {
            self.deletions.failed.insert(number);
        }
        // The next ones, once many are done: more may end in a minute than are deleted at a time.
        if self.deletions.under_way.len() <= self.config.bounds.deletions / 2 {
            self.delete_old(cx);
        }
    }
}

/// Returns for how long a sandbox is kept: for ever shorter times while the disk fills up, and not
/// at all on one with less than `headroom` left. All in thousandths of the disk.
fn allowed_age(delay: Duration, headroom: u16, used: u16) -> Duration {
    let left = 1_000_u32.saturating_sub(u32::from(headroom) + u32::from(used));
    // First the division: no delay is too long for it, and microseconds are lost at most.
    (delay / 1_000).saturating_mul(left)
}

#[cfg(test)]
impl super::AgentState {
    /// Has the sandboxes of so many tasks.
    pub(super) fn retire_some(&mut self, count: usize) {
        let framework = FrameworkId::new("f").expect("a valid id");
        let task = TaskId::new("t").expect("a valid id");
        for number in 0..count as u64 {
            let retired = Retired::Task(framework.clone(), task.clone());
            self.retired_mut()
                .insert((Time::ZERO, Number(number)), retired);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tv_34_the_fuller_the_disk_the_sooner() {
        // AG-55, TL-20, TV-34
        let week = Duration::from_secs(7 * 24 * 3_600);
        for (used, days) in [
            (0, 6.3),
            (400, 3.5),
            (500, 2.8),
            (800, 0.7),
            (900, 0.0),
            (950, 0.0),
            (1_000, 0.0),
        ] {
            let age = allowed_age(week, 100, used);
            let expected = Duration::from_secs_f64(days * 24.0 * 3_600.0);
            assert_eq!(age.as_secs(), expected.as_secs(), "{used}");
        }
        assert_eq!(allowed_age(Duration::MAX, 0, 1_000), Duration::ZERO);
        assert!(allowed_age(Duration::MAX, 0, 0) > week);
    }
}
