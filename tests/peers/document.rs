//! Schemathesis makes requests out of `api-spec/imaged.yaml`, good and bad, and compares the answers
//! with what the document promises.
//!
//! What is promised beyond JSON Schema is in `document.py`; what is sent and how much of it in
//! `document.toml`. The requests are the same in every run.

use std::fs;
use std::path::Path;

use crate::support::registry::Registry;
use crate::support::tool::{output, run};
use crate::support::{DockerArchive, Layer, OciArchive, Server, Store, server, tool};
use crate::{beside, peer};

#[test]
fn answers_are_what_the_document_promises() {
    let store = Store::new();
    let layers = [Layer::random(1, "srv", 20, 3000), Layer::files(&[("etc/issue", b"two")])];
    let images = DockerArchive::new(&["localhost/one:1"], &layers[..1])
        .and(&["localhost/two:1", "quay.io/example/two:2"], &layers)
        .and(&[], &[Layer::files(&[("nameless", b"")])]);
    fs::write(store.path("images.tar"), images.build()).unwrap();
    fs::write(store.path("oci.tar"), OciArchive::new("localhost/oci:1", &layers).build()).unwrap();
    fs::write(store.path("layer.tar"), &layers[1].tar).unwrap();
    let registries = store.path("registries.conf");
    // Everything else is on this machine too.
    let registry = Registry::plain();
    registry.push(&["app:1"]);
    let local = registry.localhost();
    let search = format!(
        "unqualified-search-registries = ['{local}']\n\
         [[registry]]\nlocation = '{local}'\ninsecure = true\n"
    );
    fs::write(&registries, search).unwrap();
    let socket = store.path("api.sock");
    let mut daemon = server::imaged(&store, &socket);
    daemon.args(["--listen", "tcp://127.0.0.1:0", "--sync=none"]);
    daemon
        .env("CONTAINERS_REGISTRIES_CONF", registries)
        .env("REGISTRY_AUTH_FILE", store.path("none"));
    let server = Server::spawn(&store, &mut daemon, &socket);
    server.client().load(&store.path("images.tar"));
    store.podman(["create", "--network=none", "--name=keeper", "localhost/two:1"]);
    // So that no removal takes it away.
    store.podman(["mount", "keeper"]);

    let mut command = peer("schemathesis");
    command.arg("--config-file").arg(beside("document.toml"));
    command.args(["--no-color", "run", "--generation-deterministic"]);
    command.arg("--url").arg(format!("{}/v6.0.0", tcp_url(&server)));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("api-spec/imaged.yaml"));
    command.env("SCHEMATHESIS_HOOKS", "document").env("PYTHONPATH", beside(""));
    command.env("IMAGED_REGISTRY", &local);
    command.env("IMAGED_ARCHIVES", store.dir()).current_dir(store.dir());
    let report = output(&mut command);
    println!("{}", String::from_utf8_lossy(&report.stdout));
    assert!(report.status.success(), "{}", tool::describe(&command, &report));

    let successes = fs::read_to_string(store.path("successes.json")).unwrap();
    let successes: Vec<String> = serde_json::from_str(&successes).unwrap();
    let missing: Vec<String> =
        operations().into_iter().filter(|operation| !successes.contains(operation)).collect();
    // Files of the server are not for TCP, and copies to other hosts are not served.
    assert_eq!(missing, ["ImageScpLibpod", "LocalImagesLibpod"]);

    store.podman(["unmount", "keeper"]);
    // Whatever was asked for, the daemon is well and the store is sound.
    server.client().get("/images/json").expect(200);
    run(&mut store.podman_command(["images"]));
    crate::support::check::assert_sound(&store);
}

/// Every operation of the document.
fn operations() -> Vec<String> {
    let document = serde_json::to_value(imaged::api::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|methods| methods.as_object().unwrap().values());
    let mut identifiers: Vec<String> =
        operations.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect();
    identifiers.sort();
    identifiers
}

/// Where the server listens for TCP, as it has logged it.
fn tcp_url(server: &Server) -> String {
    let log = server.log();
    let (_, address) = log.split_once("address=tcp://").expect("it logs its addresses");
    format!("http://{}", address.lines().next().unwrap().trim())
}
