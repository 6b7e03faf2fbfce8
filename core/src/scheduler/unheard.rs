//! The table of wishes that the master had no room for: they are said again, as they are by then,
//! in parts, one with each heartbeat, oldest first. What is refused of a part comes again, and what
//! is heard does not, so that all are heard in the end however short the line is.
//!
//! Written and said by `wishes`.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::limits;
use crate::protocol::refusal::CallKind;
use crate::roles::Role;

/// What is to be said again, by the kind of the call and the role.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    /// In turn, each once.
    again: VecDeque<(CallKind, Role)>,
    /// The same.
    waiting: BTreeSet<(CallKind, Role)>,
    /// Whether it is known in which roles the call was that is turned down next.
    is_known: bool,
}

impl Unheard {
    /// Notes in which roles the call was not heard that is turned down next.
    pub(super) fn name(&mut self, call: CallKind, roles: Vec<Role>) {
        self.is_known = true;
        self.add(call, roles);
    }

    /// Notes that the master has no room for a call of this kind. If it is too old to say in which
    /// roles, all of these may be meant.
    pub(super) fn refuse(&mut self, call: CallKind, own: &[Role]) {
        if !core::mem::take(&mut self.is_known) {
            self.add(call, own.iter().cloned());
        }
    }

    fn add(&mut self, call: CallKind, roles: impl IntoIterator<Item = Role>) {
        for role in roles {
            let one = (call, role);
            if self.waiting.insert(one.clone()) {
                self.again.push_back(one);
            }
        }
    }

    /// Notes that something is said in these roles: what was not heard there is void.
    pub(super) fn say<'a>(&mut self, call: CallKind, roles: impl IntoIterator<Item = &'a Role>) {
        let waiting = &mut self.waiting;
        if waiting.is_empty() {
            return;
        }
        for role in roles {
            waiting.remove(&(call, role.clone()));
        }
        self.again.retain(|one| waiting.contains(one));
    }

    /// There was a heartbeat: takes out what is to be said now. In a role that is not our own any
    /// more there is nothing to say.
    pub(super) fn part(&mut self, own: &[Role]) -> Vec<(CallKind, Role)> {
        self.again.retain(|(_, role)| own.contains(role));
        let part = self.again.len().min(limits::WISHES_SAID);
        let said = self.again.drain(..part).collect();
        self.waiting = self.again.iter().cloned().collect();
        said
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::*;

    const DEMAND: CallKind = CallKind::Demand;

    fn roles(count: usize) -> Vec<Role> {
        (0..count)
            .map(|n| Role::new(&format!("r{n:03}")).unwrap())
            .collect()
    }

    /// Says all, to a line that has room for so many between two heartbeats; returns how often each
    /// was heard and after how many heartbeats nothing is said any more.
    fn say_all(count: usize, room: usize) -> (Vec<u32>, usize) {
        let own = roles(count);
        let mut unheard = Unheard::default();
        let mut heard = vec![0_u32; count];
        let mut said: Vec<_> = own.iter().map(|role| (DEMAND, role.clone())).collect();
        let mut beats = 0;
        while !said.is_empty() {
            for (nth, (call, role)) in said.iter().enumerate() {
                if nth < room {
                    heard[own.iter().position(|it| it == role).unwrap()] += 1;
                } else {
                    unheard.name(*call, vec![role.clone()]);
                    unheard.refuse(*call, &own);
                }
            }
            said = unheard.part(&own);
            beats += 1;
            assert!(beats <= count, "it never ends");
        }
        (heard, beats)
    }

    #[test]
    fn each_is_heard_once_and_as_fast_as_there_is_room() {
        for (count, room) in [(10, 10), (200, 50), (1_000, 3), (500, 1)] {
            let (heard, beats) = say_all(count, room);
            assert_eq!(heard, vec![1; count]);
            assert_eq!(beats, count.div_ceil(room), "{count} {room}");
        }
    }

    #[test]
    fn what_is_said_anew_is_not_said_again() {
        let own = roles(3);
        let mut unheard = Unheard::default();
        unheard.name(DEMAND, own.clone());
        unheard.refuse(DEMAND, &own);
        unheard.say(DEMAND, &own[1..2]);
        unheard.say(CallKind::Revive, &own[2..]);
        let left = [&own[0], &own[2]].map(|role| (DEMAND, role.clone()));
        assert_eq!(unheard.part(&own), left);
        assert_eq!(unheard.part(&own), []);
        // Refused once more, it waits behind others.
        unheard.name(DEMAND, own[..2].to_vec());
        unheard.say(DEMAND, &own[..1]);
        unheard.name(DEMAND, own[..1].to_vec());
        let turned = [&own[1], &own[0]].map(|role| (DEMAND, role.clone()));
        assert_eq!(unheard.part(&own), turned);
    }

    #[test]
    fn a_master_that_does_not_say_in_which_roles_may_mean_any() {
        let own = roles(2);
        let mut unheard = Unheard::default();
        unheard.refuse(DEMAND, &own);
        let all = own.iter().map(|role| (DEMAND, role.clone()));
        assert_eq!(unheard.part(&own), all.collect::<Vec<_>>());
        unheard.name(DEMAND, Vec::new());
        unheard.refuse(DEMAND, &own);
        assert_eq!(unheard.part(&own), [], "it has said that it means none");
    }

    #[test]
    fn nothing_is_said_of_a_role_that_was_left() {
        let own = roles(2);
        let mut unheard = Unheard::default();
        unheard.name(DEMAND, own.clone());
        assert_eq!(unheard.part(&own[1..]), [(DEMAND, own[1].clone())]);
    }
}
