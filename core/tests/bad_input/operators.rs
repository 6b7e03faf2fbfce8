//! What operators may not order (VA-27, VA-28, RQ-08, RQ-13, FW-92).

use tepui_core::ids::FrameworkId;
use tepui_core::protocol::events::Version;
use tepui_core::protocol::operator::{Answer, Call};
use tepui_core::quota::Quota;
use tepui_core::resources::{Ceilings, Milli, Quantities};
use tepui_core::roles::Role;

use super::Catalogue;
use super::stage::Stage;

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
    let mut stage = Stage::new();
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
