//! Content digests as the OCI image specification writes them: `algorithm:hex`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A digest in its textual form, for example `sha256:9f86d0…`.
///
/// Any algorithm name the OCI grammar allows is kept, so that a record naming an algorithm we do
/// not compute survives; only SHA-256 digests are ever calculated or used to name files.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Box<str>);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest {0:?}")]
pub struct DigestError(String);

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_sha256(Sha256::digest(bytes).into())
    }

    /// The digest whose SHA-256 value is `value`.
    pub fn from_sha256(value: [u8; 32]) -> Self {
        Self(format!("sha256:{}", hex(&value)).into())
    }

    /// The part before the colon.
    pub fn algorithm(&self) -> &str {
        self.split().0
    }

    /// The part after the colon, lower-case hexadecimal.
    pub fn hex(&self) -> &str {
        self.split().1
    }

    /// Whether this is a SHA-256 digest of the right length, the only kind we can verify.
    pub fn is_sha256(&self) -> bool {
        let (algorithm, hex) = self.split();
        algorithm == "sha256" && hex.len() == 64
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn split(&self) -> (&str, &str) {
        self.0.split_once(':').expect("checked when parsed")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let wrong = || DigestError(text.to_owned());
        let (algorithm, hex) = text.split_once(':').ok_or_else(wrong)?;
        let algorithm_ok = !algorithm.is_empty()
            && algorithm
                .split(['+', '.', '_', '-'])
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()));
        let hex_ok = match algorithm {
            "sha256" => hex.len() == 64,
            "sha384" => hex.len() == 96,
            "sha512" => hex.len() == 128,
            _ => (32..=256).contains(&hex.len()),
        } && is_lower_hex(hex);
        if algorithm_ok && hex_ok { Ok(Self(text.into())) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 digest of a layer's **uncompressed** tar.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Digest", into = "Digest")]
pub struct DiffId(Digest);

impl DiffId {
    /// The diff ID whose SHA-256 value is `value`.
    pub fn from_sha256(value: [u8; 32]) -> Self {
        Self(Digest::from_sha256(value))
    }

    /// The digest itself.
    pub fn digest(&self) -> &Digest {
        &self.0
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        self.0.hex()
    }
}

impl TryFrom<Digest> for DiffId {
    type Error = DigestError;

    fn try_from(digest: Digest) -> Result<Self, DigestError> {
        if digest.is_sha256() { Ok(Self(digest)) } else { Err(DigestError(digest.into())) }
    }
}

impl FromStr for DiffId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse::<Digest>()?.try_into()
    }
}

impl From<DiffId> for Digest {
    fn from(id: DiffId) -> Self {
        id.0
    }
}

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(super) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_grammar_allows() {
        let a64 = "a".repeat(64);
        for (text, ok) in [
            (format!("sha256:{a64}"), true),
            (format!("sha256:{}", "A".repeat(64)), false),
            (format!("sha256:{}", "a".repeat(63)), false),
            (format!("sha512:{}", "a".repeat(128)), true),
            (format!("multihash+base58:{a64}"), true),
            (format!("+x:{a64}"), false),
            (format!("sha256:../{}", "a".repeat(61)), false),
            (a64, false),
            (String::new(), false),
        ] {
            assert_eq!(text.parse::<Digest>().is_ok(), ok, "{text}");
        }
    }

    #[test]
    fn hashes_like_sha256sum() {
        assert_eq!(
            Digest::of(b"abc").as_str(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
