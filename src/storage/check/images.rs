//! What images and containers need.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ReadData;
use super::finding::{Cure, Fix, Rule, Subject};
use super::records::OWNER;
use super::scope::{Findings, Scope, names_of};
use crate::image::Digest;
use crate::storage::Error;
use crate::storage::bigdata::{self, file_name};
use crate::storage::overlay::{CONTAINERS, IMAGES};
use crate::storage::record::{ContainerRecord, ImageRecord};

pub(super) fn check(scope: &Scope<'_>, read: ReadData, found: &mut Findings) {
    for image in scope.current.primary.images.records() {
        layers(scope, image, found);
        let result = documents(scope, image, read, found);
        found.unreadable(Subject::Image(image.id.clone()), result);
    }
    for container in scope.current.containers.records() {
        let result = self::container(scope, container, found);
        found.unreadable(Subject::Container(container.id.clone()), result);
    }
}

fn layers(scope: &Scope<'_>, image: &ImageRecord, found: &mut Findings) {
    let missing = |layer| scope.snapshot().layer(layer).is_none();
    let path = format!("{IMAGES}/images.json");
    let subject = || Subject::Image(image.id.clone());
    if let Some(layer) = image.layer.as_ref().filter(|layer| missing(layer)) {
        let why = format!("its layer {layer} is not known");
        found.error(Rule::ImageLayers, subject(), &*path, why, Cure::LostImage);
    }
    for layer in image.mapped_layers.iter().filter(|layer| missing(layer)) {
        let why = format!("layer {layer}, a copy for other users, is not known");
        let cure = Cure::Fix(Fix::ForgetCopy { image: image.id.clone(), layer: layer.clone() });
        found.error(Rule::ImageLayers, subject(), format!("overlay/{layer}"), why, cure);
    }
}

fn documents(
    scope: &Scope<'_>,
    image: &ImageRecord,
    read: ReadData,
    found: &mut Findings,
) -> Result<(), Error> {
    let id = &image.id;
    let directory = format!("{IMAGES}/{id}");
    let subject = || Subject::Image(id.clone());
    for key in &image.big_data_names {
        if let Some(why) = wrong_item(scope, image, key, read)? {
            let path = format!("{directory}/{}", file_name(key));
            let cure = match twin(scope, image, key)? {
                Some(twin) => {
                    Cure::Fix(Fix::RestoreItem { image: id.clone(), key: key.clone(), twin })
                }
                None if is_document(image, key) => Cure::LostImage,
                None => Cure::ByHand("pull the image again, or remove it"),
            };
            found.error(Rule::Items, subject(), path, why, cure);
        }
    }
    let has_manifest = image.big_data_names.iter().any(|key| key == ImageRecord::MANIFEST);
    // Some tools write the record first, and then one item after the other.
    let newest =
        if scope.has(IMAGES, id.as_str()) { &*directory } else { "overlay-images/images.json" };
    if !has_manifest && scope.is_old(newest)? {
        let why = "it has no manifest, and tools fail to list images because of it";
        let hint = "remove it with the tool that made it";
        found.error(Rule::Manifests, subject(), directory.clone(), why, Cure::ByHand(hint));
    }
    for name in names_of(&scope.root, &directory)? {
        if image.big_data_names.iter().any(|key| file_name(key) == name) {
            continue;
        }
        let path = format!("{directory}/{name}");
        if name.starts_with(".tmp-") {
            let cure = Cure::Fix(Fix::RemoveFile { path: path.clone().into() });
            let why = "somebody died while writing it";
            found.warning(Rule::Temporaries, subject(), path, why, cure);
        } else {
            let why = "it is a data item that the record does not have";
            found.warning(Rule::Orphans, subject(), path, why, Cure::ByHand("remove the file"));
        }
    }
    Ok(())
}

/// Without these nobody knows what the image is.
fn is_document(image: &ImageRecord, key: &str) -> bool {
    key.starts_with(ImageRecord::MANIFEST) || image.config_key() == Some(key)
}

/// What is wrong with an item. Contents are small and are read under the lock, since they are
/// compared with what the record says.
fn wrong_item(
    scope: &Scope<'_>,
    image: &ImageRecord,
    key: &str,
    read: ReadData,
) -> Result<Option<String>, Error> {
    let path = format!("{IMAGES}/{}/{}", image.id, file_name(key));
    let Some(stat) = scope.root.stat(&path)? else {
        return Ok(Some(format!("its data item {key:?} is missing")));
    };
    if let Some(size) = image.big_data_sizes.get(key).filter(|size| **size != stat.st_size) {
        let why = format!("its data item {key:?} has {} bytes, not {size}", stat.st_size);
        return Ok(Some(why));
    }
    if read == ReadData::No {
        return Ok(None);
    }
    let content = scope.root.read(&path, bigdata::LIMIT_BYTES)?.unwrap_or_default();
    if key.starts_with(ImageRecord::MANIFEST) && is_signed_schema_1(&content) {
        // Its digest is that of a part of it.
        return Ok(None);
    }
    let found = Digest::of(&content);
    // The names of most items have their digests in them.
    let named = key.strip_prefix("manifest-").unwrap_or(key).parse::<Digest>().ok();
    let promised = [image.big_data_digests.get(key), named.as_ref()];
    let wrong = promised.into_iter().flatten().find(|it| it.is_sha256() && **it != found);
    Ok(wrong
        .map(|promised| format!("its data item {key:?} has the digest {found}, not {promised}")))
}

fn is_signed_schema_1(content: &[u8]) -> bool {
    serde_json::from_slice::<Value>(content)
        .is_ok_and(|document| document["schemaVersion"] == 1 && document["signatures"].is_array())
}

/// Another item of the image that has the content this one should have.
fn twin(scope: &Scope<'_>, image: &ImageRecord, key: &str) -> Result<Option<String>, Error> {
    let Some(digest) = image.big_data_digests.get(key).filter(|digest| digest.is_sha256()) else {
        return Ok(None);
    };
    for (other, its_digest) in &image.big_data_digests {
        if other == key || its_digest != digest {
            continue;
        }
        let path = format!("{IMAGES}/{}/{}", image.id, file_name(other));
        let content = scope.root.read(path, bigdata::LIMIT_BYTES)?;
        if content.is_some_and(|content| Digest::of(&content) == *digest) {
            return Ok(Some(other.clone()));
        }
    }
    Ok(None)
}

fn container(
    scope: &Scope<'_>,
    container: &ContainerRecord,
    found: &mut Findings,
) -> Result<(), Error> {
    let subject = || Subject::Container(container.id.clone());
    let path = format!("{CONTAINERS}/containers.json");
    let hint = || Cure::ByHand(OWNER);
    if scope.snapshot().layer(&container.layer).is_none() {
        let why = format!("its layer {} is not known", container.layer);
        found.error(Rule::Containers, subject(), &*path, why, hint());
    }
    if let Some(image) = &container.image
        && scope.snapshot().image(image).is_none()
    {
        let why = format!("its image {image} is not known");
        found.error(Rule::Containers, subject(), &*path, why, hint());
    }
    items(scope, container, &container.big_data_sizes, found)
}

fn items(
    scope: &Scope<'_>,
    container: &ContainerRecord,
    sizes: &BTreeMap<String, i64>,
    found: &mut Findings,
) -> Result<(), Error> {
    for key in &container.big_data_names {
        let path = format!("{CONTAINERS}/{}/{}", container.id, file_name(key));
        let why = match (scope.root.stat(&path)?, sizes.get(key)) {
            (None, _) => format!("its data item {key:?} is missing"),
            (Some(stat), Some(size)) if stat.st_size != *size => {
                format!("its data item {key:?} has {} bytes, not {size}", stat.st_size)
            }
            _ => continue,
        };
        let subject = Subject::Container(container.id.clone());
        found.error(Rule::Items, subject, path, why, Cure::ByHand(OWNER));
    }
    Ok(())
}
