//! Version and host information.
//!
//! Members of Podman's documents that describe its runtime, network or logging have no counterpart
//! here and are left out; clients read them as empty.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::{BUILDAH_VERSION, DOCKER_API_VERSION, LIBPOD_VERSION, Settings};
use crate::engine::{SystemInfo, VersionReport};

/// The oldest Docker API that clients may speak.
const DOCKER_MIN_API_VERSION: &str = "1.24";
/// The oldest libpod API that clients may speak.
const LIBPOD_MIN_VERSION: &str = "4.0.0";
/// Builds are reproducible and have no time; clients want one to parse.
const BUILD_TIME: &str = "1970-01-01T00:00:00Z";

/// Versions of the program and the host.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version {
    platform: Platform,
    components: Vec<Component>,
    version: &'static str,
    api_version: &'static str,
    #[serde(rename = "MinAPIVersion")]
    min_api_version: &'static str,
    git_commit: &'static str,
    go_version: &'static str,
    os: &'static str,
    arch: String,
    kernel_version: String,
    build_time: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct Platform {
    name: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct Component {
    name: &'static str,
    version: &'static str,
    details: BTreeMap<&'static str, String>,
}

impl From<VersionReport> for Version {
    fn from(report: VersionReport) -> Self {
        let VersionReport { kernel, architecture, distribution, distribution_version } = report;
        // Clients look for this component by name and show these details.
        let engine = Component {
            name: "Podman Engine",
            version: LIBPOD_VERSION,
            details: BTreeMap::from([
                ("APIVersion", LIBPOD_VERSION.to_owned()),
                ("Arch", architecture.clone()),
                ("BuildTime", BUILD_TIME.to_owned()),
                ("Experimental", "false".to_owned()),
                ("GitCommit", String::new()),
                ("GoVersion", String::new()),
                ("KernelVersion", kernel.clone()),
                ("MinAPIVersion", LIBPOD_MIN_VERSION.to_owned()),
                ("Os", "linux".to_owned()),
            ]),
        };
        let imaged = Component {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            details: BTreeMap::new(),
        };
        Self {
            platform: Platform {
                name: format!("linux/{architecture}/{distribution}-{distribution_version}"),
            },
            components: vec![engine, imaged],
            version: LIBPOD_VERSION,
            api_version: DOCKER_API_VERSION,
            min_api_version: DOCKER_MIN_API_VERSION,
            git_commit: "",
            go_version: "",
            os: "linux",
            arch: architecture,
            kernel_version: kernel,
            build_time: BUILD_TIME,
        }
    }
}

/// Host, store and registries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SystemInfo)]
pub(crate) struct Info {
    host: Host,
    store: Store,
    registries: BTreeMap<&'static str, Vec<String>>,
    plugins: Plugins,
    version: InfoVersion,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HostInfo)]
struct Host {
    arch: String,
    buildah_version: &'static str,
    cgroup_version: &'static str,
    cpus: usize,
    distribution: Distribution,
    event_logger: &'static str,
    hostname: String,
    kernel: String,
    mem_free: u64,
    mem_total: u64,
    os: &'static str,
    remote_socket: RemoteSocket,
    service_is_remote: bool,
    security: Security,
    swap_free: u64,
    swap_total: u64,
    uptime: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Distribution {
    distribution: String,
    version: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct RemoteSocket {
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    exists: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Security {
    rootless: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StoreInfo)]
struct Store {
    #[serde(skip_serializing_if = "String::is_empty")]
    config_file: String,
    container_store: ContainerStore,
    graph_driver_name: String,
    graph_options: BTreeMap<String, String>,
    graph_root: String,
    graph_root_allocated: u64,
    graph_root_used: u64,
    graph_status: BTreeMap<String, String>,
    image_store: ImageStore,
    run_root: String,
    transient_store: bool,
}

/// Containers in the store. Their states are known only to the tools that own them.
#[derive(Debug, Serialize, ToSchema)]
struct ContainerStore {
    number: usize,
    paused: usize,
    running: usize,
    stopped: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct ImageStore {
    number: usize,
}

/// Nothing is pluggable here.
#[derive(Debug, Serialize, ToSchema)]
struct Plugins {
    #[schema(required)]
    volume: Option<Vec<String>>,
    #[schema(required)]
    network: Option<Vec<String>>,
    #[schema(required)]
    log: Option<Vec<String>>,
    #[schema(required)]
    authorization: Option<Vec<String>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct InfoVersion {
    #[serde(rename = "APIVersion")]
    api_version: &'static str,
    version: &'static str,
    go_version: &'static str,
    git_commit: &'static str,
    built_time: &'static str,
    built: i64,
    os_arch: String,
    os: &'static str,
}

impl Info {
    /// What the engine knows, and what only the daemon knows.
    pub(crate) fn new(info: SystemInfo, settings: &Settings) -> Self {
        let SystemInfo { version, host, store, registries } = info;
        let socket = settings.remote_socket.clone();
        Self {
            version: InfoVersion {
                api_version: LIBPOD_VERSION,
                version: LIBPOD_VERSION,
                go_version: "",
                git_commit: "",
                built_time: "Thu Jan  1 00:00:00 1970",
                built: 0,
                os_arch: format!("linux/{}", version.architecture),
                os: "linux",
            },
            host: Host {
                arch: version.architecture,
                buildah_version: BUILDAH_VERSION,
                cgroup_version: host.cgroup_version,
                cpus: host.cpus,
                distribution: Distribution {
                    distribution: version.distribution,
                    version: version.distribution_version,
                },
                event_logger: "none",
                hostname: host.hostname,
                kernel: version.kernel,
                mem_free: host.memory_free_bytes,
                mem_total: host.memory_total_bytes,
                os: "linux",
                remote_socket: RemoteSocket {
                    exists: socket.is_some(),
                    path: socket.unwrap_or_default(),
                },
                service_is_remote: false,
                security: Security { rootless: host.rootless },
                swap_free: host.swap_free_bytes,
                swap_total: host.swap_total_bytes,
                uptime: uptime(host.uptime_seconds),
            },
            store: Store {
                config_file: store.config_file.unwrap_or_default(),
                container_store: ContainerStore {
                    number: store.containers.total,
                    paused: 0,
                    running: 0,
                    stopped: store.containers.total,
                },
                graph_driver_name: store.driver,
                graph_options: store.driver_options,
                graph_root: store.graph_root,
                graph_root_allocated: store.allocated_bytes,
                graph_root_used: store.used_bytes,
                graph_status: store.driver_status,
                image_store: ImageStore { number: store.images },
                run_root: store.run_root,
                transient_store: false,
            },
            registries: match registries.search.is_empty() {
                true => BTreeMap::new(),
                false => BTreeMap::from([("search", registries.search)]),
            },
            plugins: Plugins { volume: None, network: None, log: None, authorization: None },
        }
    }
}

/// `26h 3m 4.00s (Approximately 1.08 days)`, as Podman writes it.
fn uptime(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = format!("{hours}h {minutes}m {rest}.00s");
    match seconds.saturating_mul(100) / 86_400 {
        days if hours >= 24 => {
            format!("{text} (Approximately {}.{:02} days)", days / 100, days % 100)
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes() {
        assert_eq!(uptime(3600), "1h 0m 0.00s");
        assert_eq!(uptime(93_784), "26h 3m 4.00s (Approximately 1.08 days)");
        assert!(uptime(u64::MAX).starts_with("5124095576030431h"));
    }
}
