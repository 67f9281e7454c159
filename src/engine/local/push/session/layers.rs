//! The layers of an image: which of their blobs the registry has, and how it gets the others.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::pack::{How, Outcome, pack};
use super::super::plan::{ImagePlan, LayerPlan};
use super::{Session, place_of};
use crate::engine::local::blob_forms::Seen;
use crate::engine::local::failure;
use crate::engine::{ByteStream, Error, ErrorKind, PushCompression, Result};
use crate::image::{DiffId, LayerBlob, ManifestKind, Packing};
use crate::registry::{self, Destination, Mount, Upload};
use crate::storage::Snapshot;

/// Layers that are looked for at the same time.
const LOOKED_FOR_AT_ONCE: usize = 6;
/// Attempts to take a layer from other repositories.
const MOUNTS: usize = 3;

impl Session<'_> {
    /// Sees to it that the registry has all layers; their blobs, base first.
    pub(super) async fn layers(
        &self,
        plan: &ImagePlan,
        kind: ManifestKind,
    ) -> Result<Vec<LayerBlob>> {
        // A layer can be there twice.
        let mut distinct: Vec<&LayerPlan> = Vec::new();
        for layer in &plan.layers {
            if distinct.iter().all(|known| known.diff_id != layer.diff_id) {
                distinct.push(layer);
            }
        }
        let mut jobs = Vec::with_capacity(distinct.len());
        for layer in distinct {
            jobs.push(async move {
                let blob = self.layer(plan, layer, kind).await?;
                Ok::<_, Error>((&layer.diff_id, blob))
            });
        }
        let blobs: HashMap<&DiffId, LayerBlob> =
            stream::iter(jobs).buffer_unordered(LOOKED_FOR_AT_ONCE).try_collect().await?;
        let missing = || Error::new(ErrorKind::Storage, "a layer got lost");
        let blob = |layer: &LayerPlan| blobs.get(&layer.diff_id).cloned().ok_or_else(missing);
        plan.layers.iter().map(blob).collect()
    }

    async fn layer(
        &self,
        plan: &ImagePlan,
        layer: &LayerPlan,
        kind: ManifestKind,
    ) -> Result<LayerBlob> {
        let diff_id = &layer.diff_id;
        self.step(format!("Copying blob {diff_id}\n")).await;
        let how = self.how(kind);
        let reusing = |error: registry::Error| {
            let place = format!("trying to reuse blob {diff_id} at destination");
            failure::registry(error).context(place)
        };
        let destination = self.destination().await.map_err(reusing)?;
        let fits = |blob: &LayerBlob| {
            let named = kind == ManifestKind::Oci || blob.packing != Packing::Zstd;
            named && (!self.options.force_compression || blob.packing == how.packing())
        };
        let known = || layer.blobs.iter().filter(|blob| fits(blob));
        if let Some(blob) = known().find(|blob| self.was_there(destination, &blob.digest)) {
            return Ok(blob.clone());
        }
        for blob in known() {
            if self.has(destination, diff_id, blob).await.map_err(reusing)? {
                self.note(layer, blob, destination);
                return Ok(blob.clone());
            }
        }
        let here = place_of(destination);
        let mut begun = None;
        let elsewhere = layer.elsewhere(&plan.origins, &here);
        let elsewhere: Vec<_> = elsewhere.into_iter().filter(|(blob, _)| fits(blob)).collect();
        for (blob, place) in elsewhere.iter().take(MOUNTS) {
            match destination.mount(&blob.digest, &place.repository).await {
                Ok(Mount::Done) => {
                    self.note(layer, blob, destination);
                    return Ok(blob.clone());
                }
                Ok(Mount::Upload(upload)) => begun = Some(upload),
                // That repository may be gone, or not be ours to read.
                Err(error) => tracing::debug!(%error, "a blob could not be mounted"),
            }
        }
        let permit = self.sending.acquire().await;
        self.has_sent.store(true, Ordering::Relaxed);
        let blob = self.upload(destination, &plan.snapshot, layer, how, begun).await?;
        drop(permit);
        self.note(layer, &blob, destination);
        Ok(blob)
    }

    /// How layers are packed for a manifest of this kind.
    fn how(&self, kind: ManifestKind) -> How {
        let compression = match kind {
            ManifestKind::Oci => self.options.compression,
            // There is no name for anything else.
            _ => PushCompression::Gzip,
        };
        let level =
            self.options.compression_level.filter(|_| compression == self.options.compression);
        How { compression, level }
    }

    fn note(&self, layer: &LayerPlan, blob: &LayerBlob, destination: &Destination) {
        let place = place_of(destination);
        self.recent().note(&place, &blob.digest);
        // What is not packed is known anyway.
        if blob.packing == Packing::Plain {
            return;
        }
        let seen = Seen { diff_id: layer.diff_id.clone(), blob: blob.clone(), place };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    /// Packs a layer and sends it, from the beginning again if that fails half way.
    async fn upload(
        &self,
        destination: &Destination,
        snapshot: &Snapshot,
        layer: &LayerPlan,
        how: How,
        mut begun: Option<Upload>,
    ) -> Result<LayerBlob> {
        let writing = |error| failure::registry(error).context("writing blob");
        let mut failed = 0;
        let mut made = None;
        loop {
            let packed = pack(self.engine, snapshot, &layer.id, how);
            let outcome = packed.outcome;
            let sent = send(destination, packed.body, &outcome, begun.take(), &mut made).await;
            let unreadable =
                |error: Error| error.context(format!("reading blob {}", layer.diff_id));
            match (sent, outcome.take()) {
                (Ok(blob), _) => return Ok(blob),
                (Err(_), Err(error)) => return Err(unreadable(error)),
                (Err(error), Ok(_)) => {
                    self.retry.again(&mut failed, error).await.map_err(writing)?;
                }
            }
            if let Some(blob) = &made
                && self.has(destination, &layer.diff_id, blob).await.map_err(writing)?
            {
                // Only the answer was lost.
                return Ok(blob.clone());
            }
        }
    }

    /// Whether the registry has a blob of a layer. One of another length is not the one that was seen.
    async fn has(
        &self,
        destination: &Destination,
        layer: &DiffId,
        blob: &LayerBlob,
    ) -> Result<bool, registry::Error> {
        let mut failed = 0;
        loop {
            match destination.find_blob(&blob.digest, layer.digest()).await {
                Ok(found) => {
                    let same = |size: Option<u64>| size.is_none_or(|size| size == blob.size);
                    return Ok(found.is_some_and(|found| same(found.size)));
                }
                Err(error) => self.retry.again(&mut failed, error).await?,
            }
        }
    }
}

/// Sends the bytes of a blob, into `begun` if that is an upload, and tells the registry their digest.
/// `made` is the blob if they all were sent.
async fn send(
    destination: &Destination,
    mut body: ByteStream,
    outcome: &Outcome,
    begun: Option<Upload>,
    made: &mut Option<LayerBlob>,
) -> Result<LayerBlob, registry::Error> {
    // The registry is asked when there is something to send: other work may come first.
    let first = body.next().await;
    let mut upload = match begun {
        Some(upload) => upload,
        None => destination.begin().await?,
    };
    let sent = upload.send(stream::iter(first).chain(body).boxed()).await;
    match outcome.made() {
        Some(blob) => {
            sent?;
            *made = Some(blob.clone());
            upload.finish(&blob.digest, Bytes::new()).await?;
            Ok(blob)
        }
        None => {
            sent?;
            // A failure to read the layer is told by its outcome.
            let text = "uploading layer chunked: the registry did not take all of it";
            Err(registry::Error::new(registry::ErrorKind::Answer, text))
        }
    }
}
