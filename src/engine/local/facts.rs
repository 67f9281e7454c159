//! What lists and lookups need to know of an image's manifest and config.
//!
//! Documents are read from disk; facts are their small extract that stays in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::failure;
use super::library::ImageData;
use crate::engine::{Error, ErrorKind, Result};
use crate::image::{Descriptor, DiffId, Digest, HistoryEntry, ImageConfig, Manifest, ManifestKind};
use crate::storage::StoredImage;
use crate::storage::record::ImageRecord;

/// The two documents of an image.
#[derive(Debug, Clone)]
pub(super) struct Documents {
    /// The manifest that was stored last.
    pub manifest: Manifest,
    /// The config; `None` for a manifest list.
    pub config: Option<ImageConfig>,
    /// The bytes of the config; empty for a manifest list.
    pub config_bytes: Bytes,
}

impl Documents {
    /// Reads and parses them. The config must have the digest by which the manifest names it.
    pub(super) fn read(image: &StoredImage, data: &dyn ImageData) -> Result<Self> {
        Self::with_manifest(image, data, ImageRecord::MANIFEST)
    }

    /// As [`read`](Self::read), with the manifest that is item `key`: an image can have several.
    pub(super) fn with_manifest(
        image: &StoredImage,
        data: &dyn ImageData,
        key: &str,
    ) -> Result<Self> {
        let manifest = read_item(image, data, key)?;
        let manifest = Manifest::parse(manifest)
            .map_err(|error| damaged(image, Error::from_source(ErrorKind::Storage, &error)))?;
        if manifest.kind().is_list() {
            return Ok(Self { manifest, config: None, config_bytes: Bytes::new() });
        }
        // Schema 1 manifests name no config; the tools make one up and store it under its digest.
        let key = match manifest.config() {
            Some(config) => config.digest.as_str(),
            None => image.record.config_key().ok_or_else(|| {
                damaged(image, Error::new(ErrorKind::Storage, "there is no config"))
            })?,
        };
        let config_bytes = read_item(image, data, key)?;
        let digest = Digest::of(&config_bytes);
        if digest.as_str() != key {
            let text = format!("config digest {digest} does not match expected {key}");
            return Err(damaged(image, Error::new(ErrorKind::Storage, text)));
        }
        let config = ImageConfig::parse(&config_bytes)
            .map_err(|error| damaged(image, Error::from_source(ErrorKind::Storage, &error)))?;
        Ok(Self { manifest, config: Some(config), config_bytes })
    }
}

fn read_item(image: &StoredImage, data: &dyn ImageData, key: &str) -> Result<Bytes> {
    data.read(image, key).map_err(|error| {
        failure::reading(&*error).context(format!(
            "locating item named {key:?} for image with ID {:?} \
             (consider removing the image to resolve the issue)",
            image.record.id.as_str()
        ))
    })
}

fn damaged(image: &StoredImage, error: Error) -> Error {
    error.context(format!(
        "image {:?} is damaged (consider removing the image to resolve the issue)",
        image.record.id.as_str()
    ))
}

/// What is remembered of an image's documents.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Kind of the current manifest.
    pub kind: ManifestKind,
    /// What a manifest list lists.
    pub instances: Vec<Descriptor>,
    /// Facts of the config; `None` for a manifest list.
    pub config: Option<ConfigFacts>,
}

/// What is remembered of a config.
#[derive(Debug, Clone)]
pub(super) struct ConfigFacts {
    /// Labels, if there are any.
    pub labels: Option<BTreeMap<String, String>>,
    /// Go architecture name.
    pub architecture: String,
    /// Go operating system name.
    pub os: String,
    /// Diff IDs, base first.
    pub diff_ids: DiffIds,
    /// The whole history.
    pub history: HistoryKey,
    /// The history without its last entry; `None` if there is no entry.
    pub history_before: Option<HistoryKey>,
}

/// Diff IDs as numbers, side by side: relations compare those of all images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DiffIds(Box<[[u8; 32]]>);

impl DiffIds {
    fn of(diff_ids: &[DiffId]) -> Self {
        let number = |diff_id: &DiffId| {
            let mut number = [0; 32];
            for (byte, digits) in number.iter_mut().zip(diff_id.hex().as_bytes().chunks(2)) {
                // A diff ID has 64 hexadecimal digits in lower case.
                *byte = digits.iter().fold(0, |byte, digit| match digit {
                    b'a'..=b'f' => byte << 4 | (digit - b'a' + 10),
                    _ => byte << 4 | (digit & 15),
                });
            }
            number
        };
        Self(diff_ids.iter().map(number).collect())
    }

    /// Whether the first of these are `others`.
    pub(super) fn starts_with(&self, others: &Self) -> bool {
        self.0.starts_with(&others.0)
    }
}

/// Stands for a list of history entries: equal keys, equal entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HistoryKey([u8; 32]);

impl Facts {
    /// The facts in `documents`.
    pub(super) fn of(documents: &Documents) -> Self {
        Self {
            kind: documents.manifest.kind(),
            instances: documents.manifest.instances().to_vec(),
            config: documents.config.as_ref().map(ConfigFacts::of),
        }
    }
}

impl ConfigFacts {
    fn of(config: &ImageConfig) -> Self {
        let (history, history_before) = history_keys(config.history());
        let platform = config.platform();
        Self {
            labels: config.labels().cloned(),
            architecture: platform.architecture,
            os: platform.os,
            diff_ids: DiffIds::of(config.diff_ids()),
            history,
            history_before,
        }
    }
}

fn history_keys(entries: &[HistoryEntry]) -> (HistoryKey, Option<HistoryKey>) {
    let mut hasher = Sha256::new();
    let mut before = None;
    for entry in entries {
        before = Some(HistoryKey(hasher.clone().finalize().into()));
        // Times are compared as instants: the same one can be written in several ways.
        let created = match entry.created_at() {
            Some(time) => time.as_nanosecond().to_string(),
            None => entry.created.clone().unwrap_or_default(),
        };
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        for field in [created, text(&entry.created_by), text(&entry.author), text(&entry.comment)] {
            hasher.update(field.len().to_le_bytes());
            hasher.update(field);
        }
        hasher.update([u8::from(entry.is_empty_layer())]);
    }
    (HistoryKey(hasher.finalize().into()), before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(created: &str, by: &str) -> HistoryEntry {
        HistoryEntry {
            created: Some(created.into()),
            created_by: Some(by.into()),
            ..HistoryEntry::default()
        }
    }

    #[test]
    fn diff_ids_are_told_apart() {
        let ids = |texts: &[&str]| {
            let parse = |text: &&str| format!("sha256:{}{text}", "0".repeat(62)).parse().unwrap();
            DiffIds::of(&texts.iter().map(parse).collect::<Vec<_>>())
        };
        assert_eq!(
            ids(&["1a", "f9"]).0[..],
            [[0x1a; 1], [0xf9; 1]].map(|[last]| {
                let mut number = [0; 32];
                number[31] = last;
                number
            })
        );
        assert!(ids(&["1a", "f9"]).starts_with(&ids(&["1a"])));
        assert!(ids(&["1a"]).starts_with(&ids(&[])));
        assert!(!ids(&["1a", "f9"]).starts_with(&ids(&["f9"])));
        assert!(!ids(&["1a"]).starts_with(&ids(&["1a", "f9"])));
    }

    #[test]
    fn history_keys_stand_for_their_entries() {
        let first = entry("2024-01-01T00:00:00Z", "a");
        let same = entry("2024-01-01T01:00:00.000+01:00", "a");
        let second = entry("2024-01-01T00:00:01Z", "b");
        let (one, before_one) = history_keys(std::slice::from_ref(&first));
        let (two, before_two) = history_keys(&[same, second.clone()]);
        let (none, before_none) = history_keys(&[]);
        assert_eq!((before_one, before_two, before_none), (Some(none), Some(one), None));
        assert_ne!(one, two);
        let moved = HistoryEntry { author: Some("a".into()), created_by: None, ..first };
        assert_ne!(history_keys(&[moved]).0, one);
        let empty =
            HistoryEntry { empty_layer: Some(false), comment: Some(String::new()), ..second };
        assert_eq!(history_keys(&[entry("2024-01-01T00:00:01Z", "b")]), history_keys(&[empty]));
    }
}
