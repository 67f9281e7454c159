//! Finding the directory an entry belongs in.
//!
//! Components are opened one by one from the root, without following symbolic links, and stay open for
//! the names to come: a tar goes through a tree in order, so mostly nothing new has to be opened. Where
//! a component is a symbolic link, the kernel resolves the whole path as if the layer's root were the
//! root of the file system, so that no link leads out of the layer.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::io::Errno;

use super::name::components;
use crate::sys::tree;

/// An open directory.
#[derive(Debug, Clone)]
pub(super) struct Dir {
    fd: Arc<OwnedFd>,
    /// Whether a symbolic link led here, so that the directory has another name as well.
    pub(super) is_alias: bool,
    /// How far below the root it really is.
    depth: usize,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The directories on the way to the last path asked for.
#[derive(Debug)]
pub(super) struct Dirs {
    root: Dir,
    stack: Vec<(Vec<u8>, Dir)>,
    max_depth: usize,
}

impl Dirs {
    /// Directories below `root`, at most `max_depth` levels: further down, opening one is refused, so
    /// that a tree made through symbolic links cannot become too deep to be removed again.
    pub(super) fn new(root: &OwnedFd, max_depth: usize) -> io::Result<Self> {
        let root = Dir { fd: Arc::new(root.try_clone()?), is_alias: false, depth: 0 };
        Ok(Self { root, stack: Vec::new(), max_depth })
    }

    /// The directory at a cleaned path.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR` and others, of any component.
    pub(super) fn open(&mut self, path: &[u8]) -> io::Result<Dir> {
        let known = components(path)
            .zip(&self.stack)
            .take_while(|(component, (opened, _))| component == opened)
            .count();
        self.stack.truncate(known);
        let mut end = known_len(path, known);
        for component in components(path).skip(known) {
            // The first has no slash before it.
            end += component.len() + usize::from(end > 0);
            let prefix = path.get(..end).unwrap_or(path);
            let dir = self.open_child(component, prefix)?;
            self.stack.push((component.to_vec(), dir));
        }
        Ok(self.last().clone())
    }

    /// Forgets all directories, since one of them may have been removed.
    pub(super) fn forget(&mut self) {
        self.stack.clear();
    }

    fn last(&self) -> &Dir {
        self.stack.last().map_or(&self.root, |(_, dir)| dir)
    }

    fn open_child(&self, component: &[u8], prefix: &[u8]) -> io::Result<Dir> {
        let parent = self.last();
        if parent.depth >= self.max_depth {
            return Err(too_deep());
        }
        match tree::open_dir(parent, component) {
            Ok(fd) => {
                Ok(Dir { fd: Arc::new(fd), is_alias: parent.is_alias, depth: parent.depth + 1 })
            }
            // Perhaps a symbolic link.
            Err(error) if error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => {
                let fd = tree::open_dir_in_root(&self.root, prefix)?;
                let depth = self.real_depth(&fd)?;
                Ok(Dir { fd: Arc::new(fd), is_alias: true, depth })
            }
            Err(error) => Err(error),
        }
    }

    fn real_depth(&self, fd: &OwnedFd) -> io::Result<usize> {
        let slashes = |fd: BorrowedFd<'_>| -> io::Result<usize> {
            let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
            Ok(components(path.as_os_str().as_bytes()).count())
        };
        let depth = slashes(fd.as_fd())?.saturating_sub(slashes(self.root.as_fd())?);
        if depth > self.max_depth { Err(too_deep()) } else { Ok(depth) }
    }
}

fn too_deep() -> io::Error {
    io::Error::other("too many directories below one another")
}

/// Length of the first `count` components of a cleaned path.
fn known_len(path: &[u8], count: usize) -> usize {
    let names: usize = components(path).take(count).map(<[u8]>::len).sum();
    names + count.saturating_sub(1)
}
