//! Digests that nobody has checked, and lists that list each other.

use serde_json::{Value, json};

use crate::scene::Scene;
use crate::support::archive::{descriptor, sha256};
use crate::support::{Fault, Layer, OciArchive};

fn image() -> OciArchive {
    OciArchive::new("localhost/a:1", &[Layer::files(&[("f", b"content")])])
}

/// Texts in the place of digests. The first is for the canary.
fn forged(scene: &Scene) -> Vec<Value> {
    let secret = scene.canary.path("secret");
    let up = format!("sha256:../../../../../../../../../..{secret}");
    let zeros = "0".repeat(64);
    let mut forged = vec![json!(up), json!(secret), json!(format!("sha256:{secret}"))];
    for text in [
        "",
        ":",
        "sha256:",
        "sha256:..",
        "sha256:0",
        "../../x",
        "sha256:../../overlay-images/images.json",
        &format!("sha256:{zeros}0"),
        &format!("sha256:{}", "A".repeat(64)),
        &format!("sha256:{}/", "0".repeat(63)),
        &format!("sha256:{}\0", "0".repeat(63)),
        &format!("../sha256:{zeros}"),
        &format!("sha256 :{zeros}"),
        &zeros,
    ] {
        forged.push(json!(text));
    }
    forged.extend([json!(null), json!(7), json!([]), json!({})]);
    forged
}

#[test]
fn a_digest_is_not_a_path_in_an_archive() {
    let scene = Scene::new();
    let foreign = ["SHA256", "md5", "sha256.x"].map(|it| json!(format!("{it}:{}", "0".repeat(64))));
    for digest in forged(&scene).into_iter().chain(foreign) {
        let what = digest.to_string();
        let archive = image().indexed(|index| index["manifests"][0]["digest"] = digest.clone());
        scene.refuses_archive(&format!("index: {what}"), archive.build(), 500, "");
        for part in ["config", "layers"] {
            let archive = edited(&image(), |manifest| match part {
                "config" => manifest["config"]["digest"] = digest.clone(),
                _ => manifest["layers"][0]["digest"] = digest.clone(),
            });
            scene.refuses_archive(&format!("{part}: {what}"), archive.build(), 500, "");
        }
    }
}

/// The archive with another manifest, which its index lists.
fn edited(image: &OciArchive, edit: impl FnOnce(&mut Value)) -> OciArchive {
    let mut manifest: Value = serde_json::from_slice(&image.blobs().last().unwrap().1).unwrap();
    edit(&mut manifest);
    let manifest = manifest.to_string();
    image.clone().with_blob(manifest.as_bytes()).indexed(|index| {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        index["manifests"][0] = descriptor(kind, manifest.as_bytes());
    })
}

#[test]
fn a_digest_is_not_a_path_in_a_registry() {
    let scene = Scene::new();
    for digest in forged(&scene) {
        for part in ["config", "layers"] {
            scene.registry.put_edited("app", "1", &image(), |manifest| match part {
                "config" => manifest["config"]["digest"] = digest.clone(),
                _ => manifest["layers"][0]["digest"] = digest.clone(),
            });
            let answer = scene.pull("app:1");
            scene.assert_refused(&format!("{part}: {digest}"), &answer, 500, "");
        }
        let list = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{ "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest, "size": 7,
                "platform": { "os": "linux", "architecture": "amd64" } }],
        });
        scene.registry.put_manifest("app", "list", list.to_string().as_bytes());
        let answer = scene.pull("app:list");
        scene.assert_refused(&format!("list: {digest}"), &answer, 500, "");
    }
}

#[test]
fn a_diff_id_is_not_a_path() {
    let scene = Scene::new();
    for digest in forged(&scene) {
        let layers = [Layer::files(&[("f", b"content")])];
        let archive = OciArchive::configured("localhost/a:1", &layers, |config| {
            config["rootfs"]["diff_ids"][0] = digest.clone();
        });
        scene.refuses_archive(&digest.to_string(), archive.build(), 500, "");
        scene.registry.put("app", "1", &archive);
        let answer = scene.pull("app:1");
        scene.assert_refused(&format!("{digest}, pulled"), &answer, 500, "");
    }
}

#[test]
fn what_a_registry_says_a_digest_is_does_not_become_one() {
    let scene = Scene::new();
    scene.registry.put("app", "1", &image());
    for digest in ["sha256:../../../x", "../../x", &format!("sha256:{}", "0".repeat(64))] {
        let fault = Fault::Header("Docker-Content-Digest", digest.to_owned());
        scene.registry.fail("GET", "/manifests/", 1, fault);
        let answer = scene.pull("app:1");
        if answer.status == 200 {
            // It is not needed: what counts is computed.
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            let seen = scene.store.inspect(&id)["Digest"].as_str().unwrap().to_owned();
            assert_eq!(seen, sha256(&image().blobs().last().unwrap().1));
            scene.removes_all_but_the_good();
            scene.assert_untouched();
        } else {
            scene.assert_refused(digest, &answer, 500, "digest");
        }
        scene.registry.behave();
    }
}

/// An index that lists one thing, as if for this machine.
fn index(entry: &Value) -> String {
    let mut entry = entry.clone();
    entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    })
    .to_string()
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[test]
fn indexes_in_indexes_end_somewhere() {
    let scene = Scene::new();
    let mut archive = image();
    scene.registry.put("app", "1", &archive);
    let mut entry = archive.entry().clone();
    for _ in 0..50 {
        let list = index(&entry);
        entry = descriptor(INDEX, list.as_bytes());
        scene.registry.put_manifest("app", "deep", list.as_bytes());
        archive = archive.with_blob(list.as_bytes());
    }
    let archive = archive.indexed(|index| index["manifests"][0] = entry);
    scene.refuses_archive("in an archive", archive.build(), 413, "nesting of image indexes");
    scene.registry.forget();
    let answer = scene.pull("app:deep");
    scene.assert_refused("in a registry", &answer, 500, "nested too deeply");
    assert!(scene.registry.asked("GET", "/manifests/").len() < 10);
}

#[test]
fn an_index_that_lists_itself_is_refused() {
    let scene = Scene::new();
    // No document has its own digest in it, so a registry can only pretend.
    scene.registry.put("app", "1", &image());
    let zeros = format!("sha256:{}", "0".repeat(64));
    let list = index(&json!({ "mediaType": INDEX, "digest": zeros, "size": 7 }));
    let size = list.len();
    let list = list.replace("\"size\":7", &format!("\"size\":{size}"));
    scene.registry.put_manifest("app", "loop", list.as_bytes());
    scene.registry.fail("GET", &zeros, usize::MAX, Fault::Body(list.into_bytes()));
    scene.registry.forget();
    let answer = scene.pull("app:loop");
    scene.assert_refused("a loop", &answer, 500, "");
    assert!(scene.registry.asked("GET", "/manifests/").len() < 10);
}

#[test]
fn documents_that_are_listed_as_each_other_are_refused() {
    let scene = Scene::new();
    let image = image();
    let own_config = image.image_id().to_owned();
    let own_manifest = image.manifest_blob().to_owned();
    let of = |hex: &str| {
        let (_, blob) = image.blobs().iter().find(|(known, _)| known == hex).unwrap();
        json!({ "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{hex}"), "size": blob.len() })
    };
    type Edit<'a> = (&'a str, Box<dyn Fn(&mut Value) + 'a>);
    let edits: Vec<Edit<'_>> = vec![
        ("the config is a manifest", Box::new(|it| it["config"] = of(&own_manifest))),
        ("the layer is the config", Box::new(|it| it["layers"][0] = of(&own_config))),
        ("the layer is a manifest", Box::new(|it| it["layers"][0] = of(&own_manifest))),
        ("the config is the layer", Box::new(|it| it["config"] = it["layers"][0].clone())),
    ];
    for (what, edit) in edits {
        scene.refuses_archive(what, edited(&image, &edit).build(), 500, "");
        scene.registry.put_blob("app", &image.blobs().last().unwrap().1);
        scene.registry.put_edited("app", "1", &image, &edit);
        let answer = scene.pull("app:1");
        scene.assert_refused(what, &answer, 500, "");
    }
    let config = image.clone().indexed(|index| index["manifests"][0] = of(&own_config));
    scene.refuses_archive("the manifest is a config", config.build(), 500, "");
    let index_as_config = index(image.entry());
    let archive = edited(&image, |manifest| {
        manifest["config"] = descriptor(INDEX, index_as_config.as_bytes());
    });
    let archive = archive.with_blob(index_as_config.as_bytes());
    scene.refuses_archive("the config is an index", archive.build(), 500, "");
}
