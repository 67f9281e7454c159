//! What the configuration says about a store.

use std::path::PathBuf;

use crate::layer::Limits;

/// Where a store is and how it is written. The configuration that reads `storage.conf` makes it.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Graph driver; empty means overlay. Others are refused.
    pub driver: String,
    /// Everything that outlives a reboot.
    pub graph_root: PathBuf,
    /// What does not: mount counts, and containers of a transient store.
    pub run_root: PathBuf,
    /// Graph roots of stores whose images are visible but never written.
    pub additional_image_stores: Vec<PathBuf>,
    /// Graph root that holds the images, where that is not `graph_root`. Such stores are only read.
    pub image_store: Option<PathBuf>,
    /// Containers are recorded in `run_root`.
    pub transient: bool,
    /// How much is done so that an image survives a power cut.
    pub sync: SyncMode,
    /// Options of the overlay driver.
    pub overlay: OverlayOptions,
    /// What is unpacked. The bytes of a layer are also those of all layers that one commit adds.
    pub limits: Limits,
}

/// Options of the overlay driver that change what is on disk.
#[derive(Debug, Clone, Default)]
pub struct OverlayOptions {
    /// FUSE program that mounts; whiteouts are then stored as `.wh.` files.
    pub mount_program: Option<PathBuf>,
    /// Files keep the owner they happen to get where the right one cannot be set.
    pub ignore_chown_errors: bool,
    /// Every file gets this mode; such stores are only read.
    pub force_mask: Option<String>,
    /// Layers are composefs images; such stores are only read.
    pub use_composefs: bool,
    /// Mount options, comma separated. Layers are never mounted here; kept for reports.
    pub mountopt: String,
}

/// How much is done so that an image survives a power cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Content is on disk before a record says it is complete.
    #[default]
    Filesystem,
    /// Only the record files are synced, as other tools do by default.
    None,
}
