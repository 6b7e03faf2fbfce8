//! What a master costs in one process: launches, the return of a whole cluster, views, memory.
//!
//! Called by `benches/master.rs`. Deliberately not here: bytes, connections, and disks.

mod stage;

use std::time::Duration;

use tepui_core::auth::PeerRole;
use tepui_core::ids::{AgentId, FrameworkId, MasterId, TaskId};
use tepui_core::machine::Durable;
use tepui_core::protocol::agent::{TaskReport, ToMaster};
use tepui_core::protocol::framework::FrameworkInfo;
use tepui_core::protocol::status::TaskState;
use tepui_core::protocol::task::TaskInfo;
use tepui_core::registry::{Registry, RegistryOp};
use tepui_core::roles::Role;
use tepui_core::time::Time;

use self::stage::{Stage, agent_info, agent_name, agent_peer, needs, on_processor};
use crate::memory;
use crate::table::median;

/// How many news are counted together.
const NEWS: u64 = 1_000;
/// How long a framework may stay away.
const FAILOVER: Duration = Duration::from_secs(3_600);

/// Runs `tasks` tasks through the complete cycle: offered, accepted, launched, running, finished,
/// and both acknowledged; `per_offer` of them in each accept. Returns how long the master was at
/// work, on the processor.
pub fn launches(agents: u64, frameworks: u64, tasks: usize, per_offer: usize) -> Duration {
    launch(agents, frameworks, tasks, per_offer, |_| {}).spent
}

/// The same while an operator follows all of it by events. Returns how many those were as well.
pub fn watched_launches(
    agents: u64,
    frameworks: u64,
    tasks: usize,
    per_offer: usize,
) -> (Duration, usize) {
    let stage = launch(agents, frameworks, tasks, per_offer, Stage::watch);
    let events = stage.events;
    // Each task is there, runs, and ends.
    assert!(events >= 3 * tasks, "{events} events were told");
    (stage.spent, events)
}

fn launch(
    agents: u64,
    frameworks: u64,
    tasks: usize,
    per_offer: usize,
    begin: impl FnOnce(&mut Stage),
) -> Stage {
    let mut stage = Stage::recover(1, Registry::default(), agents);
    stage.register_agents();
    stage.run(|_| false);
    stage.per_offer = per_offer;
    stage.to_launch = tasks;
    begin(&mut stage);
    stage.subscribe((0..frameworks).map(|n| info(None, n)));
    stage.spent = Duration::ZERO;
    stage.run(|stage| stage.finished == tasks);
    assert_eq!(stage.finished, tasks, "all tasks end");
    stage
}

/// Runs `tasks` tasks through the same, one after the other, in a cluster where nothing else
/// happens: frameworks hold all that there is, and use one offer at a time.
pub fn single_launches(agents: u64, frameworks: u64, tasks: usize) -> Duration {
    let mut stage = Stage::recover(1, Registry::default(), agents);
    stage.register_agents();
    stage.run(|_| false);
    stage.holds = true;
    stage.subscribe((0..frameworks).map(|n| info(None, n)));
    stage.run(|_| false);
    stage.spent = Duration::ZERO;
    for finished in 1..=tasks {
        stage.use_one();
        stage.run(|stage| stage.finished == finished);
        assert_eq!(stage.finished, finished, "the task ends");
    }
    stage.spent
}

fn info(id: Option<FrameworkId>, n: u64) -> FrameworkInfo {
    FrameworkInfo {
        id,
        failover_timeout: FAILOVER,
        ..FrameworkInfo::new(format!("framework-{n}"))
    }
}

/// What the return of a whole cluster to a new master took, on the processor.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    /// To make messages of their bytes.
    pub decoding: Duration,
    /// The master itself, recovery from its registry and the frameworks' return included.
    pub master: Duration,
    /// What everything that is remembered takes, in MiB, if the benchmark counts its memory.
    pub grown: f64,
}

/// A cluster whose master was lost: all agents come back with their tasks, then all frameworks.
#[derive(Debug)]
pub struct Cluster {
    registry: Registry,
    messages: Vec<Vec<u8>>,
    agents: u64,
    frameworks: u64,
    tasks: usize,
}

impl Cluster {
    /// Makes up what a master and its agents knew when the master was lost.
    pub fn new(agents: u64, frameworks: u64, tasks_each: u64) -> Self {
        Self::with_history(agents, frameworks, tasks_each, 0)
    }

    /// The same, where each agent also tells of tasks that have ended, which nobody has
    /// acknowledged: what is acknowledged it does not tell of.
    pub fn with_history(agents: u64, frameworks: u64, tasks_each: u64, ended_each: u64) -> Self {
        let master = MasterId::of("bench", 1).expect("it is short");
        // As the master of before told its agents: it notes by whom a framework was vouched for.
        let owners: Vec<FrameworkInfo> = (0..frameworks)
            .map(|n| FrameworkInfo {
                principal: Some(format!("f{n}")),
                ..info(Some(FrameworkId::numbered(&master, n)), n)
            })
            .collect();
        let mut registry = Registry::default();
        let at = Time::from_micros(1_000_000);
        registry.apply(&RegistryOp::Lead { epoch: 1, at });
        let mut messages = Vec::new();
        for n in 0..agents {
            let id = AgentId::numbered(&master, n);
            registry.apply(&RegistryOp::Admit {
                id: id.clone(),
                name: agent_name(n),
                info: agent_info(n).into(),
            });
            let mut theirs = Vec::new();
            let all_each = tasks_each + ended_each;
            let tasks = (0..all_each).map(|task| {
                let number = n * all_each + task;
                let state = if task < tasks_each {
                    TaskState::Running
                } else {
                    TaskState::Finished
                };
                let place = usize::try_from(number % frameworks).expect("they are few");
                let owner = &owners[place];
                if !theirs.contains(owner) {
                    theirs.push(owner.clone());
                }
                let name = TaskId::new(&format!("t{number}")).expect("it is short");
                let task = TaskInfo::new(name, id.clone(), needs());
                let framework = owner.id.clone().expect("it has one");
                TaskReport::new(framework, Role::any(), &task, state)
            });
            let tasks = tasks.collect();
            let message = ToMaster::Reregister {
                id: id.clone(),
                agent: agent_info(n),
                frameworks: theirs,
                tasks,
            };
            messages.push(postcard::to_allocvec(&message).expect("memory is no file"));
        }
        let tasks = usize::try_from(agents * tasks_each).expect("they fit memory");
        Self {
            registry,
            messages,
            agents,
            frameworks,
            tasks,
        }
    }

    /// Has everybody come back.
    fn come_back(&self) -> anyhow::Result<(Stage, Return)> {
        let before = memory::live();
        let mut stage = Stage::recover(2, self.registry.clone(), self.agents);
        let mut decoding = Duration::ZERO;
        for (n, bytes) in (0..).zip(&self.messages) {
            let begun = on_processor();
            let message: ToMaster = postcard::from_bytes(bytes)?;
            decoding += on_processor() - begun;
            stage.connect(agent_peer(n), PeerRole::Agent, agent_name(n));
            stage.agent_says(agent_peer(n), message);
            if n % 100 == 99 {
                stage.run_once();
            }
        }
        let master = MasterId::of("bench", 1)?;
        let id = |n| Some(FrameworkId::numbered(&master, n));
        stage.subscribe((0..self.frameworks).map(|n| info(id(n), n)));
        // What frameworks do with their offers is another matter.
        stage.run(|stage| stage.offered > 0);
        let there = stage.master.view().summary();
        anyhow::ensure!(there.tasks == self.tasks, "{} tasks are back", there.tasks);
        anyhow::ensure!(stage.offered > 0, "no offer came");
        let grown = memory::live().saturating_sub(before) as f64 / 1_048_576.0;
        let back = Return {
            decoding,
            master: stage.spent,
            grown,
        };
        Ok((stage, back))
    }

    /// Measures the return of everybody.
    pub fn measure_return(&self) -> anyhow::Result<Return> {
        Ok(self.come_back()?.1)
    }

    /// Measures how long a view holds up the master, and what the next writes cost beside one that
    /// somebody keeps.
    pub fn measure_views(&self, rounds: usize) -> anyhow::Result<Views> {
        let (mut stage, _) = self.come_back()?;
        let mut taken = Vec::new();
        let mut alone = Vec::new();
        let mut beside = Vec::new();
        for _ in 0..rounds {
            alone.push(self.news(&mut stage)?);
            let begun = on_processor();
            let view = stage.master.view();
            taken.push(on_processor() - begun);
            beside.push(self.news(&mut stage)?);
            drop(view);
        }
        Ok(Views {
            taken: median(&mut taken),
            alone: median(&mut alone),
            beside: median(&mut beside),
        })
    }

    /// Has tasks all over the cluster say once more that they run.
    fn news(&self, stage: &mut Stage) -> anyhow::Result<Duration> {
        let master = MasterId::of("bench", 1)?;
        let each = u64::try_from(self.tasks)? / self.agents;
        let stride = (self.agents / NEWS).max(1);
        let tasks = (0..self.agents).step_by(usize::try_from(stride)?);
        for (agent, number) in tasks.map(|agent| (agent, agent * each)) {
            let framework = FrameworkId::numbered(&master, number % self.frameworks);
            let task = TaskId::new(&format!("t{number}"))?;
            stage.news(agent_peer(agent), framework, task, TaskState::Running);
        }
        let before = stage.spent;
        stage.run_once();
        Ok(stage.spent - before)
    }
}

/// Measures a single accept with one task, on a cluster that is there, by the clock.
pub fn measure_accepts(agents: u64, frameworks: u64, count: usize) -> Vec<Duration> {
    let mut stage = Stage::recover(1, Registry::default(), agents);
    stage.register_agents();
    stage.run(|_| false);
    stage.to_launch = count;
    stage.keeps_accepts = true;
    stage.subscribe((0..frameworks).map(|n| info(None, n)));
    stage.run(|stage| stage.finished == count);
    assert_eq!(stage.finished, count, "all tasks end");
    stage.accepts
}

/// What views cost, on the processor.
#[derive(Clone, Copy, Debug)]
pub struct Views {
    /// One of them.
    pub taken: Duration,
    /// A thousand news of tasks without one.
    pub alone: Duration,
    /// The same just after one was taken that somebody keeps.
    pub beside: Duration,
}
