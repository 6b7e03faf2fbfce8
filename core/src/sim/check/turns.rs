//! What frameworks have said and a master has not heard yet: where they are heard at a rate, calls
//! wait for their turn, and the end of a connection behind them (SE-33).
//!
//! Whoever watches a master goes by what it has heard. How many words wait it says itself; they are
//! heard in the order in which they were said.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::ids::PeerId;
use crate::master::{Input, Master};
use crate::protocol::scheduler::Call;

/// What one leadership was told and has not heard.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: BTreeMap<PeerId, VecDeque<Input>>,
    /// Who has said something last.
    last: Option<PeerId>,
    /// How many calls were turned down up to then.
    turned_down: u64,
}

impl Turns {
    /// The master is told something; returns it if it is heard at once.
    pub(super) fn told(&mut self, input: Input) -> Option<Input> {
        let peer = match &input {
            Input::Scheduler { peer, .. } => *peer,
            Input::Disconnected { peer } if self.waiting.contains_key(peer) => *peer,
            Input::Disconnected { .. }
            | Input::Connected { .. }
            | Input::Agent { .. }
            | Input::Operator { .. } => return Some(input),
        };
        self.last = Some(peer);
        self.waiting.entry(peer).or_default().push_back(input);
        None
    }

    /// Takes what the master has heard meanwhile.
    pub(super) fn heard(&mut self, master: &Master) -> Vec<Input> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        self.settle(master.turned_down(), |peer| master.unheard(peer))
    }

    fn settle(
        &mut self,
        turned_down: u64,
        unheard: impl Fn(PeerId) -> Option<usize>,
    ) -> Vec<Input> {
        let mut heard = Vec::new();
        if turned_down > self.turned_down
            && let Some(words) = self.last.and_then(|peer| self.waiting.get_mut(&peer))
            && let Some(word) = words.pop_back()
            && let Input::Scheduler { call, .. } = &word
            && is_heard(call)
        {
            heard.push(word);
        }
        self.turned_down = turned_down;
        self.waiting.retain(|peer, words| {
            let Some(left) = unheard(*peer) else {
                // Nobody hears those any more, but for the end.
                let end = words
                    .drain(..)
                    .filter(|it| matches!(it, Input::Disconnected { .. }));
                heard.extend(end);
                return false;
            };
            let over = words.len().saturating_sub(left);
            heard.extend(words.drain(..over));
            !words.is_empty()
        });
        heard
    }
}

/// Returns whether a call counts for which there was no room: offers that were answered are so in
/// any case, what was confirmed is, and who ends his framework is heard.
const fn is_heard(call: &Call) -> bool {
    matches!(
        call,
        Call::Accept { .. }
            | Call::Decline { .. }
            | Call::Acknowledge { .. }
            | Call::AcknowledgeOperation { .. }
            | Call::Teardown
    )
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    // SE-33
    #[test]
    fn what_waits_is_heard_in_its_turn() {
        let peer = PeerId(1);
        let says = |call| Input::Scheduler { peer, call };
        let suppress = || says(Call::Suppress { roles: vec![] });
        let decline = || {
            says(Call::Decline {
                offers: vec![],
                refuse: None,
            })
        };
        let lost = Input::Disconnected { peer };
        let mut turns = Turns::default();
        assert_eq!(turns.told(lost.clone()), Some(lost.clone()), "none waits");
        assert_eq!(turns.told(suppress()), None);
        assert_eq!(turns.settle(0, |_| Some(0)), [suppress()], "heard at once");
        for input in [suppress(), decline(), lost.clone()] {
            assert_eq!(turns.told(input), None);
        }
        assert_eq!(turns.settle(0, |_| Some(3)), []);
        assert_eq!(turns.settle(0, |_| Some(2)), [suppress()]);
        // Turned down: one is answered in any case, the other is as if it had not been said.
        assert_eq!(turns.told(decline()), None);
        assert_eq!(turns.settle(1, |_| Some(2)), [decline()]);
        assert_eq!(turns.told(suppress()), None);
        assert_eq!(turns.settle(2, |_| Some(2)), []);
        assert_eq!(turns.settle(2, |_| Some(0)), [decline(), lost.clone()]);
        // Who was closed from the other side is heard no more.
        for input in [suppress(), lost.clone()] {
            assert_eq!(turns.told(input), None);
        }
        assert_eq!(turns.settle(2, |_| None), [lost]);
    }
}
