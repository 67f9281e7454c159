//! All records of the store at one instant.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::record::{ContainerRecord, ImageRecord, LayerRecord, Record};
use crate::image::{ImageId, LayerId};

/// An immutable view of the store's records. Cheap to clone; made under read locks, used without.
#[derive(Debug, Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    images: Vec<StoredImage>,
    layers: Vec<StoredLayer>,
    containers: Vec<Record<ContainerRecord>>,
    image_index: HashMap<ImageId, usize>,
    layer_index: HashMap<LayerId, usize>,
    children: HashMap<LayerId, Vec<usize>>,
    by_top_layer: HashMap<LayerId, Vec<usize>>,
    containers_by_image: HashMap<ImageId, Vec<usize>>,
}

/// An image and the store it is in.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// The record.
    pub record: Record<ImageRecord>,
    /// Graph root of the store that has it.
    pub graph_root: Arc<Path>,
    /// It is in an additional store.
    pub read_only: bool,
}

/// A layer and the store it is in.
#[derive(Debug, Clone)]
pub struct StoredLayer {
    /// The record.
    pub record: Record<LayerRecord>,
    /// Graph root of the store that has it.
    pub graph_root: Arc<Path>,
    /// It is in an additional store.
    pub read_only: bool,
}

impl Snapshot {
    /// Indexes records. Images and layers of the primary store come first; where an ID occurs more
    /// than once, the first one counts.
    pub fn new(
        images: Vec<StoredImage>,
        layers: Vec<StoredLayer>,
        containers: Vec<Record<ContainerRecord>>,
    ) -> Self {
        let mut image_index = HashMap::with_capacity(images.len());
        let mut by_top_layer: HashMap<LayerId, Vec<usize>> = HashMap::new();
        for (at, image) in images.iter().enumerate() {
            image_index.entry(image.record.id.clone()).or_insert(at);
            if let Some(layer) = &image.record.layer {
                by_top_layer.entry(layer.clone()).or_default().push(at);
            }
        }
        let mut layer_index = HashMap::with_capacity(layers.len());
        let mut children: HashMap<LayerId, Vec<usize>> = HashMap::new();
        for (at, layer) in layers.iter().enumerate() {
            layer_index.entry(layer.record.id.clone()).or_insert(at);
            if let Some(parent) = &layer.record.parent {
                children.entry(parent.clone()).or_default().push(at);
            }
        }
        let mut containers_by_image: HashMap<ImageId, Vec<usize>> = HashMap::new();
        for (at, container) in containers.iter().enumerate() {
            if let Some(image) = &container.image {
                containers_by_image.entry(image.clone()).or_default().push(at);
            }
        }
        let inner = Inner {
            images,
            layers,
            containers,
            image_index,
            layer_index,
            children,
            by_top_layer,
            containers_by_image,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Images in storage order.
    pub fn images(&self) -> &[StoredImage] {
        &self.inner.images
    }

    /// Layers in storage order.
    pub fn layers(&self) -> &[StoredLayer] {
        &self.inner.layers
    }

    /// Containers of every tool, in storage order.
    pub fn containers(&self) -> &[Record<ContainerRecord>] {
        &self.inner.containers
    }

    /// The image with this ID.
    pub fn image(&self, id: &ImageId) -> Option<&StoredImage> {
        self.inner.image_index.get(id).map(|&at| &self.inner.images[at])
    }

    /// The layer with this ID.
    pub fn layer(&self, id: &LayerId) -> Option<&StoredLayer> {
        self.inner.layer_index.get(id).map(|&at| &self.inner.layers[at])
    }

    /// Layers directly on top of this one, in storage order, containers' layers too.
    pub fn children<'a>(&'a self, id: &LayerId) -> impl Iterator<Item = &'a StoredLayer> {
        self.inner.children.get(id).into_iter().flatten().map(|&at| &self.inner.layers[at])
    }

    /// Images whose top layer this is, in storage order.
    pub fn images_on<'a>(&'a self, layer: &LayerId) -> impl Iterator<Item = &'a StoredImage> {
        self.inner.by_top_layer.get(layer).into_iter().flatten().map(|&at| &self.inner.images[at])
    }

    /// Containers made from this image.
    pub fn containers_of<'a>(
        &'a self,
        image: &ImageId,
    ) -> impl Iterator<Item = &'a Record<ContainerRecord>> {
        self.inner
            .containers_by_image
            .get(image)
            .into_iter()
            .flatten()
            .map(|&at| &self.inner.containers[at])
    }

    /// A layer and everything below it, top first. Stops at a layer that is not in the store, and
    /// at one that was already passed.
    pub fn chain<'a>(&'a self, top: &LayerId) -> Vec<&'a StoredLayer> {
        let mut chain: Vec<&StoredLayer> = Vec::new();
        let mut next = self.layer(top);
        while let Some(layer) = next {
            // A record can name any parent, also one of its own descendants.
            if chain.len() > self.inner.layers.len() {
                break;
            }
            chain.push(layer);
            next = layer.record.parent.as_ref().and_then(|parent| self.layer(parent));
        }
        chain
    }

    /// Whether both are the same snapshot, so that what was derived from one holds for the other.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}
