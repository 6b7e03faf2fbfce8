//! A kill is not lost by who has it, and of a task that nobody knows it is said so at once, if no
//! agent is away that may have it (I14, TK-82). Who is asked passes it on: a scheduler to its
//! master as soon as it is subscribed, and a master to the agent, over each of its connections
//! until the task is over. What an agent makes of it is looked at in [`super::waits`].
//!
//! Nobody is to blame for a kill that was lost on its way, with its connection or with who had it
//! and crashed: so each of the three is held to what it was told itself.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use super::Broken;
use super::ledger::Ledger;
use crate::ids::{FrameworkId, PeerId, TaskId};
use crate::master::{Effect, Input};
use crate::protocol::agent::ToAgent;
use crate::protocol::scheduler::{Call, Event};
use crate::scheduler;
use crate::sim::property::Property;

/// Kills that one scheduler was asked for and has not passed on.
#[derive(Debug, Default)]
pub(in crate::sim) struct Wanted(BTreeSet<TaskId>);

impl Wanted {
    pub(in crate::sim) fn wants(&mut self, kills: impl IntoIterator<Item = TaskId>) {
        self.0.extend(kills);
    }

    /// The scheduler does something.
    pub(in crate::sim) fn saw(&mut self, effect: &scheduler::Effect) {
        if let scheduler::Effect::Master {
            call: Call::Kill { task, .. },
            ..
        } = effect
        {
            self.0.remove(task);
        }
    }

    /// Checks that nothing is kept by a scheduler that has said what it wants, and can.
    pub(in crate::sim) fn check(&self, is_subscribed: bool) -> Result<(), Broken> {
        match self.0.first().filter(|_| is_subscribed) {
            None => Ok(()),
            Some(task) => {
                let problem = format!("{task} is to end, and the master is not told");
                Err((Property::Kills, problem))
            }
        }
    }
}

/// Kills that one leadership was asked for of tasks that it knows.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// By task, over which connection its agent was told last.
    tasks: BTreeMap<(FrameworkId, TaskId), Option<PeerId>>,
    /// One that is to be answered in this turn, and by whom it was asked for.
    unknown: Option<(PeerId, TaskId)>,
}

impl Asked {
    /// The master is about to hear something; the books are those before.
    pub(super) fn hears(&mut self, input: &Input, ledger: &Ledger) {
        if let Input::Scheduler {
            peer,
            call: Call::Kill { task, .. },
        } = input
            && let Some(framework) = ledger.framework_of(*peer)
        {
            if ledger.is_alive(framework, task) {
                let key = (framework.clone(), task.clone());
                // Whoever asks again need not be told again.
                self.tasks.entry(key).or_insert(None);
            } else if ledger.all_registered() {
                self.unknown = Some((*peer, task.clone()));
            }
        }
    }

    /// The master does something.
    pub(super) fn saw(&mut self, effect: &Effect) {
        match effect {
            Effect::Agent { peer, message } => self.saw_order(*peer, message),
            Effect::Scheduler { peer, event } => self.saw_word(*peer, event),
            Effect::Respond { .. } | Effect::Disconnect { .. } | Effect::Resign { .. } => {}
        }
    }

    fn saw_word(&mut self, to: PeerId, event: &Event) {
        let is_no = matches!(event, Event::Rejected { .. } | Event::Error { .. });
        let is_of =
            |task: &TaskId| is_no || matches!(event, Event::Update(status) if status.task == *task);
        self.unknown
            .take_if(|(peer, task)| *peer == to && is_of(task));
    }

    fn saw_order(&mut self, peer: PeerId, order: &ToAgent) {
        if let ToAgent::KillTask {
            framework, task, ..
        } = order
        {
            self.told(peer, framework, task);
        } else if let ToAgent::Missing(tasks) = order {
            // It has not reported them; what it is asked for it says is over, if it is.
            for (framework, task) in tasks {
                self.told(peer, framework, task);
            }
        }
    }

    fn told(&mut self, peer: PeerId, framework: &FrameworkId, task: &TaskId) {
        let known = self.tasks.get_mut(&(framework.clone(), task.clone()));
        if let Some(told) = known {
            *told = Some(peer);
        }
    }

    /// Ends a turn: says which agent is there and was not told.
    pub(super) fn check(&mut self, ledger: &Ledger) -> Result<(), Broken> {
        if let Some((peer, task)) = self.unknown.take() {
            let problem = format!("{peer:?} wants to end {task}, and is not answered");
            return Err((Property::Kills, problem));
        }
        // Of a framework that has ended agents end all without being told of each task (SM-07).
        let ended = |framework: &FrameworkId| ledger.registry().end_of(framework).is_some();
        self.tasks
            .retain(|(framework, task), _| ledger.is_alive(framework, task) && !ended(framework));
        for ((framework, task), told) in &self.tasks {
            let there = ledger.peer_of(framework, task);
            if there.is_some() && there != *told {
                let problem = format!("{task} of {framework} is to end, and its agent is not told");
                return Err((Property::Kills, problem));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::protocol::status::{Source, TaskState, TaskStatus};
    use crate::registry::RegistryOp;
    use crate::sim::check::scene::*;
    use crate::time::Time;

    struct Scene {
        ledger: Ledger,
        asked: Asked,
    }

    impl Scene {
        /// Begins with a task that was launched.
        fn new() -> (Self, crate::protocol::task::TaskInfo) {
            let offer = offer(1, "cpus:1");
            let mut scene = Self {
                ledger: book(),
                asked: Asked::default(),
            };
            scene.saw(&subscribed(OWNER));
            scene.saw(&offers(&[&offer]));
            scene.hears(&accept(OWNER, &offer));
            let task = task(&offer);
            scene.saw(&run(&task));
            (scene, task)
        }

        fn hears(&mut self, input: &Input) {
            self.asked.hears(input, &self.ledger);
            self.ledger.hears(input);
        }

        fn saw(&mut self, effect: &Effect) {
            self.ledger.saw(effect);
            self.asked.saw(effect);
        }

        fn is_fine(&mut self) -> bool {
            self.ledger.check().unwrap();
            self.asked.check(&self.ledger).is_ok()
        }
    }

    fn kill(task: &TaskId) -> Input {
        Input::Scheduler {
            peer: OWNER,
            call: Call::Kill {
                task: task.clone(),
                grace: None,
            },
        }
    }

    fn passed_on(peer: PeerId, task: &TaskId) -> Effect {
        Effect::Agent {
            peer,
            message: ToAgent::KillTask {
                framework: framework(),
                task: task.clone(),
                grace: None,
            },
        }
    }

    // I14, TK-82
    #[test]
    fn an_agent_that_is_not_told_is_found() {
        let (mut scene, task) = Scene::new();
        scene.hears(&kill(&task.id));
        assert!(!scene.is_fine());
        scene.saw(&passed_on(AGENT, &task.id));
        assert!(scene.is_fine());

        // It may not have come through: another connection, another word.
        scene.hears(&Input::Disconnected { peer: AGENT });
        assert!(scene.is_fine());
        scene.saw(&registered(OTHER));
        assert!(!scene.is_fine());
        scene.saw(&passed_on(OTHER, &task.id));
        assert!(scene.is_fine());

        let (mut scene, task) = Scene::new();
        scene.hears(&kill(&task.id));
        scene.hears(&update(&task, TaskState::Finished));
        assert!(scene.is_fine(), "it is over");
        let (mut scene, task) = Scene::new();
        scene.hears(&kill(&task.id));
        let missing = vec![(framework(), task.id)];
        let (peer, message) = (AGENT, ToAgent::Missing(missing));
        scene.saw(&Effect::Agent { peer, message });
        assert!(scene.is_fine(), "it may never have come");
        let (mut scene, task) = Scene::new();
        scene.hears(&kill(&task.id));
        let (id, at) = (agent(), Time::ZERO);
        scene.ledger.wrote(&RegistryOp::Remove {
            id,
            at,
            by_operator: false,
        });
        assert!(scene.is_fine(), "its agent is gone");
    }

    // I14, TK-82
    #[test]
    fn who_is_not_told_that_nobody_knows_a_task_is_found() {
        let other = TaskId::new("other").unwrap();
        let answer = |to, task: &TaskId| {
            let status = TaskStatus::new(task.clone(), TaskState::Gone, Source::Master, Time::ZERO);
            event(to, Event::Update(status))
        };
        let (mut scene, task) = Scene::new();
        for (said, is_answer) in [
            (answer(OWNER, &other), true),
            (answer(OWNER, &task.id), false),
            (answer(OTHER, &other), false),
            (event(OWNER, Event::Heartbeat), false),
        ] {
            scene.hears(&kill(&other));
            scene.saw(&said);
            assert_eq!(scene.is_fine(), is_answer, "{said:?}");
        }
        // One that is away may have it.
        scene.hears(&Input::Disconnected { peer: AGENT });
        scene.hears(&kill(&other));
        assert!(scene.is_fine());
    }

    // I14, SC-05
    #[test]
    fn a_scheduler_that_keeps_a_kill_for_itself_is_found() {
        let task = TaskId::new("t").unwrap();
        let mut wanted = Wanted::default();
        wanted.wants([task.clone()]);
        assert_eq!(wanted.check(false), Ok(()));
        assert!(wanted.check(true).is_err());
        let call = Call::Kill { task, grace: None };
        wanted.saw(&scheduler::Effect::Master { peer: OWNER, call });
        assert_eq!(wanted.check(true), Ok(()));
    }
}
