//! JSON as clients see it. What is omitted, what is null and what is always there is decided here
//! and nowhere else.

pub(crate) mod docker;
pub(crate) mod libpod;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;

/// A JSON document with the newline that Podman ends it with.
pub(crate) fn document<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    match serde_json::to_vec(value) {
        Ok(mut json) => {
            json.push(b'\n');
            (status, [(header::CONTENT_TYPE, JSON)], json).into_response()
        }
        Err(error) => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            .context("encoding the answer")
            .into_response(),
    }
}

/// A document with status 200.
pub(crate) fn ok<T: Serialize + ?Sized>(value: &T) -> Response {
    document(StatusCode::OK, value)
}
