//! Image archives: reading and writing `docker-archive` and `oci-archive` tars, and tars of `dir`
//! directories, as streams. A tar of an `oci` directory is an `oci-archive`. The directories
//! themselves are read by [`gather`](gather::gather).
//!
//! Reading is one pass. [`scan`](scan::scan) walks the members of the tar and hands every one that
//! is a layer to the caller at once, because it will not come again; small documents are kept. When
//! the tar has ended, [`oci_image`], [`docker_images`], [`oci_images`] and [`dir_image`] say which
//! images the members make up, and check every digest on the way.
//!
//! Writing needs no temporary archive either: [`write_docker_archive`] streams everything,
//! [`write_oci_archive`] and [`write_docker_dir`] spool one compressed layer at a time, since a tar
//! header needs the length in advance.
//!
//! This module knows formats, not stores: layers come and go through closures.

mod blob;
mod dir_read;
mod docker_dir;
mod docker_read;
mod docker_write;
mod error;
mod found;
mod gather;
mod manifest_read;
mod oci_read;
mod oci_write;
mod scan;
mod tar_writer;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::image::{DiffId, Digest, ImageConfig, Manifest, Reference};

pub use blob::BlobOptions;
pub use dir_read::dir_image;
pub use docker_dir::write_docker_dir;
pub use docker_read::{docker_image, docker_images};
pub use docker_write::write_docker_archive;
pub use error::{Error, StageError};
pub use gather::{DirectoryFile, gather};
pub use oci_read::{
    oci_chosen_image, oci_directory_image, oci_directory_images, oci_image, oci_images,
};
pub use oci_write::write_oci_archive;
pub use scan::{Limits, Members, scan};

/// An image found in an archive, its documents verified.
#[derive(Debug, Clone)]
pub struct ArchivedImage {
    /// The manifest to store: the archive's own, or for `docker-archive` a synthesised one.
    pub manifest: Manifest,
    /// The index the manifest was chosen from, if any.
    pub index: Option<Manifest>,
    /// The config's bytes.
    pub config: Bytes,
    /// SHA-256 of `config`.
    pub config_digest: Digest,
    /// The config, parsed.
    pub parsed_config: ImageConfig,
    /// The layers, base first. Each is among the layers that were staged.
    pub diff_ids: Vec<DiffId>,
    /// Names in the order of the archive, normalised for storing.
    pub names: Vec<Reference>,
}

/// An image to be written to an archive.
#[derive(Debug, Clone)]
pub struct SavedImage {
    /// The stored manifest.
    pub manifest: Manifest,
    /// The stored config's bytes.
    pub config: Bytes,
    /// The layers, base first.
    pub layers: Vec<SavedLayer>,
    /// Names to write, full references.
    pub names: Vec<Reference>,
}

/// A layer to be written to an archive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SavedLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Length of the uncompressed tar in bytes.
    pub size: u64,
}
