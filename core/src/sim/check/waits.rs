//! No task waits for ever at an agent: it does not stay in staging (I15), one that was to be ended
//! ends (I14), and so do all when the agent is drained, in the time that the drain gives (TK-124),
//! within a bound.
//!
//! The time counts while the agent is up and its disk goes on. Staging begins anew when the task's
//! container runs: that takes its own time. What a drain gives counts from when it is told, or
//! their containers run; how the master ends one is looked at apart ([`super::drains`]). What is
//! unknown to the agent is another's matter ([`super::answers`]), as are kills that were lost on
//! their way.

use alloc::collections::BTreeMap;
use alloc::format;
use core::time::Duration;

use super::Broken;
use crate::agent::TaskSummary;
use crate::ids::{ContainerId, FrameworkId, TaskId};
use crate::protocol::agent::ToAgent;
use crate::protocol::status::TaskState;
use crate::sim::property::Property;
use crate::time::Time;

/// So often an executor is given its time: once until it must have subscribed, and twice until it
/// must have said something of the task.
const TIMES: u32 = 3;
/// Then a container has to end. Containers take seconds to start.
const SLACK: Duration = Duration::from_secs(60);
/// What is left for all else than the grace of who was asked, and that of its executor which does
/// not listen; beside the time until that has subscribed, at first or again. A container may have
/// to start first.
const KILLED: Duration = Duration::from_secs(52);

/// How long a container that runs takes to end once its time is over, with a disk in between.
const DRAINED: Duration = Duration::from_secs(30);

/// A drain that an agent was told of.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// Which one, by the clock of masters.
    since: Time,
    told: Time,
    most: Option<Duration>,
    /// Whether it was told since the agent has joined.
    goes_on: bool,
}

/// Since when a task is in staging.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Time,
    /// Whether its container runs.
    runs: bool,
}

impl Wait {
    /// Looks at a task again, or for the first time.
    fn seen(before: Option<&Self>, now: Time, runs: bool) -> Self {
        let goes_on = before.filter(|before| before.runs == runs);
        let since = goes_on.map_or(now, |before| before.since);
        Self { since, runs }
    }
}

type Tasks<W> = BTreeMap<(FrameworkId, TaskId), W>;

/// For how long an agent has let tasks wait.
#[derive(Debug)]
pub(in crate::sim) struct Waits {
    /// How long an executor may take to subscribe, at first or again.
    patience: Duration,
    /// How long a container takes to be given up: until it must have started, and until its end
    /// must be known.
    launch: Duration,
    /// How long who was to end is given.
    killed_in: Duration,
    staging: Tasks<Wait>,
    /// Since when each was to end.
    killed: Tasks<Time>,
    drain: Option<Drain>,
    /// Since when each is there while the agent is drained.
    drained: Tasks<Wait>,
    /// Nothing is held against it before that.
    from: Time,
}

impl Waits {
    /// Begins with how long executors may take to subscribe, containers to start, and both to end.
    pub(in crate::sim) fn new(patience: Duration, launch: Duration, grace: Duration) -> Self {
        Self {
            patience,
            launch: launch * 2,
            killed_in: grace + KILLED,
            staging: Tasks::new(),
            killed: Tasks::new(),
            drain: None,
            drained: Tasks::new(),
            from: Time::ZERO,
        }
    }

    /// The agent can do nothing before `until`.
    pub(in crate::sim) fn excuse(&mut self, until: Time) {
        self.from = self.from.max(until);
    }

    /// The agent begins another life, in which it has not heard of a drain.
    pub(in crate::sim) fn begin(&mut self, now: Time) {
        self.excuse(now);
        self.drain = None;
    }

    /// The agent is about to hear a master.
    pub(in crate::sim) fn hears(&mut self, now: Time, message: &ToAgent) {
        if let ToAgent::KillTask {
            framework, task, ..
        } = message
        {
            let task = (framework.clone(), task.clone());
            self.killed.entry(task).or_insert(now);
        } else if let ToAgent::Drain { max_grace, since } = message {
            let before = self.drain.filter(|before| before.since == *since);
            // Said again, it only gets shorter; what ends tasks later is not looked at.
            let is_same = before.is_some_and(|before| before.most == *max_grace);
            let told = before.filter(|_| is_same).map_or(now, |before| before.told);
            self.drain = Some(Drain {
                since: *since,
                told,
                most: *max_grace,
                goes_on: true,
            });
        } else if let ToAgent::Undrain = message {
            self.drain = None;
        } else if let ToAgent::Registered { .. } | ToAgent::Reregistered { .. } = message
            && let Some(drain) = &mut self.drain
        {
            drain.goes_on = false;
        }
    }

    /// Checks what the agent, which has these tasks, has not done by now; `runs` says of which
    /// containers the program runs.
    pub(in crate::sim) fn check<'a>(
        &mut self,
        now: Time,
        tasks: impl Iterator<Item = TaskSummary<'a>>,
        runs: impl Fn(&ContainerId) -> bool,
    ) -> Result<(), Broken> {
        let before = core::mem::take(&mut self.staging);
        let killed = core::mem::take(&mut self.killed);
        let drained = core::mem::take(&mut self.drained);
        let drain = self.drain.filter(|drain| drain.goes_on);
        for task in tasks.filter(|task| !task.state.is_terminal()) {
            let key = (task.framework.clone(), task.task.id.clone());
            let runs = task.container.as_ref().is_some_and(&runs);
            if task.state == TaskState::Staging {
                let wait = Wait::seen(before.get(&key), now, runs);
                let bound = if runs {
                    self.patience * TIMES
                } else {
                    self.launch + self.patience
                };
                if let Some(late) = self.late(now, wait.since, bound + SLACK) {
                    let problem = format!("{} is in staging for {late:?}", key.1);
                    return Err((Property::Staging, problem));
                }
                self.staging.insert(key.clone(), wait);
            }
            if let Some(drain) = drain {
                let wait = Wait::seen(drained.get(&key), now, runs);
                let since = wait.since.max(drain.told);
                let bound = match drain.most.filter(|_| runs) {
                    Some(most) => most + DRAINED,
                    None => self.launch + self.patience + KILLED,
                };
                if let Some(late) = self.late(now, since, bound) {
                    let (id, state) = (&key.1, task.state);
                    let problem = format!("the agent is drained for {late:?}, and {id} is {state}");
                    return Err((Property::Drains, problem));
                }
                self.drained.insert(key.clone(), wait);
            }
            if let Some(wait) = killed.get(&key) {
                // A kill that was lost is said again once the agent is back, and that waits for all
                // containers to be heard of.
                if let Some(late) =
                    self.late(now, *wait, self.launch + self.patience + self.killed_in)
                {
                    let problem =
                        format!("{} was to end {late:?} ago, and is {}", key.1, task.state);
                    return Err((Property::Kills, problem));
                }
                self.killed.insert(key, *wait);
            }
        }
        Ok(())
    }

    /// Says for how long something waits, if that is too long.
    fn late(&self, now: Time, since: Time, bound: Duration) -> Option<Duration> {
        let since = since.max(self.from).min(now);
        Some(now.since(since)).filter(|waited| *waited > bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AgentId;
    use crate::protocol::task::TaskInfo;
    use crate::resources::Resources;

    struct Scene {
        waits: Waits,
        framework: FrameworkId,
        task: TaskInfo,
    }

    impl Scene {
        fn new() -> Self {
            let agent = AgentId::new("m-S1").unwrap();
            Self {
                waits: Waits::new(MOMENT * 60, LAUNCH, MOMENT * 8),
                framework: FrameworkId::new("m-0000").unwrap(),
                task: TaskInfo::new(TaskId::new("t").unwrap(), agent, Resources::new()),
            }
        }

        fn kill(&mut self, at: Duration) {
            let (framework, task) = (self.framework.clone(), self.task.id.clone());
            let grace = None;
            let kill = ToAgent::KillTask {
                framework,
                task,
                grace,
            };
            self.waits.hears(Time::ZERO + at, &kill);
        }

        fn check(&mut self, at: Duration, state: TaskState) -> Result<(), Property> {
            self.look(at, state, true)
        }

        fn look(&mut self, at: Duration, state: TaskState, runs: bool) -> Result<(), Property> {
            let task = TaskSummary {
                framework: &self.framework,
                task: &self.task,
                state,
                container: Some(ContainerId::new("c1").unwrap()),
                unacknowledged: 0,
            };
            let tasks = [task].into_iter();
            let checked = self.waits.check(Time::ZERO + at, tasks, |_| runs);
            checked.map_err(|(property, _)| property)
        }
    }

    const MOMENT: Duration = Duration::from_secs(1);
    const STAGING: Duration = Duration::from_secs(240);
    const LAUNCH: Duration = Duration::from_secs(600);

    // I15
    #[test]
    fn a_task_that_stays_in_staging_is_found() {
        use TaskState::{Running, Staging};
        let mut scene = Scene::new();
        assert_eq!(scene.check(MOMENT, Staging), Ok(()));
        assert_eq!(scene.check(STAGING, Staging), Ok(()));
        scene.waits.excuse(Time::ZERO + STAGING);
        let late = STAGING + MOMENT * 2;
        assert_eq!(scene.check(late, Staging), Ok(()), "it could not do better");
        assert_eq!(scene.check(late + STAGING, Staging), Err(Property::Staging));

        let mut scene = Scene::new();
        assert_eq!(scene.check(MOMENT, Staging), Ok(()));
        assert_eq!(scene.check(late, Running), Ok(()));
    }

    // I15, AG-34
    #[test]
    fn a_container_takes_its_own_time_to_start() {
        use TaskState::Staging;
        let mut scene = Scene::new();
        assert_eq!(scene.look(MOMENT, Staging, false), Ok(()));
        let starts = LAUNCH * 2;
        assert_eq!(scene.look(starts, Staging, false), Ok(()));
        assert_eq!(scene.look(starts, Staging, true), Ok(()));
        assert_eq!(scene.look(starts + STAGING, Staging, true), Ok(()));
        let late = starts + STAGING + MOMENT;
        assert_eq!(scene.look(late, Staging, true), Err(Property::Staging));

        let mut scene = Scene::new();
        assert_eq!(scene.look(MOMENT, Staging, false), Ok(()));
        let late = LAUNCH * 2 + STAGING;
        assert_eq!(scene.look(late, Staging, false), Err(Property::Staging));
    }

    // TK-124
    #[test]
    fn a_task_that_outlasts_a_drain_is_found() {
        use TaskState::{Killed, Running};
        let drain = |most: u64, since| ToAgent::Drain {
            max_grace: (most > 0).then(|| MOMENT * most as u32),
            since: Time::ZERO + MOMENT * since,
        };
        let begin = |most| {
            let mut scene = Scene::new();
            scene.waits.hears(Time::ZERO, &drain(most, 1));
            assert_eq!(scene.check(Duration::ZERO, Running), Ok(()));
            scene
        };
        let (in_time, late) = (MOMENT * 9 + DRAINED, MOMENT * 10 + DRAINED);
        let mut scene = begin(9);
        assert_eq!(scene.check(in_time, Running), Ok(()));
        assert_eq!(scene.check(late, Running), Err(Property::Drains));
        assert_eq!(begin(9).check(late, Killed), Ok(()));
        assert_eq!(begin(9).look(late, Running, false), Ok(()), "it starts");
        assert_eq!(begin(0).check(late, Running), Ok(()), "its own time");
        let long = LAUNCH * 2 + MOMENT * 60 + KILLED + MOMENT;
        assert_eq!(begin(0).check(long, Running), Err(Property::Drains));
        // Another one counts anew, and one that was called off not at all.
        let mut scene = begin(9);
        scene.waits.hears(Time::ZERO + in_time, &drain(9, 2));
        assert_eq!(scene.check(late, Running), Ok(()));
        let mut scene = begin(9);
        scene.waits.hears(Time::ZERO + MOMENT, &drain(9, 1));
        assert_eq!(scene.check(late, Running), Err(Property::Drains), "again");
        let mut scene = begin(9);
        scene.waits.hears(Time::ZERO + MOMENT, &ToAgent::Undrain);
        assert_eq!(scene.check(late, Running), Ok(()));
        let mut scene = begin(9);
        scene.waits.begin(Time::ZERO + MOMENT);
        assert_eq!(scene.check(late, Running), Ok(()), "it has to be told");
    }

    // I14
    #[test]
    fn a_task_that_does_not_end_is_found() {
        use TaskState::{Killed, Running};
        // What is left, with the graces of both.
        const MINUTE: Duration = Duration::from_secs(60);
        let mut scene = Scene::new();
        let before = MINUTE * 8;
        assert_eq!(scene.check(before, Running), Ok(()), "nobody wants that");
        scene.kill(before);
        scene.kill(before + MOMENT);
        assert_eq!(scene.check(MINUTE * 10, Running), Ok(()));
        let in_time = MINUTE * 10 + LAUNCH * 2;
        assert_eq!(scene.check(in_time, Running), Ok(()));
        let late = in_time + MOMENT;
        assert_eq!(scene.check(late, Running), Err(Property::Kills));

        let mut scene = Scene::new();
        scene.kill(MOMENT);
        assert_eq!(scene.check(late, Killed), Ok(()));
    }
}
