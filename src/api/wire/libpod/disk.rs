//! Space used, and paths changed.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::null_if_empty;
use crate::engine::{ChangeKind, ChangedPath, DiskUsageReport, ImageUsage};

/// Space used.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = SystemDf)]
pub(crate) struct DiskUsage {
    /// Bytes of all layers and of the data of all images.
    images_size: i64,
    images: Vec<ImageDiskUsage>,
    /// Always empty.
    #[schema(max_items = 0)]
    containers: Vec<Value>,
    /// Always empty.
    #[schema(max_items = 0)]
    volumes: Vec<Value>,
}

/// Space that an image takes, under one of its names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImageDiskUsage {
    /// Name without tag, or `<none>`.
    repository: String,
    /// Tag, or `<none>`.
    tag: String,
    /// ID without prefix.
    #[serde(rename = "ImageID")]
    image_id: String,
    /// RFC 3339.
    created: String,
    /// Bytes.
    size: i64,
    /// Bytes of layers that other images have too.
    shared_size: i64,
    /// All other bytes.
    unique_size: i64,
    /// Number of containers that use the image.
    containers: usize,
}

impl From<DiskUsageReport> for DiskUsage {
    fn from(report: DiskUsageReport) -> Self {
        Self {
            images_size: report.images_size_bytes,
            images: report.images.into_iter().map(ImageDiskUsage::from).collect(),
            containers: Vec::new(),
            volumes: Vec::new(),
        }
    }
}

impl From<ImageUsage> for ImageDiskUsage {
    fn from(image: ImageUsage) -> Self {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "<none>".to_owned());
        Self {
            repository: or_none(image.repository),
            tag: or_none(image.tag),
            image_id: image.id.to_string(),
            created: image.created.to_string(),
            size: image.shared_bytes.saturating_add(image.unique_bytes),
            shared_size: image.shared_bytes,
            unique_size: image.unique_bytes,
            containers: image.containers,
        }
    }
}

/// A path that is not as it was.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ChangedPath)]
pub(crate) struct Changed {
    /// Absolute path.
    path: String,
    /// 0 modified, 1 added, 2 deleted.
    kind: u8,
}

impl Changed {
    /// The answer: null if there is none.
    pub(crate) fn list(changes: Vec<ChangedPath>) -> Option<Vec<Self>> {
        null_if_empty(changes.into_iter().map(Self::from).collect())
    }
}

impl From<ChangedPath> for Changed {
    fn from(change: ChangedPath) -> Self {
        let kind = match change.kind {
            ChangeKind::Modified => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        };
        Self { path: change.path, kind }
    }
}
