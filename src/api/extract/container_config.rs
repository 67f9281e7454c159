//! The body of a commit.

use axum::body::Body;
use axum::http::StatusCode;

use super::go_json::syntax_error;
use crate::api::error::ApiError;
use crate::api::stream::small;
use crate::image::DockerConfig;

/// Longest body, in bytes. Docker's limit for such documents.
const LIMIT_BYTES: usize = 1 << 20;

/// A config of Docker's form; nothing at all is an empty one.
pub(crate) async fn container_config(body: Body) -> Result<DockerConfig, ApiError> {
    let refused = |text: String| ApiError::new(StatusCode::BAD_REQUEST, text);
    let bytes = small(body, LIMIT_BYTES).await;
    let bytes = bytes.map_err(|error| error.context("reading the body"))?;
    if bytes.is_empty() {
        return Ok(DockerConfig::default());
    }
    if let Some(error) = syntax_error(&String::from_utf8_lossy(&bytes)) {
        return Err(refused(error));
    }
    DockerConfig::parse(&bytes).map_err(|error| refused(error.to_string()))
}
