//! What the service can do with images: the [`ImageEngine`] trait, its options, reports and errors.
//!
//! Nothing here knows of HTTP or of files. The API layer calls the trait; [`local`] implements it
//! on a containers/storage store; tests bring a fake.

mod error;
pub mod local;
mod options;
mod pull;
mod reports;
mod steps;

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::image::{HostedImage, Login, Platform};

pub use crate::events::Event;
pub use error::{Error, ErrorKind, Refusal, Result};
pub use options::{
    ChangesOf, ChangesOptions, CommitFormat, CommitOptions, EventsOptions, Filter, HistoryOptions,
    ImageName, ImportOptions, InspectOptions, ListOptions, LoadOptions, Progress, PruneOptions,
    PushCompression, PushFormat, PushOptions, RemoveOptions, SaveFormat, SaveOptions,
    SearchFilters, SearchOptions, TreeOptions,
};
pub use pull::{BlobStage, PullEvent, PullOptions, PullPolicy, PullProgress, PullReport};
pub use reports::{
    ChangeKind, ChangedPath, CommitReport, ContainerCounts, DiskUsageReport, GraphDriver,
    HistoryReport, HostInfo, ImageDetails, ImageSummary, ImageUsage, ImportReport, LoadReport,
    LookupReport, PrunedImage, PushReport, RegistriesInfo, RemoveReport, ResolveReport, SearchHit,
    StoreInfo, SystemInfo, TreeReport, VersionReport,
};
pub use steps::Steps;

/// A body in either direction. The end of the stream is the end of the content; an aborted
/// transfer must be an `Err` item, never a silent end.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;

/// Events, as they come. Ends after the last one asked for, or when the service stops.
pub type EventStream = BoxStream<'static, Event>;

/// The image service. All methods are cancel-safe: dropping the future stops the work behind it,
/// and what was staged is removed. A commit to the store that has begun runs to its end.
#[async_trait]
pub trait ImageEngine: Send + Sync + std::fmt::Debug + 'static {
    /// Finds the image that `name` means on this host.
    async fn lookup(&self, name: &ImageName) -> Result<LookupReport>;

    /// Whether `name` means an image that can be read. Errors are lookup errors other than
    /// "not known".
    async fn exists(&self, name: &ImageName) -> Result<bool>;

    /// All images that pass the filters, in storage order.
    async fn list(&self, options: ListOptions) -> Result<Vec<ImageSummary>>;

    /// Everything known about one image.
    async fn inspect(&self, name: &ImageName, options: InspectOptions) -> Result<ImageDetails>;

    /// The build steps of one image, newest first.
    async fn history(
        &self,
        name: &ImageName,
        options: HistoryOptions,
    ) -> Result<Vec<HistoryReport>>;

    /// The layers of one image, or what stands on them, as a text drawing.
    async fn tree(&self, name: &ImageName, options: TreeOptions) -> Result<TreeReport>;

    /// Stores every image of an archive, in one pass over the stream.
    async fn load(&self, archive: ByteStream, options: LoadOptions) -> Result<LoadReport>;

    /// As [`load`](Self::load), from a file of the host, or from a directory with one image. The
    /// caller must be one who may read it.
    async fn load_file(&self, path: &Path, options: LoadOptions) -> Result<LoadReport>;

    /// As [`import`](Self::import), from a file of the host, whose time becomes the image's. The
    /// caller must be one who may read it.
    async fn import_file(&self, path: &Path, options: ImportOptions) -> Result<ImportReport>;

    /// As [`import`](Self::import), from what `url` (`http` or `https`) leads to. At most
    /// `download_limit` bytes are read.
    async fn import_url(&self, url: &str, options: ImportOptions) -> Result<ImportReport>;

    /// Makes an image with one layer from the tar of a root file system, plain or compressed, in
    /// one pass over the stream. With bad options nothing is read.
    async fn import(&self, content: ByteStream, options: ImportOptions) -> Result<ImportReport>;

    /// Makes an image of what a container has changed, or of all it sees. Containers of every tool
    /// will do; see the options. `progress` is told the lines that Podman tells.
    async fn commit(&self, options: CommitOptions, progress: Progress) -> Result<CommitReport>;

    /// Writes images as an archive. When this returns, the names are resolved and manifests and
    /// configs read; later failures are an `Err` item of the stream.
    async fn save(&self, names: Vec<ImageName>, options: SaveOptions) -> Result<ByteStream>;

    /// Gives the image `name` the further name `repo:tag` (`latest` when `tag` is empty), taking
    /// it from whichever image has it.
    async fn tag(&self, name: &ImageName, repo: &str, tag: &str) -> Result<()>;

    /// Takes the name `repo:tag` from the image `name`, or all its names without a `repo`.
    async fn untag(&self, name: &ImageName, repo: &str, tag: &str) -> Result<()>;

    /// Removes images, or only names of them; see the report. Failures of single names are in the
    /// report, not an error. Without names, every image is meant.
    async fn remove(&self, names: Vec<ImageName>, options: RemoveOptions) -> Result<RemoveReport>;

    /// Removes every image that nobody uses, and then each parent that became dangling by it.
    /// Images that are in use are kept, also those of which a container was made meanwhile; see the
    /// options for containers that go along.
    async fn prune(&self, options: PruneOptions) -> Result<Vec<PrunedImage>>;

    /// Brings an image from a registry: `name` with a registry or without, with a tag or a digest.
    /// Layers that are in the store are not brought again.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if a registry said no; of several registries that were tried, the
    /// texts of all.
    async fn pull(
        &self,
        name: &ImageName,
        options: PullOptions,
        progress: PullProgress,
    ) -> Result<PullReport>;

    /// Brings an image that is not in a registry, of an index that for `platform`; what is empty there
    /// is the host's. The caller must be one who may read it.
    async fn pull_hosted(
        &self,
        image: &HostedImage,
        platform: Platform,
        progress: PullProgress,
    ) -> Result<PullReport>;

    /// Sends the image `name` to the registry that `destination` names. `steps` is told the lines that
    /// Podman tells.
    async fn push(
        &self,
        name: &ImageName,
        destination: &str,
        options: PushOptions,
        steps: Steps<String>,
    ) -> Result<PushReport>;

    /// What `name` would be pulled as. No registry is asked, nor is the store.
    async fn resolve(&self, name: &ImageName) -> Result<ResolveReport>;

    /// Asks registries for repositories whose names contain `term`, or for the tags of `term`: the
    /// registry before its first slash, else the search registries of the host. Failures count
    /// only if nothing is found.
    async fn search(&self, term: &str, options: SearchOptions) -> Result<Vec<SearchHit>>;

    /// Asks the registry at `address`, a host or a URL, whether it accepts `login`. Nothing is
    /// stored. An error of kind [`ErrorKind::Denied`]: it does not.
    async fn check_login(&self, address: &str, login: Login) -> Result<()>;

    /// How the top layer of an image, or the layer of a container, differs from the one below;
    /// sorted by path. Paths that runtimes make in every container are left out.
    async fn changes(&self, name: &ImageName, options: ChangesOptions) -> Result<Vec<ChangedPath>>;

    /// What was and is done to images, and to what else other tools have written down. When this
    /// returns, the stream misses nothing that happens later.
    async fn events(&self, options: EventsOptions) -> Result<EventStream>;

    /// How much space images take.
    async fn disk_usage(&self) -> Result<DiskUsageReport>;

    /// The program's and the host's versions.
    async fn version(&self) -> Result<VersionReport>;

    /// Host, store and registries.
    async fn info(&self) -> Result<SystemInfo>;
}
