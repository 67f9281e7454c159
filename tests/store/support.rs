//! A store in a temporary directory, images made from code, and other tools run on the store.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use imaged::image::{DiffId, Digest, ImageId};
use imaged::storage::{ImageDraft, StagedLayer, Store, StoreOptions};
use imaged::sys::Cancel;

/// A store of its own for each test.
pub(crate) struct Fixture {
    directory: PathBuf,
    _owned: Option<tempfile::TempDir>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let owned = tempfile::tempdir().unwrap();
        Self { directory: owned.path().to_owned(), _owned: Some(owned) }
    }

    /// The store of another process's fixture.
    pub(crate) fn at(directory: &str) -> Self {
        Self { directory: directory.into(), _owned: None }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions {
            graph_root: self.root(),
            run_root: self.directory.join("run"),
            ..StoreOptions::default()
        }
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.options(), &Cancel::new()).unwrap()
    }

    /// What Podman prints on this store.
    pub(crate) fn podman(&self, arguments: &[&str]) -> String {
        let run = self.directory.join("run");
        let tmp = self.directory.join("tmp");
        let mut command = Command::new("podman");
        command.args(["--storage-driver", "overlay", "--events-backend", "none"]);
        command.args(["--cgroup-manager", "cgroupfs"]);
        command.arg("--root").arg(self.root()).arg("--runroot").arg(run).arg("--tmpdir").arg(tmp);
        checked(command.args(arguments))
    }

    /// What the `containers-storage` command prints on this store.
    pub(crate) fn containers_storage(&self, arguments: &[&str]) -> String {
        let run = self.directory.join("run");
        let mut command = Command::new("containers-storage");
        command.args(["--storage-driver", "overlay"]);
        command.arg("--graph").arg(self.root()).arg("--run").arg(run);
        checked(command.args(arguments))
    }

    /// Paths below the root that are there when no image is, and no writer at work.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        let known = ["layers.json", "layers.lock", "images.json", "images.lock", "l", "tmp"];
        for area in
            ["overlay", "overlay-layers", "overlay-layers/tmp", "overlay-images", "overlay/l"]
        {
            let Ok(entries) = std::fs::read_dir(self.path(area)) else { continue };
            for entry in entries {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if !known.contains(&&*name) && name != ".has-mount-program" {
                    found.push(format!("{area}/{name}"));
                }
            }
        }
        found.sort();
        found
    }
}

/// What a tool prints. One that is not installed fails the test.
fn checked(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}\n{errors}");
    text
}

/// An entry of a layer: a directory ends in a slash, anything else is a file with this content.
pub(crate) fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_700_000_000);
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
        } else {
            header.set_mode(0o644);
        }
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn stage(store: &Store, tars: &[Vec<u8>]) -> Vec<StagedLayer> {
    tars.iter().map(|tar| store.stage(&tar[..], &Cancel::new()).unwrap()).collect()
}

pub(crate) fn diff_ids(tars: &[Vec<u8>]) -> Vec<DiffId> {
    tars.iter().map(|tar| DiffId::try_from(Digest::of(tar)).unwrap()).collect()
}

/// An OCI image of these layers. Different comments make different images.
pub(crate) fn draft(tars: &[Vec<u8>], comment: &str, names: &[&str]) -> ImageDraft {
    let ids = diff_ids(tars);
    let config = serde_json::json!({
        "created": "2024-02-03T04:05:06Z", "architecture": "amd64", "os": "linux",
        "config": {"Labels": {"comment": comment}},
        "rootfs": {"type": "layers", "diff_ids": ids},
        "history": ids.iter().map(|id| serde_json::json!({"created_by": id})).collect::<Vec<_>>(),
    });
    let config = Bytes::from(config.to_string());
    let config_digest = Digest::of(&config);
    let layers = tars.iter().map(|tar| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": Digest::of(tar), "size": tar.len()
        })
    });
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest, "size": config.len()
        },
        "layers": layers.collect::<Vec<_>>(),
    });
    let manifest = Bytes::from(manifest.to_string());
    let digest = Digest::of(&manifest);
    ImageDraft {
        id: ImageId::of_config(&config_digest).unwrap(),
        created: "2024-02-03T04:05:06Z".parse().unwrap(),
        digest: digest.clone(),
        diff_ids: ids,
        items: vec![
            (config_digest.to_string(), config),
            (format!("manifest-{digest}"), manifest.clone()),
            ("manifest".to_owned(), manifest),
        ],
        names: names.iter().map(ToString::to_string).collect(),
    }
}

/// Stages and commits one image.
pub(crate) fn add(store: &Store, tars: &[Vec<u8>], comment: &str, names: &[&str]) -> ImageId {
    let draft = draft(tars, comment, names);
    store.commit(stage(store, tars), vec![draft], &Cancel::new()).unwrap().remove(0)
}

/// The content of every layer of an image, base first, as it is given out.
pub(crate) fn contents(store: &Store, image: &ImageId) -> Vec<Vec<u8>> {
    let snapshot = store.snapshot(&Cancel::new()).unwrap();
    let top = snapshot.image(image).unwrap().record.layer.clone();
    let mut chain = top.map(|top| snapshot.chain(&top)).unwrap_or_default();
    chain.reverse();
    let content = |layer: &&imaged::storage::StoredLayer| {
        let mut tar = Vec::new();
        let id = &layer.record.id;
        let open = store.open_layer(&snapshot, id, &Cancel::new()).unwrap();
        open.copy_to(&mut tar, &Cancel::new()).unwrap();
        tar
    };
    chain.iter().map(content).collect()
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}
