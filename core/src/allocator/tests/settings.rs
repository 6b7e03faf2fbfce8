//! What options decide, when nothing is granted at all, and what is taken notice of by default.

use alloc::vec;

use super::struck::ticks;
use super::*;
use crate::demand::{Demand, Shape};
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli, Quantities};

fn guaranteed(of: &str, guarantees: &str) -> Change {
    Change::QuotaSet {
        role: role(of),
        quota: Quota {
            guarantees: Quantities::parse(guarantees).unwrap(),
            limits: Ceilings::default(),
        },
    }
}

/// An allocator with quota that took over from one that had so many agents.
fn recovering(options: Options, agents: usize) -> Rig {
    let mut rig = Rig::with(options);
    rig.tell(guaranteed("q", "cpus:1"))
        .tell(Change::Recovering { agents })
        .framework(A, &["*"]);
    rig
}

/// How many agents must come before the first is offered.
fn awaited(options: Options, agents: usize) -> u32 {
    let mut rig = recovering(options, agents);
    for n in 0.. {
        if !rig.drf.stats().recovering {
            return n;
        }
        rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
        assert!(n < 100, "it waits forever");
    }
    unreachable!("it is one of them")
}

#[test]
fn the_part_of_the_agents_that_is_awaited_is_rounded_down() {
    // AL-07, AL-03: 0.8 of them, or as the options say; without any there is nothing to wait for.
    for (agents, expected) in [(0, 0), (1, 0), (2, 1), (9, 7), (10, 8), (11, 8)] {
        assert_eq!(awaited(Options::default(), agents), expected, "{agents}");
    }
    let half = || Options {
        recovery_part: Milli::from_thousandths(500),
        ..Options::default()
    };
    for (agents, expected) in [(1, 0), (3, 1), (10, 5)] {
        assert_eq!(awaited(half(), agents), expected, "half of {agents}");
    }
}

#[test]
fn whoever_is_awaited_is_awaited_for_as_long_as_options_say() {
    // AL-03, AL-07
    let short = Options {
        recovery_timeout: Duration::from_secs(7),
        ..Options::default()
    };
    for (options, millis) in [(Options::default(), 600_000), (short, 7_000)] {
        let mut rig = recovering(options, 10);
        rig.agent(A0, "cpus:2");
        assert_eq!(rig.until(millis - 1), [""; 0]);
        assert_eq!(
            rig.until(millis),
            [format!("{millis} ms: 1: A on 0: cpus:1")]
        );
    }
}

#[test]
fn what_happens_during_the_wait_is_looked_at_once_it_is_over() {
    // AL-06: nothing runs meanwhile, and then all that came is seen in one pass.
    let mut rig = recovering(Options::default(), 10);
    rig.agent(A0, "cpus:1").agent(A1, "cpus:4");
    assert_eq!(rig.until(1_000), [""; 0]);
    rig.framework(B, &["q"]);
    rig.tell(Change::Suppressed {
        framework: A,
        roles: Vec::new(),
    });
    assert_eq!(rig.until(2_000), [""; 0]);
    rig.tell(Change::AgentRemoved { agent: A0 });
    rig.used(C, A1, "cpus:1");
    assert_eq!(rig.until(3_000), [""; 0]);
    assert_eq!(rig.drf.stats().passes, 0);
    assert_eq!(
        rig.tell(Change::Resumed).says(),
        ["1: B/q on 1: cpus:3"],
        "neither the agent that left, nor what is in use, nor the framework that wants nothing"
    );
    assert_eq!(rig.drf.stats().passes, 1);
}

#[test]
fn what_the_agent_runs_that_ends_the_wait_is_known_before_it_is_offered() {
    // AL-07, I2: found by the simulator's seed 10.
    let mut rig = recovering(Options::default(), 3);
    rig.agent(A1, "cpus:1");
    assert_eq!(rig.until(1_000), [""; 0]);
    rig.agent(A0, "cpus:2").used(B, A0, "cpus:2");
    assert!(!rig.drf.stats().recovering);
    assert_eq!(rig.says(), [""; 0], "what is free is guaranteed to another");
}

#[test]
fn a_pass_that_was_open_when_the_wait_began_goes_on_when_all_is_known() {
    // AL-07, I2
    let ends: [fn(&mut Rig); 3] = [
        |rig| {
            rig.agent(AgentKey::from_raw(9, 0), "mem:1");
        },
        |rig| {
            rig.tell(Change::Resumed);
        },
        |rig| {
            rig.now = Time::from_micros(600_000_000);
        },
    ];
    for end in ends {
        let mut rig = Rig::with(Options {
            agents_per_slice: 1,
            ..Options::default()
        });
        rig.tell(guaranteed("q", "cpus:1"));
        rig.agent(A0, "cpus:2").agent(A1, "cpus:2");
        rig.framework(A, &["*"]);
        // One of two has had its turn.
        while rig.out.pop().is_none() {
            assert!(rig.drf.deadline().is_some_and(|due| due <= rig.now));
            rig.drf.tick(rig.now, &mut rig.out);
        }
        assert!(rig.drf.pass.is_some());
        rig.tell(Change::Recovering { agents: 4 });
        assert_eq!(rig.until(1_000), [""; 0]);
        end(&mut rig);
        // Both are in use by others, it is told then.
        rig.used(B, A0, "cpus:2").used(B, A1, "cpus:2");
        ticks(&mut rig);
        let said: Vec<_> = rig.out.drain().map(text).collect();
        assert_eq!(said, ["rescind 1: Agent"], "nothing was granted meanwhile");
    }
}

#[test]
fn the_interval_is_an_option() {
    // AL-03, OF-34: it is the least length of a refusal, and how long nobody is asked twice.
    for (refuse, again) in [(0, 3_000), (500, 6_000), (4_000, 6_000), (9_000, 12_000)] {
        let mut rig = Rig::with(Options {
            interval: Duration::from_secs(3),
            ..Options::default()
        });
        rig.framework(A, &["*"]).agent(A0, "cpus:2").says();
        rig.returns(A, A0, "cpus:2", refuse);
        let expected = format!("{again} ms: 2: A on 0: cpus:2");
        assert_eq!(rig.until(20_000), [expected], "refused for {refuse} ms");
    }
}

#[test]
fn what_is_asked_for_changes_nothing_by_default() {
    // OF-38
    let wants = |each: &str, count| {
        let shape = Shape::new(Quantities::parse(each).unwrap(), count).unwrap();
        let at_once = Quantities::parse("cpus:1").unwrap();
        let demand = Demand::new(vec![shape]).unwrap();
        Some(demand.with_at_once(at_once).unwrap())
    };
    for demand in [wants("cpus:1", 1), wants("cpus:99", 1), wants("cpus:1", 0)] {
        let mut rig = Rig::new();
        rig.framework(A, &["*"]).framework(B, &["*"]);
        rig.tell(Change::Demanded {
            framework: A,
            role: Role::any(),
            demand,
        });
        rig.agent(A0, "cpus:4;ports:[1-9]");
        assert_eq!(rig.says(), ["1: A on 0: cpus:4;ports:[1-9]"]);
    }
}

#[test]
fn what_is_free_is_the_total_less_all_that_is_booked() {
    // AL-10: by resource, over roles and frameworks, offered or in use; and an agent that may not
    // be offered keeps its books.
    let mut rig = Rig::new();
    rig.framework(A, &["x"]);
    rig.agent(A0, "cpus:8;mem:100;ports:[1-9]");
    rig.used_in(B, "y", A0, "cpus:1;ports:[2-3]")
        .used_in(C, "z", A0, "cpus:2;mem:30");
    assert_eq!(rig.says(), ["1: A/x on 0: cpus:5;mem:70;ports:[1-1,4-9]"]);
    let returned = |framework, of: &str, resources: &str, from| {
        again_free(from, (framework, role(of), A0), res(resources), None)
    };
    let active = |active| Change::AgentActive { agent: A0, active };
    assert_eq!(rig.tell(active(false)).says(), ["rescind 1: Agent"]);
    let offer = "cpus:5;mem:70;ports:[1-1,4-9]";
    rig.tell(returned(A, "x", offer, Booking::Offered))
        .tell(returned(B, "y", "ports:[2-2]", Booking::Allocated))
        .tell(returned(C, "z", "cpus:0.5", Booking::Allocated));
    assert_eq!(rig.says(), [""; 0]);
    assert_eq!(rig.drf.stats().booked.to_string(), "cpus:2.5;mem:30");
    rig.tell(Change::AgentChanged {
        agent: A0,
        total: res("cpus:6;mem:90;ports:[1-5]"),
        traits: AgentTraits::default(),
    });
    assert_eq!(
        rig.tell(active(true)).says(),
        ["2: A/x on 0: cpus:3.5;mem:60;ports:[1-2,4-5]"]
    );
}
