//! What an image is, without any I/O: identifiers, references, manifests and configurations.
//!
//! Every type here is parsed once, at the border, and cannot hold a wrong value afterwards. Bytes
//! whose digest matters (manifests and configs) are kept as they came: a document is never
//! serialised again to find out what it hashes to.

mod changes;
mod config;
mod digest;
pub(crate) mod docker_document;
mod dockerfile;
pub(crate) mod document;
#[cfg(fuzzing)]
pub mod fuzzing;
mod go_duration;
pub mod go_json;
mod hosted;
mod id;
mod login;
mod manifest;
mod platform;
mod policy;
mod reference;
mod refusal;
mod registries;
mod rewrite;
mod shortnames;
mod signal;
mod transport;

pub use changes::ChangeError;
pub(crate) use changes::container_config;
pub use config::{ContainerConfig, Healthcheck, HistoryEntry, ImageConfig};
pub use digest::{DiffId, Digest, DigestError};
pub use docker_document::{DockerConfig, DockerHealthcheck};
pub use dockerfile::InstructionError;
pub(crate) use dockerfile::{apply as apply_instructions, set_variable};
pub use document::Empty;
pub use go_duration::go_duration;
pub use hosted::{ArchiveChoice, HostedImage, HostedPlace};
pub use id::{IdError, ImageId, LayerId};
pub use login::{Login, Logins, login_key, login_keys};
pub use manifest::{Descriptor, Manifest, ManifestError, ManifestKind, media_type};
pub use platform::Platform;
pub use policy::{Policy, PolicyFile, Source, Verdict};
pub use reference::{Reference, ReferenceError};
pub use refusal::Refusal;
pub use registries::{Mirror, MirrorPulls, PullSource, Registries, RegistryEntry};
pub use rewrite::{
    LayerBlob, ListEntry, Packing, RewriteError, docker_config_to_oci, docker_manifest,
    manifest_list, oci_manifest,
};
pub use shortnames::ShortNames;
pub use transport::{is_stored_name, registry_reference, transport};
