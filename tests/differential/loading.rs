//! Archives that are loaded: every form, right and wrong.

use std::io::Write as _;

use serde_json::json;

use crate::content::{self, layer};
use crate::pair::Request;
use crate::play::Play;
use crate::support::archive::Numbers;
use crate::support::{DockerArchive, Layer, OciArchive};

pub(crate) fn play(play: &mut Play) {
    docker(play);
    oci(play);
    compressed(play);
    neither(play);
    from_the_server(play);
    play.get("/images/json?all=true");
}

/// A docker archive that is not in the stores yet.
fn fresh(names: &[&str], number: u64) -> DockerArchive {
    DockerArchive::new(names, &[layer(40), layer(number)])
}

fn load(play: &mut Play, what: &str, archive: &[u8]) {
    play.request(
        &format!("/images/load of {what}"),
        &Request {
            method: "POST".to_owned(),
            target: "/v5.0.0/libpod/images/load".to_owned(),
            body: archive.to_vec(),
            ..Request::default()
        },
    );
}

fn docker(play: &mut Play) {
    for names in [
        &["localhost/loaded:1"][..],
        &["short:1"],
        &["ns/short:1"],
        &["docker.io/loaded:1"],
        &["index.docker.io/loaded:2"],
        &["localhost/loaded:2", "quay.io/loaded/too:V1"],
        &["127.0.0.1:5000/loaded:3"],
    ] {
        load(play, &format!("an image called {}", names.join(" and ")), &fresh(names, 41).build());
    }
    // Names that are taken, and an image that is there.
    let one = || fresh(&["localhost/one:1"], 44);
    for (what, archive) in [
        ("another image with its name", fresh(&["localhost/loaded:1"], 42)),
        ("the first image again", fresh(&["localhost/loaded:1"], 41)),
        ("an image without a name", fresh(&[], 43)),
        ("the same image without a name", fresh(&[], 43)),
        ("two images", one().and(&["localhost/two:1"], &[layer(45)])),
        ("two images without names", fresh(&[], 46).and(&[], &[layer(47)])),
        ("two images with one name", one().and(&["localhost/one:1"], &[layer(45)])),
        ("one image twice", one().and(&["localhost/same:1"], &[layer(40), layer(44)])),
        ("no image", DockerArchive::default()),
    ] {
        load(play, what, &archive.build());
    }
    play.get_all(["/images/loaded:1/json", "/images/one:1/json", "/images/json"]);

    let good = || fresh(&["localhost/bad:1"], 48);
    let missing = format!("{}.tar", layer(48).diff_id().trim_start_matches("sha256:"));
    let config = format!("{}.json", good().image_id(0));
    let zeros = format!("sha256:{}", "0".repeat(64));
    let digest = format!("localhost/bad@{zeros}");
    for (what, archive) in [
        ("an image in upper case", fresh(&["UPPER:1"], 48).build()),
        ("an image with a bad name", fresh(&["localhost/good:1", "bad name"], 48).build()),
        ("an image with a bad digest", fresh(&["localhost/bad@sha256:12"], 48).build()),
        ("an image with a digest", fresh(&[&digest], 48).build()),
        ("an image whose name has no tag", fresh(&["untagged"], 48).build()),
        ("an archive without manifest", good().build_without("manifest.json")),
        ("an archive without layer", good().build_without(&missing)),
        ("an archive without config", good().build_without(&config)),
        ("another layer", good().with_diff_ids(&[&layer(40).diff_id(), &zeros]).build()),
    ] {
        load(play, what, &archive);
    }
}

fn oci(play: &mut Play) {
    const CONTAINERD: &str = "io.containerd.image.name";
    const NAME: &str = "org.opencontainers.image.ref.name";
    let made = |name: &str, number| OciArchive::new(name, &[layer(40), layer(number)]);
    for name in ["localhost/oci:1", "oci:2", "v1", "quay.io/oci/app", "docker.io/oci:1"] {
        load(play, &format!("a layout called {name}"), &made(name, 50).build());
    }
    for (number, annotations) in [
        (51, json!({})),
        (52, json!({ CONTAINERD: "docker.io/library/other:1", NAME: "1" })),
        (53, json!({ CONTAINERD: "", NAME: "quay.io/x/y:1" })),
        (54, json!({ "unknown": "x" })),
        (55, json!(null)),
        (56, json!({ NAME: "UPPER" })),
        (57, json!({ NAME: "bad name" })),
    ] {
        let what = format!("a layout with {annotations}");
        let archive =
            made("x", number).indexed(|index| index["manifests"][0]["annotations"] = annotations);
        load(play, &what, &archive.build());
    }
    let two = made("localhost/several:1", 58).and(made("localhost/several:2", 60));
    load(play, "a layout of two images", &two.build());
    // Where there are none of them, none are removed.
    play.delete("/images/remove?images=several:1&images=several:2&ignore=true");
    let none = made("localhost/none:1", 58).indexed(|index| index["manifests"] = json!([]));
    let good = || made("localhost/bad:1", 59);
    let (blob, config) = (good().layer_blob(1).to_owned(), good().image_id().to_owned());
    let manifest = good().manifest_blob().to_owned();
    for (what, archive) in [
        ("a layout of no image", none),
        ("a layout without layer", good().without(&blob)),
        ("a layout without config", good().without(&config)),
        ("a layout without image", good().without(&manifest)),
        ("a layout with a corrupt layer", good().corrupt(&blob)),
        ("a layout with a corrupt config", good().corrupt(&config)),
    ] {
        load(play, what, &archive.build());
    }
}

/// An archive whose images are there already, so that the stores stay alike where one fails.
fn compressed(play: &mut Play) {
    let archive = fresh(&["localhost/loaded:1"], 41).build();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&archive).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&archive).unwrap();
    let zstd = zstd::encode_all(&archive[..], 1).unwrap();
    for (name, packed) in [
        ("gzip", gzip.finish().unwrap()),
        ("bzip2", bzip2.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zstd", zstd),
    ] {
        load(play, &format!("{name} of an archive"), &packed);
    }
    let oci = OciArchive::new("localhost/oci:1", &[layer(40), layer(50)]).build();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&oci).unwrap();
    load(play, "gzip of a layout", &gzip.finish().unwrap());
    for (name, value) in [
        ("Content-Type", "application/json"),
        ("Content-Type", "text/plain"),
        ("Content-Encoding", "gzip"),
        ("Expect", "100-continue"),
    ] {
        play.request(
            &format!("/images/load with {name}: {value}"),
            &Request {
                method: "POST".to_owned(),
                target: "/v5.0.0/libpod/images/load?reference=ignored".to_owned(),
                headers: vec![(name.to_owned(), value.to_owned())],
                body: archive.clone(),
            },
        );
    }
}

fn neither(play: &mut Play) {
    let mut garbage = vec![0; 20_000];
    Numbers::new(7).fill(&mut garbage);
    let archive = content::base().build();
    let file = |name: &str, content: &[u8]| Layer::files(&[(name, content)]).tar;
    for (what, body) in [
        ("nothing", Vec::new()),
        ("a text", b"text".to_vec()),
        ("garbage", garbage),
        ("an empty tar", vec![0; 1024]),
        ("a tree", file("etc/passwd", b"x")),
        ("an object as manifest", file("manifest.json", b"{}")),
        ("an empty list as manifest", file("manifest.json", b"[]")),
        ("a text as manifest", file("manifest.json", b"x")),
        ("an object as index", file("index.json", b"{}")),
        ("a text as index", file("index.json", b"x")),
        ("a version", file("version", b"Directory Transport Version: 1.1\n")),
        ("half an archive", archive[..archive.len() / 2].to_vec()),
    ] {
        load(play, what, &body);
    }
}

/// Archives that lie on the server, a route that Podman 4 does not have.
fn from_the_server(play: &mut Play) {
    let archive = fresh(&["localhost/loaded:1"], 41).build();
    for side in [&play.pair.ours, &play.pair.theirs] {
        std::fs::write(side.store.path("local.tar"), &archive).unwrap();
    }
    for query in ["", "?path=", "?path=relative.tar", "?path=$dir/none.tar", "?path=$dir/local.tar"]
    {
        play.post(&format!("/local/images/load{query}"));
    }
}
