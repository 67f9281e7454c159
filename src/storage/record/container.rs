//! Records of `containers.json` and `volatile-containers.json`, which are only read here, and dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_is_default;
use crate::image::{ImageId, LayerId};

/// A container, of any tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// 64 hexadecimal digits in practice; opaque here.
    pub id: String,
    /// Names.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub names: Vec<String>,
    /// The image it was made from; absent for containers without one.
    #[serde(default, deserialize_with = "empty_is_none")]
    pub image: Option<ImageId>,
    /// Its writable layer.
    pub layer: LayerId,
    /// Text of the tool that owns it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// Keys of its data items.
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
    /// Flags.
    #[serde(default, deserialize_with = "null_is_default")]
    pub flags: ContainerFlags,
}

/// Flags of a container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ContainerFlags {
    /// It does not survive a reboot.
    #[serde(default, rename = "Volatile")]
    pub volatile: bool,
}

fn empty_is_none<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ImageId>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(text) if !text.is_empty() => text.parse().map(Some).map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}
