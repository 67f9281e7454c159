//! Unpacking layers, outside of all locks, into directories that are not part of the store yet.

use std::fs::File;
use std::io::{self, PipeWriter, Read};
use std::os::fd::OwnedFd;
use std::thread;

use super::dir::Dir;
use super::overlay::Tree;
use super::tempdir::{Area, TempDir};
use super::{Error, Snapshot, Store};
use crate::image::{DiffId, LayerId};
use crate::layer::{self, Compression, UnpackOptions, Unpacked, Whiteouts};
use crate::sys::Cancel;

/// What a staged layer is called in its temporary directory, in containers/storage, too.
pub(super) const STAGED: &str = "0-addition";
/// Mode of the root of a base layer. Those of other layers get the mode of their parents' roots.
pub(super) const ROOT_MODE: u32 = 0o555;

/// A layer that is unpacked, but not part of the store. Dropping it deletes it.
#[derive(Debug)]
pub struct StagedLayer {
    /// Holds the future directory of the layer.
    pub(super) trees: TempDir,
    /// Holds its tar-split.
    pub(super) files: TempDir,
    unpacked: Unpacked,
}

impl StagedLayer {
    /// Digest of the uncompressed tar.
    pub fn diff_id(&self) -> &DiffId {
        &self.unpacked.diff_id
    }

    /// What was found out while unpacking.
    pub fn info(&self) -> &Unpacked {
        &self.unpacked
    }

    /// The future directory of the layer.
    pub(super) fn directory(&self) -> Result<Dir, Error> {
        self.trees.open()?.sub_nofollow(STAGED)
    }

    fn tar_split(&self) -> Result<File, Error> {
        let directory = self.files.open()?;
        directory.open_file(STAGED)?.ok_or_else(|| {
            Error::io("opening", directory.path().join(STAGED))(io::ErrorKind::NotFound.into())
        })
    }
}

impl Store {
    /// Unpacks a layer, compressed or not. It becomes part of the store with
    /// [`Store::commit`].
    ///
    /// # Errors
    /// [`Error::Layer`] for what is wrong with the layer itself, or with writing its files.
    pub fn stage(&self, input: impl Read + Send, cancel: &Cancel) -> Result<StagedLayer, Error> {
        let options = self.inner.unpack_options();
        let unpack = |root: &OwnedFd, tar_split: File| {
            layer::unpack(input, root, tar_split, &options, cancel)
        };
        self.stage_with(unpack, cancel)
    }

    /// Stages what `unpack` puts into an empty directory, with the tar-split that it writes.
    pub(super) fn stage_with(
        &self,
        unpack: impl FnOnce(&OwnedFd, File) -> layer::Result<Unpacked>,
        cancel: &Cancel,
    ) -> Result<StagedLayer, Error> {
        self.inner.check_writable()?;
        let tree = Tree::open(&self.inner.options.graph_root)?;
        let trees = TempDir::create(&tree.overlay, Area::Trees)?;
        let files = TempDir::create(&tree.layers, Area::Files)?;
        let root = trees.open()?.mkdir(STAGED, 0o700)?.mkdir("diff", ROOT_MODE)?;
        let tar_split = files.open()?.create(STAGED, 0o600)?;
        let meanwhile =
            self.inner.durable().then(|| self.inner.early_sync.meanwhile(&tree.overlay));
        let unpacked = unpack(root.fd(), tar_split)?;
        drop(meanwhile);
        let staged = StagedLayer { trees, files, unpacked };
        if staged.unpacked.is_doubtful {
            // Other tools take it, and then it can be neither saved nor pushed, nor told from a
            // damaged one.
            layer::rebuild(staged.tar_split()?, &[root.into_fd()], io::sink(), cancel)?;
        }
        if self.inner.durable() {
            self.inner.early_sync.begin(&tree.overlay, staged.unpacked.diff_size);
        }
        Ok(staged)
    }

    /// Unpacks a staged layer once more, for an image that has it several times.
    pub(super) fn duplicate(
        &self,
        staged: &StagedLayer,
        cancel: &Cancel,
    ) -> Result<StagedLayer, Error> {
        let tar_split = staged.tar_split()?;
        let root = [staged.directory()?.sub_nofollow("diff")?.into_fd()];
        let write = |out: PipeWriter| {
            layer::rebuild(tar_split, &root, out, cancel)?;
            Ok(())
        };
        let mut copy = self.stage_written(&staged.trees.path_of(STAGED), write, cancel)?;
        // The record tells how the layer was received, which was not through our pipe.
        copy.unpacked = staged.unpacked.clone();
        Ok(copy)
    }

    /// Unpacks a layer of the store once more, for an image that has it in another place.
    ///
    /// # Errors
    /// As of [`Store::open_layer`] and [`Store::stage`].
    pub fn restage(
        &self,
        snapshot: &Snapshot,
        layer: &LayerId,
        cancel: &Cancel,
    ) -> Result<StagedLayer, Error> {
        let content = self.open_layer(snapshot, layer, cancel)?;
        let write = |out: PipeWriter| content.copy_to(out, cancel);
        let mut copy = self.stage_written(layer.as_str(), write, cancel)?;
        if let Some(stored) = snapshot.layer(layer)
            && let record = &stored.record
            && let Some(digest) = &record.compressed_digest
            && let Some(compression) = Compression::of_record(record.compression)
            && let Ok(size) = u64::try_from(record.compressed_size)
        {
            copy.unpacked.compressed_digest = digest.clone();
            copy.unpacked.compressed_size = size;
            copy.unpacked.compression = compression;
        }
        Ok(copy)
    }

    /// Stages the tar that `write` writes; `name` is for messages.
    fn stage_written(
        &self,
        name: &str,
        write: impl FnOnce(PipeWriter) -> Result<(), Error> + Send,
        cancel: &Cancel,
    ) -> Result<StagedLayer, Error> {
        let (reader, writer) = io::pipe().map_err(Error::io("opening a pipe for", name))?;
        let (written, copy) = thread::scope(|scope| {
            let writing = thread::Builder::new()
                .name("layer-copy".into())
                .spawn_scoped(scope, || write(writer))
                .map_err(Error::io("starting a thread for", name))?;
            // If this fails the pipe is closed, and so the other end fails, too.
            let copy = self.stage(reader, cancel);
            let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, Error>((written, copy))
        })?;
        // What is wrong with the source is told rather than what that did to the copy.
        written?;
        copy
    }
}

impl super::store::Inner {
    pub(super) fn unpack_options(&self) -> UnpackOptions {
        let mut options = UnpackOptions::default();
        options.user_namespace = self.user_namespace;
        options.whiteouts = if self.whiteout_files { Whiteouts::Files } else { Whiteouts::Native };
        options.ignore_chown_errors = self.options.overlay.ignore_chown_errors;
        options.limits = self.options.limits;
        options
    }

    /// Refuses changes to a store with features that are not implemented.
    pub(super) fn check_writable(&self) -> Result<(), Error> {
        if self.access == super::overlay::Access::Look {
            return Err(Error::OnlyLookedAt { graph_root: self.options.graph_root.clone() });
        }
        match super::overlay::read_only_feature(&self.options) {
            Some(feature) => Err(Error::UnsupportedFeature { feature }),
            None => Ok(()),
        }
    }
}

impl AsRef<Unpacked> for StagedLayer {
    fn as_ref(&self) -> &Unpacked {
        self.info()
    }
}
