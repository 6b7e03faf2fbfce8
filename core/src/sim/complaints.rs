//! Who was served before somebody who had less and could have used the same: the fairness of a
//! trace (P18).
//!
//! Dominant resource fairness (Ghodsi et al., NSDI 2011, algorithm 1) gives the next task to who
//! has the lowest dominant share *and whose task fits*. So what it promises of indivisible tasks on
//! many machines is said of each start: nobody is served in front of a user who has less and whose
//! task has room in the same place. To whom nothing fits that is free it promises nothing, and
//! tasks that run are not taken back for who comes later: shares may differ as they like then, and
//! the difference is not held against whoever shares out.
//!
//! A user *has a complaint* about a start of another one's task if a kind of task that it asked for
//! would have fitted into what was left of that very offer before the start, and waits on. How
//! justified it is, is how far the other is ahead with the task that was started. Up to one task is
//! due, because tasks are not divided; more than the largest task is not.
//!
//! What two know at a moment differs by what is on its way. So a complaint must hold throughout
//! a window around the start, which is as long as a question and its answer take at most: the kind
//! was asked for before it begins and waits when it ends, and the share counts that was the largest
//! meanwhile. And an offer is all that is free of an agent: whoever starts several tasks in one may
//! be ahead by so much, where agents have room for many tasks. That is not excused here.
//!
//! Read by [`super::trace`]. Deliberately not here: weights and guarantees, which no trace has.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::{replace, take};
use core::time::Duration;

use super::report::dominant_share;
use super::workload::{Board, Deed, Shape};
use crate::constraints::Subject;
use crate::protocol::offer::Offer;
use crate::resources::{Quantities, Resources};
use crate::time::Time;

/// Hears what users do, in order, and compares them at each start of a task.
#[derive(Debug)]
pub(super) struct Complaints {
    /// What all have together.
    total: Quantities,
    /// For how long before and after a start a complaint must hold.
    window: Duration,
    users: Vec<User>,
    /// Users who ask for something, by what they have.
    asking: BTreeSet<(u64, usize)>,
    /// Starts whose window is open.
    open: VecDeque<Start>,
    /// More than so much is not due.
    due: u64,
    /// How many starts were heard of.
    pub(super) starts: u64,
    /// About how many of them somebody has a complaint of more than is due.
    pub(super) justified: u64,
    /// The largest complaint since it was asked for.
    most: u64,
}

/// What is known of one user.
#[derive(Debug, Default)]
struct User {
    holds: Quantities,
    share: u64,
    /// What it had before, and until when: only what was more than anything after it.
    former: VecDeque<(u64, Time)>,
    /// The kinds that it asks for, each with since when.
    asks: Vec<(usize, Time)>,
}

/// A task that was started.
#[derive(Debug)]
struct Start {
    at: Time,
    user: usize,
    /// What the user had then, with this task.
    share: u64,
    /// What was left of the offer before it.
    left: Resources,
    /// Whose it was, and what is said of the agent.
    offer: Arc<Offer>,
}

impl Complaints {
    /// Begins with users who have nothing. Shares are of `total`, in millionths, and a complaint of
    /// more than `due` counts.
    pub(super) fn new(users: usize, total: Quantities, window: Duration, due: u64) -> Self {
        Self {
            total,
            window,
            users: (0..users).map(|_| User::default()).collect(),
            asking: BTreeSet::new(),
            open: VecDeque::new(),
            due,
            starts: 0,
            justified: 0,
            most: 0,
        }
    }

    /// Hears what users have done since the last time, each in order, up to `until`.
    pub(super) fn hear(&mut self, until: Time, deeds: Vec<Vec<(Time, Deed)>>, boards: &[&Board]) {
        let each = (0..).zip(deeds).flat_map(|(user, deeds)| {
            let of_user = deeds.into_iter();
            of_user.map(move |(at, deed)| (at, user, deed))
        });
        let mut all: Vec<(Time, usize, Deed)> = each.collect();
        // Stable: what one user does at a moment stays in order.
        all.sort_by_key(|(at, user, _)| (*at, *user));
        for (at, user, deed) in all {
            self.judge(at, boards);
            self.note(at, user, deed, boards);
        }
        self.judge(until, boards);
    }

    /// Compares users at all starts whose windows are open, by what is known now.
    pub(super) fn finish(&mut self, now: Time, boards: &[&Board]) {
        self.judge(now + self.window + Duration::from_micros(1), boards);
    }

    /// Takes the largest complaint since this was asked before, of starts whose windows have ended.
    pub(super) fn take_most(&mut self) -> u64 {
        take(&mut self.most)
    }

    fn note(&mut self, at: Time, user: usize, deed: Deed, boards: &[&Board]) {
        let shapes = &boards[user].shapes;
        match deed {
            Deed::Asked(kind) => self.ask(user, |asks| asks.push((kind, at))),
            Deed::Withdrew(kind) => self.ask(user, |asks| asks.retain(|(it, _)| *it != kind)),
            Deed::Took(offer, kinds) => self.take(at, user, offer, &kinds, shapes),
            Deed::Ended(kind) => {
                let needs = shapes[kind].needs.total();
                self.hold(at, user, |holds| holds.saturating_sub(&needs));
            }
        }
    }

    fn ask(&mut self, user: usize, change: impl FnOnce(&mut Vec<(usize, Time)>)) {
        let row = &mut self.users[user];
        change(&mut row.asks);
        if row.asks.is_empty() {
            self.asking.remove(&(row.share, user));
        } else {
            self.asking.insert((row.share, user));
        }
    }

    fn hold(&mut self, at: Time, user: usize, change: impl FnOnce(&mut Quantities)) {
        let row = &mut self.users[user];
        change(&mut row.holds);
        let before = replace(&mut row.share, dominant_share(&row.holds, &self.total));
        while row
            .former
            .pop_back_if(|(share, _)| *share <= before)
            .is_some()
        {}
        row.former.push_back((before, at));
        // No start is compared any more whose window began before that ended.
        let window = 2 * self.window;
        while row
            .former
            .pop_front_if(|(_, until)| *until + window < at)
            .is_some()
        {}
        if self.asking.remove(&(before, user)) {
            self.asking.insert((row.share, user));
        }
    }

    fn take(&mut self, at: Time, user: usize, offer: Box<Offer>, kinds: &[usize], of: &[Shape]) {
        let offer = Arc::<Offer>::from(offer);
        let mut left = offer.resources.clone();
        for kind in kinds {
            let needs = &of[*kind].needs;
            self.hold(at, user, |holds| holds.add(&needs.total()));
            let rest = left.checked_sub(needs);
            let rest = rest.expect("a task is started in what is left of an offer");
            self.open.push_back(Start {
                at,
                user,
                share: self.users[user].share,
                left: replace(&mut left, rest),
                offer: offer.clone(),
            });
        }
    }

    /// Compares users at starts whose windows have ended before `now`.
    fn judge(&mut self, now: Time, boards: &[&Board]) {
        let window = self.window;
        while let Some(start) = self.open.pop_front_if(|start| start.at + window < now) {
            let complaint = self.complaint(&start, boards);
            self.starts += 1;
            self.justified += u64::from(complaint > self.due);
            self.most = self.most.max(complaint);
        }
    }

    /// Returns by how much the one who started a task is ahead of whoever could complain most.
    fn complaint(&self, start: &Start, boards: &[&Board]) -> u64 {
        let subject = Subject {
            hostname: &start.offer.hostname,
            attributes: &start.offer.attributes,
            region: None,
            zone: None,
            total: &start.offer.resources,
            offered: &start.left,
        };
        let mut most = 0;
        // Whoever has least first; nobody after one who is close enough can be further behind.
        for (share, user) in &self.asking {
            if share + most >= start.share {
                break;
            }
            if *user == start.user {
                continue;
            }
            let row = &self.users[*user];
            let ahead = start
                .share
                .saturating_sub(row.largest(start.at, self.window));
            let shapes = &boards[*user].shapes;
            let mut asks = row.asks.iter();
            let is_passed_over = ahead > most
                && asks.any(|(kind, since)| {
                    *since + self.window < start.at && shapes[*kind].fits(&subject)
                });
            if is_passed_over {
                most = ahead;
            }
        }
        most
    }
}

impl User {
    /// Returns the largest share that it had since a window before `at`.
    fn largest(&self, at: Time, window: Duration) -> u64 {
        let mut former = self.former.iter();
        let since = former.find(|(_, until)| *until + window >= at);
        since.map_or(self.share, |(share, _)| self.share.max(*share))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::ids::{AgentId, FrameworkId, OfferId};
    use crate::roles::Role;
    use crate::sim::trace::Job;
    use crate::sim::workload::{Asking, Replay};

    fn user(kinds: &[&str]) -> Replay {
        let job = |needs: &&str| Job {
            user: Role::any(),
            at: Duration::ZERO,
            lasts: Duration::ZERO,
            needs: Resources::parse(needs).unwrap(),
            constraints: None,
            tasks: 1,
        };
        Replay::new(Role::any(), Asking::Offers, kinds.iter().map(job).collect())
    }

    fn took(resources: &str, kinds: &[usize]) -> Deed {
        let agent = AgentId::new("a").unwrap();
        let (framework, offer) = (FrameworkId::new("f").unwrap(), OfferId::new("o").unwrap());
        let resources = Resources::parse(resources).unwrap();
        let offer = Offer::new(offer, framework, agent, resources);
        Deed::Took(Box::new(offer), kinds.to_vec())
    }

    /// Returns the largest complaint and how many were justified, where one user takes 20 cores of
    /// an offer, and 20 more, after 100 ms, in a cluster of 100.
    fn complaints(offer: &str, other: Vec<(u64, Deed)>) -> (u64, u64) {
        let users = [user(&["cpus:20"]), user(&["cpus:4", "mem:8", "cpus:30"])];
        let boards: Vec<&Board> = users.iter().map(Replay::board).collect();
        let total = Quantities::parse("cpus:100;mem:100").unwrap();
        let window = Duration::from_millis(10);
        let mut all = Complaints::new(2, total, window, 200_000);
        let deeds = [vec![(100, took(offer, &[0, 0]))], other];
        let deeds = deeds.map(|deeds| {
            let deeds = deeds.into_iter();
            deeds
                .map(|(ms, deed)| (Time::from_micros(1_000 * ms), deed))
                .collect()
        });
        let soon = Time::from_micros(105_000);
        all.hear(soon, deeds.into(), &boards);
        all.finish(soon, &boards);
        (all.take_most(), all.justified)
    }

    // P18, AL-14
    #[test]
    fn whoever_has_less_and_could_have_used_the_place_may_complain() {
        use Deed::{Asked, Ended, Withdrew};
        let roomy = "cpus:40";
        // It waits all the time: the first task is due, the second is not.
        assert_eq!(complaints(roomy, vec![(0, Asked(0))]), (400_000, 1));
        // What it waits for has no room there, or none is left of it.
        assert_eq!(complaints(roomy, vec![(0, Asked(1))]), (0, 0));
        assert_eq!(complaints(roomy, vec![(0, Asked(2))]), (200_000, 0));
        assert_eq!(
            complaints(roomy, vec![(0, Asked(1)), (0, Asked(0))]).0,
            400_000
        );
        // It came, or got what it wanted, at about the same time.
        assert_eq!(complaints(roomy, vec![(95, Asked(0))]), (0, 0));
        assert_eq!(
            complaints(roomy, vec![(0, Asked(0)), (104, Withdrew(0))]),
            (0, 0)
        );
        assert_eq!(
            complaints(roomy, vec![(0, Asked(0)), (115, Withdrew(0))]).1,
            1
        );
        // It has as much, or had it a moment ago, or has it a moment later.
        let has = |rest: Vec<(u64, Deed)>| {
            let mut deeds = vec![(0, Asked(0)), (1, took("cpus:30", &[2]))];
            deeds.extend(rest);
            complaints(roomy, deeds)
        };
        assert_eq!(has(vec![]), (100_000, 0));
        assert_eq!(has(vec![(95, Ended(2))]), (100_000, 0));
        assert_eq!(has(vec![(80, Ended(2))]), (400_000, 1));
        let late = vec![(0, Asked(0)), (104, took("cpus:30", &[2]))];
        assert_eq!(complaints(roomy, late), (100_000, 0));
    }
}
