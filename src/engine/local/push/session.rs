//! One push: what is asked of the registry, in which order.

mod layers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::{join, try_join};
use tokio::sync::{OnceCell, Semaphore};

use super::super::blob_forms::{Place, Seen};
use super::super::{LocalEngine, failure};
use super::plan::{ImagePlan, ListPlan};
use super::recent::RecentBlobs;
use crate::engine::{Error, ErrorKind, PushCompression, PushFormat, PushOptions, Result, Steps};
use crate::image::{
    Digest, LayerBlob, ListEntry, Manifest, ManifestKind, Reference, docker_config_to_oci,
    docker_manifest, manifest_list, oci_manifest,
};
use crate::registry::{self, Destination, ManifestRefused, Retry, Unreached};

/// Layers that are packed and sent at the same time.
const SENT_AT_ONCE: usize = 3;

/// A registry, and what is to be done there.
pub(super) struct Session<'a> {
    engine: &'a LocalEngine,
    options: &'a PushOptions,
    steps: &'a Steps<String>,
    target: Reference,
    unreached: Mutex<Option<Unreached>>,
    destination: OnceCell<Result<Destination, registry::Error>>,
    retry: Retry,
    sending: Semaphore,
    /// A layer was not there and had to be sent.
    has_sent: AtomicBool,
    /// A blob was not looked for, because it was there a moment ago.
    has_trusted: AtomicBool,
    /// The registry misses some of these.
    has_missed: AtomicBool,
    /// Blobs that are certainly at the destination.
    seen: Mutex<Vec<Seen>>,
}

/// A manifest that was put in its place.
pub(super) struct Sent {
    pub(super) digest: Digest,
    size: u64,
    kind: ManifestKind,
}

/// What was at the destination already.
#[derive(Default)]
struct Found {
    config: Option<Digest>,
    manifest: Option<Digest>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        engine: &'a LocalEngine,
        options: &'a PushOptions,
        steps: &'a Steps<String>,
        target: Reference,
        unreached: Unreached,
        retry: Retry,
    ) -> Self {
        let (unreached, destination) = (Mutex::new(Some(unreached)), OnceCell::new());
        let (sending, seen) = (Semaphore::new(SENT_AT_ONCE), Mutex::default());
        let [has_sent, has_trusted, has_missed] = [false; 3].map(AtomicBool::new);
        Self {
            engine,
            options,
            steps,
            target,
            unreached,
            destination,
            retry,
            sending,
            has_sent,
            has_trusted,
            has_missed,
            seen,
        }
    }

    /// The blobs that are certainly at the destination.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn step(&self, line: impl Into<String>) {
        self.steps.tell(line.into()).await;
    }

    /// The registry, which is reached when it is needed first.
    async fn destination(&self) -> Result<&Destination, registry::Error> {
        let reach = || async {
            let unreached = self.unreached.lock().unwrap_or_else(PoisonError::into_inner).take();
            let gone = || registry::Error::new(registry::ErrorKind::Network, "not reached");
            unreached.ok_or_else(gone)?.reach(&self.retry).await
        };
        self.destination.get_or_init(reach).await.as_ref().map_err(Clone::clone)
    }

    /// Sends an image, under its name or, for what a list lists, under its digest only.
    pub(super) async fn image(&self, plan: &ImagePlan, instance: Option<&Digest>) -> Result<Sent> {
        let sent = self.try_image(plan, instance).await;
        if sent.is_ok() || !self.has_missed.swap(false, Ordering::Relaxed) {
            return sent;
        }
        // What was there is gone.
        if let Ok(destination) = self.destination().await {
            self.recent().forget(&place_of(destination));
        }
        self.try_image(plan, instance).await
    }

    async fn try_image(&self, plan: &ImagePlan, instance: Option<&Digest>) -> Result<Sent> {
        let stored = &plan.image.manifest;
        let digest_wanted = self.target.digest();
        let matches = |wanted: &Digest| *wanted == stored.digest() || instance.is_some();
        if !digest_wanted.is_none_or(matches) {
            return Err(other_digest());
        }
        self.step("Getting image source signatures\n").await;
        let kinds = self.kinds(stored.kind());
        let Some((&first, _)) = kinds.split_first() else {
            return Err(Error::new(ErrorKind::BadRequest, "no manifest kind is left"));
        };
        let place = |digest: &Digest| match instance {
            Some(_) => digest.to_string(),
            None => self.place(),
        };
        let look = async { Ok(self.look(plan, first, place).await) };
        let (layers, found) = try_join(self.layers(plan, first), look).await?;
        let mut refused = Vec::new();
        for &kind in &kinds {
            let (manifest, config) = documents(plan, kind, &layers)?;
            if digest_wanted.is_some() && manifest != *stored.raw() {
                let text = "Copying this image would require changing layer representation, \
                            which we cannot do: \"Destination specifies a digest\"";
                return Err(Error::new(ErrorKind::BadRequest, text));
            }
            self.config(config, found.config.as_ref()).await?;
            self.step("Writing manifest to image destination\n").await;
            let digest = Digest::of(&manifest);
            let size = manifest.len() as u64;
            // While something was sent, the place may have got another manifest.
            let is_in_place = found.manifest.as_ref() == Some(&digest);
            if is_in_place && !self.has_sent.load(Ordering::Relaxed) {
                return Ok(Sent { digest, size, kind });
            }
            let failed = match self.put_manifest(&place(&digest), kind, manifest).await {
                Ok(()) => return Ok(Sent { digest, size, kind }),
                Err(failed) => failed,
            };
            let error = failure::registry(failed.error).context("writing manifest");
            if !failed.kind_is_refused || kinds.len() == 1 {
                return Err(error);
            }
            refused.push((kind, error));
        }
        Err(all_refused("manifest", &refused))
    }

    /// Sends a list, after the images of the plan.
    pub(super) async fn list(&self, plan: &ListPlan) -> Result<Digest> {
        self.step("Getting image list signatures\n").await;
        let list = &plan.list;
        if self.target.digest().is_some_and(|wanted| *wanted != list.digest()) {
            return Err(other_digest());
        }
        let (count, listed) = (plan.images.len(), list.instances().len());
        self.step(format!("Copying {count} images generated from {listed} images in list\n")).await;
        let mut entries: Vec<Option<ListEntry>> = Vec::with_capacity(listed);
        let mut is_oci = list.kind() == ManifestKind::OciIndex;
        for (at, (image, entry)) in plan.images.iter().zip(list.instances()).enumerate() {
            let number = at + 1;
            self.step(format!("Copying image {} ({number}/{count})\n", entry.digest)).await;
            let sent = self.image(image, Some(&entry.digest)).await.map_err(|error| {
                error.context(format!("copying image {number}/{count} from manifest list"))
            })?;
            is_oci |= sent.kind == ManifestKind::Oci;
            let (digest, size, media_type) = (sent.digest, sent.size, sent.kind.media_type());
            entries.push(Some(ListEntry { digest, size, media_type }));
        }
        entries.resize(listed, None);
        self.step("Writing manifest list to image destination\n").await;
        let digest = self.put_list(list, is_oci, &entries).await?;
        self.step("Storing list signatures\n").await;
        Ok(digest)
    }

    async fn put_list(
        &self,
        list: &Manifest,
        is_oci: bool,
        entries: &[Option<ListEntry>],
    ) -> Result<Digest> {
        let by_digest = self.target.digest().is_some();
        let kinds: &[ManifestKind] = match (self.options.format, is_oci) {
            (PushFormat::Oci, _) => &[ManifestKind::OciIndex],
            (PushFormat::Docker, _) => &[ManifestKind::DockerList],
            (PushFormat::Stored, true) => &[ManifestKind::OciIndex, ManifestKind::DockerList],
            (PushFormat::Stored, false) => &[ManifestKind::DockerList, ManifestKind::OciIndex],
        };
        let mut refused = Vec::new();
        for &kind in kinds {
            let document = manifest_list(list, kind, entries)
                .map_err(|error| Error::from_source(ErrorKind::Storage, &error))?;
            if by_digest && document != *list.raw() {
                let text = format!(
                    "Manifest list must be converted to type {:?} to be written to destination, \
                     but we cannot modify it: \"Destination specifies a digest\"",
                    kind.media_type()
                );
                return Err(Error::new(ErrorKind::BadRequest, text));
            }
            let digest = Digest::of(&document);
            match self.put_manifest(&self.place(), kind, document.into()).await {
                Ok(()) => return Ok(digest),
                Err(ManifestRefused { error, kind_is_refused }) => {
                    refused.push((kind, failure::registry(error)));
                    if !kind_is_refused {
                        break;
                    }
                }
            }
        }
        Err(all_refused("manifest list", &refused))
    }

    /// Where the manifest goes.
    fn place(&self) -> String {
        match (self.target.digest(), self.target.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        }
    }

    /// The kinds of manifests that may be sent, in the order in which they are tried.
    fn kinds(&self, stored: ManifestKind) -> Vec<ManifestKind> {
        if self.target.digest().is_some() {
            return vec![stored];
        }
        match self.options.format {
            PushFormat::Oci => vec![ManifestKind::Oci],
            PushFormat::Docker => vec![ManifestKind::Docker],
            // Only OCI manifests can name it.
            PushFormat::Stored if self.options.compression == PushCompression::Zstd => {
                vec![ManifestKind::Oci]
            }
            PushFormat::Stored if stored == ManifestKind::Oci => {
                vec![ManifestKind::Oci, ManifestKind::Docker]
            }
            PushFormat::Stored => vec![ManifestKind::Docker, ManifestKind::Oci],
        }
    }

    async fn put_manifest(
        &self,
        place: &str,
        kind: ManifestKind,
        manifest: Bytes,
    ) -> Result<(), ManifestRefused> {
        let mut failed = 0;
        loop {
            let destination = self.destination().await;
            let destination =
                destination.map_err(|error| ManifestRefused { error, kind_is_refused: false })?;
            let put = destination.put_manifest(place, kind.media_type(), manifest.clone()).await;
            let Err(ManifestRefused { error, kind_is_refused }) = put else { return Ok(()) };
            let trusted = misses_blobs(&error) && self.has_trusted.swap(false, Ordering::Relaxed);
            self.has_missed.fetch_or(trusted, Ordering::Relaxed);
            let error = if !trusted && contradicts(&error) { error.transient(None) } else { error };
            let again = self.retry.again(&mut failed, error).await;
            again.map_err(|error| ManifestRefused { error, kind_is_refused })?;
        }
    }

    /// Looks for the config and the manifest, while the layers are seen to. What cannot be found out
    /// now comes out when they are sent.
    async fn look(
        &self,
        plan: &ImagePlan,
        kind: ManifestKind,
        place: impl Fn(&Digest) -> String,
    ) -> Found {
        let Ok(destination) = self.destination().await else { return Found::default() };
        let config = async {
            let digest = Digest::of(&config(plan, kind).ok()?);
            if self.was_there(destination, &digest) {
                return Some(digest);
            }
            destination.find_blob(&digest, &digest).await.ok()??;
            self.recent().note(&place_of(destination), &digest);
            Some(digest)
        };
        let place = place(&plan.image.manifest.digest());
        let (config, manifest) = join(config, destination.find_manifest(&place)).await;
        Found { config, manifest }
    }

    async fn config(&self, config: Bytes, found: Option<&Digest>) -> Result<()> {
        let digest = Digest::of(&config);
        self.step(format!("Copying config {digest}\n")).await;
        if found == Some(&digest) {
            return Ok(());
        }
        let writing = |error| failure::registry(error).context("writing blob");
        let destination = self.destination().await.map_err(writing)?;
        let mut failed = 0;
        while let Err(error) = destination.put_blob(&digest, config.clone()).await {
            self.retry.again(&mut failed, error).await.map_err(writing)?;
        }
        self.recent().note(&place_of(destination), &digest);
        Ok(())
    }

    fn recent(&self) -> &RecentBlobs {
        &self.engine.shared.recent
    }

    /// Whether a blob was there a moment ago, so that it need not be looked for.
    fn was_there(&self, destination: &Destination, blob: &Digest) -> bool {
        let was = self.recent().has(&place_of(destination), blob);
        self.has_trusted.fetch_or(was, Ordering::Relaxed);
        was
    }
}

/// Whether a manifest is refused for its blobs: some registries have no other word for that than that
/// it is invalid.
fn misses_blobs(error: &registry::Error) -> bool {
    let (_, cause) = error.clone().into_parts();
    cause.contains("blob unknown") || cause.starts_with("manifest invalid")
}

/// Whether a manifest is refused for blobs that the registry has just said it has. Some see what they
/// got only after a while, and docker-registry 2.8 writes the links to its blobs anew, not at once, when
/// somebody else sends the same ones: it calls those that it reads meanwhile invalid.
fn contradicts(error: &registry::Error) -> bool {
    let (_, cause) = error.clone().into_parts();
    cause.contains("blob unknown") || cause.starts_with("digest invalid")
}

/// The repository, as it is remembered.
fn place_of(destination: &Destination) -> Place {
    Place { registry: destination.registry().to_owned(), repository: destination.path().to_owned() }
}

fn other_digest() -> Error {
    let text = "Digest of source image's manifest would not match destination reference";
    Error::new(ErrorKind::BadRequest, text)
}

/// No kind of manifest was taken.
fn all_refused(what: &str, refused: &[(ManifestKind, Error)]) -> Error {
    let each = |(kind, error): &(ManifestKind, Error)| format!("{}({error})", kind.media_type());
    let each: Vec<_> = refused.iter().map(each).collect();
    let text =
        format!("Uploading {what} failed, attempted the following formats: {}", each.join(", "));
    Error::new(ErrorKind::Registry, text)
}

/// The manifest and the config of an image, as one of this kind.
fn documents(plan: &ImagePlan, kind: ManifestKind, layers: &[LayerBlob]) -> Result<(Bytes, Bytes)> {
    let stored = &plan.image.manifest;
    let config = config(plan, kind)?;
    let manifest = match kind {
        ManifestKind::Oci => oci_manifest(stored, &config, layers),
        _ => docker_manifest(stored, &config, layers),
    };
    Ok((manifest.map_err(|error| updating(&error))?.into(), config))
}

/// The config for a manifest of this kind.
fn config(plan: &ImagePlan, kind: ManifestKind) -> Result<Bytes> {
    let (stored, config) = (&plan.image.manifest, &plan.image.config);
    match (stored.kind(), kind) {
        (ManifestKind::Oci, _) | (_, ManifestKind::Docker) => Ok(config.clone()),
        _ => Ok(docker_config_to_oci(config).map_err(|error| updating(&error))?.into()),
    }
}

fn updating(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::from_source(ErrorKind::BadRequest, error).context("creating an updated image manifest")
}
