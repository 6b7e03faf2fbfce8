//! Reactions to agents: joining, coming back, answering pings, news about tasks.
//!
//! Deliberately not here: losing agents (`reachability`), and how reports are merged
//! (`merging`, `reregister`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use tracing::debug;

use super::agents::{Agent, Presence};
use super::converting::check_converted;
use super::peers::{Account, Part};
use super::updates::News;
use super::{Cx, Effect, Master};
use crate::allocator::Change;
use crate::ids::{AgentId, PeerId};
use crate::keys::AgentKey;
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::{ExecutorReport, TaskReport, ToAgent, ToMaster};
use crate::protocol::disk::DiskJob;
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::hello::CloseReason;
use crate::protocol::node::AgentInfo;
use crate::protocol::operation::Converted;
use crate::protocol::status::{Reason, TaskState};
use crate::protocol::validate::{check_agent, check_executor_report, check_report};
use crate::protocol::wire::slices;
use crate::registry::RegistryOp;

impl Master {
    pub(super) fn on_agent(&mut self, cx: &mut Cx<'_>, peer: PeerId, message: ToMaster) {
        match message {
            ToMaster::Register { agent } => self.on_register(cx, peer, agent),
            ToMaster::Report { frameworks, tasks } => {
                self.on_report(cx, peer, frameworks, tasks, Vec::new());
            }
            ToMaster::Executors(executors) => self.on_executors(cx, peer, executors),
            ToMaster::Reregister {
                id,
                agent: info,
                frameworks,
                tasks,
            } => {
                if self.on_report(cx, peer, frameworks, tasks, Vec::new()) {
                    self.on_reregister(cx, peer, id, info);
                }
            }
            ToMaster::Pong => match self.peers.agent(peer) {
                Some(key) => self.on_pong(key),
                None => debug!(?peer, "a pong from an agent that has not registered"),
            },
            ToMaster::Unregister => match self.peers.agent(peer) {
                Some(key) => self.on_unregister(cx, key),
                None => debug!(?peer, "an agent leaves that has not registered"),
            },
            ToMaster::Update {
                framework,
                status,
                latest,
            } => match self.peers.agent(peer) {
                Some(key) => self.on_update(cx, key, framework, status, latest),
                None => debug!(?peer, "an update from an agent that has not registered"),
            },
            ToMaster::Converted(converted) => self.on_converted(cx, peer, converted),
            ToMaster::DiskJobs(jobs) => self.on_disk_jobs(cx, peer, jobs),
            ToMaster::CarriedOut { last } => match self.peers.agent(peer) {
                Some(key) => self.on_carried_out(cx, key, last),
                None => debug!(?peer, "operations of an agent that has not registered"),
            },
            ToMaster::OperationUpdate {
                number,
                framework,
                status,
            } => match self.peers.agent(peer) {
                Some(key) => self.on_operation_update(cx, key, number, framework, status),
                None => debug!(?peer, "an operation of an agent that has not registered"),
            },
            ToMaster::DiskEnded { job, outcome } => match self.peers.agent(peer) {
                Some(key) => self.on_disk_ended(cx, key, job.number, &outcome),
                None => debug!(?peer, "a disk of an agent that has not registered"),
            },
            ToMaster::Message {
                framework,
                executor,
                data,
            } => match self.peers.agent(peer) {
                Some(key) => self.on_executor_message(cx, key, (&framework, executor), data),
                None => debug!(?peer, "a message from an agent that has not registered"),
            },
            ToMaster::ExecutorEnded {
                framework,
                executor,
                exit,
            } => match self.peers.agent(peer) {
                Some(key) => self.on_executor_ended(cx, key, &framework, executor, exit),
                None => debug!(?peer, "an executor of an agent that has not registered"),
            },
        }
    }

    /// Keeps what a returning agent says of its executors, until it has said all.
    fn on_executors(&mut self, cx: &mut Cx<'_>, peer: PeerId, executors: Vec<ExecutorReport>) {
        self.on_report(cx, peer, Vec::new(), Vec::new(), executors);
    }

    /// Keeps what a returning agent says of its operations, until it has said all.
    fn on_converted(&mut self, cx: &mut Cx<'_>, peer: PeerId, converted: Converted) {
        self.keep_account(cx, peer, |account| account.convert(converted));
    }

    /// Keeps what a returning agent says of its provider of disks, until it has said all.
    fn on_disk_jobs(&mut self, cx: &mut Cx<'_>, peer: PeerId, jobs: Vec<DiskJob>) {
        self.keep_account(cx, peer, |account| account.add_jobs(jobs));
    }

    /// Admits an agent under a new id (SM-09, PR-01).
    ///
    /// The name in its certificate is bound to the id. If the name was bound before, that agent
    /// has lost its state, and with it its tasks: it is removed, and this is a new one.
    fn on_register(&mut self, cx: &mut Cx<'_>, peer: PeerId, info: AgentInfo) {
        let Some(name) = self.check_joining(cx, peer, &info) else {
            return;
        };
        if self.is_shut_out(cx, peer, &info) {
            return;
        }
        if let Some(key) = self.peers.agent(peer) {
            // Asked again before it heard our answer. Meanwhile operations may have made something
            // of what it has.
            let admission = self.registry.agent(&self.agents[key].id);
            let made = admission.map(|it| it.converted.clone()).unwrap_or_default();
            if let Err(why) = check_converted(admission, &info, &made, &[]) {
                return cx.tell_agent(peer, ToAgent::Refused(why));
            }
            self.take_info(cx, key, info);
            self.tell_registered(cx, peer, key);
            return;
        }
        self.remove_namesake(cx, &name);
        if !self.has_room(cx, peer) {
            return;
        }
        if planted(Mutant::AgentIdReused) {
            self.next_agent = self.agents.len() as u64;
        }
        let id = loop {
            let id = AgentId::numbered(&self.config.id, self.next_agent);
            self.next_agent += 1;
            // An agent of a registry that was lost may have come back under this id.
            let is_new = self.agents.find(&id).is_none();
            let has_served = self.registry.gone().contains_key(&id);
            if is_new && (!has_served || planted(Mutant::AgentIdReused)) {
                break id;
            }
        };
        let key = self.admit(cx, id, name, info);
        self.connect(cx, key, peer);
        self.tell_registered(cx, peer, key);
        self.answer_kills(cx);
    }

    /// Keeps a part of what a returning agent says, until it has said all: what is missing can be
    /// told at the end only. Returns whether the agent is still there.
    fn on_report(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        frameworks: Vec<FrameworkInfo>,
        reports: Vec<TaskReport>,
        executors: Vec<ExecutorReport>,
    ) -> bool {
        let mut tasks = reports.iter();
        let bad_task = tasks.find_map(|task| Some((task.task.as_str(), check_report(task).err()?)));
        let mut all = executors.iter();
        let bad = bad_task.or_else(|| {
            all.find_map(|it| Some((it.executor.id.as_str(), check_executor_report(it).err()?)))
        });
        if let Some((id, why)) = bad {
            let reason = format!("reported what cannot be: {id}: {why}");
            self.disconnect(cx, peer, CloseReason::Malformed, reason);
            return false;
        }
        self.keep_account(cx, peer, |account| {
            account.append(frameworks, reports, executors);
        })
    }

    /// Adds to what a returning agent says, if that is what an agent may have, and if there is room
    /// beside what others are saying. Returns whether the agent is still there.
    fn keep_account(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        note: impl FnOnce(&mut Account),
    ) -> bool {
        if !self.peers.note_account(peer, note) {
            let (tasks, frameworks) = (limits::TASKS_PER_AGENT, limits::FRAMEWORKS);
            let bytes = limits::ACCOUNT_BYTES;
            let reason = format!(
                "reported more than {tasks} tasks or executors, {frameworks} frameworks, or \
                 {bytes} bytes"
            );
            self.disconnect(cx, peer, CloseReason::Malformed, reason);
        }
        while let Some(longest) = self.peers.longest_winded() {
            let bytes = limits::ACCOUNTS_BYTES;
            let reason = format!("returning agents have more than {bytes} bytes to report");
            self.disconnect(cx, longest, CloseReason::Overloaded, reason);
        }
        self.peers.get(peer).is_some()
    }

    /// Takes an agent back under its id (SM-10, SM-13, SM-16, PR-02).
    ///
    /// An id that the registry does not know is admitted as it is: the registry may have been lost,
    /// and the agent's tasks run. One that it knows to be gone ends what it runs, for its tasks
    /// were said to be gone as well (TK-114).
    fn on_reregister(&mut self, cx: &mut Cx<'_>, peer: PeerId, id: AgentId, info: AgentInfo) {
        // Should it ask again, it will say all again.
        let account = self.peers.take_account(peer);
        if let Some(task) = account.undescribed() {
            let reason = format!("reported task {task}, and not the executor that runs it");
            self.disconnect(cx, peer, CloseReason::Malformed, reason);
            return;
        }
        let Some(name) = self.check_joining(cx, peer, &info) else {
            return;
        };
        if let Some(key) = self.peers.agent(peer)
            && self.agents[key].id != id
        {
            let reason = format!("already registered as {}, not {id}", self.agents[key].id);
            self.disconnect(cx, peer, CloseReason::Denied, reason);
            return;
        }
        if self.registry.gone().contains_key(&id) {
            self.shut_down(cx, peer, &id);
            return;
        }
        if self.is_shut_out(cx, peer, &info) {
            return;
        }
        let (told, jobs) = (account.converted.clone(), account.jobs.clone());
        let Some(key) = self.know(cx, peer, name, id, info, (&told, &jobs)) else {
            return;
        };
        self.restore(cx, key, &told, jobs);
        let mut merge = self.plan_merge(key, peer, account);
        self.set_uncounted(cx, key, core::mem::take(&mut merge.uncounted));
        self.connect(cx, key, peer);
        self.tell_reregistered(cx, peer, key);
        self.bring_up_to_date(cx, key, peer, told.last);
        for missing in slices(core::mem::take(&mut merge.missing)) {
            cx.tell_agent(peer, ToAgent::Missing(missing));
        }
        self.apply_merge(cx, key, peer, merge);
        let id = self.agents[key].id.clone();
        self.answer_asks_of(cx, &id);
        if !planted(Mutant::DrainUntold) {
            self.tell_drain(cx, key);
        }
        self.finish_drain(cx, key);
        self.answer_kills(cx);
    }

    /// Finds an agent that comes back, or admits it; or refuses it, if it is not who it says, or
    /// cannot have what it should.
    fn know(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        name: String,
        id: AgentId,
        info: AgentInfo,
        (told, jobs): (&Converted, &[DiskJob]),
    ) -> Option<AgentKey> {
        let admission = self.registry.agent(&id);
        let problem = match admission {
            Some(known) if known.name != name && !planted(Mutant::IdUnbound) => {
                let owner = &known.name;
                let text = format!("agent id {id} is bound to the name {owner:?}, not {name:?}");
                Some(text)
            }
            Some(_) | None => check_converted(admission, &info, told, jobs).err(),
        };
        if let Some(text) = problem {
            cx.tell_agent(peer, ToAgent::Refused(text));
            return None;
        }
        if admission.is_none() {
            self.remove_namesake(cx, &name);
            let has_room = self.has_room(cx, peer);
            return has_room.then(|| self.admit(cx, id, name, info));
        }
        let key = self.agents.find(&id);
        let key = key.expect("every agent of the registry has a row");
        if self.agents[key].presence() == Presence::Unreachable && self.is_full() {
            let reason = format!("no room for agent {id} to come back");
            self.disconnect(cx, peer, CloseReason::Overloaded, reason);
            return None;
        }
        if let Some(old) = self.agents[key].peer().filter(|old| *old != peer) {
            let reason = format!("agent {id} came back over another connection");
            self.disconnect(cx, old, CloseReason::Replaced, reason);
        }
        self.take_info(cx, key, info);
        Some(key)
    }

    /// Returns the name of an agent that may join, or refuses it.
    fn check_joining(&self, cx: &mut Cx<'_>, peer: PeerId, info: &AgentInfo) -> Option<String> {
        let fits = check_agent(info).map_err(|reject| reject.to_string());
        if let Err(why) = fits.and_then(|()| self.check_domain(info)) {
            cx.tell_agent(peer, ToAgent::Refused(why));
            return None;
        }
        Some(self.peers.get(peer)?.principal.name.clone())
    }

    /// Checks that an agent says where it stands as far as this cluster knows of such (TK-116).
    fn check_domain(&self, info: &AgentInfo) -> Result<(), String> {
        let (ours, theirs) = (&self.config.domain, &info.domain);
        match theirs {
            Some(_) if ours.is_none() => {
                Err("it names a region and a zone, and this master has none".to_string())
            }
            None if self.config.requires_domain => {
                Err("it names no region and no zone, and this master requires them".to_string())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns whether there are as many agents as may be.
    fn is_full(&self) -> bool {
        self.registry.len() - self.registry.unreachable() >= limits::AGENTS
    }

    /// Returns whether there may be one more. Who finds no room tries again later: a refusal would
    /// end it for good.
    fn has_room(&mut self, cx: &mut Cx<'_>, peer: PeerId) -> bool {
        if !self.is_full() {
            return true;
        }
        let reason = format!("the limit of {} agents is reached", limits::AGENTS);
        self.disconnect(cx, peer, CloseReason::Overloaded, reason);
        false
    }

    fn remove_namesake(&mut self, cx: &mut Cx<'_>, name: &str) {
        let before = self.registry.bound_to(name);
        if let Some(key) = before.and_then(|id| self.agents.find(id)) {
            let why = "the agent joined anew: its earlier state is lost";
            let end = News {
                state: TaskState::Gone,
                reason: Reason::AgentRemoved,
                message: why.to_string(),
            };
            if let Some(old) = self.remove_agent(cx, key, &end) {
                self.disconnect(cx, old, CloseReason::Replaced, why.to_string());
            }
        }
    }

    fn admit(&mut self, cx: &mut Cx<'_>, id: AgentId, name: String, info: AgentInfo) -> AgentKey {
        let info = Arc::new(info);
        let op = RegistryOp::Admit {
            id: id.clone(),
            name,
            info: Arc::clone(&info),
        };
        self.persist(cx, op);
        let (presence, total) = (Presence::Recovered, info.resources.clone());
        let unavailability = self.registry.maintenance().unavailability(&info);
        let mut agent = Agent::new(id, info, total, presence, cx.now);
        agent.unavailability = unavailability;
        self.agents.insert(agent)
    }

    /// Takes over what an agent says about itself, if that is new. Nothing is written otherwise.
    fn take_info(&mut self, cx: &mut Cx<'_>, key: AgentKey, info: AgentInfo) {
        let row = &self.agents[key];
        if *row.info == info {
            return;
        }
        let (id, known) = (row.id.clone(), row.is_allocatable());
        let differs = row.info.resources != info.resources
            || row.info.attributes != info.attributes
            || row.info.domain != info.domain
            || row.info.hostname != info.hostname;
        let info = Arc::new(info);
        // OF-07: offers say what the agent was like.
        self.rescind_agent(cx, key);
        let op = RegistryOp::Update {
            id,
            info: Arc::clone(&info),
        };
        self.persist(cx, op);
        let row = &mut self.agents[key];
        let admission = self.registry.agent(&row.id);
        row.total = admission.expect("agents of the table are admitted").total();
        row.describe(info);
        if known && differs {
            self.changes.push(Change::AgentChanged {
                agent: key,
                total: row.total.clone(),
                traits: super::agents::traits(&row.info),
            });
        }
        self.reassess(cx, key);
    }

    /// Makes an agent one that speaks with us, over `peer`.
    fn connect(&mut self, cx: &mut Cx<'_>, key: AgentKey, peer: PeerId) {
        self.leave_line(key);
        let before = self
            .agents
            .set_presence(key, Presence::Connected(peer), cx.now);
        let row = &mut self.agents[key];
        row.missed = 0;
        let active = row.may_be_offered();
        let is_active = Change::AgentActive { agent: key, active };
        match before {
            Presence::Connected(_) => {}
            Presence::Disconnected if active => self.changes.push(is_active),
            Presence::Disconnected => {}
            Presence::Recovered | Presence::Unreachable => {
                row.registered_at = cx.now;
                self.changes.push(Change::AgentAdded {
                    agent: key,
                    total: row.total.clone(),
                    traits: super::agents::traits(&row.info),
                });
                if !active {
                    self.changes.push(is_active);
                }
            }
        }
        if before == Presence::Unreachable {
            let id = self.agents[key].id.clone();
            self.persist(cx, RegistryOp::Reachable { id });
            self.regain_operations_of_agent(cx, key);
        }
        self.inverse_offers.touch(key);
        self.peers.cast(peer, Some(Part::Agent(key)));
        // A whole fleet comes back at once after a change of master: spread its pings.
        let first = self.rng.jitter(self.config.ping_interval);
        self.arm_agent(key, Some(cx.now + first));
    }

    fn tell_registered(&self, cx: &mut Cx<'_>, peer: PeerId, key: AgentKey) {
        let message = ToAgent::Registered {
            id: self.agents[key].id.clone(),
            master: self.config.id.clone(),
            epoch: self.config.epoch,
            ping_timeout: self.config.ping_timeout(),
        };
        if planted(Mutant::AdmissionToldEarly) {
            return cx.out.emit_free(Effect::Agent { peer, message });
        }
        cx.tell_agent(peer, message);
    }

    fn tell_reregistered(&self, cx: &mut Cx<'_>, peer: PeerId, key: AgentKey) {
        let message = ToAgent::Reregistered {
            id: self.agents[key].id.clone(),
            master: self.config.id.clone(),
            epoch: self.config.epoch,
            ping_timeout: self.config.ping_timeout(),
        };
        cx.tell_agent(peer, message);
    }
}
