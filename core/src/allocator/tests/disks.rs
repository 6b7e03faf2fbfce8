//! What is offered whole, what can be taken back, what several use, and what others provide.

use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::allocator::{FrameworkCapabilities, Subscription};
use crate::quota::Quota;
use crate::resources::{Ceilings, Quantities};

const VOLUME: &str = r#"disk(eng)<volume="v",rw="data",shared>:10"#;

fn bounded(rig: &mut Rig, in_role: &str, guarantees: &str, limits: &str) {
    rig.tell(Change::QuotaSet {
        role: role(in_role),
        quota: Quota {
            guarantees: Quantities::parse(guarantees).unwrap(),
            limits: Ceilings::parse(limits).unwrap(),
        },
    });
}

fn capable(rig: &mut Rig, framework: FrameworkKey, in_role: &str, what: FrameworkCapabilities) {
    rig.tell(Change::FrameworkAdded {
        framework,
        profile: FrameworkProfile {
            name: letter(framework),
            roles: Vec::from([Subscription::new(role(in_role))]),
            capabilities: what,
        },
    });
}

fn accepts_in(rig: &mut Rig, framework: FrameworkKey, in_role: &str, resources: &str) {
    rig.tell(Change::Accepted {
        framework,
        role: role(in_role),
        agent: A0,
        grants: whichever(),
        resources: res(resources),
    });
}

fn returns_in(
    rig: &mut Rig,
    framework: FrameworkKey,
    in_role: &str,
    resources: &str,
    from: Booking,
) {
    rig.tell(again_free(
        from,
        (framework, role(in_role), A0),
        res(resources),
        None,
    ));
}

fn booked(rig: &Rig) -> String {
    rig.drf.stats().booked.to_string()
}

#[test]
fn as_10_a_disk_that_cannot_be_cut_is_left_out() {
    // AL-29, AL-30, AS-10, RM-39: within a limit of sixty there is room for one of the mounted
    // disks; then neither the other nor the block device fits, and neither is offered in part.
    let all = r#"cpus:1;disk:9;disk(*)<block>:7;disk(*)<mount="/m">:50;disk(*)<mount="/n">:50"#;
    for (limit, offer) in [
        ("disk:60", r#"cpus:1;disk:9;disk(*)<mount="/m">:50"#),
        ("disk:16", "cpus:1;disk:9;disk(*)<block>:7"),
        // What can be cut is.
        ("disk:6.5", "cpus:1;disk:6.5"),
    ] {
        let mut rig = Rig::new();
        bounded(&mut rig, "eng", "", limit);
        rig.framework(A, &["eng"]).agent(A0, all);
        assert_eq!(rig.says(), [format!("1: A/eng on 0: {offer}")]);
    }
}

#[test]
fn as_10_a_guarantee_is_served_by_a_whole_disk_or_not_by_it() {
    // AL-26, AL-29, AS-10: twenty are promised, and the disk of fifty is what there is.
    let mut rig = Rig::new();
    bounded(&mut rig, "eng", "disk:20", "");
    rig.framework(A, &["*"]).framework(B, &["eng"]);
    rig.agent(A0, r#"cpus:2;disk(*)<mount="/m">:50"#);
    assert_eq!(
        rig.says(),
        [r#"1: B/eng on 0: cpus:2;disk(*)<mount="/m">:50"#]
    );
    assert!(rig.drf.stats().required_headroom.is_empty());

    // If others are promised of it as well, nobody can have it whole; and then B does not come
    // first for the rest, which serves no guarantee.
    let mut rig = Rig::new();
    bounded(&mut rig, "eng", "disk:20", "");
    bounded(&mut rig, "ops", "disk:40", "");
    rig.framework(A, &["*"]).framework(B, &["eng"]);
    rig.agent(A0, r#"cpus:2;disk(*)<mount="/m">:50"#);
    assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "disk:60");
}

#[test]
fn as_10_of_equal_disks_each_is_one() {
    // AS-10, RM-19, RM-20: one of two goes back, not a half of both.
    let mut rig = Rig::new();
    let one = r#"disk(*)<mount="/m">:5"#;
    rig.agent(A0, &format!("cpus:2;{one};{one}"))
        .framework(A, &["*"]);
    assert_eq!(rig.says(), [format!("1: A on 0: cpus:2;{one};{one}")]);
    rig.accepts(A, A0, &format!("cpus:1;{one}"));
    rig.returns(A, A0, &format!("cpus:1;{one}"), 0);
    assert_eq!(rig.says(), [format!("2: A on 0: cpus:1;{one}")]);
    // A half of it cannot be held, so this is no news.
    rig.ends(A, A0, r#"disk(*)<mount="/m">:2.5"#);
    assert_eq!(booked(&rig), "cpus:2;disk:10");
}

#[test]
fn as_08_what_can_be_taken_back_goes_to_those_who_can_cope() {
    // AL-15, AL-20, AL-25, AL-32, RQ-24, AS-08: it counts in the total and in shares once, and not
    // for quota: neither the limit nor the headroom has to do with it.
    let mut rig = Rig::new();
    let plenty = "cpus:2;cpus(*)<revocable>:8";
    bounded(&mut rig, "eng", "", "cpus:1");
    bounded(&mut rig, "ops", "cpus:1", "");
    rig.framework(A, &["*"]).agent(A0, plenty);
    assert_eq!(rig.says(), ["1: A on 0: cpus:1"]);
    let all = FrameworkCapabilities::ALL;
    capable(&mut rig, B, "eng", all);
    assert_eq!(rig.says(), ["2: B/eng on 0: cpus(*)<revocable>:8"]);
    assert_eq!(rig.drf.stats().total.to_string(), "cpus:10");
    assert_eq!(rig.drf.dominant_share(B, &role("eng")), Some(800_000));
    let figures = rig.drf.roles();
    let eng = figures.iter().find(|it| it.role == role("eng")).unwrap();
    assert!(eng.consumed.is_empty(), "{eng:?}");
}

#[test]
fn less_to_take_back_than_is_in_use() {
    // AL-44, AS-08: the estimate falls below what is in use; what ends is not free before it fits,
    // and everything else is.
    let mut rig = Rig::new();
    capable(&mut rig, A, "*", FrameworkCapabilities::ALL);
    rig.agent(A0, "cpus:2;cpus(*)<revocable>:8");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2;cpus(*)<revocable>:8"]);
    rig.accepts(A, A0, "cpus(*)<revocable>:6");
    rig.returns(A, A0, "cpus:2;cpus(*)<revocable>:2", 0);
    assert_eq!(rig.says(), ["2: A on 0: cpus:2;cpus(*)<revocable>:2"]);
    rig.tell(Change::AgentChanged {
        agent: A0,
        total: res("cpus:2;cpus(*)<revocable>:4"),
        traits: AgentTraits::default(),
    });
    assert_eq!(rig.says(), ["rescind 2: Agent"]);
    rig.returns(A, A0, "cpus:2;cpus(*)<revocable>:2", 0);
    assert_eq!(rig.says(), ["3: A on 0: cpus:2"]);
    rig.ends(A, A0, "cpus(*)<revocable>:2");
    assert_eq!(rig.says(), [""; 0]);
    rig.ends(A, A0, "cpus(*)<revocable>:1");
    assert_eq!(rig.says(), ["4: A on 0: cpus(*)<revocable>:1"]);
    assert_eq!(booked(&rig), "cpus:6");
}

#[test]
fn as_05_what_a_provider_adds_is_free_beside_what_is_in_use() {
    // AS-05: what a resource provider brings.
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:2");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
    rig.accepts(A, A0, "cpus:2");
    let disk = r#"disk(*)<raw,provider="p">:100"#;
    let used = r#"disk(*)<raw,id="i",provider="p">:50"#;
    rig.tell(Change::AgentChanged {
        agent: A0,
        total: res(&format!("cpus:3;{disk};{used}")),
        traits: AgentTraits::default(),
    });
    rig.used(A, A0, used);
    assert_eq!(rig.says(), [format!("2: A on 0: cpus:1;{disk}")]);
    rig.ends(A, A0, used);
    rig.returns(A, A0, &format!("cpus:1;{disk}"), 0);
    assert_eq!(booked(&rig), "cpus:2");
}

/// An agent with a shared volume, and two who can share; it offers both halves of the rest.
fn sharing() -> Rig {
    let mut rig = Rig::new();
    capable(&mut rig, A, "eng", FrameworkCapabilities::ALL);
    capable(&mut rig, B, "eng", FrameworkCapabilities::ALL);
    rig.agent(A0, &format!("cpus:4;mem:64;{VOLUME}"));
    assert_eq!(
        rig.says(),
        [format!("1: A/eng on 0: cpus:4;{VOLUME};mem:64")]
    );
    accepts_in(&mut rig, A, "eng", &format!("cpus:1;{VOLUME}"));
    returns_in(&mut rig, A, "eng", "cpus:3;mem:64", Booking::Offered);
    rig
}

#[test]
fn as_13_a_shared_volume_in_use_is_offered_again() {
    // AL-15, AL-31, RM-48, AS-13: two hold it; each counts it once, and the total has it once.
    let mut rig = sharing();
    let rest = format!("cpus:3;{VOLUME};mem:64");
    assert_eq!(rig.says(), [format!("2: B/eng on 0: {rest}")]);
    accepts_in(&mut rig, B, "eng", &format!("cpus:1;{VOLUME}"));
    returns_in(&mut rig, B, "eng", "cpus:2;mem:64", Booking::Offered);
    assert_eq!(
        rig.says(),
        [format!("3: A/eng on 0: cpus:2;{VOLUME};mem:64")]
    );
    assert_eq!(rig.drf.stats().total.amount("disk").thousandths(), 10_000);
    // A's second copy does not count.
    let figures = rig.drf.stats();
    assert_eq!(figures.booked.amount("disk").thousandths(), 20_000);
    // Both end; the last one who has it is without it then.
    returns_in(&mut rig, B, "eng", VOLUME, Booking::Allocated);
    assert_eq!(booked(&rig), "cpus:4;disk:10;mem:64");
    returns_in(&mut rig, A, "eng", VOLUME, Booking::Allocated);
    assert_eq!(booked(&rig), "cpus:4;disk:10;mem:64");
    returns_in(
        &mut rig,
        A,
        "eng",
        &format!("cpus:2;{VOLUME};mem:64"),
        Booking::Offered,
    );
    assert_eq!(booked(&rig), "cpus:2");
}

#[test]
fn a_shared_volume_is_in_one_offer_at_a_time() {
    // AL-31: and what is alone is looked at once in an interval, not at once: taking it takes
    // nothing from anybody, so that could go on forever.
    let mut rig = Rig::with(Options {
        min_allocatable: Vec::new(),
        ..Options::default()
    });
    capable(&mut rig, A, "eng", FrameworkCapabilities::ALL);
    capable(&mut rig, B, "eng", FrameworkCapabilities::ALL);
    rig.agent(A0, &format!("cpus:1;{VOLUME}"));
    assert_eq!(rig.says(), [format!("1: A/eng on 0: cpus:1;{VOLUME}")]);
    accepts_in(&mut rig, A, "eng", &format!("cpus:1;{VOLUME}"));
    assert_eq!(rig.until(999), [""; 0]);
    assert_eq!(
        rig.until(1_000),
        [format!("1000 ms: 2: B/eng on 0: {VOLUME}")]
    );
    assert_eq!(rig.until(5_000), [""; 0], "B has not answered");
    accepts_in(&mut rig, B, "eng", VOLUME);
    let again = format!("6000 ms: 3: B/eng on 0: {VOLUME}");
    let seen = rig.until(6_500);
    assert!(
        seen == [again.clone()] || seen == [again.replace("3: B", "3: A")],
        "{seen:?}"
    );
}

#[test]
fn a_shared_volume_is_not_for_those_who_cannot_share() {
    // AL-32, RM-48
    let mut rig = Rig::new();
    let alone = FrameworkCapabilities {
        shared: false,
        ..FrameworkCapabilities::ALL
    };
    capable(&mut rig, A, "eng", alone);
    rig.agent(A0, &format!("cpus:4;{VOLUME}"));
    assert_eq!(rig.says(), ["1: A/eng on 0: cpus:4"]);
}

#[test]
fn as_07_several_tasks_of_one_offer_use_one_copy_of_it() {
    // AS-07, RM-48, AL-39: an offer has one copy, and any number of tasks may use the volume.
    let two = r#"disk(eng)<volume="v",rw="data",shared=2>:10"#;
    let mut rig = Rig::new();
    capable(&mut rig, A, "eng", FrameworkCapabilities::ALL);
    rig.agent(A0, &format!("cpus:4;{VOLUME}"));
    assert_eq!(rig.says().len(), 1);
    accepts_in(&mut rig, A, "eng", &format!("cpus:2;{two}"));
    accepts_in(&mut rig, A, "eng", &format!("cpus:1;{VOLUME}"));
    returns_in(&mut rig, A, "eng", "cpus:1", Booking::Offered);
    assert_eq!(rig.says(), [format!("2: A/eng on 0: cpus:1;{VOLUME}")]);
    assert_eq!(booked(&rig), "cpus:4;disk:10");
    returns_in(
        &mut rig,
        A,
        "eng",
        &format!("cpus:2;{two}"),
        Booking::Allocated,
    );
    returns_in(
        &mut rig,
        A,
        "eng",
        &format!("cpus:1;{VOLUME}"),
        Booking::Allocated,
    );
    assert_eq!(booked(&rig), "cpus:1;disk:10");
    rig.tell(Change::AgentRemoved { agent: A0 });
    assert_eq!(booked(&rig), "");
}
