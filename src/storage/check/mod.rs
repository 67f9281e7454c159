//! Looking for what is wrong with a store, and putting it right.
//!
//! Records and directories are looked at while the store's locks are held, shared with other
//! readers: nobody is in the middle of anything then, so an incomplete layer is that of a dead
//! writer. That takes a handful of small reads for each layer. What no lock guards, such as
//! staging directories, and whatever tools may do that they should not, is settled by looking
//! twice: only what is wrong both times counts. Content is read without locks, and what is wrong
//! with it is compared with the records as they are afterwards.
//!
//! Additional stores are looked at only as far as this one refers to them.

mod data;
mod finding;
mod images;
mod layers;
mod orphans;
mod plan;
mod records;
mod repair;
mod scope;
mod staging;

use std::path::Path;
use std::time::Duration;

pub use finding::{Finding, Rule, Severity, Subject};
pub use plan::{Action, Kept, Plan, Unused};
pub use repair::Repaired;

use super::lock::{ContainersRead, ImagesRead, LayersRead};
use super::overlay::{CONTAINERS, LAYERS};
use super::store::{AdditionalLocks, Current, Inner};
use super::{Error, Snapshot, Store};
use crate::sys::Cancel;
use finding::Cure;
use scope::{Findings, Scope};

/// Time between two looks. What is not guarded by locks is of no length that matters: a lock file
/// that was created and is not locked yet.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a lock is waited for in silence.
const SILENCE: Duration = Duration::from_secs(2);

/// What to look at.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions {
    /// Whether content is read.
    pub read_data: ReadData,
    /// What is younger may be of a writer at work: layers without an image, images without a
    /// manifest, directories of no known kind.
    pub grace: Duration,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { read_data: ReadData::No, grace: Duration::from_secs(24 * 60 * 60) }
    }
}

/// Whether content is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadData {
    /// Only sizes are compared.
    No,
    /// Layers are rebuilt, and digests compared.
    Yes,
}

/// What was looked at, and what is wrong.
#[derive(Debug, Clone)]
pub struct Report {
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// The records that were looked at; `None` if they could not be read.
    pub snapshot: Option<Snapshot>,
    /// What a repair would do.
    pub plan: Plan,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// The locks of somebody who looks.
struct Looking {
    // Released inner ones first.
    containers: ContainersRead,
    others: Vec<AdditionalLocks>,
    images: ImagesRead,
    layers: LayersRead,
}

impl Store {
    /// Looks for what is wrong. The store may be used meanwhile; it should have been opened with
    /// [`Store::look`], since what is opened to write repairs some things by itself.
    ///
    /// # Errors
    /// Where it cannot be told what is wrong: a store that is not there, may not be read, or has
    /// containers in an unexpected place.
    pub fn check(
        &self,
        options: CheckOptions,
        unused: Unused,
        cancel: &Cancel,
    ) -> Result<Report, Error> {
        let inner = &*self.inner;
        inner.check_places()?;
        let (mut found, mut snapshot) = match self.look_once(options, cancel) {
            Err(Error::Malformed { path, source }) => {
                return Ok(unreadable_records(&path, &source, inner));
            }
            result => result?,
        };
        if !found.is_empty() {
            std::thread::sleep(PAUSE);
            let (mut again, later) = self.look_once(options, cancel)?;
            again.retain(|it| found.iter().any(|other| other.is_same(it)));
            (found, snapshot) = (again, later);
        }
        let mut found = Findings(found);
        if options.read_data == ReadData::Yes {
            data::check(self, &snapshot, &mut found, cancel)?;
        }
        let mut findings = found.0;
        findings.sort_by_key(|finding| finding.severity);
        let plan = Plan::new(inner, &snapshot, &findings, unused);
        Ok(Report { findings, snapshot: Some(snapshot), plan })
    }

    fn look_once(
        &self,
        options: CheckOptions,
        cancel: &Cancel,
    ) -> Result<(Vec<Finding>, Snapshot), Error> {
        let inner = &*self.inner;
        let held = inner.lock_to_look(cancel)?;
        let current = inner.refresh(&held.layers, &held.images, &held.containers, &held.others)?;
        let current = current.ok_or_else(|| inner.unrepaired())?;
        let findings = inner.findings(&current, options)?;
        drop(held);
        Ok((findings, current.snapshot))
    }
}

impl Inner {
    fn lock_to_look(&self, cancel: &Cancel) -> Result<Looking, Error> {
        let lock = &self.primary.layers.lock;
        let layers = match lock.read_within(SILENCE, cancel)? {
            Some(layers) => layers,
            None => {
                tracing::warn!("another program keeps the store locked: waiting for it");
                lock.read(cancel)?
            }
        };
        let others = self.lock_additional_layers(cancel)?;
        let images = self.primary.images.lock.read(&layers, cancel)?;
        let others = self.lock_additional_images(others, cancel)?;
        let containers = self.runtime.containers.lock.read(&layers, &images, cancel)?;
        Ok(Looking { containers, others, images, layers })
    }

    /// All that is wrong and can be seen under locks.
    fn findings(&self, current: &Current, options: CheckOptions) -> Result<Vec<Finding>, Error> {
        let scope = Scope::new(self, current, options.grace)?;
        let mut found = Findings::default();
        records::check(&scope, &mut found);
        layers::check(&scope, &mut found);
        images::check(&scope, options.read_data, &mut found);
        orphans::check(&scope, &mut found)?;
        staging::check(&scope, &mut found)?;
        Ok(found.0)
    }

    /// Refuses a store with containers where they are not looked for: what they need would be
    /// taken for rubbish.
    fn check_places(&self) -> Result<(), Error> {
        let (graph_root, run_root) = (&self.options.graph_root, &self.options.run_root);
        let unexpected: &Path = if self.options.transient { graph_root } else { run_root };
        for (directory, name) in
            [(LAYERS, "volatile-layers.json"), (CONTAINERS, "volatile-containers.json")]
        {
            let path = unexpected.join(directory).join(name);
            // `[]` is an empty list.
            if std::fs::metadata(&path).is_ok_and(|file| file.len() > 2) {
                return Err(Error::OtherRecords { path });
            }
        }
        Ok(())
    }
}

fn unreadable_records(path: &Path, source: &serde_json::Error, inner: &Inner) -> Report {
    let below = path.strip_prefix(&inner.options.graph_root).unwrap_or(path);
    let mut found = Findings::default();
    let why = format!("the records cannot be read, so nothing else was looked at: {source}");
    let cure = Cure::ByHand("correct the file, or restore it from a backup, while no tool runs");
    found.error(Rule::Records, Subject::Store, below, why, cure);
    Report { findings: found.0, snapshot: None, plan: Plan::default() }
}
