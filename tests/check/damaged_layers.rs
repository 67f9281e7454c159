//! Layers that are damaged.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::scene::{BAD, Fate, GOOD, Scene};

#[test]
fn a_missing_directory() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    fs::remove_dir_all(scene.path(&format!("overlay/{top}"))).unwrap();
    scene.assert_repaired(&[], "directories", &top, Fate::Removed);
}

#[test]
fn a_missing_content_directory() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    fs::remove_dir_all(scene.path(&format!("overlay/{top}/diff"))).unwrap();
    scene.assert_repaired(&[], "directories", &top, Fate::Removed);
}

#[test]
fn a_missing_tar_split() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    fs::remove_file(scene.path(&format!("overlay-layers/{top}.tar-split.gz"))).unwrap();
    scene.assert_repaired(&[], "tar-splits", &top, Fate::Removed);
}

#[test]
fn a_torn_tar_split() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    let path = scene.path(&format!("overlay-layers/{top}.tar-split.gz"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    scene.assert_repaired(&["--read-data"], "content", &top, Fate::Removed);
}

#[test]
fn changed_content() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    fs::write(scene.path(&format!("overlay/{top}/diff/etc/bad")), "bAd").unwrap();
    // The size is the same, so one has to read.
    assert_eq!(scene.run(&["check"]).status, 0);
    scene.assert_repaired(&["--read-data"], "content", &top, Fate::Removed);
}

#[test]
fn a_file_that_is_gone() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    fs::remove_file(scene.path(&format!("overlay/{top}/diff/opt/data"))).unwrap();
    scene.assert_repaired(&["--read-data"], "content", &top, Fate::Removed);
}

#[test]
fn a_wrong_size_in_the_record() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    scene.edit_layers(|layers| layer(layers, &top)["diff-size"] = json!(7));
    scene.assert_repaired(&["--read-data"], "content", &top, Fate::Removed);
}

#[test]
fn a_missing_link_is_made_again() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    let link = scene.link_of(&top);
    fs::remove_file(scene.path(&format!("overlay/l/{link}"))).unwrap();
    scene.assert_repaired(&[], "links", &top, Fate::Saved);
    assert_eq!(scene.link_of(&top), link);
}

#[test]
fn a_link_that_leads_elsewhere_is_made_again() {
    let scene = Scene::new();
    let (top, base) = (scene.top(BAD), scene.base());
    let link = scene.path(&format!("overlay/l/{}", scene.link_of(&top)));
    fs::remove_file(&link).unwrap();
    symlink(format!("../{base}/diff"), &link).unwrap();
    scene.assert_repaired(&[], "links", &top, Fate::Saved);
}

#[test]
fn a_missing_link_file_is_written_again() {
    let scene = Scene::new();
    // Layers on top know it by this name.
    let base = scene.base();
    let link = scene.link_of(&base);
    fs::remove_file(scene.path(&format!("overlay/{base}/link"))).unwrap();
    scene.assert_repaired(&[], "links", &base, Fate::Saved);
    assert_eq!(scene.link_of(&base), link);
}

#[test]
fn a_missing_link_with_its_file_gets_the_name_that_layers_on_top_use() {
    let scene = Scene::new();
    let base = scene.base();
    let link = scene.link_of(&base);
    fs::remove_file(scene.path(&format!("overlay/{base}/link"))).unwrap();
    fs::remove_file(scene.path(&format!("overlay/l/{link}"))).unwrap();
    scene.assert_repaired(&[], "links", &base, Fate::Saved);
    assert_eq!(scene.link_of(&base), link);
}

#[test]
fn a_missing_lower_file_is_written_again() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    let file = scene.path(&format!("overlay/{top}/lower"));
    let before = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    scene.assert_repaired(&[], "lowers", &top, Fate::Saved);
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_lower_file_that_names_nothing_is_written_again() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    let file = scene.path(&format!("overlay/{top}/lower"));
    fs::write(&file, "l/ABCDEFGHABCDEFGHABCDEFGH22").unwrap();
    scene.assert_repaired(&[], "lowers", &top, Fate::Saved);
}

#[test]
fn a_wrong_list_of_lower_layers_is_written_again() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    fs::write(scene.path(&format!("overlay/{top}/lower-layers")), Scene::stranger()).unwrap();
    scene.assert_repaired(&[], "lowers", &top, Fate::Saved);
}

#[test]
fn missing_directories_for_mounts_are_made_again() {
    let scene = Scene::new();
    let (top, base) = (scene.top(BAD), scene.base());
    fs::remove_dir_all(scene.path(&format!("overlay/{top}/work"))).unwrap();
    fs::remove_dir_all(scene.path(&format!("overlay/{base}/empty"))).unwrap();
    scene.assert_repaired(&[], "directories", &top, Fate::Saved);
}

#[test]
fn a_parent_without_a_record() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    scene.edit_layers(|layers| layer(layers, &top)["parent"] = json!(Scene::stranger()));
    scene.assert_repaired(&[], "parents", &Scene::stranger(), Fate::Removed);
}

#[test]
fn an_incomplete_layer() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    scene.edit_layers(|layers| layer(layers, &top)["flags"] = json!({"incomplete": true}));
    scene.assert_repaired(&[], "complete-layers", &top, Fate::Removed);
}

/// As a tool leaves it that dies between the two writes of the records: newer ones have moved the
/// directory by then, which has a lock that is free.
#[test]
fn a_half_deleted_layer() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    scene.edit_images(|images| images.retain(|image| image["layer"] != json!(top)));
    let image = scene.path("overlay-images");
    let good = scene.image(GOOD);
    for entry in fs::read_dir(image).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() && entry.file_name().to_str() != Some(&good) {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    scene.edit_layers(|layers| layer(layers, &top)["flags"] = json!({"incomplete": true}));
    fs::remove_file(scene.path(&format!("overlay/l/{}", scene.link_of(&top)))).unwrap();
    let temporary = scene.path("overlay/tempdirs");
    fs::create_dir_all(temporary.join("temp-dir-42")).unwrap();
    fs::write(temporary.join("lock-42"), "").unwrap();
    let layer = scene.path(&format!("overlay/{top}"));
    fs::rename(layer, temporary.join(format!("temp-dir-42/0-{top}"))).unwrap();

    assert_ne!(scene.independent(), Vec::<String>::new());
    let checked = scene.run(&["check"]);
    checked.assert_finding("complete-layers", &top);
    checked.assert_finding("temporaries", "overlay/tempdirs/temp-dir-42");
    let before = scene.tree();
    assert_eq!(scene.run(&["repair"]).status, 1);
    crate::support::tree::assert_same(&scene.tree(), &before);
    let done = scene.run(&["repair", "--apply"]);
    assert_eq!(done.status, 0, "{:#}", done.json);
    scene.assert_good();
}

/// The base of both images: both are lost, and a layer that no image needs goes as well.
#[test]
fn a_damaged_base_takes_what_is_built_on_it() {
    let scene = Scene::new();
    let base = scene.base();
    fs::remove_dir_all(scene.path(&format!("overlay/{base}"))).unwrap();
    let checked = scene.run(&["check"]);
    checked.assert_finding("directories", &base);
    assert_ne!(scene.independent(), Vec::<String>::new());
    let done = scene.run(&["repair", "--apply"]);
    assert_eq!(done.status, 0, "{:#}", done.json);
    crate::support::check::assert_sound(&scene.store);
    assert_eq!(scene.store.image_ids(), Vec::<String>::new());
    assert_eq!(scene.store.records("overlay-layers/layers.json"), Vec::<Value>::new());
}

/// Containers are for their own tools to remove, and what they are built on stays.
#[test]
fn a_damaged_layer_below_a_container_stays() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    let container = scene.store.podman(["create", BAD, "true"]);
    fs::remove_file(scene.path(&format!("overlay-layers/{top}.tar-split.gz"))).unwrap();
    assert_ne!(scene.independent(), Vec::<String>::new());
    scene.run(&["check"]).assert_finding("tar-splits", &top);
    let before = scene.tree();
    let done = scene.run(&["repair", "--apply"]);
    assert_eq!(done.status, 1, "{:#}", done.json);
    assert_eq!(done.json["actions"], json!([]), "{:#}", done.json);
    assert!(done.json["kept"].to_string().contains(&container), "{:#}", done.json);
    crate::support::tree::assert_same(&scene.tree(), &before);
    // When the container is gone, it is as with any other image.
    scene.store.podman(["rm", &container]);
    scene.assert_repaired(&[], "tar-splits", &top, Fate::Removed);
}

/// A layer that was damaged when it was read, and pulled again since, is a good one.
#[test]
fn a_layer_that_was_made_anew_is_not_removed() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    fs::write(scene.path(&format!("overlay/{top}/diff/etc/bad")), "bAd").unwrap();
    scene.run(&["check", "--read-data"]).assert_finding("content", &top);
    scene.store.podman(["rmi", BAD]);
    let archive = scene.store.path("scene.tar");
    scene.store.podman(["load", "-q", "-i", archive.to_str().unwrap()]);
    let done = scene.run(&["repair", "--apply", "--read-data"]);
    assert_eq!((done.status, &done.json["actions"]), (0, &json!([])), "{:#}", done.json);
    assert_eq!(scene.top(BAD), top);
    scene.assert_good();
}

fn layer<'a>(layers: &'a mut [Value], id: &str) -> &'a mut Value {
    layers.iter_mut().find(|layer| layer["id"] == json!(id)).unwrap()
}
