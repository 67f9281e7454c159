//! Removing what nobody uses.
//!
//! What the filters want is decided once, at the beginning; images that come later stay. Then
//! rounds follow: each removes all wanted images that may go, and wants the parents of those that
//! went, which go in the next round if they are dangling by then. Podman starts over with all
//! filters after each round, and gives up at the first image it cannot remove; here what is in use
//! is kept and the rest goes on.
//!
//! Containers of other tools than Podman go with their image if that is asked for and they do not run.
//! Their owners are asked once, at the beginning.
//!
//! Many images go in one transaction. So neither does every image cost a write of all records, nor
//! does anybody wait for the whole prune.

use std::collections::{HashMap, HashSet};

use super::containers::Cleared;
use super::filter::{Candidate, Filters};
use super::library::Library;
use super::{Shared, failure, filter};
use crate::engine::{Event, Filter, PruneOptions, PrunedImage, Result};
use crate::events::ImageAction;
use crate::image::ImageId;
use crate::storage::record::ImageRecord;
use crate::storage::{Error as StorageError, Transaction};
use crate::sys::Cancel;

/// Images in one transaction. Each costs a rename and little else while the locks are held.
const BATCH: usize = 128;

/// Prunes the store.
///
/// # Errors
/// [`BadRequest`](crate::engine::ErrorKind::BadRequest) for a filter without meaning. After other
/// errors some images may be gone.
pub(super) fn prune(
    shared: &Shared,
    options: &PruneOptions,
    cancel: &Cancel,
) -> Result<Vec<PrunedImage>> {
    // All documents are read here, without locks, and most prunes end here.
    let snapshot = shared.snapshot(cancel)?;
    let library = shared.library(&snapshot);
    let cleared = match options.external {
        true => Cleared::foreign(shared, snapshot.containers(), cancel)?,
        false => Cleared::default(),
    };
    let mut pruning = Pruning::begin(&library, options, cleared)?;
    let mut more = !pruning.victims(&library).is_empty();
    while more {
        cancel.check().map_err(failure::canceled)?;
        let begun = match pruning.cleared.ids().is_empty() {
            true => shared.store.begin(cancel),
            false => shared.store.begin_with_containers(cancel),
        };
        more = shared.transact(begun, |_, transaction| pruning.batch(shared, transaction))?;
        shared.events.tell_all(&std::mem::take(&mut pruning.events));
    }
    Ok(pruning.removed)
}

/// When a wanted image may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// If nothing needs it.
    Dangling,
    /// If it is not needed just as a parent.
    NotIntermediate,
}

/// A prune on its way.
#[derive(Debug)]
struct Pruning {
    wanted: HashMap<ImageId, When>,
    /// Containers that may go with their image.
    cleared: Cleared,
    removed: Vec<PrunedImage>,
    /// To be told when it is certain that the images are gone.
    events: Vec<Event>,
}

impl Pruning {
    fn begin(library: &Library<'_>, options: &PruneOptions, cleared: Cleared) -> Result<Self> {
        // Ours first: what a caller says to the contrary is refused.
        let own = |key: &str, value: &str| Filter {
            key: key.into(),
            negated: false,
            value: value.into(),
        };
        let containers = if options.external { filter::EXTERNAL } else { "false" };
        let mut filters = vec![own("readonly", "false"), own("containers", containers)];
        filters.extend(options.filters.iter().cloned());
        let filters = Filters::compile_with(library, &filters, cleared.ids())?;
        let relations = library.relations();
        let when = if options.all { When::NotIntermediate } else { When::Dangling };
        let images = library.images().iter().enumerate();
        let wanted = images.filter(|(at, image)| {
            let candidate = Candidate { at: *at, image, relations: &relations };
            filters.apply(library, candidate).is_some()
        });
        let wanted = wanted.map(|(_, image)| (image.record.id.clone(), when)).collect();
        Ok(Self { wanted, cleared, removed: Vec::new(), events: Vec::new() })
    }

    /// Wanted images that may go now, in storage order, by their places.
    fn victims(&self, library: &Library<'_>) -> Vec<usize> {
        let relations = library.relations();
        let may_go = |at: usize, id: &ImageId| match self.wanted.get(id) {
            None => false,
            Some(When::Dangling) => relations.is_dangling(at),
            Some(When::NotIntermediate) => !relations.is_intermediate(at),
        };
        let images = library.images().iter().enumerate();
        let victims =
            images.filter(|(at, image)| !image.read_only && may_go(*at, &image.record.id));
        victims.map(|(at, _)| at).collect()
    }

    /// Rounds until the transaction is long enough; whether there is more to do.
    fn batch(&mut self, shared: &Shared, transaction: &mut Transaction<'_>) -> Result<bool> {
        let mut left = BATCH;
        while left > 0 {
            let snapshot = transaction.view().clone();
            let library = shared.library(&snapshot);
            let done = self.round(&library, left, |image, cleared| {
                delete(transaction, image, cleared.ids())
            })?;
            if done == 0 {
                return Ok(false);
            }
            left = left.saturating_sub(done);
        }
        Ok(true)
    }

    /// Removes up to `limit` images with `delete`, which says whether it did; how many were tried.
    fn round(
        &mut self,
        library: &Library<'_>,
        limit: usize,
        mut delete: impl FnMut(&ImageId, &Cleared) -> Result<bool>,
    ) -> Result<usize> {
        let relations = library.relations();
        let mut victims = self.victims(library);
        victims.truncate(limit);
        for &at in &victims {
            let ImageRecord { id, names, .. } = &*library.images()[at].record;
            self.wanted.remove(id);
            let begun = Event::of_image(ImageAction::Remove, id, "");
            let mut users = library.snapshot().containers_of(id);
            let used = users.any(|user| !self.cleared.ids().contains(&user.id));
            if used || !delete(id, &self.cleared)? {
                tracing::debug!(image = %id, "in use, not pruned");
                continue;
            }
            let size_bytes = library.size(at).unwrap_or_default();
            self.removed.push(PrunedImage { id: id.clone(), size_bytes });
            let untag = |name: &String| Event::of_image(ImageAction::Untag, id, name);
            self.events.extend(names.iter().map(untag).chain([begun]));
            if let Some(parent) = relations.parent(at) {
                let parent = library.images()[parent].record.id.clone();
                self.wanted.entry(parent).or_insert(When::Dangling);
            }
        }
        Ok(victims.len())
    }
}

fn delete(
    transaction: &mut Transaction<'_>,
    image: &ImageId,
    containers: &HashSet<String>,
) -> Result<bool> {
    match transaction.delete_image_and_containers(image, containers) {
        Ok(()) => Ok(true),
        Err(
            StorageError::InUse { .. }
            | StorageError::Mounted { .. }
            | StorageError::ContainerMounted { .. }
            | StorageError::ReadOnly { .. },
        ) => Ok(false),
        Err(error) => Err(failure::storage(error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{MadeUp, Recipe};
    use super::*;
    use crate::image::LayerId;

    fn begin(library: &Library<'_>, options: &PruneOptions) -> Result<Pruning> {
        Pruning::begin(library, options, Cleared::default())
    }

    /// Prunes in memory; the removed images, by the seed of their IDs.
    fn pruned(store: &mut MadeUp, options: &PruneOptions, limit: usize) -> Vec<ImageId> {
        let mut pruning = begin(&store.library(), options).unwrap();
        loop {
            let mut gone = Vec::new();
            let deleted = |id: &ImageId, _: &Cleared| {
                gone.push(id.clone());
                Ok(true)
            };
            if pruning.round(&store.library(), limit, deleted).unwrap() == 0 {
                break;
            }
            store.images.retain(|image| !gone.contains(&image.record.id));
        }
        pruning.removed.into_iter().map(|image| image.id).collect()
    }

    fn all() -> PruneOptions {
        PruneOptions { all: true, ..PruneOptions::default() }
    }

    /// Layers 1 ← 2 ← 3 with an unnamed image on each, and an image named `c` on a fourth.
    fn chain(store: &mut MadeUp) -> (Vec<ImageId>, ImageId) {
        let mut below: Option<LayerId> = None;
        let mut layers = Vec::new();
        for id in ["1", "2", "3", "4"] {
            let layer = store.layer(id, below.as_ref(), 10);
            layers.push(layer.clone());
            below = Some(layer);
        }
        let steps = [&["a"][..], &["a", "b"], &["a", "b", "c"]];
        let images: Vec<_> =
            layers.iter().zip(steps).map(|(layer, steps)| store.plain(&[], layer, steps)).collect();
        let named = store.plain(&["localhost/c:1"], &layers[3], &["a", "b", "c", "d"]);
        (images, named)
    }

    #[test]
    fn parents_fall_with_their_last_child() {
        for limit in [1, 64] {
            let mut store = MadeUp::default();
            let (images, named) = chain(&mut store);
            // They are all parents of something.
            assert_eq!(pruned(&mut store, &PruneOptions::default(), limit), []);
            store.edit(&named, |image| image.names.clear());
            let expected = [&named, &images[2], &images[1], &images[0]].map(Clone::clone);
            assert_eq!(pruned(&mut store, &PruneOptions::default(), limit), expected);
            assert!(store.images.is_empty());
        }
    }

    #[test]
    fn named_images_go_only_with_all() {
        let mut store = MadeUp::default();
        let (images, named) = chain(&mut store);
        let expected = [&named, &images[2], &images[1], &images[0]].map(Clone::clone);
        assert_eq!(pruned(&mut store, &all(), 64), expected);
    }

    #[test]
    fn images_in_use_keep_their_parents_only() {
        let mut store = MadeUp::default();
        let (images, named) = chain(&mut store);
        let layer = store.layer("5", None, 1);
        let other = store.plain(&["localhost/other:1"], &layer, &["x"]);
        let writable = store.layer("6", None, 1);
        store.container("c", &named, &writable);
        assert_eq!(pruned(&mut store, &all(), 64), [other]);
        assert_eq!(store.images.len(), images.len() + 1);
    }

    #[test]
    fn filters_choose_but_parents_follow() {
        let mut store = MadeUp::default();
        let (images, named) = chain(&mut store);
        store.edit(&named, |image| image.names.clear());
        let layer = store.layer("5", None, 7);
        let labeled = store.image(Recipe {
            diff_ids: store.diff_ids(&layer),
            layer: Some(layer),
            config: json!({"architecture": "amd64", "os": "linux", "config": {"Labels": {"k": "v"}}}),
            ..Recipe::default()
        });
        let by = |key: &str, value: &str| PruneOptions {
            filters: vec![Filter { key: key.into(), negated: false, value: value.into() }],
            ..PruneOptions::default()
        };
        assert_eq!(pruned(&mut store, &by("label", "none"), 64), []);
        assert_eq!(pruned(&mut store, &by("label", "k=v"), 64), [labeled]);
        let expected = [&named, &images[2], &images[1], &images[0]].map(Clone::clone);
        assert_eq!(pruned(&mut store, &by("id", named.as_str()), 64), expected);
        let error = begin(&store.library(), &by("containers", "true")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "specifying \"containers\" filter more than once with different values is not supported"
        );
    }

    #[test]
    fn what_cannot_be_deleted_is_tried_once() {
        let mut store = MadeUp::default();
        let layer = store.layer("1", None, 5);
        let id = store.plain(&[], &layer, &["a"]);
        let library = store.library();
        let mut pruning = begin(&library, &PruneOptions::default()).unwrap();
        assert_eq!(pruning.round(&library, 64, |_, _| Ok(false)).unwrap(), 1);
        assert_eq!(pruning.round(&library, 64, |_, _| unreachable!()).unwrap(), 0);
        assert_eq!(pruning.removed, []);
        // Measured with its layer, its config and its manifest, which is there twice.
        let mut pruning = begin(&library, &PruneOptions::default()).unwrap();
        pruning.round(&library, 64, |_, _| Ok(true)).unwrap();
        let [removed] = &pruning.removed[..] else { panic!("{:?}", pruning.removed) };
        assert_eq!((&removed.id, removed.size_bytes), (&id, library.size(0).unwrap()));
    }
}
