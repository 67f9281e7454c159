//! The `format` of an export.

use axum::http::StatusCode;
use utoipa::openapi::Object;

use crate::api::describe;
use crate::api::error::ApiError;
use crate::engine::SaveFormat;

/// The formats, as the API's description has them: the default first.
pub(super) fn names() -> Object {
    describe::words(&["oci-archive", "docker-archive", "oci-dir", "docker-dir"])
}

/// Reads a format; empty means `oci-archive`. `bad` is what the route calls one that it does not
/// know, and Podman's answer to that is 500.
pub(super) fn parse(format: &str, bad: &str) -> Result<SaveFormat, ApiError> {
    match format {
        "" | "oci-archive" => Ok(SaveFormat::OciArchive),
        "docker-archive" => Ok(SaveFormat::DockerArchive),
        "oci-dir" => Ok(SaveFormat::OciDirectory),
        "docker-dir" => Ok(SaveFormat::DockerDirectory),
        _ => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{bad} \"{format}\""))),
    }
}
