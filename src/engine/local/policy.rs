//! What the signature policy of the host says about images that do not come from a registry.

use super::{Shared, failure};
use crate::engine::Result;
use crate::image::{ImageId, PolicyFile, Source};
use crate::registry;

/// Whether an image may be used. Blocking; one small read.
pub(super) fn check(policy: &PolicyFile, source: &Source) -> Result<()> {
    registry::policy::check(policy, source).map_err(failure::registry)
}

/// Whether an image of the store may be copied to somewhere else. Blocking; one small read.
pub(super) fn check_stored(shared: &Shared, id: &ImageId) -> Result<()> {
    let options = shared.store.options();
    let source = Source::stored(&options.graph_root, &options.run_root, id);
    check(&shared.options.registry.policy, &source)
}
