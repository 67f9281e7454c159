//! The same container committed by us and by its own tool.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::support::check::assert_sound;
use crate::support::debian::{self, BASE, Debian};
use crate::support::http::{PREFIX, escape};
use crate::support::store::strings;
use crate::support::tree::{self, Tree};
use crate::support::{DockerArchive, Layer, Server, Store};

#[track_caller]
pub(crate) fn commit(server: &Server, query: &str) -> String {
    let answer = server.client().post(&format!("/commit?{query}")).expect(200);
    answer.json()["Id"].as_str().unwrap().to_owned()
}

/// Manifest or config of an image.
pub(crate) fn document(store: &Store, image: &str, what: &[&str]) -> Value {
    let reference = store.reference(image);
    let mut command = store.skopeo_command(["inspect", "--raw"]);
    let text = crate::support::tool::run(command.args(what).arg(reference));
    serde_json::from_str(&text).unwrap()
}

/// The config of an image, without the times of its commit, its layers, and what Podman 4.3.1 and
/// 6.0 do in different ways: empty lists, which are null in the newer one.
fn config(store: &Store, image: &str) -> Value {
    let mut config = document(store, image, &["--config"]);
    assert!(config["created"].take().is_string());
    let last = config["history"].as_array_mut().unwrap().last_mut().unwrap();
    assert!(last["created"].take().is_string());
    config["rootfs"]["diff_ids"].take();
    for part in ["config", "container_config"] {
        let Some(part) = config[part].as_object_mut() else { continue };
        part.values_mut()
            .filter(|value| **value == json!([]))
            .for_each(|value| *value = Value::Null);
    }
    config
}

/// What a container of the image would see.
fn mounted(store: &Store, image: &str) -> Tree {
    let path = store.podman(["image", "mount", image]);
    let tree = tree::list(Path::new(&path));
    store.podman(["image", "unmount", image]);
    tree
}

/// A tree without the times of directories: those that no layer names get the time of unpacking.
fn without_times(mut tree: Tree) -> Tree {
    for entry in tree.values_mut().filter(|entry| entry.starts_with("dir ")) {
        // The root has none.
        entry.truncate(entry.find(" mtime=").unwrap_or(entry.len()));
    }
    tree
}

/// Changes the files of a container.
fn change(store: &Store, container: &str, change: impl FnOnce(&Path)) {
    let root = store.podman(["mount", container]);
    change(Path::new(&root));
    store.podman(["unmount", container]);
}

/// Everything in the directory of Podman's database.
pub(crate) fn database(store: &Store) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(store.root().join("libpod")).unwrap().map(|it| it.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    let mut files: Vec<_> =
        files.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect();
    files.sort();
    assert!(files.iter().any(|(name, _)| name.ends_with("bolt_state.db")));
    files
}

#[test]
fn every_kind_of_change_is_committed_as_podman_does() {
    let store = Store::new();
    let server = Server::start(&store);
    server.client().load(&Debian::get().multi_archive());
    type Step = fn(&Path);
    let steps: [(&str, Step); 3] = [
        ("odd", |root| {
            debian::add_oddities(root);
            let (kind, mode) = (FileType::Socket, Mode::from_raw_mode(0o600));
            mknodat(CWD, root.join("srv/socket"), kind, mode, 0).unwrap();
        }),
        ("less", debian::delete_and_replace),
        ("again", debian::delete_and_restore),
    ];
    let mut base = BASE.to_owned();
    for (name, step) in steps {
        // From the second step on, Podman makes a container of an image of ours.
        store.podman(["create", "--network=none", "--name", name, &base, "/x"]);
        change(&store, name, step);
        let before = database(&store);
        let id = commit(&server, &format!("container={name}&repo=ours&tag={name}"));
        assert_eq!(database(&store), before, "Podman's database was touched");
        let (ours, theirs) = (format!("localhost/ours:{name}"), format!("localhost/theirs:{name}"));
        store.podman(["commit", "--quiet", name, &theirs]);
        assert_eq!(store.inspect(&ours)["Id"], id);
        assert_eq!(config(&store, &ours), config(&store, &theirs), "{name}");
        tree::assert_same(&mounted(&store, &ours), &mounted(&store, &theirs));
        // Podman 4.3.1 itself cannot show what changed where a directory replaces a file.
        let changes = |image: &str| {
            server.client().get(&format!("/images/{}/changes", escape(image))).expect(200).json()
        };
        assert_eq!(changes(&ours), changes(&theirs), "{name}");
        base = ours;
    }
    commit(&server, "container=again&repo=ours&tag=squashed&squash=true");
    let squashed = mounted(&store, "ours:squashed");
    tree::assert_same(&squashed, &mounted(&store, &base));
    assert_eq!(store.diff_ids("ours:squashed").len(), 1);
    // And Buildah builds on it.
    let working = store.buildah(["from", "localhost/ours:squashed"]);
    store.buildah(["commit", "--quiet", &working, "localhost/built"]);
    assert_sound(&store);
}

fn small_store() -> (Store, Server) {
    let store = Store::new();
    let server = Server::start(&store);
    let tar = Layer::files(&[("etc/file", b"content"), ("bin/x", b"x")]).tar;
    let query = [
        "CMD [\"/bin/x\", \"y\"]",
        "ENV PATH=/bin",
        "ENV FROM=image",
        "LABEL from=image",
        "EXPOSE 80",
        "VOLUME /image",
        "WORKDIR /image",
    ];
    let query: Vec<_> = query.iter().map(|it| format!("changes={}", escape(it))).collect();
    let query = format!("?reference=localhost/base&{}", query.join("&"));
    server.client().import(&query, tar).expect(200);
    (store, server)
}

#[test]
fn settings_become_the_config() {
    let (store, server) = small_store();
    store.podman(["volume", "create", "named"]);
    store.podman([
        "create",
        "--name=full",
        "--env=A=1 2",
        "--env=FROM=container",
        "--label=a=b",
        "--user=5:6",
        "--workdir=/w",
        "--volume=/anonymous",
        "--volume=named:/named",
        "--publish=8080:81",
        "--expose=53/udp",
        "--entrypoint=[\"/e\",\"f\"]",
        "base",
        "arg",
    ]);
    store.podman(["create", "--network=none", "--name=plain", "base"]);
    for container in ["full", "plain"] {
        for format in ["oci", "docker"] {
            let name = |whose: &str| format!("localhost/{whose}:{container}-{format}");
            let (ours, theirs) = (name("ours"), name("theirs"));
            let query = format!(
                "container={container}&format={format}&author=Me&repo=ours&tag={container}-{format}"
            );
            commit(&server, &query);
            let format = format!("--format={format}");
            store.podman(["commit", "--quiet", &format, "--author=Me", container, &theirs]);
            assert_eq!(config(&store, &ours), config(&store, &theirs), "{ours}");
            let manifests = [&ours, &theirs].map(|name| document(&store, name, &[]));
            for key in ["schemaVersion", "mediaType"] {
                assert_eq!(manifests[0][key], manifests[1][key], "{ours} {key}");
            }
            // No change at all is an empty tar.
            assert_eq!(manifests[0]["layers"], manifests[1]["layers"], "{ours}");

            let [ours, theirs] = [ours, theirs].map(|name| format!("{name}-squashed"));
            let tag = ours.rsplit(':').next().unwrap();
            let kind = format.trim_start_matches("--format=");
            commit(
                &server,
                &format!("container={container}&format={kind}&squash=true&repo=ours&tag={tag}"),
            );
            store.podman(["commit", "--quiet", &format, "--squash", container, &theirs]);
            assert_eq!(config(&store, &ours), config(&store, &theirs), "{ours}");
            // Podman rounds times to the nearest second here, and cuts fractions off otherwise.
            let [ours, theirs] = [ours, theirs].map(|name| without_times(mounted(&store, &name)));
            tree::assert_same(&ours, &theirs);
        }
    }
    let created = &document(&store, "localhost/ours:full-oci", &[])["annotations"];
    let image = document(&store, "localhost/ours:full-oci", &["--config"]);
    assert_eq!(created["org.opencontainers.image.created"], image["created"]);
    assert_sound(&store);
}

/// With the rules of the newest server, which 4.3.1 does not have.
#[test]
fn changes_and_a_config_replace_settings() {
    let (store, server) = small_store();
    store.podman(["create", "--network=none", "--name=c", "--entrypoint=/e", "base", "arg"]);
    let body = json!({"Env": ["FROM=body", "B=1"], "labels": {"b": "1"}, "StopSignal": "SIGHUP"});
    let changes = ["USER=me", "ENV B=2 C=\"3 4\"", "EXPOSE 81", "CMD [\"z\"]", "WORKDIR rel"];
    let changes: Vec<_> = changes.iter().map(|it| format!("changes={}", escape(it))).collect();
    let path = format!("{PREFIX}/commit?container=c&repo=changed&{}", changes.join("&"));
    let answer = server.client().post_bytes(&path, body.to_string());
    answer.expect(200);
    let config = &document(&store, "localhost/changed:latest", &["--config"])["config"];
    assert_eq!(config["User"], "me");
    assert_eq!(config["Cmd"], json!(["z"]));
    assert_eq!(config["Entrypoint"], Value::Null, "one of the pair replaces both");
    assert_eq!(config["WorkingDir"], "/rel");
    assert_eq!(config["StopSignal"], "SIGHUP");
    assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}, "81/tcp": {}}));
    assert_eq!(config["Labels"], json!({"b": "1", "from": "image"}));
    let env = strings(&config["Env"]);
    for variable in ["FROM=body", "B=2", "C=3 4", "PATH=/bin", "container=podman"] {
        assert!(env.iter().any(|it| it == variable), "{variable} in {env:?}");
    }
    assert_eq!(env.iter().filter(|it| it.starts_with("FROM=")).count(), 1);
    // A name that an image has in the store is moved, whatever it would be normalised to.
    store.podman(["tag", "base", "docker.io/library/known:latest"]);
    let id = commit(&server, "container=c&repo=known");
    assert_eq!(store.inspect("docker.io/library/known")["Id"], id);
    assert_sound(&store);
}

#[test]
fn a_remote_podman_commits() {
    let (store, server) = small_store();
    store.podman(["create", "--network=none", "--name=c", "base", "/x"]);
    let id = server.remote(["commit", "--quiet", "c", "remote:plain"]);
    assert_eq!(store.inspect("remote:plain")["Id"], id);
    server.remote([
        "commit",
        "--quiet",
        "--format=docker",
        "--author=Me",
        "--message=words",
        "--squash",
        "--pause",
        "--change=CMD /y",
        "--change=LABEL x=y",
        "c",
        "remote:full",
    ]);
    let image = store.inspect("remote:full");
    assert_eq!((&image["Author"], &image["Comment"]), (&json!("Me"), &json!("words")));
    assert_eq!(image["Config"]["Cmd"], json!(["/bin/sh", "-c", "/y"]));
    assert_eq!(image["Config"]["Labels"], json!({"x": "y", "from": "image"}));
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    let id = server.remote(["commit", "c"]);
    assert_eq!(store.inspect(id.lines().last().unwrap())["RepoTags"], json!([]));
    let iid = store.path("iid");
    server.remote(["commit", "--iidfile", iid.to_str().unwrap(), "c", "remote:iid"]);
    assert_eq!(store.inspect("remote:iid")["Id"], fs::read_to_string(iid).unwrap().trim());
    let error = crate::support::tool::run_failing(&mut server.remote_command(["commit", "nope"]));
    assert!(
        error.contains("no container with name or ID \"nope\" found: no such container"),
        "{error}"
    );
    assert_sound(&store);
}

#[test]
fn containers_of_buildah() {
    let (store, server) = small_store();
    let working = store.buildah(["from", "--name=working", "localhost/base"]);
    for (option, value) in [
        ("--cmd", "/bin/sh -c true"),
        ("--env", "LANG=C.UTF-8"),
        ("--label", "purpose=interop <&>"),
        ("--workingdir", "/srv"),
        ("--user", "1000:1001"),
        ("--port", "8080/tcp"),
        ("--author", "Jürgen Prüfer"),
        ("--annotation", "noted=yes"),
        ("--created-by", "hand"),
        ("--history-comment", "carefully"),
    ] {
        store.buildah(["config", option, value, &working]);
    }
    let root = store.buildah(["mount", &working]);
    fs::write(Path::new(&root).join("new"), "new").unwrap();
    fs::remove_file(Path::new(&root).join("etc/file")).unwrap();
    store.buildah(["unmount", &working]);
    let scratch = store.buildah(["from", "scratch"]);
    let root = store.buildah(["mount", &scratch]);
    fs::write(Path::new(&root).join("only"), "file").unwrap();
    for container in [&working, &scratch] {
        for format in ["oci", "docker"] {
            let tag = format!("{container}-{format}");
            let (ours, theirs) =
                (format!("localhost/ours:{tag}"), format!("localhost/theirs:{tag}"));
            commit(&server, &format!("container={container}&format={format}&repo=ours&tag={tag}"));
            store.buildah(["commit", "--quiet", "--format", format, container, &theirs]);
            let (mut own, mut other) = (config(&store, &ours), config(&store, &theirs));
            for config in [&mut own, &mut other] {
                // Buildah signs what it commits, makes up a host name for Docker, and does not say
                // there what the image is based on; Podman does.
                for part in ["config", "container_config"] {
                    let Some(part) = config[part].as_object_mut() else { continue };
                    let Some(Value::Object(labels)) = part.get_mut("Labels") else { continue };
                    labels.remove("io.buildah.version");
                    if labels.is_empty() {
                        // Docker has the key in any case.
                        if format == "oci" {
                            part.remove("Labels");
                        } else {
                            part.insert("Labels".to_owned(), Value::Null);
                        }
                    }
                }
                // 1.28 forgets the space.
                let last = config["history"].as_array_mut().unwrap().last_mut().unwrap();
                if last["comment"] == "carefullyFROM localhost/base:latest" {
                    last["comment"] = "carefully FROM localhost/base:latest".into();
                }
                for key in [
                    "/container_config/Hostname",
                    "/config/Hostname",
                    "/parent",
                    "/container_config/Image",
                    "/config/Image",
                ] {
                    if let Some(value) = config.pointer_mut(key) {
                        value.take();
                    }
                }
            }
            assert_eq!(own, other, "{tag}");
            tree::assert_same(&mounted(&store, &ours), &mounted(&store, &theirs));
            if format == "oci" {
                let annotations = |name: &str| document(&store, name, &[])["annotations"].clone();
                let (mut own, other) = (annotations(&ours), annotations(&theirs));
                // Only newer ones tell the time here.
                let created =
                    own.as_object_mut().unwrap().remove("org.opencontainers.image.created");
                assert!(created.unwrap().is_string());
                assert_eq!(own, other, "{tag}");
            }
        }
    }
    store.buildah(["unmount", &scratch]);
    assert_sound(&store);
}

/// Podman answers 404; here whoever has a layer in the store has something to commit.
#[test]
fn containers_that_nobody_knows() {
    let (store, server) = small_store();
    let image = store.inspect("base")["Id"].as_str().unwrap().to_owned();
    let id = store.storage(["create-container", "--name", "stranger", &image]);
    let id = id.lines().next().unwrap().trim().to_owned();
    commit(&server, "container=stranger&repo=plain");
    let plain = document(&store, "localhost/plain:latest", &["--config"]);
    let base = document(&store, "localhost/base:latest", &["--config"]);
    assert_eq!(plain["config"], base["config"]);
    assert_eq!(plain["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);

    let userdata = store.root().join("overlay-containers").join(&id).join("userdata");
    fs::create_dir_all(&userdata).unwrap();
    let runtime = json!({"process": {"args": ["/run", "me"], "env": ["A=1"], "cwd": "/there",
        "user": {"uid": 7, "gid": 8}}});
    fs::write(userdata.join("config.json"), runtime.to_string()).unwrap();
    // By the beginning of its ID, too.
    commit(&server, &format!("container={}&repo=runtime", &id[..20]));
    let config = &document(&store, "localhost/runtime:latest", &["--config"])["config"];
    assert_eq!(config["Cmd"], json!(["/run", "me"]));
    assert_eq!(config["WorkingDir"], "/there");
    assert_eq!(config["User"], "7:8");
    assert!(strings(&config["Env"]).contains(&"A=1".to_owned()));
    assert_sound(&store);
}

#[test]
fn what_cannot_be_committed_leaves_nothing() {
    let (store, server) = small_store();
    let rootfs = store.path("rootfs");
    fs::create_dir(&rootfs).unwrap();
    store.podman([
        "create",
        "--network=none",
        "--name=external",
        "--rootfs",
        rootfs.to_str().unwrap(),
        "/x",
    ]);
    let id = store.podman(["create", "--network=none", "--name=c", "base", "/x"]);
    change(&store, "c", |root| fs::write(root.join("etc/file"), "changed").unwrap());
    let before = tree::outline(&store.root());
    let fails = |query: &str, status: u16, message: &str| {
        let answer = server.client().post(&format!("/commit?{query}")).expect(status).json();
        assert_eq!(answer["message"], message, "{query}");
    };
    let text = "cannot commit a container that uses an exploded rootfs";
    fails("container=external", 500, text);
    fails("container=", 404, "name or ID cannot be empty");
    let text = "parsing reference \"BAD NAME:latest\": invalid reference format";
    fails("container=c&repo=BAD%20NAME", 500, text);
    let changes = format!(
        "copying layers and metadata for container \"{id}\": initializing source \
         containers-storage:c: applying changes: processing change \"RUN x\": Please provide a \
         source image with `from` prior to run"
    );
    fails("container=c&changes=RUN%20x", 500, &changes);
    // In a stream it is told there.
    let answer =
        server.client().post("/commit?container=c&stream=true&changes=RUN%20x").expect(200);
    assert_eq!(answer.json(), json!({"errorDetail": {"message": changes}}));
    server.client().post("/commit?container=nope&stream=true").expect(404);

    // An overlay with features that only a mount can read.
    let layer = &store.records("overlay-containers/containers.json")[1]["layer"];
    let file = store.root().join("overlay").join(layer.as_str().unwrap()).join("diff/etc/file");
    let key = "trusted.overlay.metacopy";
    rustix::fs::setxattr(&file, key, b"", rustix::fs::XattrFlags::empty()).unwrap();
    let answer = server.client().post("/commit?container=c").expect(501).json();
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("etc/file") && message.contains("metacopy"), "{message}");
    rustix::fs::removexattr(&file, key).unwrap();
    tree::assert_same(&tree::outline(&store.root()), &before);
    commit(&server, "container=c&repo=fine");
    assert_sound(&store);
}

/// A commit tells what it does, layer by layer.
#[test]
fn progress_is_streamed() {
    let store = Store::new();
    let server = Server::start(&store);
    let layers = [Layer::files(&[("a", b"1")]), Layer::files(&[("b", b"2")])];
    let archive = DockerArchive::new(&["localhost/base:1"], &layers);
    server.client().load_bytes(archive.build()).expect(200);
    store.podman(["create", "--network=none", "--name=c", "base:1", "/x"]);
    let answer = server.client().post("/commit?container=c&stream=true").expect(200);
    assert_eq!(answer.headers["content-type"], "application/json");
    let records: Vec<Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<_> = records.iter().map(|record| record["stream"].as_str().unwrap()).collect();
    let id = *lines.last().unwrap();
    let config = format!("Copying config sha256:{id}\n");
    let diff_ids = store.diff_ids(id);
    let blobs: Vec<_> = diff_ids.iter().map(|it| format!("Copying blob {it}\n")).collect();
    let mut expected = vec!["Getting image source signatures\n"];
    expected.extend(blobs.iter().map(String::as_str));
    expected.extend([config.as_str(), "Writing manifest to image destination\n", id]);
    assert_eq!(lines, expected);
    assert_sound(&store);
}
