//! Coming back after a restart: ask what the containers did meanwhile, then join a master.
//!
//! A task that was taken on is in one of these states in the journal, and none is lost:
//!
//! | remembered | the containerizer says | what is reported |
//! |---|---|---|
//! | taken on | never started | dropped, agent restarted (TK-61) |
//! | taken on | runs | running |
//! | taken on | ended | how it ended |
//! | taken on | lost | failed, agent restarted |
//! | running | runs | nothing new |
//! | running | ended | how it ended |
//! | running | lost, or never started | gone (TK-30) |
//! | killed | ended in whatever way | killed |
//! | over | not asked | the updates that nobody acknowledged |
//!
//! After a restart of the machine itself (AG-20) nothing runs, whatever the containerizer says. It
//! may still know how what had ended by then did. The agent keeps its id.
//!
//! Deliberately not here: reading the journal, which the driver does.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use super::checks::Trials;
use super::containers::Containers;
use super::drain::Drain;
use super::executors::Sessions;
use super::gc::Deletions;
use super::history::History;
use super::interface;
use super::leaving::Leaving;
use super::messages::UNWANTED;
use super::on_container::End;
use super::operations;
use super::overdue::Watches;
use super::patience::Departure;
use super::records::Number;
use super::registration::Link;
use super::tasks::Placement;
use super::updates::{Flights, News};
use super::{Agent, AgentRecord, AgentState, Config, Cx, Out};
use crate::feed::Feed;
use crate::ids::ContainerId;
use crate::mutant::{Mutant, planted};
use crate::protocol::container::ContainerCommand;
use crate::protocol::framework::Introduced;
use crate::protocol::status::{Reason, Source, TaskState};
use crate::rng::Rng;
use crate::time::Time;
use crate::timers::Timers;

/// Whether what the containers did is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// The containerizer was asked.
    Asking,
    /// It was asked, and nothing can be left: the machine was restarted.
    Rebooted,
    /// It has told everything.
    Over,
}

impl Recovery {
    fn begin(config: &Config, state: &AgentState) -> Self {
        match (config.boot, state.boot()) {
            (Some(now), Some(before)) if now != before => Self::Rebooted,
            (Some(_) | None, _) => Self::Asking,
        }
    }

    pub(super) fn is_over(self) -> bool {
        self == Self::Over
    }
}

impl Agent {
    /// Makes an agent from what its journal says, empty or not, and asks for its containers.
    pub fn recover(config: Config, state: AgentState, now: Time, out: &mut Out) -> Self {
        // Update ids must not repeat from one life to the next. An id that anybody saw was made
        // durable before, so a life that told something begins with more records than the last.
        let lives = state.records().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let feed = Feed::of_life(config.seed.wrapping_add(lives));
        let total = operations::total(state.converted(), &config.info.resources);
        let history = History::new(config.bounds);
        let mut agent = Self {
            rng: Rng::new(config.seed.wrapping_add(lives)),
            recovery: Recovery::begin(&config, &state),
            total: total.clone().unwrap_or_default(),
            config,
            state,
            timers: Timers::new(),
            listens_until: Time::ZERO,
            listened: 0,
            run_outs: BTreeMap::new(),
            link: Link::Away,
            introduced: Introduced::default(),
            leaving: None,
            drain: Drain::default(),
            containers: Containers::default(),
            sessions: Sessions::default(),
            flights: Flights::new(),
            watches: Watches::new(),
            trials: Trials::default(),
            deletions: Deletions::default(),
            emptied: BTreeSet::new(),
            history,
            late_ends: Vec::new(),
            feed,
            told: None,
        };
        let mut cx = Cx { now, out };
        agent.ask_for_containers(&mut cx);
        agent.ask_for_disks(&mut cx);
        agent.delete_volumes(&mut cx);
        agent.resume_ends(&mut cx);
        let cleans_up = agent.config.recover == interface::Recover::Cleanup;
        if !cleans_up {
            agent.describe(&mut cx);
        }
        agent.finish_refusals(&mut cx);
        if cleans_up {
            agent.leave_for_good(&mut cx, Leaving::Ordered);
            agent.stop_if_left(&mut cx);
        } else if let Err(why) = total {
            let reason = format!("agent {} cannot go on: {why}", agent.config.name);
            agent.stop(&mut cx, reason);
        }
        agent
    }

    fn ask_for_containers(&mut self, cx: &mut Cx<'_>) {
        let live_task = |number: &Number| {
            let task = self.state.task(*number);
            task.is_some_and(|t| t.placement() == Placement::Own && !t.state().is_terminal())
        };
        let tasks = self.state.tasks().keys().copied().filter(live_task);
        let known: Vec<Number> = tasks
            .chain(self.state.executors().keys().copied())
            .collect();
        for number in &known {
            self.containers.add(*number);
        }
        for (number, row) in self.state.executors().iter() {
            self.sessions.add(*number);
            if let Some(session) = self.sessions.get_mut(*number).filter(|_| row.is_unwanted()) {
                session.end(Reason::ExecutorTerminated, UNWANTED);
            }
        }
        let mut known: Vec<ContainerId> = known.into_iter().map(Number::container).collect();
        if planted(Mutant::ExecutorsOrphaned) {
            known.truncate(known.len() - self.state.executors().len());
        }
        cx.container(ContainerCommand::Recover { known });
        cx.echo(Departure::Recovery);
    }

    /// What is to end is told so once more: it has had a time, and gets another.
    fn resume_ends(&mut self, cx: &mut Cx<'_>) {
        if self.state.is_ending_any() {
            self.persist(cx, AgentRecord::Resumed);
        }
    }

    /// Reports on tasks that were turned away when the agent fell before it had noted why.
    fn finish_refusals(&mut self, cx: &mut Cx<'_>) {
        let unsaid: Vec<Number> = self
            .state
            .tasks()
            .iter()
            .filter(|(_, t)| t.placement() == Placement::Nowhere && !t.state().is_terminal())
            .map(|(number, _)| *number)
            .collect();
        for number in unsaid {
            let message = "the agent restarted while it turned the task away";
            let news = News::new(TaskState::Dropped, Source::Agent)
                .because(Reason::AgentRestarted, message);
            self.report(cx, number, news);
        }
    }

    /// Goes on when nothing is awaited any more, though the containerizer has not said that it has
    /// told everything: it waits for what was given up.
    pub(super) fn recover_without_word(&mut self, cx: &mut Cx<'_>) {
        let is_heard = self.containers.iter().all(|(_, phase)| !phase.is_unheard());
        if is_heard && !self.recovery.is_over() {
            self.on_recovered(cx);
        }
    }

    /// The containerizer has told everything. What it did not speak of is lost.
    pub(super) fn on_recovered(&mut self, cx: &mut Cx<'_>) {
        if self.recovery.is_over() {
            tracing::debug!("recovered twice: ignored");
            return;
        }
        let unheard: Vec<Number> = self
            .containers
            .iter()
            .filter(|(_, phase)| phase.is_unheard())
            .map(|(number, _)| number)
            .collect();
        for number in unheard {
            self.on_ended(cx, &number.container(), &End::Lost);
        }
        self.recovery = Recovery::Over;
        // Last: should this be lost, all is found out again.
        if let Some(boot) = self
            .config
            .boot
            .filter(|boot| self.state.boot() != Some(*boot))
        {
            self.persist(cx, AgentRecord::Booted { boot });
        }
        self.join_after_recovery(cx);
    }
}
