//! Buildah's file about a container: the image as it is to be.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Books, Result, file};
use crate::image::HistoryEntry;

/// What Buildah has noted about a working container.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BuildahSettings {
    /// Name of the image it was made from; empty for one from scratch.
    pub image: String,
    /// ID of that image; empty for one from scratch.
    #[serde(rename = "image-id")]
    pub image_id: String,
    /// Annotations of the manifest to be.
    #[serde(deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// How the container came about; for the history.
    #[serde(rename = "created-by")]
    pub created_by: String,
    /// Comment for the history.
    #[serde(rename = "history-comment")]
    pub history_comment: String,
    /// The OCI config to be, without the new layer.
    #[serde(rename = "ociv1")]
    pub oci: Option<Box<RawValue>>,
    /// The Docker config to be, without the new layer.
    pub docker: Option<Box<RawValue>>,
    /// Entries of the history before the one of the new layer.
    #[serde(rename = "PrependedEmptyLayers", deserialize_with = "null_is_default")]
    pub history_before: Vec<HistoryEntry>,
    /// Entries of the history after the one of the new layer.
    #[serde(rename = "AppendedEmptyLayers", deserialize_with = "null_is_default")]
    pub history_after: Vec<HistoryEntry>,
}

/// `None` if the container is not one of Buildah's.
pub(super) fn settings(books: &Books, id: &str) -> Result<Option<BuildahSettings>> {
    for directory in books.user_data(id) {
        if let Some(settings) = file::read_json(&directory.join("buildah.json"))? {
            return Ok(Some(settings));
        }
    }
    Ok(None)
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
