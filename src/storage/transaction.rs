//! Changes to records, whole or not at all.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::items::Items;
use super::lock::{Containers, Images};
use super::lock::{ContainersRead, ContainersWrite, ImagesWrite, LayersWrite};
use super::mounts::Mounted;
use super::overlay::Tree;
use super::record::{ContainerRecord, ImageRecord, Record};
use super::records::{Edit, Loaded};
use super::store::{AdditionalLocks, Current, Inner, REPAIR_ROUNDS, Records};
use super::trash::{Intent, Trash};
use super::undisclosed::Undisclosed;
use super::usage::{self, Usage};
use super::write_back::Quiet;
use super::{Error, Snapshot, Store, mounts, names, recover};
use crate::image::{ImageId, LayerId};
use crate::sys::Cancel;

/// Content whose deletion a caller does not wait for, bytes.
const LARGE_BYTES: i64 = 512 << 20;

/// The locks of a writer. Dropping it releases them.
#[derive(Debug)]
pub(super) struct Locks {
    // Released inner ones first. Before any of them is, readers have to ask for them again.
    undisclosed: Option<Undisclosed>,
    containers: ContainersLock,
    _additional: Vec<AdditionalLocks>,
    pub(super) images: ImagesWrite,
    pub(super) layers: LayersWrite,
    _quiet: Quiet,
}

/// Containers are locked alone only by those who remove some.
#[derive(Debug)]
enum ContainersLock {
    Read { _held: ContainersRead },
    Write(ContainersWrite),
}

/// What a transaction may do to containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnContainers {
    Read,
    Remove,
}

/// Changes that become visible together with [`Transaction::commit`]; dropping it instead changes
/// nothing. It holds the store's locks all the time, so it should be short-lived.
#[derive(Debug)]
pub struct Transaction<'a> {
    // Before the trash: what is in there is deleted when nobody has to wait for it.
    pub(super) locks: Locks,
    pub(super) inner: &'a Inner,
    pub(super) tree: Tree,
    /// As it was at the beginning.
    pub(super) current: Current,
    pub(super) images: Edit<Images>,
    containers: Edit<Containers>,
    view: OnceCell<Snapshot>,
    cancel: Cancel,
    usage: Option<Usage>,
    mounted: Option<Mounted>,
    removed_layers: Vec<LayerId>,
    removed_images: Vec<ImageId>,
    removed_containers: Vec<String>,
    /// Images that are copied from an additional store.
    copied: Vec<ImageId>,
    pub(super) trash: Trash,
}

impl Store {
    /// Waits for the store's locks and begins a change.
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`] for stores that are only read.
    pub fn begin(&self, cancel: &Cancel) -> Result<Transaction<'_>, Error> {
        self.begin_on(OnContainers::Read, cancel)
    }

    /// As [`Store::begin`], for a change that may also remove containers.
    ///
    /// # Errors
    /// The same.
    pub fn begin_with_containers(&self, cancel: &Cancel) -> Result<Transaction<'_>, Error> {
        self.begin_on(OnContainers::Remove, cancel)
    }

    fn begin_on(&self, on: OnContainers, cancel: &Cancel) -> Result<Transaction<'_>, Error> {
        let inner = &*self.inner;
        inner.check_writable()?;
        inner.finish_commits(cancel)?;
        let tree = Tree::open(&inner.options.graph_root)?;
        let barriers = inner.has_barriers(&tree)?;
        for _ in 0..REPAIR_ROUNDS {
            let quiet = inner.write_back.quiet(cancel)?;
            let layers = inner.primary.layers.lock.write(cancel)?;
            let additional = inner.lock_additional_layers(cancel)?;
            let images = inner.primary.images.lock.write(&layers, cancel)?;
            let additional = inner.lock_additional_images(additional, cancel)?;
            let lock = &inner.runtime.containers.lock;
            let (containers, current) = match on {
                OnContainers::Read => {
                    let held = lock.read(&layers, &images, cancel)?;
                    let current = inner.refresh(&layers, &images, &held, &additional)?;
                    (ContainersLock::Read { _held: held }, current)
                }
                OnContainers::Remove => {
                    let held = lock.write(&layers, &images, cancel)?;
                    let current = inner.refresh(&layers, &images, &held, &additional)?;
                    (ContainersLock::Write(held), current)
                }
            };
            let locks = Locks {
                undisclosed: None,
                containers,
                _additional: additional,
                images,
                layers,
                _quiet: quiet,
            };
            if let Some(current) = current {
                return Ok(Transaction {
                    locks,
                    inner,
                    tree,
                    images: current.primary.images.edit(),
                    containers: current.containers.edit(),
                    view: OnceCell::from(current.snapshot.clone()),
                    current,
                    cancel: cancel.clone(),
                    usage: None,
                    mounted: None,
                    removed_layers: Vec::new(),
                    removed_images: Vec::new(),
                    removed_containers: Vec::new(),
                    copied: Vec::new(),
                    trash: Trash::new(barriers),
                });
            }
            drop(locks);
            inner.repair(cancel)?;
        }
        Err(inner.unrepaired())
    }
}

impl Transaction<'_> {
    /// The store as it will be if the transaction is committed now.
    pub fn view(&self) -> &Snapshot {
        self.view.get_or_init(|| {
            let removed: HashSet<&LayerId> = self.removed_layers.iter().collect();
            let layers = self.current.primary.layers.records();
            self.inner.build(
                layers.filter(|layer| !removed.contains(&layer.id)),
                self.images.records(),
                self.containers.records(),
                &self.current.additional,
            )
        })
    }

    /// Gives an image exactly these names; others lose those of them they had. An image of an
    /// additional store is copied to the primary one first.
    pub fn set_names(&mut self, image: &ImageId, names: Vec<String>) -> Result<(), Error> {
        if self.images.get(image.as_str()).is_none() {
            let record = self.stored(image)?.record.clone();
            self.images.push(record);
            self.copied.push(image.clone());
        }
        names::set(&mut self.images, image, names)
            .map_err(Error::encode(self.inner.primary.images.path()))?;
        self.view.take();
        Ok(())
    }

    /// Removes an image with its data and all layers that nobody else needs.
    ///
    /// # Errors
    /// [`Error::InUse`] if there is a container of the image, [`Error::Mounted`] if a layer that
    /// would go is mounted, [`Error::ReadOnly`] for images of additional stores. The transaction
    /// is as before then.
    pub fn delete_image(&mut self, image: &ImageId) -> Result<(), Error> {
        self.delete_image_and_containers(image, &HashSet::new())
    }

    /// As [`Transaction::delete_image`], with the containers of the image, their layers and their
    /// directories, if the IDs of all of them are among `containers`. Begin with
    /// [`Store::begin_with_containers`].
    ///
    /// # Errors
    /// [`Error::InUse`] names a container that may not go, [`Error::ContainerMounted`] one that has
    /// a mount. The transaction is as before then.
    pub fn delete_image_and_containers(
        &mut self,
        image: &ImageId,
        containers: &HashSet<String>,
    ) -> Result<(), Error> {
        let Some(record) = self.images.get(image.as_str()).cloned() else {
            let graph_root = self.stored(image)?.graph_root.to_path_buf();
            return Err(Error::ReadOnly { image: image.clone(), graph_root });
        };
        let users = self.containers.records().filter(|it| it.image.as_ref() == Some(image));
        let users: Vec<Record<ContainerRecord>> = users.cloned().collect();
        let is_read = matches!(self.locks.containers, ContainersLock::Read { .. });
        if let Some(user) = users.iter().find(|user| is_read || !containers.contains(&user.id)) {
            return Err(Error::InUse { image: image.clone(), container: user.id.clone() });
        }
        // Counted anew after a refusal.
        let mut usage = self.usage.take().unwrap_or_else(|| self.count_usage());
        let unneeded = self.unneeded_without(&record, &users, &mut usage);
        if !unneeded.is_empty() || !users.is_empty() {
            let mounted = self.mounted()?;
            if let Some(user) = users.iter().find(|user| mounted.has_container(user)) {
                return Err(Error::ContainerMounted { container: user.id.clone() });
            }
            if let Some(layer) = unneeded.iter().find(|layer| mounted.has_layer(layer)) {
                return Err(Error::Mounted { layer: layer.clone() });
            }
        }
        self.usage = Some(usage);
        self.removed_layers.extend(unneeded);
        self.containers.remove(|it| it.image.as_ref() == Some(image));
        self.removed_containers.extend(users.iter().map(|user| user.id.clone()));
        self.images.remove(|it| it.id == *image);
        match self.copied.iter().position(|copied| copied == image) {
            Some(at) => drop(self.copied.swap_remove(at)),
            None => self.removed_images.push(image.clone()),
        }
        self.view.take();
        Ok(())
    }

    /// Removes those of these layers that nobody needs but others of them and that are not mounted;
    /// gives those.
    pub(super) fn discard_layers(&mut self, layers: &[LayerId]) -> Result<Vec<LayerId>, Error> {
        let mut candidates = Vec::new();
        let mut went: Vec<LayerId> = Vec::new();
        for layer in layers {
            if self.removed_layers.contains(layer) {
                went.push(layer.clone());
            } else if !self.mounted()?.has_layer(layer) {
                candidates.push(layer.clone());
            }
        }
        let layers = &self.current.primary.layers;
        let unused = recover::unused(layers, self.count_usage(), &candidates);
        // They are not counted any more.
        self.usage = None;
        self.removed_layers.extend(unused.iter().cloned());
        self.view.take();
        went.extend(unused);
        Ok(went)
    }

    pub(super) fn is_mounted(&mut self, layer: &LayerId) -> Result<bool, Error> {
        Ok(self.mounted()?.has_layer(layer))
    }

    /// Whether something is mounted in the directories of a container, by its ID.
    pub(super) fn has_mounts(&mut self, container: &str) -> Result<bool, Error> {
        Ok(self.mounted()?.in_container(container))
    }

    /// Makes the changes visible. Removals may use the [`Reserve`](super::reserve::Reserve). What was
    /// removed is deleted from disk when the locks are released again, before this returns unless it
    /// is much. Should the removal fail after the images are gone, this tries to delete
    /// them once more, and else the next writer does.
    pub fn commit(mut self) -> Result<(), Error> {
        if !self.images.is_changed() && self.removed_layers.is_empty() {
            return Ok(());
        }
        let inner = self.inner;
        let makes_room = self.removes();
        if !makes_room {
            self.show_before();
        }
        let mut changed = self.change();
        if makes_room
            && changed.as_ref().is_err_and(Error::is_out_of_space)
            && inner.reserve.release()
        {
            changed = self.change();
        }
        match changed {
            Ok((records, containers)) => {
                let finished = self.finish(records, containers);
                if makes_room {
                    inner.reserve.hold(&inner.options.graph_root);
                }
                finished
            }
            Err(error) => {
                // Whether or not the images are gone: recovery looks at what is needed.
                self.trash.leave();
                let cancel = self.cancel.clone();
                inner.unfinished.store(true, Ordering::Relaxed);
                drop(self);
                inner.finish_at_once(&cancel);
                Err(error)
            }
        }
    }

    /// Whether each step has to be on disk before the next.
    pub(super) fn has_barriers(&self) -> bool {
        self.trash.has_barriers()
    }

    /// Lets readers see the store as it was before, until the locks are released. Not for removals: what
    /// is on its way out cannot be read.
    pub(super) fn show_before(&mut self) {
        self.locks.undisclosed = Some(self.inner.before.keep(&self.current.snapshot));
    }

    /// May be done again when it has failed half way. Containers go before their image: one without
    /// its image would be a broken container, an image without containers is an image. Whoever dies
    /// in between leaves the image.
    fn change(&mut self) -> Result<(Records, Loaded<Containers>), Error> {
        let images = self.removed_images.iter().chain(&self.copied).cloned().collect();
        let intent = Intent {
            layers: self.removed_layers.clone(),
            images,
            containers: self.removed_containers.clone(),
        };
        if !intent.layers.is_empty() || !intent.images.is_empty() || !intent.containers.is_empty() {
            self.trash.intend(&self.tree, &intent, self.inner.durable())?;
        }
        let items = self.copy_items()?;
        let containers = self.save_containers()?;
        let images = self.save_images(items.as_ref())?;
        if self.removes() && self.has_barriers() {
            // The images have to be gone before anything of them is.
            self.inner.primary.images.sync()?;
        }
        for image in &self.removed_images {
            self.trash.take_image(&self.tree, image)?;
        }
        for container in &self.removed_containers {
            self.trash.take_container(&self.tree, &self.inner.options.run_root, container)?;
        }
        let layers = self.inner.remove_layers(
            &self.locks.layers,
            &self.current.primary.layers,
            &self.removed_layers,
            (&self.tree, &mut self.trash),
        )?;
        Ok((Records { layers, images }, containers))
    }

    /// Writes the containers' records, if any were removed.
    fn save_containers(&self) -> Result<Loaded<Containers>, Error> {
        match &self.locks.containers {
            ContainersLock::Write(held) if self.containers.is_changed() => {
                let (place, edit) = (&self.inner.runtime.containers, self.containers.clone());
                place.save(held, &self.current.containers, edit, self.has_barriers())
            }
            _ => Ok(self.current.containers.clone()),
        }
    }

    /// Whether anything goes besides names.
    fn removes(&self) -> bool {
        !self.removed_images.is_empty() || !self.removed_layers.is_empty()
    }

    /// Writes the images' records and moves their data items into place. That they were replaced is
    /// not synced yet.
    pub(super) fn save_images(&self, items: Option<&Items>) -> Result<Loaded<Images>, Error> {
        self.inner.primary.images.save_after(
            &self.locks.images,
            &self.current.primary.images,
            self.images.clone(),
            false,
            || items.map_or(Ok(()), |items| items.publish(&self.tree, self.has_barriers())),
        )
    }

    /// Releases the locks, and only then makes the new snapshot, waits until the images' records are
    /// on disk, and deletes what is in the trash or, if that is much, has it deleted.
    pub(super) fn finish(
        self,
        primary: Records,
        containers: Loaded<Containers>,
    ) -> Result<(), Error> {
        let (durable, removes) = (self.inner.durable(), self.removes());
        // Where there are barriers, the records were on disk before anything was removed.
        let is_synced = !durable || removes && self.has_barriers();
        let size = self.removed_size();
        let Self { locks, inner, current, trash, .. } = self;
        // Readers that come now wait for the new snapshot, rather than read all records anew.
        let cache = inner.cache();
        drop(locks);
        inner.remember(cache, primary, containers, current.additional);
        // What these records are about was synced before them, so others may see them already.
        let mut synced = if is_synced { Ok(()) } else { inner.primary.images.sync() };
        if removes && !is_synced {
            synced = synced.and(inner.primary.layers.sync());
        }
        if size > LARGE_BYTES {
            trash.delete_apart()
        } else {
            drop(trash)
        }
        synced
    }

    /// Bytes of content that goes.
    fn removed_size(&self) -> i64 {
        let layers = self.removed_layers.iter();
        let layers = layers.filter_map(|layer| self.current.snapshot.layer(layer));
        layers.fold(0, |size, layer| size.saturating_add(layer.record.diff_size.max(0)))
    }

    /// An image in any store.
    fn stored(&self, image: &ImageId) -> Result<&super::StoredImage, Error> {
        self.view().image(image).ok_or_else(|| Error::ImageNotKnown { image: image.clone() })
    }

    fn count_usage(&self) -> Usage {
        let removed: HashSet<&LayerId> = self.removed_layers.iter().collect();
        let layers = self.current.primary.layers.records();
        let layers = layers.filter(|layer| !removed.contains(&layer.id));
        Usage::count(layers, self.images.records(), self.containers.records())
    }

    /// Layers that nobody needs when this image and these containers are gone, children before
    /// their parents.
    fn unneeded_without(
        &self,
        image: &Record<ImageRecord>,
        containers: &[Record<ContainerRecord>],
        usage: &mut Usage,
    ) -> Vec<LayerId> {
        let mut unneeded = Vec::new();
        let tops = || containers.iter().map(|it| &it.layer).chain(usage::tops(image));
        tops().for_each(|top| usage.release(top));
        for top in tops() {
            let mut next = Some(top.clone());
            while let Some(layer) = next.take() {
                let stored = self.current.snapshot.layer(&layer).filter(|stored| !stored.read_only);
                let Some(stored) = stored else { break };
                if usage.is_needed(&layer) || unneeded.contains(&layer) {
                    break;
                }
                next.clone_from(&stored.record.parent);
                next.iter().for_each(|parent| usage.release(parent));
                unneeded.push(layer);
            }
        }
        unneeded
    }

    fn mounted(&mut self) -> Result<&Mounted, Error> {
        let mounted = match self.mounted.take() {
            Some(mounted) => mounted,
            None => mounts::mounted(
                &self.inner.runtime,
                &self.inner.options,
                &self.locks.layers,
                &self.cancel,
            )?,
        };
        Ok(self.mounted.insert(mounted))
    }

    /// The data items of images that are copied from an additional store.
    fn copy_items(&self) -> Result<Option<Items>, Error> {
        if self.copied.is_empty() {
            return Ok(None);
        }
        let mut contents = Vec::new();
        for image in &self.copied {
            let stored = self.current.snapshot.image(image);
            let stored = stored.ok_or_else(|| Error::ImageNotKnown { image: image.clone() })?;
            let keys = stored.record.big_data_names.iter();
            let items = keys.map(|key| Ok((key.clone(), super::bigdata::read(stored, key)?)));
            contents.push((image, items.collect::<Result<Vec<_>, Error>>()?));
        }
        let contents = contents.iter().map(|(image, items)| (*image, items.as_slice()));
        let items = Items::write(&self.tree, contents)?;
        if self.inner.durable() {
            items.sync()?;
        }
        Ok(Some(items))
    }
}
