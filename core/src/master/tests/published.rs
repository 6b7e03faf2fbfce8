//! What tasks and executors publish: kept as they said it, and read by operators.

use super::*;
use crate::protocol::agent::ExecutorReport;
use crate::protocol::discovery::{DiscoveryInfo, DiscoveryPort, Published, Visibility};
use crate::protocol::events::{Kind, Row};
use crate::protocol::task::ExecutorInfo;
use crate::resources::{Label, Labels};

/// One agent, and a framework that launches `loud`, which publishes something by itself and by its
/// executor `e`, and `quiet`, which publishes nothing.
struct Publishing {
    world: World,
    ann: PeerId,
    peer: PeerId,
    agent: AgentId,
    web: PeerId,
    owner: FrameworkId,
}

fn labels(key: &str) -> Labels {
    Labels::try_from(vec![Label::new(key, "gold")]).unwrap()
}

fn service() -> DiscoveryInfo {
    DiscoveryInfo {
        name: Some("web".into()),
        environment: Some("test".into()),
        location: Some("eu".into()),
        version: Some("2".into()),
        ports: vec![DiscoveryPort {
            name: Some("metrics".into()),
            protocol: Some("tcp".into()),
            visibility: Some(Visibility::Cluster),
            labels: labels("scrape"),
            ..DiscoveryPort::new(31_000)
        }],
        labels: labels("canary"),
        ..DiscoveryInfo::new(Visibility::External)
    }
}

fn executor() -> ExecutorInfo {
    let id = ExecutorId::new("e").unwrap();
    ExecutorInfo {
        labels: labels("serves"),
        discovery: Some(Box::new(DiscoveryInfo::new(Visibility::Framework))),
        ..ExecutorInfo::new(id, resources("cpus:1"), CommandInfo::shell("serve"))
    }
}

fn loud(agent: &AgentId) -> TaskInfo {
    TaskInfo {
        command: None,
        executor: Some(executor()),
        labels: labels("tier"),
        discovery: Some(Box::new(service())),
        ..task("loud", agent, "cpus:1")
    }
}

fn publishing() -> Publishing {
    let mut world = World::new();
    let (peer, agent) = world.agent("one", "cpus:4");
    let (web, owner) = world.framework("web");
    let ann = world.connect(PeerRole::Operator, "ann");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![loud(&agent), task("quiet", &agent, "cpus:1")]);
    Publishing {
        world,
        ann,
        peer,
        agent,
        web,
        owner,
    }
}

impl Publishing {
    /// What operators read of tasks, those that are over included.
    fn tasks(&mut self) -> Vec<(String, Option<Published>)> {
        let call = operator::Call::Tasks { all: true };
        let Answer::Tasks(tasks) = self.world.ask(self.ann, call) else {
            panic!("tasks are expected");
        };
        let tasks = tasks.into_iter();
        tasks
            .map(|it| (it.name, it.published.map(|it| (*it).clone())))
            .collect()
    }

    /// What they read of executors.
    fn executors(&mut self) -> Vec<Option<Published>> {
        let of = Kind::Executors;
        let Answer::Snapshot(page) = self.world.ask(self.ann, operator::Call::Snapshot { of })
        else {
            panic!("a snapshot is expected");
        };
        let rows = page.rows.into_iter().map(|row| {
            let Row::Executor(row) = row else {
                panic!("{row:?}");
            };
            row.published.map(|it| (*it).clone())
        });
        rows.collect()
    }

    fn check(&mut self) {
        let of_task = Published {
            labels: labels("tier"),
            discovery: Some(Box::new(service())),
        };
        let of_executor = Published {
            labels: labels("serves"),
            discovery: Some(Box::new(DiscoveryInfo::new(Visibility::Framework))),
        };
        let tasks = [("loud".into(), Some(of_task)), ("quiet".into(), None)];
        assert_eq!(self.tasks(), tasks);
        assert_eq!(self.executors(), [Some(of_executor)]);
    }
}

#[test]
fn operators_read_what_tasks_and_executors_publish() {
    // TK-01, TK-03, TK-04
    let mut p = publishing();
    p.check();
    // It is read as long as the task is remembered, though its executor is not.
    let done = news("loud", TaskState::Finished, &p.agent, 1);
    p.world.update(p.peer, &p.owner, done, TaskState::Finished);
    let confirmed = Call::Acknowledge {
        agent: p.agent.clone(),
        task: task_id("loud"),
        update: UpdateId(1),
    };
    p.world.call(p.web, confirmed);
    assert_eq!(p.world.master.view().live_tasks().len(), 1);
    p.check();
}

#[test]
fn the_next_leadership_hears_what_tasks_and_executors_publish() {
    // TK-01, TK-03, TK-04, PR-02
    let mut p = publishing();
    let registry = p.world.master.registry().clone();
    p.world = World::recovered(2, registry);
    p.world.drain();
    p.ann = p.world.connect(PeerRole::Operator, "ann");
    assert_eq!(p.tasks(), []);
    p.peer = p.world.connect(PeerRole::Agent, "one");
    let executors = ToMaster::Executors(vec![ExecutorReport {
        framework: p.owner.clone(),
        role: Role::any(),
        executor: executor(),
    }]);
    assert_eq!(p.world.agent_says(p.peer, executors), []);
    let tasks = [loud(&p.agent), task("quiet", &p.agent, "cpus:1")];
    let tasks = tasks.map(|task| report(&p.owner, task, TaskState::Running));
    let account = reregister(
        p.agent.clone(),
        "cpus:4",
        vec![known_as(p.owner.clone(), "web")],
        tasks.to_vec(),
    );
    p.world.agent_says(p.peer, account);
    p.check();
}
