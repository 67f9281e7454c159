//! Versions.

use axum::response::Response;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::wire::{self, libpod::Version};

/// Versions of the program and the host
#[utoipa::path(
    get,
    path = "/version",
    tag = "system",
    operation_id = "SystemVersion",
    responses(
        (status = 200, description = "Versions", body = Version),
        (status = 500, description = "Failure", body = ErrorBody),
    )
)]
pub(crate) async fn version(engine: Engine) -> Result<Response, ApiError> {
    answer(engine).await
}

/// Versions of the program and the host
#[utoipa::path(
    get,
    path = "/libpod/version",
    tag = "system",
    operation_id = "SystemVersionLibpod",
    responses(
        (status = 200, description = "Versions", body = Version),
        (status = 500, description = "Failure", body = ErrorBody),
    )
)]
pub(crate) async fn libpod_version(engine: Engine) -> Result<Response, ApiError> {
    answer(engine).await
}

async fn answer(engine: Engine) -> Result<Response, ApiError> {
    Ok(wire::ok(&Version::from(engine.version().await?)))
}
