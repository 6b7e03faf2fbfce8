//! What demands and books are after losses, repetitions and refusals.

use alloc::vec;

use super::quota::quota;
use super::*;
use crate::allocator::Obstacle;
use crate::allocator::drf::DemandRule;
use crate::demand::{Demand, Shape};
use crate::resources::Quantities;

fn anything() -> Rig {
    Rig::with(Options {
        min_allocatable: Vec::new(),
        ..Options::default()
    })
}

fn honouring() -> Rig {
    Rig::with(Options {
        demands: DemandRule::Honoured,
        min_allocatable: Vec::new(),
        ..Options::default()
    })
}

fn demands(rig: &mut Rig, framework: FrameworkKey, shapes: &[(&str, u32)]) {
    let shape = |(each, count): &(&str, u32)| {
        let each = Quantities::parse(each).unwrap();
        Shape::new(each, *count).unwrap()
    };
    let shapes = shapes.iter().map(shape).collect();
    rig.tell(Change::Demanded {
        framework,
        role: Role::any(),
        demand: Some(Demand::new(shapes).unwrap()),
    });
}

#[test]
fn a_demand_that_was_served_by_many_grants_survives_their_agent() {
    let mut rig = honouring();
    rig.framework(A, &["*"]).framework(B, &["*"]);
    rig.agent(A0, "cpus:9").used(B, A0, "cpus:9");
    demands(&mut rig, A, &[("cpus:1", 9)]);
    demands(&mut rig, B, &[]);
    for n in 1..=9 {
        rig.ends(B, A0, "cpus:1");
        assert_eq!(rig.says(), [format!("{n}: A on 0: cpus:1")]);
    }
    rig.accepts(A, A0, "cpus:1");
    rig.tell(Change::AgentRemoved { agent: A0 });
    rig.agent(A1, "cpus:20");
    assert_eq!(rig.until(60_000), ["0 ms: 10: A on 1: cpus:8"]);
}
