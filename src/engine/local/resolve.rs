//! What a name means: lookup of images by reference, ID, digest or part of a name.
//!
//! The order of attempts and the texts of failures are Podman's (libimage), since clients and
//! scripts depend on both.

use super::library::Library;
use super::stored_name::{StoredName, has_digest, in_repository};
use crate::engine::{Error, ErrorKind, Result};
use crate::image::{Descriptor, Digest, ImageId, Manifest, ManifestKind, Platform, Reference};
use crate::storage::StoredImage;

/// What to do with a name that is a manifest list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Lists {
    /// Take the local image it lists for this platform, or fail.
    #[default]
    Instance,
    /// Take the list itself.
    Preferred,
    /// Take the list itself; names of anything else are errors.
    Required,
    /// As [`Lists::Instance`], but take the list when no image it lists is there.
    IfNoInstance,
}

/// A found image.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    /// The image.
    pub(super) image: &'a StoredImage,
    /// Its place among the images of the library.
    pub(super) at: usize,
    /// The full reference that matched, or the input if that is an ID. Empty for
    /// `containers-storage:` names.
    pub(super) resolved: String,
    /// The digest under which this lookup knows the image: by name the current manifest's, by
    /// digest that one, by ID the one it was first stored with.
    pub(super) digest: Option<Digest>,
}

impl Found<'_> {
    /// Whether the input was an ID, or the beginning of one, instead of a reference.
    pub(super) fn is_by_id(&self) -> bool {
        let id = self.resolved.strip_prefix("sha256:").unwrap_or(&self.resolved);
        self.image.record.id.as_str().starts_with(id)
    }
}

/// How an image was hit, before manifest lists are looked into.
enum Hit {
    Name(Option<Digest>),
    Id,
}

impl Library<'_> {
    /// Finds the image that `name` means.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`] if there is none; [`ErrorKind::BadReference`] if `name` is not
    /// a reference or names another transport.
    pub(super) fn lookup(&self, name: &str, lists: Lists) -> Result<Found<'_>> {
        if let Some(found) = self.by_transport(name) {
            return found;
        }
        let parsed = Reference::parse(name).map_err(|error| {
            Error::from_source(ErrorKind::BadReference, &error)
                .context(format!("parsing reference {name:?}"))
        })?;
        // With a digest the tag means nothing; Docker ignores it too.
        let name =
            if parsed.digest().is_some() { parsed.tagged().to_string() } else { name.into() };

        let unprefixed = name.strip_prefix("sha256:");
        if unprefixed.is_some() || name.parse::<ImageId>().is_ok() {
            let Ok(id) = unprefixed.unwrap_or(&name).parse::<ImageId>() else {
                let text = format!("{name}: invalid format: no 64-byte hexadecimal value");
                return Err(Error::new(ErrorKind::BadReference, text));
            };
            return match self.index().by_id(self.snapshot(), id.as_str()) {
                Some(at) => self.finish(at, Hit::Id, &name, lists),
                None => Err(not_known(&name)),
            };
        }

        let candidates =
            self.short_names().local_candidates(&name).map_err(|_| not_known(&name))?;
        for candidate in candidates {
            if let Some((at, hit)) = self.by_reference(&candidate) {
                return self.finish(at, hit, &candidate.to_string(), lists);
            }
        }
        if let Some(at) = self.index().by_id(self.snapshot(), &name) {
            return self.finish(at, Hit::Id, &name, lists);
        }
        self.by_suffix(&name, lists)
    }

    /// An image with exactly this name, or with this digest and any name of this repository.
    fn by_reference(&self, candidate: &Reference) -> Option<(usize, Hit)> {
        let requested = candidate.digest();
        if let Some(at) = self.index().by_name(&candidate.to_string()) {
            return Some((at, Hit::Name(requested.cloned())));
        }
        let requested = requested?;
        let repository = candidate.repository();
        let mut matching = (self.index().by_digest(requested).iter().copied())
            .filter(|&at| in_repository(&self.images()[at].record.names, &repository));
        let first = matching.next()?;
        // Images for several platforms, pulled through one list, share the list's digest.
        let ours = matching.rfind(|&at| self.is_chosen_instance(at, requested));
        Some((ours.unwrap_or(first), Hit::Name(Some(requested.clone()))))
    }

    /// Whether `digest` is a manifest list stored with the image, and the image is what the list
    /// has for this platform.
    fn is_chosen_instance(&self, at: usize, digest: &Digest) -> bool {
        let image = &self.images()[at];
        let Ok(raw) = self.data().read(image, &format!("manifest-{digest}")) else { return false };
        let Ok(list) = Manifest::parse(raw) else { return false };
        choose_instance(list.kind(), list.instances(), self.platform())
            .is_some_and(|chosen| has_digest(&image.record, chosen))
    }

    /// The last resort for short names: any image with a name that ends in this one.
    fn by_suffix(&self, name: &str, lists: Lists) -> Result<Found<'_>> {
        let reference = match Reference::parse(name) {
            Ok(reference) if reference.is_short() => reference.tagged(),
            _ => return Err(not_known(name)),
        };
        let wanted = reference.repository();
        for image in self.images() {
            let matching =
                image.record.names.iter().map(|name| StoredName::new(name)).find(|own| {
                    ends_in(own.repository, &wanted)
                        && (reference.tag().is_none() || own.tag == reference.tag())
                });
            let Some(own) = matching else { continue };
            // The name can be that of another image when stores share it.
            let Some(at) = self.index().by_name(own.full) else { continue };
            let mut found = self.finish(at, Hit::Name(None), own.full, lists)?;
            if let Some(digest) = reference.digest() {
                if !has_digest(&found.image.record, digest) {
                    continue;
                }
                found.resolved = format!("{}@{digest}", own.repository);
            }
            return Ok(found);
        }
        Err(not_known(name))
    }

    /// Names of the form `transport:reference`. `None` if `name` is not one.
    fn by_transport(&self, name: &str) -> Option<Result<Found<'_>>> {
        let (transport, rest) = name.split_once(':')?;
        let is_one = match transport {
            "containers-storage" => return self.by_storage_reference(rest),
            "docker" => rest
                .strip_prefix("//")
                .is_some_and(|rest| Reference::normalize_docker(rest).is_ok()),
            "docker-daemon" => Reference::normalize_docker(rest)
                .is_ok_and(|reference| reference.tag().is_some() || reference.digest().is_some()),
            "dir" | "docker-archive" | "oci" | "oci-archive" | "ostree" | "sif" => !rest.is_empty(),
            _ => false,
        };
        is_one.then(|| {
            let text = format!("unsupported transport {transport:?} for looking up local images");
            Err(Error::new(ErrorKind::BadReference, text))
        })
    }

    /// `containers-storage:` names are completed in Docker's way. A store in brackets would be
    /// another one than this.
    fn by_storage_reference(&self, rest: &str) -> Option<Result<Found<'_>>> {
        let (named, id) = match rest.rsplit_once('@') {
            Some((named, id)) if id.parse::<Digest>().is_err() => (named, Some(id)),
            _ => (rest, None),
        };
        let by_id = |id: &str| self.index().by_id(self.snapshot(), id).filter(|_| id.len() >= 3);
        let hit = match (named, id) {
            ("", Some(id)) => by_id(id).map(|at| (at, Hit::Name(None))),
            (named, Some(id)) => {
                let repository = Reference::normalize_docker(named).ok()?.repository();
                by_id(id)
                    .filter(|&at| in_repository(&self.images()[at].record.names, &repository))
                    .map(|at| (at, Hit::Name(None)))
            }
            (named, None) => match by_id(named) {
                Some(at) => Some((at, Hit::Name(None))),
                None => self.by_reference(&Reference::normalize_docker(named).ok()?.tagged()),
            },
        };
        // Here Podman never looks into manifest lists, whatever was asked for.
        Some(hit.map(|(at, hit)| self.found(at, hit, "")).ok_or_else(Error::image_not_known))
    }

    /// Looks into manifest lists.
    fn finish(&self, at: usize, hit: Hit, resolved: &str, lists: Lists) -> Result<Found<'_>> {
        // An image that cannot be read is found all the same, so that it can be removed.
        let list = self.facts(at).ok().filter(|facts| facts.kind.is_list());
        let Some(list) = list else {
            if lists == Lists::Required {
                let error = Error::new(ErrorKind::BadRequest, "image is not a manifest list");
                return Err(error.context(resolved));
            }
            return Ok(self.found(at, hit, resolved));
        };
        if matches!(lists, Lists::Preferred | Lists::Required) {
            return Ok(self.found(at, hit, resolved));
        }
        match self.local_instance(at, list.kind, &list.instances) {
            Ok(instance) => Ok(self.found(instance, Hit::Id, resolved)),
            Err(_) if lists == Lists::IfNoInstance => Ok(self.found(at, hit, resolved)),
            Err(error) => Err(error),
        }
    }

    fn local_instance(
        &self,
        at: usize,
        kind: ManifestKind,
        instances: &[Descriptor],
    ) -> Result<usize> {
        let platform = self.platform();
        let Some(digest) = choose_instance(kind, instances, platform) else {
            let list = if kind == ManifestKind::OciIndex { "image index" } else { "manifest list" };
            return Err(Error::image_not_known().context(format!(
                "no image found in {list} for architecture {:?}, variant {:?}, OS {:?}",
                platform.architecture, platform.variant, platform.os
            )));
        };
        self.index().by_digest(digest).first().copied().ok_or_else(|| {
            // Podman says twice that the image is not known.
            Error::image_not_known().context(format!(
                "could not find image instance {digest} of manifest list {} \
                 in local containers storage: image not known",
                self.images()[at].record.id
            ))
        })
    }

    fn found(&self, at: usize, hit: Hit, resolved: &str) -> Found<'_> {
        let image = &self.images()[at];
        let digest = match hit {
            Hit::Id => image.record.digest.as_ref(),
            Hit::Name(requested) => image
                .record
                .digests()
                .into_iter()
                .find(|&own| Some(own) == requested.as_ref())
                .or(image.record.manifest_digest())
                .or(image.record.digest.as_ref()),
        };
        Found { image, at, resolved: resolved.to_owned(), digest: digest.cloned() }
    }
}

fn not_known(name: &str) -> Error {
    Error::image_not_known().context(name)
}

/// Whether `repository` ends in `wanted`, as a whole number of components.
fn ends_in(repository: &str, wanted: &str) -> bool {
    repository.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// The entry of a manifest list for `platform`: exactly its variant, then what is compatible with
/// it, best first. An OCI index may have an entry without platform, which fits any.
pub(super) fn choose_instance<'a>(
    kind: ManifestKind,
    instances: &'a [Descriptor],
    platform: &Platform,
) -> Option<&'a Digest> {
    for variant in compatible_variants(platform) {
        let wanted = Platform { variant: variant.to_owned(), ..platform.clone() };
        if let Some(entry) = instances.iter().find(|entry| entry.platform.as_ref() == Some(&wanted))
        {
            return Some(&entry.digest);
        }
    }
    let anywhere = instances.iter().find(|entry| entry.platform.is_none());
    anywhere.filter(|_| kind == ManifestKind::OciIndex).map(|entry| &entry.digest)
}

fn compatible_variants(platform: &Platform) -> Vec<&str> {
    let known: &[&str] = match platform.architecture.as_str() {
        "arm" => &["v8", "v7", "v6", "v5"],
        "arm64" => &["v8"],
        _ => &[],
    };
    let own = platform.variant.as_str();
    if own.is_empty() {
        return std::iter::once("").chain(known.iter().copied()).collect();
    }
    let mut variants = match known.iter().position(|variant| *variant == own) {
        Some(at) => known[at..].to_vec(),
        None => vec![own],
    };
    variants.push("");
    variants
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
