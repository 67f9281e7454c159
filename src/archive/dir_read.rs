//! Finding the image of a directory that the transport `dir:` wrote: a manifest of any kind beside
//! files that are named by their digests.

use super::manifest_read::{Blobs, Names, parse};
use super::{ArchivedImage, Error, Members};
use crate::image::{Digest, Platform};
use crate::layer::Unpacked;

const MANIFEST: &str = "manifest.json";
const VERSION: &str = "version";
const VERSION_PREFIX: &str = "Directory Transport Version: ";
/// The newest version of the format: 1.2 has digests other than SHA-256.
const NEWEST: (u32, u32) = (1, 2);

/// The image of the directory, or that for `platform` if it has several. It has no name.
pub fn dir_image<L: AsRef<Unpacked>>(
    members: &Members<L>,
    platform: &Platform,
) -> Result<ArchivedImage, Error> {
    match members.document(VERSION) {
        Some(version) => check_version(version)?,
        // Directories of old tools have none.
        None if members.is_known(VERSION) => {}
        None => return Err(Error::MissingBlob(VERSION.into())),
    }
    let raw = members.document(MANIFEST).ok_or_else(|| Error::MissingBlob(MANIFEST.into()))?;
    let names = Names { manifest: manifest_of, blob: file_of };
    Blobs { members, names, platform }.image(parse(MANIFEST, raw.clone())?, Vec::new())
}

fn check_version(content: &[u8]) -> Result<(), Error> {
    let text = String::from_utf8_lossy(content);
    let version = text
        .strip_prefix(VERSION_PREFIX)
        .and_then(|rest| rest.strip_suffix('\n'))
        .and_then(|version| version.split_once('.'))
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match version {
        None => Err(Error::Malformed(format!("invalid version file content: {text:?}"))),
        Some(version) if version > NEWEST => {
            Err(Error::Malformed(format!("unsupported directory transport version {text:?}")))
        }
        Some(_) => Ok(()),
    }
}

fn manifest_of(digest: &Digest) -> String {
    format!("{}.{MANIFEST}", file_of(digest))
}

fn file_of(digest: &Digest) -> String {
    if digest.is_sha256() {
        digest.hex().to_owned()
    } else {
        format!("{}-{}", digest.algorithm(), digest.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (content, text) in [
            ("Directory Transport Version: 1.1\n", ""),
            ("Directory Transport Version: 1.2\n", ""),
            ("Directory Transport Version: 0.9\n", ""),
            ("Directory Transport Version: 1.3\n", "unsupported"),
            ("Directory Transport Version: 2.0\n", "unsupported"),
            ("Directory Transport Version: 1.1", "invalid"),
            ("Directory Transport Version: 1\n", "invalid"),
            ("1.1\n", "invalid"),
            ("", "invalid"),
        ] {
            let error = check_version(content.as_bytes()).err().map(|error| error.to_string());
            let starts = error.as_deref().unwrap_or_default().starts_with(text);
            assert_eq!((error.is_some(), starts), (!text.is_empty(), true), "{content:?}");
        }
    }

    #[test]
    fn names() {
        let digest = Digest::of(b"");
        assert_eq!(file_of(&digest), digest.hex());
        assert_eq!(manifest_of(&digest), format!("{}.manifest.json", digest.hex()));
        let other: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        assert_eq!(file_of(&other), format!("sha512-{}", "ab".repeat(64)));
    }
}
