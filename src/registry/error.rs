//! What goes wrong with other servers, in the words of the tools written in Go, since clients show
//! them.

use std::fmt;

/// Shorthand for results of this module.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request cannot be made: no URL, or none of a kind that is served.
    BadRequest,
    /// The server cannot be reached, or the connection failed.
    Network,
    /// The server answered, but not what was asked for.
    Answer,
}

/// A failure with a chain of texts, outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    /// Never empty.
    chain: Vec<String>,
}

impl Error {
    /// A failure with a single text.
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, chain: vec![text.into()] }
    }

    /// The same failure with one more text in front.
    #[must_use]
    pub(crate) fn context(mut self, text: impl Into<String>) -> Self {
        self.chain.insert(0, text.into());
        self
    }

    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The texts, outermost first.
    pub fn into_chain(self) -> Vec<String> {
        self.chain
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain.join(": "))
    }
}

impl std::error::Error for Error {}
