//! How large images are: the uncompressed tars of their layers, and their data items.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::engine::{Error, ErrorKind};
use crate::image::LayerId;
use crate::storage::record::ImageRecord;
use crate::storage::{Snapshot, StoredLayer};

/// Bytes of the uncompressed tar of a layer. The recorded number means nothing without a diff ID;
/// then, as in containers/storage, it is the length of all files in the layer's directory.
pub(super) fn of_layer(layer: &StoredLayer) -> i64 {
    let record = &layer.record;
    if record.diff_id.is_some() && record.diff_size >= 0 {
        return record.diff_size;
    }
    let directory = layer.graph_root.join("overlay").join(record.id.as_str()).join("diff");
    of_directory(&directory).unwrap_or_else(|error| {
        tracing::warn!(layer = %record.id, %error, "cannot measure a layer of unknown size");
        0
    })
}

/// Bytes of all files below `root`, each inode once. Symbolic links are not followed.
fn of_directory(root: &Path) -> io::Result<i64> {
    let mut inodes = HashSet::new();
    let mut sum = 0i64;
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if inodes.insert(metadata.ino()) {
                sum = sum.saturating_add_unsigned(metadata.len());
            }
        }
    }
    Ok(sum)
}

/// The size of each image in bytes, in storage order. `None` for images with a layer that is not
/// in the store.
///
/// Images share layers, so the sum below each layer is computed once.
pub(super) fn of_images(snapshot: &Snapshot) -> Box<[Option<i64>]> {
    let mut sums = HashMap::with_capacity(snapshot.layers().len());
    let mut of_image = |record: &ImageRecord| {
        let layers = if record.mapped_layers.is_empty() {
            record.layer.as_ref().map_or(Some(0), |top| sum_below(snapshot, &mut sums, top))
        } else {
            sum_of_union(snapshot, record)
        };
        Some(layers?.saturating_add(of_items(record)))
    };
    snapshot.images().iter().map(|image| of_image(&image.record)).collect()
}

/// Bytes of an image's data items.
pub(super) fn of_items(record: &ImageRecord) -> i64 {
    record
        .big_data_names
        .iter()
        .filter_map(|key| record.big_data_sizes.get(key))
        .fold(0, |sum, size| sum.saturating_add((*size).max(0)))
}

/// The layer and everything below it. `sums` has the answer for every layer that was passed.
fn sum_below<'a>(
    snapshot: &'a Snapshot,
    sums: &mut HashMap<&'a LayerId, Option<i64>>,
    top: &LayerId,
) -> Option<i64> {
    let mut passed: Vec<&'a StoredLayer> = Vec::new();
    let mut next = Some(top);
    let mut sum = Some(0);
    while let Some(id) = next {
        if let Some(known) = sums.get(id) {
            sum = *known;
            break;
        }
        let Some(layer) = snapshot.layer(id) else {
            sum = None;
            break;
        };
        // Holds the answer for a chain that bites its own tail.
        sums.insert(&layer.record.id, None);
        passed.push(layer);
        next = layer.record.parent.as_ref();
    }
    for layer in passed.into_iter().rev() {
        sum = sum.map(|sum: i64| sum.saturating_add(of_layer(layer)));
        sums.insert(&layer.record.id, sum);
    }
    sum
}

/// For images with several top layers: each layer counts once.
fn sum_of_union(snapshot: &Snapshot, record: &ImageRecord) -> Option<i64> {
    let mut seen = HashSet::new();
    let mut sum = 0i64;
    for top in record.layer.iter().chain(&record.mapped_layers) {
        let mut next = Some(top);
        while let Some(id) = next.filter(|id| !seen.contains(id)) {
            let layer = snapshot.layer(id)?;
            seen.insert(id);
            sum = sum.saturating_add(of_layer(layer));
            next = layer.record.parent.as_ref();
        }
    }
    Some(sum)
}

/// Why an image has no size.
pub(super) fn missing_layer(snapshot: &Snapshot, record: &ImageRecord) -> Error {
    let not_known = Error::new(ErrorKind::Storage, "layer not known");
    let tops = record.layer.iter().chain(&record.mapped_layers);
    for top in tops {
        let bottom = snapshot.chain(top).last().map(|layer| layer.record.parent.as_ref());
        if let Some(missing) = bottom.unwrap_or(Some(top)) {
            return not_known.context(format!("locating layer with ID {:?}", missing.as_str()));
        }
    }
    not_known
}
