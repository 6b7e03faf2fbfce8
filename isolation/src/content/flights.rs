//! Who brings what just now: of those who want one thing, the first does it and the others wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often somebody who waits looks whether he still wants to.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Flight<L> {
    landed: Mutex<Option<L>>,
    changed: Condvar,
}

/// The flights that are under way. What comes of one, `L`, is by default that it failed.
#[derive(Debug)]
pub(crate) struct Flights<K, L> {
    under_way: Mutex<BTreeMap<K, Arc<Flight<L>>>>,
}

/// Where somebody finds himself who wants something.
pub(crate) enum Seat<'f, K: Ord, L: Clone + Default> {
    /// He brings it.
    Pilot(Pilot<'f, K, L>),
    /// Somebody else did, and this came of it.
    Passenger(L),
}

/// Must land; without a word it has failed.
pub(crate) struct Pilot<'f, K: Ord, L: Clone + Default> {
    flights: &'f Flights<K, L>,
    key: K,
    flight: Arc<Flight<L>>,
    landed: L,
}

impl<K, L> Default for Flights<K, L> {
    fn default() -> Self {
        let under_way = Mutex::default();
        Self { under_way }
    }
}

impl<K: Ord + Clone, L: Clone + Default> Flights<K, L> {
    /// Takes part in bringing something; waits if another does it. Who loses interest has `None`
    /// a tenth of a second later at most.
    pub(crate) fn board_while(&self, key: &K, wanted: impl Fn() -> bool) -> Option<Seat<'_, K, L>> {
        let flight = match self.enter(key) {
            Ok(pilot) => return Some(Seat::Pilot(pilot)),
            Err(flight) => flight,
        };
        let mut landed = held(&flight.landed);
        loop {
            if let Some(landed) = &*landed {
                return Some(Seat::Passenger(landed.clone()));
            }
            if !wanted() {
                return None;
            }
            let woken = flight.changed.wait_timeout(landed, LOOK);
            landed = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Begins a flight, or finds the one that is under way.
    fn enter(&self, key: &K) -> Result<Pilot<'_, K, L>, Arc<Flight<L>>> {
        let mut under_way = held(&self.under_way);
        if let Some(flight) = under_way.get(key) {
            return Err(Arc::clone(flight));
        }
        let flight = Arc::new(Flight {
            landed: Mutex::new(None),
            changed: Condvar::new(),
        });
        under_way.insert(key.clone(), Arc::clone(&flight));
        Ok(Pilot {
            flights: self,
            key: key.clone(),
            flight,
            landed: L::default(),
        })
    }
}

impl<K: Ord, L: Clone + Default> Pilot<'_, K, L> {
    /// Ends the flight, for the passengers too.
    pub(crate) fn land(mut self, landed: L) {
        self.landed = landed;
    }
}

impl<K: Ord, L: Clone + Default> Drop for Pilot<'_, K, L> {
    fn drop(&mut self) {
        held(&self.flights.under_way).remove(&self.key);
        *held(&self.flight.landed) = Some(self.landed.clone());
        self.flight.changed.notify_all();
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
