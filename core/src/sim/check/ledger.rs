//! Who has what of each agent, by what the master hears, says and writes down.
//!
//! A second set of books, kept step by step and apart from the master's own: what is offered, what
//! tasks and executors use, what operations have made. The properties about resources are looked at
//! where an entry is made ([`super::holders`], [`super::reserved`], [`super::quota`]), so that a
//! step costs as much as it changes; and all of the books is compared with the master's at some
//! steps ([`super::conservation`]).
//!
//! Deliberately not here: how entries are made ([`super::entries`]), and what is told of tasks.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use super::Broken;
use super::account::Account;
use super::quota;
use super::returning::{Reports, Returning, may_report};
use crate::ids::{AgentId, FrameworkId, OfferId, PeerId, TaskId};
use crate::machine::Durable;
use crate::master::{Effect, Input};
use crate::protocol::agent::{ToAgent, ToMaster};
use crate::protocol::node::Standing;
use crate::protocol::offer::Offer;
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::status::{TaskState, TaskStatus};
use crate::protocol::task::ExecutorInfo;
use crate::registry::{Registry, RegistryOp};
use crate::resources::{Quantities, Resources};
use crate::roles::Role;
use crate::sim::world::Totals;

/// A task that was launched or reported under this leadership.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) agent: AgentId,
    pub(super) role: Role,
    pub(super) resources: Resources,
    pub(super) executor: Option<ExecutorInfo>,
    pub(super) state: TaskState,
    pub(super) is_booked: bool,
}

impl Task {
    pub(super) fn new(
        agent: AgentId,
        role: Role,
        resources: Resources,
        executor: Option<&ExecutorInfo>,
        state: TaskState,
    ) -> Self {
        Self {
            agent,
            role,
            resources,
            executor: executor.cloned(),
            state,
            is_booked: false,
        }
    }
}

/// The books of one leadership.
#[derive(Debug)]
pub(super) struct Ledger {
    /// What each agent has, as long as no operation has made something else of it.
    pub(super) totals: Arc<Totals>,
    /// By the master's own records: what operations have made, and what quotas are.
    pub(super) registry: Registry,
    /// Who is registered, over which connection.
    pub(super) peers: BTreeMap<PeerId, AgentId>,
    /// Who is subscribed, over which connection.
    subscribed: BTreeMap<PeerId, FrameworkId>,
    pub(super) offers: BTreeMap<OfferId, (PeerId, Offer)>,
    pub(super) accounts: BTreeMap<AgentId, Account>,
    pub(super) tasks: BTreeMap<FrameworkId, BTreeMap<TaskId, Task>>,
    /// What agents have said so far that come back.
    pub(super) reports: BTreeMap<PeerId, Reports>,
    pub(super) returning: Option<Returning>,
    /// What is given, by role, of what adds up and is nobody's by reservation.
    pub(super) roles: BTreeMap<Role, Quantities>,
    /// What is given in all, of what adds up.
    pub(super) given: Quantities,
    /// Whether something is shared by several: then amounts do not simply add up.
    pub(super) has_shared: bool,
    /// Whether an entry was made since somebody asked.
    pub(super) has_changed: bool,
    pub(super) violation: Option<Broken>,
}

impl Ledger {
    pub(super) fn new(totals: Arc<Totals>, registry: Registry) -> Self {
        Self {
            totals,
            registry,
            peers: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            offers: BTreeMap::new(),
            accounts: BTreeMap::new(),
            tasks: BTreeMap::new(),
            reports: BTreeMap::new(),
            returning: None,
            roles: BTreeMap::new(),
            given: Quantities::new(),
            has_shared: false,
            has_changed: false,
            violation: None,
        }
    }

    /// Returns whether an offer stands that was made to this peer.
    pub(super) fn is_good(&self, peer: PeerId, offer: &OfferId) -> bool {
        self.offers.get(offer).is_some_and(|(to, _)| *to == peer)
    }

    /// Visits the offers that stand.
    pub(super) fn offers(&self) -> impl Iterator<Item = &Offer> + '_ {
        self.offers.values().map(|(_, offer)| offer)
    }

    /// Visits what tasks and executors use on an agent, one by one.
    pub(super) fn used(&self, agent: &AgentId) -> impl Iterator<Item = &Resources> + '_ {
        let account = self.accounts.get(agent);
        let tasks = account.into_iter().flat_map(Account::tasks);
        let tasks = tasks.filter_map(|(framework, task)| self.task(framework, task));
        let executors = account.into_iter().flat_map(Account::executors);
        tasks.map(|task| &task.resources).chain(executors)
    }

    /// Returns what is given in all of what adds up, if that has changed since this was asked
    /// before, and can be said.
    pub(super) fn take_given(&mut self) -> Option<&Quantities> {
        let has_changed = core::mem::take(&mut self.has_changed);
        (has_changed && !self.has_shared).then_some(&self.given)
    }

    /// Returns what the registry says.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Visits what is given of what adds up, by role.
    pub(super) fn roles(&self) -> impl Iterator<Item = (&Role, &Quantities)> + '_ {
        self.roles.iter()
    }

    /// Visits what agents have that are there.
    pub(super) fn connected(&self) -> impl Iterator<Item = Resources> + '_ {
        let there: BTreeSet<&AgentId> = self.peers.values().collect();
        let there = there.into_iter();
        there.filter_map(|id| Some(self.registry.agent(id)?.total()))
    }

    /// Returns what is free on agents that are there and may be offered, of what adds up and is
    /// nobody's by reservation.
    pub(super) fn free(&self) -> Quantities {
        let there: BTreeSet<&AgentId> = self.peers.values().collect();
        let mut free = Quantities::new();
        for id in there {
            let row = self.registry.agent(id);
            let Some(row) = row.filter(|row| row.standing == Standing::Active) else {
                continue;
            };
            // Of whom nothing was given yet there is no account.
            let account = self.accounts.get(id);
            let open = account.map_or_else(
                || quota::open(&row.total()),
                |account| quota::open(account.free()),
            );
            free.add(&open);
        }
        free
    }

    /// Returns who is subscribed over a connection.
    pub(super) fn framework_of(&self, peer: PeerId) -> Option<&FrameworkId> {
        self.subscribed.get(&peer)
    }

    /// Returns whether a framework is subscribed.
    pub(super) fn is_subscribed(&self, framework: &FrameworkId) -> bool {
        self.subscribed.values().any(|it| it == framework)
    }

    /// Returns whether all agents that are admitted are there.
    pub(super) fn all_registered(&self) -> bool {
        let there: BTreeSet<&AgentId> = self.peers.values().collect();
        self.registry.agents().all(|(id, _)| there.contains(id))
    }

    /// Returns whether tasks or executors use something of an agent.
    pub(super) fn is_in_use(&self, agent: &AgentId) -> bool {
        let account = self.accounts.get(agent);
        let in_use = |it: &Account| it.tasks().next().is_some() || it.executors().next().is_some();
        account.is_some_and(in_use)
    }

    /// Lists the connections of schedulers that have tasks on an agent.
    pub(super) fn subscribed_on(&self, agent: &AgentId) -> impl Iterator<Item = PeerId> + '_ {
        let agent = agent.clone();
        let has = move |framework: &FrameworkId| {
            let tasks = self.tasks.get(framework).into_iter();
            let mut tasks = tasks.flat_map(BTreeMap::values);
            tasks.any(|task| task.is_booked && task.agent == agent)
        };
        let all = self.subscribed.iter();
        all.filter(move |(_, framework)| has(framework))
            .map(|(peer, _)| *peer)
    }

    /// Returns whether a task is known and not over.
    pub(super) fn is_alive(&self, framework: &FrameworkId, task: &TaskId) -> bool {
        let known = self.task(framework, task);
        known.is_some_and(|task| !task.state.is_terminal())
    }

    /// Returns over which connection a task's agent is registered, if it is.
    pub(super) fn peer_of(&self, framework: &FrameworkId, task: &TaskId) -> Option<PeerId> {
        let on = &self.task(framework, task)?.agent;
        let mut peers = self.peers.iter().rev();
        peers.find(|(_, agent)| *agent == on).map(|(peer, _)| *peer)
    }

    pub(super) fn task(&self, framework: &FrameworkId, task: &TaskId) -> Option<&Task> {
        self.tasks.get(framework)?.get(task)
    }

    pub(super) fn task_mut(&mut self, framework: &FrameworkId, task: &TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(framework)?.get_mut(task)
    }

    /// Sees what the master is about to hear.
    pub(super) fn hears(&mut self, input: &Input) {
        match input {
            Input::Disconnected { peer } => self.leave(*peer),
            Input::Scheduler { peer, call } => self.hears_scheduler(*peer, call),
            Input::Agent { peer, message } => self.hears_agent(*peer, message),
            Input::Connected { .. } | Input::Operator { .. } => {}
        }
    }

    fn hears_scheduler(&mut self, peer: PeerId, call: &Call) {
        match call {
            Call::Accept { offers, .. } | Call::Decline { offers, .. } => {
                // No offer ends by being named by somebody else.
                for offer in offers {
                    if self.is_good(peer, offer) {
                        self.end_offer(offer);
                    }
                }
            }
            Call::Teardown => self.end_offers_of(peer),
            Call::Subscribe { .. }
            | Call::Suppress { .. }
            | Call::Revive { .. }
            | Call::Update { .. }
            | Call::Reconcile { .. }
            | Call::Kill { .. }
            | Call::Acknowledge { .. }
            | Call::AcknowledgeOperation { .. }
            | Call::ReconcileOperations { .. }
            | Call::Message { .. }
            | Call::ShutdownExecutor { .. }
            | Call::Demand { .. }
            | Call::AcceptInverse { .. }
            | Call::DeclineInverse { .. } => {}
        }
    }

    fn hears_agent(&mut self, peer: PeerId, message: &ToMaster) {
        match message {
            ToMaster::Report { tasks, .. } | ToMaster::Reregister { tasks, .. } => {
                let reports = self.reports.entry(peer).or_default();
                reports.tasks.extend(tasks.iter().cloned());
            }
            ToMaster::Executors(executors) => {
                let reports = self.reports.entry(peer).or_default();
                reports.executors.extend(executors.iter().cloned());
            }
            ToMaster::ExecutorEnded {
                framework,
                executor,
                ..
            } => {
                let name = (framework.clone(), executor.clone());
                if let Some(agent) = self.peers.get(&peer).cloned() {
                    self.end_custom_executor(&agent, &name);
                }
            }
            ToMaster::Update {
                framework,
                status,
                latest,
            } => self.hears_update(peer, framework, status, *latest),
            ToMaster::Register { .. }
            | ToMaster::Pong
            | ToMaster::Converted(_)
            | ToMaster::CarriedOut { .. }
            | ToMaster::OperationUpdate { .. }
            | ToMaster::DiskEnded { .. }
            | ToMaster::DiskJobs(_)
            | ToMaster::Message { .. }
            | ToMaster::Unregister => {}
        }
    }

    fn hears_update(
        &mut self,
        peer: PeerId,
        framework: &FrameworkId,
        status: &TaskStatus,
        latest: TaskState,
    ) {
        if !may_report(status.state) || !may_report(latest) {
            return;
        }
        let Some(agent) = self.peers.get(&peer).cloned() else {
            return;
        };
        let Some(task) = self.task_mut(framework, &status.task) else {
            return;
        };
        if task.agent != agent || task.state.is_terminal() {
            return;
        }
        let newest = if status.state.is_terminal() {
            status.state
        } else {
            latest
        };
        if task.state.may_become(newest) {
            task.state = newest;
        }
        let (is_over, is_booked) = (task.state.is_terminal(), task.is_booked);
        if is_over {
            self.unbook(framework, &status.task);
        } else if !is_booked {
            self.adopt(framework, &status.task);
        }
    }

    /// Sees what the master writes down.
    pub(super) fn wrote(&mut self, op: &RegistryOp) {
        self.registry.apply(op);
        match op {
            RegistryOp::Unreachable { id, .. } => self.end_tasks_on(id, TaskState::Unreachable),
            RegistryOp::Remove { id, .. } => self.remove_agent(id),
            RegistryOp::TakeDown { agents, .. } => {
                agents.iter().for_each(|id| self.remove_agent(id));
            }
            RegistryOp::EndFramework { id, .. } => self.end_tasks_of(id),
            RegistryOp::ForgetFramework { id } => self.forget(id),
            RegistryOp::Admit { id, .. }
            | RegistryOp::Update { id, .. }
            | RegistryOp::Convert { agent: id, .. }
            | RegistryOp::BeginDisk { agent: id, .. }
            | RegistryOp::EndDisk { agent: id, .. }
            | RegistryOp::Restore { agent: id, .. }
            | RegistryOp::RestoreAll { agent: id, .. } => self.recount(id),
            RegistryOp::Lead { .. }
            | RegistryOp::SetQuotas { .. }
            | RegistryOp::SetWeights { .. }
            | RegistryOp::Reachable { .. }
            | RegistryOp::Prune { .. }
            | RegistryOp::SetStanding { .. }
            | RegistryOp::Settle { .. }
            | RegistryOp::EnrolFramework { .. }
            | RegistryOp::FrameworkAway { .. }
            | RegistryOp::FrameworkBack { .. }
            | RegistryOp::SetSchedule { .. }
            | RegistryOp::MachinesDown { .. }
            | RegistryOp::MachinesUp { .. } => {}
        }
    }

    fn remove_agent(&mut self, id: &AgentId) {
        self.end_tasks_on(id, TaskState::Gone);
        self.peers.retain(|_, agent| agent != id);
    }

    /// Sees what the master wants.
    pub(super) fn saw(&mut self, effect: &Effect) {
        match effect {
            Effect::Scheduler { peer, event } => match event {
                Event::Offers(offers) => {
                    self.take_back();
                    for offer in offers {
                        self.offer(*peer, offer);
                    }
                }
                Event::Rescind(offer) => self.end_offer(offer),
                Event::Error { .. } => {
                    self.end_offers_of(*peer);
                    self.subscribed.remove(peer);
                }
                Event::Subscribed { framework, .. } => {
                    self.subscribed.insert(*peer, framework.clone());
                }
                Event::Heartbeat
                | Event::Update(_)
                | Event::OperationUpdate(_)
                | Event::Message { .. }
                | Event::ExecutorEnded { .. }
                | Event::AgentLost { .. }
                | Event::Rejected { .. }
                | Event::Unheard { .. }
                | Event::Updated
                | Event::Reconciled(_)
                | Event::InverseOffers(_)
                | Event::RescindInverse(_) => {}
            },
            Effect::Agent { peer, message } => self.saw_order(*peer, message),
            Effect::Disconnect { peer, .. } => self.leave(*peer),
            Effect::Respond { .. } | Effect::Resign { .. } => {}
        }
    }

    fn saw_order(&mut self, peer: PeerId, message: &ToAgent) {
        match message {
            ToAgent::Registered { id, .. } => {
                self.peers.insert(peer, id.clone());
            }
            ToAgent::Reregistered { id, .. } => {
                self.peers.insert(peer, id.clone());
                self.returning = Some(Returning {
                    peer,
                    agent: id.clone(),
                    reports: self.reports.remove(&peer).unwrap_or_default(),
                    ended: BTreeSet::new(),
                });
            }
            ToAgent::ShutdownFramework(framework) => {
                let returning = self.returning.as_mut();
                if let Some(returning) = returning.filter(|it| it.peer == peer) {
                    returning.ended.insert(framework.clone());
                }
            }
            ToAgent::RunTask {
                framework,
                role,
                task,
                starts_executor,
            } => {
                let starts = self.launch(peer, Some(framework), role, task);
                self.expect_executor(task, starts, *starts_executor);
            }
            ToAgent::RunGroup(order) => {
                let mut starts = false;
                for task in &order.tasks {
                    starts |= self.launch(peer, Some(&order.framework), &order.role, task);
                }
                if let Some(task) = order.tasks.first() {
                    self.expect_executor(task, starts, order.starts_executor);
                }
            }
            ToAgent::Refused(_)
            | ToAgent::Ping
            | ToAgent::KillTask { .. }
            | ToAgent::Acknowledge { .. }
            | ToAgent::Missing(_)
            | ToAgent::Convert(_)
            | ToAgent::BeginDisk(_)
            | ToAgent::EndDisk(_)
            | ToAgent::AcknowledgeOperation { .. }
            | ToAgent::Shutdown(_)
            | ToAgent::Drain { .. }
            | ToAgent::Undrain
            | ToAgent::UpdateFramework(_)
            | ToAgent::Message { .. }
            | ToAgent::ShutdownExecutor { .. } => {}
        }
    }

    /// Ends a turn; says what should not have been given.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        self.take_back();
        self.violation.take().map_or(Ok(()), Err)
    }

    fn leave(&mut self, peer: PeerId) {
        self.end_offers_of(peer);
        self.peers.remove(&peer);
        self.subscribed.remove(&peer);
        self.reports.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::protocol::agent::TaskReport;
    use crate::protocol::task::TaskInfo;
    use crate::sim::check::scene::*;
    use crate::sim::property::Property;

    fn broken(ledger: &mut Ledger) -> Option<Property> {
        ledger.check().err().map(|(property, _)| property)
    }

    /// Has an offer taken for one task.
    fn launch(ledger: &mut Ledger, offer: &Offer) -> TaskInfo {
        let task = task(offer);
        ledger.saw(&offers(&[offer]));
        ledger.hears(&accept(OWNER, offer));
        ledger.saw(&run(&task));
        task
    }

    // I2, OF-02
    #[test]
    fn what_is_offered_twice_is_found() {
        let (first, second) = (
            offer(1, "cpus:3;ports:[1-2]"),
            offer(2, "cpus:1;ports:[2-3]"),
        );
        let mut twice = book();
        twice.saw(&offers(&[&first, &second]));
        assert_eq!(broken(&mut twice), Some(Property::Holders));
        let mut too_much = book();
        too_much.saw(&offers(&[&offer(1, "cpus:3"), &offer(2, "cpus:2")]));
        assert_eq!(broken(&mut too_much), Some(Property::Holders));

        let decline = |peer| {
            let (offers, refuse) = (vec![first.id.clone()], None);
            let call = Call::Decline { offers, refuse };
            Input::Scheduler { peer, call }
        };
        let again = |ends: &dyn Fn(&mut Ledger)| {
            let mut ledger = book();
            ledger.saw(&offers(&[&first]));
            ends(&mut ledger);
            ledger.saw(&offers(&[&second]));
            ledger.check().is_ok()
        };
        let teardown = Input::Scheduler {
            peer: OWNER,
            call: Call::Teardown,
        };
        let rescind = event(OWNER, Event::Rescind(first.id.clone()));
        assert!(again(&|ledger| ledger.hears(&decline(OWNER))));
        assert!(again(&|ledger| ledger.saw(&rescind)));
        assert!(again(&|ledger| ledger.hears(&teardown)));
        assert!(again(
            &|ledger| ledger.hears(&Input::Disconnected { peer: OWNER })
        ));
        assert!(!again(&|ledger| ledger.hears(&decline(OTHER))));
        assert!(!again(
            &|ledger| ledger.hears(&Input::Disconnected { peer: OTHER })
        ));
    }

    // I1, I2, TK-35
    #[test]
    fn what_a_task_uses_is_nobody_elses_until_it_ends() {
        let (first, second) = (offer(1, "cpus:3;ports:[1-2]"), offer(2, "ports:[2-3]"));
        for (ends, is_fine) in [
            (Some(TaskState::Finished), true),
            (Some(TaskState::Running), false),
            // Not an agent's to say.
            (Some(TaskState::GoneByOperator), false),
            (None, false),
        ] {
            let mut ledger = book();
            let task = launch(&mut ledger, &first);
            assert_eq!(ledger.check(), Ok(()));
            if let Some(state) = ends {
                ledger.hears(&update(&task, state));
            }
            ledger.saw(&offers(&[&second]));
            let expected = (!is_fine).then_some(Property::Holders);
            assert_eq!(broken(&mut ledger), expected, "{ends:?}");
        }
        let mut twice = book();
        launch(&mut twice, &first);
        twice.saw(&run(&task(&second)));
        assert_eq!(broken(&mut twice), Some(Property::Holders));
    }

    // SM-14, SM-16, TK-36
    #[test]
    fn what_is_out_of_reach_is_free_and_in_use_again_when_it_is_back() {
        let first = offer(1, "cpus:4");
        let mut ledger = book();
        let task = launch(&mut ledger, &first);
        let (id, at) = (agent(), crate::time::Time::ZERO);
        let away = RegistryOp::Unreachable { id, at };
        ledger.wrote(&away);
        assert_eq!(ledger.used(&agent()).count(), 0);
        let role = Role::any();
        let report = TaskReport::new(framework(), role, &task, TaskState::Running);
        ledger.hears(&Input::Agent {
            peer: OTHER,
            message: ToMaster::Report {
                frameworks: Vec::new(),
                tasks: vec![report],
            },
        });
        let back = Effect::Agent {
            peer: OTHER,
            message: ToAgent::Reregistered {
                id: agent(),
                master: crate::ids::MasterId::of("m", 1).unwrap(),
                epoch: 1,
                ping_timeout: core::time::Duration::from_secs(75),
            },
        };
        ledger.saw(&back);
        ledger.saw(&offers(&[&offer(2, "cpus:1")]));
        assert_eq!(broken(&mut ledger), Some(Property::Holders));
        assert_eq!(ledger.used(&agent()).count(), 1);
        ledger.wrote(&RegistryOp::Remove {
            id: agent(),
            at,
            by_operator: false,
        });
        assert_eq!(ledger.used(&agent()).count(), 0);
    }

    // I5, I6, RQ-12
    #[test]
    fn what_is_reserved_and_what_is_above_a_limit_is_found() {
        let reserved = offer(1, "cpus(eng):1");
        let mut ledger = book();
        ledger.saw(&offers(&[&reserved]));
        assert_eq!(broken(&mut ledger), Some(Property::Reserved));
        let mut other_role = offer(1, "cpus:1");
        other_role.role = Role::new("eng").unwrap();
        let mut ledger = book();
        ledger.saw(&offers(&[&other_role]));
        assert_eq!(broken(&mut ledger), Some(Property::Reserved));

        let limits = crate::resources::Ceilings::parse("cpus:2").unwrap();
        let quota = crate::quota::Quota {
            limits,
            ..crate::quota::Quota::default()
        };
        for (more, expected) in [("cpus:1.001", Some(Property::Quota)), ("cpus:1", None)] {
            let mut ledger = book();
            let quotas = vec![(Role::any(), quota.clone())];
            ledger.wrote(&RegistryOp::SetQuotas { quotas });
            launch(&mut ledger, &offer(1, "cpus:1"));
            ledger.saw(&offers(&[&offer(2, more)]));
            assert_eq!(broken(&mut ledger), expected, "{more}");
        }
    }

    // I7
    #[test]
    fn an_offer_of_what_is_promised_to_others_is_found() {
        let quota = crate::quota::Quota {
            guarantees: "cpus:2".parse().unwrap(),
            ..crate::quota::Quota::default()
        };
        let others = Role::new("others").unwrap();
        for (role, offered, expected) in [
            (&others, "cpus:2", None),
            (&others, "cpus:2.001", Some(Property::Quota)),
            (&others, "ports:[1-4]", None),
            // It is for these.
            (&Role::any(), "cpus:4", None),
        ] {
            let mut ledger = book();
            let quotas = vec![(role.clone(), quota.clone())];
            ledger.wrote(&RegistryOp::SetQuotas { quotas });
            ledger.saw(&offers(&[&offer(1, offered)]));
            assert_eq!(broken(&mut ledger), expected, "{role} {offered}");
        }
    }
}
