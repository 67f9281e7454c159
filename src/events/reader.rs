//! Reading the log, from its beginning or from its end, and on through rotations.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::Event;

/// How much is read at once, in bytes. A line may be longer.
const CHUNK: usize = 64 << 10;
/// The longest line, in bytes. Events with everything that is known about a container are about
/// a hundredth of it.
const LINE_MAX: usize = 4 << 20;

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// With the oldest event.
    Start,
    /// With what is written from now on.
    End,
}

/// A place in the log. It stays the same place when the log is rotated.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: File,
    /// Where the next line begins.
    offset: u64,
    /// The line before that one, without its end. Of a very long line, the last part.
    last: Vec<u8>,
}

impl LogReader {
    pub(super) fn open(path: &Path, position: Position) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut reader = Self { path: path.to_owned(), file, offset: 0, last: Vec::new() };
        if position == Position::End {
            reader.skip_to_end()?;
        }
        Ok(reader)
    }

    /// The next events; none if there are no more yet. A line that is being written is left for
    /// later, one that cannot be read is logged and left out.
    pub fn next_batch(&mut self) -> io::Result<Vec<Event>> {
        loop {
            // Asked before reading: once the log is another file, nobody appends to this one.
            let other = self.other_file()?;
            if self.file.metadata()?.len() < self.offset {
                // Somebody emptied it.
                self.offset = 0;
                self.last.clear();
            }
            let lines = self.complete_lines()?;
            if !lines.is_empty() {
                let events = self.parse(&lines);
                if events.is_empty() {
                    continue;
                }
                return Ok(events);
            }
            match other {
                None => return Ok(Vec::new()),
                Some(file) => self.switch_to(file)?,
            }
        }
    }

    /// The file that is at the path now, if it is not the one that is open. It may be missing for
    /// a moment.
    fn other_file(&self) -> io::Result<Option<File>> {
        let identity = |it: &std::fs::Metadata| (it.dev(), it.ino());
        let now = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        if identity(&now) == identity(&self.file.metadata()?) {
            return Ok(None);
        }
        match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }

    /// As many whole lines as fit into a chunk, or one that is longer.
    fn complete_lines(&self) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::new();
        loop {
            let start = buffer.len();
            buffer.resize(start + CHUNK, 0);
            let offset = self.offset + as_u64(start);
            let read = read_at(&self.file, &mut buffer[start..], offset)?;
            buffer.truncate(start + read);
            if let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') {
                buffer.truncate(end + 1);
                return Ok(buffer);
            }
            if read < CHUNK {
                return Ok(Vec::new());
            }
            if buffer.len() > LINE_MAX {
                let text = format!("a line of {} is too long", self.path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
    }

    /// Reads lines, and goes on behind them.
    fn parse(&mut self, lines: &[u8]) -> Vec<Event> {
        self.offset += as_u64(lines.len());
        let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
        let mut events = Vec::new();
        for line in lines.split(|byte| *byte == b'\n') {
            match Event::from_line(line) {
                Ok(event) => events.push(event),
                Err(error) => {
                    tracing::warn!(log = ?self.path, error, "line of the event log left out");
                }
            }
        }
        self.remember(lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default());
        events
    }

    fn remember(&mut self, line: &[u8]) {
        self.last = line[line.len().saturating_sub(CHUNK)..].to_vec();
    }

    /// Goes to the end of the last whole line.
    fn skip_to_end(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let mut from = length;
        let mut tail = Vec::new();
        // Until the last whole line is in there with the end of the one before it, or enough of it
        // to know it again.
        while from > 0 && newlines(&tail) < 2 && tail.len() < 2 * CHUNK {
            let size = from.min(as_u64(CHUNK));
            from -= size;
            let mut block = vec![0; usize::try_from(size).unwrap_or(CHUNK)];
            self.file.read_exact_at(&mut block, from)?;
            block.append(&mut tail);
            tail = block;
        }
        let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        self.offset = from + as_u64(end) + 1;
        self.remember(tail[..end].rsplit(|byte| *byte == b'\n').next().unwrap_or_default());
        Ok(())
    }

    /// Goes on in the file that has taken the place of this one: behind the last line that was
    /// read, or, if that has been dropped, at the beginning.
    fn switch_to(&mut self, file: File) -> io::Result<()> {
        let mut lines = BufReader::new(file.try_clone()?);
        let (mut offset, mut found) = (0, None);
        let mut line = Vec::new();
        while !self.last.is_empty() {
            line.clear();
            offset += as_u64(lines.read_until(b'\n', &mut line)?);
            let Some(text) = line.strip_suffix(b"\n") else { break };
            if text.ends_with(&self.last) {
                found = Some(offset);
            }
        }
        self.file = file;
        self.offset = found.unwrap_or(0);
        if found.is_none() {
            self.last.clear();
        }
        Ok(())
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Fills `buffer`, but for the end of the file.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + as_u64(filled)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn line(name: &str) -> String {
        format!(
            r#"{{"Name":"{name}","Status":"tag","Time":"2026-11-24T03:22:56Z","Type":"image"}}"#
        ) + "\n"
    }

    fn lines(names: &[&str]) -> String {
        names.iter().map(|name| line(name)).collect()
    }

    struct Log {
        dir: tempfile::TempDir,
    }

    impl Log {
        fn new(text: &str) -> Self {
            let log = Self { dir: tempfile::tempdir().unwrap() };
            fs::write(log.path(), text).unwrap();
            log
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("log")
        }

        fn append(&self, text: &str) {
            let mut file = File::options().append(true).open(self.path()).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn replace(&self, text: &str) {
            let new = self.dir.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, self.path()).unwrap();
        }

        fn read(&self, position: Position) -> LogReader {
            LogReader::open(&self.path(), position).unwrap()
        }
    }

    fn rest(reader: &mut LogReader) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let batch = reader.next_batch().unwrap();
            if batch.is_empty() {
                return names;
            }
            names.extend(batch.into_iter().map(|event| event.name));
        }
    }

    #[test]
    fn lines_are_read_when_they_are_whole() {
        let log = Log::new("");
        let mut reader = log.read(Position::Start);
        assert!(rest(&mut reader).is_empty());
        log.append(&lines(&["a", "b"]));
        let last = line("c");
        let (begin, end) = last.split_at(20);
        log.append(begin);
        assert_eq!(rest(&mut reader), ["a", "b"]);
        assert!(rest(&mut reader).is_empty());
        log.append(end);
        assert_eq!(rest(&mut reader), ["c"]);
        log.append("damaged\n\n");
        assert!(rest(&mut reader).is_empty());
        log.append(&line("d"));
        assert_eq!(rest(&mut reader), ["d"]);
    }

    #[test]
    fn the_end_is_behind_the_last_whole_line() {
        let last = line("c");
        let (begin, end) = last.split_at(20);
        for (text, more, expected) in [
            (String::new(), line("x"), vec!["x"]),
            (line("a"), line("x"), vec!["x"]),
            (lines(&["a", "b"]) + begin, end.to_owned() + &line("x"), vec!["c", "x"]),
            (begin.to_owned(), end.to_owned(), vec!["c"]),
            (line("a").repeat(5000), line("x"), vec!["x"]),
            (line(&"a".repeat(300_000)), line("x"), vec!["x"]),
        ] {
            let log = Log::new(&text);
            let mut reader = log.read(Position::End);
            assert!(rest(&mut reader).is_empty());
            log.append(&more);
            assert_eq!(rest(&mut reader), expected);
        }
    }

    #[test]
    fn rotations_neither_repeat_nor_lose_lines() {
        for position in [Position::Start, Position::End] {
            let log = Log::new(&lines(&["a", "b", "c", "d"]));
            let mut reader = log.read(position);
            let expected: &[&str] =
                if position == Position::Start { &["a", "b", "c", "d"] } else { &[] };
            assert_eq!(rest(&mut reader), expected);
            // With lines that were not read before the rotation.
            log.append(&line("e"));
            log.replace(&lines(&["mark", "d", "e", "mark", "f"]));
            assert_eq!(rest(&mut reader), ["e", "mark", "f"]);
            // Twice in between: what was last read is gone.
            log.replace(&lines(&["mark", "f", "mark", "g", "h"]));
            log.replace(&lines(&["mark", "g", "h", "mark", "i"]));
            assert_eq!(rest(&mut reader), ["mark", "g", "h", "mark", "i"]);
            fs::remove_file(log.path()).unwrap();
            assert!(rest(&mut reader).is_empty());
            fs::write(log.path(), line("j")).unwrap();
            assert_eq!(rest(&mut reader), ["j"]);
            fs::write(log.path(), "").unwrap();
            assert!(rest(&mut reader).is_empty());
            log.append(&line("k"));
            assert_eq!(rest(&mut reader), ["k"]);
        }
    }

    #[test]
    fn a_reader_that_has_read_nothing_goes_on_at_the_beginning() {
        let log = Log::new("");
        let mut reader = log.read(Position::End);
        log.replace(&lines(&["a"]));
        assert_eq!(rest(&mut reader), ["a"]);
    }

    #[test]
    fn long_lines_are_known_again() {
        let long = line(&format!("{}x", "a".repeat(300_000)));
        let log = Log::new(&long);
        let mut from_end = log.read(Position::End);
        let mut from_start = log.read(Position::Start);
        assert_eq!(rest(&mut from_start).len(), 1);
        log.replace(&(line("mark") + &long + &line("b")));
        assert_eq!(rest(&mut from_end), ["b"]);
        assert_eq!(rest(&mut from_start), ["b"]);
        log.append(&"x".repeat(LINE_MAX + 2 * CHUNK));
        assert_eq!(from_start.next_batch().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
