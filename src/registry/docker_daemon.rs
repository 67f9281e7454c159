//! The Docker daemon of the host, as far as images are taken from it: what it saves comes as it goes,
//! and lies nowhere in between.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::{Client, Url};
use serde::Deserialize;

use super::error::{Error, ErrorKind, Result};
use super::{Settings, http, tls};
use crate::image::Refusal;

/// Where a Docker daemon is if nobody says.
const USUAL: &str = "unix:///var/run/docker.sock";
/// How much of what a daemon says about a failure is read, bytes.
const MESSAGE: usize = 64 << 10;

/// What a daemon says when it fails.
#[derive(Deserialize)]
struct Failure {
    message: String,
}

/// An archive with the image that the daemon calls `image`, as `docker save` writes it. A daemon
/// may take its time: nothing but the caller's patience ends the wait. Cancel-safe.
///
/// # Errors
/// In the words of the tools.
pub async fn archive(
    settings: &Settings,
    image: &str,
) -> Result<BoxStream<'static, io::Result<Bytes>>> {
    let place = "loading image from docker engine";
    let host = settings.docker_host.as_deref().unwrap_or(USUAL);
    let (client, base) = reach(host).map_err(|error| error.context(place))?;
    // Without a version, so that it is the daemon's own: each knows only some.
    let url = Url::parse_with_params(&format!("{base}/images/get"), [("names", image)]);
    let url = url.map_err(|error| unusable(host, &error.to_string()).context(place))?;
    let response = client.get(url.clone()).send().await.map_err(|error| {
        let text = if error.is_connect() {
            format!("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")
        } else {
            http::failed(&url, &error).to_string()
        };
        Error::new(ErrorKind::Network, text).context(place)
    })?;
    let status = response.status();
    if !status.is_success() {
        let body = http::body(response, MESSAGE).await.unwrap_or_default();
        let text = match serde_json::from_slice::<Failure>(&body) {
            Ok(failure) => failure.message,
            Err(_) => format!("unexpected HTTP status {}", status.to_string().trim_end()),
        };
        let refusal = (status.as_u16() == 404).then_some(Refusal::Unknown);
        let error = Error::new(ErrorKind::Answer, text).with_refusal(refusal);
        return Err(error.context("Error response from daemon").context(place));
    }
    let chunks = response.bytes_stream();
    Ok(chunks
        .map(move |chunk| chunk.map_err(|error| io::Error::other(http::failed(&url, &error))))
        .boxed())
}

/// A client for the daemon at `host`, and what its URLs begin with.
fn reach(host: &str) -> Result<(Client, String)> {
    match host.split_once("://") {
        Some(("unix", path)) => Ok((http::socket_client(path)?, "http://docker".to_owned())),
        Some(("tcp" | "http", address)) => {
            let base = format!("http://{}", address.trim_end_matches('/'));
            let url = Url::parse(&base).map_err(|error| unusable(host, &error.to_string()))?;
            Ok((http::unhurried_client(&url, tls::none()?)?, base))
        }
        _ => Err(unusable(host, "only unix and tcp without TLS are served")),
    }
}

fn unusable(host: &str, reason: &str) -> Error {
    let text = format!("unable to parse docker host {host:?}: {reason}");
    Error::new(ErrorKind::BadRequest, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (host, expected) in [
            (USUAL, Some("http://docker")),
            ("tcp://127.0.0.1:2375", Some("http://127.0.0.1:2375")),
            ("http://docker.example.com/", Some("http://docker.example.com")),
            ("https://docker.example.com", None),
            ("ssh://user@host", None),
            ("tcp://", None),
            ("/run/docker.sock", None),
        ] {
            let base = reach(host).map(|(_, base)| base);
            assert_eq!(base.as_deref().ok(), expected, "{host}");
        }
    }
}
