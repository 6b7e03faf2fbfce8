//! Disks that providers make and take back: two orders, and what frameworks hear of them.

use super::operations::{Offered, accept, heard, offered, one, op, return_of};
use super::*;
use crate::limits;
use crate::protocol::disk::{DiskChange, DiskEnd, DiskJob, DiskOutcome, DiskTarget};
use crate::protocol::node::{DrainConfig, Standing};
use crate::protocol::operation::{
    Conversion, Converted, OperationKind, OperationState, OperationStatus, Owner,
};
use crate::resources::operations::{Formatted, MadeDisk, Returned};
use crate::resources::{Labels, Resource};

const TOTAL: &str = r#"cpus:4;disk(*)<raw,profile="fast",provider="store">:10"#;
const PART: &str = r#"disk(*)<raw,profile="fast",provider="store">:4"#;
const REST: &str = r#"cpus:4;disk(*)<raw,profile="fast",provider="store">:6"#;
const DISK: &str = r#"disk(*)<mount="/m",id="d1",profile="fast",provider="store">:4"#;

fn disk(text: &str) -> Resource {
    one(&resources(text))
}

fn create() -> DiskChange {
    DiskChange::Create {
        source: disk(PART),
        target: DiskTarget::Mount,
        profile: None,
    }
}

fn ask(id: Option<&str>, change: DiskChange) -> Operation {
    Operation::Convert {
        id: id.map(op),
        change: Conversion::Disk(change),
    }
}

fn made(id: &str) -> DiskOutcome {
    DiskOutcome::Made(MadeDisk {
        formatted: Formatted::Mount {
            root: Some("/m".into()),
        },
        id: Some(id.into()),
        metadata: Labels::new(),
    })
}

fn failed(why: &str) -> DiskOutcome {
    DiskOutcome::Failed(why.into())
}

fn job(number: u64, id: Option<&str>, change: DiskChange) -> DiskJob {
    let (framework, id) = (framework_id(0), id.map(op));
    let owner = Owner { framework, id };
    DiskJob {
        number,
        owner,
        change,
    }
}

/// What follows from an accept, or from an end: a record, and then the order.
fn begun(agent: PeerId, job: &DiskJob) -> [Out; 2] {
    let record = RegistryOp::BeginDisk {
        agent: agent_id(0),
        job: job.clone(),
    };
    let order = to_agent(agent, ToAgent::BeginDisk(job.clone()));
    [Output::Persist(record), order]
}

fn over(agent: PeerId, job: &DiskJob, number: u64, after: &str, why: Option<&str>) -> [Out; 2] {
    let end = DiskEnd {
        job: job.number,
        failed: why.map(Into::into),
        order: job.end(number, resources(after)),
    };
    let record = RegistryOp::EndDisk {
        agent: agent_id(0),
        end: end.clone(),
    };
    let order = to_agent(agent, ToAgent::EndDisk(end));
    [Output::Persist(record), order]
}

fn ended(job: &DiskJob, outcome: DiskOutcome) -> ToMaster {
    let job = job.clone();
    ToMaster::DiskEnded { job, outcome }
}

/// What an agent says of an operation that has ended.
fn news(number: u64, state: OperationState, message: &str, converted: &str) -> ToMaster {
    ToMaster::OperationUpdate {
        number,
        framework: framework_id(0),
        status: OperationStatus {
            message: message.into(),
            converted: resources(converted),
            update: Some(UpdateId(5)),
            ..OperationStatus::new(op("make"), state, Time::ZERO)
        },
    }
}

/// An agent with a pool, of which a disk is being made that is called `make`.
fn making() -> (Offered, DiskJob) {
    let mut o = offered(TOTAL);
    let outs = o.accept(vec![ask(Some("make"), create())]);
    let job = job(1, Some("make"), create());
    assert_eq!(outs, begun(o.agent_peer, &job));
    (o, job)
}

/// The same, and the agent has said that it is at it.
fn begun_there() -> (Offered, DiskJob) {
    let (mut o, job) = making();
    let last = 1;
    let outs = o
        .world
        .agent_says(o.agent_peer, ToMaster::CarriedOut { last });
    let agent = agent_id(0);
    let settle = RegistryOp::Settle { agent, last };
    assert_eq!(outs, [Output::Persist(settle)]);
    (o, job)
}

impl Offered {
    fn says(&mut self, message: ToMaster) -> Vec<Out> {
        self.world.agent_says(self.agent_peer, message)
    }

    fn state(&mut self) -> Vec<OperationState> {
        let operations = vec![];
        let call = Call::ReconcileOperations { operations };
        let outs = self.world.call(self.peer, call);
        heard(&outs).into_iter().map(|it| it.state).collect()
    }
}

#[test]
fn a_source_is_nobodys_until_the_provider_has_ended() {
    // OF-15, OF-28, SM-30, SM-31
    let (mut o, job) = begun_there();
    assert_eq!(
        (o.total(), o.state()),
        (resources(REST), vec![OperationState::Pending])
    );
    // It is neither offered nor charged to anybody.
    assert_eq!(o.again(), resources(REST));
    let outs = o.says(ended(&job, made("d1")));
    assert_eq!(outs, over(o.agent_peer, &job, 2, DISK, None));
    let total = || resources(&alloc::format!("{REST};{DISK}"));
    assert_eq!(o.total(), total());
    // Said again before it was heard, it ends nothing again.
    assert_eq!(o.says(ended(&job, made("d2"))), []);
    assert_eq!(o.state(), [OperationState::Pending]);
    o.says(ToMaster::CarriedOut { last: 2 });
    let outs = o.says(news(2, OperationState::Finished, "", DISK));
    let told = heard(&outs).remove(0);
    assert_eq!(
        (told.state, told.converted),
        (OperationState::Finished, resources(DISK))
    );
    let confirm = Call::AcknowledgeOperation {
        id: op("make"),
        update: UpdateId(5),
    };
    let (number, update) = (2, UpdateId(5));
    let confirmed = ToAgent::AcknowledgeOperation { number, update };
    let outs = o.world.call(o.peer, confirm);
    assert_eq!(outs, [to_agent(o.agent_peer, confirmed)]);
    assert_eq!(o.state(), []);
    assert_eq!(o.total(), total());
}

#[test]
fn a_source_is_free_again_if_the_provider_could_not() {
    // OF-15, SM-32
    let (mut o, job) = begun_there();
    let outs = o.says(ended(&job, failed("it is full")));
    assert_eq!(outs, over(o.agent_peer, &job, 2, PART, Some("it is full")));
    assert_eq!(o.total(), resources(TOTAL));
    o.says(ToMaster::CarriedOut { last: 2 });
    let outs = o.says(news(2, OperationState::Failed, "it is full", ""));
    let told = heard(&outs).remove(0);
    assert_eq!(
        (told.state, &*told.message),
        (OperationState::Failed, "it is full")
    );
    assert_eq!(o.state(), [OperationState::Failed]);
    let registry = o.world.master.registry();
    let admission = registry.agent(&agent_id(0)).unwrap();
    assert_eq!((admission.jobs.len(), admission.ends.len()), (0, 0));
}

#[test]
fn a_disk_is_taken_back_to_the_pool_or_goes() {
    // OF-28, RM-51
    let total = alloc::format!("cpus:4;{DISK}");
    for (returned, after) in [
        (Returned::ToPool, PART),
        (
            Returned::ToRaw,
            r#"disk(*)<raw,id="d1",provider="store">:4"#,
        ),
        (Returned::Gone, ""),
    ] {
        let mut o = offered(&total);
        let destroy = DiskChange::Destroy { source: disk(DISK) };
        let job = job(1, None, destroy.clone());
        let outs = o.accept(vec![ask(None, destroy)]);
        assert_eq!(outs, begun(o.agent_peer, &job));
        assert_eq!(o.total(), resources("cpus:4"));
        o.says(ToMaster::CarriedOut { last: 1 });
        let outs = o.says(ended(&job, DiskOutcome::Returned(returned)));
        assert_eq!(outs, over(o.agent_peer, &job, 2, after, None));
        let total = alloc::format!("cpus:4;{after}");
        assert_eq!(o.total(), resources(total.trim_end_matches(';')));
    }
}

#[test]
fn what_is_being_made_cannot_be_used_or_made_again() {
    // OF-15, OF-16
    let mut o = offered(TOTAL);
    let needs = |text: &str| TaskInfo {
        resources: resources(text),
        ..task("t", &o.agent, "cpus:1")
    };
    let whole = DiskChange::Create {
        source: disk(r#"disk(*)<raw,profile="fast",provider="store">:7"#),
        target: DiskTarget::Block,
        profile: None,
    };
    let operations = vec![
        ask(Some("make"), create()),
        ask(Some("more"), whole),
        Operation::Launch(vec![needs(DISK)]),
    ];
    let outs = o.accept(operations);
    assert_eq!(
        outs[..2],
        begun(o.agent_peer, &job(1, Some("make"), create()))
    );
    let refused = heard(&outs).remove(0);
    let said = (refused.id, refused.reason);
    assert_eq!(said, (op("more"), Some(RejectKind::NotContained)));
    let Some(Output::Effect(Effect::Scheduler {
        event: Event::Update(status),
        ..
    })) = outs.last()
    else {
        panic!("{outs:?}");
    };
    assert_eq!(status.reason, Some(Reason::TaskInvalid));
}

#[test]
fn an_agents_provider_is_at_so_many_disks_and_no_more() {
    // OF-15
    let most = limits::DISK_JOBS_PER_AGENT;
    let mut o = offered(&TOTAL.replace(":10", ":1000"));
    let outs = o.accept(vec![ask(None, create()); most + 1]);
    let begun = outs.iter().filter(|it| matches!(it, Output::Persist(_)));
    assert_eq!(begun.count(), most);
    let Some(Output::Effect(Effect::Scheduler {
        event: Event::Rejected { reason, .. },
        ..
    })) = outs.last()
    else {
        panic!("{outs:?}");
    };
    assert_eq!(*reason, RejectKind::TooMany);
}

#[test]
fn what_providers_are_at_counts_as_what_the_agent_has() {
    // OF-15, I22: when they have failed it is there again, and has to fit frames
    let raw = |n: usize| {
        alloc::format!(r#"disk(*)<raw,label="{n:0>4000}",profile="fast",provider="store">:1"#)
    };
    let all: Vec<String> = (0..100).map(raw).collect();
    let mut o = offered(&alloc::format!("cpus:4;{}", all.join(";")));
    let total = o.total();
    let changes: Vec<DiskChange> = all[..60]
        .iter()
        .map(|text| DiskChange::Create {
            source: disk(text),
            target: DiskTarget::Mount,
            profile: None,
        })
        .collect();
    let asked = changes.iter().map(|change| ask(None, change.clone()));
    let outs = o.accept(asked.collect());
    let begun = outs.iter().filter(|it| matches!(it, Output::Persist(_)));
    let begun = begun.count() as u64;
    assert!((1..60).contains(&begun), "{begun} of them");
    let Some(Output::Effect(Effect::Scheduler {
        event: Event::Rejected { reason, .. },
        ..
    })) = outs.last()
    else {
        panic!("{} outputs", outs.len());
    };
    assert_eq!(*reason, RejectKind::TooLarge);
    o.says(ToMaster::CarriedOut { last: begun });
    for (number, change) in (1..=begun).zip(changes) {
        o.says(ended(&job(number, None, change), failed("it is full")));
    }
    assert!(size(&total) <= limits::AGENT_BYTES);
    assert_eq!(o.total(), total);
}

#[test]
fn what_a_provider_says_wrongly_is_a_failure() {
    // RM-51: it was to be a file system; a disk of this name is there
    let total = alloc::format!("{TOTAL};{DISK}");
    let block = DiskOutcome::Made(MadeDisk {
        formatted: Formatted::Block,
        id: Some("d2".into()),
        metadata: Labels::new(),
    });
    for outcome in [block, DiskOutcome::Returned(Returned::ToPool), made("d1")] {
        let mut o = offered(&total);
        o.accept(vec![ask(None, create())]);
        o.says(ToMaster::CarriedOut { last: 1 });
        let outs = o.says(ended(&job(1, None, create()), outcome));
        let Some(Output::Persist(RegistryOp::EndDisk { end, .. })) = outs.first() else {
            panic!("{outs:?}");
        };
        assert!(end.failed.is_some(), "{end:?}");
        assert_eq!(end.order.after, resources(PART));
        assert_eq!(o.total(), resources(&total));
    }
}

#[test]
fn what_was_not_begun_has_not_ended() {
    let (mut o, job) = making();
    // The agent has not said that it has heard of it.
    assert_eq!(o.says(ended(&job, made("d1"))), []);
    o.says(ToMaster::CarriedOut { last: 1 });
    let other = DiskJob { number: 2, ..job };
    assert_eq!(o.says(ended(&other, made("d1"))), []);
    assert_eq!(o.total(), resources(REST));
}

fn told(last: u64, after: &str) -> Option<Converted> {
    let (before, after) = (resources(PART), resources(after));
    Some(Converted {
        last,
        before,
        after,
    })
}

#[test]
fn the_next_master_knows_what_is_being_made() {
    // OF-15, OF-56: told again to an agent that has not heard of it, and not to one that has
    let (o, job) = making();
    let registry = o.world.master.registry().clone();
    for (heard_of, orders) in [(None, 1), (told(1, ""), 0)] {
        let mut world = World::recovered(2, registry.clone());
        world.drain();
        let (agent_peer, outs) = return_of(&mut world, TOTAL, heard_of);
        let begin = to_agent(agent_peer, ToAgent::BeginDisk(job.clone()));
        assert_eq!(outs.iter().filter(|out| **out == begin).count(), orders);
        world.agent_says(agent_peer, ToMaster::CarriedOut { last: 1 });
        assert_eq!(world.free(), resources(REST));
        let peer = world.connect(PeerRole::Framework, "web");
        let again = known_as(o.owner.clone(), "web");
        world.subscribe_again(peer, again);
        let operations = vec![];
        let call = Call::ReconcileOperations { operations };
        // Known from the registry, without a word of the agent.
        let known = heard(&world.call(peer, call));
        let known: Vec<_> = known.into_iter().map(|it| (it.id, it.state)).collect();
        assert_eq!(known, [(op("make"), OperationState::Pending)]);
        let outs = world.agent_says(agent_peer, ended(&job, made("d1")));
        assert_eq!(outs, over(agent_peer, &job, 2, DISK, None));
        let outs = world.agent_says(agent_peer, news(2, OperationState::Finished, "", DISK));
        assert_eq!(heard(&outs)[0].state, OperationState::Finished);
    }
}

#[test]
fn the_next_master_ends_what_its_agent_has_not_heard_the_end_of() {
    // OF-15: the end was recorded, and lost on its way
    let (mut o, job) = begun_there();
    o.says(ended(&job, failed("it is full")));
    let mut world = World::recovered(2, o.world.master.registry().clone());
    world.drain();
    let (peer, outs) = return_of(&mut world, TOTAL, told(1, ""));
    let [_, end] = over(peer, &job, 2, PART, Some("it is full"));
    assert!(outs.contains(&end), "{outs:?}");
    assert_eq!(world.agent_says(peer, ended(&job, made("d1"))), []);
    assert_eq!(world.free(), resources(TOTAL));
}

#[test]
fn what_the_registry_has_lost_of_disks_the_agent_tells() {
    // OF-15, RM-32
    let mut world = World::new();
    let peer = world.connect(PeerRole::Agent, "one");
    world.agent_says(peer, ToMaster::Converted(told(1, "").unwrap()));
    let job = job(1, Some("make"), create());
    let other = DiskJob {
        number: 2,
        ..job.clone()
    };
    world.agent_says(peer, ToMaster::DiskJobs(vec![job.clone(), other.clone()]));
    world.agent_says(peer, reregister(agent_id(0), TOTAL, vec![], vec![]));
    assert_eq!(world.free(), resources(REST));
    // Of what it was never ordered it cannot be at it.
    assert_eq!(world.agent_says(peer, ended(&other, made("d1"))), []);
    let outs = world.agent_says(peer, ended(&job, made("d1")));
    assert_eq!(outs, over(peer, &job, 2, DISK, None));
    assert_eq!(world.agent_says(peer, ended(&job, made("d1"))), []);
    assert_eq!(world.free(), resources(&alloc::format!("{REST};{DISK}")));
}

#[test]
fn a_registry_that_has_lost_some_operations_knows_what_disks_are_being_made() {
    // OF-15, RM-32: one that began before what it has lost
    let (o, job) = begun_there();
    let earlier = o.world.master.registry().clone();
    for jobs in [vec![job.clone()], vec![]] {
        let mut world = World::recovered(2, earlier.clone());
        world.drain();
        let peer = world.connect(PeerRole::Agent, "one");
        world.agent_says(peer, ToMaster::Converted(told(5, "").unwrap()));
        world.agent_says(peer, ToMaster::DiskJobs(jobs.clone()));
        let account = reregister(agent_id(0), TOTAL, vec![], vec![]);
        world.agent_says(peer, account);
        let outs = world.agent_says(peer, ended(&job, made("d1")));
        if jobs.is_empty() {
            // It has ended, in what is lost.
            assert_eq!(outs, []);
        } else {
            assert_eq!(outs, over(peer, &job, 6, DISK, None));
        }
    }
}

#[test]
fn a_job_that_has_ended_does_not_end_again_whatever_the_agent_says() {
    // OF-15, I1: not even long after, and as another one
    let (mut o, job) = begun_there();
    o.says(ended(&job, failed("it is full")));
    o.says(ToMaster::CarriedOut { last: 2 });
    let admission = o.world.master.registry().agent(&agent_id(0)).unwrap();
    assert_eq!((admission.open.len(), admission.ends.len()), (0, 0));
    for number in 0..4 {
        let job = DiskJob {
            number,
            ..job.clone()
        };
        assert_eq!(o.says(ended(&job, made("d9"))), [], "{number}");
    }
    assert_eq!(o.total(), resources(TOTAL));
}

#[test]
fn a_source_outlives_its_framework() {
    // OF-15, OF-58
    let (mut o, job) = begun_there();
    o.world.call(o.peer, Call::Teardown);
    assert_eq!(o.total(), resources(REST));
    let outs = o.says(ended(&job, made("d1")));
    assert_eq!(outs, over(o.agent_peer, &job, 2, DISK, None));
    assert_eq!(o.total(), resources(&alloc::format!("{REST};{DISK}")));
    let (number, update) = (2, UpdateId(5));
    let confirmed = ToAgent::AcknowledgeOperation { number, update };
    let outs = o.says(news(2, OperationState::Finished, "", DISK));
    assert_eq!(outs, [to_agent(o.agent_peer, confirmed)]);
}

#[test]
fn a_drain_waits_for_disks() {
    // TK-125
    let (mut o, job) = begun_there();
    let ann = o.world.connect(PeerRole::Operator, "ann");
    let agent = o.agent.clone();
    let config = DrainConfig::default();
    o.world.order(ann, operator::Call::Drain { agent, config });
    let standing = |o: &Offered| o.world.master.registry().agent(&o.agent).unwrap().standing;
    assert_eq!(standing(&o), Standing::Draining(config));
    o.says(ended(&job, made("d1")));
    assert_eq!(standing(&o), Standing::Draining(config));
    o.says(ToMaster::CarriedOut { last: 2 });
    assert_eq!(standing(&o), Standing::Drained);
}

#[test]
fn a_disk_of_an_agent_that_is_gone_is_gone() {
    // OF-59, SM-35
    let (mut o, _) = begun_there();
    o.world.lose(o.agent_peer);
    o.world.pass(Duration::from_secs(601));
    assert_eq!(o.state(), [OperationState::Unreachable]);
    let peer = o.world.connect(PeerRole::Agent, "one");
    let agent = agent_info(TOTAL);
    let outs = o.world.agent_says(peer, ToMaster::Register { agent });
    let gone = heard(&outs);
    assert_eq!(gone[0].state, OperationState::GoneByOperator);
    assert_eq!(o.state(), [OperationState::GoneByOperator]);
}

#[test]
fn operators_do_not_have_disks_made() {
    let mut o = offered(TOTAL);
    let ann = o.world.connect(PeerRole::Operator, "ann");
    let call = operator::Call::Convert {
        agent: o.agent.clone(),
        change: Conversion::Disk(create()),
    };
    let answer = o.world.ask(ann, call);
    assert!(matches!(answer, Answer::Invalid(_)), "{answer:?}");
    assert_eq!(o.total(), resources(TOTAL));
    // The offer stands.
    let outs = o.world.call(o.peer, accept(0, vec![ask(None, create())]));
    assert_eq!(outs, begun(o.agent_peer, &job(1, None, create())));
}

// FW-75, OF-15, OF-28
#[test]
fn operators_see_what_providers_are_at_and_what_they_have_made() {
    let (mut o, job) = making();
    let seen = |o: &Offered| {
        let view = o.world.master.view();
        let agents = view.agents();
        let operations = view.operations().into_iter();
        let operations = operations.map(|it| (it.kind, it.status.state));
        let operations: Vec<_> = operations.collect();
        (agents[0].operations, agents[0].total.clone(), operations)
    };
    let make = |state| vec![(Some(OperationKind::CreateDisk), state)];
    let pending = make(OperationState::Pending);
    assert_eq!(seen(&o), (1, resources(REST), pending.clone()));
    // That it has heard of it does not mean that it is done.
    let says = |o: &mut Offered, message| o.world.agent_says(o.agent_peer, message);
    says(&mut o, ToMaster::CarriedOut { last: 1 });
    assert_eq!(seen(&o), (1, resources(REST), pending.clone()));
    says(&mut o, ended(&job, made("d1")));
    let all = resources(&alloc::format!("{REST};{DISK}"));
    assert_eq!(seen(&o), (1, all.clone(), pending));
    says(&mut o, ToMaster::CarriedOut { last: 2 });
    says(&mut o, news(2, OperationState::Finished, "", DISK));
    assert_eq!(seen(&o), (0, all, make(OperationState::Finished)));
}
