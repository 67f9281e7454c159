//! Finding the images of a `docker-archive`.
//!
//! Both layouts are read: `<id>/layer.tar` of old Docker, and today's with files or symlinks named
//! after digests. `manifest.json` alone says what belongs together.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::found::{Found, LAYERS};
use super::{ArchivedImage, Error, Members};
use crate::image::document::{DockerDescriptor, DockerManifest};
use crate::image::{
    ArchiveChoice, DiffId, Digest, ImageConfig, Manifest, Reference, go_json, media_type,
};
use crate::layer::Unpacked;

const MANIFEST: &str = "manifest.json";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images of `manifest.json`, in its order. An empty list is an archive without images.
pub fn docker_images<L: AsRef<Unpacked>>(
    members: &Members<L>,
) -> Result<Vec<ArchivedImage>, Error> {
    let items = items(members)?;
    let names: Vec<Vec<Reference>> =
        items.iter().enumerate().map(|(at, item)| names(item, at)).collect::<Result<_, _>>()?;
    // A name stands for the first image that has it, however often it comes.
    let mut owners: HashMap<&Reference, usize> = HashMap::new();
    for (at, own) in names.iter().enumerate() {
        own.iter().for_each(|name| _ = owners.entry(name).or_insert(at));
    }
    let mut found = Found::default();
    for (at, own) in names.iter().enumerate() {
        if own.is_empty() {
            found.push(image(&items[at], Vec::new(), members)?)?;
        }
        let owner = |name: &Reference| owners.get(name).copied();
        for run in own.chunk_by(|one, next| owner(one) == owner(next)) {
            let owner = run.first().and_then(owner).unwrap_or(at);
            found.push(image(&items[owner], run.to_vec(), members)?)?;
        }
    }
    Ok(found.into_images())
}

/// One image of `manifest.json`.
pub fn docker_image<L: AsRef<Unpacked>>(
    members: &Members<L>,
    choice: &ArchiveChoice,
) -> Result<ArchivedImage, Error> {
    let items = items(members)?;
    let count = items.len();
    let (at, name) = match choice {
        ArchiveChoice::Only if count == 1 => (0, None),
        ArchiveChoice::Only => {
            let text = format!("Unexpected tar {MANIFEST}: expected 1 item, got {count}");
            return Err(Error::Malformed(text));
        }
        ArchiveChoice::At(at) if *at < count => (*at, None),
        ArchiveChoice::At(at) => {
            let text = format!("Invalid source index @{at}, only {count} manifest items available");
            return Err(Error::Malformed(text));
        }
        ArchiveChoice::Named(name) => {
            let (at, name) = find(&items, name)?;
            (at, Some(name))
        }
    };
    let names = match name {
        Some(name) => vec![name],
        None => names(&items[at], at)?,
    };
    image(&items[at], names, members)
}

/// The first item with a name that is this one to Docker, and what it is to Podman.
fn find(items: &[Item], name: &Reference) -> Result<(usize, Reference), Error> {
    for (at, item) in items.iter().enumerate() {
        for tag in item.repo_tags.iter().flatten() {
            let invalid = |source| Error::Tag { tag: tag.clone(), item: at, source };
            if Reference::normalize_docker(tag).map_err(invalid)? == *name {
                return Ok((at, Reference::normalize_local(tag).map_err(invalid)?));
            }
        }
    }
    Err(Error::Malformed(format!("Tag {:?} not found", name.to_string())))
}

fn items<L>(members: &Members<L>) -> Result<Vec<Item>, Error> {
    let list =
        members.document(MANIFEST).ok_or_else(|| Error::MissingComponent(MANIFEST.into()))?;
    let items: Option<Vec<Item>> = serde_json::from_slice(list)
        .map_err(|source| Error::Json { document: format!("tar {MANIFEST}"), source })?;
    Ok(items.unwrap_or_default())
}

fn names(item: &Item, at: usize) -> Result<Vec<Reference>, Error> {
    let mut names = Vec::new();
    for tag in item.repo_tags.iter().flatten() {
        // Podman validates in Docker's sense and stores in its own.
        let invalid = |source| Error::Tag { tag: tag.clone(), item: at, source };
        let full = Reference::normalize_docker(tag).map_err(invalid)?;
        if full.tag().is_none() {
            return Err(Error::NoTag { tag: tag.clone(), full: full.to_string() });
        }
        names.push(Reference::normalize_local(tag).map_err(invalid)?);
    }
    Ok(names)
}

fn image<L: AsRef<Unpacked>>(
    item: &Item,
    names: Vec<Reference>,
    members: &Members<L>,
) -> Result<ArchivedImage, Error> {
    let config = members
        .document(&item.config)
        .ok_or_else(|| Error::MissingComponent(item.config.clone()))?;
    let json = |source| Error::Json { document: item.config.clone(), source };
    let parsed_config = ImageConfig::parse(config).map_err(json)?;
    if !is_object(config) {
        return Err(Error::Malformed(format!("{} is not an image config", item.config)));
    }
    let paths = item.layers.as_deref().unwrap_or_default();
    let diff_ids = parsed_config.diff_ids().to_vec();
    if paths.len() != diff_ids.len() {
        return Err(Error::LayerCount { manifest: paths.len(), config: diff_ids.len() });
    }
    if paths.len() > LAYERS {
        return Err(Error::Limit { what: "number of layers of an image", limit: LAYERS as u64 });
    }
    // All must be there before any is looked at: that is the error people understand.
    if paths.iter().any(|path| !members.contains(path)) {
        return Err(Error::MissingLayer);
    }
    let mut sizes = BTreeMap::new();
    for (path, expected) in paths.iter().zip(&diff_ids) {
        let layer = members.layer(path)?.as_ref();
        if layer.diff_id != *expected {
            return Err(Error::Digest {
                expected: expected.to_string(),
                got: layer.diff_id.to_string(),
            });
        }
        sizes.insert(expected, layer.diff_size);
    }
    let config_digest = Digest::of(config);
    let manifest = synthesise(&config_digest, config.len() as u64, &diff_ids, &sizes)?;
    Ok(ArchivedImage {
        manifest,
        index: None,
        config: config.clone(),
        config_digest,
        parsed_config,
        diff_ids,
        names,
    })
}

/// Whether a config, read as generic JSON, is an object at all.
fn is_object(config: &[u8]) -> bool {
    matches!(serde_json::from_slice::<Value>(config), Ok(Value::Object(_)))
}

/// The manifest Podman makes for an image of a docker archive: schema 2, layers called gzip but
/// described uncompressed, so that the same archive gives the same digest there and here.
fn synthesise(
    config: &Digest,
    config_size: u64,
    diff_ids: &[DiffId],
    sizes: &BTreeMap<&DiffId, u64>,
) -> Result<Manifest, Error> {
    let document = DockerManifest {
        schema_version: 2,
        media_type: media_type::DOCKER_MANIFEST,
        config: DockerDescriptor {
            media_type: media_type::DOCKER_CONFIG,
            size: config_size,
            digest: config.as_str(),
        },
        layers: diff_ids
            .iter()
            .map(|diff_id| DockerDescriptor {
                media_type: media_type::DOCKER_LAYER_GZIP,
                size: sizes.get(diff_id).copied().unwrap_or_default(),
                digest: diff_id.digest().as_str(),
            })
            .collect(),
    };
    let raw = go_json::to_vec(&document)
        .map_err(|source| Error::Json { document: "synthesised manifest".into(), source })?;
    Manifest::parse(raw)
        .map_err(|source| Error::Manifest { document: "synthesised manifest".into(), source })
}
