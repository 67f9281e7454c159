//! What failures of the parts below mean to callers.

use std::io;
use std::sync::Arc;

use crate::engine::{Error, ErrorKind};
use crate::storage::record::ContainerRecord;
use crate::sys::{self, Canceled};
use crate::{archive, container, layer, registry, storage};

/// A failure of the store. By value, for `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn storage(error: storage::Error) -> Error {
    use storage::Error as E;
    let kind = match &error {
        E::InUse { container, .. } => return in_use(container),
        E::ContainerMounted { container } => return in_use_by_mounted(container),
        E::Canceled(_) => ErrorKind::Canceled,
        E::ImageNotKnown { .. } => ErrorKind::NoSuchImage,
        E::Layer(error) if error.is_limit() => ErrorKind::TooLarge,
        E::Layer(layer::Error::Confine(_) | layer::Error::Thread) => ErrorKind::Storage,
        E::MissingLayer { .. } | E::Layer(_) => ErrorKind::BadArchive,
        E::UnsupportedDriver { .. } | E::UnsupportedFeature { .. } | E::UnsupportedLayer { .. } => {
            ErrorKind::Unsupported
        }
        E::ReadOnly { .. } => ErrorKind::Denied,
        E::Mounted { .. } => ErrorKind::Conflict,
        _ => ErrorKind::Storage,
    };
    let kind = if is_exhaustion(&error) { ErrorKind::Exhausted } else { kind };
    Error::from_source(kind, &error)
}

/// A failure to read a file of this machine.
pub(super) fn reading(error: &(dyn std::error::Error + 'static)) -> Error {
    let kind = if is_exhaustion(error) { ErrorKind::Exhausted } else { ErrorKind::Storage };
    Error::from_source(kind, error)
}

/// What is wrong with an archive.
pub(super) fn archive(error: &archive::Error) -> Error {
    let kind = if error.is_limit() { ErrorKind::TooLarge } else { ErrorKind::BadArchive };
    Error::from_source(kind, error)
}

/// A failure of a transfer, which tells what the registry said no with.
pub(super) fn transfer(error: registry::Error) -> Error {
    let refusal = error.refusal();
    let error = registry(error);
    match refusal {
        Some(refusal) => error.of_kind(ErrorKind::Refused(refusal)),
        None => error,
    }
}

/// A failure with another server.
pub(super) fn registry(error: registry::Error) -> Error {
    let kind = match error.kind() {
        registry::ErrorKind::Unauthorized | registry::ErrorKind::Rejected => ErrorKind::Denied,
        registry::ErrorKind::BadRequest => ErrorKind::BadRequest,
        registry::ErrorKind::Network | registry::ErrorKind::Answer => ErrorKind::Registry,
        registry::ErrorKind::Exhausted => ErrorKind::Exhausted,
    };
    let (chain, cause) = error.into_parts();
    let mut chain = chain.into_iter().rev();
    let innermost = Error::new(kind, chain.next().unwrap_or_default()).with_cause(cause);
    chain.fold(innermost, Error::context)
}

/// A failure with the books of other tools, or with stopping processes. By value, for `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn container(error: container::Error) -> Error {
    let kind = match &error {
        container::Error::Canceled(_) => ErrorKind::Canceled,
        error if is_exhaustion(error) => ErrorKind::Exhausted,
        _ => ErrorKind::Storage,
    };
    Error::from_source(kind, &error)
}

/// A failure of the store with a layer that nobody sent.
pub(super) fn own_layer(error: storage::Error) -> Error {
    let redirected = matches!(error, storage::Error::Layer(layer::Error::Redirected { .. }));
    let error = storage(error);
    match error.kind() {
        _ if redirected => error.of_kind(ErrorKind::Unsupported),
        ErrorKind::BadArchive => error.of_kind(ErrorKind::Storage),
        _ => error,
    }
}

/// The caller went away.
pub(super) fn canceled(canceled: Canceled) -> Error {
    Error::from_source(ErrorKind::Canceled, &canceled)
}

/// In Podman's words; clients look for the cause and print the advice.
pub(super) fn in_use(container: &str) -> Error {
    Error::new(ErrorKind::InUse, "image is in use by a container")
        .with_advice("consider listing external containers and force-removing image")
        .context(format!("image used by {container}"))
}

/// As [`in_use`], where the advice of the tools has been followed and does not help: the container
/// must stay.
pub(super) fn in_use_despite_force(
    container: &ContainerRecord,
    obstacle: &container::Obstacle,
) -> Error {
    let name = container.names.first().unwrap_or(&container.id);
    Error::new(ErrorKind::InUse, "image is in use by a container")
        .with_advice(format!(
            "container {name} is not removed ({obstacle}), remove it with the tool that made it"
        ))
        .context(format!("image used by {}", container.id))
}

/// As [`in_use`], for a container whose layer or files are mounted.
fn in_use_by_mounted(container: &str) -> Error {
    Error::new(ErrorKind::InUse, "image is in use by a container")
        .with_advice("the container is mounted, unmount or remove it with the tool that made it")
        .context(format!("image used by {container}"))
}

/// Whether a layer could not be unpacked because of this machine, not because of what is in it.
pub(super) fn is_ours(error: &layer::Error) -> bool {
    use layer::Error as E;
    use rustix::io::Errno;
    matches!(error, E::Canceled(_) | E::WriteTarSplit(_) | E::Confine(_) | E::Thread)
        || is_exhaustion(error)
        || system_error(error)
            .is_some_and(|errno| matches!(errno, Errno::IO | Errno::ROFS | Errno::NXIO))
}

/// Whether the system had no space, quota, memory or descriptors left.
fn is_exhaustion(error: &(dyn std::error::Error + 'static)) -> bool {
    system_error(error).is_some_and(sys::is_exhaustion)
}

/// The error number at the root of a chain, if the system gave one.
fn system_error(error: &(dyn std::error::Error + 'static)) -> Option<rustix::io::Errno> {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error
            .downcast_ref::<io::Error>()
            .or_else(|| Some(error.downcast_ref::<Arc<io::Error>>()?.as_ref()));
        if let Some(code) = io.and_then(io::Error::raw_os_error) {
            return Some(rustix::io::Errno::from_raw_os_error(code));
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_exhaustion() {
        for (code, kind) in [
            (28, ErrorKind::Exhausted),
            (122, ErrorKind::Exhausted),
            (24, ErrorKind::Exhausted),
            (5, ErrorKind::Storage),
        ] {
            let error = storage::Error::Io {
                operation: "writing",
                path: "/x".into(),
                source: io::Error::from_raw_os_error(code),
            };
            assert_eq!(storage(error).kind(), kind, "errno {code}");
        }
    }
}
