//! The only way from a failure to a status and a body.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::{self, ErrorKind, Refusal};

/// A failure as a client sees it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    /// The status says something about this server rather than Podman's: a handler must not give
    /// it another.
    fixed: bool,
    /// Somebody should look at the host: logged as an error, not as a warning.
    severe: bool,
    message: String,
    cause: String,
}

/// The body of every failed request that reached a handler.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// Text of the innermost error.
    cause: String,
    /// The whole text, outermost error first.
    message: String,
    /// The status again.
    response: u16,
}

impl ApiError {
    /// A failure with a single text.
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let message = text.into();
        Self { status, fixed: false, severe: false, cause: message.clone(), message }
    }

    /// A client that has stopped sending the request. `text` says for how long.
    pub(crate) fn stalled(text: impl Into<String>) -> Self {
        Self { fixed: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, text) }
    }

    /// The same failure with one more text in front.
    pub(crate) fn context(mut self, text: impl std::fmt::Display) -> Self {
        self.message = format!("{text}: {}", self.message);
        self
    }

    /// The same failure with a text after it, which is no cause.
    pub(crate) fn detail(mut self, text: impl std::fmt::Display) -> Self {
        self.message = format!("{}: {text}", self.message);
        self
    }

    /// The same failure with the status that this route gives it.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        if !self.fixed {
            self.status = status;
        }
        self
    }
}

impl From<engine::Error> for ApiError {
    fn from(error: engine::Error) -> Self {
        let kind = error.kind();
        let status = match kind {
            ErrorKind::NoSuchImage | ErrorKind::NoSuchContainer | ErrorKind::NoSuchFile => {
                StatusCode::NOT_FOUND
            }
            ErrorKind::InUse => StatusCode::CONFLICT,
            ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Canceled => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Exhausted => StatusCode::INSUFFICIENT_STORAGE,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Refused(refusal) => match refusal {
                Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
                Refusal::Denied => StatusCode::FORBIDDEN,
                Refusal::Unknown => StatusCode::NOT_FOUND,
                Refusal::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
                Refusal::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
                Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                Refusal::Invalid => StatusCode::BAD_REQUEST,
            },
            // Podman's answer to whatever it does not name.
            ErrorKind::BadName
            | ErrorKind::BadReference
            | ErrorKind::BadRequest
            | ErrorKind::BadArchive
            | ErrorKind::Conflict
            | ErrorKind::Denied
            | ErrorKind::Registry
            | ErrorKind::Storage => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            fixed: matches!(kind, ErrorKind::Canceled | ErrorKind::Exhausted | ErrorKind::TooLarge),
            severe: matches!(kind, ErrorKind::Exhausted | ErrorKind::Storage),
            message: error.to_string(),
            cause: error.cause().to_owned(),
        }
    }
}

/// Whether an error says that the text does not lead to an image, as opposed to a failure with the
/// image it led to.
pub(crate) fn is_lookup(error: &engine::Error) -> bool {
    matches!(error.kind(), ErrorKind::NoSuchImage | ErrorKind::BadReference)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, severe, message, cause, .. } = self;
        let response = status.as_u16();
        if severe {
            tracing::error!(status = response, error = %message, "request failed");
        } else if status.is_server_error() {
            tracing::warn!(status = response, error = %message, "request failed");
        } else {
            tracing::debug!(status = response, error = %message, "request refused");
        }
        super::wire::document(status, &ErrorBody { cause, message, response })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        for (kind, own, overridden) in [
            (ErrorKind::NoSuchImage, 404, 400),
            (ErrorKind::NoSuchFile, 404, 400),
            (ErrorKind::InUse, 409, 400),
            (ErrorKind::BadName, 500, 400),
            (ErrorKind::BadReference, 500, 400),
            (ErrorKind::BadRequest, 500, 400),
            (ErrorKind::BadArchive, 500, 400),
            (ErrorKind::Conflict, 500, 400),
            (ErrorKind::Denied, 500, 400),
            (ErrorKind::Registry, 500, 400),
            (ErrorKind::Refused(Refusal::Unauthorized), 401, 400),
            (ErrorKind::Refused(Refusal::Denied), 403, 400),
            (ErrorKind::Refused(Refusal::Unknown), 404, 400),
            (ErrorKind::Refused(Refusal::Unsupported), 405, 400),
            (ErrorKind::Refused(Refusal::TooManyRequests), 429, 400),
            (ErrorKind::Refused(Refusal::Unavailable), 503, 400),
            (ErrorKind::Refused(Refusal::Invalid), 400, 400),
            (ErrorKind::Unsupported, 501, 400),
            (ErrorKind::Canceled, 503, 503),
            (ErrorKind::Exhausted, 507, 507),
            (ErrorKind::TooLarge, 413, 413),
            (ErrorKind::Storage, 500, 400),
        ] {
            let error = || ApiError::from(engine::Error::new(kind, "x"));
            assert_eq!(error().status, own, "{kind:?}");
            assert_eq!(error().status(StatusCode::BAD_REQUEST).status, overridden, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn body() {
        let error = engine::Error::image_not_known().context("<a>");
        let response = ApiError::from(error).context("outer").into_response();
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        let text =
            r#"{"cause":"image not known","message":"outer: <a>: image not known","response":404}"#;
        assert_eq!(body, format!("{text}\n"));
    }
}
