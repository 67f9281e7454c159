//! How an image was built.

use axum::response::Response;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody, is_lookup};
use crate::api::extract::Name;
use crate::api::wire::{self, libpod::History};
use crate::engine::HistoryOptions;

/// How an image was built, last step first
#[utoipa::path(
    get,
    path = "/libpod/images/{name}/history",
    tag = "images",
    operation_id = "ImageHistoryLibpod",
    params(("name" = String, Path, description = "Name or ID")),
    responses(
        (status = 200, description = "The steps", body = [History]),
        (status = 404, description = "No such image", body = ErrorBody),
        (status = 500, description = "The name cannot be one, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn history(engine: Engine, Name(name): Name) -> Result<Response, ApiError> {
    match engine.history(&name, HistoryOptions::default()).await {
        Ok(steps) => Ok(wire::ok(&steps.into_iter().map(History::from).collect::<Vec<_>>())),
        Err(error) if is_lookup(&error) => {
            Err(ApiError::from(error).context(format_args!("failed to find image {name}")))
        }
        Err(error) => Err(error.into()),
    }
}
