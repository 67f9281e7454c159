//! Stores that cannot be looked at, and damage that is not repaired.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::scene::{BAD, Scene};
use crate::support::Store;
use crate::support::server::imaged_on;
use crate::support::tool::output;
use crate::support::tree;

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let store = Store::new();
    let root = store.path("other");
    for command in [&["check"][..], &["repair"], &["repair", "--apply"]] {
        let mut imaged = Command::new(env!("CARGO_BIN_EXE_imaged"));
        imaged.arg("--root").arg(&root).arg("--runroot").arg(store.runroot()).args(command);
        let output = output(&mut imaged);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("other"), "{said}");
        assert!(!root.exists());
    }
}

#[test]
fn records_that_cannot_be_read() {
    let scene = Scene::new();
    fs::write(scene.path("overlay-images/images.json"), "[{").unwrap();
    assert_ne!(scene.independent(), Vec::<String>::new());
    let before = scene.tree();
    for command in [&["check"][..], &["repair"], &["repair", "--apply"]] {
        let said = scene.run(command);
        assert_eq!(said.status, 1, "{:#}", said.json);
        said.assert_finding("records", "images.json");
        tree::assert_same(&scene.tree(), &before);
    }
}

/// A file that a power cut has left empty would make rubbish of everything.
#[test]
fn lost_records_cost_no_content() {
    for file in ["overlay-layers/layers.json", "overlay-images/images.json"] {
        let scene = Scene::new();
        fs::write(scene.path(file), "").unwrap();
        assert_ne!(scene.independent(), Vec::<String>::new(), "{file}");
        let before = scene.tree();
        let said = scene.run(&["repair", "--apply", "--grace", "0", "--unused-layers"]);
        assert_eq!(said.status, 1, "{:#}", said.json);
        assert_eq!(said.json["actions"], json!([]), "{:#}", said.json);
        assert!(said.json["kept"].to_string().contains(file), "{:#}", said.json);
        tree::assert_same(&scene.tree(), &before);
    }
}

/// Containers of a transient store have their records in the run root. Who does not look there
/// would take their layers for rubbish.
#[test]
fn containers_in_an_unexpected_place() {
    let scene = Scene::new();
    let directory = scene.store.runroot().join("overlay-containers");
    fs::create_dir_all(&directory).unwrap();
    let record = json!([{"id": Scene::stranger(), "image": "", "layer": Scene::stranger()}]);
    fs::write(directory.join("volatile-containers.json"), record.to_string()).unwrap();
    let before = scene.tree();
    for command in [&["check"][..], &["repair", "--apply"]] {
        let output = output(imaged_on(&scene.store).args(command));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("transient_store"), "{said}");
        tree::assert_same(&scene.tree(), &before);
    }
}

#[test]
fn the_text_names_what_is_wrong_and_what_can_be_done() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    fs::remove_file(scene.path(&format!("overlay-layers/{top}.tar-split.gz"))).unwrap();
    let text = |command: &[&str]| {
        let output = output(imaged_on(&scene.store).args(command));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let root = scene.store.root();
    let root = root.display();
    assert_eq!(
        text(&["check"]),
        format!(
            "{root}: 1 finding: 2 images, 3 layers, 0 containers; contents were not read \
             (--read-data)\n\
             error: layer {top}: its tar-split is missing: it cannot be exported, nor verified\n    \
             at overlay-layers/{top}.tar-split.gz\n    \
             repair: the layer is lost; it goes with the images that need it\n"
        )
    );
    let reason = "its tar-split is missing: it cannot be exported, nor verified";
    assert_eq!(
        text(&["repair"]),
        format!(
            "would remove image {} ({BAD})\n    because its layer {top} is lost: {reason}\n\
             would remove layer {top}\n    because {reason}\n\
             {root}: nothing was changed; --apply does what is said above\n",
            scene.image(BAD)
        )
    );
    let said: Value = scene.run(&["check"]).json;
    assert_eq!(said["findings"][0]["subject"], json!({"kind": "layer", "id": top}));
    assert_eq!(said["checked"], json!({"images": 2, "layers": 3, "containers": 0}));
}
