//! Made-up stores for unit tests.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::{Timestamp, ZonedDateTime};
use serde_json::{Value, json};

use super::library::{DerivedCache, ImageData, Library, ReadError};
use crate::image::{DiffId, Digest, ImageId, LayerId, ShortNames, media_type};
use crate::storage::record::{ContainerRecord, ImageRecord, LayerRecord, Record};
use crate::storage::{Snapshot, StoredImage, StoredLayer};

/// A store in memory. Its graph root is `/store`, that of read-only images `/other`.
#[derive(Debug, Default)]
pub(super) struct MadeUp {
    pub(super) images: Vec<StoredImage>,
    pub(super) layers: Vec<StoredLayer>,
    pub(super) containers: Vec<Record<ContainerRecord>>,
    pub(super) items: Items,
    pub(super) short_names: ShortNames,
    pub(super) cache: DerivedCache,
}

/// Data items by image and key.
#[derive(Debug, Default)]
pub(super) struct Items(pub(super) HashMap<(ImageId, String), Bytes>);

impl ImageData for Items {
    fn read(&self, image: &StoredImage, key: &str) -> Result<Bytes, ReadError> {
        let item = self.0.get(&(image.record.id.clone(), key.to_owned()));
        item.cloned().ok_or_else(|| "file does not exist".into())
    }
}

/// What an image is made of.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// Beginning of the ID; without it the ID is the digest of the config.
    pub(super) id: Option<&'static str>,
    pub(super) names: Vec<&'static str>,
    pub(super) layer: Option<LayerId>,
    /// Members of the config other than `rootfs` and `history`.
    pub(super) config: Value,
    pub(super) diff_ids: Vec<DiffId>,
    pub(super) history: Value,
    pub(super) docker: bool,
    pub(super) annotations: Value,
    pub(super) created: &'static str,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            id: None,
            names: Vec::new(),
            layer: None,
            config: json!({"architecture": "amd64", "os": "linux"}),
            diff_ids: Vec::new(),
            history: json!([]),
            docker: false,
            annotations: json!({}),
            created: "2024-01-01T00:00:00Z",
        }
    }
}

pub(super) fn digest(seed: &str) -> Digest {
    Digest::of(seed.as_bytes())
}

/// An ID that begins with `start`.
pub(super) fn padded(start: &str) -> String {
    format!("{start:0<64}")
}

impl MadeUp {
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.images.clone(), self.layers.clone(), self.containers.clone())
    }

    /// A library at noon of 2026-11-23, UTC.
    pub(super) fn library(&self) -> Library<'_> {
        self.library_of(&self.snapshot())
    }

    pub(super) fn library_of(&self, snapshot: &Snapshot) -> Library<'_> {
        let now: ZonedDateTime = "2026-11-23T12:00:00+00:00[UTC]".parse().unwrap();
        Library::new(self.cache.get(snapshot), &self.items, &self.short_names, now)
    }

    /// A layer of `size` bytes with an ID that begins with `id`.
    pub(super) fn layer(&mut self, id: &str, parent: Option<&LayerId>, size: i64) -> LayerId {
        let id: LayerId = padded(id).parse().unwrap();
        let mut record = json!({
            "id": id,
            "diff-digest": digest(id.as_str()),
            "diff-size": size,
            "created": "2024-01-01T00:00:00Z",
        });
        if let Some(parent) = parent {
            record["parent"] = json!(parent);
        }
        self.push_layer(&record);
        id
    }

    pub(super) fn push_layer(&mut self, record: &Value) {
        let view: LayerRecord = serde_json::from_value(record.clone()).unwrap();
        self.layers.push(StoredLayer {
            record: Record::new(view).unwrap(),
            graph_root: std::path::Path::new("/store").into(),
            read_only: false,
        });
    }

    /// Diff IDs of a layer and those below, base first.
    pub(super) fn diff_ids(&self, top: &LayerId) -> Vec<DiffId> {
        let snapshot = self.snapshot();
        let mut ids: Vec<_> =
            snapshot.chain(top).iter().map(|layer| layer.record.diff_id.clone().unwrap()).collect();
        ids.reverse();
        ids
    }

    /// An image of one config and one manifest.
    pub(super) fn image(&mut self, recipe: Recipe) -> ImageId {
        let mut config = recipe.config;
        config["rootfs"] = json!({"type": "layers", "diff_ids": recipe.diff_ids});
        config["history"] = recipe.history;
        let config = Bytes::from(config.to_string());
        let config_digest = Digest::of(&config);
        let (manifest_type, config_type) = if recipe.docker {
            (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG)
        } else {
            (media_type::OCI_MANIFEST, media_type::OCI_CONFIG)
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": {"mediaType": config_type, "digest": config_digest, "size": config.len()},
            "layers": [],
            "annotations": recipe.annotations,
        });
        let manifest = Bytes::from(manifest.to_string());
        let id = match recipe.id {
            Some(id) => padded(id).parse().unwrap(),
            None => ImageId::of_config(&config_digest).unwrap(),
        };
        let own = Digest::of(&manifest);
        let items = vec![
            (config_digest.to_string(), config),
            (format!("manifest-{own}"), manifest.clone()),
            ("manifest".to_owned(), manifest),
        ];
        self.push(&id, &recipe.names, recipe.layer.as_ref(), recipe.created, Some(own), items);
        id
    }

    /// A manifest list of instances: digest and architecture, or no platform.
    pub(super) fn list(
        &mut self,
        id: &str,
        names: &[&'static str],
        instances: &[(&Digest, Option<&str>)],
    ) -> ImageId {
        let entries: Vec<Value> = instances
            .iter()
            .map(|(digest, architecture)| {
                let mut entry =
                    json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 2});
                if let Some(architecture) = architecture {
                    entry["platform"] = json!({"architecture": architecture, "os": "linux"});
                }
                entry
            })
            .collect();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": entries,
        });
        let index = Bytes::from(index.to_string());
        let id: ImageId = padded(id).parse().unwrap();
        let own = Digest::of(&index);
        self.push(
            &id,
            names,
            None,
            "2024-01-01T00:00:00Z",
            Some(own),
            vec![("manifest".to_owned(), index)],
        );
        id
    }

    fn push(
        &mut self,
        id: &ImageId,
        names: &[&'static str],
        layer: Option<&LayerId>,
        created: &str,
        digest: Option<Digest>,
        items: Vec<(String, Bytes)>,
    ) {
        let record = ImageRecord {
            id: id.clone(),
            digest,
            names: names.iter().map(ToString::to_string).collect(),
            names_history: names.iter().map(ToString::to_string).collect(),
            layer: layer.cloned(),
            mapped_layers: Vec::new(),
            metadata: String::new(),
            big_data_names: items.iter().map(|(key, _)| key.clone()).collect(),
            big_data_sizes: items
                .iter()
                .map(|(key, data)| (key.clone(), i64::try_from(data.len()).unwrap()))
                .collect(),
            big_data_digests: items
                .iter()
                .map(|(key, data)| (key.clone(), Digest::of(data)))
                .collect(),
            created: created.parse::<Timestamp>().unwrap(),
            flags: serde_json::Map::new(),
        };
        self.images.push(StoredImage {
            record: Record::new(record).unwrap(),
            graph_root: std::path::Path::new("/store").into(),
            read_only: false,
        });
        for (key, data) in items {
            self.items.0.insert((id.clone(), key), data);
        }
    }

    /// Changes the record of an image.
    pub(super) fn edit(&mut self, id: &ImageId, change: impl FnOnce(&mut ImageRecord)) {
        let image = self.images.iter_mut().find(|image| image.record.id == *id).unwrap();
        image.record.update(change).unwrap();
    }

    /// The digest an image was stored with.
    pub(super) fn digest_of(&self, id: &ImageId) -> Digest {
        let image = self.images.iter().find(|image| image.record.id == *id).unwrap();
        image.record.digest.clone().unwrap()
    }

    /// A container of an image, on a layer of its own.
    pub(super) fn container(&mut self, id: &str, image: &ImageId, layer: &LayerId) {
        let record = json!({"id": padded(id), "image": image, "layer": layer});
        let view: ContainerRecord = serde_json::from_value(record).unwrap();
        self.containers.push(Record::new(view).unwrap());
    }

    /// A recipe for an image on `layer`, with a history entry for each of `steps`.
    pub(super) fn on(&self, layer: &LayerId, steps: &[&'static str]) -> Recipe {
        let entry = |by: &&str| json!({"created": "2024-01-01T00:00:00Z", "created_by": by});
        Recipe {
            diff_ids: self.diff_ids(layer),
            layer: Some(layer.clone()),
            history: Value::Array(steps.iter().map(entry).collect()),
            ..Recipe::default()
        }
    }

    /// An image of [`MadeUp::on`].
    pub(super) fn plain(
        &mut self,
        names: &[&'static str],
        layer: &LayerId,
        steps: &[&'static str],
    ) -> ImageId {
        self.image(Recipe { names: names.to_vec(), ..self.on(layer, steps) })
    }
}

/// The JSON body of a recorded answer, one of `tests/data/samples`.
pub(super) fn body(sample: &str) -> Value {
    let (_, body) = sample.rsplit_once("\n\n").unwrap();
    serde_json::from_str(body).unwrap()
}
