//! Which layers are mounted.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use super::Error;
use super::dir::read_bounded;
use super::lock::{Held, Layers};
use super::overlay::{OVERLAY, Runtime};
use crate::sys::Cancel;

/// Longest list of mounts that is read, in bytes.
const LIMIT_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct MountPoint {
    id: String,
    #[serde(default)]
    count: i64,
}

/// IDs of mounted layers: those that the store has a count for, which may be mounts of another
/// namespace, and those that this process sees.
pub(super) fn mounted<M>(
    runtime: &Runtime,
    graph_root: &Path,
    layers: &Held<Layers, M>,
    cancel: &Cancel,
) -> Result<HashSet<String>, Error> {
    let mut mounted = counted(runtime, layers, cancel)?;
    let path = Path::new("/proc/self/mountinfo");
    let mounts = std::fs::read_to_string(path).map_err(Error::io("reading", path))?;
    let graph_root = graph_root.canonicalize().map_err(Error::io("resolving", graph_root))?;
    mounted.extend(visible(&mounts, &graph_root.join(OVERLAY)));
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
    for line in mountinfo.lines() {
        let Some(point) = line.split(' ').nth(4).map(unescape) else { continue };
        let Ok(below) = Path::new(&point).strip_prefix(overlay) else { continue };
        let mut names = below.iter().filter_map(|name| name.to_str());
        if let (Some(layer), Some("merged"), None) = (names.next(), names.next(), names.next()) {
            layers.push(layer.to_owned());
        }
    }
    layers
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
}
