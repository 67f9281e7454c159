//! What the top layer of an image, or the layer of a container, changes.

use super::library::Library;
use super::resolve::Lists;
use super::{Shared, failure};
use crate::engine::{
    ChangeKind, ChangedPath, ChangesOf, ChangesOptions, Error, ErrorKind, ImageName, Result,
};
use crate::image::LayerId;
use crate::storage;
use crate::sys::Cancel;

/// Made by runtimes in the layers of containers, and so of no interest. As in Podman.
const OF_RUNTIMES: [&[u8]; 12] = [
    b"/dev",
    b"/etc/hostname",
    b"/etc/hosts",
    b"/etc/mtab",
    b"/etc/resolv.conf",
    b"/proc",
    b"/run",
    b"/run/.containerenv",
    b"/run/notify",
    b"/run/podman-init",
    b"/run/secrets",
    b"/sys",
];

/// Compares the layer that `name` means.
///
/// # Errors
/// [`NoSuchImage`](ErrorKind::NoSuchImage) if it means nothing that is looked for.
pub(super) fn changes(
    shared: &Shared,
    name: &ImageName,
    options: &ChangesOptions,
    cancel: &Cancel,
) -> Result<Vec<ChangedPath>> {
    let snapshot = shared.snapshot(cancel)?;
    let library = shared.library(&snapshot);
    let layer = layer_of(&library, name, options.of)?;
    let parent = options.parent.as_ref();
    let parent = parent.map(|parent| layer_of(&library, parent, options.of)).transpose()?;
    let changes = shared
        .store
        .changes(&snapshot, &layer, parent.as_ref(), cancel)
        .map_err(failure::storage)?;
    let changes = changes.into_iter().filter(|it| !OF_RUNTIMES.contains(&&*it.path));
    Ok(changes
        .map(|change| ChangedPath {
            path: String::from_utf8_lossy(&change.path).into_owned(),
            kind: match change.kind {
                storage::ChangeKind::Modified => ChangeKind::Modified,
                storage::ChangeKind::Added => ChangeKind::Added,
                storage::ChangeKind::Deleted => ChangeKind::Deleted,
            },
        })
        .collect())
}

/// The layer of an image, of a container, or by its own ID or name, in this order.
fn layer_of(library: &Library<'_>, name: &ImageName, of: ChangesOf) -> Result<LayerId> {
    let not_known = |what: &str| Error::new(ErrorKind::NoSuchImage, format!("{what} not known"));
    let mut failed = not_known("layer");
    if of != ChangesOf::Container {
        match library.lookup(name.as_str(), Lists::Instance) {
            Ok(found) => {
                return found.image.record.layer.clone().ok_or_else(|| not_known("layer"));
            }
            Err(error) if of == ChangesOf::Image => failed = error,
            Err(_) => {}
        }
    }
    let snapshot = library.snapshot();
    if of != ChangesOf::Image {
        let containers = snapshot.containers().iter();
        let containers = containers.map(|it| (it.id.as_str(), &it.names[..], &it.layer));
        match by_id_or_name(name.as_str(), containers) {
            Some(layer) => return Ok(layer.clone()),
            None if of == ChangesOf::Container => failed = not_known("container"),
            None => {}
        }
    }
    if of == ChangesOf::Any {
        let layers = snapshot.layers().iter().map(|layer| &layer.record);
        let layers = layers.map(|it| (it.id.as_str(), &it.names[..], &it.id));
        if let Some(layer) = by_id_or_name(name.as_str(), layers) {
            return Ok(layer.clone());
        }
    }
    Err(failed.context(format!("{name} not found")))
}

/// The record with this ID or name, or else the only one whose ID begins with it.
fn by_id_or_name<'a, T: PartialEq>(
    wanted: &str,
    records: impl Iterator<Item = (&'a str, &'a [String], T)> + Clone,
) -> Option<T> {
    let exact = |(id, names, _): &(&str, &[String], T)| {
        *id == wanted || names.iter().any(|name| name == wanted)
    };
    if let Some((_, _, found)) = records.clone().find(exact) {
        return Some(found);
    }
    let mut beginning = records.filter(|(id, ..)| !wanted.is_empty() && id.starts_with(wanted));
    let (_, _, found) = beginning.next()?;
    beginning.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MadeUp, padded};
    use super::*;

    #[test]
    fn names_mean_images_then_containers_then_layers() {
        let mut store = MadeUp::default();
        let base = store.layer("1a", None, 1);
        let top = store.layer("1b", Some(&base), 1);
        let writable = store.layer("2", Some(&top), 1);
        let image = store.plain(&["localhost/a:1"], &top, &["a"]);
        store.container("c", &image, &writable);
        store.list("f", &["localhost/list:1"], &[]);
        let library = store.library();
        let found = |name: &str, of: ChangesOf| {
            layer_of(&library, &ImageName::new(name), of).map_err(|error| error.to_string())
        };
        let (any, container, only_image) = (ChangesOf::Any, ChangesOf::Container, ChangesOf::Image);
        assert_eq!(found("a:1", any), Ok(top.clone()));
        assert_eq!(found(image.as_str(), only_image), Ok(top.clone()));
        assert_eq!(found("c", any), Ok(writable.clone()));
        assert_eq!(found(&padded("c"), container), Ok(writable.clone()));
        assert_eq!(found("1b", any), Ok(top));
        assert_eq!(found(base.as_str(), any), Ok(base));
        for (name, of, error) in [
            ("1", any, "1 not found: layer not known"),
            ("nope", any, "nope not found: layer not known"),
            ("a:1", container, "a:1 not found: container not known"),
            ("", container, " not found: container not known"),
            ("kc", only_image, "kc not found: kc: image not known"),
            ("2", only_image, "2 not found: 2: image not known"),
        ] {
            assert_eq!(found(name, of), Err(error.to_owned()));
        }
    }
}
