//! What records say of each other.

use std::collections::{HashMap, HashSet};

use super::finding::{Cure, Rule, Subject};
use super::scope::{Findings, Scope};
use crate::storage::records::{Kind, Loaded};
use crate::storage::recover::{Named, shared_names};

pub(super) fn check(scope: &Scope<'_>, found: &mut Findings) {
    let Scope { current, .. } = scope;
    ids(&current.primary.layers, "overlay-layers/layers.json", found);
    ids(&current.primary.images, "overlay-images/images.json", found);
    ids(&current.containers, "overlay-containers/containers.json", found);
    names(&current.primary.layers, "overlay-layers/layers.json", found);
    names(&current.primary.images, "overlay-images/images.json", found);
    container_names(scope, found);
    parents(scope, found);
    unused(scope, found);
}

fn ids<K: Kind>(records: &Loaded<K>, path: &str, found: &mut Findings) {
    let mut seen = HashSet::new();
    for id in records.all_ids() {
        if !seen.insert(id) {
            let why = format!("{id} has more than one record, and only the first counts");
            let hint = "remove all but one of them from the file, while no tool runs";
            found.error(Rule::UniqueIds, Subject::Store, path, why, Cure::ByHand(hint));
        }
    }
}

fn names<K: Named>(records: &Loaded<K>, path: &str, found: &mut Findings) {
    let mut shared: Vec<_> = shared_names(records).into_iter().collect();
    shared.sort();
    for (name, owner) in shared {
        let why =
            format!("several records have the name {name}; the last of them, {owner}, keeps it");
        found.error(Rule::UniqueNames, Subject::Store, path, why, Cure::Load);
    }
}

fn container_names(scope: &Scope<'_>, found: &mut Findings) {
    let mut owners: HashMap<&str, &str> = HashMap::new();
    for container in scope.current.containers.records() {
        for name in &container.names {
            let owner = owners.entry(name).or_insert(&container.id);
            if **owner != *container.id {
                let why = format!("container {owner} has the name {name}, too");
                let subject = Subject::Container(container.id.clone());
                let path = "overlay-containers/containers.json";
                found.error(Rule::UniqueNames, subject, path, why, Cure::ByHand(OWNER));
            }
        }
    }
}

/// Containers are their tools' to put right.
pub(super) const OWNER: &str = "remove the container with the tool that made it";

fn parents(scope: &Scope<'_>, found: &mut Findings) {
    let path = "overlay-layers/layers.json";
    for layer in scope.layers() {
        let subject = || Subject::Layer(layer.id.clone());
        if layer.flags.incomplete {
            let why = "somebody died while making or removing it";
            found.error(Rule::CompleteLayers, subject(), path, why, Cure::Load);
            continue;
        }
        let Some(parent) = &layer.parent else { continue };
        if scope.snapshot().layer(parent).is_none() {
            let why = format!("it is built on layer {parent}, which is not known");
            found.error(Rule::Parents, subject(), path, why, Cure::LostLayer);
            continue;
        }
        let mut above = HashSet::new();
        let mut next = Some(parent);
        while let Some(layer_below) = next.filter(|it| above.insert(*it)) {
            let stored = scope.snapshot().layer(layer_below);
            next = stored.and_then(|stored| stored.record.parent.as_ref());
        }
        if above.contains(&layer.id) {
            let why = "it is built on itself, by way of its parents";
            let hint = "correct the parent in the file, while no tool runs";
            found.error(Rule::Parents, subject(), path, why, Cure::ByHand(hint));
        }
    }
}

fn unused(scope: &Scope<'_>, found: &mut Findings) {
    let mut needed = scope.needed_by_images();
    needed.extend(scope.needed_by_containers());
    for layer in scope.layers() {
        let second = u64::try_from(layer.created.as_second()).unwrap_or_default();
        // An image is recorded after its layers.
        if layer.flags.incomplete || needed.contains(&layer.id) || !scope.is_past_grace(second) {
            continue;
        }
        let why = "no image and no container needs it";
        let path = format!("overlay/{}", layer.id);
        let subject = Subject::Layer(layer.id.clone());
        found.warning(Rule::UsedLayers, subject, path, why, Cure::UnusedLayer);
    }
}
