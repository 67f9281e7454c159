//! Does an image exist?

use axum::http::StatusCode;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::Name;

/// Does an image exist?
///
/// An image that cannot be read, or a list without an instance for this host, does not.
#[utoipa::path(
    get,
    path = "/libpod/images/{name}/exists",
    tag = "images",
    operation_id = "ImageExistsLibpod",
    params(("name" = String, Path, description = "Name or ID")),
    responses(
        (status = 204, description = "It does"),
        (status = 404, description = "It does not, or the name cannot be one", body = ErrorBody),
    )
)]
pub(crate) async fn exists(engine: Engine, Name(name): Name) -> Result<StatusCode, ApiError> {
    let not_found = || format!("failed to find image {name}");
    match engine.exists(&name).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(ApiError::new(StatusCode::NOT_FOUND, not_found())),
        // Never a 500: callers only look at the status, and take anything but 404 for an accident.
        Err(error) => Err(ApiError::from(error).context(not_found()).status(StatusCode::NOT_FOUND)),
    }
}
