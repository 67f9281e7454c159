//! What a pull answers.

use serde::Serialize;
use utoipa::ToSchema;

use super::is_default;
use crate::engine::{BlobStage, PullReport};
use crate::image::Digest;

/// Answer of a quiet pull.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pulled {
    /// IDs of what was pulled, or was there.
    images: Vec<String>,
    /// The last of them.
    id: String,
}

impl From<PullReport> for Pulled {
    fn from(report: PullReport) -> Self {
        let images: Vec<_> = report.images.iter().map(ToString::to_string).collect();
        Self { id: images.last().cloned().unwrap_or_default(), images }
    }
}

/// One record of a pull's progress. Keys are left out when there is nothing to say.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PullRecord {
    /// `pulling`, or in the last record `success` or `error`.
    status: &'static str,
    /// A line for people.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(required = false)]
    stream: String,
    /// Why the pull failed.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(required = false)]
    error: String,
    /// IDs of what was pulled, or was there.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(required = false)]
    images: Vec<String>,
    /// The last of them.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(required = false)]
    id: String,
    /// About one blob; only if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pull_progress: Option<BlobProgress>,
}

/// How far a blob is.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlobProgress {
    /// `pulling`, `success` or `skipped`.
    status: &'static str,
    /// Bytes that have come.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(required = false)]
    current: u64,
    /// All bytes of it.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(required = false)]
    total: u64,
    /// Its digest.
    #[serde(rename = "progressComponentID")]
    progress_component_id: String,
}

impl PullRecord {
    /// A line of text.
    pub(crate) fn text(stream: String) -> Self {
        Self { status: "pulling", stream, ..Self::default() }
    }

    /// News of a blob.
    pub(crate) fn blob(digest: &Digest, stage: BlobStage) -> Self {
        let (stream, status, current, total) = match stage {
            BlobStage::Present => ("Artifact already exists", "skipped", 0, 0),
            BlobStage::Started { total } => ("Starting to pull artifact", "pulling", 0, total),
            BlobStage::Progress { current, total } => {
                ("Pulling artifact", "pulling", current, total)
            }
            BlobStage::Done { total } => ("Artifact pulled successfully", "success", total, total),
        };
        let progress_component_id = digest.to_string();
        Self {
            pull_progress: Some(BlobProgress { status, current, total, progress_component_id }),
            ..Self::text(stream.to_owned())
        }
    }

    /// The last record of a pull that went well.
    pub(crate) fn success(report: PullReport) -> Self {
        let Pulled { images, id } = report.into();
        Self { status: "success", images, id, ..Self::default() }
    }

    /// The last record of one that did not.
    pub(crate) fn error(error: String) -> Self {
        Self { status: "error", error, ..Self::default() }
    }
}

/// One record of a pull's progress, in Docker's form.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DockerPullRecord {
    status: &'static str,
    progress_detail: DockerProgress,
    /// The first twelve digits of the blob's digest, or in the last record of the image's ID.
    id: String,
}

#[derive(Debug, Default, Serialize)]
struct DockerProgress {
    #[serde(skip_serializing_if = "is_default")]
    current: u64,
    #[serde(skip_serializing_if = "is_default")]
    total: u64,
}

impl DockerPullRecord {
    /// News of a blob.
    pub(crate) fn blob(digest: &Digest, stage: BlobStage) -> Self {
        let (status, progress_detail) = match stage {
            BlobStage::Present => ("Already exists", DockerProgress::default()),
            BlobStage::Started { .. } => ("Pulling fs layer", DockerProgress::default()),
            BlobStage::Progress { current, total } => {
                ("Downloading", DockerProgress { current, total })
            }
            BlobStage::Done { .. } => ("Download complete", DockerProgress::default()),
        };
        Self { status, progress_detail, id: short(digest.hex()) }
    }

    /// The last record.
    pub(crate) fn success(report: &PullReport) -> Self {
        let id = report.images.last().map(|id| short(id.as_str())).unwrap_or_default();
        Self { status: "Download complete", progress_detail: DockerProgress::default(), id }
    }
}

fn short(hex: &str) -> String {
    hex.chars().take(12).collect()
}

/// A failure, in Docker's form.
#[derive(Debug, Serialize)]
pub(crate) struct DockerError {
    pub(crate) message: String,
}

/// A failure of a Docker pull that has told something already.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DockerStreamError {
    error: String,
    error_detail: DockerError,
}

impl DockerStreamError {
    pub(crate) fn new(message: String) -> Self {
        Self { error: message.clone(), error_detail: DockerError { message } }
    }
}
