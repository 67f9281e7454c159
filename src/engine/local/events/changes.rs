//! Waking those who follow the log.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::events::watch_directory;

/// How often the log is looked at although nothing was heard: not every file system tells what
/// other machines do, and the directory may have been replaced.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How often when nothing will be heard. As often as Podman does.
const POLL: Duration = Duration::from_millis(250);

/// One watch on the log's directory, while anybody follows.
#[derive(Debug, Default)]
pub(super) struct Changes {
    sender: Mutex<Option<watch::Sender<()>>>,
}

impl Changes {
    /// A receiver that is told of changes from now on, those of the log at `path` and now and then
    /// others. To be called inside the runtime, on a thread that may block.
    pub(super) fn subscribe(self: Arc<Self>, path: &Path) -> watch::Receiver<()> {
        let mut slot = self.sender();
        if let Some(sender) = &*slot {
            return sender.subscribe();
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        let watch = watch_directory(directory).inspect_err(|error| {
            tracing::warn!(%error, ?directory, "cannot be watched, so it is polled");
        });
        let (sender, receiver) = watch::channel(());
        *slot = Some(sender.clone());
        drop(slot);
        // Ends with the last receiver.
        drop(tokio::spawn(self.announce(watch.ok(), sender)));
        receiver
    }

    async fn announce(self: Arc<Self>, watch: Option<OwnedFd>, sender: watch::Sender<()>) {
        // Not a pipe, but as one it can be waited for and read.
        let mut watch = watch.and_then(|watch| Receiver::from_owned_fd_unchecked(watch).ok());
        loop {
            let interval = if watch.is_some() { HEARTBEAT } else { POLL };
            tokio::select! {
                () = sender.closed() => {
                    let mut slot = self.sender();
                    // Somebody may have come while the last one left.
                    if sender.receiver_count() == 0 {
                        *slot = None;
                        return;
                    }
                }
                heard = heard(watch.as_ref()) => if let Err(error) = heard {
                    tracing::warn!(%error, "the event log cannot be watched any more");
                    watch = None;
                },
                () = sleep(interval) => {}
            }
            sender.send_replace(());
        }
    }

    #[cfg(test)]
    pub(super) fn is_watching(&self) -> bool {
        self.sender().is_some()
    }

    fn sender(&self) -> MutexGuard<'_, Option<watch::Sender<()>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a change, and forgets those so far.
async fn heard(watch: Option<&Receiver>) -> io::Result<()> {
    let Some(watch) = watch else { return std::future::pending().await };
    let mut changes = [0; 4096];
    watch.readable().await?;
    loop {
        match watch.try_read(&mut changes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
