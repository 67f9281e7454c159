//! The remote client of Podman 4.3.1 drives the daemon.

use std::fs;

use serde_json::{Value, json};

use crate::load::{assert_empty, expected};
use crate::names::two_images;
use crate::support::check::assert_sound;
use crate::support::debian::{Debian, FULL};
use crate::support::saved;
use crate::support::tool::{output, run, run_failing};
use crate::support::{Layer, Server, Store};

#[test]
fn the_remote_client_manages_images() {
    let store = Store::new();
    let server = Server::start(&store);
    let (first, second) = two_images();
    for (name, archive) in [("first", &first), ("second", &second)] {
        let file = store.path(&format!("{name}.tar"));
        fs::write(&file, archive.build()).unwrap();
        let answer = server.remote(["load", "--input", &file.display().to_string()]);
        assert_eq!(answer, format!("Loaded image: localhost/{name}:1"));
    }
    let list =
        server.remote(["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"]);
    let mut list: Vec<&str> = list.lines().collect();
    list.sort_unstable();
    let mut known = [
        format!("sha256:{} localhost/first:1", first.image_id(0)),
        format!("sha256:{} localhost/second:1", second.image_id(0)),
    ];
    known.sort();
    assert_eq!(list, known);

    let local = store.inspect("first:1");
    let text = server.remote(["image", "inspect", "first:1"]);
    let remote: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(remote, json!([local]));

    let exists = |name| output(&mut server.remote_command(["image", "exists", name])).status.code();
    assert_eq!(exists("first:1"), Some(0));
    assert_eq!(exists("localhost/second:1"), Some(0));
    assert_eq!(exists("third"), Some(1));

    for command in [["history", "--no-trunc", "first:1"], ["image", "tree", "first:1"]] {
        let [name, rest @ ..] = command;
        assert_eq!(server.remote([name, rest[0], rest[1]]), store.podman([name, rest[0], rest[1]]));
    }

    server.remote(["tag", "first:1", "quay.io/example/app:v1", "app"]);
    let names = |name: &str| store.inspect(name)["RepoTags"].clone();
    let mut tags = crate::support::store::strings(&names("app"));
    tags.sort();
    assert_eq!(tags, ["localhost/app:latest", "localhost/first:1", "quay.io/example/app:v1"]);
    server.remote(["untag", "first:1", "app"]);
    server.remote(["untag", "second:1"]);
    assert_eq!(names(&second.image_id(0)), json!([]));

    let error = run_failing(&mut server.remote_command(["rmi", "nobody"]));
    assert!(error.contains("nobody: image not known"), "{error}");
    let container = store.podman(["create", "--network=none", "first:1"]);
    let error = run_failing(&mut server.remote_command(["rmi", &first.image_id(0)]));
    assert!(error.contains("more than one tag"), "{error}");
    server.remote(["untag", "first:1", "quay.io/example/app:v1"]);
    let error = run_failing(&mut server.remote_command(["rmi", "first:1"]));
    assert!(error.contains("image is in use by a container"), "{error}");
    store.podman(["rm", &container]);
    let removed = server.remote(["rmi", "first:1", &second.image_id(0)]);
    assert!(removed.contains("Untagged: localhost/first:1"), "{removed}");
    assert!(removed.contains(&format!("Deleted: {}", second.image_id(0))), "{removed}");
    assert_empty(&store);
}

#[test]
fn the_remote_client_loads_and_saves_real_images() {
    let image = Debian::get();
    let store = Store::new();
    let server = Server::start(&store);
    let answer = server.remote(["load", "--input", &path(&image.multi_archive())]);
    assert_eq!(answer, "Loaded image: localhost/debian:base\nLoaded image: localhost/debian:full");
    let target = Store::new();
    for format in ["docker-archive", "oci-archive"] {
        let file = store.path(format);
        server.remote(["save", "--format", format, "--output", &path(&file), FULL]);
        let saved = if format == "oci-archive" {
            saved::oci_archive(&file)
        } else {
            saved::docker_archive(&file).remove(0)
        };
        assert_eq!(saved, expected(FULL, &image.full), "{format}");
    }
    let file = store.path("both.tar");
    let base = crate::support::debian::BASE;
    server.remote(["save", "--multi-image-archive", "--output", &path(&file), base, FULL]);
    assert_eq!(
        saved::docker_archive(&file),
        [expected(base, &image.base), expected(FULL, &image.full)]
    );
    target.podman(["load", "--input", &path(&file)]);
    assert_eq!(target.diff_ids(FULL), image.full.diff_ids);
    assert_sound(&store);
}

/// The rest of its image commands.
#[test]
fn the_remote_client_imports_saves_directories_and_prunes() {
    let store = Store::new();
    let server = Server::start(&store);
    let root = store.path("root.tar");
    let layer = Layer::files(&[("etc/imported", b"1")]);
    fs::write(&root, &layer.tar).unwrap();
    let (file, changes) = (path(&root), ["--change=CMD=[\"/x\"]", "--message=from a tar"]);
    let id = server.remote(["import", changes[0], changes[1], &file, "localhost/imported:1"]);
    let image = store.inspect("localhost/imported:1");
    assert_eq!(id, format!("sha256:{}", image["Id"].as_str().unwrap()));
    assert_eq!(
        (&image["Config"]["Cmd"], &image["Comment"]),
        (&json!(["/x"]), &json!("from a tar"))
    );
    assert_eq!(store.diff_ids("imported:1"), [layer.diff_id()]);

    let target = Store::new();
    for (format, kind, options) in [
        ("oci-dir", "oci", &[][..]),
        ("docker-dir", "dir", &[]),
        ("docker-dir", "dir", &["--compress"]),
    ] {
        let directory = store.path(&format!("{format}{}", options.len()));
        let mut save = server.remote_command(["save", "--format", format, "--output"]);
        run(save.arg(&directory).args(options).arg("imported:1"));
        let source = format!("{kind}:{}", directory.display());
        target.skopeo(["copy", &source, &target.reference("localhost/copy:1")]);
        assert_eq!(target.diff_ids("copy:1"), [layer.diff_id()], "{format}");
    }

    let version = server.remote(["version", "--format", "{{.Server.Version}}"]);
    assert_eq!(version, "6.0.0");
    let graph_root = server.remote(["info", "--format", "{{.Store.GraphRoot}}"]);
    assert_eq!(graph_root, path(&store.root()));
    let filter = ["images", "--quiet", "--no-trunc", "--filter", "reference=imported"];
    assert_eq!(server.remote(filter), id);

    assert_eq!(server.remote(["image", "prune", "--force"]), "");
    server.remote(["untag", "imported:1"]);
    assert_eq!(server.remote(["image", "prune", "--force", "--filter", "label=x"]), "");
    assert_eq!(server.remote(["image", "prune", "--force"]), id.trim_start_matches("sha256:"));
    assert_empty(&store);
    for name in ["one", "two"] {
        server.remote(["import", &file, name]);
    }
    server.remote(["rmi", "--force", "one"]);
    server.remote(["image", "prune", "--all", "--force"]);
    assert_empty(&store);
    server.remote(["import", &file, "one"]);
    assert!(server.remote(["rmi", "--all"]).starts_with("Untagged: localhost/one:latest"));
    assert_empty(&store);

    // What is of other families it says in the words of the server.
    for arguments in [&["ps"][..], &["volume", "ls"], &["pod", "ps"], &["network", "ls"]] {
        let mut command = server.remote_command([]);
        let error = run_failing(command.args(arguments));
        assert!(error.contains("is not served, only images are"), "{arguments:?}: {error}");
    }
    assert_sound(&store);
}

fn path(path: &std::path::Path) -> String {
    path.display().to_string()
}
