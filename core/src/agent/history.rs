//! What has ended on the agent in this life, for people: the last frameworks, of each the last
//! executors, and of each of those the last tasks (TK-101, TK-104, TK-105). A task with a command
//! counts as an executor of its own.
//!
//! Not written down: what must not be lost is told to the frameworks, and the master remembers it.
//! Deliberately not here: sandboxes, which go by other rules ([`super::gc`]).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::records::Number;
use crate::book::Book;
use crate::ids::{ExecutorId, FrameworkId, TaskId};
use crate::limits::Bounds;
use crate::mutant::{Mutant, planted};
use crate::protocol::status::TaskState;
use crate::time::Time;

/// A task that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedTask {
    /// Its id.
    pub task: TaskId,
    /// Its name for people.
    pub name: String,
    /// The executor that ran it; `None` is the agent's own.
    pub executor: Option<ExecutorId>,
    /// How it ended.
    pub state: TaskState,
    /// When, by the clock of whoever said so.
    pub at: Time,
}

/// A task that has ended, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) framework: FrameworkId,
    pub(super) container: Number,
    pub(super) task: EndedTask,
}

/// The last tasks of one container, oldest first, by their numbers.
#[derive(Clone, Debug)]
struct Run {
    container: Number,
    tasks: VecDeque<u64>,
}

/// The last of what has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    frameworks: BTreeMap<FrameworkId, VecDeque<Run>>,
    /// Whose task ended last is last.
    order: Vec<FrameworkId>,
    /// In the order of their ends.
    rows: Book<u64, Ended>,
    next: u64,
    bounds: Bounds,
}

impl History {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Notes the end of a task, in the container that it ran in or would have.
    pub(super) fn note(&mut self, framework: &FrameworkId, container: Number, task: EndedTask) {
        self.order.retain(|other| other != framework);
        self.order.push(framework.clone());
        let number = self.next;
        self.next += 1;
        let row = Ended {
            framework: framework.clone(),
            container,
            task,
        };
        self.rows.insert(number, row);
        let runs = self.frameworks.entry(framework.clone()).or_default();
        // The last is the likeliest: executors end their tasks one after the other.
        let known = runs.iter().rposition(|run| run.container == container);
        let run = known.and_then(|at| runs.remove(at)).unwrap_or(Run {
            container,
            tasks: VecDeque::new(),
        });
        runs.push_back(run);
        let mut dropped = Vec::new();
        let is_bounded = !planted(Mutant::HistoryUnbounded);
        if is_bounded && runs.len() > self.bounds.completed_executors {
            dropped.extend(runs.pop_front().into_iter().flat_map(|run| run.tasks));
        }
        if let Some(run) = runs.back_mut() {
            run.tasks.push_back(number);
            if run.tasks.len() > self.bounds.completed_of_executor {
                dropped.extend(run.tasks.pop_front());
            }
        }
        if self.order.len() > self.bounds.completed_frameworks {
            let oldest = self.order.remove(0);
            let runs = self.frameworks.remove(&oldest).into_iter().flatten();
            dropped.extend(runs.flat_map(|run| run.tasks));
        }
        for number in dropped {
            self.rows.remove(&number);
        }
    }

    pub(super) fn rows(&self) -> &Book<u64, Ended> {
        &self.rows
    }

    pub(super) fn rows_mut(&mut self) -> &mut Book<u64, Ended> {
        &mut self.rows
    }

    /// Returns how many frameworks there are, of one of them the most containers, and of one of
    /// those the most tasks.
    pub(super) fn most(&self) -> (usize, usize, usize) {
        let runs = self.frameworks.values();
        let tasks = runs.clone().flatten().map(|run| run.tasks.len());
        let of_one = runs.map(VecDeque::len).max();
        let most = |count: Option<usize>| count.unwrap_or(0);
        (self.frameworks.len(), most(of_one), most(tasks.max()))
    }

    /// Lists what has ended, by framework, and then in the order of ends as far as that is known.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&FrameworkId, &EndedTask)> + '_ {
        let frameworks = self.frameworks.iter();
        frameworks.flat_map(|(framework, runs)| {
            let tasks = runs.iter().flat_map(|run| run.tasks.iter());
            let tasks = tasks.filter_map(|number| self.rows.get(number));
            tasks.map(move |row| (framework, &row.task))
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::limits;

    fn ended(n: usize) -> EndedTask {
        EndedTask {
            task: TaskId::new(&format!("t{n}")).unwrap(),
            name: "t".into(),
            executor: None,
            state: TaskState::Finished,
            at: Time::ZERO,
        }
    }

    fn framework(n: usize) -> FrameworkId {
        FrameworkId::new(&format!("f{n}")).unwrap()
    }

    fn kept(history: &History) -> Vec<&TaskId> {
        history.iter().map(|(_, task)| &task.task).collect()
    }

    #[test]
    fn tasks_of_an_executor_have_a_bound() {
        // TK-105, TL-26
        let mut history = History::default();
        let most = limits::COMPLETED_TASKS_PER_EXECUTOR;
        for n in 0..=most {
            history.note(&framework(0), Number(0), ended(n));
        }
        let kept = kept(&history);
        assert_eq!((kept.len(), kept[0].as_str()), (most, "t1"));
    }

    #[test]
    fn executors_of_a_framework_have_a_bound() {
        // TK-104, TL-26: the one whose task ended last stays longest
        let mut history = History::default();
        let most = limits::COMPLETED_EXECUTORS_PER_FRAMEWORK;
        for n in 0..most {
            history.note(&framework(0), Number(n as u64), ended(n));
        }
        history.note(&framework(0), Number(0), ended(most));
        history.note(&framework(0), Number(most as u64), ended(most + 1));
        let kept = kept(&history);
        assert_eq!(kept.len(), most + 1);
        assert_eq!(kept[0].as_str(), "t2", "t1 went with its executor");
        assert!(kept.contains(&&ended(0).task));
    }

    #[test]
    fn frameworks_have_a_bound() {
        // TK-101, TL-26
        let mut history = History::default();
        let most = limits::COMPLETED_FRAMEWORKS;
        for n in 0..most {
            history.note(&framework(n), Number(n as u64), ended(n));
        }
        history.note(&framework(0), Number(1_000), ended(1_000));
        history.note(&framework(most), Number(1_001), ended(1_001));
        let kept = kept(&history);
        assert_eq!(kept.len(), most + 1);
        assert!(kept.contains(&&ended(0).task));
        assert!(
            !kept.contains(&&ended(1).task),
            "its last end is the oldest"
        );
    }
}
