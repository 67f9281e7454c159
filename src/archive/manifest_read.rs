//! From a manifest to an image, where everything a manifest lists is in a member of its own.

use super::found::LAYERS;
use super::{ArchivedImage, Error, Members};
use crate::image::{
    Descriptor, DiffId, Digest, ImageConfig, Manifest, ManifestKind, Platform, Reference,
};
use crate::layer::Unpacked;

/// An index may list indexes; more levels than this are a trap.
const MAX_DEPTH: usize = 4;

/// How a format names its members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// The member of a manifest that an index lists.
    pub(super) manifest: fn(&Digest) -> String,
    /// The member of a config or a layer.
    pub(super) blob: fn(&Digest) -> String,
}

/// Members that are named by the digest of what is in them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blobs<'a, L> {
    pub(super) members: &'a Members<L>,
    pub(super) names: Names,
    /// What to choose from an index.
    pub(super) platform: &'a Platform,
}

/// A manifest that lists no others.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) manifest: Manifest,
    /// What it was chosen from.
    index: Option<Manifest>,
}

impl<L: AsRef<Unpacked>> Blobs<'_, L> {
    /// The image of a manifest, or that for the platform of an index.
    pub(super) fn image(
        &self,
        first: Manifest,
        names: Vec<Reference>,
    ) -> Result<ArchivedImage, Error> {
        self.chosen_image(self.chosen(first)?, names)
    }

    /// A manifest as it is, or that for the platform of an index.
    pub(super) fn chosen(&self, first: Manifest) -> Result<Chosen, Error> {
        let (manifest, index) = if first.kind().is_list() {
            (self.choose(&first, MAX_DEPTH)?, Some(first))
        } else {
            (first, None)
        };
        Ok(Chosen { manifest, index })
    }

    /// The image of a manifest that was chosen.
    pub(super) fn chosen_image(
        &self,
        Chosen { manifest, index }: Chosen,
        names: Vec<Reference>,
    ) -> Result<ArchivedImage, Error> {
        let config_descriptor = match (manifest.kind(), manifest.config()) {
            (ManifestKind::Oci | ManifestKind::Docker, Some(descriptor)) => descriptor,
            (kind, _) => return Err(Error::Unsupported(kind.media_type())),
        };
        let document = (self.names.blob)(&config_descriptor.digest);
        let config = self.document(config_descriptor, &document)?.clone();
        let parsed_config =
            ImageConfig::parse(&config).map_err(|source| Error::Json { document, source })?;
        let diff_ids = self.layers(&manifest, &parsed_config)?;
        Ok(ArchivedImage {
            index,
            config_digest: config_descriptor.digest.clone(),
            config,
            parsed_config,
            diff_ids,
            names,
            manifest,
        })
    }

    /// The manifest or index that a descriptor of an index stands for.
    pub(super) fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        let member = (self.names.manifest)(&descriptor.digest);
        parse(&member, self.document(descriptor, &member)?.clone())
    }

    /// Follows indexes to the image for the platform.
    fn choose(&self, index: &Manifest, depth: usize) -> Result<Manifest, Error> {
        if depth == 0 {
            return Err(Error::Limit { what: "nesting of image indexes", limit: MAX_DEPTH as u64 });
        }
        let offers = |entry: &&Descriptor| {
            entry.platform.as_ref().is_none_or(|offered| offered.satisfies(self.platform))
        };
        let matching = index.instances().iter().find(offers).ok_or_else(|| Error::NoInstance {
            architecture: self.platform.architecture.clone(),
            variant: self.platform.variant.clone(),
            os: self.platform.os.clone(),
        })?;
        let chosen = self.manifest(matching)?;
        if chosen.kind().is_list() { self.choose(&chosen, depth - 1) } else { Ok(chosen) }
    }

    /// Checks that each listed layer arrived with the listed digest and length, and holds what the
    /// config says.
    fn layers(&self, manifest: &Manifest, config: &ImageConfig) -> Result<Vec<DiffId>, Error> {
        let listed = manifest.layers();
        let diff_ids = config.diff_ids();
        if listed.len() != diff_ids.len() {
            return Err(Error::LayerCount { manifest: listed.len(), config: diff_ids.len() });
        }
        if listed.len() > LAYERS {
            return Err(Error::Limit {
                what: "number of layers of an image",
                limit: LAYERS as u64,
            });
        }
        for (descriptor, expected) in listed.iter().zip(diff_ids) {
            let path = (self.names.blob)(&descriptor.digest);
            if !self.members.contains(&path) {
                return Err(Error::MissingBlob(path));
            }
            let layer = self.members.layer(&path)?.as_ref();
            let differs = |expected: &dyn ToString, got: &dyn ToString| Error::Digest {
                expected: expected.to_string(),
                got: got.to_string(),
            };
            if layer.compressed_digest != descriptor.digest {
                return Err(differs(&descriptor.digest, &layer.compressed_digest));
            }
            if layer.compressed_size != descriptor.size {
                return Err(Error::Size {
                    what: path,
                    expected: descriptor.size,
                    got: layer.compressed_size,
                });
            }
            if layer.diff_id != *expected {
                return Err(differs(expected, &layer.diff_id));
            }
        }
        Ok(diff_ids.to_vec())
    }

    /// A small member, its digest and length verified.
    fn document(&self, descriptor: &Descriptor, member: &str) -> Result<&bytes::Bytes, Error> {
        let content =
            self.members.document(member).ok_or_else(|| Error::MissingBlob(member.to_owned()))?;
        let got = Digest::of(content);
        if got != descriptor.digest {
            return Err(Error::Digest {
                expected: descriptor.digest.to_string(),
                got: got.to_string(),
            });
        }
        if content.len() as u64 != descriptor.size {
            return Err(Error::Size {
                what: member.to_owned(),
                expected: descriptor.size,
                got: content.len() as u64,
            });
        }
        Ok(content)
    }
}

/// Reads a manifest or an index.
pub(super) fn parse(document: &str, raw: bytes::Bytes) -> Result<Manifest, Error> {
    Manifest::parse(raw).map_err(|source| Error::Manifest { document: document.to_owned(), source })
}
