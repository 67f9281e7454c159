//! Copying an image to another host.
//!
//! Podman does it over ssh with the connections of its own configuration, which are none of ours.
//! What it refuses is refused here in its words; the rest is not served.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Name, Query};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ScpQuery {
    /// `connection::`, for the same name there.
    #[param(required = false)]
    destination: String,
    /// Accepted.
    #[param(required = false)]
    quiet: bool,
}

/// What both ends of a copy between users of one host contain.
const OTHER_USER: &str = "@localhost::";
/// What ends the name of a connection.
const CONNECTION: &str = "::";

/// Copy an image to another host
///
/// Not served: save the image on one side and load it on the other.
#[utoipa::path(
    post,
    path = "/libpod/images/scp/{name}",
    tag = "images",
    operation_id = "ImageScpLibpod",
    params(("name" = String, Path, description = "`[connection::]name`"), ScpQuery),
    responses(
        (status = 400, description = "A copy between users of one host, or a bad parameter", body = ErrorBody),
        (status = 500, description = "Neither side is another host", body = ErrorBody),
        (status = 501, description = "Any other copy", body = ErrorBody),
    )
)]
pub(crate) async fn scp(Name(name): Name, query: Query<ScpQuery>) -> Result<Response, ApiError> {
    let ScpQuery { destination, quiet: _ } = query.params;
    let invalid = |status, text| Err(ApiError::new(status, "invalid argument").context(text));
    if [name.as_str(), &destination].iter().any(|end| end.contains(OTHER_USER)) {
        let text = "cannot use the user transfer function on the remote client";
        return invalid(StatusCode::BAD_REQUEST, text);
    }
    if destination.is_empty() && !name.as_str().contains(CONNECTION) {
        return invalid(StatusCode::INTERNAL_SERVER_ERROR, "must specify a destination");
    }
    let reason = "images are not copied over ssh: save the image and load it on the other host";
    Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, reason))
}
