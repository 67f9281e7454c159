//! An image from the tar of a root file system.

use std::path::Path;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{OwnUser, Query};
use crate::api::stream::{Archive, upload};
use crate::api::wire::{self, libpod::Import};
use crate::engine::ImportOptions;
use crate::image::Platform;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct ImportQuery {
    /// Instructions of a Dockerfile that make up the config, in order: `CMD`, `ENTRYPOINT`, `ENV`,
    /// `EXPOSE`, `LABEL`, `ONBUILD` (which OCI configs do not keep), `STOPSIGNAL`, `USER`, `VOLUME`,
    /// `WORKDIR`.
    #[param(required = false)]
    changes: Vec<String>,
    /// Comment of the history entry.
    #[param(required = false)]
    message: String,
    /// Name of the image.
    #[param(required = false)]
    reference: String,
    /// A file of the server to import instead of the body: only for the user the server runs as,
    /// over a Unix socket. Or a URL, `http` or `https`, to download; redirects to another scheme
    /// are not followed.
    #[serde(rename = "URL")]
    #[param(required = false)]
    url: String,
    /// Operating system, by default the host's.
    #[serde(rename = "OS")]
    #[param(required = false)]
    os: String,
    /// Architecture, by default the host's.
    #[serde(rename = "Architecture")]
    #[param(required = false)]
    architecture: String,
    /// CPU variant, by default none.
    #[serde(rename = "Variant")]
    #[param(required = false)]
    variant: String,
}

/// Make an image from a root file system
///
/// The body is a tar, plain or compressed with gzip, bzip2, xz or zstd, whatever the content type
/// says; it becomes the only layer. Read in one pass; when it fails, nothing is stored.
#[utoipa::path(
    post,
    path = "/libpod/images/import",
    tag = "images",
    operation_id = "ImageImportLibpod",
    params(ImportQuery),
    request_body(content = Option<Archive>, content_type = "application/x-tar", description = "The tar; nothing is a tar without members"),
    responses(
        (status = 200, description = "What was stored", body = Import),
        (status = 400, description = "Bad parameter", body = ErrorBody),
        (status = 408, description = "The client has stopped sending", body = ErrorBody),
        (status = 413, description = "More than the limits of the server allow", body = ErrorBody),
        (status = 500, description = "Bad change or name, not a tar, damaged, cannot be downloaded, or failure", body = ErrorBody),
        (status = 403, description = "`URL` is a path: not the server's user, or not a Unix socket", body = ErrorBody),
    )
)]
pub(crate) async fn import(
    engine: Engine,
    query: Query<ImportQuery>,
    user: Result<OwnUser, ApiError>,
    body: Body,
) -> Result<Response, ApiError> {
    let ImportQuery { changes, message, reference, url, os, architecture, variant } = query.params;
    let failed = |error: ApiError| error.context("unable to import tarball");
    let platform = Platform { os, architecture, variant };
    let options = ImportOptions { changes, message, reference, platform };
    let imported = if url.is_empty() {
        let (content, sender) = upload(body);
        engine.import(content, options).await.map_err(|error| sender.explain(error))
    } else if url.contains("://") {
        engine.import_url(&url, options).await.map_err(ApiError::from)
    } else {
        user.map_err(failed)?;
        engine.import_file(Path::new(&url), options).await.map_err(ApiError::from)
    };
    let report =
        imported.map_err(|error| failed(error).status(StatusCode::INTERNAL_SERVER_ERROR))?;
    Ok(wire::ok(&Import::from(report)))
}
