//! Asking the service to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Error;

/// Two requests to the service: to stop, and to stop without waiting. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    now: CancellationToken,
}

impl Shutdown {
    /// One that nothing triggers but its methods.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first SIGTERM or SIGINT asks to stop, the second to stop without waiting. Must be called
    /// inside a Tokio runtime.
    pub fn on_signals() -> Result<Self, Error> {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
        let shutdown = Self::new();
        let requests = shutdown.clone();
        // Lives as long as the process: there is no moment when signals stop mattering.
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!(signal = name, "asked to stop");
                if requests.stop.is_cancelled() {
                    requests.stop_now();
                }
                requests.stop();
            }
        });
        Ok(shutdown)
    }

    /// Asks the service to stop: no new connections, requests under way get the grace period.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Asks the service to stop and to break off what is under way.
    pub fn stop_now(&self) {
        self.stop.cancel();
        self.now.cancel();
    }

    /// Waits until somebody asks to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    pub(super) async fn hurried(&self) {
        self.now.cancelled().await;
    }
}
