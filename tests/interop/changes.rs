//! What layers change, and what images take, as Podman sees it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::check::assert_sound;
use crate::support::debian::layer;
use crate::support::http::escape;
use crate::support::{DockerArchive, Layer, Server, Store};

#[test]
fn changes_are_those_podman_sees() {
    let store = Store::new();
    let server = Server::start(&store);
    let (base, _) = crate::names::two_images();
    server.client().load_bytes(base.build()).expect(200);
    layer(&store, "localhost/first:1", "localhost/second", |root| {
        let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
        fs::create_dir_all(root.join("deep/er/est")).unwrap();
        write("deep/er/est/file", "1");
        write("deep/er/kept", "1");
        write("own", "changed");
        fs::remove_file(root.join("common")).unwrap();
        symlink("deep", root.join("link")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        write("etc/hosts", "left out");
    });
    layer(&store, "localhost/second", "localhost/third", |root| {
        let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
        write("deep/er/est/file", "2");
        write("deep/er/new", "2");
        fs::remove_file(root.join("own")).unwrap();
        fs::create_dir(root.join("own")).unwrap();
        fs::remove_file(root.join("link")).unwrap();
        symlink("elsewhere", root.join("link")).unwrap();
        write("deep/.wx", "2");
        fs::set_permissions(root.join("etc"), PermissionsExt::from_mode(0o700)).unwrap();
    });
    layer(&store, "localhost/third", "localhost/fourth", |root| {
        fs::remove_dir_all(root.join("deep")).unwrap();
        fs::create_dir(root.join("deep")).unwrap();
        fs::write(root.join("deep/file"), "anew").unwrap();
        fs::remove_dir_all(root.join("own")).unwrap();
    });
    let container = store.podman(["create", "--network=none", "--name=c", "third", "/x"]);
    let mounted = store.podman(["mount", &container]);
    change_container(Path::new(&mounted));
    store.podman(["unmount", &container]);

    for name in ["first:1", "second", "third", "fourth", "c", &container] {
        compare(&store, &server, name, None);
    }
    // Podman has its own way for layers further down the stack: it mounts both.
    for (name, parent) in [("third", "second"), ("fourth", "third"), ("c", "third")] {
        compare(&store, &server, name, Some(parent));
    }
    let both = ours(&server, "fourth", "?parent=first:1");
    let deep = json!([{"Path": "/deep", "Kind": 1}, {"Path": "/deep/file", "Kind": 1}]);
    assert_eq!(Value::from(both.as_array().unwrap()[1..3].to_vec()), deep);
    assert_eq!(ours(&server, "third", "?parent=third"), Value::Null);
    assert_eq!(ours(&server, "third", "?difftype=image"), ours(&server, "third", ""));
    let answer = server.client().get("/containers/third/changes?difftype=container").expect(500);
    assert_eq!(answer.json()["message"], "third not found: container not known");
    assert_sound(&store);
}

fn change_container(root: &Path) {
    fs::write(root.join("deep/er/kept"), "3").unwrap();
    fs::remove_dir_all(root.join("deep/er/est")).unwrap();
    fs::create_dir(root.join("run")).unwrap();
    fs::write(root.join("run/file"), "3").unwrap();
}

/// Compares all that changed, also as a remote Podman shows it.
fn compare(store: &Store, server: &Server, name: &str, parent: Option<&str>) {
    let theirs = match parent {
        None => store.podman(["diff", "--format=json", name]),
        Some(parent) => store.podman(["diff", "--format=json", name, parent]),
    };
    let theirs: Value = serde_json::from_str(&theirs).unwrap();
    let query = parent.map(|parent| format!("?parent={}", escape(parent))).unwrap_or_default();
    let ours = ours(server, name, &query);
    let of_kind = |kind: u8| -> Vec<String> {
        let changes = ours.as_array().unwrap().iter();
        let changes = changes.filter(|it| it["Kind"] == kind);
        changes.map(|it| it["Path"].as_str().unwrap().to_owned()).collect()
    };
    let remote = parent.is_none().then(|| server.remote(["diff", "--format=json", name]));
    let remote = remote.map(|text| serde_json::from_str::<Value>(&text).unwrap());
    for (kind, key) in [(0, "changed"), (1, "added"), (2, "deleted")] {
        // Podman's own order is that of its walk.
        let mut theirs = crate::support::store::strings(&theirs[key]);
        theirs.sort();
        assert_eq!(of_kind(kind), theirs, "{name}: {key}");
        if let Some(remote) = &remote {
            let remote = crate::support::store::strings(&remote[key]);
            assert_eq!(remote, theirs, "{name}: {key}, remote");
        }
    }
}

fn ours(server: &Server, name: &str, query: &str) -> Value {
    let path = format!("/containers/{}/changes{query}", escape(name));
    server.client().get(&path).expect(200).json()
}

#[test]
fn space_is_counted_once() {
    let store = Store::new();
    let server = Server::start(&store);
    let client = server.client();
    let empty = json!({"ImagesSize": 0, "Images": [], "Containers": [], "Volumes": []});
    assert_eq!(client.get("/system/df").expect(200).json(), empty);
    let base = Layer::random(1, "base", 20, 700);
    let own = Layer::files(&[("own", b"x")]);
    let (base_size, own_size) = (base.tar.len(), own.tar.len());
    let image = DockerArchive::new(&["localhost/a:1"], &[base.clone(), own]);
    client.load_bytes(image.build()).expect(200);
    client.load_bytes(DockerArchive::new(&[], &[base]).build()).expect(200);
    client.post("/images/a:1/tag?repo=b").expect(201);
    let report = client.get("/system/df").expect(200).json();
    let rows = report["Images"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| (&row["Repository"], &row["Tag"])).collect();
    assert_eq!(names.len(), 3);
    for (repository, tag) in [("localhost/b", "latest"), ("localhost/a", "1"), ("<none>", "<none>")]
    {
        assert!(names.contains(&(&json!(repository), &json!(tag))), "{names:?}");
    }
    let mut items = 0;
    for row in rows {
        assert_eq!(row["SharedSize"], base_size);
        let image = store.inspect(row["ImageID"].as_str().unwrap());
        assert_eq!(row["Size"], image["Size"]);
        let number = |key: &str| row[key].as_u64().unwrap();
        assert_eq!(number("SharedSize") + number("UniqueSize"), number("Size"));
        if row["Repository"] == "localhost/a" {
            items += number("UniqueSize") - own_size as u64;
        } else if row["Repository"] == "<none>" {
            items += number("UniqueSize");
        }
    }
    assert_eq!(report["ImagesSize"], (base_size + own_size) as u64 + items);
    let theirs = server.remote(["system", "df", "--format", "{{.Type}} {{.Total}}"]);
    assert_eq!(theirs.lines().next(), Some("Images 3"));
}
