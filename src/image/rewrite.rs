//! Manifests of stored images whose layers, or whose kind, are to be others than the stored one says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::{
    DockerDescriptor, DockerManifest, OciConfig, OciDescriptor, OciManifest, borrowed,
};
use super::{Descriptor, Digest, Manifest, ManifestKind, go_json, media_type};

/// What annotations about the inside of a zstd blob begin with. They are true of that blob only.
const CHUNKED: &str = "io.github.containers.zstd-chunked.";

/// How a layer's blob is packed, as media types tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// Not at all.
    #[default]
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard, which only OCI manifests can tell.
    Zstd,
}

impl Packing {
    /// What a media type of a layer tells; `None` if it is none that is known.
    pub fn of_media_type(text: &str) -> Option<Self> {
        match text {
            media_type::OCI_LAYER | media_type::DOCKER_LAYER => Some(Self::Plain),
            media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Some(Self::Gzip),
            media_type::OCI_LAYER_ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }

    fn oci_layer(self) -> &'static str {
        match self {
            Self::Plain => media_type::OCI_LAYER,
            Self::Gzip => media_type::OCI_LAYER_GZIP,
            Self::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }

    fn docker_layer(self) -> Option<&'static str> {
        match self {
            Self::Plain => Some(media_type::DOCKER_LAYER),
            Self::Gzip => Some(media_type::DOCKER_LAYER_GZIP),
            Self::Zstd => None,
        }
    }
}

/// The blob of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayerBlob {
    /// Digest of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// What they are.
    pub packing: Packing,
}

/// Why there is no such manifest.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// Docker manifests know no zstd.
    #[error("zstd compression is not supported for type {:?}", media_type::DOCKER_LAYER)]
    Zstd,
    /// A config that is none.
    #[error("malformed config")]
    Json(#[from] serde_json::Error),
}

/// An OCI manifest of the image that `stored` is of, with this config and these layers, base first.
/// `stored` itself if that is one and says the same.
pub fn oci_manifest(
    stored: &Manifest,
    config: &[u8],
    layers: &[LayerBlob],
) -> Result<Vec<u8>, RewriteError> {
    let is_oci = stored.kind() == ManifestKind::Oci;
    if is_oci && lists(stored, layers) {
        // Nothing had to change, so neither does the manifest's digest.
        return Ok(stored.raw().to_vec());
    }
    let config_type = match stored.config() {
        Some(descriptor) if is_oci => descriptor.media_type.as_str(),
        _ => media_type::OCI_CONFIG,
    };
    let digest = Digest::of(config);
    let annotations = |index: usize, blob: &LayerBlob| {
        let old = stored.layers().get(index).filter(|_| is_oci);
        let mut annotations = old.map(|old| borrowed(&old.annotations)).unwrap_or_default();
        if old.is_some_and(|old| old.digest != blob.digest) {
            annotations.retain(|key, _| !key.starts_with(CHUNKED));
        }
        annotations
    };
    let document = OciManifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST,
        config: OciDescriptor {
            media_type: config_type,
            digest: digest.as_str(),
            size: config.len() as u64,
            annotations: BTreeMap::new(),
        },
        layers: layers
            .iter()
            .enumerate()
            .map(|(index, blob)| OciDescriptor {
                media_type: blob.packing.oci_layer(),
                digest: blob.digest.as_str(),
                size: blob.size,
                annotations: annotations(index, blob),
            })
            .collect(),
        annotations: if is_oci { borrowed(stored.annotations()) } else { BTreeMap::new() },
    };
    Ok(go_json::to_vec(&document)?)
}

/// As [`oci_manifest`], a Docker manifest, version 2, schema 2.
///
/// # Errors
/// If a layer is packed with zstd.
pub fn docker_manifest(
    stored: &Manifest,
    config: &[u8],
    layers: &[LayerBlob],
) -> Result<Vec<u8>, RewriteError> {
    if stored.kind() == ManifestKind::Docker && lists(stored, layers) {
        return Ok(stored.raw().to_vec());
    }
    let digest = Digest::of(config);
    let descriptor = |blob: &LayerBlob| {
        let media_type = blob.packing.docker_layer().ok_or(RewriteError::Zstd)?;
        Ok((media_type, blob.size, blob.digest.clone()))
    };
    let described = layers.iter().map(descriptor).collect::<Result<Vec<_>, RewriteError>>()?;
    let document = DockerManifest {
        schema_version: 2,
        media_type: media_type::DOCKER_MANIFEST,
        config: DockerDescriptor {
            media_type: media_type::DOCKER_CONFIG,
            size: config.len() as u64,
            digest: digest.as_str(),
        },
        layers: described
            .iter()
            .map(|(media_type, size, digest)| DockerDescriptor {
                media_type,
                size: *size,
                digest: digest.as_str(),
            })
            .collect(),
    };
    Ok(go_json::to_vec(&document)?)
}

/// Whether these are the layers that `manifest` lists, packed as it says.
fn lists(manifest: &Manifest, layers: &[LayerBlob]) -> bool {
    let listed = manifest.layers();
    listed.len() == layers.len()
        && listed.iter().zip(layers).all(|(old, new)| {
            let packing = Packing::of_media_type(&old.media_type);
            old.digest == new.digest
                && old.size == new.size
                && packing.is_none_or(|packing| packing == new.packing)
        })
}

/// What a list is to say of one of its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What it is.
    pub media_type: &'static str,
}

/// The list `stored`, as one of this kind, with entries changed where there is something to change;
/// `stored` itself if nothing is. All that lists say besides stays.
pub fn manifest_list(
    stored: &Manifest,
    kind: ManifestKind,
    entries: &[Option<ListEntry>],
) -> Result<Vec<u8>, serde_json::Error> {
    let same = |(old, new): (&Descriptor, &Option<ListEntry>)| {
        new.as_ref().is_none_or(|new| {
            new.digest == old.digest && new.size == old.size && new.media_type == old.media_type
        })
    };
    if stored.kind() == kind && stored.instances().iter().zip(entries).all(same) {
        return Ok(stored.raw().to_vec());
    }
    let mut document: Value = serde_json::from_slice(stored.raw())?;
    document["mediaType"] = kind.media_type().into();
    let listed = document.get_mut("manifests").and_then(Value::as_array_mut);
    for (old, new) in listed.into_iter().flatten().zip(entries) {
        let Some(new) = new else { continue };
        old["mediaType"] = new.media_type.into();
        old["digest"] = new.digest.as_str().into();
        old["size"] = new.size.into();
    }
    go_json::to_vec(&document)
}

/// The OCI form of a Docker config, which drops what OCI does not have. So its digest, and with it the
/// ID of the image, is another.
pub fn docker_config_to_oci(config: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut oci: OciConfig = serde_json::from_slice(config)?;
    oci.architecture.get_or_insert_default();
    oci.os.get_or_insert_default();
    oci.config.get_or_insert_default();
    for entry in oci.history.iter_mut().flatten() {
        // Go leaves out empty texts and `false`, and writes times in its own form.
        for text in [&mut entry.created_by, &mut entry.author, &mut entry.comment] {
            text.take_if(|text| text.is_empty());
        }
        entry.empty_layer.take_if(|empty| !*empty);
        entry.created = entry.created_at().map(|time| time.to_string());
    }
    go_json::to_vec(&oci)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(letter: char, packing: Packing) -> LayerBlob {
        let digest = format!("sha256:{}", letter.to_string().repeat(64)).parse().unwrap();
        LayerBlob { digest, size: 7, packing }
    }

    fn stored(layer_type: &str, annotations: &str) -> Manifest {
        let (config, layer) = ("a".repeat(64), "b".repeat(64));
        Manifest::parse(format!(
            r#"{{"schemaVersion": 2,
                "config": {{"mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": "sha256:{config}", "size": 2}},
                "layers": [{{"mediaType": "{layer_type}", "digest": "sha256:{layer}", "size": 7,
                    "annotations": {annotations}}}],
                "annotations": {{"x": "y"}}, "subject": null}}"#
        ))
        .unwrap()
    }

    #[test]
    fn what_is_the_same_stays_as_it_is() {
        let gzip = stored(media_type::OCI_LAYER_GZIP, "{}");
        let same = oci_manifest(&gzip, b"{}", &[blob('b', Packing::Gzip)]).unwrap();
        assert_eq!(same, *gzip.raw());
        // What a docker archive is stored as calls plain layers gzip.
        let plain = oci_manifest(&gzip, b"{}", &[blob('b', Packing::Plain)]).unwrap();
        assert_eq!(Manifest::parse(plain).unwrap().layers()[0].media_type, media_type::OCI_LAYER);
    }

    #[test]
    fn annotations_of_other_content_go() {
        let key = format!("{CHUNKED}manifest-checksum");
        let chunked =
            stored(media_type::OCI_LAYER_ZSTD, &format!(r#"{{"{key}": "1", "own": "2"}}"#));
        let other = oci_manifest(&chunked, b"{}", &[blob('c', Packing::Gzip)]).unwrap();
        let other = Manifest::parse(other).unwrap();
        let kept: Vec<_> = other.layers()[0].annotations.keys().collect();
        assert_eq!(kept, ["own"]);
        assert_eq!(other.annotations()["x"], "y");
        assert_eq!(other.config().unwrap().digest, Digest::of(b"{}"));
    }

    #[test]
    fn lists_keep_what_is_not_changed() {
        let entry = |letter: &str| {
            format!(
                r#"{{"mediaType":"{}","size":7,"digest":"sha256:{}",
                    "platform":{{"architecture":"arm64","os":"linux","os.version":"1"}}}}"#,
                media_type::OCI_MANIFEST,
                letter.repeat(64)
            )
        };
        let stored = Manifest::parse(format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}],"annotations":{{"a":"b"}}}}"#,
            media_type::OCI_INDEX,
            entry("a"),
            entry("b")
        ))
        .unwrap();
        let list =
            |kind, entries: &[Option<ListEntry>]| manifest_list(&stored, kind, entries).unwrap();
        let old = ListEntry {
            digest: stored.instances()[0].digest.clone(),
            size: 7,
            media_type: media_type::OCI_MANIFEST,
        };
        assert_eq!(list(ManifestKind::OciIndex, &[Some(old.clone()), None]), *stored.raw());
        let new = ListEntry { size: 8, ..old };
        let changed = list(ManifestKind::DockerList, &[None, Some(new)]);
        let changed: Value = serde_json::from_slice(&changed).unwrap();
        assert_eq!(changed["mediaType"], media_type::DOCKER_LIST);
        assert_eq!(changed["manifests"][0]["size"], 7);
        assert_eq!(changed["manifests"][1]["size"], 8);
        assert_eq!(changed["manifests"][1]["platform"]["os.version"], "1");
        assert_eq!(changed["annotations"]["a"], "b");
    }

    #[test]
    fn docker_knows_no_zstd() {
        let stored = stored(media_type::OCI_LAYER_ZSTD, "{}");
        let error = docker_manifest(&stored, b"{}", &[blob('b', Packing::Zstd)]).unwrap_err();
        assert!(matches!(error, RewriteError::Zstd));
        let gzip = docker_manifest(&stored, b"{}", &[blob('b', Packing::Gzip)]).unwrap();
        let gzip = Manifest::parse(gzip).unwrap();
        assert_eq!(gzip.kind(), ManifestKind::Docker);
        assert_eq!(gzip.layers()[0].media_type, media_type::DOCKER_LAYER_GZIP);
    }
}
