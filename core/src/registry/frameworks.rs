//! Frameworks as they were let in, since when they are away, and why the last of them ended.
//!
//! So a framework that runs nothing outlives a master, the patience with one that stays away goes
//! on, and an id that has ended does not come back.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::ids::FrameworkId;
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::refusal::EndReason;
use crate::time::Time;

/// A framework as it was let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// What it last said about itself, with its id, and with its principal as the master or an
    /// agent knows it.
    pub info: Arc<FrameworkInfo>,
    /// Whether the id is certainly theirs: a master of this registry gave it, or an agent says so.
    pub vouched: bool,
    /// Since when it is away, if it is.
    pub away: Option<Time>,
}

/// Why a framework is over, since when, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) reason: EndReason,
    pub(crate) at: Time,
    principal: Option<String>,
}

/// All frameworks that live, and the last that ended. No id is in both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frameworks {
    enrolled: BTreeMap<FrameworkId, Enrolment>,
    ended: Book<FrameworkId, Ending>,
    /// Those that ended, oldest first; at most [`limits::ENDED_FRAMEWORKS`].
    order: VecDeque<FrameworkId>,
    /// The same by principal, oldest first; at most [`limits::ENDED_PER_PRINCIPAL`] each.
    former: BTreeMap<Option<String>, VecDeque<FrameworkId>>,
}

impl Frameworks {
    pub(super) fn get(&self, id: &FrameworkId) -> Option<&Enrolment> {
        self.enrolled.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&FrameworkId, &Enrolment)> + '_ {
        self.enrolled.iter()
    }

    /// Returns of how many that are over it is remembered why.
    pub(super) fn count_ended(&self) -> usize {
        self.ended.len()
    }

    pub(super) fn endings(&self) -> &Book<FrameworkId, Ending> {
        &self.ended
    }

    pub(super) fn endings_mut(&mut self) -> &mut Book<FrameworkId, Ending> {
        &mut self.ended
    }

    pub(super) fn end_of(&self, id: &FrameworkId) -> Option<EndReason> {
        self.ended.get(id).map(|ending| ending.reason)
    }

    /// Visits those that ended, oldest first.
    pub(super) fn ended(&self) -> impl Iterator<Item = (&FrameworkId, EndReason, Time)> + '_ {
        let ended = self.order.iter();
        ended.filter_map(|id| {
            let ending = self.ended.get(id)?;
            Some((id, ending.reason, ending.at))
        })
    }

    /// Takes in what a framework says about itself. Whether it is away stays.
    pub(super) fn enrol(&mut self, id: &FrameworkId, info: &Arc<FrameworkInfo>, vouched: bool) {
        self.forget_end(id);
        let away = self.enrolled.get(id).and_then(|known| known.away);
        let enrolment = Enrolment {
            info: Arc::clone(info),
            vouched,
            away,
        };
        self.enrolled.insert(id.clone(), enrolment);
    }

    pub(super) fn set_away(&mut self, id: &FrameworkId, away: Option<Time>) {
        if let Some(known) = self.enrolled.get_mut(id) {
            known.away = away;
        }
    }

    /// Notes that nobody is there who has not subscribed with the leadership that begins.
    pub(super) fn begin(&mut self, at: Time) {
        for known in self.enrolled.values_mut() {
            known.away.get_or_insert(at);
        }
    }

    /// Remembers why a framework is over. Whoever comes and goes again and again makes room
    /// himself: others stay remembered.
    pub(super) fn end(&mut self, id: &FrameworkId, reason: EndReason, at: Time) {
        let known = self.enrolled.get(id).map(|known| &known.info.principal);
        let known = known.or_else(|| self.ended.get(id).map(|ended| &ended.principal));
        let principal = known.cloned().flatten();
        self.forget(id);
        if planted(Mutant::FrameworkEndForgotten) {
            return;
        }
        let former = self.former.entry(principal.clone()).or_default();
        former.push_back(id.clone());
        let has_many = former.len() > limits::ENDED_PER_PRINCIPAL;
        let own = former.front().filter(|_| has_many).cloned();
        let ending = Ending {
            reason,
            at,
            principal,
        };
        self.ended.insert(id.clone(), ending);
        self.order.push_back(id.clone());
        let is_full = self.order.len() > limits::ENDED_FRAMEWORKS;
        let oldest = self.order.front().filter(|_| is_full).cloned();
        if let Some(oldest) = own.or(oldest) {
            self.forget_end(&oldest);
        }
    }

    /// Forgets whoever has, or had, this id.
    pub(super) fn forget(&mut self, id: &FrameworkId) {
        self.enrolled.remove(id);
        self.forget_end(id);
    }

    fn forget_end(&mut self, id: &FrameworkId) {
        let Some(Ending { principal, .. }) = self.ended.remove(id) else {
            return;
        };
        forget_in(&mut self.order, id);
        if let Some(former) = self.former.get_mut(&principal) {
            forget_in(former, id);
            if former.is_empty() {
                self.former.remove(&principal);
            }
        }
    }

    /// Returns whether no id is twice.
    pub(super) fn is_sound(&self) -> bool {
        self.ended.len() == self.order.len()
    }
}

/// Takes an id out of a line, at the front of which it mostly is.
fn forget_in(line: &mut VecDeque<FrameworkId>, id: &FrameworkId) {
    if line.front() == Some(id) {
        line.pop_front();
    } else {
        line.retain(|other| other != id);
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn id(n: usize) -> FrameworkId {
        FrameworkId::new(&format!("rio-1-{n:04}")).unwrap()
    }

    #[test]
    fn what_has_ended_is_remembered_within_a_bound() {
        // I22
        let mut frameworks = Frameworks::default();
        let last = limits::ENDED_FRAMEWORKS;
        for n in 0..=last {
            enrol(&mut frameworks, n, &format!("p{}", n % 11));
            frameworks.end(&id(n), EndReason::TornDown, Time::ZERO);
            // Said twice, it is there once.
            frameworks.end(&id(n), EndReason::TimedOut, Time::ZERO);
        }
        assert!(frameworks.is_sound());
        assert_eq!(frameworks.order.len(), limits::ENDED_FRAMEWORKS);
        assert_eq!(frameworks.end_of(&id(0)), None);
        assert_eq!(frameworks.end_of(&id(1)), Some(EndReason::TimedOut));
        assert_eq!(frameworks.end_of(&id(last)), Some(EndReason::TimedOut));
    }

    fn enrol(frameworks: &mut Frameworks, n: usize, principal: &str) {
        let info = FrameworkInfo {
            principal: Some(principal.into()),
            ..FrameworkInfo::new("web")
        };
        frameworks.enrol(&id(n), &Arc::new(info), true);
    }

    #[test]
    fn who_comes_and_goes_has_nobody_else_forgotten() {
        // SM-08, FW-27
        let mut frameworks = Frameworks::default();
        enrol(&mut frameworks, 0, "ann");
        frameworks.end(&id(0), EndReason::TornDown, Time::ZERO);
        let last = limits::ENDED_FRAMEWORKS;
        for n in 1..=last {
            enrol(&mut frameworks, n, "bob");
            frameworks.end(&id(n), EndReason::TornDown, Time::ZERO);
        }
        assert_eq!(frameworks.end_of(&id(0)), Some(EndReason::TornDown));
        assert_eq!(frameworks.count_ended(), 1 + limits::ENDED_PER_PRINCIPAL);
        assert_eq!(
            frameworks.end_of(&id(last - limits::ENDED_PER_PRINCIPAL)),
            None
        );
        assert!(frameworks.end_of(&id(last)).is_some() && frameworks.is_sound());
    }

    #[test]
    fn an_id_lives_or_has_ended() {
        let mut frameworks = Frameworks::default();
        let info = Arc::new(FrameworkInfo::new("web"));
        frameworks.enrol(&id(0), &info, true);
        frameworks.end(&id(0), EndReason::TornDown, Time::ZERO);
        assert_eq!(frameworks.get(&id(0)), None);
        frameworks.enrol(&id(0), &info, true);
        assert_eq!(frameworks.end_of(&id(0)), None);
        assert!(frameworks.is_sound());
    }
}
