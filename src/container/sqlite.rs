//! Reading Podman's SQLite database.
//!
//! It is opened for reading only, and with a rollback journal, which Podman uses, a reader makes no
//! files and changes none; it takes a shared lock for the length of one look. A database with a
//! write-ahead log would need files beside it even for reading, so it is refused.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::file::{self, LIMIT_BYTES};
use super::{Error, Result};
use crate::sys::Cancel;

/// How long a writer may keep the database; Podman itself waits for 100 seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
/// Instructions of SQLite's machine between two looks at the cancellation.
const INSTRUCTIONS: i32 = 10_000;

/// SQLite locks with POSIX locks, which a process loses when it closes any other descriptor of the
/// file, as the look at the header does. So one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What a database says about a container.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) config: Vec<u8>,
    pub(super) state: Vec<u8>,
    /// The ID of a container that depends on it, if there is one.
    pub(super) dependent: Option<String>,
    /// For each volume that was asked for its configuration.
    pub(super) volumes: Vec<(String, Option<Vec<u8>>)>,
}

/// Looks a container up; `None` if there is no database, or it does not know the container.
/// `volumes` says which volumes are of interest, from the configuration of the container.
pub(super) fn look_up(
    path: &Path,
    id: &str,
    volumes: impl Fn(&[u8]) -> Result<Vec<String>>,
    cancel: &Cancel,
) -> Result<Option<Row>> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !check_header(path)? {
        return Ok(None);
    }
    let start = Instant::now();
    loop {
        match attempt(path, id, &volumes, cancel) {
            Err(Error::Sqlite { source, .. }) if is_busy(&source) => {}
            result => return result,
        }
        cancel.check()?;
        if start.elapsed() > PATIENCE {
            return Err(Error::Busy { path: path.to_owned() });
        }
        thread::sleep(PAUSE);
    }
}

/// Whether there is a database, of the kind that can be read without a trace.
fn check_header(path: &Path) -> Result<bool> {
    let Some(file) = file::open(path)? else { return Ok(false) };
    let mut versions = [0; 2];
    match file.read_exact_at(&mut versions, 18) {
        Ok(()) if versions == [1, 1] => Ok(true),
        Ok(()) => {
            let reason = "its journal is not one of the kind that Podman uses";
            Err(Error::Damaged { path: path.to_owned(), reason })
        }
        // Just made, and nothing written yet.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(Error::io("reading", path)(error)),
    }
}

fn attempt(
    path: &Path,
    id: &str,
    volumes: impl Fn(&[u8]) -> Result<Vec<String>>,
    cancel: &Cancel,
) -> Result<Option<Row>> {
    let failed = |source| Error::Sqlite { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    let told = cancel.clone();
    connection.progress_handler(INSTRUCTIONS, Some(move || told.is_canceled())).map_err(failed)?;
    let limit = i32::try_from(LIMIT_BYTES).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit).map_err(failed)?;
    // What a file says about functions and sizes of cells is not believed.
    connection
        .execute_batch("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;")
        .map_err(failed)?;
    // One transaction, so that all of it is from one moment.
    let transaction = connection.transaction().map_err(failed)?;
    let known = |table: &str| {
        transaction
            .query_row(
                "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1",
                [table],
                |_| Ok(()),
            )
            .optional()
            .map_err(failed)
    };
    if known("ContainerConfig")?.is_none() || known("ContainerState")?.is_none() {
        return Ok(None);
    }
    // The columns are declared as texts and hold blobs, or the other way round.
    let row = transaction
        .query_row(
            "SELECT CAST(c.JSON AS BLOB), CAST(s.JSON AS BLOB) \
             FROM ContainerConfig c JOIN ContainerState s ON s.ID = c.ID WHERE c.ID = ?1",
            [id],
            |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)),
        )
        .optional()
        .map_err(failed)?;
    let Some((config, state)) = row else { return Ok(None) };
    let mut found = Vec::new();
    for name in volumes(&config)? {
        let volume = transaction
            .query_row(
                "SELECT CAST(JSON AS BLOB) FROM VolumeConfig WHERE Name = ?1",
                [&name],
                |row| row.get::<_, Vec<u8>>(0),
            )
            .optional()
            .map_err(failed)?;
        found.push((name, volume));
    }
    let mut dependent = None;
    if known("ContainerDependency")?.is_some() {
        dependent = transaction
            .query_row(
                "SELECT ID FROM ContainerDependency WHERE DependencyID = ?1 LIMIT 1",
                [id],
                |row| row.get(0),
            )
            .optional()
            .map_err(failed)?;
    }
    Ok(Some(Row { config, state, dependent, volumes: found }))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OperationInterrupted)
    )
}
