//! What operations answer. How a report looks as JSON is decided by the API layer.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Error;
use crate::image::{ContainerConfig, DiffId, Digest, Healthcheck, HistoryEntry, ImageId};

/// Answer of [`lookup`](super::ImageEngine::lookup).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupReport {
    /// The image.
    pub id: ImageId,
    /// What the name was resolved to: a full reference, or the input if it is an ID.
    pub resolved: String,
}

/// One element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The image.
    pub id: ImageId,
    /// The image this one was built on, if it is in the store.
    pub parent: Option<ImageId>,
    /// Names, in storage order; digest names too.
    pub names: Vec<String>,
    /// Every repository with every digest, sorted.
    pub repo_digests: Vec<String>,
    /// Creation time.
    pub created: Timestamp,
    /// Bytes: uncompressed layers, config and manifests.
    pub size_bytes: i64,
    /// Labels of the config.
    pub labels: Option<BTreeMap<String, String>>,
    /// Containers, of any tool, that use the image.
    pub containers: usize,
    /// It lives in an additional store.
    pub read_only: bool,
    /// It has no names, no children, and is in no local manifest list.
    pub dangling: bool,
    /// Go architecture name; empty for manifest lists.
    pub architecture: String,
    /// Go operating system name; empty for manifest lists.
    pub os: String,
    /// The digest the image was first stored with.
    pub digest: Option<Digest>,
    /// Names it ever had, most recent first.
    pub names_history: Vec<String>,
    /// It is a manifest list.
    pub is_manifest_list: bool,
}

/// Where the driver keeps an image's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphDriver {
    /// `overlay`.
    pub name: String,
    /// `UpperDir`, `WorkDir`, `LowerDir`, `MergedDir`.
    pub data: BTreeMap<String, String>,
}

/// Answer of [`inspect`](super::ImageEngine::inspect).
#[derive(Debug, Clone)]
pub struct ImageDetails {
    /// The image.
    pub id: ImageId,
    /// By name: the current manifest's digest. By ID: the digest the image was stored with.
    pub digest: Option<Digest>,
    /// Names with a tag.
    pub repo_tags: Vec<String>,
    /// Every repository with every digest, sorted.
    pub repo_digests: Vec<String>,
    /// The image this one was built on, if it is in the store.
    pub parent: Option<ImageId>,
    /// Comment, from where the manifest type keeps it.
    pub comment: String,
    /// Creation time of the config, as written there.
    pub created: Option<String>,
    /// What a container is started with.
    pub config: ContainerConfig,
    /// Docker: version of the engine that made it.
    pub docker_version: String,
    /// Author of the config.
    pub author: String,
    /// Go architecture name.
    pub architecture: String,
    /// Go operating system name.
    pub os: String,
    /// Bytes: uncompressed layers, config and manifests.
    pub size_bytes: i64,
    /// Where its files are.
    pub graph_driver: GraphDriver,
    /// Diff IDs, base first.
    pub diff_ids: Vec<DiffId>,
    /// Annotations of an OCI manifest.
    pub annotations: BTreeMap<String, String>,
    /// Media type of the current manifest.
    pub manifest_type: String,
    /// Build steps, oldest first.
    pub history: Option<Vec<HistoryEntry>>,
    /// Names it ever had, most recent first.
    pub names_history: Vec<String>,
    /// Docker images only.
    pub healthcheck: Option<Healthcheck>,
}

/// One build step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryReport {
    /// The first image whose top layer this step made, if any.
    pub id: Option<ImageId>,
    /// When; `None` if the config does not say.
    pub created: Option<Timestamp>,
    /// The command.
    pub created_by: String,
    /// Names of the images whose top layer this is.
    pub tags: Vec<String>,
    /// Uncompressed bytes of the layer; 0 for steps without one.
    pub size_bytes: i64,
    /// Free text.
    pub comment: String,
}

/// Answer of [`tree`](super::ImageEngine::tree).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeReport {
    /// The drawing.
    pub text: String,
}

/// Answer of [`load`](super::ImageEngine::load).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// Stored names, or `sha256:<image ID>` for images without one. `None` for a Docker archive
    /// that lists no image at all.
    pub names: Option<Vec<String>>,
}

/// Answer of [`import`](super::ImageEngine::import).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportReport {
    /// The new image.
    pub id: ImageId,
}

/// Answer of [`commit`](super::ImageEngine::commit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitReport {
    /// The new image.
    pub id: ImageId,
}

/// Answer of [`push`](super::ImageEngine::push).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushReport {
    /// Digest of the manifest as it was sent.
    pub digest: Digest,
}

/// Answer of [`remove`](super::ImageEngine::remove).
#[derive(Debug, Default)]
pub struct RemoveReport {
    /// Images that are gone.
    pub deleted: Vec<ImageId>,
    /// Names that are gone.
    pub untagged: Vec<String>,
    /// What failed, lookups first.
    pub errors: Vec<Error>,
}

/// One image that [`prune`](super::ImageEngine::prune) has removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunedImage {
    /// The image.
    pub id: ImageId,
    /// Its size before that in bytes, with layers it shared. 0 if a layer was missing.
    pub size_bytes: i64,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It differs.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

/// One element of the answer of [`changes`](super::ImageEngine::changes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedPath {
    /// Absolute path. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// What became of it.
    pub kind: ChangeKind,
}

/// Answer of [`disk_usage`](super::ImageEngine::disk_usage).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsageReport {
    /// Bytes of all layers in the store, also those of containers, and of the images' data items.
    pub images_size_bytes: i64,
    /// One for each name, and one for each image without a name; in storage order.
    pub images: Vec<ImageUsage>,
}

/// What one image takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// Name without tag or digest.
    pub repository: Option<String>,
    /// Tag.
    pub tag: Option<String>,
    /// The image.
    pub id: ImageId,
    /// Creation time.
    pub created: Timestamp,
    /// Bytes of layers that other images have too.
    pub shared_bytes: i64,
    /// Bytes of other layers and of data items.
    pub unique_bytes: i64,
    /// Containers, of any tool, that use the image.
    pub containers: usize,
}

/// Answer of [`resolve`](super::ImageEngine::resolve).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveReport {
    /// Full references, in the order in which they count.
    pub names: Vec<String>,
}

/// Answer of [`version`](super::ImageEngine::version).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionReport {
    /// `uname -r`.
    pub kernel: String,
    /// Go architecture name.
    pub architecture: String,
    /// `ID` of `/etc/os-release`.
    pub distribution: String,
    /// `VERSION_ID` of `/etc/os-release`.
    pub distribution_version: String,
}

/// Answer of [`info`](super::ImageEngine::info).
#[derive(Debug, Clone)]
pub struct SystemInfo {
    /// Versions.
    pub version: VersionReport,
    /// The machine.
    pub host: HostInfo,
    /// The store.
    pub store: StoreInfo,
    /// Registry configuration.
    pub registries: RegistriesInfo,
}

/// The machine, as far as image clients ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// Host name.
    pub hostname: String,
    /// Logical CPUs.
    pub cpus: usize,
    /// Free memory in bytes.
    pub memory_free_bytes: u64,
    /// Memory in bytes.
    pub memory_total_bytes: u64,
    /// Free swap in bytes.
    pub swap_free_bytes: u64,
    /// Swap in bytes.
    pub swap_total_bytes: u64,
    /// Time since boot.
    pub uptime_seconds: u64,
    /// `v1` or `v2`.
    pub cgroup_version: &'static str,
    /// Whether the program runs in a user namespace without the host's full ID map.
    pub rootless: bool,
}

/// Containers in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerCounts {
    /// All of them, of any tool. Their states are known only to their owners.
    pub total: usize,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// The configuration file that was read, if any.
    pub config_file: Option<String>,
    /// `overlay`.
    pub driver: String,
    /// Driver options, `overlay.mountopt` and so on.
    pub driver_options: BTreeMap<String, String>,
    /// Facts about the driver, as Podman names them (`Backing Filesystem`, …).
    pub driver_status: BTreeMap<String, String>,
    /// Graph root.
    pub graph_root: String,
    /// Run root.
    pub run_root: String,
    /// Size in bytes of the file system below the graph root.
    pub allocated_bytes: u64,
    /// Used bytes of it.
    pub used_bytes: u64,
    /// Number of images.
    pub images: usize,
    /// Number of containers.
    pub containers: ContainerCounts,
}

/// Registry configuration, as far as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistriesInfo {
    /// Registries searched for short names.
    pub search: Vec<String>,
}

/// One hit of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchHit {
    /// The registry.
    pub index: String,
    /// Registry and repository.
    pub name: String,
    /// A sentence, if the registry has one.
    pub description: String,
    /// How many like it.
    pub stars: i64,
    /// Whether the registry vouches for it.
    pub official: bool,
    /// Whether it is built by the registry.
    pub automated: bool,
    /// The tag, when tags were asked for.
    pub tag: String,
}
