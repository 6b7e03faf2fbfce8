//! Disks that the machine's provider makes and takes back.

use super::operations::res;
use super::*;
use crate::ids::OperationId;
use crate::limits;
use crate::protocol::disk::{DiskChange, DiskEnd, DiskEvent, DiskJob, DiskJobId, DiskTarget};
use crate::protocol::operation::{OperationState, Owner};
use crate::resources::operations::{Formatted, MadeDisk, Returned};
use crate::resources::{Labels, Resource};

const POOL: &str = r#"disk(*)<raw,profile="fast",provider="store">:10"#;
const PART: &str = r#"disk(*)<raw,profile="fast",provider="store">:4"#;
const REST: &str = r#"disk(*)<raw,profile="fast",provider="store">:6"#;
const DISK: &str = r#"disk(*)<mount="/m",id="d1",profile="fast",provider="store">:4"#;

fn one(text: &str) -> Resource {
    res(text).iter().next().unwrap().clone()
}

fn described() -> Config {
    let mut config = config();
    config.info.resources = res(&format!("cpus:4;mem:1024;{POOL}"));
    config
}

/// An agent with a pool, registered.
fn joined() -> Node {
    let (mut node, _) = Node::restart_as(described(), Vec::new(), Time::from_micros(1_000_000));
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.join(registered(1));
    node
}

/// The same agent, up again and registered with its master.
fn again(node: Node) -> (Node, Vec<String>) {
    let (mut node, outputs) = Node::restart_as(described(), node.journal, node.now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    let mut all = lines(&outputs);
    all.extend(lines(&node.join(reregistered(1))));
    (node, all)
}

fn job(number: u64) -> DiskJob {
    DiskJob {
        number,
        owner: Owner {
            framework: fw("f"),
            id: Some(OperationId::new("make").unwrap()),
        },
        change: DiskChange::Create {
            source: one(PART),
            target: DiskTarget::Mount,
            profile: None,
        },
    }
}

fn begin(number: u64) -> Input {
    master(ToAgent::BeginDisk(job(number)))
}

fn over(after: &str, failed: Option<&str>) -> Input {
    master(ToAgent::EndDisk(DiskEnd {
        job: 1,
        failed: failed.map(String::from),
        order: job(1).end(2, res(after)),
    }))
}

fn made() -> DiskOutcome {
    DiskOutcome::Made(MadeDisk {
        formatted: Formatted::Mount {
            root: Some("/m".into()),
        },
        id: Some("d1".into()),
        metadata: Labels::new(),
    })
}

fn says(outcome: DiskOutcome) -> Input {
    let (agent, number) = (agent_id(), 1);
    let job = DiskJobId { agent, number };
    Input::Disk(DiskEvent { job, outcome })
}

fn has(node: &Node, text: &str) -> bool {
    *node.agent.view().total() == res(&format!("cpus:4;mem:1024;{text}"))
}

/// What was last told of an operation.
fn news(outputs: &Outputs) -> (OperationState, String, Resources) {
    let told = outputs.iter().find_map(|output| match output {
        Output::Effect(Effect::Master {
            message: ToMaster::OperationUpdate { status, .. },
            ..
        }) => Some((
            status.state,
            status.message.clone(),
            status.converted.clone(),
        )),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    told.unwrap()
}

#[test]
fn a_disk_is_asked_for_told_of_and_there_when_the_master_says_so() {
    // OF-15, OF-28, SM-31
    let mut node = joined();
    let outputs = node.feed(begin(1));
    let said = [
        "* 1 create-disk",
        "carried out 1",
        "ask rio-1-S0-D1 create-disk",
    ];
    assert_eq!(lines(&outputs), said);
    assert!(has(&node, REST), "the source is nobody's");
    // Said again, it is not asked for again.
    assert_eq!(lines(&node.feed(begin(1))), ["carried out 1"]);
    let outputs = lines(&node.feed(says(made())));
    assert_eq!(outputs, ["* disk 1 ended", "disk 1 made"]);
    assert!(has(&node, REST), "the master has to say so");
    assert_eq!(lines(&node.feed(says(made()))), NOTHING);
    let outputs = node.feed(over(DISK, None));
    let said = [
        "* 2 disk 1 over",
        "carried out 2",
        "operation 2 make finished",
        "forget rio-1-S0-D1",
    ];
    assert_eq!(lines(&outputs), said);
    let (_, _, converted) = news(&outputs);
    assert_eq!(converted, res(DISK));
    assert!(has(&node, &format!("{REST};{DISK}")));
    assert_eq!(lines(&node.feed(says(made()))), NOTHING);
}

#[test]
fn a_disk_that_fails_leaves_its_source() {
    // OF-15, SM-32
    let mut node = joined();
    node.feed(begin(1));
    let full = || DiskOutcome::Failed("it is full".into());
    let outputs = lines(&node.feed(says(full())));
    assert_eq!(outputs, ["* disk 1 ended", "disk 1 it is full"]);
    let outputs = node.feed(over(PART, Some("it is full")));
    let failed = OperationState::Failed;
    let expected = (failed, "it is full".into(), Resources::new());
    assert_eq!(news(&outputs), expected);
    assert!(has(&node, POOL));
    assert_eq!(node.agent.state().disk_jobs().count(), 0);
}

#[test]
fn a_disk_that_its_agent_does_not_get_is_taken_back() {
    // OF-15, SM-32: it is not what was asked for, or the master cannot have it.
    let block = DiskOutcome::Made(MadeDisk {
        formatted: Formatted::Block,
        id: Some("d1".into()),
        metadata: Labels::new(),
    });
    for outcome in [block, made()] {
        let mut node = joined();
        node.feed(begin(1));
        node.feed(says(outcome));
        let outputs = lines(&node.feed(over(PART, Some("it is there already"))));
        assert_eq!(outputs.last(), Some(&"undo rio-1-S0-D1".into()));
        // What it said before it heard that changes nothing.
        assert_eq!(lines(&node.feed(says(made()))), NOTHING);
        // Asked again until it is done, whatever falls meanwhile.
        let (mut node, outputs) = again(node);
        let expected = ["recover []", "disks 1", "undo rio-1-S0-D1"];
        assert_eq!(outputs[..3], expected);
        let undone = DiskOutcome::Failed("it was undone".into());
        let outputs = lines(&node.feed(says(undone.clone())));
        assert_eq!(outputs, ["* disk 1 undone", "forget rio-1-S0-D1"]);
        assert_eq!(lines(&node.feed(says(undone))), NOTHING);
        let (_, outputs) = again(node);
        assert_eq!(outputs[..2], ["recover []", "disks 0"]);
        assert!(!outputs.iter().any(|line| line.starts_with("undo")));
    }
}

#[test]
fn a_provider_is_told_whose_jobs_are_over() {
    // OF-15: there may be other agents on the machine, or have been.
    let said = |outputs: &Outputs| {
        let orders = outputs.iter().filter_map(|output| match output {
            Output::Effect(Effect::Disk(DiskCommand::Recover { agent, known })) => {
                Some((agent.clone(), known.clone()))
            }
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        });
        orders.collect::<Vec<_>>()
    };
    let start = Time::from_micros(1_000_000);
    let (_, outputs) = Node::restart_as(described(), Vec::new(), start);
    assert_eq!(said(&outputs), [], "it has no id, and so no jobs");
    let mut node = joined();
    node.feed(begin(1));
    let (agent, number) = (agent_id(), 1);
    let job = DiskJobId { agent, number };
    let (mut node, outputs) = Node::restart_as(described(), node.journal, node.now);
    assert_eq!(said(&outputs), [(agent_id(), vec![job])]);
    // One that leaves for good knows none any more.
    node.feed(Input::Container(ContainerEvent::Recovered));
    let outputs = node.feed(Input::Leave);
    assert_eq!(said(&outputs), [(agent_id(), vec![])]);
}

#[test]
fn what_came_of_a_disk_is_said_until_the_job_is_over() {
    // OF-55
    let mut node = joined();
    node.feed(begin(1));
    node.feed(says(made()));
    for wait in [10, 20, 40] {
        node.feed(master(ToAgent::Ping));
        assert_eq!(lines(&node.pass(secs(wait - 1))), NOTHING);
        assert_eq!(lines(&node.pass(secs(1))), ["disk 1 made"]);
    }
    node.feed(over(DISK, None));
    node.feed(master(ToAgent::Ping));
    let later = lines(&node.pass(secs(74)));
    assert!(!later.iter().any(|line| line.starts_with("disk")));
}

#[test]
fn after_a_restart_the_provider_is_asked_again_and_nothing_is_lost() {
    // OF-15, AG-14
    let mut node = joined();
    node.feed(begin(1));
    let (mut node, outputs) = again(node);
    let expected = ["recover []", "disks 1", "ask rio-1-S0-D1 create-disk"];
    assert_eq!(outputs[..3], expected);
    assert!(!outputs.contains(&"disk 1 made".into()));
    assert!(has(&node, REST));
    node.feed(says(made()));
    // Whose end is known it need not be asked for; the master may not have heard it.
    let (mut node, outputs) = again(node);
    assert_eq!(outputs[..2], ["recover []", "disks 1"]);
    assert!(!outputs.iter().any(|line| line.starts_with("ask")));
    assert!(outputs.contains(&"disk 1 made".into()), "{outputs:?}");
    node.feed(over(DISK, None));
    let (node, outputs) = again(node);
    assert_eq!(outputs[..2], ["recover []", "disks 0"]);
    assert!(outputs.contains(&"operation 2 make finished".into()));
    assert!(has(&node, &format!("{REST};{DISK}")));
}

#[test]
fn a_disk_of_what_is_not_there_ends_the_connection_and_asks_nobody() {
    // SM-34
    let mut node = Node::joined();
    let outputs = lines(&node.feed(begin(1)));
    let [only] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert!(
        only.starts_with("disconnect 1 operation 1 cannot"),
        "{only}"
    );
    // Others before it are missing.
    let mut node = joined();
    assert_eq!(lines(&node.feed(begin(2))), NOTHING);
    assert!(has(&node, POOL));
}

#[test]
fn another_agents_disks_and_jobs_nobody_knows_are_ignored() {
    let mut node = joined();
    node.feed(begin(1));
    let agent = AgentId::new("rio-1-S7").unwrap();
    for job in [
        DiskJobId { agent, number: 1 },
        DiskJobId {
            agent: agent_id(),
            number: 2,
        },
    ] {
        let outcome = made();
        let outputs = node.feed(Input::Disk(DiskEvent { job, outcome }));
        assert_eq!(lines(&outputs), NOTHING);
    }
}

#[test]
fn a_task_waits_for_no_disk_that_is_being_made() {
    // AG-30, SM-34
    let mut node = joined();
    node.feed(begin(1));
    let needs = TaskInfo {
        resources: res(DISK),
        ..task("early")
    };
    let outputs = lines(&node.feed(run("f", needs)));
    let update = "update early dropped resources-unknown latest dropped";
    assert_eq!(outputs[2], update, "{outputs:?}");
}

#[test]
fn a_provider_that_says_other_things_has_failed() {
    // RM-51: what it is, where it comes from, and how much is said of it
    let block = DiskOutcome::Made(MadeDisk {
        formatted: Formatted::Block,
        id: None,
        metadata: Labels::new(),
    });
    let long = DiskOutcome::Made(MadeDisk {
        formatted: Formatted::Mount {
            root: Some("/m".repeat(limits::DISK_BYTES).into()),
        },
        id: None,
        metadata: Labels::new(),
    });
    let change = job(1).change;
    for (outcome, why) in [
        (block, "the provider has done something else: Made"),
        (long, "the provider says more than 4096 bytes about it"),
        (DiskOutcome::Failed("no".into()), "no"),
    ] {
        let failed = change.result(&outcome).unwrap_err();
        assert!(failed.starts_with(why), "{failed}");
    }
    let long = "x".repeat(2 * limits::TEXT_BYTES);
    let failed = change.result(&DiskOutcome::Failed(long)).unwrap_err();
    assert_eq!(failed.len(), limits::TEXT_BYTES);
    assert_eq!(change.result(&made()), Ok(res(DISK)));
    // The agent says so itself.
    let mut node = joined();
    node.feed(begin(1));
    let outcome = DiskOutcome::Returned(Returned::Gone);
    let outputs = lines(&node.feed(says(outcome)));
    let said = "disk 1 the provider has done something else: Returned(Gone)";
    assert_eq!(outputs, ["* disk 1 ended", said]);
}
