//! Why an archive cannot be read.

use std::io;

use crate::image::{ManifestError, ReferenceError};

/// What is wrong with an archive. Texts follow Podman's where clients see them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tar itself is damaged, or the stream broke off.
    #[error("reading the archive")]
    Read(#[source] crate::layer::Error),
    /// A document the format requires is not there.
    #[error("loading tar component {0:?}: file does not exist")]
    MissingComponent(String),
    /// As [`Error::MissingComponent`], for an OCI layout.
    #[error("loading index: open index.json: no such file or directory")]
    MissingIndex,
    /// The index of an OCI layout does not list exactly one image.
    #[error("loading index: more than one image in oci, choose an image")]
    NotOneImage,
    /// A blob that the index or a manifest names is not there, or a file of a directory.
    #[error("open {0}: no such file or directory")]
    MissingBlob(String),
    /// A file of a directory cannot be read.
    #[error("open {name}")]
    Open {
        /// Its name in the directory.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A document is not the JSON it should be.
    #[error("decoding {document}")]
    Json {
        /// Name of the member.
        document: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest or index is malformed.
    #[error("decoding {document}")]
    Manifest {
        /// Name of the member.
        document: String,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
    /// A tag in `manifest.json` is not one.
    #[error("Invalid tag {tag:?} in manifest item @{item}")]
    Tag {
        /// The text.
        tag: String,
        /// Index of the item.
        item: usize,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// A name in `manifest.json` is one without a tag.
    #[error("Invalid tag {tag} ({full}): does not contain a tag")]
    NoTag {
        /// The text.
        tag: String,
        /// The name that Docker takes it for.
        full: String,
    },
    /// A name in an annotation is not one.
    #[error("normalizing name {name:?}")]
    Name {
        /// The text.
        name: String,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// A layer that the manifest lists is not in the archive.
    #[error("Some layer tarfiles are missing in the tarball")]
    MissingLayer,
    /// A layer is not a layer.
    #[error("writing blob {member}")]
    BadLayer {
        /// Name of the member.
        member: String,
        /// Why it could not be unpacked.
        #[source]
        source: crate::layer::Error,
    },
    /// Content does not have the digest it is listed with.
    #[error("Digest did not match, expected {expected}, got {got}")]
    Digest {
        /// What the document says.
        expected: String,
        /// What the content has.
        got: String,
    },
    /// Content does not have the length it is listed with.
    #[error("{what}: size mismatch, expected {expected}, got {got}")]
    Size {
        /// What it is about.
        what: String,
        /// What the document says, in bytes.
        expected: u64,
        /// What was there, in bytes.
        got: u64,
    },
    /// The manifest and the config disagree about the layers.
    #[error("the manifest lists {manifest} layers, the config {config}")]
    LayerCount {
        /// Layers of the manifest.
        manifest: usize,
        /// Diff IDs of the config.
        config: usize,
    },
    /// An index offers nothing for this machine.
    #[error(
        "no image found in image index for architecture {architecture:?}, variant {variant:?}, OS {os:?}"
    )]
    NoInstance {
        /// Go architecture name.
        architecture: String,
        /// CPU variant.
        variant: String,
        /// Go operating system name.
        os: String,
    },
    /// A kind of manifest that has no layers to load.
    #[error("unsupported manifest type {0:?}")]
    Unsupported(&'static str),
    /// The archive is not of any format we read, or contradicts itself.
    #[error("{0}")]
    Malformed(String),
    /// There is more of something than is ever needed.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What is too large, or too many.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

impl Error {
    /// Whether the archive may be fine, but is more than limits allow.
    pub fn is_limit(&self) -> bool {
        match self {
            Self::Limit { .. } => true,
            Self::Read(error) | Self::BadLayer { source: error, .. } => error.is_limit(),
            _ => false,
        }
    }

    /// The member for want of which no image was found.
    pub(super) fn missing(&self) -> Option<&str> {
        match self {
            Self::MissingBlob(name) => Some(name),
            _ => None,
        }
    }
}

/// What happened to a member that looked like a layer.
#[derive(Debug)]
pub enum StageError<E> {
    /// The member is no usable layer. This matters only if an image lists it.
    Content(crate::layer::Error),
    /// Nothing more can be done: no space, canceled, a broken store.
    Fatal(E),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
