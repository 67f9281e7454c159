//! What is to become of staged layers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::links::{self, Below};
use super::staging::StagedLayer;
use super::{Error, ImageDraft, Snapshot, Store};
use crate::image::{DiffId, LayerId};
use crate::layer;
use crate::sys::Cancel;

/// Which layers images need, which of them are new, and what that rests on. Made without locks, so
/// it has to be [checked](Plan::holds) under them.
#[derive(Debug)]
pub(super) struct Plan {
    /// Layers to be made, parents first.
    pub(super) new: Vec<NewLayer>,
    /// For each image its top layer.
    pub(super) tops: Vec<Option<LayerId>>,
    /// Layers that are in the store.
    existing: HashMap<LayerId, Existing>,
}

/// A layer to be made from a staged one.
#[derive(Debug)]
pub(super) struct NewLayer {
    pub(super) id: LayerId,
    pub(super) parent: Option<LayerId>,
    /// Index of the staged layer.
    pub(super) staged: usize,
    /// Name of its link.
    pub(super) link: String,
}

/// What tells a layer from another one of the same ID that was made after it was removed.
#[derive(Debug, PartialEq)]
struct Existing {
    created: Timestamp,
    graph_root: Arc<Path>,
}

impl Plan {
    /// Finds a staged layer for each layer that is not in the store. Staged layers that are needed
    /// several times are duplicated.
    pub(super) fn make(
        store: &Store,
        snapshot: &Snapshot,
        images: &[ImageDraft],
        staged: &mut Vec<StagedLayer>,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let mut plan = Self { new: Vec::new(), tops: Vec::new(), existing: HashMap::new() };
        let mut used = vec![false; staged.len()];
        let mut room = Room(store.inner.options.limits.unpacked);
        for image in images {
            let mut parent = None;
            for diff_id in &image.diff_ids {
                let id = LayerId::derive(parent.as_ref(), diff_id);
                if let Some(existing) = existing(snapshot, &id) {
                    plan.existing.insert(id.clone(), existing);
                } else if plan.new.iter().all(|layer| layer.id != id) {
                    let at = take(store, (staged, &mut used), diff_id, &mut room, cancel)?;
                    let link = links::new_name(&store.inner.options.graph_root)?;
                    plan.new.push(NewLayer { id: id.clone(), parent, staged: at, link });
                }
                parent = Some(id);
            }
            plan.tops.push(parent);
        }
        Ok(plan)
    }

    /// Whether the store is still as it was when the plan was made, as far as it matters.
    pub(super) fn holds(&self, snapshot: &Snapshot) -> bool {
        self.new.iter().all(|layer| snapshot.layer(&layer.id).is_none())
            && self
                .existing
                .iter()
                .all(|(id, known)| existing(snapshot, id).as_ref() == Some(known))
    }

    /// Writes into the staged layers what depends on where they are to be.
    pub(super) fn prepare(
        &self,
        store: &Store,
        snapshot: &Snapshot,
        staged: &[StagedLayer],
    ) -> Result<(), Error> {
        let mut known: HashMap<&LayerId, Below> = HashMap::new();
        for layer in &self.new {
            if let Some(parent) = &layer.parent
                && !known.contains_key(parent)
            {
                let stored = snapshot
                    .layer(parent)
                    .ok_or_else(|| Error::LayerNotKnown { layer: parent.clone() })?;
                known.insert(parent, Below::existing(&store.inner, stored)?);
            }
            let below = layer.parent.as_ref().and_then(|parent| known.get(parent));
            if let Some(staged) = staged.get(layer.staged) {
                links::write(&staged.directory()?, &layer.link, below)?;
            }
            let root = below.map_or_else(links::own_root, Below::root);
            let own = Below::planned(&layer.id, &layer.link, below, root);
            known.insert(&layer.id, own);
        }
        Ok(())
    }
}

fn existing(snapshot: &Snapshot, id: &LayerId) -> Option<Existing> {
    let layer = snapshot.layer(id)?;
    Some(Existing { created: layer.record.created, graph_root: layer.graph_root.clone() })
}

/// Bytes that the layers may have which are still to come. A list of layers is short, and each of
/// them may be as large as one alone.
struct Room(u64);

impl Room {
    fn take(&mut self, store: &Store, layer: &StagedLayer) -> Result<(), Error> {
        let limit = store.inner.options.limits.unpacked;
        let left = self.0.checked_sub(layer.info().diff_size);
        self.0 = left.ok_or(layer::Error::Limit { what: "bytes in all layers", limit })?;
        Ok(())
    }
}

/// Index of a staged layer with this content that is not used yet.
fn take(
    store: &Store,
    (staged, used): (&mut Vec<StagedLayer>, &mut Vec<bool>),
    diff_id: &DiffId,
    room: &mut Room,
    cancel: &Cancel,
) -> Result<usize, Error> {
    let mut original = None;
    for (at, (layer, used)) in staged.iter().zip(used.iter_mut()).enumerate() {
        if layer.diff_id() == diff_id {
            if !*used {
                *used = true;
                room.take(store, layer)?;
                return Ok(at);
            }
            original = Some(layer);
        }
    }
    let original = original.ok_or_else(|| Error::MissingLayer { diff_id: diff_id.clone() })?;
    room.take(store, original)?;
    let copy = store.duplicate(original, cancel)?;
    staged.push(copy);
    used.push(true);
    Ok(staged.len() - 1)
}
