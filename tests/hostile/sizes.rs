//! Sizes that are huge, negative, too large for a number, or not true.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::builder::{Item, file, tar};
use crate::scene::{Scene, Way};
use crate::support::{Layer, OciArchive};

const MIB: u64 = 1 << 20;

/// An entry whose header says that it has so many bytes, in base 256, without any.
fn claims(size: [u8; 12]) -> Vec<u8> {
    tar([file("f", "").header(|header| header.as_old_mut().size = size)])
}

#[test]
fn a_negative_size_is_refused() {
    let scene = Scene::new();
    scene.refuses("base 256", &claims([0xff; 12]), 500, "negative size");
    for size in ["-1", "-9223372036854775808"] {
        scene.refuses(size, &tar([file("f", "").pax("size", size)]), 500, "negative size");
    }
    let sparse = |key: &str, value: &str| {
        let item = file("f", "").pax("GNU.sparse.major", "0").pax("GNU.sparse.minor", "1");
        tar([item.pax("GNU.sparse.size", "10").pax("GNU.sparse.numblocks", "1").pax(key, value)])
    };
    let bad = "malformed GNU.sparse record";
    scene.refuses("a sparse one", &sparse("GNU.sparse.size", "-1"), 500, bad);
    scene.refuses("a region", &sparse("GNU.sparse.map", "-5,10"), 500, bad);
}

#[test]
fn a_size_that_overflows_is_refused() {
    let scene = Scene::new();
    let mut widest = [0xff; 12];
    widest[0] = 0x80;
    scene.refuses("88 bits", &claims(widest), 500, "number out of range in header");
    let mut most = [0; 12];
    most[0] = 0x80;
    most[4] = 0x7f;
    most[5..].fill(0xff);
    scene.refuses("63 bits", &claims(most), 500, "size out of range");
    for (size, text) in [
        ("9223372036854775807", "size out of range"),
        ("18446744073709551615", "malformed PAX record"),
        ("99999999999999999999999", "malformed PAX record"),
        ("1e5", "malformed PAX record"),
        ("0x10", "malformed PAX record"),
    ] {
        scene.refuses(size, &tar([file("f", "").pax("size", size)]), 500, text);
    }
}

#[test]
fn a_size_that_is_not_there_takes_no_space() {
    let scene = Scene::new();
    scene.forget_peak();
    for size in ["1000000", "1099511627776", "4611686018427387904"] {
        scene.refuses(size, &tar([file("f", "").pax("size", size)]), 500, "unexpected EOF");
    }
    scene.assert_peak("sizes that lie", 64 * MIB);
}

/// A sparse file in the format 1.0 of GNU tar: `map` is part of the payload.
fn sparse(size: &str, map: &str, data: &[u8]) -> Item {
    let mut payload = map.as_bytes().to_vec();
    payload.resize(payload.len().next_multiple_of(512), 0);
    payload.extend_from_slice(data);
    let item = file("f", payload).pax("GNU.sparse.major", "1").pax("GNU.sparse.minor", "0");
    item.pax("GNU.sparse.name", "sparse").pax("GNU.sparse.realsize", size)
}

#[test]
fn a_huge_sparse_file_takes_no_space() {
    let scene = Scene::new();
    scene.forget_peak();
    let layer = tar([sparse("1099511627776", "1\n1099511627775\n1\n", b"x")]);
    scene.defuses("a tebibyte of holes", &layer, |diff| {
        let file = fs::metadata(diff.join("sparse")).unwrap();
        assert_eq!(file.len(), 1 << 40);
        assert!(file.blocks() < 100, "{} blocks", file.blocks());
    });
    scene.assert_peak("a huge sparse file", 64 * MIB);
}

#[test]
fn a_sparse_file_larger_than_any_file_is_refused() {
    let scene = Scene::new();
    for size in ["9223372036854775807", "18446744073709551615"] {
        scene.refuses(size, &tar([sparse(size, "0\n", b"")]), 500, "extending file \"sparse\"");
    }
    let beyond = "99999999999999999999";
    scene.refuses(beyond, &tar([sparse(beyond, "0\n", b"")]), 500, "malformed GNU.sparse record");
}

#[test]
fn a_sparse_map_that_lies_is_refused() {
    let scene = Scene::new();
    let bad = "malformed sparse file \"sparse\"";
    for (what, map, text) in [
        ("beyond the end", "1\n90\n20\n", bad),
        ("overlapping", "2\n0\n10\n5\n10\n", bad),
        ("backwards", "2\n50\n1\n0\n1\n", bad),
        ("overflowing", "1\n18446744073709551615\n2\n", bad),
        ("negative", "1\n-1\n2\n", bad),
        ("without an end", &"1".repeat(2000), bad),
        ("more data than it says", "1\n0\n1\n", bad),
        ("less data than it says", "1\n0\n50\n", "unexpected EOF"),
        ("more regions than there are", "1000\n0\n1\n", "unexpected EOF"),
    ] {
        scene.refuses(what, &tar([sparse("100", map, &[7; 30])]), 500, text);
    }
    let many = format!("{}\n", u64::MAX);
    scene.refuses("regions without end", &tar([sparse("100", &many, b"")]), 413, "regions of one");
}

#[test]
fn an_archive_that_lies_about_its_blobs_is_refused() {
    let scene = Scene::new();
    let image = || OciArchive::new("localhost/lie:1", &[Layer::files(&[("f", b"content")])]);
    for size in
        [json!(0), json!(1), json!(1u64 << 40), json!(-1), json!(1e300), json!("7"), json!(null)]
    {
        let lie = image().indexed(|index| index["manifests"][0]["size"] = size.clone());
        scene.refuses_archive(&format!("a manifest of {size} bytes"), lie.build(), 500, "");
        let image = image();
        for part in ["config", "layers"] {
            scene.registry.put_edited("lie", "1", &image, |manifest| {
                let place = match part {
                    "config" => &mut manifest["config"],
                    _ => &mut manifest["layers"][0],
                };
                place["size"] = size.clone();
            });
            let answer = scene.pull("lie:1");
            let what = format!("{part} of {size} bytes");
            scene.assert_refused(&what, &answer, answer.status.max(400), "");
        }
    }
}

#[test]
fn a_layer_that_is_too_long_is_refused_when_that_is_seen() {
    let scene = Scene::with(&["--unpacked-limit=1m"]);
    let layer = tar([file("f", vec![7; 1 << 20])]);
    for way in [Way::Docker, Way::Oci, Way::Import, Way::Pull] {
        let answer = scene.send(way, &[Layer { tar: layer.clone() }]);
        let text = "layer exceeds the limit of 1048576 bytes";
        scene.assert_refused(&format!("{way:?}"), &answer, 413, text);
    }
}

#[test]
fn layers_that_are_too_long_together_are_refused() {
    let scene = Scene::with(&["--unpacked-limit=1m"]);
    let layers = [1, 2, 3].map(|seed| Layer::random(seed, "a", 4, 100_000));
    for way in [Way::Docker, Way::Oci, Way::Pull] {
        let answer = scene.send(way, &layers);
        scene.assert_refused(&format!("{way:?}"), &answer, 413, "layers");
    }
}
