//! Leaving for good: the agent ends all that it runs, says nothing more, and ends itself when
//! nothing is left.
//!
//! Called by `on_master`. Whether it is over is looked at after each input. Nothing is remembered
//! of it: should the agent fall meanwhile, what it was ending it goes on ending, and the next
//! master that it joins says the same again.
//!
//! Deliberately not here: how containers end (`kills`, `on_executor`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Agent, Cx};
use crate::ids::FrameworkId;

impl Agent {
    /// The master says that this agent is gone for good, and its tasks with it (TK-114, PR-12).
    pub(super) fn on_shutdown(&mut self, cx: &mut Cx<'_>, reason: &str) {
        let name = &self.config.name;
        let reason = format!("the master has shut agent {name} down: {reason}");
        self.leave_for_good(cx, reason);
    }

    fn leave_for_good(&mut self, cx: &mut Cx<'_>, reason: String) {
        self.leave();
        let frameworks = self.state.frameworks();
        let live = frameworks.iter().filter(|(_, framework)| !framework.ended);
        let live: Vec<FrameworkId> = live.map(|(id, _)| id.clone()).collect();
        for framework in live {
            self.on_shutdown_framework(cx, framework);
        }
        self.leaving = Some(reason);
    }

    /// Ends the agent, if it is leaving and nothing runs any more.
    pub(super) fn stop_if_left(&mut self, cx: &mut Cx<'_>) {
        let is_empty = self.state.tasks().is_empty() && self.state.executors().is_empty();
        if is_empty && let Some(reason) = self.leaving.take() {
            self.stop(cx, reason);
        }
    }
}
