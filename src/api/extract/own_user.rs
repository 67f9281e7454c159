//! Who may have files of the host read: nobody who could not do it without this service.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use tokio::net::unix::UCred;

use crate::api::Settings;
use crate::api::error::ApiError;

/// Extracted from requests of the very user this program runs as, by the kernel's word: the
/// server attaches the credentials of a Unix socket's peer. Everyone else, and TCP, is refused.
#[derive(Debug)]
pub(crate) struct OwnUser(());

impl<S: Send + Sync> FromRequestParts<S> for OwnUser
where
    Arc<Settings>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let own = Arc::<Settings>::from_ref(state).user;
        match parts.extensions.get::<UCred>() {
            Some(peer) if own == Some(peer.uid()) => Ok(Self(())),
            _ => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "files of the server are read only for the user it runs as, over a Unix socket",
            )),
        }
    }
}
