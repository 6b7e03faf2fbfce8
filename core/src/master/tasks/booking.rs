//! What tasks and executors use: when it begins, and when it ends.
//!
//! Deliberately not here: which of them there are ([`super`],
//! [`executors`](super::super::executors)), and what the allocator is told.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Care, TaskKey, Tasks};
use crate::keys::{AgentKey, FrameworkKey};
use crate::master::executors::{Executor, Place};
use crate::master::holdings::Holder;
use crate::resources::Resources;
use crate::roles::Role;

/// What changes with a task or an executor, in parts: a sum of what agents claim might not fit a
/// number.
#[derive(Default)]
pub(in crate::master) struct Bill {
    task: Option<(Role, Resources)>,
    /// The executor's, if it begins or ends with the task, or by itself.
    executor: Option<(Role, Resources)>,
}

impl Bill {
    /// Returns whether this task is the first that uses its executor.
    pub(in crate::master) fn starts_executor(&self) -> bool {
        self.executor.is_some()
    }

    /// Visits the parts that are not empty, and in which role they are charged.
    pub(in crate::master) fn parts(self) -> impl Iterator<Item = (Role, Resources)> {
        let parts = [self.task, self.executor].into_iter().flatten();
        parts.filter(|(_, part)| !part.is_empty())
    }
}

/// What is free with the end of a task or an executor, and what of that is not.
pub(in crate::master) struct Freed {
    pub(in crate::master) framework: FrameworkKey,
    pub(in crate::master) agent: AgentKey,
    pub(in crate::master) bill: Bill,
    /// Who used some of it on the same agent all along.
    pub(in crate::master) heirs: Vec<Heir>,
}

/// A framework that is charged from now on, in the role of its task or executor, for what was
/// somebody else's.
pub(in crate::master) struct Heir {
    pub(in crate::master) framework: FrameworkKey,
    pub(in crate::master) role: Role,
    pub(in crate::master) resources: Resources,
}

impl Tasks {
    /// Notes that a task uses its resources. Returns what is in use that was not before.
    pub(in crate::master) fn book(&mut self, key: TaskKey) -> Bill {
        let task = &mut self.rows[key];
        assert_eq!(task.care, Care::Unbooked, "task {} is booked once", task.id);
        task.care = Care::Booked;
        let (agent, holdings) = (task.agent, &mut self.holdings);
        let mut executor = None;
        let needs = holdings.enter(agent, Holder::Task(key), &task.resources);
        if let Some(info) = &task.executor {
            let place = (task.framework, agent, info.id.clone());
            self.executors.enter(place, info.kind, || {
                let holder = Holder::Executor(task.framework, info.id.clone());
                let needs = holdings.enter(agent, holder, &info.resources);
                executor = Some((task.role.clone(), needs));
                let host = task.status.agent.clone();
                Executor {
                    framework: task.framework,
                    agent,
                    owner: task.owner.clone(),
                    host: host.expect("a task that runs has an agent"),
                    info: Arc::clone(info),
                    role: task.role.clone(),
                    sent_over: task.sent_over,
                }
            });
        }
        Bill {
            task: Some((task.role.clone(), needs)),
            executor,
        }
    }

    /// Notes that an executor is there, of whatever tasks. Returns what is in use for it, if it was
    /// not known.
    pub(in crate::master) fn add_executor(&mut self, executor: Executor) -> Option<Bill> {
        let (place, kind) = (executor.place(), executor.info.kind);
        if self.executors.get(&place).is_some() {
            return None;
        }
        let holder = Holder::Executor(executor.framework, executor.info.id.clone());
        let needs = &executor.info.resources;
        let needs = self.holdings.enter(executor.agent, holder, needs);
        let role = executor.role.clone();
        self.executors.enter(place, kind, || executor);
        Some(Bill {
            executor: Some((role, needs)),
            ..Bill::default()
        })
    }

    /// Notes that a custom executor has ended. Returns what is free for it, once.
    pub(in crate::master) fn end_executor(&mut self, place: &Place) -> Option<Freed> {
        let ended = self.executors.end(place)?;
        let agent = ended.agent;
        self.emptied.push(agent);
        Some(Freed {
            framework: ended.framework,
            agent,
            bill: Bill {
                executor: Some(self.vacate(ended)),
                ..Bill::default()
            },
            heirs: self.inherit(agent),
        })
    }

    /// Returns what is free with the end of an executor.
    fn vacate(&mut self, ended: Executor) -> (Role, Resources) {
        let holder = Holder::Executor(ended.framework, ended.info.id.clone());
        let needs = &ended.info.resources;
        let freed = self.holdings.leave(ended.agent, &holder, needs);
        (ended.role, freed)
    }

    /// Lists what used to be somebody else's and is in use by others now.
    fn inherit(&mut self, agent: AgentKey) -> Vec<Heir> {
        let heirs = self.holdings.inherit(agent).into_iter();
        let heirs = heirs.map(|(holder, resources)| self.heir(agent, holder, resources));
        heirs.collect()
    }

    /// Notes that a task uses nothing any more. Returns what is free for it, once (TK-36).
    pub(in crate::master) fn unbook(&mut self, key: TaskKey) -> Option<Freed> {
        if !self.rows.get(key)?.is_booked() {
            return None;
        }
        let task = &mut self.rows[key];
        task.care = Care::Unbooked;
        let (framework, agent) = (task.framework, task.agent);
        let holder = Holder::Task(key);
        let freed = self.holdings.leave(agent, &holder, &task.resources);
        let freed = Some((task.role.clone(), freed));
        let own = task.executor.as_ref().and_then(|info| {
            let place = (framework, agent, info.id.clone());
            self.executors.leave(&place, info.kind)
        });
        let executor = own.map(|own| self.vacate(own));
        Some(Freed {
            framework,
            agent,
            bill: Bill {
                task: freed,
                executor,
            },
            heirs: self.inherit(agent),
        })
    }

    fn heir(&self, agent: AgentKey, holder: Holder, resources: Resources) -> Heir {
        let (framework, role) = match holder {
            Holder::Task(key) => {
                let task = &self.rows[key];
                (task.framework, &task.role)
            }
            Holder::Executor(framework, id) => {
                let running = self.executor(framework, agent, &id);
                let (_, role) = running.expect("an executor that holds something runs");
                (framework, role)
            }
        };
        Heir {
            framework,
            role: role.clone(),
            resources,
        }
    }
}
