//! A store with two images on one base layer, and the program run on it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::check::{assert_sound, check};
use crate::support::server::imaged_on;
use crate::support::tool::{describe, output, run};
use crate::support::tree::{self, Tree};
use crate::support::{DockerArchive, Layer, Store};

pub(crate) const GOOD: &str = "localhost/good:1";
pub(crate) const BAD: &str = "localhost/bad:1";
const LAYERS: &str = "overlay-layers/layers.json";
const IMAGES: &str = "overlay-images/images.json";

/// The store, made by Podman.
pub(crate) struct Scene {
    pub(crate) store: Store,
    /// Diff IDs of the good image.
    diff_ids: Vec<String>,
}

/// What the program said.
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) json: Value,
}

/// What becomes of the image that was damaged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Removed,
    Saved,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let store = Store::new();
        let base = Layer::files(&[("etc/base", b"base"), ("usr/lib/x", &[7; 9000])]);
        let good = Layer::files(&[("etc/good", b"good")]);
        let bad = Layer::files(&[("etc/bad", b"bad"), ("opt/data", &[3; 5000])]);
        let archive = DockerArchive::new(&[GOOD], &[base.clone(), good]).and(&[BAD], &[base, bad]);
        let file = store.path("scene.tar");
        fs::write(&file, archive.build()).unwrap();
        store.podman(["load", "-q", "-i", file.to_str().unwrap()]);
        let diff_ids = store.diff_ids(GOOD);
        let scene = Self { store, diff_ids };
        assert_eq!(scene.independent(), Vec::<String>::new());
        let said = scene.run(&["check", "--read-data"]);
        assert_eq!((said.status, &said.json["sound"]), (0, &json!(true)), "{}", said.json);
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.store.root().join(name)
    }

    /// ID of an image.
    pub(crate) fn image(&self, name: &str) -> String {
        self.image_record(name)["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn image_record(&self, name: &str) -> Value {
        let images = self.store.records(IMAGES);
        images.into_iter().find(|image| image["names"] == json!([name])).unwrap()
    }

    /// ID of the top layer of an image.
    pub(crate) fn top(&self, name: &str) -> String {
        self.image_record(name)["layer"].as_str().unwrap().to_owned()
    }

    /// ID of the layer that both images are built on.
    pub(crate) fn base(&self) -> String {
        let top = self.top(GOOD);
        let layers = self.store.records(LAYERS);
        let layer = layers.iter().find(|layer| layer["id"] == json!(top)).unwrap();
        layer["parent"].as_str().unwrap().to_owned()
    }

    pub(crate) fn link_of(&self, layer: &str) -> String {
        fs::read_to_string(self.path(&format!("overlay/{layer}/link"))).unwrap()
    }

    /// Changes the records of layers.
    pub(crate) fn edit_layers(&self, edit: impl FnOnce(&mut Vec<Value>)) {
        self.edit(LAYERS, edit);
    }

    /// Changes the records of images.
    pub(crate) fn edit_images(&self, edit: impl FnOnce(&mut Vec<Value>)) {
        self.edit(IMAGES, edit);
    }

    fn edit(&self, file: &str, edit: impl FnOnce(&mut Vec<Value>)) {
        let mut records = self.store.records(file);
        edit(&mut records);
        fs::write(self.path(file), Value::from(records).to_string()).unwrap();
    }

    /// An ID that nothing has.
    pub(crate) fn stranger() -> String {
        "5".repeat(64)
    }

    /// A directory of a layer without a record, as complete as a layer can be.
    pub(crate) fn add_orphan(&self) -> String {
        let id = Self::stranger();
        let directory = self.path(&format!("overlay/{id}"));
        fs::create_dir_all(directory.join("diff/etc")).unwrap();
        fs::create_dir(directory.join("work")).unwrap();
        fs::write(directory.join("diff/etc/file"), "content").unwrap();
        fs::write(directory.join("link"), "ORPHANORPHANORPHANORPHAN22").unwrap();
        let link = self.path("overlay/l/ORPHANORPHANORPHANORPHAN22");
        symlink(format!("../{id}/diff"), link).unwrap();
        fs::write(self.path(&format!("overlay-layers/{id}.tar-split.gz")), "x").unwrap();
        id
    }

    /// What the suite's own checker says.
    pub(crate) fn independent(&self) -> Vec<String> {
        check(&self.store.root(), &self.store.runroot())
    }

    /// Runs the program with `--json`.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let mut command = imaged_on(&self.store);
        command.args(arguments).arg("--json");
        let output = output(&mut command);
        let status = output.status.code().unwrap();
        assert!(status != 2, "{}", describe(&command, &output));
        Said { status, json: serde_json::from_slice(&output.stdout).unwrap() }
    }

    /// Everything in the store with contents and times.
    pub(crate) fn tree(&self) -> Tree {
        tree::list(&self.store.root())
    }

    /// The damage is found by this rule and by the other checker; a dry run changes nothing and says
    /// what it would do; then it is done, and what is left is sound for everybody.
    #[track_caller]
    pub(crate) fn assert_repaired(&self, flags: &[&str], rule: &str, about: &str, fate: Fate) {
        assert_ne!(self.independent(), Vec::<String>::new(), "the other checker finds nothing");
        let before = self.tree();
        let checked = self.run(&[&["check"], flags].concat());
        assert_eq!(checked.status, 1, "{}", checked.json);
        checked.assert_finding(rule, about);
        let dry = self.run(&[&["repair"], flags].concat());
        assert_eq!(dry.status, 1, "{}", dry.json);
        let actions = dry.json["actions"].as_array().unwrap().clone();
        assert!(!actions.is_empty(), "{}", dry.json);
        tree::assert_same(&self.tree(), &before);

        let bad = self.image(BAD);
        let done = self.run(&[&["repair", "--apply"], flags].concat());
        assert_eq!((done.status, &done.json["failed"]), (0, &json!([])), "{}", done.json);
        for action in &actions {
            let mut done_actions = done.json["actions"].as_array().unwrap().iter();
            let same = done_actions.any(|it| it["what"] == action["what"]);
            assert!(same, "{action} was announced and not done: {}", done.json);
        }
        self.assert_good();
        let saved = self.store.image_ids().contains(&bad);
        assert_eq!(saved, fate == Fate::Saved, "{}", done.json);
        let again = self.run(&["check", "--read-data"]);
        assert_eq!(again.status, 0, "{}", again.json);
    }

    /// The store is sound in the eyes of all tools, and the good image can be exported.
    #[track_caller]
    pub(crate) fn assert_good(&self) {
        assert_sound(&self.store);
        assert_eq!(self.store.diff_ids(GOOD), self.diff_ids);
        let archive = self.store.path("exported.tar");
        self.store.podman(["save", "-q", "-o", archive.to_str().unwrap(), GOOD]);
        let again = Store::new();
        run(&mut again.podman_command(["load", "-q", "-i", archive.to_str().unwrap()]));
        assert_eq!(again.diff_ids(GOOD), self.diff_ids);
        fs::remove_file(archive).unwrap();
    }
}

impl Said {
    pub(crate) fn findings(&self) -> Vec<Value> {
        self.json["findings"].as_array().unwrap().clone()
    }

    /// There is a finding of this rule that names this.
    #[track_caller]
    pub(crate) fn assert_finding(&self, rule: &str, about: &str) {
        let is_it = |it: &Value| it["rule"] == rule && it.to_string().contains(about);
        let found = self.findings().iter().any(is_it);
        assert!(found, "nothing of {rule} about {about}: {:#}", self.json);
    }
}
