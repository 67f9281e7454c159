//! A layer on its way from a registry into a staging directory.
//!
//! What is received is unpacked at once; no compressed byte is written anywhere. So whoever wants to
//! go on with a transfer that broke off needs the half-unpacked layer itself, its decoder included:
//! a flight that lost its source waits, for a while, for somebody who offers another one, and asks
//! that one for the rest.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::{failure, task_error};
use crate::engine::{BlobStage, Error, ErrorKind, PullProgress, Result};
use crate::image::Digest;
use crate::registry::{self, BlobBody, Repository, Retry};
use crate::storage::{StagedLayer, Store};
use crate::task::{Class, Tasks};

/// Offers that may wait for a flight.
const OFFERS: usize = 16;
/// So many bytes without a failure, and earlier failures are forgotten.
const PROGRESS: u64 = 1 << 20;
/// How often those who wait are told how far a flight is.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// A blob that is to be brought.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    /// Bytes, as the manifest says.
    pub(super) size: u64,
}

/// Somebody who can get the blob.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) repository: Arc<Repository>,
    pub(super) retry: Retry,
}

/// What those who wait for a flight see of it.
#[derive(Debug, Clone)]
struct Status {
    received: u64,
    phase: Phase,
}

#[derive(Debug, Clone)]
enum Phase {
    Flying,
    /// No offer up to this one leads further.
    Stalled(u64, registry::Error),
    /// All of it is unpacked and verified.
    Landed,
    /// It cannot go on.
    Failed(Error),
}

/// A layer on its way, or unpacked. When nobody holds it any more, the transfer ends and what was
/// unpacked is deleted.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) blob: Blob,
    offers: mpsc::Sender<(u64, Offer)>,
    offered: AtomicU64,
    status: watch::Receiver<Status>,
    /// The layer, until somebody commits it. Locked while it is being committed.
    pub(super) landed: Arc<Mutex<Option<StagedLayer>>>,
    _canceled_when_dropped: DropGuard,
}

impl Flight {
    /// Begins a flight, which starts with the first offer.
    pub(super) fn begin(blob: Blob, store: Store, tasks: &Tasks) -> Arc<Self> {
        let (offers, offered) = mpsc::channel(OFFERS);
        let status = Status { received: 0, phase: Phase::Flying };
        let (publish, status) = watch::channel(status);
        let canceled = CancellationToken::new();
        let flight = Arc::new(Self {
            blob: blob.clone(),
            offers,
            offered: AtomicU64::new(0),
            status,
            landed: Arc::default(),
            _canceled_when_dropped: canceled.clone().drop_guard(),
        });
        let source = Source {
            blob,
            offers: offered,
            current: None,
            body: None,
            received: 0,
            failures: 0,
            since_failure: 0,
            publish: Arc::new(publish),
        };
        let landing = Arc::downgrade(&flight.landed);
        let (tracked, run) = (tasks.clone(), fly(source, landing, store, tasks.clone()));
        tracked.spawn(async move {
            tokio::select! {
                () = canceled.cancelled() => {}
                () = run => {}
            }
        });
        flight
    }

    /// Whether it is of no use to anybody.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status.borrow().phase, Phase::Failed(_))
    }

    /// Whether all of it is there.
    pub(super) fn is_landed(&self) -> bool {
        matches!(self.status.borrow().phase, Phase::Landed)
    }

    /// Bytes of the unpacked layer, as long as it is there and nobody commits it.
    pub(super) fn unpacked(&self) -> u64 {
        let landed = self.landed.try_lock().ok();
        landed.and_then(|layer| Some(layer.as_ref()?.info().diff_size)).unwrap_or_default()
    }

    /// Makes an offer, and waits until the layer is there or the offer leads no further. Cancel-safe.
    pub(super) async fn land(&self, offer: Offer, progress: &PullProgress) -> Result<()> {
        let number = self.offered.fetch_add(1, Ordering::Relaxed) + 1;
        // Fails when the flight is over, and then its status says why.
        let _ = self.offers.send((number, offer)).await;
        let Blob { digest, size: total } = &self.blob;
        let mut status = self.status.clone();
        progress.blob(digest, BlobStage::Started { total: *total }).await;
        let mut told = tokio::time::Instant::now();
        loop {
            let Status { received, phase } = status.borrow_and_update().clone();
            match phase {
                Phase::Landed => {
                    progress.blob(digest, BlobStage::Done { total: *total }).await;
                    return Ok(());
                }
                Phase::Failed(error) => return Err(error),
                Phase::Stalled(last, error) if number <= last => {
                    return Err(failure::transfer(error));
                }
                Phase::Stalled(..) | Phase::Flying => {}
            }
            if received > 0 && told.elapsed() >= TELL_EVERY {
                told = tokio::time::Instant::now();
                let stage = BlobStage::Progress { current: received, total: *total };
                progress.blob(digest, stage).await;
            }
            if status.changed().await.is_err() && !self.is_landed() && !self.is_over() {
                return Err(Error::new(ErrorKind::Canceled, "the service is stopping"));
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(layer) = Arc::get_mut(&mut self.landed).and_then(|place| place.get_mut().take())
        {
            delete(layer);
        }
    }
}

/// Deletes a layer that nobody wants: not on a thread of async code.
pub(super) fn delete(layer: StagedLayer) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(layer))),
        Err(_) => drop(layer),
    }
}

/// Unpacks what a source gives.
async fn fly(
    source: Source,
    landing: Weak<Mutex<Option<StagedLayer>>>,
    store: Store,
    tasks: Tasks,
) {
    let (publish, blob) = (Arc::clone(&source.publish), source.blob.clone());
    let staged = tasks
        .run_reading(Class::Transfer, source.stream(), move |body, cancel| {
            store.stage(body, cancel).map_err(failure::storage)
        })
        .await;
    let phase = match staged.map_err(task_error).and_then(|staged| verified(staged?, &blob)) {
        Ok(layer) => {
            // Nobody holds the flight if there is no place for the layer any more.
            let Some(place) = landing.upgrade() else { return delete(layer) };
            *place.lock().await = Some(layer);
            Phase::Landed
        }
        // What is wrong with a source was told already.
        Err(_) if matches!(publish.borrow().phase, Phase::Failed(_)) => return,
        Err(error) => {
            let digest = &blob.digest;
            Phase::Failed(error.context(format!("writing blob {digest}")))
        }
    };
    publish.send_modify(|status| status.phase = phase);
}

fn verified(layer: StagedLayer, blob: &Blob) -> Result<StagedLayer> {
    let found = &layer.info().compressed_digest;
    if *found == blob.digest {
        return Ok(layer);
    }
    let text = format!("layer has digest {found} instead of {}", blob.digest);
    Err(Error::new(ErrorKind::Registry, text))
}

/// Where the bytes come from: one offer after the other.
struct Source {
    blob: Blob,
    offers: mpsc::Receiver<(u64, Offer)>,
    current: Option<(u64, Offer)>,
    body: Option<BlobBody>,
    received: u64,
    /// One after the other.
    failures: u32,
    /// Bytes since the last one.
    since_failure: u64,
    publish: Arc<watch::Sender<Status>>,
}

impl Source {
    fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        stream::unfold(self, |mut source| async move {
            let chunk = source.next().await?;
            Some((chunk, source))
        })
        .boxed()
    }

    /// The next bytes, from wherever they are to be had. `None` after the last.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let read = match &mut self.body {
                Some(body) => body.chunk().await,
                None if self.received == self.blob.size && self.received > 0 => return None,
                None => match self.connect().await {
                    Ok(()) => continue,
                    Err(gone) => return Some(Err(gone)),
                },
            };
            let error = match read {
                Ok(Some(chunk)) => return Some(self.took(chunk)),
                Ok(None) if self.received == self.blob.size => return None,
                Ok(None) => return Some(self.ended()),
                Err(error) => error,
            };
            self.body = None;
            self.failed(error).await;
        }
    }

    /// An answer that was complete has less than the manifest says: to ask for more makes no sense.
    fn ended(&self) -> io::Result<Bytes> {
        let Blob { digest, size } = &self.blob;
        let error = registry::Error::unexpected_end(digest, self.received, *size);
        self.publish.send_modify(|status| status.phase = Phase::Failed(failure::transfer(error)));
        Err(io::Error::other("the blob is too short"))
    }

    fn took(&mut self, chunk: Bytes) -> io::Result<Bytes> {
        let received = self.received.saturating_add(chunk.len() as u64);
        if received > self.blob.size {
            let Blob { digest, size } = &self.blob;
            let text = format!("blob {digest} has more than the {size} bytes of its manifest");
            let error = Error::new(ErrorKind::Registry, text);
            self.publish.send_modify(|status| status.phase = Phase::Failed(error));
            return Err(io::Error::other("the blob is too long"));
        }
        self.received = received;
        self.since_failure += chunk.len() as u64;
        if self.since_failure >= PROGRESS {
            self.failures = 0;
        }
        self.publish.send_modify(|status| status.received = received);
        Ok(chunk)
    }

    /// Asks for the rest. Failures lead to the next attempt, or the next offer.
    async fn connect(&mut self) -> io::Result<()> {
        loop {
            let Some((_, offer)) = &self.current else {
                let next = self.offers.recv().await;
                self.take(next.ok_or_else(|| io::Error::other("nobody wants the blob"))?);
                continue;
            };
            match offer.repository.blob(&self.blob.digest, self.received).await {
                Ok(body) => {
                    self.body = Some(body);
                    return Ok(());
                }
                Err(error) => self.failed(error).await,
            }
        }
    }

    fn take(&mut self, offer: (u64, Offer)) {
        (self.current, self.failures, self.since_failure) = (Some(offer), 0, 0);
        self.publish.send_modify(|status| status.phase = Phase::Flying);
    }

    /// Waits before the next attempt, or gives the current offer up.
    async fn failed(&mut self, error: registry::Error) {
        self.failures += 1;
        self.since_failure = 0;
        let Some((number, offer)) = &self.current else { return };
        if let Some(wait) = offer.retry.wait(self.failures, &error) {
            tracing::debug!(%error, ?wait, received = self.received, "going on with a blob");
            tokio::time::sleep(wait).await;
            return;
        }
        let number = *number;
        self.current = None;
        match self.offers.try_recv() {
            Ok(next) => self.take(next),
            Err(_) => {
                self.publish.send_modify(|status| status.phase = Phase::Stalled(number, error));
            }
        }
    }
}
