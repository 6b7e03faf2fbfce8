//! Accepting offers: which may be used together, and how a plan is carried out (OF-10 to OF-18).
//!
//! Deliberately not here: what becomes of each task and operation (`plan`).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::agents::Presence;
use super::offers::OfferKey;
use super::plan::{Basis, Part, Step, plan};
use super::tasks::{NewTask, TaskKey};
use super::updates::News;
use super::{Cx, Master};
use crate::allocator::{Change, GrantIds};
use crate::ids::{AgentId, OfferId, PeerId, TaskId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::{GroupOrder, ToAgent};
use crate::protocol::offer::{Operation, TaskGroup};
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::task::TaskInfo;
use crate::protocol::validate_operation::Caller;
use crate::protocol::wire::size;
use crate::registry::Admission;
use crate::resources::Resources;
use crate::roles::Role;

/// What is wrong with an accept as a whole, for programs and for people.
pub(super) type Refusal = (RejectKind, String);

/// For whom something is booked, in which role, where, and out of which grants.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) framework: FrameworkKey,
    pub(super) role: &'a Role,
    pub(super) agent: AgentKey,
    pub(super) grants: &'a GrantIds,
}

/// Offers that are used together.
struct OfferSet {
    agent: AgentKey,
    role: Role,
    keys: Vec<OfferKey>,
    grants: GrantIds,
    pool: Resources,
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
        if let Err((reason, message)) = check_extent(&operations) {
            // An answer for each of its parts could be many times as long as the call.
            self.reject(cx, framework, CallKind::Accept, reason, message);
            self.return_offers(framework, offers);
            return;
        }
        let OfferSet {
            agent,
            role,
            keys,
            grants,
            pool,
        } = match self.check_offers(framework, offers) {
            Ok(set) => set,
            Err(refusal) => {
                self.turn_down_accept(cx, framework, offers, operations, refusal);
                return;
            }
        };
        let row = &self.agents[agent];
        // Nearly all agents are at none, and need not be looked up.
        let is_at_some = row.operations > 0;
        let admission = is_at_some.then(|| self.registry.agent(&row.id)).flatten();
        let info = &self.frameworks[framework].info;
        let basis = Basis {
            tasks: &self.tasks,
            known: &self.operations,
            framework,
            caller: Caller {
                principal: info.principal.as_deref(),
                role: &role,
                roles: &info.roles,
            },
            agent,
            agent_id: &row.id,
            grants,
            total: &row.total,
            open: admission.map_or(0, |admission| admission.open.len()),
            jobs: admission.map_or(0, |admission| admission.jobs.len()),
            coming: admission.map_or(0, Admission::coming_bytes),
            pool,
        };
        let plan = plan(basis, operations);
        for key in keys {
            self.offers.remove(key);
        }
        self.touch_if_asked(agent);
        for part in plan.parts {
            self.carry_out(cx, framework, &role, part, refuse);
        }
    }

    /// Turns a whole accept down: what it names goes back, and is refused for no time at all.
    pub(super) fn turn_down_accept(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        offers: &[OfferId],
        operations: Vec<Operation>,
        refusal: Refusal,
    ) {
        self.refuse_accept(cx, framework, operations, refusal);
        self.return_offers(framework, offers);
    }

    /// Takes back the offers of a framework among those that it names.
    pub(super) fn return_offers(&mut self, framework: FrameworkKey, offers: &[OfferId]) {
        for id in offers {
            if let Some(key) = self.own_offer(framework, id) {
                self.return_offer(key, None);
            }
        }
    }

    fn carry_out(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        role: &Role,
        part: Part,
        refuse: Option<Duration>,
    ) {
        let place = Place {
            framework,
            role,
            agent: part.agent,
            grants: &part.grants,
        };
        for step in part.steps {
            match step {
                Step::Launch(task) => self.launch(cx, place, task),
                Step::LaunchGroup(tasks) => self.launch_group(cx, place, tasks),
                Step::Convert(turn) => self.convert(cx, place, turn),
                Step::RefuseTask {
                    task,
                    reason,
                    message,
                } => {
                    let news = News {
                        state: TaskState::Error,
                        reason,
                        message,
                    };
                    let agent = self.agents[place.agent].id.clone();
                    self.refuse_task(cx, framework, task, agent, news);
                }
                Step::RefuseOperation {
                    kind,
                    id,
                    reason,
                    message,
                } => self.refuse_operation(cx, framework, (kind, id), reason, message),
            }
        }
        self.book(place, part.used, part.fresh, part.rest, refuse);
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
        let grants = unique.iter().filter_map(|key| self.offers.get(*key));
        let grants = GrantIds::collect(grants.map(|row| row.grant));
        let ((agent, role, pool), grants) = (found.zip(grants))
            .ok_or_else(|| (RejectKind::Empty, "no offer is named".to_string()))?;
        Ok(OfferSet {
            agent,
            role,
            keys,
            grants,
            pool,
        })
    }

    /// Answers an accept whose offers are not good: by the fate of its tasks and of
    /// its named operations, or, if it has none, by a word of its own.
    fn refuse_accept(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        operations: Vec<Operation>,
        (reason, message): Refusal,
    ) {
        let has_names = operations.iter().any(|operation| match operation {
            Operation::Launch(tasks) | Operation::LaunchGroup(TaskGroup { tasks, .. }) => {
                !tasks.is_empty()
            }
            Operation::Convert { id, .. } => id.is_some(),
        });
        if !has_names {
            self.reject(cx, framework, CallKind::Accept, reason, message);
            return;
        }
        for operation in operations {
            match operation {
                Operation::Launch(tasks) | Operation::LaunchGroup(TaskGroup { tasks, .. }) => {
                    self.drop_tasks(cx, framework, tasks, &message);
                }
                Operation::Convert { id: None, .. } => {}
                Operation::Convert { id, change } => {
                    let what = (change.kind(), id);
                    self.refuse_operation(cx, framework, what, reason, message.clone());
                }
            }
        }
    }

    /// Tells the fate of tasks whose offers are not good: never started (OF-08, OF-11, OF-12).
    fn drop_tasks(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        mut tasks: Vec<TaskInfo>,
        message: &str,
    ) {
        if planted(Mutant::RefusedFirstOnly) {
            tasks.truncate(1);
        }
        if planted(Mutant::RefusedTwice) {
            tasks.extend(tasks.clone());
        }
        for task in tasks {
            let news = News {
                state: TaskState::Dropped,
                reason: self.why_dropped(&task.agent),
                message: message.to_string(),
            };
            self.refuse_task(cx, framework, task.id, task.agent, news);
        }
    }

    /// Says whether it is its agent because of which a task cannot be launched (OF-12).
    fn why_dropped(&self, agent: &AgentId) -> Reason {
        if self.registry.gone().contains_key(agent) {
            return Reason::AgentRemoved;
        }
        let key = self.agents.find(agent);
        match key.map(|key| self.agents[key].presence()) {
            Some(Presence::Unreachable) => Reason::AgentRemoved,
            Some(Presence::Recovered | Presence::Disconnected) => Reason::AgentDisconnected,
            Some(Presence::Connected(_)) | None => Reason::InvalidOffers,
        }
    }

    /// Says that a task is not launched. Under an id that is, or was, another task's it says what
    /// is known of that one: who goes by states must not take a refusal for its end (I11).
    fn refuse_task(
        &mut self,
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
            None => {
                let update = self.new_update_id();
                let status = news.about(id, Some(agent), cx.now);
                // This is the answer to whoever asked for it.
                self.asks.take(framework, &status.task);
                self.verdicts.insert(framework, status, update)
            }
        };
        self.tell(cx, framework, status);
    }

    /// Tells the allocator what is used of accepted offers, and then what is left: what operations
    /// have made and nobody uses is refused for no time at all (OF-17, OF-20).
    fn book(
        &mut self,
        place: Place<'_>,
        used: Resources,
        fresh: Resources,
        rest: Resources,
        refuse: Option<Duration>,
    ) {
        let (framework, agent) = (place.framework, place.agent);
        if !used.is_empty() {
            self.changes.push(Change::Accepted {
                framework,
                role: place.role.clone(),
                agent,
                grants: place.grants.clone(),
                resources: used,
            });
        }
        for (resources, refuse) in [(fresh, None), (rest, refuse)] {
            if !resources.is_empty() {
                self.changes.push(Change::Returned {
                    framework,
                    role: place.role.clone(),
                    agent,
                    grants: place.grants.clone(),
                    resources,
                    refuse,
                });
            }
        }
    }

    fn launch(&mut self, cx: &mut Cx<'_>, place: Place<'_>, task: TaskInfo) {
        let (key, starts_executor) = self.enter(cx, place, &task);
        let message = ToAgent::RunTask {
            framework: self.frameworks[place.framework].id.clone(),
            role: place.role.clone(),
            task,
            starts_executor,
        };
        let peer = self.connection(place.agent);
        self.introduce(cx, peer, place.framework);
        cx.tell_agent(peer, message);
        self.answer_awaited(cx, key);
    }

    fn launch_group(&mut self, cx: &mut Cx<'_>, place: Place<'_>, tasks: Vec<TaskInfo>) {
        let entered = tasks.iter().map(|task| self.enter(cx, place, task));
        let entered: Vec<(TaskKey, bool)> = entered.collect();
        let message = ToAgent::RunGroup(GroupOrder {
            framework: self.frameworks[place.framework].id.clone(),
            role: place.role.clone(),
            tasks,
            starts_executor: entered.iter().any(|(_, starts)| *starts),
        });
        let peer = self.connection(place.agent);
        self.introduce(cx, peer, place.framework);
        cx.tell_agent(peer, message);
        for (key, _) in entered {
            self.answer_awaited(cx, key);
        }
    }

    /// Takes note of a task that is launched. Returns whether it is the first of its executor.
    fn enter(&mut self, cx: &Cx<'_>, place: Place<'_>, task: &TaskInfo) -> (TaskKey, bool) {
        let (framework, agent) = (place.framework, place.agent);
        let (id, state) = (task.id.clone(), TaskState::Staging);
        let status = TaskStatus {
            agent: Some(task.agent.clone()),
            ..TaskStatus::new(id, state, Source::Master, cx.now)
        };
        let key = self.tasks.insert(NewTask {
            id: task.id.clone(),
            framework,
            agent,
            owner: self.frameworks[framework].id.clone(),
            name: task.name.clone(),
            role: place.role.clone(),
            resources: task.resources.clone(),
            executor: task.executor.clone().map(Arc::new),
            published: task.published(),
            status,
            sent_over: Some(self.connection(agent)),
        });
        // Whatever was to end under this id, or was refused, it was not this.
        self.kills.take(framework, &task.id);
        self.verdicts.withdraw(framework, &task.id);
        (key, self.tasks.book(key).starts_executor())
    }

    fn connection(&self, agent: AgentKey) -> PeerId {
        let peer = self.agents[agent].peer();
        peer.expect("offers of an agent end when it is lost")
    }
}

/// Checks that an accept asks for no more than one may.
fn check_extent(operations: &[Operation]) -> Result<(), Refusal> {
    let (mut tasks, mut conversions, mut bytes) = (0, 0, 0_usize);
    for operation in operations {
        match operation {
            Operation::Launch(all) => tasks += all.len(),
            // Each of its tasks will have the executor.
            Operation::LaunchGroup(group) => {
                tasks += group.tasks.len().max(1);
                let each = size(&group.executor).saturating_mul(group.tasks.len());
                bytes = bytes.saturating_add(each);
            }
            Operation::Convert { .. } => conversions += 1,
        }
    }
    for (count, limit, what) in [
        (tasks, limits::TASKS_PER_ACCEPT, "tasks"),
        (conversions, limits::OPERATIONS_PER_ACCEPT, "operations"),
    ] {
        if count > limit {
            let text = format!("{count} {what} in one accept, more than the limit of {limit}");
            return Err((RejectKind::TooMany, text));
        }
    }
    let limit = limits::GROUPS_BYTES_PER_ACCEPT;
    if bytes > limit {
        let text =
            format!("executors of groups take {bytes} bytes, more than the limit of {limit}");
        return Err((RejectKind::TooLarge, text));
    }
    Ok(())
}
