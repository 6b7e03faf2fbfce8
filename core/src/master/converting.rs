//! What agents have becomes something else, by the operations of frameworks and operators.
//!
//! The operations of an agent are a log that the registry owns. Whoever is behind is told the rest:
//! an agent when it comes back, the registry if it has lost some of its memory. So both always
//! agree but for what is on its way, and what the master believes before the agent confirms it
//! (OF-14) comes true. Deliberately not here: who may do what (`plan`), and what frameworks are
//! told of it (`feedback`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::accept::Place;
use super::plan::Turn;
use super::{Cx, Master};
use crate::allocator::Change;
use crate::ids::{AgentId, PeerId};
use crate::keys::AgentKey;
use crate::limits;
use crate::protocol::agent::ToAgent;
use crate::protocol::disk::{DiskEnd, DiskJob};
use crate::protocol::node::AgentInfo;
use crate::protocol::operation::{
    Converted, OperationKind, OperationState, OperationStatus, Order, Owner,
};
use crate::protocol::wire::size;
use crate::registry::{Admission, RegistryOp, coming_bytes};
use crate::resources::{Resource, Resources};

/// Checks that what an agent says about itself and its operations goes together with what the
/// registry knows.
pub(super) fn check_converted(
    admission: Option<&Admission>,
    info: &AgentInfo,
    told: &Converted,
    jobs: &[DiskJob],
) -> Result<(), String> {
    if told.last > limits::OPERATION_NUMBER {
        let last = told.last;
        return Err(format!("no agent was ever given {last} operations"));
    }
    let known = admission.map(|admission| &admission.converted);
    let newest = known.filter(|known| known.last > told.last).unwrap_or(told);
    let total = newest.total(&info.resources).map_err(|why| {
        format!("the agent has less than what operations have made something of: {why}")
    })?;
    // It is written down, and goes on in frames: a liar would have nobody offered anything.
    let knows_all = admission.filter(|admission| admission.converted.last >= told.last);
    let coming = knows_all.map_or_else(|| coming_bytes(jobs), Admission::coming_bytes);
    let (bytes, limit) = (size(&total) + coming, limits::AGENT_BYTES);
    if bytes > limit {
        return Err(format!(
            "the agent has resources of {bytes} bytes, with those that its provider is at, more \
             than the limit of {limit}"
        ));
    }
    let open = admission.map(|admission| admission.open.range(told.last.saturating_add(1)..));
    let (ahead, open) = (newest.last - told.last, open.into_iter().flatten().count());
    if u64::try_from(open) == Ok(ahead) {
        return Ok(());
    }
    let (told, last) = (told.last, newest.last);
    Err(format!(
        "the agent knows {told} operations of {last}, and had confirmed to know more"
    ))
}

impl Master {
    /// Makes something else of what a framework was offered.
    pub(super) fn convert(&mut self, cx: &mut Cx<'_>, place: Place<'_>, turn: Turn) {
        let (framework, agent) = (place.framework, place.agent);
        self.rescind_copies(cx, agent, &turn.before);
        self.changes.push(Change::Converted {
            framework,
            role: place.role.clone(),
            agent,
            grants: place.grants.clone(),
            before: turn.before.clone(),
            after: turn.after.clone(),
        });
        let owner = Owner {
            framework: self.frameworks[framework].id.clone(),
            id: turn.id.clone(),
        };
        let number = self.order(cx, agent, |agent, number| match turn.disk {
            Some(change) => {
                let job = DiskJob {
                    number,
                    owner,
                    change,
                };
                let op = RegistryOp::BeginDisk {
                    agent,
                    job: job.clone(),
                };
                (op, ToAgent::BeginDisk(job))
            }
            None => conversion(
                agent,
                Order {
                    number,
                    owner: Some(owner),
                    kind: turn.kind,
                    before: turn.before,
                    after: turn.after,
                },
            ),
        });
        if let Some(id) = turn.id {
            let status = OperationStatus {
                agent: Some(self.agents[agent].id.clone()),
                ..OperationStatus::new(id, OperationState::Pending, cx.now)
            };
            let (kind, place) = (Some(turn.kind), Some((agent, number)));
            self.note_operation(framework, kind, place, (status, turn.bytes));
        }
    }

    /// Takes back what others are offered of shared volumes that become something else (RM-45).
    pub(super) fn rescind_copies(&mut self, cx: &mut Cx<'_>, agent: AgentKey, gone: &Resources) {
        let shared = gone.filter(Resource::is_shared);
        if shared.is_empty() {
            return;
        }
        for key in self.offers.of_agent(agent) {
            let offered = self.offers.get(key).map(|row| &row.offer.resources);
            if offered.is_some_and(|offered| offered.less(&shared) != *offered) {
                self.rescind(cx, key);
            }
        }
    }

    /// Orders the next operation of an agent, which fits what it has. Returns its number.
    pub(super) fn order(
        &mut self,
        cx: &mut Cx<'_>,
        key: AgentKey,
        order: impl FnOnce(AgentId, u64) -> (RegistryOp, ToAgent),
    ) -> u64 {
        let agent = self.agents[key].id.clone();
        let admission = self.registry.agent(&agent);
        let last = admission.map_or(0, |admission| admission.converted.last);
        let (op, message) = order(agent, last + 1);
        self.persist(cx, op);
        self.take_total(key);
        // Behind the record, and before the tasks that use what it makes. Whoever is away is told
        // when it comes back.
        if let Some(peer) = self.agents[key].peer() {
            cx.tell_agent(peer, message);
        }
        last + 1
    }

    /// Notes what an agent has by the registry.
    fn take_total(&mut self, key: AgentKey) {
        let row = &mut self.agents[key];
        let admission = self.registry.agent(&row.id);
        let admission = admission.expect("agents of the table are admitted");
        row.total = admission.total();
        row.operations = admission.under_way();
    }

    /// Takes over what a returning agent says that operations have made, if the registry knows
    /// less.
    pub(super) fn restore(
        &mut self,
        cx: &mut Cx<'_>,
        key: AgentKey,
        told: &Converted,
        mut jobs: Vec<DiskJob>,
    ) {
        let agent = self.agents[key].id.clone();
        let known = self.registry.agent(&agent);
        if known.is_some_and(|known| known.converted.last >= told.last) {
            return;
        }
        // OF-07: what is offered may not be there.
        self.rescind_agent(cx, key);
        let converted = told.clone();
        // With their orders, which are among those that were carried out.
        jobs.retain(|job| job.number <= told.last && job.order().is_ok());
        let op = RegistryOp::RestoreAll {
            agent,
            converted,
            jobs,
        };
        self.persist(cx, op);
        self.take_total(key);
        let row = &self.agents[key];
        if row.is_allocatable() {
            self.changes.push(Change::AgentChanged {
                agent: key,
                total: row.total.clone(),
                traits: super::agents::traits(&row.info),
            });
        }
    }

    /// Tells a returning agent the operations that it has not heard of.
    pub(super) fn bring_up_to_date(
        &mut self,
        cx: &mut Cx<'_>,
        key: AgentKey,
        peer: PeerId,
        told: u64,
    ) {
        let Some(admission) = self.registry.agent(&self.agents[key].id) else {
            return;
        };
        // What its provider is at it was told long ago, maybe.
        let jobs = admission.jobs.values();
        let mut open: Vec<(Owner, OperationKind, u64, usize)> = jobs
            .map(|job| (job, job.change.most_bytes()))
            .map(|(job, makes)| (job.owner.clone(), job.change.kind(), job.number, makes))
            .collect();
        let mut unheard: Vec<ToAgent> = Vec::new();
        for order in admission.open.values().filter(|it| it.number > told) {
            let owner = order.owner.clone();
            let makes = made_bytes(admission, order);
            open.extend(owner.map(|owner| (owner, order.kind, order.number, makes)));
            unheard.push(retold(admission, order));
        }
        for (owner, kind, number, makes) in open {
            self.know_again(cx, &owner, kind, (key, number), makes);
        }
        for message in unheard {
            cx.tell_agent(peer, message);
        }
        self.settle_orders(cx, key, told);
    }

    /// An agent says how far it is, for which its drain may have waited.
    pub(super) fn on_carried_out(&mut self, cx: &mut Cx<'_>, key: AgentKey, last: u64) {
        self.settle_orders(cx, key, last);
        self.finish_drain(cx, key);
    }

    /// An agent has carried its operations out up to one, and will not forget them.
    fn settle_orders(&mut self, cx: &mut Cx<'_>, key: AgentKey, last: u64) {
        let agent = self.agents[key].id.clone();
        let admission = self.registry.agent(&agent);
        let first = admission.and_then(|it| it.open.keys().next().copied());
        if first.is_some_and(|first| first <= last) {
            self.persist(cx, RegistryOp::Settle { agent, last });
            let admission = self.registry.agent(&self.agents[key].id);
            self.agents[key].operations = admission.map_or(0, Admission::under_way);
        }
    }
}

/// Makes a record and a message of an operation that is one order.
pub(super) fn conversion(agent: AgentId, order: Order) -> (RegistryOp, ToAgent) {
    let message = ToAgent::Convert(order.clone());
    (RegistryOp::Convert { agent, order }, message)
}

/// Returns how long it is, on the wire, what an order makes, or why it has failed.
fn made_bytes(admission: &Admission, order: &Order) -> usize {
    let end = admission.ends.get(&order.number);
    let why = end.and_then(|end| end.failed.as_ref());
    why.map_or(0, String::len) + size(&order.after)
}

/// Says an order again as it was said.
fn retold(admission: &Admission, order: &Order) -> ToAgent {
    if let Some(job) = admission.jobs.get(&order.number) {
        return ToAgent::BeginDisk(job.clone());
    }
    match admission.ends.get(&order.number) {
        Some(end) => ToAgent::EndDisk(DiskEnd {
            job: end.job,
            failed: end.failed.clone(),
            order: order.clone(),
        }),
        None => ToAgent::Convert(order.clone()),
    }
}
