//! Image configurations, read as far as the API shows them.
//!
//! OCI and Docker configs share one JSON shape; Docker's has more fields. Reading is tolerant of
//! what is absent or `null`, because every tool has written such configs; a field of the wrong
//! type is an error.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DiffId, Platform};

/// The parts of an image config that are used here. The config's bytes stay where they came from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// RFC 3339 creation time, as written.
    pub created: Option<String>,
    /// Who made the image.
    pub author: Option<String>,
    /// Go architecture name.
    pub architecture: Option<String>,
    /// CPU variant.
    pub variant: Option<String>,
    /// Go operating system name.
    pub os: Option<String>,
    /// What a container is started with.
    pub config: Option<ContainerConfig>,
    /// Docker: the configuration of the container the image was committed from.
    pub container_config: Option<ContainerConfig>,
    /// Docker: the engine that made the image.
    pub docker_version: Option<String>,
    /// Docker: the commit message.
    pub comment: Option<String>,
    /// The layers.
    pub rootfs: RootFs,
    /// One entry for each step of the build, oldest first.
    pub history: Option<Vec<HistoryEntry>>,
}

/// The `rootfs` member of a config.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Diff IDs, base layer first.
    pub diff_ids: Option<Vec<DiffId>>,
}

/// One step of a build. Absent members are `None`, so that an entry can be shown as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// RFC 3339 time, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_layer: Option<bool>,
}

/// What a container of the image is started with: the OCI members, and Docker's health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// User name or ID, optionally with group.
    pub user: Option<String>,
    /// Ports, such as `80/tcp`; the values are empty objects.
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    /// Environment, `KEY=value`.
    pub env: Option<Vec<String>>,
    /// Entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Command, or arguments of the entry point.
    pub cmd: Option<Vec<String>>,
    /// Volume mount points; the values are empty objects.
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that stops a container.
    pub stop_signal: Option<String>,
    /// Windows only: the command is one escaped string.
    pub args_escaped: Option<bool>,
    /// Docker only.
    pub healthcheck: Option<Healthcheck>,
}

/// Docker's health check. Durations are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// The test, in Docker's form (`["CMD", …]`).
    pub test: Option<Vec<String>>,
    /// Grace period after start.
    pub start_period: Option<i64>,
    /// Interval during the grace period.
    pub start_interval: Option<i64>,
    /// Interval between checks.
    pub interval: Option<i64>,
    /// Longest run of one check.
    pub timeout: Option<i64>,
    /// Failures until the container counts as unhealthy.
    pub retries: Option<i64>,
}

impl ImageConfig {
    /// Parses a config blob.
    ///
    /// # Errors
    /// If it is no object: serde would take an array for one, which to the tools is no config.
    pub fn parse(raw: &[u8]) -> Result<Self, serde_json::Error> {
        if raw.trim_ascii_start().first() == Some(&b'[') {
            return Err(serde::de::Error::custom("cannot unmarshal array into an image config"));
        }
        serde_json::from_slice(raw)
    }

    /// The diff IDs, base first.
    pub fn diff_ids(&self) -> &[DiffId] {
        self.rootfs.diff_ids.as_deref().unwrap_or_default()
    }

    /// The history, oldest entry first.
    pub fn history(&self) -> &[HistoryEntry] {
        self.history.as_deref().unwrap_or_default()
    }

    /// The labels, if there are any.
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.config.as_ref()?.labels.as_ref().filter(|labels| !labels.is_empty())
    }

    /// The creation time, if there is a valid one.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created.as_deref()?.parse().ok()
    }

    /// The platform the image is made for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone().unwrap_or_default(),
            architecture: self.architecture.clone().unwrap_or_default(),
            variant: self.variant.clone().unwrap_or_default(),
        }
    }
}

impl HistoryEntry {
    /// The time of the step, if there is a valid one.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created.as_deref()?.parse().ok()
    }

    /// Whether the step made no layer.
    pub fn is_empty_layer(&self) -> bool {
        self.empty_layer.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_tools_leave_out() {
        let config = ImageConfig::parse(
            br#"{"config":null,"rootfs":{"type":"layers","diff_ids":null},"history":null}"#,
        )
        .unwrap();
        assert!(
            config.diff_ids().is_empty()
                && config.labels().is_none()
                && config.created_at().is_none()
        );
        assert!(ImageConfig::parse(br#"{"config":"x"}"#).is_err());
        assert!(ImageConfig::parse(br#"{"rootfs":{"diff_ids":["sha256:.."]}}"#).is_err());
    }

    #[test]
    fn history_entries_come_back_as_they_were() {
        let text = r#"{"created":"2024-01-01T00:00:00.5Z","created_by":"x","empty_layer":true}"#;
        let entry: HistoryEntry = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&entry).unwrap(), text);
        assert!(entry.is_empty_layer());
    }
}
