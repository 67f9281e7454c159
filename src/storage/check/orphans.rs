//! What is on disk and has no record.

use std::collections::HashSet;
use std::path::PathBuf;

use super::finding::{Cure, Fix, Rule, Subject};
use super::scope::{Findings, Scope, target_of};
use crate::image::{ImageId, LayerId};
use crate::storage::Error;
use crate::storage::atomic::is_temporary;
use crate::storage::overlay::{CONTAINERS, IMAGES, LAYERS, OVERLAY};
use crate::storage::trash::is_link_name;

/// Begins names of files that are not complete yet. Tools make them while they hold the lock of
/// the directory, so that under it those that are there have no living owner.
const TEMPORARY: &str = ".tmp-";
const GONE: &str = "its record is gone, and others refer to it: restore the file of records";
const UNKNOWN: &str = "see what made it";

pub(super) fn check(scope: &Scope<'_>, found: &mut Findings) -> Result<(), Error> {
    let needed = scope.needed_by_containers();
    layers(scope, &needed, found)?;
    links(scope, found);
    for name in scope.names(IMAGES) {
        let cure = match name.parse::<ImageId>() {
            _ if matches!(name.as_str(), "images.json" | "images.lock") => continue,
            Ok(id) if scope.snapshot().image(&id).is_some() => continue,
            // The last users of an image know of it.
            Ok(id) if scope.snapshot().containers_of(&id).next().is_some() => Cure::ByHand(GONE),
            Ok(image) => Cure::Fix(Fix::DiscardImage { image }),
            Err(_) => Cure::ByHand(UNKNOWN),
        };
        entry(scope, IMAGES, name, "there is no record of such an image", cure, found)?;
    }
    let known: HashSet<&str> =
        scope.snapshot().containers().iter().map(|container| &*container.id).collect();
    for name in scope.names(CONTAINERS) {
        let cure = match name.parse::<LayerId>() {
            _ if known.contains(name.as_str()) => continue,
            _ if name.ends_with("containers.json") || name == "containers.lock" => continue,
            // It has the form of the ID of a container, too.
            Ok(_) => Cure::Fix(Fix::DiscardContainer { container: name.clone() }),
            Err(_) => Cure::ByHand(UNKNOWN),
        };
        entry(scope, CONTAINERS, name, "there is no record of such a container", cure, found)?;
    }
    Ok(())
}

fn layers(scope: &Scope<'_>, needed: &HashSet<LayerId>, found: &mut Findings) -> Result<(), Error> {
    let cure = |id: LayerId| {
        if needed.contains(&id) {
            Cure::ByHand(GONE)
        } else {
            Cure::Fix(Fix::DiscardLayer { layer: id })
        }
    };
    for name in scope.names(OVERLAY) {
        let cure = match name.parse::<LayerId>() {
            _ if matches!(name.as_str(), "l" | "staging" | "tempdirs") => continue,
            _ if matches!(name.as_str(), ".has-mount-program" | "backingFsBlockDev") => continue,
            Ok(id) if scope.snapshot().layer(&id).is_some() => continue,
            Ok(id) => cure(id),
            Err(_) => Cure::ByHand(UNKNOWN),
        };
        entry(scope, OVERLAY, name, "there is no record of such a layer", cure, found)?;
    }
    for name in scope.names(LAYERS) {
        let id = name.strip_suffix(".tar-split.gz").unwrap_or(name).parse::<LayerId>();
        let cure = match id {
            _ if matches!(name.as_str(), "layers.lock" | "tmp") => continue,
            _ if name.ends_with("layers.json") && !name.starts_with(TEMPORARY) => continue,
            Ok(id) if scope.snapshot().layer(&id).is_some() => continue,
            Ok(id) => cure(id),
            Err(_) => Cure::ByHand(UNKNOWN),
        };
        entry(scope, LAYERS, name, "there is no record of the layer it belongs to", cure, found)?;
    }
    Ok(())
}

/// Reports an entry of a directory that no record is about.
fn entry(
    scope: &Scope<'_>,
    directory: &str,
    name: &str,
    why: &str,
    cure: Cure,
    found: &mut Findings,
) -> Result<(), Error> {
    let path = PathBuf::from(format!("{directory}/{name}"));
    if name.starts_with(TEMPORARY) {
        let records = ["layers.json", "volatile-layers.json", "images.json"];
        let cure = if records.iter().any(|records| is_temporary(name, records)) {
            Cure::Load
        } else {
            Cure::Fix(Fix::RemoveFile { path: path.clone() })
        };
        let why = "somebody died while writing it";
        found.warning(Rule::Temporaries, Subject::Store, path, why, cure);
    } else if cure == Cure::ByHand(UNKNOWN) {
        // Tools try out in such directories what the file system can do.
        if scope.is_old(&path)? {
            found.warning(Rule::Orphans, Subject::Store, path, "no tool has such an entry", cure);
        }
    } else {
        found.warning(Rule::Orphans, Subject::Store, path, why, cure);
    }
    Ok(())
}

fn links(scope: &Scope<'_>, found: &mut Findings) {
    let named: HashSet<&str> = scope.said.values().flat_map(|said| said.lower_links()).collect();
    let owned: HashSet<&str> = scope.said.values().filter_map(|it| it.link.as_deref()).collect();
    // One that leads elsewhere than its layer says is a finding about that layer.
    for (link, target) in scope.links.iter().filter(|(link, _)| !owned.contains(link.as_str())) {
        let path = PathBuf::from(format!("{OVERLAY}/l/{link}"));
        let cure = Cure::Fix(Fix::Unlink { path: path.clone() });
        let (why, cure) = match target_of(target) {
            None if target.is_empty() || !is_link_name(link) => {
                ("it is not a link that a tool would make".to_owned(), Cure::ByHand(UNKNOWN))
            }
            Some(layer) if scope.has(OVERLAY, layer.as_str()) => {
                let said = scope.said.get(&layer);
                match said.map(|said| said.link.as_deref()) {
                    // It goes with its directory.
                    None if scope.snapshot().layer(&layer).is_none() => continue,
                    // The layer does not say which link it has, and this may be it.
                    None | Some(None) => continue,
                    Some(Some(own)) => {
                        let why = format!("it leads to layer {layer}, whose link is {own}");
                        // A layer that others call by this name is found by it.
                        let is_named = named.contains(link.as_str());
                        let hint = Cure::ByHand("layers on top use it; nothing needs to be done");
                        (why, if is_named { hint } else { cure })
                    }
                }
            }
            _ => (format!("it leads to {target:?}, which is not there"), cure),
        };
        found.warning(Rule::Links, Subject::Store, path, why, cure);
    }
}
