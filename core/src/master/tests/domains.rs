//! Where agents and masters stand.

use super::*;
use crate::protocol::framework::Capabilities;
use crate::protocol::node::Domain;

fn domain(region: &str, zone: &str) -> Domain {
    Domain {
        region: region.into(),
        zone: zone.into(),
    }
}

fn agent_in(region: &str, zone: &str) -> AgentInfo {
    AgentInfo {
        domain: Some(domain(region, zone)),
        ..agent_info("cpus:4")
    }
}

fn world(domain: Option<Domain>, requires_domain: bool) -> World {
    let allocator = Drf::new(drf::Options {
        region: domain.as_ref().map(|domain| domain.region.clone()),
        ..drf::Options::default()
    });
    let config = Config {
        domain,
        requires_domain,
        ..Config::new(master_id(1), 1, 7)
    };
    let mut world = World::configured(config, Registry::default(), Box::new(allocator));
    world.drain();
    world
}

fn join(world: &mut World, name: &str, agent: AgentInfo) -> Vec<Out> {
    let peer = world.connect(PeerRole::Agent, name);
    world.agent_says(peer, ToMaster::Register { agent })
}

/// What was offered, by the zones of the agents.
fn zones(outs: &[Out], to: PeerId) -> Vec<String> {
    let mut zones = Vec::new();
    for out in outs {
        if let Output::Effect(Effect::Scheduler {
            peer,
            event: Event::Offers(offers),
        }) = out
            && *peer == to
        {
            let domains = offers.iter().filter_map(|offer| offer.domain.clone());
            zones.extend(domains.map(|domain| domain.zone));
        }
    }
    zones.sort();
    zones
}

#[test]
fn who_cannot_cope_with_other_regions_is_offered_only_the_masters() {
    // FW-20, TK-115, TK-116, OF-01
    let mut world = world(Some(domain("eu", "a")), false);
    join(&mut world, "near", agent_in("eu", "near"));
    join(&mut world, "far", agent_in("us", "far"));
    let near = world.connect(PeerRole::Framework, "near");
    let outs = world.call(near, subscribe(framework_info()));
    let Some(Output::Effect(Effect::Scheduler { event, .. })) = outs.first() else {
        panic!("{outs:?}");
    };
    let ours = Some(domain("eu", "a"));
    assert!(
        matches!(event, Event::Subscribed { domain, .. } if *domain == ours),
        "{event:?}"
    );
    let outs = world.pass(Duration::from_secs(2));
    assert_eq!(zones(&outs, near), ["near"]);
    let far = world.connect(PeerRole::Framework, "far");
    let able = FrameworkInfo {
        capabilities: Capabilities::REGIONS,
        ..framework_info()
    };
    world.call(far, subscribe(able));
    let outs = world.pass(Duration::from_secs(2));
    assert_eq!(zones(&outs, far), ["far"]);
    assert_eq!(zones(&outs, near), [] as [String; 0]);
}

#[test]
fn an_agent_says_where_it_stands_as_the_cluster_does() {
    // TK-116
    let refused = |outs: &[Out]| match outs {
        [
            Output::Effect(Effect::Agent {
                message: ToAgent::Refused(why),
                ..
            }),
        ] => Some(why.clone()),
        _ => None,
    };
    let cluster = Some(domain("eu", "a"));
    let (named, silent) = (agent_in("us", "b"), agent_info("cpus:4"));
    let unknown = "it names a region and a zone, and this master has none";
    let missing = "it names no region and no zone, and this master requires them";
    for (cluster, required, agent, why) in [
        (None, false, &named, Some(unknown)),
        (None, false, &silent, None),
        (cluster.clone(), false, &named, None),
        (cluster.clone(), false, &silent, None),
        (cluster.clone(), true, &named, None),
        (cluster, true, &silent, Some(missing)),
    ] {
        let outs = join(&mut world(cluster, required), "one", agent.clone());
        assert_eq!(refused(&outs).as_deref(), why);
    }
    let outs = join(&mut World::new(), "one", agent_in("", "b"));
    assert_eq!(refused(&outs).as_deref(), Some("agent region is empty"));
}

#[test]
fn an_agent_that_moved_is_offered_anew() {
    // TK-116, OF-07
    let mut world = world(Some(domain("eu", "a")), false);
    let peer = world.connect(PeerRole::Agent, "one");
    let agent = agent_in("us", "far");
    world.agent_says(peer, ToMaster::Register { agent });
    let (web, _) = world.framework("web");
    let outs = world.pass(Duration::from_secs(2));
    assert_eq!(zones(&outs, web), [] as [String; 0]);
    let agent = agent_in("eu", "near");
    world.agent_says(peer, ToMaster::Register { agent });
    let outs = world.pass(Duration::from_secs(2));
    assert_eq!(zones(&outs, web), ["near"]);
}
