//! Dead offers (I4): an accept that names an offer which is no longer good launches nothing, and
//! each of its tasks is answered at once, exactly once, as never started (OF-11, OF-12).
//!
//! What was taken back may be somebody else's by now; and who launches on it has to hear that, or
//! would wait for ever. Which offers are good is known from [`super::ledger`]. The answer may be
//! said again until it is confirmed, under the same name; another one would be another task's end.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use super::Broken;
use super::ledger::Ledger;
use crate::ids::{PeerId, TaskId, UpdateId};
use crate::master::{Effect, Input};
use crate::protocol::agent::ToAgent;
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::status::{Source, TaskState, TaskStatus};
use crate::protocol::task::TaskInfo;
use crate::sim::property::Property;

/// How often a task came on a dead offer in this turn, and what was answered.
#[derive(Debug, Default)]
struct Doomed {
    asked: usize,
    answers: usize,
}

/// What must not be launched in this turn.
#[derive(Debug, Default)]
pub(super) struct DeadOffers {
    subscribed: BTreeSet<PeerId>,
    /// The tasks of an accept that must launch nothing.
    doomed: BTreeSet<TaskId>,
    /// Those of them that somebody is to be told of.
    open: BTreeMap<(PeerId, TaskId), Doomed>,
    /// What was answered over a connection, by name.
    told: BTreeMap<(PeerId, TaskId), BTreeSet<UpdateId>>,
    violation: Option<Broken>,
}

impl DeadOffers {
    /// Sees what the master is about to hear.
    pub(super) fn hears(&mut self, input: &Input, ledger: &Ledger) {
        match input {
            Input::Disconnected { peer } => self.leave(*peer),
            Input::Scheduler {
                peer,
                call: Call::Accept {
                    offers, operations, ..
                },
            } => {
                let is_good = offers.iter().all(|offer| ledger.is_good(*peer, offer));
                let tasks = operations.iter().flat_map(|operation| operation.tasks());
                for task in tasks {
                    let key = (*peer, task.id.clone());
                    // Whatever becomes of it now is another answer.
                    self.told.remove(&key);
                    if is_good {
                        continue;
                    }
                    self.doomed.insert(task.id.clone());
                    if self.subscribed.contains(peer) {
                        self.open.entry(key).or_default().asked += 1;
                    }
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
                Event::Update(status) => self.answered(*peer, status),
                Event::Heartbeat
                | Event::Offers(_)
                | Event::Rescind(_)
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

    fn answered(&mut self, peer: PeerId, status: &TaskStatus) {
        // Of a task that is there already its own state is told, which is not news.
        let is_verdict = status.state == TaskState::Dropped;
        let is_answer = status.source == Source::Master && status.update.is_none();
        if !is_verdict && !is_answer {
            return;
        }
        let key = (peer, status.task.clone());
        let said = self.told.get(&key);
        let is_again = said
            .zip(status.update)
            .is_some_and(|(said, update)| said.contains(&update));
        if is_again {
            return;
        }
        if let Some(doomed) = self.open.get_mut(&key) {
            doomed.answers += 1;
            if let Some(update) = status.update {
                self.told.entry(key).or_default().insert(update);
            }
        } else if said.is_some() && is_verdict {
            let problem = format!(
                "{} came on a dead offer once, and is told twice",
                status.task
            );
            self.violation.get_or_insert((Property::Offers, problem));
        }
    }

    fn leave(&mut self, peer: PeerId) {
        self.subscribed.remove(&peer);
        self.open.retain(|(to, _), _| *to != peer);
        self.told.retain(|(to, _), _| *to != peer);
    }

    /// Ends a turn; says what was launched in it that should not have been, or not answered once.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        self.doomed.clear();
        let open = core::mem::take(&mut self.open);
        let wrong = open.iter().find(|(_, it)| it.asked != it.answers);
        if let Some(((_, task), Doomed { asked, answers })) = wrong {
            let problem = format!(
                "{task} came on dead offers {asked} times, and was answered {answers} times"
            );
            self.violation.get_or_insert((Property::Offers, problem));
        }
        self.violation.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
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

    // I4: exactly one
    #[test]
    fn a_second_answer_is_found_and_the_first_may_be_said_again() {
        let dead = offer(1, "cpus:1");
        let answer = |update| {
            let dropped = TaskState::Dropped;
            let status = TaskStatus::new(task(&dead).id, dropped, Source::Master, Time::ZERO);
            let update = Some(UpdateId(update));
            event(OWNER, Event::Update(TaskStatus { update, ..status }))
        };
        let begin = || {
            let mut scene = Scene::new();
            scene.saw(&subscribed(OWNER));
            scene.hears(&accept(OWNER, &dead));
            scene.saw(&answer(1));
            scene
        };
        let mut scene = begin();
        scene.saw(&answer(1));
        assert_eq!(scene.dead.check(), Ok(()), "it is said again");
        scene.saw(&answer(2));
        assert!(scene.dead.check().is_err(), "in another turn");
        let mut scene = begin();
        scene.saw(&answer(2));
        assert!(scene.dead.check().is_err(), "in one turn");
        let mut scene = begin();
        assert_eq!(scene.dead.check(), Ok(()));
        scene.hears(&accept(OWNER, &dead));
        scene.saw(&answer(2));
        assert_eq!(scene.dead.check(), Ok(()), "it came once more");
    }
}
