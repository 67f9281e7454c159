//! Doing what a plan says, in one transaction.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid};

use super::finding::{Cure, Finding, Fix, Rule, Subject};
use super::plan::{Action, Kept, Plan, Unused, Work};
use super::staging::PARTIAL_LOCK;
use super::{CheckOptions, ReadData, Report};
use crate::image::LayerId;
use crate::storage::atomic::Replacement;
use crate::storage::bigdata::{self, file_name};
use crate::storage::dir::Dir;
use crate::storage::overlay::IMAGES;
use crate::storage::{Error, Snapshot, Store, Transaction};
use crate::sys::{Cancel, FileLock, LockMode};

/// What a repair has done.
#[derive(Debug, Clone, Default)]
pub struct Repaired {
    /// What was done.
    pub done: Vec<Action>,
    /// What was planned and not done, and why.
    pub failed: Vec<Kept>,
}

impl Store {
    /// Does what the plan of a report says, as far as it is still true: everything is looked at again
    /// with the store's locks held, and only content that was read for the report, and whose record
    /// is the same, counts as seen. This store has to be open to write.
    ///
    /// # Errors
    /// A store that cannot be written. What was done until then is done.
    pub fn repair(
        &self,
        report: &Report,
        options: CheckOptions,
        unused: Unused,
        cancel: &Cancel,
    ) -> Result<Repaired, Error> {
        let mut repaired = Repaired::default();
        let planned = report.plan.actions.iter();
        // Done by opening the store, and by beginning the transaction.
        repaired.done.extend(planned.filter(|action| action.work == Work::Load).cloned());
        // Containers are locked as well, so that what is in their directory has no living owner.
        let mut transaction = self.begin_with_containers(cancel)?;
        let inner = transaction.inner;
        let current = transaction.current.clone();
        // Documents are small; they are read again.
        let mut findings = inner.findings(&current, options)?;
        if let (ReadData::Yes, Some(before)) = (options.read_data, &report.snapshot) {
            findings.extend(wrong_contents(report, before, &current.snapshot));
        }
        let plan = Plan::new(inner, &current.snapshot, &findings, unused);
        let mut layers = Vec::new();
        let mut repairs = Vec::new();
        for action in plan.actions {
            match &action.work {
                // Somebody died since. The next one to open the store sees to it.
                Work::Load => {}
                Work::RemoveLayer(_) => layers.push(action),
                Work::RemoveImage(image) => match transaction.delete_image(image) {
                    Ok(()) => repaired.done.push(action),
                    Err(error) => repaired.fail(&action, &error),
                },
                Work::Fix(_) => repairs.push(action),
            }
        }
        let candidates: Vec<LayerId> = layers.iter().filter_map(Action::layer).cloned().collect();
        let went = transaction.discard_layers(&candidates)?;
        for action in layers {
            match action.layer() {
                Some(layer) if went.contains(layer) => repaired.done.push(action),
                _ => repaired.failed.push(Kept {
                    what: action.what,
                    why: "it is mounted, or something needs it".into(),
                }),
            }
        }
        for action in repairs {
            let Work::Fix(fix) = &action.work else { continue };
            match transaction.fix(fix) {
                Ok(()) => repaired.done.push(action),
                Err(error @ Error::Canceled(_)) => return Err(error),
                Err(error) => repaired.fail(&action, &error),
            }
        }
        transaction.commit()?;
        Ok(repaired)
    }
}

impl Repaired {
    fn fail(&mut self, action: &Action, error: &Error) {
        let mut why = error.to_string();
        if let Some(source) = std::error::Error::source(error) {
            why = format!("{why}: {source}");
        }
        self.failed.push(Kept { what: action.what.clone(), why });
    }
}

impl Action {
    fn layer(&self) -> Option<&LayerId> {
        match &self.work {
            Work::RemoveLayer(layer) => Some(layer),
            _ => None,
        }
    }
}

/// Layers whose content was wrong, and that are still the same: one that was removed and pulled
/// again since has another record.
fn wrong_contents<'a>(
    report: &'a Report,
    before: &'a Snapshot,
    now: &'a Snapshot,
) -> impl Iterator<Item = Finding> + 'a {
    let wrong = report
        .findings
        .iter()
        .filter(|finding| finding.rule == Rule::Content && finding.cure == Cure::LostLayer);
    wrong
        .filter(|finding| {
            let Subject::Layer(layer) = &finding.subject else { return false };
            match (before.layer(layer), now.layer(layer)) {
                (Some(before), Some(now)) => before.record.json() == now.record.json(),
                _ => false,
            }
        })
        .cloned()
}

impl Transaction<'_> {
    fn fix(&mut self, fix: &Fix) -> Result<(), Error> {
        match fix {
            Fix::MakeLink { layer, link } => self.make_link(layer, link),
            Fix::WriteLink { layer, link } => {
                self.write(layer, "link", link)?;
                self.make_link(layer, link)
            }
            Fix::WriteLower { layer, lower } => self.write(layer, "lower", lower),
            Fix::WriteLowerLayers { layer, lower_layers } => {
                self.write(layer, "lower-layers", lower_layers)
            }
            Fix::MakeDirectory { layer, name } => {
                let directory = self.tree.overlay.sub_nofollow(layer.as_str())?;
                directory.ensure(*name, 0o700)?;
                own_as(&directory, name)
            }
            Fix::ForgetCopy { image, layer } => {
                let path = self.inner.primary.images.path();
                self.images
                    .update(
                        |it| it.id == *image,
                        |it| it.mapped_layers.retain(|copy| copy != layer),
                    )
                    .map_err(Error::encode(path))
            }
            Fix::RestoreItem { image, key, twin } => {
                // The image may have gone in this same transaction.
                if self.images.get(image.as_str()).is_none() {
                    return Ok(());
                }
                let directory = self.tree.root.sub(IMAGES)?.sub_nofollow(image.as_str())?;
                let content = directory.read(&*file_name(twin), bigdata::LIMIT_BYTES)?;
                let name = file_name(key);
                let content = content.unwrap_or_default();
                let parts = [content.as_slice()];
                Replacement::write(&directory, &name, parts, true)?.publish().map(|_| ())
            }
            Fix::DiscardLayer { layer } => {
                if self.is_mounted(layer)? {
                    return Err(Error::Mounted { layer: layer.clone() });
                }
                self.trash.take_layer(&self.tree, layer)
            }
            Fix::DiscardImage { image } => self.trash.take_image(&self.tree, image),
            Fix::DiscardContainer { container } => {
                if self.has_mounts(container)? {
                    return Err(Error::ContainerMounted { container: container.clone() });
                }
                let run_root = &self.inner.options.run_root;
                self.trash.take_container(&self.tree, run_root, container)
            }
            Fix::Unlink { path } | Fix::RemoveFile { path } => self.tree.root.unlink(path),
            Fix::RemoveStaging { path } => self.remove_staging(path),
        }
    }

    fn make_link(&self, layer: &LayerId, link: &str) -> Result<(), Error> {
        let name = format!("l/{link}");
        self.tree.overlay.unlink(&name)?;
        self.tree.overlay.symlink(format!("../{layer}/diff"), &name)
    }

    /// Writes one of the small files in a layer's directory. It is there as a whole or not at all.
    fn write(&self, layer: &LayerId, name: &str, content: &str) -> Result<(), Error> {
        let directory = self.tree.overlay.sub_nofollow(layer.as_str())?;
        let parts = [content.as_bytes()];
        Replacement::write(&directory, name, parts, self.inner.durable())?.publish()?;
        directory.set_mode(Path::new(name), 0o644)
    }

    /// Removes a staging directory, with its lock held if it has one.
    fn remove_staging(&mut self, path: &Path) -> Result<(), Error> {
        let lock = path.join(PARTIAL_LOCK);
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let held = match rustix::fs::openat(&self.tree.root, &lock, flags, Mode::empty()) {
            Ok(fd) => match FileLock::try_lock(File::from(fd), LockMode::Exclusive)
                .map_err(Error::io("locking", &lock))?
            {
                Ok(held) => Some(held),
                Err(_) => {
                    return Err(Error::io("locking", lock)(std::io::ErrorKind::WouldBlock.into()));
                }
            },
            Err(rustix::io::Errno::NOENT) => None,
            Err(errno) => return Err(Error::io("opening", lock)(errno.into())),
        };
        let taken = self.trash.take_staging(&self.tree, path);
        drop(held);
        taken
    }
}

/// Gives an entry the owner of the directory it is in.
fn own_as(directory: &Dir, name: &str) -> Result<(), Error> {
    let path = directory.path().join(name);
    let failed = |errno: rustix::io::Errno| Error::io("setting the owner of", &path)(errno.into());
    let owner = rustix::fs::fstat(directory.fd()).map_err(failed)?;
    let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    rustix::fs::chownat(
        directory.fd(),
        name,
        Some(uid),
        Some(gid),
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(failed)
}
