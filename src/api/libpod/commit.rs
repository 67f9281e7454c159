//! An image of what a container has changed.

use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::StreamExt as _;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Query, container_config};
use crate::api::stream::documents;
use crate::api::under_way::{Step, UnderWay};
use crate::api::wire::{self, libpod::Commit, libpod::CommitRecord};
use crate::engine::{CommitFormat, CommitOptions, CommitReport, ErrorKind, ImageEngine, Progress};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(crate) struct CommitQuery {
    /// Name or ID of the container, or the beginning of its ID.
    #[param(required = true)]
    container: String,
    /// Name of the image; without it the image has none.
    #[param(required = false)]
    repo: String,
    /// Tag for the name, by default `latest`.
    #[param(required = false)]
    tag: String,
    /// Who made the image.
    #[param(required = false)]
    author: String,
    /// A message; only with the format `docker`.
    #[param(required = false)]
    comment: String,
    /// Instructions of a Dockerfile that change the config, in order. Those that build something
    /// are refused.
    #[param(required = false)]
    changes: Vec<String>,
    /// `oci`, which is the default, or `docker`.
    #[param(required = false)]
    format: String,
    /// Stop the processes of a running container meanwhile.
    #[param(required = false)]
    pause: bool,
    /// Make one layer of everything.
    #[param(required = false)]
    squash: bool,
    /// Answer with records of progress instead of one document.
    #[param(required = false)]
    stream: bool,
}

/// Make an image from a container
///
/// The container may be one of Podman, Buildah, CRI-O or any other tool that shares the store, in
/// any state. The body, if there is one, is a config in Docker's form, to which `changes` are made
/// and which then replaces what it speaks of.
///
/// With `stream` the answer is one JSON record for each line of progress, `{"stream":"…"}`; the last
/// one is the ID of the image, or `{"errorDetail":{"message":"…"}}`.
#[utoipa::path(
    post,
    path = "/libpod/commit",
    tag = "containers",
    operation_id = "ImageCommitLibpod",
    params(CommitQuery),
    request_body(content = Option<serde_json::Value>, content_type = "application/json", description = "A config in Docker's form"),
    responses(
        (status = 200, description = "What was made", body = Commit),
        (status = 400, description = "Bad parameter or body", body = ErrorBody),
        (status = 404, description = "No such container", body = ErrorBody),
        (status = 500, description = "Bad format, change or name, or failure", body = ErrorBody),
        (status = 501, description = "The container's layer cannot be read", body = ErrorBody),
        (status = 507, description = "No space left", body = ErrorBody),
    )
)]
pub(crate) async fn commit(
    engine: Engine,
    query: Query<CommitQuery>,
    body: Body,
) -> Result<Response, ApiError> {
    let CommitQuery {
        container,
        repo,
        tag,
        author,
        comment,
        changes,
        format,
        pause,
        squash,
        stream,
    } = query.params;
    let failed = |text: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text);
    let format = match format.as_str() {
        "" | "oci" => CommitFormat::Oci,
        "docker" => CommitFormat::Docker,
        format => return Err(failed(format!("unrecognized image format {format:?}"))),
    };
    if format == CommitFormat::Oci && !comment.is_empty() {
        let text = "messages are only compatible with the docker image format (-f docker)";
        return Err(failed(text.to_owned()));
    }
    let config = container_config(body).await?;
    let mut options = CommitOptions::default();
    (options.container, options.repo, options.tag) = (container, repo, tag);
    (options.author, options.comment, options.changes) = (author, comment, changes);
    (options.format, options.pause, options.squash) = (format, pause, squash);
    options.config = config;
    if stream {
        return streamed(Arc::clone(&engine), options).await;
    }
    let report = engine.commit(options, Progress::none()).await?;
    Ok(wire::ok(&Commit::from(report)))
}

/// Podman finds the container before it answers, and fails in its answer from then on.
async fn streamed(
    engine: Arc<dyn ImageEngine>,
    options: CommitOptions,
) -> Result<Response, ApiError> {
    let mut work = UnderWay::begin(|sender| async move {
        // A client that is gone needs no lines; the commit is stopped by dropping it.
        let progress = Progress::new(move |line| drop(sender.blocking_send(line)));
        engine.commit(options, progress).await
    });
    let early = [ErrorKind::NoSuchContainer, ErrorKind::Canceled, ErrorKind::Exhausted];
    let first = match work.next().await {
        Some(Step::Ended(Err(error))) if early.contains(&error.kind()) => return Err(error.into()),
        first => first,
    };
    Ok(documents(work.steps(first).map(record)))
}

fn record(step: Step<CommitReport, String>) -> CommitRecord {
    match step {
        Step::Told(line) => CommitRecord::Stream(line),
        Step::Ended(Ok(report)) => CommitRecord::Stream(report.id.to_string()),
        Step::Ended(Err(error)) => {
            tracing::warn!(%error, "request failed");
            CommitRecord::ErrorDetail { message: error.to_string() }
        }
    }
}
