//! What callers ask of a pull, and what they are told of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::image::{Digest, ImageId, Logins, Platform};

/// Options of [`pull`](super::ImageEngine::pull).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PullOptions {
    /// When a registry is asked at all.
    pub policy: PullPolicy,
    /// Every tag of the repository.
    pub all_tags: bool,
    /// For which platform; what is empty is the host's.
    pub platform: Platform,
    /// Whether certificates are checked, and plain HTTP refused. `None`: as `registries.conf` says.
    pub tls_verify: Option<bool>,
    /// As whom registries are asked.
    pub logins: Logins,
    /// Attempts after the first, for what may go better next time. `None`: 3.
    pub retries: Option<u32>,
    /// Wait before each of them. `None`: one second, then longer.
    pub retry_delay: Option<Duration>,
}

/// When a registry is asked at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Always.
    #[default]
    Always,
    /// If the image is not in the store.
    Missing,
    /// If the registry has another one than the store.
    Newer,
    /// Never: the image has to be in the store.
    Never,
}

/// Answer of [`pull`](super::ImageEngine::pull).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullReport {
    /// What was pulled, or was there: one image, or one for each tag.
    pub images: Vec<ImageId>,
}

/// Something that happened in a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    /// A text for people, with the end of its line.
    Text(String),
    /// About a layer or a config.
    Blob {
        /// Its digest.
        digest: Digest,
        /// What happened to it.
        stage: BlobStage,
    },
}

impl PullEvent {
    /// A text without the end of its line.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into() + "\n")
    }
}

/// How far a blob is. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobStage {
    /// What is in it is in the store already.
    Present,
    /// It begins.
    Started {
        /// Its size.
        total: u64,
    },
    /// Some of it has come. How often this is told is no promise.
    Progress {
        /// So much of it.
        current: u64,
        /// Its size.
        total: u64,
    },
    /// All of it has come.
    Done {
        /// Its size.
        total: u64,
    },
}

/// Told what happens in a pull, in order. A listener that is slow slows the pull down.
#[derive(Clone)]
pub struct PullProgress(Option<Arc<Tell>>);

type Tell = dyn Fn(PullEvent) -> BoxFuture<'static, ()> + Send + Sync;

impl PullProgress {
    /// Events are given to `tell`, one after the other.
    pub fn new(tell: impl Fn(PullEvent) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    /// Nobody listens.
    pub fn none() -> Self {
        Self(None)
    }

    /// Tells a text, without the end of its line.
    pub async fn text(&self, text: impl Into<String>) {
        self.event(PullEvent::text(text)).await;
    }

    /// Tells what happened to a blob.
    pub async fn blob(&self, digest: &Digest, stage: BlobStage) {
        self.event(PullEvent::Blob { digest: digest.clone(), stage }).await;
    }

    /// Tells an event.
    pub async fn event(&self, event: PullEvent) {
        if let Self(Some(tell)) = self {
            tell(event).await;
        }
    }
}

impl fmt::Debug for PullProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullProgress").finish_non_exhaustive()
    }
}
