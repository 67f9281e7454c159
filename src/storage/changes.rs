//! What a layer changes.
//!
//! Two stacks of layers are compared as the trees that overlayfs would make of them, without
//! mounting either. Where both stacks go on with the same layers nothing can
//! differ, so of a layer and its parent only the directories of the layer are looked at.
//!
//! The rules of the report are those of the overlay driver of containers/storage. Against a layer
//! further down the own stack, whatever a layer between has is modified. A directory is reported
//! if itself differs or something below it was added or deleted. One that was deleted and made
//! anew is deleted, and all in it is added. Below one that is gone nothing is reported.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use super::dir::Dir;
use super::overlay::OVERLAY;
use super::{Error, Snapshot, Store, links};
use crate::image::LayerId;
use crate::layer::{Node, Stack, Trees, is_dir};
use crate::sys::Cancel;

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It differs.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

/// A path that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Bytes of the path, with a slash in front.
    pub path: Vec<u8>,
    /// What became of it.
    pub kind: ChangeKind,
}

impl Store {
    /// How the tree of `layer` differs from that of `base`, or from that of its parent; sorted by
    /// path. No lock is held while it is compared.
    ///
    /// # Errors
    /// [`Error::LayerNotKnown`]; [`Error::UnsupportedLayer`] for layers whose content is not
    /// simply in a directory.
    pub fn changes(
        &self,
        snapshot: &Snapshot,
        layer: &LayerId,
        base: Option<&LayerId>,
        cancel: &Cancel,
    ) -> Result<Vec<Change>, Error> {
        let stack = |top: &LayerId| -> Result<Vec<&LayerId>, Error> {
            let chain = snapshot.chain(top);
            let missing = match chain.last() {
                None => Some(top),
                Some(bottom) => bottom.record.parent.as_ref(),
            };
            match missing {
                Some(layer) => Err(Error::LayerNotKnown { layer: layer.clone() }),
                None => Ok(chain.into_iter().map(|layer| &layer.record.id).collect()),
            }
        };
        let new = stack(layer)?;
        let old = match base {
            Some(base) => stack(base)?,
            None => new.get(1..).unwrap_or_default().to_vec(),
        };
        let mut layers = new.clone();
        layers.extend(old.iter().filter(|layer| !new.contains(layer)));
        let place = |layer: &&LayerId| layers.iter().position(|it| it == layer);
        let places = |stack: &[&LayerId]| stack.iter().filter_map(place).collect::<Vec<_>>();
        let (new_places, old_places) = (places(&new), places(&old));
        let roots = layers
            .iter()
            .map(|layer| self.open_diff(snapshot, layer, cancel))
            .collect::<Result<_, _>>()?;
        let comparison = Comparison {
            trees: Trees::new(roots, self.inner.whiteout_files),
            same_stack: new.ends_with(&old),
        };
        comparison.run(new_places, old_places, cancel)
    }

    fn open_diff(
        &self,
        snapshot: &Snapshot,
        layer: &LayerId,
        cancel: &Cancel,
    ) -> Result<OwnedFd, Error> {
        let unknown = || Error::LayerNotKnown { layer: layer.clone() };
        let stored = snapshot.layer(layer).ok_or_else(unknown)?;
        let _lock = self.inner.location_of(stored).layers.lock.read(cancel)?;
        let directory = Dir::open(&stored.graph_root.join(OVERLAY))?
            .sub_nofollow(layer.as_str())
            .map_err(|error| if error.is_not_found() { unknown() } else { error })?;
        links::check_kind(&directory, layer)?;
        Ok(directory.sub("diff")?.into_fd())
    }
}

/// A directory to be compared.
struct Pending {
    /// Empty for the root, else with a slash in front.
    path: Vec<u8>,
    new: Stack,
    old: Stack,
}

#[derive(Default)]
struct Report {
    changes: Vec<Change>,
    /// Paths of directories that are in the list.
    directories: HashSet<Vec<u8>>,
}

impl Report {
    fn add(&mut self, path: Vec<u8>, kind: ChangeKind, is_dir: bool) {
        if is_dir {
            self.directories.insert(path.clone());
        }
        self.changes.push(Change { path, kind });
    }

    /// Adds a directory and those above, as far as they are not there: something was added to it
    /// or deleted from it.
    fn add_directories(&mut self, mut path: Vec<u8>) {
        while !path.is_empty() {
            if !self.directories.contains(&path) {
                self.add(path.clone(), ChangeKind::Modified, true);
            }
            path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or_default());
        }
    }
}

struct Comparison {
    trees: Trees,
    /// The old stack is the lower part of the new one.
    same_stack: bool,
}

impl Comparison {
    fn run(&self, new: Stack, old: Stack, cancel: &Cancel) -> Result<Vec<Change>, Error> {
        let mut report = Report::default();
        let mut open = vec![Pending { path: Vec::new(), new, old }];
        while let Some(directory) = open.pop() {
            cancel.check()?;
            self.compare(directory, &mut open, &mut report)?;
        }
        let mut changes = report.changes;
        changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    }

    fn compare(
        &self,
        directory: Pending,
        open: &mut Vec<Pending>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let Pending { path, new, old } = directory;
        let mut before = self.trees.list(&path, &old)?;
        let child = |name: &[u8]| [&path, &b"/"[..], name].concat();
        let mut comes_or_goes = false;
        for (name, node) in self.trees.list(&path, &new)? {
            let earlier = before.remove(&name);
            let kind = match &earlier {
                None => Some(ChangeKind::Added),
                // The same layers, and so the same below.
                Some(earlier) if node.layers == earlier.layers => continue,
                Some(_) if node.opaque => Some(ChangeKind::Deleted),
                Some(earlier) => self.differ(&node, earlier).then_some(ChangeKind::Modified),
            };
            let directory = is_dir(&node.stat);
            if let Some(kind) = kind {
                comes_or_goes |= kind != ChangeKind::Modified;
                report.add(child(&name), kind, directory);
            }
            if directory {
                let merged = earlier.filter(|it| is_dir(&it.stat) && !node.opaque);
                let old = merged.map(|earlier| earlier.layers).unwrap_or_default();
                open.push(Pending { path: child(&name), new: node.layers, old });
            }
        }
        comes_or_goes |= !before.is_empty();
        for name in before.into_keys() {
            report.add(child(&name), ChangeKind::Deleted, false);
        }
        if comes_or_goes {
            report.add_directories(path);
        }
        Ok(())
    }

    /// Whether an entry that both stacks have is another one. Sizes of directories say nothing.
    fn differ(&self, new: &Node, old: &Node) -> bool {
        let (a, b) = (&new.stat, &old.stat);
        let same = (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
            && a.st_mtime == b.st_mtime
            && (a.st_mtime_nsec == b.st_mtime_nsec || a.st_mtime_nsec == 0 || b.st_mtime_nsec == 0);
        if is_dir(a) && is_dir(b) {
            return !same;
        }
        self.same_stack || !same || (a.st_size, a.st_rdev) != (b.st_size, b.st_rdev)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Layers from texts: `path` is a file, `path/` a directory, `path=text` a file with content.
    fn layers(at: &Path, texts: &[&str]) -> Trees {
        let layer = |(number, text): (usize, &&str)| {
            let path = at.join(number.to_string());
            std::fs::create_dir(&path).unwrap();
            for entry in text.split_whitespace() {
                let (name, content) = entry.split_once('=').unwrap_or((entry, ""));
                match name.strip_suffix('/') {
                    Some(name) => std::fs::create_dir_all(path.join(name)).unwrap(),
                    None => {
                        let file = path.join(name);
                        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                        std::fs::write(file, content).unwrap();
                    }
                }
            }
            same_times(&path);
            std::fs::File::open(&path).unwrap().into()
        };
        Trees::new(texts.iter().enumerate().map(layer).collect(), true)
    }

    /// Gives all files and directories the same time, as an archive does.
    fn same_times(path: &Path) {
        if path.is_dir() {
            std::fs::read_dir(path).unwrap().for_each(|entry| same_times(&entry.unwrap().path()));
        }
        let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        std::fs::File::open(path).unwrap().set_times(times).unwrap();
    }

    fn compared(texts: &[&str], new: &[usize], old: &[usize]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let comparison =
            Comparison { trees: layers(directory.path(), texts), same_stack: new.ends_with(old) };
        let changes = comparison.run(new.to_vec(), old.to_vec(), &Cancel::new()).unwrap();
        let text = |change: Change| {
            let kind = match change.kind {
                ChangeKind::Modified => 'C',
                ChangeKind::Added => 'A',
                ChangeKind::Deleted => 'D',
            };
            format!("{kind}{}", String::from_utf8(change.path).unwrap())
        };
        changes.into_iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_layer_and_its_parent() {
        for (layer, expected) in [
            ("", ""),
            ("a/b/c", "C/a/b/c"),
            ("a/b/new", "C/a C/a/b A/a/b/new"),
            ("a/b/.wh.c", "C/a C/a/b D/a/b/c"),
            (".wh.a", "D/a"),
            ("a/.wh..wh..opq a/n", "C/a D/a/b A/a/n"),
            ("f/x", "C/f A/f/x"),
            ("new/ new/.wh.nothing", "A/new"),
            ("a/ a/b/", ""),
        ] {
            assert_eq!(compared(&[layer, "a/b/c f"], &[0, 1], &[1]), expected, "{layer}");
        }
    }

    #[test]
    fn stacks() {
        let texts = ["d/.wh.x", "d/x d/y", "d/z", "d/y=other d/z"];
        for (new, old, expected) in [
            (&[3][..], &[][..], "A/d A/d/y A/d/z"),
            (&[0, 1, 2], &[0, 1, 2], ""),
            (&[0, 1, 2], &[1, 2], "C/d D/d/x"),
            // Something hidden again is not there.
            (&[0, 1, 2], &[2], "C/d A/d/y"),
            (&[2], &[1, 2], "C/d D/d/x D/d/y"),
            // Of two unrelated stacks the files are compared.
            (&[1, 2], &[3], "C/d A/d/x C/d/y"),
        ] {
            assert_eq!(compared(&texts, new, old), expected, "{new:?} {old:?}");
        }
    }
}
