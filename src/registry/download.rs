//! One body from a URL that a caller names, as a stream.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::{Response, Url};

use super::error::{Error, ErrorKind, Result};
use super::{http, tls};

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct Download {
    response: Response,
    limit: u64,
}

/// Asks for `url`, which is `http` or `https`, and follows redirects that do not change the scheme.
/// A body of more than `limit` bytes is an error, here if the server says so, else when it is read.
///
/// Credentials in the URL go to its own host only, and are no part of any message. Cancel-safe.
///
/// # Errors
/// See [`ErrorKind`]; any status but 2xx is an error too.
pub async fn download(url: &str, limit: u64) -> Result<Download> {
    let asked = |text: String| {
        Error::new(ErrorKind::BadRequest, text).context(format!("Get {:?}", without_user(url)))
    };
    let mut url = Url::parse(url).map_err(|error| asked(error.to_string()))?;
    for _ in 0..=http::REDIRECTS {
        let tls = match url.scheme() {
            "http" => tls::none()?,
            "https" => trusting_the_system().await?,
            other => return Err(asked(format!("unsupported protocol scheme {other:?}"))),
        };
        let request = http::client(&url, tls, super::SILENCE)?.get(url.clone());
        let response = request.send().await.map_err(|error| http::failed(&url, &error))?;
        if let Some(to) = http::redirect(&response)? {
            url = to;
            continue;
        }
        let status = response.status();
        if !status.is_success() {
            let text = format!("unexpected HTTP status {}", status.to_string().trim_end());
            return Err(Error::new(ErrorKind::Answer, text));
        }
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        return Ok(Download { response, limit });
    }
    let text = format!("stopped after {} redirects", http::REDIRECTS);
    Err(Error::new(ErrorKind::Answer, text).context(format!("Get {:?}", http::shown(&url))))
}

impl Download {
    /// The body. An answer that breaks off, is too long or stalls ends with an error.
    pub fn into_body(self) -> BoxStream<'static, io::Result<Bytes>> {
        let Self { response, limit } = self;
        let url = response.url().clone();
        let chunks = response.bytes_stream();
        stream::try_unfold((chunks, 0_u64), move |(mut chunks, before)| {
            let url = url.clone();
            async move {
                let Some(chunk) = chunks.next().await else { return Ok(None) };
                let chunk = chunk.map_err(|error| io::Error::other(http::failed(&url, &error)))?;
                let read = before.saturating_add(chunk.len() as u64);
                if read > limit {
                    return Err(io::Error::other(too_large(limit)));
                }
                Ok(Some((chunk, (chunks, read))))
            }
        })
        .boxed()
    }
}

fn too_large(limit: u64) -> Error {
    Error::new(ErrorKind::Answer, format!("more than the limit of {limit} bytes"))
}

/// A text that may be no URL, without what could be a password in it.
pub fn without_user(url: &str) -> String {
    match Url::parse(url) {
        Ok(parsed) if parsed.password().is_some() => http::shown(&parsed),
        Ok(_) => url.to_owned(),
        Err(_) => match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
            _ => url.to_owned(),
        },
    }
}

async fn trusting_the_system() -> Result<rustls::ClientConfig> {
    let task = tokio::task::spawn_blocking(tls::system);
    task.await.map_err(|error| Error::new(ErrorKind::Network, error.to_string()))?
}
