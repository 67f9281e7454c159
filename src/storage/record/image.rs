//! Records of `images.json`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{null_is_default, zero_time};
use crate::image::{Digest, ImageId, LayerId};

/// An image as the store knows it. Fields in the order in which Go writes them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Normally the hexadecimal part of the config's digest.
    pub id: ImageId,
    /// The first manifest digest known for the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Full references, newest first; each belongs to one image only.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub names: Vec<String>,
    /// Every name it ever had, most recent first.
    #[serde(
        default,
        rename = "names-history",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub names_history: Vec<String>,
    /// Top layer; absent for manifest lists and images without layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerId>,
    /// Further top layers with other ID mappings.
    #[serde(
        default,
        rename = "mapped-layers",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub mapped_layers: Vec<LayerId>,
    /// JSON text about signatures; `{}` without any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// Keys of the data items, in the order they were written.
    #[serde(
        default,
        rename = "big-data-names",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub big_data_names: Vec<String>,
    /// Length of each data item in bytes.
    #[serde(
        default,
        rename = "big-data-sizes",
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub big_data_sizes: BTreeMap<String, i64>,
    /// Digest of each data item.
    #[serde(
        default,
        rename = "big-data-digests",
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub big_data_digests: BTreeMap<String, Digest>,
    /// Creation time of the image.
    #[serde(default = "zero_time")]
    pub created: Timestamp,
    /// Flags; none are known.
    #[serde(default, skip_serializing_if = "Map::is_empty", deserialize_with = "null_is_default")]
    pub flags: Map<String, Value>,
}

impl ImageRecord {
    /// Key of the current manifest.
    pub const MANIFEST: &'static str = "manifest";

    /// Digest of the current manifest.
    pub fn manifest_digest(&self) -> Option<&Digest> {
        self.big_data_digests.get(Self::MANIFEST)
    }

    /// All digests the image can be found by: that of the record, then those of every manifest
    /// item, without repetitions.
    pub fn digests(&self) -> Vec<&Digest> {
        let mut digests: Vec<&Digest> = Vec::new();
        let items = self.big_data_names.iter().filter(|key| key.starts_with(Self::MANIFEST));
        for digest in
            self.digest.iter().chain(items.filter_map(|key| self.big_data_digests.get(key)))
        {
            if !digests.contains(&digest) {
                digests.push(digest);
            }
        }
        digests
    }

    /// Key of the config: the data item named by the digest whose hex is the ID, else the first
    /// one named by any digest.
    pub fn config_key(&self) -> Option<&str> {
        let usual = self
            .big_data_names
            .iter()
            .find(|key| key.strip_prefix("sha256:") == Some(self.id.as_str()));
        usual
            .or_else(|| self.big_data_names.iter().find(|key| key.parse::<Digest>().is_ok()))
            .map(String::as_str)
    }
}
