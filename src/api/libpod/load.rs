//! Images from an archive.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::stream::{Archive, upload};
use crate::api::wire::{self, libpod::Load};
use crate::engine::LoadOptions;

/// Store every image of an archive
///
/// A docker-archive, an oci-archive or the tar of a `dir:` directory, plain or compressed with
/// gzip, bzip2, xz or zstd, whatever the content type says. Read in one pass; when it fails, nothing is stored.
#[utoipa::path(
    post,
    path = "/libpod/images/load",
    tag = "images",
    operation_id = "ImageLoadLibpod",
    request_body(content = Archive, content_type = "application/x-tar", description = "The archive"),
    responses(
        (status = 200, description = "What was stored", body = Load),
        (status = 408, description = "The client has stopped sending", body = ErrorBody),
        (status = 413, description = "More than the limits of the server allow", body = ErrorBody),
        (status = 500, description = "Not an archive, damaged, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn load(engine: Engine, body: Body) -> Result<Response, ApiError> {
    let (archive, sender) = upload(body);
    let report = engine.load(archive, LoadOptions::default()).await.map_err(|error| {
        sender
            .explain(error)
            .context("unable to load image")
            .status(StatusCode::INTERNAL_SERVER_ERROR)
    })?;
    Ok(wire::ok(&Load::from(report)))
}
