//! Ends of tasks that only the master can tell: none is lost.

use alloc::format;
use core::slice::from_ref;

use super::*;

/// One agent, one framework that is patient, one task `t`.
struct Launched {
    world: World,
    agent_peer: PeerId,
    agent: AgentId,
    peer: PeerId,
    owner: FrameworkId,
}

fn patient() -> FrameworkInfo {
    FrameworkInfo {
        failover_timeout: Duration::from_secs(3_600),
        ..framework_info()
    }
}

fn launched() -> Launched {
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let peer = world.connect(PeerRole::Framework, "web");
    let owner = world.subscribe(peer, patient());
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![task("t", &agent, "cpus:1")]);
    Launched {
        world,
        agent_peer,
        agent,
        peer,
        owner,
    }
}

impl Launched {
    fn report(&mut self, status: TaskStatus, latest: TaskState) -> Vec<Out> {
        self.world
            .update(self.agent_peer, &self.owner, status, latest)
    }

    /// The agent comes back without its disk.
    fn join_anew(&mut self) -> Vec<Out> {
        let peer = self.world.connect(PeerRole::Agent, "one");
        let agent = agent_info("cpus:4");
        self.world.agent_says(peer, ToMaster::Register { agent })
    }

    /// The agent comes back and says that it has no task.
    fn return_empty(&mut self) -> Vec<Out> {
        self.world.lose(self.agent_peer);
        self.agent_peer = self.world.connect(PeerRole::Agent, "one");
        self.account(vec![])
    }

    /// The agent, which was lost, comes back and says how far the task has come.
    fn return_with(&mut self, state: TaskState) -> Vec<Out> {
        self.agent_peer = self.world.connect(PeerRole::Agent, "one");
        let task = task("t", &self.agent, "cpus:1");
        self.account(vec![report(&self.owner, task, state)])
    }

    fn account(&mut self, tasks: Vec<TaskReport>) -> Vec<Out> {
        let account = reregister(self.agent.clone(), "cpus:4", vec![], tasks);
        self.world.agent_says(self.agent_peer, account)
    }

    /// The framework subscribes over a new connection; returns what it hears at once.
    fn subscribe(&mut self) -> Vec<TaskStatus> {
        self.peer = self.world.connect(PeerRole::Framework, "web");
        let framework = FrameworkInfo {
            id: Some(self.owner.clone()),
            ..patient()
        };
        let outs = self.world.call(self.peer, subscribe(framework));
        let to = self.peer;
        heard(&outs, to)
    }

    fn acknowledge(&mut self, update: UpdateId) -> Vec<Out> {
        let (agent, task) = (self.agent.clone(), task_id("t"));
        let call = Call::Acknowledge {
            agent,
            task,
            update,
        };
        self.world.call(self.peer, call)
    }
}

/// The news for one framework among all that goes out.
fn heard(outs: &[Out], to: PeerId) -> Vec<TaskStatus> {
    let mut news = Vec::new();
    for out in outs {
        if let Output::Effect(Effect::Scheduler {
            peer,
            event: Event::Update(status),
        }) = out
        {
            assert_eq!(*peer, to);
            news.push(status.clone());
        }
    }
    news
}

#[test]
fn an_end_that_the_agent_has_not_passed_on_is_told_when_the_agent_is_lost() {
    // TK-58, TK-71: the framework has heard `Running`, and nobody else will tell it more
    let mut t = launched();
    t.report(
        news("t", TaskState::Running, &t.agent.clone(), 1),
        TaskState::Finished,
    );
    let outs = t.join_anew();
    let told = heard(&outs, t.peer);
    assert_eq!(told.len(), 1, "{outs:?}");
    assert_eq!(told[0].state, TaskState::Finished);
    let update = told[0].update.unwrap();
    assert_ne!(update, UpdateId(1));
    assert_eq!(t.acknowledge(update), []);
    assert_eq!(t.subscribe(), []);
}

#[test]
fn an_end_that_was_passed_on_keeps_its_name() {
    // FW-47: a framework that has it already does not hear it twice
    let mut t = launched();
    let end = news("t", TaskState::Failed, &t.agent.clone(), 1);
    t.report(end.clone(), TaskState::Failed);
    let outs = t.join_anew();
    assert_eq!(heard(&outs, t.peer), from_ref(&end));
    // Not confirmed, it comes again; confirmed, it does not.
    assert_eq!(t.subscribe(), [end]);
    assert_eq!(t.acknowledge(UpdateId(1)), []);
    assert_eq!(t.subscribe(), []);
}

#[test]
fn an_end_waits_for_a_framework_that_is_away() {
    // TK-58
    let mut t = launched();
    t.world.lose(t.peer);
    let peer = t.peer;
    let outs = t.join_anew();
    assert_eq!(heard(&outs, peer), []);
    for _ in 0..2 {
        let told = t.subscribe();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].state, TaskState::Gone);
        assert_eq!(told[0].reason, Some(Reason::AgentRemoved));
    }
    let update = t.subscribe()[0].update.unwrap();
    assert_eq!(t.world.master.view().all_tasks().len(), 1);
    assert_eq!(t.acknowledge(update), []);
    assert_eq!(t.subscribe(), []);
}

#[test]
fn a_task_that_never_reached_its_agent_is_not_forgotten_while_the_framework_is_away() {
    // PR-03, TK-72: the agent says so once
    let mut t = launched();
    t.world.lose(t.peer);
    t.return_empty();
    let mut dropped = news("t", TaskState::Dropped, &t.agent.clone(), 1);
    dropped.update = None;
    assert_eq!(t.report(dropped, TaskState::Dropped), []);
    assert_eq!(t.world.free(), resources("cpus:4"));
    let told = t.subscribe();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].state, TaskState::Dropped);
    // The master has it from the agent, which is not told again.
    assert_eq!(t.acknowledge(told[0].update.unwrap()), []);
    assert_eq!(t.subscribe(), []);
}

#[test]
fn what_the_agent_does_not_know_does_not_change_how_a_task_ended() {
    // TK-34, PR-03
    let mut t = launched();
    let end = news("t", TaskState::Finished, &t.agent.clone(), 1);
    t.report(end.clone(), TaskState::Finished);
    t.return_empty();
    let mut dropped = news("t", TaskState::Dropped, &t.agent.clone(), 2);
    dropped.update = None;
    let outs = t.report(dropped.clone(), TaskState::Dropped);
    assert_eq!(heard(&outs, t.peer), from_ref(&end));
    t.acknowledge(UpdateId(1));
    assert_eq!(t.report(dropped, TaskState::Dropped), []);
    let view = t.world.master.view();
    assert_eq!(view.all_tasks()[0].status.state, TaskState::Finished);
}

#[test]
fn what_became_of_an_agent_is_told_to_a_framework_that_was_away() {
    // SM-14, SM-16, TK-60, TK-72: until it has confirmed that, or hears something newer
    let mut t = launched();
    t.world.lose(t.peer);
    t.world.lose(t.agent_peer);
    let outs = t.world.pass(Duration::from_secs(600));
    let at = t.world.now;
    assert_eq!(outs, [out_of_reach(&t.agent, at)]);
    let states = |told: Vec<TaskStatus>| -> Vec<_> {
        let states = told.into_iter().map(|s| (s.state, s.update.is_some()));
        states.collect()
    };
    assert_eq!(states(t.subscribe()), [(TaskState::Unreachable, true)]);
    let lost = t.subscribe();
    assert_eq!(t.acknowledge(lost[0].update.unwrap()), []);
    assert_eq!(t.subscribe(), []);
    t.world.lose(t.peer);
    t.return_with(TaskState::Running);
    assert_eq!(states(t.subscribe()), [(TaskState::Running, true)]);
    // Of an earlier word it is no confirmation.
    t.acknowledge(lost[0].update.unwrap());
    assert_eq!(states(t.subscribe()), [(TaskState::Running, true)]);
    // From here on the agent's own news counts.
    t.report(
        news("t", TaskState::Running, &t.agent.clone(), 1),
        TaskState::Running,
    );
    assert_eq!(t.subscribe(), []);
    // Its confirmation goes to the agent.
    assert_eq!(t.acknowledge(UpdateId(1)).len(), 1);
}

#[test]
fn a_refusal_is_said_until_it_is_confirmed() {
    // TK-72, OF-08, OF-11: no agent has heard of the task, so nobody else would say it
    let mut t = launched();
    let agent = t.agent.clone();
    let refused = |t: &mut Launched, id: &str| {
        let gone = launch(&[offer_id(0)], vec![task(id, &agent, "cpus:1")]);
        let outs = t.world.call(t.peer, gone);
        heard(&outs, t.peer)
    };
    let first = refused(&mut t, "x");
    assert_eq!(first[0].state, TaskState::Dropped);
    let second = refused(&mut t, "a");
    t.world.lose(t.peer);
    assert_eq!(t.subscribe(), [first.clone(), second.clone()].concat());
    let confirm = |t: &mut Launched, id: &str, status: &TaskStatus| {
        let call = Call::Acknowledge {
            agent: agent.clone(),
            task: task_id(id),
            update: status.update.unwrap(),
        };
        t.world.call(t.peer, call)
    };
    assert_eq!(confirm(&mut t, "x", &first[0]), []);
    assert_eq!(t.subscribe(), second);
    assert_eq!(confirm(&mut t, "a", &second[0]), []);
    assert_eq!(t.subscribe(), []);
    // Others of it go to the agent, as ever.
    assert_eq!(confirm(&mut t, "a", &second[0]).len(), 1);
}

#[test]
fn refusals_that_nobody_confirms_are_said_once_beyond_a_bound() {
    let mut t = launched();
    let tasks = |n: usize, of: &str| -> Vec<TaskInfo> {
        let ids = (0..n).map(|n| format!("{of}{n}"));
        ids.map(|id| task(&id, &t.agent, "cpus:1")).collect()
    };
    let most = limits::VERDICTS_PER_FRAMEWORK;
    let (full, more) = (tasks(most, "a"), tasks(1, "b"));
    t.world.call(t.peer, launch(&[offer_id(0)], full));
    let outs = t.world.call(t.peer, launch(&[offer_id(0)], more));
    assert_eq!(heard(&outs, t.peer)[0].update, None);
    assert_eq!(t.subscribe().len(), most);
}

#[test]
fn an_agent_that_was_away_tells_the_end_itself() {
    // TK-60, TK-70: that the task was unreachable is not the last word about it
    let mut t = launched();
    t.world.lose(t.agent_peer);
    let outs = t.world.pass(Duration::from_secs(600));
    assert_eq!(heard(&outs, t.peer)[0].state, TaskState::Unreachable);
    let outs = t.return_with(TaskState::Finished);
    assert_eq!(heard(&outs, t.peer), []);
    let agent = t.agent.clone();
    for (n, state) in [(1, TaskState::Running), (2, TaskState::Finished)] {
        let status = news("t", state, &agent, n);
        let outs = t.report(status.clone(), TaskState::Finished);
        assert_eq!(heard(&outs, t.peer), [status]);
        // The confirmation is the agent's.
        assert_eq!(t.acknowledge(UpdateId(n)).len(), 1);
    }
    assert_eq!(t.world.master.view().live_tasks(), []);
}

#[test]
fn an_end_that_was_not_heard_is_told_though_its_agent_stays_away() {
    // TK-70, TK-72, SM-14
    let mut t = launched();
    let agent = t.agent.clone();
    t.world.lose(t.peer);
    let end = news("t", TaskState::Finished, &agent, 7);
    let outs = t.report(end.clone(), TaskState::Finished);
    assert_eq!(outs, [], "nobody is there to hear it");
    t.world.lose(t.agent_peer);
    t.world.pass(Duration::from_secs(600));
    assert_eq!(t.subscribe(), from_ref(&end));
    assert_eq!(t.subscribe(), from_ref(&end), "it was not confirmed");
    assert_eq!(t.acknowledge(UpdateId(7)), []);
    assert_eq!(t.subscribe(), []);
    // The agent says so still, and is answered.
    let outs = t.return_with(TaskState::Finished);
    assert_eq!(heard(&outs, t.peer), []);
    let outs = t.report(end, TaskState::Finished);
    let done = ToAgent::Acknowledge {
        framework: t.owner.clone(),
        task: task_id("t"),
        update: UpdateId(7),
    };
    assert_eq!(outs, [to_agent(t.agent_peer, done)]);
}

#[test]
fn an_agent_that_is_back_keeps_an_end_until_its_framework_has_heard() {
    // TK-66, TK-70: only the master would have it, and it may fall
    let mut t = launched();
    let agent = t.agent.clone();
    t.world.lose(t.peer);
    let end = news("t", TaskState::Finished, &agent, 7);
    t.report(end.clone(), TaskState::Finished);
    t.world.lose(t.agent_peer);
    t.world.pass(Duration::from_secs(600));
    t.return_with(TaskState::Finished);
    assert_eq!(t.report(end.clone(), TaskState::Finished), []);
    assert_eq!(t.subscribe(), [], "its agent says it");
    let outs = t.report(end.clone(), TaskState::Finished);
    assert_eq!(heard(&outs, t.peer), [end]);
    let outs = t.acknowledge(UpdateId(7));
    let done = ToAgent::Acknowledge {
        framework: t.owner.clone(),
        task: task_id("t"),
        update: UpdateId(7),
    };
    assert_eq!(outs, [to_agent(t.agent_peer, done)]);
}

#[test]
fn who_asks_for_a_task_hears_that_its_agent_is_away_though_it_may_have_ended() {
    // TK-77, TK-74, I20: nobody can say how before the agent is back
    let mut t = launched();
    let agent = t.agent.clone();
    let running = news("t", TaskState::Running, &agent, 1);
    t.report(running, TaskState::Finished);
    let ask = |t: &mut Launched| {
        let tasks = vec![(task_id("t"), Some(t.agent.clone()))];
        let mut answers = Vec::new();
        for tasks in [tasks, vec![]] {
            let outs = t.world.call(t.peer, Call::Reconcile { tasks });
            for out in outs {
                if let Output::Effect(Effect::Scheduler {
                    event: Event::Reconciled(told),
                    ..
                }) = out
                {
                    answers.extend(told.into_iter().map(|status| status.state));
                }
            }
        }
        answers
    };
    assert_eq!(ask(&mut t), [], "the end is on its way");
    t.world.lose(t.agent_peer);
    t.world.pass(Duration::from_secs(600));
    assert_eq!(ask(&mut t), [TaskState::Unreachable; 2]);
}

#[test]
fn who_has_heard_of_an_end_hears_of_it_once_more_at_most_when_its_agent_is_lost() {
    // TK-70: the update has one name, so a scheduler takes it in once
    let mut t = launched();
    let agent = t.agent.clone();
    let end = news("t", TaskState::Failed, &agent, 7);
    t.report(end.clone(), TaskState::Failed);
    t.world.lose(t.agent_peer);
    let outs = t.world.pass(Duration::from_secs(600));
    assert_eq!(heard(&outs, t.peer), [end]);
    assert_eq!(t.acknowledge(UpdateId(7)), []);
    assert_eq!(t.subscribe(), []);
}
