//! What rules look at: the records and the directories of a store, while its locks are held.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::finding::{Cure, Finding, Rule, Severity, Subject};
use crate::image::LayerId;
use crate::storage::dir::Dir;
use crate::storage::links;
use crate::storage::overlay::{CONTAINERS, IMAGES, LAYERS, OVERLAY};
use crate::storage::record::{LayerRecord, Record};
use crate::storage::store::{Current, Inner};
use crate::storage::trash::is_link_name;
use crate::storage::{Error, Snapshot, usage};

/// Longest `link`, `lower` or `lower-layers` that is read, in bytes.
const LIMIT_BYTES: u64 = 1 << 20;

/// A store under locks, as far as rules look at it.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub(super) inner: &'a Inner,
    pub(super) current: &'a Current,
    pub(super) root: Dir,
    pub(super) overlay: Dir,
    /// Entries of the directories below the graph root, sorted.
    pub(super) names: BTreeMap<&'static str, BTreeSet<String>>,
    /// Names of links with what they lead to.
    pub(super) links: BTreeMap<String, String>,
    /// What the layers' directories say of them, for those that have one.
    pub(super) said: HashMap<LayerId, Said>,
    /// What is younger may be a writer's at work.
    pub(super) grace: Duration,
}

/// What a layer's directory says of its place.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) link: Option<String>,
    pub(super) lower: Option<String>,
    pub(super) lower_layers: Option<String>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        inner: &'a Inner,
        current: &'a Current,
        grace: Duration,
    ) -> Result<Self, Error> {
        let root = Dir::open(&inner.options.graph_root)?;
        let overlay = root.sub(OVERLAY)?;
        let mut names = BTreeMap::new();
        for directory in [OVERLAY, "overlay/l", LAYERS, IMAGES, CONTAINERS] {
            names.insert(directory, names_of(&root, directory)?);
        }
        let mut links = BTreeMap::new();
        for name in names.get("overlay/l").into_iter().flatten() {
            let target = match overlay.read_link(format!("l/{name}")) {
                Ok(target) => target.and_then(|target| target.into_string().ok()),
                // It is no link.
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::InvalidInput =>
                {
                    None
                }
                Err(error) => return Err(error),
            };
            links.insert(name.clone(), target.unwrap_or_default());
        }
        let mut scope =
            Self { inner, current, root, overlay, names, links, said: HashMap::new(), grace };
        scope.said = scope
            .layers()
            .filter(|layer| scope.has(OVERLAY, layer.id.as_str()))
            .map(|layer| (layer.id.clone(), Said::read(&scope.overlay, &layer.id)))
            .collect();
        Ok(scope)
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.current.snapshot
    }

    /// The layers of this store, without those of additional ones.
    pub(super) fn layers(&self) -> impl Iterator<Item = &'a Record<LayerRecord>> + use<'a> {
        self.current.primary.layers.records()
    }

    pub(super) fn has(&self, directory: &str, name: &str) -> bool {
        self.names.get(directory).is_some_and(|names| names.contains(name))
    }

    pub(super) fn names(&self, directory: &str) -> impl Iterator<Item = &String> {
        self.names.get(directory).into_iter().flatten()
    }

    /// What the directory of a layer says, in this store or an additional one.
    pub(super) fn said(&self, layer: &LayerId) -> Option<Said> {
        if let Some(said) = self.said.get(layer) {
            return Some(said.clone());
        }
        let stored = self.snapshot().layer(layer)?;
        let overlay = Dir::open(&stored.graph_root.join(OVERLAY)).ok()?;
        Some(Said::read(&overlay, layer))
    }

    /// The layer that a link leads to, if there is one.
    pub(super) fn linked(&self, link: &str) -> Option<LayerId> {
        let target = match self.links.get(link) {
            Some(target) => target.clone(),
            None => self.inner.additional.iter().find_map(|location| {
                let overlay = Dir::open(&location.graph_root.join(OVERLAY)).ok()?;
                overlay.read_link(format!("l/{link}")).ok()??.into_string().ok()
            })?,
        };
        target_of(&target)
    }

    /// Layers that images need, with all that is below them.
    pub(super) fn needed_by_images(&self) -> HashSet<LayerId> {
        let images = self.snapshot().images().iter();
        self.with_all_below(images.flat_map(|image| usage::tops(&image.record)))
    }

    /// Layers that containers need, with all that is below them.
    pub(super) fn needed_by_containers(&self) -> HashSet<LayerId> {
        self.with_all_below(self.snapshot().containers().iter().map(|container| &container.layer))
    }

    /// Layers and what is below them, also what has no record.
    fn with_all_below<'b>(&self, tops: impl Iterator<Item = &'b LayerId>) -> HashSet<LayerId> {
        let mut all = HashSet::new();
        for top in tops {
            all.insert(top.clone());
            for layer in self.snapshot().chain(top) {
                all.insert(layer.record.id.clone());
                all.extend(layer.record.parent.clone());
            }
        }
        all
    }

    /// Whether an entry has not been touched for the time of grace.
    pub(super) fn is_old(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        let Some(stat) = self.root.stat(path)? else { return Ok(false) };
        Ok(u64::try_from(stat.st_mtime).is_ok_and(|second| self.is_past_grace(second)))
    }

    /// Whether the time of grace is over for something of that second.
    pub(super) fn is_past_grace(&self, second: u64) -> bool {
        let then = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(second));
        then.and_then(|then| SystemTime::now().duration_since(then).ok())
            .is_some_and(|age| age >= self.grace)
    }
}

impl Said {
    fn read(overlay: &Dir, layer: &LayerId) -> Self {
        // What cannot be read is as good as missing.
        let read = |name: &str| {
            let text = overlay.read_text(format!("{layer}/{name}"), LIMIT_BYTES).ok()??;
            Some(text.trim().to_owned())
        };
        Self {
            link: read("link").filter(|link| is_link_name(link)),
            lower: read("lower"),
            lower_layers: read("lower-layers"),
        }
    }

    /// Links of the layers below.
    pub(super) fn lower_links(&self) -> impl Iterator<Item = &str> {
        let names = self.lower.iter().flat_map(|lower| lower.split(':'));
        names.filter_map(|name| name.strip_prefix("l/"))
    }
}

impl Clone for Said {
    fn clone(&self) -> Self {
        Self {
            link: self.link.clone(),
            lower: self.lower.clone(),
            lower_layers: self.lower_layers.clone(),
        }
    }
}

/// The layer to whose content a link with this target leads.
pub(super) fn target_of(target: &str) -> Option<LayerId> {
    target.strip_prefix("../")?.strip_suffix("/diff")?.parse().ok()
}

/// What a layer says that is built on this one.
pub(super) fn below(parent: &str, rest: Option<&str>) -> String {
    links::join(parent, rest)
}

/// Names in a directory below the root; none if there is no such directory.
pub(super) fn names_of(root: &Dir, directory: &str) -> Result<BTreeSet<String>, Error> {
    match root.sub(directory) {
        Ok(directory) => Ok(directory.names()?.into_iter().collect()),
        Err(error) if error.is_not_found() => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn error(
        &mut self,
        rule: Rule,
        subject: Subject,
        path: impl Into<PathBuf>,
        why: impl Into<String>,
        cure: Cure,
    ) {
        self.add(Severity::Error, rule, subject, path, why, cure);
    }

    pub(super) fn warning(
        &mut self,
        rule: Rule,
        subject: Subject,
        path: impl Into<PathBuf>,
        why: impl Into<String>,
        cure: Cure,
    ) {
        self.add(Severity::Warning, rule, subject, path, why, cure);
    }

    fn add(
        &mut self,
        severity: Severity,
        rule: Rule,
        subject: Subject,
        path: impl Into<PathBuf>,
        why: impl Into<String>,
        cure: Cure,
    ) {
        let (path, why) = (path.into(), why.into());
        self.0.push(Finding { severity, rule, subject, path, why, cure });
    }

    /// What could not be looked at is a finding, and the rest is looked at all the same.
    pub(super) fn unreadable(&mut self, subject: Subject, result: Result<(), Error>) {
        let Err(error) = result else { return };
        let (path, why) = match &error {
            Error::Io { operation, path, source } => {
                (path.clone(), format!("{operation} failed: {source}"))
            }
            other => (PathBuf::new(), other.to_string()),
        };
        let hint = "see what the system says of the file, and of the disk";
        self.error(Rule::Readable, subject, path, why, Cure::ByHand(hint));
    }
}
