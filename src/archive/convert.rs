//! Turning Docker configs into OCI ones, as the Go libraries do.
//!
//! A Docker config becomes an OCI config by dropping what OCI does not have, so its digest, and
//! with it the image ID, changes.

use serde_json::Value;

use crate::image::document::OciConfig;
use crate::image::go_json;

/// The OCI form of a Docker config.
pub(super) fn docker_config_to_oci(config: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut oci: OciConfig = serde_json::from_slice(config)?;
    oci.architecture.get_or_insert_default();
    oci.os.get_or_insert_default();
    oci.config.get_or_insert_default();
    for entry in oci.history.iter_mut().flatten() {
        // Go leaves out empty texts and `false`, and writes times in its own form.
        for text in [&mut entry.created_by, &mut entry.author, &mut entry.comment] {
            text.take_if(|text| text.is_empty());
        }
        entry.empty_layer.take_if(|empty| !*empty);
        entry.created = entry.created_at().map(|time| time.to_string());
    }
    go_json::to_vec(&oci)
}

/// Whether a config, read as generic JSON, is an object at all.
pub(super) fn is_object(config: &[u8]) -> bool {
    matches!(serde_json::from_slice::<Value>(config), Ok(Value::Object(_)))
}
