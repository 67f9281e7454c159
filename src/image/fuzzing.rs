//! What the fuzz targets call, and nobody else outside of the library.

use super::{DockerConfig, apply_instructions, container_config};

/// Understands changes of an import. Whether they are any good.
pub fn import_changes(changes: &[String]) -> bool {
    container_config(changes).is_ok()
}

/// Follows changes of a commit. Whether they are any good.
pub fn commit_changes(changes: &[String]) -> bool {
    apply_instructions(changes, &mut DockerConfig::default()).is_ok()
}
