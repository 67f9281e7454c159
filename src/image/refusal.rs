//! How registries say no.

/// What a registry said no with, where it said so in its protocol's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Nobody knows who asks.
    Unauthorized,
    /// Who asks may not.
    Denied,
    /// There is no such repository, manifest, blob or upload.
    Unknown,
    /// The registry does not do that.
    Unsupported,
    /// Too often.
    TooManyRequests,
    /// Not now.
    Unavailable,
    /// What was sent is wrong.
    Invalid,
}
