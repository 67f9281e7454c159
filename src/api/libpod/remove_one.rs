//! Removing one image.

use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Name, Query};
use crate::api::wire::{self, libpod::Remove};
use crate::engine::RemoveOptions;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RemoveOneQuery {
    /// Remove containers that use the image and do not run, and an image that has several names by
    /// its ID.
    #[param(required = false)]
    force: bool,
    /// An unknown image is no error.
    #[param(required = false)]
    ignore: bool,
    /// The name must be a manifest list; the list itself is removed.
    #[param(required = false)]
    lookup_manifest: bool,
}

/// Remove an image, or only a name of it
#[utoipa::path(
    delete,
    path = "/libpod/images/{name}",
    tag = "images",
    operation_id = "ImageDeleteLibpod",
    params(("name" = String, Path, description = "Name or ID"), RemoveOneQuery),
    responses(
        (status = 200, description = "What was removed", body = Remove),
        (status = 400, description = "Bad parameter", body = ErrorBody),
        (status = 404, description = "No such image", body = ErrorBody),
        (status = 409, description = "A container uses the image", body = ErrorBody),
        (status = 500, description = "Any other failure", body = ErrorBody),
    )
)]
pub(crate) async fn remove_one(
    engine: Engine,
    Name(name): Name,
    query: Query<RemoveOneQuery>,
) -> Result<Response, ApiError> {
    let RemoveOneQuery { force, ignore, lookup_manifest } = query.params;
    let options = RemoveOptions { force, ignore, lookup_manifest, ..RemoveOptions::default() };
    let mut report = engine.remove(vec![name], options).await?;
    // One name cannot fail twice; the first error is the answer.
    match report.errors.is_empty() {
        true => Ok(wire::ok(&Remove::one(report))),
        false => Err(report.errors.swap_remove(0).into()),
    }
}
