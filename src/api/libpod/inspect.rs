//! Everything about one image.

use axum::http::StatusCode;
use axum::response::Response;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody, is_lookup};
use crate::api::extract::Name;
use crate::api::wire::{self, libpod::Inspect};
use crate::engine::InspectOptions;

/// Everything about one image
///
/// The name of a manifest list stands for its instance for this host.
#[utoipa::path(
    get,
    path = "/libpod/images/{name}/json",
    tag = "images",
    operation_id = "ImageInspectLibpod",
    params(("name" = String, Path, description = "Name or ID")),
    responses(
        (status = 200, description = "The image", body = Inspect),
        (status = 404, description = "The name leads to no image", body = ErrorBody),
        (status = 500, description = "Failure", body = ErrorBody),
    )
)]
pub(crate) async fn inspect(engine: Engine, Name(name): Name) -> Result<Response, ApiError> {
    match engine.inspect(&name, InspectOptions::default()).await {
        Ok(details) => Ok(wire::ok(&Inspect::from(details))),
        Err(error) if is_lookup(&error) => Err(ApiError::from(error)
            .context(format_args!("failed to find image {name}"))
            .status(StatusCode::NOT_FOUND)),
        Err(error) => {
            Err(ApiError::from(error).context(format_args!("failed in inspect image {name}")))
        }
    }
}
