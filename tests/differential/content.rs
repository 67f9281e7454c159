//! What both stores hold when the scenario begins: images of every kind, made from the same bytes
//! by the same commands.

use serde_json::{Value, json};

use crate::pair::Side;
use crate::support::{DockerArchive, Layer, OciArchive};

/// The search list and the aliases of both servers.
pub(crate) const REGISTRIES: &str = r#"
unqualified-search-registries = ["example.test", "quay.io"]
[aliases]
"shorty" = "quay.io/ns/sub/c"
"gone" = "quay.io/gone/gone"
"#;

/// The layers that the images are put together from.
pub(crate) fn layer(number: u64) -> Layer {
    match number {
        1 => Layer::random(1, "base", 20, 700),
        2 => Layer::files(&[("etc/name", b"second"), ("etc/gone", b"g"), ("opt/a/b", b"b")]),
        3 => Layer::files(&[("etc/name", b"third"), ("etc/.wh.gone", b""), ("new/file", b"n")]),
        4 => Layer::files(&[("opt/.wh.a", b""), ("etc/hosts", b"h"), ("usr/bin/x", b"#!x")]),
        other => Layer::files(&[("number", other.to_string().as_bytes())]),
    }
}

/// Sets when an image was made, and gives it a history of its own.
fn dated(config: &mut Value, created: &str, steps: &[&str]) {
    config["created"] = json!(created);
    let step = |text: &&str| json!({ "created": "2023-12-01T08:00:00Z", "created_by": *text });
    config["history"] = steps.iter().map(step).collect();
}

/// The layers below the family of `base`, as far as the image with this many has them.
pub(crate) fn family(names: &[&str], layers: &[u64], created: &str) -> DockerArchive {
    let steps: Vec<String> = layers.iter().map(|number| format!("step {number}")).collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let layers: Vec<Layer> = layers.iter().copied().map(layer).collect();
    DockerArchive::new(names, &layers).configured(|config| dated(config, created, &steps))
}

/// Two layers under three names.
pub(crate) fn base() -> DockerArchive {
    let names = ["localhost/base:latest", "quay.io/ns/sub/c:9", "docker.io/library/foo:1"];
    family(&names, &[1, 2], "2024-01-10T10:00:00Z")
        .configured(|config| config["config"]["Labels"] = json!({ "kind": "base", "v": "1.0" }))
}

/// Built on [`base`], without a name.
pub(crate) fn middle() -> DockerArchive {
    family(&[], &[1, 2, 3], "2024-02-10T10:00:00Z")
}

/// Built on [`middle`].
pub(crate) fn leaf() -> DockerArchive {
    family(&["localhost/leaf:1"], &[1, 2, 3, 4], "2024-03-10T10:00:00Z")
}

/// Built on [`base`] as well.
pub(crate) fn sibling() -> DockerArchive {
    family(&["localhost/sibling:1"], &[1, 2, 5], "2024-03-11T10:00:00.123456789Z")
}

/// Everything a docker config can say.
pub(crate) fn rich() -> DockerArchive {
    DockerArchive::new(&["localhost/rich:1", "localhost/rich:2"], &[layer(6), layer(7)]).configured(
        |config| {
            config["created"] = json!("2022-05-05T05:05:05.5Z");
            config["author"] = json!("A. <B> & C");
            config["comment"] = json!("a comment");
            config["docker_version"] = json!("20.10.7");
            config["config"] = json!({
                "User": "1000:1000",
                "ExposedPorts": { "80/tcp": {}, "53/udp": {} },
                "Env": ["PATH=/bin", "A=<&>"],
                "Entrypoint": ["/entry"],
                "Cmd": ["run", "it"],
                "Volumes": { "/data": {} },
                "WorkingDir": "/work",
                "Labels": { "kind": "rich", "empty": "", "a.b/c": "d" },
                "StopSignal": "SIGINT",
                "OnBuild": ["RUN true"],
                "Shell": ["/bin/bash", "-c"],
                "Healthcheck": { "Test": ["CMD", "true"], "Interval": 5_000_000_000_u64, "Retries": 3 },
                "Hostname": "h", "Domainname": "d", "Image": "sha256:abc",
            });
            config["container_config"] = json!({ "Cmd": ["nop"] });
            config["history"] = json!([
                { "created": "2022-05-05T05:05:01Z", "created_by": "ADD one", "comment": "first" },
                { "created": "2022-05-05T05:05:02Z", "created_by": "ENV", "empty_layer": true },
                { "created": "2022-05-05T05:05:03Z", "created_by": "ADD two", "author": "me" },
                { "created": "2022-05-05T05:05:04Z", "created_by": "CMD", "empty_layer": true },
            ]);
        },
    )
}

/// For another platform, in OCI form.
pub(crate) fn foreign() -> OciArchive {
    OciArchive::configured("quay.io/other/app:v2", &[layer(8), layer(9)], |config| {
        dated(config, "2023-07-07T07:07:07Z", &["eight", "nine"]);
        config["history"][0]["comment"] = json!("the oldest");
        config["architecture"] = json!("arm64");
        config["variant"] = json!("v8");
        config["config"] = json!({});
    })
}

/// In OCI form, stored by its digest alone.
pub(crate) fn pinned() -> OciArchive {
    OciArchive::configured("quay.io/by/digest:1", &[layer(1), layer(10)], |config| {
        dated(config, "2023-08-08T08:08:08Z", &["one", "ten"]);
        config["config"]["Labels"] = json!({ "kind": "pinned" });
    })
}

/// Nobody's image number `number`.
pub(crate) fn dangling(number: u64) -> DockerArchive {
    DockerArchive::new(&[], &[layer(number)]).configured(|config| {
        dated(config, "2021-01-01T00:00:00Z", &["lost"]);
        config["config"]["Labels"] = json!({ "lost": number.to_string() });
    })
}

/// Valid, but with next to nothing in its config.
pub(crate) fn terse() -> DockerArchive {
    DockerArchive::new(&["localhost/terse:1"], &[layer(13)]).configured(|config| {
        let diff_ids = config["rootfs"].take();
        *config = json!({ "architecture": "amd64", "os": "linux", "rootfs": diff_ids });
    })
}

/// Fills one store.
pub(crate) fn fill(side: &mut Side) {
    let archives = [
        base().build(),
        middle().build(),
        leaf().build(),
        sibling().build(),
        rich().build(),
        foreign().build(),
        dangling(11).build(),
        dangling(12).build(),
        terse().build(),
    ];
    let store = &side.store;
    let file = store.path("archive.tar");
    let path = file.display().to_string();
    for archive in archives {
        std::fs::write(&file, archive).unwrap();
        store.podman(["load", "--quiet", "--input", &path]);
    }
    std::fs::write(&file, pinned().build()).unwrap();
    let name = format!("quay.io/by/digest@sha256:{}", pinned().manifest_blob());
    store.skopeo(["copy", "--quiet", &format!("oci-archive:{path}"), &store.reference(&name)]);
    std::fs::remove_file(file).unwrap();
    std::fs::write(store.path("Containerfile"), "FROM scratch\nLABEL kind=bare\n").unwrap();
    let time = "--timestamp=1700000000";
    store.buildah(["build", "--quiet", time, "--tag", "localhost/bare:1", "."]);

    let list = store.podman(["manifest", "create", "localhost/list:1"]);
    for instance in ["localhost/leaf:1", "quay.io/other/app:v2"] {
        store.podman(["manifest", "add", "localhost/list:1", &store.reference(instance)]);
    }
    let nothing = store.podman(["manifest", "create", "localhost/nothing:1"]);
    store.podman(["create", "--network=none", "--name=made", "localhost/base", "/x"]);
    store.buildah(["from", "--quiet", "--name=foreign", "localhost/sibling:1"]);
    let mut symbols = vec![("list", list), ("nothing", nothing)];
    for container in store.records("overlay-containers/containers.json") {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names = ["foreign", "made"];
        let name = names.into_iter().find(|name| container["names"][0] == *name).unwrap();
        let layer = if name == "made" { "layer-made" } else { "layer-foreign" };
        symbols.push((name, text(&container["id"])));
        symbols.push((layer, text(&container["layer"])));
    }
    side.symbols.extend(symbols.into_iter().map(|(name, text)| (name.to_owned(), text)));
}
