//! Images whose documents or records are damaged.

use std::fs;

use serde_json::json;

use crate::scene::{BAD, Fate, GOOD, Scene};
use crate::support::tree;

/// The file of a data item whose key begins like this.
fn item(scene: &Scene, prefix: &str) -> (String, std::path::PathBuf) {
    use base64::Engine as _;
    let record = scene.image_record(BAD);
    let keys = record["big-data-names"].as_array().unwrap();
    let mut keys = keys.iter().map(|key| key.as_str().unwrap());
    let key = keys.find(|key| key.starts_with(prefix)).unwrap().to_owned();
    let plain = key.bytes().all(|byte| matches!(byte, b'.' | b'0'..=b'9' | b'a'..=b'z'));
    let encoded = format!("={}", base64::engine::general_purpose::STANDARD.encode(&key));
    let file = if plain { &key } else { &encoded };
    let path = scene.path(&format!("overlay-images/{}/{file}", scene.image(BAD)));
    (key, path)
}

#[test]
fn a_missing_config() {
    let scene = Scene::new();
    let (key, path) = item(&scene, "sha256:");
    fs::remove_file(path).unwrap();
    scene.assert_repaired(&[], "items", &key, Fate::Removed);
}

#[test]
fn a_config_of_the_wrong_length() {
    let scene = Scene::new();
    let (key, path) = item(&scene, "sha256:");
    fs::write(path, "{}").unwrap();
    scene.assert_repaired(&[], "items", &key, Fate::Removed);
}

#[test]
fn a_config_with_the_wrong_digest() {
    let scene = Scene::new();
    let (key, path) = item(&scene, "sha256:");
    let text = fs::read_to_string(&path).unwrap().replace("linux", "Linux");
    fs::write(path, text).unwrap();
    assert_eq!(scene.run(&["check"]).status, 0, "only reading tells");
    scene.assert_repaired(&["--read-data"], "items", &key, Fate::Removed);
}

#[test]
fn a_missing_manifest_is_restored_from_its_twin() {
    let scene = Scene::new();
    let (_, path) = item(&scene, "manifest");
    let (_, twin) = item(&scene, "manifest-sha256:");
    let manifest = scene.path(&format!("overlay-images/{}/manifest", scene.image(BAD)));
    assert!(path == manifest || path == twin);
    fs::remove_file(&manifest).unwrap();
    scene.assert_repaired(&[], "items", "manifest", Fate::Saved);
    assert_eq!(fs::read(manifest).unwrap(), fs::read(twin).unwrap());
}

#[test]
fn a_manifest_without_a_twin() {
    let scene = Scene::new();
    let (_, twin) = item(&scene, "manifest-sha256:");
    let manifest = scene.path(&format!("overlay-images/{}/manifest", scene.image(BAD)));
    fs::remove_file(manifest).unwrap();
    fs::remove_file(twin).unwrap();
    scene.assert_repaired(&[], "items", "manifest", Fate::Removed);
}

#[test]
fn an_image_whose_layer_has_no_record() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    scene.edit_layers(|layers| layers.retain(|layer| layer["id"] != json!(top)));
    scene.assert_repaired(&[], "image-layers", &top, Fate::Removed);
    assert!(!scene.path(&format!("overlay/{top}")).exists());
}

#[test]
fn a_missing_copy_for_other_users_is_forgotten() {
    let scene = Scene::new();
    let bad = scene.image(BAD);
    scene.edit_images(|images| {
        let image = images.iter_mut().find(|image| image["id"] == json!(bad)).unwrap();
        image["mapped-layers"] = json!([Scene::stranger()]);
    });
    let checked = scene.run(&["check"]);
    assert_eq!(checked.status, 1);
    checked.assert_finding("image-layers", &Scene::stranger());
    let done = scene.run(&["repair", "--apply"]);
    assert_eq!(done.status, 0, "{:#}", done.json);
    assert!(scene.store.image_ids().contains(&bad));
    scene.assert_good();
}

#[test]
fn a_name_that_two_images_have() {
    let scene = Scene::new();
    scene.edit_images(|images| images.iter_mut().for_each(|it| it["names"] = json!([GOOD])));
    assert_ne!(scene.independent(), Vec::<String>::new());
    let checked = scene.run(&["check"]);
    assert_eq!(checked.status, 1);
    checked.assert_finding("unique-names", GOOD);
    let before = scene.tree();
    assert_eq!(scene.run(&["repair"]).status, 1);
    tree::assert_same(&scene.tree(), &before);
    let done = scene.run(&["repair", "--apply"]);
    assert_eq!(done.status, 0, "{:#}", done.json);
    assert_eq!(scene.independent(), Vec::<String>::new());
    assert_eq!(scene.store.image_ids().len(), 2, "no image is lost by it");
    crate::support::check::assert_sound(&scene.store);
}

#[test]
fn a_record_that_is_there_twice_is_for_people() {
    let scene = Scene::new();
    let id = scene.image(BAD);
    scene.edit_images(|images| {
        let mut record = images.iter().find(|it| it["id"] == json!(id)).unwrap().clone();
        record["names"] = json!([]);
        images.push(record);
    });
    assert_ne!(scene.independent(), Vec::<String>::new());
    scene.run(&["check"]).assert_finding("unique-ids", &id);
    let before = scene.tree();
    let done = scene.run(&["repair", "--apply"]);
    assert_eq!((done.status, &done.json["actions"]), (1, &json!([])), "{:#}", done.json);
    tree::assert_same(&scene.tree(), &before);
}
