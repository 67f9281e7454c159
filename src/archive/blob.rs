//! Layers as blobs: files named after the digest of what is in them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

use sha2::{Digest as _, Sha256};

use super::tar_writer::TarWriter;
use super::{SavedImage, SavedLayer};
use crate::image::{Digest, LayerBlob, Manifest, Packing};
use crate::layer::{GzipWriter, Members};

/// How to write layers that are named by the digest of what is written.
pub struct BlobOptions<'a> {
    /// Pack layers with gzip; otherwise they stay as they are and nothing is spooled.
    pub compress: bool,
    /// Seconds since the epoch, for every member.
    pub mtime: u64,
    /// Makes an unnamed temporary file for one compressed layer.
    pub spool: &'a dyn Fn() -> io::Result<File>,
}

impl std::fmt::Debug for BlobOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobOptions").field("compress", &self.compress).finish_non_exhaustive()
    }
}

/// A blob that has been written.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Blob {
    /// The same, for a manifest.
    pub(super) fn packed(&self, packing: Packing) -> LayerBlob {
        LayerBlob { digest: self.digest.clone(), size: self.size, packing }
    }
}

/// Writes each layer of `image` once, under the name that `path_of` gives its blob. Answers the
/// blob of every layer, base first.
pub(super) fn write_layers<'a, W: Write>(
    tar: &mut TarWriter<W>,
    image: &'a SavedImage,
    options: &BlobOptions<'_>,
    path_of: impl Fn(&Digest) -> String,
    layer: &mut dyn FnMut(&mut dyn Write, usize) -> io::Result<()>,
) -> io::Result<Vec<Blob>> {
    let mut written: HashMap<&'a SavedLayer, Blob> = HashMap::new();
    let mut blobs = Vec::with_capacity(image.layers.len());
    for (index, saved) in image.layers.iter().enumerate() {
        let blob = match written.get(saved) {
            Some(blob) => blob.clone(),
            None if options.compress => {
                compressed_layer(tar, &(options.spool)()?, &path_of, |out| layer(out, index))?
            }
            None => {
                let digest = saved.diff_id.digest().clone();
                tar.file(&path_of(&digest), saved.size, |out| layer(out, index))?;
                Blob { digest, size: saved.size }
            }
        };
        written.insert(saved, blob.clone());
        blobs.push(blob);
    }
    Ok(blobs)
}

/// Whether these are the layers that `manifest` lists.
pub(super) fn same_blobs(manifest: &Manifest, layers: &[Blob]) -> bool {
    let listed = manifest.layers();
    listed.len() == layers.len()
        && listed
            .iter()
            .zip(layers)
            .all(|(old, new)| old.digest == new.digest && old.size == new.size)
}

/// Packs a layer into `spool` to learn its digest and length, then copies it out.
fn compressed_layer<W: Write>(
    tar: &mut TarWriter<W>,
    mut spool: &File,
    path_of: impl Fn(&Digest) -> String,
    layer: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Blob> {
    let mut gzip = GzipWriter::new(Hashing { out: spool, hash: Sha256::new(), size: 0 });
    layer(&mut gzip)?;
    let Hashing { hash, size, .. } = gzip.finish()?;
    let digest = Digest::from_sha256(hash.finalize().into());
    spool.rewind()?;
    tar.file(&path_of(&digest), size, |out| {
        io::copy(&mut io::BufReader::with_capacity(1 << 18, spool.take(size)), out)?;
        Ok(())
    })?;
    Ok(Blob { digest, size })
}

struct Hashing<W> {
    out: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Members for Hashing<W> {
    fn take(&mut self, member: Vec<u8>) -> io::Result<()> {
        self.hash.update(&member);
        self.size += member.len() as u64;
        self.out.write_all(&member)
    }
}
