//! An independent judge of a store's files: what `podman system check` (6.0) verifies without
//! mounting, plus the leftovers of interrupted writers. It knows the format from outside and
//! shares no code with the daemon.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use flate2::read::MultiGzDecoder;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Store;
use super::archive::sha256;
use super::tree::hex;

/// Panics with everything that is wrong with the store, in our eyes and in those of the tools.
#[track_caller]
pub(crate) fn assert_sound(store: &Store) {
    let problems = check(&store.root(), &store.runroot());
    assert!(problems.is_empty(), "the store is damaged:\n{}", problems.join("\n"));
    store.podman(["images", "--all"]);
    store.podman(["ps", "--all", "--external"]);
    for listing in ["layers", "images", "containers"] {
        store.storage([listing]);
    }
    let problems = check(&store.root(), &store.runroot());
    assert!(problems.is_empty(), "the tools damaged the store:\n{}", problems.join("\n"));
}

/// Everything that is wrong with the store's files; empty for a sound store at rest.
pub(crate) fn check(root: &Path, runroot: &Path) -> Vec<String> {
    let mut check = Check { root, problems: Vec::new() };
    check.mountpoints(runroot);
    let layers = check.records("overlay-layers", &["layers.json", "volatile-layers.json"]);
    let images = check.records("overlay-images", &["images.json"]);
    let containers =
        check.records("overlay-containers", &["containers.json", "volatile-containers.json"]);
    check.layers(&layers);
    check.layer_files(&layers);
    check.images(&images, &layers);
    check.containers(&containers, &images, &layers);
    check.references(&layers, &images, &containers);
    check.leftovers();
    check.problems
}

type Records = BTreeMap<String, Value>;

struct Check<'a> {
    root: &'a Path,
    problems: Vec<String>,
}

impl Check<'_> {
    fn report(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    fn expect(&mut self, fine: bool, problem: impl FnOnce() -> String) {
        if !fine {
            self.problems.push(problem());
        }
    }

    fn mountpoints(&mut self, runroot: &Path) {
        if let Ok(bytes) = fs::read(runroot.join("overlay-layers/mountpoints.json")) {
            let parsed = serde_json::from_slice::<Vec<Value>>(&bytes);
            self.expect(bytes.is_empty() || parsed.is_ok(), || "mountpoints.json".to_owned());
        }
    }

    /// Records of one kind by ID. Names must be unique among them.
    fn records(&mut self, dir: &str, files: &[&str]) -> Records {
        let mut records = Records::new();
        let mut names = BTreeSet::new();
        for file in files {
            let path = self.root.join(dir).join(file);
            let Ok(bytes) = fs::read(&path) else { continue };
            if bytes.is_empty() {
                continue;
            }
            let list: Vec<Value> = match serde_json::from_slice(&bytes) {
                Ok(list) => list,
                Err(error) => {
                    self.report(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            for record in list {
                let id = string(&record, "id");
                let plain = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
                self.expect(plain, || format!("{file}: odd ID {id:?}"));
                for name in list_of_strings(&record, "names") {
                    self.expect(names.insert(name.clone()), || format!("{name}: used twice"));
                }
                let previous = records.insert(id.clone(), record);
                self.expect(previous.is_none(), || format!("{file}: {id} twice"));
            }
        }
        records
    }

    fn layers(&mut self, layers: &Records) {
        for (id, record) in layers {
            let incomplete = record["flags"]["incomplete"] == Value::Bool(true);
            self.expect(!incomplete, || format!("layer {id}: incomplete"));
            let parent = string(record, "parent");
            let known = parent.is_empty() || layers.contains_key(&parent);
            self.expect(known, || format!("layer {id}: parent {parent} is missing"));
            self.directory(id, &parent, layers);
            for key in list_of_strings(record, "big-data-names") {
                let path = self.root.join("overlay-layers").join(id).join(file_name(&key));
                self.expect(path.is_file(), || format!("layer {id}: no data item {key}"));
            }
            if let Some(expected) = record.get("diff-digest").and_then(Value::as_str) {
                match reassemble(self.root, id) {
                    Ok((digest, size)) => {
                        let fine = digest == expected;
                        self.expect(fine, || format!("layer {id}: {digest}, not {expected}"));
                        // Go leaves out a zero.
                        let fine = record.get("diff-size").map_or(size == 0, |it| *it == size);
                        self.expect(fine, || format!("layer {id}: {size} bytes"));
                    }
                    Err(error) => self.report(format!("layer {id}: {error}")),
                }
            }
        }
    }

    /// The driver's directory of one layer: content, link both ways, list of lower layers.
    fn directory(&mut self, id: &str, parent: &str, layers: &Records) {
        let dir = self.root.join("overlay").join(id);
        for name in ["diff", "work"] {
            self.expect(dir.join(name).is_dir(), || format!("layer {id}: no {name}"));
        }
        let link = fs::read_to_string(dir.join("link")).unwrap_or_default();
        let plain =
            link.len() == 26 && link.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
        self.expect(plain, || format!("layer {id}: link {link:?}"));
        let target = fs::read_link(self.root.join("overlay/l").join(&link)).unwrap_or_default();
        let fine = target == Path::new(&format!("../{id}/diff"));
        self.expect(fine, || format!("layer {id}: l/{link} leads to {}", target.display()));

        let lower = fs::read_to_string(dir.join("lower")).ok();
        let ancestors = fs::read_to_string(dir.join("lower-layers")).ok();
        if parent.is_empty() {
            self.expect(lower.is_none(), || format!("base layer {id}: has lower"));
            self.expect(ancestors.is_none(), || format!("base layer {id}: has lower-layers"));
            self.expect(dir.join("empty").is_dir(), || format!("base layer {id}: no empty"));
            return;
        }
        let above = self.root.join("overlay").join(parent);
        let mut expected =
            format!("l/{}", fs::read_to_string(above.join("link")).unwrap_or_default());
        if let Ok(rest) = fs::read_to_string(above.join("lower")) {
            expected = format!("{expected}:{rest}");
        }
        let fine = lower.as_deref() == Some(expected.as_str());
        self.expect(fine, || format!("layer {id}: lower is {lower:?}, not {expected}"));
        if let Some(ancestors) = ancestors {
            let expected = chain(parent, layers).join(":");
            let fine = ancestors == expected;
            self.expect(fine, || format!("layer {id}: lower-layers {ancestors}, not {expected}"));
        }
    }

    /// Everything in the layer directories that belongs to no record.
    fn layer_files(&mut self, layers: &Records) {
        for name in self.names("overlay") {
            let known = layers.contains_key(&name)
                || matches!(name.as_str(), "l" | "staging" | "tempdirs")
                || matches!(name.as_str(), ".has-mount-program" | "backingFsBlockDev");
            self.expect(known, || format!("overlay/{name}: no record"));
        }
        let mut links = BTreeSet::new();
        for id in layers.keys() {
            let link = self.root.join("overlay").join(id).join("link");
            links.insert(fs::read_to_string(link).unwrap_or_default());
        }
        for name in self.names("overlay/l") {
            self.expect(links.contains(&name), || format!("overlay/l/{name}: nobody's link"));
        }
        for name in self.names("overlay-layers") {
            let id = name.strip_suffix(".tar-split.gz").unwrap_or(&name);
            let known = layers.contains_key(id)
                || name.ends_with("layers.json")
                || matches!(name.as_str(), "layers.lock" | "tmp");
            self.expect(known, || format!("overlay-layers/{name}: no record"));
        }
    }

    fn images(&mut self, images: &Records, layers: &Records) {
        for (id, record) in images {
            let what = format!("image {id}");
            self.items(&what, "overlay-images", id, record);
            let keys = list_of_strings(record, "big-data-names");
            let fine = keys.iter().any(|key| key == "manifest");
            self.expect(fine, || format!("{what}: no manifest"));
            let layer = string(record, "layer");
            if !layer.is_empty() {
                let config = format!("sha256:{id}");
                self.expect(keys.contains(&config), || format!("{what}: no config"));
                let fine = layers.contains_key(&layer);
                self.expect(fine, || format!("{what}: layer {layer} is missing"));
            }
        }
        for name in self.names("overlay-images") {
            let known = images.contains_key(&name)
                || matches!(name.as_str(), "images.json" | "images.lock");
            self.expect(known, || format!("overlay-images/{name}: no record"));
        }
    }

    fn containers(&mut self, containers: &Records, images: &Records, layers: &Records) {
        for (id, record) in containers {
            let what = format!("container {id}");
            self.items(&what, "overlay-containers", id, record);
            let (image, layer) = (string(record, "image"), string(record, "layer"));
            let fine = image.is_empty() || images.contains_key(&image);
            self.expect(fine, || format!("{what}: image {image} is missing"));
            self.expect(layers.contains_key(&layer), || format!("{what}: no layer {layer}"));
        }
    }

    /// The data items of an image or container: all there, with the recorded size and digest.
    fn items(&mut self, what: &str, dir: &str, id: &str, record: &Value) {
        let keys = list_of_strings(record, "big-data-names");
        let mut files: BTreeSet<String> = keys.iter().map(|key| file_name(key)).collect();
        files.insert("userdata".to_owned());
        for key in &keys {
            let path = self.root.join(dir).join(id).join(file_name(key));
            let Ok(bytes) = fs::read(&path) else {
                self.report(format!("{what}: no data item {key}"));
                continue;
            };
            let size = &record["big-data-sizes"][key];
            self.expect(*size == bytes.len(), || {
                format!("{what}: item {key} has {} bytes, not {size}", bytes.len())
            });
            let digest = &record["big-data-digests"][key];
            self.expect(*digest == sha256(&bytes), || format!("{what}: digest of {key}"));
        }
        for name in self.names(&format!("{dir}/{id}")) {
            self.expect(files.contains(&name), || format!("{what}: stray file {name}"));
        }
    }

    /// Layers nobody needs.
    fn references(&mut self, layers: &Records, images: &Records, containers: &Records) {
        let mut needed = BTreeSet::new();
        for record in images.values().chain(containers.values()) {
            let mut tops = list_of_strings(record, "mapped-layers");
            tops.push(string(record, "layer"));
            for top in tops {
                needed.extend(chain(&top, layers));
            }
        }
        for id in layers.keys() {
            self.expect(needed.contains(id), || format!("layer {id}: nobody needs it"));
        }
    }

    /// Temporary files of any writer: a store at rest has none.
    fn leftovers(&mut self) {
        for dir in ["overlay/tempdirs", "overlay/staging", "overlay-layers/tmp"] {
            for name in self.names(dir) {
                self.report(format!("{dir}/{name}: left behind"));
            }
        }
        for dir in ["overlay-layers", "overlay-images", "overlay-containers"] {
            for name in self.names(dir) {
                let kept = !name.starts_with(".tmp-");
                self.expect(kept, || format!("{dir}/{name}: left behind"));
            }
        }
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(dir)) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Digest and length of a layer's tar, put together from its tar-split and its files.
pub(crate) fn reassemble(root: &Path, id: &str) -> io::Result<(String, u64)> {
    let path = root.join("overlay-layers").join(format!("{id}.tar-split.gz"));
    let lines = BufReader::new(MultiGzDecoder::new(BufReader::new(File::open(path)?)));
    let mut hasher = Sha256::new();
    let mut size = 0;
    for (position, line) in lines.lines().enumerate() {
        let entry: Value = serde_json::from_str(&line?)?;
        if entry["position"] != position {
            return Err(io::Error::other(format!("tar-split position {}", entry["position"])));
        }
        let payload = match entry["payload"].as_str() {
            Some(text) => STANDARD.decode(text).map_err(io::Error::other)?,
            None => Vec::new(),
        };
        if entry["type"] == 2 {
            hasher.update(&payload);
            size += payload.len() as u64;
        } else if let Some(length) = entry["size"].as_u64().filter(|length| *length > 0) {
            let name = entry_name(&entry)?;
            let file = open_in_layer(root, id, &name)?;
            copy_file(file, length, &payload, &mut hasher)
                .map_err(|error| io::Error::other(format!("{}: {error}", name.display())))?;
            size += length;
        }
    }
    Ok((format!("sha256:{}", hex(&hasher.finalize())), size))
}

/// Feeds a member's file to the hash and compares its length and checksum.
fn copy_file(
    mut file: impl Read,
    length: u64,
    expected: &[u8],
    hasher: &mut Sha256,
) -> io::Result<()> {
    let mut checksum = Crc::new(CrcAlgorithm::Crc64GoIso);
    let mut buffer = vec![0; 256 * 1024];
    let mut found = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                checksum.update(&buffer[..count]);
                found += count as u64;
            }
        }
    }
    if found != length || checksum.finalize().to_be_bytes() != *expected {
        return Err(io::Error::other(format!("{found} bytes instead of {length}, or changed")));
    }
    Ok(())
}

fn entry_name(entry: &Value) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    if let Some(name) = entry["name"].as_str() {
        return Ok(PathBuf::from(name));
    }
    let raw = entry["name_raw"].as_str().unwrap_or_default();
    let bytes = STANDARD.decode(raw).map_err(io::Error::other)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// Opens a member's file, never outside the layer whatever its symlinks say.
fn open_in_layer(root: &Path, id: &str, name: &Path) -> io::Result<File> {
    let diff = root.join("overlay").join(id).join("diff");
    let dir =
        openat(CWD, &diff, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2(&dir, name, flags, Mode::empty(), ResolveFlags::IN_ROOT)
        .map_err(|error| io::Error::other(format!("{}: {error}", name.display())))?;
    let file = File::from(file);
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() || !kind.is_file() {
        return Err(io::Error::other(format!("{}: not a regular file", name.display())));
    }
    Ok(file)
}

/// `top` and its ancestors, nearest first.
fn chain(top: &str, layers: &Records) -> Vec<String> {
    let mut ids = Vec::new();
    let mut next = top.to_owned();
    while !next.is_empty() && ids.len() <= layers.len() {
        let parent = layers.get(&next).map(|record| string(record, "parent")).unwrap_or_default();
        ids.push(std::mem::replace(&mut next, parent));
    }
    ids
}

/// The file that holds a data item.
fn file_name(key: &str) -> String {
    let plain = |byte: u8| matches!(byte, b'.' | b'0'..=b'9' | b'a'..=b'z');
    if key.bytes().all(plain) { key.to_owned() } else { format!("={}", STANDARD.encode(key)) }
}

fn string(record: &Value, key: &str) -> String {
    record[key].as_str().unwrap_or_default().to_owned()
}

fn list_of_strings(record: &Value, key: &str) -> Vec<String> {
    super::store::strings(&record[key])
}

/// Diff IDs and names of every image by ID, read from the files alone.
pub(crate) fn image_layers(root: &Path) -> HashMap<String, Vec<String>> {
    let mut check = Check { root, problems: Vec::new() };
    let layers = check.records("overlay-layers", &["layers.json", "volatile-layers.json"]);
    let images = check.records("overlay-images", &["images.json"]);
    let diff_ids = |top: &str| {
        let mut ids: Vec<String> = chain(top, &layers)
            .iter()
            .filter_map(|id| layers.get(id).map(|record| string(record, "diff-digest")))
            .collect();
        ids.reverse();
        ids
    };
    images.iter().map(|(id, record)| (id.clone(), diff_ids(&string(record, "layer")))).collect()
}
