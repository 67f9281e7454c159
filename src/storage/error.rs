//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use crate::image::{DiffId, ImageId, LayerId};
use crate::layer;
use crate::sys::{Canceled, LockError};

/// Failure of a store operation. Whatever it was, the store is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller gave up.
    #[error(transparent)]
    Canceled(#[from] Canceled),
    /// A layer could not be unpacked or rebuilt.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// The operating system refused.
    #[error("{operation} {path:?}")]
    Io {
        /// What was tried, for example "opening".
        operation: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file of the store is not what it should be. Nothing was written.
    #[error("malformed store file {path:?}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A record could not be turned into JSON.
    #[error("encoding a record for {path:?}")]
    Encode {
        /// The file it was for.
        path: PathBuf,
        /// The reason.
        source: serde_json::Error,
    },
    /// A file is longer than any sane one.
    #[error("{path:?} is longer than {limit_bytes} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// The store belongs to another graph driver.
    #[error("graph driver {driver:?} of {graph_root:?} is not supported, only overlay is")]
    UnsupportedDriver {
        /// The driver.
        driver: String,
        /// The store.
        graph_root: PathBuf,
    },
    /// Writing would need a feature that is not implemented; reading works.
    #[error("writing to a store with {feature} is not supported")]
    UnsupportedFeature {
        /// The option of storage.conf, or a property of a layer.
        feature: &'static str,
    },
    /// The store was not opened to be changed.
    #[error("{graph_root:?} was opened only to be looked at")]
    OnlyLookedAt {
        /// The store.
        graph_root: PathBuf,
    },
    /// There are containers in a place that is not configured, so who needs what is not known.
    #[error(
        "{path:?} has records, but the store is configured to keep them elsewhere (transient_store)"
    )]
    OtherRecords {
        /// The file.
        path: PathBuf,
    },
    /// The content of this kind of layer cannot be read, or built upon.
    #[error("layer {layer} is not supported: {reason}")]
    UnsupportedLayer {
        /// The layer.
        layer: LayerId,
        /// What about it.
        reason: &'static str,
    },
    /// What was to be changed is in an additional, read-only store.
    #[error("image {image} is in the read-only store {graph_root:?}")]
    ReadOnly {
        /// The image.
        image: ImageId,
        /// The store.
        graph_root: PathBuf,
    },
    /// Other tools kept changing what had to be repaired.
    #[error("the records of {graph_root:?} could not be repaired")]
    Unrepaired {
        /// The store.
        graph_root: PathBuf,
    },
    /// No such image.
    #[error("image {image} is not known")]
    ImageNotKnown {
        /// The ID asked for.
        image: ImageId,
    },
    /// No such layer.
    #[error("layer {layer} is not known")]
    LayerNotKnown {
        /// The ID asked for.
        layer: LayerId,
    },
    /// The image has no such data item.
    #[error("image {image} has no data item {key:?}")]
    NoSuchItem {
        /// The image.
        image: ImageId,
        /// The item.
        key: String,
    },
    /// A container was made from the image.
    #[error("image {image} is in use by container {container}")]
    InUse {
        /// The image.
        image: ImageId,
        /// The ID of the first such container.
        container: String,
    },
    /// A container that would have to go has a mount, in its layer or in its directories.
    #[error("container {container} is mounted")]
    ContainerMounted {
        /// Its ID.
        container: String,
    },
    /// A layer that would have to go is mounted.
    #[error("layer {layer} is mounted")]
    Mounted {
        /// The layer.
        layer: LayerId,
    },
    /// An image needs a layer that is neither in the store nor among those staged.
    #[error("layer {diff_id} is missing")]
    MissingLayer {
        /// Its diff ID.
        diff_id: DiffId,
    },
    /// The ID is taken by an image with other layers.
    #[error("image {image} already exists with other layers")]
    TopLayerDiffers {
        /// The ID.
        image: ImageId,
    },
    /// What was rebuilt is not what the record promises.
    #[error("content of layer {layer} is {found}, expected {expected}")]
    WrongContent {
        /// The layer.
        layer: LayerId,
        /// From the record: diff ID or size in bytes.
        expected: String,
        /// What came out.
        found: String,
    },
    /// Too many layers for one mount.
    #[error("an image of more than {max} layers cannot be mounted")]
    TooDeep {
        /// The limit.
        max: usize,
    },
}

impl Error {
    /// For `map_err`: `operation` failed on `path`.
    pub(super) fn io(
        operation: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.as_ref().to_owned(), source }
    }

    /// For `map_err`: taking the lock file `path` failed.
    pub(super) fn lock(path: impl AsRef<Path>) -> impl FnOnce(LockError) -> Self {
        move |error| match error {
            LockError::Canceled(canceled) => Self::Canceled(canceled),
            LockError::Io(source) => Self::io("locking", path)(source),
        }
    }

    /// For `map_err`: a record for the file `path` could not be encoded.
    pub(super) fn encode(path: impl AsRef<Path>) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Encode { path: path.as_ref().to_owned(), source }
    }

    /// Whether the reason is that the disk, or what its user may have of it, is full.
    pub(super) fn is_out_of_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// Whether the reason is that a file or directory does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
