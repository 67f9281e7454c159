//! Writing the format of `docker save`, byte for byte as Podman orders it: per image its layers,
//! its config and the legacy directories that Docker before 1.10 reads, then `manifest.json` and
//! `repositories`.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;

use super::tar_writer::TarWriter;
use super::{SavedImage, SavedLayer};
use crate::image::{Digest, go_json};

/// One item of `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Streams an archive of `images`, each of which should occur once. `layer(out, image, index)`
/// writes the uncompressed tar of one layer; an error of it ends the archive in the middle.
pub fn write_docker_archive<W: Write>(
    images: &[SavedImage],
    out: W,
    mut layer: impl FnMut(&mut dyn Write, usize, usize) -> io::Result<()>,
) -> io::Result<W> {
    let mut tar = TarWriter::new(out, 0o444, 0);
    let mut written = HashSet::new();
    let mut items = Vec::new();
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (number, image) in images.iter().enumerate() {
        for (index, saved) in image.layers.iter().enumerate() {
            if written.insert(layer_file(saved)) {
                tar.file(&layer_file(saved), saved.size, |out| layer(out, number, index))?;
            }
        }
        let config_file = format!("{}.json", Digest::of(&image.config).hex());
        if written.insert(config_file.clone()) {
            tar.document(&config_file, &image.config)?;
        }
        let legacy = legacy_layers(image)?;
        for (saved, (id, json)) in image.layers.iter().zip(&legacy) {
            if written.insert(id.clone()) {
                tar.symlink(&format!("{id}/layer.tar"), &format!("../{}", layer_file(saved)))?;
                tar.document(&format!("{id}/VERSION"), b"1.0")?;
                tar.document(&format!("{id}/json"), json)?;
            }
        }
        let tagged = image.names.iter().filter_map(|name| Some((name, name.tag()?)));
        for (name, tag) in tagged.clone() {
            if let Some((top, _)) = legacy.last() {
                repositories
                    .entry(name.repository())
                    .or_default()
                    .insert(tag.to_owned(), top.clone());
            }
        }
        items.push(Item {
            config: config_file,
            repo_tags: tagged.map(|(name, _)| name.to_string()).collect(),
            layers: image.layers.iter().map(layer_file).collect(),
        });
    }
    tar.document("manifest.json", &go_json::to_vec(&items)?)?;
    tar.document("repositories", &go_json::to_vec(&repositories)?)?;
    tar.finish()
}

fn layer_file(layer: &SavedLayer) -> String {
    format!("{}.tar", layer.diff_id.hex())
}

/// Members of a config that the top layer's legacy document repeats.
const CONFIG_MEMBERS: [&str; 7] =
    ["architecture", "config", "container", "container_config", "created", "docker_version", "os"];

/// The legacy ID and document of each layer. An ID is the hash of the document with the chain ID
/// in it, so that the same layers with the same config give the same IDs everywhere.
fn legacy_layers(image: &SavedImage) -> io::Result<Vec<(String, Vec<u8>)>> {
    let config: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&image.config)?;
    let null = serde_json::value::to_raw_value(&())?;
    let mut legacy: Vec<(String, Vec<u8>)> = Vec::new();
    let mut chain = String::new();
    for (index, layer) in image.layers.iter().enumerate() {
        let mut document: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
        if index + 1 == image.layers.len() {
            for key in CONFIG_MEMBERS {
                document.insert(key, config.get(key).unwrap_or(&null).clone());
            }
        }
        if let Some((parent, _)) = legacy.last() {
            document.insert("parent", serde_json::value::to_raw_value(parent)?);
        }
        chain = match legacy.is_empty() {
            true => layer.diff_id.to_string(),
            false => Digest::of(format!("{chain} {}", layer.diff_id).as_bytes()).to_string(),
        };
        document.insert("layer_id", serde_json::value::to_raw_value(&chain)?);
        let id = Digest::of(&go_json::to_vec(&document)?).hex().to_owned();
        document.remove("layer_id");
        document.insert("id", serde_json::value::to_raw_value(&id)?);
        legacy.push((id, go_json::to_vec(&document)?));
    }
    Ok(legacy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Manifest;

    /// An archive that Podman 6.0 wrote for this config and these layers had these legacy IDs.
    #[test]
    fn legacy_ids_are_podmans() {
        let config = r#"{"created":"2026-11-23T07:58:21.020595104Z","author":"Me","architecture":"amd64","os":"linux","config":{"User":"1:1","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","container=podman","FOO=bar"],"Cmd":["/bin/sh"],"WorkingDir":"/opt","Labels":{"a":"1","cl":"1"}},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let layer =
            |hex: &str| SavedLayer { diff_id: format!("sha256:{hex}").parse().unwrap(), size: 0 };
        let image = SavedImage {
            manifest: Manifest::parse(r#"{"schemaVersion":1}"#).unwrap(),
            config: config.into(),
            layers: vec![
                layer("1dc5668c295cedb466da02c7fd9d22c580ba66e9e1ec3b05f32a5239bcf4bc8d"),
                layer("f15f5897852b781d9788359bbd2e6e66c4280f04e2813c606b9f5f786ca74eb4"),
            ],
            names: Vec::new(),
        };
        let legacy = legacy_layers(&image).unwrap();
        let ids: Vec<_> = legacy.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "65f680003945f0b62050fe7f2aa8cd4710b2d53a60818ad0d0eb2ef226cf927b",
                "2782a7722195ea64074689eaf94f9462d1526c045408243c6b19767bc346231b"
            ]
        );
        assert_eq!(legacy[0].1.len(), 73);
        assert_eq!(legacy[1].1.len(), 459);
    }
}
