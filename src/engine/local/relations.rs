//! Which image is built on which.
//!
//! Nothing on disk says so. Podman infers it: an image is the parent of another that has the same
//! history and one entry more, whose diff IDs continue its own, and whose top layer is the same or
//! directly above. Comparing every image with every other takes quadratic time, so here images
//! meet by top layer and history.

use std::collections::{HashMap, HashSet};

use super::facts::{DiffIds, Facts, HistoryKey};
use crate::image::{Digest, LayerId};
use crate::storage::Snapshot;

/// Relations between all images of a snapshot, by their places in it.
#[derive(Debug)]
pub(super) struct Relations {
    links: Box<[Link]>,
}

#[derive(Debug, Clone, Default)]
struct Link {
    parent: Option<usize>,
    has_children: bool,
    listed: bool,
    named: bool,
}

/// Images that nothing tells apart as parents.
struct Kin<'a> {
    diff_ids: &'a DiffIds,
    /// In storage order.
    members: Vec<usize>,
    has_children: bool,
}

/// Where a parent is looked for: its top layer (none for images without layers) and history.
type Place<'a> = (Option<&'a LayerId>, HistoryKey);

impl Relations {
    /// Infers them. `facts` are aligned with the images; images without facts have no relations,
    /// nor have manifest lists.
    pub(super) fn of(snapshot: &Snapshot, facts: &[Option<&Facts>]) -> Self {
        let mut kins: Vec<Kin<'_>> = Vec::new();
        let mut places: HashMap<Place<'_>, Vec<usize>> = HashMap::new();
        let configs: Vec<_> = snapshot
            .images()
            .iter()
            .zip(facts)
            .enumerate()
            .filter_map(|(at, (image, facts))| {
                let config = facts.as_ref()?.config.as_ref()?;
                Some((at, image.record.layer.as_ref(), config))
            })
            .collect();
        for &(at, layer, config) in &configs {
            let place = places.entry((layer, config.history)).or_default();
            let same = place.iter().copied().find(|&kin| *kins[kin].diff_ids == config.diff_ids);
            match same {
                Some(kin) => kins[kin].members.push(at),
                None => {
                    place.push(kins.len());
                    kins.push(Kin {
                        diff_ids: &config.diff_ids,
                        members: vec![at],
                        has_children: false,
                    });
                }
            }
        }

        let mut links = vec![Link::default(); snapshot.images().len()].into_boxed_slice();
        for &(at, layer, config) in &configs {
            let Some(history) = config.history_before else { continue };
            let below = layer
                .and_then(|layer| snapshot.layer(layer))
                .and_then(|layer| layer.record.parent.as_ref());
            // Images on the same layer go before those on the layer below.
            let candidates = std::iter::once(layer).chain(below.map(Some));
            for kin in candidates.filter_map(|layer| places.get(&(layer, history))).flatten() {
                let kin = &mut kins[*kin];
                if config.diff_ids.starts_with(kin.diff_ids) {
                    kin.has_children = true;
                    links[at].parent = links[at].parent.or(kin.members.first().copied());
                }
            }
        }
        for member in kins.iter().filter(|kin| kin.has_children).flat_map(|kin| &kin.members) {
            links[*member].has_children = true;
        }

        let listed = listed_digests(snapshot, facts);
        for (link, image) in links.iter_mut().zip(snapshot.images()) {
            link.named = !image.record.names.is_empty();
            link.listed = image.record.digest.as_ref().is_some_and(|own| listed.contains(own));
        }
        Self { links }
    }

    /// The image this one was built on.
    pub(super) fn parent(&self, at: usize) -> Option<usize> {
        self.links[at].parent
    }

    /// Whether another image was built on this one.
    pub(super) fn has_children(&self, at: usize) -> bool {
        self.links[at].has_children
    }

    /// No name, no children, and in no local manifest list.
    pub(super) fn is_dangling(&self, at: usize) -> bool {
        let link = &self.links[at];
        !link.named && !link.has_children && !link.listed
    }

    /// No name, but children.
    pub(super) fn is_intermediate(&self, at: usize) -> bool {
        let link = &self.links[at];
        !link.named && link.has_children
    }
}

/// What the manifest lists of the store list. Lists have no layer; an image that was turned into
/// a list does not count, nor does it for Podman.
fn listed_digests<'a>(snapshot: &Snapshot, facts: &[Option<&'a Facts>]) -> HashSet<&'a Digest> {
    let images = snapshot.images().iter().zip(facts);
    images
        .filter(|(image, _)| image.record.layer.is_none())
        .filter_map(|(_, facts)| facts.as_ref())
        .flat_map(|facts| facts.instances.iter().map(|instance| &instance.digest))
        .collect()
}

#[cfg(test)]
#[path = "relations_tests.rs"]
mod tests;
