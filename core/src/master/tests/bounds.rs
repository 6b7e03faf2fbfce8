//! Waits and bounds that the specification gives by number: nothing happens a moment before, and
//! then it does. Those of a single feature are beside its other tests.

use super::roles::{in_roles, role};
use super::*;
use crate::keys::{AgentKey, FrameworkKey};
use crate::master::operations::Operations;
use crate::master::plan::{Basis, Step, plan};
use crate::master::tasks::{NewTask, Tasks};
use crate::protocol::validate_operation::Caller;
use crate::quota::Quota;
use crate::resources::{Ceilings, Label, Labels};

const MOMENT: Duration = Duration::from_micros(1);

/// A leadership with the allocator of real clusters, whose offers stay until they are answered.
fn leadership(change: impl FnOnce(&mut Config), registry: Registry) -> World {
    let epoch = registry.epoch() + 1;
    let mut config = Config::new(master_id(epoch), epoch, 7);
    change(&mut config);
    let allocator = Box::new(Drf::new(drf::Options::default()));
    let mut world = World::configured(config, registry, allocator);
    world.drain();
    world
}

fn decline(offer: &Offer, refuse: Duration) -> Call {
    Call::Decline {
        offers: vec![offer.id.clone()],
        refuse: Some(refuse),
    }
}

#[test]
fn what_nobody_wants_comes_again_after_an_interval() {
    // TL-03
    let mut world = leadership(|_| (), Registry::default());
    world.agent("one", "cpus:4");
    let (peer, _) = world.framework("web");
    let [(_, first)] = <[_; 1]>::try_from(world.offers_within(MOMENT)).unwrap();
    assert_eq!(world.call(peer, decline(&first, Duration::ZERO)), []);
    assert_eq!(world.offers_within(Duration::from_secs(1) - MOMENT), []);
    assert_eq!(world.offers_within(MOMENT).len(), 1);
}

#[test]
fn nothing_is_refused_for_longer_than_a_year() {
    // TL-04; five seconds, if nothing is said, are beside the other offers
    let year = Duration::from_secs(365 * 24 * 3_600);
    for asked in [year + MOMENT, Duration::MAX] {
        let mut world = World::new();
        world.agent("one", "cpus:4");
        let (peer, _) = world.framework("web");
        let [(_, first)] = <[_; 1]>::try_from(world.offers_within(MOMENT)).unwrap();
        assert_eq!(world.call(peer, decline(&first, asked)), []);
        // In one step, in which no ping is missed.
        world.now = world.now + (year - MOMENT);
        assert_eq!(world.offers_within(Duration::ZERO), []);
        let again = world.offers_within(MOMENT);
        assert_eq!(again.len(), 1, "{asked:?}");
    }
}

#[test]
fn with_quota_most_agents_are_waited_for_and_ten_minutes_at_most() {
    // TL-10: four of five
    let mut world = leadership(|_| (), Registry::default());
    let names = ["a", "b", "c", "d", "e"];
    let agents = names.map(|name| world.agent(name, "cpus:4").1);
    let ann = world.connect(PeerRole::Operator, "ann");
    let quota = Quota {
        guarantees: Quantities::parse("cpus:20").unwrap(),
        limits: Ceilings::parse("").unwrap(),
    };
    let call = operator::Call::UpdateQuota {
        quotas: vec![(role("eng"), quota)],
        force: false,
    };
    assert_eq!(world.ask(ann, call), Answer::Updated);
    let registry = world.master.registry().clone();
    for back in [3, 4] {
        // Nobody is given up meanwhile, whether he is here or not.
        let patient = |config: &mut Config| {
            config.max_missed_pings = 1_000;
            config.agent_reregister_timeout = Duration::from_secs(10_000);
        };
        let mut world = leadership(patient, registry.clone());
        let peer = world.connect(PeerRole::Framework, "web");
        world.subscribe(peer, in_roles(&["eng"]));
        for (name, id) in names.iter().zip(&agents).take(back) {
            let peer = world.connect(PeerRole::Agent, name);
            let message = reregister(id.clone(), "cpus:4", vec![], vec![]);
            world.agent_says(peer, message);
        }
        let early = world.offers_within(Duration::from_secs(600) - MOMENT);
        let expected = if back == 4 { back } else { 0 };
        assert_eq!(early.len(), expected, "{back} are back");
        let late = world.offers_within(Duration::from_secs(1));
        assert_eq!(early.len() + late.len(), back);
    }
}

#[test]
fn less_than_any_program_needs_is_not_offered() {
    // TL-35
    for (total, is_offered) in [
        ("cpus:0.009;mem:31.999", false),
        ("disk:1000", false),
        ("cpus:0.01", true),
        ("mem:32", true),
    ] {
        let mut world = leadership(|_| (), Registry::default());
        world.agent("one", total);
        world.framework("web");
        let offers = world.offers_within(Duration::from_secs(3));
        assert_eq!(!offers.is_empty(), is_offered, "{total}");
    }
}

#[test]
fn as_much_is_remembered_as_by_others() {
    // TL-11, TL-12: that these are kept to is shown beside frameworks, tasks and standing
    let frameworks = limits::COMPLETED_FRAMEWORKS;
    let tasks = limits::COMPLETED_TASKS_PER_FRAMEWORK;
    assert_eq!((frameworks, tasks), (50, 1_000));
    const { assert!(limits::GONE_AGENTS >= 100_000) };
}

const AGENT: AgentKey = AgentKey::from_raw(0, 0);

/// A table with so many tasks of one agent, of each of these frameworks in turn.
fn table(count: usize, frameworks: u32, name: &str, state: TaskState) -> Tasks {
    let mut tasks = Tasks::default();
    for n in 0..count {
        let framework = u32::try_from(n).unwrap() % frameworks;
        tasks.insert(NewTask {
            name: name.to_string(),
            ..row(n, framework, state)
        });
    }
    tasks
}

fn row(n: usize, framework: u32, state: TaskState) -> NewTask {
    let id = task_id(&alloc::format!("t{n:06}"));
    NewTask {
        status: TaskStatus::new(id.clone(), state, Source::Master, Time::ZERO),
        id,
        framework: FrameworkKey::from_raw(framework, 0),
        agent: AGENT,
        owner: framework_id(framework.into()),
        name: String::new(),
        role: Role::any(),
        resources: resources("cpus:1"),
        executor: None,
        published: None,
        sent_over: None,
    }
}

/// Says why such a task is refused that a framework launches on the agent of a table, if it is.
fn refused(tasks: &Tasks, framework: u32, name: &str) -> Option<String> {
    let (role, pool, agent) = (Role::any(), resources("cpus:1"), agent_id(0));
    let basis = Basis {
        tasks,
        known: &Operations::default(),
        framework: FrameworkKey::from_raw(framework, 0),
        caller: Caller {
            principal: None,
            role: &role,
            roles: &[],
        },
        agent: AGENT,
        agent_id: &agent,
        grants: crate::allocator::GrantId(1).into(),
        total: &pool,
        open: 0,
        jobs: 0,
        coming: 0,
        pool: pool.clone(),
    };
    let new = TaskInfo {
        name: name.to_string(),
        ..task("t-new-1", &agent, "cpus:1")
    };
    let plan = plan(basis, vec![Operation::Launch(vec![new])]);
    let mut steps = plan.parts.into_iter().flat_map(|part| part.steps);
    steps.find_map(|step| {
        if let Step::RefuseTask { message, .. } = step {
            return Some(message);
        }
        None
    })
}

#[test]
fn no_task_is_launched_that_its_agent_could_not_report() {
    // PR-02, I22: or the agent would never come back
    let name = "x".repeat(limits::TEXT_BYTES);
    let id = task_id("t-new-1");
    let named = (&id, &*name, None);
    let each = TaskReport::most_bytes(named, &Role::any(), &resources("cpus:1"), None);
    let most = limits::REPORTED_BYTES / each;
    let mut tasks = table(most, 1, &name, TaskState::Finished);
    let why = "the agent would have more than 134217728 bytes to report of its tasks";
    assert_eq!(refused(&tasks, 0, &name).as_deref(), Some(why));
    // One that is over and confirmed is reported no more.
    let first = tasks.of_agent(AGENT)[0];
    tasks.complete(first);
    assert_eq!(refused(&tasks, 0, &name), None);
}

#[test]
fn an_agent_has_tasks_of_so_many_frameworks_and_no_more() {
    // PR-02, I22: it describes them all when it comes back
    let most = limits::FRAMEWORKS_PER_AGENT;
    let last = u32::try_from(most).unwrap();
    let tasks = table(most, last, "", TaskState::Finished);
    let why = "the agent has tasks of 1024 frameworks, the most allowed";
    assert_eq!(refused(&tasks, last, "").as_deref(), Some(why));
    assert_eq!(refused(&tasks, last - 1, ""), None, "known already");
    let tasks = table(most - 1, last, "", TaskState::Finished);
    assert_eq!(refused(&tasks, last, ""), None);
}

#[test]
fn what_tasks_publish_counts_in_what_agents_report_and_masters_remember() {
    // TK-04, PR-02, TL-11, I22
    let label = Label::new("k", &"x".repeat(limits::TEXT_BYTES));
    let plain = task("t", &agent_id(0), "cpus:1");
    let loud = TaskInfo {
        labels: Labels::try_from(vec![label; 15]).unwrap(),
        ..plain.clone()
    };
    let more = size(&loud.published()) - size(&plain.published());
    assert!(more > 15 * limits::TEXT_BYTES);
    let framework = FrameworkKey::from_raw(0, 0);
    let planned = |task: &TaskInfo| {
        let left = limits::REPORTED_BYTES;
        let place = (framework, AGENT);
        let beside = Tasks::default().left_beside(place, &Role::any(), task, None, left);
        left - beside.unwrap()
    };
    assert_eq!(planned(&loud), planned(&plain) + more);
    let mut tasks = table(1, 1, "", TaskState::Finished);
    let quiet = tasks.reported_bytes(AGENT);
    for n in 1..=100 {
        tasks.insert(NewTask {
            published: loud.published(),
            ..row(n, 0, TaskState::Finished)
        });
    }
    assert_eq!(tasks.reported_bytes(AGENT), 101 * quiet + 100 * more);
    for key in tasks.of_agent(AGENT) {
        tasks.complete(key);
    }
    let remembered = tasks.remembered(framework);
    assert_eq!(remembered, limits::COMPLETED_BYTES_PER_FRAMEWORK / more);
    assert_eq!(tasks.reported_bytes(AGENT), 0);
}
