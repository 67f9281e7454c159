//! An engine without a store.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use imaged::engine::{
    ByteStream, ChangedPath, ChangesOptions, CommitOptions, CommitReport, ContainerCounts,
    DiskUsageReport, Error, ErrorKind, EventStream, EventsOptions, HistoryOptions, HistoryReport,
    HostInfo, ImageDetails, ImageEngine, ImageName, ImageSummary, ImportOptions, ImportReport,
    InspectOptions, ListOptions, LoadOptions, LoadReport, LookupReport, Progress, PruneOptions,
    PrunedImage, PullOptions, PullProgress, PullReport, PushOptions, PushReport, RegistriesInfo,
    RemoveOptions, RemoveReport, ResolveReport, Result, SaveOptions, SearchHit, SearchOptions,
    Steps, StoreInfo, SystemInfo, TreeOptions, TreeReport, VersionReport,
};
use imaged::image::{HostedImage, Login, Platform};
use serde_json::Value;

use crate::replay::report;

/// The ID of every image here.
pub(crate) const ID: &str = "ac782ebe8e852ea9d55b6f5a3864f21529736bc4b08b80f0b291e7dbbee5e517";

type MakeError = Box<dyn Fn() -> Error + Send + Sync>;

/// Answers what it was told to, and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Fake {
    /// The document that successful answers lead to.
    document: Value,
    /// Makes every operation fail that has no `lookup` error of its own.
    failure: Option<MakeError>,
    /// Knows which names lead nowhere.
    lookup: Option<fn(&str) -> Option<Error>>,
    calls: Mutex<Vec<String>>,
}

impl Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    /// Every name is known, and answers lead to `document`.
    pub(crate) fn answering(document: Value) -> Self {
        Self { document, ..Self::default() }
    }

    /// Everything fails.
    pub(crate) fn failing(failure: impl Fn() -> Error + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { failure: Some(Box::new(failure)), ..Self::default() })
    }

    pub(crate) fn with_failure(mut self, failure: Option<MakeError>) -> Self {
        self.failure = failure;
        self
    }

    pub(crate) fn with_lookup(mut self, lookup: fn(&str) -> Option<Error>) -> Self {
        self.lookup = Some(lookup);
        self
    }

    /// What the engine was asked, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn called(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn find(&self, name: &ImageName) -> Result<()> {
        match self.lookup.and_then(|lookup| lookup(name.as_str())) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn outcome(&self) -> Result<()> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure()))
    }
}

/// All of an upload.
async fn whole(mut upload: ByteStream) -> Result<String> {
    let mut content = Vec::new();
    while let Some(chunk) = upload.next().await {
        let chunk = chunk.map_err(|e| Error::from_source(ErrorKind::Canceled, &e))?;
        content.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(content).unwrap())
}

#[async_trait]
impl ImageEngine for Fake {
    async fn lookup(&self, name: &ImageName) -> Result<LookupReport> {
        self.called(format!("lookup {name}"));
        self.find(name)?;
        // An image that is there can fail to be saved; it is still found.
        if self.lookup.is_none() {
            self.outcome()?;
        }
        Ok(LookupReport { id: ID.parse().unwrap(), resolved: name.to_string() })
    }

    async fn exists(&self, name: &ImageName) -> Result<bool> {
        self.called(format!("exists {name}"));
        self.outcome()?;
        match self.find(name) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NoSuchImage => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn commit(&self, options: CommitOptions, _progress: Progress) -> Result<CommitReport> {
        self.called(format!("commit {options:?}"));
        self.find(&ImageName::new(&options.container))?;
        self.outcome()?;
        let id = self.document["Id"].as_str().unwrap_or(ID);
        Ok(CommitReport { id: id.parse().unwrap() })
    }

    async fn list(&self, options: ListOptions) -> Result<Vec<ImageSummary>> {
        self.called(format!("list {options:?}"));
        self.outcome()?;
        Ok(report::list(&self.document))
    }

    async fn inspect(&self, name: &ImageName, _: InspectOptions) -> Result<ImageDetails> {
        self.called(format!("inspect {name}"));
        self.find(name)?;
        self.outcome()?;
        Ok(report::details(&self.document))
    }

    async fn history(&self, name: &ImageName, _: HistoryOptions) -> Result<Vec<HistoryReport>> {
        self.called(format!("history {name}"));
        self.find(name)?;
        self.outcome()?;
        Ok(report::history(&self.document))
    }

    async fn tree(&self, name: &ImageName, options: TreeOptions) -> Result<TreeReport> {
        self.called(format!("tree {name} {}", options.what_requires));
        self.find(name)?;
        self.outcome()?;
        Ok(TreeReport { text: report::text(&self.document["Tree"]) })
    }

    async fn load(&self, archive: ByteStream, _: LoadOptions) -> Result<LoadReport> {
        self.called(format!("load {}", whole(archive).await?));
        self.outcome()?;
        Ok(LoadReport { names: report::texts_or_null(&self.document["Names"]) })
    }

    async fn import(&self, content: ByteStream, options: ImportOptions) -> Result<ImportReport> {
        self.called(format!("import {} {options:?}", whole(content).await?));
        self.outcome()?;
        let id = self.document["Id"].as_str().map_or(ID, |id| id.trim_start_matches("sha256:"));
        Ok(ImportReport { id: id.parse().unwrap() })
    }

    async fn load_file(&self, path: &Path, _: LoadOptions) -> Result<LoadReport> {
        self.called(format!("load_file {}", path.display()));
        self.outcome()?;
        Ok(LoadReport { names: report::texts_or_null(&self.document["Names"]) })
    }

    async fn import_url(&self, url: &str, options: ImportOptions) -> Result<ImportReport> {
        self.called(format!("import_url {url} {options:?}"));
        self.outcome()?;
        let id = self.document["Id"].as_str().map_or(ID, |id| id.trim_start_matches("sha256:"));
        Ok(ImportReport { id: id.parse().unwrap() })
    }

    async fn import_file(&self, path: &Path, options: ImportOptions) -> Result<ImportReport> {
        self.called(format!("import_file {} {options:?}", path.display()));
        self.outcome()?;
        Ok(ImportReport { id: ID.parse().unwrap() })
    }

    async fn save(&self, names: Vec<ImageName>, options: SaveOptions) -> Result<ByteStream> {
        let names: Vec<_> = names.iter().map(ImageName::as_str).collect();
        let SaveOptions { format, accept_uncompressed_layers, compress, .. } = options;
        self.called(format!("save {names:?} {format:?} {accept_uncompressed_layers} {compress}"));
        for name in names {
            self.find(&ImageName::new(name))?;
        }
        self.outcome()?;
        // What comes first gets through before the failure, if one is wanted.
        let fails = self.document == "broken";
        let first = stream::iter([Ok("archive".into())]);
        let last = stream::iter(fails.then(|| Err(io::Error::other("disk"))));
        Ok(first.chain(last).boxed())
    }

    async fn tag(&self, name: &ImageName, repo: &str, tag: &str) -> Result<()> {
        self.called(format!("tag {name} {repo:?} {tag:?}"));
        self.find(name)?;
        self.outcome()
    }

    async fn untag(&self, name: &ImageName, repo: &str, tag: &str) -> Result<()> {
        self.called(format!("untag {name} {repo:?} {tag:?}"));
        self.find(name)?;
        self.outcome()
    }

    async fn remove(&self, names: Vec<ImageName>, options: RemoveOptions) -> Result<RemoveReport> {
        let names: Vec<_> = names.iter().map(ImageName::as_str).collect();
        self.called(format!("remove {names:?} {options:?}"));
        self.outcome()?;
        Ok(report::removal(&self.document))
    }

    async fn prune(&self, options: PruneOptions) -> Result<Vec<PrunedImage>> {
        self.called(format!("prune {options:?}"));
        self.outcome()?;
        Ok(report::pruned(&self.document))
    }

    async fn pull(
        &self,
        name: &ImageName,
        options: PullOptions,
        progress: PullProgress,
    ) -> Result<PullReport> {
        self.called(format!("pull {name} {options:?}"));
        self.outcome()?;
        // A list of records, of which the last has the images, or the only document.
        let records = match &self.document {
            Value::Array(records) => records.clone(),
            document => vec![document.clone()],
        };
        for record in &records {
            report::tell(&progress, record).await;
        }
        Ok(PullReport { images: records.last().map(report::images).unwrap_or_default() })
    }

    async fn pull_hosted(
        &self,
        image: &HostedImage,
        platform: Platform,
        progress: PullProgress,
    ) -> Result<PullReport> {
        let options = PullOptions::default();
        self.pull(&ImageName::new(format!("{image} for {platform:?}")), options, progress).await
    }

    async fn push(
        &self,
        name: &ImageName,
        destination: &str,
        options: PushOptions,
        steps: Steps<String>,
    ) -> Result<PushReport> {
        self.called(format!("push {name} {destination} {options:?}"));
        self.find(name)?;
        self.outcome()?;
        // A list of records, of which the last says how it ended; nothing if that is all.
        let records = self.document.as_array().cloned().unwrap_or_default();
        let mut digest = format!("sha256:{ID}");
        for record in &records {
            if let Some(line) = record["stream"].as_str() {
                steps.tell(line.to_owned()).await;
            }
            if let Some(text) = record["error"].as_str() {
                return Err(Error::new(ErrorKind::Registry, text));
            }
            if let Some(text) = record["manifestdigest"].as_str() {
                digest = text.to_owned();
            }
        }
        Ok(PushReport { digest: digest.parse().unwrap() })
    }

    async fn resolve(&self, name: &ImageName) -> Result<ResolveReport> {
        self.called(format!("resolve {name}"));
        self.outcome()?;
        let names = report::texts_or_null(&self.document["Names"]);
        Ok(ResolveReport { names: names.unwrap_or_default() })
    }

    async fn search(&self, term: &str, options: SearchOptions) -> Result<Vec<SearchHit>> {
        self.called(format!("search {term:?} {options:?}"));
        self.outcome()?;
        let hits = self.document.as_array().cloned().unwrap_or_default();
        Ok(hits.iter().map(report::hit).collect())
    }

    async fn check_login(&self, address: &str, login: Login) -> Result<()> {
        let Login { username, password, identity_token } = login;
        self.called(format!("check_login {address} {username} {password} {identity_token}"));
        self.outcome()
    }

    async fn changes(&self, name: &ImageName, options: ChangesOptions) -> Result<Vec<ChangedPath>> {
        let parent = options.parent.as_ref().map(ImageName::as_str);
        self.called(format!("changes {name} {parent:?} {:?}", options.of));
        self.outcome()?;
        Ok(report::changes(&self.document))
    }

    async fn events(&self, options: EventsOptions) -> Result<EventStream> {
        let EventsOptions { since, until, stream: follow, filters, .. } = options;
        let filters: Vec<_> = filters.iter().map(|it| format!("{}={}", it.key, it.value)).collect();
        self.called(format!("events {since:?} {until:?} {follow} {filters:?}"));
        self.outcome()?;
        let events = stream::iter(report::events(&self.document));
        // As long as anybody listens.
        Ok(if follow { events.chain(stream::pending()).boxed() } else { events.boxed() })
    }

    async fn disk_usage(&self) -> Result<DiskUsageReport> {
        self.called("disk usage".to_owned());
        self.outcome()?;
        Ok(report::disk_usage(&self.document))
    }

    async fn version(&self) -> Result<VersionReport> {
        self.outcome()?;
        Ok(VersionReport {
            kernel: "6.1.0-generic".into(),
            architecture: "amd64".into(),
            distribution: "debian".into(),
            distribution_version: "12".into(),
        })
    }

    async fn info(&self) -> Result<SystemInfo> {
        Ok(SystemInfo {
            version: self.version().await?,
            host: HostInfo {
                hostname: "host1".into(),
                cpus: 2,
                memory_free_bytes: 4_294_967_296,
                memory_total_bytes: 8_589_934_592,
                swap_free_bytes: 0,
                swap_total_bytes: 0,
                uptime_seconds: 3600,
                cgroup_version: "v2",
                rootless: false,
            },
            store: StoreInfo {
                config_file: None,
                driver: "overlay".into(),
                driver_options: Default::default(),
                driver_status: [("Backing Filesystem".to_owned(), "extfs".to_owned())].into(),
                graph_root: "/var/lib/containers/storage".into(),
                run_root: "/run/containers/storage".into(),
                allocated_bytes: 107_374_182_400,
                used_bytes: 21_474_836_480,
                images: 0,
                containers: ContainerCounts::default(),
            },
            registries: RegistriesInfo { search: vec!["docker.io".into(), "quay.io".into()] },
        })
    }
}
