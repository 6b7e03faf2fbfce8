//! What of a cluster is offered and in use, added up by agent or by framework.
//!
//! Used by mirrors and by the master's views, which so agree. Deliberately not here: what is free,
//! which is the allocator's to know.

use alloc::collections::BTreeMap;

use crate::protocol::events::{AgentState, FrameworkState};
use crate::protocol::operator::{AgentView, FrameworkView};
use crate::protocol::status::TaskState;
use crate::resources::{Resource, Resources};

/// What one agent or framework has.
#[derive(Clone, Debug, Default)]
pub struct Share {
    offered: Resources,
    allocated: Resources,
    tasks: usize,
}

impl Share {
    /// Counts an offer.
    pub fn offer(&mut self, resources: &Resources) {
        add(&mut self.offered, resources);
    }

    /// Counts a task, unless it has ended. One out of reach is a task, but uses nothing that could
    /// be offered (TK-36).
    pub fn task(&mut self, state: TaskState, resources: &Resources) {
        if state.is_terminal() {
            return;
        }
        self.tasks += 1;
        if state != TaskState::Unreachable {
            add(&mut self.allocated, resources);
        }
    }

    /// Counts an executor.
    pub fn executor(&mut self, resources: &Resources) {
        add(&mut self.allocated, resources);
    }

    /// Shows an agent with what it has.
    pub fn of_agent(self, agent: AgentState) -> AgentView {
        AgentView {
            id: agent.id,
            info: agent.info,
            presence: agent.presence,
            standing: agent.standing,
            drain_since: agent.drain_since,
            operations: agent.operations,
            registered_at: agent.registered_at,
            offered: self.offered,
            shortage: shortage(&self.allocated, &agent.total),
            total: agent.total,
            allocated: self.allocated,
            tasks: self.tasks,
        }
    }

    /// Shows a framework with what it has.
    pub fn of_framework(self, framework: FrameworkState) -> FrameworkView {
        FrameworkView {
            info: framework.info,
            connected: framework.connected,
            suppressed: framework.suppressed,
            offered: self.offered,
            allocated: self.allocated,
            tasks: self.tasks,
        }
    }
}

/// What all agents or frameworks have.
#[derive(Clone, Debug)]
pub struct Shares<K> {
    by: BTreeMap<K, Share>,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        let by = BTreeMap::new();
        Self { by }
    }
}

impl<K: Ord> Shares<K> {
    /// Counts an offer.
    pub fn offer(&mut self, of: K, resources: &Resources) {
        self.by.entry(of).or_default().offer(resources);
    }

    /// Counts a task, unless it has ended.
    pub fn task(&mut self, of: K, state: TaskState, resources: &Resources) {
        if !state.is_terminal() {
            self.by.entry(of).or_default().task(state, resources);
        }
    }

    /// Counts an executor.
    pub fn executor(&mut self, of: K, resources: &Resources) {
        self.by.entry(of).or_default().executor(resources);
    }

    /// Takes what one of them has.
    pub fn take(&mut self, of: &K) -> Share {
        self.by.remove(of).unwrap_or_default()
    }
}

/// Adds for display. Only agents that lie about their resources get beyond what a number holds;
/// then the sum stays as it was.
fn add(sum: &mut Resources, more: &Resources) {
    #[cfg(test)]
    ADDED.set(ADDED.get() + 1);
    if let Err(overflow) = sum.add(more) {
        tracing::debug!(%overflow, "a sum for display");
    }
}

/// Returns what tasks use and their agent does not have any more. Of what is shared there are more
/// copies in use than there are.
fn shortage(used: &Resources, total: &Resources) -> Resources {
    if total.contains(used) {
        return Resources::new();
    }
    used.filter(|entry| !Resource::is_shared(entry)).less(total)
}

#[cfg(test)]
std::thread_local! {
    /// How often something was added on this thread.
    pub(crate) static ADDED: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}
