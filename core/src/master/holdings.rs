//! Which task or executor holds which ports, and whatever else of an agent has names.
//!
//! A port is booked once. What the master launches never asks for one that is taken, but an agent
//! may report two tasks with the same: then the first has it, the other is owed it, and inherits it
//! when the first ends. Without that the books would be returned twice, and never come right again.
//!
//! Used by [`super::tasks`] only. Deliberately not here: amounts, which simply add up, and what the
//! allocator is told.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::tasks::TaskKey;
use crate::ids::ExecutorId;
use crate::keys::{AgentKey, FrameworkKey};
use crate::resources::{Resources, Value};

/// Who holds something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    Task(TaskKey),
    Executor(FrameworkKey, ExecutorId),
}

#[derive(Clone, Debug)]
struct Row {
    held: Resources,
    /// What it uses too and somebody else holds.
    owed: Resources,
}

#[derive(Clone, Debug, Default)]
struct OfAgent {
    /// Of all rows together.
    held: Resources,
    rows: BTreeMap<Holder, Row>,
}

/// All that is held by name. Who uses amounts only has no row.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    agents: BTreeMap<AgentKey, OfAgent>,
}

impl Holdings {
    /// Notes that somebody uses `resources`. Returns them without what others hold.
    pub(super) fn enter(
        &mut self,
        agent: AgentKey,
        holder: Holder,
        resources: &Resources,
    ) -> Resources {
        let named = named(resources);
        if named.is_empty() {
            return resources.clone();
        }
        let of = self.agents.entry(agent).or_default();
        let held = named.without_shared(&of.held);
        let owed = named.without_shared(&held);
        let bill = resources.without_shared(&owed);
        put(&mut of.held, &held);
        let before = of.rows.insert(holder, Row { held, owed });
        assert!(before.is_none(), "a holder enters once");
        bill
    }

    /// Notes that somebody uses `resources` no more. Returns them without what others hold.
    pub(super) fn leave(
        &mut self,
        agent: AgentKey,
        holder: &Holder,
        resources: &Resources,
    ) -> Resources {
        let of = self.agents.get_mut(&agent);
        let Some((of, row)) = of.and_then(|of| {
            let row = of.rows.remove(holder)?;
            Some((of, row))
        }) else {
            return resources.clone();
        };
        let rest = of.held.subtract(&row.held);
        rest.expect("what one holds is among what all hold");
        if of.rows.is_empty() {
            self.agents.remove(&agent);
        }
        resources.without_shared(&row.owed)
    }

    /// Gives what nobody holds any more to those who are owed it. Returns who got what.
    pub(super) fn inherit(&mut self, agent: AgentKey) -> Vec<(Holder, Resources)> {
        let Some(of) = self.agents.get_mut(&agent) else {
            return Vec::new();
        };
        let mut heirs = Vec::new();
        for (holder, row) in &mut of.rows {
            let got = row.owed.without_shared(&of.held);
            if !got.is_empty() {
                row.owed = row.owed.without_shared(&got);
                put(&mut row.held, &got);
                put(&mut of.held, &got);
                heirs.push((holder.clone(), got));
            }
        }
        heirs
    }

    /// Checks that everything is held once, by those and only those who use it.
    pub(super) fn check(&self, users: &BTreeMap<(AgentKey, Holder), Resources>) {
        let mut rows = 0;
        for (agent, of) in &self.agents {
            let mut all = Resources::new();
            for (holder, row) in &of.rows {
                assert_eq!(row.held.without_shared(&all), row.held, "held twice");
                put(&mut all, &row.held);
                let mut uses = row.held.clone();
                put(&mut uses, &row.owed);
                let user = &users[&(*agent, holder.clone())];
                assert_eq!(uses, named(user), "what {holder:?} uses");
                assert!(of.held.contains(&row.owed), "owed, but not held");
                rows += 1;
            }
            assert_eq!(all, of.held, "what is held of an agent");
        }
        let expected = users.values().filter(|uses| !named(uses).is_empty());
        assert_eq!(rows, expected.count(), "holders");
    }
}

/// Keeps what is told apart by name.
fn named(resources: &Resources) -> Resources {
    resources.filter(|entry| match entry.value() {
        Value::Scalar(_) => false,
        Value::Ranges(_) | Value::Items(_) => true,
    })
}

fn put(sum: &mut Resources, more: &Resources) {
    sum.add(more).expect("only amounts can overflow");
}
