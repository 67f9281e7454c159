//! Image manifests and indexes, with the bytes they came as.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::Error as _;

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
    /// Not JSON, or a required field is missing, of the wrong type, or no digest.
    #[error("malformed manifest")]
    Json(#[source] serde_json::Error),
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

/// What manifests and indexes contain. Lists and maps may be `null`, which is how Go writes empty
/// ones: a manifest list that Podman 4 has just created says `"manifests":null`.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    config: Option<Entry>,
    #[serde(default)]
    layers: Option<Vec<Entry>>,
    #[serde(default)]
    manifests: Option<Vec<Entry>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default, rename = "mediaType")]
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    platform: Option<EntryPlatform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EntryPlatform {
    os: String,
    architecture: String,
    variant: String,
}

impl From<Entry> for Descriptor {
    fn from(entry: Entry) -> Self {
        Self {
            media_type: entry.media_type,
            digest: entry.digest,
            size: entry.size,
            platform: entry.platform.map(|platform| Platform {
                os: platform.os,
                architecture: platform.architecture,
                variant: platform.variant,
            }),
            annotations: entry.annotations.unwrap_or_default(),
        }
    }
}

impl Manifest {
    /// Parses `raw`. The kind follows from `mediaType`, or, where that is absent (it is optional
    /// in OCI documents), from the fields that are there.
    pub fn parse(raw: impl Into<Bytes>) -> Result<Self, ManifestError> {
        let raw = raw.into();
        let probe: Probe = serde_json::from_slice(&raw).map_err(ManifestError::Json)?;
        let kind = kind_of(&probe)?;
        if matches!(kind, ManifestKind::DockerSchema1 | ManifestKind::DockerSchema1Signed) {
            let (entries, annotations) = (Vec::new(), BTreeMap::new());
            return Ok(Self { raw, kind, config: None, entries, annotations });
        }
        let body: Body = serde_json::from_slice(&raw).map_err(ManifestError::Json)?;
        let (config, entries) = match (kind.is_list(), body.config) {
            (true, _) => (None, body.manifests),
            (false, Some(config)) => (Some(config.into()), body.layers),
            (false, None) => {
                return Err(ManifestError::Json(serde_json::Error::missing_field("config")));
            }
        };
        let entries = entries.unwrap_or_default().into_iter().map(Descriptor::from).collect();
        let annotations = body.annotations.unwrap_or_default();
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
    fn empty_lists_may_be_null() {
        let list = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":null}}"#,
            media_type::DOCKER_LIST
        );
        assert!(Manifest::parse(list).unwrap().instances().is_empty());
        let image = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{}","size":2,
                "annotations":null}},"layers":null,"annotations":null}}"#,
            media_type::OCI_CONFIG,
            sha('a')
        );
        assert!(Manifest::parse(image).unwrap().layers().is_empty());
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
