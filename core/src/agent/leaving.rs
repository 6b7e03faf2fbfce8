//! Leaving for good: the agent ends all that it runs, says nothing more, and ends itself when
//! nothing is left. Whoever starts it again starts a new one, which the cluster knows under another
//! id: the old one is refused for ever, and all that it ran was said to be gone (TK-114, TK-128).
//!
//! Called by `on_master`, by whoever runs the machine, and by `recovery`. Whether it is over is
//! looked at after each input. Nothing is remembered of it before: should the agent fall meanwhile,
//! what it was ending it goes on ending, and whoever wanted it to leave says so again. So the id is
//! forgotten last, when nothing runs in its name.
//!
//! Deliberately not here: how containers end (`kills`, `on_executor`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Agent, AgentRecord, Cx, Effect};
use crate::ids::FrameworkId;
use crate::protocol::agent::ToMaster;
use crate::protocol::disk::DiskCommand;

/// Who wants an agent to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The master, to which it is gone, and why.
    ShutDown(String),
    /// Whoever runs the machine.
    Ordered,
}

impl Agent {
    /// The master says that this agent is gone for good, and its tasks with it (TK-114, PR-12).
    pub(super) fn on_shutdown(&mut self, cx: &mut Cx<'_>, reason: &str) {
        let name = &self.config.name;
        let reason = format!("the master has shut agent {name} down: {reason}");
        self.leave_for_good(cx, Leaving::ShutDown(reason));
    }

    /// Whoever runs the machine takes it out of the cluster (AG-09, TK-112, PR-13). The master
    /// hears of it if it is there; else it gives the agent up in time.
    pub(super) fn on_leave(&mut self, cx: &mut Cx<'_>) {
        if let Some(peer) = self.link.joined() {
            let message = ToMaster::Unregister;
            cx.out.emit(Effect::Master { peer, message });
        }
        self.leave_for_good(cx, Leaving::Ordered);
    }

    pub(super) fn leave_for_good(&mut self, cx: &mut Cx<'_>, why: Leaving) {
        if self.leaving.is_some() {
            return;
        }
        self.leave();
        let frameworks = self.state.frameworks();
        let live = frameworks.iter().filter(|(_, framework)| !framework.ended);
        let live: Vec<FrameworkId> = live.map(|(id, _)| id.clone()).collect();
        for framework in live {
            self.on_shutdown_framework(cx, framework);
        }
        self.leaving = Some(why);
    }

    /// Ends the agent, if it is leaving and nothing runs any more.
    pub(super) fn stop_if_left(&mut self, cx: &mut Cx<'_>) {
        let runs = !self.state.tasks().is_empty() || !self.state.executors().is_empty();
        if runs || !self.recovery.is_over() {
            return;
        }
        let Some(why) = self.leaving.take() else {
            return;
        };
        if let Some(agent) = self.state.agent().cloned() {
            let has_jobs = !self.state.jobs().is_empty() || !self.state.undoing().is_empty();
            self.persist(cx, AgentRecord::Left);
            if has_jobs {
                // Nobody asks for them any more.
                let known = Vec::new();
                let command = DiskCommand::Recover { agent, known };
                cx.out.emit(Effect::Disk(command));
            }
        }
        self.total = self.config.info.resources.clone();
        match why {
            Leaving::ShutDown(reason) => self.stop(cx, reason),
            Leaving::Ordered => {
                self.fall_silent();
                cx.out.emit(Effect::Left);
            }
        }
    }
}
