//! An image of what a container has changed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::Engine;
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::{Query, container_config};
use crate::api::wire::{self, libpod::Commit, libpod::CommitRecord};
use crate::engine::{
    CommitFormat, CommitOptions, CommitReport, ErrorKind, ImageEngine, Progress, Result as Outcome,
};

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

/// Lines that may wait for a slow client.
const LINES: usize = 16;

/// A commit under way. Dropping it stops the commit.
struct Running {
    work: Pin<Box<dyn Future<Output = Outcome<CommitReport>> + Send>>,
    lines: mpsc::Receiver<String>,
    outcome: Option<Outcome<CommitReport>>,
    ended: bool,
}

impl Running {
    /// The next record; `None` after the last one.
    async fn next(&mut self) -> Option<CommitRecord> {
        while self.outcome.is_none() && !self.ended {
            tokio::select! {
                biased;
                Some(line) = self.lines.recv() => return Some(CommitRecord::Stream(line)),
                outcome = &mut self.work => self.outcome = Some(outcome),
            }
        }
        // What was told just before the end.
        if let Ok(line) = self.lines.try_recv() {
            return Some(CommitRecord::Stream(line));
        }
        self.ended = true;
        self.outcome.take().map(|outcome| match outcome {
            Ok(report) => CommitRecord::Stream(report.id.to_string()),
            Err(error) => {
                tracing::warn!(%error, "request failed");
                CommitRecord::ErrorDetail { message: error.to_string() }
            }
        })
    }
}

/// Podman finds the container before it answers, and fails in its answer from then on.
async fn streamed(
    engine: Arc<dyn ImageEngine>,
    options: CommitOptions,
) -> Result<Response, ApiError> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let (sender, lines) = mpsc::channel(LINES);
    // A client that is gone needs no lines; the commit is stopped by dropping it.
    let progress = Progress::new(move |line| drop(sender.blocking_send(line)));
    let work = Box::pin(async move { engine.commit(options, progress).await });
    let mut running = Running { work, lines, outcome: None, ended: false };
    let first = running.begin().await?;
    let state = (running, Some(first));
    let records = stream::unfold(state, |(mut running, first)| async move {
        let record = match first {
            Some(first) => first,
            None => running.next().await,
        }?;
        let mut json = serde_json::to_vec(&record).unwrap_or_default();
        json.push(b'\n');
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(json)), (running, None)))
    });
    Ok(([(header::CONTENT_TYPE, JSON)], Body::from_stream(records)).into_response())
}

impl Running {
    /// The first record, or the failure that comes before any.
    async fn begin(&mut self) -> Result<Option<CommitRecord>, ApiError> {
        tokio::select! {
            biased;
            Some(line) = self.lines.recv() => return Ok(Some(CommitRecord::Stream(line))),
            outcome = &mut self.work => self.outcome = Some(outcome),
        }
        let early = [ErrorKind::NoSuchContainer, ErrorKind::Canceled, ErrorKind::Exhausted];
        match self.outcome.take() {
            Some(Err(error)) if early.contains(&error.kind()) => Err(error.into()),
            outcome => {
                self.outcome = outcome;
                Ok(self.next().await)
            }
        }
    }
}
