//! The table of wishes that the master had no room for: they are said again, as they are by then,
//! in parts, one with each heartbeat, oldest first. What is refused of a part comes again, and what
//! is heard does not, so that all are heard in the end however short the line is.
//!
//! A master of a protocol before [`Version::UNHEARD`](crate::protocol::version::Version::UNHEARD)
//! does not say which wish it was: then any may be meant, and all are said again, in parts that get
//! smaller with each that is not heard as a whole. If that does not end, its user hears of it.
//!
//! Written and said by `wishes`.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::limits;
use crate::protocol::refusal::CallKind;
use crate::roles::Role;

/// What is to be said again, by the kind of the call and the role.
#[derive(Debug)]
pub(super) struct Unheard {
    /// In turn, each once: at most three for each role of our own, one of each kind.
    again: VecDeque<(CallKind, Role)>,
    /// The same.
    waiting: BTreeSet<(CallKind, Role)>,
    /// Of which kind the call is that is turned down next, if its roles are known, and whether all
    /// of them are our own.
    named: Option<(CallKind, bool)>,
    /// How many are said at a time.
    part: usize,
    /// Whether something was refused since the last part that may be any of it.
    is_unclear: bool,
    /// How often that was so, since nothing was to be said again.
    unclear: u32,
}

/// How often all is said again, for it is not clear what was not heard.
const MOST_UNCLEAR: u32 = 100;

impl Default for Unheard {
    fn default() -> Self {
        Self {
            again: VecDeque::new(),
            waiting: BTreeSet::new(),
            named: None,
            part: limits::WISHES_SAID,
            is_unclear: false,
            unclear: 0,
        }
    }
}

impl Unheard {
    /// The most that may be said again.
    pub(super) const MOST: usize = 3 * limits::ROLES_PER_FRAMEWORK;

    pub(super) fn len(&self) -> usize {
        self.again.len()
    }

    /// Notes in which roles the call was not heard that is turned down next; none means all of our
    /// own.
    pub(super) fn name(&mut self, call: CallKind, roles: &[Role], own: &[Role]) {
        let roles = if roles.is_empty() { own } else { roles };
        let mine: BTreeSet<&Role> = own.iter().collect();
        // Nothing is done of what names a role of others.
        let is_own = roles.iter().all(|role| mine.contains(role));
        self.named = Some((call, is_own));
        if is_own {
            roles.iter().for_each(|role| self.add(call, role));
        }
    }

    /// Notes that the master has no room for a call of this kind. Returns whether it is said again:
    /// one that names a role of others is not.
    pub(super) fn refuse(&mut self, call: CallKind, own: &[Role]) -> bool {
        if let Some((_, is_own)) = self.named.take_if(|(named, _)| *named == call) {
            return is_own;
        }
        if self.unclear >= MOST_UNCLEAR {
            return false;
        }
        self.is_unclear = true;
        own.iter().for_each(|role| self.add(call, role));
        true
    }

    fn add(&mut self, call: CallKind, role: &Role) {
        let one = (call, role.clone());
        if self.waiting.insert(one.clone()) {
            self.again.push_back(one);
        }
    }

    /// Notes that something is said in these roles: what was not heard there before is void.
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

    /// Notes that an update holds, which has said all but that refusals are to be forgotten.
    pub(super) fn update(&mut self, own: &[Role]) {
        let own: BTreeSet<&Role> = own.iter().collect();
        let again = &mut self.again;
        again.retain(|(call, role)| *call == CallKind::Revive && own.contains(role));
        self.waiting = self.again.iter().cloned().collect();
    }

    /// There was a heartbeat: takes out what is to be said now. In a role that is not our own any
    /// more there is nothing to say.
    pub(super) fn part(&mut self, own: &[Role]) -> Vec<(CallKind, Role)> {
        if core::mem::take(&mut self.is_unclear) {
            self.part = (self.part / 2).max(1);
            self.unclear += 1;
        } else if self.again.is_empty() {
            self.part = limits::WISHES_SAID;
            self.unclear = 0;
        }
        let own: BTreeSet<&Role> = own.iter().collect();
        self.again.retain(|(_, role)| own.contains(role));
        let part = self.again.len().min(self.part);
        let said = self.again.drain(..part).collect();
        self.waiting = self.again.iter().cloned().collect();
        said
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;
    use core::slice;

    use super::*;

    const DEMAND: CallKind = CallKind::Demand;

    fn roles(count: usize) -> Vec<Role> {
        (0..count)
            .map(|n| Role::new(&format!("r{n:03}")).unwrap())
            .collect()
    }

    /// Says all, to a line that has room for so many between two heartbeats; returns how often each
    /// was heard and after how many heartbeats nothing is said any more.
    fn say_all(count: usize, room: usize, names: bool) -> (Vec<u32>, usize) {
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
                    if names {
                        unheard.name(*call, slice::from_ref(role), &own);
                    }
                    assert!(unheard.refuse(*call, &own));
                }
            }
            said = unheard.part(&own);
            beats += 1;
            assert!(beats <= 2 * count, "it never ends");
        }
        (heard, beats)
    }

    #[test]
    fn each_is_heard_once_and_as_fast_as_there_is_room() {
        for (count, room) in [(10, 10), (200, 50), (1_000, 3), (500, 1)] {
            let (heard, beats) = say_all(count, room, true);
            assert_eq!(heard, vec![1; count]);
            assert_eq!(beats, count.div_ceil(room), "{count} {room}");
        }
    }

    #[test]
    fn a_master_that_does_not_say_in_which_roles_hears_all_in_the_end() {
        for (count, room) in [(10, 10), (200, 50), (1_000, 3), (500, 1), (12, 11)] {
            let (heard, _) = say_all(count, room, false);
            assert!(heard.iter().all(|times| *times > 0), "{count} {room}");
        }
    }

    #[test]
    fn what_is_said_anew_is_not_said_again() {
        let own = roles(3);
        let mut unheard = Unheard::default();
        let not_heard = |unheard: &mut Unheard, roles: &[Role]| {
            unheard.name(DEMAND, roles, &own);
            unheard.refuse(DEMAND, &own)
        };
        assert!(not_heard(&mut unheard, &own));
        unheard.say(DEMAND, &own[1..2]);
        unheard.say(CallKind::Revive, &own[2..]);
        let left = [&own[0], &own[2]].map(|role| (DEMAND, role.clone()));
        assert_eq!(unheard.part(&own), left);
        assert_eq!(unheard.part(&own), []);
        // Refused once more, it waits behind others.
        assert!(not_heard(&mut unheard, &own[..2]));
        unheard.say(DEMAND, &own[..1]);
        assert!(not_heard(&mut unheard, &own[..1]));
        let turned = [&own[1], &own[0]].map(|role| (DEMAND, role.clone()));
        assert_eq!(unheard.part(&own), turned);
        // Without a name all are meant.
        assert!(not_heard(&mut unheard, &[]));
        assert_eq!(unheard.part(&own).len(), 3);
    }

    #[test]
    fn of_roles_of_others_nothing_is_said() {
        let own = roles(2);
        let mut unheard = Unheard::default();
        let strange = Role::new("strange").unwrap();
        for roles in [&[strange.clone()][..], &[own[0].clone(), strange]] {
            unheard.name(DEMAND, roles, &own);
            assert!(!unheard.refuse(DEMAND, &own), "its user hears of it");
            assert_eq!(unheard.part(&own), []);
        }
        // Nor of one that was left.
        unheard.name(DEMAND, &own, &own);
        assert!(unheard.refuse(DEMAND, &own));
        assert_eq!(unheard.part(&own[1..]), [(DEMAND, own[1].clone())]);
    }

    #[test]
    fn an_update_that_holds_has_said_all_but_revivals() {
        let own = roles(1);
        let mut unheard = Unheard::default();
        for call in [DEMAND, CallKind::Suppress, CallKind::Revive] {
            unheard.name(call, &own, &own);
            assert!(unheard.refuse(call, &own));
        }
        unheard.update(&own);
        assert_eq!(unheard.part(&own), [(CallKind::Revive, own[0].clone())]);
        // In roles that it has left nothing is to be revived.
        unheard.name(CallKind::Revive, &own, &own);
        unheard.update(&[]);
        assert_eq!(unheard.len(), 0);
    }

    #[test]
    fn a_line_that_hears_nothing_is_not_told_for_ever() {
        let own = roles(2);
        let mut unheard = Unheard::default();
        let beats = (0..1_000).take_while(|_| {
            let is_said_again = unheard.refuse(DEMAND, &own);
            unheard.part(&own);
            is_said_again
        });
        assert_eq!(beats.count(), MOST_UNCLEAR as usize);
        // What is left is said once more, and then it begins anew.
        while !unheard.part(&own).is_empty() {}
        unheard.part(&own);
        assert!(unheard.refuse(DEMAND, &own));
    }
}
