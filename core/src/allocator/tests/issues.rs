//! Mistakes that were once made in Mesos' allocator, quota, arithmetic and parsers, each with the
//! test that fails if they are made here: by the number of the issue there, and of the CVE.
//!
//! | issue | what went wrong | test |
//! |---|---|---|
//! | 1086 | who declines everything is asked again and again, others never | `whoever_declines_everything_starves_nobody` |
//! | 3051 | adding range after range compares them all again and again | `many_ranges_are_put_together_once` |
//! | 3052 | refusals are looked through one by one | `many_refusals_are_not_looked_through` |
//! | 3202 | with low shares, some always come before others | `two_that_want_nothing_do_not_play_ping_pong` |
//! | 9554 | one framework that lacks a capability ends the search | `who_cannot_cope_with_an_agent_does_not_keep_it_from_others` |
//! | 3397 | an agent shrinks below what is booked | `as_08_an_agent_that_shrinks_below_what_is_booked_recovers` |
//! | 3552 | sums of fractions are a little more or less | `tenths_add_up_to_nothing_left` |
//! | 4071 | more is in use than the total has | `use_that_collides_with_a_grant_asks_the_grant_back` |
//! | 4411 | only the first roles with quota are served | `every_role_with_a_guarantee_is_visited` |
//! | 5073 | sorters of roles that are gone stay | `whoever_comes_and_goes_leaves_nothing` |
//! | 6321 | use that is known before its framework counts twice | `as_04_use_is_counted_once_whenever_its_framework_comes` |
//! | 7402 | roles below a role have more than its limit | `limits_hold_for_everything_below` |
//! | 7639 | what can be taken back shrinks below what is offered | `less_to_take_back_than_is_in_use` |
//! | 8293 | a role without quota does not get its reservations | `reservations_are_offered_at_the_limit_and_without_headroom` |
//! | 8352 | some have too much while others lack what they are promised | `tv_18_what_is_guaranteed_is_kept_free` |
//! | 9542 | an operation of a framework that is gone | `an_operation_of_whoever_is_gone_changes_nothing` |
//! | 9555 | reservations of an agent are counted off twice | `reservations_are_counted_off_once` |
//! | 9692 | a guarantee of disk is not met | `as_10_a_guarantee_is_served_by_a_whole_disk_or_not_by_it` |
//! | 9975 | what a framework held stays counted | `whoever_comes_and_goes_leaves_nothing` |
//! | 10015 | many reservations make everything slow | `many_reservations_are_one_entry_each` |
//! | 10194 | a role is asked for that is gone | `a_role_that_is_gone_is_not_asked_for` |
//! | 2018-11793 | deep nesting in JSON overflows the stack | `deep_nesting_is_refused` |
//! | 2018-1330 | malformed JSON ends the process | `malformed_json_is_refused` |
//! | 5224 | a malformed UUID is read beyond its end | `malformed_ids_are_refused` |
//!
//! Deliberately not here: mistakes of HTTP, of the fetcher, and of what masters and agents tell
//! each other.

use alloc::vec::Vec;

use super::*;
use crate::allocator::FrameworkCapabilities;
use crate::ids::{TaskId, UpdateId};
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli, Quantities, work};

fn quota(in_role: &str, guarantees: &str, limits: &str) -> Change {
    Change::QuotaSet {
        role: role(in_role),
        quota: Quota {
            guarantees: Quantities::parse(guarantees).unwrap(),
            limits: Ceilings::parse(limits).unwrap(),
        },
    }
}

fn booked(rig: &Rig) -> String {
    rig.drf.stats().booked.to_string()
}

#[test]
fn every_issue_has_its_test() {
    let tests = [
        include_str!("books.rs"),
        include_str!("disks.rs"),
        include_str!("issues.rs"),
        include_str!("quota.rs"),
        include_str!("refusals.rs"),
        include_str!("../../resources/tests/rich.rs"),
    ];
    let rows = include_str!("issues.rs").lines();
    let rows = rows.filter_map(|line| line.strip_prefix("//! | "));
    let mut named = 0;
    for row in rows.filter(|row| row.contains('`')) {
        let name = row.split('`').nth(1).unwrap();
        let written = format!("#[test]\nfn {name}()");
        assert!(
            tests.iter().any(|source| source.contains(&written)),
            "{row}"
        );
        named += 1;
    }
    assert_eq!(named, 24);
}

#[test]
fn whoever_declines_everything_starves_nobody() {
    // MESOS-1086, I8: nine with a share of zero refuse each offer for as short as they can. The
    // tenth has a task already, so all of them come before it.
    let mut rig = Rig::new();
    for n in 1..10 {
        rig.framework(FrameworkKey::from_raw(n, 0), &["*"]);
    }
    rig.framework(A, &["*"]).agent(A0, "cpus:4");
    rig.used(A, A0, "cpus:1");
    let mut turns = 0;
    loop {
        let said = rig.says();
        let [grant] = &said[..] else {
            panic!("{said:?}");
        };
        let who = grant.split(' ').nth(1).unwrap().as_bytes()[0] - b'A';
        if who == 0 {
            break;
        }
        rig.returns(FrameworkKey::from_raw(u32::from(who), 0), A0, "cpus:3", 0);
        turns += 1;
        assert!(turns < 10, "the same are asked again");
    }
    assert_eq!((turns, rig.now), (9, Time::ZERO), "all of it at once");
}

#[test]
fn who_cannot_cope_with_an_agent_does_not_keep_it_from_others() {
    // MESOS-9554: A would be first, and can have neither agent.
    let mut rig = Rig::new();
    rig.framework(A, &["*"]);
    rig.tell(Change::FrameworkAdded {
        framework: B,
        profile: FrameworkProfile {
            capabilities: FrameworkCapabilities::ALL,
            ..FrameworkProfile::new("B", [Role::any()])
        },
    });
    rig.agent(A0, "cpus:4;gpus:1")
        .agent(A1, "cpus(*)<revocable>:3");
    let mut said = rig.says();
    said.sort();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|it| it.contains(": B on ")), "{said:?}");
}

#[test]
fn tenths_add_up_to_nothing_left() {
    // MESOS-3552: ten times a tenth is one, reserved, used and given back in any grouping.
    let mut rig = Rig::new();
    rig.agent(A0, "cpus:1");
    for _ in 0..10 {
        rig.tell(Change::FreeConverted {
            agent: A0,
            before: res("cpus:0.1"),
            after: res("cpus(eng):0.1"),
        });
    }
    rig.framework(A, &["eng"]);
    assert_eq!(rig.says(), ["1: A/eng on 0: cpus(eng):1"]);
    let tenth = "cpus(eng):0.1";
    for _ in 0..10 {
        rig.tell(Change::Accepted {
            framework: A,
            role: role("eng"),
            agent: A0,
            grants: whichever(),
            resources: res(tenth),
        });
    }
    for tenths in ["cpus(eng):0.3", "cpus(eng):0.7"] {
        rig.tell(Change::Freed {
            framework: A,
            role: role("eng"),
            agent: A0,
            resources: res(tenths),
        });
    }
    assert_eq!(booked(&rig), "");
    assert_eq!(rig.says(), ["2: A/eng on 0: cpus(eng):1"]);
}

#[test]
fn every_role_with_a_guarantee_is_visited() {
    // MESOS-4411: the first has nobody, the second has all it is promised, the third does not.
    let mut rig = Rig::new();
    for it in ["a", "b", "c"] {
        rig.tell(quota(it, "cpus:1", ""));
    }
    rig.framework(A, &["b"])
        .framework(B, &["c"])
        .framework(C, &["z"]);
    rig.agent(A0, "cpus:1").used_in(A, "b", A0, "cpus:1");
    rig.agent(A1, "cpus:2");
    assert_eq!(
        rig.says(),
        ["1: B/c on 1: cpus:1"],
        "and one is kept for the first"
    );
}

#[test]
fn whoever_comes_and_goes_leaves_nothing() {
    // MESOS-5073, MESOS-9975, AL-46
    let mut rig = Rig::new();
    rig.agent(A0, "cpus:8;mem:100");
    for n in 0..200 {
        let role = format!("r{n}/below");
        rig.framework(A, &[&role]);
        assert_eq!(rig.says().len(), 1);
        rig.tell(Change::Accepted {
            framework: A,
            role: super::role(&role),
            agent: A0,
            grants: whichever(),
            resources: res("cpus:1;mem:10"),
        });
        rig.tell(quota(&role, "cpus:1", "cpus:9"));
        rig.tell(Change::FrameworkRemoved { framework: A });
        rig.tell(quota(&role, "", ""));
        assert_eq!((booked(&rig).as_str(), rig.drf.roles().len()), ("", 0));
    }
    let nodes = rig.drf.tree.nodes.len();
    assert!(nodes < 10, "{nodes} nodes for nobody");
    assert_eq!(rig.drf.stats().filters, 0);
}

#[test]
fn as_04_use_is_counted_once_whenever_its_framework_comes() {
    // MESOS-6321, AS-04
    for framework_first in [false, true] {
        let mut rig = Rig::new();
        if framework_first {
            rig.framework(A, &["*"]);
        }
        rig.agent(A0, "cpus:4");
        rig.used(A, A0, "cpus:3");
        if !framework_first {
            rig.framework(A, &["*"]);
        }
        assert_eq!(rig.says(), ["1: A on 0: cpus:1"]);
        assert_eq!(booked(&rig), "cpus:4");
        assert_eq!(rig.drf.dominant_share(A, &Role::any()), Some(1_000_000));
    }
}

#[test]
fn reservations_are_offered_at_the_limit_and_without_headroom() {
    // MESOS-8293: quota has no say in what is reserved already.
    let mut rig = Rig::new();
    rig.tell(quota("eng", "", "cpus:2"))
        .tell(quota("ops", "cpus:9", ""));
    rig.framework(A, &["eng"]).framework(B, &["web"]);
    rig.agent(A0, "cpus:1;cpus(eng):2;cpus(web):3");
    let mut said = rig.says();
    said.sort();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("A/eng on 0: cpus(eng):2") || said[1].contains("cpus(eng):2"));
    assert!(
        said.iter()
            .any(|it| it.ends_with("B/web on 0: cpus(web):3")),
        "{said:?}"
    );
}

#[test]
fn an_operation_of_whoever_is_gone_changes_nothing() {
    // MESOS-9542
    let mut rig = Rig::new();
    rig.framework(A, &["eng"])
        .framework(B, &["*"])
        .agent(A0, "cpus:4");
    assert_eq!(rig.says(), ["1: B on 0: cpus:4"]);
    rig.returns(B, A0, "cpus:4", 5_000);
    assert_eq!(rig.says(), ["2: A/eng on 0: cpus:4"]);
    rig.tell(Change::FrameworkRemoved { framework: A });
    rig.tell(Change::Converted {
        framework: A,
        role: role("eng"),
        agent: A0,
        grants: whichever(),
        before: res("cpus:1"),
        after: res("cpus(eng):1"),
    });
    for from in [Booking::Offered, Booking::Allocated] {
        rig.tell(again_free(
            from,
            (A, role("eng"), A0),
            res("cpus(eng):1;cpus:3"),
            None,
        ));
    }
    assert_eq!((booked(&rig).as_str(), rig.drf.roles().len()), ("", 1));
    rig.framework(C, &["eng"]);
    assert_eq!(rig.says(), ["3: C/eng on 0: cpus:4"]);
}

#[test]
fn reservations_are_counted_off_once() {
    // MESOS-9555, AL-46: they change while held, and the agent changes and goes.
    let mut rig = Rig::new();
    let reserved = |rig: &Rig| -> Vec<String> {
        let roles = rig.drf.roles();
        roles
            .iter()
            .map(|it| format!("{} {}", it.role, it.reserved))
            .collect()
    };
    rig.framework(A, &["eng/web"])
        .agent(A0, "cpus:4;cpus(eng):1");
    assert_eq!(rig.says(), ["1: A/eng/web on 0: cpus:4;cpus(eng):1"]);
    rig.tell(Change::Converted {
        framework: A,
        role: role("eng/web"),
        agent: A0,
        grants: whichever(),
        before: res("cpus:2"),
        after: res("cpus(eng/web):2"),
    });
    assert_eq!(reserved(&rig), ["eng cpus:3", "eng/web cpus:2"]);
    rig.tell(Change::AgentChanged {
        agent: A0,
        total: res("cpus:4;cpus(eng):1"),
        traits: AgentTraits::default(),
    });
    assert_eq!(reserved(&rig), ["eng cpus:1", "eng/web "]);
    rig.tell(Change::AgentRemoved { agent: A0 });
    rig.tell(Change::AgentRemoved { agent: A0 });
    assert_eq!(reserved(&rig), ["eng ", "eng/web "]);
    rig.tell(Change::FrameworkRemoved { framework: A });
    assert_eq!(reserved(&rig), [""; 0]);
}

#[test]
fn many_reservations_are_one_entry_each() {
    let entry = |n: u32| format!(r#"cpus(*)<dynamic="eng",label="n"="{n}">:0.1"#);
    // MESOS-10015: 2,000 labelled reservations on one agent, all granted, half of them accepted
    // one by one. Each step is found by its identity, not by comparing everything with everything:
    // with four times as many it costs at most about four times as much, not sixteen times.
    let accepting = |count: u32| {
        let all: Vec<String> = (0..count).map(entry).collect();
        let mut rig = Rig::new();
        rig.framework(A, &["eng"]).agent(A0, &all.join(";"));
        assert_eq!(rig.says().len(), 1);
        let accepted = Change::Accepted {
            framework: A,
            role: role("eng"),
            agent: A0,
            grants: whichever(),
            resources: res(&all[count as usize / 2]),
        };
        let accepted = named(&rig.drf, accepted);
        work::of(|| rig.drf.handle(rig.now, accepted, &mut rig.out)).1
    };
    let (less, more) = (accepting(500), accepting(2_000));
    assert!(less > 0 && more <= 5 * less, "{less} and then {more}");
    let all: Vec<String> = (0..2_000).map(entry).collect();
    let mut rig = Rig::new();
    rig.drf.handle(
        rig.now,
        Change::AgentAdded {
            agent: A0,
            total: res(&all.join(";")),
            traits: AgentTraits::default(),
        },
        &mut rig.out,
    );
    rig.framework(A, &["eng"]);
    assert_eq!(rig.says().len(), 1);
    for n in 0..1_000 {
        let accepted = Change::Accepted {
            framework: A,
            role: role("eng"),
            agent: A0,
            grants: whichever(),
            resources: res(&entry(n)),
        };
        let accepted = named(&rig.drf, accepted);
        rig.drf.handle(rig.now, accepted, &mut rig.out);
    }
    rig.drf.check_invariants();
    assert_eq!(booked(&rig), "cpus:200");
    let rest = all[1_000..].join(";");
    rig.tell(Change::Returned {
        framework: A,
        role: role("eng"),
        agent: A0,
        resources: res(&rest),
        grants: whichever(),
        refuse: None,
    });
    assert_eq!(booked(&rig), "cpus:100");
}

#[test]
fn a_role_that_is_gone_is_not_asked_for() {
    // MESOS-10194, AL-41: the last framework leaves a role in which a task still runs; its weight
    // and quota go as well; then the task ends.
    let mut rig = Rig::new();
    rig.framework(A, &["x/y"]).agent(A0, "cpus:4");
    assert_eq!(rig.says(), ["1: A/x/y on 0: cpus:4"]);
    let in_role = || role("x/y");
    rig.tell(quota("x", "cpus:1", "")).tell(Change::Accepted {
        framework: A,
        role: in_role(),
        agent: A0,
        grants: whichever(),
        resources: res("cpus:4"),
    });
    rig.tell(Change::FrameworkChanged {
        framework: A,
        profile: FrameworkProfile::new("A", roles(&["z"])),
    });
    rig.tell(quota("x", "", ""));
    assert_eq!(rig.drf.roles().len(), 3, "x, x/y and z");
    rig.tell(Change::Freed {
        framework: A,
        role: in_role(),
        agent: A0,
        resources: res("cpus:4"),
    });
    assert_eq!(rig.drf.roles().len(), 1);
    assert_eq!(rig.drf.dominant_share(A, &in_role()), None);
    assert_eq!(rig.drf.explain(A, &in_role()), []);
    rig.tell(Change::Freed {
        framework: A,
        role: in_role(),
        agent: A0,
        resources: res("cpus:4"),
    });
    assert_eq!(rig.says(), ["2: A/z on 0: cpus:4"]);
}

#[test]
fn deep_nesting_is_refused() {
    // CVE-2018-11793: neither JSON nor text is read by calling itself for each level.
    use crate::resources::json;
    for open in ["[", r#"[{"disk":"#, r#"[{"disk":{"source":{"mount":"#] {
        let text = open.repeat(200_000);
        assert!(serde_json::from_str::<Vec<json::Resource>>(&text).is_err());
    }
    for open in ["[", "{", "(", "<", r#"a(*)<dynamic="#, "a:[1-", "a:{"] {
        let text = open.repeat(200_000);
        assert!(Resources::parse(&text).is_err(), "{open}");
        // It may be a long text as an attribute; it overflows nothing.
        let _text_or_error = crate::attributes::Attributes::parse(&format!("a:{text}"));
    }
}

#[test]
fn many_ranges_are_put_together_once() {
    // MESOS-3051: an agent names thousands of ports one by one; they are offered, used and given
    // back. With twice as many that is about twice the work.
    let cost = |count: u32| {
        let port = |n: u32| format!("ports:[{0}-{0}]", 2 * n);
        let ports = (0..count).rev().map(port).collect::<Vec<_>>().join(";");
        let text = format!("cpus:1;{ports}");
        let mut rig = Rig::new();
        rig.framework(A, &["*"]);
        let (said, work) = work::of(|| {
            let all = rig.agent(A0, &text).says();
            rig.accepts(A, A0, &text).ends(A, A0, &text);
            rig.now = Time::from_micros(60_000_000);
            [all, rig.says()].concat()
        });
        assert_eq!(said.len(), 2);
        assert_eq!(said[0].matches('-').count(), count as usize);
        work
    };
    let (less, more) = (cost(1_000), cost(2_000));
    assert!(less > 1_000 && more <= 3 * less, "{less} and then {more}");
}

#[test]
fn many_refusals_are_not_looked_through() {
    // MESOS-3052: everybody refused every agent for an hour. Then one agent has something free
    // again: what that costs does not depend on how many refusals there are of other agents.
    const FRAMEWORKS: u32 = 10;
    let cost = |agents: u32| {
        let mut rig = Rig::new();
        for n in 0..FRAMEWORKS {
            rig.framework(FrameworkKey::from_raw(n, 0), &["*"]);
        }
        for n in 0..agents {
            rig.agent(AgentKey::from_raw(n, 0), "cpus:2");
        }
        for _ in 0..20 * FRAMEWORKS {
            rig.drf.tick(rig.now, &mut rig.out);
            for said in rig.out.drain().collect::<Vec<_>>() {
                let Output::Effect(Decision::Grant(grant)) = said else {
                    panic!("{said:?} is no grant");
                };
                let returned = Change::Returned {
                    framework: grant.framework,
                    role: grant.role,
                    agent: grant.agent,
                    grants: grant.id.into(),
                    resources: grant.resources,
                    refuse: Some(Duration::from_secs(3_600)),
                };
                rig.drf.handle(rig.now, returned, &mut rig.out);
            }
            rig.now = Time::from_micros(rig.now.as_micros() + 1_000_000);
        }
        assert_eq!(rig.drf.stats().filters, (agents * FRAMEWORKS) as usize);
        rig.used(A, A0, "cpus:1").says();
        let before = rig.drf.scratch.work();
        assert_eq!(rig.ends(A, A0, "cpus:1").says(), [""; 0]);
        rig.drf.scratch.work() - before
    };
    let (less, more) = (cost(20), cost(100));
    assert!(less > 0 && more <= 2 * less, "{less} and then {more}");
}

#[test]
fn malformed_json_is_refused() {
    // CVE-2018-1330: cut anywhere, with bytes that are no text, or something else in its place.
    use crate::resources::json;
    let read = |text: &[u8]| serde_json::from_slice::<Vec<json::Resource>>(text);
    let text = concat!(
        r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1.5}},"#,
        r#"{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":1,"end":9}]}}]"#
    );
    let text = text.as_bytes();
    assert_eq!(read(text).unwrap().len(), 2);
    for at in 0..text.len() {
        assert!(read(&text[..at]).is_err(), "cut after {at} bytes");
        let mut other = text.to_vec();
        other[at] = 0xff;
        assert!(read(&other).is_err(), "no text at {at}");
        other[at] = 0;
        assert!(read(&other).is_err(), "a zero at {at}");
    }
    for wrong in ["1e999", "NaN", "\"1\"", "{}", "[1]", "null,null", "-"] {
        let text = core::str::from_utf8(text).unwrap().replace("1.5", wrong);
        assert!(read(text.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn malformed_ids_are_refused() {
    // MESOS-5224: an id of the wrong length, or one that says another length than it has.
    let id = UpdateId(u128::MAX);
    let bytes = postcard::to_allocvec(&id).unwrap();
    assert_eq!(postcard::from_bytes(&bytes), Ok(id));
    for end in 0..bytes.len() {
        let cut = postcard::from_bytes::<UpdateId>(&bytes[..end]);
        assert!(cut.is_err(), "{end} bytes");
    }
    assert!(postcard::from_bytes::<UpdateId>(&[0xff; 32]).is_err());
    for text in [
        &[5, b'a'][..],
        &[1],
        &[0],
        &[0xff, 0xff, 0xff, 0xff, 0x0f, b'a'],
        &[1, 0xff],
    ] {
        assert!(postcard::from_bytes::<TaskId>(text).is_err(), "{text:?}");
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    // TV-07: too large, too many digits, not a number; never a panic, nor another one.
    for number in [
        "1e400",
        "inf",
        "NaN",
        "-1",
        "9223372036854775808",
        "0x10",
        ".",
    ] {
        let text = format!("cpus:{number}");
        assert!(Resources::parse(&text).is_err(), "{text}");
        assert!(number.parse::<Milli>().is_err(), "{number}");
    }
    for range in [
        "[1-18446744073709551616]",
        "[18446744073709551616-1]",
        "[-1-2]",
        "[3-1]",
    ] {
        assert!(
            Resources::parse(&format!("ports:{range}")).is_err(),
            "{range}"
        );
    }
    let most = "cpus:9223372036854775.807";
    let mut sum = res(most);
    assert_eq!(sum.to_string(), most);
    assert!(sum.add(&res("cpus:0.001")).is_err());
    assert_eq!(sum, res(most), "and nothing was added");
}
