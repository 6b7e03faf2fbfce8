//! Ageing together with demands: whoever waited longest for a shape that fits gets it next.

use alloc::vec;

use super::*;
use crate::allocator::drf::DemandRule;
use crate::demand::{Demand, Shape};
use crate::resources::Quantities;

const SERVED: FrameworkKey = FrameworkKey::from_raw(5, 0);
const OTHER: FrameworkKey = FrameworkKey::from_raw(6, 0);
const BUSY: AgentKey = AgentKey::from_raw(9, 0);

fn policies(ageing: Option<Duration>) -> Options {
    Options {
        demands: DemandRule::Honoured,
        ageing,
        ..Options::default()
    }
}

fn wants(framework: FrameworkKey, each: &str) -> Change {
    let shape = Shape::new(Quantities::parse(each).unwrap(), 1).unwrap();
    Change::Demanded {
        framework,
        role: Role::any(),
        demand: Some(Demand::new(vec![shape]).unwrap()),
    }
}

/// Has a framework run something somewhere, so that it has more than others.
fn has_cores(rig: &mut Rig, framework: FrameworkKey, cores: u32) {
    rig.used(framework, BUSY, &format!("cpus:{cores}"));
}

/// Five frameworks that want two cores, hold every offer for a while and use nothing, and one that
/// runs something and wants two cores as well. The one free agent has as many. Returns when that
/// one is offered them within a minute, in milliseconds.
fn served_behind_idlers(options: Options) -> Option<u64> {
    let mut rig = Rig::with(options);
    rig.agent(BUSY, "cpus:1");
    for n in 0..5 {
        let idler = FrameworkKey::from_raw(n, 0);
        rig.framework(idler, &["*"]).tell(wants(idler, "cpus:2"));
    }
    rig.framework(SERVED, &["*"]).tell(wants(SERVED, "cpus:2"));
    has_cores(&mut rig, SERVED, 1);
    // It waits as long, but for more than is there.
    rig.framework(OTHER, &["*"]).tell(wants(OTHER, "cpus:3"));
    rig.agent(A0, "cpus:2");
    while rig.now < Time::from_micros(60_000_000) {
        rig.drf.tick(rig.now, &mut rig.out);
        rig.drf.check_invariants();
        if let Some(Output::Effect(Decision::Grant(grant))) = rig.out.pop() {
            assert_ne!(grant.framework, OTHER, "nothing that it wants is there");
            if grant.framework == SERVED {
                return Some(rig.now.as_micros() / 1_000);
            }
            rig.now = rig.now + Duration::from_millis(400);
            rig.returns(grant.framework, grant.agent, "cpus:2", 0);
        } else {
            rig.now = rig.drf.deadline().unwrap();
        }
    }
    None
}

#[test]
fn a_shape_that_fits_comes_after_five_seconds_instead_of_never() {
    assert_eq!(served_behind_idlers(policies(None)), None);
    let ageing = policies(Some(Duration::from_secs(5)));
    assert_eq!(served_behind_idlers(ageing), Some(5_200));
}

/// Frameworks want what each stands for, in the order in which they came, two seconds apart; who
/// came first runs most. After ten more seconds agents come, one per second. Returns who is offered
/// what of them.
fn offered(options: Options, wanted: &[(FrameworkKey, &str)], agents: &[&str]) -> Vec<String> {
    let mut rig = Rig::with(options);
    rig.agent(BUSY, "cpus:6");
    let mut cores = 3;
    for (framework, each) in wanted {
        rig.framework(*framework, &["*"])
            .tell(wants(*framework, each));
        has_cores(&mut rig, *framework, cores);
        cores -= 1;
        let next = rig.now.as_micros() / 1_000 + 2_000;
        assert_eq!(rig.until(next), [""; 0]);
    }
    rig.now = rig.now + Duration::from_secs(10);
    let mut said = Vec::new();
    for (n, total) in (0..).zip(agents) {
        rig.agent(AgentKey::from_raw(n, 0), total);
        said.extend(rig.says());
        rig.now = rig.now + Duration::from_secs(1);
    }
    said
}

#[test]
fn whoever_waited_longest_for_a_shape_that_fits_is_next() {
    let wanted = [(A, "cpus:4"), (B, "cpus:2"), (C, "cpus:2")];
    let agents = ["cpus:2", "cpus:2", "cpus:4"];
    // By share, who has least is first.
    let by_share = [
        "1: C on 0: cpus:2",
        "2: B on 1: cpus:2",
        "3: A on 2: cpus:4",
    ];
    assert_eq!(offered(policies(None), &wanted, &agents), by_share);
    // A waited longest, but for a shape that does not fit; so B is next, and A with what fits it.
    let ageing = policies(Some(Duration::from_secs(5)));
    let by_age = [
        "1: B on 0: cpus:2",
        "2: C on 1: cpus:2",
        "3: A on 2: cpus:4",
    ];
    assert_eq!(offered(ageing, &wanted, &agents), by_age);
}

#[test]
fn whoever_waited_longest_comes_first_where_its_shape_fits() {
    let wanted = [(A, "cpus:4"), (B, "cpus:2"), (C, "cpus:2")];
    // What A wants fits at once, and takes all; by share both others would have half of it.
    let ageing = policies(Some(Duration::from_secs(5)));
    let by_age = [
        "1: A on 0: cpus:4",
        "2: B on 1: cpus:2",
        "3: C on 2: cpus:2",
    ];
    let agents = ["cpus:4", "cpus:2", "cpus:2"];
    assert_eq!(offered(ageing.clone(), &wanted, &agents), by_age);
    let by_share = ["1: C on 0: cpus:2", "2: B on 0: cpus:2"];
    assert_eq!(
        offered(policies(None), &wanted, &["cpus:4", "cpus:2", "cpus:2"]),
        by_share
    );
}

#[test]
fn waiting_goes_on_while_another_shape_is_asked_for() {
    // A says that it wants less; it has waited since it came, not since it said so.
    let mut rig = Rig::with(policies(Some(Duration::from_secs(5))));
    rig.agent(BUSY, "cpus:1");
    rig.framework(A, &["*"]).tell(wants(A, "cpus:4"));
    has_cores(&mut rig, A, 1);
    assert_eq!(rig.until(1_000), [""; 0]);
    rig.framework(B, &["*"]).tell(wants(B, "cpus:2"));
    assert_eq!(rig.until(6_500), [""; 0]);
    rig.tell(wants(A, "cpus:2")).agent(A0, "cpus:2");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
}
