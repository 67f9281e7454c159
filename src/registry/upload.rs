//! A repository of a registry, for writing: blobs, which may be sent while they are made, and
//! manifests.
//!
//! A blob goes into an *upload*, a place that the registry gives for it, and becomes a blob when its
//! digest is told at the end. It is sent in one request of no known length, as Docker and the
//! containers tools do: that is what every registry is used to. What fails on the way is begun anew
//! in another upload, so nothing has to be believed about how much of the first one arrived. An upload
//! that is given up is cancelled, as far as the registry lets one do that.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::{self, BoxStream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};

use super::client::{Access, Ask, Content, RegistryClient};
use super::error::{Error, ErrorKind, Result};
use super::refusal::refusal;
use super::repository::accepted_manifests;
use super::{Retry, Settings, http};
use crate::image::{Digest, Reference};

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Longest wait for a registry to take note that an upload is given up.
const CANCELLING: Duration = Duration::from_secs(5);

/// A repository that is to be written to, and has not been reached yet.
#[derive(Debug)]
pub struct Unreached {
    client: RegistryClient,
    registry: String,
    path: String,
    silence: Duration,
}

/// A repository that has been reached and is to be written to.
#[derive(Debug)]
pub struct Destination {
    client: Arc<RegistryClient>,
    /// As the files of the host know it.
    registry: String,
    /// Its path on the registry.
    path: String,
    /// How long the registry may take nothing.
    silence: Duration,
}

/// What came of an attempt to take a blob from another repository.
#[derive(Debug)]
pub enum Mount {
    /// The blob is there.
    Done,
    /// The registry would rather have it sent.
    Upload(Upload),
}

/// Why a manifest was not taken.
#[derive(Debug)]
pub struct ManifestRefused {
    /// What went wrong.
    pub error: Error,
    /// It is the kind of manifest that is refused: another one may do.
    pub kind_is_refused: bool,
}

impl Unreached {
    /// Prepares to reach the repository of `reference`, a full one.
    ///
    /// # Errors
    /// If the host forbids it, or its files about the registry cannot be used.
    pub async fn new(settings: &Settings, reference: &Reference, access: &Access) -> Result<Self> {
        let (registry, path) = (reference.domain().unwrap_or_default(), reference.path());
        let client = RegistryClient::new(settings, registry, Some(path), access).await?;
        Ok(Self {
            client: client.with_scope(format!("repository:{path}:pull,push")),
            registry: registry.to_owned(),
            path: path.to_owned(),
            silence: settings.silence,
        })
    }

    /// Finds out how the registry is to be talked to.
    pub async fn reach(self, retry: &Retry) -> Result<Destination> {
        let Self { mut client, registry, path, silence } = self;
        let mut failed = 0;
        while let Err(error) = client.ping().await {
            retry.again(&mut failed, error).await?;
        }
        Ok(Destination { client: Arc::new(client), registry, path, silence })
    }
}

impl Destination {
    /// The registry, as the files of the host know it.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path on it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a blob is there already. Errors call it `name`, which may be the digest of what is in it.
    pub async fn find_blob(&self, digest: &Digest, name: &Digest) -> Result<Option<FoundBlob>> {
        let url = self.client.url(&format!("/v2/{}/blobs/{digest}", self.path))?;
        let ask = Ask { method: Method::HEAD, ..Ask::default() };
        let response = self.client.ask(url, ask).await?;
        match response.status() {
            StatusCode::OK => Ok(Some(FoundBlob { size: length(&response) })),
            StatusCode::NOT_FOUND => Ok(None),
            _ => {
                let place = format!(
                    "checking whether a blob {name} exists in {}/{}",
                    self.registry, self.path
                );
                Err(refusal(response).await.context(place))
            }
        }
    }

    /// Asks the registry to take a blob from another of its repositories.
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<Mount> {
        let mut url = self.uploads()?;
        url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
        let scope = format!("repository:{from}:pull");
        let ask = Ask { method: Method::POST, scope: Some(&scope), ..Ask::default() };
        let response = self.client.ask(url, ask).await?;
        match response.status() {
            StatusCode::CREATED => Ok(Mount::Done),
            StatusCode::ACCEPTED => self.upload(&response).map(Mount::Upload),
            _ => Err(refusal(response).await.context(format!("mounting {digest} from {from}"))),
        }
    }

    /// Begins to send a blob.
    pub async fn begin(&self) -> Result<Upload> {
        let url = self.uploads()?;
        let place = format!("initiating layer upload to {} in {}", url.path(), self.client.name());
        let response = self.client.ask(url, Ask { method: Method::POST, ..Ask::default() }).await?;
        match response.status() {
            StatusCode::ACCEPTED => self.upload(&response),
            _ => Err(refusal(response).await.context(place)),
        }
    }

    /// Sends a small blob, unless it is there.
    pub async fn put_blob(&self, digest: &Digest, content: Bytes) -> Result<()> {
        if self.find_blob(digest, digest).await?.is_some() {
            return Ok(());
        }
        self.begin().await?.finish(digest, content).await
    }

    /// The digest of the manifest at a place, a tag or a digest; `None` also if it cannot be found out.
    pub async fn find_manifest(&self, place: &str) -> Option<Digest> {
        let url = self.client.url(&format!("/v2/{}/manifests/{place}", self.path)).ok()?;
        let headers = accepted_manifests();
        let ask = Ask { method: Method::HEAD, headers, ..Ask::default() };
        let response = self.client.ask(url, ask).await.ok()?;
        let digest = response.headers().get("docker-content-digest")?.to_str().ok()?;
        digest.parse().ok().filter(|_| response.status() == StatusCode::OK)
    }

    /// Puts a manifest in its place, a tag or its digest.
    pub async fn put_manifest(
        &self,
        place: &str,
        media_type: &'static str,
        manifest: Bytes,
    ) -> Result<(), ManifestRefused> {
        let failed = |error| ManifestRefused { error, kind_is_refused: false };
        let target = format!("/v2/{}/manifests/{place}", self.path);
        let url = self.client.url(&target).map_err(failed)?;
        let headers = content_type(HeaderValue::from_static(media_type));
        let body = Content::Bytes(manifest);
        let ask = Ask { method: Method::PUT, headers, body, scope: None };
        let response = self.client.ask(url, ask).await.map_err(failed)?;
        if response.status().is_success() {
            return Ok(());
        }
        let unsupported = response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let error = refusal(response).await;
        let kind_is_refused = unsupported || refuses_kind(&error);
        let error =
            error.context(format!("uploading manifest {place} to {}/{}", self.registry, self.path));
        Err(ManifestRefused { error, kind_is_refused })
    }

    fn uploads(&self) -> Result<Url> {
        self.client.url(&format!("/v2/{}/blobs/uploads/", self.path))
    }

    fn upload(&self, response: &Response) -> Result<Upload> {
        let url = location(response)?;
        let client = Arc::clone(&self.client);
        Ok(Upload { client, place: Some(url), silence: self.silence })
    }
}

/// A blob that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundBlob {
    /// Its length in bytes, if the registry tells it.
    pub size: Option<u64>,
}

fn length(response: &Response) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn content_type(value: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, value)])
}

/// Whether these are the words in which registries refuse a kind of manifest: those of OpenShift, of
/// the oldest ones, which look for a tag in every manifest, and of ECR.
fn refuses_kind(error: &Error) -> bool {
    let (_, cause) = error.clone().into_parts();
    let is = |code: &str| cause == code || cause.starts_with(&format!("{code}:"));
    is("manifest invalid")
        || is("tag invalid")
        || (is("unsupported") && cause.contains("Invalid JSON syntax"))
}

/// Where the registry wants to go on. It may name another host, but never leave TLS, nor enter it.
fn location(response: &Response) -> Result<Url> {
    let refused =
        |text: String| Error::new(ErrorKind::Answer, text).context("determining upload URL");
    let from = response.url();
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let location =
        location.ok_or_else(|| refused("http: no Location header in response".to_owned()))?;
    match from.join(location) {
        Err(error) => Err(refused(format!("failed to parse Location header: {error}"))),
        Ok(to) if to.scheme() != from.scheme() => {
            Err(refused(format!("another scheme: {:?}", http::shown(&to))))
        }
        Ok(to) => Ok(to),
    }
}

/// A blob on its way. Given up when dropped before its end.
#[derive(Debug)]
pub struct Upload {
    client: Arc<RegistryClient>,
    /// Where it goes on; `None` when there is nothing to give up.
    place: Option<Url>,
    silence: Duration,
}

impl Upload {
    /// Sends `body`. If that fails, the upload is of no use any more.
    ///
    /// A registry that takes nothing for a while, or does not answer, has failed; that `body` takes
    /// its time does not count.
    pub async fn send(&mut self, body: BoxStream<'static, io::Result<Bytes>>) -> Result<()> {
        let url = self.place()?.clone();
        let watch = Arc::new(Watch::default());
        let body = Body::wrap_stream(watched(body, Arc::clone(&watch)));
        let ask = Ask {
            method: Method::PATCH,
            headers: content_type(OCTETS),
            body: Content::Stream(body),
            scope: None,
        };
        let answer = pin!(self.client.ask(url.clone(), ask));
        let silent = pin!(watch.silence(self.silence));
        let response = match select(answer, silent).await {
            Either::Left((response, _)) => response?,
            Either::Right(((), _)) => {
                let error = Error::new(ErrorKind::Network, "i/o timeout").transient(None);
                let operation = http::operation(&Method::PATCH);
                return Err(error.context(format!("{operation} {:?}", http::shown(&url))));
            }
        };
        if !response.status().is_success() {
            return Err(refusal(response).await.context("uploading layer chunked"));
        }
        self.place = Some(location(&response)?);
        Ok(())
    }

    /// Sends the last bytes and tells the digest of all, by which the blob becomes one.
    pub async fn finish(mut self, digest: &Digest, rest: Bytes) -> Result<()> {
        let mut url = self.place()?.clone();
        let shown = http::shown(&url);
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let body = Content::Bytes(rest);
        let ask = Ask { method: Method::PUT, headers: content_type(OCTETS), body, scope: None };
        let response = self.client.ask(url, ask).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await.context(format!("uploading layer to {shown}")));
        }
        self.place = None;
        Ok(())
    }

    fn place(&self) -> Result<&Url> {
        let ended = || Error::new(ErrorKind::BadRequest, "the upload has ended");
        self.place.as_ref().ok_or_else(ended)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(url) = self.place.take() else { return };
        let client = Arc::clone(&self.client);
        let cancel = async move {
            let ask = Ask { method: Method::DELETE, ..Ask::default() };
            match tokio::time::timeout(CANCELLING, client.ask(url, ask)).await {
                Ok(Ok(response)) => {
                    tracing::debug!(status = %response.status(), "gave up an upload");
                }
                Ok(Err(error)) => tracing::debug!(%error, "an upload could not be given up"),
                Err(_) => tracing::debug!("an upload could not be given up in time"),
            }
        };
        // Nobody waits for it: registries forget uploads by themselves, only later.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(cancel));
        }
    }
}

/// Sees whether a body is taken.
#[derive(Debug, Default)]
struct Watch {
    /// Counts what was taken, and what was waited for.
    steps: AtomicU64,
}

impl Watch {
    /// Whether the body itself is waited for: an odd number of steps.
    fn is_waiting(steps: u64) -> bool {
        steps % 2 == 1
    }

    /// Ends when nothing was taken for `limit` although there was something, or only the answer is
    /// missing.
    async fn silence(&self, limit: Duration) {
        let mut last = self.steps.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(limit).await;
            let now = self.steps.load(Ordering::Relaxed);
            if now == last && !Self::is_waiting(now) {
                return;
            }
            last = now;
        }
    }
}

/// `body`, which tells `watch` when it is waited for and when it gave something.
fn watched(
    body: BoxStream<'static, io::Result<Bytes>>,
    watch: Arc<Watch>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold((body, watch), |(mut body, watch)| async move {
        watch.steps.fetch_add(1, Ordering::Relaxed);
        let next = body.next().await;
        watch.steps.fetch_add(1, Ordering::Relaxed);
        next.map(|chunk| (chunk, (body, watch)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_refused() {
        for (text, cause, refused) in [
            ("manifest invalid", "manifest invalid: manifest invalid", true),
            ("manifest invalid: no", "manifest invalid: no", true),
            ("manifest invalid", "manifest invalid", true),
            ("x", "tag invalid: manifest tag did not match URI", true),
            ("x", "unsupported: Invalid JSON syntax", true),
            ("unsupported", "unsupported", false),
            ("blob unknown", "manifest blob unknown: blob unknown to registry", false),
            ("x", "manifest invalidated", false),
        ] {
            let error = Error::new(ErrorKind::Answer, text).with_cause(cause);
            assert_eq!(refuses_kind(&error), refused, "{cause}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_other_side_is_silent() {
        let limit = Duration::from_secs(10);
        let watch = Arc::new(Watch::default());
        let slow = stream::once(async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            Ok(Bytes::from_static(b"x"))
        });
        let mut body = Box::pin(watched(slow.boxed(), Arc::clone(&watch)));
        let start = tokio::time::Instant::now();
        let mut silent = pin!(watch.silence(limit));
        // Whoever makes the body may be slow.
        tokio::select! {
            () = &mut silent => panic!("nobody was silent"),
            next = body.next() => assert_eq!(next.unwrap().unwrap(), "x"),
        }
        // But now it is there, and not taken.
        silent.await;
        let waited = start.elapsed().as_secs();
        assert!((110..=120).contains(&waited), "{waited}");
    }
}
