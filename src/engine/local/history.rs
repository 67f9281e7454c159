//! The build steps of one image.

use std::collections::HashSet;

use super::library::Library;
use super::resolve::Lists;
use crate::engine::{Error, ErrorKind, HistoryOptions, HistoryReport, ImageName, Result};
use crate::image::ImageId;
use crate::storage::StoredImage;

/// The history of the image that `name` means, newest step first, with the layer each step made.
///
/// A step shows the first image of the store that ends in its layer, which need not be an ancestor.
///
/// # Errors
/// As [`Library::lookup`]; [`ErrorKind::Storage`] if the image cannot be read, or its history
/// claims more layers than it has.
pub(super) fn history(
    library: &Library<'_>,
    name: &ImageName,
    _options: &HistoryOptions,
) -> Result<Vec<HistoryReport>> {
    let found = library.lookup(name.as_str(), Lists::Instance)?;
    let config = library.documents(found.at)?.config.unwrap_or_default();
    let snapshot = library.snapshot();
    let chain = match &found.image.record.layer {
        None => Vec::new(),
        Some(top) => snapshot.chain(top),
    };
    if found.image.record.layer.is_some() && chain.is_empty() {
        return Err(Error::new(ErrorKind::Storage, "layer not known"));
    }
    let mut layers = chain.into_iter().peekable();
    let mut shown: HashSet<&ImageId> = HashSet::new();
    let mut steps = Vec::new();
    for entry in config.history().iter().rev() {
        let images: Vec<&StoredImage> = layers
            .peek()
            .map_or_else(Vec::new, |layer| snapshot.images_on(&layer.record.id).collect());
        let first = images.first().map(|image| &image.record.id);
        let mut size_bytes = 0;
        if !entry.is_empty_layer() {
            let layer = layers.next().ok_or_else(|| {
                let step = entry.created_by.as_deref().unwrap_or_default();
                let text = format!("no layer left for non-empty history entry: {step}");
                Error::new(ErrorKind::Storage, text)
            })?;
            size_bytes = layer.record.diff_size;
        }
        steps.push(HistoryReport {
            id: first.filter(|id| shown.insert(id)).cloned(),
            created: entry.created_at(),
            created_by: entry.created_by.clone().unwrap_or_default(),
            tags: images.iter().flat_map(|image| image.record.names.iter().cloned()).collect(),
            size_bytes,
            comment: entry.comment.clone().unwrap_or_default(),
        });
    }
    Ok(steps)
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
