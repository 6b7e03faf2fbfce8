//! How entries are made in the books of [`super::ledger`], and the properties that are looked at
//! with each.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::account::{Account, ExecutorName, Returns};
use super::ledger::{Ledger, Task};
use super::{Broken, disks, holders, quota, reserved};
use crate::ids::{AgentId, FrameworkId, OfferId, PeerId, TaskId};
use crate::protocol::agent::ExecutorReport;
use crate::protocol::offer::Offer;
use crate::protocol::status::TaskState;
use crate::protocol::task::TaskInfo;
use crate::resources::{Quantities, Resources, Value};
use crate::roles::Role;
use crate::sim::property::Property;

impl Ledger {
    fn note(&mut self, result: Result<(), Broken>) {
        if let Err(broken) = result {
            self.violation.get_or_insert(broken);
        }
    }

    pub(super) fn offer(&mut self, peer: PeerId, offer: &Offer) {
        let checked = reserved::check_offer(self, offer);
        self.note(checked);
        let account = self.account(&offer.agent);
        let given = account.offer(offer.id.clone(), &offer.resources);
        self.note(holders::check(&offer.id, &offer.agent, given));
        self.gave(&offer.role, &offer.resources);
        self.offers.insert(offer.id.clone(), (peer, offer.clone()));
        let checked = quota::check_offer(self, offer);
        self.note(checked);
    }

    pub(super) fn end_offer(&mut self, id: &OfferId) {
        if let Some((_, offer)) = self.offers.remove(id) {
            let returns = self.account(&offer.agent).end_offer(id, &offer.resources);
            self.got_back(&offer.role, &offer.resources);
            self.settle(&offer.agent, returns);
        }
    }

    /// Ends the offers of who is not there any more.
    pub(super) fn end_offers_of(&mut self, peer: PeerId) {
        let of_peer = self.offers.iter().filter(|(_, (to, _))| *to == peer);
        let of_peer: Vec<OfferId> = of_peer.map(|(id, _)| id.clone()).collect();
        for id in &of_peer {
            self.end_offer(id);
        }
    }

    /// Notes that a task is launched; returns whether it is the first of its executor.
    pub(super) fn launch(
        &mut self,
        peer: PeerId,
        framework: Option<&FrameworkId>,
        role: &Role,
        task: &TaskInfo,
    ) -> bool {
        let Some(framework) = framework else {
            let problem = format!("{} is launched for nobody", task.id);
            self.note(Err((Property::Conservation, problem)));
            return false;
        };
        let (agent, resources) = (task.agent.clone(), task.resources.clone());
        let executor = task.executor.as_ref();
        let state = TaskState::Staging;
        let new = Task::new(agent, role.clone(), resources, executor, state);
        let tasks = self.tasks.entry(framework.clone()).or_default();
        let before = tasks.insert(task.id.clone(), new);
        if let Some(before) = before.filter(|before| !before.state.is_terminal()) {
            let id = &task.id;
            let problem = format!("{id} of {framework} is launched and is {}", before.state);
            self.note(Err((Property::Tasks, problem)));
        }
        let (starts, given) = self.book(framework, &task.id, Some(peer));
        self.note(holders::check(&task.id, &task.agent, given));
        starts
    }

    /// Checks that an executor is paid for with its first task, and then no more.
    pub(super) fn expect_executor(&mut self, task: &TaskInfo, starts: bool, told: bool) {
        if starts != told {
            let problem = format!(
                "{} comes with an executor: {told}; none ran: {starts}",
                task.id
            );
            self.note(Err((Property::Conservation, problem)));
        }
    }

    /// Books what a task uses; returns whether that begins with its executor, and whether it was
    /// free.
    fn book(
        &mut self,
        framework: &FrameworkId,
        id: &TaskId,
        over: Option<PeerId>,
    ) -> (bool, holders::Given) {
        let key = (framework.clone(), id.clone());
        let Some(task) = self.task_mut(framework, id) else {
            return (false, Ok(()));
        };
        task.is_booked = true;
        let (agent, role) = (task.agent.clone(), task.role.clone());
        let (resources, executor) = (task.resources.clone(), task.executor.clone());
        let account = self.account(&agent);
        let mut given = account.begin(key, &resources);
        let mut starts = false;
        if let Some(executor) = executor
            && let Some(more) = account.join(framework, &role, &executor, over)
        {
            (starts, given) = (true, given.and(more));
            self.gave(&role, &executor.resources);
        }
        self.gave(&role, &resources);
        (starts, given)
    }

    pub(super) fn unbook(&mut self, framework: &FrameworkId, id: &TaskId) {
        let Some(task) = self.task_mut(framework, id).filter(|task| task.is_booked) else {
            return;
        };
        task.is_booked = false;
        let (agent, role) = (task.agent.clone(), task.role.clone());
        let (resources, executor) = (task.resources.clone(), task.executor.clone());
        let key = (framework.clone(), id.clone());
        let account = self.account(&agent);
        let mut returns = account.end(&key, &resources);
        if let Some(executor) = executor
            && let Some((role, needs, more)) = account.part(&(framework.clone(), executor.id))
        {
            returns = returns.and(more);
            self.got_back(&role, &needs);
        }
        self.got_back(&role, &resources);
        self.settle(&agent, returns);
    }

    /// Books an executor that its agent reports, unless it is booked.
    pub(super) fn adopt_executor(&mut self, agent: &AgentId, report: &ExecutorReport) {
        let account = self.account(agent);
        let name = (report.framework.clone(), report.executor.id.clone());
        if account.has_executor(&name) {
            return;
        }
        let given = account.join(&report.framework, &report.role, &report.executor, None);
        self.gave(&report.role, &report.executor.resources);
        if given.is_some_and(|given| given.is_err()) {
            self.recount(agent);
        }
    }

    /// Notes that an executor uses nothing any more.
    pub(super) fn end_executor(&mut self, agent: &AgentId, executor: &ExecutorName) {
        let ended = self.account(agent).end_executor(executor);
        if let Some((role, needs, returns)) = ended {
            self.got_back(&role, &needs);
            self.settle(agent, returns);
        }
    }

    /// Books what a task uses that runs already: that is so, even if there is not as much.
    pub(super) fn adopt(&mut self, framework: &FrameworkId, id: &TaskId) {
        let (_, given) = self.book(framework, id, None);
        if given.is_err()
            && let Some(agent) = self.task(framework, id).map(|task| task.agent.clone())
        {
            self.recount(&agent);
        }
    }

    /// Nothing is in use any more on an agent.
    pub(super) fn end_tasks_on(&mut self, agent: &AgentId, state: TaskState) {
        let account = self.accounts.get(agent);
        let booked = account.into_iter().flat_map(Account::tasks);
        let booked: Vec<(FrameworkId, TaskId)> = booked.cloned().collect();
        for (framework, id) in &booked {
            self.unbook(framework, id);
            if state == TaskState::Unreachable
                && let Some(task) = self.task_mut(framework, id)
            {
                task.state = state;
            }
        }
        let executors = self.accounts.get(agent).map(|it| it.custom_executors(None));
        for executor in executors.into_iter().flatten() {
            self.end_executor(agent, &executor);
        }
        if state.is_terminal() {
            let tasks = self.tasks.values_mut().flat_map(BTreeMap::values_mut);
            for task in tasks.filter(|task| task.agent == *agent && !task.state.is_terminal()) {
                task.state = state;
            }
            self.accounts.remove(agent);
        }
    }

    /// A framework is over: what its tasks use is free when their agents say that they are over.
    pub(super) fn end_tasks_of(&mut self, framework: &FrameworkId) {
        let tasks = self.tasks.get_mut(framework).into_iter();
        for task in tasks.flat_map(BTreeMap::values_mut) {
            if task.is_booked {
                task.state = TaskState::Killing;
            } else if task.state != TaskState::Unreachable {
                task.state = TaskState::Killed;
            }
        }
    }

    /// Nothing is counted any more of a framework that is over.
    pub(super) fn forget(&mut self, framework: &FrameworkId) {
        let tasks = self.tasks.get(framework).into_iter();
        let ids: Vec<TaskId> = tasks.flat_map(BTreeMap::keys).cloned().collect();
        for id in &ids {
            self.unbook(framework, id);
        }
        self.tasks.remove(framework);
        let accounts = self.accounts.iter();
        let executors = accounts.flat_map(|(agent, account)| {
            let names = account.custom_executors(None).into_iter();
            names.map(|name| (agent.clone(), name))
        });
        let executors: Vec<(AgentId, ExecutorName)> = executors.collect();
        for (agent, name) in executors.iter().filter(|(_, name)| name.0 == *framework) {
            self.end_executor(agent, name);
        }
    }

    fn account(&mut self, agent: &AgentId) -> &mut Account {
        let registry = &self.registry;
        let begin = || {
            let total = registry.agent(agent).map(|admission| admission.total());
            Account::new(total.unwrap_or_default())
        };
        self.accounts.entry(agent.clone()).or_insert_with(begin)
    }

    fn settle(&mut self, agent: &AgentId, returns: Returns) {
        if returns == Returns::Unclear {
            self.recount(agent);
        }
    }

    /// Counts anew what is free of an agent.
    pub(super) fn recount(&mut self, agent: &AgentId) {
        let Some(admission) = self.registry.agent(agent) else {
            return;
        };
        let total = admission.total();
        let described = self.totals.get(&admission.info.hostname);
        let checked = disks::with_sources(&total, admission.jobs.values());
        let checked = checked.and_then(|all| reserved::check_total(agent, described, &all));
        self.note(checked);
        let offered = self.offers.values().map(|(_, offer)| offer);
        let offered = offered.filter(|offer| offer.agent == *agent);
        let offered = offered.map(|offer| &offer.resources);
        let given: Vec<Resources> = offered.chain(self.used(agent)).cloned().collect();
        self.account(agent).recount(total, &given);
    }

    fn gave(&mut self, role: &Role, resources: &Resources) {
        self.has_changed = true;
        self.has_shared |= resources.iter().any(|entry| entry.is_shared());
        self.given.add(&amounts(resources));
        let roles = &mut self.roles;
        let open = quota::open(resources);
        match roles.get_mut(role) {
            Some(sum) => sum.add(&open),
            None => drop(roles.insert(role.clone(), open)),
        }
    }

    fn got_back(&mut self, role: &Role, resources: &Resources) {
        self.has_changed = true;
        self.given.saturating_sub(&amounts(resources));
        if let Some(sum) = self.roles.get_mut(role) {
            sum.saturating_sub(&quota::open(resources));
        }
    }
}

/// The allocator says how much is booked of what adds up; of ports it keeps which.
pub(super) fn amounts(resources: &Resources) -> Quantities {
    let scalars = resources.filter(|entry| matches!(entry.value(), Value::Scalar(_)));
    Quantities::from(&scalars)
}
