//! All layers that are on their way: one flight for each blob, however many want it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::flight::{Blob, Flight};
use crate::image::Digest;
use crate::storage::Store;
use crate::task::Tasks;

/// How long what a failed pull brought is kept for the next attempt.
const KEEP: Duration = Duration::from_secs(300);
/// How many flights that broke off are kept: each holds a thread.
const KEEP_PARTIAL: usize = 4;
/// How many layers of failed pulls are kept in all.
const KEEP_ALL: usize = 64;

/// The flights of one engine. Clones share them.
#[derive(Debug, Clone, Default)]
pub(in crate::engine::local) struct Flights {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    flights: HashMap<Digest, Weak<Flight>>,
    /// Nobody wants them at the moment; the oldest first.
    parked: Vec<Parked>,
    next: u64,
    closed: bool,
}

#[derive(Debug)]
struct Parked {
    number: u64,
    flight: Arc<Flight>,
}

impl Flights {
    /// The flight that brings `blob`; a new one if there is none.
    pub(super) fn join(&self, blob: &Blob, store: &Store, tasks: &Tasks) -> Arc<Flight> {
        let mut inner = self.lock();
        inner.parked.retain(|parked| !parked.flight.is_over());
        let known = inner.flights.get(&blob.digest).and_then(Weak::upgrade);
        if let Some(flight) = known.filter(|it| !it.is_over() && it.blob.size == blob.size) {
            return flight;
        }
        // What was kept is of no use: it is another blob by the manifest that counts now.
        inner.parked.retain(|parked| parked.flight.blob.digest != blob.digest);
        inner.flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Flight::begin(blob.clone(), store.clone(), tasks);
        inner.flights.insert(blob.digest.clone(), Arc::downgrade(&flight));
        flight
    }

    /// Nobody is to join this flight any more: its layer is, or was, being committed.
    pub(super) fn forget(&self, flight: &Arc<Flight>) {
        let mut inner = self.lock();
        let digest = &flight.blob.digest;
        let is_this = |known: &Weak<Flight>| known.as_ptr() == Arc::as_ptr(flight);
        if inner.flights.get(digest).is_some_and(is_this) {
            inner.flights.remove(digest);
        }
        inner.parked.retain(|parked| !Arc::ptr_eq(&parked.flight, flight));
    }

    /// Keeps the flights of a pull that failed, for the next attempt.
    pub(super) fn park(&self, flights: Vec<Arc<Flight>>) {
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        let first = inner.next;
        for flight in flights {
            if flight.is_over() || inner.parked.iter().any(|it| Arc::ptr_eq(&it.flight, &flight)) {
                continue;
            }
            let number = inner.next;
            inner.next += 1;
            inner.parked.push(Parked { number, flight });
        }
        let last = inner.next;
        while inner.parked.len() > KEEP_ALL {
            inner.parked.remove(0);
        }
        while inner.parked.iter().filter(|it| !it.flight.is_landed()).count() > KEEP_PARTIAL {
            let Some(at) = inner.parked.iter().position(|it| !it.flight.is_landed()) else { break };
            inner.parked.remove(at);
        }
        if first == last {
            return;
        }
        let weak = Arc::downgrade(&self.inner);
        // As short as what it is about; nothing is lost with it.
        drop(tokio::spawn(async move {
            tokio::time::sleep(KEEP).await;
            if let Some(inner) = weak.upgrade() {
                let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
                inner.parked.retain(|it| !(first..last).contains(&it.number));
            }
        }));
    }

    /// Keeps nothing any more.
    pub(in crate::engine::local) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.parked.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
