//! Names and links that lead out of the layer.

use std::fs;

use crate::builder::{Item, dir, file, hard_link, symlink, tar};
use crate::scene::Scene;

/// What leads from a layer's root to the root of the file system, and further.
const UP: &str = "../../../../../../../../../../..";

#[test]
fn a_name_with_dots_does_not_leave_the_layer() {
    let scene = Scene::new();
    let out = format!("{UP}{}", scene.canary.path("new"));
    for name in [&out[..], "../escaped", "a/../../escaped", "..", "/..", "a/.."] {
        let layer = tar([dir("a"), file("x", "").pax("path", name)]);
        scene.refuses(name, &layer, 500, &format!("invalid name {name:?} in layer"));
    }
}

#[test]
fn an_absolute_name_is_one_below_the_root_of_the_layer() {
    let scene = Scene::new();
    let name = scene.canary.path("secret");
    let layer = tar([file("x", "mine").pax("path", &name)]);
    scene.defuses("an absolute name", &layer, |diff| {
        assert_eq!(fs::read(diff.join(&name[1..])).unwrap(), b"mine");
    });
}

#[test]
fn a_file_is_not_written_through_a_symbolic_link() {
    let scene = Scene::new();
    let canary = scene.canary.path("");
    let canary = canary.trim_end_matches('/');
    for target in [canary.to_owned(), format!("{UP}{canary}"), format!("/proc/self/root{canary}")] {
        let link = || symlink("l", "").pax("linkpath", &target);
        for name in ["l/secret", "l/new", "l/directory/new", "l/directory/inner"] {
            let layer = tar([link(), file(name, "overwritten")]);
            scene.refuses(&format!("{name} behind {target}"), &layer, 500, "\"l\"");
        }
    }
}

#[test]
fn a_file_is_not_written_through_a_link_to_a_link() {
    let scene = Scene::new();
    let secret = scene.canary.path("secret");
    let canary = scene.canary.path("directory");
    let link = |name: &str, to: &str| symlink(name, "").pax("linkpath", to);
    let cases = [
        ("a chain", tar([link("a", &canary), symlink("b", "a"), file("b/new", "x")])),
        ("a hard link to one", tar([link("a", &canary), hard_link("b", "a"), file("b/new", "x")])),
        ("the link itself", tar([link("a", &secret), file("a/b", "x")])),
        ("a loop", tar([symlink("a", "b"), symlink("b", "a"), file("a/new", "x")])),
    ];
    for (what, layer) in cases {
        scene.refuses(what, &layer, 500, "");
    }
}

#[test]
fn a_directory_that_becomes_a_link_is_not_followed() {
    let scene = Scene::new();
    let link = |name: &str| symlink(name, "").pax("linkpath", scene.canary.path("directory"));
    // What is implied by a name may be replaced, and has been opened already.
    let swapped = tar([file("d/e/f", "1"), link("d"), file("d/inner", "2")]);
    scene.refuses("a parent", &swapped, 500, "\"d\"");
    let swapped = tar([file("d/e/f", "1"), link("d/e"), file("d/e/new", "2")]);
    scene.refuses("a parent of a parent", &swapped, 500, "\"d/e\"");
    let twice = tar([dir("d"), link("d"), file("d/new", "2")]);
    scene.refuses("an entry", &twice, 500, "duplicates of file paths not supported");
}

#[test]
fn a_file_whose_content_another_entry_takes_away_is_missed() {
    let scene = Scene::new();
    let lost = tar([file("d/e/f", "1"), symlink("d/e", "x")]);
    scene.refuses("with its directory", &lost, 500, "file \"d/e/f\" is missing");
    let behind =
        |content: &str| tar([dir("d"), file("d/f", "1"), symlink("l", "d"), file("l/f", content)]);
    scene.refuses("behind a link", &behind("2"), 500, "file \"d/f\" of the layer's tree");
    scene.defuses("behind a link, by the same", &behind("1"), |diff| {
        assert_eq!(fs::read(diff.join("d/f")).unwrap(), b"1");
    });
}

#[test]
fn a_hard_link_to_a_file_outside_is_refused() {
    let scene = Scene::new();
    let secret = scene.canary.path("secret");
    let link = |to: &str| hard_link("h", "").pax("linkpath", to);
    let below_links = symlink("l", "").pax("linkpath", scene.canary.path(""));
    scene.refuses("absolute", &tar([link(&secret)]), 500, "No such file or directory");
    let up = format!("{UP}{secret}");
    scene.refuses("upwards", &tar([link(&up)]), 500, "invalid name");
    scene.refuses(
        "through a link",
        &tar([below_links, link("l/secret")]),
        500,
        "No such file or directory",
    );
}

#[test]
fn what_a_link_says_about_itself_does_not_reach_its_target() {
    let scene = Scene::new();
    let forged = |item: Item| {
        item.mode(0o4777).owner(7, 8).pax("SCHILY.xattr.trusted.forged", "1").pax("mtime", "77")
    };
    let link = symlink("l", "").pax("linkpath", scene.canary.path("secret"));
    let layer = tar([forged(link), forged(hard_link("m", "l"))]);
    scene.defuses("a link with a mode", &layer, |diff| {
        assert!(fs::symlink_metadata(diff.join("m")).unwrap().is_symlink());
    });
    let link = symlink("d", "").pax("linkpath", scene.canary.path(""));
    let layer = tar([link, forged(dir("d/directory"))]);
    scene.refuses("a directory behind a link", &layer, 500, "\"d\"");
}

#[test]
fn a_whiteout_deletes_nothing_outside() {
    let scene = Scene::new();
    for name in [".wh..", ".wh...", "a/.wh...", "../.wh.secret", ".wh."] {
        scene.refuses(name, &tar([dir("a"), file(name, "")]), 500, "invalid name");
    }
    let link = || symlink("l", "").pax("linkpath", scene.canary.path(""));
    for name in ["l/.wh.secret", "l/.wh.directory", "l/directory/.wh.inner"] {
        scene.refuses(name, &tar([link(), file(name, "")]), 500, "\"l\"");
    }
}

#[test]
fn an_opaque_marker_marks_nothing_outside() {
    let scene = Scene::new();
    let link = || symlink("l", "").pax("linkpath", scene.canary.path(""));
    for name in ["l/.wh..wh..opq", "l/directory/.wh..wh..opq"] {
        scene.refuses(name, &tar([link(), file(name, "")]), 500, "\"l\"");
    }
    scene.refuses("upwards", &tar([file("../.wh..wh..opq", "")]), 500, "invalid name");
}
