//! What the layer of an image or container changes.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::Object;

use super::Engine;
use crate::api::describe;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Name, Query};
use crate::api::wire::{self, libpod::Changed};
use crate::engine::{ChangesOf, ChangesOptions, ImageName};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ChangesQuery {
    /// Image, container or layer to compare with, instead of the layer below.
    #[param(required = false)]
    parent: String,
    /// What names mean: `all` is an image, a container or a layer, in this order.
    #[param(required = false, schema_with = diff_types)]
    diff_type: String,
}

fn diff_types() -> Object {
    describe::words(&["all", "container", "image"])
}

/// What the top layer of an image changes
///
/// Compared with its parent; of an image with one layer everything is new. Sorted by path; null
/// if nothing changed. A name with a slash must be escaped.
#[utoipa::path(
    get,
    path = "/libpod/images/{name}/changes",
    tag = "images",
    operation_id = "ImageChangesLibpod",
    params(("name" = String, Path, description = "Name or ID"), ChangesQuery),
    responses(
        (status = 200, description = "Changed paths, or null", body = Option<Vec<Changed>>),
        (status = 400, description = "Bad parameter", body = ErrorBody),
        (status = 500, description = "Nothing of that name, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn image_changes(
    engine: Engine,
    Name(name): Name,
    query: Query<ChangesQuery>,
) -> Result<Response, ApiError> {
    changes(engine, name, query).await
}

/// What the layer of a container changes
///
/// The same as for images: clients use this path for both.
#[utoipa::path(
    get,
    path = "/libpod/containers/{name}/changes",
    tag = "containers",
    operation_id = "ContainerChangesLibpod",
    params(("name" = String, Path, description = "Name or ID"), ChangesQuery),
    responses(
        (status = 200, description = "Changed paths, or null", body = Option<Vec<Changed>>),
        (status = 400, description = "Bad parameter", body = ErrorBody),
        (status = 500, description = "Nothing of that name, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn container_changes(
    engine: Engine,
    Name(name): Name,
    query: Query<ChangesQuery>,
) -> Result<Response, ApiError> {
    changes(engine, name, query).await
}

async fn changes(
    engine: Engine,
    name: ImageName,
    query: Query<ChangesQuery>,
) -> Result<Response, ApiError> {
    let ChangesQuery { parent, diff_type } = query.params;
    let of = match diff_type.as_str() {
        "" | "all" => ChangesOf::Any,
        "container" => ChangesOf::Container,
        "image" => ChangesOf::Image,
        other => {
            let text = format!("invalid diffType value {other:?}");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, text));
        }
    };
    let parent = (!parent.is_empty()).then(|| ImageName::new(parent));
    // Also what is not there is a 500.
    let changes = engine
        .changes(&name, ChangesOptions { parent, of })
        .await
        .map_err(|error| ApiError::from(error).status(StatusCode::INTERNAL_SERVER_ERROR))?;
    Ok(wire::ok(&Changed::list(changes)))
}
