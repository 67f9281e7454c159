//! Removing images that nobody uses.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{PruneFilters, Query};
use crate::api::wire::{self, libpod::Pruned};
use crate::engine::PruneOptions;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PruneQuery {
    /// Not only dangling images: all that no container uses.
    #[param(required = false)]
    all: bool,
    /// Also images that only containers of other tools than Podman use, with the containers. Those
    /// that run are kept with their images.
    #[param(required = false)]
    external: bool,
    /// Accepted; there is no build cache.
    #[param(required = false)]
    buildcache: bool,
}

/// Remove images that nobody uses
///
/// Images without names and children go, and so do their parents when that made them dangling.
/// Images in use are kept, whatever becomes of the others.
#[utoipa::path(
    post,
    path = "/libpod/images/prune",
    tag = "images",
    operation_id = "ImagePruneLibpod",
    params(
        PruneQuery,
        ("filters" = Option<String>, Query, description =
            "As in the image list, but of the values of one key only the first counts, and \
             `dangling` is ignored."),
    ),
    responses(
        (status = 200, description = "The images that are gone", body = [Pruned]),
        (status = 500, description = "Bad parameter, bad filter, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn prune(
    engine: Engine,
    query: Result<Query<PruneQuery>, ApiError>,
    filters: Result<PruneFilters, ApiError>,
) -> Result<Response, ApiError> {
    // Whatever is wrong with the request is a 500 here.
    let fault = |error: ApiError| error.status(StatusCode::INTERNAL_SERVER_ERROR);
    let PruneQuery { all, external, buildcache: _ } = query.map_err(fault)?.params;
    let PruneFilters { filters, all: filtered } = filters?;
    let options = PruneOptions { all: filtered.unwrap_or(all), external, filters };
    let images = engine.prune(options).await.map_err(|error| fault(error.into()))?;
    Ok(wire::ok(&images.into_iter().map(Pruned::from).collect::<Vec<_>>()))
}
