//! Frameworks that are not let in (VA-29, RQ-02, FW-08, FW-27).

use tepui_core::ids::FrameworkId;
use tepui_core::limits;
use tepui_core::machine::Output;
use tepui_core::master::Effect;
use tepui_core::protocol::framework::FrameworkInfo;
use tepui_core::protocol::refusal::{EndReason, RejectKind};
use tepui_core::protocol::scheduler::{Call, Event};
use tepui_core::roles::Role;

use super::Catalogue;
use super::stage::{
    FRAMEWORK, OTHER_FRAMEWORK, SILENT, Stage, framework_id, framework_info, subscribe,
};

/// What is wrong, of which kind that is, what is said, and how it is made so.
type Rule = (
    &'static str,
    RejectKind,
    &'static str,
    fn(&mut FrameworkInfo),
);

const RULES: [Rule; 6] = [
    (
        "a name has 4096 bytes at most",
        RejectKind::TooLong,
        "framework name has 4097 bytes, more than the limit of 4096",
        |it| it.name = "x".repeat(4_097),
    ),
    (
        "a name has no NUL",
        RejectKind::Nul,
        "framework name contains a NUL byte",
        |it| it.name = "a\0b".into(),
    ),
    (
        "a role is named once",
        RejectKind::Doubled,
        "role web is named twice",
        |it| {
            it.roles = ["web", "ads", "web"]
                .map(|role| Role::new(role).unwrap())
                .into()
        },
    ),
    (
        "roles are 1024 at most",
        RejectKind::TooMany,
        "list of roles has 1025 entries, more than the limit of 1024",
        |it| {
            let roles = 0..=limits::ROLES_PER_FRAMEWORK;
            let roles = roles.map(|n| Role::new(&format!("r{n}")).unwrap());
            it.roles = roles.collect();
        },
    ),
    (
        "a description fits its part of a frame",
        RejectKind::TooLarge,
        "more than the limit of 65536",
        |it| {
            let long = "x".repeat(4_000);
            let roles = (0..20).map(|n| Role::new(&format!("{long}{n}")).unwrap());
            it.roles = roles.collect();
        },
    ),
    (
        "the first thing that is wrong is named",
        RejectKind::Nul,
        "framework name contains a NUL byte",
        |it| {
            it.name = "\0".into();
            it.roles = ["a", "a"].map(|role| Role::new(role).unwrap()).into();
        },
    ),
];

/// Checks that a subscription is turned down so, and that nothing has come of it.
#[track_caller]
fn refuses(framework: FrameworkInfo, why: EndReason, text: &str) {
    let mut stage = Stage::new();
    let before = stage.state();
    let outputs = stage.call(SILENT, subscribe(framework));
    let [
        Output::Effect(Effect::Scheduler {
            peer: SILENT,
            event: Event::Error { reason, message },
        }),
        Output::Effect(Effect::Disconnect { peer: SILENT, .. }),
    ] = outputs.as_slice()
    else {
        panic!("{text}: {outputs:?}");
    };
    assert_eq!(*reason, why, "{message}");
    assert!(message.contains(text), "{text}: {message}");
    assert_eq!(stage.state(), before, "{text}");
}

pub(crate) fn check(catalogue: &mut Catalogue) {
    let mut stage = Stage::new();
    let framework = framework_info("x");
    let outputs = stage.call(SILENT, subscribe(framework));
    let text = format!("{outputs:?}");
    assert!(
        text.contains("Subscribed"),
        "what is valid is let in: {text}"
    );

    for (rule, kind, text, spoil) in RULES {
        let why = EndReason::Invalid(kind);
        let mut new = framework_info("x");
        spoil(&mut new);
        refuses(new, why, text);
        catalogue.note(rule, "new framework");
        let mut old = framework_info("x");
        old.id = Some(framework_id(0));
        spoil(&mut old);
        refuses(old, why, text);
        catalogue.note(rule, "framework that comes back");
    }
    for (rule, id, why, text) in [
        (
            "an id belongs to who got it",
            framework_id(0),
            EndReason::SomebodyElses,
            "framework rio-1-0000 is somebody else's",
        ),
        (
            "an id was given by a master",
            FrameworkId::new("mine").unwrap(),
            EndReason::OtherCluster,
            "framework mine is not of this cluster",
        ),
        (
            "an id was given in this cluster",
            FrameworkId::new("lima-1-0000").unwrap(),
            EndReason::OtherCluster,
            "framework lima-1-0000 is not of this cluster",
        ),
    ] {
        let framework = FrameworkInfo {
            id: Some(id),
            ..framework_info("x")
        };
        refuses(framework, why, text);
        catalogue.note(rule, "framework that comes back");
    }
    ended_and_doubled(catalogue);
}

fn ended_and_doubled(catalogue: &mut Catalogue) {
    // Who has ended stays so.
    let mut stage = Stage::new();
    stage.call(OTHER_FRAMEWORK, Call::Teardown);
    let before = stage.state();
    let framework = FrameworkInfo {
        id: Some(framework_id(1)),
        ..framework_info("g")
    };
    let outputs = stage.call(SILENT, subscribe(framework));
    let text = format!("{outputs:?}");
    assert!(text.contains("reason: TornDown"), "{text}");
    assert_eq!(stage.state(), before);
    catalogue.note("an id has not ended", "framework that comes back");

    // A connection is for one framework: of two, the first stands until it is cut off.
    let mut stage = Stage::new();
    let framework = FrameworkInfo {
        id: Some(framework_id(1)),
        ..framework_info("g")
    };
    let outputs = stage.call(FRAMEWORK, subscribe(framework));
    let text = format!("{outputs:?}");
    assert!(text.contains("reason: AlreadySubscribed"), "{text}");
    let mut lost = Stage::new();
    lost.input(tepui_core::master::Input::Disconnected { peer: FRAMEWORK });
    assert_eq!(stage.state(), lost.state(), "the same as a lost connection");
    catalogue.note("a connection is for one framework", "second subscription");
}
