//! The version a client writes into the URL: its own.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// A client's version. No version is refused; it only switches compatibility behaviour on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl ApiVersion {
    /// Newer than every version there is: for requests without a version, or with one that is none.
    const NEWEST: Self = Self { major: u32::MAX, minor: 0, patch: 0 };
    /// From here on clients know what the last record of a push is.
    const FOUR_SIX: Self = Self { major: 4, minor: 6, patch: 0 };
    /// From here on clients send each list filter in one piece, and take an event for what it is.
    const FIVE: Self = Self { major: 5, minor: 0, patch: 0 };

    /// Reads `1`, `1.2` or `1.2.3`; what follows a `-` does not count.
    pub(crate) fn parse(text: &str) -> Self {
        let release = text.split('-').next().unwrap_or_default();
        let mut numbers = release.split('.').map(str::parse::<u32>);
        let mut next = || numbers.next().unwrap_or(Ok(0));
        match (next(), next(), next()) {
            (Ok(major), Ok(minor), Ok(patch)) => Self { major, minor, patch },
            _ => Self::NEWEST,
        }
    }

    /// Whether the client tears list filters apart at each `=` (clients before 5.0).
    pub(crate) fn splits_filters(self) -> bool {
        self < Self::FIVE
    }

    /// Whether the client knows the record with which a push ends well (since 4.6). Others fail at
    /// it.
    pub(crate) fn takes_manifest_digest(self) -> bool {
        self >= Self::FOUR_SIX
    }

    /// Whether the client crashes at an event without an exit code, or of a kind that it does not
    /// know (clients before 5.0).
    pub(crate) fn is_strict_about_events(self) -> bool {
        self < Self::FIVE
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ApiVersion {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self::NEWEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_clients_split_filters() {
        for (text, splits) in [
            ("4.3.1", true),
            ("4", true),
            ("1.40", true),
            ("4.9.9-rc1", true),
            ("5.0.0-dev", false),
            ("5", false),
            ("6.0.0", false),
            ("4.x", false),
            ("99999999999", false),
        ] {
            assert_eq!(ApiVersion::parse(text).splits_filters(), splits, "{text}");
        }
    }
}
