//! Images that we push, pulled by Podman and Skopeo; what is not sent again; and what goes wrong.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::debian::{DOCKER, Debian, FULL, Facts};
use crate::support::faulty::Door;
use crate::support::http::PREFIX;
use crate::support::registry::{PASSWORD, Registry, Setup, USER};
use crate::support::store::strings;
use crate::support::tool::run_failing;
use crate::support::{Fault, Faulty, Layer, OciArchive, Server, Store, tree};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const V2S2: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The records of a push, whatever it comes to.
fn records(server: &Server, name: &str, query: &str) -> Vec<Value> {
    let route = format!("/images/{name}/push?quiet=false&tlsVerify=false&{query}");
    let answer = server.client().post(&route).expect(200);
    assert_eq!(answer.headers["content-type"], "application/json");
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Digest of the manifest of a push that succeeds.
#[track_caller]
fn push(server: &Server, name: &str, query: &str) -> String {
    let records = records(server, name, query);
    let last = records.last().unwrap();
    last["manifestdigest"].as_str().unwrap_or_else(|| panic!("{records:?}")).to_owned()
}

/// The text with which a push fails.
#[track_caller]
fn refused(server: &Server, name: &str, query: &str) -> Value {
    let route = format!("/images/{name}/push?tlsVerify=false&{query}");
    server.client().post(&route).expect(400).json()
}

/// A manifest as Skopeo gets it.
fn manifest(store: &Store, name: &str) -> Value {
    let text =
        store.skopeo(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    serde_json::from_str(&text).unwrap()
}

fn digest(store: &Store, name: &str) -> String {
    let name = format!("docker://{name}");
    store.skopeo(["inspect", "--format", "{{.Digest}}", "--tls-verify=false", &name])
}

fn media_types(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().unwrap();
    let mut types: Vec<String> =
        layers.iter().map(|layer| layer["mediaType"].as_str().unwrap().to_owned()).collect();
    types.dedup();
    types
}

/// Puts a small image into the store of `server`.
fn small(server: &Server, name: &str) -> OciArchive {
    let layers = [
        Layer::files(&[("etc/one", name.as_bytes())]),
        Layer::random(7, "two", 20, 3000),
        Layer::files(&[("three", b"3")]),
    ];
    let image = OciArchive::new(name, &layers);
    server.client().load_bytes(image.build()).expect(200);
    image
}

#[test]
fn real_images_are_pushed_in_every_form() {
    let image = Debian::get();
    let registry = Registry::plain();
    let host = registry.host();
    let store = Store::new();
    let server = Server::start(&store);
    server.client().load(&image.docker_archive());
    server.client().load(&image.skopeo_archive());
    let other = Store::new();
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
    let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let cases: [(&str, &str, &Facts, &str, &str, &str); 6] = [
        (FULL, "full:stored", &image.full, "", V2S2, docker),
        (FULL, "full:oci", &image.full, "&format=oci", OCI, gzip),
        (FULL, "zstd:1", &image.full, "&compressionFormat=zstd", OCI, zstd),
        (DOCKER, "docker:stored", &image.docker, "", V2S2, docker),
        (DOCKER, "docker:docker", &image.docker, "&format=docker&compressionLevel=1", V2S2, docker),
        (FULL, "full:v2s2", &image.full, "&format=v2s2&compressionFormat=zstd", V2S2, docker),
    ];
    for (name, to, facts, more, kind, layer) in cases {
        let to = format!("{host}/{to}");
        let sent = push(&server, name, &format!("destination={to}{more}"));
        assert_eq!(digest(&store, &to), sent, "{to}");
        let manifest = manifest(&store, &to);
        assert_eq!(manifest["mediaType"], kind, "{to}");
        assert_eq!(media_types(&manifest), [layer], "{to}");
        other.podman(["pull", "--quiet", "--tls-verify=false", &to]);
        assert_eq!(other.diff_ids(&to), facts.diff_ids, "{to}");
        if kind == V2S2 {
            // The config is the image's own.
            assert_eq!(other.inspect(&to)["Id"], *facts.id, "{to}");
        }
    }
    let mounted = other.podman(["image", "mount", &format!("{host}/zstd:1")]);
    tree::assert_same(&tree::list(Path::new(&mounted)), &image.tree);
}

#[test]
fn what_is_there_is_not_sent_again() {
    let registry = Faulty::start();
    let host = registry.host();
    let store = Store::new();
    let server = Server::start(&store);
    small(&server, "localhost/small:1");
    let to = |name: &str| format!("destination={host}/{name}");
    let sent = push(&server, "localhost/small:1", &to("app:1"));
    assert_eq!(registry.asked("PATCH", "/blobs/uploads/").len(), 3);
    registry.forget();
    assert_eq!(push(&server, "localhost/small:1", &to("app:2")), sent);
    assert!(registry.asked("POST", "").is_empty() && registry.asked("PATCH", "").is_empty());
    // It was there a moment ago, so it is not even looked for. Should it be gone, that comes out.
    assert!(registry.asked("HEAD", "/blobs/").is_empty());
    let document: Value = serde_json::from_slice(&registry.manifest("app", "1").unwrap()).unwrap();
    let layer = document["layers"][1]["digest"].as_str().unwrap();
    registry.remove_blob("app", layer);
    registry.forget();
    assert_eq!(push(&server, "localhost/small:1", &to("app:3")), sent);
    assert_eq!(registry.asked("PATCH", "").len(), 1);
    assert!(registry.blob("app", layer).is_some());

    // Another repository takes the layers from the first, whatever that was called.
    registry.forget();
    assert_eq!(push(&server, "localhost/small:1", &to("other/app:1")), sent);
    assert!(registry.asked("PATCH", "").is_empty());
    assert_eq!(registry.asked("POST", "mount=").len(), 3);
    // Also when a new server has been started.
    assert!(server.stop().success());
    let server = Server::start(&store);
    registry.forget();
    assert_eq!(push(&server, "localhost/small:1", &to("third/app:1")), sent);
    assert!(registry.asked("PATCH", "").is_empty());

    // What was there once is sent when it is not there any more.
    for repository in ["app", "other/app", "third/app"] {
        registry.remove_blob(repository, layer);
    }
    registry.forget();
    assert_eq!(push(&server, "localhost/small:1", &to("app:1")), sent);
    assert_eq!(registry.asked("PATCH", "").len(), 1);
    assert!(registry.blob("app", layer).is_some());

    // Another compression is another blob, if it has to be.
    registry.forget();
    let zstd = "&compressionFormat=zstd";
    push(&server, "localhost/small:1", &(to("app:z") + zstd));
    assert_eq!(registry.asked("PATCH", "").len(), 3);
    registry.forget();
    let any = to("app:z2") + zstd + "&forceCompressionFormat=false";
    push(&server, "localhost/small:1", &any);
    assert!(registry.asked("PATCH", "").is_empty());
}

/// The manifest and its digest stay, and no layer is sent.
#[test]
fn a_pulled_image_goes_back_as_it_came() {
    for door in [Door::Open, Door::Token] {
        let registry = Faulty::behind(door);
        let host = registry.host();
        let store = Store::new();
        let image = OciArchive::new(
            "image:1",
            &[Layer::random(9, "one", 10, 5000), Layer::files(&[("two", b"2")])],
        );
        let original = registry.put("from/here", "1", &image);
        store.podman(["pull", "--quiet", "--tls-verify=false", &format!("{host}/from/here:1")]);
        let server = Server::start(&store);
        registry.forget();
        let name = format!("{host}/from/here:1");
        for to in ["from/here:2", "to/there:1"] {
            let sent = push(&server, &name, &format!("destination={host}/{to}"));
            assert_eq!(sent, original, "{to}");
        }
        assert!(registry.asked("PATCH", "").is_empty(), "{:#?}", registry.seen());
        assert_eq!(registry.asked("POST", "to/there/blobs/uploads/?mount=").len(), 2);
        assert_eq!(registry.manifest("to/there", "1"), registry.manifest("from/here", "1"));
    }
}

#[test]
fn manifest_lists_are_pushed_with_their_images() {
    let registry = Registry::plain();
    let host = registry.host();
    let store = Store::new();
    let server = Server::start(&store);
    small(&server, "localhost/one:1");
    small(&server, "localhost/two:1");
    // For this machine there is an image; then that is what is meant.
    store.podman(["manifest", "create", "localhost/mixed:1"]);
    store.podman(["manifest", "add", "localhost/mixed:1", "containers-storage:localhost/one:1"]);
    push(&server, "localhost/mixed:1", &format!("destination={host}/mixed:1&all=true"));
    assert_eq!(manifest(&store, &format!("{host}/mixed:1"))["mediaType"], OCI);

    store.podman(["manifest", "create", "localhost/foreign:1"]);
    for (name, architecture) in [("one", "arm64"), ("two", "s390x")] {
        let name = format!("containers-storage:localhost/{name}:1");
        let architecture = format!("--arch={architecture}");
        store.podman(["manifest", "add", "--os=linux", &architecture, "foreign:1", &name]);
    }
    let to = format!("{host}/foreign:1");
    // Without the images there is nothing that the list could list.
    let none = refused(&server, "localhost/foreign:1", &format!("destination={to}"));
    let text = none["message"].as_str().unwrap();
    assert!(text.contains("Uploading manifest list failed"), "{text}");
    let query = format!("destination={to}&all=true");
    let told = records(&server, "localhost/foreign:1", &query);
    let lines: Vec<&str> = told.iter().filter_map(|record| record["stream"].as_str()).collect();
    assert_eq!(lines[0], "Getting image list signatures\n");
    assert_eq!(lines[1], "Copying 2 images generated from 2 images in list\n");
    let list = manifest(&store, &to);
    assert_eq!(list["mediaType"], "application/vnd.oci.image.index.v1+json");
    let entries = list["manifests"].as_array().unwrap();
    let architectures: Vec<_> =
        entries.iter().map(|entry| entry["platform"]["architecture"].clone()).collect();
    assert_eq!(architectures, ["arm64", "s390x"]);
    let other = Store::new();
    for (architecture, name) in [("arm64", "one"), ("s390x", "two")] {
        let architecture = format!("--arch={architecture}");
        other.podman(["pull", "--quiet", &architecture, "--tls-verify=false", &to]);
        let name = format!("localhost/{name}:1");
        assert_eq!(other.diff_ids(&to), store.diff_ids(&name));
    }
    // One that is missing is missed.
    store.podman(["rmi", "--force", "localhost/two:1"]);
    let missing = refused(&server, "localhost/foreign:1", &query);
    let text = missing["message"].as_str().unwrap();
    assert!(text.contains("copying image 2/2 from manifest list: image instance"), "{text}");
}

#[test]
fn the_remote_client_pushes() {
    let registry = Registry::plain();
    let host = registry.host();
    let store = Store::new();
    let server = Server::start(&store);
    small(&server, "localhost/small:1");
    let to = |name: &str| format!("{host}/{name}");
    server.remote(["push", "--tls-verify=false", "small:1", &to("plain:1")]);
    assert_eq!(manifest(&store, &to("plain:1"))["mediaType"], OCI);
    server.remote(["push", "--tls-verify=false", "--quiet", "small:1", &to("quiet:1")]);
    assert_eq!(digest(&store, &to("quiet:1")), digest(&store, &to("plain:1")));
    server.remote(["push", "--tls-verify=false", "--format=v2s2", "small:1", &to("docker:1")]);
    assert_eq!(manifest(&store, &to("docker:1"))["mediaType"], V2S2);
    let zstd = "--compression-format=zstd";
    server.remote(["push", "--tls-verify=false", zstd, "small:1", &to("zstd/app:1")]);
    server.remote(["tag", "small:1", &to("named:1")]);
    server.remote(["push", "--tls-verify=false", &to("named:1")]);
    assert_eq!(digest(&store, &to("named:1")), digest(&store, &to("plain:1")));
    let text = run_failing(&mut server.remote_command(["push", "nobody", &to("x:1")]));
    assert!(text.contains("nobody: image not known"), "{text}");
}

/// Those of a client, those of a header, and a token service that is told them.
#[test]
fn logins_are_used() {
    logins_are_used_by(Setup { password: true, ..Setup::default() }, "authentication required");
    logins_are_used_by(Setup { tokens: true, ..Setup::default() }, "unauthorized");
}

fn logins_are_used_by(setup: Setup, refusal: &str) {
    let registry = Registry::start(setup);
    let host = registry.host();
    let store = Store::new();
    let server = Server::start(&store);
    small(&server, "localhost/small:1");
    let creds = format!("--creds={USER}:{PASSWORD}");
    let to = format!("{host}/app:1");
    server.remote(["push", "--tls-verify=false", &creds, "small:1", &to]);
    let wrong = format!("--creds={USER}:wrong");
    let text = run_failing(&mut server.remote_command([
        "push",
        "--tls-verify=false",
        &wrong,
        "small:1",
        &to,
    ]));
    assert!(text.contains(refusal), "{text}");
    let header = |password: &str| {
        let login = json!({"username": USER, "password": password}).to_string();
        base64::engine::general_purpose::URL_SAFE.encode(login)
    };
    let ask = |password: &str| {
        let path = format!("{PREFIX}/images/small:1/push?destination={to}&tlsVerify=false");
        let headers = [("X-Registry-Auth", &*header(password))];
        server.client().send("POST", &path, &headers, bytes::Bytes::new()).unwrap()
    };
    assert_eq!(ask(PASSWORD).expect(200).text(), "\n");
    let refused = ask("wrong").expect(400).json();
    assert!(refused["cause"].as_str().unwrap().contains(refusal), "{refused}");
    let log = server.log();
    assert!(!log.contains(PASSWORD) && !log.contains(&header(PASSWORD)));
}

/// Each kind of trouble once; then everything is in its place.
#[test]
fn troubles_pass() {
    let busy = |status| Fault::Status(status, "Retry-After: 0\r\n".to_owned());
    for (method, part, fault) in [
        ("GET", "/v2/", busy(503)),
        ("HEAD", "/blobs/", busy(429)),
        ("POST", "/blobs/uploads/", busy(503)),
        ("POST", "/blobs/uploads/", Fault::Reset),
        ("PATCH", "/blobs/uploads/", Fault::CutUpload(1000)),
        ("PATCH", "/blobs/uploads/", busy(500)),
        ("PATCH", "/blobs/uploads/", Fault::Reset),
        ("PUT", "/blobs/uploads/", busy(502)),
        ("PUT", "/blobs/uploads/", Fault::Reset),
        ("PUT", "/manifests/", busy(504)),
    ] {
        let registry = Faulty::start();
        let host = registry.host();
        let store = Store::new();
        let mut server = Server::start(&store);
        small(&server, "localhost/small:1");
        let query = format!("destination={host}/app:1&retryDelay=1ms");
        registry.fail(method, part, 1, fault.clone());
        let sent = push(&server, "small:1", &query);
        let place = format!("{method} {part} {fault:?}");
        assert_eq!(digest(&store, &format!("{host}/app:1")), sent, "{place}");
        let other = Store::new();
        other.podman(["pull", "--quiet", "--tls-verify=false", &format!("{host}/app:1")]);

        // Without further attempts it is a failure, which leaves nothing behind that has the name. The
        // config is looked for in passing, and that may fail.
        let times = if method == "HEAD" { usize::MAX } else { 1 };
        registry.fail(method, part, times, fault.clone());
        // That the registry is there, it is asked by those only who do not know yet.
        if part == "/v2/" {
            assert!(server.stop().success());
            server = Server::start(&store);
        }
        let query =
            format!("destination={host}/new:1&retryDelay=1ms&retry=0&compressionFormat=zstd");
        refused(&server, "small:1", &query);
        assert_eq!(registry.manifest("new", "1"), None, "{place}");
    }
}

#[test]
fn a_manifest_is_sent_again_when_the_registry_does_not_see_its_blobs_yet() {
    for code in ["DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"] {
        let registry = Faulty::start();
        let host = registry.host();
        let store = Store::new();
        let server = Server::start(&store);
        small(&server, "localhost/small:1");
        registry.fail("PUT", "/manifests/", 3, Fault::Refuse(400, code));
        let query = format!("destination={host}/app:1&retryDelay=1ms");
        let sent = push(&server, "small:1", &query);
        assert_eq!(digest(&store, &format!("{host}/app:1")), sent, "{code}");
        assert_eq!(registry.asked("PUT", "/manifests/").len(), 4, "{code}");

        // One that never sees them is believed.
        registry.fail("PUT", "/manifests/", usize::MAX, Fault::Refuse(400, code));
        let query = format!("destination={host}/new:1&retryDelay=1ms");
        let words = code.to_lowercase().replace('_', " ");
        let answer = refused(&server, "small:1", &query);
        assert!(answer["message"].to_string().contains(&words), "{answer}");
    }
}

#[test]
fn a_registry_that_knows_no_oci_gets_a_docker_manifest() {
    let registry = Faulty::start();
    let host = registry.host();
    let store = Store::new();
    let server = Server::start(&store);
    small(&server, "localhost/small:1");
    registry.fail("PUT", "/manifests/", 1, Fault::Status(415, String::new()));
    push(&server, "small:1", &format!("destination={host}/app:1"));
    assert_eq!(manifest(&store, &format!("{host}/app:1"))["mediaType"], V2S2);
    // Whoever asks for OCI gets it or nothing.
    registry.fail("PUT", "/manifests/", 1, Fault::Status(415, String::new()));
    let query = format!("destination={host}/app:2&format=oci");
    let text = refused(&server, "small:1", &query)["message"].to_string();
    assert!(text.contains("writing manifest: uploading manifest 2 to "), "{text}");
    registry.fail("PUT", "/manifests/", 2, Fault::Status(415, String::new()));
    let query = format!("destination={host}/app:3");
    let text = refused(&server, "small:1", &query)["message"].to_string();
    let expected = format!("Uploading manifest failed, attempted the following formats: {OCI}(");
    assert!(text.contains(&expected) && text.contains(V2S2), "{text}");
}

#[test]
fn several_pushes_at_once() {
    let registry = Registry::plain();
    let host = registry.host();
    let store = Store::new();
    let server = Server::start(&store);
    let image = Debian::get();
    server.client().load(&image.docker_archive());
    let digests: Vec<String> = std::thread::scope(|scope| {
        let pushes: Vec<_> = (0..4)
            .map(|number| {
                let query = format!("destination={host}/app{number}:1");
                let server = &server;
                scope.spawn(move || push(server, FULL, &query))
            })
            .collect();
        pushes.into_iter().map(|push| push.join().unwrap()).collect()
    });
    // Not always the same bytes: each packed its layers for itself.
    let other = Store::new();
    for (number, sent) in digests.iter().enumerate() {
        let name = format!("{host}/app{number}:1");
        assert_eq!(digest(&store, &name), *sent);
        other.podman(["pull", "--quiet", "--tls-verify=false", &name]);
        assert_eq!(other.diff_ids(&name), image.full.diff_ids, "{name}");
    }
}

/// Whoever leaves stops what he has begun.
#[test]
fn a_client_that_leaves_stops_the_push() {
    let registry = Faulty::start();
    let host = registry.host();
    let store = Store::new();
    let server = Server::start(&store);
    small(&server, "localhost/small:1");
    registry.fail("PATCH", "/blobs/uploads/", usize::MAX, busy_forever());
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    let target = format!(
        "{PREFIX}/images/small:1/push?destination={host}/app:1&quiet=false&tlsVerify=false\
         &retry=1000000&retryDelay=1ms"
    );
    write!(stream, "POST {target} HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    let mut lines = BufReader::new(&stream).lines();
    while !lines.next().unwrap().unwrap().contains("Copying blob") {}
    drop(lines);
    drop(stream);
    // The uploads are given up, and no more are begun.
    let quiet = || {
        let before = registry.seen().len();
        std::thread::sleep(std::time::Duration::from_millis(300));
        registry.seen().len() == before
    };
    let start = std::time::Instant::now();
    while !quiet() {
        assert!(start.elapsed() < crate::support::server::PATIENCE, "it goes on");
    }
    assert_eq!(registry.manifest("app", "1"), None);
    registry.behave();
    push(&server, "small:1", &format!("destination={host}/app:1"));
}

fn busy_forever() -> Fault {
    Fault::Status(503, "Retry-After: 0\r\n".to_owned())
}

#[test]
fn pushes_are_events() {
    let registry = Registry::plain();
    let host = registry.host();
    let store = Store::new();
    let log = store.path("libpod/events/events.log");
    let server = Server::start_with(&store, &["--events-log", &log.display().to_string()]);
    small(&server, "localhost/small:1");
    push(&server, "small:1", &format!("destination=docker://{host}/app:1"));
    refused(&server, "small:1", "destination=127.0.0.1:1/app:2&retry=0");
    refused(&server, "nobody", "destination=127.0.0.1:1/app:2&retry=0");
    let text = store.podman([
        "events",
        "--stream=false",
        "--filter=event=push",
        "--format={{.Name}} {{.ID}}",
    ]);
    let id = store.inspect("small:1")["Id"].as_str().unwrap().to_owned();
    let expected = [format!("docker://{host}/app:1 {id}"), format!("127.0.0.1:1/app:2 {id}")];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let file = fs::read_to_string(log).unwrap();
    assert_eq!(file.matches("\"push\"").count(), 2);
}

#[test]
fn a_damaged_layer_is_not_sent_whole() {
    let registry = Faulty::start();
    let host = registry.host();
    let store = Store::new();
    let server = Server::start(&store);
    small(&server, "localhost/small:1");
    let layers = store.records("overlay-layers/layers.json");
    let layer = layers.iter().find(|layer| layer["parent"].is_null()).unwrap();
    let id = strings(&json!([layer["id"]])).remove(0);
    let file = store.root().join("overlay").join(id).join("diff/etc/one");
    fs::write(&file, "localhost/small:2").unwrap();
    let query = format!("destination={host}/app:1&retryDelay=1ms");
    let text = refused(&server, "small:1", &query)["message"].to_string();
    assert!(text.contains("reading blob sha256:") && text.contains("etc/one"), "{text}");
    assert_eq!(registry.manifest("app", "1"), None);
    // Trying again would not help.
    let begun = registry.asked("POST", "/blobs/uploads/").len();
    assert!(begun <= 3, "{begun}");
}
