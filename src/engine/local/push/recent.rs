//! Blobs that a repository certainly had a moment ago, because they were found or sent then.
//!
//! An image is often pushed under several names, one right after the other. What was looked for by the
//! first of these pushes is not looked for by the others. Should it be gone meanwhile, the registry
//! refuses the manifest, and everything is looked for again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::blob_forms::Place;
use crate::image::Digest;

/// How long that counts.
const KEPT: Duration = Duration::from_secs(20);
/// Blobs that are remembered; there may be any number of pushes.
const BLOBS: usize = 4096;

/// What was seen, and until when it counts.
#[derive(Debug, Default)]
pub(in super::super) struct RecentBlobs(Mutex<HashMap<(Place, Digest), Instant>>);

impl RecentBlobs {
    /// Whether the repository had the blob a moment ago.
    pub(super) fn has(&self, place: &Place, blob: &Digest) -> bool {
        let seen = self.seen();
        seen.get(&(place.clone(), blob.clone())).is_some_and(|until| *until > Instant::now())
    }

    /// The repository has the blob now.
    pub(super) fn note(&self, place: &Place, blob: &Digest) {
        let (mut seen, now) = (self.seen(), Instant::now());
        if seen.len() >= BLOBS {
            seen.retain(|_, until| *until > now);
        }
        if seen.len() < BLOBS {
            seen.insert((place.clone(), blob.clone()), now + KEPT);
        }
    }

    /// What was seen of the repository counts no more.
    pub(super) fn forget(&self, place: &Place) {
        self.seen().retain(|(seen, _), _| seen != place);
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<(Place, Digest), Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(repository: &str) -> Place {
        Place { registry: "r".to_owned(), repository: repository.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_counts_for_a_while_and_in_its_place() {
        let (recent, blob) = (RecentBlobs::default(), Digest::of(b"blob"));
        recent.note(&place("a"), &blob);
        assert!(recent.has(&place("a"), &blob) && !recent.has(&place("b"), &blob));
        recent.forget(&place("b"));
        assert!(recent.has(&place("a"), &blob));
        tokio::time::advance(KEPT).await;
        assert!(!recent.has(&place("a"), &blob));
        recent.note(&place("a"), &blob);
        recent.forget(&place("a"));
        assert!(!recent.has(&place("a"), &blob));
    }

    #[tokio::test(start_paused = true)]
    async fn their_number_is_bounded() {
        let recent = RecentBlobs::default();
        let blob = |number: usize| Digest::of(&number.to_le_bytes());
        (0..2 * BLOBS).for_each(|number| recent.note(&place("a"), &blob(number)));
        assert_eq!(recent.seen().len(), BLOBS);
        tokio::time::advance(KEPT).await;
        recent.note(&place("a"), &blob(0));
        assert_eq!(recent.seen().len(), 1);
    }
}
