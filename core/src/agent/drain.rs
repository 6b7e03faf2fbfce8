//! Draining: the agent ends its tasks and takes no others, until it is told otherwise.
//!
//! Called by `on_master`. The master knows who is drained, and says so again whenever the agent
//! joins: nothing is remembered of it here but the kills.
//!
//! Deliberately not here: how tasks end (`kills`), and executors once they have none.

use alloc::vec::Vec;
use core::time::Duration;

use super::records::Number;
use super::updates::News;
use super::{Agent, Cx};
use crate::protocol::status::{Reason, TaskState};

impl Agent {
    pub(super) fn on_drain(&mut self, cx: &mut Cx<'_>, max_grace: Option<Duration>) {
        self.is_draining = true;
        let live = self.state.tasks().iter();
        let live = live.filter(|(_, task)| !task.state().is_terminal());
        let live: Vec<(Number, Option<Duration>)> = live
            .map(|(number, task)| (*number, grace(max_grace, task.info().kill_grace)))
            .collect();
        for (task, grace) in live {
            self.kill(cx, task, grace);
        }
    }

    pub(super) fn on_undrain(&mut self) {
        self.is_draining = false;
    }

    /// Says of what was killed that it was for the drain (TK-57).
    pub(super) fn with_drain(&self, news: News) -> News {
        if self.is_draining && news.state == TaskState::Killed && news.reason.is_none() {
            return news.because(Reason::AgentDraining, DRAINED);
        }
        news
    }
}

/// Why something ended with a drain, or did not begin.
pub(super) const DRAINED: &str = "the agent is being drained";

/// Returns how long a task has that is killed by a drain: what the drain says only makes it less
/// (TK-84).
fn grace(max: Option<Duration>, own: Option<Duration>) -> Option<Duration> {
    match (max, own) {
        (Some(max), Some(own)) => Some(max.min(own)),
        (max, own) => max.or(own),
    }
}
