//! Members of archives that are not what they seem.

use serde_json::json;

use crate::builder::{Item, file, hard_link, symlink, tar};
use crate::canary::SECRET;
use crate::scene::Scene;
use crate::support::archive::sha256;
use crate::support::http::{PREFIX, escape};
use crate::support::{DockerArchive, Layer, OciArchive};

/// An archive that names its members as it likes.
fn docker(config: &str, layer: &str, more: Vec<Item>) -> Vec<u8> {
    let manifest = json!([{ "Config": config, "RepoTags": ["localhost/a:1"], "Layers": [layer] }]);
    let mut items = vec![file("manifest.json", manifest.to_string())];
    items.extend(more);
    tar(items)
}

fn layer() -> Layer {
    Layer::files(&[("f", b"content")])
}

fn config() -> String {
    json!({ "rootfs": { "type": "layers", "diff_ids": [layer().diff_id()] } }).to_string()
}

#[test]
fn a_member_that_is_named_as_a_file_outside_is_only_a_member() {
    let scene = Scene::new();
    let secret = scene.canary.path("secret");
    for name in [&secret[..], "../../../../../etc/passwd", "/etc/passwd"] {
        let archive = docker(name, "layer.tar", vec![file("layer.tar", layer().tar)]);
        scene.refuses_archive(name, archive, 500, "file does not exist");
        let archive = docker("config", name, vec![file("config", config())]);
        scene.refuses_archive(name, archive, 500, "missing in the tarball");
    }
}

#[test]
fn a_link_among_the_members_does_not_lead_out_of_the_archive() {
    let scene = Scene::new();
    let secret = scene.canary.path("secret");
    let up = format!("../../../../../../../../..{secret}");
    for target in [&secret[..], &up, "/dev/zero", "/proc/self/environ"] {
        for link in [symlink("l", ""), hard_link("l", "")] {
            let link = || link_to(&link, target);
            let archive = docker("l", "layer.tar", vec![link(), file("layer.tar", layer().tar)]);
            scene.refuses_archive(target, archive, 500, "file does not exist");
            let archive = docker("config", "l", vec![link(), file("config", config())]);
            scene.refuses_archive(target, archive, 500, "missing in the tarball");
        }
    }
}

fn link_to(link: &Item, target: &str) -> Item {
    let kind = if format!("{link:?}").contains("'1'") { b'1' } else { b'2' };
    Item::new(kind, "l").pax("linkpath", target)
}

#[test]
fn links_among_the_members_that_go_in_circles_are_refused() {
    let scene = Scene::new();
    for links in [
        vec![symlink("l", "l")],
        vec![symlink("l", "m"), symlink("m", "l")],
        vec![hard_link("l", "m"), hard_link("m", "n"), hard_link("n", "l")],
        (0..9999).map(|n| symlink(link_name(n), link_name(n + 1))).collect(),
    ] {
        let archive = docker("l", "layer.tar", links);
        scene.refuses_archive("a circle", archive, 500, "file does not exist");
    }
}

fn link_name(n: usize) -> String {
    if n == 0 { "l".to_owned() } else { format!("l{n}") }
}

#[test]
fn members_that_come_twice_are_refused() {
    let scene = Scene::new();
    let good = || vec![file("config", config()), file("layer.tar", layer().tar)];
    for twice in [
        file("manifest.json", "[]"),
        file("./manifest.json", "[]"),
        file("x/../config", "{}"),
        file("layer.tar", Layer::files(&[("f", b"another")]).tar),
        symlink("config", "manifest.json"),
    ] {
        let mut members = good();
        let what = format!("{twice:?}");
        members.push(twice);
        let archive = docker("config", "layer.tar", members);
        scene.refuses_archive(&what, archive, 500, "occurs twice");
    }
}

#[test]
fn whoever_is_still_sending_is_told_as_well() {
    let scene = Scene::new();
    for _ in 0..10 {
        let twice = file("manifest.json", "[]");
        let rest = file("rest", vec![7; 10_000_000]);
        let archive = docker("config", "layer.tar", vec![twice, rest]);
        scene.refuses_archive("the rest", archive, 500, "occurs twice");
    }
}

#[test]
fn members_that_are_no_files_are_not_opened() {
    let scene = Scene::new();
    for kind in *b"3456" {
        let devices = vec![Item::new(kind, "config").device(1, 5), file("layer.tar", layer().tar)];
        let archive = docker("config", "layer.tar", devices);
        scene.refuses_archive("a config", archive, 500, "file does not exist");
        let archive = tar([Item::new(kind, "manifest.json").device(1, 5)]);
        scene.refuses_archive("a manifest", archive, 500, "file does not exist");
    }
}

#[test]
fn too_many_members_are_refused() {
    let scene = Scene::new();
    scene.forget_peak();
    let many = tar((0..100_001).map(|n| file(format!("{n}"), "")));
    scene.refuses_archive("empty files", many, 413, "number of members");
    let empty_layer = [0; 1024];
    let many = tar((0..4097).map(|n| file(format!("{n}"), empty_layer)));
    scene.refuses_archive("layers", many, 413, "number of layers");
    scene.assert_peak("many members", 64 << 20);
}

#[test]
fn too_many_names_and_layers_of_an_image_are_refused() {
    let scene = Scene::new();
    let names: Vec<String> = (0..60_000).map(|n| format!("localhost/a:{n}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
    let archive = DockerArchive::new(&names, &[layer()]);
    scene.refuses_archive("names", archive.build(), 413, "number of names");
    let layers = vec![layer(); 1001];
    let text = "number of layers of an image exceeds the limit of 1000";
    let archive = DockerArchive::new(&["localhost/a:1"], &layers);
    scene.refuses_archive("layers of a docker-archive", archive.build(), 413, text);
    let archive = OciArchive::new("localhost/a:1", &layers);
    scene.refuses_archive("layers of an oci-archive", archive.build(), 413, text);
    scene.registry.put("many", "1", &archive);
    let answer = scene.pull("many:1");
    scene.assert_refused("layers of a pull", &answer, 500, "more than 1000 layers");
}

#[test]
fn a_layer_that_is_listed_a_thousand_times_is_not_unpacked_as_often() {
    let scene = Scene::with(&["--unpacked-limit=8m"]);
    let layers = vec![Layer::random(1, "a", 10, 100_000); 900];
    for archive in [
        DockerArchive::new(&["localhost/a:1"], &layers).build(),
        OciArchive::new("localhost/a:1", &layers).build(),
    ] {
        scene.refuses_archive("one layer", archive, 413, "bytes in all layers");
    }
}

#[test]
fn a_directory_whose_files_are_links_out_of_it_is_refused() {
    let scene = Scene::new();
    let layout = scene.store.path("tmp/layout");
    let image = OciArchive::new("localhost/a:1", &[layer()]);
    let load = || {
        let path = format!("{PREFIX}/local/images/load?path={}", escape(layout.to_str().unwrap()));
        scene.server.client().post_bytes(&path, "")
    };
    for stolen in ["index.json", "config", "layer"] {
        std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        for (hex, content) in image.blobs() {
            std::fs::write(layout.join("blobs/sha256").join(hex), content).unwrap();
        }
        let index = json!({ "schemaVersion": 2, "manifests": [image.entry()] }).to_string();
        std::fs::write(layout.join("index.json"), index).unwrap();
        let victim = match stolen {
            "config" => layout.join("blobs/sha256").join(image.image_id()),
            "layer" => layout.join("blobs/sha256").join(image.layer_blob(0)),
            name => layout.join(name),
        };
        std::fs::remove_file(&victim).unwrap();
        std::os::unix::fs::symlink(scene.canary.path("secret"), &victim).unwrap();
        let answer = load();
        scene.assert_refused(stolen, &answer, 500, "");
        assert!(
            !answer.text().contains(SECRET) && !answer.text().contains(&sha256(SECRET.as_bytes()))
        );
        std::fs::remove_dir_all(&layout).unwrap();
    }
}
