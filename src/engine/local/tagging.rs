//! Giving and taking names.

use super::failure;
use super::library::Library;
use super::resolve::Lists;
use crate::engine::{Error, ErrorKind, ImageName, Result};
use crate::image::{ImageId, Reference};
use crate::storage::Transaction;

/// The name that the parameters `repo` and `tag` make; `latest` when `tag` is empty.
pub(super) fn joined(repo: &str, tag: &str) -> String {
    format!("{repo}:{}", if tag.is_empty() { "latest" } else { tag })
}

fn not_normal(name: &str) -> String {
    format!("normalizing name {name:?}")
}

/// The stored form of the name `repo:tag`, which is to be taken away.
pub(super) fn target(repo: &str, tag: &str) -> Result<Reference> {
    let name = joined(repo, tag);
    if name.starts_with("sha256:") {
        return Err(by_digest(&name, "untag by digest not supported"));
    }
    normalized(&name)
}

/// A digest belongs to content: it can neither be given nor taken.
fn by_digest(name: &str, text: &str) -> Error {
    Error::new(ErrorKind::BadName, text).context(name.to_owned())
}

/// As [`target`], for giving the name, in which there must be no digest.
pub(super) fn new_name(repo: &str, tag: &str) -> Result<Reference> {
    checked_name(&joined(repo, tag))
}

/// As [`new_name`], for a name in one piece.
pub(super) fn checked_name(name: &str) -> Result<Reference> {
    const REFUSAL: &str = "tag by digest not supported";
    if name.starts_with("sha256:") {
        return Err(by_digest(name, REFUSAL));
    }
    // Podman normalises twice on this path, and says so twice.
    let full = normalized(name).map_err(|error| error.context(not_normal(name)))?;
    match full.digest() {
        Some(_) => Err(by_digest(name, REFUSAL)),
        None => Ok(full),
    }
}

fn normalized(name: &str) -> Result<Reference> {
    Reference::normalize_local(name)
        .map_err(|error| Error::from_source(ErrorKind::BadName, &error).context(not_normal(name)))
}

/// Puts `target` in front of the names of the image that `name` means, be it a manifest list.
pub(super) fn tag(
    library: &Library<'_>,
    transaction: &mut Transaction<'_>,
    name: &ImageName,
    target: &Reference,
) -> Result<ImageId> {
    let image = library.lookup(name.as_str(), Lists::Preferred)?.image;
    let target = target.to_string();
    let mut names = image.record.names.clone();
    names.retain(|known| *known != target);
    names.insert(0, target);
    let id = image.record.id.clone();
    transaction.set_names(&id, names).map_err(failure::storage)?;
    Ok(id)
}

/// What an image has lost.
#[derive(Debug)]
pub(super) struct Untagged {
    pub(super) image: ImageId,
    /// In the order in which it had them.
    pub(super) names: Vec<String>,
}

/// Takes `target`, or without it every name, from the image that `name` means.
pub(super) fn untag(
    library: &Library<'_>,
    transaction: &mut Transaction<'_>,
    name: &ImageName,
    target: Option<&Reference>,
) -> Result<Untagged> {
    let image = library.lookup(name.as_str(), Lists::Instance)?.image;
    let id = image.record.id.clone();
    let names = image.record.names.clone();
    let target = target.map(ToString::to_string);
    let (lost, left): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|known| target.as_ref().is_none_or(|target| known == target));
    if let Some(target) = target.filter(|_| lost.is_empty()) {
        return Err(Error::new(ErrorKind::BadName, "tag not known").context(target));
    }
    transaction.set_names(&id, left).map_err(failure::storage)?;
    Ok(Untagged { image: id, names: lost })
}
