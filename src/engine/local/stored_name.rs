//! Stored names, taken apart without checking them again.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::image::{Digest, Reference};
use crate::storage::record::ImageRecord;

/// A name of a record: a repository with a tag or a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredName<'a> {
    /// The whole name.
    pub(super) full: &'a str,
    /// Domain and path.
    pub(super) repository: &'a str,
    /// The tag.
    pub(super) tag: Option<&'a str>,
}

impl<'a> StoredName<'a> {
    pub(super) fn new(full: &'a str) -> Self {
        let named = full.split_once('@').map_or(full, |(named, _)| named);
        match named.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => {
                Self { full, repository, tag: Some(tag) }
            }
            _ => Self { full, repository: named, tag: None },
        }
    }

    /// What follows the repository: `:tag`, `@digest`, both or nothing.
    pub(super) fn tail(&self) -> &'a str {
        &self.full[self.repository.len()..]
    }

    /// The repository without its domain.
    pub(super) fn path(&self) -> &'a str {
        self.repository.split_once('/').map_or(self.repository, |(_, path)| path)
    }

    /// The repository as Docker completes it, for names that some tool stored without a domain.
    fn canonical_repository(&self) -> Option<Cow<'a, str>> {
        let complete = self
            .repository
            .split_once('/')
            .is_some_and(|(domain, _)| domain.contains(['.', ':']) || domain == "localhost");
        if complete {
            return Some(Cow::Borrowed(self.repository));
        }
        let reference = Reference::normalize_docker(self.repository).ok()?;
        Some(Cow::Owned(reference.repository()))
    }
}

/// Names with a tag, in order.
pub(super) fn tagged(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str).filter(|name| StoredName::new(name).tag.is_some())
}

/// Every repository of `names` with every digest of the image, sorted.
pub(super) fn repo_digests(names: &[String], record: &ImageRecord) -> Vec<String> {
    if names.is_empty() {
        return Vec::new();
    }
    let repositories: BTreeSet<Cow<'_, str>> =
        names.iter().filter_map(|name| StoredName::new(name).canonical_repository()).collect();
    let digests = record.digests();
    let mut full: Vec<String> = repositories
        .iter()
        .flat_map(|repository| digests.iter().map(move |digest| format!("{repository}@{digest}")))
        .collect();
    full.sort_unstable();
    full
}

/// Whether one of `names` is in the repository `repository`.
pub(super) fn in_repository(names: &[String], repository: &str) -> bool {
    names.iter().any(|name| {
        StoredName::new(name).canonical_repository().is_some_and(|own| own == repository)
    })
}

/// Whether the image can be found by `digest`.
pub(super) fn has_digest(record: &ImageRecord, digest: &Digest) -> bool {
    record.digests().contains(&digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        for (full, repository, tag, path) in [
            ("localhost/a:1", "localhost/a", Some("1"), "a"),
            ("h:5000/a/b", "h:5000/a/b", None, "a/b"),
            ("h:5000/a/b@sha256:12", "h:5000/a/b", None, "a/b"),
            ("q.io/a:t@sha256:12", "q.io/a", Some("t"), "a"),
            ("a", "a", None, "a"),
        ] {
            let name = StoredName::new(full);
            assert_eq!((name.repository, name.tag, name.path()), (repository, tag, path), "{full}");
            assert_eq!(format!("{repository}{}", name.tail()), full);
        }
    }

    #[test]
    fn repositories_are_completed() {
        let names = ["localhost/a:1".to_owned(), "b:1".to_owned()];
        assert!(in_repository(&names, "localhost/a"));
        assert!(in_repository(&names, "docker.io/library/b"));
        assert!(!in_repository(&names, "b"));
    }
}
