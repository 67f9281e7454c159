//! Images that are not in registries: what a file, a directory or the Docker daemon has, read as a load
//! reads it, named as `podman pull` names it.
//!
//! Policies decide by where such an image is, so nothing of one that they refuse is read.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::host_file::{self, Directory, HostFile};
use super::super::load::{self, Failure};
use super::super::{LocalEngine, Shared, failure, policy, task_error};
use crate::archive::{self, ArchivedImage, Members};
use crate::engine::{BlobStage, Error, ErrorKind, PullEvent, PullProgress, PullReport, Result};
use crate::image::{ArchiveChoice, Digest, HostedImage, HostedPlace, ImageId, Platform, Reference};
use crate::registry::docker_daemon;
use crate::storage::StagedLayer;
use crate::sys::Cancel;
use crate::task::Class;

/// Events that may wait for whoever is told.
const WAITING: usize = 16;

/// Brings what `image` names.
pub(in super::super) async fn pull(
    engine: &LocalEngine,
    image: &HostedImage,
    platform: Platform,
    progress: &PullProgress,
) -> Result<PullReport> {
    let (events, told) = mpsc::channel(WAITING);
    let reading = Reading {
        image: image.clone(),
        platform: super::completed(platform),
        told: Teller(events),
    };
    let brought = telling(progress, told, bring(engine, reading)).await;
    let pulled = brought.as_ref().map(|it| it.id.clone()).map_err(Error::clone);
    super::tell(engine, &image.to_string(), &pulled).await;
    let Brought { id, names } = brought?;
    // As Podman does, once for each name.
    Ok(PullReport { images: vec![id; names.max(1)] })
}

/// Does `work`, and passes on what it tells meanwhile.
async fn telling<T>(
    progress: &PullProgress,
    mut told: mpsc::Receiver<PullEvent>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    let outcome = loop {
        tokio::select! {
            biased;
            Some(event) = told.recv() => progress.event(event).await,
            outcome = &mut work => break outcome,
        }
    };
    while let Ok(event) = told.try_recv() {
        progress.event(event).await;
    }
    outcome
}

async fn bring(engine: &LocalEngine, reading: Reading) -> Result<Brought> {
    let HostedPlace::DockerDaemon { image, .. } = reading.image.place() else {
        return engine.bulk(move |shared, cancel| reading.files(shared, cancel)).await;
    };
    let source = reading.image.source(Path::new(""));
    engine.quick(move |shared, _| policy::check(&shared.options.registry.policy, &source)).await?;
    let settings = &engine.shared.options.registry;
    let archive = docker_daemon::archive(settings, image).await.map_err(|error| {
        failure::transfer(error).context(format!("initializing source {}", reading.image))
    })?;
    let shared = Arc::clone(&engine.shared);
    engine
        .tasks
        .run_reading(Class::Bulk, archive, move |body, cancel| {
            reading.docker_archive(&shared, body, &ArchiveChoice::Only, cancel)
        })
        .await
        .map_err(task_error)?
}

/// An image that is in the store now.
struct Brought {
    id: ImageId,
    /// How many names it got.
    names: usize,
}

/// What the blocking side tells. Waits for whoever is told.
struct Teller(mpsc::Sender<PullEvent>);

impl Teller {
    fn text(&self, text: impl Into<String>) {
        self.event(PullEvent::text(text));
    }

    fn blob(&self, digest: &Digest, total: u64) {
        for stage in [BlobStage::Started { total }, BlobStage::Done { total }] {
            self.event(PullEvent::Blob { digest: digest.clone(), stage });
        }
    }

    fn event(&self, event: PullEvent) {
        // Whoever does not listen any more need not be told.
        drop(self.0.blocking_send(event));
    }
}

/// The blocking side.
struct Reading {
    image: HostedImage,
    platform: Platform,
    told: Teller,
}

impl Reading {
    /// Reads what is at a path.
    fn files(&self, shared: &Shared, cancel: &Cancel) -> Result<Brought> {
        let path = self.image.path().unwrap_or(Path::new("/"));
        let opened = host_file::open_any(path).map_err(|error| unreadable(path, &error))?;
        let resolved: PathBuf = path.canonicalize().map_err(|error| unreadable(path, &error))?;
        policy::check(&shared.options.registry.policy, &self.image.source(&resolved))?;
        match (self.image.place(), opened) {
            (HostedPlace::DockerArchive { choice, .. }, HostFile::File(file)) => {
                self.docker_archive(shared, file, choice, cancel)
            }
            (HostedPlace::OciArchive { reference, .. }, HostFile::File(file)) => self.archive(
                shared,
                file,
                cancel,
                |layer| &layer.info().compressed_digest,
                |members| archive::oci_chosen_image(members, &self.platform, reference.as_deref()),
            ),
            (HostedPlace::OciDirectory { reference, name, .. }, HostFile::Directory(directory)) => {
                self.directory(shared, &directory, Some(name), cancel, |members| {
                    archive::oci_directory_image(members, &self.platform, reference.as_deref())
                })
            }
            (HostedPlace::Directory { .. }, HostFile::Directory(directory)) => {
                self.directory(shared, &directory, None, cancel, |members| {
                    archive::dir_image(members, &self.platform)
                })
            }
            (_, HostFile::File(_)) => Err(wrong_kind(path, "not a directory")),
            (_, HostFile::Directory(_)) => Err(wrong_kind(path, "is a directory")),
        }
    }

    /// What `docker save` writes. Of the Docker daemon's image only the name counts by which it was
    /// asked for.
    fn docker_archive(
        &self,
        shared: &Shared,
        input: impl Read + Send,
        choice: &ArchiveChoice,
        cancel: &Cancel,
    ) -> Result<Brought> {
        self.archive(
            shared,
            input,
            cancel,
            |layer| layer.info().diff_id.digest(),
            |members| {
                let mut image = archive::docker_image(members, choice)?;
                if let HostedPlace::DockerDaemon { name, .. } = self.image.place() {
                    image.names = name.iter().cloned().collect();
                }
                Ok(image)
            },
        )
    }

    /// Any archive. Layers are told as what `called` calls them.
    fn archive(
        &self,
        shared: &Shared,
        input: impl Read + Send,
        cancel: &Cancel,
        called: impl Fn(&StagedLayer) -> &Digest,
        find: impl Fn(&Members<StagedLayer>) -> Result<ArchivedImage, archive::Error>,
    ) -> Result<Brought> {
        self.told.text("Getting image source signatures");
        let staged = &mut |layer: &StagedLayer| self.copied(layer, called(layer));
        let unfit = |error: archive::Error| {
            cancel.check().map_err(failure::canceled)?;
            Err(failure::archive(&error))
        };
        let members = match load::scan(&shared.store, input, staged, cancel) {
            Ok(members) => members,
            Err(Failure::Engine(error)) => return Err(error),
            Err(Failure::Archive(error)) => return unfit(error),
        };
        match find(&members) {
            Ok(image) => self.commit(shared, members, image, cancel),
            Err(error) => unfit(error),
        }
    }

    /// The image of a directory, which gets this name.
    fn directory(
        &self,
        shared: &Shared,
        directory: &Directory,
        name: Option<&Reference>,
        cancel: &Cancel,
        find: impl Fn(&Members<StagedLayer>) -> Result<ArchivedImage, archive::Error>,
    ) -> Result<Brought> {
        self.told.text("Getting image source signatures");
        let staged = &mut |layer: &StagedLayer| self.copied(layer, &layer.info().compressed_digest);
        match load::gather(&shared.store, directory, staged, cancel, find)? {
            Ok((members, mut image)) => {
                image.names = name.into_iter().cloned().collect();
                self.commit(shared, members, image, cancel)
            }
            Err(error) => {
                let place = format!("initializing source {}", self.image.source(Path::new("")));
                Err(failure::archive(&error).context(place))
            }
        }
    }

    /// A layer is unpacked. How large it would become nobody knew before.
    fn copied(&self, layer: &StagedLayer, digest: &Digest) {
        let info = layer.info();
        let is_packed = *digest == info.compressed_digest;
        let size = if is_packed { info.compressed_size } else { info.diff_size };
        self.told.text(format!("Copying blob {digest}"));
        self.told.blob(digest, size);
    }

    fn commit(
        &self,
        shared: &Shared,
        members: Members<StagedLayer>,
        image: ArchivedImage,
        cancel: &Cancel,
    ) -> Result<Brought> {
        let digest = &image.config_digest;
        self.told.text(format!("Copying config {digest}"));
        self.told.blob(digest, image.config.len() as u64);
        self.told.text("Writing manifest to image destination");
        let names = image.names.len();
        let loaded = load::commit(&shared.store, members, vec![image], cancel)?;
        let stored = loaded.images.into_iter().next();
        let none = || Error::new(ErrorKind::Storage, "no image was stored");
        stored.map(|(id, _)| Brought { id, names }).ok_or_else(none)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NoSuchFile,
        _ => failure::reading(error).kind(),
    };
    Error::new(kind, host_file::words(error)).context(format!("open {}", path.display()))
}

fn wrong_kind(path: &Path, text: &str) -> Error {
    Error::new(ErrorKind::BadRequest, text).context(format!("open {}", path.display()))
}
