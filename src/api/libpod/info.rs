//! Host, store and registries.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::Engine;
use crate::api::Settings;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::wire::{self, libpod::Info};

/// Host, store and registries
#[utoipa::path(
    get,
    path = "/libpod/info",
    tag = "system",
    operation_id = "SystemInfoLibpod",
    responses(
        (status = 200, description = "What is known", body = Info),
        (status = 500, description = "Failure", body = ErrorBody),
    )
)]
pub(crate) async fn info(
    engine: Engine,
    State(settings): State<Arc<Settings>>,
) -> Result<Response, ApiError> {
    Ok(wire::ok(&Info::new(engine.info().await?, &settings)))
}
