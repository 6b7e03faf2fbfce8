//! What still runs: executors without tasks, and what is left of frameworks that are over.

use alloc::format;

use super::*;
use crate::protocol::agent::ExecutorReport;
use crate::protocol::node::{DrainConfig, Standing};
use crate::protocol::task::ExecutorInfo;

/// One agent on which a framework has an executor `e` of one core, with a task `a` of another.
struct Working {
    world: World,
    peer: PeerId,
    agent: AgentId,
    web: PeerId,
    owner: FrameworkId,
}

fn executor() -> ExecutorInfo {
    let id = ExecutorId::new("e").unwrap();
    ExecutorInfo::new(id, resources("cpus:1"), CommandInfo::shell("serve"))
}

pub(super) fn by_executor(id: &str, agent: &AgentId) -> TaskInfo {
    TaskInfo {
        command: None,
        executor: Some(executor()),
        ..task(id, agent, "cpus:1")
    }
}

fn working() -> Working {
    let mut world = World::new();
    let (peer, agent) = world.agent("one", "cpus:4");
    let (web, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![by_executor("a", &agent)]);
    Working {
        world,
        peer,
        agent,
        web,
        owner,
    }
}

impl Working {
    fn in_use(&self) -> Resources {
        self.world.master.view().agents()[0].allocated.clone()
    }

    /// The agent says how a task ended, and its framework confirms it.
    fn end(&mut self, task: &str) {
        let done = news(task, TaskState::Finished, &self.agent, 1);
        let latest = TaskState::Finished;
        self.world.update(self.peer, &self.owner, done, latest);
        let confirmed = Call::Acknowledge {
            agent: self.agent.clone(),
            task: task_id(task),
            update: UpdateId(1),
        };
        self.world.call(self.web, confirmed);
    }

    fn executor_ends(&mut self) {
        self.world.executor_ended(self.peer, &self.owner);
    }

    fn report(&self) -> ExecutorReport {
        ExecutorReport {
            framework: self.owner.clone(),
            role: Role::any(),
            executor: executor(),
        }
    }

    /// The agent comes back over another connection, and has these executors and no task.
    fn come_back(&mut self, executors: Vec<ExecutorReport>) -> Vec<Out> {
        self.world.lose(self.peer);
        self.return_to_master(executors)
    }

    fn return_to_master(&mut self, executors: Vec<ExecutorReport>) -> Vec<Out> {
        self.peer = self.world.connect(PeerRole::Agent, "one");
        let executors = ToMaster::Executors(executors);
        assert_eq!(self.world.agent_says(self.peer, executors), []);
        let info = known_as(self.owner.clone(), "web");
        let account = reregister(self.agent.clone(), "cpus:4", vec![info], vec![]);
        self.world.agent_says(self.peer, account)
    }

    fn teardown(&mut self) -> Vec<Out> {
        self.world.call(self.web, Call::Teardown)
    }
}

#[test]
fn an_executor_uses_what_it_has_until_its_agent_says_that_it_has_ended() {
    // OF-18, SM-28, TK-73
    let mut w = working();
    assert_eq!(w.in_use(), resources("cpus:2"));
    w.end("a");
    assert_eq!(w.in_use(), resources("cpus:1"));
    // It can be used on, and costs nothing more.
    let offered = w.world.offers_within(Duration::from_secs(6));
    assert!(
        offered
            .iter()
            .all(|(_, it)| it.executors == [executor().id])
    );
    let free = resources("cpus:3");
    assert!(
        offered.iter().any(|(_, it)| it.resources == free),
        "{offered:?}"
    );
    let last = w.world.master.view().offers();
    let all: Vec<OfferId> = last.iter().map(|offer| offer.id.clone()).collect();
    let outs = w
        .world
        .call(w.web, launch(&all, vec![by_executor("b", &w.agent)]));
    let ran = matches!(
        &outs[0],
        Output::Effect(Effect::Agent {
            message: ToAgent::RunTask {
                starts_executor: false,
                ..
            },
            ..
        })
    );
    assert!(ran, "{outs:?}");
    w.end("b");
    w.executor_ends();
    assert_eq!(w.in_use(), Resources::new());
    // Said twice, it is the same.
    w.executor_ends();
    assert_eq!(w.in_use(), Resources::new());
}

#[test]
fn a_drain_waits_for_executors() {
    // TK-125, SM-42
    let mut w = working();
    let ann = w.world.connect(PeerRole::Operator, "ann");
    let (agent, config) = (w.agent.clone(), DrainConfig::default());
    w.world.order(ann, operator::Call::Drain { agent, config });
    w.end("a");
    let standing = |w: &Working| w.world.master.view().agents()[0].standing;
    assert_eq!(standing(&w), Standing::Draining(config));
    w.executor_ends();
    assert_eq!(standing(&w), Standing::Drained);
}

#[test]
fn a_returning_agent_says_which_executors_it_has() {
    // PR-02
    let mut w = working();
    w.end("a");
    let reports = vec![w.report()];
    w.come_back(reports.clone());
    assert_eq!(w.in_use(), resources("cpus:1"));
    w.come_back(vec![]);
    assert_eq!(w.in_use(), Resources::new());
    w.come_back(reports.clone());
    assert_eq!(w.in_use(), resources("cpus:1"));
    // So the next leadership knows of it.
    let registry = w.world.master.registry().clone();
    w.world = World::recovered(2, registry);
    w.world.drain();
    w.return_to_master(reports);
    assert_eq!(w.in_use(), resources("cpus:1"));
    // With an agent that is out of reach it is not in use, and it is again when that returns.
    w.world.lose(w.peer);
    w.world.pass(Duration::from_secs(700));
    assert_eq!(w.in_use(), Resources::new());
}

#[test]
fn an_executor_that_was_just_ordered_may_not_be_reported_yet() {
    // PR-03
    let mut w = working();
    let account = reregister(w.agent.clone(), "cpus:4", vec![], vec![]);
    w.world.agent_says(w.peer, account);
    assert_eq!(w.in_use(), resources("cpus:2"));
}

#[test]
fn what_runs_of_a_framework_that_is_over_is_in_use_until_it_is_over_too() {
    // SM-07, FW-31, TK-49, TK-125
    let mut w = working();
    let ann = w.world.connect(PeerRole::Operator, "ann");
    let told = to_agent(w.peer, ToAgent::ShutdownFramework(w.owner.clone()));
    let outs = w.teardown();
    assert!(outs.contains(&told), "{outs:?}");
    assert_eq!(w.in_use(), resources("cpus:2"));
    let (agent, config) = (w.agent.clone(), DrainConfig::default());
    w.world.order(ann, operator::Call::Drain { agent, config });
    let left = w.world.master.view().live_tasks();
    assert_eq!(left[0].status.state, TaskState::Killing);
    w.world.is_over(w.peer, &w.owner, "a");
    assert_eq!(w.in_use(), resources("cpus:1"));
    assert_eq!(w.world.master.view().live_tasks(), []);
    let standing = w.world.master.view().agents()[0].standing;
    assert_eq!(standing, Standing::Draining(config));
    w.executor_ends();
    assert_eq!(w.in_use(), Resources::new());
    let standing = w.world.master.view().agents()[0].standing;
    assert_eq!(standing, Standing::Drained);
}

#[test]
fn what_an_agent_does_not_report_of_a_framework_that_is_over_is_asked_for() {
    // SM-07, PR-03
    let mut w = working();
    w.teardown();
    let reports = vec![w.report()];
    let outs = w.come_back(reports);
    let asked = ToAgent::Missing(vec![(w.owner.clone(), task_id("a"))]);
    assert!(outs.contains(&to_agent(w.peer, asked)), "{outs:?}");
    assert_eq!(w.in_use(), resources("cpus:2"));
    w.world.is_over(w.peer, &w.owner, "a");
    w.come_back(vec![]);
    assert_eq!(w.in_use(), Resources::new());
}

#[test]
fn what_is_left_of_a_framework_goes_with_its_agent() {
    // SM-07, SM-14, TK-128
    let mut w = working();
    w.teardown();
    w.world.lose(w.peer);
    w.world.pass(Duration::from_secs(700));
    assert_eq!(w.in_use(), Resources::new());
    assert_eq!(w.world.master.view().live_tasks(), []);
    let mut w = working();
    w.teardown();
    let ann = w.world.connect(PeerRole::Operator, "ann");
    let agent = w.agent.clone();
    w.world.order(ann, operator::Call::MarkGone { agent });
    assert_eq!(w.world.master.view().live_tasks(), []);
}

#[test]
fn what_is_left_of_a_framework_is_in_use_however_many_end_after_it() {
    // I22, TK-101
    let mut w = working();
    w.teardown();
    let end = |w: &mut Working, principal: &str| {
        let (peer, _) = w.world.framework(principal);
        w.world.call(peer, Call::Teardown);
    };
    let is_known = |w: &Working| w.world.master.frameworks.find(&w.owner).is_some();
    // Many of one principal, then many of many.
    for _ in 0..=limits::COMPLETED_FRAMEWORKS {
        end(&mut w, "web");
    }
    for n in 0..=limits::COMPLETED_FRAMEWORKS {
        end(&mut w, &format!("p{n}"));
    }
    assert_eq!(w.in_use(), resources("cpus:2"));
    w.world.is_over(w.peer, &w.owner, "a");
    assert!(is_known(&w), "its executor runs");
    w.executor_ends();
    assert_eq!(w.in_use(), Resources::new());
    // From now on it is one of the last that ended, and forgotten in its turn.
    assert!(is_known(&w));
    for n in 0..limits::COMPLETED_FRAMEWORKS {
        assert!(is_known(&w), "{n}");
        end(&mut w, &format!("q{n}"));
    }
    assert!(!is_known(&w));
}

impl Working {
    /// The agent comes back, and has never heard that the framework is over.
    fn return_with_all(&mut self) -> Vec<Out> {
        let frameworks = vec![known_as(self.owner.clone(), "web")];
        self.return_with_task(frameworks)
    }

    fn return_with_task(&mut self, frameworks: Vec<FrameworkInfo>) -> Vec<Out> {
        self.peer = self.world.connect(PeerRole::Agent, "one");
        let executors = ToMaster::Executors(vec![self.report()]);
        self.world.agent_says(self.peer, executors);
        let task = by_executor("a", &self.agent);
        let account = reregister(
            self.agent.clone(),
            "cpus:4",
            frameworks,
            vec![report(&self.owner, task, TaskState::Running)],
        );
        self.world.agent_says(self.peer, account)
    }

    /// The agent ends what it has of the framework.
    fn ends_all(&mut self) {
        assert_eq!(self.in_use(), resources("cpus:2"));
        let left = self.world.master.view().live_tasks();
        assert_eq!(left[0].status.state, TaskState::Killing);
        self.world.is_over(self.peer, &self.owner, "a");
        assert_eq!(self.in_use(), resources("cpus:1"));
        self.executor_ends();
        assert_eq!(self.in_use(), Resources::new());
        assert_eq!(self.world.master.view().live_tasks(), []);
    }
}

#[test]
fn what_an_agent_still_runs_of_a_framework_that_ended_meanwhile_is_in_use() {
    // SM-08, SM-16, TK-49, PR-02: it was out of reach, and its tasks were taken for over
    let mut w = working();
    w.world.lose(w.peer);
    w.world.pass(Duration::from_secs(700));
    w.teardown();
    let told = |w: &Working| to_agent(w.peer, ToAgent::ShutdownFramework(w.owner.clone()));
    let outs = w.return_with_all();
    assert!(outs.contains(&told(&w)), "{outs:?}");
    w.ends_all();
    // It was ended first, and then out of reach: what it may have had is over, and is not.
    let mut w = working();
    w.teardown();
    w.world.lose(w.peer);
    w.world.pass(Duration::from_secs(700));
    assert_eq!(w.in_use(), Resources::new());
    w.return_with_all();
    w.ends_all();
    // Ended under an earlier leadership, also if the agent comes back twice.
    let mut w = working();
    w.world.lose(w.peer);
    w.teardown();
    w.world = World::recovered(2, w.world.master.registry().clone());
    w.world.drain();
    let outs = w.return_with_all();
    assert!(outs.contains(&told(&w)), "{outs:?}");
    assert_eq!(w.world.free(), resources("cpus:2"));
    w.world.lose(w.peer);
    w.return_with_all();
    w.ends_all();
    assert_eq!(w.world.free(), resources("cpus:4"));
}

#[test]
fn what_an_agent_has_yet_to_end_is_in_use_under_the_next_leadership() {
    // SM-08, PR-02: the agent has heard that the framework is over, and says nothing of it itself
    let mut w = working();
    w.teardown();
    w.world = World::recovered(2, w.world.master.registry().clone());
    w.world.drain();
    w.return_with_task(vec![]);
    assert_eq!(w.world.free(), resources("cpus:2"));
    w.ends_all();
    assert_eq!(w.world.free(), resources("cpus:4"));
}

#[test]
fn an_executor_whose_framework_ended_under_an_earlier_leadership_is_in_use_until_it_ends() {
    // SM-08, PR-02: the agent has heard of the end, and its tasks are over
    let mut w = working();
    w.teardown();
    w.world = World::recovered(2, w.world.master.registry().clone());
    w.world.drain();
    w.peer = w.world.connect(PeerRole::Agent, "one");
    let executors = ToMaster::Executors(vec![w.report()]);
    w.world.agent_says(w.peer, executors);
    let account = reregister(w.agent.clone(), "cpus:4", vec![], vec![]);
    w.world.agent_says(w.peer, account);
    assert_eq!(w.in_use(), resources("cpus:1"));
    w.executor_ends();
    assert_eq!(w.in_use(), Resources::new());
}

#[test]
fn of_two_tasks_of_one_id_the_one_that_is_not_counted_keeps_its_agent_from_others() {
    // I1, SM-07, TK-08
    let mut w = working();
    w.teardown();
    w.world.framework("batch");
    let stranger = AgentId::new("elsewhere-S9").unwrap();
    let comes = |w: &mut Working, state| {
        let peer = w.world.connect(PeerRole::Agent, "two");
        let twin = report(&w.owner, task("a", &stranger, "cpus:1"), state);
        let account = reregister(stranger.clone(), "cpus:4", vec![], vec![twin]);
        let outs = w.world.agent_says(peer, account);
        let end = to_agent(peer, ToAgent::ShutdownFramework(w.owner.clone()));
        assert!(outs.contains(&end), "{outs:?}");
        peer
    };
    let is_offered = |w: &mut Working| {
        w.world.offers_within(Duration::from_secs(5));
        let offers = w.world.master.view().offers();
        offers.iter().any(|offer| offer.agent == stranger)
    };
    let peer = comes(&mut w, TaskState::Running);
    assert!(!is_offered(&mut w));
    w.world.lose(peer);
    let peer = comes(&mut w, TaskState::Running);
    assert!(!is_offered(&mut w));
    // The other one is counted, and ends for itself.
    assert_eq!(w.world.master.view().live_tasks().len(), 1);
    w.world.is_over(w.peer, &w.owner, "a");
    assert_eq!(w.world.master.view().live_tasks(), []);
    assert!(!is_offered(&mut w));
    w.world.is_over(peer, &w.owner, "a");
    assert!(is_offered(&mut w));
    w.world.lose(peer);
    comes(&mut w, TaskState::Killed);
    assert!(is_offered(&mut w));
}
