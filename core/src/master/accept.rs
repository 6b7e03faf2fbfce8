//! Accepting offers: what a framework may launch on them, and how it is carried out (OF-10 to
//! OF-18).
//!
//! The plan is pure: it walks the operations over the running pool and says what becomes of each
//! task. Deliberately not here: what the description of a task may contain (`validate`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::offers::OfferKey;
use super::tasks::{NewTask, Tasks};
use super::updates::News;
use super::{Cx, Master};
use crate::allocator::{Booking, Change};
use crate::ids::{AgentId, ExecutorId, OfferId, TaskId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::protocol::agent::ToAgent;
use crate::protocol::offer::Operation;
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::task::{ExecutorInfo, TaskInfo};
use crate::protocol::validate::check_task;
use crate::resources::Resources;
use crate::roles::Role;

/// What becomes of one task.
enum Verdict {
    Launch(TaskInfo),
    Refuse { task: TaskId, message: String },
}

/// What is wrong with an accept as a whole, for programs and for people.
type Refusal = (RejectKind, String);

/// For whom something is booked, in which role, and where.
type Place<'a> = (FrameworkKey, &'a Role, AgentKey);

/// What becomes of an accept.
struct Plan {
    /// In the order of the operations.
    verdicts: Vec<Verdict>,
    /// What the launched tasks and their executors take.
    used: Resources,
    /// What is left of the offers (OF-17).
    rest: Resources,
}

/// Offers that are used together.
struct OfferSet {
    agent: AgentKey,
    role: Role,
    keys: Vec<OfferKey>,
    pool: Resources,
}

/// Walks operations over a pool.
struct Planner<'a> {
    tasks: &'a Tasks,
    framework: FrameworkKey,
    role: &'a Role,
    agent: AgentKey,
    agent_id: &'a AgentId,
    /// How many more live tasks the framework may have.
    room: usize,
    pool: Resources,
    used: Resources,
    /// The ids that were used in this accept, launched or not.
    named: BTreeSet<TaskId>,
    executors: BTreeMap<ExecutorId, ExecutorInfo>,
}

impl Planner<'_> {
    /// Takes what a task needs out of the pool, or says why it cannot be launched.
    fn take(&mut self, task: &TaskInfo) -> Result<(), String> {
        check_task(task).map_err(|reject| reject.to_string())?;
        if task.agent != *self.agent_id {
            return Err(format!(
                "task is for agent {}, but the offer is of agent {}",
                task.agent, self.agent_id
            ));
        }
        // TK-08
        let known = self.tasks.find(self.framework, &task.id).is_some();
        if !self.named.insert(task.id.clone()) || known {
            return Err(format!("task id {} is used already", task.id));
        }
        if self.room == 0 {
            let limit = limits::TASKS_PER_FRAMEWORK;
            return Err(format!("the framework has {limit} tasks, the most allowed"));
        }
        // One after the other: added up, a port that both need would be there once.
        let mut pool = self.pool.clone();
        draw(&mut pool, "task", &task.resources)?;
        let executor = self.new_executor(task)?;
        if let Some(executor) = executor {
            draw(&mut pool, "executor", &executor.resources)?;
        }
        let executor = executor.map(|executor| &executor.resources);
        for part in [Some(&task.resources), executor].into_iter().flatten() {
            let sum = self.used.add(part);
            sum.expect("what is taken from a pool fits as the pool did");
        }
        self.pool = pool;
        self.room -= 1;
        if let Some(executor) = &task.executor {
            let id = executor.id.clone();
            self.executors.entry(id).or_insert_with(|| executor.clone());
        }
        Ok(())
    }

    /// Returns the executor that a task would be the first of: one that runs costs nothing (OF-18),
    /// but has to be the same (TK-13).
    fn new_executor<'t>(&self, task: &'t TaskInfo) -> Result<Option<&'t ExecutorInfo>, String> {
        let Some(executor) = &task.executor else {
            return Ok(None);
        };
        let running = self
            .tasks
            .executor(self.framework, self.agent, &executor.id);
        let new = self.executors.get(&executor.id);
        match running.or_else(|| Some((new?, self.role))) {
            None => Ok(Some(executor)),
            Some((other, _)) if other != executor => Err(format!(
                "executor {} is there already, with another description",
                executor.id
            )),
            // RQ-06
            Some((_, role)) if role != self.role => Err(format!(
                "executor {} is there already, in role {role} and not {}",
                executor.id, self.role
            )),
            Some(_) => Ok(None),
        }
    }

    fn plan(mut self, operations: Vec<Operation>) -> Plan {
        let mut verdicts = Vec::new();
        for operation in operations {
            let Operation::Launch(tasks) = operation;
            for task in tasks {
                let taken = if verdicts.len() < limits::TASKS_PER_ACCEPT {
                    self.take(&task)
                } else {
                    let limit = limits::TASKS_PER_ACCEPT;
                    Err(format!("more than {limit} tasks in one accept"))
                };
                verdicts.push(match taken {
                    Ok(()) => Verdict::Launch(task),
                    Err(mut message) => {
                        // It may quote resources of any length.
                        message.truncate(message.floor_char_boundary(limits::TEXT_BYTES));
                        let task = task.id;
                        Verdict::Refuse { task, message }
                    }
                });
            }
        }
        Plan {
            verdicts,
            used: self.used,
            rest: self.pool,
        }
    }
}

/// Takes what somebody needs out of a pool, or says what is missing.
fn draw(pool: &mut Resources, who: &str, needs: &Resources) -> Result<(), String> {
    let Err(error) = pool.subtract(needs) else {
        return Ok(());
    };
    let wanted = error.wanted;
    let left = pool.filter(|entry| entry.name() == wanted.name());
    Err(if left.is_empty() {
        let name = wanted.name();
        format!("{who} needs {wanted} but the offer has no {name} left")
    } else {
        format!("{who} needs {wanted} but the offer has {left} left")
    })
}

impl Master {
    pub(super) fn on_accept(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        offers: &[OfferId],
        operations: Vec<Operation>,
        refuse: Option<Duration>,
    ) {
        let OfferSet {
            agent,
            role,
            keys,
            pool,
        } = match self.check_offers(framework, offers) {
            Ok(set) => set,
            Err(refusal) => {
                self.refuse_accept(cx, framework, operations, refusal);
                for id in offers {
                    if let Some(key) = self.own_offer(framework, id) {
                        self.return_offer(key, None);
                    }
                }
                return;
            }
        };
        let planner = Planner {
            tasks: &self.tasks,
            framework,
            role: &role,
            agent,
            agent_id: &self.agents[agent].id,
            room: limits::TASKS_PER_FRAMEWORK.saturating_sub(self.tasks.live(framework)),
            pool,
            used: Resources::new(),
            named: BTreeSet::new(),
            executors: BTreeMap::new(),
        };
        let plan = planner.plan(operations);
        for key in keys {
            self.offers.remove(key);
        }
        self.book((framework, &role, agent), plan.used, plan.rest, refuse);
        for verdict in plan.verdicts {
            match verdict {
                Verdict::Launch(task) => self.launch(cx, (framework, &role, agent), task),
                Verdict::Refuse { task, message } => {
                    let news = News {
                        state: TaskState::Error,
                        reason: Reason::TaskInvalid,
                        message,
                    };
                    let agent = self.agents[agent].id.clone();
                    self.refuse_task(cx, framework, task, agent, news);
                }
            }
        }
    }

    /// Returns an outstanding offer of a framework.
    pub(super) fn own_offer(&self, framework: FrameworkKey, id: &OfferId) -> Option<OfferKey> {
        let key = self.offers.find(id)?;
        let row = self.offers.get(key)?;
        (row.framework == framework).then_some(key)
    }

    /// Checks that offers can be accepted together (OF-11), and adds them up.
    fn check_offers(&self, framework: FrameworkKey, ids: &[OfferId]) -> Result<OfferSet, Refusal> {
        if ids.len() > limits::OFFERS_PER_CALL {
            let limit = limits::OFFERS_PER_CALL;
            let text = format!("more than {limit} offers in one accept");
            return Err((RejectKind::TooMany, text));
        }
        let mut found: Option<(AgentKey, Role, Resources)> = None;
        let mut keys: Vec<OfferKey> = Vec::with_capacity(ids.len());
        for id in ids {
            let key = self.own_offer(framework, id);
            let key = key.ok_or_else(|| {
                let text = format!("offer {id} is not, or no longer, valid");
                (RejectKind::NotOffered, text)
            })?;
            let row = self.offers.get(key).expect("the index names live rows");
            found = Some(match found {
                None => {
                    let offer = &row.offer;
                    (row.agent, offer.role.clone(), offer.resources.clone())
                }
                Some((agent, ..)) if agent != row.agent => {
                    let text = format!("offer {id} is of another agent than those before");
                    return Err((RejectKind::OtherAgent, text));
                }
                Some((_, role, _)) if role != row.offer.role => {
                    let other = &row.offer.role;
                    let text = format!("offer {id} is in role {other}, those before in {role}");
                    return Err((RejectKind::OtherRole, text));
                }
                Some((agent, role, mut pool)) => {
                    let sum = pool.add(&row.offer.resources);
                    sum.map_err(|overflow| {
                        let text = format!("the offers together: {overflow}");
                        (RejectKind::Overflow, text)
                    })?;
                    (agent, role, pool)
                }
            });
            keys.push(key);
        }
        let unique: BTreeSet<OfferKey> = keys.iter().copied().collect();
        if unique.len() != keys.len() {
            let text = "an offer is named twice".to_string();
            return Err((RejectKind::Doubled, text));
        }
        let (agent, role, pool) =
            found.ok_or_else(|| (RejectKind::Empty, "no offer is named".to_string()))?;
        Ok(OfferSet {
            agent,
            role,
            keys,
            pool,
        })
    }

    /// Answers an accept whose offers are not good: by the fate of its tasks, or, if it has none,
    /// by a word of its own.
    fn refuse_accept(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        operations: Vec<Operation>,
        (reason, message): Refusal,
    ) {
        let has_tasks = operations
            .iter()
            .any(|Operation::Launch(tasks)| !tasks.is_empty());
        if has_tasks {
            self.drop_tasks(cx, framework, operations, &message);
        } else {
            self.reject(cx, framework, CallKind::Accept, reason, message);
        }
    }

    /// Tells the fate of tasks whose offers are not good: never started (OF-08, OF-11, OF-12).
    fn drop_tasks(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        operations: Vec<Operation>,
        message: &str,
    ) {
        for operation in operations {
            let Operation::Launch(tasks) = operation;
            for task in tasks {
                let agent = self.agents.find(&task.agent);
                let away = agent.is_some_and(|key| self.agents[key].peer().is_none());
                let news = News {
                    state: TaskState::Dropped,
                    reason: if away {
                        Reason::AgentDisconnected
                    } else {
                        Reason::InvalidOffers
                    },
                    message: message.to_string(),
                };
                self.refuse_task(cx, framework, task.id, task.agent, news);
            }
        }
    }

    /// Says that a task is not launched. Under an id that is, or was, another task's it says what
    /// is known of that one: who goes by states must not take a refusal for its end (I11).
    fn refuse_task(
        &self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        id: TaskId,
        agent: AgentId,
        news: News,
    ) {
        let status = match self.tasks.find(framework, &id) {
            Some(key) => TaskStatus {
                source: Source::Master,
                reason: Some(news.reason),
                message: news.message,
                update: None,
                ..self.tasks[key].status.clone()
            },
            None => news.about(id, Some(agent), cx.now),
        };
        self.tell(cx, framework, status);
    }

    /// Tells the allocator what is used of accepted offers, and then what is left (OF-17, OF-20).
    fn book(
        &mut self,
        (framework, role, agent): Place<'_>,
        used: Resources,
        rest: Resources,
        refuse: Option<Duration>,
    ) {
        if !used.is_empty() {
            self.changes.push(Change::Accepted {
                framework,
                role: role.clone(),
                agent,
                resources: used,
            });
        }
        if !rest.is_empty() {
            self.changes.push(Change::Returned {
                framework,
                role: role.clone(),
                agent,
                resources: rest,
                from: Booking::Offered,
                refuse,
            });
        }
    }

    fn launch(&mut self, cx: &mut Cx<'_>, (framework, role, agent): Place<'_>, task: TaskInfo) {
        let info = &self.frameworks[framework].info;
        let peer = self.agents[agent].peer();
        let peer = peer.expect("offers of an agent end when it is lost");
        let (id, state) = (task.id.clone(), TaskState::Staging);
        let status = TaskStatus {
            agent: Some(task.agent.clone()),
            ..TaskStatus::new(id, state, Source::Master, cx.now)
        };
        let owner = self.frameworks[framework].id.clone();
        let key = self.tasks.insert(NewTask {
            id: task.id.clone(),
            framework,
            agent,
            owner,
            name: task.name.clone(),
            role: role.clone(),
            resources: task.resources.clone(),
            executor: task.executor.clone(),
            status,
            sent_over: Some(peer),
        });
        let starts_executor = self.tasks.book(key).starts_executor();
        // Whatever was to end under this id, it was not this.
        self.kills.take(framework, &task.id);
        let message = ToAgent::RunTask {
            framework: (**info).clone(),
            role: role.clone(),
            task,
            starts_executor,
        };
        cx.tell_agent(peer, message);
    }
}
