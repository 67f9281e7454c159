//! What goes wrong with other servers, in the words of the tools written in Go, since clients show
//! them.

use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;

use crate::image::{Digest, Refusal};
use crate::sys;

/// Shorthand for results of this module.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request cannot be made: no URL, or none of a kind that is served.
    BadRequest,
    /// The server cannot be reached, or the connection failed.
    Network,
    /// The registry wants to be asked by somebody else.
    Unauthorized,
    /// The server answered, but not what was asked for.
    Answer,
    /// The host's policy does not let the image in, or cannot be read.
    Rejected,
    /// This machine has no space, memory or descriptors left.
    Exhausted,
}

impl ErrorKind {
    /// What it means that a file of this machine could not be read: `usually` this.
    pub(crate) fn of_reading(error: &io::Error, usually: Self) -> Self {
        match Errno::from_io_error(error) {
            Some(errno) if sys::is_exhaustion(errno) => Self::Exhausted,
            _ => usually,
        }
    }
}

/// A failure with a chain of texts, outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    /// Never empty.
    chain: Vec<String>,
    /// What the innermost error is called where its text does not show it.
    cause: Option<String>,
    refusal: Option<Refusal>,
    /// It may go better next time.
    transient: bool,
    /// How long the server wants to be left alone.
    retry_after: Option<Duration>,
}

impl Error {
    /// A failure with a single text.
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            chain: vec![text.into()],
            cause: None,
            refusal: None,
            transient: false,
            retry_after: None,
        }
    }

    /// A blob that ended after `received` of `size` bytes.
    pub(crate) fn unexpected_end(digest: &Digest, received: u64, size: u64) -> Self {
        Self::new(ErrorKind::Network, "unexpected EOF")
            .context(format!("reading blob {digest}: {received} of {size} bytes"))
            .transient(None)
    }

    /// The same failure with one more text in front.
    #[must_use]
    pub(crate) fn context(mut self, text: impl Into<String>) -> Self {
        self.chain.insert(0, text.into());
        self
    }

    /// The same failure, whose innermost error has another text than is shown.
    #[must_use]
    pub(crate) fn with_cause(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// The same failure as a single text.
    #[must_use]
    pub(crate) fn flattened(self) -> Self {
        Self::new(self.kind, self.to_string())
    }

    /// The same failure, which is a registry's no.
    #[must_use]
    pub(crate) fn with_refusal(self, refusal: Option<Refusal>) -> Self {
        Self { refusal, ..self }
    }

    /// The same failure, which may not be one next time, after a while if the server said so.
    #[must_use]
    pub(crate) fn transient(self, retry_after: Option<Duration>) -> Self {
        Self { transient: true, retry_after, ..self }
    }

    /// Whether it may go better next time.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// How long the server wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What the registry said no with.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The texts, outermost first, and what the innermost error is called.
    pub fn into_parts(self) -> (Vec<String>, String) {
        let last = || self.chain.last().cloned().unwrap_or_default();
        let cause = self.cause.clone().unwrap_or_else(last);
        (self.chain, cause)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain.join(": "))
    }
}

impl std::error::Error for Error {}
