//! Putting a store right after a crash, ours or another tool's.
//!
//! Three things are repaired, as every tool does when it loads the records: layers with the
//! `incomplete` flag are removed, a name that several records have stays with the last of them,
//! and temporary directories of dead writers are deleted. What such a writer of ours had completed
//! or begun to delete ([`Intent`]) is removed if nothing refers to it.

use std::collections::HashMap;

use super::Error;
use super::atomic::is_temporary;
use super::lock::LayersWrite;
use super::lock::{Images, Layers};
use super::overlay::Tree;
use super::record::{ImageRecord, LayerRecord};
use super::records::{Edit, Kind, Loaded};
use super::remove;
use super::store::{Inner, Records};
use super::tempdir::{Area, TempDir};
use super::trash::{Intent, Trash};
use super::usage::Usage;
use crate::image::LayerId;
use crate::sys::Cancel;

/// Kinds whose records have names that are unique within a store.
pub(super) trait Named: Kind {
    fn names(view: &Self::View) -> &[String];
    fn set_names(view: &mut Self::View, names: Vec<String>);
}

impl Named for Layers {
    fn names(view: &LayerRecord) -> &[String] {
        &view.names
    }
    fn set_names(view: &mut LayerRecord, names: Vec<String>) {
        view.names = names;
    }
}

impl Named for Images {
    fn names(view: &ImageRecord) -> &[String] {
        &view.names
    }
    fn set_names(view: &mut ImageRecord, names: Vec<String>) {
        view.names = names;
    }
}

/// Whether these records need repair.
pub(super) fn is_needed(records: &Records) -> bool {
    records.layers.records().any(|layer| layer.flags.incomplete)
        || !shared_names(&records.layers).is_empty()
        || !shared_names(&records.images).is_empty()
}

/// Names that several records have, each with the ID of the last of them.
pub(super) fn shared_names<K: Named>(records: &Loaded<K>) -> HashMap<String, String> {
    let mut owners: HashMap<&str, (&str, usize)> = HashMap::new();
    for record in records.records() {
        for name in K::names(record) {
            let owner = owners.entry(name).or_insert(("", 0));
            if owner.0 != K::id(record) {
                *owner = (K::id(record), owner.1 + 1);
            }
        }
    }
    let shared = owners.into_iter().filter(|(_, (_, count))| *count > 1);
    shared.map(|(name, (id, _))| (name.to_owned(), id.to_owned())).collect()
}

fn unshare<K: Named>(
    edit: &mut Edit<K>,
    shared: &HashMap<String, String>,
) -> Result<(), serde_json::Error> {
    let taken = |view: &K::View, name: &str| shared.get(name).is_some_and(|id| id != K::id(view));
    edit.update(
        |view| K::names(view).iter().any(|name| taken(view, name)),
        |view| {
            let names = K::names(view).iter().filter(|name| !taken(view, name)).cloned();
            let names = names.collect();
            K::set_names(view, names);
        },
    )
}

impl Inner {
    /// Repairs the records of the primary store.
    pub(super) fn repair(&self, cancel: &Cancel) -> Result<(), Error> {
        let tree = Tree::open(&self.options.graph_root)?;
        let barriers = self.has_barriers(&tree)?;
        // Dropped last, when the locks are released.
        let mut trash = Trash::new(barriers);
        let layers = self.primary.layers.lock.write(cancel)?;
        let images = self.primary.images.lock.write(&layers, cancel)?;

        let loaded = self.primary.images.load(&images, None)?;
        let mut edit = loaded.edit();
        unshare(&mut edit, &shared_names(&loaded))
            .map_err(Error::encode(self.primary.images.path()))?;
        if edit.is_changed() {
            self.primary.images.save(&images, &loaded, edit, barriers)?;
        }

        let mut loaded = self.primary.layers.load(&layers, None)?;
        let mut edit = loaded.edit();
        unshare(&mut edit, &shared_names(&loaded))
            .map_err(Error::encode(self.primary.layers.path()))?;
        if edit.is_changed() {
            loaded = self.primary.layers.save(&layers, &loaded, edit, barriers)?;
        }
        let incomplete: Vec<LayerId> = loaded
            .records()
            .filter(|layer| layer.flags.incomplete)
            .map(|layer| layer.id.clone())
            .collect();
        for layer in &incomplete {
            tracing::warn!(%layer, "removing an incomplete layer");
        }
        self.remove_layers(&layers, &loaded, &incomplete, (&tree, &mut trash))?;
        Ok(())
    }

    /// Deletes what dead writers left in temporary directories, and removes what they had completed
    /// but nobody refers to.
    pub(super) fn recover(&self, cancel: &Cancel) -> Result<(), Error> {
        let tree = Tree::open(&self.options.graph_root)?;
        let trees = TempDir::take_stale(&tree.overlay, Area::Trees)?;
        let files = TempDir::take_stale(&tree.layers, Area::Files)?;
        // Dropped, and so deleted, when everything they ask for is done.
        let done = self.recover_from(&tree, trees.iter().chain(&files), cancel);
        if done.is_err() {
            files.iter().for_each(TempDir::leave);
        }
        done
    }

    fn recover_from<'a>(
        &self,
        tree: &Tree,
        stale: impl Iterator<Item = &'a TempDir>,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let mut wanted = Intent::default();
        for directory in stale {
            tracing::info!(directory = directory.path_of(""), "deleting what a dead writer left");
            let content = match directory.open() {
                Ok(content) => content,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            if let Some(Intent { layers, images, containers }) = Intent::read(&content)? {
                wanted.layers.extend(layers);
                wanted.images.extend(images);
                wanted.containers.extend(containers);
            }
        }
        if wanted.layers.is_empty()
            && wanted.images.is_empty()
            && wanted.containers.is_empty()
            && !self.primary.layers.has_temporaries()?
            && !self.primary.images.has_temporaries()?
            && !self.runtime.containers.has_temporaries()?
            && tar_split_temporaries(tree)?.is_empty()
        {
            return Ok(());
        }
        let mut trash = Trash::new(self.has_barriers(tree)?);
        let layers = self.primary.layers.lock.write(cancel)?;
        let images = self.primary.images.lock.write(&layers, cancel)?;
        let held = self.runtime.containers.lock.write(&layers, &images, cancel)?;
        self.primary.layers.remove_temporaries(&layers)?;
        self.primary.images.remove_temporaries(&images)?;
        self.runtime.containers.remove_temporaries(&held)?;
        // They are written under the lock of layers only.
        for name in tar_split_temporaries(tree)? {
            tree.layers.unlink(name)?;
        }
        let loaded = self.primary.layers.load(&layers, None)?;
        let known = self.primary.images.load(&images, None)?;
        let containers = self.runtime.containers.load(&held, None)?;
        let usage = Usage::count(loaded.records(), known.records(), containers.records());
        let unused = unused(&loaded, usage, &wanted.layers);
        self.remove_layers(&layers, &loaded, &unused, (tree, &mut trash))?;
        for layer in &wanted.layers {
            if loaded.records().all(|record| record.id != *layer) {
                trash.take_layer(tree, layer)?;
            }
        }
        for image in &wanted.images {
            if known.records().all(|record| record.id != *image) {
                trash.take_image(tree, image)?;
            }
        }
        for container in &wanted.containers {
            if containers.records().all(|record| record.id != *container)
                && let Err(error) = trash.take_container(tree, &self.options.run_root, container)
            {
                // Nobody needs them. Something may be mounted there, by now or all the time.
                tracing::warn!(container, ?error, "could not delete a removed container's files");
            }
        }
        drop((held, layers, images));
        Ok(())
    }

    /// As [`remove::layers`], in the primary store.
    pub(super) fn remove_layers(
        &self,
        held: &LayersWrite,
        base: &Loaded<Layers>,
        doomed: &[LayerId],
        to: (&Tree, &mut Trash),
    ) -> Result<Loaded<Layers>, Error> {
        remove::layers(&self.primary.layers, held, base, doomed, to)
    }
}

/// Temporary files of tar-splits. Podman makes them beside the records; we do not.
fn tar_split_temporaries(tree: &Tree) -> Result<Vec<String>, Error> {
    let is_one = |name: &String| {
        let layer = name.strip_prefix(".tmp-").and_then(|rest| rest.split_once('.'));
        layer.is_some_and(|(id, _)| is_temporary(name, &format!("{id}.tar-split.gz")))
    };
    Ok(tree.layers.names()?.into_iter().filter(is_one).collect())
}

/// Those of the candidates that exist and that nothing needs but others of them.
pub(super) fn unused(
    loaded: &Loaded<Layers>,
    mut usage: Usage,
    candidates: &[LayerId],
) -> Vec<LayerId> {
    let mut left: Vec<&LayerRecord> =
        loaded.records().filter(|it| candidates.contains(&it.id)).map(|it| &**it).collect();
    let mut unused = Vec::new();
    loop {
        let before = left.len();
        left.retain(|layer| {
            if usage.is_needed(&layer.id) {
                return true;
            }
            unused.push(layer.id.clone());
            layer.parent.iter().for_each(|parent| usage.release(parent));
            false
        });
        if left.len() == before {
            return unused;
        }
    }
}
