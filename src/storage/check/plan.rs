//! What a repair does: removes what cannot be saved, and makes again what can be made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::finding::{Cure, Finding, Fix, Rule, Subject};
use crate::image::{ImageId, LayerId};
use crate::storage::Snapshot;
use crate::storage::overlay::{IMAGES, LAYERS, OVERLAY};
use crate::storage::store::Inner;
use crate::storage::usage::tops;

/// What becomes of good layers that nobody needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unused {
    /// They stay: a pull can use them again.
    #[default]
    Keep,
    /// They go.
    Remove,
}

/// What a repair would do or has done.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// In the order they are done.
    pub actions: Vec<Action>,
    /// What stays as it is.
    pub kept: Vec<Kept>,
}

/// Something that a repair does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What is done, beginning with a verb.
    pub what: String,
    /// Why.
    pub why: String,
    pub(super) work: Work,
}

/// Something that is wrong and that a repair leaves alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it is.
    pub what: String,
    /// Why it is left alone, or what can be done.
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// Opening the store to write does it.
    Load,
    Fix(Fix),
    RemoveImage(ImageId),
    RemoveLayer(LayerId),
}

impl Plan {
    pub(super) fn new(
        inner: &Inner,
        snapshot: &Snapshot,
        findings: &[Finding],
        unused: Unused,
    ) -> Self {
        let mut plan = Self::default();
        let lost = lost_layers(snapshot, findings);
        let images = lost_images(snapshot, findings, &lost);
        for finding in findings {
            match &finding.cure {
                Cure::ByHand(hint) => plan.keep(finding, hint),
                Cure::UnusedLayer if unused == Unused::Keep => plan.keep(finding, finding.cure()),
                Cure::Load => plan.act(load(finding), &finding.why, Work::Load),
                Cure::Fix(fix) => {
                    let work = Work::Fix(fix.clone());
                    // Several files can be left of one layer.
                    if !plan.actions.iter().any(|action| action.work == work) {
                        plan.act(describe(fix, &finding.path), &finding.why, work);
                    }
                }
                Cure::LostLayer | Cure::LostImage | Cure::UnusedLayer => {}
            }
        }
        if let Some(file) = lost_records(inner, snapshot) {
            plan.actions.retain(|action| match &action.work {
                Work::Fix(fix) => !fix.removes(),
                _ => true,
            });
            plan.kept.push(Kept {
                what: format!("everything that has no record in {file}"),
                why: "the file is missing or empty while there is content: restore it first".into(),
            });
            return plan;
        }
        let mut kept_images = HashSet::new();
        for (image, why) in &images {
            let what = named(snapshot, image);
            match snapshot.containers_of(image).next() {
                Some(user) => {
                    kept_images.insert(image.clone());
                    let why = format!("{why}, but container {} uses it", user.id);
                    plan.kept.push(Kept { what, why });
                }
                None => plan.act(format!("remove {what}"), why, Work::RemoveImage(image.clone())),
            }
        }
        let gone = |id: &ImageId| images.contains_key(id) && !kept_images.contains(id);
        let needed = needed(snapshot, gone);
        for layer in snapshot.layers().iter().filter(|layer| !layer.read_only) {
            let id = &layer.record.id;
            let what = format!("layer {id}");
            if let Some(why) = lost.get(id).filter(|_| !layer.record.flags.incomplete) {
                if needed.contains(id) {
                    let why = format!("{why}, but a container needs it");
                    plan.kept.push(Kept { what, why });
                } else {
                    plan.act(format!("remove {what}"), why, Work::RemoveLayer(id.clone()));
                }
            } else if unused == Unused::Remove && !needed.contains(id) && is_unused(findings, id) {
                let why = "no image and no container needs it";
                plan.act(format!("remove {what}"), why, Work::RemoveLayer(id.clone()));
            }
        }
        plan
    }

    fn act(&mut self, what: String, why: &str, work: Work) {
        self.actions.push(Action { what, why: why.to_owned(), work });
    }

    fn keep(&mut self, finding: &Finding, hint: &str) {
        let what = match &finding.subject {
            Subject::Store => format!("{}: {}", finding.path.display(), finding.why),
            subject => format!("{subject}: {}", finding.why),
        };
        self.kept.push(Kept { what, why: hint.to_owned() });
    }
}

/// Layers that cannot be used, with the reasons: damaged ones, and all on top of them.
fn lost_layers(snapshot: &Snapshot, findings: &[Finding]) -> HashMap<LayerId, String> {
    let mut lost = HashMap::new();
    let mut open = Vec::new();
    for finding in findings {
        let Subject::Layer(layer) = &finding.subject else { continue };
        let incomplete = finding.cure == Cure::Load;
        if incomplete || finding.cure == Cure::LostLayer {
            lost.entry(layer.clone()).or_insert_with(|| finding.why.clone());
            open.push(layer.clone());
        }
    }
    while let Some(layer) = open.pop() {
        for child in snapshot.children(&layer) {
            let id = &child.record.id;
            if !lost.contains_key(id) {
                lost.insert(id.clone(), format!("it is built on layer {layer}, which is lost"));
                open.push(id.clone());
            }
        }
    }
    lost
}

/// Images that cannot be used, with the reasons.
fn lost_images(
    snapshot: &Snapshot,
    findings: &[Finding],
    lost: &HashMap<LayerId, String>,
) -> BTreeMap<ImageId, String> {
    let mut images = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.cure == Cure::LostImage) {
        if let Subject::Image(image) = &finding.subject {
            images.entry(image.clone()).or_insert_with(|| finding.why.clone());
        }
    }
    for image in snapshot.images().iter().filter(|image| !image.read_only) {
        if let Some(top) = &image.record.layer
            && let Some(why) = lost.get(top)
        {
            let why = format!("its layer {top} is lost: {why}");
            images.entry(image.record.id.clone()).or_insert(why);
        }
    }
    images
}

/// Layers that containers and those images need that do not go.
fn needed(snapshot: &Snapshot, gone: impl Fn(&ImageId) -> bool) -> HashSet<LayerId> {
    let images = snapshot.images().iter().filter(|image| !gone(&image.record.id));
    let images = images.flat_map(|image| tops(&image.record));
    let containers = snapshot.containers().iter().map(|container| &container.layer);
    let chains = images.chain(containers).flat_map(|top| snapshot.chain(top));
    chains.map(|layer| layer.record.id.clone()).collect()
}

fn is_unused(findings: &[Finding], layer: &LayerId) -> bool {
    findings.iter().any(|finding| {
        finding.cure == Cure::UnusedLayer && finding.subject == Subject::Layer(layer.clone())
    })
}

/// A file of records that must have been lost: there is none, and there is content.
fn lost_records(inner: &Inner, snapshot: &Snapshot) -> Option<String> {
    let root = &inner.options.graph_root;
    let is_empty = |path: &Path| std::fs::metadata(path).map_or(true, |file| file.len() == 0);
    let has_content = |directory: &str| {
        let entries = std::fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| {
            name.parse::<LayerId>().is_ok_and(|id| {
                // In a transient store the containers' layers are recorded elsewhere.
                directory == IMAGES || snapshot.layer(&id).is_none()
            })
        })
    };
    for (content, file) in
        [(OVERLAY, format!("{LAYERS}/layers.json")), (IMAGES, format!("{IMAGES}/images.json"))]
    {
        if is_empty(&root.join(&file)) && has_content(content) {
            return Some(file);
        }
    }
    None
}

/// An image as people know it.
fn named(snapshot: &Snapshot, image: &ImageId) -> String {
    match snapshot.image(image).map(|image| image.record.names.join(", ")) {
        Some(names) if !names.is_empty() => format!("image {image} ({names})"),
        _ => format!("image {image}"),
    }
}

fn load(finding: &Finding) -> String {
    let path = finding.path.display();
    match &finding.subject {
        _ if finding.rule == Rule::UniqueNames => format!("write {path} again with each name once"),
        Subject::Store => format!("remove {path}"),
        subject => format!("remove {subject}"),
    }
}

fn describe(fix: &Fix, path: &Path) -> String {
    let path = path.display();
    match fix {
        Fix::MakeLink { .. } | Fix::MakeDirectory { .. } => format!("make {path}"),
        Fix::WriteLink { .. }
        | Fix::WriteLower { .. }
        | Fix::WriteLowerLayers { .. }
        | Fix::RestoreItem { .. } => format!("write {path}"),
        Fix::ForgetCopy { image, layer } => format!("make image {image} forget layer {layer}"),
        Fix::DiscardLayer { layer } => format!("remove what is left of layer {layer}"),
        Fix::DiscardImage { .. }
        | Fix::DiscardContainer { .. }
        | Fix::Unlink { .. }
        | Fix::RemoveFile { .. }
        | Fix::RemoveStaging { .. } => format!("remove {path}"),
    }
}
