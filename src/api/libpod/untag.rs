//! Taking names from an image.

use axum::http::StatusCode;
use axum::response::Response;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Form, Name, RepoTag};
use crate::api::stream::newline;
use crate::engine::ErrorKind;

/// Take a name from an image, or all its names
///
/// `tag` is `latest` by default. Without `repo` and `tag` all names are taken.
#[utoipa::path(
    post,
    path = "/libpod/images/{name}/untag",
    tag = "images",
    operation_id = "ImageUntagLibpod",
    params(("name" = String, Path, description = "Name or ID"), RepoTag),
    request_body(content = Option<RepoTag>, content_type = "application/x-www-form-urlencoded", description = "The parameters may also be here, which wins"),
    responses(
        (status = 201, description = "Done; the body is a newline", body = String, content_type = "text/plain; charset=us-ascii"),
        (status = 400, description = "`tag` without `repo`", body = ErrorBody),
        (status = 404, description = "No such image", body = ErrorBody),
        (status = 500, description = "Not a name of the image, or failure", body = ErrorBody),
    )
)]
pub(crate) async fn untag(
    engine: Engine,
    Name(name): Name,
    Form(RepoTag { repo, tag }): Form,
) -> Result<Response, ApiError> {
    if repo.is_empty() && !tag.is_empty() {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "repo parameter is required to tag an image",
        ));
    }
    // Podman says which image it is about only if there is none.
    engine.untag(&name, &repo, &tag).await.map_err(|error| match error.kind() {
        ErrorKind::NoSuchImage => {
            ApiError::from(error).context(format_args!("failed to find image {name}"))
        }
        _ => error.into(),
    })?;
    Ok(newline(StatusCode::CREATED))
}
