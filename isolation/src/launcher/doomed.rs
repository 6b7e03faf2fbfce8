//! The control groups of ended containers, until they are removed. What is in one may die slowly,
//! and one that will not die must not cost more and more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::log;
use crate::cgroup::Group;

/// The most groups that are tried in a turn.
const TRIES_PER_TURN: usize = 16;
/// The pause before a group is tried again, at first; it doubles each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// The pause that does not grow any more.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Groups to be removed.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    fresh: VecDeque<Group>,
    stuck: Vec<Stuck>,
}

/// A group that could not be removed yet.
#[derive(Debug)]
struct Stuck {
    group: Group,
    pause: Duration,
    due: Instant,
}

impl Doomed {
    /// Adds a group whose container has ended.
    pub(super) fn push(&mut self, group: Group) {
        self.fresh.push_back(group);
    }

    /// Adds the group of a container that has ended, if it had one.
    pub(super) fn extend(&mut self, group: Option<Group>) {
        self.fresh.extend(group);
    }

    /// Returns whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.stuck.is_empty()
    }

    /// Returns when the next try is due.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if !self.fresh.is_empty() {
            return Some(now);
        }
        self.stuck.iter().map(|stuck| stuck.due).min()
    }

    /// Names what is left.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let groups = self.fresh.iter();
        let groups = groups.chain(self.stuck.iter().map(|stuck| &stuck.group));
        groups.map(Group::name)
    }

    /// Removes some of those that are due.
    pub(super) fn remove_some(&mut self, now: Instant) {
        let mut tries = 0;
        let mut index = 0;
        while let Some(stuck) = self.stuck.get_mut(index).filter(|_| tries < TRIES_PER_TURN) {
            index += 1;
            if stuck.due > now {
                continue;
            }
            tries += 1;
            if stuck.try_again(now) {
                index -= 1;
                self.stuck.swap_remove(index);
            }
        }
        while let Some(group) = self.fresh.pop_front_if(|_| tries < TRIES_PER_TURN) {
            tries += 1;
            if group.remove().is_err() {
                self.stuck.push(Stuck {
                    group,
                    pause: SHORTEST_PAUSE,
                    due: now + SHORTEST_PAUSE,
                });
            }
        }
    }
}

impl Stuck {
    /// Returns whether it is gone.
    fn try_again(&mut self, now: Instant) -> bool {
        let Err(error) = self.group.remove() else {
            return true;
        };
        if self.pause < LONGEST_PAUSE {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            if self.pause == LONGEST_PAUSE {
                log(&format!(
                    "something of an ended container will not die: {error}"
                ));
            }
        }
        self.due = now + self.pause;
        false
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cgroup::Hierarchies;

    /// A group that cannot be removed as long as there is a file in it.
    fn held(top: &Path, name: &str) -> Group {
        let group = Hierarchies::version_2(top.to_owned()).group("r", name);
        fs::create_dir_all(top.join("r").join(name)).unwrap();
        fs::write(top.join("r").join(name).join("held"), "").unwrap();
        group.unwrap()
    }

    #[test]
    fn what_does_not_go_is_tried_ever_more_rarely_and_others_are_not_held_up() {
        let dir = tempfile::tempdir().unwrap();
        let begin = Instant::now();
        let mut doomed = Doomed::default();
        doomed.push(held(dir.path(), "held"));
        let mut tries = 0;
        for ms in 0..10_000 {
            let now = begin + Duration::from_millis(ms);
            if doomed.due(now).unwrap() <= now {
                tries += 1;
                doomed.remove_some(now);
            }
        }
        assert!((10..30).contains(&tries), "{tries} tries in 10 s");

        let easy = dir.path().join("r/easy");
        fs::create_dir(&easy).unwrap();
        let group = Hierarchies::version_2(dir.path().to_owned()).group("r", "easy");
        doomed.push(group.unwrap());
        doomed.remove_some(begin);
        assert!(!easy.exists());
        assert_eq!(doomed.names().collect::<Vec<_>>(), ["held"]);

        fs::remove_dir_all(dir.path().join("r/held")).unwrap();
        doomed.remove_some(begin + Duration::from_secs(20));
        assert!(doomed.is_empty());
    }
}
