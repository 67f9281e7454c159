//! What is mounted.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Error;
use super::dir::read_bounded;
use super::lock::{Held, Layers};
use super::options::StoreOptions;
use super::overlay::{CONTAINERS, OVERLAY, Runtime};
use super::record::ContainerRecord;
use crate::image::LayerId;
use crate::sys::Cancel;

/// Longest list of mounts that is read, in bytes.
const LIMIT_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct MountPoint {
    id: String,
    #[serde(default)]
    count: i64,
}

/// What must stay because it is mounted, or something is mounted in it.
#[derive(Debug)]
pub(super) struct Mounted {
    /// IDs of layers.
    layers: HashSet<String>,
    /// IDs of containers with a mount in one of their directories, such as that of `/dev/shm`.
    containers: HashSet<String>,
}

impl Mounted {
    pub(super) fn has_layer(&self, layer: &LayerId) -> bool {
        self.layers.contains(layer.as_str())
    }

    pub(super) fn has_container(&self, container: &ContainerRecord) -> bool {
        self.has_layer(&container.layer) || self.in_container(&container.id)
    }

    /// Whether something is mounted in a directory of the container with this ID.
    pub(super) fn in_container(&self, container: &str) -> bool {
        self.containers.contains(container)
    }
}

/// What is mounted: layers that the store has a count for, which may be mounts of another
/// namespace, and what this process sees.
pub(super) fn mounted<M>(
    runtime: &Runtime,
    options: &StoreOptions,
    layers: &Held<Layers, M>,
    cancel: &Cancel,
) -> Result<Mounted, Error> {
    let path = Path::new("/proc/self/mountinfo");
    let mounts = std::fs::read_to_string(path).map_err(Error::io("reading", path))?;
    let graph_root = &options.graph_root;
    let graph_root = graph_root.canonicalize().map_err(Error::io("resolving", graph_root))?;
    let mut mounted = Mounted {
        layers: counted(runtime, layers, cancel)?,
        containers: in_containers(&mounts, &graph_root.join(CONTAINERS)).collect(),
    };
    mounted.layers.extend(visible(&mounts, &graph_root.join(OVERLAY)));
    // Without a run root there is nothing in it.
    if let Ok(run_root) = options.run_root.canonicalize() {
        mounted.containers.extend(in_containers(&mounts, &run_root.join(CONTAINERS)));
    }
    Ok(mounted)
}

fn counted<M>(
    runtime: &Runtime,
    layers: &Held<Layers, M>,
    cancel: &Cancel,
) -> Result<HashSet<String>, Error> {
    let path = &runtime.mountpoints_json;
    let lock = match runtime.mountpoints.read(layers, cancel) {
        Ok(lock) => lock,
        // No run directory: nothing was mounted since the machine started.
        Err(error) if error.is_not_found() => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    let text = match std::fs::File::open(path) {
        Ok(file) => read_bounded(&file, path, LIMIT_BYTES)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("opening", path)(error)),
    };
    drop(lock);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(HashSet::new());
    }
    let points: Option<Vec<MountPoint>> = serde_json::from_slice(&text)
        .map_err(|source| Error::Malformed { path: path.clone(), source })?;
    let points = points.unwrap_or_default().into_iter();
    Ok(points.filter(|point| point.count > 0).map(|point| point.id).collect())
}

/// Layers mounted at `<overlay>/<id>/merged`, from the text of `/proc/<pid>/mountinfo`.
fn visible(mountinfo: &str, overlay: &Path) -> Vec<String> {
    let mut layers = Vec::new();
    for below in points_below(mountinfo, overlay) {
        let mut names = below.iter().filter_map(|name| name.to_str());
        if let (Some(layer), Some("merged"), None) = (names.next(), names.next(), names.next()) {
            layers.push(layer.to_owned());
        }
    }
    layers
}

/// Names of the directories in `containers` that are mount points or have some in them.
fn in_containers<'a>(
    mountinfo: &'a str,
    containers: &'a Path,
) -> impl Iterator<Item = String> + use<'a> {
    points_below(mountinfo, containers)
        .filter_map(|below| Some(below.iter().next()?.to_str()?.to_owned()))
}

/// Mount points below a directory, relative to it.
fn points_below<'a>(
    mountinfo: &'a str,
    directory: &'a Path,
) -> impl Iterator<Item = PathBuf> + use<'a> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    points.filter_map(move |point| Some(Path::new(&point).strip_prefix(directory).ok()?.to_owned()))
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |text, (code, character)| text.replace(code, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_merged_directories_only() {
        let info = "36 35 98:0 / /s\\040x/overlay/abc/merged rw - overlay overlay rw\n\
                    37 35 98:0 / /s\\040x/overlay/abc/diff rw - ext4 x rw\n\
                    38 35 98:0 / /s\\040x/overlay rw - ext4 x rw\n\
                    39 35 98:0 / /other/overlay/def/merged rw - overlay overlay rw\n\
                    40 35 98:0 / /s\\040x/overlay/ghi/merged/proc rw - proc proc rw\n\n";
        assert_eq!(visible(info, Path::new("/s x/overlay")), ["abc"]);
    }

    #[test]
    fn finds_containers_with_mounts_in_their_directories() {
        let info = "36 35 0:50 / /s/overlay-containers/abc/userdata/shm rw - tmpfs shm rw\n\
                    37 35 0:51 / /s/overlay-containers rw - tmpfs x rw\n\
                    38 35 0:52 / /s/overlay-containers/def rw - tmpfs x rw\n\
                    39 35 0:53 / /s/overlay-containers-2/ghi rw - tmpfs x rw\n";
        let found: Vec<_> = in_containers(info, Path::new("/s/overlay-containers")).collect();
        assert_eq!(found, ["abc", "def"]);
    }
}
