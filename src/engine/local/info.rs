//! Facts about the host and the store, as the kernel and the options tell them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::engine::{
    ContainerCounts, Error, ErrorKind, HostInfo, RegistriesInfo, Result, StoreInfo, SystemInfo,
    VersionReport,
};
use crate::image::{Platform, ShortNames};
use crate::storage::{OverlayOptions, Snapshot, StoreOptions};
use crate::sys::namespace;

/// Kernel, architecture and distribution.
///
/// # Errors
/// If `/proc` cannot be read.
pub(super) fn version() -> Result<VersionReport> {
    let kernel = read(Path::new("/proc/sys/kernel/osrelease"))?;
    // As os-release(5) says: the second file where the first one is missing.
    let release = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .unwrap_or_default();
    Ok(VersionReport {
        kernel: kernel.trim_end().to_owned(),
        architecture: Platform::host().architecture,
        distribution: release_field(&release, "ID").unwrap_or_else(|| "unknown".to_owned()),
        distribution_version: release_field(&release, "VERSION_ID")
            .unwrap_or_else(|| "unknown".to_owned()),
    })
}

/// Host, store and registries.
///
/// # Errors
/// If `/proc` or the graph root cannot be read.
pub(super) fn info(
    options: &StoreOptions,
    snapshot: &Snapshot,
    short_names: &ShortNames,
) -> Result<SystemInfo> {
    Ok(SystemInfo {
        version: version()?,
        host: host()?,
        store: store(options, snapshot)?,
        registries: RegistriesInfo { search: short_names.search.clone() },
    })
}

fn host() -> Result<HostInfo> {
    let memory = read(Path::new("/proc/meminfo"))?;
    let memory = |key| memory_bytes(&memory, key).unwrap_or_default();
    let uptime = read(Path::new("/proc/uptime"))?;
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    Ok(HostInfo {
        hostname: read(Path::new("/proc/sys/kernel/hostname"))?.trim_end().to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory_free_bytes: memory("MemFree"),
        memory_total_bytes: memory("MemTotal"),
        swap_free_bytes: memory("SwapFree"),
        swap_total_bytes: memory("SwapTotal"),
        uptime_seconds: uptime
            .split(['.', ' '])
            .next()
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or_default(),
        cgroup_version: if unified { "v2" } else { "v1" },
        rootless: namespace::in_user_namespace()
            .map_err(|error| failed(Path::new("/proc/self/uid_map"), &error))?,
    })
}

fn store(options: &StoreOptions, snapshot: &Snapshot) -> Result<StoreInfo> {
    let graph_root = &options.graph_root;
    let space =
        rustix::fs::statvfs(graph_root).map_err(|error| failed(graph_root, &error.into()))?;
    let kind = rustix::fs::statfs(graph_root).map_err(|error| failed(graph_root, &error.into()))?;
    // The field is signed or unsigned and of different widths; the magic numbers have 32 bits.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "32 bits count")]
    let magic = kind.f_type as u32;
    let free_blocks = space.f_bfree.min(space.f_blocks);
    Ok(StoreInfo {
        config_file: None,
        driver: "overlay".to_owned(),
        driver_options: driver_options(options),
        driver_status: driver_status(magic, &options.overlay),
        graph_root: graph_root.display().to_string(),
        run_root: options.run_root.display().to_string(),
        allocated_bytes: space.f_blocks.saturating_mul(space.f_frsize),
        used_bytes: (space.f_blocks - free_blocks).saturating_mul(space.f_frsize),
        images: snapshot.images().len(),
        containers: ContainerCounts { total: snapshot.containers().len() },
    })
}

/// Options that differ from the default, by the names that storage.conf gives them.
fn driver_options(options: &StoreOptions) -> BTreeMap<String, String> {
    let overlay = &options.overlay;
    let stores: Vec<String> =
        options.additional_image_stores.iter().map(|store| store.display().to_string()).collect();
    let flag = |set: bool| if set { "true" } else { "" }.to_owned();
    let program = overlay.mount_program.as_ref().map(|path| path.display().to_string());
    [
        ("overlay.imagestore", stores.join(",")),
        ("overlay.mount_program", program.unwrap_or_default()),
        ("overlay.ignore_chown_errors", flag(overlay.ignore_chown_errors)),
        ("overlay.force_mask", overlay.force_mask.clone().unwrap_or_default()),
        ("overlay.use_composefs", flag(overlay.use_composefs)),
        ("overlay.mountopt", overlay.mountopt.clone()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// What Podman reports of the driver, as far as it follows from the file system and the options.
/// What only a test mount would tell is left out.
fn driver_status(magic: u32, overlay: &OverlayOptions) -> BTreeMap<String, String> {
    let metacopy = overlay.mountopt.split(',').any(|option| option == "metacopy=on");
    [
        ("Backing Filesystem", file_system_name(magic)),
        ("Supports d_type", "true"),
        ("Using metacopy", if metacopy { "true" } else { "false" }),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Names that containers/storage gives to file systems; the numbers are in statfs(2).
fn file_system_name(magic: u32) -> &'static str {
    match magic {
        0x9123_683e => "btrfs",
        0x0000_ef53 => "extfs",
        0xf2f5_2010 => "f2fs",
        0x0000_6969 => "nfs",
        0x794c_7630 => "overlayfs",
        0x8584_58f6 => "ramfs",
        0x7371_7368 => "squashfs",
        0x0102_1994 => "tmpfs",
        0x5846_5342 => "xfs",
        0x2fc1_2fc1 => "zfs",
        _ => "<unknown>",
    }
}

/// A field of os-release, without its quotes.
fn release_field(release: &str, key: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

/// A line of `/proc/meminfo`, which counts in KiB.
fn memory_bytes(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::from_source(ErrorKind::Storage, error).context(format!("reading {path:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_kernel_and_distribution_files() {
        let release = "PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\nID_LIKE='x y'\n";
        assert_eq!(release_field(release, "ID").as_deref(), Some("debian"));
        assert_eq!(release_field(release, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(release_field(release, "ID_LIKE").as_deref(), Some("x y"));
        assert_eq!(release_field(release, "VERSION"), None);
        let meminfo = "MemTotal:       16 kB\nMemFree:         2 kB\n";
        assert_eq!(memory_bytes(meminfo, "MemFree"), Some(2048));
        assert_eq!(memory_bytes(meminfo, "SwapFree"), None);
    }

    #[test]
    fn a_store_and_its_options() {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            graph_root: directory.path().to_owned(),
            run_root: "/run/x".into(),
            additional_image_stores: vec!["/a".into(), "/b".into()],
            overlay: OverlayOptions {
                ignore_chown_errors: true,
                mountopt: "nodev,metacopy=on".into(),
                ..OverlayOptions::default()
            },
            ..StoreOptions::default()
        };
        let empty = Snapshot::new(Vec::new(), Vec::new(), Vec::new());
        let info = info(&options, &empty, &ShortNames::default()).unwrap();
        assert_eq!(info.store.run_root, "/run/x");
        assert!(info.store.allocated_bytes >= info.store.used_bytes);
        assert!(info.host.memory_total_bytes > 0 && info.host.cpus > 0);
        let options: Vec<_> = info.store.driver_options.into_iter().collect();
        let expected = [
            ("overlay.ignore_chown_errors", "true"),
            ("overlay.imagestore", "/a,/b"),
            ("overlay.mountopt", "nodev,metacopy=on"),
        ];
        assert_eq!(options, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(info.store.driver_status["Using metacopy"], "true");
    }
}
