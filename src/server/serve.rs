//! The accept loop, and its end.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use sd_notify::NotifyState;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::connection::{self, Connection};
use super::listen::Stream;
use super::resting::Resting;
use super::{Listeners, Options, Shutdown};

/// How long to wait after a failure to accept that will not pass by itself, such as a lack of
/// descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves connections until asked to stop, or until there was none for the idle timeout. Tells the
/// service manager when it is ready and when it stops.
///
/// When this returns, all connections are closed and the handlers' futures are gone. Work that they
/// had begun elsewhere may still be rolling back.
pub async fn serve<S>(listeners: Listeners, service: S, options: Options, shutdown: Shutdown)
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    let resting = Resting::default();
    // One that has been accepted and for which there is no place yet.
    let mut waiting: Option<Stream> = None;
    // Somebody was asked to leave for it.
    let mut leaving = false;
    let mut last_active = Instant::now();
    notify(NotifyState::Ready);
    for address in listeners.addresses() {
        tracing::info!(%address, "listening");
    }
    loop {
        let full = connections.len() >= options.connections;
        if let Some(stream) = waiting.take_if(|_| !full) {
            let connection = Connection {
                service: service.clone(),
                request_timeout: options.request_timeout,
                stall_timeout: options.stall_timeout,
                turns: resting.enter(),
                stop: stop.clone(),
            };
            connections.spawn(connection::run(stream, connection));
            continue;
        }
        let idle_at = options.idle_timeout.map(|timeout| last_active + timeout);
        tokio::select! {
            biased;
            () = shutdown.stopping() => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                leaving = false;
                last_active = Instant::now();
            }
            accepted = listeners.accept(), if waiting.is_none() => match accepted {
                Ok(stream) => waiting = Some(stream),
                Err(error) => accept_failed(&error).await,
            },
            () = resting.make_room(), if waiting.is_some() && !leaving => leaving = true,
            () = until(idle_at), if connections.is_empty() => {
                tracing::info!("idle, stopping");
                break;
            }
        }
    }
    notify(NotifyState::Stopping);
    drop(listeners);
    stop.cancel();
    drain(connections, options.grace, &shutdown).await;
}

/// Lets connections end for `grace`, then drops them.
async fn drain(mut connections: JoinSet<()>, grace: Duration, shutdown: &Shutdown) {
    let deadline = Instant::now() + grace;
    loop {
        tokio::select! {
            ended = connections.join_next() => match ended {
                Some(ended) => report(ended),
                None => return,
            },
            () = sleep_until(deadline) => break,
            () = shutdown.hurried() => break,
        }
    }
    tracing::warn!(connections = connections.len(), "breaking off requests");
    connections.abort_all();
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn accept_failed(error: &io::Error) {
    // The peer was faster; there may be others.
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::error!(%error, "accepting a connection");
    sleep(ACCEPT_PAUSE).await;
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a handler panicked");
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "telling the service manager");
    }
}
