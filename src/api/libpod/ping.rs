//! `_ping`: is somebody there, and how new is it.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::api::BUILDAH_VERSION;

/// Is the service there?
#[utoipa::path(
    get,
    path = "/_ping",
    tag = "system",
    operation_id = "Ping",
    responses((status = 200, description = "`OK`; versions in the headers", body = String, content_type = "text/plain; charset=utf-8"))
)]
pub(crate) async fn ping() -> Response {
    (headers(), "OK").into_response()
}

/// Is the service there? (headers only)
#[utoipa::path(
    head,
    path = "/_ping",
    tag = "system",
    operation_id = "PingHead",
    responses((status = 200, description = "Versions in the headers"))
)]
pub(crate) async fn ping_head() -> Response {
    headers().into_response()
}

/// Is the service there?
#[utoipa::path(
    get,
    path = "/libpod/_ping",
    tag = "system",
    operation_id = "PingLibpod",
    responses((status = 200, description = "`OK`; versions in the headers", body = String, content_type = "text/plain; charset=utf-8"))
)]
pub(crate) async fn libpod_ping() -> Response {
    (headers(), "OK").into_response()
}

/// Is the service there? (headers only)
#[utoipa::path(
    head,
    path = "/libpod/_ping",
    tag = "system",
    operation_id = "PingLibpodHead",
    responses((status = 200, description = "Versions in the headers"))
)]
pub(crate) async fn libpod_ping_head() -> Response {
    headers().into_response()
}

fn headers() -> [(HeaderName, HeaderValue); 7] {
    let name = HeaderName::from_static;
    let value = HeaderValue::from_static;
    [
        (name("buildkit-version"), value("")),
        (name("builder-version"), value("1")),
        (name("docker-experimental"), value("true")),
        (header::CACHE_CONTROL, value("no-cache")),
        (header::PRAGMA, value("no-cache")),
        (name("ostype"), value("linux")),
        (name("libpod-buildah-version"), value(BUILDAH_VERSION)),
    ]
}
