//! Names that nobody should see on a terminal, or find in a file.

use serde_json::json;

use crate::builder::{file, tar};
use crate::scene::{GOOD, Scene};
use crate::support::http::{PREFIX, escape};
use crate::support::{DockerArchive, Layer, OciArchive};

/// Parts of names that are in no name.
const ODD: [&str; 12] = [
    "\0",
    "\n",
    "\r\n",
    "\x1b[2J\x1b[31mforged",
    "\x07",
    "\x7f",
    "\u{202e}txt",
    "\u{feff}",
    "../../x",
    " ",
    "\\",
    "é",
];

#[test]
fn a_name_with_control_characters_is_refused() {
    let scene = Scene::new();
    let layer = [Layer::files(&[("f", b"content")])];
    for odd in ODD {
        for name in [format!("localhost/a{odd}b:1"), format!("localhost/a:1{odd}"), odd.to_owned()]
        {
            let what = name.escape_debug().to_string();
            let archive = DockerArchive::new(&[&name], &layer);
            scene.refuses_archive(&what, archive.build(), 500, "");
            let archive = OciArchive::new(&name, &layer);
            scene.refuses_archive(&what, archive.build(), 500, "");
            let query = format!("?reference={}", escape(&name));
            let answer = scene.server.client().import(&query, layer[0].tar.clone());
            scene.assert_refused(&what, &answer, 500, "");
            let path = format!("{PREFIX}/images/{}/tag?repo={}", escape(GOOD), escape(&name));
            let answer = scene.server.client().post_bytes(&path, "");
            assert!((400..=500).contains(&answer.status), "{what}: {}", answer.text());
            scene.assert_untouched();
        }
    }
}

#[test]
fn a_file_may_have_any_name_but_does_not_write_it_into_the_log() {
    let scene = Scene::new();
    let odd = ODD.iter().filter(|odd| !odd.contains(['/', '\0']));
    let names: Vec<String> = odd.map(|odd| format!("a{odd}b")).collect();
    let named = |name: &String| file("f", "x").pax("path", name);
    scene.defuses("odd names", &tar(names.iter().map(named)), |diff| {
        for name in &names {
            assert!(diff.join(name).exists(), "{name:?}");
        }
    });
    for name in &names {
        let twice = tar([named(name), named(name)]);
        scene.refuses("twice", &twice, 500, "duplicates of file paths not supported");
    }
}

#[test]
fn a_name_that_is_no_text_is_kept_as_it_is() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    let name = b"\xff\xfe\x1b\xc3";
    let layer = tar([file(name, "x")]);
    scene.defuses("bytes", &layer, |diff| {
        assert!(diff.join(std::ffi::OsStr::from_bytes(name)).exists());
    });
}

#[test]
fn an_image_cannot_take_a_digest_or_an_id_for_its_name() {
    let scene = Scene::new();
    let layer = [Layer::files(&[("f", b"content")])];
    let zeros = "0".repeat(64);
    for name in [
        &zeros[..],
        &format!("localhost/a@sha256:{zeros}"),
        "localhost/a@sha256:../x",
        "docker://x/y",
        "/etc/passwd",
        &"a/".repeat(3000),
    ] {
        let archive = DockerArchive::new(&[name], &layer);
        scene.refuses_archive(name, archive.build(), 500, "");
    }
    let odd = json!([{ "Config": "c", "RepoTags": "localhost/a:1", "Layers": [] }]);
    let archive = tar([file("manifest.json", odd.to_string())]);
    scene.refuses_archive("no list", archive, 500, "");
}
