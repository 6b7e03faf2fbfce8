//! Who fetches what just now: of those who want one item, the first does it and the others wait.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Blob, Key};

/// How a flight ended.
#[derive(Debug, Clone)]
pub(in crate::fetch) enum Landed {
    /// The content is in the cache, and in use as long as this is held.
    Kept(Arc<Blob>),
    /// It does not fit into the cache: everybody fetches it alone.
    TooLarge,
    /// It failed: the next one tries.
    Failed,
}

#[derive(Debug, Default)]
struct Flight {
    landed: Mutex<Option<Landed>>,
    changed: Condvar,
}

/// The flights that are under way.
#[derive(Debug, Default)]
pub(in crate::fetch) struct Flights {
    under_way: Mutex<HashMap<Key, Arc<Flight>>>,
}

/// Where somebody finds himself who wants an item.
pub(in crate::fetch) enum Seat<'f> {
    /// He fetches it.
    Pilot(Pilot<'f>),
    /// Somebody else did, and this came of it.
    Passenger(Landed),
}

/// Must land; without a word it has failed.
pub(in crate::fetch) struct Pilot<'f> {
    flights: &'f Flights,
    key: Key,
    flight: Arc<Flight>,
    landed: Landed,
}

impl Flights {
    /// Takes part in fetching an item; waits if another does it.
    pub(in crate::fetch) fn board(&self, key: &Key) -> Seat<'_> {
        let flight = {
            let mut under_way = held(&self.under_way);
            match under_way.get(key) {
                Some(flight) => Arc::clone(flight),
                None => {
                    let flight = Arc::new(Flight::default());
                    under_way.insert(key.clone(), Arc::clone(&flight));
                    return Seat::Pilot(Pilot {
                        flights: self,
                        key: key.clone(),
                        flight,
                        landed: Landed::Failed,
                    });
                }
            }
        };
        let mut landed = held(&flight.landed);
        loop {
            if let Some(landed) = &*landed {
                return Seat::Passenger(landed.clone());
            }
            let woken = flight.changed.wait(landed);
            landed = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Pilot<'_> {
    /// Ends the flight, for the passengers too.
    pub(in crate::fetch) fn land(mut self, landed: Landed) {
        self.landed = landed;
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        held(&self.flights.under_way).remove(&self.key);
        *held(&self.flight.landed) = Some(self.landed.clone());
        self.flight.changed.notify_all();
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
