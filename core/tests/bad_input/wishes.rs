//! What frameworks may not want, and what they may not become (FW-12, FW-49, FW-53, OF-37, OF-41,
//! VA-08).

use tepui_core::constraints::{Constraint, Constraints, Pattern, Predicate, Selector};
use tepui_core::demand::Demand;
use tepui_core::ids::OfferId;
use tepui_core::limits;
use tepui_core::machine::Output;
use tepui_core::master::Effect;
use tepui_core::protocol::framework::{FrameworkInfo, Wishes};
use tepui_core::protocol::refusal::{CallKind, EndReason, RejectKind};
use tepui_core::protocol::scheduler::{Call, Event};
use tepui_core::resources::Quantities;
use tepui_core::roles::Role;

use super::Catalogue;
use super::stage::{FRAMEWORK, SILENT, Stage, framework_id, framework_info, master_id, task_id};

/// What is wrong, of which kind that is, and how it is made so.
type Rule = (
    &'static str,
    RejectKind,
    fn(&mut FrameworkInfo, &mut Wishes),
);

fn foreign() -> Role {
    Role::new("db").unwrap()
}

/// Wants agents whose names match, as who decodes it has it.
fn match_all(info: &FrameworkInfo, wishes: &mut Wishes, patterns: Vec<String>) {
    let matching = patterns.into_iter().map(|text| Constraint {
        selector: Selector::Hostname,
        predicate: Predicate::TextMatches(Pattern::try_from(text).unwrap()),
    });
    let all = Constraints::new(vec![matching.collect()]).unwrap();
    wishes.constraints.insert(info.roles[0].clone(), all);
}

/// Wrong in a subscription and in an update alike.
const RULES: [Rule; 8] = [
    (
        "a demand is for one's own role",
        RejectKind::ForeignRole,
        |_, wishes| {
            wishes.demands.insert(foreign(), Demand::default());
        },
    ),
    (
        "what is suppressed is one's own role",
        RejectKind::ForeignRole,
        |_, wishes| {
            wishes.suppressed.insert(foreign());
        },
    ),
    (
        "constraints are for one's own role",
        RejectKind::ForeignRole,
        |_, wishes| {
            let any = Constraint {
                selector: Selector::Hostname,
                predicate: Predicate::Exists,
            };
            let any = Constraints::new(vec![vec![any]]).unwrap();
            wishes.constraints.insert(foreign(), any);
        },
    ),
    (
        "a threshold is for one's own role",
        RejectKind::ForeignRole,
        |info, _| {
            info.min_allocatable.insert(foreign(), vec![]);
        },
    ),
    (
        "a threshold names something",
        RejectKind::Empty,
        |info, _| {
            let web = info.roles[0].clone();
            info.min_allocatable.insert(web, vec![Quantities::new()]);
        },
    ),
    (
        "a pattern is a regular expression",
        RejectKind::Malformed,
        |info, wishes| match_all(info, wishes, vec!["(".into()]),
    ),
    (
        "patterns are small once they are compiled, all together",
        RejectKind::TooLarge,
        // Each of them may be so large, by itself.
        |info, wishes| match_all(info, wishes, vec!["x{500}".into(); 1_000]),
    ),
    ("a user has a name", RejectKind::Empty, |info, _| {
        info.user = Some(String::new())
    }),
];

pub(crate) fn check(catalogue: &mut Catalogue) {
    for (rule, kind, spoil) in RULES {
        let (mut framework, mut wishes) = (framework_info("f"), Wishes::default());
        spoil(&mut framework, &mut wishes);
        let mut stage = Stage::new();
        let before = stage.state();
        let call = Call::Subscribe {
            framework: framework.clone(),
            wishes: wishes.clone(),
        };
        let outputs = stage.call(SILENT, call);
        let Some(Output::Effect(Effect::Scheduler { event, .. })) = outputs.first() else {
            panic!("{rule}: {outputs:?}");
        };
        let is_refused =
            matches!(event, Event::Error { reason, .. } if *reason == EndReason::Invalid(kind));
        assert!(is_refused, "{rule}: {event:?}");
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, "wishes of a subscription");
        rejects(Call::Update { framework, wishes }, CallKind::Update, kind);
        catalogue.note(rule, "update");
    }
    updates(catalogue);
    calls(catalogue);
}

/// Checks that a call is turned down, and that nothing has come of it.
#[track_caller]
fn rejects(call: Call, of: CallKind, kind: RejectKind) {
    let mut stage = Stage::new();
    let before = stage.state();
    let outputs = stage.call(FRAMEWORK, call);
    let [Output::Effect(Effect::Scheduler { event, .. })] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    let Event::Rejected { call, reason, .. } = event else {
        panic!("{event:?}");
    };
    assert_eq!((*call, *reason), (of, kind));
    assert_eq!(stage.state(), before);
}

fn updates(catalogue: &mut Catalogue) {
    type Make = fn(&mut FrameworkInfo);
    let rules: [(&str, RejectKind, Make); 6] = [
        ("an id never changes", RejectKind::Unchangeable, |it| {
            it.id = Some(framework_id(1))
        }),
        ("a user never changes", RejectKind::Unchangeable, |it| {
            it.user = Some("root".into())
        }),
        ("a name has 4096 bytes at most", RejectKind::TooLong, |it| {
            it.name = "x".repeat(4_097)
        }),
        ("a name has no NUL", RejectKind::Nul, |it| {
            it.name = "a\0b".into();
        }),
        ("a role is named once", RejectKind::Doubled, |it| {
            it.roles = ["web", "web"].map(|role| Role::new(role).unwrap()).into();
        }),
        ("roles are 1024 at most", RejectKind::TooMany, |it| {
            let roles = 0..=limits::ROLES_PER_FRAMEWORK;
            let roles = roles.map(|n| Role::new(&format!("r{n}")).unwrap());
            it.roles = roles.collect();
        }),
    ];
    for (rule, kind, spoil) in rules {
        let mut framework = framework_info("f");
        spoil(&mut framework);
        let wishes = Wishes::default();
        rejects(Call::Update { framework, wishes }, CallKind::Update, kind);
        catalogue.note(rule, "update");
    }
}

fn calls(catalogue: &mut Catalogue) {
    let roles = || vec![foreign()];
    let foreign = RejectKind::ForeignRole;
    for (place, call, of) in [
        (
            "suppress",
            Call::Suppress { roles: roles() },
            CallKind::Suppress,
        ),
        ("revive", Call::Revive { roles: roles() }, CallKind::Revive),
        (
            "demand",
            Call::Demand {
                role: roles().remove(0),
                demand: None,
            },
            CallKind::Demand,
        ),
    ] {
        rejects(call, of, foreign);
        catalogue.note("a call names one's own roles", place);
    }
    let web = framework_info("f").roles[0].clone();
    let many = || vec![web.clone(); limits::ROLES_PER_FRAMEWORK + 1];
    for (place, call, of) in [
        (
            "suppress",
            Call::Suppress { roles: many() },
            CallKind::Suppress,
        ),
        ("revive", Call::Revive { roles: many() }, CallKind::Revive),
    ] {
        rejects(call, of, RejectKind::TooMany);
        catalogue.note("a call names 1024 roles at most", place);
    }
    let ids = 0..=limits::OFFERS_PER_CALL as u64;
    let offers = ids.map(|n| OfferId::numbered(&master_id(), n)).collect();
    let call = Call::Decline {
        offers,
        refuse: None,
    };
    rejects(call, CallKind::Decline, RejectKind::TooMany);
    catalogue.note("10000 offers are declined at most", "decline");
    let tasks = (0..=limits::RECONCILED_PER_CALL).map(|n| (task_id(&format!("t{n}")), None));
    let tasks = tasks.collect();
    rejects(
        Call::Reconcile { tasks },
        CallKind::Reconcile,
        RejectKind::TooMany,
    );
    catalogue.note("1000 tasks are asked for at most", "reconcile");
    // Of a task that was never launched there is an answer, and nothing comes of it.
    let mut stage = Stage::new();
    let before = stage.state();
    let tasks = vec![(task_id("never"), None)];
    let outputs = stage.call(FRAMEWORK, Call::Reconcile { tasks });
    let text = format!("{outputs:?}");
    assert!(text.contains("state: Unknown"), "{text}");
    assert_eq!(stage.state(), before);
    catalogue.note("a task that is asked for was launched", "reconcile");
}
