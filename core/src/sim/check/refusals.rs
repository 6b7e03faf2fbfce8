//! What is refused changes nothing (I21): a call that its machine turns down in so many words
//! leaves all that is known of that machine as it was, and nothing follows from a lie but a word to
//! the liar and the end of his connection.
//!
//! Who was told no relies on it: he asks again, or otherwise. Of a master its rows, its allocator's
//! figures and how full its tables are is compared, of an agent all that it remembers.
//! Which call will be refused is not known before, so this is looked at with those who often say
//! what they should not, with orders of operators, and with some of all others. Not looked at are
//! accepts of which an offer was good: it is over then, whatever became of its tasks (I4).
//!
//! Deliberately not here: what liars say ([`crate::sim::lies`]).

use alloc::format;
use alloc::vec::Vec;

use crate::agent;
use crate::allocator::{RoleFigures, Stats};
use crate::ids::{OfferId, PeerId};
use crate::limits::Filled;
use crate::machine::Output;
use crate::master::{Effect, Input, Master, View};
use crate::protocol::agent::{ToAgent, ToMaster};
use crate::protocol::executor;
use crate::protocol::operator::{Answer, Call as Order};
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::status::{Source, TaskState};
use crate::registry::RegistryOp;
use crate::sim::options::Checking;
use crate::sim::property::Property;
use crate::sim::queue::Name;
use crate::sim::world::{World, at};

/// One call in so many is looked at, of those who usually say what they should.
const ONE_IN: u64 = 64;

/// What is known of a master, its registry apart: what changes that is written down, and so is seen
/// ([`Said::writes`]).
struct Known {
    view: View,
    stats: Stats,
    roles: Vec<RoleFigures>,
    filled: Vec<Filled>,
}

impl Known {
    fn of(master: &Master) -> Self {
        // What was refused is remembered until that is confirmed; and of many questions some may
        // have found room.
        let expected = ["refus", "questions"];
        let mut filled = master.filled();
        filled.retain(|it| !expected.iter().any(|word| it.what.contains(word)));
        let allocator = master.allocator();
        Self {
            view: master.view(),
            stats: allocator.stats(),
            roles: allocator.roles(),
            filled,
        }
    }

    fn is_same(&self, after: &Self) -> bool {
        let figures = (&self.stats, &self.roles, &self.filled);
        self.view.shows(&after.view) && figures == (&after.stats, &after.roles, &after.filled)
    }
}

/// What is looked at when a machine hears something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Look {
    /// Nothing.
    None,
    /// Whether nothing changes if it is refused.
    Refusal {
        /// Who says it.
        peer: PeerId,
        /// Whether the end of his connection is the end of more than that.
        has_part: bool,
    },
    /// Whether nothing changes, whatever is said to the peer.
    Lie(PeerId),
}

/// What a master says in a turn.
#[derive(Debug, Default)]
struct Said {
    /// No, in one of many ways.
    refuses: bool,
    /// No to all of it, by an answer that says nothing else.
    turns_down: bool,
    /// Something else to who has spoken.
    answers: bool,
    /// Something to others.
    tells: bool,
    /// Something that is written down.
    writes: bool,
}

impl Said {
    fn saw(&mut self, output: &Output<RegistryOp, Effect>, look: Look) {
        let (Output::Effect(effect) | Output::Free(effect)) = output else {
            self.writes = true;
            return;
        };
        let (Look::Refusal { peer, .. } | Look::Lie(peer)) = look else {
            return;
        };
        let (to, refuses, turns_down) = match effect {
            Effect::Scheduler { peer, event } => {
                let turns_down = matches!(event, Event::Rejected { .. });
                (*peer, is_refusal(event), turns_down)
            }
            Effect::Agent { peer, message } => {
                let is_no = matches!(message, ToAgent::Refused(_));
                (*peer, is_no, is_no)
            }
            Effect::Respond { peer, response } => {
                let is_no = is_no(&response.answer);
                (*peer, is_no, is_no)
            }
            Effect::Disconnect { peer, .. } => {
                let is_more = matches!(look, Look::Refusal { has_part: true, .. });
                (*peer, !is_more, false)
            }
            Effect::Resign { .. } => {
                self.tells = true;
                return;
            }
        };
        self.tells |= to != peer;
        self.refuses |= refuses;
        self.turns_down |= turns_down;
        self.answers |= !refuses;
    }
}

fn is_refusal(event: &Event) -> bool {
    if let Event::Update(status) = event {
        let never_ran = matches!(status.state, TaskState::Dropped | TaskState::Error);
        return never_ran && status.source == Source::Master;
    }
    matches!(
        event,
        Event::Rejected { .. } | Event::Unheard { .. } | Event::Error { .. }
    )
}

fn is_no(answer: &Answer) -> bool {
    let no = matches!(answer, Answer::Invalid(_) | Answer::Conflict(_));
    no || matches!(answer, Answer::NotFound(_) | Answer::Ambiguous(_))
}

impl World {
    /// Says what is looked at when the master hears something.
    fn look(&self, input: &Input) -> Look {
        let (peer, has_part, is_suspect) = match input {
            Input::Scheduler { peer, call } => {
                let is_subscribed = self.watch.is_subscribed(*peer);
                let is_of_good = |offers: &[OfferId]| {
                    let mut offers = offers.iter();
                    offers.any(|offer| self.watch.is_good(*peer, offer))
                };
                if matches!(call, Call::Subscribe { .. } if is_subscribed)
                    || matches!(call, Call::Accept { offers, .. } if is_of_good(offers))
                    || *call == Call::Teardown
                {
                    return Look::None;
                }
                (*peer, is_subscribed, self.talks_nonsense(*peer))
            }
            Input::Agent {
                peer,
                message: ToMaster::Register { .. } | ToMaster::Reregister { .. },
            } => (*peer, self.watch.agent_of(*peer).is_some(), false),
            Input::Operator { peer, request } => (*peer, false, is_order(&request.call)),
            Input::Agent { .. } | Input::Connected { .. } | Input::Disconnected { .. } => {
                return Look::None;
            }
        };
        let is_drawn = match self.options.checking {
            Checking::Off => return Look::None,
            Checking::Sampled(_) => self.steps.is_multiple_of(ONE_IN),
            Checking::Always => true,
        };
        if is_suspect || is_drawn {
            return Look::Refusal { peer, has_part };
        }
        Look::None
    }

    fn talks_nonsense(&self, peer: PeerId) -> bool {
        let Some(Name::Framework(n)) = self.net.client(peer) else {
            return false;
        };
        let seat = self.frameworks.get(at(n));
        seat.is_some_and(|seat| seat.title().starts_with("nonsense"))
    }

    /// Tells the master something. What it was late for comes before that, as it does within it, so
    /// that whoever watches sees both in their order.
    pub(in crate::sim) fn master_hears(&mut self, input: Input) {
        let look = self.look(&input);
        self.tell_master(input, look);
    }

    /// Tells the master something that must change nothing.
    pub(in crate::sim) fn master_hears_lie(&mut self, peer: PeerId, input: Input) {
        self.tell_master(input, Look::Lie(peer));
    }

    fn tell_master(&mut self, input: Input, look: Look) {
        let watch = &mut self.watch;
        self.master
            .catch_up(&mut self.shared, |master, output| watch.saw(master, output));
        let holds = self.options.dials.holds_calls_up();
        // What is due just now comes with the input, and a call that waits for its turn comes with
        // something else.
        let is_apart = !holds || matches!(look, Look::Lie(_));
        let is_looked_at = look != Look::None && is_apart && !self.master.is_due(self.shared.now);
        let master = self.master.machine().filter(|_| is_looked_at);
        let before = master.map(|master| (Known::of(master), format!("{input:?}")));
        let mut said = Said::default();
        if holds {
            self.master_turned();
            self.watch.told(input.clone());
        } else {
            self.watch.hears(&input);
        }
        let watch = &mut self.watch;
        self.master
            .handle(input, &mut self.shared, |master, output| {
                watch.saw(master, output);
                said.saw(output, look);
            });
        self.master_turned();
        if let (Some((before, input)), Some(master)) = (before, self.master.machine()) {
            let checked = check(look, &said, || before.is_same(&Known::of(master)));
            let checked = checked.map_err(|what| (Property::Refusals, format!("{what}: {input}")));
            self.note(Name::Master, checked);
        }
    }

    /// Tells an agent something that must change nothing. Over a connection that is the liar's
    /// alone it may be said that it ends.
    pub(in crate::sim) fn agent_hears_lie(&mut self, n: u32, own: PeerId, input: agent::Input) {
        let name = Name::Agent(n);
        let node = &self.agents[at(n)].node;
        let agent = node
            .machine()
            .filter(|_| self.options.checking != Checking::Off && !node.is_due(self.shared.now));
        let before = agent.map(|agent| (agent.state().clone(), format!("{input:?}")));
        let mut acts = false;
        self.agent_hears_locally_and(n, input, |output| {
            let is_end = matches!(
                output,
                Output::Effect(agent::Effect::Disconnect { peer, .. }) if *peer == own
            );
            let is_no = matches!(
                output,
                Output::Effect(agent::Effect::Executor { peer, event: executor::Event::Error(_) })
                    if *peer == own
            );
            acts |= !is_end && !is_no;
        });
        let after = self.agents[at(n)].node.machine();
        if let (Some((before, input)), Some(agent)) = (before, after)
            && (acts || *agent.state() != before)
        {
            let problem = format!("something follows from a lie: {input}");
            self.note(name, Err((Property::Refusals, problem)));
        }
    }
}

/// Returns whether an operator asks for something to be done.
fn is_order(call: &Order) -> bool {
    match call {
        Order::Summary
        | Order::Agents
        | Order::Frameworks
        | Order::Tasks { .. }
        | Order::Offers
        | Order::Roles
        | Order::Snapshot { .. }
        | Order::Watch { .. }
        | Order::WatchAll { .. }
        | Order::Schedule
        | Order::Machines
        | Order::InverseOffers
        | Order::EndedFrameworks
        | Order::Explain { .. }
        | Order::Operations => false,
        Order::Kill { .. }
        | Order::UpdateQuota { .. }
        | Order::UpdateWeights { .. }
        | Order::Convert { .. }
        | Order::UpdateReservation { .. }
        | Order::MarkGone { .. }
        | Order::Deactivate { .. }
        | Order::Drain { .. }
        | Order::Reactivate { .. }
        | Order::SetSchedule { .. }
        | Order::MachinesDown { .. }
        | Order::MachinesUp { .. }
        | Order::Teardown { .. } => true,
    }
}

/// Says what is wrong with a turn after which the master is the same, or not.
fn check(look: Look, said: &Said, is_same: impl Fn() -> bool) -> Result<(), &'static str> {
    let is_heard = said.answers || said.tells || said.writes;
    let is_refused = said.refuses && !is_heard;
    match look {
        Look::Lie(_) if said.tells || said.writes || !is_same() => {
            Err("something follows from a lie")
        }
        Look::Refusal { .. } if said.turns_down && said.writes && !(said.answers || said.tells) => {
            Err("it is refused, and something is written down")
        }
        Look::Refusal { .. } if is_refused && !is_same() => {
            Err("it is refused, and something has changed")
        }
        Look::None | Look::Refusal { .. } | Look::Lie(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use super::*;
    use crate::protocol::hello::CloseReason;
    use crate::protocol::refusal::{CallKind, RejectKind};
    use crate::sim::check::scene::{OTHER, OWNER, event};
    use crate::time::Time;

    fn rejected(peer: PeerId) -> Effect {
        let rejected = Event::Rejected {
            call: CallKind::Revive,
            reason: RejectKind::ForeignRole,
            message: String::new(),
        };
        event(peer, rejected)
    }

    fn disconnect(peer: PeerId) -> Effect {
        Effect::Disconnect {
            peer,
            close: CloseReason::Denied,
            reason: String::new(),
        }
    }

    fn is_fine(look: Look, effects: &[Effect], is_same: bool) -> bool {
        let mut said = Said::default();
        for effect in effects {
            said.saw(&Output::Effect(effect.clone()), look);
        }
        check(look, &said, || is_same).is_ok()
    }

    // I21
    #[test]
    fn what_changes_though_it_is_refused_is_found() {
        let look = |has_part| Look::Refusal {
            peer: OWNER,
            has_part,
        };
        let heartbeat = event(OWNER, Event::Heartbeat);
        for (effects, is_refusal) in [
            (vec![rejected(OWNER)], true),
            (vec![disconnect(OWNER)], true),
            (vec![], false),
            (vec![heartbeat.clone()], false),
            (vec![rejected(OWNER), heartbeat.clone()], false),
            (vec![rejected(OTHER)], false),
        ] {
            assert!(is_fine(look(false), &effects, true));
            assert_eq!(is_fine(look(false), &effects, false), !is_refusal);
            assert!(is_fine(Look::None, &effects, false));
        }
        // What is written down is no effect.
        let mut said = Said::default();
        let at = Time::ZERO;
        said.saw(
            &Output::Persist(RegistryOp::Lead { epoch: 2, at }),
            look(false),
        );
        assert!(check(look(false), &said, || true).is_ok());
        said.saw(&Output::Effect(rejected(OWNER)), look(false));
        assert!(check(look(false), &said, || true).is_err());
        // With its connection a subscription ends.
        assert!(is_fine(look(true), &[disconnect(OWNER)], false));

        // A liar is told whatever it is, and nobody else.
        let lie = Look::Lie(OWNER);
        assert!(is_fine(lie, &[heartbeat, disconnect(OWNER)], true));
        assert!(!is_fine(lie, &[], false));
        assert!(!is_fine(lie, &[disconnect(OTHER)], true));
        let mut said = Said::default();
        said.saw(
            &Output::Persist(RegistryOp::Lead {
                epoch: 1,
                at: Time::ZERO,
            }),
            lie,
        );
        assert!(check(lie, &said, || true).is_err());
    }
}
