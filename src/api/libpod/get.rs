//! One image as an archive.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Engine, format};
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Name, Query};
use crate::api::stream::{Archive, archive};
use crate::engine::SaveOptions;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct GetQuery {
    /// What to write; the last two are sent as a tar of the directory.
    #[param(required = false, schema_with = format::names)]
    format: String,
    /// `docker-dir`: pack layers with gzip.
    #[param(required = false)]
    compress: bool,
}

/// Export one image as an archive
///
/// The archive is sent while it is made. A failure after the headers breaks the connection.
#[utoipa::path(
    get,
    path = "/libpod/images/{name}/get",
    tag = "images",
    operation_id = "ImageGetLibpod",
    params(("name" = String, Path, description = "Name or ID"), GetQuery),
    responses(
        (status = 200, description = "The archive; for `oci-dir` and `docker-dir` a tar of the directory", content(
            (Archive = "application/octet; charset=us-ascii"),
            (Archive = "application/x-tar"),
        )),
        (status = 400, description = "Bad parameter, or the image cannot be exported", body = ErrorBody),
        (status = 404, description = "No such image", body = ErrorBody),
        (status = 500, description = "The name cannot be one, or unknown format", body = ErrorBody),
    )
)]
pub(crate) async fn get(
    engine: Engine,
    Name(name): Name,
    query: Query<GetQuery>,
) -> Result<Response, ApiError> {
    engine.lookup(&name).await?;
    let GetQuery { format, compress } = query.params;
    let format = format::parse(&format, "unknown format")?;
    let options = SaveOptions { format, compress, ..SaveOptions::default() };
    let content = engine
        .save(vec![name], options)
        .await
        .map_err(|error| ApiError::from(error).status(StatusCode::BAD_REQUEST))?;
    Ok(archive(content, format))
}
