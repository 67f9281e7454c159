//! A further name for an image.

use axum::http::StatusCode;
use axum::response::Response;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody, is_lookup};
use crate::api::extract::{Form, Name, RepoTag};
use crate::api::stream::newline;
use crate::engine;

/// Give an image a further name
///
/// The name is taken from whichever image has it. `repo` is required; `tag` is `latest` by default.
#[utoipa::path(
    post,
    path = "/libpod/images/{name}/tag",
    tag = "images",
    operation_id = "ImageTagLibpod",
    params(("name" = String, Path, description = "Name or ID"), RepoTag),
    request_body(content = Option<RepoTag>, content_type = "application/x-www-form-urlencoded", description = "The parameters may also be here, which wins"),
    responses(
        (status = 201, description = "Done; the body is a newline", body = String, content_type = "text/plain; charset=us-ascii"),
        (status = 400, description = "No `repo`", body = ErrorBody),
        (status = 404, description = "No such image", body = ErrorBody),
        (status = 500, description = "A name that cannot be one, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn tag(
    engine: Engine,
    Name(name): Name,
    Form(RepoTag { repo, tag }): Form,
) -> Result<Response, ApiError> {
    let failure = |error: engine::Error| match is_lookup(&error) {
        true => ApiError::from(error).context(format_args!("failed to find image {name}")),
        false => error.into(),
    };
    if repo.is_empty() {
        // The image is looked for first, and its absence is the greater news.
        engine.lookup(&name).await.map_err(failure)?;
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "repo parameter is required to tag an image",
        ));
    }
    engine.tag(&name, &repo, &tag).await.map_err(failure)?;
    Ok(newline(StatusCode::CREATED))
}
