//! The JSON files behind one lock: loading them if they changed, and saving changed ones.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::atomic::{Replacement, Stamp, is_temporary};
use super::dir::{Dir, read_bounded};
use super::lock::{Containers, Exclusive, Held, Images, Layers, LockFile, Mark};
use super::record::{ContainerRecord, ImageRecord, LayerRecord, Record};

/// Longest record file that is read, in bytes: tens of thousands of images.
const LIMIT_BYTES: u64 = 256 << 20;

/// What is guarded by a lock and recorded in JSON files.
pub(super) trait Kind {
    /// What a record says.
    type View: Serialize + DeserializeOwned + Clone + std::fmt::Debug;
    /// The identifier of a record.
    fn id(view: &Self::View) -> &str;
}

impl Kind for Layers {
    type View = LayerRecord;
    fn id(view: &LayerRecord) -> &str {
        view.id.as_str()
    }
}

impl Kind for Images {
    type View = ImageRecord;
    fn id(view: &ImageRecord) -> &str {
        view.id.as_str()
    }
}

impl Kind for Containers {
    type View = ContainerRecord;
    fn id(view: &ContainerRecord) -> &str {
        &view.id
    }
}

/// Where the records of one kind are, in one store.
#[derive(Debug)]
pub(super) struct Place<K> {
    /// Their lock.
    pub(super) lock: LockFile<K>,
    files: Vec<RecordFile>,
}

#[derive(Debug)]
struct RecordFile {
    directory: PathBuf,
    name: &'static str,
    /// It outlives a reboot, so it is synced.
    durable: bool,
}

impl RecordFile {
    fn path(&self) -> PathBuf {
        self.directory.join(self.name)
    }
}

/// All records of a kind in one store at one instant. Cheap to clone.
#[derive(Debug)]
pub(super) struct Loaded<K: Kind>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K: Kind> {
    mark: Mark,
    stamps: Vec<Option<Stamp>>,
    /// For each file its records, in storage order.
    files: Vec<Vec<Record<K::View>>>,
}

impl<K: Kind> Clone for Loaded<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Kind> Loaded<K> {
    /// The records in storage order; the first one with an ID counts.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record<K::View>> {
        distinct::<K>(&self.0.files)
    }

    /// The ID of every record, also of those that do not count.
    pub(super) fn all_ids(&self) -> impl Iterator<Item = &str> {
        self.0.files.iter().flatten().map(|record| K::id(record))
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A copy to change.
    pub(super) fn edit(&self) -> Edit<K> {
        Edit { files: self.0.files.clone(), changed: vec![false; self.0.files.len()] }
    }
}

fn distinct<'a, K: Kind + 'a>(
    files: &'a [Vec<Record<K::View>>],
) -> impl Iterator<Item = &'a Record<K::View>> {
    let mut seen: HashSet<&'a str> = HashSet::new();
    files.iter().flatten().filter(move |&record| seen.insert(K::id(record)))
}

/// Records with changes that are not saved yet.
#[derive(Debug)]
pub(super) struct Edit<K: Kind> {
    files: Vec<Vec<Record<K::View>>>,
    changed: Vec<bool>,
}

impl<K: Kind> Clone for Edit<K> {
    fn clone(&self) -> Self {
        Self { files: self.files.clone(), changed: self.changed.clone() }
    }
}

impl<K: Kind> Edit<K> {
    /// The records in storage order; the first one with an ID counts.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record<K::View>> {
        distinct::<K>(&self.files)
    }

    /// The record with this ID.
    pub(super) fn get(&self, id: &str) -> Option<&Record<K::View>> {
        self.files.iter().flatten().find(|record| K::id(record) == id)
    }

    /// Whether there is anything to save.
    pub(super) fn is_changed(&self) -> bool {
        self.changed.contains(&true)
    }

    /// Appends a record to the first, lasting file.
    pub(super) fn push(&mut self, record: Record<K::View>) {
        if let (Some(file), Some(changed)) = (self.files.first_mut(), self.changed.first_mut()) {
            file.push(record);
            *changed = true;
        }
    }

    /// Changes every record for which `wanted` holds, wherever it is.
    pub(super) fn update(
        &mut self,
        wanted: impl Fn(&K::View) -> bool,
        mut change: impl FnMut(&mut K::View),
    ) -> Result<(), serde_json::Error> {
        for (file, changed) in self.files.iter_mut().zip(&mut self.changed) {
            for record in file.iter_mut().filter(|record| wanted(record)) {
                record.update(&mut change)?;
                *changed = true;
            }
        }
        Ok(())
    }

    /// Drops every record for which `unwanted` holds.
    pub(super) fn remove(&mut self, unwanted: impl Fn(&K::View) -> bool) {
        for (file, changed) in self.files.iter_mut().zip(&mut self.changed) {
            let before = file.len();
            file.retain(|record| !unwanted(record));
            *changed |= file.len() != before;
        }
    }
}

impl<K: Kind> Place<K> {
    /// `lasting` is the file that outlives a reboot, as directory and name; `volatile` the one
    /// that need not.
    pub(super) fn new(
        lock: LockFile<K>,
        lasting: (PathBuf, &'static str),
        volatile: Option<(PathBuf, &'static str)>,
    ) -> Self {
        let file = |(directory, name), durable| RecordFile { directory, name, durable };
        let files = std::iter::once(file(lasting, true)).chain(volatile.map(|it| file(it, false)));
        Self { lock, files: files.collect() }
    }

    /// The lasting file, for messages.
    pub(super) fn path(&self) -> PathBuf {
        self.files.first().map(RecordFile::path).unwrap_or_default()
    }

    /// The records, from `known` unless somebody wrote since. Besides the mark the files' own
    /// times are compared, so that manual changes are seen, too.
    pub(super) fn load<M>(
        &self,
        held: &Held<K, M>,
        known: Option<&Loaded<K>>,
    ) -> Result<Loaded<K>, Error> {
        // The mark is read before the files: a writer that ignores the lock then costs a reload.
        let mark = held.mark()?;
        if let Some(known) = known
            && known.0.mark == mark
            && self.stamps()? == known.0.stamps
        {
            return Ok(known.clone());
        }
        let (mut stamps, mut files) = (Vec::new(), Vec::new());
        for file in &self.files {
            let path = file.path();
            let Some((stamp, text)) = read_text(&path)? else {
                stamps.push(None);
                files.push(Vec::new());
                continue;
            };
            let records =
                Record::parse_all(&text).map_err(|source| Error::Malformed { path, source })?;
            stamps.push(Some(stamp));
            files.push(records);
        }
        Ok(Loaded(Arc::new(Inner { mark, stamps, files })))
    }

    /// Whether there are temporary files, of the living or the dead.
    pub(super) fn has_temporaries(&self) -> Result<bool, Error> {
        Ok(!self.temporaries()?.is_empty())
    }

    /// Removes temporary files. All tools make them under the lock only, so those that are there
    /// while we hold it are of the dead.
    pub(super) fn remove_temporaries(&self, _held: &Held<K, Exclusive>) -> Result<(), Error> {
        for (directory, name) in self.temporaries()? {
            Dir::open(directory)?.unlink(name)?;
        }
        Ok(())
    }

    fn temporaries(&self) -> Result<Vec<(&Path, String)>, Error> {
        let mut found = Vec::new();
        for file in &self.files {
            let names = match Dir::open(&file.directory) {
                Ok(directory) => directory.names()?,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            let names = names.into_iter().filter(|name| is_temporary(name, file.name));
            found.extend(names.map(|name| (file.directory.as_path(), name)));
        }
        Ok(found)
    }

    fn stamps(&self) -> Result<Vec<Option<Stamp>>, Error> {
        let stamp = |file: &RecordFile| {
            let path = file.path();
            match rustix::fs::stat(&path) {
                Ok(stat) => Ok(Some(Stamp::from(&stat))),
                Err(rustix::io::Errno::NOENT) => Ok(None),
                Err(errno) => Err(Error::io("examining", path)(errno.into())),
            }
        };
        self.files.iter().map(stamp).collect()
    }

    /// Writes the files that changed and makes them visible. `base` is what was loaded under this
    /// same lock.
    pub(super) fn save(
        &self,
        held: &Held<K, Exclusive>,
        base: &Loaded<K>,
        edit: Edit<K>,
        sync_directory: bool,
    ) -> Result<Loaded<K>, Error> {
        self.save_after(held, base, edit, sync_directory, || Ok(()))
    }

    /// Waits until it is on disk that files were replaced.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.files
            .iter()
            .filter(|file| file.durable)
            .try_for_each(|file| Dir::open(&file.directory)?.sync())
    }

    /// As [`Place::save`]; `last_step` runs when everything is written and only the renames are
    /// left, and makes visible what the records are about.
    pub(super) fn save_after(
        &self,
        held: &Held<K, Exclusive>,
        base: &Loaded<K>,
        edit: Edit<K>,
        sync_directory: bool,
        last_step: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Loaded<K>, Error> {
        let mut stamps = base.0.stamps.clone();
        let changed =
            || self.files.iter().zip(&edit.changed).map(|(file, &changed)| (file, changed));
        let directories = changed()
            .map(|(file, changed)| {
                changed.then(|| Dir::open_or_create(&file.directory, 0o700)).transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut replacements = Vec::new();
        for (at, ((file, records), directory)) in
            self.files.iter().zip(&edit.files).zip(&directories).enumerate()
        {
            let Some(directory) = directory else { continue };
            let parts = records.iter().enumerate().flat_map(|(at, record)| {
                let before: &[u8] = if at == 0 { b"" } else { b"," };
                [before, record.json().as_bytes()]
            });
            let parts = std::iter::once(b"[".as_slice()).chain(parts).chain([b"]".as_slice()]);
            replacements.push((at, Replacement::write(directory, file.name, parts, file.durable)?));
        }
        last_step()?;
        let mark = held.leave_mark()?;
        for (at, replacement) in replacements {
            let stamp = replacement.publish()?;
            if let Some(slot) = stamps.get_mut(at) {
                *slot = Some(stamp);
            }
        }
        if sync_directory {
            self.sync()?;
        }
        Ok(Loaded(Arc::new(Inner { mark, stamps, files: edit.files })))
    }
}

fn read_text(path: &Path) -> Result<Option<(Stamp, Arc<str>)>, Error> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("opening", path)(error)),
    };
    let stat =
        rustix::fs::fstat(&file).map_err(|errno| Error::io("examining", path)(errno.into()))?;
    let bytes = read_bounded(&file, path, LIMIT_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        source: serde::de::Error::custom(error),
    })?;
    Ok(Some((Stamp::from(&stat), text.into())))
}
