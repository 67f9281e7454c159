//! The image name in the path.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use crate::engine::ImageName;

/// The `{name}` of a path, percent-decoded once.
#[derive(Debug)]
pub(crate) struct Name(pub(crate) ImageName);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        // Folding leaves only valid UTF-8 in the segment. Without a name, which no route with this
        // extractor has, the empty name is no image's either.
        let name = match RawPathParams::from_request_parts(parts, state).await {
            Ok(params) => params.iter().find(|(key, _)| *key == "name").map(|(_, v)| v.to_owned()),
            Err(_) => None,
        };
        Ok(Self(ImageName::new(name.unwrap_or_default())))
    }
}
