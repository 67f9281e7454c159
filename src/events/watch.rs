//! Being told when something changes in the log's directory.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Result;

/// An inotify(7) descriptor, which does not block, and is readable after every change in a directory
/// from now on: a file grew, or another took its place. What can be read says no more than that.
///
/// # Errors
/// Also when the user has too many of these, which is no reason not to follow a log.
pub fn watch_directory(directory: &Path) -> Result<OwnedFd> {
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&fd, directory, changes | WatchFlags::ONLYDIR)?;
    Ok(fd)
}
