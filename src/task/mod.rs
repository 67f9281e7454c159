//! Blocking work on behalf of async code: limits, cancellation, and streams as `Read` and `Write`.
//!
//! All file work of the program runs through [`Tasks`], on threads that run nothing async meanwhile.
//! The classes have permits of their own, so that layers being unpacked never delay a list, nor slow
//! registries, or clients that do not read what they export, a load. Nor does a client that stops
//! sending: while bulk work waits for it, others have its permit.
//!
//! Dropping a future, or a stream, that came from here cancels the work behind it; the work notices at
//! its next look at its [`Cancel`], or at once when it waits for the other end of a stream.
//!
//! Nothing here knows what the work is.

mod body;
mod turn;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

use crate::sys::{Cancel, memory};
pub use body::{BodyReader, BodyWriter};
use turn::{Turn, acquire};

/// Work that takes milliseconds may have this many threads: it waits for locks of other processes
/// more than it computes.
const QUICK_PERMITS: usize = 16;
/// Least number of permits for bulk work, and for exports. More than a small machine has cores, since
/// an export keeps its permit while its client does not read.
const BULK_PERMITS_MIN: usize = 4;
/// How many pieces of bulk work that read a body may have begun, those included whose permit others
/// have while they wait. Each has some threads, and open files.
const READING_MAX: usize = 256;
/// How long bulk work waits for more of a body before others have its permit. Pauses of a client that
/// sends as fast as it can are shorter.
const PAUSE: Duration = Duration::from_millis(100);
/// Transfers wait for other servers more than they compute.
const TRANSFER_PERMITS: usize = 8;

/// How soon after work freed memory goes back to the system.
const RELEASE_AFTER: Duration = Duration::from_millis(200);

/// How long a piece of work is expected to take, and so which permits it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Records and lists: milliseconds.
    Quick,
    /// Layers: as long as the disk and the processor take.
    Bulk,
    /// Layers on their way to a client: as long as that takes.
    Export,
    /// Layers on their way from or to another server.
    Transfer,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The work panicked: a bug.
    #[error("internal error: {0}")]
    Panicked(String),
    /// The program is stopping.
    #[error("the service is stopping")]
    Stopping,
}

/// Runs blocking work. Clones share their limits.
#[derive(Debug, Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
}

struct Inner {
    quick: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
    /// For bulk work that reads a body.
    reading: Arc<Semaphore>,
    export: Arc<Semaphore>,
    transfer: Arc<Semaphore>,
    tracker: TaskTracker,
    live: Mutex<Live>,
    /// Somebody waits to give memory back.
    release_due: AtomicBool,
}

/// The cancellation flags of all work that has a thread.
#[derive(Default)]
struct Live {
    next: u64,
    flags: BTreeMap<u64, Cancel>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("running", &self.tracker.len()).finish_non_exhaustive()
    }
}

impl Tasks {
    /// For a machine with this many cores.
    pub fn new(cores: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                quick: Arc::new(Semaphore::new(QUICK_PERMITS)),
                bulk: Arc::new(Semaphore::new(bulk_permits(cores))),
                reading: Arc::new(Semaphore::new(READING_MAX)),
                export: Arc::new(Semaphore::new(bulk_permits(cores))),
                transfer: Arc::new(Semaphore::new(TRANSFER_PERMITS)),
                tracker: TaskTracker::new(),
                live: Mutex::default(),
                release_due: AtomicBool::new(false),
            }),
        }
    }

    /// How many blocking threads the runtime needs so that permits are the only limit.
    pub fn threads(cores: usize) -> usize {
        QUICK_PERMITS + READING_MAX + 2 * bulk_permits(cores) + TRANSFER_PERMITS
    }

    /// Runs `work` on a blocking thread, in the current tracing span.
    ///
    /// Cancel-safe: when the future is dropped before `work` has started, it never runs; later,
    /// its [`Cancel`] is set, and it ends on its own.
    pub async fn run<T, F>(&self, class: Class, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Cancel) -> T + Send + 'static,
    {
        let permit = acquire(self.permits(class)).await?;
        self.run_holding(permit, work).await
    }

    /// As [`run`](Self::run) for [`Class::Quick`], on the thread that polls this: where all cores are
    /// busy, a change of threads may take milliseconds. Another thread takes over its other tasks
    /// meanwhile.
    ///
    /// Dropping the future does not cancel work that has started, for it is not dropped before the
    /// work has ended. So this is for what does not wait for others.
    pub async fn run_in_place<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Cancel) -> T + Send + 'static,
    {
        let permit = acquire(self.permits(Class::Quick)).await?;
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return self.run_holding(permit, work).await;
        }
        let (_guard, work) = self.prepare((permit, self.inner.tracker.token()), work);
        let result = catch_unwind(AssertUnwindSafe(|| block_in_place(work)));
        self.release_later();
        result.map_err(|panic| Error::Panicked(panic_text(&*panic)))
    }

    /// As [`run`](Self::run), with what the work needs and gives back at its end.
    async fn run_holding<T, F>(&self, permit: impl Send + 'static, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Cancel) -> T + Send + 'static,
    {
        let (guard, work) = self.prepare(permit, work);
        let result = self.inner.tracker.spawn_blocking(work).await;
        drop(guard);
        self.release_later();
        result.map_err(|error| match error.try_into_panic() {
            Ok(panic) => Error::Panicked(panic_text(&*panic)),
            Err(_) => Error::Stopping,
        })
    }

    /// As [`run`](Self::run), with a body to read. The body is polled by the returned future
    /// itself: dropping it ends both, and a reader that waits for the next chunk fails at once.
    ///
    /// It begins when the first chunk has come, and no more than that is held until it does. From
    /// then on others may have its permit whenever [`Class::Bulk`] work waits for the body; it gets
    /// one again before it gets more.
    pub async fn run_reading<T, F>(
        &self,
        class: Class,
        mut body: BoxStream<'static, io::Result<Bytes>>,
        work: F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(BodyReader, &Cancel) -> T + Send + 'static,
    {
        let first = body.next().await;
        let turn = Turn::new(Arc::clone(self.permits(class)));
        let (pause, begun) = match class {
            Class::Bulk => (Some(PAUSE), Some(acquire(&self.inner.reading).await?)),
            Class::Quick | Class::Export | Class::Transfer => (None, None),
        };
        let permit = (begun, turn.begin().await?);
        let (feed, reader) =
            body::reading(stream::iter(first).chain(body).boxed(), turn, pause, || {
                self.release_later()
            });
        let mut run =
            pin!(self.run_holding(permit, move |cancel| { work(reader.watching(cancel), cancel) }));
        tokio::select! {
            biased;
            result = &mut run => return result,
            () = feed => {}
        }
        run.await
    }

    /// A body that `work` writes on a blocking thread, once somebody polls it. An error of `work`
    /// is the last item; so is a panic: only what `work` ends well ends well.
    ///
    /// Dropping the stream cancels `work`; its next write fails.
    pub fn stream<E, F>(&self, class: Class, work: F) -> BoxStream<'static, io::Result<Bytes>>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
        F: FnOnce(&mut BodyWriter, &Cancel) -> Result<(), E> + Send + 'static,
    {
        let tasks = self.clone();
        let span = Span::current();
        let start = async move {
            let permit = match acquire(tasks.permits(class)).await {
                Ok(permit) => permit,
                Err(error) => return stream::once(async { Err(io::Error::other(error)) }).boxed(),
            };
            let (writer, body) = body::writing();
            let (guard, work) = span.in_scope(|| {
                tasks.prepare(permit, move |cancel| {
                    writer.run(|writer| work(writer, cancel));
                    memory::release_freed();
                })
            });
            // Detached: the body tells how it went, the tracker when it ended.
            drop(tasks.inner.tracker.spawn_blocking(work));
            body.map(move |item| {
                let _canceled_when_dropped = &guard;
                item
            })
            .boxed()
        };
        stream::once(start).flatten().boxed()
    }

    /// Runs async work that [`stop`](Self::stop) waits for. It has to end by itself.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Detached: it is waited for by the tracker.
        drop(self.inner.tracker.spawn(work.instrument(Span::current())));
    }

    /// Lets nothing new start, cancels what runs and waits until it has ended. Work that has begun
    /// to commit finishes that first.
    ///
    /// A writer that waits for a slow client ends when its stream is dropped: drop connections
    /// first.
    pub async fn stop(&self) {
        self.inner.quick.close();
        self.inner.bulk.close();
        self.inner.reading.close();
        self.inner.export.close();
        self.inner.transfer.close();
        for cancel in self.live().flags.values() {
            cancel.cancel();
        }
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
    }

    /// Gives memory back soon after work, but not after each piece of it.
    fn release_later(&self) {
        if self.inner.release_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::clone(&self.inner);
        // Short and harmless, so nobody has to wait for it.
        drop(tokio::spawn(async move {
            tokio::time::sleep(RELEASE_AFTER).await;
            inner.release_due.store(false, Ordering::Release);
            drop(tokio::task::spawn_blocking(memory::release_freed).await);
        }));
    }

    fn permits(&self, class: Class) -> &Arc<Semaphore> {
        match class {
            Class::Quick => &self.inner.quick,
            Class::Bulk => &self.inner.bulk,
            Class::Export => &self.inner.export,
            Class::Transfer => &self.inner.transfer,
        }
    }

    /// Wraps `work` in what has to be there while it runs. The guard cancels it.
    fn prepare<T, P, F: FnOnce(&Cancel) -> T>(
        &self,
        permit: P,
        work: F,
    ) -> (CancelOnDrop, impl FnOnce() -> T + use<T, P, F>) {
        let cancel = Cancel::new();
        let guard = CancelOnDrop(cancel.clone());
        let registration = self.register(cancel.clone());
        let span = Span::current();
        let work = move || {
            let _until_the_end = (permit, registration);
            span.in_scope(|| work(&cancel))
        };
        (guard, work)
    }

    fn register(&self, cancel: Cancel) -> Registration {
        let mut live = self.live();
        // A permit may have been handed out just before `stop` went through the flags.
        if self.inner.quick.is_closed() {
            cancel.cancel();
        }
        let id = live.next;
        live.next += 1;
        live.flags.insert(id, cancel);
        Registration { tasks: self.clone(), id }
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bulk_permits(cores: usize) -> usize {
    cores.max(BULK_PERMITS_MIN)
}

/// Sets the flag when dropped. After the work has ended that has no effect.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A place among the live flags.
struct Registration {
    tasks: Tasks,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.tasks.live().flags.remove(&self.id);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "panic without a message".to_owned()
    }
}

#[cfg(test)]
mod tests;
