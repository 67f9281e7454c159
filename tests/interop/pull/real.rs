//! Real images through Debian's registry: what Podman and Skopeo push, we pull, and Podman uses.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{answer, pull, pulled, records, refused, start};
use crate::support::check::assert_sound;
use crate::support::debian::{BASE, DOCKER, Debian, FULL};
use crate::support::http::escape;
use crate::support::registry::{PASSWORD, Registry, Setup, USER};
use crate::support::tool::run;
use crate::support::{Layer, OciArchive, Server, Store, tree};

/// What inspect says, without what a store decides.
fn inspected(server: &Server, name: &str) -> Value {
    let mut image =
        server.client().get(&format!("/images/{}/json", escape(name))).expect(200).json();
    let image = image.as_object_mut().unwrap();
    // Which of several digests is shown here is another thing in Podman 6.
    image.remove("Digest");
    image.remove("GraphDriver");
    Value::Object(image.clone())
}

/// Digests and names of one image as the list has them.
fn listed(server: &Server) -> Vec<Value> {
    let list = server.client().get("/images/json").expect(200).json();
    let one = |image: &Value| {
        json!([
            image["Id"],
            image["RepoTags"],
            image["RepoDigests"],
            image["Digest"],
            image["Size"]
        ])
    };
    list.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn what_podman_and_skopeo_push_is_pulled_as_podman_pulls_it() {
    let image = Debian::get();
    let registry = Registry::plain();
    let host = registry.host();
    let source = Store::new();
    source.podman(["load", "--quiet", "--input", &image.multi_archive().display().to_string()]);
    source.podman(["load", "--quiet", "--input", &image.skopeo_archive().display().to_string()]);
    let to = |name: &str| format!("{host}/{name}");
    for (from, name, format) in [
        (BASE, "base:1", "oci"),
        (FULL, "full:1", "oci"),
        (FULL, "full:2", "v2s2"),
        (DOCKER, "docker:1", "v2s2"),
    ] {
        source.podman([
            "push",
            "--quiet",
            "--tls-verify=false",
            "--format",
            format,
            from,
            &to(name),
        ]);
    }
    let archive = format!("oci-archive:{}", image.zstd_archive().display());
    let zstd = format!("docker://{}", to("zstd:1"));
    source.skopeo([
        "copy",
        "--quiet",
        "--preserve-digests",
        "--dest-tls-verify=false",
        &archive,
        &zstd,
    ]);

    let (ours, theirs) = (Store::new(), Store::new());
    let server = start(&ours, "");
    let podman = {
        let socket = theirs.path("podman.sock");
        let mut command = crate::support::server::podman_service(&theirs, &socket);
        Server::spawn(&theirs, &mut command, &socket)
    };
    for name in ["base:1", "full:1", "full:2", "docker:1", "zstd:1"] {
        let name = to(name);
        let id = pull(&server, &name);
        theirs.podman(["pull", "--quiet", "--tls-verify=false", &name]);
        assert_eq!(inspected(&server, &name), inspected(&podman, &name), "{name}");
        assert_eq!(inspected(&server, &name)["Id"], id);
        assert_sound(&ours);
    }
    assert_eq!(listed(&server), listed(&podman));
    let mounted = ours.podman(["image", "mount", &to("full:1")]);
    tree::assert_same(&tree::list(Path::new(&mounted)), &image.tree);
    ours.podman(["image", "unmount", &to("full:1")]);

    // By digest: the name is then one with a digest.
    let full = format!("docker://{}", to("full:2"));
    let digest = ours.skopeo(["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &full]);
    for store in [&server, &podman] {
        let ids = store.client().delete("/images/remove?all=true&force=true").expect(200);
        drop(ids);
    }
    let name = format!("{}@{digest}", to("full"));
    let id = pull(&server, &name);
    theirs.podman(["pull", "--quiet", "--tls-verify=false", &name]);
    assert_eq!(id, image.full.id);
    assert_eq!(inspected(&server, &name), inspected(&podman, &name));
    assert_eq!(listed(&server), listed(&podman));
    assert_sound(&ours);
}

#[test]
fn lists_give_what_was_asked_for() {
    let registry = Registry::plain();
    let host = registry.host();
    let source = Store::new();
    let list = format!("{host}/multi:1");
    source.buildah(["manifest", "create", "multi"]);
    for (arch, variant) in [("amd64", ""), ("arm64", "v8"), ("arm", "v7"), ("arm", "v6")] {
        let layer = Layer::files(&[("arch", format!("{arch}{variant}").as_bytes())]);
        let image = OciArchive::configured("image:1", &[layer], |config| {
            config["architecture"] = arch.into();
            if !variant.is_empty() {
                config["variant"] = variant.into();
            }
        });
        let file = source.path(&format!("{arch}{variant}.tar"));
        fs::write(&file, image.build()).unwrap();
        let from = format!("oci-archive:{}", file.display());
        let mut add = source.buildah_command(["manifest", "add", "--arch", arch]);
        if !variant.is_empty() {
            add.args(["--variant", variant]);
        }
        run(add.args(["multi", &from]));
    }
    let to = format!("docker://{list}");
    source.buildah(["manifest", "push", "--all", "--tls-verify=false", "multi", &to]);

    let (ours, theirs) = (Store::new(), Store::new());
    let server = start(&ours, "");
    let socket = theirs.path("podman.sock");
    let mut podman = crate::support::server::podman_service(&theirs, &socket);
    let podman = Server::spawn(&theirs, &mut podman, &socket);
    for query in
        ["", "arch=arm64", "arch=arm&variant=v7", "arch=arm&variant=v6", "Arch=amd64&OS=linux"]
    {
        let ids = [&server, &podman].map(|server| pulled(server, &list, query));
        assert_eq!(ids[0], ids[1], "{query}");
        assert_eq!(listed(&server), listed(&podman), "{query}");
        assert_eq!(inspected(&server, &list), inspected(&podman, &list), "{query}");
        assert_sound(&ours);
    }
    let (status, message) = refused(&server, &list, "arch=s390x");
    assert_eq!(status, 500);
    let reason =
        "no image found in image index for architecture \"s390x\", variant \"\", OS \"linux\"";
    let place = format!("docker://{list}");
    assert_eq!(
        message,
        format!(
            "unable to copy from source {place}: choosing an image from manifest list {place}: {reason}"
        )
    );
}

#[test]
fn podman_remote_pulls() {
    let registry = Registry::plain();
    registry.push(&["app:1", "app:2", "other:1"]);
    let host = registry.host();
    let store = Store::new();
    let server = start(&store, "");
    let name = format!("{host}/app:1");
    let id = server.remote(["pull", "--quiet", "--tls-verify=false", &name]);
    assert_eq!(
        id,
        server.remote(["images", "--quiet", "--no-trunc", &name]).trim_start_matches("sha256:")
    );
    server.remote(["pull", "--tls-verify=false", "--all-tags", &format!("{host}/app")]);
    let mut names = server.remote(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    names = names
        .lines()
        .map(str::to_owned)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(names, format!("{host}/app:1 {host}/app:2"));
    let text = crate::support::tool::run_failing(&mut server.remote_command([
        "pull",
        "--tls-verify=false",
        &format!("{host}/nothing:1"),
    ]));
    assert!(text.contains("manifest unknown") || text.contains("name unknown"), "{text}");
    assert_sound(&store);
}

#[test]
fn all_tags_and_their_records() {
    let registry = Registry::plain();
    registry.push(&["app:1", "app:2"]);
    let host = registry.host();
    let store = Store::new();
    let server = start(&store, "");
    let answer =
        answer(&server, &format!("{host}/app"), "allTags=true&pullProgress=true").expect(200);
    let records = records(&answer);
    let streams: Vec<_> = records.iter().filter_map(|it| it["stream"].as_str()).collect();
    for tag in [1, 2] {
        assert!(
            streams.contains(&&*format!("Trying to pull {host}/app:{tag}...\n")),
            "{streams:?}"
        );
    }
    let of =
        |status: &str| records.iter().filter(|it| it["pullProgress"]["status"] == status).count();
    // A layer and a config, and then the config once more.
    assert_eq!((of("success"), of("skipped")), (3, 1), "{records:#?}");
    let last = records.last().unwrap();
    assert_eq!(last["status"], "success");
    assert_eq!(last["images"].as_array().unwrap().len(), 2);
}

/// TLS with an authority and client certificates, passwords, and tokens.
#[test]
fn registries_that_want_to_know_who_asks() {
    let secret = |password: &str| {
        let login = json!({"username": USER, "password": password}).to_string();
        base64::engine::general_purpose::URL_SAFE.encode(login)
    };
    for setup in [
        Setup { tls: true, client_certificate: true, ..Setup::default() },
        Setup { tls: true, password: true, ..Setup::default() },
        Setup { password: true, ..Setup::default() },
        Setup { tokens: true, ..Setup::default() },
    ] {
        let registry = Registry::start(setup);
        registry.push(&["private/app:1"]);
        let store = Store::new();
        let server = start(&store, "");
        let name = format!("{}/private/app:1", registry.host());
        let ask = |password: &str| {
            let verify = setup.tls;
            let path = format!(
                "/v5.0.0/libpod/images/pull?reference={}&tlsVerify={verify}&quiet=true",
                escape(&name)
            );
            let secret = secret(password);
            let header = [("X-Registry-Auth", &*secret)];
            let headers = if password.is_empty() { &[][..] } else { &header[..] };
            server.client().send("POST", &path, headers, Default::default()).unwrap()
        };
        if setup.tls {
            let error = ask(PASSWORD).expect(500).text();
            assert!(error.contains("certificate signed by unknown authority"), "{error}");
            registry.make_known(store.dir());
        }
        if setup.password {
            assert_eq!(ask("").status, 401, "{setup:?}");
            assert_eq!(ask("wrong").status, 401, "{setup:?}");
        } else if setup.tokens {
            let error = ask("").text();
            assert!(error.contains("denied") || error.contains("unauthorized"), "{error}");
            assert!(ask("wrong").text().contains("incorrect username or password"));
        }
        ask(PASSWORD).expect(200);
        assert!(!server.log().contains(PASSWORD), "a password is in the log");
        assert_sound(&store);
    }
}
