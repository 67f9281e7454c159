//! Registries that were talked to a moment ago: the next operation goes on with the same client, over
//! connections that are open, and knows whether there was TLS and whether it has to say who asks.
//!
//! No login and no token is kept. A client is forgotten soon after its last use, so that a daemon
//! nobody asks for anything has nothing of TLS in memory; one whose certificates in `certs.d` have
//! changed is not used again. However often it is used, it is forgotten after a while, so that whom the
//! system trusts now counts then.

use std::collections::HashMap;
use std::fmt;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::Client;
use tokio::time::Instant;

use super::challenge::Challenge;

/// How long a client is kept after its last use.
const KEPT: Duration = Duration::from_secs(20);
/// How long it is kept at most after it was made.
const LIFE: Duration = Duration::from_secs(60);
/// Clients that are kept at the same time; callers may name any number of registries.
const CLIENTS: usize = 32;

/// What two operations have to agree on to use the same client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The host, with its port.
    pub(super) host: String,
    /// Whether certificates are checked.
    pub(super) verify: bool,
    /// What the host shows of itself, and whom it trusts beside the system.
    pub(super) certificates: Option<Stamp>,
}

/// The state of a directory with certificates.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    directory: PathBuf,
    files: Vec<(PathBuf, u64, Option<SystemTime>)>,
}

impl Stamp {
    /// That of `directory`, which has these files. Blocking.
    pub(super) fn of(directory: &Path, files: &[PathBuf]) -> Self {
        let state = |file: &PathBuf| {
            let metadata = std::fs::metadata(file).ok();
            let length = metadata.as_ref().map(Metadata::len).unwrap_or_default();
            (file.clone(), length, metadata.and_then(|it| it.modified().ok()))
        };
        Self { directory: directory.to_owned(), files: files.iter().map(state).collect() }
    }
}

/// The means to talk to one registry.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) http: Client,
    /// For bodies that are sent as they are made.
    pub(super) unhurried: Client,
    /// The registry has answered without TLS, and may: certificates are not checked.
    pub(super) plain: bool,
    /// What it wanted to know of who asks, when it answered.
    pub(super) challenges: Vec<Challenge>,
    /// When the clients were made, and read whom the system trusts.
    pub(super) made: Instant,
}

/// The lines that are kept. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Reached(Arc<Mutex<HashMap<Key, Kept>>>);

struct Kept {
    line: Line,
    until: Instant,
}

impl Reached {
    /// The line to a registry that was reached a moment ago.
    pub(super) fn find(&self, key: &Key) -> Option<Line> {
        self.kept().get(key).map(|kept| kept.line.clone())
    }

    /// Keeps a line for a while. Needs a runtime.
    pub(super) fn keep(&self, key: &Key, line: &Line) {
        let now = Instant::now();
        let until = (now + KEPT).min(line.made + LIFE);
        let mut kept = self.kept();
        let is_new = !kept.contains_key(key);
        let is_outlived = kept.get(key).is_some_and(|kept| kept.line.made > line.made);
        if until <= now || is_outlived || is_new && kept.len() >= CLIENTS {
            return;
        }
        kept.insert(key.clone(), Kept { line: line.clone(), until });
        if is_new {
            drop(tokio::spawn(forget(Arc::clone(&self.0), key.clone(), until)));
        }
    }

    /// Forgets a line that leads nowhere any more.
    pub(super) fn forget(&self, key: &Key) {
        self.kept().remove(key);
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a line when it has not been used for a while, or is old.
async fn forget(kept: Arc<Mutex<HashMap<Key, Kept>>>, key: Key, mut until: Instant) {
    loop {
        tokio::time::sleep_until(until).await;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(&key) {
            Some(found) if found.until > Instant::now() => until = found.until,
            _ => {
                kept.remove(&key);
                return;
            }
        }
    }
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kept().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str) -> Key {
        Key { host: host.to_owned(), verify: true, certificates: None }
    }

    fn line() -> Line {
        let tls = super::super::tls::none().unwrap();
        let url = "http://localhost/".parse().unwrap();
        let http = super::super::http::unhurried_client(&url, tls).unwrap();
        let made = Instant::now();
        Line { unhurried: http.clone(), http, plain: true, challenges: Vec::new(), made }
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_kept_while_they_are_used_and_not_old() {
        let (reached, line) = (Reached::default(), line());
        reached.keep(&key("a"), &line);
        for _ in 0..5 {
            tokio::time::sleep(KEPT / 2).await;
            assert!(reached.find(&key("a")).is_some());
            reached.keep(&key("a"), &line);
        }
        assert!(reached.find(&key("b")).is_none());
        // Whoever has it still can go on with it, but it is not kept for others.
        tokio::time::sleep(KEPT).await;
        reached.keep(&key("a"), &line);
        assert!(reached.kept().is_empty());

        let other = Line { made: Instant::now(), ..line };
        reached.keep(&key("a"), &other);
        tokio::time::sleep(KEPT * 2).await;
        assert!(reached.kept().is_empty());
    }

    #[tokio::test]
    async fn their_number_is_bounded() {
        let (reached, line) = (Reached::default(), line());
        for host in 0..2 * CLIENTS {
            reached.keep(&key(&host.to_string()), &line);
        }
        assert_eq!(reached.kept().len(), CLIENTS);
    }

    #[test]
    fn other_certificates_make_another_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        std::fs::write(&file, "one").unwrap();
        let stamp = || Stamp::of(directory.path(), std::slice::from_ref(&file));
        let before = stamp();
        assert_eq!(before, stamp());
        std::fs::write(&file, "another").unwrap();
        assert_ne!(before, stamp());
    }
}
