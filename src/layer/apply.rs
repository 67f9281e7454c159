//! Applying a layer's entries to a tree, as the overlay driver of containers/storage does.
//!
//! The tree starts empty and is the layer's alone; deletions are recorded in it, nothing below it is
//! touched. Regular files and symbolic links are left to a [`Pool`], everything else is done at once.
//! Names in a tar are distinct, so the jobs of the pool do not depend on each other, except:
//!
//! - a path may exist already as a directory implied by an earlier name, or as a whiteout: such paths
//!   are remembered, and replaced when nothing is waiting;
//! - a directory may be missing because the symbolic link in its place is still waiting: what is
//!   missing is looked for again when nothing is waiting;
//! - a hard link waits for its target;
//! - behind a symbolic link, distinct names may be one path: from the first such name on, every entry
//!   waits for the one before it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use super::dirs::{Dir, Dirs};
use super::error::lossy;
use super::meta::{Meta, Policy, Times};
use super::name::TreePath;
use super::pool::{Content, Job, Pool, Ticket};
use super::whiteout::Whiteout;
use super::{Entry, EntryKind, Error, Limits, Result, SparseFile, UnpackOptions, Whiteouts};
use crate::sys::tree;

/// A tree under construction.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pool: &'a Pool,
    dirs: Dirs,
    policy: Policy,
    whiteouts: Whiteouts,
    limits: Limits,
    names: Names,
    /// Paths that exist without, or before, an entry of their name.
    occupied: HashSet<Key>,
    /// Whether a name led through a symbolic link.
    has_aliases: bool,
    /// Whether an entry may have taken the place of another's content.
    has_replaced: bool,
    /// In the order of the archive.
    directories: Vec<(TreePath, Times)>,
    /// Bytes of their names.
    directory_names: usize,
}

/// A place for a file whose content is to come.
#[derive(Debug)]
pub(super) struct Place {
    dir: Dir,
    path: TreePath,
}

impl<'a> Tree<'a> {
    /// A tree below `root`, which is empty.
    pub(super) fn new(root: &OwnedFd, pool: &'a Pool, options: &UnpackOptions) -> Result<Self> {
        let dirs = Dirs::new(root, options.limits.depth)
            .map_err(|error| Error::tree("opening", b".", error))?;
        Ok(Self {
            pool,
            dirs,
            policy: options.policy(),
            whiteouts: options.whiteouts,
            limits: options.limits,
            names: Names::default(),
            occupied: HashSet::new(),
            has_aliases: false,
            has_replaced: false,
            directories: Vec::new(),
            directory_names: 0,
        })
    }

    /// Notes the name of an entry. `None` for entries that are not applied: the root's own, whose
    /// attributes are those of the lowest layer.
    pub(super) fn claim(&mut self, entry: &Entry) -> Result<Option<TreePath>> {
        let Some(path) = TreePath::parse(&entry.name, &self.limits)? else {
            return Ok(None);
        };
        if !self.names.add(&path) {
            return Err(Error::Duplicate { name: lossy(&entry.name) });
        }
        self.check_entries()?;
        Ok(Some(path))
    }

    /// Refuses a layer in whose entries so many users, or groups, occur.
    pub(super) fn check_owners(&self, count: usize) -> Result<()> {
        within("owners", count, self.limits.owners)
    }

    /// An entry costs a name, and so does a directory that is there without one: a single name may
    /// imply hundreds.
    fn check_entries(&self) -> Result<()> {
        within("entries", self.names.len() + self.occupied.len(), self.limits.entries as usize)
    }

    /// The whiteout that a name stands for, if it does.
    pub(super) fn whiteout(&self, path: &TreePath) -> Result<Option<Whiteout>> {
        match self.whiteouts {
            Whiteouts::Native => Whiteout::parse(path),
            Whiteouts::Files => Ok(None),
        }
    }

    /// Applies an entry that has no content.
    pub(super) fn apply(&mut self, entry: &Entry, path: TreePath) -> Result<()> {
        match &entry.kind {
            EntryKind::Directory => self.directory(entry, path),
            EntryKind::Symlink => {
                let place = self.place(path)?;
                let content = Content::Symlink(entry.link.clone());
                self.create(entry, place, content)
            }
            EntryKind::HardLink => self.hard_link(entry, path),
            EntryKind::CharDevice { major, minor } => {
                self.node(entry, path, FileType::CharacterDevice, (*major, *minor))
            }
            EntryKind::BlockDevice { major, minor } => {
                self.node(entry, path, FileType::BlockDevice, (*major, *minor))
            }
            EntryKind::Fifo => self.node(entry, path, FileType::Fifo, (0, 0)),
            EntryKind::Other(kind) => Err(Error::UnhandledType(*kind)),
            EntryKind::Regular | EntryKind::Sparse(_) => {
                let place = self.place(path)?;
                self.create(entry, place, Content::File(Vec::new()))
            }
        }
    }

    /// Makes way for anything but a directory: afterwards its directory exists and its name does not.
    pub(super) fn place(&mut self, path: TreePath) -> Result<Place> {
        let place = self.place_beside(path)?;
        if self.has_aliases || self.occupied.remove(&self.names.key(&place.path)) {
            self.pool.wait_for_all()?;
            self.dirs.forget();
            self.remove(&place.dir, &place.path)?;
        }
        Ok(place)
    }

    /// Queues a file or symbolic link.
    pub(super) fn create(&mut self, entry: &Entry, place: Place, content: Content) -> Result<()> {
        let Place { dir, path } = place;
        let key = self.names.key(&path);
        let ticket = self.pool.push(Job { dir, path, meta: entry.into(), content })?;
        self.names.set_ticket(key, ticket);
        Ok(())
    }

    /// Creates a sparse file from its payload.
    pub(super) fn sparse(
        &mut self,
        entry: &Entry,
        file: &SparseFile,
        payload: &mut impl Read,
        path: TreePath,
    ) -> Result<()> {
        let Place { dir, path } = self.place(path)?;
        let name = path.as_bytes();
        let created = tree::create_file(&dir, path.leaf())
            .map_err(|error| Error::tree("creating file", name, error))?;
        let created = File::from(created);
        file.expand(payload, &created, name, &self.limits)?;
        let meta = Meta::from(entry);
        meta.apply(&created, self.policy, name)?;
        meta.times().set(&created, name)
    }

    /// Marks something of the layers below as deleted.
    pub(super) fn apply_whiteout(
        &mut self,
        entry: &Entry,
        path: TreePath,
        whiteout: Whiteout,
    ) -> Result<()> {
        let dir = match self.place_beside(path) {
            Ok(Place { dir, .. }) => dir,
            // Some builders list what was in a deleted directory as deleted, too.
            Err(Error::Tree { source, .. }) if is(&source, Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error),
        };
        match whiteout {
            Whiteout::Opaque { directory } => {
                let attribute = if self.policy.user_namespace {
                    "user.overlay.opaque"
                } else {
                    "trusted.overlay.opaque"
                };
                rustix::fs::fsetxattr(&dir, attribute, b"y", XattrFlags::empty())
                    .map_err(|error| Error::tree("marking as opaque", &directory, error))
            }
            Whiteout::Deleted(target) => {
                // It may still be waiting to be created.
                if self.has_aliases || self.names.contains(&target) {
                    self.pool.wait_for_all()?;
                }
                let (name, path) = (target.leaf(), target.as_bytes());
                rustix::fs::mknodat(&dir, name, FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(|error| Error::tree("creating whiteout", path, error))?;
                Meta::from(entry).chown_at(&dir, name, self.policy, path)?;
                self.occupied.insert(self.names.key(&target));
                Ok(())
            }
        }
    }

    /// Waits for all files, then sets the times of directories, which creating files had changed.
    /// Whether an entry may have taken the place of another's content.
    pub(super) fn finish(mut self) -> Result<bool> {
        self.pool.wait_for_all()?;
        for (path, times) in &self.directories {
            match self.dirs.open(path.as_bytes()) {
                Ok(dir) => times.set(&dir, path.as_bytes())?,
                // Replaced by something else later in the tar.
                Err(error) if is(&error, Errno::NOENT) || is(&error, Errno::NOTDIR) => {}
                Err(error) => return Err(Error::tree("opening", path.as_bytes(), error)),
            }
        }
        Ok(self.has_replaced)
    }

    fn directory(&mut self, entry: &Entry, path: TreePath) -> Result<()> {
        let Place { dir: parent, path } = self.place_beside(path)?;
        let name = path.as_bytes();
        if self.has_aliases || self.occupied.remove(&self.names.key(&path)) {
            self.pool.wait_for_all()?;
            self.dirs.forget();
            // A directory stays and gets new attributes, anything else goes.
            if tree::open_dir(&parent, path.leaf()).is_err() {
                self.remove(&parent, &path)?;
            }
        }
        match rustix::fs::mkdirat(&parent, path.leaf(), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Error::tree("creating directory", name, error)),
        }
        let dir = self.open(name)?;
        let meta = Meta::from(entry);
        meta.apply(&dir, self.policy, name)?;
        self.directory_names += name.len();
        within("bytes in the names of directories", self.directory_names, self.limits.directories)?;
        self.directories.push((path, meta.times()));
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, path: TreePath) -> Result<()> {
        let failed = |path: &TreePath, error| {
            Error::tree("creating hard link", path.as_bytes(), io::Error::from(error))
        };
        let Some(target) = TreePath::parse(&entry.link, &self.limits)? else {
            return Err(failed(&path, Errno::PERM));
        };
        self.pool.wait_for(self.names.ticket(&target))?;
        let Place { dir, path } = self.place(path)?;
        let target_dir = self.open(target.parent())?;
        self.note(&target_dir)?;
        let link =
            || rustix::fs::linkat(&target_dir, target.leaf(), &dir, path.leaf(), AtFlags::empty());
        let linked = match link() {
            // Waiting under another name.
            Err(Errno::NOENT) => {
                self.pool.wait_for_all()?;
                link()
            }
            other => other,
        };
        linked.map_err(|error| failed(&path, error))?;
        Meta::from(entry).apply_to_link(&dir, path.leaf(), self.policy, path.as_bytes())
    }

    fn node(
        &mut self,
        entry: &Entry,
        path: TreePath,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<()> {
        let Place { dir, path } = self.place(path)?;
        if self.policy.user_namespace && kind != FileType::Fifo {
            // The kernel does not allow it, and containers get their devices elsewhere.
            return Ok(());
        }
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(&dir, path.leaf(), kind, Mode::empty(), device)
            .map_err(|error| Error::tree("creating device or pipe", path.as_bytes(), error))?;
        Meta::from(entry).apply_at(&dir, path.leaf(), false, self.policy, path.as_bytes())
    }

    /// Removes what an entry is to replace, and notes if that was more than a mark or an empty file.
    fn remove(&mut self, dir: &Dir, path: &TreePath) -> Result<()> {
        let failed = |error| Error::tree("replacing", path.as_bytes(), error);
        match rustix::fs::statat(dir, path.leaf(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                self.has_replaced |= match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => stat.st_size > 0,
                    kind => kind == FileType::Directory,
                };
                tree::remove_all(dir, path.leaf()).map_err(failed)
            }
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Opens the directory a path belongs in, with missing ones created.
    fn place_beside(&mut self, path: TreePath) -> Result<Place> {
        let dir = match self.dirs.open(path.parent()) {
            Ok(dir) => dir,
            Err(error) if is(&error, Errno::NOENT) => {
                self.pool.wait_for_all()?;
                self.create_parents(&path)?
            }
            Err(error) => return Err(Error::tree("opening", path.parent(), error)),
        };
        self.note(&dir)?;
        Ok(Place { dir, path })
    }

    /// Waits for all jobs if a directory has more than one name, from now on.
    fn note(&mut self, dir: &Dir) -> Result<()> {
        self.has_aliases |= dir.is_alias;
        if self.has_aliases { self.pool.wait_for_all() } else { Ok(()) }
    }

    fn create_parents(&mut self, path: &TreePath) -> Result<Dir> {
        for prefix in path.parents() {
            let name = prefix.as_bytes();
            match self.dirs.open(name) {
                Ok(_) => continue,
                Err(error) if is(&error, Errno::NOENT) => {}
                Err(error) => return Err(Error::tree("opening", name, error)),
            }
            let parent = self.open(prefix.parent())?;
            // It exists if it is a symbolic link to nowhere.
            rustix::fs::mkdirat(&parent, prefix.leaf(), Mode::RWXU)
                .map_err(|error| Error::tree("creating directory", name, error))?;
            let dir = self.open(name)?;
            Meta::implied_directory().apply(&dir, self.policy, name)?;
            self.occupied.insert(self.names.key(&prefix));
            self.check_entries()?;
        }
        self.open(path.parent())
    }

    fn open(&mut self, path: &[u8]) -> Result<Dir> {
        self.dirs.open(path).map_err(|error| Error::tree("opening", path, error))
    }
}

/// A path's hash. Two keys of 64 bits are as good as the path itself; chosen at random, they cannot be
/// made to collide either.
type Key = [u64; 2];

/// All names of a layer, and the jobs that create them.
#[derive(Debug, Default)]
struct Names {
    hashers: [RandomState; 2],
    tickets: HashMap<Key, Ticket>,
}

impl Names {
    fn key(&self, path: &TreePath) -> Key {
        self.hashers.each_ref().map(|hasher| hasher.hash_one(path.as_bytes()))
    }

    /// Whether the name is new.
    fn add(&mut self, path: &TreePath) -> bool {
        self.tickets.insert(self.key(path), 0).is_none()
    }

    fn len(&self) -> usize {
        self.tickets.len()
    }

    fn contains(&self, path: &TreePath) -> bool {
        self.tickets.contains_key(&self.key(path))
    }

    fn set_ticket(&mut self, key: Key, ticket: Ticket) {
        self.tickets.insert(key, ticket);
    }

    /// The job to wait for before the path can be used; 0 if none.
    fn ticket(&self, path: &TreePath) -> Ticket {
        self.tickets.get(&self.key(path)).copied().unwrap_or_default()
    }
}

fn within(what: &'static str, count: usize, limit: usize) -> Result<()> {
    if count > limit { Err(Error::Limit { what, limit: limit as u64 }) } else { Ok(()) }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
