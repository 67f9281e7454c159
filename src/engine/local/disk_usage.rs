//! How much space images take, and how much of it would be free without them.

use std::collections::{HashMap, HashSet};

use super::library::Library;
use super::size;
use super::stored_name::StoredName;
use crate::engine::{DiskUsageReport, ImageUsage};
use crate::image::LayerId;
use crate::storage::record::ImageRecord;
use crate::storage::{Snapshot, StoredLayer};

/// The space that images take. Layers that are missing take none.
pub(super) fn disk_usage(library: &Library<'_>) -> DiskUsageReport {
    let snapshot = library.snapshot();
    // Layers of containers have no recorded size, and measuring reads their directories.
    let sizes: HashMap<&LayerId, i64> =
        snapshot.layers().iter().map(|layer| (&layer.record.id, size::of_layer(layer))).collect();
    let layers_of: Vec<Vec<&StoredLayer>> =
        library.images().iter().map(|image| layers(snapshot, &image.record)).collect();
    let mut users: HashMap<&LayerId, usize> = HashMap::new();
    for layer in layers_of.iter().flatten() {
        *users.entry(&layer.record.id).or_default() += 1;
    }
    let mut report = DiskUsageReport {
        images_size_bytes: sizes.values().fold(0, |sum: i64, size| sum.saturating_add(*size)),
        images: Vec::new(),
    };
    for (image, layers) in library.images().iter().zip(layers_of) {
        let record = &image.record;
        let items = size::of_items(record);
        let (mut shared, mut unique) = (0i64, items);
        for layer in layers {
            let id = &layer.record.id;
            let size = sizes.get(id).copied().unwrap_or_default();
            let several = users.get(id).is_some_and(|users| *users > 1);
            let sum = if several { &mut shared } else { &mut unique };
            *sum = sum.saturating_add(size);
        }
        report.images_size_bytes = report.images_size_bytes.saturating_add(items);
        let usage = ImageUsage {
            repository: None,
            tag: None,
            id: record.id.clone(),
            created: record.created,
            shared_bytes: shared,
            unique_bytes: unique,
            containers: snapshot.containers_of(&record.id).count(),
        };
        if record.names.is_empty() {
            report.images.push(usage);
            continue;
        }
        for name in &record.names {
            let name = StoredName::new(name);
            report.images.push(ImageUsage {
                repository: Some(name.repository.to_owned()),
                tag: name.tag.map(str::to_owned),
                ..usage.clone()
            });
        }
    }
    report
}

/// All layers of an image, each once.
fn layers<'a>(snapshot: &'a Snapshot, record: &ImageRecord) -> Vec<&'a StoredLayer> {
    let tops = record.layer.iter().chain(&record.mapped_layers);
    let mut seen = HashSet::new();
    let all = tops.flat_map(|top| snapshot.chain(top));
    all.filter(|layer| seen.insert(&layer.record.id)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::MadeUp;
    use super::*;

    #[test]
    fn layers_of_several_images_are_shared() {
        let mut store = MadeUp::default();
        let base = store.layer("1", None, 100);
        let middle = store.layer("2", Some(&base), 20);
        let top = store.layer("3", Some(&middle), 3);
        let writable = store.layer("4", Some(&top), 1000);
        let first =
            store.plain(&["localhost/a:1", "localhost/a@sha256:12"], &top, &["a", "b", "c"]);
        let second = store.plain(&[], &middle, &["x", "y"]);
        store.list("9", &["localhost/list:1"], &[]);
        store.container("c", &first, &writable);
        let library = store.library();
        let items = |at: usize| size::of_items(&library.images()[at].record);
        let report = disk_usage(&library);
        let rows: Vec<_> = report
            .images
            .iter()
            .map(|row| {
                let names = (row.repository.as_deref(), row.tag.as_deref());
                (names, row.id.clone(), row.shared_bytes, row.unique_bytes, row.containers)
            })
            .collect();
        let list = library.images()[2].record.id.clone();
        assert_eq!(
            rows,
            [
                ((Some("localhost/a"), Some("1")), first.clone(), 120, 3 + items(0), 1),
                ((Some("localhost/a"), None), first, 120, 3 + items(0), 1),
                ((None, None), second, 120, items(1), 0),
                ((Some("localhost/list"), Some("1")), list, 0, items(2), 0),
            ]
        );
        assert_eq!(report.images_size_bytes, 1123 + items(0) + items(1) + items(2));
    }
}
