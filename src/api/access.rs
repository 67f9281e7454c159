//! One log event for each request, when its last byte is sent or its caller has gone.
//!
//! The query is not logged: clients put credentials there.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tracing::Span;

/// The header in which clients may name a request, and get its name back.
pub(crate) const REFERENCE_ID: HeaderName = HeaderName::from_static("x-reference-id");

/// The caller's name for the request, or one that no other request to this process has.
pub(crate) fn reference_id(request: &Request) -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    request.headers().get(REFERENCE_ID).cloned().unwrap_or_else(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:x}-{number:x}", since_1970.as_micros());
        HeaderValue::try_from(text).expect("hexadecimal digits and a hyphen are a header value")
    })
}

/// A request under way. Dropping it writes its event.
#[derive(Debug)]
pub(crate) struct Access {
    span: Span,
    method: String,
    path: String,
    started: Instant,
    /// `None` until there is an answer.
    status: Option<u16>,
    sent_bytes: u64,
    outcome: &'static str,
}

impl Access {
    /// Begins with the arrival of `request`.
    pub(crate) fn begin(request: &Request, id: &HeaderValue) -> Self {
        let id = String::from_utf8_lossy(id.as_bytes());
        Self {
            span: tracing::info_span!("request", %id),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            started: Instant::now(),
            status: None,
            sent_bytes: 0,
            outcome: "caller gone",
        }
    }

    /// Everything logged for this request carries its id.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Follows the answer to its end.
    pub(crate) fn follow(mut self, response: Response) -> Response {
        self.status = Some(response.status().as_u16());
        if response.body().is_end_stream() {
            self.outcome = "complete";
        }
        response.map(|body| Body::new(Followed { body, access: self }))
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let _span = self.span.enter();
        tracing::info!(
            method = self.method,
            path = self.path,
            status = self.status,
            duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            sent_bytes = self.sent_bytes,
            outcome = self.outcome,
            "request"
        );
    }
}

/// A body that tells its [`Access`] what becomes of it.
struct Followed {
    body: Body,
    access: Access,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let frame = {
            let _span = this.access.span.enter();
            ready!(Pin::new(&mut this.body).poll_frame(cx))
        };
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.access.sent_bytes += u64::try_from(bytes).unwrap_or(0);
            }
            Some(Err(_)) => this.access.outcome = "broken off",
            None => {}
        }
        if frame.is_none() || this.body.is_end_stream() {
            this.access.outcome = "complete";
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
