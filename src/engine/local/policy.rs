//! What the signature policy of the host says about images that do not come from a registry.

use super::{Shared, failure};
use crate::engine::Result;
use crate::image::{ImageId, PolicyFile, Source};
use crate::registry;
use crate::sys::Cancel;

/// Whether an image may be used. Blocking; one small read.
pub(super) fn check(policy: &PolicyFile, source: &Source) -> Result<()> {
    registry::policy::check(policy, source).map_err(failure::registry)
}

/// Whether an image of the store may be copied to somewhere else. Blocking; one small read.
pub(super) fn check_stored(shared: &Shared, id: &ImageId) -> Result<()> {
    let options = shared.store.options();
    let source = Source::stored(&options.graph_root, &options.run_root, id);
    let policy = &shared.options.registry.policy;
    let checked = check(policy, &source.clone().without_signatures());
    if checked.is_ok() || !is_signed(shared, id)? {
        return checked;
    }
    check(policy, &source)
}

/// Whether a tool has kept signatures with an image. They are not kept here.
fn is_signed(shared: &Shared, id: &ImageId) -> Result<bool> {
    let snapshot = shared.snapshot(&Cancel::new())?;
    let metadata = snapshot.image(id).map(|image| image.record.metadata.as_str());
    Ok(!matches!(metadata, None | Some("" | "{}")))
}
