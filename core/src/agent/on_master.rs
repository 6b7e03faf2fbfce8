//! What the master orders, and who obeys; what it says of frameworks.
//!
//! Deliberately not here: registration (`registration`), starting tasks (`running`), kills
//! (`kills`), and operations (`operations`).

use alloc::vec::Vec;

use super::records::Number;
use super::registration::Welcome;
use super::tasks::Placement;
use super::updates::Stream;
use super::{Agent, AgentRecord, Cx, Effect};
use crate::ids::{FrameworkId, PeerId, TaskId};
use crate::protocol::agent::{GroupOrder, ToAgent, ToMaster};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::status::{Source, TaskState, TaskStatus};
use crate::protocol::task::TaskInfo;
use crate::roles::Role;

fn alone(framework: FrameworkId, role: Role, task: TaskInfo, starts_executor: bool) -> GroupOrder {
    GroupOrder {
        framework,
        role,
        tasks: Vec::from([task]),
        starts_executor,
    }
}

fn pong(cx: &mut Cx<'_>, peer: PeerId) {
    let message = ToMaster::Pong;
    cx.out.emit_free(Effect::Master { peer, message });
}

impl Agent {
    pub(super) fn on_master(&mut self, cx: &mut Cx<'_>, peer: PeerId, message: ToAgent) {
        if self.link.peer() != Some(peer) {
            tracing::debug!(?peer, "not the leading master's connection: ignored"); // AG-07
            return;
        }
        self.hear_master(cx.now);
        if self.may_say(&message) {
            self.obey(cx, peer, message);
        } else {
            tracing::debug!(?peer, "before the registration: ignored");
        }
    }

    /// Returns whether a master may say something that may be of an old leadership: its epoch
    /// comes with its welcome, and before that nothing is obeyed but answers to what was asked.
    fn may_say(&self, message: &ToAgent) -> bool {
        match message {
            // Welcomes are looked at for themselves, and pings reveal nothing.
            ToAgent::Registered { .. } | ToAgent::Reregistered { .. } | ToAgent::Ping => true,
            ToAgent::Refused(_) | ToAgent::Shutdown(_) => self.link.has_asked(),
            ToAgent::Missing(_)
            | ToAgent::Drain { .. }
            | ToAgent::Undrain
            | ToAgent::RunTask { .. }
            | ToAgent::RunGroup(_)
            | ToAgent::KillTask { .. }
            | ToAgent::ShutdownFramework(_)
            | ToAgent::Acknowledge { .. }
            | ToAgent::Convert(_)
            | ToAgent::BeginDisk(_)
            | ToAgent::EndDisk(_)
            | ToAgent::AcknowledgeOperation { .. }
            | ToAgent::UpdateFramework(_)
            | ToAgent::Message { .. }
            | ToAgent::ShutdownExecutor { .. } => self.link.joined().is_some(),
        }
    }

    fn obey(&mut self, cx: &mut Cx<'_>, peer: PeerId, message: ToAgent) {
        match message {
            ToAgent::Registered {
                id,
                master: _,
                epoch,
                ping_timeout,
            }
            | ToAgent::Reregistered {
                id,
                master: _,
                epoch,
                ping_timeout,
            } => {
                let welcome = Welcome {
                    id,
                    epoch,
                    ping_timeout,
                };
                self.on_welcome(cx, peer, welcome);
            }
            ToAgent::Missing(missing) => self.on_missing(cx, missing),
            ToAgent::Refused(reason) => self.on_refused(cx, &reason),
            ToAgent::Drain { max_grace, since } => self.on_drain(cx, max_grace, since),
            ToAgent::Undrain => self.on_undrain(),
            ToAgent::Shutdown(reason) => self.on_shutdown(cx, &reason),
            ToAgent::Ping => pong(cx, peer),
            ToAgent::RunTask {
                framework,
                role,
                task,
                starts_executor,
            } => self.on_run(cx, alone(framework, role, task, starts_executor), false),
            ToAgent::RunGroup(order) => self.on_run(cx, order, true),
            ToAgent::KillTask {
                framework,
                task,
                grace,
            } => self.on_kill_task(cx, &framework, &task, grace),
            ToAgent::ShutdownFramework(framework) => self.on_shutdown_framework(cx, framework),
            ToAgent::Acknowledge {
                framework,
                task,
                update,
            } => self.on_acknowledged(cx, &framework, &task, update),
            ToAgent::Convert(order) => self.on_order(cx, order),
            ToAgent::BeginDisk(job) => self.on_disk_begun(cx, job),
            ToAgent::EndDisk(end) => self.on_disk_over(cx, end),
            ToAgent::AcknowledgeOperation { number, update } => {
                self.on_operation_acknowledged(cx, number, update);
            }
            ToAgent::UpdateFramework(framework) => self.on_update_framework(cx, framework),
            ToAgent::Message {
                framework,
                executor,
                data,
            } => self.on_message(cx, &framework, &executor, data),
            ToAgent::ShutdownExecutor {
                framework,
                executor,
            } => self.on_shutdown_executor(cx, &framework, &executor),
        }
    }

    /// Takes in what a framework says about itself now: for tasks to come, and, if it has some
    /// here, to report it to the next master.
    fn on_update_framework(&mut self, cx: &mut Cx<'_>, framework: FrameworkInfo) {
        let Some(id) = framework.id.clone() else {
            tracing::debug!(name = framework.name, "a framework without an id: ignored");
            return;
        };
        let known = self.state.frameworks().get(&id);
        let is_news = known.is_some_and(|known| known.info != framework);
        self.introduced.note(id, framework.clone());
        if is_news {
            self.persist(cx, AgentRecord::FrameworkChanged { framework });
        }
    }

    pub(super) fn on_shutdown_framework(&mut self, cx: &mut Cx<'_>, framework: FrameworkId) {
        self.forget_operations_of(cx, &framework);
        let known = self.state.frameworks().get(&framework);
        let Some(row) = known.filter(|row| !row.ended) else {
            tracing::debug!(%framework, "not here, or ended already: ignored");
            return;
        };
        let executors: Vec<Number> = row.executors.values().copied().collect();
        let tasks = row.tasks.values();
        let tasks = tasks.filter_map(|number| {
            let task = self.state.task(*number)?;
            Some((
                *number,
                task.placement(),
                task.info().id.clone(),
                task.state(),
            ))
        });
        let tasks: Vec<(Number, Placement, TaskId, TaskState)> = tasks.collect();
        self.note_moment(cx);
        let grace = self.config.kill_grace;
        let destroy_at = cx.now + grace;
        let record = AgentRecord::FrameworkEnded {
            framework: framework.clone(),
            destroy_at,
        };
        self.persist(cx, record);
        for (number, placement, task, state) in tasks {
            self.land(Stream::Task(number));
            if self.state.task(number).is_none() {
                let status = TaskStatus::new(task, state, Source::Agent, cx.now);
                self.tell_over(cx, framework.clone(), status);
                self.on_task_removed(cx, number, placement);
            } else if placement == Placement::Own {
                self.end_container(cx, number, grace);
            }
        }
        for executor in executors {
            self.end_executor(cx, executor, "its framework is gone");
        }
    }
}
