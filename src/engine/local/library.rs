//! What queries read: one snapshot of the store, and everything that follows from it.
//!
//! A [`Library`] is made for each request and is cheap. What was derived from a snapshot stays in
//! a [`DerivedCache`] for as long as the store does not change, and what does not depend on the
//! change (the facts of each image) moves on to the next snapshot. So the cache never holds more
//! than the store does, and a list of an unchanged store reads no file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use jiff::ZonedDateTime;

use super::facts::{Documents, Facts};
use super::index::Index;
use super::relations::Relations;
use super::size;
use crate::engine::Result;
use crate::image::{ImageId, Platform, ShortNames};
use crate::storage::{Snapshot, StoredImage};

/// Why a data item cannot be read.
pub(super) type ReadError = Box<dyn std::error::Error + Send + Sync>;

/// Where the data items of images come from. Blocking.
pub(super) trait ImageData: std::fmt::Debug + Send + Sync {
    /// The bytes of item `key` of `image`.
    fn read(&self, image: &StoredImage, key: &str) -> Result<Bytes, ReadError>;
}

/// The derived state of the latest snapshot, shared by all requests.
#[derive(Debug, Default)]
pub(super) struct DerivedCache {
    last: Mutex<Option<Arc<Derived>>>,
}

impl DerivedCache {
    /// What is known about `snapshot`; nothing is computed yet that was not computed before.
    pub(super) fn get(&self, snapshot: &Snapshot) -> Arc<Derived> {
        let previous = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(derived) = &previous
            && derived.snapshot.is_same(snapshot)
        {
            return Arc::clone(derived);
        }
        let derived = Arc::new(Derived::new(snapshot.clone(), previous.as_deref()));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&derived));
        derived
    }
}

/// What follows from one snapshot, computed when first asked for.
#[derive(Debug)]
pub(super) struct Derived {
    snapshot: Snapshot,
    index: OnceLock<Index>,
    /// Aligned with the images; empty where nobody asked yet or reading failed.
    facts: Box<[OnceLock<Arc<Facts>>]>,
    sizes: OnceLock<Box<[Option<i64>]>>,
    relations: Mutex<Option<KnownRelations>>,
}

/// Relations are only as good as the facts that could be read.
#[derive(Debug)]
struct KnownRelations {
    readable_images: usize,
    relations: Arc<Relations>,
}

impl Derived {
    fn new(snapshot: Snapshot, previous: Option<&Self>) -> Self {
        let facts = snapshot.images().iter().map(|_| OnceLock::new()).collect();
        let derived = Self {
            snapshot,
            index: OnceLock::new(),
            facts,
            sizes: OnceLock::new(),
            relations: Mutex::new(None),
        };
        if let Some(previous) = previous {
            derived.inherit(previous);
        }
        derived
    }

    /// Takes over facts of images whose manifest is still the same. The manifest names the config
    /// by digest, so nothing else can have changed.
    fn inherit(&self, previous: &Self) {
        let known: HashMap<&ImageId, usize> = previous
            .snapshot
            .images()
            .iter()
            .enumerate()
            .map(|(at, image)| (&image.record.id, at))
            .collect();
        for (cell, image) in self.facts.iter().zip(self.snapshot.images()) {
            let Some(&at) = known.get(&image.record.id) else { continue };
            let same = image.record.manifest_digest().is_some()
                && image.record.manifest_digest()
                    == previous.snapshot.images()[at].record.manifest_digest();
            if same && let Some(facts) = previous.facts[at].get() {
                // The cell is new and not shared yet, so it is empty.
                let _ = cell.set(Arc::clone(facts));
            }
        }
    }
}

/// One request's view of the store.
#[derive(Debug)]
pub(super) struct Library<'a> {
    derived: Arc<Derived>,
    data: &'a dyn ImageData,
    short_names: &'a ShortNames,
    platform: Platform,
    now: ZonedDateTime,
}

impl<'a> Library<'a> {
    /// A view of what `derived` was made from. `now` is the time, and the zone of times that
    /// callers give without one.
    pub(super) fn new(
        derived: Arc<Derived>,
        data: &'a dyn ImageData,
        short_names: &'a ShortNames,
        now: ZonedDateTime,
    ) -> Self {
        Self { derived, data, short_names, platform: Platform::host(), now }
    }

    /// The records.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.derived.snapshot
    }

    /// The images, in storage order. Their places in this slice are how the other methods name
    /// them.
    pub(super) fn images(&self) -> &[StoredImage] {
        self.derived.snapshot.images()
    }

    /// Manifest and config of an image, read from disk.
    pub(super) fn documents(&self, at: usize) -> Result<Documents> {
        Documents::read(&self.images()[at], self.data)
    }

    /// Facts of an image, read from disk only the first time. A failure is not remembered.
    pub(super) fn facts(&self, at: usize) -> Result<&Arc<Facts>> {
        let cell = &self.derived.facts[at];
        if let Some(facts) = cell.get() {
            return Ok(facts);
        }
        let facts = Arc::new(Facts::of(&self.documents(at)?));
        Ok(cell.get_or_init(|| facts))
    }

    /// Bytes of each image's layers and data items; `None` where a layer is not in the store.
    pub(super) fn size(&self, at: usize) -> Option<i64> {
        self.derived.sizes.get_or_init(|| size::of_images(self.snapshot()))[at]
    }

    /// Who is built on whom, as far as images can be read.
    pub(super) fn relations(&self) -> Arc<Relations> {
        let known = || self.derived.relations.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |readable_images: usize| {
            let known = known();
            let known = known.as_ref().filter(|known| known.readable_images == readable_images);
            known.map(|known| Arc::clone(&known.relations))
        };
        if let Some(complete) = usable(self.images().len()) {
            return complete;
        }
        let facts: Vec<Option<&Facts>> =
            (0..self.images().len()).map(|at| self.facts(at).ok().map(Arc::as_ref)).collect();
        let readable_images = facts.iter().flatten().count();
        usable(readable_images).unwrap_or_else(|| {
            let relations = Arc::new(Relations::of(self.snapshot(), &facts));
            let fresh = KnownRelations { readable_images, relations: Arc::clone(&relations) };
            *known() = Some(fresh);
            relations
        })
    }

    /// Names and IDs.
    pub(super) fn index(&self) -> &Index {
        self.derived.index.get_or_init(|| Index::of(self.snapshot()))
    }

    pub(super) fn data(&self) -> &dyn ImageData {
        self.data
    }

    pub(super) fn short_names(&self) -> &ShortNames {
        self.short_names
    }

    pub(super) fn platform(&self) -> &Platform {
        &self.platform
    }

    pub(super) fn now(&self) -> &ZonedDateTime {
        &self.now
    }
}
