//! Reading archives that a server or a tool has saved, and verifying every digest in them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::store::strings;
use super::tree::hex;

/// Members up to this size are kept; layers are only hashed.
const SMALL: u64 = 64 * 1024;

/// One image of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Names, as written in the archive.
    pub(crate) names: Vec<String>,
    /// Image ID: the config's digest in hex.
    pub(crate) id: String,
    /// Diff IDs, base first, equal to the digests of the layers' tars.
    pub(crate) diff_ids: Vec<String>,
}

/// The images of a docker archive.
///
/// # Panics
/// When a layer is missing or is not what the config says.
#[track_caller]
pub(crate) fn docker_archive(path: &Path) -> Vec<Saved> {
    let members = members(path, false);
    let manifest: Vec<Value> = serde_json::from_slice(&members["manifest.json"].content).unwrap();
    let mut images = Vec::new();
    for item in manifest {
        let config = &members[item["Config"].as_str().unwrap()];
        let layers: Vec<String> = strings(&item["Layers"])
            .iter()
            .map(|layer| format!("sha256:{}", members[layer].digest))
            .collect();
        let diff_ids = diff_ids(&config.content);
        assert_eq!(layers, diff_ids, "layers of {}", path.display());
        let id = config.digest.clone();
        images.push(Saved { names: strings(&item["RepoTags"]), id, diff_ids });
    }
    images
}

/// The image of an OCI archive whose layers are compressed with gzip.
///
/// # Panics
/// When a blob is missing or its name or size is wrong, or a layer is not what the config says.
#[track_caller]
pub(crate) fn oci_archive(path: &Path) -> Saved {
    let members = members(path, true);
    for (name, member) in &members {
        if let Some(hex) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(member.digest, hex, "blob of {}", path.display());
        }
    }
    let layout: Value = serde_json::from_slice(&members["oci-layout"].content).unwrap();
    assert_eq!(layout["imageLayoutVersion"], "1.0.0");
    let index: Value = serde_json::from_slice(&members["index.json"].content).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{index}");
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        let member = &members[&format!("blobs/{}", digest.replace(':', "/"))];
        assert_eq!(descriptor["size"], member.size, "{descriptor}");
        member
    };
    let manifest: Value = serde_json::from_slice(&blob(&entries[0]).content).unwrap();
    let config = blob(&manifest["config"]);
    let layers: Vec<String> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| format!("sha256:{}", blob(layer).unpacked))
        .collect();
    let diff_ids = diff_ids(&config.content);
    assert_eq!(layers, diff_ids, "layers of {}", path.display());
    let name = entries[0]["annotations"]["org.opencontainers.image.ref.name"].as_str();
    let names = name.map(str::to_owned).into_iter().collect();
    Saved { names, id: config.digest.clone(), diff_ids }
}

struct Member {
    size: u64,
    digest: String,
    /// Digest of the content after gunzip; empty when not asked for or not gzip.
    unpacked: String,
    content: Vec<u8>,
}

#[track_caller]
fn members(path: &Path, unpack: bool) -> HashMap<String, Member> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(path).unwrap()));
    let mut members = HashMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().unwrap().display().to_string();
        let size = entry.size();
        let mut content = Vec::new();
        let (digest, unpacked) = if size <= SMALL {
            entry.read_to_end(&mut content).unwrap();
            let unpacked = if unpack { gunzip(&content[..]) } else { String::new() };
            (hex(&Sha256::digest(&content)), unpacked)
        } else if unpack {
            let mut tee = Tee { inner: entry, hasher: Sha256::new() };
            let unpacked = gunzip(&mut tee);
            io::copy(&mut tee, &mut io::sink()).unwrap();
            (hex(&tee.hasher.finalize()), unpacked)
        } else {
            (hash(&mut entry).unwrap(), String::new())
        };
        let previous = members.insert(name.clone(), Member { size, digest, unpacked, content });
        assert!(previous.is_none(), "{name} is twice in {}", path.display());
    }
    members
}

/// Digest of the unpacked content, or nothing when it is not gzip.
fn gunzip(packed: impl Read) -> String {
    hash(&mut MultiGzDecoder::new(packed)).unwrap_or_default()
}

fn hash(reader: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn diff_ids(config: &[u8]) -> Vec<String> {
    let config: Value = serde_json::from_slice(config).unwrap();
    strings(&config["rootfs"]["diff_ids"])
}

/// Hashes what passes through.
struct Tee<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
