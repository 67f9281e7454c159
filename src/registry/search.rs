//! What registries have.

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use reqwest::header::LINK;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Settings;
use super::client::{Access, RegistryClient};
use super::error::{Error, ErrorKind, Result};
use super::http;
use super::refusal::refusal;
use crate::image::Reference;

/// Registries that are asked at the same time.
const PARALLEL: usize = 6;
/// Longest document of a registry, bytes.
const DOCUMENT: usize = 16 << 20;
/// Pages of a list that are read; a registry's list may lead to itself.
const PAGES: usize = 10_000;

/// One hit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hit {
    /// The registry.
    pub index: String,
    /// Registry and repository.
    pub name: String,
    /// A sentence, if the registry has one.
    pub description: String,
    /// How many like it.
    pub stars: i64,
    /// Whether the registry vouches for it.
    pub official: bool,
    /// Whether it is built by the registry.
    pub automated: bool,
    /// The tag, when tags were asked for.
    pub tag: String,
}

/// Asks each of `registries` for repositories whose name contains `term`; at most `limit` of each.
/// Answers in the order of `registries`, failures in their places.
pub async fn search(
    settings: &Settings,
    registries: &[String],
    term: &str,
    limit: usize,
    access: &Access,
) -> Vec<Result<Vec<Hit>>> {
    let asked = registries.iter();
    let asked = asked.map(|it| repositories(settings, it, term, limit, access).boxed());
    at_once(asked.collect()).await
}

/// The tags of the repository `term` of each of `registries`; at most `limit` of each.
pub async fn search_tags(
    settings: &Settings,
    registries: &[String],
    term: &str,
    limit: usize,
    access: &Access,
) -> Vec<Result<Vec<Hit>>> {
    let asked = registries.iter();
    let asked = asked.map(|it| tags(settings, it, term, limit, access).boxed());
    at_once(asked.collect()).await
}

async fn at_once(asked: Vec<BoxFuture<'_, Result<Vec<Hit>>>>) -> Vec<Result<Vec<Hit>>> {
    stream::iter(asked).buffered(PARALLEL).collect().await
}

/// What the index of Docker Hub, and some other registries, answer a search with.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    results: Vec<IndexEntry>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct IndexEntry {
    name: String,
    description: Option<String>,
    star_count: i64,
    is_official: bool,
    is_automated: bool,
}

#[derive(Deserialize)]
struct Catalog {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<Option<String>>>,
}

async fn repositories(
    settings: &Settings,
    registry: &str,
    term: &str,
    limit: usize,
    access: &Access,
) -> Result<Vec<Hit>> {
    let place = |error: Error| error.context(format!("couldn't search registry {registry:?}"));
    // Docker Hub has an index instead of a catalog, which knows its own images by their last name.
    let hub = registry == "docker.io";
    let term = if hub { term.strip_prefix("library/").unwrap_or(term) } else { term };
    let login = match access.logins.find(registry) {
        Some(login) => login,
        None => super::auth::of_host(settings, registry).await?,
    };
    let host = if hub { "index.docker.io" } else { registry };
    let mut client =
        RegistryClient::with_login(settings, registry, registry, host, access.tls_verify, login)
            .await
            .map_err(|error| error.context("creating new docker client"))?;
    client.ping().await.map_err(place)?;
    let hit = |name: &str| Hit {
        index: registry.to_owned(),
        name: match hub && !name.contains('/') {
            true => format!("{registry}/library/{name}"),
            false => format!("{registry}/{name}"),
        },
        ..Hit::default()
    };
    if !term.is_empty()
        && let Some(index) = from_index(&client, term, limit).await?
    {
        let hits = index.results.into_iter().take(limit).map(|entry| Hit {
            description: entry.description.unwrap_or_default().replace('\n', " "),
            stars: entry.star_count,
            official: entry.is_official,
            automated: entry.is_automated,
            ..hit(&entry.name)
        });
        return Ok(hits.collect());
    }
    let mut found: Vec<String> = Vec::new();
    let mut next = Some("/v2/_catalog".to_owned());
    for _ in 0..PAGES {
        let Some(target) = next.filter(|_| found.len() < limit) else { break };
        let response = client.get(&target).await.map_err(place)?;
        if response.status() != StatusCode::OK {
            return Err(place(refusal(response).await));
        }
        next = following(&response);
        let Catalog { repositories } = document(response).await.map_err(place)?;
        let named = repositories.unwrap_or_default().into_iter().filter(|name| name.contains(term));
        for name in named.take(limit - found.len()) {
            // What was asked for literally comes first.
            let at = if name == term { 0 } else { found.len() };
            found.insert(at, name);
        }
    }
    Ok(found.iter().map(|name| hit(name)).collect())
}

/// The answer of the index, if the registry has one.
async fn from_index(client: &RegistryClient, term: &str, limit: usize) -> Result<Option<Index>> {
    let query: String = [("n", &*limit.to_string()), ("q", term)]
        .iter()
        .map(|(name, value)| {
            let value =
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            format!("{name}={value}&")
        })
        .collect();
    let target = format!("/v1/search?{}", query.trim_end_matches('&'));
    match client.get_as_nobody(&target).await {
        Ok(response) if response.status() == StatusCode::OK => document(response).await.map(Some),
        Ok(response) => {
            tracing::debug!(status = %response.status(), "no index");
            Ok(None)
        }
        Err(error) => {
            tracing::debug!(%error, "no index");
            Ok(None)
        }
    }
}

async fn tags(
    settings: &Settings,
    registry: &str,
    term: &str,
    limit: usize,
    access: &Access,
) -> Result<Vec<Hit>> {
    let name = format!("{registry}/{term}");
    let reference = Reference::normalize_docker(&name).ok();
    let Some(reference) = reference.filter(|it| it.domain().is_some()) else {
        let text = format!("reference {term:?} must be a docker reference");
        return Err(Error::new(ErrorKind::BadRequest, text));
    };
    let tags = repository_tags(settings, &reference, limit, access).await;
    // Podman has the inner error as text only.
    let tags = tags.map_err(|error| error.context("getting repository tags").flattened())?;
    let hit = |tag| Hit {
        index: registry.to_owned(),
        name: reference.repository(),
        tag,
        ..Hit::default()
    };
    Ok(tags.into_iter().map(hit).collect())
}

/// The tags of the repository of `reference`, a full one; at most `limit`.
pub async fn repository_tags(
    settings: &Settings,
    reference: &Reference,
    limit: usize,
    access: &Access,
) -> Result<Vec<String>> {
    let (registry, path) = (reference.domain().unwrap_or_default(), reference.path());
    let mut client = RegistryClient::new(settings, registry, Some(path), access)
        .await
        .map_err(|error| error.context("failed to create client"))?;
    client.ping().await?;
    let mut found = Vec::new();
    let mut next = Some(format!("/v2/{path}/tags/list"));
    for _ in 0..PAGES {
        let Some(target) = next.filter(|_| found.len() < limit) else { break };
        let response = client.get(&target).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await.context("fetching tags list"));
        }
        next = following(&response);
        let Tags { tags } = document(response).await?;
        // Some registries list nulls and digests.
        let tags = tags.unwrap_or_default().into_iter().flatten().filter(|tag| {
            Reference::parse(&format!("name:{tag}")).is_ok_and(|it| it.tag() == Some(tag))
        });
        found.extend(tags.take(limit - found.len()));
    }
    Ok(found)
}

/// Path and query of the next page.
fn following(response: &Response) -> Option<String> {
    let link = response.headers().get(LINK)?.to_str().ok()?;
    let target = link.split(';').next()?.trim().trim_matches(['<', '>']);
    // It may be relative; of what is not, only the path counts.
    let url = response.url().join(target).ok()?;
    Some(match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    })
}

async fn document<T: DeserializeOwned>(response: Response) -> Result<T> {
    let body = http::body(response, DOCUMENT).await?;
    serde_json::from_slice(&body).map_err(|error| Error::new(ErrorKind::Answer, error.to_string()))
}
