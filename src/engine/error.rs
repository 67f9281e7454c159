//! Why an operation failed: a closed list of kinds, and the chain of texts that clients see.
//!
//! The texts are part of the API (clients compare them), so an error carries its whole chain,
//! outermost first. Joined with `": "` it is the message; its last element is the cause.

use std::borrow::Cow;
use std::fmt;

pub use crate::image::Refusal;

/// Shorthand for results of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means. The API layer maps each to a status in one `match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No image by that name or ID.
    NoSuchImage,
    /// No container by that name or ID.
    NoSuchContainer,
    /// No file of the host by that path.
    NoSuchFile,
    /// The image is used by a container.
    InUse,
    /// The image cannot lose or get that name.
    BadName,
    /// The text is not a reference, or names a transport that is not local.
    BadReference,
    /// A filter or option has no meaning.
    BadRequest,
    /// The archive is not one, is damaged, or lies about its content.
    BadArchive,
    /// More than the configured limits allow.
    TooLarge,
    /// The operation conflicts with the state of the image.
    Conflict,
    /// Not permitted: a read-only store, or a policy.
    Denied,
    /// Another server did not answer as it should.
    Registry,
    /// A registry refused, in its protocol's words.
    Refused(Refusal),
    /// The program does not do this, or not for this store or image.
    Unsupported,
    /// The caller went away or the program is stopping.
    Canceled,
    /// No space, quota or descriptors left.
    Exhausted,
    /// The store could not be read or written.
    Storage,
}

/// An engine error. Cheap to move, never logged twice: it is logged where it leaves the program.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    /// Outermost first; never empty.
    chain: Vec<String>,
    /// The innermost error's own text, where the chain shows another.
    cause: Option<String>,
    /// Text after the cause, where Podman wraps an error in the middle of a sentence.
    suffix: Cow<'static, str>,
}

impl Error {
    /// An error with a single text.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, chain: vec![text.into()], cause: None, suffix: "".into() }
    }

    /// An error made of `error` and everything that caused it. Nothing is lost as long as no
    /// `Display` repeats its source.
    pub fn from_source(kind: ErrorKind, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut chain = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next {
            chain.push(error.to_string());
            next = error.source();
        }
        Self { kind, chain, cause: None, suffix: "".into() }
    }

    /// The sentinel that Podman's clients look for.
    pub fn image_not_known() -> Self {
        Self::new(ErrorKind::NoSuchImage, "image not known")
    }

    /// The same error with one more text in front.
    #[must_use]
    pub fn context(mut self, text: impl Into<String>) -> Self {
        self.chain.insert(0, text.into());
        self
    }

    /// The same error, whose innermost one has another text than the message shows.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The same error with advice after the cause. Only the message shows it.
    #[must_use]
    pub fn with_advice(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.suffix = text.into();
        self
    }

    /// The same error, its chain frozen into a single text: what Podman does where it formats an
    /// inner error instead of wrapping it.
    #[must_use]
    pub fn flattened(self) -> Self {
        Self::new(self.kind, self.to_string())
    }

    /// The same error with another meaning, for callers to whom it means something else.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// What the error means.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The innermost text.
    pub fn cause(&self) -> &str {
        let last = self.chain.last().map_or("", String::as_str);
        self.cause.as_deref().unwrap_or(last)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain.join(": "))?;
        if !self.suffix.is_empty() {
            write!(f, ": {}", self.suffix)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_cause() {
        let error = Error::image_not_known().context("foo").context("failed to find image foo");
        assert_eq!(error.to_string(), "failed to find image foo: foo: image not known");
        assert_eq!(error.cause(), "image not known");
        assert_eq!(error.flattened().cause(), "failed to find image foo: foo: image not known");
    }
}
