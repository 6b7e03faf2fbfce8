//! What `tepui run` launches and when it is done: offers and updates in, tasks and an exit out.
//!
//! Called by the session. Deliberately not here: the network, the terminal, time; so a test can
//! play any story.

use std::time::Duration;

use tepui_core::ids::TaskId;
use tepui_core::protocol::check::HealthCheck;
use tepui_core::protocol::container_info::ContainerInfo;
use tepui_core::protocol::framework::Capabilities;
use tepui_core::protocol::offer::Offer;
use tepui_core::protocol::status::{TaskState, TaskStatus};
use tepui_core::protocol::task::{CommandInfo, TaskInfo};
use tepui_core::resources::{Quantities, Resources};

use crate::cli::exit::Exit;

/// How often an instance is launched that was dropped, for sure without having run: its offer was
/// rescinded on the way, or its agent was lost.
const ATTEMPTS: u32 = 5;

/// What every instance is like.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// What task ids begin with.
    pub(super) id: String,
    /// A name for people.
    pub(super) name: String,
    /// What one instance takes.
    pub(super) resources: Resources,
    /// What it runs.
    pub(super) command: CommandInfo,
    /// What it asks of its container.
    pub(super) container: Option<Box<ContainerInfo>>,
    /// How it is found out whether it is healthy.
    pub(super) health_check: Option<Box<HealthCheck>>,
    /// How long a kill waits between SIGTERM and SIGKILL.
    pub(super) kill_grace: Option<Duration>,
    /// The most processes and threads.
    pub(super) pids: Option<u32>,
}

/// What an update meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is old, or of no task of ours.
    Nothing,
    /// The task goes on.
    Progress,
    /// The task's program runs, or ran, so that there is output to be read. Said once a task.
    Started,
    /// The task is over and had no program running that this had not been said of.
    Ended,
    /// The task never ran and is to be launched again under another id.
    Again,
}

#[derive(Clone, Debug)]
enum Phase {
    Waiting,
    Launched {
        started: bool,
        /// Its agent is gone, and nobody knows for how long.
        unreachable: bool,
    },
    Ended(Exit),
    /// Given up before it was launched.
    Abandoned,
}

#[derive(Clone, Debug)]
struct Instance {
    /// The newest of its task ids.
    task: TaskId,
    attempt: u32,
    phase: Phase,
}

/// The instances of one command, from the first offer to the last exit.
#[derive(Debug)]
pub(super) struct Plan {
    template: Template,
    instances: Vec<Instance>,
    largest: Option<Resources>,
    stopping: bool,
}

impl Plan {
    /// Plans `count` instances.
    pub(super) fn new(template: Template, count: u32) -> Self {
        let instance = |n| Instance {
            task: task_id(&template, (count > 1).then_some(n), 1),
            attempt: 1,
            phase: Phase::Waiting,
        };
        Self {
            instances: (0..count).map(instance).collect(),
            template,
            largest: None,
            stopping: false,
        }
    }

    /// Returns what one instance takes.
    pub(super) fn wanted(&self) -> &Resources {
        &self.template.resources
    }

    /// Returns what it must say that it can cope with: agents with graphics processors are kept for
    /// those who ask.
    pub(super) fn capabilities(&self) -> Capabilities {
        let needs = self.template.resources.iter();
        let mut names = needs.map(|needed| needed.name());
        if names.any(|name| name == "gpus") {
            Capabilities::default() | Capabilities::GPUS
        } else {
            Capabilities::default()
        }
    }

    /// Returns the largest offer that was too small, measured by what is scarcest in it.
    pub(super) fn largest_too_small(&self) -> Option<&Resources> {
        self.largest.as_ref()
    }

    /// Returns whether an instance waits for an offer.
    pub(super) fn is_waiting(&self) -> bool {
        self.instances
            .iter()
            .any(|instance| matches!(instance.phase, Phase::Waiting))
    }

    /// Returns whether every instance has started, ended, or was given up.
    pub(super) fn is_started(&self) -> bool {
        self.instances.iter().all(|instance| match instance.phase {
            Phase::Waiting => false,
            Phase::Launched { started, .. } => started,
            Phase::Ended(_) | Phase::Abandoned => true,
        })
    }

    /// Returns the position of the instance whose newest task this is.
    pub(super) fn position(&self, task: &TaskId) -> Option<usize> {
        self.instances
            .iter()
            .position(|instance| instance.task == *task)
    }

    /// Returns the newest task of each instance.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.instances.iter().map(|instance| &instance.task)
    }

    /// Returns the newest task of each instance that was launched and has not ended.
    pub(super) fn live(&self) -> impl Iterator<Item = &TaskId> {
        let live = |instance: &&Instance| matches!(instance.phase, Phase::Launched { .. });
        self.instances
            .iter()
            .filter(live)
            .map(|instance| &instance.task)
    }

    /// Returns whether all that has not ended is on agents that are gone: whoever waits for its end
    /// may wait for ever.
    pub(super) fn is_out_of_reach(&self) -> bool {
        self.instances.iter().all(|instance| match instance.phase {
            Phase::Waiting => false,
            Phase::Launched { unreachable, .. } => unreachable,
            Phase::Ended(_) | Phase::Abandoned => true,
        })
    }

    /// Puts as many waiting instances on an offer as fit; if none does, the offer is to be
    /// declined.
    pub(super) fn consider(&mut self, offer: &Offer) -> Vec<TaskInfo> {
        let mut left = offer.resources.clone();
        let mut tasks = Vec::new();
        for instance in &mut self.instances {
            if !matches!(instance.phase, Phase::Waiting) {
                continue;
            }
            let Ok(rest) = left.checked_sub(&self.template.resources) else {
                break;
            };
            left = rest;
            instance.phase = Phase::Launched {
                started: false,
                unreachable: false,
            };
            tasks.push(self.template.task(&instance.task, offer));
        }
        if tasks.is_empty() && self.is_waiting() {
            self.remember(&offer.resources);
        }
        tasks
    }

    /// Takes back tasks whose offer turned out void, so that nothing was launched.
    pub(super) fn release(&mut self, tasks: &[TaskId]) {
        for instance in &mut self.instances {
            if tasks.contains(&instance.task) {
                instance.phase = match self.stopping {
                    true => Phase::Abandoned,
                    false => Phase::Waiting,
                };
            }
        }
    }

    /// Takes in news about a task.
    pub(super) fn update(&mut self, status: &TaskStatus) -> News {
        let Some(position) = self.position(&status.task) else {
            return News::Nothing;
        };
        let instance = &mut self.instances[position];
        let Phase::Launched {
            started,
            unreachable,
        } = &mut instance.phase
        else {
            return News::Nothing;
        };
        *unreachable = status.state == TaskState::Unreachable;
        let ran = matches!(status.state, TaskState::Running | TaskState::Killing)
            || status.exit.is_some();
        let first = ran && !*started;
        *started |= ran;
        if status.state.is_terminal() {
            let again = status.state == TaskState::Dropped && instance.attempt < ATTEMPTS;
            if again && !self.stopping {
                let several = self.instances.len() > 1;
                let number = several.then(|| u32::try_from(position).expect("counted in u32"));
                let instance = &mut self.instances[position];
                instance.attempt += 1;
                instance.task = task_id(&self.template, number, instance.attempt);
                instance.phase = Phase::Waiting;
                return News::Again;
            }
            instance.phase = Phase::Ended(exit_of(status));
        }
        match (first, status.state.is_terminal()) {
            (true, _) => News::Started,
            (false, true) => News::Ended,
            (false, false) => News::Progress,
        }
    }

    /// Launches nothing more; what is live has to be killed by the caller.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        for instance in &mut self.instances {
            if matches!(instance.phase, Phase::Waiting) {
                instance.phase = Phase::Abandoned;
            }
        }
    }

    /// Returns how it all ended, once it has: the first instance that did not succeed decides.
    pub(super) fn outcome(&self) -> Option<Exit> {
        let mut outcome = Exit::Success;
        for instance in &self.instances {
            let exit = match instance.phase {
                Phase::Waiting | Phase::Launched { .. } => return None,
                Phase::Ended(exit) => exit,
                Phase::Abandoned => Exit::OwnFailure,
            };
            if outcome.code() == 0 {
                outcome = exit;
            }
        }
        Some(outcome)
    }

    fn remember(&mut self, offered: &Resources) {
        let wanted = Quantities::from(&self.template.resources);
        let reach = |resources: &Resources| {
            let offered = Quantities::from(resources);
            let ratio = |(name, amount): (&str, _)| {
                let wanted: tepui_core::resources::Milli = amount;
                offered.amount(name).to_f64() / wanted.to_f64()
            };
            wanted.iter().map(ratio).fold(f64::INFINITY, f64::min)
        };
        if self
            .largest
            .as_ref()
            .is_none_or(|largest| reach(offered) > reach(largest))
        {
            self.largest = Some(offered.clone());
        }
    }
}

impl Template {
    fn task(&self, id: &TaskId, offer: &Offer) -> TaskInfo {
        TaskInfo {
            name: self.name.clone(),
            kill_grace: self.kill_grace,
            pids: self.pids,
            container: self.container.clone(),
            health_check: self.health_check.clone(),
            ..offer.task(id.clone(), self.resources.clone(), self.command.clone())
        }
    }
}

fn task_id(template: &Template, number: Option<u32>, attempt: u32) -> TaskId {
    let mut id = template.id.clone();
    if let Some(number) = number {
        id += &format!("-{number}");
    }
    // A task id is never used twice, not even for a task that never ran (TK-102).
    if attempt > 1 {
        id += &format!(".{attempt}");
    }
    TaskId::new(&id).expect("a short id of letters, digits, dots and dashes")
}

/// Says how `run` ends for a task that has ended. Without an exit there was no program: the failure
/// is not the task's.
fn exit_of(status: &TaskStatus) -> Exit {
    match status.exit {
        Some(exit) => Exit::Task(exit),
        None if status.state == TaskState::Finished => Exit::Success,
        None => Exit::OwnFailure,
    }
}

#[cfg(test)]
mod tests {
    use tepui_core::ids::{AgentId, FrameworkId, OfferId};
    use tepui_core::protocol::status::{self, Reason, Source};
    use tepui_core::time::Time;

    use super::*;

    fn plan(resources: &str, count: u32) -> Plan {
        let template = Template {
            id: "run-1".into(),
            name: "true".into(),
            resources: Resources::parse(resources).unwrap(),
            command: CommandInfo::exec("true", [""; 0]),
            container: None,
            health_check: None,
            kill_grace: Some(Duration::from_secs(7)),
            pids: None,
        };
        Plan::new(template, count)
    }

    fn offer(resources: &str) -> Offer {
        Offer::new(
            OfferId::new("o").unwrap(),
            FrameworkId::new("f").unwrap(),
            AgentId::new("a").unwrap(),
            Resources::parse(resources).unwrap(),
        )
    }

    fn status(task: &str, state: TaskState, exit: Option<status::Exit>) -> TaskStatus {
        let task = TaskId::new(task).unwrap();
        TaskStatus {
            exit,
            ..TaskStatus::new(task, state, Source::Executor, Time::ZERO)
        }
    }

    #[test]
    fn a_task_is_out_of_reach_until_there_is_news_of_it() {
        let mut plan = plan("cpus:1;mem:1", 2);
        plan.consider(&offer("cpus:2;mem:2"));
        assert!(!plan.is_out_of_reach());
        for task in ["run-1-0", "run-1-1"] {
            plan.update(&status(task, TaskState::Running, None));
            assert!(!plan.is_out_of_reach());
            plan.update(&status(task, TaskState::Unreachable, None));
        }
        assert!(plan.is_out_of_reach());
        assert_eq!(plan.outcome(), None, "its agent may come back");
        plan.update(&status("run-1-1", TaskState::Running, None));
        assert!(!plan.is_out_of_reach());
        plan.update(&status("run-1-1", TaskState::Finished, None));
        assert!(plan.is_out_of_reach());
    }

    #[test]
    fn one_task_runs_and_its_code_is_the_outcome() {
        let mut plan = plan("cpus:0.5;mem:64", 1);
        assert!(plan.is_waiting());
        let tasks = plan.consider(&offer("cpus:2;mem:1000"));
        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks[0].id.as_str(), "run-1");
        assert_eq!(tasks[0].kill_grace, Some(Duration::from_secs(7)));
        assert!(!plan.is_waiting());
        assert!(
            plan.consider(&offer("cpus:2;mem:1000")).is_empty(),
            "one is enough"
        );
        assert_eq!(
            plan.update(&status("run-1", TaskState::Starting, None)),
            News::Progress
        );
        assert_eq!(
            plan.update(&status("run-1", TaskState::Running, None)),
            News::Started
        );
        assert_eq!(
            plan.update(&status("run-1", TaskState::Running, None)),
            News::Progress
        );
        assert_eq!(plan.outcome(), None);
        let code = Some(status::Exit::Code(3));
        assert_eq!(
            plan.update(&status("run-1", TaskState::Failed, code)),
            News::Ended
        );
        assert_eq!(plan.outcome().map(Exit::code), Some(3));
        // An update that comes twice changes nothing.
        assert_eq!(
            plan.update(&status("run-1", TaskState::Failed, code)),
            News::Nothing
        );
    }

    #[test]
    fn an_end_that_overtakes_the_start_still_has_output() {
        let mut plan = plan("cpus:1", 1);
        plan.consider(&offer("cpus:1"));
        let code = Some(status::Exit::Code(0));
        assert_eq!(
            plan.update(&status("run-1", TaskState::Finished, code)),
            News::Started
        );
        assert_eq!(plan.outcome().map(Exit::code), Some(0));
    }

    #[test]
    fn instances_share_an_offer_as_far_as_it_goes() {
        let mut plan = plan("cpus:1", 3);
        let ids = |tasks: Vec<TaskInfo>| -> Vec<String> {
            tasks.iter().map(|task| task.id.to_string()).collect()
        };
        assert_eq!(
            ids(plan.consider(&offer("cpus:2.5"))),
            ["run-1-0", "run-1-1"]
        );
        assert!(plan.is_waiting());
        assert_eq!(ids(plan.consider(&offer("cpus:9"))), ["run-1-2"]);
        for (task, code) in [("run-1-2", 5), ("run-1-0", 0), ("run-1-1", 4)] {
            let exit = Some(status::Exit::Code(code));
            plan.update(&status(task, TaskState::Failed, exit));
        }
        assert_eq!(
            plan.outcome().map(Exit::code),
            Some(4),
            "the first that failed"
        );
    }

    #[test]
    fn the_largest_offer_is_the_one_that_comes_closest() {
        let mut plan = plan("cpus:64;mem:64", 1);
        assert_eq!(plan.largest_too_small(), None);
        for text in ["cpus:1;mem:9000", "cpus:2;mem:64", "cpus:1;mem:90000"] {
            assert!(plan.consider(&offer(text)).is_empty());
        }
        let largest = plan.largest_too_small().map(ToString::to_string);
        assert_eq!(largest.as_deref(), Some("cpus:2;mem:64"));
    }

    #[test]
    fn what_was_dropped_is_launched_again_under_another_id() {
        // TK-51, TK-102
        let mut plan = plan("cpus:1", 1);
        let mut task = "run-1".to_owned();
        for attempt in 2..=ATTEMPTS {
            assert_eq!(plan.consider(&offer("cpus:1"))[0].id.as_str(), task);
            let mut dropped = status(&task, TaskState::Dropped, None);
            dropped.reason = Some(Reason::InvalidOffers);
            assert_eq!(plan.update(&dropped), News::Again);
            task = format!("run-1.{attempt}");
        }
        assert_eq!(plan.consider(&offer("cpus:1"))[0].id.as_str(), task);
        assert_eq!(
            plan.update(&status(&task, TaskState::Dropped, None)),
            News::Ended
        );
        assert_eq!(plan.outcome(), Some(Exit::OwnFailure));
    }

    #[test]
    fn what_was_never_launched_waits_again_under_the_same_id() {
        let mut plan = plan("cpus:1", 2);
        let tasks = plan.consider(&offer("cpus:2"));
        plan.release(&[tasks[1].id.clone()]);
        assert!(plan.is_waiting());
        let again = plan.consider(&offer("cpus:2"));
        assert_eq!(
            again
                .iter()
                .map(|task| task.id.as_str())
                .collect::<Vec<_>>(),
            ["run-1-1"]
        );
        plan.stop();
        plan.release(&[again[0].id.clone()]);
        assert!(!plan.is_waiting(), "nothing is launched after a stop");
    }

    #[test]
    fn stopping_gives_up_what_waits_and_launches_nothing_again() {
        let mut plan = plan("cpus:1", 2);
        plan.consider(&offer("cpus:1"));
        plan.stop();
        assert_eq!(
            plan.live().map(TaskId::as_str).collect::<Vec<_>>(),
            ["run-1-0"]
        );
        assert!(plan.consider(&offer("cpus:1")).is_empty());
        assert_eq!(plan.outcome(), None);
        plan.update(&status("run-1-0", TaskState::Dropped, None));
        assert_eq!(plan.outcome(), Some(Exit::OwnFailure));
    }

    #[test]
    fn a_task_that_never_ran_is_our_failure_and_a_signal_is_its_own() {
        let mut never = plan("cpus:1", 1);
        never.consider(&offer("cpus:1"));
        assert_eq!(
            never.update(&status("run-1", TaskState::Failed, None)),
            News::Ended
        );
        assert_eq!(never.outcome(), Some(Exit::OwnFailure));
        let mut killed = plan("cpus:1", 1);
        killed.consider(&offer("cpus:1"));
        let signal = Some(status::Exit::Signal(15));
        killed.update(&status("run-1", TaskState::Killed, signal));
        assert_eq!(killed.outcome().map(Exit::code), Some(143));
    }

    #[test]
    fn news_of_other_tasks_is_nothing() {
        let mut plan = plan("cpus:1", 1);
        plan.consider(&offer("cpus:1"));
        assert_eq!(
            plan.update(&status("other", TaskState::Failed, None)),
            News::Nothing
        );
        assert!(!plan.is_started());
    }
}
