//! Since when others have the time that they are given, and what follows when it is over.
//!
//! What the agent orders may wait for the disk, and what others say may wait for the agent. Neither
//! is their fault, so neither is taken from their time:
//!
//! * **It begins when the order has left.** Behind the order, in the same queue, the agent emits an
//!   echo for itself ([`Effect::Echo`]), which comes back as [`Input::Departed`](super::Input):
//!   then the order has passed the gate, and its time begins. A disk that stalls for longer than a
//!   grace so delays an end, and shortens nobody's. Of all machines only this one gives times that
//!   end in SIGKILL, so the contract of machines needs no word for what is durable.
//! * **Nobody is judged unheard.** An agent that is woken much later than it wanted did not run:
//!   its process was paused, or had no processor. What was said meanwhile waits behind whatever
//!   woke it. So it listens for a moment, in which no timer fires, and a few times at most
//!   ([`limits::LISTENED`]), for one that is always late has to judge all the same. Clocks go on
//!   meanwhile: who had said nothing before the pause gets that moment, and not the whole pause. Of
//!   a pause in which nothing was due the agent cannot know, and nobody is judged in it.
//!
//! After a restart each time begins anew: whether the order had left is not known, the machine may
//! have been off, and its clock may have been set. So the records keep how long, and not until
//! when. Who is to end has all of that once more, and half of the last time after each further
//! restart: three times as much in all, however often the agent restarts. What is only waited for
//! (a start, a subscription, a first word) begins anew and whole each time.
//!
//! Deliberately not here: what is ordered (`kills`, `on_executor`, `on_master`), and what executors
//! owe (`overdue`).

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::containers::Phase;
use super::on_container::End;
use super::records::Number;
use super::{Agent, Cx, Effect, Timer};
use crate::limits;
use crate::protocol::container::ContainerCommand;
use crate::time::Time;

/// An order with which a time begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Departure {
    /// A container was to be started.
    Launch(Number),
    /// A container's program was asked to end, by a signal or as an executor.
    End {
        /// Which container.
        container: Number,
        /// How long that may take.
        grace: Duration,
    },
    /// A task was handed to its executor.
    HandOver(Number),
    /// An executor was told to end a task.
    Kill {
        /// Which task.
        task: Number,
        /// How long that may take.
        grace: Duration,
    },
    /// All was asked to end that a drain ends.
    Drain {
        /// Which drain: since when.
        since: Time,
        /// How long that may take.
        most: Duration,
    },
    /// The containerizer was asked what became of the containers of the agent's last life.
    Recovery,
    /// A container was to be destroyed that did not start in time.
    Destroy(Number),
}

impl Cx<'_> {
    /// Has the agent told when all that it has ordered so far has left.
    pub(super) fn echo(&mut self, departure: Departure) {
        self.out.emit(Effect::Echo(departure));
    }
}

impl Agent {
    /// Returns when the next timer may fire.
    pub(super) fn due(&self) -> Option<Time> {
        self.timers.next().map(|at| at.max(self.listens_until))
    }

    /// Returns whether it only listens for now, for it has just stood still.
    pub(super) fn listens(&mut self, now: Time) -> bool {
        if now < self.listens_until {
            return true;
        }
        let late = self.due().map(|at| now.since(at));
        let stood_still = late.is_some_and(|late| late > limits::STANDSTILL);
        if !stood_still || self.listened == limits::LISTENED {
            self.listened = 0;
            return false;
        }
        self.listened += 1;
        self.listens_until = now + limits::LISTENING;
        tracing::warn!("stood still: listens first");
        true
    }

    /// An order has left: the time that goes with it begins.
    pub(super) fn on_departed(&mut self, cx: &Cx<'_>, departure: Departure) {
        match departure {
            Departure::Launch(container) => self.await_start(cx, container),
            Departure::Recovery => {
                let known: Vec<Number> = self.containers.iter().map(|(it, _)| it).collect();
                for container in known {
                    self.await_start(cx, container);
                }
            }
            Departure::Destroy(container) => self.await_word_of_end(cx, container),
            Departure::Drain { since, most } => self.await_drain(cx, since, most),
            Departure::End { container, grace } => {
                let at = cx.now + grace;
                // TK-85: asked again, its time only gets shorter.
                if let Some(Phase::Ending(before)) = self.containers.phase(container)
                    && before.is_none_or(|before| at < before)
                {
                    self.set_phase(container, Phase::Ending(Some(at)));
                }
            }
            Departure::HandOver(task) => self.await_word(cx, task),
            Departure::Kill { task, grace } => self.await_task_end(cx, task, grace),
        }
    }

    /// Gives a container its time to start, or to be heard of after a restart.
    fn await_start(&mut self, cx: &Cx<'_>, container: Number) {
        if self.containers.phase(container) == Some(Phase::Launching(None)) {
            let at = cx.now + self.config.launch_timeout;
            self.set_phase(container, Phase::Launching(Some(at)));
        }
    }

    /// Gives the containerizer its time to say that what did not start has ended.
    fn await_word_of_end(&mut self, cx: &Cx<'_>, container: Number) {
        if self.containers.phase(container) == Some(Phase::Stuck(None)) {
            let at = cx.now + self.config.launch_timeout;
            self.set_phase(container, Phase::Stuck(Some(at)));
        }
    }

    /// Moves a container on, with the timer that goes with how far it is.
    pub(super) fn set_phase(&mut self, number: Number, phase: Phase) {
        let Some(before) = self.containers.set(number, phase) else {
            return;
        };
        if let Some(at) = before.due() {
            self.timers.disarm(at, Timer::Container(number));
        }
        if let Some(at) = phase.due() {
            self.timers.arm(at, Timer::Container(number));
        }
    }

    /// Has a container destroyed once its program has had its time, which begins when what was
    /// ordered so far has left.
    pub(super) fn await_end(&mut self, cx: &mut Cx<'_>, container: Number, grace: Duration) {
        match self.containers.phase(container) {
            Some(Phase::Launching(_) | Phase::Running) => {
                self.set_phase(container, Phase::Ending(None));
            }
            Some(Phase::Ending(_)) => {}
            // More cannot be done.
            Some(Phase::Stuck(_) | Phase::Destroyed) | None => return,
        }
        cx.echo(Departure::End { container, grace });
    }

    /// A container has had its time.
    pub(super) fn on_container_due(&mut self, cx: &mut Cx<'_>, number: Number) {
        match self.containers.phase(number) {
            Some(Phase::Launching(_)) => {
                let id = number.container();
                tracing::warn!(%id, "not started in time: destroyed");
                self.set_phase(number, Phase::Stuck(None));
                cx.container(ContainerCommand::Destroy { id });
                cx.echo(Departure::Destroy(number));
            }
            Some(Phase::Stuck(_)) => {
                let id = number.container();
                tracing::warn!(%id, "nothing is heard of its end either: given up");
                self.on_ended(cx, &id, &End::Lost);
                self.recover_without_word(cx);
            }
            Some(Phase::Ending(_)) => self.destroy(cx, number),
            Some(Phase::Running | Phase::Destroyed) | None => {}
        }
    }

    /// Says of a container how it came to its end, if it ended for it took too long to start
    /// (AG-34).
    pub(super) fn stuck(&self, phase: Phase) -> Option<End> {
        let patience = self.config.launch_timeout;
        matches!(phase, Phase::Stuck(_))
            .then(|| End::Stuck(format!("it did not start within {patience:?}")))
    }
}
