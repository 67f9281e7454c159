//! Image manifests and indexes, with the bytes they came as.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_spec::image as oci;
use serde::Deserialize;

use super::{Digest, Platform};

/// Media types of the documents and layers that the store and the archives know.
pub mod media_type {
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image config.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Uncompressed OCI layer; `+gzip` and `+zstd` name the compressed ones.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// Gzip-compressed OCI layer.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// Zstandard-compressed OCI layer.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker image manifest, version 2, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker schema 1 manifest, unsigned.
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    /// Docker schema 1 manifest, signed.
    pub const DOCKER_SCHEMA1_SIGNED: &str =
        "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// Docker image config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Gzip-compressed Docker layer.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Uncompressed Docker layer.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
}

/// The kinds of documents that are called manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// OCI image manifest.
    Oci,
    /// Docker version 2, schema 2.
    Docker,
    /// Docker schema 1, unsigned; its layers are listed elsewhere and not interpreted here.
    DockerSchema1,
    /// Docker schema 1 with signatures.
    DockerSchema1Signed,
    /// OCI image index.
    OciIndex,
    /// Docker manifest list.
    DockerList,
}

impl ManifestKind {
    /// The media type of this kind.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_MANIFEST,
            Self::Docker => media_type::DOCKER_MANIFEST,
            Self::DockerSchema1 => media_type::DOCKER_SCHEMA1,
            Self::DockerSchema1Signed => media_type::DOCKER_SCHEMA1_SIGNED,
            Self::OciIndex => media_type::OCI_INDEX,
            Self::DockerList => media_type::DOCKER_LIST,
        }
    }

    /// Whether the document lists other manifests instead of layers.
    pub fn is_list(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }
}

/// A reference to content by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Digest of the content's bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// For entries of an index: where the image runs.
    pub platform: Option<Platform>,
    /// Free-form annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A parsed manifest or index beside its original bytes.
#[derive(Debug, Clone)]
pub struct Manifest {
    raw: Bytes,
    kind: ManifestKind,
    config: Option<Descriptor>,
    entries: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
}

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or a required field is missing or of the wrong type.
    #[error("malformed manifest")]
    Json(#[source] serde_json::Error),
    /// As [`ManifestError::Json`], found by the OCI types.
    #[error("malformed manifest")]
    Oci(#[source] oci_spec::OciSpecError),
    /// A digest in it is not one.
    #[error("malformed manifest")]
    Digest(#[from] super::DigestError),
    /// `mediaType` names something else.
    #[error("unsupported manifest type {0:?}")]
    Unsupported(String),
}

/// The fields that tell one kind of document from another.
#[derive(Deserialize)]
struct Probe {
    #[serde(default, rename = "schemaVersion")]
    schema_version: u64,
    #[serde(default, rename = "mediaType")]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    signatures: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<ProbeConfig>,
}

#[derive(Deserialize)]
struct ProbeConfig {
    #[serde(default, rename = "mediaType")]
    media_type: String,
}

impl Manifest {
    /// Parses `raw`. The kind follows from `mediaType`, or, where that is absent (it is optional
    /// in OCI documents), from the fields that are there.
    pub fn parse(raw: impl Into<Bytes>) -> Result<Self, ManifestError> {
        let raw = raw.into();
        let probe: Probe = serde_json::from_slice(&raw).map_err(ManifestError::Json)?;
        let kind = kind_of(&probe)?;
        let (config, entries, annotations) = match kind {
            ManifestKind::Oci | ManifestKind::Docker => {
                let body = oci::ImageManifest::from_reader(&raw[..]).map_err(ManifestError::Oci)?;
                let layers = body.layers().iter().map(descriptor).collect::<Result<_, _>>()?;
                (Some(descriptor(body.config())?), layers, sorted(body.annotations().as_ref()))
            }
            ManifestKind::OciIndex | ManifestKind::DockerList => {
                let body = oci::ImageIndex::from_reader(&raw[..]).map_err(ManifestError::Oci)?;
                let entries = body.manifests().iter().map(descriptor).collect::<Result<_, _>>()?;
                (None, entries, sorted(body.annotations().as_ref()))
            }
            ManifestKind::DockerSchema1 | ManifestKind::DockerSchema1Signed => {
                (None, Vec::new(), BTreeMap::new())
            }
        };
        Ok(Self { raw, kind, config, entries, annotations })
    }

    /// The original bytes.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// SHA-256 of the original bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.raw)
    }

    /// Which kind of document this is.
    pub fn kind(&self) -> ManifestKind {
        self.kind
    }

    /// The config's descriptor; indexes and schema 1 manifests have none.
    pub fn config(&self) -> Option<&Descriptor> {
        self.config.as_ref()
    }

    /// The layers, base first; empty for an index.
    pub fn layers(&self) -> &[Descriptor] {
        if self.kind.is_list() { &[] } else { &self.entries }
    }

    /// The manifests an index lists; empty for anything else.
    pub fn instances(&self) -> &[Descriptor] {
        if self.kind.is_list() { &self.entries } else { &[] }
    }

    /// Annotations of the document itself.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }
}

fn kind_of(probe: &Probe) -> Result<ManifestKind, ManifestError> {
    match probe.media_type.as_deref().unwrap_or_default() {
        media_type::OCI_MANIFEST => Ok(ManifestKind::Oci),
        media_type::DOCKER_MANIFEST => Ok(ManifestKind::Docker),
        media_type::OCI_INDEX => Ok(ManifestKind::OciIndex),
        media_type::DOCKER_LIST => Ok(ManifestKind::DockerList),
        media_type::DOCKER_SCHEMA1 => Ok(ManifestKind::DockerSchema1),
        media_type::DOCKER_SCHEMA1_SIGNED => Ok(ManifestKind::DockerSchema1Signed),
        "" if probe.schema_version == 1 && probe.signatures.is_some() => {
            Ok(ManifestKind::DockerSchema1Signed)
        }
        "" if probe.schema_version == 1 => Ok(ManifestKind::DockerSchema1),
        "" if probe.manifests.is_some() => Ok(ManifestKind::OciIndex),
        "" => match &probe.config {
            Some(config) if config.media_type == media_type::DOCKER_CONFIG => {
                Ok(ManifestKind::Docker)
            }
            _ => Ok(ManifestKind::Oci),
        },
        other => Err(ManifestError::Unsupported(other.to_owned())),
    }
}

fn descriptor(from: &oci::Descriptor) -> Result<Descriptor, ManifestError> {
    Ok(Descriptor {
        media_type: from.media_type().to_string(),
        digest: from.digest().to_string().parse()?,
        size: from.size(),
        platform: from.platform().as_ref().map(|p| Platform {
            os: p.os().to_string(),
            architecture: p.architecture().to_string(),
            variant: p.variant().clone().unwrap_or_default(),
        }),
        annotations: sorted(from.annotations().as_ref()),
    })
}

fn sorted(map: Option<&std::collections::HashMap<String, String>>) -> BTreeMap<String, String> {
    map.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(c: char) -> String {
        format!("sha256:{}", c.to_string().repeat(64))
    }

    #[test]
    fn tells_kinds_apart_without_a_media_type() {
        let config = |mt: &str| {
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"{mt}","digest":"{}","size":2}},"layers":[]}}"#,
                sha('a')
            )
        };
        let index = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
        let schema1 = r#"{"schemaVersion":1,"signatures":[]}"#.to_owned();
        for (text, kind) in [
            (config(media_type::OCI_CONFIG), ManifestKind::Oci),
            (config(media_type::DOCKER_CONFIG), ManifestKind::Docker),
            (index, ManifestKind::OciIndex),
            (schema1, ManifestKind::DockerSchema1Signed),
        ] {
            assert_eq!(Manifest::parse(text).unwrap().kind(), kind);
        }
    }

    #[test]
    fn refuses_unknown_types_and_bad_digests() {
        let unknown = Manifest::parse(r#"{"schemaVersion":2,"mediaType":"text/x"}"#).unwrap_err();
        assert_eq!(unknown.to_string(), "unsupported manifest type \"text/x\"");
        for bad in [
            "{}",
            "[]",
            "",
            r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:../..","size":1},"layers":[]}"#,
        ] {
            assert!(Manifest::parse(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
