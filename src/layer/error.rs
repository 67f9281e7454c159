//! What can go wrong with a layer.

use std::io;
use std::sync::Arc;

use super::Expansion;
use crate::sys::Canceled;

/// Why a layer could not be read, applied or rebuilt.
///
/// Names of entries are shown as they are in the tar, with bytes that are not text replaced.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked to stop.
    #[error(transparent)]
    Canceled(#[from] Canceled),
    /// The stream ended inside an entry, or inside its compressed form.
    #[error("unexpected EOF")]
    Truncated,
    /// The stream could not be read or decompressed.
    #[error("reading layer")]
    Read(#[source] Arc<io::Error>),
    /// Not a tar, or a damaged one.
    #[error("invalid tar at byte {offset}: {reason}")]
    Invalid {
        /// Where in the uncompressed stream.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A sparse file whose payload is not what it should be.
    #[error("malformed sparse file {name:?}: {reason}")]
    Sparse {
        /// Its name in the tar.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry of a type that layers do not have. The number is the type's byte in decimal, in
    /// the words of containers/storage: 83 is `S`, the old GNU form of sparse files.
    #[error("unhandled tar header type {0}")]
    UnhandledType(u8),
    /// An entry whose name leads upwards or is no name at all.
    #[error("invalid name {name:?} in layer")]
    Name {
        /// The name in the tar.
        name: String,
    },
    /// Two entries of one name. A tar-split addresses payloads by name, so such a layer could not be
    /// given out again; containers/storage says the same in the same words.
    #[error("duplicates of file paths not supported: {name:?}")]
    Duplicate {
        /// The second one's name.
        name: String,
    },
    /// More of something than [`Limits`](super::Limits) allows.
    #[error("layer exceeds the limit of {limit} {what}")]
    Limit {
        /// What there is too much of, as a plural.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// More comes out of a compressed stream than its length justifies.
    #[error(
        "compressed data is more than {} times as large when unpacked, which is allowed up to {} bytes",
        .0.ratio, .0.free
    )]
    Expansion(Expansion),
    /// An owner that does not exist in this user namespace.
    #[error(
        "owner {uid}:{gid} of {name:?} is not mapped into this user namespace: \
         check /etc/subuid and /etc/subgid"
    )]
    Owner {
        /// The entry's name.
        name: String,
        /// User ID the tar asks for.
        uid: u32,
        /// Group ID the tar asks for.
        gid: u32,
    },
    /// A file of the tree could not be made, changed or read.
    #[error("{operation} {name:?}")]
    Tree {
        /// What was tried, for example `creating file`.
        operation: &'static str,
        /// Path below the layer's root.
        name: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The tar-split could not be written.
    #[error("writing tar-split")]
    WriteTarSplit(#[source] Arc<io::Error>),
    /// The tar-split could not be read.
    #[error("reading tar-split")]
    ReadTarSplit(#[source] Arc<io::Error>),
    /// A line of the tar-split means nothing.
    #[error("malformed tar-split, line {line}: {reason}")]
    MalformedTarSplit {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A file the tar-split names is nowhere in the tree.
    #[error("file {name:?} is missing from the layer's tree")]
    Missing {
        /// Its name in the tar.
        name: String,
    },
    /// A file of the tree is not the one that was in the tar.
    #[error("file {name:?} of the layer's tree was changed: {reason}")]
    Changed {
        /// Its name in the tar.
        name: String,
        /// In which way.
        reason: &'static str,
    },
    /// A tree says by an attribute of overlayfs that its content, or what was there before, is
    /// elsewhere. Only a mount can read that.
    #[error(
        "{name:?} has the attribute {attribute}: layers made with the mount options redirect_dir or metacopy cannot be read"
    )]
    Redirected {
        /// Path below the tree's root.
        name: String,
        /// The attribute.
        attribute: String,
    },
    /// The threads that were to unpack it could not be kept from reaching other files.
    #[error("confining the threads that unpack a layer")]
    Confine(#[source] Arc<io::Error>),
    /// A thread of ours ended early, which is a bug.
    #[error("thread that creates files panicked")]
    Thread,
    /// The rebuilt tar could not be passed on.
    #[error("writing layer")]
    Write(#[source] Arc<io::Error>),
}

impl Error {
    /// Whether the layer may be fine, but is more than [`Limits`](super::Limits) allow.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Limit { .. } | Self::Expansion(_))
    }

    pub(super) fn tree(operation: &'static str, name: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Tree { operation, name: lossy(name), source: Arc::new(source.into()) }
    }

    pub(super) fn confine(source: io::Error) -> Self {
        Self::Confine(Arc::new(source))
    }

    pub(super) fn write_tar_split(source: io::Error) -> Self {
        Self::WriteTarSplit(Arc::new(source))
    }

    pub(super) fn write(source: io::Error) -> Self {
        match source.downcast::<Canceled>() {
            Ok(canceled) => Self::Canceled(canceled),
            Err(source) => Self::Write(Arc::new(source)),
        }
    }

    pub(super) fn read_tar_split(source: io::Error) -> Self {
        Self::ReadTarSplit(Arc::new(source))
    }
}

impl From<io::Error> for Error {
    /// What an error of the stream that is read means. Readers between us and its source can only
    /// speak in [`io::Error`]s, so a cancellation or an error of ours may be wrapped in one.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Truncated;
        }
        match error.downcast::<Canceled>() {
            Ok(canceled) => Self::Canceled(canceled),
            Err(error) => match error.downcast::<Self>() {
                Ok(error) => error,
                Err(error) => Self::Read(Arc::new(error)),
            },
        }
    }
}

impl From<Error> for io::Error {
    /// For readers of tar entries inside other readers.
    fn from(error: Error) -> Self {
        match error {
            Error::Canceled(canceled) => canceled.into(),
            Error::Truncated => io::ErrorKind::UnexpectedEof.into(),
            other => Self::other(other),
        }
    }
}

/// A name for messages.
pub(super) fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
