//! Podman's libpod image API over HTTP, on top of [`ImageEngine`].
//!
//! The whole API is in [`router`](mod@router): one line for each route. Before a request gets there its target
//! is folded ([`canonical`]); the handlers in [`libpod`] decode it with [`extract`], call the
//! engine, and answer with [`wire`] documents, [`stream`] bodies, or an [`error`]. Statuses, texts
//! and odd bodies are those of Podman 6, which clients of Podman 4 and later accept.
//!
//! Nothing here knows of files, stores or registries.
//!
//! [`ImageEngine`]: crate::engine::ImageEngine

mod access;
mod canonical;
mod describe;
mod docker;
mod error;
mod extract;
mod libpod;
mod router;
mod stream;
mod under_way;
mod wire;

pub use router::{Api, Settings, openapi, router};

/// The version of Podman whose API this is. Clients refuse servers that are too old, never ones
/// that are too new.
pub(crate) const LIBPOD_VERSION: &str = "6.0.0";
/// The version of Docker's API that Podman 6 announces.
pub(crate) const DOCKER_API_VERSION: &str = "1.44";
/// The version of Buildah inside Podman 6.
pub(crate) const BUILDAH_VERSION: &str = "1.43.0";
