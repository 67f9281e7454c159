//! Answers that are errors, in the words of the tools written in Go.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::challenge::challenges;
use super::error::{Error, ErrorKind};
use super::http;
use crate::image::Refusal;

/// Longest error document that is read, bytes.
const DOCUMENT: usize = 1 << 20;
/// How much of an answer that is no document is shown, bytes.
const SHOWN: usize = 50;

/// The codes of the distribution protocol that have a text of their own.
const CODES: [(&str, &str); 18] = [
    ("UNKNOWN", "unknown error"),
    ("UNAUTHORIZED", "authentication required"),
    ("DENIED", "requested access to the resource is denied"),
    ("UNSUPPORTED", "The operation is unsupported."),
    ("UNAVAILABLE", "service unavailable"),
    ("TOOMANYREQUESTS", "too many requests"),
    ("NAME_UNKNOWN", "repository name not known to registry"),
    ("NAME_INVALID", "invalid repository name"),
    ("TAG_INVALID", "manifest tag did not match URI"),
    ("MANIFEST_UNKNOWN", "manifest unknown"),
    ("MANIFEST_INVALID", "manifest invalid"),
    ("MANIFEST_UNVERIFIED", "manifest failed signature verification"),
    ("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
    ("BLOB_UNKNOWN", "blob unknown to registry"),
    ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
    ("BLOB_UPLOAD_INVALID", "blob upload invalid"),
    ("DIGEST_INVALID", "provided digest did not match uploaded content"),
    ("SIZE_INVALID", "provided length did not match content length"),
];

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    details: String,
    #[serde(default)]
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: Value,
}

/// What a registry says with a status that is not the one asked for.
pub(super) async fn refusal(response: Response) -> Error {
    let status = response.status();
    let wait = retry_after(response.headers());
    let error = words_of(response).await;
    // What a proxy says while its registry is away, and what says so itself.
    let passing = matches!(status.as_u16(), 408 | 429 | 500 | 502..=504)
        || matches!(error.refusal(), Some(Refusal::TooManyRequests | Refusal::Unavailable));
    if passing { error.transient(wait) } else { error }
}

/// The longest that a server can ask for, in seconds.
const WAIT: u64 = 60;

/// How long the server wants to be left alone. Dates, which few send, are not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds.min(WAIT)))
}

async fn words_of(response: Response) -> Error {
    let status = response.status();
    if !status.is_client_error() {
        let text = format!("received unexpected HTTP status: {}", line(status));
        return Error::new(ErrorKind::Answer, text);
    }
    let kind = match status {
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthorized,
        _ => ErrorKind::Answer,
    };
    if status == StatusCode::UNAUTHORIZED
        && let Some(error) = token_error(&response)
    {
        return error;
    }
    match http::body(response, DOCUMENT).await {
        Ok(body) => of_body(kind, status, &body),
        Err(error) => error,
    }
}

/// A status as Go writes it.
pub(super) fn line(status: StatusCode) -> String {
    status.to_string().replace(" <unknown status code>", "").trim_end().to_owned()
}

/// What a token service's rules let the registry say beside its challenge.
fn token_error(response: &Response) -> Option<Error> {
    challenges(response.headers()).iter().filter(|it| it.scheme == "bearer").find_map(|challenge| {
        let code = match challenge.parameter("error")? {
            "invalid_token" => "UNAUTHORIZED",
            "insufficient_scope" => "DENIED",
            _ => return None,
        };
        let message = challenge.parameter("error_description").unwrap_or_default();
        let message = if message.is_empty() { default_message(code) } else { message };
        Some(with_message(ErrorKind::Unauthorized, code, message))
    })
}

fn of_body(kind: ErrorKind, status: StatusCode, body: &[u8]) -> Error {
    let document = serde_json::from_slice::<Document>(body).ok();
    if let Some(Document { details, .. }) = &document
        && !details.is_empty()
    {
        let code = match status {
            StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
            StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
            _ => "UNKNOWN",
        };
        return with_message(kind, code, details);
    }
    if let Some(Entry { code, message, detail }) =
        document.and_then(|document| document.errors.into_iter().next())
    {
        let code = if CODES.iter().any(|(known, _)| *known == code) { &*code } else { "UNKNOWN" };
        let says_nothing = message.is_empty() || message == default_message(code);
        if detail.is_null() && says_nothing {
            return Error::new(kind, words(code)).with_refusal(meaning(code));
        }
        return with_message(kind, code, &message);
    }
    if status == StatusCode::UNAUTHORIZED {
        return with_message(kind, "UNAUTHORIZED", default_message("UNAUTHORIZED"));
    }
    let text = String::from_utf8_lossy(body);
    let more = if text.len() > SHOWN { "..." } else { "" };
    let shown = text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= SHOWN);
    let shown: String = shown.map(|(_, c)| c).collect::<String>() + more;
    let error = Error::new(kind, format!("StatusCode: {}, {shown:?}", status.as_u16()));
    if !body.is_empty() {
        return error;
    }
    error.with_cause(format!(
        "error parsing HTTP {} response body: unexpected end of JSON input: \"\"",
        status.as_u16()
    ))
}

/// A code with a message. What only repeats the code is shown without it; the cause has both.
fn with_message(kind: ErrorKind, code: &str, message: &str) -> Error {
    let both = format!("{}: {message}", words(code));
    if message != default_message(code) {
        return Error::new(kind, both).with_refusal(meaning(code));
    }
    Error::new(kind, message).with_cause(both).with_refusal(meaning(code))
}

fn meaning(code: &str) -> Option<Refusal> {
    Some(match code {
        "UNAUTHORIZED" => Refusal::Unauthorized,
        "DENIED" => Refusal::Denied,
        "UNSUPPORTED" => Refusal::Unsupported,
        "UNAVAILABLE" => Refusal::Unavailable,
        "TOOMANYREQUESTS" => Refusal::TooManyRequests,
        "NAME_UNKNOWN"
        | "MANIFEST_UNKNOWN"
        | "BLOB_UNKNOWN"
        | "BLOB_UPLOAD_UNKNOWN"
        | "BLOB_UPLOAD_INVALID" => Refusal::Unknown,
        "DIGEST_INVALID"
        | "SIZE_INVALID"
        | "NAME_INVALID"
        | "TAG_INVALID"
        | "MANIFEST_INVALID"
        | "MANIFEST_UNVERIFIED"
        | "MANIFEST_BLOB_UNKNOWN" => Refusal::Invalid,
        _ => return None,
    })
}

fn words(code: &str) -> String {
    code.to_ascii_lowercase().replace('_', " ")
}

fn default_message(code: &str) -> &'static str {
    CODES.iter().find(|(known, _)| *known == code).map_or("unknown error", |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents() {
        for (status, body, message, cause) in [
            (
                404,
                r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry","detail":{"name":"a"}}]}"#,
                "repository name not known to registry",
                "name unknown: repository name not known to registry",
            ),
            (403, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#, "denied: no", "denied: no"),
            (403, r#"{"errors":[{"code":"DENIED"},{"code":"UNKNOWN"}]}"#, "denied", "denied"),
            (400, r#"{"errors":[{"code":"OWN","message":"x"}]}"#, "unknown: x", "unknown: x"),
            (
                401,
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":null}]}"#,
                "unauthorized",
                "unauthorized",
            ),
            (401, "<html>", "authentication required", "unauthorized: authentication required"),
            (401, r#"{"details":"bad user"}"#, "unauthorized: bad user", "unauthorized: bad user"),
            (
                404,
                "",
                r#"StatusCode: 404, """#,
                r#"error parsing HTTP 404 response body: unexpected end of JSON input: """#,
            ),
            (
                404,
                "12345678901234567890123456789012345678901234567ö5678",
                r#"StatusCode: 404, "12345678901234567890123456789012345678901234567ö5...""#,
                r#"StatusCode: 404, "12345678901234567890123456789012345678901234567ö5...""#,
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = of_body(ErrorKind::Answer, status, body.as_bytes());
            assert_eq!(error.to_string(), message, "{body}");
            assert_eq!(error.into_parts().1, cause, "{body}");
        }
    }
}
