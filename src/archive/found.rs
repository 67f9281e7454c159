//! The images of an archive, as they are found.

use super::{ArchivedImage, Error};

/// Bytes of the configs of all images. A document may list one config as often as it likes, and
/// each time it is parsed and kept; what all documents together may take is twice that at most.
const CONFIGS: u64 = 32 << 20;

/// Names of all images together. They stay in a file that every tool reads all the time.
const NAMES: usize = 10_000;

/// Layers of one image, as often as it lists them. Overlayfs takes 500.
pub(super) const LAYERS: usize = 1000;

/// A list of images that cannot grow without bounds.
#[derive(Debug, Default)]
pub(super) struct Found {
    images: Vec<ArchivedImage>,
    configs: u64,
    names: usize,
}

impl Found {
    /// Adds an image.
    pub(super) fn push(&mut self, image: ArchivedImage) -> Result<(), Error> {
        self.configs = self.configs.saturating_add(image.config.len() as u64);
        if self.configs > CONFIGS {
            return Err(Error::Limit { what: "size of all image configs", limit: CONFIGS });
        }
        self.names += image.names.len();
        if self.names > NAMES {
            return Err(Error::Limit { what: "number of names", limit: NAMES as u64 });
        }
        self.images.push(image);
        Ok(())
    }

    /// All of them.
    pub(super) fn into_images(self) -> Vec<ArchivedImage> {
        self.images
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::image::{Digest, ImageConfig, Manifest};

    #[test]
    fn one_config_cannot_be_listed_without_end() {
        let manifest = r#"{"schemaVersion":2,"manifests":[]}"#;
        let image = ArchivedImage {
            manifest: Manifest::parse(manifest).unwrap(),
            index: None,
            config: Bytes::from(vec![b' '; 4 << 20]),
            config_digest: Digest::of(b""),
            parsed_config: ImageConfig::default(),
            diff_ids: Vec::new(),
            names: Vec::new(),
        };
        let mut found = Found::default();
        for _ in 0..8 {
            found.push(image.clone()).unwrap();
        }
        let error = found.push(image).unwrap_err().to_string();
        assert_eq!(error, "size of all image configs exceeds the limit of 33554432");
        assert_eq!(found.into_images().len(), 8);
    }
}
