//! Images by name, ID and digest.

use std::collections::HashMap;
use std::path::Path;

use crate::image::{Digest, ImageId};
use crate::storage::Snapshot;

/// Indexes of one snapshot's images. Values are places in [`Snapshot::images`].
#[derive(Debug)]
pub(super) struct Index {
    names: HashMap<Box<str>, usize>,
    digests: HashMap<Digest, Vec<usize>>,
    /// Sorted by ID; each ID once for each store that has it.
    ids: Vec<(ImageId, usize)>,
}

impl Index {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let images = snapshot.images();
        let mut names = HashMap::with_capacity(images.len());
        let mut digests: HashMap<Digest, Vec<usize>> = HashMap::with_capacity(images.len());
        let mut ids = Vec::with_capacity(images.len());
        for (at, image) in images.iter().enumerate() {
            for name in &image.record.names {
                names.entry(name.as_str().into()).or_insert(at);
            }
            for digest in image.record.digests() {
                digests.entry(digest.clone()).or_default().push(at);
            }
            ids.push((image.record.id.clone(), at));
        }
        ids.sort_unstable();
        Self { names, digests, ids }
    }

    /// The image with exactly this name.
    pub(super) fn by_name(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Images that can be found by this digest, in storage order.
    pub(super) fn by_digest(&self, digest: &Digest) -> &[usize] {
        self.digests.get(digest).map_or(&[], Vec::as_slice)
    }

    /// The image whose ID is `prefix` or, in its store, the only one to start with it. The
    /// primary store is asked first.
    pub(super) fn by_id(&self, snapshot: &Snapshot, prefix: &str) -> Option<usize> {
        if prefix.is_empty() {
            return None;
        }
        let start = self.ids.partition_point(|(id, _)| id.as_str() < prefix);
        let matching =
            self.ids[start..].iter().take_while(|(id, _)| id.as_str().starts_with(prefix));
        // Storage order is store by store, so the first place of a store ranks the store.
        let mut stores: Vec<(&Path, usize, bool)> = Vec::new();
        for &(_, at) in matching {
            let root = &*snapshot.images()[at].graph_root;
            match stores.iter_mut().find(|(known, ..)| *known == root) {
                Some((_, first, unique)) => {
                    *first = at.min(*first);
                    *unique = false;
                }
                None => stores.push((root, at, true)),
            }
        }
        stores.into_iter().filter(|store| store.2).map(|store| store.1).min()
    }
}
