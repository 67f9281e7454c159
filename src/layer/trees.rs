//! Layers that lie on each other, read as the one tree that overlayfs would make of them, without
//! mounting: a directory is the union of the directories that the layers have at that path, down to
//! the first that is opaque.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::{Error, Result};
use crate::sys::tree;

/// Begins names of whiteouts where deletions are stored as files.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The contents of layers, each a directory.
#[derive(Debug)]
pub struct Trees {
    roots: Vec<OwnedFd>,
    /// Deletions are stored as files.
    whiteout_files: bool,
}

/// Layers, by their places in [`Trees`]; the top one first.
pub type Stack = Vec<usize>;

/// An entry of a directory of a stack.
#[derive(Debug)]
pub struct Node {
    /// What it is in the topmost layer that has it.
    pub stat: Stat,
    /// The layers it is made of: several only for a directory.
    pub layers: Stack,
    /// The top layer has it as a directory that hides those below it.
    pub opaque: bool,
    /// Layers further down can still add to it.
    open: bool,
}

/// What one layer has in a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) entries: Vec<Entry>,
    /// Names that are deleted, and what says so.
    pub(super) whiteouts: Vec<(Vec<u8>, Stat)>,
    /// It hides all that the layers below have in the directory.
    pub(super) opaque: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) stat: Stat,
    pub(super) opaque: bool,
}

/// What a layer has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Nothing, and layers below may have something.
    Absent,
    /// Something.
    Present,
    /// Nothing, and what layers below have is hidden.
    Hidden,
}

impl Trees {
    /// Trees with these roots. `whiteout_files` says in which of its two forms the store keeps
    /// deletions; the native one is understood in any case.
    pub fn new(roots: Vec<OwnedFd>, whiteout_files: bool) -> Self {
        Self { roots, whiteout_files }
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The entries of a directory that all layers of `stack` have.
    ///
    /// # Errors
    /// Those of the system.
    pub fn list(&self, path: &[u8], stack: &[usize]) -> Result<BTreeMap<Vec<u8>, Node>> {
        // `None` is a whiteout.
        let mut found: BTreeMap<Vec<u8>, Option<Node>> = BTreeMap::new();
        for (depth, &layer) in stack.iter().enumerate() {
            let listing = self.read(layer, path, depth + 1 < stack.len())?;
            for Entry { name, stat, opaque } in listing.entries {
                let is_dir = is_dir(&stat);
                match found.get_mut(&name) {
                    Some(Some(node)) if node.open && is_dir => {
                        node.layers.push(layer);
                        node.open = !opaque;
                    }
                    Some(Some(node)) => node.open = false,
                    Some(None) => {}
                    None => {
                        let open = is_dir && !opaque;
                        let node = Node { stat, layers: vec![layer], opaque, open };
                        found.insert(name, Some(node));
                    }
                }
            }
            for (name, _) in listing.whiteouts {
                if let Some(node) = found.entry(name).or_insert(None) {
                    node.open = false;
                }
            }
            if listing.opaque {
                break;
            }
        }
        Ok(found.into_iter().filter_map(|(name, node)| Some((name, node?))).collect())
    }

    /// What one layer has in a directory. Whether directories in it are opaque is only looked at
    /// if there is something `below` that they could hide.
    pub(super) fn read(&self, layer: usize, path: &[u8], below: bool) -> Result<Listing> {
        let failed = |error: std::io::Error| Error::tree("listing", path, error);
        let directory = self.directory(layer, path)?;
        let mut listing = Listing::default();
        for entry in rustix::fs::Dir::read_from(&directory).map_err(|it| failed(it.into()))? {
            let entry = entry.map_err(|errno| failed(errno.into()))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let stat = rustix::fs::statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            let stat = match stat {
                Ok(stat) => stat,
                // A container is at work.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(failed(errno.into())),
            };
            if self.whiteout_files
                && let Some(hidden) = name.strip_prefix(WHITEOUT)
            {
                listing.opaque |= name == OPAQUE;
                listing.whiteouts.push((hidden.to_vec(), stat));
                continue;
            }
            let name = name.to_vec();
            if is_whiteout(&stat) {
                listing.whiteouts.push((name, stat));
                continue;
            }
            let opaque = below && is_dir(&stat) && is_opaque(&directory, &name).map_err(failed)?;
            listing.entries.push(Entry { name, stat, opaque });
        }
        Ok(listing)
    }

    /// Opens a directory of a layer; the root has the empty path.
    pub(super) fn directory(&self, layer: usize, path: &[u8]) -> Result<OwnedFd> {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let root = self.roots.get(layer);
        let root = root.ok_or_else(|| Error::tree("opening", path, missing()))?;
        // Paths may begin with a slash.
        let inside = path.strip_prefix(b"/").unwrap_or(path);
        let inside = if inside.is_empty() { b"." } else { inside };
        tree::open_dir_in_root(root, inside).map_err(|error| Error::tree("listing", path, error))
    }

    /// What a layer has at a path of real directories.
    pub(super) fn presence(&self, layer: usize, path: &[u8]) -> Result<Presence> {
        let failed = |error: std::io::Error| Error::tree("examining", path, error);
        let mut directory = self.directory(layer, b"")?;
        let mut components = path.split(|byte| *byte == b'/').peekable();
        // Whether a directory on the way hides what is below.
        let mut opaque = false;
        while let Some(name) = components.next() {
            let absent = if opaque { Presence::Hidden } else { Presence::Absent };
            if self.whiteout_files {
                let whiteout = [WHITEOUT, name].concat();
                if exists(&directory, &whiteout).map_err(failed)? {
                    return Ok(Presence::Hidden);
                }
                opaque |= exists(&directory, OPAQUE).map_err(failed)?;
            }
            let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_whiteout(&stat) => return Ok(Presence::Hidden),
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(absent),
                Err(errno) => return Err(failed(errno.into())),
            };
            if components.peek().is_none() {
                return Ok(Presence::Present);
            }
            if !is_dir(&stat) {
                return Ok(Presence::Hidden);
            }
            opaque |= is_opaque(&directory, name).map_err(failed)?;
            directory = tree::open_dir(&directory, name).map_err(failed)?;
        }
        Ok(Presence::Present)
    }
}

fn exists(directory: &OwnedFd, name: &[u8]) -> std::io::Result<bool> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn is_opaque(parent: impl AsFd, name: &[u8]) -> std::io::Result<bool> {
    let directory = match tree::open_dir(parent, name) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        result => result?,
    };
    // Set by root, and in a user namespace.
    for key in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        let mut value = [0; 1];
        // No attribute, none that we may see, or one with another meaning.
        if rustix::fs::fgetxattr(&directory, key, &mut value) == Ok(1) && value == *b"y" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Overlayfs marks deletions with this device.
fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether it is a directory.
pub fn is_dir(stat: &Stat) -> bool {
    file_type(stat) == FileType::Directory
}
