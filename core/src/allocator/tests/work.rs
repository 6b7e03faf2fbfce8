//! What orders by lot, packing, demands and ageing cost: counted, not timed; and that neither the
//! size of slices nor what a pass leaves out changes what is granted.

use alloc::collections::BTreeMap;
use alloc::vec;

use super::*;
use crate::allocator::drf::{DemandRule, Packing, SorterKind};
use crate::allocator::{FrameworkCapabilities, Grant};
use crate::demand::{Demand, Shape};
use crate::resources::{Milli, Quantities};
use crate::rng::Rng;

fn by_lot() -> Options {
    Options {
        role_sorter: SorterKind::Random,
        framework_sorter: SorterKind::Random,
        ..Options::default()
    }
}

fn packing(packing: Packing) -> Options {
    Options {
        packing: [(Role::any(), packing)].into(),
        ..Options::default()
    }
}

fn framework(n: u32) -> FrameworkKey {
    FrameworkKey::from_raw(n, 0)
}

fn agent(n: u32) -> AgentKey {
    AgentKey::from_raw(n, 0)
}

/// Tells of a change without the checks of all that was told before.
fn tell(rig: &mut Rig, change: Change) {
    let change = named(&rig.drf, change);
    rig.drf.handle(rig.now, change, &mut rig.out);
}

fn add_agents(rig: &mut Rig, count: u32, total: &str) {
    for n in 0..count {
        let (agent, total, traits) = (agent(n), res(total), AgentTraits::default());
        let added = Change::AgentAdded {
            agent,
            total,
            traits,
        };
        tell(rig, added);
    }
}

fn add_framework(rig: &mut Rig, n: u32, in_role: &str, least: Option<&str>) {
    let mut profile = FrameworkProfile::new(format!("{n}"), [role(in_role)]);
    let least = least.map(|text| vec![Quantities::parse(text).unwrap()]);
    profile.roles[0].min_allocatable = least;
    let framework = framework(n);
    tell(rig, Change::FrameworkAdded { framework, profile });
}

fn returned(n: u32, resources: &str, refuse: u64) -> Change {
    Change::Returned {
        framework: framework(0),
        role: Role::any(),
        agent: agent(n),
        resources: res(resources),
        grants: whichever(),
        refuse: Some(Duration::from_secs(refuse)),
    }
}

/// What was done beside looks at frameworks.
fn steps(rig: &Rig) -> usize {
    let scratch = &rig.drf.scratch;
    scratch.lots.steps + scratch.walk.steps + scratch.passed
}

/// Does all that is due now. Returns how much work that was, and the most that one slice did.
fn work_through(rig: &mut Rig) -> (usize, usize) {
    let (begun, mut most) = (rig.drf.scratch.work(), 0);
    while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
        let before = (rig.drf.scratch.work(), steps(rig));
        rig.drf.tick(rig.now, &mut rig.out);
        let work = rig.drf.scratch.work() - before.0;
        assert!(work >= steps(rig) - before.1, "all that is done counts");
        most = most.max(work);
    }
    rig.drf.check_invariants();
    (rig.drf.scratch.work() - begun, most)
}

#[test]
fn a_draw_costs_those_who_want_something() {
    // AL-18, AL-19
    let again = |roles: u32| {
        let mut rig = Rig::with(by_lot());
        for n in 1..roles {
            add_framework(&mut rig, n, &format!("r{n}"), None);
        }
        let mut profile = FrameworkProfile::new("0", [Role::any()]);
        profile.capabilities = FrameworkCapabilities::ALL;
        let framework = framework(0);
        tell(&mut rig, Change::FrameworkAdded { framework, profile });
        add_agents(&mut rig, 100, "cpus:1;gpus:1");
        work_through(&mut rig);
        assert_eq!(rig.out.drain().count(), 100);
        for n in 0..100 {
            tell(&mut rig, returned(n, "cpus:1;gpus:1", 0));
        }
        work_through(&mut rig);
        rig.now = rig.now + Duration::from_secs(1);
        let (work, _) = work_through(&mut rig);
        assert_eq!(rig.out.drain().count(), 100);
        work
    };
    // All others are known to be kept from such agents.
    assert_eq!(again(300), again(10));
}

#[test]
fn a_draw_of_all_costs_each_of_them_once() {
    // AL-18: not the square of their number.
    let mut rig = Rig::with(by_lot());
    for n in 0..500 {
        add_framework(&mut rig, n, &format!("r{n}"), None);
    }
    add_agents(&mut rig, 20, "cpus:1");
    let (work, _) = work_through(&mut rig);
    assert_eq!(rig.out.drain().count(), 20);
    assert!(work < 20 * 500 * 16, "{work}");
}

#[test]
fn frameworks_of_a_role_have_equal_chances() {
    // AL-17, AL-19
    let mut rig = Rig::with(Options {
        framework_sorter: SorterKind::Random,
        ..Options::default()
    });
    for n in 0..3 {
        add_framework(&mut rig, n, "a", None);
    }
    let mut firsts = [0_u32; 3];
    for round in 0..6_000 {
        let (agent, total) = (AgentKey::from_raw(0, round), res("cpus:1"));
        let traits = AgentTraits::default();
        tell(
            &mut rig,
            Change::AgentAdded {
                agent,
                total,
                traits,
            },
        );
        rig.drf.tick(rig.now, &mut rig.out);
        let Some(Output::Effect(Decision::Grant(grant))) = rig.out.pop() else {
            panic!("nothing is granted");
        };
        firsts[grant.framework.index() as usize] += 1;
    }
    assert!(
        firsts.iter().all(|n| (1_850..2_150).contains(n)),
        "{firsts:?}"
    );
}

#[test]
fn packing_does_not_look_again_where_there_was_nothing() {
    for kind in [Packing::BestFit, Packing::Spread] {
        let work = |agents: u32| {
            let mut rig = Rig::with(packing(kind));
            add_framework(&mut rig, 0, "*", None);
            add_agents(&mut rig, agents, "cpus:1");
            let (first, _) = work_through(&mut rig);
            assert_eq!(rig.out.drain().count(), agents as usize);
            for n in 0..agents {
                let refuse = if (n < agents / 2) == (kind == Packing::BestFit) {
                    60
                } else {
                    0
                };
                tell(&mut rig, returned(n, "cpus:1", refuse));
            }
            work_through(&mut rig);
            rig.out.drain().for_each(drop);
            rig.now = rig.now + Duration::from_secs(1);
            add_framework(&mut rig, 1, "*", None);
            let (second, _) = work_through(&mut rig);
            assert_eq!(rig.out.drain().count(), agents as usize);
            first + second
        };
        let (few, many) = (work(100), work(800));
        assert!(
            many < 10 * few,
            "{kind:?}: {few} for 100 agents, {many} for 800"
        );
    }
}

#[test]
fn what_comes_back_of_a_demand_has_all_agents_looked_at_once_a_moment() {
    let mut rig = Rig::with(Options {
        demands: DemandRule::Honoured,
        ..Options::default()
    });
    add_framework(&mut rig, 0, "*", None);
    tell(&mut rig, demand(0, "*", "cpus:1", 200));
    add_agents(&mut rig, 200, "cpus:1");
    work_through(&mut rig);
    assert_eq!(rig.out.drain().count(), 200);
    let before = rig.drf.interest.listings;
    for n in 0..100 {
        tell(&mut rig, returned(n, "cpus:1", 60));
    }
    assert_eq!(rig.drf.interest.listings, before + 1);
    rig.drf.check_invariants();
    work_through(&mut rig);
    assert_eq!(rig.out.drain().count(), 0, "it refused them");
    rig.now = rig.now + Duration::from_secs(1);
    for n in 100..200 {
        tell(&mut rig, returned(n, "cpus:1", 60));
    }
    assert_eq!(rig.drf.interest.listings, before + 2, "another moment");
    // What it did not refuse it is offered for what it wants again.
    rig.tell(Change::AgentAdded {
        agent: agent(200),
        total: res("cpus:150"),
        traits: AgentTraits::default(),
    });
    assert_eq!(rig.says(), ["201: A on 200: cpus:150"]);
}

#[test]
fn whoever_waits_is_found_without_a_search() {
    let work = |frameworks: u32, age: u64| {
        let mut rig = Rig::with(Options {
            ageing: Some(Duration::from_secs(age)),
            ..Options::default()
        });
        for n in 0..frameworks {
            add_framework(&mut rig, n, "*", None);
        }
        rig.now = rig.now + Duration::from_secs(60);
        add_agents(&mut rig, 64, "cpus:1");
        let before = rig.drf.scratch.passed;
        work_through(&mut rig);
        let granted: Vec<u32> = rig
            .out
            .drain()
            .map(|it| grant(it).framework.index())
            .collect();
        (rig.drf.scratch.passed - before, granted)
    };
    assert_eq!(work(300, 3_600).0, 0, "nobody has waited for long");
    let (passed, granted) = work(300, 30);
    assert_eq!(granted, (0..64).collect::<Vec<u32>>(), "the longest first");
    assert_eq!(passed, 64, "each is the first that waits");
}

fn demand(n: u32, in_role: &str, each: &str, count: u32) -> Change {
    let shape = Shape::new(Quantities::parse(each).unwrap(), count).unwrap();
    Change::Demanded {
        framework: framework(n),
        role: role(in_role),
        demand: Some(Demand::new(vec![shape]).unwrap()),
    }
}

fn grant(output: Output<Never, Decision>) -> Grant {
    match output {
        Output::Effect(Decision::Grant(grant)) => grant,
        other @ (Output::Effect(Decision::Rescind { .. })
        | Output::Persist(_)
        | Output::Free(_)) => panic!("{other:?} is not a grant"),
    }
}

const LEAVES: u32 = 24;
const AGENTS: u32 = 40;

/// A cluster where frameworks take, refuse, hold and end things for a while.
struct Life {
    rig: Rig,
    rng: Rng,
    in_use: Vec<Grant>,
    grants: Vec<Grant>,
    /// The most that one slice did.
    most: usize,
}

impl Life {
    fn new(options: Options) -> Self {
        let mut rig = Rig::with(options);
        for n in 0..LEAVES {
            let in_role = ["a", "a/x", "b", "c/y/z"][n as usize % 4];
            add_framework(&mut rig, n, in_role, (n % 5 == 0).then_some("cpus:2"));
            tell(
                &mut rig,
                demand(n, in_role, ["cpus:1", "cpus:3;mem:64"][n as usize % 2], 6),
            );
        }
        tell(
            &mut rig,
            Change::WeightSet {
                role: role("b"),
                weight: Milli::from_units(3),
            },
        );
        for n in 0..AGENTS {
            let total = format!("cpus:{};mem:{}", 2 + n % 7, 64 * (1 + n % 3));
            let (agent, traits) = (agent(n), AgentTraits::default());
            let total = res(&total);
            tell(
                &mut rig,
                Change::AgentAdded {
                    agent,
                    total,
                    traits,
                },
            );
        }
        Self {
            rig,
            rng: Rng::new(5),
            in_use: Vec::new(),
            grants: Vec::new(),
            most: 0,
        }
    }

    fn live(mut self, rounds: u32) -> Self {
        for _ in 0..rounds {
            self.work_through();
            // What lapsed meanwhile comes before the answers.
            self.rig.now = self.rig.now + Duration::from_millis(700);
            self.work_through();
            let grants: Vec<Grant> = self.rig.out.drain().map(grant).collect();
            for grant in grants {
                self.answer(&grant);
                self.grants.push(grant);
            }
            for _ in 0..self.in_use.len() / 3 {
                let at = self.rng.below(self.in_use.len() as u64) as usize;
                let ended = self.in_use.swap_remove(at);
                tell(&mut self.rig, give_back(&ended, Booking::Allocated, None));
            }
        }
        self
    }

    fn work_through(&mut self) {
        let (_, most) = work_through(&mut self.rig);
        self.most = self.most.max(most);
    }

    fn answer(&mut self, grant: &Grant) {
        let refuse = match self.rng.below(4) {
            0 => Some(3),
            1 => Some(0),
            _ => {
                self.in_use.push(grant.clone());
                let Grant {
                    framework,
                    role,
                    agent,
                    resources,
                    ..
                } = grant.clone();
                return tell(
                    &mut self.rig,
                    Change::Accepted {
                        framework,
                        role,
                        agent,
                        grants: whichever(),
                        resources,
                    },
                );
            }
        };
        tell(&mut self.rig, give_back(grant, Booking::Offered, refuse));
    }
}

fn give_back(grant: &Grant, from: Booking, refuse: Option<u64>) -> Change {
    again_free(
        from,
        (grant.framework, grant.role.clone(), grant.agent),
        grant.resources.clone(),
        refuse.map(Duration::from_secs),
    )
}

/// Every policy that has an order of its own, alone and with the others.
fn policies() -> BTreeMap<&'static str, Options> {
    let fill = |packing| [(role("a"), packing), (role("b"), Packing::Spread)].into();
    let demands = DemandRule::Honoured;
    let ageing = Some(Duration::from_secs(2));
    let (lots, plain) = (by_lot(), Options::default());
    let framework_sorter = SorterKind::Random;
    [
        ("lots", lots.clone()),
        (
            "lots of frameworks",
            Options {
                framework_sorter,
                ..plain.clone()
            },
        ),
        (
            "packing",
            Options {
                packing: fill(Packing::BestFit),
                ..plain.clone()
            },
        ),
        (
            "demands",
            Options {
                demands,
                ..plain.clone()
            },
        ),
        ("ageing", Options { ageing, ..plain }),
        (
            "all",
            Options {
                demands,
                ageing,
                packing: fill(Packing::BestFit),
                ..lots.clone()
            },
        ),
        (
            "lots, cut and spread",
            Options {
                demands,
                packing: fill(Packing::Spread),
                ..lots
            },
        ),
    ]
    .into()
}

#[test]
fn slices_are_bounded_and_change_nothing() {
    // The work of one agent, and of whoever takes last.
    let bound = 128 + 40 * LEAVES as usize + 24 * AGENTS as usize;
    let mut wrong = Vec::new();
    for (name, options) in policies() {
        let of_size = |agents_per_slice| {
            let options = Options {
                agents_per_slice,
                ..options.clone()
            };
            Life::new(options).live(12)
        };
        let (whole, slices) = (of_size(100_000), of_size(1));
        let same = slices.grants == whole.grants;
        let (granted, most) = (whole.grants.len(), (slices.most, whole.most));
        if !same || granted < 100 || most.0 > bound || most.0 >= most.1 {
            wrong.push((name, same, granted, most));
        }
    }
    assert_eq!(wrong, [], "beyond {bound}, or not the same");
}

#[test]
fn what_a_pass_leaves_out_changes_nothing() {
    for (name, options) in policies() {
        let by_interest = Life::new(options.clone()).live(12);
        let mut at_all = Life::new(options);
        at_all.rig.drf.looks_at_all = true;
        assert_eq!(by_interest.grants, at_all.live(12).grants, "{name}");
    }
}

#[test]
fn going_through_refusals_counts_as_work() {
    let slices = |frameworks: u32| {
        let mut rig = Rig::new();
        (0..frameworks).for_each(|n| add_framework(&mut rig, n, "*", None));
        let whole = res("cpus:4;mem:64");
        for agent in 0..64 {
            for n in 0..frameworks {
                let leaf = rig.drf.leaf(framework(n), &Role::any()).unwrap();
                let refuser = rig.drf.seats.seat(leaf).refuser;
                let until = Time::from_micros(3_600_000_000);
                rig.drf.filters.refuse(agent, refuser, &whole, until);
            }
        }
        add_agents(&mut rig, 64, "cpus:3;mem:64");
        rig.drf.options.agents_per_slice = 16;
        let mut slices = 0;
        while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
            rig.drf.tick(rig.now, &mut rig.out);
            slices += 1;
        }
        assert!(rig.out.is_empty(), "all was refused");
        slices
    };
    // A slice is work for 16 agents of 128; one that 1,024 refused is 1,152.
    assert_eq!((slices(64), slices(1_024)), (6, 32));
}

#[test]
fn leases_that_end_together_end_in_slices() {
    let mut rig = Rig::with(Options {
        lease: Some(Duration::from_secs(300)),
        agents_per_slice: 16,
        ..Options::default()
    });
    add_framework(&mut rig, 0, "*", None);
    add_agents(&mut rig, 40, "cpus:1");
    let mut granted = 0;
    while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
        rig.drf.tick(rig.now, &mut rig.out);
        granted += rig.out.drain().count();
    }
    assert_eq!(granted, 40);
    rig.now = Time::from_micros(300_000_000);
    let mut expired = Vec::new();
    while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
        rig.drf.tick(rig.now, &mut rig.out);
        expired.push(rig.out.drain().count());
    }
    assert_eq!(expired, [16, 16, 8]);
}
