//! The content of layers, rebuilt and compared.

use super::finding::{Cure, Rule, Subject};
use super::scope::Findings;
use crate::storage::record::{LayerRecord, Record};
use crate::storage::{Error, Snapshot, Store};
use crate::sys::Cancel;

/// How often a layer is read that others change meanwhile.
const ROUNDS: usize = 3;

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
        // Those without their parts on disk have been found before.
        let is_whole = |found: &Findings| {
            !found.0.iter().any(|it| {
                it.subject == Subject::Layer(record.id.clone())
                    && (it.cure == Cure::LostLayer || it.cure == Cure::Load)
            })
        };
        if record.diff_id.is_some()
            && is_whole(found)
            && let Some(why) = wrong_content(store, snapshot.clone(), record, cancel)?
        {
            let path = format!("overlay/{}/diff", record.id);
            let subject = Subject::Layer(record.id.clone());
            found.error(Rule::Content, subject, path, why, Cure::LostLayer);
        }
    }
    Ok(())
}

/// What is wrong with the content of a layer, twice in a row and with the same record.
fn wrong_content(
    store: &Store,
    snapshot: Snapshot,
    record: &Record<LayerRecord>,
    cancel: &Cancel,
) -> Result<Option<String>, Error> {
    let mut snapshot = snapshot;
    let mut seen = None;
    for _ in 0..ROUNDS {
        let result = store
            .open_layer(&snapshot, &record.id, cancel)
            .and_then(|content| content.copy_to(std::io::sink(), cancel));
        let why = match result {
            Ok(_) => return Ok(None),
            Err(Error::Canceled(canceled)) => return Err(Error::Canceled(canceled)),
            // It is of a kind whose content cannot be verified here.
            Err(Error::UnsupportedLayer { .. }) => return Ok(None),
            Err(error) => chain(&error),
        };
        snapshot = store.snapshot(cancel)?;
        match snapshot.layer(&record.id) {
            // Somebody was about to remove it.
            None => return Ok(None),
            Some(now) if now.record.flags.incomplete => return Ok(None),
            Some(now) if now.record.json() != record.json() => seen = None,
            Some(_) if seen.as_ref() == Some(&why) => return Ok(Some(why)),
            Some(_) => seen = Some(why),
        }
    }
    // It was another one each time.
    Ok(None)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
