//! The content of layers, rebuilt and compared.

use std::error::Error as _;
use std::io::{self, ErrorKind, Write};

use rustix::io::Errno;

use super::finding::{Cure, Rule, Subject};
use super::scope::Findings;
use crate::layer;
use crate::storage::record::{LayerRecord, Record};
use crate::storage::{Error, Snapshot, Store};
use crate::sys::Cancel;

/// How often a layer is read that others change meanwhile.
const ROUNDS: usize = 3;

/// Why a layer's tar is not what its record promises.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    /// What is on disk is not what it was.
    Damaged(String),
    /// What is on disk may be as it was, and yet its tar cannot be made of it.
    Unverified(String),
    /// The system would not let it be read.
    Unreadable(String),
}

/// Rebuilds the tars of all layers that have a digest. No lock is held meanwhile, so what is
/// found is looked at again with the records as they are then.
pub(super) fn check(
    store: &Store,
    snapshot: &Snapshot,
    found: &mut Findings,
    cancel: &Cancel,
) -> Result<(), Error> {
    for layer in snapshot.layers().iter().filter(|layer| !layer.read_only) {
        let record = &layer.record;
        let subject = Subject::Layer(record.id.clone());
        // Those without their parts on disk have been found before.
        let is_lost = found.0.iter().any(|it| {
            it.subject == subject && (it.cure == Cure::LostLayer || it.cure == Cure::Load)
        });
        if record.diff_id.is_none() || is_lost {
            continue;
        }
        let path = format!("overlay/{}/diff", record.id);
        match problem(store, snapshot.clone(), record, cancel)? {
            None => {}
            Some(Problem::Damaged(why)) => {
                found.error(Rule::Content, subject, path, why, Cure::LostLayer);
            }
            Some(Problem::Unverified(why)) => {
                let hint = "nothing: containers can use it, and no tool can export it";
                found.warning(Rule::Content, subject, path, why, Cure::ByHand(hint));
            }
            Some(Problem::Unreadable(why)) => {
                let hint = "see what the system says of the file, and of the disk";
                found.error(Rule::Readable, subject, path, why, Cure::ByHand(hint));
            }
        }
    }
    Ok(())
}

/// What is wrong with the content of a layer, twice in a row and with the same record.
fn problem(
    store: &Store,
    snapshot: Snapshot,
    record: &Record<LayerRecord>,
    cancel: &Cancel,
) -> Result<Option<Problem>, Error> {
    let mut snapshot = snapshot;
    let mut seen = None;
    for _ in 0..ROUNDS {
        let mut tar = Watched::default();
        let result = store
            .open_layer(&snapshot, &record.id, cancel)
            .and_then(|content| content.copy_hashed(&mut tar, cancel));
        let problem = match result {
            Ok(()) => return Ok(None),
            // It is of a kind whose content cannot be verified here.
            Err(Error::UnsupportedLayer { .. }) => return Ok(None),
            Err(error) if is_ours(&error) => return Err(error),
            Err(error) => explain(&error, tar.sparse),
        };
        snapshot = store.snapshot(cancel)?;
        match snapshot.layer(&record.id) {
            // Somebody was about to remove it.
            None => return Ok(None),
            Some(now) if now.record.flags.incomplete => return Ok(None),
            Some(now) if now.record.json() != record.json() => seen = None,
            Some(_) if seen.as_ref() == Some(&problem) => return Ok(Some(problem)),
            Some(_) => seen = Some(problem),
        }
    }
    // It was another one each time.
    Ok(None)
}

/// Whether it says nothing about the layer: the caller gave up, or the process lacks something.
fn is_ours(error: &Error) -> bool {
    if matches!(error, Error::Canceled(_) | Error::Layer(layer::Error::Canceled(_))) {
        return true;
    }
    let system = source_of(error).and_then(io::Error::raw_os_error);
    let lacking =
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::ACCESS, Errno::PERM];
    system.is_some_and(|code| lacking.iter().any(|errno| errno.raw_os_error() == code))
}

/// What the system said.
fn source_of(error: &Error) -> Option<&io::Error> {
    match error {
        Error::Io { source, .. } => Some(source),
        Error::Layer(
            layer::Error::Tree { source, .. }
            | layer::Error::Read(source)
            | layer::Error::ReadTarSplit(source),
        ) => Some(source),
        _ => None,
    }
}

fn explain(error: &Error, is_sparse: bool) -> Problem {
    let text = chain(error);
    match error {
        // The other tools note the length that a sparse file has when it is unpacked.
        Error::WrongContent { .. } if is_sparse => {
            Problem::Unverified(format!("{text}; sparse files in it were not noted as they were"))
        }
        Error::WrongContent { .. }
        | Error::Layer(
            layer::Error::Missing { .. }
            | layer::Error::Changed { .. }
            | layer::Error::MalformedTarSplit { .. }
            | layer::Error::Truncated,
        ) => Problem::Damaged(text),
        Error::Layer(layer::Error::ReadTarSplit(source))
            if matches!(
                source.kind(),
                ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof
            ) =>
        {
            Problem::Damaged(text)
        }
        other if source_of(other).is_some() => Problem::Unreadable(text),
        _ => Problem::Unverified(text),
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    // Some say the same as their sources.
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Looks into a tar for the headers of sparse files, and keeps nothing of it.
#[derive(Debug, Default)]
struct Watched {
    sparse: bool,
    tail: Vec<u8>,
}

/// Begins the names of such headers.
const SPARSE: &[u8] = b"GNU.sparse.";

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let has = |bytes: &[u8]| {
            let mut rest = bytes;
            while let Some(at) = rest.iter().position(|byte| *byte == SPARSE[0]) {
                rest = &rest[at..];
                if rest.starts_with(SPARSE) {
                    return true;
                }
                rest = &rest[1..];
            }
            false
        };
        if !self.sparse {
            // One may lie across two pieces.
            self.tail.extend(bytes.iter().take(SPARSE.len()));
            self.sparse = has(&self.tail) || has(bytes);
            let kept = bytes.len().min(SPARSE.len() - 1);
            self.tail.clear();
            self.tail.extend(&bytes[bytes.len() - kept..]);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_sparse_files_are_seen_wherever_they_are() {
        let tar = b"GGGNU.GNU.sparse.major=1";
        for at in 0..tar.len() {
            let mut watched = Watched::default();
            watched.write_all(&tar[..at]).unwrap();
            watched.write_all(&tar[at..]).unwrap();
            assert!(watched.sparse, "{at}");
        }
        let mut watched = Watched::default();
        watched.write_all(b"GNU.sparseGNU.spar").unwrap();
        assert!(!watched.sparse);
    }
}
