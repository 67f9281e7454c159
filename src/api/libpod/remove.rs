//! Removing several images.

use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::Query;
use crate::api::wire::{self, libpod::Remove};
use crate::engine::{ImageName, RemoveOptions, RemoveReport};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RemoveQuery {
    /// Names or IDs.
    #[param(required = false)]
    images: Vec<String>,
    /// Without `images`: every image.
    #[param(required = false)]
    all: bool,
    /// Remove containers that use an image and do not run, and images that have several names by
    /// their ID.
    #[param(required = false)]
    force: bool,
    /// An unknown image is no error.
    #[param(required = false)]
    ignore: bool,
    /// Names must be manifest lists; the list itself is removed.
    #[param(required = false)]
    lookup_manifest: bool,
    /// Keep untagged parents.
    #[param(required = false)]
    noprune: bool,
}

/// Remove images, or only names of them
///
/// Failures are in the report. A request with neither `images` nor `all` removes nothing; Podman
/// would remove every image.
#[utoipa::path(
    delete,
    path = "/libpod/images/remove",
    tag = "images",
    operation_id = "ImageDeleteAllLibpod",
    params(RemoveQuery),
    responses(
        (status = 200, description = "What was removed and what failed", body = Remove),
        (status = 400, description = "Bad parameter", body = ErrorBody),
        (status = 500, description = "Failure that concerns no single image", body = ErrorBody),
    )
)]
pub(crate) async fn remove(
    engine: Engine,
    query: Query<RemoveQuery>,
) -> Result<Response, ApiError> {
    let RemoveQuery { images, all, force, ignore, lookup_manifest, noprune } = query.params;
    if images.is_empty() && !all {
        return Ok(wire::ok(&Remove::batch(RemoveReport::default())));
    }
    let options = RemoveOptions { all, force, ignore, lookup_manifest, no_prune: noprune };
    let names = images.into_iter().map(ImageName::new).collect();
    Ok(wire::ok(&Remove::batch(engine.remove(names, options).await?)))
}
