//! The places where an image can be had: its mirrors and its registry.

use super::client::Access;
use super::error::{Error, ErrorKind, Result};
use super::repository::Repository;
use super::{Retry, Settings};
use crate::image::{Manifest, Reference};

/// The manifest of `reference`, a full one, and the repository it is from: the first that has it of
/// its mirrors and its registry.
///
/// # Errors
/// That of the registry itself, with those of its mirrors in front.
pub async fn find(
    settings: &Settings,
    reference: &Reference,
    access: &Access,
    retry: &Retry,
) -> Result<(Repository, Manifest)> {
    let bad = |text: String| Error::new(ErrorKind::BadRequest, text);
    if let Some(entry) = settings.registries.find(&reference.to_string())
        && entry.blocked
    {
        return Err(bad(settings.registries.blocked(entry)));
    }
    let sources = settings.registries.pull_sources(reference);
    let sources = sources.map_err(|error| bad(error.to_string()))?;
    let registry = reference.domain().unwrap_or_default();
    let mut failed: Vec<(Reference, Error)> = Vec::new();
    for source in sources {
        let attempt = || async {
            let opened = Repository::open(settings, &source, registry, access).await;
            let repository = opened.map_err(|error| error.context(place(&source.reference)))?;
            let manifest = repository.manifest(&source.reference).await?;
            Ok((repository, manifest))
        };
        match retry.run(attempt).await {
            Ok(found) => return Ok(found),
            Err(error) => failed.push((source.reference, error)),
        }
    }
    let Some((_, last)) = failed.pop() else {
        return Err(bad(format!("there is no place to get {reference} from")));
    };
    if failed.is_empty() {
        return Err(last);
    }
    let others = failed.iter().map(|(reference, error)| format!("[{reference}: {error}]"));
    let others = others.collect::<Vec<_>>().join("\n");
    Err(last.context(format!("(Mirrors also failed: {others})")))
}

fn place(reference: &Reference) -> String {
    let which = match reference.digest() {
        Some(digest) => digest.as_str(),
        None => reference.tag().unwrap_or("latest"),
    };
    format!("fetching manifest {which} in {}", reference.repository())
}
