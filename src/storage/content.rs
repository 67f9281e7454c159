//! Reading layers: joining the tree on disk and the tar-split to the tar they came from.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::dir::Dir;
use super::links;
use super::overlay::{LAYERS, OVERLAY};
use super::record::{LayerRecord, Record};
use super::{Error, Snapshot, Store, StoredLayer};
use crate::image::LayerId;
use crate::layer::{self, Rebuilt};
use crate::sys::Cancel;

/// An open layer. It holds no lock: should somebody remove the layer meanwhile, reading fails.
#[derive(Debug)]
pub struct LayerContent {
    record: Record<LayerRecord>,
    tar_split: File,
    roots: Vec<OwnedFd>,
}

impl LayerContent {
    /// Writes the uncompressed tar, bit for bit as it was received. `out` must not take it for a
    /// whole before this returns.
    ///
    /// # Errors
    /// [`Error::WrongContent`] if what was written is not what the record promises.
    pub fn copy_to(self, out: impl Write, cancel: &Cancel) -> Result<Rebuilt, Error> {
        let rebuilt = layer::rebuild(self.tar_split, &self.roots, out, cancel)?;
        let record = &self.record;
        let promised = record.diff_id.as_ref().or(record.flags.expected_diff_id.as_ref());
        let wrong = |expected: String, found: String| Error::WrongContent {
            layer: record.id.clone(),
            expected,
            found,
        };
        if let Some(promised) = promised.filter(|promised| **promised != rebuilt.diff_id) {
            return Err(wrong(promised.to_string(), rebuilt.diff_id.to_string()));
        }
        // Layers that were pulled in parts may have no size.
        if let Ok(size) = u64::try_from(record.diff_size)
            && size > 0
            && size != rebuilt.size
        {
            return Err(wrong(format!("{size} bytes"), format!("{} bytes", rebuilt.size)));
        }
        Ok(rebuilt)
    }
}

impl Store {
    /// Opens a layer for reading.
    ///
    /// # Errors
    /// [`Error::LayerNotKnown`], also when it was removed since the snapshot was made;
    /// [`Error::UnsupportedLayer`] for layers whose tar cannot be rebuilt.
    pub fn open_layer(
        &self,
        snapshot: &Snapshot,
        layer: &LayerId,
        cancel: &Cancel,
    ) -> Result<LayerContent, Error> {
        let unknown = || Error::LayerNotKnown { layer: layer.clone() };
        let stored = snapshot.layer(layer).ok_or_else(unknown)?;
        let record = &stored.record;
        let unsupported = |reason| Error::UnsupportedLayer { layer: layer.clone(), reason };
        if record.diff_id.is_none() && record.flags.expected_diff_id.is_none() {
            return Err(unsupported("it has no digest, as layers of containers"));
        }
        // Nobody removes a layer while its parts are collected.
        let location = self.inner.location_of(stored);
        let _lock = location.layers.lock.read(cancel)?;
        let overlay = Dir::open(&stored.graph_root.join(OVERLAY))?;
        let directory = overlay
            .sub_nofollow(layer.as_str())
            .map_err(|error| if error.is_not_found() { unknown() } else { error })?;
        links::check_kind(&directory, layer)?;
        let tar_split = self
            .tar_split(stored)?
            .ok_or_else(|| unsupported("it has no tar-split, so its tar cannot be rebuilt"))?;
        let mut roots = vec![directory.sub("diff")?.into_fd()];
        if record.uid_map.is_some() || record.gid_map.is_some() {
            // An ID-mapped copy: its files are in `diff1` and so on, or in the layer it is a copy
            // of, which is the first one below it on disk.
            roots.extend(mapped_roots(&directory)?);
            for below in links::lower_layers(&self.inner, &overlay, &directory)? {
                roots.push(self.inner.find_directory(&below)?.sub("diff")?.into_fd());
            }
        }
        Ok(LayerContent { record: record.clone(), tar_split, roots })
    }

    /// The tar-split is with the records of the layer, or, where images have a store of their own,
    /// below the graph root.
    fn tar_split(&self, stored: &StoredLayer) -> Result<Option<File>, Error> {
        let name = format!("{}.tar-split.gz", stored.record.id);
        let open = |graph_root: &Path| match Dir::open(&graph_root.join(LAYERS)) {
            Ok(layers) => layers.open_file(&name),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        };
        match open(&stored.graph_root)? {
            Some(file) => Ok(Some(file)),
            None => open(&self.inner.options.graph_root),
        }
    }
}

/// What an ID-mapped copy has below its `diff`.
pub(super) fn mapped_roots(directory: &Dir) -> Result<Vec<OwnedFd>, Error> {
    let mut roots = Vec::new();
    for number in 1.. {
        match directory.sub(format!("diff{number}")) {
            Ok(root) => roots.push(root.into_fd()),
            Err(error) if error.is_not_found() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(roots)
}
