//! What callers ask for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::image::{DockerConfig, Logins, Platform};

/// A name or ID as the caller wrote it, percent-decoded and nothing else. What it means is decided
/// by the engine's lookup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

impl ImageName {
    /// Takes any text, also an empty one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One filter of a list, `key=value` or `key!=value`, not interpreted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The text before `=` or `!=`.
    pub key: String,
    /// Whether images that match are left out instead.
    pub negated: bool,
    /// The text after it.
    pub value: String,
}

/// Options of [`list`](super::ImageEngine::list).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListOptions {
    /// Also intermediate images: without names but with children.
    pub all: bool,
    /// All must match, except that several `reference` filters are alternatives.
    pub filters: Vec<Filter>,
}

/// Options of [`inspect`](super::ImageEngine::inspect).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct InspectOptions {}

/// Options of [`history`](super::ImageEngine::history).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct HistoryOptions {}

/// Options of [`tree`](super::ImageEngine::tree).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TreeOptions {
    /// Walk up to what stands on the image instead of down through its own layers.
    pub what_requires: bool,
}

/// Options of [`load`](super::ImageEngine::load).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {}

/// Options of [`import`](super::ImageEngine::import). What is empty is not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Instructions in the form of Dockerfiles that make up the container config.
    pub changes: Vec<String>,
    /// Comment of the history entry.
    pub message: String,
    /// Name of the image.
    pub reference: String,
    /// Platform of the image; what is empty is the host's.
    pub platform: Platform,
}

/// What images are written as. Always a tar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SaveFormat {
    /// A tar of an OCI image layout.
    #[default]
    OciArchive,
    /// The format of `docker save`.
    DockerArchive,
    /// A tar of an OCI image layout, for those who want the directory.
    OciDirectory,
    /// A tar of a directory of the transport `dir:`, with a Docker manifest.
    DockerDirectory,
}

/// Options of [`save`](super::ImageEngine::save).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SaveOptions {
    /// What to write.
    pub format: SaveFormat,
    /// OCI formats: leave layers uncompressed instead of packing them with gzip.
    pub accept_uncompressed_layers: bool,
    /// [`SaveFormat::DockerDirectory`]: pack layers with gzip.
    pub compress: bool,
}

/// Options of [`remove`](super::ImageEngine::remove).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RemoveOptions {
    /// Without names: also intermediate images.
    pub all: bool,
    /// Remove containers that use the image and do not run, and images that have several names by their ID.
    pub force: bool,
    /// Names that are not known are no error.
    pub ignore: bool,
    /// Names must be manifest lists; the list itself is removed.
    pub lookup_manifest: bool,
    /// Keep untagged parents.
    pub no_prune: bool,
}

/// What a name in [`changes`](super::ImageEngine::changes) can mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChangesOf {
    /// An image, a container or a layer; the first that there is.
    #[default]
    Any,
    /// A container of any tool.
    Container,
    /// An image.
    Image,
}

/// Options of [`changes`](super::ImageEngine::changes).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ChangesOptions {
    /// What to compare with instead of the layer below.
    pub parent: Option<ImageName>,
    /// What the names mean.
    pub of: ChangesOf,
}

/// Options of [`prune`](super::ImageEngine::prune).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Not only dangling images: all that no container uses.
    pub all: bool,
    /// Also images whose only containers are those of other tools than Podman, with the containers,
    /// unless they run.
    pub external: bool,
    /// All must match, as in a list.
    pub filters: Vec<Filter>,
}

/// Options of [`search`](super::ImageEngine::search).
#[derive(Debug, Clone, Default)]
pub struct SearchOptions {
    /// The most hits of each registry, before they are filtered. 0: 25; less: none.
    pub limit: i64,
    /// List the tags of a repository instead of repositories.
    pub list_tags: bool,
    /// What hits must be like.
    pub filters: SearchFilters,
    /// Whether certificates are checked, and plain HTTP refused. `None`: as `registries.conf` says.
    pub tls_verify: Option<bool>,
    /// As whom registries are asked.
    pub logins: Logins,
}

/// What hits of a search must be like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchFilters {
    /// At least so many stars.
    pub stars: i64,
    /// Official, or not.
    pub official: Option<bool>,
    /// Automated, or not.
    pub automated: Option<bool>,
}

/// The kinds of images that a commit makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CommitFormat {
    /// OCI.
    #[default]
    Oci,
    /// Docker, version 2, schema 2.
    Docker,
}

/// Options of [`commit`](super::ImageEngine::commit).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CommitOptions {
    /// Name, ID, or the beginning of one.
    pub container: String,
    /// Name of the image; without it the image has none.
    pub repo: String,
    /// Tag for the name; `latest` if it is empty.
    pub tag: String,
    /// Who made the image.
    pub author: String,
    /// Docker only: a message.
    pub comment: String,
    /// Instructions of Dockerfiles that change the config.
    pub changes: Vec<String>,
    /// What to make.
    pub format: CommitFormat,
    /// Stop the container's processes meanwhile.
    pub pause: bool,
    /// One layer with everything, instead of one more on those of the container's image.
    pub squash: bool,
    /// What is to be in the config in any case; `changes` are made to it.
    pub config: DockerConfig,
}

/// What kind of manifest a push makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PushFormat {
    /// The kind that is stored, as far as the registry takes it and the compression allows.
    #[default]
    Stored,
    /// OCI.
    Oci,
    /// Docker, version 2, schema 2.
    Docker,
}

/// How a push packs layers that the registry does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PushCompression {
    /// gzip.
    #[default]
    Gzip,
    /// Zstandard, which makes the image an OCI image, unless it is to be another.
    Zstd,
}

/// Options of [`push`](super::ImageEngine::push).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PushOptions {
    /// What the manifest is to be.
    pub format: PushFormat,
    /// How layers are packed.
    pub compression: PushCompression,
    /// How hard; `None`: as usual.
    pub compression_level: Option<i64>,
    /// Layers that are packed otherwise are no good, even if the registry has them.
    pub force_compression: bool,
    /// Of a manifest list, all images that it lists.
    pub all: bool,
    /// Whether certificates are checked, and plain HTTP refused. `None`: as `registries.conf` says.
    pub tls_verify: Option<bool>,
    /// As whom the registry is asked.
    pub logins: Logins,
    /// Attempts after the first, for what may go better next time. `None`: 3.
    pub retries: Option<u32>,
    /// Wait before each of them. `None`: one second, then longer.
    pub retry_delay: Option<Duration>,
}

/// Told what a long operation is doing, line by line. Called from a blocking thread, which it may
/// block.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(String) + Send + Sync>);

impl Progress {
    /// Lines are given to `tell`.
    pub fn new(tell: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Nobody listens.
    pub fn none() -> Self {
        Self::new(drop)
    }

    /// One line.
    pub fn tell(&self, line: String) {
        (self.0)(line);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

/// Options of [`events`](super::ImageEngine::events).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventsOptions {
    /// Only what happened after this time: a date, Unix seconds, or a duration back from now.
    pub since: Option<String>,
    /// Only what happens before this time: a date, Unix seconds, or a duration from now.
    pub until: Option<String>,
    /// Goes on with what happens, until `until` if that is given. Without `since` and `until`,
    /// leaves out what has happened already.
    pub stream: bool,
    /// Values of one key are alternatives, all keys must match.
    pub filters: Vec<Filter>,
}
