//! Finding the image of an OCI image layout.

use std::collections::BTreeMap;

use super::{ArchivedImage, Error, Members};
use crate::image::{Descriptor, DiffId, ImageConfig, Manifest, ManifestKind, Platform, Reference};
use crate::layer::Unpacked;

const INDEX: &str = "index.json";
/// Where a name can stand, in order of preference.
const NAME_ANNOTATIONS: [&str; 2] =
    ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
/// An index may list indexes; more levels than this are a trap.
const MAX_DEPTH: usize = 4;

/// The image that `index.json` lists. An entry that is an index itself stands for the image for
/// `platform` in it. As with Podman, an archive of several images is none: nothing says which one.
pub fn oci_image<L: AsRef<Unpacked>>(
    members: &Members<L>,
    platform: &Platform,
) -> Result<ArchivedImage, Error> {
    let raw = members.document(INDEX).ok_or(Error::MissingIndex)?;
    let index = parse(INDEX, raw.clone())?;
    if !index.kind().is_list() {
        return Err(Error::Malformed("index.json is not an image index".into()));
    }
    match index.instances() {
        [entry] => image(entry, members, platform),
        _ => Err(Error::NotOneImage),
    }
}

fn image<L: AsRef<Unpacked>>(
    entry: &Descriptor,
    members: &Members<L>,
    platform: &Platform,
) -> Result<ArchivedImage, Error> {
    let names = name(&entry.annotations)?.into_iter().collect();
    let first = manifest(entry, members)?;
    let (manifest, index) = if first.kind().is_list() {
        (choose(&first, members, platform, MAX_DEPTH)?, Some(first))
    } else {
        (first, None)
    };
    let config_descriptor = match (manifest.kind(), manifest.config()) {
        (ManifestKind::Oci | ManifestKind::Docker, Some(descriptor)) => descriptor,
        (kind, _) => return Err(Error::Unsupported(kind.media_type())),
    };
    let config = blob(config_descriptor, members)?.clone();
    let document = member_of(config_descriptor);
    let parsed_config =
        ImageConfig::parse(&config).map_err(|source| Error::Json { document, source })?;
    let diff_ids = layers(&manifest, &parsed_config, members)?;
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

/// The name an entry is annotated with.
fn name(annotations: &BTreeMap<String, String>) -> Result<Option<Reference>, Error> {
    let mut given = NAME_ANNOTATIONS.iter().filter_map(|key| annotations.get(*key));
    let Some(name) = given.find(|name| !name.is_empty()) else { return Ok(None) };
    Reference::normalize_local(name)
        .map(Some)
        .map_err(|source| Error::Name { name: name.clone(), source })
}

/// Follows indexes to the image for `platform`.
fn choose<L: AsRef<Unpacked>>(
    index: &Manifest,
    members: &Members<L>,
    platform: &Platform,
    depth: usize,
) -> Result<Manifest, Error> {
    if depth == 0 {
        return Err(Error::Limit { what: "nesting of image indexes", limit: MAX_DEPTH as u64 });
    }
    let matching = index
        .instances()
        .iter()
        .find(|entry| entry.platform.as_ref().is_none_or(|offered| offered.satisfies(platform)))
        .ok_or_else(|| Error::NoInstance {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
        })?;
    let chosen = manifest(matching, members)?;
    if chosen.kind().is_list() { choose(&chosen, members, platform, depth - 1) } else { Ok(chosen) }
}

/// Checks that each listed layer arrived with the listed digest and length, and holds what the
/// config says.
fn layers<L: AsRef<Unpacked>>(
    manifest: &Manifest,
    config: &ImageConfig,
    members: &Members<L>,
) -> Result<Vec<DiffId>, Error> {
    let listed = manifest.layers();
    let diff_ids = config.diff_ids();
    if listed.len() != diff_ids.len() {
        return Err(Error::LayerCount { manifest: listed.len(), config: diff_ids.len() });
    }
    for (descriptor, expected) in listed.iter().zip(diff_ids) {
        let path = member_of(descriptor);
        if !members.contains(&path) {
            return Err(Error::MissingBlob(path));
        }
        let layer = members.layer(&path)?.as_ref();
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

fn manifest<L>(descriptor: &Descriptor, members: &Members<L>) -> Result<Manifest, Error> {
    parse(&member_of(descriptor), blob(descriptor, members)?.clone())
}

/// A small blob, its digest and length verified.
fn blob<'a, L>(
    descriptor: &Descriptor,
    members: &'a Members<L>,
) -> Result<&'a bytes::Bytes, Error> {
    let path = member_of(descriptor);
    let content = members.document(&path).ok_or_else(|| Error::MissingBlob(path.clone()))?;
    let got = crate::image::Digest::of(content);
    if got != descriptor.digest {
        return Err(Error::Digest {
            expected: descriptor.digest.to_string(),
            got: got.to_string(),
        });
    }
    if content.len() as u64 != descriptor.size {
        return Err(Error::Size {
            what: path,
            expected: descriptor.size,
            got: content.len() as u64,
        });
    }
    Ok(content)
}

fn parse(document: &str, raw: bytes::Bytes) -> Result<Manifest, Error> {
    Manifest::parse(raw).map_err(|source| Error::Manifest { document: document.to_owned(), source })
}

fn member_of(descriptor: &Descriptor) -> String {
    format!("blobs/{}/{}", descriptor.digest.algorithm(), descriptor.digest.hex())
}
