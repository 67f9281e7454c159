//! podman-py, the Python library of Podman's own project: every image call it has.

use std::fs;

use serde_json::json;

use crate::support::check::assert_sound;
use crate::support::tool::run;
use crate::support::{DockerArchive, Layer, Server, Store};
use crate::{beside, peer};

#[test]
fn podman_py_manages_images() {
    let store = Store::new();
    let server = Server::start(&store);
    let layers = [Layer::random(1, "srv", 20, 3000), Layer::files(&[("etc/issue", b"two")])];
    let images = DockerArchive::new(&["localhost/one:1"], &layers[..1])
        .and(&["localhost/two:1", "quay.io/example/two:2"], &layers);
    fs::write(store.path("images.tar"), images.build()).unwrap();
    let expected = json!({
        "one": images.image_id(0),
        "two": images.image_id(1),
        "diff_ids": layers.each_ref().map(Layer::diff_id),
        "root": store.root(),
    });
    fs::write(store.path("expected.json"), expected.to_string()).unwrap();

    let mut program = peer("python");
    program.arg(beside("podman_py.py")).arg(server.socket()).arg(store.dir());
    assert_eq!(run(program.env("HOME", store.dir())), "all calls answered");
    assert_eq!(store.image_ids(), [""; 0]);
    assert_sound(&store);
}
