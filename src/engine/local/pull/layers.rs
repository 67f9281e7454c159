//! What of an image is in the store already.

use super::super::{Shared, failure};
use crate::engine::Result;
use crate::image::{DiffId, LayerId};
use crate::storage::{self, Snapshot, StagedLayer};
use crate::sys::Cancel;

/// What is to be done about a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing: it is where it belongs.
    Keep,
    /// It is in another place, on other layers, and has to be copied.
    Copy,
    /// It has to be brought.
    Bring,
}

/// What is to be done about each layer of an image, base first.
pub(super) fn plan(snapshot: &Snapshot, diff_ids: &[DiffId]) -> Vec<Plan> {
    let plan = |(id, diff_id): (LayerId, &DiffId)| {
        if snapshot.layer(&id).is_some() {
            Plan::Keep
        } else if elsewhere(snapshot, diff_id).is_some() {
            Plan::Copy
        } else {
            Plan::Bring
        }
    };
    chain(diff_ids).map(plan).collect()
}

/// The IDs of layers on each other.
fn chain(diff_ids: &[DiffId]) -> impl Iterator<Item = (LayerId, &DiffId)> {
    let mut parent = None;
    diff_ids.iter().map(move |diff_id| {
        let id = LayerId::derive(parent.as_ref(), diff_id);
        parent = Some(id.clone());
        (id, diff_id)
    })
}

/// A layer with this content, wherever it is.
fn elsewhere<'a>(snapshot: &'a Snapshot, diff_id: &DiffId) -> Option<&'a LayerId> {
    let mut layers = snapshot.layers().iter().map(|layer| &layer.record);
    layers.find(|record| record.diff_id.as_ref() == Some(diff_id)).map(|record| &record.id)
}

/// Copies what is in the store in another place, and is neither in its own nor staged.
pub(super) fn restage(
    shared: &Shared,
    diff_ids: &[DiffId],
    staged: &mut Vec<StagedLayer>,
    cancel: &Cancel,
) -> Result<()> {
    let snapshot = shared.snapshot(cancel)?;
    for (id, diff_id) in chain(diff_ids) {
        if snapshot.layer(&id).is_some() || staged.iter().any(|it| it.diff_id() == diff_id) {
            continue;
        }
        let Some(layer) = elsewhere(&snapshot, diff_id) else { continue };
        match shared.store.restage(&snapshot, layer, cancel) {
            Ok(copy) => staged.push(copy),
            // Then it is missing, and has to be brought after all.
            Err(storage::Error::LayerNotKnown { .. }) => {}
            Err(error) => return Err(failure::own_layer(error)),
        }
    }
    Ok(())
}
