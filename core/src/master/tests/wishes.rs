//! What frameworks say about themselves and want, at their subscription and later.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use super::roles::{in_roles, role, subscribed};
use super::*;
use crate::allocator::drf::DemandRule;
use crate::constraints::{Constraint, Constraints, Predicate, Selector};
use crate::demand::{Demand, Shape};
use crate::protocol::framework::Capabilities;
use crate::protocol::operation::Conversion;
use crate::resources::{Label, Labels, Quantities};

/// Lets the allocator run, and returns from where something is offered to this framework.
fn offered(world: &mut World, peer: PeerId) -> Vec<(Role, String)> {
    let mut offered = Vec::new();
    for out in world.pass(Duration::from_millis(1_900)) {
        if let Output::Effect(Effect::Scheduler { peer: to, event }) = out
            && let Event::Offers(offers) = event
            && to == peer
        {
            offered.extend(
                offers
                    .into_iter()
                    .map(|it| (it.role, it.hostname.to_string())),
            );
        }
    }
    offered.sort();
    offered
}

fn on(name: &str, host: &str) -> (Role, String) {
    (role(name), host.to_string())
}

fn host(world: &mut World, name: &str, total: &str) -> (PeerId, AgentId) {
    let peer = world.connect(PeerRole::Agent, name);
    let agent = AgentInfo::new(name, "host:5051", resources(total));
    let outs = world.agent_says(peer, ToMaster::Register { agent });
    let registered = outs.into_iter().find_map(|out| match out {
        Output::Effect(Effect::Agent {
            message: ToAgent::Registered { id, .. },
            ..
        }) => Some(id),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    (peer, registered.unwrap())
}

fn world() -> World {
    let mut world = World::drf(1, Registry::default());
    world.drain();
    world
}

fn suppressing(names: &[&str]) -> Wishes {
    Wishes {
        suppressed: names.iter().map(|name| role(name)).collect(),
        ..Wishes::default()
    }
}

fn only(host: &str) -> Constraints {
    let constraint = Constraint {
        selector: Selector::Hostname,
        predicate: Predicate::TextEquals(host.to_string()),
    };
    Constraints::try_from(vec![vec![constraint]]).unwrap()
}

fn rejected(peer: PeerId, call: CallKind, reason: RejectKind, message: &str) -> Out {
    let message = message.to_string();
    let event = Event::Rejected {
        call,
        reason,
        message,
    };
    to_framework(peer, event)
}

#[test]
fn a_role_is_suppressed_and_revived_by_itself() {
    // FW-18, OF-36, OF-37, FW-44
    let mut world = world();
    let (peer, _) = subscribed(&mut world, &["eng", "ops"]);
    let roles = vec![role("eng")];
    let suppress = Call::Suppress { roles };
    assert_eq!(world.call(peer, suppress), []);
    host(&mut world, "one", "cpus(eng):2;cpus(ops):1");
    assert_eq!(offered(&mut world, peer), [on("ops", "one")]);
    let view = world.master.view().frameworks().remove(0);
    assert_eq!(view.suppressed, [role("eng")]);
    let revive = |names: &[&str]| Call::Revive {
        roles: names.iter().map(|name| role(name)).collect(),
    };
    world.call(peer, revive(&["ops"]));
    assert_eq!(world.master.view().frameworks()[0].suppressed.len(), 1);
    world.call(peer, revive(&["eng"]));
    assert!(offered(&mut world, peer).contains(&on("eng", "one")));
    // All of them.
    world.call(peer, Call::Suppress { roles: vec![] });
    assert_eq!(world.master.view().frameworks()[0].suppressed.len(), 2);
    world.call(peer, Call::Revive { roles: vec![] });
    assert_eq!(world.master.view().frameworks()[0].suppressed.len(), 0);
}

#[test]
fn with_a_role_of_somebody_else_nothing_is_done() {
    // OF-36: the whole call is turned down
    let mut world = world();
    let (peer, _) = subscribed(&mut world, &["eng", "ops"]);
    let why = "a wish for role web, which the framework is not in";
    let roles = vec![role("eng"), role("web")];
    let outs = world.call(
        peer,
        Call::Suppress {
            roles: roles.clone(),
        },
    );
    let reason = RejectKind::ForeignRole;
    assert_eq!(outs, [rejected(peer, CallKind::Suppress, reason, why)]);
    assert_eq!(world.master.view().frameworks()[0].suppressed, []);
    world.call(peer, Call::Suppress { roles: vec![] });
    let outs = world.call(peer, Call::Revive { roles });
    assert_eq!(outs, [rejected(peer, CallKind::Revive, reason, why)]);
    assert_eq!(world.master.view().frameworks()[0].suppressed.len(), 2);
}

#[test]
fn a_subscription_says_all_that_is_wanted() {
    // FW-39, OF-37: what was wanted before does not count any more
    let mut world = world();
    let peer = world.connect(PeerRole::Framework, "web");
    let framework = in_roles(&["eng", "ops"]);
    let wishes = suppressing(&["eng", "ops"]);
    world.call(peer, Call::Subscribe { framework, wishes });
    let id = world.master.view().frameworks().remove(0).info.id;
    host(&mut world, "one", "cpus(eng):2;cpus(ops):1");
    assert_eq!(offered(&mut world, peer), []);
    world.lose(peer);
    let peer = world.connect(PeerRole::Framework, "web");
    let framework = FrameworkInfo {
        id,
        ..in_roles(&["eng", "ops"])
    };
    let wishes = suppressing(&["ops"]);
    world.call(peer, Call::Subscribe { framework, wishes });
    assert_eq!(offered(&mut world, peer), [on("eng", "one")]);
}

#[test]
fn a_framework_is_offered_only_what_it_has_asked_for() {
    // OF-41, OF-42, OF-45
    let mut world = world();
    let peer = world.connect(PeerRole::Framework, "web");
    let wishes = Wishes {
        constraints: BTreeMap::from([(role("eng"), only("two"))]),
        ..Wishes::default()
    };
    let framework = in_roles(&["eng"]);
    world.call(peer, Call::Subscribe { framework, wishes });
    host(&mut world, "one", "cpus:1");
    host(&mut world, "two", "cpus:1");
    assert_eq!(offered(&mut world, peer), [on("eng", "two")]);
    // Said anew, they are replaced.
    let update = Call::Update {
        framework: in_roles(&["eng"]),
        wishes: Wishes {
            constraints: BTreeMap::from([(role("eng"), only("one"))]),
            ..Wishes::default()
        },
    };
    let outs = world.call(peer, update);
    assert_eq!(outs.last(), Some(&to_framework(peer, Event::Updated)));
    assert!(offered(&mut world, peer).contains(&on("eng", "one")));
}

#[test]
fn thresholds_are_a_frameworks_own() {
    // OF-40
    let mut world = world();
    let peer = world.connect(PeerRole::Framework, "web");
    let least = |text: &str| vec![Quantities::parse(text).unwrap()];
    let framework = FrameworkInfo {
        min_allocatable: BTreeMap::from([(role("eng"), least("cpus:2"))]),
        ..in_roles(&["eng"])
    };
    world.subscribe(peer, framework);
    host(&mut world, "small", "cpus:1;mem:1000");
    host(&mut world, "large", "cpus:2;mem:1000");
    assert_eq!(offered(&mut world, peer), [on("eng", "large")]);
}

#[test]
fn thresholds_are_of_one_role_each() {
    // FW-11
    let mut world = world();
    let peer = world.connect(PeerRole::Framework, "web");
    let least = |text: &str| vec![Quantities::parse(text).unwrap()];
    let framework = FrameworkInfo {
        min_allocatable: BTreeMap::from([
            (role("eng"), least("cpus:2")),
            (role("ops"), least("cpus:9")),
        ]),
        ..in_roles(&["eng", "ops", "web"])
    };
    world.subscribe(peer, framework);
    let total = "cpus(eng):1;cpus(ops):1;cpus(web):1";
    host(&mut world, "small", total);
    assert_eq!(offered(&mut world, peer), [on("web", "small")]);
    host(&mut world, "large", "cpus(eng):2;cpus(ops):2");
    let offers = offered(&mut world, peer);
    assert!(offers.contains(&on("eng", "large")), "{offers:?}");
    assert!(!offers.contains(&on("ops", "large")), "{offers:?}");
}

#[test]
fn what_a_framework_cannot_cope_with_is_not_offered_to_it() {
    // FW-09, FW-13, FW-15, FW-16, FW-19, AL-12, AL-32
    let refined = resources(r#"cpus(eng)<dynamic="eng/web",principal="ann">:4"#);
    let shared = r#"disk(eng)<volume="v",principal="ann",rw="d",shared>:50"#;
    let shared = resources(shared);
    let all = [
        (Capabilities::GPUS, "cpus:1;gpus:1", None),
        (Capabilities::REVOCABLE, "cpus(*)<revocable>:4", None),
        (
            Capabilities::SHARED,
            "disk(eng):50",
            Some(Conversion::Create(shared)),
        ),
        (
            Capabilities::REFINEMENT,
            "cpus(eng):4",
            Some(Conversion::Reserve(refined)),
        ),
    ];
    for (needed, total, change) in &all {
        let others = all.iter().map(|it| it.0).filter(|it| it != needed);
        let others = others.fold(Capabilities::NONE, |sum, it| sum | it);
        let there = vec![on("eng/web", "one")];
        for (capabilities, expected) in [(others, vec![]), (others | *needed, there)] {
            let mut world = world();
            let (_, agent) = host(&mut world, "one", total);
            if let Some(change) = change.clone() {
                let ann = world.connect(PeerRole::Operator, "ann");
                world.order(ann, operator::Call::Convert { agent, change });
            }
            let peer = world.connect(PeerRole::Framework, "web");
            let framework = FrameworkInfo {
                capabilities,
                min_allocatable: BTreeMap::from([(role("eng/web"), vec![])]),
                ..in_roles(&["eng/web"])
            };
            world.subscribe(peer, framework);
            assert_eq!(offered(&mut world, peer), expected, "{total}");
        }
    }
}

#[test]
fn wishes_for_roles_of_others_are_not_let_in() {
    // VA-08, VA-29, FW-27, OF-40, OF-41
    let eng = || in_roles(&["eng"]);
    let none = Wishes::default;
    let foreign = RejectKind::ForeignRole;
    let least = |role, amounts: &str| {
        let amounts = vec![Quantities::parse(amounts).unwrap()];
        BTreeMap::from([(role, amounts)])
    };
    let what = |min_allocatable| FrameworkInfo {
        min_allocatable,
        ..eng()
    };
    let constraints = BTreeMap::from([(role("ops"), only("one"))]);
    let constrained = Wishes {
        constraints,
        ..none()
    };
    for (framework, wishes, kind) in [
        (eng(), suppressing(&["ops"]), foreign),
        (eng(), constrained, foreign),
        (what(least(role("ops"), "cpus:1")), none(), foreign),
        (what(least(role("eng"), "")), none(), RejectKind::Empty),
    ] {
        let mut world = World::new();
        let peer = world.connect(PeerRole::Framework, "web");
        let outs = world.call(peer, Call::Subscribe { framework, wishes });
        let reason = EndReason::Invalid(kind);
        assert!(
            matches!(
                outs.first(),
                Some(Output::Effect(Effect::Scheduler {
                    event: Event::Error { reason: told, .. },
                    ..
                })) if *told == reason
            ),
            "{outs:?}"
        );
        assert_eq!(world.records, []);
    }
}

#[test]
fn a_framework_changes_while_it_is_there() {
    // FW-53, FW-12, FW-02, FW-07, FW-10, RQ-03, PR-07
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, id) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![task("t", &agent, "cpus:1")]);
    world.agent("idle", "cpus:1");
    world.records.clear();
    let changed = FrameworkInfo {
        name: "web2".to_string(),
        hostname: "scheduler.example".to_string(),
        webui_url: "https://web.example".to_string(),
        labels: Labels::try_from(vec![Label::new("tier", "gold")]).unwrap(),
        ..known_as(id.clone(), "web")
    };
    // It need not name its id, and its principal is what its certificate says.
    let update = Call::Update {
        framework: FrameworkInfo {
            id: None,
            principal: Some("root".to_string()),
            ..changed.clone()
        },
        wishes: suppressing(&["*"]),
    };
    let told = ToAgent::UpdateFramework(changed.clone());
    let updated = to_framework(peer, Event::Updated);
    let outs = world.call(peer, update.clone());
    assert_eq!(outs, [to_agent(agent_peer, told), updated.clone()]);
    let view = world.master.view().frameworks().remove(0);
    assert_eq!(view.info, changed);
    assert_eq!(view.suppressed, [Role::any()]);
    assert_eq!(world.records.len(), 1, "{:?}", world.records);
    // Said again, nobody hears of it but who asked.
    assert_eq!(world.call(peer, update), [updated]);
    assert_eq!(world.records.len(), 1);
    assert!(view.info.id == Some(id));
}

#[test]
fn an_agent_is_told_of_a_framework_once_over_a_connection() {
    // PR-06
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:9");
    let (peer, id) = world.framework("web");
    let mut launched = 0;
    let mut launch_one = |world: &mut World| {
        launched += 1;
        let offered = world.offers_within(Duration::from_secs(10));
        let offers: Vec<OfferId> = offered.into_iter().map(|(_, it)| it.id).collect();
        let one = task(&format!("t{launched}"), &agent, "cpus:1");
        let outs = world.call(peer, launch(&offers, vec![one]));
        let starts = outs.iter().any(|out| {
            let Output::Effect(Effect::Agent { message, .. }) = out else {
                return false;
            };
            matches!(message, ToAgent::RunTask { .. })
        });
        assert!(starts, "{outs:?}");
    };
    launch_one(&mut world);
    launch_one(&mut world);
    let first = known_as(id.clone(), "web");
    assert_eq!(world.introduced, [(agent_peer, first.clone())]);
    // When it says something else, and not again with the next task.
    let changed = FrameworkInfo {
        webui_url: "https://web.example".to_string(),
        ..first
    };
    let update = Call::Update {
        framework: changed.clone(),
        wishes: Wishes::default(),
    };
    world.call(peer, update);
    launch_one(&mut world);
    assert_eq!(world.introduced[1..], [(agent_peer, changed.clone())]);
    // Another connection knows nothing.
    world.lose(agent_peer);
    let back = world.connect(PeerRole::Agent, "one");
    let tasks = ["t1", "t2", "t3"].map(|name| {
        let info = task(name, &agent, "cpus:1");
        TaskReport::new(id.clone(), Role::any(), &info, TaskState::Running)
    });
    let returns = reregister(
        agent.clone(),
        "cpus:9",
        vec![changed.clone()],
        tasks.to_vec(),
    );
    world.agent_says(back, returns);
    launch_one(&mut world);
    assert_eq!(world.introduced[2..], [(back, changed)]);
}

#[test]
fn what_never_changes_is_not_changed_by_an_update() {
    // FW-12, FW-53
    let mut world = World::new();
    let peer = world.connect(PeerRole::Framework, "web");
    let info = FrameworkInfo {
        user: Some("web".to_string()),
        ..framework_info()
    };
    world.subscribe(peer, info.clone());
    let before = world.master.view().frameworks();
    let fixed = "a framework's id and user never change";
    let named = |name: &str| FrameworkInfo {
        name: name.to_string(),
        ..info.clone()
    };
    for (framework, wishes, reason, why) in [
        (
            FrameworkInfo {
                id: Some(framework_id(9)),
                ..info.clone()
            },
            Wishes::default(),
            RejectKind::Unchangeable,
            fixed,
        ),
        (
            FrameworkInfo {
                user: None,
                ..info.clone()
            },
            Wishes::default(),
            RejectKind::Unchangeable,
            fixed,
        ),
        (
            named("a\0"),
            Wishes::default(),
            RejectKind::Nul,
            "framework name contains a NUL byte",
        ),
        (
            named("a"),
            suppressing(&["eng"]),
            RejectKind::ForeignRole,
            "a suppression for role eng, which the framework is not in",
        ),
    ] {
        let outs = world.call(peer, Call::Update { framework, wishes });
        assert_eq!(outs, [rejected(peer, CallKind::Update, reason, why)]);
        assert_eq!(world.master.view().frameworks(), before);
    }
}

#[test]
fn a_new_instance_changes_all_but_the_user() {
    // FW-12, FW-28: agents are told
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, id) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![task("t", &agent, "cpus:1")]);
    let newer = world.connect(PeerRole::Framework, "web");
    let outs = world.subscribe_again(
        newer,
        FrameworkInfo {
            name: "web2".to_string(),
            user: Some("other".to_string()),
            ..framework_info_of(id.clone())
        },
    );
    let told = ToAgent::UpdateFramework(FrameworkInfo {
        name: "web2".to_string(),
        ..known_as(id, "web")
    });
    assert!(outs.contains(&to_agent(agent_peer, told)), "{outs:?}");
}

#[test]
fn roles_that_a_framework_has_left_are_not_wished_for() {
    // RQ-03
    let mut world = world();
    let (peer, _) = subscribed(&mut world, &["eng", "ops"]);
    let update = |names: &[&str], suppressed: &[&str]| Call::Update {
        framework: in_roles(names),
        wishes: suppressing(suppressed),
    };
    world.call(peer, update(&["eng", "ops"], &["ops"]));
    world.call(peer, update(&["eng"], &[]));
    assert_eq!(world.master.view().frameworks()[0].suppressed, []);
    let all: BTreeSet<Role> = BTreeSet::from([role("eng")]);
    let roles = world.master.view().frameworks().remove(0).info.roles;
    assert_eq!(roles.into_iter().collect::<BTreeSet<_>>(), all);
}

/// Subscribes with wishes.
fn wishing(world: &mut World, names: &[&str], wishes: Wishes) -> (PeerId, Vec<Out>) {
    let peer = world.connect(PeerRole::Framework, "web");
    let framework = in_roles(names);
    let outs = world.call(peer, Call::Subscribe { framework, wishes });
    (peer, outs)
}

fn demands(amounts: &str, count: u32) -> Demand {
    let shape = Shape::new(Quantities::parse(amounts).unwrap(), count).unwrap();
    Demand::new(vec![shape]).unwrap()
}

/// Lets the allocator run, and returns what is offered to this framework.
fn amounts(world: &mut World, peer: PeerId) -> Vec<String> {
    let offers = world.pass(Duration::from_millis(1_900));
    let offers = offers.into_iter().filter_map(|out| match out {
        Output::Effect(Effect::Scheduler {
            peer: to,
            event: Event::Offers(offers),
        }) if to == peer => Some(offers),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    let offers = offers.flatten();
    offers.map(|offer| offer.resources.to_string()).collect()
}

#[test]
fn offers_are_cut_to_what_is_demanded() {
    // FW-52: Mesos does nothing with requests; here they are demands
    let honouring = drf::Options {
        demands: DemandRule::Honoured,
        ..drf::Options::default()
    };
    for rule in [DemandRule::Honoured, DemandRule::Ignored] {
        let options = drf::Options {
            demands: rule,
            ..honouring.clone()
        };
        let allocator = Box::new(Drf::new(options));
        let mut world = World::with(1, Registry::default(), allocator);
        world.drain();
        // It is said with the subscription,
        let (peer, _) = wishing(
            &mut world,
            &["eng", "ops"],
            Wishes {
                demands: BTreeMap::from([
                    (role("eng"), demands("cpus:1", 2)),
                    (role("ops"), demands("cpus:1", 0)),
                ]),
                ..Wishes::default()
            },
        );
        host(&mut world, "one", "cpus:8;mem:64");
        let seen = amounts(&mut world, peer);
        if rule == DemandRule::Ignored {
            assert_eq!(seen, ["cpus:8;mem:64"]);
            continue;
        }
        assert_eq!(seen, ["cpus:2"]);
        // later,
        let said = |name: &str, demand| Call::Demand {
            role: role(name),
            demand,
        };
        assert_eq!(
            world.call(peer, said("ops", Some(demands("mem:40", 1)))),
            []
        );
        assert_eq!(amounts(&mut world, peer), ["mem:40"]);
        // and taken back: what is left is for anybody.
        assert_eq!(world.call(peer, said("ops", None)), []);
        assert_eq!(amounts(&mut world, peer), ["cpus:6;mem:24"]);
    }
}

#[test]
fn a_demand_ends_with_the_wishes_that_leave_it_out() {
    let allocator = Box::new(Drf::new(drf::Options {
        demands: DemandRule::Honoured,
        ..drf::Options::default()
    }));
    let mut world = World::with(1, Registry::default(), allocator);
    world.drain();
    let wishes = Wishes {
        demands: BTreeMap::from([(role("eng"), demands("cpus:1", 0))]),
        ..Wishes::default()
    };
    let (peer, _) = wishing(&mut world, &["eng"], wishes.clone());
    host(&mut world, "one", "cpus:8");
    assert_eq!(amounts(&mut world, peer), [""; 0]);
    // What is too much together with what was said before changes nothing.
    let many = (0..256).map(|n| {
        let name = format!("x{n}{}", "x".repeat(100));
        let each: Vec<_> = (0..64).map(|k| format!("{name}{k}:1")).collect();
        Shape::new(Quantities::parse(&each.join(";")).unwrap(), 1).unwrap()
    });
    let demand = Some(Demand::new(many.collect()).unwrap());
    let outs = world.call(
        peer,
        Call::Demand {
            role: role("eng"),
            demand,
        },
    );
    let text = format!("{outs:?}");
    assert!(
        text.contains("Rejected") && text.contains("wishes"),
        "{text}"
    );
    assert_eq!(amounts(&mut world, peer), [""; 0]);
    let update = Call::Update {
        framework: in_roles(&["eng"]),
        wishes: Wishes::default(),
    };
    world.call(peer, update);
    assert_eq!(amounts(&mut world, peer), ["cpus:8"]);
}
