//! What peers say that could set the books of master and allocator apart.

use alloc::collections::BTreeSet;

use super::*;
use crate::resources::Milli;

fn named(name: &str) -> FrameworkInfo {
    FrameworkInfo {
        name: name.to_string(),
        ..framework_info()
    }
}

fn world() -> World {
    let mut world = World::drf(1, Registry::default());
    world.drain();
    world
}

fn first(world: &mut World, peers: [PeerId; 2]) -> usize {
    let outs = world.tick();
    let [
        Output::Effect(Effect::Scheduler {
            peer,
            event: Event::Offers(_),
        }),
    ] = outs.as_slice()
    else {
        panic!("{outs:?}");
    };
    peers.iter().position(|it| it == peer).unwrap()
}

#[test]
fn the_allocator_hears_of_a_new_name() {
    // RQ-03: of two who have nothing, the first by name is the first to be offered something.
    for renamed in [true, false] {
        let mut world = world();
        let (one, two) = (
            world.connect(PeerRole::Framework, "one"),
            world.connect(PeerRole::Framework, "two"),
        );
        world.subscribe(one, named("m"));
        world.subscribe(two, named("z"));
        if renamed {
            world.subscribe(two, named("a"));
        }
        world.agent("host", "cpus:4");
        assert_eq!(first(&mut world, [one, two]), usize::from(renamed));
    }
}

#[test]
fn who_suppressed_its_offers_wants_none_under_another_name() {
    // OF-37
    let mut world = world();
    let peer = world.connect(PeerRole::Framework, "web");
    world.subscribe(peer, named("m"));
    assert_eq!(world.call(peer, Call::Suppress { roles: Vec::new() }), []);
    let suppressed = BTreeSet::from([Role::any()]);
    let wishes = Wishes {
        suppressed,
        ..Wishes::default()
    };
    let framework = named("z");
    world.call(peer, Call::Subscribe { framework, wishes });
    world.agent("host", "cpus:4");
    assert_eq!(world.tick(), []);
    assert_eq!(world.call(peer, Call::Revive { roles: Vec::new() }), []);
    assert_eq!(world.offered(peer).len(), 1);
}

#[test]
fn an_agent_may_claim_more_in_use_than_can_be_counted() {
    let most = "cpus:9000000000000000";
    let mut world = world();
    let (framework, owner) = world.framework("web");
    let (peer, agent) = world.agent("host", most);
    let running = |id| report(&owner, task(id, &agent, most), TaskState::Running);
    let message = reregister(
        agent.clone(),
        most,
        vec![known_as(owner.clone(), "web")],
        vec![running("s"), running("t")],
    );
    // What is shown of it cannot be counted either, so only the master checks itself here.
    let input = Input::Agent { peer, message };
    world.master.handle(world.now, input, &mut world.out);
    world.master.check();
    world.drain();
    let end = |world: &mut World, id, n| {
        let done = news(id, TaskState::Finished, &agent, n);
        world.update(peer, &owner, done, TaskState::Finished);
        world.tick()
    };
    let outs = end(&mut world, "s", 1);
    assert_eq!(outs, [], "the other one goes on");
    assert!(world.master.allocator().stats().booked.amount("cpus") > Milli::ZERO);
    end(&mut world, "t", 2);
    world.pass(Duration::from_secs(1));
    let offered = &world.master.view().agents()[0].offered;
    assert_eq!(*offered, resources(most));
    world.lose(framework);
}
