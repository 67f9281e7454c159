//! Making a layer of what a container has written.

use std::os::fd::OwnedFd;

use serde::Deserialize;

use super::dir::Dir;
use super::overlay::OVERLAY;
use super::staging::StagedLayer;
use super::{Error, Snapshot, Store, StoredLayer, links};
use crate::image::LayerId;
use crate::layer::{self, Capture, OwnerMap, Trees};
use crate::sys::Cancel;

/// A range of an ID mapping, as records have it.
#[derive(Deserialize)]
struct MappedRange {
    container_id: u32,
    host_id: u32,
    size: u32,
}

impl Store {
    /// Makes a layer of a container's: of what is different in it from those below, or of all there
    /// is to see. It is staged as [`Store::stage`] does it, in one pass. No lock is held; the
    /// container may even be at work, but then the layer is of no single moment.
    ///
    /// # Errors
    /// [`Error::LayerNotKnown`], also when it is removed meanwhile; [`Error::UnsupportedLayer`] for
    /// layers whose content is not simply in a directory; [`Error::Layer`] for what cannot be read.
    pub fn stage_container(
        &self,
        snapshot: &Snapshot,
        layer: &LayerId,
        what: Capture,
        cancel: &Cancel,
    ) -> Result<StagedLayer, Error> {
        let unknown = || Error::LayerNotKnown { layer: layer.clone() };
        let stored = snapshot.layer(layer).ok_or_else(unknown)?;
        let owners = owners(stored, what)?;
        let roots = self.layer_roots(stored, cancel)?;
        let trees = Trees::new(roots, self.inner.whiteout_files);
        let options = self.inner.unpack_options();
        let capture = |root: &OwnedFd, tar_split| {
            layer::capture(&trees, what, &owners, (root, tar_split), &options, cancel)
        };
        self.stage_with(capture, cancel)
    }

    /// The content of a layer and of those below it on disk, top first. The records' parents can be
    /// others.
    fn layer_roots(&self, stored: &StoredLayer, cancel: &Cancel) -> Result<Vec<OwnedFd>, Error> {
        let layer = &stored.record.id;
        let unknown = || Error::LayerNotKnown { layer: layer.clone() };
        let _lock = self.inner.location_of(stored).layers.lock.read(cancel)?;
        let overlay = Dir::open(&stored.graph_root.join(OVERLAY))?;
        let directory = overlay
            .sub_nofollow(layer.as_str())
            .map_err(|error| if error.is_not_found() { unknown() } else { error })?;
        links::check_kind(&directory, layer)?;
        let mut roots = vec![directory.sub("diff")?.into_fd()];
        for below in links::lower_layers(&self.inner, &overlay, &directory)? {
            let directory = self.inner.find_directory(&below)?;
            links::check_kind(&directory, &below)?;
            roots.push(directory.sub("diff")?.into_fd());
            roots.extend(super::content::mapped_roots(&directory)?);
        }
        Ok(roots)
    }
}

/// What owners on disk are in the container.
fn owners(stored: &StoredLayer, what: Capture) -> Result<OwnerMap, Error> {
    let record = &stored.record;
    let unsupported = |reason| Error::UnsupportedLayer { layer: record.id.clone(), reason };
    let is_mapped = record.uid_map.is_some() || record.gid_map.is_some();
    if is_mapped && what == Capture::Everything {
        // The layers below may be mapped in other ways.
        return Err(unsupported("its files have mapped owners, so it cannot be squashed"));
    }
    let ranges = |map: Option<&serde_json::Value>| {
        let ranges = map.map(Vec::<MappedRange>::deserialize).transpose();
        let ranges = ranges.map_err(|_| unsupported("its ID mapping cannot be read"))?;
        let ranges = ranges.unwrap_or_default().into_iter();
        Ok::<_, Error>(ranges.map(|it| (it.host_id, it.container_id, it.size)).collect())
    };
    Ok(OwnerMap { uids: ranges(record.uid_map.as_ref())?, gids: ranges(record.gid_map.as_ref())? })
}
