//! Podman's configuration of a container, and its state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::bolt::Bolt;
use super::sqlite::{self, Row};
use super::{Books, Error, Result, file};
use crate::sys::Cancel;

/// What Podman's database has to say about a container.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) settings: PodmanSettings,
    pub(super) pid: Option<i64>,
    pub(super) paused: bool,
}

/// What Podman's database has to say about what becomes of a container.
#[derive(Debug)]
pub(super) struct Status {
    /// In Podman's words; `None` for one that has no process and is not being changed.
    pub(super) busy: Option<&'static str>,
    /// It holds the namespaces of a pod.
    pub(super) is_infra: bool,
    /// The ID of a container that uses its namespaces.
    pub(super) dependent: Option<String>,
    /// Without its volumes.
    pub(super) settings: PodmanSettings,
}

/// What a container of Podman runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodmanSettings {
    /// Its root is a directory of the host, not a layer.
    pub is_rootfs: bool,
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// Command, or arguments of the entry point.
    pub command: Vec<String>,
    /// Environment, `KEY=value`, with what Podman adds.
    pub env: Vec<String>,
    /// Ports such as `80/tcp`, published or exposed.
    pub ports: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// User as it was given; may be empty.
    pub user: String,
    /// Working directory.
    pub working_dir: String,
    /// Where volumes without a name are that the user asked for.
    pub anonymous_volumes: Vec<String>,
    /// What its image was called when it was made.
    pub image_name: String,
    /// ID of its pod; empty without one.
    pub pod_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    rootfs: String,
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
    spec: Option<Spec>,
    #[serde(rename = "newPortMappings")]
    port_mappings: Option<Vec<PortMapping>>,
    #[serde(rename = "exposedPorts")]
    exposed_ports: Option<BTreeMap<String, Option<Vec<String>>>>,
    labels: Option<BTreeMap<String, String>>,
    user: String,
    #[serde(rename = "namedVolumes")]
    named_volumes: Option<Vec<NamedVolume>>,
    #[serde(rename = "userVolumes")]
    user_volumes: Option<Vec<String>>,
    #[serde(rename = "rootfsImageName")]
    image_name: String,
    pod: String,
    #[serde(rename = "pause")]
    is_infra: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    process: Option<ProcessSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProcessSpec {
    env: Option<Vec<String>>,
    cwd: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PortMapping {
    container_port: u16,
    protocol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedVolume {
    #[serde(rename = "volumeName")]
    name: String,
    dest: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct VolumeConfig {
    /// It was made for one container, and goes with it.
    #[serde(rename = "isAnon")]
    is_anonymous: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    state: i64,
    pid: i64,
}

/// Values of `state`.
const CONFIGURED: i64 = 1;
const STOPPED: i64 = 4;
const PAUSED: i64 = 5;
const EXITED: i64 = 6;

/// Asks the databases that there are; `None` if none of them knows the container.
pub(super) fn container(books: &Books, id: &str, cancel: &Cancel) -> Result<Option<Found>> {
    let row = look_up(books, id, volumes_to_look_at, cancel)?;
    row.map(|(path, row)| found(&path, id, &row)).transpose()
}

/// As [`container`], for what becomes of it.
pub(super) fn status(books: &Books, id: &str, cancel: &Cancel) -> Result<Option<Status>> {
    let Some((path, row)) = look_up(books, id, |_, _| Ok(Vec::new()), cancel)? else {
        return Ok(None);
    };
    let config: Config = file::parse(&path, &row.config)?;
    let state: State = file::parse(&path, &row.state)?;
    let is_infra = config.is_infra;
    let (dependent, settings) = (row.dependent, config.settings());
    Ok(Some(Status { busy: busy(state.state), is_infra, dependent, settings }))
}

/// What the number of a state means, for those in which a container has a process, or somebody is
/// at work on it. Podman removes others without being forced.
fn busy(state: i64) -> Option<&'static str> {
    match state {
        CONFIGURED | STOPPED | EXITED => None,
        2 => Some("initialized"),
        3 => Some("running"),
        PAUSED => Some("paused"),
        7 => Some("being removed"),
        8 => Some("stopping"),
        _ => Some("in an unknown state"),
    }
}

/// The row of a container, and the database it is in.
fn look_up(
    books: &Books,
    id: &str,
    volumes: impl Fn(&Path, &[u8]) -> Result<Vec<String>>,
    cancel: &Cancel,
) -> Result<Option<(PathBuf, Row)>> {
    for path in books.sqlite_files() {
        let volumes = |config: &[u8]| volumes(&path, config);
        if let Some(row) = sqlite::look_up(&path, id, volumes, cancel)? {
            return Ok(Some((path, row)));
        }
    }
    let path = books.bolt_file();
    let row = bolt_row(&path, id, volumes, cancel)?;
    Ok(row.map(|row| (path, row)))
}

fn bolt_row(
    path: &Path,
    id: &str,
    volumes_of: impl Fn(&Path, &[u8]) -> Result<Vec<String>>,
    cancel: &Cancel,
) -> Result<Option<Row>> {
    let Some(bolt) = Bolt::open(path, cancel)? else { return Ok(None) };
    let bucket_of = |kind: &str, name: &str| match bolt.bucket(&bolt.root(), kind.as_bytes())? {
        Some(bucket) => bolt.bucket(&bucket, name.as_bytes()),
        None => Ok(None),
    };
    let Some(container) = bucket_of("ctr", id)? else { return Ok(None) };
    let Some(config) = bolt.get(&container, b"config")? else { return Ok(None) };
    let state = bolt.get(&container, b"state")?.unwrap_or_else(|| b"{}".to_vec());
    let mut volumes = Vec::new();
    for name in volumes_of(path, &config)? {
        let volume = match bucket_of("vol", &name)? {
            Some(bucket) => bolt.get(&bucket, b"config")?,
            None => None,
        };
        volumes.push((name, volume));
    }
    let dependent = match bolt.bucket(&container, b"dependencies")? {
        Some(dependents) => bolt.any_key(&dependents)?,
        None => None,
    };
    let dependent = dependent.map(|id| String::from_utf8_lossy(&id).into_owned());
    Ok(Some(Row { config, state, dependent, volumes }))
}

/// Volumes at places that the user asked for, of which the database must say whether they are
/// anonymous.
fn volumes_to_look_at(path: &Path, config: &[u8]) -> Result<Vec<String>> {
    let config: Config = file::parse(path, config)?;
    Ok(config.wanted_volumes().map(|volume| volume.name.clone()).collect())
}

fn found(path: &Path, id: &str, row: &Row) -> Result<Found> {
    let config: Config = file::parse(path, &row.config)?;
    let state: State = file::parse(path, &row.state)?;
    let mut anonymous_volumes = Vec::new();
    for volume in config.wanted_volumes() {
        let known = row.volumes.iter().find(|(name, _)| *name == volume.name);
        let Some((_, Some(json))) = known else {
            let (volume, container) = (volume.name.clone(), id.to_owned());
            return Err(Error::VolumeRemoved { volume, container });
        };
        if file::parse::<VolumeConfig>(path, json)?.is_anonymous {
            anonymous_volumes.push(volume.dest.clone());
        }
    }
    let mut settings = config.settings();
    settings.anonymous_volumes = anonymous_volumes;
    let pid = Some(state.pid).filter(|pid| *pid > 0);
    Ok(Found { settings, pid, paused: state.state == PAUSED })
}

impl Config {
    fn wanted_volumes(&self) -> impl Iterator<Item = &NamedVolume> {
        let wanted = self.user_volumes.as_deref().unwrap_or_default();
        let named = self.named_volumes.iter().flatten();
        named.filter(move |volume| wanted.contains(&volume.dest))
    }

    fn settings(self) -> PodmanSettings {
        let process = self.spec.and_then(|spec| spec.process).unwrap_or_default();
        let published = self.port_mappings.unwrap_or_default().into_iter();
        let published = published.map(|port| format!("{}/{}", port.container_port, port.protocol));
        let exposed = self.exposed_ports.unwrap_or_default().into_iter();
        let exposed = exposed.flat_map(|(port, protocols)| {
            let protocols = protocols.unwrap_or_default().into_iter();
            protocols.map(move |protocol| format!("{port}/{protocol}"))
        });
        PodmanSettings {
            is_rootfs: !self.rootfs.is_empty(),
            entrypoint: self.entrypoint.unwrap_or_default(),
            command: self.command.unwrap_or_default(),
            env: process.env.unwrap_or_default(),
            ports: published.chain(exposed).collect(),
            labels: self.labels.unwrap_or_default(),
            user: self.user,
            working_dir: process.cwd,
            anonymous_volumes: Vec::new(),
            image_name: self.image_name,
            pod_id: self.pod,
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use serde_json::json;

    use super::*;

    fn books(directory: &Path) -> Books {
        Books { graph_root: directory.to_owned(), run_root: directory.join("run") }
    }

    fn config() -> Vec<u8> {
        json!({
            "entrypoint": ["/e"], "command": null, "user": "1:2", "labels": {"a": "b"},
            "spec": {"process": {"env": ["A=1"], "cwd": "/w"}},
            "newPortMappings": [{"container_port": 80, "host_port": 8080, "protocol": "tcp"}],
            "exposedPorts": {"53": ["udp", "tcp"], "54": null},
            "namedVolumes": [
                {"volumeName": "x", "dest": "/anonymous"}, {"volumeName": "y", "dest": "/named"},
                {"volumeName": "z", "dest": "/image"}],
            "userVolumes": ["/anonymous", "/named", "/host"],
            "rootfsImageName": "localhost/i:1",
            "pod": "p",
        })
        .to_string()
        .into_bytes()
    }

    fn database(path: &Path) -> Connection {
        let database = Connection::open(path).unwrap();
        database
            .execute_batch(
                "CREATE TABLE ContainerConfig(ID TEXT, Name TEXT, PodID TEXT, JSON TEXT NOT NULL);
                 CREATE TABLE ContainerState(ID TEXT, State INTEGER, JSON TEXT NOT NULL);
                 CREATE TABLE VolumeConfig(Name TEXT, JSON TEXT NOT NULL);
                 INSERT INTO VolumeConfig VALUES('x', '{\"isAnon\":true}'), ('y', '{}');",
            )
            .unwrap();
        database
            .execute("INSERT INTO ContainerConfig VALUES('c', 'name', NULL, ?1)", [config()])
            .unwrap();
        database
            .execute("INSERT INTO ContainerState VALUES('c', 5, '{\"state\":5,\"pid\":7}')", [])
            .unwrap();
        database
    }

    /// Names and content of everything in a directory.
    fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect()
    }

    #[test]
    fn reads_sqlite_without_a_trace() {
        let directory = tempfile::tempdir().unwrap();
        let writer = database(&directory.path().join("db.sql"));
        let before = tree(directory.path());
        let books = books(directory.path());
        let found = container(&books, "c", &Cancel::new()).unwrap().unwrap();
        assert_eq!((found.pid, found.paused), (Some(7), true));
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let expected = PodmanSettings {
            is_rootfs: false,
            entrypoint: texts(&["/e"]),
            command: Vec::new(),
            env: texts(&["A=1"]),
            ports: texts(&["80/tcp", "53/udp", "53/tcp"]),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            user: "1:2".into(),
            working_dir: "/w".into(),
            anonymous_volumes: texts(&["/anonymous"]),
            image_name: "localhost/i:1".into(),
            pod_id: "p".into(),
        };
        assert_eq!(found.settings, expected);
        assert!(container(&books, "d", &Cancel::new()).unwrap().is_none());
        assert_eq!(tree(directory.path()), before);

        writer.execute("DELETE FROM VolumeConfig WHERE Name = 'y'", []).unwrap();
        let error = container(&books, "c", &Cancel::new()).unwrap_err();
        assert_eq!(error.to_string(), "volume y used in container c has been removed");
    }

    #[test]
    fn waits_for_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        let writer = database(&directory.path().join("db.sql"));
        let books = books(directory.path());
        writer.execute_batch("BEGIN EXCLUSIVE; UPDATE ContainerState SET JSON = '{}'").unwrap();
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| container(&books, "c", &cancel));
            cancel.cancel();
            assert!(matches!(waiting.join().unwrap(), Err(Error::Canceled(_))));
            let waiting = scope.spawn(|| container(&books, "c", &Cancel::new()));
            writer.execute_batch("COMMIT").unwrap();
            assert_eq!(waiting.join().unwrap().unwrap().unwrap().pid, None);
        });
    }

    #[test]
    fn refuses_what_is_no_database() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db.sql");
        let books = books(directory.path());
        let look_up = || container(&books, "c", &Cancel::new());
        std::fs::write(&path, "").unwrap();
        assert!(look_up().unwrap().is_none());
        std::fs::write(&path, [7; 4096]).unwrap();
        assert!(matches!(look_up(), Err(Error::Damaged { .. })));
        std::fs::remove_file(&path).unwrap();
        drop(database(&path));
        let mut bytes = std::fs::read(&path).unwrap();
        for at in (100..bytes.len()).step_by(3) {
            bytes[at] ^= 0x5a;
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(look_up(), Err(Error::Sqlite { .. }) | Ok(None)));
        // A log would be read with files beside it.
        bytes[18..20].copy_from_slice(&[2, 2]);
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(look_up(), Err(Error::Damaged { .. })));
        assert_eq!(tree(directory.path()).len(), 1);
    }
}
