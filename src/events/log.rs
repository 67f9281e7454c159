//! Appending to the log, and rotating it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Event, LogReader, Position};
use crate::sys::{Cancel, FileLock, LockError, LockMode};

/// How long a writer waits for others. Podman drops an event after this time, too.
const PATIENCE: Duration = Duration::from_secs(2);

/// Marks that surround what a rotation has kept.
const ROTATION: &str = "log-rotation";
const ROTATION_MARK: &str = "io.podman.event.rotate";

/// A log file. Any number of processes may write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    path: PathBuf,
    /// At this many bytes the older half is dropped; 0: never.
    max_bytes: u64,
}

/// Why an event was not written, or why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The kernel refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody else keeps the lock.
    #[error("{} is locked by another process", .0.display())]
    Locked(PathBuf),
}

impl LogError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl EventLog {
    /// The log at `path`, which need not exist yet. `max_bytes` is the size at which it is rotated;
    /// 0: never.
    pub fn new(path: impl Into<PathBuf>, max_bytes: u64) -> Self {
        Self { path: path.into(), max_bytes }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends events, in this order, as one piece.
    ///
    /// # Errors
    /// [`LogError::Locked`] if the lock is not free for two seconds. Some of the events may have
    /// been written.
    pub fn append(&self, events: &[Event]) -> Result<(), LogError> {
        let _lock = self.lock()?;
        for event in events {
            self.append_line(&event.to_line())?;
        }
        Ok(())
    }

    /// A reader, which begins at `position`. The log is created if it is missing, so that there is
    /// something to wait for.
    pub fn read(&self, position: Position) -> Result<LogReader, LogError> {
        match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => drop(self.open()?),
            Err(error) => return Err(LogError::io("opening", &self.path)(error)),
            Ok(_) => {}
        }
        LogReader::open(&self.path, position).map_err(LogError::io("reading", &self.path))
    }

    fn lock(&self) -> Result<FileLock, LogError> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let open = || File::options().read(true).append(true).create(true).mode(0o644).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_directory()?;
                open()
            }
            opened => opened,
        };
        let file = file.map_err(LogError::io("opening", &path))?;
        match FileLock::lock_within(file, LockMode::Exclusive, PATIENCE, &Cancel::new()) {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(_)) | Err(LockError::Canceled(_)) => Err(LogError::Locked(path)),
            Err(LockError::Io(error)) => Err(LogError::io("locking", &path)(error)),
        }
    }

    /// Opens the log for appending.
    fn open(&self) -> Result<File, LogError> {
        let open =
            || OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_directory()?;
                open()
            }
            opened => opened,
        };
        file.map_err(LogError::io("opening", &self.path))
    }

    /// With the modes that Podman gives them: the log is private, but others have to get through
    /// the directories above, which it uses for containers.
    fn create_directory(&self) -> Result<(), LogError> {
        let Some(directory) = self.path.parent() else { return Ok(()) };
        let create = || -> io::Result<()> {
            if let Some(above) = directory.parent() {
                DirBuilder::new().recursive(true).mode(0o751).create(above)?;
            }
            DirBuilder::new().recursive(true).mode(0o700).create(directory)
        };
        create().map_err(LogError::io("creating", directory))
    }

    fn append_line(&self, line: &[u8]) -> Result<(), LogError> {
        let mut file = self.open()?;
        let failed = |action| LogError::io(action, &self.path);
        let length = file.metadata().map_err(failed("looking at"))?.len();
        let added = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.max_bytes > 0 && length.saturating_add(added) > self.max_bytes {
            self.rotate(&file, length).map_err(failed("rotating"))?;
            file = self.open()?;
        } else if length > 0 {
            // What a writer left that died half way must not spoil this line as well.
            let mut last = [0];
            file.read_exact_at(&mut last, length - 1).map_err(failed("reading"))?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(failed("writing"))?;
            }
        }
        file.write_all(line).map_err(failed("writing"))
    }

    /// Puts a new file in the place of the log, with the lines that begin in its second half.
    fn rotate(&self, log: &File, length: u64) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let mut new = tempfile::NamedTempFile::new_in(directory)?;
        let mut old = BufReader::new(log.try_clone()?.take(length));
        old.get_mut().get_mut().seek(SeekFrom::Start(length / 2))?;
        old.skip_until(b'\n')?;
        let mark = |text: &str| {
            let mut event = Event::now("system", ROTATION);
            event.name = self.path.to_string_lossy().into_owned();
            event.attributes.insert(ROTATION_MARK.to_owned(), text.to_owned());
            event.to_line()
        };
        new.write_all(&mark("begin"))?;
        io::copy(&mut old, &mut new)?;
        new.write_all(&mark("end"))?;
        new.persist(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::events::ImageAction;

    fn event(name: &str) -> Event {
        let id = "ab".repeat(32).parse().unwrap();
        Event::of_image(ImageAction::Tag, &id, name)
    }

    /// The names in the log, with the marks of rotations.
    fn names(log: &EventLog) -> Vec<String> {
        let text = std::fs::read_to_string(log.path()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        let name = |line: &str| {
            let event = Event::from_line(line.as_bytes()).unwrap();
            event.attributes.get(ROTATION_MARK).cloned().unwrap_or(event.name)
        };
        text.lines().map(name).collect()
    }

    #[test]
    fn directories_and_files_have_podmans_modes() {
        let root = tempfile::tempdir().unwrap();
        let log = EventLog::new(root.path().join("libpod/events/events.log"), 0);
        log.append(&[event("a"), event("b")]).unwrap();
        log.append(&[event("c")]).unwrap();
        assert_eq!(names(&log), ["a", "b", "c"]);
        // Whatever the mask of this process, nobody else gets at the events.
        for (path, most) in [
            ("libpod", 0o751),
            ("libpod/events", 0o700),
            ("libpod/events/events.log", 0o600),
            ("libpod/events/events.log.lock", 0o644),
        ] {
            let mode = std::fs::metadata(root.path().join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777 & !most, 0, "{path} {mode:o}");
        }
    }

    #[test]
    fn rotation_keeps_the_newer_half() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("events.log");
        let unlimited = EventLog::new(&path, 0);
        for number in 0..10 {
            unlimited.append(&[event(&format!("{number}"))]).unwrap();
        }
        let length = std::fs::metadata(&path).unwrap().len();
        let roomy = EventLog::new(&path, length * 2);
        roomy.append(&[event("x")]).unwrap();
        assert_eq!(names(&roomy).len(), 11);
        EventLog::new(&path, length).append(&[event("y")]).unwrap();
        assert_eq!(names(&roomy), ["begin", "6", "7", "8", "9", "x", "end", "y"]);
        // Not even one line fits.
        EventLog::new(&path, 1).append(&[event("z")]).unwrap();
        assert_eq!(names(&roomy).last().unwrap(), "z");
        let left: Vec<_> = std::fs::read_dir(root.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_torn_line_stays_alone() {
        let root = tempfile::tempdir().unwrap();
        let log = EventLog::new(root.path().join("events.log"), 0);
        std::fs::write(log.path(), "{\"ID\":").unwrap();
        log.append(&[event("a")]).unwrap();
        let text = std::fs::read_to_string(log.path()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "{\"ID\":");
        assert_eq!(Event::from_line(lines[1].as_bytes()).unwrap().name, "a");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn failures_name_the_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file/events.log");
        std::fs::write(root.path().join("file"), "").unwrap();
        let error = EventLog::new(&path, 0).append(&[event("a")]).unwrap_err();
        assert_eq!(error.to_string(), format!("opening {}.lock", path.display()));
    }

    /// Threads stand for processes: the locks belong to open files.
    #[test]
    fn writers_that_rotate_lose_nothing() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("events.log");
        let mut reader = EventLog::new(&path, 0).read(Position::Start).unwrap();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                // Enough for one rotation, of which a reader does not even notice the dropped half.
                let log = EventLog::new(&path, 120_000);
                std::thread::spawn(move || {
                    for number in 0..200 {
                        log.append(&[event(&format!("{writer}-{number}"))]).unwrap();
                    }
                })
            })
            .collect();
        let mut seen = Vec::new();
        let mut read_all = |seen: &mut Vec<String>| {
            loop {
                let batch = reader.next_batch().unwrap();
                if batch.is_empty() {
                    break;
                }
                seen.extend(batch.into_iter().filter(|it| it.kind == "image").map(|it| it.name));
            }
        };
        while writers.iter().any(|writer| !writer.is_finished()) {
            read_all(&mut seen);
        }
        for writer in writers {
            writer.join().unwrap();
        }
        read_all(&mut seen);
        let marks = names(&EventLog::new(&path, 0));
        assert_eq!(marks.iter().filter(|name| *name == "begin").count(), 1, "one rotation");
        for writer in 0..4 {
            let own = format!("{writer}-");
            let numbers: Vec<_> = seen.iter().filter(|name| name.starts_with(&own)).collect();
            let expected: Vec<_> = (0..200).map(|number| format!("{writer}-{number}")).collect();
            assert_eq!(numbers, expected.iter().collect::<Vec<_>>());
        }
    }
}
