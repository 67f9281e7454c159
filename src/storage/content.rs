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
use crate::layer::{self, Room};
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
    /// That it is the same is known by the checksums of all files and of the tar-split, and by its
    /// length. Hashing it all once more would be half of the work. It is done for layers of which no
    /// length is known: those that were pulled in parts.
    ///
    /// # Errors
    /// [`Error::WrongContent`] if what was written is not what the record promises.
    pub fn copy_to(self, out: impl Write, cancel: &Cancel) -> Result<(), Error> {
        if self.promised_size().is_none() {
            return self.copy_hashed(out, cancel);
        }
        let size = layer::rebuild(&self.tar_split, &self.roots, out, cancel)?;
        self.check_size(size)
    }

    /// As [`LayerContent::copy_to`], with content read to where it is needed.
    ///
    /// # Errors
    /// The same.
    pub fn copy_into(self, out: &mut (impl Room + Write), cancel: &Cancel) -> Result<(), Error> {
        if self.promised_size().is_none() {
            return self.copy_hashed(out, cancel);
        }
        let size = layer::rebuild_into(&self.tar_split, &self.roots, out, cancel)?;
        self.check_size(size)
    }

    /// As [`LayerContent::copy_to`], and verifies the digest in any case.
    ///
    /// # Errors
    /// The same.
    pub fn copy_hashed(self, out: impl Write, cancel: &Cancel) -> Result<(), Error> {
        let rebuilt = layer::rebuild_hashed(&self.tar_split, &self.roots, out, cancel)?;
        let promised = self.record.diff_id.as_ref().or(self.record.flags.expected_diff_id.as_ref());
        if let Some(promised) = promised.filter(|promised| **promised != rebuilt.diff_id) {
            return Err(self.wrong(promised.to_string(), rebuilt.diff_id.to_string()));
        }
        self.check_size(rebuilt.size)
    }

    /// Length of the tar in bytes, if the record has it.
    fn promised_size(&self) -> Option<u64> {
        u64::try_from(self.record.diff_size).ok().filter(|size| *size > 0)
    }

    fn check_size(&self, size: u64) -> Result<(), Error> {
        match self.promised_size().filter(|promised| *promised != size) {
            None => Ok(()),
            Some(promised) => Err(self.wrong(format!("{promised} bytes"), format!("{size} bytes"))),
        }
    }

    fn wrong(&self, expected: String, found: String) -> Error {
        Error::WrongContent { layer: self.record.id.clone(), expected, found }
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
