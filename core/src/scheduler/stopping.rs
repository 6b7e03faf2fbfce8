//! Ending a framework as its user asks: once the master says that it has ended, or nobody can be
//! asked.
//!
//! A teardown that is lost with its connection would leave the framework and its tasks until its
//! failover timeout, a week by default. So the machine stays, subscribes again if it must, and asks
//! until it hears the answer.
//!
//! Deliberately not here: leaving a framework to its next scheduler, which says nothing (`mod`).

use core::time::Duration;

use super::{Effect, Out, Phase, Scheduler};
use crate::ids::PeerId;
use crate::protocol::refusal::CallKind;
use crate::protocol::scheduler::{Call, Event};
use crate::time::Time;

/// How long the end of a framework is asked for. After that it is left to its failover timeout: who
/// stops a program wants it to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// An end that was asked for.
#[derive(Debug)]
pub(super) struct Stopping {
    /// When to give up.
    by: Time,
    /// On which connection the master was asked, and has not said that it has no room.
    asked: Option<PeerId>,
}

impl Stopping {
    pub(super) const fn deadline(&self) -> Time {
        self.by
    }
}

impl Scheduler {
    /// Asks for the end of the framework, or waits for somebody who can be asked.
    pub(super) fn begin_to_stop(&mut self, now: Time, out: &mut Out) {
        self.offers.clear();
        self.inverse.clear();
        self.stopping = Some(Stopping {
            by: now + PATIENCE,
            asked: None,
        });
        match self.phase {
            // Who has asked will be subscribed by the time that it is read.
            Phase::Subscribed(peer, _) | Phase::Asking(peer, _) => self.ask_for_end(peer, out),
            // No master knows it.
            Phase::Away | Phase::Waiting(..) if self.framework.is_none() => self.stop(out),
            Phase::Away | Phase::Waiting(..) | Phase::Stopped => {}
        }
    }

    fn ask_for_end(&mut self, peer: PeerId, out: &mut Out) {
        let Some(stopping) = &mut self.stopping else {
            return;
        };
        if stopping.asked.replace(peer) != Some(peer) {
            let call = Call::Teardown;
            out.emit(Effect::Master { peer, call });
        }
    }

    /// Hears the master while the end is asked for. The user hears of nothing any more.
    pub(super) fn on_event_while_stopping(&mut self, peer: PeerId, event: &Event, out: &mut Out) {
        match event {
            // However it puts it: this framework is none of its own now.
            Event::Error { .. } => self.stop(out),
            Event::Subscribed { framework, .. } => {
                // Should this connection be lost as well, it is this framework that is to end.
                self.framework = Some(framework.clone());
                self.ask_for_end(peer, out);
            }
            // The master had no room for it: it is asked again when something is heard of it.
            Event::Rejected {
                call: CallKind::Teardown,
                ..
            } => self.forget_asked(),
            Event::Heartbeat => self.ask_for_end(peer, out),
            Event::Offers(_)
            | Event::Rescind(_)
            | Event::InverseOffers(_)
            | Event::RescindInverse(_)
            | Event::Update(_)
            | Event::OperationUpdate(_)
            | Event::Message { .. }
            | Event::ExecutorEnded { .. }
            | Event::AgentLost { .. }
            | Event::Rejected { .. }
            | Event::Unheard { .. }
            | Event::Updated
            | Event::Reconciled(_) => {}
        }
    }

    fn forget_asked(&mut self) {
        if let Some(stopping) = &mut self.stopping {
            stopping.asked = None;
        }
    }

    /// Gives the end up that nobody has confirmed in time.
    pub(super) fn stop_if_due(&mut self, now: Time, out: &mut Out) {
        if self.stopping.as_ref().is_some_and(|one| one.by <= now) {
            tracing::warn!("no master has confirmed the end of the framework in {PATIENCE:?}");
            self.stop(out);
        }
    }

    pub(super) fn stop(&mut self, out: &mut Out) {
        self.phase = Phase::Stopped;
        self.stopping = None;
        self.offers.clear();
        self.inverse.clear();
        out.emit(Effect::Stop);
    }
}
