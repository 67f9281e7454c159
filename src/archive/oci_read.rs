//! Finding the images of an OCI image layout, in an archive or in a directory.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::found::Found;
use super::manifest_read::{Blobs, Names, parse};
use super::{ArchivedImage, Error, Members};
use crate::image::{Descriptor, Digest, Manifest, Platform, Reference, media_type};
use crate::layer::Unpacked;

const INDEX: &str = "index.json";
/// Where a name can stand, in order of preference.
const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", REF_NAME];
/// Where a layout says what an image is called in it.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// BuildKit calls so what it says about an image, beside the image.
const ABOUT_ANOTHER: &str = "vnd.docker.reference.type";
/// The platform of what runs nowhere, as BuildKit writes it.
const NOWHERE: &str = "unknown";
/// How media types of layers begin.
const LAYERS: [&str; 2] =
    ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
const NAMES: Names = Names { manifest: member_of, blob: member_of };

/// The image that `index.json` lists. An entry that is an index itself stands for the image for
/// `platform` in it. Of several this function finds none: see [`oci_images`].
pub fn oci_image<L: AsRef<Unpacked>>(
    members: &Members<L>,
    platform: &Platform,
) -> Result<ArchivedImage, Error> {
    let blobs = Blobs { members, names: NAMES, platform };
    match index(members, Error::MissingIndex)?.instances() {
        [entry] => {
            let names = name(&entry.annotations)?.into_iter().collect();
            blobs.image(blobs.manifest(entry)?, names)
        }
        _ => Err(Error::NotOneImage),
    }
}

/// All images that `index.json` lists, each with its names.
///
/// Archives of several images say which is which by names, as those of Docker, containerd and
/// Skopeo do. A name stands for the first entry that has it and is for `platform`, or for the
/// first; entries without a name for other platforms count if all are. What is no image is left
/// aside: attestations, signatures and other artifacts.
pub fn oci_images<L: AsRef<Unpacked>>(
    members: &Members<L>,
    platform: &Platform,
) -> Result<Vec<ArchivedImage>, Error> {
    let blobs = Blobs { members, names: NAMES, platform };
    let index = index(members, Error::MissingIndex)?;
    let images = images(&blobs, index.instances())?;
    if images.is_empty() { Err(Error::NotOneImage) } else { Ok(images) }
}

/// As [`oci_images`], for a layout that is a directory. Of one image the name does not count there.
pub fn oci_directory_images<L: AsRef<Unpacked>>(
    members: &Members<L>,
    platform: &Platform,
) -> Result<Vec<ArchivedImage>, Error> {
    let blobs = Blobs { members, names: NAMES, platform };
    let index = index(members, Error::MissingBlob(INDEX.into()))?;
    if let [entry] = index.instances() {
        return Ok(vec![blobs.image(blobs.manifest(entry)?, Vec::new())?]);
    }
    let images = images(&blobs, index.instances())?;
    if images.is_empty() {
        return Err(Error::Malformed("more than one image in oci, choose an image".into()));
    }
    Ok(images)
}

/// The image that `index.json` annotates with the name `reference`, or the only one, and the names
/// that it has there.
pub fn oci_chosen_image<L: AsRef<Unpacked>>(
    members: &Members<L>,
    platform: &Platform,
    reference: Option<&str>,
) -> Result<ArchivedImage, Error> {
    let blobs = Blobs { members, names: NAMES, platform };
    let index = index(members, Error::MissingIndex)?;
    let entry = chosen(&index, reference)
        .map_err(|text| Error::Malformed(format!("loading index: {text}")))?;
    let names = name(&entry.annotations)?.into_iter().collect();
    blobs.image(blobs.manifest(entry)?, names)
}

/// As [`oci_chosen_image`], for a layout that is a directory. It gets no names.
pub fn oci_directory_image<L: AsRef<Unpacked>>(
    members: &Members<L>,
    platform: &Platform,
    reference: Option<&str>,
) -> Result<ArchivedImage, Error> {
    let blobs = Blobs { members, names: NAMES, platform };
    let index = index(members, Error::MissingBlob(INDEX.into()))?;
    let entry = chosen(&index, reference).map_err(Error::Malformed)?;
    blobs.image(blobs.manifest(entry)?, Vec::new())
}

/// The entry that is meant, as Podman finds it.
fn chosen<'a>(index: &'a Manifest, reference: Option<&str>) -> Result<&'a Descriptor, String> {
    let Some(reference) = reference else {
        return match index.instances() {
            [entry] => Ok(entry),
            _ => Err("more than one image in oci, choose an image".to_owned()),
        };
    };
    let is_meant = |entry: &&Descriptor| {
        entry.annotations.get(REF_NAME).is_some_and(|name| name == reference)
            && matches!(&*entry.media_type, media_type::OCI_MANIFEST | media_type::OCI_INDEX)
    };
    let found = index.instances().iter().find(is_meant);
    found.ok_or_else(|| format!("no descriptor found for reference {reference:?}"))
}

fn index<L>(members: &Members<L>, missing: Error) -> Result<Manifest, Error> {
    let raw = members.document(INDEX).ok_or(missing)?;
    let index = parse(INDEX, raw.clone())?;
    if !index.kind().is_list() {
        return Err(Error::Malformed("index.json is not an image index".into()));
    }
    Ok(index)
}

fn images<L: AsRef<Unpacked>>(
    blobs: &Blobs<'_, L>,
    entries: &[Descriptor],
) -> Result<Vec<ArchivedImage>, Error> {
    let mut found = Found::default();
    for (entry, names) in choose(entries, blobs.platform)? {
        let chosen = blobs.chosen(blobs.manifest(entry)?)?;
        if is_image(&chosen.manifest) {
            found.push(blobs.chosen_image(chosen, names)?)?;
        }
    }
    Ok(found.into_images())
}

/// Which entries count, each with all of its names.
fn choose<'a>(
    entries: &'a [Descriptor],
    platform: &Platform,
) -> Result<Vec<(&'a Descriptor, Vec<Reference>)>, Error> {
    let offers = |entry: &Descriptor| {
        entry.platform.as_ref().is_none_or(|offered| offered.satisfies(platform))
    };
    let mut named = Vec::new();
    for entry in entries.iter().filter(|entry| !is_about_another(entry)) {
        named.push((name(&entry.annotations)?, entry));
    }
    let offered: HashSet<Option<Reference>> =
        named.iter().filter(|(_, entry)| offers(entry)).map(|(name, _)| name.clone()).collect();
    named.retain(|(name, entry)| offers(entry) || !offered.contains(name));
    let mut taken = HashSet::new();
    named.retain(|(name, _)| name.as_ref().is_none_or(|name| taken.insert(name.clone())));

    // What has several names has an entry for each.
    let mut chosen: Vec<(&Descriptor, Vec<Reference>)> = Vec::new();
    let mut places: HashMap<&Digest, usize> = HashMap::new();
    for (name, entry) in named {
        let place = *places.entry(&entry.digest).or_insert(chosen.len());
        match chosen.get_mut(place) {
            Some((_, names)) => names.extend(name),
            None => chosen.push((entry, name.into_iter().collect())),
        }
    }
    Ok(chosen)
}

fn is_about_another(entry: &Descriptor) -> bool {
    let nowhere = |platform: &Platform| platform.os == NOWHERE && platform.architecture == NOWHERE;
    entry.annotations.contains_key(ABOUT_ANOTHER) || entry.platform.as_ref().is_some_and(nowhere)
}

/// Whether a manifest is that of something to run. Anything else that registries and layouts hold
/// has another type of config, or content that is no file system.
fn is_image(manifest: &Manifest) -> bool {
    let config = manifest.config().map(|config| config.media_type.as_str());
    matches!(config, None | Some(media_type::OCI_CONFIG | media_type::DOCKER_CONFIG))
        && manifest
            .layers()
            .iter()
            .all(|layer| LAYERS.iter().any(|prefix| layer.media_type.starts_with(prefix)))
}

/// The name an entry is annotated with.
fn name(annotations: &BTreeMap<String, String>) -> Result<Option<Reference>, Error> {
    let mut given = NAME_ANNOTATIONS.iter().filter_map(|key| annotations.get(*key));
    let Some(name) = given.find(|name| !name.is_empty()) else { return Ok(None) };
    Reference::normalize_local(name)
        .map(Some)
        .map_err(|source| Error::Name { name: name.clone(), source })
}

fn member_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries are `content@platform=name|containerd's name`, and so are those that are chosen.
    fn chosen(entries: &str) -> String {
        let entries: Vec<_> = entries.split(' ').map(entry).collect();
        let wanted =
            Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
        match choose(&entries, &wanted) {
            Ok(chosen) => chosen
                .iter()
                .map(|(entry, names)| {
                    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
                    format!("{}={}", entry.media_type, names.join("+"))
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    fn entry(text: &str) -> Descriptor {
        let (content, names) = text.split_once('=').unwrap_or((text, ""));
        let (content, platform) = content.split_once('@').unwrap_or((content, ""));
        let (name, containerd) = names.split_once('|').unwrap_or((names, ""));
        let (os, architecture) = platform.split_once('/').unwrap_or_default();
        let platform =
            Platform { os: os.into(), architecture: architecture.into(), ..Platform::default() };
        let names = [(NAME_ANNOTATIONS[1], name), (NAME_ANNOTATIONS[0], containerd)];
        Descriptor {
            media_type: content.into(),
            digest: Digest::of(content.as_bytes()),
            size: 1,
            platform: (!os.is_empty()).then_some(platform),
            annotations: names.map(|(key, name)| (key.into(), name.into())).into(),
        }
    }

    #[test]
    fn names_and_platforms_say_which_entries_count() {
        for (entries, expected) in [
            ("a=x b=y", "a=localhost/x:latest b=localhost/y:latest"),
            ("a b", "a= b="),
            ("a b=y", "a= b=localhost/y:latest"),
            ("a=x a=y", "a=localhost/x:latest+localhost/y:latest"),
            ("a=x a", "a=localhost/x:latest"),
            ("a a", "a="),
            ("a=x b=x", "a=localhost/x:latest"),
            ("a=1|quay.io/x:1", "a=quay.io/x:1"),
            ("a=x b=UPPER", "normalizing name \"UPPER\""),
            ("a@linux/arm64=x b@linux/amd64=x", "b=localhost/x:latest"),
            ("a@linux/arm64=x b=x", "b=localhost/x:latest"),
            ("a@linux/arm64=x b@linux/s390x=x", "a=localhost/x:latest"),
            ("a@linux/arm64=x b@linux/amd64=y", "a=localhost/x:latest b=localhost/y:latest"),
            ("a@linux/arm64 b@linux/amd64 c@linux/amd64", "b= c="),
            ("a@linux/arm64 b@windows/amd64", "a= b="),
            ("a@unknown/unknown=x b=x", "b=localhost/x:latest"),
            ("a@unknown/unknown=UPPER b", "b="),
        ] {
            assert_eq!(chosen(entries), expected, "{entries}");
        }
    }
}
