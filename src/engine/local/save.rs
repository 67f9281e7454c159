//! Writing images to an archive stream.

use std::fs::File;
use std::io::{self, Write};

use super::facts::Documents;
use super::library::Library;
use super::resolve::Lists;
use crate::archive::{
    BlobOptions, SavedImage, SavedLayer, write_docker_archive, write_docker_dir, write_oci_archive,
};
use crate::engine::{Error, ErrorKind, Event, ImageName, Result, SaveFormat, SaveOptions};
use crate::events::ImageAction;
use crate::image::{ImageId, LayerId, Reference};
use crate::storage::{Snapshot, Store};
use crate::sys::Cancel;

/// Everything needed to write an archive, except the content of the layers.
#[derive(Debug)]
pub(super) struct SavePlan {
    snapshot: Snapshot,
    images: Vec<SavedImage>,
    /// For each image the IDs of its layers, base first.
    layers: Vec<Vec<LayerId>>,
    /// What callers called the images, each name once.
    called: Vec<(ImageId, String)>,
    options: SaveOptions,
}

/// Finds the images and reads their documents. Names of the same image make one image with
/// several names.
pub(super) fn plan(
    library: &Library<'_>,
    names: &[ImageName],
    options: SaveOptions,
) -> Result<SavePlan> {
    let snapshot = library.snapshot().clone();
    let (images, layers, called) = (Vec::new(), Vec::new(), Vec::new());
    let mut plan = SavePlan { snapshot, images, layers, called, options };
    let mut ids = Vec::new();
    for name in names {
        let found = library.lookup(name.as_str(), Lists::Instance)?;
        // An ID is no name to be written; a reference is.
        let reference =
            if found.is_by_id() { None } else { Reference::parse(&found.resolved).ok() };
        let id = &found.image.record.id;
        if plan.called.iter().all(|(_, called)| *called != found.resolved) {
            plan.called.push((id.clone(), found.resolved.clone()));
        }
        let at = match ids.iter().position(|known| known == id) {
            Some(at) => at,
            None => {
                let (image, layers) = saved_image(library, found.at)?;
                plan.images.push(image);
                plan.layers.push(layers);
                ids.push(id.clone());
                ids.len() - 1
            }
        };
        let names = &mut plan.images[at].names;
        if let Some(reference) = reference.filter(|reference| !names.contains(reference)) {
            names.push(reference);
        }
    }
    Ok(plan)
}

fn saved_image(library: &Library<'_>, at: usize) -> Result<(SavedImage, Vec<LayerId>)> {
    of_documents(library, at, library.documents(at)?)
}

/// The image at `at` with these documents of it, and the IDs of its layers, base first.
pub(super) fn of_documents(
    library: &Library<'_>,
    at: usize,
    documents: Documents,
) -> Result<(SavedImage, Vec<LayerId>)> {
    let image = &library.images()[at];
    let broken = |text: String| Error::new(ErrorKind::Storage, text);
    let Some(parsed) = documents.config else {
        return Err(Error::new(ErrorKind::Unsupported, "manifest lists cannot be saved"));
    };
    let config = documents.config_bytes;
    let mut chain =
        image.record.layer.as_ref().map(|top| library.snapshot().chain(top)).unwrap_or_default();
    chain.reverse();
    let mut layers = Vec::with_capacity(chain.len());
    for layer in &chain {
        let record = &layer.record;
        let size = u64::try_from(record.diff_size).ok().zip(record.diff_id.clone());
        let (size, diff_id) =
            size.ok_or_else(|| broken(format!("layer {} has no known content", record.id)))?;
        layers.push(SavedLayer { diff_id, size });
    }
    let complete = layers.iter().map(|layer| &layer.diff_id).eq(parsed.diff_ids());
    if !complete {
        return Err(broken(format!(
            "image {} does not have the layers its config lists",
            image.record.id
        )));
    }
    let ids = chain.iter().map(|layer| layer.record.id.clone()).collect();
    Ok((SavedImage { manifest: documents.manifest, config, layers, names: Vec::new() }, ids))
}

impl SavePlan {
    /// The images, some of them possibly several times.
    pub(super) fn image_ids(&self) -> impl Iterator<Item = &ImageId> {
        self.called.iter().map(|(id, _)| id)
    }

    /// The events of an export that begins now, in the order in which Podman writes them. There
    /// they are called by a file; what is sent while it is made is in none, and so they are called
    /// by the images' names.
    pub(super) fn events(&self) -> Vec<Event> {
        let event = |(id, name): &(ImageId, String)| Event::of_image(ImageAction::Save, id, name);
        self.called.iter().rev().map(event).collect()
    }

    /// Writes the archive. An error leaves it unfinished, which its reader must get to know.
    pub(super) fn write(&self, store: &Store, out: impl Write, cancel: &Cancel) -> io::Result<()> {
        let layer = |out: &mut dyn Write, image: usize, index: usize| {
            let id = self
                .layers
                .get(image)
                .and_then(|layers| layers.get(index))
                .ok_or(io::ErrorKind::NotFound)?;
            let content = store.open_layer(&self.snapshot, id, cancel).map_err(io::Error::other)?;
            content.copy_to(out, cancel).map_err(io::Error::other)?;
            Ok(())
        };
        let options = |compress| BlobOptions {
            compress,
            mtime: u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0),
            spool: &spool,
        };
        match (self.options.format, self.images.first()) {
            (SaveFormat::DockerArchive, _) => {
                write_docker_archive(&self.images, out, layer)?.flush()
            }
            (_, None) => Ok(()),
            (SaveFormat::OciArchive | SaveFormat::OciDirectory, Some(image)) => {
                let options = options(!self.options.accept_uncompressed_layers);
                write_oci_archive(image, &options, out, |out, index| layer(out, 0, index))?.flush()
            }
            (SaveFormat::DockerDirectory, Some(image)) => {
                let options = options(self.options.compress);
                write_docker_dir(image, &options, out, |out, index| layer(out, 0, index))?.flush()
            }
        }
    }
}

/// A temporary file without a name, for one compressed layer: in `TMPDIR`, else in `/var/tmp`,
/// which unlike `/tmp` is rarely in memory.
fn spool() -> io::Result<File> {
    tempfile::tempfile_in(std::env::var_os("TMPDIR").unwrap_or_else(|| "/var/tmp".into()))
}
