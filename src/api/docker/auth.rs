//! Whether a login is good for a registry.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Deserializer};

use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorBody};
use crate::api::stream::small;
use crate::api::wire::{self, docker};
use crate::engine::{ErrorKind, ImageEngine};
use crate::image::Login;

/// The largest body that is read, in bytes.
const BODY_MAX: usize = 64 << 10;

/// Who wants to log in where. Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(default)]
#[derive(Default)]
#[schema(as = AuthConfig)]
pub(crate) struct AuthConfig {
    /// User.
    #[serde(deserialize_with = "text_or_null")]
    #[schema(required = false)]
    username: String,
    /// Password.
    #[serde(deserialize_with = "text_or_null")]
    #[schema(required = false)]
    password: String,
    /// Registry: a host, or a URL.
    #[serde(deserialize_with = "text_or_null")]
    #[schema(required = false)]
    serveraddress: String,
    /// Token that stands for user and password.
    #[serde(deserialize_with = "text_or_null")]
    #[schema(required = false)]
    identitytoken: String,
}

/// Clients leave out what they do not have, or write it as null.
fn text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Check a login
///
/// Asks the registry whether it accepts user and password. Nothing is stored. The registry's
/// certificate is not checked, and plain HTTP will do, if the address begins with `localhost:` or
/// `https://localhost`.
#[utoipa::path(
    post,
    path = "/auth",
    tag = "system",
    operation_id = "SystemAuth",
    request_body(content = AuthConfig, content_type = "application/json"),
    responses(
        (status = 200, description = "The registry accepts them", body = docker::LoggedIn),
        (status = 400, description = "The body is no such document", body = ErrorBody),
        (status = 500, description = "The registry refuses them, or cannot be asked", body = docker::Message),
    )
)]
pub(crate) async fn auth(
    State(engine): State<Arc<dyn ImageEngine>>,
    body: Body,
) -> Result<Response, ApiError> {
    let bad = |error: String| {
        ApiError::new(StatusCode::BAD_REQUEST, error).context("decoding request body as JSON")
    };
    let body = small(body, BODY_MAX).await;
    let body = body.map_err(|error| error.context("decoding request body as JSON"))?;
    // Errors of shape quote values, which may be secret; their place is enough.
    let config: Option<AuthConfig> = serde_json::from_slice(&body).map_err(|error| {
        bad(format!("{:?} at line {} column {}", error.classify(), error.line(), error.column()))
    })?;
    let AuthConfig { username, password, serveraddress, identitytoken } =
        config.unwrap_or_default();
    let login = Login { username, password, identity_token: identitytoken };
    let Err(error) = engine.check_login(&serveraddress, login).await else {
        return Ok(wire::ok(&docker::LoggedIn::default()));
    };
    let reason = match error.kind() {
        ErrorKind::Denied => "401 Unauthorized".to_owned(),
        ErrorKind::Registry | ErrorKind::BadRequest => error.to_string(),
        _ => return Err(error.into()),
    };
    let message = format!("login attempt to {serveraddress} failed with status: {reason}");
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Ok(wire::document(status, &docker::Message { message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_null_is_empty() {
        for (body, expected) in [
            (r#"{"username":"u","password":"p","serveraddress":"s"}"#, Some("u p s ")),
            (
                r#"{"auth":null,"username":null,"serveraddress":"s","identitytoken":"t"}"#,
                Some("  s t"),
            ),
            ("{}", Some("   ")),
            (r#"{"username":1}"#, None),
            (r#""u""#, None),
        ] {
            let read = serde_json::from_str::<AuthConfig>(body).ok();
            let read = read
                .map(|it| [it.username, it.password, it.serveraddress, it.identitytoken].join(" "));
            assert_eq!(read.as_deref(), expected, "{body}");
        }
    }
}
