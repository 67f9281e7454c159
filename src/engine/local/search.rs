//! What registries have.

use super::{Options, failure};
use crate::engine::{Error, ErrorKind, Result, SearchFilters, SearchHit, SearchOptions};
use crate::registry::{self, Access, Hit};

/// The most hits of a registry when nobody says.
const LIMIT: usize = 25;

/// Asks the registry of `term`, or the search registries.
pub(super) async fn search(
    host: &Options,
    term: &str,
    options: SearchOptions,
) -> Result<Vec<SearchHit>> {
    let SearchOptions { limit, list_tags, filters, tls_verify, logins } = options;
    let limit = if limit == 0 { LIMIT } else { usize::try_from(limit).unwrap_or(0) };
    let (registries, term) = match term.split_once('/') {
        Some((registry, term)) => (vec![registry.to_owned()], term),
        None => (host.short_names.search.clone(), term),
    };
    let access = Access { logins, tls_verify };
    let answers = if list_tags {
        registry::search_tags(&host.registry, &registries, term, limit, &access).await
    } else {
        registry::search(&host.registry, &registries, term, limit, &access).await
    };
    let mut hits = Vec::new();
    let mut errors = Vec::new();
    for answer in answers {
        match answer {
            Ok(found) => hits.extend(found),
            Err(error) => errors.push(failure::registry(error)),
        }
    }
    let hits: Vec<_> =
        hits.into_iter().filter(|hit| list_tags || fits(hit, &filters)).map(report).collect();
    // Whoever has found something has no use for the failures of others.
    if hits.is_empty() && !errors.is_empty() { Err(joined(&errors)) } else { Ok(hits) }
}

fn fits(hit: &Hit, filters: &SearchFilters) -> bool {
    hit.stars >= filters.stars
        && filters.official.is_none_or(|official| hit.official == official)
        && filters.automated.is_none_or(|automated| hit.automated == automated)
}

fn report(hit: Hit) -> SearchHit {
    let Hit { index, name, description, stars, official, automated, tag } = hit;
    SearchHit { index, name, description, stars, official, automated, tag }
}

/// Several errors as one, in the form of the tools. Its cause is that of the only one, or the last
/// one whole.
fn joined(errors: &[Error]) -> Error {
    let count = errors.len();
    let s = if count == 1 { "" } else { "s" };
    let mut text = format!("{count} error{s} occurred:\n");
    for error in errors {
        text.push_str(&format!("\t* {error}\n"));
    }
    text.push('\n');
    let cause = match errors {
        [error] => error.cause().to_owned(),
        errors => errors.last().map(ToString::to_string).unwrap_or_default(),
    };
    Error::new(ErrorKind::Registry, text).with_cause(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_errors_are_one() {
        let error = |text: &str| Error::new(ErrorKind::Registry, text).context("outer");
        let one = joined(&[error("a")]);
        assert_eq!(one.to_string(), "1 error occurred:\n\t* outer: a\n\n");
        assert_eq!(one.cause(), "a");
        let two = joined(&[error("a"), error("b")]);
        assert_eq!(two.to_string(), "2 errors occurred:\n\t* outer: a\n\t* outer: b\n\n");
        assert_eq!(two.cause(), "outer: b");
    }
}
