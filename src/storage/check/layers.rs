//! What layers have on disk.

use std::collections::HashSet;

use super::finding::{Cure, Fix, Rule, Subject};
use super::scope::{Findings, Said, Scope, below, target_of};
use crate::image::LayerId;
use crate::storage::Error;
use crate::storage::bigdata::file_name;
use crate::storage::links;
use crate::storage::overlay::{LAYERS, OVERLAY};
use crate::storage::record::LayerRecord;

pub(super) fn check(scope: &Scope<'_>, found: &mut Findings) {
    // Links that layers say they have, whether or not these are there.
    let links: HashSet<&str> = scope.said.values().filter_map(|it| it.link.as_deref()).collect();
    for layer in scope.layers().filter(|layer| !layer.flags.incomplete) {
        let result = directory(scope, layer, &links, found);
        found.unreadable(Subject::Layer(layer.id.clone()), result);
        let result = files(scope, layer, found);
        found.unreadable(Subject::Layer(layer.id.clone()), result);
    }
}

fn directory(
    scope: &Scope<'_>,
    layer: &LayerRecord,
    links: &HashSet<&str>,
    found: &mut Findings,
) -> Result<(), Error> {
    let id = &layer.id;
    let subject = || Subject::Layer(id.clone());
    let path = format!("{OVERLAY}/{id}");
    let Some(said) = scope.said.get(id) else {
        found.error(
            Rule::Directories,
            subject(),
            path,
            "its directory is missing",
            Cure::LostLayer,
        );
        return Ok(());
    };
    let directory = scope.overlay.sub_nofollow(id.as_str())?;
    match directory.sub("diff") {
        Ok(_) => {}
        Err(error) if error.is_not_found() => {
            let path = format!("{path}/diff");
            let why = "the directory with its content is missing";
            found.error(Rule::Directories, subject(), path, why, Cure::LostLayer);
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let is_mapped = layer.uid_map.is_some() || layer.gid_map.is_some();
    let is_base = layer.parent.is_none() && !is_mapped;
    for name in ["work", "empty"] {
        if (name == "work" || is_base) && directory.stat(name)?.is_none() {
            let cure = Cure::Fix(Fix::MakeDirectory { layer: id.clone(), name });
            let why = format!("its directory {name:?}, which mounts need, is missing");
            found.warning(Rule::Directories, subject(), format!("{path}/{name}"), why, cure);
        }
    }
    link(scope, id, said, found);
    // The content of these is found in another way.
    if links::check_kind(&directory, id).is_ok() {
        lowers(scope, layer, said, links, found);
    }
    Ok(())
}

fn link(scope: &Scope<'_>, id: &LayerId, said: &Said, found: &mut Findings) {
    let subject = Subject::Layer(id.clone());
    let Some(link) = &said.link else {
        let path = format!("{OVERLAY}/{id}/link");
        let why = "the file that names its link is missing, or names none";
        let cure = match lost_link(scope, id) {
            Some(link) => Cure::Fix(Fix::WriteLink { layer: id.clone(), link }),
            None => Cure::ByHand("no link leads to the layer, and no layer on top names one"),
        };
        return found.error(Rule::Links, subject, path, why, cure);
    };
    let path = format!("{OVERLAY}/l/{link}");
    let why = match scope.links.get(link) {
        Some(target) if target_of(target).as_ref() == Some(id) => return,
        Some(target) => format!("its link leads to {target:?}"),
        None => "its link is missing".to_owned(),
    };
    let cure = Cure::Fix(Fix::MakeLink { layer: id.clone(), link: link.clone() });
    found.error(Rule::Links, subject, path, why, cure);
}

/// The link that a layer must have had: what those on top of it call it, else what leads to it.
fn lost_link(scope: &Scope<'_>, id: &LayerId) -> Option<String> {
    let leads_to_it =
        |link: &str| scope.links.get(link).is_none_or(|it| target_of(it).as_ref() == Some(id));
    let children = scope.snapshot().children(id);
    let mut called = children.filter_map(|child| {
        let said = scope.said.get(&child.record.id)?;
        said.lower_links().next().map(str::to_owned)
    });
    let leading = || {
        let mut links = scope.links.iter();
        links
            .find(|(_, target)| target_of(target).as_ref() == Some(id))
            .map(|(link, _)| link.clone())
    };
    let fresh = || links::new_name(scope.overlay.path()).ok();
    called.find(|link| leads_to_it(link)).or_else(leading).or_else(fresh)
}

fn lowers(
    scope: &Scope<'_>,
    layer: &LayerRecord,
    said: &Said,
    links: &HashSet<&str>,
    found: &mut Findings,
) {
    let id = &layer.id;
    let subject = || Subject::Layer(id.clone());
    let path = format!("{OVERLAY}/{id}/lower");
    let is_mapped = layer.uid_map.is_some() || layer.gid_map.is_some();
    let resolves = |link: &str| links.contains(link) || scope.linked(link).is_some();
    let lost = said.lower_links().find(|link| !resolves(link));
    if is_mapped {
        // A copy lies on the layer it is a copy of, whatever its record says.
        if let Some(link) = lost {
            let why = format!("it says that {link} is below it, and there is no such link");
            found.error(Rule::Lowers, subject(), path, why, Cure::ByHand(BY_HAND));
        }
        return;
    }
    let Some(parent) = &layer.parent else {
        if said.lower.is_some() || said.lower_layers.is_some() {
            let why = "it says that there are layers below it, and its record has none";
            found.error(Rule::Lowers, subject(), path, why, Cure::ByHand(BY_HAND));
        }
        return;
    };
    // A parent without directory or link is a finding of its own.
    let Some(above) = scope.said(parent) else { return };
    let Some(link) = &above.link else { return };
    let expected = below(&format!("l/{link}"), above.lower.as_deref());
    if said.lower.as_ref() != Some(&expected) {
        let rewrite = Fix::WriteLower { layer: id.clone(), lower: expected };
        let (why, cure) = match (&said.lower, lost) {
            (None, _) => {
                ("the file that says what is below it is missing".to_owned(), Cure::Fix(rewrite))
            }
            (Some(_), Some(link)) => {
                let why = format!("it says that {link} is below it, and there is no such link");
                (why, Cure::Fix(rewrite))
            }
            (Some(_), None) => {
                let why = "it says that other layers are below it than its record does";
                (why.to_owned(), Cure::ByHand(BY_HAND))
            }
        };
        return found.error(Rule::Lowers, subject(), path, why, cure);
    }
    let Some(lower_layers) = &said.lower_layers else { return };
    let rest = match (&above.lower_layers, &above.lower) {
        (Some(rest), _) => Some(rest.clone()),
        (None, None) => None,
        (None, Some(_)) => {
            let ids = above.lower_links().map(|link| scope.linked(link).map(String::from));
            match ids.collect::<Option<Vec<String>>>() {
                Some(ids) => Some(ids.join(":")),
                None => return,
            }
        }
    };
    let expected = below(parent.as_str(), rest.as_deref());
    if *lower_layers != expected {
        let why = "the two files that say what is below it differ";
        let path = format!("{OVERLAY}/{id}/lower-layers");
        let cure = Fix::WriteLowerLayers { layer: id.clone(), lower_layers: expected };
        found.error(Rule::Lowers, subject(), path, why, Cure::Fix(cure));
    }
}

const BY_HAND: &str = "remove the image and pull it again, or correct the file";

fn files(scope: &Scope<'_>, layer: &LayerRecord, found: &mut Findings) -> Result<(), Error> {
    let id = &layer.id;
    let subject = || Subject::Layer(id.clone());
    if layer.diff_id.is_some() {
        let path = format!("{LAYERS}/{id}.tar-split.gz");
        let why = match scope.root.stat(&path)? {
            None => Some("its tar-split is missing: it cannot be exported, nor verified"),
            Some(stat) if stat.st_size == 0 => {
                Some("its tar-split is empty: it cannot be exported, nor verified")
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            found.error(Rule::TarSplits, subject(), path, why, Cure::LostLayer);
        }
    }
    for key in &layer.big_data_names {
        let path = format!("{LAYERS}/{id}/{}", file_name(key));
        if scope.root.stat(&path)?.is_none() {
            let why = format!("its data item {key:?} is missing");
            let hint = "remove the image and pull it again";
            found.error(Rule::Items, subject(), path, why, Cure::ByHand(hint));
        }
    }
    Ok(())
}
