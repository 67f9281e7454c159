//! Several images as one archive.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::Object;
use utoipa::openapi::schema::{Array, Type};

use super::{Engine, format};
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::Query;
use crate::api::stream::{Archive, archive};
use crate::engine::{ImageName, SaveOptions};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ExportQuery {
    /// Names or IDs; at least one, and only one unless the format is `docker-archive`.
    #[param(required = true, schema_with = names)]
    references: Vec<String>,
    /// What to write; the last two are sent as a tar of the directory.
    #[param(required = false, schema_with = format::names)]
    format: String,
    /// `docker-dir`: pack layers with gzip.
    #[param(required = false)]
    compress: bool,
    /// `oci-archive`: leave layers uncompressed.
    #[param(required = false)]
    oci_accept_uncompressed_layers: bool,
}

fn names() -> Array {
    let name = Object::builder().schema_type(Type::String).min_length(Some(1));
    Array::builder().items(name).min_items(Some(1)).build()
}

/// Export images as an archive
///
/// The archive is sent while it is made. A failure after the headers breaks the connection.
#[utoipa::path(
    get,
    path = "/libpod/images/export",
    tag = "images",
    operation_id = "ImageExportLibpod",
    params(ExportQuery),
    responses(
        (status = 200, description = "The archive; for `oci-dir` and `docker-dir` a tar of the directory", content(
            (Archive = "application/octet; charset=us-ascii"),
            (Archive = "application/x-tar"),
        )),
        (status = 400, description = "Bad parameter, no references, no such image, or it cannot be exported", body = ErrorBody),
        (status = 500, description = "Unknown format, or one that holds a single image", body = ErrorBody),
    )
)]
pub(crate) async fn export(
    engine: Engine,
    query: Query<ExportQuery>,
) -> Result<Response, ApiError> {
    let ExportQuery { references, format, compress, oci_accept_uncompressed_layers } = query.params;
    if references.is_empty() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "no references"));
    }
    if references.len() > 1 && format != "docker-archive" {
        return Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "multi-image archives must use format of docker-archive",
        ));
    }
    let format = format::parse(&format, "unsupported format")?;
    let options = SaveOptions {
        format,
        accept_uncompressed_layers: oci_accept_uncompressed_layers,
        compress,
    };
    let content = engine
        .save(references.into_iter().map(ImageName::new).collect(), options)
        .await
        .map_err(|error| ApiError::from(error).status(StatusCode::BAD_REQUEST))?;
    Ok(archive(content, format))
}
