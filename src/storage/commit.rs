//! Making staged layers and images part of the store.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use jiff::Timestamp;

use super::items::{self, Items};
use super::lock::Layers;
use super::overlay::Tree;
use super::plan::{NewLayer, Plan};
use super::record::{ImageRecord, LayerFlags, LayerRecord, Record};
use super::records::Loaded;
use super::staging::{STAGED, StagedLayer};
use super::store::Records;
use super::transaction::Transaction;
use super::trash::{Intent, Trash};
use super::{Error, Snapshot, Store, bigdata, names};
use crate::image::{DiffId, Digest, ImageId, LayerId};
use crate::sys::Cancel;

/// An image to be stored.
#[derive(Debug, Clone)]
pub struct ImageDraft {
    /// Its ID: normally the hexadecimal part of its config's digest.
    pub id: ImageId,
    /// When it was made.
    pub created: Timestamp,
    /// Digest of the manifest, or of the list it was chosen from.
    pub digest: Digest,
    /// Its layers, base first. Each must be in the store at that place, or staged.
    pub diff_ids: Vec<DiffId>,
    /// Data items by key, in the order in which they are to be recorded.
    pub items: Vec<(String, Bytes)>,
    /// Names, put in front of those it may already have, and taken from images that have them.
    pub names: Vec<String>,
}

impl Store {
    /// Makes images, and the staged layers they need, part of the store: all of them or, if
    /// anything fails, none. An image that is already there keeps its record, and gets the names
    /// and items. Staged layers that are not needed are deleted. The locks are held for a moment
    /// only; once they are taken, this cannot be canceled.
    ///
    /// # Errors
    /// [`Error::MissingLayer`], and [`Error::TopLayerDiffers`] if the ID of an image is taken by
    /// one with other layers.
    pub fn commit(
        &self,
        staged: Vec<StagedLayer>,
        images: Vec<ImageDraft>,
        cancel: &Cancel,
    ) -> Result<Vec<ImageId>, Error> {
        let committed = self.try_commit(staged, images, cancel);
        if committed.is_err() {
            self.inner.finish_at_once(cancel);
        }
        committed
    }

    fn try_commit(
        &self,
        staged: Vec<StagedLayer>,
        images: Vec<ImageDraft>,
        cancel: &Cancel,
    ) -> Result<Vec<ImageId>, Error> {
        self.inner.check_writable()?;
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let mut snapshot = self.snapshot(cancel)?;
        if staged.is_empty() && images.iter().all(|draft| is_stored(&snapshot, draft)) {
            return Ok(images.into_iter().map(|image| image.id).collect());
        }
        let tree = Tree::open(&self.inner.options.graph_root)?;
        let items =
            Items::write(&tree, images.iter().map(|image| (&image.id, image.items.as_slice())))?;
        // Deleted at the very end, when no lock is held.
        let mut staged = staged;
        loop {
            let plan = Plan::make(self, &snapshot, &images, &mut staged, cancel)?;
            plan.prepare(self, &snapshot, &staged)?;
            let is_new = |id: &&ImageId| snapshot.image(id).is_none_or(|image| image.read_only);
            let intent = Intent {
                layers: plan.new.iter().map(|layer| layer.id.clone()).collect(),
                images: images.iter().map(|it| &it.id).filter(is_new).cloned().collect(),
                containers: Vec::new(),
            };
            intent.draft(&items.directory()?)?;
            if self.inner.durable() {
                self.sync(&tree, &plan, &items, cancel)?;
            }
            let transaction = self.begin(cancel)?;
            if !plan.holds(transaction.view()) {
                // Somebody made or removed one of our layers; each round means progress for them.
                snapshot = transaction.view().clone();
                continue;
            }
            let staged = staged.iter().collect::<Vec<_>>();
            transaction.store(&plan, &staged, &images, &items, &intent)?;
            break;
        }
        Ok(images.into_iter().map(|image| image.id).collect())
    }

    /// Waits until everything that was staged is on disk: the only wait for content.
    fn sync(&self, tree: &Tree, plan: &Plan, items: &Items, cancel: &Cancel) -> Result<(), Error> {
        if plan.new.is_empty() {
            return items.sync();
        }
        let mut synced = BTreeSet::new();
        for directory in [&tree.overlay, &tree.layers] {
            // They may be on file systems of their own.
            if synced.insert(directory.device()?) {
                self.inner.write_back.sync(directory, cancel)?;
            }
        }
        Ok(())
    }
}

/// Whether a draft would change nothing: the image is there with its layers, the names come first, and
/// what is stored of it is what would be.
fn is_stored(snapshot: &Snapshot, draft: &ImageDraft) -> bool {
    let Some(image) = snapshot.image(&draft.id).filter(|image| !image.read_only) else {
        return false;
    };
    let chain = draft.diff_ids.iter();
    let top = chain.fold(None, |below, diff_id| Some(LayerId::derive(below.as_ref(), diff_id)));
    let record = &image.record;
    let is_same = |(key, content): &(String, Bytes)| {
        record.big_data_digests.get(key) == Some(&Digest::of(content))
            && bigdata::read(image, key).is_ok_and(|stored| stored == *content)
    };
    record.layer == top
        && top.is_none_or(|top| snapshot.layer(&top).is_some())
        && record.names.starts_with(&draft.names)
        && draft.items.iter().all(is_same)
}

impl Transaction<'_> {
    /// Stores what was planned.
    fn store(
        mut self,
        plan: &Plan,
        staged: &[&StagedLayer],
        images: &[ImageDraft],
        items: &Items,
        intent: &Intent,
    ) -> Result<(), Error> {
        self.show_before();
        for (image, top) in images.iter().zip(&plan.tops) {
            self.enter_image(image, top.as_ref(), items)?;
        }
        let directory = items.directory()?;
        Intent::declare(&directory)?;
        if self.has_barriers() {
            directory.sync()?;
        }
        let stored = self
            .store_layers(&plan.new, staged)
            .and_then(|layers| Ok(Records { layers, images: self.save_images(Some(items))? }));
        match stored {
            Ok(primary) => {
                let containers = self.current.containers.clone();
                self.finish(primary, containers)
            }
            Err(error) => {
                if let Err(second) = self.undo(intent) {
                    tracing::warn!(error = ?second, "could not take back a failed commit");
                    items.leave();
                    self.inner.unfinished.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    /// Enters an image into the records in memory.
    fn enter_image(
        &mut self,
        draft: &ImageDraft,
        top: Option<&LayerId>,
        items: &Items,
    ) -> Result<(), Error> {
        let path = self.inner.primary.images.path();
        match self.images.get(draft.id.as_str()) {
            Some(known) if known.layer.as_ref() != top => {
                return Err(Error::TopLayerDiffers { image: draft.id.clone() });
            }
            Some(_) => {}
            None => {
                let record = new_image(draft, top.cloned());
                self.images.push(Record::new(record).map_err(Error::encode(&path))?);
            }
        }
        let enter = |image: &mut ImageRecord| {
            items.of(&draft.id).for_each(|item| items::enter(image, item));
        };
        self.images.update(|it| it.id == draft.id, enter).map_err(Error::encode(&path))?;
        if !draft.names.is_empty()
            && let Some(known) = self.images.get(draft.id.as_str())
        {
            let names = draft.names.iter().chain(&known.names).cloned().collect();
            names::set(&mut self.images, &draft.id, names).map_err(Error::encode(&path))?;
        }
        Ok(())
    }

    /// Records the layers as incomplete, moves them into place, and records them as complete.
    fn store_layers(
        &mut self,
        new: &[NewLayer],
        staged: &[&StagedLayer],
    ) -> Result<Loaded<Layers>, Error> {
        let place = &self.inner.primary.layers;
        let barriers = self.has_barriers();
        let base = &self.current.primary.layers;
        if new.is_empty() {
            return Ok(base.clone());
        }
        let mut edit = base.edit();
        for layer in new {
            let staged = find(staged, layer)?;
            let record = Record::new(new_layer(layer, staged));
            edit.push(record.map_err(Error::encode(place.path()))?);
        }
        let base = place.save(&self.locks.layers, base, edit, false)?;
        for layer in new {
            publish(&self.tree, &mut self.trash, layer, find(staged, layer)?)?;
        }
        if barriers {
            self.tree.overlay.sync()?;
        }
        // After the directories, also on disk: recovery finds a link by means of its directory.
        for NewLayer { id, link, .. } in new {
            self.tree.overlay.symlink(format!("../{id}/diff"), format!("l/{link}"))?;
        }
        if barriers {
            self.tree.overlay.sub("l")?.sync()?;
            self.tree.layers.sync()?;
        }
        let mut edit = base.edit();
        edit.update(
            |layer| layer.flags.incomplete && new.iter().any(|it| it.id == layer.id),
            |layer| layer.flags.incomplete = false,
        )
        .map_err(Error::encode(place.path()))?;
        place.save(&self.locks.layers, &base, edit, barriers)
    }

    /// Takes back what a failed commit did, under the same locks, so that nobody else saw it.
    fn undo(&mut self, intent: &Intent) -> Result<(), Error> {
        let layers = self.inner.primary.layers.load(&self.locks.layers, None)?;
        let images = self.inner.primary.images.load(&self.locks.images, None)?;
        // Had the records of the images been replaced, the commit would have to stand.
        if images.records().any(|image| intent.images.contains(&image.id)) {
            return Ok(());
        }
        let to = (&self.tree, &mut self.trash);
        self.inner.remove_layers(&self.locks.layers, &layers, &intent.layers, to)?;
        for image in &intent.images {
            self.trash.take_image(&self.tree, image)?;
        }
        Ok(())
    }
}

fn find<'a>(staged: &[&'a StagedLayer], layer: &NewLayer) -> Result<&'a StagedLayer, Error> {
    staged
        .get(layer.staged)
        .copied()
        .ok_or_else(|| Error::LayerNotKnown { layer: layer.id.clone() })
}

/// Moves a staged layer to where it belongs, except for its link.
fn publish(
    tree: &Tree,
    trash: &mut Trash,
    layer: &NewLayer,
    staged: &StagedLayer,
) -> Result<(), Error> {
    let id = &layer.id;
    // A writer may have died before it could record what is there.
    trash.take_layer(tree, id)?;
    tree.overlay.rename(staged.trees.path_of(STAGED), id.as_str())?;
    tree.layers.rename(staged.files.path_of(STAGED), format!("{id}.tar-split.gz"))
}

fn new_layer(layer: &NewLayer, staged: &StagedLayer) -> LayerRecord {
    let info = staged.info();
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    LayerRecord {
        id: layer.id.clone(),
        names: Vec::new(),
        parent: layer.parent.clone(),
        metadata: String::new(),
        mount_label: String::new(),
        created: Timestamp::now(),
        compressed_digest: Some(info.compressed_digest.clone()),
        compressed_size: size(info.compressed_size),
        diff_id: Some(info.diff_id.clone()),
        toc_digest: None,
        diff_size: size(info.diff_size),
        compression: info.compression.record_value(),
        uids: info.uids.clone(),
        gids: info.gids.clone(),
        flags: LayerFlags { incomplete: true, ..LayerFlags::default() },
        uid_map: None,
        gid_map: None,
        big_data_names: Vec::new(),
    }
}

fn new_image(draft: &ImageDraft, layer: Option<LayerId>) -> ImageRecord {
    ImageRecord {
        id: draft.id.clone(),
        digest: Some(draft.digest.clone()),
        names: Vec::new(),
        names_history: Vec::new(),
        layer,
        mapped_layers: Vec::new(),
        // No signatures.
        metadata: "{}".into(),
        big_data_names: Vec::new(),
        big_data_sizes: Default::default(),
        big_data_digests: Default::default(),
        created: draft.created,
        flags: Default::default(),
    }
}
