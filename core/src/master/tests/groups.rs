//! Tasks that are started together or not at all.

use alloc::format;

use super::*;
use crate::protocol::agent::GroupOrder;
use crate::protocol::offer::TaskGroup;
use crate::protocol::task::ExecutorInfo;

fn executor(needs: &str) -> ExecutorInfo {
    ExecutorInfo::built_in(ExecutorId::new("e").unwrap(), resources(needs))
}

fn group(tasks: Vec<TaskInfo>) -> TaskGroup {
    TaskGroup {
        executor: executor("cpus:0.1;mem:32"),
        tasks,
    }
}

struct Offered {
    world: World,
    agent_peer: PeerId,
    agent: AgentId,
    peer: PeerId,
    owner: FrameworkId,
    offer: Offer,
}

fn offered() -> Offered {
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4;mem:1024");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offer = world.offered(peer).remove(0);
    Offered {
        world,
        agent_peer,
        agent,
        peer,
        owner,
        offer,
    }
}

impl Offered {
    fn accept(&mut self, operations: Vec<Operation>) -> Vec<Out> {
        let call = Call::Accept {
            offers: vec![self.offer.id.clone()],
            operations,
            refuse: None,
        };
        self.world.call(self.peer, call)
    }

    fn task(&self, id: &str, needs: &str) -> TaskInfo {
        task(id, &self.agent, needs)
    }
}

fn offers(outs: Vec<Out>) -> Vec<Offer> {
    let offers = outs.into_iter().filter_map(|out| match out {
        Output::Effect(Effect::Scheduler {
            event: Event::Offers(offers),
            ..
        }) => Some(offers),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    offers.flatten().collect()
}

fn told(outs: &[Out]) -> Vec<(&str, TaskState, Option<Reason>)> {
    let mut all = Vec::new();
    for out in outs {
        if let Output::Effect(Effect::Scheduler {
            event: Event::Update(status),
            ..
        }) = out
        {
            all.push((status.task.as_str(), status.state, status.reason));
        }
    }
    all
}

#[test]
fn a_group_is_launched_with_one_word_and_its_executor_is_paid_once() {
    // AG-26, PR-06, OF-23, OF-18
    let mut o = offered();
    let tasks = vec![o.task("a", "cpus:1;mem:100"), o.task("b", "cpus:2;mem:100")];
    let outs = o.accept(vec![Operation::LaunchGroup(group(tasks.clone()))]);
    let with_executor = |task: TaskInfo| TaskInfo {
        executor: Some(executor("cpus:0.1;mem:32")),
        ..task
    };
    let order = GroupOrder {
        framework: o.owner.clone(),
        role: Role::any(),
        tasks: tasks.into_iter().map(with_executor).collect(),
        starts_executor: true,
    };
    assert_eq!(outs, [to_agent(o.agent_peer, ToAgent::RunGroup(order))]);
    let rest = offers(o.world.pass(Duration::from_secs(10))).remove(0);
    assert_eq!(rest.resources, resources("cpus:0.9;mem:792"));
    // The next group of the same executor costs what its tasks do.
    o.offer = rest;
    let tasks = vec![o.task("c", "cpus:0.9;mem:1")];
    let outs = o.accept(vec![Operation::LaunchGroup(group(tasks))]);
    let [Output::Effect(Effect::Agent { message, .. })] = outs.as_slice() else {
        panic!("{outs:?}");
    };
    let starts = matches!(message, ToAgent::RunGroup(order) if order.starts_executor);
    assert!(!starts, "{message:?}");
}

#[test]
fn tv_28_one_that_is_wrong_holds_back_all_and_nothing_else() {
    // TV-28, OF-23
    let mut o = offered();
    let tasks = vec![
        o.task("a", "cpus:1;mem:100"),
        o.task("b", "cpus:5;mem:100"),
        o.task("c", "cpus:1;mem:100"),
    ];
    let after = Operation::Launch(vec![o.task("d", "cpus:4;mem:1024")]);
    let outs = o.accept(vec![Operation::LaunchGroup(group(tasks)), after]);
    let wrong = |id| (id, TaskState::Error, Some(Reason::TaskGroupInvalid));
    assert_eq!(told(&outs), [wrong("a"), wrong("b"), wrong("c")]);
    let text = format!("{outs:?}");
    let why = "task b: task needs cpus:5 but the offer has cpus:2.9 left";
    assert_eq!(text.matches(why).count(), 3, "{text}");
    let runs = |out: &Out| {
        matches!(out, Output::Effect(Effect::Agent { message: ToAgent::RunTask { task, .. }, .. })
            if task.id == task_id("d"))
    };
    assert!(
        outs.iter().any(runs),
        "what the group did not take is there: {text}"
    );
}

#[test]
fn a_group_of_dead_offers_is_dropped() {
    // OF-11
    let mut o = offered();
    o.offer.id = offer_id(77);
    let tasks = vec![o.task("a", "cpus:1;mem:100"), o.task("b", "cpus:1;mem:100")];
    let outs = o.accept(vec![Operation::LaunchGroup(group(tasks))]);
    let dropped = |id| (id, TaskState::Dropped, Some(Reason::InvalidOffers));
    assert_eq!(told(&outs), [dropped("a"), dropped("b")]);
}
