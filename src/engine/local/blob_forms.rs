//! What is remembered of layers' blobs: in which packed forms they have been seen, and where.
//!
//! The store keeps layers unpacked, so a push would have to pack a layer to learn its digest, and could
//! not know that the registry has it. Whoever has packed a layer, or unpacked one that it fetched,
//! records here what it saw. It is a cache in the run root: losing it costs time, nothing else. What it
//! says of content is believed, since only its own user can write there; what it says of places is
//! asked for again.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::image::{DiffId, Digest, LayerBlob, Packing};

/// Name of the file.
const FILE: &str = "imaged-blobs.json";
/// Form of the file. Others are not read.
const VERSION: u32 = 1;
/// Layers that are remembered, the last seen ones.
const LAYERS: usize = 2000;
/// Forms of each.
const FORMS: usize = 4;
/// Places of each form.
const PLACES: usize = 8;
/// Longest file that is read, bytes.
const LONGEST: u64 = 16 << 20;

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Place {
    /// The registry, as references name it.
    pub(super) registry: String,
    /// The path on it.
    pub(super) repository: String,
}

/// A packed form of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Form {
    digest: Digest,
    size: u64,
    packing: Packing,
    /// Where it was seen, the last place first.
    pub(super) places: Vec<Place>,
}

impl Form {
    /// The blob.
    pub(super) fn blob(&self) -> LayerBlob {
        LayerBlob { digest: self.digest.clone(), size: self.size, packing: self.packing }
    }
}

/// A blob that was seen somewhere, with the layer that is in it. Somebody has unpacked or packed all of
/// it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The layer.
    pub(super) diff_id: DiffId,
    /// The blob.
    pub(super) blob: LayerBlob,
    /// Where.
    pub(super) place: Place,
}

/// The file.
#[derive(Debug)]
pub(super) struct BlobForms {
    path: PathBuf,
    /// Held while the file is read and replaced.
    writing: Mutex<()>,
}

/// What is in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    version: u32,
    /// The last seen ones first.
    layers: Vec<KnownLayer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KnownLayer {
    layer: DiffId,
    /// The last seen ones first.
    forms: Vec<Form>,
}

impl BlobForms {
    pub(super) fn new(run_root: &Path) -> Self {
        Self { path: run_root.join(FILE), writing: Mutex::new(()) }
    }

    /// The known forms of these layers, the last seen ones first. Blocks.
    pub(super) fn find<'a>(
        &self,
        layers: impl IntoIterator<Item = &'a DiffId>,
    ) -> HashMap<DiffId, Vec<Form>> {
        let wanted: Vec<&DiffId> = layers.into_iter().collect();
        let known = self.read().layers.into_iter();
        known
            .filter(|known| wanted.contains(&&known.layer))
            .map(|known| (known.layer, known.forms))
            .collect()
    }

    /// Remembers what was seen. Blocks. That it cannot be written down is no failure of anybody.
    pub(super) fn record(&self, seen: &[Seen]) {
        if seen.is_empty() {
            return;
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut contents = self.read();
        if seen.iter().all(|seen| contents.knows(seen)) {
            return;
        }
        for seen in seen {
            contents.add(seen);
        }
        contents.layers.truncate(LAYERS);
        if let Err(error) = self.replace(&contents) {
            tracing::debug!(%error, path = %self.path.display(), "cannot remember blobs");
        }
    }

    /// What cannot be read, or is damaged, is as good as nothing.
    fn read(&self) -> Contents {
        let read = || {
            if std::fs::metadata(&self.path).ok()?.len() > LONGEST {
                return None;
            }
            let contents: Contents =
                serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()?;
            (contents.version == VERSION).then_some(contents)
        };
        read().unwrap_or_default()
    }

    fn replace(&self, contents: &Contents) -> io::Result<()> {
        let directory = self.path.parent().ok_or(io::ErrorKind::NotFound)?;
        let mut file = tempfile::Builder::new().prefix(".imaged-blobs-").tempfile_in(directory)?;
        file.write_all(&serde_json::to_vec(contents)?)?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl Contents {
    /// Whether this was the last that was seen of the layer.
    fn knows(&self, seen: &Seen) -> bool {
        let known = self.layers.iter().find(|known| known.layer == seen.diff_id);
        let form = known.and_then(|known| known.forms.first());
        form.is_some_and(|form| {
            form.blob() == seen.blob && form.places.first() == Some(&seen.place)
        })
    }

    fn add(&mut self, seen: &Seen) {
        self.version = VERSION;
        let at = self.layers.iter().position(|known| known.layer == seen.diff_id);
        let mut layer = match at {
            Some(at) => self.layers.remove(at),
            None => KnownLayer { layer: seen.diff_id.clone(), forms: Vec::new() },
        };
        let at = layer.forms.iter().position(|form| form.digest == seen.blob.digest);
        let LayerBlob { digest, size, packing } = seen.blob.clone();
        let mut places = at.map(|at| layer.forms.remove(at).places).unwrap_or_default();
        places.retain(|place| *place != seen.place);
        places.insert(0, seen.place.clone());
        places.truncate(PLACES);
        layer.forms.insert(0, Form { digest, size, packing, places });
        layer.forms.truncate(FORMS);
        self.layers.insert(0, layer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(layer: u32, blob: u32, place: u32) -> Seen {
        let digest = |number: u32| format!("sha256:{number:064x}");
        Seen {
            diff_id: digest(layer).parse().unwrap(),
            blob: LayerBlob {
                digest: digest(blob).parse().unwrap(),
                size: 7,
                packing: Packing::Gzip,
            },
            place: Place { registry: "r".into(), repository: place.to_string() },
        }
    }

    #[test]
    fn what_was_seen_last_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let forms = BlobForms::new(dir.path());
        assert!(forms.find([&seen(1, 1, 1).diff_id]).is_empty());
        forms.record(&[seen(1, 10, 1), seen(1, 11, 1), seen(2, 20, 1), seen(1, 10, 2)]);
        // Another one reads what this one has written.
        let forms = BlobForms::new(dir.path());
        let found = forms.find([&seen(1, 0, 0).diff_id, &seen(3, 0, 0).diff_id]);
        assert_eq!(found.len(), 1);
        let found = &found[&seen(1, 0, 0).diff_id];
        let digests: Vec<_> = found.iter().map(|form| form.blob().digest).collect();
        assert_eq!(digests, [seen(0, 10, 0).blob.digest, seen(0, 11, 0).blob.digest]);
        let places: Vec<_> = found[0].places.iter().map(|place| &*place.repository).collect();
        assert_eq!(places, ["2", "1"]);
    }

    #[test]
    fn it_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let forms = BlobForms::new(dir.path());
        let many: Vec<Seen> = (0..3000).map(|number| seen(number, number, 0)).collect();
        forms.record(&many);
        let kept = forms.find(many.iter().map(|seen| &seen.diff_id));
        assert_eq!(kept.len(), LAYERS);
        assert!(kept.contains_key(&many[2999].diff_id) && !kept.contains_key(&many[0].diff_id));
        forms.record(&(0..20).map(|number| seen(1, number, 0)).collect::<Vec<_>>());
        forms.record(&(0..20).map(|number| seen(2, 1, number)).collect::<Vec<_>>());
        let kept = forms.find([&seen(1, 0, 0).diff_id, &seen(2, 0, 0).diff_id]);
        assert_eq!(kept[&seen(1, 0, 0).diff_id].len(), FORMS);
        assert_eq!(kept[&seen(2, 0, 0).diff_id][0].places.len(), PLACES);
    }

    #[test]
    fn damage_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let forms = BlobForms::new(dir.path());
        for text in ["{", "[]", r#"{"version":2,"layers":[]}"#, r#"{"version":1,"layers":[{}]}"#] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            assert!(forms.find([&seen(1, 1, 1).diff_id]).is_empty(), "{text}");
            forms.record(&[seen(1, 1, 1)]);
            assert_eq!(forms.find([&seen(1, 1, 1).diff_id]).len(), 1, "{text}");
        }
        // Nobody notices that it cannot be written.
        BlobForms::new(&dir.path().join("none")).record(&[seen(1, 1, 1)]);
    }
}
