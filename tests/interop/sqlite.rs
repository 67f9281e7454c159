//! Containers of Podman 6, which the installed one is not: a store with a database of its schema and
//! with a row that it has written.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::commit::{commit, document};
use crate::support::check::assert_sound;
use crate::support::events::sharing_server;
use crate::support::store::strings;
use crate::support::{DockerArchive, Layer, Server, Store};

const BASE: &str = "localhost/base:1";

/// A file of `tests/data/storage/db.sql`.
fn recorded(name: &str) -> String {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/storage/db.sql");
    fs::read_to_string(directory.join(name)).unwrap()
}

/// A container of the store that the database knows.
struct Web {
    id: String,
    path: PathBuf,
}

impl Web {
    fn new(store: &Store) -> Self {
        let (config, state) = (recorded("ContainerConfig.json"), recorded("ContainerState.json"));
        let document: Value = serde_json::from_str(&config).unwrap();
        let id = document["id"].as_str().unwrap().to_owned();
        let image = store.inspect(BASE)["Id"].as_str().unwrap().to_owned();
        store.storage(["create-container", "--id", &id, "--name", "web", &image]);
        let path = store.root().join("db.sql");
        let database = Connection::open(&path).unwrap();
        database.execute_batch(&recorded("schema.sql")).unwrap();
        // Podman gives bytes where it has declared text.
        let insert = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            database.execute(sql, values).unwrap();
        };
        database.execute_batch("PRAGMA foreign_keys=OFF").unwrap();
        insert("INSERT INTO IDNamespace VALUES(?1)", &[&id]);
        let values: [&dyn rusqlite::ToSql; 2] = [&id, &config.as_bytes()];
        insert("INSERT INTO ContainerConfig VALUES(?1, 'web', NULL, ?2)", &values);
        let values: [&dyn rusqlite::ToSql; 2] = [&id, &state.as_bytes()];
        insert("INSERT INTO ContainerState VALUES(?1, 1, NULL, ?2)", &values);
        let volume: [&dyn rusqlite::ToSql; 1] = [&&br#"{"name":"vol1"}"#[..]];
        insert("INSERT INTO VolumeConfig VALUES('vol1', NULL, ?1)", &volume);
        Self { id, path }
    }

    fn change(&self, sql: &str) {
        let database = Connection::open(&self.path).unwrap();
        database.execute_batch(&format!("PRAGMA foreign_keys=OFF; {sql}")).unwrap();
    }

    /// The database, which nothing may be beside.
    fn bytes(&self) -> Vec<u8> {
        let entries = fs::read_dir(self.path.parent().unwrap()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names: Vec<_> = names.filter(|name| name.starts_with("db.sql")).collect();
        assert_eq!(names, ["db.sql"]);
        fs::read(&self.path).unwrap()
    }
}

fn store() -> (Store, Server, Web) {
    let store = Store::new();
    let server = sharing_server(&store);
    let image = DockerArchive::new(&[BASE], &[Layer::files(&[("etc/file", b"content")])]);
    server.client().load_bytes(image.build()).expect(200);
    let web = Web::new(&store);
    (store, server, web)
}

#[test]
fn a_commit_has_what_podman_has_noted() {
    let (store, server, web) = store();
    let before = web.bytes();
    commit(&server, "container=web&repo=committed");
    assert_eq!(web.bytes(), before);
    let config = &document(&store, "localhost/committed:latest", &["--config"])["config"];
    assert_eq!(config["Entrypoint"], json!(["/bin/sh", "-c"]));
    assert_eq!(config["Cmd"], json!(["echo hi"]));
    assert_eq!(config["User"], "1000:1000");
    assert_eq!(config["WorkingDir"], "/tmp");
    assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}}));
    assert_eq!(config["Labels"]["a"], "b");
    let env = strings(&config["Env"]);
    for variable in ["FOO=bar", "container=podman"] {
        assert!(env.iter().any(|it| it == variable), "{variable} in {env:?}");
    }
    // The one volume has a name.
    assert_eq!(config["Volumes"], Value::Null);
    web.change(r#"UPDATE VolumeConfig SET JSON = '{"name":"vol1","isAnon":true}'"#);
    commit(&server, &format!("container={}&repo=again", &web.id[..12]));
    let config = &document(&store, "localhost/again:latest", &["--config"])["config"];
    assert_eq!(config["Volumes"], json!({"/data": {}}));
    assert_sound(&store);
}

#[test]
fn the_state_decides_whether_it_goes_with_its_image() {
    let (store, server, web) = store();
    let remove = || server.client().delete("/images/base:1?force=true");
    for (state, words) in [
        (0, "in an unknown state"),
        (2, "initialized"),
        (3, "running"),
        (5, "paused"),
        (7, "being removed"),
        (8, "stopping"),
    ] {
        // The number is also in the JSON, which is what Podman reads.
        web.change(&format!(
            "UPDATE ContainerState SET State = {state}, \
             JSON = CAST(json_set(CAST(JSON AS TEXT), '$.state', {state}) AS BLOB)"
        ));
        let before = web.bytes();
        let message = remove().expect(409).json()["message"].as_str().unwrap().to_owned();
        let text = format!("image used by {}: image is in use by a container: ", web.id);
        assert!(message.starts_with(&text), "{message}");
        assert!(message.contains(&format!("container web is not removed (it is {words})")));
        assert_eq!(web.bytes(), before);
    }
    web.change(
        "UPDATE ContainerState SET State = 6, \
         JSON = CAST(json_set(CAST(JSON AS TEXT), '$.state', 6) AS BLOB)",
    );
    web.change(&format!("INSERT INTO ContainerDependency VALUES('other', '{}')", web.id));
    let message = remove().expect(409).json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("container other depends on it"), "{message}");
    web.change("DELETE FROM ContainerDependency");
    // It is Podman's, so a prune leaves it alone.
    let prune = "/images/prune?all=true&external=true";
    assert_eq!(server.client().post(prune).expect(200).json(), json!([]));
    let before = web.bytes();
    remove().expect(200);
    assert_eq!(web.bytes(), before);
    let log = fs::read_to_string(store.path("libpod/events/events.log")).unwrap();
    let removed = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let removed = removed.filter(|event| event["Type"] == "container").collect::<Vec<_>>();
    assert_eq!(removed.len(), 1);
    let event = &removed[0];
    assert_eq!((&event["Status"], &event["ID"]), (&json!("remove"), &json!(web.id)));
    assert_eq!(event["Image"], "docker.io/library/3:latest");
    assert!(store.records("overlay-containers/containers.json").is_empty());
    assert_sound(&store);
}
