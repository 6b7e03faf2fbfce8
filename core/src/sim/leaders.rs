//! A master that has lost the lead and does not know: it goes on with whoever is still connected to
//! it, and with some who find it yet. But nothing that it writes becomes durable any more, and
//! another leads, from what was committed.
//!
//! Part of the world. By the journal's contract a record is committed, or the lead is lost: so all
//! that the old one still says must rest on what was committed before, and whoever has heard of the
//! new one must not act on what the old one says (I18, I19; [`super::check::leaders`]).

use alloc::collections::BTreeSet;
use core::time::Duration;

use super::fault::Kind;
use super::node::Node;
use super::options::Span;
use super::queue::{Event, Name};
use super::world::World;
use crate::ids::PeerId;
use crate::master::{Input, Master};
use crate::rng::Rng;

/// How long it takes until another leads.
const ELECTION: Span = Span::millis(10, 5_000);

/// How often a client may look for a master anew, but for one time, while there are two.
const TURNS: u64 = 6;

/// A master without the lead.
#[derive(Debug)]
pub(super) struct Zombie {
    pub(super) node: Node<Master>,
    /// The connections up to this one are its own.
    last: PeerId,
    /// And these, of clients that have found it and not its successor.
    late: BTreeSet<PeerId>,
    /// Decides who finds it.
    chance: Rng,
    /// Which of all zombies it is.
    n: u32,
}

impl Zombie {
    fn has(&self, peer: PeerId) -> bool {
        peer <= self.last || self.late.contains(&peer)
    }
}

impl World {
    /// Lets the master lose the lead without a word. It ends after a while.
    pub(super) fn lose_lead(&mut self, lasting: Duration, rng: &mut Rng) {
        if self.master.machine().is_none() {
            return;
        }
        if let Some(earlier) = self.zombie.as_ref().map(|zombie| zombie.n) {
            self.bury(earlier, rng);
        }
        self.shared.hit(Name::Master, Kind::LostLead);
        let last = self.net.newest();
        let node = self.master.depose(rng);
        self.zombies += 1;
        let n = self.zombies;
        self.zombie = Some(Zombie {
            node,
            last,
            late: BTreeSet::new(),
            chance: rng.fork(),
            n,
        });
        let now = self.shared.now;
        self.plan_turns(n, lasting, rng);
        let chance = rng.next_u64();
        let end = Event::Bury { zombie: n, chance };
        self.shared.queue.plan(now + lasting, end);
        self.plan_restart(Name::Master, ELECTION.draw(rng));
    }

    /// Plans that some clients are torn between a master without the lead and its successor.
    fn plan_turns(&mut self, zombie: u32, lasting: Duration, rng: &mut Rng) {
        if self.options.faults.old_master_one_in == 0 {
            return;
        }
        for client in self.clients() {
            let mut chance = rng.fork();
            for _ in 0..chance.below(TURNS) {
                let turn = Event::Turn { client, zombie };
                let at = self.shared.now + chance.jitter(lasting);
                self.shared.queue.plan(at, turn);
            }
        }
    }

    /// Lets a client look for a master anew; the one that it leaves finds out after a while.
    pub(super) fn turn(&mut self, client: Name, zombie: u32) {
        if self.zombie.as_ref().is_some_and(|it| it.n == zombie) {
            let mut rng = self.orders.fork();
            let queue = &mut self.shared.queue;
            self.net.crash(self.shared.now, client, &mut rng, queue);
        }
    }

    /// Ends a master without the lead, if it is still there: its connections break.
    pub(super) fn bury(&mut self, n: u32, rng: &mut Rng) {
        if let Some(zombie) = self.zombie.take_if(|zombie| zombie.n == n) {
            let shared = &mut self.shared;
            let is_own = |peer| zombie.has(peer);
            self.net
                .crash_those(shared.now, is_own, rng, &mut shared.queue);
        }
    }

    /// Somebody dials: he may reach the master without the lead, and know the other already.
    pub(super) fn may_reach_zombie(&mut self, peer: PeerId) {
        let one_in = self.options.faults.old_master_one_in;
        if let Some(zombie) = self.zombie.as_mut().filter(|_| one_in > 0)
            && zombie.chance.chance(1, one_in)
        {
            zombie.late.insert(peer);
        }
    }

    /// Returns whether a connection is to the master without the lead.
    pub(super) fn is_of_zombie(&self, peer: PeerId) -> bool {
        self.zombie.as_ref().is_some_and(|zombie| zombie.has(peer))
    }

    pub(super) fn zombie_hears(&mut self, input: Input) {
        if let Some(zombie) = &mut self.zombie {
            zombie.node.handle(input, &mut self.shared, |_, _| {});
        }
        self.flush_zombie();
    }

    pub(super) fn wake_zombie(&mut self) {
        let shared = &mut self.shared;
        let woken = |zombie: &mut Zombie| zombie.node.wake(shared, |_, _| {});
        if self.zombie.as_mut().is_some_and(woken) {
            self.flush_zombie();
        }
    }

    fn flush_zombie(&mut self) {
        let mut resigns = false;
        while let Some(effect) = self
            .zombie
            .as_mut()
            .and_then(|zombie| zombie.node.release(&mut self.shared))
        {
            self.check_zombie(&effect);
            resigns |= self.carry_out(effect);
        }
        if resigns {
            // It gives up a lead that it no longer has.
            let mut rng = self.orders.fork();
            self.bury(self.zombies, &mut rng);
        }
    }
}
