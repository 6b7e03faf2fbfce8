//! What operators may not order (VA-26, VA-27, VA-28, RQ-08, RQ-13, FW-92).

use tepui_core::ids::FrameworkId;
use tepui_core::limits;
use tepui_core::protocol::events::Version;
use tepui_core::protocol::maintenance::{MachineId, Unavailability, Window};
use tepui_core::protocol::node::DrainConfig;
use tepui_core::protocol::operator::{Answer, Call};
use tepui_core::quota::Quota;
use tepui_core::resources::{Ceilings, Milli, Quantities};
use tepui_core::roles::Role;
use tepui_core::time::Time;

use super::Catalogue;
use super::stage::{Stage, agent_id, framework_id};

fn role(name: &str) -> Role {
    Role::new(name).unwrap()
}

fn quota(guarantees: &str, limits: &str) -> Quota {
    Quota {
        guarantees: Quantities::parse(guarantees).unwrap(),
        limits: Ceilings::parse(limits).unwrap(),
    }
}

fn names(prefix: &str, count: usize) -> String {
    let names: Vec<String> = (0..count).map(|n| format!("{prefix}{n}:1")).collect();
    names.join(";")
}

/// Checks that an order is turned down in such words, and that nothing has come of it.
#[track_caller]
fn refuses(call: Call, text: &str) -> Answer {
    refuses_on(Stage::new(), call, text)
}

/// The same on a stage that was prepared.
#[track_caller]
fn refuses_on(mut stage: Stage, call: Call, text: &str) -> Answer {
    let before = stage.state();
    let answer = stage.ask(call);
    let (Answer::Invalid(why)
    | Answer::Conflict(why)
    | Answer::NotFound(why)
    | Answer::Ambiguous(why)) = &answer
    else {
        panic!("{text}: {answer:?}");
    };
    assert!(why.contains(text), "{text}: {why}");
    assert_eq!(stage.state(), before, "{text}");
    answer
}

pub(crate) fn check(catalogue: &mut Catalogue) {
    quotas(catalogue);
    weights(catalogue);
    kills(catalogue);
    events(catalogue);
    schedules(catalogue);
    machines(catalogue);
    frameworks(catalogue);
}

fn events(catalogue: &mut Catalogue) {
    let mut stage = Stage::new();
    let Answer::Events(batch) = stage.ask(Call::Watch { after: None }) else {
        panic!("a place to begin at is expected");
    };
    let Version { epoch, number } = batch.after;
    let (later, earlier) = (number + 1, number - 1);
    for (rule, epoch, number) in [
        ("an event is of this leadership", epoch + 1, number),
        (
            "an event is not of an earlier leadership",
            epoch - 1,
            number,
        ),
        ("an event has happened", epoch, later),
        ("an event is kept", epoch, earlier),
        ("an event has a number that there is", epoch, u64::MAX),
    ] {
        let before = stage.state();
        let after = Some(Version { epoch, number });
        let newest = batch.after;
        assert_eq!(
            stage.ask(Call::Watch { after }),
            Answer::Gap { newest },
            "{rule}"
        );
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, "watch");
    }
}

fn quotas(catalogue: &mut Catalogue) {
    let call = |quotas: Vec<(Role, Quota)>, force| Call::UpdateQuota { quotas, force };
    let web = || role("web");
    let mut stage = Stage::new();
    let valid = call(vec![(web(), quota("cpus:1", "cpus:16"))], false);
    assert_eq!(stage.ask(valid), Answer::Updated);

    let two = vec![(web(), quota("", "cpus:8")), (web(), quota("", "cpus:16"))];
    let above = vec![(web(), quota("cpus:9", "cpus:8"))];
    let levels = vec![
        (web(), quota("", "cpus:8")),
        (role("web/a"), quota("cpus:9", "")),
    ];
    let many = vec![(web(), quota("", &names("n", 13)))];
    for (rule, quotas, text) in [
        ("a role is named once", two, "web is named twice"),
        (
            "a guarantee is within its limit",
            above,
            "9 of \"cpus\" is guaranteed, and 8 is the limit",
        ),
        (
            "guarantees below are within the limit above",
            levels,
            "is promised in and below web, whose limit is 8",
        ),
        (
            "names are few",
            many,
            "beside cpus, mem, disk and gpus, and 12 are counted",
        ),
    ] {
        for (place, force) in [("quota", false), ("quota by force", true)] {
            let answer = refuses(call(quotas.clone(), force), text);
            assert!(matches!(answer, Answer::Invalid(_)), "{rule}: {answer:?}");
            catalogue.note(rule, place);
        }
    }
    for (rule, quota, text) in [
        (
            "a limit is not below what is used",
            quota("", "cpus:0.5"),
            "web uses 1 of \"cpus\", and 0.5 would be its limit",
        ),
        (
            "a guarantee is not above what is there",
            quota("cpus:17", ""),
            "17 of \"cpus\" would be guaranteed, and all agents have 16",
        ),
        (
            "a guarantee is of what is there",
            quota("gpus:1", ""),
            "1 of \"gpus\" would be guaranteed, and all agents have 0",
        ),
    ] {
        let answer = refuses(call(vec![(web(), quota)], false), text);
        assert!(matches!(answer, Answer::Conflict(_)), "{rule}: {answer:?}");
        catalogue.note(rule, "quota");
    }
}

fn weights(catalogue: &mut Catalogue) {
    let call = |weights: Vec<(Role, Milli)>| Call::UpdateWeights { weights };
    let web = || role("web");
    let mut stage = Stage::new();
    let valid = call(vec![(web(), Milli::from_units(2))]);
    assert_eq!(stage.ask(valid), Answer::Updated);

    let one = Milli::from_units(1);
    let above = "expected a weight above 0, and of 1000000000 at most";
    for (rule, weights, text) in [
        ("a weight is above zero", vec![(web(), Milli::ZERO)], above),
        (
            "a weight is 1000000000 at most",
            vec![(web(), Milli::from_units(1_000_000_001))],
            above,
        ),
        (
            "a role is named once",
            vec![(web(), one), (web(), Milli::from_units(2))],
            "web is named twice",
        ),
        (
            "the second weight counts as the first",
            vec![(web(), one), (role("ads"), Milli::ZERO)],
            above,
        ),
    ] {
        let answer = refuses(call(weights), text);
        assert!(matches!(answer, Answer::Invalid(_)), "{rule}: {answer:?}");
        catalogue.note(rule, "weight");
    }
}

fn kills(catalogue: &mut Catalogue) {
    let call = |framework, task: &str| Call::Kill {
        framework,
        task: task.into(),
        grace: None,
    };
    let unknown = FrameworkId::new("nobody").unwrap();
    for (rule, call, text) in [
        ("a task is named", call(None, ""), "no task is named"),
        (
            "a task's name has 255 bytes at most",
            call(None, &"x".repeat(256)),
            "no task id has more than 255 bytes",
        ),
        (
            "a task that is killed is there",
            call(None, "never"),
            "no running task never",
        ),
        (
            "a task's framework is there",
            call(Some(unknown), "runs"),
            "no framework nobody",
        ),
    ] {
        refuses(call, text);
        catalogue.note(rule, "kill by an operator");
    }
}

fn machine(hostname: &str, ip: Option<[u8; 4]>) -> MachineId {
    MachineId {
        hostname: hostname.into(),
        ip: ip.map(Into::into),
    }
}

fn window(machines: Vec<MachineId>) -> Window {
    Window {
        machines,
        unavailability: Unavailability {
            start: Time::from_micros(60_000_000),
            duration: None,
        },
    }
}

fn set(windows: Vec<Window>) -> Call {
    Call::SetSchedule { windows }
}

/// A stage on which orders were carried out.
fn after(orders: impl IntoIterator<Item = Call>) -> Stage {
    let mut stage = Stage::new();
    for order in orders {
        assert_eq!(stage.ask(order), Answer::Updated);
    }
    stage
}

/// What is wrong with names of machines, wherever they stand.
fn misnamed() -> Vec<(&'static str, Vec<MachineId>, &'static str)> {
    let named = |hostname: &str| machine(hostname, None);
    let many = 0..=limits::MACHINES;
    vec![
        (
            "a machine has a hostname or an address",
            vec![named("a"), named("")],
            "a machine has neither a hostname nor an IP address",
        ),
        (
            "a machine is named once",
            vec![named("a"), named("b"), named("A")],
            "machine a is named twice",
        ),
        (
            "an address is named once, in whatever form",
            vec![
                machine("", Some([10, 0, 0, 1])),
                MachineId {
                    hostname: String::new(),
                    ip: Some("::ffff:10.0.0.1".parse().unwrap()),
                },
            ],
            "machine 10.0.0.1 is named twice",
        ),
        (
            "a hostname has 255 bytes at most",
            vec![named(&"x".repeat(256))],
            "a hostname has 256 bytes, more than the limit of 255",
        ),
        ("a hostname has no blank", vec![named("a b")], "has a blank"),
        ("a hostname has no slash", vec![named("a/b")], "has a blank"),
        (
            "a hostname has no control character",
            vec![named("a\u{7}")],
            "has a blank",
        ),
        ("machines are named", vec![], "names no machine"),
        (
            "10000 machines are named at most",
            many.map(|n| named(&n.to_string())).collect(),
            "10001 machines are named, more than the limit of 10000",
        ),
    ]
}

fn schedules(catalogue: &mut Catalogue) {
    let host = || machine("host", None);
    after([set(vec![window(vec![host()])])]);
    for (rule, machines, text) in misnamed() {
        let answer = refuses(set(vec![window(machines)]), text);
        assert!(matches!(answer, Answer::Invalid(_)), "{rule}: {answer:?}");
        catalogue.note(rule, "schedule");
    }
    let twice = vec![window(vec![host()]), window(vec![host()])];
    refuses(set(twice), "machine host is named twice");
    catalogue.note("a machine is named once", "windows of a schedule");
    let empty = vec![window(vec![host()]), window(vec![])];
    refuses(set(empty), "a window names no machine");
    catalogue.note("machines are named", "second window of a schedule");

    let down = [
        set(vec![window(vec![host()])]),
        Call::MachinesDown {
            machines: vec![host()],
        },
    ];
    let stays = "machine host is down, and has to stay in the schedule until it is up";
    for (place, windows) in [
        ("schedule", vec![window(vec![machine("other", None)])]),
        ("empty schedule", vec![]),
    ] {
        let answer = refuses_on(after(down.clone()), set(windows), stays);
        assert!(matches!(answer, Answer::Conflict(_)), "{answer:?}");
        catalogue.note("a machine that is down stays in the schedule", place);
    }
    let drain = || Call::Drain {
        agent: agent_id(0),
        config: DrainConfig::default(),
    };
    let drained = "agent rio-1-S0 of machine host is being drained";
    let windows = vec![window(vec![host()])];
    refuses_on(after([drain()]), set(windows.clone()), drained);
    catalogue.note("no agent of a machine is being drained", "schedule");
    let scheduled = "machine host of agent rio-1-S0 is in the maintenance schedule";
    refuses_on(after([set(windows)]), drain(), scheduled);
    catalogue.note("no agent of a machine in the schedule is drained", "drain");
}

fn machines(catalogue: &mut Catalogue) {
    type Make = fn(Vec<MachineId>) -> Call;
    let host = || machine("host", None);
    let scheduled = || set(vec![window(vec![host()])]);
    let (down, up): (Make, Make) = (
        |machines| Call::MachinesDown { machines },
        |machines| Call::MachinesUp { machines },
    );
    after([scheduled(), down(vec![host()]), up(vec![host()])]);
    for (place, call) in [("machines down", down), ("machines up", up)] {
        for (rule, machines, text) in misnamed() {
            let answer = refuses(call(machines), text);
            assert!(matches!(answer, Answer::Invalid(_)), "{rule}: {answer:?}");
            catalogue.note(rule, place);
        }
    }
    let other = || machine("other", None);
    for (rule, place, before, call, text) in [
        (
            "a machine that goes down is in the schedule",
            "machines down",
            vec![],
            down(vec![host()]),
            "machine host is up, and has to be draining",
        ),
        (
            "a machine that goes down is in the schedule",
            "second of the machines down",
            vec![scheduled()],
            down(vec![host(), other()]),
            "machine other is up, and has to be draining",
        ),
        (
            "a machine that goes down is not down",
            "machines down",
            vec![scheduled(), down(vec![host()])],
            down(vec![host()]),
            "machine host is down, and has to be draining",
        ),
        (
            "a machine that comes up is down",
            "machines up",
            vec![],
            up(vec![host()]),
            "machine host is up, and has to be down",
        ),
        (
            "a machine that comes up is not draining",
            "machines up",
            vec![scheduled()],
            up(vec![host()]),
            "machine host is draining, and has to be down",
        ),
        (
            "a machine that comes up is down",
            "second of the machines up",
            vec![scheduled(), down(vec![host()])],
            up(vec![host(), other()]),
            "machine other is up, and has to be down",
        ),
        // Part of a name is another name.
        (
            "a machine that goes down is in the schedule",
            "machines down with an address",
            vec![scheduled()],
            down(vec![machine("host", Some([10, 0, 0, 1]))]),
            "machine host/10.0.0.1 is up, and has to be draining",
        ),
    ] {
        let answer = refuses_on(after(before), call, text);
        assert!(matches!(answer, Answer::Conflict(_)), "{rule}: {answer:?}");
        catalogue.note(rule, place);
    }
}

fn frameworks(catalogue: &mut Catalogue) {
    let teardown = |framework| Call::Teardown { framework };
    let explain = |framework, name: &str| Call::Explain {
        framework,
        role: role(name),
    };
    let ended = || after([teardown(framework_id(1))]);
    let there = "a framework that is named is there";
    let live = "a framework that is named is not over";
    for (rule, place, stage, call, text) in [
        (
            there,
            "teardown by an operator",
            Stage::new(),
            teardown(framework_id(9)),
            "no framework rio-1-0009",
        ),
        (
            live,
            "teardown by an operator",
            ended(),
            teardown(framework_id(1)),
            "framework rio-1-0001 is over: torn-down",
        ),
        (
            there,
            "explain",
            Stage::new(),
            explain(framework_id(9), "web"),
            "no framework rio-1-0009",
        ),
        (
            live,
            "explain",
            ended(),
            explain(framework_id(1), "web"),
            "framework rio-1-0001 is over: torn-down",
        ),
        (
            "a framework is in the role that is named",
            "explain",
            Stage::new(),
            explain(framework_id(0), "ads"),
            "framework rio-1-0000 is not in role ads",
        ),
    ] {
        let answer = refuses_on(stage, call, text);
        assert!(matches!(answer, Answer::NotFound(_)), "{rule}: {answer:?}");
        catalogue.note(rule, place);
    }
}
