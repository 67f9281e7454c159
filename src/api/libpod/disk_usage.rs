//! How much space is used.

use axum::response::Response;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::wire::{self, libpod::DiskUsage};

/// How much space images take
///
/// Containers and volumes are Podman's own business; their lists are always empty.
#[utoipa::path(
    get,
    path = "/libpod/system/df",
    tag = "system",
    operation_id = "SystemDataUsageLibpod",
    responses(
        (status = 200, description = "One element for each name of each image", body = DiskUsage),
        (status = 500, description = "Failure", body = ErrorBody),
    )
)]
pub(crate) async fn disk_usage(engine: Engine) -> Result<Response, ApiError> {
    Ok(wire::ok(&DiskUsage::from(engine.disk_usage().await?)))
}
