//! Layers that name what the layers below them have.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::builder::{Item, dir, file, hard_link, symlink, tar};
use crate::scene::{GOOD, Scene, Way, good_layer};
use crate::support::Layer;
use crate::support::check::assert_sound;
use crate::support::tree;

const WAYS: [Way; 3] = [Way::Docker, Way::Oci, Way::Pull];

/// The directory of the good image's layer.
fn lower(scene: &Scene) -> PathBuf {
    let top = &scene.store.inspect(GOOD)["GraphDriver"]["Data"]["UpperDir"];
    PathBuf::from(top.as_str().unwrap())
}

fn stacked(items: impl IntoIterator<Item = Item>) -> [Layer; 2] {
    [good_layer(), Layer { tar: tar(items) }]
}

#[test]
fn a_layer_changes_nothing_in_the_one_below() {
    let scene = Scene::new();
    let lower = lower(&scene);
    let before = tree::list(&lower);
    let links = fs::metadata(lower.join("etc/shadow")).unwrap().nlink();
    for way in WAYS {
        let layers = stacked([
            file("etc/passwd", "mine").mode(0o4777),
            file("etc/.wh.shadow", ""),
            dir("bin").mode(0o777).owner(9, 9),
            file("bin/.wh..wh..opq", ""),
        ]);
        scene.send(way, &layers).expect(200);
        tree::assert_same(&tree::list(&lower), &before);
        assert_eq!(fs::metadata(lower.join("etc/shadow")).unwrap().nlink(), links);
        assert_sound(&scene.store);
        scene.removes_all_but_the_good();
    }
    scene.assert_untouched();
}

#[test]
fn a_hard_link_to_a_file_of_the_layer_below_is_refused() {
    let scene = Scene::new();
    let lower = lower(&scene);
    let shadow = lower.join("etc/shadow");
    let in_store = shadow.strip_prefix(scene.store.root()).unwrap();
    let beside = Path::new("../../..").join(in_store);
    for target in [Path::new("etc/shadow"), &shadow, &beside] {
        let target = target.to_str().unwrap();
        for way in WAYS {
            let layers = stacked([hard_link("h", "").pax("linkpath", target)]);
            let answer = scene.send(way, &layers);
            scene.assert_refused(&format!("{target} {way:?}"), &answer, 500, "");
        }
    }
}

#[test]
fn a_link_to_another_layer_of_the_store_leads_nowhere() {
    let scene = Scene::new();
    let lower = lower(&scene);
    let before = tree::list(&lower);
    for way in WAYS {
        let link = symlink("l", "").pax("linkpath", lower.to_str().unwrap());
        let answer = scene.send(way, &stacked([link, file("l/etc/passwd", "mine")]));
        scene.assert_refused(&format!("{way:?}"), &answer, 500, "\"l\"");
    }
    tree::assert_same(&tree::list(&lower), &before);
}
