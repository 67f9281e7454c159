//! Bearer tokens: what a token service gives for a login, and how long it is good.

use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::error::{Error, ErrorKind, Result};
use super::http;
use super::refusal::refusal;
use crate::image::Login;

/// Longest answer of a token service, bytes.
const DOCUMENT: usize = 1 << 20;
/// How long a token is good if nothing is said, or less than this.
const LIFE: Duration = Duration::from_secs(60);
/// The longest that is believed.
const LONGEST: u64 = 24 * 3600;
/// How long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(5);

/// A token.
pub(super) struct Token {
    pub(super) text: String,
    until: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Token {
    /// The token, as long as it is good.
    pub(super) fn current(&self) -> Option<&str> {
        (Instant::now() < self.until).then_some(&*self.text)
    }
}

/// Asks the service that a challenge names.
#[derive(Debug)]
pub(super) struct TokenRequest<'a> {
    pub(super) http: &'a Client,
    pub(super) login: &'a Login,
    /// Whether the registry was marked insecure.
    pub(super) trusting: bool,
    pub(super) challenge: &'a Challenge,
    pub(super) scopes: &'a [&'a str],
}

impl TokenRequest<'_> {
    pub(super) async fn send(&self) -> Result<Token> {
        let Self { http, login, challenge, .. } = self;
        let url = self.address()?;
        let mut fields = Vec::new();
        let mut field = |name, value: &str| {
            if !value.is_empty() {
                fields.push((name, value.to_owned()));
            }
        };
        field("service", challenge.parameter("service").unwrap_or_default());
        let request = if login.identity_token.is_empty() {
            // One field for each: that is how a service tells them apart.
            self.scopes.iter().for_each(|scope| field("scope", scope));
            field("account", &login.username);
            let mut url = url.clone();
            url.query_pairs_mut().extend_pairs(&fields);
            let request = http.get(url);
            if login.username.is_empty() || login.password.is_empty() {
                request
            } else {
                request.basic_auth(&login.username, Some(&login.password))
            }
        } else {
            field("scope", &self.scopes.join(" "));
            field("grant_type", "refresh_token");
            field("refresh_token", &login.identity_token);
            field("client_id", "containers/image");
            // The encoding of forms and of queries is one.
            let mut form = Url::parse("http://form/").map_err(|error| failed(error.to_string()))?;
            form.query_pairs_mut().extend_pairs(&fields);
            http.post(url.clone())
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(form.query().unwrap_or_default().to_owned())
        };
        let response = request.send().await.map_err(|error| http::failed(&url, &error))?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await.context("requesting bearer token"));
        }
        parse(&http::body(response, DOCUMENT).await?)
    }

    /// The service, if it may be told what it will be told.
    fn address(&self) -> Result<Url> {
        let realm = self.challenge.parameter("realm").unwrap_or_default();
        let url = Url::parse(realm).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(url) = url else {
            return Err(failed(format!("invalid realm {realm:?} in bearer challenge")));
        };
        if url.scheme() == "http" && !self.trusting && !self.login.is_empty() {
            return Err(failed(format!("credentials are not sent to {realm:?} without TLS")));
        }
        Ok(url)
    }
}

fn parse(answer: &[u8]) -> Result<Token> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
        #[serde(default)]
        expires_in: u64,
    }
    let document: Document = serde_json::from_slice(answer)
        .map_err(|_| failed("the answer is not a token".to_owned()))?;
    let Document { token, access_token, expires_in } = document;
    let text = if token.is_empty() { access_token } else { token };
    if text.is_empty() {
        return Err(failed("the answer has no token".to_owned()));
    }
    // Counted from now: the clock of the service may be another one.
    let life = LIFE.max(Duration::from_secs(expires_in.min(LONGEST)));
    Ok(Token { text, until: Instant::now() + life.saturating_sub(MARGIN) })
}

fn failed(text: String) -> Error {
    Error::new(ErrorKind::Answer, text).context("requesting bearer token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (answer, expected) in [
            (r#"{"token":"a"}"#, Some("a")),
            (r#"{"access_token":"b","expires_in":300}"#, Some("b")),
            (r#"{"token":"a","access_token":"b","expires_in":18446744073709551615}"#, Some("a")),
            (r#"[]"#, None),
            (r#"{}"#, None),
            (r#""a""#, None),
        ] {
            let token = parse(answer.as_bytes()).ok();
            assert_eq!(token.as_ref().and_then(Token::current), expected, "{answer}");
        }
    }

    #[test]
    fn a_token_ends() {
        let token = Token { text: "a".into(), until: Instant::now() };
        assert_eq!(token.current(), None);
    }
}
