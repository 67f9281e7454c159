//! Who needs a layer.

use std::collections::HashMap;

use super::record::{ContainerRecord, ImageRecord, LayerRecord, Record};
use crate::image::LayerId;

/// Counts for each layer the images, containers and layers that refer to it. Layers that an image
/// has below its top layer are counted through their children.
#[derive(Debug, Default, Clone)]
pub(super) struct Usage(HashMap<LayerId, usize>);

impl Usage {
    pub(super) fn count<'a>(
        layers: impl Iterator<Item = &'a Record<LayerRecord>>,
        images: impl Iterator<Item = &'a Record<ImageRecord>>,
        containers: impl Iterator<Item = &'a Record<ContainerRecord>>,
    ) -> Self {
        let mut usage = Self::default();
        layers.filter_map(|layer| layer.parent.as_ref()).for_each(|parent| usage.add(parent));
        images.flat_map(|image| tops(image)).for_each(|top| usage.add(top));
        containers.for_each(|container| usage.add(&container.layer));
        usage
    }

    fn add(&mut self, layer: &LayerId) {
        *self.0.entry(layer.clone()).or_default() += 1;
    }

    /// One who referred to the layer is gone.
    pub(super) fn release(&mut self, layer: &LayerId) {
        if let Some(count) = self.0.get_mut(layer) {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn is_needed(&self, layer: &LayerId) -> bool {
        self.0.get(layer).is_some_and(|count| *count > 0)
    }
}

/// Layers an image refers to: ID-mapped copies first, then the top layer.
pub(super) fn tops(image: &ImageRecord) -> impl Iterator<Item = &LayerId> {
    image.mapped_layers.iter().chain(&image.layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> LayerId {
        digit.to_string().repeat(64).parse().unwrap()
    }

    fn records<T: serde::Serialize + serde::de::DeserializeOwned + Clone>(
        json: &str,
    ) -> Vec<Record<T>> {
        let long = |digit: char| digit.to_string().repeat(64);
        let text = ['1', '2', '3', '4', '5', '9'].iter().fold(json.to_owned(), |text, &digit| {
            text.replace(&format!("\"{digit}\""), &format!("\"{}\"", long(digit)))
        });
        Record::parse_all(&text.into()).unwrap()
    }

    #[test]
    fn everyone_who_refers_to_a_layer_counts() {
        let layers = records::<LayerRecord>(
            r#"[{"id":"1"},{"id":"2","parent":"1"},{"id":"3","parent":"2"},{"id":"4","parent":"1"},{"id":"5"}]"#,
        );
        let images = records::<ImageRecord>(r#"[{"id":"9","layer":"2","mapped-layers":["4"]}]"#);
        let containers = records::<ContainerRecord>(r#"[{"id":"c","image":"","layer":"3"}]"#);
        let mut usage = Usage::count(layers.iter(), images.iter(), containers.iter());
        let needed = |usage: &Usage| ['1', '2', '3', '4', '5'].map(|it| usage.is_needed(&id(it)));
        assert_eq!(needed(&usage), [true, true, true, true, false]);
        tops(&images[0]).for_each(|top| usage.release(top));
        // The container's layer is on top of layer 2.
        assert_eq!(needed(&usage), [true, true, true, false, false]);
        usage.release(&id('2'));
        usage.release(&id('1'));
        assert_eq!(needed(&usage), [true, false, true, false, false]);
        usage.release(&id('1'));
        assert_eq!(needed(&usage), [false, false, true, false, false]);
    }
}
