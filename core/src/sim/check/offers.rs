//! Dead offers (I4): an accept that names an offer which is no longer good launches nothing, and
//! each of its tasks is answered at once (OF-11, OF-12).
//!
//! What was taken back may be somebody else's by now; and who launches on it has to hear that, or
//! would wait for ever. Which offers are good is known from [`super::ledger`].

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use super::Broken;
use super::ledger::Ledger;
use crate::ids::{PeerId, TaskId};
use crate::master::{Effect, Input};
use crate::protocol::agent::ToAgent;
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::task::TaskInfo;
use crate::sim::property::Property;

/// What must not be launched in this turn.
#[derive(Debug, Default)]
pub(super) struct DeadOffers {
    subscribed: BTreeSet<PeerId>,
    /// The tasks of an accept that must launch nothing.
    doomed: Vec<TaskId>,
    /// Those of them that nobody has said anything of, and to whom it is to be said.
    open: Vec<(PeerId, TaskId)>,
    violation: Option<Broken>,
}

impl DeadOffers {
    /// Sees what the master is about to hear.
    pub(super) fn hears(&mut self, input: &Input, ledger: &Ledger) {
        self.doomed.clear();
        match input {
            Input::Disconnected { peer } => {
                self.subscribed.remove(peer);
            }
            Input::Scheduler {
                peer,
                call: Call::Accept {
                    offers, operations, ..
                },
            } if !offers.iter().all(|offer| ledger.is_good(*peer, offer)) => {
                let tasks = operations.iter().flat_map(|operation| operation.tasks());
                let tasks = tasks.map(|task| task.id.clone());
                self.doomed.extend(tasks);
                if self.subscribed.contains(peer) {
                    let open = self.doomed.iter().map(|task| (*peer, task.clone()));
                    self.open.extend(open);
                }
            }
            Input::Scheduler { .. }
            | Input::Connected { .. }
            | Input::Agent { .. }
            | Input::Operator { .. } => {}
        }
    }

    /// Sees what the master wants.
    pub(super) fn saw(&mut self, effect: &Effect) {
        match effect {
            Effect::Scheduler { peer, event } => match event {
                Event::Subscribed { .. } => {
                    self.subscribed.insert(*peer);
                }
                Event::Error { .. } => self.leave(*peer),
                Event::Update(status) => {
                    let answered =
                        |(to, task): &(PeerId, TaskId)| to == peer && *task == status.task;
                    self.open.retain(|open| !answered(open));
                }
                Event::Heartbeat
                | Event::Offers(_)
                | Event::Rescind(_)
                | Event::OperationUpdate(_)
                | Event::Message { .. }
                | Event::ExecutorEnded { .. }
                | Event::AgentLost { .. }
                | Event::Rejected { .. }
                | Event::Updated
                | Event::Reconciled(_)
                | Event::InverseOffers(_)
                | Event::RescindInverse(_) => {}
            },
            Effect::Agent { message, .. } => match message {
                ToAgent::RunTask { task, .. } => self.launched(task),
                ToAgent::RunGroup(order) => order.tasks.iter().for_each(|task| self.launched(task)),
                ToAgent::Registered { .. }
                | ToAgent::Reregistered { .. }
                | ToAgent::Refused(_)
                | ToAgent::Ping
                | ToAgent::KillTask { .. }
                | ToAgent::ShutdownFramework(_)
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
            },
            Effect::Disconnect { peer, .. } => self.leave(*peer),
            Effect::Respond { .. } | Effect::Resign { .. } => {}
        }
    }

    fn launched(&mut self, task: &TaskInfo) {
        if self.doomed.contains(&task.id) {
            let problem = format!("{} was launched on a dead offer", task.id);
            self.violation.get_or_insert((Property::Offers, problem));
        }
    }

    fn leave(&mut self, peer: PeerId) {
        self.subscribed.remove(&peer);
        self.open.retain(|(to, _)| *to != peer);
    }

    /// Ends a turn; says what was launched in it that should not have been, or not answered.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        self.doomed.clear();
        if let Some((_, task)) = self.open.pop() {
            self.open.clear();
            let problem = format!("{task} came on a dead offer, and nobody was told");
            self.violation.get_or_insert((Property::Offers, problem));
        }
        self.violation.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::protocol::status::{Source, TaskState, TaskStatus};
    use crate::sim::check::scene::{
        OTHER, OWNER, accept, book, event, offer, run, subscribed, task,
    };
    use crate::time::Time;

    struct Scene {
        dead: DeadOffers,
        ledger: Ledger,
    }

    impl Scene {
        fn new() -> Self {
            let (dead, ledger) = (DeadOffers::default(), book());
            Self { dead, ledger }
        }

        fn hears(&mut self, input: &Input) {
            self.dead.hears(input, &self.ledger);
            self.ledger.hears(input);
        }

        fn saw(&mut self, effect: &Effect) {
            self.ledger.saw(effect);
            self.dead.saw(effect);
        }
    }

    // I4, OF-11
    #[test]
    fn a_launch_on_a_dead_offer_is_found() {
        let good = offer(1, "cpus:1");
        let launches = |scene: &mut Scene, peer| {
            scene.hears(&accept(peer, &good));
            scene.saw(&run(&task(&good)));
            scene.dead.check().map_err(|(property, _)| property)
        };
        let offered = event(OWNER, Event::Offers(vec![good.clone()]));
        let mut scene = Scene::new();
        scene.saw(&offered);
        assert_eq!(launches(&mut scene, OTHER), Err(Property::Offers));
        assert_eq!(launches(&mut scene, OWNER), Ok(()));
        assert!(launches(&mut scene, OWNER).is_err(), "it was used up");
        scene.saw(&offered);
        scene.hears(&Input::Disconnected { peer: OWNER });
        assert!(launches(&mut scene, OWNER).is_err(), "nobody was there");
    }

    // I4, OF-08, OF-12
    #[test]
    fn a_task_on_a_dead_offer_that_nobody_answers_is_found() {
        let dead = offer(1, "cpus:1");
        let status = TaskStatus::new(
            task(&dead).id,
            TaskState::Dropped,
            Source::Master,
            Time::ZERO,
        );
        for (answer, is_fine) in [
            (Some(event(OWNER, Event::Update(status.clone()))), true),
            (Some(event(OTHER, Event::Update(status))), false),
            (None, false),
        ] {
            let mut scene = Scene::new();
            scene.saw(&subscribed(OWNER));
            scene.hears(&accept(OWNER, &dead));
            answer.iter().for_each(|answer| scene.saw(answer));
            assert_eq!(scene.dead.check().is_ok(), is_fine, "{answer:?}");
            assert_eq!(scene.dead.check(), Ok(()), "it was said");
        }
        let mut scene = Scene::new();
        scene.hears(&accept(OWNER, &dead));
        assert_eq!(scene.dead.check(), Ok(()), "it is nobody who is subscribed");
    }
}
