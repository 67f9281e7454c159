//! Data items of images and layers: small files beside the records, named by keys.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::dir::Dir;
use super::overlay::IMAGES;
use super::{Error, Store, StoredImage};

/// Longest item that is read, in bytes. Other tools limit configs and manifests to 4 MiB.
pub(super) const LIMIT_BYTES: u64 = 16 << 20;

/// Name of the file that holds the item `key`: the key itself if it is harmless, else `=` and its
/// Base64 form. As in containers/storage, whose test leaves out the last character.
pub(super) fn file_name(key: &str) -> Cow<'_, str> {
    let bytes = key.as_bytes();
    let tested = bytes.split_last().map_or(bytes, |(_, tested)| tested);
    let harmless = tested.iter().all(|b| matches!(b, b'.' | b'0'..=b'9' | b'a'..=b'z'));
    // The quirk would let a key name a directory.
    if harmless && !key.ends_with('/') && !matches!(key, "" | "." | "..") {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(format!("={}", STANDARD.encode(key)))
    }
}

impl Store {
    /// A data item of an image, for example its manifest. Items are replaced as a whole, so no lock
    /// is needed.
    pub fn image_data(&self, image: &StoredImage, key: &str) -> Result<Bytes, Error> {
        read(image, key)
    }
}

pub(super) fn read(image: &StoredImage, key: &str) -> Result<Bytes, Error> {
    let id = &image.record.id;
    let missing = || Error::NoSuchItem { image: id.clone(), key: key.to_owned() };
    let directory = Dir::open(&image.graph_root.join(IMAGES).join(id.as_str()))
        .map_err(|error| if error.is_not_found() { missing() } else { error })?;
    match directory.read(&*file_name(key), LIMIT_BYTES)? {
        Some(content) => Ok(content.into()),
        None => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_containers_storage_makes_them() {
        for (key, name) in [
            ("manifest", "manifest"),
            ("instances.json", "instances.json"),
            ("sha256:a", "=c2hhMjU2OmE="),
            ("manifest-sha256:4ba4", "=bWFuaWZlc3Qtc2hhMjU2OjRiYTQ="),
            ("abcX", "abcX"),
            ("aXbc", "=YVhiYw=="),
            ("../x", "=Li4veA=="),
            ("ab/", "=YWIv"),
            ("..", "=Li4="),
            (".", "=Lg=="),
            ("", "="),
        ] {
            assert_eq!(file_name(key), name, "{key:?}");
        }
    }
}
