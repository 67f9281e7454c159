//! [`Store`]: opening it, and snapshots of its records.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Error;
use super::dir::Dir;
use super::early_sync::EarlySync;
use super::lock::{Containers, Held, Images, ImagesRead, Layers, LayersRead};
use super::options::{StoreOptions, SyncMode};
use super::order;
use super::overlay::{self, Access, CONTAINERS, IMAGES, Location, OVERLAY, Runtime, Tree};
use super::record::{ContainerRecord, ImageRecord, LayerRecord, Record};
use super::records::Loaded;
use super::recover;
use super::reserve::Reserve;
use super::snapshot::{Snapshot, StoredImage, StoredLayer};
use super::undisclosed::Before;
use super::write_back::WriteBack;
use crate::sys::Cancel;

/// How often something is tried that has to repair the store each time.
pub(super) const REPAIR_ROUNDS: usize = 3;

/// How long a reader waits for a writer. Writers of this program and of newer tools are done long
/// before.
const PATIENCE: Duration = Duration::from_millis(50);

/// A containers/storage store with the overlay driver. Cheap to clone; all methods block.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) options: StoreOptions,
    pub(super) access: Access,
    pub(super) primary: Location,
    pub(super) runtime: Runtime,
    pub(super) additional: Vec<Location>,
    /// Deleted files are stored as `.wh.` files.
    pub(super) whiteout_files: bool,
    /// We are not root of the whole system.
    pub(super) user_namespace: bool,
    pub(super) write_back: WriteBack,
    pub(super) early_sync: EarlySync,
    pub(super) reserve: Reserve,
    /// A commit of ours has failed half way, and what it left has not been recovered yet.
    pub(super) unfinished: AtomicBool,
    /// What readers see while a writer of ours holds the locks.
    pub(super) before: Before,
    /// What was loaded last.
    cache: Mutex<Option<Current>>,
}

/// The records of all stores as they are while locks are held. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Current {
    pub(super) primary: Records,
    pub(super) containers: Loaded<Containers>,
    /// `None` for stores that were skipped.
    pub(super) additional: Vec<Option<Records>>,
    pub(super) snapshot: Snapshot,
}

/// The records of one store that images are made of.
#[derive(Debug, Clone)]
pub(super) struct Records {
    pub(super) layers: Loaded<Layers>,
    pub(super) images: Loaded<Images>,
}

/// Read locks on an additional store; `None` for a store that is skipped.
pub(super) type AdditionalLocks = Option<(LayersRead, ImagesRead)>;

impl Store {
    /// Opens a store, creates what is missing of it, and removes what dead writers left. Records are
    /// not read before somebody asks for them, so that opening takes no longer in a large store.
    ///
    /// # Errors
    /// A store of another driver, or without permission.
    pub fn open(options: StoreOptions, cancel: &Cancel) -> Result<Self, Error> {
        overlay::check_driver(&options)?;
        let tree = Tree::open(&options.graph_root)?;
        let whiteout_files = overlay::whiteout_files(&tree, &options)?;
        let inner = Inner::new(options, Access::Write, whiteout_files)?;
        let store = Self { inner: Arc::new(inner) };
        if store.inner.check_writable().is_ok() {
            store.inner.recover(cancel)?;
            store.inner.reserve.hold(&store.inner.options.graph_root);
        }
        Ok(store)
    }

    /// Opens a store only to look at it: nothing in it is changed or repaired, and what is wrong with
    /// it is seen as it is. Lock files are made where they are missing, as every reader makes them.
    ///
    /// # Errors
    /// A store of another driver, one that does not exist, or one without permission.
    pub fn look(options: StoreOptions) -> Result<Self, Error> {
        overlay::check_driver(&options)?;
        let overlay = Dir::open(&options.graph_root.join(OVERLAY))?;
        let whiteout_files = overlay::has_whiteout_files(&overlay, &options)?;
        let inner = Inner::new(options, Access::Look, whiteout_files)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the store was opened with.
    pub fn options(&self) -> &StoreOptions {
        &self.inner.options
    }

    /// All records at one instant, under read locks that are released again. The same snapshot is
    /// returned as long as nothing changed. Nobody waits for a writer of this program that only adds
    /// something: until it is done, the store is as it was before. While another tool keeps the store
    /// locked, as older ones do for as long as they unpack a layer, the records are read without locks.
    pub fn snapshot(&self, cancel: &Cancel) -> Result<Snapshot, Error> {
        let inner = &*self.inner;
        for _ in 0..REPAIR_ROUNDS {
            if let Some(before) = inner.before.get() {
                return Ok(before);
            }
            let Some(layers) = inner.primary.layers.lock.read_within(PATIENCE, cancel)? else {
                return inner.peek(cancel);
            };
            let others = inner.lock_additional_layers(cancel)?;
            let images = inner.primary.images.lock.read(&layers, cancel)?;
            let others = inner.lock_additional_images(others, cancel)?;
            let containers = inner.runtime.containers.lock.read(&layers, &images, cancel)?;
            if let Some(current) = inner.refresh(&layers, &images, &containers, &others)? {
                return Ok(current.snapshot);
            }
            drop((containers, images, others, layers));
            inner.repair(cancel)?;
        }
        Err(inner.unrepaired())
    }

    /// A [`snapshot`](Self::snapshot), if there is nobody to wait for and nothing to repair; else `None`.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub fn snapshot_at_once(&self) -> Result<Option<Snapshot>, Error> {
        let inner = &*self.inner;
        if let Some(before) = inner.before.get() {
            return Ok(Some(before));
        }
        // Each has locks of its own, which others may keep for as long as they unpack.
        if !inner.additional.is_empty() {
            return Ok(None);
        }
        let Some(layers) = inner.primary.layers.lock.try_read()? else { return Ok(None) };
        let Some(images) = inner.primary.images.lock.try_read(&layers)? else { return Ok(None) };
        let containers = inner.runtime.containers.lock.try_read(&layers, &images)?;
        let Some(containers) = containers else { return Ok(None) };
        let current = inner.refresh(&layers, &images, &containers, &[])?;
        Ok(current.map(|current| current.snapshot))
    }
}

impl Inner {
    fn new(options: StoreOptions, access: Access, whiteout_files: bool) -> Result<Self, Error> {
        let write_back = WriteBack::default();
        Ok(Self {
            primary: Location::primary(&options, access),
            runtime: Runtime::new(&options, access),
            additional: options
                .additional_image_stores
                .iter()
                .chain(&options.image_store)
                .map(|graph_root| Location::additional(graph_root))
                .collect(),
            access,
            whiteout_files,
            user_namespace: crate::sys::namespace::in_user_namespace()
                .map_err(Error::io("examining", "/proc/self/uid_map"))?,
            early_sync: EarlySync::new(write_back.clone()),
            write_back,
            reserve: Reserve::default(),
            unfinished: AtomicBool::new(false),
            before: Before::default(),
            cache: Mutex::default(),
            options,
        })
    }

    /// Recovers what failed commits of ours have left.
    pub(super) fn finish_commits(&self, cancel: &Cancel) -> Result<(), Error> {
        if !self.unfinished.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        self.recover(cancel).inspect_err(|_| self.unfinished.store(true, Ordering::Relaxed))
    }

    /// As [`Inner::finish_commits`], for what has just failed. What made it fail may still be so; then
    /// it is the next writer's.
    pub(super) fn finish_at_once(&self, cancel: &Cancel) {
        if let Err(error) = self.finish_commits(cancel) {
            tracing::warn!(?error, "could not recover from a failure at once");
        }
    }

    /// The records as they are now; `None` if they have to be repaired first.
    pub(super) fn refresh<L, I, C>(
        &self,
        layers: &Held<Layers, L>,
        images: &Held<Images, I>,
        containers: &Held<Containers, C>,
        additional: &[AdditionalLocks],
    ) -> Result<Option<Current>, Error> {
        // The cache is replaced as a whole, so a panic elsewhere cannot leave it half changed.
        let mut cache = self.cache();
        let known = cache.as_ref();
        let primary =
            Records::load(&self.primary, layers, images, known.map(|known| &known.primary))?;
        let containers =
            self.runtime.containers.load(containers, known.map(|known| &known.containers))?;
        let others = self.additional.iter().zip(additional).enumerate();
        let additional = others
            .map(|(at, (location, locks))| {
                let known = known.and_then(|known| known.additional.get(at)?.as_ref());
                let load = |(layers, images): &(LayersRead, ImagesRead)| {
                    Records::load(location, layers, images, known)
                };
                locks.as_ref().map(load).transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(known) = known
            && known.is_same(&primary, &containers, &additional)
        {
            return Ok(Some(known.clone()));
        }
        if self.check_writable().is_ok() && recover::is_needed(&primary) {
            return Ok(None);
        }
        let current = self.current(primary, containers, additional);
        Ok(Some(cache.insert(current).clone()))
    }

    /// What was loaded last. To be locked after the file locks, never before.
    pub(super) fn cache(&self) -> MutexGuard<'_, Option<Current>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was just written, so that it need not be read again.
    pub(super) fn remember(
        &self,
        mut cache: MutexGuard<'_, Option<Current>>,
        primary: Records,
        containers: Loaded<Containers>,
        additional: Vec<Option<Records>>,
    ) {
        *cache = Some(self.current(primary, containers, additional));
    }

    pub(super) fn current(
        &self,
        primary: Records,
        containers: Loaded<Containers>,
        additional: Vec<Option<Records>>,
    ) -> Current {
        let (layers, images) = (primary.layers.records(), primary.images.records());
        let snapshot = self.build(layers, images, containers.records(), &additional);
        Current { primary, containers, additional, snapshot }
    }

    /// A snapshot of these records of the primary store and those of the others.
    pub(super) fn build<'a>(
        &self,
        layers: impl Iterator<Item = &'a Record<LayerRecord>>,
        images: impl Iterator<Item = &'a Record<ImageRecord>>,
        containers: impl Iterator<Item = &'a Record<ContainerRecord>>,
        additional: &[Option<Records>],
    ) -> Snapshot {
        let mut all_layers: Vec<_> = layers.map(|it| self.primary.layer(it)).collect();
        let mut all_images: Vec<_> = images.map(|it| self.primary.image(it)).collect();
        for (location, records) in self.additional.iter().zip(additional) {
            let Some(records) = records else { continue };
            all_layers.extend(records.layers.records().map(|it| location.layer(it)));
            all_images.extend(records.images.records().map(|it| location.image(it)));
        }
        Snapshot::new(all_images, all_layers, containers.cloned().collect())
    }

    pub(super) fn lock_additional_layers(
        &self,
        cancel: &Cancel,
    ) -> Result<Vec<Option<LayersRead>>, Error> {
        self.additional.iter().map(|it| skip_missing(it, it.layers.lock.read(cancel))).collect()
    }

    pub(super) fn lock_additional_images(
        &self,
        layers: Vec<Option<LayersRead>>,
        cancel: &Cancel,
    ) -> Result<Vec<AdditionalLocks>, Error> {
        let lock = |(location, layers): (&Location, Option<LayersRead>)| {
            let Some(layers) = layers else { return Ok(None) };
            let images = skip_missing(location, location.images.lock.read(&layers, cancel))?;
            Ok(images.map(|images| (layers, images)))
        };
        self.additional.iter().zip(layers).map(lock).collect()
    }

    /// Whether directories and content are synced, not only record files.
    pub(super) fn durable(&self) -> bool {
        self.options.sync == SyncMode::Filesystem
    }

    /// Whether a step has to be on disk before the next one is made. Where order is kept, only
    /// the last one has to be.
    pub(super) fn has_barriers(&self, tree: &Tree) -> Result<bool, Error> {
        if !self.durable() {
            return Ok(false);
        }
        let [images, containers] = [tree.root.sub(IMAGES)?, tree.root.sub(CONTAINERS)?];
        Ok(!order::is_kept([&tree.root, &tree.overlay, &tree.layers, &images, &containers])?)
    }

    pub(super) fn unrepaired(&self) -> Error {
        Error::Unrepaired { graph_root: self.options.graph_root.clone() }
    }
}

impl Location {
    fn layer(&self, record: &Record<LayerRecord>) -> StoredLayer {
        StoredLayer {
            record: record.clone(),
            graph_root: self.graph_root.clone(),
            read_only: self.read_only,
        }
    }

    fn image(&self, record: &Record<ImageRecord>) -> StoredImage {
        StoredImage {
            record: record.clone(),
            graph_root: self.graph_root.clone(),
            read_only: self.read_only,
        }
    }
}

impl Records {
    fn load<L, I>(
        location: &Location,
        layers: &Held<Layers, L>,
        images: &Held<Images, I>,
        known: Option<&Self>,
    ) -> Result<Self, Error> {
        Ok(Self {
            layers: location.layers.load(layers, known.map(|known| &known.layers))?,
            images: location.images.load(images, known.map(|known| &known.images))?,
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.layers.is_same(&other.layers) && self.images.is_same(&other.images)
    }
}

impl Current {
    pub(super) fn is_same(
        &self,
        primary: &Records,
        containers: &Loaded<Containers>,
        additional: &[Option<Records>],
    ) -> bool {
        let same = |(ours, theirs): (&Option<Records>, &Option<Records>)| match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours.is_same(theirs),
            (None, None) => true,
            _ => false,
        };
        self.primary.is_same(primary)
            && self.containers.is_same(containers)
            && self.additional.len() == additional.len()
            && self.additional.iter().zip(additional).all(same)
    }
}

/// An additional store that is not there, or was never used, is as good as empty.
fn skip_missing<T>(location: &Location, lock: Result<T, Error>) -> Result<Option<T>, Error> {
    use rustix::io::Errno;
    let missing = |source: &std::io::Error| {
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::NOENT | Errno::ROFS | Errno::ACCESS))
    };
    match lock {
        Ok(lock) => Ok(Some(lock)),
        Err(Error::Io { source, .. }) if missing(&source) => {
            tracing::debug!(store = ?location.graph_root, "skipping an additional image store");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
