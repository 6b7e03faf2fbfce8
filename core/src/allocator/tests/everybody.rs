//! The allocator against a look at everybody, who is never passed by.
//!
//! Changes of all kinds happen, and all options are tried. Nothing is said about who should have
//! what: only that the bits of interest, and whatever else spares looks, change nothing about it,
//! grant by grant; and that in the end nothing is left that somebody could have.

mod world;

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::allocator::Obstacle;
use crate::allocator::candidate::Stage;
use crate::allocator::cycle::Found;
use crate::allocator::drf::Packing;
use crate::allocator::packing::Place;
use crate::allocator::seats::LeafId;
use crate::allocator::tree::{NodeId, ROOT};
use crate::rng::Rng;
use world::World;

impl Drf {
    /// Finds who is next to have something of an agent by asking all, without a word from the bits
    /// of interest: those who waited for too long, then those who were drawn, then all others by
    /// share.
    pub(in crate::allocator) fn first_of_all(
        &self,
        stage: Stage,
        agent: usize,
        drawn: &[LeafId],
        is_asked: impl Fn(LeafId) -> bool,
    ) -> Option<(LeafId, Cow<'_, Resources>)> {
        let mut all: Vec<LeafId> = Vec::new();
        if let Some(age) = self.options.ageing {
            let mut aged: Vec<_> = self
                .seats
                .iter()
                .filter(|(_, seat)| seat.since + age <= self.now)
                .map(|(leaf, seat)| (seat.since, leaf))
                .collect();
            aged.sort_unstable();
            all.extend(aged.into_iter().map(|it| it.1));
        }
        all.extend(drawn);
        self.in_order(ROOT, &mut all);
        let row = self.ledger.at(agent).expect("it is looked at");
        let may = |leaf: &LeafId| self.seats.may_be_offered(*leaf) && is_asked(*leaf);
        let mut able = all.into_iter().filter(may);
        able.find_map(|leaf| Some((leaf, self.candidate(stage, row, leaf).ok()?)))
    }

    /// Finds the agent where a taker is granted something by looking at all of them in their order.
    pub(in crate::allocator) fn packed_of_all(
        &self,
        places: &BTreeSet<Place>,
        stage: Stage,
        agent: usize,
        leaf: LeafId,
    ) -> (usize, Found) {
        let mut agents: Vec<usize> = places.iter().map(|it| it.1).collect();
        if self.packing(leaf) == Packing::Spread {
            agents.reverse();
        }
        let found = |agent: usize| {
            let row = self.ledger.at(agent).filter(|row| row.is_offerable())?;
            let candidate = self.candidate(stage, row, leaf).ok()?;
            Some((agent, Found::new(leaf, candidate)))
        };
        agents
            .into_iter()
            .take_while(|it| *it != agent)
            .filter(|it| !self.waits_for_bounds(*it, leaf))
            .find_map(found)
            .unwrap_or_else(|| found(agent).expect("it was found there"))
    }

    /// Returns whether refusals are over that were not taken in yet: then some are passed by who
    /// have their turn later.
    pub(in crate::allocator) fn is_late(&self) -> bool {
        self.filters.next_lapse().is_some_and(|at| at <= self.now)
    }

    fn in_order(&self, above: NodeId, into: &mut Vec<LeafId>) {
        for entry in &self.tree.node(above).order {
            match self.tree.leaf_of(entry.node) {
                Some(leaf) => into.push(leaf),
                None => self.in_order(entry.node, into),
            }
        }
    }
}

/// As many as are tried in some twenty seconds.
const CASES: u32 = 3_000;

/// What happens: a kind, a pause in milliseconds before it, and what its details are drawn from.
type Step = (u8, u64, u64);

/// Two allocators that hear the same, of which one looks at everybody.
struct Two {
    one: Drf,
    other: Drf,
    world: World,
    now: Time,
}

impl Two {
    fn new(seed: u64) -> Self {
        let options = world::options(&mut Rng::new(seed));
        let mut other = Drf::new(options.clone());
        other.looks_at_all = true;
        Self {
            one: Drf::new(options),
            other,
            world: World::default(),
            now: Time::ZERO,
        }
    }

    /// Has both do something, and hears what both say of it.
    fn both(&mut self, does: impl Fn(&mut Drf, &mut Outbox<Never, Decision>)) {
        let (mut one, mut other) = (Outbox::new(), Outbox::new());
        does(&mut self.one, &mut one);
        does(&mut self.other, &mut other);
        let said: Vec<_> = one.drain().collect();
        let others: Vec<_> = other.drain().collect();
        assert_eq!(said, others, "at {:?}, to a look at everybody", self.now);
        self.one.check_invariants();
        assert_eq!(self.one.deadline(), self.other.deadline());
        for output in said {
            match output {
                Output::Effect(decision) => self.world.hear(decision),
                Output::Persist(_) | Output::Free(_) => panic!("{output:?}"),
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        self.both(|drf, out| drf.tick(now, out));
    }

    fn step(&mut self, (kind, pause, seed): Step) {
        let mut rng = Rng::new(seed);
        self.now = self.now + Duration::from_millis(pause);
        if let Some(change) = self.world.next(kind, &mut rng) {
            let now = self.now;
            self.both(|drf, out| drf.handle(now, change.clone(), out));
            self.world.take_in(change);
        }
        // Now and then a pass is not finished when something else happens.
        match rng.below(6) {
            0 => {}
            1 => self.tick(),
            _ => self.finish(self.now),
        }
    }

    /// Does all that is due until a moment.
    fn finish(&mut self, end: Time) {
        let mut turns = 0;
        while let Some(due) = self.one.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.tick();
            turns += 1;
            assert!(turns < 5_000, "there is no end to it");
        }
    }

    /// Waits until nothing is due but what was refused for long, and looks at what is left. Nothing
    /// happens meanwhile, so whatever is looked at again was planned when something did.
    fn come_to_rest(&mut self) {
        for _ in 0..3 {
            let end = self.now + Duration::from_secs(3);
            self.finish(end);
            self.now = end;
            self.tick();
            self.finish(end);
        }
        if self.one.stats().recovering || self.one.is_late() {
            return;
        }
        for (key, row) in self.one.ledger.iter().filter(|(_, row)| row.is_offerable()) {
            let at = key.index() as usize;
            let left = self.one.first_of_all(Stage::FairShare, at, &[], |_| true);
            assert_eq!(left, None, "left of {key:?}, which has {}", row.free());
        }
        self.check_explanations();
    }

    /// Checks that whoever is not offered an agent is told why.
    fn check_explanations(&self) {
        for (_, seat) in self.one.seats.iter() {
            let role = self.one.tree.role(seat.role);
            for (agent, obstacle) in self.one.explain(seat.framework, role) {
                let place = (seat.framework, role, agent);
                assert_ne!(obstacle, Obstacle::None, "of {place:?}");
            }
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![3 => Just(0u64), 1 => 0u64..1_500, 1 => Just(1_000)];
    (0u8..34, pause, any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    // C7, AL-08, AL-40, OF-41, OF-47: whoever is passed by could have had nothing
    #[test]
    fn nobody_is_passed_by_who_could_have_something(
        steps in prop::collection::vec(any_step(), 0..120),
        seed in any::<u64>(),
    ) {
        let mut two = Two::new(seed);
        for step in steps {
            two.step(step);
        }
        two.come_to_rest();
    }
}
