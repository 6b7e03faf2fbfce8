//! The table of wishes that the master had no room for, and of those said lately, one of which it
//! may have been: a refusal names the kind of a call, and not the call.
//!
//! They are said again in parts, one with each heartbeat, oldest first; a part is halved when
//! something of the last was refused, so that all are heard in the end however short the line is.
//! Written and said by `wishes`.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::limits;
use crate::protocol::refusal::CallKind;
use crate::roles::Role;

/// For how many heartbeats a refusal of what was said may be on its way.
const BEATS: u32 = 4;

/// What is to be said again, by the kind of the call and the role.
#[derive(Debug)]
pub(super) struct Unheard {
    /// Said lately, and before how many heartbeats.
    recent: BTreeMap<(CallKind, Role), u32>,
    /// To be said again, in turn; each once.
    again: VecDeque<(CallKind, Role)>,
    /// Of which kinds the master had no room for some since the last heartbeat.
    refused: BTreeSet<CallKind>,
    /// How many are said at a time.
    part: usize,
}

impl Default for Unheard {
    fn default() -> Self {
        Self {
            recent: BTreeMap::new(),
            again: VecDeque::new(),
            refused: BTreeSet::new(),
            part: limits::WISHES_SAID,
        }
    }
}

impl Unheard {
    /// Notes that something is said in these roles.
    pub(super) fn note<'a>(&mut self, call: CallKind, roles: impl IntoIterator<Item = &'a Role>) {
        let said = roles.into_iter().map(|role| ((call, role.clone()), 0));
        self.recent.extend(said);
    }

    /// Notes that the master has no room for a call of this kind.
    pub(super) fn refuse(&mut self, call: CallKind) {
        self.refused.insert(call);
    }

    /// There was a heartbeat: returns what is to be said now. If nothing was said lately that may
    /// have been refused, all is that was in any of our own roles.
    pub(super) fn part(&mut self, own: &[Role]) -> Vec<(CallKind, Role)> {
        let refused = core::mem::take(&mut self.refused);
        if !refused.is_empty() {
            self.part = (self.part / 2).max(1);
        } else if self.again.is_empty() {
            self.part = limits::WISHES_SAID;
        }
        let waiting: BTreeSet<_> = self.again.iter().cloned().collect();
        for kind in refused {
            let recent = self.recent.keys().filter(|(call, _)| *call == kind);
            let mut named: Vec<_> = recent.cloned().collect();
            if named.is_empty() {
                named.extend(own.iter().map(|role| (kind, role.clone())));
            }
            let new = named.into_iter().filter(|it| !waiting.contains(it));
            self.again.extend(new);
        }
        self.recent.retain(|_, beats| {
            *beats += 1;
            *beats <= BEATS
        });
        // Whose role is not ours any more has nothing to say.
        self.again.retain(|(_, role)| own.contains(role));
        let part = self.part.min(self.again.len());
        self.again.drain(..part).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    const DEMAND: CallKind = CallKind::Demand;

    fn roles(count: usize) -> Vec<Role> {
        (0..count)
            .map(|n| Role::new(&format!("r{n:03}")).unwrap())
            .collect()
    }

    /// Says all, to a line that has room for so many between two heartbeats; returns how often each
    /// was heard and after how many heartbeats nothing is said any more.
    fn say_all(count: usize, room: usize) -> (Vec<u32>, u32) {
        let own = roles(count);
        let mut unheard = Unheard::default();
        let mut heard = alloc::vec![0_u32; count];
        let mut said: Vec<_> = own.iter().map(|role| (DEMAND, role.clone())).collect();
        let mut beats = 0;
        while !said.is_empty() || !unheard.again.is_empty() {
            for (nth, (call, role)) in said.iter().enumerate() {
                unheard.note(*call, [role]);
                if nth < room {
                    heard[own.iter().position(|it| it == role).unwrap()] += 1;
                } else {
                    unheard.refuse(*call);
                }
            }
            said = unheard.part(&own);
            beats += 1;
            assert!(beats < 1_000, "it never ends");
        }
        (heard, beats)
    }

    #[test]
    fn all_are_heard_and_then_nothing_is_said() {
        for (count, room) in [(10, 10), (200, 50), (1_000, 3), (500, 1)] {
            let (heard, _) = say_all(count, room);
            assert!(heard.iter().all(|times| *times > 0), "{count} {room}");
        }
        assert_eq!(say_all(10, 10), (alloc::vec![1; 10], 1));
    }

    #[test]
    fn only_what_was_said_lately_is_said_again() {
        let own = roles(3);
        let mut unheard = Unheard::default();
        unheard.note(DEMAND, &own[..1]);
        for _ in 0..=BEATS {
            assert_eq!(unheard.part(&own), []);
        }
        unheard.note(DEMAND, &own[1..2]);
        unheard.note(CallKind::Revive, &own[2..]);
        unheard.refuse(DEMAND);
        assert_eq!(unheard.part(&own), [(DEMAND, own[1].clone())]);
        assert_eq!(unheard.part(&own), []);
        // A refusal that comes as late as that may be of anything.
        unheard.refuse(CallKind::Suppress);
        let all = own.iter().map(|role| (CallKind::Suppress, role.clone()));
        assert_eq!(unheard.part(&own), all.collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_said_of_a_role_that_was_left() {
        let own = roles(2);
        let mut unheard = Unheard::default();
        unheard.note(DEMAND, &own);
        unheard.refuse(DEMAND);
        assert_eq!(unheard.part(&own[1..]), [(DEMAND, own[1].clone())]);
    }
}
