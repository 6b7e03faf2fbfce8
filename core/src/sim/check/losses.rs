//! Who has tasks on an agent hears that it is lost (FW-36), in the turn in which that is written
//! down.
//!
//! Told from what the leading master writes and says. Who is not subscribed then is told nothing of
//! the agent, but of each task (see [`super::news`]).

use alloc::collections::BTreeSet;
use alloc::format;

use super::Broken;
use super::ledger::Ledger;
use crate::ids::{AgentId, PeerId};
use crate::master::Effect;
use crate::protocol::scheduler::Event;
use crate::registry::RegistryOp;
use crate::sim::property::Property;

/// Who has yet to hear of which agent.
#[derive(Debug, Default)]
pub(super) struct Losses {
    untold: BTreeSet<(PeerId, AgentId)>,
}

impl Losses {
    /// The master writes something down; the books are those before.
    pub(super) fn wrote(&mut self, op: &RegistryOp, ledger: &Ledger) {
        if let RegistryOp::Unreachable { id, .. } | RegistryOp::Remove { id, .. } = op {
            let concerned = ledger.subscribed_on(id).map(|peer| (peer, id.clone()));
            self.untold.extend(concerned);
        }
    }

    pub(super) fn saw(&mut self, effect: &Effect) {
        if let Effect::Scheduler {
            peer,
            event: Event::AgentLost { agent, .. },
        } = effect
        {
            self.untold.remove(&(*peer, agent.clone()));
        }
    }

    /// Ends a turn; says who should have heard of what.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        let untold = core::mem::take(&mut self.untold);
        untold.first().map_or(Ok(()), |(peer, agent)| {
            let problem = format!("{peer:?} has tasks on {agent}, and is not told that it is lost");
            Err((Property::Deliveries, problem))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::node::AgentLoss;
    use crate::sim::check::scene::*;
    use crate::time::Time;

    // FW-36
    #[test]
    fn a_loss_that_is_not_told_is_found() {
        let id = agent();
        let op = RegistryOp::Unreachable {
            id: id.clone(),
            at: Time::ZERO,
        };
        let lost = |agent: &AgentId| {
            let (agent, why) = (agent.clone(), AgentLoss::Unreachable);
            event(OWNER, Event::AgentLost { agent, why })
        };
        let (mut losses, mut ledger) = (Losses::default(), book());
        ledger.saw(&subscribed(OWNER));
        losses.wrote(&op, &ledger);
        assert_eq!(losses.check(), Ok(()), "it has nothing there");
        let offer = offer(1, "cpus:1");
        ledger.saw(&offers(&[&offer]));
        ledger.hears(&accept(OWNER, &offer));
        ledger.saw(&run(&task(&offer)));
        losses.wrote(&op, &ledger);
        losses.saw(&lost(&AgentId::new("m-S2").unwrap()));
        let broken = losses.check().unwrap_err();
        assert_eq!(broken.0, Property::Deliveries);
        losses.wrote(&op, &ledger);
        losses.saw(&lost(&id));
        assert_eq!(losses.check(), Ok(()));
    }
}
