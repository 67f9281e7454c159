//! Registries and other servers, as a client of HTTP.
//!
//! | file | its one job |
//! |---|---|
//! | [`download()`] | one body from a URL that a caller names |
//! | [`client`] | one registry: how it is reached, as whom |
//! | [`sources`] | where an image can be had: mirrors, its registry |
//! | [`repository`] | reading of manifests and blobs |
//! | [`upload`] | writing of blobs and manifests |
//! | [`retry`] | trying again |
//! | `reached` | registries that were talked to a moment ago |
//! | [`docker_daemon`] | images of the Docker daemon |
//! | [`policy`] | which images may be used at all |
//! | [`mod@search`] | what registries have |
//! | `auth` | the host's own logins |
//! | `challenge`, `refusal` | what registries say when they do not do what they were asked |
//! | `http` | the client: time-outs, proxies, redirects, words for what goes wrong |
//! | `token` | bearer tokens |
//! | `tls` | whom to trust |
//! | [`error`] | what went wrong |
//!
//! Clients are dropped soon after their last operation: nothing of TLS is in memory while nobody asks
//! for it.

mod auth;
mod challenge;
pub mod client;
pub mod docker_daemon;
pub mod download;
pub mod error;
mod http;
pub mod policy;
mod reached;
mod refusal;
pub mod repository;
pub mod retry;
pub mod search;
pub mod sources;
mod tls;
mod token;
pub mod upload;

use std::path::PathBuf;
use std::time::Duration;

use crate::image::{PolicyFile, Registries};
pub use client::{Access, check_login};
pub use download::{Download, download};
pub use error::{Error, ErrorKind};
pub use policy::{Admission, Question, admit};
pub use repository::{BlobBody, Repository};
pub use retry::Retry;
pub use search::{Hit, repository_tags, search, search_tags};
pub use sources::find;
pub use upload::{Destination, ManifestRefused, Mount, Unreached, Upload};

/// How long a server may be silent if nobody says.
pub const SILENCE: Duration = Duration::from_secs(120);

/// What the host says about other servers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The tables of `registries.conf`.
    pub registries: Registries,
    /// The main file of these, if it is not where all tools look for it.
    pub registries_conf: Option<PathBuf>,
    /// Files with logins, the first that knows a registry counts. They need not exist.
    pub auth_files: Vec<PathBuf>,
    /// Directories with a directory for each registry (`certs.d`): of several for one registry the
    /// first counts. They need not exist.
    pub certs_directories: Vec<PathBuf>,
    /// Which images may be used.
    pub policy: PolicyFile,
    /// Longest body that is downloaded for an import, bytes.
    pub download_limit: u64,
    /// Where the Docker daemon is, as `DOCKER_HOST` says it. `None`: where it usually is.
    pub docker_host: Option<String>,
    /// How long a server that owes an answer, or the rest of it, may be silent.
    pub silence: Duration,
    /// Registries that were talked to a moment ago.
    reached: reached::Reached,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registries: Registries::default(),
            registries_conf: None,
            auth_files: Vec::new(),
            certs_directories: Vec::new(),
            policy: PolicyFile::default(),
            download_limit: u64::MAX,
            docker_host: None,
            silence: SILENCE,
            reached: reached::Reached::default(),
        }
    }
}
