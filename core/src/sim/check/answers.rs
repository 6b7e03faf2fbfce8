//! Questions about tasks are answered (I20): each exactly once, nothing that was not asked, and as
//! soon as no agent is awaited that may know more. And nobody is said to be unknown who runs on an
//! agent that is registered.
//!
//! Told from what the leading master hears and says. A question is over with its connection, for
//! who comes back asks again. One that is asked again before it is answered is one question. News
//! of a task's end is an answer as well, and said instead of another while it is on its way. Of who
//! is out of reach more is said when he returns.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Broken;
use crate::ids::{FrameworkId, PeerId, TaskId};
use crate::limits;
use crate::master::{Effect, Input};
use crate::protocol::refusal::CallKind;
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::status::{TaskState, TaskStatus};
use crate::sim::property::Property;

/// A task that was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Question {
    /// How many answers may still come.
    open: u32,
    is_answered: bool,
}

/// A question for all tasks.
#[derive(Clone, Copy, Debug)]
struct ForAll {
    /// Whether it was heard in this turn.
    is_new: bool,
    /// Whether one was answered in this turn.
    is_answered: bool,
}

/// All questions of those who are subscribed.
#[derive(Debug, Default)]
pub(in crate::sim) struct Answers {
    subscribed: BTreeMap<PeerId, FrameworkId>,
    asked: BTreeMap<(PeerId, TaskId), Question>,
    /// Ends that were told: who asks later has not read that yet.
    told: BTreeSet<(PeerId, TaskId)>,
    /// Who has asked for all of its tasks. Who asks again and again is answered later; of who has
    /// no tasks nothing is said.
    for_all: BTreeMap<PeerId, ForAll>,
    /// Whether calls may wait for their turn: then several may be heard in one, and the answer in
    /// it be to a question before the last.
    waits: bool,
    /// Tasks that were just said to be known to nobody.
    unknown: Vec<(FrameworkId, TaskId)>,
    violation: Option<Broken>,
}

impl Answers {
    /// Begins with a leadership; `waits` is whether its calls may wait for their turn.
    pub(super) fn new(waits: bool) -> Self {
        Self {
            waits,
            ..Self::default()
        }
    }

    pub(in crate::sim) fn hears(&mut self, input: &Input) {
        match input {
            Input::Disconnected { peer } => self.leave(*peer),
            Input::Scheduler {
                peer,
                call: Call::Reconcile { tasks },
            } if self.subscribed.contains_key(peer)
                && tasks.len() <= limits::RECONCILED_PER_CALL =>
            {
                if tasks.is_empty() {
                    let asked = ForAll {
                        is_new: true,
                        is_answered: false,
                    };
                    self.for_all.insert(*peer, asked);
                }
                for (task, _) in tasks {
                    let key = (*peer, task.clone());
                    self.asked.entry(key).or_default().open = 0;
                }
                for (task, _) in tasks {
                    let key = (*peer, task.clone());
                    let is_answered = self.told.contains(&key);
                    let question = self.asked.entry(key).or_default();
                    question.open += 1;
                    question.is_answered = is_answered;
                }
            }
            Input::Scheduler { .. }
            | Input::Connected { .. }
            | Input::Agent { .. }
            | Input::Operator { .. } => {}
        }
    }

    pub(in crate::sim) fn saw(&mut self, effect: &Effect) {
        let Effect::Scheduler { peer, event } = effect else {
            return;
        };
        match event {
            Event::Subscribed { framework, .. } => {
                self.subscribed.insert(*peer, framework.clone());
            }
            Event::Error { .. } => self.leave(*peer),
            Event::Update(status) => {
                let key = (*peer, status.task.clone());
                if status.state.is_terminal() {
                    if let Some(question) = self.asked.get_mut(&key) {
                        question.is_answered = true;
                    }
                    self.told.insert(key);
                }
            }
            Event::Reconciled(answers) => {
                for answer in answers {
                    self.answered(*peer, answer);
                }
            }
            // There was no room for some, and it is asked again for them.
            Event::Rejected {
                call: CallKind::Reconcile,
                ..
            } => {
                let theirs = self.asked.iter_mut().filter(|((of, _), _)| of == peer);
                theirs.for_each(|(_, question)| question.is_answered = true);
            }
            Event::Heartbeat
            | Event::Offers(_)
            | Event::Rescind(_)
            | Event::InverseOffers(_)
            | Event::RescindInverse(_)
            | Event::OperationUpdate(_)
            | Event::Rejected { .. }
            | Event::Unheard { .. }
            | Event::Updated
            | Event::Message { .. }
            | Event::ExecutorEnded { .. }
            | Event::AgentLost { .. } => {}
        }
    }

    fn answered(&mut self, peer: PeerId, answer: &TaskStatus) {
        let task = &answer.task;
        let question = self.asked.get_mut(&(peer, task.clone()));
        let for_all = self.for_all.get_mut(&peer);
        match question.filter(|question| question.open > 0) {
            Some(question) => {
                // Who is out of reach may return, and then there is more to say.
                question.open -= u32::from(answer.state != TaskState::Unreachable);
                question.is_answered = true;
            }
            None => match for_all {
                Some(for_all) => for_all.is_answered = true,
                // It was heard in the same turn that the connection is gone.
                None if self.waits && !self.subscribed.contains_key(&peer) => {}
                None => {
                    let problem = format!("{task} is {}, and nobody has asked", answer.state);
                    self.violation.get_or_insert((Property::Answers, problem));
                }
            },
        }
        let is_nowhere = matches!(answer.state, TaskState::Unknown | TaskState::Gone);
        if let Some(framework) = self.subscribed.get(&peer).filter(|_| is_nowhere) {
            self.unknown.push((framework.clone(), task.clone()));
        }
    }

    /// Its questions are over.
    fn leave(&mut self, peer: PeerId) {
        self.subscribed.remove(&peer);
        self.for_all.remove(&peer);
        self.asked.retain(|(of, _), _| *of != peer);
        self.told.retain(|(of, _)| *of != peer);
    }

    /// Ends a turn; says what was answered wrongly in it. `runs` says whether a task runs on an
    /// agent that is registered.
    pub(in crate::sim) fn check(
        &mut self,
        runs: impl Fn(&FrameworkId, &TaskId) -> bool,
    ) -> Result<(), Broken> {
        let waits = self.waits;
        self.for_all.retain(|_, asked| {
            let may_be_open = !asked.is_answered || (waits && asked.is_new);
            asked.is_new = false;
            asked.is_answered = false;
            may_be_open
        });
        let unknown = core::mem::take(&mut self.unknown);
        self.violation.take().map_or(Ok(()), Err)?;
        match unknown
            .iter()
            .find(|(framework, task)| runs(framework, task))
        {
            None => Ok(()),
            Some((framework, task)) => {
                let problem = format!("{task} of {framework} runs, and is said to be nowhere");
                Err((Property::Answers, problem))
            }
        }
    }

    /// Checks that nothing waits for an answer, when nobody is awaited any more. `is_coming` says
    /// of which tasks the end is on its way.
    pub(super) fn check_open(
        &self,
        is_coming: impl Fn(&FrameworkId, &TaskId) -> bool,
    ) -> Result<(), Broken> {
        let open = self
            .asked
            .iter()
            .filter(|(_, question)| !question.is_answered);
        for ((peer, task), _) in open {
            let framework = self.subscribed.get(peer);
            if framework.is_some_and(|framework| !is_coming(framework, task)) {
                let problem = format!("{peer:?} has asked for {task}, and is not answered");
                return Err((Property::Answers, problem));
            }
        }
        Ok(())
    }

    /// Says what was asked and not answered; nobody is awaited any more who may know.
    pub(in crate::sim) fn open(&self) -> Option<String> {
        let mut asked = self.asked.iter();
        let ((peer, task), _) = asked.find(|(_, question)| !question.is_answered)?;
        Some(format!(
            "{peer:?} has asked for {task}, and is not answered"
        ))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;
    use core::time::Duration;

    use super::*;
    use crate::ids::{MasterId, UpdateId};
    use crate::protocol::refusal::EndReason;
    use crate::protocol::status::Source;
    use crate::time::Time;

    const ASKER: PeerId = PeerId(1);

    fn task() -> TaskId {
        TaskId::new("t").unwrap()
    }

    fn says(event: Event) -> Effect {
        let peer = ASKER;
        Effect::Scheduler { peer, event }
    }

    fn status(state: TaskState) -> TaskStatus {
        TaskStatus::new(task(), state, Source::Master, Time::ZERO)
    }

    fn answer(state: TaskState) -> Effect {
        says(Event::Reconciled(vec![status(state)]))
    }

    fn subscribed() -> Answers {
        let mut answers = Answers::default();
        answers.saw(&says(Event::Subscribed {
            framework: FrameworkId::new("m-0000").unwrap(),
            master: MasterId::of("m", 1).unwrap(),
            epoch: 1,
            heartbeat: Duration::from_secs(15),
            domain: None,
        }));
        answers
    }

    fn asked(tasks: Vec<(TaskId, Option<crate::ids::AgentId>)>) -> Answers {
        let mut answers = subscribed();
        let (peer, call) = (ASKER, Call::Reconcile { tasks });
        answers.hears(&Input::Scheduler { peer, call });
        answers
    }

    fn nowhere(_: &FrameworkId, _: &TaskId) -> bool {
        false
    }

    // TK-74, TK-79
    #[test]
    fn an_answer_too_many_and_one_too_few_are_found() {
        let mut once = asked(vec![(task(), None)]);
        assert!(once.open().is_some());
        once.saw(&answer(TaskState::Running));
        assert_eq!((once.check(nowhere), once.open()), (Ok(()), None));
        once.saw(&answer(TaskState::Running));
        assert!(once.check(nowhere).is_err());

        let mut all = asked(Vec::new());
        all.saw(&answer(TaskState::Running));
        assert_eq!(all.check(nowhere), Ok(()));
        all.saw(&answer(TaskState::Running));
        assert!(all.check(nowhere).is_err(), "that was another turn");
        let mut late = asked(Vec::new());
        assert_eq!(late.check(nowhere), Ok(()));
        late.saw(&answer(TaskState::Running));
        assert_eq!(late.check(nowhere), Ok(()), "it had asked not long before");

        let mut news = asked(vec![(task(), None)]);
        news.saw(&says(Event::Update(TaskStatus {
            update: Some(UpdateId(1)),
            ..status(TaskState::Finished)
        })));
        assert_eq!(news.open(), None);
        let tasks = vec![(task(), None)];
        let (peer, call) = (ASKER, Call::Reconcile { tasks });
        news.hears(&Input::Scheduler { peer, call });
        assert_eq!(news.open(), None, "it is on its way");

        let mut away = asked(vec![(task(), None)]);
        away.saw(&answer(TaskState::Unreachable));
        assert_eq!(away.open(), None);
        away.saw(&answer(TaskState::Running));
        assert_eq!(away.check(nowhere), Ok(()), "it is back");

        let gone = Input::Disconnected { peer: ASKER };
        let over = says(Event::Error {
            reason: EndReason::FailedOver,
            message: "over".to_string(),
        });
        let mut left = asked(vec![(task(), None)]);
        left.hears(&gone);
        assert_eq!(left.open(), None);
        let mut ended = asked(vec![(task(), None)]);
        ended.saw(&over);
        assert_eq!(ended.open(), None);
    }

    // TK-76, TK-78
    #[test]
    fn who_runs_and_is_said_to_be_nowhere_is_found() {
        for (state, runs, is_fine) in [
            (TaskState::Unknown, true, false),
            (TaskState::Gone, true, false),
            (TaskState::Unknown, false, true),
            (TaskState::Unreachable, true, true),
        ] {
            let mut answers = asked(vec![(task(), None)]);
            answers.saw(&answer(state));
            assert_eq!(
                answers.check(|_, _| runs).is_ok(),
                is_fine,
                "{state} {runs}"
            );
        }
    }
}
