//! Reading records while somebody else keeps the store locked.
//!
//! containers/storage before 1.62 holds `layers.lock` for as long as it unpacks a layer. A list
//! should not take that long. Every record file is replaced by a rename, so each is whole at any
//! time, and what may not fit together are two files. Images are read before layers: an image
//! is recorded after its layers, and so what a new image needs is seen. What is removed in
//! between is noticed by the marks, and then everything is read again.

use super::Error;
use super::lock::{Held, LockFile, Mark, Unlocked};
use super::overlay::Location;
use super::snapshot::Snapshot;
use super::store::{Inner, Records};
use crate::sys::Cancel;

/// After so many attempts, a snapshot that does not quite fit together is better than none.
const ATTEMPTS: usize = 5;

impl Inner {
    /// The records as they are, without locks. Nothing is repaired and nothing remembered.
    pub(super) fn peek(&self, cancel: &Cancel) -> Result<Snapshot, Error> {
        tracing::debug!(store = ?self.options.graph_root, "locked by others: reading without a lock");
        let mut attempt = 1;
        loop {
            cancel.check()?;
            let known = self.cache().clone();
            let before = self.marks()?;
            let primary = peek_records(&self.primary, known.as_ref().map(|known| &known.primary))?;
            let containers = self.runtime.containers.load(
                &self.runtime.containers.lock.peek()?,
                known.as_ref().map(|known| &known.containers),
            )?;
            let additional = self
                .additional
                .iter()
                .enumerate()
                .map(|(at, location)| {
                    let known = known.as_ref().and_then(|known| known.additional.get(at)?.as_ref());
                    // Read-only stores that are not there are as good as empty.
                    peek_records(location, known).map_or_else(
                        |error| if error.is_not_found() { Ok(None) } else { Err(error) },
                        |records| Ok(Some(records)),
                    )
                })
                .collect::<Result<Vec<_>, _>>()?;
            if let Some(known) = known
                && known.is_same(&primary, &containers, &additional)
            {
                return Ok(known.snapshot);
            }
            if attempt == ATTEMPTS || self.marks()? == before {
                // Unfinished layers are nobody's yet, or nobody's any more.
                let layers = primary.layers.records().filter(|layer| !layer.flags.incomplete);
                let (images, containers) = (primary.images.records(), containers.records());
                return Ok(self.build(layers, images, containers, &additional));
            }
            attempt += 1;
        }
    }

    fn marks(&self) -> Result<[Mark; 2], Error> {
        Ok([mark_of(&self.primary.layers.lock)?, mark_of(&self.primary.images.lock)?])
    }
}

fn mark_of<K>(lock: &LockFile<K>) -> Result<Mark, Error> {
    let held: Held<K, Unlocked> = lock.peek()?;
    held.mark()
}

fn peek_records(location: &Location, known: Option<&Records>) -> Result<Records, Error> {
    let images =
        location.images.load(&location.images.lock.peek()?, known.map(|known| &known.images))?;
    let layers =
        location.layers.load(&location.layers.lock.peek()?, known.map(|known| &known.layers))?;
    Ok(Records { layers, images })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use crate::storage::{Store, StoreOptions};
    use crate::sys::{Cancel, FileLock, LockMode};

    /// What another tool does: keep the lock, write a new mark, replace the records.
    #[test]
    fn a_writer_that_keeps_the_lock_does_not_stop_readers() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let options = StoreOptions {
            graph_root: root.clone(),
            run_root: directory.path().join("run"),
            ..StoreOptions::default()
        };
        let store = Store::open(options, &Cancel::new()).unwrap();
        let before = store.snapshot(&Cancel::new()).unwrap();

        let lock =
            File::options().read(true).write(true).open(root.join("overlay-layers/layers.lock"));
        let held = FileLock::try_lock(lock.unwrap(), LockMode::Exclusive).unwrap().unwrap();
        assert!(store.snapshot(&Cancel::new()).unwrap().is_same(&before));
        assert!(store.snapshot_at_once().unwrap().is_none());

        let (image, layer) = ("a".repeat(64), "b".repeat(64));
        fs::write(root.join("overlay-images/images.lock"), [7; 64]).unwrap();
        fs::write(root.join("overlay-images/images.json"), format!(r#"[{{"id":"{image}"}}]"#))
            .unwrap();
        fs::write(
            root.join("overlay-layers/layers.json"),
            format!(r#"[{{"id":"{layer}","flags":{{"incomplete":true}}}}]"#),
        )
        .unwrap();
        let during = store.snapshot(&Cancel::new()).unwrap();
        assert_eq!(during.images()[0].record.id.as_str(), image);
        assert!(during.layers().is_empty(), "unfinished layers are not shown");
        // Nothing was repaired while others have the lock; with the lock it is.
        assert!(
            fs::read_to_string(root.join("overlay-layers/layers.json")).unwrap().contains(&layer)
        );
        drop(held);
        assert!(store.snapshot_at_once().unwrap().is_none(), "there is something to repair");
        assert!(store.snapshot(&Cancel::new()).unwrap().layers().is_empty());
        assert_eq!(fs::read_to_string(root.join("overlay-layers/layers.json")).unwrap(), "[]");
        assert!(store.snapshot_at_once().unwrap().is_some());
    }
}
