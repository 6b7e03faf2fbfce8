//! Who is next.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::allocator::drf::GpuRule;
use crate::resources::Milli;

#[test]
fn tv_13_the_lowest_dominant_share_is_first() {
    // TV-13, AL-15
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).framework(B, &["*"]);
    rig.agent(A0, "cpus:100;mem:100");
    rig.used(B, A0, "cpus:30;mem:10")
        .used(A, A0, "cpus:10;mem:20");
    assert_eq!(rig.drf.dominant_share(A, &Role::any()), Some(200_000));
    assert_eq!(rig.drf.dominant_share(B, &Role::any()), Some(300_000));
    assert_eq!(rig.says(), ["1: A on 0: cpus:60;mem:70"]);
}

#[test]
fn tv_13_a_weight_divides_the_share_of_a_role() {
    // TV-13, AL-15, AL-17
    let mut rig = Rig::new();
    rig.framework(A, &["a"]).framework(B, &["b"]);
    rig.agent(A0, "cpus:100;mem:100");
    rig.used_in(A, "a", A0, "cpus:10;mem:20");
    rig.used_in(B, "b", A0, "cpus:30;mem:10");
    rig.tell(Change::WeightSet {
        role: role("b"),
        weight: Milli::from_thousandths(2_000),
    });
    assert_eq!(rig.drf.dominant_share(B, &role("b")), Some(300_000));
    assert_eq!(rig.says(), ["1: B/b on 0: cpus:60;mem:70"]);
}

#[test]
fn roles_are_compared_before_frameworks() {
    // AL-13: A has less than C, but its role has more than C's.
    let mut rig = Rig::new();
    rig.framework(A, &["x"])
        .framework(B, &["x"])
        .framework(C, &["y"]);
    rig.agent(A0, "cpus:10");
    rig.used_in(A, "x", A0, "cpus:1")
        .used_in(B, "x", A0, "cpus:3");
    rig.used_in(C, "y", A0, "cpus:2");
    assert_eq!(rig.says(), ["1: C/y on 0: cpus:4"]);
}

#[test]
fn tv_14_ties_go_to_fewer_grants_and_then_to_the_name() {
    // TV-14, AL-16
    let mut rig = Rig::new();
    rig.framework(B, &["*"]).framework(A, &["*"]);
    let again = |rig: &mut Rig| {
        rig.tell(Change::AgentRemoved { agent: A0 });
        rig.agent(A0, "cpus:4").says()
    };
    assert_eq!(again(&mut rig), ["1: A on 0: cpus:4"]);
    // Its share is zero again, but it had a grant.
    assert_eq!(again(&mut rig), ["2: B on 0: cpus:4"]);
    assert_eq!(again(&mut rig), ["3: A on 0: cpus:4"]);
    for active in [false, true] {
        let framework = A;
        rig.tell(Change::FrameworkActive { framework, active });
    }
    assert_eq!(rig.says(), ["rescind 3: Framework"]);
    assert_eq!(again(&mut rig), ["4: B on 0: cpus:4"]);
}

#[test]
fn tv_15_excluded_names_do_not_count() {
    // TV-15, AL-15, AS-01
    let mut rig = Rig::with(Options {
        excluded: vec![String::from("gpus")],
        gpus: GpuRule::Everyone,
        ..Options::default()
    });
    rig.framework(A, &["*"]).framework(B, &["*"]);
    rig.agent(A0, "cpus:10;gpus:4");
    rig.used(A, A0, "gpus:4").used(B, A0, "cpus:1");
    assert_eq!(rig.drf.dominant_share(A, &Role::any()), Some(0));
    assert_eq!(rig.says(), ["1: A on 0: cpus:9"]);
}

#[test]
fn as_01_what_is_reserved_counts_and_goes_to_its_role_alone() {
    // AS-01, RM-23, AL-15, AL-28
    let mut rig = Rig::new();
    rig.framework(A, &["eng/web"]).framework(B, &["ops"]);
    rig.agent(A0, "cpus(eng):4;cpus(ops):1;cpus:5");
    // A is first by name and gets what is unreserved with what an ancestor reserved.
    let first = [
        "1: A/eng/web on 0: cpus:5;cpus(eng):4",
        "2: B/ops on 0: cpus(ops):1",
    ];
    assert_eq!(rig.says(), first);
    assert_eq!(rig.drf.dominant_share(A, &role("eng/web")), Some(900_000));
    // Reserved resources alone are no use to the wrong role.
    rig.agent(A1, "cpus(other):4");
    assert_eq!(rig.says(), [""; 0]);
}

#[test]
fn as_03_agents_are_shared_out_equally_over_many_rounds() {
    // AS-03, AL-28
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .framework(B, &["*"])
        .framework(C, &["*"]);
    let mut counts = [0; 3];
    for round in 0..10 {
        for n in 0..9 {
            rig.agent(AgentKey::from_raw(n, round), "cpus:4;mem:64");
        }
        for grant in rig.says() {
            let who = grant.split(' ').nth(1).unwrap().as_bytes()[0] - b'A';
            counts[usize::from(who)] += 1;
        }
        assert_eq!(counts, [3 * (round + 1); 3]);
        for n in 0..9 {
            let agent = AgentKey::from_raw(n, round);
            rig.tell(Change::AgentRemoved { agent });
        }
    }
}

#[test]
fn agents_come_in_an_order_that_the_seed_decides() {
    // AL-22, C7
    let order = |seed| {
        let mut rig = Rig::with(Options {
            seed,
            ..Options::default()
        });
        for n in 0..20 {
            rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
        }
        rig.framework(A, &["*"]).says()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

/// Runs frameworks that start a task from every offer if it fits, and give back the rest at once.
/// Returns who started tasks, in order, and how many offers were made by the end of each second.
fn progressive_filling(rig: &mut Rig, tasks: [&str; 2], seconds: u64) -> (String, Vec<usize>) {
    let (mut order, mut offers, mut per_second) = (String::new(), 0, Vec::new());
    for second in 1..=seconds {
        loop {
            rig.drf.tick(rig.now, &mut rig.out);
            let Some(output) = rig.out.pop() else {
                let end = Time::from_micros(second * 1_000_000 - 1);
                match rig.drf.deadline().filter(|due| *due <= end) {
                    Some(due) => rig.now = due,
                    None => break,
                }
                continue;
            };
            let Output::Effect(Decision::Grant(grant)) = output else {
                panic!("nothing else is to be said: {output:?}");
            };
            offers += 1;
            assert!(offers < 1_000, "an endless loop within {second} s");
            let (who, agent) = (grant.framework, grant.agent);
            let task = tasks[who.index() as usize];
            let rest = grant.resources.checked_sub(&res(task));
            if rest.is_ok() {
                order.push_str(&letter(who));
                rig.accepts(who, agent, task);
            }
            let rest = rest.unwrap_or(grant.resources);
            rig.returns(who, agent, &rest.to_string(), 0);
        }
        per_second.push(offers);
        rig.now = Time::from_micros(second * 1_000_000);
    }
    (order, per_second)
}

#[test]
fn the_example_of_the_paper_fills_progressively() {
    // AL-15, AL-28: Ghodsi et al. 2011, section 4.1: <9 CPU, 18 GB>, <1, 4> against <3, 1>.
    let gb = 1_024;
    let tasks = [format!("cpus:1;mem:{}", 4 * gb), format!("cpus:3;mem:{gb}")];
    let tasks = [tasks[0].as_str(), tasks[1].as_str()];
    for (b_name, expected) in [("B", "ABABA"), ("0", "BAABA")] {
        let mut rig = Rig::new();
        rig.framework(A, &["*"]);
        rig.tell(Change::FrameworkAdded {
            framework: B,
            profile: FrameworkProfile::new(b_name, roles(&["*"])),
        });
        rig.agent(A0, &format!("cpus:9;mem:{}", 18 * gb));
        let (order, offers) = progressive_filling(&mut rig, tasks, 5);
        assert_eq!(order, expected);
        assert_eq!(rig.drf.dominant_share(A, &Role::any()), Some(666_666));
        assert_eq!(rig.drf.dominant_share(B, &Role::any()), Some(666_666));
        // Five tasks and two refusals at once; then each is asked again once in an interval.
        assert_eq!(offers, [7, 9, 11, 13, 15]);
    }
}

#[test]
fn frameworks_with_the_same_needs_end_up_with_the_same() {
    // AS-03, AL-15
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).framework(B, &["*"]);
    rig.agent(A0, "cpus:10;mem:1000")
        .agent(A1, "cpus:10;mem:1000");
    let (order, _) = progressive_filling(&mut rig, ["cpus:1;mem:100"; 2], 2);
    assert_eq!(order.matches('A').count(), 10, "{order}");
    assert_eq!(order.matches('B').count(), 10, "{order}");
}

#[test]
fn weighted_roles_end_up_in_proportion() {
    // AL-17
    let mut rig = Rig::new();
    rig.tell(Change::WeightSet {
        role: role("b"),
        weight: Milli::from_thousandths(3_000),
    });
    rig.framework(A, &["a"]).framework(B, &["b"]);
    let mut held = [0, 0];
    for n in 0..40 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
    }
    for grant in rig.says() {
        held[usize::from(grant.contains("B/b"))] += 1;
    }
    assert_eq!(held, [10, 30]);
}
