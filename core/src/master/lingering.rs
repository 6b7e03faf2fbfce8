//! What agents still run of frameworks that are over, and executors whose tasks are over.
//!
//! With the end of a framework begins that of what it runs, which agents give its time (SM-26).
//! Until they say that it is over, what it uses is nobody else's, and no agent with some of it is
//! drained (TK-125): its tasks stay, as being ended, and so does its account with the allocator.
//! Agents say so once, and when they come back they are asked for what they did not report.
//!
//! The same holds of what an agent reports of such a framework when it comes back: it was out of
//! reach meanwhile, or the framework ended under an earlier leadership. As long as something is
//! left, a framework is not forgotten, and has its place among the most that there may be.
//!
//! Deliberately not here: why a framework ends (`reachability`).

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::executors::{Executor, Place};
use super::frameworks::{Framework, Subscription};
use super::merging::Reported;
use super::tasks::TaskKey;
use super::updates::News;
use super::{Cx, Master};
use crate::allocator::Change;
use crate::keys::{AgentKey, FrameworkKey};
use crate::protocol::framework::{FrameworkInfo, Wishes};
use crate::protocol::refusal::EndReason;
use crate::protocol::status::{Reason, TaskState, TaskStatus};

impl Master {
    /// A task's framework is over (SM-07, TK-49). Its agent is told to end it, if it may still run.
    pub(super) fn end_with_framework(&mut self, cx: &Cx<'_>, key: TaskKey) {
        let task = &mut self.tasks[key];
        let runs = task.is_booked();
        if task.is_active() {
            let news = News {
                state: if runs {
                    TaskState::Killing
                } else {
                    TaskState::Killed
                },
                reason: Reason::FrameworkRemoved,
                message: "its framework is over".to_string(),
            };
            let agent = task.status.agent.clone();
            task.state = news.state;
            task.status = news.about(task.id.clone(), agent, cx.now);
        }
        if !runs {
            self.tasks.complete(key);
        }
    }

    /// Takes in what an agent says of a task whose framework is over: nobody else hears it.
    pub(super) fn on_update_of_ended(
        &mut self,
        (framework, agent): (FrameworkKey, AgentKey),
        status: &TaskStatus,
        latest: TaskState,
    ) {
        let Some(key) = self.tasks.find(framework, &status.task) else {
            return;
        };
        let task = &self.tasks[key];
        let end = [status.state, latest]
            .into_iter()
            .find(|it| it.is_terminal());
        if let Some(end) = end.filter(|_| task.agent == agent && task.is_booked()) {
            self.release(key);
            self.complete_as(key, end);
            self.close_account(framework);
        }
    }

    fn complete_as(&mut self, key: TaskKey, state: TaskState) {
        let task = &mut self.tasks[key];
        (task.state, task.status.state) = (state, state);
        self.tasks.complete(key);
    }

    /// An agent is lost, and with it a task whose framework is over. Returns whether it was such a
    /// one.
    pub(super) fn lose_ended(&mut self, key: TaskKey) -> bool {
        let framework = self.tasks[key].framework;
        if !self.frameworks[framework].is_completed() {
            return false;
        }
        // What was booked goes with the agent.
        self.tasks.unbook(key);
        self.complete_as(key, TaskState::Killed);
        self.close_account(framework);
        true
    }

    /// An agent is lost, and with it its executors. What was booked goes with it.
    pub(super) fn lose_executors(&mut self, agent: AgentKey) {
        let there = self.tasks.custom_executors_on(agent);
        let there: Vec<Place> = there.into_iter().map(Executor::place).collect();
        for place in there {
            self.tasks.end_executor(&place);
            self.close_account(place.0);
        }
    }

    /// An executor has ended: its agent says so, or does not know it.
    pub(super) fn end_executor(&mut self, place: &Place) {
        if let Some(freed) = self.tasks.end_executor(place) {
            self.free(freed);
            self.close_account(place.0);
        }
    }

    /// Tells the allocator of a framework that is not there, and may use something.
    pub(super) fn open_account(&mut self, framework: FrameworkKey) {
        self.changes.push(Change::FrameworkAdded {
            framework,
            profile: self.frameworks[framework].profile(),
        });
        self.changes.push(Change::FrameworkActive {
            framework,
            active: false,
        });
    }

    /// Tells the allocator that a framework is over, as soon as nothing is left of it. From then on
    /// it is remembered among the last that ended.
    pub(super) fn close_account(&mut self, framework: FrameworkKey) {
        let row = self.frameworks.get(framework);
        if row.is_none_or(|row| !row.is_completed()) || self.lingers(framework) {
            return;
        }
        self.changes.push(Change::FrameworkRemoved { framework });
        if let Some(forgotten) = self.frameworks.remember(framework) {
            self.tasks.forget(forgotten);
        }
    }

    /// Returns whether agents may still run something of a framework.
    pub(super) fn lingers(&self, framework: FrameworkKey) -> bool {
        let mut executors = self.tasks.custom_executors_of(framework);
        self.tasks.live(framework) > 0 || executors.next().is_some()
    }

    /// An agent reports something of a framework that is over: it is counted again, until that is
    /// over as well. `info` and `why` are for one that is not known any more.
    pub(super) fn recall_framework(&mut self, info: FrameworkInfo, why: EndReason) {
        let id = info.id.clone().expect("who is recalled has an id");
        let key = match self.frameworks.find(&id) {
            Some(key) if self.lingers(key) => return,
            Some(key) => {
                self.frameworks.recall(key);
                key
            }
            None => self.frameworks.insert(Framework {
                id,
                principal: info.principal.clone(),
                info: Arc::new(info),
                vouched: true,
                subscription: Subscription::Completed(why),
                wishes: Wishes::default(),
                due: None,
            }),
        };
        self.open_account(key);
    }

    /// An agent reports a task whose framework is over, and which is not counted: it is, as one
    /// that is being ended.
    pub(super) fn adopt_ended(&mut self, cx: &Cx<'_>, agent: AgentKey, report: Reported) {
        let framework = self.frameworks.find(&report.task.framework);
        let framework = framework.expect("the plan recalls frameworks that are over");
        // It was said to be over with its agent.
        self.tasks.withdraw(framework, &report.task.task);
        let news = News {
            state: TaskState::Killing,
            reason: Reason::FrameworkRemoved,
            message: "its framework is over".to_string(),
        };
        let key = self.insert_reported(cx, (framework, agent), report, news);
        self.use_resources(key);
    }

    /// Forgets what a framework that is over has left, whatever becomes of that.
    pub(super) fn forget_tasks(&mut self, framework: FrameworkKey) {
        let lingers = self.lingers(framework);
        for task in self.tasks.of_framework(framework) {
            self.release(task);
            self.complete_as(task, TaskState::Killed);
        }
        let left: Vec<Place> = self
            .tasks
            .custom_executors_of(framework)
            .map(Executor::place)
            .collect();
        for place in left {
            let freed = self.tasks.end_executor(&place);
            freed.into_iter().for_each(|freed| self.free(freed));
        }
        if lingers {
            self.changes.push(Change::FrameworkRemoved { framework });
        }
        self.tasks.forget(framework);
    }
}
