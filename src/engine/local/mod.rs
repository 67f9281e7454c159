//! The real engine, on a containers/storage store. One file per operation.
//!
//! The files of this module are blocking code that sees one snapshot of the records, wrapped in a
//! [`Library`]. This file is the async side: it sends each operation to the right class of
//! blocking tasks and turns failures of tasks into errors.

mod blob_forms;
mod changes;
mod commit;
mod containers;
mod disk_usage;
mod events;
mod facts;
mod failure;
mod filter;
mod history;
mod host_file;
mod import;
mod index;
mod info;
mod inspect;
mod library;
mod list;
mod load;
mod policy;
mod prune;
mod pull;
mod push;
mod relations;
mod remove;
mod resolve;
mod save;
mod search;
mod size;
mod stored_name;
mod tagging;
#[cfg(test)]
mod testing;
mod tree;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{Timestamp, ZonedDateTime};

use super::{
    ByteStream, ChangedPath, ChangesOptions, CommitOptions, CommitReport, DiskUsageReport, Error,
    ErrorKind, Event, EventStream, EventsOptions, HistoryOptions, HistoryReport, ImageDetails,
    ImageEngine, ImageName, ImageSummary, ImportOptions, ImportReport, InspectOptions, ListOptions,
    LoadOptions, LoadReport, LookupReport, Progress, PruneOptions, PrunedImage, PullOptions,
    PullProgress, PullReport, PushOptions, PushReport, RemoveOptions, RemoveReport, ResolveReport,
    Result, SaveFormat, SaveOptions, SearchHit, SearchOptions, Steps, SystemInfo, TreeOptions,
    TreeReport, VersionReport,
};
use crate::events::{ImageAction, LogError};
use crate::image::{HostedImage, Login, Platform, ShortNames};
use crate::registry;
use crate::storage::{Error as StorageError, Snapshot, Store, StoredImage, Transaction};
use crate::sys::Cancel;
use crate::task::{self, Class, Tasks};
use blob_forms::BlobForms;
pub use events::EventBackend;
use events::Events;
use library::{DerivedCache, ImageData, Library, ReadError};
use pull::Flights;
use push::RecentBlobs;
use resolve::Lists;

/// What the engine is told about the host, besides the store.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// How names without a registry are looked up.
    pub short_names: ShortNames,
    /// What it says about other servers.
    pub registry: registry::Settings,
    /// Where events go.
    pub events: EventBackend,
}

/// The engine on one store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LocalEngine {
    shared: Arc<Shared>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    options: Options,
    derived: DerivedCache,
    events: Events,
    flights: Flights,
    forms: BlobForms,
    recent: RecentBlobs,
}

impl ImageData for Store {
    fn read(&self, image: &StoredImage, key: &str) -> Result<Bytes, ReadError> {
        Ok(self.image_data(image, key)?)
    }
}

impl Shared {
    fn target(&self) -> load::Target<'_> {
        load::Target { store: &self.store, policy: &self.options.registry.policy }
    }

    fn snapshot(&self, cancel: &Cancel) -> Result<Snapshot> {
        self.store.snapshot(cancel).map_err(failure::storage)
    }

    fn library(&self, snapshot: &Snapshot) -> Library<'_> {
        Library::new(
            self.derived.get(snapshot),
            &self.store,
            &self.options.short_names,
            ZonedDateTime::now(),
        )
    }

    /// Runs `change` in a transaction, which is written if `change` succeeds.
    fn transaction<T>(
        &self,
        cancel: &Cancel,
        change: impl FnOnce(&Library<'_>, &mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.transact(self.store.begin(cancel), change)
    }

    /// As [`Shared::transaction`], in one that is begun already.
    fn transact<T>(
        &self,
        begun: Result<Transaction<'_>, StorageError>,
        change: impl FnOnce(&Library<'_>, &mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut transaction = begun.map_err(failure::storage)?;
        let snapshot = transaction.view().clone();
        let changed = change(&self.library(&snapshot), &mut transaction)?;
        transaction.commit().map_err(failure::storage)?;
        Ok(changed)
    }
}

impl LocalEngine {
    /// An engine on `store` whose blocking work runs on `tasks`.
    pub fn new(store: Store, options: Options, tasks: Tasks) -> Self {
        let (derived, events) = (DerivedCache::default(), Events::new(options.events.clone()));
        let flights = Flights::default();
        let forms = BlobForms::new(&store.options().run_root);
        let shared = Shared {
            store,
            options,
            derived,
            events,
            flights,
            forms,
            recent: RecentBlobs::default(),
        };
        Self { shared: Arc::new(shared), tasks }
    }

    /// Ends what has no end of its own, for which a service that stops could wait: all streams of
    /// events, also those that begin later, and layers that are kept for the next attempt to pull
    /// them.
    pub fn end_open_ends(&self) {
        self.shared.events.end();
        self.shared.flights.close();
    }

    async fn quick<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &Cancel) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        self.tasks
            .run(Class::Quick, move |cancel| work(&shared, cancel))
            .await
            .map_err(task_error)?
    }

    async fn bulk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &Cancel) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        self.tasks
            .run(Class::Bulk, move |cancel| work(&shared, cancel))
            .await
            .map_err(task_error)?
    }

    async fn query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Library<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let at_once = move |_: &Cancel| match shared.store.snapshot_at_once() {
            Ok(Some(snapshot)) => Ok(work(&shared.library(&snapshot))),
            // Whoever has to wait may have to stop waiting, and errors are told there.
            Ok(None) | Err(_) => Err(work),
        };
        match self.tasks.run_in_place(at_once).await.map_err(task_error)? {
            Ok(result) => result,
            Err(work) => {
                self.quick(move |shared, cancel| work(&shared.library(&shared.snapshot(cancel)?)))
                    .await
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn task_error(error: task::Error) -> Error {
    let kind = match error {
        task::Error::Panicked(_) => ErrorKind::Storage,
        task::Error::Stopping => ErrorKind::Canceled,
    };
    Error::from_source(kind, &error)
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        Self::from_source(ErrorKind::Storage, &error)
    }
}

#[async_trait]
impl ImageEngine for LocalEngine {
    async fn lookup(&self, name: &ImageName) -> Result<LookupReport> {
        let name = name.clone();
        self.query(move |library| inspect::lookup(library, &name)).await
    }

    async fn exists(&self, name: &ImageName) -> Result<bool> {
        let name = name.clone();
        self.query(move |library| inspect::exists(library, &name)).await
    }

    async fn list(&self, options: ListOptions) -> Result<Vec<ImageSummary>> {
        self.query(move |library| list::list(library, &options)).await
    }

    async fn inspect(&self, name: &ImageName, options: InspectOptions) -> Result<ImageDetails> {
        let name = name.clone();
        self.query(move |library| inspect::inspect(library, &name, &options)).await
    }

    async fn history(
        &self,
        name: &ImageName,
        options: HistoryOptions,
    ) -> Result<Vec<HistoryReport>> {
        let name = name.clone();
        self.query(move |library| history::history(library, &name, &options)).await
    }

    async fn tree(&self, name: &ImageName, options: TreeOptions) -> Result<TreeReport> {
        let name = name.clone();
        self.query(move |library| tree::tree(library, &name, &options)).await
    }

    async fn load(&self, archive: ByteStream, _options: LoadOptions) -> Result<LoadReport> {
        let shared = Arc::clone(&self.shared);
        self.tasks
            .run_reading(Class::Bulk, archive, move |body, cancel| {
                let loaded = load::load(shared.target(), body, cancel)?;
                shared.events.tell_all(&loaded.events(None));
                Ok(loaded.report)
            })
            .await
            .map_err(task_error)?
    }

    async fn import(&self, content: ByteStream, options: ImportOptions) -> Result<ImportReport> {
        let plan = import::plan(options)?;
        let shared = Arc::clone(&self.shared);
        self.tasks
            .run_reading(Class::Bulk, content, move |body, cancel| {
                let imported = plan.import(shared.target(), body, Timestamp::now, cancel)?;
                shared.events.tell_all(imported.event.as_slice());
                Ok(imported.report)
            })
            .await
            .map_err(task_error)?
    }

    async fn load_file(&self, path: &Path, _options: LoadOptions) -> Result<LoadReport> {
        let path = path.to_owned();
        self.bulk(move |shared, cancel| {
            let loaded = load::load_file(shared.target(), &path, cancel)?;
            shared.events.tell_all(&loaded.events(Some(&path)));
            Ok(loaded.report)
        })
        .await
    }

    async fn import_file(&self, path: &Path, options: ImportOptions) -> Result<ImportReport> {
        let plan = import::plan(options)?;
        let path = path.to_owned();
        self.bulk(move |shared, cancel| {
            let imported = plan.import_file(shared.target(), &path, cancel)?;
            shared.events.tell_all(imported.event.as_slice());
            Ok(imported.report)
        })
        .await
    }

    async fn import_url(&self, url: &str, options: ImportOptions) -> Result<ImportReport> {
        // With bad options nobody is asked.
        import::plan(options.clone())?;
        let limit = self.shared.options.registry.download_limit;
        let place = || format!("downloading {}", registry::download::without_user(url));
        let found = registry::download(url, limit).await;
        let found = found.map_err(|error| failure::registry(error).context(place()))?;
        self.import(found.into_body(), options).await
    }

    async fn commit(&self, options: CommitOptions, progress: Progress) -> Result<CommitReport> {
        self.bulk(move |shared, cancel| commit::commit(shared, &options, &progress, cancel)).await
    }

    async fn save(&self, names: Vec<ImageName>, options: SaveOptions) -> Result<ByteStream> {
        if names.len() > 1 && options.format != SaveFormat::DockerArchive {
            let text = "multi-image archives must use format of docker-archive";
            return Err(Error::new(ErrorKind::BadRequest, text));
        }
        let plan = self.quick(move |shared, cancel| {
            let plan = save::plan(&shared.library(&shared.snapshot(cancel)?), &names, options)?;
            plan.image_ids().try_for_each(|id| policy::check_stored(shared, id))?;
            Ok(plan)
        });
        let plan = plan.await?;
        let shared = Arc::clone(&self.shared);
        Ok(self.tasks.stream(Class::Export, move |out, cancel| {
            let events = plan.events();
            let written = plan.write(&shared.store, out, cancel);
            // Also of an attempt that failed, as Podman does.
            shared.events.tell_all(&events);
            written
        }))
    }

    async fn tag(&self, name: &ImageName, repo: &str, tag: &str) -> Result<()> {
        let name = name.clone();
        let (repo, tag) = (repo.to_owned(), tag.to_owned());
        self.quick(move |shared, cancel| {
            // Looked up first without the locks: most failures end here.
            shared.library(&shared.snapshot(cancel)?).lookup(name.as_str(), Lists::Preferred)?;
            let target = tagging::new_name(&repo, &tag)?;
            let image = shared.transaction(cancel, |library, transaction| {
                tagging::tag(library, transaction, &name, &target)
            })?;
            shared.events.tell(ImageAction::Tag, &image, &tagging::joined(&repo, &tag));
            Ok(())
        })
        .await
    }

    async fn untag(&self, name: &ImageName, repo: &str, tag: &str) -> Result<()> {
        let name = name.clone();
        let (repo, tag) = (repo.to_owned(), tag.to_owned());
        self.quick(move |shared, cancel| {
            shared.library(&shared.snapshot(cancel)?).lookup(name.as_str(), Lists::Instance)?;
            let target = (!repo.is_empty()).then(|| tagging::target(&repo, &tag)).transpose()?;
            let untagged = shared.transaction(cancel, |library, transaction| {
                tagging::untag(library, transaction, &name, target.as_ref())
            })?;
            let event = |name: &String| Event::of_image(ImageAction::Untag, &untagged.image, name);
            shared.events.tell_all(&untagged.names.iter().map(event).collect::<Vec<_>>());
            Ok(())
        })
        .await
    }

    async fn remove(&self, names: Vec<ImageName>, options: RemoveOptions) -> Result<RemoveReport> {
        self.quick(move |shared, cancel| remove::remove(shared, &names, &options, cancel)).await
    }

    async fn prune(&self, options: PruneOptions) -> Result<Vec<PrunedImage>> {
        self.quick(move |shared, cancel| prune::prune(shared, &options, cancel)).await
    }

    async fn pull(
        &self,
        name: &ImageName,
        options: PullOptions,
        progress: PullProgress,
    ) -> Result<PullReport> {
        pull::pull(self, name, options, &progress).await
    }

    async fn pull_hosted(
        &self,
        image: &HostedImage,
        platform: Platform,
        progress: PullProgress,
    ) -> Result<PullReport> {
        pull::pull_hosted(self, image, platform, &progress).await
    }

    async fn push(
        &self,
        name: &ImageName,
        destination: &str,
        options: PushOptions,
        steps: Steps<String>,
    ) -> Result<PushReport> {
        push::push(self, name, destination, options, steps).await
    }

    async fn resolve(&self, name: &ImageName) -> Result<ResolveReport> {
        let candidates = self.shared.options.short_names.pull_candidates(name.as_str());
        let candidates =
            candidates.map_err(|error| Error::from_source(ErrorKind::BadReference, &error))?;
        Ok(ResolveReport { names: candidates.iter().map(ToString::to_string).collect() })
    }

    async fn search(&self, term: &str, options: SearchOptions) -> Result<Vec<SearchHit>> {
        search::search(&self.shared.options, term, options).await
    }

    async fn check_login(&self, address: &str, login: Login) -> Result<()> {
        let settings = &self.shared.options.registry;
        registry::check_login(settings, address, login).await.map_err(failure::registry)
    }

    async fn changes(&self, name: &ImageName, options: ChangesOptions) -> Result<Vec<ChangedPath>> {
        let name = name.clone();
        self.quick(move |shared, cancel| changes::changes(shared, &name, &options, cancel)).await
    }

    async fn events(&self, options: EventsOptions) -> Result<EventStream> {
        self.shared.events.read(options, &self.tasks).await
    }

    async fn disk_usage(&self) -> Result<DiskUsageReport> {
        self.query(|library| Ok(disk_usage::disk_usage(library))).await
    }

    async fn version(&self) -> Result<VersionReport> {
        self.quick(|_, _| info::version()).await
    }

    async fn info(&self) -> Result<SystemInfo> {
        self.quick(|shared, cancel| {
            info::info(
                shared.store.options(),
                &shared.snapshot(cancel)?,
                &shared.options.short_names,
            )
        })
        .await
    }
}
