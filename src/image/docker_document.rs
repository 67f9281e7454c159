//! Docker's image config, as this program writes it: members in the order of the Go structures.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::HistoryEntry;
use super::document::{Empty, OciRootFs};

/// A Docker image config.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct DockerImage {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) comment: String,
    pub(crate) created: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) container: String,
    pub(crate) container_config: DockerConfig,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) author: String,
    pub(crate) config: DockerConfig,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) variant: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) parent: String,
    pub(crate) rootfs: OciRootFs,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) history: Vec<HistoryEntry>,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub(crate) os_version: String,
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub(crate) os_features: Vec<String>,
}

/// What a container of a Docker image is started with; also the body of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DockerConfig {
    /// Host name.
    pub hostname: String,
    /// Domain name.
    pub domainname: String,
    /// User name or ID, optionally with group.
    pub user: String,
    /// Attach the standard streams.
    pub attach_stdin: bool,
    /// See [`attach_stdin`](Self::attach_stdin).
    pub attach_stdout: bool,
    /// See [`attach_stdin`](Self::attach_stdin).
    pub attach_stderr: bool,
    /// Ports, such as `80/tcp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// With a terminal.
    pub tty: bool,
    /// Standard input is open.
    pub open_stdin: bool,
    /// Standard input is closed by the first client that leaves.
    pub stdin_once: bool,
    /// Environment, `KEY=value`.
    pub env: Option<Vec<String>>,
    /// Command, or arguments of the entry point.
    pub cmd: Option<Vec<String>>,
    /// Health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<DockerHealthcheck>,
    /// Windows only: the command is one escaped string.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// Name of the image.
    pub image: String,
    /// Volume mount points.
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Working directory.
    pub working_dir: String,
    /// Entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Without a network.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub network_disabled: bool,
    /// Hardware address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Instructions for images that are built from this one.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that stops a container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds until a container that does not stop is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of commands in shell form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// Docker's health check. Durations are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DockerHealthcheck {
    /// The test, in Docker's form (`["CMD", …]`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Grace period after start.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Interval during the grace period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Interval between checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Longest run of one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Failures until the container counts as unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl DockerImage {
    /// Reads a Docker or OCI config, which have one shape.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(json)?;
        drop_nulls(&mut value);
        serde_json::from_value(value)
    }
}

impl DockerConfig {
    /// Reads what Go would read: `null` is nothing, and keys may be in any case.
    ///
    /// # Errors
    /// Not JSON, or a member of another type.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(json)?;
        if value.is_null() {
            return Ok(Self::default());
        }
        drop_nulls(&mut value);
        let members: Map<String, Value> = serde_json::from_value(value)?;
        let known = serde_json::to_value(Self::full())?;
        let known: Vec<&String> = known.as_object().into_iter().flat_map(Map::keys).collect();
        let members = members.into_iter().map(|(key, member)| {
            let own = known.iter().find(|known| known.eq_ignore_ascii_case(&key));
            (own.map_or(key, ToString::to_string), member)
        });
        serde_json::from_value(Value::Object(members.collect()))
    }

    /// One whose members are all written.
    fn full() -> Self {
        let some = || Some(vec![String::new()]);
        Self {
            exposed_ports: BTreeMap::from([(String::new(), Empty {})]),
            healthcheck: Some(DockerHealthcheck::default()),
            args_escaped: true,
            network_disabled: true,
            mac_address: "x".into(),
            stop_signal: "x".into(),
            stop_timeout: Some(0),
            shell: some(),
            ..Self::default()
        }
    }
}

/// Go takes `null` for an absent member.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_go_does() {
        let json = br#"{"env":["A=1"],"CMD":null,"Labels":{"a":"b"},"StopTimeout":3,"Other":1,
            "exposedports":{"80/tcp":{}},"Healthcheck":{"Test":["NONE"],"Retries":null}}"#;
        let config = DockerConfig::parse(json).unwrap();
        let expected = DockerConfig {
            env: Some(vec!["A=1".into()]),
            labels: Some(BTreeMap::from([("a".into(), "b".into())])),
            stop_timeout: Some(3),
            exposed_ports: BTreeMap::from([("80/tcp".into(), Empty {})]),
            healthcheck: Some(DockerHealthcheck {
                test: vec!["NONE".into()],
                ..Default::default()
            }),
            ..DockerConfig::default()
        };
        assert_eq!(config, expected);
        assert_eq!(DockerConfig::parse(b"null").unwrap(), DockerConfig::default());
        for wrong in [&br#"{"Env":1}"#[..], b"[]", b"1", b"{"] {
            assert!(DockerConfig::parse(wrong).is_err());
        }
    }

    /// The config is the one Podman 4.3 wrote.
    #[test]
    fn writes_as_go_does() {
        let text = concat!(
            r#"{"created":"2026-11-24T03:25:57.983333063Z","container":"6d","container_config":{"Hostname":"","#,
            r#""Domainname":"","User":"5:5","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"#,
            r#""Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":["A=1"],"Cmd":["/x","y"],"#,
            r#""Image":"localhost/base:1","Volumes":{"/anon":{}},"WorkingDir":"/tmp","Entrypoint":[],"#,
            r#""OnBuild":null,"Labels":{"a":"b"},"StopSignal":"2"},"config":{"Hostname":"","Domainname":"","#,
            r#""User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"#,
            r#""OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"","Volumes":null,"#,
            r#""WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null},"architecture":"amd64","#,
            r#""os":"linux","parent":"sha256:b4","rootfs":{"type":"layers","diff_ids":["sha256:77"]},"#,
            r#""history":[{"created":"2026-11-24T03:25:57.153603282Z","comment":"x"}]}"#,
        );
        let image = DockerImage::parse(text.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&image).unwrap(), text);
    }
}
