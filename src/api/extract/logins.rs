//! Logins for registries, from headers.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::PAD;
use base64::{DecodeError, Engine as _, engine::GeneralPurpose};
use serde::Deserialize;

use super::{RequestTarget, pairs};
use crate::api::error::ApiError;
use crate::image::{Login, Logins};

const AUTH: &str = "X-Registry-Auth";
const CONFIG: &str = "X-Registry-Config";

/// The logins of `X-Registry-Config`, or else of `X-Registry-Auth`.
#[derive(Debug)]
pub(crate) struct RegistryLogins(pub(crate) Logins);

impl<S: Send + Sync> FromRequestParts<S> for RegistryLogins {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = pairs(parts.uri.query().unwrap_or_default());
        let registry = pairs.iter().find(|(name, _)| name == "registry");
        let registry = registry.map_or("", |(_, registry)| registry.as_str());
        read(&parts.headers, registry).map(Self).map_err(|BadHeader { header, step, cause }| {
            let target = parts.extensions.get::<RequestTarget>().map_or("", |target| &target.0);
            let error = ApiError::new(StatusCode::BAD_REQUEST, cause);
            let error = if step.is_empty() { error } else { error.context(step) };
            error.context(format!("failed to parse {header:?} header for {target}"))
        })
    }
}

/// A login as JSON.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Written {
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl From<Written> for Login {
    fn from(written: Written) -> Self {
        Self {
            username: written.username.unwrap_or_default(),
            password: written.password.unwrap_or_default(),
            identity_token: written.identitytoken.unwrap_or_default(),
        }
    }
}

/// What is wrong with a header.
struct BadHeader {
    header: &'static str,
    /// What failed; empty if there is only one thing that can.
    step: String,
    cause: String,
}

/// Reads the headers.
fn read(headers: &HeaderMap, registry: &str) -> Result<Logins, BadHeader> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(text) = value(CONFIG) {
        let bad = |step: &str| {
            let step = format!("failed to {step} {CONFIG:?}");
            |cause| BadHeader { header: CONFIG, step, cause }
        };
        let json = decode(text).map_err(bad("decode"))?;
        let named = map(&json).map_err(bad("unmarshal"))?;
        return Ok(of_config(named, registry));
    }
    let Some(text) = value(AUTH).filter(|text| !matches!(*text, "" | "null")) else {
        return Ok(Logins::default());
    };
    let bad = |cause| BadHeader { header: AUTH, step: String::new(), cause };
    let json = decode(text).map_err(bad)?;
    if let Ok(named) = map(&json) {
        return Ok(Logins { everywhere: None, named });
    }
    let login: Login = serde_json::from_slice::<Option<Written>>(&json)
        .map_err(|error| bad(place(&error)))?
        .unwrap_or_default()
        .into();
    Ok(Logins { everywhere: (!login.is_empty()).then_some(login), named: Vec::new() })
}

/// One of the logins can be for every registry: the one for `registry`, if a parameter says so,
/// else the one without a name.
fn of_config(named: Vec<(String, Login)>, registry: &str) -> Logins {
    let chosen = |(name, _): &&(String, Login)| match registry {
        "" => name.is_empty(),
        registry => name.contains(registry),
    };
    let everywhere = named.iter().find(chosen).map(|(_, login)| login.clone());
    let named = named.into_iter().filter(|(name, _)| !name.is_empty()).collect();
    Logins { everywhere, named }
}

fn map(json: &[u8]) -> Result<Vec<(String, Login)>, String> {
    let map: Option<BTreeMap<String, Written>> =
        serde_json::from_slice(json).map_err(|error| place(&error))?;
    Ok(map.unwrap_or_default().into_iter().map(|(name, login)| (name, login.into())).collect())
}

/// What is wrong with a document, without the values in it, which may be secret.
fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => return "unexpected end of JSON input".to_owned(),
        serde_json::error::Category::Data => "unexpected value",
        _ => "invalid character",
    };
    format!("{what} at line {} column {}", error.line(), error.column())
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    GeneralPurpose::new(&URL_SAFE, PAD).decode(text).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => {
                at
            }
            _ => text.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(json: &str) -> String {
        GeneralPurpose::new(&URL_SAFE, PAD).encode(json)
    }

    /// Everywhere's user, then the named ones.
    fn users(headers: &[(&'static str, &str)], registry: &str) -> Result<String, String> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.to_lowercase().parse().unwrap(), value.parse().unwrap()))
            .collect();
        let logins = read(&headers, registry).map_err(|BadHeader { header, step, cause }| {
            if step.is_empty() {
                format!("{header}: {cause}")
            } else {
                format!("{header}: {step}: {cause}")
            }
        })?;
        let mut text = logins
            .everywhere
            .map(|it| it.username + it.identity_token.as_str())
            .unwrap_or_default();
        for (name, login) in logins.named {
            text.push_str(&format!(" {name}={}{}", login.username, login.identity_token));
        }
        Ok(text)
    }

    #[test]
    fn forms() {
        let one = encoded(r#"{"username":"u","password":"p"}"#);
        let token = encoded(r#"{"identitytoken":"t","email":null}"#);
        let named = encoded(
            r#"{"quay.io":{"username":"a"},"docker.io/x":{"username":"b","password":null}}"#,
        );
        let config = encoded(r#"{"":{"username":"c"},"quay.io":{"username":"d"}}"#);
        for (headers, registry, expected) in [
            (vec![], "", ""),
            (vec![(AUTH, "")], "", ""),
            (vec![(AUTH, "null")], "", ""),
            (vec![(AUTH, "e30=")], "", ""),
            (vec![(AUTH, &*one)], "", "u"),
            (vec![(AUTH, &*token)], "", "t"),
            (vec![(AUTH, &*named)], "", " docker.io/x=b quay.io=a"),
            (vec![(AUTH, &*one), (CONFIG, &*config)], "", "c quay.io=d"),
            (vec![(CONFIG, &*config)], "quay", "d quay.io=d"),
            (vec![(CONFIG, &*config)], "other", " quay.io=d"),
        ] {
            assert_eq!(users(&headers, registry).as_deref(), Ok(expected), "{headers:?}");
        }
    }

    #[test]
    fn errors() {
        let secret = encoded(r#"{"username":"u","password":["secret"]}"#);
        let error = users(&[(AUTH, &secret)], "").unwrap_err();
        assert!(
            error.starts_with("X-Registry-Auth: unexpected value at line 1 column "),
            "{error}"
        );
        let open = encoded("{");
        for (header, value, expected) in [
            (AUTH, "!!!", "X-Registry-Auth: illegal base64 data at input byte 0"),
            (AUTH, "e30", "X-Registry-Auth: illegal base64 data at input byte 3"),
            (
                CONFIG,
                "!",
                r#"X-Registry-Config: failed to decode "X-Registry-Config": illegal base64 data at input byte 0"#,
            ),
            (
                CONFIG,
                &*open,
                r#"X-Registry-Config: failed to unmarshal "X-Registry-Config": unexpected end of JSON input"#,
            ),
        ] {
            assert_eq!(users(&[(header, value)], ""), Err(expected.to_owned()), "{value}");
        }
    }
}
