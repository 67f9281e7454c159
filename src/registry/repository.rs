//! A repository of a registry, for reading: manifests, small documents, and blobs from any place on.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode};

use super::client::{Access, Ask, Connection, RegistryClient};
use super::error::{Error, ErrorKind, Result};
use super::refusal::{line, refusal};
use super::{Settings, auth, http};
use crate::image::{Descriptor, Digest, Manifest, PullSource, Reference};

/// Longest manifest and longest config, bytes. As in the tools.
pub(crate) const DOCUMENT: usize = 4 << 20;

/// What manifests are understood.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// A repository that has been reached.
#[derive(Debug)]
pub struct Repository {
    client: RegistryClient,
    /// Its path on the registry.
    path: String,
    /// Registry and path.
    name: String,
}

impl Repository {
    /// Reaches the registry of `source`. `registry` is that of the image: a login that is meant for
    /// it is not shown to a mirror.
    pub(super) async fn open(
        settings: &Settings,
        source: &PullSource,
        registry: &str,
        access: &Access,
    ) -> Result<Self> {
        let reference = &source.reference;
        let (host, path) = (reference.domain().unwrap_or_default(), reference.path());
        let name = reference.repository();
        let own =
            if host == registry { access.logins.find(&name) } else { access.logins.of(&name) };
        let login = match own {
            Some(login) => login,
            None => auth::of_host(settings, &name).await?,
        };
        let how = Connection {
            registry: host,
            host: if host == "docker.io" { "registry-1.docker.io" } else { host },
            verify: access.tls_verify.unwrap_or(!source.insecure),
        };
        let client = RegistryClient::connect(settings, how, login).await?;
        let mut client = client.with_scope(format!("repository:{path}:pull"));
        client.ping().await?;
        Ok(Self { client, path: path.to_owned(), name })
    }

    /// Registry and path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The manifest of a tag or, verified, of a digest.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<Manifest> {
        let digest = reference.digest();
        let which = digest.map_or(reference.tag().unwrap_or("latest"), Digest::as_str);
        let url = self.client.url(&format!("/v2/{}/manifests/{which}", self.path))?;
        let place = format!("{which} in {}", self.name);
        let ask = Ask { headers: accepted_manifests(), ..Ask::default() };
        let fetching = |error: Error| error.context(format!("fetching manifest {place}"));
        let response = self.client.ask(url, ask).await.map_err(fetching)?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await.context(format!("reading manifest {place}")));
        }
        let raw = http::body(response, DOCUMENT).await.map_err(fetching)?;
        let found = Digest::of(&raw);
        if digest.is_some_and(|digest| *digest != found) {
            let text = format!("manifest has digest {found} instead of {which}");
            return Err(
                Error::new(ErrorKind::Answer, text).context(format!("reading manifest {place}"))
            );
        }
        Manifest::parse(raw).map_err(|error| {
            Error::new(ErrorKind::Answer, error.to_string())
                .context(format!("parsing manifest {place}"))
        })
    }

    /// The manifest that a list lists.
    pub async fn instance(&self, digest: &Digest) -> Result<Manifest> {
        let text = format!("{}@{digest}", self.name);
        let reference = Reference::parse(&text)
            .map_err(|error| Error::new(ErrorKind::Answer, error.to_string()))?;
        self.manifest(&reference).await
    }

    /// A small blob, verified.
    pub async fn document(&self, descriptor: &Descriptor) -> Result<Bytes> {
        let digest = &descriptor.digest;
        let place = |error: Error| error.context(format!("reading blob {digest}"));
        if descriptor.size > DOCUMENT as u64 {
            let text = format!("{} bytes are more than the limit of {DOCUMENT}", descriptor.size);
            return Err(place(Error::new(ErrorKind::Answer, text)));
        }
        let mut body = self.blob(digest, 0).await?;
        let mut content = Vec::new();
        while let Some(chunk) = body.chunk().await.map_err(place)? {
            if (content.len() + chunk.len()) as u64 > descriptor.size {
                break;
            }
            content.extend_from_slice(&chunk);
        }
        let found = Digest::of(&content);
        if found == *digest {
            return Ok(content.into());
        }
        let text = format!("content has digest {found}, or more than {} bytes", descriptor.size);
        Err(place(Error::new(ErrorKind::Answer, text)))
    }

    /// The content of a blob from `offset` on. Nothing of it is verified.
    pub async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobBody> {
        let url = self.client.url(&format!("/v2/{}/blobs/{digest}", self.path))?;
        let place =
            |error: Error| error.context("fetching blob").context(format!("reading blob {digest}"));
        let mut ask = Ask::default();
        if offset > 0 {
            let range = HeaderValue::try_from(format!("bytes={offset}-"));
            let range =
                range.map_err(|error| Error::new(ErrorKind::BadRequest, error.to_string()))?;
            ask.headers.insert(RANGE, range);
        }
        let response = self.client.ask(url, ask).await.map_err(place)?;
        let skip = match response.status() {
            // All of it, whatever was asked for.
            StatusCode::OK => offset,
            StatusCode::PARTIAL_CONTENT if starts_at(&response, offset) => 0,
            StatusCode::PARTIAL_CONTENT => {
                let text = format!("the answer does not begin at byte {offset}");
                return Err(place(Error::new(ErrorKind::Answer, text)));
            }
            status if status.is_success() => {
                let text = format!("received unexpected HTTP status: {}", line(status));
                return Err(place(Error::new(ErrorKind::Answer, text)));
            }
            _ => return Err(place(refusal(response).await)),
        };
        Ok(BlobBody { response, skip, digest: digest.clone() })
    }
}

/// The header that says what manifests are understood.
pub(super) fn accepted_manifests() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for kind in MANIFESTS {
        headers.append(ACCEPT, HeaderValue::from_static(kind));
    }
    headers
}

/// Whether a partial answer begins at `offset`.
fn starts_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let range = range.and_then(|range| range.trim().strip_prefix("bytes "));
    let first = range.and_then(|range| range.split('-').next()?.trim().parse::<u64>().ok());
    first == Some(offset)
}

/// Content on its way.
#[derive(Debug)]
pub struct BlobBody {
    response: Response,
    /// Bytes before those that were asked for.
    skip: u64,
    digest: Digest,
}

impl BlobBody {
    /// The next bytes; `None` at the end. An answer that breaks off is an error. Cancel-safe.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            let next = self.response.chunk().await;
            let next = next.map_err(|error| {
                let place = format!("reading blob {}", self.digest);
                http::failed(self.response.url(), &error).context(place)
            })?;
            let Some(mut chunk) = next else { return Ok(None) };
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
            self.skip -= skipped as u64;
            let chunk = chunk.split_off(skipped);
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }
}
