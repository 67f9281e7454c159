//! Small images made in memory: layers, docker archives and OCI archives, right or wrong.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::tree::hex;

/// One uncompressed layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The tar, byte for byte.
    pub(crate) tar: Vec<u8>,
}

impl Layer {
    /// A layer of regular files, `(path, content)`, with their parent directories implied.
    pub(crate) fn files(files: &[(&str, &[u8])]) -> Self {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            append(&mut builder, path, content);
        }
        Self { tar: builder.into_inner().unwrap() }
    }

    /// A layer of `files` files of `size` bytes each below `dir`, the same for the same `seed`.
    pub(crate) fn random(seed: u64, dir: &str, files: usize, size: usize) -> Self {
        let mut numbers = Numbers::new(seed);
        let mut builder = tar::Builder::new(Vec::new());
        for index in 0..files {
            let mut content = vec![0; size];
            numbers.fill(&mut content);
            append(&mut builder, &format!("{dir}/{:03}/{index:05}", index / 100), &content);
        }
        Self { tar: builder.into_inner().unwrap() }
    }

    /// `sha256:…` of the tar.
    pub(crate) fn diff_id(&self) -> String {
        sha256(&self.tar)
    }
}

/// A docker archive of one or more images.
#[derive(Clone, Debug, Default)]
pub(crate) struct DockerArchive {
    images: Vec<(Vec<String>, Value, Vec<Layer>)>,
}

impl DockerArchive {
    /// One image with these names and layers, base first.
    pub(crate) fn new(names: &[&str], layers: &[Layer]) -> Self {
        Self::default().and(names, layers)
    }

    /// One more image.
    pub(crate) fn and(mut self, names: &[&str], layers: &[Layer]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.images.push((names, config(layers), layers.to_vec()));
        self
    }

    /// Changes the last image's config.
    pub(crate) fn configured(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.images.last_mut().unwrap().1);
        self
    }

    /// Replaces the first image's diff IDs, to make them wrong.
    pub(crate) fn with_diff_ids(mut self, diff_ids: &[&str]) -> Self {
        self.images[0].1["rootfs"]["diff_ids"] = json!(diff_ids);
        self
    }

    /// Image ID (hex) of image number `index`.
    pub(crate) fn image_id(&self, index: usize) -> String {
        digest_hex(self.images[index].1.to_string().as_bytes())
    }

    /// The archive as Podman and Docker ≤ 24 order it: layers, configs, manifest.
    pub(crate) fn build(&self) -> Vec<u8> {
        self.build_without("")
    }

    /// The archive without the member called `missing`.
    pub(crate) fn build_without(&self, missing: &str) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut written = vec![missing.to_owned()];
        let mut add = |name: String, content: &[u8]| {
            if !written.contains(&name) {
                append(&mut builder, &name, content);
                written.push(name);
            }
        };
        let mut manifest = Vec::new();
        for (names, config, layers) in &self.images {
            let members: Vec<String> =
                layers.iter().map(|layer| format!("{}.tar", digest_hex(&layer.tar))).collect();
            for (name, layer) in members.iter().zip(layers) {
                add(name.clone(), &layer.tar);
            }
            let config = config.to_string();
            let name = format!("{}.json", digest_hex(config.as_bytes()));
            add(name.clone(), config.as_bytes());
            manifest.push(json!({ "Config": name, "RepoTags": names, "Layers": members }));
        }
        add("manifest.json".to_owned(), Value::from(manifest).to_string().as_bytes());
        builder.into_inner().unwrap()
    }
}

/// An OCI archive of one image with gzip layers.
#[derive(Clone, Debug)]
pub(crate) struct OciArchive {
    blobs: Vec<(String, Vec<u8>)>,
    index: Value,
    config: String,
    layers: Vec<String>,
}

impl OciArchive {
    /// One image called `name` with these layers, base first.
    pub(crate) fn new(name: &str, layers: &[Layer]) -> Self {
        Self::configured(name, layers, |_| {})
    }

    /// As [`Self::new`], with changes to the config.
    pub(crate) fn configured(name: &str, layers: &[Layer], edit: impl FnOnce(&mut Value)) -> Self {
        let mut blobs = Vec::new();
        let mut layer_blobs = Vec::new();
        let mut descriptors = Vec::new();
        for layer in layers {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&layer.tar).unwrap();
            let blob = encoder.finish().unwrap();
            descriptors.push(descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &blob));
            layer_blobs.push(digest_hex(&blob));
            let blob = (digest_hex(&blob), blob);
            if !blobs.contains(&blob) {
                blobs.push(blob);
            }
        }
        let mut config = config(layers);
        edit(&mut config);
        let config = config.to_string().into_bytes();
        let config_hex = digest_hex(&config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": descriptors,
        });
        let manifest = manifest.to_string().into_bytes();
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        blobs.push((config_hex.clone(), config));
        blobs.push((digest_hex(&manifest), manifest));
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        Self { blobs, index, config: config_hex, layers: layer_blobs }
    }

    /// Image ID (hex).
    pub(crate) fn image_id(&self) -> &str {
        &self.config
    }

    /// Hex digest of the blob of layer number `index`.
    pub(crate) fn layer_blob(&self, index: usize) -> &str {
        &self.layers[index]
    }

    /// Hex digest of the manifest's blob.
    pub(crate) fn manifest_blob(&self) -> &str {
        &self.blobs.last().unwrap().0
    }

    /// The blobs by their hex digests; the manifest is the last.
    pub(crate) fn blobs(&self) -> &[(String, Vec<u8>)] {
        &self.blobs
    }

    /// With the images of `other` as well.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (_, content) in other.blobs {
            self = self.with_blob(&content);
        }
        let Value::Array(entries) = &other.index["manifests"] else { panic!("no list") };
        self.index["manifests"].as_array_mut().unwrap().extend(entries.iter().cloned());
        self
    }

    /// With one more blob, which nothing lists.
    pub(crate) fn with_blob(mut self, content: &[u8]) -> Self {
        let blob = (digest_hex(content), content.to_vec());
        if !self.blobs.contains(&blob) {
            self.blobs.push(blob);
        }
        self
    }

    /// What the index says of the first image.
    pub(crate) fn entry(&self) -> &Value {
        &self.index["manifests"][0]
    }

    /// Changes the index.
    pub(crate) fn indexed(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.index);
        self
    }

    /// Changes one blob's bytes but not its name.
    pub(crate) fn corrupt(mut self, blob: &str) -> Self {
        let content = &mut self.blobs.iter_mut().find(|(hex, _)| hex == blob).unwrap().1;
        let middle = content.len() / 2;
        content[middle] ^= 1;
        self
    }

    /// Leaves one blob out.
    pub(crate) fn without(mut self, blob: &str) -> Self {
        self.blobs.retain(|(hex, _)| hex != blob);
        self
    }

    /// The archive in Podman's order: blobs, index, layout.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut blobs = self.blobs.clone();
        blobs.sort();
        for (hex, content) in &blobs {
            append(&mut builder, &format!("blobs/sha256/{hex}"), content);
        }
        append(&mut builder, "index.json", self.index.to_string().as_bytes());
        append(&mut builder, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        builder.into_inner().unwrap()
    }
}

/// Reproducible pseudo-random numbers (splitmix64), so that a seed names a run.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Fills `bytes`.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

/// `sha256:` and the hex digest.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", digest_hex(bytes))
}

fn digest_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn config(layers: &[Layer]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(Layer::diff_id).collect();
    let history: Vec<Value> = diff_ids
        .iter()
        .map(|id| json!({ "created": "2024-05-01T10:00:00Z", "created_by": format!("layer {id}") }))
        .collect();
    json!({
        "created": "2024-05-01T10:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": { "Cmd": ["/bin/true"], "Env": ["A=1"], "Labels": { "made": "for-a-test" } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history,
    })
}

/// What an index or a manifest says of a blob.
pub(crate) fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sha256(blob), "size": blob.len() })
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    builder.append_data(&mut header, path, content).unwrap();
}
