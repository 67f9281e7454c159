//! A containers/storage store on disk, shared with Podman, Buildah, Skopeo and CRI-O.
//!
//! All of them read and write these directories at the same time, without knowing of each other.
//! What keeps them apart are locks, the order they are taken in, and marks in the lock files; all of
//! it has to be exactly as containers/storage does it. Only the overlay driver is supported. Nothing
//! here mounts, runs or makes containers; they are removed, if that is asked for, with their image.
//!
//! # On disk
//!
//! ```text
//! GRAPHROOT/
//!   overlay/<layer>/diff            content of a layer
//!   overlay/<layer>/{link,lower,lower-layers,work,merged,empty}
//!   overlay/l/<26 characters>       symbolic link to ../<layer>/diff
//!   overlay/tempdirs/               layers being unpacked or deleted, each with a lock
//!   overlay/.has-mount-program      whether deletions are stored as .wh. files
//!   overlay-layers/layers.json, volatile-layers.json, layers.lock
//!   overlay-layers/<layer>.tar-split.gz
//!   overlay-layers/tmp/             tar-splits and data items not in place yet, each with a lock
//!   overlay-images/images.json, images.lock
//!   overlay-images/<image>/<key>    data items: manifests, config
//!   overlay-containers/containers.json, volatile-containers.json, containers.lock
//!   overlay-containers/<container>/ files of its owner, also below RUNROOT
//! RUNROOT/
//!   overlay-layers/mountpoints.json, mountpoints.lock
//!   overlay-{layers,containers}/    volatile files and the containers' lock of a transient store
//! ```
//!
//! # Locks
//!
//! | lock | guards | taken here by |
//! |---|---|---|
//! | `layers.lock` | records, directories, links and tar-splits of layers | everything |
//! | `images.lock` | records and data items of images | everything but opening a layer |
//! | `containers.lock` | records of containers | the same, shared; alone by who removes some |
//! | `mountpoints.lock` | mount counts | removal of layers, shared |
//!
//! They are taken in this order, those of additional stores right after the primary one's. Readers
//! hold them shared, for two short reads if nothing changed, and not at all while a writer of ours that
//! only adds something holds them; [`Transaction`] holds those of layers and images alone. Nothing is
//! unpacked, hashed, synced in bulk or deleted in bulk while they are held. A writer leaves a new mark in a lock file before it replaces the records behind it; readers
//! compare the mark with the one they remember.
//!
//! # How an image gets in
//!
//! [`Store::stage`] unpacks layers, in any order, into locked temporary directories.
//! [`Store::commit`] writes into them what depends on the layers below, syncs the file system once,
//! takes the locks, records the layers as incomplete, renames them into place, records them as
//! complete, moves the data items into place and saves the images' records. Dying on the way leaves
//! incomplete layers, which every tool removes, complete ones named in an *intent* file, which we
//! remove, or temporary directories without a living owner.
//!
//! After a power cut the same must be true, so no step may get to the disk before an earlier one. ext4
//! and XFS see to that themselves; on others each step is waited for, under the locks. Only contents of
//! records are synced in any case, and at the very end the last step.
//!
//! # How an image gets out
//!
//! [`Transaction::delete_image`] writes an intent and syncs it, then writes the records: those of
//! containers that go along first, since a container without its image is broken and an image without
//! containers is not. Then what is on disk is moved out of the way, layers between the two writes of
//! their records. What is left by one who dies on the way is named in the intent and has no record.
//! All that is written first needs space, of which a file without a name keeps some.
//!
//! # How it is looked after
//!
//! [`Store::look`] opens a store without touching it, [`Store::check`] says what is wrong with it, and
//! [`Store::repair`] does what can be done about it in one [`Transaction`].

mod atomic;
mod bigdata;
mod capture;
mod changes;
mod check;
mod commit;
mod content;
mod dir;
mod early_sync;
mod error;
mod items;
mod links;
mod lock;
mod mounts;
mod names;
mod options;
mod order;
mod overlay;
mod peek;
mod plan;
pub mod record;
mod records;
mod recover;
mod remove;
mod reserve;
mod snapshot;
mod staging;
mod store;
mod tempdir;
mod transaction;
mod trash;
mod tree;
mod undisclosed;
mod usage;
mod write_back;

pub use changes::{Change, ChangeKind};
pub use check::{
    Action, CheckOptions, Finding, Kept, Plan, ReadData, Repaired, Report, Rule, Severity, Subject,
    Unused,
};
pub use commit::ImageDraft;
pub use content::LayerContent;
pub use error::Error;
pub use options::{OverlayOptions, StoreOptions, SyncMode};
pub use snapshot::{Snapshot, StoredImage, StoredLayer};
pub use staging::StagedLayer;
pub use store::Store;
pub use transaction::Transaction;
