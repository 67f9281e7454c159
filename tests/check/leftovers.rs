//! What nobody has a record of, and what writers leave, dead or alive.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::json;

use crate::scene::{BAD, Fate, GOOD, Scene};
use crate::support::tree;

#[test]
fn a_layer_without_a_record() {
    let scene = Scene::new();
    let orphan = scene.add_orphan();
    scene.assert_repaired(&[], "orphans", &format!("overlay/{orphan}"), Fate::Saved);
}

#[test]
fn a_tar_split_without_a_record() {
    let scene = Scene::new();
    let name = format!("overlay-layers/{}.tar-split.gz", Scene::stranger());
    fs::write(scene.path(&name), "x").unwrap();
    scene.assert_repaired(&[], "orphans", &name, Fate::Saved);
}

#[test]
fn data_of_an_image_without_a_record() {
    let scene = Scene::new();
    let name = format!("overlay-images/{}", Scene::stranger());
    fs::create_dir(scene.path(&name)).unwrap();
    fs::write(scene.path(&name).join("manifest"), "{}").unwrap();
    scene.assert_repaired(&[], "orphans", &name, Fate::Saved);
}

#[test]
fn a_container_without_a_record() {
    let scene = Scene::new();
    scene.store.podman(["create", "--name", "kept", GOOD, "true"]);
    let name = format!("overlay-containers/{}", Scene::stranger());
    fs::create_dir_all(scene.path(&name).join("userdata")).unwrap();
    scene.run(&["check"]).assert_finding("orphans", &name);
    assert_eq!(scene.run(&["repair", "--apply"]).status, 0);
    assert!(!scene.path(&name).exists());
    assert_eq!(scene.run(&["check"]).status, 0);
    scene.store.podman(["container", "exists", "kept"]);
    scene.assert_good();
}

#[test]
fn a_link_that_leads_nowhere() {
    let scene = Scene::new();
    let name = "overlay/l/DANGLINGDANGLINGDANGLING22";
    symlink(format!("../{}/diff", Scene::stranger()), scene.path(name)).unwrap();
    scene.assert_repaired(&[], "links", name, Fate::Saved);
}

#[test]
fn a_second_link_to_a_layer() {
    let scene = Scene::new();
    let name = "overlay/l/SECONDSECONDSECONDSECOND22";
    symlink(format!("../{}/diff", scene.top(BAD)), scene.path(name)).unwrap();
    scene.assert_repaired(&[], "links", name, Fate::Saved);
}

#[test]
fn temporary_files() {
    let scene = Scene::new();
    for name in ["overlay-layers/.tmp-layers.json123", "overlay-images/.tmp-images.json9"] {
        fs::write(scene.path(name), "[").unwrap();
    }
    let name = format!("overlay-images/{}/.tmp-manifest77", scene.image(BAD));
    fs::write(scene.path(&name), "{").unwrap();
    scene.assert_repaired(&[], "temporaries", &name, Fate::Saved);
}

#[test]
fn staging_of_the_dead() {
    let scene = Scene::new();
    for area in ["overlay/tempdirs", "overlay-layers/tmp"] {
        fs::create_dir_all(scene.path(area).join("temp-dir-7/0-addition")).unwrap();
        fs::write(scene.path(area).join("lock-7"), "").unwrap();
    }
    fs::create_dir_all(scene.path("overlay/staging/123/dir")).unwrap();
    fs::write(scene.path("overlay/staging/123/staging.lock"), "").unwrap();
    let checked = scene.run(&["check"]);
    for name in
        ["overlay/tempdirs/temp-dir-7", "overlay-layers/tmp/temp-dir-7", "overlay/staging/123"]
    {
        checked.assert_finding("temporaries", name);
    }
    scene.assert_repaired(&[], "temporaries", "overlay/staging/123", Fate::Saved);
    assert!(!scene.path("overlay/staging/123").exists());
}

/// Their owner holds the locks, with the locks that Podman takes.
#[test]
fn staging_of_the_living_is_left_alone() {
    let scene = Scene::new();
    let mut held = Vec::new();
    for (directory, lock) in [
        ("overlay/tempdirs/temp-dir-7/0-addition", "overlay/tempdirs/lock-7"),
        ("overlay-layers/tmp/temp-dir-7", "overlay-layers/tmp/lock-7"),
        ("overlay/staging/123/dir", "overlay/staging/123/staging.lock"),
    ] {
        fs::create_dir_all(scene.path(directory)).unwrap();
        fs::write(scene.path(directory).join("file"), "content").unwrap();
        fs::write(scene.path(lock), "").unwrap();
        let file = File::options().read(true).write(true).open(scene.path(lock)).unwrap();
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        held.push(file);
    }
    // Staging without a lock, as of older tools, is somebody's while it is young.
    fs::create_dir_all(scene.path("overlay/staging/456/dir")).unwrap();
    let orphan = scene.add_orphan();
    // Reading the lock files would release the locks of this process.
    let before = tree::outline(&scene.store.root());
    let checked = scene.run(&["check"]);
    for finding in checked.findings() {
        assert!(finding["path"].as_str().unwrap().contains(&orphan), "{finding}");
    }
    tree::assert_same(&tree::outline(&scene.store.root()), &before);
    let done = scene.run(&["repair", "--apply"]);
    assert_eq!(done.status, 0, "{:#}", done.json);
    for left in [
        "overlay/tempdirs/temp-dir-7/0-addition/file",
        "overlay-layers/tmp/temp-dir-7/file",
        "overlay/staging/123/dir/file",
        "overlay/staging/456/dir",
    ] {
        assert!(scene.path(left).exists(), "{left} was removed");
    }
    assert!(!scene.path(&format!("overlay/{orphan}")).exists());
    drop(held);
}

/// An image is recorded after its layers, so time has to tell; and the layer is good.
#[test]
fn a_layer_that_nobody_needs() {
    let scene = Scene::new();
    let top = scene.top(BAD);
    let image = scene.image(BAD);
    scene.edit_images(|images| images.retain(|it| it["id"] != json!(image)));
    fs::remove_dir_all(scene.path(&format!("overlay-images/{image}"))).unwrap();
    assert_eq!(scene.run(&["check"]).status, 0, "it may be of a pull under way");
    let old = ["--grace", "0"];
    let checked = scene.run(&["check", "--grace", "0"]);
    assert_eq!(checked.status, 1);
    checked.assert_finding("used-layers", &top);
    assert_ne!(scene.independent(), Vec::<String>::new());
    let before = scene.tree();
    let kept = scene.run(&["repair", "--apply", old[0], old[1]]);
    assert_eq!((kept.status, &kept.json["actions"]), (1, &json!([])), "{:#}", kept.json);
    tree::assert_same(&scene.tree(), &before);
    let done = scene.run(&["repair", "--apply", "--unused-layers", old[0], old[1]]);
    assert_eq!(done.status, 0, "{:#}", done.json);
    assert!(!scene.path(&format!("overlay/{top}")).exists());
    scene.assert_good();
}
