//! Nodes of several versions: each life of a node speaks the protocol up to a version that chance
//! has drawn, so that clusters are upgraded, and downgraded, node by node.
//!
//! Part of the world. Two ends agree when their connection stands, as in a greeting; whoever sends
//! keeps back what is too new, by the same rule as the transport does ([`Version::knows`]). What
//! reaches an end that could not read it is a violation. Deliberately not here: what is durable,
//! which is of one version.

use alloc::collections::BTreeMap;
use alloc::format;

use serde::Serialize;

use super::chance::{Purpose, stream};
use super::delivery::encode;
use super::property::Property;
use super::queue::{End, Name};
use super::world::{World, at};
use crate::ids::PeerId;
use crate::mutant::{Mutant, planted};
use crate::protocol::version::{Spoken, Version};
use crate::rng::Rng;

/// What the two ends of a connection speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    client: Version,
    server: Version,
}

impl Agreed {
    fn of(self, end: End) -> Version {
        match end {
            End::Client => self.client,
            End::Server => self.server,
        }
    }

    /// The newest version that both know.
    fn common(self) -> Version {
        self.client.min(self.server)
    }
}

/// What was agreed on, by connection.
pub(super) type Versions = BTreeMap<PeerId, Agreed>;

impl World {
    /// Returns up to which version a node speaks in one of its lives.
    fn version(&self, name: Name, life: u32) -> Version {
        if !self.options.mixed_versions {
            return Version::NEWEST;
        }
        let of_node = stream(self.options.seed, Purpose::Versions, name).next_u64();
        let mut chance = Rng::new(of_node ^ u64::from(life));
        let (first, newest) = (u64::from(Version::FIRST.0), u64::from(Version::NEWEST.0));
        let drawn = first + chance.below(newest - first + 1);
        Version(u16::try_from(drawn).expect("it is between two versions"))
    }

    /// A connection stands at the server: both have said what they speak.
    pub(super) fn greet(&mut self, client: Name, peer: PeerId) {
        let life = match client {
            Name::Agent(n) => self.agents[at(n)].node.life,
            Name::Framework(n) => {
                let one = self.frameworks[at(n)].of_peer(peer);
                one.map_or(0, |one| one.node.life)
            }
            Name::Master | Name::Executor { .. } => 0,
        };
        let zombie = self.zombie.as_ref().filter(|_| self.is_of_zombie(peer));
        let master = zombie.map_or(self.master.life, |zombie| zombie.node.life);
        let agreed = Agreed {
            client: self.version(client, life),
            server: self.version(Name::Master, master),
        };
        self.versions.insert(peer, agreed);
    }

    /// The server is done with a connection.
    pub(super) fn forget_versions(&mut self, peer: PeerId) {
        self.versions.remove(&peer);
    }

    /// Says something to who is at the other end, unless that could not read it.
    pub(super) fn say<M: Spoken + Serialize>(&mut self, peer: PeerId, from: End, message: &M) {
        let agreed = self.versions.get(&peer).map(|agreed| agreed.common());
        let is_known = agreed.is_none_or(|agreed| agreed.knows(message));
        if is_known || planted(Mutant::VersionIgnored) {
            self.send(peer, from, encode(message));
        }
    }

    /// Checks that an end can read what has come to it.
    pub(super) fn check_version<M: Spoken>(&mut self, peer: PeerId, to: End, message: &M) {
        let Some(own) = self.versions.get(&peer).map(|agreed| agreed.of(to)) else {
            return;
        };
        if !own.knows(message) {
            let since = message.since();
            let problem = format!("{peer:?} speaks version {own}, and is told what is of {since}");
            self.broken(Property::Versions, problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use core::time::Duration;

    use super::*;
    use crate::protocol::scheduler::Event;
    use crate::sim::{Checking, Faults, Options, Sim};

    fn options(seed: u64) -> Options {
        let machine = "cpus:4;mem:1024".parse().expect("it is well-formed");
        let mut options = Options::new(seed, 3, 3, machine);
        options.checking = Checking::USUAL;
        options.mixed_versions = true;
        options.maintenance = true;
        options
    }

    #[test]
    fn nodes_of_all_versions_meet_and_work_together() {
        let mut met = BTreeSet::new();
        for seed in 0..4 {
            let mut options = options(seed);
            options.faults = Faults {
                every: Some(crate::sim::Span::secs(5, 20)),
                master_crash: 1,
                failover: 1,
                ..Faults::none()
            };
            let mut sim = Sim::new(options);
            for _ in 0..30 {
                sim.run_for(Duration::from_secs(10));
                let agreed = sim.world.versions.values();
                met.extend(agreed.map(|agreed| (agreed.client, agreed.server)));
            }
            sim.heal();
            sim.expect_converged();
            assert!(sim.report().tasks.finished > 10);
        }
        let (old, new) = (Version::FIRST, Version::NEWEST);
        let all = [(old, old), (old, new), (new, old), (new, new)];
        assert!(met.is_superset(&all.into()), "{met:?}");
    }

    #[test]
    fn a_message_that_is_too_new_ends_the_run() {
        let mut sim = Sim::new(options(1));
        sim.run_for(Duration::from_secs(60));
        let asked = Event::InverseOffers(alloc::vec::Vec::new());
        for (own, is_fine) in [(Version::NEWEST, true), (Version::FIRST, false)] {
            let peer = PeerId(u64::MAX);
            let (client, server) = (own, Version::NEWEST);
            let agreed = Agreed { client, server };
            sim.world.versions.insert(peer, agreed);
            sim.world.check_version(peer, End::Client, &asked);
            let broken = sim.violation().map(|violation| violation.property);
            assert_eq!(broken, (!is_fine).then_some(Property::Versions));
        }
    }
}
