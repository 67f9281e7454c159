//! Bodies that are not one JSON document.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use crate::engine::{self, ByteStream, SaveFormat};
use crate::image::go_json;

/// How archives are described: a string of bytes, for want of anything better in JSON Schema.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct Archive(#[expect(dead_code, reason = "only its description is used")] Vec<u8>);

/// The content type Podman gives archives: its sniffing of `application/octet`.
const ARCHIVE: HeaderValue = HeaderValue::from_static("application/octet; charset=us-ascii");
/// That of tars of directories, which it makes as it sends them.
const DIRECTORY: HeaderValue = HeaderValue::from_static("application/x-tar");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PLAIN_ASCII: HeaderValue = HeaderValue::from_static("text/plain; charset=us-ascii");

/// An archive, sent as it is made. If making it fails, the connection breaks without the end of the
/// chunked body, so that no client takes the part it has for the whole.
pub(crate) fn archive(content: ByteStream, format: SaveFormat) -> Response {
    let content_type = match format {
        SaveFormat::OciArchive | SaveFormat::DockerArchive => ARCHIVE,
        SaveFormat::OciDirectory | SaveFormat::DockerDirectory => DIRECTORY,
    };
    let content = content.inspect_err(|error| tracing::error!(%error, "archive broken off"));
    ([(header::CONTENT_TYPE, content_type)], Body::from_stream(content)).into_response()
}

/// JSON documents, one a line, each sent as soon as it is there. The head of the answer does not wait
/// for the first.
pub(crate) fn documents<T: Serialize>(
    documents: impl Stream<Item = T> + Send + 'static,
) -> Response {
    let line = |document| {
        let mut line = go_json::to_vec(&document)?;
        line.push(b'\n');
        Ok::<_, serde_json::Error>(line)
    };
    ([(header::CONTENT_TYPE, JSON)], Body::from_stream(documents.map(line))).into_response()
}

/// The single newline that Podman answers where there is nothing to say.
pub(crate) fn newline(status: StatusCode) -> Response {
    (status, [(header::CONTENT_TYPE, PLAIN_ASCII)], "\n").into_response()
}

/// A request body for the engine, and what will be known of its sender. An aborted upload is an `Err`
/// item.
pub(crate) fn upload(body: Body) -> (ByteStream, Sender) {
    let stalled = Arc::new(OnceLock::new());
    let sender = Sender { stalled: Arc::clone(&stalled) };
    let failed = move |error: axum::Error| {
        if let Some(text) = stall(&error) {
            // Nothing comes after an error, so it is the first.
            let _ = stalled.set(text);
        }
        io::Error::other(error)
    };
    (Upload(Some(body.into_data_stream())).map_err(failed).boxed(), sender)
}

/// What is said of a client that has stopped sending, if that is what a body failed of.
fn stall(error: &axum::Error) -> Option<String> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return Some(error.to_string());
        }
        next = error.source();
    }
    None
}

/// A body of a few parameters, of at most `most` bytes.
pub(crate) async fn small(body: Body, most: usize) -> Result<Bytes, ApiError> {
    let failed = |error: axum::Error| match stall(&error) {
        Some(text) => ApiError::stalled(text),
        None => ApiError::new(StatusCode::BAD_REQUEST, error.to_string()),
    };
    to_bytes(body, most).await.map_err(failed)
}

/// The sender of an upload.
#[derive(Debug)]
pub(crate) struct Sender {
    stalled: Arc<OnceLock<String>>,
}

impl Sender {
    /// Why an operation failed that needed the upload: a client that stopped sending is told that,
    /// rather than what it looks like from inside.
    pub(crate) fn explain(&self, error: engine::Error) -> ApiError {
        match self.stalled.get() {
            Some(stalled) => ApiError::stalled(stalled),
            None => error.into(),
        }
    }
}

/// A body that is read a little further when nobody wants it any more: to close the connection under
/// a client that is still sending can cost it the answer, which says why.
struct Upload(Option<BodyDataStream>);

impl Upload {
    /// How much is read for nothing. Whoever sends more than this may look at the answer earlier.
    const REST: usize = 16 << 20;
    /// How long.
    const PATIENCE: Duration = Duration::from_secs(2);

    async fn swallow(mut rest: BodyDataStream) {
        let mut left = Self::REST;
        let all = async {
            while let Some(Ok(chunk)) = rest.next().await
                && let Some(less) = left.checked_sub(chunk.len())
            {
                left = less;
            }
        };
        // Whether in time or not does not matter.
        let _ = tokio::time::timeout(Self::PATIENCE, all).await;
    }
}

impl Stream for Upload {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let next = body.poll_next_unpin(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        next
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(rest) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            drop(runtime.spawn(Self::swallow(rest)));
        }
    }
}
