//! Which container a name means.

use crate::engine::{Error, ErrorKind, Result};
use crate::storage::Snapshot;
use crate::storage::record::{ContainerRecord, Record};

/// The container with this ID or name, or else the only one whose ID begins with it. In Podman's
/// words, as far as it has any: it does not know containers of other tools.
pub(super) fn container<'a>(
    snapshot: &'a Snapshot,
    wanted: &str,
) -> Result<&'a Record<ContainerRecord>> {
    let failed = |text: &str| Error::new(ErrorKind::NoSuchContainer, text);
    if wanted.is_empty() {
        return Err(failed("name or ID cannot be empty"));
    }
    let containers = || snapshot.containers().iter();
    let by_id = containers().find(|container| container.id == wanted);
    let by_name = || containers().find(|it| it.names.iter().any(|name| name == wanted));
    if let Some(container) = by_id.or_else(by_name) {
        return Ok(container);
    }
    let mut beginning = containers().filter(|container| container.id.starts_with(wanted));
    match (beginning.next(), beginning.next()) {
        (Some(container), None) => Ok(container),
        (None, _) => Err(failed("no such container")
            .context(format!("no container with name or ID {wanted:?} found"))),
        (Some(_), Some(_)) => Err(failed("container already exists")
            .context(format!("more than one result for container {wanted:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{MadeUp, padded};
    use super::*;

    #[test]
    fn ids_and_names_come_before_beginnings() {
        let mut store = MadeUp::default();
        let layer = store.layer("1", None, 1);
        let image = store.plain(&[], &layer, &["a"]);
        for id in ["ab1", "ab2", "c"] {
            store.container(id, &image, &layer);
        }
        store.containers[1].update(|container| container.names = vec!["c0".into()]).unwrap();
        let snapshot = store.snapshot();
        let found = |wanted: &str| {
            container(&snapshot, wanted)
                .map(|container| container.id.clone())
                .map_err(|error| (error.to_string(), error.cause().to_owned()))
        };
        for (wanted, id) in [("ab1", "ab1"), (&padded("ab2"), "ab2"), ("c", "c"), ("c0", "ab2")] {
            assert_eq!(found(wanted), Ok(padded(id)), "{wanted}");
        }
        for (wanted, text, cause) in [
            ("", "name or ID cannot be empty", "name or ID cannot be empty"),
            (
                "x",
                "no container with name or ID \"x\" found: no such container",
                "no such container",
            ),
            (
                "ab",
                "more than one result for container \"ab\": container already exists",
                "container already exists",
            ),
        ] {
            assert_eq!(found(wanted), Err((text.to_owned(), cause.to_owned())));
        }
    }
}
