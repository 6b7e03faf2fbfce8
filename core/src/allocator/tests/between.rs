//! What happens between two slices of a pass, and between two offers of the same.

use super::quota::quota;
use super::*;
use crate::allocator::drf::{DemandRule, Packing};
use crate::demand::{Demand, Shape};
use crate::filters::Filters;
use crate::resources::Quantities;

const A2: AgentKey = AgentKey::from_raw(2, 0);

fn demand(framework: FrameworkKey, cores: u32) -> Change {
    let each = Quantities::parse("cpus:1").unwrap();
    let shape = Shape::new(each, cores).unwrap();
    Change::Demanded {
        framework,
        role: Role::any(),
        demand: Some(Demand::new([shape].into()).unwrap()),
    }
}

/// Slices of one agent, and two frameworks that want nothing yet.
fn packing(seed: u64, packing: Packing) -> Rig {
    let mut rig = Rig::with(Options {
        packing: [(Role::any(), packing)].into(),
        agents_per_slice: 1,
        demands: DemandRule::Honoured,
        seed,
        ..Options::default()
    });
    rig.framework(A, &["*"]).framework(B, &["*"]);
    rig.tell(demand(A, 0)).tell(demand(B, 0));
    rig
}

/// Makes slices until somebody is granted something, and says what.
fn first_grant(rig: &mut Rig) -> String {
    loop {
        assert!(rig.drf.deadline().is_some_and(|due| due <= rig.now));
        rig.drf.tick(rig.now, &mut rig.out);
        rig.drf.check_invariants();
        if let Some(output) = rig.out.pop() {
            return text(output);
        }
    }
}

#[test]
fn an_agent_of_which_more_is_free_stands_there_in_the_next_slice() {
    for seed in 0..8 {
        let mut rig = packing(seed, Packing::Spread);
        for (agent, used) in [(A0, "cpus:1"), (A1, "cpus:2"), (A2, "cpus:3")] {
            rig.agent(agent, "cpus:4").used(C, agent, used);
        }
        rig.tell(demand(A, 1));
        assert_eq!(first_grant(&mut rig), "1: A on 0: cpus:1");
        assert!(rig.drf.pass.is_some(), "the pass goes on");
        rig.ends(C, A2, "cpus:3").tell(demand(B, 1));
        assert_eq!(first_grant(&mut rig), "2: B on 2: cpus:1", "seed {seed}");
    }
}

#[test]
fn who_could_not_have_an_agent_may_have_it_in_the_next_slice() {
    let mut tried = 0;
    for seed in 0..8 {
        let mut rig = packing(seed, Packing::BestFit);
        rig.agent(A0, "cpus:1").tell(demand(A, 1));
        assert_eq!(first_grant(&mut rig), "1: A on 0: cpus:1");
        rig.returns(A, A0, "cpus:1", 3_600_000);
        rig.agent(A1, "cpus:2").agent(A2, "cpus:3");
        assert_eq!(first_grant(&mut rig), "2: A on 1: cpus:1");
        tried += usize::from(rig.drf.pass.is_some());
        rig.tell(demand(A, 2)).tell(Change::Revived {
            framework: A,
            roles: Vec::new(),
        });
        assert_eq!(first_grant(&mut rig), "3: A on 0: cpus:1", "seed {seed}");
    }
    assert!(tried > 0, "passes that go on");
}

fn ageing() -> Rig {
    let mut rig = Rig::with(Options {
        ageing: Some(Duration::from_secs(30)),
        ..Options::default()
    });
    rig.framework(A, &["*"]).until(10_000);
    rig.framework(B, &["*"]).until(20_000);
    rig
}

#[test]
fn who_says_again_what_it_wants_waits_on() {
    // OF-39
    let mut rig = ageing();
    rig.tell(Change::FrameworkChanged {
        framework: A,
        profile: FrameworkProfile::new("A", roles(&["*", "eng"])),
    });
    rig.until(70_000);
    rig.agent(A0, "cpus:1");
    assert_eq!(rig.says(), ["1: A on 0: cpus:1"], "70 s, and B for 60 s");
}

#[test]
fn who_wants_nothing_does_not_wait() {
    // OF-39, OF-37
    let mut rig = ageing();
    let (framework, roles) = (A, Vec::new());
    rig.tell(Change::Suppressed { framework, roles });
    rig.until(21_000);
    let roles = Vec::new();
    rig.tell(Change::Revived { framework, roles });
    rig.until(70_000);
    rig.agent(A0, "cpus:1");
    assert_eq!(rig.says(), ["1: B on 0: cpus:1"], "60 s, and A for 49 s");
}

#[test]
fn what_there_is_no_room_to_remember_is_not_offered_twice_at_a_moment() {
    // AL-37
    let mut rig = Rig::new();
    rig.drf.filters = Filters::bounded(3);
    rig.framework(A, &["*"]);
    let agents = [0, 1, 2, 3].map(|at| AgentKey::from_raw(at, 0));
    for agent in agents {
        rig.agent(agent, "cpus:1");
    }
    assert_eq!(rig.says().len(), 4);
    for agent in &agents[..3] {
        rig.returns(A, *agent, "cpus:1", 3_600_000);
    }
    assert_eq!(rig.says(), [""; 0]);
    for second in 1..=5 {
        rig.returns(A, agents[3], "cpus:1", 5_000);
        let said = rig.until(second * 1_000);
        let (now, grant) = (second * 1_000, second + 4);
        assert_eq!(said, [format!("{now} ms: {grant}: A on 3: cpus:1")]);
    }
}

#[test]
fn nothing_is_offered_twice_at_a_moment_without_an_interval() {
    let mut rig = Rig::with(Options {
        interval: Duration::ZERO,
        ..Options::default()
    });
    rig.framework(A, &["*"]).agent(A0, "cpus:1");
    assert_eq!(rig.says(), ["1: A on 0: cpus:1"]);
    rig.returns(A, A0, "cpus:1", 0);
    assert_eq!(rig.says(), [""; 0]);
    assert_eq!(rig.until(1), ["1 ms: 2: A on 0: cpus:1"]);
    rig.returns(A, A0, "cpus:1", 1);
    assert_eq!(rig.until(3), ["3 ms: 3: A on 0: cpus:1"]);
}

#[test]
fn shares_are_not_by_ports_that_are_counted() {
    // AL-15, whatever options count
    let mut rig = Rig::with(Options {
        counted: [String::from("ports")].into(),
        ..Options::default()
    });
    rig.tell(quota("q", "", "ports:3")).framework(B, &["o"]);
    rig.agent(A0, "cpus:4;ports:[1-9]").agent(A1, "cpus:96");
    rig.used_in(B, "o", A0, "cpus:1;ports:[1-9]");
    assert_eq!(rig.drf.dominant_share(B, &role("o")), Some(10_000));
    // One that agents have as an amount still counts.
    let mut rig = Rig::with(rig.drf.options.clone());
    rig.framework(B, &["o"]).agent(A0, "cpus:100;ports:9");
    rig.used_in(B, "o", A0, "cpus:1;ports:9");
    assert_eq!(rig.drf.dominant_share(B, &role("o")), Some(1_000_000));
}
