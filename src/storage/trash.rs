//! Taking layers, images and containers out of the store in no time, and deleting them later.
//!
//! Under the store's locks things are only renamed into temporary directories; these are deleted
//! when the [`Trash`] is dropped, or [apart](Trash::delete_apart), which is to be after the locks are
//! released.
//!
//! With them goes the word of what was being deleted. Where the file system does not keep order, that
//! could get to the disk ahead of the renames, and after a power cut nobody would know of what is in
//! its old place again, without a record. So there the renames are waited for first.

use std::collections::BTreeSet;
use std::fs::File;
use std::mem;
use std::path::{Path, PathBuf};
use std::thread;

use serde::{Deserialize, Serialize};

use super::Error;
use super::dir::Dir;
use super::overlay::{CONTAINERS, IMAGES, LAYERS, OVERLAY, Tree};
use super::tempdir::{Area, TempDir};
use super::tree;
use crate::image::{ImageId, LayerId};

/// Name of the file that holds an [`Intent`], and before it counts.
const INTENT: &str = "intent";
const DRAFT: &str = "intent.draft";
/// Longest `link` file that is read, and longest intent, in bytes.
const LINK_LIMIT_BYTES: u64 = 255;
const INTENT_LIMIT_BYTES: u64 = 64 << 20;

/// What a writer is about to create or delete. Should it die, whoever finds this in its temporary
/// directory removes those layers and data that nothing refers to. Other tools delete the file
/// with the directory, and leave such layers to their own garbage collection.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) layers: Vec<LayerId>,
    pub(super) images: Vec<ImageId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) containers: Vec<String>,
}

impl Intent {
    /// Writes the intent into a temporary directory, without effect yet. Done before the locks are
    /// taken, so that it is on disk with everything else.
    pub(super) fn draft(&self, dir: &Dir) -> Result<File, Error> {
        let text = serde_json::to_vec(self).map_err(Error::encode(dir.path().join(DRAFT)))?;
        dir.unlink(DRAFT)?;
        dir.write_new(DRAFT, &text, 0o600)
    }

    /// Makes the draft count. Done under the locks, when it is certain that what it names is ours
    /// to remove.
    pub(super) fn declare(dir: &Dir) -> Result<(), Error> {
        dir.rename(DRAFT, INTENT)
    }

    /// What the dead owner of a temporary directory was about to do. A file that was not finished
    /// counts as none: the deed is done after it.
    pub(super) fn read(dir: &Dir) -> Result<Option<Self>, Error> {
        let text = dir.read(INTENT, INTENT_LIMIT_BYTES)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }
}

/// Where discarded things go.
#[derive(Debug)]
pub(super) struct Trash {
    trees: Option<TempDir>,
    files: Option<TempDir>,
    count: usize,
    barriers: bool,
    /// Directories in which names were removed.
    touched: BTreeSet<PathBuf>,
}

impl Trash {
    /// Nothing is in it. With `barriers`, each step has to be on disk before the next.
    pub(super) fn new(barriers: bool) -> Self {
        Self { trees: None, files: None, count: 0, barriers, touched: BTreeSet::new() }
    }

    /// Whether each step has to be on disk before the next.
    pub(super) fn has_barriers(&self) -> bool {
        self.barriers
    }

    /// Discards a layer's directory with its link, its tar-split and its data items, as far as they
    /// are there.
    pub(super) fn take_layer(&mut self, at: &Tree, layer: &LayerId) -> Result<(), Error> {
        self.take_layer_directory(at, layer.as_str())?;
        for name in [format!("{layer}.tar-split.gz"), layer.to_string()] {
            self.take_file(at, &format!("{LAYERS}/{name}"))?;
        }
        Ok(())
    }

    fn take_layer_directory(&mut self, at: &Tree, layer: &str) -> Result<(), Error> {
        let Some(_) = at.overlay.stat(layer)? else { return Ok(()) };
        let link = match at.overlay.read(format!("{layer}/link"), LINK_LIMIT_BYTES) {
            Err(Error::TooLarge { .. }) => None,
            read => read?,
        };
        // What is not a name of a link was not written by a tool; the layer goes anyway.
        if let Some(link) = link.and_then(|link| String::from_utf8(link).ok())
            && is_link_name(&link)
        {
            at.overlay.unlink(format!("l/{link}"))?;
            self.touched.insert(at.overlay.path().join("l"));
        }
        self.touched.insert(at.overlay.path().to_owned());
        self.count += 1;
        let entry = format!("{}-{layer}", self.count);
        let trees = match &mut self.trees {
            Some(trees) => trees,
            none => none.insert(TempDir::create(&at.overlay, Area::Trees)?),
        };
        at.overlay.rename_if_there(layer, trees.path_of(&entry)).map(|_| ())
    }

    /// Discards a directory that a dead writer used, named relative to the graph root.
    pub(super) fn take_staging(&mut self, at: &Tree, path: &Path) -> Result<(), Error> {
        let Ok(name) = path.strip_prefix(OVERLAY) else {
            return match path.to_str() {
                Some(path) => self.take_file(at, path),
                None => Ok(()),
            };
        };
        self.count += 1;
        let entry = format!("{}-staging", self.count);
        let trees = match &mut self.trees {
            Some(trees) => trees,
            none => none.insert(TempDir::create(&at.overlay, Area::Trees)?),
        };
        at.overlay.rename_if_there(name, trees.path_of(&entry)).map(|_| ())
    }

    /// Discards an image's data items, as far as they are there.
    pub(super) fn take_image(&mut self, at: &Tree, image: &ImageId) -> Result<(), Error> {
        self.take_file(at, &format!("{IMAGES}/{image}"))
    }

    /// Discards a container's directories, in which its owner and the runtime had their files, as far
    /// as they are there. The one below the run root is deleted at once: it is on another file
    /// system, and has a handful of files.
    pub(super) fn take_container(
        &mut self,
        at: &Tree,
        run_root: &Path,
        container: &str,
    ) -> Result<(), Error> {
        // An ID is a text of a record; one that is not a name has no directories.
        if !is_plain_name(container) {
            return Ok(());
        }
        self.take_file(at, &format!("{CONTAINERS}/{container}"))?;
        match Dir::open(&run_root.join(CONTAINERS)) {
            Ok(directory) => tree::delete(&directory, container),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Leaves word of what is being deleted; if `durable` it gets to the disk before the records that it is
    /// about.
    pub(super) fn intend(
        &mut self,
        at: &Tree,
        intent: &Intent,
        durable: bool,
    ) -> Result<(), Error> {
        let directory = self.files(at)?.open()?;
        let file = intent.draft(&directory)?;
        if durable {
            file.sync_data().map_err(Error::io("syncing", directory.path().join(DRAFT)))?;
        }
        Intent::declare(&directory)?;
        if self.barriers {
            directory.sync()?;
        }
        Ok(())
    }

    /// Deletes what was discarded on a thread of its own. What is left when the process ends is
    /// recovered as if it had died.
    pub(super) fn delete_apart(self) {
        // Without a thread it is done at once.
        if let Err(error) = thread::Builder::new().name("delete".into()).spawn(move || drop(self)) {
            tracing::debug!(%error, "no thread to delete with");
        }
    }

    /// Leaves the word of what is being deleted to recovery.
    pub(super) fn leave(&self) {
        self.files.iter().for_each(TempDir::leave);
    }

    /// Discards a path below the graph root.
    fn take_file(&mut self, at: &Tree, path: &str) -> Result<(), Error> {
        let Some(_) = at.root.stat(path)? else { return Ok(()) };
        self.touched.extend(at.root.path().join(path).parent().map(Path::to_owned));
        self.count += 1;
        let entry = format!("{}-{}", self.count, path.rsplit('/').next().unwrap_or_default());
        let to = format!("{LAYERS}/{}", self.files(at)?.path_of(&entry));
        match at.root.rename_if_there(path, to) {
            // A directory of the store is a mount of its own.
            Err(Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::CrossesDevices =>
            {
                tree::delete(&at.root, path)
            }
            result => result.map(|_| ()),
        }
    }

    fn files(&mut self, at: &Tree) -> Result<&TempDir, Error> {
        match &mut self.files {
            Some(files) => Ok(files),
            none => Ok(none.insert(TempDir::create(&at.layers, Area::Files)?)),
        }
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        if !self.barriers {
            return;
        }
        let synced =
            mem::take(&mut self.touched).iter().try_for_each(|path| Dir::open(path)?.sync());
        if let Err(error) = synced {
            tracing::warn!(?error, "deletion is left to recovery");
            self.leave();
        }
    }
}

/// Whether a text is the name of an entry of a directory.
fn is_plain_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\0'])
}

/// Whether a text can be the name of a symbolic link in `l/`; tools make 26 characters of Base32.
pub(super) fn is_link_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}
