//! Telling what was done to images, and following it.
//!
//! Events are written where Podman's `file` logger writes them, by the operation itself, once its
//! locks are released and before its caller gets the answer. They are read from there too, with
//! what other tools wrote. A stream reads a batch when its reader wants more, so a slow client
//! costs no memory, and waits for changes of the directory without a thread.

mod changes;
mod filter;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use self::changes::Changes;
use self::filter::EventFilter;
use super::task_error;
use crate::engine::{Error, ErrorKind, Event, EventStream, EventsOptions, Result};
use crate::events::{EventLog, ImageAction, LogReader, Position};
use crate::image::ImageId;
use crate::task::{Class, Tasks};

/// Events that a slow client may be behind when nothing is on disk.
const LIVE_BUFFER: usize = 1024;

/// Where events go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EventBackend {
    /// To a log file, shared with Podman.
    File(EventLog),
    /// To clients that are connected at the time, and nowhere else.
    Live,
    /// Nowhere, and reading them is an error.
    #[default]
    None,
}

/// The events of one engine.
#[derive(Debug)]
pub(super) struct Events {
    backend: EventBackend,
    live: broadcast::Sender<Event>,
    changes: Arc<Changes>,
    ended: CancellationToken,
}

impl Events {
    pub(super) fn new(backend: EventBackend) -> Self {
        Self {
            backend,
            live: broadcast::Sender::new(LIVE_BUFFER),
            changes: Arc::default(),
            ended: CancellationToken::new(),
        }
    }

    /// Tells that something was done to an image.
    pub(super) fn tell(&self, action: ImageAction, id: &ImageId, name: &str) {
        self.tell_all(&[Event::of_image(action, id, name)]);
    }

    /// Tells several events, in this order. Blocks while others write the log, two seconds at most.
    /// What cannot be written is logged: it is no reason for an operation to fail that has
    /// succeeded.
    pub(super) fn tell_all(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        match &self.backend {
            EventBackend::File(log) => {
                if let Err(error) = log.append(events) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, events = events.len(), "events could not be logged");
                }
            }
            EventBackend::Live => {
                for event in events {
                    // An error says that nobody listens.
                    let _listeners = self.live.send(event.clone());
                }
            }
            EventBackend::None => {}
        }
    }

    /// Ends all streams, now and in future.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// What happened and, if asked for, what happens.
    pub(super) async fn read(&self, options: EventsOptions, tasks: &Tasks) -> Result<EventStream> {
        if self.backend == EventBackend::None {
            let text = "cannot read events with the \"none\" backend";
            return Err(Error::new(ErrorKind::BadRequest, text));
        }
        let filter = EventFilter::compile(&options, Timestamp::now())
            .map_err(|error| error.context("failed to parse event filters"))?;
        let events = match &self.backend {
            EventBackend::File(log) => self.of_log(log.clone(), options, filter, tasks).await?,
            EventBackend::Live | EventBackend::None => self.of_live(&options, filter),
        };
        Ok(events.take_until(self.ended.clone().cancelled_owned()).boxed())
    }

    async fn of_log(
        &self,
        log: EventLog,
        options: EventsOptions,
        filter: EventFilter,
        tasks: &Tasks,
    ) -> Result<EventStream> {
        let EventsOptions { since, until, stream: follow, .. } = options;
        let history = !follow || since.is_some() || until.is_some();
        let changes = Arc::clone(&self.changes);
        let open = move || {
            let reader = log.read(if history { Position::Start } else { Position::End })?;
            // The log exists now, and so does its directory.
            let changes = follow.then(|| changes.subscribe(log.path()));
            Ok::<_, Error>((reader, changes))
        };
        let (reader, changes) = tasks.run(Class::Quick, |_| open()).await.map_err(task_error)??;
        let tail = Tail { reader, changes, filter, waiting: VecDeque::new(), tasks: tasks.clone() };
        Ok(stream::unfold(tail, Tail::next).boxed())
    }

    fn of_live(&self, options: &EventsOptions, filter: EventFilter) -> EventStream {
        if !options.stream {
            return stream::empty().boxed();
        }
        let deadline = filter.until;
        let state = (self.live.subscribe(), filter);
        stream::unfold(state, async |(mut live, filter)| {
            loop {
                match live.recv().await {
                    Ok(event) if filter.matches(&event) => return Some((event, (live, filter))),
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(lost)) => {
                        tracing::warn!(lost, "a client is too slow for the events");
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .take_until(passing(deadline))
        .boxed()
    }
}

/// The log, being read.
struct Tail {
    reader: LogReader,
    /// `None` to stop at the end.
    changes: Option<watch::Receiver<()>>,
    filter: EventFilter,
    waiting: VecDeque<Event>,
    tasks: Tasks,
}

impl Tail {
    /// The next event that passes the filter, and the rest.
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some((event, self));
            }
            // Asked before reading, so that nothing is missed that was written before.
            let over = self.filter.until.is_some_and(|until| until <= Timestamp::now());
            let Self { mut reader, changes, filter, waiting, tasks } = self;
            let read = move |_: &_| (reader.next_batch(), reader);
            // Tasks do not start any more when the program stops.
            let (batch, reader) = tasks.run(Class::Quick, read).await.ok()?;
            self = Self { reader, changes, filter, waiting, tasks };
            match batch {
                Ok(batch) if batch.is_empty() => {
                    let changes = self.changes.as_mut().filter(|_| !over)?;
                    tokio::select! {
                        // The sender lives as long as there is a receiver.
                        _ = changes.changed() => {}
                        () = passing(self.filter.until) => {}
                    }
                }
                Ok(batch) => {
                    let filter = &self.filter;
                    self.waiting.extend(batch.into_iter().filter(|event| filter.matches(event)));
                }
                Err(error) => {
                    tracing::error!(%error, "reading the event log");
                    return None;
                }
            }
        }
    }
}

/// Waits until the clock shows `time`.
async fn passing(time: Option<Timestamp>) {
    // The clock may be set, so it is looked at now and then.
    const LONGEST: Duration = Duration::from_secs(60);
    let Some(time) = time else { return std::future::pending().await };
    while let Ok(left) = Duration::try_from(time.duration_since(Timestamp::now()))
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(LONGEST)).await;
    }
}

#[cfg(test)]
mod tests;
