//! Images from an archive that lies on the server.

use std::path::Path;

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{OwnUser, Query};
use crate::api::wire::{self, libpod::Load};
use crate::engine::{ErrorKind, LoadOptions};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct LocalLoadQuery {
    /// Absolute path of the archive or directory on the server.
    #[param(required = true, pattern = "^/")]
    path: String,
}

/// Store every image of an archive on the server
///
/// As `/libpod/images/load`, from a file, or from a directory that is an OCI layout or was
/// written by the transport `dir:`. The only image of a directory gets no name; of several each
/// gets those that the layout gives it. Only for the user the server runs as, over a Unix socket.
#[utoipa::path(
    post,
    path = "/libpod/local/images/load",
    tag = "images",
    operation_id = "LocalImagesLibpod",
    params(LocalLoadQuery),
    responses(
        (status = 200, description = "What was stored", body = Load),
        (status = 400, description = "Bad parameter", body = ErrorBody),
        (status = 403, description = "Not the server's user, or not a Unix socket", body = ErrorBody),
        (status = 404, description = "No such file", body = ErrorBody),
        (status = 413, description = "More than the limits of the server allow", body = ErrorBody),
        (status = 500, description = "Not readable, not an archive, damaged, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn load(
    engine: Engine,
    query: Query<LocalLoadQuery>,
    user: Result<OwnUser, ApiError>,
) -> Result<Response, ApiError> {
    let path = query.params.path;
    if path.is_empty() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "path query parameter is required"));
    }
    if !path.starts_with('/') {
        let error = ApiError::new(StatusCode::BAD_REQUEST, "path is not absolute");
        return Err(error.detail(format_args!("{path:?}")));
    }
    user?;
    let report =
        engine.load_file(Path::new(&path), LoadOptions::default()).await.map_err(|error| {
            match error.kind() {
                ErrorKind::NoSuchFile => ApiError::from(error),
                _ => ApiError::from(error)
                    .context("unable to load image")
                    .status(StatusCode::INTERNAL_SERVER_ERROR),
            }
        })?;
    Ok(wire::ok(&Load::from(report)))
}
