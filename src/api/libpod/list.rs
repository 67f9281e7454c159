//! The image list.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Filters, Query};
use crate::api::wire::{self, libpod::Summary};
use crate::engine::ListOptions;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ListQuery {
    /// Also intermediate images: without names but with children.
    #[param(required = false)]
    all: bool,
    /// A request for digests, which Podman's clients do not make. It has no document to answer with.
    #[param(ignore)]
    digests: bool,
}

/// List images
///
/// In the order in which they were stored. All filters must match; several `reference` filters are
/// alternatives. `digests` is not supported: when it is spelled exactly so and true, the answer is
/// 200 and empty.
#[utoipa::path(
    get,
    path = "/libpod/images/json",
    tag = "images",
    operation_id = "ImageListLibpod",
    params(
        ListQuery,
        ("filters" = Option<String>, Query, description =
            "JSON, `{\"key\":[\"value\"]}` or `{\"key\":{\"value\":true}}`; a key that ends in `!` \
             negates. Keys: after, before, containers, dangling, digest, id, intermediate, label, \
             manifest, readonly, reference, since, until. For clients before 5.0 the values of one \
             key are joined with `=`."),
    ),
    responses(
        (status = 200, description = "The images", body = [Summary]),
        (status = 400, description = "Bad parameter", body = ErrorBody),
        (status = 500, description = "Bad filter, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn list(
    engine: Engine,
    query: Query<ListQuery>,
    Filters(filters): Filters,
) -> Result<Response, ApiError> {
    if query.params.digests && query.spelled("digests") {
        return Ok(().into_response());
    }
    let options = ListOptions { all: query.params.all, filters };
    // Also an unknown image in a filter is a 500 here.
    let images = engine
        .list(options)
        .await
        .map_err(|error| ApiError::from(error).status(StatusCode::INTERNAL_SERVER_ERROR))?;
    Ok(wire::ok(&images.into_iter().map(Summary::from).collect::<Vec<_>>()))
}
