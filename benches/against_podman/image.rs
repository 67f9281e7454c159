//! The image that is moved: four layers, about a hundred thousand files, half of it compressible,
//! the same in every run.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::archive::Numbers;
use crate::support::tree::hex;

/// Name of the image.
pub(crate) const NAME: &str = "localhost/bench:1";

/// Per layer: small files, their mean size, big files, their size.
pub(crate) const LAYERS: [(u64, u64, u64, u64); 4] = [
    (45_000, 4000, 8, 40_000_000),
    (30_000, 3000, 3, 50_000_000),
    (20_000, 2500, 2, 60_000_000),
    (5_000, 2000, 1, 20_000_000),
];

/// A docker archive in a file, and what is in it.
pub(crate) struct Image {
    /// Diff IDs, base first.
    pub(crate) diff_ids: Vec<String>,
    /// Length of the layers' tars together.
    pub(crate) unpacked: u64,
    /// Files in all layers.
    pub(crate) files: u64,
}

/// Writes the archive of an image of `percent` of the full size.
pub(crate) fn write(path: &Path, percent: u64) -> Image {
    // Twice the same data: the first time to know lengths and digests, which come first in a tar.
    let layers: Vec<(String, u64)> = (0..LAYERS.len())
        .map(|layer| {
            let mut counter = Counter { hasher: Sha256::new(), length: 0 };
            write_layer(layer, percent, &mut counter).unwrap();
            (hex(&counter.hasher.finalize()), counter.length)
        })
        .collect();
    let diff_ids: Vec<String> = layers.iter().map(|(hex, _)| format!("sha256:{hex}")).collect();
    let config = json!({
        "created": "2024-05-01T10:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": { "Cmd": ["/bin/true"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
    let members: Vec<String> = layers.iter().map(|(hex, _)| format!("{hex}.tar")).collect();
    let manifest = json!([{ "Config": config_name, "RepoTags": [NAME], "Layers": members }]);

    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    for (layer, (_, length)) in layers.iter().enumerate() {
        out.write_all(header(&members[layer], *length).as_bytes()).unwrap();
        write_layer(layer, percent, &mut out).unwrap();
        pad(&mut out, *length).unwrap();
    }
    for (name, content) in [(&config_name[..], config), ("manifest.json", manifest.to_string())] {
        out.write_all(header(name, content.len() as u64).as_bytes()).unwrap();
        out.write_all(content.as_bytes()).unwrap();
        pad(&mut out, content.len() as u64).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.flush().unwrap();
    let files = LAYERS.iter().map(|(small, _, big, _)| small * percent / 100 + big).sum();
    Image { diff_ids, unpacked: layers.iter().map(|(_, length)| length).sum(), files }
}

/// Writes the archive of an image with one layer of 700 MB, which is packed in one stream.
pub(crate) fn write_single(path: &Path) {
    let dir = tempfile::tempdir_in(path.parent().unwrap()).unwrap();
    let packed = dir.path().join("layer.tar.gz");
    let file = BufWriter::with_capacity(1 << 20, File::create(&packed).unwrap());
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    let mut counter = Counter { hasher: Sha256::new(), length: 0 };
    let mut out = BufWriter::with_capacity(1 << 20, Both(&mut gzip, &mut counter));
    write_layer(0, 140, &mut out).unwrap();
    out.flush().unwrap();
    drop(out);
    gzip.finish().unwrap().flush().unwrap();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {
            "type": "layers",
            "diff_ids": [format!("sha256:{}", hex(&counter.hasher.finalize()))],
        },
    });
    let (config, manifest) = (
        config.to_string(),
        json!([{
            "Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar.gz"],
        }]),
    );
    let length = std::fs::metadata(&packed).unwrap().len();
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    out.write_all(header("layer.tar.gz", length).as_bytes()).unwrap();
    io::copy(&mut File::open(&packed).unwrap(), &mut out).unwrap();
    pad(&mut out, length).unwrap();
    for (name, content) in [("config.json", config), ("manifest.json", manifest.to_string())] {
        out.write_all(header(name, content.len() as u64).as_bytes()).unwrap();
        out.write_all(content.as_bytes()).unwrap();
        pad(&mut out, content.len() as u64).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.flush().unwrap();
}

/// Writes to two places.
struct Both<A, B>(A, B);

impl<A: Write, B: Write> Write for Both<A, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.1.flush()
    }
}

/// Writes the tar of one layer.
pub(crate) fn write_layer(layer: usize, percent: u64, out: &mut impl Write) -> io::Result<()> {
    let (small, mean, big, size) = LAYERS[layer];
    let mut data = Data::new(layer as u64 + 1);
    for index in 0..small * percent / 100 {
        // Between a hundredth and twice the mean.
        let length = mean / 100 + data.numbers.below(2 * mean);
        let name =
            format!("usr/share/layer{layer}/{:03}/{:02}/{index:06}", index / 1000, index % 32);
        data.write_file(out, &name, length)?;
    }
    for index in 0..big {
        data.write_file(out, &format!("usr/lib/layer{layer}/big-{index}"), size * percent / 100)?;
    }
    out.write_all(&[0; 1024])
}

/// Content of which every second 4 KiB block is text-like.
struct Data {
    numbers: Numbers,
    noise: Vec<u8>,
    text: Vec<u8>,
}

impl Data {
    fn new(seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let mut noise = vec![0; 1 << 20];
        numbers.fill(&mut noise);
        let words = ["layer ", "image ", "manifest ", "config\n", "digest=", "store ", "0x", "; "];
        let mut text = Vec::new();
        while text.len() < 1 << 20 {
            let number = numbers.next();
            let word = words[usize::try_from(number % 8).unwrap()];
            text.extend_from_slice(word.as_bytes());
            if number & 0x300 == 0 {
                text.extend_from_slice(format!("{:x}", number >> 48).as_bytes());
            }
        }
        Self { numbers, noise, text }
    }

    fn write_file(&mut self, out: &mut impl Write, name: &str, length: u64) -> io::Result<()> {
        out.write_all(header(name, length).as_bytes())?;
        let mut left = usize::try_from(length).unwrap();
        let mut noisy = self.numbers.below(2) == 0;
        while left > 0 {
            let count = left.min(4096);
            let source = if noisy { &self.noise } else { &self.text };
            let limit = source.len() as u64 - 4096;
            let start = usize::try_from(self.numbers.below(limit)).unwrap();
            out.write_all(&source[start..start + count])?;
            noisy = !noisy;
            left -= count;
        }
        pad(out, length)
    }
}

fn header(name: &str, length: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(length);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    header
}

fn pad(out: &mut impl Write, length: u64) -> io::Result<()> {
    let count = usize::try_from(length.next_multiple_of(512) - length).unwrap();
    out.write_all(&[0; 512][..count])
}

struct Counter {
    hasher: Sha256,
    length: u64,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
