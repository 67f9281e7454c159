//! Config and manifest of a committed image, as Podman would write them.

use super::config::Draft;
use super::is_docker;
use crate::archive::ArchivedImage;
use crate::engine::{CommitOptions, Error, ErrorKind, Result};
use crate::image::docker_document::{DockerConfig, DockerImage};
use crate::image::document::{
    DockerDescriptor, DockerManifest, OciConfig, OciContainerConfig, OciDescriptor, OciManifest,
    OciRootFs, borrowed,
};
use crate::image::{
    DiffId, Digest, HistoryEntry, ImageConfig, Manifest, Reference, go_json, media_type,
};
use crate::layer::Unpacked;
use crate::storage::StoredLayer;

/// A layer in a manifest. All are named as they are in the store, uncompressed.
pub(super) struct LayerEntry {
    pub(super) diff_id: DiffId,
    size: u64,
}

impl LayerEntry {
    pub(super) fn stored(layer: &StoredLayer) -> Result<Self> {
        let record = &layer.record;
        let size = u64::try_from(record.diff_size).ok().filter(|size| *size > 0);
        match (&record.diff_id, size) {
            (Some(diff_id), Some(size)) => Ok(Self { diff_id: diff_id.clone(), size }),
            _ => {
                let text = format!("digest and size of layer {} are not known", record.id);
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    pub(super) fn staged(layer: &Unpacked) -> Self {
        Self { diff_id: layer.diff_id.clone(), size: layer.diff_size }
    }
}

impl Draft {
    /// The whole image.
    pub(super) fn image(
        self,
        layers: Vec<LayerEntry>,
        names: Vec<Reference>,
        options: &CommitOptions,
    ) -> Result<ArchivedImage> {
        let Self { mut image, annotations, steps, .. } = self;
        let has_base_history = !image.history.is_empty();
        image.history.extend(steps.into_iter().flatten());
        image.history.iter_mut().for_each(normalize);
        let listed = image.history.iter().filter(|entry| !entry.is_empty_layer()).count();
        if has_base_history && listed != layers.len() {
            let text = format!(
                "internal error: history lists {listed} non-empty layers, but we have {} layers on disk",
                layers.len()
            );
            return Err(Error::new(ErrorKind::Storage, text));
        }
        let diff_ids = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        image.rootfs = OciRootFs { kind: "layers".to_owned(), diff_ids: Some(diff_ids) };
        let config = if is_docker(options) {
            go_json::to_vec(&image)
        } else {
            go_json::to_vec(&oci_config(image))
        };
        let config = config.map_err(|error| unwritable(&error))?;
        let config_digest = Digest::of(&config);
        let size = config.len() as u64;
        let manifest = if is_docker(options) {
            go_json::to_vec(&docker_manifest(&config_digest, size, &layers))
        } else {
            let mut manifest = oci_manifest(&config_digest, size, &layers);
            manifest.annotations = borrowed(&annotations);
            go_json::to_vec(&manifest)
        };
        let manifest = manifest.map_err(|error| unwritable(&error))?;
        Ok(ArchivedImage {
            manifest: Manifest::parse(manifest).map_err(|error| unwritable(&error))?,
            index: None,
            parsed_config: ImageConfig::parse(&config).map_err(|error| unwritable(&error))?,
            config: config.into(),
            config_digest,
            diff_ids: layers.into_iter().map(|layer| layer.diff_id).collect(),
            names,
        })
    }
}

fn oci_manifest<'a>(config: &'a Digest, size: u64, layers: &'a [LayerEntry]) -> OciManifest<'a> {
    let descriptor = |media_type, digest, size| OciDescriptor {
        media_type,
        digest,
        size,
        annotations: Default::default(),
    };
    let layer = |it: &'a LayerEntry| {
        descriptor(media_type::OCI_LAYER, it.diff_id.digest().as_str(), it.size)
    };
    OciManifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST,
        config: descriptor(media_type::OCI_CONFIG, config.as_str(), size),
        layers: layers.iter().map(layer).collect(),
        annotations: Default::default(),
    }
}

fn docker_manifest<'a>(
    config: &'a Digest,
    size: u64,
    layers: &'a [LayerEntry],
) -> DockerManifest<'a> {
    let layer = |it: &'a LayerEntry| DockerDescriptor {
        media_type: media_type::DOCKER_LAYER,
        size: it.size,
        digest: it.diff_id.digest().as_str(),
    };
    DockerManifest {
        schema_version: 2,
        media_type: media_type::DOCKER_MANIFEST,
        config: DockerDescriptor {
            media_type: media_type::DOCKER_CONFIG,
            size,
            digest: config.as_str(),
        },
        layers: layers.iter().map(layer).collect(),
    }
}

/// What OCI has of a Docker config.
fn oci_config(image: DockerImage) -> OciConfig {
    OciConfig {
        created: image.created,
        author: Some(image.author),
        architecture: Some(image.architecture),
        os: Some(image.os),
        os_version: Some(image.os_version),
        os_features: Some(image.os_features),
        variant: Some(image.variant),
        config: Some(oci_container_config(image.config)),
        rootfs: image.rootfs,
        history: Some(image.history),
    }
}

fn oci_container_config(config: DockerConfig) -> OciContainerConfig {
    OciContainerConfig {
        user: Some(config.user),
        exposed_ports: Some(config.exposed_ports),
        env: config.env,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: config.volumes,
        working_dir: Some(config.working_dir),
        labels: config.labels,
        stop_signal: Some(config.stop_signal),
        args_escaped: Some(config.args_escaped),
    }
}

/// Go leaves out empty texts and `false`.
fn normalize(entry: &mut HistoryEntry) {
    for text in [&mut entry.created_by, &mut entry.author, &mut entry.comment] {
        text.take_if(|text| text.is_empty());
    }
    entry.empty_layer.take_if(|empty| !*empty);
}

fn unwritable(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::from_source(ErrorKind::Storage, error).context("writing the image's documents")
}
