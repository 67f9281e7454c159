//! Stopping the processes of a container for a while.
//!
//! Before a group is frozen, a file below the run root says so, with a lock that its writer holds.
//! The group is thawed when [`Frozen`] is dropped; should the program die before, it is thawed by the
//! next one that starts, which finds the file without a lock. The lock also lets only one of several
//! commits of a container freeze it at a time.

use std::fs::{self, DirBuilder, File};
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::cgroup::{self, Group, Version};
use super::{Error, Process, Result};
use crate::sys::{Cancel, FileLock, LockMode};

/// How long a group may take. A process in the kernel stops when it comes back.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(1);
/// Below the run root; files are named after containers.
const DIRECTORY: &str = "imaged/frozen";
/// Longest path of a control file, in bytes.
const LIMIT_BYTES: u64 = 4096;

/// Processes that are stopped. They go on when this is dropped.
#[derive(Debug)]
pub struct Frozen {
    group: Group,
    note: Note,
}

/// Stops the processes of a container, and waits until they are stopped. `None` if they were already,
/// by someone else, who is to let them go on.
///
/// # Errors
/// A group that may not be changed, or is [not frozen](Error::NotFrozen) in time; then it is thawed.
pub fn freeze(
    run_root: &Path,
    container: &str,
    process: &Process,
    cancel: &Cancel,
) -> Result<Option<Frozen>> {
    let group = &process.group;
    let (mut note, abandoned) = Note::take(run_root, container, cancel)?;
    if !abandoned && (process.paused || is_frozen(group)?) {
        note.remove()?;
        return Ok(None);
    }
    note.write(&group.control())?;
    let frozen = Frozen { group: group.clone(), note };
    command(group, Command::Freeze)?;
    let start = Instant::now();
    while !is_frozen(group)? {
        cancel.check()?;
        if start.elapsed() > PATIENCE {
            return Err(Error::NotFrozen { group: group.directory.clone() });
        }
        thread::sleep(PAUSE);
    }
    Ok(Some(frozen))
}

/// Lets processes go on that were stopped by a program that died. What cannot be done is logged.
pub fn thaw_abandoned(run_root: &Path) {
    let directory = run_root.join(DIRECTORY);
    let Ok(entries) = fs::read_dir(&directory) else { return };
    for entry in entries.flatten() {
        let thawed = Note::take_abandoned(&entry.path());
        match thawed.and_then(|note| note.map_or(Ok(false), |note| thaw_noted(&note))) {
            Ok(false) => {}
            Ok(true) => tracing::info!(container = ?entry.file_name(), "thawed"),
            Err(error) => {
                tracing::warn!(container = ?entry.file_name(), ?error, "could not thaw");
            }
        }
    }
}

/// Whether there was anything to thaw.
fn thaw_noted(note: &Note) -> Result<bool> {
    let control = note.read()?;
    let mounts = cgroup::mounts().map_err(Error::io("reading", "/proc/self/mountinfo"))?;
    let group = Group::of_control(&control, &mounts);
    let group = group.filter(|group| group.directory.exists());
    if let Some(group) = &group {
        command(group, Command::Thaw)?;
    }
    note.remove()?;
    Ok(group.is_some())
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let thawed = match command(&self.group, Command::Thaw) {
            // The last process was killed, and the group with it.
            Err(_) if !self.group.directory.exists() => Ok(()),
            result => result,
        };
        if let Err(error) = thawed.and_then(|()| self.note.remove()) {
            // The note stays, so the next start tries again.
            tracing::error!(group = ?self.group.directory, ?error, "could not thaw");
        }
    }
}

#[derive(Clone, Copy)]
enum Command {
    Freeze,
    Thaw,
}

fn command(group: &Group, command: Command) -> Result<()> {
    let text = match (group.version, command) {
        (Version::One, Command::Freeze) => "FROZEN",
        (Version::One, Command::Thaw) => "THAWED",
        (Version::Two, Command::Freeze) => "1",
        (Version::Two, Command::Thaw) => "0",
    };
    let path = group.control();
    let written = File::options()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(Error::io("writing", path))
}

fn is_frozen(group: &Group) -> Result<bool> {
    let (name, line) = match group.version {
        Version::One => ("freezer.state", "FROZEN"),
        Version::Two => ("cgroup.events", "frozen 1"),
    };
    let path = group.directory.join(name);
    let text = fs::read_to_string(&path).map_err(Error::io("reading", path))?;
    Ok(text.lines().any(|it| it == line))
}

/// Says that a group is frozen, and by its lock that somebody cares for it.
#[derive(Debug)]
struct Note {
    path: PathBuf,
    lock: FileLock,
}

impl Note {
    /// Makes the note of a container, or takes over one that was left; and whether it was.
    fn take(run_root: &Path, container: &str, cancel: &Cancel) -> Result<(Self, bool)> {
        let directory = run_root.join(DIRECTORY);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(Error::io("creating", &directory))?;
        let path = directory.join(container.replace('/', ""));
        loop {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path).map_err(Error::io("opening", &path))?;
            let lock =
                FileLock::lock(file, LockMode::Exclusive, cancel).map_err(Error::lock(&path))?;
            let note = Self { path: path.clone(), lock };
            // Whoever had it before may have removed it.
            if note.is_there() {
                let left = !note.read()?.as_os_str().is_empty();
                return Ok((note, left));
            }
        }
    }

    /// A note that nobody cares for.
    fn take_abandoned(path: &Path) -> Result<Option<Self>> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.map_err(Error::io("opening", path))?;
        let lock = FileLock::try_lock(file, LockMode::Exclusive);
        let Ok(lock) = lock.map_err(Error::io("locking", path))? else { return Ok(None) };
        let note = Self { path: path.to_owned(), lock };
        Ok(note.is_there().then_some(note))
    }

    fn is_there(&self) -> bool {
        let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = self.lock.file().metadata().map(inode);
        let there = fs::metadata(&self.path).map(inode);
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }

    fn read(&self) -> Result<PathBuf> {
        let mut file = self.lock.file();
        let mut bytes = Vec::new();
        file.rewind()
            .and_then(|()| file.take(LIMIT_BYTES).read_to_end(&mut bytes))
            .map_err(Error::io("reading", &self.path))?;
        Ok(std::ffi::OsStr::from_bytes(&bytes).into())
    }

    fn write(&mut self, control: &Path) -> Result<()> {
        let mut file = self.lock.file();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(control.as_os_str().as_bytes()))
            .map_err(Error::io("writing", &self.path))
    }

    fn remove(&self) -> Result<()> {
        fs::remove_file(&self.path).map_err(Error::io("removing", &self.path))
    }
}
