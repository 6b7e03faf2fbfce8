//! When nothing goes wrong any more, everybody is back within a bound (L2): all agents are
//! registered and all frameworks subscribed.
//!
//! Whoever has lost a connection without a word finds out when nothing is heard for as long as
//! pings may be missed; then he dials, and is heard as fast as messages and disks are. Of L1 there
//! is nothing to see with one master at a time; L3 is a part of [`super::convergence`].

use alloc::format;
use core::time::Duration;

use super::{Broken, convergence};
use crate::sim::property::Property;
use crate::sim::world::World;

/// For what takes no longer with what is slow: backoffs, and starting.
const SLACK: Duration = Duration::from_secs(60);
/// Round trips, and waits for a disk, until one is known again.
const TRIPS: u32 = 20;

pub(in crate::sim) fn check(world: &World) -> Result<(), Broken> {
    let Some(mut healed) = world.healed else {
        return Ok(());
    };
    // Nobody joins from a machine that is down. That it comes up is a part of convergence.
    if let Some(operator) = &world.operator {
        let Some(done) = operator.done() else {
            return Ok(());
        };
        healed = healed.max(done);
    }
    let options = &world.options;
    let ping_timeout = options.ping_interval * options.max_missed_pings;
    let slowest = options.delay.ends().1 + options.sync.ends().1;
    let silence = ping_timeout.max(options.dials.silence());
    let bound = silence * 3
        + (options.redial.ends().1 + options.dials.backoff()) * 2
        + slowest * TRIPS
        + SLACK;
    let since = world.shared.now.since(healed);
    if since <= bound {
        return Ok(());
    }
    match convergence::connections(world) {
        None => Ok(()),
        Some(why) => Err((
            Property::Liveness,
            format!("{since:?} after the last fault, {why}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::framework::FrameworkInfo;
    use crate::resources::Resources;
    use crate::sim::{Checking, Cut, Name, Options, Sim};

    use super::*;

    struct Idle;

    impl crate::scheduler::Logic for Idle {
        fn on_event(
            &mut self,
            _: crate::time::Time,
            _: crate::scheduler::UserEvent,
            _: &mut alloc::vec::Vec<crate::scheduler::UserCall>,
        ) {
        }
    }

    // L2
    #[test]
    fn who_does_not_come_back_is_found() {
        let machine = Resources::parse("cpus:1;mem:64").unwrap();
        let mut options = Options::new(1, 2, 0, machine);
        options.checking = Checking::Always;
        let mut sim = Sim::new(options);
        let idle = FrameworkInfo::new("idle");
        let framework = sim.framework(idle, alloc::boxed::Box::new(Idle));
        sim.run_for(Duration::from_secs(60));
        for lost in [Name::Agent(2), framework] {
            sim.cut(lost, Cut::Both);
            let long = Duration::from_secs(600);
            sim.run_for(long);
            assert_eq!(check(&sim.world), Ok(()), "something went wrong just now");
            sim.heal();
            sim.run_for(long);
            assert_eq!(check(&sim.world), Ok(()), "all are back");
            let healed = sim.world.healed;
            sim.cut(lost, Cut::Both);
            sim.run_for(long);
            sim.world.healed = healed;
            assert!(check(&sim.world).is_err());
            sim.mend(lost);
        }
    }
}
