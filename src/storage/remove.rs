//! Removing layers, so that a crash at any point leaves nothing another tool would trip over.

use super::Error;
use super::lock::Layers;
use super::lock::LayersWrite;
use super::overlay::Tree;
use super::records::{Loaded, Place};
use super::trash::Trash;
use crate::image::LayerId;

/// Removes layers that nothing refers to: marks them incomplete, moves what they have on disk to
/// the trash, and drops their records. Dying in between leaves incomplete layers, which every tool
/// removes. All of them together cost two writes of the record file.
pub(super) fn layers(
    place: &Place<Layers>,
    held: &LayersWrite,
    base: &Loaded<Layers>,
    doomed: &[LayerId],
    to: (&Tree, &mut Trash),
) -> Result<Loaded<Layers>, Error> {
    let (tree, trash) = to;
    let is_doomed = |id: &LayerId| doomed.contains(id);
    let mut base = base.clone();
    let mut edit = base.edit();
    edit.update(
        |layer| is_doomed(&layer.id) && !layer.flags.incomplete,
        |layer| layer.flags.incomplete = true,
    )
    .map_err(Error::encode(place.path()))?;
    if edit.is_changed() {
        base = place.save(held, &base, edit, trash.has_barriers())?;
    }
    for layer in doomed {
        trash.take_layer(tree, layer)?;
    }
    let mut edit = base.edit();
    edit.remove(|layer| is_doomed(&layer.id));
    if edit.is_changed() {
        // Whoever finds the incomplete records after a power cut removes them.
        base = place.save(held, &base, edit, false)?;
    }
    Ok(base)
}
