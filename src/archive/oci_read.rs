//! Finding the image of an OCI image layout, in an archive or in a directory.

use std::collections::BTreeMap;

use super::manifest_read::{Blobs, Names, parse};
use super::{ArchivedImage, Error, Members};
use crate::image::{Digest, Manifest, Platform, Reference};
use crate::layer::Unpacked;

const INDEX: &str = "index.json";
/// Where a name can stand, in order of preference.
const NAME_ANNOTATIONS: [&str; 2] =
    ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
const NAMES: Names = Names { manifest: member_of, blob: member_of };

/// The image that `index.json` lists. An entry that is an index itself stands for the image for
/// `platform` in it. As with Podman, an archive of several images is none: nothing says which one.
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

/// As [`oci_image`], for a layout that is a directory. What the index calls the image does not
/// count there.
pub fn oci_directory_image<L: AsRef<Unpacked>>(
    members: &Members<L>,
    platform: &Platform,
) -> Result<ArchivedImage, Error> {
    let blobs = Blobs { members, names: NAMES, platform };
    match index(members, Error::MissingBlob(INDEX.into()))?.instances() {
        [entry] => blobs.image(blobs.manifest(entry)?, Vec::new()),
        _ => Err(Error::Malformed("more than one image in oci, choose an image".into())),
    }
}

fn index<L>(members: &Members<L>, missing: Error) -> Result<Manifest, Error> {
    let raw = members.document(INDEX).ok_or(missing)?;
    let index = parse(INDEX, raw.clone())?;
    if !index.kind().is_list() {
        return Err(Error::Malformed("index.json is not an image index".into()));
    }
    Ok(index)
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
