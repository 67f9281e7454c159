//! Everything about one image.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::library::Library;
use super::resolve::Lists;
use super::size;
use super::stored_name;
use crate::engine::{
    Error, ErrorKind, GraphDriver, ImageDetails, ImageName, InspectOptions, LookupReport, Result,
};
use crate::image::{Healthcheck, HistoryEntry, ImageConfig, ManifestKind};
use crate::storage::{Snapshot, StoredImage, StoredLayer};

/// The image that `name` means.
///
/// # Errors
/// As [`Library::lookup`].
pub(super) fn lookup(library: &Library<'_>, name: &ImageName) -> Result<LookupReport> {
    let found = library.lookup(name.as_str(), Lists::Instance)?;
    Ok(LookupReport { id: found.image.record.id.clone(), resolved: found.resolved })
}

/// Whether `name` means an image whose manifest and config can be read.
///
/// # Errors
/// As [`Library::lookup`], except that an unknown image is none.
pub(super) fn exists(library: &Library<'_>, name: &ImageName) -> Result<bool> {
    match library.lookup(name.as_str(), Lists::Instance) {
        Ok(found) => Ok(library.facts(found.at).is_ok()),
        Err(error) if error.kind() == ErrorKind::NoSuchImage => Ok(false),
        Err(error) => Err(error),
    }
}

/// Everything known about the image that `name` means; for a manifest list about what it has for
/// this platform.
///
/// # Errors
/// As [`Library::lookup`]; [`ErrorKind::Storage`] if the image cannot be read.
pub(super) fn inspect(
    library: &Library<'_>,
    name: &ImageName,
    _options: &InspectOptions,
) -> Result<ImageDetails> {
    let found = library.lookup(name.as_str(), Lists::Instance)?;
    let record = &found.image.record;
    let documents = library.documents(found.at)?;
    let kind = documents.manifest.kind();
    let config = documents.config.ok_or_else(|| {
        let text = format!("image {:?} is a manifest list without config", record.id.as_str());
        Error::new(ErrorKind::Storage, text)
    })?;
    let size_bytes =
        library.size(found.at).ok_or_else(|| size::missing_layer(library.snapshot(), record))?;
    let relations = library.relations();
    let parent = relations.parent(found.at).map(|at| library.images()[at].record.id.clone());
    Ok(ImageDetails {
        id: record.id.clone(),
        digest: found.digest,
        repo_tags: stored_name::tagged(&record.names).map(str::to_owned).collect(),
        repo_digests: stored_name::repo_digests(&record.names, record),
        parent,
        comment: comment(kind, &config),
        created: config.created.as_deref().map(|time| as_go_writes_times(time).into_owned()),
        healthcheck: healthcheck(kind, &config),
        config: config.config.clone().unwrap_or_default(),
        docker_version: config.docker_version.clone().unwrap_or_default(),
        author: config.author.clone().unwrap_or_default(),
        architecture: config.architecture.clone().unwrap_or_default(),
        os: config.os.clone().unwrap_or_default(),
        size_bytes,
        graph_driver: graph_driver(library.snapshot(), found.image),
        diff_ids: config.diff_ids().to_vec(),
        annotations: match kind {
            ManifestKind::Oci => documents.manifest.annotations().clone(),
            _ => BTreeMap::new(),
        },
        manifest_type: kind.media_type().to_owned(),
        history: config.history.map(|entries| entries.into_iter().map(shown).collect()),
        names_history: record.names_history.clone(),
    })
}

/// OCI configs have no comment of their own; Podman shows that of the oldest build step.
fn comment(kind: ManifestKind, config: &ImageConfig) -> String {
    let comment = match kind {
        ManifestKind::Oci => config.history().first().and_then(|entry| entry.comment.clone()),
        ManifestKind::Docker => config.comment.clone(),
        _ => None,
    };
    comment.unwrap_or_default()
}

fn healthcheck(kind: ManifestKind, config: &ImageConfig) -> Option<Healthcheck> {
    if kind != ManifestKind::Docker {
        return None;
    }
    let of_build = config.container_config.as_ref().and_then(|config| config.healthcheck.as_ref());
    let own = config.config.as_ref().and_then(|config| config.healthcheck.as_ref());
    of_build.or(own).cloned()
}

/// A history entry without what is empty, which is how Go writes it.
fn shown(entry: HistoryEntry) -> HistoryEntry {
    let not_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
    HistoryEntry {
        created: entry.created.map(|time| as_go_writes_times(&time).into_owned()),
        created_by: not_empty(entry.created_by),
        author: not_empty(entry.author),
        comment: not_empty(entry.comment),
        empty_layer: entry.empty_layer.filter(|empty| *empty),
    }
}

/// An RFC 3339 time without zeros at the end of its fraction, and with UTC as `Z`.
fn as_go_writes_times(time: &str) -> Cow<'_, str> {
    let utc =
        time.strip_suffix("+00:00").map_or(Cow::Borrowed(time), |t| Cow::Owned(format!("{t}Z")));
    let Some((seconds, rest)) = utc.split_once('.') else { return utc };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (fraction, zone) = rest.split_at(digits);
    let kept = fraction.get(..9).unwrap_or(fraction).trim_end_matches('0');
    let point = if kept.is_empty() { "" } else { "." };
    Cow::Owned(format!("{seconds}{point}{kept}{zone}"))
}

/// Where overlay keeps the image. `MergedDir`, which Podman shows while an image is mounted, is
/// never there: queries do not read the mount table.
fn graph_driver(snapshot: &Snapshot, image: &StoredImage) -> GraphDriver {
    let directory = |layer: &StoredLayer, name: &str| {
        let overlay = layer.graph_root.join("overlay");
        overlay.join(layer.record.id.as_str()).join(name).display().to_string()
    };
    let chain = image.record.layer.as_ref().map(|top| snapshot.chain(top)).unwrap_or_default();
    let mut data = BTreeMap::new();
    match chain.split_first() {
        Some((top, lower)) => {
            data.insert("UpperDir".to_owned(), directory(top, "diff"));
            data.insert("WorkDir".to_owned(), directory(top, "work"));
            if !lower.is_empty() {
                let lower: Vec<String> =
                    lower.iter().map(|layer| directory(layer, "diff")).collect();
                data.insert("LowerDir".to_owned(), lower.join(":"));
            }
        }
        // An image without layers has an empty layer ID, and Podman joins the paths all the same.
        None => {
            for (key, name) in [("UpperDir", "diff"), ("WorkDir", "work")] {
                let path = image.graph_root.join("overlay").join(name);
                data.insert(key.to_owned(), path.display().to_string());
            }
        }
    }
    GraphDriver { name: "overlay".to_owned(), data }
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
