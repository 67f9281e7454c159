//! Filters of a list: `key=value` and `key!=value`.
//!
//! All must match. `reference` is the exception: of several one is enough, unless it is negated.
//! Keys, values and the texts of errors are Podman's (libimage).

mod glob;
pub(super) mod until;

use std::collections::HashSet;

use jiff::Timestamp;

use self::glob::Glob;
use super::library::Library;
use super::relations::Relations;
use super::resolve::Lists;
use super::stored_name::StoredName;
use crate::engine::{Error, ErrorKind, Filter, Result};
use crate::image::Reference;
use crate::storage::StoredImage;

/// Value of `containers`: images without containers, or only with those of other tools.
pub(super) const EXTERNAL: &str = "external";

/// Filters that were understood, with everything looked up that they name.
#[derive(Debug)]
pub(super) struct Filters {
    tests: Vec<(Test, Negated)>,
    wanted: Vec<ReferencePattern>,
    unwanted: Vec<ReferencePattern>,
}

type Negated = bool;

#[derive(Debug)]
enum Test {
    CreatedAfter(Timestamp),
    CreatedBefore(Timestamp),
    HasContainers(bool),
    /// Has no containers but these.
    HasOnlyContainers(HashSet<String>),
    Dangling(bool),
    Intermediate(bool),
    ReadOnly(bool),
    ManifestList(bool),
    IdPrefix(String),
    DigestPrefix(String),
    Label {
        key: String,
        value: String,
    },
}

/// A value of `reference`.
#[derive(Debug)]
struct ReferencePattern {
    /// The image the value means as a name, by its place.
    image: Option<usize>,
    glob: Option<Glob>,
    /// The value, if it is a full reference.
    full: Option<Reference>,
}

/// What a filter is applied to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) at: usize,
    pub(super) image: &'a StoredImage,
    pub(super) relations: &'a Relations,
}

impl Filters {
    /// Understands `filters`. Names in them are looked up, and durations count from now.
    pub(super) fn compile(library: &Library<'_>, filters: &[Filter]) -> Result<Self> {
        Self::compile_all(library, filters, None)
    }

    /// As [`Filters::compile`], for one who knows which containers are those of other tools.
    pub(super) fn compile_with(
        library: &Library<'_>,
        filters: &[Filter],
        external: &HashSet<String>,
    ) -> Result<Self> {
        Self::compile_all(library, filters, Some(external))
    }

    fn compile_all(
        library: &Library<'_>,
        filters: &[Filter],
        external: Option<&HashSet<String>>,
    ) -> Result<Self> {
        let mut compiled = Self { tests: Vec::new(), wanted: Vec::new(), unwanted: Vec::new() };
        let mut once = Once { values: Vec::new(), external };
        for Filter { key, negated, value } in filters {
            if key == "reference" {
                let list = if *negated { &mut compiled.unwanted } else { &mut compiled.wanted };
                list.push(ReferencePattern::new(library, value));
                continue;
            }
            compiled.tests.push((Test::compile(library, key, value, &mut once)?, *negated));
        }
        Ok(compiled)
    }

    /// The names to show for an image that passes, or `None` if it does not.
    ///
    /// A single full reference is a question about that name, so only names that answer it are
    /// shown.
    pub(super) fn apply(
        &self,
        library: &Library<'_>,
        candidate: Candidate<'_>,
    ) -> Option<Vec<String>> {
        let passes = |(test, negated): &(Test, Negated)| {
            // An image that cannot be read matches neither a filter nor its negation.
            test.matches(library, candidate).is_some_and(|matches| matches != *negated)
        };
        let Candidate { at, image, .. } = candidate;
        if !self.tests.iter().all(passes)
            || self.unwanted.iter().any(|pattern| pattern.matches(at, image))
            || !(self.wanted.is_empty()
                || self.wanted.iter().any(|pattern| pattern.matches(at, image)))
        {
            return None;
        }
        let names = &image.record.names;
        let question = match (&self.wanted[..], &self.unwanted[..]) {
            ([only], []) => only.full.as_ref(),
            _ => None,
        };
        let Some(question) = question else { return Some(names.clone()) };
        Some(names.iter().filter(|name| answers(name, question)).cloned().collect())
    }
}

/// Whether a stored name is what a full reference asks for.
fn answers(name: &str, question: &Reference) -> bool {
    match question.digest() {
        Some(_) => StoredName::new(name).repository == question.repository(),
        None => name == question.to_string(),
    }
}

/// Keys that may be repeated only with the same value.
struct Once<'a> {
    values: Vec<(String, String)>,
    /// Containers of other tools, for who knows them.
    external: Option<&'a HashSet<String>>,
}

impl Once<'_> {
    fn check(&mut self, key: &str, value: &str) -> Result<()> {
        if self.values.iter().any(|(known, other)| known == key && other != value) {
            return Err(bad(format!(
                "specifying {key:?} filter more than once with different values is not supported"
            )));
        }
        self.values.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    fn bool(&mut self, key: &str, value: &str) -> Result<bool> {
        self.check(key, value)?;
        match value {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            // Podman swaps key and value here.
            _ => Err(bad("invalid syntax")
                .context(format!("strconv.ParseBool: parsing {value:?}"))
                .context(format!("non-boolean value {key:?} for {value} filter"))),
        }
    }
}

fn bad(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadRequest, text)
}

impl Test {
    fn compile(library: &Library<'_>, key: &str, value: &str, once: &mut Once<'_>) -> Result<Self> {
        Ok(match key {
            "after" | "since" => Self::CreatedAfter(created(library, key, value)?),
            "before" => Self::CreatedBefore(created(library, key, value)?),
            "until" => Self::CreatedBefore(until::parse(value, library.now())?),
            "containers" => {
                once.check(key, value)?;
                match (value, once.external) {
                    ("true", _) => Self::HasContainers(true),
                    ("false", _) => Self::HasContainers(false),
                    (EXTERNAL, Some(external)) => Self::HasOnlyContainers(external.clone()),
                    // Podman knows which containers are its own, but does not tell its list.
                    (EXTERNAL, None) => {
                        let text = "libimage error: external containers filter without callback";
                        return Err(bad(text));
                    }
                    _ => {
                        let text = format!("unsupported value {value:?} for containers filter");
                        return Err(bad(text));
                    }
                }
            }
            "dangling" => Self::Dangling(once.bool(key, value)?),
            "intermediate" => Self::Intermediate(once.bool(key, value)?),
            "readonly" => Self::ReadOnly(once.bool(key, value)?),
            "manifest" => Self::ManifestList(once.bool(key, value)?),
            "id" => Self::IdPrefix(value.to_owned()),
            "digest" if value.starts_with("sha256:") => Self::DigestPrefix(value.to_owned()),
            "digest" => return Err(bad(format!("invalid value {value:?} for digest filter"))),
            "label" => {
                let (key, value) = value.split_once('=').unwrap_or((value, ""));
                Self::Label { key: key.to_owned(), value: value.to_owned() }
            }
            _ => {
                return Err(bad(format!(
                    "invalid image filter {key:?}: \
                     must be in the format \"filter=value or filter!=value\""
                )));
            }
        })
    }

    /// Whether the image matches; `None` if it cannot be read far enough to know.
    fn matches(&self, library: &Library<'_>, candidate: Candidate<'_>) -> Option<bool> {
        let Candidate { at, image, relations } = candidate;
        let record = &image.record;
        Some(match self {
            Self::CreatedAfter(time) => record.created > *time,
            Self::CreatedBefore(time) => record.created < *time,
            Self::HasContainers(wanted) => {
                library.snapshot().containers_of(&record.id).next().is_some() == *wanted
            }
            Self::HasOnlyContainers(known) => {
                library.snapshot().containers_of(&record.id).all(|it| known.contains(&it.id))
            }
            Self::Dangling(wanted) => relations.is_dangling(at) == *wanted,
            Self::Intermediate(wanted) => relations.is_intermediate(at) == *wanted,
            Self::ReadOnly(wanted) => image.read_only == *wanted,
            Self::ManifestList(wanted) => library.facts(at).ok()?.kind.is_list() == *wanted,
            Self::IdPrefix(prefix) => record.id.as_str().starts_with(prefix),
            Self::DigestPrefix(prefix) => {
                record.digests().iter().any(|digest| digest.as_str().starts_with(prefix))
            }
            Self::Label { key, value } => {
                let config = library.facts(at).ok()?.config.as_ref();
                let labels = config.and_then(|config| config.labels.as_ref());
                labels.into_iter().flatten().any(|(own_key, own_value)| {
                    (value.is_empty() || value == own_value) && label_key_matches(key, own_key)
                })
            }
        })
    }
}

/// A key with a star is a pattern for any part of the label's key.
fn label_key_matches(key: &str, own: &str) -> bool {
    own == key
        || key.contains('*') && {
            let plain = |text: &str| text.replace('/', "|");
            Glob::parse(&plain(&format!("*{key}*"))).is_some_and(|glob| glob.matches(&plain(own)))
        }
}

fn created(library: &Library<'_>, key: &str, value: &str) -> Result<Timestamp> {
    let found = library.lookup(value, Lists::Instance).map_err(|error| {
        error
            .context(format!("could not find local image for filter {key:?}={value:?}"))
            .of_kind(ErrorKind::BadRequest)
    })?;
    Ok(found.image.record.created)
}

impl ReferencePattern {
    fn new(library: &Library<'_>, value: &str) -> Self {
        // The canonical spelling only: what would be completed is not a full reference.
        let full = Reference::normalize_docker(value).ok().filter(|full| {
            full.to_string() == value && (full.tag().is_some() || full.digest().is_some())
        });
        Self {
            image: library.lookup(value, Lists::Instance).ok().map(|found| found.at),
            glob: Glob::parse(value),
            full,
        }
    }

    /// Whether the value means the image, or stands for one of its names, whole or without some
    /// of domain, path, tag and digest.
    fn matches(&self, at: usize, image: &StoredImage) -> bool {
        if self.image == Some(at) {
            return true;
        }
        let Some(glob) = &self.glob else { return false };
        image.record.names.iter().any(|name| {
            let name = StoredName::new(name);
            let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
            glob.matches(name.full)
                || glob.matches(name.path())
                || glob.matches(&format!("{}{}", last(name.repository), name.tail()))
                || glob.matches(name.repository)
                || glob.matches(&format!("{}{}", name.path(), name.tail()))
                || glob.matches(&last(name.repository))
        })
    }
}

#[cfg(test)]
mod tests;
