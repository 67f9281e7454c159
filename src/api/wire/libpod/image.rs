//! Lists, inspection, history, tree, load.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{is_default, null_if_empty, text};
use crate::engine::{
    CommitReport, HistoryReport, ImageDetails, ImageSummary, ImportReport, LoadReport,
    ResolveReport, TreeReport,
};
use crate::image::{ContainerConfig, Healthcheck, HistoryEntry};

/// An element of the image list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageSummary)]
pub(crate) struct Summary {
    /// ID without prefix.
    id: String,
    /// ID of the parent image, or empty.
    parent_id: String,
    /// All names, those with a digest too.
    #[schema(required)]
    repo_tags: Option<Vec<String>>,
    /// Every repository with every digest.
    repo_digests: Vec<String>,
    /// Unix seconds.
    created: i64,
    /// Bytes.
    size: i64,
    /// Always 0.
    shared_size: i64,
    /// Bytes, equal to `Size`.
    #[serde(skip_serializing_if = "is_default")]
    virtual_size: i64,
    #[schema(required)]
    labels: Option<BTreeMap<String, String>>,
    /// Number of containers that use the image.
    containers: usize,
    #[serde(skip_serializing_if = "is_default")]
    read_only: bool,
    #[serde(skip_serializing_if = "is_default")]
    dangling: bool,
    #[serde(skip_serializing_if = "is_default")]
    arch: String,
    #[serde(skip_serializing_if = "is_default")]
    digest: String,
    /// Names the image ever had, most recent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<String>,
    is_manifest_list: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    os: String,
}

impl From<ImageSummary> for Summary {
    fn from(image: ImageSummary) -> Self {
        Self {
            id: image.id.to_string(),
            parent_id: text(image.parent),
            repo_tags: null_if_empty(image.names.clone()),
            repo_digests: image.repo_digests,
            created: image.created.as_second(),
            size: image.size_bytes,
            shared_size: 0,
            virtual_size: image.size_bytes,
            labels: image.labels.filter(|labels| !labels.is_empty()),
            containers: image.containers,
            read_only: image.read_only,
            dangling: image.dangling,
            arch: image.architecture,
            digest: text(image.digest),
            history: image.names_history,
            is_manifest_list: image.is_manifest_list,
            names: image.names,
            os: image.os,
        }
    }
}

/// Everything about one image.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageInspect)]
pub(crate) struct Inspect {
    id: String,
    digest: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    parent: String,
    comment: String,
    /// RFC 3339.
    #[schema(required)]
    created: Option<String>,
    config: Config,
    version: String,
    author: String,
    architecture: String,
    os: String,
    size: i64,
    virtual_size: i64,
    graph_driver: Driver,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    #[schema(required)]
    labels: Option<BTreeMap<String, String>>,
    annotations: BTreeMap<String, String>,
    manifest_type: String,
    user: String,
    #[schema(required)]
    history: Option<Vec<Step>>,
    #[schema(required)]
    names_history: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Health>,
}

impl From<ImageDetails> for Inspect {
    fn from(image: ImageDetails) -> Self {
        let config = Config::from(image.config);
        Self {
            id: image.id.to_string(),
            digest: text(image.digest),
            repo_tags: image.repo_tags,
            repo_digests: image.repo_digests,
            parent: text(image.parent),
            comment: image.comment,
            created: image.created,
            version: image.docker_version,
            author: image.author,
            architecture: image.architecture,
            os: image.os,
            size: image.size_bytes,
            virtual_size: image.size_bytes,
            graph_driver: Driver { name: image.graph_driver.name, data: image.graph_driver.data },
            root_fs: RootFs {
                r#type: "layers",
                layers: null_if_empty(image.diff_ids.iter().map(ToString::to_string).collect()),
            },
            labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
            annotations: image.annotations,
            manifest_type: image.manifest_type,
            user: config.user.clone(),
            history: image.history.map(|steps| steps.into_iter().map(Step::from).collect()),
            names_history: null_if_empty(image.names_history),
            healthcheck: image.healthcheck.map(Health::from),
            config,
        }
    }
}

/// The configuration of an image's containers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageConfig)]
struct Config {
    #[serde(skip_serializing_if = "is_default")]
    user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "is_default")]
    working_dir: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    stop_signal: String,
    #[serde(skip_serializing_if = "is_default")]
    args_escaped: bool,
}

/// The empty object by which Go writes the members of a set.
#[derive(Debug, Serialize, ToSchema)]
struct Empty {}

impl From<ContainerConfig> for Config {
    fn from(config: ContainerConfig) -> Self {
        let set = |map: Option<BTreeMap<String, _>>| {
            map.unwrap_or_default().into_keys().map(|key| (key, Empty {})).collect()
        };
        Self {
            user: config.user.unwrap_or_default(),
            exposed_ports: set(config.exposed_ports),
            env: config.env.unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            volumes: set(config.volumes),
            working_dir: config.working_dir.unwrap_or_default(),
            labels: config.labels.unwrap_or_default(),
            stop_signal: config.stop_signal.unwrap_or_default(),
            args_escaped: config.args_escaped.unwrap_or_default(),
        }
    }
}

/// Where the driver keeps an image.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = GraphDriver)]
struct Driver {
    name: String,
    data: BTreeMap<String, String>,
}

/// An image's layers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    /// Always `layers`.
    r#type: &'static str,
    /// Diff IDs, base first.
    #[schema(required)]
    layers: Option<Vec<String>>,
}

/// A build step as the config has it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImageBuildStep)]
struct Step {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    created_by: String,
    #[serde(skip_serializing_if = "is_default")]
    author: String,
    #[serde(skip_serializing_if = "is_default")]
    comment: String,
    #[serde(skip_serializing_if = "is_default")]
    empty_layer: bool,
}

impl From<HistoryEntry> for Step {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            created: entry.created,
            created_by: entry.created_by.unwrap_or_default(),
            author: entry.author.unwrap_or_default(),
            comment: entry.comment.unwrap_or_default(),
            empty_layer: entry.empty_layer.unwrap_or_default(),
        }
    }
}

/// A health check; times in nanoseconds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Healthcheck)]
struct Health {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    test: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    start_period: i64,
    #[serde(skip_serializing_if = "is_default")]
    start_interval: i64,
    #[serde(skip_serializing_if = "is_default")]
    interval: i64,
    #[serde(skip_serializing_if = "is_default")]
    timeout: i64,
    #[serde(skip_serializing_if = "is_default")]
    retries: i64,
}

impl From<Healthcheck> for Health {
    fn from(check: Healthcheck) -> Self {
        Self {
            test: check.test.unwrap_or_default(),
            start_period: check.start_period.unwrap_or_default(),
            start_interval: check.start_interval.unwrap_or_default(),
            interval: check.interval.unwrap_or_default(),
            timeout: check.timeout.unwrap_or_default(),
            retries: check.retries.unwrap_or_default(),
        }
    }
}

/// A step of an image's history.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageHistory)]
pub(crate) struct History {
    /// ID without prefix, or `<missing>`.
    id: String,
    /// Unix seconds; 0 if the config does not say.
    created: i64,
    created_by: String,
    /// Names of the images whose top layer this is.
    #[schema(required)]
    tags: Option<Vec<String>>,
    /// Bytes.
    size: i64,
    comment: String,
}

impl From<HistoryReport> for History {
    fn from(step: HistoryReport) -> Self {
        Self {
            id: step.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
            created: step.created.map_or(0, |time| time.as_second()),
            created_by: step.created_by,
            tags: null_if_empty(step.tags),
            size: step.size_bytes,
            comment: step.comment,
        }
    }
}

/// A drawing of layers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageTree)]
pub(crate) struct Tree {
    tree: String,
}

impl From<TreeReport> for Tree {
    fn from(report: TreeReport) -> Self {
        Self { tree: report.text }
    }
}

/// What a name would be pulled as.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageResolve)]
pub(crate) struct Resolved {
    /// Full names.
    names: Vec<String>,
}

impl From<ResolveReport> for Resolved {
    fn from(report: ResolveReport) -> Self {
        Self { names: report.names }
    }
}

/// What a load has stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageLoad)]
pub(crate) struct Load {
    /// Names as stored, or `sha256:<ID>` for images without one; null for an archive that lists
    /// none.
    #[schema(required)]
    names: Option<Vec<String>>,
}

impl From<LoadReport> for Load {
    fn from(report: LoadReport) -> Self {
        Self { names: report.names }
    }
}

/// What an import has stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageImport)]
pub(crate) struct Import {
    /// `sha256:` and the ID of the image.
    id: String,
}

impl From<ImportReport> for Import {
    fn from(report: ImportReport) -> Self {
        Self { id: format!("sha256:{}", report.id) }
    }
}

/// Answer of a commit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = ImageCommit)]
pub(crate) struct Commit {
    /// ID of the image, without prefix.
    id: String,
}

impl From<CommitReport> for Commit {
    fn from(report: CommitReport) -> Self {
        Self { id: report.id.to_string() }
    }
}

/// One record of a streamed commit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ImageCommitRecord)]
pub(crate) enum CommitRecord {
    /// A line of progress; the last one is the ID of the image.
    Stream(String),
    /// Why it failed; the last record.
    #[serde(rename_all = "camelCase")]
    ErrorDetail {
        /// The whole text.
        message: String,
    },
}

/// One record of a streamed push.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PushRecord {
    /// A line of progress.
    Stream(String),
    /// Digest of the manifest that was sent; the last record of a push that succeeded.
    ManifestDigest(String),
    /// Why it failed; the last record.
    Error(String),
}
