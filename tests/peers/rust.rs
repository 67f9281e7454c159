//! podman-api and podman-rest-client, the Rust clients of Podman's API: every image call they have.
//!
//! They are in a program of its own, in `rust`, that `dist/dev/peers.sh` builds.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::check::assert_sound;
use crate::support::registry::Registry;
use crate::support::tool::run;
use crate::support::{DockerArchive, Layer, Server, Store};
use crate::{beside, installed};

const PROGRAM: &str = "peers-rust/debug/rust-peers";

#[test]
fn rust_clients_manage_images() {
    let store = Store::new();
    let server = Server::start(&store);
    let registry = Registry::plain();
    registry.push(&["app:1", "app:2"]);
    let layers = [Layer::random(1, "srv", 20, 3000), Layer::files(&[("etc/issue", b"two")])];
    let images = DockerArchive::new(&["localhost/one:1"], &layers[..1])
        .and(&["localhost/two:1", "quay.io/example/two:2"], &layers);
    fs::write(store.path("images.tar"), images.build()).unwrap();
    let root = Layer::files(&[("etc/imported", b"root")]);
    fs::write(store.path("root.tar"), &root.tar).unwrap();

    let base = DockerArchive::new(&["localhost/base:1"], &[Layer::files(&[("base", b"0")])]);
    fs::write(store.path("base.tar"), base.build()).unwrap();
    store.podman(["load", "--quiet", "--input", "base.tar"]);
    store.podman(["create", "--name=box", "localhost/base:1"]);
    let mounted = store.podman(["mount", "box"]);
    fs::write(format!("{mounted}/added"), "1").unwrap();
    store.podman(["unmount", "box"]);

    let expected = json!({
        "base": base.image_id(0),
        "one": images.image_id(0),
        "two": images.image_id(1),
        "diff_ids": layers.each_ref().map(Layer::diff_id),
        "root_diff_id": root.diff_id(),
        "store": store.root(),
        "registry": registry.host(),
    });
    fs::write(store.path("expected.json"), expected.to_string()).unwrap();

    let mut program = installed(Path::new(PROGRAM));
    program.arg(server.socket()).arg(store.dir());
    assert_eq!(run(program.env("HOME", store.dir())), "all calls answered");
    assert_eq!(store.image_ids(), [base.image_id(0)]);
    assert_sound(&store);
}

/// The program is built from what lies here, and not from what lay here once.
#[test]
fn the_program_is_not_older_than_its_source() {
    let program = installed(Path::new(PROGRAM));
    let built = fs::metadata(program.get_program()).unwrap().modified().unwrap();
    for file in fs::read_dir(beside("rust/src")).unwrap() {
        let file = file.unwrap();
        let changed = file.metadata().unwrap().modified().unwrap();
        assert!(changed <= built, "{:?} is newer: run dist/dev/peers.sh", file.path());
    }
}
