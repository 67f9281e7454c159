//! One image, from a registry into the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::sync::OwnedMutexGuard;

use super::super::load;
use super::super::resolve::choose_instance;
use super::super::{LocalEngine, Shared, failure};
use super::flight::{Blob, Flight, Offer};
use super::layers::{self, Plan};
use crate::archive::ArchivedImage;
use crate::engine::{BlobStage, Error, ErrorKind, PullProgress, Result};
use crate::image::{
    Descriptor, Digest, ImageConfig, ImageId, Manifest, ManifestKind, Platform, Reference,
};
use crate::registry::{Admission, Repository, Retry};
use crate::storage::{self, StagedLayer};
use crate::sys::Cancel;

/// Layers of one pull that are on their way at the same time.
const PARALLEL: usize = 3;
/// Layers an image may have. Overlayfs takes 500.
const LAYERS: usize = 1000;
/// An index may list indexes; more levels than this are a trap.
const DEPTH: usize = 4;
/// How often a pull begins again because layers it counted on are gone.
const ROUNDS: usize = 10;

/// An image at a registry, before its layers.
#[derive(Debug)]
pub(super) struct RemoteImage {
    pub(super) repository: Repository,
    /// What the reference stands for: a manifest, or an index.
    pub(super) top: Manifest,
}

/// Everything but the layers.
struct Documents {
    manifest: Manifest,
    /// The index that was chosen from.
    index: Option<Manifest>,
    config: Bytes,
    parsed: ImageConfig,
    config_descriptor: Descriptor,
}

/// How one image is brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copy<'a> {
    pub(super) engine: &'a LocalEngine,
    pub(super) platform: &'a Platform,
    pub(super) retry: Retry,
    pub(super) progress: &'a PullProgress,
}

/// An image that is in the store now.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) id: ImageId,
    pub(super) platform: Platform,
}

impl Copy<'_> {
    /// Brings what `remote` has for the platform, or what is admitted of it, and names it `name`.
    pub(super) async fn run(
        &self,
        remote: RemoteImage,
        name: &Reference,
        admission: &Admission,
    ) -> Result<Copied> {
        self.progress.text("Getting image source signatures").await;
        let RemoteImage { repository, top } = remote;
        let repository = Arc::new(repository);
        let documents = self.documents(&repository, top, name, admission).await?;
        let blobs = blobs(&documents)?;
        for _ in 0..ROUNDS {
            let flights = self.layers(&repository, &documents, &blobs).await?;
            let digest = &documents.config_descriptor.digest;
            let total = documents.config_descriptor.size;
            self.progress.text(format!("Copying config {digest}")).await;
            self.progress.blob(digest, BlobStage::Started { total }).await;
            self.progress.blob(digest, BlobStage::Done { total }).await;
            self.progress.text("Writing manifest to image destination").await;
            match self.commit(flights, &documents, name).await? {
                Some(id) => return Ok(Copied { id, platform: documents.parsed.platform() }),
                None => tracing::debug!(%name, "layers of the store have gone meanwhile"),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "layers of the image are removed again and again"))
    }

    /// The manifest for the platform, and the config.
    async fn documents(
        &self,
        repository: &Repository,
        top: Manifest,
        name: &Reference,
        admission: &Admission,
    ) -> Result<Documents> {
        let (manifest, index) = if top.kind().is_list() {
            (self.choose(repository, &top, name, admission).await?, Some(top))
        } else {
            (top, None)
        };
        if let Admission::Only(accepted) = admission
            && manifest.digest() != *accepted
        {
            // Somebody has changed what the name means, or a mirror has something else.
            let text =
                format!("the signatures are of {accepted}, the registry has {}", manifest.digest());
            return Err(Error::new(ErrorKind::Denied, text).context("Source image rejected"));
        }
        let bad = |text: String| Error::new(ErrorKind::Registry, text);
        let config_descriptor = match (manifest.kind(), manifest.config()) {
            (ManifestKind::Oci | ManifestKind::Docker, Some(descriptor)) => descriptor.clone(),
            (kind, _) => {
                return Err(bad(format!("unsupported manifest type {:?}", kind.media_type())));
            }
        };
        let get = || repository.document(&config_descriptor);
        let config = match self.stored_config(&config_descriptor.digest).await? {
            Some(config) => config,
            None => self.retry.run(get).await.map_err(failure::transfer)?,
        };
        let parsed = ImageConfig::parse(&config)
            .map_err(|error| bad(format!("parsing image configuration: {error}")))?;
        Ok(Documents { manifest, index, config, parsed, config_descriptor })
    }

    /// A config that is in the store already.
    async fn stored_config(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let digest = digest.clone();
        let read = move |shared: &Shared, cancel: &Cancel| {
            let Ok(id) = ImageId::of_config(&digest) else { return Ok(None) };
            let snapshot = shared.snapshot(cancel)?;
            let Some(image) = snapshot.image(&id) else { return Ok(None) };
            // One that cannot be read, or is damaged, is not there.
            let config = shared.store.image_data(image, digest.as_str()).ok();
            Ok(config.filter(|config| Digest::of(config) == digest))
        };
        self.engine.quick(read).await
    }

    /// Follows indexes to the image for the platform.
    async fn choose(
        &self,
        repository: &Repository,
        top: &Manifest,
        name: &Reference,
        admission: &Admission,
    ) -> Result<Manifest> {
        let place = || format!("choosing an image from manifest list docker://{}", name.familiar());
        let mut list = top.clone();
        for _ in 0..DEPTH {
            let kind = list.kind();
            let accepted = match admission {
                Admission::Only(accepted) => {
                    list.instances().iter().map(|entry| &entry.digest).find(|it| *it == accepted)
                }
                Admission::Anything => None,
            };
            let chosen =
                accepted.or_else(|| choose_instance(kind, list.instances(), self.platform));
            let entry = chosen.ok_or_else(|| {
                let Platform { os, architecture, variant } = self.platform;
                let list =
                    if kind == ManifestKind::OciIndex { "image index" } else { "manifest list" };
                let text = format!(
                    "no image found in {list} for architecture {architecture:?}, variant \
                     {variant:?}, OS {os:?}"
                );
                Error::new(ErrorKind::Registry, text).context(place())
            })?;
            let get = || repository.instance(entry);
            let chosen = self.retry.run(get).await.map_err(failure::transfer)?;
            if !chosen.kind().is_list() {
                return Ok(chosen);
            }
            list = chosen;
        }
        Err(Error::new(ErrorKind::Registry, "indexes are nested too deeply").context(place()))
    }

    /// Sees to it that each layer is in the store, or unpacked and ready.
    async fn layers(
        &self,
        repository: &Arc<Repository>,
        documents: &Documents,
        blobs: &[Blob],
    ) -> Result<Vec<Arc<Flight>>> {
        let diff_ids = documents.parsed.diff_ids().to_vec();
        let plan = self
            .engine
            .quick(move |shared, cancel| Ok(layers::plan(&shared.snapshot(cancel)?, &diff_ids)))
            .await?;
        for blob in blobs {
            self.progress.text(format!("Copying blob {}", blob.digest)).await;
        }
        let mut wanted: BTreeMap<&Digest, &Blob> = BTreeMap::new();
        for (blob, plan) in blobs.iter().zip(&plan) {
            if *plan == Plan::Bring {
                wanted.insert(&blob.digest, blob);
            } else {
                self.progress.blob(&blob.digest, BlobStage::Present).await;
            }
        }
        let flights = (wanted.values())
            .map(|blob| {
                let shared = &self.engine.shared;
                shared.flights.join(blob, &shared.store, &self.engine.tasks)
            })
            .collect::<Vec<_>>();
        // In the order of the manifest, most important for registries that are slow.
        let landing = flights.iter().map(|flight| {
            let offer = Offer { repository: Arc::clone(repository), retry: self.retry };
            let land =
                async { flight.land(offer, self.progress).await.map(|()| flight.unpacked()) };
            land.boxed()
        });
        let landed = stream::iter(landing.collect::<Vec<_>>()).buffer_unordered(PARALLEL);
        let limit = self.engine.shared.store.options().limits.unpacked;
        let total = landed.try_fold(0u64, async |total, unpacked| {
            Some(total.saturating_add(unpacked)).filter(|total| *total <= limit).ok_or_else(|| {
                let text = format!("the layers have more than {limit} bytes when unpacked");
                Error::new(ErrorKind::TooLarge, text)
            })
        });
        match total.await {
            Ok(_) => Ok(flights),
            Err(error) if error.kind() == ErrorKind::TooLarge => Err(error),
            Err(error) => {
                // Not when what came is wrong; nor when the caller leaves, since then this future
                // is dropped, and all of it with it.
                if flights.iter().all(|flight| !flight.is_over()) {
                    self.engine.shared.flights.park(flights);
                }
                Err(error)
            }
        }
    }

    /// Makes the image part of the store. `None` if a layer that was there is gone.
    async fn commit(
        &self,
        flights: Vec<Arc<Flight>>,
        documents: &Documents,
        name: &Reference,
    ) -> Result<Option<ImageId>> {
        // In the order of their digests, the same for everybody, so that nobody waits in a circle.
        let mut places: Vec<OwnedMutexGuard<Option<StagedLayer>>> = Vec::new();
        for flight in &flights {
            places.push(Arc::clone(&flight.landed).lock_owned().await);
            // Whoever comes later finds the layer in the store.
            self.engine.shared.flights.forget(flight);
        }
        let image = ArchivedImage {
            manifest: documents.manifest.clone(),
            index: documents.index.clone(),
            config: documents.config.clone(),
            config_digest: documents.config_descriptor.digest.clone(),
            parsed_config: documents.parsed.clone(),
            diff_ids: documents.parsed.diff_ids().to_vec(),
            names: vec![name.clone()],
        };
        let expected = expected(documents);
        self.engine
            .bulk(move |shared, cancel| {
                let mut staged: Vec<StagedLayer> =
                    places.iter_mut().filter_map(|place| place.take()).collect();
                for layer in &staged {
                    check(layer, &expected)?;
                }
                let diff_ids = image.diff_ids.clone();
                layers::restage(shared, &diff_ids, &mut staged, cancel)?;
                let draft = load::draft(image)?;
                // Others wait for these layers until the end.
                let committed = shared.store.commit(staged, vec![draft], cancel);
                drop(places);
                match committed {
                    Ok(ids) => Ok(ids.into_iter().next()),
                    Err(storage::Error::MissingLayer { .. }) => Ok(None),
                    Err(error) => Err(failure::storage(error)),
                }
            })
            .await
    }
}

/// The layers as the manifest lists them, base first.
fn blobs(documents: &Documents) -> Result<Vec<Blob>> {
    let bad = |text: String| Err(Error::new(ErrorKind::Registry, text));
    let (listed, diff_ids) = (documents.manifest.layers(), documents.parsed.diff_ids());
    if listed.len() != diff_ids.len() {
        let (manifest, config) = (listed.len(), diff_ids.len());
        return bad(format!("the manifest has {manifest} layers, the config {config}"));
    }
    if listed.len() > LAYERS {
        return bad(format!("the image has more than {LAYERS} layers"));
    }
    let blob = |it: &Descriptor| Blob { digest: it.digest.clone(), size: it.size };
    Ok(listed.iter().map(blob).collect())
}

/// What each blob has to hold. One blob may be listed several times.
fn expected(documents: &Documents) -> Vec<(Digest, crate::image::DiffId)> {
    let listed = documents.manifest.layers().iter().map(|it| it.digest.clone());
    listed.zip(documents.parsed.diff_ids().iter().cloned()).collect()
}

fn check(layer: &StagedLayer, expected: &[(Digest, crate::image::DiffId)]) -> Result<()> {
    let info = layer.info();
    for (digest, diff_id) in expected {
        if *digest == info.compressed_digest && *diff_id != info.diff_id {
            let text = format!(
                "layer {digest} has diff ID {} instead of {diff_id}, as the config says",
                info.diff_id
            );
            return Err(Error::new(ErrorKind::Registry, text));
        }
    }
    Ok(())
}
