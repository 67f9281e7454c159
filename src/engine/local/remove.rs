//! Removing images and names.
//!
//! Every reference is handled in a transaction of its own, so that nobody waits for more than one
//! image, and what failed does not undo what went before it. Podman's rules, with two decisions:
//! no names means no images unless `all` is set (the API layer sees to it), and containers that run
//! are not killed: then both they and their image stay.

use std::collections::VecDeque;

use super::containers::Cleared;
use super::library::Library;
use super::resolve::Lists;
use super::{Shared, failure};
use crate::engine::{Error, ErrorKind, Event, ImageName, RemoveOptions, RemoveReport, Result};
use crate::events::ImageAction;
use crate::image::ImageId;
use crate::storage::record::{ContainerRecord, Record};
use crate::storage::{StoredImage, Transaction};
use crate::sys::Cancel;

/// Removes what `names` mean, or everything.
pub(super) fn remove(
    shared: &Shared,
    names: &[ImageName],
    options: &RemoveOptions,
    cancel: &Cancel,
) -> Result<RemoveReport> {
    let mut report = RemoveReport::default();
    let snapshot = shared.snapshot(cancel)?;
    let targets = targets(&shared.library(&snapshot), names, options, &mut report);
    let mut targets = VecDeque::from(targets);
    // Podman removes parents from within the removal of their child, and writes that an image is
    // removed when it is done with it: a parent comes before its child, and both bear the time when
    // their removal began.
    let mut begun = Vec::new();
    let tell_begun = |begun: &mut Vec<Event>| {
        shared.events.tell_all(&begun.drain(..).rev().collect::<Vec<_>>());
    };
    while let Some(target) = targets.pop_front() {
        if let Err(canceled) = cancel.check() {
            tell_begun(&mut begun);
            return Err(failure::canceled(canceled));
        }
        let event = target.event();
        let mut cleared = Cleared::default();
        let done = take(shared, &target, options, &mut cleared, cancel);
        let mut parent = None;
        match done {
            Ok(mut step) => {
                shared.events.tell_all(&cleared.events(step.containers.iter()));
                shared.events.tell_all(&step.untag_events(&target));
                begun.extend((!step.skipped).then_some(event));
                parent = step.parent.take();
                step.record(&mut report);
            }
            Err(error) => {
                begun.extend((error.kind() != ErrorKind::Denied).then_some(event));
                report.errors.push(error);
            }
        }
        match parent {
            Some(parent) => targets.push_front(Target::dangling(parent)),
            None => tell_begun(&mut begun),
        }
    }
    Ok(report)
}

/// Does one step. The owners of containers that would go with the image are asked in between, while
/// nothing is locked.
fn take(
    shared: &Shared,
    target: &Target,
    options: &RemoveOptions,
    cleared: &mut Cleared,
    cancel: &Cancel,
) -> Result<Step> {
    loop {
        cancel.check().map_err(failure::canceled)?;
        // Most removals have nothing to do with containers, and need not keep anybody from them.
        let begun = match cleared.ids().is_empty() {
            true => shared.store.begin(cancel),
            false => shared.store.begin_with_containers(cancel),
        };
        let done = shared.transact(begun, |library, transaction| {
            step(library, transaction, target, options, cleared)
        })?;
        match done {
            Outcome::Done(step) => return Ok(step),
            // Each round means that somebody has made a container in between.
            Outcome::Ask(containers) => cleared.ask(shared, &containers, cancel)?,
        }
    }
}

/// One step of a removal: an image, and what it was called by. Without a reference the image
/// itself is meant, whatever its names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    id: ImageId,
    reference: Option<ByReference>,
    /// Only if nothing needs the image any more.
    if_dangling: bool,
}

impl Target {
    /// The image, if nothing needs it any more: what becomes of the parent of a removed image.
    fn dangling(id: ImageId) -> Self {
        Self { id, reference: None, if_dangling: true }
    }

    /// Says that its removal begins now.
    fn event(&self) -> Event {
        let name = self.reference.as_ref().map_or("", |reference| &reference.resolved);
        Event::of_image(ImageAction::Remove, &self.id, name)
    }
}

/// How a caller called an image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ByReference {
    /// What the name was resolved to.
    resolved: String,
    /// It is an ID or the beginning of one.
    is_id: bool,
}

/// Looks up what `names` mean. Targets of one image come together, in the order in which the
/// images were first mentioned. Lookup errors go into the report.
fn targets(
    library: &Library<'_>,
    names: &[ImageName],
    options: &RemoveOptions,
    report: &mut RemoveReport,
) -> Vec<Target> {
    if names.is_empty() {
        return everything(library, options);
    }
    let mode = if options.lookup_manifest { Lists::Required } else { Lists::IfNoInstance };
    let mut groups: Vec<(ImageId, Vec<Target>)> = Vec::new();
    for name in names {
        let found = match library.lookup(name.as_str(), mode) {
            Ok(found) => found,
            Err(error) => {
                if !(options.ignore && error.kind() == ErrorKind::NoSuchImage) {
                    report.errors.push(error);
                }
                continue;
            }
        };
        let id = found.image.record.id.clone();
        let is_id = found.is_by_id();
        let reference = Some(ByReference { is_id, resolved: found.resolved });
        let target = Target { id: id.clone(), reference, if_dangling: false };
        match groups.iter_mut().find(|(known, _)| *known == id) {
            Some((_, targets)) if targets.contains(&target) => {}
            Some((_, targets)) => targets.push(target),
            None => groups.push((id, vec![target])),
        }
    }
    groups.into_iter().flat_map(|(_, targets)| targets).collect()
}

fn everything(library: &Library<'_>, options: &RemoveOptions) -> Vec<Target> {
    let relations = library.relations();
    let wanted = |at: usize, image: &StoredImage| {
        !image.read_only && (options.all || !relations.is_intermediate(at))
    };
    let images = library.images().iter().enumerate().filter(|(at, image)| wanted(*at, image));
    images
        .map(|(_, image)| Target {
            id: image.record.id.clone(),
            reference: None,
            if_dangling: false,
        })
        .collect()
}

/// What the next step is after one was done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    untagged: Vec<String>,
    deleted: Option<ImageId>,
    /// A parent that may be dangling now.
    parent: Option<ImageId>,
    /// Containers that went with the image.
    containers: Vec<String>,
    /// A parent that is needed after all: nobody asked for its removal.
    skipped: bool,
}

/// What came of a step.
#[derive(Debug)]
enum Outcome {
    Done(Step),
    /// Nothing yet: these containers would go with the image.
    Ask(Vec<Record<ContainerRecord>>),
}

impl Step {
    fn untag_events(&self, target: &Target) -> Vec<Event> {
        let event = |name: &String| Event::of_image(ImageAction::Untag, &target.id, name);
        self.untagged.iter().map(event).collect()
    }

    /// Adds what was done to the report.
    fn record(self, report: &mut RemoveReport) {
        report.untagged.extend(self.untagged);
        report.deleted.extend(self.deleted);
    }
}

/// Does one step inside a transaction, whose records `library` must be made of.
fn step(
    library: &Library<'_>,
    transaction: &mut Transaction<'_>,
    target: &Target,
    options: &RemoveOptions,
    cleared: &Cleared,
) -> Result<Outcome> {
    let Some(at) = library.images().iter().position(|image| image.record.id == target.id) else {
        // Removed before, by an earlier target or by someone else.
        return Ok(Outcome::Done(Step { skipped: target.if_dangling, ..Step::default() }));
    };
    if target.if_dangling && !library.relations().is_dangling(at) {
        return Ok(Outcome::Done(Step { skipped: true, ..Step::default() }));
    }
    let image = &library.images()[at];
    let record = &image.record;
    if image.read_only {
        let text = format!("cannot remove read-only image {:?}", record.id.as_str());
        return Err(Error::new(ErrorKind::Denied, text));
    }
    if let Some(reference) = &target.reference
        && record.names.len() != 1
        && let Some(name) = name_to_untag(image, reference, options)?
    {
        let left = record.names.iter().filter(|known| **known != name).cloned().collect();
        transaction.set_names(&record.id, left).map_err(failure::storage)?;
        return Ok(Outcome::Done(Step { untagged: vec![name], ..Step::default() }));
    }
    let containers = || library.snapshot().containers_of(&record.id);
    if let Some(container) = containers().next().filter(|_| !options.force) {
        return Err(failure::in_use(&container.id));
    }
    let unasked = containers().filter(|it| !cleared.ids().contains(&it.id));
    let unasked: Vec<_> = unasked.cloned().collect();
    if !unasked.is_empty() {
        return Ok(Outcome::Ask(unasked));
    }
    let relations = library.relations();
    let deleted = (!relations.has_children(at)).then(|| record.id.clone());
    let parent = relations.parent(at).filter(|_| !options.no_prune);
    let parent = parent.map(|parent| library.images()[parent].record.id.clone());
    let gone = containers().map(|container| container.id.clone()).collect();
    transaction.delete_image_and_containers(&record.id, cleared.ids()).map_err(failure::storage)?;
    let untagged = record.names.clone();
    Ok(Outcome::Done(Step { untagged, deleted, parent, containers: gone, skipped: false }))
}

/// The name to take from an image that has none or several, or `None` if the whole image goes.
fn name_to_untag(
    image: &StoredImage,
    reference: &ByReference,
    options: &RemoveOptions,
) -> Result<Option<String>> {
    let record = &image.record;
    let digest = reference.resolved.starts_with("sha256:");
    if reference.is_id || digest {
        if record.names.len() >= 2 && !options.force {
            let kind = if digest { "digest" } else { "ID" };
            let text = format!(
                "unable to delete image {:?} by {kind} with more than one tag ([{}]): please force removal",
                record.id.as_str(),
                record.names.join(" ")
            );
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        return Ok(None);
    }
    if record.names.contains(&reference.resolved) {
        return Ok(Some(reference.resolved.clone()));
    }
    Err(Error::new(ErrorKind::BadName, "tag not known").context(reference.resolved.clone()))
}
