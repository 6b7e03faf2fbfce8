//! Volumes that several tasks use at once.

use super::operations::{heard, orders, reserved};
use super::roles::subscribed;
use super::*;
use crate::ids::{ExecutorId, OperationId};
use crate::protocol::operation::Conversion;
use crate::protocol::task::ExecutorInfo;

/// A volume that is shared, of framework `web` in role `eng`.
fn volume() -> Resources {
    let who = r#"principal="web""#;
    let text =
        alloc::format!(r#"disk(*)<dynamic="eng",{who},volume="v",{who},rw="/data",shared>:5"#);
    resources(&text)
}

fn accept(offer: &OfferId, operations: Vec<Operation>) -> Call {
    Call::Accept {
        offers: vec![offer.clone()],
        operations,
        refuse: Some(Duration::ZERO),
    }
}

fn convert(id: &str, change: Conversion) -> Operation {
    let id = Some(OperationId::new(id).unwrap());
    Operation::Convert { id, change }
}

/// A task that takes a core and uses the volume.
fn uses(id: &str, agent: &AgentId) -> TaskInfo {
    let mut needs = resources("cpus:1");
    needs.add(&volume()).unwrap();
    TaskInfo {
        resources: needs,
        ..task(id, agent, "cpus:1")
    }
}

fn launched(outs: &[Out]) -> usize {
    let runs = outs.iter().filter(|out| {
        matches!(
            out,
            Output::Effect(Effect::Agent {
                message: ToAgent::RunTask { .. },
                ..
            })
        )
    });
    runs.count()
}

/// The one offer that there is after a while.
fn newest(world: &mut World) -> Offer {
    world.pass(Duration::from_secs(5));
    let mut offers = world.master.view().offers();
    assert_eq!(offers.len(), 1, "{offers:?}");
    offers.remove(0)
}

#[test]
fn any_number_of_tasks_use_one_copy() {
    // OF-19, RM-48, AL-31, VA-13, VA-20, RM-45
    let allocator = Box::new(Drf::new(drf::Options::default()));
    let mut world = World::with(1, Registry::default(), allocator);
    world.drain();
    let (agent_peer, agent) = world.agent("one", "cpus:4;disk:9");
    let (peer, owner) = subscribed(&mut world, &["eng"]);
    let offer = newest(&mut world);
    let by_executor = TaskInfo {
        command: None,
        executor: Some(ExecutorInfo::new(
            ExecutorId::new("e").unwrap(),
            volume(),
            CommandInfo::shell("serve"),
        )),
        ..task("x", &agent, "cpus:1")
    };
    let tasks = vec![uses("a", &agent), uses("b", &agent), by_executor];
    let outs = world.call(
        peer,
        accept(
            &offer.id,
            vec![
                convert("r", Conversion::Reserve(reserved("disk", 5))),
                convert("c", Conversion::Create(volume())),
                Operation::Launch(tasks),
                convert("early", Conversion::Destroy(volume())),
            ],
        ),
    );
    assert_eq!((orders(&outs), launched(&outs)), (vec![1, 2], 2));
    assert_eq!(heard(&outs)[0].reason, Some(RejectKind::InUse));
    let executor = outs.iter().any(|out| match out {
        Output::Effect(Effect::Scheduler {
            event: Event::Update(status),
            ..
        }) => status.message.contains("which is shared"),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => false,
    });
    assert!(executor, "{outs:?}");
    // It is offered again while it is in use, for it is never used up.
    let offer = newest(&mut world);
    assert!(offer.resources.contains(&volume()), "{}", offer.resources);
    let outs = world.call(
        peer,
        accept(&offer.id, vec![Operation::Launch(vec![uses("c", &agent)])]),
    );
    assert_eq!(launched(&outs), 1);
    // Destroyed it is once nobody uses it.
    let offer = newest(&mut world);
    let destroy = |id: &str| vec![convert(id, Conversion::Destroy(volume()))];
    let outs = world.call(peer, accept(&offer.id, destroy("in use")));
    assert_eq!(heard(&outs)[0].reason, Some(RejectKind::InUse));
    for (n, id) in (1..).zip(["a", "b", "c"]) {
        let done = news(id, TaskState::Finished, &agent, n);
        world.update(agent_peer, &owner, done, TaskState::Finished);
    }
    let offer = newest(&mut world);
    let outs = world.call(peer, accept(&offer.id, destroy("unused")));
    assert_eq!(orders(&outs), [3], "{outs:?}");
}

#[test]
fn what_is_offered_of_a_destroyed_volume_is_taken_back() {
    // RM-45, OF-07, FW-80
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus:4;disk:9");
    let (peer, _) = subscribed(&mut world, &["eng"]);
    let offer = world.offered(peer).remove(0);
    world.call(
        peer,
        accept(
            &offer.id,
            vec![
                convert("r", Conversion::Reserve(reserved("disk", 5))),
                convert("c", Conversion::Create(volume())),
            ],
        ),
    );
    world.now = world.now + Duration::from_micros(1);
    let offer = world.offered(peer).remove(0);
    assert!(offer.resources.contains(&volume()));
    let ann = world.connect(PeerRole::Operator, "ann");
    let change = Conversion::Destroy(volume());
    let request = operator::Request {
        id: RequestId(1),
        call: operator::Call::Convert { agent, change },
        after: None,
    };
    let outs = world.input(Input::Operator { peer: ann, request });
    assert_eq!(orders(&outs), [3], "{outs:?}");
    let rescinded = to_framework(peer, Event::Rescind(offer.id));
    assert!(outs.contains(&rescinded), "{outs:?}");
    let total = world.master.view().agents()[0].total.clone();
    assert!(total.contains(&reserved("disk", 5)));
}
