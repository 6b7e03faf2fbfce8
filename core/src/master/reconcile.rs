//! Answers to what frameworks ask about their tasks (TK-74 to TK-80).
//!
//! Every question that is taken in is answered, once: at once where the master knows, else as soon
//! as the agents are back that may know, or have been away for too long; and once more when such an
//! agent returns after all. Of a task whose end is on its way that news is the answer: only it says
//! how. Deliberately not here: news, which comes by itself (`updates`).

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::agents::{Agent, Presence};
use super::tasks::TaskKey;
use super::updates::News;
use super::{Cx, Master};
use crate::ids::{AgentId, TaskId};
use crate::keys::FrameworkKey;
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::scheduler::Event;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::wire::slices;
use crate::registry::Gone;
use crate::time::Time;

/// What is said of a task whose agent is out of reach.
const AWAY: &str = "its agent is unreachable";

/// What can be said of a task.
enum Finding {
    /// What its row says (TK-74).
    Known(TaskKey),
    /// It was refused, with these words, and the framework has not confirmed to know.
    Refused(TaskStatus),
    /// There is no such task, and this says as much.
    Unknown(TaskState, &'static str),
    /// It may still be reported (TK-75).
    Open,
    /// Its agent is out of reach (TK-77), and says more if it returns.
    Away,
}

/// When it is said what became of a task.
enum Told {
    Now(TaskStatus),
    /// With news that is on its way, or when its agent is back.
    Later,
    /// There is no room to remember the question.
    Never,
}

impl Master {
    /// Answers a framework that asks for some of its tasks, or for all by naming none.
    pub(super) fn on_reconcile(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        tasks: Vec<(TaskId, Option<AgentId>)>,
    ) {
        let limit = limits::RECONCILED_PER_CALL;
        if tasks.len() > limit {
            let text = format!("more than {limit} tasks in one call");
            self.reject(
                cx,
                framework,
                CallKind::Reconcile,
                RejectKind::TooMany,
                text,
            );
            return;
        }
        if tasks.is_empty() && !self.asks.ask_all(framework, cx.now) {
            self.arm_subscribed(framework, self.frameworks[framework].due);
            return;
        }
        if tasks.is_empty() || planted(Mutant::QuestionTakenForAll) {
            self.answer_all(cx, framework);
        }
        let mut answers = Vec::new();
        let mut left = 0;
        for (task, agent) in tasks {
            match self.answer_about(cx, framework, task, agent) {
                Told::Now(status) => answers.push(status),
                Told::Later => {}
                Told::Never => left += 1,
            }
        }
        self.tell_answers(cx, framework, answers);
        if left > 0 {
            let text = format!(
                "as many tasks as may be asked for wait for agents to return; ask again for {left}"
            );
            let call = CallKind::Reconcile;
            self.reject(cx, framework, call, RejectKind::TooMany, text);
        }
    }

    /// Says of all tasks of a framework how they are (TK-79).
    fn answer_all(&self, cx: &mut Cx<'_>, framework: FrameworkKey) {
        let all = self.tasks.of_framework(framework).into_iter();
        let answers = all.filter_map(|key| self.known_of(key));
        self.tell_answers(cx, framework, answers.collect());
    }

    /// Answers who has asked for all tasks once more, if it is time for that.
    pub(super) fn answer_all_due(&mut self, cx: &mut Cx<'_>, framework: FrameworkKey) {
        let due = self.asks.all_due(framework);
        if due.is_some_and(|due| due <= cx.now) {
            self.asks.answered_all(framework, cx.now);
            self.answer_all(cx, framework);
        }
    }

    /// Arms the timer of a framework that is there: for its next heartbeat, or an answer before.
    pub(super) fn arm_subscribed(&mut self, framework: FrameworkKey, heartbeat: Option<Time>) {
        let answer = self.asks.all_due(framework);
        let due = [heartbeat, answer].into_iter().flatten().min();
        self.arm_framework(framework, due);
    }

    /// Returns the answer about a task, or remembers to give it later. Nothing is said that may be
    /// false: where there is no room the framework has to ask again.
    fn answer_about(
        &mut self,
        cx: &Cx<'_>,
        framework: FrameworkKey,
        task: TaskId,
        agent: Option<AgentId>,
    ) -> Told {
        // Asked anew, it is answered anew.
        self.asks.take(framework, &task);
        let (state, message) = match self.find(framework, &task, agent.as_ref()) {
            Finding::Known(key) => return self.known_of(key).map_or(Told::Later, Told::Now),
            Finding::Refused(said) => return Told::Now(as_answer(said)),
            Finding::Unknown(state, message) => (state, message),
            Finding::Open => {
                let has_room = self.asks.insert(framework, task, agent);
                return if has_room { Told::Later } else { Told::Never };
            }
            Finding::Away => {
                // Unlike in Mesos: it may have ended, or never begun, and nobody would say so.
                self.asks
                    .insert_answered(framework, task.clone(), agent.clone());
                (TaskState::Unreachable, AWAY)
            }
        };
        Told::Now(unknown(cx, state, message, task, agent))
    }

    fn find(&self, framework: FrameworkKey, task: &TaskId, agent: Option<&AgentId>) -> Finding {
        if let Some(key) = self.tasks.find(framework, task) {
            return Finding::Known(key);
        }
        if let Some(said) = self.verdicts.about(framework, task) {
            return Finding::Refused(said.clone());
        }
        let Some(id) = agent else {
            return if self.agents.are_awaited() && !planted(Mutant::AnswerTooEarly) {
                Finding::Open
            } else {
                // TK-78
                Finding::Unknown(TaskState::Unknown, "no such task")
            };
        };
        let row = self.agents.find(id).map(|key| &self.agents[key]);
        match row.map(Agent::presence) {
            Some(Presence::Recovered) if planted(Mutant::AnswerTooEarly) => {
                Finding::Unknown(TaskState::Gone, "its agent is not there")
            }
            Some(Presence::Unreachable) if planted(Mutant::AwayCalledGone) => {
                Finding::Unknown(TaskState::Gone, "its agent is not there")
            }
            Some(Presence::Recovered) => Finding::Open,
            // TK-76: all that it had it has said, and all that it was given since is known.
            Some(Presence::Connected(_) | Presence::Disconnected) => {
                Finding::Unknown(TaskState::Gone, "its agent has no such task")
            }
            Some(Presence::Unreachable) => Finding::Away,
            None => match self.registry.gone().get(id) {
                // As was said of its tasks when it went.
                Some(Gone { by_operator, .. }) => {
                    let state = if *by_operator {
                        TaskState::GoneByOperator
                    } else {
                        TaskState::Gone
                    };
                    Finding::Unknown(state, "its agent is gone")
                }
                // TK-78
                None => Finding::Unknown(TaskState::Unknown, "no such task, and no such agent"),
            },
        }
    }

    /// Answers what was asked about tasks of an agent: it is there now, or out of reach, or gone.
    pub(super) fn answer_asks_of(&mut self, cx: &mut Cx<'_>, agent: &AgentId) {
        self.answer_late(cx, &Some(agent.clone()));
    }

    /// Answers what was asked about tasks of unnamed agents, once none is awaited any more.
    pub(super) fn answer_asks(&mut self, cx: &mut Cx<'_>) {
        if self.asks.is_empty() || self.agents.are_awaited() {
            return;
        }
        self.answer_late(cx, &None);
    }

    fn answer_late(&mut self, cx: &mut Cx<'_>, agent: &Option<AgentId>) {
        let asks = self.asks.take_of(agent);
        if planted(Mutant::QuestionsDropped) {
            return;
        }
        let mut answers: Vec<TaskStatus> = Vec::new();
        let mut asks = asks.into_iter().peekable();
        while let Some((framework, task)) = asks.next() {
            match self.answer_about(cx, framework, task, agent.clone()) {
                Told::Now(status) => answers.push(status),
                // It was here a moment ago, so there is room.
                Told::Later | Told::Never => {}
            }
            // They are in the order of the frameworks.
            if asks.peek().is_none_or(|(next, _)| *next != framework) {
                self.tell_answers(cx, framework, core::mem::take(&mut answers));
            }
        }
    }

    /// Answers what was asked about a task that is there now: launched, or brought by an agent.
    pub(super) fn answer_awaited(&mut self, cx: &mut Cx<'_>, key: TaskKey) {
        let task = &self.tasks[key];
        let framework = task.framework;
        if self.asks.take(framework, &task.id) {
            let answers = self.known_of(key).into_iter().collect();
            self.tell_answers(cx, framework, answers);
        }
    }

    fn tell_answers(&self, cx: &mut Cx<'_>, framework: FrameworkKey, answers: Vec<TaskStatus>) {
        if let Some(peer) = self.frameworks.get(framework).and_then(|row| row.peer()) {
            for answers in slices(answers) {
                cx.tell_framework(peer, Event::Reconciled(answers));
            }
        }
    }

    /// Returns the answer about a known task, unless its end is on its way (TK-74). An end that is
    /// not known by name may be long in coming from an agent out of reach (TK-77).
    fn known_of(&self, key: TaskKey) -> Option<TaskStatus> {
        let task = &self.tasks[key];
        let is_told = task.is_remembered() || task.is_ended_by_master();
        if is_told || !task.state.is_terminal() {
            return Some(self.status_of(key));
        }
        let is_away = self.agents[task.agent].presence() == Presence::Unreachable;
        is_away.then(|| {
            as_answer(TaskStatus {
                state: TaskState::Unreachable,
                message: AWAY.to_string(),
                ..task.status.clone()
            })
        })
    }

    /// Says what is known of a task, as an answer (TK-74, TK-80). Unlike in Mesos the message and
    /// how it ended stay: whoever asks wants to know.
    pub(super) fn status_of(&self, key: TaskKey) -> TaskStatus {
        let task = &self.tasks[key];
        as_answer(TaskStatus {
            state: task.state,
            ..task.status.clone()
        })
    }

    /// Says that there is no such task, as an answer.
    pub(super) fn no_such_task(&self, cx: &Cx<'_>, task: TaskId) -> TaskStatus {
        unknown(cx, TaskState::Unknown, "no such task", task, None)
    }

    /// Checks that no question waits that could be answered.
    pub(super) fn check_asks(&self) {
        self.asks.check();
        for (framework, task, agent) in self.asks.iter() {
            let row = self.frameworks.get(framework);
            let row = row.expect("who asked is known");
            assert!(row.peer().is_some(), "{} is there", row.id);
            let found = self.find(framework, task, agent);
            let is_open = matches!(found, Finding::Open | Finding::Away);
            assert!(is_open, "{task} of {} can be answered", row.id);
        }
    }
}

fn as_answer(status: TaskStatus) -> TaskStatus {
    TaskStatus {
        source: Source::Master,
        reason: Some(Reason::Reconciliation),
        update: None,
        ..status
    }
}

fn unknown(
    cx: &Cx<'_>,
    state: TaskState,
    message: &str,
    task: TaskId,
    agent: Option<AgentId>,
) -> TaskStatus {
    let news = News {
        state,
        reason: Reason::Reconciliation,
        message: message.to_string(),
    };
    news.about(task, agent, cx.now)
}
