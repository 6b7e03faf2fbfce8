//! Who is asked to end has its time: an agent destroys nobody earlier whom it has asked
//! (TK-84, TK-88).
//!
//! Looked at where orders leave the agent, for only these are heard. Who is destroyed without
//! having been asked is another's matter: an executor that does not come back, a program that had
//! no time to begin with.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use crate::agent::{Departure, Effect};
use crate::ids::ContainerId;
use crate::protocol::agent::ToAgent;
use crate::protocol::container::ContainerCommand;
use crate::protocol::executor;
use crate::sim::dials::Dials;
use crate::sim::options::Checking;
use crate::sim::property::Property;
use crate::sim::queue::Name;
use crate::sim::world::{World, at};
use crate::time::Time;

/// Returns the least that a program has, unless an operator drains its agent in less, and that an
/// executor has. A clock that is a twentieth fast counts less.
fn least(dials: &Dials) -> (Duration, Duration) {
    let least = |usual: u64| Duration::from_millis(usual * 14 / 15);
    (
        least(dials.kill_grace),
        least(dials.executor_shutdown_grace),
    )
}

/// Whom an agent in this life has asked to end, and until when it has to wait.
#[derive(Debug, Default)]
pub(in crate::sim) struct Graces {
    until: BTreeMap<ContainerId, Time>,
    /// How many lives of the agent there were.
    life: u32,
    /// In which of them it has launched what.
    launched: BTreeMap<ContainerId, u32>,
    /// Which drain was heard of last: since when.
    since: Option<Time>,
    /// When what an operator has given with it is over, in this life.
    drain_by: Option<Time>,
    /// The least that an operator has given with it.
    drain: Option<Duration>,
    /// The least that one has given with a drain in which a container was there: the agent
    /// remembers it with each task.
    shortened: BTreeMap<ContainerId, Duration>,
}

impl Graces {
    /// Another life of the agent begins.
    pub(in crate::sim) fn begin(&mut self) {
        self.until.clear();
        self.life += 1;
        self.drain_by = None;
    }

    /// The agent is told something.
    pub(in crate::sim) fn hears(&mut self, now: Time, message: &ToAgent) {
        if matches!(message, ToAgent::Undrain) {
            self.end_drain();
        }
        if let ToAgent::Drain { max_grace, since } = message {
            if self.since.replace(*since) != Some(*since) {
                self.end_drain();
            }
            if let Some(most) = max_grace {
                self.is_drained(now, *most);
            }
        }
    }

    fn end_drain(&mut self) {
        self.drain_by = None;
        self.drain = None;
    }

    fn is_drained(&mut self, now: Time, most: Duration) {
        let before = self.drain.unwrap_or(most);
        self.drain = Some(before.min(most));
        let there: Vec<ContainerId> = self.launched.keys().cloned().collect();
        for container in there {
            self.shorten(container, most);
        }
        // As below, the clock may be fast.
        let by = now + most * 9 / 10;
        self.drain_by = Some(self.drain_by.map_or(by, |before| before.min(by)));
    }

    fn shorten(&mut self, container: ContainerId, most: Duration) {
        let least = self.shortened.entry(container).or_insert(most);
        *least = most.min(*least);
    }

    fn launched(&mut self, container: ContainerId) {
        self.launched.insert(container.clone(), self.life);
        // It may have been ordered before, and have left only now.
        if let Some(most) = self.drain {
            self.shorten(container, most);
        }
    }

    fn asked(&mut self, now: Time, container: ContainerId, least: Duration) {
        // As above, the clock may be fast.
        let drain = self.shortened.get(&container);
        let least = drain.map_or(least, |most| least.min(*most * 9 / 10));
        // Who is asked again by an agent that has restarted has all of it once more, and half of
        // the last time after each further restart.
        let launched = self.launched.get(&container);
        let restarts = self.life - launched.copied().unwrap_or_default();
        let least = least / (1 << restarts.saturating_sub(1).min(31));
        self.until.entry(container).or_insert(now + least);
    }

    /// Says how much is missing of the time of who is destroyed now.
    fn destroyed(&mut self, now: Time, container: &ContainerId) -> Option<Duration> {
        let until = self.until.remove(container)?;
        let until = self.drain_by.map_or(until, |by| until.min(by));
        Some(until.since(now)).filter(|missing| !missing.is_zero())
    }
}

impl World {
    /// Looks at what leaves an agent.
    pub(in crate::sim) fn check_grace(&mut self, n: u32, effect: &Effect) {
        if self.options.checking == Checking::Off {
            return;
        }
        let now = self.shared.now;
        let (program, executor) = least(&self.options.dials);
        let seat = &mut self.agents[at(n)];
        let machine = seat.node.machine();
        // A task that has run for as long as it may gets no more time, whoever else ends it.
        let is_hurried = |id: &ContainerId| {
            machine.is_some_and(|agent| {
                let mut tasks = agent.view().tasks();
                let is_it = |task: &ContainerId| task == id;
                tasks.any(|it| {
                    it.container.as_ref().is_some_and(is_it) && it.task.max_completion.is_some()
                })
            })
        };
        match effect {
            Effect::Executor {
                peer,
                event: executor::Event::Shutdown,
            } => {
                let executors = seat.containers.executors();
                if let Some(container) = executors.of_peer(*peer).cloned() {
                    seat.graces.asked(now, container, executor);
                }
            }
            Effect::Container(ContainerCommand::Terminate { id }) if is_hurried(id) => {}
            Effect::Container(ContainerCommand::Terminate { id }) => {
                seat.graces.asked(now, id.clone(), program);
            }
            // An executor may have been asked over a connection that it had lost: it hears of it
            // when it is back, and has what is left.
            Effect::Echo(order) => {
                if let Departure::End { container, .. } = order {
                    seat.graces.asked(now, container.container(), program);
                }
            }
            Effect::Container(ContainerCommand::Destroy { id }) => {
                // What has ended already loses nothing, and its agent may know of it no more.
                let loses = !is_hurried(id) && seat.containers.runs(id);
                let missing = seat.graces.destroyed(now, id);
                if let Some(missing) = missing.filter(|_| loses) {
                    let problem = format!("{id} was asked to end, and destroyed {missing:?} early");
                    self.note(Name::Agent(n), Err((Property::Graces, problem)));
                }
            }
            Effect::Container(ContainerCommand::Launch { id, .. }) => {
                seat.graces.launched(id.clone());
            }
            Effect::Container(ContainerCommand::Forget { id }) => {
                seat.graces.launched.remove(id);
            }
            Effect::Container(
                ContainerCommand::Recover { .. }
                | ContainerCommand::Resize { .. }
                | ContainerCommand::Probe { .. }
                | ContainerCommand::Unprobe { .. },
            )
            | Effect::Executor { .. }
            | Effect::Master { .. }
            | Effect::DeleteSandbox { .. }
            | Effect::DeleteVolumes { .. }
            | Effect::Disconnect { .. }
            | Effect::Stop { .. }
            | Effect::Left
            | Effect::Disk(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // TK-84
    #[test]
    fn who_is_destroyed_early_is_found() {
        let second = Duration::from_secs(1);
        let container = ContainerId::numbered(1);
        let mut graces = Graces::default();
        let ask = |at: u32, graces: &mut Graces| {
            graces.asked(Time::ZERO + second * at, container.clone(), second * 5);
        };
        let destroy =
            |at: u32, graces: &mut Graces| graces.destroyed(Time::ZERO + second * at, &container);
        assert_eq!(destroy(1, &mut graces), None, "nobody was asked");
        ask(2, &mut graces);
        ask(4, &mut graces); // said again
        assert_eq!(destroy(7, &mut graces), None);
        ask(8, &mut graces);
        assert_eq!(destroy(11, &mut graces), Some(second * 2));
        let drain = |since: u64| ToAgent::Drain {
            max_grace: Some(second * 2),
            since: Time::from_micros(since),
        };
        graces.launched(container.clone());
        graces.hears(Time::ZERO + second * 19, &drain(1));
        ask(20, &mut graces);
        assert_eq!(destroy(22, &mut graces), None, "its agent is drained");
        ask(24, &mut graces);
        assert_eq!(destroy(25, &mut graces), None, "the drain is over");
        ask(32, &mut graces);
        graces.begin();
        assert_eq!(
            destroy(32, &mut graces),
            None,
            "whether it was asked is not known"
        );
        // The drain is heard of again, and what it leaves is whole after the first restart.
        graces.hears(Time::ZERO + second * 40, &drain(1));
        ask(40, &mut graces);
        assert_eq!(destroy(41, &mut graces), Some(second * 8 / 10));
        graces.begin();
        ask(50, &mut graces);
        assert_eq!(destroy(50, &mut graces), Some(second * 9 / 10));
        graces.launched(container.clone());
        ask(60, &mut graces);
        assert_eq!(destroy(60, &mut graces), Some(second * 18 / 10));
        // What comes after the drain has all its time.
        graces.hears(Time::ZERO + second * 70, &ToAgent::Undrain);
        let later = ContainerId::numbered(2);
        graces.launched(later.clone());
        graces.asked(Time::ZERO + second * 71, later.clone(), second * 5);
        let missing = graces.destroyed(Time::ZERO + second * 72, &later);
        assert_eq!(missing, Some(second * 4));
    }
}
