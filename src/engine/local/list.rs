//! The list of images.
//!
//! One damaged image must not hide the others. Podman 4.3.1 answers with an error for the whole
//! list; here an image whose manifest or config cannot be read is listed with what its record
//! says, so that it can be seen and removed. An image with a missing layer is left out, as in
//! newer Podman: it looks like one that is just being removed.

use super::filter::{Candidate, Filters};
use super::library::Library;
use super::relations::Relations;
use super::stored_name;
use crate::engine::{Filter, ImageSummary, ListOptions, Result};

/// All images that pass the filters, in storage order.
///
/// # Errors
/// [`BadRequest`](crate::engine::ErrorKind::BadRequest) for a filter without meaning.
pub(super) fn list(library: &Library<'_>, options: &ListOptions) -> Result<Vec<ImageSummary>> {
    let mut given = options.filters.clone();
    let wants_intermediate =
        given.iter().any(|f| f.key == "intermediate" && !f.negated && f.value == "true");
    if !options.all && !wants_intermediate {
        given.push(Filter { key: "intermediate".into(), negated: false, value: "false".into() });
    }
    let filters = Filters::compile(library, &given)?;
    let relations = library.relations();
    let summaries = (0..library.images().len()).filter_map(|at| {
        let candidate = Candidate { at, image: &library.images()[at], relations: &relations };
        let names = filters.apply(library, candidate)?;
        summary(library, &relations, at, names)
    });
    Ok(summaries.collect())
}

fn summary(
    library: &Library<'_>,
    relations: &Relations,
    at: usize,
    names: Vec<String>,
) -> Option<ImageSummary> {
    let image = &library.images()[at];
    let record = &image.record;
    let Some(size_bytes) = library.size(at) else {
        tracing::warn!(image = %record.id, "a layer is missing, the image is not listed");
        return None;
    };
    let facts = library
        .facts(at)
        .inspect_err(|error| tracing::warn!(image = %record.id, %error, "cannot be read"))
        .ok();
    let config = facts.and_then(|facts| facts.config.as_ref());
    Some(ImageSummary {
        id: record.id.clone(),
        parent: relations.parent(at).map(|parent| library.images()[parent].record.id.clone()),
        repo_digests: stored_name::repo_digests(&names, record),
        names,
        created: record.created,
        size_bytes,
        labels: config.and_then(|config| config.labels.clone()),
        containers: library.snapshot().containers_of(&record.id).count(),
        read_only: image.read_only,
        dangling: relations.is_dangling(at),
        architecture: config.map(|config| config.architecture.clone()).unwrap_or_default(),
        os: config.map(|config| config.os.clone()).unwrap_or_default(),
        digest: record.digest.clone(),
        names_history: record.names_history.clone(),
        is_manifest_list: facts.is_some_and(|facts| facts.kind.is_list()),
    })
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
