//! What a name would be pulled as.

use axum::http::StatusCode;
use axum::response::Response;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::Name;
use crate::api::wire::{self, libpod::Resolved};

/// What a name would be pulled as
///
/// By the aliases and search registries of this host. No registry is asked.
#[utoipa::path(
    get,
    path = "/libpod/images/{name}/resolve",
    tag = "images",
    operation_id = "ImageResolveLibpod",
    params(("name" = String, Path, description = "Short or full name")),
    responses(
        (status = 200, description = "Full names, in the order of attempts", body = Resolved),
        (status = 400, description = "The name cannot be one, or nothing says what it is short for", body = ErrorBody),
    )
)]
pub(crate) async fn resolve(engine: Engine, Name(name): Name) -> Result<Response, ApiError> {
    let report = engine.resolve(&name).await.map_err(|error| {
        ApiError::from(error)
            .context(format_args!("resolving {:?}", name.as_str()))
            .status(StatusCode::BAD_REQUEST)
    })?;
    Ok(wire::ok(&Resolved::from(report)))
}
