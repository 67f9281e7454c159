//! JSON of great depth or size.

use serde_json::json;

use crate::builder::{file, tar};
use crate::scene::Scene;
use crate::support::archive::{descriptor, sha256};
use crate::support::{Fault, Layer, OciArchive};

const MIB: u64 = 1 << 20;

fn image() -> OciArchive {
    OciArchive::new("localhost/a:1", &[Layer::files(&[("f", b"content")])])
}

/// Brackets in brackets.
fn deep(open: &str, close: &str, levels: usize) -> String {
    format!("{}0{}", open.repeat(levels), close.repeat(levels))
}

#[test]
fn json_of_great_depth_is_refused() {
    let scene = Scene::new();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
        for levels in [200, 100_000] {
            let bomb = deep(open, close, levels);
            let what = format!("{open} {levels} times");
            scene.refuses_archive(&what, tar([file("manifest.json", &bomb)]), 500, "");
            scene.refuses_archive(&what, tar([file("index.json", &bomb)]), 500, "");
            // Where nobody looks at it, it is only skipped.
            let index = format!(r#"{{"schemaVersion":2,"manifests":[],"x":{bomb}}}"#);
            scene.refuses_archive(&what, tar([file("index.json", index)]), 500, "");
            let config = format!(r#"{{"rootfs":{bomb},"config":{bomb}}}"#);
            let archive = with_config(config.as_bytes());
            let answer = scene.server.client().load_bytes(archive.build());
            scene.registry.put("app", "1", &archive);
            for answer in [answer, scene.pull("app:1")] {
                if answer.status == 200 {
                    scene.serves_everything(&what);
                    scene.removes_all_but_the_good();
                } else {
                    scene.assert_refused(&what, &answer, 500, "");
                }
            }
            scene.registry.put_manifest("app", "deep", bomb.as_bytes());
            let answer = scene.pull("app:deep");
            scene.assert_refused(&what, &answer, 500, "");
        }
    }
}

/// An image with this config, whatever it is.
fn with_config(config: &[u8]) -> OciArchive {
    let image = image();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [],
    });
    let manifest = manifest.to_string();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    image.with_blob(config).with_blob(manifest.as_bytes()).indexed(|index| {
        index["manifests"][0] = descriptor(kind, manifest.as_bytes());
    })
}

#[test]
fn json_of_great_size_is_refused_in_little_memory() {
    let scene = Scene::new();
    scene.forget_peak();
    let long = |bytes: usize| format!("[{}0]", "[],".repeat(bytes / 3));
    let text = "";
    for bytes in [4_000_000, 5_000_000, 40_000_000] {
        for name in ["manifest.json", "index.json"] {
            let archive = tar([file(name, long(bytes))]);
            scene.refuses_archive(&format!("{name} of {bytes}"), archive, 500, text);
        }
    }
    let many = tar((0..5).map(|n| file(format!("{n}"), vec![b' '; 4_000_000])));
    scene.refuses_archive("many documents", many, 413, "size of all documents");
    scene.registry.put_manifest("app", "1", long(4_000_000).as_bytes());
    scene.assert_refused("a manifest", &scene.pull("app:1"), 500, "");
    scene.registry.put_manifest("app", "1", long(5_000_000).as_bytes());
    scene.assert_refused("a manifest", &scene.pull("app:1"), 500, "");
    scene.registry.put("app", "1", &image());
    scene.registry.fail("GET", "/manifests/", 1, Fault::Padded(1 << 30));
    scene.assert_refused("white space without end", &scene.pull("app:1"), 500, "");
    scene.assert_peak("huge documents", 96 * MIB);
}

#[test]
fn a_config_of_great_size_is_refused_in_little_memory() {
    let scene = Scene::new();
    scene.forget_peak();
    // The most that is read, in the form that takes most when it is parsed.
    let values = "[],".repeat(1_300_000);
    let members: String = (0..260_000).map(|n| format!("\"{n:06}\":{{}},")).collect();
    for value in [format!("[{values}0]"), format!("{{{members}\"\":0}}")] {
        let config = format!(r#"{{"x":{value},"rootfs":{{"type":"layers","diff_ids":7}}}}"#);
        assert!(config.len() < 4 << 20);
        scene.refuses_archive("oci", with_config(config.as_bytes()).build(), 500, "");
        let name = format!("{}.json", &sha256(config.as_bytes())[7..]);
        let manifest = json!([{ "Config": name, "RepoTags": [], "Layers": [] }]).to_string();
        let config = config.replace(":7}}", ":[]}}");
        let docker = tar([file("c", "").pax("path", &name), file("manifest.json", manifest)]);
        scene.refuses_archive("docker, empty", docker, 500, "");
        let manifest = json!([{ "Config": "config", "RepoTags": ["UPPER"], "Layers": [] }]);
        let docker = tar([file("config", config), file("manifest.json", manifest.to_string())]);
        scene.refuses_archive("docker", docker, 500, "");
    }
    scene.assert_peak("huge configs", 96 * MIB);
}
