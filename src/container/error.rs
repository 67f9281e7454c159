//! What can go wrong with the books of other tools.

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::{Canceled, LockError};

/// Why a container's owner could not be asked, or its processes not be found or frozen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller gave up.
    #[error(transparent)]
    Canceled(#[from] Canceled),
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
    /// A file is not what it should be.
    #[error("malformed file {path:?}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A text is not the JSON it should be.
    #[error("malformed JSON in {path:?}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// SQLite's own words.
    #[error("reading {path:?}")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
    /// Its owner did not let go of a database.
    #[error("{path:?} is locked by another program")]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// A volume that a container uses is not in the database.
    #[error("volume {volume} used in container {container} has been removed")]
    VolumeRemoved {
        /// Its name.
        volume: String,
        /// The container's ID.
        container: String,
    },
    /// The processes went on.
    #[error("control group {group:?} was not frozen in time")]
    NotFrozen {
        /// Directory of the group.
        group: PathBuf,
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
}
