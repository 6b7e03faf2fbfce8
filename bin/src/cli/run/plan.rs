//! What `tepui run` launches and when it is done: offers and updates in, tasks and an exit out.
//!
//! Called by the session. Deliberately not here: the network, the terminal, time; so a test can
//! play any story.

use std::path::PathBuf;
use std::time::Duration;

use tepui_core::ids::{AgentId, ExecutorId, TaskId};
use tepui_core::protocol::check::HealthCheck;
use tepui_core::protocol::container_info::ContainerInfo;
use tepui_core::protocol::framework::Capabilities;
use tepui_core::protocol::offer::{Offer, Operation, TaskGroup};
use tepui_core::protocol::status::{TaskState, TaskStatus};
use tepui_core::protocol::task::{CommandInfo, ExecutorInfo, TaskInfo};
use tepui_core::protocol::validate_group;
use tepui_core::resources::{Quantities, Resources};
use tepui_core::time::Time;

use super::container::host_paths;
use crate::cli::exit::Exit;

/// How often an instance, or a group, is launched that was dropped, for sure without having run:
/// its offer was rescinded on the way, or its agent was lost.
const ATTEMPTS: u32 = 5;

/// What an instance is like.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// What its task ids begin with.
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

/// What tasks of a group have in common (TK-91).
#[derive(Clone, Debug)]
pub(super) struct Common {
    /// What ids of groups begin with.
    pub(super) id: String,
    /// What is taken for all of them together.
    pub(super) resources: Resources,
    /// What is asked for all of them together.
    pub(super) container: Option<Box<ContainerInfo>>,
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
    /// Over since then, as its agent says.
    Ended(Exit, Time),
    /// It never ran, and is launched again once that is known of its whole group.
    Dropped,
    /// Given up before it was launched.
    Abandoned,
}

#[derive(Clone, Debug)]
struct Instance {
    template: Template,
    /// The newest of its task ids.
    task: TaskId,
    /// What its output is told apart by, if there is need.
    label: Option<String>,
    attempt: u32,
    phase: Phase,
}

/// The instances of one command, or the tasks of a group, from the first offer to the last exit.
#[derive(Debug)]
pub(super) struct Plan {
    instances: Vec<Instance>,
    /// With it they are launched together, and on one agent.
    common: Option<Common>,
    /// What is launched at once takes so much.
    wanted: Resources,
    largest: Option<Resources>,
    stopping: bool,
}

impl Plan {
    /// Plans `count` instances, of which there is at least one.
    pub(super) fn new(template: Template, count: u32) -> Self {
        let wanted = template.resources.clone();
        let instance = |n: u32| {
            let mut template = template.clone();
            if count > 1 {
                template.id += &format!("-{n}");
            }
            let label = (count > 1).then(|| template.id.clone());
            Instance::new(template, label)
        };
        Self {
            instances: (0..count).map(instance).collect(),
            common: None,
            wanted,
            largest: None,
            stopping: false,
        }
    }

    /// Plans the tasks of a group, which take no resource twice and `wanted` with what they have in
    /// common. Their names tell their output apart.
    pub(super) fn group(tasks: Vec<Template>, common: Common, wanted: Resources) -> Self {
        let instance = |template: Template| {
            let label = Some(template.name.clone());
            Instance::new(template, label)
        };
        Self {
            instances: tasks.into_iter().map(instance).collect(),
            common: Some(common),
            wanted,
            largest: None,
            stopping: false,
        }
    }

    /// Says which task of a group the master would refuse whatever it offered, and why.
    pub(super) fn check(&self) -> Result<(), String> {
        let Some(common) = &self.common else {
            return Ok(());
        };
        let agent = AgentId::new("any").expect("a short id of letters");
        let executor = common.executor(1);
        let instances = self.instances.iter();
        let tasks = instances.map(|instance| TaskInfo {
            executor: Some(executor.clone()),
            ..instance.template.task(&instance.task, agent.clone())
        });
        let tasks: Vec<TaskInfo> = tasks.collect();
        for task in &tasks {
            validate_group::check_member(task)
                .map_err(|reject| format!("task {:?}: {reject}", task.name))?;
        }
        validate_group::check_group(&tasks).map_err(|reject| reject.to_string())
    }

    /// Returns what has to be in one offer.
    pub(super) fn wanted(&self) -> &Resources {
        &self.wanted
    }

    /// Returns what a task of ours takes.
    pub(super) fn resources(&self, task: &TaskId) -> &Resources {
        match self.position(task) {
            Some(position) => &self.instances[position].template.resources,
            None => &self.wanted,
        }
    }

    /// Returns what each line of a task's output begins with, if there are several to tell apart.
    pub(super) fn label(&self, task: &TaskId) -> Option<&str> {
        let position = self.position(task)?;
        self.instances[position].label.as_deref()
    }

    /// Returns whether output is told apart.
    pub(super) fn has_labels(&self) -> bool {
        self.instances
            .iter()
            .any(|instance| instance.label.is_some())
    }

    /// Returns the paths of the machine that are asked for.
    pub(super) fn host_paths(&self) -> Vec<PathBuf> {
        let asked = self.instances.iter();
        let asked = asked.filter_map(|instance| instance.template.container.as_deref());
        asked.flat_map(host_paths).collect()
    }

    /// Returns what it must say that it can cope with: agents with graphics processors are kept for
    /// those who ask.
    pub(super) fn capabilities(&self) -> Capabilities {
        let mut names = self.wanted.iter().map(|needed| needed.name());
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
            Phase::Ended(..) | Phase::Dropped | Phase::Abandoned => true,
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
            Phase::Ended(..) | Phase::Dropped | Phase::Abandoned => true,
        })
    }

    /// Puts as many waiting instances on an offer as fit, or the whole group; if nothing does, the
    /// offer is to be declined.
    pub(super) fn consider(&mut self, offer: &Offer) -> Vec<TaskInfo> {
        let mut left = offer.resources.clone();
        let mut tasks = Vec::new();
        if self.common.is_none() || left.contains(&self.wanted) {
            for instance in &mut self.instances {
                if !matches!(instance.phase, Phase::Waiting) {
                    continue;
                }
                let Ok(rest) = left.checked_sub(&instance.template.resources) else {
                    break;
                };
                left = rest;
                instance.phase = Phase::Launched {
                    started: false,
                    unreachable: false,
                };
                let agent = offer.agent.clone();
                tasks.push(instance.template.task(&instance.task, agent));
            }
        }
        if tasks.is_empty() && self.is_waiting() {
            self.remember(&offer.resources);
        }
        tasks
    }

    /// Returns what launches the tasks that were put on an offer.
    pub(super) fn operation(&self, tasks: Vec<TaskInfo>) -> Operation {
        let Some(common) = &self.common else {
            return Operation::Launch(tasks);
        };
        let attempt = self.instances.iter().map(|instance| instance.attempt).max();
        let executor = common.executor(attempt.unwrap_or(1));
        Operation::LaunchGroup(TaskGroup { executor, tasks })
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
                instance.phase = Phase::Dropped;
                return self.launch_again(position);
            }
            instance.phase = Phase::Ended(exit_of(status), status.at);
        }
        match (first, status.state.is_terminal()) {
            (true, _) => News::Started,
            (false, true) => News::Ended,
            (false, false) => News::Progress,
        }
    }

    /// Has an instance that was dropped wait again, or its group, once none of that has run.
    fn launch_again(&mut self, position: usize) -> News {
        let again = match &self.common {
            None => &mut self.instances[position..=position],
            Some(_) => &mut self.instances[..],
        };
        let is_dropped = |instance: &Instance| matches!(instance.phase, Phase::Dropped);
        if !again.iter().all(is_dropped) {
            return News::Ended;
        }
        for instance in again {
            instance.attempt += 1;
            instance.task = task_id(&instance.template, instance.attempt);
            instance.phase = Phase::Waiting;
        }
        News::Again
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

    /// Returns how it all ended, once it has: the first instance that did not succeed decides. In
    /// a group that is the one that ended first, for it has the others killed.
    pub(super) fn outcome(&self) -> Option<Exit> {
        let mut failed: Option<(Time, Exit)> = None;
        for instance in &self.instances {
            let (exit, at) = match instance.phase {
                Phase::Waiting | Phase::Launched { .. } => return None,
                Phase::Ended(exit, at) => (exit, at),
                Phase::Dropped | Phase::Abandoned => (Exit::OwnFailure, Time::MAX),
            };
            let is_first = match failed {
                None => true,
                Some((first, _)) => self.common.is_some() && at < first,
            };
            if exit.code() != 0 && is_first {
                failed = Some((at, exit));
            }
        }
        Some(failed.map_or(Exit::Success, |(_, exit)| exit))
    }

    fn remember(&mut self, offered: &Resources) {
        let wanted = Quantities::from(&self.wanted);
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

impl Common {
    fn executor(&self, attempt: u32) -> ExecutorInfo {
        let id = with_attempt(&self.id, attempt);
        let id = ExecutorId::new(&id).expect("a short id of letters, digits, dots and dashes");
        ExecutorInfo {
            container: self.container.clone(),
            ..ExecutorInfo::built_in(id, self.resources.clone())
        }
    }
}

impl Template {
    fn task(&self, id: &TaskId, agent: AgentId) -> TaskInfo {
        TaskInfo {
            name: self.name.clone(),
            kill_grace: self.kill_grace,
            pids: self.pids,
            container: self.container.clone(),
            health_check: self.health_check.clone(),
            command: Some(self.command.clone()),
            ..TaskInfo::new(id.clone(), agent, self.resources.clone())
        }
    }
}

impl Instance {
    fn new(template: Template, label: Option<String>) -> Self {
        Self {
            task: task_id(&template, 1),
            template,
            label,
            attempt: 1,
            phase: Phase::Waiting,
        }
    }
}

fn task_id(template: &Template, attempt: u32) -> TaskId {
    let id = with_attempt(&template.id, attempt);
    TaskId::new(&id).expect("an id that was checked, with few letters more")
}

/// A task id is never used twice, not even for a task that never ran (TK-102).
fn with_attempt(id: &str, attempt: u32) -> String {
    match attempt {
        1 => id.to_owned(),
        _ => format!("{id}.{attempt}"),
    }
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
    use tepui_core::ids::{FrameworkId, OfferId};
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

    fn group() -> Plan {
        let template = |name: &str| Template {
            id: format!("run-1-{name}"),
            name: name.into(),
            ..plan("cpus:1", 1).instances.remove(0).template
        };
        let common = Common {
            id: "run-1".into(),
            resources: Resources::parse("cpus:0.5").unwrap(),
            container: None,
        };
        let wanted = Resources::parse("cpus:2.5").unwrap();
        Plan::group(vec![template("a"), template("b")], common, wanted)
    }

    /// Puts a group on an offer, and returns the ids of its executor and tasks.
    fn launched(plan: &mut Plan) -> Vec<String> {
        let tasks = plan.consider(&offer("cpus:2.5"));
        let Operation::LaunchGroup(group) = plan.operation(tasks) else {
            panic!("tasks of a group are launched together");
        };
        let tasks = group.tasks.iter().map(|task| task.id.to_string());
        [group.executor.id.to_string()]
            .into_iter()
            .chain(tasks)
            .collect()
    }

    // TK-15: all of a group or none of it
    #[test]
    fn a_group_waits_until_all_of_it_fits() {
        let mut plan = group();
        assert!(plan.consider(&offer("cpus:2.499")).is_empty());
        let largest = plan.largest_too_small().map(ToString::to_string);
        assert_eq!(largest.as_deref(), Some("cpus:2.499"));
        assert_eq!(launched(&mut plan), ["run-1", "run-1-a", "run-1-b"]);
        assert!(!plan.is_waiting());
        let [a, other] = ["run-1-a", "run-1"].map(|id| TaskId::new(id).unwrap());
        assert_eq!((plan.label(&a), plan.label(&other)), (Some("a"), None));
        assert_eq!(plan.resources(&a).to_string(), "cpus:1");
        assert!(plan.has_labels());
    }

    // TK-91: the one that failed is why the others were killed.
    #[test]
    fn of_a_group_the_one_that_ended_first_decides() {
        let mut plan = group();
        launched(&mut plan);
        for (task, state, exit, at) in [
            ("run-1-a", TaskState::Killed, status::Exit::Signal(15), 9),
            ("run-1-b", TaskState::Failed, status::Exit::Code(7), 8),
        ] {
            assert_eq!(plan.outcome(), None);
            let mut status = status(task, state, Some(exit));
            status.at = Time::from_micros(at);
            plan.update(&status);
        }
        assert_eq!(plan.outcome().map(Exit::code), Some(7));
    }

    // TK-51, TK-102
    #[test]
    fn a_group_is_launched_again_when_none_of_it_has_run() {
        let mut plan = group();
        launched(&mut plan);
        let dropped = |task| status(task, TaskState::Dropped, None);
        assert_eq!(plan.update(&dropped("run-1-a")), News::Ended);
        assert!(!plan.is_waiting());
        assert_eq!(plan.outcome(), None);
        assert_eq!(plan.update(&dropped("run-1-b")), News::Again);
        assert_eq!(launched(&mut plan), ["run-1.2", "run-1-a.2", "run-1-b.2"]);
        // What has run is not run again.
        assert_eq!(plan.update(&dropped("run-1-a.2")), News::Ended);
        let code = Some(status::Exit::Code(0));
        plan.update(&status("run-1-b.2", TaskState::Finished, code));
        assert!(!plan.is_waiting());
        assert_eq!(plan.outcome(), Some(Exit::OwnFailure));
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
