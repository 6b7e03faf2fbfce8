//! The frameworks that a cluster begins with.
//!
//! Part of the world. Deliberately not here: what they do ([`super::workload`]).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::chance::{Purpose, stream};
use super::formatter::Formatter;
use super::keeper::Keeper;
use super::limits;
use super::queue::Name;
use super::shifter::Shifter;
use super::tap::User;
use super::workload::{Greedy, Leaver, Leaving, Nonsense, Silent, Slow, Steady};
use super::world::World;
use crate::protocol::framework::{Capabilities, FrameworkInfo};
use crate::roles::Role;
use crate::scheduler::Logic;

/// The tasks of frameworks that misbehave go on for as long as no run lasts.
const LASTING: Duration = Duration::from_secs(24 * 3600);
/// Those of one that ends go on for so long if nobody has heard of its end.
const LEFT: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn populate(&mut self) {
        for n in 1..=self.options.frameworks {
            let name = format!("framework-{n}");
            let mut info = FrameworkInfo::new(name.as_str());
            info.failover_timeout = self.options.failover_timeout;
            info.roles = Vec::from([limits::role_of(&self.options, &name)]);
            if self.options.dials.has_regions() {
                info.capabilities = info.capabilities | Capabilities::REGIONS;
            }
            let demand = self.options.demand.clone();
            let mut rng = stream(self.options.seed, Purpose::Vacating, Name::Framework(n));
            let (answers, thoughts) = (rng.next_u64(), rng.next_u64());
            let think = self.options.think;
            let make = move |name| {
                let steady = Slow::new(Steady::new(name, demand.clone()), think, thoughts);
                Leaver::new(steady, answers)
            };
            self.add_built_in(info, make);
        }
        for n in 1..=self.options.greedy {
            self.add_built_in(lasting(&format!("greedy-{n}")), Greedy::new);
        }
        for n in 1..=self.options.silent {
            self.add_built_in(lasting(&format!("silent-{n}")), |_| Silent);
        }
        for n in 1..=self.options.nonsense {
            let talk = self.talk(n);
            let info = lasting(&format!("nonsense-{n}"));
            self.add_built_in(info, move |name| Nonsense::new(name, talk));
        }
        for n in 1..=self.options.leaving {
            let talk = self.talk(n);
            let mut info = FrameworkInfo::new(format!("leaving-{n}"));
            info.failover_timeout = LEFT;
            self.add_built_in(info, move |name| Leaving::new(name, talk));
        }
        for n in 1..=self.options.keepers {
            let mut info = lasting(&format!("keeper-{n}"));
            let role = Role::new(&format!("keep-{n}")).expect("a name that is a role");
            info.roles = Vec::from([role.clone()]);
            let place = u32::try_from(self.frameworks.len() + 1).expect("there are fewer");
            let principal = format!("{}", Name::Framework(place));
            let make = move |name| Keeper::new(name, role.clone(), &principal);
            self.add_built_in(info, make);
        }
        for n in 1..=self.options.formatters {
            self.add_built_in(lasting(&format!("formatter-{n}")), Formatter::new);
        }
        for n in 1..=self.options.shifters {
            let mut rng = stream(self.options.seed, Purpose::Shifts, Name::Framework(n));
            let (talk, info) = (rng.next_u64(), Shifter::info(n));
            let stays = Arc::clone(&self.is_quiet);
            let make = move |name| Shifter::new(name, n, talk).while_not(Arc::clone(&stays));
            self.add_built_in(info, make);
        }
    }

    /// Draws what one says that is not steady.
    fn talk(&self, n: u32) -> u64 {
        stream(self.options.seed, Purpose::Nonsense, Name::Framework(n)).next_u64()
    }

    /// Adds a framework whose schedulers are made from a name, which begins the ids of what they
    /// launch: none may use an id of those before it.
    fn add_built_in<L: Logic + 'static>(
        &mut self,
        info: FrameworkInfo,
        make: impl Fn(String) -> L + 'static,
    ) {
        let title = info.name.clone();
        let make = move |n: u32| -> Box<dyn Logic> {
            Box::new(make(match n {
                1 => title.clone(),
                _ => format!("{title}.{n}"),
            }))
        };
        let first = User::Any(make(1));
        self.add_framework(info, first, Some(Box::new(make)));
    }
}

fn lasting(name: &str) -> FrameworkInfo {
    FrameworkInfo {
        failover_timeout: LASTING,
        ..FrameworkInfo::new(name)
    }
}
