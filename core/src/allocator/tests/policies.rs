//! The policies that are off by default: what each buys, in figures, with and without it.

use alloc::vec;

use super::*;
use crate::allocator::Obstacle;
use crate::allocator::drf::{DemandRule, Packing};
use crate::demand::{Demand, Shape};
use crate::resources::{Milli, Quantities};

fn demand(framework: FrameworkKey, each: &str, count: u32) -> Change {
    Change::Demanded {
        framework,
        role: Role::any(),
        demand: Some(demand_of(each, count)),
    }
}

fn demand_of(each: &str, count: u32) -> Demand {
    let shape = Shape::new(Quantities::parse(each).unwrap(), count);
    Demand::new(vec![shape.unwrap()]).unwrap()
}

fn honouring() -> Options {
    Options {
        demands: DemandRule::Honoured,
        ..Options::default()
    }
}

fn many(rig: &mut Rig, agents: u32, total: &str) {
    for n in 0..agents {
        rig.agent(AgentKey::from_raw(n, 0), total);
    }
}

#[test]
fn offers_are_cut_to_what_is_wanted() {
    let mut rig = Rig::with(honouring());
    rig.framework(A, &["*"]).framework(B, &["*"]);
    rig.tell(demand(A, "cpus:1;mem:100;ports:2", 3));
    rig.agent(A0, "cpus:8;mem:1000;ports:[10-14,20-30]");
    let expected = [
        "1: A on 0: cpus:3;mem:300;ports:[10-14,20-20]",
        "2: B on 0: cpus:5;mem:700;ports:[21-30]",
    ];
    assert_eq!(rig.says(), expected);
    assert_eq!(rig.drf.explain(A, &Role::any()), [(A0, Obstacle::NoDemand)]);
    // What it did not use it wants again.
    rig.accepts(A, A0, "cpus:1;mem:100;ports:[10-11]");
    rig.returns(A, A0, "cpus:2;mem:200;ports:[12-14,20-20]", 0);
    assert_eq!(
        rig.says(),
        ["3: A on 0: cpus:2;mem:200;ports:[12-14,20-20]"]
    );
}

#[test]
fn whoever_wants_nothing_is_not_asked() {
    let mut rig = Rig::with(honouring());
    rig.framework(A, &["*"])
        .tell(demand(A, "cpus:1", 0))
        .agent(A0, "cpus:4");
    assert_eq!(rig.says(), [""; 0]);
    rig.tell(demand(A, "cpus:5", 1));
    assert_eq!(rig.says(), [""; 0], "nothing of that size is there");
    rig.tell(demand(A, "cpus:4", 1));
    assert_eq!(rig.says(), ["1: A on 0: cpus:4"]);
}

#[test]
fn at_most_so_much_is_offered_at_once() {
    let mut rig = Rig::with(honouring());
    rig.framework(A, &["*"]);
    let at_once = Quantities::parse("cpus:2").unwrap();
    rig.tell(Change::Demanded {
        framework: A,
        role: Role::any(),
        demand: Some(demand_of("cpus:1", 10).with_at_once(at_once).unwrap()),
    });
    many(&mut rig, 1, "cpus:8");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
    rig.accepts(A, A0, "cpus:2");
    assert_eq!(rig.until(2_000), ["1000 ms: 2: A on 0: cpus:2"]);
}

/// Nine frameworks want nothing and one wants a core; each answers after 100 ms. Returns after how
/// many offers, and how many milliseconds, the one has it.
fn until_served(options: Options) -> (usize, u64) {
    let mut rig = Rig::with(options);
    for n in 0..10 {
        let framework = FrameworkKey::from_raw(n, 0);
        rig.framework(framework, &["*"]);
        rig.tell(demand(framework, "cpus:1", u32::from(n == 9)));
    }
    many(&mut rig, 1, "cpus:4");
    let mut offers = 0;
    loop {
        rig.drf.tick(rig.now, &mut rig.out);
        let Some(Output::Effect(Decision::Grant(grant))) = rig.out.pop() else {
            panic!("nobody is offered anything");
        };
        offers += 1;
        if grant.framework.index() == 9 {
            return (offers, rig.now.as_micros() / 1_000);
        }
        rig.now = rig.now + Duration::from_millis(100);
        rig.returns(
            grant.framework,
            grant.agent,
            &grant.resources.to_string(),
            0,
        );
    }
}

#[test]
fn demands_save_rounds() {
    assert_eq!(until_served(Options::default()), (10, 900));
    assert_eq!(until_served(honouring()), (1, 0));
}

/// A silent framework and one that takes all it is offered. Returns what the latter has after ten
/// minutes, of eight cores.
fn taken_beside_a_silent_one(options: Options) -> i64 {
    let mut rig = Rig::with(options);
    rig.framework(A, &["*"]).framework(B, &["*"]);
    many(&mut rig, 8, "cpus:1");
    let (mut taken, end) = (0, Time::from_micros(600_000_000));
    while rig.now <= end {
        rig.drf.tick(rig.now, &mut rig.out);
        let said: Vec<_> = rig.out.drain().collect();
        for output in &said {
            match output {
                Output::Effect(Decision::Grant(grant)) if grant.framework == B => {
                    rig.accepts(B, grant.agent, "cpus:1");
                    taken += 1;
                }
                Output::Effect(Decision::Rescind { grant, .. }) => {
                    // All agents are of one shape: find whose it is by trying.
                    let _id = grant;
                    for n in 0..8 {
                        let agent = AgentKey::from_raw(n, 0);
                        let held = rig.drf.ledger.get(agent).unwrap().returning().count();
                        if held > 0 {
                            rig.returns(A, agent, "cpus:1", 0);
                        }
                    }
                }
                Output::Effect(_) | Output::Persist(_) | Output::Free(_) => {}
            }
        }
        let due = rig.drf.deadline().filter(|due| *due <= end);
        rig.now = match due {
            Some(due) => due.max(rig.now),
            None => return taken,
        };
    }
    taken
}

#[test]
fn leases_free_what_a_silent_framework_hoards() {
    let leased = |lease| Options {
        lease,
        ..Options::default()
    };
    assert_eq!(taken_beside_a_silent_one(leased(None)), 4);
    let five_minutes = Some(Duration::from_secs(300));
    assert_eq!(taken_beside_a_silent_one(leased(five_minutes)), 8);
}

#[test]
fn an_answered_grant_does_not_expire() {
    let mut rig = Rig::with(Options {
        lease: Some(Duration::from_secs(300)),
        ..Options::default()
    });
    rig.framework(A, &["*"])
        .agent(A0, "cpus:4")
        .agent(A1, "cpus:2")
        .says();
    rig.accepts(A, A0, "cpus:1").accepts(A, A1, "cpus:2");
    let said = rig.until(400_000);
    assert_eq!(said.len(), 1, "only the rest of the first: {said:?}");
    assert!(
        said[0].starts_with("300000 ms") && said[0].ends_with("Expired"),
        "{said:?}"
    );
}

#[test]
fn a_framework_holds_no_more_in_grants_than_it_may() {
    let mut rig = Rig::with(Options {
        most_offered: Some(Quantities::parse("cpus:3").unwrap()),
        ..Options::default()
    });
    rig.framework(A, &["x", "y"]);
    many(&mut rig, 1, "cpus:8");
    assert_eq!(rig.says(), ["1: A/x on 0: cpus:3"]);
    assert_eq!(
        rig.drf.explain(A, &role("y")),
        [(A0, Obstacle::HoldsEnough)]
    );
    rig.tell(Change::Accepted {
        framework: A,
        role: role("x"),
        agent: A0,
        grants: whichever(),
        resources: res("cpus:3"),
    });
    assert_eq!(rig.until(2_000), ["1000 ms: 2: A/y on 0: cpus:3"]);
}

/// A framework that hoards what it is offered and answers nothing, beside one that takes all it is
/// offered. Returns what the latter has after ten minutes, of eight agents of four cores.
fn taken_beside_a_hoarder(most_offered: Option<&str>) -> Milli {
    let mut rig = Rig::with(Options {
        most_offered: most_offered.map(|most| Quantities::parse(most).unwrap()),
        ..Options::default()
    });
    rig.framework(A, &["*"]).framework(B, &["*"]);
    many(&mut rig, 8, "cpus:4");
    let (mut taken, end) = (Quantities::new(), Time::from_micros(600_000_000));
    loop {
        rig.drf.tick(rig.now, &mut rig.out);
        rig.drf.check_invariants();
        let said: Vec<_> = rig.out.drain().collect();
        for output in said {
            let Output::Effect(Decision::Grant(grant)) = output else {
                panic!("{output:?}");
            };
            if grant.framework == B {
                taken.add(&grant.resources.total());
                rig.accepts(B, grant.agent, &grant.resources.to_string());
            }
        }
        match rig.drf.deadline().filter(|due| *due <= end) {
            Some(due) => rig.now = due.max(rig.now),
            None => return taken.amount("cpus"),
        }
    }
}

#[test]
fn a_cap_keeps_most_of_a_cluster_from_a_hoarder() {
    // OF-06: what is hoarded does not come back by itself.
    let of = |cores| Milli::from_units(cores);
    assert_eq!(taken_beside_a_hoarder(None), of(16));
    assert_eq!(taken_beside_a_hoarder(Some("cpus:8")), of(24));
    assert_eq!(taken_beside_a_hoarder(Some("cpus:4")), of(28));
}

/// Five frameworks that hold every offer for a while and use nothing, and one that has a task
/// already. Returns when it is offered the one free agent within a minute, in milliseconds.
fn served_behind_idlers(options: Options) -> Option<u64> {
    let mut rig = Rig::with(options);
    for n in 0..6 {
        rig.framework(FrameworkKey::from_raw(n, 0), &["*"]);
    }
    let served = FrameworkKey::from_raw(5, 0);
    many(&mut rig, 1, "cpus:1");
    rig.agent(AgentKey::from_raw(1, 0), "cpus:1");
    rig.used(served, AgentKey::from_raw(1, 0), "cpus:1");
    while rig.now < Time::from_micros(60_000_000) {
        rig.drf.tick(rig.now, &mut rig.out);
        if let Some(Output::Effect(Decision::Grant(grant))) = rig.out.pop() {
            if grant.framework == served {
                return Some(rig.now.as_micros() / 1_000);
            }
            rig.now = rig.now + Duration::from_millis(400);
            rig.returns(grant.framework, grant.agent, "cpus:1", 0);
        } else {
            rig.now = rig.drf.deadline().unwrap();
        }
    }
    None
}

#[test]
fn ageing_ends_starvation() {
    assert_eq!(served_behind_idlers(Options::default()), None);
    let ageing = Options {
        ageing: Some(Duration::from_secs(5)),
        ..Options::default()
    };
    assert_eq!(served_behind_idlers(ageing), Some(5_200));
}

/// One framework starts eight tasks of a core, one after the other, on eight agents of four; then
/// another one wants whole agents. Returns how many it gets.
fn whole_agents_left(packing: Packing) -> usize {
    let mut rig = Rig::with(Options {
        packing: [(Role::any(), packing)].into(),
        ..honouring()
    });
    rig.framework(A, &["*"]).tell(demand(A, "cpus:1", 0));
    many(&mut rig, 8, "cpus:4");
    for _ in 0..8 {
        rig.tell(demand(A, "cpus:1", 1));
        rig.drf.tick(rig.now, &mut rig.out);
        let Some(Output::Effect(Decision::Grant(grant))) = rig.out.pop() else {
            panic!("nothing is granted");
        };
        rig.accepts(A, grant.agent, "cpus:1");
    }
    rig.framework(B, &["*"]).tell(demand(B, "cpus:4", 8));
    rig.says().len()
}

#[test]
fn packing_decides_what_is_left() {
    assert_eq!(whole_agents_left(Packing::BestFit), 6);
    assert_eq!(whole_agents_left(Packing::Spread), 0);
    let random = whole_agents_left(Packing::Random);
    assert!((1..6).contains(&random), "{random}");
}

#[test]
fn packing_goes_by_the_nearest_role_above() {
    let rig = Rig::with(Options {
        packing: [
            (role("a"), Packing::Spread),
            (role("a/b"), Packing::BestFit),
        ]
        .into(),
        ..Options::default()
    });
    let of = |text: &str| {
        let mut rig = Rig::with(rig.drf.options.clone());
        rig.framework(A, &[text]);
        rig.drf.packing(rig.drf.leaf(A, &role(text)).unwrap())
    };
    assert_eq!(of("a/b/c"), Packing::BestFit);
    assert_eq!(of("a/c"), Packing::Spread);
    assert_eq!(of("ab"), Packing::Random);
}
