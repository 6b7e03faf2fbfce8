//! Operations on resources that are not carried out (VA-16 to VA-25, RM-34 to RM-51).
//!
//! An accept of which nothing can be done leaves the same behind as one of nothing.

use std::time::Duration;

use tepui_core::ids::{OperationId, UpdateId};
use tepui_core::limits;
use tepui_core::machine::Output;
use tepui_core::master::Effect;
use tepui_core::protocol::agent::ToMaster;
use tepui_core::protocol::disk::{DiskChange, DiskJob, DiskOutcome, DiskTarget};
use tepui_core::protocol::offer::Operation;
use tepui_core::protocol::operation::{Conversion, Owner};
use tepui_core::protocol::operator::{self, Answer};
use tepui_core::protocol::refusal::{CallKind, RejectKind};
use tepui_core::protocol::scheduler::{Call, Event};
use tepui_core::registry::RegistryOp;
use tepui_core::resources::{Milli, ProfileId, Resource, Resources};

use super::Catalogue;
use super::stage::{AGENT, FRAMEWORK, NEW_AGENT, Stage, agent_id, framework_id, resources};

/// What framework `f` may reserve.
fn reserved(text: &str) -> Resources {
    let (name, value) = text.split_once(':').unwrap();
    resources(&format!(
        r#"{name}(*)<dynamic="web",principal="f">:{value}"#
    ))
}

/// A volume on what is reserved so.
fn volume(id: &str, by: &str, amount: u32) -> Resources {
    resources(&format!(
        r#"disk(*)<dynamic="web",principal="f",volume="{id}",principal="{by}",rw="/data">:{amount}"#
    ))
}

fn one(bag: &Resources) -> Resource {
    bag.iter().next().unwrap().clone()
}

fn accept(stage: &mut Stage, operations: Vec<Operation>) -> Vec<Output<RegistryOp, Effect>> {
    let offers = vec![stage.offer(FRAMEWORK, 0).id];
    let refuse = Some(Duration::ZERO);
    stage.call(
        FRAMEWORK,
        Call::Accept {
            offers,
            operations,
            refuse,
        },
    )
}

fn unnamed(change: Conversion) -> Operation {
    Operation::Convert { id: None, change }
}

/// Rule, place, what is wrong, and what is asked for.
type Case = (&'static str, &'static str, RejectKind, Conversion);

fn cases() -> Vec<Case> {
    let other_role = resources(r#"cpus(*)<dynamic="db",principal="f">:1"#);
    let somebody = resources(r#"cpus(*)<dynamic="web",principal="g">:1"#);
    let nobody = resources(r#"cpus(*)<dynamic="web">:1"#);
    let small = one(&volume("v", "f", 1));
    vec![
        (
            "an operation names resources",
            "reserve",
            RejectKind::Empty,
            Conversion::Reserve(Resources::new()),
        ),
        (
            "an operation names resources",
            "unreserve",
            RejectKind::Empty,
            Conversion::Unreserve(Resources::new()),
        ),
        (
            "an operation names resources",
            "create",
            RejectKind::Empty,
            Conversion::Create(Resources::new()),
        ),
        (
            "an operation names resources",
            "destroy",
            RejectKind::Empty,
            Conversion::Destroy(Resources::new()),
        ),
        (
            "what an operation needs is offered",
            "reserve",
            RejectKind::NotContained,
            Conversion::Reserve(reserved("cpus:99")),
        ),
        (
            "what an operation needs is offered",
            "unreserve",
            RejectKind::NotContained,
            Conversion::Unreserve(reserved("cpus:1")),
        ),
        (
            "what an operation needs is offered",
            "create",
            RejectKind::NotContained,
            Conversion::Create(volume("v", "f", 1)),
        ),
        (
            "what an operation needs is offered",
            "destroy",
            RejectKind::NotContained,
            Conversion::Destroy(volume("v", "f", 1)),
        ),
        (
            "what an operation needs is offered",
            "grow",
            RejectKind::NotContained,
            Conversion::Grow {
                volume: small.clone(),
                addition: one(&reserved("disk:1")),
            },
        ),
        (
            "what an operation needs is offered",
            "shrink",
            RejectKind::NotContained,
            Conversion::Shrink {
                volume: one(&volume("v", "f", 2)),
                amount: Milli::from_units(1),
            },
        ),
        (
            "a reservation is to the role of the offers",
            "reserve",
            RejectKind::WrongRole,
            Conversion::Reserve(other_role),
        ),
        (
            "a reservation names who makes it",
            "reserve",
            RejectKind::WrongPrincipal,
            Conversion::Reserve(somebody),
        ),
        (
            "a reservation names somebody",
            "reserve",
            RejectKind::WrongPrincipal,
            Conversion::Reserve(nobody),
        ),
        (
            "a volume names who makes it",
            "create",
            RejectKind::WrongPrincipal,
            Conversion::Create(volume("v", "g", 1)),
        ),
        (
            "only what was reserved by an operation is released",
            "unreserve",
            RejectKind::NotDynamic,
            Conversion::Unreserve(resources("cpus:1")),
        ),
        (
            "only volumes are made",
            "create",
            RejectKind::WrongPrincipal,
            Conversion::Create(reserved("disk:1")),
        ),
        (
            "only volumes are destroyed",
            "destroy",
            RejectKind::NotAVolume,
            Conversion::Destroy(reserved("disk:1")),
        ),
        (
            "only volumes grow",
            "grow",
            RejectKind::NotAVolume,
            Conversion::Grow {
                volume: one(&reserved("disk:1")),
                addition: one(&reserved("disk:1")),
            },
        ),
        (
            "only volumes shrink",
            "shrink",
            RejectKind::NotAVolume,
            Conversion::Shrink {
                volume: one(&reserved("disk:1")),
                amount: Milli::from_units(1),
            },
        ),
        (
            "a volume is destroyed before its reservation is released",
            "unreserve",
            RejectKind::IsVolume,
            Conversion::Unreserve(volume("v", "f", 1)),
        ),
        (
            "a volume does not shrink to nothing",
            "shrink",
            RejectKind::BadAmount,
            Conversion::Shrink {
                volume: small.clone(),
                amount: Milli::from_units(1),
            },
        ),
        (
            "a volume shrinks by something",
            "shrink",
            RejectKind::BadAmount,
            Conversion::Shrink {
                volume: small,
                amount: Milli::ZERO,
            },
        ),
    ]
}

/// What is asked of a provider of disks, and of resources of several (VA-23 to VA-25).
fn disk_cases() -> Vec<Case> {
    let disk = |text: &str| one(&resources(&format!("disk(*)<{text}>:4")));
    let create = |text: &str, profile: Option<&str>| {
        let profile = profile.map(|name| ProfileId::new(name).unwrap());
        Conversion::Disk(DiskChange::Create {
            source: disk(text),
            target: DiskTarget::Mount,
            profile,
        })
    };
    let destroy = |source| Conversion::Disk(DiskChange::Destroy { source });
    let volume = r#"disk(web)<mount="/m",id="d",volume="v",rw="/d",provider="p">:4"#;
    let mut cases = Vec::new();
    for (rule, text, profile) in [
        (
            "a disk that is made is of a provider",
            r#"raw,profile="a""#,
            None,
        ),
        ("a disk that is made was a disk", r#"provider="p""#, None),
        (
            "a disk that is made was raw and no directory",
            r#"path,profile="a",provider="p""#,
            None,
        ),
        (
            "a disk that is made was raw and no file system",
            r#"mount,profile="a",provider="p""#,
            None,
        ),
        (
            "a disk that is made was raw and no device",
            r#"block,profile="a",provider="p""#,
            None,
        ),
        (
            "a disk is made after a profile",
            r#"raw,id="d",provider="p""#,
            None,
        ),
        (
            "a disk is made after one profile",
            r#"raw,profile="a",provider="p""#,
            Some("a"),
        ),
    ] {
        cases.push((
            rule,
            "create-disk",
            RejectKind::Unfit,
            create(text, profile),
        ));
    }
    for (rule, text) in [
        (
            "a disk that is taken back is of a provider",
            r#"mount="/m",id="d""#,
        ),
        ("a disk that is taken back is a disk", r#"provider="p""#),
        (
            "a disk that is taken back is no directory",
            r#"path="/m",id="d",provider="p""#,
        ),
        (
            "a disk that is taken back has an id",
            r#"mount="/m",profile="a",provider="p""#,
        ),
        (
            "a device that is taken back has an id",
            r#"block,profile="a",provider="p""#,
        ),
        (
            "a pool is not taken back",
            r#"raw,profile="a",provider="p""#,
        ),
    ] {
        cases.push((rule, "destroy-disk", RejectKind::Unfit, destroy(disk(text))));
    }
    let several = |of: &dyn Fn(&str) -> Resources| {
        let both = [of("p"), of("q")];
        Resources::of(both.iter().flatten().cloned()).unwrap()
    };
    let dynamic = |provider: &str| {
        resources(&format!(
            r#"disk(*)<dynamic="web",principal="f",path="/{provider}",provider="{provider}">:1"#
        ))
    };
    let volumes = |provider: &str| {
        let by = r#"principal="f""#;
        let on = format!(r#"path="/{provider}",volume="{provider}",{by},rw="/d""#);
        resources(&format!(
            r#"disk(*)<dynamic="web",{by},{on},provider="{provider}">:1"#
        ))
    };
    let rule = "resources of an operation are of one provider";
    let of_one = RejectKind::SeveralProviders;
    cases.extend([
        (
            rule,
            "reserve",
            of_one,
            Conversion::Reserve(several(&dynamic)),
        ),
        (
            rule,
            "unreserve",
            of_one,
            Conversion::Unreserve(several(&dynamic)),
        ),
        (
            rule,
            "create",
            of_one,
            Conversion::Create(several(&volumes)),
        ),
        (
            rule,
            "destroy",
            of_one,
            Conversion::Destroy(several(&volumes)),
        ),
        (
            "a volume has to be destroyed first",
            "destroy-disk",
            RejectKind::IsVolume,
            destroy(one(&resources(volume))),
        ),
        (
            "what an operation needs is offered",
            "create-disk",
            RejectKind::NotContained,
            create(r#"raw,profile="a",provider="p""#, None),
        ),
        (
            "what an operation needs is offered",
            "destroy-disk",
            RejectKind::NotContained,
            destroy(disk(r#"raw,id="d",provider="p""#)),
        ),
    ]);
    cases
}

/// What agents say of disks that nobody has asked for.
fn by_agents(catalogue: &mut Catalogue) {
    let ended = || {
        let framework = framework_id(0);
        let source = one(&resources(r#"disk(*)<raw,profile="a",provider="p">:4"#));
        let job = DiskJob {
            number: 1,
            owner: Owner {
                framework,
                id: None,
            },
            change: DiskChange::Destroy { source },
        };
        let outcome = DiskOutcome::Failed("no".into());
        ToMaster::DiskEnded { job, outcome }
    };
    for (rule, peer) in [
        ("a disk that has ended was begun", AGENT),
        ("an agent whose disk has ended is registered", NEW_AGENT),
    ] {
        let mut stage = Stage::new();
        let before = stage.state();
        assert_eq!(stage.message(peer, ended()), [], "{rule}");
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, "disk-ended");
    }
}

pub(crate) fn check(catalogue: &mut Catalogue) {
    by_frameworks(catalogue);
    by_agents(catalogue);
    names(catalogue);
    by_operators(catalogue);
}

fn by_frameworks(catalogue: &mut Catalogue) {
    let mut declined = Stage::new();
    accept(&mut declined, vec![]);
    let good = Conversion::Reserve(reserved("cpus:1"));
    let outputs = accept(&mut Stage::new(), vec![unnamed(good)]);
    assert!(outputs.iter().any(|it| matches!(it, Output::Persist(_))));
    for (rule, place, kind, change) in cases().into_iter().chain(disk_cases()) {
        let mut stage = Stage::new();
        let outputs = accept(&mut stage, vec![unnamed(change)]);
        let [Output::Effect(Effect::Scheduler { event, .. })] = outputs.as_slice() else {
            panic!("{rule}, {place}: {outputs:?}");
        };
        let Event::Rejected { call, reason, .. } = event else {
            panic!("{rule}, {place}: {event:?}");
        };
        assert_eq!(
            (*call, *reason),
            (CallKind::Accept, kind),
            "{rule}, {place}"
        );
        assert_eq!(stage.state(), declined.state(), "{rule}, {place}");
        catalogue.note(rule, place);
    }
}

/// What an operation is called, and what is said of names that are none.
fn names(catalogue: &mut Catalogue) {
    let id = || OperationId::new("o").unwrap();
    let named = |text| Operation::Convert {
        id: Some(id()),
        change: Conversion::Reserve(reserved(text)),
    };
    let mut stage = Stage::new();
    let outputs = accept(&mut stage, vec![named("cpus:1"), named("mem:1")]);
    let is_doubled = |output: &Output<_, Effect>| {
        matches!(
            output,
            Output::Effect(Effect::Scheduler {
                event: Event::Rejected {
                    reason: RejectKind::Doubled,
                    ..
                },
                ..
            })
        )
    };
    assert!(outputs.iter().any(is_doubled), "{outputs:?}");
    let orders = outputs.iter().filter(|it| matches!(it, Output::Persist(_)));
    assert_eq!(orders.count(), 1, "{outputs:?}");
    catalogue.note("an operation's name is its own", "accept");

    for (rule, place, call) in [
        (
            "an operation that is acknowledged was named",
            "acknowledge-operation",
            Call::AcknowledgeOperation {
                id: id(),
                update: UpdateId(9),
            },
        ),
        (
            "an operation that is asked for was named",
            "reconcile-operations",
            Call::ReconcileOperations {
                operations: vec![(id(), Some(agent_id(0)))],
            },
        ),
        (
            "an agent of which an operation is asked for is there",
            "reconcile-operations",
            Call::ReconcileOperations {
                operations: vec![(id(), Some(agent_id(77)))],
            },
        ),
    ] {
        let mut stage = Stage::new();
        let before = stage.state();
        let outputs = stage.call(FRAMEWORK, call);
        let told = outputs.iter().any(|it| matches!(it, Output::Persist(_)));
        assert!(!told, "{rule}: {outputs:?}");
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, place);
    }
    let many = limits::OPERATIONS_PER_FRAMEWORK + 1;
    let operations = (0..many).map(|n| (OperationId::new(&format!("o{n}")).unwrap(), None));
    let operations = operations.collect();
    let mut stage = Stage::new();
    let before = stage.state();
    let outputs = stage.call(FRAMEWORK, Call::ReconcileOperations { operations });
    let text = format!("{outputs:?}");
    assert!(text.contains("TooMany"), "{text}");
    assert_eq!(stage.state(), before);
    catalogue.note(
        "10000 operations are asked for at most",
        "reconcile-operations",
    );
}

fn by_operators(catalogue: &mut Catalogue) {
    let mine = |text: &str| {
        let (name, value) = text.split_once(':').unwrap();
        resources(&format!(
            r#"{name}(*)<dynamic="web",principal="o">:{value}"#
        ))
    };
    let convert = |agent, change| operator::Call::Convert {
        agent: agent_id(agent),
        change,
    };
    let update = |from, to| operator::Call::UpdateReservation {
        agent: agent_id(1),
        from,
        to,
    };
    for (rule, place, call) in [
        (
            "the agent of an operation is there",
            "an operator's reserve",
            convert(77, Conversion::Reserve(mine("cpus:1"))),
        ),
        (
            "what an operation needs is there",
            "an operator's reserve",
            convert(1, Conversion::Reserve(mine("cpus:99"))),
        ),
        (
            "what an operation needs is there",
            "an operator's unreserve",
            convert(1, Conversion::Unreserve(mine("cpus:1"))),
        ),
        (
            "an operation names resources",
            "an operator's reserve",
            convert(1, Conversion::Reserve(Resources::new())),
        ),
        (
            "a reservation names who makes it",
            "an operator's reserve",
            convert(1, Conversion::Reserve(reserved("cpus:1"))),
        ),
        (
            "disks are made for frameworks alone",
            "an operator's destroy-disk",
            convert(
                1,
                Conversion::Disk(DiskChange::Destroy {
                    source: one(&resources(r#"disk(*)<raw,id="d",provider="p">:4"#)),
                }),
            ),
        ),
        (
            "nobody uses what becomes something else",
            "an operator's reserve",
            convert(0, Conversion::Reserve(mine("cpus:8"))),
        ),
        (
            "what changes its reservation is the same",
            "an operator's change of a reservation",
            update(mine("cpus:1"), mine("cpus:2")),
        ),
        (
            "the agent of an operation is there",
            "an operator's change of a reservation",
            operator::Call::UpdateReservation {
                agent: agent_id(77),
                from: mine("cpus:1"),
                to: mine("cpus:1"),
            },
        ),
    ] {
        let mut stage = Stage::new();
        let before = stage.state();
        let answer = stage.ask(call);
        let is_refused = matches!(
            answer,
            Answer::Invalid(_) | Answer::Conflict(_) | Answer::NotFound(_)
        );
        assert!(is_refused, "{rule}, {place}: {answer:?}");
        assert_eq!(stage.state(), before, "{rule}, {place}");
        catalogue.note(rule, place);
    }
}
