//! Where everything is below a graph root, and what kind of store it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use super::dir::Dir;
use super::lock::{Containers, Images, Layers, LockFile, Mountpoints};
use super::options::StoreOptions;
use super::records::Place;

/// Directories of layers, by layer ID.
pub(super) const OVERLAY: &str = "overlay";
/// Records, tar-split files and data items of layers.
pub(super) const LAYERS: &str = "overlay-layers";
/// Records and data items of images.
pub(super) const IMAGES: &str = "overlay-images";
/// Records of containers.
pub(super) const CONTAINERS: &str = "overlay-containers";
/// Remembers how whiteouts are stored.
const HAS_MOUNT_PROGRAM: &str = ".has-mount-program";

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It may be changed, and is repaired where that is needed.
    Write,
    /// Nothing in it is changed, and it may be one that cannot be.
    Look,
}

/// The files of one store.
#[derive(Debug)]
pub(super) struct Location {
    pub(super) graph_root: Arc<Path>,
    /// It is only read: an additional store.
    pub(super) read_only: bool,
    pub(super) layers: Place<Layers>,
    pub(super) images: Place<Images>,
}

/// What only the primary store has.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) containers: Place<Containers>,
    pub(super) mountpoints: LockFile<Mountpoints>,
    pub(super) mountpoints_json: PathBuf,
}

impl Location {
    /// The store that options are about.
    pub(super) fn primary(options: &StoreOptions, access: Access) -> Self {
        Self::new(&options.graph_root, access, volatile_root(options))
    }

    /// A store that is only read.
    pub(super) fn additional(graph_root: &Path) -> Self {
        Self { read_only: true, ..Self::new(graph_root, Access::Look, graph_root) }
    }

    fn new(graph_root: &Path, access: Access, volatile_root: &Path) -> Self {
        let (layers, images) = (graph_root.join(LAYERS), graph_root.join(IMAGES));
        let read_only = access == Access::Look;
        Self {
            graph_root: graph_root.into(),
            read_only: false,
            layers: Place::new(
                LockFile::new(layers.join("layers.lock"), read_only),
                (layers, "layers.json"),
                Some((volatile_root.join(LAYERS), "volatile-layers.json")),
            ),
            images: Place::new(
                LockFile::new(images.join("images.lock"), read_only),
                (images, "images.json"),
                None,
            ),
        }
    }
}

impl Runtime {
    pub(super) fn new(options: &StoreOptions, access: Access) -> Self {
        let volatile = volatile_root(options).join(CONTAINERS);
        let mounts = options.run_root.join(LAYERS);
        Self {
            containers: Place::new(
                LockFile::new(volatile.join("containers.lock"), access == Access::Look),
                (options.graph_root.join(CONTAINERS), "containers.json"),
                Some((volatile, "volatile-containers.json")),
            ),
            // Only read, and nothing is mounted if it is not there.
            mountpoints: LockFile::new(mounts.join("mountpoints.lock"), true),
            mountpoints_json: mounts.join("mountpoints.json"),
        }
    }
}

/// A transient store keeps what concerns containers below the run root.
fn volatile_root(options: &StoreOptions) -> &Path {
    if options.transient { &options.run_root } else { &options.graph_root }
}

/// The open directories of the primary store. Opened for each operation: another tool may have
/// reset the store, and bind mounts on `overlay/` come and go.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Dir,
    pub(super) overlay: Dir,
    pub(super) layers: Dir,
}

impl Tree {
    /// Opens the directories, and creates those that are missing.
    pub(super) fn open(graph_root: &Path) -> Result<Self, Error> {
        let root = Dir::open_or_create(graph_root, 0o700)?;
        let overlay = root.ensure(OVERLAY, 0o700)?;
        overlay.ensure("l", 0o755)?;
        let layers = root.ensure(LAYERS, 0o700)?;
        root.ensure(IMAGES, 0o700)?;
        root.ensure(CONTAINERS, 0o700)?;
        Ok(Self { root, overlay, layers })
    }
}

/// Refuses stores of other drivers, before anything is created in them.
pub(super) fn check_driver(options: &StoreOptions) -> Result<(), Error> {
    let unsupported = |driver: &str| Error::UnsupportedDriver {
        driver: driver.to_owned(),
        graph_root: options.graph_root.clone(),
    };
    match options.driver.as_str() {
        "overlay" | "overlay2" => return Ok(()),
        "" => {}
        other => return Err(unsupported(other)),
    }
    // Without a configured driver the tools take the one whose files they find.
    if !options.graph_root.join(OVERLAY).exists() {
        for driver in ["vfs", "btrfs", "zfs"] {
            if options.graph_root.join(format!("{driver}-layers")).exists() {
                return Err(unsupported(driver));
            }
        }
    }
    Ok(())
}

/// Whether deleted files are stored as `.wh.` files rather than as devices. A store keeps the
/// manner it started with; a new one gets what the configuration asks for.
pub(super) fn whiteout_files(tree: &Tree, options: &StoreOptions) -> Result<bool, Error> {
    let configured = options.overlay.mount_program.is_some();
    match tree.overlay.read(HAS_MOUNT_PROGRAM, 16)? {
        Some(text) => Ok(configured || text == b"true"),
        None => {
            let text = if configured { "true" } else { "false" };
            match tree.overlay.write_new(HAS_MOUNT_PROGRAM, text.as_bytes(), 0o600) {
                Ok(_) => Ok(configured),
                // Another tool was faster.
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists =>
                {
                    Ok(configured)
                }
                Err(error) => Err(error),
            }
        }
    }
}

/// As [`whiteout_files`], of a store in which nothing is written.
pub(super) fn has_whiteout_files(overlay: &Dir, options: &StoreOptions) -> Result<bool, Error> {
    let text = overlay.read(HAS_MOUNT_PROGRAM, 16)?;
    Ok(options.overlay.mount_program.is_some() || text.as_deref() == Some(b"true"))
}

/// Why the store is not written, if it is not.
pub(super) fn read_only_feature(options: &StoreOptions) -> Option<&'static str> {
    if options.image_store.is_some() {
        Some("imagestore")
    } else if options.overlay.force_mask.is_some() {
        Some("force_mask")
    } else if options.overlay.use_composefs {
        Some("use_composefs")
    } else {
        None
    }
}
