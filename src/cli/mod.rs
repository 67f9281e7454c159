//! The commands for people: `check` and `repair`. They print to standard output what
//! [`crate::storage`] finds and does, as text or as one JSON document.

mod check;
mod repair;
mod words;

use std::io;

use crate::storage;

pub use check::check;
pub use repair::repair;

/// How it ended, which is the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is wrong, or nothing is wrong any more.
    Sound,
    /// Something is wrong.
    Findings,
}

/// Why it could not be told what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be looked at, or not be repaired.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// Nobody could be told.
    #[error("writing to standard output")]
    Output(#[from] io::Error),
}
