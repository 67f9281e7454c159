//! Documents that this program writes itself, with their members in the order of the Go
//! structures that other tools write them from: so the same content gets the same digest.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Descriptor, HistoryEntry};

/// An OCI image config, in the order of the image specification's Go structure.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct OciConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_empty_text")]
    pub(crate) author: Option<String>,
    #[serde(default)]
    pub(crate) architecture: Option<String>,
    #[serde(default)]
    pub(crate) os: Option<String>,
    #[serde(default, rename = "os.version", skip_serializing_if = "is_empty_text")]
    pub(crate) os_version: Option<String>,
    #[serde(default, rename = "os.features", skip_serializing_if = "is_empty_list")]
    pub(crate) os_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "is_empty_text")]
    pub(crate) variant: Option<String>,
    #[serde(default)]
    pub(crate) config: Option<OciContainerConfig>,
    #[serde(default)]
    pub(crate) rootfs: OciRootFs,
    #[serde(default, skip_serializing_if = "is_empty_list")]
    pub(crate) history: Option<Vec<HistoryEntry>>,
}

/// The `rootfs` member of an OCI image config.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct OciRootFs {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) diff_ids: Option<Vec<String>>,
}

/// The `config` member of an OCI image config.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct OciContainerConfig {
    #[serde(skip_serializing_if = "is_empty_text")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "is_empty_map")]
    pub(crate) exposed_ports: Option<BTreeMap<String, Empty>>,
    #[serde(skip_serializing_if = "is_empty_list")]
    pub(crate) env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty_list")]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty_list")]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty_map")]
    pub(crate) volumes: Option<BTreeMap<String, Empty>>,
    #[serde(skip_serializing_if = "is_empty_text")]
    pub(crate) working_dir: Option<String>,
    #[serde(skip_serializing_if = "is_empty_map")]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "is_empty_text")]
    pub(crate) stop_signal: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) args_escaped: Option<bool>,
}

/// `{}`, whatever was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Empty {}

/// A descriptor in the order of the image specification's Go structure.
#[derive(Serialize)]
pub(crate) struct OciDescriptor<'a> {
    #[serde(rename = "mediaType")]
    pub(crate) media_type: &'a str,
    pub(crate) digest: &'a str,
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<&'a str, &'a str>,
}

impl<'a> From<&'a Descriptor> for OciDescriptor<'a> {
    fn from(descriptor: &'a Descriptor) -> Self {
        Self {
            media_type: &descriptor.media_type,
            digest: descriptor.digest.as_str(),
            size: descriptor.size,
            annotations: borrowed(&descriptor.annotations),
        }
    }
}

/// An OCI manifest in the order of the image specification's Go structure.
#[derive(Serialize)]
pub(crate) struct OciManifest<'a> {
    #[serde(rename = "schemaVersion")]
    pub(crate) schema_version: u32,
    #[serde(rename = "mediaType")]
    pub(crate) media_type: &'a str,
    pub(crate) config: OciDescriptor<'a>,
    pub(crate) layers: Vec<OciDescriptor<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<&'a str, &'a str>,
}

/// An OCI index in the order of the image specification's Go structure.
#[derive(Serialize)]
pub(crate) struct OciIndex<'a> {
    #[serde(rename = "schemaVersion")]
    pub(crate) schema_version: u32,
    #[serde(rename = "mediaType")]
    pub(crate) media_type: &'a str,
    pub(crate) manifests: Vec<OciDescriptor<'a>>,
}

/// A Docker manifest, version 2, schema 2, in the order of the Go structure.
#[derive(Serialize)]
pub(crate) struct DockerManifest<'a> {
    #[serde(rename = "schemaVersion")]
    pub(crate) schema_version: u32,
    #[serde(rename = "mediaType")]
    pub(crate) media_type: &'a str,
    pub(crate) config: DockerDescriptor<'a>,
    pub(crate) layers: Vec<DockerDescriptor<'a>>,
}

/// A descriptor in the order of Docker's Go structure.
#[derive(Serialize)]
pub(crate) struct DockerDescriptor<'a> {
    #[serde(rename = "mediaType")]
    pub(crate) media_type: &'a str,
    pub(crate) size: u64,
    pub(crate) digest: &'a str,
}

fn is_empty_text(text: &Option<String>) -> bool {
    text.as_deref().is_none_or(str::is_empty)
}

fn is_empty_list<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn is_empty_map<T>(map: &Option<BTreeMap<String, T>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &Option<bool>) -> bool {
    *value != Some(true)
}

/// The same map, borrowed.
pub(crate) fn borrowed(map: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
}
