//! Records of `layers.json` and `volatile-layers.json`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{null_is_default, zero_time};
use crate::image::{DiffId, Digest, LayerId};

/// A layer as the store knows it. Fields in the order in which Go writes them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Derived from content and parent for image layers, random for others.
    pub id: LayerId,
    /// Rarely used; `<container>-layer` for containers of Podman and CRI-O.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub names: Vec<String>,
    /// The layer below; absent for base layers.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "empty_is_none")]
    pub parent: Option<LayerId>,
    /// Free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// SELinux label.
    #[serde(default, rename = "mountlabel", skip_serializing_if = "String::is_empty")]
    pub mount_label: String,
    /// When the record was made.
    #[serde(default = "zero_time")]
    pub created: Timestamp,
    /// Digest of the blob as it was received.
    #[serde(default, rename = "compressed-diff-digest", skip_serializing_if = "Option::is_none")]
    pub compressed_digest: Option<Digest>,
    /// Length in bytes of that blob.
    #[serde(default, rename = "compressed-size", skip_serializing_if = "is_zero")]
    pub compressed_size: i64,
    /// Digest of the uncompressed tar.
    #[serde(default, rename = "diff-digest", skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<DiffId>,
    /// Digest of a table of contents, for layers that were pulled in parts.
    #[serde(default, rename = "toc-digest", skip_serializing_if = "Option::is_none")]
    pub toc_digest: Option<Digest>,
    /// Length in bytes of the uncompressed tar; -1 if not known.
    #[serde(default, rename = "diff-size", skip_serializing_if = "is_zero")]
    pub diff_size: i64,
    /// 0 none, 1 bzip2, 2 gzip, 3 xz, 4 zstd.
    #[serde(default, skip_serializing_if = "is_zero_u8")]
    pub compression: u8,
    /// User IDs that occur in the tar's headers.
    #[serde(
        default,
        rename = "uidset",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub uids: Vec<u32>,
    /// Group IDs that occur in the tar's headers.
    #[serde(
        default,
        rename = "gidset",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub gids: Vec<u32>,
    /// State of the record.
    #[serde(
        default,
        skip_serializing_if = "LayerFlags::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub flags: LayerFlags,
    /// ID mapping of the files on disk, as written.
    #[serde(default, rename = "uidmap", skip_serializing_if = "Option::is_none")]
    pub uid_map: Option<Value>,
    /// ID mapping of the files on disk, as written.
    #[serde(default, rename = "gidmap", skip_serializing_if = "Option::is_none")]
    pub gid_map: Option<Value>,
    /// Keys of data items stored with the layer.
    #[serde(
        default,
        rename = "big-data-names",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub big_data_names: Vec<String>,
}

/// Flags of a layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerFlags {
    /// The layer is being created or deleted; whoever loads the records next removes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// What the config claims for a layer that is known by its table of contents only.
    #[serde(default, rename = "expected-layer-diffid", skip_serializing_if = "Option::is_none")]
    pub expected_diff_id: Option<DiffId>,
    /// Flags of other versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl LayerFlags {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero_u8(value: &u8) -> bool {
    *value == 0
}

fn empty_is_none<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<LayerId>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(text) if !text.is_empty() => text.parse().map(Some).map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}
