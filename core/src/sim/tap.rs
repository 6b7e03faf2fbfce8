//! What stands between a framework's machine and the user's logic: it counts, checks what the user
//! is told, and can keep offers from him.
//!
//! Deliberately not here: any opinion on what a logic does, and what its framework remembers
//! ([`super::known`]).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::check::messages::Word;
use super::known::Note;
use super::said::Said;
use crate::ids::{AgentId, TaskId, UpdateId};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::scheduler::recent::KEPT;
use crate::scheduler::{Acknowledging, Logic, UserCall, UserEvent};
use crate::sim::workload::Replay;
use crate::time::Time;

/// Whether a user's logic sees offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It does.
    Working,
    /// Each offer is declined at once, so that the cluster comes to rest.
    Quiet,
}

/// Whose logic it is.
pub(super) enum User {
    /// Somebody's.
    Any(Box<dyn Logic>),
    /// One that can be asked how its jobs fare.
    Replay(Box<Replay>),
}

impl User {
    fn logic(&self) -> &dyn Logic {
        match self {
            Self::Any(logic) => &**logic,
            Self::Replay(replay) => &**replay,
        }
    }

    fn logic_mut(&mut self) -> &mut dyn Logic {
        match self {
            Self::Any(logic) => &mut **logic,
            Self::Replay(replay) => &mut **replay,
        }
    }
}

/// A user's logic, watched.
pub(super) struct Tap {
    user: User,
    mode: Mode,
    /// What it was told of each task; ended ones too, to see that nothing follows.
    tasks: BTreeMap<TaskId, TaskState>,
    /// What is to be written down.
    notes: Vec<Note>,
    /// What its framework has written down as not over, to ask for.
    open: Vec<(TaskId, Option<AgentId>)>,
    violation: Option<String>,
    /// Offers seen since the mode was set.
    offers: u64,
    /// Tasks that it has launched and not heard of.
    unheard: BTreeSet<TaskId>,
    /// Tasks that it has asked to end, since somebody asked.
    kills: Vec<TaskId>,
    /// By which update it was told the end of each task, and how many it was told before.
    ends: BTreeMap<TaskId, (UpdateId, usize)>,
    /// How many updates it was told.
    updates: usize,
    /// Whether it hears a master that has the lead no more, and does not know.
    is_behind: bool,
    /// Tasks whose end it has heard from such a one: the agent heard that this was confirmed, and
    /// the next master nothing of it.
    ended_behind: BTreeSet<TaskId>,
    /// What it says that its framework is and wants.
    said: Said,
    /// What it and its executors have said to each other, since somebody asked.
    words: Vec<Word<AgentId>>,
}

impl core::fmt::Debug for Tap {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Tap")
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

impl Tap {
    /// Watches the logic of a scheduler that is told to be such a framework.
    pub(super) fn new(user: User, info: FrameworkInfo) -> Self {
        Self {
            user,
            mode: Mode::Working,
            tasks: BTreeMap::new(),
            notes: Vec::new(),
            open: Vec::new(),
            violation: None,
            offers: 0,
            unheard: BTreeSet::new(),
            kills: Vec::new(),
            ends: BTreeMap::new(),
            updates: 0,
            is_behind: false,
            ended_behind: BTreeSet::new(),
            said: Said::new(info),
            words: Vec::new(),
        }
    }

    /// Says whether the master that speaks now has the lead no more.
    pub(super) fn hears_deposed(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
    }

    /// Visits the tasks that it has launched and not heard of.
    pub(super) fn unheard(&self) -> impl Iterator<Item = &TaskId> + '_ {
        self.unheard.iter()
    }

    /// Takes what is to be written down.
    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        core::mem::take(&mut self.notes)
    }

    /// Takes the first thing that it should not have been told.
    pub(super) fn take_violation(&mut self) -> Option<String> {
        self.violation.take()
    }

    /// Takes the tasks that it has asked to end since this was asked before.
    pub(super) fn take_kills(&mut self) -> Vec<TaskId> {
        core::mem::take(&mut self.kills)
    }

    /// Returns what it says that its framework is and wants.
    pub(super) fn said(&self) -> &Said {
        &self.said
    }

    /// Returns whether it has said something of that in this step.
    pub(super) fn says_anew(&self) -> bool {
        self.said.is_new()
    }

    /// All that a step brought is looked at.
    pub(super) fn end_step(&mut self) {
        self.said.end_step();
    }

    /// Takes what it and its executors have said to each other since this was asked before.
    pub(super) fn take_words(&mut self) -> Vec<Word<AgentId>> {
        core::mem::take(&mut self.words)
    }

    /// Returns the scheduler that replays a trace, if it is one.
    pub(super) fn replay(&self) -> Option<&Replay> {
        match &self.user {
            User::Any(_) => None,
            User::Replay(replay) => Some(replay),
        }
    }

    /// The same, to change.
    pub(super) fn replay_mut(&mut self) -> Option<&mut Replay> {
        match &mut self.user {
            User::Any(_) => None,
            User::Replay(replay) => Some(replay),
        }
    }

    /// Reads what its framework has written down, whoever of its schedulers heard it.
    pub(super) fn remember(&mut self, open: Vec<(TaskId, Option<AgentId>)>) {
        self.open = open;
    }

    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.offers = 0;
    }

    pub(super) fn offers(&self) -> u64 {
        self.offers
    }

    fn on_update(&mut self, status: &TaskStatus) {
        self.unheard.remove(&status.task);
        if let Some(update) = status.update {
            self.notes.push(Note::Heard(status.task.clone(), update));
            if self.is_long_known(status, update) {
                return;
            }
        }
        if status.reason == Some(Reason::Reconciliation) && status.update.is_none() {
            // An answer, and no news: that still comes, and is to be confirmed. But of a task that
            // nobody knows nothing else comes.
            self.notes.push(Note::Answer(status.clone()));
            if status.state == TaskState::Unknown {
                let own = self.tasks.get_mut(&status.task);
                if let Some(own) = own.filter(|own| !own.is_terminal()) {
                    *own = TaskState::Unknown;
                }
            }
            return;
        }
        let before = self.tasks.get(&status.task).copied();
        if is_answer(before, status) {
            return;
        }
        if self.is_behind && status.state.is_terminal() {
            self.ended_behind.insert(status.task.clone());
        } else if self.ended_behind.contains(&status.task) {
            return;
        }
        self.tasks.insert(status.task.clone(), status.state);
        if before.is_some_and(|before| is_repeat(before, status)) {
            return;
        }
        if let Some(before) = before.filter(|before| !before.may_become(status.state)) {
            let (task, after) = (&status.task, status.state);
            self.violation
                .get_or_insert_with(|| format!("updates: {task} goes from {before} to {after}"));
        }
        self.notes.push(Note::Told(status.clone()));
    }

    /// Counts an update; returns whether it is of a task whose end was told so long ago that the
    /// scheduler has forgotten what was confirmed. It may come again, from an agent that has
    /// forgotten it too.
    fn is_long_known(&mut self, status: &TaskStatus, update: UpdateId) -> bool {
        self.updates += 1;
        let is_end = status.state.is_terminal();
        let told = self.ends.get(&status.task);
        let (end, then) = *told.unwrap_or(&(update, self.updates));
        if told.is_none() && is_end {
            self.ends.insert(status.task.clone(), (end, then));
        }
        (end == update || !is_end) && self.updates - then > KEPT
    }

    fn count(&mut self, calls: &[UserCall]) {
        for call in calls {
            self.said.says(call);
            if let UserCall::Accept { operations, .. } = call {
                for operation in operations {
                    let tasks = operation.tasks();
                    self.unheard
                        .extend(tasks.iter().map(|task| task.id.clone()));
                    let launched = tasks.len() as u64;
                    self.notes.push(Note::Launched(launched));
                }
            } else if let UserCall::Kill { task, .. } = call {
                self.kills.push(task.clone());
            } else if let UserCall::Message {
                agent,
                executor,
                data,
            } = call
            {
                self.words.push(Word {
                    is_said: true,
                    agent: agent.clone(),
                    executor: executor.clone(),
                    data: data.clone(),
                });
            }
        }
    }
}

/// Returns whether an accept is turned down under the id of another task, which is no news of that
/// one: while it lives, what is said is how it is; and once it is over, anybody may have forgotten
/// it (OF-11, TK-08). Nothing else may be said of a task that lives.
fn is_answer(before: Option<TaskState>, status: &TaskStatus) -> bool {
    let never_ran = matches!(status.state, TaskState::Dropped | TaskState::Error);
    let is_refusal = matches!(
        status.reason,
        Some(Reason::InvalidOffers | Reason::AgentDisconnected | Reason::TaskInvalid)
    );
    // With its agent a task is lost, or its end is told that nobody has confirmed: by name.
    let is_loss = status.state == TaskState::Unreachable || status.update.is_some();
    let is_refusal =
        is_refusal || (status.reason == Some(Reason::AgentRemoved) && (never_ran || !is_loss));
    let is_over = before.is_some_and(TaskState::is_terminal);
    is_refusal && status.source == Source::Master && (is_over || !never_ran)
}

/// Returns whether a master says again how a task ended. Of an agent that lost what it knew of the
/// acknowledgement, and then itself, a new master cannot know that the end was told.
fn is_repeat(before: TaskState, status: &TaskStatus) -> bool {
    before.is_terminal() && before == status.state && status.source == Source::Master
}

/// Makes of an accept a refusal of all that was offered.
fn decline(call: &mut UserCall) {
    if let UserCall::Accept { offers, refuse, .. } = call {
        *call = UserCall::Decline {
            offers: core::mem::take(offers),
            refuse: *refuse,
        };
    }
}

impl Logic for Tap {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        self.said.hears(&event);
        match &event {
            UserEvent::Update(status) => self.on_update(status),
            UserEvent::Message(message) => self.words.push(Word {
                is_said: false,
                agent: message.agent.clone(),
                executor: message.executor.clone(),
                data: message.data.clone(),
            }),
            UserEvent::Offers(offers) => {
                self.offers += offers.len() as u64;
                if self.mode == Mode::Quiet {
                    let offers = offers.iter().map(|offer| offer.id.clone()).collect();
                    let refuse = Some(Duration::from_secs(1));
                    calls.extend(vec![UserCall::Decline { offers, refuse }]);
                    return;
                }
            }
            UserEvent::Subscribed { .. } => {
                let tasks = core::mem::take(&mut self.open);
                if !tasks.is_empty() {
                    calls.push(UserCall::Reconcile { tasks });
                }
            }
            UserEvent::Disconnected
            | UserEvent::Rescinded(_)
            | UserEvent::InverseOffers(_)
            | UserEvent::InverseRescinded(_)
            | UserEvent::Operation(_)
            | UserEvent::Error { .. }
            | UserEvent::ExecutorEnded { .. }
            | UserEvent::AgentLost { .. }
            | UserEvent::Rejected { .. }
            | UserEvent::Updated => {}
        }
        let from = calls.len();
        self.user.logic_mut().on_event(now, event, calls);
        self.count(&calls[from..]);
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        let from = calls.len();
        self.user.logic_mut().tick(now, calls);
        if self.mode == Mode::Quiet {
            // One that thinks for long about offers answers now those that it had before.
            calls[from..].iter_mut().for_each(decline);
        }
        self.count(&calls[from..]);
    }

    fn deadline(&self) -> Option<Time> {
        self.user.logic().deadline()
    }

    fn acknowledging(&self) -> Acknowledging {
        self.user.logic().acknowledging()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UpdateId;
    use crate::protocol::status::Source;
    use crate::sim::known::Known;

    struct Deaf;

    impl Logic for Deaf {
        fn on_event(&mut self, _: Time, _: UserEvent, _: &mut Vec<UserCall>) {}
    }

    fn tap() -> Tap {
        Tap::new(User::Any(Box::new(Deaf)), FrameworkInfo::new("f"))
    }

    fn told(statuses: &[TaskStatus]) -> Option<String> {
        let mut tap = tap();
        for status in statuses {
            tap.on_update(status);
        }
        let mut known = Known::default();
        known.note(&mut tap);
        known.violation().map(String::from)
    }

    fn status(state: TaskState, update: Option<u128>, reason: Option<Reason>) -> TaskStatus {
        let task = TaskId::new("t").unwrap();
        TaskStatus {
            reason,
            update: update.map(UpdateId),
            ..TaskStatus::new(task, state, Source::Agent, Time::ZERO)
        }
    }

    #[test]
    fn a_task_ends_once_and_a_refusal_is_no_end_of_it() {
        use TaskState::{Dropped, Error, Finished, Running, Staging};
        let running = status(Running, Some(1), None);
        let done = status(Finished, Some(2), None);
        assert_eq!(told(&[running.clone(), done.clone()]), None);
        assert!(told(&[done.clone(), done.clone()]).is_some());
        assert!(told(&[running.clone(), status(Staging, Some(2), None)]).is_some());
        let refused = |state| TaskStatus {
            source: Source::Master,
            ..status(state, None, Some(Reason::InvalidOffers))
        };
        let again = [running.clone(), refused(Running), done.clone()];
        assert_eq!(told(&again), None);
        let lost = [running.clone(), refused(Dropped), done.clone()];
        assert!(told(&lost).is_some());
        // Whoever asks again for what is over is turned down in so many words.
        assert_eq!(told(&[running, done, refused(Dropped)]), None);
        assert_eq!(told(&[refused(Error), refused(Dropped)]), None);
    }

    // I11, TK-66
    #[test]
    fn an_end_that_was_confirmed_long_ago_may_come_again() {
        use TaskState::{Finished, Running};
        let other = |n: usize| TaskStatus {
            task: TaskId::new(&alloc::format!("t{n}")).unwrap(),
            ..status(Finished, Some(100 + n as u128), None)
        };
        let done = status(Finished, Some(2), None);
        let late = |last: TaskStatus, others| {
            let mut all = vec![status(Running, Some(1), None), done.clone()];
            all.extend((0..others).map(other));
            all.push(last);
            told(&all)
        };
        assert_eq!(late(done.clone(), KEPT), None);
        assert_eq!(late(status(Running, Some(1), None), KEPT), None);
        assert!(late(done.clone(), KEPT - 1).is_some());
        assert!(late(status(Finished, Some(3), None), KEPT).is_some());
    }

    #[test]
    fn only_a_master_may_say_again_how_a_task_ended() {
        use TaskState::{Failed, Finished, Running};
        let task = TaskId::new("t").unwrap();
        for (state, source, is_fine) in [
            (Finished, Source::Master, true),
            (Finished, Source::Executor, false),
            (Failed, Source::Master, false),
            (Running, Source::Master, false),
        ] {
            let mut tap = tap();
            let status = |state, source| TaskStatus::new(task.clone(), state, source, Time::ZERO);
            tap.on_update(&status(Finished, Source::Executor));
            tap.on_update(&status(state, source));
            let mut known = Known::default();
            known.note(&mut tap);
            assert_eq!(
                known.violation().is_none(),
                is_fine,
                "{state} by {source:?}"
            );
            assert_eq!(known.tally().finished, 1);
        }
    }

    #[test]
    fn an_answer_is_known_and_says_nothing_of_the_news() {
        use TaskState::{Failed, Gone, Running, Unreachable};
        let answer = |state| status(state, None, Some(Reason::Reconciliation));
        let after = |statuses: &[TaskStatus]| {
            let (mut known, mut tap) = (Known::default(), tap());
            for status in statuses {
                tap.on_update(status);
            }
            known.note(&mut tap);
            assert_eq!(known.violation(), None);
            let states: Vec<TaskState> = known.tasks().map(|(_, state)| state).collect();
            (states, known.open().len(), known.tally())
        };
        // An answer may be ahead of news that is on its way.
        let lost = status(Unreachable, Some(1), None);
        let running = status(Running, Some(2), None);
        let (states, open, _) = after(&[lost.clone(), answer(Running)]);
        assert_eq!((states, open), (vec![Running], 1));
        let (states, ..) = after(&[answer(Running), lost.clone(), running]);
        assert_eq!(states, [Running]);
        // Nothing follows an end, and it counts once.
        let (states, open, tally) = after(&[lost.clone(), answer(Gone), answer(Gone)]);
        assert_eq!((states, open, tally.lost), (vec![Gone], 0, 1));
        let ended = [status(Failed, Some(3), None), answer(Gone)];
        let (states, _, tally) = after(&ended);
        assert_eq!((states, tally.failed, tally.lost), (vec![Failed], 1, 0));
    }

    #[test]
    fn what_is_said_by_name_is_news_and_a_refusal_is_not() {
        use TaskState::{Finished, Running};
        let known_after = |update| {
            let (mut known, mut tap) = (Known::default(), tap());
            tap.on_update(&status(Running, Some(1), None));
            let said = status(Finished, update, Some(Reason::AgentRemoved));
            tap.on_update(&TaskStatus {
                source: Source::Master,
                ..said
            });
            known.note(&mut tap);
            assert_eq!(known.violation(), None);
            known.tally().finished
        };
        assert_eq!(known_after(Some(2)), 1, "its agent is down for maintenance");
        assert_eq!(known_after(None), 0, "somebody wanted its id for another");
    }

    #[test]
    fn what_two_schedulers_hear_of_a_task_is_one_story() {
        use TaskState::{Finished, Running};
        let mut known = Known::default();
        let (mut old, mut new) = (tap(), tap());
        let running = status(Running, Some(1), None);
        let done = status(Finished, Some(2), None);
        // The old one is slow: what it hears last, the new one has heard before.
        for news in [&running, &done] {
            new.on_update(news);
        }
        known.note(&mut new);
        for news in [&running, &done] {
            old.on_update(news);
        }
        known.note(&mut old);
        assert_eq!(known.violation(), None);
        assert_eq!(known.tally().finished, 1);
        let tasks: Vec<TaskState> = known.tasks().map(|(_, state)| state).collect();
        assert_eq!(tasks, [Finished]);
    }
}
