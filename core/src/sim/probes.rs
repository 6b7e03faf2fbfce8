//! What comes of what an agent tries of its containers: by chance, or nothing at all.
//!
//! Part of the world. A try that is given up is answered all the same: what crosses on its way must
//! do no harm. Deliberately not here: which tasks are looked at (`workload`).

use alloc::string::String;
use core::time::Duration;

use super::options::Span;
use super::queue::{Event, Name};
use super::world::{World, at};
use crate::protocol::check::{Probe, ProbeOutcome};
use crate::protocol::container::{ContainerCommand, ContainerEvent};
use crate::protocol::status::Exit;
use crate::rng::Rng;

/// How long a try takes.
const TAKES: Span = Span::millis(1, 500);

impl World {
    /// Answers what an agent tries, if it tries something.
    pub(super) fn answer_try(&mut self, agent: u32, command: &ContainerCommand) {
        let ContainerCommand::Probe {
            id,
            number,
            probe,
            timeout,
        } = command
        else {
            return;
        };
        let Some(life) = self.life(Name::Agent(agent)) else {
            return;
        };
        let seat = &mut self.agents[at(agent)];
        let after = TAKES.draw(&mut seat.tries);
        let drawn = draw(probe, *timeout, &mut seat.tries);
        let failed = || ProbeOutcome::Failed(String::from("it does not run"));
        let found = match seat.containers.runs(id) {
            true => drawn,
            false => Some((Duration::ZERO, failed())),
        };
        let Some((more, outcome)) = found else {
            return;
        };
        let event = ContainerEvent::Probed {
            id: id.clone(),
            number: *number,
            outcome,
        };
        let event = Event::Container { agent, life, event };
        self.shared
            .queue
            .plan(self.shared.now + after + more, event);
    }
}

/// Draws what comes of a try, and how much later than usual; `None` is nothing, ever.
fn draw(
    probe: &Probe,
    timeout: Option<Duration>,
    rng: &mut Rng,
) -> Option<(Duration, ProbeOutcome)> {
    let (chance, late, gives_up) = (rng.below(24), rng.below(500), rng.chance(1, 2));
    let outcome = match chance {
        0 => return None,
        // It says so at about the moment at which the agent gives it up.
        1 => {
            let after = timeout.unwrap_or_default();
            let after = after.saturating_sub(Duration::from_millis(late));
            let outcome = match gives_up {
                true => ProbeOutcome::TimedOut,
                false => good(probe),
            };
            return Some((after, outcome));
        }
        2 => ProbeOutcome::Failed(String::from("drawn from the seed")),
        3..6 => bad(probe),
        _ => good(probe),
    };
    Some((Duration::ZERO, outcome))
}

fn bad(probe: &Probe) -> ProbeOutcome {
    match probe {
        Probe::Command(_) => ProbeOutcome::Exited(Exit::Code(1)),
        Probe::Http(_) => ProbeOutcome::Answered(503),
        Probe::Tcp { .. } => ProbeOutcome::Accepted(false),
    }
}

fn good(probe: &Probe) -> ProbeOutcome {
    match probe {
        Probe::Command(_) => ProbeOutcome::Exited(Exit::Code(0)),
        Probe::Http(_) => ProbeOutcome::Answered(204),
        Probe::Tcp { .. } => ProbeOutcome::Accepted(true),
    }
}
