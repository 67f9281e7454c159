//! The layers of an image, drawn.

use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Name, Query};
use crate::api::wire::{self, libpod::Tree};
use crate::engine::{ErrorKind, TreeOptions};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct TreeQuery {
    /// Show the images that stand on this one instead of its own layers.
    #[param(required = false)]
    whatrequires: bool,
}

/// The layers of an image, or what stands on them, as a drawing
#[utoipa::path(
    get,
    path = "/libpod/images/{name}/tree",
    tag = "images",
    operation_id = "ImageTreeLibpod",
    params(("name" = String, Path, description = "Name or ID"), TreeQuery),
    responses(
        (status = 200, description = "The drawing", body = Tree),
        (status = 400, description = "Bad parameter", body = ErrorBody),
        (status = 404, description = "No such image", body = ErrorBody),
        (status = 500, description = "The name cannot be one, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn tree(
    engine: Engine,
    Name(name): Name,
    query: Query<TreeQuery>,
) -> Result<Response, ApiError> {
    let options = TreeOptions { what_requires: query.params.whatrequires };
    let tree = engine.tree(&name, options).await.map_err(|error| {
        let doing = match error.kind() {
            ErrorKind::NoSuchImage => "failed to find image",
            _ => "failed to generate image tree for",
        };
        ApiError::from(error).context(format_args!("{doing} {name}"))
    })?;
    Ok(wire::ok(&Tree::from(tree)))
}
