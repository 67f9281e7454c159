//! What is to be sent: found in the store, and read as far as it is small.

use std::collections::HashMap;

use super::super::blob_forms::{Form, Place};
use super::super::facts::Documents;
use super::super::library::Library;
use super::super::resolve::Lists;
use super::super::save;
use super::super::stored_name::{StoredName, has_digest};
use crate::archive::SavedImage;
use crate::engine::{Error, ErrorKind, Result};
use crate::image::{DiffId, Digest, ImageId, LayerBlob, LayerId, Manifest, Packing};
use crate::storage::Snapshot;
use crate::storage::record::ImageRecord;

/// An image.
#[derive(Debug)]
pub(super) struct ImagePlan {
    /// What the layers are read from.
    pub(super) snapshot: Snapshot,
    /// The image.
    pub(super) id: ImageId,
    /// Its documents.
    pub(super) image: SavedImage,
    /// Its layers, base first.
    pub(super) layers: Vec<LayerPlan>,
    /// Repositories that it has, or had, a name of: it may have come from there.
    pub(super) origins: Vec<Place>,
}

/// A layer.
#[derive(Debug, Clone)]
pub(super) struct LayerPlan {
    /// In the store.
    pub(super) id: LayerId,
    /// Digest of the tar.
    pub(super) diff_id: DiffId,
    /// Blobs it is known to be in, the best first. The last one is the tar itself.
    pub(super) blobs: Vec<LayerBlob>,
    /// Those that were seen somewhere, and where.
    pub(super) seen: Vec<(LayerBlob, Place)>,
}

/// A manifest list.
#[derive(Debug)]
pub(super) struct ListPlan {
    /// The image that the list is to the store.
    pub(super) id: ImageId,
    /// The list.
    pub(super) list: Manifest,
    /// Its entries in order, as far as they are to be sent.
    pub(super) images: Vec<ImagePlan>,
}

/// The image that `name` means; of a manifest list the one for this platform.
pub(super) fn image(library: &Library<'_>, name: &str) -> Result<ImagePlan> {
    let found = library.lookup(name, Lists::Instance)?;
    of_image(library, found.at, ImageRecord::MANIFEST)
}

/// The manifest list that `name` means, with `all` images that it lists, or none of them.
pub(super) fn list(library: &Library<'_>, name: &str, all: bool) -> Result<ListPlan> {
    let found = library.lookup(name, Lists::Required)?;
    let list = library.documents(found.at)?.manifest;
    let entries = if all { list.instances() } else { &[] };
    let count = entries.len();
    let images = entries.iter().enumerate().map(|(at, entry)| {
        instance(library, &entry.digest).map_err(|error| {
            error.context(format!("copying image {}/{count} from manifest list", at + 1))
        })
    });
    let images = images.collect::<Result<_>>()?;
    Ok(ListPlan { id: found.image.record.id.clone(), list, images })
}

/// The image in the store that has the manifest `digest`.
fn instance(library: &Library<'_>, digest: &Digest) -> Result<ImagePlan> {
    let key = format!("manifest-{digest}");
    let missing =
        || Error::image_not_known().context(format!("image instance {digest} is not in the store"));
    let &at = library.index().by_digest(digest).first().ok_or_else(missing)?;
    let record = &library.images()[at].record;
    if record.big_data_digests.contains_key(&key) {
        return of_image(library, at, &key);
    }
    if record.manifest_digest() == Some(digest) && has_digest(record, digest) {
        return of_image(library, at, ImageRecord::MANIFEST);
    }
    Err(missing())
}

fn of_image(library: &Library<'_>, at: usize, manifest: &str) -> Result<ImagePlan> {
    let stored = &library.images()[at];
    let documents = Documents::with_manifest(stored, library.data(), manifest)?;
    let (image, ids) = save::of_documents(library, at, documents)?;
    let snapshot = library.snapshot().clone();
    let layers = ids.into_iter().enumerate();
    let layers = layers.map(|(index, id)| layer(&snapshot, &image, index, id));
    let layers = layers.collect::<Result<_>>()?;
    let origins = origins(&stored.record);
    Ok(ImagePlan { id: stored.record.id.clone(), snapshot, image, layers, origins })
}

fn origins(record: &ImageRecord) -> Vec<Place> {
    let mut origins = Vec::new();
    for name in record.names.iter().chain(&record.names_history) {
        let Some((registry, path)) = StoredName::new(name).repository.split_once('/') else {
            continue;
        };
        let place = Place { registry: registry.to_owned(), repository: path.to_owned() };
        if !origins.contains(&place) {
            origins.push(place);
        }
    }
    origins
}

/// What the image and the store know of a layer.
fn layer(snapshot: &Snapshot, image: &SavedImage, index: usize, id: LayerId) -> Result<LayerPlan> {
    let changed = || Error::new(ErrorKind::Storage, format!("layer {id} is not in the store"));
    let saved = image.layers.get(index).ok_or_else(changed)?;
    let record = &snapshot.layer(&id).ok_or_else(changed)?.record;
    let (diff_id, size) = (saved.diff_id.clone(), saved.size);
    let mut blobs = Vec::new();
    // Of a layer that was fetched in parts nobody has seen the blob that manifests name.
    if record.toc_digest.is_none() {
        // What the manifest names was verified when it was stored; with it the manifest can stay.
        let listed = image.manifest.layers().get(index).and_then(|listed| {
            let packing = Packing::of_media_type(&listed.media_type)?;
            Some(LayerBlob { digest: listed.digest.clone(), size: listed.size, packing })
        });
        let received = record.compressed_digest.clone().and_then(|digest| {
            let packing = match record.compression {
                2 => Packing::Gzip,
                4 => Packing::Zstd,
                _ => return None,
            };
            let size = u64::try_from(record.compressed_size).ok().filter(|size| *size > 0)?;
            Some(LayerBlob { digest, size, packing })
        });
        blobs.extend(listed.into_iter().chain(received));
        // The tar itself, whatever it was called: archives of Docker are stored as if packed.
        blobs.retain(|blob| blob.digest != *diff_id.digest());
    }
    blobs.push(LayerBlob { digest: diff_id.digest().clone(), size, packing: Packing::Plain });
    blobs.dedup();
    Ok(LayerPlan { id, diff_id, blobs, seen: Vec::new() })
}

impl LayerPlan {
    /// Blobs of the layer that may be in other repositories of the registry of `here`, and where. What
    /// was seen comes first; then what the image's manifest names, which may be where the image is from.
    pub(super) fn elsewhere(&self, origins: &[Place], here: &Place) -> Vec<(LayerBlob, Place)> {
        let mut all = self.seen.clone();
        for blob in self.blobs.iter().filter(|blob| blob.packing != Packing::Plain) {
            all.extend(origins.iter().map(|origin| (blob.clone(), origin.clone())));
        }
        let mut elsewhere: Vec<(LayerBlob, Place)> = Vec::new();
        for (blob, place) in all {
            let is_elsewhere = place.registry == here.registry && place != *here;
            if is_elsewhere && !elsewhere.contains(&(blob.clone(), place.clone())) {
                elsewhere.push((blob, place));
            }
        }
        elsewhere
    }
}

impl ImagePlan {
    /// Adds what is remembered of the layers.
    pub(super) fn remember(&mut self, forms: &HashMap<DiffId, Vec<Form>>) {
        for layer in &mut self.layers {
            let forms = forms.get(&layer.diff_id).map(Vec::as_slice).unwrap_or_default();
            let known = forms.iter().map(Form::blob);
            let known: Vec<_> = known.filter(|blob| !layer.blobs.contains(blob)).collect();
            // Before the tar itself.
            let at = layer.blobs.len().saturating_sub(1);
            layer.blobs.splice(at..at, known);
            layer.seen = forms
                .iter()
                .flat_map(|form| form.places.iter().map(|place| (form.blob(), place.clone())))
                .collect();
        }
    }
}
