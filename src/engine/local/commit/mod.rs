//! Making an image of what a container has changed.
//!
//! Everything that can be wrong with the request is found out first. Then the container's layer is
//! read once, with its processes stopped if that is asked for, and they go on as soon as it is read.

mod config;
mod documents;
mod lookup;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::resolve::Lists;
use super::{Shared, containers, failure, load, tagging};
use crate::container::{self, Settings};
use crate::engine::{
    CommitFormat, CommitOptions, CommitReport, Error, ErrorKind, Event, Progress, Result,
};
use crate::image::{ImageId, Reference};
use crate::layer::Capture;
use crate::storage::{self, Snapshot, StoredImage, StoredLayer};
use crate::sys::Cancel;

use config::Draft;
use documents::LayerEntry;

/// The image that a container was made from.
struct Base<'a> {
    image: Option<&'a StoredImage>,
    /// Layers below the container's own, base first.
    layers: Vec<&'a StoredLayer>,
}

pub(super) fn commit(
    shared: &Shared,
    options: &CommitOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<CommitReport> {
    let snapshot = shared.snapshot(cancel)?;
    let container = lookup::container(&snapshot, &options.container)?;
    let id = container.id.as_str();
    let store = &shared.store;
    let books = containers::books(shared);
    let known = books.container(id, cancel).map_err(failure::container)?;
    config::check(&known.settings)?;
    let name = target(shared, &snapshot, options)?;
    let base = base(&snapshot, container)?;
    let base_image =
        base.image.map(|image| base_documents(shared, &snapshot, image)).transpose()?;
    let created = Timestamp::now();
    let copying =
        |error: Error| error.context(format!("copying layers and metadata for container {id:?}"));
    let draft = Draft::new(&known.settings, base_image, options).and_then(|mut draft| {
        draft.complete(id, created, options)?;
        Ok(draft)
    });
    let source = container.names.first().map_or("", String::as_str);
    let draft = draft.map_err(|error| {
        copying(error.context(format!("initializing source containers-storage:{source}")))
    })?;

    let frozen = match &known.process {
        Some(process) if options.pause => container::freeze(&books.run_root, id, process, cancel)
            .map_err(|error| {
            failure::container(error).context(format!("pausing container {id:?} to commit"))
        })?,
        _ => None,
    };
    progress.tell("Getting image source signatures\n".to_owned());
    let mut layers = Vec::new();
    let what = if options.squash {
        Capture::Everything
    } else {
        for layer in &base.layers {
            let layer = LayerEntry::stored(layer)?;
            progress.tell(format!("Copying blob {}\n", layer.diff_id));
            layers.push(layer);
        }
        Capture::Changes
    };
    let staged = store.stage_container(&snapshot, &container.layer, what, cancel);
    // As soon as possible; nothing else needs the container.
    drop(frozen);
    let staged = staged.map_err(|error| copying(failure::own_layer(error)))?;
    let own = LayerEntry::staged(staged.info());
    progress.tell(format!("Copying blob {}\n", own.diff_id));
    layers.push(own);

    let image = draft.image(layers, name.into_iter().collect(), options)?;
    progress.tell(format!("Copying config {}\n", image.config_digest));
    let draft = load::draft(image)?;
    let id: ImageId = draft.id.clone();
    progress.tell("Writing manifest to image destination\n".to_owned());
    store.commit(vec![staged], vec![draft], cancel).map_err(failure::storage)?;
    shared.events.tell_all(&[event(container, known.settings)]);
    Ok(CommitReport { id })
}

/// To Podman it is the container that something happens to.
fn event(container: &storage::record::ContainerRecord, settings: Settings) -> Event {
    let (image, pod_id, attributes) = match settings {
        Settings::Podman(known) => (known.image_name, known.pod_id, known.labels),
        Settings::Buildah(known) => (known.image, String::new(), BTreeMap::new()),
        Settings::Runtime(_) | Settings::Unknown => Default::default(),
    };
    Event { image, pod_id, attributes, ..containers::event(container, "commit") }
}

/// The name that the image is to have: the one under which a local image is found, or else a new one.
fn target(
    shared: &Shared,
    snapshot: &Snapshot,
    options: &CommitOptions,
) -> Result<Option<Reference>> {
    if options.repo.is_empty() {
        return Ok(None);
    }
    let tag = if options.tag.is_empty() { "latest" } else { &options.tag };
    let name = format!("{}:{tag}", options.repo);
    let library = shared.library(snapshot);
    match library.lookup(&name, Lists::Preferred) {
        Ok(found) if !found.is_by_id() => {
            if let Ok(resolved) = Reference::parse(&found.resolved) {
                return Ok(Some(resolved));
            }
        }
        Err(error) if error.kind() == ErrorKind::BadReference => return Err(error),
        _ => {}
    }
    tagging::target(&options.repo, &options.tag).map(Some)
}

fn base<'a>(
    snapshot: &'a Snapshot,
    container: &storage::record::ContainerRecord,
) -> Result<Base<'a>> {
    let layer = snapshot.layer(&container.layer).ok_or_else(|| {
        failure::storage(storage::Error::LayerNotKnown { layer: container.layer.clone() })
    })?;
    let mut layers = match &layer.record.parent {
        Some(parent) => snapshot.chain(parent),
        None => Vec::new(),
    };
    let missing = match layers.last() {
        Some(bottom) => bottom.record.parent.as_ref(),
        None => layer.record.parent.as_ref(),
    };
    if let Some(missing) = missing {
        return Err(failure::storage(storage::Error::LayerNotKnown { layer: missing.clone() }));
    }
    layers.reverse();
    let image = match &container.image {
        Some(id) => Some(snapshot.image(id).ok_or_else(|| {
            Error::image_not_known().of_kind(ErrorKind::Storage).context(format!(
                "locating image {:?} of container {:?}",
                id.as_str(),
                container.id
            ))
        })?),
        None => None,
    };
    Ok(Base { image, layers })
}

fn base_documents(
    shared: &Shared,
    snapshot: &Snapshot,
    image: &StoredImage,
) -> Result<config::BaseImage> {
    let library = shared.library(snapshot);
    let at = library.images().iter().position(|it| it.record.id == image.record.id);
    let documents = library.documents(at.unwrap_or_default())?;
    Ok(config::BaseImage {
        id: image.record.id.clone(),
        name: image.record.names.first().cloned(),
        config: documents.config_bytes,
        annotations: documents.manifest.annotations().clone(),
    })
}

/// Whether the image is to be one of Docker's.
fn is_docker(options: &CommitOptions) -> bool {
    options.format == CommitFormat::Docker
}
